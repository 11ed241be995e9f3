//! What stands on the host and in the container: links, addresses, routes, rules, as the kernel lists them.

use rbox_net::dns::Upstream;
use rbox_net::{Link, Networks, Reservation};

use crate::world::{Host, Netns, owner, request, rules, run};
use std::os::fd::AsFd;

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_051_to_a_054_the_containers_card_is_as_listed() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &[]);
    let links = json(&web.netns.run("ip -j -d address show eth0"));
    let eth0 = &links[0];
    // A-051, A-052
    assert_eq!(eth0["address"], "02:42:ac:11:00:02");
    assert_eq!(eth0["mtu"], 1500);
    assert_eq!(eth0["operstate"], "UP");
    assert!(eth0.get("txqlen").is_none_or(|length| length == 0), "{eth0}");
    let addresses = eth0["addr_info"].as_array().unwrap();
    assert_eq!(addresses.len(), 1, "no IPv6 address inside a v4-only network: {addresses:?}");
    assert_eq!(addresses[0]["local"], "172.17.0.2");
    assert_eq!(addresses[0]["prefixlen"], 16);
    assert_eq!(addresses[0]["broadcast"], "172.17.255.255");
    // A-053 as A-040: 127.0.0.1 alone
    let lo = json(&web.netns.run("ip -j address show lo"));
    assert_eq!(lo[0]["addr_info"].as_array().unwrap().len(), 1);
    // A-054
    let routes = web.netns.run("ip route");
    let routes: Vec<&str> = routes.lines().map(str::trim_end).collect();
    assert_eq!(
        routes,
        ["default via 172.17.0.1 dev eth0", "172.17.0.0/16 dev eth0 proto kernel scope link src 172.17.0.2",]
    );
}

#[test]
fn the_hosts_side_is_as_listed() {
    need!(Root, Iptables);
    let host = Host::new();
    let _web = host.container("web", &[]);
    let links = json(&run("ip -j -d address show rbox0"));
    let rbox0 = &links[0];
    // A-055, A-057
    assert!(rbox0["address"].as_str().unwrap().starts_with("02:42:"));
    assert_eq!((&rbox0["mtu"], &rbox0["operstate"], &rbox0["qdisc"]), (&1500.into(), &"UP".into(), &"noqueue".into()));
    assert_eq!(rbox0["addr_info"][0]["local"], "172.17.0.1");
    assert_eq!(rbox0["addr_info"][0]["broadcast"], "172.17.255.255");
    assert!(rbox0.get("txqlen").is_none_or(|length| length == 0), "{rbox0}");
    // A-058, A-059, A-064
    let ports = json(&run("ip -j -d address show master rbox0"));
    let veth = &ports[0];
    let name = veth["ifname"].as_str().unwrap();
    assert!(name.len() == 11 && name.starts_with("veth") && name[4..].bytes().all(|b| b.is_ascii_hexdigit()), "{name}");
    assert!(veth["addr_info"].as_array().unwrap().iter().all(|address| address["family"] == "inet6"), "{veth}");
    assert_eq!(veth["linkinfo"]["info_slave_data"]["state"], "forwarding");
    assert_eq!(veth["linkinfo"]["info_slave_data"]["hairpin"], true);
    for (switch, value) in [("ip_forward", "1"), ("conf/rbox0/route_localnet", "1")] {
        assert_eq!(std::fs::read_to_string(format!("/proc/sys/net/ipv4/{switch}")).unwrap().trim(), value);
    }
}

#[test]
fn the_rules_are_dockers_with_the_additions() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &["8080:80"]);
    let comment = format!(" -m comment --comment {}-{}", owner("web").container, &web.endpoints.records()[0].id[..12]);
    // firewall.md, table by table
    assert_eq!(
        rules().replace(&comment, ""),
        "-A PREROUTING -d 127.0.0.0/8 -i rbox0 -j DROP\n\
         -A PREROUTING -d 172.17.0.0/16 ! -i rbox0 -m addrtype ! --dst-type LOCAL -j DROP\n\
         -A FORWARD -j RBOX-USER\n\
         -A FORWARD -j RBOX-ISOLATION-STAGE-1\n\
         -A FORWARD -o rbox0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A FORWARD -o rbox0 -j RBOX\n\
         -A FORWARD -i rbox0 ! -o rbox0 -j ACCEPT\n\
         -A FORWARD -i rbox0 -o rbox0 -j ACCEPT\n\
         -A RBOX -d 172.17.0.2/32 ! -i rbox0 -o rbox0 -p tcp -m tcp --dport 80 -j ACCEPT\n\
         -A RBOX-ISOLATION-STAGE-1 -i rbox0 ! -o rbox0 -j RBOX-ISOLATION-STAGE-2\n\
         -A RBOX-ISOLATION-STAGE-1 -j RETURN\n\
         -A RBOX-ISOLATION-STAGE-2 -o rbox0 -j DROP\n\
         -A RBOX-ISOLATION-STAGE-2 -j RETURN\n\
         -A RBOX-USER -j RETURN\n\
         -A PREROUTING -i rbox0 -m addrtype --dst-type LOCAL -j RBOX-INNER\n\
         -A PREROUTING -m addrtype --dst-type LOCAL -j RBOX\n\
         -A OUTPUT -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j RBOX-INNER\n\
         -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j RBOX\n\
         -A POSTROUTING -s 172.17.0.0/16 ! -o rbox0 -j MASQUERADE\n\
         -A POSTROUTING -s 127.0.0.0/8 -o rbox0 -j MASQUERADE\n\
         -A POSTROUTING -s 172.17.0.0/16 -o rbox0 -m conntrack --ctstate DNAT -j MASQUERADE\n\
         -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE\n\
         -A RBOX -i rbox0 -j RETURN\n\
         -A RBOX ! -i rbox0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\n\
         -A RBOX-INNER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\n"
    );
    // What rbox says of them is what the kernel has.
    let shown = host.networks.rules(&[host.networks.find("bridge").unwrap()]).unwrap();
    // It tells the whole command.
    let line = |text: String| text.split_once(" -A ").map(|(_, line)| format!("-A {line}")).unwrap();
    let mut shown: Vec<String> = shown.into_iter().map(|it| line(it.text)).collect();
    let mut listed: Vec<String> = rules().lines().map(str::to_owned).collect();
    shown.sort();
    listed.sort();
    assert_eq!(shown, listed);
}

#[test]
fn rules_of_others_stay_and_come_after_ours() {
    need!(Root, Iptables);
    let host = Host::new();
    // A-094: firewalld's are there first
    run("iptables -N FORWARD_direct");
    run("iptables -A FORWARD -j FORWARD_direct");
    run("iptables -A FORWARD -j REJECT --reject-with icmp-host-prohibited");
    run("iptables -N RBOX-USER");
    run("iptables -A RBOX-USER -s 203.0.113.0/24 -j DROP");
    let _web = host.container("web", &["8080:80"]);
    let rules = rules();
    let forward: Vec<&str> = rules.lines().filter(|line| line.starts_with("-A FORWARD")).collect();
    assert_eq!(forward[0], "-A FORWARD -j RBOX-USER");
    assert_eq!(
        &forward[6..],
        ["-A FORWARD -j FORWARD_direct", "-A FORWARD -j REJECT --reject-with icmp-host-prohibited"]
    );
    assert!(rules.contains("-A RBOX-USER -s 203.0.113.0/24 -j DROP\n-A RBOX-USER -j RETURN\n"), "{rules}");
    assert_eq!(host.neighbour.inside(|| crate::world::greeting(crate::world::HOST, 8080)).as_deref(), Ok("web"));
}

#[test]
fn a_060_a_061_addresses_are_the_lowest_free() {
    need!(Root, Iptables);
    let host = Host::new();
    let first = host.container("first", &[]);
    let second = host.container("second", &[]);
    // A-060, A-061
    assert_eq!((first.ip(), second.ip()), ("172.17.0.2".into(), "172.17.0.3".into()));
    first.end();
    assert_eq!(host.container("third", &[]).ip(), "172.17.0.2");
}

#[test]
fn a_208_a_subnet_of_the_host_is_not_taken_twice() {
    need!(Root, Iptables);
    let host = Host::new();
    // Planned as 172.17.0.0/16 when the state was made; since then docker0 came up.
    run("ip link add docker0 type bridge");
    run("ip address add 172.17.0.1/16 dev docker0");
    run("ip link set docker0 up");
    // A-208
    run("ip address add 172.18.207.67/20 dev eth0");
    let web = host.container("web", &["8080:80"]);
    assert_eq!(web.ip(), "172.19.0.2");
    assert_eq!(crate::world::greeting("127.0.0.1", 8080).as_deref(), Ok("web"));
    // It stays what it is, also in another process.
    let again = Networks::open(host.state.path(), host.state.path()).unwrap();
    let reserved = again.reserve(&request("next", &[]).unwrap()).unwrap();
    assert_eq!(address(&reserved).unwrap(), "172.19.0.3");
    assert_eq!(reserved.networks().next().unwrap().gateway().unwrap().to_string(), "172.19.0.1");
}

#[test]
fn a_067_a_second_rbox_gets_a_bridge_of_its_own() {
    need!(Root, Iptables);
    let host = Host::new();
    let first = host.container("first", &["8080:80"]);
    let state = tempfile::tempdir().unwrap();
    let other = Networks::open(state.path(), state.path()).unwrap();
    let netns = Netns::new();
    let second = other
        .reserve(&request("second", &["8081:80"]).unwrap())
        .unwrap()
        .connect(netns.0.as_fd(), Upstream::host())
        .unwrap();
    netns.serve(80, "second");
    let attachment = second.records()[0].attachment.clone().unwrap();
    let host_end = format!("veth{}", &second.records()[0].id[..7]);
    let cable = Link::Cable { bridge: "rbox1".into(), host: host_end, isolated: false };
    assert_eq!((attachment.link, attachment.address.to_string().as_str()), (cable, "172.18.0.2"));
    assert_eq!(crate::world::greeting("127.0.0.1", 8080).as_deref(), Ok("first"));
    assert_eq!(crate::world::greeting("127.0.0.1", 8081).as_deref(), Ok("second"));
    // A-067: two networks are apart.
    assert!(netns.inside(|| crate::world::greeting("172.17.0.2", 80)).is_err());
    assert!(second.disconnect().is_empty());
    other.reset(&|_| true, None).unwrap();
    let rules = rules();
    assert!(!rules.contains("rbox1") && rules.contains("-A FORWARD -j RBOX-USER"), "{rules}");
    assert_eq!(crate::world::greeting("127.0.0.1", 8080).as_deref(), Ok("first"));
    first.end();
}

#[test]
fn the_mtu_is_that_of_the_way_out() {
    need!(Root, Iptables);
    let host = Host::new();
    run("ip link set eth0 mtu 1400");
    let web = host.container("web", &[]);
    assert_eq!(json(&web.netns.run("ip -j link show eth0"))[0]["mtu"], 1400);
    assert_eq!(json(&run("ip -j link show rbox0"))[0]["mtu"], 1400);
}

#[test]
fn the_predefined_networks_are_three_and_stay_the_same() {
    need!(Root, Iptables);
    let host = Host::new();
    let listed = |networks: &Networks| -> Vec<(String, String, String)> {
        let networks = networks.list().unwrap();
        networks.into_iter().map(|network| (network.name.clone(), network.driver.to_string(), network.id)).collect()
    };
    let first = listed(&host.networks);
    let names: Vec<(&str, &str)> = first.iter().map(|(name, driver, _)| (name.as_str(), driver.as_str())).collect();
    // A-031
    assert_eq!(names, [("bridge", "bridge"), ("host", "host"), ("none", "null")]);
    assert!(first.iter().all(|(_, _, id)| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    assert_eq!(listed(&Networks::open(host.state.path(), host.state.path()).unwrap()), first);
    assert_eq!(host.networks.find(&first[0].2[..12]).unwrap().name, "bridge");
    assert_eq!(host.networks.find("nowhere").unwrap_err().to_string(), "network nowhere: not found");
}

#[test]
fn inspect_shows_the_endpoints() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &[]);
    let bridge = host.networks.find("bridge").unwrap();
    let shown = serde_json::to_value(host.networks.inspect(&bridge).unwrap()).unwrap();
    let container = &shown["Containers"][&owner("web").container];
    assert_eq!(container["Name"], "web");
    assert_eq!(container["EndpointID"], web.endpoints.records()[0].id.as_str());
    assert_eq!(container["MacAddress"], "02:42:ac:11:00:02");
    assert_eq!(container["IPv4Address"], "172.17.0.2/16");
    assert_eq!(shown["IPAM"]["Config"][0]["Gateway"], "172.17.0.1");
    web.end();
    let shown = serde_json::to_value(host.networks.inspect(&bridge).unwrap()).unwrap();
    assert_eq!(shown["Containers"].as_object().unwrap().len(), 0);
}

#[test]
fn none_and_host_have_no_address() {
    need!(Root, Iptables);
    let host = Host::new();
    let before = host.traces();
    for network in ["none", "host"] {
        let netns = Netns::new();
        let mut request = request(network, &["8080:80"]).unwrap();
        request.networks[0].network = network.into();
        let reservation = host.networks.reserve(&request).unwrap();
        assert_eq!((address(&reservation), reservation.ports().len()), (None, 0));
        let endpoint = reservation.connect(netns.0.as_fd(), Upstream::host()).unwrap();
        assert_eq!(host.traces(), before);
        // A-040: no ::1 without a network; the host's own is left as it is
        let ipv6 = netns.run("ip -6 address show lo").contains("::1");
        assert_eq!(ipv6, network == "host");
        assert!(endpoint.disconnect().is_empty());
    }
}

#[test]
fn what_is_leased_is_known_whatever_became_of_the_file_that_keeps_it() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.reserve("web", &["8080:80"]).unwrap();
    let mut held: Vec<_> = (0..20).map(|number| host.reserve(&format!("c{number}"), &[]).unwrap()).collect();
    let kept = host.state.path().join("net/leases");
    assert!(kept.exists(), "it is kept");
    let whole = || std::fs::read_to_string(&kept).unwrap();
    let torn = |text: String| text[..text.len() - 9].to_owned();
    let damages: [&dyn Fn() -> Option<String>; 9] = [
        &|| Some(whole()),
        &|| None,
        &|| Some(String::new()),
        // As it was once.
        &|| Some(r#"{"gone.json":{}}"#.into()),
        &|| Some("leases".into()),
        // Cut off, and cut off and gone on with.
        &|| Some(torn(whole())),
        &|| Some(torn(whole()) + "-0123456789ab\n"),
        &|| Some(whole() + "\n"),
        &|| Some(whole() + "+0123456789ab 0123456789ab 172.17.0.300 -\n"),
    ];
    for damage in damages {
        let text = damage();
        match &text {
            None => std::fs::remove_file(&kept).unwrap(),
            Some(text) => std::fs::write(&kept, text).unwrap(),
        }
        held.push(host.reserve("one more", &[]).unwrap());
        let addresses: std::collections::HashSet<_> = held.iter().chain([&web]).map(address).collect();
        assert_eq!(addresses.len(), held.len() + 1, "{text:?}: an address is leased twice");
        let taken = host.reserve("other", &["8080:80"]).err().unwrap().to_string();
        assert!(taken.contains("container web"), "{text:?}: {taken}");
    }
    // What is given back is free again, though it is kept.
    let lowest = address(&web);
    drop(web);
    assert_eq!(address(&host.reserve("next", &["8080:80"]).unwrap()), lowest);
    drop(held);
    host.networks.reset(&|_| true, None).unwrap();
    assert!(!kept.exists());
}

#[test]
fn nobody_is_refused_for_what_only_a_killed_one_was_about_to_lease() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.reserve("web", &["8080:80"]).unwrap();
    let (network, kept) = (host.networks.find("bridge").unwrap(), host.state.path().join("net/leases"));
    let text = std::fs::read_to_string(&kept).unwrap();
    // Everything is nobody's: the next address and a port, and then all that there are.
    let stale =
        |number: u32, address: &str, ports: &str| format!("+{number:012x} {} {address} -{ports}\n", &network.id[..12]);
    let is_stale = || std::fs::read_to_string(&kept).unwrap().contains("+000000000001");
    std::fs::write(&kept, format!("{text}{}", stale(1, "172.17.0.3", " 0.0.0.0:9090/tcp"))).unwrap();
    let passes = host.reserve("passes", &[]).unwrap();
    assert_eq!(address(&passes).as_deref(), Some("172.17.0.4"), "it is passed over");
    drop(passes);
    assert!(is_stale(), "and nothing is read for that");
    let nine = host.reserve("nine", &["9090:80"]).unwrap();
    assert!(!is_stale(), "the records have been asked");
    drop(nine);
    let mut all: String = (3..=0xfffe)
        .map(|low: u32| stale(low, &std::net::Ipv4Addr::from(0xac11_0000 + low).to_string(), " 0.0.0.0:1-65535/tcp"))
        .collect();
    all.push_str(&stale(1, "172.17.255.255", ""));
    for (wanted, publish) in [(None, "9090:80"), (None, "80"), (Some("172.17.0.3"), "9091:80")] {
        std::fs::write(&kept, format!("{text}{all}")).unwrap();
        let mut request = crate::world::request("other", &[publish]).unwrap();
        request.networks[0].ip = wanted.map(|ip| ip.parse().unwrap());
        let got = host.networks.reserve(&request).unwrap();
        assert_eq!(address(&got).as_deref(), Some("172.17.0.3"), "{publish}");
        assert!(!is_stale(), "{publish}");
    }
    // Who is there is in the way, and named.
    std::fs::write(&kept, format!("{text}{all}")).unwrap();
    let refused = host.reserve("other", &["8080:80"]).err().unwrap().to_string();
    assert_eq!(refused, "cannot publish port 8080: address already in use (by container web)");
    drop(web);
}

#[test]
fn a_network_is_not_kept_by_what_only_a_killed_one_was_about_to_lease() {
    need!(Root, Iptables);
    let host = Host::new();
    drop(host.reserve("web", &[]).unwrap());
    let request = rbox_net::NetworkRequest {
        name: "shop".into(),
        driver: rbox_net::Driver::Bridge,
        ipv6: false,
        internal: false,
        subnets: vec!["10.9.0.0/30".parse().unwrap()],
        gateways: Vec::new(),
        ranges: Vec::new(),
        spans: Vec::new(),
        reserved: Vec::new(),
        options: Default::default(),
        labels: Default::default(),
    };
    let (maker, kept) = (crate::world::owner("maker"), host.state.path().join("net/leases"));
    let shop = host.networks.create(&request, &maker).unwrap();
    let line = format!("+000000000001 {} 10.9.0.2 -\n", &shop.id[..12]);
    std::fs::write(&kept, format!("leases\n{line}")).unwrap();
    host.networks.has_room(&shop).unwrap();
    std::fs::write(&kept, format!("leases\n{line}")).unwrap();
    host.networks.remove(&shop, &maker).unwrap();
}

#[test]
fn what_is_past_does_not_make_the_leases_long() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.reserve("web", &[]).unwrap();
    let kept = host.state.path().join("net/leases");
    let longest = (0..400)
        .map(|_| {
            drop(host.reserve("other", &[]).unwrap());
            std::fs::read_to_string(&kept).unwrap().lines().count()
        })
        .max();
    assert!((200..300).contains(&longest.unwrap()), "{longest:?}");
    assert_ne!(address(&host.reserve("other", &[]).unwrap()), address(&web));
}

#[test]
fn reset_leaves_nothing() {
    need!(Root, Iptables);
    let host = Host::new();
    let before = host.traces();
    let chains = || run("iptables-save").lines().filter(|line| line.starts_with(":RBOX")).count();
    let web = host.container("web", &["8080:80"]);
    let busy = host.networks.reset(&|_| true, None).unwrap_err();
    assert_eq!(busy.to_string(), "cannot reset the networks: container web is connected");
    web.end();
    assert!(chains() > 0);
    host.networks.reset(&|_| true, None).unwrap();
    assert_eq!((host.traces(), chains()), (before, 0));
    host.networks.reset(&|_| true, None).unwrap();
    // And everything comes back.
    let _web = host.container("web", &["8080:80"]);
    assert_eq!(crate::world::greeting("127.0.0.1", 8080).as_deref(), Ok("web"));
}

#[test]
fn the_socket_that_deleted_rules_is_closed_by_the_kernel() {
    need!(Root, Iptables);
    // netlink(7): the second column is the protocol, 12 is NETLINK_NETFILTER.
    let open = || {
        let table = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
        table.lines().filter(|line| line.split_whitespace().nth(1) == Some("12")).count()
    };
    let host = Host::new();
    let before = open();
    host.container("web", &["8080:80"]).end();
    assert_eq!(open(), before + 1, "kept: closing it waits");
    drop(host.networks);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while open() > before {
        assert!(std::time::Instant::now() < deadline, "it is still open");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn address(reservation: &Reservation) -> Option<String> {
    reservation.records()[0].attachment.as_ref().map(|it| it.address.to_string())
}
