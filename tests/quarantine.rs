//! Who is in a container cannot keep the host from changing its networks, or those of others.

use crate::support::{BUSYBOX, Host, need, rbox};
use std::fs::{File, OpenOptions};
use std::time::{Duration, Instant};

/// A container that idles.
#[track_caller]
fn idle(host: &Host, name: &str, flags: &[&str]) -> String {
    host.detached(&[&["--name", name], flags].concat(), &["sleep", "1000"])
}

/// Connect it and disconnect it again; what was said.
#[track_caller]
fn there_and_back(host: &Host, name: &str) -> String {
    let connected = host.rbox(&["network", "connect", "other", name]).ok();
    host.rbox(&["exec", name, "ip", "link", "show", "eth1"]).ok();
    let disconnected = host.rbox(&["network", "disconnect", "other", name]).ok();
    host.rbox(&["exec", name, "ip", "link", "show", "eth1"]).fails();
    [connected.stderr, disconnected.stderr].concat()
}

/// A lock of rbox's own is held until this is dropped.
fn hold(host: &Host, path: &str) -> File {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(host.path(path)).unwrap();
    file.lock().unwrap();
    file
}

#[test]
fn what_a_container_does_with_its_files_holds_up_nobody() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "other"]).ok();
    let id = idle(&host, "evil", &[]);
    // As anybody in it can who can read them: these are the very files.
    let file = |name: &str| File::open(host.path(&format!("data/containers/{id}/{name}"))).unwrap();
    let locked = ["hosts", "resolv.conf"].map(file);
    locked.iter().for_each(|file| file.lock().unwrap());
    assert_eq!(there_and_back(&host, "evil"), "");
    drop(locked);
    host.rbox(&["exec", "evil", "sh", "-c", r"printf '\377\n' >>/etc/hosts"]).ok();
    assert_eq!(there_and_back(&host, "evil"), "");
    host.rbox(&["exec", "evil", "truncate", "-s", "3G", "/etc/hosts"]).ok();
    let said = there_and_back(&host, "evil");
    assert_eq!(said.matches("hosts: it is larger than 1 MiB").count(), 2, "{said}");
    assert!(!host.rbox(&["ps"]).ok().stderr.contains("larger"), "what was said once is done");
    host.rbox(&["rm", "-f", "evil"]).ok();
    host.rbox(&["network", "rm", "other"]).ok();
}

#[test]
fn a_suspended_run_holds_up_nobody_and_learns_of_its_network_later() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["network", "create", "other"]).ok();
    idle(&host, "there", &["--network", "other"]);
    idle(&host, "bystander", &[]);
    // In the background of a shell: what this test starts itself would be suspended together with it.
    let run = [vec![rbox().display().to_string()], host.rbox_words(&["run", "--name", "fg", BUSYBOX, "sleep", "1000"])];
    host.shell(&format!("{} >/dev/null 2>&1 </dev/null &", run.concat().join(" "))).ok();
    host.until(&["ps"], " fg");
    let holder = host.shell("pgrep -o -f '^[^ ]*/rbox .*run --name fg'").ok().text().to_owned();
    host.shell(&format!("kill -STOP {holder}")).ok();
    let began = Instant::now();
    host.rbox(&["network", "connect", "other", "fg"])
        .ok()
        .says("container fg: who holds it does not answer, and serves its names and ports as before until it does");
    host.rbox(&["network", "connect", "other", "bystander"]).ok();
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    host.rbox(&["exec", "bystander", "ping", "-c", "1", "-W", "1", "fg"]).ok();
    host.shell(&format!("kill -CONT {holder}")).ok();
    host.until(&["exec", "fg", "nslookup", "there.other"], "Name:");
    host.rbox(&["network", "disconnect", "other", "fg"]).ok();
}

#[test]
fn a_network_is_removed_or_used_and_never_both() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&[], &["true"]).ok();
    for round in 0..4 {
        let before = host.footprint();
        host.rbox(&["network", "create", "net1"]).ok();
        if round % 2 == 0 {
            // As after the machine's start: it is made when it is needed.
            host.shell("ip link delete $(ip -br link | grep -o '^rb-[0-9a-f]*')").ok();
        }
        let lock = hold(&host, "state/net/lock");
        let words: [&[&str]; 2] = [
            &["network", "rm", "net1"],
            &["run", "-d", "--name", "cat", "--network", "net1", BUSYBOX, "sleep", "1000"],
        ];
        let first = host.rbox_spawn(words[round / 2]);
        std::thread::sleep(Duration::from_millis(200));
        let second = host.rbox_spawn(words[1 - round / 2]);
        std::thread::sleep(Duration::from_millis(200));
        drop(lock);
        let codes = [first.wait(), second.wait()];
        let done = codes.iter().filter(|output| output.code == 0).count();
        assert_eq!(done, 1, "{} {}", codes[0], codes[1]);
        host.rbox(&["rm", "-f", "cat"]);
        host.rbox(&["network", "rm", "net1"]);
        assert_eq!(host.footprint(), before, "{} {}", codes[0], codes[1]);
    }
}
