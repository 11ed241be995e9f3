//! What systemd is told of a container: who is in its unit, and its limits in systemd's own names. The limits are made
//! of the very lines that are written into the control files, so that both say the same; systemd would else write its own
//! idea of them when it is reloaded. systemd.resource-control(5), org.freedesktop.systemd1(5).

use super::unit::Unit;
use super::wire::Value;
use crate::cgroup::devices::{Access, Exception, Kind, Policy};
use crate::cgroup::error::invalid;
use crate::cgroup::{Error, Layout, Setting};

/// A property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Property {
    pub(super) name: String,
    value: Value,
}

impl Property {
    pub(super) fn new(name: impl Into<String>, value: Value) -> Property {
        Property { name: name.into(), value }
    }
}

/// As the methods take them: `a(sv)`.
pub(super) fn array(properties: Vec<Property>) -> Value {
    let pair =
        |property: Property| Value::Struct(vec![Value::Text(property.name), Value::Variant(Box::new(property.value))]);
    Value::Array("(sv)".to_owned(), properties.into_iter().map(pair).collect())
}

/// What every container's unit has, in runc's order.
pub(super) fn of_unit(unit: &Unit, layout: Layout, pid: i32) -> Vec<Property> {
    let yes = |name: &str| Property::new(name, Value::Bool(true));
    let mut all = vec![Property::new("Description", Value::text(format!("container {}", unit.name)))];
    if unit.is_slice() {
        // Where a slice lies says its name; and it takes no process from systemd.
        all.push(Property::new("Wants", Value::Array("s".to_owned(), vec![Value::text(&unit.slice)])));
    } else {
        let pid = Value::UInt32(pid.unsigned_abs());
        all.push(Property::new("Slice", Value::text(&unit.slice)));
        // What is below the group is the container's, and ours to write.
        all.push(yes("Delegate"));
        all.push(Property::new("PIDs", Value::Array("u".to_owned(), vec![pid])));
    }
    let io = if layout == Layout::V2 { "IOAccounting" } else { "BlockIOAccounting" };
    all.extend(["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"].map(yes));
    // Not stopped at shutdown before what started it, and not waiting for the boot to end.
    all.push(Property::new("DefaultDependencies", Value::Bool(false)));
    all
}

/// The limits of `lines`; those for which systemd has no name are left to the files.
///
/// # Errors
/// `InvalidSpec` for a set of processors that is none.
pub(super) fn of_limits(lines: &[Setting]) -> Result<Vec<Property>, Error> {
    let mut all = Vec::new();
    let (mut quota, mut period) = (None, None);
    for line in lines {
        let (file, value) = match &line.instead {
            Some((file, value)) if line.file == "io.bfq.weight" => (*file, value),
            _ => (&*line.file, &line.value),
        };
        match file {
            "cpuset.cpus" | "cpuset.mems" => {
                let name = if file == "cpuset.cpus" { "AllowedCPUs" } else { "AllowedMemoryNodes" };
                let odd =
                    || invalid(file.trim_start_matches("cpuset."), &format!("{value:?} is not a list of numbers"));
                all.push(Property::new(name, Value::bytes(&bits(value).ok_or_else(odd)?)));
            }
            "cpu.max" => {
                let mut words = value.split_whitespace();
                quota = words.next().map(str::to_owned);
                period = words.next().map(str::to_owned);
            }
            "cpu.cfs_quota_us" => quota = Some(value.clone()),
            "cpu.cfs_period_us" => period = Some(value.clone()),
            file => {
                let name = NAMES.iter().find(|(known, _)| *known == file).map(|(_, name)| *name);
                // What is for one device only has two words.
                all.extend(name.zip(number(value)).map(|(name, value)| Property::new(name, Value::UInt64(value))));
            }
        }
    }
    if quota.is_some() || period.is_some() {
        all.extend(processor_time(quota.as_deref(), period.as_deref()));
    }
    Ok(all)
}

/// Control files that hold one number, and what systemd calls it.
const NAMES: [(&str, &str); 12] = [
    ("memory.max", "MemoryMax"),
    ("memory.low", "MemoryLow"),
    ("memory.high", "MemoryHigh"),
    ("memory.min", "MemoryMin"),
    ("memory.swap.max", "MemorySwapMax"),
    ("cpu.weight", "CPUWeight"),
    ("io.weight", "IOWeight"),
    ("pids.max", "TasksMax"),
    ("memory.limit_in_bytes", "MemoryLimit"),
    ("cpu.shares", "CPUShares"),
    ("blkio.weight", "BlockIOWeight"),
    ("blkio.bfq.weight", "BlockIOWeight"),
];

/// No limit is the highest number; v1 writes it as -1.
fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" | "-1" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// systemd keeps whole hundredths of a processor, so round up as runc does: the file gets the exact value from us.
fn processor_time(quota: Option<&str>, period: Option<&str>) -> Vec<Property> {
    const STEP_US: u64 = 10_000;
    let period = period.and_then(number);
    let per_second = match quota.and_then(number) {
        Some(quota) if quota != 0 && quota != u64::MAX => {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(100_000).max(1));
            u64::try_from(exact).unwrap_or(u64::MAX - STEP_US).next_multiple_of(STEP_US)
        }
        _ => u64::MAX,
    };
    let period = period.map(|period| Property::new("CPUQuotaPeriodUSec", Value::UInt64(period)));
    period.into_iter().chain([Property::new("CPUQuotaPerSecUSec", Value::UInt64(per_second))]).collect()
}

/// `0-2,5` as a mask: bit n of byte n/8 is number n.
fn bits(list: &str) -> Option<Vec<u8>> {
    /// The kernel's NR_CPUS is at most 8192 (arch/x86/Kconfig).
    const MOST: usize = 8192;
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        mask.resize(mask.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|number| mask[number / 8] |= 1 << (number % 8));
    }
    (!mask.is_empty()).then_some(mask)
}

/// Which devices may be used. systemd knows no list of forbidden ones, and no minor number of every major: it is then told to allow
/// none of these, until our own filter takes the place of its (as in runc).
pub(super) fn of_devices(policy: &Policy) -> Vec<Property> {
    let listed = |entries| Property::new("DeviceAllow", Value::Array("(ss)".to_owned(), entries));
    let word = if policy.allows_everything() { "auto" } else { "strict" };
    let mut all = vec![Property::new("DevicePolicy", Value::text(word)), listed(vec![])];
    let allowed = policy.exceptions.iter().filter(|_| !policy.allow).filter_map(device).collect::<Vec<_>>();
    if !allowed.is_empty() {
        all.push(listed(allowed));
    }
    all
}

/// One entry of DeviceAllow: systemd.resource-control(5).
fn device(exception: &Exception) -> Option<Value> {
    let kind = match exception.kind {
        Kind::Block => "block",
        Kind::Char => "char",
    };
    let path = match (exception.major, exception.minor) {
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
        (Some(major), None) => format!("{kind}-{major}"),
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
    };
    let letters = [(Access::READ, 'r'), (Access::WRITE, 'w'), (Access::MKNOD, 'm')];
    let letters: String =
        letters.iter().filter(|(bit, _)| exception.access.0 & bit.0 != 0).map(|(_, letter)| letter).collect();
    Some(Value::Struct(vec![Value::Text(path), Value::Text(letters)]))
}

#[cfg(test)]
mod tests;
