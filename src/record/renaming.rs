//! A container's change of name: three files in turn, so what is meant is written down before the first.
//!
//! ```text
//!   renaming.json ── new name's link ── record ── old name's link gone, claim, lease ── renaming.json gone
//! ```
//!
//! Whoever finds the file under the lock of [`crate::sweep`] finds it of a dead process, and finishes: the record says
//! which of both names it is.

use std::path::PathBuf;

use anyhow::{Context, Result};
use rbox_net::{Networks, Owner};
use serde::{Deserialize, Serialize};

use super::{Claim, Record, read, remove_file, write_whole};
use crate::dirs::Dirs;

/// One that is under way.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Renaming {
    id: String,
    /// What it is called, and what it is to be called.
    names: [String; 2],
}

impl Renaming {
    /// Call the container `id` otherwise. The caller holds the lock of [`crate::sweep`].
    ///
    /// Errors: the name is taken (with its holder); the container is gone. It is called as before then.
    pub(crate) fn make(dirs: &Dirs, networks: &Networks, id: &str, [old, new]: [&str; 2]) -> Result<()> {
        let renaming = Renaming { id: id.to_owned(), names: [old.to_owned(), new.to_owned()] };
        write_whole(&path(dirs), &renaming)?;
        let taken = Claim::of_nobody(id, new)
            .take_name(dirs)
            .and_then(|()| Record::update(dirs, id, |record| record.name = new.to_owned()).map(drop));
        renaming.finish(dirs, networks)?;
        taken
    }

    /// The one that a killed rbox has left. The caller holds the lock.
    ///
    /// Errors: it cannot be read.
    pub(crate) fn left(dirs: &Dirs) -> Result<Option<Renaming>> {
        read(&path(dirs))
    }

    /// Whether there is one, of a living process or a dead one.
    pub(crate) fn is_any(dirs: &Dirs) -> bool {
        path(dirs).exists()
    }

    /// Bring all that names the container into agreement with its record.
    ///
    /// Errors: the directories cannot be written.
    pub(crate) fn finish(self, dirs: &Dirs, networks: &Networks) -> Result<()> {
        let record = Record::load(dirs, &self.id)?;
        let is_called = |name: &String| record.as_ref().is_some_and(|record| record.name == *name);
        for name in self.names.iter().filter(|name| !is_called(name)) {
            Claim::of_nobody(&self.id, name).release_name(dirs)?;
        }
        if let Some(record) = record
            && let Some(Claim { id, name, pid, start_time, boot_id, .. }) = Claim::renamed(dirs, &record)?
        {
            let owner = Owner { container: id, name, pid, start_time, boot_id, netns: None };
            networks.hand_over(&owner).context("cannot tell the network of a container's name")?;
        }
        remove_file(&path(dirs))
    }
}

fn path(dirs: &Dirs) -> PathBuf {
    dirs.root().join("renaming.json")
}
