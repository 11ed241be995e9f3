//! Whether a group that was read from a file can be one of ours: whoever deletes or kills by it must not reach elsewhere.

use std::path::{Component, Path};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

use super::{Cgroup, Layout};

impl Cgroup {
    /// Why it cannot be a container's group; nothing if it can.
    pub(crate) fn oddity(&self) -> Option<String> {
        let has_unified = self.unified().is_some();
        let fits = match self.layout {
            Layout::V1 => !has_unified,
            _ if self.partial && self.hierarchies.is_empty() => true,
            Layout::Hybrid => has_unified || self.partial,
            Layout::V2 => has_unified && self.hierarchies.len() == 1,
        };
        if !fits {
            return Some("the hierarchies are not those of the layout".to_owned());
        }
        let odd = self.hierarchies.iter().find(|one| !is_below(&one.path, &one.mount) || !is_cgroup(&one.mount))?;
        Some(format!("{} is no cgroup of a container", odd.path.display()))
    }
}

/// Truly below, by its words.
fn is_below(path: &Path, mount: &Path) -> bool {
    let plain = |path: &Path| path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    mount.is_absolute() && plain(mount) && plain(path) && path.starts_with(mount) && path != mount
}

/// What is not mounted any more can do no harm, and its container is to be deleted all the same.
fn is_cgroup(mount: &Path) -> bool {
    statfs(mount).map_or(true, |found| [CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC].contains(&found.filesystem_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_below_its_mount_and_not_it() {
        let below = |path, mount| is_below(Path::new(path), Path::new(mount));
        assert!(below("/sys/fs/cgroup/a", "/sys/fs/cgroup"));
        for path in ["/sys/fs/cgroup", "/sys/fs/cgroup/a/../..", "/etc", "a", ""] {
            assert!(!below(path, "/sys/fs/cgroup"), "{path}");
        }
        assert!(!below("a/b", "a"));
    }
}
