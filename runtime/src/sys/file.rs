//! Files by descriptor: openat2 and its relatives, without allocation.

use super::{check, descriptor, done};
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// Open `path` below `dir`. openat2(2), Linux 5.6. `O_CLOEXEC` is always added.
///
/// `resolve` are `RESOLVE_*`: `RESOLVE_IN_ROOT` makes `dir` the root of the walk, so that no link leads out of it.
/// Errors: ENOENT; ELOOP where a link is met that `resolve` forbids; EXDEV where the walk would leave.
pub(crate) fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: i32, mode: u32, resolve: u64) -> io::Result<OwnedFd> {
    // SAFETY: open_how is plain numbers, for which all zero is a valid request.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((flags | libc::O_CLOEXEC).unsigned_abs());
    how.mode = u64::from(mode);
    how.resolve = resolve;
    // SAFETY: a C string and a structure whose size is passed; both outlive the call.
    descriptor(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            dir.as_raw_fd(),
            path.as_ptr(),
            ptr::from_ref(&how),
            size_of::<libc::open_how>(),
        )
    })
}

/// The current directory as the `dir` of an `*at` call.
pub(crate) fn here() -> BorrowedFd<'static> {
    // SAFETY: AT_FDCWD is not a descriptor that anyone can close.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
}

/// Open `path` as the process sees it. openat(2). `O_CLOEXEC` is always added.
pub(crate) fn open(path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: a C string that outlives the call.
    descriptor(i64::from(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0) }))
}

/// Make the directory `name` in `dir`. mkdirat(2). Errors: EEXIST.
pub(crate) fn mkdirat(dir: BorrowedFd<'_>, name: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: a C string that outlives the call.
    done(i64::from(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) }))
}

/// Make a device, fifo or regular file in `dir`. mknodat(2). Errors: EEXIST; EPERM without `CAP_MKNOD`.
pub(crate) fn mknodat(dir: BorrowedFd<'_>, name: &CStr, mode: u32, device: u64) -> io::Result<()> {
    // SAFETY: a C string that outlives the call.
    done(i64::from(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, device) }))
}

/// Make the symbolic link `name` in `dir`, with `target` as its text. symlinkat(2). Errors: EEXIST.
pub(crate) fn symlinkat(target: &CStr, dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: C strings that outlive the call.
    done(i64::from(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }))
}

/// Set the owner of `name` in `dir`; the last link is not followed. fchownat(2).
pub(crate) fn chownat(dir: BorrowedFd<'_>, name: &CStr, uid: u32, gid: u32) -> io::Result<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: a C string that outlives the call.
    done(i64::from(unsafe { libc::fchownat(dir.as_raw_fd(), name.as_ptr(), uid, gid, flags) }))
}

/// Type, permissions and device number of what `file` stands for. fstat(2).
pub(crate) fn fstat(file: BorrowedFd<'_>) -> io::Result<libc::stat> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the buffer has the size of the structure.
    done(i64::from(unsafe { libc::fstat(file.as_raw_fd(), found.as_mut_ptr()) }))?;
    // SAFETY: fstat succeeded, so it has filled the structure.
    Ok(unsafe { found.assume_init() })
}

/// The magic number of the file system that `file` is on (linux/magic.h). fstatfs(2).
pub(crate) fn filesystem_magic(file: BorrowedFd<'_>) -> io::Result<i64> {
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the buffer has the size of the structure.
    done(i64::from(unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) }))?;
    // SAFETY: fstatfs succeeded, so it has filled the structure.
    let found = unsafe { found.assume_init() };
    Ok(found.f_type)
}

/// Whether this process, with its effective ids, may execute `path`. faccessat2(2), Linux 5.8.
pub(crate) fn may_execute(path: &CStr) -> io::Result<()> {
    // SAFETY: a C string that outlives the call.
    done(unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) })
}

/// Make the directory behind `dir` the current one. fchdir(2).
pub(crate) fn fchdir(dir: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a number, no memory.
    done(i64::from(unsafe { libc::fchdir(dir.as_raw_fd()) }))
}

/// Make `path` the current directory. chdir(2).
pub(crate) fn chdir(path: &CStr) -> io::Result<()> {
    // SAFETY: a C string that outlives the call.
    done(i64::from(unsafe { libc::chdir(path.as_ptr()) }))
}

/// Whether the current directory can be named from `/` (getcwd(2) says "(unreachable)" or ENOENT where not).
///
/// The guard against CVE-2024-21626: a leaked descriptor as working directory would be a door to the host.
pub(crate) fn current_directory_is_inside() -> io::Result<bool> {
    let mut buffer = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: pointer and length of one buffer.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    match check(length) {
        Ok(_) => Ok(buffer[0] == b'/'),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Write all of `bytes`. write(2), repeated.
pub(crate) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: pointer and length of one slice.
        let written = unsafe { libc::write(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        match check(written as libc::c_long) {
            Ok(count) => bytes = &bytes[usize::try_from(count).unwrap_or(0)..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Read what is there, at most the buffer's length; 0 is the end. read(2).
pub(crate) fn read(file: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length of one buffer.
        let got = unsafe { libc::read(file.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match check(got as libc::c_long) {
            Ok(count) => return Ok(usize::try_from(count).unwrap_or(0)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Make `target` another name for what `file` stands for, kept open across execve. dup3(2) without `O_CLOEXEC`.
pub(crate) fn dup_onto(file: BorrowedFd<'_>, target: i32) -> io::Result<()> {
    if file.as_raw_fd() == target {
        // dup3 refuses equal numbers; what is wanted then is only that the descriptor stays open.
        // SAFETY: a number, no memory.
        return done(i64::from(unsafe { libc::fcntl(target, libc::F_SETFD, 0) }));
    }
    // SAFETY: numbers; the caller owns the slot `target` (0 to 2, or one it has reserved).
    done(i64::from(unsafe { libc::dup3(file.as_raw_fd(), target, 0) }))
}

/// Mark every descriptor from `first` up to be closed by the coming execve. close_range(2) `CLOSE_RANGE_CLOEXEC`, Linux 5.11.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: only marks descriptors; none is closed now.
    done(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) })
}

/// Whether the mount that `file` was opened through is read-only. fstatvfs(3), `ST_RDONLY`.
pub(crate) fn is_on_readonly_mount(file: BorrowedFd<'_>) -> io::Result<bool> {
    let mut found = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the buffer has the size of the structure.
    done(i64::from(unsafe { libc::fstatvfs(file.as_raw_fd(), found.as_mut_ptr()) }))?;
    // SAFETY: fstatvfs succeeded, so it has filled the structure.
    let found = unsafe { found.assume_init() };
    Ok(found.f_flag & libc::ST_RDONLY != 0)
}

/// Take a descriptor that came through a message as our own.
pub(crate) fn adopt(number: i32) -> io::Result<OwnedFd> {
    descriptor(i64::from(number))
}

/// The text of the symbolic link `name` in `dir`, as far as it fits into `buffer`. readlinkat(2). Errors: EINVAL for no link.
pub(crate) fn readlinkat<'a>(dir: BorrowedFd<'_>, name: &CStr, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    // SAFETY: a C string, pointer and length of one buffer.
    let length = unsafe { libc::readlinkat(dir.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let length = usize::try_from(check(length as libc::c_long)?).unwrap_or(0);
    Ok(&buffer[..length])
}
