//! What else the host's packet filter says: rules that are not of rbox's making, read and asked about one kind of packet.
//!
//! ```text
//!   iptables -S ─▶ iptables.rs ┐
//!   nft -j list ─▶ nft.rs      ┴▶ Tables: base chains, rules as Match + Verdict
//!                                   └▶ flat.rs: all of a base chain, one line after the other, for the packets in question
//!                                        ├▶ the audit: does it let them pass?
//!                                        └▶ firewall/respect.rs: the same lines for published ports
//! ```
//!
//! The packets in question always begin a connection and come from elsewhere, so much of a firewall says nothing about them.
//! What is not understood is never guessed at: such a line is not [`Line::is_exact`].

mod flat;
mod iptables;
mod managers;
mod nft;
mod packets;

use std::collections::HashMap;
use std::rc::Rc;

use crate::address::Subnet;
use crate::firewall::Is;
use crate::ports::{PortRange, Protocol};

pub(crate) use flat::{Line, flatten};
pub(crate) use managers::manager;
pub(crate) use packets::{Packets, Stage};

/// Where in the kernel a base chain is called: linux/netfilter.h, enum nf_inet_hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    fn of_word(word: &str) -> Option<Hook> {
        let all = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
        all.into_iter().find(|hook| word.eq_ignore_ascii_case(&format!("{hook:?}")))
    }
}

/// Every base chain that one family's packets pass, beside rbox's own table.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) bases: Vec<Base>,
    /// What could not be looked at, and why.
    pub(crate) unseen: Vec<String>,
}

impl Tables {
    /// Every rule, as it is found.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let rules = self.bases.iter().flat_map(|base| base.chains.values().flatten());
        rules.map(|rule| rule.text.as_str())
    }
}

/// A chain that the kernel calls, and all that it leads to.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// `iptables -t filter`, `nft inet firewalld`
    pub(crate) table: String,
    pub(crate) chain: String,
    pub(crate) hook: Hook,
    /// It translates addresses, and forbids nothing.
    pub(crate) translates: bool,
    /// It is called after the receiver has been translated.
    pub(crate) sees_translated: bool,
    /// What nothing was said about passes.
    pub(crate) passes: bool,
    pub(crate) chains: Rc<HashMap<String, Vec<Foreign>>>,
}

/// A rule of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    /// As it is found: iptables' line, nft's handle.
    pub(crate) text: String,
    pub(crate) matches: Vec<Match>,
    pub(crate) verdict: Verdict,
}

/// What a rule asks of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Match {
    /// The link that it came by; one that ends in `*` stands for all that begin so.
    Input(Is<String>),
    Output(Is<String>),
    Source(Is<Subnet>),
    Destination(Is<Subnet>),
    /// The number in the header of IP.
    Protocol(Is<u8>),
    /// The port that it is for.
    Port(Is<PortRange>),
    /// The port that it was for before it was translated.
    OriginalPort(Is<PortRange>),
    OriginalDestination(Is<Subnet>),
    /// The state of its connection is one of these, or is not: `NEW`, `DNAT`.
    State(bool, Vec<String>),
    /// What kind of address it is for is one of these, or is not: `LOCAL`.
    DestinationType(bool, Vec<String>),
    /// It has any of these.
    Any(Vec<Match>),
    /// No packet of this family has it.
    Never,
    /// Something that only the kernel can tell.
    Unknown,
}

/// What becomes of a packet that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    /// Dropped, or refused with a word.
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// It is sent elsewhere.
    Translate,
    /// It goes on: something was counted, marked, or written to the log.
    Nothing,
    /// Only the kernel can tell.
    Unknown,
}

/// Read all that there is for one family.
pub(crate) fn read(ipv6: bool) -> Tables {
    let mut tables = Tables::default();
    let of_iptables = iptables::read(ipv6);
    // What iptables has not understood, or is not here to read, nft does.
    let named: Vec<&str> = of_iptables.iter().map(|(table, _)| *table).collect();
    match nft::read(ipv6, &["ruleset"], &named) {
        Ok(bases) => tables.bases.extend(bases),
        Err(why) => tables.unseen.push(why),
    }
    tables.bases.extend(of_iptables.into_iter().flat_map(|(_, bases)| bases));
    tables
}

/// Read what decides about programs of the host's: iptables' table filter, and with `is_nft` firewalld's own table. What cannot be
/// read is not there.
pub(crate) fn read_input(ipv6: bool, is_nft: bool) -> Vec<Base> {
    let of_nft = is_nft.then(|| nft::read(ipv6, &["table", "inet", "firewalld"], &[]).unwrap_or_default());
    iptables::read_filter(ipv6).into_iter().chain(of_nft.into_iter().flatten()).collect()
}

/// The number of a protocol, by its name or as it is.
fn protocol(word: &str) -> Option<u8> {
    let known = Protocol::read(word).map(Protocol::number);
    known.ok().or_else(|| word.parse().ok()).or_else(|| OTHERS.iter().find(|(name, _)| *name == word).map(|it| it.1))
}

/// Other protocols by name: IANA, Assigned Internet Protocol Numbers.
const OTHERS: [(&str, u8); 9] = [
    ("icmp", 1),
    ("igmp", 2),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("vrrp", 112),
    ("dccp", 33),
];
