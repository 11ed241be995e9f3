//! An image of the store, and its config.

use oci_spec::image::ImageConfiguration;

use crate::digest::Digest;
use crate::error::{Result, refused};
use crate::reference::Reference;

/// An image that is here: unpacked, ready for a [`crate::Snapshot`].
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its config, which is the image's name for life.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Its names, tags before digests.
    pub references: Vec<Reference>,
    /// What to run, and how.
    pub config: ImageConfiguration,
    /// The config as it was written: Docker keeps more in it than OCI names (`Healthcheck`, `Shell`).
    pub config_json: Vec<u8>,
    /// Bytes of file content in all layers.
    pub size: u64,
    /// Chain ids of its layers, lowest first.
    pub(crate) chain: Vec<Digest>,
}

/// One row of `docker images`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// `alpine`; nothing if the image has no name.
    pub repository: Option<String>,
    /// `3.20`; nothing if it was pulled by digest.
    pub tag: Option<String>,
    /// The digest that it was pulled by.
    pub digest: Option<Digest>,
    /// The image's id.
    pub id: Digest,
    /// When the image was made, RFC 3339, as its config says.
    pub created: Option<String>,
    /// Bytes of file content in all layers.
    pub size: u64,
}

/// A config, as bytes and as values.
pub(crate) struct Config {
    pub(crate) json: Vec<u8>,
    pub(crate) parsed: ImageConfiguration,
}

impl Config {
    pub(crate) fn parse(json: Vec<u8>) -> Result<Self> {
        match serde_json::from_slice(&json) {
            Ok(parsed) => Ok(Config { json, parsed }),
            Err(error) => Err(refused("read the image's config", error.to_string())),
        }
    }

    /// The diff ids of the layers, lowest first.
    pub(crate) fn diff_ids(&self) -> Result<Vec<Digest>> {
        self.parsed.rootfs().diff_ids().iter().map(|text| text.parse()).collect()
    }
}
