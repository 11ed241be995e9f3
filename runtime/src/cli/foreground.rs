//! Waiting in the foreground: signals go on to the container, its terminal is ours.

use super::arguments::{Exec, Run};
use super::verbs::console_socket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rbox_runtime::{Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

fn os(doing: &str) -> impl Fn(nix::errno::Errno) -> Error {
    let doing = doing.to_owned();
    move |errno| Error::Os { doing: doing.clone(), source: errno.into() }
}

/// Become the parent of the container's orphans, so that nobody is left behind unseen.
pub(super) fn adopt_orphans() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(os("become the reaper of the container's orphans"))
}

/// The signals that came for us, to be passed on.
pub(super) struct Signals {
    queue: SignalFd,
}

impl Signals {
    /// From now on signals wait in a queue instead of ending this program.
    pub(super) fn take() -> Result<Signals> {
        let mut all = SigSet::all();
        // These two tell of our own life, not of the container's.
        all.remove(Signal::SIGSEGV);
        all.remove(Signal::SIGBUS);
        all.thread_block().map_err(os("block signals"))?;
        let queue = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(os("make a signalfd"))?;
        Ok(Signals { queue })
    }

    /// Pass on what has come, but for what is about our own children and terminal.
    fn forward(&self, process: BorrowedFd<'_>) {
        while let Ok(Some(signal)) = self.queue.read_signal() {
            let number = signal.ssi_signo.cast_signed();
            if ![libc::SIGCHLD, libc::SIGPIPE, libc::SIGURG, libc::SIGWINCH].contains(&number) {
                // It may have ended in this moment.
                let _ = rbox_runtime::container::signal(process, number);
            }
        }
    }
}

/// The socket that the container's terminal is sent to.
pub(super) struct Terminal {
    socket: OwnedFd,
}

impl Terminal {
    /// For `run`: `create` takes the socket from its own flag.
    pub(super) fn for_run(_flags: &Run) -> Result<Option<Terminal>> {
        Ok(None)
    }

    /// For `exec`.
    pub(super) fn for_exec(flags: &Exec, wanted: bool) -> Result<Option<Terminal>> {
        match (&flags.console_socket, wanted) {
            (Some(path), true) => Ok(Some(Terminal { socket: console_socket(path)? })),
            (None, true) => {
                Err(Error::InvalidSpec { path: "--tty".to_owned(), why: "needs --console-socket".to_owned() })
            }
            (Some(_), false) => Err(Error::InvalidSpec {
                path: "--console-socket".to_owned(),
                why: "is given, but the process has no terminal".to_owned(),
            }),
            (None, false) => Ok(None),
        }
    }

    pub(super) fn socket(&self) -> Result<OwnedFd> {
        self.socket.try_clone().map_err(|source| Error::Os { doing: "duplicate the console socket".to_owned(), source })
    }
}

/// Wait until `process` has ended, and pass signals on meanwhile.
pub(super) fn wait(process: BorrowedFd<'_>, signals: &Signals, terminal: Option<Terminal>) -> Result<bool> {
    drop(terminal);
    loop {
        let mut files =
            [PollFd::new(process, PollFlags::POLLIN), PollFd::new(signals.queue.as_fd(), PollFlags::POLLIN)];
        match poll(&mut files, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            answer => answer.map_err(os("wait for the container"))?,
        };
        if files[1].any().unwrap_or(false) {
            signals.forward(process);
        }
        if files[0].any().unwrap_or(false) {
            return Ok(false);
        }
    }
}
