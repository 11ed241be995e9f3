//! `rbox network connect --netdev`: a device of the host's, for a container that runs.

use std::process::ExitCode;

use anyhow::Result;

use crate::cmd::network::settle::Life;
use crate::cmd::run::network::request_of;
use crate::engine::Engine;
use crate::find::find_running;

/// Move the host's `device` into a running container.
///
/// Errors: there is no such container, or it does not run; the device is not there, or cannot be spared.
pub(super) fn connect(engine: &Engine, device: &str, inside: Option<&str>, container: &str) -> Result<ExitCode> {
    let changes = engine.networks.lock_changes()?;
    let life = life(engine, container, "move a device into")?;
    let intent = &life.intent;
    let request = request_of(engine, &intent.flags, &life.claim, intent.image.as_ref())?;
    let names = (device, inside.unwrap_or(device));
    engine.networks.connect_device(&changes, (&life.running(), &request), names)?;
    Ok(ExitCode::SUCCESS)
}

/// Give it back.
///
/// Errors: there is no such container, or it does not have the device.
pub(super) fn disconnect(engine: &Engine, device: &str, container: &str) -> Result<ExitCode> {
    let changes = engine.networks.lock_changes()?;
    let life = life(engine, container, "take a device out of")?;
    engine.networks.part_device(&changes, &life.running(), device)?;
    Ok(ExitCode::SUCCESS)
}

fn life<'a>(engine: &'a Engine, container: &str, doing: &str) -> Result<Life<'a>> {
    let (record, _) = find_running(&engine.dirs, container, doing)?;
    let problem = || anyhow::anyhow!("cannot {doing} container {container}: it is about to begin or to end");
    Life::of(&engine.dirs, &engine.networks, &record.id)?.ok_or_else(problem)
}
