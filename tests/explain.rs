//! `--explain`: every request to the kernel that strace sees is told, and none is invented.

use crate::support::{BUSYBOX, Host, need};
use serde_json::Value;
use std::collections::BTreeMap;

/// What is counted on both sides: the calls that make or change namespaces and mounts.
const CALLS: [&str; 9] =
    ["clone3", "mount", "umount2", "pivot_root", "move_mount", "fsmount", "open_tree", "mount_setattr", "unshare"];

/// A bind mount in the words of mount(8), and the three calls it is made of.
const BIND: [&str; 3] = ["open_tree", "mount_setattr", "move_mount"];

fn explained(host: &Host, flags: &[&str]) -> Vec<Value> {
    let file = host.path("explained").display().to_string();
    let words = [&["run", "--rm", "--explain=json", "--explain-file", &file], flags, &[BUSYBOX, "true"]].concat();
    host.rbox(&words).ok();
    let text = std::fs::read_to_string(&file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The calls of rbox and of the container's init until its execve, by name, as strace saw them.
fn traced(host: &Host, flags: &[&str]) -> (BTreeMap<String, usize>, Vec<String>, Vec<Value>) {
    let (trace, file) = (host.path("trace").display().to_string(), host.path("told").display().to_string());
    let words = [&["run", "--rm", "--explain=json", "--explain-file", &file], flags, &[BUSYBOX, "true"]].concat();
    let words = host.rbox_words(&words);
    let rbox = crate::support::rbox().display().to_string();
    let calls = format!("trace={},socket,sendto,sendmsg,execve", CALLS.join(","));
    let mut strace = vec!["-f", "-qq", "-s", "64", "-e", &calls, "-o", &trace, &rbox];
    strace.extend(words.iter().map(String::as_str));
    host.exec("strace", &strace).ok();
    let mut seen = BTreeMap::new();
    let mut netlink = Vec::new();
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
            netlink.push(call.to_owned());
        }
        let name = call.split('(').next().unwrap_or_default();
        // A thread of rbox's own, or a helper program that is about to be executed, is no container.
        let own = call.contains("CLONE_THREAD") || call.contains("CLONE_VFORK");
        if CALLS.contains(&name) && !own {
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
        let calls = if request.starts_with("mount --bind ") { &BIND[..] } else { &[name] };
        for name in calls.iter().filter(|name| CALLS.contains(name)) {
            *told.entry((*name).to_owned()).or_insert(0) += 1;
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
        assert_eq!(record["seq"].as_u64(), Some(number), "{record}");
        assert!(record["us"].is_u64() && record["t_us"].is_u64(), "{record}");
        assert!(["host", "init"].contains(&record["actor"].as_str().unwrap()), "{record}");
        for field in ["kind", "request", "why", "see"] {
            assert!(!record[field].as_str().unwrap_or_default().is_empty(), "no {field}: {record}");
        }
    }
    let keys: Vec<&str> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    for key in ["clone3", "pivot_root", "veth", "execve"] {
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
    // Whoever holds a container may look at all rules at any moment: that is no step of its start.
    host.without_repair();
    host.run(&["-p", "8080:80"], &["true"]).ok();
    let (_, netlink, records) = traced(&host, &["-p", "8080:80"]);
    let requests = |who: &str, tools: &[&str]| -> Vec<String> {
        let own = records.iter().filter(|record| record["actor"] == who);
        let words = own.map(|record| record["request"].as_str().unwrap().to_owned());
        words.filter(|request| tools.iter().any(|tool| request.starts_with(tool))).collect()
    };
    let (rules, links): (Vec<String>, Vec<String>) = netlink.into_iter().partition(|call| call.contains("NFNL_"));
    // init brings lo up by ioctl: that is no netlink.
    let told = requests("host", &["ip ", "bridge "]);
    assert_eq!(told.len(), links.len(), "told: {told:#?}\nseen: {links:#?}");
    let told = requests("host", &["nft "]);
    assert_eq!(told.len(), rules.len(), "told: {told:#?}\nseen: {rules:#?}");
}

#[test]
fn a_failing_step_is_told_with_the_kernels_answer() {
    need!(Root);
    let host = Host::with_busybox();
    let file = host.path("explained").display().to_string();
    let flags = ["--network", "none", "--explain=json", "--explain-file", &file];
    host.run(&flags, &["/etc/passwd"]).code(126);
    let text = std::fs::read_to_string(&file).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let failed: Vec<Value> = records.filter(|record| record["error"].is_string()).collect();
    let words = |record: &Value| record["error"].to_string().to_lowercase().contains("permission denied");
    assert!(failed.iter().any(words), "{failed:#?}");
}

#[test]
fn what_a_monitor_does_is_told_from_the_seal_to_the_last_step() {
    need!(Root);
    let host = Host::with_busybox();
    let flags = ["--network", "none", "--name", "told", "--explain=json", "--explain-file", "in/told"];
    std::fs::create_dir(host.path("in")).unwrap();
    host.detached(&flags, &["sleep", "0.2"]);
    host.rbox(&["wait", "told"]).ok();
    host.shell("timeout 20 sh -c 'until grep -q cgroup-rmdir in/told; do sleep 0.05; done'").ok();
    let told = host.shell("cat in/told").stdout;
    for kind in ["seal", "clone3", "pivot_root"] {
        assert!(told.contains(&format!("\"kind\":\"{kind}\"")), "{kind}: {told}");
    }
    let shown = host.rbox(&["run", "-d", "--network", "none", "--explain", BUSYBOX, "true"]).ok();
    assert!(shown.stderr.contains("clone3("), "{shown}");
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
