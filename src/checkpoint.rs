//! How far each stream is mirrored, kept in Kafka and committed with the data.
//!
//! A checkpoint is a record of the compacted topic `lockgate.<name>.checkpoints`, in the partition of the stream's
//! shard, written in the same transaction as the records that it speaks of. So it can neither run ahead of the data nor
//! fall behind it: a reader that sees the one sees the other.
//!
//! Which shard a stream belongs to is not taken from the topic's present partition count but from the stored
//! [`Layout`], so that growing the topic never gives a stream a second owner. Resizing moves every checkpoint and the
//! new count in one transaction:
//!
//! ```text
//!   stable(n) ──state=resizing──▶ all shards fenced ──read all──▶ one transaction: checkpoints + stable(m)
//! ```
//!
//! A crash in between leaves `resizing`, in which every worker waits; running the resize again finishes it.

mod amendment;
mod resize;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::entry::{EntryId, StreamRef};
use crate::placement::{Partition, Remade, Shard, Topic};
use crate::topics::{self, Committed, From, Headers, Kafka, Record, Writer};

pub use amendment::{Admission, Amendment};
pub use resize::{Resized, ensure_layout, read_all, resize};

/// The tag of a checkpoint's record: no entry has it.
const TAG: u64 = u64::MAX - 1;

/// The key of the layout's record, in partition 0. No stream's key has this form: those begin with a number.
pub const LAYOUT_KEY: &[u8] = b"@layout";
const LAYOUT_SHARD: Shard = Shard(0);

/// How far one stream is mirrored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    v: u32,
    /// The last entry that is in Kafka.
    pub id: EntryId,
    /// The generation that the stream's next records carry: a record is identified by (stream, generation, id).
    #[serde(rename = "gen")]
    pub generation: u32,
    /// The Redis history that the id belongs to (`master_replid`), and how far that history had come when the entries were read.
    pub replid: String,
    pub repl_offset: i64,
    /// Redis's count of entries ever added to the stream, up to and including `id`. `None` where Redis does not say.
    pub entries_added: Option<u64>,
    /// The route's settings under which the last record was made, in hexadecimal.
    pub route_hash: String,
    /// The settings that decide its place alone.
    pub placement_hash: String,
    pub began: EntryId,
    #[serde(default, skip_serializing_if = "Remade::is_none")]
    pub remade: Remade,
    /// When it was written, where it was read from Kafka: milliseconds since 1970.
    #[serde(skip)]
    pub written_ms: Option<i64>,
}

/// What a checkpoint is made of, without the version of its form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub id: EntryId,
    pub generation: u32,
    pub entries_added: Option<u64>,
    /// Where the mirror of this generation began: what lies before it was never meant to be in Kafka.
    pub began: EntryId,
    pub remade: Remade,
}

impl Position {
    /// Its place in the stream's order over all generations.
    #[must_use]
    pub const fn at(&self) -> (u32, EntryId) {
        (self.generation, self.id)
    }
}

impl Checkpoint {
    #[must_use]
    pub fn new(
        position: &Position,
        replid: &str,
        repl_offset: i64,
        route_hash: &str,
        placement_hash: &str,
    ) -> Self {
        Self {
            v: 1,
            id: position.id,
            generation: position.generation,
            replid: replid.to_owned(),
            repl_offset,
            entries_added: position.entries_added,
            route_hash: route_hash.to_owned(),
            placement_hash: placement_hash.to_owned(),
            began: position.began,
            remade: position.remade,
            written_ms: None,
        }
    }

    /// Up to where records were made otherwise than under these settings: where those are not the last record's, all so far
    /// were. A checkpoint without a hash does not say.
    #[must_use]
    pub fn remade_under(&self, route_hash: &str, placement_hash: &str) -> Remade {
        let differs = |was: &str, is: &str| !was.is_empty() && was != is;
        let mut remade = self.remade;
        if differs(&self.route_hash, route_hash) {
            remade.form = self.id;
        }
        if differs(&self.placement_hash, placement_hash) {
            remade.place = self.id;
        }
        remade
    }

    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            id: self.id,
            generation: self.generation,
            entries_added: self.entries_added,
            began: self.began,
            remade: self.remade,
        }
    }
}

/// Over how many shards the streams are spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    v: u32,
    pub version: u64,
    pub count: u32,
    pub state: LayoutState,
    /// While resizing: the count that it goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayoutState {
    Stable,
    Resizing,
}

/// What one partition of the checkpoint topic holds.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub checkpoints: BTreeMap<StreamRef, Checkpoint>,
    pub layout: Option<Layout>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Topics(#[from] topics::Error),
    #[error(
        "the checkpoint topic {topic} holds a record at partition {partition} that this version cannot read ({cause}); \
         a newer lockgate may have written it: run that version, or see runbooks/checkpoint-lost.md"
    )]
    Unreadable {
        topic: Topic,
        partition: Partition,
        cause: String,
    },
}

/// The checkpoint topic of a migration.
#[must_use]
pub fn topic(migration: &str) -> Topic {
    Topic::from(format!("lockgate.{migration}.checkpoints"))
}

/// The `transactional.id` of a shard's producer: opening it fences the shard's former owner.
#[must_use]
pub fn transactional_id(migration: &str, shard: Shard) -> String {
    format!("lockgate.{migration}.{shard}")
}

/// Reads a shard's partition to the end that stands when the call is made. To be called after the shard's producer is
/// open: from then on nothing old can appear.
pub fn load(
    kafka: &Kafka,
    topic: &Topic,
    shard: Shard,
    timeout: Duration,
) -> Result<Loaded, Error> {
    read_shards(&Committed::new(kafka, timeout)?, topic, &[shard])
}

/// The same, with the layout whatever the shard.
pub fn load_with_layout(reader: &Committed, topic: &Topic, shard: Shard) -> Result<Loaded, Error> {
    let first = (shard != LAYOUT_SHARD).then_some(LAYOUT_SHARD);
    let shards: Vec<Shard> = first.into_iter().chain([shard]).collect();
    read_shards(reader, topic, &shards)
}

/// Of the last of the shards all, of the others the layout.
fn read_shards(reader: &Committed, topic: &Topic, shards: &[Shard]) -> Result<Loaded, Error> {
    let partitions: Vec<Partition> = shards.iter().copied().map(partition_of).collect();
    let starts: Vec<_> = partitions.iter().map(|&at| (at, From::Beginning)).collect();
    let mut loaded = Loaded::default();
    let mut unreadable = None;
    reader.read(topic, &starts, |record| {
        let own = partitions.last() == Some(&record.partition);
        if let Some(key) = record.key.filter(|key| own || *key == LAYOUT_KEY)
            && let Err(cause) = loaded.take(key, record.value, record.timestamp_ms)
        {
            unreadable.get_or_insert((record.partition, cause));
        }
        ControlFlow::Continue(())
    })?;
    match unreadable {
        Some((partition, cause)) => Err(Error::Unreadable {
            topic: topic.clone(),
            partition,
            cause,
        }),
        None => Ok(loaded),
    }
}

/// Reads only the layout, from partition 0.
pub fn load_layout(
    kafka: &Kafka,
    topic: &Topic,
    timeout: Duration,
) -> Result<Option<Layout>, Error> {
    Ok(load(kafka, topic, LAYOUT_SHARD, timeout)?.layout)
}

impl Loaded {
    fn take(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp_ms: Option<i64>,
    ) -> Result<(), String> {
        if key == LAYOUT_KEY {
            self.layout = value.map(parse).transpose()?;
            return Ok(());
        }
        let stream = StreamRef::from_checkpoint_key(key)
            .ok_or_else(|| "its key is no stream's".to_owned())?;
        match value {
            Some(value) => {
                let mut checkpoint: Checkpoint = parse(value)?;
                checkpoint.written_ms = timestamp_ms;
                if checkpoint.v != 1 {
                    return Err(format!("checkpoint of version {}", checkpoint.v));
                }
                self.checkpoints.insert(stream, checkpoint);
            }
            None => {
                self.checkpoints.remove(&stream);
            }
        }
        Ok(())
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

/// A checkpoint from a record's value; `None` for one that this version cannot read.
#[must_use]
pub fn read(value: &[u8]) -> Option<Checkpoint> {
    parse::<Checkpoint>(value)
        .ok()
        .filter(|checkpoint| checkpoint.v == 1)
}

/// Puts a stream's checkpoint into the writer's open transaction.
pub fn write(
    writer: &mut Writer,
    topic: &Topic,
    shard: Shard,
    stream: &StreamRef,
    checkpoint: &Checkpoint,
    now_ms: i64,
) -> Result<(), topics::Error> {
    put(
        writer,
        topic,
        shard,
        &stream.checkpoint_key(),
        Some(&json(checkpoint)),
        now_ms,
    )
}

fn put(
    writer: &mut Writer,
    topic: &Topic,
    shard: Shard,
    key: &[u8],
    value: Option<&[u8]>,
    now_ms: i64,
) -> Result<(), topics::Error> {
    let partition = partition_of(shard);
    let headers = Headers::default();
    writer.send(
        Record {
            topic,
            partition,
            key: Some(key),
            value,
            headers,
            timestamp_ms: now_ms,
        },
        TAG,
    )
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structures of strings and numbers serialise")
}

/// A shard's partition is its number.
#[must_use]
pub fn partition_of(shard: Shard) -> Partition {
    Partition(i32::try_from(shard.0).expect("a shard count is validated to fit a partition count"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Database;

    fn checkpoint(id: EntryId) -> Checkpoint {
        Checkpoint::new(
            &Position {
                id,
                generation: 2,
                entries_added: Some(7),
                began: EntryId::ZERO,
                remade: Remade::default(),
            },
            "r",
            9,
            "ab",
            "cd",
        )
    }

    #[test]
    fn a_checkpoint_reads_back_as_it_was_written() {
        let original = checkpoint(EntryId::new(5, 1));
        let text = String::from_utf8(json(&original)).unwrap();
        assert_eq!(
            text,
            r#"{"v":1,"id":"5-1","gen":2,"replid":"r","repl_offset":9,"entries_added":7,"route_hash":"ab","placement_hash":"cd","began":"0-0"}"#
        );
        assert_eq!(parse::<Checkpoint>(text.as_bytes()).unwrap(), original);
    }

    #[test]
    fn a_change_of_the_route_is_known_by_the_entry_after_which_it_came() {
        let (first, second) = (EntryId::new(5, 1), EntryId::new(9, 0));
        let mut one = checkpoint(first);
        assert!(one.remade_under("ab", "cd").is_none());
        one.remade = one.remade_under("other", "cd");
        assert_eq!((one.remade.form, one.remade.place), (first, EntryId::ZERO));
        // It is carried on by the checkpoints that follow, and a second change comes after it.
        let position = Position {
            id: second,
            ..one.position()
        };
        let later = Checkpoint::new(&position, "r", 9, "other", "cd");
        assert_eq!(later.remade_under("other", "cd"), one.remade);
        assert_eq!(
            later.remade_under("third", "moved"),
            Remade {
                form: second,
                place: second
            }
        );
        let text = json(&later);
        assert_eq!(parse::<Checkpoint>(&text).unwrap(), later);
        assert_eq!(
            later.remade.up_to(EntryId::new(2, 0)).form,
            EntryId::new(2, 0)
        );
    }

    #[test]
    fn the_last_record_of_a_key_counts_and_a_tombstone_removes_it() {
        let stream = StreamRef::new(Database(1), "s");
        let mut loaded = Loaded::default();
        loaded
            .take(b"1/s", Some(&json(&checkpoint(EntryId::new(1, 0)))), None)
            .unwrap();
        loaded
            .take(
                b"1/s",
                Some(&json(&checkpoint(EntryId::new(2, 0)))),
                Some(7),
            )
            .unwrap();
        assert_eq!(loaded.checkpoints[&stream].id, EntryId::new(2, 0));
        loaded.take(b"1/s", None, None).unwrap();
        assert!(loaded.checkpoints.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_not_an_absence() {
        let mut loaded = Loaded::default();
        assert!(loaded.take(b"1/s", Some(b"{}"), None).is_err());
        assert!(loaded.take(b"nonsense", Some(b"{}"), None).is_err());
        assert!(loaded.take(b"1/s", Some(br#"{"v":2,"id":"5-1","gen":0,"replid":"","repl_offset":0,"entries_added":null,"route_hash":"","placement_hash":"","began":"0-0"}"#), None).is_err());
    }
}
