//! What a container may not do, and the flags that change it.

use crate::support::{Host, need};
use serde_json::json;

/// Docker's fourteen, in the order of their bits (moby oci/caps/defaults.go).
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
];

#[test]
fn the_default_capabilities_are_dockers_fourteen() {
    need!(Root);
    let host = Host::with_busybox();
    let seen = host.see(&["--network", "none"]);
    for set in ["effective", "permitted", "bounding"] {
        assert_eq!(seen["caps"][set], json!(DEFAULT), "{set}");
    }
    for set in ["inheritable", "ambient"] {
        assert_eq!(seen["caps"][set], json!([]), "{set}");
    }
    let user = host.see(&["--network", "none", "-u", "1000"]);
    assert_eq!(user["caps"]["effective"], json!([]));
}

#[test]
fn capabilities_are_added_and_dropped() {
    need!(Root);
    let host = Host::with_busybox();
    let caps = |flags: &[&str]| host.see(&[&["--network", "none"], flags].concat())["caps"]["effective"].clone();
    assert_eq!(caps(&["--cap-drop", "ALL"]), json!([]));
    assert_eq!(caps(&["--cap-drop", "all", "--cap-add", "net_admin"]), json!(["CAP_NET_ADMIN"]));
    assert_eq!(caps(&["--cap-drop=ALL", "--cap-add=CAP_CHOWN"]), json!(["CAP_CHOWN"]));
    let added = caps(&["--cap-add", "SYS_TIME"]);
    assert_eq!(added.as_array().unwrap().len(), 15, "{added}");
    let all = caps(&["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"]);
    assert!(!all.as_array().unwrap().contains(&json!("CAP_SYS_ADMIN")) && all.as_array().unwrap().len() > 35, "{all}");
    host.run(&["--cap-add", "CAP_NOSUCH"], &["true"]).code(125).says("NOSUCH");
}

/// Calls of the default profile (moby profiles/seccomp/default.json): name of the probe's attempt, its errno.
const CALLS: &[(&str, &str)] = &[
    ("getpid", "ok"),
    ("mkdir", "ok"),
    ("chown", "ok"),
    ("thread", "ok"),
    ("socket-tcp", "ok"),
    ("socket-raw", "ok"),
    ("socket-unix", "ok"),
    ("socket-vsock", "EPERM"),
    ("mount", "EPERM"),
    ("umount", "EPERM"),
    ("pivot_root", "EPERM"),
    ("unshare-user", "EPERM"),
    ("unshare-net", "EPERM"),
    ("sethostname", "EPERM"),
    ("reboot", "EPERM"),
    ("acct", "EPERM"),
    ("init_module", "EPERM"),
    ("delete_module", "EPERM"),
    ("personality", "EPERM"),
    ("chroot", "ok"),
];

#[test]
fn the_default_seccomp_profile_is_dockers() {
    need!(Root);
    let host = Host::with_busybox();
    let names: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
    let answer = host.run(&["--network", "none"], &[&["/probe", "syscall"], &names[..]].concat()).ok().json();
    for (name, errno) in CALLS {
        assert_eq!(answer[name], *errno, "{name}");
    }
    assert_eq!(host.see(&["--network", "none"])["seccomp"], "2");
}

#[test]
fn seccomp_can_be_left_out_or_be_ones_own() {
    need!(Root);
    let host = Host::with_busybox();
    let unconfined = ["--network", "none", "--security-opt", "seccomp=unconfined"];
    assert_eq!(host.see(&unconfined)["seccomp"], "0");
    // Without the filter it is the missing capability, not the profile, that decides: personality needs none.
    let answer = host.run(&unconfined, &["/probe", "syscall", "personality"]).ok().json();
    assert_eq!(answer["personality"], "ok");
    let file = host.path("profile.json");
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW",
                          "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }] });
    std::fs::write(&file, profile.to_string()).unwrap();
    let own = format!("seccomp={}", file.display());
    let answer = host.run(&["--network", "none", "--security-opt", &own], &["/probe", "syscall", "mkdir"]).ok().json();
    assert_eq!(answer["mkdir"], "ENOSYS");
    host.run(&["--security-opt", "seccomp=/no/such/file"], &["true"]).code(125).says("/no/such/file");
}

#[test]
fn a_capability_that_is_added_opens_its_system_calls() {
    need!(Root);
    let host = Host::with_busybox();
    let flags = ["--network", "none", "--cap-add", "SYS_ADMIN"];
    let answer = host.run(&flags, &["/probe", "syscall", "sethostname", "mount"]).ok().json();
    assert_eq!(answer, json!({ "sethostname": "ok", "mount": "ok" }));
}

#[test]
fn no_new_privileges_is_a_flag() {
    need!(Root);
    let host = Host::with_busybox();
    assert_eq!(host.see(&["--network", "none"])["no_new_privs"], false);
    assert_eq!(host.see(&["--network", "none", "--security-opt", "no-new-privileges"])["no_new_privs"], true);
}

#[test]
fn kernel_files_are_masked_or_read_only() {
    need!(Root);
    let host = Host::with_busybox();
    let script = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug; do
                      [ -e $f ] && [ \"$(head -c 1 $f | wc -c)\" != 0 ] && echo open $f; done
                  for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/profiling; do
                      echo 0 2>/dev/null > $f && echo written $f; done
                  ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v : ; echo end";
    assert_eq!(host.run(&["--network", "none"], &["sh", "-c", script]).ok().text(), "end");
    let seen = host.see(&["--network", "none", "--security-opt", "systempaths=unconfined"]);
    let masked = seen["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| mount["target"].as_str().unwrap().starts_with("/proc/"));
    assert_eq!(masked.count(), 0, "{}", seen["mounts"]);
}

#[test]
fn privileged_takes_the_shields_away() {
    need!(Root);
    let host = Host::with_busybox();
    let seen = host.see(&["--network", "none", "--privileged"]);
    assert_eq!(seen["seccomp"], "0");
    let own = host.shell("grep CapBnd /proc/self/status").ok().text().split_whitespace().nth(1).unwrap().to_owned();
    let bits = u64::from_str_radix(&own, 16).unwrap().count_ones();
    assert_eq!(seen["caps"]["effective"].as_array().unwrap().len(), bits as usize, "{}", seen["caps"]["effective"]);
    let sys = seen["mounts"].as_array().unwrap().iter().find(|mount| mount["target"] == "/sys").unwrap();
    assert!(sys["options"].as_array().unwrap().contains(&json!("rw")), "{sys}");
    host.run(&["--network", "none", "--privileged"], &["mount", "-t", "tmpfs", "none", "/mnt"]).fails();
    host.run(&["--network", "none", "--privileged"], &["sh", "-c", "mkdir /mnt; mount -t tmpfs none /mnt"]).ok();
}

#[test]
fn devices_are_given_one_by_one() {
    need!(Root);
    let host = Host::with_busybox();
    let open = |flags: &[&str]| {
        let flags = [&["--network", "none", "--cap-add", "SYSLOG"], flags].concat();
        host.run(&flags, &["sh", "-c", "/probe mknod /node c 1 11; /probe open /node; /probe open /dev/kmsg"])
    };
    let refused = open(&[]);
    assert!(refused.stderr.contains("EPERM") && refused.stderr.contains("ENOENT"), "{refused}");
    let given = open(&["--device", "/dev/kmsg:/dev/kmsg:r"]);
    assert_eq!(given.stdout.matches("ok").count(), 3, "{given}");
    host.run(&["--device", "/dev/no-such-device"], &["true"]).code(125).says("/dev/no-such-device");
}

#[test]
fn sysctls_are_the_containers_own() {
    need!(Root);
    let host = Host::with_busybox();
    let seen = host.see(&["--network", "none", "--sysctl", "net.core.somaxconn=99", "--sysctl", "kernel.shmmax=4096"]);
    assert_eq!(seen["files"]["/proc/sys/net/core/somaxconn"], "99\n");
    assert_eq!(seen["files"]["/proc/sys/kernel/shmmax"], "4096\n");
    host.run(&["--sysctl", "vm.swappiness=1"], &["true"]).code(125).says("vm.swappiness");
    host.run(&["--network", "host", "--sysctl", "net.core.somaxconn=99"], &["true"])
        .code(125)
        .says("net.core.somaxconn");
}

#[test]
fn no_descriptor_of_rbox_leaks_in() {
    need!(Root);
    let host = Host::with_busybox();
    let fds = host.see(&["-p", "8080:80"])["fds"].clone();
    assert_eq!(fds.as_object().unwrap().len(), 3, "{fds}");
}

#[test]
fn a_028_the_tools_of_the_network_work_without_further_flags() {
    need!(Root);
    let host = Host::with_busybox();
    host.run(&[], &["sh", "-ec", "ifconfig; ip r; ps -ef; netstat -ntl"]).ok();
    // Root has NET_RAW, others have ping_group_range.
    host.run(&[], &["ping", "-q", "-c", "1", "-W", "2", "172.17.0.1"]).ok();
    host.run(&[], &["ping", "-q", "-c", "1", "-W", "2", "192.0.2.3"]).ok();
}
