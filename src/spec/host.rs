//! What the machine has, and what the files that were named on the command line say: read once, before anything is made.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::devices::{self, HostDevice};
use super::files;
use crate::cli::RunArgs;
use crate::cli::value::{SeccompChoice, SecurityOpt, expand_list};
use crate::report::Problem;

/// What was typed, and what the files say that were named: kept with the container, since each later start is another
/// caller's, in another directory and with other variables.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Caller {
    /// The environment of `--env-file` and `-e`, the caller's values put in: `KEY=VALUE`, or `KEY` to take one away.
    env: Vec<String>,
    /// The labels of `--label-file`.
    labels: Vec<(String, String)>,
    /// The text of `--security-opt seccomp=FILE`.
    seccomp: Option<String>,
    /// The directory that relative paths begin at.
    pub(crate) directory: PathBuf,
}

impl Caller {
    /// Read what belongs to this caller.
    ///
    /// Errors: a file that a flag names cannot be read or is not what it should be.
    pub(crate) fn read(flags: &RunArgs) -> Result<Self, Problem> {
        let profile = flags.security.security_opt.iter().rev().find_map(|option| match option {
            SecurityOpt::Seccomp(SeccompChoice::File(file)) => Some(read_profile(file)),
            _ => None,
        });
        Ok(Self {
            env: files::environment(&flags.container.env_file, &flags.container.env, |name| std::env::var(name).ok())?,
            labels: files::labels(&flags.container.label_file)?,
            seccomp: profile.transpose()?,
            directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        })
    }
}

/// The facts that [`super::build`] goes by.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// Its name.
    pub(crate) hostname: String,
    /// The processors that are on.
    pub(crate) cpus: Vec<u32>,
    /// The memory nodes that are on.
    pub(crate) mems: Vec<u32>,
    /// The capabilities that rbox itself has, a bit for each number.
    pub(crate) capabilities: u64,
    /// Whether control groups are all of version 2.
    pub(crate) cgroup_v2: bool,
    /// Whether swap can be limited.
    pub(crate) swap_limit: bool,
    /// Whether AppArmor is on.
    pub(crate) apparmor: bool,
    /// Whether SELinux is on.
    pub(crate) selinux: bool,
    /// `/sys/devices/system/cpu/cpu*/thermal_throttle`.
    pub(crate) thermal: Vec<String>,
    /// The devices that `--device` names, by the path that was typed.
    pub(crate) devices: BTreeMap<PathBuf, Vec<HostDevice>>,
    /// All devices, with `--privileged` alone.
    pub(crate) all_devices: Vec<HostDevice>,
    /// The numbers of the disks that resource flags name.
    pub(crate) disks: BTreeMap<PathBuf, (i64, i64)>,
    /// The environment of `--env-file` and `-e`, the caller's values put in: `KEY=VALUE`, or `KEY` to take one away.
    pub(crate) env: Vec<String>,
    /// The labels of `--label-file`.
    pub(crate) labels: Vec<(String, String)>,
    /// The text of `--security-opt seccomp=FILE`.
    pub(crate) seccomp: Option<String>,
    /// The directory that relative paths of `-v` begin at.
    pub(crate) directory: PathBuf,
    /// The container of `--network container:NAME`.
    pub(crate) joined: Option<Joined>,
    /// The containers of `--link`.
    pub(crate) links: Vec<Link>,
}

/// A container whose network is joined.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    /// Its id.
    pub(crate) id: String,
    /// The container that the network was made for: itself, unless it has joined another.
    pub(crate) owner: String,
    /// Its host name, which is shared.
    pub(crate) hostname: String,
    /// Its first process, where it runs.
    pub(crate) pid: Option<i32>,
    /// Whether the network may not reach everything.
    pub(crate) is_guarded: bool,
}

/// A container that is to be found by name.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Its name.
    pub(crate) name: String,
    /// What it is called inside.
    pub(crate) alias: String,
    /// Its host name.
    pub(crate) hostname: String,
    /// Its address on the bridge, as it is now.
    pub(crate) address: Ipv4Addr,
}

impl Host {
    /// As much as [`super::limits`] goes by. No swap is added to a limit that is only changed.
    pub(crate) fn for_limits() -> Self {
        Self {
            cpus: list("/sys/devices/system/cpu/online"),
            mems: list("/sys/devices/system/node/online"),
            cgroup_v2: is_cgroup_v2(),
            ..Self::default()
        }
    }

    /// Look at the machine, as far as these flags need it.
    ///
    /// Errors: a file or device that a flag names cannot be read or is not what it should be.
    pub(crate) fn read(flags: &RunArgs, caller: &Caller) -> Result<Self, Problem> {
        let mut devices = BTreeMap::new();
        for flag in &flags.security.device {
            devices.insert(flag.source.clone(), devices::named(&flag.source)?);
        }
        let cgroup_v2 = is_cgroup_v2();
        Ok(Self {
            hostname: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            cpus: list("/sys/devices/system/cpu/online"),
            mems: list("/sys/devices/system/node/online"),
            capabilities: own_capabilities(),
            cgroup_v2,
            swap_limit: can_limit_swap(cgroup_v2),
            apparmor: read("/sys/module/apparmor/parameters/enabled") == "Y",
            selinux: Path::new("/sys/fs/selinux/enforce").exists(),
            thermal: thermal(),
            devices,
            all_devices: if flags.security.privileged { devices::all() } else { Vec::new() },
            disks: disks(flags)?,
            env: caller.env.clone(),
            labels: caller.labels.clone(),
            seccomp: caller.seccomp.clone(),
            directory: caller.directory.clone(),
            joined: None,
            links: Vec::new(),
        })
    }
}

fn read_profile(file: &Path) -> Result<String, Problem> {
    let read = std::fs::read_to_string(file);
    read.map_err(|error| Problem::new(format!("cannot read seccomp profile {}: {}", file.display(), cause(&error))))
}

/// An operating system's error as the messages say it.
pub(super) fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn list(path: &str) -> Vec<u32> {
    expand_list(&read(path)).filter(|numbers| !numbers.is_empty()).unwrap_or_else(|| vec![0])
}

/// `CapEff` of proc(5): nobody can give more than he has, so `ALL` means these (moby `caps.GetAllCapabilities`).
pub(super) fn own_capabilities() -> u64 {
    let status = read("/proc/self/status");
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
}

/// cgroups(7): in the unified mode version 2 is mounted on /sys/fs/cgroup itself.
fn is_cgroup_v2() -> bool {
    nix::sys::statfs::statfs("/sys/fs/cgroup")
        .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC)
}

/// Whether the kernel counts swap: its file is missing without CONFIG_SWAP, and on version 1 with swapaccount=0. The
/// root group of version 2 never has one, so any of its children tells.
fn can_limit_swap(cgroup_v2: bool) -> bool {
    if !cgroup_v2 {
        return Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists();
    }
    let Ok(groups) = std::fs::read_dir("/sys/fs/cgroup") else { return false };
    groups.flatten().any(|group| group.path().join("memory.swap.max").exists())
}

fn thermal() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let mut found: Vec<String> = entries
        .flatten()
        .map(|cpu| cpu.path().join("thermal_throttle"))
        .filter(|path| path.exists())
        .filter_map(|path| path.to_str().map(str::to_owned))
        .collect();
    found.sort();
    found
}

fn disks(flags: &RunArgs) -> Result<BTreeMap<PathBuf, (i64, i64)>, Problem> {
    use std::os::unix::fs::MetadataExt;
    let resources = &flags.resources;
    let rates = [
        ("device-read-bps", &resources.device_read_bps),
        ("device-write-bps", &resources.device_write_bps),
        ("device-read-iops", &resources.device_read_iops),
        ("device-write-iops", &resources.device_write_iops),
    ];
    let named = rates.iter().flat_map(|(flag, rates)| rates.iter().map(|rate| (*flag, &rate.device)));
    let weighed = resources.blkio_weight_device.iter().map(|weight| ("blkio-weight-device", &weight.device));
    let mut disks = BTreeMap::new();
    for (flag, path) in named.chain(weighed) {
        let metadata = std::fs::metadata(path)
            .map_err(|error| Problem::new(format!("--{flag} {}: {}", path.display(), cause(&error))))?;
        let number = |n: u64| i64::try_from(n).unwrap_or(-1);
        let device = metadata.rdev();
        let numbers = (number(nix::sys::stat::major(device)), number(nix::sys::stat::minor(device)));
        if device == 0 {
            return Err(Problem::new(format!("--{flag} {}: not a device", path.display())));
        }
        disks.insert(path.clone(), numbers);
    }
    Ok(disks)
}
