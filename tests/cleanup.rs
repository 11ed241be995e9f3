//! kill -9 of rbox after every step of the story and at random moments: the next command leaves nothing behind.
//!
//! The program built with `--features crash-points` ends itself after its Nth step (`RBOX_CRASH_AFTER=N`).

use crate::support::{BUSYBOX, Host, Output, Running, built_with, need};
use nix::sys::signal::{Signal, kill};
use std::process::Stdio;
use std::time::Duration;

const FLAGS: [&str; 6] = ["run", "--rm", "--name", "crash", "-p", "8080:80"];

/// Processes of containers whose owner was killed: they may live on, but must be shown; else nothing of them is left.
fn containers_alive(host: &Host) -> String {
    host.shell("ps -e -o args= | grep -E '^(sleep 60[0-9]|/probe|sh -c)' | grep -v 'sh -c ps'").stdout
}

/// One further command, which sees to what a killed one left.
fn next_command(host: &Host) -> Output {
    host.run(&["-p", "8080:80"], &["true"]).ok()
}

#[test]
fn kill_9_after_every_step_of_a_short_run() {
    need!(Root);
    let host = Host::with_busybox();
    next_command(&host);
    let before = host.snapshot();
    let program = built_with("crash-points", "rbox");
    let mut survived = false;
    let mut steps = 0;
    while !survived {
        steps += 1;
        assert!(steps < 400, "the story has no end");
        let words = host.rbox_words(&[&FLAGS[..], &[BUSYBOX, "true"]].concat());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = host.command(&program, &words);
        command.env("RBOX_CRASH_AFTER", steps.to_string()).stdin(Stdio::null());
        let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
        let output = Output::new(format!("rbox run, killed after step {steps}"), output);
        survived = output.code == 0;
        assert!(survived || output.code == 137, "{output}");
        let next = host.run(&["-p", "8080:80"], &["true"]);
        assert_eq!(next.code, 0, "after step {steps}: {next}");
        let unchanged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host.assert_unchanged(&before)));
        assert!(unchanged.is_ok(), "something is left after a kill at step {steps}");
    }
    assert!(steps > 20, "only {steps} steps: is the program built with crash-points?");
}

#[test]
fn kill_9_at_random_moments() {
    need!(Root);
    let host = Host::with_busybox();
    next_command(&host);
    let before = host.snapshot();
    let rounds: u32 = std::env::var("RBOX_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let whole = median_time(&host);
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..rounds {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // From the first moment to a little after the end.
        let moment = whole.mul_f64((dice >> 33) as f64 / (1_u64 << 31) as f64 * 1.2);
        let mut running = host.rbox_spawn(&[&FLAGS[..], &[BUSYBOX, "true"]].concat());
        std::thread::sleep(moment);
        kill_program(&running);
        running.child.wait().unwrap();
        if round % 10 == 9 {
            next_command(&host);
            host.assert_unchanged(&before);
        }
    }
    next_command(&host);
    host.assert_unchanged(&before);
}

fn median_time(host: &Host) -> Duration {
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let began = std::time::Instant::now();
            host.rbox(&[&FLAGS[..], &[BUSYBOX, "true"]].concat()).ok();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[2]
}

/// Kill the program if it runs already; at the very first moment there is only nsenter.
fn kill_program(running: &Running) {
    if let Some(pid) = running.try_pid() {
        let _ = kill(pid, Signal::SIGKILL);
    }
}

#[test]
fn a_container_whose_rbox_was_killed_ends_or_is_shown() {
    need!(Root);
    let host = Host::with_busybox();
    next_command(&host);
    let before = host.snapshot();
    let running = host.run_ready(&["--name", "left", "-p", "8080:80"], &["/probe", "serve", "80"]);
    running.signal(Signal::SIGKILL);
    running.wait().code(137);
    next_command_on_another_port(&host);
    assert_eq!(containers_alive(&host), "");
    host.assert_unchanged(&before);
}

fn next_command_on_another_port(host: &Host) {
    host.run(&["-p", "8081:80"], &["true"]).ok();
}

#[test]
fn after_network_reset_the_host_is_as_if_rbox_had_never_been_there() {
    need!(Root);
    let host = Host::with_busybox();
    let before = host.snapshot();
    next_command(&host);
    host.rbox(&["network", "reset"]).ok();
    for kind in ["links", "addresses", "routes", "rules", "mounts", "cgroups", "processes", "netns names"] {
        // Comments hold the time, and counters go on.
        let plain = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(|line| line.split(" [").next().unwrap().to_owned()).collect()
        };
        assert_eq!(plain(host.snapshot().kind(kind)), plain(before.kind(kind)), "{kind}");
    }
}

#[test]
fn a_failure_at_any_point_leaves_nothing() {
    need!(Root);
    let host = Host::with_busybox();
    next_command(&host);
    let before = host.snapshot();
    for flags in [
        &["--mount", "type=bind,source=/no/such/source,target=/x"][..],
        &["--cpuset-cpus", "4000"],
        &["--sysctl", "net.nosuch.thing=1"],
        &["--ip", "10.0.0.1"],
        &["--device", "/dev/no-such"],
        &["-u", "nosuch"],
        &["--security-opt", "seccomp=/no/such"],
        &["-p", "192.0.2.77:80:80"],
    ] {
        host.run(&[&["-p", "8080:80"], flags].concat(), &["true"]).fails();
        host.assert_unchanged(&before);
    }
    // A broken pipe while the program writes.
    host.shell(&format!(
        "{} --root {} --state {} run --rm {BUSYBOX} yes | head -n 1",
        crate::support::rbox().display(),
        host.path("data").display(),
        host.path("state").display()
    ));
    host.assert_unchanged(&before);
}
