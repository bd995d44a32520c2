//! What all shards of an instance share.

use std::time::{Duration, SystemTime};

use super::throttle::Throttle;
use crate::config;
use crate::flags::FlagsReader;
use crate::metrics::Metrics;
use crate::placement::Topic;
use crate::routing::Routes;
use crate::status::Board;
use crate::streams::{self, Redis};
use crate::topics::{Admin, Kafka};

use std::sync::Arc;

pub struct Shared {
    pub migration: String,
    pub checkpoints: Topic,
    pub routes: Arc<Routes>,
    pub redis: Redis,
    pub kafka: Kafka,
    pub admin: Admin,
    pub shards: config::Shards,
    pub discovery_interval: Duration,
    pub session_timeout: Duration,
    pub throttle: Arc<Throttle>,
    pub board: Arc<Board>,
    pub metrics: Arc<Metrics>,
    /// Whose a bucket is, by which strays are known.
    pub told: FlagsReader,
}

/// How long one step against Kafka may take before it is given up and begun anew.
pub const KAFKA_TIMEOUT: Duration = Duration::from_secs(15);

impl Shared {
    /// `lockgate:<name>:started`: the streams whose mirror has begun, in each database.
    #[must_use]
    pub fn started_key(&self) -> Vec<u8> {
        streams::started_key(&self.migration)
    }

    /// Whether Redis has been seen to evict under a policy that may take a stream.
    #[must_use]
    pub fn redis_evicts(&self) -> bool {
        self.board
            .redis_seen()
            .is_some_and(|redis| redis.evicts_streams && redis.evicted_keys > 0)
    }
}

#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
