//! A second program in a running container: `exec` and its flags.

use crate::support::{Bundle, Oci, Output, need};
use serde_json::{Value, json};
use std::fs;

fn exec(oci: &Oci, bundle: &Bundle, flags: &[&str], program: &[&str]) -> Output {
    let mut words = vec!["exec"];
    words.extend(flags);
    words.push(&bundle.id);
    words.extend(program);
    oci.call(&words)
}

fn see(oci: &Oci, bundle: &Bundle, flags: &[&str]) -> Value {
    exec(oci, bundle, flags, &["/probe", "see", "identity"]).ok().json()
}

#[test]
fn exec_runs_in_the_same_namespaces_and_cgroup() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let second = see(&oci, &bundle, &[]);
    let pid = oci.state(&bundle)["pid"].to_string();
    for name in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        let first = oci.host.shell(&format!("readlink /proc/{pid}/ns/{name}")).ok();
        assert_eq!(second["namespaces"][name], first.text(), "{name}");
    }
    assert_eq!(second["hostname"], "box");
    assert_ne!(second["pid"], 1);
    let cgroup = oci.host.shell(&format!("cat /proc/{pid}/cgroup")).ok();
    let own: Vec<&str> = second["cgroup"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    for line in own {
        // Seen from inside a cgroup namespace or not, the path ends alike when there is no such namespace.
        assert!(cgroup.stdout.contains(line), "{line} is not in\n{cgroup}");
    }
}

#[test]
fn exec_passes_exit_codes_and_signals_on() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    for code in [0, 7, 255] {
        exec(&oci, &bundle, &[], &["/probe", "exit", &code.to_string()]).code(code);
    }
    exec(&oci, &bundle, &[], &["/bin/sh", "-c", "kill -9 $$"]).code(137);
    assert_eq!(oci.state(&bundle)["status"], "running", "the container goes on");
}

#[test]
fn exec_takes_environment_directory_and_user() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|spec| spec["process"]["env"] = json!(["PATH=/bin", "COLOUR=red"]));
    let seen = see(&oci, &bundle, &[]);
    assert_eq!(seen["env"]["COLOUR"], "red");
    assert_eq!(seen["cwd"], "/");
    let flags = ["--env", "COLOUR=blue", "--env", "EMPTY=", "--cwd", "/tmp", "--user", "1000:2000"];
    let seen = see(&oci, &bundle, &flags);
    assert_eq!(seen["env"]["COLOUR"], "blue");
    assert_eq!(seen["env"]["EMPTY"], "");
    assert_eq!(seen["cwd"], "/tmp");
    assert_eq!((seen["uid"].as_u64(), seen["gid"].as_u64()), (Some(1000), Some(2000)));
    let seen = see(&oci, &bundle, &["--user", "1000", "--additional-gids", "2001", "--additional-gids", "2002"]);
    assert_eq!(seen["groups"], json!([2001, 2002]));
}

#[test]
fn exec_has_the_containers_capabilities_and_can_be_given_more() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let seen = see(&oci, &bundle, &[]);
    assert_eq!(seen["caps"]["effective"], json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]));
    assert_eq!(seen["no_new_privs"], true);
    let seen = see(&oci, &bundle, &["--cap", "CAP_SYS_CHROOT"]);
    assert!(seen["caps"]["effective"].as_array().unwrap().contains(&json!("CAP_SYS_CHROOT")), "{}", seen["caps"]);
}

#[test]
fn exec_takes_a_whole_process_from_a_file() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let process = json!({
        "args": ["/probe", "see", "identity"],
        "env": ["ONLY=this"],
        "cwd": "/home/user",
        "user": { "uid": 1000, "gid": 1000, "additionalGids": [5, 6] },
        "capabilities": { "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                          "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"] },
        "noNewPrivileges": false,
    });
    let file = oci.host.path("process.json");
    fs::write(&file, process.to_string()).unwrap();
    let seen = oci.call(&["exec", "--process", &file.display().to_string(), &bundle.id]).ok().json();
    assert_eq!(seen["env"]["ONLY"], "this");
    assert_eq!(seen["cwd"], "/home/user");
    assert_eq!(seen["uid"], 1000);
    assert_eq!(seen["groups"], json!([5, 6]));
    assert_eq!(seen["caps"]["ambient"], json!(["CAP_KILL"]));
    assert_eq!(seen["caps"]["effective"], json!(["CAP_KILL"]));
    assert_eq!(seen["no_new_privs"], false);
}

#[test]
fn exec_no_new_privs_is_a_flag() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|spec| spec["process"]["noNewPrivileges"] = json!(false));
    assert_eq!(see(&oci, &bundle, &[])["no_new_privs"], false);
    assert_eq!(see(&oci, &bundle, &["--no-new-privs"])["no_new_privs"], true);
}

#[test]
fn exec_detached_writes_a_pid_file() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let file = oci.host.path("exec.pid").display().to_string();
    let words = ["exec", "--detach", "--pid-file", &file, &bundle.id, "/probe", "sleep", "60"];
    oci.detached(&bundle, &words).ok();
    let pid = fs::read_to_string(&file).unwrap();
    let command = oci.host.shell(&format!("tr '\\0' ' ' < /proc/{pid}/cmdline")).ok();
    assert_eq!(command.text(), "/probe sleep 60");
    oci.call(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(oci.host.shell(&format!("test -e /proc/{pid}; echo $?")).text(), "1");
}

#[test]
fn exec_of_a_missing_program_says_so_and_leaves_the_container_alone() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let output = exec(&oci, &bundle, &[], &["no-such-program"]).fails();
    assert!(output.stderr.contains("executable file not found"), "{output}");
    let output = exec(&oci, &bundle, &[], &["/no/such/program"]).fails();
    assert!(output.stderr.contains("no such file or directory"), "{output}");
    let output = exec(&oci, &bundle, &[], &["/etc/passwd"]).fails();
    assert!(output.stderr.contains("permission denied"), "{output}");
    assert_eq!(oci.state(&bundle)["status"], "running");
}

#[test]
fn exec_seccomp_is_the_containers() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|spec| {
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }],
        });
    });
    let answer = exec(&oci, &bundle, &[], &["/probe", "syscall", "mkdir", "getpid"]).ok().json();
    assert_eq!(answer, json!({ "mkdir": "ENOSYS", "getpid": "ok" }));
}

/// runc keeps a copy of config.json in its own state; ours is the bundle's.
#[test]
fn exec_without_the_containers_seccomp_profile_is_refused() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let process = oci.host.path("process.json");
    let words = json!({ "args": ["/probe", "exit", "0"], "env": [], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
    fs::write(&process, words.to_string()).unwrap();
    let exec = || oci.call(&["exec", "--process", &process.display().to_string(), &bundle.id]);
    exec().ok();
    let config = bundle.dir.join("config.json");
    fs::write(&config, "{").unwrap();
    let output = exec().fails();
    assert!(output.stderr.contains("config.json: EOF while parsing"), "{output}");
    fs::remove_file(&config).unwrap();
    let output = exec().fails();
    assert!(output.stderr.contains(&format!("cannot read {}: no such file", config.display())), "{output}");
}

/// The container ends while an `exec` is on its way in, and its number goes to a process of the host's.
#[test]
fn exec_does_not_follow_the_number_of_a_process_that_has_ended() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let process = oci.host.path("process.json");
    let seen = oci.host.path("seen");
    let words = json!({ "args": ["/bin/sh", "-c", format!("hostname > {}", seen.display())],
                        "env": ["PATH=/bin:/usr/bin"], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
    fs::write(&process, words.to_string()).unwrap();
    // Where it stops: behind its look at the container's status, before it opens anything of the namespaces.
    let config = bundle.dir.join("config.json");
    oci.host.shell(&format!("cd {}; mv config.json kept.json; mkfifo config.json", bundle.dir.display())).ok();
    let words = oci.words(&["exec", "--process", &process.display().to_string(), &bundle.id]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let pid = oci.state(&bundle)["pid"].to_string();
    let running = oci.host.spawn(&crate::support::runtime().display().to_string(), &words);
    // Opening a FIFO for writing waits for its reader.
    let script = format!(
        "exec 9>{config}
         kill -9 {pid}; while [ -e /proc/{pid} ]; do sleep 0.01; done
         until [ -e /proc/{pid} ]; do echo $(({pid} - 1)) >/proc/sys/kernel/ns_last_pid; sleep 30 9>&- & done
         cat {kept} >&9",
        config = config.display(),
        kept = bundle.dir.join("kept.json").display()
    );
    oci.host.shell(&format!("({script}) >/dev/null 2>&1")).ok();
    let output = running.wait().fails();
    assert!(output.stderr.contains("container not running"), "{output}");
    assert!(!seen.exists(), "the program ran on the host {}", fs::read_to_string(&seen).unwrap_or_default());
}

/// A group that hands controllers down takes no process (cgroups(7), no internal processes), and systemd or a container
/// engine inside does just that with its own. A hybrid host's unified hierarchy has hugetlb alone, and that will do. runc
/// does the same where there is version 2 alone; on a hybrid host it refuses.
#[test]
fn exec_goes_where_init_is_when_the_containers_group_takes_no_process() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let folders = oci.host.cgroup_folders();
    let Some(unified) = folders.iter().find(|folder| folder.join("cgroup.controllers").exists()) else { return };
    let top = unified.parent().unwrap();
    let controllers = fs::read_to_string(top.join("cgroup.controllers")).unwrap();
    let Some(controller) = controllers.split_whitespace().find(|name| ["hugetlb", "pids"].contains(name)) else {
        return;
    };
    let group = unified.join(&bundle.id);
    let inner = group.join("inner").join("most");
    fs::create_dir_all(&inner).unwrap();
    for process in fs::read_to_string(group.join("cgroup.procs")).unwrap().lines() {
        fs::write(inner.join("cgroup.procs"), process).unwrap();
    }
    for folder in [top, unified, &group] {
        fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
    }
    let seen = exec(&oci, &bundle, &[], &["grep", "^0::", "/proc/self/cgroup"]).ok();
    assert!(seen.text().ends_with("/inner/most"), "{seen}");
    oci.call(&["delete", "--force", &bundle.id]).ok();
    assert!(!group.exists());
}

#[test]
fn exec_many_at_once() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let runtime = crate::support::runtime().display().to_string();
    let words: Vec<Vec<String>> =
        (0..8).map(|n| oci.words(&["exec", &bundle.id, "/probe", "exit", &n.to_string()])).collect();
    let running: Vec<_> = words
        .iter()
        .map(|words| oci.host.spawn(&runtime, &words.iter().map(String::as_str).collect::<Vec<_>>()))
        .collect();
    for (code, one) in (0..).zip(running) {
        one.wait().code(code);
    }
}
