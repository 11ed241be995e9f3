//! Manifests and indexes, of OCI and of Docker (schema 2): the lists of digests that make an image.
//!
//! image-spec manifest.md, image-index.md. Both dialects have the same fields; only the media types differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result, refused};
use crate::platform::Platform;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// distribution-spec: registries should accept manifests up to 4 MiB, so no more is read of one.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// The same measure for configs, doubled: they hold the history.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// Points to content: what it is, its digest and its size. image-spec descriptor.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// In an index: where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Remarks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image for one platform: its config and its layers, lowest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Which dialect.
    #[serde(default)]
    pub media_type: Option<String>,
    /// The image's config.
    pub config: Descriptor,
    /// The layers.
    pub layers: Vec<Descriptor>,
}

/// Images for several platforms, or the table of contents of an OCI layout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Which dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The images.
    pub manifests: Vec<Descriptor>,
}

/// What a tag or digest of a registry leads to.
#[derive(Debug, Clone)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// Only to tell the two apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Read a manifest or an index.
    ///
    /// A document that is both is refused: two readers would see two images (CVE-2021-41190).
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        let broken = |why: String| refused("read the manifest", why);
        let shape: Shape = serde_json::from_slice(json).map_err(|error| broken(error.to_string()))?;
        if shape.schema_version != 2 {
            return Err(broken(format!("schema version {} is not supported", shape.schema_version)));
        }
        let media_type = shape.media_type.as_deref();
        match (shape.manifests, shape.layers.is_some() || shape.config.is_some()) {
            (Some(_), true) => Err(broken("it is an index and an image at once".into())),
            (Some(_), false) if !matches!(media_type, None | Some(OCI_INDEX | DOCKER_INDEX)) => {
                Err(broken(format!("an index of type {}", media_type.unwrap_or_default())))
            }
            (None, true) if !matches!(media_type, None | Some(OCI_MANIFEST | DOCKER_MANIFEST)) => {
                Err(broken(format!("an image of type {}", media_type.unwrap_or_default())))
            }
            (Some(_), false) => serde_json::from_slice(json).map(Document::Index).map_err(|e| broken(e.to_string())),
            (None, true) => serde_json::from_slice(json).map(Document::Manifest).map_err(|e| broken(e.to_string())),
            (None, false) => Err(broken("it is neither an image nor an index".into())),
        }
    }
}

impl Index {
    /// The image that runs best on `platform`.
    ///
    /// # Errors
    /// NoSuchPlatform, which names the platforms that there are.
    pub(crate) fn choose(&self, platform: &Platform, name: &str) -> Result<&Descriptor> {
        let images = || self.manifests.iter().filter(|d| is_image(d));
        let fitting = images().filter_map(|d| Some((d.platform.as_ref()?.fits(platform)?, d)));
        if let Some((_, best)) = fitting.min_by_key(|(distance, _)| *distance) {
            return Ok(best);
        }
        // An OCI layout's index of one image need not name the platform; the config does.
        let mut unnamed = images().filter(|d| d.platform.is_none());
        match (unnamed.next(), unnamed.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(Error::NoSuchPlatform {
                name: name.to_owned(),
                platform: platform.to_string(),
                available: images().filter_map(|d| d.platform.as_ref().map(ToString::to_string)).collect(),
            }),
        }
    }
}

/// Build attestations stand in an index as images for the platform unknown/unknown.
fn is_image(descriptor: &Descriptor) -> bool {
    !descriptor.annotations.contains_key("vnd.docker.reference.type")
        && descriptor.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

impl Manifest {
    /// A manifest in OCI's dialect, as canonical JSON.
    pub(crate) fn oci(config: Descriptor, layers: Vec<Descriptor>) -> Vec<u8> {
        let manifest = Manifest { schema_version: 2, media_type: Some(OCI_MANIFEST.into()), config, layers };
        serde_json::to_vec(&manifest).expect("strings and numbers always become JSON")
    }
}

impl Descriptor {
    /// Describe content by its parts.
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Descriptor { media_type: media_type.into(), digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_for(os: &str, architecture: &str, byte: char) -> String {
        let digest = format!("sha256:{}", byte.to_string().repeat(64));
        let platform = format!(r#"{{"os":"{os}","architecture":"{architecture}"}}"#);
        format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":7,"platform":{platform}}}"#)
    }

    #[test]
    fn a_document_that_is_index_and_image_is_refused() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let config = format!(r#"{{"mediaType":"x","digest":"{digest}","size":1}}"#);
        let both = format!(r#"{{"schemaVersion":2,"manifests":[],"config":{config},"layers":[]}}"#);
        assert!(Document::parse(both.as_bytes()).unwrap_err().to_string().contains("at once"));
        assert!(Document::parse(br#"{"schemaVersion":1,"layers":[]}"#).is_err());
        assert!(Document::parse(br#"{"schemaVersion":2}"#).is_err());
    }

    #[test]
    fn the_image_of_the_platform_is_chosen_and_attestations_are_not() {
        let list =
            [image_for("unknown", "unknown", '0'), image_for("linux", "arm64", '1'), image_for("linux", "amd64", '2')];
        let json = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, list.join(","));
        let Document::Index(index) = Document::parse(json.as_bytes()).unwrap() else { panic!("it is an index") };
        let chosen = index.choose(&"linux/amd64".parse().unwrap(), "x").unwrap();
        assert!(chosen.digest.hex().starts_with('2'));
        let error = index.choose(&"linux/s390x".parse().unwrap(), "x").unwrap_err();
        assert_eq!(error.to_string(), "image x: no variant for linux/s390x (it has linux/arm64, linux/amd64)");
    }
}
