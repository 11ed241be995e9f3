//! Looking after what was made: whether a network and a pod's endpoint are still as their records say.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use crate::driver::bridge;
use crate::endpoint::{Attachment, EndpointRecord, Link};
use crate::error::Result;
use crate::ipam;
use crate::leases::Ledger;
use crate::netlink::Netlink;
use crate::network::Network;
use crate::networks::Networks;
use crate::pod::Way;
use crate::rules::Line;

impl Networks {
    /// Say what of a bridge network's own is not as it should be: its bridge, the rules that all its endpoints share.
    /// Nothing where the network is not used, and so not made.
    ///
    /// # Errors
    /// `Firewall` when the packet filter cannot be read; `Os`, `Record`.
    pub fn damage(&self, network: &Network) -> Result<Vec<String>> {
        let lines = self.rules(std::slice::from_ref(network))?;
        if !self.endpoints()?.iter().any(|endpoint| endpoint.network_id == network.id) {
            return Ok(Vec::new());
        }
        let mut damage = Vec::new();
        if let Some(link) = network.bridge.as_ref().map(|bridge| &bridge.name)
            && !bridge::is_up(network)?
        {
            damage.push(format!("its bridge {link} is not there, or down"));
        }
        damage.extend(missing(&lines, |owner| owner.is_empty() || owner == network.name));
        Ok(damage)
    }

    /// Refuse where a network has no address left that a container would get by itself.
    ///
    /// # Errors
    /// `Exhausted`; `Os`, `Record` when the leases cannot be read.
    pub fn has_room(&self, network: &Network) -> Result<()> {
        let mut ledger = Ledger::open(self)?;
        for ipv6 in [false, true].into_iter().filter(|ipv6| !ipv6 || network.ipv6) {
            ledger.choose(|leases| ipam::address(network, ipv6, None, leases))?;
        }
        Ok(())
    }

    /// Say what of a pod's endpoint differs from its record and from these routes; `netns` is its network namespace.
    ///
    /// # Errors
    /// `NetworkNotFound`; `Os`, `Firewall`, `Record` when something cannot be looked at.
    pub fn differences(&self, record: &EndpointRecord, netns: BorrowedFd<'_>, ways: &[Way]) -> Result<Vec<String>> {
        let network = self.find_pinned(&record.network, &record.network_id)?;
        let mut differences = self.damage(&network)?;
        if let Some(attachment) = &record.attachment {
            differences.extend(outside(&mut Netlink::here()?, attachment)?);
            differences.extend(inside(&mut Netlink::inside(netns, || Ok(()))?, attachment, ways)?);
        }
        let lines = self.rules(&[network])?;
        let wanted = [false, true].into_iter().flat_map(|ipv6| self.firewall().wanted_of(&record.rules, ipv6));
        let own: Vec<String> = wanted.map(|wanted| wanted.text).collect();
        differences.extend(missing(lines.iter().filter(|line| own.contains(&line.text)), |_| true));
        Ok(differences)
    }
}

fn missing<'a>(lines: impl IntoIterator<Item = &'a Line>, concerns: impl Fn(&str) -> bool) -> Vec<String> {
    let gone = lines.into_iter().filter(|line| line.seen.is_none() && concerns(&line.owner));
    gone.map(|line| format!("rule is not there: {}", line.text)).collect()
}

/// The host's end of the cable.
fn outside(netlink: &mut Netlink, attachment: &Attachment) -> Result<Option<String>> {
    let Link::Cable { bridge, host, .. } = &attachment.link else { return Ok(None) };
    Ok(match netlink.show_link(host)? {
        None => Some(format!("link {host} is not there")),
        Some(link) if !link.forwards => Some(format!("link {host} is no port of {bridge} that passes frames")),
        Some(_) => None,
    })
}

/// The pod's own end.
fn inside(netlink: &mut Netlink, attachment: &Attachment, ways: &[Way]) -> Result<Vec<String>> {
    let name = &attachment.interface;
    let Some(link) = netlink.show_link(name)? else {
        return Ok(vec![format!("interface {name} is not there")]);
    };
    let mut differences = Vec::new();
    if !link.is_up {
        differences.push(format!("interface {name} is down"));
    }
    if link.mac != Some(attachment.mac) {
        let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        differences.push(format!("interface {name} has the hardware address {mac}, not {}", attachment.mac));
    }
    let v4 = (IpAddr::V4(attachment.address), attachment.subnet.prefix());
    let v6 = attachment.v6.as_ref().map(|v6| (IpAddr::V6(v6.address), v6.subnet.prefix()));
    let there = netlink.addresses(link.index, name)?;
    for (address, prefix) in [Some(v4), v6].into_iter().flatten() {
        if !there.contains(&(address, prefix)) {
            differences.push(format!("interface {name} has no address {address}/{prefix}"));
        }
    }
    for ipv6 in [false, true] {
        let routes = netlink.routes_of((link.index, name), ipv6)?;
        for Way { to, gateway } in ways.iter().filter(|way| way.to.is_ipv6() == ipv6) {
            if !routes.contains(&(*to, *gateway)) {
                let via = gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
                differences.push(format!("there is no route to {to}{via} by {name}"));
            }
        }
    }
    Ok(differences)
}
