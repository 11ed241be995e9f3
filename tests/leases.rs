//! What a container gets in a user-defined network: address, hardware address, interface, MTU, gateway; and which subnet
//! the network gets.

use crate::support::{BUSYBOX, Host, Running, need};

fn idle(host: &Host, flags: &[&str]) -> Running {
    host.run_ready(flags, &["/probe", "signal-wait"])
}

/// `network create`, with words for all that is not its name.
#[track_caller]
fn make(host: &Host, words: &[&str]) {
    host.rbox(&[&["network", "create"], words].concat()).ok();
}

#[track_caller]
fn subnet(host: &Host, network: &str) -> String {
    let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
    host.rbox(&["network", "inspect", "-f", format, network]).ok().text().to_owned()
}

#[test]
fn the_mtu_is_the_networks_or_that_of_the_hosts_way_out() {
    need!(Root);
    let host = Host::with_busybox();
    make(&host, &["--subnet", "10.1.0.0/24", "-o", "mtu=1300", "-o", "name=small0", "small"]);
    make(&host, &["--subnet", "10.2.0.0/24", "-o", "name=free0", "free"]);
    let mtu = |flags: &[&str]| host.see(flags)["interfaces"]["eth0"]["mtu_bytes"].clone();
    assert_eq!((mtu(&["--network", "small"]), mtu(&["--network", "free"])), (1300.into(), 1500.into()));
    host.shell("ip link set eth0 mtu 1400").ok();
    assert_eq!((mtu(&["--network", "small"]), mtu(&["--network", "free"])), (1300.into(), 1400.into()));
    let _small = idle(&host, &["--network", "small", "--ip", "10.1.0.9"]);
    let _free = idle(&host, &["--network", "free", "--ip", "10.2.0.9"]);
    // 28 bytes are the headers of IPv4 and ICMP; what does not fit may not be cut up.
    for (address, fits) in [("10.1.0.9", 1272), ("10.2.0.9", 1372)] {
        let ping = |size: u32| host.shell(&format!("ping -q -c 1 -W 2 -M do -s {size} {address}"));
        ping(fits).ok();
        ping(fits + 1).fails();
    }
}

#[test]
fn interfaces_are_called_as_the_network_or_the_container_says() {
    need!(Root);
    let host = Host::with_busybox();
    make(&host, &["one"]);
    make(&host, &["-o", "interface_prefix=net", "two"]);
    make(&host, &["-o", "com.docker.network.container_iface_prefix=net", "three"]);
    let seen = host.see(&[
        "--network",
        "two",
        "--network",
        "name=one,ifname=wan.10",
        "--network",
        "three",
        "--network",
        "bridge",
    ]);
    let mut names: Vec<&String> = seen["interfaces"].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["eth0", "lo", "net0", "net1", "wan.10"]);
    let twice = ["--network", "name=one,ifname=eth7", "--network", "name=two,ifname=eth7"];
    host.run(&twice, &["true"]).code(125).says("interface eth7: the container has one of this name");
    host.run(&["--network", "name=one,ifname=lo"], &["true"]).code(125).says("interface lo: ");
}

#[test]
fn addresses_can_be_chosen() {
    need!(Root);
    let host = Host::with_busybox();
    let flags = ["--ipv6", "--subnet", "10.1.0.0/24", "--subnet", "fd00:1::/64", "--aux-address", "nas=10.1.0.77"];
    make(&host, &[&flags[..], &["one"]].concat());
    make(&host, &["--subnet", "10.2.0.0/24", "two"]);
    let chosen = ["--network", "one", "--ip", "10.1.0.50", "--ip6", "fd00:1::50", "--mac-address", "02:11:22:33:44:55"];
    let seen = host.see(&[&chosen[..], &["--network", "name=two,ip=10.2.0.60,mac=02:11:22:33:44:66"]].concat());
    let interfaces = &seen["interfaces"];
    let ips = |name: &str| -> Vec<String> {
        let all = interfaces[name]["addresses"].as_array().unwrap().iter();
        let own = all.map(|it| it["ip"].as_str().unwrap().to_owned());
        own.filter(|ip| !ip.starts_with("fe80:")).collect()
    };
    assert_eq!(ips("eth0"), ["10.1.0.50", "fd00:1::50"]);
    assert_eq!(interfaces["eth0"]["mac"], "02:11:22:33:44:55");
    assert_eq!((ips("eth1"), &interfaces["eth1"]["mac"]), (vec!["10.2.0.60".to_owned()], &"02:11:22:33:44:66".into()));
    let _web = idle(&host, &[&chosen[..], &["--name", "web"]].concat());
    for (flag, address, why) in [
        ("--ip", "10.1.0.50", "cannot lease address 10.1.0.50: already in use (by container web)"),
        ("--ip6", "fd00:1::50", "cannot lease address fd00:1::50: already in use (by container web)"),
        ("--ip", "10.2.0.7", "address 10.2.0.7: not in subnet 10.1.0.0/24 of network one"),
        ("--ip6", "fd00:2::7", "address fd00:2::7: not in subnet fd00:1::/64 of network one"),
        ("--ip", "10.1.0.1", "address 10.1.0.1: it is the gateway of network one"),
        ("--ip6", "fd00:1::1", "address fd00:1::1: it is the gateway of network one"),
        ("--ip", "10.1.0.77", "address 10.1.0.77: network one keeps it for nas"),
        ("--ip", "10.1.0.255", "address 10.1.0.255: the first and the last address of 10.1.0.0/24 belong to nobody"),
    ] {
        let said = host.run(&["--network", "one", flag, address], &["true"]).code(125).stderr;
        assert_eq!(said, format!("rbox: {why}\n"));
    }
    let said = host.run(&["--network", "two", "--ip6", "fd00:2::7"], &["true"]).code(125).stderr;
    assert_eq!(said, "rbox: address fd00:2::7: network two has no IPv6\n");
}

#[test]
fn gateway_range_and_addresses_of_others_are_kept() {
    need!(Root);
    let host = Host::with_busybox();
    let subnet = ["--subnet", "10.7.0.0/24", "--gateway", "10.7.0.254", "--ip-range", "10.7.0.64/30"];
    make(&host, &[&subnet[..], &["--aux-address", "nas=10.7.0.65", "few"]].concat());
    let running = [(); 3].map(|()| idle(&host, &["--network", "few"]));
    assert_eq!(running.each_ref().map(Running::address), ["10.7.0.64", "10.7.0.66", "10.7.0.67"]);
    let said = host.run(&["--network", "few"], &["true"]).code(125).stderr;
    assert_eq!(said, "rbox: cannot find a free address on network few: all of 10.7.0.64/30 are leased\n");
    let routes = running[0].inside("ip route").ok().stdout;
    assert!(routes.starts_with("default via 10.7.0.254 dev eth0"), "{routes}");
    running[0].inside("ping -q -c 1 -W 2 10.7.0.254").ok();
    running[0].inside("ping -q -c 1 -W 2 10.7.0.66").ok();
    // Outside of the range one can be chosen.
    let chosen = idle(&host, &["--network", "few", "--ip", "10.7.0.9"]);
    running[0].inside("ping -q -c 1 -W 2 10.7.0.9").ok();
    chosen.end();
}

#[test]
fn a_small_subnet_is_used_up_to_its_last_address_and_what_is_given_back_is_used_again() {
    need!(Root);
    let host = Host::with_busybox();
    make(&host, &["--subnet", "10.7.0.0/29", "few"]);
    let mut running: Vec<Running> = (0..5).map(|_| idle(&host, &["--network", "few"])).collect();
    let addresses: Vec<String> = running.iter().map(Running::address).collect();
    assert_eq!(addresses, ["10.7.0.2", "10.7.0.3", "10.7.0.4", "10.7.0.5", "10.7.0.6"]);
    let before = host.snapshot();
    let said = host.run(&["--network", "few"], &["true"]).code(125).stderr;
    assert_eq!(said, "rbox: cannot find a free address on network few: all of 10.7.0.0/29 are leased\n");
    host.assert_unchanged(&before);
    running.remove(2).end();
    assert_eq!(idle(&host, &["--network", "few"]).address(), "10.7.0.4");
}

#[test]
fn a_208_subnets_skip_the_hosts_routes_its_resolvers_and_other_networks() {
    need!(Root);
    let host = Host::with_busybox();
    // The seed's own host, and a resolver that no link of the host is near to.
    host.shell("ip addr add 172.18.3.67/20 dev eth0; echo 'nameserver 172.18.16.53' >>/etc/resolv.conf").ok();
    for (name, free) in [("one", "172.18.17.0/24"), ("two", "172.18.18.0/24")] {
        make(&host, &[name]);
        assert_eq!(subnet(&host, name), free);
    }
    host.rbox(&["network", "rm", "one"]).ok();
    make(&host, &["three"]);
    assert_eq!(subnet(&host, "three"), "172.18.17.0/24", "what was given back");
    for (asked, why) in [
        ("172.18.0.0/24", "link eth0 has 172.18.0.0/20"),
        ("172.18.16.0/20", "network three has 172.18.17.0/24"),
        ("172.17.0.0/16", "network bridge has 172.17.0.0/16"),
        ("192.0.2.0/25", "link eth0 has 192.0.2.0/24"),
    ] {
        let said = host.rbox(&["network", "create", "--subnet", asked, "four"]).fails().stderr;
        assert_eq!(said, format!("rbox: subnet {asked}: it is in use: {why}\n"));
    }
}

#[test]
fn when_no_subnet_is_free_the_error_says_what_is_in_the_way() {
    need!(Root);
    let host = Host::with_busybox();
    host.shell(
        "for one in wide0 wide1; do ip link add $one type bridge; ip link set $one up; done
         ip addr add 172.16.0.1/12 dev wide0; ip addr add 192.168.0.1/16 dev wide1",
    )
    .ok();
    host.run(&["--network", "none"], &["true"]).ok();
    let before = host.snapshot();
    let said = host.rbox(&["network", "create", "one"]).fails().stderr;
    assert_eq!(
        said,
        "rbox: cannot find a free subnet for network one: 172.16.0.0/12 and 192.168.0.0/16 are in use by \
         link wide0 (172.16.0.0/12), link wide1 (192.168.0.0/16)\n"
    );
    host.assert_unchanged(&before);
    // The default network is as badly off, which concerns its own containers alone.
    let said = host.run(&[], &["true"]).code(125).stderr;
    assert!(said.starts_with("rbox: cannot find a free subnet for network bridge: 172.16.0.0/12 and "), "{said}");
    host.rbox(&["network", "inspect", "bridge"]).ok();
    make(&host, &["--subnet", "10.9.0.0/24", "one"]);
    host.run(&["--network", "one"], &["ping", "-q", "-c", "1", "10.9.0.1"]).ok();
    host.shell("ip link delete wide1").ok();
    assert_eq!(host.serve(&[], 80).address(), "192.168.0.2");
}

#[test]
fn of_two_creations_of_one_name_at_once_one_wins() {
    need!(Root);
    let host = Host::with_busybox();
    for _ in 0..5 {
        let both = [(); 2].map(|()| host.rbox_spawn(&["network", "create", "same"])).map(Running::wait);
        let mut codes = both.each_ref().map(|output| output.code);
        codes.sort_unstable();
        assert!(codes[0] == 0 && codes[1] != 0, "{} {}", both[0], both[1]);
        let lost = both.iter().find(|output| output.code != 0).unwrap();
        assert_eq!(lost.stderr, "rbox: network same: there is one of this name already\n");
        assert_eq!(host.shell("ls /sys/class/net | grep -c '^rb-'").text(), "1");
        host.run(&["--network", "same"], &["true"]).ok();
        host.rbox(&["network", "rm", "same"]).ok();
    }
}

#[test]
fn forty_networks_at_once() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&[], &["true"]).ok();
    host.rbox(&["network", "reset"]).ok();
    let before = host.snapshot();
    let names: Vec<String> = (0..40).map(|number| format!("n{number}")).collect();
    let running: Vec<Running> = names.iter().map(|name| host.rbox_spawn(&["network", "create", name])).collect();
    running.into_iter().for_each(|one| drop(one.wait().ok()));
    let mut subnets: Vec<String> = names.iter().map(|name| subnet(&host, name)).collect();
    subnets.sort();
    subnets.dedup();
    assert_eq!(subnets.len(), 40, "{subnets:?}");
    assert_eq!(host.shell("ls /sys/class/net | grep -c '^rb-'").text(), "40");
    // The first and the last made work, and are apart.
    let web = host.serve(&["--network", "n0"], 80);
    let address = web.address();
    host.run(&["--network", "n0"], &["/probe", "connect", &address, "80"]).ok();
    host.run(&["--network", "n39"], &["/probe", "connect", &address, "80"]).fails();
    web.end();
    let all: Vec<&str> = ["network", "rm"].into_iter().chain(names.iter().map(String::as_str)).collect();
    host.rbox(&all).ok();
    host.rbox(&["network", "reset"]).ok();
    host.assert_unchanged(&before);
    host.rbox(&["run", "--rm", "--network", "n0", BUSYBOX, "true"]).code(125).says("n0");
}

#[test]
fn what_is_kept_of_many_leases_is_never_old() {
    need!(Root);
    let host = Host::with_busybox();
    for number in 0..20 {
        host.detached(&["--name", &format!("c{number}"), "-p", &format!("{}:80", 7000 + number)], &["sleep", "100000"]);
    }
    assert!(host.path("state/net/leases").exists(), "there is such a file");
    let refused = |port: &str| host.run(&["-p", port], &["true"]).code(125).stderr;
    // Ports that come and go, of one that runs.
    host.rbox(&["publish", "c0", "8000:80"]).ok();
    assert!(refused("8000:80").contains("by container c0)"));
    host.rbox(&["unpublish", "c0", "7000:80"]).ok();
    host.run(&["-p", "7000:80"], &["true"]).ok();
    // A name.
    host.rbox(&["rename", "c1", "other"]).ok();
    assert!(refused("7001:80").contains("by container other)"));
    // A way out: the ports go along, and the address is free.
    let address =
        |name: &str| host.rbox(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", name]).ok().text().to_owned();
    let left = address("c2");
    host.rbox(&["network", "create", "aside"]).ok();
    host.rbox(&["network", "connect", "aside", "c2"]).ok();
    host.rbox(&["network", "disconnect", "bridge", "c2"]).ok();
    assert!(refused("7002:80").contains("by container c2)"));
    host.detached(&["--name", "next"], &["sleep", "100000"]);
    assert_eq!(address("next"), left);
}
