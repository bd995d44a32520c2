//! From XADD to a read_committed consumer, beside a transaction of one record alone.

use std::sync::mpsc;
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
    let (arrived, latencies) = mpsc::channel();
    let consumer: BaseConsumer = {
        let mut client = stores.kafka.client();
        client
            .set("group.id", unique("late"))
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest");
        client.set("fetch.wait.max.ms", "5").create().unwrap()
    };
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(&topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&all).unwrap();
    let reading = thread::spawn(move || {
        let mut seen = 0;
        while seen < count + 50 {
            // An error is passed over: a topic just made may not be known everywhere yet.
            let message = match consumer.poll(Duration::from_secs(30)) {
                Some(Ok(message)) => message,
                Some(Err(_)) => continue,
                None => break,
            };
            let at: u64 = std::str::from_utf8(message.payload().unwrap())
                .unwrap()
                .parse()
                .unwrap();
            seen += 1;
            // The first ones meet connections that are still being made.
            if seen > 50 {
                arrived.send(now_micros().saturating_sub(at)).unwrap();
            }
        }
    });
    let mut redis = stores.redis.connection(DATABASE);
    let begun = Instant::now();
    for n in 0..count + 50 {
        let due = Duration::from_micros(n * 1_000_000 / per_second);
        thread::sleep(due.saturating_sub(begun.elapsed()));
        let stream = format!("{prefix}:{}", n % 16);
        let _: String = redis::cmd("XADD")
            .arg(stream)
            .arg("*")
            .arg("at")
            .arg(now_micros())
            .query(&mut redis)
            .unwrap();
    }
    reading.join().unwrap();
    Latency::of(latencies.into_iter().collect())
}
