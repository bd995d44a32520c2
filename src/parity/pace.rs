//! How fast a comparison may read, and when it rests so that the mirror goes first.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Entries and records between two looks at the clock.
pub(super) const CHUNK: u32 = 2_000;

/// How long to rest after a stretch of reading that took so long.
pub type Rest = Arc<dyn Fn(Duration) -> Duration + Send + Sync>;

/// The pace of one comparison. Cheap to clone; clones share the limit.
#[derive(Clone, Default)]
pub struct Pace {
    limit: Option<(Arc<DefaultDirectRateLimiter>, NonZeroU32)>,
    rest: Option<Rest>,
}

impl Pace {
    /// At most so many entries and records a second, both sides together.
    #[must_use]
    pub fn new(entries_per_second: Option<NonZeroU32>) -> Self {
        let limit = entries_per_second.map(|rate| {
            let burst =
                NonZeroU32::new((rate.get() / 10).clamp(1, CHUNK)).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::per_second(rate).allow_burst(burst);
            (Arc::new(RateLimiter::direct(quota)), burst)
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
        if let Some((limiter, burst)) = &self.limit {
            let mut left = amount;
            while let Some(cells) = NonZeroU32::new(left.min(burst.get())) {
                // Never more than the burst, which is the only refusal there is.
                let _ = limiter.until_n_ready(cells).await;
                left -= cells.get();
            }
        }
        if let Some(rest) = &self.rest {
            let rest = rest(began.elapsed());
            if !rest.is_zero() {
                tokio::time::sleep(rest).await;
            }
        }
    }

    /// The same, from a thread that may block.
    pub(super) fn keep_blocking(&self, amount: u32, began: Instant, stop: &CancellationToken) {
        if self.limit.is_some() || self.rest.is_some() {
            Handle::current().block_on(self.keep(amount, began, stop));
        }
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
