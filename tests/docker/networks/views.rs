//! What a container sees of its network, and what the engine says of containers and networks, value by value.

use super::steps::{CONTAINERS, NETWORKS};
use crate::docker::Answers;
use crate::docker::engine::Engine;
use crate::docker::sight::{Sight, of_text};
use serde_json::Value;

/// Inside of a container, each behind a line of its own.
const LOOKS: &[(&str, Sight, &str)] = &[
    // Where the other end of a link is goes by numbers, which are the machine's.
    ("addresses", Sight::Text, "ip addr | sed 's/^[0-9]*: //; s/@[^:]*:/:/; s/,M-DOWN//; s/ qlen .*//'"),
    ("routes", Sight::Text, "ip route; ip -6 route"),
    ("hosts", Sight::Text, "cat /etc/hosts"),
    ("resolv.conf", Sight::Text, "cat /etc/resolv.conf"),
    ("host name", Sight::Text, "hostname; cat /etc/hostname"),
    (
        "settings",
        Sight::Text,
        "cd /proc/sys/net; grep . ipv4/ip_forward ipv6/conf/*/disable_ipv6 ipv6/conf/*/forwarding ipv6/conf/*/accept_ra",
    ),
];

/// The addresses are there for good once none is tentative (RFC 4862).
const SETTLED: &str = "for i in $(seq 100); do ip -6 addr | grep -q tentative || break; sleep 0.1; done";

/// What stands between two looks.
const NEXT: &str = "--- next ---\n";

pub(super) fn all(engine: &Engine, when: &str) -> Answers {
    let names = Names::of(engine);
    let mut answers = Answers::new();
    for container in CONTAINERS {
        let script = LOOKS.iter().map(|(.., script)| format!("{SETTLED}; ({script}) 2>&1; echo {NEXT}"));
        let output = engine.words(&["exec", container, "sh", "-c", &script.collect::<String>()]);
        let said = names.known(&output.stdout);
        let mut parts = said.split(NEXT);
        for (what, sight, _) in LOOKS {
            let part = parts.next().unwrap_or_default();
            answers.push((format!("{what} of {container}, {when}"), of_text(*sight, part, "@")));
        }
        let lines = names.lines(&object(engine, &["inspect", container])["NetworkSettings"]);
        answers.push((format!("inspect of {container}, {when}"), lines));
    }
    for network in NETWORKS.iter().chain(&["bridge", "host", "none"]) {
        let lines = names.lines(&object(engine, &["network", "inspect", network]));
        answers.push((format!("network inspect of {network}, {when}"), lines));
    }
    answers
}

/// What is said of one thing; null where there is no such.
fn object(engine: &Engine, words: &[&str]) -> Value {
    let output = engine.words(words);
    serde_json::from_str::<Value>(&output.stdout).map(|all| all[0].clone()).unwrap_or_default()
}

/// The identifiers that an engine gave, and what they are of.
struct Names {
    names: Vec<(String, String)>,
    private: String,
}

impl Names {
    fn of(engine: &Engine) -> Names {
        let list = |words: &[&str]| engine.words(words).ok().stdout;
        let all = list(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}},"])
            + &list(&["network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"]);
        // Docker lists those of links too: `linked/tie,first`.
        let own = |names: &str| names.split(',').find(|name| !name.contains('/')).unwrap_or_default().to_owned();
        let pair = |line: &str| line.split_once(' ').map(|(id, names)| (id.to_owned(), own(names)));
        Names { names: all.lines().filter_map(pair).collect(), private: engine.host.path("").display().to_string() }
    }

    /// The text with what each known identifier is of in its place.
    fn known(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (id, name)| {
            text.replace(id, &format!("<id of {name}>")).replace(&id[..12], &format!("<short id of {name}>"))
        })
    }

    /// A line for each value, with the way to it.
    fn lines(&self, value: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        leaves("", value, &mut lines);
        let lines = lines.into_iter().map(|line| without_pid(&line)).collect::<Vec<_>>().join("\n");
        let mut lines = of_text(Sight::Text, &self.known(&lines), &self.private);
        lines.sort();
        lines
    }
}

/// `/proc/812/ns/net` of whichever process.
fn without_pid(line: &str) -> String {
    let digits = |text: &str| text.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    if let Some(rest) = line.strip_suffix("/ns/net\"") {
        return format!("{}<pid>/ns/net\"", digits(rest));
    }
    line.to_owned()
}

fn leaves(at: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, value) in object {
                // Ours alone, and of changing numbers.
                let value = if key == "Leases" { &Value::Null } else { value };
                leaves(&format!("{at}/{key}"), value, lines);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(number, item)| leaves(&format!("{at}/{number}"), item, lines));
        }
        leaf => lines.push(format!("{at} = {leaf}")),
    }
}
