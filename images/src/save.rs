//! Images into an archive, the other way round than `load`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use crate::catalog::Catalog;
use crate::digest::Digest;
use crate::docker_archive;
use crate::error::{Doing, Error, Result};
use crate::layout::{self, Archive, Chosen, Directory};
use crate::reference::Reference;
use crate::staging::Staging;
use crate::store::{Store, resolve};

/// The format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// As `docker save`: layers unpacked, so their packed digests are not kept.
    #[default]
    Docker,
    /// An OCI layout in a tar archive: every blob as it was pulled.
    Oci,
}

impl Store {
    /// Write the images that `names` mean into one archive. A name without a tag means all tags of the repository.
    ///
    /// # Errors
    /// NotFound; Os when `to` cannot be written.
    pub fn save(&self, names: &[String], to: impl Write, format: Format) -> Result<()> {
        let mut staging = Staging::new(self)?;
        let images = self.choose(&mut staging, names)?;
        match format {
            Format::Docker => docker_archive::write(self, &images, to),
            Format::Oci => {
                let mut archive = Archive(tar::Builder::new(to));
                layout::write(self, &images, &mut archive)?;
                archive.0.into_inner().and_then(|mut to| to.flush()).doing(|| "write the archive".into())
            }
        }
    }

    /// Write the images that `names` mean as an OCI layout into `dir`, which is made.
    ///
    /// # Errors
    /// NotFound; Os when `dir` exists and is not empty, or cannot be written.
    pub fn save_layout(&self, names: &[String], dir: &Path) -> Result<()> {
        let mut staging = Staging::new(self)?;
        let images = self.choose(&mut staging, names)?;
        let doing = || format!("make the OCI layout {}", dir.display());
        std::fs::create_dir_all(dir).doing(doing)?;
        if std::fs::read_dir(dir).doing(doing)?.next().is_some() {
            return Err(std::io::Error::from_raw_os_error(nix::errno::Errno::ENOTEMPTY as i32)).doing(doing);
        }
        layout::write(self, &images, &mut Directory(dir))
    }

    /// The images, one for each id, with the names that were meant. Nobody collects them while `staging` lives.
    fn choose(&self, staging: &mut Staging<'_>, names: &[String]) -> Result<Vec<Chosen>> {
        let catalog = self.catalog()?;
        let mut chosen: Vec<Chosen> = Vec::new();
        for typed in names {
            for (id, name) in meant(&catalog, typed)? {
                let at = match chosen.iter().position(|image| image.id == id) {
                    Some(at) => at,
                    None => {
                        let missing = || Error::NotFound { name: typed.clone(), registry: None, similar: Vec::new() };
                        let record = catalog.images.get(&id).ok_or_else(missing)?;
                        let (manifest, layers) = (record.manifest.clone(), record.layers.clone());
                        chosen.push(Chosen { id, manifest, layers, names: Vec::new() });
                        chosen.len() - 1
                    }
                };
                chosen[at].names.extend(name);
            }
        }
        for image in &mut chosen {
            image.names = BTreeSet::from_iter(image.names.drain(..)).into_iter().collect();
        }
        let digests = chosen.iter().flat_map(|image| image.layers.iter().chain([&image.id, &image.manifest])).cloned();
        let chains = chosen.iter().flat_map(|image| catalog.images[&image.id].chain.iter()).cloned();
        staging.keep(digests.chain(chains).collect::<Vec<_>>())?;
        Ok(chosen)
    }
}

/// Images, each with the name to write.
fn meant(catalog: &Catalog, typed: &str) -> Result<Vec<(Digest, Option<Reference>)>> {
    let last = typed.rsplit('/').next().unwrap_or(typed);
    if !last.contains([':', '@'])
        && let Ok(reference) = typed.parse::<Reference>()
    {
        let tags = catalog.names.iter().filter(|(name, _)| name.tag().is_some());
        let same = tags.filter(|(name, _)| name.familiar_name() == reference.familiar_name());
        let all: Vec<_> = same.map(|(name, id)| (id.clone(), Some(name.clone()))).collect();
        if !all.is_empty() {
            return Ok(all);
        }
    }
    let id = resolve(catalog, typed)?;
    let name =
        typed.parse::<Reference>().ok().filter(|name| catalog.names.get(name) == Some(&id) && name.tag().is_some());
    Ok(vec![(id, name)])
}
