//! Undoing what the dead left, by the records alone.

use std::path::Path;

use crate::endpoint::{Attachment, EndpointRecord, Owner, pull_out};
use crate::error::{Error, Result};
use crate::files;
use crate::firewall::{Meant, flows};
use crate::netlink::Netlink;
use crate::networks::Networks;
use crate::pod;
use crate::ports::Protocol;
use crate::records::Listing;

/// What a sweep has found.
#[derive(Debug)]
pub struct Swept {
    /// What could not be undone.
    pub errors: Vec<Error>,
    /// Endpoints of containers that live are half, and nobody works at them: see [`Networks::abandoned`].
    pub is_abandoned: bool,
}

impl Networks {
    /// Undo what the dead left: rules, links, leases of every endpoint whose owner is not `alive`.
    ///
    /// Costs one directory listing when there are no endpoints. Errors are collected.
    pub fn sweep(&self, alive: &dyn Fn(&Owner) -> bool) -> Vec<Error> {
        self.sweep_but(&|_| false, alive).errors
    }

    /// The same, but for containers that are known to be `held`: their records are not even looked for, unless they are half.
    pub fn sweep_but(&self, held: &dyn Fn(&str) -> bool, alive: &dyn Fn(&Owner) -> bool) -> Swept {
        let mut swept = Swept { errors: self.sweep_makings(alive), is_abandoned: false };
        let listing = match Listing::of(&self.endpoints_dir(), |container| !held(container)) {
            Ok(listing) => listing,
            Err(error) => {
                swept.errors.push(error);
                return swept;
            }
        };
        let mut left = Listing { temporary: listing.temporary, ..Listing::default() };
        for container in listing.containers {
            match self.sweep_container(&container, &mut swept, alive) {
                Ok(true) => {}
                Ok(false) => left.containers.push(container),
                Err(error) => swept.errors.push(error),
            }
        }
        for (container, endpoint) in listing.halves {
            let file = self.endpoint_file_of(&container, &endpoint);
            if !self.sweep_half(&file, &mut swept, (held(&container), alive)) {
                left.halves.push((container, endpoint));
            }
        }
        swept.errors.extend(self.tidy(&left));
        swept
    }

    /// Look at an endpoint that is marked as half. Answers whether it is.
    fn sweep_half(&self, file: &Path, swept: &mut Swept, (is_held, alive): (bool, &dyn Fn(&Owner) -> bool)) -> bool {
        match files::read_named::<EndpointRecord>(file) {
            Ok(Some(record)) if is_held || pod::lives(&record, alive) => {
                let Some(maker) = record.maker else { return false };
                swept.is_abandoned |= maker.is_dead(alive);
                true
            }
            // It could not be undone just now, and that has been said.
            Ok(Some(_)) => true,
            Ok(None) => false,
            Err(error) => {
                swept.errors.extend(removed(error, file));
                false
            }
        }
    }

    /// Undo those of a container's endpoints whose owner is dead. Answers whether it has any that stay, as far as is known.
    fn sweep_container(&self, container: &str, swept: &mut Swept, alive: &dyn Fn(&Owner) -> bool) -> Result<bool> {
        let mut has_any = false;
        for file in files::entries(&self.container_dir(container))?.records {
            match files::read_named::<EndpointRecord>(&file) {
                Ok(Some(record)) => {
                    has_any = true;
                    if !pod::lives(&record, alive) {
                        swept.errors.extend(self.settle(&record).err());
                        swept.errors.extend(self.undo(&record));
                    }
                }
                Ok(None) => {}
                // Records are written whole, so only a lost disk cache leaves half of one, and then the kernel started
                // anew too. Kept, it would be in the way of every reservation.
                Err(error) => swept.errors.extend(removed(error, &file)),
            }
        }
        Ok(has_any)
    }

    /// Undo one endpoint whose container is dead.
    pub(crate) fn undo(&self, record: &EndpointRecord) -> Vec<Error> {
        let _rules = match self.share_rules() {
            Ok(lock) => lock,
            Err(error) => return vec![error],
        };
        let mut errors: Vec<Error> = self.withdraw(std::slice::from_ref(record)).err().into_iter().collect();
        errors.extend(self.delete_rules(record).err());
        if let Some(attachment) = &record.attachment {
            errors.extend(Netlink::here().and_then(|mut netlink| pull_out(&mut netlink, attachment)).err());
        }
        errors.extend(record.device.as_ref().and_then(|device| device.give_back(None).err()));
        if errors.is_empty() {
            errors.extend(self.forget(record).err());
        }
        errors
    }

    /// Its owner may have been killed while a program put in its rules.
    pub(crate) fn settle(&self, record: &EndpointRecord) -> Result<()> {
        if record.rules.is_empty() { Ok(()) } else { self.firewall().settle() }
    }

    pub(crate) fn delete_rules(&self, record: &EndpointRecord) -> Result<()> {
        if record.rules.is_empty() {
            return Ok(());
        }
        self.firewall().delete(record.rules.iter(), &EndpointRecord::comment(&record.owner.container, &record.id))?;
        let addresses = record.attachment.iter().flat_map(Attachment::addresses).collect::<Vec<_>>();
        match record.ports.iter().any(|mapping| mapping.protocol == Protocol::Udp) {
            true => flows::forget(&Meant::To(&addresses)),
            false => Ok(()),
        }
    }
}

/// Why a record cannot be read that goes for that, and why it cannot go.
fn removed(error: Error, file: &Path) -> impl Iterator<Item = Error> {
    std::iter::once(error).chain(files::remove(file).err())
}
