//! Capabilities, security options and kernel parameters on the command line.

use std::path::PathBuf;

use oci_spec::runtime::Capability;

use super::{Parsed, boolean};
use serde::{Deserialize, Serialize};

/// A capability to give or to take, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CapabilityFlag {
    /// `ALL`.
    All,
    /// One of capabilities(7).
    One(Capability),
}

/// What filters the program's system calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SeccompChoice {
    /// Nothing.
    Unconfined,
    /// The profile that stands in this file.
    File(PathBuf),
    /// rbox's own, which is Docker's.
    Builtin,
}

/// One `--security-opt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SecurityOpt {
    /// Whether execve may never give more rights.
    NoNewPrivileges(bool),
    /// `seccomp=`.
    Seccomp(SeccompChoice),
    /// `apparmor=`: the profile's name, `unconfined` for none.
    Apparmor(String),
    /// `label=disable`: no SELinux label.
    LabelDisable,
    /// `systempaths=unconfined`: neither masked nor read-only paths.
    SystemPathsUnconfined,
}

/// `NET_ADMIN`, `cap_net_admin`, `ALL`.
pub(crate) fn capability(text: &str) -> Parsed<CapabilityFlag> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    match name {
        "ALL" => Ok(CapabilityFlag::All),
        _ => name.parse().map(CapabilityFlag::One).map_err(|_| "there is no such capability".into()),
    }
}

/// One security option; `seccomp:x` is the old way to write `seccomp=x`.
pub(crate) fn security_opt(text: &str) -> Parsed<SecurityOpt> {
    let (key, value) = match text.split_once(['=', ':']) {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    match (key, value) {
        ("no-new-privileges", None) => Ok(SecurityOpt::NoNewPrivileges(true)),
        ("no-new-privileges", Some(value)) => boolean(value).map(SecurityOpt::NoNewPrivileges),
        ("seccomp", Some("unconfined")) => Ok(SecurityOpt::Seccomp(SeccompChoice::Unconfined)),
        ("seccomp", Some("builtin")) => Ok(SecurityOpt::Seccomp(SeccompChoice::Builtin)),
        ("seccomp", Some(file)) if !file.is_empty() => Ok(SecurityOpt::Seccomp(SeccompChoice::File(file.into()))),
        ("apparmor", Some(profile)) if !profile.is_empty() => Ok(SecurityOpt::Apparmor(profile.into())),
        ("systempaths", Some("unconfined")) => Ok(SecurityOpt::SystemPathsUnconfined),
        ("label", Some("disable")) => Ok(SecurityOpt::LabelDisable),
        ("label", Some(_)) => Err("SELinux labels are not supported".into()),
        ("writable-cgroups", _) => Err("writable control groups are not supported".into()),
        _ => Err("not a security option that rbox knows".into()),
    }
}

/// A kernel parameter that belongs to a namespace of the container (docker/cli `opts.ValidateSysctl`).
pub(crate) fn sysctl(text: &str) -> Parsed<(String, String)> {
    const KERNEL: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let (key, value) = super::key_value(text)?;
    // sysctl(8) takes slashes too; a path upwards is no parameter.
    let key = if key.contains('/') { key.replace('/', ".") } else { key };
    let named = !key.contains("..") && !key.ends_with('.');
    let own = KERNEL.contains(&key.as_str()) || ["net.", "fs.mqueue."].iter().any(|prefix| key.starts_with(prefix));
    if named && own { Ok((key, value)) } else { Err("not a parameter of the container's own namespaces".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_known_by_either_name() {
        for text in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_net_admin"] {
            assert_eq!(capability(text), Ok(CapabilityFlag::One(Capability::NetAdmin)));
        }
        assert_eq!(capability("all"), Ok(CapabilityFlag::All));
        assert_eq!(capability("CAP_ALL"), Ok(CapabilityFlag::All));
        assert!(capability("CAP_FLY").is_err() && capability("").is_err());
    }

    #[test]
    fn every_capability_of_the_kernel_has_a_name() {
        for one in rbox_runtime::capabilities::ALL {
            assert_eq!(capability(&one.to_string()), Ok(CapabilityFlag::One(one)));
        }
    }

    #[test]
    fn security_options_are_these() {
        use SecurityOpt::*;
        for (text, wanted) in [
            ("no-new-privileges", NoNewPrivileges(true)),
            ("no-new-privileges:true", NoNewPrivileges(true)),
            ("no-new-privileges=false", NoNewPrivileges(false)),
            ("seccomp=unconfined", Seccomp(SeccompChoice::Unconfined)),
            ("seccomp:unconfined", Seccomp(SeccompChoice::Unconfined)),
            ("seccomp=/p.json", Seccomp(SeccompChoice::File("/p.json".into()))),
            ("apparmor=unconfined", Apparmor("unconfined".into())),
            ("systempaths=unconfined", SystemPathsUnconfined),
            ("label=disable", LabelDisable),
        ] {
            assert_eq!(security_opt(text), Ok(wanted), "{text}");
        }
        for text in ["", "seccomp", "seccomp=", "label=type:x", "systempaths=none", "no-new-privileges=maybe", "fly=1"]
        {
            assert!(security_opt(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_sysctl_of_the_host_is_refused() {
        assert_eq!(sysctl("net.ipv4.ip_forward=1"), Ok(("net.ipv4.ip_forward".into(), "1".into())));
        assert_eq!(sysctl("net/ipv4/ip_forward=1"), Ok(("net.ipv4.ip_forward".into(), "1".into())));
        assert_eq!(sysctl("kernel.sem=1 2 3 4"), Ok(("kernel.sem".into(), "1 2 3 4".into())));
        for text in ["vm.swappiness=1", "kernel.panic=1", "net", "net.=1", "net.ipv4/../../kernel/panic=1"] {
            assert!(sysctl(text).is_err(), "{text:?}");
        }
    }
}
