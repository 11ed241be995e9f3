//! System calls that are younger than the library: their numbers, from the kernel's tables.
//!
//! Since 5.1 a new call has the same number on every architecture (x32 adds its bit). What libseccomp 2.5.4 knows ends
//! at 456; a profile that speaks of later ones is still to be understood. Source: kernel scripts/syscall.tbl and
//! arch/x86/entry/syscalls/syscall_64.tbl, Linux 6.18.

use libseccomp::ScmpArch;

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

/// The number of `name` where the library does not know it.
pub(super) fn of(name: &str, arch: ScmpArch) -> Option<u32> {
    if arch == ScmpArch::X32 && name == "map_shadow_stack" {
        return None;
    }
    let own: &[(&str, u32)] = match arch {
        ScmpArch::X8664 => &X86_64_ONLY,
        ScmpArch::Riscv64 => &RISCV64_ONLY,
        _ => &[],
    };
    let base = match arch {
        ScmpArch::X32 => X32_BIT,
        // MIPS numbers its three ABIs one behind the other.
        ScmpArch::Mips | ScmpArch::Mipsel => 4000,
        ScmpArch::Mips64 | ScmpArch::Mipsel64 => 5000,
        ScmpArch::Mips64N32 | ScmpArch::Mipsel64N32 => 6000,
        _ => 0,
    };
    let find = |table: &[(&str, u32)]| table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    find(own).or_else(|| find(&EVERYWHERE).map(|number| base + number))
}
