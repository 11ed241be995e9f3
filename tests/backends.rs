//! iptables and nftables let pass and drop the same: the same networks and containers in two hosts, one with each, are drawn by
//! lot; everybody asks everybody; and who answers, and as whom he knows the asker, has to be the same. In the end nothing of it
//! may be left. `RBOX_TEST_SEED`, `RBOX_TEST_CASES` as everywhere.

use crate::isolation::make;
use crate::support::{Dice, Host, Running, cases, need, probe};

/// What is made in each of the two hosts.
#[derive(Debug, Default)]
struct Plan {
    /// Name, number, flags.
    networks: Vec<(String, u8, Vec<String>)>,
    containers: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    name: String,
    network: usize,
    flags: Vec<String>,
    is_udp: bool,
}

/// What a network may be, beside plain.
const KINDS: [&[&str]; 6] = [
    &[],
    &["--internal"],
    &["--opt", "com.docker.network.bridge.enable_icc=false"],
    &["--opt", "com.docker.network.bridge.gateway_mode_ipv4=routed"],
    &["--opt", "com.docker.network.bridge.enable_ip_masquerade=false"],
    &["--opt", "com.docker.network.bridge.gateway_mode_ipv6=routed"],
];

impl Plan {
    fn draw(dice: &mut Dice) -> Plan {
        let mut plan = Plan::default();
        for number in 1..=2 + u8::try_from(dice.below(2)).unwrap() {
            let flags = dice.pick(&KINDS).iter().map(|word| (*word).to_owned()).collect();
            plan.networks.push((format!("net{number}"), number, flags));
        }
        // Host ports are never asked for twice.
        let mut port = 8000;
        for number in 0..4 {
            let network = if number < 2 { number } else { dice.below(plan.networks.len()) };
            let is_udp = dice.one_in(3);
            let mut flags = Vec::new();
            for _ in 0..dice.below(4) {
                flags.extend(["-p".to_owned(), publish(dice, &mut port, is_udp)]);
            }
            plan.containers.push(Planned { name: format!("box{number}"), network, flags, is_udp });
        }
        plan
    }

    /// What everybody is asked.
    fn questions(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (at, it) in self.containers.iter().enumerate() {
            let (number, protocol) = (self.networks[it.network].1, if it.is_udp { "udp" } else { "tcp" });
            let own = [format!("10.{number}.0.{}", 10 + at), format!("fd00:{number}::{}", 10 + at)];
            let port = if it.is_udp { 53 } else { 80 };
            all.extend(own.iter().map(|address| format!("{protocol} {address} {port}")));
            let gateways = [format!("10.{number}.0.1"), format!("fd00:{number}::1")];
            let hosts = ["127.0.0.1", "192.0.2.2", "2001:db8::2", &gateways[0], &gateways[1]];
            let published = it.flags.iter().filter(|flag| *flag != "-p").filter_map(|flag| first_port(flag));
            for outer in published {
                all.extend(hosts.iter().map(|host| format!("{protocol} {host} {outer}")));
            }
        }
        all.sort();
        all.dedup();
        all
    }
}

/// A way to publish the server's port, at host ports that are still free.
fn publish(dice: &mut Dice, port: &mut u16, is_udp: bool) -> String {
    let (inner, end) = if is_udp { (53, "/udp") } else { (80, "") };
    let first = *port;
    *port += 10;
    match dice.below(5) {
        0 => format!("{first}:{inner}{end}"),
        1 => format!("127.0.0.1:{first}:{inner}{end}"),
        2 => format!("192.0.2.2:{first}:{inner}{end}"),
        // The server's is the third of five.
        3 => format!("{}-{}:{}-{}{end}", first - 2, first + 2, inner - 2, inner + 2),
        _ => format!("[2001:db8::2]:{first}:{inner}{end}"),
    }
}

/// The host port that leads to the server.
fn first_port(publish: &str) -> Option<u16> {
    let outer = publish.trim_end_matches("/udp").rsplit(':').nth(1)?;
    match outer.split_once('-') {
        Some((first, _)) => first.parse::<u16>().ok().map(|first| first + 2),
        None => outer.parse().ok(),
    }
}

/// One of the two, with all of the plan.
struct Side {
    host: Host,
    before: String,
    running: Vec<Running>,
}

impl Side {
    fn new(backend: &str, plan: &Plan) -> Side {
        let host = Host::with_busybox();
        let config = format!(r#"{{ "firewall": {{ "backend": "{backend}" }} }}"#);
        std::fs::write(host.path("config.json"), config).unwrap();
        // The neighbour has a way to the containers' own addresses, as a router of the network would.
        host.neighbour().shell("ip route add 10.0.0.0/8 via 192.0.2.2; ip -6 route add fd00::/16 via 2001:db8::2").ok();
        let before = ruleset(&host);
        for (name, number, flags) in &plan.networks {
            make(&host, name, *number, &flags.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let start = |(at, it): (usize, &Planned)| {
            let (name, number, _) = &plan.networks[it.network];
            let addresses = [format!("10.{number}.0.{}", 10 + at), format!("fd00:{number}::{}", 10 + at)];
            let mut flags = vec!["--name", &it.name, "--network", name, "--ip", &addresses[0], "--ip6", &addresses[1]];
            flags.extend(it.flags.iter().map(String::as_str));
            crate::isolation::serve(&host, &flags, if it.is_udp { "udp" } else { "tcp" })
        };
        let running = plan.containers.iter().enumerate().map(start).collect();
        Side { host, before, running }
    }

    /// Who answers whom, and as whom he knows him.
    fn answers(&self, questions: &[String]) -> Vec<String> {
        let ask = script(&probe().display().to_string(), questions);
        let mut all = told("host", &self.host.shell(&ask).ok().stdout);
        all.extend(told("neighbour", &self.host.neighbour().shell(&ask).ok().stdout));
        for (at, inner) in self.running.iter().enumerate() {
            all.extend(told(&format!("box{at}"), &inner.inside(&script("/probe", questions)).ok().stdout));
        }
        all.sort();
        all
    }

    /// Take all away, and see that nothing is left.
    fn end(self, plan: &Plan) {
        self.running.into_iter().for_each(|running| drop(running.end()));
        for (name, ..) in &plan.networks {
            self.host.rbox(&["network", "rm", name]).ok();
        }
        self.host.rbox(&["network", "reset"]).ok();
        assert_eq!(ruleset(&self.host), self.before, "{plan:#?}");
    }
}

/// Every rule, chain and entry, but for the empty tables and base chains that the iptables programs leave.
fn ruleset(host: &Host) -> String {
    let empty = r"^(table ip6? (raw|filter|nat) \{|\tchain (PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) \{|\t?\}|\t\ttype .*|)$";
    host.shell(&format!("nft -s list ruleset 2>/dev/null | grep -v '^#' | grep -v -P '{empty}'")).stdout
}

fn script(probe: &str, questions: &[String]) -> String {
    let ask = |question: &String| {
        let words = format!("{probe} connect {question}");
        let [protocol, address, port] = question.split(' ').collect::<Vec<_>>()[..] else { panic!("{words}") };
        format!("(a=$({probe} connect {address} {port} {protocol} 2>/dev/null) && echo \"{question} $a\") &\n")
    };
    questions.iter().map(ask).chain(["wait; true".to_owned()]).collect()
}

/// `WHO: QUESTION as ADDRESS`, without the asker's port.
fn told(who: &str, said: &str) -> Vec<String> {
    let line = |line: &str| {
        let (question, json) = line.split_at(line.find(" {").unwrap_or(line.len()));
        let you = json.split("\"you\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        format!("{who}: {question} as {}", you.rsplit_once(':').map_or(you, |(address, _)| address))
    };
    said.lines().map(line).collect()
}

#[test]
fn both_backends_let_pass_and_drop_the_same() {
    need!(Root, Iptables);
    for mut case in cases(4) {
        let plan = Plan::draw(&mut case.dice);
        let questions = plan.questions();
        let sides = [Side::new("iptables", &plan), Side::new("nftables", &plan)];
        let [one, other] = sides.each_ref().map(|side| side.answers(&questions));
        assert!(one.iter().any(|line| line.starts_with("host: ")), "nobody answers: {plan:#?}");
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|line| !those.contains(line)).cloned().collect()
        };
        assert!(
            one == other,
            "iptables alone: {:#?}\nnftables alone: {:#?}\n{plan:#?}",
            only(&one, &other),
            only(&other, &one)
        );
        sides.into_iter().for_each(|side| side.end(&plan));
    }
}
