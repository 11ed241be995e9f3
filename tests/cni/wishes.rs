//! What one pod, or one network, may wish: addresses, routes, both families, a place behind other plugins; and what stays shut.

use super::stage::{Pod, Stage, address, told};
use crate::support::{need, plugin};
use serde_json::{Value, json};

#[test]
fn a_pod_gets_the_addresses_it_wishes_for_by_each_way_to_say_so() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": ["10.88.0.0/24", "fd00:88::/64"] }));
    let mut pod = stage.pod("web");
    let add = |pod: &Pod, conf: &Value| {
        let result = stage.call("ADD", pod, conf).ok();
        stage.call("DEL", pod, conf).ok();
        let mac = result["interfaces"][2]["mac"].as_str().unwrap().to_owned();
        let ips: Vec<String> =
            result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap().to_owned()).collect();
        (ips, mac)
    };
    pod.args = "IP=10.88.0.7;MAC=02:00:00:00:00:07".into();
    let by_args = add(&pod, &conf);
    assert_eq!(by_args, (vec!["10.88.0.7/24".into(), "fd00:88::2/64".into()], "02:00:00:00:00:07".into()));
    let with = |mut conf: Value, key: &str, value: Value| {
        conf[key] = value;
        conf
    };
    let args = with(conf.clone(), "args", json!({ "cni": { "ips": ["10.88.0.8"], "mac": "02:00:00:00:00:08" } }));
    assert_eq!(add(&pod, &args).0[0], "10.88.0.8/24");
    let run = told(&args, &json!({ "ips": ["fd00:88::9/64", "10.88.0.9/24"], "mac": "02:00:00:00:00:09" }));
    assert_eq!(add(&pod, &run), (vec!["10.88.0.9/24".into(), "fd00:88::9/64".into()], "02:00:00:00:00:09".into()));
    pod.args = String::new();
    stage.call("ADD", &pod, &told(&conf, &json!({ "ips": ["10.88.0.9", "10.88.0.10"] }))).fails(7, "a second address");
    stage.call("ADD", &pod, &told(&conf, &json!({ "ips": ["10.88.0.1"] }))).fails(7, "it is the gateway");
    stage.call("ADD", &pod, &run).ok();
    stage.call("ADD", &stage.pod("other"), &run).fails(103, "already in use (by container 776562000000)");
}

#[test]
fn both_families_reach_and_publish_and_what_only_a_process_could_carry_is_refused() {
    need!(Root, Iptables, Ipv6);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": ["10.88.0.0/24", "fd00:88::/64"] }));
    let (web, other) = (stage.pod("web"), stage.pod("other"));
    let port = |ip: &str| json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80, "hostIP": ip }] });
    let result = stage.call("ADD", &web, &told(&conf, &port(""))).ok();
    assert_eq!(result["routes"][1], json!({ "dst": "::/0", "gw": "fd00:88::1" }));
    stage.call("ADD", &other, &conf).ok();
    let probe = crate::support::probe().display().to_string();
    let mut server =
        stage.host.spawn("nsenter", &[&format!("--net={}", web.netns()), &probe, "serve", "80", "tcp", "6"]);
    server.wait_for("ready");
    assert!(stage.connect(&other, "fd00:88::2", 80).contains("fd00:88::2"), "pod to pod");
    for address in ["2001:db8::2", "192.0.2.2"] {
        let said = stage.host.neighbour().connect(address, 8080, "tcp").stdout;
        assert!(said.contains("\"me\""), "from outside to {address}: {said}");
    }
    stage.inside(&other, "ping -6 -c 1 -W 5 2001:db8::3").ok();
    let four = stage.conf(&json!({ "name": "four", "subnet": "10.89.0.0/24" }));
    let pod = stage.pod("four");
    stage
        .call("ADD", &pod, &told(&four, &port("::1")))
        .fails(102, "cannot publish port [::1]:8080: the kernel lets nothing out");
    stage.call("ADD", &pod, &told(&four, &port("::"))).fails(102, "the network has no IPv6");
    stage.call("ADD", &pod, &told(&conf, &port("::1"))).fails(102, "[::1]:8080");
    let inside = stage.conf(&json!({ "name": "inside", "internal": true }));
    stage.call("ADD", &pod, &told(&inside, &port(""))).fails(7, "it is internal, so no port of the host leads there");
    assert_eq!(
        stage.host.shell("find state/net/endpoints -name '*.json' | wc -l").stdout.trim(),
        "2",
        "what was refused has left nothing"
    );
}

#[test]
fn networks_of_pods_are_kept_apart_and_isolated_ports_too() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let one = stage.conf(&json!({ "subnet": "10.88.0.0/24" }));
    let two = stage.conf(&json!({ "name": "two", "subnet": "10.89.0.0/24", "portIsolation": true }));
    let pods = ["a", "b", "c", "d"].map(|name| stage.pod(name));
    let ips: Vec<String> = [(&pods[0], &one), (&pods[1], &one), (&pods[2], &two), (&pods[3], &two)]
        .map(|(pod, conf)| address(&stage.call("ADD", pod, conf).ok()))
        .into();
    pods.iter().for_each(|pod| stage.serve(pod, 80));
    let reaches = |from: usize, to: usize| stage.connect(&pods[from], &ips[to], 80).contains("\"me\"");
    assert!(reaches(0, 1));
    assert!(!reaches(0, 2), "of another network");
    assert!(!reaches(2, 3), "isolated");
    assert!(stage.host.connect(&ips[3], 80, "tcp").stdout.contains("\"me\""), "the host reaches all");
}

#[test]
fn routes_are_those_that_are_named_and_a_second_network_s_default_route_is_passed_over() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let named = stage.conf(&json!({ "ipam": { "subnet": "10.88.0.0/24", "routes": [
        { "dst": "10.99.0.0/16" }, { "dst": "10.98.0.0/16", "gw": "10.88.0.7" }] } }));
    let pod = stage.pod("web");
    let result = stage.call("ADD", &pod, &named).ok();
    let both = json!([{ "dst": "10.99.0.0/16", "gw": "10.88.0.1" }, { "dst": "10.98.0.0/16", "gw": "10.88.0.7" }]);
    assert_eq!(result["routes"], both);
    let routes = stage.inside(&pod, "ip route").ok().stdout;
    assert!(routes.contains("10.98.0.0/16 via 10.88.0.7 dev eth0") && !routes.contains("default"), "{routes}");
    for (interface, name, default) in [("net1", "second", true), ("net2", "third", false)] {
        let conf = stage.conf(&json!({ "name": name }));
        let pod = Pod { interface, ..Pod::new("web") };
        let result = stage.call("ADD", &pod, &conf).ok();
        assert_eq!(result.get("routes").is_some(), default, "{result:#}");
        let mut check = conf.clone();
        check["prevResult"] = result;
        stage.call("CHECK", &pod, &check).ok();
    }
    let seen = stage.inside(&pod, "ip route | grep default").ok().stdout;
    assert!(seen.contains("dev net1") && seen.lines().count() == 1, "{seen}");
    // The third goes, and takes nobody's route along.
    stage.call("DEL", &Pod { interface: "net2", ..Pod::new("web") }, &stage.conf(&json!({ "name": "third" }))).ok();
    assert!(stage.inside(&pod, "ip route").stdout.contains("dev net1"));
}

#[test]
fn what_plugins_before_have_answered_is_handed_on_and_dns_of_a_file_too() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let pod = stage.pod("web");
    std::fs::write(stage.host.path("resolv"), "# ours\nnameserver 10.9.9.9\nsearch a.test b.test\noptions ndots:5\n")
        .unwrap();
    let before = json!({ "cniVersion": "1.0.0", "interfaces": [{ "name": "lo", "sandbox": pod.netns() }],
        "ips": [{ "address": "127.0.0.1/8", "interface": 0 }], "routes": [{ "dst": "10.1.0.0/16" }] });
    let conf = stage.conf(&json!({ "cniVersion": "1.0.0", "prevResult": before,
        "ipam": { "type": "host-local", "resolvConf": stage.host.path("resolv") } }));
    let result = stage.call("ADD", &pod, &conf).ok();
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 4);
    assert_eq!((&result["ips"][0]["interface"], &result["ips"][1]["interface"]), (&json!(0), &json!(3)));
    assert_eq!(result["routes"].as_array().unwrap().len(), 2);
    let dns = json!({ "nameservers": ["10.9.9.9"], "search": ["a.test", "b.test"], "options": ["ndots:5"] });
    assert_eq!(result["dns"], dns);
    let mut check = conf.clone();
    check["prevResult"] = result;
    stage.call("CHECK", &pod, &check).ok();
}

#[test]
fn under_the_name_of_loopback_it_switches_the_loopback_on() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let pod = Pod { interface: "lo", ..stage.pod("web") };
    let conf = json!({ "cniVersion": "0.3.1", "name": "cni-loopback", "type": "loopback" });
    assert!(!stage.inside(&pod, "ip link show lo").stdout.contains("UP"));
    let result = stage.call("ADD", &pod, &conf).ok();
    assert_eq!(result["ips"][0], json!({ "address": "127.0.0.1/8", "interface": 0, "version": "4" }));
    let lo = json!({ "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": pod.netns() });
    assert_eq!(result["interfaces"], json!([lo]));
    stage.inside(&pod, "ping -c 1 127.0.0.1").ok();
    stage.call("DEL", &pod, &conf).ok();
    assert!(!stage.host.path("state").exists(), "a loopback is no network of rbox's");
}

#[test]
fn ports_without_an_address_are_published_where_the_machine_s_configuration_says() {
    need!(Root, Iptables);
    let stage = Stage::new();
    std::fs::write(stage.host.path("config.json"), r#"{"publish": {"default_ip": "127.0.0.1"}}"#).unwrap();
    let pod = stage.pod("web");
    let conf = stage.conf(&json!({}));
    let ports = told(&conf, &json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80 }] }));
    let ip = address(&stage.call("ADD", &pod, &ports).ok());
    stage.serve(&pod, 80);
    assert!(stage.host.connect("127.0.0.1", 8080, "tcp").stdout.contains(&ip));
    assert!(!stage.host.neighbour().connect("192.0.2.2", 8080, "tcp").stdout.contains(&ip), "it is not outside");
    // A port of a process on the host is its own.
    let probe = crate::support::probe().display().to_string();
    let mut server = stage.host.spawn(&probe, &["serve", "9090", "tcp"]);
    server.wait_for("ready");
    let taken = told(&conf, &json!({ "portMappings": [{ "hostPort": 9090, "containerPort": 80 }] }));
    stage.call("ADD", &stage.pod("other"), &taken).fails(102, "address already in use (by probe, pid ");
    // By hand it explains itself.
    let by_hand = stage.host.exec(&plugin().display().to_string(), &["--help"]).ok().stdout;
    assert!(by_hand.contains("CNI versions: 0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{by_hand}");
}
