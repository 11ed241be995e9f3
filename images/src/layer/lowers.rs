//! The layers below the one that is being unpacked, seen as one tree, as overlayfs will show them.
//!
//! A layer's archive may put a file into a directory, or link to a file, that only a lower layer has. So unpacking
//! has to ask: what stands at this path so far? Looking it up in the directories costs no mount.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

/// One unpacked layer: its directory, and the directories in it that hide everything below.
#[derive(Debug, Clone)]
pub(crate) struct Unpacked {
    pub(crate) tree: PathBuf,
    pub(crate) opaque: BTreeSet<PathBuf>,
}

/// Unpacked layers, topmost first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lowers(Vec<Unpacked>);

/// What stands at a path in the lower layers.
pub(crate) struct Found {
    pub(crate) stat: FileStat,
    /// The directory that holds it, and its name there (`.` for the root itself).
    pub(crate) parent: OwnedFd,
    pub(crate) name: OsString,
}

impl Found {
    pub(crate) fn kind(&self) -> SFlag {
        file_type(&self.stat)
    }

    pub(crate) fn read_link(&self) -> nix::Result<OsString> {
        readlinkat(&self.parent, self.name.as_os_str())
    }

    /// Open it for reading; only for files and directories.
    pub(crate) fn open(&self) -> nix::Result<File> {
        let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK);
        openat2(&self.parent, self.name.as_os_str(), how.resolve(strict())).map(File::from)
    }
}

/// The type bits of a mode.
pub(crate) fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Whether this is overlayfs's mark of an absent file: a character device 0/0.
pub(crate) fn is_whiteout(stat: &FileStat) -> bool {
    file_type(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

/// No link is followed, and nothing above the starting directory can be named.
pub(crate) fn strict() -> ResolveFlag {
    ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS
}

/// Open a directory by a path that holds no link. `.` for an empty path.
pub(crate) fn open_directory<Fd: std::os::fd::AsFd>(root: Fd, path: &Path) -> nix::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).mode(Mode::empty());
    openat2(root, path, how.resolve(strict()))
}

impl Lowers {
    /// `layers`, topmost first.
    pub(crate) fn new(layers: Vec<Unpacked>) -> Self {
        Lowers(layers)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the merged tree has at `path`, whose parents must be directories in the merged tree.
    pub(crate) fn lookup(&self, path: &Path) -> nix::Result<Option<Found>> {
        for layer in &self.0 {
            let root =
                nix::fcntl::open(&layer.tree, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
            match look_in(root, path)? {
                Look::Here(found) => return Ok((!is_whiteout(&found.stat)).then_some(found)),
                Look::Hidden => return Ok(None),
                Look::Absent if path.ancestors().skip(1).any(|above| layer.opaque.contains(above)) => return Ok(None),
                Look::Absent => {}
            }
        }
        Ok(None)
    }
}

enum Look {
    Here(Found),
    /// Something that is not a directory stands above it, so no lower layer can show it either.
    Hidden,
    Absent,
}

fn look_in(root: OwnedFd, path: &Path) -> nix::Result<Look> {
    let name = path.file_name().map_or_else(|| OsString::from("."), ToOwned::to_owned);
    let parent = match open_directory(&root, path.parent().unwrap_or(Path::new(""))) {
        Ok(parent) => parent,
        Err(Errno::ENOENT) => return Ok(Look::Absent),
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Ok(Look::Hidden),
        Err(error) => return Err(error),
    };
    match fstatat(&parent, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Look::Here(Found { stat, parent, name })),
        Err(Errno::ENOENT) => Ok(Look::Absent),
        Err(error) => Err(error),
    }
}
