//! What the kernel has counted for a group: the numbers behind `stats`, `events` and "killed for lack of memory".

use std::path::Path;

use nix::errno::Errno;
use serde::Serialize;

use super::file;
use super::{Cgroup, Error, Layout};

/// One moment's numbers. What the host does not count is zero, and what it does not limit is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Bytes of memory.
    pub memory: Memory,
    /// Time on processors.
    pub cpu: Cpu,
    /// Number of processes and threads.
    pub pids: Pids,
    /// Traffic with each block device.
    pub block_io: Vec<BlockIo>,
}

/// Bytes of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// In use, with the page cache.
    pub usage: u64,
    /// The most that was ever in use.
    pub peak: u64,
    /// Of `usage`, page cache that nobody has touched lately: Docker's `stats` takes it off.
    pub inactive_file: u64,
    /// How much may be in use.
    pub limit: Option<u64>,
    /// Swap in use: with memory on v1, alone on v2.
    pub swap: u64,
    /// How often a process was killed for lack of memory.
    pub oom_kills: u64,
}

/// Time on processors, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// All of it.
    pub usage_ns: u64,
    /// In the programs.
    pub user_ns: u64,
    /// In the kernel for them.
    pub system_ns: u64,
    /// Periods in which the group wanted to run.
    pub periods: u64,
    /// Of these, periods in which its quota was used up.
    pub throttled_periods: u64,
    /// How long it waited for its quota.
    pub throttled_ns: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    /// There are now.
    pub current: u64,
    /// There may be.
    pub limit: Option<u64>,
}

/// Traffic with one block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlockIo {
    /// Of the device's number.
    pub major: u32,
    /// Of the device's number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Read requests.
    pub reads: u64,
    /// Write requests.
    pub writes: u64,
}

impl Cgroup {
    /// Read all counters.
    ///
    /// # Errors
    /// `Os` if the group is gone.
    pub fn stats(&self) -> Result<Stats, Error> {
        if self.layout == Layout::V2 { self.stats_v2() } else { self.stats_v1() }
    }

    /// How often the kernel has killed a process of the group because memory ran out.
    ///
    /// # Errors
    /// `Os` if the group is gone.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let file = if self.layout == Layout::V2 { "memory.events" } else { "memory.oom_control" };
        Ok(field(&self.text("memory", file)?, "oom_kill").unwrap_or(0))
    }

    /// How many bytes the group may use; nothing where that is not limited, or not known.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        let file = if self.layout == Layout::V2 { "memory.max" } else { "memory.limit_in_bytes" };
        self.number("memory", file).ok().flatten().filter(|&limit| limit < UNLIMITED)
    }

    fn stats_v1(&self) -> Result<Stats, Error> {
        let memory = Memory {
            usage: self.number("memory", "memory.usage_in_bytes")?.unwrap_or(0),
            peak: self.number("memory", "memory.max_usage_in_bytes")?.unwrap_or(0),
            inactive_file: field(&self.text("memory", "memory.stat")?, "total_inactive_file").unwrap_or(0),
            limit: self.number("memory", "memory.limit_in_bytes")?.filter(|&limit| limit < UNLIMITED),
            swap: self.number("memory", "memory.memsw.usage_in_bytes")?.unwrap_or(0),
            oom_kills: self.oom_kills()?,
        };
        let stat = self.text("cpu", "cpu.stat")?;
        let cpu = Cpu {
            usage_ns: self.number("cpuacct", "cpuacct.usage")?.unwrap_or(0),
            user_ns: self.number("cpuacct", "cpuacct.usage_user")?.unwrap_or(0),
            system_ns: self.number("cpuacct", "cpuacct.usage_sys")?.unwrap_or(0),
            periods: field(&stat, "nr_periods").unwrap_or(0),
            throttled_periods: field(&stat, "nr_throttled").unwrap_or(0),
            throttled_ns: field(&stat, "throttled_time").unwrap_or(0),
        };
        let bytes = self.text("blkio", "blkio.throttle.io_service_bytes_recursive")?;
        let requests = self.text("blkio", "blkio.throttle.io_serviced_recursive")?;
        Ok(Stats { memory, cpu, pids: self.pids_stats()?, block_io: block_io_v1(&bytes, &requests) })
    }

    fn stats_v2(&self) -> Result<Stats, Error> {
        let memory = Memory {
            usage: self.number("memory", "memory.current")?.unwrap_or(0),
            peak: self.number("memory", "memory.peak")?.unwrap_or(0),
            inactive_file: field(&self.text("memory", "memory.stat")?, "inactive_file").unwrap_or(0),
            limit: self.number("memory", "memory.max")?,
            swap: self.number("memory", "memory.swap.current")?.unwrap_or(0),
            oom_kills: self.oom_kills()?,
        };
        let stat = self.text("cpu", "cpu.stat")?;
        let micros = |name| field(&stat, name).unwrap_or(0).saturating_mul(1000);
        let cpu = Cpu {
            usage_ns: micros("usage_usec"),
            user_ns: micros("user_usec"),
            system_ns: micros("system_usec"),
            periods: field(&stat, "nr_periods").unwrap_or(0),
            throttled_periods: field(&stat, "nr_throttled").unwrap_or(0),
            throttled_ns: micros("throttled_usec"),
        };
        Ok(Stats { memory, cpu, pids: self.pids_stats()?, block_io: block_io_v2(&self.text("io", "io.stat")?) })
    }

    fn pids_stats(&self) -> Result<Pids, Error> {
        let current = self.number("pids", "pids.current")?.unwrap_or(0);
        Ok(Pids { current, limit: self.number("pids", "pids.max")? })
    }

    /// A control file's text; empty where this host or kernel has no such file.
    pub(super) fn text(&self, controller: &str, name: &str) -> Result<String, Error> {
        let Some(hierarchy) = self.hierarchy_of(controller) else { return Ok(String::new()) };
        let path = hierarchy.path.join(name);
        match file::read(&path) {
            Ok(text) => Ok(text),
            Err(Errno::ENOENT) if file::exists(&hierarchy.path) => Ok(String::new()),
            Err(source) => Err(gone(&path, source)),
        }
    }

    /// A control file's one number; `None` for `max` or where there is no such file.
    pub(super) fn number(&self, controller: &str, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.text(controller, name)?.trim().parse().ok())
    }
}

fn gone(path: &Path, source: Errno) -> Error {
    Error::Os { doing: format!("read {}", path.display()), source }
}

/// v1 says "no limit" with the largest multiple of a page; nothing real comes near.
const UNLIMITED: u64 = 1 << 62;

/// The number of a line `name number`.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

/// Lines as `8:0 Read 4096` in one file for bytes and one for requests.
fn block_io_v1(bytes: &str, requests: &str) -> Vec<BlockIo> {
    let mut devices: Vec<BlockIo> = Vec::new();
    for (text, counts_bytes) in [(bytes, true), (requests, false)] {
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(number), Some(what), Some(count)) = (words.next(), words.next(), words.next()) else { continue };
            let (Some(device), Ok(count)) = (device(&mut devices, number), count.parse()) else { continue };
            match (what, counts_bytes) {
                ("Read", true) => device.read_bytes = count,
                ("Write", true) => device.written_bytes = count,
                ("Read", false) => device.reads = count,
                ("Write", false) => device.writes = count,
                _ => {}
            }
        }
    }
    devices
}

/// Lines as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn block_io_v2(text: &str) -> Vec<BlockIo> {
    let mut devices = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(device) = words.next().and_then(|number| device(&mut devices, number)) else { continue };
        for (key, count) in words.filter_map(|word| word.split_once('=')) {
            let count = count.parse().unwrap_or(0);
            match key {
                "rbytes" => device.read_bytes = count,
                "wbytes" => device.written_bytes = count,
                "rios" => device.reads = count,
                "wios" => device.writes = count,
                _ => {}
            }
        }
    }
    devices
}

fn device<'a>(devices: &'a mut Vec<BlockIo>, number: &str) -> Option<&'a mut BlockIo> {
    let (major, minor) = number.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    let index = devices.iter().position(|device| (device.major, device.minor) == (major, minor)).unwrap_or_else(|| {
        devices.push(BlockIo { major, minor, ..BlockIo::default() });
        devices.len() - 1
    });
    devices.get_mut(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_counts_of_a_device_come_together() {
        let bytes = "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 9\n253:1 Read 7\nTotal 4615\n";
        let requests = "8:0 Read 3\n8:0 Write 1\n";
        let expected = [
            BlockIo { major: 8, minor: 0, read_bytes: 4096, written_bytes: 512, reads: 3, writes: 1 },
            BlockIo { major: 253, minor: 1, read_bytes: 7, ..BlockIo::default() },
        ];
        assert_eq!(block_io_v1(bytes, requests), expected);
    }

    #[test]
    fn v2_counts_of_a_device_are_one_line() {
        let text = "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n7:0 \n";
        let devices = block_io_v2(text);
        assert_eq!(
            devices[0],
            BlockIo { major: 8, minor: 16, read_bytes: 1_459_200, written_bytes: 314_773_504, reads: 192, writes: 353 }
        );
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        assert_eq!(field("oom 3\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(field("oom_kill_disable 1\nunder_oom 0\noom_kill 5\n", "oom_kill"), Some(5));
        assert_eq!(field("", "oom_kill"), None);
    }
}
