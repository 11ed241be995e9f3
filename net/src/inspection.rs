//! `network inspect`: Docker's keys in Docker's order (A-130 to A-141), and the leases.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use jiff::{Timestamp, Zoned};
use serde::Serialize;

use crate::endpoint::EndpointRecord;
use crate::network::{Bridge, Network, Passage, Pool};

/// What is known of a network now.
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
    leases: Vec<Leased>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    driver: &'static str,
    /// None of the networks that are there from the beginning.
    options: Option<BTreeMap<String, String>>,
    config: Vec<IpamConfig>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct IpamConfig {
    subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "BTreeMap::is_empty")]
    reserved: BTreeMap<String, IpAddr>,
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

/// An address that is leased: by whom, and since when. Not Docker's.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Leased {
    address: IpAddr,
    owner: String,
    /// The process that answers for it; of a pod, where its network namespace is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<PathBuf>,
    leased_at: String,
    age_seconds: i64,
}

impl Inspection {
    /// Describe `network` with the endpoints that are in it.
    pub(crate) fn of(network: &Network, endpoints: &[EndpointRecord]) -> Inspection {
        let mut options = network.options.clone();
        if let (Some(bridge), true) = (&network.bridge, network.is_predefined()) {
            options.extend(of_default_bridge(network, bridge));
        }
        let here: Vec<&EndpointRecord> =
            endpoints.iter().filter(|endpoint| endpoint.network_id == network.id).collect();
        Inspection {
            name: network.name.clone(),
            id: network.id.clone(),
            created: network.created.clone(),
            scope: "local",
            driver: network.driver.to_string(),
            enable_ipv6: network.ipv6,
            ipam: Ipam {
                driver: "default",
                options: (!network.is_predefined()).then(BTreeMap::new),
                config: network.pools.iter().map(IpamConfig::of).collect(),
            },
            internal: network.internal,
            attachable: false,
            ingress: false,
            config_from: ConfigFrom { network: String::new() },
            config_only: false,
            containers: here.iter().map(|it| (it.owner.container.clone(), Connected::of(it))).collect(),
            options,
            labels: network.labels.clone(),
            leases: leases(&here),
        }
    }
}

/// What Docker says of its default bridge: nobody typed it, and programs look there for the bridge's name.
fn of_default_bridge(network: &Network, bridge: &Bridge) -> impl Iterator<Item = (String, String)> {
    let binding = bridge.binding.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let bridge_options = [
        ("default_bridge", "true".to_owned()),
        ("enable_icc", bridge.icc.to_string()),
        ("enable_ip_masquerade", (bridge.passage[0] == Passage::Nat).to_string()),
        ("host_binding_ipv4", binding.to_string()),
        ("name", bridge.name.clone()),
    ];
    let mtu = network.mtu_bytes.map(|bytes| ("com.docker.network.driver.mtu".to_owned(), bytes.to_string()));
    bridge_options.into_iter().map(|(key, value)| (format!("com.docker.network.bridge.{key}"), value)).chain(mtu)
}

impl IpamConfig {
    fn of(pool: &Pool) -> IpamConfig {
        IpamConfig {
            subnet: pool.subnet.to_string(),
            range: pool.range_words(),
            gateway: pool.gateway.map(|gateway| gateway.to_string()),
            reserved: pool.reserved.clone(),
        }
    }
}

impl Connected {
    fn of(endpoint: &EndpointRecord) -> Connected {
        let attachment = endpoint.attachment.as_ref();
        let v6 = attachment.and_then(|it| it.v6.as_ref());
        Connected {
            name: endpoint.owner.name.clone(),
            endpoint_id: endpoint.id.clone(),
            mac_address: attachment.map(|it| it.mac.to_string()).unwrap_or_default(),
            ipv4_address: attachment.map(|it| format!("{}/{}", it.address, it.subnet.prefix())).unwrap_or_default(),
            ipv6_address: v6.map(|it| format!("{}/{}", it.address, it.subnet.prefix())).unwrap_or_default(),
        }
    }
}

fn leases(endpoints: &[&EndpointRecord]) -> Vec<Leased> {
    let now = Zoned::now();
    let mut leases: Vec<Leased> = endpoints
        .iter()
        .flat_map(|endpoint| {
            let attachment = endpoint.attachment.as_ref();
            let v4 = attachment.map(|it| IpAddr::V4(it.address));
            let v6 = attachment.and_then(|it| it.v6.as_ref()).map(|it| IpAddr::V6(it.address));
            v4.into_iter().chain(v6).map(move |address| (address, *endpoint))
        })
        .map(|(address, endpoint)| Leased {
            address,
            owner: endpoint.owner.name.clone(),
            pid: endpoint.owner.netns.is_none().then_some(endpoint.owner.pid),
            netns: endpoint.owner.netns.as_ref().map(|netns| netns.path.clone()),
            leased_at: endpoint.leased.clone(),
            age_seconds: endpoint
                .leased
                .parse()
                .map_or(0, |at: Timestamp| now.timestamp().duration_since(at).as_secs()),
        })
        .collect();
    leases.sort_by_key(|lease| lease.address);
    leases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Driver;

    #[test]
    fn inspect_has_dockers_keys_in_dockers_order() {
        let mut network =
            Network::new("mynetwork", "ab".repeat(32), "2021-04-19T22:18:28.200260231+08:00".into(), Driver::Bridge);
        network.pools = vec![Pool {
            subnet: "192.168.0.0/16".parse().unwrap(),
            gateway: Some("192.168.0.1".parse().unwrap()),
            range: None,
            span: None,
            reserved: BTreeMap::new(),
        }];
        network.bridge = Some(Bridge {
            name: "rb-abababababab".into(),
            mac: "02:42:00:00:00:01".parse().unwrap(),
            icc: true,
            passage: [Passage::Nat; 2],
            binding: None,
        });
        let text = serde_json::to_string(&Inspection::of(&network, &[])).unwrap();
        let id = "ab".repeat(32);
        assert_eq!(
            text,
            format!(
                r#"{{"Name":"mynetwork","Id":"{id}","Created":"2021-04-19T22:18:28.200260231+08:00","Scope":"local","Driver":"bridge","EnableIPv6":false,"IPAM":{{"Driver":"default","Options":{{}},"Config":[{{"Subnet":"192.168.0.0/16","Gateway":"192.168.0.1"}}]}},"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{{"Network":""}},"ConfigOnly":false,"Containers":{{}},"Options":{{}},"Labels":{{}},"Leases":[]}}"#
            )
        );
        let back: Network = serde_json::from_str(&serde_json::to_string(&network).unwrap()).unwrap();
        assert_eq!(back, network);
    }
}
