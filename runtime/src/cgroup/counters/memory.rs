//! Bytes of memory, of each kind that runc tells apart.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::{Cgroup, Error, Layout};
use super::{Psi, is_zero};

/// Bytes of memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Counters")]
pub struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Of memory and swap together.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// memory.stat, name by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Counters")]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

impl Cgroup {
    pub(super) fn memory_counters(&self) -> Result<Memory, Error> {
        let raw = table(&self.text("memory", "memory.stat")?);
        if self.layout == Layout::V2 { self.memory_v2(raw) } else { self.memory_v1(raw) }
    }

    fn memory_v1(&self, raw: BTreeMap<String, u64>) -> Result<Memory, Error> {
        let entry = |kind: &str| -> Result<MemoryEntry, Error> {
            let number =
                |name: &str| Ok::<u64, Error>(self.number("memory", &format!("memory.{kind}{name}"))?.unwrap_or(0));
            Ok(MemoryEntry {
                limit: number("limit_in_bytes")?,
                usage: number("usage_in_bytes")?,
                max: number("max_usage_in_bytes")?,
                failcnt: number("failcnt")?,
            })
        };
        Ok(Memory {
            cache: raw.get("cache").copied().unwrap_or(0),
            usage: entry("")?,
            swap: entry("memsw.")?,
            kernel: entry("kmem.")?,
            kernel_tcp: entry("kmem.tcp.")?,
            raw,
            psi: None,
        })
    }

    fn memory_v2(&self, raw: BTreeMap<String, u64>) -> Result<Memory, Error> {
        let entry = |kind: &str| -> Result<Option<MemoryEntry>, Error> {
            let number = |name: &str| self.number("memory", &format!("memory.{kind}{name}"));
            let Some(usage) = number("current")? else { return Ok(None) };
            // `max` is no number; runc prints the largest.
            let limit = number("max")?.unwrap_or(u64::MAX);
            Ok(Some(MemoryEntry { limit, usage, max: number("peak")?.unwrap_or(0), failcnt: 0 }))
        };
        let usage = entry("")?.unwrap_or_default();
        let swap = entry("swap.")?.unwrap_or_default();
        Ok(Memory {
            cache: raw.get("file").copied().unwrap_or(0),
            usage,
            swap: together(usage, swap),
            raw,
            psi: self.psi("memory", "memory.pressure")?,
            ..Memory::default()
        })
    }
}

/// v1 counts memory and swap together, and so does runc also where the kernel counts swap alone. No peak: those of the two
/// need not have been at the same time.
fn together(memory: MemoryEntry, swap: MemoryEntry) -> MemoryEntry {
    let limit = if swap.limit == u64::MAX { u64::MAX } else { swap.limit.saturating_add(memory.limit) };
    MemoryEntry { limit, usage: swap.usage.saturating_add(memory.usage), max: 0, failcnt: swap.failcnt }
}

fn table(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_told_together_with_memory() {
        let memory = MemoryEntry { limit: 100, usage: 60, max: 90, failcnt: 0 };
        let swap = MemoryEntry { limit: 50, usage: 5, max: 7, failcnt: 0 };
        assert_eq!(together(memory, swap), MemoryEntry { limit: 150, usage: 65, max: 0, failcnt: 0 });
        let unlimited = MemoryEntry { limit: u64::MAX, ..swap };
        assert_eq!(together(memory, unlimited).limit, u64::MAX);
    }

    #[test]
    fn memory_stat_is_read_name_by_name() {
        assert_eq!(table("cache 4096\nrss 7\nodd\n"), BTreeMap::from([("cache".into(), 4096), ("rss".into(), 7)]));
    }
}
