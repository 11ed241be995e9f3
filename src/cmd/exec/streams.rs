//! The program's standard input, output and error: a terminal of its own, or pipes; and rbox between them and the caller.

use std::fs::OpenOptions;
use std::os::fd::{BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use rbox_runtime::console::{self, Guardian};
use rbox_runtime::container::{self, Ties};
use rbox_runtime::session::{Caller, Pipes, Session, Streams};
use rbox_runtime::terminal::{Raw, Signals};

use crate::cli::ExecArgs;
use crate::cmd::Stdio;
use crate::monitor::give_away;

/// Our ends of what the program gets.
pub(super) enum Inside {
    /// The socket through which the terminal's master comes.
    Terminal(OwnedFd),
    /// Pipes.
    Pipes(Pipes),
}

/// The caller's side, prepared: raw terminal, held signals.
pub(super) struct Prepared<'a> {
    inside: Inside,
    caller: Caller<'a>,
    signals: Signals,
    // Dropped in this order: our own settings first, then the guardian goes home.
    _raw: Option<Raw>,
    _guardian: Option<Guardian>,
}

impl Inside {
    /// Make both ends. The program never gets the caller's own descriptors: a terminal of the host's in a container's
    /// hands can be typed into (TIOCSTI), and a file can be opened again for writing. Pipes are those of `user`.
    ///
    /// Errors: no descriptors left.
    pub(super) fn new(args: &ExecArgs, user: u32) -> Result<(Inside, Ties)> {
        if args.tty {
            let (theirs, ours) = console::pair()?;
            return Ok((Inside::Terminal(ours), Ties { console: Some(theirs), ..Ties::default() }));
        }
        let (input, program_input) = if args.interactive {
            let (theirs, ours) = pipe()?;
            give_away(&theirs, user)?;
            (Some(ours), theirs)
        } else {
            (None, OwnedFd::from(OpenOptions::new().read(true).open("/dev/null").context("cannot open /dev/null")?))
        };
        let (output, program_output) = pipe()?;
        let (errors, program_errors) = pipe()?;
        give_away(&program_output, user)?;
        give_away(&program_errors, user)?;
        let ties = Ties { stdio: [Some(program_input), Some(program_output), Some(program_errors)], ..Ties::default() };
        Ok((Inside::Pipes(Pipes { input, output: Some(output), errors: Some(errors) }), ties))
    }

    /// Make the caller's terminal raw if the program has one. Keys that were typed until now wait in it.
    ///
    /// Errors: `-it` where standard input is no terminal.
    pub(super) fn begin<'a>(self, args: &ExecArgs, stdio: &'a Stdio, signals: Signals) -> Result<Prepared<'a>> {
        let input = args.interactive.then(|| stdio.input());
        let caller = Caller { input, output: stdio.output(), errors: stdio.errors() };
        let (mut guardian, mut raw) = (None, None);
        if let (Inside::Terminal(_), Some(terminal)) = (&self, input) {
            guardian = Some(Guardian::watch(terminal)?);
            raw = Some(Raw::enter(terminal).context("cannot make the terminal raw")?);
        }
        Ok(Prepared { inside: self, caller, signals, _raw: raw, _guardian: guardian })
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")
}

impl Prepared<'_> {
    /// Carry bytes and signals until the program has ended.
    ///
    /// Errors: a descriptor of the caller's fails.
    pub(super) fn carry(self, child: BorrowedFd<'_>) -> Result<()> {
        let streams = match self.inside {
            Inside::Terminal(socket) => Streams::terminal(self.caller, console::receive(&socket)?),
            Inside::Pipes(pipes) => Streams::pipes(self.caller, pipes),
        };
        let mut forward = |signal: Signal| {
            // It may have ended in this moment.
            let _ = container::signal(child, signal as i32);
        };
        let session = Session {
            child,
            streams: streams.context("cannot prepare the program's streams")?,
            signals: Some(&self.signals),
            forward: &mut forward,
            watched: Vec::new(),
        };
        session.run().context("cannot carry the program's input and output")
    }
}
