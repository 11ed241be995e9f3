//! `--explain`: every request to the kernel as it was answered, one line each, with the reason.
//!
//! ```text
//!   5 host clone3        clone3({flags=CLONE_NEWNS|…}) → pid 4121  412µs    | why: new namespaces; pid 1 inside (clone(2))
//! ```
//!
//! The records come from [`rbox_explain`]; nothing is said here that did not happen.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result};
use rbox_explain::Record;
use serde::Serialize;

use crate::cli::{ExplainFlags, ExplainForm};

/// How wide a line is before its reason, in letters; a longer request pushes the reason out.
const WHY_COLUMN: usize = 110;
/// The digits of a container's id, and how many of them a person reads.
const ID_DIGITS: usize = 64;
const SHORT_ID_DIGITS: usize = 12;

/// Print what is done from here on, if the flags ask for it.
///
/// Errors: the file of `--explain-file` cannot be written.
pub(crate) fn listen(flags: &ExplainFlags) -> Result<()> {
    let Some(form) = flags.explain else { return Ok(()) };
    let mut end = "\n";
    let to: Box<dyn Write + Send> = match &flags.explain_file {
        Some(path) => {
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
            Box::new(file.with_context(|| format!("cannot write {}", path.display()))?)
        }
        None => {
            let stderr = std::io::stderr();
            // The terminal may be raw, and then a line break alone does not go back to the left.
            if stderr.is_terminal() {
                end = "\r\n";
            }
            Box::new(stderr)
        }
    };
    let state = Mutex::new((to, 0));
    let began = Instant::now();
    rbox_explain::listen(move |record| {
        let at_us = began.elapsed().as_micros();
        let Ok(mut state) = state.lock() else { return };
        let (to, count) = &mut *state;
        *count += 1;
        let line = match form {
            ExplainForm::Brief => brief(*count, &record),
            ExplainForm::Json => json(*count, at_us, &record),
        };
        // An explanation that cannot be printed is no reason not to run the program.
        let _ = to.write_all(format!("{line}{end}").as_bytes());
    });
    Ok(())
}

/// The columns of `--explain`: number, who, what, request, answer, time, reason.
fn brief(number: u64, record: &Record) -> String {
    let answer = match &record.result {
        Ok(text) if text.is_empty() => "ok".to_owned(),
        Ok(text) => text.clone(),
        Err(why) => format!("error: {why}"),
    };
    let (request, answer) = (short_ids(&one_line(&record.request)), short_ids(&one_line(&answer)));
    let (actor, key, took) = (record.actor.to_string(), record.row.key, record.took.as_micros());
    let done = format!("{number:>3} {actor:<4} {key:<13} {request} → {answer}  {took}µs");
    format!("{done:<WHY_COLUMN$} | why: {} ({})", record.row.why, record.row.see)
}

/// One object; a field is added at the end, never changed.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    t_us: u128,
    actor: String,
    kind: &'a str,
    request: &'a str,
    result: Option<&'a str>,
    error: Option<&'a str>,
    us: u128,
    why: &'a str,
    see: &'a str,
}

fn json(seq: u64, t_us: u128, record: &Record) -> String {
    let line = Line {
        seq,
        t_us,
        actor: record.actor.to_string(),
        kind: record.row.key,
        request: &record.request,
        result: record.result.as_deref().ok(),
        error: record.result.as_ref().err().map(String::as_str),
        us: record.took.as_micros(),
        why: record.row.why,
        see: record.row.see,
    };
    serde_json::to_string(&line).expect("text and numbers become JSON")
}

/// A request of many lines (a rule set) stays readable on one.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Ids of 64 digits cut to twelve, as everywhere else that a person reads them.
fn short_ids(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(digits);
        match run.get(..SHORT_ID_DIGITS) {
            Some(begin) if run.len() == ID_DIGITS => short.extend([begin, "…"]),
            _ => short.push_str(run),
        }
        let other = behind.find(|c: char| c.is_ascii_hexdigit()).unwrap_or(behind.len());
        let (between, next) = behind.split_at(other);
        short.push_str(between);
        rest = next;
    }
    short
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rbox_explain::{Actor, Row};

    use super::*;

    static ROW: Row = Row { key: "clone3", why: "new namespaces; pid 1 inside", see: "clone(2)" };

    fn record(request: &str, result: Result<&str, &str>) -> Record {
        Record {
            actor: Actor::Host,
            row: &ROW,
            request: request.into(),
            result: result.map(str::to_owned).map_err(str::to_owned),
            took: Duration::from_micros(412),
        }
    }

    #[test]
    fn a_brief_line_has_its_columns() {
        let line = brief(5, &record("clone3({flags=CLONE_NEWNS})", Ok("pid 4121")));
        assert!(line.starts_with("  5 host clone3        clone3({flags=CLONE_NEWNS}) → pid 4121  412µs "), "{line}");
        assert!(line.ends_with("| why: new namespaces; pid 1 inside (clone(2))"), "{line}");
        assert_eq!(line.chars().position(|c| c == '|'), Some(WHY_COLUMN + 1), "{line}");
        let line = brief(12, &record("a\nb\n", Ok("")));
        assert!(line.starts_with(" 12 host clone3        a; b → ok  412µs"), "{line}");
        let line = brief(1, &record("mount", Err("operation not permitted")));
        assert!(line.contains("mount → error: operation not permitted"), "{line}");
    }

    #[test]
    fn a_brief_line_cuts_ids_and_a_json_line_does_not() {
        let id = "0123456789abcdef".repeat(4);
        let path = format!("mkdir /rbox/{id}/x and {id}0 and abc");
        assert_eq!(short_ids(&path), format!("mkdir /rbox/0123456789ab…/x and {id}0 and abc"));
        assert!(json(1, 1, &record(&path, Ok(""))).contains(&path));
    }

    #[test]
    fn a_json_line_is_one_object() {
        let line = json(5, 1000, &record("a \"b\"\nc", Ok("")));
        assert_eq!(
            line,
            r#"{"seq":5,"t_us":1000,"actor":"host","kind":"clone3","request":"a \"b\"\nc","result":"","error":null,"us":412,"why":"new namespaces; pid 1 inside","see":"clone(2)"}"#
        );
        let line = json(6, 1000, &record("mount", Err("operation not permitted")));
        assert!(line.contains(r#""result":null,"error":"operation not permitted""#), "{line}");
    }
}
