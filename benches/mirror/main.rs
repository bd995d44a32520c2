//! What the mirror reaches, as ratios to what Redis and Kafka reach on the same machine in the same run.
//!
//! Absolute figures move with the machine; each figure here stands beside its own ceiling, measured minutes apart on the
//! same servers. Measured processes are children of this one, so that their processor time and memory are their own.
//! `BENCH_ENTRIES` shortens a run; the figures to reach are for 1 000 000. `BENCH_PARTS=throughput,idle,latency` runs some
//! of the parts.
//!
//! Writes `target/bench/summary.json` and prints a table. It does not fail for a figure that falls short: it says so.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../../tests/it/harness/mod.rs"]
mod harness;

mod backlog;
mod ceilings;
mod idle;
mod latency;
mod measured;
mod mirror;
mod report;

use harness::{KafkaCluster, KafkaOptions, RedisOptions, RedisServer};
use measured::Stores;
use report::Report;

const PARTITIONS: i32 = 12;

fn main() {
    if ceilings::is_role() {
        return ceilings::play_role();
    }
    // `cargo test --benches` runs this with `--test`: there is nothing to prove then.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let entries: u64 = std::env::var("BENCH_ENTRIES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000);
    let redis = RedisServer::start(RedisOptions::default());
    let kafka = KafkaCluster::start_options(KafkaOptions::lasting());
    let stores = Stores {
        redis: &redis,
        kafka: &kafka,
    };
    let mut report = Report::new(entries);

    let parts = std::env::var("BENCH_PARTS").unwrap_or("throughput,idle,latency".to_owned());
    for part in parts.split(',') {
        match part {
            "throughput" => throughput(&stores, entries, &mut report),
            "idle" => report.idle(
                &idle::run(str::to_owned, &stores),
                &idle::run(mirror::as_shipped, &stores),
            ),
            "latency" => latency(&stores, &mut report),
            other => panic!("BENCH_PARTS names `{other}`; there are throughput, idle, latency"),
        }
    }
    report.finish();
}

fn throughput(stores: &Stores<'_>, entries: u64, report: &mut Report) {
    println!("{entries} entries into one stream and into 16");
    backlog::fill(stores.redis, 1, 1, entries);
    backlog::fill(stores.redis, 2, 16, entries);
    // The broker compiles itself while it runs, for the first minute with half a core: what is measured is one that has
    // met large transactions before.
    ceilings::produce(stores, entries);
    let read = ceilings::read(stores, 1, entries);
    let produce = ceilings::produce(stores, entries);
    let one = mirror::drain(stores, 1, 1, 1, entries);
    // Both again, in turn, and the better of each: a slow minute flatters nobody.
    let produce = produce.better(ceilings::produce(stores, entries));
    let one = one.better(mirror::drain(stores, 1, 1, 1, entries));
    let spread = mirror::drain(stores, 2, 16, 4, entries);
    let spread = spread.better(mirror::drain(stores, 2, 16, 4, entries));
    let shipped = mirror::drain_as(mirror::as_shipped, stores, 2, 16, 4, entries);
    report.throughput(&produce, &read, &one, &spread, &shipped);
}

fn latency(stores: &Stores<'_>, report: &mut Report) {
    // The broker compiles itself while it runs: what is measured is one that has met small transactions before.
    for _ in 0..3 {
        latency::transaction_alone(stores);
    }
    latency::through_mirror(stores, 1_000, 12_000);
    let alone = latency::transaction_alone(stores);
    report.latency("10/s", &alone, &latency::through_mirror(stores, 10, 200));
    report.latency(
        "1000/s",
        &alone,
        &latency::through_mirror(stores, 1_000, 5_000),
    );
}
