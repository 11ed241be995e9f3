//! The channel between the parent and the container's init: a socket pair, and messages of eight bytes.
//!
//! ```text
//!  parent                                              init
//!    clone3 ───────────────────────────────────────────▶ begins: network namespace, file systems
//!    Go: its pid is written down, the control groups are made ▶ mounts, control groups, names, masks
//!    ◀─────────────────────────── Failed(step, errno) ── at any time; then it ends
//!    ◀──────────────────────────────────── Environment ── all is mounted, / is still the host's (only with hooks)
//!    Hooked: prestart and createRuntime have run ──────▶ its own hooks, pivot_root
//!    ◀──────────────────────────────────────── Created ── stands before the gate
//!    Start ───────────────────────────────────────────▶ through the channel, or through the gate's socket
//!    ◀─────────────────────────── Failed(step, errno) ── the same way back
//!    ◀──────────────────────────────── (end of file) ──── execve closed it: the program runs
//! ```
//!
//! A further process (`exec`) waits for Go first: by then its parent has set what can only be set from outside. Where
//! nothing is to be done between Created and Start, Start is said before (`StartedBy::UsAtOnce`).
//!
//! Both ends are in this file. The child's half does not allocate; the words are made in the parent.

use crate::steps::Step;
use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Parent to child: what is made and set from outside is there.
pub(crate) const GO: u8 = b'g';
/// Parent to usher: its maps are written.
pub(crate) const MAPPED: u8 = b'm';
/// Parent to the usher's child: its pid is known.
pub(crate) const KNOWN: u8 = b'k';
/// Parent to init: its hooks have run, `/` may be changed.
pub(crate) const HOOKED: u8 = b'h';
/// Parent (or `start`) to a process whose filter notifies: the listener has its descriptor.
pub(crate) const LISTENED: u8 = b'l';
/// Parent (or `start`) to init: become the program.
pub(crate) const START: u8 = b's';

/// What init says: a step with its index, and errno (0: not a failure).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) step: u16,
    pub(crate) index: u16,
    pub(crate) errno: i32,
}

impl Report {
    /// Runs in the child.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let [s0, s1] = self.step.to_ne_bytes();
        let [i0, i1] = self.index.to_ne_bytes();
        let [e0, e1, e2, e3] = self.errno.to_ne_bytes();
        [s0, s1, i0, i1, e0, e1, e2, e3]
    }

    fn from_bytes([s0, s1, i0, i1, e0, e1, e2, e3]: [u8; 8]) -> Report {
        Report {
            step: u16::from_ne_bytes([s0, s1]),
            index: u16::from_ne_bytes([i0, i1]),
            errno: i32::from_ne_bytes([e0, e1, e2, e3]),
        }
    }
}

/// What the parent hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The usher is in a new user namespace without maps.
    MapMe,
    /// The usher's child is born: its pid.
    Born(i32),
    /// Its filter notifies: the number of its descriptor.
    Notifies(i32),
    /// Everything is there, and the parent's hooks are to run.
    Environment,
    /// Init stands before the gate.
    Created,
    /// A step failed; init has ended or is about to.
    Failed(Report),
    /// The channel is closed: the program runs, or init is gone.
    Closed,
}

/// Wait for init's next word. Runs in the parent.
///
/// # Errors
/// Those of read(2).
pub(crate) fn hear(channel: BorrowedFd<'_>) -> io::Result<Heard> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        match sys::file::read(channel, &mut bytes[filled..]) {
            Ok(0) => return Ok(Heard::Closed),
            Ok(got) => filled += got,
            // The other side was killed with our words unread.
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => return Ok(Heard::Closed),
            Err(error) => return Err(error),
        }
    }
    let report = Report::from_bytes(bytes);
    Ok(match report {
        Report { step, errno: 0, .. } if step == Step::Created as u16 => Heard::Created,
        Report { step, errno: 0, .. } if step == Step::Hooks as u16 => Heard::Environment,
        Report { step, errno: 0, .. } if step == Step::AwaitMaps as u16 => Heard::MapMe,
        // A pid and no errno: a failed birth has index 1.
        Report { step, index: 0, errno: pid } if step == Step::Birth as u16 => Heard::Born(pid),
        Report { step, index: 0, errno: number } if step == Step::Listener as u16 => Heard::Notifies(number),
        report => Heard::Failed(report),
    })
}

/// What init has to say behind a failure: a hook's last words. Runs in the parent, until init has ended.
pub(crate) fn hear_words(channel: BorrowedFd<'_>) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 1024]);
    while let Ok(got @ 1..) = sys::file::read(channel, &mut piece) {
        all.extend(&piece[..got]);
        if all.len() > 16 * piece.len() {
            break;
        }
    }
    all
}

/// Say one word to init. Runs in the parent.
///
/// # Errors
/// EPIPE when init has ended: what it said before is still to be heard.
pub(crate) fn say(channel: BorrowedFd<'_>, word: u8) -> io::Result<()> {
    sys::file::write_all(channel, &[word])
}

/// Wait for exactly this word. Runs in the child. The end of the channel means that the parent is gone: EPIPE.
pub(crate) fn await_word(channel: BorrowedFd<'_>, word: u8) -> io::Result<()> {
    let mut byte = [0];
    match sys::file::read(channel, &mut byte)? {
        1 if byte[0] == word => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EPIPE)),
    }
}

/// Whether the parent still holds its end of the channel: EPIPE when it is gone. Runs in the child. Asked behind
/// `PR_SET_PDEATHSIG`, which tells only of a death that is yet to come; getppid(2) knows no parent outside of the pid
/// namespace.
pub(crate) fn parent_is_there(channel: BorrowedFd<'_>) -> io::Result<()> {
    use nix::sys::socket::{MsgFlags, recv};
    match recv(channel.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(1..) | Err(nix::errno::Errno::EAGAIN) => Ok(()),
        Ok(0) => Err(io::Error::from_raw_os_error(libc::EPIPE)),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_channel() {
        let report = Report { step: 7, index: 300, errno: 13 };
        assert_eq!(Report::from_bytes(report.to_bytes()), report);
    }
}
