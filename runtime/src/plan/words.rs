//! What a `(step, index)` of the child means, in words: the request as strace or ip would write it, and the "cannot …".

use super::{Device, Mount, Plan, Process, Source, Tree, text};
use crate::steps::Step;
use crate::sys::mount::Attributes;

/// One step of the child in words.
pub(crate) struct Words {
    /// `move_mount(proc, "/proc")`, for `--explain`.
    pub(crate) request: String,
    /// `mount proc on /proc`, for "cannot …".
    pub(crate) doing: String,
}

fn words(request: impl Into<String>, doing: impl Into<String>) -> Words {
    Words { request: request.into(), doing: doing.into() }
}

impl Plan {
    /// Say what the child's step `step` with number `index` is.
    pub(crate) fn words(&self, step: Step, index: usize) -> Words {
        self.tree_words(step, index)
            .or_else(|| self.process.words(step, index))
            .or_else(|| self.usher_words(step))
            .unwrap_or_else(|| self.own_words(step, index))
    }

    fn tree_words(&self, step: Step, index: usize) -> Option<Words> {
        let tree = self.tree.as_ref()?;
        let mount = tree.mounts.get(index);
        let at = |place: Option<&super::Place>| place.map_or_else(String::new, super::Place::text);
        Some(match step {
            Step::NewFilesystem => filesystem_words(tree, index),
            Step::Null => words("open_tree(\"/dev/null\", OPEN_TREE_CLONE)", "copy the host's /dev/null to hide files"),
            Step::CgroupCopy | Step::CgroupFlags => return cgroup_words(step, mount?),
            Step::Target => {
                let target = at(mount.map(|mount| &mount.place));
                words(format!("openat2({target:?}, O_PATH)"), format!("find the mount point {target}"))
            }
            Step::Attach => match mount {
                Some(mount) => mount_words(mount),
                None => words("move_mount", "mount"),
            },
            Step::DeviceDirectory => words("openat2(\"/dev\", O_PATH)", "open /dev"),
            Step::Device => device_words(tree.devices.get(index)?),
            Step::DeviceLink => {
                let (name, target) = tree.device_links.get(index)?;
                words(
                    format!("symlink({:?}, \"/dev/{}\")", text(target), text(name)),
                    format!("make the link /dev/{}", text(name)),
                )
            }
            Step::Mask | Step::MaskCopy | Step::ReadonlyCopy | Step::ReadonlyFlags | Step::ReadonlyPath => {
                return shield_words(tree, step, index);
            }
            Step::AttachLink => {
                let target = at(mount.map(|mount| &mount.place));
                words(format!("symlink in {target}"), format!("make the links in {target}"))
            }
            Step::InodeVersions => {
                let said = &mount?.said;
                words(
                    format!("mount({:?}, MS_REMOUNT, {:?})", said.target, said.options),
                    format!("set options {} of {}", said.options, said.target),
                )
            }
            Step::AttachPropagation => {
                let target = at(mount.map(|mount| &mount.place));
                words(format!("mount_setattr({target:?}, propagation)"), format!("set the propagation of {target}"))
            }
            Step::ReadonlyMount => match mount {
                Some(mount) => words(
                    format!("mount_setattr({:?}, MOUNT_ATTR_RDONLY)", mount.said.target),
                    format!("make {} read-only", mount.said.target),
                ),
                None => words("mount_setattr(\"/\", MOUNT_ATTR_RDONLY)", "make the root file system read-only"),
            },
            _ => return None,
        })
    }

    fn usher_words(&self, step: Step) -> Option<Words> {
        Some(match step {
            Step::UserNamespace => words("unshare(CLONE_NEWUSER)", "make a user namespace"),
            Step::AwaitMaps => words("read(channel)", "hear that the users are mapped"),
            Step::RootInside => words("setresgid(0), setresuid(0)", "become root in the user namespace"),
            Step::TimeNamespace => words("unshare(CLONE_NEWTIME)", "make a time namespace"),
            Step::TimeOffsets => {
                let offsets = self.usher.as_ref().and_then(|usher| usher.time_offsets.as_ref());
                let offsets = offsets.map_or_else(String::new, |offsets| text(offsets));
                words(format!("echo {offsets:?} > /proc/self/timens_offsets"), "set the offsets of the clocks")
            }
            Step::Birth => words("clone3(CLONE_PARENT)", "make namespaces"),
            _ => return None,
        })
    }

    fn own_words(&self, step: Step, index: usize) -> Words {
        let name = |name: &Option<std::ffi::CString>| name.as_ref().map_or_else(String::new, |name| text(name));
        match step {
            Step::Join => {
                let path = self.joins.get(index).map_or("", |join| join.path.as_str());
                words(format!("setns({path:?})"), format!("join namespace {path}"))
            }
            Step::JoinCgroup => {
                let path = self.doors.get(index).map_or_else(|| "tasks".to_owned(), |door| text(&door.path));
                words(format!("echo 0 > {path}"), format!("join the control group of {path}"))
            }
            Step::NetworkNamespace => words("unshare(CLONE_NEWNET)", "make a network namespace"),
            Step::AwaitCgroups => words("read(channel)", "hear that the control groups are made"),
            Step::CgroupNamespace => words("unshare(CLONE_NEWCGROUP)", "make a cgroup namespace"),
            Step::Propagation if index == 0 => words("mount(\"/\", MS_SLAVE | MS_REC)", "make the mounts private"),
            Step::Propagation => {
                words("mount(\"/\", propagation of the root)", "set the propagation of the root file system")
            }
            Step::Loopback => words("ioctl(SIOCSIFFLAGS, lo, IFF_UP)", "bring lo up"),
            Step::RootAttach => words("move_mount(root, \"/\")", "mount the root file system"),
            Step::Unmount => {
                let places = self.tree.as_ref().and_then(|tree| tree.without_pivot.as_ref());
                let place = places.and_then(|places| places.get(index)).map_or_else(String::new, |place| text(place));
                words(format!("umount2({place:?}, MNT_DETACH)"), format!("unmount the host's {place}"))
            }
            Step::ChangeRoot => words("chroot(\".\")", "make the new root file system /"),
            Step::Stage => {
                let place = text(&self.hooks.root_place);
                words(format!("move_mount(root, {place:?}), chroot"), format!("mount the root file system on {place}"))
            }
            Step::LeaveStage => words("chroot(host)", "go back to the host's tree"),
            Step::Hooks => words("read(channel)", "hear that the hooks have run"),
            Step::CreateContainerHook | Step::StartContainerHook => {
                let list = self.hooks.of_step(step).map(|(_, list)| list);
                let path =
                    list.and_then(|list| list.hooks.get(index)).map_or_else(String::new, |hook| text(&hook.path));
                words(format!("execve({path:?})"), format!("run the hook {path}"))
            }
            Step::PivotRoot => words("pivot_root(\".\", \".\")", "make the new root file system /"),
            Step::DetachOldRoot => words("umount2(\".\", MNT_DETACH)", "let go of the old root file system"),
            Step::Console => words("openat2(\"/dev/pts/ptmx\")", "make a terminal"),
            Step::ConsoleCopy => words("open_tree(terminal, OPEN_TREE_CLONE)", "copy the terminal's mount"),
            Step::ConsoleMount => words("move_mount(terminal, \"/dev/console\")", "mount /dev/console"),
            Step::Sysctl => {
                let (path, value) =
                    self.sysctls.get(index).map_or_else(Default::default, |one| (text(&one.path), text(&one.value)));
                words(format!("echo {value:?} > /proc/{path}"), format!("set /proc/{path} to {value}"))
            }
            Step::Hostname => words(format!("sethostname({:?})", name(&self.hostname)), "set the host name"),
            Step::Domainname => words(format!("setdomainname({:?})", name(&self.domainname)), "set the domain name"),
            other => words(other.row().key, format!("do the step {}", other.row().key)),
        }
    }
}

impl Process {
    /// Say what a step of becoming the program is; nothing for the others.
    pub(crate) fn words(&self, step: Step, index: usize) -> Option<Words> {
        self.own_words(step, index).or_else(|| self.scheduling_words(step, index))
    }

    fn own_words(&self, step: Step, index: usize) -> Option<Words> {
        let process = self;
        let program = &process.program;
        Some(match step {
            Step::WorkingDirectory => words(
                format!("chdir({:?})", process.cwd.text()),
                format!("change to the working directory {}", process.cwd.text()),
            ),
            Step::FindProgram => words(format!("faccessat({program:?}, X_OK)"), format!("execute {program}")),
            Step::Execute => words(format!("execve({program:?})"), format!("execute {program}")),
            Step::Umask => words(format!("umask({:04o})", process.umask.unwrap_or(0)), "set the umask"),
            Step::Rlimit => {
                let (_, soft, hard, name) = process.rlimits.get(index)?;
                words(format!("prlimit({name}, {soft}:{hard})"), format!("set {name} to {soft}:{hard}"))
            }
            Step::LabelFile | Step::Label => {
                let label = process.labels.get(index)?;
                let (file, text) = (text(&label.file), text(&label.text));
                // AppArmor's verb is for the kernel; the object has the name that the user typed.
                let name = text.strip_prefix("exec ").unwrap_or(&text);
                words(format!("echo {text:?} > /proc/self/{file}"), format!("set the {} {name}", label.kind))
            }
            Step::Groups => {
                let groups = process.groups.as_deref().unwrap_or_default();
                words(format!("setgroups({groups:?})"), "set the groups")
            }
            Step::GroupId => words(format!("setresgid({})", process.gid), format!("become group {}", process.gid)),
            Step::UserId => words(format!("setresuid({})", process.uid), format!("become user {}", process.uid)),
            Step::Bounding => words(
                format!("prctl(PR_CAPBSET_DROP) down to {} capabilities", process.capabilities.bounding.count_ones()),
                "drop capabilities from the bounding set",
            ),
            Step::Capabilities => words(
                format!(
                    "capset(effective={:#x}, permitted={:#x})",
                    process.capabilities.effective, process.capabilities.permitted
                ),
                "set the capabilities",
            ),
            Step::Ambient => words(
                format!("prctl(PR_CAP_AMBIENT, {:#x})", process.capabilities.ambient),
                "set the ambient capabilities",
            ),
            Step::Seccomp => {
                let instructions = process.seccomp.as_ref().map_or(0, |filter| filter.program.len() / 8);
                words(
                    format!("seccomp(SECCOMP_SET_MODE_FILTER, {instructions} instructions)"),
                    "load the seccomp filter",
                )
            }
            Step::Listener => words("write(channel), read(channel)", "hand over the seccomp listener"),
            Step::Stdio => words(format!("dup3({index})"), format!("set up descriptor {index}")),
            Step::Keyring => words("keyctl(JOIN_SESSION_KEYRING)", "join a session keyring"),
            _ => return None,
        })
    }

    fn scheduling_words(&self, step: Step, index: usize) -> Option<Words> {
        let wish = &self.scheduling;
        Some(match step {
            Step::Affinity => {
                let mask = wish.affinity.get(index)?.as_ref()?;
                words(format!("sched_setaffinity({mask:x?})"), "set the processors of execCPUAffinity")
            }
            Step::Scheduler => words(format!("sched_setattr({:?})", wish.scheduler?), "set the scheduler"),
            Step::IoPriority => {
                words(format!("ioprio_set({:#x})", wish.io_priority?), "set the priority of input and output")
            }
            Step::MemoryPolicy => {
                let (mode, nodes) = wish.memory_policy.as_ref()?;
                words(format!("set_mempolicy({mode:#x}, {nodes:x?})"), "set the memory policy")
            }
            Step::Personality => words(format!("personality({:#x})", wish.personality?), "set the personality"),
            _ => return None,
        })
    }
}

fn cgroup_words(step: Step, mount: &Mount) -> Option<Words> {
    let Source::Cgroup { directory, attributes, .. } = &mount.source else { return None };
    let directory = text(directory);
    Some(match step {
        Step::CgroupCopy => {
            words(format!("open_tree({directory:?}, OPEN_TREE_CLONE)"), format!("copy the control group {directory}"))
        }
        _ => {
            let change = Attributes { set: *attributes, propagation: libc::MS_PRIVATE, ..Attributes::default() };
            let request = format!("mount_setattr({directory}, {})", self::attributes(&change));
            words(request, format!("set options {} of the mount of {directory}", mount.said.options))
        }
    })
}

/// Masked and read-only paths.
fn shield_words(tree: &Tree, step: Step, index: usize) -> Option<Words> {
    let path = match step {
        Step::Mask | Step::MaskCopy => tree.masked.get(index)?.text(),
        _ => tree.readonly_paths.get(index)?.text(),
    };
    let hide = format!("hide {path}");
    let protect = format!("make {path} read-only");
    Some(match step {
        Step::MaskCopy => words("open_tree(/dev/null or an empty directory, OPEN_TREE_CLONE)", hide),
        Step::Mask => words(format!("move_mount(/dev/null or an empty directory, {path:?})"), hide),
        Step::ReadonlyCopy => words(format!("open_tree({path:?}, OPEN_TREE_CLONE | AT_RECURSIVE)"), protect),
        Step::ReadonlyFlags => words(format!("mount_setattr({path:?}, AT_RECURSIVE, set MOUNT_ATTR_RDONLY)"), protect),
        _ => words(format!("move_mount({path:?}, {path:?})"), protect),
    })
}

fn filesystem_words(tree: &Tree, index: usize) -> Words {
    match tree.mounts.get(index) {
        Some(Mount { said, .. }) => words(
            format!("fsmount({}, {:?})", said.kind, said.options),
            format!("make a {} for {}", said.kind, said.target),
        ),
        None if index == tree.mounts.len() => words("fsmount(proc)", "make a proc for kernel settings"),
        None => words("fsmount(tmpfs, \"ro\")", "make an empty directory to hide others with"),
    }
}

fn device_words(device: &Device) -> Words {
    let (path, number) = (device.place.text(), device.number);
    let kind = match device.mode & libc::S_IFMT {
        libc::S_IFBLK => "b",
        libc::S_IFIFO => "p",
        _ => "c",
    };
    let mode = device.mode & 0o7777;
    words(
        format!("mknod -m {mode:o} {path} {kind} {} {}", libc::major(number), libc::minor(number)),
        format!("make device {path}"),
    )
}

fn mount_words(mount: &Mount) -> Words {
    let said = &mount.said;
    let object = if said.kind == "bind" { &said.source } else { &said.kind };
    let request = match &mount.source {
        Source::Remount { options, this, all } => {
            let all = Attributes { set: this.set | all.set, clear: this.clear | all.clear, ..Attributes::default() };
            let words = attributes(&all);
            match options.is_empty() {
                true => format!("mount_setattr({:?}, {words})", said.target),
                false => format!("fspick({:?}), fsconfig({}), mount_setattr({words})", said.target, said.options),
            }
        }
        _ => format!("move_mount({object}, {:?})", said.target),
    };
    words(request, format!("mount {object} on {}", said.target))
}

/// `MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID, MS_PRIVATE`: a change in the words of strace.
pub(crate) fn attributes(change: &Attributes) -> String {
    let names = [
        (libc::MOUNT_ATTR_RDONLY, "RDONLY"),
        (libc::MOUNT_ATTR_NOSUID, "NOSUID"),
        (libc::MOUNT_ATTR_NODEV, "NODEV"),
        (libc::MOUNT_ATTR_NOEXEC, "NOEXEC"),
        (libc::MOUNT_ATTR_NOATIME, "NOATIME"),
        (libc::MOUNT_ATTR_STRICTATIME, "STRICTATIME"),
        (libc::MOUNT_ATTR_NODIRATIME, "NODIRATIME"),
        (libc::MOUNT_ATTR_NOSYMFOLLOW, "NOSYMFOLLOW"),
        (libc::MOUNT_ATTR_IDMAP, "IDMAP"),
    ];
    let list = |mask: u64| {
        let there = names.iter().filter(|(bit, _)| mask & bit != 0);
        there.map(|(_, name)| format!("MOUNT_ATTR_{name}")).collect::<Vec<_>>().join("|")
    };
    let propagation = [
        (libc::MS_PRIVATE, "MS_PRIVATE"),
        (libc::MS_SLAVE, "MS_SLAVE"),
        (libc::MS_SHARED, "MS_SHARED"),
        (libc::MS_UNBINDABLE, "MS_UNBINDABLE"),
    ];
    let mut parts = Vec::new();
    if change.set != 0 {
        parts.push(format!("set {}", list(change.set)));
    }
    if change.clear != 0 {
        parts.push(format!("clear {}", list(change.clear)));
    }
    parts.extend(propagation.iter().filter(|(bit, _)| change.propagation == *bit).map(|(_, name)| (*name).to_owned()));
    parts.join(", ")
}
