//! What the container must not read (masked paths) or write (read-only paths).

use super::filesystem::find_existing;
use super::report::Reporter;
use crate::defence::Defence;
use crate::plan::{Place, Tree};
use crate::steps::Step;
use crate::sys;
use crate::sys::mount::Attributes;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Copy the host's /dev/null, before the host's tree is gone.
///
/// Never the container's own /dev/null, which an image could make a link to anything (CVE-2025-31133).
pub(super) fn copy_null(on: &Reporter<'_>, tree: &mut Tree) {
    if tree.masked.is_empty() {
        return;
    }
    tree.made.null = Some(on.step(Step::Null, || {
        let null = sys::mount::open_tree(sys::file::here(), c"/dev/null", false)?;
        let found = sys::file::fstat(null.as_fd())?;
        // admin-guide/devices.txt: 1 char, 3 = /dev/null
        let is_null = found.st_mode & libc::S_IFMT == libc::S_IFCHR && found.st_rdev == libc::makedev(1, 3);
        if is_null { Ok(null) } else { Err(io::Error::from_raw_os_error(libc::ENODEV)) }
    }));
}

/// What hides one kind of path: a mount that is attached for the first, and copied for each further one.
struct Cover {
    mount: Option<OwnedFd>,
    attached: bool,
}

impl Cover {
    fn over(&mut self, on: &Reporter<'_>, index: usize, place: BorrowedFd<'_>) {
        let Some(mount) = &self.mount else { return };
        if self.attached {
            let copy = on.nth(Step::MaskCopy, index, || sys::mount::open_tree(mount.as_fd(), c"", false));
            on.nth(Step::Mask, index, || sys::mount::move_mount(copy.as_fd(), place));
        } else {
            self.attached = true;
            on.nth(Step::Mask, index, || sys::mount::move_mount(mount.as_fd(), place));
        }
    }
}

/// Hide the masked paths and make the read-only ones read-only. A path that is not there needs neither.
pub(super) fn cover(on: &Reporter<'_>, tree: &mut Tree) {
    let mut directories = Cover { mount: tree.made.empty_directory.take(), attached: false };
    let mut files = Cover { mount: tree.made.null.take(), attached: false };
    for (index, path) in tree.masked.iter().enumerate() {
        let Some(place) = look(on, Step::Mask, index, path) else { continue };
        if on.quietly(Step::Mask, index, || is_directory(place.as_fd())) {
            directories.over(on, index, place.as_fd());
        } else if Defence::TrueNull.stands() {
            files.over(on, index, place.as_fd());
        } else {
            on.nth(Step::Mask, index, || hide_with_their_null(place.as_fd()));
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

/// What a runtime does that takes the container's word for what /dev/null is: only in the build of the attack tests.
fn hide_with_their_null(place: BorrowedFd<'_>) -> io::Result<()> {
    let null = sys::mount::open_tree(sys::file::here(), c"/dev/null", false)?;
    sys::mount::move_mount(null.as_fd(), place)
}
