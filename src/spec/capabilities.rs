//! What root inside may do: capabilities(7), as moby's `oci/caps` reckons them.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use super::Host;
use crate::cli::RunArgs;
use crate::cli::value::CapabilityFlag;

/// Docker's default set (moby `oci/caps/defaults.go`).
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// All of them in the order of their numbers in linux/capability.h.
const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The capabilities of the container's program.
pub(super) fn of(flags: &RunArgs, host: &Host) -> Capabilities {
    let security = &flags.security;
    let all = || (0_u32..).zip(ALL).filter(|(number, _)| host.capabilities >> number & 1 == 1).map(|(_, cap)| cap);
    if security.privileged {
        return all().collect();
    }
    let (add, drop) = (&security.cap_add, &security.cap_drop);
    let named = |flags: &[CapabilityFlag]| -> Capabilities {
        flags.iter().filter_map(|flag| if let CapabilityFlag::One(cap) = flag { Some(*cap) } else { None }).collect()
    };
    // moby TweakCapabilities: `--cap-add ALL` wins over `--cap-drop ALL`; added is stronger than dropped otherwise.
    if add.contains(&CapabilityFlag::All) {
        let dropped = named(drop);
        return all().filter(|cap| !dropped.contains(cap)).collect();
    }
    if drop.contains(&CapabilityFlag::All) {
        return named(add);
    }
    let dropped = named(drop);
    DEFAULT.into_iter().filter(|cap| !dropped.contains(cap)).chain(named(add)).collect()
}

/// The five sets: bounding, effective and permitted are the same; nothing is inheritable (CVE-2022-24769).
pub(super) fn sets(capabilities: &Capabilities) -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(capabilities.clone()));
    sets.set_effective(Some(capabilities.clone()));
    sets.set_permitted(Some(capabilities.clone()));
    sets.set_inheritable(None);
    sets.set_ambient(None);
    sets
}
