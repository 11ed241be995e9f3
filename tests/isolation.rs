//! Who does not reach whom. Every path that is shut has its twin here: the same question is answered once the
//! rule or the switch that shuts the path is taken away by hand. A silence that has no such twin would prove nothing.

use crate::ipv6::wait_for;
use crate::stray_ipv6::{frame, send};
use crate::support::{Host, Running, need};

/// A network with both families: `10.N.0.0/24` and `fd00:N::/64`.
#[track_caller]
pub(crate) fn make(host: &Host, name: &str, number: u8, flags: &[&str]) {
    let subnets = [format!("10.{number}.0.0/24"), format!("fd00:{number}::/64")];
    let words = ["network", "create", "--ipv6", "--subnet", &subnets[0], "--subnet", &subnets[1]];
    host.rbox(&[&words, flags, &[name]].concat()).ok();
}

/// A server of both families in a network, at port 80 or at port 53 of UDP.
pub(crate) fn serve(host: &Host, flags: &[&str], protocol: &str) -> Running {
    let words: &[&str] = if protocol == "udp" { &["53", "udp", "6"] } else { &["80", "6"] };
    host.run_ready(flags, &[&["/probe", "serve"], words].concat())
}

/// A server of TCP at `.2` and one of UDP at `.3`, and the questions that they answer.
pub(crate) struct Pair {
    pub(crate) tcp: Running,
    pub(crate) udp: Running,
    questions: [String; 6],
}

impl Pair {
    pub(crate) fn new(host: &Host, network: &str, number: u8, flags: &[&str]) -> Pair {
        let flags = [&["--network", network], flags].concat();
        let (v4, v6) = (format!("10.{number}.0"), format!("fd00:{number}:"));
        let questions = [
            format!("tcp {v4}.2 80"),
            format!("tcp {v6}:2 80"),
            format!("udp {v4}.3 53"),
            format!("udp {v6}:3 53"),
            format!("ping {v4}.2"),
            format!("ping {v6}:2"),
        ];
        Pair { tcp: serve(host, &flags, "tcp"), udp: serve(host, &flags, "udp"), questions }
    }

    pub(crate) fn questions(&self) -> Vec<&str> {
        self.questions.iter().map(String::as_str).collect()
    }
}

const NOBODY: [&str; 0] = [];

#[test]
fn a_126_networks_are_apart() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    host.leave_rules_alone();
    make(&host, "one", 1, &[]);
    make(&host, "two", 2, &[]);
    let (one, two) = (Pair::new(&host, "one", 1, &[]), Pair::new(&host, "two", 2, &[]));
    assert_eq!(one.udp.reaches(&one.questions()), one.questions());
    assert_eq!(two.tcp.reaches(&two.questions()), two.questions());
    assert_eq!(host.reaches(&two.questions()), two.questions(), "the host reaches all");
    let shut = |why: &str| {
        assert_eq!(one.udp.reaches(&two.questions()), NOBODY, "{why}");
        assert_eq!(two.tcp.reaches(&one.questions()), NOBODY, "{why}");
    };
    shut("as it is");
    // Two fences stand there, and each alone holds.
    host.delete_rules("raw", &["-j DROP", "--dst-type"]);
    shut("without the drops in raw");
    host.rbox(&["network", "reload"]).ok();
    host.delete_rules("filter", &["RBOX-ISOLATION-STAGE-2", "-j DROP"]);
    shut("without the isolation");
    host.delete_rules("raw", &["-j DROP", "--dst-type"]);
    assert_eq!(one.udp.reaches(&two.questions()), two.questions(), "without both");
    assert_eq!(two.tcp.reaches(&one.questions()), one.questions(), "without both");
    host.rbox(&["network", "reload"]).ok();
    shut("put back");
}

/// Containers of an internal network, of another network, and the neighbour; who may not reach whom.
struct Shut {
    inner: Pair,
    outer: Pair,
    ways_out: Vec<String>,
}

impl Shut {
    fn new(host: &Host, order: [&str; 2]) -> Shut {
        for name in order {
            match name {
                "shut" => make(host, "shut", 3, &["--internal"]),
                _ => make(host, "open", 4, &[]),
            }
        }
        let inner = Pair::new(host, "shut", 3, &["--cap-add", "NET_ADMIN"]);
        let outer = Pair::new(host, "open", 4, &["-p", "80"]);
        host.neighbour().shell("ip route add 10.0.0.0/8 via 192.0.2.2; ip route add fd00::/8 via 2001:db8::2").ok();
        // A container that may change its routes is not kept in by the lack of one.
        let routes = "ip route add default via 10.3.0.1; ip -6 route add default via fd00:3::1";
        host.in_network_of(&inner.tcp, routes).ok();
        host.in_network_of(&inner.udp, routes).ok();
        let mut ways_out: Vec<String> =
            ["tcp 192.0.2.3 7000", "tcp 2001:db8::3 7000", "ping 192.0.2.3", "ping 2001:db8::3"]
                .map(str::to_owned)
                .into();
        ways_out.extend(outer.questions().into_iter().map(str::to_owned));
        Shut { inner, outer, ways_out }
    }

    fn ways_out(&self) -> Vec<&str> {
        self.ways_out.iter().map(String::as_str).collect()
    }

    /// Who is reached from inside of what is outside, and from outside of what is inside.
    fn passing(&self, host: &Host) -> [Vec<String>; 3] {
        let inside = self.inner.questions();
        [self.inner.udp.reaches(&self.ways_out()), self.outer.udp.reaches(&inside), host.neighbour().reaches(&inside)]
    }
}

#[test]
fn a_126_nothing_leads_into_an_internal_network_or_out() {
    need!(Root, Iptables);
    for order in [["shut", "open"], ["open", "shut"]] {
        let host = Host::with_busybox();
        host.leave_rules_alone();
        let _server = host.neighbour_serves(&["7000", "6"]);
        let it = Shut::new(&host, order);
        assert_eq!(it.inner.udp.reaches(&it.inner.questions()), it.inner.questions(), "among themselves");
        assert_eq!(host.reaches(&it.inner.questions()), it.inner.questions(), "the host");
        let gateway = ["ping 10.3.0.1", "ping fd00:3::1"];
        assert_eq!(it.inner.udp.reaches(&gateway), gateway, "their side of the host");
        assert_eq!(it.passing(&host), [NOBODY; 3].map(|all| all.map(str::to_owned).to_vec()), "{order:?}");
        let published = ["tcp 192.0.2.2 49153", "tcp 10.4.0.1 49153", "tcp 10.3.0.1 49153", "tcp fd00:4::1 49153"];
        assert_eq!(it.inner.udp.reaches(&published), NOBODY, "what others publish");
        // The twins. What is translated is kept away from the internal bridge by a rule of its own.
        host.delete_rules("nat", &["-A RBOX ", "network-", "-j RETURN"]);
        host.delete_rules("filter", &["RBOX-ISOLATION-STAGE-1", "-j DROP"]);
        host.delete_rules("filter", &["RBOX-ISOLATION-STAGE-2", "-j DROP"]);
        host.delete_rules("raw", &["-j DROP", "--dst-type"]);
        let inside: Vec<String> = it.inner.questions().into_iter().map(str::to_owned).collect();
        assert_eq!(it.passing(&host), [it.ways_out.clone(), inside.clone(), inside], "{order:?}, open");
        assert_eq!(it.inner.udp.reaches(&published), published, "{order:?}, open");
    }
}

/// How often a rule of a container's own has matched that counts what comes to UDP port 53.
#[track_caller]
fn datagrams(host: &Host, container: &Running) -> u64 {
    let rules = host.in_network_of(container, "iptables-save -c -t mangle").ok().stdout;
    let line = rules.lines().find(|line| line.contains("--dport 53")).unwrap();
    line.trim_start_matches('[').split(':').next().unwrap().parse().unwrap()
}

#[test]
fn what_is_relayed_from_ipv6_is_not_for_containers_of_an_internal_network() {
    need!(Root, Ipv6);
    let host = Host::with_busybox();
    make(&host, "open", 4, &[]);
    let web = serve(&host, &["-p", "8080:80"], "tcp");
    let dns = serve(&host, &["-p", "5353:53/udp"], "udp");
    // Made when the relay runs already.
    make(&host, "shut", 3, &["--internal", "-o", "name=shut0"]);
    let idle = |network: &str| host.run_ready(&["--network", network], &["/probe", "signal-wait"]);
    let (inner, outer) = (idle("shut"), idle("open"));
    let own = |what: &str| host.shell(what).ok().text().to_owned();
    let link_local = own("ip -o -6 addr show dev shut0 scope link | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1");
    let by_link_local = || inner.inside(&format!("nc -w 2 {link_local}%eth0 8080 </dev/null 2>&1")).stdout;
    // The host takes what is for any of its addresses on every link.
    host.in_network_of(&inner, "ip -6 route add default via fd00:3::1").ok();
    let all = ["tcp fd00:3::1 8080", "udp fd00:3::1 5353", "tcp 2001:db8::2 8080", "udp 2001:db8::2 5353"];
    assert_eq!(inner.reaches(&all), NOBODY);
    assert!(!by_link_local().contains("\"me\""), "{}", by_link_local());
    assert_eq!(host.reaches(&all), [all[0], all[2], all[3]], "the host, by TCP also at its address in that network");
    assert_eq!(outer.reaches(&all[2..]), all[2..], "a container of another network");
    assert_eq!(host.neighbour().reaches(&all[2..]), all[2..], "the neighbour");
    // With an address of the other network, and with one that the relay has an answer for already.
    host.in_network_of(&dns, "iptables -t mangle -A PREROUTING -p udp --dport 53").ok();
    let mac = own("cat /sys/class/net/shut0/address").replace(':', "");
    let datagram = [&[0x30, 0x39, 0x14, 0xe9, 0, 12, 0, 0][..], b"over"].concat();
    let spoofed = ["fd00:4::77", "2001:db8::3"].map(|from| frame(&mac, (from, "fd00:3::1"), (17, 64), &datagram));
    spoofed.iter().for_each(|frame| send(&host, &inner, frame));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(datagrams(&host, &dns), 0);
    // The twin: the network is internal no more, as far as the relay can know.
    let record = host.path("data/networks/shut.json").display().to_string();
    host.shell(&format!("sed -i 's/\"internal\": *true/\"internal\":false/' {record}")).ok();
    assert_eq!(inner.reaches(&all[..2]), all[..2]);
    assert!(by_link_local().contains("\"me\""), "{}", by_link_local());
    let before = datagrams(&host, &dns);
    spoofed.iter().for_each(|frame| send(&host, &inner, frame));
    wait_for("the twin of the spoofed ones", || datagrams(&host, &dns) == before + 2);
    web.end();
}

/// The datagrams that a container has received from an address.
#[track_caller]
fn heard_from(host: &Host, container: &Running, address: &str) -> u64 {
    let rules = host.in_network_of(container, "iptables-save -c -t mangle").ok().stdout;
    let line = rules.lines().find(|line| line.contains(&format!("-s {address}/32"))).unwrap();
    line.trim_start_matches('[').split(':').next().unwrap().parse().unwrap()
}

#[test]
fn a_stranger_with_an_address_of_the_internal_network_is_not_let_in() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    host.leave_rules_alone();
    make(&host, "shut", 3, &["--internal"]);
    let inner = Pair::new(&host, "shut", 3, &[]);
    // The host passes packets on, and looks at no sender: so nothing but the network's own rules keeps this one out.
    host.shell(
        "echo 1 >/proc/sys/net/ipv4/ip_forward; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done",
    )
    .ok();
    host.in_network_of(&inner.udp, "iptables -t mangle -A PREROUTING -s 10.3.0.77 -p udp").ok();
    let neighbour = host.neighbour();
    neighbour.shell("ip addr add 10.3.0.77/32 dev lo; ip route add 10.3.0.0/24 via 192.0.2.2 src 10.3.0.77").ok();
    assert_eq!(neighbour.reaches(&["udp 10.3.0.3 53"]), NOBODY);
    assert_eq!(heard_from(&host, &inner.udp, "10.3.0.77"), 0);
    host.delete_rules("filter", &["RBOX-ISOLATION-STAGE-1", "-j DROP"]);
    // Nobody answers: the address is looked for on the bridge. But it has come.
    neighbour.reaches(&["udp 10.3.0.3 53"]);
    assert_eq!(heard_from(&host, &inner.udp, "10.3.0.77"), 1);
}

/// A file of this kernel that has packets within a bridge pass through iptables.
const NETFILTER: [&str; 2] =
    ["/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"];

/// Have packets within a bridge pass through iptables, or not; false where this kernel cannot.
fn filter_bridges(host: &Host, on: bool) -> bool {
    let set = |file: &str| format!("echo {} >{file}", u8::from(on));
    host.shell(&NETFILTER.map(set).join(" && ")).code == 0
}

#[test]
fn containers_of_one_network_speak_with_bridge_netfilter_on_and_off() {
    need!(Root, BridgeNetfilter);
    for flags in [&["--internal"][..], &[]] {
        let host = Host::with_busybox();
        for on in [true, false] {
            assert!(filter_bridges(&host, on));
            make(&host, "one", 3, flags);
            let pair = Pair::new(&host, "one", 3, &[]);
            assert_eq!(pair.udp.reaches(&pair.questions()), pair.questions(), "{flags:?}, bridge netfilter: {on}");
            let Pair { tcp, udp, .. } = pair;
            tcp.end();
            udp.end();
            host.rbox(&["network", "rm", "one"]).ok();
        }
    }
}

/// Where the way to every other container is the gateway: its hardware address stands for theirs.
#[track_caller]
fn lead_by_the_gateway(host: &Host, containers: [&Running; 2]) {
    let mac = host.shell("cat /sys/class/net/quiet0/address").ok().text().to_owned();
    for container in containers {
        let others = ["10.5.0.2", "10.5.0.3", "fd00:5::2", "fd00:5::3"];
        let words = others.map(|other| format!("ip neigh replace {other} lladdr {mac} dev eth0 nud permanent"));
        host.in_network_of(container, &words.join("\n")).ok();
    }
}

#[test]
fn without_icc_containers_do_not_speak_not_even_by_the_gateway() {
    need!(Root, Iptables);
    for netfilter in [false, true] {
        let host = Host::with_busybox();
        host.leave_rules_alone();
        if !filter_bridges(&host, netfilter) && netfilter {
            break;
        }
        make(&host, "quiet", 5, &["-o", "icc=false", "-o", "name=quiet0"]);
        let pair = Pair::new(&host, "quiet", 5, &["-p", "80", "-p", "53/udp"]);
        let to_tcp = ["tcp 10.5.0.2 80", "tcp fd00:5::2 80", "ping 10.5.0.2", "ping fd00:5::2"];
        let to_udp = ["udp 10.5.0.3 53", "udp fd00:5::3 53", "ping 10.5.0.3", "ping fd00:5::3"];
        let passing = || [pair.udp.reaches(&to_tcp), pair.tcp.reaches(&to_udp)];
        let none: [Vec<String>; 2] = [vec![], vec![]];
        let all = [to_tcp, to_udp].map(|questions| questions.map(str::to_owned).to_vec());
        let why = format!("bridge netfilter: {netfilter}");
        assert_eq!(passing(), none, "directly; {why}");
        let published = ["tcp 192.0.2.2 49153", "tcp 10.5.0.1 49153", "tcp fd00:5::1 49153"];
        // There the kernel translates within the bridge, and from one isolated port to another nothing passes.
        let expected = if netfilter { Vec::new() } else { published.map(str::to_owned).to_vec() };
        assert_eq!(pair.udp.reaches(&published), expected, "what others publish; {why}");
        let both = [to_tcp, to_udp].concat();
        assert_eq!(host.reaches(&both).len(), both.len(), "the host reaches them; {why}");
        // Twin one: two ports of the bridge that are isolated from each other.
        let isolated = |on: &str| {
            let script = format!(
                "for port in $(ls /sys/class/net/quiet0/brif); do bridge link set dev $port isolated {on}; done"
            );
            host.shell(&script).ok();
        };
        isolated("off");
        if netfilter {
            assert_eq!(passing(), none, "what passes within the bridge meets the rule; {why}");
            host.delete_rules("filter", &["-i quiet0 -o quiet0", "-j DROP"]);
        }
        assert_eq!(passing(), all, "not isolated; {why}");
        isolated("on");
        host.rbox(&["network", "reload", "quiet"]).ok();
        // Twin two: the rule for what comes back to the bridge by way of the host.
        lead_by_the_gateway(&host, [&pair.tcp, &pair.udp]);
        assert_eq!(passing(), none, "by the gateway; {why}");
        host.delete_rules("filter", &["-i quiet0 -o quiet0", "-j DROP"]);
        assert_eq!(passing(), all, "by the gateway, without the rule; {why}");
    }
}

#[test]
fn a_100_a_neighbour_with_a_route_reaches_no_unpublished_port() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    host.leave_rules_alone();
    make(&host, "one", 1, &[]);
    let pair = Pair::new(&host, "one", 1, &[]);
    let neighbour = host.neighbour();
    neighbour.shell("ip route add 10.1.0.0/24 via 192.0.2.2; ip route add fd00:1::/64 via 2001:db8::2").ok();
    assert_eq!(neighbour.reaches(&pair.questions()), NOBODY);
    host.delete_rules("raw", &["-j DROP", "--dst-type"]);
    assert_eq!(neighbour.reaches(&pair.questions()), pair.questions());
}
