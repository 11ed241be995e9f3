//! `rbox rm`: remove containers that have ended, and with `--force` those that run.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use rbox_net::Networks;
use rbox_runtime::container::Container;

use super::{print, ps};
use crate::cli::{Global, RmArgs};
use crate::dirs::Dirs;
use crate::find::find;
use crate::record::{Claim, Record};
use crate::report::{self, Problem};
use crate::sweep;

/// How long the rbox that holds a killed container gets to take it apart.
const TAKEN_APART_WITHIN: Duration = Duration::from_secs(10);

/// `rbox rm`. A container that cannot be removed does not keep the others.
///
/// Errors: the records cannot be read; those of a container are printed, and make the exit code.
pub(crate) fn run(global: &Global, args: &RmArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    sweep::sweep(&dirs, &Networks::open(dirs.state())?).iter().for_each(report::warn);
    let mut code = ExitCode::SUCCESS;
    for name in &args.containers {
        match remove(&dirs, name, args.force) {
            Ok(()) => print::line(name)?,
            Err(error) => code = report::print(&error),
        }
    }
    Ok(code)
}

fn remove(dirs: &Dirs, name: &str, force: bool) -> Result<()> {
    let container = find(dirs, name)?;
    if ps::is_running(&container, &Claim::all(dirs)?) {
        if !force {
            let problem = Problem::new(format!("cannot remove container {name}: it is running"));
            return Err(problem.hint(format!("end its program, or use rbox rm --force {name}")).into());
        }
        Container::load(&dirs.runtime(), &container.id)?.kill(nix::libc::SIGKILL, false)?;
        await_its_rbox(dirs, &container)?;
    }
    let claim = Claim::of_nobody(&container.id, &container.name);
    sweep::erase(dirs, &claim).into_iter().next().map_or(Ok(()), Err)
}

/// The rbox that runs it takes it apart; what stays is the record of a container without `--rm`.
fn await_its_rbox(dirs: &Dirs, container: &Record) -> Result<()> {
    let deadline = Instant::now() + TAKEN_APART_WITHIN;
    while Claim::all(dirs)?.iter().any(|claim| claim.id == container.id && claim.is_alive()) {
        if Instant::now() > deadline {
            return Err(
                Problem::new(format!("cannot remove container {}: its rbox does not end", container.name)).into()
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
