//! A pod has no process: it lives as long as its network namespace, and every command of rbox knows.

use super::stage::{Pod, Stage, address, told};
use crate::support::need;
use serde_json::{Value, json};

#[test]
fn commands_of_rbox_leave_a_living_pod_alone_and_sweep_one_whose_namespace_is_gone() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24" }));
    let ports = told(&conf, &json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80 }] }));
    let (web, brief) = (stage.pod("web"), stage.pod("brief"));
    let ip = address(&stage.call("ADD", &web, &conf).ok());
    stage.host.rbox(&["network", "prune", "-f"]).ok();
    let before = stage.host.snapshot();
    let taken = address(&stage.call("ADD", &brief, &ports).ok());
    stage.host.rbox(&["network", "prune", "-f"]).ok();
    assert_eq!(stage.leases(), [ip.clone(), taken.clone()], "a living pod was swept");
    stage.end(&brief);
    stage.host.rbox(&["network", "prune", "-f"]).ok();
    assert_eq!(stage.leases(), [ip.as_str()]);
    stage.host.shell("ip netns add brief").ok();
    stage.host.assert_unchanged(&with_names(&stage, &before));
    // The next pod's ADD sweeps, too, and another namespace of the same name is not the pod's.
    stage.call("ADD", &brief, &ports).ok();
    stage.end(&brief);
    stage.host.shell("ip netns add brief").ok();
    let other = Pod { id: "b".repeat(64), ..Pod::new("brief") };
    assert_eq!(address(&stage.call("ADD", &other, &ports).ok()), taken, "the first free one again");
    stage.call("DEL", &other, &conf).ok();
    stage.call("DEL", &web, &conf).ok();
    assert_eq!(stage.leases(), Vec::<String>::new());
}

/// The namespace that was made again is as before.
fn with_names(stage: &Stage, before: &crate::support::Snapshot) -> crate::support::Snapshot {
    assert_eq!(stage.host.snapshot().kind("netns names"), before.kind("netns names"));
    before.clone()
}

#[test]
fn a_pod_lives_as_long_as_anybody_is_in_its_namespace() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24" }));
    let pod = stage.pod("web");
    let ip = address(&stage.call("ADD", &pod, &conf).ok());
    stage.serve(&pod, 80);
    // The file is not to be seen from where rbox runs: another mount namespace. The cable is.
    stage.host.shell("umount /run/netns/web; rm /run/netns/web").ok();
    stage.host.rbox(&["network", "prune", "-f"]).ok();
    assert_eq!(stage.leases(), [ip.as_str()]);
    assert!(stage.host.connect(&ip, 80, "tcp").stdout.contains(&ip));
    // Of another boot nobody lives.
    stage.host.shell("sed -i 's/\"boot_id\":\"[^\"]*\"/\"boot_id\":\"another\"/' state/net/endpoints/*/*.json").ok();
    stage.host.rbox(&["network", "prune", "-f"]).ok();
    assert!(!stage.host.rbox(&["network", "ls"]).ok().stdout.contains("pods"), "nobody is in it, so it is pruned");
}

#[test]
fn a_network_of_pods_is_one_of_rbox() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24", "capabilities": {"aliases": true} }));
    let mut pod = stage.pod("web");
    pod.args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=x".into();
    stage.call("ADD", &pod, &told(&conf, &json!({ "aliases": ["front"] }))).ok();
    let names = stage.host.shell("cat state/net/names/*.json").ok().stdout;
    assert!(names.contains(r#""name":"web.shop","aliases":["front","web"]"#), "{names}");
    let network = stage.network();
    assert_eq!(network["Containers"][&pod.id]["Name"], "web.shop");
    assert_eq!(network["Leases"][0]["Netns"], json!(pod.netns()));
    assert_eq!(network["Leases"][0].get("Pid"), None);
    stage.host.rbox(&["network", "rm", "pods"]).fails().says("container web.shop is connected");
    stage.host.rbox(&["network", "reset"]).fails().says("container web.shop is connected");
    // Its rules are listed with the others, and each is there.
    let rules = stage.host.rbox(&["network", "rules", "pods"]).ok().stdout;
    assert!(rules.to_lowercase().contains("masquerade"), "{rules}");
    stage.call("DEL", &pod, &conf).ok();
    stage.host.rbox(&["network", "rm", "pods"]).ok();
    stage.host.rbox(&["network", "reset"]).ok();
    assert_eq!(stage.host.shell("nft list ruleset | grep -c -i rbox; ip -o link show type bridge").stdout.trim(), "0");
}

#[test]
fn a_configuration_that_has_changed_is_followed_when_no_pod_is_in_the_network() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let first = stage.conf(&json!({ "ipam": {"ranges": [[{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.20"}]]} }));
    let second = stage.conf(&json!({ "subnet": "10.89.0.0/24", "ipMasq": false, "bridge": "pods0" }));
    let (web, other) = (stage.pod("web"), stage.pod("other"));
    assert_eq!(address(&stage.call("ADD", &web, &first).ok()), "10.88.0.20");
    stage.call("ADD", &other, &second).fails(7, "has not the subnet 10.89.0.0/24; container 776562000000 is connected");
    stage.call("DEL", &web, &first).ok();
    let result = stage.call("ADD", &other, &second).ok();
    assert_eq!((address(&result).as_str(), &result["interfaces"][0]["name"]), ("10.89.0.2", &json!("pods0")));
    assert!(!stage.host.shell("nft list ruleset").ok().stdout.contains("10.88.0."), "the first network's rules");
    stage.call("DEL", &other, &second).ok();
    // One that a person made is joined as it is, and never made anew.
    stage.host.rbox(&["network", "create", "--subnet", "10.90.0.0/24", "mine"]).ok();
    let mine = |further: &Value| {
        let mut conf = stage.conf(further);
        conf["name"] = "mine".into();
        conf
    };
    stage.call("ADD", &web, &mine(&json!({ "mtu": 1400 }))).fails(7, "it is there, and was not made with mtu=1400");
    assert_eq!(address(&stage.call("ADD", &web, &mine(&json!({}))).ok()), "10.90.0.2");
    // The default network is one of them; those of other drivers are not for pods.
    let on = |name: &str| stage.conf(&json!({ "name": name }));
    assert!(
        address(&stage.call("ADD", &Pod { interface: "net1", ..Pod::new("web") }, &on("bridge")).ok())
            .starts_with("172.")
    );
    stage.host.rbox(&["network", "create", "-d", "macvlan", "-o", "parent=eth0", "lan"]).ok();
    for name in ["lan", "host", "none"] {
        stage.call("ADD", &other, &on(name)).fails(7, "and pods join those of driver bridge");
        stage.call("STATUS", &other, &on(name)).fails(50, "and pods join those of driver bridge");
    }
}

#[test]
fn who_serves_a_container_puts_the_rules_of_pods_back_too() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let host = &stage.host;
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24" }));
    let pod = stage.pod("web");
    let ports = told(&conf, &json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80 }] }));
    let ip = address(&stage.call("ADD", &pod, &ports).ok());
    stage.serve(&pod, 80);
    host.rbox(&["load", "-i", &crate::support::fixture("busybox").display().to_string()]).ok();
    host.rbox(&["run", "-d", "-p", "9000:80", crate::support::BUSYBOX, "sleep", "3400"]).ok();
    host.shell("nft flush ruleset").ok();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !host.neighbour().connect("192.0.2.2", 8080, "tcp").stdout.contains(&ip) {
        assert!(std::time::Instant::now() < end, "its port does not come back");
    }
}
