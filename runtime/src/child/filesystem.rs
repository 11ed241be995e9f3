//! The container's tree: make its file systems, pivot into it, attach everything from inside.

use super::report::Reporter;
use crate::defence::Defence;
use crate::plan::{InodeVersions, Mount, Place, Source, Sysctl, Tree};
use crate::steps::Step;
use crate::sys;
use crate::sys::mount::Attributes;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Make every new file system as a detached mount of our namespaces; and a proc of our own where settings are written.
pub(super) fn make(on: &Reporter<'_>, tree: &mut Tree, settings: bool) {
    let count = tree.mounts.len();
    // One that begins with files of the image (`tmpcopyup`) has been made already.
    for (index, mount) in tree.mounts.iter_mut().enumerate().filter(|(_, mount)| mount.made.is_none()) {
        if let Source::Filesystem { kind, options, attributes } = &mount.source {
            mount.made = Some(on.nth(Step::NewFilesystem, index, || filesystem(kind, options, *attributes)));
        }
    }
    if settings {
        tree.made.proc = Some(on.nth(Step::NewFilesystem, count, || filesystem(c"proc", &[], 0)));
    }
    if !tree.masked.is_empty() {
        let attributes =
            libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        tree.made.empty_directory =
            Some(on.nth(Step::NewFilesystem, count + 1, || filesystem(c"tmpfs", &[], attributes)));
    }
}

/// A new file system as a detached mount.
pub(crate) fn filesystem(kind: &CStr, options: &[(CString, Option<CString>)], attributes: u64) -> io::Result<OwnedFd> {
    let context = sys::mount::fsopen(kind)?;
    for (key, value) in options {
        sys::mount::fsconfig(context.as_fd(), key, value.as_deref())?;
    }
    sys::mount::fsmount(context.as_fd(), attributes)
}

/// Copy the container's part of each cgroup v1 hierarchy: the parent has made it by now, and the host's tree is there.
pub(super) fn copy_cgroups(on: &Reporter<'_>, tree: &mut Tree) {
    for (index, mount) in tree.mounts.iter_mut().enumerate() {
        let Source::Cgroup { directory, attributes, .. } = &mount.source else { continue };
        let copy = on.nth(Step::CgroupCopy, index, || sys::mount::open_tree(sys::file::here(), directory, false));
        let change = Attributes { set: *attributes, propagation: libc::MS_PRIVATE, ..Attributes::default() };
        on.nth(Step::CgroupFlags, index, || sys::mount::mount_setattr(copy.as_fd(), false, &change));
        mount.made = Some(copy);
    }
}

/// Lay the tree over `/`, and go there.
pub(super) fn lay_over_root(on: &Reporter<'_>, tree: &Tree) {
    on.step(Step::RootAttach, || {
        let slash = sys::file::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        sys::mount::move_mount(tree.root.as_fd(), slash.as_fd())?;
        sys::file::fchdir(tree.root.as_fd())
    });
}

/// For hooks that look at the tree before the pivot: attach it where it lies on the host, and make it `/` of this process
/// alone, so that what is mounted now is found from inside as well. Answers the way back.
pub(super) fn stage(on: &Reporter<'_>, tree: &Tree, place: &CStr) -> OwnedFd {
    on.step(Step::Stage, || {
        let host = sys::file::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        let place = sys::file::open(place, libc::O_PATH | libc::O_DIRECTORY)?;
        sys::mount::move_mount(tree.root.as_fd(), place.as_fd())?;
        sys::file::fchdir(tree.root.as_fd())?;
        nix::unistd::chroot(c".")?;
        Ok(host)
    })
}

/// Back to the host's tree, with the container's root as the current directory.
pub(super) fn leave_stage(on: &Reporter<'_>, tree: &Tree, host: BorrowedFd<'_>) {
    on.step(Step::LeaveStage, || {
        sys::file::fchdir(host)?;
        nix::unistd::chroot(c".")?;
        sys::file::fchdir(tree.root.as_fd())
    });
}

/// Change places with the tree that is the current directory: from here on `/` is the container's.
pub(super) fn pivot(on: &Reporter<'_>, tree: &Tree) {
    match &tree.without_pivot {
        None => {
            // pivot_root(2), NOTES: with "." twice the old root lies on top of the new one, and needs no directory in it.
            on.step(Step::PivotRoot, sys::mount::pivot_root_here);
            on.step(Step::DetachOldRoot, || {
                sys::mount::detach_here()?;
                sys::file::chdir(c"/")
            });
        }
        Some(kernel) => change_root(on, kernel),
    }
    if tree.propagation != 0 {
        on.nth(Step::Propagation, 1, || sys::mount::set_root_propagation(tree.propagation));
    }
}

/// The way of an initramfs, whose root cannot be exchanged (Documentation/filesystems/ramfs-rootfs-initramfs.rst): the tree
/// lies over `/`, and chroot(2) goes there. The old root stays below it. Its proc and sysfs would count as seen for whoever
/// makes a user namespace inside, so they go first.
fn change_root(on: &Reporter<'_>, kernel: &[CString]) {
    for (index, place) in kernel.iter().enumerate() {
        on.nth(Step::Unmount, index, || match sys::mount::detach(place) {
            // Gone with the one above it.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Ok(()),
            answer => answer,
        });
    }
    on.step(Step::ChangeRoot, || {
        nix::unistd::chroot(c".")?;
        sys::file::chdir(c"/")
    });
}

/// Attach all mounts in their order, each on a place that is found from inside the new root.
pub(super) fn attach(on: &Reporter<'_>, tree: &mut Tree) {
    for (index, mount) in tree.mounts.iter().enumerate() {
        if let Source::Cgroup { below, name, .. } = &mount.source {
            let within = tree.mounts.get(*below).and_then(|mount| mount.made.as_ref());
            on.nth(Step::Attach, index, || attach_cgroup(mount, within, name));
            continue;
        }
        let place = on.nth(Step::Target, index, || {
            if let Some(outside) = tree.outside.as_ref().filter(|_| !Defence::PlacesFromInside.stands()) {
                // What a runtime does that looks for the place from outside: it makes what is missing where a link leads.
                let walk = Walk { root: outside.as_fd(), resolve: 0, is_file: mount.is_file };
                drop(walk.make(outside.try_clone()?, mount.place.whole.to_bytes(), LINKS_MAX)?);
            }
            let place = find(&mount.place, mount.is_file)?;
            refuse_proc(place.as_fd(), &mount.place)?;
            Ok(place)
        });
        on.nth(Step::Attach, index, || attach_one(mount, place.as_fd()));
        let Some(made) = &mount.made else { continue };
        if mount.propagation != 0 {
            let change = Attributes { propagation: mount.propagation, ..Attributes::default() };
            on.nth(Step::AttachPropagation, index, || sys::mount::mount_setattr(made.as_fd(), false, &change));
        }
        if let Some(wish) = &mount.inode_versions {
            on.nth(Step::InodeVersions, index, || remount_here(made.as_fd(), wish));
        }
        for (name, text) in &mount.links {
            on.nth(Step::AttachLink, index, || sys::file::symlinkat(text, made.as_fd(), name));
        }
    }
}

fn attach_one(mount: &Mount, place: BorrowedFd<'_>) -> io::Result<()> {
    match (&mount.source, &mount.made) {
        (Source::Remount { options, this, all }, _) => remount(place, options, this, all),
        // move_mount(2) says EINVAL for a file on a directory, as for much else.
        (Source::Bind, Some(_)) if is_directory(place)? == mount.is_file => {
            Err(io::Error::from_raw_os_error(libc::ENOTDIR))
        }
        (_, Some(made)) => sys::mount::move_mount(made.as_fd(), place),
        (_, None) => Err(io::Error::from_raw_os_error(libc::EBADF)),
    }
}

fn remount(
    place: BorrowedFd<'_>,
    options: &[(CString, Option<CString>)],
    this: &Attributes,
    all: &Attributes,
) -> io::Result<()> {
    if !options.is_empty() {
        let context = sys::mount::fspick(place)?;
        for (key, value) in options {
            sys::mount::fsconfig(context.as_fd(), key, value.as_deref())?;
        }
        sys::mount::reconfigure(context.as_fd())?;
    }
    for (change, recursive) in [(this, false), (all, true)] {
        if *change != Attributes::default() {
            sys::mount::mount_setattr(place, recursive, change)?;
        }
    }
    Ok(())
}

/// `iversion`: mount(2) wants a path, and the mount is where we stand.
fn remount_here(made: BorrowedFd<'_>, wish: &InodeVersions) -> io::Result<()> {
    sys::file::fchdir(made)?;
    sys::mount::mount(c"none", c".", c"none", wish.flags, &wish.data)?;
    sys::file::chdir(c"/")
}

fn is_directory(place: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(sys::file::fstat(place)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// A directory in the tmpfs that we have just made, and the hierarchy on top of it. By descriptor and name: two requests
/// for each, where a walk from the root takes fourteen.
fn attach_cgroup(mount: &Mount, within: Option<&OwnedFd>, name: &CStr) -> io::Result<()> {
    let (Some(made), Some(within)) = (&mount.made, within) else {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    };
    sys::file::mkdirat(within.as_fd(), name, 0o755)?;
    sys::mount::move_mount_at(made.as_fd(), within.as_fd(), name)
}

/// No mount may land in a procfs unless its own path says so: an image whose `/data` is a link to `/proc/self/attr`
/// would else have its volume swallow what protects the next process (CVE-2019-19921).
fn refuse_proc(place: BorrowedFd<'_>, wish: &Place) -> io::Result<()> {
    if !wish.inside_proc && sys::file::filesystem_magic(place)? == libc::PROC_SUPER_MAGIC {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    Ok(())
}

/// Open a place inside the container, and make what is missing of it.
///
/// We are behind the pivot: a link can only lead to another place of this container. Magic links (/proc/self/fd/…)
/// are forbidden all the same, and for /proc, /sys and /dev every link.
pub(super) fn find(place: &Place, is_file: bool) -> io::Result<OwnedFd> {
    match find_existing(place) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            let root = sys::file::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
            let walk = Walk { root: root.as_fd(), resolve: resolve_of(place), is_file };
            walk.make(root.as_fd().try_clone_to_owned()?, place.whole.to_bytes(), LINKS_MAX)
        }
        answer => answer,
    }
}

/// Open a place that must exist already.
pub(super) fn find_existing(place: &Place) -> io::Result<OwnedFd> {
    sys::file::openat2(sys::file::here(), &place.whole, libc::O_PATH, 0, resolve_of(place))
}

fn resolve_of(place: &Place) -> u64 {
    let forbidden = place.links_forbidden && Defence::NoLinkedPlaces.stands();
    libc::RESOLVE_NO_MAGICLINKS | if forbidden { libc::RESOLVE_NO_SYMLINKS } else { 0 }
}

/// As many links as the kernel follows in one path (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// A walk that makes what is missing on its way.
struct Walk<'a> {
    /// Where absolute links begin.
    root: BorrowedFd<'a>,
    resolve: u64,
    /// The last part is a file.
    is_file: bool,
}

impl Walk<'_> {
    /// Walk `path` from `at`. A link whose target is missing is followed by its text, `links` times at most.
    fn make(&self, at: OwnedFd, path: &[u8], links: u32) -> io::Result<OwnedFd> {
        let mut at = at;
        let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            let name = Name::new(part)?;
            let is_last = parts.peek().is_none();
            at = match sys::file::openat2(at.as_fd(), name.as_c_str(), libc::O_PATH, 0, self.resolve) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.make_one(at, &name, is_last, links)?,
                answer => answer?,
            };
        }
        Ok(at)
    }

    fn make_one(&self, at: OwnedFd, name: &Name, is_last: bool, links: u32) -> io::Result<OwnedFd> {
        let made = match is_last && self.is_file {
            true => sys::file::mknodat(at.as_fd(), name.as_c_str(), libc::S_IFREG | 0o644, 0),
            false => sys::file::mkdirat(at.as_fd(), name.as_c_str(), 0o755),
        };
        match made {
            // It is there and leads nowhere: a link.
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) && links > 0 => {
                let mut text = [0; libc::PATH_MAX as usize];
                let target = sys::file::readlinkat(at.as_fd(), name.as_c_str(), &mut text)?;
                let from = if target.starts_with(b"/") { self.root.try_clone_to_owned()? } else { at };
                let directories = Walk { is_file: self.is_file && is_last, ..*self };
                directories.make(from, target, links - 1)
            }
            made => {
                made?;
                sys::file::openat2(at.as_fd(), name.as_c_str(), libc::O_PATH | libc::O_NOFOLLOW, 0, self.resolve)
            }
        }
    }
}

/// One part of a path, with the zero byte that the kernel wants behind it; on the stack.
struct Name([u8; NAME_SIZE]);

/// limits.h `NAME_MAX`, and the zero.
const NAME_SIZE: usize = 256;

impl Name {
    fn new(part: &[u8]) -> io::Result<Name> {
        let mut bytes = [0; NAME_SIZE];
        match bytes.get_mut(..part.len()).filter(|_| part.len() < NAME_SIZE) {
            Some(space) => space.copy_from_slice(part),
            None => return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG)),
        }
        Ok(Name(bytes))
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// Write kernel settings through our own proc: nobody can have put anything in its way (CVE-2025-52881).
pub(super) fn sysctls(on: &Reporter<'_>, tree: &mut Tree, settings: &[Sysctl]) {
    let Some(proc) = tree.made.proc.take() else { return };
    let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_XDEV;
    for (index, setting) in settings.iter().enumerate() {
        on.nth(Step::Sysctl, index, || {
            if !Defence::TrueProc.stands() {
                let there = sys::file::openat2(sys::file::here(), c"/proc", libc::O_PATH, 0, 0)?;
                let file = sys::file::openat2(there.as_fd(), &setting.path, libc::O_WRONLY, 0, 0)?;
                return sys::file::write_all(file.as_fd(), setting.value.as_bytes());
            }
            let file = sys::file::openat2(proc.as_fd(), &setting.path, libc::O_WRONLY, 0, resolve)?;
            sys::file::write_all(file.as_fd(), setting.value.as_bytes())
        });
    }
}

/// Read-only at last: file systems that had to take mount points first, and the root itself.
pub(super) fn make_readonly(on: &Reporter<'_>, tree: &Tree) {
    let readonly = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    for (index, mount) in tree.mounts.iter().enumerate().filter(|(_, mount)| mount.readonly_at_last) {
        if let Some(made) = &mount.made {
            on.nth(Step::ReadonlyMount, index, || sys::mount::mount_setattr(made.as_fd(), false, &readonly));
        }
    }
    if tree.readonly {
        on.nth(Step::ReadonlyMount, tree.mounts.len(), || {
            sys::mount::mount_setattr(tree.root.as_fd(), false, &readonly)
        });
    }
}
