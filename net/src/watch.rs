//! Rules that come back by themselves: whoever flushes the packet filter, firewalld when it reloads or a person by
//! `iptables -F`, a moment later all containers' rules are there again.
//!
//! ```text
//!   the first process that serves a container ─── holds the lock ─── hears of every change (NFNLGRP_NFTABLES)
//!                                                                       └▶ something was deleted, and not by rbox:
//!                                                                          look, and put back what is missing
//!   all others ─── wait for its end (pidfd) ───▶ one of them holds the lock
//! ```
//!
//! iptables' legacy variant tells nobody of changes. There the rules are looked at twice a second, and put back when they are
//! others than before.
//!
//! There is one in each network namespace with a state directory. It has no thread and never waits: see [`crate::Service`].

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use rtnetlink::sys::Socket;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::Result;
use crate::firewall::{Heard, changes, heard};
use crate::networks::Networks;

/// From the last word about a change to the look at what is there: who flushes seldom does it in one step.
const QUIET: Duration = Duration::from_millis(50);
/// To the next attempt, where somebody else is changing something.
const AGAIN: Duration = Duration::from_millis(200);
/// To the next attempt, where one has failed, or it cannot be told whose turn it is.
const LATER: Duration = Duration::from_secs(1);

/// From look to look, where nobody tells of changes.
const EVERY: Duration = Duration::from_millis(500);

/// One process's part in it.
pub(crate) struct Watch {
    networks: Networks,
    turn: Turn,
    timer: TimerFd,
    /// The timer runs: what is heard meanwhile does not put it off, or who deletes without a pause would be obeyed.
    is_awaited: bool,
}

enum Turn {
    /// Ours: the file whose lock says so as long as it is open.
    Mine { _lock: File, tells: Tells },
    /// That of another process, whose end is waited for.
    Others(OwnedFd),
    /// Not known: the timer tells when to try again.
    Unknown,
}

/// What tells of changes.
enum Tells {
    Kernel(Socket),
    /// Nobody: what there was when all was there.
    Nobody(String),
}

impl Watch {
    /// Take part. Nothing where the administrator does not want that, or the kernel has no timers.
    pub(crate) fn begin(networks: &Networks) -> Option<Watch> {
        if networks.leaves_rules_alone() || networks.leaves_rules_to_others() {
            return None;
        }
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).ok()?;
        let mut watch = Watch { networks: networks.clone(), turn: Turn::Unknown, timer, is_awaited: false };
        watch.take_turn();
        Some(watch)
    }

    /// Wait for any of these to be readable, then call [`Watch::ready`].
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let turn = match &self.turn {
            Turn::Mine { tells: Tells::Kernel(changes), .. } => Some(changes.as_fd()),
            Turn::Mine { .. } => None,
            Turn::Others(process) => Some(process.as_fd()),
            Turn::Unknown => None,
        };
        turn.into_iter().chain([self.timer.as_fd()])
    }

    /// Do what can be done now, without waiting.
    pub(crate) fn ready(&mut self) {
        let is_due = is_readable(self.timer.as_fd()) && self.timer.wait().is_ok();
        self.is_awaited &= !is_due;
        match &mut self.turn {
            Turn::Mine { tells: Tells::Kernel(changes), .. } => {
                let heard = heard(changes);
                match is_due.then(|| self.networks.mend()) {
                    None if heard == Heard::Deleted => self.wake(QUIET),
                    // What the host's own firewall lets in may be another by now.
                    None if heard == Heard::Added && self.networks.respected().is_some() => self.wake(QUIET),
                    Some(Ok(false)) => self.wake(AGAIN),
                    Some(Err(_)) => self.wake(LATER),
                    _ => {}
                }
            }
            Turn::Mine { tells: Tells::Nobody(image), .. } => {
                let looked = is_due.then(|| look(&self.networks, image));
                match looked {
                    None => {}
                    Some(Ok(())) => self.wake(EVERY),
                    Some(Err(_)) => self.wake(LATER),
                }
            }
            Turn::Others(process) if !is_readable(process.as_fd()) => {}
            _ => self.take_turn(),
        }
    }

    /// Take the turn, where it is nobody's; else wait for who has it.
    fn take_turn(&mut self) {
        self.turn = self.turn_now().unwrap_or(Turn::Unknown);
        match self.turn {
            // Nobody has looked since its last owner's end.
            Turn::Mine { .. } => self.wake(QUIET),
            Turn::Others(_) => {}
            Turn::Unknown => self.wake(LATER),
        }
    }

    fn turn_now(&self) -> io::Result<Turn> {
        let path = self.networks.dir().join("watcher");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut whole = lock()?;
        // A lock of the process: a container's first process, made by copying this one, has no part in it.
        if fcntl(&file, FcntlArg::F_SETLK(&whole)).is_ok() {
            let tells = match self.networks.firewall().tells_of_changes() {
                Some(false) => Tells::Nobody(String::new()),
                _ => Tells::Kernel(changes()?),
            };
            return Ok(Turn::Mine { _lock: file, tells });
        }
        fcntl(&file, FcntlArg::F_GETLK(&mut whole))?;
        let owner = Pid::from_raw(whole.l_pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Turn::Others(pidfd_open(owner, PidfdFlags::empty())?))
    }

    fn wake(&mut self, after: Duration) {
        if std::mem::replace(&mut self.is_awaited, true) {
            return;
        }
        let after = Expiration::OneShot(TimeSpec::from_duration(after));
        // It can only fail for a time that is none.
        let _ = self.timer.set(after, TimerSetTimeFlags::empty());
    }
}

/// See whether the rules are what they were, and put back what is missing if not.
fn look(networks: &Networks, image: &mut String) -> Result<()> {
    let firewall = networks.firewall();
    if firewall.image()? != *image && networks.mend()? {
        *image = firewall.image()?;
    }
    Ok(())
}

/// A lock on all of a file.
fn lock() -> io::Result<libc::flock> {
    let short = |word| i16::try_from(word).map_err(|_| io::ErrorKind::InvalidInput);
    let (l_type, l_whence) = (short(libc::F_WRLCK)?, short(libc::SEEK_SET)?);
    Ok(libc::flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 })
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|count| count > 0)
}
