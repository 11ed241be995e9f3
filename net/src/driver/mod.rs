//! How each kind of network is made, and how a container is plugged into it. `host` needs nothing: its containers get no
//! link.
//!
//! ```text
//!   attachment  what a container will have, chosen under the lock: addresses, hardware address, MTU, link
//!   plug        makes it: bridge.rs a cable to a bridge, sub.rs a link on one of the host's; then addresses, and up.
//!               plain.rs does so for most new containers, without a socket that stays in their namespace
//!   lead_out    the default route, by the endpoint that is the container's way out
//!   announce    waits until frames pass, and tells the neighbours
//! ```

pub(crate) mod bridge;
pub(crate) mod plain;
pub(crate) mod sub;

use std::fs;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::address::MacAddress;
use crate::endpoint::{Attachment, Attachment6, EndpointRecord, Link};
use crate::error::{Doing, Error, Result};
use crate::ipam;
use crate::leases::Ledger;
use crate::netlink::Netlink;
use crate::netns;
use crate::network::{Network, SubMode};
use crate::networks::Networks;
use crate::reservation::EndpointRequest;
use crate::{steps, sysctl};

/// `lo` is the first link of every network namespace. linux/net/loopback.h, LOOPBACK_IFINDEX.
pub(crate) const LOOPBACK_INDEX: u32 = 1;

/// Choose what a container will have in a network.
///
/// Errors: those of [`ipam::address`] and of [`sub::parents_mac`].
pub(crate) fn attachment(
    (ledger, netlink): (&mut Ledger<'_>, &mut Netlink),
    (network, wanted): (&Network, &EndpointRequest),
    id: &str,
    interface: String,
) -> Result<Attachment> {
    let v4 = ledger.choose(|leases| ipam::address(network, false, wanted.ip.map(IpAddr::V4), leases))?;
    let Some((IpAddr::V4(address), pool)) = v4 else {
        let (file, why) = (format!("network {}", network.name), "it has no IPv4 subnet".into());
        return Err(Error::Record { file, why });
    };
    let v6 = match ledger.choose(|leases| ipam::address(network, true, wanted.ip6.map(IpAddr::V6), leases))? {
        Some((IpAddr::V6(address), pool)) if network.ipv6 => {
            let gateway = match pool.gateway {
                Some(IpAddr::V6(gateway)) if !network.internal => Some(gateway),
                _ => None,
            };
            Some(Attachment6 { address, subnet: pool.subnet, gateway })
        }
        _ => None,
    };
    let gateway = match pool.gateway {
        Some(IpAddr::V4(gateway)) if !network.internal => Some(gateway),
        _ => None,
    };
    Ok(Attachment {
        address,
        subnet: pool.subnet,
        gateway,
        v6,
        mac: match sub::parents_mac((ledger, netlink), (network, wanted))? {
            Some(parents) => parents,
            None => wanted.mac.unwrap_or_else(|| MacAddress::of(address)),
        },
        mtu_bytes: match (&network.mtu_bytes, &network.parent) {
            (Some(mtu_bytes), _) => *mtu_bytes,
            (None, Some(parent)) => sub::mtu(netlink, network, parent)?,
            (None, None) => bridge::mtu(netlink, network)?,
        },
        interface,
        link: link(network, id),
    })
}

fn link(network: &Network, id: &str) -> Link {
    match (&network.bridge, &network.parent) {
        (_, Some(parent)) => Link::Sub {
            parent: parent.link.clone(),
            mode: parent.mode,
            shim: parent.shim.as_ref().map(|shim| shim.link.clone()),
        },
        (bridge, None) => Link::Cable {
            bridge: bridge.as_ref().map(|bridge| bridge.name.clone()).unwrap_or_default(),
            host: format!("veth{}", &id[..7]),
            isolated: bridge.as_ref().is_some_and(|bridge| !bridge.icc),
        },
    }
}

/// A container that is plugged in, before its neighbours know.
pub(crate) struct Plugged {
    inside: Netlink,
    cards: Vec<Card>,
}

/// One of its interfaces.
struct Card {
    index: u32,
    attachment: Attachment,
    is_announced: bool,
}

/// Whose a namespace is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sandboxed {
    /// Ours and new: it is furnished, too.
    New,
    /// Ours, and furnished.
    Running,
    /// Somebody else's: only the cards in it are ours, and only they get switches.
    Foreign,
}

/// Plug the container whose network namespace is `netns` into networks: links, addresses, up.
///
/// Errors: `Os`, what the kernel refused.
pub(crate) fn plug(
    networks: &Networks,
    netlink: &mut Netlink,
    parts: &[(&Network, &EndpointRecord)],
    (netns, sandboxed): (BorrowedFd<'_>, Sandboxed),
) -> Result<Plugged> {
    let attached =
        || parts.iter().filter_map(|(network, record)| Some((*network, *record, record.attachment.as_ref()?)));
    let with_ipv6 = attached().any(|(_, _, it)| it.v6.is_some());
    // Before any card is born, so that it is born with them.
    let mut inside = Netlink::inside(netns, || match sandboxed {
        Sandboxed::New => furnish(with_ipv6),
        Sandboxed::Running | Sandboxed::Foreign => Ok(()),
    })?;
    inside.set_up(&steps::LOOPBACK, LOOPBACK_INDEX, "lo")?;
    let mut cards = Vec::new();
    for (network, record, attachment) in attached() {
        match &attachment.link {
            Link::Cable { .. } => {
                let alias = networks.alias_of_endpoint(record);
                bridge::plug(networks, netlink, (network, attachment), (netns, alias))?;
            }
            Link::Sub { .. } => sub::plug(netlink, &mut inside, (network, attachment), netns)?,
        }
        let name = &attachment.interface;
        let index = inside.show_link(name)?.ok_or_else(|| gone(name))?.index;
        let is_announced = networks.is_announced(&record.network_id, attachment);
        cards.push(Card { index, attachment: attachment.clone(), is_announced });
    }
    if sandboxed == Sandboxed::Foreign {
        let mut names = cards.iter().map(|card| card.attachment.interface.as_str());
        netns::inside(netns, || Ok(names.try_for_each(furnish_card))).map_err(entering)??;
    }
    if with_ipv6 {
        let names: Vec<&str> =
            cards.iter().filter(|it| it.attachment.v6.is_some()).map(|it| it.attachment.interface.as_str()).collect();
        // With `lo` it was switched off where the container had no IPv6 before.
        netns::inside(netns, || Ok(names.iter().chain(&["lo"]).try_for_each(|name| switch_ipv6_on(name))))
            .map_err(entering)??;
    }
    for card in &cards {
        let it = &card.attachment;
        let link = (card.index, it.interface.as_str());
        inside.add_address(&steps::ADDRESS, link, it.address, it.subnet)?;
        if let Some(v6) = &it.v6 {
            inside.add_address(&steps::ADDRESS, link, v6.address, v6.subnet)?;
        }
        inside.set_card_up(card.index, &it.interface, card.is_announced)?;
    }
    Ok(Plugged { inside, cards })
}

/// The switch of a new namespace that its cards are born with.
fn furnish(with_ipv6: bool) -> Result<()> {
    let those = if with_ipv6 { "default" } else { "all" };
    sysctl::set(&steps::SYSCTL_IPV6_OFF, &format!("net/ipv6/conf/{those}/disable_ipv6"), "1")
}

/// The same, of one card.
fn furnish_card(name: &str) -> Result<()> {
    sysctl::set(&steps::SYSCTL_IPV6_OFF, &format!("net/ipv6/conf/{name}/disable_ipv6"), "1")
}

fn entering(source: std::io::Error) -> Error {
    Error::Os { doing: "enter the container's network namespace".into(), source }
}

/// A card of a network with IPv6: its addresses are leased, so nothing is asked of its neighbours or believed of routers.
fn switch_ipv6_on(name: &str) -> Result<()> {
    let of = |key: &str| format!("net/ipv6/conf/{name}/{key}");
    for key in ["accept_ra", "autoconf", "accept_dad"] {
        sysctl::set(&steps::SYSCTL_IPV6_LEASED, &of(key), "0")?;
    }
    sysctl::set(&steps::SYSCTL_ARP_NOTIFY, &of("ndisc_notify"), "1")?;
    sysctl::set(&steps::SYSCTL_IPV6_ON, &of("disable_ipv6"), "0")
}

impl Plugged {
    /// Make the endpoint of `record` the container's way out.
    pub(crate) fn lead_out(&mut self, record: &EndpointRecord, ipv6: bool) -> Result<()> {
        lead_out(&mut self.inside, record, ipv6)
    }

    /// Wait until frames pass all the way from the host to the container, then tell everybody its address, where others may
    /// know it as another's.
    pub(crate) fn announce(mut self, netlink: &mut Netlink) -> Result<()> {
        for card in &self.cards {
            let (name, inside) = (&card.attachment.interface, &mut self.inside);
            let is_ready = || Ok(inside.show_link(name)?.ok_or_else(|| gone(name))?.is_ready);
            await_cable(netlink, &card.attachment, is_ready)?;
            if card.is_announced {
                self.inside.set_mac(card.index, name, card.attachment.mac)?;
            }
        }
        Ok(())
    }
}

/// Wait until frames pass from a container's bridge to the end of its cable, where `is_ready` tells that they pass on.
///
/// The kernel notices a carrier a little after the link is up. A frame sent before is lost, and the container's first
/// connection would wait a second for ARP to try again.
fn await_cable(
    netlink: &mut Netlink,
    attachment: &Attachment,
    mut is_ready: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let Link::Cable { bridge, host, .. } = &attachment.link else { return Ok(()) };
    let deadline = Instant::now() + Duration::from_millis(200);
    let mut passes = || -> Result<bool> {
        let veth = netlink.show_link(host)?.ok_or_else(|| gone(host))?;
        let bridge = netlink.show_link(bridge)?.ok_or_else(|| gone(bridge))?;
        Ok(veth.forwards && veth.is_ready && bridge.is_ready && is_ready()?)
    };
    while !passes()? && Instant::now() < deadline {
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

impl Networks {
    /// Whether a container's neighbours are told its hardware address: where they may know another by its address.
    ///
    /// On a bridge they do not, as long as each address there has had the hardware address that follows from it, and no
    /// other. To tell them takes the kernel the longer, the more ports the bridge has.
    pub(crate) fn is_announced(&self, network_id: &str, it: &Attachment) -> bool {
        match &it.link {
            Link::Cable { .. } => it.v6.is_some() || !has_own_mac(it) || self.announced_file(network_id).exists(),
            // These cannot be set: they are the parent's own.
            Link::Sub { mode: SubMode::Passthru | SubMode::L2 | SubMode::L3 | SubMode::L3s, .. } => false,
            Link::Sub { .. } => true,
        }
    }

    /// Note that somebody in this network has another hardware address than the one that follows from his address: whoever
    /// has the address after him is announced, and with him everybody in the network.
    pub(crate) fn announce_after(&self, network_id: &str, it: &Attachment) -> Result<()> {
        let file = self.announced_file(network_id);
        if !matches!(it.link, Link::Cable { .. }) || has_own_mac(it) || file.exists() {
            return Ok(());
        }
        let make = || fs::create_dir_all(self.announced_dir()).and_then(|()| fs::write(&file, ""));
        make().doing(|| format!("write {}", file.display()))?;
        rbox_explain::mark("announced-noted");
        Ok(())
    }
}

/// Whether its hardware address follows from its address.
fn has_own_mac(it: &Attachment) -> bool {
    it.mac == MacAddress::of(it.address)
}

/// Make the endpoint of `record` the way out of the namespace that `inside` speaks to.
pub(crate) fn lead_out(inside: &mut Netlink, record: &EndpointRecord, ipv6: bool) -> Result<()> {
    let Some(it) = &record.attachment else { return Ok(()) };
    let index = inside.show_link(&it.interface)?.ok_or_else(|| gone(&it.interface))?.index;
    let link = (index, it.interface.as_str());
    if let Link::Sub { mode: SubMode::L3 | SubMode::L3s, .. } = it.link {
        return inside.set_default_link(link, ipv6);
    }
    let gateway = match ipv6 {
        false => it.gateway.map(IpAddr::V4),
        true => it.v6.as_ref().and_then(|v6| v6.gateway).map(IpAddr::V6),
    };
    gateway.map_or(Ok(()), |gateway| inside.set_default_route(link, gateway))
}

/// Leave nothing but `lo` and IPv4 in the network namespace of a container that is on no network (A-040).
pub(crate) fn isolate(netns: BorrowedFd<'_>) -> Result<()> {
    let mut inside =
        Netlink::inside(netns, || sysctl::set(&steps::SYSCTL_IPV6_OFF, "net/ipv6/conf/all/disable_ipv6", "1"))?;
    inside.set_up(&steps::LOOPBACK, LOOPBACK_INDEX, "lo")
}

/// A link that has to be there is not.
pub(crate) fn gone(link: &str) -> Error {
    Error::Os { doing: format!("look at link {link}"), source: std::io::ErrorKind::NotFound.into() }
}
