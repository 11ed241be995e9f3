//! Images out of an archive: docker-archive, OCI archive, or a directory in OCI layout.
//!
//! `docker save` writes the table of contents last, so nothing can be judged while the archive streams by: every file
//! of it becomes a blob of a private directory, hashed on the way, and is looked at afterwards.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use rbox_explain::{Row, step};

use crate::digest::Digest;
use crate::error::{Doing, Result, refused};
use crate::layer::{Inflated, Kind, TarStream, free_bytes};
use crate::manifest::MANIFEST_BYTES_MAX;
use crate::reference::Reference;
use crate::staging::{Ready, Staging};
use crate::store::Store;
use crate::{docker_archive, layout};

static READ: Row = Row {
    key: "archive",
    why: "an archive holds an image's layers as files; each is hashed while it is read, so that it can be checked",
    see: "image-spec image-layout.md",
};

/// Files in an archive: docker save writes three for each layer.
const FILES_MAX: usize = 20_000;
/// Links from one name to the next inside an archive.
const LINKS_MAX: usize = 8;

/// What was loaded: one row for each image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: Digest,
    /// The names that the archive gave it.
    pub names: Vec<Reference>,
}

/// The files of an archive: what each name leads to.
#[derive(Default)]
pub(crate) struct Files(BTreeMap<String, File>);

enum File {
    Blob(Digest, u64),
    Link(String),
}

impl Files {
    /// The content of `name`, links followed.
    pub(crate) fn blob(&self, name: &str) -> Option<(&Digest, u64)> {
        let mut name = plain(name)?;
        for _ in 0..LINKS_MAX {
            match self.0.get(&name)? {
                File::Blob(digest, size) => return Some((digest, *size)),
                File::Link(target) => name = target.clone(),
            }
        }
        None
    }

    /// Read a small file.
    pub(crate) fn read(&self, staging: &Staging<'_>, name: &str) -> Result<Vec<u8>> {
        match self.blob(name) {
            Some((digest, _)) => staging.read(digest, MANIFEST_BYTES_MAX),
            None => Err(refused("load the archive", format!("{name} is missing"))),
        }
    }
}

/// A name inside the archive without `.` and `..`; nothing if it leads out.
fn plain(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

impl Store {
    /// Load all images of an archive as `docker save` or skopeo write it, packed or not.
    ///
    /// # Errors
    /// Refused when the archive is neither kind, or something in it is wrong; then nothing is loaded. Os.
    pub fn load(&self, archive: impl Read) -> Result<Vec<Loaded>> {
        let mut staging = Staging::new(self)?;
        let files = step(&READ, || "tar -x".into(), || unpack(&mut staging, archive))?;
        let images = if files.blob("oci-layout").is_some() && files.blob("index.json").is_some() {
            let index = files.read(&staging, "index.json")?;
            layout::images(&mut staging, &index)?
        } else if files.blob("manifest.json").is_some() {
            docker_archive::images(&mut staging, &files)?
        } else {
            return Err(refused("load the archive", "it has neither manifest.json nor an OCI layout's index.json"));
        };
        commit(staging, images)
    }

    /// Load all images of a directory in OCI layout.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_layout(&self, dir: &Path) -> Result<Vec<Loaded>> {
        let mut staging = Staging::new(self)?;
        let index = layout::read_dir(&mut staging, dir)?;
        let images = layout::images(&mut staging, &index)?;
        commit(staging, images)
    }
}

fn commit(staging: Staging<'_>, images: Vec<Ready>) -> Result<Vec<Loaded>> {
    if images.is_empty() {
        return Err(refused("load the archive", "there is no image in it"));
    }
    staging.commit(&images)?;
    Ok(images.into_iter().map(|image| Loaded { id: image.id, names: image.names }).collect())
}

/// Turn every file of the archive into a blob.
fn unpack(staging: &mut Staging<'_>, archive: impl Read) -> Result<Files> {
    let doing = || "read the archive".to_owned();
    let inflated = Inflated::new(archive).doing(doing)?.take(free_bytes(staging.dir())?);
    let mut stream = TarStream::new(inflated);
    let mut files = Files::default();
    while let Some(entry) = stream.next_entry().doing(doing)? {
        let name = String::from_utf8(entry.path).ok().and_then(|name| plain(&name));
        let name = name.ok_or_else(|| refused("load the archive", "a file name in it is not valid"))?;
        if files.0.len() >= FILES_MAX {
            return Err(refused("load the archive", format!("it has more than {FILES_MAX} files")));
        }
        let link = || String::from_utf8_lossy(&entry.link).into_owned();
        let file = match entry.kind {
            Kind::File => {
                let expected = digest_of_name(&name).map(|digest| (digest, entry.size));
                let mut writer = staging.blob_writer(expected)?;
                std::io::copy(&mut stream, &mut writer).doing(|| format!("read {name} of the archive"))?;
                let (digest, size) = staging.add_blob(writer)?;
                File::Blob(digest, size)
            }
            // docker save before 25 writes a layer that two images share once, and links to it.
            Kind::Symlink => {
                let above = name.rsplit_once('/').map_or("", |(above, _)| above);
                File::Link(plain(&format!("{above}/{}", link())).unwrap_or_default())
            }
            Kind::HardLink => File::Link(plain(&link()).unwrap_or_default()),
            _ => continue,
        };
        files.0.insert(name, file);
    }
    Ok(files)
}

/// In an OCI layout a blob's name is its digest, which it must keep.
fn digest_of_name(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_inside_an_archive_do_not_leave_it() {
        assert_eq!(plain("./a//b/../c").as_deref(), Some("a/c"));
        assert_eq!(plain("../a"), None);
        assert_eq!(plain("a/../../b"), None);
    }

    #[test]
    fn a_link_circle_ends() {
        let mut files = Files::default();
        files.0.insert("a".into(), File::Link("b".into()));
        files.0.insert("b".into(), File::Link("a".into()));
        assert!(files.blob("a").is_none());
    }
}
