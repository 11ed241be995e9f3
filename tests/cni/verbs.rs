//! Each verb of the specification.

use super::stage::{Pod, Stage, address, told};
use crate::support::{need, plugin};
use serde_json::{Value, json};

#[test]
fn version_speaks_the_version_it_is_asked_in_and_lists_all() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let ask = |text: &str| stage.with(&plugin(), &[("CNI_COMMAND", "VERSION")], text);
    let all = json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    assert_eq!(ask(r#"{"cniVersion": "0.4.0"}"#).ok(), json!({ "cniVersion": "0.4.0", "supportedVersions": all }));
    assert_eq!(ask("").ok(), json!({ "cniVersion": "1.1.0", "supportedVersions": all }));
    ask("{").fails(6, "cannot understand the question");
}

#[test]
fn add_answers_what_the_pod_has_in_the_version_that_is_spoken() {
    need!(Root, Iptables);
    let stage = Stage::new();
    for (number, version) in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"].into_iter().enumerate() {
        let pod = stage.pod(["a", "b", "c", "d"][number]);
        let conf = stage
            .conf(&json!({ "cniVersion": version, "subnet": "10.88.0.0/24", "dns": {"nameservers": ["10.9.9.9"]} }));
        let result = stage.call("ADD", &pod, &conf).ok();
        let ip = format!("10.88.0.{}", number + 2);
        assert_eq!(result["cniVersion"], version);
        assert_eq!(result["dns"], json!({ "nameservers": ["10.9.9.9"] }));
        let interfaces = result["interfaces"].as_array().unwrap();
        assert_eq!(interfaces.len(), 3, "bridge, the cable's end, the pod's: {result:#}");
        assert_eq!((&interfaces[2]["name"], &interfaces[2]["sandbox"]), (&json!("eth0"), &json!(pod.netns())));
        assert_eq!(interfaces[2].get("mtu").is_some(), version == "1.1.0", "{result:#}");
        let mut expected = json!({ "address": format!("{ip}/24"), "gateway": "10.88.0.1", "interface": 2 });
        if version.starts_with('0') {
            expected["version"] = "4".into();
        }
        assert_eq!(result["ips"], json!([expected]));
        assert_eq!(result["routes"], json!([{ "dst": "0.0.0.0/0", "gw": "10.88.0.1" }]));
        let seen = stage.inside(&pod, "ip -o addr show dev eth0; ip -o link show dev eth0; ip route").ok().stdout;
        let mac = interfaces[2]["mac"].as_str().unwrap();
        assert!(seen.contains(&format!("{ip}/24")) && seen.contains(mac), "{seen}");
        assert!(seen.contains("default via 10.88.0.1") && !seen.contains("fe80"), "{seen}");
        for interface in &interfaces[..2] {
            let name = interface["name"].as_str().unwrap();
            let link = stage.host.shell(&format!("ip -o link show {name}")).ok().stdout;
            assert!(link.contains(interface["mac"].as_str().unwrap()), "{link}");
        }
    }
}

#[test]
fn pods_reach_each_other_and_the_outside_and_are_reached_by_their_ports() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24", "capabilities": {"portMappings": true} }));
    let (web, other) = (stage.pod("web"), stage.pod("other"));
    let ports = json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
        { "hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1" }] });
    let ip = address(&stage.call("ADD", &web, &told(&conf, &ports)).ok());
    stage.call("ADD", &other, &conf).ok();
    stage.serve(&web, 80);
    let me = format!("\"me\":\"{ip}:80\"");
    assert!(stage.connect(&other, &ip, 80).contains(&me), "pod to pod");
    assert!(stage.connect(&other, "192.0.2.2", 8080).contains(&me), "pod to port");
    assert!(stage.connect(&web, "192.0.2.2", 8080).contains(&me), "to itself by its port");
    stage.inside(&other, "ping -c 1 -W 5 192.0.2.3").ok();
    assert!(stage.host.neighbour().connect("192.0.2.2", 8080, "tcp").stdout.contains(&me), "from outside");
    assert!(stage.host.connect("127.0.0.1", 8080, "tcp").stdout.contains(&me), "from the host");
    assert!(stage.host.connect("127.0.0.1", 8081, "tcp").stdout.contains(&me), "from the host's loopback");
    assert!(
        !stage.host.neighbour().connect("192.0.2.2", 8081, "tcp").stdout.contains("web"),
        "loopback is not outside"
    );
    // Another pod cannot have it, nor a container; and it is free when the pod has gone.
    stage.call("DEL", &other, &conf).ok();
    stage.call("ADD", &other, &told(&conf, &ports)).fails(102, "address already in use (by container 776562000000)");
    assert_eq!(stage.leases(), [ip], "what was refused is leased");
    stage.call("DEL", &web, &conf).ok();
    stage.call("ADD", &other, &told(&conf, &ports)).ok();
}

#[test]
fn del_takes_everything_away_and_says_yes_again_without_a_namespace_too() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24" }));
    let pod = stage.pod("web");
    stage.call("DEL", &pod, &conf).ok();
    assert!(!stage.host.path("state/net").exists(), "to take nothing away makes nothing");
    stage.call("ADD", &pod, &conf).ok();
    stage.call("DEL", &pod, &conf).ok();
    stage.until_idle();
    let before = stage.host.snapshot();
    let ports = json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80 }] });
    for ends_first in [false, true] {
        let pod = if ends_first { stage.pod("brief") } else { Pod { interface: "net1", ..Pod::new("web") } };
        stage.call("ADD", &pod, &told(&conf, &ports)).ok();
        if ends_first {
            stage.end(&pod);
        }
        // Whatever is configured by now.
        let other = stage.conf(&json!({ "subnet": "nothing", "vlan": 7 }));
        assert_eq!(stage.call("DEL", &pod, &other).ok(), Value::Null);
        stage.host.assert_unchanged(&before);
        let without = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", pod.id.as_str()), ("CNI_IFNAME", pod.interface)];
        stage.with(&plugin(), &without, &conf.to_string()).ok();
    }
}

#[test]
fn what_is_asked_wrongly_is_refused_by_the_numbers_of_the_specification() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let pod = stage.pod("web");
    let conf = stage.conf(&json!({}));
    let all = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", pod.id.as_str()),
        ("CNI_NETNS", "/run/netns/web"),
        ("CNI_IFNAME", "eth0"),
    ];
    for (missing, _) in all {
        let rest: Vec<(&str, &str)> = all.into_iter().filter(|(name, _)| *name != missing).collect();
        stage.with(&plugin(), &rest, &conf.to_string()).fails(4, missing);
    }
    let with = |name: &'static str, value: &'static str| {
        let set: Vec<(&str, &str)> = all.into_iter().filter(|it| it.0 != name).chain([(name, value)]).collect();
        stage.with(&plugin(), &set, &conf.to_string())
    };
    with("CNI_COMMAND", "UPDATE").fails(4, "UPDATE is no verb of CNI");
    with("CNI_CONTAINERID", "../x").fails(4, "CNI_CONTAINERID");
    with("CNI_IFNAME", "sixteen-letters-").fails(4, "CNI_IFNAME");
    with("CNI_NETNS", "/run/netns/none").fails(4, "no such file or directory");
    with("CNI_NETNS", "/etc/hosts").fails(4, "it is no network namespace");
    with("CNI_NETNS", "/proc/self/ns/net").fails(4, "it is the host's own network");
    with("CNI_ARGS", "WHAT=this").fails(4, "WHAT is not known here");
    let said = |further: Value| stage.call("ADD", &pod, &stage.conf(&further));
    let error = said(json!({ "cniVersion": "0.2.0" })).fails(1, "cniVersion 0.2.0 is none of");
    assert_eq!(error["cniVersion"], "1.1.0");
    assert_eq!(said(json!({ "cniVersion": "0.4.0", "vlan": 7 })).fails(2, "vlan: 7")["cniVersion"], "0.4.0");
    said(json!({ "name": "a/b" })).fails(7, "network a/b");
    said(json!({ "name": "host" })).fails(7, "network host");
    said(json!({ "mtu": 12 })).fails(7, "it is a number from 68 to 65535");
    said(json!({ "subnet": "192.0.2.0/24" })).fails(7, "it is in use: link eth0");
    said(json!({ "args": {"cni": {"ips": ["10.1.2.3"]}} })).fails(7, "not in subnet");
    stage.with(&plugin(), &all, "{").fails(6, "cannot understand the network configuration");
    stage.call("CHECK", &pod, &stage.conf(&json!({ "cniVersion": "0.3.1" }))).fails(1, "CHECK is of CNI 0.4.0");
    stage.call("GC", &pod, &stage.conf(&json!({ "cniVersion": "1.0.0" }))).fails(1, "GC is of CNI 1.1.0");
    stage.call("STATUS", &pod, &stage.conf(&json!({ "cniVersion": "1.0.0" }))).fails(1, "STATUS is of CNI 1.1.0");
    // Nothing of all that is left.
    assert_eq!(stage.host.shell("ls state/net/endpoints").stdout, "");
    // Twice is once too often, for one interface; for another it is not.
    stage.call("ADD", &pod, &conf).ok();
    stage.call("ADD", &pod, &conf).fails(7, "the container has one of this name");
    stage.call("ADD", &Pod { interface: "net1", ..Pod::new("web") }, &conf).ok();
}
