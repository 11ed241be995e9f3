//! Pods of containerd's CRI plugin on a network of rbox: rbox-cni is the only plugin there is, also under the name of the
//! plugin `loopback` that containerd calls for every pod.

use super::containerd::{CONTAINERD, CTR};
use super::cri::*;
use super::daemonless::{CONMON, PODMAN, Podman};
use super::stage::need_engine;
use crate::support::{Host, need, plugin};

/// A node whose pods rbox-cni joins.
fn node() -> Node {
    Node::on("plugins", |host| {
        // What the first command of rbox makes is there before.
        host.rbox(&["network", "prune", "-f"]).ok();
        install(host, &["rbox-cni", "loopback"]);
        network(host, "cni0", "10.88.0.0/24")
    })
}

/// Put the plugin into the folder `plugins`, by these names.
fn install(host: &Host, names: &[&str]) {
    std::fs::create_dir(host.path("plugins")).unwrap();
    for name in names {
        std::os::unix::fs::symlink(plugin(), host.path("plugins").join(name)).unwrap();
    }
}

/// The configuration of a network for pods.
fn network(host: &Host, bridge: &str, subnet: &str) -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "pods", "plugins": [{{"type": "rbox-cni", "bridge": "{bridge}",
            "capabilities": {{"portMappings": true, "ips": true, "mac": true, "aliases": true}}, "subnet": "{subnet}",
            "stateDir": "{}", "dataDir": "{}"}}]}}"#,
        host.path("state").display(),
        host.path("data").display()
    )
}

const SERVE: &str = "mkdir -p /var/www; cp /etc/hostname /var/www/index.html; exec httpd -f -p 80 -h /var/www";

#[test]
fn pods_reach_each_other_and_the_outside_and_are_reached_by_host_ports() {
    need!(Root, Iptables);
    need_engine!(CONTAINERD, CTR);
    let node = node();
    let host = &node.containerd.host;
    let port =
        |host_port, host_ip: &str| PortMapping { protocol: 0, container_port: 80, host_port, host_ip: host_ip.into() };
    let web = node.published("web", PodLinux::default(), vec![port(8080, ""), port(8081, "127.0.0.1")]);
    let other = node.pod("other", PodLinux::default());
    web.start("httpd", SERVE, |_| ());
    let client = other.start("client", "sleep 3300", |_| ());
    let ip = web.status().network.unwrap().ip;
    assert!(ip.starts_with("10.88.0."), "{ip}");
    let get =
        |at: &str| other.inside(&client, &format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 10 {at} | tail -n 1"));
    super::stage::until(
        "the pod serves",
        || host.shell(&format!("curl -fsS --max-time 5 http://{ip}/")),
        |said| said.code == 0,
    );
    assert_eq!(get(&format!("{ip} 80")), "web-host", "pod to pod");
    assert_eq!(get("192.0.2.2 8080"), "web-host", "pod to the node's port");
    other.inside(&client, "ping -c 1 -W 5 192.0.2.3; ping -c 1 127.0.0.1");
    let curl = |at: &str| format!("curl -fsS --max-time 5 http://{at}/");
    assert_eq!(host.neighbour().shell(&curl("192.0.2.2:8080")).ok().text(), "web-host", "from outside");
    assert_eq!(host.shell(&curl("127.0.0.1:8081")).ok().text(), "web-host", "from the node");
    host.neighbour().shell(&curl("192.0.2.2:8081")).fails();
    // rbox sees them, and lets them be.
    let shown = host.rbox(&["network", "inspect", "pods"]).ok().stdout;
    assert!(shown.contains("\"web.tests\"") && shown.contains("\"other.tests\""), "{shown}");
    host.rbox(&["network", "prune", "-f"]).ok();
    assert_eq!(get(&format!("{ip} 80")), "web-host", "after a sweep");
    web.remove();
    other.remove();
    node.assert_clean();
}

#[test]
fn a_container_of_rbox_finds_a_pod_by_its_name() {
    need!(Root, Iptables);
    need_engine!(CONTAINERD, CTR);
    let node = node();
    let host = &node.containerd.host;
    let web = node.pod("web", PodLinux::default());
    host.rbox(&["load", "-i", &crate::support::fixture("busybox").display().to_string()]).ok();
    let ip = web.status().network.unwrap().ip;
    let ask = |name: &str| {
        host.rbox(&["run", "--rm", "--network", "pods", crate::support::BUSYBOX, "nslookup", "-type=a", name])
    };
    for name in ["web.", "web.tests."] {
        assert!(ask(name).ok().stdout.contains(&format!("Address: {ip}")), "{name}");
    }
    web.remove();
    ask("web.").fails();
    host.rbox(&["network", "rm", "pods"]).ok();
}

#[test]
fn podman_runs_containers_on_a_network_of_rbox() {
    need!(Root, Iptables);
    need_engine!(PODMAN, CONMON);
    let podman = Podman::start();
    let host = &podman.host;
    install(host, &["rbox-cni"]);
    std::fs::write(host.path("networks/10-pods.conflist"), network(host, "pods0", "10.99.0.0/24")).unwrap();
    podman.podman("run -d --name web --network pods -p 8080:80 @image sh -c 'mkdir -p /www; echo it is web >/www/index.html; exec httpd -f -p 80 -h /www'").ok();
    let ip = podman.text("inspect --format '{{.NetworkSettings.Networks.pods.IPAddress}}' web");
    assert_eq!(ip, "10.99.0.2");
    super::stage::until(
        "it serves",
        || host.shell(&format!("curl -fsS --max-time 5 http://{ip}/")),
        |said| said.stdout == "it is web\n",
    );
    let outside = host.neighbour().shell("curl -fsS --max-time 5 http://192.0.2.2:8080/");
    assert_eq!(outside.ok().text(), "it is web");
    let wished = podman.text("run --rm --network pods --ip 10.99.0.77 @image ip -o -4 addr show dev eth0");
    assert!(wished.contains("10.99.0.77/24"), "{wished}");
    let shown = host.rbox(&["network", "inspect", "pods"]).ok().stdout;
    assert!(shown.contains("10.99.0.2/24") && !shown.contains("10.99.0.77"), "{shown}");
    podman.podman("rm -f -t 0 web").ok();
    host.rbox(&["network", "rm", "pods"]).ok();
    host.rbox(&["network", "reset"]).ok();
    assert_eq!(host.shell("nft list ruleset | grep -c -i rbox").stdout.trim(), "0");
}
