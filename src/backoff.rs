//! How long to wait before trying again: doubling, capped, jittered, without a clock or a timer of its own.
//!
//! The n-th wait is drawn evenly from the upper half of `min · 2^(n+1)`, and that is capped at `max`: the first wait is
//! `min` to `2·min`, the last ones `max/2` to `max`. So clients that lost the same server at the same moment drift
//! apart, and none ever waits less than `min` or more than `max`.

use std::time::Duration;

/// The waits of one thing that is being tried again. Call [`reset`](Self::reset) after a success.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
    random: u64,
}

impl Backoff {
    /// Waits from `min` to `max`; a `max` below `min` counts as `min`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self::seeded(min, max, rand::random())
    }

    fn seeded(min: Duration, max: Duration, seed: u64) -> Self {
        Self {
            min,
            max: max.max(min),
            ceiling: min,
            random: seed,
        }
    }

    /// How long to wait before the next attempt; longer from call to call until the cap is reached.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, so an iterator's Option would only be unwrapped"
    )]
    pub fn next(&mut self) -> Duration {
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        let floor = (self.ceiling / 2).max(self.min).min(self.max);
        let spread = u64::try_from((self.ceiling - floor).as_nanos()).unwrap_or(u64::MAX);
        let drawn = (u128::from(self.draw()) * u128::from(spread)) >> 64;
        floor + Duration::from_nanos(u64::try_from(drawn).unwrap_or(spread))
    }

    /// Back to the shortest wait: the attempt succeeded.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }

    /// splitmix64: enough to spread waits, and repeatable from its seed.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_up_to_the_cap_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::seeded(100 * MS, 1000 * MS, 7);
        for (least, most) in [(100, 200), (200, 400), (400, 800), (500, 1000), (500, 1000)] {
            let wait = backoff.next();
            assert!((least * MS..=most * MS).contains(&wait), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= 200 * MS);
    }

    #[test]
    fn two_that_failed_together_do_not_return_together() {
        let mut one = Backoff::seeded(100 * MS, 1000 * MS, 1);
        let mut two = Backoff::seeded(100 * MS, 1000 * MS, 2);
        assert_ne!(one.next(), two.next());
    }

    proptest! {
        #[test]
        fn never_below_min_nor_above_max(min in 0u64..5_000, max in 0u64..50_000, seed: u64, calls in 1usize..80) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
            let mut backoff = Backoff::seeded(min, max, seed);
            for _ in 0..calls {
                let wait = backoff.next();
                prop_assert!(wait >= min && wait <= max.max(min));
            }
        }
    }
}
