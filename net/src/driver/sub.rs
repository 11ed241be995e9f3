//! macvlan and ipvlan networks: each container has a link of its own on one of the host's, and is on that one's segment.
//!
//! ```text
//!     container                        host
//!   ┌──────────────────┐    ┌────────────────────────────────┐
//!   │ eth0 192.0.2.130 ┼────┼─┐                              │
//!   └──────────────────┘    │ ├── eth0 (parent) ──────────────┼── the segment 192.0.2.0/24
//!   ┌──────────────────┐    │ │                              │
//!   │ eth0 192.0.2.131 ┼────┼─┘   rbm-… (shim) 192.0.2.129    │
//!   └──────────────────┘    └────────────────────────────────┘
//! ```
//!
//! No bridge, no translation, no published ports: each container is its neighbours' equal. The kernel keeps a link from
//! speaking to those on top of it, so host and containers do not reach each other; with a shim the host has such a link
//! too, and routes to the containers by it (A-168).

use std::os::fd::BorrowedFd;

use super::gone;
use crate::address::{MacAddress, Subnet};
use crate::endpoint::{Attachment, Link};
use crate::error::{Error, Result};
use crate::leases::Ledger;
use crate::netlink::{Netlink, SubLink};
use crate::network::{Driver, IPV6_MTU_BYTES_MIN, Network, Parent, SubMode};
use crate::reservation::EndpointRequest;
use crate::{steps, sysctl};

/// What a parent without one of its own stands for: Ethernet's.
const ETHERNET_MTU_BYTES: u32 = 1500;

/// The MTU of a parent.
///
/// Errors: `Invalid` where the network has IPv6, and the parent is too small for that.
pub(crate) fn mtu(netlink: &mut Netlink, network: &Network, parent: &Parent) -> Result<u32> {
    let mtu_bytes = netlink.show_link(&parent.link)?.and_then(|link| link.mtu_bytes).unwrap_or(ETHERNET_MTU_BYTES);
    if network.ipv6 && mtu_bytes < IPV6_MTU_BYTES_MIN {
        let link = &parent.link;
        let why = format!(
            "IPv6 needs an mtu of at least {IPV6_MTU_BYTES_MIN} (RFC 8200), and its parent {link} has {mtu_bytes}"
        );
        return Err(Error::Invalid { object: format!("network {}", network.name), why });
    }
    Ok(mtu_bytes)
}

/// The hardware address of the network's parent, where its containers' links have that and no other.
///
/// Errors: `Invalid` where another is asked for; `Exhausted` where one container has the parent to itself.
pub(crate) fn parents_mac(
    (ledger, netlink): (&mut Ledger<'_>, &mut Netlink),
    (network, wanted): (&Network, &EndpointRequest),
) -> Result<Option<MacAddress>> {
    let Some(parent) = &network.parent else { return Ok(None) };
    let is_passthru = parent.mode == SubMode::Passthru;
    if network.driver != Driver::Ipvlan && !is_passthru {
        return Ok(None);
    }
    if wanted.mac.is_some() {
        let which = if is_passthru { "in mode passthru a" } else { "an ipvlan" };
        let why = format!("{which} link has the hardware address of its parent");
        return Err(Error::Invalid { object: format!("network {}", network.name), why });
    }
    if is_passthru && let Some(holder) = ledger.holder_in(&network.id)? {
        let why = format!("in mode passthru one container has it to itself, now {holder}");
        return Err(Error::Exhausted { what: format!("place on network {}", network.name), why });
    }
    Ok(netlink.show_link(&parent.link)?.and_then(|link| link.mac))
}

/// Make the parent, where rbox has to, and the shim, where they are missing; answers the parent's index.
///
/// Errors: `Invalid` where a parent of the host's is not there.
pub(crate) fn ensure(netlink: &mut Netlink, network: &Network) -> Result<u32> {
    let Some(parent) = &network.parent else { return Err(gone(&network.name)) };
    let name = &parent.link;
    let found = match netlink.show_link(name)? {
        Some(link) => link,
        None if parent.is_ours => {
            make_parent(netlink, network, name)?;
            netlink.show_link(name)?.ok_or_else(|| gone(name))?
        }
        None => {
            let why = format!("its parent {name} is not there");
            return Err(Error::Invalid { object: format!("network {}", network.name), why });
        }
    };
    if !found.is_up {
        netlink.set_up(&steps::PARENT_UP, found.index, name)?;
    }
    if let Some(shim) = &parent.shim
        && netlink.show_link(&shim.link)?.is_none()
    {
        let mtu_bytes = found.mtu_bytes.unwrap_or(ETHERNET_MTU_BYTES);
        let link = SubLink { name: &shim.link, driver: network.driver, mode: parent.mode, mac: None, mtu_bytes };
        netlink.add_sub_link((found.index, name), link, None)?;
        let index = netlink.show_link(&shim.link)?.ok_or_else(|| gone(&shim.link))?.index;
        // Its address is one of IPv4. Whom the host believes on the segment is for the parent to say.
        sysctl::shut_ipv6(&shim.link)?;
        let alone = Subnet::around(shim.address, u8::MAX);
        netlink.add_address(&steps::SHIM, (index, &shim.link), shim.address, alone)?;
        netlink.set_up(&steps::SHIM, index, &shim.link)?;
    }
    Ok(found.index)
}

/// A VLAN on a link of the host's for `eth0.10`; else a segment of its own that leads nowhere.
fn make_parent(netlink: &mut Netlink, network: &Network, name: &str) -> Result<()> {
    let Some((below, tag)) = vlan(name) else { return netlink.add_dummy(name) };
    let below_index = netlink.show_link(below)?.map(|link| link.index);
    let below_index = below_index.ok_or_else(|| Error::Invalid {
        object: format!("network {}", network.name),
        why: format!("its parent {name} cannot be made: {below} is not there"),
    })?;
    netlink.add_vlan((below_index, below), name, tag)
}

/// `eth0.10`: the link below, and the tag of the VLAN on it (IEEE 802.1Q: 1 to 4094).
pub(crate) fn vlan(name: &str) -> Option<(&str, u16)> {
    let (below, tag) = name.rsplit_once('.')?;
    let tag = tag.parse().ok().filter(|tag| (1..=4094).contains(tag) && !below.is_empty())?;
    Some((below, tag))
}

/// Make the container's link on the parent, and lead the host there by the shim.
pub(crate) fn plug(
    netlink: &mut Netlink,
    inside: &mut Netlink,
    (network, it): (&Network, &Attachment),
    netns: BorrowedFd<'_>,
) -> Result<()> {
    let Link::Sub { parent, mode, shim } = &it.link else { return Ok(()) };
    let index = ensure(netlink, network)?;
    let mac = (network.driver == Driver::Macvlan).then_some(it.mac);
    let name = &unborn(it);
    let link = SubLink { name, driver: network.driver, mode: *mode, mac, mtu_bytes: it.mtu_bytes };
    netlink.add_sub_link((index, parent), link, Some(netns))?;
    let born = inside.show_link(name)?.ok_or_else(|| gone(name))?;
    inside.rename_link((born.index, name), &it.interface)?;
    if let Some(shim) = shim {
        let index = netlink.show_link(shim)?.ok_or_else(|| gone(shim))?.index;
        netlink.set_link_route((index, shim), Subnet::around(it.address, u8::MAX))?;
    }
    Ok(())
}

/// How a container's link is called at first. Kernels before 6.14 look for a name that is taken in the host's namespace,
/// though the link is born in the container's: and the host has an `eth0`, too.
pub(crate) fn unborn(it: &Attachment) -> String {
    format!("rbs-{:08x}", u32::from(it.address))
}

/// Take away what rbox has made on the host for the network. A parent that is shared stays for the others.
pub(crate) fn remove(netlink: &mut Netlink, network: &Network, is_shared: bool) -> Result<()> {
    let Some(parent) = &network.parent else { return Ok(()) };
    if let Some(shim) = &parent.shim {
        netlink.delete_link(&shim.link)?;
    }
    if parent.is_ours && !is_shared { netlink.delete_link(&parent.link) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_is_known_by_its_name() {
        assert_eq!(vlan("eth0.10"), Some(("eth0", 10)));
        assert_eq!(vlan("eth0.10.20"), Some(("eth0.10", 20)));
        for none in ["eth0", "eth0.", "eth0.0", "eth0.4095", ".10", "eth0.x", "rb-dummy"] {
            assert_eq!(vlan(none), None, "{none}");
        }
    }
}
