//! The packet filter's rules side by side, rule for rule: what Docker 20.10 puts in for a port, a loopback publish, IPv6, two
//! networks, an internal one, one without words between its containers, a port of any number, a range; and what we put in.
//!
//! Each rule of Docker's has to be there, in Docker's order, or its counterpart; and each further one has to be one of the
//! additions that `docs/firewall.md` explains.

use super::engine::Engine;
use super::lacks_docker;
use super::sight::rule;
use crate::support::{BUSYBOX, Host, need, skip};

/// Its name, what is made in this order, and whether the rules of IPv6 are compared too.
struct Scenario {
    name: &'static str,
    networks: &'static [&'static [&'static str]],
    containers: &'static [&'static [&'static str]],
    ipv6: bool,
}

const ONE: &[&str] = &["--opt", "com.docker.network.bridge.name=br-one", "--subnet", "10.1.0.0/24", "one"];
const TWO: &[&str] = &["--opt", "com.docker.network.bridge.name=br-two", "--subnet", "10.2.0.0/24", "two"];

const SCENARIOS: &[Scenario] = &[
    Scenario { name: "one published port", networks: &[], containers: &[&["-p", "8080:80"]], ipv6: false },
    Scenario { name: "at 127.0.0.1", networks: &[], containers: &[&["-p", "127.0.0.1:8080:80/udp"]], ipv6: false },
    Scenario {
        name: "IPv6",
        networks: &[&[
            "--ipv6",
            "--opt",
            "com.docker.network.bridge.name=br-six",
            "--subnet",
            "10.6.0.0/24",
            "--subnet",
            "fd06::/64",
            "six",
        ]],
        containers: &[&["--network", "six", "-p", "8080:80"]],
        ipv6: true,
    },
    Scenario {
        name: "two networks",
        networks: &[ONE, TWO],
        containers: &[&["--network", "one", "-p", "8080:80"], &["--network", "two", "-p", "8081:80"]],
        ipv6: false,
    },
    Scenario {
        name: "internal",
        networks: &[&["--internal", "--opt", "com.docker.network.bridge.name=br-in", "--subnet", "10.3.0.0/24", "in"]],
        containers: &[&["--network", "in"]],
        ipv6: false,
    },
    Scenario {
        name: "icc=false",
        networks: &[&[
            "--opt",
            "com.docker.network.bridge.enable_icc=false",
            "--opt",
            "com.docker.network.bridge.name=br-quiet",
            "--subnet",
            "10.4.0.0/24",
            "quiet",
        ]],
        containers: &[&["--network", "quiet", "-p", "8080:80"]],
        ipv6: false,
    },
    Scenario { name: "any port", networks: &[], containers: &[&["-p", "80"], &["-p", "0.0.0.0::81/udp"]], ipv6: false },
    Scenario {
        name: "a range",
        networks: &[],
        containers: &[&["-p", "7000-7003:7000-7003"], &["-p", "7100-7102:8100-8102/udp"]],
        ipv6: false,
    },
];

#[test]
fn rules_are_dockers_rule_for_rule() {
    need!(Root, Iptables);
    if let Some(reason) = lacks_docker() {
        skip(&reason);
        return;
    }
    let docker = Engine::docker_on(Host::new(), &["--experimental", "--ip6tables"]);
    for scenario in SCENARIOS {
        let theirs = played(&docker, scenario);
        let ours = played(&Engine::rbox(), scenario);
        compare(scenario.name, &theirs, &ours);
    }
}

/// Where ports of any number begin: Docker's, and ours.
const ANY: [&str; 2] = ["--dport 32768", "--dport 49153"];

/// The rules while everything runs: family, table and rule, without comments, in Docker's names.
fn played(engine: &Engine, scenario: &Scenario) -> Vec<String> {
    let run = |flags: &[&str]| {
        let words = [&["run", "-d"], flags, &[BUSYBOX, "sleep", "1000"]].concat();
        engine.words(&words).ok().text().to_owned()
    };
    // One on the default network, whose rules Docker has in any case.
    let mut ids = vec![run(&[])];
    for network in scenario.networks {
        engine.words(&[&["network", "create"], *network].concat()).ok();
    }
    ids.extend(scenario.containers.iter().map(|flags| run(flags)));
    let programs = if scenario.ipv6 { &["iptables", "ip6tables"][..] } else { &["iptables"] };
    let rules = programs.iter().flat_map(|program| {
        let saved = engine.host.shell(&format!("{program}-save")).ok().stdout;
        rules(program, &saved)
    });
    let rules = rules.collect();
    for id in &ids {
        engine.words(&["rm", "-f", id]).ok();
    }
    for network in scenario.networks {
        engine.words(&["network", "rm", network[network.len() - 1]]).ok();
    }
    rules
}

fn rules(program: &str, saved: &str) -> Vec<String> {
    let mut rules = Vec::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if line.starts_with("-A ") {
            let line = ANY.iter().fold(line.to_owned(), |line, any| line.replace(any, "--dport <any>"));
            rules.extend(rule(&line).into_iter().flat_map(each_port).map(|rule| format!("{program} {table} {rule}")));
        }
    }
    rules
}

/// A rule of a range as one for each of its ports, as Docker writes them.
fn each_port(rule: String) -> Vec<String> {
    let Some((before, rest)) = rule.split_once("--dport ") else { return vec![rule] };
    let (ports, after) = rest.split_once(' ').unwrap();
    let Some((first, last)) = ports.split_once(':') else {
        return vec![rule.clone()];
    };
    let (first, last): (u16, u16) = (first.parse().unwrap(), last.parse().unwrap());
    let shifted = |port: u16| match after.split_once("--to-destination ") {
        None => after.to_owned(),
        // `172.17.0.2`: the same port; `172.17.0.2:8100-8102/7100`: as far from the first one.
        Some((target, to)) => {
            let (address, base) = match to.split_once(':') {
                Some((address, to)) => (address, to.split('-').next().unwrap().parse().unwrap()),
                None => (to, first),
            };
            format!("{target}--to-destination {address}:{}", base + (port - first))
        }
    };
    // Docker puts in the last one first.
    (first..=last).rev().map(|port| format!("{before}--dport {port} {}", shifted(port))).collect()
}

/// Which rules one engine alone has, and how `docs/firewall.md` names the reason.
struct Apart {
    is_ours: bool,
    /// Words that the rule has.
    words: &'static [&'static str],
    reason: &'static str,
}

const fn ours(words: &'static [&'static str], reason: &'static str) -> Apart {
    Apart { is_ours: true, words, reason }
}

const fn theirs(words: &'static [&'static str], reason: &'static str) -> Apart {
    Apart { is_ours: false, words, reason }
}

const APART: &[Apart] = &[
    ours(&["raw -A PREROUTING -d 127.0.0.0/8", "-j DROP"], "The host's own 127.0.0.1"),
    ours(&["raw -A PREROUTING", "! --dst-type LOCAL -j DROP"], "Containers' own addresses"),
    ours(&["nat", "DOCKER-INNER"], "Ports for the host itself and for containers"),
    ours(&["nat -A POSTROUTING -s 127.0.0.0/8", "-j MASQUERADE"], "Ports for the host itself and for containers"),
    ours(&["nat -A POSTROUTING", "--ctstate DNAT -j MASQUERADE"], "Ports for the host itself and for containers"),
    ours(&["filter -A FORWARD", "--ctstate DNAT -j ACCEPT"], "Ports for the host itself and for containers"),
    ours(&["filter -A DOCKER-ISOLATION-STAGE-1", "--ctstate DNAT -j RETURN"], "Ports for other networks' containers"),
    ours(&["filter -A DOCKER-ISOLATION-STAGE-1", "-i br-in -o br-in", "-j DROP"], "Internal networks"),
    ours(&["filter -A DOCKER-ISOLATION-STAGE-1", "! -i br-in -o br-in -j DROP"], "Internal networks"),
    ours(&["filter -A DOCKER-ISOLATION-STAGE-1", "-i br-in ! -o br-in -j DROP"], "Internal networks"),
    ours(&["nat -A DOCKER -i br-in -j RETURN"], "Internal networks"),
    theirs(&["filter -A DOCKER-ISOLATION-STAGE-1", "10.3.0.0/24", "br-in -j DROP"], "Internal networks"),
    ours(&["ip6tables filter", "DOCKER-USER"], "Your own rules of IPv6"),
    theirs(&["ip6tables filter -A DOCKER-ISOLATION", "docker0"], "Bridges without IPv6"),
    theirs(&["filter -A DOCKER -d 172.17.0.3/32", "-p udp -m udp --dport 80 -j ACCEPT"], "Ports of 127.0.0.1"),
    theirs(&["nat -A DOCKER -d 127.0.0.1/32", "--dport 8080 -j DNAT"], "Ports of 127.0.0.1"),
];

/// Chains in which the order is another, without an effect: of rules for one network each, none of which any packet of
/// another's can meet.
const IN_ANY_ORDER: &[(&str, &str)] = &[("", "nat -A POSTROUTING"), ("icc=false", "filter -A FORWARD")];

fn compare(name: &str, theirs: &[String], ours: &[String]) {
    for (rules, others, is_ours) in [(theirs, ours, false), (ours, theirs, true)] {
        for rule in rules.iter().filter(|rule| !others.contains(rule)) {
            let mut reasons = APART.iter().filter(|one| one.is_ours == is_ours);
            let is_known = reasons.any(|one| one.words.iter().all(|words| rule.contains(words)));
            assert!(is_known, "{name}: {} alone has {rule}", if is_ours { "rbox" } else { "Docker" });
        }
    }
    let chain = |rule: &str| rule.split(' ').take(4).collect::<Vec<_>>().join(" ");
    let mut chains: Vec<String> = theirs.iter().map(|rule| chain(rule)).collect();
    chains.dedup();
    for one in chains {
        let both = |rules: &[String], others: &[String]| {
            let of_chain = rules.iter().filter(|rule| chain(rule) == one && others.contains(rule));
            let mut of_chain: Vec<String> = of_chain.cloned().collect();
            if IN_ANY_ORDER.iter().any(|(of, chain)| name.starts_with(of) && one.ends_with(chain)) {
                of_chain.sort();
            }
            of_chain
        };
        assert_eq!(both(ours, theirs), both(theirs, ours), "{name}: {one}");
    }
}

#[test]
fn the_document_gives_each_reason() {
    let document = include_str!("../../docs/firewall.md");
    for Apart { reason, .. } in APART {
        assert!(document.contains(&format!("**{reason}.**")), "{reason}");
    }
}
