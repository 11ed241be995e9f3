//! Published ports: who reaches them and who does not (A-095 to A-107), and the rules (A-080 to A-094).

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Host, Output, Running, need};

/// The server's answer came from the container.
#[track_caller]
fn reached(output: Output) -> String {
    output.ok().json()["you"].as_str().unwrap().rsplit_once(':').unwrap().0.to_owned()
}

fn tcp(host: &Host, address: &str, port: u16) -> Output {
    host.connect(address, port, "tcp")
}

#[test]
fn a_095_a_098_to_a_100_a_published_port_is_reached_from_everywhere() {
    need!(Root);
    let host = Host::with_busybox();
    let web = host.serve(&["-p", "8080:80"], 80);
    assert_eq!(
        reached(host.neighbour().connect("192.0.2.2", 8080, "tcp")),
        "192.0.2.3",
        "a neighbour is seen as itself"
    );
    reached(tcp(&host, "192.0.2.2", 8080)); // A-099: the host by its own address
    reached(tcp(&host, "127.0.0.1", 8080));
    reached(tcp(&host, "172.17.0.1", 8080));
    reached(tcp(&host, "::1", 8080));
    reached(web.inside("/probe connect 192.0.2.2 8080")); // A-098: the container itself
    reached(web.inside("/probe connect 172.17.0.1 8080"));
    let other = host.serve(&[], 81);
    reached(other.inside("/probe connect 192.0.2.2 8080"));
    reached(other.inside("/probe connect 172.17.0.1 8080"));
    reached(other.inside("/probe connect 172.17.0.2 80"));
}

#[test]
fn the_same_with_bridge_netfilter_on_and_off() {
    need!(Root, BridgeNetfilter);
    let host = Host::with_busybox();
    for setting in [0, 1] {
        host.shell(&format!("echo {setting} > /proc/sys/net/bridge/bridge-nf-call-iptables")).ok();
        let web = host.serve(&["-p", "8080:80"], 80);
        let other = host.serve(&[], 81);
        reached(host.neighbour().connect("192.0.2.2", 8080, "tcp"));
        reached(tcp(&host, "127.0.0.1", 8080));
        reached(web.inside("/probe connect 192.0.2.2 8080"));
        reached(other.inside("/probe connect 192.0.2.2 8080"));
        web.end();
        other.end();
    }
}

#[test]
fn a_100_what_is_not_published_is_not_reached_from_outside() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = host.serve(&[], 80);
    host.neighbour().shell("ip route add 172.17.0.0/16 via 192.0.2.2").ok();
    host.neighbour().connect("172.17.0.2", 80, "tcp").fails();
    host.neighbour().connect("192.0.2.2", 80, "tcp").fails().says("ConnectionRefused");
}

#[test]
fn a_loopback_publish_is_the_hosts_own() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = host.serve(&["-p", "127.0.0.1:8080:80"], 80);
    reached(tcp(&host, "127.0.0.1", 8080));
    tcp(&host, "192.0.2.2", 8080).fails();
    host.neighbour().connect("192.0.2.2", 8080, "tcp").fails();
    // With a route to the container, and with a crafted destination: packets for 127.0.0.1 that come over the wire.
    host.neighbour().shell("ip route add 172.17.0.0/16 via 192.0.2.2").ok();
    host.neighbour().connect("172.17.0.2", 80, "tcp").fails();
    let crafted =
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet
                   ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 192.0.2.2 src 192.0.2.3";
    host.neighbour().shell(crafted).ok();
    host.neighbour().connect("127.0.0.1", 8080, "tcp").fails();
}

#[test]
fn ports_without_an_address_are_published_where_the_configuration_says() {
    need!(Root);
    let host = Host::with_busybox();
    std::fs::write(host.path("config.json"), r#"{ "publish": { "default_ip": "127.0.0.1" } }"#).unwrap();
    host.rbox(&["network", "create", "plain"]).ok();
    host.rbox(&["network", "create", "-o", "host_binding=192.0.2.2", "bound"]).ok();
    for (flags, from_host, from_wire) in [
        (&["-p", "8080:80"][..], true, false),
        (&["-p", "8080:80", "--network", "plain"], true, false),
        (&["-p", "0.0.0.0:8080:80"], true, true),
        (&["-p", "192.0.2.2:8080:80"], false, true),
        (&["-p", "8080:80", "--network", "bound"], false, true),
    ] {
        let web = host.serve(flags, 80);
        assert_eq!(tcp(&host, "127.0.0.1", 8080).code == 0, from_host, "{flags:?}");
        assert_eq!(host.neighbour().connect("192.0.2.2", 8080, "tcp").code == 0, from_wire, "{flags:?}");
        host.connect("::1", 8080, "tcp").fails();
        web.end();
    }
    std::fs::write(host.path("config.json"), "{}").unwrap();
    let _web = host.serve(&["-p", "8080:80"], 80);
    reached(host.neighbour().connect("192.0.2.2", 8080, "tcp"));
}

#[test]
fn the_hosts_loopback_is_not_reached_from_a_container() {
    need!(Root);
    let host = Host::with_busybox();
    let probe = crate::support::probe().display().to_string();
    let mut secret = host.spawn(&probe, &["serve", "7070"]);
    secret.wait_for("ready");
    // Raise route_localnet by publishing, then send packets for 127.0.0.1 out of eth0.
    let web = host.run_ready(&["-p", "8080:80", "--cap-add", "NET_ADMIN", "--privileged"], &["/probe", "serve", "80"]);
    let crafted =
        "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet
                   ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via 172.17.0.1 dev eth0
                   /probe connect 127.0.0.1 7070";
    web.inside(crafted).fails();
}

#[test]
fn every_form_of_publish() {
    need!(Root);
    let host = Host::with_busybox();
    for (form, address, port) in [
        ("8080:80", "192.0.2.2", 8080),
        ("8080:80/tcp", "192.0.2.2", 8080),
        ("0.0.0.0:8080:80", "192.0.2.2", 8080),
        ("192.0.2.2:8080:80", "192.0.2.2", 8080),
        ("127.0.0.1:8080:80", "127.0.0.1", 8080),
        ("[::1]:8080:80", "::1", 8080),
        ("8080-8082:79-81", "192.0.2.2", 8081),
    ] {
        let web = host.serve(&["-p", form], 80);
        reached(tcp(&host, address, port));
        web.end();
    }
}

#[test]
fn udp_is_published_too_and_answers_with_the_published_address() {
    need!(Root);
    let host = Host::with_busybox();
    let _dns = host.run_ready(&["-p", "5353:53/udp"], &["/probe", "serve", "53", "udp"]);
    assert_eq!(reached(host.neighbour().connect("192.0.2.2", 5353, "udp")), "192.0.2.3");
    reached(host.connect("127.0.0.1", 5353, "udp"));
    host.neighbour().connect("192.0.2.2", 5353, "tcp").fails();
}

#[test]
fn the_same_port_can_be_published_for_tcp_and_udp() {
    need!(Root);
    let host = Host::with_busybox();
    let web = host.serve(&["-p", "8080:80/tcp", "-p", "8080:80/udp"], 80);
    reached(tcp(&host, "192.0.2.2", 8080));
    web.end();
}

#[test]
fn a_free_port_is_found_where_none_is_named() {
    need!(Root);
    let host = Host::with_busybox();
    let _first = host.serve(&["-p", "80"], 80);
    let _second = host.serve(&["-p", "80"], 80);
    let ports: Vec<u16> = host.translated().into_iter().map(|(port, _)| port).collect();
    assert_eq!(ports, [49153, 49154], "A-105");
    for port in ports {
        reached(tcp(&host, "192.0.2.2", port));
    }
}

#[test]
fn hundreds_of_ports_that_no_range_joins_come_and_go() {
    need!(Root);
    let host = Host::with_busybox();
    let ports: Vec<String> = (0..400).map(|number| format!("-p{}:{}", 20000 + number, 40000 - number)).collect();
    let mut flags: Vec<&str> = ports.iter().map(String::as_str).collect();
    flags.push("--rm");
    let web = host.run(&flags, &["true"]).ok();
    assert_eq!(web.stderr, "", "what cannot be taken away is said");
    assert_eq!(host.translated(), []);
}

#[test]
fn a_105_a_205_capital_p_publishes_what_is_exposed() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = host.serve(&["-P", "--expose", "80", "--expose", "90"], 80);
    reached(tcp(&host, "192.0.2.2", 49153));
    assert_eq!(host.translated(), [(49153, "172.17.0.2:80".into()), (49154, "172.17.0.2:90".into())]);
}

#[test]
fn a_port_held_by_a_container_is_refused_with_its_name() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = host.serve(&["--name", "web", "-p", "8080:80"], 80);
    let before = host.snapshot();
    let output = host.run(&["-p", "8080:80"], &["true"]).code(125);
    assert_eq!(output.stderr, "rbox: cannot publish port 8080: address already in use (by container web)\n");
    host.assert_unchanged(&before);
}

#[test]
fn a_port_held_by_a_program_is_refused_with_its_name_and_pid() {
    need!(Root);
    let host = Host::with_busybox();
    let probe = crate::support::probe().display().to_string();
    let mut holder = host.spawn(&probe, &["serve", "8080"]);
    holder.wait_for("ready");
    let pid = host.shell("pgrep -f 'probe serve 8080' | head -n 1").ok().text().to_owned();
    let output = host.run(&["-p", "8080:80"], &["true"]).code(125);
    let wanted = format!("rbox: cannot publish port 8080: address already in use (by probe, pid {pid})\n");
    assert_eq!(output.stderr, wanted);
}

#[test]
fn no_process_stands_between_for_ipv4() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = host.serve(&["-p", "8080:80"], 80);
    let listening = host.shell("ss -H -l -t -4 -n 2>/dev/null | grep -c ':8080 '").text().to_owned();
    assert_eq!(listening, "0");
    let processes = host.shell("ps -e -o comm= | grep -c -e proxy -e slirp").text().to_owned();
    assert_eq!(processes, "0");
}

#[test]
fn ten_thousand_ports_are_one_rule() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    let web = host.serve(&["-p", "20000-29999:20000-29999"], 25000);
    reached(tcp(&host, "192.0.2.2", 25000));
    let rules = host.shell("iptables-save").ok().stdout;
    let own = rules.lines().filter(|line| line.contains("20000:29999")).count();
    assert!((1..=6).contains(&own), "{rules}");
    web.end();
}

/// The lines of one chain without comments and counters, in iptables-save's words.
pub(crate) fn chain(rules: &str, name: &str) -> Vec<String> {
    let own = rules.lines().filter(|line| line.starts_with(&format!("-A {name} ")));
    own.map(without_comment).collect()
}

/// The same of one line.
pub(crate) fn without_comment(line: &str) -> String {
    let mut words = line.split_whitespace().peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "-m" && words.peek() == Some(&"comment") {
            words.next();
        } else if word == "--comment" {
            // One word, or several in quotes.
            let first = words.next().unwrap_or_default();
            if first.starts_with('"') && !(first.len() > 1 && first.ends_with('"')) {
                words.by_ref().find(|word| word.ends_with('"'));
            }
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

fn published(host: &Host) -> (Running, String, String) {
    let web = host.serve(&["--name", "nginx", "-p", "8080:80"], 80);
    let nat = host.shell("iptables-save -t nat").ok().stdout;
    let filter = host.shell("iptables-save -t filter").ok().stdout;
    (web, nat, filter)
}

/// Rules that firewall.md adds to the listed ones are marked by their words; the others have to be there, in order.
fn without_additions(lines: Vec<String>) -> Vec<String> {
    let added = ["RBOX-INNER", "-s 127.0.0.0/8 -o rbox0", "--ctstate DNAT"];
    lines.into_iter().filter(|line| !added.iter().any(|words| line.contains(words))).collect()
}

#[test]
fn a_080_to_087_the_nat_table() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    let (_web, nat, _) = published(&host);
    assert_eq!(
        without_additions(chain(&nat, "PREROUTING")),
        ["-A PREROUTING -m addrtype --dst-type LOCAL -j RBOX"],
        "A-080"
    );
    assert_eq!(chain(&nat, "INPUT"), Vec::<String>::new(), "A-081");
    assert_eq!(
        without_additions(chain(&nat, "OUTPUT")),
        ["-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j RBOX"],
        "A-082"
    );
    assert_eq!(
        without_additions(chain(&nat, "POSTROUTING")),
        [
            "-A POSTROUTING -s 172.17.0.0/16 ! -o rbox0 -j MASQUERADE",
            "-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE",
        ],
        "A-083, A-084"
    );
    assert_eq!(
        chain(&nat, "RBOX"),
        [
            "-A RBOX -i rbox0 -j RETURN",
            "-A RBOX ! -i rbox0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"
        ],
        "A-085, A-086"
    );
    for name in ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"] {
        assert!(nat.contains(&format!(":{name} ACCEPT ")), "A-087: {name}");
    }
}

#[test]
fn a_091_and_a_093_the_filter_table() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    let (_web, _, filter) = published(&host);
    assert_eq!(
        chain(&filter, "FORWARD"),
        [
            "-A FORWARD -j RBOX-USER",
            "-A FORWARD -j RBOX-ISOLATION-STAGE-1",
            "-A FORWARD -o rbox0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A FORWARD -o rbox0 -j RBOX",
            "-A FORWARD -i rbox0 ! -o rbox0 -j ACCEPT",
            "-A FORWARD -i rbox0 -o rbox0 -j ACCEPT",
        ],
        "A-091"
    );
    assert_eq!(
        chain(&filter, "RBOX"),
        ["-A RBOX -d 172.17.0.2/32 ! -i rbox0 -o rbox0 -p tcp -m tcp --dport 80 -j ACCEPT"],
        "A-093"
    );
    for (name, last) in
        [("RBOX-ISOLATION-STAGE-1", "RETURN"), ("RBOX-ISOLATION-STAGE-2", "RETURN"), ("RBOX-USER", "RETURN")]
    {
        let rules = chain(&filter, name);
        assert!(rules.last().is_some_and(|rule| rule.ends_with(&format!("-j {last}"))), "{name}: {rules:?}");
    }
}

#[test]
fn a_094_other_rules_stay_after_ours_and_input_output_and_policies_are_not_touched() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    host.shell(
        "iptables -P FORWARD DROP; iptables -A FORWARD -i lo -j ACCEPT; iptables -A FORWARD -j REJECT
         iptables -A INPUT -p tcp --dport 22 -j ACCEPT; iptables -A OUTPUT -p tcp --dport 25 -j DROP",
    )
    .ok();
    let kept = "iptables-save -t filter | grep -E '^(:(INPUT|OUTPUT|FORWARD)|-A (INPUT|OUTPUT))' | sed 's/ \\[.*//'";
    let before = host.shell(kept).ok().stdout;
    let (web, _, filter) = published(&host);
    assert_eq!(host.shell(kept).ok().stdout, before);
    let forward = chain(&filter, "FORWARD");
    assert_eq!(forward[0], "-A FORWARD -j RBOX-USER");
    assert_eq!(forward[forward.len() - 2], "-A FORWARD -i lo -j ACCEPT", "{forward:?}");
    assert!(forward.last().unwrap().starts_with("-A FORWARD -j REJECT"), "{forward:?}");
    reached(host.neighbour().connect("192.0.2.2", 8080, "tcp"));
    web.end();
    assert_eq!(host.shell(kept).ok().stdout, before);
}

#[test]
fn a_user_can_forbid_in_rbox_user() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    let (_web, _, _) = published(&host);
    reached(host.neighbour().connect("192.0.2.2", 8080, "tcp"));
    host.shell("iptables -I RBOX-USER -s 192.0.2.3 -j DROP").ok();
    host.neighbour().connect("192.0.2.2", 8080, "tcp").fails();
    host.run(&[], &["true"]).ok();
    assert!(host.shell("iptables-save").stdout.contains("-A RBOX-USER -s 192.0.2.3/32 -j DROP"), "it is the user's");
}

#[test]
fn network_reset_takes_bridge_and_chains_away() {
    need!(Root, Iptables);
    let host = Host::with_busybox();
    let rules = "iptables-save | grep -c -i rbox; ip link show rbox0 >/dev/null 2>&1 && echo bridge";
    host.run(&["-p", "8080:80"], &["true"]).ok();
    assert!(host.shell(rules).stdout.contains("bridge"));
    host.rbox(&["network", "reset"]).ok();
    assert_eq!(host.shell(rules).text(), "0");
    // And everything works again afterwards.
    let _web = host.serve(&["-p", "8080:80"], 80);
    reached(host.neighbour().connect("192.0.2.2", 8080, "tcp"));
    let busy = host.rbox(&["network", "reset"]);
    assert_ne!(busy.code, 0, "not under a running container: {busy}");
}

#[test]
fn a_hundred_containers_at_once_each_on_its_own_port() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "80"], &["true"]).ok();
    let before = host.snapshot();
    let many: usize = std::env::var("RBOX_TEST_MANY").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let bind = format!("{}:/probe:ro", crate::support::probe().display());
    let words = ["run", "--rm", "-p", "80", "-v", &bind, crate::support::BUSYBOX, "/probe", "serve", "80"];
    let mut running: Vec<Running> = (0..many).map(|_| host.rbox_spawn(&words)).collect();
    for one in &mut running {
        one.wait_for("ready");
    }
    let own = host.translated();
    let ports: BTreeSet<u16> = own.iter().map(|(port, _)| *port).collect();
    let targets: BTreeSet<&str> = own.iter().map(|(_, to)| to.as_str()).collect();
    assert_eq!((own.len(), ports.len(), targets.len()), (many, many, many), "{own:?}");
    for (port, to) in &own {
        let answer = tcp(&host, "192.0.2.2", *port).ok().json();
        assert_eq!(answer["me"], json!(to), "port {port}");
    }
    for one in &running {
        one.signal(nix::sys::signal::Signal::SIGTERM);
    }
    for one in running {
        one.wait();
    }
    host.assert_unchanged(&before);
}
