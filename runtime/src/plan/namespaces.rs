//! Namespaces of config.json: which are made, which are joined, and by whom (runtime-spec config-linux.md#namespaces).

use super::{Join, UserNamespace, Usher};
use crate::error::{Doing, Error, Result};
use crate::idmap::Maps;
use crate::sys;
use oci_spec::runtime::{Linux, LinuxNamespaceType};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Which namespaces are new, and which are joined.
pub(super) struct Namespaces {
    new: Vec<LinuxNamespaceType>,
    joined: Vec<LinuxNamespaceType>,
    pub(super) joins: Vec<Join>,
}

/// The namespaces by their clone(2) flag and their name in config.json.
static KINDS: &[(LinuxNamespaceType, i32, &str)] = &[
    (LinuxNamespaceType::Mount, libc::CLONE_NEWNS, "mount"),
    (LinuxNamespaceType::Uts, libc::CLONE_NEWUTS, "uts"),
    (LinuxNamespaceType::Ipc, libc::CLONE_NEWIPC, "ipc"),
    (LinuxNamespaceType::Network, libc::CLONE_NEWNET, "network"),
    (LinuxNamespaceType::Pid, libc::CLONE_NEWPID, "pid"),
    (LinuxNamespaceType::Cgroup, libc::CLONE_NEWCGROUP, "cgroup"),
    (LinuxNamespaceType::User, libc::CLONE_NEWUSER, "user"),
    (LinuxNamespaceType::Time, libc::CLONE_NEWTIME, "time"),
];

/// Those that can be made or joined, by the alphabet.
pub(crate) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = KINDS.iter().map(|(_, _, name)| *name).collect();
    names.sort_unstable();
    names
}

impl Namespaces {
    pub(super) fn of(linux: &Linux) -> Result<Namespaces> {
        let mut found = Namespaces { new: vec![], joined: vec![], joins: vec![] };
        for namespace in linux.namespaces().iter().flatten() {
            let kind = namespace.typ();
            let Some((_, flag, name)) = KINDS.iter().find(|(known, _, _)| *known == kind) else {
                return Err(Error::spec("linux.namespaces", format!("type {kind} is not supported")));
            };
            if found.new.contains(&kind) || found.joined.contains(&kind) {
                return Err(Error::spec("linux.namespaces", format!("type {name} is there twice")));
            }
            match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
                None => found.new.push(kind),
                Some(path) => {
                    found.joined.push(kind);
                    let join = open_namespace(path, *flag)?;
                    // The host's rights reach into a mount namespace; those of a user namespace may not.
                    let place = if kind == LinuxNamespaceType::Mount { 0 } else { found.joins.len() };
                    found.joins.insert(place, join);
                }
            }
        }
        if !found.is_private(LinuxNamespaceType::Mount) {
            return Err(Error::spec(
                "linux.namespaces",
                "a mount namespace is required: its root becomes the container's",
            ));
        }
        Ok(found)
    }

    pub(super) fn is_new(&self, kind: LinuxNamespaceType) -> bool {
        self.new.contains(&kind)
    }

    /// A user namespace that is not the host's: what is made inside belongs to nobody outside.
    pub(super) fn has_own_users(&self) -> bool {
        self.is_private(LinuxNamespaceType::User)
    }

    pub(super) fn is_private(&self, kind: LinuxNamespaceType) -> bool {
        self.is_new(kind) || self.joined.contains(&kind)
    }

    /// For clone3(2). The usher makes two before: user and time. The child makes two later: the cgroup namespace when it
    /// is in its cgroup, the network namespace while the parent makes the cgroups ([`Plan::new_network`]), unless it is to
    /// be there `with_network`.
    pub(super) fn new_flags(&self, with_network: bool) -> u64 {
        let flag = |kind: &LinuxNamespaceType| KINDS.iter().find(|(known, _, _)| known == kind).map_or(0, |row| row.1);
        self.new
            .iter()
            .filter(|kind| {
                use LinuxNamespaceType::{Cgroup, Network, Time, User};
                !matches!(kind, Cgroup | Time | User) && (with_network || **kind != Network)
            })
            .fold(0, |all, kind| all | i64::from(flag(kind))) as u64
    }

    /// A network namespace of others, for the parent too.
    pub(super) fn joined_network(&self) -> Result<Option<OwnedFd>> {
        let join = self.joins.iter().find(|join| join.kind == libc::CLONE_NEWNET);
        let Some((join, namespace)) = join.and_then(|join| Some((join, join.namespace.as_ref()?))) else {
            return Ok(None);
        };
        namespace.try_clone().map(Some).doing(|| format!("open namespace {}", join.path))
    }

    /// Whether somebody has to go before init, and into what.
    pub(super) fn usher(&self, linux: &Linux) -> Result<Option<Usher>> {
        use LinuxNamespaceType::{Pid, Time, User};
        let maps = Maps::of(linux.uid_mappings(), linux.gid_mappings(), "linux.")?;
        let user = match (self.is_new(User), self.joined.contains(&User)) {
            (true, _) => UserNamespace::New,
            (_, true) => UserNamespace::Joined,
            _ => UserNamespace::Same,
        };
        match (user, &maps) {
            (UserNamespace::New, None) => {
                return Err(Error::spec("linux.uidMappings", "is missing: who is root in the new user namespace?"));
            }
            (UserNamespace::New, Some(maps)) if !maps.have_root() => {
                return Err(Error::spec(
                    "linux.uidMappings",
                    "maps nobody to containerID 0, who sets the container up",
                ));
            }
            (UserNamespace::Same, Some(_)) => return Err(Error::spec("linux.uidMappings", "needs a user namespace")),
            _ => {}
        }
        let offsets = time_offsets(linux)?;
        if offsets.is_some() && !self.is_new(Time) {
            return Err(Error::spec("linux.timeOffsets", "needs a new time namespace"));
        }
        let joined = |kind| self.joined.contains(&kind);
        let has_time = self.is_new(Time) || joined(Time);
        if user == UserNamespace::Same && !joined(Pid) && !has_time {
            return Ok(None);
        }
        Ok(Some(Usher {
            joins: self.joins.len(),
            user,
            maps: maps.unwrap_or_default(),
            time_offsets: if self.is_new(Time) { Some(offsets.unwrap_or_default()) } else { None },
            alone: self.is_new(Pid),
        }))
    }
}

/// `monotonic 10 0`, a line for each clock: time_namespaces(7).
fn time_offsets(linux: &Linux) -> Result<Option<CString>> {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return Ok(None) };
    let mut lines = Vec::new();
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::spec(&format!("linux.timeOffsets.{clock}"), "is neither monotonic nor boottime"));
        }
        lines.push(format!("{clock} {} {}", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0)));
    }
    lines.sort();
    Ok(CString::new(lines.join("\n")).ok())
}

fn open_namespace(path: &Path, kind: i32) -> Result<Join> {
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::spec("linux.namespaces", "path contains a zero byte"))?;
    let namespace = sys::file::open(&name, libc::O_RDONLY).doing(|| format!("open namespace {}", path.display()))?;
    let root = if kind == libc::CLONE_NEWNS { Some(mount_namespace_root(&namespace, path)?) } else { None };
    Ok(Join { namespace: Some(namespace), kind, root, path: path.display().to_string() })
}

/// The root that a mount namespace must have which a container takes over: it is made like the host's (`unshare --mount`),
/// and not another container's, nor the host's own, whose root pivot_root(2) would change for all their processes.
fn mount_namespace_root(namespace: &OwnedFd, path: &Path) -> Result<(u64, u64)> {
    let doing = || format!("look at namespace {}", path.display());
    let wanted = sys::file::fstat(namespace.as_fd()).doing(doing)?;
    for process in ["self", "1"] {
        let theirs = std::fs::metadata(format!("/proc/{process}/ns/mnt")).doing(doing)?;
        if (theirs.dev(), theirs.ino()) == (wanted.st_dev, wanted.st_ino) {
            return Err(Error::spec(
                "linux.namespaces",
                format!("{} is the host's own mount namespace", path.display()),
            ));
        }
    }
    let root = std::fs::metadata("/").doing(|| "look at /".to_owned())?;
    Ok((root.dev(), root.ino()))
}
