//! `rbox rm`: remove containers that have ended, and with `--force` those that run.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{kill, print, state};
use crate::cli::{Global, RmArgs};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::find::find;
use crate::record::{Claim, Purpose, Record};
use crate::report::{self, Problem};
use crate::sweep;

/// How long a command that holds a container for a moment gets to let go of it.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

/// `rbox rm`. A container that cannot be removed does not keep the others.
///
/// Errors: the records cannot be read; those of a container are printed, and make the exit code.
pub(crate) fn run(global: &Global, args: &RmArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let mut code = ExitCode::SUCCESS;
    for name in &args.containers {
        match find(&engine.dirs, name).and_then(|record| remove(&engine, &record, (name, args.force))) {
            Ok(()) => print::line(name)?,
            Err(error) if args.force && is_missing(&engine.dirs, name) => {
                // As docker from 20.10 on: the wish is fulfilled.
                report::print(&error);
            }
            Err(error) => code = report::print_refusal(&error),
        }
    }
    Ok(code)
}

fn is_missing(dirs: &Dirs, name: &str) -> bool {
    find(dirs, name).is_err()
}

/// Remove one container.
///
/// Errors: it runs, and there is no `force`; somebody else holds it.
pub(super) fn remove(engine: &Engine, record: &Record, (name, force): (&str, bool)) -> Result<()> {
    let dirs = &engine.dirs;
    let deadline = Instant::now() + LET_GO_WITHIN;
    loop {
        // Read again each time: another command may have started it, or with --rm it may have gone by itself.
        let Some(record) = &Record::load(dirs, &record.id)? else { return Ok(()) };
        let status = state::Status::of(dirs, record)?;
        if status.is_running() {
            if !force {
                let what =
                    if matches!(status, state::Status::Paused { .. }) { "it is paused" } else { "it is running" };
                let problem = Problem::new(format!("cannot remove container {name}: {what}"));
                return Err(problem.hint(format!("rbox stop {name} first, or use rbox rm --force {name}")).into());
            }
            let Some(record) = state::halt(dirs, &record.id)? else { return Ok(()) };
            kill::and_wait(dirs, &record)?;
        }
        if let Some(claim) = Claim::hold(dirs, &record.id, &record.name, Purpose::Remove)? {
            // The same in this moment, and its name may have been changed.
            let Some(record) = Record::load(dirs, &record.id)? else { return claim.release(dirs) };
            let claim = Claim { name: record.name, ..claim };
            return sweep::erase(dirs, &claim).into_iter().next().map_or(Ok(()), Err);
        }
        // Who held it was killed over taking it apart.
        sweep::sweep(dirs, &engine.networks).iter().for_each(report::warn);
        if Instant::now() > deadline {
            let why = "another command is starting or removing it";
            return Err(Problem::new(format!("cannot remove container {name}: {why}")).into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
