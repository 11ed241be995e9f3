//! Making a container: from a [`Blueprint`] to a [`Live`] one that stands before its gate.

use super::{Container, Status, groups};
use crate::cgroup::Driver;
use crate::diagnose;
use crate::error::{Doing, Error, Result};
use crate::hooks::{self, CreateHooks, LaterHooks};
use crate::listener::{Listener, Notifying};
use crate::net_devices::{self, Moved};
use crate::parent::{self, Child, Ended, Surroundings};
use crate::plan::{self, Console, Gate, InitHooks, ParentDeath, Plan};
use crate::resctrl::Resctrl;
use crate::root::Root;
use crate::seccomp;
use crate::state::{self, ProcessName, State};
use crate::sys::shared::SharedPage;
use oci_spec::runtime::{LinuxResources, LinuxSeccomp, Spec};
use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// How a container or a further process is tied to the world outside.
#[derive(Debug, Default)]
pub struct Ties {
    /// Where the master of the terminal is sent, if `process.terminal` asks for one.
    pub console: Option<OwnedFd>,
    /// Descriptors for standard input, output and error; a missing one is the caller's own.
    pub stdio: [Option<OwnedFd>; 3],
    /// How many descriptors from 3 on go through to the program.
    pub preserve_fds: u32,
    /// Stay in the caller's session keyring.
    pub keep_keyring: bool,
    /// Change the root by chroot(2): from an initramfs. The container can leave it with `CAP_SYS_CHROOT`.
    pub no_pivot: bool,
    /// [`Container::exec`] gives up when this becomes readable before the program runs: a hostile container can stop
    /// what enters it.
    pub interrupt: Option<OwnedFd>,
}

/// What a new container is made from.
#[derive(Debug)]
pub struct Blueprint<'a> {
    /// Where states are kept; one directory for each container.
    pub state_root: &'a Path,
    /// Its name: letters, digits and `_ + - .`.
    pub id: &'a str,
    /// Where relative paths of the specification begin.
    pub bundle: &'a Path,
    /// config.json.
    pub spec: &'a Spec,
    /// The root file system.
    pub root: Root,
    /// Terminal and descriptors.
    pub ties: Ties,
    /// Who opens the gate.
    pub start: StartedBy,
    /// Process 1 is a reaper of ours, the program process 2.
    pub reaper: bool,
    /// Who makes the control group; it decides how `linux.cgroupsPath` is read.
    pub driver: Driver,
    /// Control groups that cannot be made are done without: an ordinary user has none, unless they are handed down.
    pub may_lack_cgroups: bool,
}

/// Who will start a container that is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedBy {
    /// Another program, with [`Container::start`]. The container outlives us.
    Anyone,
    /// We, with [`Live::start`]. The container outlives us once it runs.
    Us,
    /// We, and nothing is to be done in between: the gate is open when init comes to it, which spares both of us the
    /// wait for the other (0.1 ms). [`Live::start`] only hears how it went.
    UsAtOnce,
    /// We; and the container dies with us, also when it runs: its output has nowhere else to go.
    UsAndDiesWithUs,
}

/// A container that this program has created and still holds by the hand.
pub struct Live {
    container: Container,
    child: Child,
    plan: Plan,
    root: Root,
    /// The gate is open already.
    at_once: bool,
    told: usize,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("container", &self.container).field("child", &self.child).finish_non_exhaustive()
    }
}

/// Takes back what was made, unless it is told that all went well.
struct Unmake<'a> {
    container: &'a Container,
    done: bool,
}

impl Drop for Unmake<'_> {
    fn drop(&mut self) {
        if !self.done {
            // The error that brought us here is the one to be reported.
            let _ = self.container.delete_groups();
            let _ = std::fs::remove_dir_all(&self.container.directory);
            let _ = hooks::poststop(self.container, &self.container.state.hooks);
        }
    }
}

impl Container {
    /// Make a container, up to the gate: namespaces, limits and mounts are there, the program does not run.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidSpec`, and for what the kernel refuses `Os`, `Cgroup`, `Child` or `Program`. Nothing is
    /// left then.
    pub fn create(blueprint: Blueprint<'_>) -> Result<Live> {
        let directory = state::reserve(blueprint.state_root, blueprint.id)?;
        let state = match State::new(&blueprint) {
            Ok(state) => state,
            Err(error) => {
                let _ = std::fs::remove_dir(&directory);
                return Err(error);
            }
        };
        let container = Container { directory, state };
        let mut unmake = Unmake { container: &container, done: false };
        container.state.save(&container.directory)?;
        let made = make_init(&container, blueprint)?;
        unmake.done = true;
        drop(unmake);
        let Made { child, init, plan, root, at_once, told } = made;
        let mut live = Live { container, child, plan, root, at_once, told };
        live.container.state.init = Some(init);
        Ok(live)
    }

    /// The filter of a profile.
    pub(super) fn filter(&self, profile: &LinuxSeccomp) -> Result<seccomp::Filter> {
        let filter = seccomp::cached(profile, Some(&self.seccomp_cache()))?;
        if filter.asks_listener() && self.state.listener.is_none() {
            return Err(Error::spec("linux.seccomp.listenerPath", "is missing, for SCMP_ACT_NOTIFY"));
        }
        Ok(filter)
    }

    /// Somebody answers the system calls of a process whose filter notifies.
    pub(super) fn listen(&self, status: Status, (pid, pidfd): (i32, BorrowedFd<'_>), number: i32) -> Result<()> {
        let process = Notifying { pid, pidfd, status };
        self.state.listener.as_ref().map_or(Ok(()), |listener| listener.hand_over(self, process, number))
    }

    fn seccomp_cache(&self) -> PathBuf {
        cache_of(self.directory.parent().unwrap_or(&self.directory))
    }
}

fn cache_of(state_root: &Path) -> PathBuf {
    state_root.join(super::SECCOMP_CACHE)
}

pub(super) fn keyring(ties: &Ties, id: &str) -> Option<CString> {
    if ties.keep_keyring { None } else { CString::new(format!("_ses.{id}")).ok() }
}

pub(super) fn console_size(process: &oci_spec::runtime::Process) -> Option<(u16, u16)> {
    let size = process.console_size()?;
    let (rows, columns) = (u16::try_from(size.height()).ok()?, u16::try_from(size.width()).ok()?);
    (rows != 0 || columns != 0).then_some((rows, columns))
}

pub(super) fn trace() -> Result<Option<SharedPage>> {
    if !rbox_explain::listening() {
        return Ok(None);
    }
    SharedPage::map().map(Some).doing(|| "map a page shared with the container's init".to_owned())
}

struct Made {
    child: Child,
    init: ProcessName,
    plan: Plan,
    root: Root,
    at_once: bool,
    told: usize,
}

/// Everything that init needs to know.
fn plan_init(
    container: &Container,
    blueprint: Blueprint<'_>,
    hooks: InitHooks,
    parent_end: i32,
) -> Result<(Plan, Root)> {
    let Blueprint { spec, root, ties, start, reaper, .. } = blueprint;
    let process = spec.process().as_ref().ok_or_else(|| Error::spec("process", "is missing"))?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let filter = profile.map(|profile| container.filter(profile)).transpose()?;
    if process.terminal().unwrap_or(false) != ties.console.is_some() {
        let why = if ties.console.is_some() {
            "is false, but a console socket is given"
        } else {
            "is true, but no console socket is given"
        };
        return Err(Error::spec("process.terminal", why));
    }
    let new_keyring = keyring(&ties, &container.state.id);
    let gate = match start {
        StartedBy::Anyone => Gate::Listener(listen(&container.gate())?),
        StartedBy::Us | StartedBy::UsAtOnce | StartedBy::UsAndDiesWithUs => Gate::Channel,
    };
    let plan = plan::build(plan::Request {
        spec,
        bundle: &container.state.bundle,
        root: &root,
        cgroup: groups::view(&container.state.cgroup, spec),
        doors: container.state.cgroup.doors().map(|path| plan::Door::new(&path)).collect::<Result<_>>()?,
        seccomp: filter,
        console: ties.console.map(|socket| Console { socket, size: console_size(process) }),
        stdio: ties.stdio,
        preserve_fds: ties.preserve_fds,
        new_keyring,
        reaper,
        no_pivot: ties.no_pivot,
        hooks,
        parent_end,
        gate,
        parent_death: if start == StartedBy::UsAndDiesWithUs { ParentDeath::Always } else { ParentDeath::UntilGate },
        trace: trace()?,
    })?;
    Ok((plan, root))
}

/// Plan, clone, and wait until init stands before the gate.
fn make_init(container: &Container, blueprint: Blueprint<'_>) -> Result<Made> {
    let (spec, start) = (blueprint.spec, blueprint.start);
    let create_hooks = CreateHooks::of(spec)?;
    let init_hooks = hooks::of_init(spec, &container.state.rootfs, !create_hooks.is_empty())?;
    let (ours, theirs) = parent::channel()?;
    let (mut plan, root) = plan_init(container, blueprint, init_hooks, ours.as_raw_fd())?;
    let cgroup = &container.state.cgroup;
    let around = Surroundings { cgroup, root: &root, init: None };
    let limits = groups::resources(spec);
    groups::before_clone(cgroup, &mut plan, &limits)?;
    let child = parent::clone(&mut plan, (ours, theirs), &around)?;
    // A hook in between is something to be done in between.
    let at_once = start == StartedBy::UsAtOnce && !plan.hooks.before_pivot();
    let told = hooks::tell_init(&plan.hooks, container, child.pid);
    let settled = told.and_then(|()| settle(container, (&child, &plan), &limits, spec));
    let created = settled.and_then(|(init, devices)| {
        if at_once {
            child.open_gate_ahead()?;
        }
        child.await_created(&plan, &around, || create_hooks.run(container, child.pid))?;
        devices.stay();
        Ok(init)
    });
    let told = parent::tell_steps(&plan, 0);
    match created {
        Ok(init) => Ok(Made { child, init, plan, root, at_once, told }),
        Err(error) => {
            child.end();
            // Nobody can do anything with a process that has ended before; why it has, is what it said.
            Err(child.last_words(&plan, &around).unwrap_or(error))
        }
    }
}

/// What is to be done outside while init makes its network namespace and its file systems; then it may go on. Its pid
/// is written down first: once it stands before the gate it outlives this program.
fn settle(
    container: &Container,
    (child, plan): (&Child, &Plan),
    limits: &LinuxResources,
    spec: &Spec,
) -> Result<(ProcessName, Moved)> {
    let init = ProcessName::of(child.pid).doing(|| "read the start time of the container's init".to_owned())?;
    init.save(&container.directory)?;
    groups::after_clone(container, plan, child.pid, limits)?;
    if let Some(owner) = groups::owner(spec) {
        container.state.cgroup.hand_over(owner)?;
    }
    if let Some(resctrl) = &container.state.resctrl {
        resctrl.make()?;
        resctrl.join(child.pid)?;
    }
    let devices = net_devices::move_in(plan, child.pid)?;
    child.settle(spec.process().as_ref().and_then(oci_spec::runtime::Process::oom_score_adj))?;
    Ok((init, devices))
}

/// The gate: a socket in the state directory, where only root comes.
fn listen(path: &Path) -> Result<OwnedFd> {
    super::start::through_folder(path, UnixListener::bind)
        .map(OwnedFd::from)
        .doing(|| format!("make the gate {}", path.display()))
}

impl State {
    fn new(blueprint: &Blueprint<'_>) -> Result<State> {
        let spec = blueprint.spec;
        let rootfs = spec.root().as_ref().map_or_else(PathBuf::new, |root| blueprint.bundle.join(root.path()));
        let doing = || "read this process's own state".to_owned();
        Ok(State {
            id: blueprint.id.to_owned(),
            bundle: blueprint.bundle.to_owned(),
            rootfs,
            created: now(),
            init: None,
            creator: ProcessName::this().doing(doing)?,
            boot_id: state::boot_id().doing(doing)?,
            cgroup: groups::locate(blueprint)?,
            resctrl: Resctrl::of(spec, blueprint.id)?,
            hooks: LaterHooks::of(spec)?,
            listener: Listener::of(spec),
            annotations: spec.annotations().clone().unwrap_or_default(),
        })
    }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

impl Live {
    /// The container as others see it.
    #[must_use]
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// The pid of its first process on the host.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid
    }

    /// A descriptor that stands for its first process: readable when that has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.child.pidfd.as_fd()
    }

    /// Open the gate, and wait until init has become the program.
    ///
    /// # Errors
    /// `Program` when execve fails, `Child` for a step before it. The container is stopped then, and is to be deleted.
    pub fn start(&mut self) -> Result<()> {
        if !self.at_once {
            self.child.open_gate()?;
        }
        let around = Surroundings { cgroup: &self.container.state.cgroup, root: &self.root, init: None };
        let listen = |number| self.container.listen(Status::Created, (self.child.pid, self.pidfd()), number);
        let started = self.child.await_program(&self.plan, &around, listen);
        self.told = parent::tell_steps(&self.plan, self.told);
        started?;
        let after = hooks::poststart(&self.container, &self.container.state.hooks, self.child.pid);
        if after.is_err() {
            let _ = self.kill(libc::SIGKILL);
        }
        after
    }

    /// Send a signal to its first process.
    ///
    /// # Errors
    /// `Os`; ended already is no error.
    pub fn kill(&self, signal: i32) -> Result<()> {
        match parent::signal(self.pidfd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => sent.doing(|| format!("send signal {signal} to container {}", self.container.state.id)),
        }
    }

    /// Wait for its end.
    ///
    /// # Errors
    /// `Os` when it was collected by somebody else.
    pub fn wait(&self) -> Result<Ended> {
        self.child.wait().doing(|| format!("wait for container {}", self.container.state.id))
    }

    /// Why it was killed, if the kernel did so for want of memory.
    #[must_use]
    pub fn want_of_memory(&self, ended: Ended) -> Option<String> {
        let why = diagnose::killed_for_memory(&self.container.state.cgroup, ended)?;
        Some(format!("container {} was killed: {why}", self.container.state.id))
    }

    /// Let go: the container is on its own, as it is on disk.
    #[must_use]
    pub fn into_container(self) -> Container {
        self.container
    }
}
