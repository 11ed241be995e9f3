//! Monitors that are killed, and hosts that are started anew: nothing is lost, nothing is left.

use std::collections::BTreeSet;

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

/// fcntl_locking(2): what is locked is a process that lives, and one request tells (`src/record/alive.rs`).
#[test]
fn a_monitor_holds_a_lock_for_as_long_as_it_lives() {
    need!(Root);
    let host = Host::with_busybox();
    for name in ["one", "two"] {
        host.detached(&["--network", "none", "--name", name], &["sleep", "600"]);
    }
    // proc_locks(5): `1: POSIX  ADVISORY  WRITE 1234 fd:01:56789 7 7`
    let look = || {
        // With its device: another host's state has the same numbers on another tmpfs.
        let script =
            r"stat -c '%Hd %Ld %i' state/alive/* | while read -r a b c; do printf '%02x:%02x:%d\n' $a $b $c; done";
        let inodes = host.shell(script).ok().stdout;
        let all = host.shell("cat /proc/locks").ok().stdout;
        let ours =
            |line: &&str| line.contains(" POSIX ") && inodes.lines().any(|inode| line.contains(&format!(" {inode} ")));
        // Once each, with its holder: where others lock meanwhile, the kernel may list one twice, or leave one out.
        let all: BTreeSet<(String, String)> = all
            .lines()
            .filter(ours)
            .filter_map(|line| Some((line.split_whitespace().nth(4)?.into(), line.rsplit(' ').next()?.into())))
            .collect();
        let bytes: Vec<String> = all.into_iter().map(|(_, byte)| byte).collect();
        bytes
    };
    let locked = || (0..5).map(|_| look()).max_by_key(Vec::len).unwrap();
    let of_both = locked();
    assert_eq!(of_both.len(), 2, "{of_both:?}");
    assert_ne!(of_both[0], of_both[1]);
    host.rbox(&["rm", "-f", "one"]).ok();
    assert_eq!(locked().len(), 1);
    host.kill_monitors();
    assert_eq!(locked().len(), 0);
    assert!(host.shown("two", "Status").ends_with(" (unattended)"), "{}", host.shown("two", "Status"));
    host.run(&["--network", "none"], &["true"]).ok();
    assert_eq!(locked().len(), 1, "that of its new monitor");
    assert!(!host.shown("two", "Status").contains("unattended"));

    // Who has started a monitor holds nothing of its container any more, however long he lives himself.
    host.kill_monitors();
    let living = host.run_ready(&["--network", "none"], &["/probe", "signal-wait"]);
    assert_eq!(locked().len(), 2, "that of the new monitor, and of who has started it his own: {:?}", locked());
    host.kill_monitors();
    assert_eq!(locked().len(), 1);
    host.run(&["--network", "none"], &["true"]).ok();
    assert_eq!(locked().len(), 2, "taken up again");
    living.end();
    host.rbox(&["rm", "-f", "two"]).ok();
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
