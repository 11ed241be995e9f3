//! A private directory where a pull, load or import puts together what it will add to the store.
//!
//! ```text
//!   images/tmp/<name>/        flock held as long as its maker lives
//!       keep                  digests that nobody may collect meanwhile
//!       blobs/sha256/…        new blobs, each verified
//!       l/<n>/{d, layer.json} new layers, unpacked
//! ```
//!
//! [`Staging::commit`] moves all of it to its places under the store's lock and writes the catalog last. After
//! `kill -9` at any moment there is only this directory without a holder of its lock; the next opening sweeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::blobs::{self, BlobWriter};
use crate::catalog::Record;
use crate::digest::Digest;
use crate::error::{Doing, Result, refused};
use crate::layer::lowers::{Lowers, Unpacked};
use crate::layer::{self, Packed};
use crate::manifest::{CONFIG_BYTES_MAX, Descriptor, Manifest};
use crate::reference::Reference;
use crate::store::{LayerRecord, Store};

const KEEP: &str = "keep";

/// See the module's text.
pub(crate) struct Staging<'s> {
    store: &'s Store,
    dir: PathBuf,
    /// Tells others that this directory has a living owner.
    _lock: Flock<File>,
    layers: BTreeMap<Digest, PathBuf>,
    blobs: BTreeSet<Digest>,
    keep: BTreeSet<Digest>,
    counter: usize,
}

/// An image that is complete in the staging directory and the store together.
pub(crate) struct Ready {
    pub(crate) id: Digest,
    pub(crate) record: Record,
    pub(crate) names: Vec<Reference>,
}

impl<'s> Staging<'s> {
    /// Make a directory of our own.
    pub(crate) fn new(store: &'s Store) -> Result<Self> {
        let _guard = store.lock()?;
        let tmp = store.tmp();
        let doing = || format!("make a directory in {}", tmp.display());
        for number in 0.. {
            let dir = tmp.join(format!("{}-{number}", std::process::id()));
            match std::fs::create_dir(&dir) {
                Ok(()) => {
                    let lock = lock_directory(&dir)?.expect("nobody else knows this directory yet");
                    std::fs::create_dir_all(dir.join("blobs")).doing(doing)?;
                    std::fs::create_dir(dir.join("l")).doing(doing)?;
                    let (layers, blobs, keep) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
                    return Ok(Staging { store, dir, _lock: lock, layers, blobs, keep, counter: 0 });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).doing(doing),
            }
        }
        unreachable!("the numbers do not end")
    }

    /// The directory itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Let nobody collect `digests` (blobs and chain ids) while this directory exists, even if no image needs them.
    pub(crate) fn keep(&mut self, digests: impl IntoIterator<Item = Digest>) -> Result<()> {
        let before = self.keep.len();
        self.keep.extend(digests);
        if self.keep.len() == before {
            return Ok(());
        }
        let _guard = self.store.lock()?;
        let text: Vec<&str> = self.keep.iter().map(Digest::as_str).collect();
        std::fs::write(self.dir.join(KEEP), text.join("\n")).doing(|| format!("write in {}", self.dir.display()))
    }

    /// Begin a new blob. `expected` is the digest and size that it must have.
    pub(crate) fn blob_writer(&mut self, expected: Option<(Digest, u64)>) -> Result<BlobWriter> {
        self.counter += 1;
        BlobWriter::create(&self.dir.join("blobs"), &format!("new{}", self.counter), expected)
    }

    /// End a new blob.
    pub(crate) fn add_blob(&mut self, writer: BlobWriter) -> Result<(Digest, u64)> {
        let (digest, size) = writer.finish()?;
        self.blobs.insert(digest.clone());
        Ok((digest, size))
    }

    /// Add a small blob.
    pub(crate) fn put(&mut self, content: &[u8]) -> Result<Digest> {
        let mut writer = self.blob_writer(None)?;
        writer.write_all(content).doing(|| "write to the image store".into())?;
        Ok(self.add_blob(writer)?.0)
    }

    /// The file of a blob that is staged or stored.
    pub(crate) fn blob(&self, digest: &Digest) -> Option<PathBuf> {
        let roots = [self.dir.join("blobs"), self.store.blobs()];
        roots.iter().map(|root| blobs::path(root, digest)).find(|path| path.exists())
    }

    /// Read a small blob that is staged or stored, and check it.
    pub(crate) fn read(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>> {
        let root = if self.blobs.contains(digest) { self.dir.join("blobs") } else { self.store.blobs() };
        blobs::read(&root, digest, bytes_max)
    }

    /// Unpack the layers of an image that are not unpacked yet, lowest first.
    ///
    /// `manifest` is the digest of `parsed`; all blobs are staged or stored.
    pub(crate) fn prepare(&mut self, manifest: &Digest, parsed: &Manifest, names: Vec<Reference>) -> Result<Ready> {
        let id = parsed.config.digest.clone();
        let config = crate::image::Config::parse(self.read(&id, CONFIG_BYTES_MAX)?)?;
        let diff_ids = config.diff_ids()?;
        if diff_ids.len() != parsed.layers.len() {
            let why = format!("it names {} layers, its manifest {}", diff_ids.len(), parsed.layers.len());
            return Err(refused(format!("use image config {id}"), why));
        }
        let chain = layer::chain_ids(&diff_ids);
        let blobs = parsed.layers.iter().map(|layer| layer.digest.clone());
        self.keep(blobs.chain(chain.iter().cloned()).chain([id.clone(), manifest.clone()]))?;
        let mut lowers: Vec<Unpacked> = Vec::new();
        let mut size = 0;
        for (number, descriptor) in parsed.layers.iter().enumerate() {
            let (unpacked, layer) = self.unpacked(&chain[..=number], &diff_ids[number], descriptor, &lowers)?;
            size += layer.size;
            lowers.insert(0, unpacked);
        }
        let layers = parsed.layers.iter().map(|layer| layer.digest.clone()).collect();
        let created = config.parsed.created().clone();
        let record = Record { manifest: manifest.clone(), layers, chain, size, created, tagged: None };
        Ok(Ready { id, record, names })
    }

    /// The layer `chain.last()`, from the store, from this directory, or unpacked now.
    fn unpacked(
        &mut self,
        chain: &[Digest],
        diff_id: &Digest,
        blob: &Descriptor,
        lowers: &[Unpacked],
    ) -> Result<(Unpacked, LayerRecord)> {
        let (own, below) = chain.split_last().expect("a layer has a chain id");
        let known = match self.layers.get(own) {
            Some(dir) => Some((dir.clone(), LayerRecord::read(dir)?)),
            None => self.store.layer(own)?,
        };
        if let Some((dir, layer)) = known {
            return Ok((layer.unpacked(&dir), layer));
        }
        let dir = self.dir.join("l").join(self.layers.len().to_string());
        let tree = LayerRecord::tree(&dir);
        std::fs::create_dir_all(&tree).doing(|| format!("make {}", tree.display()))?;
        let file = self
            .blob(&blob.digest)
            .ok_or_else(|| refused("use the image", format!("blob {} is missing", blob.digest)))?;
        let packed = Packed { blob: &file, digest: &blob.digest, size: blob.size, diff_id };
        let contents = layer::unpack(&packed, &tree, &Lowers::new(lowers.to_vec()), self.store.limits)?;
        let layer = LayerRecord {
            chain: own.clone(),
            below: below.last().cloned(),
            diff_id: diff_id.clone(),
            size: contents.size,
            archive_size: contents.archive_size,
            opaque: contents.opaque,
        };
        layer.write(&dir)?;
        self.layers.insert(own.clone(), dir.clone());
        Ok((layer.unpacked(&dir), layer))
    }

    /// Move everything to its place and enter `images` into the catalog.
    pub(crate) fn commit(self, images: &[Ready]) -> Result<()> {
        // After a power failure a layer that stands in its place must be whole: nobody unpacks it again.
        let own = File::open(&self.dir).doing(|| format!("open {}", self.dir.display()))?;
        nix::unistd::syncfs(&own).doing(|| format!("write {} to disk", self.dir.display()))?;
        let _guard = self.store.lock()?;
        for (chain, dir) in &self.layers {
            self.store.place_layer(chain, dir)?;
        }
        // An archive holds more than its images need; only that is taken.
        let needed = |digest: &&Digest| {
            images.iter().any(|i| i.id == **digest || i.record.manifest == **digest || i.record.layers.contains(digest))
        };
        for digest in self.blobs.iter().filter(needed) {
            self.store.place_blob(digest, &blobs::path(&self.dir.join("blobs"), digest))?;
        }
        self.store.change(|catalog| {
            for image in images {
                let mut record = image.record.clone();
                let before = catalog.images.get(&image.id).and_then(|old| old.tagged.clone());
                record.tagged = if image.names.is_empty() { before } else { Some(jiff::Timestamp::now().to_string()) };
                catalog.images.insert(image.id.clone(), record);
                for name in &image.names {
                    catalog.names.insert(name.clone(), image.id.clone());
                }
            }
        })
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next opening.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Lock a directory; nothing if somebody holds it, or it is gone.
pub(crate) fn lock_directory(dir: &Path) -> Result<Option<Flock<File>>> {
    let file = match File::open(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.doing(|| format!("open {}", dir.display()))?,
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error).doing(|| format!("lock {}", dir.display())),
    }
}

/// Remove what dead owners left behind. Cheap when there is nothing.
pub(crate) fn sweep(store: &Store) -> Result<()> {
    let tmp = store.tmp();
    if list(&tmp)?.is_empty() {
        return Ok(());
    }
    let mut dead = Vec::new();
    // Under the lock, so that what is being made this moment is seen with its owner, or not at all.
    let guard = store.lock()?;
    for dir in list(&tmp)?.into_iter().filter(|dir| dir.is_dir()) {
        if let Some(lock) = lock_directory(&dir)? {
            dead.push((dir, lock));
        }
    }
    drop(guard);
    for (dir, _lock) in &dead {
        // A second sweeper may be faster; and what is still busy is for the next one.
        let _ = std::fs::remove_dir_all(dir);
    }
    Ok(())
}

/// What living stagings ask to keep. The caller holds the store's lock.
pub(crate) fn kept(store: &Store) -> Result<BTreeSet<Digest>> {
    let mut kept = BTreeSet::new();
    for dir in list(&store.tmp())? {
        let text = std::fs::read_to_string(dir.join(KEEP)).unwrap_or_default();
        kept.extend(text.lines().filter_map(|line| line.parse().ok()));
    }
    Ok(kept)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("list {}", dir.display());
    std::fs::read_dir(dir)
        .doing(doing)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<_>>()
        .doing(doing)
}
