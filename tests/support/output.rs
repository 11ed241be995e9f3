//! What a program said and how it ended, with assertions that show both when they fail.

use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// A process's end as a shell shows it.
pub(crate) fn code_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// One finished command.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) command: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// As a shell shows it: 128 + n after signal n.
    pub(crate) code: i32,
}

impl Output {
    pub(crate) fn new(command: String, output: std::process::Output) -> Self {
        let code = code_of(output.status);
        Output {
            command,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code,
        }
    }

    /// The command ended with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    /// The command ended with this code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert!(self.code == code, "expected exit code {code}:\n{self}");
        self
    }

    /// The command failed, whatever the code.
    #[track_caller]
    pub(crate) fn fails(self) -> Self {
        assert!(self.code != 0, "expected a failure:\n{self}");
        self
    }

    /// Standard error holds these words.
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.stderr.contains(words), "expected `{words}` on standard error:\n{self}");
        self
    }

    /// Standard output without the white space around it.
    pub(crate) fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Standard output as a table whose columns have three blanks between them.
    pub(crate) fn rows(&self) -> Vec<Vec<&str>> {
        let cells = |line| str::split(line, "   ").map(str::trim).filter(|word| !word.is_empty()).collect();
        self.stdout.lines().map(cells).collect()
    }

    /// Standard output, parsed.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}):\n{self}"))
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}   -> {}", self.command, self.code)?;
        writeln!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout.trim_end(), self.stderr.trim_end())
    }
}
