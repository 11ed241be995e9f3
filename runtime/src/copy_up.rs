//! `tmpcopyup`: a tmpfs that begins with what the image has at its place (an option of runc and crun for tmpfs mounts).
//!
//! Done before the clone, where one may allocate: every path is opened from the directory above it and no link is followed,
//! so an image can only name what is its own.

use crate::error::{Doing, Result};
use crate::root::Root;
use crate::sys;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Directories below one another: a deeper tree is nobody's, and each level is a descriptor and a frame of the stack.
const DEEPEST: usize = 256;

/// The directory `path` of the container's root; nothing where there is none.
///
/// # Errors
/// `Os` for other reasons than that it is not there.
pub(crate) fn source(root: &Root, path: &CStr) -> Result<Option<OwnedFd>> {
    let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    match sys::file::openat2(root.directory(), path, libc::O_RDONLY | libc::O_DIRECTORY, 0, resolve) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        opened => opened.map(Some).doing(|| format!("open {} of the image", path.to_string_lossy())),
    }
}

/// Copy all of the directory `from` into `to`, with owners, modes and times, and those of `from` itself.
///
/// # Errors
/// `Os`: ENOSPC when it is more than the tmpfs may hold.
pub(crate) fn copy(from: &OwnedFd, to: &OwnedFd, place: &str) -> Result<()> {
    let doing = || format!("copy the image's {place} into its tmpfs");
    let own = fstatat(from, c"", AtFlags::AT_EMPTY_PATH).doing(doing)?;
    directory(from.as_fd(), to.as_fd(), DEEPEST).doing(doing)?;
    // The root of a mount has no name: it is its own ".".
    metadata(to.as_fd(), c".", &own).doing(doing)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, deeper: usize) -> nix::Result<()> {
    let listing = Dir::openat(from, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let names = listing.into_iter().map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let names: Vec<CString> = names.collect::<nix::Result<_>>()?;
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        entry(from, to, name, deeper)?;
    }
    Ok(())
}

fn entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, deeper: usize) -> nix::Result<()> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let open = |at: BorrowedFd<'_>, flags: OFlag| {
        openat(at, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::S_IRUSR | Mode::S_IWUSR)
    };
    match SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT) {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU)?;
            let below = |at| open(at, OFlag::O_RDONLY | OFlag::O_DIRECTORY);
            let deeper = deeper.checked_sub(1).ok_or(nix::errno::Errno::ENAMETOOLONG)?;
            directory(below(from)?.as_fd(), below(to)?.as_fd(), deeper)?;
        }
        SFlag::S_IFREG => {
            // Not blocking: what was a file may have become a fifo.
            let mut old = File::from(open(from, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
            let mut new = File::from(open(to, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?);
            std::io::copy(&mut old, &mut new).map_err(errno)?;
        }
        SFlag::S_IFLNK => symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?,
        kind => mknodat(to, name, kind, Mode::empty(), stat.st_rdev)?,
    }
    metadata(to, name, &stat)
}

fn errno(error: std::io::Error) -> nix::errno::Errno {
    nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Owner first: a change of owner takes the set-user-id bit away.
fn metadata(at: BorrowedFd<'_>, name: &CStr, stat: &FileStat) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(at, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFLNK {
        fchmodat(at, name, Mode::from_bits_truncate(stat.st_mode & 0o7777), FchmodatFlags::FollowSymlink)?;
    }
    let read = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    let changed = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    utimensat(at, name, &read, &changed, UtimensatFlags::NoFollowSymlink)
}
