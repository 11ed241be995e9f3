//! Flags -> what the container wants of its network; and the connection itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail};
use oci_spec::image::ImageConfiguration;
use rbox_net::hosts::Entry;
use rbox_net::{
    Driver, EPHEMERAL_PORTS, Endpoint, EndpointRecord, EndpointRequest, Expose, MacAddress, Networks, Owner, Publish,
    Reservation, Sandbox,
};
use rbox_runtime::container::Container;

use crate::cli::RunArgs;
use crate::creation::{self, Creation};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::find::{self, find};
use crate::record::Claim;
use crate::report::Problem;
use crate::spec::{self, Host, Joined, Link};

/// What this container wants: network, address, ports.
///
/// Errors: a port that is none.
pub(super) fn request(
    flags: &RunArgs,
    claim: &Claim,
    image: Option<&ImageConfiguration>,
    host: &Host,
) -> Result<EndpointRequest> {
    if ["host", "none"].contains(&flags.network.name())
        && (flags.network.publish_all || !flags.network.publish.is_empty())
    {
        let why = "the program's ports are the host's own already";
        let why =
            if flags.network.is_host() { why } else { "nothing leads into a network of its own that has no link" };
        eprintln!("rbox: -p is discarded on network {}: {why}", flags.network.name());
    }
    let mut publish = flags.network.publish.iter().map(|text| text.parse()).collect::<Result<Vec<Publish>, _>>()?;
    if flags.network.publish_all {
        let of_image = image.and_then(|image| image.config().as_ref()?.exposed_ports().clone()).unwrap_or_default();
        let exposed: BTreeSet<&String> = of_image.iter().chain(&flags.network.expose).collect();
        for text in exposed {
            publish.push(Publish::from(text.parse::<Expose>()?));
        }
    }
    Ok(EndpointRequest {
        owner: Owner {
            container: claim.id.clone(),
            name: claim.name.clone(),
            pid: claim.pid,
            start_time: claim.start_time,
            boot_id: claim.boot_id.clone(),
        },
        network: mode_of(host).unwrap_or_else(|| flags.network.name().to_owned()),
        hostname: flags.container.hostname.clone().unwrap_or_else(|| crate::record::short(&claim.id).to_owned()),
        ip: flags.network.ip.filter(|_| host.joined.is_none()),
        mac: flags.network.mac_address.map(|mac| MacAddress(mac.0)),
        publish,
        ephemeral_ports: EPHEMERAL_PORTS,
    })
}

/// The containers that `--network container:NAME` and `--link` name, as they are now.
///
/// Errors: there is no such container; where this one `begins` now, it does not run, or one to be linked has no
/// address on the bridge.
pub(super) fn others(engine: &Engine, flags: &RunArgs, host: Host, begins: bool) -> Result<Host> {
    spec::check_network(flags)?;
    let joined = flags.network.joined().map(|typed| joined(&engine.dirs, typed, begins)).transpose()?;
    if joined.is_some() {
        discard(flags);
    }
    if !begins {
        return Ok(Host { joined, ..host });
    }
    let link = |(typed, alias): &(String, String)| link(engine, typed, alias);
    let links = flags.network.link.iter().map(link).collect::<Result<_>>()?;
    Ok(Host { joined, links, ..host })
}

/// Put ids in the place of the names of other containers: a later start means the same ones, whatever they are called
/// by then, and not others that have got their names.
///
/// Errors: there is no such container.
pub(super) fn pin(dirs: &Dirs, flags: &mut RunArgs) -> Result<()> {
    if let Some(typed) = flags.network.joined() {
        let target = find(dirs, typed)?;
        flags.network.join(&target.id);
    }
    for (other, _) in &mut flags.network.link {
        *other = find(dirs, other)?.id;
    }
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
    Ok(Joined { owner: creation::network_owner(dirs, &target.id)?, id: target.id, hostname, pid })
}

/// `HostConfig.Links`: `/db:/app/alias`, for each `--link`.
///
/// Errors: there is no such container.
pub(super) fn links_of(dirs: &Dirs, flags: &RunArgs, own: &str) -> Result<Vec<String>> {
    let link = |(typed, alias): &(String, String)| Ok(format!("/{}:/{own}/{alias}", find(dirs, typed)?.name));
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
    let typed = &target.name;
    find::container(&engine.dirs, &target, typed, "link to")?;
    let endpoints = engine.networks.endpoints()?;
    let here = |endpoint: &&EndpointRecord| endpoint.owner.container == target.id && endpoint.network == "bridge";
    let found = endpoints.iter().find(here).and_then(|it| Some((it.hostname.clone(), it.attachment.as_ref()?.address)));
    let (hostname, address) =
        found.ok_or_else(|| Problem::new(format!("cannot link to container {typed}: it is not on network bridge")))?;
    Ok(Link { name: target.name, alias: alias.to_owned(), hostname, address })
}

/// The line of a linked container: its name first, which a reverse lookup then gives.
pub(super) fn line_of(link: &Link) -> Entry {
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

/// Make the container's network, in a namespace that no process is in yet; none on the host's network.
///
/// The sandbox must go before the endpoint, which waits until the namespace has ended. Bound by one pattern it does.
///
/// Errors: those of the network; all is taken back then.
pub(super) fn connect(reservation: Reservation) -> Result<(Endpoint, Option<Sandbox>)> {
    // What is the host's, or another container's, is there already.
    if matches!(reservation.network().driver, Driver::Host | Driver::Container) {
        let hosts = File::open("/proc/self/ns/net").context("cannot open /proc/self/ns/net")?;
        return Ok((reservation.connect(hosts.as_fd())?, None));
    }
    let sandbox = Sandbox::new()?;
    Ok((reservation.connect(sandbox.as_fd())?, Some(sandbox)))
}

/// The host's address for containers: the default bridge's.
///
/// Errors: the networks cannot be read.
pub(super) fn host_gateway(networks: &Networks) -> Result<Ipv4Addr> {
    let bridge = networks.find("bridge")?;
    bridge.bridged.map(|bridged| bridged.gateway).context("network bridge: it has no gateway")
}
