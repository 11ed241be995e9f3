//! `rbox network connect` and `disconnect`: now, where the container runs, and for its next start.

mod device;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use rbox_net::{Changes, MacAddress, Network};

use super::settle::{Life, Way, change};
use crate::cli::value::NetworkFlag;
use crate::cli::{Global, NetworkConnectArgs, NetworkDisconnectArgs};
use crate::cmd::run::network::{check_names, pinned, request_of, wanted};
use crate::cmd::state;
use crate::engine::Engine;
use crate::find::find;
use crate::record::{Claim, Intent, Purpose, Record};
use crate::report::{self, Problem};
use crate::sweep;

/// How long a command that holds a container for a moment gets to let go of it.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

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
    let joined = life.settle(&half, Way::Joins).and_then(|()| {
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

/// A container whose networks nobody else changes meanwhile, and that does not begin meanwhile.
struct Hold<'a> {
    changes: Changes,
    /// Where it runs.
    life: Option<Life<'a>>,
    /// Where it does not: until this is given back it cannot be started.
    claim: Option<Claim>,
}

impl<'a> Hold<'a> {
    /// Wait until it runs, or stands still, and do something to it.
    ///
    /// Errors: it has been removed; another command starts or removes it, and does not come to an end with that.
    fn on<T>(engine: &'a Engine, record: &Record, act: impl FnOnce(&Hold<'a>) -> Result<T>) -> Result<T> {
        let done = Hold::wait(engine, record).and_then(|hold| {
            let done = act(&hold);
            hold.release(engine).and(done)
        });
        // Of one that was removed in this moment all else that is missing is no news.
        done.or_else(|error| find(&engine.dirs, &record.id).and(Err(error)))
    }

    fn wait(engine: &'a Engine, record: &Record) -> Result<Hold<'a>> {
        let (dirs, id) = (&engine.dirs, &record.id);
        let deadline = Instant::now() + LET_GO_WITHIN;
        loop {
            let changes = engine.networks.lock_changes()?;
            let life = Life::of(dirs, &engine.networks, id)?;
            if life.is_some() {
                return Ok(Hold { changes, life, claim: None });
            }
            let now = find(dirs, id)?;
            // Its monitor waits, and reads at its next start what it is to be then.
            if state::Status::of(dirs, &now)? == state::Status::Restarting {
                return Ok(Hold { changes, life: None, claim: None });
            }
            if let Some(claim) = Claim::hold(dirs, id, &now.name, Purpose::Hold)? {
                let hold = Hold { changes, life: None, claim: Some(claim) };
                match Record::load(dirs, id) {
                    Ok(Some(_)) => return Ok(hold),
                    // It was removed in this moment: the next look finds nothing.
                    _ => hold.release(engine)?,
                }
                continue;
            }
            drop(changes);
            if Instant::now() > deadline {
                let why = "another command is starting or removing it";
                let problem = Problem::new(format!("cannot change the networks of container {}: {why}", record.name));
                return Err(problem.into());
            }
            if Claim::of(dirs, id)?.is_some_and(|claim| !claim.is_alive(dirs)) {
                // Who held it was killed since this command began.
                sweep::sweep(dirs, &engine.networks).iter().for_each(report::warn);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Let others have it.
    fn release(self, engine: &Engine) -> Result<()> {
        self.claim.map_or(Ok(()), |claim| claim.release(&engine.dirs))
    }
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
