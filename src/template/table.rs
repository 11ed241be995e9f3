//! Lists as docker/cli prints them: columns under titles, or each row by a template (docker/cli `formatter/formatter.go`).

use super::{Template, Value};
use crate::pad;
use crate::report::Problem;

/// A list to print: its columns, and its rows with a value for every field.
#[derive(Debug)]
pub(crate) struct List<'a> {
    /// Field and title of every column that there can be; the title is what `table` shows.
    pub(crate) titles: &'a [(&'a str, &'a str)],
    /// Fields of the columns that are shown when no format was asked for.
    pub(crate) shown: &'a [&'a str],
    /// The rows.
    pub(crate) rows: &'a [Value],
}

/// Go's text/tabwriter as docker/cli sets it up: cells of at least 10, three spaces between columns.
const CELL_MIN: usize = 10;
const CELL_PADDING: usize = 3;

/// The text of a list. `format` is what `--format` was given: a template, `table TEMPLATE`, `table` or `json`.
///
/// Errors: the template cannot be understood or filled in.
pub(crate) fn list(list: &List<'_>, format: Option<&str>) -> Result<String, Problem> {
    let format = format.filter(|format| !format.is_empty()).unwrap_or("table").trim();
    // A shell hands the two letters on, so they stand for a tab and a line break here.
    let unescape = |text: &str| text.replace(r"\t", "\t").replace(r"\n", "\n");
    match format.strip_prefix("table") {
        Some("") => {
            let columns: Vec<String> = list.shown.iter().map(|field| format!("{{{{.{field}}}}}")).collect();
            table(list, &columns.join("\t"))
        }
        Some(template) if template.starts_with(char::is_whitespace) => table(list, &unescape(template.trim_start())),
        _ if format == "json" => rows(list, "{{json .}}"),
        _ => rows(list, &unescape(format)),
    }
}

fn rows(list: &List<'_>, template: &str) -> Result<String, Problem> {
    let template = Template::parse(template)?;
    list.rows.iter().map(|row| template.fill_row(row).map(|line| line + "\n")).collect()
}

fn table(list: &List<'_>, template: &str) -> Result<String, Problem> {
    let template = Template::parse(template)?;
    let titles = Value::of_fields(list.titles.iter().map(|(field, title)| (*field, (*title).to_owned())));
    let mut lines = vec![template.titles(&titles)?];
    for row in list.rows {
        lines.push(template.fill_row(row)?);
    }
    Ok(columns(&lines))
}

/// Lines with tabs, made into columns; what stands behind the last tab of a line is not padded.
fn columns(lines: &[String]) -> String {
    let cells: Vec<Vec<&str>> =
        lines.iter().flat_map(|line| line.split('\n')).map(|line| line.split('\t').collect()).collect();
    let count = cells.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let ended = cells.iter().filter(|line| line.len() > column + 1).map(|line| line[column].chars().count());
        ended.max().map_or(0, |widest| (widest + CELL_PADDING).max(CELL_MIN))
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for line in &cells {
        for (column, cell) in line.iter().enumerate() {
            let width = if column + 1 < line.len() { widths[column] } else { 0 };
            text.push_str(&pad::right(cell, width));
        }
        text.push('\n');
    }
    text
}
