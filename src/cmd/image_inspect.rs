//! `rbox image inspect`: all that is known of images, as JSON or by a template.

use std::process::ExitCode;

use anyhow::Result;
use rbox_images::Store;

use super::print;
use crate::cli::{Global, InspectImageArgs};
use crate::dirs::Dirs;
use crate::report;
use crate::template::{IMAGE, Value};

/// `rbox image inspect`. Those that are here are printed, also when others are not.
///
/// Errors: the store cannot be opened, or the template is not understood.
pub(crate) fn run(global: &Global, args: &InspectImageArgs) -> Result<ExitCode> {
    let store = Store::open(Dirs::new(global)?.root())?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for image in &args.images {
        match store.inspect(image) {
            Ok(object) => found.push(IMAGE.told_of(Value::of(&object)?)),
            Err(error) => missing.push(error),
        }
    }
    print::objects(found, args.format.as_deref())?;
    Ok(missing.into_iter().map(|error| report::print(&error.into())).last().unwrap_or(ExitCode::SUCCESS))
}
