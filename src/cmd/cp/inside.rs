//! The files of a container: as its first process sees them, or as its next would.
//!
//! Of one that does not run the layers are mounted here, and its bind mounts in them, in a mount namespace of this
//! process alone: nothing is left of it when this process ends. Meanwhile the container is held, since two overlays must not
//! have one upper directory (kernel Documentation/filesystems/overlayfs.rst).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use rbox_images::{Snapshot, Store};

use rbox_runtime::Root;
use rbox_runtime::container::{Container, Status};

use super::last_name;
use super::tree::{Tree, make_directory};
use crate::creation::Creation;
use crate::dirs::Dirs;
use crate::record::{Claim, Purpose, Record};
use crate::report::{self, Problem};
use crate::sweep;

/// How long to wait for another command to let go of the container.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

/// The files, and the hold on the container that they are of.
pub(super) struct Inside<'d> {
    pub(super) tree: Tree,
    _held: Option<Held<'d>>,
}

/// A container that does not run, and is not started or removed meanwhile.
struct Held<'d> {
    claim: Claim,
    dirs: &'d Dirs,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.claim.release(self.dirs).unwrap_or_else(|error| report::warn(&error));
    }
}

impl<'d> Inside<'d> {
    /// Those of container `record`, which was typed as `name`.
    ///
    /// Errors: another command starts or removes it; its layers or what is mounted in them cannot be had.
    pub(super) fn of(dirs: &'d Dirs, record: &Record, name: &str) -> Result<Inside<'d>> {
        let deadline = Instant::now() + LET_GO_WITHIN;
        let claim = loop {
            if let Ok(container) = Container::load(&dirs.runtime(), &record.id)
                && matches!(container.status(), Status::Running | Status::Paused)
            {
                return Ok(Inside { tree: Tree::of(&container.root()?)?, _held: None });
            }
            if let Some(claim) = Claim::hold(dirs, &record.id, &record.name, Purpose::Hold)? {
                break claim;
            }
            // Who held it may have been killed since this command began.
            sweep::sweep(dirs, &dirs.networks()?).iter().for_each(report::warn);
            if Instant::now() > deadline {
                let why = "another command is starting or removing it";
                return Err(Problem::new(format!("cannot copy files of container {name}: {why}")).into());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let held = Held { claim, dirs };
        // It may have been removed in this moment.
        let found = Record::load(dirs, &record.id)?;
        let record = found.ok_or_else(|| Problem::new(format!("container {name}: not found")))?;
        let doing = || format!("cannot mount the files of container {name}");
        Ok(Inside { tree: at_rest(dirs, &record).with_context(doing)?, _held: Some(held) })
    }
}

fn at_rest(dirs: &Dirs, record: &Record) -> Result<Tree> {
    let root = layers(dirs, record)?;
    let tree = Tree::of(&root)?;
    let made = Creation::load(dirs, &record.id)?;
    let binds = made.as_ref().map(binds).unwrap_or_default();
    if !binds.is_empty() {
        // In this process's own view its directory is as good as any: what is in it has been read.
        root.attach_alone(&dirs.container(&record.id))?;
    }
    for bind in &binds {
        let doing = || format!("{} on {}", bind.source.display(), bind.target.display());
        let is_directory = fs::metadata(&bind.source).with_context(doing)?.is_dir();
        let place = mount_point(&tree, &bind.target, is_directory).with_context(doing)?;
        Root::bind(&bind.source, place.as_fd(), (bind.recursive, bind.read_only)).with_context(doing)?;
    }
    Ok(tree)
}

fn layers(dirs: &Dirs, record: &Record) -> Result<Root> {
    if record.image_id.is_some() {
        return Ok(match Store::open(dirs.root())?.find_snapshot(&record.id)? {
            Snapshot::Overlay { lower, upper, work } => Root::overlay(&lower, &upper, &work)?,
            Snapshot::Copy(directory) => Root::open(&directory)?,
        });
    }
    let spec = oci_spec::runtime::Spec::load(dirs.container(&record.id).join("config.json"));
    let root = spec.ok().and_then(|spec| spec.root().clone()).context("config.json: it has no root")?;
    Ok(Root::open(root.path())?)
}

/// A file or directory of the host that the container sees.
#[derive(Debug, PartialEq)]
struct Bind {
    source: PathBuf,
    target: PathBuf,
    recursive: bool,
    read_only: bool,
}

/// The bind mounts, one that is in another after it.
fn binds(made: &Creation) -> Vec<Bind> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let told = list(&made.host_config["Mounts"]);
    let is_alone = |target: &serde_json::Value| {
        told.iter().any(|mount| mount["Target"] == *target && mount["BindOptions"]["NonRecursive"] == true)
    };
    let bind = |mount: &serde_json::Value| {
        (mount["Type"] == "bind").then_some(Bind {
            source: mount["Source"].as_str()?.into(),
            target: mount["Destination"].as_str()?.into(),
            recursive: !is_alone(&mount["Destination"]),
            read_only: mount["RW"] == false,
        })
    };
    let mut all: Vec<Bind> = list(&made.mounts).iter().filter_map(bind).collect();
    all.sort_by_key(|bind| bind.target.components().count());
    all
}

/// The place that something is mounted on, made if it is not there, as a start makes it.
fn mount_point(tree: &Tree, path: &Path, is_directory: bool) -> Result<OwnedFd> {
    match tree.open(path, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return Ok(found?),
    }
    let name = last_name(path).context("the path names no place")?;
    let parent = mount_point(tree, path.parent().unwrap_or(Path::new("/")), true)?;
    if !is_directory {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        return Ok(openat(&parent, name.as_os_str(), flags, Mode::from_bits_truncate(0o644))?);
    }
    let (made, is_new) = make_directory(parent.as_fd(), &name)?;
    if is_new {
        fchmodat(&made, ".", Mode::from_bits_truncate(0o755), FchmodatFlags::FollowSymlink)?;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn binds_are_mounted_from_the_outside_in() {
        let bind = |target: &str, rw: bool| json!({ "Type": "bind", "Source": "/s", "Destination": target, "RW": rw });
        let alone = json!({ "Type": "bind", "Target": "/a", "BindOptions": { "NonRecursive": true } });
        let made = Creation {
            config: json!({}),
            host_config: json!({ "Mounts": [alone] }),
            mounts: json!([bind("/a/b", false), { "Type": "tmpfs", "Destination": "/t" }, bind("/a", true)]),
        };
        let wanted = |target: &str, recursive, read_only| Bind {
            source: "/s".into(),
            target: target.into(),
            recursive,
            read_only,
        };
        assert_eq!(binds(&made), [wanted("/a", false, false), wanted("/a/b", true, true)]);
    }
}
