//! `rbox create`: lines 1 to 3 of the story in `run.rs`, and no more.

use std::process::ExitCode;

use anyhow::Result;

use super::{print, run};
use crate::cli::{Global, RunArgs};
use crate::engine::Engine;

/// `rbox create`. Prints the id.
///
/// Errors: those of [`run::create`].
pub(crate) fn run(global: &Global, flags: &RunArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let created = run::create(&engine, flags, run::Begin::Later)?;
    let id = created.claimed.claim.id.clone();
    created.claimed.release()?;
    created.cidfile.keep();
    print::line(&id)?;
    Ok(ExitCode::SUCCESS)
}
