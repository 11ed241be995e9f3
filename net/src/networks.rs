//! All networks of one state directory: where everything of this crate begins.
//!
//! ```text
//!   STATE/net/                              gone after a reboot
//!     lock                                  one flock, held for one reservation or one change of the bridge
//!     changes                               another, held while a running container is connected or disconnected
//!     rules                                 another, shared by all who make the rules of endpoints of their own, or delete
//!                                           them with the record, and held by who puts in rules of others' endpoints
//!     firewall                              another, held by each program that puts rules in
//!     switches                              another, held by who switches a link's IPv6 off
//!     backend                               the packet filter that has them
//!     networks/bridge.json host.json none.json    Network: those that are there from the beginning
//!     endpoints/CONTAINER/ENDPOINT.json     EndpointRecord: the lease of an address and of ports, and how to undo it
//!     leases                                Leases: what those records lease, in one text
//!     making/NAME.json                      a network that is being made or taken away, and by whom
//!     names/NETWORK-ID.json                 Names: who is known in a network, for its name servers
//!     networks-announced/NETWORK-ID         everybody is announced there: see driver/mod.rs
//!   DATA/networks/NAME.json                 Network: the user-defined ones
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Zoned;

use crate::endpoint::{Endpoints, Leaving, Owner};
use crate::error::{Doing, Error, Result};
use crate::files::{self, Lock};
use crate::firewall::{Backend, Firewall};
use crate::inspection::Inspection;
use crate::netlink::Netlink;
use crate::network::{Driver, Network, is_predefined};
use crate::service::{Naming, Service};
use crate::{create, driver};

/// The networks and endpoints below one state directory. Cheap to open and to clone.
///
/// Keep one until the program ends, and let it be dropped: its socket to the packet filter is then closed by a
/// worker of the kernel, where the end of the process would wait some milliseconds for it.
#[derive(Clone)]
pub struct Networks(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    defined: PathBuf,
    firewall: Firewall,
    /// What somebody takes out of the packet filter stays away.
    leaves_rules_alone: AtomicBool,
}

impl Networks {
    /// Use `<state_dir>/net`, made with the three predefined networks when it is not there; and `<data_dir>/networks` for
    /// those that outlive the machine's next start.
    ///
    /// # Errors
    /// `Os` when the directory cannot be made; `Exhausted` when no subnet is free.
    pub fn open(state_dir: &Path, data_dir: &Path) -> Result<Networks> {
        Networks::open_choosing(state_dir, data_dir, || Ok(None))
    }

    /// The same; where nothing is there yet, `choose` tells which packet filter will have the rules: that which this host is
    /// made for, if it does not care.
    ///
    /// # Errors
    /// The same, and those of `choose`.
    pub fn open_choosing<E: From<Error>>(
        state_dir: &Path,
        data_dir: &Path,
        choose: impl FnOnce() -> std::result::Result<Option<Backend>, E>,
    ) -> std::result::Result<Networks, E> {
        let dir = state_dir.join("net");
        let firewall = Firewall::new(&dir);
        let networks = Networks(Arc::new(Inner {
            dir,
            defined: data_dir.join("networks"),
            firewall,
            leaves_rules_alone: AtomicBool::new(false),
        }));
        if !networks.network_file("none").exists() {
            networks.make_predefined(choose()?)?;
        }
        Ok(networks)
    }

    /// From now on this process has no part in putting back what others take out of the packet filter.
    pub fn leave_rules_alone(&self) {
        self.0.leaves_rules_alone.store(true, Ordering::Relaxed);
    }

    pub(crate) fn leaves_rules_alone(&self) -> bool {
        self.0.leaves_rules_alone.load(Ordering::Relaxed)
    }

    fn make_predefined(&self, backend: Option<Backend>) -> Result<()> {
        for dir in [self.0.dir.join("networks"), self.endpoints_dir(), self.0.dir.join("names")] {
            fs::create_dir_all(&dir).doing(|| format!("create {}", dir.display()))?;
        }
        let lock = self.lock()?;
        // "none" is written last: when it is there, all are.
        if !self.network_file("none").exists() {
            self.0.firewall.choose(backend.map_or_else(Backend::of_this_host, Backend::settled))?;
        }
        for (name, driver) in [("bridge", Driver::Bridge), ("host", Driver::Host), ("none", Driver::Null)] {
            let file = self.network_file(name);
            if !file.exists() {
                let mut network = new_network(name, driver)?;
                if driver == Driver::Bridge {
                    match driver::bridge::plan(self, &mut Netlink::here()?, &mut network) {
                        // Only who uses it has to hear of that. It is planned again then.
                        Err(Error::Exhausted { .. }) => {}
                        planned => planned?,
                    }
                }
                files::write(&lock, &file, &network)?;
            }
        }
        Ok(())
    }

    /// List every network, sorted by name (A-031). One whose record is damaged is not among them: it keeps nobody from the
    /// others, and its subnet is still taken as long as it has a link.
    ///
    /// # Errors
    /// `Os`: the state directory cannot be read.
    pub fn list(&self) -> Result<Vec<Network>> {
        Ok(self.list_all()?.0)
    }

    /// The same, and what is wrong with those that are damaged.
    ///
    /// # Errors
    /// `Os`: the state directory cannot be read.
    pub fn list_all(&self) -> Result<(Vec<Network>, Vec<Error>)> {
        let (mut networks, mut damaged) = (Vec::new(), Vec::new());
        for dir in [&self.0.dir.join("networks"), &self.0.defined] {
            for file in files::entries(dir)?.records {
                match files::read_named::<Network>(&file) {
                    Ok(network) => networks.extend(network),
                    Err(error) => damaged.push(error),
                }
            }
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((networks, damaged))
    }

    /// Find the network that was called `name` and has this id: whoever is called so by now is not meant.
    ///
    /// # Errors
    /// `NetworkNotFound`.
    pub fn find_pinned(&self, name: &str, id: &str) -> Result<Network> {
        match self.find(name) {
            Ok(network) if network.id == id => Ok(network),
            _ => self.list()?.into_iter().find(|it| it.id == id).ok_or_else(|| Error::NetworkNotFound(name.to_owned())),
        }
    }

    /// Find a network by its name, its id, or the beginning of its id.
    ///
    /// # Errors
    /// `NetworkNotFound`; `Ambiguous` when several ids begin so.
    pub fn find(&self, name_or_id: &str) -> Result<Network> {
        if create::is_name(name_or_id)
            && let Some(network) = files::read_named(&self.network_file(name_or_id))?
        {
            return Ok(network);
        }
        let networks = self.list()?;
        if let Some(network) = networks.iter().find(|n| n.id == name_or_id) {
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

    /// Whether something may have been left here though no process of ours has died: a pod ends with its namespace, and of that
    /// nobody is told; and a network is in the making as long as its file says so, whoever has written it.
    #[must_use]
    pub fn may_have_left_something(&self) -> bool {
        let is_in_the_making = || fs::read_dir(self.making_dir()).is_ok_and(|mut entries| entries.next().is_some());
        self.pods_file().exists() || is_in_the_making()
    }

    /// Disconnect every endpoint of a container, from its records alone. Errors are collected.
    pub fn disconnect(&self, container: &str) -> Vec<Error> {
        match self.of_container(container) {
            Err(error) => vec![error],
            Ok(records) => {
                let mut errors: Vec<Error> = records.iter().filter_map(|record| self.settle(record).err()).collect();
                errors.extend(Leaving::begin(self.clone(), container, &records).finish());
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
            let is_renamed = record.owner.name != owner.name;
            record.owner = owner.clone();
            self.put(&lock, &record)?;
            if is_renamed {
                self.announce_under(&lock, std::slice::from_ref(&record))?;
            }
        }
        Ok(())
    }

    /// Take a container's endpoints up again in another process: holds its ports anew and relays them.
    ///
    /// `names`: where it still has a network namespace.
    ///
    /// Answers with what could not be served: a port that somebody took in between, a name server that cannot be opened.
    ///
    /// # Errors
    /// `Record`: the endpoints cannot be read.
    pub fn resume(&self, container: &str, names: Option<Naming<'_>>) -> Result<(Endpoints, Vec<Error>)> {
        let records = self.staying(container)?;
        let (service, errors) = Service::resume(self, &records, names);
        Ok((Endpoints::new(self.clone(), container.to_owned(), records, service), errors))
    }

    /// Which packet filter has the rules.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.firewall().backend()
    }

    /// Remove the bridges, the shared rules and the chains: everything that stays when the last container ends. What is made
    /// again has its rules in `backend`: that which this host is made for, where it does not matter.
    ///
    /// # Errors
    /// `Busy` while an endpoint lives.
    pub fn reset(&self, alive: &dyn Fn(&Owner) -> bool, backend: Option<Backend>) -> Result<()> {
        if let Some(error) = self.sweep(alive).into_iter().next() {
            return Err(error);
        }
        let lock = self.lock()?;
        self.forget_leases(&lock)?;
        if let Some(endpoint) = self.endpoints()?.first() {
            let holder = format!("container {}", endpoint.owner.name);
            return Err(Error::Busy { doing: "reset the networks".into(), holder });
        }
        let mut netlink = Netlink::here()?;
        for network in self.list()? {
            driver::bridge::remove(&mut netlink, self.firewall(), &network)?;
            driver::sub::remove(&mut netlink, &network, false)?;
        }
        files::remove(&self.pods_file())?;
        self.firewall().remove_chains()?;
        self.firewall().choose(backend.map_or_else(Backend::of_this_host, Backend::settled))
    }

    pub(crate) fn firewall(&self) -> &Firewall {
        &self.0.firewall
    }

    /// Wait until nobody else changes anything here.
    ///
    /// # Errors
    /// `Os`: the state directory cannot be written.
    pub fn lock(&self) -> Result<Lock> {
        Lock::take(&self.0.dir, "lock")
    }

    /// Wait for one's turn to switch a link's IPv6 off.
    ///
    /// The kernel does that under its lock of all links. Who writes the switch does not wait for that lock but tries for it
    /// again and again (addrconf_disable_ipv6(), restart_syscall()): of a hundred containers that start at once, most would do
    /// nothing else, on all processors. It is free most likely just after one has given it back oneself.
    ///
    /// Errors: `Os`, the state directory cannot be written.
    pub(crate) fn switches(&self) -> Result<Lock> {
        Lock::take(&self.0.dir, "switches")
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// The directory of the files that name servers read: see [`crate::dns::Settings`].
    pub fn names_dir(&self) -> PathBuf {
        self.0.dir.join("names")
    }

    pub(crate) fn announced_dir(&self) -> PathBuf {
        self.0.dir.join("networks-announced")
    }

    pub(crate) fn announced_file(&self, network_id: &str) -> PathBuf {
        self.announced_dir().join(network_id)
    }

    pub(crate) fn network_file(&self, name: &str) -> PathBuf {
        let dir = if is_predefined(name) { self.0.dir.join("networks") } else { self.defined_dir() };
        dir.join(format!("{name}.json"))
    }

    /// Where the user-defined networks are; there may be none yet.
    pub(crate) fn defined_dir(&self) -> PathBuf {
        self.0.defined.clone()
    }

    /// Networks that are being made: one is there until it stands with the others.
    pub(crate) fn making_dir(&self) -> PathBuf {
        self.0.dir.join("making")
    }

    pub(crate) fn making_file(&self, name: &str) -> PathBuf {
        self.making_dir().join(format!("{name}.json"))
    }
}

/// A network that is made now.
pub(crate) fn new_network(name: &str, driver: Driver) -> Result<Network> {
    let created = Zoned::now().strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
    Ok(Network::new(name, files::random_id()?, created, driver))
}
