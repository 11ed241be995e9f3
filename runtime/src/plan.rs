//! Everything the child will need, built before the clone: C strings, descriptors and numbers.
//!
//! After the clone the child must not allocate, and the Spec (maps, options, UTF-8) is of no use to it. So the parent
//! turns the Spec into a [`Plan`]; the child only walks it, and its only words are `(step, index)`: [`Plan::words`]
//! says, in the parent, what that pair means.

mod build;
mod hook;
mod inode_versions;
mod mounts;
mod namespaces;
mod process;
mod scheduling;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use build::{Request, build};
pub(crate) use hook::{BadEnd, Hook, InitHookList, InitHooks};
pub(crate) use inode_versions::InodeVersions;
pub(crate) use mounts::{CgroupView, knows_option as knows_mount_option};
pub(crate) use namespaces::names as namespace_names;
pub(crate) use process::{Extra, process};
pub(crate) use scheduling::{SchedAttr, Scheduling};
pub(crate) use words::attributes as attributes_words;

use crate::error::{Error, Result};
use crate::idmap::Maps;
use crate::seccomp::Filter;
use crate::sys;
use crate::sys::mount::Attributes;
use crate::sys::shared::SharedPage;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A container's init, or a further process (`exec`), as the child needs it.
pub(crate) struct Plan {
    /// `CLONE_NEW*` of the namespaces to be made.
    pub(crate) clone_flags: u64,
    /// Namespaces to be joined by the child, in order.
    pub(crate) joins: Vec<Join>,
    /// Who goes before the child, where that is needed.
    pub(crate) usher: Option<Usher>,
    /// The `tasks` files of its control groups (cgroup v1); clone3 has put it into the unified one already.
    pub(crate) doors: Vec<Door>,
    /// When the child makes its cgroup namespace: it must be in its cgroup by then.
    pub(crate) cgroup_namespace: CgroupNamespace,
    /// Make a network namespace and bring its `lo` up. The child does it, not clone3: it is the dearest namespace
    /// (0.4 ms of all the others' 0.1), and the parent makes the control groups in that time. But where the parent needs
    /// it at once, for devices, it is among `clone_flags`.
    pub(crate) new_network: bool,
    /// Devices of the host that the parent moves into the network namespace.
    pub(crate) net_devices: Vec<NetDevice>,
    /// That namespace for the parent, when there are devices and it is one of others.
    pub(crate) joined_network: Option<OwnedFd>,
    /// The tree that becomes `/`; none for `exec`, which joins one.
    pub(crate) tree: Option<Tree>,
    pub(crate) hostname: Option<CString>,
    pub(crate) domainname: Option<CString>,
    pub(crate) sysctls: Vec<Sysctl>,
    /// The terminal to be made, and where its master goes.
    pub(crate) console: Option<Console>,
    pub(crate) process: Process,
    pub(crate) hooks: InitHooks,
    /// The parent's end, which the child has a copy of and closes first: else it would never see the parent's death.
    pub(crate) parent_end: i32,
    pub(crate) gate: Gate,
    /// Die with the parent: until the gate, or for ever.
    pub(crate) parent_death: ParentDeath,
    /// Where the steps are noted for `--explain`.
    pub(crate) trace: Option<SharedPage>,
}

/// A network device: its name on the host, and that in the container, in which `%d` is a number of the kernel's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetDevice {
    pub(crate) host: String,
    pub(crate) inside: String,
}

/// A namespace to be joined with setns(2).
pub(crate) struct Join {
    /// Closed in the parent once the child has its copy.
    pub(crate) namespace: Option<OwnedFd>,
    /// `CLONE_NEW*`: what kind it must be.
    pub(crate) kind: i32,
    /// Device and inode of the root that it must have: for a mount namespace that the container takes over.
    pub(crate) root: Option<(u64, u64)>,
    /// How the user named it.
    pub(crate) path: String,
}

/// A process that enters namespaces before init, or an exec, is born in them ([`crate::child`]).
pub(crate) struct Usher {
    /// So many of the plan's joins are its.
    pub(crate) joins: usize,
    pub(crate) user: UserNamespace,
    /// Of a new user namespace, for the parent.
    pub(crate) maps: Maps,
    /// For /proc/self/timens_offsets of a new time namespace.
    pub(crate) time_offsets: Option<CString>,
    /// Nobody else is in the child's pid namespace who could look into it.
    pub(crate) alone: bool,
}

impl Usher {
    /// One who takes an exec into a container's namespaces, by the first of the plan's joins.
    pub(crate) fn to_join(user: UserNamespace) -> Usher {
        Usher { joins: 1, user, maps: Maps::default(), time_offsets: None, alone: false }
    }
}

/// The user namespace that the child is born in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UserNamespace {
    /// The parent's.
    Same,
    /// A new one, whose maps the parent writes.
    New,
    /// One of the plan's joins.
    Joined,
}

/// The `tasks` file of a control group: who writes 0 into it has entered.
pub(crate) struct Door {
    pub(crate) path: CString,
    /// Opened by the parent of an `exec`, which leaves the host's tree at once; by init itself when the group is made.
    pub(crate) file: Option<OwnedFd>,
}

/// When a new cgroup namespace is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupNamespace {
    /// Not at all.
    Host,
    /// At once: clone3 has put the child into its cgroup (cgroup v2).
    AtBirth,
    /// When systemd has put it into its cgroup (cgroup v2), before its file systems: what a cgroup2 shows depends on it.
    WhenPlaced,
    /// After it has gone through its doors (cgroup v1).
    AfterJoin,
}

/// What happens to the container when its parent dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParentDeath {
    /// It dies with it until it stands before the gate: `create`.
    UntilGate,
    /// It dies with it until it becomes the program: `exec`.
    UntilProgram,
    /// It dies with it, also when it runs: a container whose output has nowhere else to go.
    Always,
}

/// What the child waits for when the container is whole.
pub(crate) enum Gate {
    /// A word of the parent through the channel: create and start in one program.
    Channel,
    /// A connection to this listening socket: `create` and `start` are two programs.
    Listener(OwnedFd),
    /// Nothing: `exec` goes straight on.
    Open,
}

/// The file system of the container.
pub(crate) struct Tree {
    /// The root as a detached mount.
    pub(crate) root: OwnedFd,
    /// The same directory in the host's tree: only for the build of the attack tests, which follows its paths.
    pub(crate) outside: Option<OwnedFd>,
    /// Without pivot_root(2), which an initramfs refuses: where the host's proc and sysfs are mounted, to be taken away first.
    pub(crate) without_pivot: Option<Vec<CString>>,
    /// `MS_*` for the new `/`, once it is there; 0 leaves it private to this container.
    pub(crate) propagation: u64,
    pub(crate) readonly: bool,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) devices: Vec<Device>,
    /// Names in /dev that lead into /proc: (name, text of the link).
    pub(crate) device_links: Vec<(CString, CString)>,
    /// Paths to be hidden.
    pub(crate) masked: Vec<Place>,
    pub(crate) readonly_paths: Vec<Place>,
    /// What the child makes for its own later use.
    pub(crate) made: Made,
}

/// What the child makes before it leaves the host's tree, kept for later steps.
#[derive(Default)]
pub(crate) struct Made {
    /// A fresh, empty tmpfs, to hide directories with.
    pub(crate) empty_directory: Option<OwnedFd>,
    /// The host's /dev/null as a mount, to hide files with.
    pub(crate) null: Option<OwnedFd>,
    /// A proc for the sysctls.
    pub(crate) proc: Option<OwnedFd>,
}

/// One mount of the container.
pub(crate) struct Mount {
    pub(crate) source: Source,
    pub(crate) place: Place,
    /// The target is a file, and is made as one where it is missing.
    pub(crate) is_file: bool,
    /// `MOUNT_ATTR_RDONLY` only when everything is in place.
    pub(crate) readonly_at_last: bool,
    /// The mount as a detached descriptor: the parent's for a bind, the child's for a new file system.
    pub(crate) made: Option<OwnedFd>,
    /// For a new file system: `MS_SHARED` and the like, set when it is attached; 0 leaves it private.
    pub(crate) propagation: u64,
    /// For a new file system, of which `iversion` or `noiversion` is asked.
    pub(crate) inode_versions: Option<InodeVersions>,
    /// Links below this mount's root, made when it is attached (`cpu -> cpu,cpuacct`): (name, text).
    pub(crate) links: Vec<(CString, CString)>,
    /// As `mount(8)` would be told, for words.
    pub(crate) said: Said,
}

impl Mount {
    /// A mount of a directory without any special wish.
    pub(crate) fn new(source: Source, place: Place, said: Said) -> Mount {
        Mount {
            source,
            place,
            is_file: false,
            readonly_at_last: false,
            made: None,
            propagation: 0,
            inode_versions: None,
            links: vec![],
            said,
        }
    }
}

/// How a mount reads in an explanation or an error.
pub(crate) struct Said {
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) options: String,
}

/// Where a mount comes from.
pub(crate) enum Source {
    /// A tree of the host, opened and given its flags by the parent.
    Bind,
    /// A new file system, made by the child so that it is of the child's namespaces.
    Filesystem { kind: CString, options: Vec<(CString, Option<CString>)>, attributes: u64 },
    /// The container's directory in one hierarchy of cgroup v1, copied by the child when the parent has made it, and
    /// attached on `name` in the tmpfs that is mount number `below` of this list: nobody else has been there yet.
    Cgroup { directory: CString, attributes: u64, below: usize, name: CString },
    /// An attached mount, with other options of its file system, other flags, and others for it and all below it.
    Remount { options: Vec<(CString, Option<CString>)>, this: Attributes, all: Attributes },
}

/// A path inside the container: cleaned of `.`, `..` and double slashes by the parent, opened by the child.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `/proc/sys`.
    pub(crate) whole: CString,
    /// `proc`, `sys`: its last part is the name of a device node.
    pub(crate) parts: Vec<CString>,
    /// No part may be a symbolic link: /proc, /sys and /dev, which an image must not lead elsewhere.
    pub(crate) links_forbidden: bool,
    /// The place may be inside a procfs: /proc itself is not, `/proc/uptime` (lxcfs) is.
    pub(crate) inside_proc: bool,
}

/// A device node.
pub(crate) struct Device {
    pub(crate) place: Place,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`, with permission bits.
    pub(crate) mode: u32,
    pub(crate) number: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In a user namespace no node can be made: the host's own, as a detached mount.
    pub(crate) bound: Option<OwnedFd>,
}

/// A kernel setting: `sys/net/ipv4/ip_forward` below proc, and its value.
pub(crate) struct Sysctl {
    pub(crate) path: CString,
    pub(crate) value: CString,
}

/// A terminal to be made inside.
pub(crate) struct Console {
    /// Where the master's descriptor is sent (`SCM_RIGHTS`).
    pub(crate) socket: OwnedFd,
    /// Rows and columns.
    pub(crate) size: Option<(u16, u16)>,
}

/// The program and its identity: the same for init and for `exec`.
pub(crate) struct Process {
    /// As the user typed it, for words.
    pub(crate) program: String,
    /// Where to look for the program, in order.
    pub(crate) candidates: Vec<CString>,
    pub(crate) argv: Argv,
    pub(crate) envp: Argv,
    pub(crate) cwd: Place,
    /// Make the working directory where it is missing: a new container's, not one that `exec` enters.
    pub(crate) make_cwd: bool,
    pub(crate) umask: Option<u32>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Nothing: they cannot be set.
    pub(crate) groups: Option<Vec<u32>>,
    pub(crate) capabilities: Capabilities,
    pub(crate) no_new_privs: bool,
    pub(crate) seccomp: Option<Filter>,
    pub(crate) scheduling: Scheduling,
    /// What a security module is asked for at execve.
    pub(crate) labels: Vec<Label>,
    /// (resource, soft, hard, name for words).
    pub(crate) rlimits: Vec<(u32, u64, u64, String)>,
    /// Descriptors for 0, 1, 2; a missing one stays what it is.
    pub(crate) stdio: [Option<OwnedFd>; 3],
    /// How many descriptors from 3 on are the user's and go through execve.
    pub(crate) preserve_fds: u32,
    pub(crate) new_keyring: Option<CString>,
    /// Stay as process 1 and run the program as process 2 (`--init`).
    pub(crate) reaper: bool,
}

/// A profile or context that a Linux security module gives the program at execve: one write into a file of /proc.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Below /proc/self of the host: opened while that is there.
    pub(crate) file: CString,
    pub(crate) text: CString,
    /// For words.
    pub(crate) kind: &'static str,
}

/// As many modules as one process can be labelled by.
pub(crate) const LABELS_MAX: usize = 2;

/// Capability sets as bit masks: bit n is capability n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
    /// The highest capability the kernel knows.
    pub(crate) last: u32,
}

/// A null-terminated array of C strings, as execve(2) takes it.
pub(crate) struct Argv {
    #[allow(dead_code, reason = "owns what the pointers point to")]
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Plan {
    /// Close the parent's copies of what only the child needs; the words stay.
    pub(crate) fn release(&mut self) {
        for join in &mut self.joins {
            join.namespace = None;
        }
        for door in &mut self.doors {
            door.file = None;
        }
        self.console = None;
        self.gate = Gate::Open;
        self.process.stdio = [None, None, None];
        for mount in self.tree.iter_mut().flat_map(|tree| &mut tree.mounts) {
            mount.made = None;
        }
        for device in self.tree.iter_mut().flat_map(|tree| &mut tree.devices) {
            device.bound = None;
        }
    }
}

impl Join {
    /// Enter it: setns(2).
    ///
    /// # Errors
    /// Those of setns(2); EXDEV when its root is not the one it must have.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let namespace = self.namespace.as_ref().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
        sys::process::setns(namespace.as_fd(), self.kind)?;
        let Some(wanted) = self.root else { return Ok(()) };
        let root = sys::file::fstat(sys::file::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?.as_fd())?;
        if (root.st_dev, root.st_ino) == wanted { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EXDEV)) }
    }
}

impl Door {
    /// The door at `path`, closed.
    pub(crate) fn new(path: &Path) -> Result<Door> {
        let odd = |_| Error::spec("linux.cgroupsPath", "contains a zero byte");
        Ok(Door { path: CString::new(path.as_os_str().as_bytes()).map_err(odd)?, file: None })
    }
}

impl Argv {
    pub(crate) fn new(strings: Vec<CString>) -> Argv {
        let pointers = strings.iter().map(|one| one.as_ptr()).chain(std::iter::once(std::ptr::null())).collect();
        Argv { strings, pointers }
    }

    /// The pointers, the last of them null.
    pub(crate) fn pointers(&self) -> &[*const libc::c_char] {
        &self.pointers
    }
}

impl Place {
    /// Clean `path` lexically, as runtime-spec config.md#mounts reads it: `..` stops at the root.
    pub(crate) fn new(path: &str) -> Option<Place> {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let whole = CString::new(format!("/{}", parts.join("/"))).ok()?;
        let links_forbidden = matches!(parts.as_slice(), ["proc" | "sys" | "dev"]);
        let inside_proc = inside_proc_allowed(&parts);
        let parts = parts.into_iter().map(|part| CString::new(part).ok()).collect::<Option<_>>()?;
        Some(Place { whole, parts, links_forbidden, inside_proc })
    }

    /// The path as text.
    pub(crate) fn text(&self) -> String {
        text(&self.whole)
    }
}

/// What lxcfs and its like may lay over files of /proc, as in runc's `checkProcMount`; everything else there is refused.
fn inside_proc_allowed(parts: &[&str]) -> bool {
    matches!(
        parts,
        ["proc", "cpuinfo" | "diskstats" | "meminfo" | "stat" | "swaps" | "uptime" | "loadavg" | "slabinfo"]
            | ["proc", "net", "dev"]
            | ["proc", "sys", "kernel", "ns_last_pid"]
            | ["proc", "sys", "crypto", "fips_enabled"]
    )
}

fn text(string: &CStr) -> String {
    string.to_string_lossy().into_owned()
}
