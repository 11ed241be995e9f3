//! A tree of files below one root, walked by descriptors.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, futimens, mkdirat, utimensat,
};
use nix::sys::statfs::{
    CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, FsType, PROC_SUPER_MAGIC, SYSFS_MAGIC, TRACEFS_MAGIC,
    fstatfs,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, symlinkat, unlinkat};
use rbox_runtime::Root;

use super::reopen;
use crate::report;

/// As many links in a row as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// File systems that are views into the kernel: their files are read with the reader's rights (/proc/kmsg), and some
/// without an end.
const MADE_UP: [FsType; 6] =
    [PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC];
/// How often a lookup is tried that the container disturbs by renaming directories (openat2(2), EAGAIN).
const LOOKUPS_MAX: usize = 100;

/// A root directory that no path leads out of.
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// A container's files.
    ///
    /// Errors: no descriptors left.
    pub(super) fn of(root: &Root) -> io::Result<Tree> {
        Ok(Tree { root: root.directory().try_clone_to_owned()? })
    }

    /// The host's files.
    ///
    /// Errors: no descriptors left.
    pub(super) fn of_host() -> io::Result<Tree> {
        Ok(Tree { root: open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())? })
    }

    /// What stands at `path`, as a descriptor that only names it; the last link is followed if asked for.
    ///
    /// Errors: those of openat2(2).
    pub(super) fn open(&self, path: &Path, follow: bool) -> io::Result<OwnedFd> {
        let last = if follow { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC | last)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        for _ in 0..LOOKUPS_MAX {
            match openat2(&self.root, path, how) {
                Err(Errno::EAGAIN) => {}
                found => return Ok(found?),
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// The path with the links at its end followed, also when the last leads to nothing.
    ///
    /// Errors: ELOOP; a directory on the way is not there.
    pub(super) fn follow(&self, path: &Path) -> io::Result<PathBuf> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let place = match self.open(&path, false) {
                Ok(found) => Place::of(found)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
                Err(error) => return Err(error),
            };
            if !place.is_link() {
                return Ok(path);
            }
            path = path.parent().unwrap_or(Path::new("/")).join(place.target()?);
        }
        Err(Errno::ELOOP.into())
    }
}

/// One file, directory, link …: a descriptor that names it, and what it is.
pub(super) struct Place {
    fd: OwnedFd,
    pub(super) stat: FileStat,
}

impl Place {
    /// Look at what an `O_PATH` descriptor names.
    ///
    /// Errors: those of fstat(2).
    pub(super) fn of(fd: OwnedFd) -> io::Result<Place> {
        let stat = fstat(&fd)?;
        Ok(Place { fd, stat })
    }

    /// The one of that name in a directory; a link is not followed.
    fn child(&self, name: &OsStr) -> io::Result<Place> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Place::of(openat(&self.fd, name, flags, Mode::empty())?)
    }

    fn kind(&self) -> SFlag {
        SFlag::from_bits_truncate(self.stat.st_mode & SFlag::S_IFMT.bits())
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == SFlag::S_IFDIR
    }

    pub(super) fn is_link(&self) -> bool {
        self.kind() == SFlag::S_IFLNK
    }

    /// What the kernel makes up as it is read is none: rbox would read it with its own rights, not the container's.
    pub(super) fn is_file(&self) -> bool {
        self.kind() == SFlag::S_IFREG && !self.is_made_up()
    }

    /// Whether this is a view into the kernel. Docker, which looks at the layers alone, finds empty directories there.
    fn is_made_up(&self) -> bool {
        fstatfs(&self.fd).is_ok_and(|system| MADE_UP.contains(&system.filesystem_type()))
    }

    /// Where a link leads, as it is written.
    ///
    /// Errors: those of readlinkat(2).
    pub(super) fn target(&self) -> io::Result<OsString> {
        Ok(readlinkat(&self.fd, "")?)
    }

    /// The names in a directory, sorted; none in a view into the kernel.
    ///
    /// Errors: those of readdir(3).
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        if self.is_made_up() {
            return Ok(Vec::new());
        }
        let mut names: Vec<OsString> =
            fs::read_dir(self.proc_path())?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    /// Each of a directory's entries with its name; one that has gone meanwhile is left out.
    ///
    /// Errors: those of readdir(3) and openat(2).
    pub(super) fn children(&self) -> io::Result<Vec<(OsString, Place)>> {
        let mut all = Vec::new();
        for name in self.names()? {
            match self.child(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                child => all.push((name, child?)),
            }
        }
        Ok(all)
    }

    /// A path on the host that is this very file, for as long as we have it open. proc_pid_fd(5).
    pub(super) fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    fn identity(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }
}

/// Whose the copies are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    /// The numbers of the originals.
    Kept,
    /// The caller's: then no copy runs with its owner's rights.
    Callers,
}

/// A file's owner, rights and time.
#[derive(Clone, Copy)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: TimeSpec,
}

impl Attributes {
    fn of(stat: &FileStat) -> Attributes {
        let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
        Attributes { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, modified }
    }
}

/// A copy being made.
pub(super) struct Copying {
    owners: Owners,
    /// Directories that we made: a tree that is copied into itself ends there.
    made: HashSet<(u64, u64)>,
}

impl Copying {
    pub(super) fn new(owners: Owners) -> Copying {
        Copying { owners, made: HashSet::new() }
    }

    /// Copy what stands at `place`, and all below it, to `name` in `directory`.
    ///
    /// Errors: those of the kernel, with the name at which it happened.
    pub(super) fn one(&mut self, place: &Place, directory: &OwnedFd, name: &OsStr) -> Result<()> {
        let at = || name.to_string_lossy().into_owned();
        match () {
            () if place.is_directory() => {
                let attributes = Attributes::of(&place.stat);
                let (made, is_new) = make_directory(directory.as_fd(), name).with_context(at)?;
                let below = Place::of(made).with_context(at)?;
                self.made.insert(below.identity());
                self.children(place, &below.fd).with_context(at)?;
                // Last, since writing below changes the time; and a directory may be closed to writing.
                if is_new { self.finish_directory(&below.fd, &attributes).with_context(at) } else { Ok(()) }
            }
            () if place.is_file() => {
                // As much as it has now: one that the container goes on writing to would never end.
                let size = u64::try_from(place.stat.st_size).unwrap_or(0);
                let mut from = reopen(place).with_context(at)?.take(size);
                self.file(&mut from, directory.as_fd(), name, &Attributes::of(&place.stat)).with_context(at)
            }
            () if place.is_link() => {
                let target = place.target().with_context(at)?;
                self.link(&target, directory.as_fd(), name, &Attributes::of(&place.stat)).with_context(at)
            }
            () => {
                report::note(&format!("{} is left out: neither a file, a directory nor a link", at()));
                Ok(())
            }
        }
    }

    /// Copy what is in the directory `place` into `directory`.
    ///
    /// Errors: as [`Copying::one`].
    pub(super) fn children(&mut self, place: &Place, directory: &OwnedFd) -> Result<()> {
        for name in place.names()? {
            let child = match place.child(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                child => child?,
            };
            if !self.made.contains(&child.identity()) {
                self.one(&child, directory, &name)?;
            }
        }
        Ok(())
    }

    /// Write a file, in the place of what stood there.
    ///
    /// Errors: a directory stands there; the disk.
    pub(super) fn file(
        &self,
        from: &mut impl Read,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        attributes: &Attributes,
    ) -> Result<()> {
        clear(directory, name)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut to = File::from(openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        io::copy(from, &mut to)?;
        if self.owners == Owners::Kept {
            fchown(&to, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))?;
        }
        fchmod(&to, self.mode(attributes))?;
        futimens(&to, &attributes.modified, &attributes.modified)?;
        Ok(())
    }

    /// Make a link, in the place of what stood there.
    ///
    /// Errors: a directory stands there.
    pub(super) fn link(
        &self,
        target: &OsStr,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        attributes: &Attributes,
    ) -> Result<()> {
        clear(directory, name)?;
        symlinkat(target, directory, name)?;
        if self.owners == Owners::Kept {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            fchownat(directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        let time = &attributes.modified;
        Ok(utimensat(directory, name, time, time, UtimensatFlags::NoFollowSymlink)?)
    }

    /// Give a directory that we made its owner, rights and time.
    ///
    /// Errors: those of the kernel.
    pub(super) fn finish_directory(&self, directory: &OwnedFd, attributes: &Attributes) -> Result<()> {
        if self.owners == Owners::Kept {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            fchownat(directory, ".", Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        fchmodat(directory, ".", self.mode(attributes), FchmodatFlags::FollowSymlink)?;
        let time = &attributes.modified;
        Ok(utimensat(directory, ".", time, time, UtimensatFlags::NoFollowSymlink)?)
    }

    /// Set-user-id means nothing good on a file that has another owner than before.
    fn mode(&self, attributes: &Attributes) -> Mode {
        let mask = if self.owners == Owners::Kept { 0o7777 } else { 0o1777 };
        Mode::from_bits_truncate(attributes.mode & mask)
    }
}

/// Make a directory, or take the one that is there; whether it is new.
///
/// Errors: something else stands there.
pub(super) fn make_directory(directory: BorrowedFd<'_>, name: &OsStr) -> Result<(OwnedFd, bool)> {
    let is_new = match mkdirat(directory, name, Mode::S_IRWXU) {
        Err(Errno::EEXIST) => false,
        made => made.map(|()| true)?,
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::ENOTDIR | Errno::ELOOP) => anyhow::bail!("a directory cannot take the place of a file"),
        opened => Ok((opened?, is_new)),
    }
}

/// Take away what stands in the way, if it is no directory.
///
/// A mounted file (/etc/hosts) stays: removed from out here, it would take its mount away from the container's programs.
pub(super) fn clear(directory: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let there = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(()),
        there => Place::of(there?)?,
    };
    if there.is_directory() {
        anyhow::bail!("a file cannot take the place of a directory");
    }
    if mount_id(there.fd.as_fd())? != mount_id(directory)? {
        anyhow::bail!("the file that is there is a mount of its own");
    }
    Ok(unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?)
}

/// Which mount a file was found through: proc_pid_fdinfo(5).
fn mount_id(file: BorrowedFd<'_>) -> io::Result<String> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    Ok(text.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap_or_default().trim().to_owned())
}

/// The parts of a path that lead somewhere: `./a//b` is `a`, `b`. Nothing for one with `..`.
pub(super) fn parts(path: &Path) -> Option<Vec<OsString>> {
    let mut parts = Vec::new();
    for part in path.as_os_str().as_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part => parts.push(OsStr::from_bytes(part).to_owned()),
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_is_copied_as_long_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log");
        fs::write(&path, "as it was").unwrap();
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let seen = Place::of(open(&path, flags, Mode::empty()).unwrap()).unwrap();
        fs::write(&path, "as it was, and more").unwrap();
        let directory = open(place.path(), flags, Mode::empty()).unwrap();
        Copying::new(Owners::Callers).one(&seen, &directory, OsStr::new("copy")).unwrap();
        assert_eq!(fs::read_to_string(place.path().join("copy")).unwrap(), "as it was");
    }
}
