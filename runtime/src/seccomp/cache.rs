//! Filters that were compiled before, one file each: compiling a profile costs as much as several container starts.
//!
//! The file's name is the digest of all that the program depends on; its content begins with the digest of the rest,
//! so a torn file is found out. A file or directory that others could have written is not believed.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::compile::Filter;
use crate::state::is_ours;

const DIGEST_BYTES: usize = 32;
const FLAGS_BYTES: usize = 8;

/// The digest of a profile in its one canonical form.
pub(super) fn digest(profile: &oci_spec::runtime::LinuxSeccomp) -> [u8; DIGEST_BYTES] {
    let mut hash = Sha256::new();
    // A structure of numbers, words and lists always has a JSON form; if not, two such would share a filter.
    hash.update(serde_json::to_vec(profile).expect("a profile is plain data"));
    hash.finalize().into()
}

/// Where the filter of this profile is kept. The library's version and the kernel decide which actions it uses, and
/// ours how the prologue is made.
pub(super) fn place(directory: &Path, profile: &[u8; DIGEST_BYTES]) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(profile);
    for part in [env!("CARGO_PKG_VERSION"), super::BUILD, std::env::consts::ARCH] {
        hash.update(part);
        hash.update([0]);
    }
    if let Ok(kernel) = nix::sys::utsname::uname() {
        hash.update(kernel.release().as_encoded_bytes());
    }
    let name: [u8; DIGEST_BYTES] = hash.finalize().into();
    let name: String = name.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    directory.join(format!("{name}.bpf"))
}

/// The filter in the file, if it is whole and ours.
pub(super) fn load(file: &Path) -> Option<Filter> {
    let mut open = std::fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(file).ok()?;
    let metadata = open.metadata().ok()?;
    if !metadata.is_file() || !is_ours(&metadata) {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()?);
    open.read_to_end(&mut bytes).ok()?;
    let (sum, rest) = bytes.split_at_checked(DIGEST_BYTES)?;
    if Sha256::digest(rest).as_slice() != sum {
        return None;
    }
    let (flags, program) = rest.split_at_checked(FLAGS_BYTES)?;
    Some(Filter { program: program.to_vec(), flags: u64::from_le_bytes(flags.try_into().ok()?) })
}

/// Keep a filter. That it cannot be kept costs time, not correctness: nobody is told.
pub(super) fn store(file: &Path, filter: &Filter) {
    let Some(directory) = file.parent() else { return };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    if made.is_err() || !std::fs::symlink_metadata(directory).is_ok_and(|found| found.is_dir() && is_ours(&found)) {
        return;
    }
    let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
    let written = write(&temporary, filter).and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
}

fn write(file: &Path, filter: &Filter) -> std::io::Result<()> {
    let rest = [&filter.flags.to_le_bytes(), filter.program.as_slice()].concat();
    let mut open = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(file)?;
    open.write_all(Sha256::digest(&rest).as_slice())?;
    open.write_all(&rest)
}
