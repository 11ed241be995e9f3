//! An endpoint: one container's place in one network (the CNM noun), and how it leaves again.
//!
//! Everything an endpoint owns stands in its record before it is made, so whoever finds the record can undo it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::address::{MacAddress, Subnet};
use crate::connect::Maker;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::files::Lock;
use crate::firewall::Rule;
use crate::netlink::Netlink;
use crate::network::SubMode;
use crate::networks::Networks;
use crate::pod::NetnsFile;
use crate::ports::PortMapping;
use crate::publishing::Kept;
use crate::service::Service;

/// What an endpoint lives and dies with: a process, or the network namespace of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The container's id, 64 hex digits.
    pub container: String,
    /// The container's name, for messages.
    pub name: String,
    /// The process that will disconnect it: rbox itself, or the container's monitor.
    pub pid: i32,
    /// When that process started: field 22 of `/proc/PID/stat`, so that a reused pid is not taken for it.
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`: after a reboot nobody is alive.
    pub boot_id: String,
    /// What lives instead of a process, where somebody else made the namespace and keeps it; `pid` and `start_time` say
    /// nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<NetnsFile>,
}

/// What a container has in a network where it has an address of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its address.
    pub address: Ipv4Addr,
    /// The subnet around it.
    pub subnet: Subnet,
    /// What would be its default gateway; none in an internal network.
    pub gateway: Option<Ipv4Addr>,
    /// The same of IPv6.
    #[serde(default)]
    pub v6: Option<Attachment6>,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The largest packet, as on the host's way out.
    pub mtu_bytes: u32,
    /// The name of its interface in the container, `eth0`.
    pub interface: String,
    /// How that leads out of the container.
    pub link: Link,
}

impl Attachment {
    /// Its addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v6 = self.v6.as_ref().map(|v6| IpAddr::V6(v6.address));
        std::iter::once(IpAddr::V4(self.address)).chain(v6)
    }
}

/// What a container has of IPv6 in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment6 {
    /// Its address.
    pub address: Ipv6Addr,
    /// The subnet around it.
    pub subnet: Subnet,
    /// What would be its default gateway.
    pub gateway: Option<Ipv6Addr>,
}

/// What the interface of a container is at its other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// A cable to a bridge.
    Cable {
        /// The bridge's link name.
        bridge: String,
        /// The host's end, `veth` and 7 hex digits.
        host: String,
        /// Whether it may not reach the other containers.
        isolated: bool,
    },
    /// A link of its own on one of the host's: macvlan, ipvlan.
    Sub {
        /// The host's link.
        parent: String,
        /// Its mode there.
        mode: SubMode,
        /// The host's link by which the host reaches it.
        #[serde(default)]
        shim: Option<String>,
    },
}

/// An endpoint, as it is remembered on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// 64 hex digits, of its own.
    pub id: String,
    /// The network's id.
    pub network_id: String,
    /// The network's name.
    pub network: String,
    /// Who keeps it alive.
    pub owner: Owner,
    /// Who connects or disconnects it at this moment, where that is not the owner.
    #[serde(default)]
    pub maker: Option<Maker>,
    /// When it was leased: RFC 3339.
    #[serde(default)]
    pub leased: String,
    /// The container's host name.
    pub hostname: String,
    /// Whether the network's containers know each other by name.
    #[serde(default)]
    pub is_named: bool,
    /// Further names of the container in this network.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Names by which this container alone knows others of this network: name, container.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// Of several networks, that with the highest is the way out.
    #[serde(default)]
    pub priority: i32,
    /// What it has in a network with addresses; nothing in `host` and `none`.
    pub attachment: Option<Attachment>,
    /// A device of the host's, which is of no network.
    #[serde(default)]
    pub device: Option<Device>,
    /// Its published ports.
    pub ports: Vec<PortMapping>,
    /// Those of them that are too many to be held by sockets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheld: Vec<PortMapping>,
    /// The rules that carry them.
    pub rules: Vec<Rule>,
}

impl EndpointRecord {
    /// The comment of its rules: container and endpoint, so that no other endpoint's can be meant.
    pub(crate) fn comment(container: &str, id: &str) -> String {
        format!("{container}-{}", short(id))
    }

    /// Whether it is on its way out of a container that lives: nobody is served by it any more.
    pub fn is_leaving(&self) -> bool {
        self.maker.as_ref().is_some_and(|maker| maker.leaves)
    }

    /// Where ports of it come or go at this moment: what it keeps in any case.
    pub fn kept(&self) -> Option<&Kept> {
        self.maker.as_ref()?.keeps.as_ref()
    }

    /// Whether somebody works at it who is not its owner, or was killed over it.
    pub fn has_maker(&self) -> bool {
        self.maker.is_some()
    }

    /// The name of its interface in the container, where it has one.
    pub fn interface(&self) -> Option<&str> {
        let of_device = self.device.as_ref().map(|device| device.inside.as_str());
        self.attachment.as_ref().map(|it| it.interface.as_str()).or(of_device)
    }

    /// Whether containers of its network find each other by name.
    pub fn has_names(&self) -> bool {
        self.attachment.is_some() && self.is_named
    }

    /// What others know it by beside its name and its short id: its aliases, and the host name that a person gave.
    pub fn further_names(&self) -> Vec<String> {
        let given = self.hostname != short(&self.owner.container);
        let known =
            self.hostname.is_empty() || self.hostname == self.owner.name || self.aliases.contains(&self.hostname);
        let hostname = Some(self.hostname.clone()).filter(|_| given && !known);
        self.aliases.iter().cloned().chain(hostname).collect()
    }

    /// Those of its ports that its owner keeps by sockets.
    pub(crate) fn held_ports(&self) -> impl Iterator<Item = &PortMapping> {
        self.ports.iter().filter(|mapping| !self.unheld.contains(mapping))
    }

    /// Whether it can be the container's way out.
    fn has_gateway(&self, ipv6: bool) -> bool {
        self.attachment.as_ref().is_some_and(|it| match ipv6 {
            true => it.v6.as_ref().is_some_and(|v6| v6.gateway.is_some()),
            false => it.gateway.is_some(),
        })
    }

    /// Whether anything leaves the container by it.
    pub(crate) fn is_way_out(&self) -> bool {
        self.has_gateway(false) || self.has_gateway(true)
    }

    /// Whether its network has rules in the host's packet filter.
    pub(crate) fn is_on_bridge(&self) -> bool {
        self.attachment.as_ref().is_some_and(|it| matches!(it.link, Link::Cable { .. }))
    }

    /// Whether ports of the host can lead to it.
    fn is_publishable(&self) -> bool {
        self.has_gateway(false) && matches!(self.attachment, Some(Attachment { link: Link::Cable { .. }, .. }))
    }
}

/// Among a container's endpoints, that which leads out: the one of the highest priority, and of those the first by its
/// network's name (libnetwork, `endpoint.Less`).
pub(crate) fn way_out(records: &[EndpointRecord], ipv6: bool) -> Option<&EndpointRecord> {
    first(records, |record| record.has_gateway(ipv6))
}

/// The endpoint that published ports lead to.
pub(crate) fn published_at(records: &[EndpointRecord]) -> Option<&EndpointRecord> {
    first(records, EndpointRecord::is_publishable)
}

fn first(records: &[EndpointRecord], fits: impl Fn(&EndpointRecord) -> bool) -> Option<&EndpointRecord> {
    let order = |record: &&EndpointRecord| (std::cmp::Reverse(record.priority), record.network.clone());
    records.iter().filter(|record| fits(record)).min_by_key(order)
}

pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A connected container: its endpoints, and what this process does for them. Dropping it disconnects it; errors are lost
/// then, so call [`Endpoints::disconnect`].
pub struct Endpoints {
    networks: Networks,
    container: String,
    records: Vec<EndpointRecord>,
    service: Service,
    is_ours: bool,
}

impl Endpoints {
    pub(crate) fn new(
        networks: Networks,
        container: String,
        records: Vec<EndpointRecord>,
        service: Service,
    ) -> Endpoints {
        Endpoints { networks, container, records, service, is_ours: true }
    }

    /// What must be served while the container lives.
    pub fn service(&mut self) -> &mut Service {
        &mut self.service
    }

    /// What was on disk about them when they were connected, in the order of the request.
    pub fn records(&self) -> &[EndpointRecord] {
        &self.records
    }

    /// That of the container's way out, or else the first with an address: whose address the container is known by.
    pub fn main(&self) -> Option<&EndpointRecord> {
        let with_address = || self.records.iter().find(|record| record.attachment.is_some());
        way_out(&self.records, false).or_else(with_address)
    }

    /// Every published port.
    pub fn ports(&self) -> Vec<PortMapping> {
        self.records.iter().flat_map(|record| record.ports.clone()).collect()
    }

    /// Take everything back: rules, links, leases, ports. Errors are collected; what is gone already is none.
    pub fn disconnect(self) -> Vec<Error> {
        self.leave().finish()
    }

    /// Begin to disconnect: after this no name and no published port leads to the container.
    ///
    /// The cable is left to the container's network namespace, which takes it along when it ends; removing it
    /// by hand waits 13 to 25 ms for the kernel (rcu_barrier at the end of RTM_DELLINK; moving it ends the same way).
    /// Do other work, then call [`Leaving::finish`].
    pub fn leave(mut self) -> Leaving {
        self.is_ours = false;
        self.begin_to_leave()
    }

    fn begin_to_leave(&mut self) -> Leaving {
        // Relayed connections end here too: the container that answered is gone.
        self.service = Service::default();
        Leaving::begin(self.networks.clone(), &self.container, &self.records)
    }

    /// Forget them without undoing anything: another process owns them from now on.
    ///
    /// That process must hold the sockets of the ports too: it was forked from this one, or it calls
    /// [`Networks::resume`].
    pub fn keep(mut self) {
        self.is_ours = false;
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        if self.is_ours {
            drop(self.begin_to_leave());
        }
    }
}

/// Endpoints on their way out: their rules are gone, their cables may still be there. Dropping it finishes too.
#[must_use]
pub struct Leaving {
    networks: Networks,
    records: Vec<EndpointRecord>,
    errors: Vec<Error>,
    /// Nobody puts in again what has been deleted.
    rules: Option<Lock>,
}

/// How long the container's namespace gets to take the cables along: 1 ms is usual where its sandbox was furnished more
/// than 20 ms ago (see sandbox.rs).
const NAMESPACE_ENDS_WITHIN: Duration = Duration::from_millis(50);

impl Leaving {
    pub(crate) fn begin(networks: Networks, container: &str, known: &[EndpointRecord]) -> Leaving {
        let mut errors = Vec::new();
        let rules = networks.share_rules().map_err(|error| errors.push(error)).ok();
        // Since it was connected it may have been connected to others, or disconnected from some.
        let records = networks.of_container(container).unwrap_or_else(|_| known.to_vec());
        errors.extend(networks.withdraw(&records).err());
        errors.extend(records.iter().filter_map(|record| networks.delete_rules(record).err()));
        Leaving { networks, records, errors, rules }
    }

    /// Wait until the cables are gone, then give the addresses and the ports back.
    ///
    /// Where the network namespace lives on (another container is in it), the cables are taken out by hand.
    pub fn finish(mut self) -> Vec<Error> {
        self.end();
        std::mem::take(&mut self.errors)
    }

    fn end(&mut self) {
        let deadline = Instant::now() + NAMESPACE_ENDS_WITHIN;
        for record in std::mem::take(&mut self.records) {
            if let Some(attachment) = &record.attachment {
                self.errors.extend(unplug(attachment, deadline).err());
            }
            if let Some(device) = &record.device {
                self.errors.extend(device.give_back(None).err());
            }
            if self.errors.is_empty() {
                // With an error the record stays: the next sweep tries again.
                self.errors.extend(self.networks.forget(&record).err());
            }
        }
        self.rules = None;
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.end();
    }
}

fn unplug(attachment: &Attachment, deadline: Instant) -> Result<()> {
    let mut netlink = Netlink::here()?;
    let Link::Cable { host: veth, .. } = &attachment.link else { return pull_out(&mut netlink, attachment) };
    while netlink.show_link(veth)?.is_some() {
        if Instant::now() >= deadline {
            return pull_out(&mut netlink, attachment);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Take away what leads to a container's interface on the host. The interface goes along with a cable; one on a link of the
/// host's ends with the namespace that it is in.
pub(crate) fn pull_out(netlink: &mut Netlink, attachment: &Attachment) -> Result<()> {
    match &attachment.link {
        Link::Cable { host, .. } => netlink.delete_link(host),
        Link::Sub { shim: Some(shim), .. } => match netlink.show_link(shim)? {
            Some(link) => netlink.delete_link_route((link.index, shim), Subnet::around(attachment.address, u8::MAX)),
            None => Ok(()),
        },
        Link::Sub { shim: None, .. } => Ok(()),
    }
}
