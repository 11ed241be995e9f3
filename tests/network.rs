//! `--network none`, `host` and the predefined networks.

use crate::support::{Host, need};
use serde_json::json;

/// A loopback that nobody has used yet, in busybox's words.
const LO: [&str; 7] = [
    "lo        Link encap:Local Loopback",
    "inet addr:127.0.0.1  Mask:255.0.0.0",
    "UP LOOPBACK RUNNING  MTU:65536  Metric:1",
    "RX packets:0 errors:0 dropped:0 overruns:0 frame:0",
    "TX packets:0 errors:0 dropped:0 overruns:0 carrier:0",
    "collisions:0 txqueuelen:1000",
    "RX bytes:0 (0.0 B)  TX bytes:0 (0.0 B)",
];

fn trimmed(shown: &str) -> Vec<&str> {
    shown.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_001_a_010_a_030_to_a_032_network_ls_lists_the_predefined_three_sorted() {
    need!(Root);
    let host = Host::new();
    let lines: Vec<Vec<String>> = host
        .rbox(&["network", "ls"])
        .ok()
        .stdout
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect())
        .collect();
    assert_eq!(lines[0], ["NETWORK ID", "NAME", "DRIVER", "SCOPE"]);
    assert_eq!(lines[1][1..], ["bridge", "bridge", "local"]);
    assert_eq!(lines[2][1..], ["host", "host", "local"]);
    assert_eq!(lines[3][1..], ["none", "null", "local"]);
    assert_eq!(lines.len(), 4);
    for line in &lines[1..] {
        assert!(line[0].len() == 12 && line[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "A-032: {line:?}");
    }
    let again = host.rbox(&["network", "ls"]).ok().stdout;
    assert!(again.contains(&lines[1][0]), "an identifier stays");
}

#[test]
fn a_010_a_015_network_inspect_bridge() {
    need!(Root);
    let host = Host::with_busybox();
    let web = host.serve(&["--name", "web"], 80);
    let found = host.rbox(&["network", "inspect", "bridge"]).ok().json();
    let bridge = &found[0];
    assert_eq!(
        (&bridge["Name"], &bridge["Driver"], &bridge["Scope"]),
        (&json!("bridge"), &json!("bridge"), &json!("local"))
    );
    assert_eq!(bridge["IPAM"]["Config"][0]["Subnet"], "172.17.0.0/16");
    assert_eq!(bridge["IPAM"]["Config"][0]["Gateway"], "172.17.0.1");
    let containers = bridge["Containers"].as_object().unwrap();
    assert_eq!(containers.len(), 1, "{bridge:#}");
    let (id, entry) = containers.iter().next().unwrap();
    assert_eq!(id.len(), 64);
    assert_eq!(entry["Name"], "web");
    assert_eq!(entry["IPv4Address"], "172.17.0.2/16");
    assert_eq!(entry["MacAddress"], "02:42:ac:11:00:02");
    web.end();
    let after = host.rbox(&["network", "inspect", "bridge"]).ok().json();
    assert_eq!(after[0]["Containers"], json!({}));
    let three = host.rbox(&["network", "inspect", "bridge", "host", "none"]).ok().json();
    assert_eq!(three.as_array().unwrap().len(), 3);
    host.rbox(&["network", "inspect", "nosuch"]).fails().says("nosuch");
}

#[test]
fn a_033_the_bridge_is_the_network_if_none_is_named() {
    need!(Root);
    let host = Host::with_busybox();
    let mut ids = [&[][..], &["--network", "bridge"]].map(|flags| host.detached(flags, &["sleep", "1000"]));
    for id in &ids {
        let networks = host.rbox(&["inspect", "--format", "{{json .NetworkSettings.Networks}}", id]).ok().json();
        assert_eq!(networks.as_object().unwrap().keys().collect::<Vec<_>>(), ["bridge"]);
    }
    let bridge = host.rbox(&["network", "inspect", "bridge"]).ok().json()[0]["Containers"].take();
    ids.sort();
    assert_eq!(bridge.as_object().unwrap().keys().collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    assert_eq!(host.shell("ip -o link show master rbox0 | wc -l").ok().text(), "2");
}

#[test]
fn a_040_a_053_a_203_lo_is_up_and_on_none_there_is_nothing_else() {
    need!(Root);
    let host = Host::with_busybox();
    for program in [&["ifconfig"][..], &["ifconfig", "-a"]] {
        assert_eq!(trimmed(&host.run(&["--network", "none"], program).ok().stdout), LO);
    }
    assert_eq!(trimmed(&host.run(&[], &["ifconfig", "lo"]).ok().stdout), LO);
}

#[test]
fn a_041_none_cannot_resolve_a_name_and_does_not_hang() {
    need!(Root);
    let host = Host::with_busybox();
    let began = std::time::Instant::now();
    host.run(&["--network", "none"], &["ping", "-c", "1", "example.test"])
        .fails()
        .says("ping: bad address 'example.test'");
    assert!(began.elapsed().as_secs() < 10);
}

#[test]
fn a_042_none_has_no_route() {
    need!(Root);
    let host = Host::with_busybox();
    let output = host.run(&["--network", "none"], &["ping", "-c", "1", "172.17.0.1"]).fails();
    assert!(output.stdout.starts_with("PING 172.17.0.1 (172.17.0.1): 56 data bytes"), "{output}");
    // The words for ENETUNREACH are the C library's: musl's in the user's document, glibc's in Debian's busybox.
    let words = ["ping: sendto: Network unreachable", "ping: sendto: Network is unreachable"];
    assert!(words.iter().any(|words| output.stderr.contains(words)), "{output}");
}

#[test]
fn a_036_none_is_a_network_that_can_be_configured_from_the_host() {
    need!(Root);
    let host = Host::with_busybox();
    let alone = host.run_ready(&["--name", "alone", "--network", "none"], &["/probe", "signal-wait"]);
    let pid = host.rbox(&["inspect", "--format", "{{.State.Pid}}", "alone"]).ok().text().to_owned();
    alone.inside("ping -q -c 1 -W 5 10.9.8.1").fails().says("unreachable");
    // By hand, with the host's own tools: a cable, and an address at each end.
    let script = format!(
        "set -e
         ip link add hand0 type veth peer name eth0 netns {pid}
         ip addr add 10.9.8.1/24 dev hand0; ip link set hand0 up
         n='nsenter --net=/proc/{pid}/ns/net'
         $n ip addr add 10.9.8.7/24 dev eth0; $n ip link set eth0 up"
    );
    host.shell(&script).ok();
    alone.inside("ping -q -c 1 -W 5 10.9.8.1").ok();
    host.shell("ping -q -c 1 -W 5 10.9.8.7").ok();
    alone.end();
}

#[test]
fn a_045_host_reaches_the_outside_by_name() {
    need!(Root);
    let host = Host::with_busybox();
    host.shell("echo '192.0.2.3 moelove.info' >> /etc/hosts").ok();
    let output = host.run(&["--network", "host"], &["ping", "-q", "-c", "1", "moelove.info"]).ok();
    assert!(output.stdout.starts_with("PING moelove.info (192.0.2.3): 56 data bytes"), "{output}");
    assert!(output.stdout.contains("1 packets transmitted, 1 packets received, 0% packet loss"), "{output}");
}

#[test]
fn a_046_host_has_the_hosts_hosts_file() {
    need!(Root);
    let host = Host::with_busybox();
    let inside = host.run(&["--network", "host"], &["cat", "/etc/hosts"]).ok().stdout;
    assert_eq!(inside, host.shell("cat /etc/hosts").ok().stdout);
    assert_eq!(host.run_text(&["--network", "host"], &["hostname"]), "testhost");
}

#[test]
fn a_022_a_038_a_047_host_is_the_hosts_network_namespace() {
    need!(Root);
    let host = Host::with_busybox();
    let own = host.shell("readlink /proc/self/ns/net").ok().text().to_owned();
    for words in [&["--network", "host"][..], &["--network=host"], &["--net", "host"], &["--net=host"]] {
        assert_eq!(host.see(words)["namespaces"]["net"], own, "A-022: {words:?}");
    }
    let running = host.run_ready(&["--network", "host"], &["/probe", "signal-wait"]);
    let outside = std::fs::read_link(format!("/proc/{}/ns/net", running.container_pid())).unwrap();
    assert_eq!(outside.to_str(), Some(own.as_str()));
    running.end();
}

#[test]
fn a_048_host_namespaces_are_roots_as_seen_from_the_host() {
    need!(Root);
    let host = Host::with_busybox();
    let running = host.run_ready(&["--network", "host"], &["/probe", "signal-wait"]);
    let listed =
        std::process::Command::new("ls").args(["-l", &format!("/proc/{}/ns/net", running.container_pid())]).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    assert!(listed.contains(" root root ") && listed.contains("net:["), "{listed}");
    running.end();
}

#[test]
fn a_014_a_single_dash_is_answered_with_what_is_meant() {
    need!(Root);
    let host = Host::new();
    host.rbox(&["run", "-net=host", "busybox", "true"]).code(125).says("--net=host");
}

#[test]
fn a_port_cannot_be_published_on_the_hosts_network_or_on_none() {
    need!(Root);
    let host = Host::with_busybox();
    // Docker warns and runs on: the port is there already, or cannot be.
    for network in ["host", "none"] {
        let output = host.run(&["--network", network, "-p", "8080:80"], &["true"]);
        assert!(output.stderr.contains("publish") || output.stderr.contains("-p"), "{output}");
    }
}

#[test]
fn an_unknown_network_is_named() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["--network", "nosuch"], &["true"]).code(125).says("nosuch");
}
