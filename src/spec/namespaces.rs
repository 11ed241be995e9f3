//! Which parts of the kernel's world are the container's own, and what of the rest is hidden from it.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};

use super::Host;
use crate::cli::RunArgs;
use crate::cli::value::{IpcMode, SeparateMode};

/// What Docker sets in a network namespace of the container's own: ping without CAP_NET_RAW, and every port for every user.
/// Every kernel that this runs on has them (Linux 4.11). Docker looks whether this one does, which takes the longer, the more
/// network namespaces there are.
const NETWORK_SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ping_group_range", "0 2147483647"), ("net.ipv4.ip_unprivileged_port_start", "0")];

/// The namespaces to make; a type that is not listed stays the host's.
pub(super) fn namespaces(flags: &RunArgs, host: &Host) -> Vec<LinuxNamespace> {
    let typed = &flags.namespaces;
    // dockerd: a private view of the control groups is the default where all of them are of version 2.
    let cgroup = typed.cgroupns.unwrap_or(if host.cgroup_v2 { SeparateMode::Private } else { SeparateMode::Host });
    [
        (LinuxNamespaceType::Mount, true),
        (LinuxNamespaceType::Network, !flags.network.is_host()),
        (LinuxNamespaceType::Uts, typed.uts == SeparateMode::Private),
        (LinuxNamespaceType::Pid, typed.pid == SeparateMode::Private),
        (LinuxNamespaceType::Ipc, typed.ipc != IpcMode::Host),
        (LinuxNamespaceType::Cgroup, cgroup == SeparateMode::Private),
    ]
    .into_iter()
    .filter(|(_, own)| *own)
    .map(|(kind, _)| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        let joined = host.joined.as_ref().and_then(|joined| Some(format!("/proc/{}/ns/net", joined.pid?).into()));
        namespace.set_path(joined.filter(|_| kind == LinuxNamespaceType::Network));
        namespace
    })
    .collect()
}

/// The kernel parameters of those namespaces: Docker's, the NIS domain name, and what was typed over them.
pub(super) fn sysctls(flags: &RunArgs, host: &Host) -> Option<HashMap<String, String>> {
    let own_network = !flags.network.is_host() && host.joined.is_none();
    let of_docker = NETWORK_SYSCTLS.iter().filter(|_| own_network);
    let domain = flags.container.domainname.iter().map(|name| ("kernel.domainname".to_owned(), name.clone()));
    let all: HashMap<String, String> = of_docker
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .chain(domain)
        .chain(flags.security.sysctl.iter().cloned())
        .collect();
    (!all.is_empty()).then_some(all)
}

/// Files that would tell of the host, or hand it over (moby `oci/defaults.go`, 28). The runtime leaves out what is not there.
pub(super) fn masked_paths(host: &Host) -> Vec<String> {
    const MASKED: [&str; 12] = [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ];
    MASKED.iter().map(|path| (*path).to_owned()).chain(host.thermal.iter().cloned()).collect()
}

/// Parts of /proc that are the whole machine's.
pub(super) fn read_only_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].map(str::to_owned).to_vec()
}
