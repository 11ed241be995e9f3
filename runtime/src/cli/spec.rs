//! config.json: read one, and write one to begin with.

use super::arguments::SpecFile;
use oci_spec::runtime::Spec;
use rbox_runtime::{Error, Result};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Read a config.json.
pub(super) fn load(path: &Path) -> Result<Spec> {
    let text = std::fs::read(path).map_err(|source| Error::Os { doing: format!("read {}", path.display()), source })?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::InvalidSpec { path: path.display().to_string(), why: error.to_string() })
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
