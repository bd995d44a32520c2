//! Both sides of an audit, as digests: what Redis holds up to the checkpoint, and what Kafka has of it.
//!
//! Redis is read downwards, in replies within the bound of the shard's memory; of an entry its id and two digests stay, so
//! that a long way down to the point where the histories part costs some 80 bytes an entry on either side.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::compare::{Digest, Held, Mirrored};
use crate::checkpoint;
use crate::entry::{Entry, EntryId, StreamRef};
use crate::mirror::pace::Pace;
use crate::mirror::places::{Place, partition_counts};
use crate::mirror::shard::TermEnd;
use crate::mirror::shared::{KAFKA_TIMEOUT, Shared, now_ms};
use crate::mirror::slot::Slot;
use crate::mirror::source::Source;
use crate::placement::{Partition, Topic};
use crate::routing::{Encoded, dead_letter};
use crate::streams::Error;
use crate::tasks::passed_on;
use crate::topics::{self, From};

/// Redis's entries from the newest that is compared downwards, as far as they have been read.
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

    /// What has been read, ascending.
    pub fn held(&mut self) -> &[Held] {
        self.held.make_contiguous()
    }

    /// Reads on until it holds so many entries, or all there are: then `true`.
    pub async fn widen(
        &mut self,
        shared: &Shared,
        source: &mut Source,
        count: usize,
    ) -> Result<bool, TermEnd> {
        let bound = shared.shards.buffer_bytes / 2;
        source.connection.bound_entries(bound);
        while let Some(high) = self.next.filter(|_| self.held.len() < count) {
            let fit = (bound / self.pace.entry_bytes().max(1)).max(1);
            let asked = self.pace.most().min(fit);
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
            self.held.push_front(Held {
                id: entry.id,
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

/// What Kafka has of the stream from this id on, in its topic and among the dead letters.
pub async fn mirrored(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    from: EntryId,
) -> Result<BTreeMap<EntryId, Mirrored>, TermEnd> {
    let shared = Arc::clone(shared);
    let slot = Arc::clone(slot);
    let topic = slot.binding.topic().clone();
    let letters = slot.binding.route().dead_letters().clone();
    let counts = partition_counts(&shared, &[topic.clone(), letters.clone()]).await;
    let counts = counts.map_err(|error| TermEnd::Checkpoint(checkpoint::Error::Topics(error)))?;
    let count = move |topic: &Topic| match counts.get(topic) {
        Some(Place::Partitions(count)) => i32::try_from(*count).unwrap_or(i32::MAX),
        _ => 0,
    };
    let read = tokio::task::spawn_blocking(move || -> Result<_, topics::Error> {
        let mut seen = HashMap::new();
        collect(
            &shared,
            (&topic, count(&topic)),
            &slot.stream,
            from,
            |mirrored, digest| mirrored.record = Some(digest),
            false,
            &mut seen,
        )?;
        collect(
            &shared,
            (&letters, count(&letters)),
            &slot.stream,
            from,
            |mirrored, digest| mirrored.letter = Some(digest),
            true,
            &mut seen,
        )?;
        Ok(seen.into_iter().collect())
    });
    let read = passed_on(read.await);
    read.map_err(|error| TermEnd::Checkpoint(checkpoint::Error::Topics(error)))
}

fn collect(
    shared: &Shared,
    (topic, partitions): (&Topic, i32),
    stream: &StreamRef,
    from: EntryId,
    put: impl Fn(&mut Mirrored, Digest),
    letters: bool,
    seen: &mut HashMap<EntryId, Mirrored>,
) -> Result<(), topics::Error> {
    // A record's time is its id's, or the time it was read where the id is none; two hours cover clocks that differ.
    let begin = from
        .plausible_time_ms(now_ms())
        .map_or(From::Beginning, |ms| From::TimeMs(ms - 7_200_000));
    let starts: Vec<(Partition, From)> = (0..partitions)
        .map(|partition| (Partition(partition), begin))
        .collect();
    topics::read_partitions(&shared.kafka, topic, &starts, KAFKA_TIMEOUT, |record| {
        if record.header("redis-stream") != Some(stream.name.as_bytes()) {
            return ControlFlow::Continue(());
        }
        let text = |name| {
            record
                .header(name)
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
        };
        let Some(id) = text("redis-id")
            .and_then(|id| id.parse::<EntryId>().ok())
            .filter(|id| *id >= from)
        else {
            return ControlFlow::Continue(());
        };
        let generation = text("redis-gen")
            .and_then(|generation| generation.parse().ok())
            .unwrap_or(0);
        let key = record.key.filter(|_| !letters);
        let mirrored = seen.entry(id).or_default();
        if generation >= mirrored.generation {
            mirrored.generation = generation;
            put(mirrored, digest(key, record.value.unwrap_or_default()));
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}
