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

use super::gone;
use crate::address::{MacAddress, Subnet};
use crate::endpoint::{Attachment, Link};
use crate::error::{Error, Result};
use crate::firewall::{Age, Firewall, Meant, Rule, flows};
use crate::hosts;
use crate::ipam::{self, Taken};
use crate::netlink::{Cable, LinkState, Netlink, NewBridge};
use crate::network::{Bridge, IPV6_MTU_BYTES_MIN, Network, Passage, Pool};
use crate::networks::Networks;
use crate::ports::PortRange;
use crate::sysctl::Switch;
use crate::{steps, sysctl};

/// What a host without a default route gets: Ethernet's.
const ETHERNET_MTU_BYTES: u32 = 1500;

/// Choose name, subnet, gateway and hardware address of the default network's bridge, so that they collide with nothing.
///
/// Errors: `Exhausted` when every subnet of the pool is in use on this host.
pub(crate) fn plan(networks: &Networks, netlink: &mut Netlink, network: &mut Network) -> Result<()> {
    let name = free_name(netlink)?;
    let subnet = ipam::free_subnet(network, &taken(networks, netlink, network)?)?;
    let gateway = subnet.hosts().next();
    network.pools = vec![Pool { subnet, gateway, range: None, span: None, reserved: Default::default() }];
    let mac = hardware_address(&network.id);
    network.bridge = Some(Bridge { name, mac, icc: true, passage: [Passage::Nat; 2], binding: None });
    Ok(())
}

/// The hardware address of a network's bridge: random, as its id is (A-057).
pub(crate) fn hardware_address(id: &str) -> MacAddress {
    let byte = |at: usize| id.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    MacAddress([0x02, 0x42, byte(0), byte(2), byte(4), byte(6)])
}

/// Every subnet that `network` may not have: those on the host's links, its resolvers, and those of the other networks.
pub(crate) fn taken(networks: &Networks, netlink: &mut Netlink, network: &Network) -> Result<Vec<Taken>> {
    let mut taken: Vec<Taken> = Vec::new();
    for other in networks.list()?.into_iter().filter(|other| other.id != network.id) {
        taken.extend(other.pools.iter().map(|pool| (pool.subnet, format!("network {}", other.name))));
    }
    for ipv6 in [false, true] {
        for (subnet, index) in netlink.host_routes(ipv6)?.on_link {
            // A network's own bridge stands above already.
            if !taken.iter().any(|(other, _)| *other == subnet) {
                let link = netlink.show_link_by_index(index)?.map(|link| link.name).unwrap_or_default();
                taken.push((subnet, format!("link {link}")));
            }
        }
    }
    let resolvers = hosts::servers(&hosts::host_resolv_conf());
    taken.extend(resolvers.into_iter().map(|ip| (Subnet::around(ip, u8::MAX), "a name server".to_owned())));
    Ok(taken)
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

/// Why the plan holds no more: the bridge is not there, and its name or its subnet is another's. Nothing when it holds.
pub(crate) fn conflict(netlink: &mut Netlink, network: &Network) -> Result<Option<String>> {
    let Some(bridge) = &network.bridge else { return Ok(None) };
    if let Some(link) = netlink.show_link(&bridge.name)? {
        return Ok((link.mac != Some(bridge.mac)).then(|| not_ours(&bridge.name)));
    }
    let routes = netlink.host_routes(false)?;
    for pool in network.pools_of(false) {
        if let Some((subnet, index)) = routes.on_link.iter().find(|(subnet, _)| subnet.overlaps(pool.subnet)) {
            let link = netlink.show_link_by_index(*index)?.map(|link| link.name).unwrap_or_default();
            return Ok(Some(format!("its subnet {} is in use: link {link} has {subnet}", pool.subnet)));
        }
    }
    Ok(None)
}

fn not_ours(name: &str) -> String {
    format!("its link {name} is there, and not rbox's")
}

/// The MTU of the host's way out; with IPv6 no less than that needs, and then it is for the host to take packets to pieces.
pub(crate) fn mtu(netlink: &mut Netlink, network: &Network) -> Result<u32> {
    let Some(link) = netlink.way_out()? else { return Ok(ETHERNET_MTU_BYTES) };
    let mtu_bytes = netlink.show_link_by_index(link)?.and_then(|link| link.mtu_bytes).unwrap_or(ETHERNET_MTU_BYTES);
    Ok(if network.ipv6 { mtu_bytes.max(IPV6_MTU_BYTES_MIN) } else { mtu_bytes })
}

/// Make the bridge and the shared rules where they are missing; answers the bridge's index.
///
/// The bridge is switched on last, so one that is up is complete, and needs no lock.
pub(crate) fn ensure(
    netlink: &mut Netlink,
    networks: &Networks,
    (network, age): (&Network, Age),
    mtu_bytes: u32,
) -> Result<u32> {
    let Some(bridge) = &network.bridge else { return Err(gone(&network.name)) };
    let name = &bridge.name;
    if let Some(link) = netlink.show_link(name)?.filter(|link| link.is_up) {
        // Somebody has switched IPv6 on everywhere; or an earlier rbox made the bridge.
        let is_open = link.believes_routers || link.has_ipv6 && !network.is_predefined();
        let index = owned(link, network, bridge)?;
        if is_open && !network.ipv6 {
            shut_ipv6(network, name)?;
        }
        return Ok(index);
    }
    let _lock = networks.lock()?;
    match netlink.show_link(name)? {
        // Another start was faster.
        Some(link) if link.is_up => return owned(link, network, bridge),
        Some(_) => {}
        None => netlink.add_bridge(NewBridge { name, mac: bridge.mac, mtu_bytes })?,
    }
    let link = netlink.show_link(name)?.ok_or_else(|| gone(name))?;
    let index = owned(link, network, bridge)?;
    // Before it has an IPv6 address, and its router's. Until a bridge is sure of its own link-local address it asks for no
    // container, and for two seconds nobody from outside would reach one.
    if network.ipv6 {
        for key in ["accept_ra", "accept_dad"] {
            sysctl::set(&steps::SYSCTL_IPV6_LEASED, &format!("net/ipv6/conf/{name}/{key}"), "0")?;
        }
        sysctl::set(&steps::SYSCTL_IPV6_ON, &format!("net/ipv6/conf/{name}/disable_ipv6"), "0")?;
    } else {
        shut_ipv6(network, name)?;
    }
    for pool in network.pools.iter().filter(|pool| network.ipv6 || !pool.subnet.is_ipv6()) {
        if let Some(gateway) = pool.gateway {
            netlink.add_address(&steps::BRIDGE_ADDRESS, (index, name), gateway, pool.subnet)?;
        }
    }
    // The drops in raw come before the host routes for anybody, and before it accepts 127.0.0.1 from a bridge.
    networks.firewall().ensure(network, age)?;
    if !network.internal {
        forward(netlink, network, name)?;
    }
    netlink.set_bridge_up(index, name, networks.alias_of_network(network))?;
    Ok(index)
}

fn forward(netlink: &mut Netlink, network: &Network, name: &str) -> Result<()> {
    sysctl::set(&steps::SYSCTL_FORWARD, "net/ipv4/ip_forward", "1")?;
    sysctl::set(&steps::SYSCTL_LOCALNET, &format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
    if !network.ipv6 || sysctl::get("net/ipv6/conf/all/forwarding").is_none_or(|value| value == "1") {
        return Ok(());
    }
    // A host that forwards stops listening to routers, and would lose its own way out when that expires.
    for index in netlink.host_routes(true)?.announced {
        if let Some(link) = netlink.show_link_by_index(index)? {
            sysctl::set(&steps::SYSCTL_ACCEPT_RA, &format!("net/ipv6/conf/{}/accept_ra", link.name), "2")?;
        }
    }
    sysctl::set(&steps::SYSCTL_FORWARD, "net/ipv6/conf/all/forwarding", "1")
}

fn owned(link: LinkState, network: &Network, bridge: &Bridge) -> Result<u32> {
    if link.mac == Some(bridge.mac) {
        return Ok(link.index);
    }
    Err(Error::Invalid { object: format!("network {}", network.name), why: not_ours(&bridge.name) })
}

/// A bridge without IPv6 has none on the host's side either. That of the default network keeps the link-local address that
/// Docker's has (A-055, A-057).
fn shut_ipv6(network: &Network, name: &str) -> Result<()> {
    if network.is_predefined() { sysctl::believe_no_router(name) } else { sysctl::shut_ipv6(name) }
}

/// Add an endpoint's rules; when that fails because somebody emptied the tables, put the shared ones back first.
pub(crate) fn publish(networks: &Networks, network: &Network, rules: &[Rule]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let firewall = networks.firewall();
    if let Err(error) = firewall.append(rules) {
        let lock = networks.lock()?;
        let were_missing = firewall.ensure(network, Age::Known)?;
        drop(lock);
        if !were_missing {
            return Err(error);
        }
        firewall.append(rules)?;
    }
    // Who sends to the port already is to be heard.
    forget_senders(rules)
}

/// Ask the rules again for who sends datagrams to the ports of these, which have come or gone.
pub(crate) fn forget_senders(rules: &[Rule]) -> Result<()> {
    let at: Vec<(bool, PortRange)> = rules.iter().filter_map(Rule::takes_datagrams).collect();
    if at.is_empty() { Ok(()) } else { flows::forget(&Meant::At(&at)) }
}

/// Make the bridge where it is missing, and a cable from it to the container whose network namespace is `netns`.
pub(crate) fn plug(
    networks: &Networks,
    netlink: &mut Netlink,
    (network, it): (&Network, &Attachment),
    (netns, alias): (BorrowedFd<'_>, Option<String>),
) -> Result<()> {
    let Link::Cable { bridge, host, isolated } = &it.link else { return Ok(()) };
    let index = ensure(netlink, networks, (network, Age::Known), it.mtu_bytes)?;
    let cable = Cable { host, inside: &it.interface, bridge: (index, bridge), mac: it.mac, mtu_bytes: it.mtu_bytes };
    netlink.add_cable(cable, netns)?;
    // A port without IPv6 has no address and no route of its own, which the kernel would look for among those of all ports.
    let turn = networks.switches()?;
    let path = format!("net/ipv6/conf/{host}/disable_ipv6");
    let ipv6 = Switch::find(&path);
    netlink.set_port(host, *isolated, alias)?;
    ipv6.set(&steps::SYSCTL_IPV6_PORT, "1")?;
    drop(turn);
    netlink.set_port_up(host)
}

/// Take the bridge and its shared rules away. What is gone already is no error; another's bridge is left alone.
pub(crate) fn remove(netlink: &mut Netlink, firewall: &Firewall, network: &Network) -> Result<()> {
    let Some(bridge) = &network.bridge else { return Ok(()) };
    let link = netlink.show_link(&bridge.name)?;
    if link.as_ref().is_some_and(|link| link.mac != Some(bridge.mac)) {
        return Ok(());
    }
    firewall.remove(network)?;
    if link.is_some() { netlink.delete_link(&bridge.name) } else { Ok(()) }
}

/// Whether the network's bridge is there, complete.
pub(crate) fn is_up(network: &Network) -> Result<bool> {
    let Some(bridge) = &network.bridge else { return Ok(false) };
    Ok(Netlink::here()?.show_link(&bridge.name)?.is_some_and(|link| link.is_up && link.mac == Some(bridge.mac)))
}
