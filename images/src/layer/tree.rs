//! The directory that a layer is unpacked into, and the way to a path in it.
//!
//! A path of the archive never reaches the kernel whole without `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`.
//! Where that stops at a link, the link is followed here, one component at a time, by these rules:
//!
//! - a link of a lower layer is followed as the container would (`/` is the container's root): Debian's
//!   `var/run -> /run` is met by real layers;
//! - a link of this same layer is followed only if it is relative and stays inside: no tool writes an archive that
//!   leads through its own absolute link, only an attack does;
//! - climbing above the root is refused in both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, futimens, mkdirat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::lowers::{Found, Lowers, file_type, is_whiteout, open_directory, strict};
use super::metadata;
use crate::error::refused;

/// Links followed on one path: the kernel's own limit, path_resolution(7).
const LINKS_MAX: u32 = 40;
pub(super) const OPAQUE: &str = "trusted.overlay.opaque";

/// The layer being filled.
pub(super) struct Tree<'l> {
    root: OwnedFd,
    pub(super) lowers: &'l Lowers,
    /// Times of directories: set at the end, because every file put into a directory changes them.
    times: BTreeMap<PathBuf, (i64, i64)>,
    opaque: BTreeSet<PathBuf>,
    /// The last parent that was looked up; most entries follow their siblings.
    last: Option<(PathBuf, Place)>,
}

/// A directory of the tree: its path without links, and itself.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) fd: std::rc::Rc<OwnedFd>,
}

impl Place {
    /// A path to `name` in here that any system call takes.
    pub(super) fn proc_path(&self, name: &OsStr) -> PathBuf {
        Path::new("/proc/self/fd").join(self.fd.as_raw_fd().to_string()).join(name)
    }

    pub(super) fn stat(&self, name: &OsStr) -> nix::Result<Option<FileStat>> {
        match fstatat(&*self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Open a directory or file in here; never a link.
    pub(super) fn open(&self, name: &OsStr, flags: OFlag) -> nix::Result<File> {
        let mode = if flags.contains(OFlag::O_CREAT) { Mode::S_IRUSR | Mode::S_IWUSR } else { Mode::empty() };
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).mode(mode);
        openat2(&*self.fd, name, how.resolve(strict())).map(File::from)
    }
}

/// Split a path of the archive; what could lead outside is refused.
pub(super) fn components(path: &[u8]) -> io::Result<Vec<OsString>> {
    if path.starts_with(b"/") && path.iter().any(|b| *b != b'/') {
        return Err(refuse(path, "the path is absolute"));
    }
    let parts = path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<_> = parts.map(|part| OsString::from_vec(part.to_vec())).collect();
    if parts.iter().any(|part| part == "..") {
        return Err(refuse(path, "the path climbs with .."));
    }
    Ok(parts)
}

/// Refuse the entry `path`.
pub(super) fn refuse(path: &[u8], why: &str) -> io::Error {
    refused(format!("unpack {:?}", String::from_utf8_lossy(path)), why).into()
}

impl<'l> Tree<'l> {
    pub(super) fn new(root: OwnedFd, lowers: &'l Lowers) -> Self {
        Tree { root, lowers, times: BTreeMap::new(), opaque: BTreeSet::new(), last: None }
    }

    pub(super) fn root(&self) -> io::Result<Place> {
        Ok(Place { path: PathBuf::new(), fd: self.root.try_clone()?.into() })
    }

    /// The directory that is to hold an entry whose parents are `parents`; missing ones are made.
    pub(super) fn place(&mut self, parents: &[OsString]) -> io::Result<Place> {
        let wanted: PathBuf = parents.iter().collect();
        if let Some((path, place)) = &self.last
            && *path == wanted
        {
            return Ok(place.clone());
        }
        let place = match open_directory(&self.root, &wanted) {
            Ok(fd) => Place { path: wanted.clone(), fd: fd.into() },
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => self.walk(parents)?,
            Err(error) => return Err(error.into()),
        };
        self.last = Some((wanted, place.clone()));
        Ok(place)
    }

    /// As [`Tree::place`], component by component.
    fn walk(&mut self, parents: &[OsString]) -> io::Result<Place> {
        let refuse = |why: &str| refuse(parents.join(OsStr::new("/")).as_bytes(), why);
        let mut todo: VecDeque<OsString> = parents.iter().cloned().collect();
        let mut at = self.root()?;
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                let Some(parent) = at.path.parent().map(Path::to_owned) else {
                    return Err(refuse("a link in the path climbs above the root"));
                };
                at = Place { fd: open_directory(&self.root, &parent)?.into(), path: parent };
                continue;
            }
            let target = match self.step(&mut at, &name)? {
                None => continue,
                Some(Link::Here(target)) if target.as_bytes().starts_with(b"/") => {
                    return Err(refuse("the path leads through an absolute link of the same layer"));
                }
                Some(Link::Here(target) | Link::Below(target)) => target,
            };
            links += 1;
            if links > LINKS_MAX {
                return Err(refuse("too many links in the path"));
            }
            if target.as_bytes().starts_with(b"/") {
                at = self.root()?;
            }
            let parts = target.as_bytes().split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
            for part in parts.rev() {
                todo.push_front(OsStr::from_bytes(part).to_owned());
            }
        }
        Ok(at)
    }

    /// Go down into `name`, which is made if it is missing; or say that it is a link.
    fn step(&mut self, at: &mut Place, name: &OsStr) -> io::Result<Option<Link>> {
        let path = at.path.join(name);
        match at.stat(name)? {
            Some(stat) if file_type(&stat) == SFlag::S_IFDIR => {}
            Some(stat) if file_type(&stat) == SFlag::S_IFLNK => {
                return Ok(Some(Link::Here(readlinkat(&*at.fd, name)?)));
            }
            Some(stat) if is_whiteout(&stat) => {
                unlinkat(&*at.fd, name, UnlinkatFlags::NoRemoveDir)?;
                self.make_directory(at, name, None)?;
                self.make_opaque(&path)?;
            }
            Some(_) => return Err(refuse(path.as_os_str().as_bytes(), "it is both a file and a directory")),
            None => match self.below(&path)? {
                Some(found) if found.kind() == SFlag::S_IFLNK => return Ok(Some(Link::Below(found.read_link()?))),
                Some(found) if found.kind() == SFlag::S_IFDIR => self.make_directory(at, name, Some(&found))?,
                Some(_) => return Err(refuse(path.as_os_str().as_bytes(), "a lower layer has a file there")),
                None => self.make_directory(at, name, None)?,
            },
        }
        *at = Place { fd: open_directory(&*at.fd, Path::new(name))?.into(), path };
        Ok(None)
    }

    /// What the lower layers show at `path`, unless this layer hides it.
    pub(super) fn below(&self, path: &Path) -> io::Result<Option<Found>> {
        if self.lowers.is_empty() || path.ancestors().skip(1).any(|above| self.opaque.contains(above)) {
            return Ok(None);
        }
        Ok(self.lowers.lookup(path)?)
    }

    /// Make a directory that the archive only implies: as the lower layers have it, else 0755 root.
    fn make_directory(&mut self, at: &Place, name: &OsStr, like: Option<&Found>) -> io::Result<()> {
        mkdirat(&*at.fd, name, Mode::S_IRWXU)?;
        let directory = at.open(name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        match like {
            Some(found) => {
                metadata::copy(&found.open()?, &found.stat, &directory)?;
                self.times.insert(at.path.join(name), (found.stat.st_mtime, found.stat.st_mtime_nsec));
            }
            None => metadata::set_owner_and_mode(&directory, 0, 0, 0o755)?,
        }
        Ok(())
    }

    /// Remove whatever stands at `name`, so that something else can. A link is removed, never followed.
    pub(super) fn clear(&mut self, at: &Place, name: &OsStr, stat: &FileStat) -> io::Result<()> {
        if file_type(stat) != SFlag::S_IFDIR {
            return Ok(unlinkat(&*at.fd, name, UnlinkatFlags::NoRemoveDir)?);
        }
        // The cached parent and everything known about directories below is gone with it.
        self.last = None;
        let gone = at.path.join(name);
        self.times.retain(|path, _| !path.starts_with(&gone));
        self.opaque.retain(|path| !path.starts_with(&gone));
        std::fs::remove_dir_all(at.proc_path(name))
    }

    /// Let the directory at `path` hide what lower layers have in it.
    pub(super) fn make_opaque(&mut self, path: &Path) -> io::Result<()> {
        if self.lowers.is_empty() {
            return Ok(());
        }
        let name = if path.as_os_str().is_empty() { OsStr::new(".") } else { path.as_os_str() };
        let directory = self.root()?.open(name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        // Where the file system has no such attributes there is no overlay either, and a copy reads our own list.
        metadata::set_xattr(&directory, OsStr::new(OPAQUE), b"y")?;
        self.opaque.insert(path.to_owned());
        Ok(())
    }

    pub(super) fn remember_time(&mut self, path: PathBuf, mtime: (i64, i64)) {
        self.times.insert(path, mtime);
    }

    /// Set the times of all directories; gives the opaque ones.
    pub(super) fn finish(self) -> io::Result<BTreeSet<PathBuf>> {
        for (path, (seconds, nanoseconds)) in &self.times {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(strict());
            let time = TimeSpec::new(*seconds, *nanoseconds);
            match openat2(&self.root, path, how) {
                Ok(directory) => futimens(directory.as_fd(), &time, &time)?,
                // A later entry put something else there.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.opaque)
    }
}

enum Link {
    /// A link of the layer itself.
    Here(OsString),
    /// A link of a layer below.
    Below(OsString),
}
