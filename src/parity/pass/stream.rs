//! One stream's part of a pass: its windows, and what is in none of them. Each record of it is in one place only, so that
//! all of them add up to what was read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::class::{Class, Counts, Difference, Location, Why};
use super::scope::{Beside, Later, Scope, Window};
use super::strays::stray;
use crate::entry::{EntryId, StreamRef};
use crate::placement::Partition;
use crate::routing::Binding;

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
    pub(super) passed_over: u64,
    /// The last id read from Redis.
    pub(super) cursor: EntryId,
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
    /// Records at or below `scope.after`, and above `scope.through` though they were read before, where the pass keeps them.
    pub behind: Vec<Beside>,
    pub ahead: Vec<Beside>,
    /// The others above `scope.through`, by partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<Later>,
    /// Those of them beyond what a pass keeps.
    #[serde(default)]
    pub unkept: u64,
    /// Where windows end that were cut before; none: they are cut as they are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) cuts: Vec<EntryId>,
    /// The id of the first record of the stream that each partition has left, where windows were cut before; `None`: entries that
    /// Redis has belong there, and no record is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub first: BTreeMap<i32, Option<EntryId>>,
    /// The same of its dead letters, as far as there are any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub first_letter: BTreeMap<i32, Option<EntryId>>,
    #[serde(skip)]
    pub(super) binding: Option<Binding>,
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
            later: Vec::new(),
            unkept: 0,
            cuts: Vec::new(),
            first: BTreeMap::new(),
            first_letter: BTreeMap::new(),
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

    /// Read back, with its route.
    #[must_use]
    pub fn bound(mut self, binding: Binding) -> Self {
        self.binding = Some(binding);
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

    /// What a log still has of the stream, drawn or not, says what it may have lost.
    pub(super) fn is_left(&mut self, id: EntryId, letter: bool, partition: Partition) {
        if self.cuts.is_empty() {
            return;
        }
        let first = match letter {
            true => &mut self.first_letter,
            false => &mut self.first,
        };
        first.entry(partition.0).or_default().get_or_insert(id);
    }

    pub(super) fn is_read(&self) -> bool {
        self.windows
            .last()
            .is_some_and(|window| window.through == self.scope.through)
    }
}

impl StreamPass {
    /// How many entries are to be read, as well as XINFO can tell: the stream's length, times the share of its ids' times.
    pub(super) fn wanted(&self) -> u64 {
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
