//! What a failover did to a stream's history, from both sides' entries: pure.
//!
//! Redis copies to its replicas without waiting. A replica that is promoted may lack the last entries, and what is added
//! afterwards may carry ids at or below those that Kafka already has. So after a change of history the last id proves
//! nothing; what stands on both sides is compared, from the newest downwards, a window at a time.

use std::collections::BTreeMap;

use super::logs::{Log, Logs, Past};
use crate::entry::EntryId;

/// A digest of what an entry becomes: topic record or dead letter.
pub type Digest = u128;

/// An entry as Redis has it now: what its record and its dead letter would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub id: EntryId,
    /// The id as milliseconds since 1970, where it is a time.
    pub time_ms: Option<i64>,
    /// Where its record, or its dead letter if there is none, belongs.
    pub log: Log,
    /// `None` where the route cannot encode it.
    pub record: Option<Digest>,
    pub letter: Digest,
}

/// What Kafka has under an id: digests of the greatest generation's record and dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    pub generation: u32,
    pub record: Option<Digest>,
    pub letter: Option<Digest>,
}

/// What Kafka has of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InKafka {
    /// Under ids that Redis holds.
    pub both: BTreeMap<EntryId, Mirrored>,
    /// Under ids that Redis does not hold, and the greatest generation of each.
    pub alone: Alone,
    pub logs: Logs,
}

impl InKafka {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.both.is_empty() && self.alone.ids.is_empty()
    }
}

/// Ids and their generations: the greatest, as many as there is room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alone {
    ids: BTreeMap<EntryId, u32>,
    /// There were more.
    cut: bool,
}

impl Alone {
    pub fn put(&mut self, id: EntryId, generation: u32, room: usize) {
        let known = self.ids.entry(id).or_default();
        *known = generation.max(*known);
        if self.ids.len() > room {
            self.ids.pop_first();
            self.cut = true;
        }
    }
}

/// What the windows so far say of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Entries up to the checkpoint that Kafka does not have, to be mirrored in the next generation: the end of what was
    /// compared, without a break.
    pub missing: u64,
    first_missing: Option<EntryId>,
    /// The last entry of the common beginning. While there is none, the windows do not reach below the point of divergence.
    pub common: Option<EntryId>,
    /// The greatest generation that Kafka has of it.
    pub generation: u32,
    /// The greatest generation at or below `common`.
    before: u32,
    /// What Kafka has above `common`.
    above: Alone,
}

/// Entries that Kafka has and Redis no longer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    pub count: u64,
    /// Those that are known, ascending.
    pub ids: Vec<EntryId>,
}

impl Compared {
    /// Takes in the next window: Redis's entries, ascending, and what Kafka has from the first of them on. Each lies below the
    /// one before, and none comes after the one that holds the common entry.
    ///
    /// `room`: most ids kept.
    pub fn take(&mut self, window: &[Held], kafka: &InKafka, past: &Past, room: usize) {
        let common = last_common(window, kafka, past);
        let missing = &window[common.map_or(0, |at| at + 1)..];
        self.missing += missing.len() as u64;
        self.first_missing = missing.first().map(|held| held.id).or(self.first_missing);
        self.common = common.map(|at| window[at].id);
        self.above.cut |= kafka.alone.cut;
        let both = kafka.both.iter();
        let both = both.map(|(id, in_kafka)| (*id, in_kafka.generation));
        let alone = kafka.alone.ids.iter();
        for (id, generation) in both.chain(alone.map(|(id, generation)| (*id, *generation))) {
            self.generation = self.generation.max(generation);
            if self.common.is_some_and(|common| id <= common) {
                self.before = self.before.max(generation);
            } else {
                self.above.put(id, generation, room);
            }
        }
    }

    /// The place from which reading on brings what is missing, all of it and nothing else; `None`: nothing is.
    #[must_use]
    pub fn before_missing(&self) -> Option<EntryId> {
        let first = self.first_missing?;
        self.common.or_else(|| first.previous())
    }

    /// What Redis lost. `deleted`: the greatest id that was ever deleted one by one; what is missing in Redis at or below it may
    /// be a deletion, and is called a loss only as far as Redis's count of entries proves one: `lost`, the least number.
    #[must_use]
    pub fn orphans(&self, deleted: EntryId, lost: u64) -> Orphans {
        // An id of a lesser generation above one of a greater was lost, or deleted with its stream, before that one began.
        let mut generation = self.before;
        let mut ids: Vec<EntryId> = Vec::new();
        for (id, of) in &self.above.ids {
            generation = generation.max(*of);
            if *of == generation {
                ids.push(*id);
            }
        }
        let sure = ids.iter().filter(|id| **id > deleted).count() as u64;
        let all_known = self.common.is_some() && !self.above.cut;
        let proven = if all_known {
            lost.min(ids.len() as u64)
        } else {
            lost
        };
        let count = sure.max(proven);
        // What is lost is the end of the history, so the last ones are.
        let named = usize::try_from(count).map_or(ids.len(), |count| count.min(ids.len()));
        let ids = ids.split_off(ids.len() - named);
        Orphans { count, ids }
    }
}

/// The end of the common beginning within a window.
///
/// A history after a failover is the old one's beginning and then new entries: whatever stands at or below an entry that both
/// sides have is the common beginning, and what Kafka lacks of it was mirrored in another form or is expired there. So is what
/// Kafka lacks because its logs have lost their beginning, also where nothing behind it is left on both sides. But an
/// entry *behind* a common one that Kafka has under another content came in place of a lost one, and with it the new entries
/// begin, also where ones that were lost were added again as they had been.
fn last_common(window: &[Held], kafka: &InKafka, past: &Past) -> Option<usize> {
    let mut common = None;
    for (at, held) in window.iter().enumerate() {
        let Some(in_kafka) = kafka.both.get(&held.id) else {
            if kafka.logs.mirrored(held, past) {
                common = Some(at);
            }
            continue;
        };
        let same = held.id <= past.remade.form
            || (held.record.is_some() && in_kafka.record == held.record)
            || in_kafka.letter == Some(held.letter);
        match common {
            _ if same => common = Some(at),
            Some(_) => break,
            None => {}
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{Partition, Remade};

    const ROOM: usize = 100;
    const LOG: Log = Log {
        letters: false,
        partition: Partition(0),
    };

    fn id(ms: u64) -> EntryId {
        EntryId::new(ms, 0)
    }

    fn held(ms: u64, digest: Digest) -> Held {
        Held {
            id: id(ms),
            time_ms: None,
            log: LOG,
            record: Some(digest),
            letter: digest + 1_000,
        }
    }

    /// What Kafka has, as (id, digest, generation), of a window of these.
    fn kafka(window: &[Held], entries: &[(u64, Digest, u32)]) -> InKafka {
        let mut kafka = InKafka::default();
        for &(ms, digest, generation) in entries {
            if window.iter().any(|held| held.id == id(ms)) {
                let mirrored = Mirrored {
                    generation,
                    record: Some(digest),
                    letter: None,
                };
                kafka.both.insert(id(ms), mirrored);
            } else {
                kafka.alone.put(id(ms), generation, ROOM);
            }
        }
        kafka
    }

    fn compare(window: &[Held], entries: &[(u64, Digest, u32)]) -> Compared {
        let mut compared = Compared::default();
        compared.take(window, &kafka(window, entries), &Past::default(), ROOM);
        compared
    }

    fn ids(orphans: &Orphans) -> Vec<u64> {
        assert_eq!(orphans.count, orphans.ids.len() as u64);
        orphans.ids.iter().map(|id| id.ms).collect()
    }

    #[test]
    fn the_same_on_both_sides_is_nothing_to_do() {
        let compared = compare(&[held(1, 1), held(2, 2)], &[(1, 1, 0), (2, 2, 0)]);
        assert_eq!((compared.missing, compared.common), (0, Some(id(2))));
        assert_eq!(compared.orphans(EntryId::ZERO, 0), Orphans::default());
    }

    #[test]
    fn a_lost_suffix_and_a_new_entry_below_the_checkpoint() {
        // Kafka saw 1 2 3 4; Redis lost 3 and 4, then got another 3.
        let window = [held(1, 1), held(2, 2), held(3, 33)];
        let compared = compare(&window, &[(1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 4, 0)]);
        assert_eq!(
            (compared.missing, compared.before_missing()),
            (1, Some(id(2)))
        );
        assert_eq!(ids(&compared.orphans(EntryId::ZERO, 0)), [3, 4]);
    }

    #[test]
    fn windows_go_down_to_the_common_entry_as_one() {
        let mut compared = Compared::default();
        let kafka_has: Vec<(u64, Digest, u32)> = (1..=9).map(|n| (n, Digest::from(n), 0)).collect();
        for (window, of) in [
            (vec![held(7, 77), held(8, 88)], 6..9),
            (vec![held(5, 55), held(6, 66)], 4..6),
            (vec![held(3, 3), held(4, 44)], 2..4),
        ] {
            assert_eq!(compared.common, None);
            let found = kafka(&window, &kafka_has[of]);
            compared.take(&window, &found, &Past::default(), ROOM);
        }
        assert_eq!(
            (compared.missing, compared.before_missing()),
            (5, Some(id(3)))
        );
        assert_eq!(ids(&compared.orphans(EntryId::ZERO, 0)), [4, 5, 6, 7, 8, 9]);
        let mut small = Compared::default();
        let window = [held(1, 1)];
        let mut found = InKafka::default();
        found
            .both
            .insert(id(1), kafka(&window, &[(1, 1, 0)]).both[&id(1)]);
        for n in 2..=9 {
            found.alone.put(id(n), 0, 3);
        }
        small.take(&window, &found, &Past::default(), 3);
        let orphans = small.orphans(EntryId::ZERO, 8);
        assert_eq!(
            (orphans.count, orphans.ids.len()),
            (8, 3),
            "the rest is known by Redis's count alone"
        );
    }

    #[test]
    fn a_deleted_entry_is_no_loss_and_a_dead_letter_is_there() {
        let window = [
            held(1, 1),
            Held {
                record: None,
                ..held(3, 3)
            },
        ];
        let mut found = kafka(&window, &[(1, 1, 0), (2, 2, 0)]);
        let letter = Mirrored {
            generation: 0,
            record: None,
            letter: Some(1_003),
        };
        found.both.insert(id(3), letter);
        let mut compared = Compared::default();
        compared.take(&window, &found, &Past::default(), ROOM);
        assert_eq!((compared.missing, compared.common), (0, Some(id(3))));
        assert_eq!(compared.orphans(id(2), 0), Orphans::default());
    }

    #[test]
    fn of_what_may_be_deleted_as_many_are_lost_as_redis_counts_too_few() {
        let window = [held(1, 1), held(2, 2)];
        let compared = compare(
            &window,
            &[(1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 4, 0), (5, 5, 0)],
        );
        assert_eq!(ids(&compared.orphans(id(9), 0)), [0_u64; 0]);
        assert_eq!(ids(&compared.orphans(id(9), 2)), [4, 5]);
        assert_eq!(ids(&compared.orphans(id(3), 1)), [4, 5]);
        assert_eq!(
            ids(&compared.orphans(id(9), 7)),
            [3, 4, 5],
            "gaps were counted as well, and are not in Kafka"
        );
    }

    #[test]
    fn what_an_earlier_failover_lost_is_no_loss_of_this_one() {
        // 11 to 15 were lost, 11 and 13 came in their place, in the next generation; now 13 is lost as well.
        let window = [held(10, 10), held(11, 111)];
        let found = [(10, 10, 0), (11, 111, 1), (12, 12, 0), (13, 133, 1)];
        let compared = compare(&window, &found);
        assert_eq!(ids(&compared.orphans(EntryId::ZERO, 0)), [13]);
        // Now 10 goes as well, of the first generation, and 11.
        let compared = compare(
            &[held(9, 9)],
            &[(9, 9, 0), (10, 10, 0), (11, 11, 1), (12, 12, 0)],
        );
        assert_eq!(ids(&compared.orphans(EntryId::ZERO, 0)), [10, 11]);
    }

    #[test]
    fn what_expired_in_kafka_or_was_made_otherwise_below_a_common_entry_is_not_missing() {
        let window = [held(1, 1), held(2, 2), held(3, 3), held(4, 4)];
        let compared = compare(&window, &[(2, 222, 0), (3, 3, 0)]);
        assert_eq!(
            (compared.missing, compared.before_missing()),
            (1, Some(id(3))),
            "only what stands behind the last common entry"
        );
        assert_eq!(compared.orphans(EntryId::ZERO, 0), Orphans::default());
        let mut compared = Compared::default();
        let found = kafka(&window, &[(2, 222, 0), (4, 444, 0)]);
        let form = EntryId::MAX;
        let remade = Remade {
            form,
            ..Remade::default()
        };
        let past = Past::new(remade, id(4), None, 0);
        compared.take(&window, &found, &past, ROOM);
        assert_eq!(compared.missing, 0, "by id all that Kafka has is there");
    }

    #[test]
    fn what_expired_in_kafka_is_not_missing_where_all_behind_it_was_lost() {
        // All but 101 had expired; 101 is lost, and then 102 comes instead.
        let window = [held(99, 99), held(100, 100)];
        let mut found = kafka(&window, &[(101, 101, 0)]);
        found.logs.whole = true;
        found.logs.begins_late(LOG);
        found.logs.pass(LOG, Some(1));
        found.logs.has(LOG, id(101));
        let mut compared = Compared::default();
        compared.take(&window, &found, &Past::default(), ROOM);
        assert_eq!((compared.missing, compared.common), (0, Some(id(100))));
        assert_eq!(ids(&compared.orphans(EntryId::ZERO, 1)), [101]);
        let instead = [window[0], window[1], held(102, 102)];
        let mut compared = Compared::default();
        compared.take(&instead, &found, &Past::default(), ROOM);
        assert_eq!(
            (compared.missing, compared.before_missing()),
            (1, Some(id(100)))
        );
    }

    #[test]
    fn what_was_mirrored_to_another_topic_is_not_missing_where_all_behind_it_was_lost() {
        let window = [held(99, 99), held(100, 100), held(102, 102)];
        let found = kafka(&window, &[(101, 101, 0)]);
        let remade = Remade {
            form: id(100),
            place: id(100),
        };
        let mut compared = Compared::default();
        compared.take(&window, &found, &Past::new(remade, id(101), None, 0), ROOM);
        assert_eq!(
            (compared.missing, compared.before_missing()),
            (1, Some(id(100)))
        );
        assert_eq!(ids(&compared.orphans(EntryId::ZERO, 1)), [101]);
    }

    #[test]
    fn entries_sent_again_under_their_ids_are_there_up_to_the_first_of_another_content() {
        let before: Vec<(u64, Digest, u32)> = (1..=5).map(|n| (n, Digest::from(n), 0)).collect();
        let same: Vec<Held> = (1..=5).map(|n| held(n, Digest::from(n))).collect();
        assert_eq!(compare(&same, &before).missing, 0);
        let mut other = same;
        other[2] = held(3, 33);
        let compared = compare(&other, &before);
        assert_eq!(
            (compared.missing, compared.before_missing()),
            (3, Some(id(2))),
            "it is not taken for the old one because those behind it are the same"
        );
        assert_eq!(ids(&compared.orphans(EntryId::ZERO, 0)), [3, 4, 5]);
    }
}
