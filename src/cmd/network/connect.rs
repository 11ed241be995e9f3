//! `rbox network connect` and `disconnect`: now, where the container runs, and for its next start.

mod device;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rbox_net::hosts::{self, Dns};
use rbox_net::{EndpointRecord, MacAddress, Network, Owner, Request, Running};
use rbox_runtime::container::{Container, Status};

use crate::cli::value::NetworkFlag;
use crate::cli::{Global, NetworkConnectArgs, NetworkDisconnectArgs};
use crate::cmd::run::network::{check_names, pinned, request_of, wanted};
use crate::cmd::run::{bundle, ports};
use crate::cmd::state;
use crate::engine::Engine;
use crate::find::find;
use crate::monitor::wire::{self, Ask, Tell};
use crate::record::{self, Claim, Intent, Record};
use crate::report::{self, Problem};
use crate::{spec, sweep};

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
    check(&engine, &record, &network, &flag)?;
    if let Some(life) = Life::of(&engine, &record)? {
        engine.networks.connect(&life.running(), &wanted(&engine, &flag)?)?;
        life.settle(&engine, &network, None)?;
    }
    change(&engine, &record, |networks| {
        networks.retain(|other| other.key() != flag.key());
        networks.push(flag.clone());
    })?;
    Ok(ExitCode::SUCCESS)
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
    // One that has been removed can be left too: then it is known by what was typed at first.
    let typed = |flag: &NetworkFlag| flag.name == *typed_network || flag.id.as_ref() == Some(typed_network);
    let intent = Intent::load(&engine.dirs, &record.id)?;
    let known = intent.flags.network.wanted();
    let network = match engine.networks.find(typed_network) {
        Err(error) => match known.iter().any(typed) {
            true => None,
            false => return Err(error.into()),
        },
        Ok(network) => Some(network),
    };
    let is_meant = |flag: &NetworkFlag| match &network {
        // By its name also one that has been removed, and another is called so by now.
        Some(network) => [&network.name, &network.id].contains(&&flag.key().to_owned()) || typed(flag),
        None => typed(flag),
    };
    let life = Life::of(&engine, &record)?;
    let mut was_in = known.iter().any(is_meant);
    if let (Some(life), Some(network)) = (&life, &network) {
        let before = engine.networks.of_container(&record.id)?;
        if let Some(endpoint) = before.iter().find(|endpoint| endpoint.network_id == network.id) {
            was_in = true;
            engine.networks.part(&life.running(), network)?;
            life.settle(&engine, network, Some(endpoint))?;
        }
    }
    if !was_in && !args.force {
        let problem = Problem::new(format!("container {}: it is not in network {}", record.name, typed_network));
        return Err(problem.into());
    }
    change(&engine, &record, |networks| networks.retain(|flag| !is_meant(flag)))?;
    Ok(ExitCode::SUCCESS)
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

/// Change the networks that a container is started with.
fn change(engine: &Engine, record: &Record, act: impl Fn(&mut Vec<NetworkFlag>)) -> Result<()> {
    let dirs = &engine.dirs;
    let _lock = sweep::lock(dirs)?;
    let mut intent = Intent::load(dirs, &record.id)?;
    let flags = &mut intent.flags.network;
    let mut networks = flags.wanted();
    act(&mut networks);
    flags.settle(networks);
    let names = flags.names();
    intent.save(dirs, &record.id)?;
    Record::update(dirs, &record.id, |record| record.network = names)?;
    Ok(())
}

/// A container that runs.
struct Life {
    record: Record,
    request: Request,
    exposed: std::collections::BTreeSet<String>,
    dns: Dns,
    domain: String,
    netns: File,
    pid: i32,
    maker: Owner,
}

impl Life {
    /// Nothing where it does not run.
    fn of(engine: &Engine, record: &Record) -> Result<Option<Life>> {
        let dirs = &engine.dirs;
        let Ok(container) = Container::load(&dirs.runtime(), &record.id) else { return Ok(None) };
        let runs = matches!(container.status(), Status::Running | Status::Paused);
        let (Some(pid), Some(claim)) = (container.pid().filter(|_| runs), Claim::of(dirs, &record.id)?) else {
            return Ok(None);
        };
        let path = format!("/proc/{pid}/ns/net");
        let netns = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        let intent = Intent::load(dirs, &record.id)?;
        let flags = &intent.flags;
        let network = &flags.network;
        Ok(Some(Life {
            record: record.clone(),
            request: request_of(engine, flags, &claim, intent.image.as_ref())?,
            exposed: spec::exposed(flags, intent.image.as_ref()),
            dns: bundle::dns(network),
            domain: flags.container.domainname.clone().unwrap_or_default(),
            netns,
            pid,
            maker: record::this_process()?,
        }))
    }

    fn running(&self) -> Running<'_> {
        Running { netns: self.netns.as_fd(), pid: self.pid, request: &self.request, maker: &self.maker }
    }

    /// Have everybody know of what has changed: who serves its network, its files, and `ps`.
    fn settle(&self, engine: &Engine, network: &Network, gone: Option<&EndpointRecord>) -> Result<()> {
        let dirs = &engine.dirs;
        tell(engine, &self.record.id)?;
        let mine = engine.networks.of_container(&self.record.id)?;
        let directory = dirs.container(&self.record.id);
        // Written over, and not put in their place: the container sees these very files.
        let hosts = directory.join("hosts");
        let text = fs::read_to_string(&hosts).with_context(|| format!("cannot read {}", hosts.display()))?;
        let lines = |record: &EndpointRecord| bundle::own_lines(record, &self.request.hostname, &self.domain);
        let text = match gone {
            Some(endpoint) => {
                let addresses: Vec<_> = lines(endpoint).iter().map(|line| line.address).collect();
                hosts::shorten_hosts(&text, &addresses)
            }
            None => {
                let new = mine.iter().find(|record| record.network_id == network.id);
                hosts::extend_hosts(&text, &new.map(lines).unwrap_or_default())
            }
        };
        write_over(&hosts, &text)?;
        if gone.is_none() && mine.iter().any(EndpointRecord::has_names) {
            let text = hosts::embedded_resolv_conf(&hosts::host_resolv_conf(), &self.dns);
            write_over(&directory.join("resolv.conf"), &text)?;
        }
        let published: Vec<_> = mine.iter().flat_map(|record| record.ports.clone()).collect();
        let shown = ports::shown(&published, &self.exposed);
        Record::update(dirs, &self.record.id, |record| record.ports = shown)?;
        Ok(())
    }
}

fn write_over(path: &std::path::Path, text: &str) -> Result<()> {
    let doing = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new().write(true).truncate(true).open(path).with_context(doing)?;
    file.write_all(text.as_bytes()).with_context(doing)
}

/// Tell who holds the container that its networks are others now, and wait until they are served.
fn tell(engine: &Engine, id: &str) -> Result<()> {
    // Nobody holds it: the next monitor reads what is on disk.
    let Some(connection) = state::knock(&engine.dirs, id)? else { return Ok(()) };
    if wire::say(connection.as_fd(), Ask::Networks).is_err() {
        return Ok(());
    }
    loop {
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
