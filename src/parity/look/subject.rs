//! One window while it is looked at: what Redis holds of it, and what the logs bring.

use std::collections::HashMap;

use crate::entry::EntryId;
use crate::placement::Partition;

use super::super::compare::{Found, Held, What};
use super::super::sides::Identity;
use super::Wanted;

/// (generation, id), which is the order of a stream's entries over all its history.
type Turn = (u32, EntryId);

pub(super) struct Subject {
    after: EntryId,
    through: EntryId,
    generation: u32,
    held: Vec<Held>,
    found: Vec<Found>,
    /// For each key of the window's entries, and each partition: the greatest that stood there so far.
    latest: HashMap<u64, HashMap<Partition, Turn>>,
    /// The least id of the stream that was seen in each partition of its topic, and of its dead letters, in the window or not.
    earliest: HashMap<(bool, Partition), EntryId>,
}

impl Subject {
    pub(super) fn new(wanted: &Wanted) -> Self {
        Self {
            after: wanted.after,
            through: wanted.through,
            generation: wanted.generation,
            held: Vec::new(),
            found: Vec::new(),
            latest: HashMap::new(),
            earliest: HashMap::new(),
        }
    }

    pub(super) fn hold(&mut self, held: Held) {
        if let Some(made) = held.record {
            self.latest.entry(made.parts.key).or_default();
        }
        self.held.push(held);
    }

    /// Takes note of a record of the stream, wherever it stands. `true`: it is one of the window, to be given to `find`.
    pub(super) fn pass(
        &mut self,
        identity: &Identity<'_>,
        letters: bool,
        partition: Partition,
    ) -> bool {
        let earliest = self
            .earliest
            .entry((letters, partition))
            .or_insert(identity.id);
        *earliest = identity.id.min(*earliest);
        identity.id > self.after && identity.id <= self.through
    }

    /// Whether a later entry of this key stands before it in its partition. Order is per key; a record without a key is in
    /// the order of all such records of its stream. `stranger`: it is no entry's, and so before or behind none.
    pub(super) fn is_behind(
        &mut self,
        identity: &Identity<'_>,
        key: u64,
        partition: Partition,
        stranger: bool,
    ) -> bool {
        if stranger || self.lacks(identity) {
            return false;
        }
        let Some(partitions) = self.latest.get_mut(&key) else {
            return false;
        };
        let turn = (identity.generation, identity.id);
        let latest = partitions.entry(partition).or_insert(turn);
        let behind = turn < *latest;
        *latest = turn.max(*latest);
        behind
    }

    /// Whether it is of the window and Redis holds no such entry, or of a generation that there has not been.
    fn lacks(&self, identity: &Identity<'_>) -> bool {
        let within = identity.id > self.after && identity.id <= self.through;
        let holds = || self.held.binary_search_by_key(&identity.id, |held| held.id);
        identity.generation > self.generation || within && holds().is_err()
    }

    pub(super) fn find(&mut self, found: Found) {
        self.found.push(found);
    }

    /// As it was before any log was read.
    pub(super) fn forget_logs(&mut self) {
        self.found.clear();
        self.earliest.clear();
        self.latest.values_mut().for_each(HashMap::clear);
    }

    pub(super) fn sides(&self) -> (&[Held], &Vec<Found>) {
        (&self.held, &self.found)
    }

    /// Whether some entry that Redis holds was mirrored in an older generation.
    pub(super) fn shares_history(&self, generation: u32) -> bool {
        generation > 0
            && self.found.iter().any(|found| {
                let holds = || self.held.binary_search_by_key(&found.id, |held| held.id);
                found.at.generation < generation
                    && holds().is_ok_and(|at| matches!((self.held[at].record, found.what), (Some(made), What::Record(parts)) if made.parts == parts))
            })
    }

    pub(super) fn earliest(&self, letters: bool, partition: Partition) -> Option<EntryId> {
        self.earliest.get(&(letters, partition)).copied()
    }

    /// Whether a later record of the key stands in the partition.
    pub(super) fn has_later(&self, key: u64, partition: Partition, id: EntryId) -> bool {
        let latest = self
            .latest
            .get(&key)
            .and_then(|partitions| partitions.get(&partition));
        latest.is_some_and(|(_, latest)| *latest > id)
    }
}
