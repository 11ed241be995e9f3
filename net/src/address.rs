//! The kinds of address that a container's network card has: hardware, IPv4 and IPv6; and the subnet around one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A hardware address, written `02:42:ac:11:00:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Derive the address that a container gets: `02:42:` and its IPv4 address in hex.
    ///
    /// One address has one hardware address for ever, so no neighbour's ARP cache can be stale.
    pub fn of(address: Ipv4Addr) -> MacAddress {
        let [a, b, c, d] = address.octets();
        MacAddress([0x02, 0x42, a, b, c, d])
    }

    /// Whether it can be a network card's own: not a group address, not all zero.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = Error;

    /// Read `92:d0:c6:0a:29:33`; `-` instead of `:` is understood too.
    ///
    /// Errors: `Invalid` for anything but six pairs of hex digits, and for a group address.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Error::Invalid { object: format!("MAC address {text}"), why: why.into() };
        let mut bytes = [0; 6];
        let mut pairs = text.split([':', '-']);
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
            let pair = pair.ok_or_else(|| invalid("not six pairs of hex digits"))?;
            *byte = u8::from_str_radix(pair, 16).expect("two hex digits fit a byte");
        }
        if pairs.next().is_some() {
            return Err(invalid("not six pairs of hex digits"));
        }
        let address = MacAddress(bytes);
        if !address.is_unicast() {
            return Err(invalid("a group address cannot be a network card's own"));
        }
        Ok(address)
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> String {
        address.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// A subnet of either family, written `172.17.0.0/16` or `fd00:1::/64`; its host bits are always zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    first: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// Take the subnet that `address` lies in. `prefix` is 0 to 32, or to 128 with IPv6; more counts as the most.
    pub fn around(address: impl Into<IpAddr>, prefix: u8) -> Subnet {
        let address = address.into();
        let prefix = prefix.min(bits(address));
        Subnet { first: like(address, number(address) & mask(address, prefix)), prefix }
    }

    /// The network's own address, `172.17.0.0`.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// The last address: with IPv4 the broadcast address, `172.17.255.255`.
    pub fn last(self) -> IpAddr {
        let host_bits = full(self.first) & !mask(self.first, self.prefix);
        like(self.first, number(self.first) | host_bits)
    }

    /// The number of leading bits, 0 to 32 or 0 to 128.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The leading bits, `255.255.0.0`.
    pub(crate) fn mask(self) -> IpAddr {
        like(self.first, mask(self.first, self.prefix))
    }

    /// Whether it is one of IPv6.
    pub fn is_ipv6(self) -> bool {
        self.first.is_ipv6()
    }

    /// Whether `address` lies in it.
    pub fn contains(self, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        address.is_ipv6() == self.is_ipv6() && number(address) & mask(address, self.prefix) == number(self.first)
    }

    /// Whether any address lies in both.
    pub fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }

    /// Whether all of `other` lies in it.
    pub fn covers(self, other: Subnet) -> bool {
        self.prefix <= other.prefix && self.contains(other.first())
    }

    /// Every address a host may have, lowest first: not the network's own (with IPv6 that of all its routers, RFC 4291,
    /// section 2.6.1), and with IPv4 not the broadcast address.
    pub fn hosts(self) -> impl Iterator<Item = IpAddr> {
        let (first, last) = (number(self.first), number(self.last()));
        let end = if self.is_ipv6() { last } else { last.saturating_sub(1) };
        (first.saturating_add(1)..=end).map(move |host| like(self.first, host))
    }
}

/// Every address from `first` to `last`, which are of one family.
pub(crate) fn between(first: IpAddr, last: IpAddr) -> impl Iterator<Item = IpAddr> {
    (number(first)..=number(last)).map(move |host| like(first, host))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address of this number, in the family of `family`.
fn like(family: IpAddr, number: u128) -> IpAddr {
    match family {
        IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

fn bits(family: IpAddr) -> u8 {
    if family.is_ipv6() { 128 } else { 32 }
}

fn full(family: IpAddr) -> u128 {
    if family.is_ipv6() { u128::MAX } else { u32::MAX.into() }
}

fn mask(family: IpAddr, prefix: u8) -> u128 {
    let host_bits = u32::from(bits(family) - prefix.min(bits(family)));
    full(family) & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Error::Invalid { object: format!("subnet {text}"), why: why.into() };
        let (address, prefix) = text.split_once('/').ok_or_else(|| invalid("not of the form 192.168.0.0/16"))?;
        let address: IpAddr = address.parse().map_err(|_| invalid("not an IP address"))?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| digits && *prefix <= bits(address));
        let prefix = prefix.ok_or_else(|| invalid(&format!("the prefix is a number from 0 to {}", bits(address))))?;
        let subnet = Subnet::around(address, prefix);
        if subnet.first() != address {
            return Err(invalid(&format!("it has host bits set; {subnet} is meant")));
        }
        Ok(subnet)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_address_follows_the_ip_address() {
        // 172.18.0.4 -> 02:42:AC:12:00:04, 192.168.0.4 -> 02:42:c0:a8:00:04
        assert_eq!(MacAddress::of(Ipv4Addr::new(172, 18, 0, 4)).to_string(), "02:42:ac:12:00:04");
        assert_eq!(MacAddress::of(Ipv4Addr::new(192, 168, 0, 4)).to_string(), "02:42:c0:a8:00:04");
    }

    #[test]
    fn hardware_addresses_are_read_strictly() {
        assert_eq!("92:d0:C6:0a:29:33".parse::<MacAddress>().unwrap().to_string(), "92:d0:c6:0a:29:33");
        for bad in ["", "92:d0", "92:d0:c6:0a:29:33:44", "92:d0:c6:0a:29:3", "zz:d0:c6:0a:29:33", "+2:d0:c6:0a:29:33"] {
            let error = bad.parse::<MacAddress>().unwrap_err().to_string();
            assert_eq!(error, format!("MAC address {bad}: not six pairs of hex digits"));
        }
        assert!("01:00:5e:00:00:01".parse::<MacAddress>().is_err());
        assert!("00:00:00:00:00:00".parse::<MacAddress>().is_err());
    }

    #[test]
    fn subnet_arithmetic() {
        let subnet: Subnet = "172.17.0.0/16".parse().unwrap();
        assert_eq!(subnet.last(), Ipv4Addr::new(172, 17, 255, 255));
        assert_eq!(subnet.hosts().next(), Some(Ipv4Addr::new(172, 17, 0, 1).into()));
        assert_eq!(subnet.hosts().last(), Some(Ipv4Addr::new(172, 17, 255, 254).into()));
        assert!(subnet.contains(Ipv4Addr::new(172, 17, 9, 9)) && !subnet.contains(Ipv4Addr::new(172, 18, 0, 0)));
        // the seed host's eth0 is 172.18.207.67/20
        let eth0 = Subnet::around(Ipv4Addr::new(172, 18, 207, 67), 20);
        assert_eq!(eth0.to_string(), "172.18.192.0/20");
        assert!("172.18.0.0/16".parse::<Subnet>().unwrap().overlaps(eth0) && !subnet.overlaps(eth0));
        assert!(Subnet::around(Ipv4Addr::new(1, 2, 3, 4), 0).overlaps(subnet));
    }

    #[test]
    fn subnet_arithmetic_of_ipv6() {
        let subnet: Subnet = "fd00:1::/64".parse().unwrap();
        assert_eq!(subnet.to_string(), "fd00:1::/64");
        assert_eq!(subnet.last().to_string(), "fd00:1::ffff:ffff:ffff:ffff");
        assert_eq!(subnet.hosts().nth(1).unwrap().to_string(), "fd00:1::2");
        assert!(subnet.contains("fd00:1::5".parse::<IpAddr>().unwrap()));
        assert!(!subnet.contains(Ipv4Addr::new(0, 0, 0, 5)));
        assert!("fd00::/16".parse::<Subnet>().unwrap().covers(subnet));
        assert!(!"0.0.0.0/0".parse::<Subnet>().unwrap().overlaps("::/0".parse().unwrap()));
        assert_eq!("::/0".parse::<Subnet>().unwrap().hosts().next().unwrap().to_string(), "::1");
        assert_eq!("fd00::7/128".parse::<Subnet>().unwrap().hosts().count(), 0);
        assert_eq!("10.0.0.0/31".parse::<Subnet>().unwrap().hosts().count(), 0);
    }

    #[test]
    fn the_arithmetic_agrees_with_counting() {
        // Every prefix, at addresses all over both families: the same as bit by bit.
        let mut seed = 0x2545_f491_4f6c_dd1d_u128;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(0x0da9_42d2_5a5b_6e8d_8e8c_1f35_7f4a_7c15).wrapping_add(0x9e37_79b9);
            let v6 = seed & 1 == 1;
            let address: IpAddr = if v6 {
                Ipv6Addr::from(seed).into()
            } else {
                Ipv4Addr::from(u32::try_from(seed >> 96).unwrap()).into()
            };
            let prefix = u8::try_from((seed >> 32) % (u128::from(bits(address)) + 1)).unwrap();
            let subnet = Subnet::around(address, prefix);
            let bit = |of: IpAddr, at: u8| number(of) >> (bits(of) - 1 - at) & 1;
            for at in 0..bits(address) {
                let (first, last) = if at < prefix { (bit(address, at), bit(address, at)) } else { (0, 1) };
                assert_eq!((bit(subnet.first(), at), bit(subnet.last(), at)), (first, last), "{address}/{prefix}");
            }
            assert!(subnet.contains(address) && subnet.contains(subnet.last()));
            assert_eq!(subnet.to_string().parse::<Subnet>().unwrap(), subnet);
        }
    }

    #[test]
    fn bad_subnets_are_refused_with_the_reason() {
        let why = |text: &str| text.parse::<Subnet>().unwrap_err().to_string();
        assert_eq!(why("10.0.0.0"), "subnet 10.0.0.0: not of the form 192.168.0.0/16");
        assert_eq!(why("10.0.0.0/33"), "subnet 10.0.0.0/33: the prefix is a number from 0 to 32");
        assert_eq!(why("fd00::/129"), "subnet fd00::/129: the prefix is a number from 0 to 128");
        assert_eq!(why("10.0.0.0/+8"), "subnet 10.0.0.0/+8: the prefix is a number from 0 to 32");
        assert_eq!(why("10.0/8"), "subnet 10.0/8: not an IP address");
        assert_eq!(why("10.0.0.1/8"), "subnet 10.0.0.1/8: it has host bits set; 10.0.0.0/8 is meant");
    }
}
