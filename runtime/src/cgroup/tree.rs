//! The directories of a group: made with those above them, fit to hold processes, and removed with those below.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::file::{self, Purpose};
use super::{Error, Hierarchy};

/// Make the group's directory, and those above it where they are missing. False if it was there, and empty.
pub(super) fn make_directory(hierarchy: &Hierarchy) -> Result<bool, Error> {
    let made = ensure_directory(hierarchy)?;
    if !made {
        refuse_inhabited(&hierarchy.path)?;
    }
    Ok(made)
}

/// The same, whoever is in it.
pub(super) fn ensure_directory(hierarchy: &Hierarchy) -> Result<bool, Error> {
    let path = hierarchy.path.as_path();
    let failed = |path: &Path, source| Error::Os { doing: format!("create cgroup {}", path.display()), source };
    match file::make(path) {
        Ok(()) => return Ok(true),
        Err(Errno::EEXIST) => return Ok(false),
        Err(Errno::ENOENT) => {}
        Err(source) => return Err(failed(path, source)),
    }
    // The last container of another rbox may remove an empty directory above (`prune`) while we are on our way down.
    let mut last = Err(Errno::ENOENT);
    for _ in 0..ATTEMPTS {
        last = make_above(hierarchy).and_then(|()| file::make(path));
        if last != Err(Errno::ENOENT) {
            break;
        }
    }
    last.map(|()| true).map_err(|source| failed(path, source))
}

/// How often a directory that others remove is made again.
const ATTEMPTS: u32 = 100;

/// Make the directories above the group.
fn make_above(hierarchy: &Hierarchy) -> Result<(), Errno> {
    let above = hierarchy.path.ancestors().skip(1).take_while(|above| *above != hierarchy.mount);
    let mut above: Vec<_> = above.collect();
    above.reverse();
    for directory in above {
        match file::make(directory) {
            Ok(()) if hierarchy.has("cpuset") => {
                // So that the kernel fills the next ones itself: one write here saves four requests for each container.
                match fill_cpuset(&hierarchy.mount, directory) {
                    Err(Error::Os { source, .. } | Error::Set { source, .. }) => return Err(source),
                    _ => file::write(Purpose::Set, &directory.join("cgroup.clone_children"), "1")?,
                }
            }
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(source) => return Err(source),
        }
    }
    Ok(())
}

/// Refuse a group that somebody is in.
pub(super) fn refuse_inhabited(path: &Path) -> Result<(), Error> {
    let text = file::must_read(&path.join("cgroup.procs"))?;
    match text.lines().next().and_then(|line| line.parse().ok()) {
        Some(pid) => Err(Error::Inhabited { directory: path.to_owned(), pid }),
        None => Ok(()),
    }
}

/// A fresh cpuset of v1 is empty, and no process can join it: give it what the one above has.
pub(super) fn fill_cpuset(mount: &Path, path: &Path) -> Result<(), Error> {
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
pub(super) fn enable_controllers(mount: &Path, path: &Path) -> Result<(), Error> {
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
pub(super) fn remove_tree(path: &Path, deadline: Instant) -> Result<(), Error> {
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
