//! An error as a person reads it: one line, at most one hint, and the exit code.
//!
//! All advice and all exit codes live here. An error comes from one of three places: the command line ([`usage`]),
//! rbox's own checks ([`Problem`]), or a library, whose enum is looked up by [`known`].

mod flags;
mod usage;

use std::fmt::{self, Display};
use std::process::ExitCode;

pub(crate) use usage::usage;

/// rbox itself could not do it (docker run: 125).
pub(crate) const OWN: u8 = 125;

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
        write!(f, "rbox: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Word an error.
pub(crate) fn report(error: &anyhow::Error) -> Report {
    let message = sentence(error);
    let (hint, code) = error.chain().find_map(known).unwrap_or((None, OWN));
    Report { message, hint, code }
}

/// Print an error to the standard error, and answer with its exit code.
pub(crate) fn print(error: &anyhow::Error) -> ExitCode {
    let report = report(error);
    eprintln!("{report}");
    ExitCode::from(report.code)
}

/// What is known of one link in an error's chain: advice, and an exit code. A new kind of error is a new row.
fn known(link: &(dyn std::error::Error + 'static)) -> Option<(Option<String>, u8)> {
    if let Some(problem) = link.downcast_ref::<Problem>() {
        return Some((problem.hint.clone(), problem.code));
    }
    None
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
    let mut text = words.trim().trim_end_matches('.').to_owned();
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
            ("SIGTERM is no signal.", "SIGTERM is no signal"),
        ] {
            assert_eq!(plain(words), wanted);
        }
    }

    #[test]
    fn a_line_break_in_a_cause_does_not_break_the_line() {
        assert_eq!(report(&anyhow::anyhow!("one\n  two")).to_string(), "rbox: one two");
    }
}
