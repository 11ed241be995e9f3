//! The default bridge: A-050 to A-069, A-110, A-111.

use crate::support::{Host, need};
use serde_json::json;

#[test]
fn a_051_eth0_has_address_mac_mtu_and_flags() {
    need!(Root);
    let host = Host::with_busybox();
    let shown = host.run(&[], &["ifconfig", "eth0"]).ok().stdout;
    for words in [
        "Link encap:Ethernet  HWaddr 02:42:AC:11:00:02",
        "inet addr:172.17.0.2  Bcast:172.17.255.255  Mask:255.255.0.0",
        "UP BROADCAST RUNNING MULTICAST  MTU:1500  Metric:1",
        "txqueuelen:0",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn a_054_two_routes_exactly() {
    need!(Root);
    let host = Host::with_busybox();
    let routes = host.run_text(&[], &["ip", "r"]);
    let lines: Vec<&str> = routes.lines().map(str::trim_end).collect();
    assert_eq!(lines, ["default via 172.17.0.1 dev eth0", "172.17.0.0/16 dev eth0 scope link  src 172.17.0.2"]);
}

#[test]
fn a_055_the_bridge_on_the_host() {
    need!(Root);
    let host = Host::with_busybox();
    assert!(!host.shell("ip link").stdout.contains("rbox0"), "A-056: it is made at first use");
    let web = host.serve(&[], 80);
    let shown = host.shell("ip addr show rbox0").ok().stdout;
    for words in [
        "<BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue",
        "state UP group default",
        "link/ether 02:42:",
        "inet 172.17.0.1/16 brd 172.17.255.255 scope global rbox0",
        "inet6 fe80::42:",
    ] {
        assert!(shown.contains(words), "A-057: {words}: {shown}");
    }
    web.end();
    assert!(host.shell("ip link show rbox0").code == 0, "A-056: it is kept");
}

#[test]
fn a_058_each_container_adds_one_veth_on_the_bridge() {
    need!(Root);
    let host = Host::with_busybox();
    let before = host.shell("ip -o link | wc -l").ok().text().parse::<u32>().unwrap();
    let web = host.serve(&[], 80);
    let links = host.shell("ip -o link show type veth").ok().stdout;
    let line = links.lines().find(|line| line.contains("master rbox0")).unwrap_or_else(|| panic!("{links}")).to_owned();
    for words in ["<BROADCAST,MULTICAST,UP,LOWER_UP>", "mtu 1500", "qdisc noqueue", "state UP", "link-netnsid "] {
        assert!(line.contains(words), "{words}: {line}");
    }
    let name = line.split_whitespace().nth(1).unwrap().trim_end_matches(':').to_owned();
    let (name, peer) = name.split_once("@if").unwrap();
    let tail = name.strip_prefix("veth").unwrap();
    assert!(tail.len() == 7 && tail.bytes().all(|byte| byte.is_ascii_hexdigit()), "A-059: {name}");
    let inside = web.inside("cat /sys/class/net/eth0/ifindex").ok();
    assert_eq!(inside.text(), peer, "A-059: the pair's indexes");
    let addresses = host.shell(&format!("ip -o addr show dev {name}")).ok().stdout;
    assert!(!addresses.contains("inet "), "A-064: no IPv4 address: {addresses}");
    assert!(host.shell("bridge link").ok().stdout.contains(name), "A-064");
    // The bridge and the veth.
    assert_eq!(host.shell("ip -o link | wc -l").ok().text().parse::<u32>().unwrap(), before + 2);
    web.end();
    assert!(!host.shell("ip -o link").ok().stdout.contains(name));
}

#[test]
fn a_061_addresses_are_the_lowest_free() {
    need!(Root);
    let host = Host::with_busybox();
    let first = host.serve(&[], 80);
    let second = host.serve(&[], 80);
    let third = host.serve(&[], 80);
    assert_eq!(first.address(), "172.17.0.2", "A-060");
    assert_eq!((second.address(), third.address()), ("172.17.0.3".to_owned(), "172.17.0.4".to_owned()));
    second.end();
    let again = host.serve(&[], 80);
    assert_eq!(again.address(), "172.17.0.3");
    let mac = again.inside("cat /sys/class/net/eth0/address").ok();
    assert_eq!(mac.text(), "02:42:ac:11:00:03", "A-052");
}

#[test]
fn a_062_containers_talk_to_each_other_by_address() {
    need!(Root);
    let host = Host::with_busybox();
    let first = host.serve(&[], 80);
    let heard = host.run(&[], &["/probe", "connect", &first.address(), "80"]).ok().json();
    assert!(heard["you"].as_str().unwrap().starts_with("172.17.0.3:"), "{heard}");
    let ping = host.run(&[], &["ping", "-c", "1", &first.address()]).ok();
    assert!(ping.stdout.contains("ttl=64"), "A-207: {ping}");
}

#[test]
fn a_063_the_outside_is_reached_through_the_bridge_with_the_hosts_address() {
    need!(Root);
    let host = Host::with_busybox();
    let probe = crate::support::probe().display().to_string();
    // The neighbour answers with the address it sees: the host's, not the container's (masquerading).
    let pid = std::fs::read_to_string(host.path("neighbour.pid")).unwrap();
    let mut server = host.spawn("nsenter", &[&format!("--net=/proc/{pid}/ns/net"), &probe, "serve", "7000"]);
    server.wait_for("ready");
    let heard = host.run(&[], &["/probe", "connect", "192.0.2.3", "7000"]).ok().json();
    assert!(heard["you"].as_str().unwrap().starts_with("192.0.2.2:"), "{heard}");
}

#[test]
fn a_065_the_bridge_learns_the_containers_mac() {
    need!(Root);
    let host = Host::with_busybox();
    let first = host.serve(&[], 80);
    let second = host.serve(&[], 80);
    let heard = second.inside(&format!("/probe connect {} 80", first.address())).ok();
    assert!(heard.json()["you"].is_string());
    let fdb = host.shell("bridge fdb show br rbox0").ok().stdout;
    assert!(fdb.contains("02:42:ac:11:00:02") && fdb.contains("02:42:ac:11:00:03"), "{fdb}");
}

#[test]
fn a_067_two_containers_without_a_network_cannot_talk() {
    need!(Root);
    let host = Host::with_busybox();
    let _first = host.serve(&["--network", "none"], 80);
    host.run(&["--network", "none"], &["/probe", "connect", "172.17.0.2", "80"]).fails().says("NetworkUnreachable");
    // lo is each one's own.
    host.run(&["--network", "none"], &["/probe", "connect", "127.0.0.1", "80"]).fails().says("ConnectionRefused");
}

#[test]
fn a_053_lo_is_up_and_ipv6_is_off_in_an_ipv4_network() {
    need!(Root);
    let host = Host::with_busybox();
    let seen = host.see(&[]);
    let lo = &seen["interfaces"]["lo"];
    assert_eq!(lo["mtu_bytes"], 65536);
    assert!(lo["addresses"].as_array().unwrap().iter().any(|address| address["ip"] == "127.0.0.1"));
    let eth0 = seen["interfaces"]["eth0"]["addresses"].as_array().unwrap();
    assert!(eth0.iter().all(|address| !address["ip"].as_str().unwrap().contains(':')), "{eth0:?}");
    assert_eq!(eth0[0], json!({ "ip": "172.17.0.2", "prefix": 16, "broadcast": "172.17.255.255" }));
}

#[test]
fn a_110_the_hosts_file() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "cat /etc/hosts; hostname";
    let output = host.run_text(&[], &["sh", "-c", script]);
    let lines: Vec<&str> = output.lines().collect();
    let own = format!("172.17.0.2\t{}", lines.last().unwrap());
    assert_eq!(
        lines[..lines.len() - 1],
        [
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::0\tip6-localnet",
            "ff00::0\tip6-mcastprefix",
            "ff02::1\tip6-allnodes",
            "ff02::2\tip6-allrouters",
            &own,
        ],
        "A-111: the own line is last"
    );
    assert_eq!(lines.last().unwrap().len(), 12);
}

#[test]
fn names_and_addresses_can_be_added_to_the_hosts_file() {
    need!(Root);
    let host = Host::with_busybox();
    let flags =
        ["-h", "web", "--domainname", "example.test", "--add-host", "db:10.1.2.3", "--add-host", "gw:host-gateway"];
    let hosts = host.run_text(&flags, &["cat", "/etc/hosts"]);
    for line in ["10.1.2.3\tdb", "172.17.0.1\tgw", "172.17.0.2\tweb.example.test web"] {
        assert!(hosts.lines().any(|found| found == line), "{line}: {hosts}");
    }
}

#[test]
fn resolv_conf_is_the_hosts_or_what_the_flags_say() {
    need!(Root);
    let host = Host::with_busybox();
    let own = host.run_text(&[], &["cat", "/etc/resolv.conf"]);
    assert!(own.contains("nameserver 192.0.2.3") && own.contains("search example.test"), "{own}");
    let flags = ["--dns", "9.9.9.9", "--dns", "1.1.1.1", "--dns-search", "one.test", "--dns-option", "ndots:2"];
    let set = host.run_text(&flags, &["cat", "/etc/resolv.conf"]);
    let lines: Vec<&str> = set.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert!(lines.contains(&"nameserver 9.9.9.9") && lines.contains(&"nameserver 1.1.1.1"), "{set}");
    assert!(lines.contains(&"search one.test") && lines.contains(&"options ndots:2"), "{set}");
    assert!(!set.contains("192.0.2.3"), "{set}");
}

#[test]
fn an_address_and_a_mac_can_be_chosen() {
    need!(Root);
    let host = Host::with_busybox();
    let seen = host.see(&["--ip", "172.17.3.4", "--mac-address", "02:11:22:33:44:55"]);
    assert_eq!(seen["interfaces"]["eth0"]["addresses"][0]["ip"], "172.17.3.4");
    assert_eq!(seen["interfaces"]["eth0"]["mac"], "02:11:22:33:44:55");
    host.run(&["--ip", "10.0.0.5"], &["true"]).code(125).says("10.0.0.5");
    let _taken = host.serve(&["--ip", "172.17.3.4"], 80);
    host.run(&["--ip", "172.17.3.4"], &["true"]).code(125).says("172.17.3.4");
}

#[test]
fn a_208_the_next_free_subnet_is_taken_where_172_17_is_not_free() {
    need!(Root);
    let host = Host::with_busybox();
    host.shell("ip link add other type bridge && ip addr add 172.17.0.1/16 dev other && ip link set other up").ok();
    let web = host.serve(&[], 80);
    assert_eq!(web.address(), "172.18.0.2");
    web.end();
}

#[test]
fn the_mtu_is_that_of_the_hosts_default_route() {
    need!(Root);
    let host = Host::with_busybox();
    host.shell("ip link set eth0 mtu 1400").ok();
    assert_eq!(host.see(&[])["interfaces"]["eth0"]["mtu_bytes"], 1400);
}

#[test]
fn a_209_the_hosts_own_interface_is_not_touched() {
    need!(Root);
    let host = Host::with_busybox();
    let shown = "ip -o addr show eth0; ip -o link show eth0; ip route show dev eth0";
    let before = host.shell(shown).ok().stdout;
    host.run(&["-p", "8080:80"], &["true"]).ok();
    assert_eq!(host.shell(shown).ok().stdout, before);
}

#[test]
fn a_154_no_veth_is_left_when_the_container_is_killed() {
    need!(Root);
    let host = Host::with_busybox();
    let web = host.serve(&[], 80);
    nix::sys::signal::kill(web.container_pid(), nix::sys::signal::Signal::SIGKILL).unwrap();
    web.wait().code(137);
    assert_eq!(host.shell("ip -o link show type veth | grep -c rbox0").text(), "0");
}

#[test]
fn a_151_the_new_network_namespace_has_its_own_everything() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = host.serve(&[], 80);
    let script = "ls /sys/class/net; readlink /proc/net; cat /proc/sys/net/ipv4/ip_forward; cat /proc/net/unix | wc -l";
    let output = host.run_text(&[], &["sh", "-c", script]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..3], ["eth0", "lo", "self/net"], "{output}");
    // The port is free in each namespace.
    let _second = host.serve(&[], 80);
}
