//! The limits of a Spec, which speaks the language of v1, as cgroup v2 control files.
//!
//! Pure: [`settings`] touches nothing. The conversions are runc's, so that a container weighs the same under both:
//!
//! | Spec | file | how |
//! |---|---|---|
//! | memory.limit | memory.max | -1 is `max` |
//! | memory.swap (memory + swap) | memory.swap.max | swap - limit |
//! | memory.reservation | memory.low | |
//! | cpu.shares | cpu.weight | a curve through (2, 1), (1024, 100), (262144, 10000) |
//! | cpu.quota, period | cpu.max | `quota period` |
//! | blockIO.weight | io.bfq.weight, else io.weight | as is, else 10..1000 onto 1..10000 |
//! | blockIO.throttle* | io.max | `major:minor rbps=…` |
//!
//! Sources: kernel Documentation/admin-guide/cgroup-v2.rst, runtime-spec config-linux.md#control-groups.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources, LinuxThrottleDevice};

use super::{Error, Setting, invalid, shared};

/// The lines to write, in order; the device filter is not among them ([`super::devices`]).
pub(super) fn settings(resources: &LinuxResources) -> Result<Vec<Setting>, Error> {
    let mut lines = Vec::new();
    if let Some(memory) = resources.memory() {
        self::memory(memory, &mut lines)?;
    }
    if let Some(cpu) = resources.cpu() {
        self::cpu(cpu, &mut lines)?;
    }
    shared::pids(resources, &mut lines);
    if let Some(block_io) = resources.block_io() {
        self::block_io(block_io, &mut lines)?;
    }
    shared::hugetlb(resources, "max", &mut lines)?;
    shared::rdma(resources, &mut lines);
    if let Some(network) = resources.network() {
        refuse_network(network)?;
    }
    unified(resources, &mut lines)?;
    Ok(lines)
}

fn memory(memory: &LinuxMemory, lines: &mut Vec<Setting>) -> Result<(), Error> {
    // Files that v2 does not have: a limit that cannot be set is an error. `kernel` is ignored as in runc.
    if memory.kernel_tcp().is_some_and(|limit| limit > 0) {
        return Err(invalid("memory.kernelTCP", "cannot be set on cgroup v2, which counts it as memory"));
    }
    if memory.disable_oom_killer() == Some(true) {
        return Err(invalid("memory.disableOOMKiller", "cannot be set on cgroup v2"));
    }
    if memory.swappiness().is_some_and(|swappiness| swappiness != u64::MAX) {
        return Err(invalid("memory.swappiness", "cannot be set on cgroup v2"));
    }
    if memory.use_hierarchy() == Some(false) {
        return Err(invalid("memory.useHierarchy", "cannot be false on cgroup v2, which counts what is below a group"));
    }
    let limit = memory.limit().unwrap_or(0);
    let swap = memory.swap().unwrap_or(0);
    let mut line = |file, value: Option<i64>| {
        if let Some(value) = value {
            let text = if value < 0 { "max".to_owned() } else { value.to_string() };
            lines.push(Setting::new("memory", file, text));
        }
    };
    line("memory.swap.max", swap_without_memory(swap, limit)?);
    line("memory.max", Some(limit).filter(|&value| value != 0));
    line("memory.low", memory.reservation().filter(|&value| value != 0));
    // A kernel without swap has no such file: no swap, or no limit on it, is what the container has already.
    if let Some(line) =
        lines.iter_mut().find(|line| line.file == "memory.swap.max" && ["0", "max"].contains(&&*line.value))
    {
        line.optional = true;
    }
    Ok(())
}

/// v1 limits memory and swap together, v2 swap alone. `None`: leave it as it is.
fn swap_without_memory(memory_and_swap: i64, memory: i64) -> Result<Option<i64>, Error> {
    let field = "memory.swap";
    match (memory_and_swap, memory) {
        // No limit on memory, and none named for memory+swap: none on both, as v1 has it.
        (0, -1) => Ok(Some(-1)),
        (0, _) => Ok(None),
        (-1, _) => Ok(Some(-1)),
        (_, 0 | -1) => Err(invalid(field, "cannot be set without memory.limit")),
        (_, ..0) => Err(invalid("memory.limit", "is negative")),
        (swap, memory) if swap < memory => Err(invalid(field, "is less than memory.limit, which it includes")),
        (swap, memory) => Ok(Some(swap - memory)),
    }
}

fn cpu(cpu: &LinuxCpu, lines: &mut Vec<Setting>) -> Result<(), Error> {
    if cpu.realtime_period().is_some_and(|value| value != 0) || cpu.realtime_runtime().is_some_and(|value| value != 0) {
        return Err(invalid("cpu.realtimeRuntime", "cannot be set on cgroup v2"));
    }
    // Idle before the weight: the kernel refuses a weight for an idle group, and leaving idle sets the weight back.
    if let Some(idle) = cpu.idle() {
        lines.push(Setting::new("cpu", "cpu.idle", idle));
    }
    if let Some(shares) = cpu.shares().filter(|&value| value != 0) {
        lines.push(Setting::new("cpu", "cpu.weight", weight_of_shares(shares)));
    }
    let quota = cpu.quota().unwrap_or(0);
    let period = cpu.period().unwrap_or(0);
    if quota != 0 || period != 0 {
        let quota = if quota > 0 { quota.to_string() } else { "max".to_owned() };
        let period = if period == 0 { 100_000 } else { period };
        lines.push(Setting::new("cpu", "cpu.max", format!("{quota} {period}")));
    }
    if let Some(burst) = cpu.burst() {
        let line = Setting::new("cpu", "cpu.max.burst", burst);
        lines.push(if burst == 0 { line.optional() } else { line });
    }
    shared::cpuset(cpu, lines);
    Ok(())
}

/// v1 shares (2 to 262144, 1024 by default) to a v2 weight (1 to 10000, 100 by default).
///
/// A straight line maps the default to 39; this curve goes through minimum, default and maximum. runc 1.3.2, crun 1.23.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "1 to 10000")]
fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

fn block_io(block_io: &LinuxBlockIo, lines: &mut Vec<Setting>) -> Result<(), Error> {
    if block_io.leaf_weight().is_some_and(|weight| weight != 0) {
        return Err(invalid("blockIO.leafWeight", "cannot be set on cgroup v2"));
    }
    if let Some(weight) = block_io.weight().filter(|&value| value != 0) {
        let line = Setting::new("io", "io.bfq.weight", weight);
        lines.push(line.or_converted("io.weight", weight_of_blkio(weight).to_string()));
    }
    for device in block_io.weight_device().iter().flatten() {
        if device.leaf_weight().is_some_and(|weight| weight != 0) {
            return Err(invalid("blockIO.weightDevice", "leafWeight cannot be set on cgroup v2"));
        }
        if let Some(weight) = device.weight().filter(|&value| value != 0) {
            let number = format!("{}:{}", device.major(), device.minor());
            let line = Setting::new("io", "io.bfq.weight", format!("{number} {weight}"));
            lines.push(line.or_converted("io.weight", format!("{number} {}", weight_of_blkio(weight))));
        }
    }
    let mut throttle = |key, devices: &Option<Vec<LinuxThrottleDevice>>| {
        for device in devices.iter().flatten() {
            // A rate of 0 is how the Spec takes a limit away; io.max says `max`.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            lines.push(Setting::new("io", "io.max", format!("{}:{} {key}={rate}", device.major(), device.minor())));
        }
    };
    throttle("rbps", block_io.throttle_read_bps_device());
    throttle("wbps", block_io.throttle_write_bps_device());
    throttle("riops", block_io.throttle_read_iops_device());
    throttle("wiops", block_io.throttle_write_iops_device());
    Ok(())
}

/// blkio's 10 to 1000 onto io.weight's 1 to 10000, in a straight line as runc and crun do.
fn weight_of_blkio(weight: u16) -> u64 {
    1 + (u64::from(weight).max(10) - 10) * 9999 / 990
}

fn refuse_network(network: &LinuxNetwork) -> Result<(), Error> {
    if network.class_id().is_some_and(|class| class != 0) {
        return Err(invalid("network.classID", "cannot be set on cgroup v2"));
    }
    if network.priorities().as_ref().is_some_and(|priorities| !priorities.is_empty()) {
        return Err(invalid("network.priorities", "cannot be set on cgroup v2"));
    }
    Ok(())
}

/// Files by their own name, written last so that they win. A value of several lines is several writes.
fn unified(resources: &LinuxResources, lines: &mut Vec<Setting>) -> Result<(), Error> {
    let mut files: Vec<_> = resources.unified().iter().flatten().collect();
    files.sort();
    for (file, value) in files {
        if file.contains('/') {
            return Err(invalid("unified", &format!("{file} is a path, not the name of a file")));
        }
        let Some((controller, _)) = file.split_once('.').filter(|(controller, _)| !controller.is_empty()) else {
            return Err(invalid("unified", &format!("{file} is not of the form controller.parameter")));
        };
        for line in value.split('\n').filter(|line| !line.is_empty()) {
            lines.push(Setting::new(controller.to_owned(), file.to_owned(), line));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(json: &str) -> Vec<(String, String)> {
        let resources = serde_json::from_str(json).unwrap();
        settings(&resources).unwrap().into_iter().map(|line| (line.file.into_owned(), line.value)).collect()
    }

    fn refused(json: &str) -> String {
        settings(&serde_json::from_str(json).unwrap()).unwrap_err().to_string()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect()
    }

    /// The table of runc's own test: opencontainers/cgroups `TestConvertMemorySwapToCgroupV2Value`.
    #[test]
    fn swap_is_what_memory_leaves_of_both() {
        for (limit, swap, expected) in [
            (0, 0, Ok(None)),
            (1000, 2000, Ok(Some(1000))),
            (1000, 1000, Ok(Some(0))),
            (1000, 0, Ok(None)),
            (1000, -1, Ok(Some(-1))),
            (-1, -1, Ok(Some(-1))),
            (0, -1, Ok(Some(-1))),
            (-1, 0, Ok(Some(-1))),
            (0, 2000, Err(())),
            (-1, 2000, Err(())),
            (1000, 999, Err(())),
            (-300, 2000, Err(())),
        ] {
            assert_eq!(swap_without_memory(swap, limit).map_err(drop), expected, "limit {limit}, swap {swap}");
        }
    }

    #[test]
    fn memory_goes_into_its_three_files() {
        let json = r#"{"memory":{"limit":52428800,"swap":104857600,"reservation":1048576}}"#;
        let expected = [("memory.swap.max", "52428800"), ("memory.max", "52428800"), ("memory.low", "1048576")];
        assert_eq!(written(json), pairs(&expected));
        let unlimited = r#"{"memory":{"limit":-1}}"#;
        assert_eq!(written(unlimited), pairs(&[("memory.swap.max", "max"), ("memory.max", "max")]));
        assert_eq!(written(r#"{"memory":{"limit":4096,"kernel":1,"swappiness":18446744073709551615}}"#).len(), 1);
    }

    /// The ends and the default are fixed by the two documents; the rest by the formula, worked out with another program.
    #[test]
    fn shares_become_weights_on_the_curve() {
        for (shares, weight) in [(1, 1), (2, 1), (10, 4), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn quota_and_period_share_a_file() {
        let max = |json| written(json);
        assert_eq!(max(r#"{"cpu":{"quota":50000,"period":100000}}"#), pairs(&[("cpu.max", "50000 100000")]));
        assert_eq!(max(r#"{"cpu":{"quota":50000}}"#), pairs(&[("cpu.max", "50000 100000")]));
        assert_eq!(max(r#"{"cpu":{"period":20000}}"#), pairs(&[("cpu.max", "max 20000")]));
        assert_eq!(max(r#"{"cpu":{"quota":-1,"period":20000}}"#), pairs(&[("cpu.max", "max 20000")]));
        let all = r#"{"cpu":{"shares":1024,"quota":50000,"burst":7,"idle":0,"cpus":"0-1","mems":"0"}}"#;
        let expected = [
            ("cpu.idle", "0"),
            ("cpu.weight", "100"),
            ("cpu.max", "50000 100000"),
            ("cpu.max.burst", "7"),
            ("cpuset.cpus", "0-1"),
            ("cpuset.mems", "0"),
        ];
        assert_eq!(written(all), pairs(&expected));
    }

    #[test]
    fn zero_processes_is_not_given_and_below_zero_is_no_limit() {
        assert_eq!(written(r#"{"pids":{"limit":0}}"#), []);
        assert_eq!(written(r#"{"pids":{"limit":-1}}"#), pairs(&[("pids.max", "max")]));
        assert_eq!(written(r#"{"pids":{"limit":42}}"#), pairs(&[("pids.max", "42")]));
    }

    #[test]
    fn block_io_knows_both_weights_and_four_rates() {
        let json = r#"{"blockIO":{"weight":10,"weightDevice":[{"major":8,"minor":0,"weight":1000}],
            "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1048576}],
            "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":0}]}}"#;
        let lines = settings(&serde_json::from_str(json).unwrap()).unwrap();
        let text: Vec<_> = lines.iter().map(|line| (&*line.file, &*line.value, line.instead.clone())).collect();
        assert_eq!(
            text,
            [
                ("io.bfq.weight", "10", Some(("io.weight", "1".into()))),
                ("io.bfq.weight", "8:0 1000", Some(("io.weight", "8:0 10000".into()))),
                ("io.max", "8:0 rbps=1048576", None),
                ("io.max", "8:16 wiops=max", None),
            ]
        );
    }

    #[test]
    fn huge_pages_and_rdma_have_their_limits() {
        let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],
            "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"mlx4_0":{"hcaObjects":1000}}}"#;
        let expected = [
            ("hugetlb.2MB.max", "4194304"),
            ("hugetlb.2MB.rsvd.max", "4194304"),
            ("rdma.max", "mlx4_0 hca_handle=max hca_object=1000"),
            ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
        ];
        assert_eq!(written(json), pairs(&expected));
        assert!(refused(r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#).contains("page size"));
    }

    #[test]
    fn files_by_name_come_last_and_line_by_line() {
        let json = r#"{"memory":{"limit":4096},"unified":{"memory.high":"8192","io.max":"8:0 rbps=1\n8:16 rbps=2"}}"#;
        let expected =
            [("memory.max", "4096"), ("io.max", "8:0 rbps=1"), ("io.max", "8:16 rbps=2"), ("memory.high", "8192")];
        assert_eq!(written(json), pairs(&expected));
        assert!(refused(r#"{"unified":{"../x.y":"1"}}"#).contains("is a path"));
        assert!(refused(r#"{"unified":{"memory":"1"}}"#).contains("controller.parameter"));
    }

    #[test]
    fn what_v2_cannot_do_is_refused_by_name() {
        for (json, field) in [
            (r#"{"memory":{"swappiness":60}}"#, "linux.resources.memory.swappiness"),
            (r#"{"memory":{"disableOOMKiller":true}}"#, "linux.resources.memory.disableOOMKiller"),
            (r#"{"memory":{"kernelTCP":1}}"#, "linux.resources.memory.kernelTCP"),
            (r#"{"cpu":{"realtimeRuntime":1}}"#, "linux.resources.cpu.realtimeRuntime"),
            (r#"{"network":{"classID":7}}"#, "linux.resources.network.classID"),
            (r#"{"network":{"priorities":[{"name":"eth0","priority":1}]}}"#, "linux.resources.network.priorities"),
            (r#"{"blockIO":{"leafWeight":10}}"#, "linux.resources.blockIO.leafWeight"),
        ] {
            assert!(refused(json).starts_with(field), "{json}: {}", refused(json));
        }
    }
}
