//! The one numbered snapshot that metrics, API and command line are views of.
//!
//! Parts write what they know onto the [`Board`]; [`Board::snapshot`] makes a [`Status`] of it, numbered and dated. No
//! view computes a fact of its own, so two views of one `seq` cannot disagree. What could not be measured is `None`,
//! never 0: a zero is a claim.

mod board;
mod carried;
pub mod driver;
pub mod parity;
mod reason;
mod room;
mod snapshot;
mod strays;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use board::{Board, RouteCell, StreamCell};
pub use driver::{DriverStatus, GroupStatus, HandoffStatus, IngressStatus, KafkaStatus};
pub use parity::{OpenDifference, ParityCell, ParityState, ParityStatus, RouteParity};
pub use reason::{DeadLetterReason, GapCause, Reason};
pub use room::{Observation, Room};
pub use strays::{HeldStatus, StrayStatus, StraysStatus};

/// `lockgate.status/v1`: names do not change within v1; durations in `_seconds`, times RFC 3339.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub schema: String,
    pub seq: u64,
    pub as_of: String,
    pub migration: String,
    pub version: String,
    pub instance: String,
    pub started_at: String,
    pub ready: bool,
    pub routes: Vec<RouteStatus>,
    pub streams: Vec<StreamStatus>,
    pub shards: Vec<ShardStatus>,
    pub parity: ParityStatus,
    pub mirror: MirrorStatus,
    /// Entries in Redis whose bucket is Kafka's.
    #[serde(default)]
    pub strays: StraysStatus,
    pub trim: TrimStatus,
    /// Null until there is an ingress.
    #[serde(default)]
    pub ingress: Option<IngressStatus>,
    #[serde(default)]
    pub groups: Vec<GroupStatus>,
    pub edges: BTreeMap<String, EdgeStatus>,
    /// Null where the brokers' metadata is not known.
    #[serde(default)]
    pub kafka: Option<KafkaStatus>,
    pub redis: Option<RedisStatus>,
    pub throttle: ThrottleStatus,
    pub tasks: BTreeMap<String, bool>,
    /// Why `http.tokens_file` is not taken over as it is now; null: it is, or there is none.
    #[serde(default)]
    pub tokens_trouble: Option<String>,
    /// The same of `http.tls_cert_file` and `http.tls_key_file`.
    #[serde(default)]
    pub certificate_trouble: Option<String>,
    #[serde(flatten)]
    pub driver: DriverStatus,
}

/// running, waiting or halted; why; since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub name: StateName,
    pub reason: Option<Reason>,
    pub since: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateName {
    Running,
    Waiting,
    Halted,
}

impl StateName {
    pub const ALL: [Self; 3] = [Self::Running, Self::Waiting, Self::Halted];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Halted => "halted",
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteStatus {
    pub name: String,
    pub topic: String,
    /// Streams of this route that this instance owns.
    pub streams: u64,
    pub streams_by_state: BTreeMap<String, u64>,
    pub mirrored_entries: u64,
    pub mirrored_bytes: u64,
    pub lag_entries: Option<u64>,
    pub lag_seconds: Option<f64>,
    pub dead_letters: BTreeMap<String, u64>,
    pub gaps: BTreeMap<String, u64>,
    /// Entries that Kafka has and Redis lost in a failover.
    pub orphans: u64,
    /// Entries that applications wrote to Redis against the flags, by whose their bucket was: `kafka` (strays), `held`.
    #[serde(default)]
    pub against_flags: BTreeMap<String, u64>,
    /// By topic, the partitions that the route places nothing on, as `on_partition_change = "record"` lets it.
    #[serde(default)]
    pub surplus_partitions: BTreeMap<String, u32>,
    /// `None`: nothing trims and memory does not fill, or nothing is known of it.
    pub trim_headroom_seconds: Option<f64>,
    pub stream_entries: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamStatus {
    pub database: u32,
    pub stream: String,
    pub route: String,
    pub topic: String,
    pub shard: u32,
    pub state: State,
    /// Where its mirror began: `earliest`, `latest`, an entry id; absent when it went on after a checkpoint.
    pub began: Option<String>,
    pub checkpoint: Option<String>,
    pub generation: u32,
    pub mirrored_entries: u64,
    pub lag_entries: Option<u64>,
    pub lag_seconds: Option<f64>,
    pub gap_entries: u64,
    pub orphans: u64,
    pub dead_letters: u64,
    /// Partitions of its topic that its route places nothing on.
    #[serde(default)]
    pub surplus_partitions: u32,
    pub length: Option<u64>,
    pub trim_headroom_seconds: Option<f64>,
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardStatus {
    pub shard: u32,
    pub state: State,
    pub streams: u64,
    pub lag_entries: Option<u64>,
    pub lag_seconds: Option<f64>,
    /// All that its streams held so long ago is mirrored, whatever Redis's clock and ids say; null: not known.
    #[serde(default)]
    pub carried_seconds: Option<f64>,
    pub checkpoint_at: Option<String>,
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MirrorStatus {
    pub forward: DirectionStatus,
    /// Null until there is a reverse mirror.
    #[serde(default)]
    pub reverse: Option<DirectionStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DirectionStatus {
    pub lag_entries: Option<u64>,
    pub lag_seconds: Option<f64>,
    /// Entries a second over the last seconds.
    pub rate: f64,
    /// Entries a second by which the lag grows, below 0 where it falls; null: not known.
    #[serde(default)]
    pub lag_per_second: Option<f64>,
    pub shards: BTreeMap<String, u64>,
    pub dead_letters: u64,
    pub gap_entries: u64,
    pub takeovers: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrimStatus {
    /// The least of all streams; `None`: nothing trims and memory does not fill, or nothing is known of it: `says` tells.
    pub headroom_seconds: Option<f64>,
    /// Entries that were gone before they were mirrored, at least, and are in no gap's count yet.
    #[serde(default)]
    pub gone_entries: u64,
    pub says: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeStatus {
    pub up: Option<bool>,
    pub since: Option<String>,
    pub errors: BTreeMap<String, u64>,
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RedisStatus {
    pub version: String,
    pub role: String,
    pub used_memory_bytes: u64,
    /// 0: no limit.
    pub max_memory_bytes: u64,
    pub memory_used_ratio: Option<f64>,
    pub maxmemory_policy: String,
    pub evicted_keys: u64,
    /// Whether the policy may evict a whole stream.
    pub evicts_streams: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThrottleStatus {
    pub entries_per_second: Option<u32>,
    pub bytes_per_second: Option<u32>,
    pub throttled_seconds: BTreeMap<String, f64>,
}
