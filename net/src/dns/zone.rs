//! What a container may know by name: everybody in its networks, and nobody else.
//!
//! ```text
//!   web, web.mynetwork, 444b69a1b0fc, an alias, a link ──▶ addresses, of all its networks
//!   2.0.168.192.in-addr.arpa                           ──▶ web.mynetwork
//!   gone, gone.mynetwork, a container elsewhere        ──▶ no such name: a question that must not leave the host
//!   everything else                                    ──▶ elsewhere
//! ```
//!
//! The rules are those of Docker 20.10 (libnetwork resolver.go and sandbox.go), with two changes: a name in several
//! networks gives its addresses in all of them, not in the first alone; and what is, or was, a container's name here is not
//! asked of the internet, where it tells who works with whom, and costs seconds without a connection.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{Name, RData, RecordType};

use super::known::Known;
use super::watched::Watched;
use crate::files;
use crate::names::Names;

/// A network that the container is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The network's id, which its names file is called by.
    pub network_id: String,
    /// The network's name, the last part of its containers' full names.
    pub network_name: String,
    /// Its subnets: address and prefix. Nobody else knows who has an address in them.
    pub subnets: Vec<(IpAddr, u8)>,
    /// `--link`: an alias that only this container knows, and the id or name of whom it means.
    pub links: Vec<(String, String)>,
}

/// What there is to a name.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// The name is known; nothing in here means nothing of the type asked for.
    Records(Vec<RData>),
    /// The name could only be a container's, and is none.
    NoSuchName,
    /// It is not for us to know.
    Elsewhere,
}

/// The names that one container may know.
pub(super) struct Zone {
    dir: PathBuf,
    members: Vec<(Member, Known)>,
    /// The names in all networks of the host, also of those who have left.
    everywhere: Watched<HashSet<String>>,
    turn: usize,
}

impl Zone {
    /// The names below `dir`, for a container that is in no network yet.
    pub(super) fn new(dir: PathBuf) -> Zone {
        Zone { everywhere: Watched::new(dir.clone()), dir, members: Vec::new(), turn: 0 }
    }

    /// The networks that the container is in from now on.
    pub(super) fn set_members(&mut self, members: Vec<Member>) {
        let with_names = |member: Member| {
            let file = self.dir.join(format!("{}.json", member.network_id));
            (member, Known::new(file))
        };
        self.members = members.into_iter().map(with_names).collect();
    }

    /// Find what there is to a name, at this moment.
    pub(super) fn find(&mut self, name: &Name, kind: RecordType) -> Found {
        for (_, known) in &mut self.members {
            known.refresh();
        }
        if let Some(address) = address_of(name) {
            return self.find_address(address, kind);
        }
        let text = text_of(name);
        match self.addresses(&text, kind) {
            Some(mut addresses) => {
                self.rotate(&mut addresses);
                Found::Records(addresses.into_iter().map(record).collect())
            }
            None if self.is_ours(&text) => Found::NoSuchName,
            None => Found::Elsewhere,
        }
    }

    /// Every address of a name, in the order of the networks. Nothing when nobody is called so.
    fn addresses(&self, text: &str, kind: RecordType) -> Option<Vec<IpAddr>> {
        let mut is_known = false;
        let mut addresses = Vec::new();
        for (member, known) in &self.members {
            let plain = member.plain(text);
            for name in [Some(text), plain].into_iter().flatten() {
                let link = member.links.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
                let linked = link.and_then(|(_, of)| known.container(of));
                let named = known.named(name).filter(|_| link.is_none());
                for named in linked.into_iter().chain(named) {
                    is_known = true;
                    let address = match kind {
                        RecordType::A => named.v4.map(IpAddr::V4),
                        RecordType::AAAA => named.v6.map(IpAddr::V6),
                        _ => None,
                    };
                    addresses.extend(address.filter(|address| !addresses.contains(address)));
                }
            }
        }
        is_known.then_some(addresses)
    }

    /// Whether a name that nobody has could only be a container's.
    fn is_ours(&mut self, text: &str) -> bool {
        // `x.dev` may well be of the internet, also for who is in a network that is called dev.
        let plain: Vec<String> = self.members.iter().filter_map(|(it, _)| it.plain(text)).map(str::to_owned).collect();
        if plain.iter().any(|plain| self.everywhere.current(read_all).contains(plain)) {
            return true;
        }
        if text.is_empty() || text.contains('.') {
            return false;
        }
        let mut links = self.members.iter().flat_map(|(member, _)| &member.links);
        links.any(|(alias, _)| alias.eq_ignore_ascii_case(text)) || self.everywhere.current(read_all).contains(text)
    }

    fn find_address(&self, address: IpAddr, kind: RecordType) -> Found {
        let named = self.members.iter().find_map(|(member, known)| Some((member, known.at(address)?)));
        match named {
            Some((member, named)) if kind == RecordType::PTR => {
                let full = format!("{}.{}", named.name, member.network_name);
                // A name that DNS cannot carry (a part of more than 63 letters) is left out.
                let full = Name::from_labels(full.split('.').map(str::as_bytes));
                Found::Records(full.into_iter().map(|full| RData::PTR(PTR(full))).collect())
            }
            Some(_) => Found::Records(Vec::new()),
            None if self.members.iter().any(|(member, _)| member.contains(address)) => Found::NoSuchName,
            None => Found::Elsewhere,
        }
    }

    /// Who takes the first address only shall not always get the same.
    fn rotate(&mut self, addresses: &mut [IpAddr]) {
        if addresses.len() > 1 {
            addresses.rotate_left(self.turn % addresses.len());
            self.turn = self.turn.wrapping_add(1);
        }
    }
}

impl Member {
    /// The name without the network's at its end, when that stands there.
    fn plain<'a>(&self, text: &'a str) -> Option<&'a str> {
        let at = text.len().checked_sub(self.network_name.len())?;
        let (plain, network) = (text.get(..at)?, text.get(at..)?);
        plain.strip_suffix('.').filter(|plain| !plain.is_empty() && network.eq_ignore_ascii_case(&self.network_name))
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|(subnet, prefix)| match (subnet, address) {
            (IpAddr::V4(subnet), IpAddr::V4(address)) => {
                let host_bits = 32u32.saturating_sub((*prefix).into());
                let differ = u32::from(*subnet) ^ u32::from(address);
                differ.checked_shr(host_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(subnet), IpAddr::V6(address)) => {
                let host_bits = 128u32.saturating_sub((*prefix).into());
                let differ = u128::from(*subnet) ^ u128::from(address);
                differ.checked_shr(host_bits).unwrap_or(0) == 0
            }
            _ => false,
        })
    }
}

/// The record that says an address.
pub(super) fn record(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    }
}

/// All names below `dir`, in small letters.
fn read_all(dir: &Path) -> HashSet<String> {
    let files = files::entries(dir).map(|entries| entries.records).unwrap_or_default();
    let names = files.iter().filter_map(|file| files::read::<Names>(file).ok().flatten());
    names
        .flat_map(|names| {
            let known: Vec<String> = names.known.iter().flat_map(|named| named.given().cloned()).collect();
            known.into_iter().chain(names.gone)
        })
        .map(|name| name.to_ascii_lowercase())
        .collect()
}

/// A name as text, in small letters, without the dot at its end.
pub(super) fn text_of(name: &Name) -> String {
    let mut text = String::with_capacity(64);
    for label in name.iter() {
        if !text.is_empty() {
            text.push('.');
        }
        // A dot inside of a part, or what is no letter at all, is in no container's name.
        let letter = |byte: &u8| match byte {
            b'.' | 128.. => char::REPLACEMENT_CHARACTER,
            letter => letter.to_ascii_lowercase().into(),
        };
        text.extend(label.iter().map(letter));
    }
    text
}

/// The address that a name below in-addr.arpa or ip6.arpa stands for. Only whole ones: a part of one names a zone.
pub(super) fn address_of(name: &Name) -> Option<IpAddr> {
    let parts = name.num_labels();
    if parts != 6 && parts != 34 {
        return None;
    }
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

#[cfg(test)]
mod tests;
