//! `rbox publish` and `rbox unpublish`: ports of a container, now, where it runs, and for its next start.
//!
//! ```text
//!   publish    networks.publish_more ──▶ the holder takes the ports, ps ──▶ the flags of the next start ──▶ complete
//!   unpublish  networks.unpublish    ──▶ the holder lets go of them, ps ──▶ the flags of the next start ──▶ complete
//! ```
//!
//! Whoever is killed in between leaves an endpoint that is half, and the next sweep has it keep what it would have kept in any
//! case ([`Life::keep`]).

mod meant;

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;
use rbox_net::{EndpointRecord, Kept, PortMapping, Publish, Request};

use super::network::hold::Hold;
use super::network::settle::{Life, change_flags, mend_under};
use super::print;
use super::run::network::{closed, request_of};
use super::run::reach;
use crate::cli::{Global, NetworkFlags, PublishArgs, UnpublishArgs};
use crate::engine::Engine;
use crate::find::find;
use crate::record::{Intent, Record};
use crate::report::{self, Problem};
use crate::spec;
use meant::{Entry, Meant, Said};

/// `rbox publish`
///
/// Errors: there is no such container; nothing can lead to it; a port is none, or is taken. Nothing has changed then.
pub(crate) fn publish(global: &Global, args: &PublishArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let ports = args.ports.iter().map(|text| text.parse()).collect::<Result<Vec<Publish>, _>>();
    let ports = ports.map_err(|error| as_typed(&error, "publish"))?;
    let record = find(&engine.dirs, &args.container)?;
    let new = Hold::on(&engine, &record, |hold| {
        let intent = Intent::load(&engine.dirs, &record.id)?;
        check(&engine, &record, &intent.flags.network)?;
        match &hold.life {
            Some(life) => open(&engine, (life, hold), (&ports, &args.ports)),
            None => {
                check_own(&record, &intent.flags.network, &ports)?;
                change_flags(&engine.dirs, &record.id, |flags| flags.publish.extend(args.ports.clone()))?;
                Ok(Vec::new())
            }
        }
    })?;
    let line = |it: &PortMapping| format!("{}/{} -> {}:{}\n", it.container, it.protocol, it.host_ip, it.host);
    print::text(&new.iter().map(line).collect::<String>())?;
    reach::tell(&engine.networks, &record.id, &new);
    Ok(ExitCode::SUCCESS)
}

/// Publish ports of a container that runs. Answers where they are.
fn open(
    engine: &Engine,
    (life, hold): (&Life<'_>, &Hold<'_>),
    (ports, typed): (&[Publish], &[String]),
) -> Result<Vec<PortMapping>> {
    let (networks, changes, intent) = (&engine.networks, &hold.changes, &life.intent);
    mend_first(engine, life, hold)?;
    let request = request_of(engine, &intent.flags, &life.claim, intent.image.as_ref())?;
    let request = Request { publish: ports.to_vec(), ..request };
    let words = intent.flags.network.port_words();
    let (half, new) = match networks.publish_more(changes, &life.running(), (&request, &words)) {
        Err(rbox_net::Error::Gone { container }) => return Err(Problem::new(ended(&container)).into()),
        opened => opened?,
    };
    let settled = life.settle_ports().and_then(|unheld| {
        // Somebody took it between two of the steps.
        unheld.map_or(Ok(()), |why| Err(Problem::new(why)))?;
        change_flags(&engine.dirs, &life.claim.id, |flags| flags.publish.extend(typed.to_vec()))?;
        complete(engine, hold, &half)
    });
    settled.inspect_err(|_| {
        // What cannot be taken back now is left to the next sweep.
        let _ = life.keep(changes, &half);
    })?;
    Ok(new)
}

/// `rbox unpublish`
///
/// Errors: there is no such container; a port is none, or is not published. Nothing has changed then.
pub(crate) fn unpublish(global: &Global, args: &UnpublishArgs) -> Result<ExitCode> {
    let engine = Engine::open(global)?;
    let meant = args.ports.iter().map(|text| text.parse()).collect::<Result<Vec<Meant>, Problem>>()?;
    let record = find(&engine.dirs, &args.container)?;
    Hold::on(&engine, &record, |hold| {
        let intent = Intent::load(&engine.dirs, &record.id)?;
        let endpoints = engine.networks.of_container(&record.id)?;
        let ports: Vec<PortMapping> = endpoints.into_iter().flat_map(|endpoint| endpoint.ports).collect();
        let said = Said::by(&intent.flags.network.port_words(), &spec::exposed(&intent.flags, intent.image.as_ref()));
        let left = meant::without(said, &ports, &meant)
            .map_err(|why| Problem::new(format!("container {}: {why}", record.name)))?;
        match &hold.life {
            Some(life) if left.ports != ports => close(&engine, (life, hold), left),
            _ => {
                change_flags(&engine.dirs, &record.id, |flags| flags.take_port_words(left.words))?;
                Ok(())
            }
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Take ports of a container back that runs: those of `kept` stay.
fn close(engine: &Engine, (life, hold): (&Life<'_>, &Hold<'_>), kept: Kept) -> Result<()> {
    mend_first(engine, life, hold)?;
    let words = kept.words.clone();
    let half = match engine.networks.unpublish(&hold.changes, &life.running(), kept) {
        Err(rbox_net::Error::Gone { container }) => return Err(Problem::new(ended(&container)).into()),
        closed => closed?,
    };
    let unheld = life.settle_ports()?;
    unheld.map(anyhow::Error::msg).iter().for_each(report::warn);
    change_flags(&engine.dirs, &life.claim.id, |flags| flags.take_port_words(words))?;
    complete(engine, hold, &half)
}

/// The last step. Of a container that has ended by itself meanwhile, the next start has what was asked for.
fn complete(engine: &Engine, hold: &Hold<'_>, half: &EndpointRecord) -> Result<()> {
    match engine.networks.complete(&hold.changes, half) {
        Err(rbox_net::Error::Gone { .. }) => Ok(()),
        done => Ok(done?),
    }
}

fn ended(container: &str) -> String {
    format!("container {container}: it has ended meanwhile")
}

/// Who was killed over this container since the command began must not be in the way.
fn mend_first(engine: &Engine, life: &Life<'_>, hold: &Hold<'_>) -> Result<()> {
    if engine.networks.of_container(&life.claim.id)?.iter().any(EndpointRecord::has_maker) {
        mend_under(&engine.dirs, &engine.networks, &hold.changes).iter().for_each(report::warn);
    }
    Ok(())
}

/// What keeps every port of a container from being published (Docker says as much of `run -p`, and discards it).
fn check(engine: &Engine, record: &Record, flags: &NetworkFlags) -> Result<()> {
    let refused = |why: String| Problem::new(format!("cannot publish a port of container {}: {why}", record.name));
    if let Some(joined) = flags.joined() {
        let name = find(&engine.dirs, joined).map_or_else(|_| joined.to_owned(), |other| other.name);
        let hint = format!("rbox publish {name} …, where the network is");
        return Err(refused(format!("its network is that of container {name}")).hint(hint).into());
    }
    let mut why = "it is in no network".to_owned();
    for flag in flags.wanted() {
        // One that has been removed leads nowhere, which the next start says.
        let Ok(network) = engine.networks.find(flag.key()) else { continue };
        match closed(&network) {
            None => return Ok(()),
            Some(closed) => why = format!("it is on network {}, and {closed}", network.name),
        }
    }
    Err(refused(why).into())
}

/// Of a container that does not run, two ports that want one place outside are refused before its start is.
fn check_own(record: &Record, flags: &NetworkFlags, ports: &[Publish]) -> Result<()> {
    let said = Said::by(&flags.port_words(), &BTreeSet::new());
    let mut taken: Vec<PortMapping> = said.entries.iter().flat_map(Entry::places).collect();
    for publish in ports {
        let places = Entry::of(publish).places();
        if let Some(place) = places.iter().find(|place| taken.iter().any(|other| other.collides(place))) {
            let holder = Some(format!("container {}", record.name));
            return Err(rbox_net::Error::PortInUse { port: place.host.to_string(), holder }.into());
        }
        taken.extend(places);
    }
    Ok(())
}

/// The library speaks of `-p`, which nobody has typed.
fn as_typed(error: &rbox_net::Error, verb: &str) -> Problem {
    Problem::new(error.to_string().replacen("-p ", &format!("{verb} "), 1))
}
