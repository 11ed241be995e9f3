//! Rules come back by themselves, whoever took them away, and nobody else's are touched.

use std::time::{Duration, Instant};

use crate::support::{Host, firewall_cmd, need};

/// Far more than it takes; what it takes is measured by the benchmarks.
const PATIENCE: Duration = Duration::from_secs(90);

/// Two networks and what a person publishes: at every address, at 127.0.0.1, a range.
fn host(backend: &str) -> Host {
    let host = Host::with_busybox();
    let config = format!(r#"{{ "firewall": {{ "backend": "{backend}" }} }}"#);
    std::fs::write(host.path("config.json"), config).unwrap();
    host.rbox(&["network", "create", "--ipv6", "green"]).ok();
    host.detached(&["--name", "web", "-p", "8080:80", "-p", "7000-7005:7000-7005"], &["/probe", "serve", "80"]);
    let green = ["--name", "green", "--network", "green", "-p", "127.0.0.1:8081:80", "-p", "9090:80"];
    host.detached(&green, &["/probe", "serve", "80"]);
    // The third has no ports, and can look after the rules as well as any.
    host.detached(&["--name", "quiet"], &["sleep", "100000"]);
    host
}

/// All that the packet filter has, line by line, without what it has counted.
fn ruleset(host: &Host) -> Vec<String> {
    let all = host.shell("nft -s list ruleset").ok().stdout;
    let mut lines: Vec<String> = all.lines().map(|line| line.trim().trim_end_matches(',').to_owned()).collect();
    lines
        .iter_mut()
        .for_each(|line| *line = line.trim_start_matches("elements = { ").trim_end_matches(" }").to_owned());
    lines.sort();
    lines
}

fn is_whole(host: &Host) -> bool {
    let rules = host.rbox(&["network", "rules"]).ok().stdout;
    !rules.contains("MISSING")
}

#[track_caller]
fn comes_back(host: &Host, after: &str) {
    let end = Instant::now() + PATIENCE;
    while !is_whole(host) {
        assert!(Instant::now() < end, "after {after}: {}", host.rbox(&["network", "rules"]).stdout);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(host.neighbour().connect("192.0.2.2", 8080, "tcp").ok().stdout.contains("192.0.2.3"), "{after}");
    assert!(host.neighbour().connect("192.0.2.2", 9090, "tcp").ok().stdout.contains("192.0.2.3"), "{after}");
    assert!(!host.rbox(&["network", "rules"]).ok().stdout.contains("nobody's"), "{after}");
}

/// The file whose lock says who looks after the rules.
fn watcher(host: &Host) -> Option<String> {
    let script = format!(
        "i=$(stat -c %i {}); awk -v i=\":$i$\" '$2 == \"POSIX\" && $6 ~ i {{ print $5 }}' /proc/locks",
        host.path("state/net/watcher").display()
    );
    let pid = host.shell(&script).ok().text().to_owned();
    (!pid.is_empty()).then_some(pid)
}

fn backends() -> [(&'static str, &'static [&'static str]); 2] {
    [
        (
            "iptables",
            &[
                "nft flush ruleset",
                "iptables -F; iptables -t nat -F; iptables -t raw -F",
                "iptables -D FORWARD -j RBOX-USER",
                "ip6tables -t nat -F POSTROUTING",
                "iptables -t nat -D RBOX 3",
            ],
        ),
        (
            "nftables",
            &[
                "nft flush ruleset",
                "nft delete table ip rbox",
                "nft flush table ip6 rbox",
                "nft flush map ip rbox ports",
                "nft flush chain ip rbox to-rbox0",
                "nft delete element ip rbox to '{ \"rbox0\" }'",
            ],
        ),
    ]
}

#[test]
fn rules_that_somebody_takes_away_come_back() {
    need!(Root);
    for (backend, flushes) in backends() {
        let host = host(backend);
        comes_back(&host, "the start");
        let before = ruleset(&host);
        for flush in flushes {
            host.shell(flush).ok();
            comes_back(&host, flush);
            if backend == "nftables" {
                assert_eq!(ruleset(&host), before, "{flush}");
            }
        }
        host.rbox(&["rm", "-f", "web", "green", "quiet"]).ok();
        host.rbox(&["network", "rm", "green"]).ok();
    }
}

#[test]
fn what_others_have_in_the_packet_filter_stays_as_it_is() {
    need!(Root);
    for (backend, flushes) in backends() {
        let host = host(backend);
        comes_back(&host, "the start");
        // As libvirt has it, and a person by hand.
        host.shell(
            "nft add table inet theirs; nft add chain inet theirs forward '{ type filter hook forward priority 10; }'
             nft add rule inet theirs forward ip saddr 203.0.113.0/24 drop
             iptables -N LIBVIRT_FWI; iptables -A FORWARD -j LIBVIRT_FWI; iptables -A LIBVIRT_FWI -o virbr0 -j REJECT
             iptables -t nat -A POSTROUTING -s 192.168.122.0/24 ! -d 192.168.122.0/24 -j MASQUERADE",
        )
        .ok();
        let theirs = || {
            host.shell(
                "nft list table inet theirs; iptables -S LIBVIRT_FWI; iptables -S | grep -c 'FORWARD -j LIBVIRT'
                 iptables -t nat -S | grep 192.168.122",
            )
            .ok()
            .stdout
        };
        let before = theirs();
        for flush in flushes.iter().filter(|flush| !flush.contains("flush ruleset") && !flush.contains("-F")) {
            host.shell(flush).ok();
            comes_back(&host, flush);
            assert_eq!(theirs(), before, "{flush}");
        }
    }
}

#[test]
fn another_takes_over_from_one_that_is_killed_over_it() {
    need!(Root);
    for (backend, _) in backends() {
        let host = host(backend);
        comes_back(&host, "the start");
        // Killed before, while and after it looks and mends. Its container runs on, and gets another monitor.
        for moment_ms in [0, 40, 55, 60, 70, 90, 120] {
            let first = watcher(&host).unwrap();
            host.shell("nft flush ruleset").ok();
            std::thread::sleep(Duration::from_millis(moment_ms));
            host.shell(&format!("kill -9 {first}")).ok();
            comes_back(&host, &format!("{moment_ms} ms"));
            let next = watcher(&host);
            assert!(next.is_some_and(|next| next != first), "{moment_ms} ms");
        }
    }
}

#[test]
fn who_wants_no_repair_has_reload_for_all_networks_or_for_one() {
    need!(Root);
    for (backend, flushes) in backends() {
        let host = Host::with_busybox();
        let config = format!(r#"{{ "firewall": {{ "backend": "{backend}", "repair": false }} }}"#);
        std::fs::write(host.path("config.json"), config).unwrap();
        let ports = ["-p", "8080:80", "-p", "8081:80", "-p", "8082:80"];
        host.detached(&[&["--name", "web"], &ports[..]].concat(), &["/probe", "serve", "80"]);
        host.rbox(&["network", "create", "green"]).ok();
        let is_missing = || host.rbox(&["network", "rules", "bridge"]).ok().stdout.contains("MISSING");
        for flush in flushes.iter().filter(|flush| !flush.contains("ip6")) {
            host.shell(flush).ok();
            // Far longer than a repair takes.
            std::thread::sleep(Duration::from_millis(500));
            assert!(is_missing() && !host.path("state/net/watcher").exists(), "{flush}");
            host.rbox(&["network", "reload", "bridge"]).ok();
            assert!(!is_missing(), "{flush}");
        }
    }
}

#[test]
fn nobody_looks_after_the_rules_when_nobody_needs_any() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--name", "alone", "--network", "none"], &["sleep", "100000"]);
    assert!(!host.path("state/net/watcher").exists());
    host.detached(&["--name", "web"], &["sleep", "100000"]);
    assert!(watcher(&host).is_some());
    host.rbox(&["rm", "-f", "web"]).ok();
    assert_eq!(watcher(&host), None);
}

#[test]
fn a_reload_of_ufw_leaves_every_container_its_ports() {
    need!(Root, Ufw);
    for (backend, _) in backends() {
        let host = host(backend);
        host.enable_ufw();
        host.shell("ufw allow 22/tcp").ok();
        comes_back(&host, "ufw enable");
        let theirs = || host.shell("ufw status verbose").ok().stdout;
        let before = theirs();
        for again in ["ufw reload", "ufw --force disable; ufw --force enable", "ufw deny 99; ufw delete deny 99"] {
            host.shell(again).ok();
            comes_back(&host, again);
            assert_eq!(theirs(), before, "{again}");
        }
    }
}

#[test]
fn a_reload_of_firewalld_leaves_every_container_its_ports() {
    need!(Root, Firewalld);
    for (backend, _) in backends() {
        let host = host(backend);
        let _bus = host.start_firewalld();
        comes_back(&host, "its start");
        let theirs = || host.shell(&firewall_cmd("--list-all-zones")).ok().stdout;
        let before = theirs();
        host.shell(&firewall_cmd("--reload")).ok();
        comes_back(&host, "its reload");
        assert_eq!(theirs(), before);
    }
}
