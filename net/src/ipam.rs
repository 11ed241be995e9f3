//! Addresses: which subnet a network gets, and which address of it a container gets.
//!
//! There is no table of what is free. A lease is the record of the endpoint that has it, and a record without
//! a live owner is none; so the table cannot disagree with the world (leases.rs).

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::{Subnet, between};
use crate::endpoint::EndpointRecord;
use crate::error::{Error, Result};
use crate::leases::{Leases, Place};
use crate::network::{Network, Pool};
use crate::reservation::EndpointRequest;

/// The subnets the default network may get, in order: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 and
/// on (Docker's default address pools).
fn large() -> impl Iterator<Item = Subnet> {
    let large = (17..=31).map(|second| Subnet::around(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..=240).step_by(16).map(|third| Subnet::around(Ipv4Addr::new(192, 168, third, 0), 20));
    large.chain(small)
}

/// The subnets a user-defined network may get by itself. Docker's pools are used up by 30 networks; 254 containers are
/// enough for most, and who wants more names a subnet.
fn small() -> impl Iterator<Item = Subnet> {
    let of_172 = (18..=31).flat_map(|second| (0..=255).map(move |third| Ipv4Addr::new(172, second, third, 0)));
    let of_192 = (0..=255).map(|third| Ipv4Addr::new(192, 168, third, 0));
    of_172.chain(of_192).map(|first| Subnet::around(first, 24))
}

/// A subnet that somebody has: which, and who.
pub(crate) type Taken = (Subnet, String);

/// As many of those in the way as an error names.
const NAMED_MAX: usize = 5;

/// Take the first subnet of the pool that overlaps none of `taken`.
///
/// Errors: `Exhausted`, naming what is in the way.
pub(crate) fn free_subnet(network: &Network, taken: &[Taken]) -> Result<Subnet> {
    let pool: Vec<Subnet> = if network.is_predefined() { large().collect() } else { small().collect() };
    let free = |subnet: &&Subnet| !taken.iter().any(|(other, _)| subnet.overlaps(*other));
    pool.iter().find(free).copied().ok_or_else(|| {
        let blocks = |other: &&Taken| pool.iter().any(|subnet| subnet.overlaps(other.0));
        let mut blocking: Vec<&Taken> = taken.iter().filter(blocks).collect();
        blocking.sort_by_key(|(subnet, _)| (subnet.prefix(), subnet.first()));
        let mut why = "172.16.0.0/12 and 192.168.0.0/16 are in use by ".to_owned();
        let named: Vec<String> =
            blocking.iter().take(NAMED_MAX).map(|(subnet, who)| format!("{who} ({subnet})")).collect();
        why.push_str(&named.join(", "));
        if blocking.len() > NAMED_MAX {
            write!(why, " and {} more", blocking.len() - NAMED_MAX).expect("a String takes everything");
        }
        Error::Exhausted { what: format!("subnet for network {}", network.name), why }
    })
}

/// The IPv6 subnet of a network that named none: unique local, its 56 random bits those of the network's id (RFC 4193,
/// section 3.2).
pub(crate) fn unique_local(id: &str) -> Subnet {
    let byte = |at: usize| id.get(at * 2..at * 2 + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let pair = |at: usize| u16::from_be_bytes([byte(at), byte(at + 1)]);
    let first = Ipv6Addr::new(u16::from_be_bytes([0xfd, byte(0)]), pair(1), pair(3), pair(5), 0, 0, 0, 0);
    Subnet::around(first, 64)
}

/// Choose an address of one family for a container, and the subnet that it is in. Nothing where the network has no such.
///
/// Errors: `Invalid` for an address that cannot be a container's here; `AddressInUse` with the holder; `Exhausted`.
pub(crate) fn address<'a>(
    network: &'a Network,
    ipv6: bool,
    wanted: Option<IpAddr>,
    leases: &Leases,
) -> Result<Option<(IpAddr, &'a Pool)>> {
    let here = || leases.in_network(&network.id);
    if let Some(wanted) = wanted {
        let pool = check(network, wanted)?;
        return match here().find(|place| place.addresses().any(|address| address == wanted)) {
            Some(other) => Err(Error::AddressInUse { address: wanted, holder: other.holder() }),
            None => Ok(Some((wanted, pool))),
        };
    }
    let mut pools = network.pools_of(ipv6).peekable();
    if pools.peek().is_none() {
        return Ok(None);
    }
    let taken = here().flat_map(Place::addresses).chain(network.reserved());
    let taken: HashSet<IpAddr> = taken.filter(|address| address.is_ipv6() == ipv6).collect();
    let found = pools.find_map(|pool| lowest_free(pool, &taken).map(|address| (address, pool)));
    found.map(Some).ok_or_else(|| Error::Exhausted {
        what: format!("address on network {}", network.name),
        why: format!(
            "all of {} are leased",
            network.pools_of(ipv6).map(Pool::leased_from).collect::<Vec<_>>().join(", ")
        ),
    })
}

/// The pool that an address a person has chosen lies in.
fn check(network: &Network, wanted: IpAddr) -> Result<&Pool> {
    let invalid = |why: String| Error::Invalid { object: format!("address {wanted}"), why };
    let mut pools = network.pools.iter();
    let Some(pool) = pools.find(|pool| pool.subnet.contains(wanted)) else {
        let why = match network.pools_of(wanted.is_ipv6()).next() {
            None => format!("network {} has no IPv6", network.name),
            Some(_) => {
                let all = texts(network.pools_of(wanted.is_ipv6()).map(|pool| pool.subnet));
                format!("not in subnet {all} of network {}", network.name)
            }
        };
        return Err(invalid(why));
    };
    if pool.gateway == Some(wanted) {
        return Err(invalid(format!("it is the gateway of network {}", network.name)));
    }
    if let Some((name, _)) = pool.reserved.iter().find(|(_, address)| **address == wanted) {
        return Err(invalid(format!("network {} keeps it for {name}", network.name)));
    }
    if network.shim().is_some_and(|shim| IpAddr::V4(shim) == wanted) {
        return Err(invalid(format!("it is the host's own on network {}", network.name)));
    }
    if !is_host(pool.subnet, wanted) {
        let which = if wanted.is_ipv6() { "first address" } else { "first and the last address" };
        let belong = if wanted.is_ipv6() { "belongs" } else { "belong" };
        return Err(invalid(format!("the {which} of {} {belong} to nobody", pool.subnet)));
    }
    Ok(pool)
}

fn texts(subnets: impl Iterator<Item = Subnet>) -> String {
    subnets.map(|subnet| subnet.to_string()).collect::<Vec<_>>().join(", ")
}

/// Whether a host may have it: not the network's own address, and with IPv4 not the broadcast address.
pub(crate) fn is_host(subnet: Subnet, address: IpAddr) -> bool {
    subnet.contains(address) && address != subnet.first() && (subnet.is_ipv6() || address != subnet.last())
}

/// Take the lowest address that nobody has. Of a range all are taken that a host of the subnet may have, as
/// Docker does.
pub(crate) fn lowest_free(pool: &Pool, taken: &HashSet<IpAddr>) -> Option<IpAddr> {
    let is_free = |address: &IpAddr| is_host(pool.subnet, *address) && !taken.contains(address);
    match (pool.span, pool.range) {
        (Some((first, last)), _) => between(first, last).find(is_free),
        (None, None) => pool.subnet.hosts().find(is_free),
        (None, Some(range)) => std::iter::once(range.first())
            .chain(range.hosts())
            .chain((!range.is_ipv6()).then_some(range.last()))
            .find(is_free),
    }
}

/// Choose the name of a container's interface beside `others` of its own: the first free of `eth0`, `eth1` …
///
/// Errors: `Invalid` for a name that the kernel would not take, or that is another's.
pub(crate) fn interface(network: &Network, wanted: &EndpointRequest, others: &[EndpointRecord]) -> Result<String> {
    let has = |name: &str| others.iter().any(|other| other.interface() == Some(name));
    if let Some(name) = &wanted.interface {
        let invalid = |why: &str| Error::Invalid { object: format!("interface {name}"), why: why.into() };
        check_interface(name).map_err(invalid)?;
        if has(name) {
            return Err(invalid("the container has one of this name"));
        }
        return Ok(name.clone());
    }
    let prefix = network.interface_prefix.as_deref().unwrap_or("eth");
    let mut names = (0..).map(|number| format!("{prefix}{number}"));
    Ok(names.find(|name| !has(name)).expect("there are more numbers than interfaces"))
}

/// Whether the kernel takes it as the name of a link (dev_valid_name in net/core/dev.c; 15 bytes: linux/if.h, IFNAMSIZ).
pub(crate) fn check_interface(name: &str) -> std::result::Result<(), &'static str> {
    match name {
        "" => Err("it is empty"),
        "lo" => Err("that is the loopback's"),
        "." | ".." | "all" | "default" => Err("that names something else"),
        _ if name.len() > 15 => Err("it is longer than 15 letters"),
        _ if name.bytes().any(|byte| byte == b'/' || byte == b':' || byte == b'%' || !byte.is_ascii_graphic()) => {
            Err("it has a letter that no link may have")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Driver;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    fn network(name: &str) -> Network {
        Network::new(name, "0123456789abcdef".repeat(4), String::new(), Driver::Bridge)
    }

    fn pool(text: &str, range: Option<&str>) -> Pool {
        Pool {
            subnet: subnet(text),
            gateway: subnet(text).hosts().next(),
            range: range.map(subnet),
            span: None,
            reserved: Default::default(),
        }
    }

    fn free(name: &str, taken: &[&str]) -> Result<Subnet> {
        let taken: Vec<Taken> = taken.iter().map(|text| (subnet(text), "eth9".to_owned())).collect();
        free_subnet(&network(name), &taken)
    }

    #[test]
    fn the_default_networks_pool_is_dockers() {
        assert_eq!(large().count(), 31);
        assert_eq!(large().nth(15), Some(subnet("192.168.0.0/20")));
        assert_eq!(large().last(), Some(subnet("192.168.240.0/20")));
    }

    #[test]
    fn hundreds_of_networks_fit() {
        assert_eq!(small().count(), 15 * 256);
        assert_eq!(small().next(), Some(subnet("172.18.0.0/24")));
    }

    #[test]
    fn a_subnet_that_a_route_of_the_host_covers_is_skipped() {
        assert_eq!(free("bridge", &[]).unwrap(), subnet("172.17.0.0/16"));
        assert_eq!(free("bridge", &["172.17.0.0/16"]).unwrap(), subnet("172.18.0.0/16"));
        // 172.18.207.67/20 on eth0
        assert_eq!(free("bridge", &["172.17.0.0/16", "172.18.192.0/20"]).unwrap(), subnet("172.19.0.0/16"));
        assert_eq!(free("mine", &["172.17.0.0/16", "172.18.192.0/20"]).unwrap(), subnet("172.18.0.0/24"));
        assert_eq!(free("bridge", &["172.16.0.0/12"]).unwrap(), subnet("192.168.0.0/20"));
    }

    #[test]
    fn a_pool_without_room_says_what_is_in_the_way() {
        let said = free("mine", &["172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"]).unwrap_err().to_string();
        assert_eq!(
            said,
            "cannot find a free subnet for network mine: 172.16.0.0/12 and 192.168.0.0/16 are in use by \
             eth9 (172.16.0.0/12), eth9 (192.168.0.0/16)"
        );
    }

    #[test]
    fn the_lowest_free_address_is_taken() {
        let mut taken: HashSet<IpAddr> = ["172.17.0.1", "172.17.0.2", "172.17.0.4"].map(|a| a.parse().unwrap()).into();
        let pool_of = pool("172.17.0.0/16", None);
        assert_eq!(lowest_free(&pool_of, &taken), Some("172.17.0.3".parse().unwrap()));
        taken.extend(subnet("172.17.0.0/29").hosts());
        assert_eq!(lowest_free(&pool("172.17.0.0/29", None), &taken), None);
        assert_eq!(
            lowest_free(&pool("fd00::/64", None), &["fd00::1".parse().unwrap()].into()),
            Some("fd00::2".parse().unwrap())
        );
    }

    #[test]
    fn of_a_range_every_address_that_a_host_may_have_is_taken() {
        let none = HashSet::new();
        assert_eq!(lowest_free(&pool("10.0.0.0/16", Some("10.0.1.0/24")), &none), Some("10.0.1.0".parse().unwrap()));
        assert_eq!(lowest_free(&pool("10.0.0.0/16", Some("10.0.0.0/24")), &none), Some("10.0.0.1".parse().unwrap()));
        let last = pool("10.0.0.0/16", Some("10.0.255.254/31"));
        assert_eq!(lowest_free(&last, &none), Some("10.0.255.254".parse().unwrap()));
        assert_eq!(lowest_free(&last, &["10.0.255.254".parse().unwrap()].into()), None);
    }

    #[test]
    fn of_a_span_no_address_outside_is_taken() {
        let mut pool = pool("10.0.0.0/24", None);
        pool.span = Some(("10.0.0.254".parse().unwrap(), "10.0.0.255".parse().unwrap()));
        assert_eq!(lowest_free(&pool, &HashSet::new()), Some("10.0.0.254".parse().unwrap()));
        assert_eq!(lowest_free(&pool, &["10.0.0.254".parse().unwrap()].into()), None, "the last is the broadcast's");
    }

    #[test]
    fn an_ipv6_subnet_follows_the_networks_id() {
        assert_eq!(unique_local(&"0123456789abcdef".repeat(4)), subnet("fd01:2345:6789:abcd::/64"));
        assert!(unique_local("").to_string().starts_with("fd00:"));
    }

    #[test]
    fn names_of_interfaces_are_those_the_kernel_takes() {
        assert!(check_interface("eth0").is_ok() && check_interface("vpn.10-a").is_ok());
        for bad in ["", "lo", "..", "sixteen-letters-", "a/b", "a b", "a:b", "eth%d", "ü"] {
            assert!(check_interface(bad).is_err(), "{bad}");
        }
    }
}
