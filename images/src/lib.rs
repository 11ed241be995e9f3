//! Images: reference -> manifest -> layers -> snapshot.
//!
//! ```text
//!   "alpine:3.20" ─ Reference ─▶ registry or archive ─▶ Manifest ─▶ blobs, verified while they stream
//!                                                                       │ unpacked once
//!                                  Snapshot ◀── overlay of ◀── layers ◀─┘
//! ```
//!
//! This crate knows nothing of containers or networks, mounts nothing, and leaves no thread behind: what it returns is
//! directories and the image's config. Specifications: OCI image-spec 1.1 and distribution-spec 1.1, Docker image
//! spec v1.2 and schema 2 manifests.

#![forbid(unsafe_code)]

mod blobs;
mod catalog;
mod change;
mod copy;
mod digest;
mod docker_archive;
mod error;
mod image;
mod import;
mod inspect;
mod layer;
mod layout;
mod load;
mod manifest;
mod platform;
mod progress;
mod pull;
mod reference;
mod registry;
mod remove;
mod save;
mod size;
mod snapshot;
mod staging;
mod store;

pub use digest::Digest;
pub use error::{Error, Result};
pub use image::{Image, ImageSummary};
pub use layer::Limits;
pub use load::Loaded;
pub use manifest::{Descriptor, Index, Manifest};
pub use platform::Platform;
pub use progress::Progress;
pub use pull::PullOptions;
pub use reference::Reference;
pub use remove::Removed;
pub use save::Format;
pub use snapshot::{Sharing, Snapshot};
pub use store::Store;
