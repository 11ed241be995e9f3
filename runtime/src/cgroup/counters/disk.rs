//! Traffic with block devices, in runc's eight tables.

use serde::Serialize;

use super::super::{Cgroup, Error, Layout};
use super::{Psi, is_zero};

/// Traffic with block devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "see Counters")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// One device and one kind of request.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see Counters")]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

type Table = fn(&mut Blkio) -> &mut Vec<BlkioEntry>;

/// The files of v1 with what goes into which table, the scheduler's own first: the first set of which all have lines counts.
static V1: [&[(&str, Table)]; 3] = [
    &[
        ("blkio.bfq.sectors_recursive", |all| &mut all.sectors_recursive),
        ("blkio.bfq.io_service_time_recursive", |all| &mut all.io_service_time_recursive),
        ("blkio.bfq.io_wait_time_recursive", |all| &mut all.io_wait_time_recursive),
        ("blkio.bfq.io_merged_recursive", |all| &mut all.io_merged_recursive),
        ("blkio.bfq.io_queued_recursive", |all| &mut all.io_queued_recursive),
        ("blkio.bfq.time_recursive", |all| &mut all.io_time_recursive),
        ("blkio.bfq.io_serviced_recursive", |all| &mut all.io_serviced_recursive),
        ("blkio.bfq.io_service_bytes_recursive", |all| &mut all.io_service_bytes_recursive),
    ],
    &[
        ("blkio.bfq.io_serviced_recursive", |all| &mut all.io_serviced_recursive),
        ("blkio.bfq.io_service_bytes_recursive", |all| &mut all.io_service_bytes_recursive),
    ],
    &[
        ("blkio.throttle.io_serviced_recursive", |all| &mut all.io_serviced_recursive),
        ("blkio.throttle.io_service_bytes_recursive", |all| &mut all.io_service_bytes_recursive),
    ],
];

impl Cgroup {
    pub(super) fn disk_counters(&self) -> Result<Blkio, Error> {
        if self.layout == Layout::V2 {
            let psi = self.psi("io", "io.pressure")?;
            return Ok(Blkio { psi, ..v2(&self.text("io", "io.stat")?) });
        }
        for files in V1 {
            let mut all = Blkio::default();
            let mut whole = true;
            for (file, table) in files {
                let entries = v1(&self.text("blkio", file)?);
                whole &= !entries.is_empty();
                *table(&mut all) = entries;
            }
            if whole {
                return Ok(all);
            }
        }
        Ok(Blkio::default())
    }
}

fn device(number: &str) -> Option<(u64, u64)> {
    let (major, minor) = number.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `8:0 Read 4096`, or `8:0 4096` where requests are not told apart. The line `Total 4096` is of no device.
fn v1(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let (first, second) = (words.next()?, words.next());
        let (op, value) = second.map_or(("", first), |value| (first, value));
        Some(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`; v1 has no table for the last two.
fn v2(text: &str) -> Blkio {
    let mut all = Blkio::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (table, op): (Table, &str) = match key {
                "rbytes" => (|all| &mut all.io_service_bytes_recursive, "Read"),
                "wbytes" => (|all| &mut all.io_service_bytes_recursive, "Write"),
                "rios" => (|all| &mut all.io_serviced_recursive, "Read"),
                "wios" => (|all| &mut all.io_serviced_recursive, "Write"),
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            table(&mut all).push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(op: &str, value: u64) -> BlkioEntry {
        BlkioEntry { major: 8, minor: 0, op: op.to_owned(), value }
    }

    #[test]
    fn v1_has_a_line_for_each_kind_and_a_sum() {
        let text = "8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n";
        assert_eq!(v1(text), [entry("Read", 4096), entry("Total", 4096)]);
        assert_eq!(v1("8:0 77\n"), [entry("", 77)]);
    }

    #[test]
    fn v2_has_a_line_for_each_device() {
        let all = v2("8:0 rbytes=4096 wbytes=1 rios=2 wios=3 dbytes=0 dios=0\n7:0 \n");
        assert_eq!(all.io_service_bytes_recursive, [entry("Read", 4096), entry("Write", 1)]);
        assert_eq!(all.io_serviced_recursive, [entry("Read", 2), entry("Write", 3)]);
    }
}
