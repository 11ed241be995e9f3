//! The container's root file system as a mount that is attached nowhere, and what the parent reads from it.
//!
//! Nothing of it is ever in the host's mount table, so a killed rbox leaves no mount behind. Every look inside goes
//! through openat2(2) with `RESOLVE_IN_ROOT`: a link of a hostile image can only lead to another place of that image.

use crate::error::{Doing, Error, Result};
use crate::steps;
use crate::sys;
use crate::sys::mount::Attributes;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longer files than this are not /etc/passwd or /etc/group of anybody: 4 MiB, so that an image cannot eat the memory.
const LONGEST_FILE: u64 = 4 << 20;

/// A root file system, as a detached mount.
#[derive(Debug)]
pub struct Root {
    tree: OwnedFd,
}

/// A user as the image knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// First group.
    pub gid: u32,
    /// The further groups in which /etc/group lists the user.
    pub groups: Vec<u32>,
}

impl Root {
    /// The directory `path` with all that is mounted below it.
    ///
    /// # Errors
    /// `Os` when it is not there or not a directory.
    pub fn open(path: &Path) -> Result<Root> {
        Root::copy(path, libc::MS_PRIVATE)
    }

    /// The same; and what the host mounts below `path` later comes in, where the host's mount is a shared one
    /// (mount_namespaces(7): a slave).
    ///
    /// # Errors
    /// As those of [`Root::open`].
    pub fn open_slave(path: &Path) -> Result<Root> {
        Root::copy(path, libc::MS_SLAVE)
    }

    fn copy(path: &Path, propagation: u64) -> Result<Root> {
        let doing = || format!("open root file system {}", path.display());
        let place = c_path(path)?;
        let tree = rbox_explain::step(
            &steps::ROOT_TREE,
            || format!("open_tree({path:?}, OPEN_TREE_CLONE | AT_RECURSIVE)"),
            || sys::mount::open_tree(sys::file::here(), &place, true),
        )
        .doing(doing)?;
        let kind = sys::file::fstat(tree.as_fd()).doing(doing)?.st_mode & libc::S_IFMT;
        if kind != libc::S_IFDIR {
            return Err(io::Error::from_raw_os_error(libc::ENOTDIR)).doing(doing);
        }
        let change = Attributes { propagation, ..Attributes::default() };
        rbox_explain::step(
            &steps::SETATTR,
            || format!("mount_setattr({}, AT_RECURSIVE, {})", path.display(), crate::plan::attributes_words(&change)),
            || sys::mount::mount_setattr(tree.as_fd(), true, &change),
        )
        .doing(doing)?;
        Ok(Root { tree })
    }

    /// Layers laid over one another: `lower` (the topmost first) and one writable directory on top.
    ///
    /// # Errors
    /// `Os`: ENODEV without overlayfs in the kernel, EINVAL where `upper` is on a file system that cannot hold one.
    pub fn overlay(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<Root> {
        let doing = || format!("lay {} layers over one another below {}", lower.len(), upper.display());
        let tree = rbox_explain::step(
            &steps::OVERLAY,
            || format!("fsmount(overlay, lowerdir={}, upperdir={})", joined(lower), upper.display()),
            || overlay(lower, upper, work),
        )
        .doing(doing)?;
        Ok(Root { tree })
    }

    /// The tree as a directory, for what must look into it. Whoever does, looks up paths with `RESOLVE_IN_ROOT`.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }

    /// Attach the tree to the directory `place`, in a mount namespace of this thread's own: so that it can be mounted in,
    /// which a tree that is attached nowhere takes only since Linux 6.15. The thread stays there.
    ///
    /// Same as: `unshare --mount --propagation slave`
    ///
    /// # Errors
    /// `Os`: EPERM without `CAP_SYS_ADMIN`; ENOENT, ENOTDIR.
    pub fn attach_alone(&self, place: &Path) -> Result<()> {
        let doing = || format!("attach a root file system to {}", place.display());
        let path = c_path(place)?;
        sys::process::unshare(libc::CLONE_NEWNS).doing(|| "make a mount namespace".to_owned())?;
        // Before anything is mounted: else the host would see it, too.
        sys::mount::set_root_propagation(libc::MS_SLAVE | libc::MS_REC).doing(doing)?;
        let place = sys::file::open(&path, libc::O_PATH | libc::O_DIRECTORY).doing(doing)?;
        sys::mount::move_mount(self.tree.as_fd(), place.as_fd()).doing(doing)
    }

    /// Mount the host's file or directory `source` on `target`, a place in a root that is attached.
    ///
    /// Same as: `mount --bind`, or `--rbind`, with `-o ro`
    ///
    /// # Errors
    /// `Os`: ENOENT; ENOTDIR where one is a directory and the other is not.
    pub fn bind(source: &Path, target: BorrowedFd<'_>, (recursive, read_only): (bool, bool)) -> Result<()> {
        let doing = || format!("mount {}", source.display());
        let tree = sys::mount::open_tree(sys::file::here(), &c_path(source)?, recursive).doing(doing)?;
        let set = if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
        let change = Attributes { set, propagation: libc::MS_PRIVATE, ..Attributes::default() };
        sys::mount::mount_setattr(tree.as_fd(), recursive, &change).doing(doing)?;
        sys::mount::move_mount(tree.as_fd(), target).doing(doing)
    }

    /// One more descriptor of the same tree.
    pub(crate) fn tree(&self) -> Result<OwnedFd> {
        self.tree.try_clone().doing(|| "duplicate the root's descriptor".to_owned())
    }

    /// A root that is a directory of another process: `/proc/PID/root`.
    pub(crate) fn of_process(pid: i32) -> Result<Root> {
        let path = CString::new(format!("/proc/{pid}/root")).expect("digits contain no zero byte");
        let tree = sys::file::open(&path, libc::O_PATH | libc::O_DIRECTORY)
            .doing(|| format!("open the root of process {pid}"))?;
        Ok(Root { tree })
    }

    /// Read a file of the container, at most 4 MiB; no link leads out of it.
    ///
    /// # Errors
    /// `NotFound` and the other errors of openat2(2); EFBIG for a longer file.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let path = CString::new(path).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
        // O_NONBLOCK: a fifo of a hostile image must not hold us up.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = sys::file::openat2(self.directory(), &path, flags, 0, resolve)?;
        if sys::file::fstat(file.as_fd())?.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut text = Vec::new();
        let length = File::from(file).take(LONGEST_FILE + 1).read_to_end(&mut text)?;
        if length as u64 > LONGEST_FILE {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Who `who` is: `name`, `uid`, `name:group`, `uid:gid`, or nothing for root, by the container's own files.
    ///
    /// As in Docker: a number needs no entry; a name does. Without a group the user's own and its further ones count.
    ///
    /// # Errors
    /// `InvalidSpec` naming the user or group that the image does not know.
    pub fn user(&self, who: &str) -> Result<User> {
        let (name, group) = who.split_once(':').map_or((who, ""), |(name, group)| (name, group));
        let passwd = self.read("/etc/passwd").unwrap_or_default();
        let groups = self.read("/etc/group").unwrap_or_default();
        crate::users::user(name, group, &passwd, &groups)
    }

    /// The group ids of `--group-add`: names or numbers.
    ///
    /// # Errors
    /// `InvalidSpec` naming the group that the image does not know.
    pub fn groups(&self, wanted: &[String]) -> Result<Vec<u32>> {
        let groups = self.read("/etc/group").unwrap_or_default();
        wanted.iter().map(|one| crate::users::group(one, &groups)).collect()
    }

    /// The home directory of `uid`, or `/`.
    pub(crate) fn home(&self, uid: u32) -> String {
        self.read("/etc/passwd")
            .ok()
            .and_then(|passwd| crate::users::home(uid, &passwd))
            .unwrap_or_else(|| "/".to_owned())
    }
}

fn joined(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::InvalidSpec { path: path.display().to_string(), why: "contains a zero byte".to_owned() })
}

fn c_bytes(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Linux 6.7: overlayfs takes layers one by one. An older one writes a line into the kernel's log for each that it is
/// offered, so it is not asked.
const LAYER_BY_LAYER: (u32, u32) = (6, 7);

/// overlayfs by the new mount calls: one `lowerdir+` a layer, or all in one option, which may be 255 bytes long.
fn overlay(lower: &[PathBuf], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    if crate::kernel::version() < LAYER_BY_LAYER {
        return overlay_in_one_option(lower, upper, work);
    }
    match overlay_layer_by_layer(lower, upper, work) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => overlay_in_one_option(lower, upper, work),
        answer => answer,
    }
}

fn overlay_layer_by_layer(lower: &[PathBuf], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let context = sys::mount::fsopen(c"overlay")?;
    let set = |key, value: &Path| sys::mount::fsconfig(context.as_fd(), key, Some(&c_bytes(value.as_os_str())?));
    sys::mount::fsconfig(context.as_fd(), c"source", Some(c"overlay"))?;
    for layer in lower {
        set(c"lowerdir+", layer)?;
    }
    set(c"upperdir", upper)?;
    set(c"workdir", work)?;
    sys::mount::fsmount(context.as_fd(), 0)
}

/// Before Linux 6.7. The option may be 255 bytes long; more layers than that holds go the way of mount(2).
fn overlay_in_one_option(lower: &[PathBuf], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let layers = joined(lower);
    if layers.len() > 255 {
        return overlay_by_mount(&layers, upper, work);
    }
    let context = sys::mount::fsopen(c"overlay")?;
    let set = |key, value: &OsStr| sys::mount::fsconfig(context.as_fd(), key, Some(&c_bytes(value)?));
    sys::mount::fsconfig(context.as_fd(), c"source", Some(c"overlay"))?;
    set(c"lowerdir", OsStr::new(&layers))?;
    set(c"upperdir", upper.as_os_str())?;
    set(c"workdir", work.as_os_str())?;
    sys::mount::fsmount(context.as_fd(), 0)
}

/// mount(2) takes a page of options but wants a place: the mount stands on `work` for the moment it takes to copy it
/// as a detached one. A program killed in that moment leaves a mount that removing the snapshot detaches.
fn overlay_by_mount(layers: &str, upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let place = c_bytes(work.as_os_str())?;
    let options = format!("lowerdir={layers},upperdir={},workdir={}", upper.display(), work.display());
    sys::mount::mount(c"overlay", &place, c"overlay", 0, &c_bytes(OsStr::new(&options))?)?;
    let tree = sys::mount::open_tree(sys::file::here(), &place, false);
    sys::mount::detach(&place)?;
    tree
}
