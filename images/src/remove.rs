//! Taking names away, and then what nobody needs any more.

use std::collections::BTreeSet;
use std::path::Path;

use crate::blobs;
use crate::catalog::Catalog;
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::reference::Reference;
use crate::snapshot::SnapshotRecord;
use crate::staging::{Staging, kept};
use crate::store::{LayerRecord, Store, resolve};

/// One line of `docker rmi`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name that no longer leads anywhere.
    Untagged(String),
    /// An image, or a layer that only it had.
    Deleted(Digest),
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Removed::Untagged(name) => write!(f, "Untagged: {name}"),
            Removed::Deleted(digest) => write!(f, "Deleted: {digest}"),
        }
    }
}

impl Store {
    /// Take the name `name` away; with the last name, or by id, the image goes as well.
    ///
    /// `in_use` says who needs the image (`container web`), if somebody does. With `force` the image goes nevertheless,
    /// and so do all its names when it is named by id; a container keeps its layers until its snapshot is removed.
    ///
    /// # Errors
    /// NotFound; InUse when somebody needs the image, or it is named by id and has names in several repositories.
    pub fn remove(&self, name: &str, force: bool, in_use: &dyn Fn(&Digest) -> Option<String>) -> Result<Vec<Removed>> {
        let staging = Staging::new(self)?;
        let guard = self.lock()?;
        let mut catalog = self.catalog()?;
        let id = resolve(&catalog, name)?;
        let going = names_to_remove(&catalog, &id, name, force)?;
        let stays = catalog.names_of(&id).iter().any(|other| other.tag().is_some() && !going.contains(other));
        if !stays
            && !force
            && let Some(user) = in_use(&id)
        {
            return Err(Error::InUse { name: name.to_owned(), why: format!("in use by {user}") });
        }
        let mut removed = Vec::new();
        for name in going {
            removed.push(Removed::Untagged(name.familiar()));
            catalog.names.remove(&name);
        }
        if !stays {
            catalog.names.retain(|_, to| *to != id);
            catalog.images.remove(&id);
            removed.push(Removed::Deleted(id));
        }
        catalog.write(&self.images_dir().join("catalog.json"))?;
        if !stays {
            removed.extend(collect(self, staging.dir())?.into_iter().map(Removed::Deleted));
        }
        drop(guard);
        // The slow part, without the lock: what was collected is in the staging directory now, and goes with it.
        drop(staging);
        Ok(removed)
    }
}

/// The names that go when the user removes `typed`.
fn names_to_remove(catalog: &Catalog, id: &Digest, typed: &str, force: bool) -> Result<Vec<Reference>> {
    let all = catalog.names_of(id);
    let named = typed.parse::<Reference>().ok().filter(|name| all.contains(name));
    let Some(name) = named else {
        // By id: everything goes, but a person who sees one of several repositories may not mean that.
        let repositories: BTreeSet<String> = all.iter().map(Reference::familiar_name).collect();
        if repositories.len() > 1 && !force {
            let why = format!("it has names in several repositories ({})", Vec::from_iter(repositories).join(", "));
            return Err(Error::InUse { name: typed.to_owned(), why });
        }
        return Ok(all);
    };
    // With the last tag of a repository go its digests.
    let same = |other: &&Reference| other.familiar_name() == name.familiar_name();
    let last_tag = name.tag().is_some() && all.iter().filter(same).filter(|other| other.tag().is_some()).count() == 1;
    let digests = all.iter().filter(same).filter(|other| last_tag && other.tag().is_none()).cloned();
    Ok(std::iter::once(name.clone()).chain(digests).collect())
}

/// Move every blob and layer that nobody needs into `trash`. Gives the layers. The caller holds the store's lock.
pub(crate) fn collect(store: &Store, trash: &Path) -> Result<Vec<Digest>> {
    let catalog = store.catalog()?;
    let mut needed = kept(store)?;
    needed.extend(catalog.blobs().into_iter().chain(catalog.chains()).cloned());
    for id in store.snapshots()? {
        // A snapshot directory without a record holds no layer.
        if let Ok(record) = SnapshotRecord::read(&store.snapshots_dir().join(id)) {
            needed.extend(record.chain);
        }
    }
    let trash = trash.join("trash");
    std::fs::create_dir_all(&trash).doing(|| format!("make {}", trash.display()))?;
    let layers = collect_layers(store, &needed, &trash)?;
    collect_blobs(store, &needed, &trash)?;
    Ok(layers)
}

fn collect_layers(store: &Store, needed: &BTreeSet<Digest>, trash: &Path) -> Result<Vec<Digest>> {
    let doing = || "remove unused layers".to_owned();
    let mut gone = Vec::new();
    for entry in std::fs::read_dir(store.layers()).doing(doing)? {
        let dir = entry.doing(doing)?.path();
        let layer = LayerRecord::read(&dir)?;
        if !needed.contains(&layer.chain) {
            std::fs::rename(&dir, trash.join(layer.chain.hex())).doing(doing)?;
            gone.push((layer.below, layer.chain));
        }
    }
    Ok(topmost_first(gone))
}

/// Docker names the layer on top before the one it stands on.
fn topmost_first(mut gone: Vec<(Option<Digest>, Digest)>) -> Vec<Digest> {
    let mut ordered = Vec::new();
    while !gone.is_empty() {
        let below: BTreeSet<Digest> = gone.iter().filter_map(|(below, _)| below.clone()).collect();
        let (rest, tops): (Vec<_>, Vec<_>) = gone.into_iter().partition(|(_, chain)| below.contains(chain));
        if tops.is_empty() {
            ordered.extend(rest.into_iter().map(|(_, chain)| chain));
            return ordered;
        }
        ordered.extend(tops.into_iter().map(|(_, chain)| chain));
        gone = rest;
    }
    ordered
}

fn collect_blobs(store: &Store, needed: &BTreeSet<Digest>, trash: &Path) -> Result<()> {
    let doing = || "remove unused blobs".to_owned();
    for algorithm in ["sha256", "sha512"] {
        let dir = store.blobs().join(algorithm);
        if !dir.exists() {
            continue;
        }
        for entry in std::fs::read_dir(&dir).doing(doing)? {
            let name = entry.doing(doing)?.file_name();
            let digest: Option<Digest> = format!("{algorithm}:{}", name.to_string_lossy()).parse().ok();
            if let Some(digest) = digest.filter(|digest| !needed.contains(digest)) {
                let to = trash.join(format!("blob-{}", digest.hex()));
                std::fs::rename(blobs::path(&store.blobs(), &digest), to).doing(doing)?;
            }
        }
    }
    Ok(())
}
