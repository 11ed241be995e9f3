//! The standard output of the verbs. What cannot be written because nobody reads any more is no error: `rbox images | head`.

use std::io::{self, Write};

use anyhow::{Context, Result};

use crate::template::{Template, Value};

/// Write text to the standard output.
///
/// Errors: it cannot be written, but for a pipe that was closed.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to the standard output")
        }
        _ => Ok(()),
    }
}

/// Write a line.
///
/// Errors: as [`text`].
pub(crate) fn line(line: &str) -> Result<()> {
    text(&format!("{line}\n"))
}

/// Write objects as Docker's `inspect` does: a JSON list, or each by a template.
///
/// Errors: as [`text`], and those of the template.
pub(crate) fn objects(objects: Vec<Value>, format: Option<&str>) -> Result<()> {
    match format {
        None => line(&Value::List(objects).json(Some("    "))),
        Some("json") => line(&Value::List(objects).json(None)),
        Some(template) => {
            let template = Template::parse(template)?;
            objects.iter().try_for_each(|object| line(&template.fill(object)?))
        }
    }
}
