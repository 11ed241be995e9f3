//! State on disk: JSON files that are always whole, and the one lock.

use std::fs::{self, DirEntry, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Doing, Error, Result};

/// More than the record of a network or an endpoint is wont to have.
const RECORD_BYTES: usize = 4096;

/// Temporary files begin so. They are written under the lock only, so who holds the lock may delete any he sees.
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
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    // Of a shorter file one request reads all (read(2)); `read_to_end` makes four, and some commands read hundreds.
    let mut text = vec![0; RECORD_BYTES];
    let length = file.read(&mut text)?;
    text.truncate(length);
    if length == RECORD_BYTES {
        file.read_to_end(&mut text)?;
    }
    Ok(text)
}

/// Write a record: a reader sees the old one or the new one, never half of it. The caller has the lock.
pub(crate) fn write<T: Serialize>(_lock: &Lock, path: &Path, record: &T) -> Result<()> {
    let doing = || format!("write {}", path.display());
    let text = serde_json::to_vec(record).map_err(io::Error::from).doing(doing)?;
    let temporary = beside(path);
    let put = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(&text)?;
        rbox_explain::mark("net-file-beside");
        fs::rename(&temporary, path)?;
        rbox_explain::mark("net-file-written");
        Ok(())
    };
    put().inspect_err(|_| drop(fs::remove_file(&temporary))).doing(doing)
}

/// Remove what somebody has left beside a record who was killed while he wrote it. The caller has the lock.
pub(crate) fn remove_beside(_lock: &Lock, path: &Path) -> Result<()> {
    remove(&beside(path))
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    path.with_file_name(format!("{TEMPORARY}{}", name.to_string_lossy()))
}

/// Remove a record. One that is gone already is no error.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove {}", path.display()))
        }
        _ => {
            rbox_explain::mark("net-file-removed");
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
    list(dir, |name, entry| {
        if name.starts_with(TEMPORARY.as_bytes()) {
            entries.temporary.push(entry.path());
        } else if name.ends_with(RECORD) {
            entries.records.push(entry.path());
        }
    })?;
    // By their bytes: paths as such are compared part by part, and some commands list a thousand several times.
    entries.records.sort_unstable_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
    Ok(entries)
}

/// Those of the records in `dir` whose names begin so, in any order.
pub(crate) fn entries_of(dir: &Path, beginning: &str) -> Result<Vec<PathBuf>> {
    let mut records = Vec::new();
    list(dir, |name, entry| {
        if name.starts_with(beginning.as_bytes()) && name.ends_with(RECORD) {
            records.push(entry.path());
        }
    })?;
    Ok(records)
}

fn list(dir: &Path, mut see: impl FnMut(&[u8], &DirEntry)) -> Result<()> {
    let doing = || format!("list {}", dir.display());
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.doing(doing)?,
    };
    for entry in listed {
        let entry = entry.doing(doing)?;
        see(entry.file_name().as_encoded_bytes(), &entry);
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
