//! The two kinds of address that a container's network card has: hardware and IPv4, and the subnet around it.

use std::fmt;
use std::net::Ipv4Addr;
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

/// An IPv4 subnet, written `172.17.0.0/16`; its host bits are always zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    first: u32,
    prefix: u8,
}

impl Subnet {
    /// Take the subnet that `address` lies in. `prefix` is 0 to 32; more counts as 32.
    pub fn around(address: Ipv4Addr, prefix: u8) -> Subnet {
        let prefix = prefix.min(32);
        Subnet { first: u32::from(address) & mask(prefix), prefix }
    }

    /// The network's own address, `172.17.0.0`.
    pub fn first(self) -> Ipv4Addr {
        self.first.into()
    }

    /// The broadcast address, `172.17.255.255`.
    pub fn last(self) -> Ipv4Addr {
        (self.first | !mask(self.prefix)).into()
    }

    /// The number of leading bits, 0 to 32.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `address` lies in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.first
    }

    /// Whether any address lies in both.
    pub fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }

    /// Every address a host may have, lowest first: neither the network's own nor the broadcast address.
    pub fn hosts(self) -> impl Iterator<Item = Ipv4Addr> {
        let (first, last) = (self.first, u32::from(self.last()));
        (first.saturating_add(1)..last).map(Ipv4Addr::from)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
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
        let address: Ipv4Addr = address.parse().map_err(|_| invalid("not an IPv4 address"))?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32);
        let prefix = prefix.ok_or_else(|| invalid("the prefix is a number from 0 to 32"))?;
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
        assert_eq!(subnet.hosts().next(), Some(Ipv4Addr::new(172, 17, 0, 1)));
        assert_eq!(subnet.hosts().last(), Some(Ipv4Addr::new(172, 17, 255, 254)));
        assert!(subnet.contains(Ipv4Addr::new(172, 17, 9, 9)) && !subnet.contains(Ipv4Addr::new(172, 18, 0, 0)));
        // the seed host's eth0 is 172.18.207.67/20
        let eth0 = Subnet::around(Ipv4Addr::new(172, 18, 207, 67), 20);
        assert_eq!(eth0.to_string(), "172.18.192.0/20");
        assert!("172.18.0.0/16".parse::<Subnet>().unwrap().overlaps(eth0) && !subnet.overlaps(eth0));
        assert!(Subnet::around(Ipv4Addr::new(1, 2, 3, 4), 0).overlaps(subnet));
    }

    #[test]
    fn bad_subnets_are_refused_with_the_reason() {
        let why = |text: &str| text.parse::<Subnet>().unwrap_err().to_string();
        assert_eq!(why("10.0.0.0"), "subnet 10.0.0.0: not of the form 192.168.0.0/16");
        assert_eq!(why("10.0.0.0/33"), "subnet 10.0.0.0/33: the prefix is a number from 0 to 32");
        assert_eq!(why("10.0.0.1/8"), "subnet 10.0.0.1/8: it has host bits set; 10.0.0.0/8 is meant");
    }
}
