//! Who this process is: ids, capabilities, namespaces, limits.

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{Mode, umask};
use serde_json::{Map, Value, json};
use std::fs;

/// Ids, names and privileges of this process, as the kernel tells them.
pub(crate) fn see() -> Value {
    let status = status();
    let groups: Vec<u32> = nix::unistd::getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()).collect();
    let uts = nix::sys::utsname::uname().ok();
    json!({
        "pid": std::process::id(),
        "ppid": nix::unistd::getppid().as_raw(),
        "pgid": nix::unistd::getpgrp().as_raw(),
        "sid": nix::unistd::getsid(None).map_or(-1, nix::unistd::Pid::as_raw),
        "uid": nix::unistd::getuid().as_raw(),
        "euid": nix::unistd::geteuid().as_raw(),
        "gid": nix::unistd::getgid().as_raw(),
        "egid": nix::unistd::getegid().as_raw(),
        "groups": groups,
        "umask": current_umask(),
        "caps": {
            "inheritable": capabilities(&status, "CapInh"),
            "permitted": capabilities(&status, "CapPrm"),
            "effective": capabilities(&status, "CapEff"),
            "bounding": capabilities(&status, "CapBnd"),
            "ambient": capabilities(&status, "CapAmb"),
        },
        "no_new_privs": status.get("NoNewPrivs") == Some(&json!("1")),
        "seccomp": status.get("Seccomp").cloned().unwrap_or(Value::Null),
        "seccomp_filters": status.get("Seccomp_filters").cloned().unwrap_or(Value::Null),
        "ignored_signals": status.get("SigIgn").cloned().unwrap_or(Value::Null),
        "blocked_signals": status.get("SigBlk").cloned().unwrap_or(Value::Null),
        "hostname": uts.as_ref().map(|names| names.nodename().to_string_lossy().into_owned()),
        "domainname": uts.as_ref().map(|names| names.domainname().to_string_lossy().into_owned()),
        "cwd": std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default(),
        "args": std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>(),
        "env": environment(),
        "namespaces": namespaces(),
        "cgroup": fs::read_to_string("/proc/self/cgroup").unwrap_or_default().lines().collect::<Vec<_>>(),
        "processes": processes(),
    })
}

/// Resource limits, out-of-memory score and scheduling, by the names of config.json.
pub(crate) fn limits() -> Value {
    let mut limits = Map::new();
    for (name, resource) in RESOURCES {
        if let Ok((soft, hard)) = getrlimit(*resource) {
            limits.insert((*name).to_owned(), json!({ "soft": soft, "hard": hard }));
        }
    }
    let oom = fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse::<i32>().ok());
    json!({ "rlimits": limits, "oom_score_adj": oom })
}

const RESOURCES: &[(&str, Resource)] = &[
    ("RLIMIT_AS", Resource::RLIMIT_AS),
    ("RLIMIT_CORE", Resource::RLIMIT_CORE),
    ("RLIMIT_CPU", Resource::RLIMIT_CPU),
    ("RLIMIT_DATA", Resource::RLIMIT_DATA),
    ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", Resource::RLIMIT_NICE),
    ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
    ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
    ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", Resource::RLIMIT_STACK),
];

/// /proc/self/status as a map of its lines.
fn status() -> Map<String, Value> {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.to_owned(), json!(value.trim()))).collect()
}

/// The umask can only be read by setting it.
fn current_umask() -> u32 {
    let mask = umask(Mode::empty());
    umask(mask);
    mask.bits()
}

fn environment() -> Value {
    std::env::vars_os()
        .map(|(key, value)| (key.to_string_lossy().into_owned(), json!(value.to_string_lossy())))
        .collect::<Map<_, _>>()
        .into()
}

fn namespaces() -> Value {
    let mut found = Map::new();
    for entry in fs::read_dir("/proc/self/ns").into_iter().flatten().flatten() {
        if let Ok(target) = fs::read_link(entry.path()) {
            found.insert(entry.file_name().to_string_lossy().into_owned(), json!(target.display().to_string()));
        }
    }
    found.into()
}

/// Pid and command of every process that can be seen from here.
fn processes() -> Value {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
        found.push((pid, command));
    }
    found.sort();
    found.into_iter().map(|(pid, command)| json!({ "pid": pid, "command": command })).collect()
}

/// The names of the bits in one capability line of /proc/self/status.
fn capabilities(status: &Map<String, Value>, line: &str) -> Value {
    let Some(bits) = status.get(line).and_then(Value::as_str).and_then(|text| u64::from_str_radix(text, 16).ok())
    else {
        return Value::Null;
    };
    let mut held: Vec<caps::Capability> = caps::all().into_iter().filter(|one| bits & one.bitmask() != 0).collect();
    held.sort_by_key(caps::Capability::index);
    held.iter().map(|one| json!(one.to_string())).collect()
}
