//! Who owns a container's control group (runtime-spec config-linux.md#cgroup-ownership): its user, when he sees it as his
//! own and may write there; and only the directory and what /sys/kernel/cgroup/delegate lists.

use crate::oci_users::{FIRST, give, own_users};
use crate::support::{Bundle, Oci, need};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

fn own_view(spec: &mut Value) {
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
}

fn writable(spec: &mut Value) {
    let mounts = spec["mounts"].as_array_mut().unwrap();
    let mount = mounts.iter_mut().find(|mount| mount["destination"] == "/sys/fs/cgroup").unwrap();
    mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime"]);
}

fn running(oci: &Oci, edit: impl FnOnce(&mut Value)) -> Bundle {
    let bundle = oci.bundle(|spec| {
        spec["process"]["args"] = json!(["/probe", "signal-wait"]);
        edit(spec);
    });
    oci.host.shell(&format!("chmod 755 {}", oci.host.path("").display())).ok();
    give(&bundle.rootfs(), FIRST);
    oci.create(&bundle).ok();
    oci.call(&["start", &bundle.id]).ok();
    oci.wait_for(&bundle, "ready");
    bundle
}

/// The group's directory, which the host's cgroup namespace has at its top.
fn group(oci: &Oci, bundle: &Bundle) -> PathBuf {
    oci.host.cgroup_folders()[0].join(&bundle.id)
}

/// Names of what belongs to `uid`: `.` for the directory itself.
fn owned(group: &PathBuf, uid: u32) -> BTreeSet<String> {
    let files = fs::read_dir(group).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.metadata().unwrap().uid() == uid);
    let own = (fs::metadata(group).unwrap().uid() == uid).then(|| ".".to_owned());
    files.map(|entry| entry.file_name().into_string().unwrap()).chain(own).collect()
}

#[test]
fn the_containers_root_owns_what_may_be_handed_over_and_no_more() {
    need!(Root, CgroupV2);
    let oci = Oci::new();
    let bundle = running(&oci, |spec| {
        own_users(spec);
        own_view(spec);
        writable(spec);
        spec["linux"]["resources"] = json!({ "pids": { "limit": 50 } });
    });
    let group = group(&oci, &bundle);
    if !oci.is_ours() {
        return; // runc does so for systemd's groups alone.
    }
    let list = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    let there = list.lines().filter(|name| group.join(name).exists()).map(str::to_owned);
    assert_eq!(owned(&group, FIRST), there.chain([".".to_owned()]).collect());
    assert!(owned(&group, FIRST).contains("cgroup.procs"));
    // What it is good for: groups of its own; what it is not good for: other limits.
    let script = "set -e; cd /sys/fs/cgroup; mkdir below; echo 0 > below/cgroup.procs; cat /proc/self/cgroup
                  ! echo 1000 > pids.max";
    let said = oci.call(&["exec", &bundle.id, "/bin/sh", "-c", script]).ok();
    assert_eq!(said.text(), "0::/below");
    assert_eq!(fs::read_to_string(group.join("pids.max")).unwrap().trim(), "50");
    oci.call(&["delete", "--force", &bundle.id]).ok();
    assert!(!group.exists(), "also with what was made inside");
}

#[test]
fn the_owner_is_the_programs_user() {
    need!(Root, CgroupV2, OurRuntime);
    let oci = Oci::new();
    for (mapped, owner) in [(true, FIRST + 1000), (false, 1000)] {
        let bundle = running(&oci, |spec| {
            if mapped {
                own_users(spec);
            }
            own_view(spec);
            writable(spec);
            spec["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        });
        assert!(owned(&group(&oci, &bundle), owner).contains("."), "{owner}");
        oci.call(&["delete", "--force", &bundle.id]).ok();
    }
}

#[test]
fn without_a_view_of_its_own_or_read_only_nothing_is_handed_over() {
    need!(Root, CgroupV2);
    let oci = Oci::new();
    type Edit = fn(&mut Value);
    let edits: [(&str, Edit); 4] = [
        ("read-only", |spec| own_view(spec)),
        ("the host's view", |spec| writable(spec)),
        ("not mounted", |spec| {
            own_view(spec);
            spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        }),
        ("another source", |spec| {
            own_view(spec);
            writable(spec);
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.iter_mut().for_each(|mount| {
                if mount["destination"] == "/sys/fs/cgroup" {
                    mount["source"] = json!("other");
                }
            });
        }),
    ];
    for (what, edit) in edits {
        let bundle = running(&oci, |spec| {
            own_users(spec);
            edit(spec);
        });
        assert_eq!(owned(&group(&oci, &bundle), FIRST), BTreeSet::new(), "{what}");
        oci.call(&["delete", "--force", &bundle.id]).ok();
    }
}

/// "Runtimes SHOULD NOT change the ownership of container cgroups when cgroups v1 is in use."
#[test]
fn nothing_of_version_1_is_handed_over() {
    need!(Root, CgroupV1);
    let oci = Oci::new();
    let bundle = running(&oci, |spec| {
        own_users(spec);
        own_view(spec);
        writable(spec);
    });
    for folder in oci.host.cgroup_folders() {
        let group = folder.join(&bundle.id);
        if group.exists() {
            assert_eq!(owned(&group, FIRST), BTreeSet::new(), "{}", group.display());
        }
    }
    oci.call(&["delete", "--force", &bundle.id]).ok();
}
