//! A network device of the host's that is moved into a container, and given back (A-152, A-153).
//!
//! ```text
//!   host:  eth1, its addresses, up ──── RTM_NEWLINK, IFLA_NET_NS_FD ────▶  container: eth1 (or another name), the same
//!          eth1, the same          ◀─── the same way, or by the kernel ──  disconnected, or the container has ended
//! ```
//!
//! A device is in one namespace at a time. When that ends the kernel gives the device back to the first namespace of the
//! machine, by the name that it had inside (net/core/dev.c, default_device_exit_net); its addresses and its own name are
//! in our record.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::address::{MacAddress, Subnet};
use crate::connect::{Changes, Maker, Running};
use crate::endpoint::EndpointRecord;
use crate::error::{Doing, Error, Result};
use crate::ipam::check_interface;
use crate::netlink::{LinkState, Netlink};
use crate::network::{Driver, Network};
use crate::networks::Networks;
use crate::reservation::{EndpointRequest, Request, record};
use crate::{steps, sysctl};

/// How long the kernel gets to give a device back when its container has ended.
const GIVEN_BACK_WITHIN: Duration = Duration::from_millis(500);

/// What a device was on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name there.
    pub name: String,
    /// Its name in the container.
    pub inside: String,
    /// By which it is known again.
    mac: Option<MacAddress>,
    /// Its addresses, with their prefixes.
    addresses: Vec<(IpAddr, u8)>,
    was_up: bool,
    /// A cable or the like: it ends with the namespace that it is in.
    is_virtual: bool,
}

impl Networks {
    /// Move the host's device `name` into a running container, as `inside`, with its addresses.
    ///
    /// # Errors
    /// `Invalid` for a device that is not there, or cannot be spared; `Os` where the kernel refuses. It is as before then.
    pub fn connect_device(
        &self,
        changes: &Changes,
        (running, request): (&Running<'_>, &Request),
        (name, inside): (&str, &str),
    ) -> Result<()> {
        running.check_netns()?;
        let owner = running.owner;
        let others = self.of_container(&owner.container)?;
        let mut netlink = Netlink::here()?;
        let link = self.spared(&mut netlink, name)?;
        let taken = others.iter().any(|other| other.interface() == Some(inside));
        let invalid = |why: &str| Error::Invalid { object: format!("interface {inside}"), why: why.into() };
        check_interface(inside).map_err(invalid)?;
        if taken {
            return Err(invalid("the container has one of this name"));
        }
        if others.iter().all(|other| other.attachment.is_none()) && others.iter().any(|other| other.device.is_none()) {
            let network = others.iter().map(|other| other.network.as_str()).find(|it| *it != "none");
            if let Some(network) = network {
                let why = format!("container {} is on network {network}, which is not its own", owner.name);
                return Err(Error::Invalid { object: format!("device {name}"), why });
            }
        }
        let none = Network::new("", String::new(), String::new(), Driver::Null);
        let wanted = EndpointRequest::default();
        let mut half = record(request, (&none, &wanted))?;
        half.maker = Some(Maker::that_joins(running.maker));
        let addresses = netlink.addresses(link.index, name)?;
        let device = Device {
            name: name.into(),
            inside: inside.into(),
            mac: link.mac,
            addresses,
            was_up: link.is_up,
            is_virtual: link.is_virtual,
        };
        half.device = Some(device.clone());
        {
            let lock = self.lock()?;
            self.mark(&lock, &half)?;
            self.put(&lock, &half)?;
        }
        let made = device.move_in(&mut netlink, link.index, running.netns).and_then(|()| self.complete(changes, &half));
        // What cannot be taken back now is left to the next sweep.
        made.inspect_err(|_| drop(self.unplug(changes, running, &half)))
    }

    /// The device, where the host can do without it.
    fn spared(&self, netlink: &mut Netlink, name: &str) -> Result<LinkState> {
        let invalid = |why: String| Error::Invalid { object: format!("device {name}"), why };
        let link = netlink.show_link(name)?.ok_or_else(|| invalid("there is none".into()))?;
        if name == "lo" {
            return Err(invalid("every network has its own".into()));
        }
        if netlink.way_out()? == Some(link.index) {
            return Err(invalid("it is the host's way out".into()));
        }
        let is_of = |network: &Network| {
            network.bridge.as_ref().is_some_and(|bridge| bridge.name == name)
                || network.parent.as_ref().is_some_and(|parent| parent.link == name)
        };
        match self.list()?.into_iter().find(is_of) {
            Some(network) => Err(invalid(format!("network {} stands on it", network.name))),
            None => Ok(link),
        }
    }

    /// Give a device back to the host that is in a running container.
    ///
    /// # Errors
    /// `Invalid` where it is not in it; `Os` where the kernel refuses: then the next sweep tries again.
    pub fn part_device(&self, changes: &Changes, running: &Running<'_>, name: &str) -> Result<()> {
        let is_meant = |record: &EndpointRecord| record.device.as_ref().is_some_and(|device| device.name == name);
        let why = || format!("container {} does not have it", running.owner.name);
        let none = || Error::Invalid { object: format!("device {name}"), why: why() };
        let found = self.of_container(&running.owner.container)?.into_iter().find(is_meant).ok_or_else(none)?;
        let half = self.part(changes, running, &found)?;
        self.unplug(changes, running, &half)
    }
}

impl Device {
    fn move_in(&self, netlink: &mut Netlink, index: u32, netns: BorrowedFd<'_>) -> Result<()> {
        netlink.set_down(index, &self.name)?;
        netlink.move_link(index, (&self.name, &self.inside), netns)?;
        let with_ipv6 = self.addresses.iter().any(|(address, _)| address.is_ipv6());
        // A container's network begins without IPv6, and what comes to it has none either.
        let mut inside = Netlink::inside(netns, || match with_ipv6 {
            true => sysctl::set(&steps::SYSCTL_IPV6_ON, &format!("net/ipv6/conf/{}/disable_ipv6", self.inside), "0"),
            false => Ok(()),
        })?;
        self.settle(&mut inside, &self.inside)
    }

    /// Give the device its addresses, and switch it on if it was.
    fn settle(&self, netlink: &mut Netlink, name: &str) -> Result<()> {
        let link = netlink.show_link(name)?.ok_or_else(|| crate::driver::gone(name))?;
        for (address, prefix) in &self.addresses {
            let subnet = Subnet::around(*address, *prefix);
            netlink.add_address(&steps::DEVICE, (link.index, name), *address, subnet)?;
        }
        if self.was_up { netlink.set_up(&steps::DEVICE, link.index, name) } else { Ok(()) }
    }

    /// Bring it back to the host as it was: out of a container that runs, or from where the kernel has put it. One that is
    /// back already is no error.
    pub(crate) fn give_back(&self, netns: Option<BorrowedFd<'_>>) -> Result<()> {
        let mut host = Netlink::here()?;
        if let Some(netns) = netns {
            let mut inside = Netlink::inside(netns, || Ok(()))?;
            if let Some(link) = inside.show_link(&self.inside)?.filter(|link| link.mac == self.mac) {
                let home = File::open("/proc/self/ns/net").doing(|| "open /proc/self/ns/net".into())?;
                inside.set_down(link.index, &self.inside)?;
                inside.move_link(link.index, (&self.inside, &self.name), home.as_fd())?;
            }
        }
        let deadline = Instant::now() + GIVEN_BACK_WITHIN;
        let link = loop {
            match host.find_link_by_mac(self.mac, [&self.name, &self.inside])? {
                Some(link) => break link,
                None if self.is_virtual => return Ok(()),
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                None => return Err(crate::driver::gone(&self.name)),
            }
        };
        if link.name != self.name {
            host.set_down(link.index, &link.name)?;
            host.rename(link.index, (&link.name, &self.name))?;
        }
        self.settle(&mut host, &self.name)
    }
}
