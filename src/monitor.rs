//! The small process behind a container that outlives its command: `rbox monitor ID`, this same program executed anew.
//!
//! ```text
//!   rbox run -d ── create ── launch ──▶ rbox monitor ── claim taken over, lines 4 to 11 of `cmd/run.rs`
//!        ◀──────────── Started ─────────┘   │  in a session of its own, nothing of the caller's left open
//!   prints the id, ends                     │
//!                                           ├─ hub.rs: program ◀─▶ log, attached commands (wire.rs), relay, signals
//!   rbox stop, attach, wait, logs -f ──────▶│
//!                                           └─ restart.rs: once more, or take everything apart and end
//! ```
//!
//! One thread, one poll(2). Killed with SIGKILL it leaves the container running: the next command starts another monitor,
//! which takes it up from what is on disk ([`adopt`]).

mod adopt;
mod caller;
mod client;
mod ends;
mod hub;
mod launch;
mod restart;
pub(crate) mod wire;

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rbox_runtime::container::Container;
use rbox_runtime::resident;
use rbox_runtime::terminal::Signals;

pub(crate) use caller::Caller;
pub(crate) use ends::{Ends, give_away};
pub(crate) use hub::{Hub, Life};
pub(crate) use launch::{Launched, Task, launch};
pub(crate) use restart::is_wanted;

use crate::cli::{Global, MonitorArgs};
use crate::cmd::run::{self, Claimed, Lived, Place};
use crate::engine::Engine;
use crate::record::{Claim, Intent, Purpose, Record, register};
use crate::{report, sweep};

/// Hold one container until it has ended for good.
///
/// Errors: it cannot be started, or taken up. They are printed where the command that waits prints its own.
pub(crate) fn run(global: &Global, args: &MonitorArgs) -> Result<ExitCode> {
    let connection = io::stdin().as_fd().try_clone_to_owned().context("cannot keep the connection to the command")?;
    let engine = Engine::enter(global)?;
    let dirs = &engine.dirs;
    register::enter(dirs);
    let claim = {
        let _lock = sweep::lock(dirs)?;
        Claim::take_over(dirs, &args.id, args.from)?
    };
    let mut claimed = Some(Claimed::new(claim, dirs));
    let has_begun = Cell::new(false);
    let note_halt = || run::note_halt(dirs, &args.id);
    let outcome = Intent::load(dirs, &args.id).and_then(|intent| {
        let mut hub = Hub::open(run::log(dirs, &intent, &args.id), dirs.live(&args.id), None, &note_halt)?;
        hub.welcome(connection);
        let (lived, signals) = if args.adopt {
            let signals = Signals::hold(false).context("cannot hold signals back")?;
            hub.on_started(Box::new(settle_down));
            (adopt::live(&engine, &args.id, &mut hub)?, signals)
        } else {
            let draft = run::draft(&engine, &args.id, &intent)?;
            let own = claimed.as_ref().map(|claimed| claimed.claim.clone()).expect("taken only at the end");
            let begun_by = dirs.clone();
            let beginning = own.clone();
            let has_begun = &has_begun;
            hub.on_started(Box::new(move || {
                has_begun.set(true);
                // From here on it is a container that is there, whoever made it. Where that cannot be written, its record
                // says the same: it has begun.
                let _ = sweep::lock(&begun_by).and_then(|_lock| beginning.rewritten(&begun_by, Purpose::Hold));
                settle_down();
            }));
            let place = Place { hub: &mut hub, monitored: true, forward: false };
            let lived = run::live(&engine, (&own, &intent), draft, place)?;
            (lived, Signals::hold(false).context("cannot hold signals back")?)
        };
        let lived = again(&engine, &args.id, &mut hub, (lived, &signals))?;
        if let Some(claimed) = claimed.take() {
            lived.settle(claimed, &mut hub);
        }
        Ok(())
    });
    match (outcome, claimed) {
        (Ok(()), _) => Ok(ExitCode::SUCCESS),
        // It runs and could not be taken up: the next command tries again.
        (Err(error), Some(claimed)) if runs(&engine, &args.id) => {
            claimed.handed_over();
            Err(error)
        }
        (Err(error), Some(claimed)) if has_begun.get() => {
            run::broken_off(claimed, &error);
            Err(error)
        }
        // It was there before, so it stays; and else it goes with the claim.
        (Err(error), Some(claimed)) if claimed.claim.purpose == Purpose::Hold => {
            note_failure(&engine, &args.id, &error);
            claimed.release()?;
            Err(error)
        }
        (Err(error), _) => Err(error),
    }
}

fn runs(engine: &Engine, id: &str) -> bool {
    Container::load(&engine.dirs.runtime(), id).is_ok_and(|container| container.pidfd().is_some())
}

/// Nobody waits any more: let go of the command's descriptors, and of what was needed to get here.
fn settle_down() {
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdin(&null);
        let _ = nix::unistd::dup2_stdout(&null);
        let _ = nix::unistd::dup2_stderr(&null);
    }
    resident::give_back_memory();
}

/// Start the program again as often as the policy says so. Answers the last of its lives.
fn again(engine: &Engine, id: &str, hub: &mut Hub<'_>, (mut lived, signals): (Lived, &Signals)) -> Result<Lived> {
    let dirs = &engine.dirs;
    let mut backoff = restart::Backoff::default();
    loop {
        let Some(record) = Record::load(dirs, id)? else { return Ok(lived) };
        if !record.restarting {
            return Ok(lived);
        }
        let wait = backoff.next(&record);
        let code = lived.code;
        lived.finish();
        hub.ended(code);
        let is_halted = hub.pause(wait, signals)?;
        let record = Record::update(dirs, id, |record| {
            // A person may have noted it there, where this monitor could not hear.
            record.restarting = !is_halted && !record.stopped_by_hand;
            record.restart_count += u32::from(record.restarting);
        })?;
        if !record.restarting {
            return Ok(Lived::adopted(code, None, Vec::new()));
        }
        let place = Place { hub, monitored: true, forward: false };
        let next = || {
            let claim = Claim::of(dirs, id)?.context("the container's claim is lost")?;
            // As it is now: `rbox update` may have changed its limits.
            let intent = Intent::load(dirs, id)?;
            let draft = run::draft(engine, id, &intent)?;
            run::live(engine, (&claim, &intent), draft, place)
        };
        lived = match next() {
            Ok(lived) => lived,
            Err(error) => {
                note_failure(engine, id, &error);
                return Ok(Lived::adopted(code, None, Vec::new()));
            }
        };
    }
}

/// What the exit code of a container that could not be started is shown as, where no program is to blame (moby
/// `daemon/start.go`).
const NOT_STARTED: u8 = 128;

/// Why it could not be started, for `inspect`; and the exit code, as if it had been one of the program's, unless the
/// program that ended before says more. Where not even that can be written, who waits is told the first error, which has
/// the same cause.
fn note_failure(engine: &Engine, id: &str, error: &anyhow::Error) {
    let report = report::report(error);
    let _ = Record::update(&engine.dirs, id, |record| {
        record.restarting = false;
        record.error = Some(report.message.clone());
        if report.code != report::OWN {
            record.exit_code = Some(i32::from(report.code));
        } else if matches!(record.exit_code, None | Some(0)) {
            record.exit_code = Some(i32::from(NOT_STARTED));
        }
    });
}
