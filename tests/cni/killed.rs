//! kill -9 of rbox-cni after every step, and verbs in random order with kills between: what is left goes with the next DEL,
//! GC, or sweep.

use super::stage::{Pod, Stage, address, told};
use crate::support::{Dice, Output, built_with, need, plugin};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

const VERBS: [&str; 3] = ["DEL", "GC", "sweep"];

/// Take away what a killed one has left, by one of the verbs.
fn undo(stage: &Stage, verb: &str, pod: &Pod, conf: &Value) {
    match verb {
        "DEL" => drop(stage.call("DEL", pod, conf).ok()),
        "GC" => {
            let mut conf = conf.clone();
            conf["cni.dev/valid-attachments"] = json!([]);
            stage.call("GC", pod, &conf).ok();
        }
        _ => drop(stage.host.rbox(&["network", "prune", "-f", "--filter", "label=none"]).ok()),
    }
}

/// Call the program that kills itself after its Nth step.
fn killed_after(stage: &Stage, step: usize, (verb, pod, conf): (&str, &Pod, &Value)) -> Output {
    let program = PathBuf::from(built_with("crash-points", "rbox-cni"));
    let (netns, step) = (pod.netns(), step.to_string());
    let variables = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", &pod.id),
        ("CNI_NETNS", &netns),
        ("CNI_IFNAME", pod.interface),
        ("RBOX_CRASH_AFTER", &step),
    ];
    stage.with(&program, &variables, &conf.to_string()).output
}

#[test]
fn killed_after_any_step_nothing_is_left_by_the_next_del_gc_or_sweep() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24" }));
    let ports = told(
        &conf,
        &json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80 },
        { "hostPort": 53, "containerPort": 53, "protocol": "udp" }] }),
    );
    let pod = stage.pod("web");
    stage.call("ADD", &pod, &ports).ok();
    stage.call("DEL", &pod, &ports).ok();
    undo(&stage, "sweep", &pod, &conf);
    stage.until_idle();
    let before = stage.host.snapshot();
    let bare = traces(&stage);
    for verb in ["ADD", "DEL"] {
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 200, "the story has no end");
            if verb == "DEL" {
                stage.call("ADD", &pod, &ports).ok();
            }
            let output = killed_after(&stage, steps, (verb, &pod, &ports));
            assert!([0, 137].contains(&output.code), "{output}");
            let mut by = VERBS[steps % VERBS.len()];
            // One that is joined stays until it is told, or its namespace ends.
            if by == "sweep" && is_whole(&stage) {
                by = "DEL";
            }
            undo(&stage, by, &pod, &conf);
            assert_eq!(traces(&stage), bare, "left by {by} after {verb} was killed at step {steps}");
            if output.code == 0 {
                break;
            }
        }
        assert!(steps > 6, "only {steps} steps of {verb}: is the program built with crash-points?");
        stage.host.assert_unchanged(&before);
    }
}

/// What a pod leaves, quickly found: records, cables, rules.
fn traces(stage: &Stage) -> String {
    let script = "ls -A state/net/endpoints state/net/making; ip -o link show type veth | grep ' veth'
        nft list ruleset | grep -E '8080|dport 53 |10[.]88[.]0[.]2[^0-9]'; cat state/net/names/*.json | grep -o '\"known\":.*\"gone'";
    stage.host.shell(script).stdout
}

/// Whether the pod has all it should: only what was cut in the middle is nobody's.
fn is_whole(stage: &Stage) -> bool {
    stage.host.shell("cat state/net/endpoints/*/*.json | grep -c '\"maker\":null'").stdout.trim() == "1"
}

#[test]
fn the_first_pod_s_network_is_made_whole_or_not_at_all() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let pod = stage.pod("web");
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24" }));
    for step in 1..200 {
        let output = killed_after(&stage, step, ("ADD", &pod, &conf));
        if output.code == 0 {
            assert!(step > 15, "only {step} steps");
            return;
        }
        stage.call("DEL", &pod, &conf).ok();
        assert_eq!(address(&stage.call("ADD", &pod, &conf).ok()), "10.88.0.2", "after a kill at step {step}");
        stage.call("DEL", &pod, &conf).ok();
        stage.host.rbox(&["network", "rm", "pods"]).ok();
    }
    panic!("the story has no end");
}

#[test]
fn verbs_in_random_order_with_kills_leave_what_a_model_expects() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let mut dice = Dice::of("verbs of CNI");
    let conf = stage.conf(&json!({ "subnet": "10.88.0.0/24" }));
    let pods = ["a", "b", "c", "d"].map(|name| stage.pod(name));
    stage.call("ADD", &pods[0], &conf).ok();
    stage.call("DEL", &pods[0], &conf).ok();
    undo(&stage, "sweep", &pods[0], &conf);
    stage.until_idle();
    let before = stage.host.snapshot();
    let steps = std::env::var("RBOX_TEST_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    // Who is joined, with which address.
    let mut joined: BTreeMap<usize, String> = BTreeMap::new();
    let mut told_so_far = Vec::new();
    for number in 0..steps {
        let at = dice.below(pods.len());
        let pod = &pods[at];
        let port = 8000 + at;
        let ports = told(&conf, &json!({ "portMappings": [{ "hostPort": port, "containerPort": 80 }] }));
        let act = dice.pick(&["ADD", "ADD", "ADD", "DEL", "DEL", "GC", "killed ADD", "killed DEL", "sweep"]);
        told_so_far.push(format!("{number}: {act} {}", pod.name));
        match act {
            "ADD" => {
                let answer = stage.call("ADD", pod, &ports);
                match joined.contains_key(&at) {
                    true => drop(answer.fails(7, "the container has one of this name")),
                    false => drop(joined.insert(at, address(&answer.ok()))),
                }
            }
            "DEL" => {
                stage.call("DEL", pod, &conf).ok();
                joined.remove(&at);
            }
            "GC" => {
                let mut collect = conf.clone();
                collect["cni.dev/valid-attachments"] = json!([{ "containerID": pod.id, "ifname": "eth0" }]);
                stage.call("GC", pod, &collect).ok();
                joined.retain(|other, _| *other == at);
            }
            "sweep" => drop(stage.host.rbox(&["network", "prune", "-f", "--filter", "label=none"]).ok()),
            killed => {
                let verb = killed.strip_prefix("killed ").unwrap();
                killed_after(&stage, 1 + dice.below(30), (verb, pod, &ports));
                // The engine sees a failure, and takes it away.
                stage.call("DEL", pod, &conf).ok();
                joined.remove(&at);
            }
        }
        assert_is(&stage, &joined, &told_so_far.join("\n"));
    }
    for pod in &pods {
        stage.call("DEL", pod, &conf).ok();
    }
    stage.host.assert_unchanged(&before);
}

/// Each pod that is joined has its address, a cable, and two rules of its port; and nobody else has.
#[track_caller]
fn assert_is(stage: &Stage, joined: &BTreeMap<usize, String>, story: &str) {
    let mut leased: Vec<String> = stage.leases();
    let mut expected: Vec<String> = joined.values().cloned().collect();
    leased.sort();
    expected.sort();
    assert_eq!(leased, expected, "after\n{story}");
    let cables = stage.host.shell("ip -o link show type veth | grep -c ' veth'").stdout;
    assert_eq!(cables.trim(), joined.len().to_string(), "cables, after\n{story}");
    // Both packet filters say a port as a word.
    let rules = stage.host.shell("nft list ruleset").ok().stdout;
    let has = |port: usize| rules.split(|letter: char| !letter.is_ascii_digit()).any(|word| word == port.to_string());
    let published: Vec<usize> = (0..4).filter(|at| has(8000 + at)).collect();
    assert_eq!(published, joined.keys().copied().collect::<Vec<_>>(), "ports, after\n{story}");
}

#[test]
fn twenty_pods_at_once_make_one_network_and_have_addresses_of_their_own() {
    need!(Root, Iptables);
    let stage = Stage::new();
    let conf = stage.conf(&json!({}));
    std::fs::write(stage.host.path("conf"), conf.to_string()).unwrap();
    let program = plugin().display().to_string();
    let script = |verb: &str| {
        format!(
            "export RBOX_STATE=$PWD/state RBOX_ROOT=$PWD/data RBOX_CONFIG=$PWD/config.json CNI_COMMAND={verb} CNI_IFNAME=eth0
             for n in $(seq 20); do
                 (CNI_CONTAINERID=pod$n CNI_NETNS=/run/netns/pod$n {program} <conf >said.$n || cat said.$n) &
             done; wait"
        )
    };
    stage.host.shell("for n in $(seq 20); do ip netns add pod$n; done").ok();
    assert_eq!(stage.host.shell(&script("ADD")).ok().stdout, "");
    let mut leases = stage.leases();
    leases.dedup();
    assert_eq!(leases.len(), 20);
    assert_eq!(stage.host.shell("ip -o link show type bridge | wc -l").stdout.trim(), "1");
    assert_eq!(stage.host.shell(&script("DEL")).ok().stdout, "");
    assert_eq!(stage.leases(), Vec::<String>::new());
}
