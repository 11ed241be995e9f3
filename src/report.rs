//! An error as a person reads it: one line, at most one hint, and the exit code.
//!
//! All advice and all exit codes live here. An error comes from one of three places: the command line ([`usage`]),
//! rbox's own checks ([`Problem`]), or a library, whose enum is looked up by [`known`].

mod flags;
mod usage;

use std::fmt::{self, Display};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::signal::Signal;

pub(crate) use usage::usage;

/// rbox itself could not do it (docker run: 125).
pub(crate) const OWN: u8 = 125;

/// The command line lacks a word, or a verb but `run` fails (docker: 1).
pub(crate) const INCOMPLETE: u8 = 1;

/// The program cannot be executed (docker run: 126).
pub(crate) const NOT_EXECUTABLE: u8 = 126;

/// There is no such program (docker run: 127).
const NOT_FOUND: u8 = 127;

/// An error with its advice: what rbox's own checks return.
#[derive(Debug)]
pub(crate) struct Problem {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Problem {
    /// `message` in the form of the conventions: `cannot <verb> <object>: <cause>` or `<object>: <what is wrong>`.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: OWN }
    }

    /// End with another code than 125.
    pub(crate) fn code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Say what to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// What is printed of an error, and how rbox ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// One line, without the program's name.
    pub(crate) message: String,
    /// One line of advice.
    pub(crate) hint: Option<String>,
    /// The exit code.
    pub(crate) code: u8,
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rbox: {}", rbox_runtime::printable(&self.message))?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", rbox_runtime::printable(hint)),
            None => Ok(()),
        }
    }
}

/// Word an error.
pub(crate) fn report(error: &anyhow::Error) -> Report {
    let message = sentence(error);
    let (hint, code) = error.chain().find_map(known).unwrap_or((None, OWN));
    let hint = hint.or_else(|| for_not_root(&message));
    Report { message, hint, code }
}

/// The exit code of a command that a signal has ended (sh: 128 and the signal's number).
pub(crate) fn of_signal(signal: Signal) -> u8 {
    u8::try_from(128 + signal as i32).unwrap_or(u8::MAX)
}

/// Whether any error was printed.
static HAS_COMPLAINED: AtomicBool = AtomicBool::new(false);

/// Whether this process has told of anything that it could not do.
pub(crate) fn has_complained() -> bool {
    HAS_COMPLAINED.load(Ordering::Relaxed)
}

fn complain(error: &anyhow::Error) -> Report {
    let report = report(error);
    eprintln!("{report}");
    HAS_COMPLAINED.store(true, Ordering::Relaxed);
    report
}

/// Print an error to the standard error, and answer with its exit code.
pub(crate) fn print(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(complain(error).code)
}

/// As [`print`], for a verb whose own failures are 1: 125 is said by `run` alone, which also hands on a program's code.
pub(crate) fn print_refusal(error: &anyhow::Error) -> ExitCode {
    print_with(error, INCOMPLETE)
}

/// As [`print`], with this code, whatever the error.
pub(crate) fn print_failure(error: &anyhow::Error, code: u8) -> ExitCode {
    complain(error);
    ExitCode::from(code)
}

/// As [`print`], with another code in the place of 125.
pub(crate) fn print_with(error: &anyhow::Error, own: u8) -> ExitCode {
    let report = complain(error);
    ExitCode::from(if report.code == OWN { own } else { report.code })
}

/// Print a line that is no error.
pub(crate) fn note(words: &str) {
    eprintln!("rbox: {}", rbox_runtime::printable(words));
}

/// Print an error that does not keep the program's exit code from being told.
pub(crate) fn warn(error: &anyhow::Error) {
    complain(error);
}

/// What is known of one link in an error's chain: advice, and an exit code. A new kind of error is a new row.
fn known(link: &(dyn std::error::Error + 'static)) -> Option<(Option<String>, u8)> {
    if let Some(problem) = link.downcast_ref::<Problem>() {
        return Some((problem.hint.clone(), problem.code));
    }
    if let Some(error) = link.downcast_ref::<rbox_runtime::Error>() {
        return Some(of_runtime(error));
    }
    if let Some(error) = link.downcast_ref::<rbox_images::Error>() {
        return Some((of_images(error), OWN));
    }
    if let Some(error) = link.downcast_ref::<rbox_net::Error>() {
        return Some((of_net(error), OWN));
    }
    None
}

fn of_runtime(error: &rbox_runtime::Error) -> (Option<String>, u8) {
    match error {
        rbox_runtime::Error::Program { errno, .. } if *errno == Errno::ENOENT as i32 => (None, NOT_FOUND),
        rbox_runtime::Error::Program { .. } => (None, NOT_EXECUTABLE),
        rbox_runtime::Error::Os { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied && !nix::unistd::geteuid().is_root() =>
        {
            (Some("rbox needs root: run it with sudo".into()), OWN)
        }
        _ => (None, OWN),
    }
}

fn of_images(error: &rbox_images::Error) -> Option<String> {
    match error {
        rbox_images::Error::NotFound { similar, .. } => match similar.as_slice() {
            [] => None,
            [one] => Some(format!("similar local image: {one}")),
            several => Some(format!("similar local images: {}", several.join(", "))),
        },
        rbox_images::Error::NoSuchPlatform { .. } => Some("choose one with --platform".into()),
        rbox_images::Error::InUse { .. } => Some("-f removes it nevertheless".into()),
        _ => None,
    }
}

fn of_net(error: &rbox_net::Error) -> Option<String> {
    match error {
        rbox_net::Error::NetworkNotFound(_) => Some("rbox network ls lists those that there are".into()),
        rbox_net::Error::Record { .. } => Some("remove that file, or put a good one in its place".into()),
        _ => None,
    }
}

/// What anybody who is not root should hear, whatever it was that was refused.
fn for_not_root(message: &str) -> Option<String> {
    let refused = ["permission denied", "operation not permitted"].iter().any(|words| message.contains(words));
    (refused && !nix::unistd::geteuid().is_root()).then(|| "rbox needs root: begin with sudo".into())
}

/// The chain as one sentence: each cause behind a colon, unless the text before it says it already.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for link in error.chain() {
        let words = plain(&link.to_string());
        if text.is_empty() {
            text = words;
        } else if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
    }
    // One line, whatever a library put into its words.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An operating system's message as the other messages are written: lower case, no number, no full stop.
fn plain(words: &str) -> String {
    let words = words.trim().trim_end_matches('.');
    // nix puts the errno's name before the sentence.
    let words = words.split_once(": ").filter(|(name, _)| is_errno(name)).map_or(words, |(_, sentence)| sentence);
    let mut text = words.to_owned();
    while let Some(at) = text.find(" (os error ") {
        let end = text[at..].find(')').map_or(text.len(), |length| at + length + 1);
        text.replace_range(at..end, "");
    }
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            let mut lower: String = first.to_lowercase().collect();
            lower.push_str(&text[first.len_utf8()..]);
            lower
        }
        _ => text,
    }
}

/// `ENOENT`, `E2BIG`.
fn is_errno(word: &str) -> bool {
    word.len() > 2
        && word.starts_with('E')
        && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;

    #[test]
    fn causes_stand_behind_colons_once() {
        let error = Err::<(), _>(io::Error::from_raw_os_error(13)).context("cannot read /etc/x").unwrap_err();
        assert_eq!(report(&error).to_string(), "rbox: cannot read /etc/x: permission denied");
        let said = io::Error::other("busy");
        let error = Err::<(), _>(said).context("cannot mount proc: busy").unwrap_err();
        assert_eq!(report(&error).to_string(), "rbox: cannot mount proc: busy");
    }

    #[test]
    fn a_problem_carries_its_hint_through_contexts() {
        let error = Err::<(), _>(Problem::new("no such thing").hint("make one")).context("cannot run").unwrap_err();
        assert_eq!(report(&error).to_string(), "rbox: cannot run: no such thing\nhint: make one");
        assert_eq!(report(&error).code, 125);
    }

    #[test]
    fn the_number_of_an_os_error_is_left_out_and_names_keep_their_case() {
        for (words, wanted) in [
            ("No such file or directory (os error 2)", "no such file or directory"),
            ("cannot open x: No such file or directory (os error 2)", "cannot open x: No such file or directory"),
            ("EROFS: Read-only file system", "read-only file system"),
            ("SIGTERM is no signal.", "SIGTERM is no signal"),
        ] {
            assert_eq!(plain(words), wanted);
        }
    }

    #[test]
    fn errors_of_the_libraries_bring_their_advice_and_code() {
        let missing = |similar: &[&str]| rbox_images::Error::NotFound {
            name: "alpne".into(),
            registry: Some("docker.io".into()),
            similar: similar.iter().map(|name| (*name).to_owned()).collect(),
        };
        let program = |errno: Errno| rbox_runtime::Error::Program {
            program: "serve".into(),
            why: "it is not there".into(),
            errno: errno as i32,
        };
        for (error, text, code) in [
            (anyhow::Error::from(missing(&[])), "rbox: image alpne: not found here or on docker.io", 125),
            (
                anyhow::Error::from(missing(&["alpine:latest"])).context("cannot run"),
                "rbox: cannot run: image alpne: not found here or on docker.io\nhint: similar local image: alpine:latest",
                125,
            ),
            (
                rbox_net::Error::NetworkNotFound("web".into()).into(),
                "rbox: network web: not found\nhint: rbox network ls lists those that there are",
                125,
            ),
            (program(Errno::ENOENT).into(), "rbox: cannot execute serve: it is not there", 127),
            (program(Errno::EACCES).into(), "rbox: cannot execute serve: it is not there", 126),
        ] {
            let got = report(&error);
            assert_eq!((got.to_string().as_str(), got.code), (text, code));
        }
    }

    #[test]
    fn a_line_break_in_a_cause_does_not_break_the_line() {
        assert_eq!(report(&anyhow::anyhow!("one\n  two")).to_string(), "rbox: one two");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let error = anyhow::Error::from(Problem::new("cannot copy a\u{1b}]0;x\u{7}b\u{9b}2J: no").hint("é stays"));
        assert_eq!(report(&error).to_string(), "rbox: cannot copy a\\u{1b}]0;x\\u{7}b\\u{9b}2J: no\nhint: é stays");
    }
}
