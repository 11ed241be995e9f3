//! `rbox load`: take images from an archive, or from a directory in OCI layout.

use std::fs::File;
use std::io::{BufReader, IsTerminal, stdin};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rbox_images::{Loaded, Store};

use super::print;
use crate::cli::{Global, LoadArgs};
use crate::dirs::Dirs;
use crate::report::Problem;

/// `rbox load`
///
/// Errors: the archive cannot be read or is none; nothing is loaded then.
pub(crate) fn run(global: &Global, args: &LoadArgs) -> Result<ExitCode> {
    let store = Store::open(Dirs::new(global)?.root())?;
    let loaded = match &args.input {
        Some(path) if path.is_dir() => store.load_layout(path).map_err(|error| of_file(path, error))?,
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
            store.load(BufReader::new(file)).map_err(|error| of_file(path, error))?
        }
        None if stdin().is_terminal() => {
            let problem = Problem::new("cannot load images: standard input is a terminal");
            return Err(problem.hint("name the archive with -i FILE, or write < FILE").into());
        }
        None => store.load(stdin().lock())?,
    };
    if !args.quiet {
        print::text(&loaded.iter().map(said).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with a file is said behind its name; what is wrong with the host is not.
pub(super) fn of_file(path: &Path, error: rbox_images::Error) -> anyhow::Error {
    let is_about_the_file = matches!(error, rbox_images::Error::Refused { .. });
    let error = anyhow::Error::from(error);
    if is_about_the_file { error.context(path.display().to_string()) } else { error }
}

/// Docker's words: the names, or the id where the archive gave none.
fn said(loaded: &Loaded) -> String {
    if loaded.names.is_empty() {
        return format!("Loaded image ID: {}\n", loaded.id);
    }
    loaded.names.iter().map(|name| format!("Loaded image: {}\n", name.familiar())).collect()
}
