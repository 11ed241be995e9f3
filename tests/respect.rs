//! `firewall.respect`: what ufw or firewalld denies is closed, and what they allow is open, also of published ports. With the real
//! packages, both backends, both families, and another port on the host than in the container.

use std::time::{Duration, Instant};

use crate::support::{Host, firewall_cmd, need};

/// Far longer than it takes to write the chain anew.
const PATIENCE: Duration = Duration::from_secs(30);

const BACKENDS: [&str; 2] = ["iptables", "nftables"];

fn host(backend: &str, respects: &str) -> Host {
    let host = Host::with_busybox();
    let respect = if respects.is_empty() { String::new() } else { format!(r#", "respect": "{respects}""#) };
    let config = format!(r#"{{ "firewall": {{ "backend": "{backend}"{respect} }} }}"#);
    std::fs::write(host.path("config.json"), config).unwrap();
    host.rbox(&["network", "create", "--ipv6", "--subnet", "fd00:6::/64", "six"]).ok();
    host
}

/// A container that answers at tcp 8080 and 8000 to 8002 of the host, and udp 8081, in both families; on the default network
/// another, whose IPv6 is relayed, at 9090.
fn serve(host: &Host) {
    let flags = ["--name", "web", "--network", "six", "-p", "8080:80", "-p", "8081:80/udp", "-p", "8000-8002:80-82"];
    host.detached(&flags, &["sh", "-c", "for p in 80 82; do /probe serve $p 6 & done; exec /probe serve 80 6 udp"]);
    host.detached(&["--name", "relayed", "-p", "9090:80"], &["/probe", "serve", "80"]);
}

/// Whether the neighbour is answered: by IPv4, by IPv6.
fn reached(host: &Host, port: u16, protocol: &str) -> (bool, bool) {
    let is = |address: &str| host.neighbour().connect(address, port, protocol).code == 0;
    (is("192.0.2.2"), is("2001:db8::2"))
}

#[track_caller]
fn becomes(host: &Host, port: u16, protocol: &str, wanted: (bool, bool), after: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let is = reached(host, port, protocol);
        if is == wanted {
            break;
        }
        let all = || host.shell("iptables-save; ip6tables-save; nft list ruleset").stdout;
        assert!(Instant::now() < end, "{after}: {port}/{protocol} is {is:?}\n{}", all());
    }
    // The audit says the same, at once or when the other family's rules are written, too.
    while let Err(told) = audit_says(host, port, wanted) {
        assert!(Instant::now() < end, "{after}: {told}");
    }
}

fn audit_says(host: &Host, port: u16, wanted: (bool, bool)) -> Result<(), String> {
    let audit = host.rbox(&["net", "audit", "--format", "{{.Port}} {{.Outside}}"]).ok().stdout;
    for (address, is) in [("0.0.0.0", wanted.0), ("[::]", wanted.1)] {
        let line = audit.lines().find(|line| line.starts_with(&format!("{address}:{port}")));
        let told = line.and_then(|line| line.split_once(' ')).unwrap_or_else(|| panic!("{port}: {audit}")).1;
        let here = ["2001:db8::/64", "192.0.2.0/24", "192.0.2.3", "by eth0"];
        if (told == "anyone" || here.iter().any(|place| told.contains(place))) != is {
            return Err(format!("{address}:{port}: {told}\n{audit}"));
        }
    }
    Ok(())
}

/// This host and the containers are not asked.
#[track_caller]
fn insiders_get_through(host: &Host) {
    for address in ["127.0.0.1", "192.0.2.2", "::1", "2001:db8::2"] {
        host.connect(address, 8080, "tcp").ok();
    }
    for address in ["192.0.2.2", "2001:db8::2"] {
        host.run(&["--network", "six"], &["/probe", "connect", address, "8080"]).ok();
    }
    host.run(&[], &["/probe", "connect", "192.0.2.2", "8080"]).ok();
}

#[test]
fn a_port_is_open_as_far_as_ufw_allows_it() {
    need!(Root, Ufw);
    obeys_ufw("iptables");
}

#[test]
fn the_same_with_nftables() {
    need!(Root, Ufw);
    obeys_ufw("nftables");
}

fn obeys_ufw(backend: &str) {
    let host = host(backend, "ufw");
    host.enable_ufw();
    serve(&host);
    let both = (true, true);
    let none = (false, false);
    becomes(&host, 8080, "tcp", none, "at first");
    becomes(&host, 9090, "tcp", none, "at first, by the relay");
    insiders_get_through(&host);
    for (command, port, protocol, wanted) in [
        ("ufw allow 8080/tcp", 8080, "tcp", both),
        ("ufw deny 8080/tcp; ufw delete allow 8080/tcp", 8080, "tcp", none),
        // It is the host's port that counts, not the container's.
        ("ufw delete deny 8080/tcp; ufw allow 80", 8080, "tcp", none),
        ("ufw allow from 192.0.2.0/24 to any port 8080", 8080, "tcp", (true, false)),
        ("ufw delete allow from 192.0.2.0/24 to any port 8080", 8080, "tcp", none),
        ("ufw allow from 198.51.100.0/24 to any port 8080", 8080, "tcp", none),
        ("ufw allow in on eth0 to any port 8080 proto tcp", 8080, "tcp", both),
        ("ufw delete allow in on eth0 to any port 8080 proto tcp", 8080, "tcp", none),
        ("ufw allow 8081/udp", 8081, "udp", both),
        ("ufw allow 8000:8001,9090/tcp", 9090, "tcp", both),
        ("true", 8000, "tcp", both),
        ("ufw reload", 8000, "tcp", both),
        ("true", 8002, "tcp", none),
        ("ufw default allow incoming", 8080, "tcp", both),
        ("ufw deny 8080", 8080, "tcp", none),
        ("ufw delete allow 8081/udp; ufw reject 8081", 8081, "udp", none),
        ("ufw default deny incoming; ufw allow 8080/tcp; ufw delete deny 8080", 8080, "tcp", both),
    ] {
        if port == 8002 {
            // Of a range only a part is allowed: what the audit says of it is of the range.
            assert_eq!(reached(&host, port, protocol), wanted, "{backend}: part of a range");
            continue;
        }
        host.shell(command).ok();
        becomes_or_part(&host, (port, protocol), wanted, &format!("{backend}: {command}"));
    }
    insiders_get_through(&host);
    let rules = host.rbox(&["network", "rules"]).ok().stdout;
    assert!(!rules.contains("MISSING") && !rules.contains("nobody's"), "{rules}");
    // Switched off, it allows nothing.
    host.shell("ufw --force disable").ok();
    let said = host.run(&["-p", "7070:70"], &["true"]).ok().stderr;
    assert!(
        said.starts_with("rbox: ufw does not run: nobody outside reaches what is published\nhint: start ufw"),
        "{said}"
    );
    becomes(&host, 8080, "tcp", none, "disable");
    host.shell("ufw --force enable").ok();
    becomes(&host, 8080, "tcp", both, "enable");
}

/// Of a range the audit speaks as a whole.
#[track_caller]
fn becomes_or_part(host: &Host, (port, protocol): (u16, &str), wanted: (bool, bool), after: &str) {
    if port != 8000 {
        return becomes(host, port, protocol, wanted, after);
    }
    let end = Instant::now() + PATIENCE;
    while reached(host, port, protocol) != wanted {
        assert!(Instant::now() < end, "{after}: {port}/{protocol}");
    }
}

#[test]
fn what_is_not_understood_of_ufw_stays_closed_and_is_said() {
    need!(Root, Ufw);
    for backend in BACKENDS {
        let host = host(backend, "ufw");
        host.enable_ufw();
        serve(&host);
        host.shell("ufw limit 8080/tcp").ok();
        std::thread::sleep(Duration::from_millis(500));
        becomes(&host, 8080, "tcp", (false, false), "limit");
        let audit = host.rbox(&["net", "audit"]).ok().stdout;
        assert!(audit.contains("closed, since rbox cannot ask for this: iptables -t filter -A ufw-user-"), "{audit}");
        assert!(host.rbox(&["network", "rules"]).ok().stdout.contains("stays closed"));
    }
}

#[test]
fn whose_decision_counts_can_be_changed_while_containers_run() {
    need!(Root, Ufw);
    for backend in BACKENDS {
        let host = host(backend, "");
        host.enable_ufw();
        serve(&host);
        assert_eq!(reached(&host, 8080, "tcp"), (true, true));
        let audit = host.rbox(&["net", "audit"]).ok().stdout;
        assert!(audit.contains("ufw denies, and is not asked"), "{audit}");
        let rules = || host.shell("iptables-save; ip6tables-save; nft -s list ruleset").ok().stdout;
        let kept = |all: &str| {
            let mut lines: Vec<String> = all.lines().filter(|line| line.contains("RBOX")).map(str::to_owned).collect();
            lines.iter_mut().for_each(|line| *line = line.split('[').next().unwrap_or_default().trim().to_owned());
            lines.sort();
            lines
        };
        let before = kept(&rules());
        for (config, wanted) in [(r#", "respect": "ufw""#, (false, false)), ("", (true, true))] {
            let config = format!(r#"{{ "firewall": {{ "backend": "{backend}"{config} }} }}"#);
            std::fs::write(host.path("config.json"), config).unwrap();
            host.rbox(&["network", "rules"]).ok();
            becomes(&host, 8080, "tcp", wanted, backend);
        }
        let after = kept(&rules());
        assert_eq!(after.iter().filter(|line| !before.contains(line)).collect::<Vec<_>>(), Vec::<&String>::new());
        assert_eq!(before.iter().filter(|line| !after.contains(line)).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

#[test]
fn a_port_is_open_as_far_as_firewalld_allows_it() {
    need!(Root, Firewalld);
    obeys_firewalld("iptables");
}

#[test]
fn firewalld_with_nftables() {
    need!(Root, Firewalld);
    obeys_firewalld("nftables");
}

fn obeys_firewalld(backend: &str) {
    let host = host(backend, "firewalld");
    serve(&host);
    let (both, none) = ((true, true), (false, false));
    becomes(&host, 8080, "tcp", none, "before firewalld runs");
    let _bus = host.start_firewalld();
    let rich = |verb: &str, source: &str| {
        let rule = format!("rule family=ipv4 source address={source} port port=8080 protocol=tcp accept");
        firewall_cmd(&format!("--{verb}-rich-rule='{rule}'"))
    };
    let simple = firewall_cmd;
    for (command, port, protocol, wanted) in [
        (simple("--state"), 8080, "tcp", none),
        (simple("--add-port=8080/tcp"), 8080, "tcp", both),
        (simple("--remove-port=8080/tcp"), 8080, "tcp", none),
        (simple("--add-port=80/tcp"), 8080, "tcp", none),
        (rich("add", "192.0.2.0/24"), 8080, "tcp", (true, false)),
        (rich("remove", "192.0.2.0/24"), 8080, "tcp", none),
        (simple("--add-port=8081/udp --add-port=9090/tcp"), 8081, "udp", both),
        (simple("--state"), 9090, "tcp", both),
        (simple("--zone=trusted --add-source=192.0.2.3"), 8080, "tcp", (true, false)),
        (simple("--zone=trusted --remove-source=192.0.2.3"), 8080, "tcp", none),
        (simple("--zone=trusted --change-interface=eth0"), 8080, "tcp", both),
        (simple("--reload"), 8080, "tcp", none),
    ] {
        host.shell(&command).ok();
        becomes(&host, port, protocol, wanted, &format!("{backend}: {command}"));
    }
    insiders_get_through(&host);
}
