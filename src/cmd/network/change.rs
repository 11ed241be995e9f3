//! `rbox network create`, `rm` and `prune`.

use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use rbox_net::{Network, NetworkRequest, Networks};

use super::filter::has_label;
use crate::cli::{NetworkCreateArgs, NetworkPruneArgs, NetworkRemoveArgs, value};
use crate::cmd::{print, prune as ask};
use crate::report::Problem;
use crate::{record, report};

/// Make a network, and print its identifier.
///
/// Errors: something of it cannot be had. Nothing is left then.
pub(super) fn create(networks: &Networks, args: &NetworkCreateArgs) -> Result<ExitCode> {
    let request = NetworkRequest {
        name: args.name.clone(),
        driver: args.driver,
        ipv6: args.ipv6,
        internal: args.internal,
        subnets: args.subnet.clone(),
        gateways: args.gateway.clone(),
        ranges: args.ip_range.clone(),
        spans: Vec::new(),
        reserved: args.aux_address.clone(),
        options: args.opt.iter().cloned().collect(),
        labels: args.label.iter().cloned().collect(),
    };
    let network = networks.create(&request, &record::this_process()?)?;
    print::line(&network.id)?;
    Ok(ExitCode::SUCCESS)
}

/// Remove networks, and print what was typed for each. Those that can be are removed, also when others cannot.
///
/// Errors: the standard output cannot be written.
pub(super) fn remove(networks: &Networks, args: &NetworkRemoveArgs) -> Result<ExitCode> {
    let maker = record::this_process()?;
    let mut code = ExitCode::SUCCESS;
    for typed in &args.networks {
        match networks.find(typed).and_then(|network| networks.remove(&network, &maker)) {
            Ok(()) => print::line(typed)?,
            Err(rbox_net::Error::NetworkNotFound(_)) if args.force => {}
            Err(error) => code = report::print_refusal(&error.into()),
        }
    }
    Ok(code)
}

/// Remove every user-defined network that no running container is in.
///
/// Errors: the networks cannot be read; the answer cannot be; a filter that there is not.
pub(super) fn prune(networks: &Networks, args: &NetworkPruneArgs) -> Result<ExitCode> {
    let mut all: Vec<Network> = networks.list()?.into_iter().filter(|network| !network.is_predefined()).collect();
    for (key, value) in &args.filter {
        keep(&mut all, key, value)?;
    }
    if !args.force && !ask::is_wanted("all custom networks not used by at least one container")? {
        return Ok(ExitCode::SUCCESS);
    }
    let maker = record::this_process()?;
    let mut text = String::new();
    for network in all {
        match networks.remove(&network, &maker) {
            Ok(()) => text += &format!("{}\n", network.name),
            Err(rbox_net::Error::Busy { .. } | rbox_net::Error::NetworkNotFound(_)) => {}
            Err(error) => report::warn(&error.into()),
        }
    }
    if !text.is_empty() {
        print::text(&format!("Deleted Networks:\n{text}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn keep(all: &mut Vec<Network>, key: &str, value: &str) -> Result<(), Problem> {
    match key.strip_suffix('!').map_or((key, true), |key| (key, false)) {
        ("label", wanted) => all.retain(|network| has_label(network, value) == wanted),
        ("until", true) => {
            let until: Timestamp =
                value::time(value).map_err(|why| Problem::new(format!("--filter until={value}: {why}")))?;
            all.retain(|network| network.created.parse::<Timestamp>().is_ok_and(|created| created < until));
        }
        _ => return Err(Problem::new(format!("--filter {key}={value}: there is no such filter"))),
    }
    Ok(())
}
