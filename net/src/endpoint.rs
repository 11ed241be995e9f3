//! An endpoint: one container's place in one network (the CNM noun), and how it leaves again.
//!
//! Everything an endpoint owns stands in its record before it is made, so whoever finds the record can undo it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::address::{MacAddress, Subnet};
use crate::error::{Error, Result};
use crate::firewall::Rule;
use crate::netlink::Netlink;
use crate::networks::Networks;
use crate::ports::{Held, PortMapping};
use crate::relay::Relay;

/// The process that an endpoint lives and dies with.
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
}

/// What a container has in a bridge network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its address.
    pub address: Ipv4Addr,
    /// The subnet around it.
    pub subnet: Subnet,
    /// Its default gateway: the bridge.
    pub gateway: Ipv4Addr,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The largest packet, as on the host's way out.
    pub mtu_bytes: u32,
    /// The bridge's link name.
    pub bridge: String,
    /// The host's end of the cable, `veth` and 7 hex digits.
    pub veth: String,
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
    /// The container's host name.
    pub hostname: String,
    /// What it has in a bridge network; nothing in `host` and `none`.
    pub attachment: Option<Attachment>,
    /// Its published ports.
    pub ports: Vec<PortMapping>,
    /// The rules that carry them.
    pub rules: Vec<Rule>,
}

impl EndpointRecord {
    /// The comment of its rules: container and endpoint, so that no other endpoint's can be meant.
    pub(crate) fn comment(container: &str, id: &str) -> String {
        format!("{container}-{}", short(id))
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{}.{}.json", self.owner.container, short(&self.id))
    }

    /// The container of the record in that file.
    pub(crate) fn container_of(file: &Path) -> Option<&str> {
        Some(file.file_name()?.to_str()?.split_once('.')?.0)
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A connected container. Dropping it disconnects it; errors are lost then, so call [`Endpoint::disconnect`].
pub struct Endpoint {
    pub(crate) networks: Networks,
    pub(crate) record: EndpointRecord,
    /// Sockets that keep the host ports ours.
    held: Vec<Held>,
    relay: Option<Relay>,
    is_ours: bool,
}

impl Endpoint {
    pub(crate) fn new(networks: Networks, record: EndpointRecord, mut held: Vec<Held>) -> Result<Endpoint> {
        let relay = match &record.attachment {
            Some(attachment) => Relay::new(&mut held, attachment.address)?,
            None => None,
        };
        Ok(Endpoint { networks, record, held, relay, is_ours: true })
    }

    /// What must be served so that IPv6 clients reach the container; nothing when no port needs it.
    ///
    /// While nobody serves it, a client's connection is accepted by the kernel and then hangs.
    pub fn relay(&mut self) -> Option<&mut Relay> {
        self.relay.as_mut()
    }

    /// What is on disk about it.
    pub fn record(&self) -> &EndpointRecord {
        &self.record
    }

    /// Take everything back: rules, link, lease, ports. Errors are collected; what is gone already is none.
    pub fn disconnect(self) -> Vec<Error> {
        self.leave().finish()
    }

    /// Begin to disconnect: after this no published port leads to the container.
    ///
    /// The cable is left to the container's network namespace, which takes it along when it ends; removing it
    /// by hand waits 13 to 25 ms for the kernel (rcu_barrier at the end of RTM_DELLINK; moving it ends the same way).
    /// Do other work, then call [`Leaving::finish`].
    pub fn leave(mut self) -> Leaving {
        self.is_ours = false;
        self.release_ports();
        Leaving::begin(self.networks.clone(), self.record.clone())
    }

    /// Relayed connections end here too: the container that answered is gone.
    fn release_ports(&mut self) {
        self.held.clear();
        self.relay = None;
    }

    /// Forget it without undoing anything: another process owns it from now on.
    ///
    /// That process must hold the sockets of the ports too: it was forked from this one, or it calls
    /// [`Networks::resume`].
    pub fn keep(mut self) {
        self.is_ours = false;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if self.is_ours {
            self.release_ports();
            drop(Leaving::begin(self.networks.clone(), self.record.clone()));
        }
    }
}

/// An endpoint on its way out: its rules are gone, its cable may still be there. Dropping it finishes too.
#[must_use]
pub struct Leaving {
    networks: Networks,
    record: Option<EndpointRecord>,
    errors: Vec<Error>,
}

/// How long the container's namespace gets to take the cable along: 1 ms is usual where its sandbox was furnished more
/// than 20 ms ago (see sandbox.rs).
const NAMESPACE_ENDS_WITHIN: Duration = Duration::from_millis(50);

impl Leaving {
    pub(crate) fn begin(networks: Networks, record: EndpointRecord) -> Leaving {
        let errors = networks.delete_rules(&record).err().into_iter().collect();
        Leaving { networks, record: Some(record), errors }
    }

    /// Wait until the cable is gone, then give the address and the ports back.
    ///
    /// Where the network namespace lives on (another container is in it), the cable is taken out by hand.
    pub fn finish(mut self) -> Vec<Error> {
        self.end();
        std::mem::take(&mut self.errors)
    }

    fn end(&mut self) {
        let Some(record) = self.record.take() else { return };
        if let Some(attachment) = &record.attachment {
            self.errors.extend(unplug(&attachment.veth).err());
        }
        if self.errors.is_empty() {
            // With an error the record stays: the next sweep tries again.
            self.errors.extend(self.networks.forget(&record).err());
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.end();
    }
}

fn unplug(veth: &str) -> Result<()> {
    let mut netlink = Netlink::here()?;
    let deadline = Instant::now() + NAMESPACE_ENDS_WITHIN;
    while netlink.show_link(veth)?.is_some() {
        if Instant::now() >= deadline {
            return netlink.delete_link(veth);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}
