//! What can go wrong with a cgroup, in the words of a message.

use std::path::PathBuf;

use nix::errno::Errno;

/// What can go wrong with a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Spec asks for something that makes no sense, or that this host's cgroups do not have.
    #[error("{path}: {why}")]
    InvalidSpec {
        /// The place in config.json, as `linux.resources.memory.swap`.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A limit that the kernel refused.
    #[error("cannot set {file} to {value} in {}: {}", directory.display(), cause(*source))]
    Set {
        /// The control file.
        file: String,
        /// What was written to it.
        value: String,
        /// The group's directory.
        directory: PathBuf,
        /// The kernel's answer; ENOENT where the controller is not enabled or the kernel is too old for the file.
        source: Errno,
    },
    /// A limit of a controller that this host has not mounted.
    #[error("cannot set {file} to {value}: the cgroup controller {controller} is not mounted")]
    NotMounted {
        /// The control file.
        file: String,
        /// What should have been written to it.
        value: String,
        /// The missing controller.
        controller: String,
    },
    /// The directory is there and somebody lives in it.
    #[error("cannot use cgroup {}: process {pid} is in it", directory.display())]
    Inhabited {
        /// The group's directory.
        directory: PathBuf,
        /// One of the processes.
        pid: i32,
    },
    /// systemd does not run, has refused, or did not answer.
    #[error("cannot {doing}: {why}")]
    Systemd {
        /// Verb and object.
        doing: String,
        /// What systemd said.
        why: String,
    },
    /// No cgroup file system is mounted.
    #[error("cannot find cgroups: no cgroup file system is mounted")]
    NoHierarchy,
    /// Any other request that the kernel refused.
    #[error("cannot {doing}: {}", cause(*source))]
    Os {
        /// Verb and object.
        doing: String,
        /// The kernel's answer.
        source: Errno,
    },
}

/// The kernel's reason in the words of a message: lower case.
fn cause(errno: Errno) -> String {
    let text = errno.desc();
    // "I/O error" keeps its capitals, "Invalid argument" does not.
    if text.starts_with("I/O") { text.to_owned() } else { text.to_lowercase() }
}

pub(super) fn invalid(field: &str, why: &str) -> Error {
    Error::InvalidSpec { path: format!("linux.resources.{field}"), why: why.to_owned() }
}

/// A wish for a group below a container's own.
pub(super) fn invalid_place(word: &str, why: &str) -> Error {
    Error::InvalidSpec { path: format!("--cgroup {word}"), why: why.to_owned() }
}
