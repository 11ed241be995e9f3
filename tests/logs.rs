//! `rbox logs`, and the log of a program that floods.

use crate::support::{BUSYBOX, Host, need};
use std::fs;

#[test]
fn both_streams_come_back_where_they_belong() {
    need!(Root);
    let host = Host::with_busybox();
    let id =
        host.detached(&["--network", "none", "--name", "log"], &["sh", "-c", "echo out; echo err >&2; printf open"]);
    host.rbox(&["wait", "log"]).ok();
    let logs = host.rbox(&["logs", "log"]).ok();
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\nopen", "err\n"));
    let file = fs::read_to_string(host.path(&format!("data/containers/{id}/{id}-json.log"))).unwrap();
    let first: serde_json::Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["log", "stream", "time"]);
}

#[test]
fn tail_times_and_since() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(
        &["--network", "none", "--name", "log"],
        &["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.6; done"],
    );
    host.rbox(&["wait", "log"]).ok();
    let logs = |args: &[&str]| host.rbox(&[&["logs"], args, &["log"]].concat()).ok().stdout;
    assert_eq!(logs(&["--tail", "2"]), "2\n3\n");
    assert_eq!(logs(&["-n", "0"]), "");
    assert_eq!(logs(&["--tail", "all"]), "1\n2\n3\n");
    let timed = logs(&["-t"]);
    let second = timed.lines().nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(second.len(), "2024-05-02T10:00:00.123456789Z".len(), "{timed}");
    assert_eq!(logs(&["--since", second]), "2\n3\n");
    assert_eq!(logs(&["--until", second]), "1\n2\n");
    assert_eq!(logs(&["--since", "1h"]), "1\n2\n3\n");
    assert_eq!(logs(&["--until", "1h"]), "");
}

#[test]
fn follow_goes_on_until_the_end() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(
        &["--network", "none", "--name", "log"],
        &["sh", "-c", "echo first; sleep 1; echo second; sleep 0.3"],
    );
    let mut follow = host.rbox_spawn(&["logs", "-f", "log"]);
    follow.wait_for("first");
    let rest = follow.wait().ok();
    assert_eq!(rest.stdout, "second\n");
    assert_eq!(
        host.rbox(&["logs", "-f", "log"]).ok().stdout,
        "first\nsecond\n",
        "one that has ended is not waited for"
    );
}

#[test]
fn a_log_of_none_is_said() {
    need!(Root);
    let host = Host::with_busybox();
    let id = host.detached(&["--network", "none", "--name", "log", "--log-driver", "none"], &["echo", "x"]);
    host.rbox(&["wait", "log"]).ok();
    host.rbox(&["logs", "log"]).code(1).says("its output is kept nowhere");
    assert!(!host.path(&format!("data/containers/{id}/{id}-json.log")).exists());
    host.rbox(&["logs", "nosuch"]).code(1).says("container nosuch: not found");
}

#[test]
fn a_flood_is_rotated_and_needs_no_memory() {
    need!(Root);
    let host = Host::with_busybox();
    let flags = ["--network", "none", "--name", "flood", "--log-opt", "max-size=100k", "--log-opt", "max-file=3"];
    let id = host.detached(&flags, &["sh", "-c", "yes 'a line of some length, again and again'"]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let rss = host.shell("grep -E '^(RssAnon)' /proc/$(pgrep -x rbox:monitor)/status | tr -dc 0-9").ok();
    assert!(rss.text().parse::<u64>().unwrap() < 3000, "RssAnon {} kB", rss.text());
    let last = host.rbox(&["logs", "--tail", "1", "flood"]).ok();
    assert_eq!(last.stdout, "a line of some length, again and again\n");
    // Quiet now: a file that is being renamed is not there for a moment.
    host.rbox(&["kill", "flood"]).ok();
    let bytes = |name: &str| {
        fs::metadata(host.path(&format!("data/containers/{id}/{id}-json.log{name}"))).map(|found| found.len())
    };
    assert!(bytes("").unwrap_or(0) < 110_000 && bytes(".1").unwrap() < 110_000 && bytes(".2").unwrap() < 110_000);
    assert!(bytes(".3").is_err());
    host.rbox(&["rm", "-f", "flood"]).ok();
}

#[test]
fn a_full_disk_stops_the_log_and_not_the_program() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["--network", "none"], &["true"]).ok();
    let containers = host.path("data/containers").display().to_string();
    host.shell(&format!("mount -t tmpfs -o size=400k tmpfs {containers}")).ok();
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo a line of the log; i=$((i+1)); done; echo through > /through; sleep 600";
    host.detached(&["--network", "none", "--name", "full"], &["sh", "-c", script]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let through = || host.shell(&format!("ls {}/../snapshots/*/upper/through", containers)).code == 0;
    while !through() {
        assert!(std::time::Instant::now() < end, "the program stands still: its log cannot be written");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    host.rbox(&["run", "--rm", "--network", "none", "--rootfs", "/", "true"]);
    assert!(host.rbox(&["logs", "full"]).ok().stdout.lines().count() > 100);
    host.rbox(&["rm", "-f", "full"]).ok();
    assert_eq!(host.rbox(&["ps", "-aq"]).ok().text(), "");
    host.shell(&format!("umount {containers}")).ok();
}

#[test]
fn a_line_of_any_length_arrives() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&[
        "run",
        "--network",
        "none",
        "--name",
        "long",
        BUSYBOX,
        "sh",
        "-c",
        "head -c 100000 /dev/zero | tr '\\0' x; echo",
    ])
    .ok();
    let logs = host.rbox(&["logs", "long"]).ok();
    assert_eq!(logs.stdout.len(), 100_001);
}
