//! The engines of others with rbox-runtime as their only runtime: containerd, its CRI plugin, Docker, Podman, Buildah.
//!
//! Each test starts the engine of Debian's package in a private host, with directories and sockets of its own. Every
//! other runtime there is a script that fails, so that no engine can fall back to one: what works, works by rbox-runtime.
//! `RBOX_TEST_RUNTIME=runc` runs the same tests on Debian's runc, which proves them fair.

mod buildah;
mod cni;
mod containerd;
mod cri;
mod ctr;
mod daemonless;
mod docker;
mod dockerd;
mod podman;
mod pods;
mod stage;
