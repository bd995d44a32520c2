//! Verification on demand: both stores over a range, from the first look to the verdict.
//!
//! ```text
//!   begin ─▶ pass: Redis ─▶ pass: Kafka ─▶ look at unequal windows ─▶ rest ─▶ look again at those with faults ─▶ outcome
//! ```
//!
//! What a verification knows is plain data at every step, cursors and counts together, so that it can be written down, and
//! gone on with by another process. A window that was looked at is judged by the last look alone; its counts replace those of
//! the look before and are never added to them.

mod begin;
mod looking;
mod outcome;
mod request;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::census::Census;
use super::edges::Edges;
use super::error::Error;
use super::pace::Pace;
use super::pass::Pass;
use super::unread::Unread;

pub(super) use self::begin::{lots, remade};
use self::looking::{LookedWindow, Looks};

pub use self::begin::{Checkpoints, checkpoints, fingerprint};
pub use self::outcome::{Outcome, WindowDigest};
pub use self::request::{Bound, Request, Sample};

/// What was in flight at the first look has arrived by then.
const REST: Duration = Duration::from_secs(2);

/// A verification, as far as it has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verification {
    request: Request,
    fingerprint: String,
    began_at: String,
    ended_at: Option<String>,
    /// The share of the entries that is compared, where it is a sample.
    sampled: Option<f64>,
    pass: Pass,
    /// By stream and window, in their order.
    #[serde(with = "pairs")]
    looked: BTreeMap<(usize, usize), LookedWindow>,
    looks: Looks,
    /// Streams that are left out.
    #[serde(default)]
    unread: Vec<Unread>,
    /// Missing entries to be kept for a repair, whatever else there is.
    #[serde(default)]
    for_repair: u64,
}

/// A map whose keys are no strings, for JSON.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Vec::<(K, V)>::deserialize(deserializer).map(BTreeMap::from_iter)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    Finished,
    Interrupted,
}

/// What a verification is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    Redis,
    Kafka,
    Looking,
    Done,
}

/// How far it has come. `done` and `total` are of the step: entries of Redis, offsets of Kafka's logs, entries and
/// offsets of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub step: Step,
    pub done: u64,
    pub total: u64,
    pub redis_entries: u64,
    pub kafka_records: u64,
}

impl Verification {
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// Of what must be the same when it is gone on with: the migration and its routes.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Names so many missing entries, beside what it names anyway: for a plan of repair.
    #[must_use]
    pub const fn for_repair(mut self, missing: u64) -> Self {
        self.for_repair = missing;
        self
    }

    /// What the digests are keyed with.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.pass.seed
    }

    /// Goes on until the end or until stopped. `each` is called a few times a second.
    ///
    /// Needs a runtime of several threads.
    ///
    /// # Errors
    /// A store gave no answer; what was done stands, and can be gone on with.
    pub async fn run(
        &mut self,
        edges: &Arc<Edges>,
        pace: Pace,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(&Self) + Send),
    ) -> Result<Ran, Error> {
        self.pass.bind(&edges.routes)?;
        if !self.read(edges, &pace, stop, each).await? {
            return Ok(Ran::Interrupted);
        }
        while let Some(windows) = self.to_look_at() {
            if self.looks.rounds > 0 {
                tokio::select! {
                    () = stop.cancelled() => return Ok(Ran::Interrupted),
                    () = tokio::time::sleep(REST) => {}
                }
            }
            if !self.look(edges, &windows, &pace, stop, each).await? {
                return Ok(Ran::Interrupted);
            }
            self.looks.rounds += 1;
        }
        self.account()?;
        self.ended_at = Some(now());
        each(self);
        Ok(Ran::Finished)
    }

    /// The pass, both sides.
    async fn read(
        &mut self,
        edges: &Arc<Edges>,
        pace: &Pace,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(&Self) + Send),
    ) -> Result<bool, Error> {
        let mut pass = std::mem::take(&mut self.pass);
        let mut seldom = Seldom::default();
        let mut seen = |pass: &Pass| {
            if seldom.now() {
                self.pass = pass.clone();
                each(self);
            }
            ControlFlow::Continue(())
        };
        let mut read = pass.read_redis(&edges.redis, pace, stop, &mut seen).await;
        if let Ok(true) = read {
            read = tokio::task::block_in_place(|| {
                pass.read_kafka(edges, &mut Census::default(), pace, stop, &mut seen)
            });
        }
        self.pass = pass;
        each(self);
        read
    }

    #[must_use]
    pub fn progress(&self) -> Progress {
        let redis_entries = self.pass.streams.iter().map(|stream| stream.read).sum();
        let (step, (done, total)) = if self.ended_at.is_some() {
            (Step::Done, self.pass.kafka_progress())
        } else if !self.pass.redis_is_read() {
            (Step::Redis, self.pass.redis_progress())
        } else if !self.pass.is_done() {
            (Step::Kafka, self.pass.kafka_progress())
        } else {
            (Step::Looking, (self.looks.done, self.looks.total))
        };
        Progress {
            step,
            done,
            total,
            redis_entries,
            kafka_records: self.pass.kafka_records,
        }
    }
}

/// True a few times a second.
#[derive(Default)]
pub(super) struct Seldom(Option<std::time::Instant>);

impl Seldom {
    pub(super) fn now(&mut self) -> bool {
        let due = self
            .0
            .is_none_or(|last| last.elapsed() >= Duration::from_millis(250));
        if due {
            self.0 = Some(std::time::Instant::now());
        }
        due
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_read_and_is_in_no_class_ends_in_an_error_of_our_own() {
        let mut verification = Verification::default();
        assert!(verification.account().is_ok());
        verification.pass.kafka_records = 1;
        let error = verification.account().unwrap_err();
        assert!(!error.is_out_of_reach());
        assert!(
            error.to_string().contains("a fault of lockgate's own"),
            "{error}"
        );
    }

    #[test]
    fn what_was_looked_at_is_kept_and_read_back() {
        let looked = LookedWindow {
            round: 2,
            not_kept: 7,
            ..LookedWindow::default()
        };
        let verification = Verification {
            looked: BTreeMap::from([((0, 1), looked.clone()), ((3, 0), looked)]),
            ..Verification::default()
        };
        let text = serde_json::to_string(&verification).unwrap();
        let read: Verification = serde_json::from_str(&text).unwrap();
        assert_eq!(
            read.looked.keys().collect::<Vec<_>>(),
            [&(0, 1), &(3, 0)],
            "{text}"
        );
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
