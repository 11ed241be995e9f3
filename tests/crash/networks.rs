//! Networks that are made, removed, joined and left, killed at each step: what was begun is whole by the next command, or
//! undone, and everybody who can tell of it tells the same.

use super::story::{Stage, Story, Victim, chosen, detached};
use crate::support::{BUSYBOX, Placed, need};
use std::collections::BTreeMap;

/// So much is looked at after each step that fewer are taken in an ordinary run.
const STEPS_TAKEN: usize = 10;

/// What is there before and after each story, and is removed with it.
const NETWORKS: [&str; 2] = ["red", "blue"];

const RED: [&str; 5] = ["network", "create", "--subnet", "10.1.0.0/24", "red"];
const BLUE: [&str; 5] = ["network", "create", "--subnet", "10.2.0.0/24", "blue"];
const PORT: [&str; 2] = ["-p", "8080:80"];
const SLEEP: [&str; 2] = ["sleep", "600"];
/// Another in the same networks, who is asked for names.
const PEER: [&str; 11] =
    ["run", "-d", "--name", "peer", "--network", "red", "--network", "blue", BUSYBOX, "sleep", "600"];
const CONNECT: [&str; 4] = ["network", "connect", "blue", "cat"];
const DISCONNECT: [&str; 4] = ["network", "disconnect", "blue", "cat"];

/// `cat` with these networks.
fn cat<'a>(verb: &[&'a str], networks: &[&'a str]) -> Vec<&'a str> {
    let networks: Vec<&str> = networks.iter().flat_map(|network| ["--network", network]).collect();
    [verb, &["--name", "cat"], &PORT[..], &networks, &[BUSYBOX], &SLEEP[..]].concat()
}

/// Tell the story, kill it at each step, and look each time at what all say; `check` says whether what `cat` is in now is one
/// of the two that may be.
fn tell(what: &str, story: &Story<'_>, check: impl Fn(&BTreeMap<String, Placed>, &[String]) -> bool) {
    let stage = Stage::new();
    let keys = stage.steps_of(story, || remove_networks(&stage));
    let steps = chosen(what, keys.len(), STEPS_TAKEN);
    eprintln!("{what}: {} steps, killed after {}", keys.len(), steps.len());
    for step in steps {
        let told = format!("{what}, killed after step {step} of {} ({})", keys.len(), keys[step - 1]);
        stage.prepare(story);
        stage.act(story, "AFTER", &step.to_string());
        stage.end(story);
        stage.next_command(&told);
        let places = stage.host.agreed_places(&told);
        assert!(check(&places, &networks(&stage)), "{told}: {places:#?}");
        again(&stage, &places, &told);
        stage.clear_with(&told, || remove_networks(&stage));
    }
    stage.assert_unchanged();
}

fn networks(stage: &Stage) -> Vec<String> {
    let listed = stage.host.rbox(&["network", "ls", "--filter", "type=custom", "--format", "{{.Name}}"]).ok();
    listed.stdout.lines().map(str::to_owned).collect()
}

fn remove_networks(stage: &Stage) {
    stage.host.rbox(&[&["network", "rm", "-f"], &NETWORKS[..]].concat()).ok();
}

/// The next start makes of `cat` what everybody said of it.
fn again(stage: &Stage, places: &BTreeMap<String, Placed>, told: &str) {
    let Some(before) = places.get("cat") else { return };
    stage.host.rbox(&["stop", "-t", "0", "cat"]).ok();
    stage.host.rbox(&["start", "cat"]).ok();
    let told = format!("{told}, then started");
    let now = stage.host.agreed_places(&told);
    let names = |one: &Placed| one.places.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&now["cat"]), names(before), "{told}");
}

/// `cat` is in red, and in blue or not.
fn in_red_at_least(places: &BTreeMap<String, Placed>, _: &[String]) -> bool {
    let names: Vec<&str> = places["cat"].places.keys().map(String::as_str).collect();
    names == ["red"] || names == ["blue", "red"]
}

#[test]
fn network_connect_of_one_that_runs_is_killed_at_each_step() {
    need!(Root);
    let run = cat(&["run", "-d"], &["red"]);
    let before: &[&[&str]] = &[&RED, &BLUE, &PEER, &run];
    let story = Story { before, words: &CONNECT, victim: Victim::Command, then: &[], states: &[] };
    tell("network connect", &story, in_red_at_least);
}

#[test]
fn network_connect_of_one_on_the_default_network_is_killed_at_each_step() {
    need!(Root);
    // What it had was no name server, and ports that do not move: "bridge" comes before "red".
    let run = detached(&PORT, &SLEEP);
    let before: &[&[&str]] = &[&RED, &BLUE, &PEER, &run];
    let words = &["network", "connect", "red", "cat"];
    let story = Story { before, words, victim: Victim::Command, then: &[], states: &[] };
    tell("network connect from bridge", &story, |places, _| {
        let names: Vec<&str> = places["cat"].places.keys().map(String::as_str).collect();
        names == ["bridge"] || names == ["bridge", "red"]
    });
}

#[test]
fn network_connect_of_one_that_is_stopped_is_killed_at_each_step() {
    need!(Root);
    let create = cat(&["create"], &["red"]);
    let before: &[&[&str]] = &[&RED, &BLUE, &PEER, &create];
    let story = Story { before, words: &CONNECT, victim: Victim::Command, then: &[], states: &[] };
    tell("network connect, stopped", &story, in_red_at_least);
}

#[test]
fn network_disconnect_of_one_that_runs_is_killed_at_each_step() {
    need!(Root);
    let run = cat(&["run", "-d"], &["red", "blue"]);
    let before: &[&[&str]] = &[&RED, &BLUE, &PEER, &run];
    let story = Story { before, words: &DISCONNECT, victim: Victim::Command, then: &[], states: &[] };
    tell("network disconnect", &story, in_red_at_least);
}

#[test]
fn network_disconnect_of_one_that_is_stopped_is_killed_at_each_step() {
    need!(Root);
    let create = cat(&["create"], &["red", "blue"]);
    let before: &[&[&str]] = &[&RED, &BLUE, &PEER, &create];
    let story = Story { before, words: &DISCONNECT, victim: Victim::Command, then: &[], states: &[] };
    tell("network disconnect, stopped", &story, in_red_at_least);
}

#[test]
fn network_connect_is_killed_at_each_step_and_the_monitor_too() {
    need!(Root);
    let run = cat(&["run", "-d"], &["red"]);
    let before: &[&[&str]] = &[&RED, &BLUE, &PEER, &run];
    let story = Story { before, words: &CONNECT, victim: Victim::Command, then: &[&["kill-monitors"]], states: &[] };
    tell("network connect, and the monitor", &story, in_red_at_least);
}

#[test]
fn network_disconnect_is_killed_at_each_step_and_the_monitor_too() {
    need!(Root);
    let run = cat(&["run", "-d"], &["red", "blue"]);
    let before: &[&[&str]] = &[&RED, &BLUE, &PEER, &run];
    let then: &[&[&str]] = &[&["kill-monitors"]];
    let story = Story { before, words: &DISCONNECT, victim: Victim::Command, then, states: &[] };
    tell("network disconnect, and the monitor", &story, in_red_at_least);
}

#[test]
fn a_monitor_is_killed_at_each_step_while_its_container_joins_and_leaves() {
    need!(Root);
    let run = cat(&["run", "-d"], &["red"]);
    let then: &[&[&str]] = &[&CONNECT, &["network", "disconnect", "red", "cat"]];
    let story = Story { before: &[&RED, &BLUE, &PEER], words: &run, victim: Victim::Monitor, then, states: &[] };
    // What comes after the monitor's end is done to the end.
    tell("monitor, joining and leaving", &story, |places, _| {
        places.get("cat").is_none_or(|cat| cat.places.keys().map(String::as_str).eq(["blue"]))
    });
}

#[test]
fn network_create_is_killed_at_each_step() {
    need!(Root);
    let story = Story { before: &[], words: &RED, victim: Victim::Command, then: &[], states: &[] };
    tell("network create", &story, |_, networks| networks.is_empty() || networks == ["red"]);
}

#[test]
fn network_rm_is_killed_at_each_step() {
    need!(Root);
    // It was used, so there are names to forget.
    let before: &[&[&str]] = &[&RED, &BLUE, &PEER, &["rm", "-f", "peer"]];
    let words = &["network", "rm", "red"];
    let story = Story { before, words, victim: Victim::Command, then: &[], states: &[] };
    tell("network rm", &story, |_, networks| networks == ["blue"] || networks == ["blue", "red"]);
}

#[test]
fn network_prune_is_killed_at_each_step() {
    need!(Root);
    let run = cat(&["run", "-d"], &["red"]);
    let before: &[&[&str]] = &[&RED, &BLUE, &run];
    let words = &["network", "prune", "-f"];
    let story = Story { before, words, victim: Victim::Command, then: &[], states: &[] };
    tell("network prune", &story, |_, networks| networks == ["red"] || networks == ["blue", "red"]);
}

#[test]
fn run_with_two_networks_is_killed_at_each_step() {
    need!(Root);
    let run = cat(&["run", "-d"], &["red", "blue"]);
    for victim in [Victim::Command, Victim::Monitor] {
        let story = Story { before: &[&RED, &BLUE, &PEER], words: &run, victim, then: &[], states: &[] };
        tell("run with two networks", &story, |places, _| {
            places.get("cat").is_none_or(|cat| cat.places.keys().map(String::as_str).eq(["blue", "red"]))
        });
    }
}

/// A cable, whose one end is a device like any other.
const CARD: &str = "set -e; ip link add lab0 type veth peer name lab1; ip link set lab1 up
                    ip address add 10.7.0.1/24 dev lab0; ip link set lab0 up";

#[test]
fn a_device_that_is_moved_into_a_container_and_back_is_killed_at_each_step() {
    need!(Root);
    let run = detached(&[], &SLEEP);
    let there: &[&str] = &["network", "connect", "--netdev", "lab0", "cat"];
    let back: &[&str] = &["network", "disconnect", "--netdev", "lab0", "cat"];
    let (first, second): (&[&[&str]], &[&[&str]]) = (&[&run], &[&run, there]);
    for (before, words) in [(first, there), (second, back)] {
        let stage = Stage::new();
        let story = Story { before, words, victim: Victim::Command, then: &[], states: &[] };
        // What is in the container ends with it, being no card of metal.
        let remove = || drop(stage.host.shell("ip link delete lab1 2>/dev/null; true").ok());
        stage.host.shell(CARD).ok();
        let keys = stage.steps_of(&story, remove);
        for step in chosen(words[1], keys.len(), STEPS_TAKEN) {
            let told = format!("{}, killed after step {step} of {} ({})", words[1], keys.len(), keys[step - 1]);
            stage.host.shell(CARD).ok();
            stage.prepare(&story);
            stage.act(&story, "AFTER", &step.to_string());
            stage.next_command(&told);
            // In one of both, with its address and switched on.
            let is_whole = |shown: &str| shown.contains("10.7.0.1/24") && shown.contains(",UP");
            let here = stage.host.shell("ip address show lab0 2>/dev/null").stdout;
            let inside = stage.host.rbox(&["exec", "cat", "ip", "address", "show", "lab0"]).stdout;
            assert!(is_whole(&here) != is_whole(&inside), "{told}:\n{here}\n{inside}");
            assert!(here.is_empty() || inside.is_empty(), "{told}:\n{here}\n{inside}");
            let half = stage.host.shell("ls state/net/endpoints | grep '~'").stdout;
            assert_eq!(half, "", "{told}");
            stage.clear_with(&told, remove);
        }
        stage.assert_unchanged();
    }
}
