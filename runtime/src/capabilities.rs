//! The capabilities of capabilities(7): which there are, and which a container has. build.rs reads this file too.

use oci_spec::runtime::Capability;

/// All of them in the order of their numbers: linux/capability.h, as of Linux 6.18.
pub const ALL: [Capability; 41] = [
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

/// What Docker gives a container that asks for nothing else (moby `oci/caps/defaults.go`).
pub const DEFAULT: [Capability; 14] = [
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_kernels_header_has_the_same_names_at_the_same_numbers() {
        let Ok(header) = std::fs::read_to_string("/usr/include/linux/capability.h") else {
            return crate::skip::skip("it needs linux/capability.h of the package linux-libc-dev");
        };
        for (number, capability) in ALL.iter().enumerate() {
            let name = format!("CAP_{capability}");
            let defined = header.lines().find_map(|line| {
                let mut words = line.strip_prefix("#define ")?.split_whitespace();
                (words.next()? == name).then(|| words.next()?.parse::<usize>().ok())?
            });
            assert_eq!(defined, Some(number), "{name}");
        }
    }

    #[test]
    fn none_stands_twice() {
        assert_eq!(HashSet::from(ALL).len(), ALL.len());
        assert_eq!(HashSet::from(DEFAULT).len(), DEFAULT.len());
    }
}
