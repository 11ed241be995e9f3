//! How packets pass between networks and the world: published ports of both families, networks that are not translated,
//! and as whom each side knows the other.

use crate::isolation::{Pair, make, serve};
use crate::support::{Host, Running, known_as, need};

/// What a container of each network publishes.
const PUBLISHED: [(&str, u16); 3] = [("bridge", 8080), ("one", 8081), ("two", 8082)];

#[test]
fn a_098_containers_reach_what_other_networks_publish_in_every_order_of_creation() {
    need!(Root);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let host = Host::with_busybox();
        let start = |index: usize| -> Running {
            let (name, port) = PUBLISHED[index];
            if name != "bridge" {
                make(&host, name, u8::try_from(index).unwrap(), &[]);
            }
            serve(&host, &["--network", name, "-p", &format!("{port}:80")], "tcp")
        };
        let containers = order.map(start);
        let v4 = PUBLISHED.map(|(_, port)| format!("tcp 192.0.2.2 {port}"));
        let v6 = PUBLISHED[1..].iter().map(|(_, port)| format!("tcp 2001:db8::2 {port}"));
        let gateways = [("10.1.0.1", 8081), ("10.2.0.1", 8082), ("172.17.0.1", 8080)];
        let gateways = gateways.iter().map(|(gateway, port)| format!("tcp {gateway} {port}"));
        let all: Vec<String> = v4.into_iter().chain(gateways).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let v6: Vec<String> = v6.collect();
        let v6: Vec<&str> = v6.iter().map(String::as_str).collect();
        let own = ["tcp 172.17.0.2 80", "tcp 10.1.0.2 80", "tcp 10.2.0.2 80"];
        for (index, container) in order.iter().zip(&containers) {
            let (name, _) = PUBLISHED[*index];
            assert_eq!(container.reaches(&all), all, "from {name}, made in the order {order:?}");
            if name != "bridge" {
                assert_eq!(container.reaches(&v6), v6, "from {name}, made in the order {order:?}");
            }
            assert_eq!(container.reaches(&own), [own[*index]], "from {name}: but not by their own addresses");
        }
    }
}

/// A neighbour that has routes to `10.0.0.0/8` and `fd00::/8`, and serves TCP at port 7000.
fn neighbour(host: &Host) -> Running {
    host.neighbour().shell("ip route add 10.0.0.0/8 via 192.0.2.2; ip route add fd00::/8 via 2001:db8::2").ok();
    host.neighbour_serves(&["7000", "6"])
}

#[test]
fn unmasqueraded_networks_are_known_by_their_own_addresses_and_are_open_to_who_has_a_route() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    host.leave_rules_alone();
    let _server = neighbour(&host);
    make(&host, "nat", 1, &[]);
    make(&host, "plain", 2, &["-o", "masquerade=false"]);
    let (nat, plain) = (Pair::new(&host, "nat", 1, &[]), Pair::new(&host, "plain", 2, &["-p", "80"]));
    assert_eq!(plain.tcp.is_known_as("192.0.2.3", 7000, "tcp"), "10.2.0.2");
    assert_eq!(plain.tcp.is_known_as("2001:db8::3", 7000, "tcp"), "fd00:2::2");
    assert_eq!(nat.tcp.is_known_as("192.0.2.3", 7000, "tcp"), "192.0.2.2");
    assert_eq!(nat.tcp.is_known_as("2001:db8::3", 7000, "tcp"), "2001:db8::2");
    let neighbour = host.neighbour();
    assert_eq!(neighbour.reaches(&plain.questions()), plain.questions());
    assert_eq!(known_as(neighbour.connect("10.2.0.2", 80, "tcp")), "192.0.2.3");
    assert_eq!(known_as(neighbour.connect("fd00:2::2", 80, "tcp")), "2001:db8::3");
    // Published ports are translated there, too.
    assert_eq!(known_as(neighbour.connect("192.0.2.2", 49153, "tcp")), "192.0.2.3");
    assert_eq!(known_as(neighbour.connect("2001:db8::2", 49153, "tcp")), "2001:db8::3");
    // Open to the world is not open to the other networks.
    assert_eq!(nat.tcp.reaches(&plain.questions()), Vec::<String>::new());
    host.delete_rules("filter", &["RBOX-ISOLATION-STAGE-2", "-j DROP"]);
    assert_eq!(nat.tcp.reaches(&plain.questions()), plain.questions());
}

#[test]
fn of_a_routed_network_the_published_ports_are_reached_at_the_containers_own_addresses() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    host.leave_rules_alone();
    let _server = neighbour(&host);
    let modes = ["-o", "gateway_mode_ipv4=routed", "-o", "com.docker.network.bridge.gateway_mode_ipv6=routed"];
    make(&host, "routed", 3, &modes);
    let open = serve(&host, &["--network", "routed", "-p", "8080:80"], "tcp");
    let closed = serve(&host, &["--network", "routed"], "tcp");
    let (published, all) = (
        ["tcp 10.3.0.2 80", "tcp fd00:3::2 80"],
        ["tcp 10.3.0.2 80", "tcp fd00:3::2 80", "tcp 10.3.0.3 80", "tcp fd00:3::3 80"],
    );
    let neighbour = host.neighbour();
    assert_eq!(neighbour.reaches(&all), published);
    assert_eq!(known_as(neighbour.connect("10.3.0.2", 80, "tcp")), "192.0.2.3");
    assert_eq!(known_as(neighbour.connect("fd00:3::2", 80, "tcp")), "2001:db8::3");
    assert_eq!(closed.is_known_as("192.0.2.3", 7000, "tcp"), "10.3.0.3");
    assert_eq!(closed.is_known_as("2001:db8::3", 7000, "tcp"), "fd00:3::3");
    // Nothing is translated: at the host's own address there is no such port.
    assert_eq!(neighbour.reaches(&["tcp 192.0.2.2 8080", "tcp 2001:db8::2 8080"]), Vec::<String>::new());
    assert_eq!(closed.reaches(&all), all, "among themselves");
    assert_eq!(host.reaches(&all), all, "the host");
    host.delete_rules("filter", &["-A FORWARD -o rb-", "network-", "-j DROP"]);
    assert_eq!(neighbour.reaches(&all), all, "without the rule that shuts what is not published");
    open.end();
}

#[test]
fn a_network_can_be_routed_for_ipv6_and_translated_for_ipv4() {
    need!(Root);
    let host = Host::with_busybox();
    let _server = neighbour(&host);
    make(&host, "half", 3, &["-o", "gateway_mode_ipv6=routed"]);
    let web = serve(&host, &["--network", "half", "-p", "8080:80"], "tcp");
    let all = ["tcp 192.0.2.2 8080", "tcp 10.3.0.2 80", "tcp 2001:db8::2 8080", "tcp fd00:3::2 80"];
    assert_eq!(host.neighbour().reaches(&all), [all[0], all[3]]);
    assert_eq!(web.is_known_as("192.0.2.3", 7000, "tcp"), "192.0.2.2");
    assert_eq!(web.is_known_as("2001:db8::3", 7000, "tcp"), "fd00:3::2");
}

#[test]
fn published_ports_of_a_network_with_both_families_are_reached_natively() {
    need!(Root);
    let host = Host::with_busybox();
    make(&host, "dual", 6, &[]);
    let web = serve(&host, &["--network", "dual", "-p", "8080:80"], "tcp");
    let dns = serve(&host, &["--network", "dual", "-p", "5353:53/udp"], "udp");
    let neighbour = host.neighbour();
    for (port, protocol) in [(8080, "tcp"), (5353, "udp")] {
        assert_eq!(known_as(neighbour.connect("192.0.2.2", port, protocol)), "192.0.2.3", "{protocol}");
        assert_eq!(known_as(neighbour.connect("2001:db8::2", port, protocol)), "2001:db8::3", "{protocol}");
        let asked = ["127.0.0.1", "::1", "192.0.2.2", "2001:db8::2", "10.6.0.1", "fd00:6::1"];
        let asked = asked.map(|address| format!("{protocol} {address} {port}"));
        let asked = asked.each_ref().map(String::as_str);
        assert_eq!(host.reaches(&asked), asked, "the host");
        // Its own loopback is not the host's.
        let others = &asked[2..];
        assert_eq!(web.reaches(others), others, "a container of the network; of tcp itself, by the hairpin");
        assert_eq!(dns.reaches(others), others, "another one; of udp itself");
    }
    assert_eq!(known_as(host.connect("::1", 8080, "tcp")), "fd00:6::1", "by the relay, which is the host");
    assert_eq!(known_as(host.connect("2001:db8::2", 8080, "tcp")), "2001:db8::2", "by the kernel");
}

#[test]
fn ports_are_published_where_the_networks_binding_says() {
    need!(Root);
    let host = Host::with_busybox();
    make(&host, "bound", 6, &["-o", "host_binding=127.0.0.1"]);
    let all = ["tcp 127.0.0.1 8080", "tcp ::1 8080", "tcp 192.0.2.2 8080", "tcp 2001:db8::2 8080"];
    let (wire, routes) = (&all[2..], "ip route add 10.0.0.0/8 via 192.0.2.2; ip route add fd00::/8 via 2001:db8::2");
    host.neighbour().shell(routes).ok();
    for (flag, of_host, of_neighbour) in [
        ("8080:80", &all[..1], &[][..]),
        ("[::1]:8080:80", &all[1..2], &[]),
        ("192.0.2.2:8080:80", &all[2..3], &all[2..3]),
        ("[2001:db8::2]:8080:80", &all[3..], &all[3..]),
        ("0.0.0.0:8080:80", &[all[0], all[2]], &all[2..3]),
        ("[::]:8080:80", &[all[1], all[3]], &all[3..]),
    ] {
        let web = serve(&host, &["--network", "bound", "-p", flag], "tcp");
        assert_eq!(host.reaches(&all), of_host, "the host: -p {flag}");
        assert_eq!(host.neighbour().reaches(wire), of_neighbour, "the neighbour: -p {flag}");
        web.end();
    }
}

/// At which of a container's addresses published port 8080 comes out: for IPv4, for IPv6, for the host's own `::1`.
#[track_caller]
fn comes_out(host: &Host) -> [String; 3] {
    let neighbour = host.neighbour();
    let asked = [
        neighbour.connect("192.0.2.2", 8080, "tcp"),
        neighbour.connect("2001:db8::2", 8080, "tcp"),
        host.connect("::1", 8080, "tcp"),
    ];
    asked.map(|answer| answer.ok().json()["me"].as_str().unwrap().replace("::ffff:", ""))
}

/// `[10.N.0.2]:80` and `[fd00:N::2]:80`.
fn at(network: u8) -> [String; 3] {
    let v6 = format!("[fd00:{network}::2]:80");
    [format!("[10.{network}.0.2]:80"), v6.clone(), v6]
}

#[test]
fn ports_follow_the_way_out() {
    need!(Root);
    let host = Host::with_busybox();
    for (name, number) in [("aaa", 1), ("bbb", 2), ("zzz", 3)] {
        make(&host, name, number, &[]);
    }
    host.rbox(&["network", "create", "--subnet", "10.4.0.0/24", "four"]).ok();
    let flags = ["--name", "web", "--network", "bbb", "--network", "aaa", "-p", "8080:80"];
    let web = serve(&host, &flags, "tcp");
    let way_out = || {
        let routes = web.inside("ip route; ip -6 route").ok().stdout;
        let ways = routes.lines().filter_map(|line| line.strip_prefix("default via "));
        ways.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let rbox = |words: &[&str]| host.rbox(&[&["network"], words, &["web"]].concat()).ok();
    // Of equals the first by name, in whatever order they were typed: as Docker's.
    assert_eq!((comes_out(&host), way_out()), (at(1), vec!["10.1.0.1".to_owned(), "fd00:1::1".to_owned()]));
    rbox(&["disconnect", "aaa"]);
    assert_eq!((comes_out(&host), way_out()), (at(2), vec!["10.2.0.1".to_owned(), "fd00:2::1".to_owned()]));
    rbox(&["connect", "--gw-priority", "5", "zzz"]);
    assert_eq!((comes_out(&host), way_out()), (at(3), vec!["10.3.0.1".to_owned(), "fd00:3::1".to_owned()]));
    // The way out of IPv4 is another than that of IPv6: ports lead to where IPv4 goes, IPv6 by the relay.
    rbox(&["connect", "--gw-priority", "9", "four"]);
    let all_by_v4 = [(); 3].map(|()| "[10.4.0.2]:80".to_owned());
    assert_eq!((comes_out(&host), way_out()), (all_by_v4, vec!["10.4.0.1".to_owned(), "fd00:3::1".to_owned()]));
    rbox(&["disconnect", "four"]);
    assert_eq!(comes_out(&host), at(3));
    rbox(&["disconnect", "zzz"]);
    assert_eq!(comes_out(&host), at(2));
    assert_eq!(host.translated(), [(8080, "10.2.0.2:80".into())], "none is left of those before");
    rbox(&["disconnect", "bbb"]);
    let all = ["tcp 192.0.2.2 8080", "tcp 2001:db8::2 8080"];
    assert_eq!(host.neighbour().reaches(&all), Vec::<String>::new(), "they lead nowhere");
    rbox(&["connect", "aaa"]);
    assert_eq!(comes_out(&host), at(1), "and somewhere again");
    web.end();
}
