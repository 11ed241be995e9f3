//! Limits: every value of `linux.resources` is read back from the kernel's own file, and felt.

use crate::support::{Bundle, Oci, need};
use serde_json::{Value, json};

fn limited(oci: &Oci, resources: Value) -> Bundle {
    oci.running(|spec| {
        for (key, value) in resources.as_object().unwrap() {
            spec["linux"]["resources"][key] = value.clone();
        }
    })
}

#[test]
fn memory_limits_are_written() {
    need!(Root);
    let oci = Oci::new();
    let memory = json!({ "memory": { "limit": 64 << 20, "reservation": 32 << 20 } });
    let bundle = limited(&oci, memory);
    assert_eq!(oci.cgroup_file(&bundle, ("memory", "memory.limit_in_bytes"), "memory.max"), (64 << 20).to_string());
    assert_eq!(
        oci.cgroup_file(&bundle, ("memory", "memory.soft_limit_in_bytes"), "memory.low"),
        (32 << 20).to_string()
    );
}

#[test]
fn processor_limits_are_written() {
    need!(Root);
    let oci = Oci::new();
    let bundle = limited(&oci, json!({ "cpu": { "shares": 512, "quota": 50_000, "period": 100_000 } }));
    if oci.is_v2() {
        assert_eq!(oci.cgroup_file(&bundle, ("", ""), "cpu.max"), "50000 100000");
        // Debian's runc converts in a straight line, 1 + ((shares - 2) * 9999) / 262142, which makes 39 of the usual 1024;
        // runc from 1.3.2 and crun from 1.23 draw a curve through 1024 = 100.
        let wanted = if crate::support::lacks(crate::support::Need::OurRuntime).is_some() { "20" } else { "59" };
        assert_eq!(oci.cgroup_file(&bundle, ("", ""), "cpu.weight"), wanted);
    } else {
        assert_eq!(oci.cgroup_file(&bundle, ("cpu", "cpu.cfs_quota_us"), ""), "50000");
        assert_eq!(oci.cgroup_file(&bundle, ("cpu", "cpu.cfs_period_us"), ""), "100000");
        assert_eq!(oci.cgroup_file(&bundle, ("cpu", "cpu.shares"), ""), "512");
    }
}

#[test]
fn the_set_of_processors_is_written() {
    need!(Root);
    let oci = Oci::new();
    let bundle = limited(&oci, json!({ "cpu": { "cpus": "0", "mems": "0" } }));
    assert_eq!(oci.cgroup_file(&bundle, ("cpuset", "cpuset.cpus"), "cpuset.cpus"), "0");
    assert_eq!(oci.cgroup_file(&bundle, ("cpuset", "cpuset.mems"), "cpuset.mems"), "0");
    let allowed = oci.call(&["exec", &bundle.id, "grep", "Cpus_allowed_list", "/proc/self/status"]).ok();
    assert!(allowed.text().ends_with("\t0"), "{allowed}");
}

#[test]
fn the_number_of_processes_is_limited() {
    need!(Root);
    let oci = Oci::new();
    let bundle = limited(&oci, json!({ "pids": { "limit": 20 } }));
    assert_eq!(oci.cgroup_file(&bundle, ("pids", "pids.max"), "pids.max"), "20");
    let answer = oci.call(&["exec", &bundle.id, "/probe", "fork-bomb", "100"]).ok().json();
    let started = answer["started"].as_u64().unwrap();
    assert!((10..20).contains(&started), "{answer}");
    assert_eq!(answer["refused"], "EAGAIN");
}

#[test]
fn the_memory_limit_is_felt() {
    need!(Root);
    let oci = Oci::new();
    let run = |mebibytes: &str| {
        let bundle = oci.bundle(|spec| {
            spec["linux"]["resources"]["memory"] = json!({ "limit": 40 << 20 });
            spec["process"]["args"] = json!(["/probe", "alloc", mebibytes]);
        });
        oci.run(&bundle)
    };
    run("10").ok();
    let killed = run("200").code(137);
    if oci.is_ours() {
        killed.says("was killed: it reached its memory limit of 40960 KiB");
    }
}

/// Put a program of the host, which has shared libraries, into a root file system.
fn add_dynamic(oci: &Oci, root: &std::path::Path, program: &str) {
    let files = oci.host.shell(&format!("echo {program}; ldd {program} | grep -o '/[^ ]*'")).ok();
    for file in files.stdout.lines() {
        let inside = root.join(file.trim_start_matches('/'));
        std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&inside);
        std::fs::copy(file, inside).unwrap();
    }
}

#[test]
fn a_program_with_libraries_starts_within_half_a_megabyte() {
    need!(Root);
    let oci = Oci::new();
    let limited = |kibibytes: u64| {
        let bundle = oci.bundle(|spec| {
            spec["linux"]["resources"]["memory"] = json!({ "limit": kibibytes << 10 });
            spec["process"]["args"] = json!(["/usr/bin/true"]);
        });
        add_dynamic(&oci, &bundle.rootfs(), "/usr/bin/true");
        oci.run(&bundle)
    };
    if oci.is_ours() {
        limited(512).ok();
    } else {
        // runc itself is in the group by then, and needs some megabytes.
        limited(512).fails();
    }
    // The test can fail: this is too little for anybody, and that is said.
    let refused = limited(4).fails();
    if oci.is_ours() {
        refused.says("its memory limit of 4 KiB is too low for it to start: a small program takes 508 KiB more");
    }
}

#[test]
fn every_process_of_the_container_is_in_its_cgroup() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let pid = oci.state(&bundle)["pid"].to_string();
    let cgroups = oci.host.shell(&format!("cat /proc/{pid}/cgroup")).ok();
    let limited = ["memory", "cpu", "cpuset", "pids", "devices", "freezer", "blkio"];
    for line in cgroups.stdout.lines() {
        let fields: Vec<&str> = line.splitn(3, ':').collect();
        if fields[0] == "0" && !oci.is_v2() {
            continue;
        }
        if oci.is_v2() || fields[1].split(',').any(|controller| limited.contains(&controller)) {
            assert_eq!(fields[2], format!("/{}", bundle.id), "{cgroups}");
        }
    }
    oci.call(&["delete", "--force", &bundle.id]).ok();
    for folder in oci.host.cgroup_folders() {
        assert!(!folder.join(&bundle.id).exists(), "{}", folder.display());
    }
}

#[test]
fn a_limit_that_the_kernel_refuses_is_an_error_that_names_it() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let bundle = oci.bundle(|spec| spec["linux"]["resources"]["cpu"] = json!({ "cpus": "4000-4001" }));
    oci.run(&bundle).fails().says("cpuset.cpus");
    oci.host.assert_unchanged(&before);
}

#[test]
fn block_device_limits_are_written() {
    need!(Root);
    let oci = Oci::new();
    // The file system of the test's own folder lies on some disk; its number is what the limit needs.
    let disk = oci.host.shell("lsblk -d -n -o MAJ:MIN -e 1,7,11 2>/dev/null | head -n 1").text().to_owned();
    let Some((major, minor)) = disk.split_once(':') else { return crate::support::skip("no disk to limit") };
    let (major, minor): (u64, u64) = (major.trim().parse().unwrap(), minor.trim().parse().unwrap());
    let device = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let throttles = json!({
        "throttleReadBpsDevice": device(1 << 20),
        "throttleWriteBpsDevice": device(2 << 20),
        "throttleReadIOPSDevice": device(300),
        "throttleWriteIOPSDevice": device(400),
    });
    let bundle = limited(&oci, json!({ "blockIO": throttles }));
    if oci.is_v2() {
        let all = oci.cgroup_file(&bundle, ("", ""), "io.max");
        assert_eq!(all, format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=300 wiops=400"));
        return;
    }
    for (file, rate) in [("read_bps", 1 << 20), ("write_bps", 2 << 20), ("read_iops", 300), ("write_iops", 400)] {
        let file = format!("blkio.throttle.{file}_device");
        assert_eq!(oci.cgroup_file(&bundle, ("blkio", &file), ""), format!("{major}:{minor} {rate}"));
    }
}

#[test]
fn without_a_path_the_group_has_the_containers_name() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 makes it below its own group
    let oci = Oci::new();
    let bundle = oci.running(|spec| {
        spec["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    });
    let procs = oci.cgroup_file(&bundle, ("pids", "cgroup.procs"), "cgroup.procs");
    assert_ne!(procs, "");
}

#[test]
fn what_is_below_a_group_is_counted_and_nothing_else_is_to_be_had() {
    need!(Root, OurRuntime); // runc does not read the field
    let oci = Oci::new();
    let bundle = limited(&oci, json!({ "memory": { "useHierarchy": true } }));
    if !oci.is_v2() {
        assert_eq!(oci.cgroup_file(&bundle, ("memory", "memory.use_hierarchy"), ""), "1");
    }
    let bundle = oci.bundle(|spec| spec["linux"]["resources"]["memory"] = json!({ "useHierarchy": false }));
    let words = if oci.is_v2() { "memory.useHierarchy" } else { "memory.use_hierarchy" };
    oci.run(&bundle).fails().says(words);
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_where_that_is_asked_for() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 knows it for v2 alone, and as a later field
    let oci = Oci::new();
    let bundle = limited(&oci, json!({ "memory": { "limit": 64 << 20 } }));
    std::fs::write(bundle.rootfs().join("ballast"), vec![1; 20 << 20]).unwrap();
    // What is on a tmpfs is the memory of who has written it.
    oci.call(&["exec", &bundle.id, "cp", "/ballast", "/dev/shm/ballast"]).ok();
    let lower = json!({ "memory": { "limit": 8 << 20, "checkBeforeUpdate": true } });
    std::fs::write(oci.host.path("lower.json"), lower.to_string()).unwrap();
    oci.call(&["update", "--resources", &oci.host.path("lower.json").display().to_string(), &bundle.id])
        .fails()
        .says("memory");
    assert_eq!(oci.cgroup_file(&bundle, ("memory", "memory.limit_in_bytes"), "memory.max"), (64 << 20).to_string());
    assert_eq!(oci.state(&bundle)["status"], "running");
}

#[test]
fn a_container_is_born_where_cgroups_path_says() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|spec| spec["linux"]["cgroupsPath"] = json!("/outer/inner"));
    let folder = oci.host.cgroup_folders().into_iter().find(|folder| {
        std::fs::read_to_string(folder.join("outer/inner/cgroup.procs")).is_ok_and(|procs| !procs.is_empty())
    });
    assert!(folder.is_some(), "no cgroup outer/inner with a process");
    oci.call(&["delete", "--force", &bundle.id]).ok();
    for folder in oci.host.cgroup_folders() {
        assert!(!folder.join("outer/inner").exists());
    }
}
