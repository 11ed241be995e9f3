//! The caller's terminal, while a program with a terminal of its own runs: raw, so that every key reaches the program,
//! and of the same size.
//!
//! ```text
//!   keyboard ──▶ caller's terminal (raw) ──▶ rbox ──▶ pty master ⇄ pty slave ──▶ the program
//! ```
//!
//! Also which signals are passed on to the program. termios(3), tty_ioctl(2), signalfd(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcgetattr, tcsetattr};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

/// The caller's terminal in raw mode; as it was again when this goes out of scope.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Set a terminal to raw mode: no echo, no lines, no keys that make signals.
    ///
    /// # Errors
    /// `ENOTTY` where it is no terminal.
    pub fn enter(terminal: BorrowedFd<'_>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        let entered = Self { terminal: terminal.try_clone_to_owned()?, before };
        tcsetattr(&entered.terminal, SetArg::TCSADRAIN, &raw)?;
        Ok(entered)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone by now, and then there is nothing to restore.
        let _ = tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

/// Whether this is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    io::IsTerminal::is_terminal(&fd)
}

/// Give one terminal the size of another; nothing happens where either is no terminal or has no size.
pub fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    if let Some(size) = size(from) {
        let _ = tcsetwinsize(to, size);
    }
}

/// Give a terminal a size; nothing happens where it is none.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) {
    let _ = tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 });
}

/// The size of a terminal, if it has one.
pub fn size(terminal: BorrowedFd<'_>) -> Option<Winsize> {
    tcgetwinsize(terminal).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0)
}

/// The signals that rbox passes on to the program.
///
/// Not among them: those that cannot be caught, SIGCHLD and SIGPIPE, which are about rbox itself (docker/cli
/// `ForwardAllSignals` leaves the same out), SIGURG, those that a fault in rbox makes, and SIGTTIN and SIGTTOU, which stop a job that
/// uses the terminal from the background.
const FORWARDED: [Signal; 16] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGXCPU,
    Signal::SIGXFSZ,
    Signal::SIGSTKFLT,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];

/// The signals by which a person ends rbox.
pub const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Signals held back and read from a descriptor, in this thread; let through again when this goes out of scope.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
    forward: bool,
}

impl Signals {
    /// Hold back SIGWINCH and the signals that end rbox, and with `forward` all that is passed on to the program.
    ///
    /// To be called before the program is started, so that no signal is lost between. The mask is inherited: who makes the
    /// program has to clear it.
    ///
    /// # Errors
    /// EMFILE and the like, of signalfd(2).
    pub fn hold(forward: bool) -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGWINCH);
        mask.extend(if forward { FORWARDED.as_slice() } else { ENDING.as_slice() }.iter().copied());
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&mask), Some(&mut before))?;
        // From here on the guard undoes the mask, also when the descriptor cannot be made.
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC);
        match fd {
            Ok(fd) => Ok(Self { fd, before, forward }),
            Err(errno) => {
                before.thread_set_mask()?;
                Err(errno.into())
            }
        }
    }

    /// Whether the signals are the program's; if not, those that end are rbox's own.
    pub fn are_forwarded(&self) -> bool {
        self.forward
    }

    /// A descriptor that is readable as long as one of those that end rbox waits here. Reading it is not needed: with
    /// this guard gone, the signal does what it does.
    ///
    /// # Errors
    /// EMFILE and the like, of signalfd(2).
    pub fn ending(&self) -> io::Result<OwnedFd> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let fd = SignalFd::with_flags(&ENDING.iter().copied().collect(), flags)?;
        fd.as_fd().try_clone_to_owned()
    }

    /// The next signal that came, if there is one.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn next(&self) -> io::Result<Option<Signal>> {
        match self.fd.read_signal() {
            Ok(Some(info)) => Ok(i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok())),
            Ok(None) | Err(Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Setting a mask that was the thread's own cannot fail.
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use nix::pty::openpty;
    use nix::sys::termios::LocalFlags;

    use super::*;

    #[test]
    fn a_raw_terminal_is_as_before_when_the_guard_is_gone() {
        let pty = openpty(None, None).unwrap();
        let flags = || tcgetattr(&pty.slave).unwrap().local_flags;
        let before = flags();
        assert!(before.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
        let raw = Raw::enter(pty.slave.as_fd()).unwrap();
        assert!(!flags().intersects(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
        drop(raw);
        assert_eq!(flags(), before);
    }

    #[test]
    fn what_is_no_terminal_is_an_error_and_has_no_size() {
        let (reader, _writer) = io::pipe().unwrap();
        assert_eq!(Raw::enter(reader.as_fd()).unwrap_err().raw_os_error(), Some(Errno::ENOTTY as i32));
        assert!(!is_terminal(reader.as_fd()) && size(reader.as_fd()).is_none());
    }

    #[test]
    fn one_terminal_takes_the_size_of_another() {
        let (from, to) = (openpty(None, None).unwrap(), openpty(None, None).unwrap());
        let wanted = Winsize { ws_row: 33, ws_col: 132, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&from.slave, wanted).unwrap();
        copy_size(from.slave.as_fd(), to.master.as_fd());
        let got = size(to.slave.as_fd()).unwrap();
        assert_eq!((got.ws_row, got.ws_col), (33, 132));
    }

    #[test]
    fn held_signals_are_read_and_the_mask_comes_back() {
        let before = SigSet::thread_get_mask().unwrap();
        let signals = Signals::hold(true).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        // To this thread alone: the others of the test program do not hold it back.
        nix::sys::pthread::pthread_kill(nix::sys::pthread::pthread_self(), Signal::SIGUSR2).unwrap();
        assert_eq!(signals.next().unwrap(), Some(Signal::SIGUSR2));
        assert_eq!(signals.next().unwrap(), None);
        drop(signals);
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }

    #[test]
    fn signals_about_rbox_itself_are_not_passed_on() {
        for signal in
            [Signal::SIGCHLD, Signal::SIGPIPE, Signal::SIGURG, Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGSEGV]
        {
            assert!(!FORWARDED.contains(&signal), "{signal}");
        }
    }
}
