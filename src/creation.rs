//! What a container was made from, in Docker's words: the `Config` and `HostConfig` of `inspect`.
//!
//! Written once into the bundle, when the container is made; `update` changes the limits in it. What changes by itself
//! (state, addresses, ports) is not here: [`crate::cmd`]'s `inspect` asks those who know. Nor are the ports that were asked
//! for, which `publish` changes: each port of a range is named there, and a start is not to wait for ten thousand of them. The keys are those of
//! Docker's API 1.41 (moby `api/types/container`), in its order.

pub(crate) mod host_config;

use std::collections::BTreeSet;

use anyhow::Result;
use oci_spec::image::Config;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::cli::RunArgs;
use crate::cli::value::MountFlag;
use crate::dirs::Dirs;
use crate::record::{self, Intent};
use crate::spec::{self, Host, Prepared};

/// The unchanging part of what `inspect` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Creation {
    /// What the program is given: `Config`.
    pub(crate) config: Value,
    /// What of the host it uses: `HostConfig`.
    pub(crate) host_config: Value,
    /// The bind mounts: `Mounts`.
    pub(crate) mounts: Value,
}

/// What a [`Creation`] is told from.
pub(crate) struct Ingredients<'a> {
    /// What was typed.
    pub(crate) flags: &'a RunArgs,
    /// The image's configuration; none with `--rootfs`.
    pub(crate) image: Option<&'a Config>,
    /// What the machine has.
    pub(crate) host: &'a Host,
    /// What was made of these.
    pub(crate) prepared: &'a Prepared,
    /// Whether nobody is attached from the beginning (`run -d`).
    pub(crate) detached: bool,
    /// `HostConfig.NetworkMode`.
    pub(crate) network_mode: &'a str,
    /// `HostConfig.Links`: `/web:/app/db`.
    pub(crate) links: &'a [String],
}

impl Creation {
    /// Tell it.
    pub(crate) fn of(from: &Ingredients<'_>) -> Creation {
        Creation { config: config(from), host_config: host_config::host_config(from), mounts: mounts(from) }
    }

    /// Write it into the bundle of container `id`.
    ///
    /// Errors: the directory cannot be written.
    pub(crate) fn save(&self, dirs: &Dirs, id: &str) -> Result<()> {
        record::write_whole(&dirs.container(id).join("creation.json"), self)
    }

    /// That of container `id`; nothing for one that an older rbox made.
    ///
    /// Errors: it cannot be read.
    pub(crate) fn load(dirs: &Dirs, id: &str) -> Result<Option<Creation>> {
        record::read(&dirs.container(id).join("creation.json"))
    }

    /// The same, with the ports that are asked for by now.
    pub(crate) fn with_ports_of(mut self, intent: &Intent) -> Creation {
        let flags = &intent.flags;
        self.host_config["PortBindings"] = host_config::port_bindings(&flags.network.publish);
        self.host_config["PublishAllPorts"] = json!(flags.network.publish_all);
        if !flags.network.shapes.is_empty() {
            self.host_config["Shapes"] = host_config::shapes(&flags.network.shapes);
        }
        if let Value::Object(config) = &mut self.config {
            let exposed = exposed(flags, &spec::exposed(flags, intent.image.as_ref()));
            config.shift_remove("ExposedPorts");
            if !exposed.is_empty() {
                let place = config.keys().position(|key| key == "Tty").unwrap_or(config.len());
                let ports = exposed.into_iter().map(|port| (port, json!({}))).collect();
                config.shift_insert(place, "ExposedPorts".to_owned(), ports);
            }
        }
        self
    }

    /// A text of `Config`; empty where there is none.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.config.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A list of texts of `Config`.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        texts(self.config.get(key))
    }

    /// A list of texts of `HostConfig`.
    pub(crate) fn host_list(&self, key: &str) -> Vec<String> {
        texts(self.host_config.get(key))
    }
}

/// The container whose network, and whose hosts, hostname and resolv.conf, container `id` uses: itself, unless it has
/// joined another's.
///
/// Errors: what is remembered of one of them cannot be read.
pub(crate) fn network_owner(dirs: &Dirs, id: &str) -> Result<String> {
    let mut id = id.to_owned();
    while let Some(made) = Creation::load(dirs, &id)? {
        let mode = made.host_config.get("NetworkMode").and_then(Value::as_str).unwrap_or_default();
        match mode.strip_prefix("container:") {
            Some(target) => id = target.to_owned(),
            None => break,
        }
    }
    Ok(id)
}

/// Whether the network that container `id` uses may not reach everything (`--egress`).
///
/// Errors: what is remembered of it cannot be read.
pub(crate) fn is_guarded(dirs: &Dirs, id: &str) -> Result<bool> {
    let made = Creation::load(dirs, &network_owner(dirs, id)?)?;
    Ok(made.is_some_and(|made| made.host_config.get("Egress").is_some()))
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Go writes a list that nobody filled as null.
fn list<T: Serialize>(items: &[T]) -> Value {
    if items.is_empty() { Value::Null } else { json!(items) }
}

fn config(from: &Ingredients<'_>) -> Value {
    let Ingredients { flags, image, prepared, .. } = from;
    let of_image = |pick: fn(&Config) -> Option<String>| image.and_then(pick).unwrap_or_default();
    let terminal = &flags.terminal;
    let mut config = json!({
        "Hostname": prepared.hostname,
        "Domainname": flags.container.domainname.clone().unwrap_or_default(),
        "User": flags.container.user.clone().unwrap_or_else(|| of_image(|image| image.user().clone())),
        "AttachStdin": terminal.interactive && !from.detached,
        "AttachStdout": !from.detached,
        "AttachStderr": !from.detached,
    });
    let volumes: Map<String, Value> =
        image.and_then(|image| image.volumes().clone()).into_iter().flatten().map(|path| (path, json!({}))).collect();
    let directory = flags.container.workdir.clone().unwrap_or_else(|| of_image(|image| image.working_dir().clone()));
    let rest = json!({
        "Tty": terminal.tty,
        "OpenStdin": terminal.interactive,
        "StdinOnce": terminal.interactive && !from.detached,
        "Env": prepared.variables,
        "Cmd": list(&prepared.command),
        "Image": flags.image().unwrap_or_default(),
        "Volumes": if volumes.is_empty() { Value::Null } else { Value::Object(volumes) },
        "WorkingDir": directory,
        "Entrypoint": list(&prepared.entrypoint),
    });
    extend(&mut config, rest);
    if let Some(mac) = flags.network.mac_address {
        config["MacAddress"] = json!(mac.to_string());
    }
    extend(&mut config, json!({ "OnBuild": null, "Labels": prepared.labels }));
    if flags.container.stop_signal.is_some() || image.is_some_and(|image| image.stop_signal().is_some()) {
        config["StopSignal"] = json!(prepared.stop_signal.to_string());
    }
    if let Some(seconds) = flags.container.stop_timeout {
        config["StopTimeout"] = json!(seconds);
    }
    config
}

/// What the image, `--expose` and `-p` say: a published port is an exposed one.
fn exposed(flags: &RunArgs, exposed: &BTreeSet<String>) -> BTreeSet<String> {
    let publish = flags.network.publish.iter().filter_map(|text| text.parse::<rbox_net::Publish>().ok());
    let ports =
        publish.flat_map(|publish| publish.container.ports().map(move |port| format!("{port}/{}", publish.protocol)));
    let exposed = exposed.iter().filter_map(|text| text.parse::<rbox_net::Expose>().ok());
    let each = exposed.flat_map(|expose| expose.ports.ports().map(move |port| format!("{port}/{}", expose.protocol)));
    ports.chain(each).collect()
}

fn extend(object: &mut Value, with: Value) {
    if let (Value::Object(object), Value::Object(with)) = (object, with) {
        object.extend(with);
    }
}

fn mounts(from: &Ingredients<'_>) -> Value {
    let files = &from.flags.files;
    let bind = |flag: &MountFlag| match flag {
        MountFlag::Bind(bind) => json!({
            "Type": "bind",
            "Source": from.host.directory.join(&bind.source),
            "Destination": bind.target,
            "Mode": bind.modes,
            "RW": !bind.read_only,
            "Propagation": bind.propagation.name(),
        }),
        MountFlag::Tmpfs(tmpfs) => json!({
            "Type": "tmpfs",
            "Source": "",
            "Destination": tmpfs.target,
            "Mode": "",
            "RW": !tmpfs.options.iter().any(|option| option == "ro"),
            "Propagation": "",
        }),
    };
    files.volume.iter().chain(&files.mount).map(bind).collect()
}
