//! A root file system in a tar archive becomes an image of one layer.

use std::io::Read;

use serde_json::{Map, json};

use crate::change;
use crate::digest::{Digest, Hasher, Hashing};
use crate::docker_archive::layer_type;
use crate::error::{Doing, Result, refused};
use crate::layer::{Inflated, free_bytes};
use crate::manifest::{Descriptor, Manifest, OCI_CONFIG};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::staging::Staging;
use crate::store::Store;

impl Store {
    /// Make an image of the tar archive `rootfs` (packed or not) and name it `name`. `changes` are instructions of a
    /// Dockerfile (`CMD ["sh"]`). Gives the image's id.
    ///
    /// # Errors
    /// Refused when the archive or a change is not valid; Os.
    pub fn import(&self, rootfs: impl Read, name: Option<&Reference>, changes: &[String]) -> Result<Digest> {
        let mut config = Map::new();
        changes.iter().try_for_each(|instruction| change::apply(&mut config, instruction))?;
        if name.is_some_and(|name| name.digest().is_some()) {
            return Err(refused("import an image", "its name cannot have a digest"));
        }
        let doing = || "read the root file system's archive".to_owned();
        let mut staging = Staging::new(self)?;
        let mut writer = staging.blob_writer(None)?;
        std::io::copy(&mut rootfs.take(free_bytes(staging.dir())?), &mut writer).doing(doing)?;
        let (digest, size) = staging.add_blob(writer)?;
        let layer = Descriptor::new(layer_type(&staging, &digest)?, digest.clone(), size);
        let path = staging.blob(&digest).ok_or_else(|| refused(doing(), "it vanished"))?;
        let unpacked = Inflated::new(std::fs::File::open(path).doing(doing)?).doing(doing)?;
        let mut unpacked =
            Hashing::new(unpacked, Hasher::sha256(), self.limits.bytes, "it unpacks to more than allowed");
        unpacked.drain().doing(doing)?;
        let (diff_id, _) = unpacked.finish();

        let now = jiff::Timestamp::now().to_string();
        let host = Platform::host();
        let image = json!({
            "created": now, "architecture": host.architecture, "os": host.os, "config": config,
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
            "history": [{ "created": now, "comment": "imported" }],
        });
        let json = serde_json::to_vec(&image).expect("a value always becomes JSON");
        let config = Descriptor::new(OCI_CONFIG, staging.put(&json)?, json.len() as u64);
        let digest = staging.put(&Manifest::oci(config.clone(), vec![layer.clone()]))?;
        let manifest = Manifest { schema_version: 2, media_type: None, config, layers: vec![layer] };
        let ready = staging.prepare(&digest, &manifest, name.cloned().into_iter().collect())?;
        let id = ready.id.clone();
        staging.commit(&[ready])?;
        Ok(id)
    }
}
