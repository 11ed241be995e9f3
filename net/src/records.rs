//! The records of all endpoints, on disk.
//!
//! ```text
//!   STATE/net/endpoints/
//!     CONTAINER/ENDPOINT.json      EndpointRecord: how to undo it. Gone with the endpoint, and the directory with the last
//!     CONTAINER~ENDPOINT           somebody works at that one who is not its owner: it is half (see connect.rs)
//!     .new-ENDPOINT.json           is being written, by who has the lock
//! ```
//!
//! So a container's own are found without a look at those of others; and one listing, which opens nothing, tells which
//! containers there are and where something is half: all that a sweep asks of those that live.
//!
//! Whatever changes in a record, `endpoints` itself changes then or after: what is written comes from there, and with what is
//! removed a mark goes. So a look at that directory (stat(2)) tells whether anything has changed, and the name server of the host
//! goes by it.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::endpoint::{EndpointRecord, short};
use crate::error::{Doing, Error, Result};
use crate::files::{self, Lock};
use crate::networks::Networks;

/// Between a container's id and that of an endpoint which is half. No id has it: neither one of rbox nor one of CNI.
const HALF: char = '~';

/// What one listing tells.
#[derive(Default)]
pub(crate) struct Listing {
    /// The ids of those containers that were asked for.
    pub(crate) containers: Vec<String>,
    /// Which endpoints are half: container, short id.
    pub(crate) halves: Vec<(String, String)>,
    /// What the dead were writing.
    pub(crate) temporary: Vec<PathBuf>,
}

impl Listing {
    /// List `dir`, and of the containers those that are `wanted`.
    pub(crate) fn of(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<Listing> {
        let mut listing = Listing::default();
        files::list(dir, |name, is_directory| {
            if files::is_temporary(name) {
                listing.temporary.push(dir.join(OsStr::from_bytes(name)));
                return;
            }
            // What is called otherwise is not ours.
            let Ok(name) = std::str::from_utf8(name) else { return };
            match name.split_once(HALF) {
                Some((container, endpoint)) => listing.halves.push((container.to_owned(), endpoint.to_owned())),
                None if is_directory && wanted(name) => listing.containers.push(name.to_owned()),
                None => {}
            }
        })?;
        Ok(listing)
    }
}

/// The files of all records below `dir`, sorted by container.
pub(crate) fn files_of_all(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut containers = Listing::of(dir, |_| true)?.containers;
    containers.sort_unstable();
    let mut records = Vec::new();
    for container in containers {
        records.extend(files::entries(&dir.join(container))?.records);
    }
    Ok(records)
}

impl files::Filed for EndpointRecord {
    fn check(&self, path: &Path) -> std::result::Result<(), &'static str> {
        let mut parts = path.iter().rev();
        let is_named = parts.next() == Some(OsStr::new(&file_name(self)));
        if !is_named || parts.next() != Some(OsStr::new(&self.owner.container)) {
            return Err("it is of an endpoint that has another name");
        }
        if !self.network_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("the identifier of a network is hex digits");
        }
        Ok(())
    }
}

fn file_name(record: &EndpointRecord) -> String {
    format!("{}.json", short(&record.id))
}

impl Networks {
    /// Read every endpoint's record, sorted by container.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read.
    pub fn endpoints(&self) -> Result<Vec<EndpointRecord>> {
        read(&files_of_all(&self.endpoints_dir())?)
    }

    /// Read a container's records, in the order of its interfaces.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read.
    pub fn of_container(&self, container: &str) -> Result<Vec<EndpointRecord>> {
        let mut records = read(&files::entries(&self.container_dir(container))?.records)?;
        // In the order in which they were connected: that of their interfaces.
        records.sort_by_key(|record| record.interface().map(|name| (name.len(), name.to_owned())));
        Ok(records)
    }

    /// Those of a container's records that serve it: without those on their way out.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read.
    pub fn staying(&self, container: &str) -> Result<Vec<EndpointRecord>> {
        let records = self.of_container(container)?;
        Ok(records.into_iter().filter(|record| !record.is_leaving()).collect())
    }

    /// The record as it is now. Nothing where the endpoint is gone.
    pub(crate) fn read_again(&self, record: &EndpointRecord) -> Result<Option<EndpointRecord>> {
        files::read_named(&self.endpoint_file(record))
    }

    /// Write down an endpoint in place of what was there of it. It leases nothing that it did not.
    pub(crate) fn put(&self, lock: &Lock, record: &EndpointRecord) -> Result<()> {
        self.put_after(lock, record, || Ok(()))
    }

    /// Write down an endpoint that leases something new: first that, so that nobody else gets it.
    pub(crate) fn enter(&self, lock: &Lock, record: &EndpointRecord) -> Result<()> {
        self.put_after(lock, record, || self.note_lease(lock, record))
    }

    /// Write down an endpoint, and something else before it is there: who is killed in between is found by his temporary file.
    pub(crate) fn put_after(
        &self,
        lock: &Lock,
        record: &EndpointRecord,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let (file, dir) = (self.endpoint_file(record), self.container_dir(&record.owner.container));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).doing(|| format!("create {}", dir.display()));
            }
            _ => rbox_explain::mark("endpoint-directory"),
        }
        files::write_text(lock, (&self.temporary_of(record), &file), &files::to_text(&file, record)?, act)
    }

    /// Have sweeps look at an endpoint whose container lives: it is half, or is about to be.
    pub(crate) fn mark(&self, _lock: &Lock, record: &EndpointRecord) -> Result<()> {
        let mark = self.half_file(&record.owner.container, short(&record.id));
        let made = OpenOptions::new().write(true).create(true).truncate(false).open(&mark);
        made.doing(|| format!("write {}", mark.display()))?;
        rbox_explain::mark("endpoint-half");
        Ok(())
    }

    /// It is half no more.
    pub(crate) fn put_whole(&self, lock: &Lock, record: &EndpointRecord) -> Result<()> {
        self.put(lock, record)?;
        files::remove(&self.half_file(&record.owner.container, short(&record.id)))
    }

    /// Under the lock: who changes a record (`hand_over`) must not write one anew that has gone since it was read.
    pub(crate) fn forget(&self, record: &EndpointRecord) -> Result<()> {
        let lock = self.lock()?;
        // Who is killed after the next step is found by the mark, which goes last: `endpoints` changes after the record has gone.
        // If there is no room for it, it has to do without.
        let _ = self.mark(&lock, record);
        files::remove(&self.endpoint_file(record))?;
        self.note_free(&lock, record);
        files::remove(&self.half_file(&record.owner.container, short(&record.id)))?;
        files::remove_empty(&self.container_dir(&record.owner.container))
    }

    /// Take away what the dead have left of records that is none: files half written, directories without any, marks of
    /// endpoints that are not half.
    pub(crate) fn tidy(&self, listing: &Listing) -> Vec<Error> {
        if listing.temporary.is_empty() && listing.containers.is_empty() && listing.halves.is_empty() {
            return Vec::new();
        }
        // Who has it is about to put something there, or to take it away.
        match self.lock() {
            Ok(lock) => self.tidy_under(&lock, listing),
            Err(error) => vec![error],
        }
    }

    fn tidy_under(&self, lock: &Lock, listing: &Listing) -> Vec<Error> {
        let is_half = |(container, endpoint): &&(String, String)| {
            let found = files::read_named::<EndpointRecord>(&self.endpoint_file_of(container, endpoint));
            matches!(found, Ok(Some(record)) if record.maker.is_some())
        };
        let marks = listing.halves.iter().filter(|half| !is_half(half)).map(|(one, other)| self.half_file(one, other));
        let files: Vec<PathBuf> = listing.temporary.iter().cloned().chain(marks).collect();
        let (mut errors, mut is_any) = (Vec::new(), false);
        for file in files {
            match files::remove_found(&file) {
                Ok(is_found) => is_any |= is_found,
                Err(error) => errors.push(error),
            }
        }
        let containers = listing.containers.iter().chain(listing.halves.iter().map(|(container, _)| container));
        errors.extend(containers.filter_map(|container| files::remove_empty(&self.container_dir(container)).err()));
        if is_any {
            // Who left that may have noted a lease and no record of it, or taken away a record and not noted that.
            errors.extend(self.forget_leases(lock).err());
        }
        errors
    }

    pub(crate) fn endpoint_file(&self, record: &EndpointRecord) -> PathBuf {
        self.container_dir(&record.owner.container).join(file_name(record))
    }

    /// By the short id of an endpoint.
    pub(crate) fn endpoint_file_of(&self, container: &str, endpoint: &str) -> PathBuf {
        self.container_dir(container).join(format!("{endpoint}.json"))
    }

    /// Where it is before it is there.
    fn temporary_of(&self, record: &EndpointRecord) -> PathBuf {
        self.endpoints_dir().join(files::temporary(&file_name(record)))
    }

    fn half_file(&self, container: &str, endpoint: &str) -> PathBuf {
        self.endpoints_dir().join(format!("{container}{HALF}{endpoint}"))
    }

    /// A container's records.
    pub(crate) fn container_dir(&self, container: &str) -> PathBuf {
        self.endpoints_dir().join(container)
    }

    pub(crate) fn endpoints_dir(&self) -> PathBuf {
        self.dir().join("endpoints")
    }
}

/// Those that are there still.
fn read(files: &[PathBuf]) -> Result<Vec<EndpointRecord>> {
    files.iter().filter_map(|file| files::read_named(file).transpose()).collect()
}
