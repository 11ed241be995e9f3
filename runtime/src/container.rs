//! A container and its life: create, start, kill, delete (runtime-spec runtime.md), and `exec`.
//!
//! What [`create`](Container::create) makes, in order, and what undoes it when a later line fails or rbox is killed:
//!
//! ```text
//!  1 the directory <root>/<id>    reserves the id            Unmake, or `delete --force`
//!  2 state.json                   says what will be made     goes with 1
//!  3 the control group            limits before a process    Unmake, or `delete --force` (its path is in 2)
//!  4 init                         waits before the gate      dies with its parent until it stands there
//! ```

use crate::cgroup::{self, Cgroup};
use crate::error::{Doing, Error, Result};
use crate::parent::{self, Child, Surroundings};
use crate::plan::{self, CgroupView, Console, Gate, ParentDeath, Plan};
use crate::root::Root;
use crate::seccomp;
use crate::state::{self, ProcessName, State};
use crate::sync;
use crate::sys;
use crate::sys::shared::SharedPage;
use oci_spec::runtime::{LinuxDeviceCgroupBuilder, LinuxNamespaceType, LinuxResources, Spec};
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
}

/// Who will start a container that is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedBy {
    /// Another program, with [`Container::start`]. The container outlives us.
    Anyone,
    /// We, with [`Live::start`]. The container outlives us once it runs.
    Us,
    /// We; and the container dies with us, also when it runs: its output has nowhere else to go.
    UsAndDiesWithUs,
}

/// A container on disk.
#[derive(Debug, Clone)]
pub struct Container {
    directory: PathBuf,
    state: State,
}

/// A container that this program has created and still holds by the hand.
pub struct Live {
    container: Container,
    child: Child,
    plan: Plan,
    root: Root,
    oom_score_adj: Option<i32>,
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
            let _ = self.container.delete_cgroup();
            let _ = std::fs::remove_dir_all(&self.container.directory);
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
        container.state.cgroup.make(Some(&resources(blueprint.spec)))?;
        let made = make_init(&container, blueprint)?;
        unmake.done = true;
        drop(unmake);
        let Made { child, plan, root, oom_score_adj, told } = made;
        let mut live = Live { container, child, plan, root, oom_score_adj, told };
        live.container.state.init =
            Some(ProcessName::of(live.child.pid).doing(|| "read the start time of the container's init".to_owned())?);
        match live.container.state.save(&live.container.directory) {
            Ok(()) => Ok(live),
            Err(error) => {
                live.child.end();
                drop(Unmake { container: &live.container, done: false });
                Err(error)
            }
        }
    }

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

    /// Its control group.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        self.state.cgroup.oom_kills().unwrap_or(0)
    }

    /// What it is doing now, as the kernel has it.
    #[must_use]
    pub fn status(&self) -> Status {
        let this_boot = state::boot_id().is_ok_and(|boot| boot == self.state.boot_id);
        match self.state.init {
            _ if !this_boot => Status::Stopped,
            None if self.state.creator.is_alive() => Status::Creating,
            None => Status::Stopped,
            Some(init) if !init.is_alive() => Status::Stopped,
            Some(_) if self.gate().exists() => Status::Created,
            Some(_) if self.state.cgroup.is_frozen().unwrap_or(false) => Status::Paused,
            Some(_) => Status::Running,
        }
    }

    /// The state of runtime-spec runtime.md#state, with the keys that runc adds.
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
            "owner": "",
        });
        if !self.state.annotations.is_empty() {
            state["annotations"] = serde_json::json!(self.state.annotations);
        }
        state
    }

    fn gate(&self) -> PathBuf {
        self.directory.join("start.sock")
    }

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
            || UnixStream::connect(self.gate()),
        )
        .doing(doing)?;
        // The name goes first: from now on nobody else can start it.
        std::fs::remove_file(self.gate()).doing(doing)?;
        sync::say(gate.as_fd(), sync::START).doing(doing)?;
        match sync::hear(gate.as_fd()).doing(doing)? {
            sync::Heard::Failed(report) => Err(self.start_failure(report)),
            sync::Heard::Created | sync::Heard::Closed => Ok(()),
        }
    }

    /// The plan is gone with the program that made it; the words for these few steps need only the specification.
    fn start_failure(&self, report: sync::Report) -> Error {
        let step = crate::steps::Step::from_number(report.step).map_or("?", |step| step.row().key);
        let why = crate::error::errno_words(report.errno);
        if step == "execve" {
            let spec = Spec::load(self.state.bundle.join("config.json")).ok();
            let program = spec.and_then(|spec| spec.process().as_ref()?.args().as_ref()?.first().cloned());
            return Error::Program { program: program.unwrap_or_default(), why, errno: report.errno };
        }
        Error::Child {
            step,
            doing: format!("do the step {step} of starting container {}", self.state.id),
            why,
            errno: report.errno,
        }
    }

    /// Send `signal` to its first process; with `all`, to every process of its control group.
    ///
    /// # Errors
    /// `WrongStatus` when it is stopped (the words contain "container not running").
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        let have = self.status();
        if all {
            // Also when the first process is gone: others of a shared pid namespace may live on.
            return self.kill_all(signal);
        }
        let Some(init) = self.state.init.filter(|_| have != Status::Stopped) else {
            return Err(Error::WrongStatus { id: self.state.id.clone(), verb: "kill", have });
        };
        let doing = || format!("send signal {signal} to container {}", self.state.id);
        let pidfd = sys::process::pidfd_open(init.pid).doing(doing)?;
        // Looked at again behind the descriptor: the number may have been given to another process in between.
        if !init.is_alive() {
            return Err(Error::WrongStatus { id: self.state.id.clone(), verb: "kill", have: Status::Stopped });
        }
        parent::signal(pidfd.as_fd(), signal).doing(doing)?;
        if signal == libc::SIGKILL && have == Status::Paused {
            // A frozen process does not even die.
            self.state.cgroup.thaw()?;
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

    /// Remove what is left of it; with `force` end it first.
    ///
    /// # Errors
    /// `WrongStatus` unless it is stopped, without `force`.
    pub fn delete(self, force: bool) -> Result<()> {
        let have = self.status();
        // A created container has not begun its program: as in runc, delete ends it.
        if !matches!(have, Status::Stopped | Status::Created) && !force {
            return Err(Error::WrongStatus { id: self.state.id.clone(), verb: "delete", have });
        }
        self.end()?;
        self.delete_cgroup()?;
        match std::fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.doing(|| format!("remove {}", self.directory.display())),
        }
    }

    /// Kill every process of it, and wait until the kernel has taken them apart (at most ten seconds).
    fn end(&self) -> Result<()> {
        // Alive is asked for behind the descriptor too: the number may be another process's by then.
        if let Some(init) = self.state.init.filter(|init| init.is_alive() && self.is_of_this_boot())
            && let Ok(pidfd) = sys::process::pidfd_open(init.pid)
            && init.is_alive()
        {
            let _ = parent::signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = self.state.cgroup.thaw();
            await_end(pidfd.as_fd());
        }
        // Processes of a shared pid namespace, or a half-made one, do not die with init.
        if self.is_of_this_boot() && !self.state.cgroup.pids().unwrap_or_default().is_empty() {
            self.state.cgroup.kill()?;
        }
        Ok(())
    }

    /// Remove its control group, and with the last container of rbox the `/rbox` above it.
    fn delete_cgroup(&self) -> Result<()> {
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

    /// Run a further process in the container; it has become the program when this returns.
    ///
    /// # Errors
    /// `WrongStatus` unless it runs; those of [`Container::create`].
    pub fn exec(&self, process: &oci_spec::runtime::Process, ties: Ties) -> Result<Extra> {
        let have = self.status();
        let init = self.state.init.filter(|_| matches!(have, Status::Running | Status::Created));
        let Some(init) = init else {
            return Err(Error::WrongStatus { id: self.state.id.clone(), verb: "exec in", have });
        };
        let root = Root::of_process(init.pid)?;
        let spec = Spec::load(self.state.bundle.join("config.json")).ok();
        let profile = spec.as_ref().and_then(|spec| spec.linux().as_ref()?.seccomp().clone());
        let filter = profile.map(|profile| seccomp::cached(&profile, Some(&self.seccomp_cache()))).transpose()?;
        let extra = plan::Extra {
            seccomp: filter,
            preserve_fds: ties.preserve_fds,
            new_keyring: keyring(&ties, &self.state.id),
            reaper: false,
            make_cwd: false,
        };
        let mut planned = plan::process(process, &root, extra)?;
        planned.stdio = ties.stdio;
        let (ours, theirs) = parent::channel()?;
        let mut plan = self.entering(init, planned, ours.as_raw_fd())?;
        plan.console = ties.console.map(|socket| Console { socket, size: console_size(process) });
        let around = Surroundings { cgroup: &self.state.cgroup, oom_score_adj: process.oom_score_adj(), root: &root };
        let child = in_pid_namespace(init, || parent::clone(&mut plan, (ours, theirs), &around))?;
        child.await_program(&plan, &around)?;
        parent::tell_steps(&plan, 0);
        Ok(Extra { child })
    }

    fn seccomp_cache(&self) -> PathBuf {
        cache_of(self.directory.parent().unwrap_or(&self.directory))
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
            joins: vec![plan::Join { namespace: pidfd, kind, path }],
            doors: self.state.cgroup.doors()?,
            cgroup_namespace: plan::CgroupNamespace::Host,
            loopback: false,
            tree: None,
            hostname: None,
            domainname: None,
            sysctls: vec![],
            console: None,
            process,
            parent_end,
            gate: Gate::Open,
            parent_death: ParentDeath::UntilGate,
            trace: trace()?,
        })
    }
}

/// The directory in each control group hierarchy that holds the containers of `rbox`, and goes with the last of them.
/// Others' parents (containerd's, a `--cgroup-parent`) are theirs to remove.
const OUR_PARENT: &str = "rbox";

/// runtime-spec of which this is an implementation.
pub const OCI_VERSION: &str = "1.2.1";

fn cache_of(state_root: &Path) -> PathBuf {
    state_root.join(".seccomp")
}

fn await_end(pidfd: BorrowedFd<'_>) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if let Ok(1..) = poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], PollTimeout::from(1000_u16)) {
            return;
        }
    }
}

/// Clone with the pid namespace of `init` as that of our next child, then take our own back.
fn in_pid_namespace<T>(init: ProcessName, clone: impl FnOnce() -> Result<T>) -> Result<T> {
    let open = |path: String| {
        let name = CString::new(path.as_str()).expect("digits contain no zero byte");
        sys::file::open(&name, libc::O_RDONLY).doing(|| format!("open {path}"))
    };
    let theirs = open(format!("/proc/{}/ns/pid", init.pid))?;
    let ours = open("/proc/self/ns/pid".to_owned())?;
    let doing = || "join the container's pid namespace".to_owned();
    sys::process::setns(theirs.as_fd(), libc::CLONE_NEWPID).doing(doing)?;
    let made = clone();
    sys::process::setns(ours.as_fd(), libc::CLONE_NEWPID).doing(|| "leave the container's pid namespace".to_owned())?;
    made
}

fn keyring(ties: &Ties, id: &str) -> Option<CString> {
    if ties.keep_keyring { None } else { CString::new(format!("_ses.{id}")).ok() }
}

fn console_size(process: &oci_spec::runtime::Process) -> Option<(u16, u16)> {
    let size = process.console_size()?;
    let (rows, columns) = (u16::try_from(size.height()).ok()?, u16::try_from(size.width()).ok()?);
    (rows != 0 || columns != 0).then_some((rows, columns))
}

fn trace() -> Result<Option<SharedPage>> {
    if !rbox_explain::listening() {
        return Ok(None);
    }
    SharedPage::map().map(Some).doing(|| "map a page shared with the container's init".to_owned())
}

struct Made {
    child: Child,
    plan: Plan,
    root: Root,
    oom_score_adj: Option<i32>,
    told: usize,
}

/// Plan, clone, and wait until init stands before the gate.
fn make_init(container: &Container, blueprint: Blueprint<'_>) -> Result<Made> {
    let Blueprint { spec, root, ties, start, reaper, .. } = blueprint;
    let process = spec.process().as_ref().ok_or_else(|| Error::spec("process", "is missing"))?;
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let filter = profile.map(|profile| seccomp::cached(profile, Some(&container.seccomp_cache()))).transpose()?;
    if process.terminal().unwrap_or(false) != ties.console.is_some() {
        let why = if ties.console.is_some() {
            "is false, but a console socket is given"
        } else {
            "is true, but no console socket is given"
        };
        return Err(Error::spec("process.terminal", why));
    }
    let new_keyring = keyring(&ties, &container.state.id);
    let (ours, theirs) = parent::channel()?;
    let gate = match start {
        StartedBy::Anyone => Gate::Listener(listen(&container.gate())?),
        StartedBy::Us | StartedBy::UsAndDiesWithUs => Gate::Channel,
    };
    let mut plan = plan::build(plan::Request {
        spec,
        bundle: &container.state.bundle,
        root: &root,
        cgroup: view(&container.state.cgroup, spec),
        doors: container.state.cgroup.doors()?,
        seccomp: filter,
        console: ties.console.map(|socket| Console { socket, size: console_size(process) }),
        stdio: ties.stdio,
        preserve_fds: ties.preserve_fds,
        new_keyring,
        reaper,
        parent_end: ours.as_raw_fd(),
        gate,
        parent_death: if start == StartedBy::UsAndDiesWithUs { ParentDeath::Always } else { ParentDeath::UntilGate },
        trace: trace()?,
    })?;
    let oom_score_adj = process.oom_score_adj();
    let around = Surroundings { cgroup: &container.state.cgroup, oom_score_adj, root: &root };
    let child = parent::clone(&mut plan, (ours, theirs), &around)?;
    let created = child.await_created(&plan, &around);
    let told = parent::tell_steps(&plan, 0);
    created?;
    Ok(Made { child, plan, root, oom_score_adj, told })
}

/// The gate: a socket in the state directory, where only root comes.
fn listen(path: &Path) -> Result<OwnedFd> {
    UnixListener::bind(path).map(OwnedFd::from).doing(|| format!("make the gate {}", path.display()))
}

fn view(cgroup: &Cgroup, spec: &Spec) -> CgroupView {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let own_namespace =
        namespaces.into_iter().flatten().any(|one| one.typ() == LinuxNamespaceType::Cgroup && one.path().is_none());
    let views = cgroup.views();
    let v1 = || views.iter().filter(|view| view.file_system == "cgroup");
    CgroupView {
        controllers: v1().map(|view| (view.name.clone(), view.path.clone())).collect(),
        links: v1().flat_map(|view| view.links.iter().map(|link| (link.clone(), view.name.clone()))).collect(),
        own_namespace,
    }
}

impl State {
    fn new(blueprint: &Blueprint<'_>) -> Result<State> {
        let spec = blueprint.spec;
        let linux = spec.linux().as_ref();
        let wish = linux.and_then(|linux| linux.cgroups_path().clone()).filter(|path| !path.as_os_str().is_empty());
        let cgroups_path = wish.unwrap_or_else(|| Path::new("/").join(blueprint.id));
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
            cgroup: Cgroup::locate(&cgroups_path)?,
            annotations: spec.annotations().clone().unwrap_or_default(),
        })
    }
}

/// The limits of config.json, with the devices that every container may use added to its rules (as in runc): what no
/// rule allows is denied.
fn resources(spec: &Spec) -> LinuxResources {
    let mut resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let deny_all =
        LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().expect("every field has a default");
    let mut rules = vec![deny_all];
    rules.extend(resources.devices().iter().flatten().cloned());
    rules.extend(cgroup::default_rules());
    resources.set_devices(Some(rules));
    resources
}

/// Send `signal` to the process that `pidfd` stands for.
///
/// # Errors
/// ESRCH when it has ended; pidfd_send_signal(2).
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    parent::signal(pidfd, signal)
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
        self.child.open_gate()?;
        let around =
            Surroundings { cgroup: &self.container.state.cgroup, oom_score_adj: self.oom_score_adj, root: &self.root };
        let started = self.child.await_program(&self.plan, &around);
        self.told = parent::tell_steps(&self.plan, self.told);
        started
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

    /// Let go: the container is on its own, as it is on disk.
    #[must_use]
    pub fn into_container(self) -> Container {
        self.container
    }
}

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
