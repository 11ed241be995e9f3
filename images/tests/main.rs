//! The image store with real material: archives by GNU tar, skopeo and umoci, a registry on loopback.
//!
//! These tests need root (owners, devices, trusted attributes) and the Debian packages skopeo, umoci, docker-registry,
//! apache2-utils, attr, libcap2-bin, openssl, iproute2, python3, busybox-static. What is missing fails by name.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod crash;
mod hostile;
mod layers;
mod pull;
mod store;
mod support;
