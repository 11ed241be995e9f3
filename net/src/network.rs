//! A network: what it is called, how it is driven, and where its addresses come from.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::address::{MacAddress, Subnet};
use crate::{create, files, ipam};

/// What every link of IPv6 carries at least: RFC 8200, section 5. On a smaller one the kernel switches it off.
pub(crate) const IPV6_MTU_BYTES_MIN: u32 = 1280;

/// How a network joins its containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A Linux bridge, with veth pairs, NAT and published ports.
    Bridge,
    /// Each container has a network card of its own on the segment of one of the host's.
    Macvlan,
    /// The same, with the hardware address of the host's card.
    Ipvlan,
    /// The host's own network.
    Host,
    /// No network but the loopback.
    Null,
    /// The network of another container (`container:ID`): everything in it is that one's.
    Container,
}

impl Driver {
    /// Those of a network that can be created: `--driver`.
    pub const CREATABLE: [(&'static str, Driver); 3] =
        [("bridge", Driver::Bridge), ("ipvlan", Driver::Ipvlan), ("macvlan", Driver::Macvlan)];

    /// Whether a container may be in several such networks at once.
    pub fn is_shareable(self) -> bool {
        matches!(self, Driver::Bridge | Driver::Macvlan | Driver::Ipvlan)
    }
}

impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Driver::Bridge => "bridge",
            Driver::Macvlan => "macvlan",
            Driver::Ipvlan => "ipvlan",
            Driver::Host => "host",
            Driver::Null => "null",
            Driver::Container => "container",
        })
    }
}

/// A network, as it is remembered on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name, `bridge`.
    pub name: String,
    /// 64 hex digits.
    pub id: String,
    /// When it was made: RFC 3339 with nanoseconds and the local offset.
    pub created: String,
    /// How it works.
    pub driver: Driver,
    /// Whether its containers have IPv6 addresses too.
    #[serde(default)]
    pub ipv6: bool,
    /// Whether nothing leads in or out of it.
    #[serde(default)]
    pub internal: bool,
    /// Where its containers' addresses come from: one of IPv4 at least, and with `ipv6` one of IPv6.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// What a bridge network has in the kernel.
    #[serde(default)]
    pub bridge: Option<Bridge>,
    /// What a macvlan or ipvlan network is made on.
    #[serde(default)]
    pub parent: Option<Parent>,
    /// The largest packet; nothing stands for that of the host's way out, as it is when a container starts.
    #[serde(default)]
    pub mtu_bytes: Option<u32>,
    /// How its containers' interfaces begin: `eth`.
    #[serde(default)]
    pub interface_prefix: Option<String>,
    /// The user's `--opt`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The user's `--label`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl files::Filed for Network {
    fn check(&self, path: &Path) -> std::result::Result<(), &'static str> {
        if path.file_stem() != Some(OsStr::new(&self.name)) || !create::is_name(&self.name) {
            return Err("it is of a network that has another name");
        }
        if self.id.len() != 64 || !self.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("the identifier of a network is 64 hex digits");
        }
        let bridge = self.bridge.as_ref().map_or("bridge", |bridge| &bridge.name);
        ipam::check_interface(bridge)?;
        self.pools.iter().try_for_each(Pool::check)
    }
}

impl Pool {
    /// What of it is for containers, as it was asked for; nothing where it is all.
    pub fn range_words(&self) -> Option<String> {
        match self.span {
            Some((first, last)) => Some(format!("{first}-{last}")),
            None => self.range.map(|range| range.to_string()),
        }
    }

    /// Where containers get their addresses by themselves, in words.
    pub(crate) fn leased_from(&self) -> String {
        self.range_words().unwrap_or_else(|| self.subnet.to_string())
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        let gateway = self.gateway.is_none_or(|gateway| self.subnet.contains(gateway));
        let range = self.range.is_none_or(|range| self.subnet.covers(range));
        let span = self.span.is_none_or(|(first, last)| self.subnet.contains(first) && self.subnet.contains(last));
        if gateway && range && span { Ok(()) } else { Err("an address of a network is in its subnet") }
    }
}

/// A subnet of a network, and what of it is for containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// All of it.
    pub subnet: Subnet,
    /// The containers' default gateway; with a bridge, the bridge's own address.
    pub gateway: Option<IpAddr>,
    /// `--ip-range`: only from here does a container get an address by itself.
    #[serde(default)]
    pub range: Option<Subnet>,
    /// The same where it is no subnet of its own: the first and the last address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(IpAddr, IpAddr)>,
    /// `--aux-address`: these belong to others, and why.
    #[serde(default)]
    pub reserved: BTreeMap<String, IpAddr>,
}

/// The bridge of a bridge network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Its link name, `rbox0`.
    pub name: String,
    /// Its hardware address. Random, so it also tells our bridge from another of the same name.
    pub mac: MacAddress,
    /// Whether its containers may speak to each other.
    pub icc: bool,
    /// How packets to and from the outside pass: IPv4, IPv6.
    pub passage: [Passage; 2],
    /// The address of the host that ports are published on where `-p` names none.
    #[serde(default)]
    pub binding: Option<IpAddr>,
}

/// How packets between a bridge network and the world outside pass the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Passage {
    /// Translated: out with the host's address, in by published ports alone.
    Nat,
    /// Not translated on the way out; whoever has a route reaches the containers' own addresses.
    Unmasqueraded,
    /// Not translated at all: who has a route reaches the published ports at the containers' own addresses.
    Routed,
}

/// The link of the host's that a macvlan or ipvlan network is made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its name, `eth0` or `eth0.10`.
    pub link: String,
    /// Whether rbox has made it, and takes it away with the network.
    pub is_ours: bool,
    /// `bridge`, `l2`: the mode of the containers' links on it.
    pub mode: SubMode,
    /// The host's own link on the segment, by which host and containers reach each other.
    #[serde(default)]
    pub shim: Option<Shim>,
}

/// The mode of a macvlan or ipvlan link. macvlan: ip-link(8); ipvlan: kernel networking/ipvlan.rst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "they are the kernel's own words")]
pub enum SubMode {
    Bridge,
    Private,
    Vepa,
    Passthru,
    L2,
    L3,
    L3s,
}

impl SubMode {
    /// Those of a driver, the default first.
    pub fn of(driver: Driver) -> &'static [(&'static str, SubMode)] {
        match driver {
            Driver::Ipvlan => &[("l2", SubMode::L2), ("l3", SubMode::L3), ("l3s", SubMode::L3s)],
            _ => &[
                ("bridge", SubMode::Bridge),
                ("private", SubMode::Private),
                ("vepa", SubMode::Vepa),
                ("passthru", SubMode::Passthru),
            ],
        }
    }
}

impl std::fmt::Display for SubMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SubMode::Bridge => "bridge",
            SubMode::Private => "private",
            SubMode::Vepa => "vepa",
            SubMode::Passthru => "passthru",
            SubMode::L2 => "l2",
            SubMode::L3 => "l3",
            SubMode::L3s => "l3s",
        })
    }
}

/// The host's place on the segment of a macvlan network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shim {
    /// Its link name, `rbm-` and 11 hex digits.
    pub link: String,
    /// The host's address there.
    pub address: Ipv4Addr,
}

impl Network {
    /// Whether rbox made it by itself, and it can be neither made nor removed.
    pub fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }

    /// The network of another container: not one that can be listed or left.
    pub(crate) fn of_container(name: &str) -> Network {
        Network::new(name, String::new(), String::new(), Driver::Container)
    }

    /// A network with nothing but a name.
    pub(crate) fn new(name: &str, id: String, created: String, driver: Driver) -> Network {
        Network {
            name: name.to_owned(),
            id,
            created,
            driver,
            ipv6: false,
            internal: false,
            pools: Vec::new(),
            bridge: None,
            parent: None,
            mtu_bytes: None,
            interface_prefix: None,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    /// The first 12 digits of its id, as `network ls` shows.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// Its subnets of one family.
    pub(crate) fn pools_of(&self, ipv6: bool) -> impl Iterator<Item = &Pool> {
        self.pools.iter().filter(move |pool| pool.subnet.is_ipv6() == ipv6)
    }

    /// Addresses of its subnets that no container gets.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = IpAddr> {
        let of_pools =
            self.pools.iter().flat_map(|pool| pool.gateway.into_iter().chain(pool.reserved.values().copied()));
        of_pools.chain(self.shim().map(IpAddr::V4))
    }

    /// The host's own address on a macvlan network.
    pub(crate) fn shim(&self) -> Option<Ipv4Addr> {
        Some(self.parent.as_ref()?.shim.as_ref()?.address)
    }

    /// The bridge's own IPv4 address and the subnet around it; nothing where it has none.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.pools.iter().find_map(|pool| match pool.gateway {
            Some(IpAddr::V4(gateway)) => Some(gateway),
            _ => None,
        })
    }
}

/// Whether a network of this name is there from the beginning.
pub(crate) fn is_predefined(name: &str) -> bool {
    ["bridge", "host", "none"].contains(&name)
}
