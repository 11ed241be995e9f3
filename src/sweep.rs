//! Taking containers apart, and undoing what a killed rbox left behind.
//!
//! Every command that changes anything sweeps first: where somebody has died over his work (`record/register.rs`), it looks
//! for what he has left. A container whose monitor is dead and whose program runs on gets another monitor. Any other whose
//! claim's process is dead is taken apart from what stands on disk alone, in the reverse of the order in which `cmd/run.rs`
//! made it; each step succeeds where there is nothing left to do, so a sweep that is killed too is finished by the next one.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use anyhow::{Context, Error, Result, bail};
use rbox_images::Store;
use rbox_net::{Networks, Owner};
use rbox_runtime::container::Container;

use crate::cli::value::RestartPolicy;
use crate::cmd::network::settle;
use crate::dirs::Dirs;
use crate::follow;
use crate::monitor::{Task, launch};
use crate::record::register::{self, Register};
use crate::record::{self, Claim, Purpose, Record, Renaming};

/// See to what the dead left, and say that this process is at work. Where nobody has died, one file is read.
///
/// Errors are collected: one container that cannot be removed does not keep the others.
pub(crate) fn sweep(dirs: &Dirs, networks: &Networks) -> Vec<Error> {
    let register = register::enter(dirs);
    let mut errors = Vec::new();
    errors.extend(finish_renaming(dirs, networks).err());
    errors.extend(forget_other_boots(dirs).err());
    if register.as_ref().is_some_and(Register::is_quiet) && !networks.may_have_left_something() {
        return errors;
    }
    errors.extend(look_through(dirs, networks, register.as_ref()));
    if let (Some(register), true) = (register, errors.is_empty()) {
        register.looked_through(dirs);
    }
    errors
}

/// Take apart what the dead have left, or give it to somebody else; also where the register says that there is nothing.
pub(crate) fn look_through(dirs: &Dirs, networks: &Networks, register: Option<&Register>) -> Vec<Error> {
    let found = Claim::ids_and_unfinished(dirs)
        .and_then(|(ids, left)| Ok((Claim::dead(dirs, &ids, register)?.is_empty(), ids, left)));
    let (all_live, ids, unfinished) = match found {
        Ok(found) => found,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    if !all_live {
        let mut orphans = Vec::new();
        match lock(dirs) {
            Err(error) => errors.push(error),
            // Read again under the lock: another rbox may have swept meanwhile.
            Ok(_lock) => {
                for claim in Claim::dead(dirs, &ids, register).unwrap_or_default() {
                    match orphan(dirs, &claim) {
                        // From now on it is ours, until its new monitor takes it over: no other sweep takes it for dead.
                        true => match claim.rewritten(dirs, Purpose::Hold) {
                            Ok(claim) => orphans.push(claim),
                            Err(error) => errors.push(error),
                        },
                        false => errors.extend(bury(dirs, networks, &claim)),
                    }
                }
            }
        }
        for claim in orphans {
            errors.extend(adopt(dirs, &claim).err());
        }
    }
    errors.extend(Claim::sweep_unfinished(&unfinished).err());
    // What belongs to a claim is seen to with the claim, also with one that went in this moment.
    let claimed: HashSet<String> = ids.into_iter().collect();
    let is_claimed = |id: &str| claimed.contains(id) && (all_live || matches!(Claim::of(dirs, id), Ok(Some(_))));
    let swept = networks.sweep_but(&is_claimed, &|owner| is_alive(dirs, owner));
    errors.extend(swept.errors.into_iter().map(Error::from));
    if swept.is_abandoned {
        errors.extend(settle::mend(dirs, networks));
    }
    errors
}

/// Whether somebody is there who answers for what an endpoint is, or for what is done to it.
pub(crate) fn is_alive(dirs: &Dirs, owner: &Owner) -> bool {
    record::is_alive(owner.pid, owner.start_time, &owner.boot_id)
        || matches!(Claim::of(dirs, &owner.container), Ok(Some(_)))
}

/// A name that was being changed by a process that was killed over it.
fn finish_renaming(dirs: &Dirs, networks: &Networks) -> Result<()> {
    if !Renaming::is_any(dirs) {
        return Ok(());
    }
    let _lock = lock(dirs)?;
    // One that a living process was about to finish is gone by now.
    Renaming::left(dirs)?.map_or(Ok(()), |renaming| renaming.finish(dirs, networks))
}

/// Whether the container of a dead claim wants another monitor: its program runs on, or is to be started again.
fn orphan(dirs: &Dirs, claim: &Claim) -> bool {
    if claim.purpose == Purpose::Remove || !record::boot_id().is_ok_and(|boot| boot == claim.boot_id) {
        return false;
    }
    let Ok(Some(record)) = Record::load(dirs, &claim.id) else { return false };
    if !record.monitored || record.started.is_none() {
        return false;
    }
    let runs = || Container::load(&dirs.runtime(), &claim.id).is_ok_and(|container| container.pidfd().is_some());
    let again = record.restart != RestartPolicy::No && (record.is_begun() || record.restarting);
    again && !record.stopped_by_hand || record.is_begun() && runs()
}

/// Give a container another monitor.
fn adopt(dirs: &Dirs, claim: &Claim) -> Result<()> {
    let mut monitor = launch(dirs, &claim.id, Task::Adopt, &[], &[])?;
    match monitor.await_started()? {
        Ok(()) => Ok(()),
        Err(_) => bail!("cannot take up container {}, whose monitor was killed", claim.name),
    }
}

/// After a restart of the machine nobody claims what ran before: note that it has ended. Once for each boot.
fn forget_other_boots(dirs: &Dirs) -> Result<()> {
    let now = record::boot_id()?;
    let seen = dirs.boot();
    if fs::read_to_string(&seen).is_ok_and(|boot| boot == now) {
        return Ok(());
    }
    let _lock = lock(dirs)?;
    // Of two first commands, one does it before the other can start anything.
    if fs::read_to_string(&seen).is_ok_and(|boot| boot == now) {
        return Ok(());
    }
    for record in Record::all(dirs)? {
        let lost = record.is_begun() || record.restarting;
        if !lost || Claim::of(dirs, &record.id)?.is_some() {
            continue;
        }
        if record.remove {
            let claim = Claim::of_nobody(&record.id, &record.name);
            erase_under_lock(dirs, &claim).into_iter().next().map_or(Ok(()), Err)?;
        } else {
            Record::update(dirs, &record.id, |record| {
                if record.is_begun() {
                    record.end(255, Some("the machine was started anew".into()));
                }
                record.restarting = false;
            })?;
        }
    }
    record::make_private(dirs.state())?;
    fs::write(&seen, now).with_context(|| format!("cannot write {}", seen.display()))?;
    rbox_explain::mark("boot-seen");
    Ok(())
}

/// One sweep at a time: of two that remove a name, the slower could remove it from its next owner. A claim changes hands
/// under it too.
pub(crate) fn lock(dirs: &Dirs) -> Result<File> {
    let path = dirs.lock();
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Take apart a container whose rbox is dead. One that had begun its program stays as a record, unless it was `--rm`; so
/// does one that was there before.
fn bury(dirs: &Dirs, networks: &Networks, claim: &Claim) -> Vec<Error> {
    let mut errors = stop(dirs, &claim.id);
    errors.extend(networks.disconnect(&claim.id).into_iter().map(Error::from));
    errors.extend(remove_directory(&dirs.live(&claim.id)));
    follow::forget(dirs, &claim.id);
    let record = match Record::load(dirs, &claim.id) {
        Ok(record) => record,
        // Whose it is cannot be told, so what a program has written there stays.
        Err(error) => {
            errors.push(error);
            errors.extend(claim.release(dirs).err());
            return errors;
        }
    };
    let stays = |record: &Record| match claim.purpose {
        Purpose::Remove => false,
        Purpose::Make => record.started.is_some() && !record.remove,
        Purpose::Hold => record.started.is_none() || !record.remove,
    };
    match record.filter(stays) {
        None => errors.extend(erase_under_lock(dirs, claim)),
        Some(record) => {
            // Nothing is written where there is nothing to note: the disk may be full.
            if record.is_begun() || record.restarting {
                errors.extend(note_lost(dirs, &record.id).err());
            }
            errors.extend(settle::note_again(dirs, &record).err());
            if errors.is_empty() {
                errors.extend(claim.release(dirs).err());
            }
        }
    }
    errors
}

fn note_lost(dirs: &Dirs, id: &str) -> Result<Record> {
    Record::update(dirs, id, |record| {
        if record.is_begun() {
            let why = match record.monitored {
                true => "its monitor was killed, and nobody saw how the program ended",
                false => "rbox was killed, and the container with it",
            };
            record.end(255, Some(why.into()));
        }
        record.restarting = false;
    })
}

/// End what runs, and remove its control group and the runtime's state.
fn stop(dirs: &Dirs, id: &str) -> Vec<Error> {
    let deleted = match Container::load(&dirs.runtime(), id) {
        Ok(container) => container.delete(true).map(drop),
        Err(rbox_runtime::Error::NotFound { .. }) => remove_empty_state(dirs, id),
        Err(error) => Err(error),
    };
    deleted.err().map(Error::from).into_iter().collect()
}

/// The runtime makes a container's directory before it writes its state.
pub(crate) fn remove_empty_state(dirs: &Dirs, id: &str) -> rbox_runtime::Result<()> {
    let path = dirs.runtime().join(id);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(rbox_runtime::Error::Os { doing: format!("remove {}", path.display()), source: error })
        }
        _ => Ok(()),
    }
}

/// Remove a directory and all that is in it. Gone already is fine.
pub(crate) fn remove_directory(path: &Path) -> Vec<Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            vec![Error::new(error).context(format!("cannot remove {}", path.display()))]
        }
        _ => {
            rbox_explain::mark("directory-removed");
            Vec::new()
        }
    }
}

/// Remove a stopped container for good: snapshot, bundle, name, claim. The claim goes last, and only when all else is
/// gone, so that the next sweep tries again.
pub(crate) fn erase(dirs: &Dirs, claim: &Claim) -> Vec<Error> {
    let mut errors: Vec<Error> = remove_snapshot(dirs, &claim.id).err().into_iter().collect();
    match lock(dirs) {
        Ok(_lock) => errors = forget(dirs, claim, errors),
        Err(error) => errors.push(error),
    }
    errors
}

fn erase_under_lock(dirs: &Dirs, claim: &Claim) -> Vec<Error> {
    let errors = remove_snapshot(dirs, &claim.id).err().into_iter().collect();
    forget(dirs, claim, errors)
}

/// Under the lock, since a name is changed under it: else the new one would stay, and lead nowhere.
fn forget(dirs: &Dirs, claim: &Claim, mut errors: Vec<Error>) -> Vec<Error> {
    // Another rbox may have given it another name since it was claimed.
    let renamed = Record::load(dirs, &claim.id).ok().flatten().map(|record| Claim::of_nobody(&claim.id, &record.name));
    errors.extend(remove_directory(&dirs.container(&claim.id)));
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
