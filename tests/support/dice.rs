//! Chance that can be repeated: the seed is printed, and given again by `RBOX_TEST_SEED`.

use std::env;

/// A linear congruential generator (Knuth, MMIX): good enough to choose commands and moments.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

/// One case of a property test, with dice of its own: it can be repeated alone.
pub(crate) struct Case {
    pub(crate) dice: Dice,
    seed: u64,
}

/// Cases with the seeds from `RBOX_TEST_SEED` on, `RBOX_TEST_CASES` of them. The one that fails says its own.
pub(crate) fn cases(else_so_many: u64) -> impl Iterator<Item = Case> {
    let first = number("RBOX_TEST_SEED").unwrap_or(1);
    let many = number("RBOX_TEST_CASES").unwrap_or(else_so_many);
    (first..first.saturating_add(many)).map(|seed| Case { dice: Dice::new(seed), seed })
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this case again: RBOX_TEST_SEED={} RBOX_TEST_CASES=1", self.seed);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().and_then(|text| text.parse().ok())
}

impl Dice {
    /// The dice of this test run; `what` is printed beside the seed.
    #[allow(dead_code, reason = "each package uses its own part")]
    pub(crate) fn of(what: &str) -> Dice {
        let seed = number("RBOX_TEST_SEED").unwrap_or(1);
        eprintln!("{what}: RBOX_TEST_SEED={seed}");
        Dice::new(seed)
    }

    pub(crate) fn new(seed: u64) -> Dice {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.below(2);
        dice
    }

    /// A number from 0 to `count` - 1.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % count
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// One time out of so many.
    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// Any 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        (self.below(1 << 31) as u64) << 33 ^ (self.below(1 << 31) as u64) << 16 ^ self.below(1 << 16) as u64
    }
}
