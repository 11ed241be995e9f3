//! `network create`, `rm`: what a person asks of a network, checked as a whole before anything of it is made.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::address::Subnet;
use crate::driver::{bridge, sub};
use crate::endpoint::Owner;
use crate::error::{Doing, Error, Result};
use crate::files::{self, Lock};
use crate::firewall::Age;
use crate::ipam::{self, Taken};
use crate::leases::Ledger;
use crate::netlink::Netlink;
use crate::network::{Bridge, Driver, IPV6_MTU_BYTES_MIN, Network, Parent, Pool, Shim, SubMode};
use crate::networks::{Networks, new_network};
use crate::options::{self, Options};

/// What a person asks of a new network: `docker network create`.
#[derive(Debug, Clone)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// `--driver`.
    pub driver: Driver,
    /// `--ipv6`.
    pub ipv6: bool,
    /// `--internal`.
    pub internal: bool,
    /// `--subnet`, each.
    pub subnets: Vec<Subnet>,
    /// `--gateway`, each for the subnet that it lies in.
    pub gateways: Vec<IpAddr>,
    /// `--ip-range`, the same.
    pub ranges: Vec<Subnet>,
    /// First and last address: the same where that is no subnet.
    pub spans: Vec<(IpAddr, IpAddr)>,
    /// `--aux-address`, the same.
    pub reserved: Vec<(String, IpAddr)>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
}

/// A network that somebody is about to make, or to take away.
#[derive(Debug, Serialize, Deserialize)]
struct Making {
    maker: Owner,
    network: Network,
}

/// Whether a network may be called so: `[a-zA-Z0-9][a-zA-Z0-9_.-]*` (moby `names.RestrictedNamePattern`). It is also the
/// name of a file.
pub fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    name.starts_with(|letter: char| letter.is_ascii_alphanumeric()) && name.chars().all(is_letter) && name.len() <= 200
}

impl files::Filed for Making {
    fn check(&self, path: &Path) -> std::result::Result<(), &'static str> {
        files::Filed::check(&self.network, path)
    }
}

impl Networks {
    /// Make a network. `maker` is the process that calls: when it is killed over it, the next sweep undoes what it made.
    ///
    /// # Errors
    /// `Invalid`, where something of it cannot be understood or contradicts something else; `Exists`; `Exhausted` when no
    /// subnet is free; `Os`, `Firewall`. Nothing is left then.
    pub fn create(&self, request: &NetworkRequest, maker: &Owner) -> Result<Network> {
        let NetworkRequest { name, driver, .. } = request;
        if !is_name(name) || name == "default" {
            let why = "a name begins with a letter or digit, and has no others than those and _ . -".into();
            return Err(Error::Invalid { object: format!("network {name}"), why });
        }
        let options = options::parse(*driver, &request.options)?;
        if request.ipv6 && options.mtu_bytes.is_some_and(|mtu_bytes| mtu_bytes < IPV6_MTU_BYTES_MIN) {
            let why = format!("IPv6 needs an mtu of at least {IPV6_MTU_BYTES_MIN} (RFC 8200)");
            return Err(Error::Invalid { object: format!("network {name}"), why });
        }
        let mut netlink = Netlink::here()?;
        let making = self.plan(&mut netlink, request, (&options, maker))?;
        let network = &making.network;
        let made = self.bring_up(&mut netlink, network).and_then(|()| {
            let lock = self.lock()?;
            let dir = self.defined_dir();
            fs::create_dir_all(&dir).doing(|| format!("create {}", dir.display()))?;
            files::write(&lock, &self.network_file(name), network)
        });
        match made {
            Ok(()) => files::remove(&self.making_file(name))?,
            Err(error) => {
                // What cannot be undone now is left to the next sweep, as if this process had been killed.
                let _ = self.unmake(&making);
                return Err(error);
            }
        }
        Ok(making.network)
    }

    /// Choose everything of a new network, and write down that it is about to be made.
    fn plan(
        &self,
        netlink: &mut Netlink,
        request: &NetworkRequest,
        (options, maker): (&Options, &Owner),
    ) -> Result<Making> {
        let NetworkRequest { name, driver, .. } = request;
        let lock = self.lock()?;
        if files::read_named::<Network>(&self.network_file(name))?.is_some() || self.making_file(name).exists() {
            return Err(Error::Exists(name.clone()));
        }
        let mut network = new_network(name, *driver)?;
        network.ipv6 = request.ipv6;
        network.internal = request.internal;
        network.mtu_bytes = options.mtu_bytes;
        network.interface_prefix.clone_from(&options.interface_prefix);
        network.options.clone_from(&request.options);
        network.labels.clone_from(&request.labels);
        let mut taken = bridge::taken(self, netlink, &network)?;
        for other in self.makings()? {
            taken.extend(other.network.pools.iter().map(|it| (it.subnet, format!("network {}", other.network.name))));
        }
        network.pools = pools(&network, request, &taken)?;
        match driver {
            Driver::Bridge => network.bridge = Some(new_bridge(netlink, &network, options)?),
            _ => network.parent = Some(self.new_parent(netlink, &network, options)?),
        }
        let making = Making { maker: maker.clone(), network };
        self.put_making(&lock, &making)?;
        Ok(making)
    }

    /// Those that can be read.
    fn makings(&self) -> Result<Vec<Making>> {
        let records = files::entries(&self.making_dir())?.records;
        Ok(records.iter().filter_map(|file| files::read_named(file).ok().flatten()).collect())
    }

    /// Those that somebody is making or taking away, or was killed over it.
    pub(crate) fn in_the_making(&self) -> Result<Vec<Network>> {
        Ok(self.makings()?.into_iter().map(|making| making.network).collect())
    }

    /// Undo networks whose maker was killed over it, or over taking it away. Costs nothing where none was ever made.
    pub(crate) fn sweep_makings(&self, alive: &dyn Fn(&Owner) -> bool) -> Vec<Error> {
        let (makings, entries) = match self.makings().and_then(|all| Ok((all, files::entries(&self.making_dir())?))) {
            Ok(found) => found,
            Err(error) => return vec![error],
        };
        // As with the endpoints: a record is damaged only where the kernel has started anew, and kept it takes its name.
        let damaged = |file: &PathBuf| files::read_named::<Making>(file).err().map(|error| (file.clone(), error));
        let damaged: Vec<(PathBuf, Error)> = entries.records.iter().filter_map(damaged).collect();
        let dead: Vec<&Making> = makings.iter().filter(|making| !alive(&making.maker)).collect();
        let mut errors: Vec<Error> = dead.iter().filter_map(|making| self.unmake(making).err()).collect();
        for (file, error) in damaged {
            errors.push(error);
            errors.extend(files::remove(&file).err());
        }
        if !dead.is_empty() || !entries.temporary.is_empty() {
            let dirs = [self.making_dir(), self.defined_dir()];
            errors.extend(self.lock().and_then(|lock| files::clean(&lock, &dirs)).err());
        }
        errors
    }

    fn unmake(&self, making: &Making) -> Result<()> {
        let network = &making.network;
        let lock = self.lock()?;
        let made: Option<Network> = files::read_named(&self.network_file(&network.name))?;
        if made.is_none_or(|made| made.id != network.id) {
            self.firewall().settle()?;
            self.take_down(network)?;
            self.forget_names(&lock, &network.id)?;
        }
        files::remove(&self.making_file(&network.name))
    }

    fn take_down(&self, network: &Network) -> Result<()> {
        let mut netlink = Netlink::here()?;
        bridge::remove(&mut netlink, self.firewall(), network)?;
        let is_shared = match &network.parent {
            Some(parent) => !self.on_parent(&parent.link, network)?.is_empty(),
            None => false,
        };
        sub::remove(&mut netlink, network, is_shared)
    }

    /// The other networks on a link of the host's, those that are being made too.
    fn on_parent(&self, link: &str, network: &Network) -> Result<Vec<Network>> {
        let making = self.in_the_making()?;
        let is_on = |it: &Network| it.id != network.id && it.parent.as_ref().is_some_and(|parent| parent.link == link);
        Ok(self.list()?.into_iter().chain(making).filter(is_on).collect())
    }

    fn bring_up(&self, netlink: &mut Netlink, network: &Network) -> Result<()> {
        if network.bridge.is_none() {
            return sub::ensure(netlink, network).map(drop);
        }
        let mtu_bytes = match network.mtu_bytes {
            Some(mtu_bytes) => mtu_bytes,
            None => bridge::mtu(netlink, network)?,
        };
        bridge::ensure(netlink, self, (network, Age::New), mtu_bytes).map(drop)
    }

    fn new_parent(&self, netlink: &mut Netlink, network: &Network, options: &Options) -> Result<Parent> {
        let invalid = |why: String| Error::Invalid { object: format!("network {}", network.name), why };
        let mode = options.mode.unwrap_or_else(|| SubMode::of(network.driver)[0].1);
        // Nothing may leave, so it stands on a link that leads nowhere.
        let named = options.parent.clone().filter(|_| !network.internal);
        if options.parent.is_some() && network.internal {
            return Err(invalid("an internal network has no parent".into()));
        }
        let link = named.clone().unwrap_or_else(|| format!("rbd-{}", &network.id[..11]));
        let is_there = netlink.show_link(&link)?.is_some();
        if let Some(name) = &named
            && !is_there
            && sub::vlan(name).is_none()
        {
            return Err(invalid(format!("its parent {name} is not there")));
        }
        let others = self.on_parent(&link, network)?;
        for (other, it) in others.iter().filter_map(|other| Some((other, other.parent.as_ref()?))) {
            // Of ipvlan links the last that is made gives all on the parent its mode (ipvlan_set_port_mode in the kernel).
            let is_agreed = mode == it.mode || network.driver == Driver::Macvlan;
            let is_alone = [mode, it.mode].contains(&SubMode::Passthru);
            if other.driver != network.driver || is_alone || !is_agreed {
                return Err(invalid(format!("its parent {link} is that of network {} already", other.name)));
            }
        }
        let is_ours = !is_there || others.iter().filter_map(|it| it.parent.as_ref()).any(|it| it.is_ours);
        let shim = options.shim.map(|wanted| shim(network, mode, wanted)).transpose()?;
        Ok(Parent { link, is_ours, mode, shim })
    }

    /// Remove a network. It is there, or it is not: where `maker`, the process that calls, is killed over it, the next sweep
    /// takes away what is left of one that is not.
    ///
    /// # Errors
    /// `Predefined`; `Busy` while a container is in it; `Os`, `Firewall`: then it is still there, and can be removed again.
    pub fn remove(&self, network: &Network, maker: &Owner) -> Result<()> {
        if network.is_predefined() {
            return Err(Error::Predefined(network.name.clone()));
        }
        let mut ledger = Ledger::open(self)?;
        if let Some(holder) = ledger.holder_in(&network.id)? {
            return Err(Error::Busy { doing: format!("remove network {}", network.name), holder });
        }
        let (file, unmaking) = (self.network_file(&network.name), self.making_file(&network.name));
        // Somebody else was faster, and another may be called so by now.
        if files::read_named::<Network>(&file)?.is_none_or(|there| there.id != network.id) {
            return Err(Error::NetworkNotFound(network.name.clone()));
        }
        let lock = &ledger.lock;
        self.put_making(lock, &Making { maker: maker.clone(), network: network.clone() })?;
        files::remove(&file)?;
        match self.take_down(network) {
            Ok(()) => {
                self.forget_names(lock, &network.id)?;
                files::remove(&self.announced_file(&network.id))?;
            }
            Err(error) => {
                files::write(lock, &file, network)?;
                files::remove(&unmaking)?;
                return Err(error);
            }
        }
        files::remove(&unmaking)
    }

    fn put_making(&self, lock: &Lock, making: &Making) -> Result<()> {
        let dir = self.making_dir();
        fs::create_dir_all(&dir).doing(|| format!("create {}", dir.display()))?;
        files::write(lock, &self.making_file(&making.network.name), making)
    }
}

fn new_bridge(netlink: &mut Netlink, network: &Network, options: &Options) -> Result<Bridge> {
    let name = options.bridge_name.clone().unwrap_or_else(|| format!("rb-{}", network.short_id()));
    if netlink.show_link(&name)?.is_some() {
        let why = format!("its link {name} is there already");
        return Err(Error::Invalid { object: format!("network {}", network.name), why });
    }
    if network.pools_of(false).count() > 1 || network.pools_of(true).count() > 1 {
        let why = "a bridge has one subnet of IPv4 and one of IPv6".into();
        return Err(Error::Invalid { object: format!("network {}", network.name), why });
    }
    Ok(Bridge {
        name,
        mac: bridge::hardware_address(&network.id),
        icc: options.icc.unwrap_or(true),
        passage: options.passage(),
        binding: options.binding,
    })
}

/// The host's own place in a macvlan network: at the address that was asked for, or the last that a container would get.
fn shim(network: &Network, mode: SubMode, wanted: options::Shim) -> Result<Shim> {
    let invalid = |why: String| Error::Invalid { object: format!("network {}", network.name), why };
    if network.driver != Driver::Macvlan || mode != SubMode::Bridge {
        return Err(invalid("only a macvlan network in mode bridge has a link for the host".into()));
    }
    let pool = network.pools_of(false).next().ok_or_else(|| invalid("it has no IPv4 subnet".into()))?;
    let address = match wanted {
        options::Shim::At(address) => address,
        options::Shim::Anywhere => match pool.range.unwrap_or(pool.subnet).last() {
            IpAddr::V4(last) => Ipv4Addr::from(u32::from(last).saturating_sub(1)),
            IpAddr::V6(_) => return Err(invalid("it has no IPv4 subnet".into())),
        },
    };
    if !ipam::is_host(pool.subnet, address.into()) || pool.gateway == Some(address.into()) {
        return Err(invalid(format!("the host cannot have {address} in {}", pool.subnet)));
    }
    Ok(Shim { link: format!("rbm-{}", &network.id[..11]), address })
}

/// The subnets of a network: those that were asked for, and where none was one that is free.
fn pools(network: &Network, request: &NetworkRequest, taken: &[Taken]) -> Result<Vec<Pool>> {
    let mut pools = Vec::new();
    for subnet in &request.subnets {
        check_subnet(network, *subnet, &pools, taken)?;
        pools.push(pool(*subnet));
    }
    if !pools.iter().any(|pool| !pool.subnet.is_ipv6()) {
        pools.insert(0, pool(ipam::free_subnet(network, taken)?));
    }
    if network.ipv6 && !pools.iter().any(|pool| pool.subnet.is_ipv6()) {
        pools.push(pool(ipam::unique_local(&network.id)));
    }
    for gateway in &request.gateways {
        place(&mut pools, *gateway, "gateway")?.gateway = Some(*gateway);
    }
    for range in &request.ranges {
        let invalid = |why: String| Error::Invalid { object: format!("range {range}"), why };
        let pool = pools.iter_mut().find(|pool| pool.subnet.covers(*range));
        let pool = pool.ok_or_else(|| invalid("in no subnet of the network".into()))?;
        if pool.range.replace(*range).is_some() {
            return Err(invalid(format!("subnet {} has one already", pool.subnet)));
        }
    }
    for (first, last) in &request.spans {
        let invalid = |why: &str| Error::Invalid { object: format!("range {first}-{last}"), why: why.into() };
        let pool = pools.iter_mut().find(|pool| pool.subnet.contains(*first) && pool.subnet.contains(*last));
        let pool = pool.ok_or_else(|| invalid("in no subnet of the network"))?;
        if first > last {
            return Err(invalid("it ends before it begins"));
        }
        if pool.range.is_some() || pool.span.replace((*first, *last)).is_some() {
            return Err(invalid("the subnet has a range already"));
        }
    }
    for (name, address) in &request.reserved {
        let pool = place(&mut pools, *address, "address")?;
        if pool.gateway == Some(*address) && request.gateways.contains(address) {
            let why = "it is the gateway".into();
            return Err(Error::Invalid { object: format!("--aux-address {name}={address}"), why });
        }
        pool.reserved.insert(name.clone(), *address);
    }
    for pool in &mut pools {
        // The first that nobody else was given.
        let reserved: Vec<IpAddr> = pool.reserved.values().copied().collect();
        pool.gateway = pool.gateway.filter(|gateway| request.gateways.contains(gateway) || !reserved.contains(gateway));
        if pool.gateway.is_none() {
            pool.gateway = pool.subnet.hosts().find(|host| !reserved.contains(host));
        }
        if network.driver == Driver::Bridge && pool.gateway.is_none() {
            let why = "it has no room for the bridge's own address".into();
            return Err(Error::Invalid { object: format!("subnet {}", pool.subnet), why });
        }
    }
    Ok(pools)
}

fn pool(subnet: Subnet) -> Pool {
    Pool { subnet, gateway: subnet.hosts().next(), range: None, span: None, reserved: BTreeMap::new() }
}

fn place<'a>(pools: &'a mut [Pool], address: IpAddr, what: &str) -> Result<&'a mut Pool> {
    let found = pools.iter_mut().find(|pool| ipam::is_host(pool.subnet, address));
    found.ok_or_else(|| Error::Invalid {
        object: format!("{what} {address}"),
        why: "no container of the network's subnets could have it".into(),
    })
}

fn check_subnet(network: &Network, subnet: Subnet, own: &[Pool], taken: &[Taken]) -> Result<()> {
    let invalid = |why: String| Err(Error::Invalid { object: format!("subnet {subnet}"), why });
    if subnet.is_ipv6() && !network.ipv6 {
        return invalid("for one of IPv6 say --ipv6, too".into());
    }
    if subnet.hosts().next().is_none() {
        return invalid("it has no room for a container".into());
    }
    if own.iter().any(|pool| pool.subnet.overlaps(subnet)) {
        return invalid("it is there twice".into());
    }
    // Those of a macvlan network are on the host's links, or what would they be for.
    let concerns = |who: &str| network.driver == Driver::Bridge || who.starts_with("network ");
    match taken.iter().find(|(other, who)| other.overlaps(subnet) && concerns(who)) {
        Some((other, who)) => invalid(format!("it is in use: {who} has {other}")),
        None => Ok(()),
    }
}
