//! All that the kernel has counted for a group, in the form in which `runc events` prints it: tools parse it, so each key
//! is runc's (its types/events.go), and what is left out when it is zero is left out here.

use std::collections::BTreeMap;

use serde::Serialize;

use super::stats::field;
use super::{Cgroup, Error, Layout};

mod disk;
mod memory;

use self::disk::Blkio;
use self::memory::Memory;

/// One moment's numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the keys are runc's, and mean what the kernel's files of the same name mean")]
pub struct Counters {
    pub cpu: Cpu,
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    pub hugetlb: BTreeMap<String, Hugetlb>,
    pub intel_rdt: IntelRdt,
    /// runc has none either for a container whose network it has not made.
    pub network_interfaces: Option<()>,
}

/// Time on processors, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Counters")]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Of this, in the programs and in the kernel; and on each processor, where the host tells.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Counters")]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// How often and how long it waited for its quota.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "see Counters")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// The files of the v1 controller cpuset; all zero with v2.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Counters")]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Counters")]
pub struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Counters")]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Intel's resource director, which is not supported: an empty object, as runc prints it then.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct IntelRdt {}

/// Pressure stall information: how long somebody, or everybody, waited (v2 only).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Counters")]
pub struct Psi {
    pub some: PsiLine,
    pub full: PsiLine,
}

/// Percents of the last 10, 60 and 300 seconds, and microseconds altogether.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Counters")]
pub struct PsiLine {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Cgroup {
    /// Read all that `runc events` prints.
    ///
    /// # Errors
    /// `Os` if the group is gone.
    pub fn counters(&self) -> Result<Counters, Error> {
        Ok(Counters {
            cpu: if self.layout == Layout::V2 { self.cpu_v2()? } else { self.cpu_v1()? },
            cpuset: if self.layout == Layout::V2 { Cpuset::default() } else { self.cpuset_v1()? },
            memory: self.memory_counters()?,
            pids: Pids {
                current: self.number("pids", "pids.current")?.unwrap_or(0),
                limit: self.number("pids", "pids.max")?.unwrap_or(0),
            },
            blkio: self.disk_counters()?,
            hugetlb: self.hugetlb_counters()?,
            ..Counters::default()
        })
    }

    fn cpu_v1(&self) -> Result<Cpu, Error> {
        let stat = self.text("cpu", "cpu.stat")?;
        let account = |name| self.text("cpuacct", name);
        let ticks = account("cpuacct.stat")?;
        let nanoseconds = |name| field(&ticks, name).unwrap_or(0).saturating_mul(1_000_000_000 / TICKS);
        let all = account("cpuacct.usage_all")?;
        let usage = CpuUsage {
            total: self.number("cpuacct", "cpuacct.usage")?.unwrap_or(0),
            percpu: account("cpuacct.usage_percpu")?.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
            percpu_kernel: column(&all, "system"),
            percpu_user: column(&all, "user"),
            kernel: nanoseconds("system"),
            user: nanoseconds("user"),
        };
        let throttling = Throttling {
            periods: field(&stat, "nr_periods").unwrap_or(0),
            throttled_periods: field(&stat, "nr_throttled").unwrap_or(0),
            throttled_time: field(&stat, "throttled_time").unwrap_or(0),
        };
        Ok(Cpu { usage, throttling, psi: None })
    }

    fn cpu_v2(&self) -> Result<Cpu, Error> {
        let stat = self.text("cpu", "cpu.stat")?;
        let number = |name| field(&stat, name).unwrap_or(0);
        let nanoseconds = |name| number(name).saturating_mul(1000);
        let usage = CpuUsage {
            total: nanoseconds("usage_usec"),
            kernel: nanoseconds("system_usec"),
            user: nanoseconds("user_usec"),
            ..CpuUsage::default()
        };
        let throttling = Throttling {
            periods: number("nr_periods"),
            throttled_periods: number("nr_throttled"),
            throttled_time: nanoseconds("throttled_usec"),
        };
        Ok(Cpu { usage, throttling, psi: self.psi("cpu", "cpu.pressure")? })
    }

    fn cpuset_v1(&self) -> Result<Cpuset, Error> {
        let number = |name| Ok::<u64, Error>(self.number("cpuset", name)?.unwrap_or(0));
        let level = self.text("cpuset", "cpuset.sched_relax_domain_level")?;
        Ok(Cpuset {
            cpus: numbers(&self.text("cpuset", "cpuset.cpus")?),
            cpu_exclusive: number("cpuset.cpu_exclusive")?,
            mems: numbers(&self.text("cpuset", "cpuset.mems")?),
            mem_hardwall: number("cpuset.mem_hardwall")?,
            mem_exclusive: number("cpuset.mem_exclusive")?,
            memory_migrate: number("cpuset.memory_migrate")?,
            memory_spread_page: number("cpuset.memory_spread_page")?,
            memory_spread_slab: number("cpuset.memory_spread_slab")?,
            memory_pressure: number("cpuset.memory_pressure")?,
            sched_load_balance: number("cpuset.sched_load_balance")?,
            sched_relax_domain_level: level.trim().parse().unwrap_or(0),
        })
    }

    /// `None` where the kernel does not measure it: without `CONFIG_PSI`, and with v1.
    fn psi(&self, controller: &str, name: &str) -> Result<Option<Psi>, Error> {
        // A kernel that was started with psi=0 has the file, and reading it is EOPNOTSUPP.
        let text = match self.text(controller, name) {
            Err(Error::Os { source: nix::errno::Errno::EOPNOTSUPP, .. }) => return Ok(None),
            text => text?,
        };
        Ok(psi(&text))
    }

    fn hugetlb_counters(&self) -> Result<BTreeMap<String, Hugetlb>, Error> {
        let mut counted = BTreeMap::new();
        for size in page_sizes() {
            let number = |name: &str| self.number("hugetlb", &format!("hugetlb.{size}.{name}"));
            let of = |kind: &str| -> Result<Option<Hugetlb>, Error> {
                if self.layout == Layout::V2 {
                    let Some(usage) = number(&format!("{kind}current"))? else { return Ok(None) };
                    let events = self.text("hugetlb", &format!("hugetlb.{size}.events"))?;
                    return Ok(Some(Hugetlb { usage, max: 0, failcnt: field(&events, "max").unwrap_or(0) }));
                }
                let Some(usage) = number(&format!("{kind}usage_in_bytes"))? else { return Ok(None) };
                let max = number(&format!("{kind}max_usage_in_bytes"))?.unwrap_or(0);
                Ok(Some(Hugetlb { usage, max, failcnt: number(&format!("{kind}failcnt"))?.unwrap_or(0) }))
            };
            // Reserved pages are what runc counts, where the kernel does (5.7).
            let hugetlb = match of("rsvd.")? {
                None => of("")?,
                reserved => reserved,
            };
            if let Some(hugetlb) = hugetlb {
                counted.insert(size, hugetlb);
            }
        }
        Ok(counted)
    }
}

/// `USER_HZ`, in which the kernel shows time to programs on every architecture that we build for (time(7)).
const TICKS: u64 = 100;

/// One column of cpuacct.usage_all: `cpu user system`, then a line for each processor.
fn column(text: &str, name: &str) -> Vec<u64> {
    let title = text.lines().next().unwrap_or_default();
    let Some(index) = title.split_whitespace().position(|word| word == name) else { return Vec::new() };
    let cell = |line: &str| line.split_whitespace().nth(index).and_then(|word| word.parse().ok());
    text.lines().skip(1).filter_map(cell).collect()
}

/// `0-2,5` is 0, 1, 2, 5. cpuset(7), "List format".
fn numbers(list: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn psi(text: &str) -> Option<Psi> {
    let line = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let of = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let percent = |key| of(key).and_then(|number| number.parse().ok()).unwrap_or(0.0);
        let total = of("total").and_then(|number| number.parse().ok()).unwrap_or(0);
        Some(PsiLine { avg10: percent("avg10"), avg60: percent("avg60"), avg300: percent("avg300"), total })
    };
    Some(Psi { some: line("some ")?, full: line("full ").unwrap_or_default() })
}

/// `2MB`, `1GB`: as the files of the controller are named after the directories of /sys/kernel/mm/hugepages.
fn page_sizes() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let name = |kilobytes: u64| match kilobytes {
        1_048_576.. => format!("{}GB", kilobytes >> 20),
        1024.. => format!("{}MB", kilobytes >> 10),
        _ => format!("{kilobytes}KB"),
    };
    let size = |entry: std::fs::DirEntry| {
        let text = entry.file_name().into_string().ok()?;
        Some(name(text.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?))
    };
    entries.filter_map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_processor_has_its_line() {
        let text = "cpu user system\n0 11 12\n1 21 22\n";
        assert_eq!((column(text, "user"), column(text, "system")), (vec![11, 21], vec![12, 22]));
        assert!(column("", "user").is_empty());
    }

    #[test]
    fn lists_of_processors_have_ranges() {
        assert_eq!(numbers("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(numbers("\n"), [0_u16; 0]);
    }

    #[test]
    fn pressure_has_two_lines_or_is_not_measured() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        let found = psi(text).unwrap();
        assert_eq!((found.some.avg10, found.some.total, found.full.total), (1.5, 77, 5));
        assert_eq!(psi(""), None);
    }

    #[test]
    fn what_is_zero_is_left_out_where_runc_leaves_it_out() {
        let text = serde_json::to_string(&Counters::default()).unwrap();
        let expected = r#"{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"cpuset":{"cpu_exclusive":0,"#;
        assert!(text.starts_with(expected), "{text}");
        let expected = r#""pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#;
        assert!(text.ends_with(expected), "{text}");
    }
}
