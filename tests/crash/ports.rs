//! Ports that are published and taken back, killed at each step: the change is whole by the next command, or undone, and
//! everybody who can tell of it tells the same.

use super::story::{Stage, Story, Victim, chosen, detached};
use crate::support::{BUSYBOX, Host, need};
use std::collections::BTreeSet;

/// So much is looked at after each step that fewer are taken in an ordinary run.
const STEPS_TAKEN: usize = 12;

/// It listens at none of its ports: whether they lead to it is seen in the packet filter.
const SLEEP: [&str; 2] = ["sleep", "600"];
const PORTS: [&str; 4] = ["-p", "8080:80", "-p", "7070:70/udp"];
/// Three ways of a port: relayed and translated, at one address, and a range that nobody holds.
const PUBLISH: [&str; 5] = ["publish", "cat", "9090:90", "127.0.0.1:9191:91/udp", "20000-20099:10000-10099"];
const UNPUBLISH: [&str; 4] = ["unpublish", "cat", "8080", "7070/udp"];

/// What is known of the ports of `cat`, as host ports.
type Ports = BTreeSet<u16>;

fn set(ports: &[u16]) -> Ports {
    ports.iter().copied().collect()
}

const BEFORE: [u16; 2] = [7070, 8080];
const PUBLISHED: [u16; 5] = [7070, 8080, 9090, 9191, 20000];

/// Tell the story, kill it at each step, and look each time at what all say; `wanted`: what may be published then.
fn tell(what: &str, story: &Story<'_>, wanted: &[&[u16]]) {
    let stage = Stage::new();
    let keys = stage.steps_of(story, || {});
    let steps = chosen(what, keys.len(), STEPS_TAKEN);
    eprintln!("{what}: {} steps, killed after {}", keys.len(), steps.len());
    for step in steps {
        let told = format!("{what}, killed after step {step} of {} ({})", keys.len(), keys[step - 1]);
        stage.prepare(story);
        stage.act(story, "AFTER", &step.to_string());
        stage.end(story);
        stage.next_command(&told);
        let places = stage.host.agreed_places(&told);
        if let Some(cat) = places.get("cat") {
            let ports = agreed(&stage.host, cat.runs(), &told);
            assert!(
                wanted.iter().any(|one| set(one) == ports),
                "{told}: {ports:?} are published, not one of {wanted:?}"
            );
            stage.host.rbox(&["stop", "-t", "0", "cat"]).ok();
            stage.host.rbox(&["start", "cat"]).ok();
            let told = format!("{told}, then started");
            assert_eq!(agreed(&stage.host, true, &told), ports, "{told}");
            stage.host.agreed_places(&told);
        }
        stage.clear(&told);
    }
    stage.assert_unchanged();
}

/// The first host port of everything that is published, after all have told the same: what was asked for, `port`, `ps`,
/// `inspect`, and the sockets that keep the ports or relay them.
fn agreed(host: &Host, runs: bool, told: &str) -> Ports {
    let inspected = host.rbox(&["inspect", "cat"]).ok().json();
    let asked = inspected[0]["HostConfig"]["PortBindings"].as_object().unwrap();
    let numbers =
        |text: String| -> Ports { text.lines().filter_map(|it| it.trim().parse().ok()).filter(first).collect() };
    let bound = |ports: &serde_json::Map<String, serde_json::Value>| {
        let each = ports.values().flat_map(|it| it.as_array().cloned().unwrap_or_default());
        numbers(each.map(|it| it["HostPort"].as_str().unwrap().to_owned() + "\n").collect())
    };
    let asked = bound(asked);
    if !runs {
        return asked;
    }
    assert_eq!(bound(inspected[0]["NetworkSettings"]["Ports"].as_object().unwrap()), asked, "{told}: inspect");
    let port = host.rbox(&["port", "cat"]).ok().stdout.replace(':', "\n");
    assert_eq!(numbers(port), asked, "{told}: port");
    let ps = host.rbox(&["ps", "--filter", "name=cat", "--format", "{{.Ports}}"]).ok().stdout;
    assert_eq!(numbers(ps.replace("->", "\n").replace([':', '-'], "\n")), asked, "{told}: ps");
    let held: Ports = [7070, 8080, 9090, 9191].into_iter().filter(|port| !is_free(host, *port)).collect();
    let holdable: Ports = asked.iter().copied().filter(|port| *port < 20000).collect();
    assert_eq!(held, holdable, "{told}: held");
    let relayed = host.shell("ss -Hltn6 | sed -n 's/.*\\[::\\]:\\([0-9]*\\) .*/\\1/p'").ok().stdout;
    let wanted: Ports = asked.intersection(&set(&[8080, 9090])).copied().collect();
    assert_eq!(numbers(relayed), wanted, "{told}: relayed");
    asked
}

/// Of a range the first port stands for all.
fn first(port: &u16) -> bool {
    !(10000..=10099).contains(port) && !(20001..=20099).contains(port) && *port > 100
}

fn is_free(host: &Host, port: u16) -> bool {
    let script = format!(
        "import socket\nfor kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM): socket.socket(type=kind).bind(('127.0.0.1', {port}))"
    );
    host.exec("python3", &["-c", &script]).code == 0
}

#[test]
fn publish_of_one_that_runs_is_killed_at_each_step() {
    need!(Root);
    let run = detached(&PORTS, &SLEEP);
    let story = Story { before: &[&run], words: &PUBLISH, victim: Victim::Command, then: &[], states: &[] };
    tell("publish", &story, &[&BEFORE, &PUBLISHED]);
}

#[test]
fn unpublish_of_one_that_runs_is_killed_at_each_step() {
    need!(Root);
    let run = detached(&PORTS, &SLEEP);
    let story = Story { before: &[&run, &PUBLISH], words: &UNPUBLISH, victim: Victim::Command, then: &[], states: &[] };
    tell("unpublish", &story, &[&PUBLISHED, &[9090, 9191, 20000]]);
}

#[test]
fn publish_and_unpublish_of_one_that_is_stopped_are_killed_at_each_step() {
    need!(Root);
    let create = [&["create", "--name", "cat"], &PORTS[..], &[BUSYBOX], &SLEEP].concat();
    let story = Story { before: &[&create], words: &PUBLISH, victim: Victim::Command, then: &[], states: &[] };
    tell("publish, stopped", &story, &[&BEFORE, &PUBLISHED]);
    let story = Story { words: &UNPUBLISH, ..story };
    tell("unpublish, stopped", &story, &[&BEFORE, &[]]);
}

#[test]
fn publish_is_killed_at_each_step_and_the_monitor_too() {
    need!(Root);
    let run = detached(&PORTS, &SLEEP);
    let then: &[&[&str]] = &[&["kill-monitors"]];
    let story = Story { before: &[&run], words: &PUBLISH, victim: Victim::Command, then, states: &[] };
    tell("publish, and the monitor", &story, &[&BEFORE, &PUBLISHED]);
}

#[test]
fn unpublish_is_killed_at_each_step_and_the_monitor_too() {
    need!(Root);
    let run = detached(&PORTS, &SLEEP);
    let then: &[&[&str]] = &[&["kill-monitors"]];
    let story = Story { before: &[&run], words: &UNPUBLISH, victim: Victim::Command, then, states: &[] };
    tell("unpublish, and the monitor", &story, &[&BEFORE, &[]]);
}

#[test]
fn a_monitor_is_killed_at_each_step_while_ports_come_and_go() {
    need!(Root);
    let run = detached(&PORTS, &SLEEP);
    let then: &[&[&str]] = &[&PUBLISH, &UNPUBLISH];
    let story = Story { before: &[], words: &run, victim: Victim::Monitor, then, states: &[] };
    // What comes after the monitor's end is done to the end.
    tell("monitor, publishing", &story, &[&[9090, 9191, 20000]]);
}
