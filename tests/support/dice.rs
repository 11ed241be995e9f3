//! Chance that can be repeated: the seed is printed, and given again by `RBOX_TEST_SEED`.

use std::env;

/// A linear congruential generator (Knuth, MMIX): good enough to choose commands and moments.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The dice of this test run; `what` is printed beside the seed.
    pub(crate) fn of(what: &str) -> Dice {
        let seed = env::var("RBOX_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
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
}
