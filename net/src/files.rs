//! State on disk: JSON files that are always whole, and the one lock.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Doing, Error, Result};

/// More than the record of a network or an endpoint is wont to have.
const RECORD_BYTES: usize = 4096;

/// Temporary files begin so, and nothing else does. They are written under the lock only, so who holds the lock may delete any he sees.
const TEMPORARY: &str = ".new-";

/// A record's file ends so.
const RECORD: &[u8] = b".json";

/// The lock of the state directory; the kernel lets go of it when its owner ends, however that is.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Wait for a lock of `dir`. flock(2).
    pub(crate) fn take(dir: &Path, name: &str) -> Result<Lock> {
        Lock::take_by(dir, name, File::lock)
    }

    /// The same, beside others who do so.
    pub(crate) fn share(dir: &Path, name: &str) -> Result<Lock> {
        Lock::take_by(dir, name, File::lock_shared)
    }

    /// Take a lock that nobody holds; nothing where somebody does.
    pub(crate) fn attempt(dir: &Path, name: &str) -> Result<Option<Lock>> {
        let mut is_free = true;
        let lock = Lock::take_by(dir, name, |file| match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                is_free = false;
                Ok(())
            }
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        })?;
        Ok(is_free.then_some(lock))
    }

    fn take_by(dir: &Path, name: &str, lock: impl FnOnce(&File) -> io::Result<()>) -> Result<Lock> {
        let path = dir.join(name);
        let doing = || format!("lock {}", path.display());
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).doing(doing)?;
        lock(&file).doing(doing)?;
        Ok(Lock { _file: file })
    }
}

/// What is read from a file whose name says whose it is. The names that it holds lead to other files, which are written and
/// removed, so they are believed only where they fit.
pub(crate) trait Filed: DeserializeOwned {
    /// Errors: what does not fit.
    fn check(&self, path: &Path) -> std::result::Result<(), &'static str>;
}

/// Read a record that fits the name of its file. Nothing when there is no such file.
pub(crate) fn read_named<T: Filed>(path: &Path) -> Result<Option<T>> {
    let Some(record) = read::<T>(path)? else { return Ok(None) };
    record.check(path).map_err(|why| Error::Record { file: path.display().to_string(), why: why.to_owned() })?;
    Ok(Some(record))
}

/// Read a record. Nothing when there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match bytes(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(Error::Record { file: path.display().to_string(), why: error.to_string() });
        }
        Err(error) => return Err(error).doing(|| format!("read {}", path.display())),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| Error::Record { file: path.display().to_string(), why: error.to_string() })
}

/// The bytes of a file. One that is none, a FIFO for instance, is not waited for.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    // With room for one byte more one request reads all (read(2)); `read_to_end` makes four, and some commands read hundreds.
    let room = usize::try_from(found.len()).map_or(RECORD_BYTES, |length| RECORD_BYTES.max(length.saturating_add(1)));
    let mut text = vec![0; room];
    let length = file.read(&mut text)?;
    text.truncate(length);
    if length == room {
        file.read_to_end(&mut text)?;
    }
    Ok(text)
}

/// Write a record: a reader sees the old one or the new one, never half of it. The caller has the lock.
pub(crate) fn write<T: Serialize>(lock: &Lock, path: &Path, record: &T) -> Result<()> {
    write_text(lock, (&beside(path), path), &to_text(path, record)?, || Ok(()))
}

/// What a record is on disk.
pub(crate) fn to_text<T: Serialize>(path: &Path, record: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(record).map_err(io::Error::from).doing(|| format!("write {}", path.display()))
}

/// The same of what is there as text already, by way of the temporary file `by`; and do something in between: who is killed
/// over that leaves the temporary file.
pub(crate) fn write_text(
    _lock: &Lock,
    (by, path): (&Path, &Path),
    text: &[u8],
    between: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let doing = || format!("write {}", path.display());
    let put = || {
        let opened = OpenOptions::new().write(true).create(true).truncate(true).open(by);
        opened.and_then(|mut file| file.write_all(text)).doing(doing)?;
        rbox_explain::mark("net-file-beside");
        between()?;
        fs::rename(by, path).doing(doing)?;
        rbox_explain::mark("net-file-written");
        Ok(())
    };
    put().inspect_err(|_| drop(fs::remove_file(by)))
}

/// Remove what somebody has left beside a record who was killed while he wrote it. The caller has the lock.
pub(crate) fn remove_beside(_lock: &Lock, path: &Path) -> Result<()> {
    remove(&beside(path))
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    path.with_file_name(temporary(&name.to_string_lossy()))
}

/// What the temporary file is called by way of which a file of this name is written.
pub(crate) fn temporary(name: &str) -> String {
    format!("{TEMPORARY}{name}")
}

/// Remove a record. One that is gone already is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    remove_found(path).map(drop)
}

/// The same; answers whether it was there.
pub(crate) fn remove_found(path: &Path) -> Result<bool> {
    let is_found = match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).doing(|| format!("remove {}", path.display())),
    };
    rbox_explain::mark("net-file-removed");
    Ok(is_found)
}

/// Remove a directory. One in which something is stays; one that is gone already is no error.
pub(crate) fn remove_empty(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(error).doing(|| format!("remove {}", dir.display()))
        }
        _ => {
            rbox_explain::mark("net-directory-removed");
            Ok(())
        }
    }
}

/// The records of a directory, sorted by name; temporary files of the dead are told apart.
pub(crate) struct Entries {
    pub(crate) records: Vec<PathBuf>,
    pub(crate) temporary: Vec<PathBuf>,
}

/// List the records in `dir`; none where there is no such directory.
pub(crate) fn entries(dir: &Path) -> Result<Entries> {
    let mut entries = Entries { records: Vec::new(), temporary: Vec::new() };
    list(dir, |name, _| {
        if is_temporary(name) {
            entries.temporary.push(dir.join(OsStr::from_bytes(name)));
        } else if name.ends_with(RECORD) {
            entries.records.push(dir.join(OsStr::from_bytes(name)));
        }
    })?;
    // By their bytes: paths as such are compared part by part.
    entries.records.sort_unstable_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
    Ok(entries)
}

/// Whether it is the name of a temporary file.
pub(crate) fn is_temporary(name: &[u8]) -> bool {
    name.starts_with(TEMPORARY.as_bytes())
}

/// Have each name in `dir` seen, and whether it is that of a directory, in any order; none where there is no such directory.
///
/// By readdir(3) as it is: `std::fs::read_dir` allocates for each, and some commands pass by a thousand.
pub(crate) fn list(dir: &Path, mut see: impl FnMut(&[u8], bool)) -> Result<()> {
    let doing = || format!("list {}", dir.display());
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listed = match Dir::open(dir, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(()),
        listed => listed.map_err(io::Error::from).doing(doing)?,
    };
    for entry in listed.iter() {
        let entry = entry.map_err(io::Error::from).doing(doing)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            // Few file systems do not tell it here (readdir(3)).
            let is_directory = || dir.join(OsStr::from_bytes(name)).is_dir();
            see(name, entry.file_type().map_or_else(is_directory, |kind| kind == Type::Directory));
        }
    }
    Ok(())
}

/// Delete the temporary files of the dead in these directories. The caller has the lock, so nobody writes one now.
pub(crate) fn clean(_lock: &Lock, dirs: &[PathBuf]) -> Result<()> {
    for dir in dirs {
        entries(dir)?.temporary.iter().try_for_each(|file| remove(file))?;
    }
    Ok(())
}

/// Draw a random id: 64 hex digits.
pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).doing(|| "read /dev/urandom".into())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_length_is_read_whole() {
        let place = tempfile::tempdir().unwrap();
        for length in [0, 1, RECORD_BYTES - 1, RECORD_BYTES, RECORD_BYTES + 1, 10 * RECORD_BYTES] {
            let text: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            fs::write(place.path().join("record"), &text).unwrap();
            assert_eq!(bytes(&place.path().join("record")).unwrap(), text, "{length}");
        }
    }
}
