//! The OCI runtime as a library: from a bundle to a running container and back.
//!
//! The life of a container, with the step numbers of runtime-spec runtime.md#lifecycle:
//!
//! ```text
//!  Bundle ──Plan──▶ Container::create (1-5) ──▶ created ──start (6-8)──▶ running ──▶ stopped ──delete (11-13)──▶ gone
//!            │               │                     │                        ▲
//!            │            clone3 ──▶ child/init ──gate───────execve─────────┘
//!            └ everything the child needs, as C strings, descriptors and numbers
//! ```
//!
//! Read [`container`] first (the life cycle), then `parent.rs` (outside) and `child/init.rs` (inside).

#![deny(unsafe_code)]

#[path = "cli/arguments.rs"]
#[allow(dead_code, reason = "the program reads them; here they are only described")]
mod arguments;
pub mod capabilities;
pub mod cgroup;
mod child;
pub mod config;
pub mod console;
pub mod container;
mod copy_up;
mod defence;
mod diagnose;
#[cfg(test)]
#[path = "../../tests/support/dice.rs"]
mod dice;
mod error;
mod exe;
pub mod features;
pub mod grant;
pub mod hooks;
mod idmap;
mod kernel;
mod listener;
#[cfg(test)]
#[path = "../../tests/support/meaning.rs"]
mod meaning;
#[cfg(test)]
#[path = "../../tests/support/mutate.rs"]
mod mutate;
mod net_devices;
mod netlink;
mod parent;
mod plan;
mod resctrl;
pub mod resident;
mod root;
pub mod rootless;
pub mod seccomp;
mod security;
pub mod session;
#[cfg(test)]
mod skip;
mod state;
mod steps;
mod sync;
#[allow(unsafe_code, reason = "the one address of unsafe code: a system call each, with its reason")]
mod sys;
pub mod terminal;
mod users;

pub use error::{Error, Result, cause, printable};
pub use exe::{seal, tell_seal};
pub use root::{Root, User};
pub use seccomp::default_profile as default_seccomp_profile;
pub use state::stat;
pub use sys::{interface, robust};

/// The command line of the program `rbox-runtime`, for what is made of it: man pages and completions.
pub fn command_line() -> clap::Command {
    <arguments::Arguments as clap::CommandFactory>::command().version(env!("CARGO_PKG_VERSION"))
}
