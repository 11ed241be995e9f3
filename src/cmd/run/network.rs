//! Flags -> what the container wants of its network; and the connection itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use oci_spec::image::ImageConfiguration;
use rbox_net::dns::Upstream;
use rbox_net::hosts::Entry;
use rbox_net::{
    Driver, EPHEMERAL_PORTS, EndpointRequest, Endpoints, Expose, Ioctls, MacAddress, Network, Networks, Owner, Publish,
    Request, Reservation, Sandbox,
};
use rbox_runtime::container::Container;
use rbox_runtime::interface;

use crate::cli::RunArgs;
use crate::cli::value::{LinkFlag, NetworkFlag};
use crate::cmd::network::shape_of;
use crate::creation::{self, Creation};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::find::{self, find};
use crate::record::Claim;
use crate::report::Problem;
use crate::spec::{self, Host, Joined, Link};

/// What this container wants: networks, addresses, ports.
///
/// Errors: a port that is none; a network that is not there.
pub(crate) fn request(
    engine: &Engine,
    flags: &RunArgs,
    claim: &Claim,
    (image, host): (Option<&ImageConfiguration>, &Host),
) -> Result<Request> {
    let networks = match mode_of(host) {
        Some(network) => vec![EndpointRequest { network, ..EndpointRequest::default() }],
        None => flags.network.wanted().iter().map(|flag| wanted(engine, flag)).collect::<Result<_>>()?,
    };
    Ok(Request { networks, ..request_of(engine, flags, claim, image)? })
}

/// The same without its networks: who it is, and its ports.
///
/// Errors: a port that is none.
pub(crate) fn request_of(
    engine: &Engine,
    flags: &RunArgs,
    claim: &Claim,
    image: Option<&ImageConfiguration>,
) -> Result<Request> {
    let mut publish = flags.network.publish.iter().map(|text| text.parse()).collect::<Result<Vec<Publish>, _>>()?;
    if flags.network.publish_all {
        let of_image = image.and_then(|image| image.config().as_ref()?.exposed_ports().clone()).unwrap_or_default();
        let exposed: BTreeSet<&String> = of_image.iter().chain(&flags.network.expose).collect();
        for text in exposed {
            publish.push(Publish::from(text.parse::<Expose>()?));
        }
    }
    Ok(Request {
        owner: owner(claim),
        hostname: flags.container.hostname.clone().unwrap_or_else(|| crate::record::short(&claim.id).to_owned()),
        networks: Vec::new(),
        names_on_default: engine.config.bridge.dns,
        publish,
        publish_at: engine.config.publish.default_ip,
        ephemeral_ports: EPHEMERAL_PORTS,
        egress: flags.network.egress(),
    })
}

/// Say what becomes of `-p` where nothing can be published.
pub(super) fn tell_of_ports(reservation: &Reservation, flags: &RunArgs) {
    let asked = flags.network.publish_all || !flags.network.publish.is_empty();
    if !asked || reservation.networks().any(|network| closed(network).is_none()) {
        return;
    }
    for network in reservation.networks() {
        if let Some(why) = closed(network) {
            eprintln!("rbox: -p is discarded on network {}: {why}", network.name);
        }
    }
}

/// Why no port of the host can lead to a container by a network; nothing where one can.
pub(crate) fn closed(network: &Network) -> Option<&'static str> {
    match network.driver {
        Driver::Bridge if !network.internal => None,
        Driver::Host => Some("the program's ports are the host's own already"),
        Driver::Bridge => Some("nothing leads into an internal network"),
        Driver::Macvlan | Driver::Ipvlan => Some("the container has an address of its own there"),
        Driver::Null | Driver::Container => Some("nothing leads into a network of its own that has no link"),
    }
}

/// Who keeps a container's endpoints.
pub(crate) fn owner(claim: &Claim) -> Owner {
    Owner {
        container: claim.id.clone(),
        name: claim.name.clone(),
        pid: claim.pid,
        start_time: claim.start_time,
        boot_id: claim.boot_id.clone(),
        netns: None,
    }
}

/// What a container wants of one network.
///
/// Errors: there is none; a container that is to be linked is not there.
pub(crate) fn wanted(engine: &Engine, flag: &NetworkFlag) -> Result<EndpointRequest> {
    // By its name, where that is to be followed. One that is gone is asked for in vain.
    let links = flag.links.iter().map(|link| (link.alias.clone(), link.follow.as_ref().unwrap_or(&link.other).clone()));
    let network = found(engine, flag)?;
    Ok(EndpointRequest {
        network: network.name,
        network_id: Some(network.id),
        ip: flag.ip,
        ip6: flag.ip6,
        mac: flag.mac.map(|mac| MacAddress(mac.0)),
        aliases: flag.aliases.clone(),
        links: links.collect(),
        interface: flag.interface.clone(),
        priority: flag.priority,
    })
}

/// The network that is meant: the same as when it was typed, whatever is called so by now.
fn found(engine: &Engine, flag: &NetworkFlag) -> Result<Network> {
    let found = match &flag.id {
        Some(id) => engine.networks.find_pinned(&flag.name, id),
        None => engine.networks.find(&flag.name),
    };
    match found {
        Err(rbox_net::Error::NetworkNotFound(_)) if flag.id.is_some() => {
            let problem = Problem::new(format!("network {}: it has been removed", flag.name));
            let hint = format!("rbox network disconnect {} CONTAINER takes the container out of it", flag.name);
            Err(problem.hint(hint).into())
        }
        found => Ok(found?),
    }
}

/// The same as it is kept: found by its id from now on, unless it is one of those that are there from the beginning.
///
/// Errors: there is none; a container that is to be linked is not there.
pub(crate) fn pinned(engine: &Engine, flag: &NetworkFlag) -> Result<NetworkFlag> {
    let network = found(engine, flag)?;
    let id = (!network.is_predefined()).then_some(network.id);
    let links = flag.links.iter().map(|link| pinned_link(&engine.dirs, link));
    Ok(NetworkFlag { name: network.name, id, links: links.collect::<Result<_>>()?, ..flag.clone() })
}

/// A link that means a container from now on, and not who has its name later; one that follows means the name.
fn pinned_link(dirs: &Dirs, link: &LinkFlag) -> Result<LinkFlag> {
    let found = match find(dirs, &link.other) {
        // It has been removed since.
        Err(_) if link.other.len() == 64 => return Ok(link.clone()),
        found => found?,
    };
    let follow = link.follow.as_ref().map(|_| found.name);
    Ok(LinkFlag { other: found.id, alias: link.alias.clone(), follow })
}

/// The containers that `--network container:NAME` and `--link` name, as they are now.
///
/// Errors: there is no such container; where this one `begins` now, it does not run, or one to be linked has no
/// address on the bridge.
pub(super) fn others(engine: &Engine, flags: &RunArgs, host: Host, begins: bool) -> Result<Host> {
    spec::check_network(flags)?;
    if let Some(flag) = flags.network.wanted().iter().find(|flag| flag.name == "bridge" && !flag.aliases.is_empty()) {
        check_names(engine, &flag.aliases[0])?;
    }
    let joined = flags.network.joined().map(|typed| joined(&engine.dirs, typed, begins)).transpose()?;
    if joined.is_some() {
        discard(flags);
    }
    if !begins {
        return Ok(Host { joined, ..host });
    }
    // Elsewhere a link is a name that the name server knows.
    let is_bridge = flags.network.name() == "bridge";
    let mut links = Vec::new();
    for flag in flags.network.link.iter().filter(|_| is_bridge) {
        match link(engine, &flag.other, &flag.alias) {
            // Who is followed may come later.
            Err(_) if flag.follow.is_some() => {}
            found => links.push(found?),
        }
    }
    Ok(Host { joined, links, ..host })
}

/// A further name for a container on the default network.
///
/// Errors: nobody knows names there.
pub(crate) fn check_names(engine: &Engine, alias: &str) -> Result<(), Problem> {
    if engine.config.bridge.dns {
        return Ok(());
    }
    let problem = Problem::new(format!("alias {alias}: network bridge has no names"));
    let hint = format!(
        "make a network of your own (rbox network create NAME), or have {} say {}",
        engine.dirs.config().display(),
        r#"{"bridge": {"dns": true}}"#
    );
    Err(problem.hint(hint))
}

/// Put ids in the place of the names of networks and of other containers: a later start means the same ones, whatever they
/// are called by then, and not others that have got their names.
///
/// Errors: there is no such network or container.
pub(super) fn pin(engine: &Engine, flags: &mut RunArgs) -> Result<()> {
    let dirs = &engine.dirs;
    for link in &mut flags.network.link {
        *link = pinned_link(dirs, link)?;
    }
    if let Some(typed) = flags.network.joined() {
        let target = find(dirs, typed)?;
        flags.network.join(&target.id);
        return Ok(());
    }
    if flags.network.typed().is_empty() {
        return Ok(());
    }
    // What was not said of a network is still not said: `mode` tells of Docker's "default".
    let is_default = flags.network.mode() == "default";
    let mut all = flags.network.wanted().iter().map(|flag| pinned(engine, flag)).collect::<Result<Vec<_>>>()?;
    if is_default {
        all[0].name = "default".into();
    }
    flags.network.settle(all);
    Ok(())
}

fn joined(dirs: &Dirs, typed: &str, begins: bool) -> Result<Joined> {
    let target = find(dirs, typed)?;
    let typed = &target.name;
    let container = find::container(dirs, &target, typed, "join the network of");
    let container = if begins { Some(container?) } else { container.ok() };
    let made = Creation::load(dirs, &target.id)?;
    let hostname = made.map(|made| made.text("Hostname").to_owned()).unwrap_or_default();
    let pid = container.as_ref().and_then(Container::pid);
    if begins && pid.is_none() {
        bail!("container {typed}: it has no process");
    }
    let (owner, is_guarded) = (creation::network_owner(dirs, &target.id)?, creation::is_guarded(dirs, &target.id)?);
    Ok(Joined { owner, id: target.id, hostname, pid, is_guarded })
}

/// `HostConfig.Links`: `/db:/app/alias`, for each `--link`.
///
/// Errors: there is no such container.
pub(super) fn links_of(dirs: &Dirs, flags: &RunArgs, own: &str) -> Result<Vec<String>> {
    let link = |link: &LinkFlag| Ok(format!("/{}:/{own}/{}", find(dirs, &link.other)?.name, link.alias));
    flags.network.link.iter().map(link).collect()
}

/// Flags of a network's files, which are the other container's: as Docker, only a word about them.
fn discard(flags: &RunArgs) {
    let network = &flags.network;
    for (flag, typed) in [
        ("--dns-search", !network.dns_search.is_empty()),
        ("--dns-option", !network.dns_option.is_empty()),
        ("--ip", network.ip.is_some()),
    ] {
        if typed {
            eprintln!("rbox: {flag} is discarded on network {}: it is that container's", network.name());
        }
    }
}

fn link(engine: &Engine, typed: &str, alias: &str) -> Result<Link> {
    let target = find(&engine.dirs, typed)?;
    find::container(&engine.dirs, &target, &target.name, "link to")?;
    let name = &target.name;
    let problem = || Problem::new(format!("cannot link to container {name}: it is not on network bridge"));
    Ok(linked(engine, &target.id, alias)?.ok_or_else(problem)?)
}

/// A container as others are to know it; nothing where it has no address on the bridge now.
///
/// Errors: there is no such container.
pub(crate) fn linked(engine: &Engine, typed: &str, alias: &str) -> Result<Option<Link>> {
    let target = find(&engine.dirs, typed)?;
    let mine = engine.networks.of_container(&target.id)?;
    let here = mine.into_iter().find(|endpoint| endpoint.network == "bridge");
    let found = here.and_then(|it| Some((it.attachment?.address, it.hostname)));
    Ok(found.map(|(address, hostname)| Link { name: target.name, alias: alias.to_owned(), hostname, address }))
}

/// The line of a linked container: its name first, which a reverse lookup then gives (A-112, A-113).
pub(crate) fn line_of(link: &Link) -> Entry {
    let mut names: Vec<String> = Vec::new();
    for name in [&link.name, &link.alias, &link.hostname] {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    Entry { address: link.address.into(), names }
}

/// `container:ID`, where a network is joined.
pub(super) fn mode_of(host: &Host) -> Option<String> {
    host.joined.as_ref().map(|joined| format!("container:{}", joined.id))
}

/// How the runtime furnishes a network namespace.
const IOCTLS: Ioctls = Ioctls {
    set_up: interface::set_up,
    set_address: interface::set_address,
    add_default_gateway: interface::add_default_gateway,
};

/// Make the container's network, in a namespace that no process is in yet; none on the host's network.
///
/// The sandbox must go before the endpoints, which waits until the namespace has ended. Bound by one pattern it does.
///
/// Errors: those of the network; all is taken back then.
pub(super) fn connect(
    engine: &Engine,
    reservation: Reservation,
    flags: &RunArgs,
) -> Result<(Endpoints, Option<Sandbox>)> {
    let upstream = Upstream::of(&flags.network.dns, engine.config.domain());
    // What is the host's, or another container's, is there already.
    if reservation.networks().any(|network| matches!(network.driver, Driver::Host | Driver::Container)) {
        let hosts = File::open("/proc/self/ns/net").context("cannot open /proc/self/ns/net")?;
        return Ok((reservation.connect(hosts.as_fd(), upstream)?, None));
    }
    let sandbox = Sandbox::new()?;
    let endpoints = reservation.furnished_by(IOCTLS).connect(sandbox.as_fd(), upstream)?;
    for endpoint in endpoints.records() {
        if let Some(shape) = shape_of(&flags.network, endpoint) {
            engine.networks.shape(sandbox.as_fd(), endpoint, &shape)?;
        }
    }
    Ok((endpoints, Some(sandbox)))
}

/// The host's address for containers: the default bridge's. None where that found no subnet.
///
/// Errors: the networks cannot be read.
pub(super) fn host_gateway(networks: &Networks) -> Result<Option<Ipv4Addr>> {
    Ok(networks.find("bridge")?.gateway())
}
