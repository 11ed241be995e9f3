//! Flags -> what the container wants of its network; and the connection itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use oci_spec::image::ImageConfiguration;
use rbox_net::{
    Driver, EPHEMERAL_PORTS, Endpoint, EndpointRequest, Expose, MacAddress, Networks, Owner, PortMapping, Publish,
    Reservation, Sandbox,
};

use crate::cli::RunArgs;
use crate::record::Claim;

/// What this container wants: network, address, ports.
///
/// Errors: a port that is none.
pub(super) fn request(flags: &RunArgs, claim: &Claim, image: Option<&ImageConfiguration>) -> Result<EndpointRequest> {
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
        network: flags.network.name().to_owned(),
        hostname: flags.container.hostname.clone().unwrap_or_else(|| crate::record::short(&claim.id).to_owned()),
        ip: flags.network.ip,
        mac: flags.network.mac_address.map(|mac| MacAddress(mac.0)),
        publish,
        ephemeral_ports: EPHEMERAL_PORTS,
    })
}

/// Make the container's network, in a namespace that no process is in yet; none on the host's network.
///
/// The sandbox must go before the endpoint, which waits until the namespace has ended. Bound by one pattern it does.
///
/// Errors: those of the network; all is taken back then.
pub(super) fn connect(reservation: Reservation) -> Result<(Endpoint, Option<Sandbox>)> {
    if reservation.network().driver == Driver::Host {
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

/// The ports as `ps` prints them: `0.0.0.0:8080->80/tcp`, then what is only exposed.
pub(super) fn ports_shown(published: &[PortMapping], exposed: &BTreeSet<String>) -> Vec<String> {
    let mut shown: Vec<String> = published.iter().map(ToString::to_string).collect();
    let published_to =
        |port: &String| published.iter().any(|mapping| format!("{}/{}", mapping.container, mapping.protocol) == *port);
    shown.extend(exposed.iter().filter(|port| !published_to(port)).cloned());
    shown
}
