//! The sets and maps of rbox's tables, and what is put into them.
//!
//! A look into one costs the same for one port and for ten thousand. Single ports are hashed; ranges are intervals of
//! their own, since each change of those copies all that is there.

use std::net::IpAddr;
use std::rc::Rc;

use super::super::wire::{nested, text};
use crate::address::Subnet;
use crate::firewall::expression::{NFTA_LIST_ELEM, jump, name, value};
use crate::ports::{PortRange, Protocol};

/// A set or map of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Set {
    /// Bridges of networks that have a way out.
    Bridges,
    /// Bridges of those that have none.
    Internal,
    /// From a bridge to the chain of what comes from it.
    From,
    /// From a bridge to the chain of what goes to it.
    To,
    /// From a network's addresses to the chain of what they send out.
    Subnets,
    /// From protocol and port to who serves it.
    Ports,
    /// The same at one address of the host.
    PortsAt,
    /// The same for a range of ports that stay as they are.
    Ranges,
    /// The same at one address of the host.
    RangesAt,
    /// Ports of containers whose own addresses are used from outside.
    Open,
}

const NFT_SET_INTERVAL: u32 = 4;
const NFT_SET_MAP: u32 = 8;
const NFT_SET_CONCAT: u32 = 0x80;
const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
const NFT_SET_ELEM_INTERVAL_END: u32 = 1;
/// nft's numbers of types, as it stores them for itself (nftables, include/datatype.h).
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
const TYPE_IFNAME: u32 = 41;
const TYPE_BITS: u32 = 6;
/// How nft is to read the keys back, nftnl's NFTNL_UDATA_SET_KEYBYTEORDER.
const KEY_BYTE_ORDER: u8 = 0;
const HOST_ORDER: u32 = 1;
const NETWORK_ORDER: u32 = 2;
/// A comment of an element, nftnl's NFTNL_UDATA_SET_ELEM_COMMENT.
const COMMENT: u8 = 0;
/// Its bytes and those before it are numbered by one.
const COMMENT_BYTES_MAX: usize = 250;

type Attributes = Vec<(u16, Vec<u8>)>;

fn number(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// So that a text finds room in registers of four bytes.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn address(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// A comment as nftables keeps it: kind, length, text with a zero at its end.
pub(crate) fn comment(words: &str) -> Vec<u8> {
    let end = (0..=words.len().min(COMMENT_BYTES_MAX)).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
    let text = text(&words[..end]);
    let mut bytes = vec![COMMENT, u8::try_from(text.len()).expect("it was cut")];
    bytes.extend(text);
    bytes
}

/// What such a comment says.
pub(super) fn commented(bytes: &[u8]) -> Option<&str> {
    let [COMMENT, length, text @ ..] = bytes else { return None };
    std::str::from_utf8(text.get(..usize::from(*length).checked_sub(1)?)?).ok()
}

impl Set {
    pub(super) const ALL: [Set; 10] = [
        Set::Bridges,
        Set::Internal,
        Set::From,
        Set::To,
        Set::Subnets,
        Set::Ports,
        Set::PortsAt,
        Set::Ranges,
        Set::RangesAt,
        Set::Open,
    ];

    /// Those of published ports.
    pub(super) const OF_PORTS: [Set; 5] = [Set::Ports, Set::PortsAt, Set::Ranges, Set::RangesAt, Set::Open];

    pub(super) fn name(self) -> &'static str {
        match self {
            Set::Bridges => "bridges",
            Set::Internal => "internal",
            Set::From => "from",
            Set::To => "to",
            Set::Subnets => "subnets",
            Set::Ports => "ports",
            Set::PortsAt => "ports-at",
            Set::Ranges => "ranges",
            Set::RangesAt => "ranges-at",
            Set::Open => "open",
        }
    }

    /// Whether the receiver's address is the first part of its key.
    pub(super) fn has_address(self) -> bool {
        matches!(self, Set::PortsAt | Set::RangesAt | Set::Open)
    }

    /// Whether its ports are intervals.
    pub(super) fn is_of_ranges(self) -> bool {
        matches!(self, Set::Ranges | Set::RangesAt)
    }

    /// `set`, or `map`.
    pub(super) fn kind(self) -> &'static str {
        if self.data(false).is_some() { "map" } else { "set" }
    }

    /// nft's words: what it is a set of.
    pub(super) fn words(self, ipv6: bool) -> String {
        let of = |kind| match kind {
            TYPE_IPV4 => "ipv4_addr",
            TYPE_IPV6 => "ipv6_addr",
            TYPE_PROTOCOL => "inet_proto",
            TYPE_PORT => "inet_service",
            _ => "ifname",
        };
        let key: Vec<&str> = self.fields(ipv6).iter().map(|(kind, _)| of(*kind)).collect();
        let data = match self.data(ipv6) {
            None => String::new(),
            Some((NFT_DATA_VERDICT, _)) => " : verdict".to_owned(),
            Some((kind, _)) if self.is_of_ranges() => format!(" : {}", of(kind)),
            Some((kind, _)) => format!(" : {} . inet_service", of(kind >> TYPE_BITS)),
        };
        let interval = if self.is_of_ranges() || self == Set::Subnets { " flags interval;" } else { "" };
        format!("type {}{data};{interval}", key.join(" . "))
    }

    /// NFT_MSG_NEWSET.
    pub(super) fn attributes(self, ipv6: bool, table: &str) -> Attributes {
        let fields = self.fields(ipv6);
        let length: u32 = fields.iter().map(|(_, bytes)| bytes.next_multiple_of(4)).sum();
        let key = fields.iter().fold(0, |all, (kind, _)| all << TYPE_BITS | kind);
        let data = self.data(ipv6);
        let mut flags = if data.is_some() { NFT_SET_MAP } else { 0 };
        if self.is_of_ranges() || self == Set::Subnets {
            flags |= NFT_SET_INTERVAL;
        }
        let mut description = Vec::new();
        if fields.len() > 1 && self.is_of_ranges() {
            flags |= NFT_SET_CONCAT;
            let lengths: Attributes =
                fields.iter().map(|(_, bytes)| (NFTA_LIST_ELEM, nested(&[(1, number(*bytes))]))).collect();
            description.push((2, nested(&lengths)));
        }
        let length = if fields.len() == 1 { fields[0].1 } else { length };
        let mut attributes =
            vec![(1, text(table)), (2, text(self.name())), (3, number(flags)), (4, number(key)), (5, number(length))];
        if let Some((kind, bytes)) = data {
            attributes.push((6, number(kind)));
            attributes.push((7, number(bytes)));
        }
        attributes.push((9, nested(&description)));
        let id = Set::ALL.iter().position(|set| *set == self).and_then(|at| u32::try_from(at).ok());
        attributes.push((10, number(id.unwrap_or_default() + 1)));
        let order = if fields[0].0 == TYPE_IFNAME { HOST_ORDER } else { NETWORK_ORDER };
        attributes.push((13, [&[KEY_BYTE_ORDER, 4][..], &order.to_ne_bytes()].concat()));
        attributes
    }

    /// The parts of a key: nft's type, bytes.
    fn fields(self, ipv6: bool) -> Vec<(u32, u32)> {
        let address = if ipv6 { (TYPE_IPV6, 16) } else { (TYPE_IPV4, 4) };
        match self {
            Set::Bridges | Set::Internal | Set::From | Set::To => vec![(TYPE_IFNAME, 16)],
            Set::Subnets => vec![address],
            Set::Ports | Set::Ranges => vec![(TYPE_PROTOCOL, 1), (TYPE_PORT, 2)],
            _ => vec![address, (TYPE_PROTOCOL, 1), (TYPE_PORT, 2)],
        }
    }

    /// What a map leads to: nft's type, bytes. Nothing for a set.
    fn data(self, ipv6: bool) -> Option<(u32, u32)> {
        let (address, bytes) = if ipv6 { (TYPE_IPV6, 16) } else { (TYPE_IPV4, 4) };
        match self {
            Set::Bridges | Set::Internal | Set::Open => None,
            Set::From | Set::To | Set::Subnets => Some((NFT_DATA_VERDICT, 0)),
            Set::Ports | Set::PortsAt => Some((address << TYPE_BITS | TYPE_PORT, bytes + 4)),
            Set::Ranges | Set::RangesAt => Some((address, bytes)),
        }
    }
}

/// One entry of a set. There may be ten thousand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) set: Set,
    pub(super) key: Vec<u8>,
    /// Of an interval, where it ends.
    end: Option<Vec<u8>>,
    data: Data,
    /// Whose it is.
    pub(super) owner: Rc<str>,
}

/// What an entry of a map leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Data {
    /// It is one of a set.
    None,
    Chain(String),
    /// The subnet is told in whole, its key is the first address.
    Subnet(Subnet, String),
    /// It ends the interval of the entry before it.
    End,
    To(IpAddr, Option<u16>),
}

impl Element {
    fn new(set: Set, key: Vec<u8>, owner: &str, data: Data) -> Element {
        Element { set, key, end: None, data, owner: owner.into() }
    }

    /// A bridge, in a set of those.
    pub(super) fn bridge(set: Set, bridge: &str, owner: &str) -> Element {
        Element::new(set, name(bridge), owner, Data::None)
    }

    /// A bridge, in a map to chains.
    pub(super) fn way(set: Set, bridge: &str, chain: &str, owner: &str) -> Element {
        Element::new(set, name(bridge), owner, Data::Chain(chain.into()))
    }

    /// A subnet, in the map to chains: where it begins, and the first address behind it.
    pub(super) fn subnet(subnet: Subnet, chain: &str, owner: &str) -> Vec<Element> {
        let data = Data::Subnet(subnet, chain.into());
        let begin = Element::new(Set::Subnets, address(subnet.first()), owner, data);
        let mut behind = address(subnet.last());
        // Behind the last address of all there is none, and the interval has no end.
        let is_last = !behind.iter_mut().rev().any(|byte| {
            *byte = byte.wrapping_add(1);
            *byte != 0
        });
        let end = Element::new(Set::Subnets, behind, owner, Data::End);
        if is_last { vec![begin] } else { vec![begin, end] }
    }

    /// Ports of the host, or one of a container that is used from outside; `at` where only one address is meant. `to` is whom
    /// a map leads to, with a port unless it stays.
    pub(super) fn ports(
        (at, protocol, ports): (Option<IpAddr>, Protocol, PortRange),
        to: Option<(IpAddr, Option<u16>)>,
        owner: &Rc<str>,
    ) -> Element {
        let set = match (to, at) {
            (None, _) => Set::Open,
            (Some((_, Some(_))), None) => Set::Ports,
            (Some((_, Some(_))), Some(_)) => Set::PortsAt,
            (Some((_, None)), None) => Set::Ranges,
            (Some((_, None)), Some(_)) => Set::RangesAt,
        };
        let key = |port: u16| {
            let number = padded(vec![protocol.number()]);
            [at.map(address).unwrap_or_default(), number, padded(port.to_be_bytes().to_vec())].concat()
        };
        let data = to.map_or(Data::None, |(ip, port)| Data::To(ip, port));
        let end = set.is_of_ranges().then(|| key(ports.last()));
        Element { set, key: key(ports.first()), end, data, owner: owner.clone() }
    }

    /// nft's words; none for what only ends an interval.
    pub(super) fn words(&self) -> Option<String> {
        let link = || String::from_utf8_lossy(&self.key).trim_end_matches('\0').to_owned();
        Some(match &self.data {
            Data::End => return None,
            Data::None if self.set.has_address() => self.port_words(),
            Data::None => format!("\"{}\"", link()),
            Data::Chain(chain) => format!("\"{}\" : jump {chain}", link()),
            Data::Subnet(subnet, chain) => format!("{subnet} : jump {chain}"),
            Data::To(ip, None) => format!("{} : {ip}", self.port_words()),
            Data::To(ip, Some(port)) => format!("{} : {ip} . {port}", self.port_words()),
        })
    }

    /// `192.0.2.1 . tcp . 8080-8090`, as it stands in the key.
    fn port_words(&self) -> String {
        let (before, number) = self.key.split_at(self.key.len() - 8);
        let ip =
            <[u8; 4]>::try_from(before).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(before).map(IpAddr::from));
        let ip = ip.map(|ip| format!("{ip} . ")).unwrap_or_default();
        let protocol = Protocol::of_number(number[0]).map(|it| it.to_string()).unwrap_or_default();
        let port = |key: &[u8]| u16::from_be_bytes([key[key.len() - 4], key[key.len() - 3]]);
        let (first, last) = (port(&self.key), self.end.as_deref().map_or(port(&self.key), port));
        let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
        format!("{ip}{protocol} . {ports}")
    }

    /// One entry of NFTA_SET_ELEM_LIST_ELEMENTS, to ask for what stands there.
    pub(super) fn place(&self) -> (u16, Vec<u8>) {
        (NFTA_LIST_ELEM, nested(&[(1, value(self.key.clone()))]))
    }

    /// The same with all that it is.
    pub(super) fn encode(&self) -> (u16, Vec<u8>) {
        let mut attributes = vec![(1, value(self.key.clone()))];
        match &self.data {
            Data::None => {}
            Data::Chain(chain) | Data::Subnet(_, chain) => attributes.push((2, jump(chain))),
            Data::End => attributes.push((3, number(NFT_SET_ELEM_INTERVAL_END))),
            Data::To(ip, port) => {
                let port = port.map(|port| padded(port.to_be_bytes().to_vec())).unwrap_or_default();
                attributes.push((2, value([address(*ip), port].concat())));
            }
        }
        if self.data != Data::End {
            attributes.push((6, comment(&self.owner)));
        }
        attributes.extend(self.end.clone().map(|end| (10, value(end))));
        (NFTA_LIST_ELEM, nested(&attributes))
    }
}
