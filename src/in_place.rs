//! Files that a running container sees: they are changed where they stand, for another in their place it would not see.
//!
//! One process at a time, under the lock of the file. Whoever is killed over it leaves the old text or the new one, the latter
//! with empty lines behind it at most.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Change the text of a file. One that is not there is made later, with what is true then.
///
/// Errors: it cannot be read or written.
pub(crate) fn change(path: &Path, act: impl FnOnce(&str) -> String) -> Result<()> {
    let doing = || format!("cannot write {}", path.display());
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.with_context(doing)?,
    };
    file.lock().with_context(doing)?;
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(doing)?;
    let now = act(&text);
    if now == text {
        return Ok(());
    }
    // In one request, over all that is there.
    let padding = "\n".repeat(text.len().saturating_sub(now.len()));
    let written = file.rewind().and_then(|()| file.write_all(format!("{now}{padding}").as_bytes()));
    rbox_explain::mark("file-in-place");
    written.and_then(|()| file.set_len(now.len() as u64)).with_context(doing)
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
        change(&place.path().join("none"), |_| "text".to_owned()).unwrap();
        assert!(!place.path().join("none").exists());
    }
}
