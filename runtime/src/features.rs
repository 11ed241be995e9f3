//! What this runtime can do, as `features` prints it (runtime-spec features.md): engines ask before they send a config.json.
//!
//! Nothing is claimed that is not asked of the code that would do it: a mount option is put to the parser of mount options,
//! a seccomp action is compiled. What has no code to ask has one line in [`SUPPORT`].

use crate::capabilities;
use crate::cgroup;
use crate::container::OCI_VERSION;
use crate::error::{Doing, Result};
use crate::hooks::KINDS;
use crate::kernel;
use crate::plan;
use crate::seccomp;
use libseccomp::ScmpVersion;
use serde_json::{Value, json};

/// What a config.json may ask for beside the lists.
struct Support {
    systemd_cgroup: bool,
    systemd_user_cgroup: bool,
    apparmor: bool,
    selinux: bool,
    intel_rdt: bool,
    net_devices: bool,
}

const SUPPORT: Support = Support {
    systemd_cgroup: true,
    systemd_user_cgroup: false,
    apparmor: true,
    selinux: true,
    intel_rdt: true,
    net_devices: true,
};

/// Annotations by which a config.json gains more than its fields say.
const UNSAFE_ANNOTATIONS: &[&str] = &[cgroup::ANNOTATION_PREFIX];

/// Every option that runc or mount(8) has for file systems of all kinds, in the order of features.md. Which of them are
/// ours is asked of `plan/mounts.rs`.
const MOUNT_OPTIONS: &[&str] = &[
    "acl",
    "async",
    "atime",
    "bind",
    "copy-symlink",
    "defaults",
    "dest-nofollow",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "src-nofollow",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// Flags that mean the same for every file system, but are words for fsconfig(2): fs/fs_context.c, `common_set_sb_flag`.
const SUPERBLOCK_FLAGS: &[&str] = &["dirsync", "lazytime", "mand", "nolazytime", "sync"];

const ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const OPERATORS: &[&str] =
    &["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

const ARCHITECTURES: &[&str] = &[
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// With the first kernel that has it (seccomp(2)).
const FLAGS: &[(&str, (u32, u32))] = &[
    ("SECCOMP_FILTER_FLAG_LOG", (4, 14)),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", (4, 17)),
    ("SECCOMP_FILTER_FLAG_TSYNC", (3, 17)),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", (5, 19)),
];

/// The document of features.md.
///
/// # Errors
/// `Os` when libseccomp does not say which it is.
pub fn features() -> Result<Value> {
    let library = ScmpVersion::current()
        .map_err(|error| std::io::Error::other(error.to_string()))
        .doing(|| "ask libseccomp for its version".to_owned())?;
    Ok(json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": KINDS,
        "mountOptions": mount_options(),
        "linux": linux(),
        "annotations": {
            "io.github.seccomp.libseccomp.version": format!("{}.{}.{}", library.major, library.minor, library.micro),
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": UNSAFE_ANNOTATIONS,
    }))
}

fn linux() -> Value {
    json!({
        "namespaces": plan::namespace_names(),
        "capabilities": capabilities::ALL.iter().map(|one| format!("CAP_{one}")).collect::<Vec<_>>(),
        "cgroup": {
            "v1": true,
            "v2": true,
            "systemd": SUPPORT.systemd_cgroup,
            "systemdUser": SUPPORT.systemd_user_cgroup,
            "rdma": true,
        },
        "seccomp": {
            "enabled": true,
            "actions": known(ACTIONS, |action| json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(action)] })),
            "operators": known(OPERATORS, with_operator),
            "archs": known(ARCHITECTURES, |arch| json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": [arch] })),
            "knownFlags": FLAGS.iter().map(|(flag, _)| flag).collect::<Vec<_>>(),
            "supportedFlags": FLAGS.iter().filter(|(_, since)| kernel::version() >= *since).map(|(flag, _)| flag).collect::<Vec<_>>(),
        },
        "apparmor": { "enabled": SUPPORT.apparmor },
        "selinux": { "enabled": SUPPORT.selinux },
        "intelRdt": {
            "enabled": SUPPORT.intel_rdt,
            "schemata": SUPPORT.intel_rdt,
            "monitoring": SUPPORT.intel_rdt,
        },
        "mountExtensions": { "idmap": { "enabled": plan::knows_mount_option("idmap") } },
        "netDevices": { "enabled": SUPPORT.net_devices },
    })
}

fn mount_options() -> Vec<&'static str> {
    let ours = |option: &str| plan::knows_mount_option(option) || SUPERBLOCK_FLAGS.contains(&option);
    MOUNT_OPTIONS.iter().copied().filter(|option| ours(option)).collect()
}

fn rule(action: &str) -> Value {
    json!({ "names": ["getpid"], "action": action })
}

fn with_operator(operator: &str) -> Value {
    let mut rule = rule("SCMP_ACT_ERRNO");
    rule["args"] = json!([{ "index": 0, "value": 1, "valueTwo": 1, "op": operator }]);
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] })
}

/// Those of `names` with which a profile becomes a filter.
fn known(names: &[&'static str], profile: fn(&str) -> Value) -> Vec<&'static str> {
    let compiles = |name: &str| {
        let profile = serde_json::from_slice(profile(name).to_string().as_bytes());
        profile.is_ok_and(|profile| seccomp::cached(&profile, None).is_ok())
    };
    names.iter().copied().filter(|name| compiles(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_not_claimed() {
        let features = features().unwrap();
        let has = |path: &str, word: &str| features.pointer(path).unwrap().as_array().unwrap().contains(&json!(word));
        assert!(has("/mountOptions", "rro") && has("/mountOptions", "rslave") && has("/mountOptions", "bind"));
        assert!(has("/linux/namespaces", "mount"));
        assert!(has("/linux/capabilities", "CAP_SYS_ADMIN"));
        assert!(has("/linux/seccomp/actions", "SCMP_ACT_ERRNO"));
        assert!(has("/linux/seccomp/archs", "SCMP_ARCH_X86_64"));
        assert_eq!(features["linux"]["seccomp"]["operators"].as_array().unwrap().len(), OPERATORS.len());
        let refused = |option: &&&str| !plan::knows_mount_option(option) && !SUPERBLOCK_FLAGS.contains(option);
        for option in MOUNT_OPTIONS.iter().filter(refused) {
            assert!(!has("/mountOptions", option), "{option}");
        }
    }

    #[test]
    fn lists_are_in_order() {
        for list in [MOUNT_OPTIONS, ACTIONS, OPERATORS, ARCHITECTURES] {
            assert!(list.is_sorted(), "{list:?}");
        }
    }
}
