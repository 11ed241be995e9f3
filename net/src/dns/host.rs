//! What the host may know by name: every container that it reaches.
//!
//! ```text
//!   web.rbox, 444b69a1b0fc.rbox                              ──▶ addresses, in all its networks
//!   web.shop.rbox, www.shop.rbox (an alias, a host name)     ──▶ addresses, in the network shop
//!   2.0.18.172.in-addr.arpa                                  ──▶ web.rbox
//!   rbox, shop.rbox                                          ──▶ nothing, but there are names below
//!   gone.rbox                                                ──▶ no such name
//!   everything else                                          ──▶ elsewhere
//! ```
//!
//! It is read from the records of the endpoints, so containers of the default network are in it too.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{Name, RData, RecordType};

use super::watched::Watched;
use super::zone::{Found, address_of, record, text_of};
use crate::endpoint::{EndpointRecord, Link};
use crate::files;
use crate::records::files_of_all;

/// The names below one domain.
pub(super) struct HostZone {
    domain: String,
    known: Watched<Known>,
}

#[derive(Default)]
struct Known {
    /// `web`, `444b69a1b0fc`: without the domain, in small letters.
    containers: HashMap<String, Vec<IpAddr>>,
    /// `web.shop`. They come first: a container may be called so, too.
    endpoints: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, String>,
    networks: HashSet<String>,
}

impl HostZone {
    /// The containers whose endpoints have their records below `dir`, below `domain`.
    pub(super) fn new(dir: PathBuf, domain: &str) -> HostZone {
        HostZone { domain: domain.to_ascii_lowercase(), known: Watched::new(dir) }
    }

    /// Find what there is to a name, at this moment.
    pub(super) fn find(&mut self, name: &Name, kind: RecordType) -> Found {
        let known = self.known.current(read);
        if let Some(address) = address_of(name) {
            return match known.names.get(&address) {
                Some(name) if kind == RecordType::PTR => {
                    let full = format!("{name}.{}", self.domain);
                    // A name that DNS cannot carry (a part of more than 63 letters) is left out.
                    let full = Name::from_labels(full.split('.').map(str::as_bytes));
                    Found::Records(full.into_iter().map(|full| RData::PTR(PTR(full))).collect())
                }
                Some(_) => Found::Records(Vec::new()),
                None => Found::Elsewhere,
            };
        }
        let text = text_of(name);
        if text == self.domain {
            return Found::Records(Vec::new());
        }
        let below = text.strip_suffix(&self.domain).and_then(|text| text.strip_suffix('.'));
        let Some(text) = below else { return Found::Elsewhere };
        let is_of_kind = |address: &&IpAddr| match kind {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            _ => false,
        };
        match known.endpoints.get(text).or_else(|| known.containers.get(text)) {
            Some(addresses) => Found::Records(addresses.iter().filter(is_of_kind).copied().map(record).collect()),
            // RFC 8020: that there is no such name would mean that there is none below it.
            None if known.networks.contains(text) => Found::Records(Vec::new()),
            None => Found::NoSuchName,
        }
    }
}

/// All endpoints below `dir` that the host reaches.
fn read(dir: &Path) -> Known {
    let files = files_of_all(dir).unwrap_or_default();
    // One that cannot be understood hides none of the others.
    let records = files.iter().filter_map(|file| files::read_named::<EndpointRecord>(file).ok().flatten());
    let mut known = Known::default();
    records.for_each(|record| known.learn(&record));
    known
}

impl Known {
    fn learn(&mut self, record: &EndpointRecord) {
        let Some(attachment) = &record.attachment else { return };
        let is_reached = match &attachment.link {
            Link::Cable { .. } => true,
            // The kernel carries nothing between the parent and the links on it.
            Link::Sub { shim, .. } => shim.is_some(),
        };
        // Somebody is connecting it, or taking it apart.
        if !is_reached || record.maker.is_some() {
            return;
        }
        let v6 = attachment.v6.as_ref().map(|v6| IpAddr::V6(v6.address));
        let addresses: Vec<IpAddr> = [Some(IpAddr::V4(attachment.address)), v6].into_iter().flatten().collect();
        let small = |text: &str| text.to_ascii_lowercase();
        let (name, network) = (small(&record.owner.name), small(&record.network));
        let short_id = record.owner.container.get(..12).unwrap_or(&record.owner.container);
        let in_network: HashSet<String> = [name.clone(), short_id.to_owned()]
            .into_iter()
            .chain(record.further_names())
            .map(|name| format!("{}.{network}", small(&name)))
            .collect();
        for full in in_network {
            self.endpoints.entry(full).or_default().extend(&addresses);
        }
        for alone in [name.clone(), short_id.to_owned()] {
            self.containers.entry(alone).or_default().extend(&addresses);
        }
        for address in addresses {
            self.names.entry(address).or_insert_with(|| name.clone());
        }
        self.networks.insert(network);
    }
}
