//! Limits of `rbox run`: each flag's value is read back from the kernel's own file.

use crate::support::{Host, need};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// flags, (v1 controller, v1 file), v2 file, value in v1, value in v2
type Limit = (&'static [&'static str], (&'static str, &'static str), &'static str, &'static str, &'static str);

const LIMITS: &[Limit] = &[
    (&["--memory", "64m"], ("memory", "memory.limit_in_bytes"), "memory.max", "67108864", "67108864"),
    (&["-m", "64m"], ("memory", "memory.memsw.limit_in_bytes"), "memory.swap.max", "134217728", "67108864"),
    (
        &["-m", "64m", "--memory-swap", "96m"],
        ("memory", "memory.memsw.limit_in_bytes"),
        "memory.swap.max",
        "100663296",
        "33554432",
    ),
    (
        &["-m", "64m", "--memory-reservation", "32m"],
        ("memory", "memory.soft_limit_in_bytes"),
        "memory.low",
        "33554432",
        "33554432",
    ),
    (&["--cpus", "0.5"], ("cpu", "cpu.cfs_quota_us"), "cpu.max", "50000", "50000 100000"),
    (&["--cpu-shares", "512"], ("cpu", "cpu.shares"), "cpu.weight", "512", "59"),
    (
        &["--cpu-quota", "30000", "--cpu-period", "60000"],
        ("cpu", "cpu.cfs_period_us"),
        "cpu.max",
        "60000",
        "30000 60000",
    ),
    (&["--cpuset-cpus", "0"], ("cpuset", "cpuset.cpus"), "cpuset.cpus", "0", "0"),
    (&["--cpuset-mems", "0"], ("cpuset", "cpuset.mems"), "cpuset.mems", "0", "0"),
    (&["--pids-limit", "33"], ("pids", "pids.max"), "pids.max", "33", "33"),
    (&["--pids-limit", "-1"], ("pids", "pids.max"), "pids.max", "max", "max"),
];

/// The folder of the container's cgroup, found by the process in it: as the test process sees it.
fn folder_of(host: &Host, pid: i32, controller: &str) -> PathBuf {
    fn search(folder: &Path, pid: &str) -> Option<PathBuf> {
        let procs = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        if procs.lines().any(|line| line == pid) {
            return Some(folder.to_owned());
        }
        let inside = fs::read_dir(folder).into_iter().flatten().flatten();
        inside.filter(|entry| entry.path().is_dir()).find_map(|entry| search(&entry.path(), pid))
    }
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for tree in host.cgroup_folders() {
        let name = tree.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        if v2 || name.split(',').any(|part| part == controller) {
            return search(&tree, &pid.to_string()).unwrap_or_else(|| panic!("{pid} is not below {}", tree.display()));
        }
    }
    panic!("no hierarchy for {controller}");
}

#[test]
fn a_155_every_limit_is_in_the_kernels_own_file() {
    need!(Root);
    let host = Host::with_busybox();
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for (flags, (controller, v1), v2_file, v1_value, v2_value) in LIMITS {
        let flags = [&["--network", "none"], *flags].concat();
        let running = host.run_ready(&flags, &["/probe", "signal-wait"]);
        let folder = folder_of(&host, running.container_pid().as_raw(), controller);
        let (file, wanted) = if v2 { (v2_file, v2_value) } else { (v1, v1_value) };
        if file.contains("swap") && !folder.join(file).exists() {
            running.end();
            continue; // a kernel without swap accounting has no such file, and `run` refuses the flag: see errors.rs
        }
        let read = fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{flags:?}: {file}: {error}"));
        assert_eq!(read.trim(), *wanted, "{flags:?}: {file}");
        running.end().ok();
    }
}

#[test]
fn limits_of_the_process_itself() {
    need!(Root);
    let host = Host::with_busybox();
    let seen = host.see(&[
        "--network",
        "none",
        "--ulimit",
        "nofile=100:200",
        "--ulimit",
        "core=0",
        "--oom-score-adj",
        "500",
        "--shm-size",
        "1m",
    ]);
    assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!({ "soft": 100, "hard": 200 }));
    assert_eq!(seen["rlimits"]["RLIMIT_CORE"], json!({ "soft": 0, "hard": 0 }));
    assert_eq!(seen["oom_score_adj"], 500);
    let shm = seen["mounts"].as_array().unwrap().iter().find(|mount| mount["target"] == "/dev/shm").unwrap();
    assert!(shm["super"].as_array().unwrap().contains(&json!("size=1024k")), "{shm}");
}

#[test]
fn a_155_a_program_that_takes_too_much_memory_is_killed_alone() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&["--network", "none", "-m", "64m"], &["/probe", "alloc", "16"]).ok();
    host.run(&["--network", "none", "-m", "64m", "--memory-swap", "64m"], &["/probe", "alloc", "300"]).code(137);
}

#[test]
fn a_small_memory_limit_is_the_kernels_decision() {
    need!(Root);
    let host = Host::with_busybox();
    // Docker refuses less than 6 MB; a static program starts with 1 MB.
    host.run(&["--network", "none", "-m", "1m"], &["true"]).ok();
}

#[test]
fn the_processes_limit_is_felt() {
    need!(Root);
    let host = Host::with_busybox();
    let answer = host.run(&["--network", "none", "--pids-limit", "10"], &["/probe", "fork-bomb", "50"]).ok().json();
    assert_eq!(answer["refused"], "EAGAIN");
    assert!(answer["started"].as_u64().unwrap() < 10, "{answer}");
}

#[test]
fn half_a_processor_is_half_a_processor() {
    need!(Root);
    let host = Host::with_busybox();
    let answer = host.run(&["--network", "none", "--cpus", "0.5"], &["/probe", "spin", "2"]).ok().json();
    let share = answer["used_us"].as_f64().unwrap() / answer["elapsed_us"].as_f64().unwrap();
    assert!(share < 0.65, "{answer}");
}

#[test]
fn a_disk_limit_is_written() {
    need!(Root);
    let host = Host::with_busybox();
    let disk = host.shell("lsblk -d -n -o PATH,MAJ:MIN -e 1,7,11 | head -n 1").text().to_owned();
    let Some((path, number)) = disk.split_once(' ') else { return crate::support::skip("no disk to limit") };
    let limit = format!("{path}:1mb");
    let running = host.run_ready(&["--network", "none", "--device-read-bps", &limit], &["/probe", "signal-wait"]);
    let folder = folder_of(&host, running.container_pid().as_raw(), "blkio");
    let file =
        ["blkio.throttle.read_bps_device", "io.max"].map(|file| folder.join(file)).into_iter().find(|f| f.exists());
    let read = fs::read_to_string(file.unwrap()).unwrap();
    assert!(read.starts_with(number.trim()) && read.contains("1048576"), "{read}");
    running.end().ok();
}
