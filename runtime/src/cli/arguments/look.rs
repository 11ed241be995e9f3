//! The flags of the verbs that only look, and of those that there are not.

use clap::{Arg, ArgAction, Args, Command, ValueEnum};
use std::time::Duration;

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

// `list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// A table, or JSON
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Only the names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

// `ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// The lines of ps(1), or the numbers as JSON
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// The container's name, and options for ps(1): -ef unless given
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["ID", "OPTION"])]
    words: Vec<String>,
}

impl Ps {
    pub(crate) fn id(&self) -> &str {
        &self.words[0]
    }

    /// For ps(1).
    pub(crate) fn options(&self) -> &[String] {
        &self.words[1..]
    }
}

// `events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// How long to wait before each look
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) interval: Duration,
    /// Look once
    #[arg(long)]
    pub(crate) stats: bool,
    /// The container's name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

// `features`.
#[derive(Debug, Args)]
pub(crate) struct Nothing {}

/// Whatever runc's `checkpoint` and `restore` take: the answer is the same.
pub(super) fn anything(command: Command) -> Command {
    let words = Arg::new("words").value_name("ARG").num_args(0..).action(ArgAction::Append);
    command.arg(words.trailing_var_arg(true).allow_hyphen_values(true))
}

/// Go's notation of a time, as runc takes it: `5s`, `1m30s`, `1.5h`, `250ms`.
fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let odd = || "must be a time as 5s, 1m30s or 250ms".to_owned();
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(odd)?;
        let number: f64 = rest[..digits].parse().map_err(|_| odd())?;
        let letters = &rest[digits..];
        let end = letters.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(letters.len());
        let unit = UNITS.iter().find(|(unit, _)| *unit == &letters[..end]).ok_or_else(odd)?;
        seconds += number * unit.1;
        rest = &letters[end..];
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("must be greater than 0".to_owned()),
        Err(_) => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_go_writes_it() {
        for (text, milliseconds) in [("5s", 5000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("250ms", 250)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0s", "5", "s", "-5s", "5 s", "5x", "1..2s", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
