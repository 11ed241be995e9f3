//! A container whose networks or ports a command changes: as it is now, and while nobody else does.

use std::time::{Duration, Instant};

use anyhow::Result;
use rbox_net::Changes;

use super::settle::Life;
use crate::cmd::state;
use crate::engine::Engine;
use crate::find::find;
use crate::record::{Claim, Purpose, Record};
use crate::report::{self, Problem};
use crate::sweep;

/// How long a command that holds a container for a moment gets to let go of it.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

/// A container whose networks nobody else changes meanwhile, and that does not begin meanwhile.
pub(crate) struct Hold<'a> {
    pub(crate) changes: Changes,
    /// Where it runs.
    pub(crate) life: Option<Life<'a>>,
    /// Where it does not: until this is given back it cannot be started.
    claim: Option<Claim>,
}

impl<'a> Hold<'a> {
    /// Wait until it runs, or stands still, and do something to it.
    ///
    /// Errors: it has been removed; another command starts or removes it, and does not come to an end with that.
    pub(crate) fn on<T>(engine: &'a Engine, record: &Record, act: impl FnOnce(&Hold<'a>) -> Result<T>) -> Result<T> {
        let done = Hold::wait(engine, record).and_then(|hold| {
            let done = act(&hold);
            hold.release(engine).and(done)
        });
        // Of one that was removed in this moment all else that is missing is no news.
        done.or_else(|error| find(&engine.dirs, &record.id).and(Err(error)))
    }

    fn wait(engine: &'a Engine, record: &Record) -> Result<Hold<'a>> {
        let (dirs, id) = (&engine.dirs, &record.id);
        let deadline = Instant::now() + LET_GO_WITHIN;
        loop {
            let changes = engine.networks.lock_changes()?;
            let life = Life::of(dirs, &engine.networks, id)?;
            if life.is_some() {
                return Ok(Hold { changes, life, claim: None });
            }
            let now = find(dirs, id)?;
            // Its monitor waits, and reads at its next start what it is to be then.
            if state::Status::of(dirs, &now)? == state::Status::Restarting {
                return Ok(Hold { changes, life: None, claim: None });
            }
            if let Some(claim) = Claim::hold(dirs, id, &now.name, Purpose::Hold)? {
                let hold = Hold { changes, life: None, claim: Some(claim) };
                match Record::load(dirs, id) {
                    Ok(Some(_)) => return Ok(hold),
                    // It was removed in this moment: the next look finds nothing.
                    _ => hold.release(engine)?,
                }
                continue;
            }
            drop(changes);
            if Instant::now() > deadline {
                let why = "another command is starting or removing it";
                let problem = Problem::new(format!("cannot change the networks of container {}: {why}", record.name));
                return Err(problem.into());
            }
            if Claim::of(dirs, id)?.is_some_and(|claim| !claim.is_alive()) {
                // Who held it was killed since this command began.
                sweep::look_through(dirs, &engine.networks, None).iter().for_each(report::warn);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Let others have it.
    fn release(self, engine: &Engine) -> Result<()> {
        self.claim.map_or(Ok(()), |claim| claim.release(&engine.dirs))
    }
}
