//! The outer side of a container's terminal: receive its master, and see that the caller's own terminal is restored.

use crate::error::{Doing, Result};
use crate::sys;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A pair of sockets for a terminal: the first goes into `Ties::console`, the second to [`receive`].
///
/// # Errors
/// `Os`.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    crate::parent::channel()
}

/// Take the terminal's master, which the container's init has sent. unix(7) `SCM_RIGHTS`, close-on-exec.
///
/// # Errors
/// `Os` when none came.
pub fn receive(socket: &OwnedFd) -> Result<OwnedFd> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let doing = || "receive the container's terminal".to_owned();
    let mut name = [0; 64];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut name)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).doing(doing)?;
    let files = message.cmsgs().doing(doing)?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(files) => files.first().copied(),
        _ => None,
    });
    let none = || io::Error::from(io::ErrorKind::UnexpectedEof);
    sys::file::adopt(files.ok_or_else(none).doing(doing)?).doing(doing)
}

/// A small process that gives a terminal its settings back when this one dies, however it dies.
///
/// A terminal is left raw when the program that made it so is killed with SIGKILL: the shell behind it gets no echo
/// and no line ends. The guardian waits at a pipe whose other end closes with us.
#[derive(Debug)]
pub struct Guardian {
    pid: i32,
    pipe: Option<OwnedFd>,
}

impl Guardian {
    /// Guard `terminal`, as it is set now. To be called before it is made raw, in a program with one thread.
    ///
    /// # Errors
    /// `Os`: ENOTTY where it is no terminal.
    pub fn watch(terminal: BorrowedFd<'_>) -> Result<Guardian> {
        let doing = || "guard the terminal's settings".to_owned();
        let settings = sys::terminal::settings(terminal).doing(doing)?;
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).doing(doing)?;
        match sys::process::fork().doing(doing)? {
            0 => guard(&reader, writer.as_raw_fd(), terminal, &settings),
            pid => Ok(Guardian { pid, pipe: Some(writer) }),
        }
    }
}

impl Drop for Guardian {
    /// All is well: the terminal's settings are ours to restore.
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            let _ = sys::file::write_all(pipe.as_fd(), b".");
        }
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(self.pid), None);
    }
}

/// Leave a small process behind that holds a terminal's master until `child` has ended, and throws away what comes.
///
/// A program whose terminal has no other side any more is hung up; one that nobody reads stands still when its terminal is full.
///
/// # Errors
/// `Os`.
pub fn keep(master: &OwnedFd, child: BorrowedFd<'_>) -> Result<()> {
    let doing = || "leave the program's terminal to a process of its own".to_owned();
    let null = sys::file::open(c"/dev/null", libc::O_RDWR | libc::O_CLOEXEC).doing(doing)?;
    match sys::process::fork().doing(doing)? {
        0 => drain(master.as_fd(), child, null.as_fd()),
        _ => Ok(()),
    }
}

/// The keeper's whole life. Runs after a fork: no allocation, no return.
fn drain(master: BorrowedFd<'_>, child: BorrowedFd<'_>, null: BorrowedFd<'_>) -> ! {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    // The caller's terminal and pipes are not ours to hold open, nor its signals ours to die of.
    let _ = sys::process::setsid();
    let _ = (0..3).try_for_each(|number| sys::file::dup_onto(null, number));
    let _ = sys::process::set_name(c"rbox:terminal");
    let mut bytes = [0; 4096];
    loop {
        let mut ready = [PollFd::new(child, PollFlags::POLLIN), PollFd::new(master, PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::NONE).is_err_and(|errno| errno != nix::errno::Errno::EINTR) {
            sys::process::exit(1);
        }
        let said = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let (ended, talks) = (said(&ready[0]), said(&ready[1]));
        if ended || talks && matches!(sys::file::read(master, &mut bytes), Ok(0) | Err(_)) {
            sys::process::exit(0);
        }
    }
}

/// The guardian's whole life. Runs after a fork: no allocation, no return.
fn guard(pipe: &OwnedFd, far_end: i32, terminal: BorrowedFd<'_>, settings: &sys::terminal::Settings) -> ! {
    // Our copy of the far end would keep the pipe open for ever.
    let _ = nix::unistd::close(far_end);
    // Ctrl-C is for the program; and writing to the terminal from the background must not stop us (SIGTTOU).
    let _ = sys::process::set_signal_mask(sys::process::ALL_SIGNALS);
    let _ = sys::process::set_name(c"rbox:terminal");
    let mut byte = [0];
    if matches!(sys::file::read(pipe.as_fd(), &mut byte), Ok(0) | Err(_)) {
        let _ = sys::terminal::set(terminal, settings);
    }
    sys::process::exit(0)
}
