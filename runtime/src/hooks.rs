//! Hooks: programs of the administrator's at six points of a container's life (runtime-spec config.md#posix-platform-hooks).
//!
//! ```text
//!  create   prestart, createRuntime   outside: namespaces and mounts are there, / is not changed yet
//!           createContainer           in the container's namespaces, the host's tree still visible
//!  start    startContainer            in the container, with its own programs, just before its own
//!           poststart                 outside: the program runs
//!  delete   poststop                  outside: nothing is left
//! ```
//!
//! Each reads the container's state from its standard input. One that fails ends the container (config.md says it for all
//! but poststop, which can only be warned of). Those inside are run by init: [`crate::child`].

use crate::child::{LastWords, run_hook};
use crate::container::{Container, Status};
use crate::error::{Doing, Error, Result};
use crate::plan::{BadEnd, Hook, InitHookList, InitHooks};
use crate::sys;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The hooks that run when `create` is long over: config.json may be another by then, so the state file has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaterHooks {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) start_container: Vec<oci_spec::runtime::Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) poststart: Vec<oci_spec::runtime::Hook>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) poststop: Vec<oci_spec::runtime::Hook>,
}

/// The names of all kinds, in the order in which they run.
pub const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

type Hooks = Option<Vec<oci_spec::runtime::Hook>>;

fn some(hooks: &Hooks) -> &[oci_spec::runtime::Hook] {
    hooks.as_deref().unwrap_or_default()
}

impl LaterHooks {
    /// Those of `spec`.
    ///
    /// # Errors
    /// `InvalidSpec` for one that could not be run: now, and not when it is too late.
    pub(crate) fn of(spec: &Spec) -> Result<LaterHooks> {
        let Some(hooks) = spec.hooks() else { return Ok(LaterHooks::default()) };
        let later = LaterHooks {
            start_container: some(hooks.start_container()).to_vec(),
            poststart: some(hooks.poststart()).to_vec(),
            poststop: some(hooks.poststop()).to_vec(),
        };
        Hook::all("poststart", &later.poststart, &[])?;
        Hook::all("poststop", &later.poststop, &[])?;
        Ok(later)
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == LaterHooks::default()
    }
}

/// The hooks that the parent of init runs while it creates: prestart, then createRuntime.
pub(crate) struct CreateHooks {
    prestart: Vec<Hook>,
    create_runtime: Vec<Hook>,
}

impl CreateHooks {
    /// Those of `spec`.
    ///
    /// # Errors
    /// `InvalidSpec`.
    pub(crate) fn of(spec: &Spec) -> Result<CreateHooks> {
        let Some(hooks) = spec.hooks() else { return Ok(CreateHooks { prestart: vec![], create_runtime: vec![] }) };
        #[allow(deprecated, reason = "dockerd sends the old hook, and it must not be ignored")]
        let prestart = some(hooks.prestart());
        let env = own_environment();
        Ok(CreateHooks {
            prestart: Hook::all("prestart", prestart, &env)?,
            create_runtime: Hook::all("createRuntime", some(hooks.create_runtime()), &env)?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.prestart.is_empty() && self.create_runtime.is_empty()
    }

    /// Run them for a container whose init has this pid.
    ///
    /// # Errors
    /// `Hook` for the first that fails.
    pub(crate) fn run(&self, container: &Container, pid: i32) -> Result<()> {
        let state = container.state_for_hooks(Status::Creating, Some(pid));
        run_all("prestart", &self.prestart, &state, container.bundle())?;
        run_all("createRuntime", &self.create_runtime, &state, container.bundle())
    }
}

/// The hooks that init runs, with room for the states that [`tell_init`] writes.
///
/// # Errors
/// `InvalidSpec`; `Os`.
pub(crate) fn of_init(spec: &Spec, root_place: &Path, parent_has_some: bool) -> Result<InitHooks> {
    let Some(hooks) = spec.hooks() else { return Ok(InitHooks::default()) };
    let zero = |_| Error::spec("process.env", "contains a zero byte");
    let env = spec.process().as_ref().and_then(|process| process.env().as_ref());
    let env: Vec<CString> =
        env.into_iter().flatten().map(|entry| CString::new(entry.as_str()).map_err(zero)).collect::<Result<_>>()?;
    let list = |kind, hooks: &Hooks| -> Result<InitHookList> {
        let hooks = Hook::all(kind, some(hooks), &env)?;
        let state = if hooks.is_empty() { None } else { Some(empty_state()?) };
        Ok(InitHookList { hooks, state })
    };
    let root_place = CString::new(root_place.as_os_str().as_bytes());
    Ok(InitHooks {
        parent_has_some,
        create_container: list("createContainer", hooks.create_container())?,
        start_container: list("startContainer", hooks.start_container())?,
        root_place: root_place.map_err(|_| Error::spec("root.path", "contains a zero byte"))?,
    })
}

/// Write the states that init's hooks read: with its pid as the container sees it, and the status of their time.
///
/// # Errors
/// `Os`.
pub(crate) fn tell_init(hooks: &InitHooks, container: &Container, pid: i32) -> Result<()> {
    for (list, status) in [(&hooks.create_container, Status::Creating), (&hooks.start_container, Status::Created)] {
        if let Some(file) = &list.state {
            write_state(file, &container.state_for_hooks(status, pid_inside(pid)))?;
        }
    }
    Ok(())
}

/// The number that a process has in its own pid namespace: proc_pid_status(5), the last of `NSpid`.
fn pid_inside(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
}

/// poststart: the program runs.
///
/// # Errors
/// `Hook` for the first that fails; the caller ends the container.
pub(crate) fn poststart(container: &Container, hooks: &LaterHooks, pid: i32) -> Result<()> {
    if hooks.poststart.is_empty() {
        return Ok(());
    }
    let planned = Hook::all("poststart", &hooks.poststart, &own_environment())?;
    run_all("poststart", &planned, &container.state_for_hooks(Status::Running, Some(pid)), container.bundle())
}

/// poststop: every one of them, whatever becomes of the others. Answers what went wrong.
pub(crate) fn poststop(container: &Container, hooks: &LaterHooks) -> Vec<Error> {
    if hooks.poststop.is_empty() {
        return vec![];
    }
    let state = container.state_for_hooks(Status::Stopped, None);
    let planned = match Hook::all("poststop", &hooks.poststop, &own_environment()) {
        Ok(planned) => planned,
        Err(error) => return vec![error],
    };
    let run = |hook| run_all("poststop", std::slice::from_ref(hook), &state, container.bundle()).err();
    planned.iter().filter_map(run).collect()
}

/// What a hook outside has for an environment when it names none: this program's (as in runc and crun).
fn own_environment() -> Vec<CString> {
    let entry = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let mut bytes = name.into_vec();
        bytes.push(b'=');
        bytes.extend(value.into_vec());
        CString::new(bytes).ok()
    };
    std::env::vars_os().filter_map(entry).collect()
}

fn run_all(kind: &'static str, hooks: &[Hook], state: &serde_json::Value, bundle: &Path) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let file = empty_state()?;
    write_state(&file, state)?;
    // A bundle that is gone by the time of poststop is no reason not to run it.
    let path = CString::new(bundle.as_os_str().as_bytes()).ok();
    let bundle = path.and_then(|path| sys::file::open(&path, libc::O_PATH | libc::O_DIRECTORY).ok());
    for hook in hooks {
        let mut words = LastWords::new();
        let ended = rbox_explain::step(
            &crate::steps::HOOK,
            || format!("{kind} hook {}", hook.path.to_string_lossy()),
            || run_hook(hook, file.as_fd(), bundle.as_ref().map(AsFd::as_fd), &mut words),
        );
        ended.map_err(|end| failure(kind, &hook.path.to_string_lossy(), end, words.bytes()))?;
    }
    Ok(())
}

/// A failed hook in words.
pub(crate) fn failure(kind: &'static str, path: &str, end: BadEnd, words: &[u8]) -> Error {
    let words = String::from_utf8_lossy(words);
    let said = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let why = if said.is_empty() { end.to_string() } else { format!("{end}: {said}") };
    Error::Hook { kind, path: path.to_owned(), why }
}

/// A file in memory, nowhere in a directory: memfd_create(2).
fn empty_state() -> Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    memfd_create(c"state", flags).doing(|| "make a file for the state that hooks read".to_owned())
}

/// Write it once; from then on nobody can, and a hook of the container least of all.
fn write_state(file: &OwnedFd, state: &serde_json::Value) -> Result<()> {
    let doing = || "write the state that hooks read".to_owned();
    sys::file::write_all(file.as_fd(), state.to_string().as_bytes()).doing(doing)?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals)).doing(doing).map(drop)
}
