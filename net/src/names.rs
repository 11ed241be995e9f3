//! Who is known in a network: one file for each, that the name servers of all its containers read.
//!
//! ```text
//!   connect, disconnect, rename ──learn, unlearn──▶ STATE/net/names/NETWORK-ID.json ◀── Resolver, one for each container
//!                                 (under the lock)    written beside, renamed            (crate::dns)
//! ```
//!
//! There is nothing to reload and nobody to tell: a name server looks before each answer whether the file is still the
//! one it has read. So a container is known from the moment it is connected, and unknown from the moment it has left.

use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::endpoint::EndpointRecord;
use crate::error::{Doing, Error, Result};
use crate::files::{self, Lock};
use crate::networks::Networks;

/// Names remembered of those that have left, so that a question for one of them never goes to the internet.
const GONE_MAX: usize = 256;

/// One endpoint, as others in its network find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The endpoint's id.
    pub endpoint: String,
    /// The container's id, 64 hex digits. Its first 12 are a name too; all of them are too long for one (RFC 1035: 63).
    pub container: String,
    /// The container's name.
    pub name: String,
    /// More names, which others may have too: `--network-alias`, `--hostname`.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Its IPv4 address in this network.
    #[serde(default)]
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address in this network.
    #[serde(default)]
    pub v6: Option<Ipv6Addr>,
}

impl Named {
    /// What others know of an endpoint; nothing where its network has no names.
    fn of(record: &EndpointRecord) -> Option<Named> {
        let attachment = record.attachment.as_ref().filter(|_| record.has_names())?;
        Some(Named {
            endpoint: record.id.clone(),
            container: record.owner.container.clone(),
            name: record.owner.name.clone(),
            aliases: record.further_names(),
            v4: Some(attachment.address),
            v6: attachment.v6.as_ref().map(|v6| v6.address),
        })
    }

    /// The names that a person gave.
    pub(crate) fn given(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.name).chain(&self.aliases)
    }

    /// The first 12 digits of the container's id.
    pub(crate) fn short_id(&self) -> &str {
        self.container.get(..12).unwrap_or(&self.container)
    }
}

/// The file of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    /// The network's name.
    pub(crate) network: String,
    /// Who is connected.
    pub(crate) known: Vec<Named>,
    /// Names that have left, the latest last.
    #[serde(default)]
    pub(crate) gone: VecDeque<String>,
}

impl Names {
    /// Put in one endpoint, in place of what was known of it.
    fn learn(&mut self, named: Named) {
        self.unlearn(&named.endpoint);
        self.gone.retain(|gone| !named.given().any(|name| name.eq_ignore_ascii_case(gone)));
        self.known.push(named);
    }

    /// Take out one endpoint. Says whether it was there.
    fn unlearn(&mut self, endpoint: &str) -> bool {
        let Some(at) = self.known.iter().position(|named| named.endpoint == endpoint) else { return false };
        let left = self.known.remove(at);
        for name in left.given() {
            self.gone.retain(|gone| !gone.eq_ignore_ascii_case(name));
            self.gone.push_back(name.clone());
        }
        self.gone.drain(..self.gone.len().saturating_sub(GONE_MAX));
        true
    }
}

impl Networks {
    /// Make an endpoint known to its network, with all its names; what was known of it before is replaced.
    ///
    /// # Errors
    /// `Os`: the file cannot be read or written.
    pub fn learn(&self, lock: &Lock, network_id: &str, network_name: &str, named: Named) -> Result<()> {
        let mut names = self.names(network_id)?;
        names.network = network_name.to_owned();
        names.learn(named);
        let dir = self.names_dir();
        fs::create_dir_all(&dir).doing(|| format!("create {}", dir.display()))?;
        files::write(lock, &self.names_file(network_id), &names)
    }

    /// Make an endpoint unknown. One that is unknown already is no error.
    ///
    /// # Errors
    /// `Os`: the file cannot be read or written.
    pub fn unlearn(&self, lock: &Lock, network_id: &str, endpoint: &str) -> Result<()> {
        let mut names = self.names(network_id)?;
        if !names.unlearn(endpoint) {
            // Whoever was killed over writing it down has left that beside the file.
            return files::remove_beside(lock, &self.names_file(network_id));
        }
        files::write(lock, &self.names_file(network_id), &names)
    }

    /// Change the name of an endpoint's container: `rename`. Its aliases stay. An unknown endpoint is no error.
    ///
    /// # Errors
    /// `Os`: the file cannot be read or written.
    pub fn rename(&self, lock: &Lock, network_id: &str, endpoint: &str, name: &str) -> Result<()> {
        let mut names = self.names(network_id)?;
        let Some(named) = names.known.iter().find(|named| named.endpoint == endpoint) else { return Ok(()) };
        let renamed = Named { name: name.to_owned(), ..named.clone() };
        names.learn(renamed);
        files::write(lock, &self.names_file(network_id), &names)
    }

    /// Make endpoints known to their networks, as far as these have names.
    pub(crate) fn announce(&self, records: &[EndpointRecord]) -> Result<()> {
        if records.iter().any(EndpointRecord::has_names) {
            return self.announce_under(&self.lock()?, records);
        }
        Ok(())
    }

    /// The same, by who has the lock.
    pub(crate) fn announce_under(&self, lock: &Lock, records: &[EndpointRecord]) -> Result<()> {
        let named = records.iter().filter_map(|record| Some((record, Named::of(record)?)));
        named.into_iter().try_for_each(|(record, named)| self.learn(lock, &record.network_id, &record.network, named))
    }

    /// Make endpoints unknown.
    pub(crate) fn withdraw(&self, records: &[EndpointRecord]) -> Result<()> {
        if !records.iter().any(EndpointRecord::has_names) {
            return Ok(());
        }
        let lock = self.lock()?;
        let mut named = records.iter().filter(|record| record.has_names());
        named.try_for_each(|record| self.unlearn(&lock, &record.network_id, &record.id))
    }

    /// Forget all names of a network that is removed.
    ///
    /// # Errors
    /// `Os`: the file cannot be removed.
    pub fn forget_names(&self, _lock: &Lock, network_id: &str) -> Result<()> {
        files::remove(&self.names_file(network_id))?;
        // Who was killed while he wrote: his half-written file has no other to become.
        let entries = files::entries(&self.names_dir());
        entries.iter().flat_map(|entries| &entries.temporary).try_for_each(|file| files::remove(file))
    }

    /// A file that cannot be understood counts as empty: it only says what the records of the endpoints say too, and a
    /// container must not be kept from its network by it.
    fn names(&self, network_id: &str) -> Result<Names> {
        match files::read(&self.names_file(network_id)) {
            Ok(names) => Ok(names.unwrap_or_default()),
            Err(Error::Record { .. }) => Ok(Names::default()),
            Err(error) => Err(error),
        }
    }

    /// Who a network has names of.
    pub(crate) fn names_of(&self, network_id: &str) -> Result<Vec<Named>> {
        Ok(self.names(network_id)?.known)
    }

    fn names_file(&self, network_id: &str) -> PathBuf {
        self.names_dir().join(format!("{network_id}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(endpoint: &str, name: &str, aliases: &[&str]) -> Named {
        Named {
            endpoint: endpoint.to_owned(),
            container: format!("{endpoint:0>64}"),
            name: name.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            v4: None,
            v6: None,
        }
    }

    #[test]
    fn an_endpoint_is_known_once() {
        let mut names = Names::default();
        names.learn(named("e1", "web", &["www"]));
        names.learn(named("e2", "db", &[]));
        names.learn(named("e1", "front", &["www"]));
        assert_eq!(names.known, [named("e2", "db", &[]), named("e1", "front", &["www"])]);
        // "www" is known still.
        assert_eq!(names.gone, ["web"]);
        assert!(!names.unlearn("e3"));
    }

    #[test]
    fn the_last_names_that_left_are_remembered_once_each() {
        let mut names = Names::default();
        for number in 0..300 {
            names.learn(named("e", &format!("n{number}"), &[]));
        }
        names.unlearn("e");
        assert_eq!(names.gone.len(), GONE_MAX);
        assert_eq!((names.gone[0].as_str(), names.gone[255].as_str()), ("n44", "n299"));
        names.learn(named("e", "N44", &[]));
        assert!(!names.gone.contains(&"n44".to_owned()), "who is back is not gone");
        names.unlearn("e");
        assert_eq!(names.gone.back().map(String::as_str), Some("N44"));
    }

    #[test]
    fn a_broken_file_counts_as_empty_and_is_written_anew() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir_all(state.path().join("net/networks")).unwrap();
        fs::write(state.path().join("net/networks/none.json"), "").unwrap();
        let networks = Networks::open(state.path(), state.path()).unwrap();
        let lock = networks.lock().unwrap();
        let web = named("e1", "web", &[]);
        networks.learn(&lock, "n1", "mine", web.clone()).unwrap();
        networks.unlearn(&lock, "n1", "e2").unwrap();
        networks.rename(&lock, "n1", "e1", "front").unwrap();
        let names = networks.names("n1").unwrap();
        assert_eq!((names.network.as_str(), names.known[0].name.as_str()), ("mine", "front"));
        fs::write(networks.names_file("n1"), "{\"network\":").unwrap();
        assert_eq!(networks.names("n1").unwrap(), Names::default());
        networks.learn(&lock, "n1", "mine", web.clone()).unwrap();
        assert_eq!(networks.names("n1").unwrap().known, [web]);
        fs::write(networks.names_dir().join(".new-n1.json"), "{").unwrap();
        networks.forget_names(&lock, "n1").unwrap();
        networks.forget_names(&lock, "n1").unwrap();
        assert_eq!(fs::read_dir(networks.names_dir()).unwrap().count(), 0);
        networks.unlearn(&lock, "n1", "e1").unwrap();
        assert!(!networks.names_file("n1").exists(), "nothing is written for nobody");
    }
}
