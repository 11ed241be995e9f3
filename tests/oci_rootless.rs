//! An ordinary user's containers: no root anywhere but inside (runc's `spec --rootless`, newuidmap(1)).

use crate::support::{Bundle, Oci, Output, need, runtime};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// The ordinary user, and the users that /etc/subuid gives him.
const USER: u32 = 1000;
const FIRST: u32 = 500_000;

struct Rootless {
    oci: Oci,
}

fn give(path: &Path, uid: u32) {
    lchown(path, Some(uid), Some(uid)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), uid));
    }
}

impl Rootless {
    /// A host whose /etc knows the user.
    fn new() -> Rootless {
        let oci = Oci::new();
        let etc = oci.host.path("etc");
        for (file, line) in [
            ("passwd", format!("root:x:0:0:root:/root:/bin/sh\nuser:x:{USER}:{USER}::/:/bin/sh\n")),
            ("subuid", format!("user:{FIRST}:65536\n")),
            ("subgid", format!("user:{FIRST}:65536\n")),
        ] {
            fs::write(etc.join(file), line).unwrap();
            let own = etc.join(file).display().to_string();
            oci.host.shell(&format!("test -e /etc/{file} || touch /etc/{file}; mount --bind {own} /etc/{file}")).ok();
        }
        let home = oci.host.path("home");
        fs::create_dir(&home).unwrap();
        give(&home, USER);
        oci.host.shell(&format!("chmod 755 {}", oci.host.path("").display())).ok();
        Rootless { oci }
    }

    /// A bundle of the user's, as `spec --rootless` writes it; `many` maps his further users.
    fn bundle(&self, many: bool, edit: impl FnOnce(&mut Value)) -> Bundle {
        let bundle = self.oci.bundle(|_| {});
        fs::remove_file(bundle.dir.join("config.json")).unwrap();
        give(&bundle.dir, USER);
        self.call(&["spec", "--rootless", "--bundle", &bundle.path()]).ok();
        let path = bundle.dir.join("config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        spec["process"]["terminal"] = json!(false);
        spec["root"]["readonly"] = json!(false);
        if many {
            for key in ["uidMappings", "gidMappings"] {
                spec["linux"][key] = json!([
                    { "containerID": 0, "hostID": USER, "size": 1 }, { "containerID": 1, "hostID": FIRST, "size": 65536 },
                ]);
            }
        }
        edit(&mut spec);
        fs::write(&path, spec.to_string()).unwrap();
        bundle
    }

    /// The runtime, as the user.
    fn call(&self, words: &[&str]) -> Output {
        let program = runtime().display().to_string();
        let root = self.oci.host.path("home/state").display().to_string();
        let (uid, gid) = (format!("--reuid={USER}"), format!("--regid={USER}"));
        let mut all = vec![uid.as_str(), &gid, "--clear-groups", "--inh-caps=-all", &program];
        all.extend(["--root", &root]);
        all.extend(words);
        self.oci.host.exec("setpriv", &all)
    }

    fn run(&self, bundle: &Bundle) -> Output {
        self.call(&["run", "--bundle", &bundle.path(), &bundle.id])
    }
}

#[test]
fn a_user_runs_a_container_with_nobodys_help() {
    need!(Root);
    let host = Rootless::new();
    let before = host.oci.host.snapshot();
    let bundle = host.bundle(false, |spec| {
        let script = "id -u; id -g; hostname; cat /proc/self/uid_map | tr -s ' '; echo x > /tmp/file; \
                      test -c /dev/null && echo y > /dev/null && echo devices; ls /proc | grep -c '^[0-9]'";
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
    });
    let said = host.run(&bundle).ok().stdout;
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    assert_eq!(lines[..2], ["0", "0"], "{said}");
    assert_eq!(lines[3], format!("0 {USER} 1"));
    assert_eq!(lines[4], "devices", "{said}");
    assert!(lines[5].parse::<u32>().unwrap() <= 4, "a pid namespace of its own: {said}");
    assert_eq!(fs::metadata(bundle.rootfs().join("tmp/file")).unwrap().uid(), USER);
    fs::remove_dir_all(&bundle.dir).unwrap();
    fs::remove_dir_all(host.oci.host.path("home/state")).unwrap();
    host.oci.host.assert_unchanged(&before);
}

#[test]
fn further_users_are_mapped_with_the_help_of_newuidmap() {
    need!(Root);
    let host = Rootless::new();
    let bundle = host.bundle(true, |spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "id -u; id -G; echo x > /tmp/file"]);
        // runc sets no further groups for an ordinary user, though newgidmap allows it.
        let further = if host.oci.is_ours() { json!([9]) } else { json!([]) };
        spec["process"]["user"] = json!({ "uid": 7, "gid": 8, "additionalGids": further });
    });
    host.oci.host.shell(&format!("chmod 1777 {}", bundle.rootfs().join("tmp").display())).ok();
    assert_eq!(host.run(&bundle).ok().stdout, if host.oci.is_ours() { "7\n8 9\n" } else { "7\n8\n" });
    assert_eq!(fs::metadata(bundle.rootfs().join("tmp/file")).unwrap().uid(), FIRST + 6);
}

#[test]
fn the_whole_life_of_a_users_container() {
    need!(Root);
    let host = Rootless::new();
    let bundle = host.bundle(true, |spec| {
        spec["process"]["args"] = json!(["/probe", "signal-wait"]);
        spec["process"]["user"] = json!({ "uid": 7, "gid": 8 });
    });
    let words = ["run", "--detach", "--bundle", &bundle.path(), &bundle.id];
    let program = runtime().display().to_string();
    let root = host.oci.host.path("home/state").display().to_string();
    let out = bundle.dir.join("stdout").display().to_string();
    let command = format!(
        "exec setpriv --reuid={USER} --regid={USER} --clear-groups {program} --root {root} {} > {out} 2>&1 < /dev/null",
        words.join(" ")
    );
    host.oci.host.shell(&command).ok();
    host.oci.wait_for(&bundle, "ready");
    let state = host.call(&["state", &bundle.id]).ok().json();
    assert_eq!(state["status"], "running");
    let pid = state["pid"].to_string();
    let user = host.oci.host.shell(&format!("stat -c %u /proc/{pid}")).ok();
    assert_eq!(user.text(), (FIRST + 6).to_string(), "the program is not the caller");
    let said = host.call(&["exec", "--user", "0:0", &bundle.id, "/bin/sh", "-c", "id -u; cat /proc/1/comm"]).ok();
    assert_eq!(said.stdout, "0\nprobe\n");
    let listed = host.call(&["list", "--quiet"]).ok();
    assert_eq!(listed.text(), bundle.id);
    host.call(&["kill", &bundle.id, "TERM"]).ok();
    host.oci.wait_for(&bundle, "SIGTERM");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while host.call(&["state", &bundle.id]).ok().json()["status"] != "stopped" {
        assert!(std::time::Instant::now() < end, "never stopped");
    }
    host.call(&["delete", &bundle.id]).ok();
    host.call(&["state", &bundle.id]).fails().says("does not exist");
}

#[test]
fn what_a_user_may_not_is_said() {
    need!(Root, OurRuntime);
    let host = Rootless::new();
    let no_users = host.bundle(false, |spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "user");
    });
    host.run(&no_users).fails().says("linux.namespaces: has no user namespace, and an ordinary user can make no other");
    let others = host.bundle(true, |spec| spec["linux"]["uidMappings"][1]["hostID"] = json!(700_000));
    host.run(&others).fails().says("cannot map users into the user namespace: newuidmap: uid range");
    let groups = host.bundle(false, |spec| spec["process"]["user"]["additionalGids"] = json!([5]));
    host.run(&groups).fails().says("process.user.additionalGids: cannot be set where one group alone is mapped");
    let limited = host.bundle(false, |spec| spec["linux"]["resources"] = json!({ "memory": { "limit": 100_000_000 } }));
    host.run(&limited).fails().says("the cgroup controller memory is not mounted");
}

#[test]
fn a_user_is_told_what_is_missing_without_newuidmap() {
    need!(Root, OurRuntime);
    let host = Rootless::new();
    let bundle = host.bundle(true, |_| {});
    let program = runtime().display().to_string();
    let root = host.oci.host.path("home/state").display().to_string();
    let words = [
        "--reuid=1000",
        "--regid=1000",
        "--clear-groups",
        "/usr/bin/env",
        "PATH=/nowhere",
        &program,
        "--root",
        &root,
        "run",
        "--bundle",
        &bundle.path(),
        &bundle.id,
    ];
    host.oci
        .host
        .exec("setpriv", &words)
        .fails()
        .says("run newuidmap (of the package uidmap): no such file or directory");
}

#[test]
fn a_user_has_the_groups_that_were_handed_to_him() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 wants all controllers or none
    let host = Rootless::new();
    let mut into = String::new();
    for folder in host.oci.host.cgroup_folders() {
        let handed = folder.join("handed");
        fs::create_dir_all(handed.join("login")).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let set = fs::read(folder.join(file)).ok().filter(|set| set.len() > 1);
            let below = [&handed, &handed.join("login")].map(|group| group.join(file));
            set.iter().for_each(|set| below.iter().for_each(|file| fs::write(file, set).unwrap_or(())));
        }
        give(&handed, USER);
        // As the host sees it, in a cgroup namespace of its own.
        into += &format!("echo 0 > {}/handed/login/cgroup.procs; ", folder.parent().unwrap().display());
    }
    let bundle = host.bundle(false, |spec| {
        spec["linux"]["cgroupsPath"] = json!("/handed/box");
        spec["process"]["args"] = json!(["/bin/cat", "/proc/self/cgroup"]);
        if !host.oci.is_v2() {
            spec["linux"]["resources"] = json!({ "pids": { "limit": 7 } });
            spec["process"]["args"] = json!([
                "/bin/sh",
                "-c",
                "cat /proc/self/cgroup; sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait'"
            ]);
        }
    });
    let root = host.oci.host.path("home/state").display().to_string();
    let call = format!(
        "{into} exec setpriv --reuid={USER} --regid={USER} --clear-groups {} --root {root} run --bundle {} {}",
        runtime().display(),
        bundle.path(),
        bundle.id
    );
    let from_outside = host.run(&bundle).fails();
    from_outside
        .says("cannot enter the control group from outside of the tree that is the user's own: permission denied");
    let said = host.oci.host.shell(&call);
    assert!(said.stdout.contains("/handed/box"), "{said}");
    if !host.oci.is_v2() {
        assert!(said.stderr.contains("can't fork"), "the limit is felt: {said}");
    }
    for folder in host.oci.host.cgroup_folders() {
        assert!(!folder.join("handed/box").exists(), "{}", folder.display());
    }
}
