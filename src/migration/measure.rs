//! What is measured, collected from whoever measures it: the driver itself, and applications by pushed evidence.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::gate::{Measure, Reading, Sample};
use crate::flags::{Clients, Following};
use crate::status::{ParityState, ParityStatus, Status};

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
        sample(Measure::Inconsistency, inconsistency(&status.parity, whole)),
        sample(Measure::Incident, incident),
    ]
}

/// The classes of parity that are at fault.
const FAULTS: [&str; 6] = [
    "missing",
    "extra",
    "duplicate",
    "mismatch",
    "misplaced",
    "reordered",
];
/// Those that tell of nothing.
const SILENT: [&str; 2] = ["pending", "unverifiable"];

/// What differs now. A difference that is seen counts, whoever does not see the whole; none seen counts only where all is seen.
fn inconsistency(parity: &ParityStatus, whole: bool) -> Reading {
    let open: u64 = ["missing", "extra", "duplicate"]
        .iter()
        .filter_map(|class| parity.open.get(*class))
        .sum();
    #[expect(
        clippy::cast_precision_loss,
        reason = "compared with thresholds far below 2^53"
    )]
    let found = Reading::Value(open as f64);
    match parity.state {
        _ if open > 0 => found,
        ParityState::Unknown => {
            let why = parity.reason.as_deref().unwrap_or("parity is not known");
            Reading::Unknown(why.to_owned())
        }
        ParityState::Level | ParityState::Apart if !whole => {
            Reading::Unknown("this instance audits only some of the shards".to_owned())
        }
        ParityState::Level | ParityState::Apart => found,
    }
}

/// Dead letters, mirrored and compared entries, counted from when the step began.
#[derive(Clone, Copy, Debug, Default)]
pub struct SinceStep {
    began_ms: Option<i64>,
    entries: u64,
    dead: u64,
    verified: u64,
    from_ms: i64,
}

impl SinceStep {
    /// The counts since `step_since_ms`, or since this process began to look, where that was later.
    pub fn samples(&mut self, status: &Status, step_since_ms: i64, at_ms: i64) -> [Sample; 2] {
        let now = Self {
            began_ms: Some(step_since_ms),
            entries: status
                .routes
                .iter()
                .map(|route| route.mirrored_entries)
                .sum(),
            dead: status.mirror.forward.dead_letters,
            verified: sum(&status.parity, |class| !SILENT.contains(&class)),
            from_ms: at_ms,
        };
        // Counts that went back were begun anew: by another owner of a shard, say.
        let anew =
            now.entries < self.entries || now.dead < self.dead || now.verified < self.verified;
        if self.began_ms != now.began_ms || anew {
            *self = now;
        }
        let counted = |measure, faults: u64, total: u64| Sample {
            measure,
            reading: Reading::Counted {
                faults,
                total,
                since_ms: self.from_ms,
            },
            at_ms,
        };
        let dead = now.dead - self.dead;
        // A difference that was there when the step began and stands is a difference of this step as well.
        let differ = sum(&status.parity, |class| FAULTS.contains(&class));
        let verified = now.verified - self.verified;
        let parity = match status.parity.state {
            ParityState::Unknown => Sample {
                measure: Measure::Parity,
                reading: Reading::Unknown(
                    status
                        .parity
                        .reason
                        .clone()
                        .unwrap_or_else(|| "parity is not known".to_owned()),
                ),
                at_ms,
            },
            ParityState::Level | ParityState::Apart => {
                counted(Measure::Parity, differ.min(verified), verified)
            }
        };
        [
            counted(
                Measure::DeadLetters,
                dead,
                dead + now.entries - self.entries,
            ),
            parity,
        ]
    }
}

fn sum(parity: &ParityStatus, of: impl Fn(&str) -> bool) -> u64 {
    parity
        .classes
        .iter()
        .filter(|(class, _)| of(class))
        .map(|(_, count)| count)
        .sum()
}
