//! The records of one entry in Kafka: in its topic and in the dead-letter topic, whatever partition they are in.
//!
//! A record is dated as its entry, so reading begins at the entry's time; where that finds nothing, all that is there is
//! read, so that "Kafka has none" never rests on a date.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use crate::entry::{EntryId, StreamRef};
use crate::parity::{self, Edges, Location};
use crate::placement::{Offset, Partition, Topic};
use crate::topics::{self, From, RecordView};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A record that names the entry.
#[derive(Clone, Debug)]
pub struct Held {
    pub topic: String,
    pub at: Location,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Every header, in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What was read to find them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    pub topic: String,
    /// 0: there is no such topic.
    pub partitions: u32,
    /// From the first record of this time on; `None`: all that is there.
    pub from_ms: Option<i64>,
    pub records: u64,
}

/// Reads one topic for records of this entry.
///
/// # Errors
/// Kafka gave no answer.
pub async fn search(
    edges: &Edges,
    topic: &Topic,
    stream: &StreamRef,
    id: EntryId,
) -> Result<(Vec<Held>, Searched), parity::Error> {
    let layouts = edges.admin.layouts(std::slice::from_ref(topic)).await?;
    let partitions = layouts
        .get(topic)
        .map_or(0, topics::TopicState::partition_count);
    let mut searched = Searched {
        topic: topic.to_string(),
        partitions,
        from_ms: id.plausible_time_ms(now_ms()),
        records: 0,
    };
    if partitions == 0 {
        return Ok((Vec::new(), searched));
    }
    loop {
        let (kafka, topic, stream) = (edges.kafka.clone(), topic.clone(), stream.clone());
        let asked = searched.clone();
        let read = tokio::task::spawn_blocking(move || read(&kafka, &topic, &stream, id, &asked));
        let (found, records) = crate::tasks::passed_on(read.await)?;
        searched.records = records;
        if !found.is_empty() || searched.from_ms.is_none() {
            return Ok((found, searched));
        }
        searched.from_ms = None;
    }
}

fn read(
    kafka: &topics::Kafka,
    topic: &Topic,
    stream: &StreamRef,
    id: EntryId,
    asked: &Searched,
) -> Result<(Vec<Held>, u64), topics::Error> {
    let from = asked.from_ms.map_or(From::Beginning, From::TimeMs);
    let starts: Vec<(Partition, From)> = (0..i32::try_from(asked.partitions).unwrap_or(i32::MAX))
        .map(|partition| (Partition(partition), from))
        .collect();
    let id = id.to_string();
    let (mut found, mut records) = (Vec::new(), 0);
    topics::read_partitions(kafka, topic, &starts, TIMEOUT, |record| {
        records += 1;
        if record.header("redis-id") == Some(id.as_bytes())
            && record.header("redis-stream") == Some(stream.name.as_bytes())
        {
            found.push(held(topic, record));
        }
        ControlFlow::Continue(())
    })?;
    found.sort_by_key(|held: &Held| (held.at.partition, held.at.offset));
    Ok((found, records))
}

fn held(topic: &Topic, record: &RecordView<'_>) -> Held {
    let generation = record
        .header("redis-gen")
        .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    Held {
        topic: topic.to_string(),
        at: Location {
            partition: record.partition,
            offset: Offset(record.offset.0),
            generation: generation.unwrap_or(0),
        },
        timestamp_ms: record.timestamp_ms,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record
            .headers()
            .map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_vec()))
            .collect(),
    }
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
