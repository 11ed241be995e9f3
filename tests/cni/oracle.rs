//! The same configuration for rbox-cni and for the reference plugins of Debian's containernetworking-plugins, which an
//! administrator chains: bridge with host-local, portmap, firewall. The same must be reached, and the results have one shape.

use super::stage::{Answer, Pod, Stage, address};
use crate::support::{need, skip};
use serde_json::{Value, json};
use std::path::Path;

/// Where the package puts them.
const PLUGINS: &str = "/usr/lib/cni";

/// Who joins pods.
trait Side {
    fn add(&self, stage: &Stage, pod: &Pod, ports: &Value) -> Value;
    fn del(&self, stage: &Stage, pod: &Pod, ports: &Value);
}

/// The keys that both sides are given.
fn conf(kind: &str, version: &str) -> Value {
    json!({
        "cniVersion": version, "name": "pods", "type": kind, "bridge": "cni0", "isGateway": true,
        "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true, "mtu": 1400,
        "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.88.0.0/24", "rangeStart": "10.88.0.10" }]] }
    })
}

struct Ours(&'static str);

impl Ours {
    fn conf(&self, ports: &Value) -> Value {
        let mut conf = conf("rbox-cni", self.0);
        conf["capabilities"] = json!({ "portMappings": true });
        conf["runtimeConfig"] = json!({ "portMappings": ports });
        conf
    }
}

impl Side for Ours {
    fn add(&self, stage: &Stage, pod: &Pod, ports: &Value) -> Value {
        stage.call("ADD", pod, &self.conf(ports)).ok()
    }

    fn del(&self, stage: &Stage, pod: &Pod, ports: &Value) {
        stage.call("DEL", pod, &self.conf(ports)).ok();
    }
}

/// bridge, portmap, firewall, each with the result of the one before.
struct Theirs(&'static str);

impl Theirs {
    /// firewall speaks CNI 0.4.0 and later.
    fn chain(&self) -> &'static [&'static str] {
        if self.0 == "0.3.1" { &["bridge", "portmap"] } else { &["bridge", "portmap", "firewall"] }
    }

    fn call(&self, stage: &Stage, verb: &str, pod: &Pod, (kind, previous, ports): (&str, &Value, &Value)) -> Answer {
        let mut conf = match kind {
            "bridge" => conf("bridge", self.0),
            _ => json!({ "cniVersion": self.0, "name": "pods", "type": kind }),
        };
        conf["ipam"]["dataDir"] = stage.host.path("leases").display().to_string().into();
        if kind == "portmap" {
            conf["capabilities"] = json!({ "portMappings": true });
            conf["runtimeConfig"] = json!({ "portMappings": ports });
        }
        if kind == "firewall" {
            conf["backend"] = "iptables".into();
        }
        if previous.is_object() {
            conf["prevResult"] = previous.clone();
        }
        stage.plugin(&Path::new(PLUGINS).join(kind), verb, pod, &conf)
    }
}

impl Side for Theirs {
    fn add(&self, stage: &Stage, pod: &Pod, ports: &Value) -> Value {
        let mut result = Value::Null;
        for kind in self.chain() {
            result = self.call(stage, "ADD", pod, (kind, &result, ports)).ok();
        }
        result
    }

    fn del(&self, stage: &Stage, pod: &Pod, ports: &Value) {
        for kind in self.chain().iter().rev() {
            self.call(stage, "DEL", pod, (kind, &Value::Null, ports)).ok();
        }
    }
}

/// What is reached from where, in words; and the result with what differs by chance taken out.
fn world(side: &dyn Side) -> (Vec<String>, Value) {
    let stage = Stage::new();
    // Reference plugins leave their locks and leases here.
    stage.host.shell("mount -t tmpfs tmpfs /var/lib").ok();
    let (web, other) = (stage.pod("web"), stage.pod("other"));
    let ports = json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
        { "hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1" },
        { "hostPort": 8082, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.2" }]);
    let result = side.add(&stage, &web, &ports);
    side.add(&stage, &other, &json!([]));
    stage.serve(&web, 80);
    let ip = address(&result);
    let me = format!("\"me\":\"{ip}:80\"");
    let mut reached = Vec::new();
    let mut note = |what: String, line: &str| {
        let from = line.split("\"you\":\"").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default();
        // Who seems to call: a translated address hides the caller.
        reached.push(format!("{what}: {} {from}", if line.contains(&me) { "yes" } else { "no" }));
    };
    note("pod to pod".into(), &stage.connect(&other, &ip, 80));
    note("host to pod".into(), &stage.host.connect(&ip, 80, "tcp").stdout);
    for port in [8080, 8081, 8082] {
        note(format!("outside to {port}"), &stage.host.neighbour().connect("192.0.2.2", port, "tcp").stdout);
        note(format!("host's address {port}"), &stage.host.connect("192.0.2.2", port, "tcp").stdout);
        note(format!("loopback {port}"), &stage.host.connect("127.0.0.1", port, "tcp").stdout);
        note(format!("pod to {port}"), &stage.connect(&other, "192.0.2.2", port));
        note(format!("itself {port}"), &stage.connect(&web, "192.0.2.2", port));
    }
    let outside = stage.inside(&other, "ping -c 1 -W 5 192.0.2.3 >/dev/null && echo yes");
    reached.push(format!("pod to outside: {}", outside.stdout.trim()));
    reached.push(
        stage
            .inside(&web, "ip -4 route; cat /sys/class/net/eth0/mtu; ip -o link show eth0 | grep -o 'state [A-Z]*'")
            .stdout,
    );
    side.del(&stage, &web, &ports);
    let closed = stage.host.neighbour().connect("192.0.2.2", 8080, "tcp").stdout;
    reached.push(format!("when it has gone: {}", closed.contains(&me)));
    (reached, shape(result))
}

/// Hardware addresses and names of cables are by chance, and the order of keys is nobody's.
fn shape(mut result: Value) -> Value {
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        if interface["mac"].as_str().is_some_and(|mac| mac.len() == 17) {
            interface["mac"] = "a hardware address".into();
        }
        if interface["name"].as_str().is_some_and(|name| name.starts_with("veth")) {
            interface["name"] = "a cable".into();
        }
        // Of the package's version only CNI 1.0: 1.1 says the MTU too.
        interface.as_object_mut().unwrap().remove("mtu");
        interface.as_object_mut().unwrap().retain(|_, value| value != "");
    }
    // bridge says of the default gateway that it is asked for twice; a route is one route.
    let mut routes: Vec<Value> = Vec::new();
    for route in result["routes"].as_array().cloned().unwrap_or_default() {
        if !routes.iter().any(|known| known["dst"] == route["dst"]) {
            routes.push(json!({ "dst": route["dst"] }));
        }
    }
    result["routes"] = routes.into();
    // To compare without the order of keys.
    serde_json::from_str(&sorted(&result).to_string()).unwrap()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(all) => {
            let mut keys: Vec<_> = all.iter().collect();
            keys.sort_by_key(|(key, _)| key.as_str());
            keys.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(all) => all.iter().map(sorted).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

#[test]
fn the_chain_of_the_reference_plugins_and_rbox_cni_reach_the_same_and_say_the_same() {
    need!(Root, Iptables);
    if !Path::new(PLUGINS).join("bridge").exists() {
        return skip(&format!("{PLUGINS}/bridge is not installed"));
    }
    for version in ["0.3.1", "0.4.0", "1.0.0"] {
        let (theirs, their_result) = world(&Theirs(version));
        let (ours, our_result) = world(&Ours(version));
        assert_eq!(our_result, their_result, "the result of CNI {version}");
        assert_eq!(ours, theirs, "what is reached, with CNI {version}");
    }
}
