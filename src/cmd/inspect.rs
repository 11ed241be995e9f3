//! `rbox inspect`: all that is known of containers, images and networks, as JSON or by a template.

mod container;

use std::process::ExitCode;

use anyhow::{Error, Result};
use rbox_images::Store;
use rbox_net::Networks;

use super::print;
use crate::cli::{ContainerInspectArgs, Global, InspectArgs, InspectType};
use crate::dirs::Dirs;
use crate::find::find;
use crate::report::{self, Problem};
use crate::sweep;
use crate::template::{self, Value};

/// `rbox inspect`. What is there is printed, also when something else is not.
///
/// Errors: the state cannot be read, or the template is not understood.
pub(crate) fn run(global: &Global, args: &InspectArgs) -> Result<ExitCode> {
    let look = Look::new(global, args.size)?;
    print_all(args.names.iter().map(|name| look.up(name, args.kind)), args.format.as_deref())
}

/// `rbox container inspect`
///
/// Errors: as [`run`].
pub(crate) fn containers(global: &Global, args: &ContainerInspectArgs) -> Result<ExitCode> {
    let look = Look::new(global, args.size)?;
    print_all(args.containers.iter().map(|name| look.container(name)), args.format.as_deref())
}

fn print_all(looked_up: impl Iterator<Item = Result<Value>>, format: Option<&str>) -> Result<ExitCode> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for object in looked_up {
        match object {
            Ok(object) => found.push(object),
            Err(error) => missing.push(error),
        }
    }
    print::objects(found, format)?;
    let mut code = ExitCode::SUCCESS;
    for error in &missing {
        code = report::print_refusal(error);
    }
    Ok(code)
}

/// Where to look.
struct Look {
    dirs: Dirs,
    store: Store,
    networks: Networks,
    with_size: bool,
}

impl Look {
    fn new(global: &Global, with_size: bool) -> Result<Look> {
        let dirs = Dirs::new(global)?;
        let networks = dirs.networks()?;
        sweep::sweep(&dirs, &networks).iter().for_each(report::warn);
        Ok(Look { store: Store::open(dirs.root())?, dirs, networks, with_size })
    }

    /// A container of that name, else an image, else a network; or only what `kind` says.
    fn up(&self, name: &str, kind: Option<InspectType>) -> Result<Value> {
        match kind {
            Some(InspectType::Container) => self.container(name),
            Some(InspectType::Image) => Ok(template::IMAGE.told_of(Value::of(&self.store.inspect(name)?)?)),
            Some(InspectType::Network) => self.network(name),
            None => {
                let container = self.container(name);
                if container.as_ref().is_err_and(is_not_found) {
                    return self.image_or_network(name);
                }
                container
            }
        }
    }

    fn image_or_network(&self, name: &str) -> Result<Value> {
        if let Ok(image) = self.store.inspect(name) {
            return Ok(template::IMAGE.told_of(Value::of(&image)?));
        }
        let nothing = |_| Problem::new(format!("{name}: no container, image or network is called so")).into();
        self.network(name).map_err(nothing)
    }

    fn container(&self, name: &str) -> Result<Value> {
        let record = find(&self.dirs, name)?;
        let about =
            container::About { dirs: &self.dirs, store: &self.store, networks: &self.networks, record: &record };
        Ok(template::CONTAINER.told_of(Value::of(&about.object(self.with_size)?)?))
    }

    fn network(&self, name: &str) -> Result<Value> {
        Ok(template::NETWORK.told_of(Value::of(&self.networks.inspect(&self.networks.find(name)?)?)?))
    }
}

/// Whether a lookup ended with "there is none", and not with a disk that cannot be read.
fn is_not_found(error: &Error) -> bool {
    error.downcast_ref::<Problem>().is_some_and(|problem| problem.to_string().ends_with(": not found"))
}
