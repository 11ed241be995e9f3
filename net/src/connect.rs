//! `network connect` and `disconnect`: a container that runs gets a further endpoint, or loses one.
//!
//! ```text
//!   connect   lease, the record half ──▶ link, address ──▶ way out, ports, names
//!   complete  the record whole                              │ between the two the caller settles what is his:
//!   part      the record half, it leaves ──▶ names gone ──▶ way out, ports       files, and who serves the container
//!   unplug    link gone ──▶ no record
//! ```
//!
//! The container's owner lives on whatever becomes of the process that does this; so while it works, a file beside the
//! container's records marks the endpoint as half (records.rs), and the record says who works. When that one is killed, the
//! next sweep finds it among [`Networks::abandoned`], and parts it: each step can be done twice.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use crate::driver::{self, Sandboxed, bridge, sub};
use crate::endpoint::{EndpointRecord, Link, Owner, published_at, pull_out, way_out};
use crate::error::{Doing, Error, Result};
use crate::files::{self, Lock};
use crate::leases::Ledger;
use crate::netlink::Netlink;
use crate::network::Network;
use crate::networks::Networks;
use crate::ports::{Held, PortMapping};
use crate::publishing::Kept;
use crate::records::Listing;
use crate::reservation::{EndpointRequest, Request, record, word_rules};

/// A container that runs, as `network connect` finds it.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// Its network namespace.
    pub netns: BorrowedFd<'a>,
    /// Who keeps it.
    pub owner: &'a Owner,
    /// The process that works at it now.
    pub maker: &'a Owner,
}

impl Running<'_> {
    /// Whatever is changed in there, the host's own network is not meant.
    pub(crate) fn check_netns(&self) -> Result<()> {
        let doing = || "look at a network namespace".to_owned();
        let theirs = fstat(self.netns).map_err(io::Error::from).doing(doing)?;
        let ours = fs::metadata("/proc/self/ns/net").doing(doing)?;
        match (theirs.st_dev, theirs.st_ino) == (ours.dev(), ours.ino()) {
            true => {
                let object = format!("container {}", self.owner.name);
                Err(Error::Invalid { object, why: "its network is the host's own, as long as it runs".into() })
            }
            false => Ok(()),
        }
    }
}

/// Held while running containers are connected or disconnected: two that do it to one container would each settle its way
/// out as they see it. It is taken before every other lock.
#[derive(Debug)]
pub struct Changes {
    _lock: Lock,
}

impl Networks {
    /// Wait until nobody else connects or disconnects a running container.
    ///
    /// # Errors
    /// `Os`: the state directory cannot be written.
    pub fn lock_changes(&self) -> Result<Changes> {
        Ok(Changes { _lock: Lock::take(self.dir(), "changes")? })
    }

    /// Connect a running container to one more network. `request` is what it wanted when it was started: its ports. The
    /// endpoint serves from now on, and is half until [`Networks::complete`].
    ///
    /// # Errors
    /// `Invalid`, where the container or the network is of a kind that cannot have it, or has it already; all of
    /// [`Networks::reserve`] and of [`Reservation::connect`](crate::Reservation::connect). Nothing is left then.
    pub fn connect(
        &self,
        changes: &Changes,
        running: &Running<'_>,
        (request, wanted): (&Request, &EndpointRequest),
    ) -> Result<EndpointRecord> {
        running.check_netns()?;
        let mut network = self.wanted_network(wanted)?;
        let mut netlink = Netlink::here()?;
        let mut half = record(request, (&network, wanted))?;
        half.maker = Some(Maker::that_joins(running.maker));
        let rules = self.lock_rules()?;
        let held = {
            let mut ledger = Ledger::open(self)?;
            let others = self.of_container(&running.owner.container)?;
            check(&network, &running.owner.name, &others)?;
            self.lease((&mut ledger, &mut netlink), (&mut network, wanted), &mut half, &others)?;
            let held = self.first_ports(&mut ledger, request, (&network, &mut half), &others)?;
            self.mark(&ledger.lock, &half)?;
            self.enter(&ledger.lock, &half)?;
            held
        };
        let made = self.make(&mut netlink, running, (&network, &half));
        // Its owner holds them from now on.
        drop((held, rules));
        if let Err(error) = made {
            // What cannot be taken back now is left to the next sweep.
            let _ = self.part(changes, running, &half).and_then(|half| self.unplug(changes, running, &half));
            return Err(error);
        }
        Ok(half)
    }

    fn make(&self, netlink: &mut Netlink, running: &Running<'_>, part: (&Network, &EndpointRecord)) -> Result<()> {
        let (_, half) = part;
        let plugged = driver::plug(self, netlink, &[part], (running.netns, Sandboxed::Running))?;
        plugged.announce(netlink)?;
        bridge::publish(self, part.0, &half.rules)?;
        self.settle_ways(&half.owner.container, running.netns)?;
        let lock = self.lock()?;
        // As it is now: the container may have been given another name since.
        let now = self.read_again(half)?.ok_or_else(|| gone(half))?;
        self.announce_under(&lock, &[now])
    }

    /// A container whose ports lead nowhere, for want of a network that they could lead to, gets them now.
    fn first_ports(
        &self,
        ledger: &mut Ledger<'_>,
        request: &Request,
        (network, half): (&Network, &mut EndpointRecord),
        others: &[EndpointRecord],
    ) -> Result<Vec<Held>> {
        if others.iter().any(|other| !other.ports.is_empty()) {
            return Ok(Vec::new());
        }
        let mut parts = [(network.clone(), half.clone())];
        let held = self.publish(ledger, request, &mut parts)?;
        let [(_, published)] = parts;
        *half = published;
        Ok(held)
    }

    /// Begin to disconnect a running container: no name, no published port and no default route leads over `endpoint` any
    /// more, which is half until [`Networks::unplug`]. One that is half already is taken over from whoever worked at it.
    ///
    /// # Errors
    /// `Invalid`, where its network is the host's; `Gone`, where it has no such endpoint any more; `Os`, `Firewall`: then the next sweep tries again.
    pub fn part(&self, _changes: &Changes, running: &Running<'_>, endpoint: &EndpointRecord) -> Result<EndpointRecord> {
        running.check_netns()?;
        let _rules = self.lock_rules()?;
        let half = self.halve(running, endpoint)?;
        if endpoint.maker.is_some() {
            // Who was killed may have been putting in its rules.
            self.settle(&half)?;
        }
        self.withdraw(std::slice::from_ref(&half))?;
        self.settle_ways(&half.owner.container, running.netns)?;
        Ok(half)
    }

    /// Say on disk that this process takes an endpoint apart.
    fn halve(&self, running: &Running<'_>, endpoint: &EndpointRecord) -> Result<EndpointRecord> {
        let lock = self.lock()?;
        let records = self.of_container(&running.owner.container)?;
        let found = records.into_iter().find(|record| record.id == endpoint.id).ok_or_else(|| gone(endpoint))?;
        let half = EndpointRecord { maker: Some(Maker::that_leaves(running.maker)), ..found };
        self.mark(&lock, &half)?;
        self.put(&lock, &half)?;
        Ok(half)
    }

    /// Take a running container's endpoint apart that has parted, and forget it.
    ///
    /// # Errors
    /// `Os`, `Firewall`: then the next sweep tries again.
    pub fn unplug(&self, _changes: &Changes, running: &Running<'_>, half: &EndpointRecord) -> Result<()> {
        self.delete_rules(half)?;
        if let Some(attachment) = &half.attachment {
            pull_out(&mut Netlink::here()?, attachment)?;
            // What stands on a link of the host's can only be taken away from inside; a cable is gone by now.
            let mut inside = Netlink::inside(running.netns, || Ok(()))?;
            if let Link::Sub { .. } = attachment.link {
                inside.delete_link(&sub::unborn(attachment))?;
            }
            inside.delete_link(&attachment.interface)?;
        }
        if let Some(device) = &half.device {
            device.give_back(Some(running.netns))?;
        }
        self.forget(half)
    }

    /// The record is whole: only its owner has to do with it.
    ///
    /// # Errors
    /// `Gone`, where the container has ended meanwhile; `Os`.
    pub fn complete(&self, _changes: &Changes, half: &EndpointRecord) -> Result<()> {
        let lock = self.lock()?;
        // It may have been changed since: by those who settled where the ports lead.
        let record = self.read_again(half)?.ok_or_else(|| gone(half))?;
        self.put_whole(&lock, &EndpointRecord { maker: None, ..record })
    }

    /// Every endpoint that is half and whose maker was killed over it, whoever its owner is.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read or written.
    pub fn abandoned(&self, _changes: &Changes, alive: &dyn Fn(&Owner) -> bool) -> Result<Vec<EndpointRecord>> {
        let _lock = self.lock()?;
        let mut abandoned = Vec::new();
        for (container, endpoint) in Listing::of(&self.endpoints_dir(), |_| false)?.halves {
            let file = self.endpoint_file_of(&container, &endpoint);
            // One that is damaged is named by the sweep, and is nobody's.
            let Ok(Some(record)) = files::read_named::<EndpointRecord>(&file) else { continue };
            if record.maker.as_ref().is_some_and(|maker| maker.is_dead(alive)) {
                abandoned.push(record);
            }
        }
        Ok(abandoned)
    }

    /// See to it that a container's default routes and its published ports are those of its way out.
    ///
    /// Errors: `Os`, `Firewall`.
    fn settle_ways(&self, container: &str, netns: BorrowedFd<'_>) -> Result<()> {
        let records = self.of_container(container)?;
        let staying: Vec<EndpointRecord> = records.iter().filter(|record| !record.is_leaving()).cloned().collect();
        self.settle_ports(&records, &staying)?;
        let mut inside = Netlink::inside(netns, || Ok(()))?;
        for ipv6 in [false, true] {
            match way_out(&staying, ipv6) {
                Some(record) => driver::lead_out(&mut inside, record, ipv6)?,
                None => inside.delete_default_route(ipv6)?,
            }
        }
        Ok(())
    }

    /// Have the ports lead to the endpoint that is the container's way out.
    fn settle_ports(&self, records: &[EndpointRecord], staying: &[EndpointRecord]) -> Result<()> {
        let Some(to) = published_at(staying) else { return Ok(()) };
        // More than one, where somebody was killed over this.
        let others: Vec<_> = records.iter().filter(|record| !record.ports.is_empty() && record.id != to.id).collect();
        let Some(from) = others.first() else { return Ok(()) };
        let network = self.find_pinned(&to.network, &to.network_id)?;
        let mut to = to.clone();
        to.ports.clone_from(&from.ports);
        to.unheld.clone_from(&from.unheld);
        word_rules(&network, &mut to);
        self.rewrite(&to)?;
        // The old ones first: of two rules for one port the first is taken.
        others.iter().try_for_each(|other| self.delete_rules(other))?;
        self.delete_rules(&to)?;
        bridge::publish(self, &network, &to.rules)?;
        others.into_iter().try_for_each(|other| {
            let without = EndpointRecord { ports: Vec::new(), unheld: Vec::new(), rules: Vec::new(), ..other.clone() };
            self.rewrite(&without).inspect_err(|_| drop(self.delete_rules(&to)))
        })
    }

    /// Write down where the ports lead. Errors: `Gone`, where the container has ended meanwhile, and the record with it.
    pub(crate) fn rewrite(&self, record: &EndpointRecord) -> Result<()> {
        let lock = self.lock()?;
        // As it is now: its owner may be another since.
        let now = self.read_again(record)?.ok_or_else(|| gone(record))?;
        let EndpointRecord { ports, unheld, rules, .. } = record.clone();
        let record = EndpointRecord { ports, unheld, rules, ..now.clone() };
        // Until it is written it leases what it had, and from then on no more than it has.
        let (gained, lost) = (ports_without(&record, &now), ports_without(&now, &record));
        match gained.is_empty() {
            true => self.put(&lock, &record)?,
            false => {
                let both = EndpointRecord { ports: [now.ports, gained].concat(), ..now };
                self.put_after(&lock, &record, || self.note_lease(&lock, &both))?;
            }
        }
        if !lost.is_empty() {
            self.note_shrunk(&lock, &record);
        }
        Ok(())
    }
}

/// The ports of one that the other has not.
fn ports_without(one: &EndpointRecord, other: &EndpointRecord) -> Vec<PortMapping> {
    one.ports.iter().filter(|mapping| !other.ports.contains(mapping)).copied().collect()
}

pub(crate) fn gone(record: &EndpointRecord) -> Error {
    Error::Gone { container: record.owner.name.clone() }
}

/// Whether a container that is in `others` can be in this network too.
fn check(network: &Network, name: &str, others: &[EndpointRecord]) -> Result<()> {
    let invalid = |why: String| Err(Error::Invalid { object: format!("network {}", network.name), why });
    if others.iter().any(|other| other.network_id == network.id) {
        return invalid(format!("container {name} is in it already"));
    }
    if !network.driver.is_shareable() {
        return invalid(format!("a container cannot be in it and in others ({})", network.driver));
    }
    // Without an endpoint that has an address, what it has is the host's network, another container's, or none.
    if others.iter().all(|other| other.attachment.is_none()) && !others.is_empty() {
        let mode = others.first().map(|other| other.network.as_str()).unwrap_or_default();
        return invalid(format!("container {name} is on network {mode}, which can have no other beside it"));
    }
    Ok(())
}

/// Who works at an endpoint of a container that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    process: Owner,
    /// The endpoint is on its way out.
    #[serde(default)]
    pub(crate) leaves: bool,
    /// Ports of it come or go, and these do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keeps: Option<Kept>,
}

impl Maker {
    pub(crate) fn that_joins(process: &Owner) -> Maker {
        Maker { process: process.clone(), leaves: false, keeps: None }
    }

    pub(crate) fn that_publishes(process: &Owner, kept: Kept) -> Maker {
        Maker { process: process.clone(), leaves: false, keeps: Some(kept) }
    }

    pub(crate) fn that_leaves(process: &Owner) -> Maker {
        Maker { process: process.clone(), leaves: true, keeps: None }
    }

    /// Whether it is dead, so that the endpoint is half for ever.
    pub(crate) fn is_dead(&self, alive: &dyn Fn(&Owner) -> bool) -> bool {
        !alive(&self.process)
    }
}
