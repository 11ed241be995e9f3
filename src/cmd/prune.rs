//! `rbox container prune`: remove all containers that do not run.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::{print, rm, state};
use crate::cli::{Global, PruneArgs};
use crate::engine::Engine;
use crate::record::Record;
use crate::{report, units};

/// `rbox container prune`
///
/// Errors: the records cannot be read; the answer cannot be.
pub(crate) fn run(global: &Global, args: &PruneArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    if !args.force && !is_wanted("all stopped containers")? {
        // As docker: on the line of the question.
        print::text(&format!("Total reclaimed space: {}\n", units::size(0)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    let mut freed = 0;
    for record in Record::all(&engine.dirs)? {
        if state::Status::of(&engine.dirs, &record)?.is_running() {
            continue;
        }
        let size = engine.store.snapshot_size(&record.id).unwrap_or(0);
        match rm::remove(&engine, &record, (&record.name, false)) {
            Ok(()) => {
                text += &format!("{}\n", record.id);
                freed = u64::saturating_add(freed, size);
            }
            Err(error) => report::warn(&error),
        }
    }
    if !text.is_empty() {
        text = format!("Deleted Containers:\n{text}\n");
    }
    print::text(&format!("{text}Total reclaimed space: {}\n", units::size(freed)))?;
    Ok(ExitCode::SUCCESS)
}

/// Ask whether to remove `what`.
pub(super) fn is_wanted(what: &str) -> Result<bool> {
    print::text(&format!("WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] "))?;
    io::stdout().flush().context("cannot write to the standard output")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}
