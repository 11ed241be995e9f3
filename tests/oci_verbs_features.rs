//! `features`: its form is the specification's, and what it claims is true.

use crate::support::{Oci, need};
use serde_json::{Value, json};
use std::fs;

#[test]
fn features_have_the_form_of_the_specification() {
    need!(Root);
    let oci = Oci::new();
    let output = oci.call(&["features"]).ok();
    assert!(output.stdout.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n    \"ociVersionMax\": \"1."), "{output}");
    let features = output.json();
    for list in ["/hooks", "/mountOptions", "/linux/namespaces", "/linux/capabilities", "/linux/seccomp/actions"] {
        let list = features.pointer(list).and_then(Value::as_array).unwrap_or_else(|| panic!("no {list}"));
        assert!(list.iter().all(Value::is_string), "{list:?}");
    }
    for list in ["/linux/seccomp/operators", "/linux/seccomp/archs"] {
        assert!(!features.pointer(list).unwrap().as_array().unwrap().is_empty(), "{list}");
    }
    for flag in ["/linux/cgroup/v1", "/linux/cgroup/v2", "/linux/cgroup/systemd", "/linux/seccomp/enabled"] {
        assert!(features.pointer(flag).unwrap().is_boolean(), "{flag}");
    }
    assert!(features["annotations"].as_object().unwrap().values().all(Value::is_string), "{features:#}");
    if oci.is_ours() {
        // What tools look for before they ask for a checkpoint.
        assert_eq!(features["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "false");
    }
    assert_eq!((&features["linux"]["cgroup"]["v1"], &features["linux"]["cgroup"]["v2"]), (&json!(true), &json!(true)));
    oci.call(&["features", "too", "much"]).code(1);
}

#[test]
fn features_say_what_is_beside_the_lists() {
    need!(Root, OurRuntime);
    let linux = &Oci::new().call(&["features"]).ok().json()["linux"];
    for key in ["apparmor", "selinux", "netDevices"] {
        assert_eq!(linux[key], json!({ "enabled": true }), "{key}");
    }
    assert_eq!(linux["intelRdt"], json!({ "enabled": true, "schemata": true, "monitoring": true }));
    assert_eq!(linux["mountExtensions"], json!({ "idmap": { "enabled": true } }));
    let cgroup = json!({ "v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": true });
    assert_eq!(linux["cgroup"], cgroup);
}

/// Whatever is claimed is taken, and what is not claimed is refused: asked of the runtime itself.
#[test]
fn features_claim_the_mount_options_that_are_taken() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let features = oci.call(&["features"]).ok().json();
    let claimed: Vec<&str> =
        features["mountOptions"].as_array().unwrap().iter().map(|option| option.as_str().unwrap()).collect();
    // Each of them alone is an option of a bind mount; those of mount(8) for other kinds are not tried.
    let others = [
        "remount",
        "dirsync",
        "lazytime",
        "mand",
        "nolazytime",
        "sync",
        "iversion",
        "noiversion",
        "tmpcopyup",
        "idmap",
        "ridmap",
    ];
    let (binds, rest): (Vec<&str>, Vec<&str>) = claimed.iter().partition(|option| !others.contains(option));
    assert!(binds.len() > 40, "{binds:?}");
    let bundle = oci.bundle(|spec| {
        for (number, option) in binds.iter().enumerate() {
            let mount = json!({ "destination": format!("/tmp/{number}"), "type": "bind", "source": "/tmp", "options": ["bind", option] });
            spec["mounts"].as_array_mut().unwrap().push(mount);
        }
    });
    oci.run(&bundle).ok();
    for option in ["tmpcopyup", "idmap", "copy-symlink"].iter().filter(|option| !rest.contains(option)) {
        let bundle = oci.bundle(|spec| {
            let mount = json!({ "destination": "/tmp", "type": "bind", "source": "/tmp", "options": ["bind", option] });
            spec["mounts"].as_array_mut().unwrap().push(mount);
        });
        oci.run(&bundle).fails();
    }
}

#[test]
fn features_claim_the_namespaces_and_capabilities_that_are_given() {
    need!(Root);
    let oci = Oci::new();
    let features = oci.call(&["features"]).ok().json();
    // user and time need more of a config.json than their names.
    let simple = |name: &&Value| **name != "user" && **name != "time";
    let namespaces: Vec<&Value> = features["linux"]["namespaces"].as_array().unwrap().iter().filter(simple).collect();
    // The machine itself may have given some up for ever.
    let bounding = oci.host.shell("sed -n 's/^CapBnd:[^0-9a-f]*//p' /proc/self/status").ok();
    let bounding = u64::from_str_radix(bounding.text(), 16).unwrap();
    let claimed = features["linux"]["capabilities"].as_array().unwrap();
    let has = |number: usize| bounding & (1 << number) != 0;
    let possible: Vec<&Value> = (0..).zip(claimed).filter(|(number, _)| has(*number)).map(|(_, name)| name).collect();
    let seen = oci.see(|spec| {
        spec["linux"]["namespaces"] = namespaces.iter().map(|name| json!({ "type": name })).collect();
        let all = &possible;
        spec["process"]["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
    });
    for (name, file) in
        [("cgroup", "cgroup"), ("ipc", "ipc"), ("mount", "mnt"), ("network", "net"), ("pid", "pid"), ("uts", "uts")]
    {
        assert!(namespaces.contains(&&json!(name)), "{name}");
        let own = fs::read_link(format!("/proc/{}/ns/{file}", oci.host.holder_pid())).unwrap();
        assert_ne!(seen["namespaces"][file], own.display().to_string(), "{name}");
    }
    assert_eq!(seen["caps"]["effective"], json!(possible));
}

#[test]
fn features_claim_the_seccomp_words_that_are_taken() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let features = oci.call(&["features"]).ok().json();
    let seccomp = &features["linux"]["seccomp"];
    let words = |key: &str| seccomp[key].as_array().unwrap().clone();
    let mut profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": words("archs"), "syscalls": [] });
    profile["flags"] =
        words("supportedFlags").into_iter().filter(|flag| flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV").collect();
    let rules = profile["syscalls"].as_array_mut().unwrap();
    // Calls that /bin/true does not make, one for each action and each operator.
    for (call, action) in ["acct", "quotactl", "reboot", "swapon", "swapoff", "sethostname", "setdomainname", "iopl"]
        .iter()
        .zip(words("actions"))
    {
        if action != "SCMP_ACT_NOTIFY" {
            rules.push(json!({ "names": [call], "action": action }));
        }
    }
    for (call, operator) in
        ["add_key", "keyctl", "request_key", "kcmp", "bpf", "ptrace", "perf_event_open"].iter().zip(words("operators"))
    {
        let args = json!([{ "index": 0, "value": 1, "valueTwo": 1, "op": operator }]);
        rules.push(json!({ "names": [call], "action": "SCMP_ACT_ERRNO", "args": args }));
    }
    let bundle = oci.bundle(|spec| spec["linux"]["seccomp"] = profile);
    oci.run(&bundle).ok();
}
