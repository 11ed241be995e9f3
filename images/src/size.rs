//! How much a container has written, also while it writes.
//!
//! Its directories are the container's to change: what was a directory can be a link to the host's `/` when it is opened. So each is
//! looked up below the first, in one call that follows no link, and then read by that descriptor. Two are open at a
//! time, however deep the tree is.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The bytes of the files below a directory. What goes away meanwhile, or lies deeper than a path is long, is not counted.
///
/// Errors: those of open(2) and readdir(3), for `directory` itself and where no descriptor or memory is left.
pub(crate) fn size_of(directory: &Path) -> io::Result<u64> {
    let root = open(directory, DIRECTORY, Mode::empty())?;
    let mut left = vec![PathBuf::new()];
    let mut bytes = 0_u64;
    while let Some(path) = left.pop() {
        let Some(directory) = below(root.as_fd(), &path)? else { continue };
        for entry in fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))? {
            let Ok(entry) = entry else { continue };
            // fstatat(2) with the descriptor that is listed; a link is not followed.
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => left.push(path.join(entry.file_name())),
                Ok(metadata) if metadata.is_file() => bytes = bytes.saturating_add(metadata.len()),
                _ => {}
            }
        }
    }
    Ok(bytes)
}

/// The directory at `path` below `root`; nothing where there is none any more.
fn below(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<OwnedFd>> {
    let strict = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match openat2(root, path, OpenHow::new().flags(DIRECTORY).resolve(strict)) {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG) => Ok(None),
        // It was moved in this moment (openat2(2), EAGAIN and EXDEV).
        Err(Errno::EAGAIN | Errno::EXDEV) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    fn sparse(path: &Path, size: u64) {
        fs::File::create_new(path).unwrap().set_len(size).unwrap();
    }

    #[test]
    fn files_are_counted_links_are_not() {
        let place = tempfile::tempdir().unwrap();
        let own = place.path().join("own");
        fs::create_dir_all(own.join("a/b")).unwrap();
        fs::write(own.join("a/b/file"), "12345").unwrap();
        fs::write(own.join("one"), "6").unwrap();
        sparse(&place.path().join("outside"), 1 << 40);
        symlink("../outside", own.join("link")).unwrap();
        symlink("..", own.join("a/up")).unwrap();
        assert_eq!(size_of(&own).unwrap(), 6);
        assert!(size_of(&place.path().join("nosuch")).is_err());
    }

    #[test]
    fn a_tree_deeper_than_a_path_is_long_is_no_error() {
        let place = tempfile::tempdir().unwrap();
        let mut at = open(place.path(), DIRECTORY, Mode::empty()).unwrap();
        let name = "d".repeat(250);
        for _ in 0..40 {
            nix::sys::stat::mkdirat(&at, name.as_str(), Mode::S_IRWXU).unwrap();
            at = nix::fcntl::openat(&at, name.as_str(), DIRECTORY, Mode::empty()).unwrap();
        }
        assert_eq!(size_of(place.path()).unwrap(), 0);
    }

    /// A directory that becomes a link to what is outside, and a directory again, all the time.
    #[test]
    fn a_link_that_takes_a_directorys_place_leads_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let own = place.path().join("own");
        let outside = place.path().join("outside");
        fs::create_dir_all(own.join("a/b")).unwrap();
        fs::create_dir_all(outside.join("b")).unwrap();
        sparse(&outside.join("b/big"), 1 << 40);
        sparse(&outside.join("big"), 1 << 40);
        let end = Instant::now() + Duration::from_millis(300);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                symlink(&outside, own.join("trap")).unwrap();
                while Instant::now() < end {
                    for (from, to) in [("a", "kept"), ("trap", "a"), ("a", "trap"), ("kept", "a")] {
                        fs::rename(own.join(from), own.join(to)).unwrap();
                    }
                }
            });
            while Instant::now() < end {
                assert_eq!(size_of(&own).unwrap(), 0);
            }
        });
    }
}
