//! What a hub waits for: one poll(2) over all that can happen.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Hub, Life};
use crate::monitor::caller::Caller;

/// How long output may take to come through after the end, milliseconds: a pty hands its bytes over in a kernel thread.
const LAST_WORDS_MS: u16 = 50;
/// How long an attached command gets to take what is left for it, milliseconds. One that is stopped is left behind.
const LAST_READERS_MS: u16 = 2000;
/// After so long without anything to do, milliseconds, memory is given back: once, for what a start has needed.
const IDLE_MS: u16 = 500;

/// Who is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Ended,
    Signal,
    Network,
    Door,
    Output(usize),
    ProgramInput,
    Client(usize),
    ClientRoom(usize),
    CallerInput,
    CallerRoom(usize),
}

impl Hub<'_> {
    /// Wait for something to do.
    pub(super) fn wait(&self, life: &Life<'_>, has_ended: bool) -> Result<Vec<Ready>, Errno> {
        let watched = self.watched(life, has_ended);
        let mut fds: Vec<PollFd<'_>> = watched.iter().map(|(fd, flags, _)| PollFd::new(*fd, *flags)).collect();
        let timeout = match has_ended {
            false if self.is_lean => PollTimeout::NONE,
            false => PollTimeout::from(IDLE_MS),
            true if !self.is_held() => PollTimeout::from(LAST_WORDS_MS),
            // The caller is waited for, however long that takes.
            true if self.caller.as_ref().is_some_and(Caller::is_held) => PollTimeout::NONE,
            true => PollTimeout::from(LAST_READERS_MS),
        };
        match poll(&mut fds, timeout) {
            // Nothing that would be taken for silence.
            Err(Errno::EINTR) => return Ok(vec![Ready::Signal]),
            Err(errno) => return Err(errno),
            Ok(_) => {}
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        Ok(fds.iter().zip(&watched).filter(|(fd, _)| ready(fd)).map(|(_, (_, _, one))| *one).collect())
    }

    /// The descriptors that something can happen at, and what that is.
    fn watched<'s>(&'s self, life: &'s Life<'_>, has_ended: bool) -> Vec<(BorrowedFd<'s>, PollFlags, Ready)> {
        let (reading, writing) = (PollFlags::POLLIN, PollFlags::POLLOUT);
        let mut all = Vec::with_capacity(8);
        all.push((life.signals.as_fd(), reading, Ready::Signal));
        if !has_ended {
            all.push((life.pidfd, reading, Ready::Ended));
            let network = life.service.iter().flat_map(|service| service.fds());
            all.extend(network.map(|fd| (fd, reading, Ready::Network)));
            all.extend(self.door.as_ref().map(|door| (door.as_fd(), reading, Ready::Door)));
        }
        if let Some(program) = &self.program {
            let outputs = program.outputs.iter().enumerate().filter(|_| !self.is_held());
            all.extend(outputs.map(|(at, (from, _))| (from.as_fd(), reading, Ready::Output(at))));
            let input = program.input.as_ref().filter(|_| !self.typed.is_empty());
            all.extend(input.map(|input| (input.as_fd(), writing, Ready::ProgramInput)));
        }
        let hears = self.typed.is_empty() && !has_ended;
        for (at, client) in self.clients.iter().enumerate() {
            match client.is_held() {
                true => all.push((client.fd(), writing, Ready::ClientRoom(at))),
                // A program that does not read keeps those waiting who type, not who asks for its end.
                false if hears || (!has_ended && !client.has_input()) => {
                    all.push((client.fd(), reading, Ready::Client(at)))
                }
                false => {}
            }
        }
        if let Some(caller) = &self.caller {
            all.extend(caller.wants_room().map(|(at, fd)| (fd, writing, Ready::CallerRoom(at))));
            all.extend(caller.input().filter(|_| hears).map(|input| (input, reading, Ready::CallerInput)));
        }
        all
    }
}
