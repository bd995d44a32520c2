//! What `lockgate parity verify` and the continuous auditor cost, as a ratio to reading both stores and nothing else, on the same machine in the same run.
//!
//! The mirror itself fills Kafka from the backlog. Then both stores are read alone (`XRANGE`, then a read_committed consumer,
//! as verify does one after the other, through the same clients), verified while they are level, and verified again with a
//! difference in every window, which makes it compare every entry. Each runs as a child of this program, so that processor
//! time and memory are its own. Between the two the daemon's auditor has its turn: over the whole backlog, and then beside a
//! mirror that runs at half of its full speed.
//!
//! `BENCH_ENTRIES` sets the length of the backlog, 2 000 000 where it is not given; 10 000 000 shows that memory does not
//! grow with it. Writes `target/bench/parity.json` and prints a table. It does not fail for a figure that falls short: it says so.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../../tests/it/harness/mod.rs"]
mod harness;

#[path = "../mirror/backlog.rs"]
mod backlog;
#[path = "../mirror/measured.rs"]
mod measured;
#[allow(dead_code, reason = "its configuration alone is needed here")]
#[path = "../mirror/mirror.rs"]
mod mirror;

mod audit;
mod reading;
mod report;
mod role;
mod verify;

use harness::{KafkaCluster, KafkaOptions, RedisOptions, RedisServer, Scratch, unique};
use measured::Stores;
use report::Report;

const PARTITIONS: i32 = 12;
const STREAMS: u64 = 16;
const SHARDS: u32 = 4;
const DATABASE: u32 = 1;

fn main() {
    if role::is_role() {
        return role::play();
    }
    // `cargo test --benches` runs this with `--test`: there is nothing to prove then.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let entries: u64 = std::env::var("BENCH_ENTRIES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(2_000_000);
    let redis = RedisServer::start(RedisOptions::default());
    let kafka = KafkaCluster::start_options(KafkaOptions::lasting());
    let stores = Stores {
        redis: &redis,
        kafka: &kafka,
    };
    let streams = format!("bench:{DATABASE}:{{0..{}}}", STREAMS - 1);
    let into = |topic: &str| {
        kafka.create_topic(topic, PARTITIONS, &[("compression.type", "lz4")]);
        mirror::config(
            &stores,
            &unique("parity"),
            topic,
            DATABASE,
            &streams,
            SHARDS,
        )
    };
    let topic = unique("bench-parity");
    let config = into(&topic);
    let folder = Scratch::new("parity-bench");
    let file = folder.path().join("lockgate.toml");
    std::fs::write(&file, &config).unwrap();

    println!("{entries} entries into {STREAMS} streams, mirrored into {PARTITIONS} partitions");
    backlog::fill(&redis, DATABASE, STREAMS, entries);
    // The broker compiles itself while it runs: what is measured is one that has met a mirror before.
    audit::mirror(&into(&unique("bench-warm")), entries);
    let mirrored = audit::mirror(&config, entries);

    let mut report = Report::new(entries);
    let reading = reading::both(&stores, &topic, entries);
    let level = verify::run(&file, entries, 0);
    // The ceiling again, behind what it is held against: the better of the two counts, so a slow minute flatters nobody.
    let reading = reading.better(reading::both(&stores, &topic, entries));
    report.ceiling(&reading);
    report.level(&reading, &level);
    report.audit(
        &reading,
        &mirrored,
        &audit::backlog(&config, entries, SHARDS),
    );
    let half = mirrored.per_second() / 2.0;
    let behind = audit::keeping_up(&into(&unique("bench-half")), entries, half);
    report.keeping_up(&mirrored, &behind);
    let differences = verify::spoil(&redis, entries);
    report.apart(
        &reading,
        &verify::run(&file, entries - differences, differences),
    );
    report.finish();
}
