//! What a container is doing, and the connection to who holds it: shared by the verbs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rbox_runtime::container::{Container, Status as Kernel};

use crate::dirs::Dirs;
use crate::monitor::wire::{self, Ask, Tell};
use crate::record::{Claim, Record, boot_id};
use crate::report::{self, Problem};
use crate::units;

/// How long who holds a container gets to hear that it is to end.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// What a container is doing (the states of docker's `ps --filter status=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Its program has never run.
    Created,
    /// Its program runs. Unattended: its monitor was killed, and no command has come since.
    Running { unattended: bool },
    /// The same, frozen.
    Paused { unattended: bool },
    /// Its program has ended, and its monitor waits to start it again.
    Restarting,
    /// Its program has ended.
    Exited,
    /// Half made or half removed by an rbox that was killed: the next command removes it.
    Dead,
}

impl Status {
    /// What the container of this record is doing now.
    ///
    /// Errors: the state directory cannot be read.
    pub(crate) fn of(dirs: &Dirs, record: &Record) -> Result<Status> {
        Ok(Status::with(dirs, record, Claim::of(dirs, &record.id)?.as_ref()))
    }

    /// The same, where the claim is known.
    pub(crate) fn with(dirs: &Dirs, record: &Record, claim: Option<&Claim>) -> Status {
        let this_boot = claim.is_some_and(|claim| boot_id().is_ok_and(|boot| boot == claim.boot_id));
        let held = claim.is_some_and(|claim| claim.is_alive());
        match record.started {
            None if claim.is_some_and(|claim| claim.is_making()) && !held => return Status::Dead,
            None => return Status::Created,
            Some(_) if record.restarting && held => return Status::Restarting,
            Some(_) if record.finished.is_some() || !this_boot => return Status::Exited,
            Some(_) => {}
        }
        if held && !record.paused_once {
            // Who holds it notes its end; if it has ended in this moment, they are about to.
            return Status::Running { unattended: false };
        }
        let kernel = Container::load(&dirs.runtime(), &record.id).map_or(Kernel::Stopped, |found| found.status());
        match kernel {
            Kernel::Paused => Status::Paused { unattended: !held },
            _ if held => Status::Running { unattended: false },
            Kernel::Running | Kernel::Created => Status::Running { unattended: true },
            _ => Status::Exited,
        }
    }

    /// Whether there are processes, or soon will be again.
    pub(crate) fn is_running(self) -> bool {
        matches!(self, Status::Running { .. } | Status::Paused { .. } | Status::Restarting)
    }

    /// The word for it, in `ps --format {{.State}}` and in filters.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running { .. } => "running",
            Status::Paused { .. } => "paused",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Dead => "dead",
        }
    }

    /// The exit code as it is shown: 255 where nobody saw the end.
    pub(crate) fn exit_code(record: &Record) -> i32 {
        record.exit_code.unwrap_or(255)
    }

    /// `Up 10 seconds`, `Exited (0) 2 hours ago` (moby `container/state.go`).
    pub(crate) fn words(self, record: &Record, now: Timestamp) -> String {
        let up = || {
            let ago = units::ago(record.started.as_deref().unwrap_or_default(), now);
            format!("Up {}", ago.strip_suffix(" ago").unwrap_or(&ago))
        };
        let ended = || match &record.finished {
            Some(finished) => format!("({}) {}", Status::exit_code(record), units::ago(finished, now)),
            // Of another boot: nobody was there to see when it ended.
            None => format!("({})", Status::exit_code(record)),
        };
        match self {
            Status::Created => "Created".to_owned(),
            Status::Running { unattended: false } => up(),
            Status::Running { unattended: true } => format!("{} (unattended)", up()),
            Status::Paused { unattended: false } => format!("{} (Paused)", up()),
            Status::Paused { unattended: true } => format!("{} (Paused, unattended)", up()),
            Status::Restarting => format!("Restarting {}", ended()),
            Status::Exited => format!("Exited {}", ended()),
            Status::Dead => "Dead".to_owned(),
        }
    }
}

/// A connection to who holds the container; nothing when nobody does.
///
/// Errors: those of connect(2).
pub(crate) fn knock(dirs: &Dirs, id: &str) -> Result<Option<OwnedFd>> {
    match wire::knock(&dirs.live(id)) {
        Ok(connection) => Ok(Some(connection)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error).context("cannot reach the container's monitor"),
    }
}

/// Wait for the container's end, at most until `deadline`. Its exit code; nothing when it has not ended by then.
///
/// With `life`, the record of one life of it, the wait is over too when another command has begun a further one.
///
/// Errors: the state directory cannot be read.
pub(crate) fn await_end(
    dirs: &Dirs,
    id: &str,
    life: Option<&Record>,
    deadline: Option<Instant>,
) -> Result<Option<i32>> {
    let is_over = |now: &Record| life.is_some_and(|life| now.started != life.started);
    if let Some(connection) = knock(dirs, id)? {
        // Who answers may be the monitor of that further life already.
        if let Some(now) = Record::load(dirs, id)?.filter(is_over) {
            return Ok(Some(Status::exit_code(&now)));
        }
        // Cut off in this moment: the record knows.
        let _ = wire::say(connection.as_fd(), Ask::Wait);
        loop {
            if !readable(&connection, deadline)? {
                return Ok(None);
            }
            match wire::hear(connection.as_fd(), true).context("cannot hear from the container's monitor")? {
                Some(packet) if packet.is_empty() => break,
                Some(packet) => {
                    if let Some(Tell::Ended(code)) = Tell::parse(&packet) {
                        return Ok(Some(code));
                    }
                }
                None => {}
            }
        }
    }
    // Nobody listens: it has ended, is about to, or its monitor was killed.
    loop {
        let Some(record) = Record::load(dirs, id)? else { return Ok(Some(0)) };
        let claim = Claim::of(dirs, id)?;
        if is_over(&record) {
            return Ok(Some(Status::exit_code(&record)));
        }
        if !Status::with(dirs, &record, claim.as_ref()).is_running() && !claim.is_some_and(|claim| claim.is_alive()) {
            return Ok(Some(Status::exit_code(&record)));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether there is something to be heard before `deadline`.
///
/// Errors: it cannot be waited for.
pub(super) fn readable(connection: &OwnedFd, deadline: Option<Instant>) -> Result<bool> {
    loop {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = timeout.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        match poll(&mut [PollFd::new(connection.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Ok(false),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno).context("cannot wait for the container's monitor"),
        }
    }
}

/// Tell who holds the container that a person ends it now, so that it is not started again. Answers its record as it is
/// then: it may have begun another life until this was heard. Nothing when it has gone by itself, with `--rm`.
///
/// Errors: the record cannot be read or written.
pub(crate) fn halt(dirs: &Dirs, id: &str) -> Result<Option<Record>> {
    let deadline = Instant::now() + HEARD_WITHIN;
    while Instant::now() < deadline {
        let Some(connection) = knock(dirs, id)? else { break };
        if wire::say(connection.as_fd(), Ask::Halt).is_ok() && is_halting(&connection, deadline)? {
            return Record::load(dirs, id);
        }
        // Who was there has let go of all that listened, and may listen again.
        std::thread::sleep(Duration::from_millis(2));
    }
    match Record::update(dirs, id, |record| record.stopped_by_hand = true) {
        Err(_) if Record::load(dirs, id)?.is_none() => Ok(None),
        noted => noted.map(Some),
    }
}

/// Whether it is confirmed: a connection that ends is no answer.
fn is_halting(connection: &OwnedFd, deadline: Instant) -> Result<bool> {
    while readable(connection, Some(deadline))? {
        match wire::hear(connection.as_fd(), true).context("cannot hear from the container's monitor")? {
            Some(packet) if packet.is_empty() => return Ok(false),
            Some(packet) if Tell::parse(&packet) == Some(Tell::Halting) => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// The connection to a container's holder was cut: say what has become of it.
///
/// Errors: always, unless the container has ended and its exit code is known.
pub(crate) fn lost(dirs: &Dirs, id: &str) -> Result<ExitCode> {
    let Some(record) = Record::load(dirs, id)? else { return Ok(ExitCode::SUCCESS) };
    if !Status::of(dirs, &record)?.is_running() {
        return Ok(ExitCode::from(u8::try_from(Status::exit_code(&record)).unwrap_or(u8::MAX)));
    }
    Err(goes_on(&record, "the connection is lost").into())
}

/// A signal that was not for the program has ended the command that was attached to it: at a terminal, say what has
/// become of the program.
///
/// Errors: always, at a terminal.
pub(crate) fn signalled(dirs: &Dirs, id: &str, signal: Signal) -> Result<ExitCode> {
    let code = report::of_signal(signal);
    match Record::load(dirs, id)? {
        Some(record) if record.streams.terminal => Err(goes_on(&record, signal.as_str()).code(code).into()),
        _ => Ok(ExitCode::from(code)),
    }
}

fn goes_on(record: &Record, why: &str) -> Problem {
    let problem = Problem::new(format!("container {}: {why}, the program goes on", record.name));
    problem.hint(format!("rbox attach {} joins it again", record.name))
}
