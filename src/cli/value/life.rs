//! How a container lives on, on the command line: `on-failure:3`, `max-size=10m`, `ctrl-p,ctrl-q`, `10m` ago.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Parsed;

/// When a program that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When its exit code is not 0; at most so many times, 0 for no limit.
    OnFailure(u32),
    /// Whenever it ends, unless a person stopped it.
    Always,
    /// The same, and not after a restart of the machine when it was stopped before.
    UnlessStopped,
}

impl RestartPolicy {
    /// Docker's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            RestartPolicy::No => "no",
            RestartPolicy::OnFailure(_) => "on-failure",
            RestartPolicy::Always => "always",
            RestartPolicy::UnlessStopped => "unless-stopped",
        }
    }

    /// How often at most; 0 for no limit.
    pub(crate) fn times(self) -> u32 {
        if let RestartPolicy::OnFailure(times) = self { times } else { 0 }
    }
}

/// `no`, `on-failure`, `on-failure:3`, `always`, `unless-stopped` (docker/cli `opts.ParseRestartPolicy`).
pub(crate) fn restart_policy(text: &str) -> Parsed<RestartPolicy> {
    let (name, times) = match text.split_once(':') {
        Some((name, times)) => (name, Some(times)),
        None => (text, None),
    };
    match (name, times) {
        ("" | "no", None) => Ok(RestartPolicy::No),
        ("always", None) => Ok(RestartPolicy::Always),
        ("unless-stopped", None) => Ok(RestartPolicy::UnlessStopped),
        ("on-failure", None) => Ok(RestartPolicy::OnFailure(0)),
        ("on-failure", Some(times)) if times.starts_with('-') && times.parse::<i32>().is_ok() => {
            Err(format!("{times} times is less than none"))
        }
        ("on-failure", Some(times)) => {
            times.parse().map(RestartPolicy::OnFailure).map_err(|_| format!("{times} is not a number of times"))
        }
        (_, Some(_)) => Err(format!("{name} takes no number of times")),
        _ => Err("not one of no, on-failure[:TIMES], always, unless-stopped".into()),
    }
}

/// Where the output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LogDriver {
    /// In a file, a JSON object for each line.
    JsonFile,
    /// Nowhere.
    None,
}

/// `json-file`, `none`.
pub(crate) fn log_driver(text: &str) -> Parsed<LogDriver> {
    match text {
        "json-file" | "" => Ok(LogDriver::JsonFile),
        "none" => Ok(LogDriver::None),
        "local" | "journald" | "syslog" | "gelf" | "fluentd" | "awslogs" | "splunk" | "etwlogs" | "gcplogs"
        | "logentries" => Err("this driver is not supported: json-file or none".into()),
        _ => Err("not one of json-file, none".into()),
    }
}

/// An option of the log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LogOpt {
    /// `max-size`: bytes after which a new file begins; none for no limit.
    MaxSize(Option<u64>),
    /// `max-file`: how many files there are at most.
    MaxFile(u32),
}

impl LogOpt {
    /// Its name and its value, as people write them.
    pub(crate) fn words(self) -> (&'static str, String) {
        match self {
            LogOpt::MaxSize(None) => ("max-size", "-1".to_owned()),
            LogOpt::MaxSize(Some(bytes)) => {
                let unit = [(1_000_000_000, "g"), (1_000_000, "m"), (1000, "k")];
                let unit = unit.iter().find(|(size, _)| bytes % size == 0).unwrap_or(&(1, ""));
                ("max-size", format!("{}{}", bytes / unit.0, unit.1))
            }
            LogOpt::MaxFile(count) => ("max-file", count.to_string()),
        }
    }
}

/// `max-size=10m`, `max-file=3` (moby `daemon/logger/jsonfilelog`).
pub(crate) fn log_opt(text: &str) -> Parsed<LogOpt> {
    match text.split_once('=') {
        Some(("max-size", "-1")) => Ok(LogOpt::MaxSize(None)),
        Some(("max-size", size)) => match decimal_size(size) {
            Some(bytes) if bytes > 0 => Ok(LogOpt::MaxSize(Some(bytes))),
            _ => Err("not a size: write 10m, 500k or a number of bytes".into()),
        },
        Some(("max-file", count)) => match count.parse() {
            Ok(count @ 1..) => Ok(LogOpt::MaxFile(count)),
            _ => Err("not a number of files from 1 on".into()),
        },
        Some((name @ ("compress" | "labels" | "labels-regex" | "env" | "env-regex" | "tag" | "mode"), _)) => {
            Err(format!("{name} is not supported"))
        }
        Some((name, _)) => Err(format!("there is no option {name}")),
        None => Err("not of the form KEY=VALUE".into()),
    }
}

/// go-units `FromHumanSize`: powers of 1000, unlike the sizes of memory.
fn decimal_size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "digits and a point: not negative")]
    let bytes = (number * 1000_f64.powi(power)) as u64;
    Some(bytes)
}

/// The keys that leave a terminal, as the bytes that a terminal sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys(pub(crate) Vec<u8>);

/// `ctrl-p,ctrl-q`, `a,b`, `ctrl-[` (moby `term.ToBytes`).
pub(crate) fn detach_keys(text: &str) -> Parsed<DetachKeys> {
    let key = |name: &str| -> Parsed<u8> {
        let wrong = || format!("there is no key {name}: write a letter, or ctrl- and one of a-z @ [ \\ ] ^ _");
        match (name.as_bytes(), name.strip_prefix("ctrl-").map(str::as_bytes)) {
            (_, Some([letter @ (b'a'..=b'z' | b'A'..=b'Z')])) => Ok(letter.to_ascii_lowercase() - b'a' + 1),
            (_, Some(b"@")) => Ok(0),
            (_, Some([sign @ b'['..=b'_'])) => Ok(sign - b'[' + 27),
            ([letter], None) => Ok(*letter),
            _ => Err(wrong()),
        }
    };
    text.split(',').map(key).collect::<Parsed<Vec<u8>>>().map(DetachKeys)
}

/// How many of the last lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail(pub(crate) Option<usize>);

/// `all`, `100`; what is no number, or below 0, is all (moby `daemon/logs.go`).
pub(crate) fn tail(text: &str) -> Parsed<Tail> {
    Ok(Tail(text.parse().ok()))
}

/// A moment of `--since` and `--until`: a date, a time, seconds since 1970, or how long ago (`10m`, `1h30m`).
pub(crate) fn time(text: &str) -> Parsed<Timestamp> {
    let wrong = || "not a time: write 2024-05-02T10:00:00Z, 1714644000.5 or 10m".to_owned();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        return time.to_zoned(jiff::tz::TimeZone::system()).map(|zoned| zoned.timestamp()).map_err(|_| wrong());
    }
    if let Some((seconds, fraction)) = seconds(text) {
        return Timestamp::new(seconds, fraction).map_err(|_| wrong());
    }
    let ago = go_duration(text).ok_or_else(wrong)?;
    Timestamp::now().checked_sub(ago).map_err(|_| wrong())
}

fn seconds(text: &str) -> Option<(i64, i32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

/// Go's `time.ParseDuration`: `1h30m`, `1.5s`, `300ms`.
fn go_duration(text: &str) -> Option<std::time::Duration> {
    let mut rest = text;
    let mut all = 0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        all += number * unit;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(())?;
    std::time::Duration::try_from_secs_f64(all).ok()
}

/// A signal in a file: by its name.
pub(crate) mod signal_name {
    use nix::sys::signal::Signal;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(signal: &Option<Signal>, to: S) -> Result<S::Ok, S::Error> {
        signal.map(Signal::as_str).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Signal>, D::Error> {
        let name = Option::<String>::deserialize(from)?;
        name.map(|name| name.parse().map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_are_dockers() {
        for (text, wanted) in [
            ("no", Ok(RestartPolicy::No)),
            ("on-failure", Ok(RestartPolicy::OnFailure(0))),
            ("on-failure:3", Ok(RestartPolicy::OnFailure(3))),
            ("always", Ok(RestartPolicy::Always)),
            ("unless-stopped", Ok(RestartPolicy::UnlessStopped)),
            ("always:2", Err("always takes no number of times".to_owned())),
            ("on-failure:x", Err("x is not a number of times".to_owned())),
        ] {
            assert_eq!(restart_policy(text), wanted, "{text}");
        }
        assert!(restart_policy("sometimes").is_err());
    }

    #[test]
    fn sizes_of_logs_are_powers_of_1000() {
        for (text, bytes) in [("10m", 10_000_000), ("1.5k", 1500), ("20", 20), ("3GB", 3_000_000_000)] {
            assert_eq!(log_opt(&format!("max-size={text}")), Ok(LogOpt::MaxSize(Some(bytes))), "{text}");
        }
        assert_eq!(log_opt("max-size=-1"), Ok(LogOpt::MaxSize(None)));
        for text in ["max-size=0", "max-size=x", "max-file=0", "max-file", "compress=true", "color=red"] {
            assert!(log_opt(text).is_err(), "{text}");
        }
    }

    /// moby `pkg/term`/`term/ascii_test.go`.
    #[test]
    fn keys_become_bytes() {
        for (text, bytes) in [
            ("ctrl-p,ctrl-q", &[16, 17][..]),
            ("ctrl-@,ctrl-[", &[0, 27]),
            ("ctrl-_,a,Z", &[31, b'a', b'Z']),
            ("ctrl-\\", &[28]),
        ] {
            assert_eq!(detach_keys(text), Ok(DetachKeys(bytes.to_vec())), "{text}");
        }
        for text in ["ctrl-", "ctrl-1", "ab", "", "a,,b"] {
            assert!(detach_keys(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_dates_seconds_or_ago() {
        let at = |text: &str| time(text).unwrap();
        assert_eq!(at("2024-05-02T10:00:00Z").as_second(), 1_714_644_000);
        assert_eq!(at("1714644000.5").as_millisecond(), 1_714_644_000_500);
        let ago = Timestamp::now().as_second() - at("1h30m").as_second();
        assert!((5399..=5401).contains(&ago), "{ago}");
        assert!(time("yesterday").is_err() && time("").is_err() && time("10").is_ok());
    }
}
