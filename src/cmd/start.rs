//! `rbox start`, and what `rbox run -d` and `-t` share with it: a container is handed over to a monitor of its own.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::run::{Created, Stdio};
use super::{print, state};
use crate::attach::{Attached, Outcome};
use crate::cli::value::DetachKeys;
use crate::cli::{ExplainFlags, ExplainForm, Global, RunVerb, StartArgs};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::find::find;
use crate::monitor::{Launched, Task, launch};
use crate::record::{Claim, Purpose, Record, StreamsOf};
use crate::report::{self, Problem};
use crate::sweep;

/// How long a command that holds a container for a moment gets to let go of it.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

/// Start a container that was just created, for `rbox run -d` or `-t`.
///
/// Errors: the monitor cannot be started. What it says itself, it has said.
pub(super) fn new(engine: &Engine, created: Created<'_>, verb: &RunVerb, stdio: &Stdio) -> Result<ExitCode> {
    let Created { claimed, intent, cidfile, .. } = created;
    let id = claimed.claim.id.clone();
    let streams = Record::load(&engine.dirs, &id)?.context("the container's record is lost")?.streams;
    let attached = (!verb.attach.detach).then_some(Attached {
        streams: &streams,
        input: intent.flags.terminal.interactive,
        forward: verb.attach.sig_proxy,
        keys: &verb.attach.detach_keys,
        stdio,
    });
    let first = attached.as_ref().map(Attached::first).unwrap_or_default();
    let mut monitor = launch(&engine.dirs, &id, Task::Start, &first, &explain_words(&verb.explain)?)?;
    let started = monitor.await_started();
    match &started {
        // It has taken the claim over, so the claim is not ours to give back; and it has undone what it made.
        Ok(Ok(())) => {
            cidfile.keep();
            claimed.handed_over();
        }
        _ if Claim::of(&engine.dirs, &id)?.is_some_and(|claim| claim.pid == claimed.claim.pid) => drop(claimed),
        _ => claimed.handed_over(),
    }
    if let Err(code) = started? {
        return Ok(code);
    }
    match attached {
        None => {
            print::line(&id)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(attached) => stay(&engine.dirs, &id, attached, &monitor),
    }
}

/// Stay attached until the program has ended, or the person leaves. The exit code is the program's.
fn stay(dirs: &Dirs, id: &str, attached: Attached<'_>, monitor: &Launched) -> Result<ExitCode> {
    match attached.carry(monitor.connection())? {
        Outcome::Ended(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))),
        Outcome::Left => Ok(ExitCode::SUCCESS),
        Outcome::Signalled(signal) => state::signalled(dirs, id, signal),
        Outcome::Lost => state::lost(dirs, id),
    }
}

/// The words of `--explain` for a monitor, which makes the requests that are explained. It has another directory.
///
/// Errors: there is no working directory.
fn explain_words(flags: &ExplainFlags) -> Result<Vec<String>> {
    let form = match flags.explain {
        None => return Ok(Vec::new()),
        Some(ExplainForm::Brief) => "--explain=brief",
        Some(ExplainForm::Json) => "--explain=json",
    };
    let file = flags.explain_file.as_ref().map(std::path::absolute).transpose();
    let file = file.context("cannot find the working directory, in which --explain-file is")?;
    let file = file.map(|file| format!("--explain-file={}", file.display()));
    Ok([form.to_owned()].into_iter().chain(file).collect())
}

/// `rbox start`. A container that cannot be started does not keep the others.
///
/// Errors: the state directory cannot be read; those of a container are printed, and make the exit code.
pub(crate) fn run(global: &Global, args: &StartArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    if args.attach || args.interactive {
        let [name] = args.containers.as_slice() else {
            return Err(Problem::new("cannot attach to several containers at once").into());
        };
        return attach(&engine, name, args);
    }
    let mut exit = ExitCode::SUCCESS;
    for name in &args.containers {
        match find(&engine.dirs, name).and_then(|record| one(&engine, &record)) {
            Ok(Ok(())) => print::line(name)?,
            // As docker start: 1, whatever it was.
            Ok(Err(_)) => exit = ExitCode::from(report::INCOMPLETE),
            Err(error) => exit = report::print_refusal(&error),
        }
    }
    Ok(exit)
}

/// Start one that is there. One that runs already is left to itself.
///
/// Errors: it is paused; somebody else is about to start or to remove it; the monitor cannot be started. With an exit code: the
/// monitor could not start it, and has said why.
pub(crate) fn one(engine: &Engine, record: &Record) -> Result<Result<(), ExitCode>> {
    let dirs = &engine.dirs;
    let Some(claim) = hold(engine, record)? else { return Ok(Ok(())) };
    let mut monitor = launch(dirs, &claim.id, Task::Start, &[], &[]).inspect_err(|_| drop(claim.release(dirs)))?;
    await_started(dirs, &claim, &mut monitor)
}

/// Claim a container to start it. Nothing when it runs. One that has just ended is waited for until it is taken apart.
fn hold(engine: &Engine, record: &Record) -> Result<Option<Claim>> {
    let dirs = &engine.dirs;
    let deadline = Instant::now() + LET_GO_WITHIN;
    loop {
        if Claim::of(dirs, &record.id)?.is_some_and(|claim| !claim.is_alive()) {
            // Who held it was killed since this command began.
            sweep::look_through(dirs, &engine.networks, None).iter().for_each(report::warn);
        }
        if let Some(claim) = Claim::hold(dirs, &record.id, &record.name, Purpose::Hold)? {
            let noted = Record::update(dirs, &record.id, |record| {
                record.stopped_by_hand = false;
                record.restart_count = 0;
            });
            return match noted {
                Ok(_) => Ok(Some(claim)),
                // It was removed in this moment.
                Err(error) => claim.release(dirs).and(Err(error)),
            };
        }
        // Somebody holds it: it runs, is about to, or has ended in this moment.
        let problem = |why: &str| Problem::new(format!("cannot start container {}: {why}", record.name));
        match state::Status::of(dirs, &find(dirs, &record.id)?)? {
            state::Status::Paused { .. } => {
                let hint = format!("rbox unpause {} lets it go on", record.name);
                return Err(problem("it is paused").hint(hint).into());
            }
            status if status.is_running() => return Ok(None),
            _ if Instant::now() > deadline => {
                return Err(problem("another command is starting or removing it").into());
            }
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn await_started(dirs: &Dirs, claim: &Claim, monitor: &mut Launched) -> Result<Result<(), ExitCode>> {
    let started = monitor.await_started();
    if !matches!(started, Ok(Ok(()))) && Claim::of(dirs, &claim.id)?.is_some_and(|now| now.pid == claim.pid) {
        // It was killed before it could take the claim over.
        claim.release(dirs)?;
    }
    started
}

/// `rbox start -a`, `-i`: attached from the first byte on.
fn attach(engine: &Engine, name: &str, args: &StartArgs) -> Result<ExitCode> {
    let dirs = &engine.dirs;
    let record = find(dirs, name)?;
    let stdio = Stdio::of_the_caller();
    let streams: StreamsOf = record.streams.clone();
    let input = args.interactive && streams.input;
    if streams.terminal && input {
        stdio.check_terminal()?;
    }
    let keys: &DetachKeys = &args.detach_keys;
    let attached = Attached { streams: &streams, input, forward: args.sig_proxy, keys, stdio: &stdio };
    let Some(claim) = hold(engine, &record)? else {
        return super::attach::to(dirs, &record, attached);
    };
    let mut monitor =
        launch(dirs, &claim.id, Task::Start, &attached.first(), &[]).inspect_err(|_| drop(claim.release(dirs)))?;
    match await_started(dirs, &claim, &mut monitor)? {
        Ok(()) => stay(dirs, &record.id, attached, &monitor),
        Err(_) => Ok(ExitCode::from(report::INCOMPLETE)),
    }
}
