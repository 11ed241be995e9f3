//! Choosing and taking host ports, before anything of the container is made.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::hold::{HELD_PORTS_MAX, Held, hold};
use super::sockets::Bound;
use super::{HostPorts, PortMapping, PortRange, Protocol, Publish, holder};
use crate::error::{Error, Result};
use crate::sysctl;

/// Ports that another endpoint has, and whose they are, as an error says it.
pub(crate) type Leased = (HostPorts, Option<String>);

/// Ports taken for one container: what leads where, and the sockets that keep them.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) mappings: Vec<PortMapping>,
    /// Those of them that are too many to be held by sockets.
    pub(crate) unheld: Vec<PortMapping>,
    pub(crate) held: Vec<Held>,
}

/// Takes ports for one container.
pub(crate) struct Lease<'a> {
    leased: &'a [Leased],
    own_name: &'a str,
    ephemeral: RangeInclusive<u16>,
    reserved: Vec<RangeInclusive<u16>>,
    /// The container has an IPv6 address, to which the kernel translates.
    has_ipv6: bool,
    /// How many ports more may be held by sockets.
    room: usize,
    /// The sockets of the host, listed once, where a range is too long to try each port.
    sockets: HashMap<Protocol, Vec<Bound>>,
    /// Any of several runs of ports will do: who has the others is not looked for.
    chooses: bool,
    taken: Taken,
}

impl<'a> Lease<'a> {
    /// Begin. `ephemeral` is where free ports are looked for, lowest first; ports that the administrator reserved
    /// (sysctl net.ipv4.ip_local_reserved_ports) are passed over.
    pub(crate) fn new(
        leased: &'a [Leased],
        own_name: &'a str,
        ephemeral: RangeInclusive<u16>,
        has_ipv6: bool,
    ) -> Lease<'a> {
        let reserved = sysctl::get("net/ipv4/ip_local_reserved_ports").map(|text| ranges(&text)).unwrap_or_default();
        let (room, sockets, taken) = (HELD_PORTS_MAX, HashMap::new(), Taken::default());
        Lease { leased, own_name, ephemeral, reserved, has_ipv6, room, sockets, chooses: false, taken }
    }

    /// Of a container whose ports are held already, so many.
    pub(crate) fn beside(self, held_ports: usize) -> Lease<'a> {
        Lease { room: HELD_PORTS_MAX.saturating_sub(held_ports), ..self }
    }

    /// Take the ports of one `-p`.
    ///
    /// Errors: `PortInUse` with the holder, `PortUnavailable`, `Exhausted`.
    pub(crate) fn take(&mut self, publish: &Publish) -> Result<()> {
        match publish.host {
            Some(host) if host.count() == publish.container.count() => self.try_take(publish, host),
            Some(several) => {
                let ports = several.ports().filter_map(|port| PortRange::new(port, port));
                self.take_first(publish, ports, || format!("host port in {several}"))
            }
            None => {
                let (first, last) = (*self.ephemeral.start(), *self.ephemeral.end());
                let count = publish.container.count();
                let reserved = self.reserved.clone();
                let windows = (first..=last)
                    .filter_map(|first| PortRange::new(first, first.checked_add(count - 1)?))
                    .take_while(|window| window.last() <= last)
                    .filter(|window| {
                        !reserved.iter().any(|range| window.first() <= *range.end() && *range.start() <= window.last())
                    });
                self.take_first(publish, windows, || format!("host port in {first}-{last}"))
            }
        }
    }

    /// Every port that was taken, and the sockets.
    pub(crate) fn done(self) -> Taken {
        self.taken
    }

    fn take_first(
        &mut self,
        publish: &Publish,
        candidates: impl Iterator<Item = PortRange>,
        what: impl Fn() -> String,
    ) -> Result<()> {
        let mut leased: Option<Vec<bool>> = None;
        for host in candidates {
            // Of hundreds that others have none is tried one by one.
            let leased = leased.get_or_insert_with(|| self.leased_for(publish, host));
            if leased.get(host.range()).is_some_and(|ports| ports.contains(&true)) {
                continue;
            }
            self.chooses = true;
            let taken = self.try_take(publish, host);
            self.chooses = false;
            match taken {
                Err(Error::PortInUse { .. }) => {}
                answer => return answer,
            }
        }
        Err(Error::Exhausted { what: what(), why: format!("all are in use, for container port {}", publish.container) })
    }

    /// By number, which ports others have where this `-p` wants as many as these; empty where it cannot have any.
    fn leased_for(&self, publish: &Publish, host: PortRange) -> Vec<bool> {
        let few = usize::from(host.count()) <= self.room;
        let Ok(mappings) = wanted(publish, host, few, self.has_ipv6) else { return Vec::new() };
        let mut leased = vec![false; usize::from(u16::MAX) + 1];
        for mapping in mappings {
            let there = self.leased.iter().filter(|(other, _)| other.is_beside(mapping.of_host()));
            there.for_each(|(other, _)| leased[other.ports.range()].fill(true));
        }
        leased
    }

    /// Take exactly these host ports, on every address that was asked for, or none.
    fn try_take(&mut self, publish: &Publish, host: PortRange) -> Result<()> {
        let few = usize::from(host.count()) <= self.room;
        let mut mappings = Vec::new();
        let mut held = Vec::new();
        for mapping in wanted(publish, host, few, self.has_ipv6)? {
            self.check_leases(&mapping)?;
            if !few {
                self.check_sockets(&mapping)?;
                mappings.push(mapping);
                continue;
            }
            let sockets = host.ports().map(|port| hold(&mapping, port)).collect::<Result<Option<Vec<Held>>>>()?;
            if let Some(sockets) = sockets {
                held.extend(sockets);
                mappings.push(mapping);
            }
        }
        if few {
            self.room -= usize::from(host.count());
        } else {
            self.taken.unheld.extend(&mappings);
        }
        self.taken.mappings.extend(mappings);
        self.taken.held.extend(held);
        Ok(())
    }

    /// Look for the ports of a long range among the sockets of the host, without binding each.
    fn check_sockets(&mut self, mapping: &PortMapping) -> Result<()> {
        let protocol = mapping.protocol;
        let sockets = self.sockets.entry(protocol).or_insert_with(|| holder::sockets(protocol));
        let keeps = |bound: &&Bound| {
            mapping.host.contains(bound.at.port())
                && bound.keeps_from(SocketAddr::new(mapping.host_ip, bound.at.port()))
        };
        match sockets.iter().filter(keeps).min_by_key(|bound| bound.at.port()) {
            None => Ok(()),
            Some(bound) => Err(Error::PortInUse {
                port: mapping.named(bound.at.port()),
                holder: if self.chooses { None } else { holder::process_with(&[bound.inode]) },
            }),
        }
    }

    fn check_leases(&self, mapping: &PortMapping) -> Result<()> {
        let wanted = mapping.of_host();
        let in_use = |other: HostPorts, holder: Option<String>| {
            let port = mapping.named(wanted.ports.first().max(other.ports.first()));
            Err(Error::PortInUse { port, holder })
        };
        if let Some(own) = self.taken.mappings.iter().map(PortMapping::of_host).find(|own| own.collides(wanted)) {
            return in_use(own, Some(format!("container {}", self.own_name)));
        }
        match self.leased.iter().find(|(other, _)| other.collides(wanted)) {
            None => Ok(()),
            Some((other, holder)) => in_use(*other, holder.clone()),
        }
    }
}

/// The mappings of one `-p`: `0.0.0.0` and `[::]` where no address was named.
///
/// What must be relayed has one socket for each port, so a long range is published for IPv4 only where the container has
/// no IPv6 address.
fn wanted(publish: &Publish, host: PortRange, few: bool, has_ipv6: bool) -> Result<Vec<PortMapping>> {
    let on = |host_ip| PortMapping { host_ip, host, container: publish.container, protocol: publish.protocol };
    let can_relay = has_ipv6 || few && publish.protocol.is_relayable();
    let mappings = match publish.host_ip {
        None if can_relay => vec![on(Ipv4Addr::UNSPECIFIED.into()), on(Ipv6Addr::UNSPECIFIED.into())],
        None => vec![on(Ipv4Addr::UNSPECIFIED.into())],
        Some(IpAddr::V6(ip)) if !can_relay => {
            let why = match few {
                true => format!("{} cannot be carried to a network without IPv6", publish.protocol),
                false => format!("at most {HELD_PORTS_MAX} IPv6 ports lead to a network without IPv6"),
            };
            return Err(Error::PortUnavailable { port: on(ip.into()).named(host.first()), why });
        }
        Some(ip) => vec![on(ip)],
    };
    Ok(mappings)
}

/// Read `8080,9148-9150`.
fn ranges(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').filter_map(|part| range(part.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(leased: &[Leased], ephemeral: RangeInclusive<u16>, ports: &[&str]) -> Result<Vec<String>> {
        let mut lease = Lease::new(leased, "me", ephemeral, false);
        for text in ports {
            lease.take(&text.parse()?)?;
        }
        Ok(lease.done().mappings.iter().filter(|m| m.host_ip.is_ipv4()).map(PortMapping::to_string).collect())
    }

    fn leased(text: &str) -> Leased {
        let publish: Publish = text.parse().unwrap();
        let host = publish.host.unwrap();
        let host_ip = publish.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        (HostPorts { ip: host_ip, ports: host, protocol: publish.protocol }, Some("container web".into()))
    }

    #[test]
    fn reserved_ports_are_read() {
        assert_eq!(ranges("8080,9148-9150"), [8080..=8080, 9148..=9150]);
        assert!(ranges("").is_empty());
    }

    #[test]
    fn a_port_of_another_container_is_refused_by_its_name() {
        let error = lease(&[leased("127.0.0.1:50123:80")], 50100..=50110, &["50123:80"]).unwrap_err();
        assert_eq!(error.to_string(), "cannot publish port 50123: address already in use (by container web)");
        let error = lease(&[], 50100..=50110, &["127.0.0.1:50123:80", "127.0.0.1:50123:81"]).unwrap_err();
        assert_eq!(error.to_string(), "cannot publish port 127.0.0.1:50123: address already in use (by container me)");
    }

    #[test]
    fn free_ports_are_taken_lowest_first() {
        let others = [leased("127.0.0.1:50201:80")];
        let got = lease(&others, 50200..=50209, &["127.0.0.1::80", "127.0.0.1::81", "127.0.0.1::90-92"]).unwrap();
        assert_eq!(got, ["127.0.0.1:50200->80/tcp", "127.0.0.1:50202->81/tcp", "127.0.0.1:50203-50205->90-92/tcp"]);
        let error = lease(&others, 50201..=50201, &["80"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot find a free host port in 50201-50201: all are in use, for container port 80"
        );
    }

    #[test]
    fn what_others_have_elsewhere_or_of_another_protocol_is_free() {
        let others = [leased("127.0.0.2:50250:80"), leased("50250:80/udp"), leased("50251-50253:80-82")];
        assert_eq!(lease(&others, 50250..=50259, &["127.0.0.1::80"]).unwrap(), ["127.0.0.1:50250->80/tcp"]);
        assert_eq!(lease(&others, 50250..=50259, &["127.0.0.1::80-81"]).unwrap(), ["127.0.0.1:50254-50255->80-81/tcp"]);
        assert_eq!(lease(&others, 50250..=50259, &["80"]).unwrap(), ["0.0.0.0:50254->80/tcp"]);
    }

    #[test]
    fn the_first_free_port_of_a_given_range_is_taken() {
        let got = lease(&[leased("50300:80")], 50100..=50110, &["127.0.0.1:50300-50302:80"]).unwrap();
        assert_eq!(got, ["127.0.0.1:50301->80/tcp"]);
    }

    #[test]
    fn a_port_of_a_process_is_refused_by_its_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = lease(&[], 50100..=50110, &[&format!("127.0.0.1:{port}:80")]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot publish port 127.0.0.1:{port}: address already in use (by ")));
        assert!(error.ends_with(&format!("pid {})", std::process::id())), "{error}");
    }

    #[test]
    fn a_held_port_keeps_others_out_even_with_so_reuseaddr() {
        let mut lease = Lease::new(&[], "me", 50400..=50400, false);
        lease.take(&"127.0.0.1::80".parse().unwrap()).unwrap();
        // std sets SO_REUSEADDR on listeners.
        assert!(std::net::TcpListener::bind("127.0.0.1:50400").is_err());
        assert!(std::net::TcpListener::bind("0.0.0.0:50400").is_err());
        drop(lease);
        assert!(std::net::TcpListener::bind("127.0.0.1:50400").is_ok());
    }
}
