//! Containers with a card of their own on the segment of the host's. The segment is the host's wire; the
//! neighbour is who else is on it.

use crate::isolation::serve;
use crate::support::{Host, Running, built_with, known_as, need};

/// A network on the host's `eth0`, of the wire's own subnets.
#[track_caller]
fn make(host: &Host, name: &str, options: &[&str]) {
    let words = "network create -d macvlan --ipv6 --subnet 192.0.2.0/24 --ip-range 192.0.2.128/28 --gateway 192.0.2.3
         --subnet 2001:db8::/64 --ip-range 2001:db8::80/124 --gateway 2001:db8::3 -o parent=eth0";
    let words: Vec<&str> = words.split_whitespace().collect();
    let options = options.iter().flat_map(|option| ["-o", option]);
    host.rbox(&words.into_iter().chain(options).chain([name]).collect::<Vec<_>>()).ok();
}

/// What the first two containers of such a network answer.
const FIRST: [&str; 3] = ["tcp 192.0.2.128 80", "tcp 2001:db8::80 80", "ping 192.0.2.128"];
const SECOND: [&str; 3] = ["udp 192.0.2.129 53", "udp 2001:db8::81 53", "ping 2001:db8::81"];
const NEIGHBOUR: [&str; 3] = ["tcp 192.0.2.3 7000", "tcp 2001:db8::3 7000", "ping 192.0.2.3"];
const HOST: [&str; 2] = ["ping 192.0.2.2", "ping 2001:db8::2"];
const NOBODY: [&str; 0] = [];

/// A host with a server at its neighbour, and two containers in a network of this mode.
struct Segment {
    host: Host,
    first: Running,
    second: Running,
    _server: Running,
}

impl Segment {
    fn new(options: &[&str]) -> Segment {
        let host = Host::with_busybox();
        let server = host.neighbour_serves(&["7000", "6"]);
        make(&host, "seg", options);
        let first = serve(&host, &["--network", "seg"], "tcp");
        let second = serve(&host, &["--network", "seg"], "udp");
        Segment { host, first, second, _server: server }
    }

    /// Whether the containers reach each other: all of it, or nothing.
    #[track_caller]
    fn speak(&self) -> bool {
        let answered = [self.second.reaches(&FIRST), self.first.reaches(&SECOND)];
        let all = [FIRST, SECOND].map(|questions| questions.map(str::to_owned).to_vec());
        assert!(answered == all || answered.iter().all(Vec::is_empty), "{answered:?}");
        answered == all
    }

    /// They and the neighbour reach each other, as who they are; they and the host do not.
    #[track_caller]
    fn are_the_neighbours_equals(&self) {
        let neighbour = self.host.neighbour();
        assert_eq!(neighbour.reaches(&[FIRST, SECOND].concat()), [FIRST, SECOND].concat());
        assert_eq!(self.first.reaches(&NEIGHBOUR), NEIGHBOUR);
        assert_eq!(self.second.reaches(&NEIGHBOUR), NEIGHBOUR);
        assert_eq!(known_as(neighbour.connect("192.0.2.128", 80, "tcp")), "192.0.2.3");
        assert_eq!(self.first.is_known_as("192.0.2.3", 7000, "tcp"), "192.0.2.128");
        assert_eq!(self.first.is_known_as("2001:db8::3", 7000, "tcp"), "2001:db8::80");
        assert_eq!(self.host.reaches(&FIRST), NOBODY, "the kernel keeps a link from those on top of it");
        assert_eq!(self.first.reaches(&HOST), NOBODY);
    }

    /// Give the containers' links another mode, by hand.
    #[track_caller]
    fn set_mode(&self, mode: &str) {
        for container in [&self.first, &self.second] {
            self.host.in_network_of(container, &format!("ip link set eth0 type macvlan mode {mode}")).ok();
        }
    }
}

#[test]
fn a_167_a_168_in_mode_bridge_containers_and_neighbours_share_the_segment() {
    need!(Root);
    let segment = Segment::new(&[]);
    segment.are_the_neighbours_equals();
    assert!(segment.speak());
    // It is the mode that has them speak.
    segment.set_mode("private");
    assert!(!segment.speak());
    let route = segment.first.inside("ip route").ok().stdout;
    assert!(route.starts_with("default via 192.0.2.3 dev eth0"), "{route}");
    let links = segment.host.shell("ls /sys/class/net").ok();
    assert_eq!(links.text(), "eth0\nlo", "no bridge, no cable");
}

#[test]
fn in_mode_private_they_do_not_reach_each_other() {
    need!(Root);
    let segment = Segment::new(&["macvlan_mode=private"]);
    segment.are_the_neighbours_equals();
    assert!(!segment.speak());
    segment.set_mode("bridge");
    assert!(segment.speak());
}

#[test]
fn in_mode_vepa_the_switch_decides() {
    need!(Root);
    let segment = Segment::new(&["mode=vepa"]);
    segment.are_the_neighbours_equals();
    assert!(!segment.speak(), "the neighbour sends nothing back to where it came from");
    // The neighbour becomes a switch that does (IEEE 802.1Qbg, reflective relay).
    let script = "set -e
         ip link add switch type bridge mcast_snooping 0; ip link set eth0 master switch; ip link set switch up
         bridge link set dev eth0 hairpin on
         while ! bridge link show dev eth0 | grep -q forwarding; do sleep 0.05; done";
    segment.host.neighbour().shell(script).ok();
    assert!(segment.speak());
}

#[test]
fn in_mode_passthru_one_container_has_the_card() {
    need!(Root);
    let host = Host::with_busybox();
    let mac = host.shell("cat /sys/class/net/eth0/address").ok().text().to_owned();
    make(&host, "seg", &["macvlan_mode=passthru"]);
    let first = serve(&host, &["--network", "seg", "--name", "first"], "tcp");
    assert_eq!(host.neighbour().reaches(&FIRST), FIRST);
    assert_eq!(first.inside("cat /sys/class/net/eth0/address").ok().text(), mac, "it is the parent's");
    let format = "{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}";
    assert_eq!(host.rbox(&["inspect", "-f", format, "first"]).ok().text(), mac);
    let before = host.snapshot();
    let said = host.run(&["--network", "seg"], &["true"]).code(125).stderr;
    let why = "in mode passthru one container has it to itself, now container first";
    assert_eq!(said, format!("rbox: cannot find a free place on network seg: {why}\n"));
    host.assert_unchanged(&before);
    let said = host.run(&["--network", "seg", "--mac-address", "02:11:22:33:44:55"], &["true"]).code(125).stderr;
    assert_eq!(said, "rbox: network seg: in mode passthru a link has the hardware address of its parent\n");
    first.end();
    assert_eq!(host.shell("cat /sys/class/net/eth0/address").ok().text(), mac, "and it is so afterwards");
    serve(&host, &["--network", "seg"], "tcp").end();
}

#[test]
fn a_168_with_a_shim_the_host_is_on_the_segment_too() {
    need!(Root);
    let segment = Segment::new(&["host_shim=auto"]);
    let host = &segment.host;
    // The last of the range but one, which no container gets.
    let shown = host.shell("ip -o -4 addr show | grep -o 'rbm-.*/32'; ip route show | grep rbm-").ok().stdout;
    let link = shown.split_whitespace().next().unwrap().to_owned();
    assert!(shown.contains("192.0.2.142/32"), "{shown}");
    assert!(shown.contains("192.0.2.128 ") && shown.contains("192.0.2.129 "), "{shown}");
    let v4 = ["tcp 192.0.2.128 80", "udp 192.0.2.129 53", "ping 192.0.2.128"];
    assert_eq!(host.reaches(&v4), v4);
    assert_eq!(known_as(host.connect("192.0.2.128", 80, "tcp")), "192.0.2.142");
    assert_eq!(segment.first.reaches(&["ping 192.0.2.142"]), ["ping 192.0.2.142"]);
    assert_eq!(segment.first.is_known_as("192.0.2.3", 7000, "tcp"), "192.0.2.128");
    assert!(segment.speak());
    // The twin: without the link it is as without the option.
    host.shell(&format!("ip link set {link} down")).ok();
    assert_eq!(host.reaches(&v4), NOBODY);
    assert_eq!(segment.first.reaches(&["ping 192.0.2.142"]), NOBODY);
    let Segment { host, first, second, .. } = segment;
    host.shell(&format!("ip link set {link} up")).ok();
    first.end();
    assert!(!host.shell("ip route").ok().stdout.contains("192.0.2.128"), "the way to it went with it");
    second.end();
    host.rbox(&["network", "rm", "seg"]).ok();
    assert_eq!(host.shell("ls /sys/class/net").ok().text(), "eth0\nlo");
    assert_eq!(host.shell("ip route | grep -c 192.0.2.1").text(), "0");
}

#[test]
fn a_parent_that_is_not_there_is_named() {
    need!(Root);
    let host = Host::with_busybox();
    let create = |parent: &str, name: &str| {
        let parent = format!("parent={parent}");
        host.rbox(&["network", "create", "-d", "macvlan", "--subnet", "10.1.0.0/24", "-o", &parent, name])
    };
    let said = create("nosuch", "one").fails().stderr;
    assert_eq!(said, "rbox: network one: its parent nosuch is not there\n");
    let said = create("nosuch.10", "one").fails().stderr;
    assert_eq!(said, "rbox: network one: its parent nosuch.10 cannot be made: nosuch is not there\n");
    host.rbox(&["network", "inspect", "one"]).fails().says("one");
    host.shell("ip link add wire0 type veth peer name wire1; ip link set wire0 up; ip link set wire1 up").ok();
    create("wire0", "two").ok();
    host.run(&["--network", "two"], &["true"]).ok();
    host.shell("ip link delete wire0").ok();
    let before = host.snapshot();
    let said = host.run(&["--network", "two"], &["true"]).code(125).stderr;
    assert_eq!(said, "rbox: network two: its parent wire0 is not there\n");
    host.assert_unchanged(&before);
    host.rbox(&["network", "rm", "two"]).ok();
}

#[test]
fn kill_9_of_everything_leaves_nothing() {
    need!(Root);
    let host = Host::with_busybox();
    make(&host, "seg", &["host_shim=auto"]);
    host.run(&["--network", "seg"], &["true"]).ok();
    let before = host.snapshot();
    for name in ["web", "other"] {
        host.detached(&["--name", name, "--network", "seg"], &["/probe", "serve", "80", "6"]);
    }
    host.until(&["logs", "web"], "ready");
    assert_eq!(host.reaches(&["tcp 192.0.2.128 80"]), ["tcp 192.0.2.128 80"]);
    host.kill_monitors();
    host.shell("pkill -9 -f '[p]robe serve'; while pgrep -f '[p]robe serve' >/dev/null; do sleep 0.05; done").ok();
    host.run(&["--network", "none"], &["true"]).ok();
    let routes = host.shell("ip route | grep rbm-").stdout;
    assert!(!routes.contains("192.0.2.128"), "{routes}");
    host.rbox(&["rm", "-f", "web", "other"]).ok();
    host.assert_unchanged(&before);
}

#[test]
fn kill_9_while_a_network_is_made_leaves_nothing() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&[], &["true"]).ok();
    make(&host, "seg", &["host_shim=auto"]);
    host.rbox(&["network", "rm", "seg"]).ok();
    let before = host.snapshot();
    let program = built_with("crash-points", "rbox");
    let words =
        "network create -d macvlan --subnet 192.0.2.0/24 --gateway 192.0.2.3 -o parent=eth0 -o host_shim=auto seg";
    let words = host.rbox_words(&words.split_whitespace().collect::<Vec<_>>());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut left_behind = 0;
    for steps in 1.. {
        let mut command = host.command(&program, &words);
        command.env("RBOX_CRASH_AFTER", steps.to_string());
        if host.finish(&mut command, "network create").code == 0 {
            assert!(steps > 5 && left_behind > 0, "{steps} steps, {left_behind} times something was left to undo");
            break;
        }
        left_behind += usize::from(host.shell("ls /sys/class/net | grep -q rbm-").code == 0);
        host.run(&["--network", "none"], &["true"]).ok();
        // Killed with its last steps it is made: then it is whole.
        if host.rbox(&["network", "inspect", "seg"]).code == 0 {
            host.run(&["--network", "seg"], &["ping", "-q", "-c", "1", "-W", "2", "192.0.2.3"]).ok();
            host.rbox(&["network", "rm", "seg"]).ok();
        }
        host.assert_unchanged(&before);
    }
}

#[test]
fn of_two_subnets_of_ipv6_each_has_its_own_gateway() {
    need!(Root, Ipv6);
    let host = Host::with_busybox();
    // Beyond both subnets, so that nobody gets there but by a gateway.
    host.neighbour()
        .shell(
            "echo 0 >/proc/sys/net/ipv6/conf/lo/accept_dad; ip -6 addr add fd00:c::1/128 dev lo
             for net in a b; do ip -6 addr add fd00:$net::1/64 dev eth0 nodad; done",
        )
        .ok();
    let words = "network create -d macvlan --ipv6 --subnet 192.0.2.0/24 --gateway 192.0.2.3 --subnet fd00:a::/64 \
                 --subnet fd00:b::/64 -o parent=eth0 two";
    host.rbox(&words.split_whitespace().collect::<Vec<_>>()).ok();
    for (ip, subnet) in [("192.0.2.130", "a"), ("192.0.2.131", "b")] {
        let network = format!("name=two,ip={ip},ip6=fd00:{subnet}::5");
        let container = host.run_ready(&["--network", &network], &["/probe", "signal-wait"]);
        let routes = container.inside("ip -6 route").ok().stdout;
        assert!(routes.contains(&format!("default via fd00:{subnet}::1 ")), "{routes}");
        assert_eq!(container.reaches(&["ping fd00:c::1"]), ["ping fd00:c::1"]);
    }
}

#[test]
fn a_parent_that_is_too_small_for_ipv6_is_named() {
    need!(Root);
    let host = Host::with_busybox();
    make(&host, "seg", &[]);
    host.shell("ip link set eth0 mtu 1279").ok();
    let said = host.run(&["--network", "seg"], &["true"]).code(125).stderr;
    let why = "IPv6 needs an mtu of at least 1280 (RFC 8200), and its parent eth0 has 1279";
    assert_eq!(said, format!("rbox: network seg: {why}\n"));
}
