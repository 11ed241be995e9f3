//! Owner, mode, times and extended attributes, in the order that keeps them.
//!
//! chown(2) clears setuid bits and file capabilities, so: owner, then mode, then attributes, then times.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, Mode, fchmod};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown};
use xattr::FileExt as _;

/// Set owner and mode, setuid bits included.
pub(crate) fn set_owner_and_mode(file: &File, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
    fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    fchmod(file, Mode::from_bits_truncate(mode & 0o7777))?;
    Ok(())
}

/// overlayfs keeps its own records in attributes of these names. A layer that brings some could make the mount show
/// another file than the one that was checked (trusted.overlay.redirect, metacopy), so they are never taken over.
pub(crate) fn is_overlay_record(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Set an attribute of an open file. File capabilities must succeed; others may be more than the file system can.
pub(crate) fn set_xattr(file: &File, name: &OsStr, value: &[u8]) -> io::Result<()> {
    tolerate(name, file.set_xattr(name, value))
}

/// As [`set_xattr`], for what cannot be opened (links, devices). Does not follow a link.
pub(crate) fn set_xattr_at(path: &Path, name: &OsStr, value: &[u8]) -> io::Result<()> {
    tolerate(name, xattr::set(path, name, value))
}

fn tolerate(name: &OsStr, answer: io::Result<()>) -> io::Result<()> {
    match answer {
        Err(error) if name != "security.capability" => match error.raw_os_error().map(Errno::from_raw) {
            // As Docker: an SELinux label on a host without SELinux, a user attribute on tmpfs.
            Some(Errno::EOPNOTSUPP | Errno::EPERM) => Ok(()),
            _ => Err(error),
        },
        answer => answer,
    }
}

/// Give `to` the owner, mode and attributes of `from`; not the times.
pub(crate) fn copy(from: &File, stat: &FileStat, to: &File) -> io::Result<()> {
    set_owner_and_mode(to, stat.st_uid, stat.st_gid, stat.st_mode)?;
    for name in xattr_names(from)?.filter(|name| !is_overlay_record(name)) {
        if let Some(value) = from.get_xattr(&name)? {
            set_xattr(to, &name, &value)?;
        }
    }
    Ok(())
}

/// Remove all attributes but those that the file system itself gives to every file (an SELinux label).
pub(crate) fn remove_xattrs(file: &File) -> io::Result<()> {
    for name in xattr_names(file)?.filter(|name| name != "security.selinux") {
        file.remove_xattr(&name)?;
    }
    Ok(())
}

fn xattr_names(file: &File) -> io::Result<impl Iterator<Item = OsString>> {
    match file.list_xattr() {
        Ok(names) => Ok(Some(names).into_iter().flatten()),
        Err(error) if error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32) => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// The modification time of `stat`, as the kernel wants it back.
pub(crate) fn mtime(stat: &FileStat) -> TimeSpec {
    TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec)
}
