//! The file systems of a container, in the order in which they are mounted (moby `daemon/oci_linux.go`, `withMounts`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::Host;
use crate::cli::RunArgs;
use crate::cli::value::{Bind, IpcMode, MountFlag, Propagation, Tmpfs};
use crate::report::Problem;

/// A bind mount of a file or directory that rbox itself puts there: /etc/hosts and its like.
pub(crate) fn bind(source: &Path, destination: &Path, read_only: bool) -> Mount {
    let mut options = vec!["rbind", "rprivate"];
    options.extend(read_only.then_some("ro"));
    mount(destination, "bind", source, &options)
}

/// The container's mounts: Docker's own, but where the flags put another on the same place; then those of the flags, the
/// shorter paths first.
pub(super) fn mounts(flags: &RunArgs, host: &Host) -> Result<Vec<Mount>, Problem> {
    let typed = in_order(flags)?;
    let taken: BTreeSet<&Path> = typed.iter().map(|mount| mount.target()).collect();
    let dev_is_typed = taken.contains(Path::new("/dev"));
    let mut all: Vec<Mount> = defaults(flags)
        .into_iter()
        .filter(|mount| !taken.contains(mount.destination().as_path()))
        .filter(|mount| {
            !(dev_is_typed && mount.destination() != Path::new("/dev") && mount.destination().starts_with("/dev"))
        })
        .collect();
    if flags.namespaces.ipc == IpcMode::Host && !taken.contains(Path::new("/dev/shm")) {
        all.push(bind(Path::new("/dev/shm"), Path::new("/dev/shm"), false));
    }
    for flag in typed {
        all.push(match flag {
            MountFlag::Bind(flag) => bind_flag(flag, host)?,
            MountFlag::Tmpfs(flag) => tmpfs_flag(flag)?,
        });
    }
    if flags.files.read_only {
        all.iter_mut().for_each(make_read_only);
    }
    Ok(all)
}

/// The sources of `-v` that are not there: they are made as directories, as dockerd does.
pub(super) fn to_make(flags: &RunArgs, host: &Host) -> Vec<PathBuf> {
    flags
        .files
        .volume
        .iter()
        .filter_map(|mount| match mount {
            MountFlag::Bind(bind) if bind.make_source => Some(host.directory.join(&bind.source)),
            _ => None,
        })
        .filter(|source| source.symlink_metadata().is_err())
        .collect()
}

/// A mount that shares with the host can only do so if the root of the container's tree does.
pub(super) fn root_propagation(flags: &RunArgs) -> Option<String> {
    let modes: Vec<Propagation> = flags
        .files
        .volume
        .iter()
        .chain(&flags.files.mount)
        .filter_map(|mount| match mount {
            MountFlag::Bind(bind) => Some(bind.propagation),
            MountFlag::Tmpfs(_) => None,
        })
        .collect();
    if modes.iter().any(|mode| matches!(mode, Propagation::Shared | Propagation::RShared)) {
        Some("shared".into())
    } else if modes.iter().any(|mode| matches!(mode, Propagation::Slave | Propagation::RSlave)) {
        Some("rslave".into())
    } else {
        None
    }
}

/// The mounts of the flags, those with fewer parts in their path first: a later one may stand inside an earlier one.
fn in_order(flags: &RunArgs) -> Result<Vec<&MountFlag>, Problem> {
    let files = &flags.files;
    let mut typed: Vec<&MountFlag> = files.volume.iter().chain(&files.mount).chain(&files.tmpfs).collect();
    let mut seen = BTreeSet::new();
    if let Some(twice) = typed.iter().find(|mount| !seen.insert(mount.target())) {
        return Err(Problem::new(format!("{}: two mounts go to it", twice.target().display())));
    }
    typed.sort_by_key(|mount| mount.target().components().count());
    Ok(typed)
}

/// moby `oci/defaults.go`.
fn defaults(flags: &RunArgs) -> Vec<Mount> {
    let privileged = flags.security.privileged;
    let plain = ["nosuid", "noexec", "nodev"];
    let access = if privileged { "rw" } else { "ro" };
    let shm = format!("size={}", flags.files.shm_size);
    let own = |path: &str, kind: &str, source: &str, options: &[&str]| {
        mount(Path::new(path), kind, Path::new(source), options)
    };
    let mut all = vec![
        own("/proc", "proc", "proc", &plain),
        own("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        own(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        own("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        own("/sys/fs/cgroup", "cgroup", "cgroup", &[access, "nosuid", "noexec", "nodev"]),
        own("/dev/mqueue", "mqueue", "mqueue", &plain),
    ];
    if matches!(flags.namespaces.ipc, IpcMode::Private | IpcMode::Shareable) {
        all.push(own("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]));
    }
    all
}

fn bind_flag(flag: &Bind, host: &Host) -> Result<Mount, Problem> {
    let source = host.directory.join(&flag.source);
    if !flag.make_source && !source.exists() {
        return Err(Problem::new(format!("--mount {}: no such file or directory", source.display()))
            .hint("-v SOURCE:TARGET makes a directory of it"));
    }
    if flag.relabel && host.selinux {
        let problem = Problem::new(format!("--volume {}: relabelling for SELinux is not supported", source.display()));
        return Err(problem.hint("label it with chcon -t container_file_t"));
    }
    let mut options = vec![if flag.recursive { "rbind" } else { "bind" }];
    options.extend(flag.read_only.then_some("ro"));
    options.push(flag.propagation.name());
    Ok(mount(&flag.target, "bind", &source, &options))
}

fn tmpfs_flag(flag: &Tmpfs) -> Result<Mount, Problem> {
    let wrong =
        |option: String| Problem::new(format!("--tmpfs {}: there is no option {option}", flag.target.display()));
    let options = tmpfs_options(&flag.options).map_err(wrong)?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Ok(mount(&flag.target, "tmpfs", Path::new("tmpfs"), &options))
}

/// Docker's options of a tmpfs with those of the flag over them: of two that say the same thing, the last stays
/// (moby/sys `mount.MergeTmpfsOptions`).
fn tmpfs_options(typed: &[String]) -> Result<Vec<String>, String> {
    /// Options that cancel each other stand in one row.
    const ALIKE: [&[&str]; 14] = [
        &["ro", "rw"],
        &["suid", "nosuid"],
        &["dev", "nodev"],
        &["exec", "noexec"],
        &["sync", "async"],
        &["dirsync"],
        &["mand", "nomand"],
        &["atime", "noatime"],
        &["diratime", "nodiratime"],
        &["relatime", "norelatime"],
        &["strictatime", "nostrictatime"],
        &["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"],
        &["bind", "rbind"],
        &["remount"],
    ];
    const VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
    let defaults = ["noexec", "nosuid", "nodev", "rprivate"].map(str::to_owned);
    let mut merged: Vec<String> = Vec::new();
    let mut said: BTreeSet<&str> = BTreeSet::new();
    for option in defaults.iter().chain(typed).rev().filter(|option| *option != "defaults") {
        let row = ALIKE.iter().find(|row| row.contains(&option.as_str())).map(|row| row[0]);
        let value = option.split_once('=').and_then(|(key, _)| VALUES.into_iter().find(|known| *known == key));
        if said.insert(row.or(value).ok_or_else(|| option.clone())?) {
            merged.insert(0, option.clone());
        }
    }
    Ok(merged)
}

/// With `--read-only` what is mounted inside is read-only too, but for the places that a program needs to write to.
fn make_read_only(mount: &mut Mount) {
    const WRITABLE: [&str; 5] = ["/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"];
    let ours = ["/sys", "/sys/fs/cgroup"].iter().any(|path| mount.destination() == Path::new(path));
    if WRITABLE.iter().any(|path| mount.destination() == Path::new(path)) || !ours {
        return;
    }
    if let Some(options) = mount.options_mut() {
        options.retain(|option| option != "rw" && option != "ro");
        options.push("ro".into());
    }
}

fn mount(destination: &Path, kind: &str, source: &Path, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(destination.to_owned());
    mount.set_typ(Some(kind.into()));
    mount.set_source(Some(source.to_owned()));
    mount.set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

#[cfg(test)]
mod tests {
    use super::*;

    /// moby/sys mount, TestMergeTmpfsOptions.
    #[test]
    fn of_two_tmpfs_options_that_cancel_the_last_stays() {
        let merge = |typed: &str| {
            let typed: Vec<String> = typed.split(',').map(str::to_owned).collect();
            tmpfs_options(&typed).map(|options| options.join(","))
        };
        for (typed, wanted) in [
            ("defaults", "noexec,nosuid,nodev,rprivate"),
            ("exec", "nosuid,nodev,rprivate,exec"),
            ("size=10k,mode=1777,size=64m", "noexec,nosuid,nodev,rprivate,mode=1777,size=64m"),
            ("ro,rw,rshared", "noexec,nosuid,nodev,rw,rshared"),
        ] {
            assert_eq!(merge(typed).as_deref(), Ok(wanted), "{typed}");
        }
        assert_eq!(merge("size"), Err("size".into()));
        assert_eq!(merge("color=red"), Err("color=red".into()));
    }
}
