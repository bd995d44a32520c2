//! What is to be written to Kafka for the entries of a stage, faults and all, and what must be found of it.
//!
//! Entries are known by their number in the order in which they were added. Each fault is a change of the script that says
//! at once what `verify` must find; records get their offsets when they are written, so findings refer to records until then.

use std::collections::{BTreeMap, BTreeSet};

use super::hand::{Hand, Outgoing, Place};
use super::stage::{Id, Stage, text};
use super::verdict::{Expectation, Finding};
use crate::harness::{Class, Entry, Expected, KafkaReader, Ledger, messages};

/// An entry and the record that must stand for it.
#[derive(Clone)]
pub struct Twin {
    pub stream: String,
    pub id: Id,
    pub record: Outgoing,
    /// Kept in the dead-letter topic, because no record can be made of it.
    pub is_letter: bool,
}

impl Twin {
    /// Where the route puts it; nowhere, when it cannot be encoded.
    pub fn partition(&self) -> Option<i32> {
        (!self.is_letter).then_some(self.record.partition)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Written {
    Twin(usize),
    Inserted(usize),
}

/// A finding whose records have no offsets yet.
struct Wanted {
    finding: Finding,
    records: Vec<Written>,
}

pub struct Script<'a> {
    stage: &'a Stage,
    pub twins: &'a [Twin],
    order: Vec<Option<usize>>,
    changed: BTreeMap<usize, Outgoing>,
    /// Position in `order` to what is written behind it.
    behind: BTreeMap<usize, Vec<usize>>,
    inserted: Vec<Outgoing>,
    wanted: Vec<Wanted>,
    letters: u64,
    pending: u64,
    /// Entries to delete when all is written.
    deleted: Vec<usize>,
}

impl<'a> Script<'a> {
    /// A faultless mirror of these.
    pub fn new(stage: &'a Stage, twins: &'a [Twin]) -> Self {
        Self {
            stage,
            twins,
            order: (0..twins.len()).map(Some).collect(),
            changed: BTreeMap::new(),
            behind: BTreeMap::new(),
            inserted: Vec::new(),
            wanted: Vec::new(),
            letters: twins.iter().filter(|twin| twin.is_letter).count() as u64,
            pending: 0,
            deleted: Vec::new(),
        }
    }

    /// The next entry after this one of the same stream that `is` so.
    pub fn next(&self, at: usize, is: impl Fn(&Outgoing) -> bool) -> Option<usize> {
        let stream = &self.twins[at].stream;
        (at + 1..self.twins.len()).find(|&next| {
            let twin = &self.twins[next];
            twin.stream == *stream && !twin.is_letter && is(&twin.record)
        })
    }

    /// The next of the same key.
    pub fn next_of_key(&self, at: usize) -> Option<usize> {
        let key = &self.twins[at].record.key;
        self.next(at, |record| record.key == *key)
    }

    fn want(&mut self, class: &str, at: usize, records: &[Written]) -> &mut Finding {
        let twin = &self.twins[at];
        let finding = Finding {
            class: class.to_owned(),
            stream: Some(twin.stream.clone()),
            id: Some(text(twin.id)),
            topic: self.stage.topic.clone(),
            expected_partition: twin.partition(),
            ..Finding::default()
        };
        self.wanted.push(Wanted {
            finding,
            records: records.to_vec(),
        });
        &mut self.wanted.last_mut().unwrap().finding
    }

    fn insert(&mut self, behind: usize, record: Outgoing) -> Written {
        let number = self.inserted.len();
        self.inserted.push(record);
        self.behind.entry(behind).or_default().push(number);
        Written::Inserted(number)
    }

    /// Its record is never produced.
    pub fn missing(&mut self, at: usize) {
        self.order[at] = None;
        self.letters -= u64::from(self.twins[at].is_letter);
        self.want("missing", at, &[]);
    }

    /// Its record is produced once more, behind that of `behind`.
    pub fn twice(&mut self, at: usize, behind: usize) {
        self.copied(at, behind, |_| {});
    }

    /// Once more, changed.
    pub fn copied(&mut self, at: usize, behind: usize, change: impl FnOnce(&mut Outgoing)) {
        assert!(behind >= at, "a copy comes after the first");
        let mut copy = self.twins[at].record.clone();
        change(&mut copy);
        let copy = self.insert(behind, copy);
        self.want("duplicate", at, &[Written::Twin(at), copy]);
    }

    /// Its record is another than it should be, in these parts.
    pub fn altered(&mut self, at: usize, part: &str, change: impl FnOnce(&mut Outgoing)) {
        self.change(at, change);
        let finding = self.want("mismatch", at, &[Written::Twin(at)]);
        finding.parts = vec![part.to_owned()];
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Outgoing)) {
        let mut record = self.twins[at].record.clone();
        change(&mut record);
        assert_ne!(record, self.twins[at].record, "nothing is changed");
        self.changed.insert(at, record);
    }

    pub fn misplaced(&mut self, at: usize, partition: i32) {
        self.change(at, |record| record.partition = partition);
        self.want("misplaced", at, &[Written::Twin(at)]);
    }

    /// Both records change places, which must not be found. They must be of different keys.
    pub fn swapped_quietly(&mut self, a: usize, b: usize) {
        self.order.swap(a, b);
    }

    /// Both records of one key change places: the earlier one is behind a later one then.
    pub fn swapped(&mut self, a: usize, b: usize) {
        assert_eq!(self.next_of_key(a), Some(b), "neighbours of one key");
        self.order.swap(a, b);
        self.want("reordered", a, &[Written::Twin(a)]);
    }

    /// Its record comes late, behind that of `behind`, marked as repaired or not.
    pub fn late(&mut self, at: usize, behind: usize, repaired: bool) {
        self.order[at] = None;
        let mut record = self.twins[at].record.clone();
        if repaired {
            record.set_header("lockgate-repair", b"1");
        }
        let late = self.insert(behind, record);
        if !repaired {
            self.want("reordered", at, &[late]);
        }
    }

    /// A record that no entry stands behind; `why` says of what kind it is.
    pub fn foreign(&mut self, behind: usize, record: Outgoing, why: &str) {
        let header = |name: &str| {
            let value = record.header(name).map(<[u8]>::to_vec);
            value.map(|value| String::from_utf8(value).unwrap())
        };
        let identified = why != "no-identity";
        let (stream, id) = (header("redis-stream"), header("redis-id"));
        let foreign = self.insert(behind, record);
        self.wanted.push(Wanted {
            finding: Finding {
                class: "extra".to_owned(),
                stream: stream.filter(|_| identified),
                id: id.filter(|_| identified),
                why: Some(why.to_owned()),
                topic: self.stage.topic.clone(),
                ..Finding::default()
            },
            records: vec![foreign],
        });
    }

    /// It is kept in the dead-letter topic and not a record of its own topic.
    pub fn lettered(&mut self, at: usize, entry: &Entry) {
        assert!(!self.twins[at].is_letter);
        self.changed
            .insert(at, letter(self.stage, entry, "rejected"));
        self.letters += 1;
    }

    /// Its dead letter is another than it should be.
    pub fn altered_letter(&mut self, at: usize, change: impl FnOnce(&mut Outgoing)) {
        assert!(self.twins[at].is_letter);
        self.letters -= 1;
        self.altered(at, "value", change);
        let letters = self.stage.letters.clone();
        self.wanted.last_mut().expect("just wanted").finding.topic = letters;
    }

    /// Its record names another entry, or none: so the one is missing and the other extra.
    pub fn renamed(&mut self, at: usize, why: &str, change: impl FnOnce(&mut Outgoing)) {
        self.missing(at);
        let mut record = self.twins[at].record.clone();
        change(&mut record);
        self.foreign(at, record, why);
    }

    /// Deleted from Redis when all is written. Kafka has it.
    pub fn deleted_after(&mut self, at: usize) {
        self.deleted.push(at);
        self.unverifiable(at, "redis-deleted", &[Written::Twin(at)]);
    }

    /// Deleted before it was mirrored: neither side has it.
    pub fn deleted_before(&mut self, at: usize) {
        self.order[at] = None;
        self.deleted.push(at);
        self.letters -= u64::from(self.twins[at].is_letter);
    }

    /// Its record will be found, and its entry not, or the reverse; the test sees to that.
    pub fn unverifiable(&mut self, at: usize, why: &str, records: &[Written]) {
        let gone_from_redis = !records.is_empty();
        let finding = self.want("unverifiable", at, records);
        finding.why = Some(why.to_owned());
        if gone_from_redis {
            finding.expected_partition = None;
        }
    }

    /// From Redis this entry is gone and its record never was.
    pub fn nowhere(&mut self, at: usize) {
        self.order[at] = None;
        self.letters -= u64::from(self.twins[at].is_letter);
    }

    /// Not mirrored yet: behind the checkpoint.
    pub fn pending(&mut self, at: usize) {
        self.nowhere(at);
        self.pending += 1;
    }

    /// The last entry of each stream that is not pending, and how many were added up to it: the checkpoints. An entry that is
    /// missing is passed by them; so they come from the twins and not from what is written.
    pub fn checkpoints(&self, pending: &BTreeSet<usize>) -> Vec<(&'a str, Id, u64)> {
        let mut all: BTreeMap<&str, (Id, u64)> = BTreeMap::new();
        let mirrored = (0..self.twins.len()).filter(|at| !pending.contains(at));
        for twin in mirrored.map(|at| &self.twins[at]) {
            let added = all.get(twin.stream.as_str()).map_or(0, |(_, added)| *added);
            all.insert(&twin.stream, (twin.id, added + 1));
        }
        all.into_iter()
            .map(|(stream, (id, added))| (stream, id, added))
            .collect()
    }

    /// Writes all of it, then the checkpoints, then deletes; gives what must be found.
    pub fn play(self, hand: &Hand, pending: &BTreeSet<usize>) -> Expectation {
        let mut tags = Vec::new();
        let mut records = Vec::new();
        for (position, twin) in self.order.iter().enumerate() {
            if let Some(twin) = *twin {
                let plain = &self.twins[twin].record;
                records.push(self.changed.get(&twin).unwrap_or(plain));
                tags.push(Written::Twin(twin));
            }
            for &number in self.behind.get(&position).into_iter().flatten() {
                records.push(&self.inserted[number]);
                tags.push(Written::Inserted(number));
            }
        }
        let landed = hand.commit(records.iter().copied());
        let places: BTreeMap<Written, Place> = tags.into_iter().zip(landed).collect();
        self.stage.checkpoints(hand, &self.checkpoints(pending));
        for &at in &self.deleted {
            let twin = &self.twins[at];
            let gone: u32 = self
                .stage
                .command(&format!("XDEL {} {}", twin.stream, text(twin.id)));
            assert_eq!(gone, 1);
        }
        let findings = self.wanted.into_iter().map(|wanted| {
            let mut finding = wanted.finding;
            finding.records = wanted.records.iter().map(|record| places[record]).collect();
            finding.records.sort_unstable();
            finding
        });
        Expectation {
            findings: findings.collect(),
            places: places
                .iter()
                .filter_map(|(written, place)| match written {
                    Written::Twin(at) => Some((*at, *place)),
                    Written::Inserted(_) => None,
                })
                .collect(),
            redis_entries: self.stage.length(self.twins),
            kafka_records: places.len() as u64,
            pending: self.pending,
            dead_lettered: self.letters,
        }
    }
}

impl Stage {
    /// Entries that Redis has of these streams.
    pub fn length(&self, twins: &[Twin]) -> u64 {
        let streams: BTreeSet<&str> = twins.iter().map(|twin| twin.stream.as_str()).collect();
        let length = |stream| self.command::<u64>(&format!("XLEN {stream}"));
        streams.into_iter().map(length).sum()
    }

    /// The records that must stand for these entries of the platform's form; a dead letter where none can be made.
    pub fn twins(&self, entries: &[Entry]) -> Vec<Twin> {
        let all = entries.iter().map(|entry| {
            let is_letter = entry.fields[7].1.last() != Some(&b'}');
            Twin {
                stream: entry.stream.clone(),
                id: entry.id,
                record: if is_letter {
                    letter(self, entry, "encode")
                } else {
                    self.twin(entry)
                },
                is_letter,
            }
        });
        all.collect()
    }
}

/// The dead letter of an entry: version 1, the number of fields, then each name and value behind its length.
pub fn letter(stage: &Stage, entry: &Entry, reason: &str) -> Outgoing {
    let number = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    let mut value = vec![1];
    value.extend(number(entry.fields.len()));
    for (name, content) in &entry.fields {
        for part in [name, content] {
            value.extend(number(part.len()));
            value.extend(part);
        }
    }
    let record = Expected {
        topic: stage.letters.clone(),
        partition: 0,
        key: Some(entry.stream.clone().into_bytes()),
        value: Some(value),
        headers: [("reason", reason), ("detail", "-"), ("route", "messages")]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
            .to_vec(),
        timestamp_ms: None,
    };
    super::stage::identified(&entry.stream, entry.id, record)
}

/// The hand is held against the ledger, which knows nothing of it: a faultless script is level, and places are true.
#[test]
fn a_faultless_script_is_level_to_the_ledger_and_a_fault_lies_where_it_was_put() {
    let stage = Stage::new("script", 3);
    let entries = super::stage::entries(1, &[200, 100, 50]);
    stage.add(&entries);
    let twins = stage.twins(&entries);
    let hand = Hand::new(stage.kafka);
    let streams = ["msg:stream:0", "msg:stream:1", "msg:stream:2"].map(str::to_owned);
    let topic = stage.topic.clone();
    let mut ledger = Ledger::new(
        &stage.redis.url(stage.database),
        &streams,
        &stage.kafka.bootstrap(),
        &[&stage.topic],
        move |entry: &Entry| {
            let partitions = super::stage::PARTITIONS;
            Some(messages::expected_over(&topic, partitions, entry))
        },
    );
    let script = Script::new(&stage, &twins);
    assert_eq!(
        script.checkpoints(&BTreeSet::from([349])).len(),
        streams.len()
    );
    let expected = script.play(&hand, &BTreeSet::new());
    assert_eq!((expected.redis_entries, expected.kafka_records), (350, 350));
    ledger.look().assert_level();
    let copy = hand.commit([&twins[7].record]);
    let mut reader = KafkaReader::new(&stage.kafka.bootstrap(), &[&stage.topic]);
    reader.read_to_end().unwrap();
    let places = reader
        .records()
        .iter()
        .filter(|record| record.value == twins[7].record.value)
        .map(|record| (record.partition, record.offset));
    let places: Vec<Place> = places.collect();
    assert_eq!(places, [expected.places[&7], copy[0]]);
    assert_eq!(ledger.look().of(Class::Duplicate), 1);
}
