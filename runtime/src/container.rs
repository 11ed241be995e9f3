//! A container and its life: create, start, kill, delete (runtime-spec runtime.md), and `exec`.
//!
//! What [`create`](Container::create) makes, in order, and what undoes it when a later line fails or rbox is killed:
//!
//! ```text
//!  1 the directory <root>/<id>    reserves the id            Unmake, or `delete --force`
//!  2 state.json                   says what will be made     goes with 1
//!  3 the unified control group    init is born inside        Unmake, or `delete --force` (its path is in 2)
//!  4 init                         makes its file systems     dies with its parent until it stands before the gate
//!  5 the link `init`              which process it is        goes with 1
//!  6 the other control groups     meanwhile; init waits      as 3 (with systemd: all of them, as its unit)
//! ```

mod create;
mod exec;
mod found;
mod groups;
mod pause;
mod start;

use crate::cgroup::Cgroup;
use crate::error::{Doing, Error, Result};
use crate::hooks;
use crate::parent;
use crate::resctrl::Resctrl;
use crate::root::Root;
use crate::state::{self, State};
use crate::sys;
use oci_spec::runtime::LinuxIntelRdt;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use self::create::{Blueprint, Live, StartedBy, Ties};
pub use self::exec::{Extra, Place};
pub use self::found::{Found, all};
pub use crate::parent::Ended;

/// runtime-spec runtime.md#state, and `paused`, which runc adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Being created.
    Creating,
    /// Whole, before the gate.
    Created,
    /// The program runs.
    Running,
    /// All its processes are frozen.
    Paused,
    /// The program has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// A container on disk.
#[derive(Debug, Clone)]
pub struct Container {
    directory: PathBuf,
    state: State,
}

impl Container {
    /// The container `id` whose state is below `state_root`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidSpec` for a state file that is torn or not ours.
    pub fn load(state_root: &Path, id: &str) -> Result<Container> {
        Ok(Container { directory: state_root.join(id), state: State::load(state_root, id)? })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// The bundle it was made from.
    #[must_use]
    pub fn bundle(&self) -> &Path {
        &self.state.bundle
    }

    /// The pid of its first process on the host; none while it is being created.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.state.init.map(|init| init.pid)
    }

    /// How often one of its processes was killed for lack of memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        self.state.cgroup.oom_kills().unwrap_or(0)
    }

    /// A descriptor that stands for its first process: readable when that has ended. Nothing when it has.
    #[must_use]
    pub fn pidfd(&self) -> Option<OwnedFd> {
        let init = self.state.init.filter(|_| self.is_of_this_boot())?;
        let pidfd = sys::process::pidfd_open(init.pid).ok()?;
        // Looked at behind the descriptor: the number may have been given to another process in between.
        init.is_alive().then_some(pidfd)
    }

    /// Whether its first process has ended, or is about to: it gives back its namespaces and its root a moment before it
    /// counts as ended.
    fn is_ending(&self) -> bool {
        self.state
            .init
            .is_none_or(|init| std::fs::metadata(format!("/proc/{}/root/.", init.pid)).is_err() || !init.is_alive())
    }

    /// The root file system as its first process sees it, with all that is mounted there.
    ///
    /// # Errors
    /// `WrongStatus` when that process is gone.
    pub fn root(&self) -> Result<Root> {
        let gone = || Error::WrongStatus { id: self.state.id.clone(), verb: "look into", have: Status::Stopped };
        let init = self.state.init.ok_or_else(gone)?;
        let root = Root::of_process(init.pid).map_err(|error| if self.is_ending() { gone() } else { error })?;
        // Asked behind the descriptor: the number may have been given to another process in between.
        if init.is_alive() && self.is_of_this_boot() { Ok(root) } else { Err(gone()) }
    }

    /// Its control groups.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.state.cgroup
    }

    /// What it is doing now, as the kernel has it.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status_in(self.is_of_this_boot())
    }

    fn status_in(&self, this_boot: bool) -> Status {
        match self.state.init {
            _ if !this_boot => Status::Stopped,
            None if self.state.creator.is_alive() => Status::Creating,
            None => Status::Stopped,
            Some(init) if !init.is_alive() => Status::Stopped,
            // Before the gate is looked at: as in runc, a created container can be paused too.
            Some(_) if self.state.cgroup.is_frozen().unwrap_or(false) => Status::Paused,
            Some(_) if self.gate().exists() => Status::Created,
            Some(_) => Status::Running,
        }
    }

    /// The error for who wants to `verb` a container that has ended.
    #[must_use]
    pub fn not_running(&self, verb: &'static str) -> Error {
        Error::WrongStatus { id: self.state.id.clone(), verb, have: Status::Stopped }
    }

    /// The state of runtime-spec runtime.md#state, with the keys that runc adds, in its order. `owner` is empty as there.
    #[must_use]
    pub fn state(&self) -> serde_json::Value {
        let status = self.status();
        let pid = if status == Status::Stopped { 0 } else { self.pid().unwrap_or(0) };
        let mut state = serde_json::json!({
            "ociVersion": OCI_VERSION,
            "id": self.state.id,
            "pid": pid,
            "status": status.to_string(),
            "bundle": self.state.bundle,
            "rootfs": self.state.rootfs,
            "created": self.state.created,
        });
        if !self.state.annotations.is_empty() {
            state["annotations"] = serde_json::json!(self.state.annotations);
        }
        state["owner"] = serde_json::json!("");
        state
    }

    /// The state of runtime.md#state and nothing more, as hooks read it.
    pub(crate) fn state_for_hooks(&self, status: Status, pid: Option<i32>) -> serde_json::Value {
        let mut state = serde_json::json!({
            "ociVersion": OCI_VERSION,
            "id": self.state.id,
            "status": status.to_string(),
            "bundle": self.state.bundle,
        });
        if let Some(pid) = pid {
            state["pid"] = serde_json::json!(pid);
        }
        if !self.state.annotations.is_empty() {
            state["annotations"] = serde_json::json!(self.state.annotations);
        }
        state
    }

    fn gate(&self) -> PathBuf {
        self.directory.join("start.sock")
    }

    /// Whether its users are others than ours: it has a user namespace of its own, or one that it joined.
    #[must_use]
    pub fn has_own_users(&self) -> bool {
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user")).ok();
        self.pid().is_some_and(|pid| namespace(&pid.to_string()) != namespace("self"))
    }

    /// Send `signal` to its first process; with `all`, to every process of its control group. SIGKILL reaches all of them
    /// also where they would outlive the first one, in a pid namespace that it shares with others (as in runc).
    ///
    /// # Errors
    /// `WrongStatus` when it is stopped (the words contain "container not running").
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        let this_boot = self.is_of_this_boot();
        let have = self.status_in(this_boot);
        if all && this_boot {
            // Also when the first process is gone: others of a shared pid namespace may live on.
            return self.kill_all(signal);
        }
        let Some(init) = self.state.init.filter(|_| have != Status::Stopped) else {
            if signal == libc::SIGKILL && this_boot && !self.state.cgroup.pids()?.is_empty() {
                return self.kill_all(signal);
            }
            return Err(self.not_running("kill"));
        };
        let doing = || format!("send signal {signal} to container {}", self.state.id);
        let pidfd = sys::process::pidfd_open(init.pid).doing(doing)?;
        // Looked at again behind the descriptor: the number may have been given to another process in between.
        if !init.is_alive() {
            return Err(self.not_running("kill"));
        }
        let alone = signal != libc::SIGKILL || state::is_first_of_namespace(init.pid);
        parent::signal(pidfd.as_fd(), signal).doing(doing)?;
        rbox_explain::mark("signalled");
        if !alone {
            return self.kill_all(signal);
        }
        if signal == libc::SIGKILL {
            // Whatever it was when we looked: it may have been frozen since.
            self.state.cgroup.let_die()?;
        }
        Ok(())
    }

    fn kill_all(&self, signal: i32) -> Result<()> {
        if signal == libc::SIGKILL {
            return Ok(self.state.cgroup.kill()?);
        }
        for pid in self.state.cgroup.pids()? {
            let Ok(pidfd) = sys::process::pidfd_open(pid) else { continue };
            match parent::signal(pidfd.as_fd(), signal) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                sent => sent.doing(|| format!("send signal {signal} to process {pid}"))?,
            }
        }
        Ok(())
    }

    /// Remove what is left of it; with `force` end it first. Answers which poststop hooks failed: the container is gone
    /// all the same (config.md#poststop).
    ///
    /// # Errors
    /// `WrongStatus` unless it is stopped, without `force`.
    pub fn delete(self, force: bool) -> Result<Vec<Error>> {
        let this_boot = self.is_of_this_boot();
        let have = self.status_in(this_boot);
        // A created container has not begun its program: as in runc, delete ends it.
        if !matches!(have, Status::Stopped | Status::Created) && !force {
            return Err(Error::WrongStatus { id: self.state.id.clone(), verb: "delete", have });
        }
        // After another boot the numbers are other processes'.
        if this_boot {
            self.end()?;
        }
        rbox_explain::mark("ended");
        // And a group with processes is somebody else's, who has taken its path.
        if this_boot || self.state.cgroup.pids().unwrap_or_default().is_empty() {
            self.delete_groups()?;
        }
        rbox_explain::mark("cgroup-removed");
        match std::fs::remove_dir_all(&self.directory) {
            // Somebody else has deleted it in this moment, and runs the hooks.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            removed => removed.doing(|| format!("remove {}", self.directory.display()))?,
        }
        rbox_explain::mark("state-removed");
        Ok(hooks::poststop(&self, &self.state.hooks))
    }

    /// Kill every process of it, and wait until the kernel has taken them apart (at most ten seconds).
    fn end(&self) -> Result<()> {
        // Alive is asked for behind the descriptor too: the number may be another process's by then.
        if let Some(init) = self.state.init.filter(|init| init.is_alive())
            && let Ok(pidfd) = sys::process::pidfd_open(init.pid)
            && init.is_alive()
        {
            let _ = parent::signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = self.state.cgroup.let_die();
            await_end(pidfd.as_fd());
        }
        // Processes of a shared pid namespace, or a half-made one, do not die with init.
        if !self.state.cgroup.pids().unwrap_or_default().is_empty() {
            self.state.cgroup.kill()?;
        }
        Ok(())
    }

    /// Change its share of caches and memory bandwidth (resctrl). `asked_by` is where the wish stands, for an error.
    ///
    /// # Errors
    /// `InvalidSpec` for a container that was made without; `Os`.
    pub fn share(&self, wish: &LinuxIntelRdt, asked_by: &str) -> Result<()> {
        let Some(resctrl) = &self.state.resctrl else {
            let why = "this container was made without linux.intelRdt".to_owned();
            return Err(Error::InvalidSpec { path: asked_by.to_owned(), why });
        };
        resctrl.change(wish)
    }

    /// Remove its control group, and with the last container of rbox the `/rbox` above it; and what is its own of resctrl.
    fn delete_groups(&self) -> Result<()> {
        self.state.resctrl.as_ref().map_or(Ok(()), Resctrl::remove)?;
        self.state.cgroup.delete()?;
        let ours = |path: &Path| path.parent().and_then(Path::file_name).is_some_and(|name| name == OUR_PARENT);
        if self.state.cgroup.paths().values().any(|path| ours(path)) {
            self.state.cgroup.prune();
        }
        Ok(())
    }

    fn is_of_this_boot(&self) -> bool {
        state::boot_id().is_ok_and(|boot| boot == self.state.boot_id)
    }
}

/// The directory in each control group hierarchy that holds the containers of `rbox`, and goes with the last of them.
/// Others' parents (containerd's, a `--cgroup-parent`) are theirs to remove.
const OUR_PARENT: &str = "rbox";

/// The one directory below a state directory that is no container's.
const SECCOMP_CACHE: &str = ".seccomp";

/// runtime-spec of which this is an implementation.
pub const OCI_VERSION: &str = "1.3.0";

fn await_end(pidfd: BorrowedFd<'_>) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if let Ok(1..) = poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], PollTimeout::from(1000_u16)) {
            return;
        }
    }
}

/// Send `signal` to the process that `pidfd` stands for.
///
/// # Errors
/// ESRCH when it has ended; pidfd_send_signal(2).
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    parent::signal(pidfd, signal)
}

/// The exit code of a process that is not our child, once it has ended and its parent has collected it; nothing before, and
/// nothing where the kernel does not tell.
#[must_use]
pub fn exit_code(pidfd: BorrowedFd<'_>) -> Option<i32> {
    // Its parent, the first process of the machine, collects it in a moment.
    for _ in 0..50 {
        match sys::process::pidfd_exit_status(pidfd) {
            Ok(Some(status)) => return Some(code_of(status)),
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Err(_) => return None,
        }
    }
    None
}

/// wait(2)'s status as the shell's number.
fn code_of(status: i32) -> i32 {
    match status & 0x7f {
        0 => status >> 8 & 0xff,
        signal => 128 + signal,
    }
}
