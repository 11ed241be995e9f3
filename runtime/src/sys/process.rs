//! Processes: clone3, execve, identity, capabilities, seccomp, and what a parent does with a pidfd.

use super::{check, descriptor, done};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// The flag of clone3(2) that `libc` truncates to 0 on glibc targets (`CLONE_INTO_CGROUP`, Linux 5.7).
pub(crate) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Who came back from [`clone3`].
pub(crate) enum Cloned {
    /// We are the parent: the child's pid as we see it, and a descriptor that stands for it.
    Parent {
        /// The child's process id in the caller's pid namespace.
        pid: i32,
        /// A pidfd, close-on-exec: stays right after the pid has been used again.
        pidfd: OwnedFd,
    },
    /// We are the child.
    Child,
}

/// Make a copy of this process in new namespaces, and in `cgroup` from its first instruction where that is given.
///
/// clone3(2), Linux 5.3; `CLONE_PIDFD` is always added. The child has a copy of the memory, as after fork(2), but no
/// atfork handler has run: until execve it must not allocate, lock or panic.
/// Errors: EPERM without privilege; ENOSPC at the limit of nested namespaces (`user.max_*_namespaces`); EAGAIN.
pub(crate) fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    let into = if cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 };
    // SAFETY: clone_args is plain numbers, for which all zero is the documented "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64 | into;
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    // A sibling's death is told as ours would be: it takes over our signal.
    args.exit_signal = if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 };
    args.cgroup = cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs()));
    // SAFETY: args lives until the call returns and its size is passed; stack is 0 and CLONE_VM is never set (callers
    // pass CLONE_NEW* only), so the child runs on its own copy of this stack.
    let returned = unsafe { libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut args), size_of::<libc::clone_args>()) };
    let pid = check(returned)?;
    if pid == 0 {
        super::trap::arm();
        return Ok(Cloned::Child);
    }
    let pid = i32::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(Cloned::Parent { pid, pidfd: descriptor(i64::from(pidfd))? })
}

/// Replace this process by the program at `path`. Only returns on failure. execve(2). Runs in the child.
///
/// `argv` and `envp` end with a null pointer, as [`crate::plan::Argv`] makes them.
pub(crate) fn execve(path: &CStr, argv: &[*const libc::c_char], envp: &[*const libc::c_char]) -> io::Error {
    debug_assert!(argv.last().is_some_and(|last| last.is_null()) && envp.last().is_some_and(|last| last.is_null()));
    // SAFETY: both arrays end with null and point into C strings of the Plan, which lives as long as this process.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

/// Replace this process by the program behind `file`. Only returns on failure. execveat(2) with `AT_EMPTY_PATH`.
pub(crate) fn execveat(file: BorrowedFd<'_>, argv: &[*const libc::c_char], envp: &[*const libc::c_char]) -> io::Error {
    debug_assert!(argv.last().is_some_and(|last| last.is_null()) && envp.last().is_some_and(|last| last.is_null()));
    // SAFETY: as in execve; the path is the empty string.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// End this process without running anything of the parent's (no atexit, no destructor). _exit(2). Runs in the child.
pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(status) }
}

/// The pid of this process in its own pid namespace. getpid(2), not glibc's idea of it after a raw clone.
pub(crate) fn getpid() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) };
    i32::try_from(pid).unwrap_or(0)
}

/// Become leader of a new session without a controlling terminal. setsid(2). Runs in the child.
pub(crate) fn setsid() -> io::Result<()> {
    // SAFETY: takes nothing.
    done(i64::from(unsafe { libc::setsid() }))
}

/// `struct pidfd_info` of linux/pidfd.h, its first version and what a status needs of it.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
    later: [u64; 8],
}

/// The status, as of wait(2), of a process that has ended and was collected by its parent; nothing before.
///
/// ioctl(2) `PIDFD_GET_INFO`, Linux 6.13, with `PIDFD_INFO_EXIT`, Linux 6.15. Errors: ENOTTY or EINVAL before.
pub(crate) fn pidfd_exit_status(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info); the size in the number is that of our struct.
    let request = 3 << 30 | (size_of::<PidfdInfo>() as libc::c_ulong) << 16 | 0xff << 8 | 11;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the struct lives until the call returns, and its size is part of the request.
    match done(i64::from(unsafe { libc::ioctl(pidfd.as_raw_fd(), request, ptr::from_mut(&mut info)) })) {
        // Not collected yet, or too old a kernel to tell: ESRCH comes when it is gone without a trace.
        Err(error) => Err(error),
        Ok(()) => Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)),
    }
}

/// Give the heap's free pages back. malloc_trim(3).
pub(crate) fn trim_heap() {
    // SAFETY: takes a number; the allocator locks itself.
    unsafe { libc::malloc_trim(0) };
}

/// Let go of the pages from `from` to `to`: they are read from their file again when they are touched.
///
/// madvise(2) `MADV_DONTNEED`. Only for a private mapping of a file without pages of its own (smaps `Anonymous: 0`):
/// then what is read again is what was there.
pub(crate) fn forget_pages(from: usize, to: usize) -> io::Result<()> {
    // SAFETY: the caller has seen that the range holds nothing but a file's pages, so no value changes.
    done(i64::from(unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) }))
}

/// Have the kernel read no more of a file's mapping than is touched. madvise(2) `MADV_RANDOM`.
pub(crate) fn read_alone(from: usize, to: usize) -> io::Result<()> {
    // SAFETY: advice on reading ahead; no value changes.
    done(i64::from(unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_RANDOM) }))
}

/// Let go of the pages of this thread's stack from `bottom` to a good way below what is in use: what deeper calls left.
/// madvise(2) `MADV_DONTNEED`.
pub(crate) fn forget_stack_below(bottom: usize) -> io::Result<()> {
    const MARGIN_BYTES: usize = 16 * 1024;
    const PAGE_BYTES: usize = 4096;
    let here = 0_u8;
    let in_use = ptr::from_ref(&here) as usize;
    let end = in_use.saturating_sub(MARGIN_BYTES) & !(PAGE_BYTES - 1);
    if end <= bottom {
        return Ok(());
    }
    // SAFETY: the range lies below the stack pointer and the red zone, by the margin; no frame that lives is in it, and no
    // signal handler of ours runs. A later call finds zero pages there, as on a fresh stack.
    done(i64::from(unsafe { libc::madvise(bottom as *mut libc::c_void, end - bottom, libc::MADV_DONTNEED) }))
}

/// Have the kernel send `signal` to this process when its parent dies; 0 takes the wish back. Runs in the child.
///
/// prctl(2) `PR_SET_PDEATHSIG`. Lost on a change of credentials, so it is said again after them.
pub(crate) fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    // SAFETY: a number, no memory.
    done(i64::from(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong, 0, 0, 0) }))
}

/// Forbid (or allow) others to look into this process through /proc and ptrace. prctl(2) `PR_SET_DUMPABLE`.
pub(crate) fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: a number, no memory.
    done(i64::from(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0, 0, 0) }))
}

/// Name this thread, as `ps` shows it (15 bytes). prctl(2) `PR_SET_NAME`.
pub(crate) fn set_name(name: &CStr) -> io::Result<()> {
    // SAFETY: a C string that outlives the call.
    done(i64::from(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }))
}

/// Stop this process and its children from ever gaining privileges through execve.
///
/// prctl(2) `PR_SET_NO_NEW_PRIVS`, Linux 3.5. Irreversible, inherited. Runs in the child.
pub(crate) fn set_no_new_privs() -> io::Result<()> {
    // SAFETY: numbers, no memory.
    done(i64::from(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as libc::c_ulong, 0, 0, 0) }))
}

/// Keep the permitted capabilities across the coming change of user id. prctl(2) `PR_SET_KEEPCAPS`. Runs in the child.
pub(crate) fn keep_capabilities(keep: bool) -> io::Result<()> {
    // SAFETY: a number, no memory.
    done(i64::from(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep), 0, 0, 0) }))
}

/// Take one capability out of the bounding set. prctl(2) `PR_CAPBSET_DROP`; EINVAL for a number the kernel does not know.
pub(crate) fn drop_bounding(capability: u32) -> io::Result<()> {
    // SAFETY: a number, no memory.
    done(i64::from(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }))
}

/// Empty the ambient set. prctl(2) `PR_CAP_AMBIENT_CLEAR_ALL`, Linux 4.3.
pub(crate) fn clear_ambient() -> io::Result<()> {
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong;
    // SAFETY: numbers, no memory.
    done(i64::from(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, 0, 0, 0) }))
}

/// Put one capability into the ambient set; it must be permitted and inheritable. prctl(2) `PR_CAP_AMBIENT_RAISE`.
pub(crate) fn raise_ambient(capability: u32) -> io::Result<()> {
    let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
    // SAFETY: numbers, no memory.
    done(i64::from(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, libc::c_ulong::from(capability), 0, 0) }))
}

/// Set the effective, permitted and inheritable capabilities (bit n is capability n). capset(2). Runs in the child.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522; // linux/capability.h
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let mut header = Header { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let half = |set: u64, shift: u32| u32::try_from((set >> shift) & 0xffff_ffff).unwrap_or(0);
    // Version 3 takes two triples: the low and the high 32 bits of effective, permitted, inheritable.
    let data = [
        [half(effective, 0), half(permitted, 0), half(inheritable, 0)],
        [half(effective, 32), half(permitted, 32), half(inheritable, 32)],
    ];
    // SAFETY: both structures have the layout of linux/capability.h for version 3 and live until the call returns.
    done(unsafe { libc::syscall(libc::SYS_capset, ptr::from_mut(&mut header), data.as_ptr()) })
}

/// Set real, effective and saved group id. setresgid(2), the bare call: glibc's would signal threads we do not have.
pub(crate) fn setresgid(gid: u32) -> io::Result<()> {
    // SAFETY: numbers, no memory.
    done(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })
}

/// Set real, effective and saved user id. setresuid(2), the bare call.
pub(crate) fn setresuid(uid: u32) -> io::Result<()> {
    // SAFETY: numbers, no memory.
    done(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

/// Set the supplementary groups. setgroups(2), the bare call.
pub(crate) fn setgroups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: pointer and length of one slice.
    done(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
}

/// Set one resource limit of `pid` (0: this process). prlimit64(2).
///
/// Errors: EPERM when the hard limit is raised without `CAP_SYS_RESOURCE`.
pub(crate) fn prlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let nowhere: *mut libc::rlimit64 = ptr::null_mut();
    // SAFETY: the limit lives until the call returns; the old value is not wanted.
    done(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, ptr::from_ref(&limit), nowhere) })
}

/// Set the mask of permission bits that new files do not get. umask(2) cannot fail.
pub(crate) fn umask(mask: u32) {
    // SAFETY: a number, no memory.
    unsafe { libc::umask(mask) };
}

/// Load a filter for system calls into this process. seccomp(2) `SECCOMP_SET_MODE_FILTER`. Runs in the child.
///
/// `program` is an array of `struct sock_filter` (8 bytes each). Answers the listener's descriptor when `flags` ask
/// for one, else 0. Errors: EACCES without no_new_privs or `CAP_SYS_ADMIN`; EINVAL for a malformed program.
pub(crate) fn seccomp_filter(program: &[u8], flags: u64) -> io::Result<libc::c_long> {
    let instructions = u16::try_from(program.len() / size_of::<libc::sock_filter>())
        .map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog { len: instructions, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: len counts whole instructions of the slice, which outlives the call; the kernel only reads and copies it
    // byte by byte, so alignment does not matter.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, ptr::from_ref(&program)) })
}

/// Move this process into new namespaces; of several threads only this one, where the kind allows it. unshare(2).
pub(crate) fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: a number; only namespace flags are passed, so no memory is unshared.
    done(i64::from(unsafe { libc::unshare(flags) }))
}

/// Move this process into a namespace (of a /proc/PID/ns file) or into several (of a pidfd, Linux 5.8). setns(2).
pub(crate) fn setns(namespace: BorrowedFd<'_>, kinds: i32) -> io::Result<()> {
    // SAFETY: numbers, no memory.
    done(i64::from(unsafe { libc::setns(namespace.as_raw_fd(), kinds) }))
}

/// Join a new, anonymous session keyring, so that the host's keys are not reachable. keyctl(2).
pub(crate) fn join_session_keyring(name: &CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1; // linux/keyctl.h
    // SAFETY: a C string that outlives the call.
    done(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
}

/// A copy of descriptor `number` of another process. pidfd_getfd(2), Linux 5.6. Errors: EPERM; EBADF.
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: numbers, no memory.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })
}

/// A descriptor that stands for process `pid`. pidfd_open(2), Linux 5.3. Errors: ESRCH when it is gone.
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: numbers, no memory.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Send `signal` to the process behind a pidfd. pidfd_send_signal(2), Linux 5.1. Errors: ESRCH when it is gone.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_details: *const libc::siginfo_t = ptr::null();
    // SAFETY: the details are null, so the kernel fills them in itself.
    done(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_details, 0) })
}

/// Reap a child that has ended: `(pid, status as wait(2) gives it)`, pid 0 where none has. waitpid(2) `WNOHANG`.
///
/// Runs in the child (the `--init` reaper). Errors: ECHILD without children.
pub(crate) fn wait_any_now() -> io::Result<(i32, i32)> {
    let mut status = 0;
    // SAFETY: status outlives the call.
    let pid = check(i64::from(unsafe { libc::waitpid(-1, ptr::from_mut(&mut status), libc::WNOHANG) }))?;
    Ok((i32::try_from(pid).unwrap_or(-1), status))
}

/// A plain copy of this process (fork without glibc's handlers). Answers 0 in the copy. clone(2), the oldest call of
/// its kind: a seccomp filter may answer ENOSYS to clone3. Runs in the child.
pub(crate) fn fork() -> io::Result<i32> {
    // SAFETY: no flag but the signal, so the copy has its own stack and memory; the other arguments are unused.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    Ok(i32::try_from(check(pid)?).unwrap_or(-1))
}

/// Every signal that a process can be sent, as a mask for [`set_signal_mask`].
pub(crate) const ALL_SIGNALS: u64 = u64::MAX;

/// Set the mask of blocked signals (bit n-1 is signal n). rt_sigprocmask(2), the bare call.
pub(crate) fn set_signal_mask(mask: u64) -> io::Result<()> {
    let nowhere: *mut u64 = ptr::null_mut();
    // SAFETY: the kernel's mask is 8 bytes, which the size says; it outlives the call.
    done(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, ptr::from_ref(&mask), nowhere, size_of::<u64>())
    })
}

/// Give `signal` its default action back. rt_sigaction(2) through libc. Errors: EINVAL for SIGKILL and SIGSTOP.
pub(crate) fn default_action(signal: i32) -> io::Result<()> {
    // SAFETY: SIG_DFL installs no code of ours.
    let before = unsafe { libc::signal(signal, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Wait for one of the blocked signals of `mask` and answer its number. rt_sigtimedwait(2) without a limit.
pub(crate) fn wait_signal(mask: u64) -> io::Result<i32> {
    let no_details: *mut libc::siginfo_t = ptr::null_mut();
    let no_limit: *const libc::timespec = ptr::null();
    // SAFETY: mask outlives the call and its size is passed; details and limit are null.
    let signal = check(unsafe {
        libc::syscall(libc::SYS_rt_sigtimedwait, ptr::from_ref(&mask), no_details, no_limit, size_of::<u64>())
    })?;
    Ok(i32::try_from(signal).unwrap_or(0))
}

/// Send `signal` to process `pid` of this pid namespace. kill(2).
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: numbers, no memory.
    done(i64::from(unsafe { libc::kill(pid, signal) }))
}

/// Nanoseconds of the monotonic clock. clock_gettime(2), from the vDSO.
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: now outlives the call; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, ptr::from_mut(&mut now)) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Name this uts namespace's host. sethostname(2); at most 64 bytes. Runs in the child.
pub(crate) fn sethostname(name: &CStr) -> io::Result<()> {
    // SAFETY: pointer and length of one C string.
    done(i64::from(unsafe { libc::sethostname(name.as_ptr(), name.count_bytes()) }))
}

/// Name this uts namespace's NIS domain. setdomainname(2); at most 64 bytes. Runs in the child.
pub(crate) fn setdomainname(name: &CStr) -> io::Result<()> {
    // SAFETY: pointer and length of one C string.
    done(i64::from(unsafe { libc::setdomainname(name.as_ptr(), name.count_bytes()) }))
}

/// Make this process the leader of a new process group. setpgid(2).
pub(crate) fn own_process_group() -> io::Result<()> {
    // SAFETY: numbers, no memory.
    done(i64::from(unsafe { libc::setpgid(0, 0) }))
}

/// Put process group `group` into the foreground of the terminal on descriptor 0. tcsetpgrp(3).
pub(crate) fn take_foreground(group: i32) -> io::Result<()> {
    // SAFETY: numbers, no memory.
    done(i64::from(unsafe { libc::tcsetpgrp(0, group) }))
}

/// Close every descriptor from `first` up, now. close_range(2), Linux 5.9.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: its callers own nothing that they would use afterwards: the `--init` reaper, and a monitor that has just begun.
    done(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) })
}
