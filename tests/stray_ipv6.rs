//! IPv6 where the host has none: frames made by hand, as a container with CAP_NET_RAW can send them, do not make it the
//! host's router (CVE-2020-13401), and the host passes none of them on; nor does any frame get past the bridge. Each has its
//! twin: the same frame once the switch is turned by hand.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::ipv6::wait_for;
use crate::support::{Host, Running, need};

/// All nodes of a link, RFC 4291, section 2.7.1: and how Ethernet calls them, RFC 2464, section 7.
const ALL_NODES: (&str, &str) = ("ff02::1", "333300000001");
/// A group that a bridge by itself leaves to the host whose port hears it: IEEE 802.1Q, table 8-1.
const NEAREST_BRIDGE: &str = "0180c200000e";
/// Who sends to the world with an address of no network.
const STRANGER: &str = "fd00:bad::2";
/// What the container says that the host's new address begins with.
const PREFIX: &str = "2001:db8:bad::";

/// The Internet's checksum of so many bytes, an even number of them: RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    [high, low]
}

/// A frame to a hardware address, in hex digits: an IPv6 packet with the checksum of RFC 8200, section 8.1.
pub(crate) fn frame(
    to: &str,
    (source, destination): (&str, &str),
    (protocol, hops): (u8, u8),
    payload: &[u8],
) -> String {
    let addresses: Vec<u8> =
        [source, destination].iter().flat_map(|it| it.parse::<Ipv6Addr>().unwrap().octets()).collect();
    let length = u8::try_from(payload.len()).unwrap();
    let mut payload = payload.to_vec();
    let checksum_at = if protocol == 58 { 2 } else { 6 };
    let words = [&addresses[..], &[0, 0, 0, length, 0, 0, 0, protocol], &payload].concat();
    payload[checksum_at..checksum_at + 2].copy_from_slice(&checksum(&words));
    let packet = [&[0x60, 0, 0, 0, 0, length, protocol, hops], &addresses[..], &payload].concat();
    let hex: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{to}0242deadbeef86dd{hex}")
}

/// "I am a router, and your addresses begin so": RFC 4861, sections 4.2 and 4.6.2.
fn advertisement(to: &str) -> String {
    let router = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let prefix = [3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0];
    let message = [&router[..], &prefix, &PREFIX.parse::<Ipv6Addr>().unwrap().octets()].concat();
    frame(to, ("fe80::bad", ALL_NODES.0), (58, 255), &message)
}

/// Send a frame on a container's card.
#[track_caller]
pub(crate) fn send(host: &Host, container: &Running, frame: &str) {
    // packet(7): AF_PACKET, SOCK_RAW, and a sockaddr_ll.
    let script = format!(
        "exec perl -e 'socket(S, 17, 3, 0) or die $!;
         send(S, pack(\"H*\", \"{frame}\"), 0, pack(\"SnlSCCa8\", 17, 0x86dd, shift, 0, 0, 6, \"\")) or die $!' \
         $(ip -o link show dev eth0 | cut -d: -f1)"
    );
    host.in_network_of(container, &script).ok();
}

/// What the host has believed of a router.
fn believed(host: &Host) -> String {
    host.shell("ip -6 route show proto ra; ip -6 addr show dynamic").ok().text().to_owned()
}

/// Switch IPv6 on, and listen to routers, as every link of the kernel's is born; and what comes to a port is for the port.
fn open(host: &Host, link: &str) {
    let conf = format!("/proc/sys/net/ipv6/conf/{link}");
    host.shell(&format!("echo 1 >{conf}/accept_ra; echo 0 >{conf}/disable_ipv6")).ok();
    host.shell(&format!(
        "! [ -d /sys/class/net/{link}/brport ] || echo 0 >/sys/class/net/{link}/brport/group_fwd_mask"
    ))
    .ok();
}

/// A container at rest, and the host's links that its frames come to.
fn container(host: &Host, network: &str, bridge: &str) -> (Running, [String; 2]) {
    let container = host.run_ready(&["--network", network], &["/probe", "signal-wait"]);
    let port = host.shell(&format!("ls /sys/class/net/{bridge}/brif")).ok().text().to_owned();
    (container, [bridge.to_owned(), port])
}

const NETWORKS: [(&str, &[&str]); 3] = [("bridge", &[]), ("plain", &[]), ("shut", &["--internal"])];

/// Make a network without IPv6; answers the name of its bridge.
fn make(host: &Host, network: &str, flags: &[&str]) -> String {
    if network == "bridge" {
        return "rbox0".into();
    }
    let name = format!("name={network}0");
    host.rbox(&[&["network", "create", "-o", &name], flags, &[network]].concat()).ok();
    format!("{network}0")
}

#[test]
fn no_container_of_a_network_without_ipv6_becomes_the_hosts_router() {
    need!(Root, Ipv6);
    for (network, flags) in NETWORKS {
        let host = Host::with_busybox();
        let bridge = make(&host, network, flags);
        let (container, links) = container(&host, network, &bridge);
        let ways = [(&links[0], ALL_NODES.1), (&links[1], NEAREST_BRIDGE)];
        for (link, to) in ways {
            send(&host, &container, &advertisement(to));
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(believed(&host), "", "{network}, link {link}");
        }
        // The port first: while it passes such frames on they come to the bridge.
        for (link, to) in ways.into_iter().rev() {
            open(&host, link);
            wait_for(&format!("the twin: {network}, link {link}"), || {
                send(&host, &container, &advertisement(to));
                let believed = believed(&host);
                believed.contains(&format!("default via fe80::bad dev {link} "))
                    && believed.contains(PREFIX.trim_end_matches(':'))
            });
        }
    }
}

#[test]
fn no_container_of_a_network_with_ipv6_becomes_the_hosts_router() {
    need!(Root, Ipv6);
    let host = Host::with_busybox();
    let words = ["network", "create", "--ipv6", "--internal", "--subnet", "fd00:1::/64", "-o", "name=six0", "six"];
    host.rbox(&words).ok();
    let (container, [bridge, port]) = container(&host, "six", "six0");
    for to in [ALL_NODES.1, NEAREST_BRIDGE] {
        send(&host, &container, &advertisement(to));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(believed(&host), "");
    }
    for (link, to) in [(port, NEAREST_BRIDGE), (bridge, ALL_NODES.1)] {
        open(&host, &link);
        wait_for(&format!("the twin: link {link}"), || {
            send(&host, &container, &advertisement(to));
            believed(&host).contains(&format!("default via fe80::bad dev {link} "))
        });
    }
}

#[test]
fn the_hosts_end_of_a_cable_has_no_ipv6_of_its_own() {
    need!(Root, Ipv6);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--ipv6", "--subnet", "fd00:1::/64", "-o", "name=six0", "six"]).ok();
    for (network, bridge) in [("bridge", "rbox0"), ("six", "six0")] {
        let (_container, [_, port]) = container(&host, network, bridge);
        let shown = || host.shell(&format!("ip -6 addr show dev {port}; ip -6 route show table all dev {port}")).stdout;
        assert_eq!(shown(), "", "{network}");
        open(&host, &port);
        wait_for(&format!("the twin: {network}"), || shown().contains("fe80::"));
    }
}

/// A UDP datagram of IPv4 in a frame: no checksum of its own, RFC 768.
fn datagram(to: &str, (source, destination): ([u8; 4], [u8; 4]), port: u16) -> String {
    let mut header = [&[0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0], &source[..], &destination].concat();
    let checksum = checksum(&header);
    header[10..12].copy_from_slice(&checksum);
    let udp = [&port.to_be_bytes()[..], &port.to_be_bytes(), &[0, 12, 0, 0], &b"lost"[..]].concat();
    let hex: String = [header, udp].concat().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{to}0242deadbeef0800{hex}")
}

#[test]
fn no_frame_comes_to_the_hosts_end_of_a_cable_itself() {
    need!(Root, Iptables);
    for (network, flags) in NETWORKS {
        let host = Host::with_busybox();
        let bridge = make(&host, network, flags);
        let (container, [_, port]) = container(&host, network, &bridge);
        // Counted before anything else sees it.
        host.shell(&format!("iptables -t mangle -A PREROUTING -i {port} -p udp --dport 5350")).ok();
        let came = || {
            let rules = host.shell("iptables-save -c -t mangle").ok().stdout;
            let line = rules.lines().find(|line| line.contains("--dport 5350")).unwrap().to_owned();
            line.trim_start_matches('[').split(':').next().unwrap().parse::<u32>().unwrap()
        };
        let groups = || (0..16).map(|group| format!("0180c20000{group:02x}"));
        let send_to_all = || {
            for to in groups() {
                send(&host, &container, &datagram(&to, ([172, 31, 0, 9], [192, 0, 2, 2]), 5350));
            }
        };
        send_to_all();
        assert_eq!(came(), 0, "{network}");
        host.shell(&format!("echo 0 >/sys/class/net/{port}/brport/group_fwd_mask")).ok();
        send_to_all();
        // Without a spanning tree the kernel passes on those to 00 by itself, and those to 01 it drops.
        assert_eq!(came(), 14, "the twin: {network}");
    }
}

#[test]
fn no_container_on_the_hosts_segment_becomes_its_router_by_the_shim() {
    need!(Root, Ipv6);
    let host = Host::with_busybox();
    let words = "network create -d macvlan --subnet 192.0.2.0/24 --ip-range 192.0.2.128/28 --gateway 192.0.2.3 \
                 -o parent=eth0 -o host_shim=auto seg";
    host.rbox(&words.split_whitespace().collect::<Vec<_>>()).ok();
    let container = host.run_ready(&["--network", "seg"], &["/probe", "signal-wait"]);
    let shim = host.shell("ls /sys/class/net | grep ^rbm-").ok().text().to_owned();
    send(&host, &container, &advertisement(ALL_NODES.1));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(believed(&host), "");
    open(&host, &shim);
    wait_for("the twin", || {
        send(&host, &container, &advertisement(ALL_NODES.1));
        believed(&host).contains(&format!("default via fe80::bad dev {shim} "))
    });
}

#[test]
fn a_bridge_on_which_ipv6_was_switched_on_loses_it_at_the_next_start() {
    need!(Root, Ipv6);
    let host = Host::with_busybox();
    make(&host, "plain", &[]);
    host.run(&["--network", "plain"], &["true"]).ok();
    host.shell("echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6").ok();
    let switch = "cat /proc/sys/net/ipv6/conf/plain0/disable_ipv6 /proc/sys/net/ipv6/conf/plain0/accept_ra";
    assert_eq!(host.shell(switch).ok().text(), "0\n0", "switched on everywhere it still believes no router");
    host.run(&["--network", "plain"], &["true"]).ok();
    assert_eq!(host.shell(switch).ok().text(), "1\n0");
}

/// The packets of the stranger's that have come to the neighbour.
fn heard(host: &Host) -> u32 {
    let rules = host.neighbour().shell("ip6tables-save -c -t mangle").ok().stdout;
    let line = rules.lines().find(|line| line.contains(&format!("-s {STRANGER}/128"))).unwrap();
    line.trim_start_matches('[').split(':').next().unwrap().parse().unwrap()
}

#[test]
fn the_host_passes_no_ipv6_out_of_a_network_without_it_or_in() {
    need!(Root, Ipv6);
    let quiet: (&str, &[&str]) = ("quiet", &["-o", "icc=false"]);
    // The default bridge has the link-local address of Docker's, and passes on what Docker's does.
    for (network, flags) in NETWORKS.into_iter().skip(1).chain([quiet]) {
        let host = Host::with_busybox();
        // As any network with IPv6 has it.
        host.shell("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding").ok();
        host.neighbour().shell(&format!("ip6tables -t mangle -A PREROUTING -s {STRANGER}")).ok();
        let bridge = make(&host, network, flags);
        let (container, [_, port]) = container(&host, network, &bridge);
        let own = |link: &str| host.shell(&format!("cat /sys/class/net/{link}/address")).ok().text().replace(':', "");
        let udp = [&[0x30, 0x39, 0x1b, 0x58, 0, 12, 0, 0][..], b"over"].concat();
        // By the bridge, and by the port that a frame for it may come from as if it were the host's own card.
        let frames = [own(&bridge), own(&port), NEAREST_BRIDGE.to_owned()]
            .map(|to| frame(&to, (STRANGER, "2001:db8::3"), (17, 64), &udp));
        let way_in = format!("ip -6 route add fd00:bad::/64 dev {bridge}");
        frames.iter().for_each(|frame| send(&host, &container, frame));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(heard(&host), 0, "{network}: out");
        assert_ne!(host.shell(&way_in).code, 0, "{network}: in");
        open(&host, &bridge);
        send(&host, &container, &frames[0]);
        wait_for(&format!("the twin: {network}, out"), || heard(&host) == 1);
        host.shell(&way_in).ok();
    }
}
