//! Which devices there are in /dev, and which the program may use (moby `oci/devices_linux.go`, `oci/defaults.go`).
//!
//! The runtime adds what every container has (/dev/null and its like, the pseudo-terminals).

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::Host;
use crate::cli::RunArgs;
use crate::report::Problem;

/// A device file of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostDevice {
    /// Where it is on the host.
    pub(crate) path: PathBuf,
    /// Block or character.
    pub(crate) kind: LinuxDeviceType,
    /// Its numbers.
    pub(crate) numbers: (i64, i64),
    /// Its permission bits.
    pub(crate) mode: u32,
    /// Its owner and group.
    pub(crate) owner: (u32, u32),
}

impl HostDevice {
    fn of(path: &Path, metadata: &Metadata) -> Option<Self> {
        let kind = match metadata.file_type() {
            kind if kind.is_block_device() => LinuxDeviceType::B,
            kind if kind.is_char_device() => LinuxDeviceType::C,
            _ => return None,
        };
        let number = |n: u64| i64::try_from(n).unwrap_or(-1);
        Some(Self {
            path: path.to_owned(),
            kind,
            numbers: (number(major(metadata.rdev())), number(minor(metadata.rdev()))),
            mode: metadata.mode() & 0o777,
            owner: (metadata.uid(), metadata.gid()),
        })
    }

    fn at(&self, target: PathBuf) -> LinuxDevice {
        let mut device = LinuxDevice::default();
        device.set_path(target);
        device.set_typ(self.kind);
        device.set_major(self.numbers.0);
        device.set_minor(self.numbers.1);
        device.set_file_mode(Some(self.mode));
        device.set_uid(Some(self.owner.0));
        device.set_gid(Some(self.owner.1));
        device
    }

    fn allowed(&self, access: &str) -> LinuxDeviceCgroup {
        rule(true, Some(self.kind), Some(self.numbers), access)
    }
}

/// The devices that a flag names: one, or all in a directory. Links are followed.
pub(super) fn named(path: &Path) -> Result<Vec<HostDevice>, Problem> {
    let wrong = |why: &str| Problem::new(format!("--device {}: {why}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| wrong(&super::host::cause(&error)))?;
    if let Some(device) = HostDevice::of(path, &metadata) {
        return Ok(vec![device]);
    }
    if !metadata.is_dir() {
        return Err(wrong("not a device"));
    }
    let mut found = Vec::new();
    walk(path, &mut found);
    if found.is_empty() { Err(wrong("no devices in it")) } else { Ok(found) }
}

/// All devices of the host, for `--privileged`.
pub(super) fn all() -> Vec<HostDevice> {
    let mut found = Vec::new();
    walk(Path::new("/dev"), &mut found);
    found
}

/// Every device below `directory`, but for what each container has of its own (moby `HostDevices`). A device that goes
/// away meanwhile is left out.
fn walk(directory: &Path, found: &mut Vec<HostDevice>) {
    const OWN: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        if metadata.is_dir() {
            if !OWN.iter().any(|own| name == *own) {
                walk(&path, found);
            }
        } else if name != "console"
            && let Some(device) = HostDevice::of(&path, &metadata)
        {
            found.push(device);
        }
    }
}

/// The device files to make, and the rules of the device control group.
pub(super) fn devices(flags: &RunArgs, host: &Host) -> (Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>) {
    let security = &flags.security;
    let mut files: BTreeMap<PathBuf, LinuxDevice> = BTreeMap::new();
    let mut rules = if security.privileged { vec![rule(true, None, None, "rwm")] } else { default_rules() };
    if security.privileged {
        files.extend(host.all_devices.iter().map(|device| (device.path.clone(), device.at(device.path.clone()))));
    }
    for flag in &security.device {
        for device in host.devices.get(&flag.source).into_iter().flatten() {
            let below = device.path.strip_prefix(&flag.source).unwrap_or(Path::new(""));
            let target = if below.as_os_str().is_empty() { flag.target.clone() } else { flag.target.join(below) };
            files.insert(target.clone(), device.at(target));
            if !security.privileged {
                rules.push(device.allowed(&flag.access));
            }
        }
    }
    rules.extend(security.device_cgroup_rule.iter().cloned());
    (files.into_values().collect(), rules)
}

/// moby `oci/defaults.go`: nothing, but for the devices that every container has. Numbers: Documentation/admin-guide/devices.txt.
fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let character = |allow, major, minor| rule(allow, Some(LinuxDeviceType::C), Some((major, minor)), "rwm");
    vec![
        rule(false, None, None, "rwm"),
        character(true, 1, 5),     // zero
        character(true, 1, 3),     // null
        character(true, 1, 9),     // urandom
        character(true, 1, 8),     // random
        character(true, 5, 0),     // tty
        character(true, 5, 1),     // console
        character(false, 10, 229), // fuse
    ]
}

fn rule(allow: bool, kind: Option<LinuxDeviceType>, numbers: Option<(i64, i64)>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow);
    rule.set_typ(kind);
    rule.set_major(numbers.map(|(major, _)| major));
    rule.set_minor(numbers.map(|(_, minor)| minor));
    rule.set_access(Some(access.into()));
    rule
}
