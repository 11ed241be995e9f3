//! The program's standard input, output and error: a terminal of its own, or pipes; and rbox between them and the caller.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use oci_spec::runtime::{Box as ConsoleSize, BoxBuilder as ConsoleSizeBuilder};
use rbox_net::Endpoint;
use rbox_runtime::console::{self, Guardian};
use rbox_runtime::container::{Ended, Live, Ties};

use crate::cli::RunArgs;
use rbox_runtime::session::{Caller, Pipes, Session, Streams, Watched};
use rbox_runtime::terminal::{self, Raw, Signals};

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
    /// hands can be typed into (TIOCSTI), and a file can be opened again for writing.
    ///
    /// Errors: no descriptors left.
    pub(super) fn new(flags: &RunArgs) -> Result<(Inside, Ties)> {
        if flags.terminal.tty {
            let (theirs, ours) = console::pair()?;
            return Ok((Inside::Terminal(ours), Ties { console: Some(theirs), ..Ties::default() }));
        }
        let (input, program_input) = if flags.terminal.interactive {
            let (theirs, ours) = pipe()?;
            (Some(ours), theirs)
        } else {
            (None, OwnedFd::from(OpenOptions::new().read(true).open("/dev/null").context("cannot open /dev/null")?))
        };
        let (output, program_output) = pipe()?;
        let (errors, program_errors) = pipe()?;
        let ties = Ties { stdio: [Some(program_input), Some(program_output), Some(program_errors)], ..Ties::default() };
        Ok((Inside::Pipes(Pipes { input, output: Some(output), errors: Some(errors) }), ties))
    }

    /// Hold the caller's signals, and make its terminal raw if the program has one.
    ///
    /// Errors: `-it` where standard input is no terminal.
    pub(super) fn begin<'a>(self, flags: &RunArgs, stdio: &'a Stdio) -> Result<Prepared<'a>> {
        let input = flags.terminal.interactive.then(|| stdio.input.as_fd());
        let caller = Caller { input, output: stdio.output.as_fd(), errors: stdio.errors.as_fd() };
        let (mut guardian, mut raw) = (None, None);
        if let (Inside::Terminal(_), Some(terminal)) = (&self, input) {
            guardian = Some(Guardian::watch(terminal)?);
            raw = Some(Raw::enter(terminal).context("cannot make the terminal raw")?);
        }
        let signals = Signals::hold(flags.terminal.sig_proxy).context("cannot hold signals back")?;
        Ok(Prepared { inside: self, caller, signals, _raw: raw, _guardian: guardian })
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")
}

/// The caller's own standard input, output and error.
pub(super) struct Stdio {
    input: io::Stdin,
    output: io::Stdout,
    errors: io::Stderr,
}

impl Stdio {
    pub(super) fn of_the_caller() -> Stdio {
        Stdio { input: io::stdin(), output: io::stdout(), errors: io::stderr() }
    }

    /// The size that the program's terminal is to have from its first moment on: the caller's, if it has one.
    pub(super) fn size(&self, flags: &RunArgs) -> Option<ConsoleSize> {
        let input = flags.terminal.interactive.then(|| self.input.as_fd());
        let ours = [input, Some(self.output.as_fd())].into_iter().flatten().find(|fd| terminal::is_terminal(*fd));
        let size = ours.filter(|_| flags.terminal.tty).and_then(terminal::size)?;
        let (height, width) = (u64::from(size.ws_row), u64::from(size.ws_col));
        ConsoleSizeBuilder::default().height(height).width(width).build().ok()
    }

    /// Docker's condition for `-it`.
    ///
    /// Errors: standard input is no terminal.
    pub(super) fn check(&self, flags: &RunArgs) -> Result<()> {
        let both = flags.terminal.tty && flags.terminal.interactive;
        if both && !terminal::is_terminal(self.input.as_fd()) {
            let problem =
                crate::report::Problem::new("cannot give the program a terminal: standard input is not a terminal");
            return Err(problem.hint("leave out -t when input comes from a pipe or file").into());
        }
        Ok(())
    }
}

impl Prepared<'_> {
    /// Carry bytes, signals and relayed connections until the program has ended. Answers how it ended.
    ///
    /// Errors: a descriptor of the caller's fails.
    pub(super) fn carry(self, live: &Live, endpoint: &mut Endpoint) -> Result<Ended> {
        let streams = match self.inside {
            Inside::Terminal(socket) => Streams::terminal(self.caller, console::receive(&socket)?),
            Inside::Pipes(pipes) => Streams::pipes(self.caller, pipes),
        };
        let mut forward = |signal: Signal| {
            // It may have ended in this moment.
            let _ = live.kill(signal as i32);
        };
        let session = Session {
            child: live.pidfd(),
            streams: streams.context("cannot prepare the program's streams")?,
            signals: Some(&self.signals),
            forward: &mut forward,
            watched: relays(endpoint)?,
        };
        session.run().context("cannot carry the program's input and output")?;
        Ok(live.wait()?)
    }
}

/// Published ports that the kernel does not carry: `[::]` on a network without IPv6.
fn relays(endpoint: &mut Endpoint) -> Result<Vec<Watched<'_>>> {
    let Some(relay) = endpoint.relay() else { return Ok(Vec::new()) };
    let fd = relay.fd().try_clone_to_owned().context("cannot watch the relayed ports")?;
    let ready = move || {
        relay.ready();
        true
    };
    Ok(vec![Watched { fd, ready: Box::new(ready) }])
}
