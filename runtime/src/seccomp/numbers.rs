//! The numbers of system calls: from libseccomp's tables, and for what is younger than the library from the kernel's.
//!
//! Since 5.1 a new call has the same number on every architecture (x32 adds its bit). What libseccomp 2.5.4 knows ends
//! at 456; a profile that speaks of later ones is still to be understood. Source: kernel scripts/syscall.tbl and
//! arch/x86/entry/syscalls/syscall_64.tbl, Linux 6.18.

use std::cell::OnceCell;
use std::collections::HashMap;

use libseccomp::{ScmpArch, ScmpSyscall};

/// The bit that tells a call of the x32 ABI from one of x86-64.
pub(super) const X32_BIT: u32 = 0x4000_0000;

const EVERYWHERE: [(&str, u32); 20] = [
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
    ("listns", 470),
];

const X86_64_ONLY: [(&str, u32); 2] = [("uretprobe", 335), ("uprobe", 336)];
const RISCV64_ONLY: [(&str, u32); 1] = [("riscv_hwprobe", 258)];

/// No architecture has as many calls.
const ALL: u32 = 600;

/// The number of `name` where the library does not know it.
fn young(name: &str, arch: ScmpArch) -> Option<u32> {
    if arch == ScmpArch::X32 && name == "map_shadow_stack" {
        return None;
    }
    let own: &[(&str, u32)] = match arch {
        ScmpArch::X8664 => &X86_64_ONLY,
        ScmpArch::Riscv64 => &RISCV64_ONLY,
        _ => &[],
    };
    let find = |table: &[(&str, u32)]| table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    find(own).or_else(|| find(&EVERYWHERE).map(|number| first(arch) + number))
}

/// Where the numbers begin that an ABI could have.
pub(super) fn first_of_all(arch: ScmpArch) -> u32 {
    if arch == ScmpArch::X32 { X32_BIT } else { 0 }
}

/// Where an ABI's numbers begin.
fn first(arch: ScmpArch) -> u32 {
    match arch {
        ScmpArch::X32 => X32_BIT,
        // MIPS numbers its three ABIs one behind the other.
        ScmpArch::Mips | ScmpArch::Mipsel => 4000,
        ScmpArch::Mips64 | ScmpArch::Mipsel64 => 5000,
        ScmpArch::Mips64N32 | ScmpArch::Mipsel64N32 => 6000,
        _ => 0,
    }
}

/// A number that stands for a name; and where that call is one of several behind one number, which: socketcall(2),
/// ipc(2), by their first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) number: u32,
    pub(super) which: Option<u32>,
}

/// The calls of one architecture, by name.
#[derive(Debug)]
pub(super) struct Numbers {
    arch: ScmpArch,
    /// Calls that have a number of their own besides, found when they are first asked for.
    direct: OnceCell<HashMap<String, u32>>,
}

impl Numbers {
    /// Those of `arch`, if there is a table of it.
    pub(super) fn of(arch: ScmpArch) -> Option<Numbers> {
        ScmpSyscall::from_name_by_arch("read", arch).ok().map(|_| Numbers { arch, direct: OnceCell::new() })
    }

    /// None for a name that nobody knows, or that this architecture does not have.
    pub(super) fn named(&self, name: &str) -> Vec<Number> {
        let plain = |number| Number { number, which: None };
        match ScmpSyscall::from_name_by_arch(name, self.arch).map(ScmpSyscall::as_raw_syscall) {
            Ok(number @ 0..) => vec![plain(number.unsigned_abs())],
            // The library's way to say that it is behind another one: seccomp-syscalls.h, __PNR_socket and following.
            Ok(pseudo @ -120..=-101) => self.behind("socketcall", name, pseudo.unsigned_abs() - 100),
            Ok(pseudo @ -224..=-201) => self.behind("ipc", name, pseudo.unsigned_abs() - 200),
            // It is another architecture's.
            Ok(_) => vec![],
            Err(_) => young(name, self.arch).into_iter().map(plain).collect(),
        }
    }

    fn behind(&self, door: &str, name: &str, which: u32) -> Vec<Number> {
        let door = ScmpSyscall::from_name_by_arch(door, self.arch).map(ScmpSyscall::as_raw_syscall);
        let door = door.ok().and_then(|number| u32::try_from(number).ok());
        let behind = door.map(|number| Number { number, which: Some(which) });
        let direct = self.direct().get(name).map(|number| Number { number: *number, which: None });
        behind.into_iter().chain(direct).collect()
    }

    fn direct(&self) -> &HashMap<String, u32> {
        self.direct.get_or_init(|| {
            let named = |number: u32| {
                let call = ScmpSyscall::from_raw_syscall(number.cast_signed());
                call.get_name_by_arch(self.arch).ok().map(|name| (name, number))
            };
            (first(self.arch)..first(self.arch) + ALL).filter_map(named).collect()
        })
    }
}
