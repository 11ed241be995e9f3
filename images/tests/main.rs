//! The image store with real material: archives by GNU tar, skopeo and umoci, a registry on loopback.
//!
//! These tests need root (owners, devices, trusted attributes) and the Debian packages skopeo, umoci, docker-registry,
//! apache2-utils, attr, libcap2-bin, python3, busybox-static. What is missing fails by name.

mod layers;
mod support;
