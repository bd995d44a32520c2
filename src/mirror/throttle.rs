//! How fast the mirror may go: entries and bytes a second, over all shards of this instance, changeable while it runs.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::config;

struct Limit {
    per_second: NonZeroU32,
    limiter: DefaultDirectRateLimiter,
}

impl Limit {
    fn new(per_second: u32) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second)?;
        // A burst of a tenth of a second: smooth, yet not one wake-up an entry.
        let burst = NonZeroU32::new(per_second.get() / 10).unwrap_or(NonZeroU32::MIN);
        Some(Self {
            per_second,
            limiter: RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)),
        })
    }

    /// Waits for a tenth of a second's worth at most; returns what is left.
    async fn step(&self, amount: u64) -> u64 {
        let part = amount.min(u64::from((self.per_second.get() / 10).max(1)));
        let cells = u32::try_from(part).ok().and_then(NonZeroU32::new);
        if let Some(cells) = cells {
            // A part never exceeds the burst, which is the only refusal there is.
            let _ = self.limiter.until_n_ready(cells).await;
        }
        amount - part
    }
}

#[derive(Default)]
struct Limits {
    entries: Option<Limit>,
    bytes: Option<Limit>,
}

/// The throttle of an instance.
#[derive(Default)]
pub struct Throttle {
    limits: RwLock<Arc<Limits>>,
}

impl Throttle {
    #[must_use]
    pub fn new(settings: config::Throttle) -> Self {
        let throttle = Self::default();
        throttle.set(settings);
        throttle
    }

    /// Takes effect with the next batch of each shard. 0 and absent mean no limit.
    pub fn set(&self, settings: config::Throttle) {
        let limits = Limits {
            entries: settings.entries_per_second.and_then(Limit::new),
            bytes: settings.bytes_per_second.and_then(Limit::new),
        };
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    /// The most entries of this size that one read should bring, so that a pause stays short.
    #[must_use]
    pub fn read_cap(&self, entry_bytes: usize) -> usize {
        let limits = self.current();
        let tenth = |limit: &Limit| (limit.per_second.get() / 10).max(1) as usize;
        let entries = limits.entries.as_ref().map_or(usize::MAX, tenth);
        let bytes = limits.bytes.as_ref().map_or(usize::MAX, tenth);
        entries.min((bytes / entry_bytes.max(1)).max(1))
    }

    fn current(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until this much may pass, and tells every so often how long that took since it last did. A change of the
    /// limits counts at once, also for who waits already.
    pub async fn pass(&self, mut entries: u64, mut bytes: u64, waited: impl Fn(Duration)) {
        while entries > 0 || bytes > 0 {
            let limits = self.current();
            let begun = Instant::now();
            entries = match &limits.entries {
                Some(limit) => limit.step(entries).await,
                None => 0,
            };
            bytes = match &limits.bytes {
                Some(limit) => limit.step(bytes).await,
                None => 0,
            };
            if limits.entries.is_some() || limits.bytes.is_some() {
                waited(begun.elapsed());
            }
        }
    }
}
