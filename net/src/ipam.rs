//! Addresses: which subnet a network gets, and which address of it a container gets.
//!
//! There is no table of what is free. A lease is the record of the endpoint that has it, and a record without
//! a live owner is none; so the table cannot disagree with the world.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use crate::address::Subnet;

/// The subnets a network may get by itself, in order: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 and
/// on (Docker's default address pools).
pub(crate) fn pool() -> impl Iterator<Item = Subnet> {
    let large = (17..=31).map(|second| Subnet::around(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..=240).step_by(16).map(|third| Subnet::around(Ipv4Addr::new(192, 168, third, 0), 20));
    large.chain(small)
}

/// Take the first subnet of the pool that overlaps none of `taken`.
pub(crate) fn free_subnet(taken: &[Subnet]) -> Option<Subnet> {
    pool().find(|subnet| !taken.iter().any(|other| subnet.overlaps(*other)))
}

/// Take the lowest address that nobody has.
pub(crate) fn lowest_free(subnet: Subnet, taken: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    subnet.hosts().find(|address| !taken.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn the_pool_is_dockers() {
        assert_eq!(pool().count(), 31);
        assert_eq!(pool().next(), Some(subnet("172.17.0.0/16")));
        assert_eq!(pool().nth(15), Some(subnet("192.168.0.0/20")));
        assert_eq!(pool().last(), Some(subnet("192.168.240.0/20")));
    }

    #[test]
    fn a_subnet_that_a_route_of_the_host_covers_is_skipped() {
        assert_eq!(free_subnet(&[]), Some(subnet("172.17.0.0/16")));
        assert_eq!(free_subnet(&[subnet("172.17.0.0/16")]), Some(subnet("172.18.0.0/16")));
        // 172.18.207.67/20 on eth0
        let taken = [subnet("172.17.0.0/16"), subnet("172.18.192.0/20")];
        assert_eq!(free_subnet(&taken), Some(subnet("172.19.0.0/16")));
        assert_eq!(free_subnet(&[subnet("172.16.0.0/12")]), Some(subnet("192.168.0.0/20")));
        assert_eq!(free_subnet(&[subnet("172.16.0.0/12"), subnet("192.168.0.0/16")]), None);
    }

    #[test]
    fn the_lowest_free_address_is_taken() {
        let mut taken: HashSet<Ipv4Addr> =
            ["172.17.0.1", "172.17.0.2", "172.17.0.4"].map(|a| a.parse().unwrap()).into();
        assert_eq!(lowest_free(subnet("172.17.0.0/16"), &taken), Some("172.17.0.3".parse().unwrap()));
        taken.extend(subnet("172.17.0.0/29").hosts());
        assert_eq!(lowest_free(subnet("172.17.0.0/29"), &taken), None);
    }
}
