//! The object of a container: Docker's keys in Docker's order (moby `api/types`, ContainerJSON of API 1.41), and true values.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rbox_images::{Snapshot, Store};
use rbox_net::{EndpointRecord, Networks};
use rbox_runtime::container::{Container, Status};
use serde_json::{Map, Value, json};

use crate::cli::value::NetworkFlag;
use crate::cmd::state;
use crate::creation::{self, Creation};
use crate::dirs::Dirs;
use crate::record::{Intent, Record, short};

/// How Docker writes a time that has not come: the zero of Go's time.Time.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A container, and those who know of it.
pub(super) struct About<'a> {
    pub(super) dirs: &'a Dirs,
    pub(super) store: &'a Store,
    pub(super) networks: &'a Networks,
    pub(super) record: &'a Record,
}

impl About<'_> {
    /// All that is known.
    pub(super) fn object(&self, with_size: bool) -> Result<Value> {
        let record = self.record;
        let made = Creation::load(self.dirs, &record.id)?;
        let made = made.with_context(|| format!("container {}: its record lacks how it was made", record.name))?;
        let made = match Intent::load(self.dirs, &record.id) {
            Ok(intent) => made.with_ports_of(&intent),
            // One that an older rbox made.
            Err(_) => made,
        };
        let live = Container::load(&self.dirs.runtime(), &record.id).ok();
        let live = live.filter(|it| matches!(it.status(), Status::Running | Status::Paused));
        let (driver, graph) = self.graph_driver();
        // Hosts, hostname and resolv.conf of a container that joined another's network are that one's.
        let files = self.dirs.container(&creation::network_owner(self.dirs, &record.id)?);
        let mut object = json!({
            "Id": record.id,
            "Created": record.created,
            "Path": record.command.first().cloned().unwrap_or_default(),
            "Args": record.command.get(1..).unwrap_or_default(),
            "State": self.state(live.as_ref())?,
            "Image": record.image_id.clone().unwrap_or_default(),
            "ResolvConfPath": files.join("resolv.conf"),
            "HostnamePath": files.join("hostname"),
            "HostsPath": files.join("hosts"),
            "LogPath": if record.streams.unlogged { String::new() } else { self.dirs.log(&record.id).display().to_string() },
            "Name": format!("/{}", record.name),
            "RestartCount": record.restart_count,
            "Driver": driver,
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            // Further programs have no ids here: none is known by one.
            "ExecIDs": null,
            "HostConfig": made.host_config,
            "GraphDriver": { "Data": graph, "Name": driver },
        });
        if with_size {
            self.put_sizes(&mut object)?;
        }
        object["Mounts"] = made.mounts.clone();
        object["Config"] = made.config.clone();
        object["NetworkSettings"] = self.network_settings(&made, live.as_ref())?;
        Ok(object)
    }

    fn state(&self, live: Option<&Container>) -> Result<Value> {
        let record = self.record;
        let status = state::Status::of(self.dirs, record)?;
        Ok(json!({
            "Status": status.name(),
            "Running": status.is_running(),
            "Paused": matches!(status, state::Status::Paused { .. }),
            "Restarting": status == state::Status::Restarting,
            "OOMKilled": record.oom_killed || live.is_some_and(|container| container.oom_kills() > 0),
            "Dead": status == state::Status::Dead,
            "Pid": live.and_then(Container::pid).unwrap_or(0),
            "ExitCode": match status {
                state::Status::Created => record.exit_code.unwrap_or(0),
                _ if record.finished.is_some() => state::Status::exit_code(record),
                state::Status::Exited => state::Status::exit_code(record),
                _ => 0,
            },
            "Error": record.error.clone().unwrap_or_default(),
            "StartedAt": record.started.clone().unwrap_or_else(|| NEVER.to_owned()),
            "FinishedAt": record.finished.as_ref().or(record.finished_before.as_ref()).cloned().unwrap_or_else(|| NEVER.to_owned()),
        }))
    }

    /// What holds its files, and where. The layers are mounted nowhere on the host, so there is no MergedDir.
    fn graph_driver(&self) -> (&'static str, Value) {
        let joined = |paths: &[std::path::PathBuf]| {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
        };
        match self.store.find_snapshot(&self.record.id) {
            Ok(Snapshot::Overlay { lower, upper, work }) => {
                ("overlay2", json!({ "LowerDir": joined(&lower), "UpperDir": upper, "WorkDir": work }))
            }
            // A copy of the image's layers, or the directory of --rootfs: a plain directory, as Docker's vfs.
            _ => ("vfs", Value::Null),
        }
    }

    fn put_sizes(&self, object: &mut Value) -> Result<()> {
        let (own, below) = match self.store.find_snapshot(&self.record.id) {
            Ok(Snapshot::Overlay { .. }) => {
                let image = self.record.image_id.as_deref().and_then(|id| self.store.find(id).ok());
                (self.store.snapshot_size(&self.record.id)?, image.map_or(0, |image| image.size))
            }
            Ok(Snapshot::Copy(_)) => (self.store.snapshot_size(&self.record.id)?, 0),
            Err(_) => (0, 0),
        };
        object["SizeRw"] = json!(own);
        object["SizeRootFs"] = json!(own.saturating_add(below));
        Ok(())
    }

    fn network_settings(&self, made: &Creation, live: Option<&Container>) -> Result<Value> {
        let mine = self.networks.of_container(&self.record.id)?;
        // Docker tells here of the default network alone.
        let default = mine.iter().find(|endpoint| endpoint.attachment.is_some() && endpoint.network == "bridge");
        let key = live.and_then(Container::pid).map(|pid| format!("/proc/{pid}/ns/net"));
        let ports = if live.is_some() { ports(made, &mine) } else { json!({}) };
        let hairpin = mine.iter().any(|endpoint| endpoint.attachment.is_some());
        let mut settings = json!({
            "Bridge": "",
            "HairpinMode": hairpin,
            "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0,
            "Ports": ports,
            "SandboxKey": key.unwrap_or_default(),
            "SecondaryIPAddresses": null,
            "SecondaryIPv6Addresses": null,
        });
        let place = place(default, None);
        for key in ["EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen"] {
            settings[key] = place[key].clone();
        }
        settings["IPv6Gateway"] = place["IPv6Gateway"].clone();
        settings["MacAddress"] = place["MacAddress"].clone();
        settings["Networks"] = self.places(made, &mine)?;
        Ok(settings)
    }

    /// Its place in each network; where it does not run, the networks that it will be in.
    fn places(&self, made: &Creation, mine: &[EndpointRecord]) -> Result<Value> {
        let mut all = BTreeMap::new();
        let wanted = match Intent::load(self.dirs, &self.record.id) {
            Ok(intent) => intent.flags.network.wanted(),
            // One that an older rbox made.
            Err(_) => Vec::new(),
        };
        for endpoint in mine.iter().filter(|endpoint| !endpoint.network_id.is_empty()) {
            let flag =
                wanted.iter().find(|flag| [&endpoint.network, &endpoint.network_id].contains(&&flag.key().to_owned()));
            let mut place = place(Some(endpoint), flag);
            place["NetworkID"] = json!(endpoint.network_id);
            all.insert(endpoint.network.clone(), place);
        }
        let joined = made.host_config.get("NetworkMode").and_then(Value::as_str).unwrap_or_default();
        if all.is_empty() && !joined.starts_with("container:") {
            for flag in &wanted {
                let mut place = place(None, Some(flag));
                place["NetworkID"] = json!(self.networks.find(flag.key()).map(|it| it.id).unwrap_or_default());
                all.insert(flag.name.clone(), place);
            }
        }
        Ok(json!(all))
    }
}

/// What a container has in one network (moby `network.EndpointSettings`), and what was asked for.
fn place(endpoint: Option<&EndpointRecord>, flag: Option<&NetworkFlag>) -> Value {
    let attachment = endpoint.and_then(|endpoint| endpoint.attachment.as_ref());
    let v6 = attachment.and_then(|it| it.v6.as_ref());
    let text = |text: Option<String>| text.unwrap_or_default();
    json!({
        "IPAMConfig": flag.map_or(Value::Null, addresses_asked_for),
        "Links": flag.map_or(Value::Null, |flag| list(flag.links.iter().map(|link| format!("{}:{}", link.other, link.alias)))),
        "Aliases": aliases(endpoint, flag),
        "NetworkID": "",
        "EndpointID": text(endpoint.map(|endpoint| endpoint.id.clone())),
        "Gateway": text(attachment.and_then(|it| it.gateway).map(|gateway| gateway.to_string())),
        "IPAddress": text(attachment.map(|it| it.address.to_string())),
        "IPPrefixLen": attachment.map_or(0, |it| it.subnet.prefix()),
        "IPv6Gateway": text(v6.and_then(|v6| v6.gateway).map(|gateway| gateway.to_string())),
        "GlobalIPv6Address": text(v6.map(|v6| v6.address.to_string())),
        "GlobalIPv6PrefixLen": v6.map_or(0, |v6| v6.subnet.prefix()),
        "MacAddress": text(attachment.map(|it| it.mac.to_string())),
        "DriverOpts": flag.and_then(|flag| flag.interface.as_ref()).map_or(Value::Null, |name| {
            json!({ "com.docker.network.endpoint.ifname": name })
        }),
    })
}

fn addresses_asked_for(flag: &NetworkFlag) -> Value {
    let mut asked = Map::new();
    asked.extend(flag.ip.map(|ip| ("IPv4Address".to_owned(), json!(ip))));
    asked.extend(flag.ip6.map(|ip| ("IPv6Address".to_owned(), json!(ip))));
    if asked.is_empty() { Value::Null } else { Value::Object(asked) }
}

/// Its further names: those that were typed, and where there is somebody who knows names its short id and its host name.
fn aliases(endpoint: Option<&EndpointRecord>, flag: Option<&NetworkFlag>) -> Value {
    let typed = flag.map(|flag| flag.aliases.clone()).unwrap_or_default();
    let named = endpoint.filter(|endpoint| endpoint.has_names());
    let id = named.map(|it| short(&it.owner.container).to_owned());
    let hostname = named.map(|it| it.hostname.clone()).filter(|it| id.as_ref() != Some(it) && !typed.contains(it));
    list(typed.into_iter().chain(id).chain(hostname))
}

fn list(texts: impl Iterator<Item = String>) -> Value {
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { Value::Null } else { json!(texts) }
}

/// Each exposed port, and where it is published; null where it is not.
fn ports(made: &Creation, mine: &[EndpointRecord]) -> Value {
    let exposed = made.config.get("ExposedPorts").and_then(Value::as_object);
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    if mine.iter().any(|endpoint| endpoint.attachment.is_some()) {
        all.extend(exposed.into_iter().flatten().map(|(port, _)| (port.clone(), Value::Null)));
    }
    for mapping in mine.iter().flat_map(|endpoint| &endpoint.ports) {
        for (inside, outside) in mapping.container.ports().zip(mapping.host.ports()) {
            let binding = json!({ "HostIp": mapping.host_ip.to_string(), "HostPort": outside.to_string() });
            let bindings = all.entry(format!("{inside}/{}", mapping.protocol)).or_insert(Value::Null);
            match bindings {
                Value::Array(list) => list.push(binding),
                none => *none = json!([binding]),
            }
        }
    }
    json!(all)
}
