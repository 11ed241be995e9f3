//! The store's table of contents: which images there are, and which names lead to them.
//!
//! One small JSON file, written whole to a temporary file and renamed. A reader needs no lock; a change is made under
//! the store's lock, which is held for that change alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Doing, Result, refused};
use crate::reference::Reference;

/// Images by id, and ids by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Catalog {
    pub(crate) images: BTreeMap<Digest, Record>,
    pub(crate) names: BTreeMap<Reference, Digest>,
}

/// What is remembered of an image, so that listing and collecting read no other file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) manifest: Digest,
    /// The packed layers, lowest first.
    pub(crate) layers: Vec<Digest>,
    /// The unpacked layers' chain ids, lowest first.
    pub(crate) chain: Vec<Digest>,
    /// Bytes of file content in all layers.
    pub(crate) size: u64,
    /// When the image was made, RFC 3339, as its config says.
    pub(crate) created: Option<String>,
    /// When a name was last given to it here, RFC 3339.
    pub(crate) tagged: Option<String>,
}

impl Catalog {
    /// Read the catalog at `path`; a store without one is empty.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let doing = || format!("read the image store {}", path.display());
        match std::fs::read(path) {
            Ok(json) => serde_json::from_slice(&json).map_err(|error| refused(doing(), error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Catalog::default()),
            Err(error) => Err(error).doing(doing),
        }
    }

    /// Replace the catalog at `path`. The caller holds the store's lock.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).expect("strings and numbers always become JSON");
        write_whole(path, &json).doing(|| format!("write the image store {}", path.display()))
    }

    /// The names of an image, tags before digests.
    pub(crate) fn names_of(&self, id: &Digest) -> Vec<Reference> {
        let mut names: Vec<_> = self.names.iter().filter(|(_, to)| *to == id).map(|(name, _)| name.clone()).collect();
        names.sort_by_key(|name| name.tag().is_none());
        names
    }

    /// Every blob that an image needs.
    pub(crate) fn blobs(&self) -> BTreeSet<&Digest> {
        let mut blobs = BTreeSet::new();
        for (id, record) in &self.images {
            blobs.extend([id, &record.manifest]);
            blobs.extend(&record.layers);
        }
        blobs
    }

    /// Every unpacked layer that an image needs.
    pub(crate) fn chains(&self) -> BTreeSet<&Digest> {
        self.images.values().flat_map(|record| &record.chain).collect()
    }
}

/// Write a file so that a reader, and a crash, sees the old or the new content, never a part.
fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    // The writer holds the store's lock, so one fixed name is enough, and a crash leaves at most one such file.
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
    file.write_all(content)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)
}
