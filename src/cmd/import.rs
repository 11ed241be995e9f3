//! `rbox import`: make an image of a root file system in a tar archive.

use std::fs::File;
use std::io::stdin;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rbox_images::{Reference, Store};

use super::print;
use crate::cli::{Global, ImportArgs};
use crate::dirs::Dirs;

/// `rbox import`; prints the new image's id.
///
/// Errors: the archive cannot be read, or a change is not understood.
pub(crate) fn run(global: &Global, args: &ImportArgs) -> Result<ExitCode> {
    let name: Option<Reference> = args.name.as_deref().map(str::parse).transpose()?;
    let store = Store::open(Dirs::new(global)?.root())?;
    let id = if args.file == Path::new("-") {
        store.import(stdin().lock(), name.as_ref(), &args.change)?
    } else {
        let file = File::open(&args.file).with_context(|| format!("cannot open {}", args.file.display()))?;
        store.import(file, name.as_ref(), &args.change)?
    };
    print::line(id.as_str())?;
    Ok(ExitCode::SUCCESS)
}
