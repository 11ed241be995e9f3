//! What a rule of nftables is made of: statements as values. `Display` is nft(8)'s syntax, [`Statement::encode`] the
//! kernel's: expressions that load, look up, compare and act on registers (linux/netfilter/nf_tables.h).

use std::borrow::Cow;
use std::fmt;

use super::super::wire::nested;
use super::set::Set;
use crate::address::Subnet;
use crate::firewall::expression::{
    Attributes, CMP_EQ, CMP_GTE, CMP_LTE, CMP_NEQ, CT_STATE, META_L4PROTO, META_OIFNAME, NETWORK_HEADER, NF_ACCEPT,
    NF_DROP, NFT_RETURN, REG, REG_VERDICT, TRANSPORT_HEADER, compare, decide, expression, flag, jump, look_up, meta,
    name, number, outside, payload, place, verdict, within,
};
use crate::firewall::rule::Ports;

/// One statement of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// The link that a packet came by is this one.
    In(String),
    /// The link that it leaves by is, or is not, this one.
    Out(bool, String),
    /// The link that it came by is in a set.
    InAny(Set),
    /// The link that it leaves by is in a set.
    OutAny(Set),
    /// What a map of links says of the one that it came by.
    ByIn(Set),
    /// The same of the one that it leaves by.
    ByOut(Set),
    /// What a map of subnets says of its sender.
    BySource(Set),
    /// Its sender is in a subnet.
    From(Subnet),
    /// Its receiver is in a subnet.
    To(Subnet),
    /// Its sender, or if said so its receiver, is not in a subnet.
    Outside(bool, Subnet),
    /// The link that it came by is not this one.
    NotIn(String),
    /// It is for these ports.
    Ports(Ports),
    /// Its receiver is an address of this host, or is not.
    Local(bool),
    /// It belongs to a connection that is known, or is told of one.
    Known,
    /// Its connection was translated to another receiver, or was not.
    Translated(bool),
    /// Address, protocol and port that it is for are in a set.
    Open(Set),
    /// It goes to whom a map says for its protocol and port, or for its address too.
    Dnat(Set),
    /// It gets the host's address for its sender.
    Masquerade,
    /// So many there were.
    Counter,
    /// It passes this chain.
    Accept,
    /// It is gone.
    Drop,
    /// Back to the chain that this one was jumped to from.
    Return,
    /// Another chain, and then on here.
    Jump(&'static str),
}

const META_IIFNAME: u32 = 6;
const CT_STATUS: u32 = 2;
/// NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED).
const KNOWN: u32 = 2 | 4;
const IPS_DST_NAT: u32 = 1 << 5;
const FIB_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 1 << 1;
const RTN_LOCAL: u32 = 2;
const NAT_DNAT: u32 = 1;

fn for_ports(Ports { protocol, range }: Ports) -> Attributes {
    vec![
        meta(META_L4PROTO, REG),
        compare(CMP_EQ, vec![protocol.number()]),
        payload(TRANSPORT_HEADER, (2, 2), REG),
        compare(CMP_GTE, range.first().to_be_bytes().to_vec()),
        compare(CMP_LTE, range.last().to_be_bytes().to_vec()),
    ]
}

/// Load what a set of ports is asked for: the receiver where it is part of the key, the protocol, the port.
fn load_port(set: Set, ipv6: bool) -> Attributes {
    let mut at = REG;
    let mut all = Vec::new();
    if set.has_address() {
        let (offset, length) = place(ipv6, true);
        all.push(payload(NETWORK_HEADER, (offset, length), at));
        at += length / 4;
    }
    all.push(meta(META_L4PROTO, at));
    all.push(payload(TRANSPORT_HEADER, (2, 2), at + 1));
    all
}

impl Statement {
    /// The expressions, for a table of one family.
    pub(super) fn encode(&self, ipv6: bool) -> Attributes {
        use Statement::*;
        match self {
            In(link) => vec![meta(META_IIFNAME, REG), compare(CMP_EQ, name(link))],
            Out(is, link) => vec![meta(META_OIFNAME, REG), compare(if *is { CMP_EQ } else { CMP_NEQ }, name(link))],
            InAny(set) => vec![meta(META_IIFNAME, REG), look_up(set.name(), None)],
            OutAny(set) => vec![meta(META_OIFNAME, REG), look_up(set.name(), None)],
            ByIn(map) => vec![meta(META_IIFNAME, REG), look_up(map.name(), Some(REG_VERDICT))],
            ByOut(map) => vec![meta(META_OIFNAME, REG), look_up(map.name(), Some(REG_VERDICT))],
            BySource(map) => {
                vec![payload(NETWORK_HEADER, place(ipv6, false), REG), look_up(map.name(), Some(REG_VERDICT))]
            }
            From(subnet) => within(*subnet, false),
            To(subnet) => within(*subnet, true),
            Outside(is_receiver, subnet) => outside(*subnet, *is_receiver),
            NotIn(link) => vec![meta(META_IIFNAME, REG), compare(CMP_NEQ, name(link))],
            Ports(ports) => for_ports(*ports),
            Local(is) => vec![
                expression("fib", &vec![(1, number(REG)), (2, number(FIB_ADDRTYPE)), (3, number(FIB_DADDR))]),
                // Not a number of the network: as the kernel has it in its tables.
                compare(if *is { CMP_EQ } else { CMP_NEQ }, RTN_LOCAL.to_ne_bytes().to_vec()),
            ],
            Known => flag(CT_STATE, KNOWN, true),
            Translated(is) => flag(CT_STATUS, IPS_DST_NAT, *is),
            Open(set) => [load_port(*set, ipv6), vec![look_up(set.name(), None)]].concat(),
            Dnat(map) => translate(*map, ipv6),
            Masquerade => vec![expression("masq", &vec![])],
            Counter => vec![expression("counter", &vec![(1, vec![0; 8]), (2, vec![0; 8])])],
            Accept => vec![decide(verdict(NF_ACCEPT, None))],
            Drop => vec![decide(verdict(NF_DROP, None))],
            Return => vec![decide(verdict(NFT_RETURN, None))],
            Jump(chain) => vec![decide(jump(chain))],
        }
    }

    /// nft's words.
    pub(super) fn words(&self, ipv6: bool) -> String {
        use Statement::*;
        let ip = if ipv6 { "ip6" } else { "ip" };
        let port = |set: &Set| match set.has_address() {
            true => format!("{ip} daddr . meta l4proto . th dport"),
            false => "meta l4proto . th dport".to_owned(),
        };
        match self {
            In(link) => format!("iifname \"{link}\""),
            Out(true, link) => format!("oifname \"{link}\""),
            Out(false, link) => format!("oifname != \"{link}\""),
            InAny(set) => format!("iifname @{set}"),
            OutAny(set) => format!("oifname @{set}"),
            ByIn(map) => format!("iifname vmap @{map}"),
            ByOut(map) => format!("oifname vmap @{map}"),
            BySource(map) => format!("{ip} saddr vmap @{map}"),
            From(subnet) => format!("{ip} saddr {subnet}"),
            To(subnet) => format!("{ip} daddr {subnet}"),
            Outside(false, subnet) => format!("{ip} saddr != {subnet}"),
            Outside(true, subnet) => format!("{ip} daddr != {subnet}"),
            NotIn(link) => format!("iifname != \"{link}\""),
            Ports(ports) => format!("{} dport {}", ports.protocol, ports.range),
            Local(is) => format!("fib daddr type {}local", if *is { "" } else { "!= " }),
            Known => "ct state established,related".into(),
            Translated(true) => "ct status dnat".into(),
            Translated(false) => "ct status ! dnat".into(),
            Open(set) => format!("{} @{set}", port(set)),
            Dnat(map) => format!("dnat {ip} to {} map @{map}", port(map)),
            Masquerade => "masquerade".into(),
            Counter => "counter".into(),
            Accept => "accept".into(),
            Drop => "drop".into(),
            Return => "return".into(),
            Jump(chain) => format!("jump {chain}"),
        }
    }
}

/// The map's answer is an address, and where it is no range a port.
fn translate(map: Set, ipv6: bool) -> Attributes {
    let family = super::super::wire::family(ipv6);
    let port = REG + if ipv6 { 4 } else { 1 };
    let mut all = load_port(map, ipv6);
    all.push(look_up(map.name(), Some(REG)));
    let mut attributes = vec![(1, number(NAT_DNAT)), (2, number(family.into())), (3, number(REG))];
    if !map.is_of_ranges() {
        attributes.push((5, number(port)));
    }
    all.push(expression("nat", &attributes));
    all
}

/// A rule: where, what for, and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NftRule {
    pub(super) chain: String,
    /// A sentence; with the chain it tells the rule from any other, and it is the rule's comment.
    pub(super) why: Cow<'static, str>,
    pub(super) statements: Vec<Statement>,
}

impl NftRule {
    /// NFTA_RULE_EXPRESSIONS.
    pub(super) fn encode(&self, ipv6: bool) -> Vec<u8> {
        nested(&self.statements.iter().flat_map(|statement| statement.encode(ipv6)).collect::<Vec<_>>())
    }

    /// `ip rbox forward iifname "rbox0" counter accept`
    pub(super) fn words(&self, ipv6: bool) -> String {
        let statements: Vec<String> = self.statements.iter().map(|statement| statement.words(ipv6)).collect();
        format!("{} rbox {} {}", if ipv6 { "ip6" } else { "ip" }, self.chain, statements.join(" "))
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
