//! Ends that come at an awkward moment: nothing of a container is lost by them, and a person's word stays the last.

use crate::support::{BUSYBOX, Host, need, rbox};
use std::time::{Duration, Instant};

const NONE: [&str; 2] = ["--network", "none"];

#[test]
fn one_that_cannot_be_started_again_stays_with_its_log() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--name", "db"], &["sleep", "600"]);
    let flags = ["--name", "web", "--restart", "always", "--link", "db"];
    host.detached(&flags, &["sh", "-c", "echo was here; sleep 1"]);
    host.rbox(&["rm", "-f", "db"]).ok();
    let end = Instant::now() + Duration::from_secs(20);
    while !host.shown("web", "Status").starts_with("Exited ") {
        assert!(Instant::now() < end, "{}", host.shown("web", "Status"));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(host.rbox(&["logs", "web"]).ok().text().starts_with("was here"));
    let why = host.rbox(&["inspect", "--format", "{{.State.Error}}", "web"]).ok();
    assert!(why.text().contains("not found"), "{why}");
    host.rbox(&["rm", "web"]).ok();
}

#[test]
fn stop_is_the_last_word_whenever_it_comes() {
    need!(Root);
    let host = Host::with_busybox();
    for round in 0..20 {
        host.detached(&[&NONE[..], &["--name", "again", "--restart", "always"]].concat(), &["sleep", "0.05"]);
        std::thread::sleep(Duration::from_millis(40 + 13 * round));
        host.rbox(&["stop", "-t", "1", "again"]).ok();
        let stopped = || host.shown("again", "Status");
        assert!(stopped().starts_with("Exited "), "round {round}: {}", stopped());
        std::thread::sleep(Duration::from_millis(150));
        assert!(stopped().starts_with("Exited "), "round {round}, later: {}", stopped());
        host.rbox(&["rm", "again"]).ok();
    }
}

#[test]
fn what_a_program_leaves_in_the_hosts_pid_namespace_ends_with_it() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "while :; do echo left behind; sleep 0.01; done & exit 3";
    host.detached(&[&NONE[..], &["--pid", "host", "--name", "one"]].concat(), &["sh", "-c", script]);
    let began = Instant::now();
    assert_eq!(host.rbox(&["wait", "one"]).ok().text(), "3");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    host.rbox(&["rm", "one"]).ok();
    assert_eq!(host.shell("pgrep -fc 'left behin[d]'").text(), "0");
}

#[test]
fn the_last_lines_are_in_the_log_though_somebody_attached_does_not_read() {
    need!(Root);
    let host = Host::with_busybox();
    let out = host.path("out");
    std::fs::create_dir(&out).unwrap();
    let shared = format!("{}:/out", out.display());
    let script = "read go; i=0; while :; do i=$((i+1)); echo a line of some length $i; echo $i > /out/count; done";
    host.detached(&[&NONE[..], &["-i", "--name", "talks", "-v", &shared]].concat(), &["sh", "-c", script]);
    // Nobody reads its output, so it stands still soon, with lines that have not reached the log.
    let mut attached = host.rbox_spawn(&["attach", "--sig-proxy=false", "talks"]);
    std::io::Write::write_all(attached.child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    let count = || std::fs::read_to_string(out.join("count")).unwrap_or_default().trim().to_owned();
    let mut seen = count();
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < end, "it writes on, {seen} lines so far, though nobody reads");
        std::thread::sleep(Duration::from_millis(1000));
        if !seen.is_empty() && count() == seen {
            break;
        }
        seen = count();
    }
    host.rbox(&["kill", "talks"]).ok();
    let last = host.rbox(&["logs", "--tail", "1", "talks"]).ok();
    let number: u64 = last.text().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(number >= seen.parse().unwrap(), "it has written {seen} lines, the log ends with {last}");
    host.rbox(&["rm", "talks"]).ok();
}

#[test]
fn output_that_cannot_be_written_loses_no_container() {
    need!(Root);
    let host = Host::with_busybox();
    let run = host.rbox_words(&["run", "--network", "none", "--name", "kept", BUSYBOX, "echo", "lost"]).join(" ");
    let output = host.shell(&format!("{} {run} > /dev/full", rbox().display()));
    assert!(output.stderr.contains("cannot write the program's output: no space left on device"), "{output}");
    assert!(host.shown("kept", "Status").starts_with("Exited "), "{}", host.shown("kept", "Status"));
    assert_eq!(host.rbox(&["logs", "kept"]).ok().text(), "lost");
    host.rbox(&["rm", "kept"]).ok();
}

#[test]
fn rules_that_arrive_after_a_kill_9_are_taken_out() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let before = host.snapshot();
    // A slow program of the same name goes before the real one.
    let slow = host.path("slow");
    std::fs::create_dir(&slow).unwrap();
    let real = host.shell("command -v iptables-restore").text().to_owned();
    let script = format!("#!/bin/sh\ntouch $0.begun\nsleep 1\ntouch $0.ran\nexec {real} \"$@\"\n");
    let program = slow.join("iptables-restore");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = host.rbox_words(&["run", "-d", "--name", "late", "-p", "8080:80", BUSYBOX, "sleep", "600"]).join(" ");
    let killed = host.shell(&format!(
        "PATH={0}:$PATH {1} {run} & while [ ! -e {0}/iptables-restore.begun ]; do sleep 0.02; done; pkill -9 -x rbox:monitor",
        slow.display(),
        rbox().display()
    ));
    assert_eq!(killed.code, 0, "a monitor was killed: {killed}");
    host.run(&NONE, &["true"]).ok();
    // That command has waited for it.
    assert!(slow.join("iptables-restore.ran").exists(), "the rules did not arrive late");
    std::fs::remove_dir_all(&slow).unwrap();
    host.assert_unchanged(&before);
}
