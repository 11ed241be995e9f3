//! Handing a group of the unified hierarchy to the container's own user, who may then make groups below it and move its
//! processes between them; its limits stay ours (runtime-spec config-linux.md#cgroup-ownership, cgroups(7) "Delegating").

use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Uid, chown};
use rbox_explain::{Row, step};

use super::{Cgroup, Error, Layout, file};

static CHOWN: Row = Row {
    key: "cgroup-chown",
    why: "the container's user may make groups below its own; what limits it stays ours",
    see: "runtime-spec config-linux.md#cgroup-ownership",
};

/// Which files go with the directory, one a line: Linux 4.15.
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// The same, where the kernel has no list: the specification's own words.
const USUAL: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Make `uid` of the host the owner of the group's directory, and of those files in it that may be handed over. Only
    /// on v2: what v1 would hand over is not safe to have.
    ///
    /// # Errors
    /// `Os`; a file that this kernel or this group lacks is none.
    pub fn hand_over(&self, uid: u32) -> Result<(), Error> {
        let Some(group) = self.unified().filter(|_| self.layout == Layout::V2) else { return Ok(()) };
        let list = file::read(Path::new(LIST)).unwrap_or_else(|_| USUAL.to_owned());
        give(&group.path, uid)?;
        // A name, never a path: what is handed over is in the group's own directory.
        for name in list.lines().filter(|name| !name.is_empty() && !name.contains('/')) {
            match give(&group.path.join(name), uid) {
                Err(Error::Os { source: Errno::ENOENT, .. }) => {}
                given => given?,
            }
        }
        Ok(())
    }
}

fn give(path: &Path, uid: u32) -> Result<(), Error> {
    step(&CHOWN, || format!("chown({}, {uid})", path.display()), || chown(path, Some(Uid::from_raw(uid)), None))
        .map_err(|source| Error::Os { doing: format!("give {} to user {uid}", path.display()), source })
}
