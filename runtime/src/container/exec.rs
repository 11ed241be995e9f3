//! A further process in a running container.

use super::create::{Ties, console_size, keyring, trace};
use super::{Container, Status};
use crate::config::Config;
use crate::error::{Doing, Error, Result};
use crate::parent::{self, Child, Ended, Surroundings};
use crate::plan::{self, Console, Gate, ParentDeath, Plan};
use crate::root::Root;
use crate::seccomp;
use crate::state::ProcessName;
use crate::sys;
use oci_spec::runtime::Spec;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// A further process of a container, made by [`Container::exec`].
#[derive(Debug)]
pub struct Extra {
    child: Child,
}

impl Extra {
    /// Its pid on the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid
    }

    /// A descriptor that stands for it: readable when it has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// Wait for its end.
    ///
    /// # Errors
    /// `Os` when it was collected by somebody else.
    pub fn wait(&self) -> Result<Ended> {
        self.child.wait().doing(|| format!("wait for process {}", self.child.pid))
    }
}

impl Container {
    /// Run a further process in the container; it has become the program when this returns.
    ///
    /// # Errors
    /// `WrongStatus` unless it runs; `Os` with EINTR when it was interrupted ([`Ties::interrupt`]); those of
    /// [`Container::create`].
    pub fn exec(&self, process: &oci_spec::runtime::Process, ties: Ties) -> Result<Extra> {
        let have = self.status();
        let init = self.state.init.filter(|_| matches!(have, Status::Running | Status::Created));
        let init = init.ok_or_else(|| self.no_exec(have))?;
        self.enter(init, process, ties).map_err(|error| match error {
            _ if self.is_ending() => self.no_exec(Status::Stopped),
            error => error,
        })
    }

    fn no_exec(&self, have: Status) -> Error {
        Error::WrongStatus { id: self.state.id.clone(), verb: "exec in", have }
    }

    fn enter(&self, init: ProcessName, process: &oci_spec::runtime::Process, ties: Ties) -> Result<Extra> {
        let root = Root::of_process(init.pid)?;
        let spec = self.spec()?;
        let linux = spec.linux().as_ref();
        let profile = linux.and_then(|linux| linux.seccomp().as_ref());
        let filter = profile.map(|profile| seccomp::cached(profile, Some(&self.seccomp_cache()))).transpose()?;
        let extra = plan::Extra {
            seccomp: filter,
            preserve_fds: ties.preserve_fds,
            new_keyring: keyring(&ties, &self.state.id),
            reaper: false,
            make_cwd: false,
            linux,
            is_exec: true,
        };
        let mut planned = plan::process(process, &root, extra)?;
        planned.stdio = ties.stdio;
        let (ours, theirs) = parent::channel()?;
        let mut plan = self.entering(init, planned, ours.as_raw_fd())?;
        plan.console = ties.console.map(|socket| Console { socket, size: console_size(process) });
        let around = Surroundings { cgroup: &self.state.cgroup, root: &root, init: Some(init.pid) };
        let pid_namespace = open_pid_namespace(&format!("/proc/{}", init.pid))?;
        // Asked behind all that was opened by its number, which may have been given to another process in between: the
        // program would run in that one's namespaces.
        if !init.is_alive() {
            return Err(self.no_exec(Status::Stopped));
        }
        let child = in_pid_namespace(&pid_namespace, || parent::clone(&mut plan, (ours, theirs), &around))?;
        if let Err(error) = child.settle(process.oom_score_adj()) {
            child.end();
            return Err(error);
        }
        if let Some(interrupt) = &ties.interrupt {
            child.await_word_unless(interrupt.as_fd())?;
        }
        child.await_program(&plan, &around)?;
        parent::tell_steps(&plan, 0);
        Ok(Extra { child })
    }

    /// What the container was made from. Without it nobody knows its seccomp profile, and the program must not run
    /// without one.
    fn spec(&self) -> Result<Spec> {
        Config::read(&self.state.bundle.join("config.json")).map(|config| config.content)
    }

    /// Opened here: the process leaves the host's tree before it could open them itself.
    fn open_doors(&self) -> Result<Vec<plan::Door>> {
        let open = |path: PathBuf| {
            let mut door = plan::Door::new(&path)?;
            let opened = sys::file::open(&door.path, libc::O_WRONLY);
            door.file = Some(opened.doing(|| format!("open {}", path.display()))?);
            Ok(door)
        };
        self.state.cgroup.doors().map(open).collect()
    }

    /// The plan of a process that joins all namespaces of `init` but the pid namespace, which clone(2) puts it into.
    fn entering(&self, init: ProcessName, process: plan::Process, parent_end: i32) -> Result<Plan> {
        let doing = || format!("open the namespaces of container {}", self.state.id);
        let pidfd = sys::process::pidfd_open(init.pid).doing(doing)?;
        let kind =
            libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET | libc::CLONE_NEWCGROUP;
        let path = format!("/proc/{}/ns", init.pid);
        Ok(Plan {
            clone_flags: 0,
            joins: vec![plan::Join { namespace: Some(pidfd), kind, path }],
            doors: self.open_doors()?,
            cgroup_namespace: plan::CgroupNamespace::Host,
            new_network: false,
            tree: None,
            hostname: None,
            domainname: None,
            sysctls: vec![],
            console: None,
            process,
            hooks: plan::InitHooks::default(),
            parent_end,
            gate: Gate::Open,
            parent_death: ParentDeath::UntilProgram,
            trace: trace()?,
        })
    }
}

/// The pid namespace of the process below `proc`.
fn open_pid_namespace(proc: &str) -> Result<OwnedFd> {
    let path = format!("{proc}/ns/pid");
    let name = CString::new(path.as_str()).expect("a path made of digits and letters contains no zero byte");
    sys::file::open(&name, libc::O_RDONLY).doing(|| format!("open {path}"))
}

/// Clone with `theirs` as the pid namespace of our next child, then take our own back.
fn in_pid_namespace<T>(theirs: &OwnedFd, clone: impl FnOnce() -> Result<T>) -> Result<T> {
    let ours = open_pid_namespace("/proc/self")?;
    let doing = || "join the container's pid namespace".to_owned();
    sys::process::setns(theirs.as_fd(), libc::CLONE_NEWPID).doing(doing)?;
    let made = clone();
    sys::process::setns(ours.as_fd(), libc::CLONE_NEWPID).doing(|| "leave the container's pid namespace".to_owned())?;
    made
}
