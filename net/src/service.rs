//! What the process that holds a container does for its network while it lives: it keeps the host ports, carries what the
//! kernel cannot, answers for names, and takes part in looking after the rules.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use crate::dns::{Member, Resolver, Settings, Upstream, redirect};
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
    ports: Vec<PortMapping>,
    resolver: Option<Resolver>,
    /// Whom the container's name server asks.
    upstream: Option<Upstream>,
    /// The container asks no other name server.
    is_asked: bool,
    /// Its part in looking after the rules, if any of its networks has some.
    watch: Option<Watch>,
}

/// How names are served for a container whose holder was another process.
pub struct Naming<'a> {
    /// Its network namespace.
    pub netns: BorrowedFd<'a>,
    /// Whom its name server asks.
    pub upstream: Upstream,
    /// Whether its /etc/resolv.conf names that name server: then it is there, whatever networks the container is in by now.
    pub is_asked: bool,
}

impl Service {
    /// Serve these endpoints, with ports that are held already. `names`: the container's network namespace, and whom its
    /// name server asks.
    pub(crate) fn new(
        networks: &Networks,
        records: &[EndpointRecord],
        mut held: Vec<Held>,
        names: Option<(BorrowedFd<'_>, Upstream)>,
    ) -> Result<Service> {
        let relay = match target(records) {
            Some(address) => Relay::new(&mut held, address, networks.defined_dir())?,
            None => None,
        };
        let has_rules = records.iter().any(EndpointRecord::is_on_bridge);
        let watch = has_rules.then(|| Watch::begin(networks)).flatten();
        let mut service = Service { held, relay, ports: ports(records), watch, ..Service::default() };
        if let Some((netns, upstream)) = names {
            service.upstream = Some(upstream);
            service.serve_names(networks, records, netns)?;
        }
        Ok(service)
    }

    /// Serve the endpoints of a container whose holder was another process, as far as that can be done.
    pub(crate) fn resume(
        networks: &Networks,
        records: &[EndpointRecord],
        names: Option<Naming<'_>>,
    ) -> (Service, Vec<Error>) {
        let mut errors = Vec::new();
        let mut service = Service::default();
        let ports = ports(records);
        match hold_again(&ports).and_then(|held| Service::new(networks, records, held, None)) {
            Ok(served) => service = served,
            Err(error) => errors.push(error),
        }
        if let Some(Naming { netns, upstream, is_asked }) = names {
            service.upstream = Some(upstream);
            service.is_asked = is_asked;
            errors.extend(service.serve_names(networks, records, netns).err());
        }
        (service, errors)
    }

    /// The container is in other networks now than it was. `netns` is its network namespace.
    ///
    /// # Errors
    /// `PortInUse` when somebody took a port in between; `Record` when its endpoints cannot be read; what keeps a name server
    /// from being opened.
    pub fn refresh(&mut self, networks: &Networks, container: &str, netns: BorrowedFd<'_>) -> Result<()> {
        let records = networks.staying(container)?;
        if self.watch.is_none() && records.iter().any(EndpointRecord::is_on_bridge) {
            self.watch = Watch::begin(networks);
        }
        let ports = ports(&records);
        if ports == self.ports {
            if let (Some(relay), Some(address)) = (&mut self.relay, target(&records)) {
                relay.redirect(address);
            }
        } else {
            // The old ones are let go first: some may be among the new.
            (self.held, self.relay, self.ports) = Default::default();
            let mut held = hold_again(&ports)?;
            let relay = |address| Relay::new(&mut held, address, networks.defined_dir());
            self.relay = target(&records).map(relay).transpose()?.flatten();
            (self.held, self.ports) = (held, ports);
        }
        self.serve_names(networks, &records, netns)
    }

    /// Answer for the networks that have names. Once it is there, a name server stays: the container asks no other.
    fn serve_names(&mut self, networks: &Networks, records: &[EndpointRecord], netns: BorrowedFd<'_>) -> Result<()> {
        let members: Vec<Member> = records.iter().filter(|record| record.has_names()).filter_map(member).collect();
        if self.resolver.is_none() && (self.is_asked || !members.is_empty()) {
            let upstream = self.upstream.clone().unwrap_or_else(Upstream::host);
            let settings = Settings { names_dir: networks.names_dir(), upstream, forwards: false };
            let resolver = Resolver::open(netns, settings)?;
            redirect(netns, resolver.ports())?;
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

fn ports(records: &[EndpointRecord]) -> Vec<PortMapping> {
    records.iter().flat_map(|record| record.ports.clone()).collect()
}

/// Where relayed connections go: to an IPv6 address, if there is one, as they come from one.
fn target(records: &[EndpointRecord]) -> Option<IpAddr> {
    let attachment = published_at(records)?.attachment.as_ref()?;
    Some(attachment.v6.as_ref().map_or(attachment.address.into(), |v6| v6.address.into()))
}

/// Hold the ports of an endpoint that another process held before.
fn hold_again(mappings: &[PortMapping]) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for mapping in mappings {
        for port in mapping.host.ports().take(HELD_PORTS_MAX) {
            held.extend(hold(mapping, port)?);
        }
    }
    Ok(held)
}
