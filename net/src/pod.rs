//! Pods: network namespaces that somebody else makes and keeps, as the plugins of CNI get them.
//!
//! ```text
//!   join     lease, the record with its maker ──▶ link, address, routes ──▶ ports, names ──▶ the record without its maker
//!   release  names, rules, link gone ──▶ no record            (what a sweep does, too)
//! ```
//!
//! No process of ours stands for a pod, so none holds its ports or relays them: they are published by rules alone, and
//! nobody answers questions for names inside. What lives and dies is the namespace; [`lives`] says how that is told.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use serde::{Deserialize, Serialize};

use crate::address::{MacAddress, Subnet};
use crate::connect::Maker;
use crate::driver::{self, Sandboxed, bridge};
use crate::endpoint::{Attachment, EndpointRecord, Link, Owner, published_at};
use crate::error::{Doing, Error, Result};
use crate::leases::Ledger;
use crate::netlink::Netlink;
use crate::network::Network;
use crate::networks::Networks;
use crate::ports::{Held, Publish};
use crate::reservation::{Request, record};
use crate::{steps, sysctl};

/// A file that keeps a network namespace: what is mounted there, or a link of /proc. namespaces(7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetnsFile {
    /// Where it is.
    pub path: PathBuf,
    /// Which namespace it is, `st_dev` and `st_ino`: another may be kept there later.
    device: u64,
    inode: u64,
}

impl NetnsFile {
    /// Open the network namespace that is kept at `path`.
    ///
    /// # Errors
    /// `Os` when it cannot be opened; `Invalid` when it is no namespace, or the one that this process is in.
    pub fn open(path: &Path) -> Result<(File, NetnsFile)> {
        let doing = || format!("open the network namespace {}", path.display());
        let invalid = |why: &str| Error::Invalid { object: path.display().to_string(), why: why.into() };
        let file = File::open(path).doing(doing)?;
        if fstatfs(&file).map_err(io::Error::from).doing(doing)?.filesystem_type() != NSFS_MAGIC {
            return Err(invalid("it is no network namespace"));
        }
        let (theirs, ours) = (file.metadata().doing(doing)?, fs::metadata("/proc/thread-self/ns/net").doing(doing)?);
        if (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()) {
            return Err(invalid("it is the host's own network"));
        }
        let netns = NetnsFile { path: path.to_owned(), device: theirs.dev(), inode: theirs.ino() };
        Ok((file, netns))
    }

    fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|it| (it.dev(), it.ino()) == (self.device, self.inode))
    }
}

/// Where a pod sends what is for a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// All of it: of prefix 0 for everything.
    pub to: Subnet,
    /// Whom it is given to; nothing stands for the network's gateway.
    pub gateway: Option<IpAddr>,
}

/// What a pod has got.
#[derive(Debug, Clone)]
pub struct Joined {
    /// Its endpoint.
    pub record: EndpointRecord,
    /// The hardware address of the host's end of its cable.
    pub host_mac: Option<MacAddress>,
    /// Those of its routes that were made, with their gateways.
    pub routes: Vec<Way>,
}

/// A pod that is about to join a network.
#[derive(Debug, Clone, Copy)]
pub struct Joining<'a> {
    /// Its network namespace.
    pub netns: BorrowedFd<'a>,
    /// The process that works at it now.
    pub maker: &'a Owner,
    /// Its owner, its one network, and its ports.
    pub request: &'a Request,
    /// Its routes. One that the namespace has already stays as it is.
    pub ways: &'a [Way],
}

/// Whether what an endpoint belongs to is there.
///
/// A pod is, as long as its namespace's file is, or the cable that leads into the namespace: the kernel takes that along
/// when the namespace ends. So one whose file is seen from elsewhere alone (another mount namespace) is not taken for dead.
/// While it is being made or taken apart, its endpoint lives as long as who does that.
pub(crate) fn lives(record: &EndpointRecord, alive: &dyn Fn(&Owner) -> bool) -> bool {
    let Some(netns) = &record.owner.netns else { return alive(&record.owner) };
    if let Some(maker) = &record.maker {
        return !maker.is_dead(alive);
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    boot.is_ok_and(|now| now.trim_end() == record.owner.boot_id) && (netns.is_there() || has_cable(record))
}

fn has_cable(record: &EndpointRecord) -> bool {
    let Some(Attachment { link: Link::Cable { host, .. }, .. }) = &record.attachment else { return false };
    // What cannot be looked at is not taken for dead.
    Netlink::here().and_then(|mut netlink| netlink.show_link(host)).map_or(true, |link| link.is_some())
}

impl Networks {
    /// There from the first pod on, until all is reset.
    pub(crate) fn pods_file(&self) -> PathBuf {
        self.dir().join("pods")
    }

    /// Join a pod to a network.
    ///
    /// # Errors
    /// `Invalid` where the network, the address or the interface cannot be the pod's; `AddressInUse`, `PortInUse`,
    /// `PortUnavailable` also for a port that only a process could carry; `Exhausted`; `Os`, `Firewall`. Nothing is left
    /// then.
    pub fn join(&self, joining: &Joining<'_>) -> Result<Joined> {
        let noted = self.pods_file();
        OpenOptions::new().append(true).create(true).open(&noted).doing(|| format!("write {}", noted.display()))?;
        let rules = self.share_rules()?;
        let mut netlink = Netlink::here()?;
        let (network, record, held) = self.lease_pod(&mut netlink, joining)?;
        let made = self.plug_pod(&mut netlink, joining, (&network, &record));
        // The rules are there, and nobody holds a pod's ports.
        drop((held, rules));
        match made {
            Ok((host_mac, routes)) => Ok(Joined { record: self.complete_pod(record)?, host_mac, routes }),
            Err(error) => {
                // What cannot be taken back now is left to the next sweep.
                drop(self.release(&record, joining.maker));
                Err(error)
            }
        }
    }

    /// Choose everything of a pod's endpoint, and write it down.
    fn lease_pod(&self, netlink: &mut Netlink, joining: &Joining<'_>) -> Result<(Network, EndpointRecord, Vec<Held>)> {
        let request = joining.request;
        let object = || format!("container {}", request.owner.name);
        let [wanted] = request.networks.as_slice() else {
            return Err(Error::Invalid { object: object(), why: "it joins one network at a time".into() });
        };
        let mut network = self.wanted_network(wanted)?;
        let Some(bridge) = network.bridge.clone().filter(|_| !network.internal || request.publish.is_empty()) else {
            let why = match network.internal {
                true => "it is internal, so no port of the host leads there".to_owned(),
                false => format!("a pod joins networks of driver bridge, and this is one of {}", network.driver),
            };
            return Err(Error::Invalid { object: format!("network {}", network.name), why });
        };
        let mut record = record(request, (&network, wanted))?;
        record.maker = Some(Maker::that_joins(joining.maker));
        let mut ledger = Ledger::open(self)?;
        let others = self.of_container(&request.owner.container)?;
        self.lease((&mut ledger, netlink), (&mut network, wanted), &mut record, &others)?;
        let mut held = Vec::new();
        // They lead to the first network of several.
        if published_at(&others).is_none() {
            let has_ipv6 = record.attachment.as_ref().is_some_and(|it| it.v6.is_some());
            let binding = bridge.binding.or(request.publish_at);
            let carried = request.publish.iter().map(|publish| by_rules(publish, binding, has_ipv6));
            let request = Request { publish: carried.collect::<Result<_>>()?, ..request.clone() };
            let mut parts = [(network, record)];
            held = self.publish(&mut ledger, &request, &mut parts)?;
            [(network, record)] = parts;
        }
        self.enter(&ledger.lock, &record)?;
        Ok((network, record, held))
    }

    fn plug_pod(
        &self,
        netlink: &mut Netlink,
        joining: &Joining<'_>,
        part: (&Network, &EndpointRecord),
    ) -> Result<(Option<MacAddress>, Vec<Way>)> {
        let (network, record) = part;
        let Some(attachment) = &record.attachment else { return Ok((None, Vec::new())) };
        let plugged = driver::plug(self, netlink, &[part], (joining.netns, Sandboxed::Foreign))?;
        let mut inside = Netlink::inside(joining.netns, || Ok(()))?;
        let name = attachment.interface.as_str();
        let index = inside.show_link(name)?.ok_or_else(|| driver::gone(name))?.index;
        let mut made = Vec::new();
        for way in joining.ways {
            let gateway = way.gateway.or_else(|| gateway_of(attachment, way.to.is_ipv6()));
            if gateway.is_some() && inside.add_route((index, name), way.to, gateway)? {
                made.push(Way { gateway, ..*way });
            }
        }
        plugged.announce(netlink)?;
        bridge::publish(self, network, &record.rules)?;
        self.announce(std::slice::from_ref(record))?;
        let host_mac = match &attachment.link {
            Link::Cable { host, .. } => netlink.show_link(host)?.and_then(|link| link.mac),
            Link::Sub { .. } => None,
        };
        Ok((host_mac, made))
    }

    /// The record without its maker: from now on it lives as long as the namespace.
    fn complete_pod(&self, record: EndpointRecord) -> Result<EndpointRecord> {
        let lock = self.lock()?;
        let whole = EndpointRecord { maker: None, ..record };
        self.put(&lock, &whole)?;
        rbox_explain::mark("endpoint-whole");
        Ok(whole)
    }

    /// The endpoint of a pod, by the key of CNI: network, container, interface. Nothing when there is none.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read.
    pub fn pod(&self, network: &str, container: &str, interface: &str) -> Result<Option<EndpointRecord>> {
        let is_it = |it: &EndpointRecord| {
            it.owner.netns.is_some() && it.network == network && it.interface() == Some(interface)
        };
        Ok(self.of_container(container)?.into_iter().find(is_it))
    }

    /// Every endpoint of a pod in the network that is called so now, or was.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read.
    pub fn pods(&self, network: &str) -> Result<Vec<EndpointRecord>> {
        let all = self.endpoints()?;
        Ok(all.into_iter().filter(|it| it.owner.netns.is_some() && it.network == network).collect())
    }

    /// Take a pod's endpoint apart, whether its namespace is there or not. Where `maker`, the process that calls, is killed
    /// over it, the next sweep goes on. Errors are collected; then it can be tried again.
    pub fn release(&self, record: &EndpointRecord, maker: &Owner) -> Vec<Error> {
        let leaving = EndpointRecord { maker: Some(Maker::that_leaves(maker)), ..record.clone() };
        let begun = self.lock().and_then(|lock| match self.endpoint_file(record).exists() {
            true => self.put(&lock, &leaving),
            // Somebody else was faster.
            false => Ok(()),
        });
        // Who made it may have been killed while a program put in its rules.
        match begun.and_then(|()| self.settle(record)) {
            Ok(()) => self.undo(&leaving),
            Err(error) => vec![error],
        }
    }
}

/// Switch the loopback of a network namespace on. Says which addresses it has.
///
/// # Errors
/// `Os`: the namespace cannot be entered.
pub fn raise_loopback(netns: BorrowedFd<'_>) -> Result<Vec<(IpAddr, u8)>> {
    let mut has_ipv6 = false;
    let mut inside = Netlink::inside(netns, || {
        has_ipv6 = sysctl::get("net/ipv6/conf/lo/disable_ipv6").is_some_and(|off| off == "0");
        Ok(())
    })?;
    inside.set_up(&steps::LOOPBACK, driver::LOOPBACK_INDEX, "lo")?;
    let v6 = has_ipv6.then_some((Ipv6Addr::LOCALHOST.into(), 128));
    Ok([Some((Ipv4Addr::LOCALHOST.into(), 8)), v6].into_iter().flatten().collect())
}

/// A port as rules alone can carry it.
fn by_rules(publish: &Publish, binding: Option<IpAddr>, has_ipv6: bool) -> Result<Publish> {
    let unavailable = |ip: IpAddr, why: &str| {
        let port = publish.host.map(|host| host.to_string()).unwrap_or_default();
        Error::PortUnavailable { port: format!("[{ip}]:{port}"), why: why.into() }
    };
    let host_ip = match publish.host_ip.or(binding) {
        Some(ip @ IpAddr::V6(six)) if six.is_loopback() => {
            return Err(unavailable(ip, "the kernel lets nothing out from ::1, and a pod has no process that relays"));
        }
        Some(ip @ IpAddr::V6(_)) if !has_ipv6 => {
            return Err(unavailable(ip, "the network has no IPv6, and a pod has no process that relays"));
        }
        None if !has_ipv6 => Some(Ipv4Addr::UNSPECIFIED.into()),
        host_ip => host_ip,
    };
    Ok(Publish { host_ip, ..*publish })
}

fn gateway_of(attachment: &Attachment, ipv6: bool) -> Option<IpAddr> {
    match ipv6 {
        false => attachment.gateway.map(IpAddr::V4),
        true => attachment.v6.as_ref()?.gateway.map(IpAddr::V6),
    }
}
