//! The flags of update and exec, and where a flag may stand.

use crate::oci_verbs::is_runc;
use crate::support::{Bundle, Oci, Output, need};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;

fn update(oci: &Oci, bundle: &Bundle, flags: &[&str]) -> Output {
    let mut words = vec!["update"];
    words.extend(flags);
    words.push(&bundle.id);
    oci.call(&words)
}

/// (flags, v1 controller and file, v2 file, v1 value, v2 value)
type Limit = (&'static [&'static str], (&'static str, &'static str), &'static str, &'static str, &'static str);

const LIMITS: &[Limit] = &[
    (&["--memory", "64m"], ("memory", "memory.limit_in_bytes"), "memory.max", "67108864", "67108864"),
    (&["--memory=33554432"], ("memory", "memory.limit_in_bytes"), "memory.max", "33554432", "33554432"),
    (
        &["--memory-reservation", "16MiB"],
        ("memory", "memory.soft_limit_in_bytes"),
        "memory.low",
        "16777216",
        "16777216",
    ),
    (&["--pids-limit", "55"], ("pids", "pids.max"), "pids.max", "55", "55"),
    (&["--pids-limit", "-1"], ("pids", "pids.max"), "pids.max", "max", "max"),
    (&["--cpu-share", "512"], ("cpu", "cpu.shares"), "cpu.weight", "512", "59"),
    (&["--cpu-quota", "30000"], ("cpu", "cpu.cfs_quota_us"), "cpu.max", "30000", "30000 100000"),
    (&["--cpu-period", "50000"], ("cpu", "cpu.cfs_period_us"), "cpu.max", "50000", "30000 50000"),
    (&["--cpu-quota", "-1"], ("cpu", "cpu.cfs_quota_us"), "cpu.max", "-1", "max 50000"),
    (&["--cpuset-cpus", "0"], ("cpuset", "cpuset.cpus"), "cpuset.cpus", "0", "0"),
    (&["--cpuset-mems", "0"], ("cpuset", "cpuset.mems"), "cpuset.mems", "0", "0"),
];

#[test]
fn update_changes_one_limit_a_flag_while_the_container_runs() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    for (flags, v1, v2, value1, value2) in LIMITS {
        // Debian's runc weighs in a straight line.
        if is_runc() && oci.is_v2() && flags[0] == "--cpu-share" {
            continue;
        }
        update(&oci, &bundle, flags).ok();
        let expected = if oci.is_v2() { value2 } else { value1 };
        assert_eq!(oci.cgroup_file(&bundle, *v1, v2), *expected, "{flags:?}");
    }
    assert_eq!(oci.state(&bundle)["status"], "running");
}

#[test]
fn update_of_memory_and_swap_together_goes_up_and_down() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let limits = |oci: &Oci| {
        let memory = oci.cgroup_file(&bundle, ("memory", "memory.limit_in_bytes"), "memory.max");
        (memory, oci.cgroup_file(&bundle, ("memory", "memory.memsw.limit_in_bytes"), "memory.swap.max"))
    };
    for (memory, swap, swap_alone) in [("64m", "128m", 64), ("256m", "300m", 44), ("32m", "32m", 0)] {
        update(&oci, &bundle, &["--memory", memory, "--memory-swap", swap]).ok();
        let bytes = |text: &str| text.trim_end_matches('m').parse::<u64>().unwrap() << 20;
        let swap = if oci.is_v2() { swap_alone << 20 } else { bytes(swap) };
        assert_eq!(limits(&oci), (bytes(memory).to_string(), swap.to_string()));
    }
    if is_runc() && oci.is_v2() {
        // Debian's runc wants both, where v2 has no limit on both together.
        update(&oci, &bundle, &["--memory-swap", "48m"]).code(1);
        return;
    }
    update(&oci, &bundle, &["--memory-swap", "48m"]).ok();
    let swap: u64 = if oci.is_v2() { 16 << 20 } else { 48 << 20 };
    assert_eq!(limits(&oci), ((32_u64 << 20).to_string(), swap.to_string()));
}

#[test]
fn update_takes_limits_from_a_file_or_standard_input() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let limit = || oci.cgroup_file(&bundle, ("pids", "pids.max"), "pids.max");
    let file = oci.host.path("limits.json");
    fs::write(&file, json!({ "pids": { "limit": 44 }, "memory": { "limit": 32 << 20 } }).to_string()).unwrap();
    let path = file.display().to_string();
    update(&oci, &bundle, &["--resources", &path]).ok();
    assert_eq!(limit(), "44");
    let memory = oci.cgroup_file(&bundle, ("memory", "memory.limit_in_bytes"), "memory.max");
    assert_eq!(memory, (32 << 20).to_string());

    let mut running = oci.spawn(&["update", "-r", "-", &bundle.id]);
    running.child.stdin.take().unwrap().write_all(br#"{"pids":{"limit":45}}"#).unwrap();
    running.wait().ok();
    assert_eq!(limit(), "45");

    // The file counts alone.
    update(&oci, &bundle, &["-r", &path, "--pids-limit", "46"]).ok();
    assert_eq!(limit(), "44");
    update(&oci, &bundle, &["-r", "/nowhere"]).code(1).says("/nowhere");
    fs::write(&file, "{").unwrap();
    update(&oci, &bundle, &["-r", &path]).code(1);
    assert_eq!(limit(), "44");
}

/// Callers send the whole of linux.resources, with `deny all` in front.
#[test]
fn update_leaves_the_devices_as_they_are() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let file = oci.host.path("limits.json");
    fs::write(&file, json!({ "devices": [{ "allow": false, "access": "rwm" }] }).to_string()).unwrap();
    update(&oci, &bundle, &["-r", &file.display().to_string()]).ok();
    oci.call(&["exec", &bundle.id, "/bin/sh", "-c", "echo x >/dev/null"]).ok();
}

#[test]
fn update_refuses_what_is_no_limit() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    for (flag, value) in [
        ("--memory", "much"),
        ("--cpu-period", "-1"),
        ("--cpu-quota", "x"),
        ("--pids-limit", "many"),
        ("--blkio-weight", "x"),
        ("--cpu-share", "1.5"),
        ("--l3-cache-schema", "L3:0=f"),
        ("--mem-bw-schema", "MB:0=20"),
    ] {
        let output = update(&oci, &bundle, &[flag, value]).code(1);
        if !is_runc() {
            assert!(output.stderr.contains(flag), "{output}");
            assert_eq!(output.stderr.lines().count(), 1, "{output}");
        }
    }
    update(&oci, &bundle, &["--cpuset-cpus", "4096"]).code(1);
}

#[test]
fn update_ignores_the_memory_of_the_kernel_and_says_so() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    for flag in ["kernel-memory", "kernel-memory-tcp"] {
        let output = update(&oci, &bundle, &[&format!("--{flag}"), "32m"]).ok();
        // Debian's runc has one sentence for both.
        let what = if is_runc() { "Kernel memory settings are".to_owned() } else { format!("Setting --{flag} is") };
        let expected = format!("level=warning msg=\"{what} ignored and will be removed\"");
        assert!(output.stderr.contains(&expected), "{output}");
    }
}

fn see(oci: &Oci, bundle: &Bundle, flags: &[&str]) -> Value {
    let mut words = vec!["exec"];
    words.extend(flags);
    words.extend([bundle.id.as_str(), "/probe", "see", "identity"]);
    oci.call(&words).ok().json()
}

/// A folder below the container's own cgroup in these hierarchies.
fn make_groups(oci: &Oci, bundle: &Bundle, name: &str) -> usize {
    let folders = oci.host.cgroup_folders();
    for folder in &folders {
        let group = folder.join(&bundle.id).join(name);
        fs::create_dir(&group).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // With v1 a group without processors takes no process; with v2 it has no such file.
            if group.join(file).exists() {
                fs::write(group.join(file), fs::read_to_string(folder.join(file)).unwrap()).unwrap();
            }
        }
    }
    folders.len()
}

#[test]
fn exec_joins_a_group_below_the_containers() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let count = make_groups(&oci, &bundle, "inner");
    let ends = |seen: &Value, end: &str| {
        seen["cgroup"].as_array().unwrap().iter().filter(|line| line.as_str().unwrap().ends_with(end)).count()
    };
    let seen = see(&oci, &bundle, &["--cgroup", "inner"]);
    assert_eq!(ends(&seen, "/inner"), count, "{:#}", seen["cgroup"]);
    assert_eq!(ends(&see(&oci, &bundle, &[]), "/inner"), 0);
    for path in ["nowhere", "../other"] {
        oci.call(&["exec", "--cgroup", path, &bundle.id, "/probe", "exit", "0"]).code(255);
    }
    if !oci.is_v2() {
        let seen = see(&oci, &bundle, &["--cgroup", "pids,memory:inner"]);
        assert_eq!(ends(&seen, "/inner"), 2, "{:#}", seen["cgroup"]);
        let wrong: [&[&str]; 4] =
            [&["inner", "pids:inner"], &["nosuch:inner"], &["pids:inner", "pids:inner"], &[":inner"]];
        // Debian's runc lets the last of two win, and takes a controller without a name.
        for paths in &wrong[..if is_runc() { 2 } else { 4 }] {
            let mut words = vec!["exec"];
            words.extend(paths.iter().flat_map(|path| ["--cgroup", path]));
            words.extend([bundle.id.as_str(), "/probe", "exit", "0"]);
            oci.call(&words).code(255);
        }
    }
    oci.call(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn exec_adds_groups_capabilities_and_descriptors() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|spec| spec["process"]["noNewPrivileges"] = json!(false));
    let flags = ["-g", "7", "-g", "8", "-c", "CAP_SYS_CHROOT", "--no-new-privs"];
    let words: Vec<String> = oci.words(&[&["exec"], &flags[..], &[&bundle.id, "/probe", "see", "identity"]].concat());
    let runtime = crate::support::runtime().display().to_string();
    let seen = oci.host.shell(&format!("exec {runtime} {}", words.join(" "))).ok().json();
    let script = format!(
        "echo handed >f; exec 3<f; exec {runtime} {} /bin/sh -c 'cat <&3'",
        oci.words(&["exec", "--preserve-fds", "1", &bundle.id]).join(" ")
    );
    assert_eq!(oci.host.shell(&script).ok().text(), "handed");
    assert_eq!(seen["groups"], json!([7, 8]));
    assert!(seen["caps"]["effective"].as_array().unwrap().contains(&json!("CAP_SYS_CHROOT")));
    assert_eq!(seen["no_new_privs"], true);
}

/// Where the kernel has the module the profile must exist; without it both runtimes refuse.
#[test]
fn exec_with_a_profile_or_a_label_that_cannot_be_had_is_refused() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    oci.call(&["exec", "--apparmor", "no-such-profile", &bundle.id, "/probe", "exit", "0"]).code(255);
    if !is_runc() {
        // runc without SELinux in the kernel lets the label pass.
        oci.call(&["exec", "--process-label", "no:such:label", &bundle.id, "/probe", "exit", "0"]).code(255);
    }
}

#[test]
fn exec_leaves_the_flags_of_the_program_to_it() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let words =
        ["exec", &bundle.id, "/bin/echo", "-t", "--detach", "--cwd", "/x", "--root", "/y", "--debug", "--", "z"];
    assert_eq!(oci.call(&words).ok().text(), "-t --detach --cwd /x --root /y --debug -- z");
    oci.call(&["exec", "--no-such-flag", &bundle.id, "/bin/true"]).code(1);
    oci.call(&["exec", &bundle.id]).code(255);
    oci.call(&["exec"]).code(1);
}

#[test]
fn flags_may_stand_behind_the_name() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    oci.call(&["update", &bundle.id, "--pids-limit", "66"]).ok();
    assert_eq!(oci.cgroup_file(&bundle, ("pids", "pids.max"), "pids.max"), "66");
    oci.call(&["events", &bundle.id, "--stats"]).ok();
    oci.call(&["kill", &bundle.id, "KILL", "--all"]).ok();
    oci.wait_status(&bundle, "stopped");
    oci.call(&["delete", &bundle.id, "--force"]).ok();
}

#[test]
fn exec_of_a_process_file_ignores_other_flags_and_says_so() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let file = oci.host.path("process.json");
    let process = json!({ "args": ["/bin/pwd"], "env": [], "cwd": "/tmp", "user": { "uid": 0, "gid": 0 } });
    fs::write(&file, process.to_string()).unwrap();
    let words = ["exec", "--process", &file.display().to_string(), "--cwd", "/home", &bundle.id];
    let output = oci.call(&words).ok();
    assert_eq!(output.text(), "/tmp");
    assert_eq!(output.stderr.contains("level=warning") && output.stderr.contains("--cwd"), !is_runc(), "{output}");
}
