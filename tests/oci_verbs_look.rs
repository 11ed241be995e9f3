//! The verbs that look: list, state, ps, events, spec. Tools parse what they print, so its form is runc's.

use crate::support::{Oci, need};
use serde_json::{Value, json};
use std::fs;

/// The keys of an object, in the order in which they were printed.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

const STATE_KEYS: [&str; 9] =
    ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"];

#[test]
fn state_has_runcs_keys_in_runcs_order() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|spec| spec["annotations"] = json!({ "org.example.colour": "green" }));
    let output = oci.call(&["state", &bundle.id]).ok();
    assert_eq!(keys(&output.json()), STATE_KEYS);
    assert!(output.stdout.starts_with("{\n  \"ociVersion\": \""), "{output}");
    assert_eq!(output.json()["owner"], "");
}

#[test]
fn list_is_a_table_of_all_containers() {
    need!(Root);
    let oci = Oci::new();
    oci.call(&["list"]).ok();
    let running = oci.running(|_| {});
    let created = oci.bundle_of(&["/probe", "signal-wait"]);
    oci.create(&created).ok();
    let output = oci.call(&["list"]).ok();
    let rows = output.rows();
    assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let state = oci.state(&running);
    let expected = [
        running.id.as_str(),
        &state["pid"].to_string(),
        "running",
        &running.path(),
        state["created"].as_str().unwrap(),
        "root",
    ];
    assert_eq!(rows[1], expected);
    assert_eq!((rows[2][0], rows[2][2]), (created.id.as_str(), "created"));
    assert_eq!(rows.len(), 3);
}

#[test]
fn list_as_json_has_the_states_with_their_owner() {
    need!(Root);
    let oci = Oci::new();
    assert_eq!(oci.call(&["list", "--format", "json"]).ok().stdout, "null\n");
    let bundle = oci.running(|spec| spec["annotations"] = json!({ "org.example.colour": "green" }));
    let output = oci.call(&["list", "-f", "json"]).ok();
    assert_eq!(output.stdout.lines().count(), 1, "{output}");
    let list = output.json();
    assert_eq!(keys(&list[0]), STATE_KEYS);
    let mut state = oci.state(&bundle);
    state["owner"] = json!("root");
    assert_eq!(list, json!([state]));
}

#[test]
fn list_quietly_has_names_alone() {
    need!(Root);
    let oci = Oci::new();
    assert_eq!(oci.call(&["list", "-q"]).ok().stdout, "");
    let one = oci.running(|_| {});
    let two = oci.running(|_| {});
    let mut ids = [one.id.as_str(), &two.id];
    ids.sort_unstable();
    assert_eq!(oci.call(&["list", "--quiet"]).ok().stdout, format!("{}\n{}\n", ids[0], ids[1]));
}

#[test]
fn list_of_an_unknown_form_is_refused() {
    need!(Root);
    let oci = Oci::new();
    oci.running(|_| {});
    oci.call(&["list", "--format", "xml"]).code(1);
}

/// runc 1.1 fails where --root is not there.
#[test]
fn list_without_a_root_is_empty() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    assert_eq!(oci.call(&["list"]).ok().stdout.lines().count(), 1);
    assert!(!oci.host.path("oci-state").exists());
}

#[test]
fn list_shows_what_it_can_read_and_names_what_it_cannot() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let root = oci.host.path("oci-state");
    for (name, text) in [("torn", "{"), ("foreign", "[1, 2]")] {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("state.json"), text).unwrap();
    }
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("a-file"), "").unwrap();
    let output = oci.call(&["list", "--quiet"]).ok();
    assert_eq!(output.text(), bundle.id, "{output}");
    for name in ["torn", "foreign", "empty"] {
        let line = output.stderr.lines().filter(|line| line.contains(&format!("load container {name}: "))).count();
        assert_eq!(line, 1, "{name}: {output}");
    }
    assert!(!output.stderr.contains("a-file"), "{output}");
}

#[test]
fn ps_lists_the_processes_of_the_container_alone() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "sleep 1000 & echo ready; wait"]);
    });
    let mut pids = oci.call(&["ps", "--format", "json", &bundle.id]).ok().json();
    pids.as_array_mut().unwrap().sort_by_key(Value::as_i64);
    assert_eq!(pids.as_array().unwrap().len(), 2, "{pids}");
    assert_eq!(pids[0], oci.state(&bundle)["pid"]);

    let output = oci.call(&["ps", &bundle.id]).ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].starts_with("UID") && lines[0].contains("CMD"), "{output}");
    assert_eq!(lines.len(), 3, "{output}");
    assert!(lines[2].contains("sleep 1000"), "{output}");

    let output = oci.call(&["ps", &bundle.id, "-o", "pid,args"]).ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND"]);
    assert_eq!(lines.len(), 3, "{output}");

    oci.call(&["ps", &bundle.id, "-o", "args"]).code(1).says("PID");
    oci.call(&["ps", &bundle.id, "--no-such-option-of-ps"]).code(1);
    oci.call(&["ps", "--format", "xml", &bundle.id]).code(1);
    oci.call(&["ps"]).code(1);
}

#[test]
fn ps_of_a_stopped_container_has_nobody() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    oci.call(&["kill", &bundle.id, "KILL"]).ok();
    oci.wait_status(&bundle, "stopped");
    assert_eq!(oci.call(&["ps", &bundle.id]).ok().stdout.lines().count(), 1);
    assert_eq!(oci.call(&["ps", "-f", "json", &bundle.id]).ok().stdout, "null\n");
}

/// The numbers of an `events` line, by their path.
fn number(event: &Value, path: &str) -> u64 {
    event.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {event:#}"))
}

#[test]
fn events_once_are_the_counters_of_the_kernel() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|spec| {
        spec["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
        spec["linux"]["resources"]["pids"] = json!({ "limit": 33 });
    });
    let output = oci.call(&["events", "--stats", &bundle.id]).ok();
    assert_eq!(output.stdout.lines().count(), 1, "{output}");
    let event = output.json();
    assert_eq!(keys(&event), ["type", "id", "data"]);
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(bundle.id)));
    let data = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"];
    assert_eq!(keys(&event["data"]), data);
    assert!(number(&event, "/data/cpu/usage/total") > 0);
    assert_eq!(number(&event, "/data/pids/limit"), 33);
    assert_eq!(number(&event, "/data/pids/current"), 1);
    assert_eq!(number(&event, "/data/memory/usage/limit"), 64 << 20);
    assert!(number(&event, "/data/memory/usage/usage") > 0);
    assert!(event["data"]["memory"]["raw"].as_object().unwrap().len() > 10);
    assert_eq!(event["data"]["network_interfaces"], Value::Null);
}

/// Both runtimes look at the same container's group: the same keys, the same numbers where nothing moves.
#[test]
fn events_have_runcs_keys_for_a_container_of_runc() {
    need!(Root, Runc, CgroupV1, OurRuntime);
    let runc = Oci::with_program("/usr/sbin/runc", &[]);
    let theirs = runc.running(|_| {});
    let ours = Oci::new();
    let bundle = ours.running(|_| {});
    let theirs = runc.call(&["events", "--stats", &theirs.id]).ok().json();
    let ours = ours.call(&["events", "--stats", &bundle.id]).ok().json();
    let mut differences = Vec::new();
    compare_keys("", &theirs["data"], &ours["data"], &mut differences);
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Objects of the same keys in the same order. What is left out when it is zero may differ by chance.
fn compare_keys(path: &str, theirs: &Value, ours: &Value, differences: &mut Vec<String>) {
    const BY_CHANCE: [&str; 7] = ["usage", "max", "cache", "periods", "throttledPeriods", "throttledTime", "total"];
    let (Some(one), Some(other)) = (theirs.as_object(), ours.as_object()) else { return };
    // memory.stat has the same names, in the order of Go's maps.
    let named = |object: &serde_json::Map<String, Value>| {
        let chance = |key: &&String| object[*key].is_u64() && BY_CHANCE.contains(&key.as_str());
        object.keys().filter(|key| !chance(key)).cloned().collect::<Vec<_>>()
    };
    if named(one) != named(other) {
        differences.push(format!("{path}: {:?} is not {:?}", named(one), named(other)));
    }
    for (key, value) in one {
        compare_keys(&format!("{path}/{key}"), value, &other.get(key).cloned().unwrap_or_default(), differences);
    }
}

#[test]
fn events_come_again_and_again_until_the_container_ends() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    let mut running = oci.spawn(&["events", "--interval", "100ms", &bundle.id]);
    for _ in 0..3 {
        let line = running.wait_for("\n");
        let event: Value = serde_json::from_str(line.trim()).unwrap();
        assert_eq!(event["type"], "stats");
    }
    oci.call(&["kill", &bundle.id, "KILL"]).ok();
    oci.wait_status(&bundle, "stopped");
    // With cgroup v1 runc goes on until the container is deleted.
    oci.call(&["delete", &bundle.id]).ok();
    running.wait().ok();
}

#[test]
fn events_tell_of_a_lack_of_memory() {
    need!(Root);
    let oci = Oci::new();
    let eater = oci.bundle(|spec| {
        spec["process"]["args"] = json!([
            "/bin/sh",
            "-c",
            "echo ready; until [ -e /go ]; do sleep 0.1; done; head -c 200m /dev/zero | tail; sleep 1000"
        ]);
        spec["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20, "swap": 16 << 20 });
    });
    oci.create(&eater).ok();
    oci.call(&["start", &eater.id]).ok();
    oci.wait_for(&eater, "ready");
    let mut running = oci.spawn(&["events", "--interval", "200ms", &eater.id]);
    running.wait_for("stats");
    fs::write(eater.rootfs().join("go"), "").unwrap();
    let line = running.wait_for("\"oom\"");
    let line = line.lines().find(|line| line.contains("\"oom\"")).unwrap();
    assert_eq!(line, format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", eater.id));
    oci.call(&["delete", "--force", &eater.id]).ok();
    running.wait();
}

#[test]
fn events_need_a_time_between_them() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    for interval in ["0s", "-1s", "soon"] {
        oci.call(&["events", "--interval", interval, &bundle.id]).code(1);
    }
}

#[test]
fn a_rootless_config_is_that_of_runc() {
    need!(Root);
    let oci = Oci::new();
    let fresh = |name: &str, flags: &[&str]| -> Value {
        let dir = oci.host.path(name);
        fs::create_dir(&dir).unwrap();
        let path = dir.display().to_string();
        let mut words = vec!["spec", "--bundle", &path];
        words.extend(flags);
        oci.call(&words).ok();
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
    };
    let (usual, rootless) = (fresh("usual", &[]), fresh("rootless", &["--rootless"]));
    let names = |spec: &Value| -> Vec<String> {
        let list = spec["linux"]["namespaces"].as_array().unwrap();
        list.iter().map(|namespace| namespace["type"].as_str().unwrap().to_owned()).collect()
    };
    let mut expected = names(&usual);
    expected.retain(|name| name != "network");
    expected.push("user".to_owned());
    assert_eq!(names(&rootless), expected);
    let mapping = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    assert_eq!((&rootless["linux"]["uidMappings"], &rootless["linux"]["gidMappings"]), (&mapping, &mapping));
    assert_eq!(rootless["linux"]["resources"], Value::Null);
    let sys = json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
    let mounts = rootless["mounts"].as_array().unwrap();
    assert!(mounts.contains(&sys), "{mounts:#?}");
    assert!(!rootless["mounts"].to_string().contains("gid="), "{mounts:#?}");
    assert_eq!(rootless["process"], usual["process"]);
}

#[test]
fn list_says_nothing_of_the_number_of_a_stopped_container() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.running(|_| {});
    oci.call(&["kill", &bundle.id, "KILL"]).ok();
    oci.wait_status(&bundle, "stopped");
    let list = oci.call(&["list", "-f", "json"]).ok().json();
    assert_eq!((&list[0]["pid"], &list[0]["status"]), (&json!(0), &json!("stopped")));
}
