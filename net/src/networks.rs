//! All networks of one state directory: where everything of this crate begins.
//!
//! ```text
//!   STATE/net/
//!     lock                                  one flock, held for one reservation or one change of the bridge
//!     firewall                              another, held by each program that puts rules in
//!     networks/bridge.json host.json …      Network
//!     endpoints/CONTAINER.ENDPOINT.json     EndpointRecord: the lease of an address and of ports, and how to undo it
//!     endpoints/leases                      Leases: what was read of those records
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use jiff::Zoned;

use crate::driver;
use crate::endpoint::{Endpoint, EndpointRecord, Leaving, Owner};
use crate::error::{Doing, Error, Result};
use crate::files::{self, Lock};
use crate::firewall::{Iptables, Table};
use crate::netlink::Netlink;
use crate::network::{Driver, Inspection, Network};

/// The networks and endpoints below one state directory. Cheap to open and to clone.
///
/// Keep one until the program ends, and let it be dropped: its socket to the packet filter is then closed by a
/// worker of the kernel, where the end of the process would wait some milliseconds for it.
#[derive(Clone)]
pub struct Networks(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    firewall: OnceLock<Iptables>,
}

impl Networks {
    /// Use `<state_dir>/net`; made with the three predefined networks when it is not there.
    ///
    /// # Errors
    /// `Os` when the directory cannot be made; `Exhausted` when no subnet is free.
    pub fn open(state_dir: &Path) -> Result<Networks> {
        let networks = Networks(Arc::new(Inner { dir: state_dir.join("net"), firewall: OnceLock::new() }));
        if !networks.network_file("none").exists() {
            networks.make_predefined()?;
        }
        Ok(networks)
    }

    fn make_predefined(&self) -> Result<()> {
        for dir in [self.0.dir.join("networks"), self.endpoints_dir()] {
            fs::create_dir_all(&dir).doing(|| format!("create {}", dir.display()))?;
        }
        let lock = self.lock()?;
        // "none" is written last: when it is there, all are.
        for (name, driver) in [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)] {
            let file = self.network_file(name);
            if !file.exists() {
                let mut network = new_network(name, driver)?;
                if driver == Driver::Bridge {
                    driver::bridge::plan(&mut Netlink::here()?, &mut network)?;
                }
                files::write(&lock, &file, &network)?;
            }
        }
        Ok(())
    }

    /// List every network, sorted by name (A-031).
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read.
    pub fn list(&self) -> Result<Vec<Network>> {
        let mut networks: Vec<Network> = Vec::new();
        for file in files::entries(&self.0.dir.join("networks"))?.records {
            networks.extend(files::read(&file)?);
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(networks)
    }

    /// Find a network by its name, its id, or the beginning of its id.
    ///
    /// # Errors
    /// `NetworkNotFound`; `Ambiguous` when several ids begin so.
    pub fn find(&self, name_or_id: &str) -> Result<Network> {
        let networks = self.list()?;
        if let Some(network) = networks.iter().find(|n| n.name == name_or_id || n.id == name_or_id) {
            return Ok(network.clone());
        }
        let mut matching = networks.into_iter().filter(|n| !name_or_id.is_empty() && n.id.starts_with(name_or_id));
        match (matching.next(), matching.next()) {
            (Some(network), None) => Ok(network),
            (None, _) => Err(Error::NetworkNotFound(name_or_id.to_owned())),
            (Some(_), Some(_)) => Err(Error::Ambiguous(name_or_id.to_owned())),
        }
    }

    /// Describe a network as `docker network inspect` does, with the containers that are in it now.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read.
    pub fn inspect(&self, network: &Network) -> Result<Inspection> {
        Ok(Inspection::of(network, &self.endpoints()?))
    }

    /// List the rules of rbox as the kernel has them: table, and the line of `iptables-save`.
    ///
    /// # Errors
    /// `Firewall` when iptables refuses or is not here.
    pub fn rules(&self, network: &Network) -> Result<Vec<(Table, String)>> {
        let Some(bridged) = &network.bridged else { return Ok(Vec::new()) };
        let endpoints = self.endpoints()?;
        self.firewall()?.show(&bridged.bridge, |line| endpoints.iter().any(|e| line.contains(&e.owner.container)))
    }

    /// Read every endpoint's record, sorted by container.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be read.
    pub fn endpoints(&self) -> Result<Vec<EndpointRecord>> {
        let mut endpoints = Vec::new();
        for file in files::entries(&self.endpoints_dir())?.records {
            endpoints.extend(files::read(&file)?);
        }
        Ok(endpoints)
    }

    /// Undo what the dead left: rules, links, leases of every endpoint whose owner is not `alive`.
    ///
    /// Costs one directory listing when there are no endpoints. Errors are collected.
    pub fn sweep(&self, alive: &dyn Fn(&Owner) -> bool) -> Vec<Error> {
        self.sweep_but(&|_| false, alive)
    }

    /// The same, but for containers that are known to be `held`: their records are not even read.
    pub fn sweep_but(&self, held: &dyn Fn(&str) -> bool, alive: &dyn Fn(&Owner) -> bool) -> Vec<Error> {
        let mut errors = Vec::new();
        let entries = match files::entries(&self.endpoints_dir()) {
            Ok(entries) => entries,
            Err(error) => return vec![error],
        };
        for file in entries.records {
            if EndpointRecord::container_of(&file).is_some_and(held) {
                continue;
            }
            match files::read::<EndpointRecord>(&file) {
                Ok(Some(record)) if !alive(&record.owner) => {
                    errors.extend(self.settle(&record).err());
                    errors.extend(self.undo(&record));
                }
                Ok(_) => {}
                Err(error) => {
                    // Records are written whole, so only a lost disk cache leaves half of one, and then the kernel
                    // started anew too. Kept, it would be in the way of every reservation.
                    errors.push(error);
                    errors.extend(files::remove(&file).err());
                }
            }
        }
        if !entries.temporary.is_empty() {
            errors.extend(
                self.lock().map(|_lock| entries.temporary.iter().for_each(|file| drop(fs::remove_file(file)))).err(),
            );
        }
        errors
    }

    /// Disconnect every endpoint of a container, from its records alone. Errors are collected.
    pub fn disconnect(&self, container: &str) -> Vec<Error> {
        match self.of_container(container) {
            Err(error) => vec![error],
            Ok(records) => {
                let mut errors: Vec<Error> = records.iter().filter_map(|record| self.settle(record).err()).collect();
                let leaving: Vec<Leaving> =
                    records.into_iter().map(|record| Leaving::begin(self.clone(), record)).collect();
                errors.extend(leaving.into_iter().flat_map(Leaving::finish));
                errors
            }
        }
    }

    /// Make another process the owner of a container's endpoints: the monitor that goes on where rbox ends.
    ///
    /// # Errors
    /// `Os`, `Record`: the state directory cannot be written.
    pub fn hand_over(&self, owner: &Owner) -> Result<()> {
        let lock = self.lock()?;
        for mut record in self.of_container(&owner.container)? {
            record.owner = owner.clone();
            files::write(&lock, &self.endpoint_file(&record), &record)?;
        }
        self.forget_leases(&lock)
    }

    /// Take a container's endpoint up again in another process: holds its ports anew and relays them.
    ///
    /// Nothing when the container has no endpoint.
    ///
    /// # Errors
    /// `PortInUse` when somebody took a port in between.
    pub fn resume(&self, container: &str) -> Result<Option<Endpoint>> {
        let Some(record) = self.of_container(container)?.into_iter().next() else { return Ok(None) };
        let held = crate::reservation::hold_again(&record.ports)?;
        Endpoint::new(self.clone(), record, held).map(Some)
    }

    /// Remove the bridges, the shared rules and the chains: everything that stays when the last container ends.
    ///
    /// # Errors
    /// `Busy` while an endpoint lives.
    pub fn reset(&self, alive: &dyn Fn(&Owner) -> bool) -> Result<()> {
        if let Some(error) = self.sweep(alive).into_iter().next() {
            return Err(error);
        }
        let lock = self.lock()?;
        self.forget_leases(&lock)?;
        if let Some(endpoint) = self.endpoints()?.first() {
            let holder = format!("container {}", endpoint.owner.name);
            return Err(Error::Busy { doing: "reset the networks".into(), holder });
        }
        for network in self.list()? {
            if let Some(bridged) = &network.bridged {
                driver::bridge::remove(&mut Netlink::here()?, self.firewall()?, bridged)?;
            }
        }
        Ok(())
    }

    fn of_container(&self, container: &str) -> Result<Vec<EndpointRecord>> {
        let mut records = Vec::new();
        for file in files::entries(&self.endpoints_dir())?.records {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(&format!("{container}.")) {
                records.extend(files::read(&file)?);
            }
        }
        Ok(records)
    }

    /// Undo one endpoint whose container is dead.
    pub(crate) fn undo(&self, record: &EndpointRecord) -> Vec<Error> {
        let mut errors: Vec<Error> = self.delete_rules(record).err().into_iter().collect();
        if let Some(attachment) = &record.attachment {
            let unplug = Netlink::here().and_then(|mut netlink| netlink.delete_link(&attachment.veth));
            errors.extend(unplug.err());
        }
        if errors.is_empty() {
            errors.extend(self.forget(record).err());
        }
        errors
    }

    /// Its owner may have been killed while a program put in its rules.
    fn settle(&self, record: &EndpointRecord) -> Result<()> {
        if record.rules.is_empty() { Ok(()) } else { self.firewall()?.settle() }
    }

    pub(crate) fn delete_rules(&self, record: &EndpointRecord) -> Result<()> {
        if record.rules.is_empty() {
            return Ok(());
        }
        self.firewall()?.delete(&record.rules, &EndpointRecord::comment(&record.owner.container, &record.id))
    }

    /// Under the lock: who changes a record (`hand_over`) must not write one anew that has gone since it was read.
    pub(crate) fn forget(&self, record: &EndpointRecord) -> Result<()> {
        let _lock = self.lock()?;
        files::remove(&self.endpoint_file(record))
    }

    pub(crate) fn firewall(&self) -> Result<&Iptables> {
        if let Some(firewall) = self.0.firewall.get() {
            return Ok(firewall);
        }
        let found = Iptables::find(self.0.dir.join("firewall"))?;
        Ok(self.0.firewall.get_or_init(|| found))
    }

    pub(crate) fn lock(&self) -> Result<Lock> {
        Lock::take(&self.0.dir)
    }

    pub(crate) fn network_file(&self, name: &str) -> PathBuf {
        self.0.dir.join("networks").join(format!("{name}.json"))
    }

    pub(crate) fn endpoint_file(&self, record: &EndpointRecord) -> PathBuf {
        self.endpoints_dir().join(record.file_name())
    }

    /// Among the records, so that a sweep removes what a killed process had written of it; and not called like one.
    pub(crate) fn leases_file(&self) -> PathBuf {
        self.endpoints_dir().join("leases")
    }

    pub(crate) fn endpoints_dir(&self) -> PathBuf {
        self.0.dir.join("endpoints")
    }
}

fn new_network(name: &str, driver: Driver) -> Result<Network> {
    Ok(Network {
        name: name.to_owned(),
        id: files::random_id()?,
        created: Zoned::now().strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string(),
        driver,
        bridged: None,
        options: Default::default(),
        labels: Default::default(),
    })
}
