//! A further process in a running container.

use super::create::{Ties, console_size, keyring, trace};
use super::{Container, Status};
use crate::cgroup::{Cgroup, Groups};
use crate::config::Config;
use crate::error::{Doing, Error, Result};
use crate::parent::{self, Child, Ended, Surroundings};
use crate::plan::{self, Console, Gate, ParentDeath, Plan, UserNamespace};
use crate::root::Root;
use crate::rootless;
use crate::state::ProcessName;
use crate::sys;
use oci_spec::runtime::Spec;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
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

/// Where a further process goes; usually into the container's own groups, and only while they are not paused.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Groups below the container's own.
    pub groups: Groups,
    /// Also into a paused container: the process stands still there until that is resumed.
    pub paused: bool,
}

impl Container {
    /// Run a further process in the container; it has become the program when this returns.
    ///
    /// # Errors
    /// `WrongStatus` unless it runs; `Os` with EINTR when it was interrupted ([`Ties::interrupt`]); those of
    /// [`Container::create`].
    pub fn exec(&self, process: &oci_spec::runtime::Process, ties: Ties) -> Result<Extra> {
        self.exec_at(process, ties, &Place::default())
    }

    /// As [`Container::exec`], at a place of the caller's choice.
    ///
    /// # Errors
    /// Those of [`Container::exec`]; `Cgroup` for groups that are not there.
    pub fn exec_at(&self, process: &oci_spec::runtime::Process, ties: Ties, place: &Place) -> Result<Extra> {
        let init = self.check_exec(place)?;
        self.enter(init, process, ties, place).map_err(|error| match error {
            _ if self.is_ending() => self.no_exec(Status::Stopped),
            error => error,
        })
    }

    /// Whether a process may go in now.
    ///
    /// # Errors
    /// `WrongStatus`.
    pub fn may_exec(&self, place: &Place) -> Result<()> {
        self.check_exec(place).map(drop)
    }

    /// The process to go to, if one may go in now.
    fn check_exec(&self, place: &Place) -> Result<ProcessName> {
        let have = self.status();
        let may = match have {
            Status::Running | Status::Created => true,
            Status::Paused => place.paused,
            Status::Creating | Status::Stopped => false,
        };
        self.state.init.filter(|_| may).ok_or_else(|| self.no_exec(have))
    }

    fn no_exec(&self, have: Status) -> Error {
        Error::WrongStatus { id: self.state.id.clone(), verb: "exec in", have }
    }

    fn enter(
        &self,
        init: ProcessName,
        process: &oci_spec::runtime::Process,
        ties: Ties,
        place: &Place,
    ) -> Result<Extra> {
        let group = self.state.cgroup.within(&place.groups)?;
        let root = Root::of_process(init.pid)?;
        let spec = self.spec()?;
        let linux = spec.linux().as_ref();
        let profile = linux.and_then(|linux| linux.seccomp().as_ref());
        let filter = profile.map(|profile| self.filter(profile)).transpose()?;
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
        let mut plan = self.entering(init, planned, (ours.as_raw_fd(), &group))?;
        plan.console = ties.console.map(|socket| Console { socket, size: console_size(process) });
        // Who names a group goes there or nowhere.
        let beside = Some(init.pid).filter(|_| place.groups.is_own());
        let around = Surroundings { cgroup: &group, root: &root, init: beside };
        let pid_namespace = open_pid_namespace(&format!("/proc/{}", init.pid))?;
        // Asked behind all that was opened by its number, which may have been given to another process in between: the
        // program would run in that one's namespaces.
        if !init.is_alive() {
            return Err(self.no_exec(Status::Stopped));
        }
        let child = match plan.usher {
            Some(_) => parent::clone(&mut plan, (ours, theirs), &around)?,
            None => in_pid_namespace(&pid_namespace, || parent::clone(&mut plan, (ours, theirs), &around))?,
        };
        let joined = self.state.resctrl.as_ref().map_or(Ok(()), |resctrl| resctrl.join(child.pid));
        if let Err(error) = joined.and_then(|()| child.settle(process.oom_score_adj())) {
            child.end();
            return Err(error);
        }
        if let Some(interrupt) = &ties.interrupt {
            child.await_word_unless(interrupt.as_fd())?;
        }
        let listen = |number| self.listen(self.status(), (child.pid, child.pidfd.as_fd()), number);
        child.await_program(&plan, &around, listen)?;
        parent::tell_steps(&plan, 0);
        Ok(Extra { child })
    }

    /// What the container was made from. Without it nobody knows its seccomp profile, and the program must not run
    /// without one.
    fn spec(&self) -> Result<Spec> {
        Config::read(&self.state.bundle.join("config.json")).map(|config| config.content)
    }

    /// Opened here: the process leaves the host's tree before it could open them itself.
    pub(super) fn open_doors(group: &Cgroup) -> Result<Vec<plan::Door>> {
        let open = |path: PathBuf| {
            let mut door = plan::Door::new(&path)?;
            let opened = sys::file::open(&door.path, libc::O_WRONLY);
            door.file = Some(opened.doing(|| format!("open {}", path.display()))?);
            Ok(door)
        };
        group.doors().map(open).collect()
    }

    /// The plan of a process that joins all namespaces of `init` but the pid namespace, which clone(2) puts it into.
    fn entering(
        &self,
        init: ProcessName,
        process: plan::Process,
        (parent_end, group): (RawFd, &Cgroup),
    ) -> Result<Plan> {
        let doing = || format!("open the namespaces of container {}", self.state.id);
        let pidfd = sys::process::pidfd_open(init.pid).doing(doing)?;
        let path = format!("/proc/{}/ns", init.pid);
        let join = |kind| -> Result<plan::Join> {
            let pidfd = pidfd.try_clone().doing(doing)?;
            Ok(plan::Join { namespace: Some(pidfd), kind, root: None, path: path.clone() })
        };
        let differs = |name: &str| differs(init.pid, name).doing(doing);
        let mut kinds = libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET | libc::CLONE_NEWCGROUP;
        if differs("time")? {
            kinds |= libc::CLONE_NEWTIME;
        }
        // With a user namespace an usher goes before. All at once: what is the host's needs the rights that we have now.
        // The mount namespace is left to its child, which still needs the host's /proc.
        let (joins, usher) = if differs("user")? {
            let joins = vec![join(kinds | libc::CLONE_NEWUSER | libc::CLONE_NEWPID)?, join(libc::CLONE_NEWNS)?];
            (joins, Some(plan::Usher::to_join(UserNamespace::Joined)))
        } else if rootless::in_user_namespace() {
            // Root of this user namespace may not enter what is the host's, not even what he is in; nor could he come back.
            let mut kinds = 0;
            for (kind, name) in OWN_KINDS {
                kinds |= if differs(name)? { kind } else { 0 };
            }
            let joins = vec![join(kinds)?, join(libc::CLONE_NEWNS)?];
            (joins, Some(plan::Usher::to_join(UserNamespace::Same)))
        } else {
            (vec![join(kinds | libc::CLONE_NEWNS)?], None)
        };
        Ok(Plan {
            clone_flags: 0,
            joins,
            usher,
            doors: Self::open_doors(group)?,
            cgroup_namespace: plan::CgroupNamespace::Host,
            new_network: false,
            net_devices: vec![],
            joined_network: None,
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

/// The namespaces that an usher enters for an exec within one user namespace.
const OWN_KINDS: [(i32, &str); 6] = [
    (libc::CLONE_NEWUTS, "uts"),
    (libc::CLONE_NEWIPC, "ipc"),
    (libc::CLONE_NEWNET, "net"),
    (libc::CLONE_NEWCGROUP, "cgroup"),
    (libc::CLONE_NEWTIME, "time"),
    (libc::CLONE_NEWPID, "pid"),
];

/// Whether a namespace of process `pid` is another than ours; a kind that this kernel lacks differs nowhere.
fn differs(pid: i32, name: &str) -> io::Result<bool> {
    let link = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{name}"));
    match link("self") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        own => Ok(own? != link(&pid.to_string())?),
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
