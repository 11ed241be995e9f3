//! A layer: an archive of changes, unpacked once and shared by every container whose image has it.
//!
//! ```text
//!   blob ─▶ hash, count ─▶ inflate ─▶ hash, count ─▶ tar entries ─▶ tree (a private directory)
//!            = digest                  = diff id                     ─▶ renamed to its place when all of it is right
//! ```
//!
//! A tree is kept by chain id (image-spec config.md#layer-chainid), not by diff id: what an archive means can depend
//! on the layers below (a hard link to a lower file, a directory that is only implied).

mod compression;
mod entry;
pub(crate) mod lowers;
pub(crate) mod metadata;
mod tar;
mod tree;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use rbox_explain::{Row, step_saying};

pub(crate) use compression::Inflated;
pub(crate) use tar::{Entry, Kind, TarStream};

use crate::digest::{Digest, Hashing};
use crate::error::{Doing, Result, refused};
use lowers::Lowers;

static UNPACK: Row = Row {
    key: "layer",
    why: "a layer is unpacked once and then shared, read only, by every container that uses it",
    see: "image-spec layer.md",
};

/// How much one layer may unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the unpacked archive.
    pub bytes: u64,
    /// Number of files, directories and so on.
    pub entries: u64,
}

impl Default for Limits {
    /// 256 GiB and four million entries: above any image that is meant well. The disk's free space limits further.
    fn default() -> Self {
        Limits { bytes: 256 << 30, entries: 4_000_000 }
    }
}

/// The packed layer, and what it must be.
pub(crate) struct Packed<'a> {
    pub(crate) blob: &'a Path,
    pub(crate) digest: &'a Digest,
    pub(crate) size: u64,
    pub(crate) diff_id: &'a Digest,
}

/// What came out.
pub(crate) struct Contents {
    /// Bytes of file content: what `docker images` adds up.
    pub(crate) size: u64,
    /// Bytes of the unpacked archive.
    pub(crate) archive_size: u64,
    pub(crate) opaque: BTreeSet<PathBuf>,
}

/// Unpack a layer into the empty directory `into`, verifying the blob and the archive on the way.
pub(crate) fn unpack(packed: &Packed<'_>, into: &Path, lowers: &Lowers, limits: Limits) -> Result<Contents> {
    step_saying(
        &UNPACK,
        || format!("tar -x -C {} < {}", into.display(), packed.blob.display()),
        || unpack_verified(packed, into, lowers, limits),
        |contents| format!("{} bytes", contents.size),
    )
}

fn unpack_verified(packed: &Packed<'_>, into: &Path, lowers: &Lowers, limits: Limits) -> Result<Contents> {
    let doing = || format!("unpack layer {}", packed.digest);
    let blob = File::open(packed.blob).doing(|| format!("open layer {}", packed.digest))?;
    let blob = Hashing::new(blob, packed.digest.hasher(), packed.size, "the layer is longer than its manifest says");
    let limit = limits.bytes.min(free_bytes(into)?);
    let archive = Inflated::new(blob).doing(doing)?;
    let mut archive = Hashing::new(archive, packed.diff_id.hasher(), limit, "the layer unpacks to more than allowed");
    let (size, opaque) = extract(&mut archive, into, lowers, limits.entries).doing(doing)?;
    // The hash covers what stands behind the archive's end, too.
    archive.drain().doing(doing)?;
    let (inflated, diff_id, archive_size) = archive.into_parts();
    let mut blob = inflated.into_packed();
    blob.drain().doing(doing)?;
    let (digest, length) = blob.finish();
    if digest != *packed.digest || length != packed.size {
        return Err(refused(doing(), format!("its content is {digest} ({length} bytes)")));
    }
    if diff_id != *packed.diff_id {
        return Err(refused(doing(), format!("it unpacks to {diff_id}, but the image says {}", packed.diff_id)));
    }
    Ok(Contents { size, archive_size, opaque })
}

pub(crate) fn free_bytes(directory: &Path) -> Result<u64> {
    let stat =
        nix::sys::statvfs::statvfs(directory).doing(|| format!("look at the disk of {}", directory.display()))?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

/// Give `into` the contents of an archive. Gives the bytes of file content and the opaque directories.
fn extract(archive: impl Read, into: &Path, lowers: &Lowers, entries_max: u64) -> io::Result<(u64, BTreeSet<PathBuf>)> {
    let root = nix::fcntl::open(into, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut tree = tree::Tree::new(root, lowers);
    inherit_root(&mut tree, lowers)?;
    let mut stream = TarStream::new(archive);
    let (mut size, mut entries) = (0u64, 0u64);
    while let Some(entry) = stream.next_entry()? {
        entries += 1;
        if entries > entries_max {
            return Err(refused("unpack the layer", format!("it has more than {entries_max} entries")).into());
        }
        let written = entry::apply(&mut tree, &entry, &mut stream).map_err(|error| name_entry(&entry, error))?;
        size = size.saturating_add(written);
    }
    Ok((size, tree.finish()?))
}

/// An error of the operating system, with the entry it happened at.
fn name_entry(entry: &Entry, error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(_) => {
            let doing = format!("unpack {:?}", String::from_utf8_lossy(&entry.path));
            crate::error::Error::Os { doing, source: error }.into()
        }
        None => error,
    }
}

/// A layer that says nothing about `/` leaves it as the layers below have it.
fn inherit_root(tree: &mut tree::Tree<'_>, lowers: &Lowers) -> io::Result<()> {
    let root = tree.root()?.open(".".as_ref(), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    match lowers.lookup(Path::new(""))? {
        None => metadata::set_owner_and_mode(&root, 0, 0, 0o755),
        Some(found) => {
            metadata::copy(&found.open()?, &found.stat, &root)?;
            tree.remember_time(PathBuf::new(), (found.stat.st_mtime, found.stat.st_mtime_nsec));
            Ok(())
        }
    }
}

/// The chain ids of layers given by their diff ids, lowest first.
///
/// image-spec config.md#layer-chainid: the first is the diff id itself, each further one the digest of
/// `"<chain id below> <diff id>"`.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}
