//! What the audit says of each way into a container, checked by going it: from this host, from a neighbour on its link, from a
//! stranger behind a router, and from another container. Host, rules and ports by chance.

use serde_json::Value;

use crate::support::{BUSYBOX, Case, Dice, Host, Pty, cases, need};

/// An address that is behind the neighbour.
const STRANGER4: &str = "198.51.100.9";
const STRANGER6: &str = "2001:db8:99::9";

/// What people have in their packet filters: for both backends.
const THEIRS: [&str; 16] = [
    "true",
    "iptables -P FORWARD DROP",
    "ip6tables -P FORWARD DROP",
    "iptables -I FORWARD -s 198.51.100.0/24 -j DROP",
    "iptables -I FORWARD -i eth0 -p tcp -m multiport --dports 80,81 -j REJECT",
    "iptables -I FORWARD -m conntrack --ctorigdstport 8000 -p tcp -j DROP",
    "iptables -N THEIRS; iptables -I FORWARD -j THEIRS; iptables -A THEIRS -s 192.0.2.3 -j RETURN; iptables -A THEIRS -i eth0 -j DROP",
    "iptables -t mangle -A PREROUTING -s 192.0.2.0/24 -p udp -j DROP",
    "iptables -t raw -A PREROUTING -i eth0 -p tcp --dport 8000:8003 -j DROP",
    "iptables -A INPUT -p tcp --dport 8000:9000 -j DROP",
    "ip6tables -A INPUT -p tcp --dport 8000:8002 -j REJECT",
    "iptables -A OUTPUT -o rbox0 -p tcp --dport 80 -j DROP",
    "nft 'table inet theirs { chain f { type filter hook forward priority 10; ip saddr 198.51.100.0/24 drop; }; }'",
    "nft 'table inet theirs { chain f { type filter hook forward priority 10; policy drop; ct state established,related accept; tcp dport { 80, 82 } accept; }; }'",
    "nft 'table inet theirs { set bad { type ipv4_addr; elements = { 192.0.2.3 }; }; chain p { type filter hook prerouting priority -150; ip saddr @bad udp dport 8000-9000 drop; }; }'",
    "nft 'table ip6 theirs { chain f { type filter hook forward priority 0; iifname eth0 tcp dport 80 drop; }; }'",
];

const ROUTES: [&str; 4] = ["true", "true", "ip route del default", "ip -6 route del default"];

const NETWORKS: [&[&str]; 5] = [
    &["quiet", "-o", "icc=false"],
    &["routed", "-o", "gateway_mode_ipv4=routed"],
    &["open", "-o", "masquerade=false"],
    &["six", "--ipv6", "--subnet", "fd00:6::/64"],
    &["inner", "--internal"],
];

/// Each container listens on these, tcp; and on the first of them, udp.
const INSIDE: [u16; 3] = [80, 81, 82];

fn host(backend: &str, case: &mut Case) -> Host {
    let host = Host::with_busybox();
    std::fs::write(host.path("config.json"), format!(r#"{{ "firewall": {{ "backend": "{backend}" }} }}"#)).unwrap();
    let stranger = format!("ip addr add {STRANGER4}/32 dev lo; ip -6 addr add {STRANGER6}/128 dev lo");
    host.neighbour().shell(&stranger).ok();
    host.shell("ip -6 route add default via 2001:db8::3").ok();
    for network in NETWORKS {
        host.rbox(&[&["network", "create"], &network[1..], &network[..1]].concat()).ok();
    }
    for number in 0..4 {
        let network = case.dice.pick(&["bridge", "quiet", "routed", "open", "six", "six", "inner"]);
        let name = format!("c{number}");
        let ports = ports(&mut case.dice, number);
        let mut flags = vec!["--name", &name, "--network", network];
        ports.iter().for_each(|port| flags.extend(["-p", port]));
        let script = "for p in 80 81 82; do /probe serve $p 6 & done; exec /probe serve 80 6 udp";
        host.detached(&flags, &["sh", "-c", script]);
    }
    host.detached(&["--name", "client", "--network", "six"], &["sleep", "100000"]);
    host.detached(&["--name", "client0"], &["sleep", "100000"]);
    for _ in 0..2 {
        host.shell(case.dice.pick(&THEIRS)).ok();
    }
    host.shell(case.dice.pick(&ROUTES)).ok();
    host
}

/// What a container publishes: each number is free, since it is its own.
fn ports(dice: &mut Dice, number: u16) -> Vec<String> {
    let at = ["", "", "127.0.0.1:", "192.0.2.2:", "[::1]:", "[2001:db8::2]:", "0.0.0.0:", "[::]:"];
    let first = 8000 + 10 * number;
    let mut ports = vec![format!("{}{first}:80", dice.pick(&at))];
    ports.push(format!("{}{}:80/udp", dice.pick(&at), first + 1));
    match dice.below(3) {
        0 => ports.push(format!("{}{}-{}:80-82", dice.pick(&at), first + 2, first + 4)),
        1 => ports.push(format!("{0}:81", first + 5)),
        _ => {}
    }
    ports
}

/// Where somebody asks from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Host,
    Neighbour,
    Stranger,
    Container,
}

/// One place that an audited port is at, and how it is asked for.
struct Place {
    address: String,
    port: u16,
    protocol: String,
}

impl Place {
    fn answers(&self, host: &Host, from: From) -> bool {
        let Place { address, port, protocol } = self;
        let ask = format!("{} connect {address} {port} {protocol}", crate::support::probe().display());
        let is_ipv6 = address.contains(':');
        let output = match from {
            From::Host => host.shell(&ask),
            From::Neighbour => host.neighbour().shell(&ask),
            From::Stranger => {
                let (family, stranger) = if is_ipv6 { ("-6", STRANGER6) } else { ("-4", STRANGER4) };
                let whole = if is_ipv6 { 128 } else { 32 };
                let by = if is_ipv6 { "2001:db8::2" } else { "192.0.2.2" };
                let via = if address == by { String::new() } else { format!("via {by}") };
                host.neighbour().shell(&format!(
                    "ip {family} route replace {address}/{whole} {via} dev eth0 src {stranger}
                     {ask}; code=$?; ip {family} route del {address}/{whole}; exit $code"
                ))
            }
            // One that has IPv6 asks for IPv6.
            From::Container => {
                let client = if is_ipv6 { "client" } else { "client0" };
                host.rbox(&["exec", client, "/probe", "connect", address, &port.to_string(), protocol])
            }
        };
        output.code == 0
    }
}

/// The addresses at which a port is asked for that the audit speaks of.
fn places(address: &str, from: From) -> Vec<String> {
    let own = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    match (address, from) {
        ("0.0.0.0", From::Host) => own(&["127.0.0.1", "192.0.2.2"]),
        ("0.0.0.0", _) => own(&["192.0.2.2"]),
        ("::", From::Host) => own(&["::1", "2001:db8::2"]),
        ("::", _) => own(&["2001:db8::2"]),
        (one, _) => own(&[one]),
    }
}

/// Whether the audit says that this one gets through; nothing where it does not know.
fn expected(row: &Value, from: From, is_ipv6: bool) -> Option<bool> {
    let flag = |name: &str| Some(row[name] == "true");
    let outside = row["Outside"].as_str().unwrap();
    let address = match (from, is_ipv6) {
        (From::Host, _) => return flag("Host"),
        (From::Container, _) => return flag("Containers"),
        (From::Neighbour, false) => ["192.0.2.0/24", "192.0.2.3/32", "by eth0"],
        (From::Neighbour, true) => ["2001:db8::/64", "2001:db8::3/128", "by eth0"],
        (From::Stranger, false) => ["198.51.100.0/24", "198.51.100.9/32", "by eth0"],
        (From::Stranger, true) => ["2001:db8:99::/64", "2001:db8:99::9/128", "by eth0"],
    };
    let is_among = |list: &str| list.split(", ").any(|one| address.contains(&one));
    let outside = match outside.strip_suffix(" (perhaps)") {
        Some(_) => return None,
        None => outside,
    };
    let (who, but) = outside.split_once(" but ").unwrap_or((outside, ""));
    let is_meant = match who {
        "nobody" => false,
        "anyone" | "anyone with a route" => true,
        these => is_among(these),
    };
    // What is said of some of the ports alone is not asked for here.
    if outside.contains("port ") || outside.contains(" tcp") || outside.contains("all but") {
        return None;
    }
    Some(is_meant && !is_among(but))
}

fn check(host: &Host, backend: &str) {
    let audit = host.rbox(&["net", "audit", "--format", "json"]).ok();
    let shown = host.rbox(&["net", "audit"]).ok().stdout;
    let rules = || host.shell("iptables-save; ip6tables-save; nft list ruleset").stdout;
    for line in audit.stdout.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let (place, protocol) =
            row["Port"].as_str().unwrap().rsplit_once('/').unwrap_or((row["Port"].as_str().unwrap(), "tcp"));
        let is_whole = row["Target"] == "every port";
        let (address, port) = match is_whole {
            true => (place, INSIDE[1]),
            false => {
                let (address, ports) = place.rsplit_once(':').unwrap();
                (address.trim_matches(['[', ']']), ports.split('-').next_back().unwrap().parse().unwrap())
            }
        };
        let of_container = row["Port"].as_str().unwrap().starts_with("172.") || is_whole;
        for from in [From::Host, From::Neighbour, From::Stranger, From::Container] {
            for address in places(address, from) {
                // To a container's own address the neighbour and the stranger need a route to it.
                if of_container && from != From::Host && from != From::Container {
                    let _ = host.neighbour().shell(&format!("ip route replace {address}/32 via 192.0.2.2"));
                }
                if of_container && from == From::Container {
                    continue;
                }
                let Some(mut expected) = expected(&row, from, address.contains(':')) else { continue };
                if address == "::1" && row["Remarks"].as_str().unwrap().contains("this host not at [::1]") {
                    expected = false;
                }
                let place = Place { address, port, protocol: protocol.to_owned() };
                let answers = place.answers(host, from);
                let told =
                    format!("{backend}: {from:?} at {}:{port}/{protocol}: the audit says {expected}", place.address);
                assert_eq!(answers, expected, "{told}\n{row:#}\n{shown}\n{}", rules());
            }
        }
    }
}

#[test]
fn every_verdict_holds_against_real_connections() {
    need!(Root);
    for mut case in cases(6) {
        let backend = case.dice.pick(&["iptables", "nftables"]);
        let host = host(backend, &mut case);
        check(&host, backend);
    }
}

#[test]
fn a_person_is_told_in_one_line_who_reaches_what_is_published_and_a_script_is_not() {
    need!(Root);
    let host = Host::with_busybox();
    let run = ["run", "--rm", "-p", "8080:80", "-p", "127.0.0.1:8081:81", BUSYBOX, "true"];
    let (code, said) = Pty::rbox(&host, &run).wait();
    let line = "rbox: reachable from anyone: 0.0.0.0:8080/tcp; from 2001:db8::/64, fe80::/64, this host: \
                [::]:8080/tcp; from this host: 127.0.0.1:8081/tcp";
    assert_eq!((code, said.matches(line).count(), said.lines().count()), (0, 1, 1), "{said}");
    let detached = ["run", "-d", "--name", "web", "-p", "127.0.0.1:8080:80", BUSYBOX, "sleep", "100000"];
    let (_, said) = Pty::rbox(&host, &detached).wait();
    assert!(said.contains("rbox: reachable from this host: 127.0.0.1:8080/tcp"), "{said}");
    let (_, said) = Pty::rbox(&host, &["publish", "web", "8082:82/udp"]).wait();
    assert!(said.contains("from anyone: 0.0.0.0:8082/udp"), "{said}");
    let quiet = host.rbox(&["run", "--rm", "-p", "9090:80", BUSYBOX, "true"]).ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let (_, said) = Pty::rbox(&host, &["run", "--rm", BUSYBOX, "true"]).wait();
    assert_eq!(said, "");
}

#[test]
fn what_is_missing_and_who_squats_is_said() {
    need!(Root);
    for backend in ["iptables", "nftables"] {
        let host = Host::with_busybox();
        let config = format!(r#"{{ "firewall": {{ "backend": "{backend}", "repair": false }} }}"#);
        std::fs::write(host.path("config.json"), config).unwrap();
        host.detached(&["--name", "web", "-p", "8080:80"], &["/probe", "serve", "80"]);
        host.detached(&["--name", "many", "-p", "7000-7099:7000-7099/tcp"], &["sleep", "100000"]);
        let probe = crate::support::probe().display().to_string();
        let mut squatter = host.spawn(&probe, &["serve", "7050"]);
        squatter.wait_for("ready");
        let audit = || host.rbox(&["net", "audit"]).ok().stdout;
        let shown = audit();
        assert!(shown.contains("listens at 0.0.0.0:7050 and hears nothing"), "{shown}");
        assert!(!shown.contains("missing"), "{shown}");
        host.shell("nft flush ruleset").ok();
        let shown = audit();
        assert!(shown.contains("missing") && shown.contains("rbox network reload"), "{shown}");
        let outside = host.rbox(&["net", "audit", "--format", "{{.Port}} {{.Outside}} {{.Containers}}"]).ok().stdout;
        assert!(outside.contains("0.0.0.0:8080/tcp nobody false"), "{outside}");
        host.neighbour().connect("192.0.2.2", 8080, "tcp").fails();
        host.rbox(&["network", "reload"]).ok();
        assert!(!audit().contains("missing"));
        host.neighbour().connect("192.0.2.2", 8080, "tcp").ok();
    }
}
