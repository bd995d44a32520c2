//! Which of the records that hung were committed and must be written again. Pure: the reading and writing is above.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::entry::{EntryId, StreamRef};
use crate::placement::{Offset, Partition, Topic};

/// A record's place in its stream's order: generation and entry id.
pub type At = (u32, EntryId);

/// A record of this shard that was undecided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hanging {
    pub topic: Topic,
    pub partition: Partition,
    pub offset: Offset,
    pub stream: StreamRef,
    /// Its entry's, or for a checkpoint the one it stands at.
    pub at: At,
    pub is_checkpoint: bool,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// What is known of a stream apart from what hangs.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The visible checkpoint.
    pub checkpoint: Option<At>,
}

/// What readers see of what it matters for, and no more: the log since then may be long.
#[derive(Debug, Default)]
pub struct Visible {
    /// What hung, and whether they see it.
    hanging: HashMap<StreamRef, HashMap<At, bool>>,
    /// Behind the visible checkpoint up to the one that hangs, and whether they see anything there.
    behind: HashMap<StreamRef, (At, At, bool)>,
}

impl Visible {
    /// Nothing is seen yet.
    pub fn of(hanging: &[Hanging], known: &HashMap<StreamRef, Known>) -> Self {
        let mut visible = Self::default();
        for record in hanging {
            let stream = record.stream.clone();
            if record.is_checkpoint {
                // The one transaction that hangs among the checkpoints.
                let after = checkpoint_of(known, &stream).unwrap_or_default();
                visible.behind.insert(stream, (after, record.at, false));
            } else {
                let of_stream = visible.hanging.entry(stream).or_default();
                of_stream.insert(record.at, false);
            }
        }
        visible
    }

    pub fn add(&mut self, stream: &StreamRef, at: At) {
        let hanging = self.hanging.get_mut(stream);
        if let Some(seen) = hanging.and_then(|of_stream| of_stream.get_mut(&at)) {
            *seen = true;
        }
        if let Some((after, to, seen)) = self.behind.get_mut(stream) {
            *seen |= at > *after && at <= *to;
        }
    }

    fn has(&self, stream: &StreamRef, at: At) -> bool {
        let hanging = self.hanging.get(stream);
        hanging.is_some_and(|of_stream| of_stream.get(&at) == Some(&true))
    }

    fn has_any_behind(&self) -> bool {
        self.behind.values().any(|(_, _, seen)| *seen)
    }
}

/// Records to be written again, in the order in which they lay.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rewrite(Vec<Hanging>);

impl Rewrite {
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub const fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Hanging> {
        self.0.iter()
    }
}

/// A checkpoint that hangs, of a stream whose records cannot be read now: they may be all that is visible of its transaction.
/// Records that hang without their checkpoint are told by the one that is visible.
pub fn judged_by_what_is_out_of_sight<'a>(
    hanging: &'a [Hanging],
    out_of_sight: &HashSet<StreamRef>,
) -> Option<&'a Hanging> {
    hanging
        .iter()
        .find(|record| record.is_checkpoint && out_of_sight.contains(&record.stream))
}

/// From which time on it matters what readers see. `None`: nothing that hung can have been committed. `longest_ms`: no
/// transaction takes longer.
///
/// A record's time is its entry's, which is no earlier than its stream's checkpoint; or, where the id is none, that of its
/// sending, which may lie before that of what hangs of the same transaction: most of all of its checkpoints, written last.
pub fn visible_since(
    hanging: &[Hanging],
    known: &HashMap<StreamRef, Known>,
    longest_ms: i64,
) -> Option<i64> {
    let matters = |record: &&Hanging| {
        record.is_checkpoint || checkpoint_of(known, &record.stream).is_some_and(|c| record.at <= c)
    };
    if !hanging.iter().any(|record| matters(&record)) {
        return None;
    }
    let checkpoints = hanging
        .iter()
        .filter(|record| record.is_checkpoint)
        .filter_map(|record| checkpoint_of(known, &record.stream))
        .map(|(_, id)| i64::try_from(id.ms).unwrap_or(i64::MAX));
    let records = hanging.iter();
    let records = records.map(|record| record.timestamp_ms.saturating_sub(longest_ms));
    records.chain(checkpoints).min().map(|since| since.max(0))
}

/// What was committed and is hidden, now that all that hung is aborted.
pub fn decide(
    hanging: Vec<Hanging>,
    known: &HashMap<StreamRef, Known>,
    visible: &Visible,
) -> Rewrite {
    // The one transaction that hangs among the checkpoints. Its records are visible where the marker came to.
    let mut pending: HashMap<&StreamRef, At> = HashMap::new();
    for record in hanging.iter().filter(|record| record.is_checkpoint) {
        pending.insert(&record.stream, record.at);
    }
    let committed = visible.has_any_behind();
    // A first checkpoint stands before any record, so it is right either way, and Redis may have been told of it already.
    let counts = |stream: &StreamRef| committed || checkpoint_of(known, stream).is_none();
    let bound = |stream: &StreamRef| {
        let pending = pending.get(stream).copied().filter(|_| counts(stream));
        pending.max(checkpoint_of(known, stream))
    };
    let mut again: BTreeMap<(bool, StreamRef, At), usize> = BTreeMap::new();
    for (index, record) in hanging.iter().enumerate() {
        let wanted = if record.is_checkpoint {
            counts(&record.stream) && Some(record.at) > checkpoint_of(known, &record.stream)
        } else {
            Some(record.at) <= bound(&record.stream) && !visible.has(&record.stream, record.at)
        };
        if wanted {
            // Of several attempts the last is the one that was committed.
            again.insert(
                (record.is_checkpoint, record.stream.clone(), record.at),
                index,
            );
        }
    }
    let wanted: HashSet<usize> = again.into_values().collect();
    let mut records: Vec<Hanging> = hanging
        .into_iter()
        .enumerate()
        .filter(|(index, _)| wanted.contains(index))
        .map(|(_, record)| record)
        .collect();
    records
        .sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
    Rewrite(records)
}

fn checkpoint_of(known: &HashMap<StreamRef, Known>, stream: &StreamRef) -> Option<At> {
    known.get(stream)?.checkpoint
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Database;

    const LONGEST: i64 = 1;

    fn stream(name: &str) -> StreamRef {
        StreamRef::new(Database(0), name)
    }

    fn at(ms: u64) -> At {
        (0, EntryId::new(ms, 0))
    }

    fn record(name: &str, ms: u64, partition: i32, offset: i64) -> Hanging {
        Hanging {
            topic: Topic::from("t"),
            partition: Partition(partition),
            offset: Offset(offset),
            stream: stream(name),
            at: at(ms),
            is_checkpoint: false,
            timestamp_ms: i64::try_from(ms).unwrap(),
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    fn checkpoint(name: &str, ms: u64) -> Hanging {
        Hanging {
            topic: Topic::from("c"),
            is_checkpoint: true,
            timestamp_ms: 1_000,
            ..record(name, ms, 0, 9)
        }
    }

    fn known(all: &[(&str, u64)]) -> HashMap<StreamRef, Known> {
        let known = all.iter().map(|(name, ms)| {
            let checkpoint = Some(at(*ms));
            (stream(name), Known { checkpoint })
        });
        known.collect()
    }

    fn decide_seeing(
        hanging: Vec<Hanging>,
        known: &HashMap<StreamRef, Known>,
        seen: &[(&str, u64)],
    ) -> Rewrite {
        let mut visible = Visible::of(&hanging, known);
        for (name, ms) in seen {
            visible.add(&stream(name), at(*ms));
        }
        decide(hanging, known, &visible)
    }

    fn again(rewrite: &Rewrite) -> Vec<(i32, i64)> {
        rewrite
            .iter()
            .map(|record| (record.partition.0, record.offset.0))
            .collect()
    }

    #[test]
    fn what_was_aborted_stays_aborted() {
        let hanging = vec![record("a", 11, 0, 5), record("a", 12, 1, 5)];
        let known = known(&[("a", 10)]);
        assert_eq!(visible_since(&hanging, &known, LONGEST), None);
        assert!(decide_seeing(hanging, &known, &[]).is_empty());
    }

    #[test]
    fn nothing_visible_of_it_is_as_if_it_had_not_been() {
        let hanging = vec![record("a", 11, 0, 5), checkpoint("a", 11)];
        let known = known(&[("a", 10)]);
        assert_eq!(visible_since(&hanging, &known, LONGEST), Some(10));
        assert!(decide_seeing(hanging, &known, &[("a", 10)]).is_empty());
    }

    #[test]
    fn of_ids_that_are_no_times_records_are_looked_for_from_before_their_checkpoint_was_written() {
        // Nanoseconds: the records of the transaction are dated when they were sent.
        let nanos = 1_700_000_000_000_000_000;
        let known = known(&[("a", nanos)]);
        let hanging = vec![checkpoint("a", nanos + 9)];
        assert_eq!(visible_since(&hanging, &known, LONGEST), Some(999));
    }

    #[test]
    fn records_below_the_checkpoint_are_written_again_but_not_those_behind_it() {
        let hanging = vec![record("a", 9, 0, 5), record("a", 11, 0, 6)];
        let rewrite = decide_seeing(hanging, &known(&[("a", 10)]), &[("a", 8)]);
        assert_eq!(again(&rewrite), [(0, 5)]);
    }

    #[test]
    fn one_visible_record_proves_the_transaction_for_all_its_streams() {
        let hanging = vec![
            record("a", 11, 0, 5),
            record("b", 7, 1, 8),
            checkpoint("a", 12),
            checkpoint("b", 7),
        ];
        let known = known(&[("a", 10), ("b", 6)]);
        let rewrite = decide_seeing(hanging, &known, &[("a", 12)]);
        assert_eq!(rewrite.len(), 4);
    }

    #[test]
    fn what_readers_see_already_is_not_written_again() {
        let hanging = vec![record("a", 9, 0, 5), record("a", 10, 0, 6)];
        let rewrite = decide_seeing(hanging, &known(&[("a", 10)]), &[("a", 10)]);
        assert_eq!(again(&rewrite), [(0, 5)]);
    }

    #[test]
    fn of_two_attempts_the_last_is_written_and_the_order_is_that_of_the_log() {
        let hanging = vec![
            record("a", 9, 0, 5),
            record("a", 9, 0, 7),
            record("a", 10, 0, 8),
        ];
        let rewrite = decide_seeing(hanging, &known(&[("a", 10)]), &[]);
        assert_eq!(again(&rewrite), [(0, 7), (0, 8)]);
    }

    #[test]
    fn of_what_readers_see_only_what_was_asked_for_is_kept() {
        let hanging = vec![record("a", 11, 0, 5), checkpoint("a", 12)];
        let mut visible = Visible::of(&hanging, &known(&[("a", 10)]));
        for ms in [9, 10, 13] {
            visible.add(&stream("a"), at(ms));
            visible.add(&stream("b"), at(ms));
        }
        assert!(!visible.has_any_behind() && !visible.has(&stream("a"), at(11)));
        assert_eq!((visible.hanging.len(), visible.behind.len()), (1, 1));
        assert_eq!(visible.hanging[&stream("a")].len(), 1);
        visible.add(&stream("a"), at(11));
        assert!(visible.has_any_behind() && visible.has(&stream("a"), at(11)));
    }

    #[test]
    fn only_a_checkpoint_that_hangs_waits_for_a_topic_that_cannot_be_read() {
        let away = HashSet::from([stream("away")]);
        let waits_for = |hanging: &[Hanging]| {
            let found = judged_by_what_is_out_of_sight(hanging, &away);
            found.map(|record| record.stream.clone())
        };
        let plain = [record("a", 11, 0, 5), checkpoint("a", 12)];
        assert_eq!(waits_for(&plain), None);
        assert_eq!(waits_for(&[record("away", 3, 0, 5)]), None);
        let both = [checkpoint("a", 12), checkpoint("away", 3)];
        assert_eq!(waits_for(&both), Some(stream("away")));
    }

    #[test]
    fn a_first_checkpoint_comes_back_and_brings_no_record_with_it() {
        let hanging = vec![checkpoint("new", 0), record("a", 11, 0, 5)];
        let rewrite = decide_seeing(hanging, &known(&[("a", 10)]), &[]);
        assert_eq!(rewrite.len(), 1);
        assert!(rewrite.iter().all(|record| record.is_checkpoint));
    }
}
