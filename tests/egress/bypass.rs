//! What a program inside may try against its rules. Each attempt has a twin that shows what it would be worth.

use super::{NETWORK, told};
use crate::support::{Host, NEIGHBOUR4, Output, need};

/// A container that idles.
#[track_caller]
fn idle(host: &Host, name: &str, flags: &[&str]) {
    host.detached(&[&["--name", name], flags].concat(), &["sleep", "1000"]);
}

#[track_caller]
fn inside(host: &Host, name: &str, script: &str) -> Output {
    host.rbox(&["exec", name, "sh", "-c", script])
}

/// The host's own programs, with the container's root file system out of the way: as the container's root, with its
/// capabilities and its filter of system calls.
fn with_hosts_programs() -> [&'static str; 4] {
    ["-v", "/:/host:ro", "--egress", "none"]
}

#[test]
fn root_inside_can_neither_change_the_rules_nor_send_beside_them() {
    need!(Root);
    let host = Host::with_busybox();
    let _server = host.neighbour_serves(&["80", "tcp", "6"]);
    idle(&host, "guarded", &with_hosts_programs());
    let cut = inside(&host, "guarded", "chroot /host nft delete table inet rbox-egress").fails();
    assert!(cut.stderr.contains("Operation not permitted"), "{cut}");
    for (attempt, why) in [
        ("chroot /host nft flush ruleset", "Operation not permitted"),
        ("chroot /host iptables -P OUTPUT ACCEPT", "Permission denied"),
        ("ip link set lo name lo2", "Operation not permitted"),
        ("ip route add 198.51.100.0/24 dev lo", "Operation not permitted"),
        ("ip link add x type veth", "Operation not permitted"),
        ("chroot /host ip tuntap add mode tun", ""),
        ("chroot /host unshare --user --map-root-user true", "Operation not permitted"),
        ("chroot /host nsenter --net=/proc/1/ns/net true", "denied"),
        ("ping -c 1 -W 1 192.0.2.3", ""),
    ] {
        let output = inside(&host, "guarded", attempt).fails();
        assert!(output.stderr.contains(why), "{attempt}: {output}");
    }
    let sockets = |name: &str| {
        let words = ["exec", name, "chroot", "/host", "python3", "-c", SOCKETS];
        host.rbox(&words).ok().stdout
    };
    // Twin: what Docker's default set of capabilities and system calls leaves open. A kernel may not know all of them.
    idle(&host, "free", &["-v", "/:/host:ro"]);
    assert!(sockets("free").starts_with("packet yes\nraw yes\nraw6 yes\n"), "{}", sockets("free"));
    let refused = "packet no\nraw no\nraw6 no\npppox no\nax25 no\nmark no\nip yes\nip6 yes\nunix yes\nnetlink yes\n";
    assert_eq!(sockets("guarded"), refused);
    // Nothing of all that has opened a way.
    inside(&host, "guarded", &format!("/probe connect {NEIGHBOUR4} 80")).fails();
    inside(&host, "free", &format!("/probe connect {NEIGHBOUR4} 80")).ok();
}

/// Which sockets can be made, and whether they can be marked as our name server's are.
const SOCKETS: &str = r#"
import socket as s
def can(what, make):
    try:
        make()
        print(what, "yes")
    except PermissionError:
        print(what, "no")
    except OSError as error:
        print(what, error.strerror)
can("packet", lambda: s.socket(s.AF_PACKET, s.SOCK_RAW))
can("raw", lambda: s.socket(s.AF_INET, s.SOCK_RAW, s.IPPROTO_RAW))
can("raw6", lambda: s.socket(s.AF_INET6, s.SOCK_RAW, s.IPPROTO_RAW))
can("pppox", lambda: s.socket(24, s.SOCK_STREAM, 0))
can("ax25", lambda: s.socket(3, s.SOCK_DGRAM, 0))
can("mark", lambda: s.socket(s.AF_INET, s.SOCK_DGRAM).setsockopt(s.SOL_SOCKET, 36, 0x72626f78))
can("ip", lambda: s.socket(s.AF_INET, s.SOCK_STREAM))
can("ip6", lambda: s.socket(s.AF_INET6, s.SOCK_DGRAM))
can("unix", lambda: s.socket(s.AF_UNIX, s.SOCK_STREAM))
can("netlink", lambda: s.socket(s.AF_NETLINK, s.SOCK_RAW, 0))
"#;

#[test]
fn a_program_of_an_ordinary_user_gains_nothing_by_setuid() {
    need!(Root);
    let host = Host::with_busybox();
    // A program that becomes root again.
    let script = "mkdir /again && cp /bin/busybox /again && chmod 4755 /again/busybox; exec sleep 1000";
    for (name, flags) in [("free", vec![]), ("guarded", vec!["--egress", "none"])] {
        host.detached(&[&["--name", name], &flags[..]].concat(), &["sh", "-c", script]);
    }
    let bounding = |name: &str| {
        host.until(&["exec", name, "ls", "-l", "/again/busybox"], "rws");
        let output =
            host.rbox(&["exec", "--user", "1000", name, "/again/busybox", "grep", "CapBnd", "/proc/self/status"]);
        u64::from_str_radix(output.ok().text().trim_start_matches("CapBnd:").trim(), 16).unwrap()
    };
    let [admin, raw, sys] = [12, 13, 21].map(|number| 1_u64 << number);
    assert_eq!(bounding("free") & (admin | raw | sys), raw);
    assert_eq!(bounding("guarded") & (admin | raw | sys), 0);
    let ping = |name: &str| {
        host.rbox(&["exec", "--user", "1000", name, "/again/busybox", "ping", "-c", "1", "-W", "1", NEIGHBOUR4])
    };
    ping("free").ok();
    ping("guarded").fails();
}

#[test]
fn options_in_a_packet_send_it_nowhere() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&NETWORK).ok();
    // To an allowed receiver, but with a route in the packet: by options of IPv4, and by a header of IPv6.
    let allowed = "allow=192.0.2.3,2001:db8::3";
    let flags = ["-v", "/:/host:ro", "--network", "both"];
    idle(&host, "free", &flags);
    idle(&host, "guarded", &[&flags[..], &["--egress", allowed]].concat());
    host.shell("nft add table inet seen; nft 'add chain inet seen in { type filter hook prerouting priority -400; }'
        nft add rule inet seen in ip hdrlength != 5 udp dport 7000 counter; nft add rule inet seen in exthdr rt exists counter").ok();
    let counted = || {
        let list = host.shell("nft list chain inet seen in").ok().stdout;
        let packets =
            |line: &str| line.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        list.lines().filter_map(packets).collect::<Vec<u64>>()
    };
    for (name, passes) in [("guarded", false), ("free", true)] {
        let before = counted();
        let output = host.rbox(&["exec", name, "chroot", "/host", "python3", "-c", ROUTED]).ok();
        let grown: Vec<bool> = counted().iter().zip(&before).map(|(now, before)| now > before).collect();
        assert_eq!(grown, [passes, passes], "{name}: {output}");
    }
    let told = told(&host, "guarded");
    assert!(
        told["Refused"].as_array().unwrap().iter().any(|it| it["Protocol"] == "udp" && it["Port"] == 7000),
        "{told}"
    );
}

/// With the way recorded, and with a way given, by 192.0.2.3 to 192.0.2.4 (RFC 791); with a header for segments, by 2001:db8::3
/// (RFC 8754). Where the kernel asks for a capability for it, that is the end of it.
const ROUTED: &str = r#"
import socket as s, struct
by4 = s.inet_aton("192.0.2.3")
by6 = b"".join(s.inet_pton(s.AF_INET6, hop) for hop in ("2001:db8::4", "2001:db8::3"))
for family, level, option, value, receiver in (
    (s.AF_INET, s.IPPROTO_IP, s.IP_OPTIONS, bytes([7, 7, 4]) + bytes(5), "192.0.2.3"),
    (s.AF_INET, s.IPPROTO_IP, s.IP_OPTIONS, bytes([131, 7, 4]) + by4 + bytes(1), "192.0.2.4"),
    (s.AF_INET6, s.IPPROTO_IPV6, s.IPV6_RTHDR, struct.pack(">BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + by6, "2001:db8::4"),
):
    try:
        socket = s.socket(family, s.SOCK_DGRAM)
        socket.setsockopt(level, option, value)
        print(receiver, "sent", socket.sendto(b"x", (receiver, 7000)))
    except OSError as error:
        print(receiver, error)
"#;

#[test]
fn what_would_lead_round_the_rules_is_refused_with_the_reason() {
    need!(Root);
    let host = Host::with_busybox();
    let refused: &[(&[&str], &str)] = &[
        (&["--egress", "none", "--privileged"], "--privileged: it cannot stand beside --egress"),
        (&["--egress", "none", "--cap-add", "net_admin"], "--cap-add NET_ADMIN: it cannot stand beside --egress"),
        (&["--egress", "none", "--cap-add", "NET_RAW"], "--cap-add NET_RAW: it cannot stand beside --egress"),
        (&["--egress", "none", "--cap-add", "ALL"], "--cap-add ALL: it cannot stand beside --egress"),
        (
            &["--egress", "none", "--pid", "host", "--cap-add", "SYS_PTRACE"],
            "--cap-add SYS_PTRACE: it cannot stand beside --egress",
        ),
        (
            &["--egress", "none", "--security-opt", "seccomp=unconfined"],
            "--security-opt seccomp=unconfined: it cannot stand beside --egress",
        ),
        (&["--egress", "none", "--egress", "allow=db"], "--egress none: it cannot stand beside --egress allow=…"),
        (&["--egress", "none", "--network", "host"], "--egress: the network is the host's, and so are its rules"),
        (&["--egress", "none", "--network", "none"], "--egress: nothing leads out of network none anyway"),
        (&["--egress", "all"], "--egress all: not of the form none or allow=ENTRY,ENTRY…"),
        (
            &["--egress", "allow=10.0.0.1/8"],
            "--egress allow=10.0.0.1/8: 10.0.0.1/8: it has host bits set; 10.0.0.0/8 is meant",
        ),
    ];
    for (flags, words) in refused {
        let output = host.run(flags, &["true"]).code(125);
        assert_eq!(output.stderr.lines().next(), Some(&*format!("rbox: {words}")), "{flags:?}");
    }
    // Within its own processes this one leads nowhere.
    host.run(&["--egress", "none", "--cap-add", "SYS_PTRACE"], &["true"]).ok();
}

#[test]
fn who_joins_its_network_has_no_more_rights_there() {
    need!(Root);
    let host = Host::with_busybox();
    let _server = host.neighbour_serves(&["80", "tcp", "6"]);
    idle(&host, "guarded", &["--egress", "none"]);
    let join = ["--network", "container:guarded"];
    let with = |flags: &[&str]| host.run(&[&join[..], flags].concat(), &["/probe", "connect", NEIGHBOUR4, "80"]);
    with(&["--egress", "none"]).code(125).says("rbox: --egress: it cannot stand beside --network container:guarded");
    for flag in [["--cap-add", "NET_ADMIN"], ["--cap-add", "NET_RAW"]] {
        let words = format!("rbox: {}: the container of --network container:guarded has --egress", flag.join(" "));
        with(&flag).code(125).says(&words);
    }
    with(&["--privileged"])
        .code(125)
        .says("rbox: --privileged: the container of --network container:guarded has --egress");
    assert!(with(&[]).stderr.contains("ConnectionRefused"));
    // Also one that joins who has joined.
    host.detached(&[&["--name", "second"], &join[..]].concat(), &["sleep", "1000"]);
    host.run(&["--network", "container:second", "--cap-add", "NET_RAW"], &["true"]).code(125);
    for name in ["guarded", "second"] {
        host.rbox(&["exec", "--privileged", name, "true"])
            .says(&format!("rbox: cannot exec in container {name} with --privileged: its network has --egress"))
            .fails();
        let bounding = host.rbox(&["exec", name, "grep", "CapBnd", "/proc/self/status"]).ok();
        let bounding = u64::from_str_radix(bounding.text().trim_start_matches("CapBnd:").trim(), 16).unwrap();
        assert_eq!(bounding & (1 << 12 | 1 << 13 | 1 << 21), 0, "{name}");
        assert_eq!(told(&host, name)["Allowed"], serde_json::json!([]));
    }
    host.rbox(&["net", "egress", "nobody"]).fails();
    idle(&host, "free", &[]);
    host.rbox(&["net", "egress", "free"]).says("rbox: container free: it may reach everything").fails();
    // In a container without the flag all of this can be had.
    host.rbox(&["exec", "--privileged", "free", "true"]).ok();
    host.run(&["--network", "container:free", "--cap-add", "NET_ADMIN"], &["ip", "link", "set", "eth0", "down"]).ok();
}
