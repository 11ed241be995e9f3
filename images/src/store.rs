//! The images on this machine.
//!
//! ```text
//!   <root>/images/catalog.json   which images there are, and their names
//!   <root>/images/blobs/         manifests, configs and packed layers, by digest
//!   <root>/images/tmp/           what is being put together, see staging.rs
//!   <root>/images/lock           held for one change, never for a download
//!   <root>/l/<12 hex>/d          an unpacked layer (short, because all of a stack must fit into mount options)
//!   <root>/snapshots/<id>/       what a container writes
//! ```

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::blobs;
use crate::catalog::{Catalog, Record};
use crate::digest::Digest;
use crate::error::{Doing, Error, Result, refused};
use crate::image::{Config, Image, ImageSummary};
use crate::layer::Limits;
use crate::layer::lowers::Unpacked;
use crate::manifest::CONFIG_BYTES_MAX;
use crate::reference::Reference;
use crate::staging;

/// An id prefix shorter than this is taken for a name alone, as nobody would type it for an id.
const ID_PREFIX_MIN: usize = 2;
const SIMILAR_MAX: usize = 3;

/// The images on this machine. Opening is cheap; every call reads what is on disk now.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// How much one layer may unpack to.
    pub limits: Limits,
}

/// What is known of an unpacked layer, beside its tree.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) chain: Digest,
    pub(crate) below: Option<Digest>,
    pub(crate) diff_id: Digest,
    pub(crate) size: u64,
    pub(crate) archive_size: u64,
    pub(crate) opaque: BTreeSet<PathBuf>,
}

impl LayerRecord {
    /// The files of the layer in `dir`.
    pub(crate) fn tree(dir: &Path) -> PathBuf {
        dir.join("d")
    }

    pub(crate) fn unpacked(&self, dir: &Path) -> Unpacked {
        Unpacked { tree: Self::tree(dir), opaque: self.opaque.clone() }
    }

    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let doing = || format!("read layer {}", dir.display());
        let json = std::fs::read(dir.join("layer.json")).doing(doing)?;
        serde_json::from_slice(&json).map_err(|error| refused(doing(), error.to_string()))
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        // A path that is not UTF-8 cannot be opaque in JSON; the attribute on the directory still says it to overlayfs.
        let json =
            serde_json::to_vec(self).map_err(|e| refused(format!("describe layer {}", self.chain), e.to_string()))?;
        // Forced to disk with the layer's files, all at once, by the commit.
        std::fs::write(dir.join("layer.json"), json).doing(|| format!("write {}", dir.display()))
    }
}

impl Store {
    /// Open the store below `root`; a missing one is made.
    ///
    /// # Errors
    /// Os, when directories cannot be made or left-overs of a killed run cannot be looked at.
    pub fn open(root: &Path) -> Result<Self> {
        let store = Store { root: root.to_owned(), limits: Limits::default() };
        // Layers hold setuid programs of any age: no user of the host may come near (CVE-2021-41091).
        for dir in [store.tmp(), store.blobs(), store.layers(), store.snapshots_dir()] {
            if !dir.is_dir() {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
                made.doing(|| format!("make the image store {}", dir.display()))?;
            }
        }
        staging::sweep(&store)?;
        Ok(store)
    }

    /// The image that the user means: by name, name and digest, id, or the beginning of an id.
    ///
    /// # Errors
    /// NotFound with similar local names; Ambiguous when several ids begin so; InvalidReference.
    pub fn find(&self, name: &str) -> Result<Image> {
        let catalog = self.catalog()?;
        let id = resolve(&catalog, name)?;
        self.image(&catalog, &id)
    }

    /// The image of exactly this id.
    ///
    /// # Errors
    /// NotFound.
    pub fn by_id(&self, id: &Digest) -> Result<Image> {
        self.image(&self.catalog()?, id)
    }

    fn image(&self, catalog: &Catalog, id: &Digest) -> Result<Image> {
        let missing = || Error::NotFound { name: id.to_string(), registry: None, similar: Vec::new() };
        let record = catalog.images.get(id).ok_or_else(missing)?;
        let config = Config::parse(blobs::read(&self.blobs(), id, CONFIG_BYTES_MAX)?)?;
        Ok(Image {
            id: id.clone(),
            manifest: record.manifest.clone(),
            references: catalog.names_of(id),
            config: config.parsed,
            config_json: config.json,
            size: record.size,
            chain: record.chain.clone(),
        })
    }

    /// Every name of every image, newest image first; images without a name too.
    ///
    /// # Errors
    /// Os or Refused, when the catalog cannot be read.
    pub fn list(&self) -> Result<Vec<ImageSummary>> {
        let catalog = self.catalog()?;
        let mut rows: Vec<ImageSummary> =
            catalog.images.iter().flat_map(|(id, record)| summaries(&catalog, id, record)).collect();
        rows.sort_by(|a, b| (&b.created, &a.repository, &a.tag).cmp(&(&a.created, &b.repository, &b.tag)));
        Ok(rows)
    }

    /// Give the image `source` the further name `target`.
    ///
    /// # Errors
    /// NotFound; InvalidReference when `target` has a digest.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<()> {
        if target.digest().is_some() {
            let why = "a new name cannot have a digest";
            return Err(Error::InvalidReference { name: target.familiar(), why });
        }
        let _guard = self.lock()?;
        let id = resolve(&self.catalog()?, source)?;
        self.change(|catalog| {
            if let Some(record) = catalog.images.get_mut(&id) {
                record.tagged = Some(jiff::Timestamp::now().to_string());
            }
            catalog.names.insert(target.clone(), id);
        })
    }

    pub(crate) fn images_dir(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.images_dir().join("tmp")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.images_dir().join("blobs")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("l")
    }

    pub(crate) fn snapshots_dir(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn catalog(&self) -> Result<Catalog> {
        Catalog::read(&self.images_dir().join("catalog.json"))
    }

    /// Change the catalog. The caller holds the lock.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Catalog)) -> Result<()> {
        let mut catalog = self.catalog()?;
        change(&mut catalog);
        catalog.write(&self.images_dir().join("catalog.json"))
    }

    /// Wait for the store's lock. It is given back when the guard is dropped.
    pub(crate) fn lock(&self) -> Result<Flock<File>> {
        let path = self.images_dir().join("lock");
        let doing = || format!("lock {}", path.display());
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).doing(doing)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).doing(doing)
    }

    /// The unpacked layer `chain`, if it is here.
    pub(crate) fn layer(&self, chain: &Digest) -> Result<Option<(PathBuf, LayerRecord)>> {
        let (dir, layer) = self.layer_slot(chain)?;
        Ok(layer.map(|layer| (dir, layer)))
    }

    /// Where the layer `chain` is or would be: its name is cut short, but long enough to be its own.
    fn layer_slot(&self, chain: &Digest) -> Result<(PathBuf, Option<LayerRecord>)> {
        for digits in (12..=chain.hex().len()).step_by(4) {
            let dir = self.layers().join(&chain.hex()[..digits]);
            if !dir.exists() {
                return Ok((dir, None));
            }
            let layer = LayerRecord::read(&dir)?;
            if layer.chain == *chain {
                return Ok((dir, Some(layer)));
            }
        }
        Err(refused(format!("place layer {chain}"), "every shortening of its name is taken"))
    }

    /// Move a finished layer to its place, if nobody was faster. The caller holds the lock.
    pub(crate) fn place_layer(&self, chain: &Digest, from: &Path) -> Result<()> {
        match self.layer_slot(chain)? {
            (_, Some(_)) => Ok(()),
            (dir, None) => std::fs::rename(from, &dir).doing(|| format!("move a layer to {}", dir.display())),
        }
    }

    /// Move a verified blob to its place. The caller holds the lock.
    pub(crate) fn place_blob(&self, digest: &Digest, from: &Path) -> Result<()> {
        let to = blobs::path(&self.blobs(), digest);
        let doing = || format!("move a blob to {}", to.display());
        std::fs::create_dir_all(to.parent().expect("a blob's path has the algorithm as parent")).doing(doing)?;
        std::fs::rename(from, &to).doing(doing)
    }
}

fn summaries(catalog: &Catalog, id: &Digest, record: &Record) -> Vec<ImageSummary> {
    let row = |name: Option<&Reference>| ImageSummary {
        repository: name.map(Reference::familiar_name),
        tag: name.and_then(Reference::tag).map(str::to_owned),
        digest: name.and_then(Reference::digest).cloned(),
        id: id.clone(),
        created: record.created.clone(),
        size: record.size,
    };
    let names = catalog.names_of(id);
    // A digest that belongs to a tag of the same repository is no row of its own: Docker shows it with --digests.
    let tagged =
        |name: &Reference| names.iter().any(|n| n.tag().is_some() && n.familiar_name() == name.familiar_name());
    let mut rows = Vec::new();
    for name in names.iter().filter(|name| name.tag().is_some() || !tagged(name)) {
        let mut summary = row(Some(name));
        let same = |n: &&Reference| n.digest().is_some() && n.familiar_name() == name.familiar_name();
        summary.digest = names.iter().find(same).and_then(Reference::digest).cloned();
        rows.push(summary);
    }
    if rows.is_empty() { vec![row(None)] } else { rows }
}

/// The id that `name` leads to.
pub(crate) fn resolve(catalog: &Catalog, name: &str) -> Result<Digest> {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    let could_be_id = hex.len() >= ID_PREFIX_MIN && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let reference = name.parse::<Reference>();
    if let Ok(reference) = &reference
        && let Some(id) = by_name(catalog, reference)
    {
        return Ok(id);
    }
    if could_be_id {
        let mut ids = catalog.images.keys().filter(|id| id.hex().starts_with(hex));
        match (ids.next(), ids.count()) {
            (Some(id), 0) => return Ok(id.clone()),
            (Some(_), more) => return Err(Error::Ambiguous { prefix: name.to_owned(), count: more + 1 }),
            (None, _) => {}
        }
    } else {
        reference?;
    }
    Err(Error::NotFound { name: name.to_owned(), registry: None, similar: similar(catalog, name) })
}

/// A digest counts before a tag: `alpine:3.20@sha256:…` is the image of that digest, whatever the tag is now.
fn by_name(catalog: &Catalog, reference: &Reference) -> Option<Digest> {
    let Some(digest) = reference.digest() else { return catalog.names.get(reference).cloned() };
    let pinned = catalog.names.get(&reference.with_digest(digest.clone())).cloned();
    // An image that was loaded has no name with a digest, but its manifest and its id are digests all the same.
    pinned.or_else(|| {
        let same_repository =
            |id: &Digest| catalog.names_of(id).iter().any(|n| n.familiar_name() == reference.familiar_name());
        let named = |(id, record): &(&Digest, &Record)| *id == digest || record.manifest == *digest;
        catalog.images.iter().filter(named).map(|(id, _)| id).find(|id| same_repository(id)).cloned()
    })
}

/// Local names that the user may have meant, nearest first.
fn similar(catalog: &Catalog, typed: &str) -> Vec<String> {
    let typed_name = typed.split(['@', ':']).next().unwrap_or(typed);
    let mut near: Vec<(usize, String)> = Vec::new();
    for name in catalog.names.keys().filter(|name| name.tag().is_some()) {
        let local = name.familiar_name();
        let last = local.rsplit('/').next().unwrap_or(&local);
        let distance = edits(typed_name, &local).min(edits(typed_name, last));
        if distance <= 2.min(typed_name.len() / 3) || (typed_name.len() > 2 && local.contains(typed_name)) {
            near.push((distance, name.familiar()));
        }
    }
    near.sort();
    near.into_iter().map(|(_, name)| name).take(SIMILAR_MAX).collect()
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replace = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(names: &[(&str, char)]) -> Catalog {
        let mut catalog = Catalog::default();
        for (name, digit) in names {
            let id: Digest = format!("sha256:{}{}", digit.to_string().repeat(60), "0123").parse().unwrap();
            let record = Record {
                manifest: Digest::of(name.as_bytes()),
                layers: vec![],
                chain: vec![],
                size: 0,
                created: None,
                tagged: None,
            };
            catalog.images.insert(id.clone(), record);
            catalog.names.insert(name.parse().unwrap(), id);
        }
        catalog
    }

    #[test]
    fn an_image_is_found_by_every_kind_of_name() {
        let catalog = catalog(&[("alpine", 'a'), ("team/app:1", 'b')]);
        let id = |name: &str| resolve(&catalog, name).unwrap().hex()[..1].to_owned();
        let manifest = format!("alpine@{}", Digest::of(b"alpine"));
        for name in ["alpine", "alpine:latest", "docker.io/library/alpine", "aaaa", "sha256:aaaa", &manifest] {
            assert_eq!(id(name), "a", "{name}");
        }
        assert_eq!(id("team/app:1"), "b");
        assert!(matches!(resolve(&catalog, "team/app"), Err(Error::NotFound { .. })));
    }

    #[test]
    fn a_mistyped_name_gets_a_suggestion() {
        let catalog = catalog(&[("alpine", 'a'), ("team/web:1", 'b'), ("debian", 'c')]);
        let similar = |name: &str| match resolve(&catalog, name) {
            Err(Error::NotFound { similar, .. }) => similar,
            other => panic!("{other:?}"),
        };
        assert_eq!(similar("alpne"), ["alpine:latest"]);
        assert_eq!(similar("team/web"), ["team/web:1"]);
        assert!(similar("nginx").is_empty());
    }

    #[test]
    fn an_id_prefix_of_two_images_is_ambiguous() {
        let mut both = catalog(&[("one", 'a'), ("two", 'b')]);
        let twin: Digest = format!("sha256:aaaa{}", "1".repeat(60)).parse().unwrap();
        let record = both.images.values().next().unwrap().clone();
        both.images.insert(twin, record);
        assert!(matches!(resolve(&both, "aaa"), Err(Error::Ambiguous { count: 2, .. })));
        assert!(resolve(&both, "aaaa1").is_ok());
    }
}
