//! Waiting in the foreground: signals go on to the container, and a terminal of its own is tied to ours.

use nix::sys::signal::Signal;
use rbox_runtime::console::{self, Guardian};
use rbox_runtime::session::{Caller, Session, Streams};
use rbox_runtime::terminal::{Raw, Signals, is_terminal};
use rbox_runtime::{Error, Result};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

fn os(doing: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Os { doing: doing.to_owned(), source }
}

/// Become the parent of the container's orphans, so that nobody is left behind unseen.
pub(super) fn adopt_orphans() -> Result<()> {
    let adopted = nix::sys::prctl::set_child_subreaper(true);
    adopted.map_err(|errno| os("become the reaper of the container's orphans")(errno.into()))
}

/// What ties a program to this one until it has ended.
pub(super) struct Foreground {
    signals: Signals,
    /// Through which the terminal's master comes.
    socket: Option<OwnedFd>,
}

impl Foreground {
    /// Hold signals back from now on, so that none is lost. With `terminal`, the second is the socket for the program.
    pub(super) fn prepare(terminal: bool) -> Result<(Foreground, Option<OwnedFd>)> {
        let signals = Signals::hold(true).map_err(os("hold signals back"))?;
        let (theirs, ours) = if terminal { console::pair().map(|(a, b)| (Some(a), Some(b)))? } else { (None, None) };
        Ok((Foreground { signals, socket: ours }, theirs))
    }

    /// Readable as long as a signal waits that is to end this program.
    pub(super) fn interrupt(&self) -> Result<OwnedFd> {
        self.signals.ending().map_err(os("hold signals back"))
    }

    /// Carry bytes and signals until `process` has ended.
    pub(super) fn wait(self, process: BorrowedFd<'_>) -> Result<()> {
        let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
        let caller = Caller { input: Some(input.as_fd()), output: output.as_fd(), errors: errors.as_fd() };
        let mut settings = None;
        let streams = match self.socket {
            None => Streams::default(),
            Some(socket) => {
                let master = console::receive(&socket)?;
                if is_terminal(input.as_fd()) {
                    let guardian = Guardian::watch(input.as_fd())?;
                    // In this order they are dropped: our own settings first, then the guardian goes home.
                    settings = Some((Raw::enter(input.as_fd()).map_err(os("make the terminal raw"))?, guardian));
                }
                Streams::terminal(caller, master).map_err(os("tie the terminals together"))?
            }
        };
        let mut forward = |signal: Signal| {
            // It may have ended in this moment.
            let _ = rbox_runtime::container::signal(process, signal as i32);
        };
        let session = Session {
            child: process,
            streams,
            signals: Some(&self.signals),
            forward: &mut forward,
            watched: Vec::new(),
        };
        let carried = session.run().map_err(os("carry the program's input and output"));
        drop(settings);
        carried
    }
}

/// The rules of runc's `--console-socket`: a terminal that nobody in the foreground takes must go somewhere.
pub(super) fn check_terminal(terminal: bool, detached: bool, socket: bool) -> Result<()> {
    let why = match (terminal, detached, socket) {
        (true, true, false) => "is missing: a detached program's terminal has to go somewhere",
        (false, _, true) => "is given, but the program has no terminal",
        (true, false, true) => "is given, but the terminal is this one's own: add --detach",
        _ => return Ok(()),
    };
    Err(Error::InvalidSpec { path: "--console-socket".to_owned(), why: why.to_owned() })
}
