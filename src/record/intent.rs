//! What a container is made of, as data: enough to make its configuration anew at each start.

use std::path::PathBuf;

use anyhow::{Context, Result};
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::{read, short, write_whole};
use crate::cli::RunArgs;
use crate::dirs::Dirs;
use crate::spec::Caller;

/// Everything that was said when the container was created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// The flags, and the words behind them.
    pub(crate) flags: RunArgs,
    /// What the image says of its program; nothing with `--rootfs`.
    pub(crate) image: Option<ImageConfiguration>,
    /// What belongs to the one who said it.
    pub(crate) caller: Caller,
}

impl Intent {
    /// Write it beside the record.
    ///
    /// Errors: the directory cannot be written.
    pub(crate) fn save(&self, dirs: &Dirs, id: &str) -> Result<()> {
        write_whole(&path(dirs, id), self)
    }

    /// Read it.
    ///
    /// Errors: it is not there, or is not what rbox wrote.
    pub(crate) fn load(dirs: &Dirs, id: &str) -> Result<Intent> {
        read(&path(dirs, id))?.with_context(|| format!("container {}: what it is made of is lost", short(id)))
    }
}

fn path(dirs: &Dirs, id: &str) -> PathBuf {
    dirs.container(id).join("intent.json")
}
