//! What is known of the host when ways into containers are looked at, and what that makes of one.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use super::paths::{Caller, Through, Way};
use super::{Opening, Outside, Reach, Who, firewalls};
use crate::address::Subnet;
use crate::endpoint::{EndpointRecord, Link};
use crate::error::Result;
use crate::firewall::{HostFirewall, Mirror, Wanted};
use crate::foreign::{self, Tables};
use crate::netlink::Netlink;
use crate::network::{Network, Passage};
use crate::networks::Networks;
use crate::ports::{PortMapping, Squatter};
use crate::rules::Line;

/// What is known of the host.
pub(super) struct Scene {
    /// By family.
    pub(super) tables: [Tables; 2],
    callers: [Callers; 2],
    /// The loopback, and the networks' bridges.
    pub(super) own_links: Vec<String>,
    lines: Vec<Line>,
    squatters: Vec<Squatter>,
    /// The firewall whose decision counts, and what it is, by family.
    obeyed: Option<(HostFirewall, [Mirror; 2])>,
    /// Containers of some network have addresses of IPv6.
    has_ipv6: bool,
}

/// Who can send to the host, and be answered.
#[derive(Debug)]
enum Callers {
    Anyone,
    /// There is no default route: these alone.
    Of(Vec<Subnet>),
}

impl Scene {
    /// Look at everything once.
    pub(super) fn look(networks: &Networks, up: &[Network]) -> Result<Scene> {
        let tables = [foreign::read(false), foreign::read(true)];
        let mut lines = networks.rules(up)?;
        if networks.leaves_rules_to_others() {
            // Of what an administrator puts in himself nobody has looked yet what is there.
            let there: HashSet<&str> = tables.iter().flat_map(Tables::texts).collect();
            lines.iter_mut().for_each(|line| line.seen = there.contains(line.text.as_str()).then_some((0, 0)));
        }
        // What is not written down yet, or was taken out, does not count.
        let mut obeyed = networks.firewall().mirrors();
        for (mirror, ipv6) in obeyed.iter_mut().flatten().zip([false, true]) {
            let wanted = networks.firewall().wanted_host(mirror, ipv6);
            let is_there = |text: &str| lines.iter().any(|line| line.text == text && line.seen.is_some());
            let mut there = wanted.iter().map(|wanted| is_there(&wanted.text));
            mirror.rules.retain(|_| there.next().unwrap_or(false));
        }
        Ok(Scene {
            tables,
            callers: [callers(up, false)?, callers(up, true)?],
            own_links: up.iter().filter_map(|it| Some(it.bridge.as_ref()?.name.clone())).chain(["lo".into()]).collect(),
            lines,
            squatters: networks.squatters()?,
            obeyed: networks.respected().zip(obeyed),
            has_ipv6: up.iter().any(|network| network.ipv6),
        })
    }

    /// Who sits on a published port.
    pub(super) fn squatters_of(&self, record: &EndpointRecord, mapping: &PortMapping) -> Vec<String> {
        let of = |it: &&Squatter| it.container == record.owner.name && it.mapping == *mapping;
        let words = |it: &Squatter| {
            let who = it.process.clone().unwrap_or_else(|| "a process that cannot be seen".into());
            format!(
                "{who}, listens at {} and hears nothing of what comes there: end it, or unpublish the port",
                it.bound
            )
        };
        self.squatters.iter().filter(of).map(words).collect()
    }

    /// A way that rules make.
    pub(super) fn by_rules(&self, opening: Opening, way: &Way<'_>, network: &Network, wanted: &[Wanted]) -> Opening {
        let mut opening = opening;
        let tables = &self.tables[usize::from(opening.address.is_ipv6())];
        let is_loopback = opening.address.is_loopback();
        let is_nats = |wanted: &&Wanted| wanted.text.contains(" DNAT ") || !wanted.text.contains("tables ");
        let main = wanted.iter().find(is_nats).or(wanted.first());
        opening.by = main.map(|wanted| wanted.text.clone()).unwrap_or_default();
        if !way.is_translated {
            (opening.address, opening.ports) = (way.inside, way.inside_ports);
        }
        let of = (network, opening.address.is_ipv6());
        let has = |inner: bool| !self.lacks(wanted, of, inner);
        let from = |caller: Caller| way.walk(tables, caller);
        let (host, containers) = (from(Caller::Host), from(Caller::Container));
        opening.reach.host = host.any() && (has(is_loopback) || !way.is_translated);
        opening.reach.containers = way.is_translated && !is_loopback && containers.any() && has(true);
        opening.remarks.extend(self.missing(wanted, of));
        if !host.any() {
            opening.remarks.extend(host.remarks);
        }
        if opening.address == IpAddr::from(Ipv6Addr::UNSPECIFIED) && way.is_translated {
            // The kernel lets ::1 out to nobody: the relay carries what comes from there.
            let by_relay = way.walk_in(tables, Caller::Host);
            let refused = by_relay.remarks.last().filter(|_| !by_relay.any());
            opening.remarks.extend(refused.map(|rule| format!("this host not at [::1]: {rule}")));
        }
        if is_loopback {
            return opening;
        }
        if !is_own(opening.address) && way.is_translated {
            opening.remarks.push(format!("{} is no address of this host", opening.address));
            opening.reach = Reach::default();
            return opening;
        }
        let mut outside = from(Caller::Outside);
        if let Some((of, mirrors)) = self.obeyed.as_ref().filter(|_| way.is_translated) {
            let mirror = &mirrors[usize::from(opening.address.is_ipv6())];
            outside.and(firewalls::obeyed(*of, mirror, way, opening.firewall.as_ref()));
        }
        opening.reach.outside = if has(false) { self.who(&outside, way) } else { Outside::default() };
        opening.remarks.extend(outside.remarks);
        if self.obeyed.is_none() || !way.is_translated {
            opening.advise();
        }
        opening
    }

    /// A way that a process makes: it listens on the host like any other, so the host's firewall is asked for it.
    pub(super) fn by_relay(&self, opening: Opening, way: &Way<'_>, pid: i32) -> Opening {
        let mut opening = opening;
        opening.by = format!("relay: rbox, pid {pid}");
        let way = Way { is_translated: true, ..*way };
        let from = |caller: Caller| way.walk_in(&self.tables[1], caller);
        let host = from(Caller::Host);
        opening.reach.host = host.any();
        if !host.any() {
            opening.remarks.extend(host.remarks);
        }
        if opening.address.is_loopback() {
            return opening;
        }
        opening.reach.containers = self.has_ipv6 && from(Caller::Container).any();
        let outside = from(Caller::Outside);
        opening.reach.outside = self.who(&outside, &way);
        opening.remarks.extend(outside.remarks);
        opening
    }

    /// Of a container in a network whose addresses others can send to: all of its ports. Of one that has a card of its own on
    /// the host's wire, the same.
    pub(super) fn direct(&self, network: &Network, record: &EndpointRecord) -> Vec<Opening> {
        let Some(to) = &record.attachment else { return Vec::new() };
        let mut all = Vec::new();
        for address in to.addresses() {
            let ipv6 = address.is_ipv6();
            let mut opening = Opening {
                container: record.owner.name.clone(),
                container_id: record.owner.container.clone(),
                network: record.network.clone(),
                address,
                ports: None,
                protocol: None,
                inside: None,
                reach: Reach { host: true, ..Reach::default() },
                by: String::new(),
                firewall: None,
                remarks: Vec::new(),
            };
            match (&to.link, &network.bridge) {
                (Link::Cable { bridge: name, .. }, Some(bridge))
                    if !network.internal && bridge.passage[usize::from(ipv6)] == Passage::Unmasqueraded =>
                {
                    let way = Way {
                        address: None,
                        ports: None,
                        protocol: None,
                        bridge: name,
                        inside: address,
                        inside_ports: None,
                        is_translated: false,
                        own_links: &self.own_links,
                    };
                    let through = way.walk(&self.tables[usize::from(ipv6)], Caller::Outside);
                    opening.reach.outside = self.who(&through, &way);
                    opening.remarks = through.remarks;
                    opening.by = format!("network {}: nothing is translated or kept from it", network.name);
                }
                (Link::Sub { parent, shim, .. }, _) => {
                    opening.reach.host = shim.is_some();
                    opening.reach.outside = Outside { who: Who::Anyone, ..Outside::default() };
                    opening.by = format!(
                        "network {}: a card of its own on {parent}; no rule of this host is asked",
                        network.name
                    );
                }
                _ => continue,
            }
            all.push(opening);
        }
        all
    }

    /// Those who get through, of those who can ask.
    fn who(&self, through: &Through, way: &Way<'_>) -> Outside {
        let who = match (&through.only, &self.callers[usize::from(way.inside.is_ipv6())]) {
            (Some(only), _) if only.is_empty() => Who::Nobody,
            (Some(only), _) => Who::These(only.clone()),
            (None, Callers::Of(subnets)) => {
                let mut left: Vec<String> = subnets.iter().map(Subnet::to_string).collect();
                left.retain(|subnet| !through.but.contains(subnet));
                if left.is_empty() { Who::Nobody } else { Who::These(left) }
            }
            (None, Callers::Anyone) if way.is_translated => Who::Anyone,
            (None, Callers::Anyone) => Who::Routed,
        };
        let but = if who == Who::Nobody { Vec::new() } else { through.but.clone() };
        Outside { who, but, is_unsure: through.is_unsure }
    }

    /// Whether what translates is not all there: for what comes from outside and from the host's own addresses, or, `inner`,
    /// for containers and 127.0.0.1.
    fn lacks(&self, wanted: &[Wanted], (network, ipv6): (&Network, bool), inner: bool) -> bool {
        let of_other_side = |text: &str| match inner {
            true => text.contains("-A RBOX ") || text.contains("-j RBOX "),
            false => text.contains("RBOX-INNER"),
        };
        let own = wanted.iter().map(|wanted| wanted.text.as_str());
        let is_missing = |text: &str| self.lines.iter().any(|line| line.text == text && line.seen.is_none());
        let mut own_missing = own.filter(|text| is_missing(text) && !text.contains(" MASQUERADE"));
        let shared = self.lines.iter().filter(|line| line.seen.is_none() && is_shared(line, network, ipv6));
        let mut shared_missing = shared.filter(|line| {
            [" -A PREROUTING -m addrtype", " -A PREROUTING -i ", " -A RBOX-HOST ", " rbox dnat-in ", " rbox publish "]
                .iter()
                .any(|words| line.text.contains(words))
        });
        own_missing.any(|text| !of_other_side(text))
            || shared_missing.any(|line| !of_other_side(&format!("{} ", line.text)))
    }

    fn missing(&self, wanted: &[Wanted], (network, ipv6): (&Network, bool)) -> Vec<String> {
        let is_its = |line: &&Line| {
            line.seen.is_none() && (is_shared(line, network, ipv6) || wanted.iter().any(|it| it.text == line.text))
        };
        let count = self.lines.iter().filter(is_its).count();
        let first = self.lines.iter().find(is_its);
        let words = |line: &Line| {
            format!("{count} of its rules are missing, such as: {}; rbox network reload puts them back", line.text)
        };
        first.map(words).into_iter().collect()
    }
}

impl Opening {
    /// Say what can be done where the host's firewall is not asked.
    fn advise(&mut self) {
        let is_open = self.reach.outside.is_open();
        if let Some(belief) = self.firewall.as_ref().filter(|belief| is_open && !belief.allows) {
            let name = belief.firewall;
            self.remarks.push(format!(
                "{belief}, and is not asked: a published port is open all the same. Publish it at 127.0.0.1, or say \
                 {{\"firewall\": {{\"respect\": \"{name}\"}}}} in the configuration"
            ));
        }
    }
}

/// Whether a rule is a network's, or of all of them.
fn is_shared(line: &Line, network: &Network, ipv6: bool) -> bool {
    let is_ipv6 = line.text.starts_with("ip6") || line.text.contains(" ip6 ");
    is_ipv6 == ipv6 && (line.owner.is_empty() || line.owner == network.name)
}

/// Whether the host has this address, or every one is meant. Only what the host has can be bound to: ip(7).
fn is_own(address: IpAddr) -> bool {
    address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

fn callers(up: &[Network], ipv6: bool) -> Result<Callers> {
    let mut netlink = Netlink::here()?;
    let routes = netlink.host_routes(ipv6)?;
    if routes.default_link.is_some() {
        return Ok(Callers::Anyone);
    }
    let own = |subnet: &Subnet| up.iter().flat_map(|network| &network.pools).any(|pool| pool.subnet == *subnet);
    let mut subnets: Vec<Subnet> = routes.on_link.into_iter().map(|(subnet, _)| subnet).collect();
    subnets.extend(routes.beyond);
    subnets.retain(|subnet| !own(subnet));
    subnets.sort_by_key(|subnet| (subnet.first(), subnet.prefix()));
    subnets.dedup();
    Ok(Callers::Of(subnets))
}
