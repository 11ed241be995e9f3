//! How fast, how late and how incompletely: in the units of tc(8).

use std::time::Duration;

use rbox_net::Shape;
use serde::{Deserialize, Serialize};

use super::Parsed;

/// What was said of a container's speed. Kept as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShapeFlag {
    /// The network that is meant, by what it is found by; all of which nothing else was said, where there is none.
    pub(crate) network: Option<String>,
    pub(crate) shape: Shape,
}

/// A number and the unit behind it.
fn parts(text: &str) -> Option<(f64, String)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    number.is_finite().then(|| (number, unit.to_ascii_lowercase()))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction is dropped; the bounds are checked"
)]
fn whole(number: f64, least: u64, most: u64) -> Option<u64> {
    (number >= least as f64 && number <= most as f64).then_some(number as u64)
}

/// `10mbit`, `1.5gbit`, `800kbps` (bytes), `1mibit`; bits in a second where there is no unit. In bytes.
pub(crate) fn rate(text: &str) -> Parsed<u64> {
    let wrong = || "not a rate: write 10mbit, 512kbit, or 1mbps for bytes".to_owned();
    let (number, unit) = parts(text).ok_or_else(wrong)?;
    let (prefix, bits) = match unit.strip_suffix("bps") {
        Some(prefix) => (prefix, 8.0),
        None if unit.is_empty() => ("", 1.0),
        None => (unit.strip_suffix("bit").ok_or_else(wrong)?, 1.0),
    };
    let factor = match prefix {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" => 1024.0,
        "mi" => 1024_f64.powi(2),
        "gi" => 1024_f64.powi(3),
        "ti" => 1024_f64.powi(4),
        _ => return Err(wrong()),
    };
    // Less than this is no speed but a stop, and more than a card of today has is a slip.
    whole(number * factor * bits / 8.0, 1000, 1 << 40).ok_or_else(|| "not between 8kbit and 8tbit".to_owned())
}

/// `20ms`, `1.5s`, `300us`; microseconds where there is no unit.
pub(crate) fn delay(text: &str) -> Parsed<Duration> {
    let wrong = || "not a time: write 20ms, 1s or 300us".to_owned();
    let (number, unit) = parts(text).ok_or_else(wrong)?;
    let micros = match unit.as_str() {
        "" | "us" | "usec" | "usecs" => 1.0,
        "ms" | "msec" | "msecs" => 1e3,
        "s" | "sec" | "secs" => 1e6,
        _ => return Err(wrong()),
    };
    whole(number * micros, 1, 60_000_000).map(Duration::from_micros).ok_or_else(|| "not between 1us and 60s".to_owned())
}

/// `1%`, `0.5%`. In millionths.
pub(crate) fn loss(text: &str) -> Parsed<u32> {
    let wrong = || "not a share: write 1% or 0.5%".to_owned();
    let (number, unit) = parts(text).ok_or_else(wrong)?;
    let share = if unit == "%" { whole((number * 10_000.0).round(), 1, 1_000_000) } else { None };
    share.and_then(|share| u32::try_from(share).ok()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_tc() {
        let table = [
            ("10mbit", 1_250_000),
            ("1.5Mbit", 187_500),
            ("80000", 10_000),
            ("80000bit", 10_000),
            ("800kbps", 800_000),
            ("1gbit", 125_000_000),
            ("1mibit", 131_072),
            ("1kibps", 1024),
        ];
        for (text, bytes) in table {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        assert_eq!(delay("20ms"), Ok(Duration::from_millis(20)));
        assert_eq!((delay("300"), delay("1.5s")), (Ok(Duration::from_micros(300)), Ok(Duration::from_millis(1500))));
        assert_eq!((loss("1%"), loss("0.5%"), loss("100%")), (Ok(10_000), Ok(5000), Ok(1_000_000)));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "fast", "10", "-1mbit", "10mb", "9tbit", "1e6", "1..2mbit"] {
            assert!(rate(text).is_err(), "{text}");
        }
        for text in ["", "20", "1%x", "101%", "0%", "-1%"] {
            assert!(loss(text).is_err(), "{text}");
        }
        for text in ["", "ms", "61s", "0ms", "1h"] {
            assert!(delay(text).is_err(), "{text}");
        }
    }
}
