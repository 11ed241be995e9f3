//! The flags of `update`, and the limits they come to.

use clap::Args;
use std::path::PathBuf;

// `update`. Whatever is not named stays as it is; so does what is 0, as in runc.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Read the limits, the linux.resources of a config.json, from this file, or from standard input if it is -
    #[arg(short, long, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// The container's name
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

// One limit a flag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Limits {
    /// Share of the disks, from 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) blkio_weight: Option<u16>,
    /// Period of the processor limit, in microseconds
    #[arg(long, value_name = "US")]
    pub(crate) cpu_period: Option<u64>,
    /// Processor time in a period, in microseconds; -1 for no limit
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// Processor time that may be saved up for a later period, in microseconds
    #[arg(long, value_name = "US")]
    pub(crate) cpu_burst: Option<u64>,
    /// Share of the processors against other containers, 1024 being usual
    #[arg(long, value_name = "SHARES")]
    pub(crate) cpu_share: Option<u64>,
    /// Period of the realtime limit, in microseconds
    #[arg(long, value_name = "US")]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Realtime processor time in a period, in microseconds
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,
    /// 1 to run only when nobody else wants to, 0 for the usual
    #[arg(long, value_name = "0|1", allow_negative_numbers = true)]
    pub(crate) cpu_idle: Option<i64>,
    /// Processors to run on, as 0-3,5
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes to use, as 0,1
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,
    /// Memory, in bytes or as 512m; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_negative_numbers = true)]
    pub(crate) memory: Option<i64>,
    /// Memory that is left to it when memory is short, in bytes or as 512m
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_negative_numbers = true)]
    pub(crate) memory_reservation: Option<i64>,
    /// Memory and swap together, in bytes or as 512m; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_negative_numbers = true)]
    pub(crate) memory_swap: Option<i64>,
    /// Number of processes and threads; -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Ignored as in runc: the kernel has no such limit any more
    #[arg(long, value_name = "BYTES", hide = true)]
    pub(crate) kernel_memory: Option<String>,
    /// Ignored as in runc
    #[arg(long, value_name = "BYTES", hide = true)]
    pub(crate) kernel_memory_tcp: Option<String>,
    /// The processor's cache, by resctrl: `L3:0=ff`
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) l3_cache_schema: Option<String>,
    /// The memory's bandwidth, by resctrl: `MB:0=20`
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) mem_bw_schema: Option<String>,
}

impl Limits {
    /// Whether any is of a control group.
    pub(crate) fn are_of_groups(&self) -> bool {
        Limits { l3_cache_schema: None, mem_bw_schema: None, ..self.clone() } != Limits::default()
    }
}

/// A number of bytes with a unit of 1024: `512m`, `1.5 GiB`, `4096` (github.com/docker/go-units, `RAMInBytes`); or -1.
fn bytes(text: &str) -> Result<i64, String> {
    let odd = || "must be a number of bytes, as 512m, or -1".to_owned();
    if text == "-1" {
        return Ok(-1);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| odd())?;
    let unit = text[digits..].trim_start_matches(' ').to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").filter(|unit| !unit.is_empty()).or(unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        letter => 1 + ["k", "m", "g", "t", "p"].iter().position(|known| *known == letter).ok_or_else(odd)?,
    };
    let bytes = number * 1024_f64.powi(i32::try_from(power).expect("there are five units"));
    // 2^63, from where on it would not be a number of bytes that the kernel takes.
    if bytes >= 9_223_372_036_854_775_808.0 {
        return Err(odd());
    }
    #[allow(clippy::cast_possible_truncation, reason = "less than 2^63, and a part of a byte is none")]
    Ok(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units_of_1024() {
        let good = [("4096", 4096), ("0", 0), ("1k", 1024), ("32MB", 32 << 20), ("1.5GiB", 3 << 29), ("1 g", 1 << 30)];
        for (text, number) in good.into_iter().chain([("-1", -1), ("7b", 7), ("2T", 2 << 40)]) {
            assert_eq!(bytes(text), Ok(number), "{text}");
        }
        for text in ["", "-2", "m", "1x", "1mm", "1.2.3", "0x10", "ib", "9999999999g"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
