//! One pass over both stores: windows of each stream, digested on either side, in bounded memory whatever the backlog.
//!
//! ```text
//!   checkpoints ─▶ ends of the logs ─▶ XINFO ─▶ read Redis, cut windows ─▶ read Kafka up to those ends, fill windows
//! ```
//!
//! The order is what makes the answer exact. An entry at or below a checkpoint is in Kafka below an end that was asked for
//! later. A record below such an end was in Redis before, so its id is not above the last id that XINFO gives after that. So
//! neither side can seem to lack what only came later.
//!
//! Everything a pass knows is plain data: it can be written down at any moment and gone on with from there, cursors and sums
//! together.

mod kafka;
mod redis;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::entry::{Database, EntryId, StreamRef};
use crate::placement::{Offset, Partition, Topic};
use crate::routing::{Binding, Routes};

use super::class::{Class, Counts, Difference, Location, Read, Why};
use super::digest::Sum;
use super::error::Error;

/// Entries of a window at most.
pub const WINDOW_ENTRIES: u64 = 100_000;
/// Records that belong to no window, kept as examples.
const EXAMPLES: usize = 1_000;

/// What is compared of one stream, and what was known of it when the pass began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Nothing at or below this id; not below where its mirror began.
    pub after: EntryId,
    pub through: EntryId,
    /// Where the mirror began: what lies at or below it concerns nobody.
    #[serde(default)]
    pub began: EntryId,
    /// The checkpoint, read before the ends of the logs.
    pub committed: EntryId,
    pub generation: u32,
    /// From XINFO, after the ends. `None`: the stream is empty or absent.
    pub first: Option<EntryId>,
    pub last: EntryId,
    pub max_deleted: Option<EntryId>,
    pub absent: bool,
    /// Nothing was ever trimmed or deleted from it.
    pub whole: bool,
    /// Ids above this are none of the comparison's business.
    pub limit: Option<EntryId>,
    /// Entries that the stream holds, for the progress.
    pub length: u64,
}

impl Scope {
    /// Whether the stream cannot have come to this id.
    fn never_had(&self, id: EntryId) -> bool {
        let beyond = id > self.last && id > self.committed;
        self.asks_for(id) && !self.absent && beyond
    }

    /// Whether the id is of the range that is compared, whatever the stream holds.
    fn asks_for(&self, id: EntryId) -> bool {
        id > self.after && self.limit.is_none_or(|limit| id <= limit)
    }

    /// Why Redis does not have an entry from below its first one.
    fn why_below(&self, id: EntryId, generation: u32) -> Why {
        if self.whole && !self.absent && generation >= self.generation {
            Why::UnknownId
        } else if self.absent || self.max_deleted.is_none_or(|deleted| id <= deleted) {
            Why::RedisDeleted
        } else {
            Why::RedisTrimmed
        }
    }

    /// The lowest id that Redis can still be asked for.
    fn floor(&self) -> EntryId {
        let beyond = |id: EntryId| id.next().unwrap_or(EntryId::MAX);
        let first = self
            .first
            .unwrap_or_else(|| beyond(self.last.max(self.through)));
        beyond(self.after).max(first)
    }
}

/// The entries of a stream after the window before, through this id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub through: EntryId,
    pub redis: Sum,
    pub kafka: Sum,
    /// Entries of which the route makes no record.
    #[serde(default)]
    pub letters: u64,
    /// Ids did not ascend strictly in some partition: the sums prove nothing about order.
    pub disorder: bool,
    /// Some of its records are of an older generation than the checkpoint's.
    pub older: bool,
}

impl Window {
    /// Both sides hold the same records and dead letters, in order.
    #[must_use]
    pub fn is_level(&self) -> bool {
        self.redis == self.kafka && !self.disorder
    }
}

/// A record that belongs to a stream of the pass and to none of its windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    pub id: EntryId,
    pub at: Location,
    #[serde(with = "super::digest::hexadecimal")]
    pub hash: u128,
    pub letter: bool,
    pub repaired: bool,
}

/// One stream's part of a pass.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamPass {
    #[serde(with = "stream_key")]
    pub stream: StreamRef,
    pub route: String,
    pub topic: String,
    pub letters: String,
    pub scope: Scope,
    pub windows: Vec<Window>,
    /// Entries read from Redis.
    pub read: u64,
    /// Those of them that are not in the sample.
    #[serde(default)]
    passed_over: u64,
    /// The last id read from Redis.
    cursor: EntryId,
    /// The greatest id seen in each partition, in the order of the log.
    pub order: BTreeMap<i32, EntryId>,
    /// Records from below the first entry that Redis has: trimmed, deleted, or never there; and those with ids that the stream
    /// has not come to.
    pub below: BTreeMap<Why, u64>,
    /// The first few of them.
    pub below_examples: Vec<(Why, Beside)>,
    /// Records of older generations with ids that the stream has not come to: lost in a failover, or of a stream made anew.
    pub orphans: u64,
    pub orphan_examples: Vec<(EntryId, Location)>,
    /// Records at or below `scope.after`, and above `scope.through`, where the pass keeps them.
    pub behind: Vec<Beside>,
    pub ahead: Vec<Beside>,
    /// Those of them beyond what a pass keeps.
    #[serde(default)]
    pub unkept: u64,
    /// Where windows end that were cut before; none: they are cut as they are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cuts: Vec<EntryId>,
    #[serde(skip)]
    binding: Option<Binding>,
}

impl StreamPass {
    #[must_use]
    pub fn new(stream: StreamRef, binding: Binding, scope: Scope) -> Self {
        let cursor = scope.floor();
        Self {
            route: binding.route().name().to_owned(),
            topic: binding.topic().as_str().to_owned(),
            letters: binding.route().dead_letters().as_str().to_owned(),
            windows: Vec::new(),
            read: 0,
            passed_over: 0,
            cursor,
            order: BTreeMap::new(),
            below: BTreeMap::new(),
            below_examples: Vec::new(),
            orphans: 0,
            orphan_examples: Vec::new(),
            behind: Vec::new(),
            ahead: Vec::new(),
            unkept: 0,
            cuts: Vec::new(),
            binding: Some(binding),
            stream,
            scope,
        }
    }

    /// Windows that end where those of an earlier pass did: the last one with the scope.
    #[must_use]
    pub fn cut_at(mut self, cuts: Vec<EntryId>) -> Self {
        self.cuts = cuts;
        self
    }

    /// # Panics
    /// The pass was read back and not bound.
    #[must_use]
    pub fn binding(&self) -> &Binding {
        self.binding.as_ref().expect("bound before it is read")
    }

    /// Each window with the id that it begins after; the first begins where Redis still had entries.
    pub fn spans(&self) -> impl Iterator<Item = (EntryId, &Window)> {
        let floor = self.scope.floor().previous().unwrap_or_default();
        let mut after = self.scope.after.max(floor);
        self.windows
            .iter()
            .map(move |window| (std::mem::replace(&mut after, window.through), window))
    }

    /// What level windows, and records below what Redis still has, come to.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts_but(|_| false, self.shares_history())
    }

    /// The same without the windows that were looked at, which have their own counts. `shares_history`: see
    /// [`shares_history`](Self::shares_history); a look may know more.
    #[must_use]
    pub fn counts_but(&self, looked: impl Fn(usize) -> bool, shares_history: bool) -> Counts {
        let mut counts = Counts::default();
        for (nth, window) in self.windows.iter().enumerate() {
            if window.is_level() && !looked(nth) {
                counts.add(&Counts::level(window.redis.count, window.letters));
            }
        }
        let orphans = if shares_history {
            Class::Extra
        } else {
            Class::Unverifiable
        };
        for (&why, &below) in &self.below {
            counts.add(&Counts::kafka_alone(class_below(why), below));
        }
        counts.add(&Counts::kafka_alone(orphans, self.orphans));
        counts
    }

    /// Of these, the records that no sample was drawn from: all there are of them are counted.
    #[must_use]
    pub fn never_drawn(&self, shares_history: bool) -> Counts {
        let unknown = self.below.get(&Why::UnknownId).copied().unwrap_or(0);
        let mut counts = Counts::kafka_alone(Class::Extra, unknown);
        if shares_history {
            counts.add(&Counts::kafka_alone(Class::Extra, self.orphans));
        }
        counts
    }

    /// Examples of what is in no window and yet of the stream: what Redis no longer has, and what it lost.
    pub fn outside(&self, shares_history: bool) -> impl Iterator<Item = Difference> {
        let of = || Some((Some(self.stream.database), self.stream.name.to_string()));
        let below = self.below_examples.iter().map(move |(why, one)| {
            let topic = if one.letter {
                &self.letters
            } else {
                &self.topic
            };
            Difference {
                class: class_below(*why),
                ..stray(&self.route, topic, *why, of(), Some(one.id), one.at)
            }
        });
        let orphans = self.orphan_examples.iter().map(move |&(id, at)| {
            if shares_history {
                let why = Why::RedisLostHistory;
                return stray(&self.route, &self.topic, why, of(), Some(id), at);
            }
            Difference {
                class: Class::Unverifiable,
                ..stray(
                    &self.route,
                    &self.topic,
                    Why::RedisDeleted,
                    of(),
                    Some(id),
                    at,
                )
            }
        });
        below.chain(orphans)
    }

    /// Whether entries of older generations still match: the history broke and was not begun anew.
    #[must_use]
    pub fn shares_history(&self) -> bool {
        self.windows
            .iter()
            .any(|window| window.older && window.is_level() && window.redis.count > 0)
    }

    fn is_read(&self) -> bool {
        self.windows
            .last()
            .is_some_and(|window| window.through == self.scope.through)
    }
}

/// A partition's part of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub partition: Partition,
    /// Where the log began.
    pub low: Offset,
    pub start: Offset,
    /// The next offset to read.
    pub next: Offset,
    pub end: Offset,
    /// Records before it that are no entry's are counted already.
    #[serde(default)]
    pub counted: Offset,
}

/// A topic's part of a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPass {
    pub topic: String,
    pub letters: bool,
    /// What is of no stream is counted here, and not by another pass.
    #[serde(default = "yes")]
    pub answers: bool,
    pub extents: Vec<Extent>,
}

const fn yes() -> bool {
    true
}

impl TopicPass {
    fn name(&self) -> Topic {
        Topic::from(self.topic.as_str())
    }

    fn is_read(&self) -> bool {
        self.extents.iter().all(|extent| extent.next >= extent.end)
    }

    /// Whether it begins where the log does.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.extents.iter().all(|extent| extent.start <= extent.low)
    }

    /// Lets it begin where the log does.
    pub fn widen(&mut self) {
        for extent in &mut self.extents {
            (extent.start, extent.next) = (extent.low, extent.low);
        }
    }
}

/// Records that are no entry's: extra, whatever else is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strays {
    /// By route, the first whose topic it is.
    pub counts: BTreeMap<String, BTreeMap<Why, u64>>,
    pub examples: Vec<Difference>,
    /// Those that are not among the examples, by topic and partition.
    #[serde(skip)]
    pub beyond: BTreeMap<(String, Partition), Unnamed>,
}

/// Records of one partition that are counted and not named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unnamed {
    pub records: u64,
    /// Where the last of them stands.
    pub last: Offset,
}

impl Unnamed {
    pub fn add(&mut self, other: Self) {
        self.records += other.records;
        self.last = self.last.max(other.last);
    }
}

impl Strays {
    fn add(&mut self, difference: Difference) {
        let why = difference.why.unwrap_or(Why::NoIdentity);
        *self
            .counts
            .entry(difference.route.clone())
            .or_default()
            .entry(why)
            .or_default() += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(difference);
        } else if let Some(at) = difference.records.first() {
            let place = (difference.topic, at.partition);
            self.beyond.entry(place).or_default().add(Unnamed {
                records: 1,
                last: at.offset,
            });
        }
    }

    fn total(&self) -> u64 {
        let by_route = self.counts.values();
        by_route.flat_map(BTreeMap::values).sum()
    }

    /// As counts of a route.
    #[must_use]
    pub fn of_route(&self, route: &str) -> Counts {
        let records = self
            .counts
            .get(route)
            .map_or(0, |by_why| by_why.values().sum());
        Counts::kafka_alone(Class::Extra, records)
    }
}

/// A pass, as far as it has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pass {
    pub seed: u64,
    /// The share of ids compared, as the upper end of the lots that are in; `u64::MAX`: all.
    pub lots: u64,
    /// A record of a stream that a route takes and that there never was is extra; otherwise it is not the pass's business.
    pub covers_all: bool,
    /// Milliseconds since 1970, both included: a record that is no entry's is the pass's by its own time. `None`: all are.
    #[serde(default)]
    pub strays_within: Option<(u64, u64)>,
    /// Keep what belongs to no window of its stream.
    pub keeps_beside: bool,
    #[serde(skip)]
    beside: usize,
    pub streams: Vec<StreamPass>,
    pub topics: Vec<TopicPass>,
    pub strays: Strays,
    /// Records read from Kafka.
    pub kafka_records: u64,
    /// Those of them that are none of the pass's: of other passes' streams, out of its range or its sample.
    #[serde(default)]
    passed_over: u64,
    /// Those of these that applications may have written to Kafka themselves.
    #[serde(default)]
    pub kafka_born: u64,
}

impl Pass {
    /// A pass over these streams and logs; all ids are compared.
    #[must_use]
    pub fn new(seed: u64, streams: Vec<StreamPass>, topics: Vec<TopicPass>) -> Self {
        Self {
            seed,
            lots: u64::MAX,
            streams,
            topics,
            ..Self::default()
        }
    }

    /// What was read of that which is the pass's.
    #[must_use]
    pub fn read(&self) -> Read {
        let entries = self.streams.iter().map(|one| one.read - one.passed_over);
        Read {
            redis: entries.sum(),
            kafka: self.kafka_records.saturating_sub(self.passed_over),
        }
    }

    /// Why what was read is not what is in the windows and beside them, in words; `None`: it is.
    #[must_use]
    pub fn unaccounted(&self) -> Option<String> {
        let mut kept = Read {
            redis: 0,
            kafka: self.strays.total(),
        };
        for stream in &self.streams {
            for window in &stream.windows {
                kept.redis += window.redis.count;
                kept.kafka += window.kafka.count;
            }
            let beside = (stream.behind.len() + stream.ahead.len()) as u64 + stream.unkept;
            kept.kafka += stream.below.values().sum::<u64>() + stream.orphans + beside;
        }
        let read = self.read();
        (kept != read).then(|| {
            format!(
                "{} entries and {} records were read, {} and {} are kept of them",
                read.redis, read.kafka, kept.redis, kept.kafka
            )
        })
    }

    /// Gives the streams their routes, after a pass was read back.
    ///
    /// # Errors
    /// A stream has no route any more.
    pub fn bind(&mut self, routes: &Routes) -> Result<(), Error> {
        for stream in &mut self.streams {
            if stream.binding.is_none() {
                stream.binding = routes.bind(&stream.stream);
            }
            if stream.binding.is_none() {
                return Err(Error::Usage(format!(
                    "no route takes stream {} of database {} any more",
                    stream.stream.name, stream.stream.database
                )));
            }
        }
        Ok(())
    }

    /// Whether both sides have been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.streams.iter().all(StreamPass::is_read) && self.topics.iter().all(TopicPass::is_read)
    }

    #[must_use]
    pub fn redis_is_read(&self) -> bool {
        self.streams.iter().all(StreamPass::is_read)
    }

    /// Entries read of Redis and how many there are; for a stream that is read in part the share of its ids' times counts.
    #[must_use]
    pub fn redis_progress(&self) -> (u64, u64) {
        self.streams.iter().fold((0, 0), |(done, total), stream| {
            let wanted = stream.wanted();
            let read = if stream.is_read() {
                wanted
            } else {
                stream.read.min(wanted)
            };
            (done + read, total + wanted)
        })
    }

    /// Offsets read of Kafka's logs and how many there are.
    #[must_use]
    pub fn kafka_progress(&self) -> (u64, u64) {
        let span = |from: Offset, to: Offset| u64::try_from(to.0 - from.0).unwrap_or(0);
        let extents = self.topics.iter().flat_map(|topic| &topic.extents);
        extents.fold((0, 0), |(done, total), extent| {
            (
                done + span(extent.start, extent.next.min(extent.end)),
                total + span(extent.start, extent.end),
            )
        })
    }
}

impl StreamPass {
    /// How many entries are to be read, as well as XINFO can tell: the stream's length, times the share of its ids' times.
    fn wanted(&self) -> u64 {
        let scope = &self.scope;
        let (Some(first), last) = (scope.first, scope.last) else {
            return 0;
        };
        let whole = u128::from(last.ms.saturating_sub(first.ms)) + 1;
        let from = scope.floor().ms.clamp(first.ms, last.ms);
        if scope.floor() > scope.through {
            return 0;
        }
        let to = scope.through.ms.clamp(first.ms, last.ms);
        let part = u128::from(to.saturating_sub(from)) + 1;
        u64::try_from(u128::from(scope.length) * part / whole).unwrap_or(u64::MAX)
    }
}

/// What a record from below the first entry is.
const fn class_below(why: Why) -> Class {
    match why {
        Why::UnknownId => Class::Extra,
        _ => Class::Unverifiable,
    }
}

/// What parity says of a record that stands for itself.
fn stray(
    route: &str,
    topic: &str,
    why: Why,
    stream: Option<(Option<Database>, String)>,
    id: Option<EntryId>,
    at: Location,
) -> Difference {
    let (database, stream) = stream.unzip();
    Difference {
        class: Class::Extra,
        route: route.to_owned(),
        database: database.flatten(),
        stream,
        id,
        parts: Vec::new(),
        why: Some(why),
        topic: topic.to_owned(),
        expected_partition: None,
        records: vec![at],
    }
}

/// A stream's name is bytes: its checkpoint's key in base64.
pub mod stream_key {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::entry::StreamRef;

    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(stream: &StreamRef, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(stream.checkpoint_key()))
    }

    /// # Errors
    /// Not the base64 of a stream's key.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StreamRef, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let key = STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        StreamRef::from_checkpoint_key(&key).ok_or_else(|| D::Error::custom("no stream's key"))
    }
}

#[cfg(test)]
mod tests;
