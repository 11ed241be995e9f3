//! The limits of a Spec as cgroup v1 control files: which value goes into which file, in which order.
//!
//! Pure: [`settings`] touches nothing. Sources: runtime-spec config-linux.md#control-groups, kernel
//! Documentation/admin-guide/cgroup-v1/. A value of 0 means "not given" where runc means it so.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice};

use super::devices;
use super::{Error, Setting, invalid, shared};

/// The lines to write, in order. Whatever the kernel refuses with EINVAL is to be tried once more at the end: a
/// memory limit above the present memory+swap limit, a period too short for the present quota.
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>, Error> {
    if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        return Err(invalid("unified", "needs cgroup v2, and this host has v1"));
    }
    let mut lines = Vec::new();
    if let Some(rules) = resources.devices() {
        lines.extend(devices::lines(rules)?);
    }
    if let Some(memory) = resources.memory() {
        self::memory(memory, &mut lines)?;
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(cpu, &mut lines)?;
    }
    shared::pids(resources, &mut lines);
    if let Some(block_io) = resources.block_io() {
        self::block_io(block_io, &mut lines);
    }
    shared::hugetlb(resources, "limit_in_bytes", &mut lines)?;
    shared::rdma(resources, &mut lines);
    if let Some(network) = resources.network() {
        self::network(network, &mut lines);
    }
    Ok(lines)
}

/// `kernel` is ignored as in runc: the kernel removed the limit in 6.1, and it never worked well.
fn memory(memory: &LinuxMemory, lines: &mut Vec<Setting>) -> Result<(), Error> {
    let limit = memory.limit().unwrap_or(0);
    let swap = match memory.swap().unwrap_or(0) {
        // No limit on memory, and none named for memory+swap: none on both, as runc takes it.
        0 if limit == -1 => -1,
        swap => swap,
    };
    // Before anything is counted. Linux 5.11 and later know `true` alone, and refuse the other.
    if let Some(hierarchy) = memory.use_hierarchy() {
        lines.push(Setting::new("memory", "memory.use_hierarchy", i32::from(hierarchy)));
    }
    // Memory before memory+swap: right for a fresh group and for lowering; for raising see `settings`.
    if limit != 0 {
        lines.push(Setting::new("memory", "memory.limit_in_bytes", limit));
    }
    if swap != 0 {
        let line = Setting::new("memory", "memory.memsw.limit_in_bytes", swap);
        // Without swap accounting "no limit" needs nothing written.
        lines.push(if swap == -1 { line.optional() } else { line });
    }
    if let Some(reservation) = memory.reservation().filter(|&value| value != 0) {
        lines.push(Setting::new("memory", "memory.soft_limit_in_bytes", reservation));
    }
    if let Some(kernel_tcp) = memory.kernel_tcp().filter(|&value| value != 0) {
        lines.push(Setting::new("memory", "memory.kmem.tcp.limit_in_bytes", kernel_tcp));
    }
    if memory.disable_oom_killer() == Some(true) {
        lines.push(Setting::new("memory", "memory.oom_control", 1));
    }
    match memory.swappiness() {
        // Docker and the spec's own example write the highest number for "not given".
        None | Some(u64::MAX) => {}
        Some(swappiness @ 0..=100) => lines.push(Setting::new("memory", "memory.swappiness", swappiness)),
        Some(_) => return Err(invalid("memory.swappiness", "is not between 0 and 100")),
    }
    Ok(())
}

/// The kernel cuts shares to this range without a word; runc refuses what it cuts. kernel/sched/sched.h MIN_SHARES, MAX_SHARES.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

fn cpu(cpu: &LinuxCpu, lines: &mut Vec<Setting>) -> Result<(), Error> {
    if let Some(shares) = cpu.shares().filter(|&value| value != 0) {
        if !SHARES.contains(&shares) {
            return Err(invalid("cpu.shares", &format!("is not between {} and {}", SHARES.start(), SHARES.end())));
        }
        lines.push(Setting::new("cpu", "cpu.shares", shares));
    }
    // The real-time budget first, then the period before the quota, and the burst after the quota that bounds it.
    if let Some(period) = cpu.realtime_period().filter(|&value| value != 0) {
        lines.push(Setting::new("cpu", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|&value| value != 0) {
        lines.push(Setting::new("cpu", "cpu.rt_runtime_us", runtime));
    }
    if let Some(period) = cpu.period().filter(|&value| value != 0) {
        lines.push(Setting::new("cpu", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota().filter(|&value| value != 0) {
        lines.push(Setting::new("cpu", "cpu.cfs_quota_us", quota));
    }
    if let Some(burst) = cpu.burst() {
        let line = Setting::new("cpu", "cpu.cfs_burst_us", burst);
        // Kernels before 5.14 have no burst: none asked for is none given.
        lines.push(if burst == 0 { line.optional() } else { line });
    }
    if let Some(idle) = cpu.idle() {
        lines.push(Setting::new("cpu", "cpu.idle", idle));
    }
    shared::cpuset(cpu, lines);
    Ok(())
}

fn block_io(block_io: &LinuxBlockIo, lines: &mut Vec<Setting>) {
    if let Some(weight) = block_io.weight().filter(|&value| value != 0) {
        lines.push(Setting::new("blkio", "blkio.weight", weight).or("blkio.bfq.weight"));
    }
    if let Some(weight) = block_io.leaf_weight().filter(|&value| value != 0) {
        lines.push(Setting::new("blkio", "blkio.leaf_weight", weight));
    }
    for device in block_io.weight_device().iter().flatten() {
        let number = format!("{}:{}", device.major(), device.minor());
        if let Some(weight) = device.weight().filter(|&value| value != 0) {
            let line = Setting::new("blkio", "blkio.weight_device", format!("{number} {weight}"));
            lines.push(line.or("blkio.bfq.weight_device"));
        }
        if let Some(weight) = device.leaf_weight().filter(|&value| value != 0) {
            lines.push(Setting::new("blkio", "blkio.leaf_weight_device", format!("{number} {weight}")));
        }
    }
    let mut throttle = |file: &'static str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            lines.push(Setting::new("blkio", file, value));
        }
    };
    throttle("blkio.throttle.read_bps_device", block_io.throttle_read_bps_device());
    throttle("blkio.throttle.write_bps_device", block_io.throttle_write_bps_device());
    throttle("blkio.throttle.read_iops_device", block_io.throttle_read_iops_device());
    throttle("blkio.throttle.write_iops_device", block_io.throttle_write_iops_device());
}

fn network(network: &LinuxNetwork, lines: &mut Vec<Setting>) {
    if let Some(class) = network.class_id().filter(|&value| value != 0) {
        lines.push(Setting::new("net_cls", "net_cls.classid", class));
    }
    for interface in network.priorities().iter().flatten() {
        let value = format!("{} {}", interface.name(), interface.priority());
        lines.push(Setting::new("net_prio", "net_prio.ifpriomap", value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str) -> Vec<String> {
        let lines = settings(&serde_json::from_str(json).unwrap()).unwrap();
        lines.into_iter().map(|line| format!("{} {} {}", line.controller, line.file, line.value)).collect()
    }

    fn refused(json: &str) -> String {
        settings(&serde_json::from_str(json).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn weights_and_the_real_time_budget_have_their_files() {
        let json = r#"{"cpu":{"realtimePeriod":1000000,"realtimeRuntime":950000,"idle":1},
            "blockIO":{"weight":10,"leafWeight":20,
            "weightDevice":[{"major":8,"minor":0,"weight":500,"leafWeight":300}]}}"#;
        let expected = [
            "cpu cpu.rt_period_us 1000000",
            "cpu cpu.rt_runtime_us 950000",
            "cpu cpu.idle 1",
            "blkio blkio.weight 10",
            "blkio blkio.leaf_weight 20",
            "blkio blkio.weight_device 8:0 500",
            "blkio blkio.leaf_weight_device 8:0 300",
        ];
        assert_eq!(written(json), expected);
    }

    #[test]
    fn huge_pages_rdma_and_packets_have_their_files() {
        let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],"rdma":{"mlx5_1":{"hcaHandles":3}},
            "network":{"classID":1048577,"priorities":[{"name":"eth0","priority":500}]}}"#;
        let expected = [
            "hugetlb hugetlb.2MB.limit_in_bytes 4194304",
            "hugetlb hugetlb.2MB.rsvd.limit_in_bytes 4194304",
            "rdma rdma.max mlx5_1 hca_handle=3 hca_object=max",
            "net_cls net_cls.classid 1048577",
            "net_prio net_prio.ifpriomap eth0 500",
        ];
        assert_eq!(written(json), expected);
    }

    #[test]
    fn what_the_kernel_would_cut_is_refused_by_name() {
        for (json, words) in [
            (r#"{"cpu":{"shares":1}}"#, "linux.resources.cpu.shares: is not between"),
            (r#"{"memory":{"swappiness":101}}"#, "linux.resources.memory.swappiness: is not between"),
            (r#"{"unified":{"memory.high":"1"}}"#, "linux.resources.unified: needs cgroup v2"),
        ] {
            assert!(refused(json).starts_with(words), "{json}: {}", refused(json));
        }
    }
}
