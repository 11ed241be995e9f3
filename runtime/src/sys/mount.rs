//! Mounts by descriptor (fsopen, fsmount, open_tree, move_mount, mount_setattr: Linux 5.2 to 5.12) and pivot_root.
//!
//! A mount that is only a descriptor is in nobody's tree: it is gone when the descriptor is closed, whatever ends the
//! process. And attaching it needs a descriptor of the place, not a path that somebody could exchange.

use super::{descriptor, done};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

const FSCONFIG_SET_FLAG: libc::c_uint = 0; // linux/mount.h
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSCONFIG_CMD_RECONFIGURE: libc::c_uint = 7;

/// Begin a new file system of type `kind`, to be configured. fsopen(2). Errors: ENODEV for an unknown type.
pub(crate) fn fsopen(kind: &CStr) -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    // SAFETY: a C string that outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })
}

/// Set an option of a new file system: `key=value`, or the flag `key` without one. fsconfig(2).
///
/// Errors: EINVAL for an option the file system does not know; values are limited to 255 bytes.
pub(crate) fn fsconfig(context: BorrowedFd<'_>, key: &CStr, value: Option<&CStr>) -> io::Result<()> {
    let command = if value.is_some() { FSCONFIG_SET_STRING } else { FSCONFIG_SET_FLAG };
    let value = value.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: key and value are C strings (or null) that outlive the call.
    done(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key.as_ptr(), value, 0) })
}

/// Make the configured file system and answer it as a mount that is attached nowhere. fsconfig(2) CREATE, fsmount(2).
///
/// `attributes` are `MOUNT_ATTR_*`. Errors: those of the file system; EPERM where a user namespace may not see it.
pub(crate) fn fsmount(context: BorrowedFd<'_>, attributes: u64) -> io::Result<OwnedFd> {
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    let none: *const libc::c_char = ptr::null();
    // SAFETY: the create command takes neither key nor value.
    done(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0) })?;
    // SAFETY: numbers, no memory.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes) })
}

/// The file system that is mounted at `place`, to be configured anew. fspick(2). Errors: EINVAL when `place` is no mount.
pub(crate) fn fspick(place: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const FSPICK_CLOEXEC: libc::c_uint = 1;
    const FSPICK_EMPTY_PATH: libc::c_uint = 8;
    // SAFETY: an empty C string; the descriptor is borrowed for the call.
    descriptor(unsafe {
        libc::syscall(libc::SYS_fspick, place.as_raw_fd(), c"".as_ptr(), FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)
    })
}

/// Let what was set since [`fspick`] come true, all at once. fsconfig(2) RECONFIGURE. Errors: those of the file system.
pub(crate) fn reconfigure(context: BorrowedFd<'_>) -> io::Result<()> {
    let none: *const libc::c_char = ptr::null();
    // SAFETY: the reconfigure command takes neither key nor value.
    done(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_RECONFIGURE, none, none, 0) })
}

/// Copy the mount at `path` (below `dir`; an empty path is `dir` itself) as a detached mount: the first half of a bind.
///
/// open_tree(2) with `OPEN_TREE_CLONE`. `recursive` takes the mounts below along.
pub(crate) fn open_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as libc::c_uint;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    // SAFETY: a C string that outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// Attach the mount `from` on top of the directory or file `to`. move_mount(2), both by descriptor.
pub(crate) fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    const F_EMPTY_PATH: libc::c_uint = 0x4;
    const T_EMPTY_PATH: libc::c_uint = 0x40;
    let empty = c"".as_ptr();
    // SAFETY: empty C strings; both descriptors are borrowed for the call.
    done(unsafe {
        libc::syscall(libc::SYS_move_mount, from.as_raw_fd(), empty, to.as_raw_fd(), empty, F_EMPTY_PATH | T_EMPTY_PATH)
    })
}

/// Attach the mount `from` on top of `name` in `directory`, where a last part that is a link is not followed.
/// move_mount(2).
pub(crate) fn move_mount_at(from: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    const F_EMPTY_PATH: libc::c_uint = 0x4;
    // SAFETY: C strings that outlive the call; both descriptors are borrowed for it.
    done(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            directory.as_raw_fd(),
            name.as_ptr(),
            F_EMPTY_PATH,
        )
    })
}

/// What [`mount_setattr`] changes; all zero changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub(crate) clear: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE` or 0.
    pub(crate) propagation: u64,
    /// A user namespace for an id-mapped mount; unused is 0.
    pub(crate) userns: u64,
}

/// Change flags and propagation of the mount behind `mount`, and of all below it if `recursive`. mount_setattr(2), Linux 5.12.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, change: &Attributes) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: Attributes has the layout of struct mount_attr; its size is passed; it outlives the call.
    done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(change),
            size_of::<Attributes>(),
        )
    })
}

/// Change the propagation of the tree at `/`: `MS_SLAVE | MS_REC` and the like. mount(2).
pub(crate) fn set_root_propagation(flags: u64) -> io::Result<()> {
    let none: *const libc::c_char = ptr::null();
    // SAFETY: a propagation change reads the target only; the other pointers are null.
    done(i64::from(unsafe { libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) }))
}

/// Make the mount at the current directory `/`, and stack the old one on top of it. pivot_root(2), NOTES: `".", "."`.
pub(crate) fn pivot_root_here() -> io::Result<()> {
    let here = c".".as_ptr();
    // SAFETY: two C strings.
    done(unsafe { libc::syscall(libc::SYS_pivot_root, here, here) })
}

/// Let go of the mount that is on top of the current directory, now or when its last user is gone. umount2(2).
pub(crate) fn detach_here() -> io::Result<()> {
    // SAFETY: a C string.
    done(i64::from(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }))
}

/// Let go of the mount at `path`. umount2(2) with `MNT_DETACH`. Errors: EINVAL when nothing is mounted there.
pub(crate) fn detach(path: &CStr) -> io::Result<()> {
    // SAFETY: a C string.
    done(i64::from(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) }))
}

/// Mount in one call, for what the new calls cannot say (an overlay with many layers before Linux 6.5). mount(2).
pub(crate) fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: u64, data: &CStr) -> io::Result<()> {
    // SAFETY: C strings that outlive the call.
    done(i64::from(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast())
    }))
}
