//! `network audit`: every way from outside into a container, and who can go it.
//!
//! ```text
//!   who asks        the way of the packet (each base chain of anybody's has its say)
//!   ───────────     ────────────────────────────────────────────────────────────────
//!   outside    ──▶  prerouting ─▶ translation ─▶ forward ─▶ postrouting ─▶ container
//!   container  ──▶  the same, but by its bridge
//!   this host  ──▶  output     ─▶ translation ─▶            postrouting ─▶ container
//!   anybody    ──▶  prerouting ─▶ input ─▶ the relay, where the kernel does not translate
//! ```
//!
//! What others have in the packet filter is evaluated, not guessed: see [`crate::foreign`]. Where a rule asks for what only
//! the kernel can tell, that is said.

mod firewalls;
mod opening;
mod paths;
mod scene;

use std::collections::HashSet;
use std::net::IpAddr;

pub use firewalls::Belief;
pub use opening::{Opening, Outside, Reach, Who};

use crate::endpoint::EndpointRecord;
use crate::error::Result;
use crate::firewall::Rule;
use crate::network::{Network, Passage};
use crate::networks::Networks;
use crate::ports::PortMapping;
use paths::Way;
use scene::Scene;

/// Who can reach what.
#[derive(Debug)]
pub struct Audit {
    /// By container, then by port.
    pub openings: Vec<Opening>,
    /// What could not be looked at, in words.
    pub unseen: Vec<String>,
}

impl Networks {
    /// Say of each port that leads into a container who can reach it. What the host is like tells the network namespace of
    /// this thread.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read, or the kernel not be asked; `Firewall`: iptables refuses.
    pub fn audit(&self) -> Result<Audit> {
        self.audit_of(None)
    }

    /// The same of one container alone.
    ///
    /// # Errors
    /// The same.
    pub fn audit_of(&self, container: Option<&str>) -> Result<Audit> {
        let networks = self.list()?;
        let up: Vec<Network> =
            networks.iter().filter(|it| crate::driver::bridge::is_up(it).unwrap_or(false)).cloned().collect();
        let scene = Scene::look(self, &up)?;
        let mut openings = Vec::new();
        let is_meant = |record: &&EndpointRecord| container.is_none_or(|id| record.owner.container == id);
        for record in self.endpoints()?.iter().filter(|record| !record.is_leaving()).filter(is_meant) {
            if let Some(network) = networks.iter().find(|network| network.id == record.network_id) {
                openings.extend(self.of_endpoint(&scene, network, record));
            }
        }
        openings.sort_by(|a, b| {
            (&a.container, a.ports, a.protocol, a.address).cmp(&(&b.container, b.ports, b.protocol, b.address))
        });
        let unseen: HashSet<&String> = scene.tables.iter().flat_map(|tables| &tables.unseen).collect();
        Ok(Audit { openings, unseen: unseen.into_iter().cloned().collect() })
    }

    fn of_endpoint(&self, scene: &Scene, network: &Network, record: &EndpointRecord) -> Vec<Opening> {
        let mut all: Vec<Opening> = record
            .ports
            .iter()
            .filter_map(|mapping| self.published(scene, network, record, mapping))
            .flatten()
            .collect();
        all.extend(scene.direct(network, record));
        all
    }

    /// A published port.
    fn published(
        &self,
        scene: &Scene,
        network: &Network,
        record: &EndpointRecord,
        mapping: &PortMapping,
    ) -> Option<Vec<Opening>> {
        let (to, bridge) = (record.attachment.as_ref()?, network.bridge.as_ref()?);
        let ipv6 = mapping.host_ip.is_ipv6();
        let comment = EndpointRecord::comment(&record.owner.container, &record.id);
        let rules = crate::firewall::published(std::slice::from_ref(mapping), network, to, &comment);
        let opening = Opening {
            container: record.owner.name.clone(),
            container_id: record.owner.container.clone(),
            network: record.network.clone(),
            address: mapping.host_ip,
            ports: Some(mapping.host),
            protocol: Some(mapping.protocol),
            inside: Some(mapping.container),
            reach: Reach::default(),
            by: String::new(),
            firewall: firewalls::belief(&scene.tables[usize::from(ipv6)], mapping, &scene.own_links),
            remarks: scene.squatters_of(record, mapping),
        };
        let inside = if ipv6 { to.v6.as_ref().map(|v6| v6.address.into()) } else { Some(IpAddr::V4(to.address)) };
        let way = |inside| Way {
            address: Some(mapping.host_ip).filter(|ip| !ip.is_unspecified()),
            ports: Some(mapping.host),
            protocol: Some(mapping.protocol),
            bridge: &bridge.name,
            inside,
            inside_ports: Some(mapping.container),
            is_translated: bridge.passage[usize::from(ipv6)] != Passage::Routed,
            own_links: &scene.own_links,
        };
        let is_translated = rules.iter().any(Rule::translates);
        let is_routed = bridge.passage[usize::from(ipv6)] == Passage::Routed && !rules.is_empty();
        let is_relayed = mapping.is_relayed() && !record.unheld.contains(mapping) && !is_translated;
        let mut all = Vec::new();
        if let Some(inside) = inside.filter(|_| is_translated || is_routed) {
            let wanted = self.firewall().wanted_of(&rules, ipv6);
            all.push(scene.by_rules(opening.clone(), &way(inside), network, &wanted));
        }
        if is_relayed {
            let own: IpAddr = mapping.host_ip;
            all.push(scene.by_relay(opening, &Way { inside: own, ..way(own) }, record.owner.pid));
        }
        Some(all)
    }
}
