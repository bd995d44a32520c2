//! Both sides of a window, entry by entry: which class each identity is in. Pure.
//!
//! What Redis holds and what Kafka has are joined by id; of the generations of one id the highest that the checkpoint knows
//! is the one that stands for the entry, every other is an identity of its own. Each identity gets exactly one class, the
//! first that applies:
//!
//! ```text
//!   both:        repeated → duplicate; key, value, headers differ → mismatch; elsewhere → misplaced; behind a later entry
//!                of its key → reordered; a dead letter → dead-lettered; else match
//!   Redis alone: behind the checkpoint → pending; expired or compacted in Kafka → unverifiable; else missing
//!   either, made under other settings of the route that would tell: unverifiable in place of a fault
//!   Kafka alone: trimmed or deleted in Redis → repeated → duplicate; else unverifiable; never there → extra
//! ```

use crate::entry::EntryId;
use crate::placement::{Partition, Remade};

use super::class::{Class, Counts, Location, PLACES, Part, Why};
use super::digest::Parts;

/// An entry of Redis, as the record that its route makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub id: EntryId,
    /// `None`: the route cannot make a record of it.
    pub record: Option<Made>,
    /// Hash of its raw fields, which a dead letter keeps.
    pub fields: u64,
}

/// The record that the route makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    pub partition: Partition,
    pub parts: Parts,
    pub has_key: bool,
}

/// A record or a dead letter of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: EntryId,
    pub at: Location,
    pub what: What,
    /// An entry of the same key that comes later in Redis stands before it.
    pub behind: bool,
    /// Records of the same identity, in the same topic, that it stands for beside itself: see [`thin`].
    pub more: u64,
}

impl Found {
    const fn is_letter(&self) -> bool {
        matches!(self.what, What::Letter(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Record(Parts),
    /// Hash of its raw fields.
    Letter(u64),
}

/// What is known of a stream beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The stream does not exist.
    pub absent: bool,
    /// The first entry that is still there.
    pub first: Option<EntryId>,
    /// The greatest id that there has been; `None`: the stream does not say.
    pub last: Option<EntryId>,
    /// The greatest id ever deleted singly; `None`: Redis is too old to say.
    pub max_deleted: Option<EntryId>,
    /// Nothing was ever trimmed or deleted: the stream holds as many entries as were added to it.
    pub whole: bool,
    /// The checkpoint, as it was before Kafka's ends were asked for.
    pub committed: EntryId,
    pub generation: u32,
    /// Entries of older generations are still in Redis: its history broke in a failover, the stream was not made anew.
    pub shared_history: bool,
    pub remade: Remade,
}

/// One identity that is no match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub class: Class,
    pub id: EntryId,
    pub parts: Vec<Part>,
    pub why: Option<Why>,
    pub expected: Option<Partition>,
    /// Where its records are, the first [`PLACES`]; where there is none of them, its dead letters.
    pub records: Vec<Location>,
    /// More of them.
    pub more: u64,
    /// They are dead letters.
    pub letters: bool,
    /// Dead letters that are not among them.
    pub beside: u64,
}

/// Keeps of each identity the first few records, and the first few dead letters; they stand for the others. Of one that Kafka
/// has twice it is known already what it is, whatever else there is of it.
pub fn thin(found: &mut Vec<Found>) {
    sort(found);
    let mut kept: Vec<Found> = Vec::new();
    for same in found.chunk_by(|a, b| a.id == b.id && a.at.generation == b.at.generation) {
        for letters in [false, true] {
            let mut alike = same.iter().filter(|found| found.is_letter() == letters);
            kept.extend(alike.by_ref().take(PLACES));
            let more = alike.map(|found| 1 + found.more).sum::<u64>();
            if let Some(last) = kept.last_mut().filter(|_| more > 0) {
                last.more += more;
            }
        }
    }
    *found = kept;
}

fn sort(found: &mut [Found]) {
    found.sort_unstable_by_key(|found| {
        (
            found.id,
            found.at.generation,
            found.at.partition,
            found.at.offset,
        )
    });
}

/// How many records these stand for.
fn amount<'a>(found: impl IntoIterator<Item = &'a Found>) -> u64 {
    found.into_iter().map(|found| 1 + found.more).sum()
}

/// Compares. `held` ascends; `found` is sorted here. `lost` says why Kafka no longer has an entry's record, where it
/// cannot be expected to.
pub fn compare(
    facts: &Facts,
    held: &[Held],
    found: &mut [Found],
    lost: impl Fn(&Held) -> Option<Why>,
) -> (Counts, Vec<Finding>) {
    sort(found);
    let mut comparison = Comparison {
        facts,
        counts: Counts::default(),
        findings: Vec::new(),
    };
    let mut rest = &*found;
    for entry in held {
        let before = rest.partition_point(|found| found.id < entry.id);
        comparison.kafka_alone(&rest[..before]);
        rest = &rest[before..];
        let same = rest.partition_point(|found| found.id == entry.id);
        comparison.both(entry, &rest[..same], &lost);
        rest = &rest[same..];
    }
    comparison.kafka_alone(rest);
    (comparison.counts, comparison.findings)
}

struct Comparison<'a> {
    facts: &'a Facts,
    counts: Counts,
    findings: Vec<Finding>,
}

impl Comparison<'_> {
    /// `found`: all that has the entry's id, by generation.
    fn both(&mut self, entry: &Held, found: &[Found], lost: impl Fn(&Held) -> Option<Why>) {
        self.counts.redis_entries += 1;
        let known = found.partition_point(|found| found.at.generation <= self.facts.generation);
        let generation = found[..known].last().map(|found| found.at.generation);
        let begin = generation.map_or(known, |generation| {
            found.partition_point(|found| found.at.generation < generation)
        });
        self.kafka_alone(&found[..begin]);
        self.kafka_alone(&found[known..]);
        let of_it = &found[begin..known];
        let records = amount(of_it);
        self.counts.kafka_records += records;
        let Some(first) = of_it.first() else {
            self.counts.only_redis += 1;
            return self.redis_alone(entry, &lost);
        };
        let (class, parts) = if records > 1 {
            self.counts.copies += records - 1;
            (Class::Duplicate, Vec::new())
        } else {
            judge(entry, first)
        };
        let (class, why) = self.unless_remade(entry.id, class, &parts);
        self.say(class, entry.id, parts, why, expected(entry), of_it);
    }

    fn redis_alone(&mut self, entry: &Held, lost: impl Fn(&Held) -> Option<Why>) {
        let (class, why) = if entry.id > self.facts.committed {
            (Class::Pending, None)
        } else {
            match lost(entry) {
                Some(why) => (Class::Unverifiable, Some(why)),
                None => self.unless_remade(entry.id, Class::Missing, &[]),
            }
        };
        self.say(class, entry.id, Vec::new(), why, expected(entry), &[]);
    }

    /// What was made under other settings of the route is not to be held against those of now. Whatever they left alone
    /// can be: after a change of value or headers the key, the place and that there is a record at all.
    fn unless_remade(&self, id: EntryId, class: Class, parts: &[Part]) -> (Class, Option<Why>) {
        let remade = self.facts.remade;
        let excused = match class {
            Class::Mismatch => {
                id <= remade.place || id <= remade.form && !parts.contains(&Part::Key)
            }
            Class::Missing | Class::Misplaced | Class::Reordered => id <= remade.place,
            Class::Match
            | Class::Extra
            | Class::Duplicate
            | Class::Pending
            | Class::Unverifiable
            | Class::DeadLettered => false,
        };
        match excused {
            true => (Class::Unverifiable, Some(Why::RouteChanged)),
            false => (class, None),
        }
    }

    fn kafka_alone(&mut self, found: &[Found]) {
        for same in found.chunk_by(|a, b| a.id == b.id && a.at.generation == b.at.generation) {
            let records = amount(same);
            self.counts.kafka_records += records;
            self.counts.copies += records - 1;
            self.counts.only_kafka += 1;
            let (class, why) = match self.absence(same[0].id, same[0].at.generation) {
                // That there are two of it takes no entry to tell.
                (Class::Unverifiable, why) if records > 1 => (Class::Duplicate, why),
                absence => absence,
            };
            self.say(class, same[0].id, Vec::new(), Some(why), None, same);
        }
    }

    /// Why Redis does not have what Kafka has.
    fn absence(&self, id: EntryId, generation: u32) -> (Class, Why) {
        let facts = self.facts;
        let older = generation < facts.generation;
        let never_had = id > facts.committed && facts.last.is_some_and(|last| id > last);
        if older && facts.shared_history {
            (Class::Extra, Why::RedisLostHistory)
        } else if !older && !facts.absent && (facts.whole || never_had) {
            (Class::Extra, Why::UnknownId)
        } else if older || facts.absent || facts.max_deleted.is_none_or(|deleted| id <= deleted) {
            (Class::Unverifiable, Why::RedisDeleted)
        } else if id <= facts.committed && facts.first.is_none_or(|first| id < first) {
            (Class::Unverifiable, Why::RedisTrimmed)
        } else {
            (Class::Extra, Why::UnknownId)
        }
    }

    fn say(
        &mut self,
        class: Class,
        id: EntryId,
        parts: Vec<Part>,
        why: Option<Why>,
        expected: Option<Partition>,
        records: &[Found],
    ) {
        self.counts.count(class, 1);
        if class == Class::Match {
            return;
        }
        let letters = !records.is_empty() && records.iter().all(Found::is_letter);
        let (shown, others): (Vec<&Found>, Vec<&Found>) = records
            .iter()
            .partition(|found| found.is_letter() == letters);
        let more = amount(shown.iter().copied());
        let shown: Vec<Location> = shown.iter().take(PLACES).map(|found| found.at).collect();
        self.findings.push(Finding {
            class,
            id,
            parts,
            why,
            expected,
            beside: amount(others),
            more: more - shown.len() as u64,
            records: shown,
            letters,
        });
    }
}

fn expected(entry: &Held) -> Option<Partition> {
    entry.record.map(|made| made.partition)
}

/// One record or one letter for one entry.
fn judge(entry: &Held, found: &Found) -> (Class, Vec<Part>) {
    match (entry.record, found.what) {
        (_, What::Letter(fields)) if fields == entry.fields => (Class::DeadLettered, Vec::new()),
        (_, What::Letter(_)) | (None, What::Record(_)) => (Class::Mismatch, vec![Part::Value]),
        (Some(made), What::Record(parts)) => {
            let differing = differing(made.parts, parts);
            let class = if !differing.is_empty() {
                Class::Mismatch
            } else if made.partition != found.at.partition {
                Class::Misplaced
            } else if found.behind {
                Class::Reordered
            } else {
                Class::Match
            };
            (class, differing)
        }
    }
}

fn differing(made: Parts, found: Parts) -> Vec<Part> {
    [
        (Part::Key, made.key != found.key),
        (Part::Value, made.value != found.value),
        (Part::Headers, made.headers != found.headers),
    ]
    .into_iter()
    .filter_map(|(part, differs)| differs.then_some(part))
    .collect()
}

#[cfg(test)]
mod tests;
