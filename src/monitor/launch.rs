//! The command's side of a monitor's birth.
//!
//! ```text
//!   command ── spawns /proc/self/exe monitor ID ──▶ monitor      its standard input: one end of a connection (wire.rs)
//!      │  Attach, Resize: said before, so heard first              its standard error: ours, until the program runs
//!      │                                             takes the claim over, walks the story
//!      ◀────────────────────────── Started ───────── the program runs
//!      or the end of the connection: it has said itself what went wrong, and its exit code is ours
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use super::wire::{self, Ask, Tell};
use crate::dirs::Dirs;
use crate::report::{self, Problem};

/// A monitor on its way.
pub(crate) struct Launched {
    connection: OwnedFd,
    child: Child,
}

/// What a monitor is to do with its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Start it.
    Start,
    /// Take up one that runs, or has ended, and whose monitor was killed.
    Adopt,
}

/// Start a monitor for the container `id`, whose claim this process holds. `first` is what is said to it before it
/// listens; `more` are further words for it.
///
/// Errors: it cannot be started.
pub(crate) fn launch(dirs: &Dirs, id: &str, task: Task, first: &[Ask<'_>], more: &[String]) -> Result<Launched> {
    let doing = "cannot start the container's monitor";
    let (ours, theirs) = wire::pair().context(doing)?;
    for ask in first {
        wire::say(ours.as_fd(), *ask).context(doing)?;
    }
    // Executed anew: its memory is its own from the first page on, whatever this command has done before.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("rbox").arg("--root").arg(dirs.root()).arg("--state").arg(dirs.state());
    command.arg("--config").arg(dirs.config());
    command.args(["monitor", id, "--from", &std::process::id().to_string()]).args(more);
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
    if task == Task::Adopt {
        command.arg("--adopt").stderr(Stdio::null());
    }
    #[cfg(feature = "crash-points")]
    for (own, monitors) in
        [("RBOX_CRASH_AFTER", "RBOX_CRASH_MONITOR_AFTER"), ("RBOX_CRASH_TRACE", "RBOX_CRASH_MONITOR_TRACE")]
    {
        match std::env::var(monitors) {
            Ok(value) => command.env(own, value),
            Err(_) => command.env_remove(own),
        };
    }
    let child = command.spawn().context(doing)?;
    Ok(Launched { connection: ours, child })
}

impl Launched {
    /// Wait until the program runs. Where it cannot be started, the monitor has said why, and this is the exit code.
    ///
    /// Errors: the monitor cannot be waited for.
    pub(crate) fn await_started(&mut self) -> Result<Result<(), ExitCode>> {
        loop {
            let packet =
                wire::hear(self.connection.as_fd(), true).context("cannot hear from the container's monitor")?;
            match packet.as_deref() {
                Some([]) => break,
                Some(packet) if Tell::parse(packet) == Some(Tell::Started) => return Ok(Ok(())),
                // One that is read to be ended before it began has nothing to say.
                _ => {}
            }
        }
        let status = self.child.wait().context("cannot wait for the container's monitor")?;
        Ok(Err(match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) if code != 0 => ExitCode::from(code),
            // It may have been killed after the program began: then that runs on, and the next command takes it up.
            _ => {
                let problem = Problem::new("cannot start the container: its monitor was killed");
                report::print(&problem.hint("see what is left of it with rbox ps -a").into())
            }
        }))
    }

    /// The connection, for what comes now.
    pub(crate) fn connection(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
