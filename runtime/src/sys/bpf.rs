//! bpf(2), for the one kind of program that rbox loads: cgroup v2's device filter.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{descriptor, done};

// Commands and numbers of linux/bpf.h.
const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const PROG_QUERY: u32 = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// The size of an instruction (`struct bpf_insn`).
const INSTRUCTION_BYTES: usize = 8;

/// `union bpf_attr` as PROG_LOAD reads it; the kernel takes what lies behind as zeros.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// `union bpf_attr` as PROG_ATTACH and PROG_DETACH read it.
#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// `union bpf_attr` as PROG_QUERY reads and answers it.
#[repr(C)]
#[derive(Default)]
struct QueryAttributes {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// `union bpf_attr` as PROG_GET_FD_BY_ID reads it.
#[repr(C)]
#[derive(Default)]
struct IdAttributes {
    id: u32,
    next_id: u32,
    open_flags: u32,
    padding: u32,
}

/// Check a device filter and bring it into the kernel.
///
/// bpf(2) BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15. It lives as long as it is open or attached.
/// Errors: EPERM without CAP_BPF (CAP_SYS_ADMIN before 5.8); EINVAL or EACCES if the verifier refuses it.
pub(crate) fn load_device_filter(program: &[u8]) -> io::Result<OwnedFd> {
    let count =
        u32::try_from(program.len() / INSTRUCTION_BYTES).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let license = c"Apache";
    let attributes = LoadAttributes {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: count,
        insns: program.as_ptr().addr() as u64,
        license: license.as_ptr().addr() as u64,
        prog_name: *b"rbox_devices\0\0\0\0",
        ..LoadAttributes::default()
    };
    // SAFETY: `attributes` is a live repr(C) struct of the size given; `insns` points at `count` whole instructions of
    // `program` (count is rounded down) and `license` at a NUL-ended string, both borrowed until after the call.
    descriptor(unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attributes, size_of::<LoadAttributes>()) })
}

/// Ask `filter`, from now on, about every device that a process of `cgroup` opens or makes; beside the filters that
/// are there, or in the place of `old`.
///
/// bpf(2) BPF_PROG_ATTACH, BPF_CGROUP_DEVICE, Linux 4.15; replacing, Linux 5.6.
/// Errors: EPERM if a group above forbids it; ENOENT if `old` is not attached.
pub(crate) fn attach_device_filter(
    cgroup: BorrowedFd<'_>,
    filter: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let attributes = AttachAttributes {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: filter.as_raw_fd().cast_unsigned(),
        attach_type: CGROUP_DEVICE,
        attach_flags: if old.is_some() { ALLOW_MULTI | REPLACE } else { ALLOW_MULTI },
        replace_bpf_fd: old.map_or(0, |old| old.as_raw_fd().cast_unsigned()),
    };
    // SAFETY: `attributes` is a live repr(C) struct of the size given, and the kernel only reads it.
    done(unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attributes, size_of::<AttachAttributes>()) })
}

/// Stop asking `filter`.
///
/// bpf(2) BPF_PROG_DETACH. Errors: ENOENT if it is not attached.
pub(crate) fn detach_device_filter(cgroup: BorrowedFd<'_>, filter: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = AttachAttributes {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: filter.as_raw_fd().cast_unsigned(),
        attach_type: CGROUP_DEVICE,
        ..AttachAttributes::default()
    };
    // SAFETY: `attributes` is a live repr(C) struct of the size given, and the kernel only reads it.
    done(unsafe { libc::syscall(libc::SYS_bpf, PROG_DETACH, &raw const attributes, size_of::<AttachAttributes>()) })
}

/// The numbers of the device filters attached to this very cgroup, at most 64 (the kernel's own limit for a group).
///
/// bpf(2) BPF_PROG_QUERY, Linux 4.15. Errors: EINVAL on an older kernel.
pub(crate) fn device_filters(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; 64];
    let mut attributes = QueryAttributes {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr().addr() as u64,
        prog_cnt: 64,
        ..QueryAttributes::default()
    };
    // SAFETY: `attributes` is a live repr(C) struct of the size given, which the kernel reads and answers in; `prog_ids`
    // points at the 64 numbers of `ids` that `prog_cnt` promises, and nobody else touches them during the call.
    done(unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut attributes, size_of::<QueryAttributes>()) })?;
    ids.truncate(attributes.prog_cnt as usize);
    Ok(ids)
}

/// A descriptor for a loaded program, by its number.
///
/// bpf(2) BPF_PROG_GET_FD_BY_ID, Linux 4.13. Errors: ENOENT if it is gone; EPERM without CAP_SYS_ADMIN.
pub(crate) fn program_of(id: u32) -> io::Result<OwnedFd> {
    let attributes = IdAttributes { id, ..IdAttributes::default() };
    // SAFETY: `attributes` is a live repr(C) struct of the size given, and the kernel only reads it.
    descriptor(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_GET_FD_BY_ID, &raw const attributes, size_of::<IdAttributes>())
    })
}
