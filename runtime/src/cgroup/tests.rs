//! The groups of this very kernel: made, limited, read back, removed. Needs root; limits are written on v1 or hybrid,
//! and what belongs to cgroup2 is tried on whatever unified hierarchy there is.

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;

use super::*;
use crate::{skip, sys};

/// A group under a name of its own that is gone after the test, however it ends.
struct Fresh {
    cgroup: Cgroup,
}

impl Fresh {
    /// `None`, with the reason printed, where this host cannot run the test.
    fn locate(name: &str) -> Option<Fresh> {
        if !skip::is_root() {
            return None;
        }
        let path = format!("/rbox-test-{}-{name}/group", std::process::id());
        Some(Fresh { cgroup: Cgroup::locate(Path::new(&path)).unwrap() })
    }

    fn on_v1(name: &str, resources: &str) -> Option<Fresh> {
        let fresh = Fresh::locate(name)?;
        if fresh.cgroup.layout == Layout::V2 {
            skip::leave_to_another_host("it needs cgroup v1");
            return None;
        }
        fresh.cgroup.make(Some(&parse(resources))).unwrap();
        Some(fresh)
    }

    /// Only the unified hierarchy, as if this were a v2 host.
    fn on_v2(name: &str) -> Option<Fresh> {
        let mut fresh = Fresh::locate(name)?;
        fresh.cgroup.hierarchies.retain(Hierarchy::is_unified);
        fresh.cgroup.layout = Layout::V2;
        if fresh.cgroup.hierarchies.is_empty() {
            skip::leave_to_another_host("it needs a cgroup2 mount");
            return None;
        }
        Some(fresh)
    }

    fn read(&self, controller: &str, file: &str) -> String {
        let path = self.cgroup.hierarchy_of(controller).unwrap().path.join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = self.cgroup.kill();
        let _ = self.cgroup.delete();
        self.cgroup.prune();
    }
}

fn parse(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// A program in the group, ended after the test.
struct Guest(Child);

impl Guest {
    fn sh(cgroup: &Cgroup, script: &str) -> Guest {
        // It waits for a line before it begins, so that it is in the group by then.
        let wrapped = format!("read go; {script}");
        let child = Command::new("/bin/sh")
            .args(["-c", &wrapped])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let guest = Guest(child);
        cgroup.join(guest.pid(), Born::Outside).unwrap();
        guest
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn go(&mut self) {
        use std::io::Write;
        self.0.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    fn answer(mut self) -> String {
        use std::io::Read;
        self.go();
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.0.wait().unwrap();
        text.trim().to_owned()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn eventually(mut true_soon: impl FnMut() -> bool) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        true_soon()
    })
}

#[test]
fn every_limit_of_v1_is_in_its_file() {
    let Some(fresh) = Fresh::on_v1(
        "limits",
        r#"{"memory":{"limit":52428800,"swap":104857600,"reservation":26214400,"swappiness":17,"kernelTCP":8192000,
            "disableOOMKiller":true,"kernel":1},
            "cpu":{"shares":512,"period":50000,"quota":25000,"burst":1000,"cpus":"0","mems":"0"},
            "pids":{"limit":77},
            "devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"}]}"#,
    ) else {
        return;
    };
    for (controller, file, value) in [
        ("memory", "memory.limit_in_bytes", "52428800"),
        ("memory", "memory.memsw.limit_in_bytes", "104857600"),
        ("memory", "memory.soft_limit_in_bytes", "26214400"),
        ("memory", "memory.swappiness", "17"),
        ("memory", "memory.kmem.tcp.limit_in_bytes", "8192000"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("cpu", "cpu.cfs_quota_us", "25000"),
        ("cpu", "cpu.cfs_burst_us", "1000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "77"),
        ("devices", "devices.list", "c 1:3 rw"),
    ] {
        assert_eq!(fresh.read(controller, file), value, "{file}");
    }
    assert!(fresh.read("memory", "memory.oom_control").contains("oom_kill_disable 1"));
}

#[test]
fn an_idle_group_and_a_rate_for_a_disk() {
    let Some(fresh) = Fresh::on_v1("idle", r#"{"cpu":{"idle":1}}"#) else { return };
    assert_eq!(fresh.read("cpu", "cpu.idle"), "1");
    let disk = std::fs::read_dir("/dev").unwrap().flatten().find_map(|entry| {
        let metadata = entry.metadata().ok()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A whole disk: rates are set for those only.
        let whole = std::path::Path::new("/sys/block").join(&name).exists();
        (metadata.file_type().is_block_device() && whole).then(|| metadata.rdev())
    });
    let Some(disk) = disk else {
        skip::skip("it needs a disk below /dev");
        return;
    };
    let (major, minor) = (nix::sys::stat::major(disk), nix::sys::stat::minor(disk));
    let rate = |rate| {
        let device = format!(r#"[{{"major":{major},"minor":{minor},"rate":{rate}}}]"#);
        let json = format!(
            r#"{{"blockIO":{{"throttleReadBpsDevice":{device},"throttleWriteBpsDevice":{device},
               "throttleReadIOPSDevice":{device},"throttleWriteIOPSDevice":{device}}}}}"#
        );
        parse(&json)
    };
    fresh.cgroup.set(&rate(1_048_576)).unwrap();
    for file in ["read_bps", "write_bps", "read_iops", "write_iops"] {
        let text = fresh.read("blkio", &format!("blkio.throttle.{file}_device"));
        assert_eq!(text, format!("{major}:{minor} 1048576"), "{file}");
    }
    fresh.cgroup.set(&rate(0)).unwrap();
    assert_eq!(fresh.read("blkio", "blkio.throttle.read_bps_device"), "");
}

#[test]
fn memory_and_swap_are_raised_and_lowered_together() {
    let Some(fresh) = Fresh::on_v1("swap", r#"{"memory":{"limit":8388608,"swap":8388608}}"#) else { return };
    let both = || (fresh.read("memory", "memory.limit_in_bytes"), fresh.read("memory", "memory.memsw.limit_in_bytes"));
    fresh.cgroup.set(&parse(r#"{"memory":{"limit":33554432,"swap":67108864}}"#)).unwrap();
    assert_eq!(both(), ("33554432".into(), "67108864".into()));
    fresh.cgroup.set(&parse(r#"{"memory":{"limit":4194304,"swap":8388608}}"#)).unwrap();
    assert_eq!(both(), ("4194304".into(), "8388608".into()));
    fresh.cgroup.set(&parse(r#"{"memory":{"limit":-1}}"#)).unwrap();
    let (limit, swap) = both();
    assert!(limit.len() > 15 && swap.len() > 15, "no limit on either: {limit}, {swap}");
}

#[test]
fn a_shorter_period_and_its_quota_come_together() {
    let Some(fresh) = Fresh::on_v1("period", r#"{"cpu":{"quota":500000,"period":1000000,"burst":400000}}"#) else {
        return;
    };
    fresh.cgroup.set(&parse(r#"{"cpu":{"quota":1000,"period":2000,"burst":500}}"#)).unwrap();
    assert_eq!(fresh.read("cpu", "cpu.cfs_quota_us"), "1000");
    assert_eq!(fresh.read("cpu", "cpu.cfs_period_us"), "2000");
    assert_eq!(fresh.read("cpu", "cpu.cfs_burst_us"), "500");
}

#[test]
fn a_refused_limit_names_the_file_and_leaves_nothing() {
    let Some(fresh) = Fresh::locate("refused") else { return };
    if fresh.cgroup.layout == Layout::V2 {
        return;
    }
    let directory = fresh.cgroup.hierarchy_of("pids").unwrap().path.clone();
    let error = fresh.cgroup.make(Some(&parse(r#"{"cpu":{"cpus":"4000"}}"#))).unwrap_err().to_string();
    let cpuset = fresh.cgroup.hierarchy_of("cpuset").unwrap().path.display().to_string();
    assert!(error.starts_with(&format!("cannot set cpuset.cpus to 4000 in {cpuset}: ")), "{error}");
    assert!(!directory.exists(), "what was made is removed");
    let error = fresh.cgroup.make(Some(&parse(r#"{"rdma":{"mlx":{"hcaHandles":1}}}"#))).unwrap_err().to_string();
    let expected = "cannot set rdma.max to mlx hca_handle=1 hca_object=max: the cgroup controller rdma is not mounted";
    if fresh.cgroup.hierarchy_of("rdma").is_none() {
        assert_eq!(error, expected);
    }
    let error = fresh.cgroup.make(Some(&parse(r#"{"unified":{"memory.high":"1"}}"#))).unwrap_err().to_string();
    assert_eq!(error, "linux.resources.unified: needs cgroup v2, and this host has v1");
}

#[test]
fn a_process_joins_every_hierarchy_and_the_group_goes_after_it() {
    let Some(fresh) = Fresh::locate("join") else { return };
    fresh.cgroup.make(None).unwrap();
    let guest = Guest::sh(&fresh.cgroup, "sleep 60");
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", guest.pid())).unwrap();
    for hierarchy in &fresh.cgroup.hierarchies {
        let controllers = hierarchy.controllers.join(",");
        let line = own.lines().find(|line| line.split(':').nth(1) == Some(&*controllers)).unwrap();
        assert!(line.ends_with("-join/group"), "{line}");
    }
    assert_eq!(fresh.cgroup.pids().unwrap(), [guest.pid()]);
    let Err(Error::Os { source: Errno::EBUSY, .. }) = fresh.cgroup.delete() else { panic!("a process is inside") };
    let Err(Error::Inhabited { pid, .. }) = fresh.cgroup.make(None) else { panic!("a process is inside") };
    assert_eq!(pid, guest.pid());
    drop(guest);
    // A group that the container made below its own goes too.
    for hierarchy in &fresh.cgroup.hierarchies {
        std::fs::create_dir_all(hierarchy.path.join("below/deeper")).unwrap();
    }
    fresh.cgroup.delete().unwrap();
    assert!(fresh.cgroup.hierarchies.iter().all(|hierarchy| !hierarchy.path.exists()));
    fresh.cgroup.delete().unwrap();
}

#[test]
fn a_process_enters_through_the_doors_by_itself() {
    let Some(fresh) = Fresh::on_v1("doors", "{}") else { return };
    let mut script = String::new();
    for door in fresh.cgroup.doors() {
        script += &format!("echo 0 > {}; ", door.display());
    }
    let output =
        Command::new("/bin/sh").args(["-c", &format!("{script} exec cat /proc/self/cgroup")]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for hierarchy in fresh.cgroup.hierarchies.iter().filter(|hierarchy| !hierarchy.is_unified()) {
        let controllers = hierarchy.controllers.join(",");
        let line = text.lines().find(|line| line.split(':').nth(1) == Some(&*controllers)).unwrap();
        assert!(line.ends_with("-doors/group"), "{line}");
    }
}

#[test]
fn a_second_group_in_the_same_place_has_its_cpus_too() {
    let Some(fresh) = Fresh::locate("cpuset") else { return };
    fresh.cgroup.make(None).unwrap();
    fresh.cgroup.delete().unwrap();
    fresh.cgroup.make(None).unwrap();
    // Joining a group of v1 without processors would be ENOSPC.
    let guest = Guest::sh(&fresh.cgroup, "sleep 60");
    assert_eq!(fresh.cgroup.pids().unwrap(), [guest.pid()]);
}

#[test]
fn the_state_file_brings_the_group_back() {
    let cgroup = Cgroup::locate(Path::new("/rbox/c1")).unwrap();
    let text = serde_json::to_string(&cgroup).unwrap();
    assert_eq!(serde_json::from_str::<Cgroup>(&text).unwrap(), cgroup);
    assert!(cgroup.paths().values().all(|path| path.ends_with("rbox/c1")));
}

#[test]
fn views_name_the_controllers_as_the_host_does() {
    let hierarchy = |controllers: &[&str], mount: &str| Hierarchy {
        controllers: controllers.iter().map(ToString::to_string).collect(),
        mount: mount.into(),
        path: Path::new(mount).join("rbox/c1"),
    };
    let cgroup = Cgroup {
        layout: Layout::Hybrid,
        partial: false,
        hierarchies: vec![
            hierarchy(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct"),
            hierarchy(&["memory"], "/sys/fs/cgroup/memory"),
            hierarchy(&["name=systemd"], "/sys/fs/cgroup/systemd"),
            hierarchy(&[], "/sys/fs/cgroup/unified"),
        ],
        unit: None,
    };
    let views: Vec<_> = cgroup.views().into_iter().map(|view| (view.name, view.options, view.links)).collect();
    let links = ["cpu".to_owned(), "cpuacct".to_owned()].to_vec();
    assert_eq!(
        views,
        [
            ("cpu,cpuacct".into(), "cpu,cpuacct".into(), links),
            ("memory".into(), "memory".into(), vec![]),
            ("systemd".into(), "none,name=systemd".into(), vec![]),
        ]
    );
}

#[test]
fn frozen_processes_stand_and_thawed_ones_go_on() {
    for fresh in [Fresh::locate("freeze"), Fresh::on_v2("freeze2")].into_iter().flatten() {
        fresh.cgroup.make(None).unwrap();
        let mut guest = Guest::sh(&fresh.cgroup, "while :; do :; done");
        guest.go();
        let used = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", guest.pid())).unwrap();
            stat.split(' ').nth(13).unwrap().parse::<u64>().unwrap()
        };
        assert!(!fresh.cgroup.is_frozen().unwrap());
        fresh.cgroup.freeze().unwrap();
        assert!(fresh.cgroup.is_frozen().unwrap());
        let before = used();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(used(), before, "a frozen process uses no time");
        fresh.cgroup.thaw().unwrap();
        assert!(eventually(|| used() > before));
        assert!(!fresh.cgroup.is_frozen().unwrap());
    }
}

#[test]
fn a_group_that_is_removed_after_its_file_was_opened_is_gone() {
    for fresh in [Fresh::locate("gone"), Fresh::on_v2("gone2")].into_iter().flatten() {
        fresh.cgroup.make(None).unwrap();
        let group = fresh.cgroup.hierarchy_of("freezer").unwrap();
        let (name, running) = if group.is_unified() { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        let file = group.path.join(name);
        let mut pen = file::Pen::default();
        pen.write(file::Purpose::Freeze, &file, running).unwrap();
        fresh.cgroup.delete().unwrap();
        assert_eq!(pen.write(file::Purpose::Freeze, &file, running), Err(Errno::ENOENT), "{}", file.display());
        // And there is nobody left whom anything could be done to.
        fresh.cgroup.let_die().unwrap();
        fresh.cgroup.kill().unwrap();
        fresh.cgroup.thaw().unwrap_err();
    }
}

#[test]
fn kill_reaches_frozen_processes_and_those_that_left_their_parent() {
    for fresh in [Fresh::locate("kill"), Fresh::on_v2("kill2")].into_iter().flatten() {
        fresh.cgroup.make(None).unwrap();
        let mut guest = Guest::sh(&fresh.cgroup, "setsid sleep 60 & setsid sleep 61 & wait");
        guest.go();
        assert!(eventually(|| fresh.cgroup.pids().unwrap().len() == 3));
        fresh.cgroup.freeze().unwrap();
        fresh.cgroup.kill().unwrap();
        guest.0.wait().unwrap();
        assert!(eventually(|| fresh.cgroup.pids().unwrap().is_empty()));
        fresh.cgroup.delete().unwrap();
        fresh.cgroup.kill().unwrap();
    }
}

#[test]
fn without_cgroup_kill_the_processes_are_killed_one_by_one() {
    let Some(fresh) = Fresh::on_v1("killv1", "{}") else { return };
    let only_v1 = Cgroup {
        layout: Layout::V1,
        partial: false,
        hierarchies: fresh.cgroup.hierarchies.iter().filter(|group| !group.is_unified()).cloned().collect(),
        unit: None,
    };
    let mut guest = Guest::sh(&fresh.cgroup, "while :; do sleep 0.001 & done");
    guest.go();
    std::thread::sleep(Duration::from_millis(20));
    only_v1.kill().unwrap();
    guest.0.wait().unwrap();
    assert!(eventually(|| only_v1.pids().unwrap().is_empty()));
}

#[test]
fn the_kernel_s_counts_are_read() {
    let Some(fresh) = Fresh::on_v1("stats", r#"{"memory":{"limit":33554432},"pids":{"limit":9}}"#) else { return };
    let mut guest = Guest::sh(&fresh.cgroup, "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; sleep 60");
    guest.go();
    assert!(eventually(|| fresh.cgroup.stats().unwrap().cpu.usage_ns > 1_000_000));
    // The kernel counts memory in batches for each processor: the first pages may not be told yet.
    assert!(eventually(|| fresh.cgroup.stats().unwrap().memory.usage > 0));
    let stats = fresh.cgroup.stats().unwrap();
    assert_eq!(stats.memory.limit, Some(33_554_432));
    assert!(stats.memory.peak >= stats.memory.usage);
    assert_eq!(stats.pids.limit, Some(9));
    assert!(stats.pids.current >= 1);
    assert_eq!(fresh.cgroup.oom_kills().unwrap(), 0);
}

#[test]
fn running_out_of_memory_is_counted() {
    let Some(fresh) = Fresh::on_v1("oom", r#"{"memory":{"limit":4194304,"swap":4194304}}"#) else { return };
    let mut guest = Guest::sh(&fresh.cgroup, "exec tail /dev/zero");
    guest.go();
    guest.0.wait().unwrap();
    assert_eq!(fresh.cgroup.oom_kills().unwrap(), 1);
}

#[test]
fn device_rules_hold_on_both_generations() {
    let rules = r#"{"devices":[{"allow":false,"access":"rwm"},
        {"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
        {"allow":true,"type":"c","major":1,"minor":5,"access":"r"}]}"#;
    let script = "try() { \"$@\" 2>/dev/null && printf y || printf n; }
        try sh -c 'exec 3</dev/null'; try sh -c 'exec 3>/dev/null'; try sh -c 'exec 3</dev/zero';
        try sh -c 'exec 3>/dev/zero'; try sh -c 'exec 3</dev/full'";
    for (fresh, v2) in [(Fresh::locate("dev"), false), (Fresh::on_v2("dev2"), true)] {
        let Some(fresh) = fresh else { continue };
        fresh.cgroup.make(Some(&parse(rules))).unwrap();
        assert_eq!(Guest::sh(&fresh.cgroup, script).answer(), "yyynn", "on v2: {v2}");
        // Other rules take the place of the first ones.
        fresh.cgroup.set(&parse(&rules.replace("\"minor\":5", "\"minor\":7"))).unwrap();
        assert_eq!(Guest::sh(&fresh.cgroup, script).answer(), "yynny", "on v2: {v2}");
        if v2 {
            let directory = fresh.cgroup.directory().unwrap().unwrap();
            assert_eq!(sys::bpf::device_filters(directory.as_fd()).unwrap().len(), 1, "replaced, not added");
        }
    }
}

/// Where the kernel has v2 only in name, plain files show what would be written where.
#[test]
fn v2_settings_reach_the_files_of_the_group() {
    let root = tempfile::tempdir().unwrap();
    let group = root.path().join("group");
    std::fs::create_dir(&group).unwrap();
    for file in ["memory.max", "memory.swap.max", "cpu.weight", "io.weight", "pids.max"] {
        std::fs::write(group.join(file), "").unwrap();
    }
    let hierarchy = Hierarchy { controllers: vec![], mount: root.path().into(), path: group.clone() };
    let cgroup = Cgroup { layout: Layout::V2, hierarchies: vec![hierarchy], partial: false, unit: None };
    let resources = r#"{"memory":{"limit":4096,"swap":12288},"cpu":{"shares":1024},"blockIO":{"weight":500},
        "pids":{"limit":5}}"#;
    cgroup.set(&parse(resources)).unwrap();
    for (file, value) in [
        ("memory.max", "4096"),
        ("memory.swap.max", "8192"),
        ("cpu.weight", "100"),
        ("io.weight", "4950"),
        ("pids.max", "5"),
    ] {
        assert_eq!(std::fs::read_to_string(group.join(file)).unwrap(), value, "{file}");
    }
    let error = cgroup.set(&parse(r#"{"unified":{"misc.max":"1"}}"#)).unwrap_err().to_string();
    assert_eq!(error, format!("cannot set misc.max to 1 in {}: no such file or directory", group.display()));
    // A kernel without swap: none wanted is none written.
    std::fs::remove_file(group.join("memory.swap.max")).unwrap();
    cgroup.set(&parse(r#"{"memory":{"limit":4096,"swap":4096}}"#)).unwrap();
    cgroup.set(&parse(r#"{"memory":{"limit":4096,"swap":8192}}"#)).unwrap_err();
}
