//! A command that is attached to a container: its keyboard and its screen, joined to the hub of who holds it.
//!
//! ```text
//!   keyboard ──▶ [detach keys] ──▶ Input ──▶ hub        screen ◀── Output, Errors ◀── hub
//!   SIGWINCH ──▶ Resize       signals ──▶ Signal        Ended ──▶ the exit code
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use rbox_runtime::console::Guardian;
use rbox_runtime::terminal::{self, Raw, Signals};

use crate::cli::value::DetachKeys;
use crate::cmd::Stdio;
use crate::monitor::wire::{self, Ask, Tell};
use crate::record::StreamsOf;

/// What a blocking pipe that is ready takes without waiting: `PIPE_BUF`.
const PAGE_BYTES: usize = 4096;
/// So many packets wait for a program that does not read; then the keyboard waits too.
const HELD_PACKETS: usize = 16;

/// How somebody is attached.
pub(crate) struct Attached<'a> {
    /// What the program has.
    pub(crate) streams: &'a StreamsOf,
    /// Whether the caller's standard input is for it.
    pub(crate) input: bool,
    /// Whether the caller's signals are, where the program has no terminal: at a terminal they come as keys, and who is sent
    /// one otherwise (its window was closed, SIGHUP) is this command alone.
    pub(crate) forward: bool,
    /// The keys that leave a terminal.
    pub(crate) keys: &'a DetachKeys,
    /// The caller.
    pub(crate) stdio: &'a Stdio,
}

/// Why nobody is attached any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The program has ended, with this code.
    Ended(i32),
    /// The person has left by the detach keys.
    Left,
    /// A signal that is not for the program has ended this command.
    Signalled(Signal),
    /// The terminal is gone, or who held the container.
    Lost,
}

impl<'a> Attached<'a> {
    /// What is said first.
    pub(crate) fn first(&self) -> Vec<Ask<'static>> {
        let mut all = vec![Ask::Attach { input: self.input }];
        all.extend(self.size());
        all
    }

    /// The size of the caller's terminal, for the program's.
    fn size(&self) -> Option<Ask<'static>> {
        let terminal = self.screen()?;
        terminal::size(terminal).map(|size| Ask::Resize { rows: size.ws_row, columns: size.ws_col })
    }

    fn screen(&self) -> Option<BorrowedFd<'a>> {
        let ours = [self.stdio.output(), self.stdio.input()];
        ours.into_iter().find(|fd| self.streams.terminal && terminal::is_terminal(*fd))
    }

    /// Carry bytes and signals until the program has ended, or the person leaves. The terminal is as before then.
    ///
    /// Errors: a descriptor of the caller's fails.
    pub(crate) fn carry(self, connection: BorrowedFd<'_>) -> Result<Outcome> {
        let (mut guardian, mut raw) = (None, None);
        if self.streams.terminal && self.input && terminal::is_terminal(self.stdio.input()) {
            guardian = Some(Guardian::watch(self.stdio.input())?);
            raw = Some(Raw::enter(self.stdio.input()).context("cannot make the terminal raw")?);
        }
        let forward = self.forward && !self.streams.terminal;
        let signals = Signals::hold(forward).context("cannot hold signals back")?;
        let keys = Keys::new(if self.streams.terminal { &self.keys.0 } else { &[] });
        let side = Side {
            attached: &self,
            connection,
            keys,
            typed: Vec::new(),
            input: self.input,
            keyboard_is_a_pipe: !terminal::is_terminal(self.stdio.input()),
            shown: None,
        };
        let outcome = side.run(&signals);
        // In this order: our own settings first, then the guardian goes home.
        drop(raw);
        drop(guardian);
        outcome
    }
}

/// The loop's state.
struct Side<'s, 'a> {
    attached: &'s Attached<'a>,
    connection: BorrowedFd<'s>,
    keys: Keys,
    /// Packets for which there was no room.
    typed: Vec<Vec<u8>>,
    /// There is more to come from the keyboard.
    input: bool,
    keyboard_is_a_pipe: bool,
    /// What is on its way to the screen: to the standard error, bytes, how many are out.
    shown: Option<(bool, Vec<u8>, usize)>,
}

impl Side<'_, '_> {
    fn run(mut self, signals: &Signals) -> Result<Outcome> {
        // It may have changed since it was first said.
        self.say_size();
        loop {
            let [signal, packet, room, key, screen] = self.wait(signals).context("cannot wait for input and output")?;
            if signal && let Some(outcome) = self.take_signals(signals)? {
                return Ok(outcome);
            }
            if screen && !self.show()? {
                return Ok(Outcome::Lost);
            }
            if room {
                self.push();
            }
            if key && let Some(outcome) = self.read_keys()? {
                return Ok(outcome);
            }
            if packet && let Some(outcome) = self.hear()? {
                return Ok(outcome);
            }
        }
    }

    /// Which of these can go on: a signal, a packet to hear, room for one to send, a key, room on the screen.
    fn wait(&self, signals: &Signals) -> Result<[bool; 5], Errno> {
        let stdio = self.attached.stdio;
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.shown.is_none());
        events.set(PollFlags::POLLOUT, !self.typed.is_empty());
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(self.connection, events)];
        let reads_keys = self.input && self.typed.len() < HELD_PACKETS;
        if reads_keys {
            fds.push(PollFd::new(stdio.input(), PollFlags::POLLIN));
        }
        if let Some((to_errors, ..)) = self.shown {
            let screen = if to_errors { stdio.errors() } else { stdio.output() };
            fds.push(PollFd::new(screen, PollFlags::POLLOUT));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok([false; 5]),
            Err(errno) => return Err(errno),
            Ok(_) => {}
        }
        let at = |index: usize| fds[index].revents().unwrap_or(PollFlags::empty());
        let gone = at(1).intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        Ok([
            !at(0).is_empty(),
            self.shown.is_none() && (at(1).contains(PollFlags::POLLIN) || gone),
            at(1).contains(PollFlags::POLLOUT),
            reads_keys && !at(2).is_empty(),
            self.shown.is_some() && !at(fds.len() - 1).is_empty(),
        ])
    }

    fn say(&mut self, ask: Ask<'_>) {
        self.typed.push(ask.packet());
        if self.typed.len() == 1 {
            self.push();
        }
    }

    fn say_size(&mut self) {
        if let Some(size) = self.attached.size() {
            self.say(size);
        }
    }

    fn push(&mut self) {
        let mut sent = 0;
        for packet in &self.typed {
            match wire::try_send(self.connection, packet) {
                Ok(true) => sent += 1,
                Ok(false) => break,
                // Its end is heard where packets are.
                Err(_) => sent = self.typed.len(),
            }
        }
        self.typed.drain(..sent.min(self.typed.len()));
    }

    fn take_signals(&mut self, signals: &Signals) -> Result<Option<Outcome>> {
        while let Some(signal) = signals.next().context("cannot read signals")? {
            match signal {
                Signal::SIGWINCH => self.say_size(),
                _ if signals.are_forwarded() => self.say(Ask::Signal(signal as i32)),
                // The signal is for this command alone: the container goes on.
                _ => return Ok(Some(Outcome::Signalled(signal))),
            }
        }
        Ok(None)
    }

    /// Read what was typed: the person may leave, or the terminal be gone.
    fn read_keys(&mut self) -> Result<Option<Outcome>> {
        let mut bytes = [0; PAGE_BYTES];
        match nix::unistd::read(self.attached.stdio.input(), &mut bytes) {
            // Raw, it has no key for the end: it is gone.
            Ok(0) | Err(Errno::EIO) if self.is_typed_at() => return Ok(Some(Outcome::Lost)),
            Ok(0) | Err(Errno::EIO) => {
                self.input = false;
                self.say(Ask::EndOfInput);
            }
            Ok(length) => {
                let (typed, leaves) = self.keys.take(&bytes[..length]);
                if !typed.is_empty() {
                    self.say(Ask::Input(&typed));
                }
                return Ok(leaves.then_some(Outcome::Left));
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("cannot read the standard input"),
        }
        Ok(None)
    }

    /// Whether the caller's terminal is the program's keyboard.
    fn is_typed_at(&self) -> bool {
        self.attached.streams.terminal && !self.keyboard_is_a_pipe
    }

    fn hear(&mut self) -> Result<Option<Outcome>> {
        let Some(packet) = wire::hear(self.connection, false).context("cannot hear the container")? else {
            return Ok(None);
        };
        Ok(match Tell::parse(&packet) {
            Some(Tell::Output(bytes)) => {
                self.shown = Some((false, bytes.to_vec(), 0));
                None
            }
            Some(Tell::Errors(bytes)) => {
                self.shown = Some((true, bytes.to_vec(), 0));
                None
            }
            Some(Tell::Ended(code)) => Some(Outcome::Ended(code)),
            None if packet.is_empty() => Some(Outcome::Lost),
            Some(Tell::Started | Tell::Halting | Tell::Served(_)) | None => None,
        })
    }

    /// Write once. `false` when the terminal or the reader is gone.
    fn show(&mut self) -> Result<bool> {
        let Some((to_errors, bytes, out)) = &mut self.shown else { return Ok(true) };
        let stdio = self.attached.stdio;
        let screen = if *to_errors { stdio.errors() } else { stdio.output() };
        let rest = &bytes[*out..];
        match nix::unistd::write(screen, &rest[..rest.len().min(PAGE_BYTES)]) {
            Ok(count) => *out += count,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::EPIPE | Errno::EIO) => return Ok(false),
            Err(errno) => return Err(io::Error::from(errno)).context("cannot write the program's output"),
        }
        if *out == bytes.len() {
            self.shown = None;
        }
        Ok(true)
    }
}

/// The detach keys, looked for in what is typed. A beginning of them is held back until it is clear what follows.
struct Keys {
    wanted: Vec<u8>,
    seen: usize,
}

impl Keys {
    fn new(wanted: &[u8]) -> Keys {
        Keys { wanted: wanted.to_vec(), seen: 0 }
    }

    /// What is to be passed on, and whether the person leaves (moby `term.escapeProxy`).
    fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if self.wanted.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.wanted.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.wanted[..self.seen]);
            self.seen = usize::from(self.wanted.first() == Some(byte));
            if self.seen == 0 {
                passed.push(*byte);
            } else if self.wanted.len() == 1 {
                return (passed, true);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// moby/term proxy_test.go.
    #[test]
    fn detach_keys_are_found_and_their_beginnings_are_not_lost() {
        for (typed, passed, leaves) in [
            (&[&b"abc"[..]][..], &b"abc"[..], false),
            (&[b"ab\x10\x11cd"], b"ab", true),
            (&[b"a\x10", b"b"], b"a\x10b", false),
            (&[b"\x10", b"\x10", b"\x11"], b"\x10", true),
            (&[b"\x10", b"\x11"], b"", true),
            (&[b"\x11\x10x"], b"\x11\x10x", false),
        ] {
            let mut keys = Keys::new(&[16, 17]);
            let mut got = Vec::new();
            let mut left = false;
            for bytes in typed {
                let (more, leaves) = keys.take(bytes);
                got.extend(more);
                left |= leaves;
            }
            assert_eq!((got.as_slice(), left), (passed, leaves), "{typed:?}");
        }
        assert_eq!(Keys::new(b"q").take(b"aq"), (b"a".to_vec(), true));
        assert_eq!(Keys::new(b"").take(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
