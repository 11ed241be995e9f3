//! A container's output on disk, in the form of Docker's driver `json-file`: one JSON object for each line.
//!
//! ```text
//!   {"log":"hello\n","stream":"stdout","time":"2024-05-02T10:00:00.123456789Z"}
//! ```
//!
//! A line of more than 16 KiB is cut into several, all but the last without a line break (moby
//! `daemon/logger/copier.go`). What cannot be written is lost, the program goes on, and the next line that can be
//! written says how much is missing.

mod read;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub(crate) use read::{Line, Lines, open_all};

use crate::cli::LogFlags;
use crate::cli::value::{LogDriver, LogOpt};

/// The longest piece of a line.
const PIECE_BYTES: usize = 16 * 1024;
/// How much is gathered before it is written.
const GATHER_BYTES: usize = 64 * 1024;

/// Which of the program's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The standard output, or the terminal.
    Output,
    /// The standard error.
    Errors,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Output => "stdout",
            Self::Errors => "stderr",
        }
    }
}

/// The writing end. Nothing is opened before the first byte.
#[derive(Debug)]
pub(crate) struct Log {
    path: Option<PathBuf>,
    /// Bytes after which a new file begins.
    max_bytes: Option<u64>,
    max_files: u32,
    file: Option<File>,
    size: u64,
    /// Lines that have not ended yet: of the output, of the errors.
    open: [Vec<u8>; 2],
    /// Objects that are not written yet.
    gathered: Vec<u8>,
    /// Objects in `gathered`, and objects that could not be written.
    lines: u64,
    lost: u64,
}

impl Log {
    /// A log as the flags want it, at `path`.
    pub(crate) fn new(flags: &LogFlags, path: PathBuf) -> Log {
        let mut log = Log {
            path: (flags.log_driver == LogDriver::JsonFile).then_some(path),
            max_bytes: None,
            max_files: 1,
            file: None,
            size: 0,
            open: [Vec::new(), Vec::new()],
            gathered: Vec::new(),
            lines: 0,
            lost: 0,
        };
        for option in &flags.log_opt {
            match option {
                LogOpt::MaxSize(bytes) => log.max_bytes = *bytes,
                LogOpt::MaxFile(files) => log.max_files = *files,
            }
        }
        log
    }

    /// Take bytes of the program's. Never fails: see the head of this file.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        if self.path.is_none() {
            return;
        }
        let time = jiff::Timestamp::now().to_string();
        let mut open = std::mem::take(&mut self.open[stream as usize]);
        while !bytes.is_empty() {
            let room = PIECE_BYTES - open.len();
            let (piece, is_whole) = match bytes.iter().take(room).position(|byte| *byte == b'\n') {
                Some(at) => (&bytes[..=at], true),
                None => (&bytes[..bytes.len().min(room)], bytes.len() >= room),
            };
            bytes = &bytes[piece.len()..];
            if !is_whole {
                open.extend_from_slice(piece);
            } else if open.is_empty() {
                self.put(stream, piece, &time);
            } else {
                open.extend_from_slice(piece);
                self.put(stream, &open, &time);
                open.clear();
            }
        }
        if open.is_empty() {
            // A long line is rare: its room is given back.
            open = Vec::new();
        }
        self.open[stream as usize] = open;
        self.flush();
    }

    /// The program has ended: what it wrote without a line break is written too.
    pub(crate) fn finish(&mut self) {
        let time = jiff::Timestamp::now().to_string();
        for stream in [Stream::Output, Stream::Errors] {
            let open = std::mem::take(&mut self.open[stream as usize]);
            if !open.is_empty() {
                self.put(stream, &open, &time);
            }
        }
        self.flush();
        self.gathered = Vec::new();
    }

    fn put(&mut self, stream: Stream, line: &[u8], time: &str) {
        let full = self.max_bytes.is_some_and(|max| self.size + self.gathered.len() as u64 >= max);
        if full || self.gathered.len() >= GATHER_BYTES {
            self.flush();
        }
        if full {
            self.rotate();
        }
        if self.lost > 0 && self.gathered.is_empty() {
            let missing = format!("rbox: {} lines of the log are lost: they could not be written\n", self.lost);
            encode(&mut self.gathered, missing.as_bytes(), Stream::Errors, time);
        }
        encode(&mut self.gathered, line, stream, time);
        self.lines += 1;
    }

    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        if self.write_gathered() {
            self.lost = 0;
        } else {
            self.lost += self.lines;
        }
        self.lines = 0;
        self.gathered.clear();
        if self.gathered.capacity() > GATHER_BYTES {
            self.gathered = Vec::new();
        }
    }

    /// Whether all is written. Half an object is taken away again.
    fn write_gathered(&mut self) -> bool {
        let Some(path) = &self.path else { return true };
        if self.file.is_none() {
            let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            self.size = opened.as_ref().ok().and_then(|file| file.metadata().ok()).map_or(0, |found| found.len());
            self.file = opened.ok();
        }
        let Some(file) = &mut self.file else { return false };
        if file.write_all(&self.gathered).is_ok() {
            self.size += self.gathered.len() as u64;
            return true;
        }
        let _ = file.set_len(self.size);
        false
    }

    /// `log`, `log.1`, `log.2`: each becomes the next, the last one goes. With one file alone it begins anew.
    fn rotate(&mut self) {
        let Some(path) = &self.path else { return };
        if self.max_files > 1 {
            for number in (1..self.max_files).rev() {
                let _ = fs::rename(numbered(path, number - 1), numbered(path, number));
            }
            self.file = None;
        } else if let Some(file) = &self.file {
            let _ = file.set_len(0);
        }
        self.size = 0;
    }
}

/// The name of an older file; 0 is the one that is written to.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Write one object, with the escapes of Go's encoding/json.
fn encode(to: &mut Vec<u8>, line: &[u8], stream: Stream, time: &str) {
    to.extend_from_slice(b"{\"log\":\"");
    for chunk in line.utf8_chunks() {
        escape(to, chunk.valid());
        if !chunk.invalid().is_empty() {
            to.extend_from_slice(b"\\ufffd");
        }
    }
    to.extend_from_slice(b"\",\"stream\":\"");
    to.extend_from_slice(stream.name().as_bytes());
    to.extend_from_slice(b"\",\"time\":\"");
    to.extend_from_slice(time.as_bytes());
    to.extend_from_slice(b"\"}\n");
}

fn escape(to: &mut Vec<u8>, text: &str) {
    let mut plain = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            b'<' => b"\\u003c",
            b'>' => b"\\u003e",
            b'&' => b"\\u0026",
            0..0x20 => b"",
            _ => continue,
        };
        to.extend_from_slice(&bytes[plain..at]);
        if escaped.is_empty() {
            to.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            to.extend_from_slice(escaped);
        }
        plain = at + 1;
    }
    to.extend_from_slice(&bytes[plain..]);
}

#[cfg(test)]
mod tests;
