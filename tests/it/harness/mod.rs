//! Real servers for tests: Redis and Kafka as child processes on free loopback ports, and Lockgate's daemon beside them.
//!
//! * `redis()` and `kafka()` are shared by all tests of a run; a test takes its own database, topics and names on them.
//! * `RedisServer::start` and `KafkaCluster::start` make own ones, for tests that break or configure them.
//! * Nothing outlives the run, however it ends: see `process`. What failed keeps its logs: see `logs`.
//! * Waiting is `eventually` with a deadline and a name for what is awaited; tests do not sleep.

#![allow(
    dead_code,
    unused_imports,
    reason = "each part is here for the tests that need it"
)]

mod certificates;
mod cut;
mod daemon;
mod kafka;
mod kafka_classes;
mod kafka_storage;
mod kafka_tools;
mod ledger;
mod logs;
mod monitor;
mod ports;
mod process;
mod prometheus;
mod redis;
mod tokens;
mod wait;
mod workload;

use std::sync::atomic::{AtomicU32, Ordering};

pub use self::redis::{RedisOptions, RedisServer, redis};
pub use certificates::make as make_certificates;
pub use cut::{Cut, Fault, Way};
pub use daemon::{Daemon, DaemonOptions, lockgate, lockgate_beside, lockgate_with};
pub use kafka::{KafkaCluster, KafkaOptions, kafka, libs};
pub use ledger::{
    Class, Entry, Expected, KafkaReader, Ledger, Record, Report, compare, messages, murmur3_x86_32,
};
pub use logs::log_file;
pub use monitor::{Asked, Monitor};
pub use ports::free_port;
pub use process::{Process, Scratch};
pub use prometheus::{Prometheus, Rules, USER as PROMETHEUS_USER};
pub use tokens::Role;
pub use wait::{Outcome, eventually, eventually_async};
pub use workload::{Added, Running, Sent, Workload, bucket};

/// A name that no other test of this run uses: valid as a topic, a migration's name and a stream.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!(
        "{what}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// True in `make soak`: long tests run at full length, others at the length for every day.
pub fn soak() -> bool {
    std::env::var_os("LOCKGATE_SOAK").is_some_and(|value| value == "1")
}
