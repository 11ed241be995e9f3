//! What it means to everybody else that a running container is in one network more, or in one less: its files, who serves
//! its names and ports, `ps`, and its next start.
//!
//! ```text
//!   connect     endpoint half ──▶ settle: it joins  ──▶ change: the next start ──▶ endpoint whole
//!   disconnect  endpoint half ──▶ settle: it leaves ──▶ change: the next start ──▶ endpoint gone
//! ```
//!
//! As long as the endpoint is half, the next sweep has the container leave that network with all that belongs to it,
//! whichever of both was begun by one who was killed over it ([`mend`]).

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rbox_net::hosts::{self, Dns, Entry};
use rbox_net::{Changes, EndpointRecord, Networks, Owner, Running};
use rbox_runtime::container::{Container, Status};

use crate::cli::value::NetworkFlag;
use crate::cmd::run::network::owner;
use crate::cmd::run::{bundle, namespace, ports};
use crate::cmd::state;
use crate::dirs::Dirs;
use crate::monitor::wire::{self, Ask, Tell};
use crate::record::{self, Claim, Intent, Record};
use crate::{in_place, report, spec, sweep};

/// A monitor answers in some milliseconds.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// Which way a container goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Joins,
    Leaves,
}

/// A container that runs.
pub(super) struct Life<'a> {
    dirs: &'a Dirs,
    networks: &'a Networks,
    pub(super) claim: Claim,
    pub(super) intent: Intent,
    netns: File,
    owner: Owner,
    maker: Owner,
}

impl<'a> Life<'a> {
    /// Nothing where it does not run.
    ///
    /// Errors: what it is made of is lost; its network namespace cannot be opened.
    pub(super) fn of(dirs: &'a Dirs, networks: &'a Networks, id: &str) -> Result<Option<Life<'a>>> {
        let Ok(container) = Container::load(&dirs.runtime(), id) else { return Ok(None) };
        let runs = matches!(container.status(), Status::Running | Status::Paused);
        // Before its program has begun its first process may still be in the host's network.
        let has_begun = Record::load(dirs, id)?.is_some_and(|record| record.is_begun());
        let (Some(pid), Some(claim)) = (container.pid().filter(|_| runs && has_begun), Claim::of(dirs, id)?) else {
            return Ok(None);
        };
        let netns = namespace(pid).with_context(|| format!("cannot open the network of container {}", claim.name))?;
        let (intent, owner, maker) = (Intent::load(dirs, id)?, owner(&claim), record::this_process()?);
        Ok(Some(Life { dirs, networks, claim, intent, netns, owner, maker }))
    }

    pub(super) fn running(&self) -> Running<'_> {
        Running { netns: self.netns.as_fd(), owner: &self.owner, maker: &self.maker }
    }

    /// Take the container out of a network, with all that belongs to that. What fails is left to the next sweep.
    ///
    /// Errors: the kernel, the packet filter, the disk.
    pub(super) fn leave(
        &self,
        changes: &Changes,
        endpoint: &EndpointRecord,
        is_meant: impl Fn(&NetworkFlag) -> bool,
    ) -> Result<()> {
        let half = self.networks.part(changes, &self.running(), endpoint)?;
        if half.device.is_none() {
            self.settle(&half, Way::Leaves)?;
            change(self.dirs, &self.claim.id, |all| all.retain(|flag| !is_meant(flag)))?;
        }
        Ok(self.networks.unplug(changes, &self.running(), &half)?)
    }

    /// Have everybody know of it: who serves its network, its files, and `ps`. It can be done twice.
    ///
    /// Errors: the disk.
    pub(super) fn settle(&self, half: &EndpointRecord, way: Way) -> Result<()> {
        let id = &self.claim.id;
        // First who answers for names, then who is sent there.
        tell(self.dirs, &self.claim)?;
        // What a container does with its own files keeps nobody from taking it off a network.
        self.settle_files(half, way).iter().for_each(report::warn);
        let flags = &self.intent.flags;
        let mine = self.networks.staying(id)?;
        let published: Vec<_> = mine.iter().flat_map(|record| record.ports.clone()).collect();
        let exposed: BTreeSet<String> = spec::exposed(flags, self.intent.image.as_ref());
        Record::update(self.dirs, id, |record| record.ports = ports::shown(&published, &exposed))?;
        Ok(())
    }

    /// The files that the container sees. Errors are collected.
    fn settle_files(&self, half: &EndpointRecord, way: Way) -> Vec<anyhow::Error> {
        let directory = self.dirs.container(&self.claim.id);
        let lines = self.lines(half);
        let hosts = in_place::change(&directory.join("hosts"), |text| match way {
            Way::Joins => hosts::extend_hosts(&hosts::shorten_hosts(text, &lines), &lines),
            Way::Leaves => hosts::shorten_hosts(text, &lines),
        });
        // Once it is there, a name server stays.
        let resolv_conf = match way == Way::Joins && half.has_names() {
            true => {
                let dns: Dns = bundle::dns(&self.intent.flags.network);
                let text = hosts::embedded_resolv_conf(&hosts::host_resolv_conf(), &dns);
                in_place::change(&directory.join("resolv.conf"), |_| text)
            }
            false => Ok(()),
        };
        [hosts, resolv_conf].into_iter().filter_map(Result::err).collect()
    }

    /// What an endpoint puts into the container's hosts file.
    fn lines(&self, half: &EndpointRecord) -> Vec<Entry> {
        let domain = self.intent.flags.container.domainname.as_deref().unwrap_or_default();
        bundle::own_lines(half, &half.hostname, domain)
    }
}

/// Change the networks that a container is started with.
///
/// Errors: what it is made of is lost; the disk.
pub(super) fn change(dirs: &Dirs, id: &str, act: impl FnOnce(&mut Vec<NetworkFlag>)) -> Result<()> {
    let _lock = sweep::lock(dirs)?;
    let mut intent = Intent::load(dirs, id)?;
    let flags = &mut intent.flags.network;
    let mut networks = flags.wanted();
    act(&mut networks);
    flags.settle(networks);
    intent.save(dirs, id)?;
    note(dirs, id, &intent)
}

/// Have `ps` show the networks that a container is started with. The claim, or an endpoint that is half, stands for it until
/// this is done.
///
/// Errors: the disk.
fn note(dirs: &Dirs, id: &str, intent: &Intent) -> Result<()> {
    let names = intent.flags.network.names();
    Record::update(dirs, id, |record| record.network = names)?;
    Ok(())
}

/// The same for one whose networks somebody was killed over changing. Nothing is written where nothing was changed.
///
/// Errors: the disk.
pub(crate) fn note_again(dirs: &Dirs, record: &Record) -> Result<()> {
    let intent = Intent::load(dirs, &record.id)?;
    if intent.flags.network.names() == record.network { Ok(()) } else { note(dirs, &record.id, &intent) }
}

/// Have running containers leave the networks that they were half in when whoever worked at that was killed.
///
/// Errors: those of one container do not keep the others.
pub(crate) fn mend(dirs: &Dirs, networks: &Networks, alive: &dyn Fn(&Owner) -> bool) -> Vec<anyhow::Error> {
    let found = networks.lock_changes().and_then(|changes| Ok((networks.abandoned(&changes, alive)?, changes)));
    let (halves, changes) = match found {
        Ok(found) => found,
        Err(error) => return vec![error.into()],
    };
    let leave = |half: &EndpointRecord| match Life::of(dirs, networks, &half.owner.container)? {
        Some(life) => life.leave(&changes, half, |flag| [&*half.network, &*half.network_id].contains(&flag.key())),
        // Who holds it is about to make its networks, or to take them apart.
        None => Ok(()),
    };
    halves.iter().filter_map(|half| leave(half).err()).collect()
}

/// Tell who holds the container that its networks are others now, and wait until they are served: not for ever, since it may
/// be an `rbox run` that somebody has suspended.
fn tell(dirs: &Dirs, claim: &Claim) -> Result<()> {
    // Nobody holds it: the next monitor reads what is on disk.
    let Some(connection) = state::knock(dirs, &claim.id)? else { return Ok(()) };
    if wire::say(connection.as_fd(), Ask::Networks).is_err() {
        return Ok(());
    }
    let deadline = Instant::now() + SERVED_WITHIN;
    loop {
        if !state::readable(&connection, Some(deadline))? {
            let why = "who holds it does not answer, and serves its names and ports as before until it does";
            report::warn(&anyhow::Error::msg(format!("container {}: {why}", claim.name)));
            return Ok(());
        }
        match wire::hear(connection.as_fd(), true).context("cannot hear from the container's monitor")? {
            Some(packet) if packet.is_empty() => return Ok(()),
            Some(packet) => match Tell::parse(&packet) {
                Some(Tell::Served("")) => return Ok(()),
                Some(Tell::Served(why)) => {
                    report::warn(&anyhow::Error::msg(why.to_owned()));
                    return Ok(());
                }
                _ => {}
            },
            None => {}
        }
    }
}
