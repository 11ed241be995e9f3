//! What `ADD` answers: the result of CNI, in the version that is spoken. SPEC.md, section 5, "Success".

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use rbox_net::{Attachment, Joined, Link, Network, Way};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::conf::Basics;
use crate::failure::{Code, Failure, Outcome};

/// How names are to be resolved in the pod: it is handed on, the engine writes it down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Dns {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nameservers: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    search: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<String>,
}

impl Dns {
    /// Read `ipam.resolvConf`: resolv.conf(5).
    pub(crate) fn of_file(path: &Path) -> Outcome<Dns> {
        let text = fs::read_to_string(path).map_err(|error: io::Error| {
            Failure::new(Code::Configuration, format!("ipam.resolvConf: cannot read {}: {error}", path.display()))
        })?;
        let mut dns = Dns::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let key = words.next().unwrap_or_default();
            let values = words.map(str::to_owned);
            match key {
                "nameserver" => dns.nameservers.extend(values.take(1)),
                "domain" => dns.domain = values.take(1).collect(),
                // The last one counts.
                "search" => dns.search = values.collect(),
                "options" => dns.options.extend(values),
                _ => {}
            }
        }
        Ok(dns)
    }
}

/// The result of a pod that has joined, behind that of the plugins before us.
pub(crate) fn joined(basics: &Basics, network: &Network, joined: &Joined, (netns, dns): (&Path, Dns)) -> Value {
    let mut result = before(basics);
    let first = result["interfaces"].as_array().map_or(0, Vec::len);
    let Some(attachment) = &joined.record.attachment else { return result };
    let has_mtu = !basics.is_before("1.1.0");
    let interfaces = interfaces(network, joined, attachment, netns);
    let own = first + interfaces.len() - 1;
    append(
        &mut result,
        "interfaces",
        interfaces.into_iter().map(|mut interface| {
            if has_mtu {
                interface["mtu"] = attachment.mtu_bytes.into();
            }
            interface
        }),
    );
    let v4 = (IpAddr::V4(attachment.address), attachment.subnet, attachment.gateway.map(IpAddr::V4));
    let v6 = attachment.v6.as_ref().map(|it| (IpAddr::V6(it.address), it.subnet, it.gateway.map(IpAddr::V6)));
    let ips = [Some(v4), v6].into_iter().flatten();
    append(
        &mut result,
        "ips",
        ips.map(|(address, subnet, gateway)| ip(basics, (address, subnet.prefix()), gateway, own)),
    );
    append(&mut result, "routes", joined.routes.iter().map(route));
    if dns != Dns::default() {
        result["dns"] = json!(dns);
    }
    result
}

/// The result of a loopback.
pub(crate) fn loopback(basics: &Basics, addresses: &[(IpAddr, u8)], netns: &Path) -> Value {
    let mut result = before(basics);
    let interface = json!({ "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": netns });
    let own = result["interfaces"].as_array().map_or(0, Vec::len);
    append(&mut result, "interfaces", [interface]);
    append(&mut result, "ips", addresses.iter().map(|address| ip(basics, *address, None, own)));
    result
}

/// "Plugins provided a prevResult as input must output it": what the plugins before us have answered.
fn before(basics: &Basics) -> Value {
    let mut result = basics.prev_result.clone().filter(Value::is_object).unwrap_or_else(|| json!({}));
    result["cniVersion"] = basics.version.as_str().into();
    if result.get("dns").is_none() {
        result["dns"] = Map::new().into();
    }
    result
}

fn append(result: &mut Value, key: &str, more: impl IntoIterator<Item = Value>) {
    let mut all = result[key].as_array().cloned().unwrap_or_default();
    all.extend(more);
    if !all.is_empty() {
        result[key] = all.into();
    }
}

/// The bridge, the cable's end at it, and at last the pod's own.
fn interfaces(network: &Network, joined: &Joined, attachment: &Attachment, netns: &Path) -> Vec<Value> {
    let mut interfaces = Vec::new();
    if let Some(bridge) = &network.bridge {
        interfaces.push(json!({ "name": bridge.name, "mac": bridge.mac }));
    }
    if let Link::Cable { host, .. } = &attachment.link {
        interfaces.push(json!({ "name": host, "mac": joined.host_mac }));
    }
    interfaces.push(json!({ "name": attachment.interface, "mac": attachment.mac, "sandbox": netns }));
    interfaces
}

fn ip(basics: &Basics, (address, prefix): (IpAddr, u8), gateway: Option<IpAddr>, interface: usize) -> Value {
    let mut ip = json!({ "address": format!("{address}/{prefix}"), "interface": interface });
    if let Some(gateway) = gateway {
        ip["gateway"] = gateway.to_string().into();
    }
    if basics.is_before("1.0.0") {
        ip["version"] = if address.is_ipv6() { "6" } else { "4" }.into();
    }
    ip
}

fn route(way: &Way) -> Value {
    let mut route = json!({ "dst": way.to.to_string() });
    if let Some(gateway) = way.gateway {
        route["gw"] = gateway.to_string().into();
    }
    route
}
