//! `ip route`: the container's way out, and what the host's own routes tell.

use std::net::Ipv4Addr;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;
use crate::address::Subnet;
use crate::error::Result;
use crate::steps;

/// What the main routing table says about the host.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct HostRoutes {
    /// Subnets that are on one of the host's links, with that link's index.
    pub(crate) on_link: Vec<(Subnet, u32)>,
    /// The link of the default route with the lowest metric.
    pub(crate) default_link: Option<u32>,
}

impl Netlink {
    /// Make `gateway` the way to everywhere.
    ///
    /// Same as: `ip route add default via <gateway> dev eth0`
    pub(crate) fn add_default_route(&mut self, index: u32, gateway: Ipv4Addr) -> Result<()> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: AddressFamily::Inet,
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Boot,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway)), RouteAttribute::Oif(index)];
        let words = || format!("ip route add default via {gateway} dev eth0");
        let message = RouteNetlinkMessage::NewRoute(message);
        rbox_explain::step(&steps::ROUTE, words, || self.change(message, NLM_F_CREATE | NLM_F_EXCL))
            .map_err(|refusal| refusal.doing(format!("add a default route via {gateway}")))
    }

    /// Read the host's routes.
    ///
    /// Same as: `ip route show table main`
    pub(crate) fn host_routes(&mut self) -> Result<HostRoutes> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.attributes = vec![RouteAttribute::Table(RouteHeader::RT_TABLE_MAIN.into())];
        let message = RouteNetlinkMessage::GetRoute(message);
        let words = || "ip route show table main".to_owned();
        let answer = rbox_explain::step(&steps::ROUTE_SHOW, words, || match self.dump(&message) {
            // A network namespace that never had an address has no such table yet.
            Err(refusal) if refusal.is_absence() => Ok(Vec::new()),
            answer => answer,
        });
        let answer = answer.map_err(|refusal| refusal.doing("list the host's routes"))?;
        Ok(read(answer.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        })))
    }
}

fn read<'a>(routes: impl Iterator<Item = &'a RouteMessage>) -> HostRoutes {
    let mut found = HostRoutes::default();
    let mut best = u32::MAX;
    for route in routes.filter(|route| route.header.kind == RouteType::Unicast) {
        let mut link = None;
        let mut to = Ipv4Addr::UNSPECIFIED;
        let mut metric = 0;
        let mut has_gateway = false;
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => link = Some(*index),
                RouteAttribute::Destination(RouteAddress::Inet(address)) => to = *address,
                RouteAttribute::Priority(priority) => metric = *priority,
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => has_gateway = true,
                RouteAttribute::MultiPath(hops) => {
                    has_gateway = true;
                    link = link.or(hops.first().map(|hop| hop.interface_index));
                }
                _ => {}
            }
        }
        let Some(link) = link else { continue };
        let prefix = route.header.destination_prefix_length;
        if prefix == 0 {
            if metric < best || found.default_link.is_none() {
                (best, found.default_link) = (metric, Some(link));
            }
        } else if !has_gateway {
            found.on_link.push((Subnet::around(to, prefix), link));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: Option<([u8; 4], u8)>, link: u32, more: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.kind = RouteType::Unicast;
        message.attributes = more;
        message.attributes.push(RouteAttribute::Oif(link));
        if let Some((address, prefix)) = to {
            message.header.destination_prefix_length = prefix;
            message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(address.into())));
        }
        message
    }

    #[test]
    fn on_link_routes_and_the_best_default_route_are_found() {
        let gateway = || RouteAttribute::Gateway(RouteAddress::Inet([10, 0, 0, 1].into()));
        let routes = [
            route(None, 7, vec![gateway(), RouteAttribute::Priority(600)]),
            route(None, 3, vec![gateway(), RouteAttribute::Priority(100)]),
            route(Some(([172, 18, 192, 0], 20)), 3, vec![]),
            // A VPN's route through a gateway is no subnet of ours to avoid.
            route(Some(([10, 0, 0, 0], 8)), 3, vec![gateway()]),
        ];
        let found = read(routes.iter());
        assert_eq!(found.default_link, Some(3));
        assert_eq!(found.on_link, [(Subnet::around(Ipv4Addr::new(172, 18, 192, 0), 20), 3)]);
    }
}
