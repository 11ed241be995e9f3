//! `--init`: process 1 that collects orphans and passes signals on, so that the program need not know that it is first.
//!
//! The kernel gives process 1 of a pid namespace two duties (pid_namespaces(7)): orphans become its children, and
//! signals without a handler do not reach it. Most programs fulfil neither.

use crate::sys;
use std::io;

/// Split: the program goes on in a new process; this one stays as process 1 and ends with the program's status.
pub(super) fn split() -> io::Result<()> {
    sys::process::set_signal_mask(sys::process::ALL_SIGNALS)?;
    let program = sys::process::fork()?;
    if program == 0 {
        // A process group of its own, in the terminal's foreground: else Ctrl-C would come once from the terminal and
        // once more from process 1. Without a terminal there is no foreground to take.
        sys::process::own_process_group()?;
        let _ = sys::process::take_foreground(sys::process::getpid());
        return sys::process::set_signal_mask(0);
    }
    let _ = sys::process::set_name(c"rbox:reaper");
    // The channel must close when the program's copy of it does; the user's own descriptors are the program's.
    let _ = sys::process::close_from(3);
    reap(program)
}

fn reap(program: i32) -> ! {
    loop {
        match sys::process::wait_signal(sys::process::ALL_SIGNALS) {
            Ok(libc::SIGCHLD) => collect(program),
            Ok(signal) => drop(sys::process::kill(program, signal)),
            Err(_) => {}
        }
    }
}

/// Collect every child that has ended; with the program, end too.
fn collect(program: i32) {
    while let Ok((pid, status)) = sys::process::wait_any_now() {
        if pid == 0 {
            return;
        }
        if pid == program {
            // The shell's way of saying "ended by a signal": 128 + n.
            let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
            sys::process::exit(code);
        }
    }
}
