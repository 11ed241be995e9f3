//! `rbox stop` and `rbox restart`: ask for the end, wait, and kill what does not end.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use super::{kill, print, start, state};
use crate::cli::{Global, StopArgs};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::find::find;
use crate::record::Record;
use crate::report;

/// How long a program gets when nothing else is said (docker: 10 s).
const PATIENCE_S: i32 = 10;

/// `rbox stop`. One that does not run is stopped already.
///
/// Errors: the state directory cannot be read; those of a container are printed, and make the exit code.
pub(crate) fn run(global: &Global, args: &StopArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let mut exit = ExitCode::SUCCESS;
    for name in &args.containers {
        match find(&engine.dirs, name).and_then(|record| stop(&engine.dirs, &record, args)) {
            Ok(()) => print::line(name)?,
            Err(error) => exit = report::print_refusal(&error),
        }
    }
    Ok(exit)
}

/// `rbox restart`.
///
/// Errors: as [`run`].
pub(crate) fn restart(global: &Global, args: &StopArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let mut exit = ExitCode::SUCCESS;
    for name in &args.containers {
        let stopped = find(&engine.dirs, name).and_then(|record| {
            stop(&engine.dirs, &record, args)?;
            start::one(&engine, &record)
        });
        match stopped {
            Ok(Ok(())) => print::line(name)?,
            Ok(Err(_)) => exit = ExitCode::from(report::INCOMPLETE),
            Err(error) => exit = report::print_refusal(&error),
        }
    }
    Ok(exit)
}

/// Stop one container, and wait until it is taken apart.
///
/// Errors: it cannot be signalled, or does not end even then.
fn stop(dirs: &Dirs, record: &Record, args: &StopArgs) -> Result<()> {
    if !state::Status::of(dirs, record)?.is_running() {
        return Ok(());
    }
    let Some(record) = &state::halt(dirs, &record.id)? else { return Ok(()) };
    let own = record.stop_signal.parse::<Signal>().unwrap_or(Signal::SIGTERM);
    kill::ask_to_end(dirs, record, args.signal.unwrap_or(own))?;
    let seconds = args.time.or(record.stop_timeout).unwrap_or(PATIENCE_S);
    let deadline = u64::try_from(seconds).ok().map(|seconds| Instant::now() + Duration::from_secs(seconds));
    if state::await_end(dirs, &record.id, Some(record), deadline)?.is_some() {
        return Ok(());
    }
    kill::and_wait(dirs, record)
}
