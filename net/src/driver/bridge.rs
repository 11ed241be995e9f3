//! A bridge network: one virtual switch on the host, one cable for each container.
//!
//! ```text
//!     container                host
//!   ┌───────────┐    ┌──────────────────────────────────────────┐
//!   │ eth0 ─────┼────┼─ veth3fa1c2b ─┐                           │
//!   └───────────┘    │               rbox0 ── routing, NAT ── eth0 ── the world
//!   ┌───────────┐    │               │  172.17.0.1               │
//!   │ eth0 ─────┼────┼─ veth90b2d14 ─┘                           │
//!   └───────────┘    └──────────────────────────────────────────┘
//! ```

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::address::{MacAddress, Subnet};
use crate::endpoint::Attachment;
use crate::error::{Error, Result};
use crate::firewall::{Iptables, Rule, shared};
use crate::netlink::{Bridge, Cable, HostRoutes, LinkState, Netlink};
use crate::network::{Bridged, Network};
use crate::networks::Networks;
use crate::{ipam, steps, sysctl};

/// What a host without a default route gets: Ethernet's.
const ETHERNET_MTU_BYTES: u32 = 1500;
/// `lo` is the first link of every network namespace. linux/net/loopback.h, LOOPBACK_IFINDEX.
const LOOPBACK_INDEX: u32 = 1;

/// Choose name, subnet, gateway and hardware address of a network's bridge, so that they collide with nothing.
///
/// Errors: `Exhausted` when every subnet of the pool is in use on this host.
pub(crate) fn plan(netlink: &mut Netlink, network: &mut Network) -> Result<()> {
    let routes = netlink.host_routes()?;
    let name = free_name(netlink)?;
    let taken: Vec<Subnet> = routes.on_link.iter().map(|(subnet, _)| *subnet).collect();
    let subnet = ipam::free_subnet(&taken).ok_or_else(|| Error::Exhausted {
        what: format!("subnet for network {}", network.name),
        why: "the host has routes into 172.17.0.0/16 to 172.31.0.0/16 and 192.168.0.0/16".into(),
    })?;
    let gateway = subnet.hosts().next().expect("the pool's subnets have thousands of addresses");
    let byte = |at: usize| u8::from_str_radix(&network.id[at..at + 2], 16).expect("an id is hex");
    let mac = MacAddress([0x02, 0x42, byte(0), byte(2), byte(4), byte(6)]);
    network.bridged = Some(Bridged { subnet, gateway, bridge: name, mac });
    Ok(())
}

/// `rbox0`; the next number where another rbox with a state directory of its own has that.
fn free_name(netlink: &mut Netlink) -> Result<String> {
    for number in 0..1000 {
        let name = format!("rbox{number}");
        if netlink.show_link(&name)?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::Exhausted { what: "name for a bridge".into(), why: "rbox0 to rbox999 are taken".into() })
}

/// Whether the plan still holds: the bridge is there, or its name and subnet are still free.
pub(crate) fn is_possible(netlink: &mut Netlink, bridged: &Bridged, routes: &HostRoutes) -> Result<bool> {
    if let Some(link) = netlink.show_link(&bridged.bridge)? {
        return Ok(link.mac == Some(bridged.mac));
    }
    Ok(!routes.on_link.iter().any(|(subnet, _)| subnet.overlaps(bridged.subnet)))
}

/// The MTU of the host's way out.
pub(crate) fn mtu(netlink: &mut Netlink, routes: &HostRoutes) -> Result<u32> {
    let Some(link) = routes.default_link else { return Ok(ETHERNET_MTU_BYTES) };
    Ok(netlink.show_link_by_index(link)?.and_then(|link| link.mtu_bytes).unwrap_or(ETHERNET_MTU_BYTES))
}

/// Make the bridge and the shared rules where they are missing; answers the bridge's index.
///
/// The bridge is switched on last, so one that is up is complete, and needs no lock.
pub(crate) fn ensure(netlink: &mut Netlink, networks: &Networks, bridged: &Bridged, mtu_bytes: u32) -> Result<u32> {
    let name = &bridged.bridge;
    if let Some(link) = netlink.show_link(name)?.filter(|link| link.is_up) {
        return owned(link, bridged);
    }
    let _lock = networks.lock()?;
    match netlink.show_link(name)? {
        // Another start was faster.
        Some(link) if link.is_up => return owned(link, bridged),
        Some(_) => {}
        None => netlink.add_bridge(Bridge { name, mac: bridged.mac, mtu_bytes })?,
    }
    let link = netlink.show_link(name)?.ok_or_else(|| gone(name))?;
    let index = owned(link, bridged)?;
    netlink.add_address(&steps::BRIDGE_ADDRESS, (index, name), bridged.gateway, bridged.subnet)?;
    // The drops in raw come before the host routes for anybody, and before it accepts 127.0.0.1 from a bridge.
    networks.firewall()?.ensure(&shared(name, bridged.subnet))?;
    sysctl::set(&steps::SYSCTL_FORWARD, "net/ipv4/ip_forward", "1")?;
    sysctl::set(&steps::SYSCTL_LOCALNET, &format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
    netlink.set_up(&steps::BRIDGE_UP, index, name)?;
    Ok(index)
}

fn owned(link: LinkState, bridged: &Bridged) -> Result<u32> {
    if link.mac == Some(bridged.mac) {
        return Ok(link.index);
    }
    Err(Error::Invalid { object: format!("link {}", bridged.bridge), why: "it is there, and not rbox's".into() })
}

fn gone(link: &str) -> Error {
    Error::Os { doing: format!("look at link {link}"), source: std::io::ErrorKind::NotFound.into() }
}

/// Add an endpoint's rules; when that fails because somebody emptied the tables, put the shared ones back first.
pub(crate) fn publish(networks: &Networks, bridged: &Bridged, rules: &[Rule]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let firewall = networks.firewall()?;
    let Err(error) = firewall.append(rules) else { return Ok(()) };
    let lock = networks.lock()?;
    let were_missing = firewall.ensure(&shared(&bridged.bridge, bridged.subnet))?;
    drop(lock);
    if were_missing { firewall.append(rules) } else { Err(error) }
}

/// Plug the container whose network namespace is `netns` into the bridge with index `bridge`.
pub(crate) fn attach(netlink: &mut Netlink, bridge: u32, it: &Attachment, netns: BorrowedFd<'_>) -> Result<Plugged> {
    // Before eth0 is born, so that it is born with them.
    let mut inside = Netlink::inside(netns, || {
        sysctl::set(&steps::SYSCTL_IPV6_OFF, "net/ipv6/conf/all/disable_ipv6", "1")?;
        sysctl::set(&steps::SYSCTL_ARP_NOTIFY, "net/ipv4/conf/default/arp_notify", "1")
    })?;
    inside.set_up(&steps::LOOPBACK, LOOPBACK_INDEX, "lo")?;
    let cable = Cable { host: &it.veth, bridge: (bridge, &it.bridge), mac: it.mac, mtu_bytes: it.mtu_bytes };
    netlink.add_cable(cable, netns)?;
    let host = netlink.show_link(&it.veth)?.ok_or_else(|| gone(&it.veth))?;
    netlink.set_hairpin(host.index, &it.veth)?;
    let eth0 = inside.show_link("eth0")?.ok_or_else(|| gone("eth0"))?.index;
    inside.add_address(&steps::ADDRESS, (eth0, "eth0"), it.address, it.subnet)?;
    inside.set_up(&steps::LINK_UP, eth0, "eth0")?;
    inside.add_default_route(eth0, it.gateway)?;
    Ok(Plugged { inside, eth0 })
}

/// A container that is plugged in, before its neighbours know.
pub(crate) struct Plugged {
    inside: Netlink,
    eth0: u32,
}

impl Plugged {
    /// Wait until frames pass all the way from the host to the container, then tell everybody its address.
    ///
    /// The kernel notices a carrier a little after the link is up. A frame sent before is lost, and the
    /// container's first connection would wait a second for ARP to try again.
    pub(crate) fn announce(mut self, netlink: &mut Netlink, it: &Attachment) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(200);
        let mut passes = || -> Result<bool> {
            let veth = netlink.show_link(&it.veth)?.ok_or_else(|| gone(&it.veth))?;
            let bridge = netlink.show_link(&it.bridge)?.ok_or_else(|| gone(&it.bridge))?;
            let eth0 = self.inside.show_link("eth0")?.ok_or_else(|| gone("eth0"))?;
            Ok(veth.forwards && veth.is_ready && bridge.is_ready && eth0.is_ready)
        };
        while !passes()? && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(100));
        }
        self.inside.set_mac(self.eth0, "eth0", it.mac)
    }
}

/// Leave nothing but `lo` and IPv4 in the network namespace of a container that is on no network (A-040).
pub(crate) fn isolate(netns: BorrowedFd<'_>) -> Result<()> {
    let mut inside =
        Netlink::inside(netns, || sysctl::set(&steps::SYSCTL_IPV6_OFF, "net/ipv6/conf/all/disable_ipv6", "1"))?;
    inside.set_up(&steps::LOOPBACK, LOOPBACK_INDEX, "lo")
}

/// Take the bridge and its shared rules away. What is gone already is no error; another's bridge is left alone.
pub(crate) fn remove(netlink: &mut Netlink, firewall: &Iptables, bridged: &Bridged) -> Result<()> {
    let link = netlink.show_link(&bridged.bridge)?;
    if link.as_ref().is_some_and(|link| link.mac != Some(bridged.mac)) {
        return Ok(());
    }
    firewall.remove(&shared(&bridged.bridge, bridged.subnet))?;
    if link.is_some() { netlink.delete_link(&bridged.bridge) } else { Ok(()) }
}
