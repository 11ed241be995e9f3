//! What the process that holds a container does for its network while it lives: it keeps the host ports, carries what the
//! kernel cannot, answers for names, and takes part in looking after the rules.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use crate::dns::{Member, Resolver, Settings, Upstream, redirect};
use crate::egress::{self, Policy};
use crate::endpoint::{EndpointRecord, published_at};
use crate::error::{Error, Result};
use crate::networks::Networks;
use crate::ports::{HELD_PORTS_MAX, Held, PortMapping, hold};
use crate::relay::Relay;
use crate::watch::Watch;

/// It has no thread and never blocks: the owner's event loop waits for any of [`Service::fds`] to be readable, and calls
/// [`Service::ready`].
///
/// While nobody serves it, a client's connection over IPv6 is accepted by the kernel and then hangs, and a name is asked for
/// in vain.
#[derive(Default)]
pub struct Service {
    /// Sockets that keep the host ports ours.
    held: Vec<Held>,
    relay: Option<Relay>,
    /// The ports that are to be held.
    ports: Vec<PortMapping>,
    resolver: Option<Resolver>,
    /// Whom the container's name server asks.
    upstream: Option<Upstream>,
    /// The container asks no other name server.
    is_asked: bool,
    /// What the container may reach, where not all.
    egress: Option<Policy>,
    /// Its part in looking after the rules, if any of its networks has some.
    watch: Option<Watch>,
}

/// How names are served for a container.
pub struct Naming<'a> {
    /// Its network namespace.
    pub netns: BorrowedFd<'a>,
    /// Whom its name server asks.
    pub upstream: Upstream,
    /// Whether its /etc/resolv.conf names that name server: then it is there, whatever networks the container is in by now.
    pub is_asked: bool,
    /// What the container may reach, where not all.
    pub egress: Option<Policy>,
}

impl Service {
    /// Serve these endpoints, with ports that are held already.
    pub(crate) fn new(
        networks: &Networks,
        records: &[EndpointRecord],
        held: Vec<Held>,
        names: Naming<'_>,
    ) -> Result<Service> {
        let mut service = Service { ports: ports(records), ..Service::default() };
        service.look_after_rules(networks, records);
        for held in held {
            service.take(networks, records, held)?;
        }
        let netns = service.learn(names);
        service.serve_names(networks, records, netns)?;
        Ok(service)
    }

    /// Serve the endpoints of a container whose holder was another process, as far as that can be done.
    pub(crate) fn resume(
        networks: &Networks,
        records: &[EndpointRecord],
        names: Option<Naming<'_>>,
    ) -> (Service, Vec<Error>) {
        let mut service = Service::default();
        service.look_after_rules(networks, records);
        let mut errors = service.serve_ports(networks, records);
        if let Some(names) = names {
            let netns = service.learn(names);
            errors.extend(service.egress.as_ref().and_then(|policy| egress::install_again(netns, policy).err()));
            errors.extend(service.serve_names(networks, records, netns).err());
        }
        (service, errors)
    }

    fn learn<'a>(&mut self, Naming { netns, upstream, is_asked, egress }: Naming<'a>) -> BorrowedFd<'a> {
        self.upstream = Some(upstream);
        self.is_asked = is_asked;
        self.egress = egress;
        netns
    }

    /// The container is in other networks now than it was, or has other ports. `netns` is its network namespace.
    ///
    /// # Errors
    /// `PortInUse` when somebody has a port that is new; `Record` when its endpoints cannot be read; what keeps a name server
    /// from being opened.
    pub fn refresh(&mut self, networks: &Networks, container: &str, netns: BorrowedFd<'_>) -> Result<()> {
        let records = networks.staying(container)?;
        self.look_after_rules(networks, &records);
        if let (Some(relay), Some(address)) = (&mut self.relay, target(&records)) {
            relay.redirect(address);
        }
        let unheld = self.serve_ports(networks, &records).into_iter().next();
        self.serve_names(networks, &records, netns)?;
        unheld.map_or(Ok(()), Err)
    }

    /// Take part in it, from the first network that has rules.
    fn look_after_rules(&mut self, networks: &Networks, records: &[EndpointRecord]) {
        if self.watch.is_none() && records.iter().any(EndpointRecord::is_on_bridge) {
            self.watch = Watch::begin(networks);
        }
    }

    /// Hold and relay the ports of these endpoints, and no others; those that are held already are not touched. Answers what
    /// is in the way of those that are new. One that could not be had before is tried again.
    fn serve_ports(&mut self, networks: &Networks, records: &[EndpointRecord]) -> Vec<Error> {
        let before = std::mem::replace(&mut self.ports, ports(records));
        let wanted = self.ports.clone();
        self.held.retain(|held| wanted.contains(&held.mapping));
        if let Some(relay) = &mut self.relay {
            relay.close(|mapping| wanted.contains(mapping));
        }
        let mut errors = Vec::new();
        for mapping in wanted {
            for port in mapping.host.ports().take(HELD_PORTS_MAX) {
                if self.has(&mapping, port) {
                    continue;
                }
                let taken = hold(&mapping, port).and_then(|held| match held {
                    Some(held) => self.take(networks, records, held),
                    None => Ok(()),
                });
                errors.extend(taken.err().filter(|_| !before.contains(&mapping)));
            }
        }
        errors
    }

    fn has(&self, mapping: &PortMapping, port: u16) -> bool {
        self.held.iter().any(|held| held.mapping == *mapping && held.port == port)
            || self.relay.as_ref().is_some_and(|relay| relay.has(mapping, port))
    }

    /// Keep a port from now on, or relay it.
    fn take(&mut self, networks: &Networks, records: &[EndpointRecord], held: Held) -> Result<()> {
        match target(records).filter(|_| held.mapping.is_relayed()) {
            None => self.held.push(held),
            Some(address) => {
                let relay = match self.relay.take() {
                    Some(relay) => relay,
                    None => Relay::new(networks.defined_dir())?,
                };
                self.relay.insert(relay).open(held, address)?;
            }
        }
        Ok(())
    }

    /// Answer for the networks that have names. Once it is there, a name server stays: the container asks no other.
    fn serve_names(&mut self, networks: &Networks, records: &[EndpointRecord], netns: BorrowedFd<'_>) -> Result<()> {
        let members: Vec<Member> = records.iter().filter(|record| record.has_names()).filter_map(member).collect();
        if self.resolver.is_none() && (self.is_asked || !members.is_empty()) {
            let upstream = self.upstream.clone().unwrap_or_else(Upstream::host);
            let egress = self.egress.clone();
            let settings = Settings { names_dir: networks.names_dir(), upstream, forwards: false, egress };
            let resolver = Resolver::open(netns, settings)?;
            redirect(netns, resolver.ports(), networks.firewall().backend())?;
            self.resolver = Some(resolver);
        }
        if let Some(resolver) = &mut self.resolver {
            resolver.set_members(members);
            // Where nothing leaves the container, no question does.
            resolver.set_forwards(records.iter().any(EndpointRecord::is_way_out));
        }
        Ok(())
    }

    /// Wait for any of these to be readable, then call [`Service::ready`].
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let serving = self.relay.iter().map(Relay::fd).chain(self.resolver.iter().map(Resolver::fd));
        serving.chain(self.watch.iter().flat_map(Watch::fds))
    }

    /// Do what can be done now, without waiting.
    pub fn ready(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.ready();
        }
        if let Some(resolver) = &mut self.resolver {
            resolver.ready();
        }
        if let Some(watch) = &mut self.watch {
            watch.ready();
        }
    }
}

fn member(record: &EndpointRecord) -> Option<Member> {
    let attachment = record.attachment.as_ref()?;
    let v6 = attachment.v6.as_ref().map(|v6| v6.subnet);
    Some(Member {
        network_id: record.network_id.clone(),
        network_name: record.network.clone(),
        subnets: [Some(attachment.subnet), v6].into_iter().flatten().map(|it| (it.first(), it.prefix())).collect(),
        links: record.links.clone(),
    })
}

/// The ports that are held by sockets.
fn ports(records: &[EndpointRecord]) -> Vec<PortMapping> {
    let of = |record: &EndpointRecord| record.held_ports().copied().collect::<Vec<_>>();
    records.iter().flat_map(of).collect()
}

/// Where relayed connections go: to an IPv6 address, if there is one, as they come from one.
fn target(records: &[EndpointRecord]) -> Option<IpAddr> {
    let attachment = published_at(records)?.attachment.as_ref()?;
    Some(attachment.v6.as_ref().map_or(attachment.address.into(), |v6| v6.address.into()))
}
