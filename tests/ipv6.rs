//! IPv6 of networks: where it is, where it is not, and what becomes of the host's own.

use crate::isolation::{make, serve};
use crate::support::{Host, Running, need};

/// What the kernel lists of a family 6: address, interface.
fn addresses(shown: &str) -> Vec<(String, String)> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    shown.lines().map(words).map(|words| (words[0].clone(), words[5].clone())).collect()
}

#[test]
fn a_container_has_ipv6_where_its_network_has_and_nowhere_else() {
    need!(Root, Ipv6);
    let host = Host::with_busybox();
    make(&host, "dual", 1, &[]);
    host.rbox(&["network", "create", "four"]).ok();
    let idle = |flags: &[&str]| -> Running { host.run_ready(flags, &["/probe", "signal-wait"]) };
    let seen = |container: &Running| addresses(&container.inside("cat /proc/net/if_inet6").ok().stdout);
    let four = idle(&["--name", "four", "--network", "four"]);
    assert_eq!(seen(&four), [], "not even ::1");
    let both = idle(&["--network", "four", "--network", "dual"]);
    let interfaces: Vec<String> = seen(&both).into_iter().map(|(_, interface)| interface).collect();
    assert!(interfaces.iter().all(|name| name == "eth1" || name == "lo"), "{interfaces:?}");
    let own = ("fd000001000000000000000000000002".to_owned(), "eth1".to_owned());
    assert!(seen(&both).contains(&own), "{:?}", seen(&both));
    // One that runs gets it with its first network that has it, and there alone.
    host.rbox(&["network", "connect", "dual", "four"]).ok();
    let interfaces: Vec<String> = seen(&four).into_iter().map(|(_, interface)| interface).collect();
    assert!(interfaces.contains(&"eth1".to_owned()), "{interfaces:?}");
    assert!(interfaces.iter().all(|name| name == "eth1" || name == "lo"), "{interfaces:?}");
    assert_eq!(four.reaches(&["ping fd00:1::1", "ping ::1"]), ["ping fd00:1::1", "ping ::1"]);
}

#[test]
fn addresses_can_be_used_from_the_first_moment() {
    need!(Root, Ipv6);
    let host = Host::with_busybox();
    let _server = host.neighbour_serves(&["7000", "6"]);
    for number in 1..=3 {
        let name = format!("n{number}");
        make(&host, &name, number, &["-o", &format!("name={name}")]);
        let tentative = format!("ip -6 addr show dev {name} tentative");
        assert_eq!(host.shell(&tentative).ok().text(), "", "of the bridge");
        // The first that the first program does is to ask the neighbour, and the first packet has to come through.
        let script = "/probe connect 2001:db8::3 7000 >/heard || exit 1; ip -6 addr | grep tentative; cat /heard";
        let heard = host.run(&["--network", &name], &["sh", "-c", script]).ok();
        assert!(heard.json()["you"].as_str().unwrap().starts_with("[2001:db8::2]:"), "{heard}");
        let web = serve(&host, &["--network", &name, "-p", "8080:80"], "tcp");
        assert_eq!(host.neighbour().reaches(&["tcp 2001:db8::2 8080"]).len(), 1);
        web.end();
    }
}

/// Have the neighbour say that it is a router, for so many seconds (RFC 4861, section 4.2).
#[track_caller]
fn announce(host: &Host, seconds: u32) {
    // Options of ipv6(7): 16 and 18 are the hop limits, which have to be 255; 17 is the interface.
    let script = format!(
        "while ip -6 addr show dev eth0 | grep -q tentative; do sleep 0.1; done
         exec perl -MSocket=inet_pton,pack_sockaddr_in6 -e '
         $at = shift; socket(S, 10, 3, 58) or die $!;
         setsockopt(S, 41, $_, pack(\"i\", 255)) or die $! for 16, 18; setsockopt(S, 41, 17, pack(\"I\", $at)) or die $!;
         send(S, pack(\"CCnCCnNN\", 134, 0, 0, 64, 0, {seconds}, 0, 0), 0,
             pack_sockaddr_in6(0, inet_pton(10, \"ff02::1\"), $at)) or die $!' $(cat /sys/class/net/eth0/ifindex)"
    );
    host.neighbour().shell(&script).ok();
}

/// For how many seconds the host's default route is good that a router has announced.
fn announced(host: &Host) -> Option<u32> {
    let shown = host.shell("ip -6 route show default proto ra").ok().stdout;
    shown.split("expires ").nth(1).map(|rest| rest.split("sec").next().unwrap().parse().unwrap())
}

#[track_caller]
pub(crate) fn wait_for(what: &str, is: impl Fn() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !is() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn the_hosts_own_way_out_survives_that_it_forwards() {
    need!(Root, Ipv6);
    let forwarding = "cat /proc/sys/net/ipv6/conf/all/forwarding";
    let host = Host::with_busybox();
    announce(&host, 100);
    wait_for("the first announcement is believed", || announced(&host).is_some());
    assert_eq!(host.shell(forwarding).ok().text(), "0");
    make(&host, "dual", 1, &[]);
    assert_eq!(host.shell(forwarding).ok().text(), "1");
    assert!(announced(&host).is_some_and(|seconds| seconds <= 100), "{:?}", announced(&host));
    announce(&host, 1000);
    wait_for("the next is believed, too", || announced(&host).is_some_and(|seconds| seconds > 100));
    // The twin: a host that forwards and has not been told to go on listening.
    let host = Host::with_busybox();
    announce(&host, 100);
    wait_for("the first announcement is believed", || announced(&host).is_some());
    host.shell("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding").ok();
    assert_eq!(announced(&host), None);
}

#[test]
fn a_network_with_ipv6_is_large_enough_for_it_also_where_the_way_out_is_not() {
    need!(Root, Ipv6);
    let host = Host::with_busybox();
    host.shell("ip link set eth0 mtu 1000").ok();
    make(&host, "dual", 1, &[]);
    make(&host, "small", 2, &["-o", "mtu=1280"]);
    host.rbox(&["network", "create", "four"]).ok();
    let all = ["ping fd00:1::1", "ping fd00:2::1"];
    for (network, mtu, gateway) in [("dual", "1280", &all[..1]), ("small", "1280", &all[1..]), ("four", "1000", &[])] {
        let idle = host.run_ready(&["--network", network], &["/probe", "signal-wait"]);
        assert_eq!(idle.inside("cat /sys/class/net/eth0/mtu").ok().text(), mtu, "{network}");
        assert_eq!(idle.reaches(gateway), gateway, "{network}");
    }
}
