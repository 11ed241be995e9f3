//! `rbox attach`: keyboard and screen for a program that runs.

use std::process::ExitCode;

use anyhow::Result;

use super::run::Stdio;
use super::state::{self, Status};
use crate::attach::{Attached, Outcome};
use crate::cli::{AttachArgs, Global};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::find::find;
use crate::monitor::wire;
use crate::record::Record;
use crate::report::Problem;

/// `rbox attach`. The exit code is the program's.
///
/// Errors: it does not run, or is paused, or a person leaves by the detach keys (docker: `read escape sequence`).
pub(crate) fn run(global: &Global, args: &AttachArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let record = find(&engine.dirs, &args.container)?;
    let problem = |why: &str| Problem::new(format!("cannot attach to container {}: {why}", args.container)).code(1);
    match Status::of(&engine.dirs, &record)? {
        Status::Running { .. } => {}
        Status::Paused { .. } => return Err(problem("it is paused").hint("rbox unpause lets it go on").into()),
        Status::Restarting => return Err(problem("it is restarting, wait until it runs").into()),
        _ => return Err(problem("it does not run").hint("rbox start -a starts it").into()),
    }
    let stdio = Stdio::of_the_caller();
    let input = !args.no_stdin && record.streams.input;
    if record.streams.terminal && input {
        stdio.check_terminal()?;
    }
    let streams = record.streams.clone();
    let attached =
        Attached { streams: &streams, input, forward: args.sig_proxy, keys: &args.detach_keys, stdio: &stdio };
    to(&engine.dirs, &record, attached)
}

/// Attach to a program that runs.
///
/// Errors: nobody holds it; a person leaves.
pub(super) fn to(dirs: &Dirs, record: &Record, attached: Attached<'_>) -> Result<ExitCode> {
    let Some(connection) = state::knock(dirs, &record.id)? else { return state::lost(dirs, &record.id) };
    for ask in attached.first() {
        wire::say(std::os::fd::AsFd::as_fd(&connection), ask)?;
    }
    match attached.carry(std::os::fd::AsFd::as_fd(&connection))? {
        Outcome::Ended(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))),
        Outcome::Left => Err(Problem::new("read escape sequence").code(1).into()),
        Outcome::Signalled(signal) => state::signalled(dirs, &record.id, signal),
        Outcome::Lost => state::lost(dirs, &record.id),
    }
}
