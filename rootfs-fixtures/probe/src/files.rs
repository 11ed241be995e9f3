//! What the file tree looks like from here: mounts, devices, descriptors, the files an engine writes.

use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// The files an engine writes into a container, and kernel settings tests ask for.
const FILES: &[&str] = &[
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/shmmax",
    "/proc/sys/kernel/msgmax",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/ip_unprivileged_port_start",
    "/proc/sys/net/ipv4/ping_group_range",
    "/proc/sys/net/ipv6/conf/all/disable_ipv6",
    "/proc/sys/net/core/somaxconn",
];

/// Mounts, device nodes, open descriptors and the contents of [`FILES`].
pub(crate) fn see() -> Value {
    let files: Map<String, Value> =
        FILES.iter().filter_map(|path| Some(((*path).to_owned(), json!(fs::read_to_string(path).ok()?)))).collect();
    json!({ "mounts": mounts(), "devices": list("/dev"), "fds": descriptors(), "files": files, "root": list("/") })
}

/// Open descriptors and what they lead to; the one that reads the list is left out.
fn descriptors() -> Value {
    let mut found = Map::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        if let Ok(target) = fs::read_link(entry.path())
            && !target.starts_with("/proc")
        {
            found.insert(entry.file_name().to_string_lossy().into_owned(), json!(target.display().to_string()));
        }
    }
    found.into()
}

/// mountinfo, one object for each line: proc_pid_mountinfo(5).
fn mounts() -> Value {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Value> {
    let (before, after) = line.split_once(" - ")?;
    let before: Vec<&str> = before.split(' ').collect();
    let after: Vec<&str> = after.split(' ').collect();
    Some(json!({
        "root": before.get(3)?,
        "target": before.get(4)?.replace("\\040", " "),
        "options": before.get(5)?.split(',').collect::<Vec<_>>(),
        "propagation": before.get(6..)?,
        "type": after.first()?,
        "source": after.get(1)?,
        "super": after.get(2)?.split(',').collect::<Vec<_>>(),
    }))
}

/// The entries of a directory with kind, mode, owner, device number and size; a symbolic link's target too.
pub(crate) fn list(path: &str) -> Value {
    let mut found = Map::new();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
        let kind = meta.file_type();
        let name = match () {
            () if kind.is_symlink() => "link",
            () if kind.is_dir() => "directory",
            () if kind.is_char_device() => "char",
            () if kind.is_block_device() => "block",
            () if kind.is_fifo() => "fifo",
            () if kind.is_socket() => "socket",
            () => "file",
        };
        let target = fs::read_link(entry.path()).map(|target| target.display().to_string()).ok();
        let number = format!("{}:{}", nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
        found.insert(
            entry.file_name().to_string_lossy().into_owned(),
            json!({
                "kind": name,
                "mode": format!("{:04o}", meta.mode() & 0o7777),
                "uid": meta.uid(),
                "gid": meta.gid(),
                "device": number,
                "size": meta.size(),
                "target": target,
            }),
        );
    }
    found.into()
}
