//! When a program is started again, and after how long (moby `restartmanager/restartmanager.go`).

use jiff::Timestamp;

use crate::cli::value::RestartPolicy;
use crate::record::Record;

/// The first wait, and the longest.
const FIRST_MS: u64 = 100;
const LONGEST_MS: u64 = 60_000;
/// A program that ran so long begins with the first wait again.
const STEADY_S: i64 = 10;

/// Whether a program that ended with `code` is started again, having been so `count` times.
pub(crate) fn is_wanted(policy: RestartPolicy, code: i32, count: u32, by_hand: bool) -> bool {
    !by_hand
        && match policy {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure(most) => code != 0 && (most == 0 || count < most),
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        }
}

/// The waits between two starts: each twice as long as the one before.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last_ms: u64,
}

impl Backoff {
    /// How long to wait now, milliseconds.
    pub(super) fn next(&mut self, ended: &Record) -> u64 {
        self.after(ran_for_s(ended))
    }

    fn after(&mut self, ran_for_s: i64) -> u64 {
        if ran_for_s >= STEADY_S {
            self.last_ms = 0;
        }
        self.last_ms = if self.last_ms == 0 { FIRST_MS } else { (self.last_ms * 2).min(LONGEST_MS) };
        self.last_ms
    }
}

fn ran_for_s(ended: &Record) -> i64 {
    let second = |time: &Option<String>| time.as_ref()?.parse::<Timestamp>().ok().map(Timestamp::as_second);
    second(&ended.finished).zip(second(&ended.started)).map_or(0, |(end, begin)| end - begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_dockers() {
        let no = RestartPolicy::No;
        let failure = RestartPolicy::OnFailure(0);
        for (policy, code, count, wanted) in [
            (no, 1, 0, false),
            (failure, 0, 0, false),
            (failure, 1, 1000, true),
            (RestartPolicy::OnFailure(3), 1, 2, true),
            (RestartPolicy::OnFailure(3), 1, 3, false),
            (RestartPolicy::Always, 0, 7, true),
            (RestartPolicy::UnlessStopped, 137, 7, true),
        ] {
            assert_eq!(is_wanted(policy, code, count, false), wanted, "{policy:?} {code} {count}");
            assert!(!is_wanted(policy, code, count, true), "nobody's program is started against his will");
        }
    }

    /// moby restartmanager_test.go, TestRestartManagerTimeout and TestRestartManagerTimeoutReset.
    #[test]
    fn waits_double_to_a_minute_and_begin_anew_after_ten_seconds() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..12).map(|_| backoff.after(5)).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(backoff.after(10), 100);
        assert_eq!(backoff.after(0), 200);
    }
}
