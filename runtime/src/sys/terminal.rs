//! The settings of a terminal, for the guardian that restores them.

use super::done;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// As termios(3) keeps them.
pub(crate) struct Settings(libc::termios);

/// Read them. tcgetattr(3).
pub(crate) fn settings(terminal: BorrowedFd<'_>) -> io::Result<Settings> {
    let mut found = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the buffer has the size of the structure.
    done(i64::from(unsafe { libc::tcgetattr(terminal.as_raw_fd(), found.as_mut_ptr()) }))?;
    // SAFETY: tcgetattr succeeded, so it has filled the structure.
    Ok(Settings(unsafe { found.assume_init() }))
}

/// Set them when all that was written has come out. tcsetattr(3) `TCSADRAIN`. Runs in the guardian.
pub(crate) fn set(terminal: BorrowedFd<'_>, settings: &Settings) -> io::Result<()> {
    // SAFETY: the settings outlive the call.
    done(i64::from(unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, ptr::from_ref(&settings.0)) }))
}
