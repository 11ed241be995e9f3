//! What the container must not read (masked paths) or write (read-only paths).

use super::filesystem::find_existing;
use super::report::Reporter;
use crate::defence::Defence;
use crate::plan::{Mask, Tree};
use crate::steps::Step;
use crate::sys;
use crate::sys::mount::Attributes;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Copy the host's /dev/null once for each masked path, before the host's tree is gone.
///
/// Never the container's own /dev/null, which an image could make a link to anything (CVE-2025-31133).
pub(super) fn copy_null(on: &Reporter<'_>, tree: &mut Tree) {
    for (index, mask) in tree.masked.iter_mut().enumerate() {
        mask.null = Some(on.nth(Step::Null, index, || {
            let null = sys::mount::open_tree(sys::file::here(), c"/dev/null", false)?;
            let found = sys::file::fstat(null.as_fd())?;
            // admin-guide/devices.txt: 1 char, 3 = /dev/null
            let is_null = found.st_mode & libc::S_IFMT == libc::S_IFCHR && found.st_rdev == libc::makedev(1, 3);
            if is_null { Ok(null) } else { Err(io::Error::from_raw_os_error(libc::ENODEV)) }
        }));
    }
}

/// Hide the masked paths and make the read-only ones read-only. A path that is not there needs neither.
pub(super) fn cover(on: &Reporter<'_>, tree: &mut Tree) {
    let mut empty = tree.made.empty_directory.take();
    let mut attached = false;
    for (index, mask) in tree.masked.iter().enumerate() {
        on.nth(Step::Mask, index, || {
            let Some(place) = absent_is_fine(find_existing(&mask.place))? else { return Ok(()) };
            hide(mask, place.as_fd(), &mut empty, &mut attached)
        });
    }
    for (index, path) in tree.readonly_paths.iter().enumerate() {
        on.nth(Step::ReadonlyPath, index, || match absent_is_fine(find_existing(path))? {
            Some(place) => readonly(place.as_fd()),
            None => Ok(()),
        });
    }
}

fn absent_is_fine(found: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match found {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        found => found.map(Some),
    }
}

/// A file gets /dev/null laid over it. Directories share one empty, read-only tmpfs: a tmpfs each would cost a
/// superblock each.
fn hide(mask: &Mask, place: BorrowedFd<'_>, empty: &mut Option<OwnedFd>, attached: &mut bool) -> io::Result<()> {
    let is_directory = sys::file::fstat(place)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    let lost = || io::Error::from_raw_os_error(libc::EBADF);
    if !is_directory {
        if !Defence::TrueNull.stands() {
            let false_null = sys::mount::open_tree(sys::file::here(), c"/dev/null", false)?;
            return sys::mount::move_mount(false_null.as_fd(), place);
        }
        let null = mask.null.as_ref().ok_or_else(lost)?;
        return sys::mount::move_mount(null.as_fd(), place);
    }
    let directory = empty.as_ref().ok_or_else(lost)?;
    if *attached {
        let copy = sys::mount::open_tree(directory.as_fd(), c"", false)?;
        return sys::mount::move_mount(copy.as_fd(), place);
    }
    *attached = true;
    sys::mount::move_mount(directory.as_fd(), place)
}

/// Bind the path onto itself, read-only with all that is mounted below.
fn readonly(place: BorrowedFd<'_>) -> io::Result<()> {
    let copy = sys::mount::open_tree(place, c"", true)?;
    let readonly = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    sys::mount::mount_setattr(copy.as_fd(), true, &readonly)?;
    sys::mount::move_mount(copy.as_fd(), place)
}
