//! Files that a running container sees: they are changed where they stand, for another in their place it would not see.
//!
//! One process at a time, under the lock of the directory. Whoever is killed over it leaves the old text or the new one, the
//! latter with empty lines behind it at most.
//!
//! What is in the container can do with these files as it likes: lock them for ever, hold a lease on them, make them huge, fill
//! them with what is no text. Nobody out here may wait for that, or fail by it in anything else.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::OFlag;

/// More is no hosts file of anybody.
const BYTES_MAX: u64 = 1 << 20;

/// Change the text of a file. One that is not there is made later, with what is true then.
///
/// Errors: it cannot be read or written; it is larger than 1 MiB.
pub(crate) fn change(path: &Path, act: impl FnOnce(&str) -> String) -> Result<()> {
    let doing = || format!("cannot write {}", path.display());
    // Not that of the file, which whoever can read it in the container can take and keep.
    let guard = File::open(path.parent().unwrap_or(Path::new("/"))).with_context(doing)?;
    guard.lock().with_context(doing)?;
    let mut file = match open(path, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.with_context(doing)?,
    };
    let bytes = contents(&file).with_context(doing)?;
    // Without the empty lines that somebody has left who was killed over it.
    let end = bytes.iter().rposition(|byte| *byte != b'\n').map_or(0, |at| at + 1);
    let now = in_any_encoding(&bytes[..bytes.len().min(end + 1)], act);
    if now == bytes {
        return Ok(());
    }
    // In one request, over all that is there.
    let padding = vec![b'\n'; bytes.len().saturating_sub(now.len())];
    let written = file.rewind().and_then(|()| file.write_all(&[&*now, &padding].concat()));
    rbox_explain::mark("file-in-place");
    written.and_then(|()| file.set_len(now.len() as u64)).with_context(doing)
}

/// What is not UTF-8 is taken for ISO 8859-1, in which every byte is a letter: so none is lost.
fn in_any_encoding(bytes: &[u8], act: impl FnOnce(&str) -> String) -> Vec<u8> {
    if let Ok(text) = str::from_utf8(bytes) {
        return act(text).into_bytes();
    }
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut now = Vec::new();
    for letter in act(&text).chars() {
        match u8::try_from(letter) {
            Ok(byte) => now.push(byte),
            Err(_) => now.extend(letter.to_string().bytes()),
        }
    }
    now
}

/// The text of a file.
///
/// Errors: it cannot be read; it is larger than 1 MiB.
pub(crate) fn read(path: &Path) -> Result<String> {
    let bytes = open(path, false).map_err(anyhow::Error::from).and_then(|file| contents(&file));
    let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A lease on it (fcntl(2), F_SETLEASE) is not waited for.
fn open(path: &Path, writes: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(writes).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

fn contents(file: &File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= BYTES_MAX, "it is larger than 1 MiB");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_becomes_longer_and_shorter_and_stays_the_same_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("hosts");
        fs::write(&path, "one\ntwo\n").unwrap();
        // As a container that has it mounted.
        let mut seen = fs::File::open(&path).unwrap();
        for wanted in ["one\ntwo\nthree\n", "one\n", ""] {
            change(&path, |_| wanted.to_owned()).unwrap();
            let mut text = String::new();
            seen.rewind().unwrap();
            seen.read_to_string(&mut text).unwrap();
            assert_eq!(text, wanted);
        }
        // Whoever can read it can lock it.
        seen.lock().unwrap();
        change(&path, |_| "locked\n".to_owned()).unwrap();
        // What is no text does not keep anybody from writing what is.
        fs::write(&path, b"\xff\n").unwrap();
        change(&path, |text| format!("{text}more\n")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"\xff\nmore\n");
        assert_eq!(read(&path).unwrap(), "\u{fffd}\nmore\n");
        OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        let why = format!("{:#}", change(&path, |_| String::new()).unwrap_err());
        assert!(why.ends_with("it is larger than 1 MiB"), "{why}");
        fs::write(&path, "one\n\n\n").unwrap();
        change(&path, str::to_owned).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n", "who was killed over it has left empty lines");
        change(&place.path().join("none"), |_| "text".to_owned()).unwrap();
        assert!(!place.path().join("none").exists());
    }
}
