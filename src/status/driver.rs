//! The migration as its driver shows it: plain data that the driver writes and that every view shows.
//!
//! The names of phases, states, verbs, gates and tripwires stand here as well, because metrics show each of them from the first
//! scrape and the ground knows no service; a test beside the driver holds them against its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub const PHASES: [&str; 5] = ["shadow", "consumers", "ingress", "cleanup", "done"];
/// `waiting` is steady while a store is out of reach.
pub const STATES: [&str; 6] = [
    "steady",
    "moving",
    "waiting",
    "held",
    "frozen",
    "rolling_back",
];
pub const VERBS: [&str; 6] = [
    "promote", "hold", "resume", "rollback", "complete", "tripwire",
];
pub const OUTCOMES: [&str; 3] = ["done", "refused", "undone"];
pub const VERDICTS: [&str; 3] = ["pass", "fail", "inconclusive"];
pub const GATES: [&str; 18] = [
    "mirror-lag",
    "parity",
    "soak",
    "added-latency",
    "incidents",
    "group-lag",
    "duplicates",
    "throughput",
    "dead-letters",
    "produce-latency",
    "produce-errors",
    "duplicate-hits",
    "end-to-end",
    "clients",
    "strays",
    "rehearsal",
    "drained",
    "archive",
];

/// What one instance's driver shows. Where another instance steers, only what is stored is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DriverStatus {
    pub epoch: Option<u64>,
    /// `None`: the driver has not read its state yet.
    pub phase: Option<String>,
    pub step: Option<StepStatus>,
    pub state: Option<SteeringState>,
    pub gates: Vec<GateStatus>,
    pub blockers: Vec<BlockerStatus>,
    pub next: Option<NextStatus>,
    pub rollback: Option<RollbackStatus>,
    pub flags: Vec<FlagStatus>,
    /// How many buckets are whose, by what `QUEUE_BACKEND` says of them: `redis`, `hold` or `kafka`.
    pub buckets: BTreeMap<String, u64>,
    /// What is promised of order around a change: `1 ingress`, `2 direct, store fence` or `3 flags only`.
    pub level: Option<String>,
    /// How the applications that are known stand to what they are told.
    pub clients: Option<ClientsStatus>,
    /// 1 far from firing, 0 beyond; null: not known.
    pub tripwires: BTreeMap<String, Option<f64>>,
    /// What the groups do of the baseline's throughput; null: nobody has told it lately, or there is no baseline.
    pub throughput_ratio: Option<f64>,
    /// By verb, since this process began to steer.
    pub events: BTreeMap<String, EventStatus>,
    /// The last records.
    pub journal: Vec<JournalStatus>,
    /// This instance steers, and nothing keeps it from doing so.
    pub steers: bool,
    /// The instance that steers, where it is not this one.
    pub steered_by: Option<String>,
    /// Stored states that disagree: nothing is moved until an operator decides.
    pub trouble: Option<String>,
    /// Why the store could not be read or written last.
    pub store_error: Option<String>,
    /// The copy of the migration's state in Kafka; null: another instance writes it, or it is not known yet.
    pub copy: Option<CopyStatus>,
    /// Changes that could not be stored, since the process started.
    pub journal_errors: u64,
}

/// Steps read `shadow`, `consumers:25`, `ingress:10`, `cleanup`, `done`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepStatus {
    /// Where it is to be.
    pub set: String,
    /// Where it is, or was before it moved.
    pub actual: String,
    pub since: String,
    pub by: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SteeringState {
    /// One of [`STATES`].
    pub name: String,
    pub since: String,
    pub reason: Option<String>,
    /// Who holds it, or asked for the move.
    pub by: Option<String>,
    pub waiting_for: Option<String>,
    /// When a move is given up.
    pub deadline: Option<String>,
    /// Frozen: the step that a tripwire took it back from.
    pub from: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GateStatus {
    pub name: String,
    /// One of [`VERDICTS`].
    pub verdict: String,
    pub value: Option<f64>,
    pub unit: String,
    pub op: String,
    pub threshold: f64,
    /// How long it must have held, in words; null: now.
    pub window: Option<String>,
    pub window_seconds: f64,
    pub samples: u64,
    pub needed: Option<u64>,
    pub since: Option<String>,
    /// Why it does not pass; empty where it does.
    pub reason: String,
    pub opens_at: Option<String>,
    /// Evidence collected of evidence needed, 0 to 1.
    pub progress: f64,
}

/// What stands in the way, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockerStatus {
    pub what: String,
    pub why: String,
    #[serde(rename = "do")]
    pub todo: String,
    pub runbook: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CopyStatus {
    /// What was written last since this instance steers; null: nothing yet.
    pub epoch: Option<u64>,
    pub version: Option<u64>,
    /// Why what is newer cannot be written.
    pub error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NextStatus {
    pub verb: String,
    pub to: String,
    pub allowed: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RollbackStatus {
    /// `None`: nothing to take back.
    pub to: Option<String>,
    /// It can be asked for now, and would be stored.
    pub ready: bool,
    pub estimate_seconds: Option<f64>,
    /// How long writes are held; null: not known.
    pub holds_seconds: Option<f64>,
    /// What is lost by it; null: not known.
    pub loses_entries: Option<u64>,
    /// What readers who go back do not get; null: nothing is left.
    pub leaves: Option<String>,
    /// When the way back from here (from the next step, in `shadow`) was last tried, under the present settings.
    pub rehearsed_at: Option<String>,
    pub rehearsal_passed: Option<bool>,
    /// What a tripwire took back by itself: how long that took.
    pub took_seconds: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlagStatus {
    pub flag: String,
    /// What one is told who names no key, bucket or partition.
    pub value: String,
    /// Since when this version is told.
    pub since: String,
    pub version: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientsStatus {
    /// That follow what is told now.
    pub current: u64,
    /// That have something older.
    pub old: u64,
    /// Their names.
    pub behind: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventStatus {
    /// By outcome.
    pub counts: BTreeMap<String, u64>,
    pub last_at: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalStatus {
    pub n: u64,
    pub at: String,
    pub epoch: u64,
    pub who: String,
    pub verb: String,
    pub from: String,
    pub to: String,
    pub reason: String,
    pub outcome: String,
    pub note: String,
}

/// A consumer group, in either store; at Redis, of the streams of this instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupStatus {
    /// `redis` or `kafka`.
    pub store: String,
    pub group: String,
    pub lag_entries: Option<u64>,
    /// Age of the oldest entry that the group has not done, as its record is dated; 0 if there is none.
    pub lag_seconds: Option<f64>,
    /// Entries a second by which the lag grows; below 0 it falls.
    pub lag_per_second: Option<f64>,
    /// Partitions that hold something and on which the group has committed nothing.
    pub uncommitted_partitions: Option<u64>,
    /// At Kafka; null where the coordinator does not know the group.
    pub members: Option<u64>,
    /// At Redis: entries given out and not acknowledged.
    pub pending_entries: Option<u64>,
    /// At Redis: age of the oldest of them; 0 if there is none.
    pub pending_oldest_seconds: Option<f64>,
    /// At Redis: entries done with, at this instance's streams, since it began to look.
    pub processed: Option<u64>,
    /// Why what is null is not known, where that can be said.
    pub reason: Option<String>,
}

/// The brokers, from their metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KafkaStatus {
    pub brokers: Option<u64>,
    pub brokers_up: Option<u64>,
    /// Of the routed topics.
    pub under_replicated_partitions: Option<u64>,
    /// Of the routed topics: without a leader.
    pub offline_partitions: Option<u64>,
    /// Of the routed topics: with fewer replicas in sync than the topic wants before it takes a record.
    pub under_min_isr_partitions: Option<u64>,
    /// Of all topics of the cluster.
    pub all_under_replicated_partitions: Option<u64>,
    pub all_offline_partitions: Option<u64>,
    pub all_under_min_isr_partitions: Option<u64>,
    /// Of the fullest broker, and of the follower that is furthest behind: as a Prometheus or an application says.
    pub disk_used_ratio: Option<f64>,
    pub replication_lag_seconds: Option<f64>,
    pub next_try_seconds: Option<f64>,
    /// Why nothing was told, by question; null: it was. Kafka is asked for `metadata` and `groups`; for `log_end`, which is
    /// how far followers are behind, and `log_dirs`, which is disks, others are.
    pub probes: BTreeMap<String, Option<String>>,
    /// When it last was.
    pub probes_answered_at: BTreeMap<String, String>,
}

/// What others than the brokers say of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BrokersSaid {
    pub disk_used_ratio: Option<f64>,
    pub replication_lag_seconds: Option<f64>,
    pub probes: BTreeMap<String, Option<String>>,
    pub answered_at: BTreeMap<String, String>,
}

/// The write path that Lockgate offers to producers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressStatus {
    pub p95_seconds: Option<f64>,
    /// Writes a second.
    pub rate: Option<f64>,
    pub errors: u64,
    pub writes: u64,
    /// By primary.
    pub buckets: BTreeMap<String, u64>,
    pub handoff: Option<HandoffStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HandoffStatus {
    pub to: String,
    pub buckets: u64,
    pub done: u64,
    pub holding: u64,
    pub waiting: u64,
    pub returned: u64,
    pub holding_seconds: Option<f64>,
    pub limit_seconds: Option<f64>,
    pub longest_seconds: Option<f64>,
    pub rejected: u64,
}
