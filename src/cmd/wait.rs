//! `rbox wait`: the exit codes of containers, once they have ended.

use std::process::ExitCode;

use anyhow::Result;

use super::{print, state};
use crate::cli::{Global, WaitArgs};
use crate::engine::Engine;
use crate::find::find;
use crate::report;

/// `rbox wait`. One that does not run has ended already; one that never ran has the code 0.
///
/// Errors: the state directory cannot be read; those of a container are printed, and make the exit code.
pub(crate) fn run(global: &Global, args: &WaitArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let mut exit = ExitCode::SUCCESS;
    for name in &args.containers {
        let code = find(&engine.dirs, name).and_then(|record| {
            if state::Status::of(&engine.dirs, &record)?.is_running() {
                return state::await_end(&engine.dirs, &record.id, None, None);
            }
            Ok(if record.started.is_some() { Some(state::Status::exit_code(&record)) } else { record.exit_code })
        });
        match code {
            Ok(code) => print::line(&code.unwrap_or(0).to_string())?,
            Err(error) => exit = report::print_refusal(&error),
        }
    }
    Ok(exit)
}
