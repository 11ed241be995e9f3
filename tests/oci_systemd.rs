//! `--systemd-cgroup`: systemd makes the control groups. On a machine of the tests' own: what they start is the machine's.

use crate::oci_users::{FIRST, give, own_users};
use crate::support::{Bundle, Oci, need};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A scope of system.slice, instead of the path below the top that a bundle of the tests has.
fn in_scope(spec: &mut Value) {
    let id = spec["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/').to_owned();
    spec["linux"]["cgroupsPath"] = json!(format!("system.slice:rbtest:{id}"));
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
}

fn running(oci: &Oci, edit: impl FnOnce(&mut Value)) -> Bundle {
    oci.running(|spec| {
        in_scope(spec);
        edit(spec);
    })
}

fn scope_of(bundle: &Bundle) -> String {
    format!("rbtest-{}.scope", bundle.id)
}

/// A property as systemd has it.
fn show(oci: &Oci, unit: &str, property: &str) -> String {
    oci.host.shell(&format!("systemctl show --value -p {property} {unit}")).ok().text().to_owned()
}

/// The directory of a group, by its v1 controller.
fn group(oci: &Oci, controller: &str, path: &str) -> PathBuf {
    let top = Path::new("/sys/fs/cgroup");
    let top = if oci.is_v2() { top.to_owned() } else { top.join(controller) };
    top.join(path.trim_start_matches('/'))
}

/// A control file of a container's scope.
fn file(oci: &Oci, bundle: &Bundle, v1: (&str, &str), v2: &str) -> String {
    let path = group(oci, v1.0, &format!("system.slice/{}", scope_of(bundle)));
    let path = path.join(if oci.is_v2() { v2 } else { v1.1 });
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

/// systemd knows nothing of the unit any more, and no hierarchy has its group. systemd hears of a group's end a moment later.
#[track_caller]
fn assert_gone(oci: &Oci, unit: &str, path: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while oci.host.shell(&format!("systemctl list-units --all --plain --no-legend {unit}")).ok().text() != "" {
        assert!(Instant::now() < until, "{}", oci.host.shell(&format!("systemctl status {unit}")));
        std::thread::sleep(Duration::from_millis(100));
    }
    let found = oci.host.shell(&format!("find /sys/fs/cgroup -path '*/{path}'")).ok();
    assert_eq!(found.text(), "", "{unit}");
}

fn delete(oci: &Oci, bundle: &Bundle) {
    oci.call(&["delete", "--force", &bundle.id]).ok();
    let scope = scope_of(bundle);
    assert_gone(oci, &scope, &format!("system.slice/{scope}"));
}

/// The path of a process's group: on v1 that of the memory controller.
fn group_of(oci: &Oci, pid: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let wanted = if oci.is_v2() { "0::" } else { ":memory:" };
    let line = text.lines().find(|line| line.contains(wanted)).unwrap_or_else(|| panic!("{text}"));
    line.splitn(3, ':').nth(2).unwrap().to_owned()
}

#[test]
fn a_container_is_a_scope_in_its_slice() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = running(&oci, |_| {});
    let scope = scope_of(&bundle);
    for (property, value) in [("ActiveState", "active"), ("Slice", "system.slice"), ("Delegate", "yes")] {
        assert_eq!(show(&oci, &scope, property), value, "{property}");
    }
    assert_eq!(show(&oci, &scope, "ControlGroup"), format!("/system.slice/{scope}"));
    let pid = oci.state(&bundle)["pid"].to_string();
    assert_eq!(group_of(&oci, &pid), format!("/system.slice/{scope}"));
    // Every hierarchy, also those that systemd does not know.
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let elsewhere = |line: &&str| !line.ends_with(&scope) && !line.contains(":misc:");
    assert_eq!(groups.lines().find(elsewhere), None, "{groups}");
    let inside = oci.call(&["exec", &bundle.id, "cat", "/proc/self/cgroup"]).ok();
    assert!(inside.text().lines().filter(|line| !line.contains(":misc:")).all(|line| line.ends_with(":/")), "{inside}");
    if oci.is_v2() {
        // What /sys/fs/cgroup shows is the container's part.
        let procs = oci.call(&["exec", &bundle.id, "cat", "/sys/fs/cgroup/cgroup.procs"]).ok();
        assert_eq!(procs.text().lines().next(), Some("1"), "{procs}");
    }
    delete(&oci, &bundle);
}

#[test]
fn limits_are_known_to_systemd_and_written() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = running(&oci, |spec| {
        spec["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
        spec["linux"]["resources"]["cpu"] =
            json!({ "shares": 512, "quota": 12_345, "period": 100_000, "cpus": "0", "mems": "0" });
        spec["linux"]["resources"]["pids"] = json!({ "limit": 40 });
    });
    let (scope, v2) = (scope_of(&bundle), oci.is_v2());
    let is = |property: &str, value: &str| assert_eq!(show(&oci, &scope, property), value, "{property}");
    is(if v2 { "MemoryMax" } else { "MemoryLimit" }, "67108864");
    is("TasksMax", "40");
    // systemd keeps hundredths, the file is exact.
    is("CPUQuotaPerSecUSec", "130ms");
    is("AllowedCPUs", "0");
    is("AllowedMemoryNodes", "0");
    match (v2, oci.is_ours()) {
        (true, true) => is("CPUWeight", "59"),
        // Debian's runc converts in a straight line.
        (true, false) => is("CPUWeight", "20"),
        (false, _) => is("CPUShares", "512"),
    }
    assert_eq!(file(&oci, &bundle, ("memory", "memory.limit_in_bytes"), "memory.max"), "67108864");
    assert_eq!(file(&oci, &bundle, ("pids", "pids.max"), "pids.max"), "40");
    assert_eq!(file(&oci, &bundle, ("cpuset", "cpuset.cpus"), "cpuset.cpus"), "0");
    if v2 {
        assert_eq!(file(&oci, &bundle, ("", ""), "cpu.max"), "12345 100000");
    } else {
        assert_eq!(file(&oci, &bundle, ("cpu", "cpu.cfs_quota_us"), ""), "12345");
    }
    delete(&oci, &bundle);
}

#[test]
fn a_reload_of_systemd_changes_no_limit() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = running(&oci, |spec| {
        spec["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
        spec["linux"]["resources"]["pids"] = json!({ "limit": 40 });
    });
    oci.host.shell("systemctl daemon-reload").ok();
    assert_eq!(file(&oci, &bundle, ("memory", "memory.limit_in_bytes"), "memory.max"), "67108864");
    assert_eq!(file(&oci, &bundle, ("pids", "pids.max"), "pids.max"), "40");
    oci.call(&["exec", &bundle.id, "sh", "-c", "echo x > /dev/null && head -c 1 /dev/zero > /dev/null"]).ok();
    delete(&oci, &bundle);
}

#[test]
fn devices_are_allowed_and_denied() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = running(&oci, |spec| {
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_MKNOD"));
        }
        let rules = spec["linux"]["resources"]["devices"].as_array_mut().unwrap();
        rules.push(json!({ "allow": true, "type": "b", "major": 254, "access": "r" }));
    });
    // The VM's first disk is 254:0. It may be read, not written; of others (7: loop) not even that.
    let script = "mknod /tmp/d b 254 0 && mknod /tmp/l b 7 0 && head -c 1 /tmp/d && echo > /dev/null && ! cat /tmp/l && ! true > /tmp/d";
    oci.call(&["exec", &bundle.id, "sh", "-c", script]).ok().says("Operation not permitted");
    delete(&oci, &bundle);
}

#[test]
fn an_update_reaches_systemd_and_the_files() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = running(&oci, |spec| spec["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 }));
    let flags = ["--memory", "50331648", "--pids-limit", "33", "--cpu-quota", "20000", "--cpu-period", "100000"];
    oci.call(&[&["update"][..], &flags, &[&bundle.id]].concat()).ok();
    let scope = scope_of(&bundle);
    let memory = if oci.is_v2() { "MemoryMax" } else { "MemoryLimit" };
    for (property, value) in [(memory, "50331648"), ("TasksMax", "33"), ("CPUQuotaPerSecUSec", "200ms")] {
        assert_eq!(show(&oci, &scope, property), value, "{property}");
    }
    assert_eq!(file(&oci, &bundle, ("memory", "memory.limit_in_bytes"), "memory.max"), "50331648");
    assert_eq!(file(&oci, &bundle, ("pids", "pids.max"), "pids.max"), "33");
    oci.call(&["exec", &bundle.id, "sh", "-c", "echo x > /dev/null"]).ok();
    delete(&oci, &bundle);
}

#[test]
fn an_exec_lands_in_the_scope() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = running(&oci, |_| {});
    let pid_file = oci.host.path("exec.pid").display().to_string();
    oci.detached(&bundle, &["exec", "--detach", "--pid-file", &pid_file, &bundle.id, "/probe", "sleep", "60"]).ok();
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert_eq!(group_of(&oci, &pid), format!("/system.slice/{}", scope_of(&bundle)));
    delete(&oci, &bundle);
}

#[test]
fn a_scope_can_be_paused_resumed_and_killed() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = running(&oci, |_| {});
    oci.call(&["pause", &bundle.id]).ok();
    assert_eq!(oci.state(&bundle)["status"], "paused");
    oci.call(&["resume", &bundle.id]).ok();
    assert_eq!(oci.state(&bundle)["status"], "running");
    oci.call(&["kill", &bundle.id, "KILL"]).ok();
    oci.wait_status(&bundle, "stopped");
    oci.call(&["delete", &bundle.id]).ok();
    let scope = scope_of(&bundle);
    assert_gone(&oci, &scope, &format!("system.slice/{scope}"));
}

#[test]
fn a_paused_container_is_deleted_by_force() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = running(&oci, |_| {});
    oci.call(&["pause", &bundle.id]).ok();
    delete(&oci, &bundle);
}

#[test]
fn an_end_for_lack_of_memory_leaves_no_failed_unit() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = oci.bundle(|spec| {
        in_scope(spec);
        spec["linux"]["resources"]["memory"] = json!({ "limit": 40 << 20, "swap": 40 << 20 });
        spec["process"]["args"] = json!(["/probe", "alloc", "200"]);
    });
    oci.run(&bundle).code(137);
    let scope = scope_of(&bundle);
    assert_gone(&oci, &scope, &format!("system.slice/{scope}"));
}

/// systemd ends a scope that lives too long, and remembers that as a failure until somebody says that he has seen it.
/// Debian's runc 1.1.5 leaves the unit behind; later ones do not (runc tests/integration/delete.bats).
#[test]
fn a_unit_that_failed_is_forgotten_with_its_container() {
    need!(Root, Systemd, OurRuntime);
    let oci = Oci::with_systemd();
    let bundle = running(&oci, |spec| {
        spec["process"]["args"] = json!(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]);
        spec["annotations"] =
            json!({ "org.systemd.property.RuntimeMaxSec": "2", "org.systemd.property.TimeoutStopSec": "1" });
    });
    oci.wait_status(&bundle, "stopped");
    let scope = scope_of(&bundle);
    let until = Instant::now() + Duration::from_secs(20);
    while show(&oci, &scope, "ActiveState") != "failed" {
        assert!(Instant::now() < until, "{}", show(&oci, &scope, "ActiveState"));
        std::thread::sleep(Duration::from_millis(100));
    }
    oci.call(&["delete", &bundle.id]).ok();
    assert_gone(&oci, &scope, &format!("system.slice/{scope}"));
}

#[test]
fn annotations_become_properties_of_the_unit() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = running(&oci, |spec| {
        spec["annotations"] = json!({
            "org.systemd.property.TimeoutStopUSec": "uint64 17000000",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.After": "['basic.target']",
            "another": "annotation",
        });
    });
    let scope = scope_of(&bundle);
    for (property, value) in [("TimeoutStopUSec", "17s"), ("CollectMode", "inactive-or-failed")] {
        assert_eq!(show(&oci, &scope, property), value, "{property}");
    }
    assert!(show(&oci, &scope, "After").contains("basic.target"));
    delete(&oci, &bundle);
    // One that systemd does not know, and one that nobody can read.
    for value in ["uint64 1", "uint64"] {
        let bundle = oci.bundle(|spec| {
            in_scope(spec);
            spec["annotations"] = json!({ "org.systemd.property.NoSuchThing": value });
        });
        oci.create(&bundle).fails().says("NoSuchThing");
        let scope = scope_of(&bundle);
        assert_gone(&oci, &scope, &format!("system.slice/{scope}"));
        oci.call(&["state", &bundle.id]).fails();
    }
}

#[test]
fn without_a_path_the_scope_has_the_runtimes_name() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = oci.running(|spec| drop(spec["linux"].as_object_mut().unwrap().remove("cgroupsPath")));
    let scope = format!("{}-{}.scope", if oci.is_ours() { "rbox-runtime" } else { "runc" }, bundle.id);
    assert_eq!(show(&oci, &scope, "Slice"), "system.slice");
    oci.call(&["delete", "--force", &bundle.id]).ok();
    assert_gone(&oci, &scope, &format!("system.slice/{scope}"));
}

#[test]
fn a_slice_of_slices_is_made_with_its_scope() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = oci.running(|spec| spec["linux"]["cgroupsPath"] = json!("rbtest-deep-er.slice:in:side"));
    let path = "rbtest.slice/rbtest-deep.slice/rbtest-deep-er.slice/in-side.scope";
    assert_eq!(show(&oci, "in-side.scope", "ControlGroup"), format!("/{path}"));
    let pid = oci.state(&bundle)["pid"].to_string();
    assert_eq!(group_of(&oci, &pid), format!("/{path}"));
    oci.call(&["delete", "--force", &bundle.id]).ok();
    assert_gone(&oci, "in-side.scope", path);
}

/// systemd takes no process into a slice: with runc such a name is an error of systemd's (`Cannot set property PIDs`).
#[test]
fn a_container_can_be_a_slice() {
    need!(Root, Systemd, OurRuntime);
    let oci = Oci::with_systemd();
    let bundle = oci.running(|spec| spec["linux"]["cgroupsPath"] = json!("rbown.slice:x:rbown-one.slice"));
    assert_eq!(show(&oci, "rbown-one.slice", "ActiveState"), "active");
    let pid = oci.state(&bundle)["pid"].to_string();
    assert_eq!(group_of(&oci, &pid), "/rbown.slice/rbown-one.slice");
    oci.call(&["delete", "--force", &bundle.id]).ok();
    assert_gone(&oci, "rbown-one.slice", "rbown.slice/rbown-one.slice");
}

/// A user namespace is entered by an usher, whose child is the container's first process.
#[test]
fn a_user_namespace_and_hooks_go_with_a_scope() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let seen = oci.host.path("seen").display().to_string();
    let script = format!("grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*$' | xargs -I% cat /proc/%/cgroup > {seen}");
    let bundle = oci.bundle(|spec| {
        in_scope(spec);
        own_users(spec);
        spec["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
        spec["process"]["args"] = json!(["/probe", "signal-wait"]);
    });
    oci.host.shell(&format!("chmod 755 {}", oci.host.path("").display())).ok();
    give(&bundle.rootfs(), FIRST);
    oci.create(&bundle).ok();
    oci.call(&["start", &bundle.id]).ok();
    oci.wait_for(&bundle, "ready");
    let scope = scope_of(&bundle);
    let pid = oci.state(&bundle)["pid"].to_string();
    assert_eq!(group_of(&oci, &pid), format!("/system.slice/{scope}"));
    assert!(fs::read_to_string(&seen).unwrap().contains(&scope), "{seen}");
    let inside = oci.call(&["exec", &bundle.id, "cat", "/proc/self/cgroup", "/proc/self/uid_map"]).ok();
    assert!(inside.text().contains(&FIRST.to_string()), "{inside}");
    if oci.is_v2() {
        assert!(inside.text().starts_with("0::/\n"), "{inside}");
    }
    delete(&oci, &bundle);
}

#[test]
fn a_create_that_was_killed_leaves_nothing_after_delete() {
    need!(Root, Systemd, OurRuntime);
    let oci = Oci::with_systemd();
    for place in ["createRuntime", "createContainer"] {
        let mark = oci.host.path(place);
        let script = format!("echo $PPID > {0}.new; mv {0}.new {0}; sleep 100", mark.display());
        let bundle = oci.bundle(|spec| {
            in_scope(spec);
            spec["hooks"] = json!({});
            spec["hooks"][place] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        });
        let mut create = oci.spawn(&["create", "--bundle", &bundle.path(), &bundle.id]);
        let until = Instant::now() + Duration::from_secs(60);
        while !mark.exists() {
            assert!(Instant::now() < until, "no hook");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(show(&oci, &scope_of(&bundle), "ActiveState"), "active");
        create.child.kill().unwrap();
        create.child.wait().unwrap();
        delete(&oci, &bundle);
    }
}

#[test]
fn a_name_that_is_taken_is_refused_and_the_other_lives_on() {
    need!(Root, Systemd, OurRuntime);
    let oci = Oci::with_systemd();
    let first = running(&oci, |_| {});
    let second = oci.bundle(|spec| spec["linux"]["cgroupsPath"] = json!(format!("system.slice:rbtest:{}", first.id)));
    oci.create(&second).fails().says("cannot use cgroup").says("is in it");
    assert_eq!(oci.state(&first)["status"], "running");
    assert_eq!(show(&oci, &scope_of(&first), "ActiveState"), "active");
    delete(&oci, &first);
}

#[test]
fn a_container_that_cannot_be_made_says_its_own_reason() {
    need!(Root, Systemd, OurRuntime);
    let oci = Oci::with_systemd();
    for edit in [
        (|spec| spec["process"]["args"] = json!(["/nobody/knows"])) as fn(&mut Value),
        |spec| {
            let mount = json!({ "destination": "/x", "type": "nosuchfs", "source": "none" });
            spec["mounts"].as_array_mut().unwrap().push(mount);
        },
        |spec| spec["linux"]["resources"]["cpu"] = json!({ "cpus": "4000-4001" }),
    ] {
        let bundle = oci.bundle(|spec| {
            in_scope(spec);
            edit(spec);
        });
        let output = oci.create(&bundle).fails();
        let known = ["/nobody/knows", "nosuchfs", "cpuset.cpus", "AllowedCPUs"];
        assert!(known.iter().any(|word| output.stderr.contains(word)), "{output}");
        let scope = scope_of(&bundle);
        assert_gone(&oci, &scope, &format!("system.slice/{scope}"));
    }
}

#[test]
fn twenty_scopes_come_and_go_at_once() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    let bundle = |_| {
        oci.bundle(|spec| {
            in_scope(spec);
            spec["process"]["args"] = json!(["true"]);
        })
    };
    let bundles: Vec<Bundle> = (0..20).map(bundle).collect();
    let runs: Vec<_> = bundles.iter().map(|bundle| oci.run_spawn(bundle)).collect();
    for run in runs {
        run.wait().ok();
    }
    for bundle in &bundles {
        let scope = scope_of(bundle);
        assert_gone(&oci, &scope, &format!("system.slice/{scope}"));
    }
}

#[test]
fn a_path_that_is_no_unit_is_refused() {
    need!(Root, Systemd);
    let oci = Oci::with_systemd();
    for path in ["a/b", "a:b"] {
        let bundle = oci.bundle(|spec| spec["linux"]["cgroupsPath"] = json!(path));
        oci.create(&bundle).fails().says("slice:prefix:name");
    }
}

/// In the private host of a test, without systemd.
#[test]
fn without_systemd_the_reason_is_said() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let bundle = oci.bundle(|spec| spec["linux"]["cgroupsPath"] = json!("system.slice:x:y"));
    oci.call(&["--systemd-cgroup", "create", "--bundle", &bundle.path(), &bundle.id])
        .code(1)
        .says("cannot use --systemd-cgroup: systemd does not run on this host");
    oci.create(&bundle)
        .code(1)
        .says(r#"linux.cgroupsPath: "system.slice:x:y" is for --systemd-cgroup, which is not given"#);
    oci.host.assert_unchanged(&before);
}
