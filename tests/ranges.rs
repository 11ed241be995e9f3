//! Ranges of ports: one rule, no process, no socket; and each port leads where it should.

use crate::support::{Host, Output, need};
use std::io::Write;

/// Servers at the first, the middle and the last port of ten thousand, and nowhere else.
const SERVERS: [u16; 3] = [0, 5000, 9999];
const RANGE: u16 = 20000;

#[track_caller]
fn seen(output: Output) -> String {
    let you = output.ok().json()["you"].as_str().unwrap().to_owned();
    you.rsplit_once(':').unwrap().0.trim_matches(['[', ']']).trim_start_matches("::ffff:").to_owned()
}

/// A container `web` that serves ten thousand ports from `base` on at three of them.
fn web(host: &Host, flags: &[&str], base: u16, protocol: &str) {
    let serve = |offset: &u16| format!("/probe serve {} {protocol} 6 & ", base + offset);
    let script = SERVERS.iter().map(serve).collect::<String>() + "wait";
    host.detached(&[&["--name", "web", "--network", "both"], flags].concat(), &["sh", "-c", &script]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while host.rbox(&["logs", "web"]).stdout.matches("ready").count() < SERVERS.len() {
        assert!(std::time::Instant::now() < end, "{}", host.rbox(&["logs", "web"]));
    }
}

/// Each server is reached from the neighbour, who is seen as itself, and from the host; beside the range nobody is.
#[track_caller]
fn assert_reached(host: &Host, protocol: &str) {
    for offset in SERVERS {
        let port = RANGE + offset;
        assert_eq!(seen(host.neighbour().connect("192.0.2.2", port, protocol)), "192.0.2.3", "{port}/{protocol}");
        assert_eq!(seen(host.neighbour().connect("2001:db8::2", port, protocol)), "2001:db8::3", "{port}/{protocol}");
        for address in ["127.0.0.1", "192.0.2.2", "2001:db8::2"] {
            seen(host.connect(address, port, protocol));
        }
    }
    for port in [RANGE - 1, RANGE + 1, RANGE + 9998, RANGE + 10000] {
        host.neighbour().connect("192.0.2.2", port, protocol).fails();
    }
}

#[test]
fn each_port_of_ten_thousand_leads_to_its_own_in_both_families_and_protocols() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "--ipv6", "--subnet", "10.5.0.0/24", "--subnet", "fd00:5::/64", "both"]).ok();
    for protocol in ["tcp", "udp"] {
        for base in [RANGE, 40000] {
            let range = format!("{RANGE}-{}:{base}-{}/{protocol}", RANGE + 9999, base + 9999);
            web(&host, &["-p", &range], base, protocol);
            if !crate::support::is_on_nftables() {
                let rules = host.shell("iptables-save -t nat | grep -e 20000:29999 -e 40000:49999").ok().stdout;
                assert_eq!(rules.lines().count(), 3, "{rules}");
            }
            assert_reached(&host, protocol);
            host.rbox(&["unpublish", "web", &format!("20000-29999/{protocol}")]).ok();
            host.neighbour().connect("192.0.2.2", RANGE + 5000, protocol).fails();
            host.rbox(&["publish", "web", &range]).ok();
            assert_reached(&host, protocol);
            host.rbox(&["rm", "-f", "web"]).ok();
        }
    }
}

#[test]
fn a_range_needs_no_process_and_hardly_any_memory() {
    need!(Root);
    let host = Host::with_busybox();
    let with = |name: &str, flags: &[&str]| {
        host.detached(&[&["--name", name], flags].concat(), &["sleep", "1000"]);
        // Its own: what it has of the program it shares with whoever runs that, too.
        let script = "for one in $(pgrep -x rbox:monitor); do sed -n 's/^Pss_Anon: *//p' /proc/$one/smaps_rollup; done";
        let sizes = host.shell(script).ok().stdout;
        host.rbox(&["rm", "-f", name]).ok();
        sizes.lines().map(|line| line.trim_end_matches(" kB").trim().parse::<u64>().unwrap()).collect::<Vec<_>>()
    };
    let (plain, range) = (with("plain", &[]), with("range", &["-p", "20000-29999:20000-29999/udp"]));
    assert_eq!((plain.len(), range.len()), (1, 1), "one monitor each");
    assert!(range[0] < plain[0] + 2048, "{range:?} kB with a range, {plain:?} without");
}

/// Binds a port, says so, and keeps it: a TCP socket that does not listen, or a UDP one.
const SITS: &str = "
import socket, sys
kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ':' in address else socket.AF_INET
it = socket.socket(family, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
if family == socket.AF_INET6:
    it.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(sys.argv[4]))
it.bind((address, port))
print('sits', flush=True)
sys.stdin.readline()
";

#[test]
fn a_range_of_which_one_port_is_taken_is_refused_with_who_has_it() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(
        &["--name", "web", "-p", "20500:80", "-p", "127.0.0.1:21000-21100:1000-1100/udp"],
        &["sleep", "1000"],
    );
    host.detached(&["--name", "cat"], &["sleep", "1000"]);
    for (kind, address, v6_only, refused) in [
        ("tcp", "0.0.0.0", "0", true),
        ("udp", "192.0.2.2", "0", true),
        ("tcp", "::", "0", true),
        ("udp", "::", "1", false),
    ] {
        let mut sits = host.spawn("python3", &["-c", SITS, kind, address, "23456", v6_only]);
        sits.wait_for("sits");
        let pid = host.shell("pgrep -f '^python3 -c .*sits' | head -n 1").ok().text().to_owned();
        let range = format!("23000-23999:23000-23999/{kind}");
        let by = format!("rbox: cannot publish port 23456: address already in use (by python3, pid {pid})\n");
        let output = host.rbox(&["publish", "cat", &range]);
        assert_eq!((output.code != 0, output.stderr.contains(&by)), (refused, refused), "{kind} {address}: {output}");
        if refused {
            assert_eq!(host.run(&["-p", &range], &["true"]).code(125).stderr, by);
        }
        writeln!(sits.child.stdin.as_mut().unwrap()).unwrap();
        sits.wait();
        if !refused {
            host.rbox(&["unpublish", "cat", "23000-23999/udp"]).ok();
        }
    }
    for (range, port) in [("20000-20999:1-1000", "20500"), ("21050-22049:1-1000/udp", "21050")] {
        let error = host.rbox(&["publish", "cat", range]).code(1).stderr;
        assert_eq!(error, format!("rbox: cannot publish port {port}: address already in use (by container web)\n"));
    }
    // Of the other protocol all of them are free.
    host.rbox(&["publish", "cat", "20000-20999:1-1000/udp"]).ok();
}
