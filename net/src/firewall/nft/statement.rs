//! What a rule of nftables is made of: statements as values. `Display` is nft(8)'s syntax, [`Statement::encode`] the
//! kernel's: expressions that load, look up, compare and act on registers (linux/netfilter/nf_tables.h).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use super::super::wire::{nested, text};
use super::set::Set;
use crate::address::Subnet;
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

const REG_VERDICT: u32 = 0;
/// The first of sixteen registers of four bytes.
const REG: u32 = 8;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED).
const KNOWN: u32 = 2 | 4;
const IPS_DST_NAT: u32 = 1 << 5;
const FIB_ADDRTYPE: u32 = 3;
const FIB_DADDR: u32 = 1 << 1;
const RTN_LOCAL: u32 = 2;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const CMP_LTE: u32 = 3;
const CMP_GTE: u32 = 5;
const NAT_DNAT: u32 = 1;
/// IFNAMSIZ: the room of a link's name.
const NAME_BYTES: usize = 16;

pub(super) const NFTA_LIST_ELEM: u16 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;

/// A verdict's number. linux/netfilter.h, nf_tables.h.
const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_JUMP: i32 = -3;
const NFT_RETURN: i32 = -5;

type Attributes = Vec<(u16, Vec<u8>)>;

fn number(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// A link's name, as the kernel compares it.
pub(super) fn name(link: &str) -> Vec<u8> {
    let mut bytes = link.as_bytes().to_vec();
    bytes.resize(NAME_BYTES, 0);
    bytes
}

/// NFTA_*_DATA with a value.
pub(super) fn value(bytes: Vec<u8>) -> Vec<u8> {
    nested(&[(NFTA_DATA_VALUE, bytes)])
}

/// The same with the verdict to go on in a chain.
pub(super) fn jump(chain: &str) -> Vec<u8> {
    verdict(NFT_JUMP, Some(chain))
}

fn verdict(code: i32, chain: Option<&str>) -> Vec<u8> {
    let mut attributes = vec![(1, code.to_be_bytes().to_vec())];
    attributes.extend(chain.map(|chain| (2, text(chain))));
    nested(&[(NFTA_DATA_VERDICT, nested(&attributes))])
}

fn expression(name: &str, attributes: &Attributes) -> (u16, Vec<u8>) {
    (NFTA_LIST_ELEM, nested(&[(1, text(name)), (2, nested(attributes))]))
}

fn meta(key: u32, to: u32) -> (u16, Vec<u8>) {
    expression("meta", &vec![(1, number(to)), (2, number(key))])
}

fn payload(base: u32, (offset, length): (u32, u32), to: u32) -> (u16, Vec<u8>) {
    expression("payload", &vec![(1, number(to)), (2, number(base)), (3, number(offset)), (4, number(length))])
}

fn compare(operation: u32, with: Vec<u8>) -> (u16, Vec<u8>) {
    expression("cmp", &vec![(1, number(REG)), (2, number(operation)), (3, value(with))])
}

fn mask(bytes: Vec<u8>) -> (u16, Vec<u8>) {
    let length = u32::try_from(bytes.len()).expect("an address is short");
    let none = vec![0; bytes.len()];
    let attributes = vec![(1, number(REG)), (2, number(REG)), (3, number(length)), (4, value(bytes)), (5, value(none))];
    expression("bitwise", &attributes)
}

fn look_up(set: Set, to: Option<u32>) -> (u16, Vec<u8>) {
    let mut attributes = vec![(1, text(set.name())), (2, number(REG))];
    attributes.extend(to.map(|register| (3, number(register))));
    expression("lookup", &attributes)
}

fn decide(data: Vec<u8>) -> (u16, Vec<u8>) {
    expression("immediate", &vec![(1, number(REG_VERDICT)), (2, data)])
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Where sender and receiver stand in the header of a packet, and how long they are.
fn place(ipv6: bool, is_receiver: bool) -> (u32, u32) {
    match (ipv6, is_receiver) {
        (false, false) => (12, 4),
        (false, true) => (16, 4),
        (true, false) => (8, 16),
        (true, true) => (24, 16),
    }
}

fn for_ports(Ports { protocol, range }: Ports) -> Attributes {
    vec![
        meta(META_L4PROTO, REG),
        compare(CMP_EQ, vec![protocol.number()]),
        payload(TRANSPORT_HEADER, (2, 2), REG),
        compare(CMP_GTE, range.first().to_be_bytes().to_vec()),
        compare(CMP_LTE, range.last().to_be_bytes().to_vec()),
    ]
}

fn within(subnet: Subnet, is_receiver: bool, operation: u32) -> Attributes {
    let mut all = vec![payload(NETWORK_HEADER, place(subnet.is_ipv6(), is_receiver), REG)];
    all.push(mask(bytes(subnet.mask())));
    all.push(compare(operation, bytes(subnet.first())));
    all
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
            InAny(set) => vec![meta(META_IIFNAME, REG), look_up(*set, None)],
            OutAny(set) => vec![meta(META_OIFNAME, REG), look_up(*set, None)],
            ByIn(map) => vec![meta(META_IIFNAME, REG), look_up(*map, Some(REG_VERDICT))],
            ByOut(map) => vec![meta(META_OIFNAME, REG), look_up(*map, Some(REG_VERDICT))],
            BySource(map) => {
                vec![payload(NETWORK_HEADER, place(ipv6, false), REG), look_up(*map, Some(REG_VERDICT))]
            }
            From(subnet) => within(*subnet, false, CMP_EQ),
            To(subnet) => within(*subnet, true, CMP_EQ),
            Outside(is_receiver, subnet) => within(*subnet, *is_receiver, CMP_NEQ),
            NotIn(link) => vec![meta(META_IIFNAME, REG), compare(CMP_NEQ, name(link))],
            Ports(ports) => for_ports(*ports),
            Local(is) => vec![
                expression("fib", &vec![(1, number(REG)), (2, number(FIB_ADDRTYPE)), (3, number(FIB_DADDR))]),
                // Not a number of the network: as the kernel has it in its tables.
                compare(if *is { CMP_EQ } else { CMP_NEQ }, RTN_LOCAL.to_ne_bytes().to_vec()),
            ],
            Known => flag(CT_STATE, KNOWN, true),
            Translated(is) => flag(CT_STATUS, IPS_DST_NAT, *is),
            Open(set) => [load_port(*set, ipv6), vec![look_up(*set, None)]].concat(),
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

/// Something that connection tracking says of a packet, one bit of it.
fn flag(key: u32, bits: u32, is_set: bool) -> Attributes {
    let load = expression("ct", &vec![(1, number(REG)), (2, number(key))]);
    let operation = if is_set { CMP_NEQ } else { CMP_EQ };
    vec![load, mask(bits.to_ne_bytes().to_vec()), compare(operation, vec![0; 4])]
}

/// The map's answer is an address, and where it is no range a port.
fn translate(map: Set, ipv6: bool) -> Attributes {
    let family = super::super::wire::family(ipv6);
    let port = REG + if ipv6 { 4 } else { 1 };
    let mut all = load_port(map, ipv6);
    all.push(look_up(map, Some(REG)));
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
