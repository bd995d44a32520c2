//! What the continuous auditor knows, kept in Kafka: a compacted topic, a partition for each shard.
//!
//! | key | value |
//! |---|---|
//! | `@cursor` | how far each log is read, and records that are no stream's, counted |
//! | `s/<db>/<stream>` | how far the stream is compared, its counts, what is suspect and what is open |
//! | `@round`, `p/<db>/<stream>` | a round that has not ended: how far it has come, and each stream's share of it; gone with its end |
//! | `w/<db>/<stream>/<n>` | a closed window; `n` is its number modulo [`RING`], so that a new one takes an old one's place |
//! | `r/<db>/<stream>/<id>` | an entry that a repair produced again, with the reason: for people who ask later why; nothing decides by it |
//!
//! All that a round changes, and each piece of a long one, is one transaction under the shard's own transactional id, so cursors and counts move together or
//! not at all. Opening the writer fences the shard's former auditor; the partition is read after that. So what is read is the
//! end of what he did, no window is skipped and none is counted twice, whoever dies when.
//!
//! Records carry the version of the shards' layout: those of another layout are of streams that may have moved to other
//! shards, and are not taken over. After a resize everything is compared anew.

mod records;
mod under_way;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::partition_of;
use crate::entry::StreamRef;
use crate::placement::{Shard, Topic};
use crate::topics::{self, From, Headers, Kafka, Record, Writer};

pub use records::{
    ClosedWindow, Closing, Cursor, Ending, Reach, Repaired, Results, Strays, StreamState, Suspect,
};
pub use under_way::{Part, Portion, Span, UnderWay};

/// Closed windows that are kept of each stream.
pub const RING: u64 = 256;
/// Open differences that are kept of each stream; the others are counted.
pub const OPEN: usize = 1_000;

const VERSION: u32 = 1;
const CURSOR_KEY: &[u8] = b"@cursor";
const ROUND_KEY: &[u8] = b"@round";
/// Of a round under way; the topic takes no record of 8 MiB.
const LARGEST_SHARE: usize = 4 << 20;

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

/// What one partition holds, of the present layout.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub cursor: Option<Cursor>,
    pub streams: BTreeMap<StreamRef, StreamState>,
    pub under_way: Option<UnderWay>,
    /// Shares of a round under way, until all is read.
    shares: BTreeMap<StreamRef, Portion>,
}

/// What a round, or a repair, adds to a partition.
#[derive(Debug, Default)]
pub struct Batch(Vec<(Vec<u8>, Option<Vec<u8>>)>);

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

    /// `false`, and nothing is laid down: a share of it is larger than a record can be.
    pub fn under_way(&mut self, round: &UnderWay, layout: u64) -> bool {
        let whole = [(ROUND_KEY.to_vec(), written(&Stamped::new(layout, round)))];
        let shares = round.streams.iter().map(|(stream, portion)| {
            let value = written(&Stamped::new(layout, portion));
            (key(b"p/", stream, ""), value)
        });
        let all: Vec<(Vec<u8>, Vec<u8>)> = whole.into_iter().chain(shares).collect();
        let fits = all.iter().all(|(_, value)| value.len() <= LARGEST_SHARE);
        if fits {
            let all = all.into_iter().map(|(key, value)| (key, Some(value)));
            self.0.extend(all);
        }
        fits
    }

    /// The round has ended, or is not to be gone on with.
    pub fn ended(&mut self, round: &UnderWay) {
        let shares = round.streams.keys().map(|stream| key(b"p/", stream, ""));
        let all = std::iter::once(ROUND_KEY.to_vec()).chain(shares);
        self.0.extend(all.map(|key| (key, None)));
    }

    fn put(&mut self, key: Vec<u8>, value: &impl Serialize) {
        self.0.push((key, Some(written(value))));
    }
}

fn written(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structures serialise")
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
                value: value.as_deref(),
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
        None => Ok(loaded.whole()),
    }
}

fn each(
    kafka: &Kafka,
    topic: &Topic,
    shard: Shard,
    timeout: Duration,
    mut take: impl FnMut(&[u8], Option<&[u8]>),
) -> Result<(), topics::Error> {
    let partition = partition_of(shard);
    topics::read_partition(
        kafka,
        topic,
        partition,
        From::Beginning,
        timeout,
        |record| {
            if let Some(key) = record.key {
                take(key, record.value);
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
    fn take(&mut self, key: &[u8], value: Option<&[u8]>, layout: u64) -> Result<(), String> {
        let Some(kind) = kind_of(key)? else {
            return Ok(());
        };
        let Some(value) = value else {
            match kind {
                Kind::Cursor => self.cursor = None,
                Kind::Round => self.under_way = None,
                Kind::Stream(stream) => drop(self.streams.remove(&stream)),
                Kind::Share(stream) => drop(self.shares.remove(&stream)),
            }
            return Ok(());
        };
        let stamp: Stamp = parse(value)?;
        if stamp.v != VERSION {
            return Err(format!("version {}", stamp.v));
        }
        if stamp.layout != layout {
            return Ok(());
        }
        match kind {
            Kind::Cursor => self.cursor = Some(parse(value)?),
            Kind::Round => self.under_way = Some(parse(value)?),
            Kind::Stream(stream) => drop(self.streams.insert(stream, parse(value)?)),
            Kind::Share(stream) => drop(self.shares.insert(stream, parse(value)?)),
        }
        Ok(())
    }

    /// All was read: the shares belong to the round that is under way.
    fn whole(mut self) -> Self {
        let shares = std::mem::take(&mut self.shares);
        if let Some(round) = &mut self.under_way {
            round.streams = shares;
        }
        self
    }
}

/// What a record is of.
enum Kind {
    Cursor,
    Round,
    Stream(StreamRef),
    Share(StreamRef),
}

/// `None`: of something that only people read.
fn kind_of(key: &[u8]) -> Result<Option<Kind>, String> {
    let stream = |key: &[u8]| {
        StreamRef::from_checkpoint_key(key).ok_or_else(|| "a key that is no stream's".to_owned())
    };
    Ok(match key {
        CURSOR_KEY => Some(Kind::Cursor),
        ROUND_KEY => Some(Kind::Round),
        [b's', b'/', key @ ..] => Some(Kind::Stream(stream(key)?)),
        [b'p', b'/', key @ ..] => Some(Kind::Share(stream(key)?)),
        _ => None,
    })
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
