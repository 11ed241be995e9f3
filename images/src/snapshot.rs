//! A root file system for one container: the image's layers, shared and read only, below a directory of its own.
//!
//! Nothing is mounted here. The caller gets the directories of an overlay and mounts them itself, so that a mount dies
//! with its mount namespace and a killed rbox leaves none behind.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{FsType, statfs};
use rbox_explain::{Row, step};
use serde::{Deserialize, Serialize};

use crate::copy;
use crate::digest::Digest;
use crate::error::{Doing, Error, Result, refused};
use crate::image::Image;
use crate::layer::lowers::{Lowers, Unpacked};
use crate::layer::metadata;
use crate::remove;
use crate::size::size_of;
use crate::staging::{self, Staging};
use crate::store::Store;

static SNAPSHOT: Row = Row {
    key: "snapshot",
    why: "the container gets a layer of its own to write to; the image's layers below stay as they are",
    see: "kernel Documentation/filesystems/overlayfs.rst",
};

static COPY: Row = Row {
    key: "snapshot-copy",
    why: "overlayfs is not to be had here, so the container gets its own copy of all layers",
    see: "kernel Documentation/filesystems/overlayfs.rst",
};

/// A container's root file system, not yet mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snapshot {
    /// To be mounted as an overlay.
    Overlay {
        /// The image's layers, topmost first.
        lower: Vec<PathBuf>,
        /// What the container writes.
        upper: PathBuf,
        /// overlayfs's own working directory.
        work: PathBuf,
    },
    /// A directory of the container's own; nothing is shared.
    Copy(PathBuf),
}

/// Whether layers are shared between containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// By overlayfs where it is to be had, else not.
    #[default]
    Auto,
    /// Never: a private copy.
    Copy,
}

/// What a snapshot needs, so that nobody collects it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub(crate) image: Digest,
    pub(crate) chain: Vec<Digest>,
    shared: bool,
}

impl SnapshotRecord {
    fn of(image: &Image, shared: bool) -> Self {
        SnapshotRecord { image: image.id.clone(), chain: image.chain.clone(), shared }
    }

    /// Not forced to disk, which would take longer than all the rest of a start: what a power failure takes of a
    /// container is its own loss.
    fn write(&self, dir: &Path) -> Result<()> {
        let json = serde_json::to_vec(self).expect("strings always become JSON");
        std::fs::write(dir.join("snapshot.json"), json).doing(|| format!("write {}", dir.display()))
    }

    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let doing = || format!("read snapshot {}", dir.display());
        let json = std::fs::read(dir.join("snapshot.json")).doing(doing)?;
        serde_json::from_slice(&json).map_err(|error| refused(doing(), error.to_string()))
    }
}

impl Store {
    /// Make a root file system for the container `id` from `image`.
    ///
    /// # Errors
    /// Refused when the container has one already, or `id` is no plain name; NotFound when a layer was removed
    /// meanwhile; Os.
    pub fn snapshot(&self, image: &Image, id: &str, sharing: Sharing) -> Result<Snapshot> {
        let dir = self.snapshot_dir(id)?;
        if dir.exists() {
            return Err(refused(format!("make a root file system for container {id}"), "it has one already"));
        }
        // An image without layers has nothing to share, and overlayfs needs at least one lower directory.
        let shared = sharing == Sharing::Auto && !image.chain.is_empty() && has_overlay(&self.snapshots_dir())?;
        if shared { self.shared_snapshot(image, id, &dir) } else { self.copied_snapshot(image, id, &dir) }
    }

    /// Quick enough to hold the store's lock for all of it, so that no layer goes meanwhile.
    fn shared_snapshot(&self, image: &Image, id: &str, dir: &Path) -> Result<Snapshot> {
        let _guard = self.lock()?;
        let layers = self.unpacked_layers(image)?;
        let made = self.tmp().join(format!("{}-snapshot-{id}", std::process::id()));
        let directories = || format!("mkdir -p {0}/upper {0}/work", dir.display());
        let make = || {
            std::fs::create_dir(&made).doing(|| format!("make {}", made.display()))?;
            make_upper(&made, &layers)?;
            SnapshotRecord::of(image, true).write(&made)?;
            rbox_explain::mark("snapshot-beside");
            std::fs::rename(&made, dir).doing(|| format!("make {}", dir.display()))
        };
        step(&SNAPSHOT, directories, make)?;
        Ok(open(dir, true, &layers))
    }

    fn copied_snapshot(&self, image: &Image, id: &str, dir: &Path) -> Result<Snapshot> {
        let mut staging = Staging::new(self)?;
        staging.keep(image.chain.iter().cloned())?;
        let layers = self.unpacked_layers(image)?;
        let made = staging.dir().join(id);
        std::fs::create_dir(&made).doing(|| format!("make {}", made.display()))?;
        let request = || format!("cp -a {} layers {}/rootfs", layers.len(), dir.display());
        step(&COPY, request, || copy::layers(&layers, &made.join("rootfs")))?;
        SnapshotRecord::of(image, false).write(&made)?;
        let _guard = self.lock()?;
        std::fs::rename(&made, dir).doing(|| format!("make {}", dir.display()))?;
        Ok(open(dir, false, &layers))
    }

    /// The root file system that the container `id` has.
    ///
    /// # Errors
    /// Os when it has none; NotFound when its layers are gone.
    pub fn find_snapshot(&self, id: &str) -> Result<Snapshot> {
        let dir = self.snapshot_dir(id)?;
        let record = SnapshotRecord::read(&dir)?;
        let layers = self.layers_of(&record.chain, || record.image.to_string())?;
        Ok(open(&dir, record.shared, &layers))
    }

    /// How many bytes the container `id` has written: the files of its own layer.
    ///
    /// # Errors
    /// Os, when it has none or it cannot be read.
    pub fn snapshot_size(&self, id: &str) -> Result<u64> {
        let dir = self.snapshot_dir(id)?;
        let own = if SnapshotRecord::read(&dir)?.shared { dir.join("upper") } else { dir.join("rootfs") };
        size_of(&own).doing(|| format!("read {}", own.display()))
    }

    /// Remove the root file system of container `id`. If it is gone already, that is success.
    ///
    /// # Errors
    /// Os: it is still mounted, or cannot be removed.
    pub fn remove_snapshot(&self, id: &str) -> Result<()> {
        let dir = self.snapshot_dir(id)?;
        if !dir.exists() {
            return Ok(());
        }
        let trash = self.tmp().join(format!("{}-removed-{id}", std::process::id()));
        let guard = self.lock()?;
        let image = SnapshotRecord::read(&dir).ok().map(|record| record.image);
        // Held until it is gone, so that another opening does not sweep it at the same time.
        let Some(_owner) = staging::lock_directory(&dir)? else { return Ok(()) };
        match std::fs::rename(&dir, &trash) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            answer => answer.doing(|| format!("remove {}", dir.display()))?,
        }
        rbox_explain::mark("snapshot-moved");
        if let Some(image) = image
            && !self.catalog()?.images.contains_key(&image)
        {
            remove::collect(self, &trash)?;
        }
        drop(guard);
        // A crash from here on leaves a directory that the next opening sweeps.
        std::fs::remove_dir_all(&trash).doing(|| format!("remove {}", dir.display()))
    }

    /// The ids of all containers that have a root file system here.
    ///
    /// # Errors
    /// Os, when the directory cannot be listed.
    pub fn snapshots(&self) -> Result<Vec<String>> {
        let doing = || "list the containers' root file systems".to_owned();
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(self.snapshots_dir()).doing(doing)? {
            ids.extend(entry.doing(doing)?.file_name().into_string());
        }
        ids.sort();
        Ok(ids)
    }

    fn snapshot_dir(&self, id: &str) -> Result<PathBuf> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if id.is_empty() || id.starts_with('.') || !id.bytes().all(plain) {
            return Err(refused(format!("use container id {id:?}"), "only letters, digits, _, - and . are allowed"));
        }
        Ok(self.snapshots_dir().join(id))
    }

    /// The image's unpacked layers, topmost first.
    pub(crate) fn unpacked_layers(&self, image: &Image) -> Result<Vec<Unpacked>> {
        self.layers_of(&image.chain, || image.id.to_string())
    }

    fn layers_of(&self, chain: &[Digest], name: impl Fn() -> String) -> Result<Vec<Unpacked>> {
        let mut layers = Vec::new();
        for chain in chain.iter().rev() {
            match self.layer(chain)? {
                Some((dir, layer)) => layers.push(layer.unpacked(&dir)),
                None => return Err(Error::NotFound { name: name(), registry: None, similar: Vec::new() }),
            }
        }
        Ok(layers)
    }
}

fn open(dir: &Path, shared: bool, layers: &[Unpacked]) -> Snapshot {
    if shared {
        let lower = layers.iter().map(|layer| layer.tree.clone()).collect();
        Snapshot::Overlay { lower, upper: dir.join("upper"), work: dir.join("work") }
    } else {
        Snapshot::Copy(dir.join("rootfs"))
    }
}

/// The container sees its own directory's owner and mode as those of `/`: they must be the image's.
fn make_upper(dir: &Path, layers: &[Unpacked]) -> Result<()> {
    let upper = dir.join("upper");
    let doing = || format!("make {}", upper.display());
    std::fs::create_dir(&upper).doing(doing)?;
    std::fs::create_dir(dir.join("work")).doing(doing)?;
    if let Some(root) = Lowers::new(layers.to_vec()).lookup(Path::new("")).doing(doing)? {
        let made = std::fs::File::open(&upper).doing(doing)?;
        metadata::copy(&root.open().doing(doing)?, &root.stat, &made).doing(doing)?;
        let time = metadata::mtime(&root.stat);
        nix::sys::stat::futimens(&made, &time, &time).doing(doing)?;
    }
    Ok(())
}

/// Whether the kernel has overlayfs, and takes a directory on this file system as its upper one.
fn has_overlay(dir: &Path) -> Result<bool> {
    /// Another overlay, network file systems, and those without the attributes (statfs(2)).
    const UNFIT: [FsType; 7] = [
        nix::sys::statfs::OVERLAYFS_SUPER_MAGIC,
        nix::sys::statfs::NFS_SUPER_MAGIC,
        nix::sys::statfs::SMB_SUPER_MAGIC,
        nix::sys::statfs::FUSE_SUPER_MAGIC,
        nix::sys::statfs::MSDOS_SUPER_MAGIC,
        nix::sys::statfs::ECRYPTFS_SUPER_MAGIC,
        nix::sys::statfs::ISOFS_SUPER_MAGIC,
    ];
    let kind = statfs(dir).doing(|| format!("look at {}", dir.display()))?.filesystem_type();
    Ok(!UNFIT.contains(&kind) && kernel_has_overlay())
}

/// Built in or loaded, or a module that the first mount loads.
fn kernel_has_overlay() -> bool {
    let listed = std::fs::read_to_string("/proc/filesystems")
        .is_ok_and(|list| list.lines().any(|line| line.split_whitespace().last() == Some("overlay")));
    let module = || {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
        let modules = Path::new("/lib/modules").join(release.trim()).join("modules.dep");
        std::fs::read_to_string(modules).ok().map(|list| list.contains("/overlay.ko"))
    };
    listed || module().unwrap_or(false)
}
