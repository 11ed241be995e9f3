//! Running one hook: a program with the container's state on its standard input.
//!
//! The same code runs the hooks outside (prestart, createRuntime, poststart, poststop) and those of init
//! (createContainer, startContainer): it neither allocates nor locks, so it is fit for both sides of the clone.

use crate::plan::{BadEnd, Hook};
use crate::sys;
use crate::sys::process::Cloned;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Whence, lseek, pipe2};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The last bytes that a hook wrote to its standard output and error.
pub(crate) struct LastWords {
    bytes: [u8; LAST_WORDS_BYTES],
    length: usize,
}

/// So many are kept: enough for a sentence or two.
const LAST_WORDS_BYTES: usize = 1024;

impl LastWords {
    pub(crate) fn new() -> LastWords {
        LastWords { bytes: [0; LAST_WORDS_BYTES], length: 0 }
    }

    /// Where the next bytes go; the older half makes room when there is none.
    fn room(&mut self) -> &mut [u8] {
        if self.length == LAST_WORDS_BYTES {
            self.bytes.copy_within(LAST_WORDS_BYTES / 2.., 0);
            self.length = LAST_WORDS_BYTES / 2;
        }
        &mut self.bytes[self.length..]
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Run `hook` in the directory `cwd` (where that is given) with `state` as its standard input, and wait for its end.
///
/// # Errors
/// How it ended, when not with status 0.
pub(crate) fn run(
    hook: &Hook,
    state: BorrowedFd<'_>,
    cwd: Option<BorrowedFd<'_>>,
    words: &mut LastWords,
) -> Result<(), BadEnd> {
    let not_run = |errno: Errno| BadEnd::NotRun(errno as i32);
    // Each of several reads from the beginning.
    lseek(state, 0, Whence::SeekSet).map_err(not_run)?;
    let (said, says) = pipe2(OFlag::O_CLOEXEC).map_err(not_run)?;
    let (failed, fails) = pipe2(OFlag::O_CLOEXEC).map_err(not_run)?;
    let cloned = sys::process::clone3(0, None).map_err(|error| BadEnd::NotRun(error.raw_os_error().unwrap_or(0)))?;
    let pidfd = match cloned {
        Cloned::Child => become_hook(hook, state, cwd, (&says, &fails)),
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    drop((says, fails));
    // Closed by execve, or the errno of why there was none.
    let mut errno = [0; 4];
    if matches!(sys::file::read(failed.as_fd(), &mut errno), Ok(4)) {
        let _ = end_of(&pidfd);
        return Err(BadEnd::NotRun(i32::from_ne_bytes(errno)));
    }
    let timed_out = listen(&said, &pidfd, hook.timeout, words);
    match end_of(&pidfd) {
        _ if timed_out => Err(BadEnd::TimedOut),
        Ok(WaitStatus::Exited(_, 0)) => Ok(()),
        Ok(WaitStatus::Exited(_, status)) => Err(BadEnd::Exited(status)),
        Ok(WaitStatus::Signaled(_, signal, _)) => Err(BadEnd::Killed(signal as i32)),
        Ok(_) => Err(BadEnd::NotRun(libc::EPROTO)),
        Err(errno) => Err(not_run(errno)),
    }
}

/// Runs in the clone; never returns.
fn become_hook(
    hook: &Hook,
    state: BorrowedFd<'_>,
    cwd: Option<BorrowedFd<'_>>,
    (says, fails): (&OwnedFd, &OwnedFd),
) -> ! {
    let ready = || {
        cwd.map_or(Ok(()), sys::file::fchdir)?;
        sys::file::dup_onto(state, 0)?;
        sys::file::dup_onto(says.as_fd(), 1)?;
        sys::file::dup_onto(says.as_fd(), 2)?;
        for signal in 1..=64 {
            // SIGKILL, SIGSTOP and the two that glibc keeps for itself cannot be changed, nor have they been.
            let _ = sys::process::default_action(signal);
        }
        sys::process::set_signal_mask(0)?;
        sys::file::close_on_exec_from(3)
    };
    let error = match ready() {
        Ok(()) => sys::process::execve(&hook.path, hook.argv.pointers(), hook.envp.pointers()),
        Err(error) => error,
    };
    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
    let _ = sys::file::write_all(fails.as_fd(), &errno.to_ne_bytes());
    sys::process::exit(127)
}

/// Keep what the hook says until it has ended. Whether it took too long: then it has been killed.
fn listen(said: &OwnedFd, pidfd: &OwnedFd, timeout: Option<Duration>, words: &mut LastWords) -> bool {
    let began_ns = sys::process::monotonic_ns();
    let mut talks = true;
    loop {
        let left = timeout.map(|all| all.saturating_sub(Duration::from_nanos(sys::process::monotonic_ns() - began_ns)));
        // Rounded up: a wait of nothing would be repeated until the last millisecond is over.
        let wait = left
            .map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX));
        let mut ready = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN), PollFd::new(said.as_fd(), PollFlags::POLLIN)];
        let watched = if talks { &mut ready[..] } else { &mut ready[..1] };
        let polled = poll(watched, wait);
        let (ended, says) = (ready[0].any() == Some(true), talks && ready[1].any() == Some(true));
        if says {
            talks = matches!(sys::file::read(said.as_fd(), words.room()).map(|got| words.length += got), Ok(()))
                && ready[1].revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
        } else if ended {
            // Whoever it has left behind may hold the pipe: nobody waits for them.
            return false;
        }
        if matches!(polled, Ok(0)) && left.is_some_and(|left| left.is_zero()) {
            let _ = sys::process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            return true;
        }
    }
}

fn end_of(pidfd: &OwnedFd) -> nix::Result<WaitStatus> {
    loop {
        match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Err(Errno::EINTR) => {}
            answer => return answer,
        }
    }
}
