//! config.json: read one, and write one to begin with.

use super::arguments::SpecFile;
use super::log::Log;
use rbox_runtime::config::Config;
use rbox_runtime::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Read a file that has the form of config.json, or of a part of it; what the specification wants warned of is logged.
pub(super) fn load<T: DeserializeOwned>(path: &Path, log: &Log) -> Result<T> {
    Ok(without_warnings(Config::read(path)?, log))
}

/// The content, with the warnings logged.
pub(super) fn without_warnings<T>(config: Config<T>, log: &Log) -> T {
    for warning in &config.warnings {
        log.warning(warning);
    }
    config.content
}

/// Write the config.json that `runc spec` writes; never over one that is there.
pub(super) fn write(flags: &SpecFile) -> Result<()> {
    let path = flags.bundle.as_deref().unwrap_or(Path::new(".")).join("config.json");
    let doing = || format!("write {}", path.display());
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::InvalidSpec { path: path.display().to_string(), why: "is there already".to_owned() });
        }
        file => file.map_err(|source| Error::Os { doing: doing(), source })?,
    };
    let text = if flags.rootless { rootless() } else { USUAL.to_vec() };
    file.write_all(&text).map_err(|source| Error::Os { doing: doing(), source })
}

const USUAL: &[u8] = include_bytes!("config.json");

/// The usual config for who may make namespaces only inside a user namespace of his own: no network to set up, no group
/// but his, no limits (runc's libcontainer/specconv, `ToRootless`).
fn rootless() -> Vec<u8> {
    let mut spec: Value = serde_json::from_slice(USUAL).expect("it is a config.json");
    let (user, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let linux = &mut spec["linux"];
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    linux["uidMappings"] = json!([{ "containerID": 0, "hostID": user, "size": 1 }]);
    linux["gidMappings"] = json!([{ "containerID": 0, "hostID": group, "size": 1 }]);
    linux.as_object_mut().and_then(|linux| linux.remove("resources"));
    for mount in spec["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
            *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": options });
        } else if let Some(options) = mount["options"].as_array_mut() {
            let of_a_group = |option: &str| option.starts_with("gid=") || option.starts_with("uid=");
            options.retain(|option| !option.as_str().is_some_and(of_a_group));
        }
    }
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, format);
    serde::Serialize::serialize(&spec, &mut writer).expect("plain data can be written to memory");
    text
}
