// size: flat table
//! Every kind of request this library makes, once: its key and its reason. The same rows word `--explain` and the errors.

use rbox_explain::Row;

/// A step of the container's init, in the order of the story (`child/init.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs, reason = "each step's row says what it is")]
pub(crate) enum Step {
    Name,
    ParentDeath,
    Join,
    UserNamespace,
    AwaitMaps,
    RootInside,
    TimeNamespace,
    TimeOffsets,
    Birth,
    Session,
    JoinCgroup,
    CgroupNamespace,
    Propagation,
    NetworkNamespace,
    Loopback,
    NewFilesystem,
    Null,
    AwaitCgroups,
    CgroupCopy,
    CgroupFlags,
    RootAttach,
    PivotRoot,
    DetachOldRoot,
    Unmount,
    ChangeRoot,
    Stage,
    LeaveStage,
    Hooks,
    CreateContainerHook,
    Target,
    Attach,
    AttachLink,
    AttachPropagation,
    InodeVersions,
    DeviceDirectory,
    Device,
    DeviceLink,
    Console,
    ConsoleCopy,
    ConsoleMount,
    Sysctl,
    Hostname,
    Domainname,
    MaskCopy,
    Mask,
    ReadonlyCopy,
    ReadonlyFlags,
    ReadonlyPath,
    ReadonlyMount,
    Umask,
    WorkingDirectory,
    FindProgram,
    Gate,
    Keyring,
    Rlimit,
    LabelFile,
    Label,
    Affinity,
    Scheduler,
    IoPriority,
    MemoryPolicy,
    Personality,
    Stdio,
    Groups,
    GroupId,
    UserId,
    Bounding,
    Capabilities,
    Ambient,
    NoNewPrivs,
    Seccomp,
    Listener,
    CloseOnExec,
    StartContainerHook,
    Reaper,
    Execute,
    /// Not a failure: init stands before the gate.
    Created,
}

impl Step {
    /// The step of a number that came through the channel or the shared page.
    pub(crate) fn from_number(number: u16) -> Option<Step> {
        TABLE.get(usize::from(number)).map(|(step, _)| *step)
    }

    /// Why the step is made, and where it is written down.
    pub(crate) fn row(self) -> &'static Row {
        &TABLE[self as usize].1
    }
}

const fn row(key: &'static str, why: &'static str, see: &'static str) -> Row {
    Row { key, why, see }
}

static TABLE: [(Step, Row); 77] = [
    (Step::Name, row("name", "so that ps shows who is waiting here", "prctl(2) PR_SET_NAME")),
    (
        Step::ParentDeath,
        row(
            "pdeathsig",
            "if rbox dies before the container is whole, the half container dies with it",
            "prctl(2) PR_SET_PDEATHSIG",
        ),
    ),
    (Step::Join, row("setns", "share a namespace that exists already", "setns(2)")),
    (
        Step::UserNamespace,
        row("userns", "users and groups of its own: root inside is nobody outside", "user_namespaces(7)"),
    ),
    (Step::AwaitMaps, row("await", "rbox writes which users of the host are which inside", "user_namespaces(7)")),
    (Step::RootInside, row("root", "become the new namespace's root, which may do everything in it", "setresuid(2)")),
    (Step::TimeNamespace, row("timens", "clocks of its own since boot", "time_namespaces(7)")),
    (Step::TimeOffsets, row("timens", "by how much they differ, before anyone lives by them", "time_namespaces(7)")),
    (
        Step::Birth,
        row(
            "clone3",
            "the process that these namespaces are for; rbox's child and not the usher's",
            "clone(2) CLONE_PARENT",
        ),
    ),
    (
        Step::Session,
        row("setsid", "a session of its own: the host's terminal is not its controlling terminal", "setsid(2)"),
    ),
    (
        Step::JoinCgroup,
        row(
            "cgroup-join",
            "into its control groups, by its own hand: a parent that moves a child waits for every processor",
            "cgroups(7)",
        ),
    ),
    (Step::CgroupNamespace, row("cgroupns", "inside, its own control group is the top one", "cgroup_namespaces(7)")),
    (Step::Propagation, row("propagation", "mounts made here must not appear on the host", "mount_namespaces(7)")),
    (
        Step::NetworkNamespace,
        row(
            "netns",
            "interfaces, addresses, routes and rules of its own; made here and not by clone3, for it takes longest",
            "network_namespaces(7)",
        ),
    ),
    (Step::Loopback, row("lo", "a new network namespace has only lo, and it is down", "network_namespaces(7)")),
    (
        Step::NewFilesystem,
        row("fsmount", "a fresh file system of these new namespaces, attached nowhere so far", "fsmount(2)"),
    ),
    (
        Step::Null,
        row("open_tree", "the host's real /dev/null, to be laid over what the container must not read", "open_tree(2)"),
    ),
    (
        Step::AwaitCgroups,
        row("await", "rbox makes the control groups in the meantime, and writes down that we exist", "socketpair(2)"),
    ),
    (
        Step::CgroupCopy,
        row("open_tree", "the container's own part of a cgroup hierarchy, to be shown inside", "open_tree(2)"),
    ),
    (Step::CgroupFlags, row("mount_setattr", "flags of that copy, in the container only", "mount_setattr(2)")),
    (
        Step::RootAttach,
        row("root", "lay the container's tree over /, so that the two can change places", "move_mount(2)"),
    ),
    (Step::PivotRoot, row("pivot_root", "make the new tree /: chroot can be left again, this cannot", "pivot_root(2)")),
    (
        Step::DetachOldRoot,
        row("umount", "forget the old tree: after this no path of the host can be named", "umount2(2)"),
    ),
    (Step::Unmount, row("umount", "the host's proc and sysfs must not be found below the new root", "umount2(2)")),
    (
        Step::ChangeRoot,
        row(
            "chroot",
            "go into the new tree where / itself cannot be exchanged: an initramfs (--no-pivot)",
            "chroot(2)",
        ),
    ),
    (
        Step::Stage,
        row(
            "stage",
            "hooks look at the container's tree before it is /: so it lies at its own place, and we mount from inside",
            "chroot(2)",
        ),
    ),
    (Step::LeaveStage, row("stage", "back in the host's tree, where programs of hooks are", "chroot(2)")),
    (
        Step::Hooks,
        row(
            "hooks",
            "rbox runs prestart and createRuntime hooks in the meantime",
            "runtime-spec config.md#posix-platform-hooks",
        ),
    ),
    (
        Step::CreateContainerHook,
        row(
            "createContainer",
            "a program of the host in the container's namespaces",
            "runtime-spec config.md#createcontainer-hooks",
        ),
    ),
    (Step::Target, row("target", "find the place of a mount, from inside the new root", "openat2(2)")),
    (Step::Attach, row("mount", "attach it, by descriptor: nobody can exchange the path in between", "move_mount(2)")),
    (Step::AttachLink, row("symlink", "cgroup v1 controllers that share a hierarchy have a name each", "cgroups(7)")),
    (
        Step::AttachPropagation,
        row("propagation", "whether later mounts are passed on, as the specification asks", "mount_namespaces(7)"),
    ),
    (
        Step::InodeVersions,
        row("iversion", "whether changes of its files are counted: mount(2) alone can say so", "mount(8)"),
    ),
    (Step::DeviceDirectory, row("dev", "find /dev, which must be a directory of this container", "openat2(2)")),
    (Step::Device, row("mknod", "the devices every program expects", "runtime-spec config-linux.md#default-devices")),
    (
        Step::DeviceLink,
        row("symlink", "the names in /dev that lead into /proc", "runtime-spec runtime-linux.md#dev-symbolic-links"),
    ),
    (
        Step::Console,
        row("console", "a terminal made by the container's own devpts; its other end goes to rbox", "pty(7)"),
    ),
    (
        Step::ConsoleCopy,
        row(
            "open_tree",
            "the terminal itself as a mount, from its descriptor and not from a path (CVE-2025-52565)",
            "open_tree(2)",
        ),
    ),
    (Step::ConsoleMount, row("console", "/dev/console is the container's own terminal", "move_mount(2)")),
    (
        Step::Sysctl,
        row(
            "sysctl",
            "a kernel setting of these namespaces, written through a proc nobody else has",
            "runtime-spec config-linux.md#sysctl",
        ),
    ),
    (Step::Hostname, row("hostname", "the name of this uts namespace", "uts_namespaces(7)")),
    (Step::Domainname, row("domainname", "the NIS name of this uts namespace", "uts_namespaces(7)")),
    (Step::MaskCopy, row("open_tree", "all hidden directories share one empty file system", "open_tree(2)")),
    (
        Step::Mask,
        row("mask", "hide what would tell about, or harm, the host", "runtime-spec config-linux.md#masked-paths"),
    ),
    (
        Step::ReadonlyCopy,
        row("open_tree", "a path becomes a mount of its own, so that it can be read-only alone", "open_tree(2)"),
    ),
    (Step::ReadonlyFlags, row("mount_setattr", "read-only, with all that is mounted below", "mount_setattr(2)")),
    (
        Step::ReadonlyPath,
        row("readonly", "kernel settings may be read, not written", "runtime-spec config-linux.md#readonly-paths"),
    ),
    (Step::ReadonlyMount, row("remount", "nobody writes here any more, now that it is complete", "mount_setattr(2)")),
    (Step::Umask, row("umask", "the permission bits that new files do not get", "umask(2)")),
    (Step::WorkingDirectory, row("chdir", "where the program starts", "runtime-spec config.md#process")),
    (
        Step::FindProgram,
        row("find", "look for the program now, so that create fails and not start", "runtime-spec config.md#process"),
    ),
    (Step::Gate, row("gate", "created: wait for start", "runtime-spec runtime.md#lifecycle")),
    (
        Step::Keyring,
        row("keyring", "a session keyring of its own: the host's keys are out of reach", "session-keyring(7)"),
    ),
    (Step::Rlimit, row("rlimit", "limits of one process", "getrlimit(2)")),
    (
        Step::LabelFile,
        row("label", "open the file of a security module as long as the host's /proc is there", "proc_pid_attr(5)"),
    ),
    (
        Step::Label,
        row("label", "the rules of a security module for the program, from its execve on", "proc_pid_attr(5)"),
    ),
    (
        Step::Affinity,
        row(
            "affinity",
            "on which processors an exec runs, on its way in and inside",
            "runtime-spec config.md#linux-process",
        ),
    ),
    (Step::Scheduler, row("scheduler", "its turn on the processors", "sched_setattr(2)")),
    (Step::IoPriority, row("ioprio", "its turn on the disks", "ioprio_set(2)")),
    (Step::MemoryPolicy, row("mempolicy", "from which nodes its memory comes", "set_mempolicy(2)")),
    (Step::Personality, row("personality", "as what the kernel presents itself", "personality(2)")),
    (Step::Stdio, row("stdio", "standard input, output and error of the program", "dup2(2)")),
    (Step::Groups, row("setgroups", "the groups of the image's user, not of the host's", "setgroups(2)")),
    (Step::GroupId, row("setgid", "the group of the image's user", "setresgid(2)")),
    (Step::UserId, row("setuid", "the user; after the groups, which a plain user may not set", "setresuid(2)")),
    (Step::Bounding, row("bounding", "no program started here can ever gain these capabilities", "capabilities(7)")),
    (Step::Capabilities, row("capset", "root inside is not root outside", "capset(2)")),
    (Step::Ambient, row("ambient", "capabilities that survive execve of a plain program", "capabilities(7)")),
    (Step::NoNewPrivs, row("no_new_privs", "set-user-id programs gain nothing", "prctl(2) PR_SET_NO_NEW_PRIVS")),
    (Step::Seccomp, row("seccomp", "fewer doors into the kernel", "seccomp(2)")),
    (
        Step::Listener,
        row("listener", "rbox hands the descriptor of notifications to who answers them", "seccomp_unotify(2)"),
    ),
    (
        Step::CloseOnExec,
        row("close_range", "no descriptor of the host goes through execve (CVE-2024-21626)", "close_range(2)"),
    ),
    (
        Step::StartContainerHook,
        row(
            "startContainer",
            "a program of the container before its own",
            "runtime-spec config.md#startcontainer-hooks",
        ),
    ),
    (Step::Reaper, row("reaper", "stay as process 1, collect orphans and pass signals on", "pid_namespaces(7)")),
    (Step::Execute, row("execve", "become the user's program", "execve(2)")),
    (
        Step::Created,
        row("created", "the container is whole; the program does not run yet", "runtime-spec runtime.md#lifecycle"),
    ),
];

/// Requests made outside the container.
pub(crate) static CLONE: Row =
    row("clone3", "the new namespaces, with one process in them", "clone3(2), namespaces(7)");
pub(crate) static ROOT_TREE: Row =
    row("open_tree", "the container's root as a mount of its own, attached nowhere", "open_tree(2)");
pub(crate) static OVERLAY: Row = row(
    "overlay",
    "layers below, one writable directory on top: the image itself is never changed",
    "overlayfs (kernel docs), fsmount(2)",
);
pub(crate) static BIND: Row = row("open_tree", "a copy of a mount of the host, to be attached inside", "open_tree(2)");
pub(crate) static SETATTR: Row = row(
    "mount_setattr",
    "flags of that copy; and what is mounted on the host later does not appear inside",
    "mount_setattr(2)",
);
pub(crate) static START: Row =
    row("start", "open the gate: init becomes the user's program", "runtime-spec runtime.md#start");
pub(crate) static MAP: Row = row("map", "which users of the host are which inside", "user_namespaces(7) uid_map");
pub(crate) static HOOK: Row = row(
    "hook",
    "a program of the administrator's, told of the container",
    "runtime-spec config.md#posix-platform-hooks",
);
pub(crate) static RESCTRL: Row = row(
    "resctrl",
    "the container's share of caches and memory bandwidth, and what it uses of them",
    "runtime-spec config-linux.md#intelrdt",
);
pub(crate) static NET_DEVICE: Row = row(
    "netdev",
    "a device of the host becomes the container's, with its lasting addresses",
    "runtime-spec config-linux.md#network-devices",
);
pub(crate) static KILL: Row = row("kill", "send a signal to the container's first process", "pidfd_send_signal(2)");
pub(crate) static SEAL: Row = row(
    "seal",
    "run from a read-only view of this program: no container can overwrite it (CVE-2019-5736)",
    "open_tree(2), mount_setattr(2)",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_the_number_of_its_step() {
        for (number, (step, _)) in TABLE.iter().enumerate() {
            assert_eq!(*step as usize, number, "{step:?}");
            assert_eq!(Step::from_number(u16::try_from(number).unwrap()), Some(*step));
        }
        assert_eq!(Step::from_number(u16::try_from(TABLE.len()).unwrap()), None);
    }
}
