//! Spec -> Plan. After this the Spec is out of sight; what cannot be had is refused here, before anything is made.

use super::mounts::{CgroupView, mounts};
use super::namespaces::Namespaces;
use super::process::{Extra, process};
use super::{
    CgroupNamespace, Console, Device, Door, Gate, InitHooks, Made, NetDevice, ParentDeath, Place, Plan, Sysctl, Tree,
};
use crate::defence::Defence;
use crate::error::{Doing, Error, Result};
use crate::net_devices;
use crate::root::Root;
use crate::rootless;
use crate::seccomp::Filter;
use crate::sys;
use crate::sys::shared::SharedPage;
use oci_spec::runtime::{Linux, LinuxDeviceType, LinuxNamespaceType, Spec};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// All that a Plan is made from.
pub(crate) struct Request<'a> {
    pub(crate) spec: &'a Spec,
    /// Where relative sources of binds begin.
    pub(crate) bundle: &'a Path,
    pub(crate) root: &'a Root,
    pub(crate) cgroup: CgroupView,
    pub(crate) doors: Vec<Door>,
    pub(crate) seccomp: Option<Filter>,
    pub(crate) console: Option<Console>,
    pub(crate) stdio: [Option<OwnedFd>; 3],
    pub(crate) preserve_fds: u32,
    pub(crate) new_keyring: Option<CString>,
    pub(crate) reaper: bool,
    pub(crate) no_pivot: bool,
    pub(crate) hooks: InitHooks,
    pub(crate) parent_end: i32,
    pub(crate) gate: Gate,
    pub(crate) parent_death: ParentDeath,
    pub(crate) trace: Option<SharedPage>,
}

/// Build the plan of a container's init.
///
/// # Errors
/// `InvalidSpec` with the JSON path; `Os` for what the plan has to open (bind sources, namespaces).
pub(crate) fn build(request: Request<'_>) -> Result<Plan> {
    let spec = request.spec;
    let linux = spec.linux().as_ref().ok_or_else(|| Error::spec("linux", "is missing"))?;
    let namespaces = Namespaces::of(linux)?;
    let net_devices = net_devices(linux, &namespaces)?;
    let cgroup_namespace = cgroup_namespace(&request.cgroup);
    let own_users = namespaces.has_own_users() || rootless::in_user_namespace();
    let tree = tree(&request, linux, own_users)?;
    let process_spec = spec.process().as_ref().ok_or_else(|| Error::spec("process", "is missing"))?;
    let extra = Extra {
        seccomp: request.seccomp,
        preserve_fds: request.preserve_fds,
        new_keyring: request.new_keyring,
        reaper: request.reaper,
        make_cwd: true,
        linux: Some(linux),
        is_exec: false,
    };
    let mut process = process(process_spec, request.root, extra)?;
    process.stdio = request.stdio;
    let uts = (spec.hostname(), spec.domainname());
    Ok(Plan {
        hostname: uts_name("hostname", uts.0.as_deref(), &namespaces)?,
        domainname: uts_name("domainname", uts.1.as_deref(), &namespaces)?,
        sysctls: sysctls(linux, &namespaces)?,
        new_network: namespaces.is_new(LinuxNamespaceType::Network),
        clone_flags: namespaces.new_flags(!net_devices.is_empty()),
        joined_network: if net_devices.is_empty() { None } else { namespaces.joined_network()? },
        net_devices,
        cgroup_namespace,
        tree: Some(tree),
        usher: namespaces.usher(linux)?,
        joins: namespaces.joins,
        doors: request.doors,
        console: request.console,
        process,
        hooks: request.hooks,
        parent_end: request.parent_end,
        gate: request.gate,
        parent_death: request.parent_death,
        trace: request.trace,
    })
}

fn cgroup_namespace(view: &CgroupView) -> CgroupNamespace {
    let v2 = view.controllers.is_empty();
    match (view.own_namespace, v2, view.born_inside) {
        (false, ..) => CgroupNamespace::Host,
        (true, true, true) => CgroupNamespace::AtBirth,
        (true, true, false) => CgroupNamespace::WhenPlaced,
        (true, false, _) => CgroupNamespace::AfterJoin,
    }
}

/// Devices for a network namespace that is not the host's, moved by who may do so on the host.
fn net_devices(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<NetDevice>> {
    let wanted = net_devices::wanted(linux)?;
    if !wanted.is_empty() && !namespaces.is_private(LinuxNamespaceType::Network) {
        return Err(Error::spec("linux.netDevices", net_devices::NEEDS_OWN));
    }
    if !wanted.is_empty() && rootless::in_user_namespace() {
        return Err(Error::spec("linux.netDevices", "needs the host's root"));
    }
    Ok(wanted)
}

fn uts_name(key: &str, name: Option<&str>, namespaces: &Namespaces) -> Result<Option<CString>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    if !namespaces.is_private(LinuxNamespaceType::Uts) {
        return Err(Error::spec(key, "needs a uts namespace of the container's own"));
    }
    if name.len() > 64 {
        return Err(Error::spec(key, "is longer than 64 bytes, the kernel's limit"));
    }
    Ok(Some(CString::new(name).map_err(|_| Error::spec(key, "contains a zero byte"))?))
}

/// Settings that belong to a namespace of the container; every other one would be the host's (as in runc).
fn sysctls(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<Sysctl>> {
    let ipc = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ]; // ipc_namespaces(7)
    let mut all = Vec::new();
    let mut given: Vec<_> = linux.sysctl().iter().flatten().collect();
    given.sort();
    for (key, value) in given {
        let path = format!("linux.sysctl.{key}");
        // Both spellings are allowed; a dot inside an interface's name is a slash in the dotted one (sysctl(8)).
        let dotted = match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
            Some(b'/') => key.replace('.', "\u{0}").replace('/', ".").replace('\u{0}', "/"),
            _ => key.clone(),
        };
        let needs = if ipc.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            LinuxNamespaceType::Ipc
        } else if dotted.starts_with("net.") {
            LinuxNamespaceType::Network
        } else if dotted == "kernel.domainname" || dotted == "kernel.hostname" {
            LinuxNamespaceType::Uts
        } else {
            return Err(Error::spec(&path, "is not a setting of a namespace: it would change the host"));
        };
        if !namespaces.is_private(needs) {
            return Err(Error::spec(&path, format!("needs a {needs} namespace of the container's own")));
        }
        if dotted == "kernel.hostname" {
            return Err(Error::spec(&path, "is set by hostname"));
        }
        let below = dotted.replace('/', "\u{0}").replace('.', "/").replace('\u{0}', ".");
        let c = |text: String| CString::new(text).map_err(|_| Error::spec(&path, "contains a zero byte"));
        all.push(Sysctl { path: c(format!("sys/{below}"))?, value: c(value.clone())? });
    }
    Ok(all)
}

fn tree(request: &Request<'_>, linux: &Linux, own_users: bool) -> Result<Tree> {
    let (spec, bundle) = (request.spec, request.bundle);
    let specs = spec.mounts().as_deref().unwrap_or(&[]);
    let dev_is_the_hosts = specs.iter().any(|mount| {
        let bound = mount.typ().as_deref() == Some("bind")
            || mount.options().iter().flatten().any(|option| option == "bind" || option == "rbind");
        bound
            && Place::new(&mount.destination().to_string_lossy()).is_some_and(|place| place.whole.as_c_str() == c"/dev")
    });
    let (devices, device_links) =
        if dev_is_the_hosts { (vec![], vec![]) } else { (devices(linux, own_users)?, device_links()) };
    let places = |paths: &Option<Vec<String>>, key: &str| -> Result<Vec<Place>> {
        let place = |path: &String| {
            if !path.starts_with('/') {
                return Err(Error::spec(key, format!("{path:?} is not an absolute path")));
            }
            Place::new(path).ok_or_else(|| Error::spec(key, "contains a zero byte"))
        };
        paths.iter().flatten().map(place).collect()
    };
    Ok(Tree {
        root: request.root.tree()?,
        outside: outside(spec, bundle),
        without_pivot: request.no_pivot.then(kernel_mounts).transpose()?,
        propagation: propagation(linux.rootfs_propagation().as_deref().unwrap_or(""))?,
        readonly: spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)),
        mounts: mounts(specs, linux, (bundle, request.root), &request.cgroup)?,
        devices,
        device_links,
        masked: places(linux.masked_paths(), "linux.maskedPaths")?,
        readonly_paths: places(linux.readonly_paths(), "linux.readonlyPaths")?,
        made: Made::default(),
    })
}

/// Where the host's proc and sysfs are mounted, the last first (proc_pid_mountinfo(5)).
fn kernel_mounts() -> Result<Vec<CString>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").doing(|| "list the mounts".to_owned())?;
    let place = |line: &str| {
        let (mount, kind) = line.split_once(" - ")?;
        let is_kernels = matches!(kind.split(' ').next(), Some("proc" | "sysfs"));
        // The kernel writes a blank as \\040.
        mount.split(' ').nth(4).filter(|_| is_kernels).and_then(|path| CString::new(path.replace("\\040", " ")).ok())
    };
    Ok(text.lines().rev().filter_map(place).collect())
}

/// For the attack tests' build alone: where a runtime stands that finds mount points from outside (CVE-2021-30465).
fn outside(spec: &Spec, bundle: &Path) -> Option<OwnedFd> {
    if Defence::PlacesFromInside.stands() {
        return None;
    }
    let path = bundle.join(spec.root().as_ref()?.path());
    sys::file::open(&CString::new(path.as_os_str().as_bytes()).ok()?, libc::O_PATH | libc::O_DIRECTORY).ok()
}

fn propagation(wish: &str) -> Result<u64> {
    Ok(match wish {
        // Such a tree was opened so: Root::open, Root::open_slave.
        "" | "private" | "rprivate" | "slave" | "rslave" => 0,
        "shared" => libc::MS_SHARED,
        "rshared" => libc::MS_SHARED | libc::MS_REC,
        "unbindable" => libc::MS_UNBINDABLE,
        "runbindable" => libc::MS_UNBINDABLE | libc::MS_REC,
        other => return Err(Error::spec("linux.rootfsPropagation", format!("{other:?} is unknown"))),
    })
}

/// The devices every program expects, with the numbers of the kernel's admin-guide/devices.txt: (name, major, minor).
static DEFAULT_DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

fn devices(linux: &Linux, own_users: bool) -> Result<Vec<Device>> {
    let place = |path: &str| Place::new(path).ok_or_else(|| Error::spec("linux.devices", "path contains a zero byte"));
    let mut all = Vec::new();
    for device in linux.devices().iter().flatten() {
        let path = device.path().to_string_lossy();
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
            LinuxDeviceType::B => libc::S_IFBLK,
            LinuxDeviceType::P => libc::S_IFIFO,
            LinuxDeviceType::A => {
                return Err(Error::spec("linux.devices", format!("{path}: type a is for rules only")));
            }
        };
        if !path.starts_with('/') {
            return Err(Error::spec("linux.devices", format!("{path:?} is not an absolute path")));
        }
        let number = |value: i64| {
            u32::try_from(value).map_err(|_| Error::spec("linux.devices", format!("{path}: bad number {value}")))
        };
        all.push(Device {
            place: place(&path)?,
            mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
            number: libc::makedev(number(device.major())?, number(device.minor())?),
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
            bound: None,
        });
    }
    for (name, major, minor) in DEFAULT_DEVICES {
        let place = place(&format!("/dev/{name}"))?;
        if !all.iter().any(|device| device.place.whole == place.whole) {
            all.push(Device {
                place,
                mode: libc::S_IFCHR | 0o666,
                number: libc::makedev(*major, *minor),
                uid: 0,
                gid: 0,
                bound: None,
            });
        }
    }
    if own_users {
        for device in all.iter_mut().filter(|device| device.mode & libc::S_IFMT != libc::S_IFIFO) {
            device.bound = Some(bind_device(device)?);
        }
    }
    Ok(all)
}

/// The node of the same path on the host (as in runc), which has to be the same device.
fn bind_device(device: &Device) -> Result<OwnedFd> {
    let doing = || format!("bind the host's {}", device.place.text());
    let bound = sys::mount::open_tree(sys::file::here(), &device.place.whole, false).doing(doing)?;
    let found = sys::file::fstat(bound.as_fd()).doing(doing)?;
    if found.st_mode & libc::S_IFMT != device.mode & libc::S_IFMT || found.st_rdev != device.number {
        let why =
            format!("the host's {} is another device, and none can be made in a user namespace", device.place.text());
        return Err(Error::spec("linux.devices", why));
    }
    Ok(bound)
}

/// runtime-spec runtime-linux.md#dev-symbolic-links, and the two that runc adds (ptmx, core).
fn device_links() -> Vec<(CString, CString)> {
    // A kernel without /proc/kcore gets no link to it, as with runc.
    let has_kcore = std::path::Path::new("/proc/kcore").exists();
    [
        (c"fd", c"/proc/self/fd"),
        (c"stdin", c"/proc/self/fd/0"),
        (c"stdout", c"/proc/self/fd/1"),
        (c"stderr", c"/proc/self/fd/2"),
        (c"core", c"/proc/kcore"),
        (c"ptmx", c"pts/ptmx"),
    ]
    .into_iter()
    .filter(|(name, _)| has_kcore || *name != c"core")
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .collect()
}
