//! What a client asks, and how it is answered: the bytes of DNS messages.
//!
//! RFC 1035 (messages), RFC 6891 (EDNS), RFC 8906 (what servers must not leave unanswered), RFC 9619 (one question).
//! hickory-proto reads and writes; what may be asked at all is decided here.

use hickory_proto::op::{Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// The longest question that is read. Real ones have at most some hundred bytes (RFC 8467 pads them to 128).
pub(super) const QUESTION_BYTES_MAX: usize = 4096;
/// The longest answer of ours by tcp.
pub(super) const TCP_BYTES_MAX: usize = 65535;
/// What a client takes by udp when it says nothing. RFC 1035, 4.2.1.
const UDP_BYTES: u16 = 512;
/// What we say that we take: never cut on its way. DNS flag day 2020.
const OUR_UDP_BYTES: u16 = 1232;
/// Seconds that an answer may be kept, where nothing else is said; Docker's value.
const TTL_SECONDS: u32 = 600;
/// A record with an address: pointer to the name, type, class, ttl, length, IPv6 address.
const RECORD_BYTES_MAX: usize = 28;

/// What came from a client.
pub(super) enum Asked {
    /// One question that can be understood.
    Question(Question),
    /// Anything else that wants an answer: this one.
    Refused(Vec<u8>),
    /// No question at all: too short, or itself an answer. To answer those could go round for ever.
    Rubbish,
}

/// One question of a client.
#[derive(Debug, Clone)]
pub(super) struct Question {
    metadata: Metadata,
    query: Query,
    edns: Option<Edns>,
    ttl_seconds: u32,
    /// What is asked upstream in its place.
    asked: Option<Box<Query>>,
}

/// Understand what a client sent.
pub(super) fn read(bytes: &[u8]) -> Asked {
    let Ok(header) = Header::read(&mut BinDecoder::new(bytes)) else { return Asked::Rubbish };
    let Header { metadata, counts } = header;
    if metadata.message_type == MessageType::Response {
        return Asked::Rubbish;
    }
    if metadata.op_code != OpCode::Query {
        return Asked::Refused(refusal(&metadata, ResponseCode::NotImp));
    }
    // Before the rest is read: hickory makes room for as many questions as are announced.
    if counts.queries != 1 || bytes.len() > QUESTION_BYTES_MAX || !is_plausible(counts, bytes.len()) {
        return Asked::Refused(refusal(&metadata, ResponseCode::FormErr));
    }
    let Ok(Message { metadata, mut queries, edns, .. }) = Message::from_vec(bytes) else {
        return Asked::Refused(refusal(&metadata, ResponseCode::FormErr));
    };
    let Some(query) = queries.pop() else { return Asked::Rubbish };
    let question = Question { metadata, query, edns, ttl_seconds: TTL_SECONDS, asked: None };
    if question.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return Asked::Refused(question.answer(ResponseCode::BADVERS, Vec::new(), question.udp_bytes_max()));
    }
    // One question forwarded is one answer passed back, and a zone is many.
    if matches!(question.query.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return Asked::Refused(question.answer(ResponseCode::Refused, Vec::new(), question.udp_bytes_max()));
    }
    Asked::Question(question)
}

/// A record has 11 bytes at least.
fn is_plausible(counts: HeaderCounts, length: usize) -> bool {
    let records = [counts.answers, counts.authorities, counts.additionals];
    records.iter().map(|count| usize::from(*count) * 11).sum::<usize>() <= length
}

/// An answer that is a header alone, for what cannot be read further.
fn refusal(asked: &Metadata, code: ResponseCode) -> Vec<u8> {
    let mut metadata = Metadata::response_from_request(asked);
    metadata.recursion_available = true;
    metadata.response_code = code;
    let mut message = Message::response(asked.id, asked.op_code);
    message.metadata = metadata;
    message.to_vec().expect("a header has no part that could be too long")
}

impl Question {
    /// The name asked for.
    pub(super) fn name(&self) -> &Name {
        self.query.name()
    }

    /// The type asked for: none that there is, when it is not about the internet (RFC 1035, 3.2.4).
    pub(super) fn kind(&self) -> RecordType {
        match self.query.query_class() {
            DNSClass::IN | DNSClass::ANY => self.query.query_type(),
            _ => RecordType::ZERO,
        }
    }

    /// What is asked upstream: name, type and class.
    pub(super) fn query(&self) -> &Query {
        self.asked.as_deref().unwrap_or(&self.query)
    }

    /// How long its answer may be kept.
    pub(super) fn keep_for(&mut self, seconds: u32) {
        self.ttl_seconds = seconds;
    }

    /// A question of our own for the addresses of its name: nothing that the client has written goes along, but the name in
    /// small letters.
    pub(super) fn of_our_own(mut self) -> (Question, Vec<u8>) {
        let mut query = Query::query(self.query.name().to_lowercase(), self.query.query_type());
        query.set_query_class(DNSClass::IN);
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(OUR_UDP_BYTES);
        message.set_edns(edns);
        self.asked = Some(Box::new(query));
        (self, message.to_vec().expect("a name that was read can be written"))
    }

    /// The client's id.
    pub(super) fn id(&self) -> u16 {
        self.metadata.id
    }

    /// How long an answer by udp may be.
    pub(super) fn udp_bytes_max(&self) -> usize {
        self.edns.as_ref().map_or(UDP_BYTES, Edns::max_payload).max(UDP_BYTES).into()
    }

    /// Write an answer of at most `bytes_max`; what does not fit is left out, and TC says so.
    pub(super) fn answer(&self, code: ResponseCode, records: Vec<RData>, bytes_max: usize) -> Vec<u8> {
        self.answer_in_part(code, (records, false), bytes_max)
    }

    /// The same of records that may not be all.
    pub(super) fn answer_in_part(
        &self,
        code: ResponseCode,
        (records, is_cut): (Vec<RData>, bool),
        bytes_max: usize,
    ) -> Vec<u8> {
        let mut message = Message::response(self.metadata.id, OpCode::Query);
        message.metadata = Metadata::response_from_request(&self.metadata);
        message.metadata.recursion_available = true;
        message.metadata.authoritative = matches!(code, ResponseCode::NoError | ResponseCode::NXDomain);
        message.metadata.response_code = code;
        message.metadata.truncation = is_cut;
        message.add_query(self.query.clone());
        let record = |data| Record::from_rdata(self.name().clone(), self.ttl_seconds, data);
        message.add_answers(records.into_iter().map(record));
        if let Some(asked) = &self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(OUR_UDP_BYTES).set_dnssec_ok(asked.flags().dnssec_ok);
            message.set_edns(edns);
        }
        loop {
            // A message without answers is one question and one OPT: always short enough.
            let bytes = message.to_vec().unwrap_or_default();
            let over = bytes.len().saturating_sub(bytes_max);
            if over == 0 || message.answers.is_empty() {
                return bytes;
            }
            message.metadata.truncation = true;
            // At least one goes each time, and never more than must.
            let too_many = (over / RECORD_BYTES_MAX).max(1);
            message.answers.truncate(message.answers.len().saturating_sub(too_many));
        }
    }
}

/// Give a message another id.
pub(super) fn set_id(message: &mut [u8], id: u16) {
    if let Some(place) = message.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// What an upstream says of a name's addresses.
pub(super) struct Told {
    pub(super) code: ResponseCode,
    /// It did not fit: to be asked again by tcp.
    pub(super) is_cut: bool,
    pub(super) addresses: Vec<IpAddr>,
    /// How long all of it may be kept.
    pub(super) seconds: u32,
}

/// More further names than this nobody has (BIND follows as many).
const ALIASES_MAX: usize = 16;

/// Read an answer to a question for addresses: those of the name itself, by way of the further names that it is said to have.
pub(super) fn told(bytes: &[u8], query: &Query) -> Option<Told> {
    let message = Message::from_vec(bytes).ok()?;
    let mut told = Told {
        code: message.metadata.response_code,
        is_cut: message.metadata.truncation,
        addresses: Vec::new(),
        seconds: u32::MAX,
    };
    let mut name = query.name().clone();
    for _ in 0..ALIASES_MAX {
        let of_name = || message.answers.iter().filter(|record| record.name == name);
        for record in of_name() {
            let address = match &record.data {
                RData::A(A(address)) => IpAddr::V4(*address),
                RData::AAAA(AAAA(address)) => IpAddr::V6(*address),
                _ => continue,
            };
            told.seconds = told.seconds.min(record.ttl);
            told.addresses.push(address);
        }
        let alias = of_name().find_map(|record| match &record.data {
            RData::CNAME(alias) => Some((alias.0.clone(), record.ttl)),
            _ => None,
        });
        let Some((alias, seconds)) = alias.filter(|_| told.addresses.is_empty()) else { break };
        told.seconds = told.seconds.min(seconds);
        name = alias;
    }
    Some(told)
}

/// What an upstream says of our question.
pub(super) enum Heard {
    /// To be passed on as it is.
    Answer,
    /// SERVFAIL, REFUSED: another upstream may know more.
    Failure,
    /// Not an answer to this question.
    Other,
}

/// Judge an answer: it must bear our id and repeat the question. RFC 5452, 9.1.
pub(super) fn judge(bytes: &[u8], id: u16, query: &Query) -> Heard {
    let mut decoder = BinDecoder::new(bytes);
    let Ok(Header { metadata, counts }) = Header::read(&mut decoder) else { return Heard::Other };
    if metadata.id != id || metadata.message_type != MessageType::Response || metadata.op_code != OpCode::Query {
        return Heard::Other;
    }
    let is_failure = matches!(metadata.response_code, ResponseCode::ServFail | ResponseCode::Refused);
    let is_bare = counts.queries == 0
        && (is_failure || matches!(metadata.response_code, ResponseCode::FormErr | ResponseCode::NotImp));
    // A server that could not read the question cannot repeat it.
    let is_ours = is_bare || (counts.queries == 1 && Query::read(&mut decoder).is_ok_and(|said| said == *query));
    match (is_ours, is_failure) {
        (false, _) => Heard::Other,
        (true, true) => Heard::Failure,
        (true, false) => Heard::Answer,
    }
}

#[cfg(test)]
mod tests;
