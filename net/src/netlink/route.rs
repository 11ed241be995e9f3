//! `ip route`: the container's way out, and what the host's own routes tell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;
use crate::address::Subnet;
use crate::error::Result;
use crate::steps;

/// An address that nobody has (RFC 6890, section 2.2.2, "Reserved"). What leads there leads to everybody.
const NOBODY: Ipv4Addr = Ipv4Addr::new(240, 0, 0, 1);

/// What the main routing table says about the host.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct HostRoutes {
    /// Subnets that are on one of the host's links, with that link's index.
    pub(crate) on_link: Vec<(Subnet, u32)>,
    /// Subnets behind a router that is not that of the default route.
    pub(crate) beyond: Vec<Subnet>,
    /// The link of the default route with the lowest metric.
    pub(crate) default_link: Option<u32>,
    /// Links with a route that a router of theirs has announced (RFC 4861).
    pub(crate) announced: Vec<u32>,
}

impl Netlink {
    /// Make `gateway` the way to everywhere, in place of any other.
    ///
    /// Same as: `ip route replace default via <gateway> dev <name>`
    pub(crate) fn set_default_route(&mut self, link: (u32, &str), gateway: IpAddr) -> Result<()> {
        let (index, name) = link;
        let mut message = route(gateway.is_ipv6(), RouteScope::Universe);
        message.attributes = vec![RouteAttribute::Gateway(gateway.into()), RouteAttribute::Oif(index)];
        let words = || format!("ip route replace default via {gateway} dev {name}");
        self.put_route(message, words, || format!("add a default route via {gateway}"))
    }

    /// Make the link itself the way to everywhere: it has no gateway that could be asked.
    ///
    /// Same as: `ip route replace default dev <name>`
    pub(crate) fn set_default_link(&mut self, link: (u32, &str), ipv6: bool) -> Result<()> {
        let (index, name) = link;
        let mut message = route(ipv6, if ipv6 { RouteScope::Universe } else { RouteScope::Link });
        message.attributes = vec![RouteAttribute::Oif(index)];
        self.put_route(
            message,
            || format!("ip route replace default dev {name}"),
            || format!("add a default route by {name}"),
        )
    }

    /// Send what is for `to` out by the link.
    ///
    /// Same as: `ip route replace <to> dev <name>`
    pub(crate) fn set_link_route(&mut self, link: (u32, &str), to: Subnet) -> Result<()> {
        let (index, name) = link;
        let mut message = route(to.is_ipv6(), if to.is_ipv6() { RouteScope::Universe } else { RouteScope::Link });
        message.header.destination_prefix_length = to.prefix();
        message.attributes = vec![RouteAttribute::Destination(to.first().into()), RouteAttribute::Oif(index)];
        self.put_route(message, || format!("ip route replace {to} dev {name}"), || format!("add a route to {to}"))
    }

    /// Send what is for `to` to `gateway`, or without one straight out by the link. Says whether it does: a route that
    /// somebody else has made stays.
    ///
    /// Same as: `ip route add <to> [via <gateway>] dev <name>`
    pub(crate) fn add_route(&mut self, link: (u32, &str), to: Subnet, gateway: Option<IpAddr>) -> Result<bool> {
        let (index, name) = link;
        let scope = if gateway.is_none() && !to.is_ipv6() { RouteScope::Link } else { RouteScope::Universe };
        let mut message = route(to.is_ipv6(), scope);
        message.header.destination_prefix_length = to.prefix();
        message.attributes = vec![RouteAttribute::Oif(index)];
        message.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        if to.prefix() > 0 {
            message.attributes.push(RouteAttribute::Destination(to.first().into()));
        }
        let via = gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
        let words = || format!("ip route add {to}{via} dev {name}");
        let message = RouteNetlinkMessage::NewRoute(message);
        match rbox_explain::step(&steps::ROUTE, words, || self.change(message, NLM_F_CREATE | NLM_F_EXCL)) {
            Err(refusal) if refusal.is_presence() => Ok(false),
            answer => answer.map(|()| true).map_err(|refusal| refusal.doing(format!("add a route to {to}"))),
        }
    }

    /// The routes of one family that leave by a link: where to, by which gateway.
    ///
    /// Same as: `ip route show table main dev <name>`
    pub(crate) fn routes_of(&mut self, link: (u32, &str), ipv6: bool) -> Result<Vec<(Subnet, Option<IpAddr>)>> {
        let (index, name) = link;
        let mut message = RouteMessage::default();
        message.header.address_family = family(ipv6);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.attributes = vec![RouteAttribute::Table(RouteHeader::RT_TABLE_MAIN.into())];
        let message = RouteNetlinkMessage::GetRoute(message);
        let words = || format!("ip{} route show table main dev {name}", if ipv6 { " -6" } else { "" });
        let answer = rbox_explain::step(&steps::ROUTE_SHOW, words, || match self.dump(&message) {
            Err(refusal) if refusal.is_absence() => Ok(Vec::new()),
            answer => answer,
        });
        let answer = answer.map_err(|refusal| refusal.doing(format!("list the routes of {name}")))?;
        Ok(answer.iter().filter_map(|message| of_link(message, index)).collect())
    }

    /// Undo it. None there is no error.
    ///
    /// Same as: `ip route delete <to> dev <name>`
    pub(crate) fn delete_link_route(&mut self, link: (u32, &str), to: Subnet) -> Result<()> {
        let (index, name) = link;
        let mut message = route(to.is_ipv6(), RouteScope::NoWhere);
        message.header.protocol = RouteProtocol::Unspec;
        message.header.destination_prefix_length = to.prefix();
        message.attributes = vec![RouteAttribute::Destination(to.first().into()), RouteAttribute::Oif(index)];
        self.drop_route(message, || format!("ip route delete {to} dev {name}"), || format!("delete the route to {to}"))
    }

    fn drop_route(
        &mut self,
        message: RouteMessage,
        words: impl FnOnce() -> String,
        doing: impl FnOnce() -> String,
    ) -> Result<()> {
        match rbox_explain::step(&steps::ROUTE, words, || self.change(RouteNetlinkMessage::DelRoute(message), 0)) {
            Err(refusal) if refusal.is_absence() => Ok(()),
            answer => answer.map_err(|refusal| refusal.doing(doing())),
        }
    }

    fn put_route(
        &mut self,
        message: RouteMessage,
        words: impl FnOnce() -> String,
        doing: impl FnOnce() -> String,
    ) -> Result<()> {
        let message = RouteNetlinkMessage::NewRoute(message);
        rbox_explain::step(&steps::ROUTE, words, || self.change(message, NLM_F_CREATE | NLM_F_REPLACE))
            .map_err(|refusal| refusal.doing(doing()))
    }

    /// Take a default route away. None there is no error.
    ///
    /// Same as: `ip route delete default`
    pub(crate) fn delete_default_route(&mut self, ipv6: bool) -> Result<()> {
        let mut message = route(ipv6, RouteScope::NoWhere);
        message.header.protocol = RouteProtocol::Unspec;
        message.header.kind = RouteType::Unspec;
        let words = || format!("ip{} route delete default", if ipv6 { " -6" } else { "" });
        self.drop_route(message, words, || "delete the default route".to_owned())
    }

    /// The link that leads to everybody else over IPv4; nothing where nobody else can be reached.
    ///
    /// Same as: `ip route get fibmatch 240.0.0.1`. To list all routes takes the longer, the more networks there are.
    pub(crate) fn way_out(&mut self) -> Result<Option<u32>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(false);
        message.header.destination_prefix_length = 32;
        message.header.flags = RouteFlags::FibMatch;
        message.attributes = vec![RouteAttribute::Destination(NOBODY.into())];
        let message = RouteNetlinkMessage::GetRoute(message);
        let words = || format!("ip route get fibmatch {NOBODY}");
        let answer = rbox_explain::step(&steps::ROUTE_SHOW, words, || self.exchange(message, 0));
        match answer.ok().and_then(|answer| answer.messages.into_iter().next()) {
            Some(RouteNetlinkMessage::NewRoute(route)) if route.header.destination_prefix_length == 0 => {
                Ok(read(std::iter::once(&route)).default_link)
            }
            // There is none, or somebody has a route to that address, perhaps one that ends (ip-route(8), `blackhole`).
            _ => Ok(self.host_routes(false)?.default_link),
        }
    }

    /// Read the host's routes of one family.
    ///
    /// Same as: `ip route show table main`
    pub(crate) fn host_routes(&mut self, ipv6: bool) -> Result<HostRoutes> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(ipv6);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.attributes = vec![RouteAttribute::Table(RouteHeader::RT_TABLE_MAIN.into())];
        let message = RouteNetlinkMessage::GetRoute(message);
        let words = || format!("ip{} route show table main", if ipv6 { " -6" } else { "" });
        let answer = rbox_explain::step(&steps::ROUTE_SHOW, words, || match self.dump(&message) {
            // A network namespace that never had an address has no such table yet; or a kernel no such family.
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

/// Where a route of this link leads.
fn of_link(message: &RouteNetlinkMessage, link: u32) -> Option<(Subnet, Option<IpAddr>)> {
    let RouteNetlinkMessage::NewRoute(route) = message else { return None };
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(IpAddr::from(*address)),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    };
    let is_its = route.attributes.iter().any(|it| matches!(it, RouteAttribute::Oif(index) if *index == link));
    let gateway = route.attributes.iter().find_map(|it| match it {
        RouteAttribute::Gateway(gateway) => address(gateway),
        _ => None,
    });
    let to = route.attributes.iter().find_map(|it| match it {
        RouteAttribute::Destination(to) => address(to),
        _ => None,
    });
    let everywhere = match route.header.address_family {
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    is_its.then(|| (Subnet::around(to.unwrap_or(everywhere), route.header.destination_prefix_length), gateway))
}

fn family(ipv6: bool) -> AddressFamily {
    if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

fn route(ipv6: bool, scope: RouteScope) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(ipv6),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message
}

fn read<'a>(routes: impl Iterator<Item = &'a RouteMessage>) -> HostRoutes {
    let mut found = HostRoutes::default();
    let mut best = u32::MAX;
    for route in routes.filter(|route| route.header.kind == RouteType::Unicast) {
        let mut link = None;
        let mut to: IpAddr = match route.header.address_family {
            AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        let mut metric = 0;
        let mut has_gateway = false;
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => link = Some(*index),
                RouteAttribute::Destination(RouteAddress::Inet(address)) => to = (*address).into(),
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => to = (*address).into(),
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
        if route.header.protocol == RouteProtocol::Ra {
            found.announced.push(link);
        }
        let prefix = route.header.destination_prefix_length;
        if prefix == 0 {
            if metric < best || found.default_link.is_none() {
                (best, found.default_link) = (metric, Some(link));
            }
        } else if has_gateway {
            found.beyond.push(Subnet::around(to, prefix));
        } else {
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
