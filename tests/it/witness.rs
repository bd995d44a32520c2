//! A witness of the mirror that asks Kafka alone: which records came, of which stream, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::harness::{KafkaCluster, eventually, messages};
use crate::rig::{PARTITIONS, now_ms};

/// Follows a topic's committed records and notes when each came.
pub struct Witness {
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Arrival {
    stream: String,
    added_ms: u64,
    at: Instant,
}

impl Witness {
    pub fn start(kafka: &KafkaCluster, topic: &str) -> Self {
        let mut client = kafka.client();
        client
            .set("group.id", "witness")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "20")
            .set("reconnect.backoff.max.ms", "200")
            .set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = client.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(topic, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        let (arrivals, over) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (into, until) = (Arc::clone(&arrivals), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
                    let arrival = arrival(&record);
                    into.lock().unwrap().push(arrival);
                }
            }
        });
        Self {
            arrivals,
            over,
            thread: Some(thread),
        }
    }

    pub fn count(&self) -> usize {
        self.arrivals.lock().unwrap().len()
    }

    /// When the last of these streams had its first record of an entry added at `since_ms` or later.
    #[track_caller]
    pub fn all_go_on(
        &self,
        streams: &BTreeSet<String>,
        since_ms: u64,
        within: Duration,
    ) -> Instant {
        assert!(!streams.is_empty(), "no streams to watch");
        eventually(within, "every stream goes on", || {
            let arrivals = self.arrivals.lock().unwrap();
            let mut first: BTreeMap<&str, Instant> = BTreeMap::new();
            for arrival in arrivals.iter().filter(|one| one.added_ms >= since_ms) {
                if streams.contains(&arrival.stream) {
                    first.entry(&arrival.stream).or_insert(arrival.at);
                }
            }
            let last = first.values().max().copied();
            let none: Vec<_> = streams
                .iter()
                .filter(|name| !first.contains_key(name.as_str()))
                .collect();
            last.filter(|_| none.is_empty())
                .ok_or_else(|| format!("nothing yet of {none:?}"))
        })
    }

    /// All sixteen streams bring entries that are added from now on.
    #[track_caller]
    pub fn goes_on(&self, within: Duration) {
        self.all_go_on(&messages::streams().into_iter().collect(), now_ms(), within);
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn arrival(record: &impl Message<Headers = rdkafka::message::BorrowedHeaders>) -> Arrival {
    let header = |name: &str| {
        let headers = record
            .headers()
            .expect("a record of the mirror has headers");
        let found = headers
            .iter()
            .find(|header| header.key == name)
            .and_then(|header| header.value);
        String::from_utf8_lossy(found.expect("identity")).into_owned()
    };
    let id = header("redis-id");
    let added_ms = id.split('-').next().unwrap().parse().unwrap();
    Arrival {
        stream: header("redis-stream"),
        added_ms,
        at: Instant::now(),
    }
}
