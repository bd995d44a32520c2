//! Lockgate: moves a running system from Redis Streams to Apache Kafka. The binary is `main.rs`; this library exists so
//! that tests and benches reach the code. ARCHITECTURE.md is the map.

pub mod app;
pub mod backoff;
pub mod bound;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod entry;
pub mod failpoint;
pub mod flags;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod migration;
pub mod mirror;
pub mod parity;
pub mod placement;
pub mod routing;
pub mod runbooks;
pub mod status;
pub mod streams;
pub mod tasks;
pub mod topics;

/// Of processor time per entry this takes a third away beside the C library's: entries are made on one thread and given
/// back on another. It serves librdkafka too (docs/decisions/0017).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
