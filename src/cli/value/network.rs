//! `--network`: which network, and what the container wants of it.

use std::net::{Ipv4Addr, Ipv6Addr};

use rbox_net::MacAddress;
use serde::{Deserialize, Serialize};

use super::{LinkFlag, Parsed, link};

/// One network of a container, with what was said of its place there. Kept as data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkFlag {
    /// Its name, or its id; `container:NAME`.
    pub(crate) name: String,
    /// Its id, once it is known which is meant: a later start means the same one. None of one that is there from the
    /// beginning.
    pub(crate) id: Option<String>,
    /// `ip=`
    pub(crate) ip: Option<Ipv4Addr>,
    /// `ip6=`
    pub(crate) ip6: Option<Ipv6Addr>,
    /// `mac=`
    pub(crate) mac: Option<MacAddress>,
    /// `alias=`, each.
    pub(crate) aliases: Vec<String>,
    /// `link=`, each: another container of the network, and what this one calls it.
    pub(crate) links: Vec<LinkFlag>,
    /// `ifname=`
    pub(crate) interface: Option<String>,
    /// `gw-priority=`
    pub(crate) priority: i32,
}

/// Docker's word for the name of the interface.
const INTERFACE_OPTION: &str = "com.docker.network.endpoint.ifname";

/// `--network`: a name alone, or `name=NET,ip=…,alias=…` (docker/cli `opts.NetworkOpt`).
pub(crate) fn network(text: &str) -> Parsed<NetworkFlag> {
    if let Some(target) = text.strip_prefix("container:") {
        return match target {
            "" => Err("not of the form container:NAME".into()),
            _ => Ok(NetworkFlag::named(text)),
        };
    }
    if text.starts_with("ns:") {
        return Err("joining a network namespace by its path is not supported".into());
    }
    if !text.contains(['=', ',']) {
        return match text {
            "" => Err("not the name of a network".into()),
            _ => Ok(NetworkFlag::named(text)),
        };
    }
    let mut flag = NetworkFlag::default();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("{field} is not of the form FIELD=VALUE"))?;
        flag.take(key.trim(), value)?;
    }
    match flag.name.as_str() {
        "" => Err("name= is missing".into()),
        name if name.starts_with("container:") => Err("a container's network is joined without further fields".into()),
        _ => Ok(flag),
    }
}

impl NetworkFlag {
    /// A network of which nothing more was said.
    pub(crate) fn named(name: &str) -> NetworkFlag {
        NetworkFlag { name: name.to_owned(), ..NetworkFlag::default() }
    }

    /// By what it is found: its id, once that is known.
    pub(crate) fn key(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.name)
    }

    fn take(&mut self, key: &str, value: &str) -> Parsed<()> {
        let wrong = |what: &str| format!("{key}={value}: not {what}");
        match key {
            "name" => self.name = value.to_owned(),
            "ip" => self.ip = Some(value.parse().map_err(|_| wrong("an IPv4 address"))?),
            "ip6" => self.ip6 = Some(value.parse().map_err(|_| wrong("an IPv6 address"))?),
            "mac" | "mac-address" => {
                self.mac = Some(value.parse().map_err(|error: rbox_net::Error| error.to_string())?);
            }
            "alias" => self.aliases.push(alias(value)?),
            "link" => self.links.push(link(value)?),
            "ifname" => self.interface = Some(value.to_owned()),
            "driver-opt" => match value.split_once('=') {
                Some((INTERFACE_OPTION, name)) => self.interface = Some(name.to_owned()),
                _ => return Err(format!("{key}={value}: the only one there is is {INTERFACE_OPTION}=NAME")),
            },
            "gw-priority" => self.priority = value.parse().map_err(|_| wrong("a number"))?,
            _ => return Err(format!("{key}: there is no such field")),
        }
        Ok(())
    }
}

/// `--network-alias`: a further name of the container.
pub(crate) fn alias(text: &str) -> Parsed<String> {
    let is_name =
        !text.is_empty() && text.len() <= 253 && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if is_name { Ok(text.to_owned()) } else { Err("not a name".into()) }
}

/// `--driver`
pub(crate) fn driver(text: &str) -> Parsed<rbox_net::Driver> {
    let known = &rbox_net::Driver::CREATABLE;
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, driver)| *driver);
    found.ok_or_else(|| match text {
        "host" | "none" | "null" => format!("there is one network {text}, and it is there already"),
        "overlay" => "networks over several hosts are not supported".into(),
        _ => format!("not one of {}", known.map(|(name, _)| name).join(", ")),
    })
}

/// `--subnet`, `--ip-range`
pub(crate) fn subnet(text: &str) -> Parsed<rbox_net::Subnet> {
    text.parse().map_err(|error: rbox_net::Error| error.to_string())
}

/// `--aux-address NAME=ADDRESS`
pub(crate) fn reserved(text: &str) -> Parsed<(String, std::net::IpAddr)> {
    let (name, address) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("not of the form NAME=ADDRESS")?;
    Ok((name.to_owned(), address.parse().map_err(|_| format!("{address} is not an IP address"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_name_or_fields() {
        assert_eq!(network("mine").unwrap(), NetworkFlag::named("mine"));
        assert_eq!(network("container:web").unwrap().name, "container:web");
        let text = "name=mine,ip=10.0.0.2,ip6=fd00::2,mac=02:42:00:00:00:01,alias=a,alias=b,link=web:w,ifname=lan,gw-priority=-3";
        let flag = network(text).unwrap();
        assert_eq!((flag.name.as_str(), flag.ip.unwrap().to_string()), ("mine", "10.0.0.2".into()));
        assert_eq!(flag.aliases, ["a", "b"]);
        assert_eq!(flag.links, [LinkFlag { other: "web".into(), alias: "w".into(), follow: None }]);
        assert_eq!((flag.interface.as_deref(), flag.priority), (Some("lan"), -3));
        let of_docker =
            network("name=mine,mac-address=02:42:00:00:00:01,driver-opt=com.docker.network.endpoint.ifname=x0");
        assert_eq!(of_docker.unwrap().interface.as_deref(), Some("x0"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        let table = [
            ("", "not the name of a network"),
            ("container:", "not of the form container:NAME"),
            ("ns:/proc/1/ns/net", "joining a network namespace by its path is not supported"),
            ("name=mine,web", "web is not of the form FIELD=VALUE"),
            ("ip=10.0.0.2", "name= is missing"),
            ("name=mine,ip=x", "ip=x: not an IPv4 address"),
            ("name=mine,ip6=10.0.0.2", "ip6=10.0.0.2: not an IPv6 address"),
            ("name=mine,mac=x", "MAC address x: not six pairs of hex digits"),
            ("name=mine,gw-priority=high", "gw-priority=high: not a number"),
            ("name=mine,color=red", "color: there is no such field"),
            ("name=container:web", "a container's network is joined without further fields"),
        ];
        for (text, why) in table {
            assert_eq!(network(text).unwrap_err(), why, "{text}");
        }
    }
}
