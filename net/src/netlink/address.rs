//! `ip address`: addresses of links.

use std::net::IpAddr;

use rbox_explain::Row;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;
use crate::address::Subnet;
use crate::error::Result;
use crate::steps;

impl Netlink {
    /// The lasting addresses of a link that others can reach, with their prefixes. Those that the kernel gives itself
    /// (`fe80::`), or learns from routers, are not among them.
    ///
    /// Same as: `ip address show dev <name> scope global permanent`
    pub(crate) fn addresses(&mut self, index: u32, name: &str) -> Result<Vec<(IpAddr, u8)>> {
        let words = || format!("ip address show dev {name} scope global permanent");
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answer = rbox_explain::step(&steps::ADDRESS_SHOW, words, || self.dump(&message));
        let answer = answer.map_err(|refusal| refusal.doing(format!("list the addresses of {name}")))?;
        let mut found = Vec::new();
        for message in &answer {
            let RouteNetlinkMessage::NewAddress(message) = message else { continue };
            let header = &message.header;
            let lasts = header.flags.contains(AddressHeaderFlags::Permanent) && header.scope == AddressScope::Universe;
            if header.index != index || !lasts {
                continue;
            }
            let of = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
            let local = of(|it| if let AddressAttribute::Local(ip) = it { Some(*ip) } else { None });
            let address = of(|it| if let AddressAttribute::Address(ip) = it { Some(*ip) } else { None });
            found.extend(local.or(address).map(|ip| (ip, header.prefix_len)));
        }
        Ok(found)
    }

    /// Give the link `index` an address in `subnet`: with IPv4 with the subnet's broadcast address, with IPv6
    /// without asking whether anybody has it, since the lease says so (RFC 4862, section 5.4).
    ///
    /// Same as: `ip address add <address>/<prefix> broadcast <broadcast> dev <name>`, `ip address add <address>/<prefix> dev
    /// <name> nodad`
    /// Errors: `Os`. An address the link has already is no error.
    pub(crate) fn add_address(
        &mut self,
        row: &'static Row,
        link: (u32, &str),
        address: impl Into<IpAddr>,
        subnet: Subnet,
    ) -> Result<()> {
        let (index, name) = link;
        let address = address.into();
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = subnet.prefix();
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        let with_prefix = format!("{address}/{}", subnet.prefix());
        let more = match subnet.last() {
            IpAddr::V4(broadcast) => {
                message.header.family = AddressFamily::Inet;
                // A single address has nobody to broadcast to.
                match subnet.prefix() {
                    32 => String::new(),
                    _ => {
                        message.attributes.push(AddressAttribute::Broadcast(broadcast));
                        format!(" broadcast {broadcast}")
                    }
                }
            }
            IpAddr::V6(_) => {
                message.header.family = AddressFamily::Inet6;
                message.header.flags = AddressHeaderFlags::Nodad;
                " nodad".to_owned()
            }
        };
        let words = || format!("ip address add {with_prefix}{more} dev {name}");
        let message = RouteNetlinkMessage::NewAddress(message);
        match rbox_explain::step(row, words, || self.change(message, NLM_F_CREATE | NLM_F_EXCL)) {
            Err(refusal) if refusal.is_presence() => Ok(()),
            answer => answer.map_err(|refusal| refusal.doing(format!("add address {with_prefix} to {name}"))),
        }
    }
}
