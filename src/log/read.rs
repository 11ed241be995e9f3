//! The reading end of a log: the lines of one file, and the files of one log.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::numbered;

/// One object of a log file.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Line {
    /// The bytes, with their line break if they had one.
    #[serde(default)]
    pub(crate) log: String,
    /// `stdout` or `stderr`.
    #[serde(default)]
    pub(crate) stream: String,
    /// RFC 3339 with nanoseconds.
    pub(crate) time: String,
}

/// How often the files are looked at again when they are being renamed.
const LOOKS: u32 = 200;

/// The files of a log, open at their beginnings, the oldest first. While they are renamed there is a moment in which a
/// name is missing, and one in which it is another's: then all are opened again.
///
/// Errors: one cannot be opened.
pub(crate) fn open_all(path: &Path) -> Result<Vec<Lines>> {
    for look in 1.. {
        let mut open = Vec::new();
        let mut missing = None;
        for number in 0.. {
            match Lines::open(&numbered(path, number))? {
                Some(lines) => open.push((number, lines)),
                // The newest is made with its first line.
                None if number == 0 => {}
                None => {
                    missing = Some(number);
                    break;
                }
            }
        }
        let moved = open.iter().any(|(number, lines)| lines.was_rotated(&numbered(path, *number)));
        let gap = missing.is_some_and(|number| numbered(path, number).exists() || numbered(path, number + 1).exists());
        let begun = open.first().is_none_or(|(number, _)| *number > 0) && path.exists();
        if !(moved || gap || begun) || look == LOOKS {
            return Ok(open.into_iter().rev().map(|(_, lines)| lines).collect());
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    unreachable!("the last look answers")
}

/// The lines of one file, as far as they are whole.
#[derive(Debug)]
pub(crate) struct Lines {
    file: BufReader<File>,
    /// Where the next line begins.
    at: u64,
}

impl Lines {
    /// Open a file at its beginning; nothing when it is not there.
    ///
    /// Errors: it cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Option<Lines>> {
        match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            file => file
                .map(|file| Some(Lines { file: BufReader::new(file), at: 0 }))
                .with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The next line. Nothing when the next is not whole yet; one that is no log line is passed over.
    ///
    /// Errors: the file cannot be read.
    pub(crate) fn next(&mut self) -> Result<Option<Line>> {
        let doing = "cannot read the log";
        loop {
            let mut text = Vec::new();
            self.file.read_until(b'\n', &mut text).context(doing)?;
            if text.last() != Some(&b'\n') {
                // Half a line: look again from its beginning when there is more.
                self.file.seek(SeekFrom::Start(self.at)).context(doing)?;
                return Ok(None);
            }
            self.at += text.len() as u64;
            if let Ok(line) = serde_json::from_slice(&text) {
                return Ok(Some(line));
            }
        }
    }

    /// Whether the file was emptied and begins anew (`max-size` with one file).
    pub(crate) fn was_emptied(&self) -> bool {
        self.file.get_ref().metadata().is_ok_and(|metadata| metadata.len() < self.at)
    }

    /// Whether `path` leads to another file now.
    pub(crate) fn was_rotated(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        match (self.file.get_ref().metadata(), std::fs::metadata(path)) {
            (Ok(ours), Ok(now)) => ours.ino() != now.ino(),
            _ => false,
        }
    }
}
