//! Taking up a container whose monitor was killed.
//!
//! Its first process is not our child, so its exit code is the kernel's to tell (pidfd_info, Linux 6.15) or lost. Its
//! outputs are FIFOs that we open by name. Its standard input ended with the monitor.

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use rbox_net::dns::Upstream;
use rbox_net::egress::Policy;
use rbox_net::{Endpoints, Naming, Owner, hosts};
use rbox_runtime::container::Container;
use rbox_runtime::terminal::Signals;

use super::ends;
use super::hub::{Hub, Life};
use crate::cmd::run::{Lived, namespace};
use crate::engine::Engine;
use crate::record::{Claim, Intent, Record};
use crate::{creation, in_place, sweep};

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
        netns: None,
    })?;
    let mut errors: Vec<anyhow::Error> = Vec::new();
    let container = match Container::load(&dirs.runtime(), id) {
        Err(rbox_runtime::Error::NotFound { .. }) => None,
        found => Some(found?),
    };
    let pidfd = container.as_ref().and_then(Container::pidfd);
    let pid = container.as_ref().and_then(Container::pid);
    let netns = || namespace(pid.ok_or(std::io::ErrorKind::NotFound)?);
    let (mut endpoints, unserved) = endpoints(engine, id, netns().ok())?;
    errors.extend(unserved);
    let signals = Signals::hold(false).context("cannot hold signals back")?;
    hub.take(ends::find_again(&dirs.live(id)));
    hub.started();
    let mut code = None;
    if let (Some(container), Some(pidfd)) = (&container, &pidfd) {
        let stop_signal = record.stop_signal.parse().map_or(15, |signal: nix::sys::signal::Signal| signal as i32);
        hub.carry(Life {
            pidfd: pidfd.as_fd(),
            signal: &|number| drop(container.kill(number, false)),
            stop_signal,
            service: Some(endpoints.service()),
            networks: &engine.networks,
            container: id,
            netns: &netns,
            signals: &signals,
            end_rest: &|| drop(container.kill(nix::sys::signal::Signal::SIGKILL as i32, true)),
        })?;
        code = rbox_runtime::container::exit_code(pidfd.as_fd());
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
    let leaving = Some(endpoints.leave());
    let deleted = match container {
        Some(container) => container.delete(true).map(drop),
        // The other monitor was killed while it made the next life.
        None => sweep::remove_empty_state(dirs, id),
    };
    errors.extend(deleted.err().map(anyhow::Error::from));
    Ok(Lived::adopted(code, leaving, errors))
}

/// What another has connected, and what of it cannot be served.
fn endpoints(engine: &Engine, id: &str, netns: Option<File>) -> Result<(Endpoints, Vec<anyhow::Error>)> {
    let intent = Intent::load(&engine.dirs, id);
    let (dns, egress) = match &intent {
        Ok(intent) => (intent.flags.network.dns.clone(), intent.flags.network.egress()),
        // The rules that are there go on to hold; which names they allow is not known.
        Err(_) => (Vec::new(), creation::is_guarded(&engine.dirs, id).unwrap_or(false).then(Policy::default)),
    };
    let resolv_conf = in_place::read(&engine.dirs.container(id).join("resolv.conf")).unwrap_or_default();
    let is_asked = hosts::is_embedded(&resolv_conf);
    let names = netns.as_ref().map(|netns| Naming {
        netns: netns.as_fd(),
        upstream: Upstream::of(&dns, engine.config.domain()),
        is_asked,
        egress,
    });
    let (endpoints, errors) = engine.networks.resume(id, names)?;
    Ok((endpoints, errors.into_iter().map(anyhow::Error::from).collect()))
}
