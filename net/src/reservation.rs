//! The reservation: everything that can be refused is checked, everything that can collide is leased, and
//! nothing exists in the kernel yet but the sockets that keep the ports.
//!
//! ```text
//!   reserve ──▶ Reservation ──connect(netns)──▶ Endpoint ──leave──▶ Leaving ──finish──▶ nothing is left
//!     lock: read the leases, choose, hold ports, write the record
//! ```

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;

use crate::address::MacAddress;
use crate::driver::bridge;
use crate::endpoint::{Attachment, Endpoint, EndpointRecord, Owner};
use crate::error::{Error, Result};
use crate::files::{self, Lock};
use crate::firewall::{Rule, published};
use crate::leases::Leases;
use crate::netlink::Netlink;
use crate::network::{Bridged, Driver, Network};
use crate::networks::Networks;
use crate::ports::{Held, Lease, Leased, PortMapping, Publish, Taken, hold};

/// Where free host ports are looked for when nothing else is said (A-105, A-205).
pub const EPHEMERAL_PORTS: RangeInclusive<u16> = 49153..=65535;

/// What a container wants of one network.
#[derive(Debug, Clone)]
pub struct EndpointRequest {
    /// Who will keep it.
    pub owner: Owner,
    /// The network, by name or id; `container:ID` for another container's.
    pub network: String,
    /// `--hostname`.
    pub hostname: String,
    /// `--ip`: this address and no other.
    pub ip: Option<Ipv4Addr>,
    /// `--mac-address`: instead of the one that follows the address.
    pub mac: Option<MacAddress>,
    /// Every `-p`, and for `-P` every exposed port. Host and none networks publish nothing.
    pub publish: Vec<Publish>,
    /// Where free host ports are looked for, lowest first: [`EPHEMERAL_PORTS`].
    pub ephemeral_ports: RangeInclusive<u16>,
}

/// Addresses and ports that are ours, for a container that is not connected yet. Dropping it gives them back.
pub struct Reservation {
    networks: Networks,
    network: Network,
    record: EndpointRecord,
    held: Vec<Held>,
    netlink: Option<Netlink>,
    is_ours: bool,
}

impl Networks {
    /// Check everything a container wants of a network, and lease it.
    ///
    /// # Errors
    /// `NetworkNotFound`; `Invalid` for an address outside the subnet; `AddressInUse`, `PortInUse` with
    /// the holder; `PortUnavailable`; `Exhausted`.
    pub fn reserve(&self, request: &EndpointRequest) -> Result<Reservation> {
        let mut network = match request.network.starts_with("container:") {
            true => Network::of_container(&request.network),
            false => self.find(&request.network)?,
        };
        let mut record = EndpointRecord {
            id: files::random_id()?,
            network_id: network.id.clone(),
            network: network.name.clone(),
            owner: request.owner.clone(),
            hostname: request.hostname.clone(),
            attachment: None,
            ports: Vec::new(),
            rules: Vec::new(),
        };
        if network.driver != Driver::Bridge && (request.ip.is_some() || request.mac.is_some()) {
            let why = "its containers have no address of their own".into();
            return Err(Error::Invalid { object: format!("network {}", network.name), why });
        }
        let mut held = Vec::new();
        let mut netlink = None;
        if network.driver == Driver::Bridge {
            let mut here = Netlink::here()?;
            let routes = here.host_routes()?;
            let mtu_bytes = bridge::mtu(&mut here, &routes)?;
            let lock = self.lock()?;
            let leases = self.leases(&lock)?;
            let possible =
                network.bridged.as_ref().map(|it| bridge::is_possible(&mut here, it, &routes)).transpose()?;
            if possible != Some(true) && !leases.iter().any(|it| it.network_id == network.id) {
                // The plan is old: since then somebody else took its subnet or its name.
                bridge::plan(&mut here, &mut network)?;
                files::write(&lock, &self.network_file(&network.name), &network)?;
            }
            let bridged = planned(&network)?;
            record.attachment = Some(lease_address(request, bridged, &leases, mtu_bytes)?);
            let taken = lease_ports(request, &leases)?;
            held = taken.held;
            record.ports = taken.mappings;
            finish(&mut record, bridged);
            self.put(&lock, &record)?;
            netlink = Some(here);
        } else {
            self.put(&self.lock()?, &record)?;
        }
        Ok(Reservation { networks: self.clone(), network, record, held, netlink, is_ours: true })
    }

    fn put(&self, lock: &Lock, record: &EndpointRecord) -> Result<()> {
        files::write(lock, &self.endpoint_file(record), record)
    }
}

fn planned(network: &Network) -> Result<&Bridged> {
    network.bridged.as_ref().ok_or_else(|| Error::Record {
        file: format!("network {}", network.name),
        why: "a bridge network without a subnet".into(),
    })
}

/// Name the cable and word the rules: from here on the record tells all that will be made.
fn finish(record: &mut EndpointRecord, bridged: &Bridged) {
    let Some(attachment) = &mut record.attachment else { return };
    attachment.veth = format!("veth{}", &record.id[..7]);
    let comment = EndpointRecord::comment(&record.owner.container, &record.id);
    record.rules = published(&record.ports, attachment.address, &bridged.bridge, &comment);
}

fn lease_address(
    request: &EndpointRequest,
    bridged: &Bridged,
    leases: &[Leases],
    mtu_bytes: u32,
) -> Result<Attachment> {
    let subnet = bridged.subnet;
    let of = |lease: &Leases| lease.attachment.as_ref().map(|place| place.address);
    let address = match request.ip {
        Some(wanted) => {
            let invalid = |why: String| Error::Invalid { object: format!("address {wanted}"), why };
            if !subnet.contains(wanted) {
                return Err(invalid(format!("not in subnet {subnet} of network {}", request.network)));
            }
            if wanted == bridged.gateway {
                return Err(invalid(format!("it is the gateway of network {}", request.network)));
            }
            if wanted == subnet.first() || wanted == subnet.last() {
                return Err(invalid(format!("the first and the last address of {subnet} belong to nobody")));
            }
            if let Some(other) = leases.iter().find(|lease| of(lease) == Some(wanted)) {
                let holder = Some(format!("container {}", other.owner.name));
                return Err(Error::AddressInUse { address: wanted, holder });
            }
            wanted
        }
        None => {
            let mut taken: HashSet<Ipv4Addr> = leases.iter().filter_map(of).collect();
            taken.insert(bridged.gateway);
            crate::ipam::lowest_free(subnet, &taken).ok_or_else(|| Error::Exhausted {
                what: format!("address on network {}", request.network),
                why: format!("all of {subnet} are leased"),
            })?
        }
    };
    Ok(Attachment {
        address,
        subnet,
        gateway: bridged.gateway,
        mac: request.mac.unwrap_or_else(|| MacAddress::of(address)),
        mtu_bytes,
        bridge: bridged.bridge.clone(),
        veth: String::new(),
    })
}

fn lease_ports(request: &EndpointRequest, leases: &[Leases]) -> Result<Taken> {
    if request.publish.is_empty() {
        return Ok(Taken::default());
    }
    let leased: Vec<Leased> = leases
        .iter()
        .flat_map(|lease| lease.ports.iter().map(|mapping| (*mapping, lease.owner.name.clone())))
        .collect();
    let mut lease = Lease::new(&leased, &request.owner.name, request.ephemeral_ports.clone());
    for publish in &request.publish {
        lease.take(publish)?;
    }
    Ok(lease.done())
}

/// Hold the ports of an endpoint that another process held before.
pub(crate) fn hold_again(mappings: &[PortMapping]) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for mapping in mappings {
        for port in mapping.host.ports().take(crate::ports::HELD_PORTS_MAX) {
            held.extend(hold(mapping, port)?);
        }
    }
    Ok(held)
}

impl Reservation {
    /// The container's address; nothing on host and none networks.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.record.attachment.as_ref().map(|it| it.address)
    }

    /// Its default gateway: the bridge.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.record.attachment.as_ref().map(|it| it.gateway)
    }

    /// Its hardware address.
    pub fn mac(&self) -> Option<MacAddress> {
        self.record.attachment.as_ref().map(|it| it.mac)
    }

    /// The largest packet of its network card.
    pub fn mtu_bytes(&self) -> Option<u32> {
        self.record.attachment.as_ref().map(|it| it.mtu_bytes)
    }

    /// Its published ports, every number known.
    pub fn ports(&self) -> &[PortMapping] {
        &self.record.ports
    }

    /// The network it is for.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What is on disk about it.
    pub fn record(&self) -> &EndpointRecord {
        &self.record
    }

    /// Connect the container whose network namespace is `netns`: link, address, route, rules.
    ///
    /// On an error everything is taken back, the reservation too.
    ///
    /// # Errors
    /// `Os`, `Firewall`: what the kernel or iptables refused.
    pub fn connect(mut self, netns: BorrowedFd<'_>) -> Result<Endpoint> {
        self.act(netns)?;
        let held = std::mem::take(&mut self.held);
        let endpoint = Endpoint::new(self.networks.clone(), self.record.clone(), held)?;
        self.is_ours = false;
        Ok(endpoint)
    }

    fn act(&mut self, netns: BorrowedFd<'_>) -> Result<()> {
        match (self.network.driver, &self.record.attachment, &mut self.netlink) {
            (Driver::Bridge, Some(attachment), Some(netlink)) => {
                let bridged = planned(&self.network)?;
                let index = bridge::ensure(netlink, &self.networks, bridged, attachment.mtu_bytes)?;
                let plugged = bridge::attach(netlink, index, attachment, netns)?;
                // Before the rules, because it closes the socket inside: see sandbox.rs.
                plugged.announce(netlink, attachment)?;
                publish(&self.networks, bridged, &self.record.rules)
            }
            (Driver::Null, ..) => bridge::isolate(netns),
            _ => Ok(()),
        }
    }
}

fn publish(networks: &Networks, bridged: &Bridged, rules: &[Rule]) -> Result<()> {
    bridge::publish(networks, bridged, rules)
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_ours {
            // Nobody can be told; the record stays where undoing fails, and the next sweep tries again.
            drop(self.networks.undo(&self.record));
        }
    }
}
