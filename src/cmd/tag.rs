//! `rbox tag`: give an image a further name.

use std::process::ExitCode;

use anyhow::Result;
use rbox_images::Store;

use crate::cli::{Global, TagArgs};
use crate::dirs::Dirs;

/// `rbox tag`
///
/// Errors: there is no such image, or the further name is none.
pub(crate) fn run(global: &Global, args: &TagArgs) -> Result<ExitCode> {
    let store = Store::open(Dirs::new(global)?.root())?;
    store.tag(&args.image, &args.name.parse()?)?;
    Ok(ExitCode::SUCCESS)
}
