//! The ledger's own eyes: every entry of a stream by `XRANGE`, every committed record of a topic by a plain consumer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::compare::{Entry, Record, parse_id};

const PATIENCE: Duration = Duration::from_secs(30);
const PAGE: usize = 2000;

/// All entries of these streams, stream by stream, in the order of their ids.
pub fn entries(url: &str, streams: &[String]) -> Result<Vec<Entry>, String> {
    let text = |error: redis::RedisError| format!("Redis: {error}");
    let client = redis::Client::open(url).map_err(text)?;
    let mut connection = client.get_connection_with_timeout(PATIENCE).map_err(text)?;
    connection.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    let mut entries = Vec::new();
    for stream in streams {
        let mut from = "-".to_owned();
        loop {
            let page: Vec<(String, Vec<Vec<u8>>)> = redis::cmd("XRANGE")
                .arg(stream)
                .arg(&from)
                .arg("+")
                .arg("COUNT")
                .arg(PAGE)
                .query(&mut connection)
                .map_err(text)?;
            let Some((last, _)) = page.last() else { break };
            from = format!("({last}");
            let whole = page.len() == PAGE;
            entries.extend(page.into_iter().map(|(id, flat)| entry(stream, &id, &flat)));
            if !whole {
                break;
            }
        }
    }
    Ok(entries)
}

fn entry(stream: &str, id: &str, flat: &[Vec<u8>]) -> Entry {
    Entry {
        stream: stream.to_owned(),
        id: parse_id(id).expect("Redis writes its ids in one form"),
        fields: flat
            .chunks_exact(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect(),
    }
}

/// Reads topics from their beginning, and at each further call what has come since.
pub struct KafkaReader {
    consumer: BaseConsumer,
    topics: Vec<String>,
    next: BTreeMap<(String, i32), i64>,
    records: Vec<Record>,
}

impl KafkaReader {
    pub fn new(bootstrap: &str, topics: &[&str]) -> Self {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "ledger")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "10")
            .set("reconnect.backoff.max.ms", "200")
            .create()
            .expect("a consumer");
        Self {
            consumer,
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            next: BTreeMap::new(),
            records: Vec::new(),
        }
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Reads every partition to the end that a read_committed reader sees now. Topic by topic: an end of partition
    /// does not say of which topic.
    pub fn read_to_end(&mut self) -> Result<(), String> {
        for topic in self.topics.clone() {
            self.read_topic(&topic)?;
        }
        Ok(())
    }

    fn read_topic(&mut self, topic: &str) -> Result<(), String> {
        let text = |error: KafkaError| format!("Kafka, {topic}: {error}");
        let seen = self
            .consumer
            .fetch_metadata(Some(topic), PATIENCE)
            .map_err(text)?;
        let mut open: BTreeSet<i32> = seen
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
            .map(|partition| partition.id())
            .collect();
        let mut from = TopicPartitionList::new();
        for &partition in &open {
            let next = self.next.get(&(topic.to_owned(), partition)).copied();
            from.add_partition_offset(
                topic,
                partition,
                next.map_or(Offset::Beginning, Offset::Offset),
            )
            .map_err(text)?;
        }
        self.consumer.assign(&from).map_err(text)?;
        let mut heard = Instant::now();
        while !open.is_empty() {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let place = (topic.to_owned(), message.partition());
                    self.next.insert(place, message.offset() + 1);
                    heard = Instant::now();
                    self.records.push(record(&message));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(_)) | None if heard.elapsed() < PATIENCE => {}
                Some(Err(error)) => return Err(text(error)),
                None => return Err(format!("Kafka, {topic}: no end of {open:?}")),
            }
        }
        self.consumer
            .assign(&TopicPartitionList::new())
            .map_err(text)
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| {
                let value = header.value.unwrap_or(b"<a header without a value>");
                (header.key.to_owned(), value.to_vec())
            })
            .collect()
    });
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
        timestamp_ms: message.timestamp().to_millis(),
    }
}
