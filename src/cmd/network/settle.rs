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

use crate::cli::NetworkFlags;
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
pub(crate) struct Life<'a> {
    dirs: &'a Dirs,
    networks: &'a Networks,
    pub(crate) claim: Claim,
    pub(crate) intent: Intent,
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

    pub(crate) fn running(&self) -> Running<'_> {
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
        // First who answers for names, then who is sent there.
        let unserved = tell(self.dirs, &self.claim)?;
        unserved.map(anyhow::Error::msg).iter().for_each(report::warn);
        // What a container does with its own files keeps nobody from taking it off a network.
        self.settle_files(half, way).iter().for_each(report::warn);
        self.show_ports()
    }

    /// The same of its ports: who holds and relays them, and `ps`. Answers why one that is new cannot be held.
    ///
    /// Errors: the disk.
    pub(crate) fn settle_ports(&self) -> Result<Option<String>> {
        let unserved = tell(self.dirs, &self.claim)?;
        self.show_ports()?;
        Ok(unserved)
    }

    /// Have an endpoint that is half for its ports keep those that it keeps in any case, and the next start too.
    ///
    /// Errors: the kernel, the packet filter, the disk: then the next sweep tries again.
    pub(crate) fn keep(&self, changes: &Changes, half: &EndpointRecord) -> Result<()> {
        let words = half.kept().map(|kept| kept.words.clone()).unwrap_or_default();
        change_flags(self.dirs, &self.claim.id, |flags| flags.take_port_words(words))?;
        let kept = match self.networks.keep(changes, &self.running(), half) {
            // With the container all its ports are gone.
            Err(rbox_net::Error::Gone { .. }) => return Ok(()),
            kept => kept?,
        };
        let unserved = self.settle_ports()?;
        unserved.map(anyhow::Error::msg).iter().for_each(report::warn);
        Ok(self.networks.complete(changes, &kept)?)
    }

    fn show_ports(&self) -> Result<()> {
        let (id, flags) = (&self.claim.id, &self.intent.flags);
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
    let intent = change_flags(dirs, id, |flags| {
        let mut networks = flags.wanted();
        act(&mut networks);
        flags.settle(networks);
    })?;
    note(dirs, id, &intent)
}

/// Change anything of the network that a container is started with. Who calls this holds back all others who do.
///
/// Errors: what it is made of is lost; the disk.
pub(crate) fn change_flags(dirs: &Dirs, id: &str, act: impl FnOnce(&mut NetworkFlags)) -> Result<Intent> {
    let _lock = sweep::lock(dirs)?;
    let mut intent = Intent::load(dirs, id)?;
    act(&mut intent.flags.network);
    intent.save(dirs, id)?;
    Ok(intent)
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

/// Have running containers leave the networks that they were half in when whoever worked at that was killed, and the ports
/// that were half published.
///
/// Errors: those of one container do not keep the others.
pub(crate) fn mend(dirs: &Dirs, networks: &Networks) -> Vec<anyhow::Error> {
    match networks.lock_changes() {
        Ok(changes) => mend_under(dirs, networks, &changes),
        Err(error) => vec![error.into()],
    }
}

/// The same, where nobody else changes anything meanwhile.
pub(crate) fn mend_under(dirs: &Dirs, networks: &Networks, changes: &Changes) -> Vec<anyhow::Error> {
    let halves = match networks.abandoned(changes, &|owner| sweep::is_alive(dirs, owner)) {
        Ok(halves) => halves,
        Err(error) => return vec![error.into()],
    };
    let undo = |half: &EndpointRecord| match Life::of(dirs, networks, &half.owner.container)? {
        Some(life) if half.kept().is_some() => life.keep(changes, half),
        Some(life) => life.leave(changes, half, |flag| [&*half.network, &*half.network_id].contains(&flag.key())),
        // Who holds it is about to make its networks, or to take them apart.
        None => Ok(()),
    };
    halves.iter().filter_map(|half| undo(half).err()).collect()
}

/// Tell who holds the container that its networks are others now, and wait until they are served: not for ever, since it may
/// be an `rbox run` that somebody has suspended. Answers what cannot be served.
fn tell(dirs: &Dirs, claim: &Claim) -> Result<Option<String>> {
    // Nobody holds it: the next monitor reads what is on disk.
    let Some(connection) = state::knock(dirs, &claim.id)? else { return Ok(None) };
    if wire::say(connection.as_fd(), Ask::Networks).is_err() {
        return Ok(None);
    }
    let deadline = Instant::now() + SERVED_WITHIN;
    loop {
        if !state::readable(&connection, Some(deadline))? {
            let why = "who holds it does not answer, and serves its names and ports as before until it does";
            report::warn(&anyhow::Error::msg(format!("container {}: {why}", claim.name)));
            return Ok(None);
        }
        match wire::hear(connection.as_fd(), true).context("cannot hear from the container's monitor")? {
            Some(packet) if packet.is_empty() => return Ok(None),
            Some(packet) => match Tell::parse(&packet) {
                Some(Tell::Served("")) => return Ok(None),
                Some(Tell::Served(why)) => return Ok(Some(why.to_owned())),
                _ => {}
            },
            None => {}
        }
    }
}
