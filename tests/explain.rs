//! `--explain`: every request to the kernel that strace sees is told, and none is invented.

use crate::support::{BUSYBOX, Host, need};
use serde_json::Value;
use std::collections::BTreeMap;

/// What is counted on both sides.
const CALLS: [&str; 10] = [
    "clone3",
    "mount",
    "umount2",
    "pivot_root",
    "move_mount",
    "fsmount",
    "open_tree",
    "mount_setattr",
    "unshare",
    "setns",
];

fn explained(host: &Host, flags: &[&str]) -> Vec<Value> {
    let file = host.path("explained").display().to_string();
    let words = [&["run", "--rm", "--explain=json", "--explain-file", &file], flags, &[BUSYBOX, "true"]].concat();
    host.rbox(&words).ok();
    let text = std::fs::read_to_string(&file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The calls of rbox and of the container's init until its execve, by name, as strace saw them.
fn traced(host: &Host, flags: &[&str]) -> (BTreeMap<String, usize>, usize, Vec<Value>) {
    let (trace, file) = (host.path("trace").display().to_string(), host.path("told").display().to_string());
    let words = [&["run", "--rm", "--explain=json", "--explain-file", &file], flags, &[BUSYBOX, "true"]].concat();
    let words = host.rbox_words(&words);
    let rbox = crate::support::rbox().display().to_string();
    let calls = format!("trace={},socket,sendto,sendmsg,execve", CALLS.join(","));
    let mut strace = vec!["-f", "-qq", "-s", "64", "-e", &calls, "-o", &trace, &rbox];
    strace.extend(words.iter().map(String::as_str));
    host.exec("strace", &strace).ok();
    let mut seen = BTreeMap::new();
    let mut netlink = 0;
    let mut foreign = std::collections::BTreeSet::new();
    for line in std::fs::read_to_string(&trace).unwrap().lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.starts_with("execve(") && !call.contains(&rbox) {
            foreign.insert(pid.to_owned()); // iptables-restore, or the container's program: not our requests
        }
        if foreign.contains(pid) || call.starts_with("<...") || call.starts_with("+++") || call.starts_with("---") {
            continue;
        }
        if (call.starts_with("sendto(") || call.starts_with("sendmsg(")) && call.contains("nlmsg_") {
            netlink += 1;
        }
        let name = call.split('(').next().unwrap_or_default();
        if CALLS.contains(&name) {
            *seen.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    let told = std::fs::read_to_string(&file).unwrap();
    (seen, netlink, told.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn told_calls(records: &[Value]) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for record in records {
        let request = record["request"].as_str().unwrap();
        let name = request.split(['(', ' ']).next().unwrap_or_default();
        if CALLS.contains(&name) && request.contains('(') {
            *told.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    told
}

#[test]
fn each_record_has_who_what_result_time_and_why() {
    need!(Root);
    let host = Host::with_busybox();
    let records = explained(&host, &["-p", "8080:80"]);
    assert!(records.len() > 20, "{records:#?}");
    for (number, record) in (1..).zip(&records) {
        assert_eq!(record["step"].as_u64().or(record["number"].as_u64()), Some(number), "{record}");
        assert!(["host", "init"].contains(&record["actor"].as_str().unwrap()), "{record}");
        for field in ["key", "request", "why", "see"] {
            assert!(!record[field].as_str().unwrap_or_default().is_empty(), "no {field}: {record}");
        }
    }
    let keys: Vec<&str> = records.iter().map(|record| record["key"].as_str().unwrap()).collect();
    for key in ["clone3", "pivot-root", "veth", "execve"] {
        assert!(keys.contains(&key), "no {key}: {keys:?}");
    }
}

#[test]
fn every_mount_and_clone_that_strace_sees_is_told_and_none_is_invented() {
    need!(Root, Strace);
    let host = Host::with_busybox();
    for flags in [&["--network", "none"][..], &["-p", "8080:80"]] {
        host.run(flags, &["true"]).ok();
        let (seen, _, records) = traced(&host, flags);
        assert_eq!(told_calls(&records), seen, "{flags:?}: told, and seen by strace");
    }
}

#[test]
fn every_netlink_request_is_told() {
    need!(Root, Strace);
    let host = Host::with_busybox();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let (_, netlink, records) = traced(&host, &["-p", "8080:80"]);
    let told = records
        .iter()
        .filter(|record| {
            let request = record["request"].as_str().unwrap();
            ["ip ", "bridge "].iter().any(|tool| request.starts_with(tool))
        })
        .count();
    assert_eq!(told, netlink, "{:#?}", records.iter().map(|record| &record["request"]).collect::<Vec<_>>());
}

#[test]
fn a_failing_step_is_told_with_the_kernels_answer() {
    need!(Root);
    let host = Host::with_busybox();
    let file = host.path("explained").display().to_string();
    let flags = ["--network", "none", "--explain=json", "--explain-file", &file];
    host.run(&flags, &["/etc/passwd"]).code(126);
    let text = std::fs::read_to_string(&file).unwrap();
    let failed =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|record| record["key"] == "execve");
    let failed = failed.expect("execve is told");
    assert!(failed.to_string().to_lowercase().contains("permission denied"), "{failed}");
}

#[test]
fn without_a_file_it_goes_to_standard_error_in_lines_for_a_person() {
    need!(Root);
    let host = Host::with_busybox();
    let output = host.run(&["--network", "none", "--explain"], &["echo", "mine"]).ok();
    assert_eq!(output.stdout, "mine\n");
    assert!(output.stderr.lines().count() > 15 && output.stderr.contains("clone3("), "{output}");
    let quiet = host.run(&["--network", "none"], &["true"]).ok();
    assert_eq!(quiet.stderr, "");
}
