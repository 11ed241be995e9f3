//! The container's file tree: mounts and their options, devices, masked and read-only paths.

use crate::support::{Oci, need};
use serde_json::{Value, json};
use std::fs;

fn add_mount(spec: &mut Value, destination: &str, kind: &str, source: &str, options: &[&str]) {
    let mount = json!({ "destination": destination, "type": kind, "source": source, "options": options });
    spec["mounts"].as_array_mut().unwrap().push(mount);
}

/// The last mount on this target: the one that is seen.
#[track_caller]
fn mount_at<'v>(seen: &'v Value, target: &str) -> &'v Value {
    let mounts = seen["mounts"].as_array().unwrap();
    let found = mounts.iter().rev().find(|mount| mount["target"] == target);
    found.unwrap_or_else(|| panic!("nothing is mounted on {target}: {mounts:#?}"))
}

#[track_caller]
fn has_options(mount: &Value, wanted: &[&str]) {
    for option in wanted {
        assert!(mount["options"].as_array().unwrap().contains(&json!(option)), "no {option} in {mount:#}");
    }
}

#[test]
fn the_standard_mounts_have_their_types_and_options() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|_| {});
    for (target, kind, options) in [
        ("/proc", "proc", &["rw", "relatime"][..]),
        ("/dev", "tmpfs", &["rw", "nosuid"]),
        ("/dev/pts", "devpts", &["rw", "nosuid", "noexec"]),
        ("/dev/shm", "tmpfs", &["rw", "nosuid", "nodev", "noexec"]),
        ("/dev/mqueue", "mqueue", &["rw", "nosuid", "nodev", "noexec"]),
        ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
    ] {
        let mount = mount_at(&seen, target);
        assert_eq!(mount["type"], kind, "{target}");
        has_options(mount, options);
    }
    let dev = mount_at(&seen, "/dev")["super"].as_array().unwrap();
    assert!(dev.contains(&json!("size=65536k")) && dev.contains(&json!("mode=755")), "{dev:?}");
    let pts = mount_at(&seen, "/dev/pts")["super"].as_array().unwrap();
    assert!(pts.contains(&json!("gid=5")) && pts.contains(&json!("mode=620")), "{pts:?}");
}

#[test]
fn nothing_of_the_hosts_mounts_is_seen() {
    need!(Root);
    let oci = Oci::new();
    oci.host.shell("mkdir -p /run/secret && mount -t tmpfs hidden /run/secret").ok();
    let seen = oci.see(|_| {});
    let mounts = seen["mounts"].as_array().unwrap();
    assert!(!mounts.iter().any(|mount| mount["source"] == "hidden"), "{mounts:#?}");
    let root = seen["root"].as_object().unwrap();
    assert!(root.contains_key("probe") && !root.contains_key("run"), "{root:?}");
}

#[test]
fn mounts_inside_do_not_come_out_and_mounts_outside_do_not_come_in() {
    need!(Root);
    let oci = Oci::new();
    oci.host.shell("mkdir -p /run/shared && mount -t tmpfs top /run/shared && mount --make-shared /run/shared").ok();
    let bundle = oci.running(|spec| {
        spec["linux"]["rootfsPropagation"] = json!("rprivate");
        add_mount(spec, "/mnt", "bind", "/run/shared", &["rbind"]);
    });
    oci.host.shell("mkdir /run/shared/late && mount -t tmpfs late /run/shared/late").ok();
    let inside = oci.call(&["exec", &bundle.id, "cat", "/proc/self/mountinfo"]).ok();
    assert!(inside.stdout.contains(" /mnt ") && !inside.stdout.contains("/mnt/late"), "{inside}");
    oci.call(&["delete", "--force", &bundle.id]).ok();
    let outside = oci.host.shell("cat /proc/self/mountinfo").ok();
    assert!(!outside.stdout.contains("rootfs"), "{outside}");
}

#[test]
fn mount_options_of_a_tmpfs_are_applied() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        let options = ["ro", "nosuid", "nodev", "noexec", "noatime", "size=4096k", "mode=700", "uid=7", "gid=8"];
        add_mount(spec, "/scratch", "tmpfs", "scratch", &options);
    });
    let mount = mount_at(&seen, "/scratch");
    has_options(mount, &["ro", "nosuid", "nodev", "noexec", "noatime"]);
    for option in ["size=4096k", "mode=700", "uid=7", "gid=8"] {
        assert!(mount["super"].as_array().unwrap().contains(&json!(option)), "no {option} in {mount:#}");
    }
    assert_eq!(mount["source"], "scratch");
}

#[test]
fn a_bind_mount_of_a_folder_and_of_a_file() {
    need!(Root);
    let oci = Oci::new();
    let folder = oci.host.path("shared");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("note"), "from outside").unwrap();
    let bundle = oci.bundle(|spec| {
        let source = folder.display().to_string();
        add_mount(spec, "/shared", "bind", &source, &["rbind", "rw"]);
        add_mount(spec, "/etc/note", "bind", &format!("{source}/note"), &["bind", "ro"]);
        let script = "cat /etc/note && echo inside > /shared/made && { echo no > /etc/note || echo refused; }";
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
    });
    let output = oci.run(&bundle).ok();
    assert_eq!(output.stdout, "from outsiderefused\n");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    assert_eq!(fs::read_to_string(folder.join("made")).unwrap(), "inside\n");
    assert_eq!(fs::read_to_string(folder.join("note")).unwrap(), "from outside");
}

#[test]
fn a_read_only_bind_mount_keeps_the_other_flags() {
    need!(Root);
    let oci = Oci::new();
    oci.host.shell("mkdir -p /run/src && mount -t tmpfs -o nosuid,nodev,noexec src /run/src").ok();
    let seen = oci.see(|spec| add_mount(spec, "/mnt", "bind", "/run/src", &["rbind", "ro", "nosuid", "noexec"]));
    has_options(mount_at(&seen, "/mnt"), &["ro", "nosuid", "noexec"]);
    assert!(oci.host.shell("touch /run/src/still-writable").code == 0);
}

#[test]
fn a_read_only_root() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["root"]["readonly"] = json!(true);
        spec["process"]["args"] = json!(["/probe", "write", "/new", "x"]);
    });
    oci.run(&bundle).code(111).says("EROFS");
    assert!(!bundle.rootfs().join("new").exists());
    let seen = oci.see(|spec| spec["root"]["readonly"] = json!(true));
    has_options(mount_at(&seen, "/"), &["ro"]);
}

#[test]
fn mount_points_that_are_missing_are_made() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| add_mount(spec, "/made/by/the/runtime", "tmpfs", "tmpfs", &[]));
    mount_at(&seen, "/made/by/the/runtime");
}

#[test]
fn mounts_are_made_in_their_order() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        add_mount(spec, "/a", "tmpfs", "first", &[]);
        add_mount(spec, "/a/b", "tmpfs", "second", &[]);
        spec["process"]["args"] = json!(["/probe", "see", "files"]);
    });
    let seen = oci.run(&bundle).ok().json();
    assert_eq!(mount_at(&seen, "/a")["source"], "first");
    assert_eq!(mount_at(&seen, "/a/b")["source"], "second");
}

#[test]
fn a_destination_that_is_a_link_stays_inside() {
    need!(Root);
    let oci = Oci::new();
    let outside = oci.host.path("outside");
    fs::create_dir(&outside).unwrap();
    let bundle = oci.bundle(|spec| {
        add_mount(spec, "/link/sub", "tmpfs", "trap", &[]);
        spec["process"]["args"] = json!(["/probe", "see", "files"]);
    });
    // An absolute link: inside the container it means a path of the container.
    std::os::unix::fs::symlink(&outside, bundle.rootfs().join("link")).unwrap();
    let seen = oci.run(&bundle).ok().json();
    let target = format!("{}/sub", outside.display());
    assert_eq!(mount_at(&seen, &target)["source"], "trap");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing was made outside");
}

#[test]
fn a_mount_source_that_is_missing_is_named() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let bundle = oci.bundle(|spec| add_mount(spec, "/mnt", "bind", "/no/such/source", &["rbind"]));
    oci.run(&bundle).fails().says("/no/such/source");
    oci.host.assert_unchanged(&before);
}

#[test]
fn masked_paths_are_empty_and_read_only_paths_cannot_be_written() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["linux"]["maskedPaths"] = json!(["/etc/passwd", "/home", "/proc/version", "/no/such/path"]);
        spec["linux"]["readonlyPaths"] = json!(["/proc/sys", "/root", "/no/such/path"]);
        let script =
            "wc -c < /etc/passwd; ls /home | wc -l; touch /home/x 2>/dev/null || echo masked; wc -c < /proc/version
                      echo 1 > /proc/sys/kernel/sysrq || echo ro; touch /root/x || echo ro";
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
    });
    let output = oci.run(&bundle).ok();
    assert_eq!(output.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "0", "masked", "0", "ro", "ro"], "{output}");
    assert_ne!(fs::metadata(bundle.rootfs().join("etc/passwd")).unwrap().len(), 0);
}

#[test]
fn the_default_devices_and_links_are_there() {
    need!(Root);
    let oci = Oci::new();
    let devices = oci.see(|_| {})["devices"].clone();
    for (name, number) in
        [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"), ("tty", "5:0")]
    {
        assert_eq!(devices[name]["kind"], "char", "{name}");
        assert_eq!(devices[name]["device"], number, "{name}");
        assert_eq!(devices[name]["mode"], "0666", "{name}");
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        assert_eq!(devices[name]["target"], target, "{name}");
    }
}

#[test]
fn devices_of_the_config_are_made_with_number_mode_and_owner() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        spec["linux"]["devices"] = json!([
            { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4 },
            { "path": "/dev/sub/disk", "type": "b", "major": 7, "minor": 0, "fileMode": 0o600 },
            { "path": "/dev/pipe", "type": "p", "fileMode": 0o622 },
        ]);
    });
    let fuse = &seen["devices"]["fuse"];
    assert_eq!((&fuse["kind"], &fuse["device"], &fuse["mode"]), (&json!("char"), &json!("10:229"), &json!("0640")));
    assert_eq!((&fuse["uid"], &fuse["gid"]), (&json!(3), &json!(4)));
    assert_eq!(seen["devices"]["pipe"]["kind"], "fifo");
    assert_eq!(seen["devices"]["pipe"]["mode"], "0622");
}

#[test]
fn a_device_can_only_be_used_when_the_cgroup_allows_it() {
    need!(Root);
    let oci = Oci::new();
    // 1:11 is kmsg, of which the default rules say nothing.
    let node = json!([{ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666 }]);
    let refused = oci.bundle(|spec| {
        spec["linux"]["devices"] = node.clone();
        spec["process"]["args"] = json!(["/probe", "open", "/dev/kmsg"]);
    });
    oci.run(&refused).code(111).says("EPERM");
    let allowed = oci.bundle(|spec| {
        spec["linux"]["devices"] = node.clone();
        let rules = spec["linux"]["resources"]["devices"].as_array_mut().unwrap();
        rules.push(json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" }));
        let script = "/probe open /dev/kmsg; /probe write /dev/kmsg x || true";
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        spec["process"]["capabilities"]["effective"] = json!(["CAP_SYSLOG", "CAP_MKNOD"]);
        spec["process"]["capabilities"]["permitted"] = json!(["CAP_SYSLOG", "CAP_MKNOD"]);
        spec["process"]["capabilities"]["bounding"] = json!(["CAP_SYSLOG", "CAP_MKNOD"]);
    });
    let output = oci.run(&allowed).ok();
    assert_eq!(output.text(), "ok", "{output}");
    assert!(output.stderr.contains("EPERM"), "only reading was allowed: {output}");
}

#[test]
fn a_node_that_a_container_makes_for_itself_cannot_be_opened() {
    need!(Root);
    let oci = Oci::new();
    let caps = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
    let run = |allow: bool| {
        let bundle = oci.bundle(|spec| {
            spec["process"]["capabilities"] = json!({ "bounding": caps, "effective": caps, "permitted": caps });
            // Making any node is allowed by default, as with runc; using it is what counts.
            let script = "/probe mknod /root/kmsg c 1 11 && /probe open /root/kmsg";
            spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
            if allow {
                let rules = spec["linux"]["resources"]["devices"].as_array_mut().unwrap();
                rules.push(json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm" }));
            }
        });
        oci.run(&bundle)
    };
    run(false).code(111).says("EPERM");
    run(true).ok();
}

#[test]
fn only_the_three_standard_descriptors_are_open() {
    need!(Root);
    let oci = Oci::new();
    let fds = oci.see(|_| {})["fds"].clone();
    let names: Vec<&String> = fds.as_object().unwrap().keys().collect();
    assert_eq!(names, ["0", "1", "2"], "{fds}");
}

#[test]
fn descriptors_are_passed_on_only_when_asked_for() {
    need!(Root);
    let oci = Oci::new();
    let runtime = crate::support::runtime().display().to_string();
    let run = |flags: &str| {
        let bundle = oci.bundle_of(&["/bin/sh", "-c", "ls /proc/self/fd; cat <&3 || true"]);
        let root = oci.host.path("oci-state").display().to_string();
        fs::write(oci.host.path("note"), "note").unwrap();
        let note = oci.host.path("note").display().to_string();
        let words =
            format!("exec 3<{note}; exec {runtime} --root {root} run {flags} --bundle {} {}", bundle.path(), bundle.id);
        oci.host.shell(&words).ok().stdout
    };
    assert!(!run("").contains("note"));
    assert!(run("--preserve-fds 1").contains("note"));
}

#[test]
fn the_root_can_be_a_private_mount() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| spec["linux"]["rootfsPropagation"] = json!("private"));
    assert_eq!(mount_at(&seen, "/")["propagation"], json!([]));
}

#[test]
fn a_mount_can_be_made_shared_or_unbindable() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        add_mount(spec, "/one", "tmpfs", "tmpfs", &["shared"]);
        add_mount(spec, "/two", "tmpfs", "tmpfs", &["unbindable"]);
    });
    assert!(mount_at(&seen, "/one")["propagation"].to_string().contains("shared"));
    assert_eq!(mount_at(&seen, "/two")["propagation"], json!(["unbindable"]));
}

#[test]
fn the_cgroup_mount_shows_the_containers_own_cgroup() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
        // In its own cgroup's folder a process finds itself.
        let script = "cd /sys/fs/cgroup; [ -d pids ] && cd pids; grep -x 1 cgroup.procs && touch x || echo ro";
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
    });
    let output = oci.run(&bundle).ok();
    assert_eq!(output.stdout, "1\nro\n", "{output}");
}

#[test]
fn a_tmpfs_can_begin_with_what_the_image_has() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        let script = "cd /data; ls -lnR . | tr -s ' ' | cut -d ' ' -f 1,3,4,9-; cat sub/file; echo new > sub/new; stat -c %a:%u .; stat -c %Y sub/file";
        spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
        let mount = |destination: &str| json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "nodev"] });
        spec["mounts"].as_array_mut().unwrap().extend([mount("/data"), mount("/not/there")]);
    });
    let data = bundle.rootfs().join("data");
    std::fs::create_dir_all(data.join("sub")).unwrap();
    std::fs::write(data.join("sub/file"), "content\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", data.join("link")).unwrap();
    // runc 1.1.5 fails on a fifo.
    let pipe = if oci.is_ours() { "mkfifo pipe" } else { ":" };
    let script =
        format!("chown 5:6 sub/file; chmod 4755 sub/file; touch -d @1000000000 sub/file; chmod 1777 .; {pipe}");
    oci.host.shell(&format!("cd {}; {script}", data.display())).ok();
    let said = oci.run(&bundle).ok().stdout;
    let mut lines = vec!["lrwxrwxrwx 0 0 link -> /etc/passwd", "-rwsr-xr-x 5 6 file", "content", "1777:0"];
    if oci.is_ours() {
        lines.extend(["prw-r--r-- 0 0 pipe", "1000000000"]);
    }
    for line in lines {
        assert!(said.lines().any(|one| one == line), "{line} is not in\n{said}");
    }
    assert!(!data.join("sub/new").exists(), "what is written stays in the tmpfs");
}

#[test]
fn more_than_the_tmpfs_holds_is_an_error() {
    need!(Root, OurRuntime);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    let bundle = oci.bundle(|spec| {
        let options = ["tmpcopyup", "size=64k"];
        let mount = json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options });
        spec["mounts"].as_array_mut().unwrap().push(mount);
    });
    std::fs::create_dir(bundle.rootfs().join("data")).unwrap();
    std::fs::write(bundle.rootfs().join("data/big"), vec![1; 1 << 20]).unwrap();
    oci.run(&bundle).fails().says("cannot copy the image's /data into its tmpfs: no space left on device");
    std::fs::remove_dir_all(&bundle.dir).unwrap();
    oci.host.assert_unchanged(&before);
}

#[test]
fn without_pivot_root_the_containers_root_is_its_own_as_well() {
    need!(Root);
    let oci = Oci::new();
    let before = oci.host.snapshot();
    for hooks in [false, true] {
        let bundle = oci.bundle(|spec| {
            let script = "ls /; echo; cat /proc/self/comm; test -e /proc/1/root/probe && echo own; pwd";
            spec["process"]["args"] = json!(["/bin/sh", "-c", script]);
            if hooks {
                spec["hooks"] = json!({ "createContainer": [{ "path": "/bin/true" }] });
            }
        });
        let said = oci.call(&["run", "--no-pivot", "--bundle", &bundle.path(), &bundle.id]).ok().stdout;
        let (root, rest) = said.split_once("\n\n").unwrap();
        let mut entries: Vec<String> = std::fs::read_dir(bundle.rootfs())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        entries.sort();
        assert_eq!(root.lines().collect::<Vec<_>>(), entries);
        assert_eq!(rest, "cat\nown\n/\n");
        std::fs::remove_dir_all(&bundle.dir).unwrap();
    }
    oci.host.assert_unchanged(&before);
}

#[test]
fn a_device_of_any_kind_and_place_is_made_and_nothing_else_taken_for_it() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        spec["linux"]["devices"] = json!([
            { "path": "/dev/sub/disk", "type": "b", "major": 7, "minor": 3, "fileMode": 0o600 },
            { "path": "/elsewhere/raw", "type": "u", "major": 10, "minor": 229, "fileMode": 0o640 },
        ]);
        spec["process"]["args"] = json!(["/bin/stat", "-c", "%F %t:%T %a", "/dev/sub/disk", "/elsewhere/raw"]);
    });
    let said = oci.run(&bundle).ok().stdout;
    assert_eq!(said, "block special file 7:3 600\ncharacter special file a:e5 640\n");
    let taken = oci.bundle(|spec| {
        spec["linux"]["devices"] = json!([{ "path": "/etc/passwd", "type": "c", "major": 10, "minor": 229 }]);
    });
    // runc takes whatever is there; runtime-spec config-linux.md#devices: "the runtime MUST generate an error".
    if oci.is_ours() {
        oci.run(&taken).fails().says("/etc/passwd");
    }
}
