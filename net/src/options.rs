//! `network create --opt`: Docker's keys, and their last words alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::error::{Error, Result};
use crate::ipam::check_interface;
use crate::network::{Driver, Passage, SubMode};

/// An answer, or what is wrong with a value.
type Said<T> = std::result::Result<T, String>;

/// What the options of a network say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) bridge_name: Option<String>,
    pub(crate) mtu_bytes: Option<u32>,
    pub(crate) icc: Option<bool>,
    pub(crate) masquerade: Option<bool>,
    pub(crate) binding: Option<IpAddr>,
    pub(crate) interface_prefix: Option<String>,
    /// IPv4, IPv6: packets are routed, not translated.
    pub(crate) routed: [bool; 2],
    pub(crate) parent: Option<String>,
    pub(crate) mode: Option<SubMode>,
    pub(crate) shim: Option<Shim>,
}

/// `host_shim=auto`, or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shim {
    Anywhere,
    At(Ipv4Addr),
}

impl Options {
    /// How packets pass: IPv4, IPv6.
    pub(crate) fn passage(&self) -> [Passage; 2] {
        self.routed.map(|routed| match (routed, self.masquerade) {
            (true, _) => Passage::Routed,
            (false, Some(false)) => Passage::Unmasqueraded,
            (false, _) => Passage::Nat,
        })
    }
}

/// What the kernel takes as an MTU of IPv4 (RFC 791, section 3.2), and what a link can have.
const MTU_BYTES: std::ops::RangeInclusive<u32> = 68..=65535;

/// Understand the options of a network with this driver.
///
/// Errors: `Invalid` for a key that the driver does not know, or a value that is none.
pub(crate) fn parse(driver: Driver, typed: &BTreeMap<String, String>) -> Result<Options> {
    let mut options = Options::default();
    for (key, value) in typed {
        let invalid = |why: String| Error::Invalid { object: format!("--opt {key}={value}"), why };
        let known = match driver {
            Driver::Bridge => of_bridge(&mut options, key, value),
            _ => of_sub(&mut options, driver, key, value),
        };
        match known.map_err(invalid)? {
            true => {}
            false if common(&mut options, key, value).map_err(invalid)? => {}
            false => return Err(invalid(format!("driver {driver} has no such option"))),
        }
    }
    Ok(options)
}

/// What all drivers know. Answers whether the key is one of these.
fn common(options: &mut Options, key: &str, value: &str) -> Said<bool> {
    match key {
        "com.docker.network.driver.mtu" | "mtu" => {
            let mtu = value.parse().ok().filter(|mtu| MTU_BYTES.contains(mtu));
            options.mtu_bytes = Some(mtu.ok_or("it is a number from 68 to 65535")?);
        }
        "com.docker.network.container_iface_prefix"
        | "com.docker.network.container_interface_prefix"
        | "interface_prefix" => {
            // Room for a number.
            check_interface(&format!("{value}00"))?;
            options.interface_prefix = Some(value.to_owned());
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn of_bridge(options: &mut Options, key: &str, value: &str) -> Said<bool> {
    let short = key.strip_prefix("com.docker.network.bridge.").unwrap_or(key);
    match short {
        "name" => {
            check_interface(value)?;
            options.bridge_name = Some(value.to_owned());
        }
        "enable_icc" | "icc" => options.icc = Some(boolean(value)?),
        "enable_ip_masquerade" | "masquerade" => options.masquerade = Some(boolean(value)?),
        "host_binding_ipv4" | "host_binding" => {
            options.binding = Some(value.parse().map_err(|_| "it is not an IP address")?);
        }
        "gateway_mode_ipv4" => options.routed[0] = routed(value)?,
        "gateway_mode_ipv6" => options.routed[1] = routed(value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn of_sub(options: &mut Options, driver: Driver, key: &str, value: &str) -> Said<bool> {
    match key {
        "parent" => {
            check_interface(value)?;
            options.parent = Some(value.to_owned());
        }
        "macvlan_mode" | "ipvlan_mode" | "mode" if key == "mode" || key == format!("{driver}_mode") => {
            let known = SubMode::of(driver);
            let found = known.iter().find(|(word, _)| *word == value);
            let words = || known.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            options.mode = Some(found.ok_or_else(|| format!("it is one of {}", words()))?.1);
        }
        "host_shim" if value == "auto" => options.shim = Some(Shim::Anywhere),
        "host_shim" => {
            let address = value.parse().map_err(|_| "it is auto, or an IPv4 address")?;
            options.shim = Some(Shim::At(address));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// As Go's strconv.ParseBool, which is how Docker reads it.
fn boolean(value: &str) -> Said<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("it is true or false".into()),
    }
}

fn routed(value: &str) -> Said<bool> {
    match value {
        "nat" => Ok(false),
        "routed" => Ok(true),
        _ => Err("it is nat or routed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(driver: Driver, typed: &[(&str, &str)]) -> Result<Options> {
        parse(driver, &typed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn dockers_keys_and_their_last_words_are_understood() {
        let long = [
            ("com.docker.network.bridge.name", "br9"),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.enable_ip_masquerade", "0"),
            ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
            ("com.docker.network.driver.mtu", "1400"),
            ("com.docker.network.container_iface_prefix", "net"),
        ];
        let short = [
            ("name", "br9"),
            ("icc", "false"),
            ("masquerade", "false"),
            ("host_binding", "127.0.0.1"),
            ("mtu", "1400"),
            ("interface_prefix", "net"),
        ];
        let options = parsed(Driver::Bridge, &long).unwrap();
        assert_eq!(options, parsed(Driver::Bridge, &short).unwrap());
        assert_eq!((options.mtu_bytes, options.icc), (Some(1400), Some(false)));
        assert_eq!(options.passage(), [Passage::Unmasqueraded; 2]);
        let routed = parsed(Driver::Bridge, &[("com.docker.network.bridge.gateway_mode_ipv6", "routed")]).unwrap();
        assert_eq!(routed.passage(), [Passage::Nat, Passage::Routed]);
        let macvlan = [("parent", "eth0.10"), ("macvlan_mode", "vepa"), ("host_shim", "192.0.2.1")];
        let macvlan = parsed(Driver::Macvlan, &macvlan).unwrap();
        assert_eq!((macvlan.mode, macvlan.parent.as_deref()), (Some(SubMode::Vepa), Some("eth0.10")));
        assert_eq!(parsed(Driver::Ipvlan, &[("mode", "l3s")]).unwrap().mode, Some(SubMode::L3s));
    }

    #[test]
    fn what_a_driver_does_not_know_is_refused() {
        let table = [
            (Driver::Bridge, "parent", "eth0", "driver bridge has no such option"),
            (Driver::Bridge, "icc", "maybe", "it is true or false"),
            (Driver::Bridge, "mtu", "67", "it is a number from 68 to 65535"),
            (Driver::Bridge, "name", "a/b", "it has a letter that no link may have"),
            (Driver::Bridge, "host_binding", "here", "it is not an IP address"),
            (Driver::Bridge, "gateway_mode_ipv4", "isolated", "it is nat or routed"),
            (Driver::Macvlan, "icc", "true", "driver macvlan has no such option"),
            (Driver::Macvlan, "macvlan_mode", "l2", "it is one of bridge, private, vepa, passthru"),
            (Driver::Ipvlan, "macvlan_mode", "bridge", "driver ipvlan has no such option"),
            (Driver::Macvlan, "host_shim", "yes", "it is auto, or an IPv4 address"),
        ];
        for (driver, key, value, why) in table {
            let error = parsed(driver, &[(key, value)]).unwrap_err().to_string();
            assert_eq!(error, format!("--opt {key}={value}: {why}"));
        }
    }
}
