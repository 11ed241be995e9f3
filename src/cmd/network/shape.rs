//! `rbox network shape`: a container's network, slower on purpose, now, where it runs, and at each later start.

use std::process::ExitCode;

use anyhow::Result;
use rbox_net::{EndpointRecord, Shape};

use super::hold::Hold;
use super::settle::{Life, change_flags};
use crate::cli::value::ShapeFlag;
use crate::cli::{NetworkFlags, NetworkShapeArgs};
use crate::engine::Engine;
use crate::find::find;
use crate::record::Intent;
use crate::report::Problem;

/// Do it.
///
/// Errors: there is no such container, or it has no card of its own; the kernel cannot. Nothing has changed then.
pub(super) fn shape(engine: &Engine, args: &NetworkShapeArgs) -> Result<ExitCode> {
    let wanted = Shape { rate: args.rate, rate_in: args.rate_in, delay: args.delay, loss: args.loss };
    if wanted.is_free() && !args.clear {
        let problem = Problem::new("--rate, --rate-in, --delay or --loss is missing");
        return Err(problem.hint("--clear lets it go as fast as it can").into());
    }
    let record = find(&engine.dirs, &args.container)?;
    Hold::on(engine, &record, |hold| {
        let flags = Intent::load(&engine.dirs, &record.id)?.flags.network;
        check(&flags, &record.name)?;
        let network = args.network.as_deref().map(|typed| key(engine, &flags, (typed, &record.name))).transpose()?;
        let mut changed = flags.clone();
        changed.shape_by(ShapeFlag { network, shape: wanted });
        if let Some(life) = &hold.life {
            apply(engine, life, &changed).inspect_err(|_| {
                // As it was; the first error is the one to report.
                let _ = apply(engine, life, &flags);
            })?;
        }
        change_flags(&engine.dirs, &record.id, |flags| flags.shapes = changed.shapes)?;
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

fn check(flags: &NetworkFlags, name: &str) -> Result<(), Problem> {
    let problem = |why: &str| Err(Problem::new(format!("cannot shape the network of container {name}: {why}")));
    match flags.name() {
        "host" => problem("it is the host's own"),
        "none" => problem("it has none"),
        joined if joined.starts_with("container:") => problem("it is another container's, and is shaped there"),
        _ => Ok(()),
    }
}

/// By what the container's network is found that was typed.
fn key(engine: &Engine, flags: &NetworkFlags, (typed, name): (&str, &str)) -> Result<String> {
    let found = engine.networks.find(typed)?;
    let known = flags.wanted().into_iter().find(|flag| [&*found.name, &*found.id].contains(&flag.key()));
    let missing = || Problem::new(format!("container {name}: it is not in network {typed}"));
    Ok(known.ok_or_else(missing)?.key().to_owned())
}

fn apply(engine: &Engine, life: &Life<'_>, flags: &NetworkFlags) -> Result<()> {
    let running = life.running();
    for endpoint in engine.networks.staying(&running.owner.container)? {
        engine.networks.shape(running.netns, &endpoint, &shape_of(flags, &endpoint).unwrap_or_default())?;
    }
    Ok(())
}

/// What was said of an endpoint's network; nothing where nothing ever was.
pub(crate) fn shape_of(flags: &NetworkFlags, endpoint: &EndpointRecord) -> Option<Shape> {
    let of = |name: Option<&str>| flags.shapes.iter().find(|it| it.network.as_deref() == name);
    let own = of(Some(&endpoint.network_id)).or_else(|| of(Some(&endpoint.network)));
    own.or_else(|| of(None)).map(|flag| flag.shape)
}
