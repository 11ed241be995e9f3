//! What can go wrong, cut by what the caller does about it. Words for people are made here and in `steps.rs`, nowhere else.

use crate::container::Status;
use std::borrow::Cow;
use std::io;

/// The result of every call of this library.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that a caller can be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container of that id. The words "does not exist" are matched by containerd's shim.
    #[error("container {id} does not exist")]
    NotFound {
        /// As the caller gave it.
        id: String,
    },
    /// The id is taken.
    #[error("container {id} already exists")]
    AlreadyExists {
        /// As the caller gave it.
        id: String,
    },
    /// The container is not in the state that the operation needs.
    #[error("cannot {verb} container {id}: {}", status_sentence(verb, *.have))]
    WrongStatus {
        /// Of the container.
        id: String,
        /// `start`, `kill`, `delete`, `exec` …
        verb: &'static str,
        /// Its status now.
        have: Status,
    },
    /// config.json, or a flag that stands for a part of it, is not acceptable.
    #[error("{path}: {why}")]
    InvalidSpec {
        /// `config.json: linux.resources.memory.limit`, or the file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A request to the kernel was refused, outside the container.
    #[error("cannot {doing}: {}", cause(.source))]
    Os {
        /// Verb and object: `mount proc on /proc`.
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The container's init could not do one of its steps.
    #[error("cannot {doing}: {why}")]
    Child {
        /// The step's stable key (`--explain=json` shows the same).
        step: &'static str,
        /// Verb and object.
        doing: String,
        /// The cause in words.
        why: String,
        /// The kernel's answer as a number.
        errno: i32,
    },
    /// The program cannot be executed; `errno` tells "not found" (127) from "not executable" (126).
    #[error("cannot execute {program}: {why}")]
    Program {
        /// As the user typed it.
        program: String,
        /// `executable file not found in $PATH`, `permission denied (not executable)` …
        why: String,
        /// ENOENT, EACCES, ENOEXEC …
        errno: i32,
    },
    /// An ordinary user's users cannot be mapped.
    #[error("cannot map users into the user namespace: {why}")]
    Rootless {
        /// What newuidmap(1) or the kernel said.
        why: String,
    },
    /// A hook failed.
    #[error("cannot run {kind} hook {path}: {why}")]
    Hook {
        /// `createRuntime`, `poststop` …
        kind: &'static str,
        /// Of the hook, as config.json has it.
        path: String,
        /// How it ended, and what it said last.
        why: String,
    },
    /// A limit could not be set, or a control group not be made.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// The seccomp profile cannot be turned into a filter.
    #[error(transparent)]
    Seccomp(#[from] crate::seccomp::Error),
}

impl Error {
    /// An unacceptable part of config.json: `spec("linux.intelRdt", "is not supported")`.
    pub(crate) fn spec(path: &str, why: impl Into<String>) -> Error {
        Error::InvalidSpec { path: format!("config.json: {path}"), why: why.into() }
    }
}

/// What it is, after the words that runc says there and its callers match.
fn status_sentence(verb: &str, have: Status) -> String {
    let now = match have {
        Status::Creating => "it is being created",
        Status::Created => "it is created, not started",
        Status::Running => "it is running",
        Status::Paused => "it is paused",
        Status::Stopped => "it is stopped",
    };
    match (verb, have) {
        ("resume", _) => format!("container not paused: {now}"),
        (_, Status::Stopped) | ("pause", _) => format!("container not running: {now}"),
        _ => now.to_owned(),
    }
}

/// An I/O error in the words of this project: lower case, no number, no "os error".
pub fn cause(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => errno_words(number),
        None => error.to_string(),
    }
}

/// The sentence of errno(3) for `number`, in lower case.
pub(crate) fn errno_words(number: i32) -> String {
    let words = nix::errno::Errno::from_raw(number).desc();
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// A message in one line, as it can be given to a terminal: a file, or whoever wrote it, may have chosen words of it.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    // The last two end a line for some readers (Unicode UAX #14).
    let obeyed = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
    if !text.chars().any(obeyed) {
        return Cow::Borrowed(text);
    }
    let shown = |letter: char| if obeyed(letter) { letter.escape_debug().to_string() } else { letter.to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Adds "what was being done" to an I/O result: `.doing(|| format!("open {path}"))?`.
pub(crate) trait Doing<T> {
    /// The words begin with a verb and contain the object; they follow "cannot".
    fn doing(self, words: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, words: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Os { doing: words(), source })
    }
}

impl<T> Doing<T> for nix::Result<T> {
    fn doing(self, words: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::Os { doing: words(), source: errno.into() })
    }
}
