//! Both sides of an audit, as digests: what Redis holds up to the checkpoint, and what Kafka has of it.
//!
//! Redis is read downwards, in replies within the bound of the shard's memory, and compared a window at a time; of an entry its
//! id and two digests stay, and only as long as its window, so that a long way down to the point where the histories part costs
//! reading, and no memory: a window, and what Kafka has of it, fit `shards.buffer_bytes` once more.

use std::collections::{HashMap, VecDeque};
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::compare::{Digest, Held, InKafka, Mirrored};
use super::logs::Log;
use crate::checkpoint;
use crate::entry::{Entry, EntryId, StreamRef};
use crate::mirror::dead_letter::DeadLetter;
use crate::mirror::pace::Pace;
use crate::mirror::shard::TermEnd;
use crate::mirror::shared::{KAFKA_TIMEOUT, Shared, now_ms};
use crate::mirror::slot::Slot;
use crate::mirror::source::Source;
use crate::mirror::writer::REPAIR;
use crate::placement::{Offset, Partition, Topic};
use crate::routing::{Encoded, dead_letter};
use crate::streams::Error;
use crate::tasks::passed_on;
use crate::topics::{self, From, RecordView, Stretch, TopicState};

/// Entries of the first window; each further one is eight times as long, as far as there is room.
pub const FIRST_WINDOW: usize = 1_000;
/// What an entry of a window costs, with what Kafka has of it.
const ENTRY_BYTES: usize = 256;

/// The most entries of a window, and the most ids kept that Kafka alone has.
#[must_use]
pub fn room(shared: &Shared) -> usize {
    (shared.shards.buffer_bytes / ENTRY_BYTES).max(FIRST_WINDOW)
}

/// Redis's entries from the newest that is compared downwards, one stretch of them after another.
pub struct Window {
    slot: Arc<Slot>,
    low: EntryId,
    /// Up to here, inclusive, nothing has been read; `None`: all has.
    next: Option<EntryId>,
    held: VecDeque<Held>,
    pace: Pace,
}

impl Window {
    pub fn new(slot: &Arc<Slot>, low: EntryId, high: EntryId) -> Self {
        Self {
            slot: Arc::clone(slot),
            low,
            next: (low <= high).then_some(high),
            held: VecDeque::new(),
            pace: Pace::new(),
        }
    }

    /// The stretch that was read last, ascending.
    pub fn held(&mut self) -> &[Held] {
        self.held.make_contiguous()
    }

    /// Goes down to the next stretch, of about so many entries, or all there are: then `true`.
    pub async fn go_down(
        &mut self,
        shared: &Shared,
        source: &mut Source,
        count: usize,
    ) -> Result<bool, TermEnd> {
        self.held.clear();
        let bound = shared.shards.buffer_bytes / 2;
        source.connection.bound_entries(bound);
        while let Some(high) = self.next.filter(|_| self.held.len() < count) {
            let fit = (bound / self.pace.entry_bytes().max(1)).max(1);
            let asked = self.pace.most().min(fit).min(count);
            let name = &self.slot.stream.name;
            let read = source.connection.range_back(name, high, self.low, asked);
            match read.await {
                Ok(entries) => self.take(&entries, asked),
                Err(Error::Oversized { entries, .. }) => {
                    self.pace.broken_off(asked, entries);
                    source.connect_again(shared).await?;
                    source.connection.bound_entries(bound);
                }
                Err(error) => return Err(TermEnd::Redis(error)),
            }
        }
        source.keep_history().await?;
        Ok(self.next.is_none())
    }

    /// `entries`: descending.
    fn take(&mut self, entries: &[Entry], asked: usize) {
        self.pace.brought(entries, asked);
        let last = entries.last().filter(|_| entries.len() >= asked);
        self.next = last
            .and_then(|last| last.id.previous())
            .filter(|next| *next >= self.low);
        let mut scratch = Encoded::default();
        let mut letter = Vec::new();
        for entry in entries {
            let binding = &self.slot.binding;
            let record = binding
                .encode(&self.slot.stream, entry, &mut scratch)
                .ok()
                .map(|()| digest(scratch.key(), &scratch.value));
            letter.clear();
            dead_letter::encode(&entry.fields, &mut letter);
            let log = Log {
                letters: record.is_none(),
                partition: record.map_or(DeadLetter::PARTITION, |_| scratch.partition),
            };
            self.held.push_front(Held {
                id: entry.id,
                time_ms: entry.id.plausible_time_ms(now_ms()),
                log,
                record,
                letter: digest(None, &letter),
            });
        }
    }
}

fn digest(key: Option<&[u8]>, value: &[u8]) -> Digest {
    let mut hash = Xxh3::new();
    hash.update(&[u8::from(key.is_some())]);
    hash.update(&(key.map_or(0, <[u8]>::len) as u64).to_le_bytes());
    hash.update(key.unwrap_or_default());
    hash.update(value);
    hash.digest128()
}

/// What Kafka has of the stream's entries with these ids, in its topic and among the dead letters. `held`: those of Redis.
pub async fn mirrored(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    ids: RangeInclusive<EntryId>,
    held: &[Held],
) -> Result<InKafka, TermEnd> {
    if ids.is_empty() {
        return Ok(InKafka::default());
    }
    let topic = slot.binding.topic().clone();
    let letters = slot.binding.route().dead_letters().clone();
    let topics = [topic.clone(), letters.clone()];
    let found = shared.admin.layouts(&topics).await;
    let found = found.map_err(|error| TermEnd::Checkpoint(checkpoint::Error::Topics(error)))?;
    let count = move |topic: &Topic| {
        let count = found.get(topic).map_or(0, TopicState::partition_count);
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    let mut kafka = Kafka {
        shared: Arc::clone(shared),
        stream: slot.stream.clone(),
        ids,
        held: held.iter().map(|held| held.id).collect(),
        room: room(shared),
        found: InKafka::default(),
    };
    let read = tokio::task::spawn_blocking(move || -> Result<InKafka, topics::Error> {
        kafka.collect(&topic, count(&topic), false)?;
        kafka.collect(&letters, count(&letters), true)?;
        Ok(kafka.found)
    });
    let read = passed_on(read.await);
    read.map_err(|error| TermEnd::Checkpoint(checkpoint::Error::Topics(error)))
}

/// What is looked for in Kafka, and what has been found of it.
struct Kafka {
    shared: Arc<Shared>,
    stream: StreamRef,
    ids: RangeInclusive<EntryId>,
    /// Redis's, ascending.
    held: Vec<EntryId>,
    room: usize,
    found: InKafka,
}

impl Kafka {
    fn collect(
        &mut self,
        topic: &Topic,
        partitions: i32,
        letters: bool,
    ) -> Result<(), topics::Error> {
        let partitions: Vec<Partition> = (0..partitions).map(Partition).collect();
        let shared = Arc::clone(&self.shared);
        let stretches = self.stretches(topic, &partitions, letters)?;
        topics::read_stretches(&shared.kafka, topic, &stretches, KAFKA_TIMEOUT, |record| {
            self.take(record, letters);
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    /// From where to read each partition; takes note of those that are read from a beginning that is not their first.
    fn stretches(
        &mut self,
        topic: &Topic,
        partitions: &[Partition],
        letters: bool,
    ) -> Result<Vec<Stretch>, topics::Error> {
        let kafka = &self.shared.kafka;
        let bounds = topics::bounds(kafka, topic, partitions, KAFKA_TIMEOUT)?;
        // A record's time is its id's, or the time it was read where the id is none; two hours cover clocks that differ.
        let since = self.ids.start().plausible_time_ms(now_ms());
        self.found.logs.whole = since.is_none();
        let starts = match since {
            Some(ms) => {
                topics::offsets_at(kafka, topic, partitions, ms - 7_200_000, KAFKA_TIMEOUT)?
            }
            None => Vec::new(),
        };
        let starts: HashMap<Partition, Option<Offset>> = starts.into_iter().collect();
        let stretches = bounds.into_iter().map(|bounds| {
            let partition = bounds.partition;
            let start = starts.get(&partition).map_or(bounds.low, |found| {
                found.unwrap_or(bounds.end).max(bounds.low)
            });
            if bounds.low > Offset(0) && start == bounds.low {
                self.found.logs.begins_late(Log { letters, partition });
            }
            Stretch {
                partition,
                from: From::Offset(start),
                to: None,
            }
        });
        Ok(stretches.collect())
    }

    fn take(&mut self, record: &RecordView<'_>, letter: bool) {
        let log = Log {
            letters: letter,
            partition: record.partition,
        };
        let repaired = record.header(REPAIR).is_some();
        if !repaired {
            self.found.logs.pass(log, record.timestamp_ms);
        }
        if record.header("redis-stream") != Some(self.stream.name.as_bytes()) {
            return;
        }
        let text = |name| {
            record
                .header(name)
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
        };
        let Some(id) = text("redis-id").and_then(|id| id.parse::<EntryId>().ok()) else {
            return;
        };
        if !repaired {
            self.found.logs.has(log, id);
        }
        if !self.ids.contains(&id) {
            return;
        }
        let generation = text("redis-gen")
            .and_then(|generation| generation.parse().ok())
            .unwrap_or(0);
        if self.held.binary_search(&id).is_err() {
            self.found.alone.put(id, generation, self.room);
            return;
        }
        let mirrored = self.found.both.entry(id).or_default();
        if generation > mirrored.generation {
            *mirrored = Mirrored {
                generation,
                ..Mirrored::default()
            };
        }
        if generation == mirrored.generation {
            let key = record.key.filter(|_| !letter);
            let digest = digest(key, record.value.unwrap_or_default());
            let place = if letter {
                &mut mirrored.letter
            } else {
                &mut mirrored.record
            };
            *place = Some(digest);
        }
    }
}
