//! What the program may do: capabilities, masked paths, filter, devices.

use oci_spec::runtime::LinuxDeviceType;

use super::*;
use crate::spec::devices::HostDevice;

fn capabilities_of(spec: &Spec) -> Vec<String> {
    let sets = process(spec).capabilities().as_ref().unwrap();
    let mut names: Vec<String> = sets.bounding().as_ref().unwrap().iter().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(sets.bounding(), sets.effective());
    assert_eq!(sets.bounding(), sets.permitted());
    assert_eq!((sets.inheritable(), sets.ambient()), (&None, &None));
    names
}

#[test]
fn fourteen_capabilities_and_what_was_added_and_dropped() {
    let default = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    assert_eq!(capabilities_of(&spec("alpine sh")), default);
    for (line, wanted) in [
        ("--cap-drop ALL alpine sh", vec![]),
        ("--cap-drop all --cap-add chown alpine sh", vec!["CHOWN"]),
        ("--cap-add CHOWN --cap-drop CHOWN --cap-drop ALL alpine sh", vec!["CHOWN"]),
    ] {
        assert_eq!(capabilities_of(&spec(line)), wanted, "{line}");
    }
    assert!(
        capabilities_of(&spec("--cap-add NET_ADMIN --cap-drop NET_ADMIN alpine sh")).contains(&"NET_ADMIN".to_owned())
    );
    assert_eq!(capabilities_of(&spec("--cap-drop MKNOD alpine sh")).len(), 13);
    let all_but_one = capabilities_of(&spec("--cap-add ALL --cap-drop SYS_ADMIN alpine sh"));
    assert_eq!((all_but_one.len(), all_but_one.contains(&"SYS_ADMIN".to_owned())), (40, false));
    assert_eq!(capabilities_of(&spec("--privileged --cap-drop ALL alpine sh")).len(), 41);
    let old = Host { capabilities: (1 << 38) - 1, ..host() };
    assert_eq!(capabilities_of(&try_build("--privileged alpine sh", None, &old).unwrap().spec).len(), 38);
    // A machine that has no CAP_SYS_TIME (25) to give.
    let fewer = Host { capabilities: ((1 << 41) - 1) & !(1 << 25), ..host() };
    let all = capabilities_of(&try_build("--cap-add ALL alpine sh", None, &fewer).unwrap().spec);
    assert_eq!((all.len(), all.contains(&"SYS_TIME".to_owned())), (40, false));
}

#[test]
fn paths_are_masked_unless_the_shield_is_taken_away() {
    let got = spec("alpine sh");
    let masked = linux_of(&got).masked_paths().as_ref().unwrap();
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/proc/acpi", "/sys/firmware"] {
        assert!(masked.contains(&path.to_owned()), "{path}");
    }
    assert_eq!(
        linux_of(&got).readonly_paths().as_deref().unwrap(),
        ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    );
    for line in ["--privileged alpine sh", "--security-opt systempaths=unconfined alpine sh"] {
        let got = spec(line);
        assert_eq!(linux_of(&got).masked_paths().as_deref(), Some(&[][..]), "{line}");
        assert_eq!(linux_of(&got).readonly_paths().as_deref(), Some(&[][..]), "{line}");
    }
}

#[test]
fn a_privileged_container_has_no_filter_and_may_write_to_sys() {
    let got = spec("--privileged alpine sh");
    assert!(linux_of(&got).seccomp().is_none());
    let all = mounts_of(&got);
    assert!(all.contains(&"/sys sysfs sysfs nosuid,noexec,nodev,rw".to_owned()), "{all:#?}");
    assert!(all.contains(&"/sys/fs/cgroup cgroup cgroup rw,nosuid,noexec,nodev".to_owned()), "{all:#?}");
    let builtin = spec("--privileged --security-opt seccomp=builtin alpine sh");
    assert!(linux_of(&builtin).seccomp().is_some());
    assert!(linux_of(&spec("alpine sh")).seccomp().is_some());
    assert!(linux_of(&spec("--security-opt seccomp=unconfined alpine sh")).seccomp().is_none());
}

#[test]
fn devices_are_closed_but_for_dockers_rules() {
    let rules = |spec: &Spec| -> Vec<String> {
        let rules = linux_of(spec).resources().as_ref().unwrap().devices().as_ref().unwrap();
        rules.iter().map(|rule| format!("{} {rule}", if rule.allow() { "+" } else { "-" })).collect()
    };
    let default = [
        "- a *:* rwm",
        "+ c 1:5 rwm",
        "+ c 1:3 rwm",
        "+ c 1:9 rwm",
        "+ c 1:8 rwm",
        "+ c 5:0 rwm",
        "+ c 5:1 rwm",
        "- c 10:229 rwm",
    ];
    assert_eq!(rules(&spec("alpine sh")), default);
    let node = |path: &str, minor: i64| HostDevice {
        path: path.into(),
        kind: LinuxDeviceType::C,
        numbers: (10, minor),
        mode: 0o660,
        owner: (0, 6),
    };
    let host = Host {
        devices: BTreeMap::from([
            ("/dev/fuse".into(), vec![node("/dev/fuse", 229)]),
            ("/dev/bus".into(), vec![node("/dev/bus/a/1", 1), node("/dev/bus/2", 2)]),
        ]),
        all_devices: vec![node("/dev/fuse", 229)],
        ..host()
    };
    let got = try_build("--device /dev/fuse:/dev/f:rw --device /dev/bus alpine sh", None, &host).unwrap().spec;
    assert_eq!(rules(&got)[default.len()..], ["+ c 10:229 rw", "+ c 10:1 rwm", "+ c 10:2 rwm"]);
    let files: Vec<String> =
        linux_of(&got).devices().as_ref().unwrap().iter().map(|d| d.path().display().to_string()).collect();
    assert_eq!(files, ["/dev/bus/2", "/dev/bus/a/1", "/dev/f"]);
    let fuse = &linux_of(&got).devices().as_ref().unwrap()[2];
    assert_eq!((fuse.file_mode(), fuse.uid(), fuse.gid(), fuse.minor()), (Some(0o660), Some(0), Some(6), 229));
    let got = try_build("--privileged alpine sh", None, &host).unwrap().spec;
    assert_eq!(rules(&got), ["+ a *:* rwm"]);
    assert_eq!(linux_of(&got).devices().as_ref().unwrap().len(), 1);
}
