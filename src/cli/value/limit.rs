//! Sizes, processors, and other limits.

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

use super::{Parsed, in_range};

/// `512m`, `1.5g`, `10KiB`, `1024`: powers of 1024 (go-units RAMInBytes).
pub(crate) fn bytes(text: &str) -> Parsed<i64> {
    let wrong = || "not a size: write 512m, 1.5g or a number of bytes".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    let value = number.parse::<f64>().map_err(|_| wrong())? * f64::from(2).powi(shift);
    #[expect(clippy::cast_possible_truncation, reason = "a fraction of a byte is dropped, as go-units does")]
    if value.is_finite() && value < i64::MAX as f64 { Ok(value as i64) } else { Err(wrong()) }
}

/// As [`bytes`], and -1.
pub(crate) fn bytes_or_unlimited(text: &str) -> Parsed<i64> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// The size of /dev/shm: more than nothing.
pub(crate) fn shm_size(text: &str) -> Parsed<i64> {
    match bytes(text)? {
        0 => Err("/dev/shm needs a size above 0".into()),
        size => Ok(size),
    }
}

/// `1.5` processors in billionths of one (go-units and docker/cli `opts.ParseCPUs`).
pub(crate) fn cpus(text: &str) -> Parsed<i64> {
    let wrong = || "not a number of processors".to_owned();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.chars().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err(wrong());
    }
    if fraction.len() > 9 {
        return Err("at most nine digits behind the point".into());
    }
    let number = |s: &str| if s.is_empty() { Ok(0) } else { s.parse::<i64>().map_err(|_| wrong()) };
    let billionths = number(&format!("{fraction:0<9}"))?;
    number(whole)?.checked_mul(1_000_000_000).and_then(|n| n.checked_add(billionths)).ok_or_else(wrong)
}

/// Shares of the processors; below 2 means 2 to the kernel, above 262144 that.
pub(crate) fn cpu_shares(text: &str) -> Parsed<u64> {
    text.parse().map_err(|_| "not a positive number".into())
}

/// -1 is Docker's word for "not set".
pub(crate) fn swappiness(text: &str) -> Parsed<i64> {
    in_range(text, -1, 100)
}

/// proc(5), oom_score_adj.
pub(crate) fn oom_score_adj(text: &str) -> Parsed<i32> {
    in_range(text, -1000, 1000)
}

/// `0-3,7`, as cpuset(7) "List format".
pub(crate) fn number_list(text: &str) -> Parsed<String> {
    if expand_list(text).is_some() { Ok(text.into()) } else { Err("not a list such as 0-3,7".into()) }
}

/// The numbers of such a list, or `None` where it is none.
pub(crate) fn expand_list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if first > last || last > 8192 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// A control group, from the root of all: `/batch`, `batch/night`.
pub(crate) fn cgroup(text: &str) -> Parsed<std::path::PathBuf> {
    let path = std::path::Path::new(text);
    let leads_up = path.components().any(|part| part == std::path::Component::ParentDir);
    if text.is_empty() || leads_up {
        Err("not a path below the root of the control groups".into())
    } else {
        Ok(path.into())
    }
}

/// `nofile=1024:4096`; -1 is no limit (go-units ParseUlimit).
pub(crate) fn ulimit(text: &str) -> Parsed<PosixRlimit> {
    let (name, limits) = text.split_once('=').ok_or("not of the form NAME=SOFT[:HARD]")?;
    let kind: PosixRlimitType = format!("RLIMIT_{}", name.to_ascii_uppercase())
        .parse()
        .map_err(|_| format!("there is no limit called {name}"))?;
    let limit = |s: &str| match s.parse::<i64>() {
        Ok(-1) => Ok(u64::MAX),
        Ok(n) => u64::try_from(n).map_err(|_| format!("{s} is below -1")),
        Err(_) => Err(format!("{s} is not a number")),
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (limit(soft)?, limit(hard)?);
    if soft > hard {
        return Err("the soft limit is above the hard limit".into());
    }
    PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build().map_err(|error| error.to_string())
}
