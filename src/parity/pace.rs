//! How fast a comparison may read, and when it rests so that the mirror goes first.
//!
//! Whoever reads pays afterwards: each stretch is charged at the rate, from when it began, and the next begins when all is
//! paid for. So over any time no more is read than the rate allows and one stretch of each reader.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Entries and records between two looks at the clock.
pub(super) const CHUNK: u32 = 2_000;

/// How long to rest after a stretch of reading that took so long.
pub type Rest = Arc<dyn Fn(Duration) -> Duration + Send + Sync>;

/// The pace of one comparison. Cheap to clone; clones share the limit.
#[derive(Clone, Default)]
pub struct Pace {
    limit: Option<Arc<Limit>>,
    rest: Option<Rest>,
}

struct Limit {
    /// What one entry costs.
    each: Duration,
    /// When all that was read is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Limit {
    /// Charges what was read since `began`; says for how long nothing more may be.
    fn charge(&self, amount: u32, began: Instant, now: Instant) -> Duration {
        let paid = self.paid.lock();
        let mut paid = paid.unwrap_or_else(std::sync::PoisonError::into_inner);
        let from = paid.map_or(began, |paid| paid.max(began));
        let until = from + self.each * amount;
        *paid = Some(until);
        until.saturating_duration_since(now)
    }
}

impl Pace {
    /// At most so many entries and records a second, both sides together.
    #[must_use]
    pub fn new(entries_per_second: Option<NonZeroU32>) -> Self {
        let limit = entries_per_second.map(|rate| {
            Arc::new(Limit {
                each: Duration::from_secs(1) / rate.get(),
                paid: Mutex::new(None),
            })
        });
        Self { limit, rest: None }
    }

    /// Asks after each stretch how long to rest.
    #[must_use]
    pub fn resting(mut self, rest: Rest) -> Self {
        self.rest = Some(rest);
        self
    }

    /// After `amount` were read since `began`: waits as long as the pace asks, or until stopped.
    pub(super) async fn keep(&self, amount: u32, began: Instant, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.wait(amount, began) => {}
        }
    }

    async fn wait(&self, amount: u32, began: Instant) {
        let took = began.elapsed();
        if let Some(limit) = &self.limit {
            sleep(limit.charge(amount, began, Instant::now())).await;
        }
        sleep(self.rest_after(took)).await;
    }

    pub(super) fn rest_after(&self, took: Duration) -> Duration {
        self.rest.as_ref().map_or(Duration::ZERO, |rest| rest(took))
    }

    /// The same, from a thread that may block.
    pub(super) fn keep_blocking(&self, amount: u32, began: Instant, stop: &CancellationToken) {
        if self.limit.is_some() || self.rest.is_some() {
            Handle::current().block_on(self.keep(amount, began, stop));
        }
    }
}

/// Without a turn through the timer for nothing.
async fn sleep(length: Duration) {
    if !length.is_zero() {
        tokio::time::sleep(length).await;
    }
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace")
            .field("limited", &self.limit.is_some())
            .field("rests", &self.rest.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a limit lets two readers take in turn, each reading for so long at a time: the time that all of it takes, by a
    /// clock that moves only as they read and wait.
    fn reading(pace: &Pace, chunks: u32, takes: Duration) -> Duration {
        let both = [pace.clone(), pace.clone()];
        let began = Instant::now();
        let mut now = began;
        for chunk in 0..chunks {
            let from = now;
            now += takes;
            let limit = both[chunk as usize % 2].limit.as_ref().expect("limited");
            now += limit.charge(CHUNK, from, now);
        }
        now - began
    }

    fn limited(rate: u32) -> Pace {
        Pace::new(NonZeroU32::new(rate))
    }

    #[test]
    fn no_more_is_read_than_the_rate_allows_whoever_reads() {
        for rate in [500, 10_000, 1_000_000] {
            let took = reading(&limited(rate), 50, Duration::ZERO);
            let paid = Duration::from_secs(1) * (50 * CHUNK) / rate;
            assert_eq!(took, paid, "{rate} a second");
            let half = paid / 100;
            let took = reading(&limited(rate), 50, half);
            assert_eq!(took, paid, "reading takes half of it");
        }
    }

    #[test]
    fn whoever_reads_slower_than_the_rate_does_not_wait() {
        let slow = Duration::from_millis(250);
        assert_eq!(reading(&limited(10_000), 20, slow), slow * 20);
    }

    #[test]
    fn time_in_which_nothing_was_read_is_not_saved_up() {
        let pace = limited(10_000);
        let limit = pace.limit.as_ref().expect("limited");
        let now = Instant::now();
        limit.charge(CHUNK, now, now);
        let later = now + Duration::from_secs(3_600);
        let costs = Duration::from_millis(200);
        assert_eq!(limit.charge(CHUNK, later, later), costs);
        assert_eq!(limit.charge(CHUNK, later, later), costs * 2);
    }

    #[tokio::test]
    async fn who_is_stopped_waits_for_nothing() {
        let stop = CancellationToken::new();
        stop.cancel();
        // At one a second this would take most of an hour.
        limited(1).keep(CHUNK, Instant::now(), &stop).await;
    }
}
