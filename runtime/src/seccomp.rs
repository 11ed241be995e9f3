//! Which system calls a container may make: from a profile to the program that the kernel runs at each of them.
//!
//! ```text
//!  docker.rs ─table─┐                      built with rbox: DEFAULT_FILTER ──┐
//!                   ├─▶ LinuxSeccomp ──┬── compiled before: cache.rs ────────┼──▶ Filter, loaded by the child
//!  FILE ─custom.rs──┘   (in the Spec)  └── compile.rs ─▶ program.rs ─┘
//! ```
//!
//! Compiling Docker's profile takes several times as long as the rest of a start, so the usual one is compiled when
//! rbox is built (build.rs), and others are kept. seccomp(2), runtime-spec config-linux.md#seccomp.

mod cache;
mod compile;
mod custom;
mod docker;
mod numbers;
mod profile;
mod program;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path;

use oci_spec::runtime::{Capability, LinuxSeccomp};

use self::profile::Target;

pub use self::compile::Error;
pub(crate) use self::compile::Filter;

/// The filter of Docker's default profile for the capabilities that a container usually has; made by build.rs with
/// this very code. Empty where rbox was built on another architecture than its own.
pub(crate) static DEFAULT_FILTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/default_filter.bpf"));

/// The digest of the profile that [`DEFAULT_FILTER`] was made of, and the flags that go with it.
static DEFAULT_DIGEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/default_filter.digest"));

/// A fingerprint of the files that make filters: a filter kept by another build is not used.
const BUILD: &str = env!("RBOX_SECCOMP_BUILD");

/// Docker's default profile for a container with these capabilities, on this machine.
pub fn default_profile(capabilities: &HashSet<Capability>) -> LinuxSeccomp {
    profile::resolve(&target(capabilities))
}

/// The profile in a file that the user names: in the form of config.json, or in Docker's, whose rules may depend on
/// capabilities, architecture and kernel.
///
/// # Errors
/// `InvalidSpec` if the text is not a profile.
pub fn profile_from_json(text: &str, capabilities: &HashSet<Capability>) -> Result<LinuxSeccomp, Error> {
    custom::resolve(text, &target(capabilities))
}

fn target(capabilities: &HashSet<Capability>) -> Target<'_> {
    Target { capabilities, architecture: std::env::consts::ARCH, kernel: crate::kernel::version() }
}

/// The filter of a profile: the built-in one if it is that profile's, else one kept in `directory`, else compiled now
/// (and kept, if there is a directory).
///
/// # Errors
/// `InvalidSpec` and `Refused` for a profile that makes no filter, `TooLong` for one of more than 4096 instructions.
pub(crate) fn cached(profile: &LinuxSeccomp, directory: Option<&Path>) -> Result<Filter, Error> {
    let digest = cache::digest(profile);
    if let Some(flags) = DEFAULT_DIGEST.strip_prefix(&digest).and_then(|flags| flags.try_into().ok()) {
        return Ok(Filter { program: DEFAULT_FILTER.to_vec(), flags: u64::from_le_bytes(flags) });
    }
    let place = directory.map(|directory| cache::place(directory, &digest));
    if let Some(filter) = place.as_deref().and_then(cache::load) {
        return Ok(filter);
    }
    let filter = compile::compile(profile)?;
    if let Some(place) = place {
        cache::store(&place, &filter);
    }
    Ok(filter)
}
