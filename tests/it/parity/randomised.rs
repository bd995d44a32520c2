//! Faults of every kind at random places among 200 000 entries: all found, in their class and place, and none invented.
//!
//! A fault takes its entries for itself, so that each has one class; what is placed depends on the seed alone. The entries
//! are written once and copied within Redis for each seed, as they are there, ids and history and all.

use std::collections::BTreeSet;

use super::hand::Hand;
use super::scene::{false_identity, flip, id_behind};
use super::script::{Script, Twin};
use super::stage::{Stage, entries, spoil};
use super::verdict::Expectation;
use crate::harness::{Entry, kafka, soak};
use crate::rig::Random;

/// Entries of each stream: one with several windows, small ones, and two that Redis loses something of.
const SHARES: [usize; 7] = [120_000, 40_000, 20_000, 10_000, 6_000, 3_000, 1_000];
/// Entries are deleted from this stream, and the first ones of that one are trimmed.
const DELETED: &str = "msg:stream:4";
const TRIMMED: &str = "msg:stream:5";
const TRIMMED_ENTRIES: usize = 25;
/// The last entries of this one are not mirrored yet.
const BEHIND: &str = "msg:stream:3";
const BEHIND_ENTRIES: usize = 37;
/// Of each kind, at least.
const EACH: usize = 3;
const WINDOW: usize = 100_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Missing,
    Twice,
    TwiceElsewhere,
    Value,
    Key,
    Header,
    HeaderGone,
    Misplaced,
    Swapped,
    SwappedQuietly,
    Late,
    LateRepaired,
    NoIdentity,
    UnknownId,
    UnknownStream,
    Cancelled,
    DeletedAfter,
    DeletedBefore,
    Letter,
}

impl Kind {
    const ALL: [Self; 19] = [
        Self::Missing,
        Self::Twice,
        Self::TwiceElsewhere,
        Self::Value,
        Self::Key,
        Self::Header,
        Self::HeaderGone,
        Self::Misplaced,
        Self::Swapped,
        Self::SwappedQuietly,
        Self::Late,
        Self::LateRepaired,
        Self::NoIdentity,
        Self::UnknownId,
        Self::UnknownStream,
        Self::Cancelled,
        Self::DeletedAfter,
        Self::DeletedBefore,
        Self::Letter,
    ];

    const fn deletes(self) -> bool {
        matches!(self, Self::DeletedAfter | Self::DeletedBefore)
    }

    /// Whether it needs an id that was never deleted or trimmed, or room behind it in its stream.
    const fn needs_whole_history(self) -> bool {
        matches!(self, Self::UnknownId | Self::Cancelled)
    }
}

struct Placing<'a, 's> {
    script: Script<'a>,
    entries: &'s [Entry],
    random: Random,
    taken: BTreeSet<usize>,
}

impl Placing<'_, '_> {
    fn number(&mut self, below: usize) -> usize {
        usize::try_from(self.random.below(below as u64)).unwrap()
    }

    /// Puts one of a kind somewhere where nothing else is.
    fn place(&mut self, kind: Kind) {
        while !self.try_at(kind) {}
    }

    fn try_at(&mut self, kind: Kind) -> bool {
        let at = self.number(self.entries.len());
        self.place_at(kind, at)
    }

    /// Whether there was room for it.
    fn place_at(&mut self, kind: Kind, at: usize) -> bool {
        let twin = &self.script.twins[at];
        let lossy = twin.stream == DELETED || twin.stream == TRIMMED;
        let fits = match kind {
            _ if twin.is_letter || self.taken.contains(&at) => false,
            _ if kind.deletes() => twin.stream == DELETED,
            _ if kind.needs_whole_history() => !lossy,
            _ => true,
        };
        let Some(other) = fits.then(|| self.partner(kind, at)).flatten() else {
            return false;
        };
        self.taken.extend([at, other]);
        self.apply(kind, at, other);
        true
    }

    /// The other entry that a fault touches; itself, where there is none.
    fn partner(&mut self, kind: Kind, at: usize) -> Option<usize> {
        let record = &self.script.twins[at].record;
        let other = match kind {
            Kind::Swapped | Kind::Late | Kind::LateRepaired => self.script.next_of_key(at),
            Kind::SwappedQuietly => {
                let next = self
                    .script
                    .next(at, |next| next.partition == record.partition);
                next.filter(|&next| self.script.twins[next].record.key != record.key)
            }
            _ => return Some(at),
        };
        other.filter(|other| !self.taken.contains(other))
    }

    fn apply(&mut self, kind: Kind, at: usize, other: usize) {
        let record = self.script.twins[at].record.clone();
        let behind = at + self.number((self.entries.len() - at).min(20_000));
        let elsewhere = (record.partition + 1 + i32::try_from(self.number(11)).unwrap()) % 12;
        let stranger = || {
            let twin = &self.script.twins[at];
            false_identity(&record, &twin.stream, &id_behind(twin))
        };
        match kind {
            Kind::Missing => self.script.missing(at),
            Kind::Twice => self.script.twice(at, behind),
            Kind::TwiceElsewhere => {
                let elsewhere = |copy: &mut super::hand::Outgoing| copy.partition = elsewhere;
                self.script.copied(at, behind, elsewhere);
            }
            Kind::Value => self.script.altered(at, "value", |record| {
                flip(record.value.as_mut().unwrap());
            }),
            Kind::Key => self.script.altered(at, "key", |record| {
                flip(record.key.as_mut().unwrap());
            }),
            Kind::Header => self
                .script
                .altered(at, "headers", |record| flip(&mut record.headers[2].1)),
            Kind::HeaderGone => self.script.altered(at, "headers", |record| {
                record.remove_header("idempotency-key");
            }),
            Kind::Misplaced => self.script.misplaced(at, elsewhere),
            Kind::Swapped => self.script.swapped(at, other),
            Kind::SwappedQuietly => self.script.swapped_quietly(at, other),
            Kind::Late => self.script.late(at, other, false),
            Kind::LateRepaired => self.script.late(at, other, true),
            Kind::NoIdentity => {
                let mut bare = record;
                bare.headers.clear();
                self.script.foreign(behind, bare, "no-identity");
            }
            Kind::UnknownId => {
                let stranger = stranger();
                self.script.foreign(behind, stranger, "unknown-id");
            }
            Kind::UnknownStream => {
                let id = format!("{}-9", self.script.twins[at].id.0);
                let stranger = false_identity(&record, "msg:stream:7", &id);
                self.script.foreign(behind, stranger, "unknown-stream");
            }
            Kind::Cancelled => {
                let stranger = stranger();
                self.script.missing(at);
                self.script.foreign(behind, stranger, "unknown-id");
            }
            Kind::DeletedAfter => self.script.deleted_after(at),
            Kind::DeletedBefore => self.script.deleted_before(at),
            Kind::Letter => self.script.lettered(at, &self.entries[at]),
        }
    }
}

/// The entries of one stream, by their numbers.
fn of_stream(twins: &[Twin], stream: &str) -> Vec<usize> {
    let all = 0..twins.len();
    all.filter(|&at| twins[at].stream == stream).collect()
}

fn sabotage(
    stage: &Stage,
    entries: &[Entry],
    twins: &[Twin],
    hand: &Hand,
    seed: u64,
) -> Expectation {
    let mut placing = Placing {
        script: Script::new(stage, twins),
        entries,
        random: Random::from_seed(seed),
        taken: BTreeSet::new(),
    };
    let behind = of_stream(twins, BEHIND);
    let pending: BTreeSet<usize> = behind[behind.len() - BEHIND_ENTRIES..]
        .iter()
        .copied()
        .collect();
    for &at in &pending {
        placing.script.pending(at);
    }
    let trimmed = of_stream(twins, TRIMMED)[..TRIMMED_ENTRIES].to_vec();
    placing.taken.extend(pending.iter().chain(&trimmed));
    let long = of_stream(twins, "msg:stream:0");
    // Both ends of a stream and both sides of a window's edge, each with a kind that the seed gives.
    for at in [0, WINDOW - 1, WINDOW, long.len() - 1] {
        let kinds = [Kind::Missing, Kind::Value, Kind::Header, Kind::Misplaced];
        let kind = kinds[placing.number(kinds.len())];
        assert!(placing.place_at(kind, long[at]), "{kind:?} at {at}");
    }
    for kind in Kind::ALL {
        for _ in 0..EACH + placing.number(3) {
            placing.place(kind);
        }
    }
    let mut expected = placing.script.play(hand, &pending);
    let left = SHARES[5] - TRIMMED_ENTRIES;
    let gone: usize = stage.command(&format!("XTRIM {TRIMMED} MAXLEN = {left}"));
    assert_eq!(gone, TRIMMED_ENTRIES);
    expected.redis_entries -= TRIMMED_ENTRIES as u64;
    for at in trimmed {
        let place = expected.places[&at];
        let finding = super::gone::redis_gone(&twins[at], "redis-trimmed", place, &stage.topic);
        expected.add(finding);
    }
    expected
}

#[test]
fn faults_at_random_places_are_all_found_and_none_is_invented() {
    let mut all = entries(31, &SHARES);
    let quarry = Stage::new("quarry", SHARES.len());
    let streams: Vec<_> = (0..SHARES.len())
        .map(|n| format!("msg:stream:{n}"))
        .collect();
    // Some that only a dead letter can stand for, clear of those places that are given.
    for at in (5_003..all.len()).step_by(10_007) {
        let lossy = [BEHIND, TRIMMED].contains(&all[at].stream.as_str());
        if !lossy {
            spoil(&mut all[at]);
        }
    }
    quarry.add(&all);
    let mut twins = quarry.twins(&all);
    let hand = Hand::new(kafka());
    let (first, count) = (Random::seed(), if soak() { 50 } else { 3 });
    for seed in first..first + count {
        println!("LOCKGATE_TEST_SEED={seed}");
        let stage = Stage::new("random", SHARES.len());
        for stream in &streams {
            stage.take_over(&quarry, stream);
        }
        for twin in &mut twins {
            let topic = if twin.is_letter {
                &stage.letters
            } else {
                &stage.topic
            };
            twin.record.topic.clone_from(topic);
        }
        let expected = sabotage(&stage, &all, &twins, &hand, seed);
        assert!(expected.faults() >= 40, "{} faults", expected.faults());
        stage.verify(&[]).assert_is(&expected);
        stage.clear();
    }
}
