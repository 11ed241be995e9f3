//! The sets of the policy: whom a name means for now, and who was asked for in vain. The kernel forgets what is in them in
//! time, whether anybody looks after the container or not.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::firewall::expression::{
    Attributes, META_L4PROTO, NETWORK_HEADER, NFTA_LIST_ELEM, REG, TRANSPORT_HEADER, bytes, meta, number, payload,
    place, value,
};
use crate::firewall::wire::{attribute, attributes, nested, text};

use super::TABLE;

/// A set, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) of: Of,
    pub(super) ipv6: bool,
}

/// What is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The addresses of an entry's name: which entry of the policy.
    Name(usize),
    /// Receivers that were refused: address, protocol, port.
    Ports,
    /// The same of protocols without ports.
    Others,
}

/// Addresses that one name may have at a time.
const ADDRESSES_MAX: u32 = 4096;
/// Receivers that are remembered. When so many are, further ones are refused without being remembered.
const REFUSED_MAX: u32 = 1024;
/// For so long they are.
pub(super) const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

const NFT_SET_TIMEOUT: u32 = 0x10;
const NFT_SET_EVAL: u32 = 0x20;
/// nft's numbers of types, as it stores them for itself (nftables, include/datatype.h); six bits each.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_PORT: u32 = 13;
const TYPE_BITS: u32 = 6;
/// How nft is to read the keys back: nftnl's NFTNL_UDATA_SET_KEYBYTEORDER, four bytes long.
const KEY_BYTE_ORDER: [u8; 2] = [0, 4];
const NETWORK_ORDER: u32 = 2;

/// Something that is in a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) address: IpAddr,
    pub(super) protocol: Option<u8>,
    pub(super) port: Option<u16>,
    /// Until the kernel forgets it.
    pub(super) remaining: Duration,
    pub(super) packets: u64,
}

impl Set {
    /// Both families of it.
    pub(super) fn both(of: Of) -> [Set; 2] {
        [false, true].map(|ipv6| Set { of, ipv6 })
    }

    pub(super) fn name(self) -> String {
        let family = if self.ipv6 { "ipv6" } else { "ipv4" };
        match self.of {
            Of::Name(entry) => format!("name-{entry}-{family}"),
            Of::Ports => format!("refused-{family}"),
            Of::Others => format!("refused-other-{family}"),
        }
    }

    /// The parts of its key: nft's number and name of the type, and the bytes in a register.
    fn fields(self) -> Vec<(u32, &'static str, u32)> {
        let address = if self.ipv6 { (TYPE_IPV6, "ipv6_addr", 16) } else { (TYPE_IPV4, "ipv4_addr", 4) };
        let protocol = (TYPE_PROTOCOL, "inet_proto", 4);
        match self.of {
            Of::Name(_) => vec![address],
            Of::Ports => vec![address, protocol, (TYPE_PORT, "inet_service", 4)],
            Of::Others => vec![address, protocol],
        }
    }

    /// Load a packet's key.
    pub(super) fn load(self) -> Attributes {
        let (offset, length) = place(self.ipv6, true);
        let behind = REG + length / 4;
        let mut all = vec![payload(NETWORK_HEADER, (offset, length), REG)];
        if self.of == Of::Ports || self.of == Of::Others {
            all.push(meta(META_L4PROTO, behind));
        }
        if self.of == Of::Ports {
            all.push(payload(TRANSPORT_HEADER, (2, 2), behind + 1));
        }
        all
    }

    /// The same in nft's words.
    pub(super) fn key_words(self) -> String {
        let family = if self.ipv6 { "ip6" } else { "ip" };
        let rest = match self.of {
            Of::Name(_) => "",
            Of::Ports => " . meta l4proto . th dport",
            Of::Others => " . meta l4proto",
        };
        format!("{family} daddr{rest}")
    }

    /// nft's words: what it is a set of.
    pub(super) fn words(self) -> String {
        let kinds: Vec<&str> = self.fields().iter().map(|(_, kind, _)| *kind).collect();
        let rest = match self.of {
            Of::Name(_) => format!("flags timeout; size {ADDRESSES_MAX};"),
            _ => format!("flags dynamic,timeout; timeout {}s; size {REFUSED_MAX};", REMEMBERED.as_secs()),
        };
        format!("type {}; {rest}", kinds.join(" . "))
    }

    /// NFT_MSG_NEWSET; `id` is told from others in the same batch.
    pub(super) fn attributes(self, id: u32) -> Attributes {
        let fields = self.fields();
        let key = fields.iter().fold(0, |all, (kind, ..)| all << TYPE_BITS | kind);
        let length: u32 = fields.iter().map(|(.., bytes)| bytes).sum();
        let is_name = matches!(self.of, Of::Name(_));
        let (flags, size) =
            if is_name { (NFT_SET_TIMEOUT, ADDRESSES_MAX) } else { (NFT_SET_TIMEOUT | NFT_SET_EVAL, REFUSED_MAX) };
        let mut attributes = vec![
            (1, text(TABLE)),
            (2, text(&self.name())),
            (3, number(flags)),
            (4, number(key)),
            (5, number(length)),
            (9, nested(&[(1, number(size))])),
            (10, number(id)),
            (13, [&KEY_BYTE_ORDER[..], &NETWORK_ORDER.to_ne_bytes()].concat()),
        ];
        if !is_name {
            attributes.push((11, milliseconds(REMEMBERED)));
        }
        attributes
    }

    /// What a list of its elements says: NFT_MSG_NEWSETELEM, behind nfgenmsg.
    pub(super) fn read(self, body: &[u8]) -> Vec<Found> {
        let elements = attribute(body, 3).into_iter().flat_map(attributes);
        elements.filter_map(|(_, element)| self.read_one(element)).collect()
    }

    fn read_one(self, element: &[u8]) -> Option<Found> {
        let key = attribute(element, 1).and_then(|key| attribute(key, 1))?;
        let (address, rest) = key.split_at_checked(if self.ipv6 { 16 } else { 4 })?;
        let address = match self.ipv6 {
            true => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
            false => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        };
        let long = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        let remaining = attribute(element, 5).or_else(|| attribute(element, 4)).and_then(long).unwrap_or(0);
        // One expression in NFTA_SET_ELEM_EXPR: its name, its data; of a counter bytes and packets.
        let counter = attribute(element, 7).and_then(|expression| attribute(expression, 2));
        let port = rest.get(4..6).and_then(|port| port.try_into().ok()).map(u16::from_be_bytes);
        Some(Found {
            address,
            protocol: rest.first().copied(),
            port,
            remaining: Duration::from_millis(remaining),
            packets: counter.and_then(|counter| attribute(counter, 2)).and_then(long).unwrap_or(0),
        })
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// One entry of NFTA_SET_ELEM_LIST_ELEMENTS: an address, for a while.
pub(super) fn element(address: IpAddr, lifetime: Option<Duration>) -> (u16, Vec<u8>) {
    let mut attributes = vec![(1, value(bytes(address)))];
    attributes.extend(lifetime.map(|lifetime| (4, milliseconds(lifetime))));
    (NFTA_LIST_ELEM, nested(&attributes))
}

fn milliseconds(time: Duration) -> Vec<u8> {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).to_be_bytes().to_vec()
}
