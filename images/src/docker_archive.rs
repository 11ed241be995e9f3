//! The archive of `docker save`: `manifest.json`, configs and unpacked layers.
//!
//! Docker image spec v1.2, "Combined Image JSON + Filesystem Changeset Format". There is no OCI manifest in it, so
//! loading makes one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};

use serde::{Deserialize, Serialize};

use crate::blobs;
use crate::digest::Digest;
use crate::error::{Doing, Result, refused};
use crate::layer::Inflated;
use crate::layout::{Archive, Chosen, Sink};
use crate::load::Files;
use crate::manifest::{Descriptor, Manifest, OCI_CONFIG, OCI_LAYER};
use crate::reference::Reference;
use crate::staging::{Ready, Staging};
use crate::store::Store;

/// One image of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    /// `null` for an image without a name.
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// Prepare the images of `manifest.json`.
pub(crate) fn images(staging: &mut Staging<'_>, files: &Files) -> Result<Vec<Ready>> {
    let json = files.read(staging, "manifest.json")?;
    let items: Vec<Item> = serde_json::from_slice(&json)
        .map_err(|error| refused("read manifest.json of the archive", error.to_string()))?;
    items.iter().map(|item| image(staging, files, item)).collect()
}

fn image(staging: &mut Staging<'_>, files: &Files, item: &Item) -> Result<Ready> {
    let missing = |name: &str| refused("load the archive", format!("{name} is missing"));
    let (id, size) = files.blob(&item.config).ok_or_else(|| missing(&item.config))?;
    let config = Descriptor::new(OCI_CONFIG, id.clone(), size);
    let mut layers = Vec::new();
    for name in &item.layers {
        let (digest, size) = files.blob(name).ok_or_else(|| missing(name))?;
        layers.push(Descriptor::new(layer_type(staging, digest)?, digest.clone(), size));
    }
    let json = Manifest::oci(config.clone(), layers.clone());
    let digest = staging.put(&json)?;
    let names = item.repo_tags.iter().flatten().map(|tag| tag.parse()).collect::<Result<Vec<Reference>>>()?;
    let manifest = Manifest { schema_version: 2, media_type: None, config, layers };
    staging.prepare(&digest, &manifest, names)
}

/// Some tools write packed layers into this format as well.
pub(crate) fn layer_type(staging: &Staging<'_>, digest: &Digest) -> Result<&'static str> {
    let path = staging.blob(digest).ok_or_else(|| refused("use the image", format!("blob {digest} is missing")))?;
    let doing = || format!("read layer {digest}");
    let file = File::open(path).doing(doing)?;
    Ok(match Inflated::new(file).doing(doing)? {
        Inflated::Plain(_) => OCI_LAYER,
        Inflated::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
        Inflated::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
    })
}

/// Write `images` of `store` as `docker save` does.
pub(crate) fn write(store: &Store, images: &[Chosen], to: impl Write) -> Result<()> {
    let doing = || "write the archive".to_owned();
    let mut archive = Archive(tar::Builder::new(to));
    let mut written = BTreeSet::new();
    let mut items = Vec::new();
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for image in images {
        let config = format!("{}.json", image.id.hex());
        if written.insert(config.clone()) {
            archive.file(&config, &blobs::path(&store.blobs(), &image.id)).doing(doing)?;
        }
        let mut layers = Vec::new();
        let chain = store.by_id(&image.id)?.chain;
        for (chain, blob) in chain.iter().zip(&image.layers) {
            layers.push(write_layer(store, chain, blob, &mut archive, &mut written)?);
        }
        for name in &image.names {
            let top = chain.last().map_or(image.id.hex(), Digest::hex).to_owned();
            repositories.entry(name.familiar_name()).or_default().insert(name.tag().unwrap_or("latest").into(), top);
        }
        let tags: Vec<String> = image.names.iter().map(Reference::familiar).collect();
        items.push(Item { config, repo_tags: (!tags.is_empty()).then_some(tags), layers });
    }
    let json = |value: serde_json::Result<Vec<u8>>| value.expect("strings always become JSON");
    archive.text("manifest.json", &json(serde_json::to_vec(&items))).doing(doing)?;
    archive.text("repositories", &json(serde_json::to_vec(&repositories))).doing(doing)?;
    archive.0.into_inner().and_then(|mut to| to.flush()).doing(doing)
}

/// Write one layer unpacked, under its diff id. Gives its name in the archive.
fn write_layer<W: Write>(
    store: &Store,
    chain: &Digest,
    blob: &Digest,
    archive: &mut Archive<W>,
    written: &mut BTreeSet<String>,
) -> Result<String> {
    let doing = || format!("write layer {blob} to the archive");
    let missing = || refused(doing(), "it is not in the store");
    let (_, layer) = store.layer(chain)?.ok_or_else(missing)?;
    let name = format!("{}.tar", layer.diff_id.hex());
    if written.insert(name.clone()) {
        let packed = File::open(blobs::path(&store.blobs(), blob)).doing(doing)?;
        let plain = Inflated::new(packed).doing(doing)?.take(layer.archive_size);
        archive.stream(&name, layer.archive_size, plain).doing(doing)?;
    }
    Ok(name)
}
