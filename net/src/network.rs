//! A network: what it is called, how it is driven, and what `network inspect` says of it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::address::{MacAddress, Subnet};
use crate::endpoint::EndpointRecord;

/// How a network joins its containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A Linux bridge, with veth pairs, NAT and published ports.
    Bridge,
    /// The host's own network.
    Host,
    /// No network but the loopback.
    Null,
    /// The network of another container (`container:ID`): everything in it is that one's.
    Container,
}

impl std::fmt::Display for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Driver::Bridge => "bridge",
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
    /// When it was made: RFC 3339 with nanoseconds and the local offset (A-132).
    pub created: String,
    /// How it works.
    pub driver: Driver,
    /// What a bridge network has beyond its name.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub bridged: Option<Bridged>,
    /// The user's `--opt`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The user's `--label`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// The parts of a bridge network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridged {
    /// Where its containers' addresses come from.
    pub subnet: Subnet,
    /// The bridge's own address, the containers' default gateway.
    pub gateway: Ipv4Addr,
    /// The bridge's link name, `rbox0`.
    pub bridge: String,
    /// The bridge's hardware address. Random, so it also tells our bridge from another of the same name.
    pub mac: MacAddress,
}

impl Network {
    /// Whether rbox made it by itself, and it can be neither made nor removed.
    pub fn is_predefined(&self) -> bool {
        ["bridge", "host", "none"].contains(&self.name.as_str())
    }

    /// The network of another container: not one that can be listed or left.
    pub(crate) fn of_container(name: &str) -> Network {
        Network {
            name: name.to_owned(),
            id: String::new(),
            created: String::new(),
            driver: Driver::Container,
            bridged: None,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    /// The first 12 digits of its id, as `network ls` shows (A-032).
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// `network inspect`: Docker's keys in Docker's order (A-130 to A-141).
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspection {
    name: String,
    id: String,
    created: String,
    scope: &'static str,
    driver: String,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
    internal: bool,
    attachable: bool,
    ingress: bool,
    config_from: ConfigFrom,
    config_only: bool,
    containers: BTreeMap<String, Connected>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    driver: &'static str,
    options: BTreeMap<String, String>,
    config: Vec<IpamConfig>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct IpamConfig {
    subnet: String,
    gateway: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigFrom {
    network: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Connected {
    name: String,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    mac_address: String,
    #[serde(rename = "IPv4Address")]
    ipv4_address: String,
    #[serde(rename = "IPv6Address")]
    ipv6_address: String,
}

impl Inspection {
    /// Describe `network` with the endpoints that are in it.
    pub(crate) fn of(network: &Network, endpoints: &[EndpointRecord]) -> Inspection {
        let mut options = network.options.clone();
        if let (Some(bridged), true) = (&network.bridged, network.is_predefined()) {
            options.insert("com.docker.network.bridge.default_bridge".into(), "true".into());
            options.insert("com.docker.network.bridge.name".into(), bridged.bridge.clone());
        }
        let config = network
            .bridged
            .iter()
            .map(|bridged| IpamConfig { subnet: bridged.subnet.to_string(), gateway: bridged.gateway.to_string() });
        let here = endpoints.iter().filter(|endpoint| endpoint.network_id == network.id);
        Inspection {
            name: network.name.clone(),
            id: network.id.clone(),
            created: network.created.clone(),
            scope: "local",
            driver: network.driver.to_string(),
            enable_ipv6: false,
            ipam: Ipam { driver: "default", options: BTreeMap::new(), config: config.collect() },
            internal: false,
            attachable: false,
            ingress: false,
            config_from: ConfigFrom { network: String::new() },
            config_only: false,
            containers: here.map(|endpoint| (endpoint.owner.container.clone(), Connected::of(endpoint))).collect(),
            options,
            labels: network.labels.clone(),
        }
    }
}

impl Connected {
    fn of(endpoint: &EndpointRecord) -> Connected {
        let attachment = endpoint.attachment.as_ref();
        Connected {
            name: endpoint.owner.name.clone(),
            endpoint_id: endpoint.id.clone(),
            mac_address: attachment.map(|a| a.mac.to_string()).unwrap_or_default(),
            ipv4_address: attachment.map(|a| format!("{}/{}", a.address, a.subnet.prefix())).unwrap_or_default(),
            ipv6_address: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inspect_has_dockers_keys_in_dockers_order() {
        let network = Network {
            name: "mynetwork".into(),
            id: "ab".repeat(32),
            created: "2021-04-19T22:18:28.200260231+08:00".into(),
            driver: Driver::Bridge,
            bridged: Some(Bridged {
                subnet: "192.168.0.0/16".parse().unwrap(),
                gateway: "192.168.0.1".parse().unwrap(),
                bridge: "rbox-mynetwork".into(),
                mac: "02:42:00:00:00:01".parse().unwrap(),
            }),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        let text = serde_json::to_string(&Inspection::of(&network, &[])).unwrap();
        let id = "ab".repeat(32);
        assert_eq!(
            text,
            format!(
                r#"{{"Name":"mynetwork","Id":"{id}","Created":"2021-04-19T22:18:28.200260231+08:00","Scope":"local","Driver":"bridge","EnableIPv6":false,"IPAM":{{"Driver":"default","Options":{{}},"Config":[{{"Subnet":"192.168.0.0/16","Gateway":"192.168.0.1"}}]}},"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{{"Network":""}},"ConfigOnly":false,"Containers":{{}},"Options":{{}},"Labels":{{}}}}"#
            )
        );
        let back: Network = serde_json::from_str(&serde_json::to_string(&network).unwrap()).unwrap();
        assert_eq!(back, network);
    }
}
