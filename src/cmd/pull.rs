//! `rbox pull`: fetch an image from its registry.

use std::process::ExitCode;

use anyhow::Result;
use rbox_images::{Platform, Progress, PullOptions, Reference, Store};

use super::print;
use crate::cli::{Global, PullArgs};
use crate::dirs::Dirs;

/// `rbox pull`; the last line is the image's full name.
///
/// Errors: the name is none, or the registry has no such image, or cannot be reached.
pub(crate) fn run(global: &Global, args: &PullArgs) -> Result<ExitCode> {
    let store = Store::open(Dirs::new(global)?.root())?;
    let reference: Reference = args.name.parse()?;
    let is_bare =
        reference.digest().is_none() && !args.name.ends_with(&format!(":{}", reference.tag().unwrap_or_default()));
    if is_bare && !args.quiet {
        print::line(&format!("Using default tag: {}", reference.tag().unwrap_or_default()))?;
    }
    let progress = if args.quiet { Progress::Quiet } else { Progress::Stdout };
    store.pull(&reference, &PullOptions { platform: platform(args.platform.as_deref())?, progress })?;
    print::line(&reference.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn platform(text: Option<&str>) -> Result<Option<Platform>> {
    Ok(text.map(str::parse).transpose()?)
}
