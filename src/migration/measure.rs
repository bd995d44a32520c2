//! What is measured, collected from whoever measures it: all instances, what the driver asks of Kafka and Prometheus, and the
//! applications that follow the flags. (Evidence that applications push is in the driver's state, which survives a restart.)

mod instances;
mod status;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::gate::{Measure, Sample};
use crate::flags::{Clients, Following};
use crate::streams::Acknowledged;

pub use instances::{Heard, Look, Sight, Summary, Topics, VERSION};
pub use status::{is_captured, summary, wellness};

/// How long an application is known that left an acknowledgement nobody can read.
const UNREADABLE_MS: i64 = 10_000;

/// The latest sample of each measure, and the applications that follow the flags. Shared; nothing is awaited under its lock.
#[derive(Clone, Default)]
pub struct Measurements(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    samples: BTreeMap<Measure, Sample>,
    topics: Option<Result<Topics, String>>,
    clients: Clients,
}

/// What only the application knows, and may push.
#[must_use]
pub const fn is_pushed(measure: Measure) -> bool {
    matches!(
        measure,
        Measure::AddedLatency
            | Measure::Duplicates
            | Measure::DuplicateHits
            | Measure::Throughput
            | Measure::ProduceLatency
            | Measure::ProduceErrors
            | Measure::WriteLatency
            | Measure::EndToEnd
            | Measure::ReplicationLag
            | Measure::Disk
            | Measure::Archive
    )
}

impl Measurements {
    /// With applications that are waited for whether they say anything or not.
    #[must_use]
    pub fn expecting(clients: &[String]) -> Self {
        let clients = Clients::expecting(clients);
        Self(Arc::new(Mutex::new(Inner {
            clients,
            ..Inner::default()
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes a sample in; an older one never replaces a newer.
    pub fn put(&self, sample: Sample) {
        self.put_at(sample, super::driver::now_ms());
    }

    /// What is dated after the present time is replaced by anything: a clock was put back.
    fn put_at(&self, sample: Sample, now_ms: i64) {
        let mut inner = self.lock();
        let known = inner.samples.get(&sample.measure);
        let older = known.is_some_and(|known| known.at_ms > sample.at_ms && known.at_ms <= now_ms);
        if !older {
            inner.samples.insert(sample.measure, sample);
        }
    }

    #[must_use]
    pub fn all(&self) -> Vec<Sample> {
        self.lock().samples.values().cloned().collect()
    }

    /// Where captured routes lead, as all instances see it; or why that is not known.
    pub fn route(&self, topics: Result<Topics, String>) {
        self.lock().topics = Some(topics);
    }

    /// # Errors
    /// It is not known, and why.
    pub fn routed(&self) -> Result<Topics, String> {
        let unasked = || Err("the instances were not asked yet".to_owned());
        self.lock().topics.clone().unwrap_or_else(unasked)
    }

    /// An application says which version of the flags it has. `false`: too many are known.
    #[must_use]
    pub fn acknowledged(&self, client: &str, version: u64, lifetime_ms: i64, now_ms: i64) -> bool {
        self.lock()
            .clients
            .seen(client, version, lifetime_ms, now_ms)
    }

    /// What an application left in Redis. A version that was never told, a text that is no version and a key that never ends
    /// are no acknowledgement: its writer is known, and follows nothing.
    pub fn heard(&self, one: &Acknowledged, told: u64, now_ms: i64) {
        let version = one.version.filter(|version| *version <= told);
        let (version, left_ms) = match (version, one.left_ms) {
            (Some(version), Some(left_ms)) => (version, left_ms),
            _ => (0, UNREADABLE_MS),
        };
        self.lock().clients.seen_until(
            &one.client,
            version,
            now_ms.saturating_add(left_ms),
            now_ms,
        );
    }

    #[must_use]
    pub fn following(&self, version: u64, now_ms: i64) -> Following {
        self.lock().clients.following(version, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::super::gate::Reading;
    use super::*;

    #[test]
    fn an_older_sample_replaces_none_but_one_that_is_dated_in_the_future() {
        let measurements = Measurements::default();
        let put = |value, at_ms, now_ms| {
            let sample = Sample {
                measure: Measure::GroupLag,
                reading: Reading::Value(value),
                at_ms,
            };
            measurements.put_at(sample.clone(), now_ms);
            measurements.all() == [sample]
        };
        assert!(put(1.0, 5_000, 5_000));
        assert!(!put(2.0, 4_000, 5_500), "it came late");
        assert!(put(3.0, 1_400, 1_400), "the clock was put back");
        assert!(!put(4.0, 1_399, 1_400));
    }
}
