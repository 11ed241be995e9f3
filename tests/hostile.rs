//! Containers that misuse what they have, and a disk that fills: the host and the other containers stay well.

use crate::support::{BUSYBOX, Host, Output, Running, need};
use nix::sys::signal::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

/// Ask until it is so; the test fails after a time in which it has to be, however busy the machine.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < end, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything a person asks of another container while one misbehaves.
#[track_caller]
fn others_answer(host: &Host) {
    assert_eq!(host.rbox(&["exec", "quiet", "echo", "well"]).ok().text(), "well");
    assert_eq!(host.rbox(&["logs", "quiet"]).ok().text(), "here");
    assert!(host.shown("quiet", "Status").starts_with("Up "));
    host.run(&["--network", "none"], &["true"]).ok();
}

fn quiet(host: &Host) {
    host.detached(&["--network", "none", "--name", "quiet"], &["sh", "-c", "echo here; exec sleep 600"]);
    host.until(&["logs", "quiet"], "here");
}

/// The sizes of a log's files, each file once, also when it is renamed in this moment.
fn log_bytes(host: &Host, id: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(host.path(&format!("data/containers/{id}"))).unwrap().flatten() {
        if entry.file_name().to_string_lossy().contains("-json.log")
            && let Ok(file) = entry.metadata()
        {
            found.insert(file.ino(), file.len());
        }
    }
    found.values().sum()
}

/// Kilobytes that belong to each monitor alone.
fn monitors_kb(host: &Host) -> Vec<u64> {
    let shown = host.shell("for pid in $(pgrep -x rbox:monitor); do grep RssAnon /proc/$pid/status; done").ok();
    shown.stdout.lines().map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap()).collect()
}

#[test]
fn a_flood_into_a_log_with_a_limit_stays_below_it() {
    need!(Root);
    let host = Host::with_busybox();
    quiet(&host);
    let before = host.snapshot();
    let flags = ["--network", "none", "--name", "flood", "--log-opt", "max-size=64k", "--log-opt", "max-file=3"];
    let id = host.detached(&flags, &["yes", "again and again"]);
    let newest = host.path(&format!("data/containers/{id}/{id}-json.log"));
    let newest = || std::fs::metadata(&newest).map(|file| std::os::unix::fs::MetadataExt::ino(&file)).unwrap_or(0);
    // A file may be longer than its limit by the line that reaches it, as Docker's.
    let (limit, line) = (3 * 64 * 1024, 3 * 120);
    let (mut begun, mut last) = (0, 0);
    let end = Instant::now() + Duration::from_secs(120);
    while begun < 40 {
        assert!(Instant::now() < end, "only {begun} files in 120 s");
        let bytes = log_bytes(&host, &id);
        assert!(bytes <= limit + line, "{bytes} bytes of log, where {limit} are allowed");
        let now = newest();
        begun += u32::from(now != last);
        last = now;
        if begun % 10 == 0 {
            others_answer(&host);
        }
    }
    assert!(monitors_kb(&host).iter().all(|kb| *kb < 2000), "kB of the monitors: {:?}", monitors_kb(&host));
    assert_eq!(host.rbox(&["logs", "--tail", "1", "flood"]).ok().stdout, "again and again\n");
    host.rbox(&["rm", "-f", "flood"]).ok();
    host.assert_unchanged(&before);
}

#[test]
fn readers_that_do_not_read_stop_nobody_but_what_they_are_attached_to() {
    need!(Root);
    let host = Host::with_busybox();
    quiet(&host);
    let before = host.snapshot();
    // At a pace that fills no disk: some megabytes in a second.
    let script = "while :; do head -c 60000 /dev/zero | tr '\\0' x; echo; done";
    let id = host.detached(&["--network", "none", "--name", "flood"], &["sh", "-c", script]);
    let grown = |by: u64| {
        let from = log_bytes(&host, &id);
        until("the log grows", || log_bytes(&host, &id) > from + by);
    };
    // One that follows the log reads a file, and the program does not know of it.
    let follows = host.rbox_spawn(&["logs", "-f", "flood"]);
    grown(4_000_000);
    others_answer(&host);
    // One that is attached holds the program back when the pipes are full: Docker's does too, 1 MB later.
    let attached = host.rbox_spawn(&["attach", "--sig-proxy=false", "flood"]);
    until("the program is held back", || {
        let from = log_bytes(&host, &id);
        std::thread::sleep(Duration::from_millis(500));
        log_bytes(&host, &id) == from
    });
    others_answer(&host);
    assert!(monitors_kb(&host).iter().all(|kb| *kb < 2000), "kB of the monitors: {:?}", monitors_kb(&host));
    // Once it is gone, and no longer, the program goes on.
    end(attached);
    grown(1_000_000);
    let attached = host.rbox_spawn(&["attach", "--sig-proxy=false", "flood"]);
    host.rbox(&["stop", "-t", "1", "flood"]).ok();
    assert!(host.shown("flood", "Status").starts_with("Exited (137)"), "{}", host.shown("flood", "Status"));
    end(attached);
    end(follows);
    host.rbox(&["rm", "flood"]).ok();
    host.assert_unchanged(&before);
}

/// Kill a command that nobody has read from.
fn end(running: Running) {
    running.signal(Signal::SIGKILL);
    running.wait();
}

/// Whether the kernel has refused a fork in a container's cgroup below `folder` (pids.events).
fn refused_forks(folder: &Path, id: &str) -> bool {
    let own = || std::fs::read_to_string(folder.join("pids.events")).unwrap_or_default();
    if folder.to_string_lossy().contains(id) && own().split_whitespace().nth(1).is_some_and(|count| count != "0") {
        return true;
    }
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    below.filter(|path| path.is_dir()).any(|path| refused_forks(&path, id))
}

/// Each process forks until it is refused and ends over it; then another has room. The first one only waits.
const BOMB: &str = "trap '' TERM; (bomb() { while :; do bomb & done; }; bomb) 2>/dev/null & while :; do wait; done";

#[test]
fn a_container_that_forks_without_end_harms_nobody_and_ends_when_told() {
    need!(Root);
    let host = Host::with_busybox();
    quiet(&host);
    let before = host.snapshot();
    for ending in [&["stop", "-t", "1", "bomb"][..], &["kill", "bomb"], &["rm", "-f", "bomb"]] {
        // A share of the processor, for the tests beside this one.
        let flags = ["--network", "none", "--name", "bomb", "--pids-limit", "50", "--cpus", "0.5"];
        let id = host.detached(&flags, &["sh", "-c", BOMB]);
        let refused = || host.cgroup_folders().iter().any(|folder| refused_forks(folder, &id));
        until("forks are refused", refused);
        others_answer(&host);
        // It gets room, or it is told that there is none.
        let exec = host.rbox(&["exec", "bomb", "true"]);
        assert!(exec.code == 0 || exec.stderr.starts_with("rbox: "), "{exec}");
        assert!(host.shown("bomb", "Status").starts_with("Up "));
        host.rbox(ending).ok();
        if ending[0] != "rm" {
            assert!(host.shown("bomb", "Status").starts_with("Exited (137)"), "{}", host.shown("bomb", "Status"));
            host.rbox(&["rm", "bomb"]).ok();
        }
        host.assert_unchanged(&before);
    }
}

/// Where rbox keeps what.
const DATA: &str = "data";
const STATE: &str = "state";

/// A host whose two directories are small disks of their own.
fn on_small_disks() -> Host {
    let host = Host::new();
    for disk in [DATA, STATE] {
        let at = host.path(disk).display().to_string();
        host.shell(&format!("mkdir {at} && mount -t tmpfs -o size=64m tmpfs {at}")).ok();
    }
    host.load("busybox");
    host
}

/// From now on a disk has room for so many more pages.
fn leave_room(host: &Host, disk: &str, pages: u32) {
    let at = host.path(disk).display().to_string();
    host.shell(&format!(
        "set -- $(stat -f -c '%b %f' {at}); mount -o remount,size=$((($1 - $2 + {pages}) * 4096)) {at}"
    ))
    .ok();
}

fn make_room(host: &Host, disk: &str) {
    host.shell(&format!("mount -o remount,size=64m {}", host.path(disk).display())).ok();
}

/// What the disks hold of containers.
fn held(host: &Host) -> String {
    let places =
        "data/containers data/snapshots data/images/tmp state/claims state/names state/live state/net/endpoints";
    host.shell(&format!("find {places} state/runtime -mindepth 1 2>/dev/null | sort")).stdout
}

/// It did what was asked, or said in one line that there is no room.
#[track_caller]
fn is_clear(output: &Output, refusal: i32) -> bool {
    if output.code == 0 {
        assert_eq!(output.stderr, "", "{output}");
        return true;
    }
    assert_eq!(output.code, refusal, "{output}");
    assert!(output.stderr.starts_with("rbox: cannot "), "{output}");
    assert!(output.stderr.ends_with(": no space left on device\n"), "{output}");
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
    false
}

#[test]
fn a_disk_with_too_little_room_refuses_in_one_line_and_keeps_nothing() {
    need!(Root);
    let host = on_small_disks();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let (before, nothing) = (host.snapshot(), held(&host));
    for disk in [DATA, STATE] {
        for verb in [&["run", "--rm"][..], &["run", "-d"], &["create"]] {
            let mut pages = 0;
            loop {
                leave_room(&host, disk, pages);
                let output = host.rbox(&[verb, &["--name", "small", "-p", "8080:80", BUSYBOX, "true"]].concat());
                let fits = is_clear(&output, if verb[0] == "run" { 125 } else { 1 });
                make_room(&host, disk);
                let wait = ["wait", "small"];
                if fits && verb[0] == "run" && verb[1] == "-d" {
                    host.rbox(&wait).ok();
                }
                if fits && verb != ["run", "--rm"] {
                    host.rbox(&["rm", "small"]).ok();
                }
                until(&format!("nothing is left in {disk} after {output}"), || held(&host) == nothing);
                if fits {
                    break;
                }
                pages += 1;
                assert!(pages < 100, "it never has enough room");
            }
            // What stands in the state directory of one that is only created is a link, and takes no room.
            let needs_some = (verb[0], disk) != ("create", STATE);
            assert_eq!(pages > 0, needs_some, "{verb:?} needs no room in {disk}: is the test wrong?");
        }
    }
    host.assert_unchanged(&before);
}

#[test]
fn what_runs_and_what_has_ended_outlives_a_full_disk() {
    need!(Root);
    for disks in [&[DATA][..], &[STATE], &[DATA, STATE]] {
        let host = on_small_disks();
        host.run(&["-p", "8080:80"], &["true"]).ok();
        let (before, nothing) = (host.snapshot(), held(&host));
        let lines = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.1; done";
        host.detached(&["--name", "web", "-p", "8080:80"], &["sh", "-c", lines]);
        host.detached(
            &["--name", "ends", "-p", "8081:80"],
            &["sh", "-c", "trap 'exit 7' USR1; echo ready; while :; do sleep 0.1; done"],
        );
        host.until(&["logs", "ends"], "ready");
        host.rbox(&["create", "--name", "made", BUSYBOX, "true"]).ok();
        host.rbox(&["run", "--network", "none", "--name", "old", BUSYBOX, "echo", "hello"]).ok();
        host.until(&["logs", "web"], "line 2");
        // Filled again before each command: what one leaves is not room for the next.
        let rbox = |args: &[&str]| {
            disks.iter().for_each(|disk| leave_room(&host, disk, 0));
            host.rbox(args)
        };
        let _ = rbox(&["ps"]);
        host.rbox(&["kill", "-s", "USR1", "ends"]).ok();
        until("the end is recorded", || host.shown("ends", "Status").starts_with("Exited (7)"));
        is_clear(&rbox(&["start", "made"]), 1);
        assert!(rbox(&["logs", "web"]).ok().stdout.contains("line 2\n"));
        assert_eq!(rbox(&["logs", "old"]).ok().stdout, "hello\n");
        assert_eq!(rbox(&["exec", "web", "echo", "well"]).ok().text(), "well");
        is_clear(&rbox(&["rename", "old", "older"]), 1);
        let name = ["old", "older"].into_iter().find(|name| !host.shown(name, "Status").is_empty()).unwrap();
        is_clear(&rbox(&["rm", name]), 1);
        rbox(&["stop", "-t", "0", "web"]).ok();
        assert!(host.shown("web", "Status").starts_with("Exited (137)"), "{}", host.shown("web", "Status"));
        is_clear(&rbox(&["start", "web"]), 1);
        disks.iter().for_each(|disk| make_room(&host, disk));
        for name in ["web", "ends", "made"] {
            host.rbox(&["start", name]).ok();
            host.rbox(&["rm", "-f", name]).ok();
        }
        host.rbox(&["rm", "-f", name]);
        until("nothing is left", || held(&host) == nothing);
        host.assert_unchanged(&before);
    }
}

#[test]
fn a_log_that_fills_the_disk_stops_no_other_container() {
    need!(Root);
    let host = on_small_disks();
    quiet(&host);
    let before = host.snapshot();
    leave_room(&host, DATA, 200);
    let free = format!("stat -f -c %f {}", host.path(DATA).display());
    host.detached(&["--network", "none", "--name", "flood"], &["yes", "again and again"]);
    // Less than it writes at once: half a line is taken away again.
    until("the disk is full", || host.shell(&free).text().parse::<u32>().unwrap() <= 20);
    assert_eq!(host.rbox(&["exec", "quiet", "echo", "well"]).ok().text(), "well");
    assert!(host.rbox(&["logs", "--tail", "1", "flood"]).ok().stdout.starts_with("again"));
    host.rbox(&["kill", "flood"]).ok();
    assert!(host.shown("flood", "Status").starts_with("Exited (137)"), "{}", host.shown("flood", "Status"));
    host.rbox(&["rm", "flood"]).ok();
    // What it had on the disk is free again.
    others_answer(&host);
    make_room(&host, DATA);
    host.assert_unchanged(&before);
}
