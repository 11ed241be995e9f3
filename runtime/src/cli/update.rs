//! `update`: limits from flags or from a file, for a container that lives.

use super::arguments::Update;
use super::log::Log;
use super::spec::without_warnings;
use super::verbs::os;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxIntelRdt, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources,
};
use rbox_runtime::config::Config;
use rbox_runtime::container::Container;
use rbox_runtime::{Error, Result};
use std::io::Read;
use std::path::Path;

pub(super) fn update(root: &Path, flags: &Update, log: &Log) -> Result<()> {
    let container = Container::load(root, &flags.id)?;
    let wanted = match &flags.resources {
        Some(file) => from_file(file, flags, log)?,
        None => from_flags(flags, log)?,
    };
    share(&container, flags)?;
    container.update(&wanted)
}

/// What is asked of resctrl; as in runc also beside `--resources`.
fn share(container: &Container, flags: &Update) -> Result<()> {
    let (cache, bandwidth) = (&flags.limits.l3_cache_schema, &flags.limits.mem_bw_schema);
    let asked_by = match (cache, bandwidth) {
        (None, None) => return Ok(()),
        (Some(_), _) => "--l3-cache-schema",
        _ => "--mem-bw-schema",
    };
    let mut wish = LinuxIntelRdt::default();
    wish.set_l3_cache_schema(cache.clone()).set_mem_bw_schema(bandwidth.clone());
    container.share(&wish, asked_by)
}

/// The limits of `--resources`. As in runc the other flags are ignored then, but not silently.
fn from_file(file: &Path, flags: &Update, log: &Log) -> Result<LinuxResources> {
    if flags.limits.are_of_groups() {
        log.warning("the limits of --resources are taken, those of other flags are ignored");
    }
    let mut text = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().lock().read_to_end(&mut text).map(drop),
        false => std::fs::read(file).map(|bytes| text = bytes),
    };
    read.map_err(|error| os(format!("read the limits from {}", file.display()), error))?;
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let mut wanted: LinuxResources = without_warnings(Config::parse(&text, &name)?, log);
    // As in runc: callers send the whole of linux.resources, and what a plugin has allowed since is not in it.
    wanted.set_devices(None);
    Ok(wanted)
}

fn from_flags(flags: &Update, log: &Log) -> Result<LinuxResources> {
    let limits = &flags.limits;
    for (flag, given) in [("kernel-memory", &limits.kernel_memory), ("kernel-memory-tcp", &limits.kernel_memory_tcp)] {
        if given.is_some() {
            log.warning(&format!("Setting --{flag} is ignored and will be removed"));
        }
    }
    limits_of(flags).map_err(|error| Error::InvalidSpec { path: "update".to_owned(), why: error.to_string() })
}

fn limits_of(flags: &Update) -> std::result::Result<LinuxResources, OciSpecError> {
    let limits = &flags.limits;
    let mut wanted = LinuxResources::default();
    let mut memory = LinuxMemoryBuilder::default().build()?;
    memory.set_limit(limits.memory).set_swap(limits.memory_swap).set_reservation(limits.memory_reservation);
    let mut cpu = LinuxCpuBuilder::default().build()?;
    cpu.set_period(limits.cpu_period).set_quota(limits.cpu_quota).set_burst(limits.cpu_burst);
    cpu.set_shares(limits.cpu_share).set_idle(limits.cpu_idle);
    cpu.set_realtime_period(limits.cpu_rt_period).set_realtime_runtime(limits.cpu_rt_runtime);
    cpu.set_cpus(limits.cpuset_cpus.clone()).set_mems(limits.cpuset_mems.clone());
    wanted.set_memory(Some(memory)).set_cpu(Some(cpu));
    if let Some(weight) = limits.blkio_weight {
        wanted.set_block_io(Some(LinuxBlockIoBuilder::default().weight(weight).build()?));
    }
    if let Some(limit) = limits.pids_limit {
        wanted.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    Ok(wanted)
}
