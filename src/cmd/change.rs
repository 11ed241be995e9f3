//! `rbox pause`, `unpause`, `update` and `rename`: what changes a container without ending it.

use std::process::ExitCode;

use anyhow::{Context, Result};

use rbox_runtime::container::{Container, Status};
use serde_json::Value;

use super::print;
use crate::cli::{ContainersArgs, Global, RenameArgs, ResourceFlags, UpdateArgs, value};
use crate::creation::{Creation, host_config};
use crate::dirs::Dirs;
use crate::find::{self, find};
use crate::record::{Claim, Intent, Purpose, Record, Renaming};
use crate::report::{self, INCOMPLETE, Problem};
use crate::{spec, sweep};

/// `rbox pause`. One that cannot be paused does not keep the others.
///
/// Errors: the state directory cannot be read; those of a container are printed, and make the exit code.
pub(crate) fn pause(global: &Global, args: &ContainersArgs) -> Result<ExitCode> {
    each(global, &args.containers, |dirs, name| {
        let record = find(dirs, name)?;
        let container = find::container(dirs, &record, name, "pause")?;
        // Asked after the container was found: frozen between its gate and its program it would never begin, and who
        // starts it would wait for ever.
        if !find(dirs, &record.id)?.is_begun() {
            return Err(Problem::new(format!("cannot pause container {name}: it is not running")).into());
        }
        if container.status() == Status::Paused {
            return Err(Problem::new(format!("cannot pause container {name}: it is paused already")).into());
        }
        Record::update(dirs, &record.id, |record| record.paused_once = true)?;
        Ok(container.pause()?)
    })
}

/// `rbox unpause`.
///
/// Errors: as [`pause`].
pub(crate) fn unpause(global: &Global, args: &ContainersArgs) -> Result<ExitCode> {
    each(global, &args.containers, |dirs, name| {
        let container = find::container(dirs, &find(dirs, name)?, name, "unpause")?;
        if container.status() != Status::Paused {
            return Err(Problem::new(format!("cannot unpause container {name}: it is not paused")).into());
        }
        Ok(container.resume()?)
    })
}

/// `rbox update`.
///
/// Errors: as [`pause`]; no limit is named.
pub(crate) fn update(global: &Global, args: &UpdateArgs) -> Result<ExitCode> {
    let typed = ResourceFlags {
        memory: args.memory,
        memory_swap: args.memory_swap,
        memory_reservation: args.memory_reservation,
        cpus: args.cpus,
        cpu_shares: args.cpu_shares,
        cpu_quota: args.cpu_quota,
        cpu_period: args.cpu_period,
        cpuset_cpus: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        pids_limit: args.pids_limit,
        blkio_weight: args.blkio_weight,
        ..ResourceFlags::default()
    };
    let changes = host_config::updated(&typed);
    if changes.as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(Problem::new("a limit is missing").hint("see rbox update --help").code(INCOMPLETE).into());
    }
    each(global, &args.containers, |dirs, name| change_limits(dirs, name, &typed, &changes))
}

/// Do something to each container, and print the name of each to which it was done.
fn each(global: &Global, names: &[String], act: impl Fn(&Dirs, &str) -> Result<()>) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    sweep::sweep(&dirs, &dirs.networks()?).iter().for_each(report::warn);
    let mut code = ExitCode::SUCCESS;
    for name in names {
        match act(&dirs, name) {
            Ok(()) => print::line(name)?,
            Err(error) => code = report::print_refusal(&error),
        }
    }
    Ok(code)
}

/// Change the kernel's limits, if it runs, then what is remembered of them: a start goes by that.
fn change_limits(dirs: &Dirs, name: &str, typed: &ResourceFlags, changes: &Value) -> Result<()> {
    let record = find(dirs, name)?;
    let made = Creation::load(dirs, &record.id)?;
    let mut made = made.with_context(|| format!("cannot update container {name}: its record lacks how it was made"))?;
    let mut wanted = typed.clone();
    let had = |key: &str| made.host_config.get(key).and_then(Value::as_i64).unwrap_or(0);
    check_together(name, typed, &had)?;
    if typed.memory_swap.is_some() && typed.memory.is_none() {
        wanted.memory = Some(had("Memory"));
    }
    let limits = spec::limits(&wanted, &spec::Host::for_limits())?;
    if let Ok(container) = Container::load(&dirs.runtime(), &record.id)
        && matches!(container.status(), Status::Running | Status::Paused)
    {
        container.update(&limits).with_context(|| format!("cannot update container {name}"))?;
    }
    let mut intent = Intent::load(dirs, &record.id)?;
    intent.flags.resources.change(typed);
    intent.save(dirs, &record.id)?;
    lay_over(&mut made.host_config, changes);
    made.save(dirs, &record.id)
}

/// What contradicts a limit that is there (moby `container/container_unix.go`, UpdateContainer).
fn check_together(name: &str, typed: &ResourceFlags, had: &dyn Fn(&str) -> i64) -> Result<(), Problem> {
    let refuse = |why: &str| Err(Problem::new(format!("cannot update container {name}: {why}")));
    if typed.cpus.is_some() && (had("CpuPeriod") != 0 || had("CpuQuota") != 0) {
        return refuse("--cpus cannot stand beside the --cpu-period or --cpu-quota that it has");
    }
    if (typed.cpu_period.is_some() || typed.cpu_quota.is_some()) && had("NanoCpus") != 0 {
        return refuse("--cpu-period and --cpu-quota cannot stand beside the --cpus that it has");
    }
    let swap = had("MemorySwap");
    if typed.memory_swap.is_none() && swap != -1 && typed.memory.is_some_and(|memory| memory > swap) {
        return refuse("--memory is above its limit of memory and swap together; give --memory-swap too");
    }
    Ok(())
}

/// Put the fields of `over` into `under`, those of objects one by one.
fn lay_over(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => under.clone_from(over),
    }
}

/// `rbox rename`
///
/// Errors: there is no such container; the name is no name, or taken.
pub(crate) fn rename(global: &Global, args: &RenameArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    let networks = dirs.networks()?;
    sweep::sweep(&dirs, &networks).iter().for_each(report::warn);
    let record = find(&dirs, &args.container)?;
    let problem = |why: String| Problem::new(format!("cannot rename container {}: {why}", args.container));
    let name = args.name.strip_prefix('/').unwrap_or(&args.name);
    value::container_name(name).map_err(|why| problem(format!("{name}: {why}")))?;
    let _lock = sweep::lock(&dirs)?;
    // As it is called now: another command may have been quicker.
    let record = find(&dirs, &record.id)?;
    if name == record.name {
        return Err(problem("it is called so already".into()).into());
    }
    // Of one that nobody claims nobody may make or remove anything meanwhile.
    let own = Claim::hold(&dirs, &record.id, &record.name, Purpose::Hold)?;
    let held = own.clone().or(Claim::of(&dirs, &record.id)?);
    if held.as_ref().is_some_and(|claim| claim.purpose == Purpose::Remove) {
        return Err(problem("another command is removing it".into()).into());
    }
    let renamed = Renaming::make(&dirs, &networks, &record.id, [&record.name, name]);
    own.map_or(Ok(()), |claim| claim.release(&dirs))?;
    renamed.context(problem("the name cannot be had".into()))?;
    Ok(ExitCode::SUCCESS)
}
