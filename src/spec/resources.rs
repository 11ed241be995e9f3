//! Limits: the flags of docker run as the control groups understand them (moby `daemon/daemon_unix.go`).

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, LinuxWeightDevice, LinuxWeightDeviceBuilder,
};

use super::Host;
use crate::cli::ResourceFlags;
use crate::cli::value::{Throttle, expand_list};
use crate::report::Problem;

/// The period that `--cpus` is reckoned in, microseconds (moby: 100 ms).
const CPU_PERIOD_US: i64 = 100_000;

/// The limits of a container.
pub(super) fn resources(
    flags: &ResourceFlags,
    host: &Host,
    devices: Vec<LinuxDeviceCgroup>,
) -> Result<LinuxResources, Problem> {
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(devices));
    resources.set_memory(memory(flags, host)?);
    resources.set_cpu(cpu(flags, host)?);
    resources.set_pids(pids(flags));
    resources.set_block_io(block_io(flags, host));
    Ok(resources)
}

/// Where the container's control groups are: `/rbox/<id>`, or below `--cgroup-parent`.
pub(super) fn cgroup(flags: &ResourceFlags, id: &str) -> PathBuf {
    let parent = flags.cgroup_parent.as_deref().unwrap_or(Path::new("/rbox"));
    Path::new("/").join(parent).join(id)
}

fn memory(flags: &ResourceFlags, host: &Host) -> Result<Option<LinuxMemory>, Problem> {
    let some = |value: Option<i64>| value.filter(|value| *value != 0);
    let (limit, swap, reservation) = (some(flags.memory), some(flags.memory_swap), some(flags.memory_reservation));
    match (limit, swap) {
        (None, Some(1..)) => return Err(Problem::new("--memory-swap: it needs --memory beside it")),
        (Some(limit), Some(swap @ 1..)) if swap < limit => {
            return Err(Problem::new("--memory-swap: it is memory and swap together, so not below --memory"));
        }
        _ => {}
    }
    if let (Some(limit), Some(reservation)) = (limit, reservation)
        && limit < reservation
    {
        return Err(Problem::new("--memory-reservation: above --memory"));
    }
    // dockerd: as much swap again, unless something else was said; a kernel that cannot limit swap is let be.
    let swap = swap.or_else(|| limit.filter(|_| host.swap_limit).and_then(|limit| limit.checked_mul(2)));
    let swappiness = flags.memory_swappiness.and_then(|percent| u64::try_from(percent).ok());
    let mut memory = LinuxMemory::default();
    memory.set_limit(limit);
    memory.set_swap(swap);
    memory.set_reservation(reservation);
    memory.set_swappiness(swappiness);
    memory.set_disable_oom_killer(flags.oom_kill_disable.then_some(true));
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

fn cpu(flags: &ResourceFlags, host: &Host) -> Result<Option<LinuxCpu>, Problem> {
    let some = |value: Option<i64>| value.filter(|value| *value != 0);
    let (cpus, mut period, mut quota) = (some(flags.cpus), some(flags.cpu_period), some(flags.cpu_quota));
    if let Some(billionths) = cpus {
        let available = i64::try_from(host.cpus.len()).unwrap_or(i64::MAX);
        if period.is_some() || quota.is_some() {
            return Err(Problem::new("--cpus: it cannot stand beside --cpu-period or --cpu-quota"));
        }
        if billionths > available.saturating_mul(1_000_000_000) {
            return Err(Problem::new(format!("--cpus: more than the {available} that this host has")));
        }
        period = Some(CPU_PERIOD_US);
        quota = Some(billionths.saturating_mul(CPU_PERIOD_US) / 1_000_000_000);
    }
    // sched-bwc.rst: the kernel takes periods of 1 ms to 1 s, and no quota below 1 ms.
    if period.is_some_and(|period| !(1_000..=1_000_000).contains(&period)) {
        return Err(Problem::new("--cpu-period: not from 1000 to 1000000 microseconds"));
    }
    if let Some(quota) = quota
        && (1..1_000).contains(&quota)
    {
        let flag = if cpus.is_some() { "--cpus: below 0.01" } else { "--cpu-quota: below 1000 microseconds" };
        return Err(Problem::new(flag));
    }
    available("--cpuset-cpus", flags.cpuset_cpus.as_deref(), &host.cpus)?;
    available("--cpuset-mems", flags.cpuset_mems.as_deref(), &host.mems)?;
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(flags.cpu_shares.filter(|shares| *shares != 0).map(|shares| shares.clamp(2, 262_144)));
    cpu.set_period(period.and_then(|period| u64::try_from(period).ok()));
    cpu.set_quota(quota);
    cpu.set_cpus(flags.cpuset_cpus.clone().filter(|list| !list.is_empty()));
    cpu.set_mems(flags.cpuset_mems.clone().filter(|list| !list.is_empty()));
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

/// Every number of the list is one that the host has.
fn available(flag: &str, typed: Option<&str>, have: &[u32]) -> Result<(), Problem> {
    let wanted = typed.and_then(expand_list).unwrap_or_default();
    match wanted.iter().find(|number| !have.contains(number)) {
        None => Ok(()),
        Some(missing) => {
            let list = have.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            Err(Problem::new(format!("{flag}: this host has no {missing}, only {list}")))
        }
    }
}

/// 0 and below mean no limit, as `-1` does in Docker.
fn pids(flags: &ResourceFlags) -> Option<LinuxPids> {
    let limit = flags.pids_limit.filter(|limit| *limit != 0)?;
    let mut pids = LinuxPids::default();
    pids.set_limit(limit.max(-1));
    Some(pids)
}

fn block_io(flags: &ResourceFlags, host: &Host) -> Option<LinuxBlockIo> {
    let mut io = LinuxBlockIo::default();
    io.set_weight(flags.blkio_weight.filter(|weight| *weight != 0));
    let weights: Vec<LinuxWeightDevice> = flags
        .blkio_weight_device
        .iter()
        .filter_map(|typed| {
            let (major, minor) = host.disks.get(&typed.device)?;
            let weight = LinuxWeightDeviceBuilder::default().major(*major).minor(*minor).weight(typed.weight);
            Some(weight.build().expect("every field has a default"))
        })
        .collect();
    io.set_weight_device((!weights.is_empty()).then_some(weights));
    io.set_throttle_read_bps_device(throttles(&flags.device_read_bps, host));
    io.set_throttle_write_bps_device(throttles(&flags.device_write_bps, host));
    io.set_throttle_read_iops_device(throttles(&flags.device_read_iops, host));
    io.set_throttle_write_iops_device(throttles(&flags.device_write_iops, host));
    (io != LinuxBlockIo::default()).then_some(io)
}

fn throttles(typed: &[Throttle], host: &Host) -> Option<Vec<LinuxThrottleDevice>> {
    let all: Vec<LinuxThrottleDevice> = typed
        .iter()
        .filter_map(|typed| {
            let (major, minor) = host.disks.get(&typed.device)?;
            let throttle = LinuxThrottleDeviceBuilder::default().major(*major).minor(*minor).rate(typed.rate);
            Some(throttle.build().expect("every field has a default"))
        })
        .collect();
    (!all.is_empty()).then_some(all)
}
