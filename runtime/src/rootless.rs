//! An ordinary user: he becomes root of the container's user namespace first, and from there on everything is as for root.
//!
//! ```text
//!  create, run   make the user namespace of config.json, with a mount namespace; the container's others are made in it
//!  all others    join the user namespace of the container's first process: its users are not the caller's
//! ```
//!
//! What root alone has on the host stays out of reach: control groups that nobody has handed down, device nodes (the host's
//! are bound instead), lower values of oom_score_adj.

use crate::container::Container;
use crate::error::{Doing, Error, Result};
use crate::idmap::Maps;
use crate::parent;
use crate::sys;
use nix::unistd::{getegid, geteuid};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether we are an ordinary user.
#[must_use]
pub fn is_needed() -> bool {
    !geteuid().is_root()
}

/// Whether we are an ordinary user, or root of his user namespace.
#[must_use]
pub fn is_likely() -> bool {
    is_needed() || in_user_namespace()
}

/// Whether root here is somebody else on the host: in a user namespace other than the first.
pub(crate) fn in_user_namespace() -> bool {
    // user_namespaces(7): the first one maps all users to themselves.
    let all = |text: String| text.split_whitespace().eq(["0", "0", "4294967295"]);
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|text| !all(text))
}

/// Where an ordinary user's states are, when he does not say: below `XDG_RUNTIME_DIR`, as runc's.
#[must_use]
pub fn state_root(usual: &Path) -> Option<PathBuf> {
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty())?;
    Some(Path::new(&directory).join(usual.file_name()?))
}

/// Become root of a new user namespace, the one that `spec` asks for; it is done then, and asked for no more.
///
/// # Errors
/// `InvalidSpec` for a spec without one; `Os`.
pub fn enter_new(spec: &mut Spec) -> Result<()> {
    let missing = || {
        let why = "has no user namespace, and an ordinary user can make no other (see spec --rootless)";
        Error::spec("linux.namespaces", why)
    };
    let linux = spec.linux_mut().as_mut().ok_or_else(missing)?;
    let namespaces = linux.namespaces().clone().unwrap_or_default();
    let (users, rest): (Vec<_>, Vec<_>) = namespaces.into_iter().partition(|one| one.typ() == LinuxNamespaceType::User);
    let users = users.first().ok_or_else(missing)?;
    match users.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => join(path)?,
        None => {
            let maps = Maps::of(linux.uid_mappings(), linux.gid_mappings(), "linux.")?;
            let maps = maps.filter(Maps::have_root);
            make(&maps.ok_or_else(|| Error::spec("linux.uidMappings", "maps nobody to containerID 0"))?)?;
        }
    }
    linux.set_namespaces(Some(rest));
    linux.set_uid_mappings(None);
    linux.set_gid_mappings(None);
    become_root()
}

/// Become root of the user namespace of a container's first process; a container without one that lives is only files.
///
/// # Errors
/// `Os`.
pub fn follow(container: &Container) -> Result<()> {
    let Some(pid) = container.pid().filter(|_| container.pidfd().is_some()) else { return Ok(()) };
    let path = format!("/proc/{pid}/ns/user");
    let own = std::fs::read_link("/proc/self/ns/user").doing(|| "read this process's own state".to_owned())?;
    match std::fs::read_link(&path) {
        Ok(theirs) if theirs != own => {
            join(Path::new(&path))?;
            become_root()
        }
        _ => Ok(()),
    }
}

fn join(path: &Path) -> Result<()> {
    let doing = || format!("join the user namespace {}", path.display());
    let file = File::open(path).doing(doing)?;
    sys::process::setns(file.as_fd(), libc::CLONE_NEWUSER).doing(doing)
}

/// Make one. Its maps are written by a copy of this program that stays outside.
fn make(maps: &Maps) -> Result<()> {
    let pid = std::process::id();
    let doing = || "make a user namespace".to_owned();
    let (ours, theirs) = parent::channel()?;
    let helper = sys::process::fork().doing(doing)?;
    if helper == 0 {
        drop(ours);
        write_from_outside(maps, pid, &theirs);
    }
    drop(theirs);
    sys::process::unshare(libc::CLONE_NEWUSER).doing(doing)?;
    sys::file::write_all(ours.as_fd(), b"m").doing(doing)?;
    let mut answer = String::new();
    File::from(ours).read_to_string(&mut answer).doing(doing)?;
    // Else it would stay as a zombie for as long as the container runs in the foreground.
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(helper), None);
    if answer == "ok" { Ok(()) } else { Err(Error::Rootless { why: answer }) }
}

/// Runs in the copy; never returns.
fn write_from_outside(maps: &Maps, pid: u32, channel: &OwnedFd) -> ! {
    let made = sys::file::read(channel.as_fd(), &mut [0]);
    if matches!(made, Ok(1)) {
        let written =
            if maps.are_only(geteuid().as_raw(), getegid().as_raw()) { own(maps, pid) } else { helped(maps, pid) };
        let answer = written.err().unwrap_or_else(|| "ok".to_owned());
        let _ = sys::file::write_all(channel.as_fd(), answer.as_bytes());
    }
    sys::process::exit(0)
}

/// The caller alone, as root: nobody's help is needed, but groups cannot be changed then (user_namespaces(7)).
fn own(maps: &Maps, pid: u32) -> std::result::Result<(), String> {
    let deny = format!("/proc/{pid}/setgroups");
    std::fs::write(&deny, "deny").map_err(|error| format!("write {deny}: {}", crate::error::cause(&error)))?;
    maps.write(pid.cast_signed()).map_err(|error| error.to_string())
}

/// Users that /etc/subuid and /etc/subgid give the caller: by newuidmap(1) and newgidmap(1), which are set-user-id.
fn helped(maps: &Maps, pid: u32) -> std::result::Result<(), String> {
    for (program, numbers) in maps.numbers() {
        let mut command = Command::new(program);
        let output = command
            .arg(pid.to_string())
            .args(numbers)
            .output()
            .map_err(|error| format!("run {program} (of the package uidmap): {}", crate::error::cause(&error)))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(said.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    Ok(())
}

/// With a mount namespace of this user's own, in which mounts can be copied.
fn become_root() -> Result<()> {
    let doing = || "become root of the user namespace".to_owned();
    sys::process::setresgid(0).doing(doing)?;
    sys::process::setresuid(0).doing(doing)?;
    // Else /proc/self would be the host's root's.
    sys::process::set_dumpable(true).doing(doing)?;
    sys::process::unshare(libc::CLONE_NEWNS).doing(|| "make a mount namespace".to_owned())?;
    sys::mount::set_root_propagation(libc::MS_SLAVE | libc::MS_REC).doing(|| "make the mounts private".to_owned())
}

/// Run this program from a copy in memory that nobody can write: an ordinary user can make no read-only mount of it, and
/// may own the file itself.
pub(crate) fn sealed_copy(exe: &OwnedFd) -> std::io::Result<Option<OwnedFd>> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let path = CString::new(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(exe)))?;
    let file = sys::file::open(&path, libc::O_RDONLY)?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    if fcntl(&file, FcntlArg::F_GET_SEALS).is_ok_and(|have| have & seals.bits() == seals.bits()) {
        return Ok(None);
    }
    let copy = memfd_create(c"rbox-runtime", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    std::io::copy(&mut File::from(file), &mut File::from(copy.try_clone()?))?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(Some(copy))
}
