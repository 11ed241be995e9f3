//! ipvlan networks, and parents that rbox makes: VLANs on a card of the host's, and segments that lead nowhere.
//! Few kernels have all of it: these run in the VM.

use crate::isolation::serve;
use crate::support::{Host, known_as, need};

const NOBODY: [&str; 0] = [];

/// `network create` with words and a name.
#[track_caller]
fn make(host: &Host, words: &str) {
    host.rbox(&["network", "create"].into_iter().chain(words.split_whitespace()).collect::<Vec<_>>()).ok();
}

/// Whether the host has a link of this name.
fn is_there(host: &Host, link: &str) -> bool {
    host.shell(&format!("ip link show {link}")).code == 0
}

#[test]
fn ipvlan_l2_shares_the_segment_with_the_parents_hardware_address() {
    need!(Root, Ipvlan);
    let host = Host::with_busybox();
    let _server = host.neighbour_serves(&["7000", "6"]);
    make(
        &host,
        "-d ipvlan --ipv6 --subnet 192.0.2.0/24 --ip-range 192.0.2.128/28 --gateway 192.0.2.3
         --subnet 2001:db8::/64 --ip-range 2001:db8::80/124 --gateway 2001:db8::3 -o parent=eth0 seg",
    );
    let first = serve(&host, &["--network", "seg", "--name", "first"], "tcp");
    let second = serve(&host, &["--network", "seg"], "udp");
    let (to_first, to_second) =
        (["tcp 192.0.2.128 80", "tcp 2001:db8::80 80"], ["udp 192.0.2.129 53", "udp 2001:db8::81 53"]);
    assert_eq!(second.reaches(&to_first), to_first);
    assert_eq!(first.reaches(&to_second), to_second);
    let neighbour = host.neighbour();
    assert_eq!(neighbour.reaches(&[to_first, to_second].concat()), [to_first, to_second].concat());
    assert_eq!(known_as(neighbour.connect("192.0.2.128", 80, "tcp")), "192.0.2.3");
    assert_eq!(first.is_known_as("192.0.2.3", 7000, "tcp"), "192.0.2.128");
    assert_eq!(first.is_known_as("2001:db8::3", 7000, "tcp"), "2001:db8::80");
    // The neighbour reaches what the host does not: the kernel keeps a link from those on top of it.
    assert_eq!(host.reaches(&to_first), NOBODY);
    let mac = host.shell("cat /sys/class/net/eth0/address").ok().text().to_owned();
    assert_eq!(first.inside("cat /sys/class/net/eth0/address").ok().text(), mac);
    let format = "{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}";
    assert_eq!(host.rbox(&["inspect", "-f", format, "first"]).ok().text(), mac);
    let said = host.run(&["--network", "seg", "--mac-address", "02:11:22:33:44:55"], &["true"]).code(125).stderr;
    assert_eq!(said, "rbox: network seg: an ipvlan link has the hardware address of its parent\n");
    // All on one parent have one mode, so another is not let near.
    let other = ["network", "create", "-d", "ipvlan", "--subnet", "10.8.0.0/24", "-o", "parent=eth0"];
    let said = host.rbox(&[&other[..], &["-o", "ipvlan_mode=l3", "other"]].concat()).fails().stderr;
    assert_eq!(said, "rbox: network other: its parent eth0 is that of network seg already\n");
    host.rbox(&[&other[..], &["other"]].concat()).ok();
}

#[test]
fn ipvlan_l3_and_l3s_are_routed_by_the_host() {
    need!(Root, Ipvlan);
    for mode in ["l3", "l3s"] {
        let host = Host::with_busybox();
        let _server = host.neighbour_serves(&["7000", "6"]);
        make(
            &host,
            &format!(
                "-d ipvlan --ipv6 --subnet 10.8.0.0/24 --subnet fd00:8::/64 -o parent=eth0 -o ipvlan_mode={mode} far"
            ),
        );
        let first = serve(&host, &["--network", "far"], "tcp");
        let second = serve(&host, &["--network", "far"], "udp");
        let way = first.inside("ip route; ip -6 route").ok().stdout;
        assert!(way.contains("default dev eth0"), "{mode}: {way}");
        let (to_first, to_second) = (["tcp 10.8.0.2 80", "tcp fd00:8::2 80"], ["udp 10.8.0.3 53", "udp fd00:8::3 53"]);
        assert_eq!(second.reaches(&to_first), to_first, "{mode}");
        assert_eq!(first.reaches(&to_second), to_second, "{mode}");
        let neighbour = host.neighbour();
        assert_eq!(neighbour.reaches(&to_first), NOBODY, "{mode}: nobody has told it the way");
        neighbour.shell("ip route add 10.8.0.0/24 via 192.0.2.2; ip route add fd00:8::/64 via 2001:db8::2").ok();
        assert_eq!(neighbour.reaches(&[to_first, to_second].concat()), [to_first, to_second].concat(), "{mode}");
        assert_eq!(known_as(neighbour.connect("10.8.0.2", 80, "tcp")), "192.0.2.3", "{mode}");
        assert_eq!(first.is_known_as("192.0.2.3", 7000, "tcp"), "10.8.0.2", "{mode}");
        assert_eq!(first.is_known_as("2001:db8::3", 7000, "tcp"), "fd00:8::2", "{mode}");
    }
}

#[test]
fn a_vlan_is_made_for_its_network_and_goes_with_it() {
    need!(Root, Vlan);
    let host = Host::with_busybox();
    let neighbour = host.neighbour();
    let script = "set -e
         ip link add link eth0 name eth0.10 type vlan id 10; ip link set eth0.10 up; ip addr add 10.10.0.33/24 dev eth0.10
         ip link add link eth0 name eth0.20 type vlan id 20; ip link set eth0.20 up; ip addr add 10.20.0.33/24 dev eth0.20";
    neighbour.shell(script).ok();
    host.run(&["--network", "none"], &["true"]).ok();
    let before = host.snapshot();
    make(&host, "-d macvlan --subnet 10.10.0.0/24 -o parent=eth0.10 ten");
    assert!(is_there(&host, "eth0.10"));
    let web = serve(&host, &["--network", "ten"], "tcp");
    assert_eq!(web.reaches(&["ping 10.10.0.33"]), ["ping 10.10.0.33"]);
    assert_eq!(neighbour.reaches(&["tcp 10.10.0.2 80"]), ["tcp 10.10.0.2 80"]);
    // What has another tag is another segment, until it has the same.
    let other_tag = "ip link add link eth0 name eth0.30 type vlan id 30; ip link set eth0.30 up
                  ip addr flush dev eth0.10; ip addr add 10.10.0.33/24 dev eth0.30";
    neighbour.shell(other_tag).ok();
    assert_eq!(web.reaches(&["ping 10.10.0.33"]), NOBODY);
    neighbour.shell("ip addr flush dev eth0.30; ip addr add 10.10.0.33/24 dev eth0.10").ok();
    assert_eq!(web.reaches(&["ping 10.10.0.33"]), ["ping 10.10.0.33"]);
    web.end();
    // As after a reboot: it is made again when it is needed.
    host.shell("ip link delete eth0.10").ok();
    host.run(&["--network", "ten"], &["ping", "-q", "-c", "1", "-W", "2", "10.10.0.33"]).ok();
    // Two networks may stand on it; the last takes it away.
    make(&host, "-d macvlan --subnet 10.11.0.0/24 -o parent=eth0.10 eleven");
    host.rbox(&["network", "rm", "ten"]).ok();
    assert!(is_there(&host, "eth0.10"));
    host.run(&["--network", "eleven"], &["true"]).ok();
    host.rbox(&["network", "rm", "eleven"]).ok();
    assert!(!is_there(&host, "eth0.10"));
    // One that was there is the host's.
    host.shell("ip link add link eth0 name eth0.20 type vlan id 20").ok();
    make(&host, "-d macvlan --subnet 10.20.0.0/24 -o parent=eth0.20 twenty");
    host.run(&["--network", "twenty"], &["ping", "-q", "-c", "1", "-W", "2", "10.20.0.33"]).ok();
    host.rbox(&["network", "rm", "twenty"]).ok();
    assert!(is_there(&host, "eth0.20"));
    host.shell("ip link delete eth0.20").ok();
    host.assert_unchanged(&before);
    let no_tag = ["network", "create", "-d", "macvlan", "--subnet", "10.1.0.0/24", "-o", "parent=eth0.4095", "one"];
    host.rbox(&no_tag).fails().says("its parent eth0.4095 is not there");
}

#[test]
fn without_a_parent_containers_have_a_segment_to_themselves() {
    need!(Root, Dummy);
    for (driver, flag) in [("macvlan", ""), ("macvlan", "--internal")] {
        let host = Host::with_busybox();
        host.run(&["--network", "none"], &["true"]).ok();
        let before = host.snapshot();
        make(&host, &format!("-d {driver} {flag} --ipv6 --subnet 10.12.0.0/24 --subnet fd00:12::/64 alone"));
        assert!(host.shell("ls /sys/class/net").ok().stdout.contains("rbd-"), "{driver} {flag}");
        let web = serve(&host, &["--network", "alone"], "tcp");
        let other = serve(&host, &["--network", "alone"], "tcp");
        let (mine, out) = (["tcp 10.12.0.2 80", "tcp fd00:12::2 80"], ["ping 192.0.2.3", "ping 2001:db8::3"]);
        assert_eq!(other.reaches(&mine), mine, "{driver} {flag}");
        assert_eq!(other.reaches(&out), NOBODY, "{driver} {flag}");
        let routes = "ip route add 10.12.0.0/24 via 192.0.2.2; ip route add fd00:12::/64 via 2001:db8::2";
        host.neighbour().shell(routes).ok();
        assert_eq!(host.neighbour().reaches(&mine), NOBODY, "{driver} {flag}");
        web.end();
        other.end();
        host.rbox(&["network", "rm", "alone"]).ok();
        host.assert_unchanged(&before);
    }
}
