//! The verbs that only look: `state`, `list`, `ps` and `features`. Tools read what they print, so it is runc's.

use super::arguments::look::Format;
use super::arguments::{List, Ps};
use super::log::Log;
use super::verbs::os;
use rbox_runtime::container::{self, Container, Found};
use rbox_runtime::{Error, Result};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) fn state(root: &Path, id: &str) -> Result<()> {
    print(&pretty(&Container::load(root, id)?.state(), b"  "))
}

pub(super) fn features() -> Result<()> {
    print(&pretty(&rbox_runtime::features::features()?, b"    "))
}

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| os("print the answer".to_owned(), error))
}

fn pretty(value: &Value, indent: &[u8]) -> String {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut writer = serde_json::Serializer::with_formatter(&mut text, format);
    serde::Serialize::serialize(value, &mut writer).expect("plain data can be written to memory");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// What can be read is listed; what cannot has a line of its own, and is no error of the whole (as in runc).
pub(super) fn list(root: &Path, flags: &List, log: &Log) -> Result<()> {
    let mut states = Vec::new();
    for Found { id, owner, container } in container::all(root)? {
        match container {
            Ok(container) => {
                let mut state = container.state();
                state["owner"] = json!(owner);
                states.push(state);
            }
            Err(error) => log.error(&format!("load container {id}: {error}")),
        }
    }
    if flags.quiet {
        let ids: Vec<String> = states.iter().map(|state| cell(state, "id")).collect();
        return if ids.is_empty() { Ok(()) } else { print(&ids.join("\n")) };
    }
    match flags.format {
        // Go has no list for nothing.
        Format::Json if states.is_empty() => print("null"),
        Format::Json => print(&Value::Array(states).to_string()),
        Format::Table => print(&table(&states)),
    }
}

fn cell(state: &Value, key: &str) -> String {
    match &state[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// As Go's text/tabwriter makes it for runc: columns of at least 12, three blanks between them.
fn table(states: &[Value]) -> String {
    let keys = ["id", "pid", "status", "bundle", "created", "owner"];
    let mut rows = vec![keys.map(str::to_uppercase)];
    rows.extend(states.iter().map(|state| keys.map(|key| cell(state, key))));
    let wide = |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..keys.len() - 1).map(wide).collect();
    let line = |row: &[String; 6]| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<String>() + &row[keys.len() - 1]
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn ps(root: &Path, flags: &Ps) -> Result<()> {
    let pids = Container::load(root, flags.id())?.cgroup().pids()?;
    if flags.format == Format::Json {
        return print(&if pids.is_empty() { "null".to_owned() } else { json!(pids).to_string() });
    }
    let usual = ["-ef".to_owned()];
    let options = if flags.options().is_empty() { &usual } else { flags.options() };
    let output = Command::new("ps").args(options).stdin(Stdio::null()).output();
    let output = output.map_err(|error| os("execute ps".to_owned(), error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().next().unwrap_or("it failed").to_owned();
        return Err(Error::InvalidSpec { path: format!("ps {}", options.join(" ")), why });
    }
    print(&rows_of(&String::from_utf8_lossy(&output.stdout), &pids)?)
}

/// The title, and the lines whose PID is one of `pids`.
fn rows_of(text: &str, pids: &[i32]) -> Result<String> {
    let odd = |why: &str| Error::InvalidSpec { path: "ps".to_owned(), why: why.to_owned() };
    let title = text.lines().next().unwrap_or_default();
    let column = title.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| odd("its lines have no PID"))?;
    let mut rows = vec![title];
    for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        if pids.contains(&pid.ok_or_else(|| odd("the PID of a line is no number"))?) {
            rows.push(line);
        }
    }
    Ok(rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_runcs_columns() {
        let state = json!({ "id": "c", "pid": 0, "status": "stopped", "bundle": "/a/long/bundle", "created": "2026-01-02T03:04:05Z", "owner": "root" });
        let expected = "ID          PID         STATUS      BUNDLE           CREATED                OWNER\n\
                        c           0           stopped     /a/long/bundle   2026-01-02T03:04:05Z   root";
        assert_eq!(table(&[state]), expected);
        assert_eq!(table(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER");
    }

    #[test]
    fn of_ps_only_the_containers_lines_are_left() {
        let text = "UID   PID CMD\nroot    1 init 7\nroot    7 sleep\n";
        assert_eq!(rows_of(text, &[7]).unwrap(), "UID   PID CMD\nroot    7 sleep");
        assert_eq!(rows_of(text, &[]).unwrap(), "UID   PID CMD");
        assert!(rows_of("CMD\nx\n", &[7]).is_err());
    }
}
