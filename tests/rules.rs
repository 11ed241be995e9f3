//! Rules beside those of others, and the way of a packet through them (A-069, A-090 to A-095).

use crate::publish::{chain, without_comment};
use crate::support::{Host, need};

/// The packets that a rule with this comment has seen.
#[track_caller]
fn packets(rules: &str, comment: &str) -> u64 {
    let line = rules.lines().find(|line| line.contains(comment)).unwrap_or_else(|| panic!("{comment}: {rules}"));
    line.trim_start_matches('[').split(':').next().unwrap().parse().unwrap()
}

#[test]
fn a_069_a_095_the_way_in_station_by_station() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    let web = host.serve(&["--name", "web", "-p", "8080:80"], 80);
    // The same packets pass each station, one after the other: what the one before did to them is what the next one looks for.
    let stations = [
        ("", "PREROUTING -i eth0 -s 192.0.2.3 -d 192.0.2.2 -p tcp --dport 8080", "card of the host"),
        (
            "",
            "FORWARD -i eth0 -o rbox0 -s 192.0.2.3 -d 172.17.0.2 -p tcp --dport 80",
            "translated, on the way to the bridge",
        ),
        ("", "POSTROUTING -o rbox0 -s 192.0.2.3 -d 172.17.0.2 -p tcp --dport 80", "into the bridge"),
        ("enter ", "PREROUTING -i eth0 -s 192.0.2.3 -d 172.17.0.2 -p tcp --dport 80", "card of the container"),
    ];
    let pid = host.rbox(&["inspect", "--format", "{{.State.Pid}}", "web"]).ok().text().to_owned();
    let mut script = format!("set -e; enter() {{ nsenter --net=/proc/{pid}/ns/net \"$@\"; }}\n");
    for (side, rule, comment) in &stations {
        script += &format!("{side}iptables -t mangle -A {rule} -m comment --comment \"{comment}\"\n");
    }
    host.shell(&script).ok();
    let port = host.shell("ls /sys/class/net | grep veth").ok().text().to_owned();
    let sent =
        || host.shell(&format!("cat /sys/class/net/{port}/statistics/tx_packets")).ok().text().parse::<u64>().unwrap();
    let before = sent();
    let heard = host.neighbour().connect("192.0.2.2", 8080, "tcp").ok().json();
    assert!(heard["you"].as_str().unwrap().starts_with("192.0.2.3:"), "the program is told who asks: {heard}");
    assert_eq!(heard["me"], "172.17.0.2:80");
    let carried = sent() - before;
    let counted = format!("iptables-save -c -t mangle; nsenter --net=/proc/{pid}/ns/net iptables-save -c -t mangle");
    let counted = host.shell(&counted).ok().stdout;
    let passed = stations.map(|(_, _, comment)| packets(&counted, comment));
    assert!(passed[0] >= 3 && passed.iter().all(|count| *count == passed[0]), "{passed:?}: {counted}");
    assert!(carried >= passed[0], "the cable carried {carried} of {passed:?}");
    // A-095: what decided is the translation, once for the connection, and the ACCEPT of RBOX.
    let rules = host.shell("iptables-save -c").ok().stdout;
    for words in ["-j DNAT --to-destination 172.17.0.2:80", "-A RBOX -d 172.17.0.2/32 ! -i rbox0 -o rbox0"] {
        let seen: Vec<u64> = rules
            .lines()
            .filter(|line| line.contains(words) && !line.contains("RBOX-INNER"))
            .map(|line| line.trim_start_matches('[').split(':').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(seen, [1], "{words}: {rules}");
    }
    web.end();
}

#[test]
fn a_090_the_policy_of_forward_stays_as_it_was() {
    need!(Root, Iptables);
    for policy in ["ACCEPT", "DROP"] {
        let host = Host::with_busybox();
        host.shell(&format!("iptables -P FORWARD {policy}")).ok();
        let is =
            || host.shell("iptables -S FORWARD | head -n 1; cat /proc/sys/net/ipv4/ip_forward").ok().text().to_owned();
        // Docker sets DROP where it has to switch this on.
        assert_eq!(is(), format!("-P FORWARD {policy}\n0"));
        let web = host.serve(&["-p", "8080:80"], 80);
        assert_eq!(is(), format!("-P FORWARD {policy}\n1"));
        host.neighbour().connect("192.0.2.2", 8080, "tcp").ok();
        web.inside("ping -q -c 1 -W 5 192.0.2.3").ok();
        web.end();
        host.rbox(&["network", "reset"]).ok();
        assert!(is().starts_with(&format!("-P FORWARD {policy}\n")));
    }
}

#[test]
fn a_093_each_published_port_has_an_accept_of_its_own() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    let _other = host.serve(&[], 80);
    let web = host.serve(&["-p", "8080:8080", "-p", "50000:50000", "-p", "53:53/udp"], 8080);
    let mut rules = chain(&host.shell("iptables-save -t filter").ok().stdout, "RBOX");
    rules.sort();
    let accept = |protocol: &str, port: u16| {
        format!("-A RBOX -d 172.17.0.3/32 ! -i rbox0 -o rbox0 -p {protocol} -m {protocol} --dport {port} -j ACCEPT")
    };
    assert_eq!(rules, [accept("tcp", 50000), accept("tcp", 8080), accept("udp", 53)]);
    web.end();
    assert_eq!(chain(&host.shell("iptables-save -t filter").ok().stdout, "RBOX"), Vec::<String>::new());
}

/// What firewalld has in the table filter, as iptables-save writes it.
const FIREWALLD: &str = "*filter
:FORWARD_IN_ZONES - [0:0]
:FORWARD_IN_ZONES_SOURCE - [0:0]
:FORWARD_OUT_ZONES - [0:0]
:FORWARD_OUT_ZONES_SOURCE - [0:0]
:FORWARD_direct - [0:0]
:INPUT_ZONES - [0:0]
:INPUT_ZONES_SOURCE - [0:0]
:INPUT_direct - [0:0]
:OUTPUT_direct - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -j INPUT_direct
-A INPUT -j INPUT_ZONES_SOURCE
-A INPUT -j INPUT_ZONES
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lo -j ACCEPT
-A FORWARD -j FORWARD_direct
-A FORWARD -j FORWARD_IN_ZONES_SOURCE
-A FORWARD -j FORWARD_IN_ZONES
-A FORWARD -j FORWARD_OUT_ZONES_SOURCE
-A FORWARD -j FORWARD_OUT_ZONES
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -j OUTPUT_direct
COMMIT
";

#[test]
fn a_094_firewalld_stays_behind_our_rules() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    std::fs::write(host.path("firewalld"), FIREWALLD).unwrap();
    host.shell("iptables-restore < firewalld").ok();
    let filter = || host.shell("iptables-save -t filter").ok().stdout;
    let before = filter();
    let untouched = |rules: &str| ["INPUT", "OUTPUT"].map(|name| chain(rules, name));
    let forward = chain(&before, "FORWARD");
    assert_eq!(forward.len(), 9);
    let web = host.serve(&["-p", "8080:80"], 80);
    let now = filter();
    assert_eq!(untouched(&now), untouched(&before));
    let own: Vec<String> = [
        "-j RBOX-USER",
        "-j RBOX-ISOLATION-STAGE-1",
        "-o rbox0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-o rbox0 -j RBOX",
        "-i rbox0 ! -o rbox0 -j ACCEPT",
        "-i rbox0 -o rbox0 -j ACCEPT",
    ]
    .map(|rule| format!("-A FORWARD {rule}"))
    .into();
    assert_eq!(chain(&now, "FORWARD"), [own, forward].concat());
    host.neighbour().connect("192.0.2.2", 8080, "tcp").ok();
    web.inside("ping -q -c 1 -W 5 192.0.2.3").ok();
    web.end();
    host.rbox(&["network", "reset"]).ok();
    let bare = |rules: &str| -> Vec<String> {
        let kept = rules.lines().filter(|line| !line.starts_with('#'));
        kept.map(|line| line.split(" [").next().unwrap().to_owned()).collect()
    };
    assert_eq!(bare(&filter()), bare(&before));
}

/// The rules without comments and counters; those of FORWARD in their order.
fn as_saved(host: &Host) -> (Vec<String>, Vec<String>) {
    let saved = host.shell("iptables-save; ip6tables-save").ok().stdout;
    let mut rules: Vec<String> = saved.lines().filter(|line| line.starts_with("-A ")).map(without_comment).collect();
    rules.sort();
    (rules, chain(&saved, "FORWARD"))
}

#[test]
fn who_looks_after_the_packet_filter_himself_is_told_the_rules() {
    need!(Root, Iptables);
    let make = |backend: &str| {
        let host = Host::with_busybox();
        std::fs::write(host.path("config.json"), format!(r#"{{ "firewall": {{ "backend": "{backend}" }} }}"#)).unwrap();
        let name =
            ["--opt", "com.docker.network.bridge.name=br-shop", "--subnet", "10.9.0.0/24", "--subnet", "fd09::/64"];
        host.rbox(&[&["network", "create", "--ipv6"], &name[..], &["shop"]].concat()).ok();
        host.detached(&["--name", "web", "-p", "8080:80"], &["/probe", "serve", "80"]);
        host.detached(
            &["--network", "shop", "-p", "9090:80", "-p", "7000-7002:7000-7002/udp"],
            &["/probe", "serve", "80"],
        );
        host
    };
    let (ours, theirs) = (make("iptables"), make("none"));
    assert_eq!(theirs.shell("nft list ruleset | grep -v '^table\\|^}'").stdout, "", "rbox has put in none");
    theirs.neighbour().connect("192.0.2.2", 8080, "tcp").fails();
    theirs.rbox(&["network", "reload"]).ok();
    let script = theirs.path("script");
    std::fs::write(&script, theirs.rbox(&["network", "rules"]).ok().stdout).unwrap();
    let put_in = format!(
        "set -e; cd {}; csplit -sz script '/^# ip6tables-restore/'; iptables-restore --noflush xx00; ip6tables-restore --noflush xx01",
        theirs.path("").display()
    );
    theirs.shell(&put_in).ok();
    assert_eq!(as_saved(&theirs), as_saved(&ours));
    for port in [8080, 9090] {
        theirs.neighbour().connect("192.0.2.2", port, "tcp").ok();
    }
    let other = theirs.rbox(&["--firewall", "nftables", "ps"]);
    assert_eq!(other.stderr, "", "who only looks does not care");
    let refused = theirs.rbox(&["--firewall", "nftables", "network", "ls"]).code(1);
    assert!(
        refused.stderr.starts_with("rbox: cannot use packet filter nftables: what there is was made for none\nhint: "),
        "{refused}"
    );
}

#[test]
fn rules_move_to_another_packet_filter_by_a_reset() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    let asked = |port| host.neighbour().connect("192.0.2.2", port, "tcp");
    let tables = || host.shell("nft list tables; iptables-save | grep -c RBOX").stdout.contains("table ip rbox");
    for (backend, has_table) in [("iptables", false), ("nftables", true), ("iptables-nft", false), ("iptables", false)]
    {
        host.rbox(&["--firewall", backend, "network", "reset"]).ok();
        host.detached(&["--name", "web", "-p", "8080:80"], &["/probe", "serve", "80"]);
        asked(8080).ok();
        assert_eq!(tables(), has_table, "{backend}");
        host.rbox(&["--firewall", "none", "network", "reset"]).code(1).says("web");
        asked(8080).ok();
        host.rbox(&["rm", "-f", "web"]).ok();
    }
}

/// Of a line `ip nat RBOX 57` of this table the chain and the number.
fn place<'a>(line: &'a str, table: &str) -> Option<(&'a str, u64)> {
    let (chain, number) = line.strip_prefix(&format!("ip {table} "))?.split_once(' ')?;
    Some((chain, number.parse().unwrap()))
}

#[test]
fn rules_go_by_the_numbers_that_were_noted_and_never_those_of_others() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    host.leave_rules_alone();
    host.detached(&["--name", "web", "-p", "8080:80", "-p", "8081:81/udp"], &["/probe", "signal-wait"]);
    let comment = host.shell("ls state/net/handles").ok().text().to_owned();
    let noted = host.shell("cat state/net/handles/*").ok().stdout;
    let ours = || host.shell(&format!("iptables-save | grep -c -e {comment}")).text().parse::<usize>().unwrap();
    assert_eq!(noted.lines().count(), ours(), "{noted}");
    let at = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [family, table, chain, number] = words[..] else { panic!("{noted}") };
        let listed = host.shell(&format!("nft -a list chain {family} {table} {chain}")).ok().stdout;
        let rule = listed.lines().find(|rule| rule.ends_with(&format!("# handle {number}")));
        rule.unwrap_or_else(|| panic!("no {line}: {listed}")).to_owned()
    };
    for line in noted.lines() {
        assert!(at(line).contains("172.17.0.2"), "{line}: {}", at(line));
    }
    // Somebody has the tables anew, and rules of his own stand there by those very numbers.
    let script = "set -e
        iptables-save >saved
        for table in raw filter nat; do nft delete table ip $table; done
        grep -e '^[:*]' -e '^COMMIT' saved | iptables-restore";
    host.shell(script).ok();
    for table in ["filter", "nat"] {
        let rules: Vec<(&str, u64)> = noted.lines().filter_map(|line| place(line, table)).collect();
        let last = rules.iter().map(|(_, number)| *number).max().unwrap();
        let mut at = 0;
        while at < last {
            let chain = rules.iter().find(|(_, number)| *number == at + 1).unwrap_or(&rules[0]).0;
            let add = format!("nft --echo --handle add rule ip {table} {chain} ip saddr 203.0.113.1 counter return");
            let told = host.shell(&add).ok().stdout;
            let number = told.split_once("# handle ").and_then(|(_, rest)| rest.split_whitespace().next());
            at = number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{told}"));
        }
    }
    host.shell("grep -v '^:' saved | iptables-restore --noflush").ok();
    let others = || host.shell("iptables-save | grep 203.0.113.").ok().stdout;
    let before = others();
    assert!(noted.lines().all(|line| at(line).contains("203.0.113.")), "{noted}");
    assert_eq!(noted.lines().count(), ours());
    host.rbox(&["rm", "-f", "web"]).ok();
    assert_eq!((ours(), host.shell("ls state/net/handles").text()), (0, ""));
    assert_eq!(others(), before);
}
