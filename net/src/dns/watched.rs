//! Something that was read from a path, and is read anew when the path has changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A change within so short a time after another may leave the same time stamp: the kernel's clock for files goes on
/// by ticks, of 10 ms at most (before Linux 6.13, Documentation/filesystems/multigrain-ts.rst).
const TICK: Duration = Duration::from_millis(50);

/// A path, and what it held when it was read last.
pub(crate) struct Watched<T> {
    path: PathBuf,
    /// Nothing before the first reading; `None` inside means that there was no such file.
    seen: Option<Option<Stamp>>,
    /// It was changed so shortly before it was read that it may have changed again unseen.
    is_fresh: bool,
    value: T,
}

#[derive(PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl<T: Default> Watched<T> {
    pub(crate) fn new(path: PathBuf) -> Watched<T> {
        Watched { path, seen: None, is_fresh: false, value: T::default() }
    }

    /// What it holds now. Costs one stat(2) while nothing changes.
    pub(crate) fn current(&mut self, read: impl FnOnce(&Path) -> T) -> &T {
        // First the stamp, then the reading: what changes in between is seen the next time.
        let found = fs::metadata(&self.path).ok();
        let stamp = found.as_ref().map(|found| Stamp {
            file: (found.dev(), found.ino()),
            size: found.size(),
            changed: (found.ctime(), found.ctime_nsec()),
            modified: (found.mtime(), found.mtime_nsec()),
        });
        if self.is_fresh || self.seen.as_ref() != Some(&stamp) {
            let changed = found.and_then(|found| {
                let since = Duration::new(found.ctime().try_into().ok()?, found.ctime_nsec().try_into().ok()?);
                SystemTime::UNIX_EPOCH.checked_add(since)
            });
            // A time to come counts as fresh too: the clock was set back.
            self.is_fresh = changed.is_some_and(|changed| changed.elapsed().is_ok_and(|age| age < TICK));
            self.is_fresh |= changed.is_some_and(|changed| changed > SystemTime::now());
            self.value = read(&self.path);
            self.seen = Some(stamp);
        }
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_seen_and_nothing_is_read_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut watched: Watched<String> = Watched::new(path.clone());
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        assert_eq!(watched.current(read), "");
        // In place, of the same length, one right after the other.
        for number in 100..600 {
            fs::write(&path, number.to_string()).unwrap();
            assert_eq!(*watched.current(read), number.to_string());
        }
        // So shortly after a change the stamp is not trusted: before Linux 6.13 the next change may leave the same one.
        fs::write(&path, "fresh").unwrap();
        watched.current(read);
        assert_eq!(watched.current(|_| "read again".into()), "read again");
        fs::write(&path, "599").unwrap();
        std::thread::sleep(2 * TICK);
        watched.current(read);
        assert_eq!(watched.current(|_| panic!("read, though nothing changed")), "599");
        fs::remove_file(&path).unwrap();
        assert_eq!(watched.current(read), "");
    }
}
