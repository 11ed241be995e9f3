//! `--network none`, `host` and the predefined networks.

use crate::support::{Host, need};
use serde_json::json;

#[test]
fn a_030_network_ls_lists_the_predefined_three_sorted() {
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
fn a_015_network_inspect_bridge() {
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
fn a_040_none_has_only_lo() {
    need!(Root);
    let host = Host::with_busybox();
    let shown = host.run(&["--network", "none"], &["ifconfig", "-a"]).ok();
    let blocks: Vec<&str> = shown.stdout.split("\n\n").filter(|block| !block.trim().is_empty()).collect();
    assert_eq!(blocks.len(), 1, "{shown}");
    for words in
        ["lo ", "inet addr:127.0.0.1  Mask:255.0.0.0", "UP LOOPBACK RUNNING  MTU:65536  Metric:1", "txqueuelen:1000"]
    {
        assert!(shown.stdout.contains(words), "{words}: {shown}");
    }
    assert!(shown.stdout.contains("RX packets:0") && shown.stdout.contains("TX packets:0"), "{shown}");
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
    let running = host.run_ready(&["--network", "none"], &["/probe", "signal-wait"]);
    let pid = running.container_pid();
    // From outside with the host's own tools, as root of the machine.
    let status = std::process::Command::new("nsenter")
        .args(["--net", "--target", &pid.to_string(), "ip", "addr", "add", "10.9.8.7/24", "dev", "lo"])
        .status();
    assert!(status.unwrap().success());
    assert!(running.inside("ip addr show lo").stdout.contains("10.9.8.7"));
    running.end();
}

#[test]
fn a_045_host_reaches_the_outside() {
    need!(Root);
    let host = Host::with_busybox();
    let output = host.run(&["--network", "host"], &["ping", "-q", "-c", "1", "192.0.2.3"]).ok();
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
fn a_047_host_is_the_hosts_network_namespace() {
    need!(Root);
    let host = Host::with_busybox();
    let own = host.shell("readlink /proc/self/ns/net").ok().text().to_owned();
    for words in [&["--network", "host"][..], &["--network=host"], &["--net", "host"], &["--net=host"]] {
        assert_eq!(host.see(words)["namespaces"]["net"], own, "A-022: {words:?}");
    }
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
