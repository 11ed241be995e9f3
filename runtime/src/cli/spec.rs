//! config.json: read one, and write one to begin with.

use super::arguments::SpecFile;
use super::log;
use oci_spec::runtime::Spec;
use rbox_runtime::config::Config;
use rbox_runtime::{Error, Result};
use serde::de::DeserializeOwned;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Read a config.json; what the specification wants warned of is said.
pub(super) fn load(path: &Path) -> Result<Spec> {
    read(path)
}

/// Read a file that has the form of config.json, or of a part of it.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let config = Config::read(path)?;
    for warning in &config.warnings {
        log::stderr(&format!("warning: {warning}"));
    }
    Ok(config.content)
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
    file.write_all(include_bytes!("config.json")).map_err(|source| Error::Os { doing: doing(), source })
}
