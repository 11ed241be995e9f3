//! The life of a container without a daemon: `run -d`, `create`, `start`, `stop`, `restart`, `kill`, `wait`, `rm`, `ps`.

use crate::support::{BUSYBOX, Host, need};
use std::time::{Duration, Instant};

const NONE: [&str; 2] = ["--network", "none"];
/// Says `ready`, and ends with 3 when it is asked to.
const POLITE: [&str; 3] = ["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"];

#[test]
fn run_d_prints_the_id_and_the_program_goes_on() {
    need!(Root);
    let host = Host::with_busybox();
    let id = host.detached(&["--network", "none", "--name", "web"], &POLITE);
    host.until(&["logs", "web"], "ready");
    assert_eq!(host.rbox(&["ps", "-q", "--no-trunc"]).ok().text(), id);
    assert!(host.shown("web", "Status").starts_with("Up "));
    assert_eq!(host.rbox(&["stop", "web"]).ok().text(), "web");
    assert!(host.shown("web", "Status").starts_with("Exited (3) "), "{}", host.shown("web", "Status"));
    assert_eq!(host.rbox(&["ps", "-q"]).ok().text(), "");
    assert_eq!(host.rbox(&["wait", &id[..6]]).ok().text(), "3");
    assert_eq!(host.rbox(&["rm", &id[..12]]).ok().text(), &id[..12]);
    assert_eq!(host.rbox(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn nothing_of_the_caller_is_left_in_the_monitor() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&NONE, &["sleep", "600"]);
    let seen = host.shell(
        "p=$(pgrep -x rbox:monitor); ls -l /proc/$p/fd | sed -n 's/.* \\([012]\\) -> /\\1 /p'; readlink /proc/$p/cwd;
         ps -o sid= -p $p | tr -d ' ' | grep -qx $p && echo leader; ls /proc/$p/task | wc -l",
    );
    assert_eq!(seen.ok().stdout, "0 /dev/null\n1 /dev/null\n2 /dev/null\n/\nleader\n1\n");
}

#[test]
fn a_container_is_created_started_and_started_again() {
    need!(Root);
    let host = Host::with_busybox();
    let words = ["create", "--network", "none", "--name", "box", "-e", "A=1", BUSYBOX];
    let id = host.rbox(&[&words[..], &["sh", "-c", "echo $A $(cat /n 2>/dev/null); echo again > /n"]].concat()).ok();
    assert_eq!(id.text().len(), 64);
    assert_eq!(host.shown("box", "Status"), "Created");
    assert_eq!(host.rbox(&["start", "box"]).ok().text(), "box");
    assert_eq!(host.rbox(&["wait", "box"]).ok().text(), "0");
    assert_eq!(host.rbox(&["start", "-a", "box"]).ok().stdout, "1 again\n", "its files are kept");
    assert_eq!(host.rbox(&["logs", "box"]).ok().stdout, "1\n1 again\n");
    host.rbox(&["rm", "box"]).ok();
}

#[test]
fn start_a_i_talks_and_ends_with_the_programs_code() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&[
        "create",
        "-i",
        "--network",
        "none",
        "--name",
        "cat",
        BUSYBOX,
        "sh",
        "-c",
        "cat; echo bad >&2; exit 7",
    ])
    .ok();
    let mut running = host.rbox_spawn(&["start", "-ai", "cat"]);
    use std::io::Write;
    running.child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    let output = running.wait().code(7);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("typed\n", "bad\n"));
}

#[test]
fn stop_asks_waits_and_kills() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(
        &["--network", "none", "--name", "deaf"],
        &["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"],
    );
    host.until(&["logs", "deaf"], "ready");
    let began = Instant::now();
    host.rbox(&["stop", "-t", "1", "deaf"]).ok();
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(8), "{took:?}");
    assert!(host.shown("deaf", "Status").starts_with("Exited (137)"));
    host.rbox(&["stop", "deaf"]).ok();
    host.detached(
        &["--network", "none", "--name", "own", "--stop-signal", "USR1"],
        &["sh", "-c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done"],
    );
    host.until(&["logs", "own"], "ready");
    host.rbox(&["stop", "own"]).ok();
    assert_eq!(host.rbox(&["wait", "own"]).ok().text(), "9");
}

#[test]
fn kill_sends_a_signal() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "sig"], &["/probe", "signal-wait"]);
    host.until(&["logs", "sig"], "ready");
    host.rbox(&["kill", "-s", "USR1", "sig"]).ok();
    host.until(&["logs", "sig"], "SIGUSR1");
    host.rbox(&["kill", "sig"]).ok();
    assert_eq!(host.rbox(&["wait", "sig"]).ok().text(), "137");
    host.rbox(&["kill", "sig"]).code(1).says("cannot kill container sig: it does not run");
    host.rbox(&["kill", "nosuch"]).code(1).says("container nosuch: not found");
}

#[test]
fn what_cannot_be_started_is_said_by_the_command_and_leaves_nothing() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let before = host.snapshot();
    host.rbox(&["run", "-d", "--network", "none", BUSYBOX, "no-such-program"]).code(127).says("no-such-program");
    host.rbox(&["run", "-d", "--network", "none", BUSYBOX, "/etc"]).code(126);
    host.rbox(&["run", "-d", "--ip", "10.9.8.7", BUSYBOX, "true"]).code(125).says("10.9.8.7");
    host.assert_unchanged(&before);
    assert_eq!(host.rbox(&["ps", "-aq"]).ok().text(), "");
    host.rbox(&["create", "--network", "none", "--name", "bad", BUSYBOX, "no-such-program"]).ok();
    host.rbox(&["start", "bad"]).code(1).says("no-such-program");
    assert_eq!(host.shown("bad", "State"), "created", "one that was there stays");
    host.rbox(&["rm", "bad"]).ok();
}

#[test]
fn one_that_runs_is_not_removed_unless_by_force() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let before = host.snapshot();
    host.detached(&["--name", "web", "-p", "8080:80"], &["sleep", "600"]);
    host.rbox(&["rm", "web"]).code(1).says("cannot remove container web: it is running");
    assert_eq!(host.rbox(&["rm", "-f", "web"]).ok().text(), "web");
    host.assert_unchanged(&before);
    host.rbox(&["rm", "web"]).code(1).says("container web: not found");
}

#[test]
fn rm_flag_removes_a_detached_container_when_it_ends() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let before = host.snapshot();
    host.detached(&["--rm", "--name", "gone", "-p", "8080:80"], &POLITE);
    host.until(&["logs", "gone"], "ready");
    host.rbox(&["stop", "gone"]).ok();
    host.assert_unchanged(&before);
}

#[test]
fn a_published_port_is_served_while_it_runs_and_free_afterwards() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--name", "web", "-p", "8080:80"], &["/probe", "serve", "80"]);
    host.until(&["logs", "web"], "ready");
    assert_eq!(host.connect("127.0.0.1", 8080, "tcp").code, 0);
    assert_eq!(host.connect("::1", 8080, "tcp").code, 0, "the monitor relays IPv6");
    assert_eq!(host.neighbour().connect("192.0.2.2", 8080, "tcp").code, 0);
    host.run(&["-p", "8080:80"], &["true"]).code(125).says("by container web");
    host.rbox(&["restart", "-t", "0", "web"]).ok();
    host.until(&["ps"], "Up");
    host.rbox(&["rm", "-f", "web"]).ok();
    host.run(&["-p", "8080:80"], &["true"]).ok();
}

#[test]
fn a_foreground_container_is_seen_stopped_and_logged_too() {
    need!(Root);
    let host = Host::with_busybox();
    let mut running =
        host.rbox_spawn(&[&["run", "--name", "fore", "--network", "none", BUSYBOX], &POLITE[..]].concat());
    running.wait_for("ready");
    assert_eq!(host.rbox(&["logs", "fore"]).ok().stdout, "ready\n");
    host.rbox(&["stop", "fore"]).ok();
    running.wait().code(3);
    assert!(host.shown("fore", "Status").starts_with("Exited (3)"));
}

#[test]
fn on_failure_starts_it_again_so_often() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(
        &["--network", "none", "--name", "fail", "--restart", "on-failure:2"],
        &["sh", "-c", "echo run; exit 5"],
    );
    host.until(&["ps", "-a"], "Exited (5)");
    assert_eq!(host.rbox(&["logs", "fail"]).ok().stdout, "run\nrun\nrun\n");
    host.detached(&["--network", "none", "--name", "good", "--restart", "on-failure"], &["true"]);
    assert_eq!(host.rbox(&["wait", "good"]).ok().text(), "0");
    host.until(&["ps", "-a", "--filter", "name=good"], "Exited (0)");
}

#[test]
fn always_starts_it_again_until_a_person_stops_it() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "again", "--restart", "always"], &["sh", "-c", "echo run; exit 1"]);
    host.until(&["logs", "again"], "run\nrun\nrun\n");
    host.until(&["ps", "-a"], "Restarting (1)");
    let began = Instant::now();
    host.rbox(&["stop", "again"]).ok();
    assert!(began.elapsed() < Duration::from_secs(5), "who waits to start it again can be told not to");
    assert!(host.shown("again", "Status").starts_with("Exited (1)"), "{}", host.shown("again", "Status"));
    host.detached(&["--network", "none", "--name", "bee", "--restart", "unless-stopped"], &["sleep", "600"]);
    host.rbox(&["kill", "bee"]).ok();
    assert!(host.shown("bee", "Status").starts_with("Exited (137)"), "a killed one stays down");
    host.rbox(&["run", "-d", "--rm", "--restart", "always", BUSYBOX, "true"]).code(125).says("--restart and --rm");
}

#[test]
fn ps_filters_and_formats() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "one", "-l", "a=1"], &["sleep", "600"]);
    host.run(&["--network", "none"], &["true"]).ok();
    host.rbox(&["run", "--network", "none", "--name", "two", "-l", "a=2", BUSYBOX, "false"]).code(1);
    host.detached(&["--name", "three", "-p", "8080:80"], &["sleep", "600"]);
    for (filter, names) in [
        ("name=t", "three two"),
        ("name=^t.*e$", "three"),
        ("label=a", "two one"),
        ("label=a=2", "two"),
        ("status=exited", "two"),
        ("exited=1", "two"),
        ("status=running", "three one"),
        ("ancestor=rbox-fixtures/busybox", "three two one"),
        ("network=bridge", "three"),
        ("before=two", "one"),
        ("since=two", "three"),
        ("publish=8080", "three"),
        ("expose=80/tcp", "three"),
        ("publish=80", ""),
        ("volume=/probe", "three one"),
    ] {
        let listed = host.rbox(&["ps", "-a", "--filter", filter, "--format", "{{.Names}}"]).ok();
        assert_eq!(listed.stdout.split_whitespace().collect::<Vec<_>>().join(" "), names, "{filter}");
    }
    assert_eq!(host.rbox(&["ps", "--filter", "status=exited", "--format", "{{.Names}}"]).ok().text(), "two");
    host.rbox(&["ps", "--filter", "color=red"]).code(1);
    assert_eq!(host.rbox(&["ps", "-l", "--format", "{{.State}} {{.Names}}"]).ok().text(), "running three");
    assert_eq!(host.rbox(&["ps", "-n", "2", "--format", "{{.Names}}"]).ok().stdout, "three\ntwo\n");
    let size = host.rbox(&["ps", "-s", "-l"]).ok();
    assert!(size.stdout.contains("SIZE") && size.stdout.contains("0B (virtual "), "{size}");
}

#[test]
fn prune_removes_what_does_not_run() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "up"], &["sleep", "600"]);
    host.rbox(&["run", "--network", "none", "--name", "down", BUSYBOX, "sh", "-c", "echo 12345 > /f"]).ok();
    let pruned = host.rbox(&["container", "prune", "-f"]).ok();
    assert!(
        pruned.stdout.starts_with("Deleted Containers:\n") && pruned.stdout.ends_with("Total reclaimed space: 6B\n"),
        "{pruned}"
    );
    assert_eq!(host.rbox(&["container", "ls", "-a", "--format", "{{.Names}}"]).ok().text(), "up");
}

#[test]
fn many_at_once_are_started_and_stopped() {
    need!(Root);
    let host = Host::with_busybox();
    let all: Vec<_> = (0..20)
        .map(|number| {
            host.rbox_spawn(&["run", "-d", "--name", &format!("n{number}"), "-p", "80", BUSYBOX, "sleep", "600"])
        })
        .collect();
    all.into_iter().for_each(|one| drop(one.wait().ok()));
    let ports = host.rbox(&["ps", "--format", "{{.Ports}}"]).ok();
    let mut ports: Vec<&str> = ports.stdout.lines().collect();
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 20, "each has a port of its own: {ports:?}");
    let names: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
    let mut words = vec!["rm", "-f"];
    words.extend(names.iter().map(String::as_str));
    host.rbox(&words).ok();
    assert_eq!(host.rbox(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn a_limit_that_was_changed_holds_for_each_later_life() {
    need!(Root);
    let host = Host::with_busybox();
    let flags = ["--network", "none", "--name", "web", "--restart", "always", "--pids-limit", "50"];
    let tell = "echo it is $(cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null); sleep 600";
    host.detached(&flags, &["sh", "-c", tell]);
    host.until(&["logs", "web"], "it is 50");
    host.rbox(&["update", "--pids-limit", "20", "web"]).ok();
    // Its monitor starts it again, ...
    let pid = host.rbox(&["inspect", "-f", "{{.State.Pid}}", "web"]).ok().text().to_owned();
    host.shell(&format!("kill -9 {pid}")).ok();
    host.until(&["logs", "web"], "it is 20");
    // ... and a person does.
    host.rbox(&["update", "--pids-limit", "30", "web"]).ok();
    host.rbox(&["restart", "-t", "0", "web"]).ok();
    host.until(&["logs", "web"], "it is 30");
    host.rbox(&["rm", "-f", "web"]).ok();
}
