//! Reading and writing control files: every request to a cgroup file system is made here, as a told step.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::Mode;
use rbox_explain::{Row, step};

use super::Error;

static MKDIR: Row = Row {
    key: "cgroup-mkdir",
    why: "a directory here is a new group of processes that the kernel counts and limits together",
    see: "cgroups(7)",
};
static SET: Row = Row {
    key: "cgroup-set",
    why: "a number in a control file is a limit; it is written before any process is in the group",
    see: "runtime-spec config-linux.md#control-groups",
};
static JOIN: Row = Row {
    key: "cgroup-join",
    why: "puts the container's first process into the group; its children are born there",
    see: "cgroups(7)",
};
static RMDIR: Row =
    Row { key: "cgroup-rmdir", why: "the group is empty, so it can go, with all its limits", see: "cgroups(7)" };
static KILL: Row = Row {
    key: "cgroup-kill",
    why: "the group knows every process of the container, also those that left their parent",
    see: "kernel Documentation/admin-guide/cgroup-v2.rst, cgroup.kill",
};
static FREEZE: Row =
    Row { key: "cgroup-freeze", why: "stops every process of the group at once, without a signal", see: "cgroups(7)" };
static WATCH: Row = Row {
    key: "cgroup-watch",
    why: "the kernel says when it kills for lack of memory",
    see: "kernel Documentation/admin-guide/cgroup-v1/memory.rst",
};

/// Whether we may make directories in `directory`: faccessat(2) by the effective user.
pub(super) fn may_write(directory: &Path) -> bool {
    use nix::unistd::{AccessFlags, faccessat};
    faccessat(nix::fcntl::AT_FDCWD, directory, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok()
}

/// Why a control file is written; each has its line in an explanation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Set,
    Join,
    Kill,
    Freeze,
    Watch,
}

impl Purpose {
    fn row(self) -> &'static Row {
        match self {
            Purpose::Set => &SET,
            Purpose::Join => &JOIN,
            Purpose::Kill => &KILL,
            Purpose::Freeze => &FREEZE,
            Purpose::Watch => &WATCH,
        }
    }

    /// A group that somebody removed after its file was opened answers ENODEV: it is as gone as one that was not there
    /// when the file was opened. But a limit of a disk says so where there is no such disk.
    fn meaning(self, errno: Errno) -> Errno {
        match (self, errno) {
            (Purpose::Join | Purpose::Kill | Purpose::Freeze | Purpose::Watch, Errno::ENODEV) => Errno::ENOENT,
            _ => errno,
        }
    }
}

/// Make a directory; the errno is for the caller to judge (already there, no parent).
pub(super) fn make(directory: &Path) -> Result<(), Errno> {
    step(
        &MKDIR,
        || format!("mkdir {}", directory.display()),
        || nix::unistd::mkdir(directory, Mode::from_bits_truncate(0o755)),
    )
}

/// Remove a directory; the errno is for the caller to judge (busy, gone).
pub(super) fn remove(directory: &Path) -> Result<(), Errno> {
    step(
        &RMDIR,
        || format!("rmdir {}", directory.display()),
        || nix::unistd::unlinkat(nix::fcntl::AT_FDCWD, directory, nix::unistd::UnlinkatFlags::RemoveDir),
    )
}

/// A control file that stays open between writes: the device rules are a dozen lines for the same two files.
#[derive(Debug, Default)]
pub(super) struct Pen {
    open: Option<(PathBuf, File)>,
}

impl Pen {
    /// Write `value` to `file`, the errno as the kernel gave it.
    pub(super) fn write(&mut self, purpose: Purpose, file: &Path, value: &str) -> Result<(), Errno> {
        step(purpose.row(), || format!("echo {value} > {}", file.display()), || self.put(file, value))
            .map_err(|errno| purpose.meaning(errno))
    }

    fn put(&mut self, file: &Path, value: &str) -> Result<(), Errno> {
        let open = match self.open.take() {
            Some(held) if held.0 == file => self.open.insert(held),
            _ => {
                let opened = open(file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
                self.open.insert((file.to_owned(), File::from(opened)))
            }
        };
        // A control file takes a value in one write or not at all.
        open.1.write(value.as_bytes()).map(drop).map_err(|error| errno_of(&error))
    }
}

/// Write one value to one file.
pub(super) fn write(purpose: Purpose, file: &Path, value: &str) -> Result<(), Errno> {
    Pen::default().write(purpose, file, value)
}

/// The whole text of a control file.
pub(super) fn read(file: &Path) -> Result<String, Errno> {
    let mut open = File::from(open(file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
    let mut text = Vec::with_capacity(4096);
    open.read_to_end(&mut text).map_err(|error| errno_of(&error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// As [`read`], with the error of a read that must succeed.
pub(super) fn must_read(file: &Path) -> Result<String, Error> {
    read(file).map_err(|source| Error::Os { doing: format!("read {}", file.display()), source })
}

/// A control file to be read or named.
pub(super) fn open_to_read(file: &Path) -> Result<OwnedFd, Error> {
    open(file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|source| Error::Os { doing: format!("open {}", file.display()), source })
}

/// A handle on a directory that clone3 and bpf take.
pub(super) fn directory(path: &Path) -> Result<OwnedFd, Error> {
    // O_PATH is not enough for bpf(2), which wants a readable directory; clone3 takes both.
    open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|source| Error::Os { doing: format!("open {}", path.display()), source })
}

/// The names of the directories in `path`: its sub-cgroups.
pub(super) fn children(path: &Path) -> Result<Vec<PathBuf>, Errno> {
    let entries = std::fs::read_dir(path).map_err(|error| errno_of(&error))?;
    let mut children = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| errno_of(&error))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            children.push(entry.path());
        }
    }
    Ok(children)
}

/// Whether there is such a control file.
pub(super) fn exists(file: &Path) -> bool {
    nix::unistd::faccessat(nix::fcntl::AT_FDCWD.as_fd(), file, nix::unistd::AccessFlags::F_OK, AtFlags::empty()).is_ok()
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO))
}
