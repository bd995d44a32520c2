//! The daemon itself, on a backlog.

use std::time::{Duration, Instant};

use crate::PARTITIONS;
use crate::backlog;
use crate::harness::{Daemon, eventually, unique};
use crate::measured::{Measured, Stores, peak_resident_bytes, processor_time};

/// Switches the auditor off: what is measured is the mirror. `benches/parity` measures the auditor.
pub const NO_AUDIT: &str = "[parity]\nenabled = false\n";

/// The same configuration with the auditor on, as a daemon has it unless told otherwise.
pub fn as_shipped(config: &str) -> String {
    config.replace(NO_AUDIT, "")
}

/// A configuration for these streams, with headers and the JSON value of seed 003.
pub fn config(
    stores: &Stores<'_>,
    name: &str,
    topic: &str,
    database: u32,
    streams: &str,
    shards: u32,
) -> String {
    format!(
        r#"
name = "{name}"
[redis]
url = "{url}"
[kafka]
bootstrap_servers = ["{bootstrap}"]
[shards]
count = {shards}
[log]
level = "warn"
{NO_AUDIT}[[routes]]
name = "bench"
streams = ["{streams}"]
topic = "{topic}"
partitions = {PARTITIONS}
key = {{ field = "conversationId" }}
partition = {{ hash = "murmur3" }}
[routes.headers]
correlation-id = {{ field = "correlationId" }}
idempotency-key = {{ field = "idempotencyKey" }}
[routes.value]
json = ["messageId", "conversationId", "senderId", "createdAt", {{ field = "payloadKey", as = "null-if-empty" }},
        "idempotencyKey", "correlationId", {{ field = "metadata", as = "json" }}]
"#,
        url = stores.redis.url(database),
        bootstrap = stores.kafka.bootstrap(),
    )
}

pub fn pid(daemon: &Daemon) -> u32 {
    daemon.process().pid().as_raw().unsigned_abs()
}

/// Mirrors the whole backlog of a database without the auditor.
pub fn drain(
    stores: &Stores<'_>,
    database: u32,
    streams: u64,
    shards: u32,
    entries: u64,
) -> Measured {
    drain_as(str::to_owned, stores, database, streams, shards, entries)
}

/// `configured` has the last word on the configuration. The clock runs from the first entry mirrored to the last, so that starting and
/// joining the group are not counted; the entries before the first look are left out on both sides of the ratio.
pub fn drain_as(
    configured: fn(&str) -> String,
    stores: &Stores<'_>,
    database: u32,
    streams: u64,
    shards: u32,
    entries: u64,
) -> Measured {
    let topic = unique("bench-mirror");
    stores
        .kafka
        .create_topic(&topic, PARTITIONS, &[("compression.type", "lz4")]);
    let streams = if streams == 1 {
        backlog::stream(database, 0)
    } else {
        format!("bench:{database}:{{0..{}}}", streams - 1)
    };
    let config = config(stores, &unique("bench"), &topic, database, &streams, shards);
    let daemon = Daemon::ready(&configured(&config));
    let pid = pid(&daemon);
    let mirrored = || {
        let status = daemon.status()?;
        status["routes"][0]["mirrored_entries"].as_u64()
    };
    let first = eventually(Duration::from_secs(60), "the first entries", || {
        mirrored().filter(|count| *count > 0)
    });
    let (begun, processor) = (Instant::now(), processor_time(pid));
    eventually(Duration::from_secs(600), "the whole backlog", || {
        // Seldom: a status costs the daemon processor time too.
        std::thread::sleep(Duration::from_millis(30));
        mirrored().is_some_and(|count| count >= entries)
    });
    Measured {
        entries: entries - first,
        seconds: begun.elapsed().as_secs_f64(),
        processor_seconds: (processor_time(pid) - processor).as_secs_f64(),
        resident_bytes: peak_resident_bytes(pid),
    }
}
