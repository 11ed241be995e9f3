//! What the rules of the policy are made of. `Display` is nft(8)'s syntax, `encode` the kernel's.

use std::fmt;
use std::ops::RangeInclusive;

use crate::address::Subnet;
use crate::firewall::expression::{
    Attributes, CMP_EQ, CMP_GTE, CMP_LTE, CMP_NEQ, CT_STATE, META_L4PROTO, META_OIFNAME, NETWORK_HEADER, NF_ACCEPT,
    REG, TRANSPORT_HEADER, compare, decide, expression, flag, look_up, mask, meta, name, number, payload, place,
    verdict, within,
};
use crate::firewall::wire::{family, nested, text};
use crate::ports::PortRange;

use super::set::Set;

/// What a packet has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// It stays in the container.
    ToItself,
    /// It has options of IPv4, or a routing header of IPv6: what stands there may send it on to somebody else.
    Options,
    RoutingHeader,
    /// It belongs to a connection that was allowed, or that somebody else has opened.
    Established,
    /// It tells of something that has befallen such a connection.
    Related,
    /// The mark of our own name server.
    Marked(u32),
    Protocol(Transport),
    NotProtocol(Transport),
    /// A message of the kernel's own to its neighbours, of these types.
    Icmpv6(RangeInclusive<u8>, u8),
    To(Subnet),
    /// Its receiver is in a set.
    In(Set),
    Port(PortRange),
}

/// Protocols by their numbers (IANA, Assigned Internet Protocol Numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Icmp = 1,
    Tcp = 6,
    Udp = 17,
    Icmpv6 = 58,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Transport::Icmp => "icmp",
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Icmpv6 => "ipv6-icmp",
        }
    }
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Accept,
    /// It goes on in the chain of what is refused.
    Refuse,
    /// It is counted by its receiver, and goes on.
    Record(Set),
    /// The program is told at once, and does not wait: by a reset, or by a message that it is forbidden.
    Reset,
    Reject,
}

/// A rule: for which packets, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: &'static str,
    /// A sentence, its comment.
    pub(super) why: String,
    pub(super) matches: Vec<Match>,
    pub(super) action: Action,
}

/// The chain that the kernel calls for each packet that leaves a program.
pub(super) const OUT: &str = "out";
/// Where a packet ends that nothing allows.
pub(super) const REFUSED: &str = "refused";

const META_MARK: u32 = 3;
/// NF_CT_STATE_BIT of linux/netfilter/nf_conntrack_common.h.
const ESTABLISHED: u32 = 2;
const RELATED: u32 = 4;
const NFT_GOTO: i32 = -4;
const DYNSET_UPDATE: u32 = 1;
const REJECT_ICMPX: u32 = 2;
const REJECT_TCP_RST: u32 = 1;
const ICMPX_ADMIN_PROHIBITED: u8 = 3;
/// The header of routing, IPPROTO_ROUTING.
const ROUTING: u8 = 43;
const EXTHDR_PRESENT: u32 = 1;

/// At least, and at most.
fn between(range: (Vec<u8>, Vec<u8>)) -> Attributes {
    match range {
        (first, last) if first == last => vec![compare(CMP_EQ, first)],
        (first, last) => vec![compare(CMP_GTE, first), compare(CMP_LTE, last)],
    }
}

fn state(bits: u32) -> Attributes {
    flag(CT_STATE, bits, true)
}

/// Only of one family; a table has both.
fn of_family(ipv6: bool) -> Attributes {
    const META_NFPROTO: u32 = 15;
    vec![meta(META_NFPROTO, REG), compare(CMP_EQ, vec![family(ipv6)])]
}

impl Match {
    fn encode(&self) -> Attributes {
        use Match::*;
        match self {
            ToItself => vec![meta(META_OIFNAME, REG), compare(CMP_EQ, name("lo"))],
            // The length of the header, in words of four bytes: 5 without options (RFC 791, 3.1).
            Options => [
                of_family(false),
                vec![payload(NETWORK_HEADER, (0, 1), REG), mask(vec![0x0f]), compare(CMP_NEQ, vec![5])],
            ]
            .concat(),
            RoutingHeader => {
                let of_header = vec![
                    (1, number(REG)),
                    (2, vec![ROUTING]),
                    (3, number(0)),
                    (4, number(1)),
                    (5, number(EXTHDR_PRESENT)),
                ];
                [of_family(true), vec![expression("exthdr", &of_header), compare(CMP_EQ, vec![1])]].concat()
            }
            Established => state(ESTABLISHED),
            Related => state(RELATED),
            Marked(mark) => vec![meta(META_MARK, REG), compare(CMP_EQ, mark.to_ne_bytes().to_vec())],
            Protocol(protocol) => vec![meta(META_L4PROTO, REG), compare(CMP_EQ, vec![*protocol as u8])],
            NotProtocol(protocol) => vec![meta(META_L4PROTO, REG), compare(CMP_NEQ, vec![*protocol as u8])],
            Icmpv6(types, hop_limit) => [
                of_family(true),
                vec![payload(NETWORK_HEADER, (7, 1), REG), compare(CMP_EQ, vec![*hop_limit])],
                Protocol(Transport::Icmpv6).encode(),
                vec![payload(TRANSPORT_HEADER, (0, 1), REG)],
                between((vec![*types.start()], vec![*types.end()])),
            ]
            .concat(),
            To(subnet) => [of_family(subnet.is_ipv6()), within(*subnet, true)].concat(),
            In(set) => {
                let receiver = payload(NETWORK_HEADER, place(set.ipv6, true), REG);
                [of_family(set.ipv6), vec![receiver, look_up(&set.name(), None)]].concat()
            }
            Port(ports) => {
                let port = |port: u16| port.to_be_bytes().to_vec();
                let load = vec![payload(TRANSPORT_HEADER, (2, 2), REG)];
                [load, between((port(ports.first()), port(ports.last())))].concat()
            }
        }
    }
}

impl Action {
    fn encode(&self) -> Attributes {
        match self {
            Action::Accept => vec![decide(verdict(NF_ACCEPT, None))],
            Action::Refuse => vec![decide(verdict(NFT_GOTO, Some(REFUSED)))],
            Action::Record(set) => {
                let counter = (1, text("counter"));
                let counter = nested(&[counter, (2, nested(&[(1, vec![0; 8]), (2, vec![0; 8])]))]);
                let update = vec![(1, text(&set.name())), (3, number(DYNSET_UPDATE)), (4, number(REG)), (7, counter)];
                [of_family(set.ipv6), set.load(), vec![expression("dynset", &update)]].concat()
            }
            Action::Reset => vec![expression("reject", &vec![(1, number(REJECT_TCP_RST)), (2, vec![0])])],
            Action::Reject => {
                vec![expression("reject", &vec![(1, number(REJECT_ICMPX)), (2, vec![ICMPX_ADMIN_PROHIBITED])])]
            }
        }
    }
}

impl Rule {
    /// NFTA_RULE_EXPRESSIONS.
    pub(super) fn encode(&self) -> Vec<u8> {
        nested(&self.matches.iter().flat_map(Match::encode).chain(self.action.encode()).collect::<Vec<_>>())
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Match::*;
        let word = |ipv6: bool| if ipv6 { "ip6" } else { "ip" };
        match self {
            ToItself => f.write_str("oifname \"lo\""),
            Options => f.write_str("ip hdrlength != 5"),
            RoutingHeader => f.write_str("exthdr rt exists"),
            Established => f.write_str("ct state established"),
            Related => f.write_str("ct state related"),
            Marked(mark) => write!(f, "meta mark {mark:#x}"),
            Protocol(protocol) => write!(f, "meta l4proto {}", protocol.name()),
            NotProtocol(protocol) => write!(f, "meta l4proto != {}", protocol.name()),
            Icmpv6(types, limit) if types.start() == types.end() => {
                write!(f, "ip6 hoplimit {limit} icmpv6 type {}", types.start())
            }
            Icmpv6(types, limit) => {
                write!(f, "ip6 hoplimit {limit} icmpv6 type {}-{}", types.start(), types.end())
            }
            To(subnet) => write!(f, "{} daddr {subnet}", word(subnet.is_ipv6())),
            In(set) => write!(f, "{} daddr @{set}", word(set.ipv6)),
            Port(ports) => write!(f, "th dport {ports}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Accept => f.write_str("accept"),
            Action::Refuse => write!(f, "goto {REFUSED}"),
            Action::Record(set) => write!(f, "update @{set} {{ {} counter }}", set.key_words()),
            Action::Reset => f.write_str("reject with tcp reset"),
            Action::Reject => f.write_str("reject with icmpx admin-prohibited"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.chain)?;
        self.matches.iter().try_for_each(|it| write!(f, " {it}"))?;
        write!(f, " {} comment \"{}\"", self.action, self.why)
    }
}
