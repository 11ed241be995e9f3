//! Which users and groups of the host are which in a container (user_namespaces(7), runtime-spec
//! config-linux.md#user-namespace-mappings).

use crate::error::{Doing, Error, Result};
use crate::parent;
use crate::sys;
use crate::sys::process::Cloned;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Both maps of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Maps {
    uid: Vec<LinuxIdMapping>,
    gid: Vec<LinuxIdMapping>,
}

type Mappings = Option<Vec<LinuxIdMapping>>;

impl Maps {
    /// The maps of config.json; none where it has neither.
    ///
    /// # Errors
    /// `InvalidSpec` for one without the other, or an empty range; `path` is where they stand.
    pub(crate) fn of(uid: &Mappings, gid: &Mappings, path: &str) -> Result<Option<Maps>> {
        let some = |maps: &Mappings| maps.clone().unwrap_or_default();
        let maps = Maps { uid: some(uid), gid: some(gid) };
        match (maps.uid.is_empty(), maps.gid.is_empty()) {
            (true, true) => return Ok(None),
            (true, false) => return Err(Error::spec(&format!("{path}uidMappings"), "is missing, beside gidMappings")),
            (false, true) => return Err(Error::spec(&format!("{path}gidMappings"), "is missing, beside uidMappings")),
            (false, false) => {}
        }
        if let Some(odd) = maps.uid.iter().chain(&maps.gid).find(|one| one.size() == 0) {
            let why = format!("a range of size 0 at containerID {}", odd.container_id());
            return Err(Error::spec(&format!("{path}uidMappings"), why));
        }
        Ok(Some(maps))
    }

    /// Whether there is a root inside: without one nobody could set the container up.
    pub(crate) fn have_root(&self) -> bool {
        let has = |maps: &[LinuxIdMapping]| maps.iter().any(|one| one.container_id() == 0);
        has(&self.uid) && has(&self.gid)
    }

    /// Write both for process `pid`, which has made itself a user namespace: one write each, and only once.
    ///
    /// # Errors
    /// `Os`: EPERM for users that are not ours to give; EINVAL for ranges that overlap.
    pub(crate) fn write(&self, pid: i32) -> Result<()> {
        for (file, maps) in [("uid_map", &self.uid), ("gid_map", &self.gid)] {
            let text = lines(maps);
            rbox_explain::step(
                &crate::steps::MAP,
                || format!("echo {text:?} > /proc/{pid}/{file}"),
                || std::fs::write(format!("/proc/{pid}/{file}"), &text),
            )
            .doing(|| format!("write {file} of the container ({})", text.replace('\n', ", ")))?;
        }
        Ok(())
    }

    /// A user namespace with these maps and nobody in it: what an idmapped mount is made by (mount_setattr(2)).
    ///
    /// # Errors
    /// `Os`.
    pub(crate) fn namespace(&self) -> Result<OwnedFd> {
        let doing = || "make a user namespace for an idmapped mount".to_owned();
        let (ours, theirs) = parent::channel()?;
        let flags = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
        let (pid, pidfd) = match sys::process::clone3(flags, None).doing(doing)? {
            Cloned::Child => {
                // Only to be there: until the other end is closed, or the parent has ended.
                let _ = nix::unistd::close(ours.as_raw_fd());
                let _ = sys::file::read(theirs.as_fd(), &mut [0]);
                sys::process::exit(0)
            }
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(theirs);
        let path = CString::new(format!("/proc/{pid}/ns/user")).expect("digits contain no zero byte");
        let namespace = self.write(pid).and_then(|()| sys::file::open(&path, libc::O_RDONLY).doing(doing));
        drop(ours);
        let _ = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED);
        namespace
    }
}

/// The user namespace of a container as config.json has it: the one it joins, or one with the maps of that it will have.
///
/// # Errors
/// `Os`; those of [`Maps::of`].
pub(crate) fn namespace_of(linux: &Linux) -> Result<Option<OwnedFd>> {
    let users = linux.namespaces().iter().flatten().find(|one| one.typ() == LinuxNamespaceType::User);
    if let Some(path) = users.and_then(|users| users.path().as_ref()) {
        let name = CString::new(path.as_os_str().as_bytes());
        let name = name.map_err(|_| Error::spec("linux.namespaces", "path contains a zero byte"))?;
        let opened = sys::file::open(&name, libc::O_RDONLY);
        return opened.map(Some).doing(|| format!("open namespace {}", path.display()));
    }
    let maps = Maps::of(linux.uid_mappings(), linux.gid_mappings(), "linux.")?;
    maps.map(|maps| maps.namespace()).transpose()
}

/// `0 100000 65536`, a line for each range.
fn lines(maps: &[LinuxIdMapping]) -> String {
    let line = |one: &LinuxIdMapping| format!("{} {} {}", one.container_id(), one.host_id(), one.size());
    maps.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(uid: &str, gid: &str) -> Result<Option<Maps>> {
        Maps::of(&serde_json::from_str(uid).unwrap(), &serde_json::from_str(gid).unwrap(), "linux.")
    }

    #[test]
    fn both_or_none_and_no_empty_range() {
        let one = r#"[{"containerID":0,"hostID":1000,"size":1}]"#;
        assert_eq!(maps("null", "[]").unwrap(), None);
        assert!(maps(one, one).unwrap().unwrap().have_root());
        assert!(maps(one, "null").unwrap_err().to_string().contains("linux.gidMappings: is missing"));
        assert!(maps("[]", one).unwrap_err().to_string().contains("linux.uidMappings: is missing"));
        let empty = r#"[{"containerID":0,"hostID":1000,"size":0}]"#;
        assert!(maps(empty, one).unwrap_err().to_string().contains("size 0"));
    }

    #[test]
    fn a_map_is_the_kernels_text() {
        let two = r#"[{"containerID":0,"hostID":1000,"size":1},{"containerID":1,"hostID":100000,"size":65535}]"#;
        assert_eq!(lines(&serde_json::from_str::<Vec<_>>(two).unwrap()), "0 1000 1\n1 100000 65535");
    }
}
