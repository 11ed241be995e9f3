//! Turns on processors, disks and memory nodes. Runs in the child.

use super::done;
use crate::plan::SchedAttr;
use std::io;
use std::ptr;

/// Run on the processors of `mask` (bit n is processor n). sched_setaffinity(2). Errors: EINVAL for none that is allowed.
pub(crate) fn set_affinity(mask: &[u64]) -> io::Result<()> {
    // SAFETY: pointer and length in bytes of one slice, which is only read.
    done(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })
}

/// Policy, nice value and priorities. sched_setattr(2), Linux 3.14. Errors: EPERM without `CAP_SYS_NICE`; EINVAL.
pub(crate) fn set_scheduler(attributes: &SchedAttr) -> io::Result<()> {
    // SAFETY: the layout is that of linux/sched/types.h, its size is in its first field; flags are 0.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, ptr::from_ref(attributes), 0) })
}

/// Class and priority as linux/ioprio.h packs them. ioprio_set(2). Errors: EPERM for the real-time class.
pub(crate) fn set_io_priority(priority: i32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1; // linux/ioprio.h
    // SAFETY: numbers, no memory.
    done(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) })
}

/// Mode with its flags, and a bit for each node. set_mempolicy(2). Errors: EINVAL; ENOSYS without NUMA.
pub(crate) fn set_memory_policy(mode: i32, nodes: &[u64]) -> io::Result<()> {
    // The kernel reads one bit less than it is told (set_mempolicy(2), BUGS of its libraries).
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let mask = if nodes.is_empty() { ptr::null() } else { nodes.as_ptr() };
    // SAFETY: null with no bits, or a slice of as many bits, which is only read.
    done(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) })
}

/// The execution domain. personality(2).
pub(crate) fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: a number, no memory.
    super::check(unsafe { libc::syscall(libc::SYS_personality, domain) }).map(drop)
}
