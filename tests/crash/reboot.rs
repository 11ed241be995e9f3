//! The machine is started anew, with containers in every state: what ran has ended, nothing is held, nothing is left.

use super::story::Stage;
use crate::support::{BUSYBOX, Host, need};
use std::fs;

/// Everything dies at once, and the kernel that comes up has another id, and none of what the old one had in memory:
/// control groups, mounts, links, rules. Its /run, where the state is, may be empty.
fn reboot(host: &Host, number: u32, empty_run: bool) {
    thaw(host);
    // Monitors first: one that lived a moment longer than its program would note how that ended.
    host.kill_monitors();
    host.shell(
        "list() { ps -e -o pid=,stat=,args= | awk '$2 !~ /^Z/ && $3 ~ /^(rbox|sleep|sh)$/ { print $1 }'; }
         for all in $(list); do kill -9 $all; done; while [ -n \"$(list)\" ]; do kill -9 $(list); sleep 0.01; done; true",
    )
    .ok();
    fs::write(host.path("boot"), format!("00000000-1111-2222-3333-{number:012}\n")).unwrap();
    let boot = host.path("boot").display().to_string();
    host.shell(&format!("mount --bind {boot} /proc/sys/kernel/random/boot_id")).ok();
    // What only the old kernel had.
    host.shell(
        "nft flush ruleset; ip link del rbox0; echo 0 > /proc/sys/net/ipv4/ip_forward
         find /sys/fs/cgroup/*/rbox /sys/fs/cgroup/rbox -depth -type d -exec rmdir {} + 2>/dev/null; true",
    )
    .ok();
    if empty_run {
        host.shell(&format!("rm -rf {}", host.path("state").display())).ok();
    }
}

/// A frozen process does not even die.
fn thaw(host: &Host) {
    for name in host.rbox(&["ps", "-q", "--filter", "status=paused"]).ok().stdout.lines() {
        host.rbox(&["unpause", name]).ok();
    }
}

#[test]
fn after_a_restart_of_the_machine_each_state_is_what_it_should_be() {
    need!(Root);
    let stage = Stage::new();
    let host = &stage.host;
    for (number, empty_run) in [(1, false), (2, true)] {
        let told = format!("restart {number} of the machine");
        make_one_of_each(&stage);
        reboot(host, number, empty_run);
        // What is shown before any command has cleaned up.
        let before = stage.look(&told);
        for (name, state) in &before {
            assert!(["created", "exited", "dead"].contains(&state.as_str()), "{told}: {name} is {state}");
        }
        stage.next_command(&told);
        let after = stage.look(&told);
        let wanted = [
            ("always", "exited"),
            ("created", "created"),
            ("ended", "exited"),
            ("failing", "exited"),
            ("orphan", "exited"),
            ("paused", "exited"),
            ("running", "exited"),
            ("unless", "exited"),
        ];
        let seen: Vec<(&str, &str)> = after.iter().map(|(name, state)| (name.as_str(), state.as_str())).collect();
        assert_eq!(seen, wanted, "{told}: no policy starts one here, and one with --rm has gone");
        for name in ["always", "orphan", "paused", "running", "unless"] {
            assert!(host.shown(name, "Status").starts_with("Exited (255)"), "{told}: {}", host.shown(name, "Status"));
        }
        assert!(host.shown("ended", "Status").starts_with("Exited (3)"), "{told}: an end that was seen is kept");
        // Every lease is free: the ports of the dead, and their addresses.
        host.run(&["-p", "8080:80", "-p", "8082:80"], &["true"]).ok();
        // Each can be started again, and is as new.
        for name in ["always", "created", "paused", "running"] {
            host.rbox(&["start", name]).ok();
            assert_eq!(host.shown(name, "State"), "running", "{told}: {name}");
        }
        stage.clear(&told);
    }
    stage.next_command("the end");
    stage.clear("the end");
    host.shell("umount /proc/sys/kernel/random/boot_id; umount /proc/sys/kernel/random/boot_id").ok();
    stage.assert_unchanged();
}

fn make_one_of_each(stage: &Stage) {
    let host = &stage.host;
    let sleep = &["sleep", "600"];
    host.rbox(&["create", "--name", "created", "-p", "8081:80", BUSYBOX, "sleep", "600"]).ok();
    host.rbox(&["run", "--network", "none", "--name", "ended", BUSYBOX, "sh", "-c", "exit 3"]).code(3);
    host.detached(&["--name", "running", "-p", "8080:80"], sleep);
    host.detached(&["--name", "paused", "-p", "8082:80"], sleep);
    host.detached(&["--name", "gone", "--rm"], sleep);
    host.detached(&["--name", "always", "--restart", "always"], sleep);
    host.detached(&["--name", "unless", "--restart", "unless-stopped"], sleep);
    host.detached(&["--name", "orphan"], sleep);
    host.kill_monitors();
    // After that, so that nobody takes it up: it waits to be started again, longer and longer.
    host.detached(&["--name", "failing", "--restart", "always", "--network", "none"], &["sh", "-c", "exit 5"]);
    host.until(&["ps", "-a"], "Restarting (5)");
    host.rbox(&["pause", "paused"]).ok();
}
