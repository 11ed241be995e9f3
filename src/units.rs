//! Sizes and times as Docker shows them (docker/go-units `size.go` and `duration.go`).

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `5.61MB`: three digits, powers of 1000.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    scaled(bytes, (1000.0, 3), &UNITS)
}

/// Go's `%.4g` or `%.3g` of the number in the largest unit that it fills.
fn scaled(bytes: u64, (step, digits): (f64, usize), units: &[&str]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let before_the_point = [10.0, 100.0, 1000.0].iter().filter(|power| value >= **power).count() + 1;
    let text = format!("{value:.*}", digits.saturating_sub(before_the_point));
    // Go's %g drops zeros at the end.
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

/// `23.54GiB`: four digits, powers of 1024 (go-units `BytesSize`).
pub(crate) fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    scaled(bytes, (1024.0, 4), &UNITS)
}

/// `2 weeks ago`; what is no time is `N/A`.
pub(crate) fn ago(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => format!("{} ago", span(now.as_second().saturating_sub(then.as_second()))),
        Err(_) => "N/A".into(),
    }
}

/// `2021-04-19 22:18:28 +0800 CST`, in the caller's time zone.
pub(crate) fn local(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => then.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
        Err(_) => "N/A".into(),
    }
}

fn span(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// go-units duration_test.go, TestHumanDuration.
    #[test]
    fn spans_are_go_units() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 60 * MINUTE;
        const DAY: i64 = 24 * HOUR;
        const WEEK: i64 = 7 * DAY;
        const MONTH: i64 = 30 * DAY;
        const YEAR: i64 = 365 * DAY;
        for (seconds, wanted) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (MINUTE, "About a minute"),
            (3 * MINUTE + 40, "3 minutes"),
            (59 * MINUTE + 59, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 29 * MINUTE, "About an hour"),
            (HOUR + 31 * MINUTE, "2 hours"),
            (3 * HOUR + 40 * MINUTE, "4 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (7 * DAY, "7 days"),
            (13 * DAY + 5 * HOUR, "13 days"),
            (2 * WEEK, "2 weeks"),
            (2 * WEEK + 6 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (2 * MONTH + 2 * DAY, "2 months"),
            (23 * MONTH, "23 months"),
            (2 * YEAR, "2 years"),
        ] {
            assert_eq!(span(seconds), wanted, "{seconds} s");
        }
    }

    /// go-units size_test.go, TestHumanSize, at the three digits that docker images asks for.
    #[test]
    fn sizes_have_three_digits() {
        for (bytes, wanted) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1024, "1.02kB"),
            (5_609_000, "5.61MB"),
            (72_800_000, "72.8MB"),
            (133_000_000, "133MB"),
            (1_048_576_000, "1.05GB"),
            (2_500_000_000_000, "2.5TB"),
        ] {
            assert_eq!(size(bytes), wanted);
        }
    }

    /// go-units size_test.go, TestBytesSize.
    #[test]
    fn binary_sizes_have_four_digits() {
        for (bytes, wanted) in [
            (0, "0B"),
            (1024, "1KiB"),
            (741_376, "724KiB"),
            (1024 * 1024, "1MiB"),
            (3_565_158, "3.4MiB"),
            (25_276_502_016, "23.54GiB"),
        ] {
            assert_eq!(binary_size(bytes), wanted);
        }
    }

    #[test]
    fn times_are_said_from_now() {
        let now: Timestamp = "2024-05-02T00:00:00Z".parse().unwrap();
        assert_eq!(ago("2024-04-18T00:00:00Z", now), "2 weeks ago");
        assert_eq!(ago("2024-05-01T23:59:50.5+00:00", now), "10 seconds ago");
        assert_eq!(ago("", now), "N/A");
    }
}
