//! What can be said of one identity when both stores have been looked at, and the counts of what was said.
//!
//! An identity is an entry of one stream (stream, id), or a record that has none and so stands for itself. Each is in
//! exactly one class, so the classes add up to what was read: [`Counts::adds_up`] says whether they do, and everything that
//! shows counts shows them together with what they are counts of.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::entry::{Database, EntryId};
use crate::placement::{Offset, Partition};

/// What an identity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// On both sides, the same in every part, in its place, once.
    Match,
    /// In Redis, mirrored according to the checkpoint, and in Kafka neither as a record nor as a dead letter.
    Missing,
    /// In Kafka, and Redis never had it.
    Extra,
    /// In Kafka more than once.
    Duplicate,
    /// On both sides, and not the same: [`Difference::parts`] says in what.
    Mismatch,
    /// The same, on another partition than the route gives.
    Misplaced,
    /// The same and in its place, behind a later entry of its key.
    Reordered,
    /// Behind the checkpoint: not mirrored yet.
    Pending,
    /// One side no longer has what it would take to tell: [`Difference::why`] says which and why.
    Unverifiable,
    /// Not a record of the topic, and kept whole in the dead-letter topic.
    DeadLettered,
}

impl Class {
    pub const ALL: [Self; 10] = [
        Self::Match,
        Self::Missing,
        Self::Extra,
        Self::Duplicate,
        Self::Mismatch,
        Self::Misplaced,
        Self::Reordered,
        Self::Pending,
        Self::Unverifiable,
        Self::DeadLettered,
    ];

    /// As metrics and JSON have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Duplicate => "duplicate",
            Self::Mismatch => "mismatch",
            Self::Misplaced => "misplaced",
            Self::Reordered => "reordered",
            Self::Pending => "pending",
            Self::Unverifiable => "unverifiable",
            Self::DeadLettered => "dead_lettered",
        }
    }

    /// Whether the stores are apart where there is one of these.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        match self {
            Self::Missing
            | Self::Extra
            | Self::Duplicate
            | Self::Mismatch
            | Self::Misplaced
            | Self::Reordered => true,
            Self::Match | Self::Pending | Self::Unverifiable | Self::DeadLettered => false,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What differs in a mismatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Key,
    Value,
    Headers,
}

/// Why an identity is extra or cannot be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Extra: a record without `redis-stream` and `redis-id`.
    NoIdentity,
    /// Extra: a record that names a stream which no route brings to this topic.
    UnknownStream,
    /// Extra: a record that names an id which its stream never had.
    UnknownId,
    /// Extra: Redis lost the entry in a failover after it was mirrored.
    RedisLostHistory,
    /// Unverifiable: Redis has trimmed its stream past it.
    RedisTrimmed,
    /// Unverifiable: it may have been deleted from Redis, singly or with its stream.
    RedisDeleted,
    /// Unverifiable: Kafka's retention has removed the part of the log where it would be.
    KafkaExpired,
    /// Unverifiable: the topic is compacted and a later record has its key.
    KafkaCompacted,
    /// Unverifiable: it was mirrored under other settings of its route, which would make another record of it now.
    RouteChanged,
}

/// One identity that is no match, and where it can be found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub class: Class,
    pub route: String,
    pub database: Option<Database>,
    /// Absent for a record without identity.
    pub stream: Option<String>,
    pub id: Option<EntryId>,
    /// What differs, for a mismatch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    pub topic: String,
    /// Where the route puts it; absent where no entry says so.
    pub expected_partition: Option<Partition>,
    /// Where its records are: the first `PLACES` of them.
    pub records: Vec<Location>,
    /// Records that it has beyond those.
    #[serde(default, skip_serializing_if = "is_none")]
    pub more: u64,
    /// Dead letters that it has beside its records: they are in another topic.
    #[serde(default, skip_serializing_if = "is_none")]
    pub letters: u64,
}

/// Records of one identity that are kept with their places. Somebody may write one record without end; what is kept of it
/// must not grow with it.
pub const PLACES: usize = 10;

impl Difference {
    /// All that it has, without its dead letters.
    #[must_use]
    pub fn record_count(&self) -> u64 {
        self.records.len() as u64 + self.more
    }
}

pub(super) const fn is_none(amount: &u64) -> bool {
    *amount == 0
}

/// A record's place in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    pub partition: Partition,
    pub offset: Offset,
    /// 0 for a stream whose history never broke.
    pub generation: u32,
}

/// What was read, counted where it is read and by nobody who judges it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    pub redis: u64,
    pub kafka: u64,
}

/// How many identities are in each class, and what was read to say so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    classes: BTreeMap<Class, u64>,
    /// Entries read from Redis.
    pub redis_entries: u64,
    /// Records and dead letters read from Kafka.
    pub kafka_records: u64,
    /// Identities that only Kafka has.
    pub only_kafka: u64,
    /// Records beyond the first of their identity.
    pub copies: u64,
    /// Identities that only Redis has.
    pub only_redis: u64,
}

impl Counts {
    #[must_use]
    pub fn of(&self, class: Class) -> u64 {
        self.classes.get(&class).copied().unwrap_or(0)
    }

    pub fn count(&mut self, class: Class, identities: u64) {
        if identities > 0 {
            *self.classes.entry(class).or_default() += identities;
        }
    }

    /// Every class with its count, those at 0 too.
    pub fn classes(&self) -> impl Iterator<Item = (Class, u64)> {
        Class::ALL.into_iter().map(|class| (class, self.of(class)))
    }

    #[must_use]
    pub fn faults(&self) -> u64 {
        Class::ALL
            .into_iter()
            .filter(|class| class.is_fault())
            .map(|class| self.of(class))
            .sum()
    }

    /// Identities in all classes together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.classes.values().sum()
    }

    /// Identities of which something can be said: neither pending nor unverifiable.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.total() - self.of(Class::Pending) - self.of(Class::Unverifiable)
    }

    /// Whether every identity that was read is in one class, and every record belongs to one identity.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.total() == self.redis_entries + self.only_kafka
            && self.kafka_records + self.only_redis == self.total() + self.copies
    }

    /// Why these are not the counts of what was read, in words; `None`: they are.
    #[must_use]
    pub fn unaccounted(&self, read: Read) -> Option<String> {
        if self.redis_entries != read.redis || self.kafka_records != read.kafka {
            return Some(format!(
                "{} entries and {} records were read, {} and {} are counted",
                read.redis, read.kafka, self.redis_entries, self.kafka_records
            ));
        }
        (!self.adds_up()).then(|| {
            format!(
                "{} identities are in the classes, of {} entries, {} records and {} that only Kafka has",
                self.total(),
                self.redis_entries,
                self.kafka_records,
                self.only_kafka
            )
        })
    }

    /// The same against what these counts themselves say was read.
    #[must_use]
    pub fn inconsistent(&self) -> Option<String> {
        self.unaccounted(Read {
            redis: self.redis_entries,
            kafka: self.kafka_records,
        })
    }

    pub fn add(&mut self, other: &Self) {
        for (&class, &identities) in &other.classes {
            self.count(class, identities);
        }
        self.redis_entries += other.redis_entries;
        self.kafka_records += other.kafka_records;
        self.only_kafka += other.only_kafka;
        self.copies += other.copies;
        self.only_redis += other.only_redis;
    }

    /// Records whose entries Redis does not have.
    #[must_use]
    pub fn kafka_alone(class: Class, records: u64) -> Self {
        let mut counts = Self {
            kafka_records: records,
            only_kafka: records,
            ..Self::default()
        };
        counts.count(class, records);
        counts
    }

    /// An entry of which Kafka has nothing.
    #[must_use]
    pub fn redis_alone(class: Class) -> Self {
        let mut counts = Self {
            redis_entries: 1,
            only_redis: 1,
            ..Self::default()
        };
        counts.count(class, 1);
        counts
    }

    /// An entry and so many records of it, one at least.
    #[must_use]
    pub fn both(class: Class, records: u64) -> Self {
        let mut counts = Self {
            redis_entries: 1,
            kafka_records: records,
            copies: records.saturating_sub(1),
            ..Self::default()
        };
        counts.count(class, 1);
        counts
    }

    /// One identity of which Redis has nothing, and so many records of it, one at least.
    #[must_use]
    pub fn records_alone(class: Class, records: u64) -> Self {
        let mut counts = Self {
            kafka_records: records,
            only_kafka: 1,
            copies: records.saturating_sub(1),
            ..Self::default()
        };
        counts.count(class, 1);
        counts
    }

    /// Whether this can be a part of it.
    #[must_use]
    pub fn holds(&self, part: &Self) -> bool {
        self.redis_entries >= part.redis_entries
            && self.kafka_records >= part.kafka_records
            && self.only_kafka >= part.only_kafka
            && self.copies >= part.copies
            && self.only_redis >= part.only_redis
            && part.classes().all(|(class, count)| self.of(class) >= count)
    }

    /// What is left without a part.
    #[must_use]
    pub fn less(&self, part: &Self) -> Self {
        let mut left = Self {
            redis_entries: self.redis_entries.saturating_sub(part.redis_entries),
            kafka_records: self.kafka_records.saturating_sub(part.kafka_records),
            only_kafka: self.only_kafka.saturating_sub(part.only_kafka),
            copies: self.copies.saturating_sub(part.copies),
            only_redis: self.only_redis.saturating_sub(part.only_redis),
            ..Self::default()
        };
        for (class, count) in self.classes() {
            left.count(class, count.saturating_sub(part.of(class)));
        }
        left
    }

    /// A stretch in which both sides were found equal: `letters` of the identities are dead letters, the others match.
    #[must_use]
    pub fn level(identities: u64, letters: u64) -> Self {
        let mut counts = Self {
            redis_entries: identities,
            kafka_records: identities,
            ..Self::default()
        };
        counts.count(Class::Match, identities - letters);
        counts.count(Class::DeadLettered, letters);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_and_what_was_said_of_it_are_one_sum() {
        let mut counts = Counts::level(5, 1);
        assert!(counts.adds_up() && counts.total() == 5 && counts.faults() == 0);
        counts.redis_entries += 1;
        assert!(!counts.adds_up(), "an entry in no class");
        counts.count(Class::Missing, 1);
        assert!(
            !counts.adds_up(),
            "a missing entry that some record stands for"
        );
        counts.only_redis += 1;
        assert!(counts.adds_up());
        counts.kafka_records += 1;
        counts.copies += 1;
        assert!(
            counts.adds_up(),
            "a copy belongs to the identity of the first"
        );
        assert_eq!((counts.faults(), counts.verified()), (1, 6));
    }

    #[test]
    fn counts_of_something_else_than_was_read_are_not_accounted_for() {
        let counts = Counts::level(5, 1);
        let read = |redis, kafka| counts.unaccounted(Read { redis, kafka });
        assert_eq!(read(5, 5), None);
        assert!(read(6, 5).is_some_and(|why| why.starts_with("6 entries and 5 records were read")));
        assert!(read(5, 4).is_some());
        let mut torn = counts.clone();
        torn.count(Class::Missing, 1);
        assert!(
            torn.inconsistent()
                .is_some_and(|why| why.contains("6 identities"))
        );
    }

    #[test]
    fn every_class_is_there_even_at_zero() {
        assert_eq!(Counts::default().classes().count(), Class::ALL.len());
    }
}
