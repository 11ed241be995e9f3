//! Who reaches a published port, and who must not.

use std::net::TcpListener;

use crate::world::{HOST, Host, NEIGHBOUR, Netns, fetch, greeting, run, serve};

fn everybody_reaches(bridge_nf: &str) {
    let host = Host::new();
    std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", bridge_nf).unwrap();
    let mut web = host.container("web", &["8080:80"]);
    let other = host.container("other", &[]);

    assert_eq!(greeting("127.0.0.1", 8080).as_deref(), Ok("web"), "host, loopback");
    assert_eq!(greeting(HOST, 8080).as_deref(), Ok("web"), "host, its own address");
    assert_eq!(greeting("172.17.0.1", 8080).as_deref(), Ok("web"), "host, the bridge's address");
    let (name, seen) = host.neighbour.inside(|| fetch(HOST, 8080)).unwrap();
    assert_eq!(name, "web", "neighbour");
    assert_eq!(seen.to_string(), NEIGHBOUR, "the container sees the client's own address");
    assert_eq!(web.netns.inside(|| greeting(HOST, 8080)).as_deref(), Ok("web"), "the container itself (A-098)");
    assert_eq!(web.netns.inside(|| greeting("172.17.0.1", 8080)).as_deref(), Ok("web"), "itself, by the gateway");
    assert_eq!(other.netns.inside(|| greeting(HOST, 8080)).as_deref(), Ok("web"), "another, by the host's address");
    assert_eq!(other.netns.inside(|| greeting("172.17.0.1", 8080)).as_deref(), Ok("web"), "another, by the gateway");
    assert_eq!(other.netns.inside(|| greeting("172.17.0.2", 80)).as_deref(), Ok("web"), "another, directly (A-062)");
    let by_ipv6 = host.with_relay(&mut web, || greeting("[::1]", 8080));
    assert_eq!(by_ipv6.as_deref(), Ok("web"), "host, IPv6 loopback");
}

#[test]
fn everybody_reaches_a_published_port() {
    need!(Root, Iptables, BridgeNetfilter);
    everybody_reaches("0");
}

#[test]
fn everybody_reaches_a_published_port_with_bridge_nf_call_iptables() {
    need!(Root, Iptables, BridgeNetfilter);
    everybody_reaches("1");
}

#[test]
fn a_container_reaches_the_world_by_the_hosts_address() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &[]);
    host.neighbour.serve(7, "world");
    let (name, seen) = web.netns.inside(|| fetch(NEIGHBOUR, 7)).unwrap();
    assert_eq!((name.as_str(), seen.to_string().as_str()), ("world", HOST), "masqueraded (A-083)");
}

#[test]
fn the_host_reaches_its_own_services_by_the_bridges_address() {
    need!(Root, Iptables);
    let host = Host::new();
    let _web = host.container("web", &[]);
    serve(TcpListener::bind("0.0.0.0:7").unwrap(), "host");
    assert_eq!(greeting("172.17.0.1", 7).as_deref(), Ok("host"));
}

#[test]
fn a_loopback_publish_is_for_this_host_alone() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &["127.0.0.1:8080:80"]);
    assert_eq!(greeting("127.0.0.1", 8080).as_deref(), Ok("web"));
    let from_neighbour = |ip: &'static str| host.neighbour.inside(|| greeting(ip, 8080));
    assert!(from_neighbour(HOST).is_err());
    sends_loopback_to(&host.neighbour, HOST);
    assert!(from_neighbour("127.0.0.1").is_err(), "frames with destination 127.0.0.1");
    sends_loopback_to(&web.netns, "172.17.0.1");
    assert!(web.netns.inside(|| greeting("127.0.0.1", 8080)).is_err(), "nor is it for a container");

    // The attack is real: with the rule that Docker writes, it gets in.
    run(
        "iptables -t nat -A RBOX -d 127.0.0.1/32 ! -i rbox0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80",
    );
    assert_eq!(from_neighbour("127.0.0.1").as_deref(), Ok("web"));
}

#[test]
fn an_unpublished_port_is_not_reached_by_a_route() {
    need!(Root, Iptables);
    let host = Host::new();
    let _web = host.container("web", &["8080:81"]);
    host.neighbour.run(&format!("ip route add 172.17.0.0/16 via {HOST}"));
    let directly = || host.neighbour.inside(|| greeting("172.17.0.2", 80));
    assert!(directly().is_err());

    // The attack is real: without the drop in raw it gets in.
    run("iptables -t raw -D PREROUTING -d 172.17.0.0/16 ! -i rbox0 -m addrtype ! --dst-type LOCAL -j DROP");
    assert_eq!(directly().as_deref(), Ok("web"));
}

#[test]
fn a_container_does_not_reach_the_hosts_loopback() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &[]);
    serve(TcpListener::bind("127.0.0.1:7").unwrap(), "secret");
    sends_loopback_to(&web.netns, "172.17.0.1");
    let attack = || web.netns.inside(|| greeting("127.0.0.1", 7));
    assert!(attack().is_err());

    // The attack is real: without the drop in raw it gets in.
    run("iptables -t raw -D PREROUTING -d 127.0.0.0/8 -i rbox0 -j DROP");
    assert_eq!(attack().as_deref(), Ok("secret"));
}

/// Make a namespace send 127.0.0.1 out of its network card to `gateway`, instead of to itself.
fn sends_loopback_to(netns: &Netns, gateway: &str) {
    netns.run("ip address del 127.0.0.1/8 dev lo");
    netns.inside(|| std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap());
    netns.run(&format!("ip route add 127.0.0.1/32 via {gateway} dev eth0"));
}

#[test]
fn a_range_is_reached_port_by_port() {
    need!(Root, Iptables);
    let host = Host::new();
    let web = host.container("web", &["8000-8002:80-82", "9000-9001:9000-9001"]);
    web.netns.serve(82, "third");
    web.netns.serve(9001, "same");
    for ip in ["127.0.0.1", HOST] {
        assert_eq!(greeting(ip, 8000).as_deref(), Ok("web"));
        assert_eq!(greeting(ip, 8002).as_deref(), Ok("third"));
        assert_eq!(greeting(ip, 9001).as_deref(), Ok("same"));
    }
    assert_eq!(host.neighbour.inside(|| greeting(HOST, 8002)).as_deref(), Ok("third"));
}

#[test]
fn rules_come_back_when_somebody_emptied_the_tables() {
    need!(Root, Iptables);
    let host = Host::new();
    let first = host.container("first", &["8080:80"]);
    for table in ["raw", "filter", "nat"] {
        run(&format!("iptables -t {table} -F"));
        run(&format!("iptables -t {table} -X"));
    }
    let _second = host.container("second", &["8081:80"]);
    assert_eq!(greeting("127.0.0.1", 8081).as_deref(), Ok("second"));
    first.end();
}
