//! `rbox network connect --netdev`: a device of the host's, for a container that runs.

use std::process::ExitCode;

use anyhow::Result;

use super::Life;
use crate::engine::Engine;
use crate::find::find_running;

/// Move the host's `device` into a running container.
///
/// Errors: there is no such container, or it does not run; the device is not there, or cannot be spared.
pub(super) fn connect(engine: &Engine, device: &str, inside: Option<&str>, container: &str) -> Result<ExitCode> {
    let life = life(engine, container, "move a device into")?;
    engine.networks.connect_device(&life.running(), device, inside.unwrap_or(device))?;
    Ok(ExitCode::SUCCESS)
}

/// Give it back.
///
/// Errors: there is no such container, or it does not have the device.
pub(super) fn disconnect(engine: &Engine, device: &str, container: &str) -> Result<ExitCode> {
    let life = life(engine, container, "take a device out of")?;
    engine.networks.part_device(&life.running(), device)?;
    Ok(ExitCode::SUCCESS)
}

fn life(engine: &Engine, container: &str, doing: &str) -> Result<Life> {
    let (record, _) = find_running(&engine.dirs, container, doing)?;
    let problem = || anyhow::anyhow!("cannot {doing} container {container}: it is about to begin or to end");
    Life::of(engine, &record)?.ok_or_else(problem)
}
