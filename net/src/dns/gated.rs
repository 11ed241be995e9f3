//! Names of a container that may not reach everything ([`crate::egress`]).
//!
//! ```text
//!   an allowed name, A or AAAA ──▶ asked upstream in our own words ──▶ its addresses: first into the rules, then told
//!   an allowed name, other types ─▶ nothing of the kind
//!   a container's name ──▶ told as ever; into the rules where it is allowed
//!   all else ──▶ no such name: nothing of it leaves the host
//! ```
//!
//! What is asked for could itself be a message to whoever answers for a domain. So nothing of a question goes upstream that
//! was not allowed letter by letter; below a `*` the letters of a name do.

use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};

use super::Resolver;
use super::forward::Answer;
use super::message::{self, Question, TCP_BYTES_MAX};
use super::zone::{record, text_of};
use crate::egress::Gate;

/// How long the address of another container may be kept, and reached: the next may get it.
const CONTAINER_SECONDS: u32 = 60;

/// What is said of a name that is not to be asked for. That there is none: to REFUSED, which would say it better, musl's
/// resolver does not listen, and waits ten seconds.
pub(super) fn closed(gate: &Gate, question: &Question) -> Option<ResponseCode> {
    match (gate.is_open_to(&text_of(question.name())), question.kind()) {
        (false, _) => Some(ResponseCode::NXDomain),
        (true, RecordType::A | RecordType::AAAA) => None,
        (true, _) => Some(ResponseCode::NoError),
    }
}

impl Resolver {
    /// What is known here is told; where the name is allowed its addresses may be reached.
    pub(super) fn found_here(&self, question: &mut Question, records: Vec<RData>) -> (ResponseCode, Vec<RData>) {
        let Some(gate) = self.view.gate() else { return (ResponseCode::NoError, records) };
        question.keep_for(CONTAINER_SECONDS);
        let addresses: Vec<IpAddr> = records.iter().filter_map(RData::ip_addr).collect();
        let lifetime = Duration::from_secs(CONTAINER_SECONDS.into());
        match gate.open(&text_of(question.name()), &addresses, lifetime) {
            Ok(_) => (ResponseCode::NoError, records),
            Err(_) => (ResponseCode::ServFail, Vec::new()),
        }
    }

    /// An answer of an upstream as the container gets it: with a gate only addresses, which may be reached by then.
    pub(super) fn checked(&self, answer: Answer) -> Vec<u8> {
        let Some(gate) = self.view.gate() else { return answer.bytes };
        let mut question = answer.question;
        let bytes_max = if answer.client.is_tcp() { TCP_BYTES_MAX } else { question.udp_bytes_max() };
        let told = message::told(&answer.bytes, question.query());
        let opened = told.and_then(|told| {
            let lifetime = Duration::from_secs(told.seconds.into());
            let addresses = gate.open(&text_of(question.name()), &told.addresses, lifetime).ok()?;
            Some((told, addresses))
        });
        // What could not be put into the rules could not be reached.
        let Some((told, addresses)) = opened else {
            return question.answer(ResponseCode::ServFail, Vec::new(), bytes_max);
        };
        question.keep_for(told.seconds);
        let records = addresses.into_iter().map(record).collect();
        question.answer_in_part(told.code, (records, told.is_cut), bytes_max)
    }
}
