//! The network's configuration: the keys of CNI, those of the reference plugins `bridge` and `host-local` where rbox has
//! the same, and the words of `rbox network create`. docs/networks.md lists them.
//!
//! A key that nobody here knows is refused: it could change what the network is, or be mistyped. Those that others put
//! there for themselves have a `/` or `.` in their name, as `cni.dev/…`, or begin with `_`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use rbox_net::{MacAddress, Subnet};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::answer::Dns;
use crate::call;
use crate::failure::{Code, Failure, Outcome};

/// The versions of CNI that we speak, the oldest first.
pub(crate) const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", LATEST];
/// The latest of them.
pub(crate) const LATEST: &str = "1.1.0";

/// What every verb needs. `DEL` reads no more, so that whatever was configured since cannot keep a pod from going.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Basics {
    #[serde(rename = "cniVersion", default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    pub(crate) state_dir: Option<PathBuf>,
    #[serde(default)]
    pub(crate) data_dir: Option<PathBuf>,
    #[serde(default)]
    pub(crate) prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments", default)]
    pub(crate) valid: Option<Vec<Attachment>>,
}

/// Of `GC`: one that is to stay.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Attachment {
    #[serde(rename = "containerID")]
    pub(crate) container: String,
    pub(crate) ifname: String,
}

impl Basics {
    /// Read them.
    pub(crate) fn read(text: &str) -> Outcome<Basics> {
        let basics: Basics = serde_json::from_str(text).map_err(wrong)?;
        if !VERSIONS.contains(&basics.version.as_str()) {
            let said = if basics.version.is_empty() { "none" } else { &basics.version };
            let why = format!("cniVersion {said} is none of {}", VERSIONS.join(", "));
            return Err(Failure::new(Code::Version, why));
        }
        if !call::is_id(&basics.name) {
            let why = "a name begins with a letter or digit, and has no others than those and _ . -";
            return Err(Failure::new(Code::Configuration, format!("network {}: {why}", basics.name)));
        }
        Ok(basics)
    }

    /// Whether we are called as `loopback` of the reference plugins.
    pub(crate) fn is_loopback(&self) -> bool {
        self.kind == "loopback"
    }

    /// Whether it is of an older CNI than `version`, one of [`VERSIONS`].
    pub(crate) fn is_before(&self, version: &str) -> bool {
        let place = |version: &str| VERSIONS.iter().position(|known| *known == version);
        place(&self.version) < place(version)
    }
}

fn wrong(error: serde_json::Error) -> Failure {
    let code = if error.is_data() { Code::Configuration } else { Code::Decoding };
    Failure::new(code, format!("cannot understand the network configuration: {error}"))
}

/// All of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Conf {
    // As the reference plugin `bridge` has them.
    pub(crate) bridge: Option<String>,
    pub(crate) is_gateway: Option<bool>,
    pub(crate) is_default_gateway: Option<bool>,
    pub(crate) ip_masq: Option<bool>,
    pub(crate) mtu: Option<u32>,
    pub(crate) hairpin_mode: Option<bool>,
    pub(crate) port_isolation: Option<bool>,
    #[serde(default)]
    pub(crate) ipam: Ipam,
    #[serde(default)]
    pub(crate) dns: Dns,
    // As `rbox network create` has them.
    #[serde(default)]
    pub(crate) subnet: Several<Subnet>,
    #[serde(default)]
    pub(crate) gateway: Several<IpAddr>,
    #[serde(rename = "ip-range", default)]
    pub(crate) range: Several<Subnet>,
    #[serde(default)]
    pub(crate) ipv6: bool,
    #[serde(default)]
    pub(crate) internal: bool,
    #[serde(default)]
    pub(crate) opt: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) label: BTreeMap<String, String>,
    // What the engine adds for one container.
    #[serde(default)]
    pub(crate) args: Args,
    #[serde(default)]
    pub(crate) runtime_config: RuntimeConfig,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// One, or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Several<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for Several<T> {
    fn default() -> Several<T> {
        Several::Many(Vec::new())
    }
}

impl<T: Clone> Several<T> {
    pub(crate) fn all(&self) -> Vec<T> {
        match self {
            Several::One(one) => vec![one.clone()],
            Several::Many(many) => many.clone(),
        }
    }
}

/// `ipam`, as the reference plugin `host-local` has it. Its `dataDir` has no meaning here: leases are where rbox's are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ipam {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(deserialize_with = "or_null")]
    pub(crate) ranges: Vec<Vec<Range>>,
    /// The one range of an older form.
    #[serde(flatten)]
    pub(crate) range: Range,
    pub(crate) routes: Option<Vec<Route>>,
    pub(crate) resolv_conf: Option<PathBuf>,
}

/// A subnet, and what of it is for pods.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Range {
    pub(crate) subnet: Option<Subnet>,
    pub(crate) range_start: Option<IpAddr>,
    pub(crate) range_end: Option<IpAddr>,
    pub(crate) gateway: Option<IpAddr>,
}

/// Where pods send what is for a subnet.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Route {
    pub(crate) dst: Subnet,
    pub(crate) gw: Option<IpAddr>,
}

/// `args`: CONVENTIONS.md, "args".
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Args {
    pub(crate) cni: Wishes,
}

/// What is wished for one container.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wishes {
    pub(crate) ips: Vec<String>,
    pub(crate) mac: Option<MacAddress>,
}

/// `runtimeConfig`: what the engine says of the capabilities that the configuration names. CONVENTIONS.md, "Dynamic Plugin
/// specific Fields".
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RuntimeConfig {
    #[serde(deserialize_with = "or_null")]
    pub(crate) port_mappings: Vec<PortMapping>,
    #[serde(deserialize_with = "or_null")]
    pub(crate) ips: Vec<String>,
    pub(crate) mac: Option<MacAddress>,
    #[serde(deserialize_with = "or_null")]
    aliases: Aliases,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl RuntimeConfig {
    /// Further names in the network that is called so.
    pub(crate) fn aliases(&self, network: &str) -> Vec<String> {
        match &self.aliases {
            Aliases::List(names) => names.clone(),
            Aliases::OfNetworks(all) => all.get(network).cloned().unwrap_or_default(),
        }
    }
}

/// CONVENTIONS.md has a list, podman says of all its networks.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Aliases {
    List(Vec<String>),
    OfNetworks(BTreeMap<String, Vec<String>>),
}

impl Default for Aliases {
    fn default() -> Aliases {
        Aliases::List(Vec::new())
    }
}

/// Go writes an empty list as `null`.
fn or_null<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// A port of the host that is to lead into the pod. containerd writes the keys with a capital (go-cni names them nowhere,
/// and Go reads both).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortMapping {
    #[serde(alias = "HostPort")]
    pub(crate) host_port: u32,
    #[serde(alias = "ContainerPort")]
    pub(crate) container_port: u32,
    #[serde(alias = "Protocol", default)]
    pub(crate) protocol: String,
    #[serde(rename = "hostIP", alias = "HostIP", default)]
    pub(crate) host_ip: String,
}

/// What `bridge` has and we do not, and where it changes nothing: as it is there when it is not said.
const NOT_HAD: [&str; 11] = [
    "disableContainerInterface",
    "enabledad",
    "forceAddress",
    "ingressPolicy",
    "ipMasqBackend",
    "macspoofchk",
    "preserveDefaultVlan",
    "promiscMode",
    "uplinkInterface",
    "vlan",
    "vlanTrunk",
];
/// Capabilities that we do not have: an engine that says something of them counts on it.
const NOT_CAPABLE: [&str; 4] = ["bandwidth", "deviceID", "infinibandGUID", "ipRanges"];
/// Keys of CNI itself, which [`Basics`] or nobody here reads.
const OF_CNI: [&str; 9] =
    ["capabilities", "cniVersion", "cniVersions", "dataDir", "disableCheck", "name", "prevResult", "stateDir", "type"];

impl Conf {
    /// Read it.
    pub(crate) fn read(text: &str) -> Outcome<Conf> {
        let conf: Conf = serde_json::from_str(text).map_err(wrong)?;
        for (key, value) in &conf.rest {
            let is_others = key.contains(['/', '.']) || key.starts_with('_') || OF_CNI.contains(&key.as_str());
            let is_unsaid = NOT_HAD.contains(&key.as_str()) && is_nothing(value);
            if !is_others && !is_unsaid {
                return Err(unsupported(key, value));
            }
        }
        let rest = &conf.runtime_config.rest;
        if let Some((key, value)) = NOT_CAPABLE.iter().find_map(|key| Some((key, rest.get(*key)?))) {
            return Err(unsupported(&format!("runtimeConfig.{key}"), value));
        }
        if let Some(kind) = conf.ipam.kind.as_deref().filter(|kind| !["", "host-local", "rbox"].contains(kind)) {
            return Err(unsupported("ipam.type", &kind.into()).hint("rbox leases the addresses itself"));
        }
        if conf.is_gateway == Some(false) {
            let hint = "the bridge always has an address; with \"internal\": true nothing leads out";
            return Err(unsupported("isGateway", &false.into()).hint(hint));
        }
        if conf.hairpin_mode == Some(false) {
            return Err(unsupported("hairpinMode", &false.into()).hint("a pod always reaches itself by its ports"));
        }
        Ok(conf)
    }
}

/// SPEC.md: "The error message must contain the key and value of the unsupported field."
fn unsupported(key: &str, value: &Value) -> Failure {
    Failure::new(Code::Unsupported, format!("{key}: {value} is not supported"))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(said) => !said,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        let said = Conf::read(text).unwrap_err().said_in(LATEST);
        format!("{} {}", said["code"], said["msg"].as_str().unwrap_or_default())
    }

    #[test]
    fn a_configuration_of_the_reference_plugins_is_understood() {
        let text = r#"{
            "cniVersion": "1.0.0", "name": "pods", "type": "rbox-cni", "bridge": "cni0", "isGateway": true,
            "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true, "mtu": 1450, "promiscMode": false, "vlan": 0,
            "capabilities": {"portMappings": true}, "cni.dev/attachments": [], "_comment": "ours",
            "ipam": {"type": "host-local", "dataDir": "/var/lib/cni", "ranges": [[{"subnet": "10.88.0.0/24",
            "rangeStart": "10.88.0.10", "gateway": "10.88.0.1"}]], "routes": [{"dst": "0.0.0.0/0"}]},
            "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}],
            "io.kubernetes.cri.pod-annotations": {"a": "b"}}
        }"#;
        let conf = Conf::read(text).unwrap();
        assert_eq!(conf.ipam.ranges[0][0].subnet, Some("10.88.0.0/24".parse().unwrap()));
        assert_eq!(conf.runtime_config.port_mappings[0].container_port, 80);
        let older = Conf::read(r#"{"ipam": {"subnet": "10.88.0.0/24", "rangeEnd": "10.88.0.9"}}"#).unwrap();
        assert_eq!(older.ipam.range.range_end, Some("10.88.0.9".parse().unwrap()));
    }

    #[test]
    fn what_engines_written_in_go_say_is_understood() {
        let said = |run: &str| Conf::read(&format!(r#"{{"runtimeConfig": {run}}}"#)).unwrap().runtime_config;
        assert!(said(r#"{"portMappings": null, "ips": null, "aliases": null}"#).aliases("pods").is_empty());
        assert_eq!(said(r#"{"aliases": ["a", "b"]}"#).aliases("pods"), ["a", "b"]);
        let all = said(r#"{"aliases": {"pods": ["a"], "others": ["b"]}}"#);
        assert_eq!((all.aliases("pods"), all.aliases("none")), (vec!["a".to_owned()], Vec::new()));
    }

    #[test]
    fn what_would_change_the_network_and_is_not_had_is_refused_with_key_and_value() {
        assert_eq!(why(r#"{"vlan": 7}"#), "2 vlan: 7 is not supported");
        assert_eq!(why(r#"{"isDefaultGatway": true}"#), "2 isDefaultGatway: true is not supported");
        assert_eq!(why(r#"{"ipam": {"type": "dhcp"}}"#), "2 ipam.type: \"dhcp\" is not supported");
        assert_eq!(why(r#"{"isGateway": false}"#), "2 isGateway: false is not supported");
        assert_eq!(why(r#"{"hairpinMode": false}"#), "2 hairpinMode: false is not supported");
        let bandwidth = why(r#"{"runtimeConfig": {"bandwidth": {"ingressRate": 1}}}"#);
        assert_eq!(bandwidth, r#"2 runtimeConfig.bandwidth: {"ingressRate":1} is not supported"#);
        assert!(why(r#"{"mtu": "big"}"#).starts_with("7 cannot understand the network configuration: invalid type"));
        assert!(why("{").starts_with("6 cannot understand the network configuration: EOF"));
    }

    #[test]
    fn every_key_is_in_the_documentation() {
        let docs = include_str!("../../docs/networks.md");
        let docs = docs.split_once("## Kubernetes and containerd").unwrap().1;
        let keys = "bridge mtu isDefaultGateway ipMasq isGateway hairpinMode portIsolation ranges rangeStart rangeEnd routes \
            resolvConf dns subnet gateway ip-range ipv6 internal opt label stateDir dataDir portMappings ips mac aliases args.cni";
        for key in keys.split_ascii_whitespace() {
            assert!(docs.contains(key), "{key} is not in docs/networks.md");
            // What is not a key would be refused as unknown, by another number.
            let nested = ["ranges", "rangeStart", "rangeEnd", "routes", "resolvConf", "portMappings", "ips", "mac"];
            let others = ["dns", "aliases", "args.cni", "stateDir", "dataDir"];
            if !nested.contains(&key) && !others.contains(&key) {
                assert!(why(&format!(r#"{{"{key}": [[]]}}"#)).starts_with("7 "), "{key} is no key");
            }
        }
        for code in [1, 2, 4, 5, 6, 7, 11, 50, 51, 100, 101, 102, 103, 104, 105, 106] {
            let row = docs.split_once("| code of an error").unwrap().1;
            assert!(row.contains(&code.to_string()), "{code}");
        }
    }

    #[test]
    fn versions_are_those_we_speak_and_have_an_order() {
        let read = |version: &str| Basics::read(&format!(r#"{{"cniVersion": "{version}", "name": "pods"}}"#));
        assert!(read("0.4.0").unwrap().is_before("1.1.0") && !read("1.1.0").unwrap().is_before("1.1.0"));
        for other in ["", "0.2.0", "0.3.0", "2.0.0"] {
            assert_eq!(read(other).unwrap_err().said_in(LATEST)["code"], 1);
        }
        let nameless = Basics::read(r#"{"cniVersion": "1.0.0"}"#).unwrap_err().said_in(LATEST);
        assert_eq!(nameless["code"], 7);
    }
}
