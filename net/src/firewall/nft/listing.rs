//! What the kernel has of our tables.

use std::collections::HashMap;
use std::io;

use rtnetlink::sys::Socket;

use super::set::{Element, Set, commented};
use super::{TABLE, family};
use crate::firewall::Seen;
use crate::firewall::batch::{
    NFGENMSG_BYTES, NFT_MSG_GETRULE, NFT_MSG_GETSETELEM, NFT_MSG_NEWRULE, NFT_MSG_NEWSETELEM, dump, is_absent,
};
use crate::firewall::wire::{
    self, NLM_F_REQUEST, NLMSG_ERROR, answer, attribute, attributes, message, messages, nested, text,
};

/// What tells a rule from any other.
pub(super) fn rule_id(ipv6: bool, chain: &str, why: &str) -> String {
    format!("{} rule {chain} {why}", family(ipv6))
}

/// What tells an entry from any other.
pub(super) fn element_id(ipv6: bool, set: Set, key: &[u8]) -> String {
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} element {set} {key}", family(ipv6))
}

/// List rules and entries. Nothing where there is no table.
pub(super) fn all(socket: &Socket, ipv6: bool) -> io::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    let table = [(1, text(TABLE))];
    dump(socket, wire::family(ipv6), (NFT_MSG_GETRULE, NFT_MSG_NEWRULE), &table, &mut |body| {
        seen.extend(rule(body, ipv6))
    })?;
    for set in Set::ALL {
        elements(socket, ipv6, set, &mut |key, _, is_end| {
            if !is_end {
                let id = element_id(ipv6, set, key);
                seen.push(Seen { text: format!("nft: {id}"), id, packets: 0, bytes: 0 });
            }
        })?;
    }
    Ok(seen)
}

fn rule(body: &[u8], ipv6: bool) -> Option<Seen> {
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let chain = attribute(body, 2).map(name)?;
    let why = attribute(body, 7).and_then(commented).unwrap_or("without a comment");
    let handle = attribute(body, 3).and_then(number).unwrap_or(0);
    let counter = attribute(body, 4).and_then(counted);
    let (packets, bytes) = counter.unwrap_or((0, 0));
    let text = format!("nft list chain {} {TABLE} {chain}: rule of handle {handle}, {why}", family(ipv6));
    Some(Seen { id: rule_id(ipv6, &chain, why), text, packets, bytes })
}

/// What a rule's counter says: packets, bytes.
fn counted(expressions: &[u8]) -> Option<(u64, u64)> {
    let data = attributes(expressions).find_map(|(_, expression)| {
        let is_counter = attribute(expression, 1).is_some_and(|name| name == b"counter\0");
        is_counter.then(|| attribute(expression, 2)).flatten()
    })?;
    Some((attribute(data, 2).and_then(number)?, attribute(data, 1).and_then(number)?))
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// Whether there is nothing in a set.
pub(super) fn is_empty(socket: &Socket, ipv6: bool, set: Set) -> io::Result<bool> {
    let mut count = 0;
    elements(socket, ipv6, set, &mut |_, _, _| count += 1)?;
    Ok(count == 0)
}

/// Up to so many entries are asked for one by one. More are looked for among all that there are.
const ASKED_MAX: usize = 64;

/// Whose the entries are that stand where these would.
pub(super) fn owners(socket: &Socket, ipv6: bool, wanted: &[Element]) -> io::Result<HashMap<(Set, Vec<u8>), String>> {
    let mut owners = HashMap::new();
    if wanted.len() <= ASKED_MAX {
        for element in wanted {
            owners.extend(owner(socket, ipv6, element)?.map(|owner| ((element.set, element.key.clone()), owner)));
        }
        return Ok(owners);
    }
    for set in Set::OF_PORTS.into_iter().filter(|set| wanted.iter().any(|element| element.set == *set)) {
        elements(socket, ipv6, set, &mut |key, owner, _| {
            owners.insert((set, key.to_vec()), owner.to_owned());
        })?;
    }
    Ok(owners)
}

/// The same in nft's words.
pub(super) fn question(ipv6: bool, wanted: &[Element]) -> String {
    let words = |element: &Element| {
        let (family, set) = (family(ipv6), element.set);
        let entry = element.words().unwrap_or_default();
        let key = entry.split(" : ").next().unwrap_or_default();
        format!("nft get element {family} {TABLE} {set} {{ {key} }}")
    };
    match wanted.len() <= ASKED_MAX {
        true => wanted.iter().map(words).collect::<Vec<_>>().join("; "),
        false => format!("nft list table {} {TABLE}", family(ipv6)),
    }
}

/// Whose the entry is that stands where this one would.
fn owner(socket: &Socket, ipv6: bool, wanted: &Element) -> io::Result<Option<String>> {
    let mut request = Vec::new();
    let which = [(1, text(TABLE)), (2, text(wanted.set.name())), (3, nested(&[wanted.place()]))];
    message(&mut request, NFT_MSG_GETSETELEM, NLM_F_REQUEST, (wire::family(ipv6), 0), &which);
    socket.send(&request, 0)?;
    let (datagram, _) = socket.recv_from_full()?;
    for (kind, _, body) in messages(&datagram) {
        if kind == NLMSG_ERROR {
            return match answer(body) {
                Err(error) if is_absent(&error) => Ok(None),
                answer => answer.map(|()| None),
            };
        }
        let list = body.get(NFGENMSG_BYTES..).and_then(|body| attribute(body, 3));
        if let Some((_, entry)) = list.and_then(|list| attributes(list).next()) {
            return Ok(Some(attribute(entry, 6).and_then(commented).unwrap_or_default().to_owned()));
        }
    }
    Ok(None)
}

/// For each entry of a set: its key, its comment, whether it only ends an interval.
fn elements(socket: &Socket, ipv6: bool, set: Set, see: &mut dyn FnMut(&[u8], &str, bool)) -> io::Result<()> {
    let of_set = [(1, text(TABLE)), (2, text(set.name()))];
    dump(socket, wire::family(ipv6), (NFT_MSG_GETSETELEM, NFT_MSG_NEWSETELEM), &of_set, &mut |body| {
        for (_, element) in attribute(body, 3).into_iter().flat_map(attributes) {
            let Some(key) = attribute(element, 1).and_then(|key| attribute(key, 1)) else { continue };
            let owner = attribute(element, 6).and_then(commented).unwrap_or_default();
            let is_end = attribute(element, 3).is_some_and(|flags| flags.last().is_some_and(|flags| flags & 1 != 0));
            see(key, owner, is_end);
        }
    })
}
