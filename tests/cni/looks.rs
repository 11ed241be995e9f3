//! `CHECK`, `STATUS` and `GC`: what engines ask while pods run.

use super::stage::{Pod, Stage, address, told};
use crate::support::need;
use serde_json::{Value, json};

/// The configuration with what `ADD` answered.
fn after(conf: &Value, result: &Value) -> Value {
    let mut conf = conf.clone();
    conf["prevResult"] = result.clone();
    conf
}

#[test]
fn check_says_what_is_not_as_it_was_made() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24" }));
    let ports = told(&conf, &json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80 }] }));
    let pod = stage.pod("web");
    stage.call("CHECK", &pod, &conf).fails(7, "prevResult is missing");
    let empty = after(&conf, &json!({}));
    stage.call("CHECK", &pod, &empty).fails(105, "it is not connected by rbox-cni");
    let gone = Pod { name: "gone", ..Pod::new("web") };
    stage.call("CHECK", &gone, &empty).fails(4, "CNI_NETNS: cannot open the network namespace /run/netns/gone");
    let harms = [
        ("ip link set eth0 down", "interface eth0 is down"),
        ("ip addr del 10.88.0.2/24 dev eth0", "interface eth0 has no address 10.88.0.2/24"),
        (
            "ip link set eth0 address 02:00:00:00:00:01",
            "has the hardware address 02:00:00:00:00:01, not 02:42:0a:58:00:02",
        ),
        ("ip route del default", "no route to 0.0.0.0/0 via 10.88.0.1 by eth0"),
        ("ip link set eth0 name eth7", "interface eth0 is not there"),
    ];
    for (harm, words) in harms {
        let result = stage.call("ADD", &pod, &ports).ok();
        assert_eq!(stage.call("CHECK", &pod, &after(&ports, &result)).ok(), Value::Null);
        // A route that a later plugin has made is none of ours.
        stage.inside(&pod, "ip route add 10.99.0.0/16 via 10.88.0.1").ok();
        stage.call("CHECK", &pod, &after(&ports, &result)).ok();
        stage.inside(&pod, harm).ok();
        let said = stage.call("CHECK", &pod, &after(&ports, &result)).fails(105, "container 7765");
        assert!(said["details"].as_str().unwrap().contains(words), "{words}: {said:#}");
        stage.call("DEL", &pod, &ports).ok();
    }
    let result = stage.call("ADD", &pod, &ports).ok();
    let mut wrong = result.clone();
    wrong["ips"][0]["address"] = "10.88.0.9/24".into();
    stage.call("CHECK", &pod, &after(&ports, &wrong)).fails(105, "prevResult says address 10.88.0.9/24");
    let cable = result["interfaces"][1]["name"].as_str().unwrap();
    stage.host.shell(&format!("ip link set {cable} nomaster")).ok();
    stage.call("CHECK", &pod, &after(&ports, &result)).fails(105, "is no port of");
    stage.host.shell(&format!("ip link set {cable} master {}", result["interfaces"][0]["name"].as_str().unwrap())).ok();
    // Rules of its own, and those that all share.
    stage.host.shell("nft flush ruleset").ok();
    let all = stage.call("CHECK", &pod, &after(&ports, &result)).fails(105, "rule is not there");
    let details = all["details"].as_str().unwrap().to_lowercase();
    assert!(details.contains("8080") && details.contains("masquerade"), "{all:#}");
    stage.host.rbox(&["network", "reload"]).ok();
    stage.call("CHECK", &pod, &after(&ports, &result)).ok();
}

#[test]
fn status_says_whether_a_pod_could_join() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/30" }));
    let (pod, other) = (stage.pod("web"), stage.pod("other"));
    let status = |conf: &Value| stage.call("STATUS", &pod, conf);
    assert_eq!(status(&conf).ok(), Value::Null);
    assert!(!stage.host.rbox(&["network", "ls"]).ok().stdout.contains("pods"), "to ask makes no network");
    status(&stage.conf(&json!({ "vlan": 3 }))).fails(2, "vlan: 3");
    stage.call("ADD", &pod, &conf).ok();
    status(&conf).fails(50, "all of 10.88.0.0/30 are leased");
    stage.call("ADD", &other, &conf).fails(104, "all of 10.88.0.0/30 are leased");
    let another = stage.conf(&json!({ "subnet": "10.89.0.0/24" }));
    status(&another).fails(50, "it is there, and has not the subnet 10.89.0.0/24");
    stage.host.shell("nft flush ruleset").ok();
    let limited = status(&conf).fails(51, "is not there");
    assert!(limited["details"].as_str().unwrap().contains("rbox network reload pods"));
    stage.host.rbox(&["network", "reload"]).ok();
    stage.call("DEL", &pod, &conf).ok();
    status(&conf).ok();
}

#[test]
fn gc_takes_away_what_is_not_named_of_this_network_alone() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24" }));
    let elsewhere = stage.conf(&json!({ "name": "others", "subnet": "10.89.0.0/24" }));
    let (stays, goes) = (stage.pod("stays"), stage.pod("goes"));
    let ip = address(&stage.call("ADD", &stays, &conf).ok());
    stage.call("ADD", &Pod { interface: "net1", ..Pod::new("stays") }, &conf).ok();
    stage.call("ADD", &goes, &conf).ok();
    stage.call("ADD", &Pod { interface: "net2", ..Pod::new("goes") }, &elsewhere).ok();
    let mut collect = conf.clone();
    stage.call("GC", &stays, &conf).fails(7, "cni.dev/valid-attachments is missing");
    collect["cni.dev/valid-attachments"] = json!([{ "containerID": stays.id, "ifname": "eth0" }]);
    assert_eq!(stage.call("GC", &stays, &collect).ok(), Value::Null);
    assert_eq!(stage.leases(), [ip]);
    assert_eq!(
        stage.inside(&stays, "ls /sys/class/net >/dev/null; ip -o link | grep -c 'eth0\\|net1'").stdout.trim(),
        "1"
    );
    assert_eq!(stage.inside(&goes, "ip -o link | grep -c 'eth0\\|net2'").stdout.trim(), "1", "the other network's");
    collect["cni.dev/valid-attachments"] = json!([]);
    stage.call("GC", &stays, &collect).ok();
    stage.call("GC", &stays, &collect).ok();
    assert_eq!(stage.leases(), Vec::<String>::new());
}
