//! Monitors that are killed, and hosts that are started anew: nothing is lost, nothing is left.

use crate::support::{BUSYBOX, Host, Output, built_with, need};
use std::process::Stdio;

#[test]
fn without_its_monitor_a_container_runs_on_and_the_next_command_takes_it_up() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let before = host.snapshot();
    let script = "/probe serve 80 & i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done";
    let id = host.detached(&["--name", "web", "-p", "8080:80"], &["sh", "-c", script]);
    host.until(&["logs", "web"], "line 3");
    host.kill_monitors();
    assert_eq!(host.connect("127.0.0.1", 8080, "tcp").code, 0, "its network stays");
    assert!(host.shown("web", "Status").ends_with(" (unattended)"), "{}", host.shown("web", "Status"));
    assert_eq!(host.rbox(&["ps", "-q", "--no-trunc"]).ok().text(), id, "ps looks and changes nothing");
    // Any other command takes it up.
    host.run(&["--network", "none"], &["true"]).ok();
    assert!(!host.shown("web", "Status").contains("unattended"));
    host.until(&["logs", "web"], "line 15");
    let logs = host.rbox(&["logs", "web"]).ok();
    let lines: Vec<&str> = logs.stdout.lines().filter(|line| line.starts_with("line ")).collect();
    let wanted: Vec<String> = (1..=lines.len()).map(|number| format!("line {number}")).collect();
    assert_eq!(lines, wanted, "what it wrote meanwhile has waited");
    assert_eq!(host.connect("::1", 8080, "tcp").code, 0, "relayed again");
    host.rbox(&["stop", "-t", "1", "web"]).ok();
    host.rbox(&["rm", "web"]).ok();
    host.assert_unchanged(&before);
}

#[test]
fn one_that_ended_unseen_is_cleaned_up_after() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let before = host.snapshot();
    host.detached(&["--name", "short", "-p", "8080:80"], &["sh", "-c", "sleep 1; exit 4"]);
    host.detached(&["--name", "gone", "--rm", "-p", "8081:80"], &["sleep", "1"]);
    host.kill_monitors();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    host.run(&["-p", "8080:80"], &["true"]).ok();
    assert!(host.shown("short", "Status").starts_with("Exited (255)"), "{}", host.shown("short", "Status"));
    assert_eq!(host.shown("gone", "Status"), "");
    host.rbox(&["rm", "short"]).ok();
    host.assert_unchanged(&before);
}

#[test]
fn a_restart_policy_outlives_the_monitor() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "again", "--restart", "always"], &["sh", "-c", "echo run; sleep 1"]);
    host.until(&["logs", "again"], "run");
    host.kill_monitors();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    host.run(&["--network", "none"], &["true"]).ok();
    host.until(&["logs", "again"], "run\nrun");
    host.rbox(&["rm", "-f", "again"]).ok();
    assert_eq!(host.rbox(&["ps", "-aq"]).ok().text(), "");
}

/// How many steps a monitor makes after its program runs: all of taking it apart is among them.
const LATER_STEPS: usize = 25;

#[test]
fn kill_9_of_the_monitor_at_each_step() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let before = host.snapshot();
    let program = built_with("crash-points", "rbox");
    let (mut steps, mut began, mut later) = (0, 0, 0);
    while later < LATER_STEPS {
        steps += 1;
        assert!(steps < 400, "the story has no end");
        let words = host.rbox_words(&["run", "-d", "--name", "crash", "-p", "8080:80", BUSYBOX, "sleep", "600"]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = host.command(&program, &words);
        command.env("RBOX_CRASH_MONITOR_AFTER", steps.to_string()).stdin(Stdio::null());
        let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
        let output = Output::new(format!("rbox run -d, its monitor killed after step {steps}"), output);
        if output.code == 0 {
            // It runs: now its monitor is killed over taking it apart.
            later += 1;
            host.rbox(&["rm", "-f", "crash"]).ok();
        } else {
            assert_eq!(output.code, 125, "{output}");
            // Killed after its program began and before it could say so: that one runs on.
            if !host.rbox(&["ps", "-q"]).ok().text().is_empty() {
                assert!(output.stderr.contains("its monitor was killed"), "{output}");
                began += 1;
                host.rbox(&["rm", "-f", "crash"]).ok();
            }
        }
        let next = host.run(&["-p", "8081:80"], &["true"]);
        assert_eq!(next.code, 0, "after step {steps}: {next}");
        let unchanged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| host.assert_unchanged(&before)));
        assert!(unchanged.is_ok(), "something is left after a kill at step {steps}");
    }
    assert!(began < 5, "{began} steps after the program began and before anybody heard of it");
    assert!(steps > 20 + LATER_STEPS, "only {steps} steps: is the program built with crash-points?");
}

#[test]
fn after_a_restart_of_the_machine_all_have_ended() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--name", "web", "-p", "8080:80"], &["sleep", "600"]);
    host.detached(&["--name", "gone", "--rm"], &["sleep", "600"]);
    // Everything dies at once, and the kernel that comes up has another id. Its /run is empty.
    host.shell("pkill -9 -x rbox:monitor; pkill -9 -x sleep; while pgrep -x sleep >/dev/null; do sleep 0.02; done")
        .ok();
    std::fs::write(host.path("boot"), "00000000-1111-2222-3333-444444444444\n").unwrap();
    let boot = host.path("boot").display().to_string();
    host.shell(&format!("mount --bind {boot} /proc/sys/kernel/random/boot_id")).ok();
    assert!(host.shown("web", "Status").starts_with("Exited (255)"), "{}", host.shown("web", "Status"));
    // First with the old state directory, as where /run is no tmpfs.
    host.run(&["-p", "8080:80"], &["true"]).ok();
    assert_eq!(host.shown("gone", "Status"), "");
    host.rbox(&["start", "web"]).ok();
    host.shell("pkill -9 -x rbox:monitor; pkill -9 -x sleep; while pgrep -x sleep >/dev/null; do sleep 0.02; done")
        .ok();
    std::fs::write(host.path("boot"), "00000000-1111-2222-3333-555555555555\n").unwrap();
    host.shell(&format!("rm -rf {}", host.path("state").display())).ok();
    assert!(host.shown("web", "Status").starts_with("Exited (255)"), "{}", host.shown("web", "Status"));
    host.run(&["-p", "8081:80"], &["true"]).ok();
    host.rbox(&["start", "web"]).ok();
    host.rbox(&["rm", "-f", "web"]).ok();
    host.shell("umount /proc/sys/kernel/random/boot_id").ok();
}
