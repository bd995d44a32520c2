//! How long a tripwire takes from the crossing of its threshold until applications are told: from the commit of the records
//! that put a consumer group too far behind, to the flags in Redis that take its consumers back.
//!
//! The driver runs here with its default period of evaluation, on a real Redis and a real Kafka; each round begins at a moment
//! of its own within the period. `BENCH_ROUNDS` sets how many, 10 where it is not given. Writes `target/bench/tripwire.json` and
//! prints a table. It does not fail for a figure that falls short: it says so.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../../tests/it/harness/mod.rs"]
mod harness;

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/migration/site.rs"]
mod site;

use std::path::Path;
use std::time::{Duration, Instant};

use lockgate::config::Migration;
use lockgate::config::migration::Group;
use lockgate::migration::gate::Measure;
use lockgate::migration::phase::Step;
use lockgate::migration::step::Name;
use lockgate::placement::{Partition, Topic};
use lockgate::topics::{Headers, Record, Writer};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::json;

use harness::{eventually_async, kafka, unique};
use site::{LONG, Running, Site, runtime};

/// Two periods of evaluation.
const GOAL: u32 = 2;
const BEYOND: u64 = 1_000;

fn main() {
    // `cargo test --benches` runs this with `--test`: there is nothing to prove then.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let rounds: u32 = std::env::var("BENCH_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(10);
    let (mut site, group) = (Site::new("bench-tripwire"), unique("workers"));
    let defaults = Migration::default();
    (site.config.evaluate_every, site.config.lease) = (defaults.evaluate_every, defaults.lease);
    site.config.tripwires.group_lag.beyond = BEYOND;
    site.config.groups = vec![Group {
        name: group.clone(),
        routes: Vec::new(),
        redis: None,
    }];
    site.real = &[Measure::GroupLag, Measure::UnderReplicated];
    kafka().create_topic(&site.topic, 1, &[]);
    let mut writer = Writer::open(&site.kafka(), &unique("bench"), LONG).unwrap();
    let mut taken: Vec<Duration> = runtime().block_on(async {
        let running = site.start("one");
        running.at(Step::SHADOW, Name::Steady).await;
        let mut taken = Vec::new();
        for round in 0..rounds {
            level(&group, &site.topic);
            running.climb(&site, Step::consumers(5)).await;
            known(&running).await;
            // A moment of its own within the period.
            let phase = defaults.evaluate_every * round / rounds;
            tokio::time::sleep(phase).await;
            taken.push(one(&site, &mut writer).await);
            running.at(Step::SHADOW, Name::Steady).await;
        }
        running.stop().await;
        taken
    });
    taken.sort_unstable();
    report(&taken, defaults.evaluate_every);
}

/// The group's lag is measured, and well.
async fn known(running: &Running) {
    eventually_async(LONG, "the group's lag is known", async || {
        let gate = running.gate("group-lag");
        gate.is_some_and(|gate| gate.value == Some(0.0))
    })
    .await;
}

/// From records that nobody has processed to flags that say so.
async fn one(site: &Site, writer: &mut Writer) -> Duration {
    let topic = Topic::from(site.topic.as_str());
    writer.begin().unwrap();
    for tag in 0..=BEYOND {
        let record = Record {
            topic: &topic,
            partition: Partition(0),
            key: None,
            value: Some(b"x"),
            headers: Headers::default(),
            timestamp_ms: 0,
        };
        writer.send(record, tag).unwrap();
    }
    writer.commit(LONG).unwrap();
    let crossed = Instant::now();
    let redis = site.redis();
    let mut connection = redis.connect(redis.default_database()).await.unwrap();
    let key = lockgate::flags::key(&site.name);
    loop {
        let fields = connection.own_fields(&key).await.unwrap();
        let back = ("kafka_partitions_percent".to_owned(), "0".to_owned());
        if fields.contains(&back) {
            return crossed.elapsed();
        }
        assert!(crossed.elapsed() < LONG, "it never fired");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The group has processed all there is.
fn level(group: &str, topic: &str) {
    let mut client = kafka().client();
    client.set("group.id", group);
    let consumer: BaseConsumer = client.create().unwrap();
    let (_, end) = consumer.fetch_watermarks(topic, 0, LONG).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(end))
        .unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

fn report(taken: &[Duration], period: Duration) {
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize].as_secs_f64();
    let (median, longest, goal) = (at(0.5), at(1.0), (GOAL * period).as_secs_f64());
    let met = if longest <= goal {
        "reached"
    } else {
        "FALLS SHORT"
    };
    println!("{} rounds, evaluated every {period:?}", taken.len());
    println!("{:<46} {median:>10.2} s", "crossing to flags back, median");
    println!("{:<46} {longest:>10.2} s  <= {goal} s  {met}", "longest");
    let summary = json!({
        "rounds": taken.len(), "period_seconds": period.as_secs_f64(),
        "median_seconds": median, "longest_seconds": longest, "goal_seconds": goal,
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("tripwire.json");
    std::fs::write(&file, serde_json::to_string_pretty(&summary).unwrap()).unwrap();
    println!("{}", file.display());
}
