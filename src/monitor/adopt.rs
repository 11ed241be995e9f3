//! Taking up a container whose monitor was killed.
//!
//! Its first process is not our child, so its exit code is the kernel's to tell (pidfd_info, Linux 6.15) or lost. Its
//! outputs are FIFOs that we open by name. Its standard input ended with the monitor.

use anyhow::{Context, Result};
use rbox_net::{Endpoint, Owner};
use rbox_runtime::container::Container;
use rbox_runtime::terminal::Signals;

use super::ends;
use super::hub::{Hub, Life};
use crate::cmd::run::Lived;
use crate::engine::Engine;
use crate::record::{Claim, Record};
use crate::sweep;

/// The code of a program whose end nobody saw, and why.
const UNKNOWN: i32 = 255;
const WHY: &str = "its monitor was killed, and nobody saw how the program ended";

/// The rest of a life that another began: to the program's end, or what is left to do when it has ended already.
///
/// Errors: the state directory cannot be read or written.
pub(super) fn live(engine: &Engine, id: &str, hub: &mut Hub<'_>) -> Result<Lived> {
    let dirs = &engine.dirs;
    let claim = Claim::of(dirs, id)?.context("the container's claim is lost")?;
    let record = Record::load(dirs, id)?.context("the container's record is lost")?;
    engine.networks.hand_over(&Owner {
        container: claim.id,
        name: claim.name,
        pid: claim.pid,
        start_time: claim.start_time,
        boot_id: claim.boot_id,
    })?;
    let mut errors: Vec<anyhow::Error> = Vec::new();
    let container = match Container::load(&dirs.runtime(), id) {
        Err(rbox_runtime::Error::NotFound { .. }) => None,
        found => Some(found?),
    };
    let pidfd = container.as_ref().and_then(Container::pidfd);
    let mut endpoint = engine.networks.resume(id).unwrap_or_else(|error| {
        // Somebody took a port in between: relays are lost, the rules are still there.
        errors.push(error.into());
        None
    });
    let signals = Signals::hold(false).context("cannot hold signals back")?;
    hub.take(ends::find_again(&dirs.live(id)));
    hub.started();
    let mut code = None;
    if let (Some(container), Some(pidfd)) = (&container, &pidfd) {
        let stop_signal = record.stop_signal.parse().map_or(15, |signal: nix::sys::signal::Signal| signal as i32);
        hub.carry(Life {
            pidfd: std::os::fd::AsFd::as_fd(pidfd),
            signal: &|number| drop(container.kill(number, false)),
            stop_signal,
            relay: endpoint.as_mut().and_then(Endpoint::relay),
            signals: &signals,
            end_rest: &|| drop(container.kill(nix::sys::signal::Signal::SIGKILL as i32, true)),
        })?;
        code = rbox_runtime::container::exit_code(std::os::fd::AsFd::as_fd(pidfd));
    } else {
        hub.drain();
    }
    let noted = Record::update(dirs, id, |record| {
        if record.is_begun() {
            record.end(code.unwrap_or(UNKNOWN), code.is_none().then(|| WHY.to_owned()));
        }
    });
    let code = noted.as_ref().ok().and_then(|record| record.exit_code).unwrap_or(UNKNOWN);
    errors.extend(noted.err());
    let leaving = match endpoint {
        Some(endpoint) => Some(endpoint.leave()),
        None => {
            errors.extend(engine.networks.disconnect(id).into_iter().map(anyhow::Error::from));
            None
        }
    };
    let deleted = match container {
        Some(container) => container.delete(true).map(drop),
        // The other monitor was killed while it made the next life.
        None => sweep::remove_empty_state(dirs, id),
    };
    errors.extend(deleted.err().map(anyhow::Error::from));
    Ok(Lived::adopted(code, leaving, errors))
}
