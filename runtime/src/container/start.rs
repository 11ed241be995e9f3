//! Opening the gate of a container that another program has created, and hearing how it went.

use super::{Container, Status};
use crate::config::Config;
use crate::diagnose;
use crate::error::{Doing, Error, Result};
use crate::hooks;
use crate::parent;
use crate::plan::{self, BadEnd};
use crate::root::Root;
use crate::steps::Step;
use crate::sync;
use oci_spec::runtime::Spec;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

impl Container {
    /// Let the program run.
    ///
    /// # Errors
    /// `WrongStatus` unless it is created; `Program` when execve fails.
    pub fn start(&self) -> Result<()> {
        let have = self.status();
        if have != Status::Created {
            return Err(Error::WrongStatus { id: self.state.id.clone(), verb: "start", have });
        }
        let doing = || format!("start container {}", self.state.id);
        let gate = rbox_explain::step(
            &crate::steps::START,
            || format!("connect({:?})", self.gate()),
            || through_folder(&self.gate(), UnixStream::connect),
        )
        .doing(doing)?;
        // The name goes first: from now on nobody else can start it.
        std::fs::remove_file(self.gate()).doing(doing)?;
        rbox_explain::mark("gate-removed");
        sync::say(gate.as_fd(), sync::START).doing(doing)?;
        loop {
            match sync::hear(gate.as_fd()).doing(doing)? {
                sync::Heard::Failed(report) => {
                    let words = sync::hear_words(gate.as_fd());
                    return Err(self.start_failure(report, &words));
                }
                sync::Heard::Notifies(number) => self.hand_over(number, gate.as_fd())?,
                _ => break,
            }
        }
        let after = hooks::poststart(self, &self.state.hooks, self.pid().unwrap_or(0));
        if after.is_err() {
            // config.md#poststart: the container is stopped.
            let _ = self.kill(libc::SIGKILL, false);
        }
        after
    }

    /// The filter of init notifies. Nobody who answers: then the container ends.
    fn hand_over(&self, number: i32, gate: BorrowedFd<'_>) -> Result<()> {
        let gone = || Error::WrongStatus { id: self.state.id.clone(), verb: "start", have: Status::Stopped };
        let pidfd = self.pidfd().ok_or_else(gone)?;
        let handed = self.listen(Status::Created, (self.pid().unwrap_or(0), pidfd.as_fd()), number);
        if handed.is_err() {
            let _ = parent::signal(pidfd.as_fd(), libc::SIGKILL);
        }
        let _ = sync::say(gate, sync::LISTENED);
        handed
    }

    /// The plan is gone with the program that made it; what these few steps are is planned once more, for its words alone.
    fn start_failure(&self, report: sync::Report, said: &[u8]) -> Error {
        let step = Step::from_number(report.step);
        if step == Some(Step::StartContainerHook) {
            let hook = self.state.hooks.start_container.get(usize::from(report.index));
            let path = hook.map(|hook| hook.path().display().to_string()).unwrap_or_default();
            return hooks::failure("startContainer", &path, BadEnd::from_number(report.errno), said);
        }
        let planned = self.plan_again();
        if let (Some(Step::Execute), Some((process, root))) = (step, &planned) {
            return diagnose::program(process, report.errno, root, &self.state.cgroup);
        }
        let words = step.and_then(|step| planned?.0.words(step, usize::from(report.index)));
        let why = step.and_then(|step| diagnose::of_process(step, report.errno));
        Error::Child {
            step: step.map_or("?", |step| step.row().key),
            doing: words.map_or_else(|| format!("start container {}", self.state.id), |words| words.doing),
            why: why.unwrap_or_else(|| crate::error::errno_words(report.errno)),
            errno: report.errno,
        }
    }

    /// The program as config.json has it now, and the root file system it was to run in.
    fn plan_again(&self) -> Option<(plan::Process, Root)> {
        let spec = Config::<Spec>::read(&self.state.bundle.join("config.json")).ok()?.content;
        let root = Root::open(&self.state.rootfs).ok()?;
        let extra = plan::Extra {
            seccomp: None,
            preserve_fds: 0,
            new_keyring: None,
            reaper: false,
            make_cwd: true,
            linux: spec.linux().as_ref(),
            is_exec: false,
        };
        let process = plan::process(spec.process().as_ref()?, &root, extra).ok()?;
        Some((process, root))
    }
}

/// Bind or connect a socket whose path may be longer than what unix(7) takes: an engine chooses the folder, and Docker's
/// own is longer (`/var/run/docker/runtime-runc/moby/ID`).
pub(super) fn through_folder<T>(path: &Path, call: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    /// `sun_path` with the zero byte at its end.
    const LONGEST: usize = 107;
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if path.as_os_str().len() > LONGEST => {
            let folder = std::fs::File::open(folder)?;
            call(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
        }
        _ => call(path.to_owned()),
    }
}
