//! `rbox network connect` and `disconnect`: now, where the container runs, and for its next start.

mod device;

use std::process::ExitCode;

use anyhow::Result;
use rbox_net::{Changes, MacAddress, Network};

use super::hold::Hold;
use super::settle::{Life, Way, change};
use super::shape::shape_of;
use crate::cli::value::NetworkFlag;
use crate::cli::{Global, NetworkConnectArgs, NetworkDisconnectArgs};
use crate::cmd::run::network::{check_names, pinned, request_of, wanted};
use crate::engine::Engine;
use crate::find::find;
use crate::record::{Intent, Record};
use crate::report::Problem;

/// `rbox network connect`
///
/// Errors: there is no such container or network; the container cannot be in it, or is in it. Nothing has changed then.
pub(super) fn connect(global: &Global, args: &NetworkConnectArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let (network, container) = match (&args.netdev, &args.words[..]) {
        (Some(device), [container]) => return device::connect(&engine, device, args.ifname.as_deref(), container),
        (None, [network, container]) => (network, container),
        _ => return Err(words_missing("connect", args.netdev.is_some()).into()),
    };
    let record = find(&engine.dirs, container)?;
    let flag = pinned(
        &engine,
        &NetworkFlag {
            name: network.clone(),
            id: None,
            ip: args.ip,
            ip6: args.ip6,
            mac: args.mac_address.map(|mac| MacAddress(mac.0)),
            aliases: args.alias.clone(),
            links: args.link.clone(),
            interface: args.ifname.clone(),
            priority: args.gw_priority,
        },
    )?;
    let network = engine.networks.find(flag.key())?;
    Hold::on(&engine, &record, |hold| {
        check(&engine, &record, &network, &flag)?;
        match &hold.life {
            Some(life) => join(&engine, (life, &hold.changes), &flag),
            None => add(&engine, &record, &flag),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Connect a container that runs.
fn join(engine: &Engine, (life, changes): (&Life<'_>, &Changes), flag: &NetworkFlag) -> Result<()> {
    let (networks, intent) = (&engine.networks, &life.intent);
    let request = request_of(engine, &intent.flags, &life.claim, intent.image.as_ref())?;
    let half = networks.connect(changes, &life.running(), (&request, &wanted(engine, flag)?))?;
    let slowed = match shape_of(&intent.flags.network, &half) {
        Some(shape) => networks.shape(life.running().netns, &half, &shape).map_err(anyhow::Error::from),
        None => Ok(()),
    };
    let joined = slowed.and_then(|()| life.settle(&half, Way::Joins)).and_then(|()| {
        change(&engine.dirs, &life.claim.id, |all| all.push(flag.clone()))?;
        Ok(networks.complete(changes, &half)?)
    });
    joined.inspect_err(|_| {
        // What cannot be taken back now is left to the next sweep.
        let _ = life.leave(changes, &half, |other| other.key() == flag.key());
    })
}

/// Have the next start connect it.
fn add(engine: &Engine, record: &Record, flag: &NetworkFlag) -> Result<()> {
    change(&engine.dirs, &record.id, |networks| networks.push(flag.clone()))
}

/// `rbox network disconnect`
///
/// Errors: there is no such container or network; the container is not in it.
pub(super) fn disconnect(global: &Global, args: &NetworkDisconnectArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let (typed_network, container) = match (&args.netdev, &args.words[..]) {
        (Some(device), [container]) => return device::disconnect(&engine, device, container),
        (None, [network, container]) => (network, container),
        _ => return Err(words_missing("disconnect", args.netdev.is_some()).into()),
    };
    let record = match find(&engine.dirs, container) {
        Err(_) if args.force => return Ok(ExitCode::SUCCESS),
        found => found?,
    };
    match Hold::on(&engine, &record, |hold| part(&engine, (&record, hold), typed_network))? {
        false if !args.force => {
            Err(Problem::new(format!("container {}: it is not in network {typed_network}", record.name)).into())
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Take a container out of a network, now and for its next start. Answers whether it was in it.
fn part(engine: &Engine, (record, hold): (&Record, &Hold<'_>), typed_network: &str) -> Result<bool> {
    // One that has been removed can be left too: then it is known by what was typed at first.
    let typed = |flag: &NetworkFlag| flag.name == typed_network || flag.id.as_deref() == Some(typed_network);
    let known = Intent::load(&engine.dirs, &record.id)?.flags.network.wanted();
    let network = match engine.networks.find(typed_network) {
        Err(error) => match known.iter().any(typed) {
            true => None,
            false => return Err(error.into()),
        },
        Ok(network) => Some(network),
    };
    let is_meant = |flag: &NetworkFlag| match &network {
        // By its name also one that has been removed, and another is called so by now.
        Some(network) => [&*network.name, &*network.id].contains(&flag.key()) || typed(flag),
        None => typed(flag),
    };
    if let (Some(life), Some(network)) = (&hold.life, &network) {
        let mine = engine.networks.of_container(&record.id)?;
        if let Some(endpoint) = mine.iter().find(|endpoint| endpoint.network_id == network.id) {
            return life.leave(&hold.changes, endpoint, is_meant).map(|()| true);
        }
    }
    let was_in = known.iter().any(is_meant);
    if was_in {
        change(&engine.dirs, &record.id, |networks| networks.retain(|flag| !is_meant(flag)))?;
    }
    Ok(was_in)
}

/// What was typed has a word too few or too many.
fn words_missing(verb: &str, with_device: bool) -> Problem {
    let message = match with_device {
        true => "with --netdev a container is named, and no network",
        false => "a network and a container are to be named",
    };
    Problem::new(message).hint(format!("see rbox network {verb} --help"))
}

/// What keeps a container from being in a network, whether it runs or not.
fn check(engine: &Engine, record: &Record, network: &Network, flag: &NetworkFlag) -> Result<()> {
    let refused = |why: String| {
        let message = format!("cannot connect container {} to network {}: {why}", record.name, network.name);
        Err(Problem::new(message).into())
    };
    if !network.driver.is_shareable() {
        return refused("a container has that network alone, or not at all".into());
    }
    if network.is_predefined() && !flag.aliases.is_empty() {
        check_names(engine, &flag.aliases[0])?;
    }
    let networks = Intent::load(&engine.dirs, &record.id)?.flags.network.wanted();
    let alone =
        |other: &&NetworkFlag| ["host", "none"].contains(&other.name.as_str()) || other.name.starts_with("container:");
    if let Some(other) = networks.iter().find(alone) {
        return refused(format!("it is on network {}, which can have no other beside it", other.name));
    }
    if networks.iter().any(|other| other.key() == flag.key()) {
        return refused("it is in it already".into());
    }
    Ok(())
}
