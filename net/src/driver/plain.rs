//! The plain case: a new container on bridges, with IPv4. Its namespace is furnished without a netlink socket in it, which
//! would keep it, and the host's ends of its cables, for 8 to 20 ms longer than its program (see sandbox.rs).

use std::io;
use std::os::fd::BorrowedFd;

use super::{await_cable, bridge, entering, furnish};
use crate::endpoint::{Attachment, EndpointRecord, Link, way_out};
use crate::error::{Doing, Result};
use crate::netlink::Netlink;
use crate::netns;
use crate::network::Network;
use crate::networks::Networks;
use crate::sandbox::Ioctls;
use crate::steps;

/// Whether all that a container is connected to is of this kind.
pub(crate) fn is_plain(networks: &Networks, records: &[EndpointRecord]) -> bool {
    let is_cable = |it: &Attachment| matches!(it.link, Link::Cable { .. }) && it.v6.is_none();
    let is_plain = |record: &EndpointRecord| {
        record.attachment.as_ref().is_some_and(|it| is_cable(it) && !networks.is_announced(&record.network_id, it))
    };
    records.iter().all(is_plain)
}

/// Plug the new container whose network namespace is `netns` into its networks: cables, addresses, way out.
///
/// Errors: `Os`, what the kernel refused.
pub(crate) fn plug(
    networks: &Networks,
    netlink: &mut Netlink,
    parts: &[(Network, EndpointRecord)],
    (netns, ioctls): (BorrowedFd<'_>, Ioctls),
) -> Result<()> {
    let attached = || parts.iter().filter_map(|(network, record)| Some((network, record, record.attachment.as_ref()?)));
    for (network, record, attachment) in attached() {
        bridge::plug(networks, netlink, (network, attachment), (netns, networks.alias_of_endpoint(record)))?;
    }
    let records: Vec<EndpointRecord> = parts.iter().map(|(_, record)| record.clone()).collect();
    let gateway = way_out(&records, false).and_then(|record| record.attachment.as_ref()?.gateway);
    let inside = || -> Result<()> {
        furnish(false)?;
        let words = || "ioctl(SIOCSIFFLAGS, lo, IFF_UP)".to_owned();
        rbox_explain::step(&steps::LOOPBACK, words, || (ioctls.set_up)("lo")).doing(|| "switch lo on".into())?;
        attached().try_for_each(|(_, _, attachment)| set_up_card(ioctls, attachment))?;
        let Some(gateway) = gateway else { return Ok(()) };
        let words = || format!("ioctl(SIOCADDRT, 0.0.0.0/0, {gateway})");
        rbox_explain::step(&steps::ROUTE, words, || (ioctls.add_default_gateway)(gateway))
            .doing(|| format!("add a default route via {gateway}"))
    };
    netns::inside(netns, || io::Result::Ok(inside())).map_err(entering)??;
    attached().try_for_each(|(_, _, attachment)| await_cable(netlink, attachment, || Ok(true)))
}

fn set_up_card(ioctls: Ioctls, it: &Attachment) -> Result<()> {
    let (name, address, prefix) = (it.interface.as_str(), it.address, it.subnet.prefix());
    let words = || format!("ioctl(SIOCSIFADDR, {name}, {address}), ioctl(SIOCSIFNETMASK, {name}, /{prefix})");
    rbox_explain::step(&steps::ADDRESS, words, || (ioctls.set_address)(name, address, prefix))
        .doing(|| format!("give {name} the address {address}/{prefix}"))?;
    let words = || format!("ioctl(SIOCSIFFLAGS, {name}, IFF_UP)");
    rbox_explain::step(&steps::LINK_UP, words, || (ioctls.set_up)(name)).doing(|| format!("switch {name} on"))
}
