//! `rbox kill`: a signal for a container's first process.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;
use rbox_runtime::container::{Container, Status};

use super::{print, state};
use crate::cli::{Global, KillArgs};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::find::find;
use crate::record::Record;
use crate::report::{self, Problem};

/// How long who holds a killed container gets to take it apart.
const TAKEN_APART_WITHIN: Duration = Duration::from_secs(20);

/// `rbox kill`.
///
/// Errors: the state directory cannot be read; those of a container are printed, and make the exit code.
pub(crate) fn run(global: &Global, args: &KillArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let mut exit = ExitCode::SUCCESS;
    for name in &args.containers {
        match find(&engine.dirs, name).and_then(|record| kill(&engine.dirs, &record, (name, args.signal))) {
            Ok(()) => print::line(name)?,
            Err(error) => exit = report::print_refusal(&error),
        }
    }
    Ok(exit)
}

fn kill(dirs: &Dirs, record: &Record, (name, number): (&str, Signal)) -> Result<()> {
    if !state::Status::of(dirs, record)?.is_running() {
        let problem = Problem::new(format!("cannot kill container {name}: it does not run"));
        return Err(problem.hint("rbox ps lists those that do").into());
    }
    // A signal that may end it is a person's wish that it ends (moby daemon/kill.go).
    let own = record.stop_signal.parse::<Signal>().unwrap_or(Signal::SIGTERM);
    if number == Signal::SIGKILL || number == own || own == Signal::SIGTERM {
        let Some(record) = state::halt(dirs, &record.id)? else { return Ok(()) };
        ask_to_end(dirs, &record, number)?;
        return if number == Signal::SIGKILL { await_end(dirs, &record) } else { Ok(()) };
    }
    signal(dirs, record, number)
}

/// Send a signal to a container's first process. One that waits to be started again has none.
///
/// Errors: it has ended in between, or the kernel refuses.
pub(super) fn signal(dirs: &Dirs, record: &Record, signal: Signal) -> Result<()> {
    match Container::load(&dirs.runtime(), &record.id).and_then(|found| found.kill(signal as i32, false)) {
        Err(rbox_runtime::Error::NotFound { .. } | rbox_runtime::Error::WrongStatus { .. }) => Ok(()),
        sent => Ok(sent?),
    }
}

/// Send a signal that asks for the end. A paused container goes on, since else it could not hear it.
///
/// Errors: as [`signal`]; it cannot be thawed.
pub(super) fn ask_to_end(dirs: &Dirs, record: &Record, number: Signal) -> Result<()> {
    signal(dirs, record, number)?;
    match Container::load(&dirs.runtime(), &record.id) {
        Ok(container) if container.status() == Status::Paused => match container.resume() {
            // It has ended, or somebody else was quicker.
            Err(rbox_runtime::Error::NotFound { .. } | rbox_runtime::Error::WrongStatus { .. }) => Ok(()),
            resumed => Ok(resumed?),
        },
        _ => Ok(()),
    }
}

/// Kill a container, and wait until it is taken apart.
///
/// Errors: it cannot be killed, or who holds it does not take it apart.
pub(super) fn and_wait(dirs: &Dirs, record: &Record) -> Result<()> {
    signal(dirs, record, Signal::SIGKILL)?;
    await_end(dirs, record)
}

fn await_end(dirs: &Dirs, record: &Record) -> Result<()> {
    match state::await_end(dirs, &record.id, Some(record), Some(Instant::now() + TAKEN_APART_WITHIN))? {
        Some(_) => Ok(()),
        None => {
            Err(Problem::new(format!("cannot end container {}: it is killed and does not end", record.name)).into())
        }
    }
}
