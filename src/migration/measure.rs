//! What is measured, collected from whoever measures it: all instances, what the driver asks of Kafka and Prometheus, and the
//! applications that follow the flags. (Evidence that applications push is in the driver's state, which survives a restart.)

mod followers;
mod instances;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::gate::{Measure, Sample};
use crate::placement::Topic;
use crate::status::Status;

pub use followers::Followers;
pub use instances::{Backlog, Heard, Look, Sight, Summary, Topics, VERSION};
pub use status::{is_captured, summary, wellness};

/// The latest sample of each measure, and the applications that follow the flags. Shared; nothing is awaited under its lock.
#[derive(Clone, Default)]
pub struct Measurements {
    inner: Arc<Mutex<Inner>>,
    pub followers: Followers,
}

#[derive(Default)]
struct Inner {
    samples: BTreeMap<Measure, Sample>,
    topics: Option<Result<Topics, String>>,
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
            | Measure::ErrorRate
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
        Self {
            followers: Followers::expecting(clients),
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
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
}

/// The topics that these routes lead to, those of captures as all instances have found them.
///
/// # Errors
/// They are not known, and why.
pub fn routed(
    measurements: &Measurements,
    status: &Status,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Topic>, String> {
    let mut topics = BTreeSet::new();
    for route in status.routes.iter().filter(|route| wanted(&route.name)) {
        if is_captured(&route.topic) {
            let mut all = measurements.routed()?;
            topics.extend(all.remove(&route.name).unwrap_or_default());
        } else {
            topics.insert(route.topic.clone());
        }
    }
    Ok(topics.into_iter().map(Topic::from).collect())
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
