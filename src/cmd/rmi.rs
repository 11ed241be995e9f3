//! `rbox rmi`: take names of images away, and with the last name the image.

use std::process::ExitCode;

use anyhow::Result;
use rbox_images::{Digest, Store};

use super::print;
use crate::cli::{Global, RemoveImageArgs};
use crate::dirs::Dirs;
use crate::record::Record;
use crate::report;

/// `rbox rmi`. An image that cannot be removed does not keep the others.
///
/// Errors: the store cannot be opened, or the first one that could not be removed; the others are printed.
pub(crate) fn run(global: &Global, args: &RemoveImageArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    let store = Store::open(dirs.root())?;
    let containers = Record::all(&dirs)?;
    let in_use = |id: &Digest| {
        let user = containers.iter().find(|container| container.image_id.as_deref() == Some(id.as_str()));
        user.map(|container| format!("container {}", container.name))
    };
    let mut code = ExitCode::SUCCESS;
    for image in &args.images {
        match store.remove(image, args.force, &in_use) {
            Ok(removed) => print::text(&removed.iter().map(|what| format!("{what}\n")).collect::<String>())?,
            Err(error) => code = report::print(&error.into()),
        }
    }
    Ok(code)
}
