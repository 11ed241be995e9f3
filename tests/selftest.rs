//! The support library itself: a private host is what it says, and leaves nothing behind.

use std::collections::BTreeSet;

use crate::support::{Host, need};

#[test]
fn a_private_host_has_a_wire_to_its_neighbour() {
    need!(Root);
    let host = Host::new();
    let probe = crate::support::probe().display().to_string();
    let mut server = host.spawn(&probe, &["serve", "7000"]);
    server.wait_for("ready");
    let heard = host.neighbour().connect("192.0.2.2", 7000, "tcp").ok().json();
    assert!(heard["you"].as_str().unwrap().starts_with("192.0.2.3:"), "{heard}");
    let refused = host.neighbour().connect("192.0.2.2", 7001, "tcp").fails();
    assert!(refused.stderr.contains("ConnectionRefused"), "{refused}");
}

#[test]
fn a_snapshot_notices_links_rules_mounts_cgroups_and_processes() {
    need!(Root);
    let host = Host::new();
    let before = host.snapshot();
    host.assert_unchanged(&before);
    let changes = [
        ("links", "ip link add left type bridge"),
        ("rules", "iptables -t nat -A POSTROUTING -s 172.17.0.2/32 -j MASQUERADE"),
        ("mounts", "mount -t tmpfs left /mnt"),
        ("processes", "sleep 61 >/dev/null 2>&1 </dev/null &"),
    ];
    for (kind, script) in changes {
        host.shell(script).ok();
        assert_ne!(before.kind(kind), host.snapshot().kind(kind), "{kind}");
    }
    let folder = host.cgroup_folders()[0].join("left");
    std::fs::create_dir(&folder).unwrap();
    assert_ne!(before.kind("cgroups"), host.snapshot().kind("cgroups"));
}

#[test]
fn a_private_host_leaves_nothing_behind() {
    need!(Root);
    let host = Host::new();
    host.shell("sleep 62 >/dev/null 2>&1 </dev/null & mount -t tmpfs left /mnt").ok();
    let folders = host.cgroup_folders();
    assert!(folders.iter().all(|folder| folder.exists()));
    let dir = host.path("");
    let pid = host.holder_pid();
    drop(host);
    assert!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
    assert!(!dir.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_private_host_sees_only_its_own_processes_and_cgroups() {
    need!(Root);
    let host = Host::offline();
    let processes = host.shell("ps -e -o pid= | wc -l").ok();
    assert!(processes.text().parse::<u32>().unwrap() < 6, "{processes}");
    // A hierarchy that is mounted for somebody else alone (a dockerd with mounts of its own) is out of reach for all.
    let own = host.shell("grep -c ':/session$' /proc/self/cgroup; grep ' - cgroup2\\? ' /proc/self/mountinfo");
    let (groups, mounts) = own.text().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let places: BTreeSet<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    assert_eq!(groups, places.len().to_string(), "{own}");
    assert_eq!(host.shell("hostname").ok().text(), "testhost");
}
