//! What is compared of one stream, and where its windows end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::class::{Location, Why};
use super::super::digest::Sum;
use crate::entry::EntryId;
use crate::placement::{Offset, Partition};

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
    /// In each partition the first record that was above the checkpoint when it was read before; of what is read again and is
    /// not above it now, only what stands behind that matters. `None`: it is not known, and all matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<BTreeMap<i32, Offset>>,
}

impl Scope {
    /// Whether the stream cannot have come to this id.
    pub(super) fn never_had(&self, id: EntryId) -> bool {
        let beyond = id > self.last && id > self.committed;
        self.asks_for(id) && !self.absent && beyond
    }

    /// Whether the id is of the range that is compared, whatever the stream holds.
    pub(super) fn asks_for(&self, id: EntryId) -> bool {
        id > self.after && self.limit.is_none_or(|limit| id <= limit)
    }

    /// Whether it tells something that a record which was read before, and is at or below `after`, stands where it does: a later
    /// one of the stream may stand before it.
    pub(super) fn matters(&self, record: &Beside) -> bool {
        self.carried.as_ref().is_none_or(|carried| {
            let first = carried.get(&record.at.partition.0);
            !record.letter
                && !record.repaired
                && first.is_some_and(|first| record.at.offset > *first)
        })
    }

    /// Why Redis does not have an entry from below its first one.
    pub(super) fn why_below(&self, id: EntryId, generation: u32) -> Why {
        if self.whole && !self.absent && generation >= self.generation {
            Why::UnknownId
        } else if self.absent || self.max_deleted.is_none_or(|deleted| id <= deleted) {
            Why::RedisDeleted
        } else {
            Why::RedisTrimmed
        }
    }

    /// The lowest id that Redis can still be asked for.
    pub(super) fn floor(&self) -> EntryId {
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
    #[serde(with = "super::super::digest::hexadecimal")]
    pub hash: u128,
    pub letter: bool,
    pub repaired: bool,
}

/// Records of one partition above what is compared of their stream, none of which was read before: they are read again when
/// the stream has come so far, and until then it matters only where they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    pub letter: bool,
    pub partition: Partition,
    pub first: Offset,
    pub records: u64,
}
