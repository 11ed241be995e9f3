//! How the kernel is to treat the program: processors, disks, memory nodes, personality (runtime-spec config.md#linux-process).
//! All of it is newer than Debian's runc 1.1.5, which ignores the fields.

use crate::support::{Bundle, Oci, need};
use serde_json::json;

/// A file of the container's first process, as the host sees it.
fn proc_file(oci: &Oci, bundle: &Bundle, file: &str) -> String {
    let pid = oci.state(bundle)["pid"].to_string();
    oci.host.shell(&format!("cat /proc/{pid}/{file}")).ok().text().to_owned()
}

fn tool(oci: &Oci, bundle: &Bundle, words: &str) -> String {
    let pid = oci.state(bundle)["pid"].to_string();
    oci.host.shell(&format!("{words} {pid}")).ok().text().to_owned()
}

#[test]
fn scheduler_and_priorities_are_the_programs_and_those_of_an_exec() {
    need!(Root, OurRuntime); // runtime-spec 1.1 and 1.2
    let oci = Oci::new();
    let bundle = oci.running(|spec| {
        spec["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 });
        spec["process"]["scheduler"] =
            json!({ "policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
        spec["linux"]["personality"] = json!({ "domain": "LINUX32" });
        spec["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] });
    });
    assert_eq!(tool(&oci, &bundle, "ionice -p"), "idle");
    let policy = tool(&oci, &bundle, "chrt -p");
    assert!(policy.contains("SCHED_BATCH|SCHED_RESET_ON_FORK"), "{policy}");
    assert_eq!(tool(&oci, &bundle, "ps -o ni= -p"), "7");
    assert_eq!(proc_file(&oci, &bundle, "personality"), "00000008");
    let maps = proc_file(&oci, &bundle, "numa_maps");
    assert!(maps.lines().any(|line| line.contains("bind=static:0")), "{maps}");

    let process = json!({
        "args": ["/bin/sh", "-c", "cat /proc/self/personality; exec cat /proc/self/stat"], "cwd": "/",
        "user": { "uid": 0, "gid": 0 }, "env": ["PATH=/bin"],
        "scheduler": { "policy": "SCHED_OTHER", "nice": 3 },
    });
    let file = oci.host.path("process.json");
    std::fs::write(&file, process.to_string()).unwrap();
    let said = oci.call(&["exec", "--process", &file.display().to_string(), &bundle.id]).ok();
    let (personality, stat) = said.stdout.split_once('\n').unwrap();
    assert_eq!(personality, "00000008", "the container's, as in runc");
    // proc_pid_stat(5): nice is field 19.
    assert_eq!(stat.rsplit_once(") ").unwrap().1.split(' ').nth(16), Some("3"), "{stat}");
}

#[test]
fn policies_and_priorities_of_the_kernel_can_be_had() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    // Real-time policies need a budget that a group of cgroup v1 has not: their numbers are compared in plan/scheduling.rs.
    for policy in ["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE"] {
        let bundle = oci.running(|spec| spec["process"]["scheduler"] = json!({ "policy": policy }));
        let said = tool(&oci, &bundle, "chrt -p");
        assert!(said.contains(policy), "{policy}: {said}");
        oci.call(&["delete", "--force", &bundle.id]).ok();
    }
    let ranks = [("IOPRIO_CLASS_RT", 3, "realtime: prio 3"), ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6")];
    for (class, priority, words) in ranks {
        let bundle =
            oci.running(|spec| spec["process"]["ioPriority"] = json!({ "class": class, "priority": priority }));
        assert_eq!(tool(&oci, &bundle, "ionice -p"), words);
        oci.call(&["delete", "--force", &bundle.id]).ok();
    }
}

#[test]
fn an_exec_runs_on_the_processors_it_names_and_init_does_not_care() {
    need!(Root, OurRuntime); // runtime-spec 1.2
    let oci = Oci::new();
    let bundle = oci.running(|spec| spec["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "0" }));
    let all = oci.host.shell("grep Cpus_allowed_list /proc/self/status").ok();
    let init = proc_file(&oci, &bundle, "status");
    assert!(init.contains(all.text()), "runtime-spec: not applicable to the container's init process");
    let seen = oci.call(&["exec", &bundle.id, "/bin/grep", "Cpus_allowed_list", "/proc/self/status"]).ok();
    assert_eq!(seen.text(), "Cpus_allowed_list:\t0");
    let last = oci.host.shell("nproc").ok().text().parse::<u32>().unwrap() - 1;
    for (affinity, wanted) in [
        (json!({ "initial": "0" }), "0".to_owned()),
        (json!({ "initial": "0", "final": last.to_string() }), last.to_string()),
    ] {
        let process = json!({
            "args": ["/bin/grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/", "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0 }, "execCPUAffinity": affinity,
        });
        let file = oci.host.path("process.json");
        std::fs::write(&file, process.to_string()).unwrap();
        let seen = oci.call(&["exec", "--process", &file.display().to_string(), &bundle.id]).ok();
        assert_eq!(seen.text(), format!("Cpus_allowed_list:\t{wanted}"));
    }
}

#[test]
fn a_wish_that_cannot_be_is_refused_with_its_place() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let process = |key, value| ("process", key, value);
    let linux = |key, value| ("linux", key, value);
    for ((part, key, value), words) in [
        (
            process("ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 })),
            "process.ioPriority.priority: 8 is not 0 to 7",
        ),
        (
            process("ioPriority", json!({ "class": "IOPRIO_CLASS_X", "priority": 1 })),
            "process.ioPriority.class: unknown variant",
        ),
        (
            process("scheduler", json!({ "policy": "SCHED_FIFO", "priority": 1000 })),
            "cannot set the scheduler: invalid argument",
        ),
        (
            process("scheduler", json!({ "policy": "SCHED_OTHER", "nice": 20 })),
            "process.scheduler.nice: is not -20 to 19",
        ),
        (process("scheduler", json!({ "policy": "SCHED_X" })), "process.scheduler.policy: unknown variant"),
        (process("execCPUAffinity", json!({ "initial": "a-b" })), "process.execCPUAffinity.initial: "),
        (linux("personality", json!({ "domain": "BSD" })), "linux.personality.domain: unknown variant"),
        (
            linux("memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "0-" })),
            "linux.memoryPolicy.nodes: \"0-\" is not a list",
        ),
        (
            linux("memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "999" })),
            "cannot set the memory policy: invalid argument",
        ),
    ] {
        let bundle = oci.bundle(|spec| spec[part][key] = value);
        oci.run(&bundle).fails().says(words);
    }
    oci.host.assert_unchanged(&before);
}
