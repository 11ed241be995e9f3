//! `network connect` and `disconnect`: a container that runs gets a further endpoint, or loses one.
//!
//! ```text
//!   lease, the record half  ──▶ link, address ──▶ way out and ports settled ──▶ names ──▶ the record whole
//!   the record half         ──▶ names gone ──▶ way out and ports settled ──▶ link gone ──▶ no record
//! ```
//!
//! The container's owner lives on whatever becomes of the process that does this; so while it works, the name of the
//! endpoint's file says `half`, and the record says who works. When that one is killed, the next sweep undoes the endpoint
//! and settles the rest again: each step can be done twice.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use crate::driver::{self, Sandboxed, bridge, sub};
use crate::endpoint::{EndpointRecord, Link, Owner, published_at, pull_out, way_out};
use crate::error::{Doing, Error, Result};
use crate::files;
use crate::netlink::Netlink;
use crate::network::Network;
use crate::networks::Networks;
use crate::ports::Held;
use crate::reservation::{EndpointRequest, Ledger, Request, record, word_rules};

/// A container that runs, as `network connect` finds it.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// Its network namespace.
    pub netns: BorrowedFd<'a>,
    /// Its first process, by which that namespace is found again.
    pub pid: i32,
    /// What it wanted when it was started: its owner, its ports.
    pub request: &'a Request,
    /// The process that works at it now.
    pub maker: &'a Owner,
}

impl Networks {
    /// Connect a running container to one more network.
    ///
    /// # Errors
    /// `Invalid`, where the container or the network is of a kind that cannot have it, or has it already; all of
    /// [`Networks::reserve`] and of [`Reservation::connect`](crate::Reservation::connect). Nothing is left then.
    pub fn connect(&self, running: &Running<'_>, wanted: &EndpointRequest) -> Result<()> {
        let owner = &running.request.owner;
        let mut network = self.wanted_network(wanted)?;
        let mut netlink = Netlink::here()?;
        let mut half = record(running.request, (&network, wanted))?;
        half.maker = Some(Maker::of(running.maker, running.pid, running.netns)?);
        let _one_at_a_time = self.lock_changes()?;
        let held = {
            let mut ledger = Ledger::open(self, &mut netlink)?;
            let others = self.of_container(&owner.container)?;
            check(&network, &owner.name, &others)?;
            self.lease(&mut ledger, (&mut network, wanted), &mut half, &others)?;
            let held = self.first_ports(&ledger, running.request, (&network, &mut half), &others)?;
            self.put(&ledger.lock, &half)?;
            held
        };
        let made = self.make(&mut netlink, running, (&network, &half));
        // Its owner holds them from now on.
        drop(held);
        if let Err(error) = made {
            let _ = self.settle_ways(&owner.container, Some(&half.id), Some(running.netns));
            let _ = self.unplug(running.netns, &half);
            return Err(error);
        }
        Ok(())
    }

    fn make(&self, netlink: &mut Netlink, running: &Running<'_>, part: (&Network, &EndpointRecord)) -> Result<()> {
        let (_, half) = part;
        let plugged = driver::plug(self, netlink, &[part], (running.netns, Sandboxed::Running))?;
        plugged.announce(netlink)?;
        bridge::publish(self, part.0, &half.rules)?;
        self.settle_ways(&half.owner.container, None, Some(running.netns))?;
        self.announce(std::slice::from_ref(half))?;
        self.complete(half)
    }

    /// A container whose ports lead nowhere, for want of a network that they could lead to, gets them now.
    fn first_ports(
        &self,
        ledger: &Ledger<'_>,
        request: &Request,
        (network, half): (&Network, &mut EndpointRecord),
        others: &[EndpointRecord],
    ) -> Result<Vec<Held>> {
        if others.iter().any(|other| !other.ports.is_empty()) {
            return Ok(Vec::new());
        }
        let mut parts = [(network.clone(), half.clone())];
        let held = self.publish(&ledger.leases, request, &mut parts)?;
        let [(_, published)] = parts;
        *half = published;
        Ok(held)
    }

    /// Disconnect a running container from a network.
    ///
    /// # Errors
    /// `NotConnected`; `Os`, `Firewall`: then the next sweep tries again.
    pub fn part(&self, running: &Running<'_>, network: &Network) -> Result<()> {
        let (container, netns) = (&running.request.owner.container, running.netns);
        let _one_at_a_time = self.lock_changes()?;
        let found = self.halve(running, |record| record.network_id == network.id)?;
        let found = found.ok_or_else(|| Error::NotConnected { network: network.name.clone() })?;
        self.withdraw(std::slice::from_ref(&found))?;
        self.settle_ways(container, Some(&found.id), Some(netns))?;
        self.unplug(netns, &found)
    }

    /// Say on disk that this process takes an endpoint of the container apart. Nothing where there is none that is meant.
    pub(crate) fn halve(
        &self,
        running: &Running<'_>,
        is_meant: impl Fn(&EndpointRecord) -> bool,
    ) -> Result<Option<EndpointRecord>> {
        let lock = self.lock()?;
        let records = self.of_container(&running.request.owner.container)?;
        let Some(whole) = records.into_iter().find(is_meant) else { return Ok(None) };
        let mut half = whole.clone();
        half.maker = Some(Maker::of(running.maker, running.pid, running.netns)?);
        let doing = || format!("rename {}", self.endpoint_file(&whole).display());
        // First the name, which has the record looked at; then who works at it.
        fs::rename(self.endpoint_file(&whole), self.endpoint_file(&half)).doing(doing)?;
        rbox_explain::mark("endpoint-half");
        files::write(&lock, &self.endpoint_file(&half), &half)?;
        Ok(Some(half))
    }

    /// Take a running container's endpoint apart, and forget it.
    fn unplug(&self, netns: BorrowedFd<'_>, half: &EndpointRecord) -> Result<()> {
        self.withdraw(std::slice::from_ref(half))?;
        self.delete_rules(half)?;
        if let Some(attachment) = &half.attachment {
            pull_out(&mut Netlink::here()?, attachment)?;
            // What stands on a link of the host's can only be taken away from inside; a cable is gone by now.
            let mut inside = Netlink::inside(netns, || Ok(()))?;
            if let Link::Sub { .. } = attachment.link {
                inside.delete_link(&sub::unborn(attachment))?;
            }
            inside.delete_link(&attachment.interface)?;
        }
        if let Some(device) = &half.device {
            device.give_back(Some(netns))?;
        }
        self.forget(half)
    }

    /// The record is whole: only its owner has to do with it.
    pub(crate) fn complete(&self, half: &EndpointRecord) -> Result<()> {
        let lock = self.lock()?;
        let from = self.endpoint_file(half);
        // It may have been changed since: by those who settled where the ports lead.
        let Some(mut record) = files::read::<EndpointRecord>(&from)? else {
            return Err(Error::Gone { container: half.owner.name.clone() });
        };
        record.maker = None;
        files::write(&lock, &from, &record)?;
        fs::rename(&from, self.endpoint_file(&record)).doing(|| format!("rename {}", from.display()))?;
        rbox_explain::mark("endpoint-whole");
        Ok(())
    }

    /// See to it that a container's default routes and its published ports are those of its way out, where the endpoint
    /// `leaving` counts no more. Without `netns` the routes are left alone.
    ///
    /// Errors: `Os`, `Firewall`.
    fn settle_ways(&self, container: &str, leaving: Option<&str>, netns: Option<BorrowedFd<'_>>) -> Result<()> {
        let records = self.of_container(container)?;
        let stays = |record: &&EndpointRecord| Some(record.id.as_str()) != leaving;
        let staying: Vec<EndpointRecord> = records.iter().filter(stays).cloned().collect();
        self.settle_ports(&records, &staying)?;
        let Some(netns) = netns else { return Ok(()) };
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
        let Some(from) = records.iter().find(|record| !record.ports.is_empty()) else { return Ok(()) };
        let Some(to) = published_at(staying).filter(|to| to.id != from.id) else { return Ok(()) };
        let network = self.find_pinned(&to.network, &to.network_id)?;
        let mut to = to.clone();
        to.ports.clone_from(&from.ports);
        word_rules(&network, &mut to);
        self.rewrite(&to)?;
        // The old ones first: of two rules for one port the first is taken.
        self.delete_rules(from)?;
        self.delete_rules(&to)?;
        bridge::publish(self, &network, &to.rules)?;
        let from = EndpointRecord { ports: Vec::new(), rules: Vec::new(), ..from.clone() };
        self.rewrite(&from).inspect_err(|_| drop(self.delete_rules(&to)))
    }

    /// Write a record anew. Errors: `Gone`, where the container has ended meanwhile, and the record with it.
    fn rewrite(&self, record: &EndpointRecord) -> Result<()> {
        let lock = self.lock()?;
        if !self.endpoint_file(record).exists() {
            return Err(Error::Gone { container: record.owner.name.clone() });
        }
        self.put(&lock, record)?;
        self.forget_leases(&lock)
    }

    /// See to a record of a container that lives: whoever connected or disconnected it may have been killed over it.
    pub(crate) fn mend(&self, file: &Path, record: &EndpointRecord, alive: &dyn Fn(&Owner) -> bool) -> Vec<Error> {
        let whole = EndpointRecord { maker: None, ..record.clone() };
        match &record.maker {
            // Only its name says half: it was about to become whole, or to be taken apart and nothing had been done.
            None if EndpointRecord::is_half(file) => {
                let rename = || {
                    let _lock = self.lock()?;
                    fs::rename(file, self.endpoint_file(&whole)).doing(|| format!("rename {}", file.display()))
                };
                rename().err().into_iter().collect()
            }
            Some(maker) if !alive(&maker.process) => {
                let mut errors: Vec<Error> = self.settle(record).err().into_iter().collect();
                let netns = maker.netns();
                let netns = netns.as_ref().map(AsFd::as_fd);
                errors.extend(self.settle_ways(&record.owner.container, Some(&record.id), netns).err());
                errors.extend(match netns {
                    Some(netns) => self.unplug(netns, record).err().into_iter().collect(),
                    None => self.undo(record),
                });
                errors
            }
            _ => Vec::new(),
        }
    }
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

/// Who works at an endpoint of a container that lives, and where that container's network namespace is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    process: Owner,
    pid: i32,
    inode: u64,
}

impl Maker {
    pub(crate) fn of(process: &Owner, pid: i32, netns: BorrowedFd<'_>) -> Result<Maker> {
        let status = fstat(netns).map_err(io::Error::from).doing(|| "look at the network namespace".into())?;
        Ok(Maker { process: process.clone(), pid, inode: status.st_ino })
    }

    /// The namespace, as long as the process is the one that it was.
    fn netns(&self) -> Option<File> {
        let netns = File::open(format!("/proc/{}/ns/net", self.pid)).ok()?;
        (netns.metadata().ok()?.ino() == self.inode).then_some(netns)
    }
}
