//! The one who answers a container's system calls: `linux.seccomp.listenerPath` (runtime-spec
//! config-linux.md#containerprocessstate, seccomp_unotify(2)).
//!
//! A filter that notifies gives its process a descriptor. The process says its number; we take a copy of it
//! (pidfd_getfd(2)) and hand that to whoever listens on a unix socket of the host, together with what it is about.

use crate::container::{Container, Status};
use crate::error::{Doing, Result};
use crate::sys;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};
use std::io::{IoSlice, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Where the listener is, and what it is told besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listener {
    path: PathBuf,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    metadata: String,
}

/// A process whose filter notifies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notifying<'a> {
    pub(crate) pid: i32,
    pub(crate) pidfd: BorrowedFd<'a>,
    /// Of the container, when the descriptor is handed over.
    pub(crate) status: Status,
}

impl Listener {
    /// That of `spec`, if it has one.
    pub(crate) fn of(spec: &Spec) -> Option<Listener> {
        let seccomp = spec.linux().as_ref()?.seccomp().as_ref()?;
        let path = seccomp.listener_path().clone().filter(|path| !path.as_os_str().is_empty())?;
        Some(Listener { path, metadata: seccomp.listener_metadata().clone().unwrap_or_default() })
    }

    /// Hand descriptor `number` of a process over.
    ///
    /// # Errors
    /// `Os`: nobody listens; EPERM without `CAP_SYS_PTRACE`.
    pub(crate) fn hand_over(&self, container: &Container, process: Notifying<'_>, number: i32) -> Result<()> {
        let doing = || format!("hand the seccomp listener to {}", self.path.display());
        let descriptor = sys::process::pidfd_getfd(process.pidfd, number).doing(doing)?;
        let mut socket = UnixStream::connect(&self.path).doing(doing)?;
        let state = container.state_for_hooks(process.status, container.pid().or(Some(process.pid)));
        let text = serde_json::json!({
            "ociVersion": crate::container::OCI_VERSION,
            "fds": ["seccompFd"],
            "pid": process.pid,
            "metadata": self.metadata,
            "state": state,
        });
        let text = text.to_string();
        let descriptors = [descriptor.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&descriptors)];
        // The descriptor goes with the first byte; what does not fit at once follows.
        let part = [IoSlice::new(text.as_bytes())];
        let sent = sendmsg::<()>(socket.as_raw_fd(), &part, &control, MsgFlags::MSG_NOSIGNAL, None).doing(doing)?;
        socket.write_all(&text.as_bytes()[sent..]).doing(doing)
    }
}
