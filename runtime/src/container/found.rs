//! The containers below a state directory, whatever has become of their files.

use super::{Container, await_end};
use crate::error::{Doing, Error, Result};
use crate::parent;
use crate::state::{self, ProcessName};
use crate::sys;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One directory of a state directory.
#[derive(Debug)]
pub struct Found {
    /// Its name: the container's id.
    pub id: String,
    /// Whose it is: the user's name, or `#` and his number.
    pub owner: String,
    /// The container, or why it cannot be read.
    pub container: Result<Container>,
}

/// All containers below `state_root`, by name. None where there is no such directory: nothing was created yet.
///
/// # Errors
/// `Os` when the directory cannot be read.
pub fn all(state_root: &Path) -> Result<Vec<Found>> {
    let doing = || format!("list {}", state_root.display());
    let entries = match std::fs::read_dir(state_root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing(doing)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.doing(doing)?;
        // As in runc only directories count, and no links to any.
        let Some(metadata) = entry.metadata().ok().filter(std::fs::Metadata::is_dir) else { continue };
        let id = entry.file_name().to_string_lossy().into_owned();
        if id == super::SECCOMP_CACHE {
            continue;
        }
        let container = Container::load(state_root, &id);
        // Deleted since the directory was read.
        if !entry.path().exists() {
            continue;
        }
        found.push(Found { id, owner: owner(metadata.uid()), container });
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

fn owner(uid: u32) -> String {
    let known = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    known.map_or_else(|| format!("#{uid}"), |user| user.name)
}

impl Container {
    /// Delete the container `id`; with `force` whatever has its name, also if nobody can read any more what it was.
    ///
    /// # Errors
    /// `NotFound` without `force`; those of [`Container::delete`].
    pub fn delete_named(state_root: &Path, id: &str, force: bool) -> Result<Vec<Error>> {
        match Container::load(state_root, id) {
            Ok(container) => container.delete(force),
            // A torn state must not make a name immortal; nor must a creation that was cut short before it wrote one.
            Err(_) if force => {
                state::check_id(id)?;
                remove_unread(&state_root.join(id), id).map(|()| vec![])
            }
            Err(error) => Err(error),
        }
    }
}

/// Its first process may be known though its state is not.
fn remove_unread(directory: &Path, id: &str) -> Result<()> {
    let doing = || format!("remove container {id}");
    let found = match std::fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.doing(doing)?,
    };
    if found.is_dir() {
        // A process that somebody else has named is not ours to kill.
        if state::is_ours(&found) {
            end_init(directory);
        }
        std::fs::remove_dir_all(directory).doing(doing)
    } else {
        std::fs::remove_file(directory).doing(doing)
    }
}

fn end_init(directory: &Path) {
    let Ok(Some(init)) = ProcessName::load(directory) else { return };
    // Which boot the number is of stood in the state: a process that began after it was written down is another.
    let written = std::fs::symlink_metadata(directory.join("init")).map(|link| link.mtime());
    let older = written.is_ok_and(|written| init.began().is_ok_and(|began| began <= written));
    if older
        && let Ok(pidfd) = sys::process::pidfd_open(init.pid)
        && init.is_alive()
        && parent::signal(pidfd.as_fd(), libc::SIGKILL).is_ok()
    {
        await_end(pidfd.as_fd());
    }
}
