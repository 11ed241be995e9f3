//! Who reaches whom: every container, the host and the neighbour ask the same questions.
//!
//! ```text
//!   tcp ADDRESS PORT   who answers there, and as whom he knows the asker
//!   ping ADDRESS       whether it answers
//!   name4 NAME         which IPv4 address that is, and who answers there
//!   name6 NAME         the same of IPv6
//! ```

use super::steps::CONTAINERS;
use crate::docker::Answers;
use crate::docker::engine::Engine;
use crate::support::{Output, probe};
use std::fmt::Write;

const QUESTIONS: &[&str] = &[
    "tcp 10.1.0.2 80",
    "tcp fd00:1::2 80",
    "tcp 10.1.0.2 81",
    "tcp 10.1.0.9 80",
    "tcp fd00:1::9 80",
    "tcp 10.1.0.3 80",
    "tcp fd00:1::3 80",
    "tcp 10.2.0.2 80",
    "tcp fd00:2::2 80",
    "tcp 10.2.0.20 80",
    "tcp 10.2.0.99 80",
    "tcp fd00:2::3 80",
    "tcp fd00:2::4 80",
    "tcp 10.3.0.2 80",
    "tcp fd00:3::2 80",
    "tcp 10.3.0.3 80",
    "tcp 10.3.0.4 80",
    "tcp 10.4.0.2 80",
    "tcp fd00:4::2 80",
    "tcp 10.4.0.3 80",
    "tcp fd00:4::3 80",
    "tcp 172.17.0.2 80",
    "tcp 172.17.0.3 80",
    "tcp 10.5.9.0 80",
    "tcp 10.5.9.2 80",
    "tcp 192.0.2.128 80",
    "tcp 2001:db8::80 80",
    // Published ports, at the host's own addresses and at gateways.
    "tcp 192.0.2.2 8080",
    "tcp 2001:db8::2 8080",
    "tcp 192.0.2.2 8081",
    "tcp 10.1.0.1 8080",
    "tcp fd00:1::1 8080",
    "tcp 172.17.0.1 8080",
    // Outside.
    "tcp 192.0.2.3 7000",
    "tcp 2001:db8::3 7000",
    "ping 192.0.2.3",
    "ping 2001:db8::3",
    // The host.
    "ping 192.0.2.2",
    "ping 2001:db8::2",
    "ping 10.1.0.1",
    "ping fd00:1::1",
    "ping 10.2.0.1",
    "ping 10.3.0.1",
    "ping fd00:3::1",
    "ping 10.4.0.1",
    "ping 10.5.0.254",
    "ping 172.17.0.1",
];

/// Names that stand for somebody: beside those of the containers.
const ALIASES: &[&str] =
    &["front", "dual", "tie", "brother", "extra", "web.shop", "both.lab", "alone.shop", "lonely", "nobody"];

pub(super) struct Matrix<'e> {
    engine: &'e Engine,
    when: &'e str,
    questions: Vec<String>,
}

impl Matrix<'_> {
    pub(super) fn new<'e>(engine: &'e Engine, when: &'e str) -> Matrix<'e> {
        let addresses = QUESTIONS.iter().map(|&question| question.to_owned());
        let names =
            CONTAINERS.iter().chain(ALIASES).flat_map(|name| [format!("name4 {name}"), format!("name6 {name}")]);
        Matrix { engine, when, questions: addresses.chain(names).collect() }
    }

    /// The answers to each asker. What is waited for is waited for side by side, but not so much of it that a machine with
    /// few processors answers too late.
    pub(super) fn answers(&self) -> Answers {
        let inside = script("/probe", self.questions.iter());
        let ask =
            |asker: &str| self.heard(asker, &self.questions, &self.engine.words(&["exec", asker, "sh", "-c", &inside]));
        let mut answers = Answers::new();
        for askers in CONTAINERS.chunks(4) {
            std::thread::scope(|scope| {
                let asking: Vec<_> = askers.iter().map(|asker| scope.spawn(|| ask(asker))).collect();
                answers.extend(asking.into_iter().flat_map(|heard| heard.join().unwrap()));
            });
        }
        // Outside of containers nobody is asked for names.
        let questions: Vec<String> = self.questions.iter().filter(|it| !it.starts_with("name")).cloned().collect();
        let outside = script(&probe().display().to_string(), &questions);
        answers.extend(self.heard("the host", &questions, &self.engine.host.shell(&outside)));
        answers.extend(self.heard("the neighbour", &questions, &self.engine.host.neighbour().shell(&outside)));
        answers
    }

    fn heard(&self, asker: &str, questions: &[String], output: &Output) -> Answers {
        let answer = |question: &String| {
            let head = format!("{question}: ");
            let said = output.stdout.lines().find_map(|line| line.strip_prefix(&head)).unwrap_or("cannot ask");
            let mut heard = by_name(said);
            // Which of several addresses is told is chance.
            if question.ends_with(" front") || question.split(' ').nth(1) == Some(asker) {
                heard.truncate(heard.find(" at ").unwrap_or(heard.len()));
            }
            (format!("reach: {asker} asks {question}, {}", self.when), vec![heard])
        };
        questions.iter().map(answer).collect()
    }
}

/// A shell script that asks everything at once.
fn script<'a>(probe: &str, questions: impl IntoIterator<Item = &'a String>) -> String {
    let mut script = format!(
        "tcp() {{ said=$({probe} connect $1 $2 2>/dev/null) && echo \"reached $said\" || echo not reached; }}
         ping_it() {{ ping -q -c 1 -W 2 $1 >/dev/null 2>&1 && echo reached || echo not reached; }}
         name() {{ at=$(timeout 4 ping -$1 -q -c 1 -W 1 $2 2>/dev/null | sed -n 's/^PING [^(]*(\\([^)]*\\)).*/\\1/p')
           if [ \"$at\" ]; then tcp $at 80 | sed \"s/reached/& at $at/\"; else echo unknown; fi; }}\n"
    );
    for question in questions {
        let words: Vec<&str> = question.split(' ').collect();
        let asked = match words[..] {
            ["tcp", address, port] => format!("tcp {address} {port}"),
            ["ping", address] => format!("ping_it {address}"),
            ["name4", name] => format!("name 4 {name}"),
            ["name6", name] => format!("name 6 {name}"),
            _ => panic!("not a question: {question}"),
        };
        writeln!(script, "(echo \"{question}: $({asked})\") &").expect("a String takes everything");
    }
    script + "wait\n"
}

/// `reached {"host":…,"me":…,"you":"ADDRESS:PORT"}` without what two engines cannot share: ports and identifiers.
fn by_name(said: &str) -> String {
    let Some((verdict, object)) = said.split_once(" {") else { return said.to_owned() };
    let object: serde_json::Value = serde_json::from_str(&format!("{{{object}")).expect("the probe says JSON");
    let address = |key: &str| object[key].as_str().and_then(|it| it.rsplit_once(':')).map(|(address, _)| address);
    let tidy = |address: &str| address.trim_matches(['[', ']']).trim_start_matches("::ffff:").to_owned();
    let at = |key: &str| address(key).map(tidy).unwrap_or_default();
    format!("{verdict}: {} knows {}", at("me"), at("you"))
}
