//! Who sits on a published port: a socket of the host that will never hear what is sent there.
//!
//! Up to 64 ports of a container are held, and nobody else can bind those. A longer range was free when it was published; who
//! binds one of its ports later is told nothing, and the rules take every packet before he sees it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use super::sockets::Bound;
use super::{PortMapping, Protocol, holder};
use crate::endpoint::EndpointRecord;
use crate::error::Result;
use crate::networks::Networks;

/// A socket of the host that is bound where a port is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Squatter {
    /// The container's name whose port it is.
    pub container: String,
    /// What is published.
    pub mapping: PortMapping,
    /// Where the socket is bound.
    pub bound: SocketAddr,
    /// `nginx, pid 812`. Nothing where the process cannot be seen.
    pub process: Option<String>,
}

impl Networks {
    /// List the sockets of the host that are bound where a port is published, and never hear what comes there: by container,
    /// then by port. Which sockets there are tells the network namespace of this thread.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read.
    pub fn squatters(&self) -> Result<Vec<Squatter>> {
        Ok(squatters(&self.endpoints()?))
    }
}

fn squatters(records: &[EndpointRecord]) -> Vec<Squatter> {
    let mut tables: HashMap<Protocol, Vec<Bound>> = HashMap::new();
    let mut found = Vec::new();
    for record in records.iter().filter(|record| !record.ports.is_empty()) {
        // Its owner's are there to keep the ports, or to relay them.
        let own: HashSet<u64> = holder::sockets_of(record.owner.pid).collect();
        for mapping in &record.ports {
            let table = tables.entry(mapping.protocol).or_insert_with(|| holder::sockets(mapping.protocol));
            let squats = |bound: &&Bound| {
                let there = SocketAddr::new(mapping.host_ip, bound.at.port());
                mapping.host.contains(there.port()) && bound.keeps_from(there) && !own.contains(&bound.inode)
            };
            found.extend(table.iter().filter(squats).map(|bound| Squatter {
                container: record.owner.name.clone(),
                mapping: *mapping,
                bound: bound.at,
                process: holder::process_with(&[bound.inode]),
            }));
        }
    }
    found.sort_by(|a, b| (&a.container, a.bound, a.mapping).cmp(&(&b.container, b.bound, b.mapping)));
    found
}
