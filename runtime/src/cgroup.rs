//! A container's control group: what the kernel counts, limits, freezes and kills together.
//!
//! On v1 a group is one directory in each hierarchy, on v2 it is one directory. Life of a group:
//!
//! ```text
//!  locate ──▶ make ──▶ (clone3 into directory(), or) join ──▶ set, freeze, kill, stats … ──▶ delete
//!  where it   mkdir,   the first process; its children        while it lives                rmdir, with what the
//!  will be    limits   are born inside                                                      container made below
//! ```
//!
//! Every limit is written before a process is inside, so none is ever without it. A limit that the host cannot set
//! is an error that names the file. cgroups(7), runtime-spec config-linux.md#control-groups.

mod devices;
mod file;
mod filter;
mod layout;
mod processes;
mod shared;
mod stats;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use rbox_explain::{Row, step};
use serde::{Deserialize, Serialize};

use self::devices::Policy;
use self::file::{Pen, Purpose};
use self::layout::Mount;
use crate::sys;

pub use self::devices::default_rules;
pub use self::layout::Layout;
pub use self::stats::{BlockIo, Cpu, Memory, Pids, Stats};

static DEVICE_FILTER: Row = Row {
    key: "cgroup-devices",
    why: "cgroup v2 has no file for device rules: a small program in the kernel is asked at every open and mknod",
    see: "bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE",
};

/// What can go wrong with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Spec asks for something that makes no sense, or that this host's cgroups do not have.
    #[error("{path}: {why}")]
    InvalidSpec {
        /// The place in config.json, as `linux.resources.memory.swap`.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A limit that the kernel refused.
    #[error("cannot set {file} to {value} in {}: {}", directory.display(), cause(*source))]
    Set {
        /// The control file.
        file: String,
        /// What was written to it.
        value: String,
        /// The group's directory.
        directory: PathBuf,
        /// The kernel's answer; ENOENT where the controller is not enabled or the kernel is too old for the file.
        source: Errno,
    },
    /// A limit of a controller that this host has not mounted.
    #[error("cannot set {file} to {value}: the cgroup controller {controller} is not mounted")]
    NotMounted {
        /// The control file.
        file: String,
        /// What should have been written to it.
        value: String,
        /// The missing controller.
        controller: String,
    },
    /// The directory is there and somebody lives in it.
    #[error("cannot use cgroup {}: process {pid} is in it", directory.display())]
    Inhabited {
        /// The group's directory.
        directory: PathBuf,
        /// One of the processes.
        pid: i32,
    },
    /// No cgroup file system is mounted.
    #[error("cannot find cgroups: no cgroup file system is mounted")]
    NoHierarchy,
    /// Any other request that the kernel refused.
    #[error("cannot {doing}: {}", cause(*source))]
    Os {
        /// Verb and object.
        doing: String,
        /// The kernel's answer.
        source: Errno,
    },
}

/// The kernel's reason in the words of a message: lower case.
fn cause(errno: Errno) -> String {
    let text = errno.desc();
    // "I/O error" keeps its capitals, "Invalid argument" does not.
    if text.starts_with("I/O") { text.to_owned() } else { text.to_lowercase() }
}

fn invalid(field: &str, why: &str) -> Error {
    Error::InvalidSpec { path: format!("linux.resources.{field}"), why: why.to_owned() }
}

/// One value for one control file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    controller: Cow<'static, str>,
    file: Cow<'static, str>,
    value: String,
    /// Nothing is lost where the file is missing.
    optional: bool,
    /// The file that other kernels have in its place, with the value as that one takes it.
    instead: Option<(&'static str, String)>,
}

impl Setting {
    fn new(
        controller: impl Into<Cow<'static, str>>,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
    ) -> Setting {
        let (controller, file, value) = (controller.into(), file.into(), value.to_string());
        Setting { controller, file, value, optional: false, instead: None }
    }

    fn optional(self) -> Setting {
        Setting { optional: true, ..self }
    }

    fn or(self, file: &'static str) -> Setting {
        let value = self.value.clone();
        self.or_converted(file, value)
    }

    fn or_converted(self, file: &'static str, value: String) -> Setting {
        Setting { instead: Some((file, value)), ..self }
    }
}

/// A container's control group, as it is kept in the state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    layout: Layout,
    hierarchies: Vec<Hierarchy>,
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

/// What the container's own /sys/fs/cgroup shows of one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The name of the directory below /sys/fs/cgroup; empty on v2, where the group is /sys/fs/cgroup itself.
    pub name: String,
    /// The container's directory on the host, for a bind mount.
    pub path: PathBuf,
    /// The file system's name, `cgroup` or `cgroup2`, for a mount of its own in a new cgroup namespace.
    pub file_system: &'static str,
    /// The mount's options for that, as `cpu,cpuacct` or `none,name=systemd`.
    pub options: String,
    /// Links to make beside it: `cpu` and `cpuacct` for `cpu,cpuacct`.
    pub links: Vec<String>,
}

impl Cgroup {
    /// Say where the group of `cgroups_path` is on this host, without touching it: an absolute path from the top of
    /// each hierarchy, a relative one below our own group, as runc takes `linux.cgroupsPath`.
    ///
    /// # Errors
    /// `NoHierarchy` where no cgroup file system is mounted; `Os` if /proc cannot be read.
    pub fn locate(cgroups_path: &Path) -> Result<Cgroup, Error> {
        let (layout, mounts) = layout::mounts()?;
        let own = if cgroups_path.is_relative() { Some(layout::own_cgroups()?) } else { None };
        let hierarchies = mounts
            .into_iter()
            .map(|mount| {
                let path = mount.directory_of(cgroups_path, own.as_deref());
                let Mount { controllers, point, .. } = mount;
                Hierarchy { controllers, mount: point, path }
            })
            .collect();
        Ok(Cgroup { layout, hierarchies })
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

    /// Make the group in every hierarchy and set its limits. If that fails, what was made is removed again.
    ///
    /// # Errors
    /// `Inhabited` if the group exists and holds processes; `InvalidSpec`, `Set` and `NotMounted` for a limit.
    pub fn make(&self, resources: Option<&LinuxResources>) -> Result<(), Error> {
        let mut made = Vec::with_capacity(self.hierarchies.len());
        let outcome = self.make_directories(&mut made).and_then(|()| match resources {
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

    fn make_directories<'a>(&'a self, made: &mut Vec<&'a Path>) -> Result<(), Error> {
        for hierarchy in &self.hierarchies {
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

    /// Change the limits that `resources` names; the others stay as they are.
    ///
    /// # Errors
    /// `InvalidSpec`, `Set` and `NotMounted` for a limit; those before it are set.
    pub fn set(&self, resources: &LinuxResources) -> Result<(), Error> {
        self.check_memory_use(resources)?;
        self.apply(resources, false)
    }

    fn set_fresh(&self, resources: &LinuxResources) -> Result<(), Error> {
        self.apply(resources, true)
    }

    fn apply(&self, resources: &LinuxResources, fresh: bool) -> Result<(), Error> {
        let settings = match self.layout {
            Layout::V1 | Layout::Hybrid => v1::settings(resources)?,
            Layout::V2 => v2::settings(resources)?,
        };
        let mut pen = Pen::default();
        let mut refused = Vec::new();
        for setting in &settings {
            match self.write(&mut pen, setting) {
                // It may contradict a value that one of the next lines replaces.
                Err(Error::Set { source: Errno::EINVAL, .. }) => refused.push(setting),
                outcome => outcome?,
            }
        }
        for setting in refused {
            self.write(&mut pen, setting)?;
        }
        match (self.layout, resources.devices()) {
            (Layout::V2, Some(rules)) => self.filter_devices(rules, fresh),
            _ => Ok(()),
        }
    }

    fn write(&self, pen: &mut Pen, setting: &Setting) -> Result<(), Error> {
        let Some(hierarchy) = self.hierarchy_of(&setting.controller) else {
            return match setting.optional {
                true => Ok(()),
                false => Err(Error::NotMounted {
                    file: setting.file.to_string(),
                    value: setting.value.clone(),
                    controller: setting.controller.to_string(),
                }),
            };
        };
        let mut outcome = pen.write(Purpose::Set, &hierarchy.path.join(&*setting.file), &setting.value);
        if let (Err(Errno::ENOENT), Some((file, value))) = (outcome, &setting.instead) {
            outcome = pen.write(Purpose::Set, &hierarchy.path.join(file), value);
        }
        match outcome {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) if setting.optional => Ok(()),
            Err(source) => Err(Error::Set {
                file: setting.file.to_string(),
                value: setting.value.clone(),
                directory: hierarchy.path.clone(),
                source,
            }),
        }
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

    /// v1 refuses a limit below what is in use; v2 would kill for it, unless the Spec asks to check first.
    fn check_memory_use(&self, resources: &LinuxResources) -> Result<(), Error> {
        let Some(memory) = resources.memory().filter(|memory| memory.check_before_update() == Some(true)) else {
            return Ok(());
        };
        let (Layout::V2, Some(group), Some(limit @ 1..)) = (self.layout, self.unified(), memory.limit()) else {
            return Ok(());
        };
        let used: i64 = file::must_read(&group.path.join("memory.current"))?.trim().parse().unwrap_or(0);
        if limit < used {
            return Err(invalid("memory.limit", &format!("{limit} is less than the {used} bytes in use")));
        }
        Ok(())
    }

    /// Let the kernel ask a filter made of `rules`. A fresh group has none; else it takes the place of the one there.
    fn filter_devices(&self, rules: &[LinuxDeviceCgroup], fresh: bool) -> Result<(), Error> {
        let Some(group) = self.unified() else { return Ok(()) };
        let policy = Policy::of(rules)?;
        if fresh && policy.allows_everything() {
            return Ok(());
        }
        let directory = file::directory(&group.path)?;
        step(
            &DEVICE_FILTER,
            || format!("bpf(BPF_PROG_ATTACH, {}) with {} exceptions", group.path.display(), policy.exceptions.len()),
            || attach(&directory, &policy, fresh),
        )
        .map_err(|error| Error::Os {
            doing: format!("set the device filter of {}", group.path.display()),
            source: Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO)),
        })
    }

    /// Put the process into the group. On v1 the first write waits for the kernel's other CPUs, about 1 ms: call it
    /// while the process has other things to do.
    ///
    /// # Errors
    /// `Os`: the group or the process is gone, a limit on the number of processes is reached.
    pub fn join(&self, pid: i32, born: Born) -> Result<(), Error> {
        let pid = pid.to_string();
        for hierarchy in &self.hierarchies {
            if hierarchy.is_unified() && born == Born::Inside {
                continue;
            }
            let procs = hierarchy.path.join("cgroup.procs");
            file::write(Purpose::Join, &procs, &pid).map_err(|source| Error::Os {
                doing: format!("put process {pid} into cgroup {}", hierarchy.path.display()),
                source,
            })?;
        }
        Ok(())
    }

    /// A handle on the unified hierarchy's directory, for clone3's CLONE_INTO_CGROUP; `None` on v1 alone.
    ///
    /// # Errors
    /// `Os` if the group is gone.
    pub fn directory(&self) -> Result<Option<OwnedFd>, Error> {
        self.unified().map(|group| file::directory(&group.path)).transpose()
    }

    /// Remove the group and what the container made below it. Gone already is success.
    ///
    /// # Errors
    /// `Os` with EBUSY if processes are still in it after a tenth of a second.
    pub fn delete(&self) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_millis(100);
        let mut first = None;
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

    /// What a container's /sys/fs/cgroup is to show: on v1 and hybrid each v1 hierarchy in a tmpfs, on v2 the one.
    pub fn views(&self) -> Vec<View> {
        if self.layout == Layout::V2 {
            let view = |group: &Hierarchy| View {
                name: String::new(),
                path: group.path.clone(),
                file_system: "cgroup2",
                options: String::new(),
                links: Vec::new(),
            };
            return self.unified().map(view).into_iter().collect();
        }
        self.hierarchies.iter().filter(|hierarchy| !hierarchy.is_unified()).map(view_of_v1).collect()
    }

    /// Whether limits on memory and swap together can be set: the kernel counts swap for each group.
    pub fn counts_swap(&self) -> bool {
        let file = if self.layout == Layout::V2 { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
        self.hierarchy_of("memory").is_some_and(|group| file::exists(&group.path.join(file)))
    }
}

fn view_of_v1(hierarchy: &Hierarchy) -> View {
    let name = hierarchy.mount.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let options = match hierarchy.controllers.as_slice() {
        [only] if only.starts_with("name=") => format!("none,{only}"),
        controllers => controllers.join(","),
    };
    let links = match hierarchy.controllers.as_slice() {
        [_] => Vec::new(),
        controllers => controllers.iter().filter(|controller| **controller != name).cloned().collect(),
    };
    View { name, path: hierarchy.path.clone(), file_system: "cgroup", options, links }
}

/// Make the group's directory, and those above it where they are missing. False if it was there, and empty.
fn make_directory(hierarchy: &Hierarchy) -> Result<bool, Error> {
    let path = hierarchy.path.as_path();
    let failed = |path: &Path, source| Error::Os { doing: format!("create cgroup {}", path.display()), source };
    match file::make(path) {
        Ok(()) => return Ok(true),
        Err(Errno::EEXIST) => return refuse_inhabited(path).map(|()| false),
        Err(Errno::ENOENT) => {}
        Err(source) => return Err(failed(path, source)),
    }
    let mut above: Vec<_> = path.ancestors().skip(1).take_while(|above| *above != hierarchy.mount).collect();
    above.reverse();
    for directory in above {
        match file::make(directory) {
            Ok(()) if hierarchy.has("cpuset") => {
                fill_cpuset(&hierarchy.mount, directory)?;
                // So that the kernel fills the next ones itself: one write here saves four requests for each container.
                let inherit = directory.join("cgroup.clone_children");
                file::write(Purpose::Set, &inherit, "1").map_err(|source| failed(directory, source))?;
            }
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(source) => return Err(failed(directory, source)),
        }
    }
    file::make(path).map(|()| true).map_err(|source| failed(path, source))
}

fn refuse_inhabited(path: &Path) -> Result<(), Error> {
    let text = file::must_read(&path.join("cgroup.procs"))?;
    match text.lines().next().and_then(|line| line.parse().ok()) {
        Some(pid) => Err(Error::Inhabited { directory: path.to_owned(), pid }),
        None => Ok(()),
    }
}

/// A fresh cpuset of v1 is empty, and no process can join it: give it what the one above has.
fn fill_cpuset(mount: &Path, path: &Path) -> Result<(), Error> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let ours = path.join(name);
        if !file::must_read(&ours)?.trim().is_empty() {
            // The kernel has filled both, or neither.
            return Ok(());
        }
        let Some(parent) = path.parent().filter(|_| path != mount) else { return Ok(()) };
        let mut theirs = file::must_read(&parent.join(name))?;
        if theirs.trim().is_empty() {
            fill_cpuset(mount, parent)?;
            theirs = file::must_read(&parent.join(name))?;
        }
        let value = theirs.trim();
        file::write(Purpose::Set, &ours, value).map_err(|source| Error::Set {
            file: name.to_owned(),
            value: value.to_owned(),
            directory: path.to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// Hand every controller that the host has down to the group, through each directory on the way.
///
/// A directory that refuses (it holds processes) is not an error here: the limit that then has no file is.
fn enable_controllers(mount: &Path, path: &Path) -> Result<(), Error> {
    let host = file::must_read(&mount.join("cgroup.controllers"))?;
    let ours = file::must_read(&path.join("cgroup.controllers"))?;
    let missing: Vec<_> =
        host.split_whitespace().filter(|name| !ours.split_whitespace().any(|ours| ours == *name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let all = missing.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    let mut above: Vec<_> = path.ancestors().skip(1).take_while(|above| above.starts_with(mount)).collect();
    above.reverse();
    for directory in above {
        let control = directory.join("cgroup.subtree_control");
        if file::write(Purpose::Set, &control, &all).is_err() {
            // All or nothing is the file's rule: take what can be had.
            for name in &missing {
                let _ = file::write(Purpose::Set, &control, &format!("+{name}"));
            }
        }
    }
    Ok(())
}

/// Remove a group, those below it first. Processes that are ending keep it busy for a moment.
fn remove_tree(path: &Path, deadline: Instant) -> Result<(), Error> {
    let mut pause = Duration::from_micros(100);
    loop {
        match file::remove(path) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY) => {}
            Err(source) => return Err(Error::Os { doing: format!("remove cgroup {}", path.display()), source }),
        }
        for child in file::children(path).unwrap_or_default() {
            remove_tree(&child, deadline)?;
        }
        if Instant::now() >= deadline {
            let doing = format!("remove cgroup {}", path.display());
            return Err(Error::Os { doing, source: Errno::EBUSY });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn attach(directory: &OwnedFd, policy: &Policy, fresh: bool) -> io::Result<()> {
    let new = sys::bpf::load_device_filter(&filter::program(policy))?;
    let old = if fresh { Vec::new() } else { sys::bpf::device_filters(directory.as_fd())? };
    let old = old.into_iter().map(sys::bpf::program_of).collect::<io::Result<Vec<_>>>()?;
    if let [only] = old.as_slice()
        && sys::bpf::attach_device_filter(directory.as_fd(), new.as_fd(), Some(only.as_fd())).is_ok()
    {
        return Ok(());
    }
    // Several, or a kernel that cannot replace: all that are attached are asked, so the new one goes first and at no
    // moment is a device free that both refuse.
    sys::bpf::attach_device_filter(directory.as_fd(), new.as_fd(), None)?;
    old.iter().try_for_each(|old| sys::bpf::detach_device_filter(directory.as_fd(), old.as_fd()))
}
