//! The OCI layout: `oci-layout`, `index.json` and `blobs/`, as a directory or in a tar archive.
//!
//! image-spec image-layout.md. An image's name stands in an annotation of its descriptor in `index.json`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::blobs;
use crate::digest::Digest;
use crate::error::{Doing, Result, refused};
use crate::manifest::{
    CONFIG_BYTES_MAX, Descriptor, Document, Index, MANIFEST_BYTES_MAX, Manifest, OCI_INDEX, OCI_MANIFEST,
};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::staging::{Ready, Staging};
use crate::store::Store;

/// The tag, or the whole name, by specification.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, as containerd and Docker write it.
const IMAGE_NAME: &str = "io.containerd.image.name";
const LAYOUT_FILE: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// An index may list indexes: tags of multi-platform images. Deeper nesting has no use.
const NESTING_MAX: usize = 4;

/// Prepare the images of `index.json`. Their blobs are staged already.
pub(crate) fn images(staging: &mut Staging<'_>, index_json: &[u8]) -> Result<Vec<Ready>> {
    let Document::Index(index) = Document::parse(index_json)? else {
        return Err(refused("load the OCI layout", "index.json is no index"));
    };
    // One name may stand at several descriptors, one for each platform.
    let mut by_name: BTreeMap<Option<String>, Index> = BTreeMap::new();
    for descriptor in index.manifests {
        let name = [IMAGE_NAME, REF_NAME].iter().find_map(|key| descriptor.annotations.get(*key)).cloned();
        let empty = || Index { schema_version: 2, media_type: None, manifests: Vec::new() };
        by_name.entry(name).or_insert_with(empty).manifests.push(descriptor);
    }
    let mut images: Vec<Ready> = Vec::new();
    for (name, index) in by_name {
        let shown = name.clone().unwrap_or_else(|| "of the OCI layout".into());
        let (digest, manifest) = choose(staging, index, &shown)?;
        let names: Vec<Reference> = name.as_deref().and_then(whole_name).into_iter().collect();
        match images.iter_mut().find(|image| image.record.manifest == digest) {
            Some(same) => same.names.extend(names),
            None => images.push(staging.prepare(&digest, &manifest, names)?),
        }
    }
    Ok(images)
}

/// `latest` alone is a tag without a repository, which is no name to find an image by.
fn whole_name(text: &str) -> Option<Reference> {
    if text.contains(['/', ':']) { text.parse().ok() } else { None }
}

/// Go down to the manifest for this machine.
fn choose(staging: &Staging<'_>, mut index: Index, name: &str) -> Result<(Digest, Manifest)> {
    for _ in 0..NESTING_MAX {
        let descriptor = index.choose(&Platform::host(), name)?.clone();
        let json = staging.read(&descriptor.digest, MANIFEST_BYTES_MAX)?;
        match Document::parse(&json)? {
            Document::Manifest(manifest) => return Ok((descriptor.digest, manifest)),
            Document::Index(deeper) => index = deeper,
        }
    }
    Err(refused("load the OCI layout", "its indexes are nested too deep"))
}

/// Stage the blobs of a layout directory. Gives its `index.json`.
pub(crate) fn read_dir(staging: &mut Staging<'_>, dir: &Path) -> Result<Vec<u8>> {
    let read = |name: &str| std::fs::read(dir.join(name)).doing(|| format!("read {}", dir.join(name).display()));
    read("oci-layout")?;
    let index = read("index.json")?;
    for algorithm in ["sha256", "sha512"] {
        let from = dir.join("blobs").join(algorithm);
        if !from.is_dir() {
            continue;
        }
        let doing = || format!("read {}", from.display());
        for entry in std::fs::read_dir(&from).doing(doing)? {
            let entry = entry.doing(doing)?;
            let name = format!("{algorithm}:{}", entry.file_name().to_string_lossy());
            // Other files (umoci's locks) are not ours to judge.
            let Ok(digest) = name.parse::<Digest>() else { continue };
            let mut file = File::open(entry.path()).doing(doing)?;
            let size = file.metadata().doing(doing)?.len();
            let mut writer = staging.blob_writer(Some((digest, size)))?;
            std::io::copy(&mut file, &mut writer).doing(doing)?;
            staging.add_blob(writer)?;
        }
    }
    Ok(index)
}

/// Where an OCI layout is written to: a directory, or a tar archive.
pub(crate) trait Sink {
    /// Add a small file.
    fn text(&mut self, name: &str, content: &[u8]) -> std::io::Result<()>;
    /// Add a copy of a file.
    fn file(&mut self, name: &str, from: &Path) -> std::io::Result<()>;
}

/// A layout directory, which exists.
pub(crate) struct Directory<'a>(pub(crate) &'a Path);

impl Sink for Directory<'_> {
    fn text(&mut self, name: &str, content: &[u8]) -> std::io::Result<()> {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a directory"))?;
        std::fs::write(path, content)
    }

    fn file(&mut self, name: &str, from: &Path) -> std::io::Result<()> {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a directory"))?;
        std::fs::copy(from, path).map(drop)
    }
}

/// A tar archive, the same for the same images: no times, no owners.
pub(crate) struct Archive<W: Write>(pub(crate) tar::Builder<W>);

impl<W: Write> Archive<W> {
    /// Add a file of known length.
    pub(crate) fn stream(&mut self, name: &str, size: u64, content: impl std::io::Read) -> std::io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(tar::EntryType::Regular);
        self.0.append_data(&mut header, name, content)
    }
}

impl<W: Write> Sink for Archive<W> {
    fn text(&mut self, name: &str, content: &[u8]) -> std::io::Result<()> {
        self.stream(name, content.len() as u64, content)
    }

    fn file(&mut self, name: &str, from: &Path) -> std::io::Result<()> {
        let file = File::open(from)?;
        let size = file.metadata()?.len();
        self.stream(name, size, file)
    }
}

/// An image to be written, and the names to write with it.
pub(crate) struct Chosen {
    pub(crate) id: Digest,
    pub(crate) manifest: Digest,
    pub(crate) layers: Vec<Digest>,
    pub(crate) names: Vec<Reference>,
}

/// Write `images` of `store` as an OCI layout.
pub(crate) fn write(store: &Store, images: &[Chosen], to: &mut impl Sink) -> Result<()> {
    let doing = || "write the OCI layout".to_owned();
    to.text("oci-layout", LAYOUT_FILE).doing(doing)?;
    let mut written = std::collections::BTreeSet::new();
    let mut manifests = Vec::new();
    for image in images {
        for digest in image.layers.iter().chain([&image.id, &image.manifest]) {
            if written.insert(digest.clone()) {
                let name = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
                to.file(&name, &blobs::path(&store.blobs(), digest)).doing(doing)?;
            }
        }
        manifests.extend(descriptors(store, image)?);
    }
    let index = Index { schema_version: 2, media_type: Some(OCI_INDEX.into()), manifests };
    let json = serde_json::to_vec(&index).expect("strings and numbers always become JSON");
    to.text("index.json", &json).doing(doing)
}

/// One descriptor for each name, or one without.
fn descriptors(store: &Store, image: &Chosen) -> Result<Vec<Descriptor>> {
    let json = blobs::read(&store.blobs(), &image.manifest, MANIFEST_BYTES_MAX)?;
    let media_type = match Document::parse(&json)? {
        Document::Manifest(manifest) => manifest.media_type.unwrap_or_else(|| OCI_MANIFEST.into()),
        Document::Index(_) => return Err(refused("write the OCI layout", "an image's manifest is an index")),
    };
    let config = crate::image::Config::parse(blobs::read(&store.blobs(), &image.id, CONFIG_BYTES_MAX)?)?.parsed;
    let platform = Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
        variant: config.variant().clone(),
    };
    let mut bare = Descriptor::new(&media_type, image.manifest.clone(), json.len() as u64);
    bare.platform = Some(platform);
    let named = |name: &Reference| {
        let mut descriptor = bare.clone();
        descriptor.annotations.insert(IMAGE_NAME.into(), name.to_string());
        descriptor.annotations.insert(REF_NAME.into(), name.tag().unwrap_or("latest").to_owned());
        descriptor
    };
    let list: Vec<_> = image.names.iter().map(named).collect();
    Ok(if list.is_empty() { vec![bare] } else { list })
}
