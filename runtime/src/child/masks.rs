//! What the container must not read (masked paths) or write (read-only paths).

use super::filesystem::find_existing;
use super::report::Reporter;
use crate::defence::Defence;
use crate::plan::{Mask, Place, Tree};
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
    let empty = tree.made.empty_directory.take();
    let mut attached = false;
    for (index, mask) in tree.masked.iter().enumerate() {
        let Some(place) = look(on, Step::Mask, index, &mask.place) else { continue };
        let is_directory = on.quietly(Step::Mask, index, || is_directory(place.as_fd()));
        if !is_directory {
            on.nth(Step::Mask, index, || hide_file(mask, place.as_fd()));
            continue;
        }
        let Some(directory) = &empty else { continue };
        if attached {
            let copy = on.nth(Step::MaskCopy, index, || sys::mount::open_tree(directory.as_fd(), c"", false));
            on.nth(Step::Mask, index, || sys::mount::move_mount(copy.as_fd(), place.as_fd()));
        } else {
            attached = true;
            on.nth(Step::Mask, index, || sys::mount::move_mount(directory.as_fd(), place.as_fd()));
        }
    }
    for (index, path) in tree.readonly_paths.iter().enumerate() {
        let Some(place) = look(on, Step::ReadonlyPath, index, path) else { continue };
        let copy = on.nth(Step::ReadonlyCopy, index, || sys::mount::open_tree(place.as_fd(), c"", true));
        let readonly = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
        on.nth(Step::ReadonlyFlags, index, || sys::mount::mount_setattr(copy.as_fd(), true, &readonly));
        on.nth(Step::ReadonlyPath, index, || sys::mount::move_mount(copy.as_fd(), place.as_fd()));
    }
}

/// The place, if there is one. Looking is no step of the story, but a failure of it is.
fn look(on: &Reporter<'_>, step: Step, index: usize, place: &Place) -> Option<OwnedFd> {
    on.quietly(step, index, || absent_is_fine(find_existing(place)))
}

fn is_directory(place: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(sys::file::fstat(place)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn absent_is_fine(found: io::Result<OwnedFd>) -> io::Result<Option<OwnedFd>> {
    match found {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        found => found.map(Some),
    }
}

/// Lay /dev/null over a file.
fn hide_file(mask: &Mask, place: BorrowedFd<'_>) -> io::Result<()> {
    if !Defence::TrueNull.stands() {
        let false_null = sys::mount::open_tree(sys::file::here(), c"/dev/null", false)?;
        return sys::mount::move_mount(false_null.as_fd(), place);
    }
    let null = mask.null.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
    sys::mount::move_mount(null.as_fd(), place)
}
