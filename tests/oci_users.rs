//! User namespaces: root inside is nobody outside (runtime-spec config-linux.md#user-namespace-mappings).

use crate::support::{Bundle, Oci, Output, need};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// Users 0 to 65535 inside are these on the host.
pub(crate) const FIRST: u32 = 300_000;

fn map(first: u32) -> Value {
    json!([{ "containerID": 0, "hostID": first, "size": 65536 }])
}

/// A user namespace of its own, and a root file system that belongs to its root.
pub(crate) fn own_users(spec: &mut Value) {
    spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    spec["linux"]["uidMappings"] = map(FIRST);
    spec["linux"]["gidMappings"] = map(FIRST);
}

pub(crate) fn give(path: &Path, uid: u32) {
    lchown(path, Some(uid), Some(uid)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), uid));
    }
}

fn bundle(oci: &Oci, edit: impl FnOnce(&mut Value)) -> Bundle {
    let bundle = oci.bundle(|spec| {
        own_users(spec);
        edit(spec);
    });
    // The host's folder is the test's own, and mapped root has to pass through it.
    oci.host.shell(&format!("chmod 755 {}", oci.host.path("").display())).ok();
    give(&bundle.rootfs(), FIRST);
    bundle
}

fn see(oci: &Oci, edit: impl FnOnce(&mut Value)) -> Value {
    let bundle = bundle(oci, |spec| {
        spec["process"]["args"] = json!(["/probe", "see"]);
        edit(spec);
    });
    oci.run(&bundle).ok().json()
}

fn sh(oci: &Oci, script: &str) -> Output {
    let bundle = bundle(oci, |spec| spec["process"]["args"] = json!(["/bin/sh", "-c", script]));
    oci.run(&bundle)
}

/// A running one.
fn running(oci: &Oci, edit: impl FnOnce(&mut Value)) -> Bundle {
    let bundle = bundle(oci, |spec| {
        spec["process"]["args"] = json!(["/probe", "signal-wait"]);
        edit(spec);
    });
    oci.create(&bundle).ok();
    oci.call(&["start", &bundle.id]).ok();
    oci.wait_for(&bundle, "ready");
    bundle
}

#[test]
fn root_inside_is_the_mapped_user_outside() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let bundle = running(&oci, |_| {});
    let pid = oci.state(&bundle)["pid"].to_string();
    let status = oci.host.shell(&format!("cat /proc/{pid}/status")).ok().stdout;
    assert!(status.contains(&format!("Uid:\t{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}")), "{status}");
    assert!(status.contains(&format!("Gid:\t{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}")), "{status}");
    let text = oci.host.shell(&format!("cat /proc/{pid}/uid_map /proc/{pid}/gid_map")).ok().stdout;
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["0", "300000", "65536", "0", "300000", "65536"]);
    // Every namespace belongs to it: else the container's root could not rule them.
    let user = oci.host.shell(&format!("readlink /proc/{pid}/ns/user")).ok().text().to_owned();
    assert_ne!(user, oci.host.shell("readlink /proc/self/ns/user").ok().text());
    oci.call(&["delete", "--force", &bundle.id]).ok();
    fs::remove_dir_all(&bundle.dir).unwrap();
    oci.host.assert_unchanged(&before);
}

#[test]
fn the_container_is_whole_though_root_is_nobody() {
    need!(Root);
    let oci = Oci::new();
    let seen = see(&oci, |_| {});
    assert_eq!((seen["uid"].as_u64(), seen["gid"].as_u64()), (Some(0), Some(0)));
    assert_eq!(seen["pid"], 1);
    assert_eq!(seen["hostname"], "box");
    let flags = seen["interfaces"]["lo"]["flags"].as_array().unwrap();
    assert!(flags.contains(&json!("UP")), "{flags:?}");
    let said = sh(
        &oci,
        "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; head -c 3 /dev/zero | wc -c;
         cat /proc/sys/kernel/hostname; head -c 1 /proc/kcore | wc -c; echo x > /dev/null && echo writable;
         ls -ln / | head -n 2 | tail -n 1 | cut -d ' ' -f 1-20 | tr -s ' ' | cut -d ' ' -f 3,4",
    );
    assert_eq!(said.ok().stdout, "3\nbox\n0\nwritable\n0 0\n");
}

#[test]
fn files_that_it_makes_belong_to_mapped_users() {
    need!(Root);
    let oci = Oci::new();
    let bundle = bundle(&oci, |spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "id -u > /tmp/file"]);
        spec["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [2000] });
    });
    oci.run(&bundle).ok();
    let file = fs::metadata(bundle.rootfs().join("tmp/file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (FIRST + 1000, FIRST + 1001));
    assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/file")).unwrap(), "1000\n");
}

#[test]
fn an_exec_enters_the_user_namespace() {
    need!(Root);
    let oci = Oci::new();
    let bundle = running(&oci, |_| {});
    let pid = oci.state(&bundle)["pid"].to_string();
    let seen = oci.call(&["exec", &bundle.id, "/probe", "see", "identity"]).ok().json();
    for name in ["user", "pid", "net", "ipc", "uts", "mnt"] {
        let init = oci.host.shell(&format!("readlink /proc/{pid}/ns/{name}")).ok();
        assert_eq!(seen["namespaces"][name], init.text(), "{name}");
    }
    assert_eq!(seen["uid"], 0);
    let said = oci.call(&["exec", "--user", "1000:1000", &bundle.id, "/bin/sh", "-c", "id -u; touch /tmp/x"]).ok();
    assert_eq!(said.text(), "1000");
    assert_eq!(fs::metadata(bundle.rootfs().join("tmp/x")).unwrap().uid(), FIRST + 1000);
    let groups = oci.call(&["exec", &bundle.id, "/bin/cat", "/proc/self/cgroup"]).ok().stdout;
    assert!(groups.contains(&bundle.id), "{groups}");
}

#[test]
fn a_second_container_joins_user_and_other_namespaces_by_path() {
    need!(Root);
    let oci = Oci::new();
    let first = running(&oci, |spec| spec["hostname"] = json!("pod"));
    let pid = oci.state(&first)["pid"].to_string();
    let bundle = bundle(&oci, |spec| {
        spec.as_object_mut().unwrap().remove("hostname");
        spec["process"]["args"] = json!(["/probe", "see"]);
        let kinds = [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")];
        let mut all: Vec<Value> = kinds
            .iter()
            .map(|(kind, name)| json!({ "type": kind, "path": format!("/proc/{pid}/ns/{name}") }))
            .collect();
        all.push(json!({ "type": "mount" }));
        spec["linux"]["namespaces"] = json!(all);
    });
    let seen = oci.run(&bundle).ok().json();
    for name in ["user", "net", "ipc", "uts", "pid"] {
        let target = oci.host.shell(&format!("readlink /proc/{pid}/ns/{name}")).ok();
        assert_eq!(seen["namespaces"][name], target.text(), "{name}");
    }
    assert_eq!((seen["uid"].as_u64(), seen["hostname"].as_str()), (Some(0), Some("pod")));
    assert_ne!(seen["pid"], 1);
}

#[test]
fn a_network_namespace_of_the_host_is_joined_by_a_container_with_its_own_users() {
    need!(Root);
    let oci = Oci::new();
    oci.host.shell("ip netns add kept && ip -n kept link add br7 type bridge").ok();
    let seen = see(&oci, |spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "network");
        namespaces.push(json!({ "type": "network", "path": "/run/netns/kept" }));
        // A sysfs belongs to a network namespace, and this one is not the container's.
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/sys"));
    });
    assert!(seen["interfaces"].get("br7").is_some(), "{}", seen["interfaces"]);
    oci.host.shell("ip netns del kept").ok();
}

#[test]
fn maps_that_cannot_be_are_refused() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 5] = [
        (|spec| drop(spec["linux"].as_object_mut().unwrap().remove("uidMappings")), "linux.uidMappings: is missing"),
        (|spec| drop(spec["linux"].as_object_mut().unwrap().remove("gidMappings")), "linux.gidMappings: is missing"),
        (
            |spec| spec["linux"]["uidMappings"][0]["containerID"] = json!(5),
            "linux.uidMappings: maps nobody to containerID 0",
        ),
        (|spec| spec["linux"]["uidMappings"][0]["size"] = json!(0), "linux.uidMappings: a range of size 0"),
        (
            |spec| {
                let one = spec["linux"]["uidMappings"][0].clone();
                spec["linux"]["uidMappings"].as_array_mut().unwrap().push(one);
            },
            "cannot write uid_map of the container (0 300000 65536, 0 300000 65536): invalid argument",
        ),
    ];
    for (edit, words) in cases {
        let bundle = oci.bundle(|spec| {
            own_users(spec);
            edit(spec);
        });
        oci.run(&bundle).fails().says(words);
    }
    let bundle = oci.bundle(|spec| spec["linux"]["uidMappings"] = map(FIRST));
    oci.run(&bundle).fails().says("linux.gidMappings: is missing");
    let bundle = oci.bundle(|spec| {
        spec["linux"]["uidMappings"] = map(FIRST);
        spec["linux"]["gidMappings"] = map(FIRST);
    });
    oci.run(&bundle).fails().says("linux.uidMappings: needs a user namespace");
    oci.host.assert_unchanged(&before);
}

#[test]
fn a_device_that_the_host_lacks_is_refused() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let bundle = bundle(&oci, |spec| {
        spec["linux"]["devices"] = json!([{ "path": "/dev/null", "type": "c", "major": 1, "minor": 5 }]);
    });
    oci.run(&bundle).fails().says("linux.devices: the host's /dev/null is another device");
}

#[test]
fn hooks_run_with_a_user_namespace_too() {
    need!(Root);
    let oci = Oci::new();
    let log = oci.host.path("seen").display().to_string();
    let bundle = bundle(&oci, |spec| {
        let script = format!("id -u >> {log}");
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        spec["hooks"] = json!({ "createRuntime": hook, "createContainer": hook });
    });
    fs::write(&log, "").unwrap();
    give(Path::new(&log), FIRST);
    oci.run(&bundle).ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), "0\n0\n", "the host's root, then the container's");
}

/// A folder with a file of user 1000 and one below it, mounted on its own.
fn volume(oci: &Oci) -> String {
    let folder = oci.host.path("volume");
    fs::create_dir_all(folder.join("below")).unwrap();
    oci.host.shell(&format!("mount -t tmpfs tmpfs {}", folder.join("below").display())).ok();
    for file in ["file", "below/file"] {
        oci.host.shell(&format!("echo x > {0}; chown 1000:1000 {0}", folder.join(file).display())).ok();
    }
    folder.display().to_string()
}

fn owners(oci: &Oci, options: &[&str], maps: bool, edit: impl FnOnce(&mut Value)) -> Output {
    let volume = volume(oci);
    let bundle = bundle(oci, |spec| {
        spec["process"]["args"] = json!(["/bin/stat", "-c", "%u:%g", "/mnt/file", "/mnt/below/file"]);
        let mut mount = json!({ "destination": "/mnt", "type": "bind", "source": volume, "options": options });
        if maps {
            for key in ["uidMappings", "gidMappings"] {
                // User 1000 of the files is the host's 300007.
                mount[key] = json!([{ "containerID": 1000, "hostID": FIRST + 7, "size": 1 }]);
            }
        }
        spec["mounts"].as_array_mut().unwrap().push(mount);
        edit(spec);
    });
    oci.run(&bundle)
}

#[test]
fn an_idmapped_mount_shows_other_owners() {
    need!(Root, OurRuntime); // runtime-spec 1.0.2 has the maps; runc from 1.2
    let oci = Oci::new();
    let said = owners(&oci, &["rbind"], false, |_| {});
    assert_eq!(said.ok().stdout, "65534:65534\n65534:65534\n", "nobody, without maps");
    let said = owners(&oci, &["rbind", "idmap"], false, |_| {});
    assert_eq!(said.ok().stdout, "1000:1000\n65534:65534\n", "the container's own maps, this mount alone");
    let said = owners(&oci, &["rbind", "ridmap"], false, |_| {});
    assert_eq!(said.ok().stdout, "1000:1000\n1000:1000\n", "with all below");
    let said = owners(&oci, &["rbind", "ridmap"], true, |_| {});
    assert_eq!(said.ok().stdout, "7:7\n7:7\n", "maps of its own");
    let said = owners(&oci, &["rbind"], true, |_| {});
    assert_eq!(said.ok().stdout, "7:7\n65534:65534\n", "maps without the option are for this mount");
}

#[test]
fn a_file_that_is_made_on_an_idmapped_mount_belongs_to_whom_the_maps_say() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let volume = volume(&oci);
    let bundle = bundle(&oci, |spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "echo x > /mnt/new"]);
        spec["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "destination": "/mnt", "type": "bind", "source": volume, "options": ["bind", "idmap"] }));
    });
    oci.run(&bundle).ok();
    assert_eq!(fs::metadata(Path::new(&volume).join("new")).unwrap().uid(), 0);
}

#[test]
fn idmap_without_maps_or_on_another_mount_is_refused() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let volume = volume(&oci);
    let with = |kind: &str, options: Value| {
        let mount = json!({ "destination": "/mnt", "type": kind, "source": volume, "options": options });
        oci.bundle(|spec| spec["mounts"].as_array_mut().unwrap().push(mount))
    };
    oci.run(&with("bind", json!(["bind", "idmap"]))).fails().says("has neither maps for idmap");
    oci.run(&with("tmpfs", json!(["idmap"]))).fails().says("only a bind mount can be idmapped");
}
