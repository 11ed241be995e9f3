//! Two packet filters are called iptables: the rules go to the one that has some, and never to both. In the VM, because a
//! kernel in which the older one was used once has it for ever.

use std::time::{Duration, Instant};

use crate::support::{Host, Running, need};

/// How many rules of ours each of both has, IPv4 and IPv6: iptables-nft, iptables-legacy.
fn counted(host: &Host) -> [usize; 2] {
    ["nft", "legacy"].map(|variant| {
        let saved = host.shell(&format!("iptables-{variant}-save; ip6tables-{variant}-save")).ok().stdout;
        saved.lines().filter(|line| line.starts_with("-A ") && line.contains("RBOX")).count()
    })
}

fn web(host: &Host) -> Running {
    host.rbox(&["network", "create", "--ipv6", "shop"]).ok();
    let web = host.run_ready(&["--network", "shop", "-p", "8080:80"], &["/probe", "serve", "80", "6"]);
    host.neighbour().connect("192.0.2.2", 8080, "tcp").ok();
    host.connect("::1", 8080, "tcp").ok();
    web
}

#[test]
fn rules_go_where_rules_are() {
    need!(Root, LegacyIptables);
    for (before, is_legacy) in [
        ("iptables-legacy -A INPUT -s 203.0.113.9 -j DROP", true),
        ("ip6tables-legacy -P FORWARD DROP", true),
        // Looked at, but empty.
        ("iptables-legacy -L", false),
        ("iptables-legacy -A INPUT -s 203.0.113.9 -j DROP; iptables-nft -A INPUT -s 203.0.113.9 -j DROP", false),
    ] {
        let host = Host::with_busybox();
        host.shell(before).ok();
        let web = web(&host);
        let [nft, legacy] = counted(&host);
        assert_eq!((nft > 0, legacy > 0), (!is_legacy, is_legacy), "{before}: {nft} and {legacy}");
        let missing = host.rbox(&["network", "rules", "shop"]).ok().stdout;
        let missing: Vec<&str> = missing.split("MISSING").collect();
        assert_eq!(missing.len(), 1, "{before}: {missing:#?}");
        web.end();
        host.rbox(&["network", "rm", "shop"]).ok();
        host.rbox(&["network", "reset"]).ok();
        assert_eq!(counted(&host), [0, 0], "{before}");
    }
}

#[test]
fn rules_of_iptables_legacy_come_back_too() {
    need!(Root, LegacyIptables);
    let host = Host::with_busybox();
    std::fs::write(host.path("config.json"), r#"{ "firewall": { "backend": "iptables-legacy" } }"#).unwrap();
    let web = web(&host);
    let before = counted(&host);
    assert!(before[0] == 0 && before[1] > 0, "{before:?}");
    for flush in ["iptables-legacy -F", "iptables-legacy -t nat -F RBOX", "ip6tables-legacy -t nat -F"] {
        host.shell(flush).ok();
        let end = Instant::now() + Duration::from_secs(20);
        while counted(&host) != before {
            assert!(Instant::now() < end, "after {flush}: {}", host.rbox(&["network", "rules"]).stdout);
            std::thread::sleep(Duration::from_millis(100));
        }
        host.neighbour().connect("192.0.2.2", 8080, "tcp").ok();
    }
    web.end();
}
