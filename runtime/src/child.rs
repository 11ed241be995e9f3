//! Code that runs after the clone, in the container's first process.
//!
//! The child does not allocate, format, log, lock or panic; it returns by execve or _exit only. It may use `plan`, `sys`,
//! `sync` and `steps`, and nothing else of this crate.

mod devices;
mod enter;
mod filesystem;
mod hook;
mod identity;
mod init;
mod masks;
mod reaper;
mod report;
mod usher;

pub(crate) use enter::enter;
pub(crate) use filesystem::filesystem;
pub(crate) use hook::{LastWords, run as run_hook};
pub(crate) use init::init;
pub(crate) use usher::usher;
