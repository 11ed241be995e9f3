//! Limits, and the control group that they are set on.

use super::*;

#[test]
fn memory_swap_is_twice_the_memory_unless_told() {
    let memory = |line: &str, host: &Host| {
        let spec = try_build(line, None, host).unwrap().spec;
        linux_of(&spec)
            .resources()
            .as_ref()
            .unwrap()
            .memory()
            .map(|m| (m.limit(), m.swap(), m.reservation(), m.swappiness()))
    };
    let here = host();
    assert_eq!(memory("alpine sh", &here), None);
    assert_eq!(memory("-m 512m alpine sh", &here), Some((Some(512 << 20), Some(1 << 30), None, None)));
    assert_eq!(memory("-m 1m --memory-swap -1 alpine sh", &here), Some((Some(1 << 20), Some(-1), None, None)));
    assert_eq!(memory("-m 1m --memory-swap 1m alpine sh", &here), Some((Some(1 << 20), Some(1 << 20), None, None)));
    let no_swap = Host { swap_limit: false, ..host() };
    assert_eq!(memory("-m 4k alpine sh", &no_swap), Some((Some(4096), None, None, None)));
    assert_eq!(
        memory("--memory-reservation 1m --memory-swappiness 0 alpine sh", &here),
        Some((None, None, Some(1 << 20), Some(0)))
    );
    assert_eq!(memory("--memory-swappiness -1 alpine sh", &here), None);
}

#[test]
fn cpus_are_a_quota_of_a_tenth_of_a_second() {
    let cpu = |line: &str| {
        let spec = spec(line);
        let cpu = linux_of(&spec).resources().as_ref().unwrap().cpu().clone();
        cpu.map(|cpu| (cpu.quota(), cpu.period(), cpu.shares(), cpu.cpus().clone()))
    };
    assert_eq!(cpu("alpine sh"), None);
    assert_eq!(cpu("--cpus 1.5 alpine sh"), Some((Some(150_000), Some(100_000), None, None)));
    assert_eq!(cpu("--cpu-quota 5000 --cpu-period 10000 alpine sh"), Some((Some(5000), Some(10000), None, None)));
    assert_eq!(cpu("-c 1 --cpuset-cpus 0-1 alpine sh"), Some((None, None, Some(2), Some("0-1".into()))));
    assert_eq!(cpu("--cpu-quota -1 alpine sh"), Some((Some(-1), None, None, None)));
}

#[test]
fn limits_of_processes_files_and_disks() {
    let got =
        spec("--pids-limit 50 --ulimit nofile=10:20 --ulimit nofile=30 --ulimit core=0 --oom-score-adj -5 alpine sh");
    assert_eq!(linux_of(&got).resources().as_ref().unwrap().pids().unwrap().limit(), 50);
    let limits: Vec<(String, u64, u64)> = process(&got)
        .rlimits()
        .as_ref()
        .unwrap()
        .iter()
        .map(|limit| (limit.typ().to_string(), limit.soft(), limit.hard()))
        .collect();
    assert_eq!(limits, [("RLIMIT_NOFILE".to_owned(), 30, 30), ("RLIMIT_CORE".to_owned(), 0, 0)]);
    assert_eq!(process(&got).oom_score_adj(), Some(-5));
    let disks = Host { disks: BTreeMap::from([("/dev/sda".into(), (8, 0))]), ..host() };
    let got = try_build(
        "--device-read-bps /dev/sda:1mb --blkio-weight 300 --blkio-weight-device /dev/sda:200 alpine sh",
        None,
        &disks,
    )
    .unwrap()
    .spec;
    let io = linux_of(&got).resources().as_ref().unwrap().block_io().clone().unwrap();
    let rate = io.throttle_read_bps_device().as_ref().unwrap()[0];
    assert_eq!((rate.major(), rate.minor(), rate.rate()), (8, 0, 1 << 20));
    assert_eq!((io.weight(), io.weight_device().as_ref().unwrap()[0].weight()), (Some(300), Some(200)));
    for line in ["--pids-limit 0 alpine sh", "alpine sh"] {
        assert!(linux_of(&spec(line)).resources().as_ref().unwrap().pids().is_none(), "{line}");
    }
}

#[test]
fn control_groups_stand_below_their_parent() {
    let path = |line: &str| linux_of(&spec(line)).cgroups_path().clone().unwrap();
    assert_eq!(path("alpine sh"), Path::new("/rbox").join(ID));
    assert_eq!(path("--cgroup-parent /a/b alpine sh"), Path::new("/a/b").join(ID));
    assert_eq!(path("--cgroup-parent a alpine sh"), Path::new("/a").join(ID));
}
