//! What the continuous auditor knows, kept in Kafka: a compacted topic, a partition for each shard.
//!
//! | key | value |
//! |---|---|
//! | `@cursor` | how far each log is read, and records that are no stream's, counted |
//! | `s/<db>/<stream>` | how far the stream is compared, its counts, what is suspect and what is open |
//! | `w/<db>/<stream>/<n>` | a closed window; `n` is its number modulo [`RING`], so that a new one takes an old one's place |
//! | `r/<db>/<stream>/<id>` | an entry that a repair produced again, with the reason |
//!
//! All that a round changes is one transaction under the shard's own transactional id, so cursors and counts move together or
//! not at all. Opening the writer fences the shard's former auditor; the partition is read after that. So what is read is the
//! end of what he did, no window is skipped and none is counted twice, whoever dies when.
//!
//! Records carry the version of the shards' layout: those of another layout are of streams that may have moved to other
//! shards, and are not taken over. After a resize everything is compared anew.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::partition_of;
use crate::entry::{EntryId, StreamRef};
use crate::placement::{Offset, Shard, Topic};
use crate::topics::{self, From, Headers, Kafka, Record, Writer};

use super::class::{Class, Counts, Difference};

/// Closed windows that are kept of each stream.
pub const RING: u64 = 256;
/// Open differences that are kept of each stream; the others are counted.
pub const OPEN: usize = 1_000;

const VERSION: u32 = 1;
const CURSOR_KEY: &[u8] = b"@cursor";

/// The topic of a migration.
#[must_use]
pub fn topic(migration: &str) -> Topic {
    Topic::from(format!("lockgate.{migration}.parity"))
}

/// Opening a writer under it fences the shard's former auditor.
#[must_use]
pub fn transactional_id(migration: &str, shard: Shard) -> String {
    format!("lockgate.{migration}.parity.{shard}")
}

/// How far a shard's logs are read, and what belongs to no stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// By topic and partition.
    pub logs: BTreeMap<String, BTreeMap<i32, Reach>>,
    /// Records that are no entry's, by route.
    pub strays: BTreeMap<String, Strays>,
    /// Milliseconds since 1970 from which on nothing was open, or something was.
    pub since_ms: i64,
    pub apart: bool,
}

/// How far one partition is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Read from here: what stands before it is counted.
    pub next: Offset,
    /// Between the two stands what was read and was above its stream's checkpoint; of the streams' other records there, all
    /// are counted.
    pub end: Offset,
}

/// Records that are no entry's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strays {
    pub counts: Counts,
    /// The first of them.
    pub open: Vec<Difference>,
}

/// How far a stream is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    pub route: String,
    /// Where its mirror began: what lies before was never meant to be in Kafka.
    pub began: EntryId,
    /// A pass has read it.
    pub joined: bool,
    /// Everything at or below it is in a window that is closed or suspect.
    pub sealed: EntryId,
    pub generation: u32,
    /// Windows closed so far.
    pub windows: u64,
    pub results: Results,
    /// Of all closed windows, as far as is known now.
    pub counts: Counts,
    pub suspects: Vec<Suspect>,
    /// Faults that stand: so many in each class, and the first of them.
    pub open: BTreeMap<Class, u64>,
    pub differences: Vec<Difference>,
    /// In each partition the first record that was above the checkpoint when it was read.
    pub carried: BTreeMap<i32, Offset>,
    /// Milliseconds since 1970: everything older is compared.
    pub verified_ms: Option<i64>,
}

/// How windows ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    pub sealed: u64,
    pub unequal: u64,
    pub unverifiable: u64,
}

impl StreamState {
    /// Nothing of it is compared yet.
    #[must_use]
    pub fn begin(route: &str, began: EntryId, generation: u32) -> Self {
        Self {
            route: route.to_owned(),
            began,
            sealed: began,
            generation,
            ..Self::default()
        }
    }

    /// Faults that stand.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.open.values().sum()
    }
}

impl Results {
    pub fn add(&mut self, result: Ending) {
        match result {
            Ending::Sealed => self.sealed += 1,
            Ending::Unequal => self.unequal += 1,
            Ending::Unverifiable => self.unverifiable += 1,
        }
    }

    pub fn join(&mut self, other: Self) {
        self.sealed += other.sealed;
        self.unequal += other.unequal;
        self.unverifiable += other.unverifiable;
    }

    /// By the names that the status has for them.
    #[must_use]
    pub fn by_name(self) -> [(&'static str, u64); 3] {
        [
            ("sealed", self.sealed),
            ("unequal", self.unequal),
            ("unverifiable", self.unverifiable),
        ]
    }
}

/// How a window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// All of it was found on both sides.
    Sealed,
    /// It holds a fault.
    Unequal,
    /// It holds no fault, and something of which nothing can be said.
    Unverifiable,
}

/// A window whose sides were not equal, until it is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    pub after: EntryId,
    pub through: EntryId,
    /// About how many entries and records it holds.
    pub entries: u64,
    /// Looked at once, and then too it was unequal.
    pub looked: bool,
}

/// A closed window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedWindow {
    pub route: String,
    pub number: u64,
    pub generation: u32,
    /// Not included.
    pub from: EntryId,
    pub through: EntryId,
    pub result: Ending,
    pub counts: Counts,
    /// Of both sides, keyed with the seed; absent where it was looked at entry by entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    pub closed_ms: i64,
}

/// A closed window without what the writer of it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    pub from: EntryId,
    pub through: EntryId,
    pub result: Ending,
    pub counts: Counts,
    pub digest: Option<(String, u64)>,
}

/// What a repair did, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    pub id: EntryId,
    pub reason: String,
    pub at_ms: i64,
    /// `asked` before it was produced; afterwards what came of it.
    pub outcome: String,
}

/// What one partition holds, of the present layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub cursor: Option<Cursor>,
    pub streams: BTreeMap<StreamRef, StreamState>,
}

/// What a round, or a repair, adds to a partition.
#[derive(Debug, Default)]
pub struct Batch(Vec<(Vec<u8>, Vec<u8>)>);

impl Batch {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn cursor(&mut self, cursor: &Cursor, layout: u64) {
        self.put(CURSOR_KEY.to_vec(), &Stamped::new(layout, cursor));
    }

    pub fn stream(&mut self, stream: &StreamRef, state: &StreamState, layout: u64) {
        self.put(key(b"s/", stream, ""), &Stamped::new(layout, state));
    }

    /// `number`: how many windows of the stream were closed before it.
    pub fn window(
        &mut self,
        stream: &StreamRef,
        state: &StreamState,
        number: u64,
        closing: &Closing,
        layout: u64,
        now_ms: i64,
    ) {
        let (digest, seed) = closing.digest.clone().unzip();
        let window = ClosedWindow {
            route: state.route.clone(),
            number,
            generation: state.generation,
            from: closing.from,
            through: closing.through,
            result: closing.result,
            counts: closing.counts.clone(),
            digest,
            seed,
            closed_ms: now_ms,
        };
        let key = key(b"w/", stream, &format!("/{}", number % RING));
        self.put(key, &Stamped::new(layout, &window));
    }

    pub fn repaired(&mut self, stream: &StreamRef, repaired: &Repaired) {
        self.put(key(b"r/", stream, &format!("/{}", repaired.id)), repaired);
    }

    fn put(&mut self, key: Vec<u8>, value: &impl Serialize) {
        let value = serde_json::to_vec(value).expect("plain structures serialise");
        self.0.push((key, value));
    }
}

fn key(kind: &[u8], stream: &StreamRef, rest: &str) -> Vec<u8> {
    let mut key = kind.to_vec();
    key.extend_from_slice(&stream.checkpoint_key());
    key.extend_from_slice(rest.as_bytes());
    key
}

/// One shard's partition and the writer that owns it. Its calls block.
pub struct Store {
    writer: Writer,
    topic: Topic,
    shard: Shard,
}

impl Store {
    /// Fences the former auditor of the shard, then reads what he left.
    ///
    /// # Errors
    /// Kafka gave no answer, or the partition holds what this version cannot read.
    pub fn open(
        kafka: &Kafka,
        migration: &str,
        shard: Shard,
        layout: u64,
        timeout: Duration,
    ) -> Result<(Self, Loaded), topics::Error> {
        let topic = topic(migration);
        let writer = Writer::open(kafka, &transactional_id(migration, shard), timeout)?;
        let loaded = load(kafka, &topic, shard, layout, timeout)?;
        let store = Self {
            writer,
            topic,
            shard,
        };
        Ok((store, loaded))
    }

    /// # Errors
    /// Nothing of it can be counted on any more: open anew, and read.
    pub fn commit(
        &mut self,
        batch: &Batch,
        now_ms: i64,
        timeout: Duration,
    ) -> Result<(), topics::Error> {
        if batch.is_empty() {
            return self.writer.check_whole();
        }
        self.writer.begin()?;
        for (nth, (key, value)) in batch.0.iter().enumerate() {
            let record = Record {
                topic: &self.topic,
                partition: partition_of(self.shard),
                key: Some(key),
                value: Some(value),
                headers: Headers::default(),
                timestamp_ms: now_ms,
            };
            self.writer.send(record, nth as u64)?;
        }
        self.writer.commit(timeout)
    }
}

/// Reads a shard's partition to its end.
///
/// # Errors
/// As [`Store::open`].
fn load(
    kafka: &Kafka,
    topic: &Topic,
    shard: Shard,
    layout: u64,
    timeout: Duration,
) -> Result<Loaded, topics::Error> {
    let mut loaded = Loaded::default();
    let mut unreadable = None;
    each(kafka, topic, shard, timeout, |key, value| {
        if let Err(cause) = loaded.take(key, value, layout) {
            unreadable.get_or_insert(cause);
        }
    })?;
    match unreadable {
        Some(cause) => Err(unreadable_topic(topic, shard, &cause)),
        None => Ok(loaded),
    }
}

/// The closed windows of a shard's streams that are kept, whatever their layout.
///
/// # Errors
/// Kafka gave no answer, or the partition holds what this version cannot read.
pub fn windows(
    kafka: &Kafka,
    topic: &Topic,
    shard: Shard,
    timeout: Duration,
) -> Result<BTreeMap<Vec<u8>, ClosedWindow>, topics::Error> {
    let mut windows = BTreeMap::new();
    let mut unreadable = None;
    each(kafka, topic, shard, timeout, |key, value| {
        if key.starts_with(b"w/") {
            match parse::<ClosedWindow>(value) {
                Ok(window) => {
                    windows.insert(key.to_vec(), window);
                }
                Err(cause) => {
                    unreadable.get_or_insert(cause);
                }
            }
        }
    })?;
    match unreadable {
        Some(cause) => Err(unreadable_topic(topic, shard, &cause)),
        None => Ok(windows),
    }
}

fn each(
    kafka: &Kafka,
    topic: &Topic,
    shard: Shard,
    timeout: Duration,
    mut take: impl FnMut(&[u8], &[u8]),
) -> Result<(), topics::Error> {
    let partition = partition_of(shard);
    topics::read_partition(
        kafka,
        topic,
        partition,
        From::Beginning,
        timeout,
        |record| {
            if let (Some(key), Some(value)) = (record.key, record.value) {
                take(key, value);
            }
        },
    )?;
    Ok(())
}

fn unreadable_topic(topic: &Topic, shard: Shard, cause: &str) -> topics::Error {
    topics::Error::Config {
        cause: format!(
            "{topic} holds a record at partition {shard} that this version cannot read ({cause}); a newer lockgate may have \
             written it"
        ),
    }
}

/// A value with the version of its form and that of the shards' layout.
#[derive(Serialize)]
struct Stamped<'a, T> {
    v: u32,
    layout: u64,
    #[serde(flatten)]
    value: &'a T,
}

impl<'a, T> Stamped<'a, T> {
    const fn new(layout: u64, value: &'a T) -> Self {
        Self {
            v: VERSION,
            layout,
            value,
        }
    }
}

#[derive(Deserialize)]
struct Stamp {
    v: u32,
    layout: u64,
}

impl Loaded {
    fn take(&mut self, key: &[u8], value: &[u8], layout: u64) -> Result<(), String> {
        let stream = match key {
            CURSOR_KEY => None,
            _ => match key.strip_prefix(b"s/") {
                Some(stream) => Some(
                    StreamRef::from_checkpoint_key(stream).ok_or("a key that is no stream's")?,
                ),
                None => return Ok(()),
            },
        };
        let stamp: Stamp = parse(value)?;
        if stamp.v != VERSION {
            return Err(format!("version {}", stamp.v));
        }
        if stamp.layout != layout {
            return Ok(());
        }
        match stream {
            None => self.cursor = Some(parse(value)?),
            Some(stream) => {
                self.streams.insert(stream, parse(value)?);
            }
        }
        Ok(())
    }
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
