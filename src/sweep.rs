//! Taking containers apart, and undoing what a killed rbox left behind.
//!
//! Every command that changes anything sweeps first. A container whose claim's process is dead is taken apart from
//! what stands on disk alone, in the reverse of the order in which `cmd/run.rs` made it; each step succeeds where
//! there is nothing left to do, so a sweep that is killed too is finished by the next one.

use std::fs::{self, File, OpenOptions};
use std::io;

use anyhow::{Context, Error, Result};
use rbox_images::Store;
use rbox_net::Networks;
use rbox_runtime::container::Container;

use crate::dirs::Dirs;
use crate::record::{self, Claim, Record};

/// Undo what the dead left. Costs one directory listing where there is nothing.
///
/// Errors are collected: one container that cannot be removed does not keep the others.
pub(crate) fn sweep(dirs: &Dirs, networks: &Networks) -> Vec<Error> {
    let claims = match Claim::all(dirs) {
        Ok(claims) => claims,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    if claims.iter().any(|claim| !claim.is_alive()) {
        match lock(dirs) {
            Err(error) => errors.push(error),
            // Read again under the lock: another rbox may have swept meanwhile.
            Ok(_lock) => {
                let dead = Claim::all(dirs).unwrap_or_default().into_iter().filter(|claim| !claim.is_alive());
                errors.extend(dead.flat_map(|claim| bury(dirs, networks, &claim)));
            }
        }
    }
    errors.extend(Claim::sweep_unfinished(dirs).err());
    let alive = |owner: &rbox_net::Owner| record::is_alive(owner.pid, owner.start_time, &owner.boot_id);
    errors.extend(networks.sweep(&alive).into_iter().map(Error::from));
    errors
}

/// One sweep at a time: of two that remove a name, the slower could remove it from its next owner.
pub(crate) fn lock(dirs: &Dirs) -> Result<File> {
    let path = dirs.lock();
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Take apart a container whose rbox is dead. One that had begun its program stays as a record, unless it was `--rm`.
fn bury(dirs: &Dirs, networks: &Networks, claim: &Claim) -> Vec<Error> {
    let mut errors = stop(dirs, &claim.id);
    errors.extend(networks.disconnect(&claim.id).into_iter().map(Error::from));
    let begun = match Record::load(dirs, &claim.id) {
        Ok(record) => record.filter(|record| record.started.is_some() && !record.remove),
        Err(error) => {
            errors.push(error);
            None
        }
    };
    match begun {
        None => errors.extend(erase(dirs, claim)),
        Some(mut record) => {
            if record.finished.is_none() {
                record.finished = Some(record::now());
                record.exit_code = Some(255);
                record.error = Some("rbox was killed, and the container with it".into());
                errors.extend(record.save(dirs).err());
            }
            if errors.is_empty() {
                errors.extend(claim.release(dirs).err());
            }
        }
    }
    errors
}

/// End what runs, and remove its control group and the runtime's state.
fn stop(dirs: &Dirs, id: &str) -> Vec<Error> {
    let deleted = match Container::load(&dirs.runtime(), id) {
        Ok(container) => container.delete(true),
        Err(rbox_runtime::Error::NotFound { .. }) => remove_empty_state(dirs, id),
        Err(error) => Err(error),
    };
    deleted.err().map(Error::from).into_iter().collect()
}

/// The runtime makes a container's directory before it writes its state.
fn remove_empty_state(dirs: &Dirs, id: &str) -> rbox_runtime::Result<()> {
    let path = dirs.runtime().join(id);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(rbox_runtime::Error::Os { doing: format!("remove {}", path.display()), source: error })
        }
        _ => Ok(()),
    }
}

/// Remove a stopped container for good: snapshot, bundle, name, claim. The claim goes last, and only when all else is
/// gone, so that the next sweep tries again.
pub(crate) fn erase(dirs: &Dirs, claim: &Claim) -> Vec<Error> {
    let mut errors: Vec<Error> = Vec::new();
    // Another rbox may have given it another name since it was claimed.
    let renamed = Record::load(dirs, &claim.id).ok().flatten().map(|record| Claim::of_nobody(&claim.id, &record.name));
    errors.extend(remove_snapshot(dirs, &claim.id).err());
    let bundle = dirs.container(&claim.id);
    match fs::remove_dir_all(&bundle) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            errors.push(Error::new(error).context(format!("cannot remove {}", bundle.display())));
        }
        _ => {}
    }
    errors.extend(claim.release_name(dirs).err());
    errors.extend(renamed.and_then(|claim| claim.release_name(dirs).err()));
    if errors.is_empty() {
        errors.extend(claim.release(dirs).err());
    }
    errors
}

fn remove_snapshot(dirs: &Dirs, id: &str) -> Result<()> {
    Ok(Store::open(dirs.root())?.remove_snapshot(id)?)
}
