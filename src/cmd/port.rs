//! `rbox port`: where a container's ports are published.

use std::process::ExitCode;

use anyhow::Result;
use rbox_net::{Expose, PortMapping};

use super::print;
use crate::cli::{Global, PortArgs};
use crate::dirs::Dirs;
use crate::find::find;
use crate::report::{self, Problem};
use crate::sweep;

/// `rbox port`
///
/// Errors: there is no such container; the port is none, or is not published.
pub(crate) fn run(global: &Global, args: &PortArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    let networks = dirs.networks()?;
    sweep::sweep(&dirs, &networks).iter().for_each(report::warn);
    let container = find(&dirs, &args.container)?;
    let mine = networks.of_container(&container.id)?;
    let mut ports: Vec<Published> =
        mine.into_iter().flat_map(|endpoint| endpoint.ports).flat_map(|it| published(&it)).collect();
    ports.sort();
    let text: String = match &args.port {
        None => ports.iter().map(|port| format!("{}/{} -> {}\n", port.inside, port.protocol, port.outside)).collect(),
        Some(typed) => {
            let wanted = wanted(typed)?;
            ports.retain(|port| format!("{}/{}", port.inside, port.protocol) == wanted);
            if ports.is_empty() {
                let message = format!("container {}: port {wanted} is not published", args.container);
                return Err(Problem::new(message).into());
            }
            ports.iter().map(|port| format!("{}\n", port.outside)).collect()
        }
    };
    print::text(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// One port, from its number inside to its place outside.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Published {
    inside: u16,
    protocol: String,
    is_ipv6: bool,
    outside: String,
}

/// A run of ports, one by one.
fn published(mapping: &PortMapping) -> Vec<Published> {
    let one = |(inside, outside): (u16, u16)| Published {
        inside,
        protocol: mapping.protocol.to_string(),
        is_ipv6: mapping.host_ip.is_ipv6(),
        outside: format!("{}:{outside}", mapping.host_ip),
    };
    mapping.container.ports().zip(mapping.host.ports()).map(one).collect()
}

/// `80`, `80/tcp`, `53/udp`.
fn wanted(typed: &str) -> Result<String, Problem> {
    match typed.parse::<Expose>() {
        Ok(expose) if expose.ports.count() == 1 => Ok(format!("{}/{}", expose.ports, expose.protocol)),
        _ => Err(Problem::new(format!("{typed}: not a port: write 80, 80/tcp or 53/udp"))),
    }
}
