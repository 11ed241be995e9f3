//! Which parts of the system a container shares: namespaces new, joined by path, or left out.

use crate::support::{Oci, need};
use serde_json::{Value, json};

fn drop_namespace(spec: &mut Value, kind: &str) {
    spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != kind);
}

fn set_namespace(spec: &mut Value, kind: &str, path: &str) {
    drop_namespace(spec, kind);
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": kind, "path": path }));
}

const KINDS: [(&str, &str); 6] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("mount", "mnt"), ("cgroup", "cgroup")];

#[test]
fn every_listed_namespace_is_new() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
    });
    for (_, name) in KINDS {
        let outside = oci.host.shell(&format!("readlink /proc/self/ns/{name}")).ok();
        assert_ne!(seen["namespaces"][name], outside.text(), "{name}");
    }
    assert_eq!(seen["pid"], 1);
    assert_eq!(seen["processes"].as_array().unwrap().len(), 1, "{}", seen["processes"]);
    for line in seen["cgroup"].as_array().unwrap() {
        assert!(line.as_str().unwrap().ends_with(":/"), "a new cgroup namespace starts at /: {line}");
    }
}

#[test]
fn a_namespace_that_is_not_listed_is_the_callers() {
    need!(Root);
    let oci = Oci::new();
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")] {
        let seen = oci.see(|spec| {
            drop_namespace(spec, kind);
            if kind == "uts" {
                spec.as_object_mut().unwrap().remove("hostname");
            }
            if kind == "network" {
                // A sysfs belongs to a network namespace: the caller's cannot be mounted anew, so runc binds it.
                let mounts = spec["mounts"].as_array_mut().unwrap();
                mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/sys"));
            }
        });
        let outside = oci.host.shell(&format!("readlink /proc/self/ns/{name}")).ok();
        assert_eq!(seen["namespaces"][name], outside.text(), "{kind}");
    }
}

#[test]
fn a_namespace_with_a_path_is_joined() {
    need!(Root);
    let oci = Oci::new();
    let first = oci.running(|spec| spec["hostname"] = json!("first"));
    let pid = oci.state(&first)["pid"].to_string();
    let seen = oci.see(|spec| {
        spec.as_object_mut().unwrap().remove("hostname");
        for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
            set_namespace(spec, kind, &format!("/proc/{pid}/ns/{name}"));
        }
    });
    for name in ["net", "ipc", "uts"] {
        let target = oci.host.shell(&format!("readlink /proc/{pid}/ns/{name}")).ok();
        assert_eq!(seen["namespaces"][name], target.text(), "{name}");
    }
    assert_eq!(seen["hostname"], "first");
    let own = oci.host.shell(&format!("readlink /proc/{pid}/ns/pid")).ok();
    assert_ne!(seen["namespaces"]["pid"], own.text());
}

#[test]
fn a_mount_namespace_that_was_made_for_it_becomes_the_containers() {
    need!(Root);
    let oci = Oci::new();
    // A process holds it: to bind one to a file fails by chance on Linux 6.18, whose namespaces are not numbered in order.
    let holder = oci.host.shell(
        "unshare --mount sleep 100 </dev/null >/dev/null 2>&1 & echo $!
         until [ $(readlink /proc/$!/ns/mnt) != $(readlink /proc/self/ns/mnt) ]; do sleep 0.01; done",
    );
    let path = format!("/proc/{}/ns/mnt", holder.ok().text());
    let made = oci.host.shell(&format!("readlink {path}")).ok();
    let mounts = oci.host.shell("cut -d' ' -f5 /proc/self/mountinfo").ok();
    let bundle = oci.running(|spec| set_namespace(spec, "mount", &path));
    let inside = oci.call(&["exec", &bundle.id, "/probe", "see", "identity", "files"]).ok().json();
    assert_eq!(inside["namespaces"]["mnt"], made.text());
    let targets = |seen: &Value| -> Vec<Value> {
        seen["mounts"].as_array().unwrap().iter().map(|one| one["target"].clone()).collect()
    };
    assert_eq!(targets(&inside), targets(&oci.see(|_| {})), "nothing of the host's is left in it");
    oci.call(&["delete", "--force", &bundle.id]).ok();
    assert_eq!(oci.host.shell("cut -d' ' -f5 /proc/self/mountinfo").ok().stdout, mounts.stdout);
    oci.host.shell(&format!("kill {}", path.split('/').nth(2).unwrap())).ok();
}

#[test]
fn a_mount_namespace_that_somebody_lives_in_is_not_taken_over() {
    need!(Root);
    let oci = Oci::new();
    let first = oci.running(|_| {});
    let path = format!("/proc/{}/ns/mnt", oci.state(&first)["pid"]);
    let bundle = oci.bundle(|spec| set_namespace(spec, "mount", &path));
    let refused = oci.run(&bundle).fails();
    if oci.is_ours() {
        refused.says("its root is not the host's");
    }
    oci.call(&["exec", &first.id, "/probe", "see", "files"]).ok();
    assert_eq!(oci.state(&first)["status"], "running");
}

#[test]
fn a_cgroup_namespace_is_joined() {
    need!(Root);
    let oci = Oci::new();
    let first =
        oci.running(|spec| spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" })));
    let pid = oci.state(&first)["pid"].to_string();
    let seen = oci.see(|spec| set_namespace(spec, "cgroup", &format!("/proc/{pid}/ns/cgroup")));
    let target = oci.host.shell(&format!("readlink /proc/{pid}/ns/cgroup")).ok();
    assert_eq!(seen["namespaces"]["cgroup"], target.text());
}

#[test]
fn a_joined_pid_namespace_shows_the_others_processes() {
    need!(Root);
    let oci = Oci::new();
    let first = oci.running(|_| {});
    let pid = oci.state(&first)["pid"].to_string();
    let target = oci.host.shell(&format!("readlink /proc/{pid}/ns/pid")).ok();
    let seen = oci.see(|spec| set_namespace(spec, "pid", &format!("/proc/{pid}/ns/pid")));
    assert_eq!(seen["namespaces"]["pid"], target.text());
    assert_ne!(seen["pid"], 1);
    let processes = seen["processes"].as_array().unwrap();
    let commands: Vec<&Value> = processes.iter().map(|process| &process["command"]).collect();
    assert_eq!(commands, ["/probe signal-wait", "/probe see"], "none of the host's");
}

#[test]
fn a_named_network_namespace_is_joined_and_outlives_the_container() {
    need!(Root);
    let oci = Oci::new();
    oci.host.shell("ip netns add kept && ip -n kept link add br7 type bridge").ok();
    let seen = oci.see(|spec| set_namespace(spec, "network", "/run/netns/kept"));
    assert!(seen["interfaces"].get("br7").is_some(), "{}", seen["interfaces"]);
    oci.host.shell("ip -n kept link show br7 && ip netns del kept").ok();
}

#[test]
fn a_new_network_namespace_has_only_lo() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|_| {});
    let names: Vec<&String> = seen["interfaces"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["lo"]);
    let flags = seen["interfaces"]["lo"]["flags"].as_array().unwrap();
    assert!(flags.contains(&json!("UP")), "lo is up: {flags:?}");
}

#[test]
fn hostname_and_domainname_are_set_inside_only() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| spec["hostname"] = json!("inside"));
    assert_eq!(seen["hostname"], "inside");
    assert_eq!(oci.host.shell("hostname").ok().text(), "testhost");
}

#[test]
fn domainname_is_set() {
    // Debian's runc 1.1.5 does not know the field yet (it came with runtime-spec 1.1).
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let seen = oci.see(|spec| spec["domainname"] = json!("example.test"));
    assert_eq!(seen["domainname"], "example.test");
}

#[test]
fn sysctls_of_the_containers_namespaces_are_set() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        spec["linux"]["sysctl"] = json!({
            "net.ipv4.ip_forward": "1",
            "net.core.somaxconn": "77",
            "kernel.shmmax": "1048576",
        });
    });
    assert_eq!(seen["files"]["/proc/sys/net/ipv4/ip_forward"], "1\n");
    assert_eq!(seen["files"]["/proc/sys/net/core/somaxconn"], "77\n");
    assert_eq!(seen["files"]["/proc/sys/kernel/shmmax"], "1048576\n");
    assert_eq!(oci.host.shell("cat /proc/sys/net/ipv4/ip_forward").ok().text(), "0");
}

#[test]
fn a_sysctl_that_is_not_the_containers_own_is_refused() {
    need!(Root);
    let oci = Oci::new();
    let host_wide = oci.bundle(|spec| spec["linux"]["sysctl"] = json!({ "vm.swappiness": "1" }));
    oci.run(&host_wide).fails().says("vm.swappiness");
    let shared = oci.bundle(|spec| {
        drop_namespace(spec, "network");
        spec["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    });
    oci.run(&shared).fails().says("net.ipv4.ip_forward");
    assert_eq!(oci.host.shell("cat /proc/sys/net/ipv4/ip_forward").ok().text(), "0");
}

#[test]
fn a_namespace_path_of_the_wrong_kind_is_refused() {
    need!(Root);
    let oci = Oci::new();
    let wrong = oci.bundle(|spec| set_namespace(spec, "network", "/proc/self/ns/uts"));
    oci.run(&wrong).fails();
    let missing = oci.bundle(|spec| set_namespace(spec, "network", "/run/netns/none"));
    oci.run(&missing).fails().says("/run/netns/none");
    let twice = oci.bundle(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "uts" }));
    });
    oci.run(&twice).fails();
}
