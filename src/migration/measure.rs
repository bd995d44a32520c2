//! What is measured, collected from whoever measures it: the driver itself, and applications by pushed evidence.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::gate::{Measure, Reading, Sample};
use crate::flags::{Clients, Following};
use crate::status::Status;

/// An incident is what lasts longer than this.
const INCIDENT_MS: i64 = 60_000;

/// The latest sample of each measure, and the applications that follow the flags. Shared; nothing is awaited under its lock.
#[derive(Clone, Default)]
pub struct Measurements(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    samples: BTreeMap<Measure, Sample>,
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
    )
}

impl Measurements {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes a sample in; an older one never replaces a newer.
    pub fn put(&self, sample: Sample) {
        let mut inner = self.lock();
        let older = inner
            .samples
            .get(&sample.measure)
            .is_some_and(|known| known.at_ms > sample.at_ms);
        if !older {
            inner.samples.insert(sample.measure, sample);
        }
    }

    #[must_use]
    pub fn all(&self) -> Vec<Sample> {
        self.lock().samples.values().cloned().collect()
    }

    /// An application says which version of the flags it has. `false`: too many are known.
    #[must_use]
    pub fn acknowledged(&self, client: &str, version: u64, lifetime_ms: i64, now_ms: i64) -> bool {
        self.lock()
            .clients
            .seen(client, version, lifetime_ms, now_ms)
    }

    #[must_use]
    pub fn following(&self, version: u64, now_ms: i64) -> Following {
        self.lock().clients.following(version, now_ms)
    }
}

/// What the snapshot of this instance shows. `shards`: how many there are in all; an instance that mirrors only some of them
/// does not know the whole lag.
#[must_use]
pub fn from_status(
    status: &Status,
    shards: u32,
    kafka_down_ms: Option<i64>,
    at_ms: i64,
) -> Vec<Sample> {
    let own = status.shards.len();
    let whole = u32::try_from(own).is_ok_and(|own| own == shards);
    let forward = &status.mirror.forward;
    let lag = match forward.lag_entries {
        _ if !whole => Reading::Unknown(format!("this instance mirrors {own} of {shards} shards")),
        None => Reading::Unknown("the mirror does not know its lag now".to_owned()),
        #[expect(
            clippy::cast_precision_loss,
            reason = "compared with thresholds far below 2^53"
        )]
        Some(entries) => Reading::Value(entries as f64),
    };
    let incident = match (
        status.edges.get("kafka").and_then(|edge| edge.up),
        kafka_down_ms,
    ) {
        (Some(true), _) => Reading::Value(0.0),
        (Some(false), Some(down)) => Reading::Value(f64::from(u8::from(down > INCIDENT_MS))),
        _ => Reading::Unknown("Kafka was not asked yet".to_owned()),
    };
    let sample = |measure, reading| Sample {
        measure,
        reading,
        at_ms,
    };
    vec![
        sample(Measure::MirrorLag, lag.clone()),
        sample(Measure::Undrained, lag),
        sample(Measure::Incident, incident),
    ]
}

/// Dead letters and mirrored entries, counted from when the step began.
#[derive(Clone, Copy, Debug, Default)]
pub struct SinceStep {
    began_ms: Option<i64>,
    entries: u64,
    dead: u64,
    from_ms: i64,
}

impl SinceStep {
    /// The counts since `step_since_ms`, or since this process began to look, where that was later.
    pub fn dead_letters(&mut self, status: &Status, step_since_ms: i64, at_ms: i64) -> Sample {
        let entries = status
            .routes
            .iter()
            .map(|route| route.mirrored_entries)
            .sum();
        let dead = status.mirror.forward.dead_letters;
        if self.began_ms != Some(step_since_ms) {
            *self = Self {
                began_ms: Some(step_since_ms),
                entries,
                dead,
                from_ms: at_ms,
            };
        }
        let faults = dead.saturating_sub(self.dead);
        let total = faults + entries.saturating_sub(self.entries);
        Sample {
            measure: Measure::DeadLetters,
            reading: Reading::Counted {
                faults,
                total,
                since_ms: self.from_ms,
            },
            at_ms,
        }
    }
}
