//! `ip address`: IPv4 addresses of links.

use std::net::{IpAddr, Ipv4Addr};

use rbox_explain::Row;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;
use crate::address::Subnet;
use crate::error::Result;

impl Netlink {
    /// Give the link `index` an address in `subnet`, with the subnet's broadcast address.
    ///
    /// Same as: `ip address add <address>/<prefix> broadcast <broadcast> dev <name>`
    /// Errors: `Os`. An address the link has already is no error.
    pub(crate) fn add_address(
        &mut self,
        row: &'static Row,
        link: (u32, &str),
        address: Ipv4Addr,
        subnet: Subnet,
    ) -> Result<()> {
        let (index, name) = link;
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = index;
        message.header.prefix_len = subnet.prefix();
        message.attributes = vec![
            AddressAttribute::Local(IpAddr::V4(address)),
            AddressAttribute::Address(IpAddr::V4(address)),
            AddressAttribute::Broadcast(subnet.last()),
        ];
        let with_prefix = format!("{address}/{}", subnet.prefix());
        let words = || format!("ip address add {with_prefix} broadcast {} dev {name}", subnet.last());
        let message = RouteNetlinkMessage::NewAddress(message);
        match rbox_explain::step(row, words, || self.change(message, NLM_F_CREATE | NLM_F_EXCL)) {
            Err(refusal) if refusal.is_presence() => Ok(()),
            answer => answer.map_err(|refusal| refusal.doing(format!("add address {with_prefix} to {name}"))),
        }
    }
}
