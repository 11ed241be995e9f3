//! Every command of the life cycle, and the monitor, killed with SIGKILL after each step: the state makes sense, the next
//! command takes up or cleans up, and after `rm -f` nothing is left.
//!
//! The program built with `--features crash-points` ends itself after its Nth step (`RBOX_CRASH_AFTER=N`; of a
//! monitor `RBOX_CRASH_MONITOR_AFTER=N`). A step is a request to the kernel, or a file that is written or removed.

mod networks;
mod ports;
mod reboot;
mod story;

use crate::support::{BUSYBOX, Dice, need};
use std::time::Duration;
use story::{Stage, Story, Victim, detached};

const PORT: [&str; 2] = ["-p", "8080:80"];
const SLEEP: [&str; 2] = ["sleep", "600"];

/// A command, killed after each of its steps.
fn command(before: &[&[&str]], words: &[&str], states: &[&str]) {
    let story = Story { before, words, victim: Victim::Command, then: &[], states };
    Stage::new().tell(&words[..2.min(words.len())].join(" "), &story);
}

/// A monitor, killed after each of its steps, while `words` start it and `then` ends it.
fn monitor(before: &[&[&str]], words: &[&str], (then, states): (&[&[&str]], &[&str])) {
    let story = Story { before, words, victim: Victim::Monitor, then, states };
    Stage::new().tell(&format!("monitor of {}", words[..2].join(" ")), &story);
}

#[test]
fn run_d_is_killed_at_each_step() {
    need!(Root);
    command(&[], &detached(&PORT, &SLEEP), &["", "running"]);
}

#[test]
fn run_is_killed_at_each_step_and_its_record_stays() {
    need!(Root);
    command(&[], &["run", "--name", "cat", "-p", "8080:80", BUSYBOX, "true"], &["", "exited"]);
}

#[test]
fn create_is_killed_at_each_step() {
    need!(Root);
    command(&[], &["create", "--name", "cat", "-p", "8080:80", BUSYBOX, "true"], &["", "created"]);
}

#[test]
fn start_is_killed_at_each_step() {
    need!(Root);
    let create = ["create", "--name", "cat", "-p", "8080:80", BUSYBOX, "sleep", "600"];
    command(&[&create], &["start", "cat"], &["created", "running"]);
}

#[test]
fn start_a_is_killed_at_each_step() {
    need!(Root);
    let create = ["create", "--name", "cat", BUSYBOX, "true"];
    command(&[&create], &["start", "-a", "cat"], &["created", "running", "exited"]);
}

#[test]
fn stop_is_killed_at_each_step() {
    need!(Root);
    command(&[&detached(&PORT, &SLEEP)], &["stop", "-t", "0", "cat"], &["running", "exited"]);
}

#[test]
fn restart_is_killed_at_each_step() {
    need!(Root);
    command(&[&detached(&PORT, &SLEEP)], &["restart", "-t", "0", "cat"], &["running", "exited"]);
}

#[test]
fn kill_is_killed_at_each_step() {
    need!(Root);
    command(&[&detached(&PORT, &SLEEP)], &["kill", "cat"], &["running", "exited"]);
}

#[test]
fn rm_is_killed_at_each_step() {
    need!(Root);
    let run = ["run", "--name", "cat", "-p", "8080:80", BUSYBOX, "true"];
    command(&[&run], &["rm", "cat"], &["", "exited"]);
}

#[test]
fn rm_f_is_killed_at_each_step() {
    need!(Root);
    command(&[&detached(&PORT, &SLEEP)], &["rm", "-f", "cat"], &["", "running", "exited"]);
}

#[test]
fn rename_is_killed_at_each_step() {
    need!(Root);
    let stage = Stage::new();
    let then: &[&[&str]] = &[];
    for (before, state) in
        [(detached(&PORT, &SLEEP), "running"), (vec!["create", "--name", "cat", BUSYBOX, "true"], "created")]
    {
        let words = &["rename", "cat", "dog"];
        let story = Story { before: &[&before], words, victim: Victim::Command, then, states: &[state] };
        stage.tell(&format!("rename of one that is {state}"), &story);
    }
}

#[test]
fn pause_and_unpause_are_killed_at_each_step() {
    need!(Root);
    let run = detached(&PORT, &SLEEP);
    command(&[&run], &["pause", "cat"], &["running", "paused"]);
    command(&[&run, &["pause", "cat"]], &["unpause", "cat"], &["running", "paused"]);
}

#[test]
fn update_is_killed_at_each_step() {
    need!(Root);
    command(&[&detached(&PORT, &SLEEP)], &["update", "--memory", "64m", "--memory-swap", "64m", "cat"], &["running"]);
}

#[test]
fn exec_is_killed_at_each_step() {
    need!(Root);
    command(&[&detached(&PORT, &SLEEP)], &["exec", "cat", "true"], &["running"]);
}

#[test]
fn prune_is_killed_at_each_step() {
    need!(Root);
    let other = ["create", "--name", "emu", BUSYBOX, "true"];
    let run = ["run", "--name", "cat", "-p", "8080:80", BUSYBOX, "true"];
    command(&[&other, &run], &["container", "prune", "-f"], &["", "exited"]);
}

#[test]
fn a_monitor_is_killed_while_it_starts_holds_and_ends() {
    need!(Root);
    let end: &[&[&str]] = &[&["stop", "-t", "0", "cat"]];
    monitor(&[], &detached(&PORT, &SLEEP), (end, &["", "exited"]));
}

#[test]
fn a_monitor_is_killed_while_it_removes_what_has_ended() {
    need!(Root);
    let run = detached(&["--rm", "-p", "8080:80"], &SLEEP);
    monitor(&[], &run, (&[&["kill", "cat"]], &[""]));
}

#[test]
fn a_monitor_is_killed_while_it_starts_what_was_there() {
    need!(Root);
    let create = ["create", "--name", "cat", "-p", "8080:80", BUSYBOX, "sleep", "600"];
    monitor(&[&create], &["start", "cat"], (&[&["kill", "cat"]], &["created", "exited"]));
}

#[test]
fn a_monitor_is_killed_while_it_restarts() {
    need!(Root);
    let run = detached(&["--restart", "on-failure:1", "-p", "8080:80"], &["sh", "-c", "exit 5"]);
    monitor(&[], &run, (&[&["wait", "cat"], &["wait", "cat"]], &["", "exited", "restarting", "running"]));
}

#[test]
fn a_monitor_is_killed_while_a_person_restarts() {
    need!(Root);
    let run = detached(&PORT, &SLEEP);
    monitor(&[&run], &["restart", "-t", "0", "cat"], (&[&["kill", "cat"]], &["exited"]));
}

#[test]
fn a_monitor_is_killed_while_it_takes_up() {
    need!(Root);
    let run = detached(&PORT, &SLEEP);
    let next = ["run", "--rm", "--network", "none", BUSYBOX, "true"];
    monitor(&[&run, &["kill-monitors"]], &next, (&[&["kill", "cat"]], &["exited"]));
}

#[test]
fn kill_9_of_commands_and_monitors_at_random_moments() {
    need!(Root);
    let stage = Stage::new();
    let mut dice = Dice::of("random moments");
    let rounds: usize = std::env::var("RBOX_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    for round in 1..=rounds {
        let (name, other) = if dice.below(2) == 0 { ("cat", "dog") } else { ("dog", "cat") };
        let words = random_words(&mut dice, name, other);
        let moment = Duration::from_micros(dice.below(60_000) as u64);
        stage.host.rbox_killed_after(&words, moment);
        if dice.below(4) == 0 {
            stage.kill_monitors();
        }
        let told = format!("round {round}, {}", words.join(" "));
        stage.look(&told);
        if round % 10 == 0 {
            stage.next_command(&told);
            stage.clear(&told);
        }
    }
    stage.next_command("the last round");
    stage.clear("the last round");
    stage.assert_unchanged();
}

fn random_words<'a>(dice: &mut Dice, name: &'a str, other: &'a str) -> Vec<&'a str> {
    let all: &[&[&str]] = &[
        &["run", "-d", "--name", name, "-p", "8080:80", BUSYBOX, "sleep", "600"],
        &["run", "-d", "--name", name, "--restart", "always", BUSYBOX, "sleep", "0.02"],
        &["run", "-d", "--rm", "--name", name, BUSYBOX, "sleep", "0.05"],
        &["run", "--name", name, BUSYBOX, "true"],
        &["create", "--name", name, "-p", "8080:80", BUSYBOX, "sleep", "600"],
        &["start", name],
        &["start", "-a", name],
        &["restart", "-t", "0", name],
        &["stop", "-t", "0", name],
        &["kill", name],
        &["rm", "-f", name],
        &["rename", name, other],
        &["pause", name],
        &["unpause", name],
        &["update", "--pids-limit", "50", name],
        &["exec", name, "true"],
        &["attach", name],
        &["wait", name],
        &["logs", "-f", name],
        &["container", "prune", "-f"],
    ];
    dice.pick(all).to_vec()
}
