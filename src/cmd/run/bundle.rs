//! The bundle: config.json, and the three files through which the container learns its own name and its resolvers.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oci_spec::runtime::User;
use rbox_net::EndpointRecord;
use rbox_net::hosts::{self, AddHost, Dns, Entry};
use rbox_runtime::Root;

use crate::cli::NetworkFlags;
use crate::creation::{Creation, Ingredients};
use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::record::{Claim, Intent};
use crate::report::Problem;
use crate::spec::{self, Host, Prepared, Request};

use super::network;

/// A container as it is meant: its configuration, still without the root file system and the network.
pub(crate) struct Draft {
    /// The configuration.
    pub(crate) prepared: Prepared,
    /// What it was made by: the machine, and the other containers that it needs.
    pub(crate) host: Host,
}

/// What a bundle is made from.
pub(super) struct Parts<'a> {
    pub(super) dirs: &'a Dirs,
    pub(super) intent: &'a Intent,
    pub(super) host: &'a Host,
    pub(super) claim: &'a Claim,
    pub(super) network: &'a [EndpointRecord],
    /// The network namespace to join; none where the network is the host's, or another container's.
    pub(super) sandbox_path: Option<PathBuf>,
    pub(super) root: &'a Root,
    /// The host as a container reaches it: `host-gateway`.
    pub(super) host_gateway: Option<Ipv4Addr>,
}

/// Draw up the configuration. `begins`: the program is to run now, so the containers that it needs must.
///
/// Errors: flags that contradict each other or ask for more than the machine has; a container that is needed is not
/// there.
pub(super) fn draft(engine: &Engine, id: &str, intent: &Intent, begins: bool) -> Result<Draft> {
    let host = Host::read(&intent.flags, &intent.caller)?;
    let host = network::others(engine, &intent.flags, host, begins)?;
    let root = match &intent.flags.files.rootfs {
        Some(directory) => intent.caller.directory.join(directory),
        None => engine.dirs.container(id).join("rootfs"),
    };
    let prepared = spec::build(&Request {
        id,
        root: &root,
        image: intent.image.as_ref(),
        flags: &intent.flags,
        host: &host,
        default_seccomp: &rbox_runtime::default_seccomp_profile,
    })?;
    Ok(Draft { prepared, host })
}

/// What `inspect` will tell of all this. `detached`: nobody is attached from the beginning.
///
/// Errors: a container that is linked is not there.
pub(super) fn creation(
    dirs: &Dirs,
    name: &str,
    (intent, draft): (&Intent, &Draft),
    detached: bool,
) -> Result<Creation> {
    let flags = &intent.flags;
    Ok(Creation::of(&Ingredients {
        flags,
        image: intent.image.as_ref().and_then(|image| image.config().as_ref()),
        host: &draft.host,
        prepared: &draft.prepared,
        detached,
        network_mode: network::mode_of(&draft.host).as_deref().unwrap_or_else(|| flags.network.mode()),
        links: &network::links_of(dirs, flags, name)?,
    }))
}

/// Write the bundle of a container.
///
/// Errors: a user or group that the image does not know; the disk.
pub(super) fn write(mut prepared: Prepared, parts: &Parts<'_>) -> Result<Prepared> {
    let directory = parts.dirs.container(&parts.claim.id);
    if let Some(path) = &parts.sandbox_path {
        spec::join_network(&mut prepared.spec, path);
    }
    resolve_users(&mut prepared, parts.root)?;
    add_files(&mut prepared, parts, &directory)?;
    for missing in &prepared.make_directories {
        fs::create_dir_all(missing).with_context(|| format!("cannot create {}", missing.display()))?;
    }
    let text = serde_json::to_vec(&prepared.spec).context("cannot write config.json")?;
    put(&directory.join("config.json"), &text)?;
    Ok(prepared)
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Names become numbers by the image's own /etc/passwd and /etc/group, never by the host's.
fn resolve_users(prepared: &mut Prepared, root: &Root) -> Result<()> {
    let Some(process) = prepared.spec.process_mut() else { return Ok(()) };
    let user = process.user_mut();
    let typed = user.username().clone().unwrap_or_default();
    let numbers = user.additional_gids().clone().unwrap_or_default();
    let added: Vec<String> = numbers.iter().map(ToString::to_string).chain(prepared.groups.iter().cloned()).collect();
    *user = resolve_user(root, &typed, &added)?;
    Ok(())
}

/// The user that `typed` names, with the groups of `--group-add`, by the container's own files.
///
/// Errors: a user or group that the container does not know.
pub(in crate::cmd) fn resolve_user(root: &Root, typed: &str, added: &[String]) -> Result<User> {
    let added = root.groups(added)?;
    let found = root.user(typed)?;
    let mut groups = found.groups;
    groups.extend(added);
    if !groups.contains(&found.gid) {
        // The first group is listed as well: programs that look only there find it (moby, CVE-2022-36109).
        groups.insert(0, found.gid);
    }
    groups.sort_unstable();
    groups.dedup();
    let mut user = User::default();
    user.set_uid(found.uid);
    user.set_gid(found.gid);
    user.set_username(None);
    user.set_additional_gids(Some(groups));
    Ok(user)
}

/// /etc/hosts, /etc/hostname and /etc/resolv.conf: ours, unless the user mounts his own there.
fn add_files(prepared: &mut Prepared, parts: &Parts<'_>, directory: &Path) -> Result<()> {
    let files = [
        ("/etc/hosts", directory.join("hosts"), hosts_text(parts, &prepared.hostname)?),
        ("/etc/hostname", directory.join("hostname"), format!("{}\n", prepared.hostname)),
        ("/etc/resolv.conf", directory.join("resolv.conf"), resolv_text(parts)),
    ];
    let mut mounts = prepared.spec.mounts().clone().unwrap_or_default();
    // A network that is joined comes with its names: they are that container's own files.
    let shared = parts.host.joined.as_ref().map(|joined| parts.dirs.container(&joined.owner));
    for (inside, outside, text) in files {
        let outside = match (&shared, outside.file_name()) {
            (Some(shared), Some(name)) => shared.join(name),
            _ => {
                put(&outside, text.as_bytes())?;
                outside
            }
        };
        if !mounts.iter().any(|mount| mount.destination() == Path::new(inside)) {
            mounts.push(spec::bind(&outside, Path::new(inside), parts.intent.flags.files.read_only));
        }
    }
    prepared.spec.set_mounts(Some(mounts));
    Ok(())
}

fn hosts_text(parts: &Parts<'_>, hostname: &str) -> Result<String> {
    let network = &parts.intent.flags.network;
    let mut added = Vec::new();
    for (name, address) in &network.add_host {
        let host: AddHost = format!("{name}={address}").parse()?;
        let gateway = match parts.host_gateway {
            None if address == "host-gateway" => {
                return Err(Problem::new(format!("--add-host {name}:{address}: network bridge has no gateway")).into());
            }
            known => known.unwrap_or(Ipv4Addr::UNSPECIFIED),
        };
        added.push(host.entry(gateway.into()));
    }
    added.extend(parts.host.links.iter().map(network::line_of));
    if network.is_host() {
        // The same network, so the same names.
        let text = fs::read("/etc/hosts").unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        return Ok(hosts::extend_hosts(&text, &added));
    }
    let domain = parts.intent.flags.container.domainname.as_deref().unwrap_or_default();
    let own: Vec<Entry> = parts.network.iter().flat_map(|record| own_lines(record, hostname, domain)).collect();
    Ok(hosts::hosts_file(&added, &own))
}

/// The lines of a container's own name, for what it has in one network.
pub(in crate::cmd) fn own_lines(record: &EndpointRecord, hostname: &str, domain: &str) -> Vec<Entry> {
    let Some(it) = &record.attachment else { return Vec::new() };
    let v6 = it.v6.as_ref().map(|v6| v6.address.into());
    let addresses = std::iter::once(it.address.into()).chain(v6);
    addresses.map(|address| Entry::own(address, hostname, domain)).collect()
}

/// What was said of name servers.
pub(in crate::cmd) fn dns(flags: &NetworkFlags) -> Dns {
    Dns { servers: flags.dns.clone(), search: flags.dns_search.clone(), options: flags.dns_option.clone() }
}

fn resolv_text(parts: &Parts<'_>) -> String {
    let flags = &parts.intent.flags.network;
    let dns = dns(flags);
    let host = hosts::host_resolv_conf();
    // With --egress it is the only one that can be asked.
    if flags.egress().is_some() || parts.network.iter().any(EndpointRecord::has_names) {
        return hosts::embedded_resolv_conf(&host, &dns);
    }
    if flags.is_host() { hosts::host_network_resolv_conf(&host, &dns) } else { hosts::resolv_conf(&host, &dns) }
}

/// The file of `--cidfile`. It goes again unless the container comes to be.
pub(crate) struct Cidfile {
    path: Option<PathBuf>,
}

impl Cidfile {
    /// Write it, never over a file that is there.
    ///
    /// Errors: it is there, or cannot be written.
    pub(super) fn write(path: Option<&PathBuf>, id: &str) -> Result<Cidfile> {
        let Some(path) = path else { return Ok(Cidfile { path: None }) };
        match fs::OpenOptions::new().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let problem =
                    Problem::new(format!("cannot write the container's id to {}: the file exists", path.display()));
                Err(problem.hint("remove it, or make sure that its container is gone").into())
            }
            file => file
                .and_then(|mut file| file.write_all(id.as_bytes()))
                .map(|()| Cidfile { path: Some(path.clone()) })
                .with_context(|| format!("cannot write the container's id to {}", path.display())),
        }
    }

    /// The container has come to be.
    pub(crate) fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Cidfile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}
