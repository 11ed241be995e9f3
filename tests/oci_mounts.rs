//! The mount options of runtime-spec's table, each by what it does (config.md#linux-mount-options).

use crate::support::{Bundle, Oci, need};
use serde_json::{Value, json};

fn add(spec: &mut Value, destination: &str, kind: &str, source: &str, options: &[&str]) {
    let mount = json!({ "destination": destination, "type": kind, "source": source, "options": options });
    spec["mounts"].as_array_mut().unwrap().push(mount);
}

/// The last mount on this target: its own options, those of its file system, its propagation.
#[track_caller]
fn words(seen: &Value, target: &str, key: &str) -> Vec<String> {
    let mounts = seen["mounts"].as_array().unwrap();
    let found = mounts.iter().rev().find(|mount| mount["target"] == target);
    let found = found.unwrap_or_else(|| panic!("nothing is mounted on {target}: {mounts:#?}"));
    found[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// A folder of the host with a mount below it.
fn nested(oci: &Oci) {
    oci.host.shell("mkdir -p /run/tree && mount -t tmpfs top /run/tree && mkdir /run/tree/below").ok();
    oci.host.shell("mount -t tmpfs below /run/tree/below").ok();
}

#[test]
fn an_option_sets_its_flag_and_the_opposite_takes_it_away() {
    need!(Root);
    let oci = Oci::new();
    // What mountinfo has, and has not, with these options.
    let cases: &[(&[&str], &[&str], &[&str])] = &[
        (&["ro"], &["ro"], &["rw"]),
        (&["ro", "rw"], &["rw"], &["ro"]),
        (&["nosuid"], &["nosuid"], &[]),
        (&["nosuid", "suid"], &[], &["nosuid"]),
        (&["nodev"], &["nodev"], &[]),
        (&["nodev", "dev"], &[], &["nodev"]),
        (&["noexec"], &["noexec"], &[]),
        (&["noexec", "exec"], &[], &["noexec"]),
        (&["noatime"], &["noatime"], &["relatime"]),
        (&["noatime", "atime"], &["relatime"], &["noatime"]),
        (&["relatime"], &["relatime"], &[]),
        (&["strictatime"], &[], &["relatime", "noatime"]),
        (&["strictatime", "nostrictatime"], &["relatime"], &[]),
        (&["norelatime"], &["relatime"], &[]),
        (&["nodiratime"], &["nodiratime"], &[]),
        (&["nodiratime", "diratime"], &[], &["nodiratime"]),
        (&["rro"], &["ro"], &["rw"]),
        (&["rnosuid", "rnodev", "rnoexec", "rnoatime"], &["nosuid", "nodev", "noexec", "noatime"], &["relatime"]),
        (&["defaults", "async", "loud", "silent", "nomand"], &["rw", "relatime"], &["nosuid", "noexec"]),
    ];
    // Debian's runc 1.1.5 hands `defaults` to the file system; and drops recursive options of a new file system.
    let cases = if oci.is_ours() { cases } else { &cases[..cases.len() - 3] };
    let seen = oci.see(|spec| {
        for (number, (options, ..)) in cases.iter().enumerate() {
            add(spec, &format!("/case{number}"), "tmpfs", "tmpfs", options);
        }
    });
    for (number, (options, has, lacks)) in cases.iter().enumerate() {
        let words = words(&seen, &format!("/case{number}"), "options");
        assert!(has.iter().all(|word| words.iter().any(|one| one == word)), "{options:?}: {words:?}");
        assert!(!lacks.iter().any(|word| words.iter().any(|one| one == word)), "{options:?}: {words:?}");
    }
}

#[test]
fn links_are_not_followed_where_that_is_asked_for() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 does not know the words
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        add(spec, "/one", "tmpfs", "tmpfs", &["nosymfollow"]);
        add(spec, "/two", "tmpfs", "tmpfs", &["nosymfollow", "symfollow"]);
    });
    assert!(words(&seen, "/one", "options").contains(&"nosymfollow".to_owned()));
    assert!(!words(&seen, "/two", "options").contains(&"nosymfollow".to_owned()));
}

#[test]
fn flags_of_the_file_system_itself_are_set() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 does not know lazytime
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        add(spec, "/one", "tmpfs", "tmpfs", &["sync", "dirsync", "lazytime", "mand"]);
        add(spec, "/two", "tmpfs", "tmpfs", &["lazytime", "nolazytime"]);
    });
    let one = words(&seen, "/one", "super");
    for word in ["sync", "dirsync", "lazytime", "mand"] {
        assert!(one.iter().any(|option| option == word), "{word}: {one:?}");
    }
    assert!(!words(&seen, "/two", "super").contains(&"lazytime".to_owned()));
}

#[test]
fn a_recursive_option_reaches_the_mounts_below_and_a_plain_one_does_not() {
    need!(Root);
    let oci = Oci::new();
    nested(&oci);
    let pairs = [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnodiratime", "nodiratime"),
    ];
    let seen = oci.see(|spec| {
        for (recursive, plain) in pairs {
            add(spec, &format!("/{recursive}"), "bind", "/run/tree", &["rbind", recursive]);
            add(spec, &format!("/{plain}"), "bind", "/run/tree", &["rbind", plain]);
        }
        // The opposite takes it away again.
        add(spec, "/back", "bind", "/run/tree", &["rbind", "rro", "rrw", "rnosuid", "rsuid", "rnoexec", "rexec"]);
    });
    for (recursive, plain) in pairs {
        let has = |target: &str| words(&seen, target, "options").contains(&plain.to_owned());
        assert!(has(&format!("/{recursive}")) && has(&format!("/{recursive}/below")), "{recursive}");
        assert!(has(&format!("/{plain}")) && !has(&format!("/{plain}/below")), "{plain}");
    }
    // Debian's runc 1.1.5 takes nothing away.
    for target in ["/back", "/back/below"].into_iter().filter(|_| oci.is_ours()) {
        let words = words(&seen, target, "options");
        assert!(!["ro", "nosuid", "noexec"].iter().any(|word| words.contains(&(*word).to_owned())), "{words:?}");
    }
}

/// A folder whose mounts, one below the other, have `flags` on the host.
fn nested_with(oci: &Oci, flags: &str) {
    nested(oci);
    oci.host
        .shell(&format!("mount -o remount,bind,{flags} /run/tree && mount -o remount,bind,{flags} /run/tree/below"))
        .ok();
}

#[test]
fn a_recursive_option_takes_away_what_the_host_has_set() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 asks for rrelatime and the like in a way that the kernel refuses
    // What the host's mounts have, the option, what is gone by it, and what is there instead.
    let cases = [
        ("nodev", "rdev", "nodev", ""),
        ("noatime", "ratime", "noatime", "relatime"),
        ("nodiratime", "rdiratime", "nodiratime", ""),
        ("noatime", "rrelatime", "noatime", "relatime"),
        ("noatime", "rstrictatime", "noatime", ""),
        ("strictatime", "rnostrictatime", "", "relatime"),
        ("strictatime", "rnorelatime", "", "relatime"),
        ("noatime", "rnorelatime", "noatime", "relatime"),
    ];
    let oci = Oci::new();
    for (had, option, lost, got) in cases {
        nested_with(&oci, had);
        let seen = oci.see(|spec| {
            add(spec, "/all", "bind", "/run/tree", &["rbind", option]);
            add(spec, "/plain", "bind", "/run/tree", &["rbind"]);
        });
        oci.host.shell("umount /run/tree/below /run/tree").ok();
        for below in ["", "/below"] {
            let plain = words(&seen, &format!("/plain{below}"), "options");
            assert!(lost.is_empty() || plain.iter().any(|word| word == lost), "{option}: {plain:?}");
            let all = words(&seen, &format!("/all{below}"), "options");
            assert!(!all.iter().any(|word| word == lost), "{option}: {all:?}");
            assert!(got.is_empty() || all.iter().any(|word| word == got), "{option}: {all:?}");
        }
    }
}

#[test]
fn links_are_followed_or_not_in_the_whole_tree() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 does not know the words
    let oci = Oci::new();
    nested(&oci);
    let seen = oci.see(|spec| {
        add(spec, "/one", "bind", "/run/tree", &["rbind", "rnosymfollow"]);
        add(spec, "/two", "bind", "/run/tree", &["rbind", "rnosymfollow", "rsymfollow"]);
    });
    for below in ["", "/below"] {
        assert!(words(&seen, &format!("/one{below}"), "options").contains(&"nosymfollow".to_owned()));
        assert!(!words(&seen, &format!("/two{below}"), "options").contains(&"nosymfollow".to_owned()));
    }
}

#[test]
fn an_option_of_a_file_system_is_not_for_a_bind_mount() {
    need!(Root, OurRuntime); // runc refuses it since 1.2
    let oci = Oci::new();
    for option in ["size=1m", "sync", "upsidedown", "iversion", "noiversion"] {
        let bundle = oci.bundle(|spec| {
            spec["mounts"] = json!([spec["mounts"][0]]);
            add(spec, "/mnt", "bind", "/etc", &["bind", "ro", option]);
        });
        let name = option.split('=').next().unwrap().trim_start_matches("no");
        oci.run(&bundle).fails().says(&format!("mounts[1]: option {name} is not for bind mounts"));
    }
}

#[test]
fn counting_changes_leaves_all_other_options_as_they_are() {
    need!(Root);
    let oci = Oci::new();
    let options = ["nosuid", "noexec", "size=1m", "mode=700"];
    let seen = oci.see(|spec| {
        add(spec, "/plain", "tmpfs", "tmpfs", &options);
        // Debian's runc 1.1.5 hands noiversion to the file system, which does not know it.
        for option in ["iversion", if oci.is_ours() { "noiversion" } else { "iversion" }] {
            add(spec, &format!("/{option}"), "tmpfs", "tmpfs", &[&options[..], &[option]].concat());
        }
        if oci.is_ours() {
            add(spec, "/ro", "tmpfs", "tmpfs", &["ro", "noatime", "sync", "iversion"]);
            add(spec, "/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620", "gid=5", "iversion"]);
        }
    });
    for target in ["/iversion", "/noiversion"].into_iter().filter(|target| oci.is_ours() || *target == "/iversion") {
        for key in ["options", "super"] {
            assert_eq!(words(&seen, target, key), words(&seen, "/plain", key), "{target}");
        }
    }
    if oci.is_ours() {
        let all = [words(&seen, "/ro", "options"), words(&seen, "/ro", "super")].concat();
        assert!(["ro", "noatime", "sync"].iter().all(|word| all.contains(&(*word).to_owned())), "{all:?}");
        let pts = words(&seen, "/pts", "super");
        assert!(["gid=5", "mode=620", "ptmxmode=666"].iter().all(|word| pts.contains(&(*word).to_owned())), "{pts:?}");
    }
}

#[test]
fn what_must_not_be_bound_is_not_bound_with_what_lies_above() {
    need!(Root);
    let oci = Oci::new();
    nested(&oci);
    let seen = oci.see(|spec| {
        add(spec, "/one", "bind", "/run/tree", &["rbind", "unbindable"]);
        add(spec, "/all", "bind", "/run/tree", &["rbind", "runbindable"]);
    });
    let is_unbindable = |target: &str| words(&seen, target, "propagation").contains(&"unbindable".to_owned());
    assert!(is_unbindable("/one") && is_unbindable("/all") && is_unbindable("/all/below"), "{seen:#}");
    assert!(!is_unbindable("/one/below"));
}

#[test]
fn bind_takes_one_mount_and_rbind_all_below() {
    need!(Root);
    let oci = Oci::new();
    nested(&oci);
    let seen = oci.see(|spec| {
        add(spec, "/this", "bind", "/run/tree", &["bind"]);
        add(spec, "/all", "none", "/run/tree", &["rbind"]);
    });
    let targets: Vec<&str> =
        seen["mounts"].as_array().unwrap().iter().filter_map(|one| one["target"].as_str()).collect();
    assert!(targets.contains(&"/all/below") && !targets.contains(&"/this/below"), "{targets:?}");
}

/// What a container sees of a mount that the host makes later below a shared folder.
fn late(oci: &Oci, options: &[&str]) -> (Bundle, bool) {
    let bundle = oci.running(|spec| add(spec, "/mnt", "bind", "/run/shared", options));
    oci.host.shell("mkdir -p /run/shared/late && mount -t tmpfs late /run/shared/late").ok();
    let inside = oci.call(&["exec", &bundle.id, "cat", "/proc/self/mountinfo"]).ok();
    oci.host.shell("umount /run/shared/late").ok();
    (bundle, inside.stdout.contains(" /mnt/late "))
}

#[test]
fn the_propagation_of_a_bind_mount_is_what_its_options_say() {
    need!(Root);
    let oci = Oci::new();
    oci.host.shell("mkdir -p /run/shared && mount -t tmpfs top /run/shared && mount --make-shared /run/shared").ok();
    let cases: [(&[&str], bool, &str); 5] = [
        (&["bind", "private"], false, ""),
        (&["rbind", "rprivate"], false, ""),
        (&["bind", "slave"], true, "master:"),
        (&["rbind", "rslave"], true, "master:"),
        (&["rbind", "rshared"], true, "shared:"),
    ];
    for (options, seen, word) in cases {
        let (bundle, was_seen) = late(&oci, options);
        assert_eq!(was_seen, seen, "{options:?}");
        let inside = oci.call(&["exec", &bundle.id, "grep", " /mnt ", "/proc/self/mountinfo"]).ok();
        assert!(inside.stdout.contains(word), "{options:?}: {inside}");
        oci.call(&["delete", "--force", &bundle.id]).ok();
    }
}

#[test]
fn a_remount_changes_the_flags_of_a_bind_mount() {
    need!(Root);
    let oci = Oci::new();
    oci.host.shell("mkdir -p /run/src && mount -t tmpfs src /run/src").ok();
    let seen = oci.see(|spec| {
        add(spec, "/mnt", "bind", "/run/src", &["bind"]);
        add(spec, "/mnt", "bind", "/run/src", &["bind", "remount", "ro", "nosuid", "unbindable"]);
    });
    let options = words(&seen, "/mnt", "options");
    assert!(options.contains(&"ro".to_owned()) && options.contains(&"nosuid".to_owned()), "{options:?}");
    let propagation = words(&seen, "/mnt", "propagation");
    assert!(propagation.contains(&"unbindable".to_owned()), "{propagation:?}");
}

#[test]
fn a_remount_changes_a_file_system_that_is_there() {
    need!(Root);
    let oci = Oci::new();
    let seen = oci.see(|spec| {
        add(spec, "/mnt", "tmpfs", "tmpfs", &["size=1m", "nosuid"]);
        add(spec, "/mnt", "tmpfs", "tmpfs", &["remount", "size=2m", "ro", "nosuid"]);
    });
    let mounts: Vec<_> = seen["mounts"].as_array().unwrap().iter().filter(|one| one["target"] == "/mnt").collect();
    assert_eq!(mounts.len(), 1, "it is the same mount: {mounts:?}");
    assert!(words(&seen, "/mnt", "super").contains(&"size=2048k".to_owned()), "{seen:#}");
    let options = words(&seen, "/mnt", "options");
    assert!(options.contains(&"ro".to_owned()) && options.contains(&"nosuid".to_owned()), "{options:?}");
}

#[test]
fn what_is_for_a_new_file_system_is_refused_elsewhere() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 drops them
    let oci = Oci::new();
    let cases: [(&str, &[&str]); 4] = [
        ("bind", &["bind", "tmpcopyup"]),
        ("tmpfs", &["remount", "tmpcopyup"]),
        ("proc", &["tmpcopyup"]),
        ("tmpfs", &["remount", "iversion"]),
    ];
    for (kind, options) in cases {
        let bundle = oci.bundle(|spec| add(spec, "/dev/shm", kind, "/etc", options));
        oci.run(&bundle).fails().says("for a new ");
    }
}

#[test]
fn a_remount_of_what_is_no_mount_is_an_error() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| add(spec, "/etc", "tmpfs", "tmpfs", &["remount", "size=2m"]));
    oci.run(&bundle).fails().says("/etc");
}

#[test]
fn relative_paths_count_from_the_root_and_from_the_bundle() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| {
        add(spec, "relative/place", "bind", "beside", &["bind"]);
        spec["process"]["args"] = json!(["/bin/cat", "/relative/place/note"]);
    });
    std::fs::create_dir(bundle.dir.join("beside")).unwrap();
    std::fs::write(bundle.dir.join("beside/note"), "from the bundle").unwrap();
    assert_eq!(oci.run(&bundle).ok().stdout, "from the bundle");
}

#[test]
fn an_option_that_no_file_system_knows_is_an_error() {
    need!(Root);
    let oci = Oci::new();
    let bundle = oci.bundle(|spec| add(spec, "/scratch", "tmpfs", "tmpfs", &["size=1m", "upsidedown"]));
    oci.run(&bundle).fails().says("/scratch");
}

/// Whether a container sees what the host mounts below its root after its start.
fn root_hears_of_the_host(oci: &Oci, wish: &str) -> bool {
    let bundle = oci.bundle(|spec| {
        spec["linux"]["rootfsPropagation"] = json!(wish);
        spec["process"]["args"] = json!(["/probe", "signal-wait"]);
    });
    let root = bundle.rootfs();
    let root = root.display();
    oci.host.shell(&format!("mount --bind {root} {root} && mount --make-shared {root} && mkdir -p {root}/late")).ok();
    oci.create(&bundle).ok();
    oci.call(&["start", &bundle.id]).ok();
    oci.host.shell(&format!("mount -t tmpfs late {root}/late")).ok();
    let inside = oci.call(&["exec", &bundle.id, "cat", "/proc/self/mountinfo"]).ok();
    oci.host.shell(&format!("umount {root}/late")).ok();
    oci.call(&["delete", "--force", &bundle.id]).ok();
    oci.host.shell(&format!("umount {root}")).ok();
    inside.stdout.contains(" /late ")
}

#[test]
fn a_slave_root_hears_of_the_hosts_mounts_and_a_private_one_does_not() {
    need!(Root);
    let oci = Oci::new();
    // With `slave`, Debian's runc 1.1.5 makes a root that is a mount of its own private.
    let slave = ("slave", oci.is_ours());
    for (wish, hears) in [slave, ("rslave", true), ("private", false), ("rprivate", false)] {
        assert_eq!(root_hears_of_the_host(&oci, wish), hears, "{wish}");
    }
}

#[test]
fn the_root_can_be_shared_or_unbindable() {
    need!(Root, OurRuntime); // Debian's runc 1.1.5 leaves "/" private here
    let oci = Oci::new();
    let propagation = |wish: &str| {
        let seen = oci.see(|spec| spec["linux"]["rootfsPropagation"] = json!(wish));
        words(&seen, "/", "propagation").join(" ")
    };
    for wish in ["shared", "rshared"] {
        assert!(propagation(wish).contains("shared"), "{wish}");
    }
    for wish in ["unbindable", "runbindable"] {
        assert_eq!(propagation(wish), "unbindable", "{wish}");
    }
}
