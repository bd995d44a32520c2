//! From XADD to a read_committed consumer, beside a transaction of one record alone.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lockgate::config;
use lockgate::placement::{Partition, Topic};
use lockgate::topics::{Headers, Kafka, Record, Writer};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::PARTITIONS;
use crate::harness::{Daemon, eventually, unique};
use crate::measured::Stores;
use crate::mirror::config;

const DATABASE: u32 = 4;
const TIMEOUT: Duration = Duration::from_secs(30);
/// The entries of the first seconds meet connections that are still being made; they are awaited and not timed.
const WARM_UP_SECONDS: u64 = 3;

/// Milliseconds, at two points of a distribution.
pub struct Latency {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Latency {
    fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
        Self {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
        }
    }
}

fn now_micros() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as u64
}

/// A transaction of one record, begun 5 ms after the last.
pub fn transaction_alone(stores: &Stores<'_>) -> Latency {
    let name = unique("bench-alone");
    stores.kafka.create_topic(&name, PARTITIONS, &[]);
    let kafka = Kafka::new(&config::Kafka {
        bootstrap_servers: vec![stores.kafka.bootstrap()],
        ..Default::default()
    });
    let topic = Topic::from(name.as_str());
    let mut writer = Writer::open(&kafka.unwrap(), &name, TIMEOUT).unwrap();
    let micros = (0..1_000_u32).map(|n| {
        thread::sleep(Duration::from_millis(5));
        let begun = Instant::now();
        writer.begin().unwrap();
        let record = Record {
            topic: &topic,
            partition: Partition((n % PARTITIONS as u32) as i32),
            key: None,
            value: Some(&[0; 230]),
            headers: Headers::default(),
            timestamp_ms: (now_micros() / 1_000) as i64,
        };
        writer.send(record, 0).unwrap();
        writer.commit(TIMEOUT).unwrap();
        begun.elapsed().as_micros() as u64
    });
    Latency::of(micros.collect())
}

/// `count` entries at this rate, over 16 streams, 4 shards.
pub fn through_mirror(stores: &Stores<'_>, per_second: u64, count: u64) -> Latency {
    let topic = unique("bench-latency");
    stores.kafka.create_topic(&topic, PARTITIONS, &[]);
    let prefix = unique("late");
    let config = config(
        stores,
        &unique("late"),
        &topic,
        DATABASE,
        &format!("{prefix}:{{0..15}}"),
        4,
    );
    let (head, _) = config.split_once("key =").unwrap();
    let daemon = Daemon::ready(&format!("{head}value = {{ field = \"at\" }}\n"));
    eventually(TIMEOUT, "all streams run", || {
        daemon.status().is_some_and(|status| {
            status["routes"][0]["streams_by_state"]["running"].as_u64() == Some(16)
        })
    });
    let consumer = consumer(stores, &topic);
    let warm_up = WARM_UP_SECONDS * per_second;
    let sent = count + warm_up;
    let reading = thread::spawn(move || read_all(&consumer, sent));
    let mut redis = stores.redis.connection(DATABASE);
    let begun = Instant::now();
    for n in 0..sent {
        let due = Duration::from_micros(n * 1_000_000 / per_second);
        thread::sleep(due.saturating_sub(begun.elapsed()));
        let stream = format!("{prefix}:{}", n % 16);
        let _: String = redis::cmd("XADD")
            .arg(stream)
            .arg("*")
            .arg("at")
            .arg(format!("{n} {}", now_micros()))
            .query(&mut redis)
            .unwrap();
    }
    let took = reading.join().unwrap();
    Latency::of(took.into_iter().skip(warm_up as usize).collect())
}

fn consumer(stores: &Stores<'_>, topic: &str) -> BaseConsumer {
    let mut client = stores.kafka.client();
    client
        .set("group.id", unique("late"))
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        // A waiting fetch is not always woken when a transaction ends: with the default of 500 ms that would be measured.
        .set("fetch.wait.max.ms", "5")
        // A fetch that meets an aborted or failed one is made again soon, and not after half a second.
        .set("fetch.error.backoff.ms", "5");
    let consumer: BaseConsumer = client.create().unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&all).unwrap();
    consumer
}

/// Reads until every entry has come, each once; answers how long each took.
fn read_all(consumer: &BaseConsumer, sent: u64) -> Vec<u64> {
    let mut took: Vec<Option<u64>> = vec![None; sent as usize];
    let mut left = sent;
    let mut progress = Instant::now();
    while left > 0 {
        // An error: a topic just made may not be known everywhere yet. None: any event of the client ends a poll early.
        let Some(Ok(message)) = consumer.poll(Duration::from_secs(1)) else {
            assert!(
                progress.elapsed() < TIMEOUT,
                "{left} of {sent} entries have not come"
            );
            continue;
        };
        progress = Instant::now();
        let text = std::str::from_utf8(message.payload().unwrap()).unwrap();
        let (n, at) = text.split_once(' ').unwrap();
        let of_this = &mut took[n.parse::<usize>().unwrap()];
        assert!(of_this.is_none(), "entry {n} came twice");
        *of_this = Some(now_micros().saturating_sub(at.parse().unwrap()));
        left -= 1;
    }
    took.into_iter().flatten().collect()
}
