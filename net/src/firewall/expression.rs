//! What rules of nftables are made of in the kernel: expressions that load something of a packet into registers, look it up,
//! compare it, and decide (linux/netfilter/nf_tables.h).

use std::net::IpAddr;

use super::wire::{nested, text};
use crate::address::Subnet;

pub(crate) const REG_VERDICT: u32 = 0;
/// The first of sixteen registers of four bytes.
pub(crate) const REG: u32 = 8;
pub(crate) const META_OIFNAME: u32 = 7;
pub(crate) const META_L4PROTO: u32 = 16;
pub(crate) const NETWORK_HEADER: u32 = 1;
pub(crate) const TRANSPORT_HEADER: u32 = 2;
pub(crate) const CT_STATE: u32 = 0;
pub(crate) const CMP_EQ: u32 = 0;
pub(crate) const CMP_NEQ: u32 = 1;
pub(crate) const CMP_LTE: u32 = 3;
pub(crate) const CMP_GTE: u32 = 5;
/// IFNAMSIZ: the room of a link's name.
pub(crate) const NAME_BYTES: usize = 16;

pub(crate) const NFTA_LIST_ELEM: u16 = 1;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;

/// A verdict's number. linux/netfilter.h, nf_tables.h.
pub(crate) const NF_DROP: i32 = 0;
pub(crate) const NF_ACCEPT: i32 = 1;
pub(crate) const NFT_JUMP: i32 = -3;
pub(crate) const NFT_RETURN: i32 = -5;

pub(crate) type Attributes = Vec<(u16, Vec<u8>)>;

pub(crate) fn number(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// A link's name, as the kernel compares it.
pub(crate) fn name(link: &str) -> Vec<u8> {
    let mut bytes = link.as_bytes().to_vec();
    bytes.resize(NAME_BYTES, 0);
    bytes
}

/// NFTA_*_DATA with a value.
pub(crate) fn value(bytes: Vec<u8>) -> Vec<u8> {
    nested(&[(NFTA_DATA_VALUE, bytes)])
}

/// The same with the verdict to go on in a chain.
pub(crate) fn jump(chain: &str) -> Vec<u8> {
    verdict(NFT_JUMP, Some(chain))
}

pub(crate) fn verdict(code: i32, chain: Option<&str>) -> Vec<u8> {
    let mut attributes = vec![(1, code.to_be_bytes().to_vec())];
    attributes.extend(chain.map(|chain| (2, text(chain))));
    nested(&[(NFTA_DATA_VERDICT, nested(&attributes))])
}

pub(crate) fn expression(name: &str, attributes: &Attributes) -> (u16, Vec<u8>) {
    (NFTA_LIST_ELEM, nested(&[(1, text(name)), (2, nested(attributes))]))
}

pub(crate) fn meta(key: u32, to: u32) -> (u16, Vec<u8>) {
    expression("meta", &vec![(1, number(to)), (2, number(key))])
}

pub(crate) fn payload(base: u32, (offset, length): (u32, u32), to: u32) -> (u16, Vec<u8>) {
    expression("payload", &vec![(1, number(to)), (2, number(base)), (3, number(offset)), (4, number(length))])
}

pub(crate) fn compare(operation: u32, with: Vec<u8>) -> (u16, Vec<u8>) {
    expression("cmp", &vec![(1, number(REG)), (2, number(operation)), (3, value(with))])
}

pub(crate) fn mask(bytes: Vec<u8>) -> (u16, Vec<u8>) {
    let length = u32::try_from(bytes.len()).expect("an address is short");
    let none = vec![0; bytes.len()];
    let attributes = vec![(1, number(REG)), (2, number(REG)), (3, number(length)), (4, value(bytes)), (5, value(none))];
    expression("bitwise", &attributes)
}

pub(crate) fn look_up(set: &str, to: Option<u32>) -> (u16, Vec<u8>) {
    let mut attributes = vec![(1, text(set)), (2, number(REG))];
    attributes.extend(to.map(|register| (3, number(register))));
    expression("lookup", &attributes)
}

pub(crate) fn decide(data: Vec<u8>) -> (u16, Vec<u8>) {
    expression("immediate", &vec![(1, number(REG_VERDICT)), (2, data)])
}

pub(crate) fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Where sender and receiver stand in the header of a packet, and how long they are.
pub(crate) fn place(ipv6: bool, is_receiver: bool) -> (u32, u32) {
    match (ipv6, is_receiver) {
        (false, false) => (12, 4),
        (false, true) => (16, 4),
        (true, false) => (8, 16),
        (true, true) => (24, 16),
    }
}

pub(crate) fn within(subnet: Subnet, is_receiver: bool) -> Attributes {
    in_subnet(subnet, is_receiver, CMP_EQ)
}

pub(crate) fn outside(subnet: Subnet, is_receiver: bool) -> Attributes {
    in_subnet(subnet, is_receiver, CMP_NEQ)
}

fn in_subnet(subnet: Subnet, is_receiver: bool, operation: u32) -> Attributes {
    let mut all = vec![payload(NETWORK_HEADER, place(subnet.is_ipv6(), is_receiver), REG)];
    all.push(mask(bytes(subnet.mask())));
    all.push(compare(operation, bytes(subnet.first())));
    all
}

/// Something that connection tracking says of a packet, one bit of it.
pub(crate) fn flag(key: u32, bits: u32, is_set: bool) -> Attributes {
    let load = expression("ct", &vec![(1, number(REG)), (2, number(key))]);
    let operation = if is_set { CMP_NEQ } else { CMP_EQ };
    vec![load, mask(bits.to_ne_bytes().to_vec()), compare(operation, vec![0; 4])]
}
