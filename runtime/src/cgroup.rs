//! A container's control group: what the kernel counts, limits, freezes and kills together.
//!
//! On v1 a group is one directory in each hierarchy, on v2 it is one directory. Life of a group:
//!
//! ```text
//!  locate ──▶ make_birthplace ──▶ clone3 into directory() ──▶ make_rest, doors() ──▶ set, freeze, stats … ──▶ delete
//!  where it   the unified one,    the first process is born   the first process      while it lives         rmdir,
//!  will be    whole on v2         inside                      enters the v1 ones                            all below
//! ```
//!
//! Every limit is written before a process goes in, so none is ever without it. A limit that the host cannot set
//! is an error that names the file. cgroups(7), runtime-spec config-linux.md#control-groups.

mod check;
mod complete;
mod counters;
mod delegate;
mod devices;
mod error;
mod file;
mod filter;
mod groups;
mod layout;
mod limits;
mod pressure;
mod processes;
mod shared;
mod stats;
mod systemd;
mod tree;
mod v1;
mod v2;
mod view;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use self::error::invalid;
use self::file::Purpose;
use self::layout::Mount;
use self::limits::Setting;
use self::tree::{enable_controllers, fill_cpuset, make_directory, remove_tree};

pub use self::counters::Counters;
pub use self::devices::default_rules;
pub use self::error::Error;
pub use self::groups::Groups;
pub use self::layout::Layout;
pub use self::pressure::OutOfMemory;
pub use self::stats::{BlockIo, Cpu, Memory, Pids, Stats};
pub(crate) use self::systemd::ANNOTATION_PREFIX;
pub use self::systemd::{Driver, Start, Unit};
pub use self::view::View;

/// A container's control group, as it is kept in the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    layout: Layout,
    hierarchies: Vec<Hierarchy>,
    /// Only some of them: an ordinary user's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// Which unit it is, where systemd makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
}

/// The group's part in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hierarchy {
    /// Empty for the unified hierarchy.
    controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The group's directory.
    path: PathBuf,
}

impl Hierarchy {
    fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// Where the process was born that is about to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Born {
    /// In its parent's cgroups.
    Outside,
    /// In [`Cgroup::directory`], by clone3's CLONE_INTO_CGROUP: only v1 hierarchies are left to join.
    Inside,
}

impl Cgroup {
    /// Say where the group of `cgroups_path` is on this host, without touching it: an absolute path from the top of
    /// each hierarchy, a relative one below our own group, as runc takes `linux.cgroupsPath`.
    ///
    /// # Errors
    /// `NoHierarchy` where no cgroup file system is mounted; `Os` if /proc cannot be read.
    pub fn locate(cgroups_path: &Path) -> Result<Cgroup, Error> {
        let (layout, mounts) = layout::mounts(cgroups_path.is_absolute())?;
        let own = if cgroups_path.is_relative() { Some(layout::own_cgroups()?) } else { None };
        let hierarchies = mounts
            .into_iter()
            .map(|mount| {
                let path = mount.directory_of(cgroups_path, own.as_deref());
                let Mount { controllers, point, .. } = mount;
                Hierarchy { controllers, mount: point, path }
            })
            .collect();
        Ok(Cgroup { layout, hierarchies, partial: false, unit: None })
    }

    /// The same group in the hierarchies alone in which we may make it: access(2) `W_OK` on what is there of its path.
    #[must_use]
    pub fn only_ours(mut self) -> Cgroup {
        let all = self.hierarchies.len();
        self.hierarchies.retain(|hierarchy| {
            let there = hierarchy.path.ancestors().find(|above| above.exists()).unwrap_or(&hierarchy.mount);
            file::may_write(there)
        });
        self.partial = self.hierarchies.len() < all;
        self
    }

    /// [`Cgroup::locate`], then [`Cgroup::make`].
    ///
    /// # Errors
    /// As those two.
    pub fn create(cgroups_path: &Path, resources: Option<&LinuxResources>) -> Result<Cgroup, Error> {
        let cgroup = Cgroup::locate(cgroups_path)?;
        cgroup.make(resources)?;
        Ok(cgroup)
    }

    /// Make what the first process is born into: the unified hierarchy's directory. On v2 that is the whole group.
    /// The other hierarchies can be made while that process is busy.
    ///
    /// # Errors
    /// As [`Cgroup::make`].
    pub fn make_birthplace(&self, resources: Option<&LinuxResources>) -> Result<(), Error> {
        match self.layout {
            Layout::V2 => self.make(resources),
            Layout::V1 | Layout::Hybrid => self.unified().map_or(Ok(()), |group| make_directory(group).map(drop)),
        }
    }

    /// Make what [`Cgroup::make_birthplace`] has left, and set its limits.
    ///
    /// # Errors
    /// As [`Cgroup::make`]; the caller removes the group.
    pub fn make_rest(&self, resources: Option<&LinuxResources>) -> Result<(), Error> {
        if self.layout == Layout::V2 {
            return Ok(());
        }
        let split = self.hierarchies.iter().filter(|hierarchy| !hierarchy.is_unified());
        self.make_directories(split, &mut Vec::new())?;
        resources.map_or(Ok(()), |resources| self.set_fresh(resources))
    }

    /// Make the group in every hierarchy and set its limits. If that fails, what was made is removed again.
    ///
    /// # Errors
    /// `Inhabited` if the group exists and holds processes; `InvalidSpec`, `Set` and `NotMounted` for a limit.
    pub fn make(&self, resources: Option<&LinuxResources>) -> Result<(), Error> {
        let mut made = Vec::with_capacity(self.hierarchies.len());
        let outcome = self.make_directories(self.hierarchies.iter(), &mut made).and_then(|()| match resources {
            Some(resources) => self.set_fresh(resources),
            None => Ok(()),
        });
        if outcome.is_err() {
            for directory in made {
                // The first error is the one to report; a fresh and empty directory can always be removed.
                let _ = file::remove(directory);
            }
        }
        outcome
    }

    fn make_directories<'a>(
        &'a self,
        hierarchies: impl Iterator<Item = &'a Hierarchy>,
        made: &mut Vec<&'a Path>,
    ) -> Result<(), Error> {
        for hierarchy in hierarchies {
            if make_directory(hierarchy)? {
                made.push(&hierarchy.path);
            }
            if hierarchy.has("cpuset") {
                fill_cpuset(&hierarchy.mount, &hierarchy.path)?;
            }
        }
        if self.layout == Layout::V2 {
            for hierarchy in &self.hierarchies {
                enable_controllers(&hierarchy.mount, &hierarchy.path)?;
            }
        }
        Ok(())
    }

    fn hierarchy_of(&self, controller: &str) -> Option<&Hierarchy> {
        match self.layout {
            Layout::V2 => self.hierarchies.first(),
            Layout::V1 | Layout::Hybrid => self.hierarchies.iter().find(|hierarchy| hierarchy.has(controller)),
        }
    }

    fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.is_unified())
    }

    /// Put another process into the group. On v1 the first write waits until every CPU has passed a quiet point (4 to
    /// 12 ms on a busy machine): a process that can enter by itself takes [`Cgroup::doors`].
    ///
    /// # Errors
    /// `Os`: the group or the process is gone, a limit on the number of processes is reached.
    pub fn join(&self, pid: i32, born: Born) -> Result<(), Error> {
        let pid = pid.to_string();
        let left = self.hierarchies.iter().filter(|hierarchy| !(hierarchy.is_unified() && born == Born::Inside));
        left.into_iter().try_for_each(|hierarchy| self.join_one(hierarchy, &pid))
    }

    fn join_one(&self, hierarchy: &Hierarchy, pid: &str) -> Result<(), Error> {
        let doing = || format!("put process {pid} into cgroup {}", hierarchy.path.display());
        file::write(Purpose::Join, &hierarchy.path.join("cgroup.procs"), pid)
            .map_err(|source| Error::Os { doing: doing(), source })
    }

    /// The `tasks` file of each v1 hierarchy: a process with one thread that writes `0` into each has entered, in 10 µs
    /// each. Moving oneself needs none of the locks that moving another takes (kernel 5.5, commit
    /// 9a3284fad42f, "cgroup: Optimize single thread migration"). With [`Cgroup::directory`] for the clone itself,
    /// the child is then in every hierarchy, before a cgroup namespace is made.
    pub fn doors(&self) -> impl Iterator<Item = PathBuf> {
        self.hierarchies
            .iter()
            .filter(|hierarchy| !hierarchy.is_unified())
            .map(|hierarchy| hierarchy.path.join("tasks"))
    }

    /// A handle on the unified hierarchy's directory, for clone3's CLONE_INTO_CGROUP; `None` on v1 alone.
    ///
    /// # Errors
    /// `Os` if the group is gone.
    pub fn directory(&self) -> Result<Option<OwnedFd>, Error> {
        self.unified().map(|group| file::directory(&group.path)).transpose()
    }

    /// The same for the group below this one where process `pid` is: a group that hands controllers down takes no process
    /// itself (cgroups(7), no internal processes), and an init like systemd has gone into one below. `None` when it is
    /// elsewhere.
    ///
    /// # Errors
    /// `Os` if the process or its group is gone.
    pub fn directory_of(&self, pid: i32) -> Result<Option<OwnedFd>, Error> {
        let Some(group) = self.unified() else { return Ok(None) };
        let text = file::must_read(Path::new(&format!("/proc/{pid}/cgroup")))?;
        // Not into whatever group it has been moved to: only below its own do the container's limits hold.
        let own = group.path.strip_prefix(&group.mount).unwrap_or(&group.path);
        layout::below(&text, own).map(|path| file::directory(&group.path.join(path))).transpose()
    }

    /// Remove the group and what the container made below it; its unit, where systemd made it. Gone already is success.
    ///
    /// # Errors
    /// `Os` with EBUSY if processes are still in it after a tenth of a second; `Systemd`.
    pub fn delete(&self) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_millis(100);
        let mut first = self.stop_unit(deadline).err();
        for hierarchy in self.hierarchies.iter().rev() {
            if let Err(error) = remove_tree(&hierarchy.path, deadline) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Remove the directories above the group as far as they are empty and not the top: what [`Cgroup::make`] makes
    /// on the way and leaves, as runc does. For taking an installation off a host, not for each container.
    pub fn prune(&self) {
        for hierarchy in &self.hierarchies {
            for above in hierarchy.path.ancestors().skip(1) {
                if above == hierarchy.mount || file::remove(above).is_err() {
                    break;
                }
            }
        }
    }

    /// Which generation this group lives in.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Controller and directory, as runc's state.json has them under `cgroup_paths`; the unified one has no name.
    pub fn paths(&self) -> BTreeMap<&str, &Path> {
        let mut paths = BTreeMap::new();
        for hierarchy in &self.hierarchies {
            for controller in &hierarchy.controllers {
                paths.insert(controller.as_str(), hierarchy.path.as_path());
            }
            if hierarchy.is_unified() {
                paths.insert("", hierarchy.path.as_path());
            }
        }
        paths
    }

    /// Whether limits on memory and swap together can be set: the kernel counts swap for each group.
    pub fn counts_swap(&self) -> bool {
        let file = if self.layout == Layout::V2 { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
        self.hierarchy_of("memory").is_some_and(|group| file::exists(&group.path.join(file)))
    }
}

/// What would be written for these limits, with either version.
#[cfg(test)]
pub(crate) fn understood(resources: &LinuxResources) -> [Result<usize, Error>; 2] {
    [v1::settings(resources).map(|settings| settings.len()), v2::settings(resources).map(|settings| settings.len())]
}
