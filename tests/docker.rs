//! Side by side with Debian's docker.io 20.10: the same command lines, then what the container and the host look like.
//!
//! Each engine has a private host of its own, so both have 172.17.0.0/16 and every port. A line that one of them alone
//! prints has to be explained in `docs/docker-differences.md`, and what is explained there has to occur.

mod compare;
pub(crate) mod engine;
mod known;
mod life;
mod lines;
mod networks;
mod scenarios;
mod sight;
mod times;
mod verbs;

use crate::support::{Output, find_program, need, skip};
use compare::{Difference, differences, unexplained};
use engine::{DOCKER, DOCKERD, Engine};
use lines::LINES;
use nix::sys::signal::Signal;
use sight::{Sight, of_answer, of_text};

/// What one engine answered to everything: name, comparable lines.
type Answers = Vec<(String, Vec<String>)>;

/// The reason why the comparison cannot be made here.
pub(crate) fn lacks_docker() -> Option<String> {
    for program in [DOCKER, DOCKERD] {
        if find_program(program).is_none() {
            return Some(format!("{program} of Debian's docker.io is not installed"));
        }
        let version = std::process::Command::new(program).arg("--version").output().unwrap();
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        eprintln!("{program}: {version}");
        if !version.contains("version 20.10.") {
            return Some(format!("{program} is not of docker.io 20.10: {version}"));
        }
    }
    None
}

#[test]
fn side_by_side_with_docker() {
    need!(Root, Iptables);
    if let Some(reason) = lacks_docker() {
        skip(&reason);
        return;
    }
    compare_all(Engine::docker, everything, &known::here());
}

/// What both engines answer; a difference that is not known, and a known one that does not show, fail the test.
fn compare_all(docker: fn() -> Engine, ask: fn(&Engine) -> Answers, known: &[&known::Known]) {
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| ask(&docker()));
        let ours = scope.spawn(|| ask(&Engine::rbox()));
        (theirs.join().unwrap(), ours.join().unwrap())
    });
    let mut found: Vec<Difference> = Vec::new();
    for ((name, theirs), (other, ours)) in theirs.iter().zip(&ours) {
        assert_eq!(name, other);
        found.extend(differences(name, theirs, ours));
    }
    let forbidden: Vec<&Difference> = found.iter().filter(|one| is_forbidden(one)).collect();
    assert!(forbidden.is_empty(), "never to be listed: {forbidden:#?}");
    let (unlisted, gone) = unexplained(known, &found);
    assert!(
        unlisted.is_empty() && gone.is_empty(),
        "not explained in docs/docker-differences.md (- is Docker's, + is ours):\n{}\nlisted, but did not occur:\n{}",
        unlisted.join("\n"),
        gone.join("\n")
    );
}

/// What no reason can excuse: another exit code but in the few places that are named, a way that Docker has and we have not, a way that it closed and we did not.
fn is_forbidden(one: &Difference) -> bool {
    (one.line.contains("exit code") && !known::OTHER_CODE.contains(&one.name.as_str()))
        || (one.name.starts_with("reach: ") && one.line.starts_with("-reached") && !is_closed(one))
        || (one.name.starts_with("closed: ") && one.line == "+reached")
}

/// Whether it is one of the few ways that are closed on purpose.
fn is_closed(one: &Difference) -> bool {
    known::CLOSED.iter().any(|way| one.name.starts_with(way))
}

#[test]
fn the_document_explains_each_difference_and_no_other() {
    let document = include_str!("../docs/docker-differences.md");
    let headings: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let all = || known::KNOWN.iter().chain(known::LIFE).chain(known::NETWORKS.last());
    let mut known: Vec<&str> = all().map(|known| known.name).collect();
    known.dedup();
    assert_eq!(headings, known, "docs/docker-differences.md and tests/docker/known.rs name the same, in one order");
    assert!(known.len() <= 15, "at most fifteen differences are allowed");
    assert!(all().all(|known| !known.lines.is_empty()), "a difference that shows nowhere is none");
}

/// Every command line, then containers that serve.
fn everything(engine: &Engine) -> Answers {
    let private = engine.host.path("").display().to_string();
    let private = private.trim_end_matches('/');
    let mut answers = Answers::new();
    let all_capabilities = has_all_capabilities();
    for line in LINES {
        if !all_capabilities && line.wants_all_capabilities() {
            eprintln!(
                "left out, since this machine itself lacks capabilities, and dockerd refuses then: {}",
                line.name
            );
            continue;
        }
        let words = [&["run", "--rm"], line.words].concat();
        let output = engine.words(&words);
        answers.push((line.name.to_owned(), of_answer(line.sight, &output, private)));
    }
    answers.extend(verbs::answers(engine, private));
    answers.extend(host_with_a_published_port(engine, private));
    answers.push(("chosen port".to_owned(), vec![chosen_port(engine)]));
    answers.extend(ways_to_a_published_port(engine));
    answers.extend(ways_that_are_closed(engine));
    answers.extend(ends_by_signals(engine));
    answers
}

/// Whether the machine can give away every capability that its kernel knows; a machine inside another often cannot.
fn has_all_capabilities() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim().to_owned();
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    u64::from_str_radix(&bounding, 16).unwrap() == (1 << (last + 1)) - 1
}

/// Rules, links and settings of the host while a container serves on a published port, and when it has ended.
fn host_with_a_published_port(engine: &Engine, private: &str) -> Answers {
    let bridge = if engine.is_docker() { "docker0" } else { "rbox0" };
    let looks = [
        ("iptables filter", Sight::Rules, "iptables-save -t filter".to_owned()),
        ("iptables nat", Sight::Rules, "iptables-save -t nat".to_owned()),
        ("iptables raw and mangle", Sight::Rules, "iptables-save -t raw; iptables-save -t mangle".to_owned()),
        ("ip6tables", Sight::Rules, "ip6tables-save".to_owned()),
        (
            "bridge",
            Sight::Addresses,
            format!("ip addr show {bridge} | grep -v fe80 | sed 's/02:42:..:..:..:../02:42:<random>/'"),
        ),
        (
            "bridge settings",
            Sight::Text,
            format!(
                "cd /sys/class/net/{bridge}/bridge; grep . stp_state forward_delay \
            ageing_time vlan_filtering multicast_snooping nf_call_iptables"
            ),
        ),
        ("cable", Sight::Addresses, format!("ip addr show master {bridge} | grep -v -e fe80 -e link/ether")),
        (
            "cable settings",
            Sight::Text,
            format!("cd /sys/class/net/{bridge}/brif/*; grep . hairpin_mode isolated learning"),
        ),
        ("host routes", Sight::Text, "ip route".to_owned()),
        (
            "host settings",
            Sight::Text,
            format!(
                "cd /proc/sys/net/ipv4; grep . ip_forward conf/{bridge}/route_localnet \
            conf/{bridge}/rp_filter conf/{bridge}/arp_ignore conf/all/route_localnet; \
            grep . /proc/sys/net/ipv6/conf/all/forwarding"
            ),
        ),
        ("host listening", Sight::Text, "ss -H -l -n -t | awk '{print $4}' | sort".to_owned()),
    ];
    let names = |text: String| text.replace("rbox0", "docker0");
    let mut answers = Answers::new();
    for when in ["with a published port", "after it"] {
        let web = (when != "after it").then(|| engine.serve("web", &["-p", "8080:80", "-p", "5353:53/udp"], &["80"]));
        for (name, sight, script) in &looks {
            let text = engine.host.shell(script).stdout;
            let text = if *sight == Sight::Rules { text } else { names(text) };
            answers.push((format!("{name} {when}"), of_text(*sight, &text, private)));
        }
        if let Some(web) = web {
            web.kill_inside("KILL");
        }
    }
    answers
}

/// The host port of `-p 80`.
fn chosen_port(engine: &Engine) -> String {
    let _web = engine.serve("chosen", &["-p", "80"], &["80"]);
    let script = "iptables-save -t nat | grep -- '--to-destination' | grep -o 'dport [0-9]*' | head -n 1";
    engine.host.shell(script).text().to_owned()
}

fn verdict(output: &Output) -> String {
    if output.code == 0 { "reached".to_owned() } else { "not reached".to_owned() }
}

/// From everywhere to a container that serves on a published port: whether it is reached.
fn ways_to_a_published_port(engine: &Engine) -> Answers {
    let host = &engine.host;
    let _web = engine.serve("web", &["-p", "8080:80"], &["80"]);
    let _names = engine.serve("names", &["-p", "5353:53/udp"], &["53", "udp"]);
    let range = engine.serve("range", &["-p", "9000-9002:79-81"], &["80"]);
    let other = engine.serve("other", &[], &["81"]);
    let from_other = |words: &str| other.inside(&format!("/probe connect {words}"));
    let ways = [
        ("a neighbour", host.neighbour().connect("192.0.2.2", 8080, "tcp")),
        ("a neighbour over IPv6", host.neighbour().connect("2001:db8::2", 8080, "tcp")),
        ("a neighbour by UDP", host.neighbour().connect("192.0.2.2", 5353, "udp")),
        ("a neighbour in a range", host.neighbour().connect("192.0.2.2", 9001, "tcp")),
        ("the host by its address", host.connect("192.0.2.2", 8080, "tcp")),
        ("the host by 127.0.0.1", host.connect("127.0.0.1", 8080, "tcp")),
        ("the host by 127.0.0.1 and UDP", host.connect("127.0.0.1", 5353, "udp")),
        ("the host by [::1]", host.connect("::1", 8080, "tcp")),
        ("the host by its IPv6 address", host.connect("2001:db8::2", 8080, "tcp")),
        ("the host by the bridge's address", host.connect("172.17.0.1", 8080, "tcp")),
        ("the host by the container's address", host.connect("172.17.0.2", 80, "tcp")),
        ("another container by the host's address", from_other("192.0.2.2 8080")),
        ("another container by the gateway's address", from_other("172.17.0.1 8080")),
        ("another container by the host's address and UDP", from_other("192.0.2.2 5353 udp")),
        ("another container directly", from_other("172.17.0.2 80")),
        ("the container itself by the host's address", range.inside("/probe connect 192.0.2.2 9001")),
        ("a closed port of the range", host.neighbour().connect("192.0.2.2", 9003, "tcp")),
    ];
    ways.iter().map(|(name, output)| (format!("reach: {name}"), vec![verdict(output)])).collect()
}

/// Ways that are to be closed: whether they are.
fn ways_that_are_closed(engine: &Engine) -> Answers {
    let host = &engine.host;
    let mut secret = host.spawn(&crate::support::probe().display().to_string(), &["serve", "7070"]);
    secret.wait_for("ready");
    host.neighbour().shell("ip route add 172.17.0.0/16 via 192.0.2.2").ok();
    let inner = engine.serve(
        "inner",
        &["-p", "127.0.0.1:8081:80", "--cap-add", "NET_ADMIN", "--security-opt", "systempaths=unconfined"],
        &["80"],
    );
    let _plain = engine.serve("plain", &[], &["82"]);
    let crafted = "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo
        ip route add 127.0.0.1/32 via 172.17.0.1 dev eth0; /probe connect 127.0.0.1 7070";
    let ways = [
        ("a loopback publish on the host", host.connect("127.0.0.1", 8081, "tcp")),
        ("a loopback publish by the host's address", host.connect("192.0.2.2", 8081, "tcp")),
        ("a loopback publish from a neighbour", host.neighbour().connect("192.0.2.2", 8081, "tcp")),
        ("an unpublished port from a routing neighbour", host.neighbour().connect("172.17.0.3", 82, "tcp")),
        ("a loopback publish from a routing neighbour", host.neighbour().connect("172.17.0.2", 80, "tcp")),
        ("the host's own service from a container", inner.inside("/probe connect 192.0.2.2 7070")),
        ("the host's loopback by crafted packets", inner.inside(crafted)),
    ];
    ways.iter().map(|(name, output)| (format!("closed: {name}"), vec![verdict(output)])).collect()
}

/// How the client ends when it, or the program, gets a signal.
fn ends_by_signals(engine: &Engine) -> Answers {
    let mut answers = Answers::new();
    for (name, flags, signal) in [
        ("SIGTERM through the client, with init", ["--init"].as_slice(), Signal::SIGTERM),
        ("SIGINT through the client, with init", &["--init"], Signal::SIGINT),
        ("SIGHUP through the client, with init", &["--init"], Signal::SIGHUP),
    ] {
        let end = engine.serve("signalled", flags, &["80"]).end(signal);
        answers.push((name.to_owned(), vec![end]));
    }
    for signal in ["KILL", "SEGV"] {
        let end = engine.serve("signalled", &[], &["80"]).kill_inside(signal);
        answers.push((format!("SIG{signal} to the program"), vec![end]));
    }
    answers
}
