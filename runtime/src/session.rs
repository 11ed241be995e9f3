//! The bytes between the caller and the program, until the program has ended: one loop over poll(2), one thread.
//!
//! ```text
//!   caller's stdin  ──▶ [ ≤ 64 KiB ] ──▶ pty master, or a pipe        signals ──▶ forward(signal)
//!   caller's stdout ◀── [ ≤ 64 KiB ] ◀── pty master, or a pipe        pidfd   ──▶ drain, then end
//!   caller's stderr ◀── [ ≤ 64 KiB ] ◀── a pipe                       watched ──▶ its own callback
//! ```
//!
//! A flow reads only when it has nothing left to write, so a slow reader slows the writer down, and nothing piles up here.
//!
//! The caller's descriptors are shared with the shell and others that it started: they stay blocking. A read is made when poll(2) says
//! that there is something, a write is at most a page, which a ready pipe takes whole (pipe(7), `PIPE_BUF`). poll(2) and
//! not epoll(7), because standard input may be a file.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::terminal::{self, Signals};

/// As much as a pipe holds (pipe(7)).
const FLOW_BYTES: usize = 64 * 1024;
/// What a blocking pipe that is ready takes without waiting: `PIPE_BUF`.
const CALLER_BYTES: usize = 4096;
/// How long output may take to come through after the end, milliseconds: a pty hands its bytes over in a kernel thread.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// How long after the end those are heard who were left behind with the program's output: moby waits as long for the
/// streams of an exec (`daemon/monitor.go`).
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// One run of a program, seen from the caller.
pub struct Session<'a> {
    /// A descriptor that is readable when the program has ended (pidfd_open(2)).
    pub child: BorrowedFd<'a>,
    /// The bytes to carry.
    pub streams: Streams<'a>,
    /// Signals that are held back.
    pub signals: Option<&'a Signals>,
    /// What to do with one that is for the program.
    pub forward: &'a mut dyn FnMut(Signal),
    /// Further descriptors, and what to do when one is readable.
    pub watched: Vec<Watched<'a>>,
}

/// A descriptor that has nothing to do with the program's bytes.
pub struct Watched<'a> {
    /// The descriptor: a copy, since what it belongs to is the callback's.
    pub fd: OwnedFd,
    /// Called when it is readable; `false` ends the watch.
    pub ready: Box<dyn FnMut() -> bool + 'a>,
}

/// Where the caller's bytes come from and go to.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The caller's standard input, if it is to be passed on.
    pub input: Option<BorrowedFd<'a>>,
    /// The caller's standard output.
    pub output: BorrowedFd<'a>,
    /// The caller's standard error.
    pub errors: BorrowedFd<'a>,
}

/// Our ends of the program's pipes.
#[derive(Debug, Default)]
pub struct Pipes {
    /// The program reads what is written here.
    pub input: Option<OwnedFd>,
    /// What the program writes to its standard output.
    pub output: Option<OwnedFd>,
    /// What the program writes to its standard error.
    pub errors: Option<OwnedFd>,
}

/// The flows of a run.
#[derive(Debug, Default)]
pub struct Streams<'a> {
    input: Option<Flow<'a>>,
    outputs: Vec<Flow<'a>>,
    /// The caller's terminal and the program's, which has to have the same size.
    sizes: Option<(BorrowedFd<'a>, Rc<OwnedFd>)>,
}

impl<'a> Streams<'a> {
    /// The program has a terminal: `master` is our end of it. It takes the size of the caller's at once.
    ///
    /// # Errors
    /// those of fcntl(2) on `master`.
    pub fn terminal(caller: Caller<'a>, master: OwnedFd) -> io::Result<Self> {
        not_blocking(&master)?;
        let master = Rc::new(master);
        let ours = [caller.input, Some(caller.output)].into_iter().flatten().find(|fd| terminal::is_terminal(*fd));
        if let Some(ours) = ours {
            terminal::copy_size(ours, master.as_fd());
        }
        Ok(Self {
            input: caller.input.map(|from| Flow::new(End::Caller(from), End::Program(master.clone()))),
            outputs: vec![Flow::new(End::Program(master.clone()), End::Caller(caller.output))],
            sizes: ours.map(|ours| (ours, master)),
        })
    }

    /// The program has pipes. One that is missing is none of our business: the program has the caller's descriptor.
    ///
    /// # Errors
    /// those of fcntl(2) on the pipes.
    pub fn pipes(caller: Caller<'a>, pipes: Pipes) -> io::Result<Self> {
        for pipe in [&pipes.input, &pipes.output, &pipes.errors].into_iter().flatten() {
            not_blocking(pipe)?;
        }
        let program = |pipe: OwnedFd| End::Program(Rc::new(pipe));
        let input = caller.input.zip(pipes.input).map(|(from, to)| Flow::new(End::Caller(from), program(to)));
        let output = pipes.output.map(|from| Flow::new(program(from), End::Caller(caller.output)));
        let errors = pipes.errors.map(|from| Flow::new(program(from), End::Caller(caller.errors)));
        Ok(Self { input, outputs: output.into_iter().chain(errors).collect(), sizes: None })
    }
}

impl Session<'_> {
    /// Carry the bytes until the program has ended and its last words are out.
    ///
    /// A caller that reads no more is no error: a pipe is closed, so that the program is told by SIGPIPE as in a shell's
    /// pipeline.
    ///
    /// # Errors
    /// poll(2) or a descriptor of the caller's fails.
    pub fn run(mut self) -> io::Result<()> {
        let mut deadline = None;
        loop {
            let left = deadline.map(|deadline: Instant| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                self.streams.outputs.retain(Flow::holds_last_words);
            }
            if left.is_some() && self.streams.outputs.is_empty() {
                return Ok(());
            }
            let ready = self.wait(left)?;
            if ready.nothing && left.is_some() {
                return Ok(());
            }
            if ready.signal && self.take_signals(left.is_some())? {
                return Ok(());
            }
            if ready.child {
                deadline = Some(Instant::now() + LEFT_BEHIND);
                self.streams.outputs.iter_mut().for_each(Flow::bound);
                // Nobody reads it any more, and nobody answers whom the watched descriptors bring.
                self.streams.input = None;
                self.watched.clear();
            }
            self.call_watched(&ready.watched);
            self.streams.carry(ready.input, &ready.outputs)?;
        }
    }

    /// Wait for something to do; once the program has ended, with so much time left for those who were left behind.
    fn wait(&self, left: Option<Duration>) -> io::Result<Ready> {
        let ended = left.is_some();
        let flows = self.streams.input.iter().chain(&self.streams.outputs);
        // The descriptor of a child that has ended would be ready for ever.
        let mut fds = Vec::new();
        fds.extend((!ended).then(|| PollFd::new(self.child, PollFlags::POLLIN)));
        fds.extend(self.signals.map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.watched.iter().map(|watched| PollFd::new(watched.fd.as_fd(), PollFlags::POLLIN)));
        fds.extend(flows.map(Flow::interest));
        // The dead say nothing new: what is on its way comes now, and what is held is written however long that takes.
        let last_words = left.filter(|_| self.streams.outputs.iter().all(|flow| flow.held().is_empty()));
        let timeout = last_words.map(|left| PollTimeout::try_from(left.min(LAST_WORDS)).expect("50 ms are few"));
        let timeout = timeout.unwrap_or(PollTimeout::NONE);
        let count = match poll(&mut fds, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno.into()),
        };
        let mut is_ready = fds.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
        let mut next = || is_ready.next().unwrap_or(false);
        Ok(Ready {
            child: !ended && next(),
            signal: self.signals.is_some() && next(),
            watched: self.watched.iter().map(|_| next()).collect(),
            input: self.streams.input.is_some() && next(),
            outputs: self.streams.outputs.iter().map(|_| next()).collect(),
            nothing: count == 0,
        })
    }

    /// Pass signals on. `true` when there is nobody left to pass one to: the caller wants to end, not to wait for its own output.
    fn take_signals(&mut self, ended: bool) -> io::Result<bool> {
        let Some(signals) = self.signals else { return Ok(false) };
        while let Some(signal) = signals.next()? {
            let ends = terminal::ENDING.contains(&signal);
            match (signal, &self.streams.sizes) {
                (Signal::SIGWINCH, Some((ours, theirs))) => terminal::copy_size(*ours, theirs.as_fd()),
                _ if ended && ends => return Ok(true),
                _ if ended => {}
                _ if signals.are_forwarded() => (self.forward)(signal),
                // The signal is rbox's own: it takes the program with it, and goes on to clean up.
                _ if ends => (self.forward)(Signal::SIGKILL),
                _ => {}
            }
        }
        Ok(false)
    }

    fn call_watched(&mut self, ready: &[bool]) {
        let mut ready = ready.iter();
        self.watched.retain_mut(|watched| !ready.next().copied().unwrap_or(false) || (watched.ready)());
    }
}

/// What a wait found, in the order of the descriptors.
#[derive(Debug, Default)]
struct Ready {
    child: bool,
    signal: bool,
    watched: Vec<bool>,
    input: bool,
    outputs: Vec<bool>,
    nothing: bool,
}

impl Streams<'_> {
    fn carry(&mut self, input: bool, outputs: &[bool]) -> io::Result<()> {
        if input && let Some(flow) = &mut self.input {
            let open = match flow.carry() {
                // The program has closed its input, or its terminal is gone: it wants no more.
                Err(error) if is_gone(&error) => false,
                // A terminal that cannot be read from the background, or went away, has nothing more to say.
                Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => false,
                other => other?,
            };
            if !open {
                self.input = None;
            }
        }
        let mut failure = Ok(());
        let mut ready = outputs.iter();
        self.outputs.retain_mut(|flow| {
            if !ready.next().copied().unwrap_or(false) {
                return true;
            }
            match flow.carry() {
                Ok(open) => open,
                // The caller reads no more. A pipe is closed; a terminal goes on without a reader.
                Err(error) if is_gone(&error) => flow.lose_reader(),
                Err(error) => {
                    failure = Err(error);
                    false
                }
            }
        });
        failure
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn not_blocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// One side of a flow.
#[derive(Debug)]
enum End<'a> {
    /// A descriptor that others use too: blocking.
    Caller(BorrowedFd<'a>),
    /// The program's pty master or pipe: our own, not blocking.
    Program(Rc<OwnedFd>),
    /// Nobody is there: bytes are dropped.
    Nowhere,
}

impl End<'_> {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Caller(fd) => Some(*fd),
            Self::Program(fd) => Some(fd.as_fd()),
            Self::Nowhere => None,
        }
    }
}

/// Bytes on their way from one descriptor to another.
#[derive(Debug)]
struct Flow<'a> {
    from: End<'a>,
    to: End<'a>,
    buffer: Vec<u8>,
    written: usize,
    /// How much of what is still to be read can be the program's own, once it has ended.
    own: Option<usize>,
}

impl<'a> Flow<'a> {
    fn new(from: End<'a>, to: End<'a>) -> Self {
        Self { from, to, buffer: Vec::with_capacity(FLOW_BYTES), written: 0, own: None }
    }

    fn held(&self) -> &[u8] {
        &self.buffer[self.written..]
    }

    /// The program has ended: what it wrote itself is at most what its pipe holds, and comes before all that others write.
    /// A pty holds less.
    fn bound(&mut self) {
        let capacity = self.from.fd().and_then(|from| fcntl(from, FcntlArg::F_GETPIPE_SZ).ok());
        self.own = Some(capacity.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(FLOW_BYTES));
    }

    /// Whether something of the program's own is held, or may be still to be read.
    fn holds_last_words(&self) -> bool {
        !self.held().is_empty() || self.own != Some(0)
    }

    /// What the flow waits for: room to write if it holds something, otherwise something to read.
    fn interest(&self) -> PollFd<'_> {
        let (end, events) =
            if self.held().is_empty() { (&self.from, PollFlags::POLLIN) } else { (&self.to, PollFlags::POLLOUT) };
        PollFd::new(end.fd().expect("a flow reads from somewhere, and holds nothing that goes nowhere"), events)
    }

    /// Read or write once. `false` when there is no more to come.
    fn carry(&mut self) -> io::Result<bool> {
        if self.held().is_empty() { self.fill() } else { self.empty().map(|()| true) }
    }

    fn fill(&mut self) -> io::Result<bool> {
        let from = self.from.fd().expect("a flow reads from somewhere");
        self.written = 0;
        self.buffer.resize(FLOW_BYTES, 0);
        let read = nix::unistd::read(from, &mut self.buffer);
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.own = self.own.map(|own| own.saturating_sub(count));
                if matches!(self.to, End::Nowhere) {
                    self.buffer.clear();
                }
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(true),
            // pty(7): nobody has the other side open any more.
            Err(Errno::EIO) if matches!(self.from, End::Program(_)) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn empty(&mut self) -> io::Result<()> {
        let most = if matches!(self.to, End::Caller(_)) { CALLER_BYTES } else { FLOW_BYTES };
        let Some(to) = self.to.fd() else { return Ok(()) };
        let chunk = &self.buffer[self.written..];
        match nix::unistd::write(to, &chunk[..chunk.len().min(most)]) {
            Ok(count) => self.written += count,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The program's terminal has no other side any more.
            Err(Errno::EIO) if matches!(self.to, End::Program(_)) => return Err(Errno::EPIPE.into()),
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    /// The reader is gone: close a pipe (`false`), let a terminal run on into nothing (`true`).
    fn lose_reader(&mut self) -> bool {
        self.buffer.clear();
        self.written = 0;
        self.to = End::Nowhere;
        matches!(&self.from, End::Program(fd) if terminal::is_terminal(fd.as_fd()))
    }
}

#[cfg(test)]
mod tests;
