//! The reservation: everything that can be refused is checked, everything that can collide is leased, and
//! nothing exists in the kernel yet but the sockets that keep the ports.
//!
//! ```text
//!   reserve ──▶ Reservation ──connect(netns)──▶ Endpoints ──leave──▶ Leaving ──finish──▶ nothing is left
//!     lock: read the leases, choose, hold ports, write the records
//! ```

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;

use jiff::Zoned;

use crate::address::MacAddress;
use crate::dns::Upstream;
use crate::driver::{self, Sandboxed, bridge, plain};
use crate::egress::{self, Policy};
use crate::endpoint::{EndpointRecord, Endpoints, Owner, published_at, way_out};
use crate::error::{Error, Result};
use crate::files::{self, Lock};
use crate::firewall::published;
use crate::ipam;
use crate::leases::{Leases, Ledger};
use crate::netlink::Netlink;
use crate::network::{Driver, Network};
use crate::networks::Networks;
use crate::ports::{Held, Lease, Leased, PortMapping, Protocol, Publish, Taken};
use crate::sandbox::Ioctls;
use crate::service::{Naming, Service};

/// Where free host ports are looked for when nothing else is said (A-105, A-205).
pub const EPHEMERAL_PORTS: RangeInclusive<u16> = 49153..=65535;

/// What a container wants of its networks.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who will keep it.
    pub owner: Owner,
    /// `--hostname`.
    pub hostname: String,
    /// Its networks; the first is that of its first interface.
    pub networks: Vec<EndpointRequest>,
    /// Whether containers of the default network know each other by name, as those of user-defined ones do.
    pub names_on_default: bool,
    /// Every `-p`, and for `-P` every exposed port. They lead to the bridge network that is the way out; without one nothing
    /// is published.
    pub publish: Vec<Publish>,
    /// Where a port is published for which no address was typed, where its network names none: at every address, if nothing
    /// is said here.
    pub publish_at: Option<IpAddr>,
    /// Where free host ports are looked for, lowest first: [`EPHEMERAL_PORTS`].
    pub ephemeral_ports: RangeInclusive<u16>,
    /// What it may open connections to, where not to everything.
    pub egress: Option<Policy>,
}

/// What a container wants of one network.
#[derive(Debug, Clone, Default)]
pub struct EndpointRequest {
    /// The network, by name or id; `container:ID` for another container's.
    pub network: String,
    /// Its id, where it is known: then only that one is meant.
    pub network_id: Option<String>,
    /// `--ip`: this address and no other.
    pub ip: Option<Ipv4Addr>,
    /// `--ip6`: the same of IPv6.
    pub ip6: Option<Ipv6Addr>,
    /// `--mac-address`: instead of the one that follows the address.
    pub mac: Option<MacAddress>,
    /// Further names of the container in this network.
    pub aliases: Vec<String>,
    /// Names by which this container alone knows others of this network: name, container.
    pub links: Vec<(String, String)>,
    /// The name of its interface, instead of the first free of `eth0`, `eth1` …
    pub interface: Option<String>,
    /// Of several networks, that with the highest is the way out.
    pub priority: i32,
}

/// Addresses and ports that are ours, for a container that is not connected yet. Dropping it gives them back.
pub struct Reservation {
    networks: Networks,
    container: String,
    parts: Vec<(Network, EndpointRecord)>,
    held: Vec<Held>,
    netlink: Option<Netlink>,
    egress: Option<Policy>,
    ioctls: Option<Ioctls>,
    is_ours: bool,
    /// Until its rules are there nobody else puts them in.
    _rules: Lock,
}

impl Networks {
    /// Check everything a container wants of its networks, and lease it.
    ///
    /// # Errors
    /// `NetworkNotFound`; `Invalid` for an address outside the subnet; `AddressInUse`, `PortInUse` with
    /// the holder; `PortUnavailable`; `Exhausted`.
    pub fn reserve(&self, request: &Request) -> Result<Reservation> {
        let wanted = request.networks.iter().map(|wanted| Ok((self.wanted(wanted)?, wanted)));
        let wanted = wanted.collect::<Result<Vec<(Network, &EndpointRequest)>>>()?;
        let rules = self.share_rules()?;
        let mut parts: Vec<(Network, EndpointRecord)> = Vec::new();
        if !wanted.iter().any(|(network, _)| network.driver.is_shareable()) {
            check_own(&wanted, request.egress.is_some())?;
            self.end_earlier_life(&request.owner)?;
            let lock = self.lock()?;
            for (network, wanted) in wanted {
                let record = record(request, (&network, wanted))?;
                self.enter(&lock, &record)?;
                parts.push((network, record));
            }
            let (networks, container) = (self.clone(), request.owner.container.clone());
            return Ok(Reservation {
                networks,
                container,
                parts,
                held: Vec::new(),
                netlink: None,
                egress: request.egress.clone(),
                ioctls: None,
                is_ours: true,
                _rules: rules,
            });
        }
        let mut here = Netlink::here()?;
        let mut ledger = Ledger::open(self)?;
        if self.container_dir(&request.owner.container).exists() {
            drop(ledger);
            self.end_earlier_life(&request.owner)?;
            ledger = Ledger::open(self)?;
        }
        for (mut network, wanted) in wanted {
            let mut record = record(request, (&network, wanted))?;
            let before: Vec<EndpointRecord> = parts.iter().map(|(_, record)| record.clone()).collect();
            self.lease((&mut ledger, &mut here), (&mut network, wanted), &mut record, &before)?;
            parts.push((network, record));
        }
        let held = self.publish(&mut ledger, request, &mut parts)?;
        for (_, record) in &parts {
            self.enter(&ledger.lock, record)?;
        }
        let (networks, container) = (self.clone(), request.owner.container.clone());
        let egress = request.egress.clone();
        Ok(Reservation {
            networks,
            container,
            parts,
            held,
            netlink: Some(here),
            egress,
            ioctls: None,
            is_ours: true,
            _rules: rules,
        })
    }

    /// Undo what was connected to an earlier life of the container in the moment of its end.
    fn end_earlier_life(&self, owner: &Owner) -> Result<()> {
        let records = self.of_container(&owner.container)?;
        for record in records.into_iter().filter(|record| record.owner != *owner) {
            self.undo(&record).into_iter().next().map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    fn wanted(&self, wanted: &EndpointRequest) -> Result<Network> {
        let network = match wanted.network.starts_with("container:") {
            true => Network::of_container(&wanted.network),
            false => self.wanted_network(wanted)?,
        };
        let is_bare = wanted.ip.is_none() && wanted.ip6.is_none() && wanted.mac.is_none();
        if !network.driver.is_shareable() && !is_bare {
            let why = "its containers have no address of their own".into();
            return Err(Error::Invalid { object: format!("network {}", network.name), why });
        }
        Ok(network)
    }

    pub(crate) fn wanted_network(&self, wanted: &EndpointRequest) -> Result<Network> {
        match &wanted.network_id {
            Some(id) => self.find_pinned(&wanted.network, id),
            None => self.find(&wanted.network),
        }
    }

    /// Lease what a container has in one network; `others` are its endpoints that stand beside it.
    pub(crate) fn lease(
        &self,
        (ledger, netlink): (&mut Ledger<'_>, &mut Netlink),
        (network, wanted): (&mut Network, &EndpointRequest),
        record: &mut EndpointRecord,
        others: &[EndpointRecord],
    ) -> Result<()> {
        if !network.is_predefined() {
            // It may have been removed before we had the lock.
            *network = self.find_pinned(&network.name, &network.id)?;
        }
        if network.driver == Driver::Bridge {
            self.check_plan((ledger, netlink), network)?;
        }
        let interface = ipam::interface(network, wanted, others)?;
        let attachment = driver::attachment((ledger, netlink), (network, wanted), &record.id, interface)?;
        self.announce_after(&network.id, &attachment)?;
        record.attachment = Some(attachment);
        Ok(())
    }

    /// Whether the plan of the network's bridge still holds. The default network's is made anew where it does not.
    fn check_plan(&self, (ledger, netlink): (&mut Ledger<'_>, &mut Netlink), network: &mut Network) -> Result<()> {
        let conflict = match &network.bridge {
            Some(_) => bridge::conflict(netlink, network)?,
            None => Some(String::new()),
        };
        match conflict {
            None => Ok(()),
            _ if ledger.holder_in(&network.id)?.is_some() => Ok(()),
            // Since then somebody else took its subnet or its name.
            Some(_) if network.is_predefined() => {
                bridge::plan(self, netlink, network)?;
                files::write(&ledger.lock, &self.network_file(&network.name), network)
            }
            Some(why) => Err(Error::Invalid { object: format!("network {}", network.name), why }),
        }
    }

    /// Lease the ports, and word the rules: from here on the records tell all that will be made.
    pub(crate) fn publish(
        &self,
        ledger: &mut Ledger<'_>,
        request: &Request,
        parts: &mut [(Network, EndpointRecord)],
    ) -> Result<Vec<Held>> {
        let records: Vec<EndpointRecord> = parts.iter().map(|(_, record)| record.clone()).collect();
        let Some(id) = published_at(&records).map(|record| record.id.clone()) else { return Ok(Vec::new()) };
        let part = parts.iter_mut().find(|(_, record)| record.id == id);
        let (network, record) = part.expect("it is one of them");
        let taken = ledger.choose(|leases| lease_ports(request, network, record, leases))?;
        (record.ports, record.unheld) = (taken.mappings, taken.unheld);
        word_rules(network, record);
        Ok(taken.held)
    }
}

/// Rules of a container's own need a network of its own.
fn check_own(wanted: &[(Network, &EndpointRequest)], is_guarded: bool) -> Result<()> {
    let foreign = wanted.iter().find(|(network, _)| matches!(network.driver, Driver::Host | Driver::Container));
    match foreign.filter(|_| is_guarded) {
        Some((network, _)) => {
            let why = "what is reached by it is not the container's to restrict".into();
            Err(Error::Invalid { object: format!("network {}", network.name), why })
        }
        None => Ok(()),
    }
}

/// An endpoint that has nothing yet.
pub(crate) fn record(request: &Request, (network, wanted): (&Network, &EndpointRequest)) -> Result<EndpointRecord> {
    Ok(EndpointRecord {
        id: files::random_id()?,
        network_id: network.id.clone(),
        network: network.name.clone(),
        owner: request.owner.clone(),
        maker: None,
        leased: Zoned::now().timestamp().to_string(),
        hostname: request.hostname.clone(),
        is_named: !network.is_predefined() || request.names_on_default,
        aliases: wanted.aliases.clone(),
        links: wanted.links.clone(),
        priority: wanted.priority,
        attachment: None,
        device: None,
        ports: Vec::new(),
        unheld: Vec::new(),
        rules: Vec::new(),
    })
}

/// Word the rules of an endpoint's ports.
pub(crate) fn word_rules(network: &Network, record: &mut EndpointRecord) {
    let comment = EndpointRecord::comment(&record.owner.container, &record.id);
    let attachment = record.attachment.as_ref();
    record.rules = attachment.map(|to| published(&record.ports, network, to, &comment)).unwrap_or_default();
}

/// Lease the ports of a request beside those that the endpoint has.
pub(crate) fn lease_ports(
    request: &Request,
    network: &Network,
    record: &EndpointRecord,
    leases: &Leases,
) -> Result<Taken> {
    if request.publish.is_empty() {
        return Ok(Taken::default());
    }
    let leased: Vec<Leased> = leases.ports().map(|(ports, place)| (ports, place.holder())).collect();
    let binding = network.bridge.as_ref().and_then(|bridge| bridge.binding).or(request.publish_at);
    let has_ipv6 = record.attachment.as_ref().is_some_and(|it| it.v6.is_some());
    // What is published over IPv4 and IPv6 is one port.
    let held: HashSet<(u16, Protocol)> =
        record.held_ports().flat_map(|it| it.host.ports().map(|port| (port, it.protocol))).collect();
    let lease = Lease::new(&leased, &request.owner.name, request.ephemeral_ports.clone(), has_ipv6);
    let mut lease = lease.beside(held.len());
    for publish in &request.publish {
        lease.take(&Publish { host_ip: publish.host_ip.or(binding), ..*publish })?;
    }
    Ok(lease.done())
}

impl Reservation {
    /// Every network it is for.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.parts.iter().map(|(network, _)| network)
    }

    /// What is on disk about it, in the order of the request.
    pub fn records(&self) -> Vec<EndpointRecord> {
        self.parts.iter().map(|(_, record)| record.clone()).collect()
    }

    /// Its published ports, every number known.
    pub fn ports(&self) -> Vec<PortMapping> {
        self.parts.iter().flat_map(|(_, record)| record.ports.clone()).collect()
    }

    /// Have the namespace furnished by these, where they suffice: then nothing holds it longer than its processes.
    #[must_use]
    pub fn furnished_by(mut self, ioctls: Ioctls) -> Reservation {
        self.ioctls = Some(ioctls);
        self
    }

    /// Connect the container whose network namespace is `netns`: links, addresses, routes, rules.
    ///
    /// Its name server, where it has one, asks `upstream` what is nobody's name. On an error everything is taken back, the
    /// reservation too.
    ///
    /// # Errors
    /// `Os`, `Firewall`: what the kernel or iptables refused.
    pub fn connect(mut self, netns: BorrowedFd<'_>, upstream: Upstream) -> Result<Endpoints> {
        self.act(netns)?;
        let records = self.records();
        let held = std::mem::take(&mut self.held);
        let egress = self.egress.take();
        let names = Naming { netns, upstream, is_asked: egress.is_some(), egress };
        let service = Service::new(&self.networks, &records, held, names)?;
        self.networks.announce(&records)?;
        self.is_ours = false;
        Ok(Endpoints::new(self.networks.clone(), self.container.clone(), records, service))
    }

    fn act(&mut self, netns: BorrowedFd<'_>) -> Result<()> {
        if let Some(policy) = &self.egress {
            egress::install(netns, policy)?;
        }
        let records = self.records();
        let Some(netlink) = &mut self.netlink else {
            // A namespace that is not another's gets its loopback, and nothing else.
            return match self.parts.iter().all(|(network, _)| network.driver == Driver::Null) {
                true => driver::isolate(netns),
                false => Ok(()),
            };
        };
        match self.ioctls.filter(|_| plain::is_plain(&self.networks, &records)) {
            Some(ioctls) => plain::plug(&self.networks, netlink, &self.parts, (netns, ioctls))?,
            None => plug(&self.networks, netlink, &self.parts, netns)?,
        }
        for (network, record) in &self.parts {
            bridge::publish(&self.networks, network, &record.rules)?;
        }
        Ok(())
    }
}

fn plug(
    networks: &Networks,
    netlink: &mut Netlink,
    parts: &[(Network, EndpointRecord)],
    netns: BorrowedFd<'_>,
) -> Result<()> {
    let records: Vec<EndpointRecord> = parts.iter().map(|(_, record)| record.clone()).collect();
    let parts: Vec<(&Network, &EndpointRecord)> = parts.iter().map(|(network, record)| (network, record)).collect();
    let mut plugged = driver::plug(networks, netlink, &parts, (netns, Sandboxed::New))?;
    for ipv6 in [false, true] {
        if let Some(record) = way_out(&records, ipv6) {
            plugged.lead_out(record, ipv6)?;
        }
    }
    // Before the rules, because it closes the socket inside: see sandbox.rs.
    plugged.announce(netlink)
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_ours {
            for (_, record) in &self.parts {
                // Nobody can be told; the record stays where undoing fails, and the next sweep tries again.
                drop(self.networks.undo(record));
            }
        }
    }
}
