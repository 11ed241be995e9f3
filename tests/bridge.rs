//! The default bridge: A-050 to A-069, A-110, A-111.

use crate::support::{Host, Running, need};
use serde_json::json;

#[test]
fn a_051_a_203_eth0_has_address_mac_mtu_and_flags() {
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
fn a_052_the_mac_is_made_of_the_address() {
    need!(Root);
    let host = Host::with_busybox();
    for (address, mac) in [
        ("172.17.0.2", "02:42:ac:11:00:02"),
        ("172.17.3.4", "02:42:ac:11:03:04"),
        ("172.17.200.255", "02:42:ac:11:c8:ff"),
    ] {
        assert_eq!(host.run_text(&["--ip", address], &["cat", "/sys/class/net/eth0/address"]), mac);
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
fn a_056_the_bridge_is_made_at_first_use_and_kept() {
    need!(Root);
    let host = Host::with_busybox();
    let links = || host.shell("ls /sys/class/net").ok().text().to_owned();
    assert_eq!(links(), "eth0\nlo");
    host.run(&["--network", "none"], &["true"]).ok();
    assert_eq!(links(), "eth0\nlo", "nobody has used it yet");
    host.run(&[], &["true"]).ok();
    assert_eq!(links(), "eth0\nlo\nrbox0");
}

#[test]
fn a_057_a_203_the_bridge_on_the_host() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = host.serve(&[], 80);
    let shown = host.shell("ip addr show rbox0").ok().stdout;
    let lines: Vec<&str> = shown.lines().map(str::trim).filter(|line| !line.starts_with("valid_lft")).collect();
    let head = "rbox0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP group default";
    assert_eq!(lines[0].split_once(": ").unwrap().1.trim(), head);
    let mac = lines[1].split_whitespace().nth(1).unwrap();
    assert_eq!(lines[1], format!("link/ether {mac} brd ff:ff:ff:ff:ff:ff"));
    assert_eq!(lines[2], "inet 172.17.0.1/16 brd 172.17.255.255 scope global rbox0");
    // The kernel makes the address of the MAC: 02:42:d7:6f:b4:ff becomes fe80::42:d7ff:fe6f:b4ff (RFC 4291, appendix A).
    assert!(mac.starts_with("02:42:"), "{mac}");
    let word = |index: usize| u32::from_str_radix(mac.split(':').nth(index).unwrap(), 16).unwrap();
    let own = format!("fe80::42:{:x}:fe{:02x}:{:x}", word(2) << 8 | 0xff, word(3), word(4) << 8 | word(5));
    assert!(lines[3].starts_with(&format!("inet6 {own}/64 scope link")), "{own}: {shown}");
    assert_eq!(lines.len(), 4, "{shown}");
    // The four bytes are random, else two hosts on one wire would clash.
    let other = Host::with_busybox();
    other.run(&[], &["true"]).ok();
    assert_ne!(other.shell("cat /sys/class/net/rbox0/address").ok().text(), mac);
}

/// The name, on the host, of the other end of a container's `eth0`.
fn port_of(host: &Host, container: &Running) -> String {
    let index = container.inside("cat /sys/class/net/eth0/iflink").ok();
    let line = host.shell(&format!("ip -o link | grep '^{}: '", index.text())).ok();
    line.text().split_whitespace().nth(1).unwrap().split('@').next().unwrap().to_owned()
}

#[test]
fn a_058_a_059_a_064_each_container_adds_one_veth_on_the_bridge() {
    need!(Root);
    let host = Host::with_busybox();
    let count = || host.shell("ls /sys/class/net | wc -l").ok().text().parse::<u32>().unwrap();
    let before = count();
    let [web, other] = [(); 2].map(|()| host.serve(&[], 80));
    // The bridge and two cables.
    assert_eq!(count(), before + 3);
    let macs = [&web, &other].map(|container| {
        let name = port_of(&host, container);
        let tail = name.strip_prefix("veth").unwrap();
        assert!(tail.len() == 7 && tail.bytes().all(|byte| byte.is_ascii_hexdigit()), "A-059: {name}");
        let shown = host.shell(&format!("ip addr show {name}")).ok().stdout;
        let lines: Vec<&str> = shown.lines().map(str::trim).filter(|line| !line.starts_with("valid_lft")).collect();
        let inside = container.inside("cat /sys/class/net/eth0/ifindex").ok().text().to_owned();
        let head = format!(
            "{name}@if{inside}: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue master rbox0 state UP group default"
        );
        assert_eq!(lines[0].split_once(": ").unwrap().1.trim(), head, "A-058, A-059");
        let mac = lines[1].split_whitespace().nth(1).unwrap().to_owned();
        assert!(lines[1].starts_with("link/ether ") && lines[1].contains(" link-netnsid "), "A-058: {shown}");
        assert!(lines[2..].iter().all(|line| line.starts_with("inet6 fe80::")), "A-058, A-064: {shown}");
        let port = host.shell(&format!("bridge link show dev {name}")).ok().stdout;
        assert!(port.contains(" master rbox0 state forwarding"), "A-064: {port}");
        mac
    });
    assert!(macs[0] != macs[1] && !macs[0].starts_with("02:42:ac:11"), "A-058, random: {macs:?}");
    web.end();
    other.end();
    assert_eq!(count(), before + 1);
}

#[test]
fn a_060_a_061_a_200_addresses_are_the_lowest_free() {
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
    let routes = again.inside("ip route").ok();
    assert!(routes.stdout.starts_with("default via 172.17.0.1 dev eth0"), "A-060: {routes}");
}

#[test]
fn a_062_a_207_containers_talk_to_each_other_by_address() {
    need!(Root);
    let host = Host::with_busybox();
    let first = host.serve(&[], 80);
    let heard = host.run(&[], &["/probe", "connect", &first.address(), "80"]).ok().json();
    assert!(heard["you"].as_str().unwrap().starts_with("172.17.0.3:"), "{heard}");
    let ping = host.run(&[], &["ping", "-c", "1", &first.address()]).ok();
    assert!(ping.stdout.contains("ttl=64"), "A-207: {ping}");
}

#[test]
fn a_050_a_063_a_100_the_outside_is_reached_through_the_bridge_with_the_hosts_address() {
    need!(Root);
    let host = Host::with_busybox();
    let probe = crate::support::probe().display().to_string();
    // The neighbour answers with the address it sees: the host's, not the container's (masquerading).
    let pid = std::fs::read_to_string(host.path("neighbour.pid")).unwrap();
    let mut server = host.spawn("nsenter", &[&format!("--net=/proc/{pid}/ns/net"), &probe, "serve", "7000"]);
    server.wait_for("ready");
    let web = host.serve(&[], 80);
    let passed = || host.shell("cat /sys/class/net/rbox0/statistics/rx_bytes").ok().text().parse::<u64>().unwrap();
    let before = passed();
    let heard = web.inside("/probe connect 192.0.2.3 7000").ok().json();
    assert!(heard["you"].as_str().unwrap().starts_with("192.0.2.2:"), "{heard}");
    assert!(passed() > before, "A-050: through rbox0");
    // A-063: whom it asked to carry it is the bridge itself.
    let bridge = host.shell("cat /sys/class/net/rbox0/address").ok().text().to_owned();
    let neighbours = web.inside("cat /proc/net/arp").ok().stdout;
    let gateway =
        neighbours.lines().find(|line| line.starts_with("172.17.0.1 ")).unwrap_or_else(|| panic!("{neighbours}"));
    assert!(gateway.contains(&bridge), "{bridge}: {gateway}");
}

#[test]
fn a_065_from_container_to_container_by_arp_and_what_the_bridge_has_learned() {
    need!(Root);
    let host = Host::with_busybox();
    let [first, second, third] = [(); 3].map(|()| host.serve(&[], 80));
    let route = second.inside("ip route get 172.17.0.2").ok();
    assert!(route.stdout.starts_with("172.17.0.2 dev eth0 "), "on the link, without a gateway: {route}");
    // What arrives at the third one's card: the question to all, and nothing of the talk that follows. (What the bridge itself
    // says to all by IGMP is no part of either.)
    let enter = format!("nsenter --net=/proc/{}/ns/net nft", third.container_pid());
    let card = "add table netdev t; add chain netdev t c { type filter hook ingress device eth0 priority 0; }
        add rule netdev t c arp operation request arp daddr ip 172.17.0.2 counter comment question
        add rule netdev t c ip daddr { 172.17.0.2, 172.17.0.3 } counter comment talk";
    let written = std::process::Command::new("sh").args(["-c", &format!("{enter} -f - <<'EOF'\n{card}\nEOF")]).status();
    assert!(written.unwrap().success());
    for _ in 0..20 {
        second.inside("/probe connect 172.17.0.2 80").ok();
    }
    let listed =
        std::process::Command::new("sh").args(["-c", &format!("{enter} list table netdev t")]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let count = |comment: &str| -> u32 {
        let rule = listed.lines().find(|line| line.contains(comment)).unwrap_or_else(|| panic!("{listed}"));
        rule.split("packets ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    assert!(count("question") >= 1, "{listed}");
    assert_eq!(count("talk"), 0, "{listed}");
    let neighbours = second.inside("cat /proc/net/arp").ok().stdout;
    assert!(neighbours.contains("172.17.0.2 ") && neighbours.contains("02:42:ac:11:00:02"), "{neighbours}");
    let learned = host.shell("bridge fdb show br rbox0").ok().stdout;
    for (mac, container) in [("02:42:ac:11:00:02", &first), ("02:42:ac:11:00:03", &second)] {
        let line = format!("{mac} dev {} master rbox0", port_of(&host, container));
        assert!(learned.lines().any(|entry| entry.trim() == line), "{line}: {learned}");
    }
}

#[test]
fn a_067_containers_without_a_network_cannot_talk() {
    need!(Root);
    let host = Host::with_busybox();
    let alone = host.serve(&["--network", "none"], 80);
    let _web = host.serve(&[], 80);
    let _other = host.serve(&["--network", "none"], 81);
    for there in ["172.17.0.1 80", "172.17.0.2 80", "192.0.2.2 80"] {
        alone.inside(&format!("/probe connect {there}")).fails().says("NetworkUnreachable");
    }
    // lo is each one's own.
    alone.inside("/probe connect 127.0.0.1 80").ok();
    alone.inside("/probe connect 127.0.0.1 81").fails().says("ConnectionRefused");
    host.connect("127.0.0.1", 80, "tcp").fails().says("ConnectionRefused");
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
fn a_110_a_111_the_hosts_file() {
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

/// arp(7): who has spoken to an address remembers its hardware address, for half a minute and more.
#[test]
fn a_neighbour_that_knew_another_hardware_address_is_told_the_new_one() {
    need!(Root);
    let host = Host::with_busybox();
    let idle = |flags: &[&str]| host.run_ready(flags, &["/probe", "signal-wait"]);
    let peer = idle(&[]);
    let first = idle(&["--mac-address", "02:11:22:33:44:55"]);
    let address = first.address();
    let known = || peer.inside("cat /proc/net/arp").ok().stdout;
    peer.inside(&format!("ping -c 1 -W 1 {address}")).ok();
    assert!(known().contains("02:11:22:33:44:55"), "{}", known());
    first.end();
    let second = idle(&[]);
    assert_eq!(second.address(), address, "it is the next one's");
    assert!(known().contains("02:42:ac:11:00:03") && !known().contains("02:11:22:33:44:55"), "{}", known());
    second.end();

    // Where everybody's follows from his address, nobody has to be told: on a bridge with many ports that takes long. Who has
    // asked in vain for an address would take what he is told of it.
    host.rbox(&["network", "create", "calm"]).ok();
    let asker = idle(&["--network", "calm"]);
    asker.inside("ping -c 1 -W 1 172.18.0.3").code(1);
    // Three questions, a second apart: after them it asks no more, and nobody answers who is there by chance.
    asker.inside("until ip neigh show 172.18.0.3 | grep FAILED; do sleep 0.1; done").ok();
    let known = || asker.inside("grep 172.18.0.3 /proc/net/arp").ok().stdout;
    let mac = host.run(&["--network", "calm"], &["cat", "/sys/class/net/eth0/address"]).ok();
    assert!(mac.text() == "02:42:ac:12:00:03" && known().contains("00:00:00:00:00:00"), "{mac}{}", known());
    host.run(&["--network", "calm", "--mac-address", "02:11:22:33:44:56"], &["true"]).ok();
    assert!(known().contains("02:11:22:33:44:56"), "{}", known());
}
