//! Comparing two sides of a window by hand, class by class, and by property.

use proptest::prelude::*;

use super::*;
use crate::placement::Offset;

const MADE: Made = Made {
    partition: Partition(2),
    parts: Parts {
        key: 1,
        value: 2,
        headers: 3,
    },
    has_key: true,
};

fn id(n: u64) -> EntryId {
    EntryId::new(n, 0)
}

fn held(n: u64) -> Held {
    Held {
        id: id(n),
        record: Some(MADE),
        fields: 9,
    }
}

fn found(n: u64, offset: i64) -> Found {
    Found {
        id: id(n),
        at: Location {
            partition: Partition(2),
            offset: Offset(offset),
            generation: 0,
        },
        what: What::Record(MADE.parts),
        behind: false,
        more: 0,
    }
}

fn facts() -> Facts {
    Facts {
        absent: false,
        first: Some(id(1)),
        last: None,
        max_deleted: Some(EntryId::ZERO),
        whole: false,
        committed: id(1_000),
        generation: 0,
        shared_history: false,
        remade: Remade::default(),
    }
}

/// The class of the one identity that there is.
fn class(facts: &Facts, held: &[Held], found: &[Found]) -> (Class, Option<Why>, Vec<Part>) {
    let (counts, findings) = compare(facts, held, &mut found.to_vec(), |_| None);
    assert!(counts.adds_up(), "{counts:?}");
    assert_eq!(counts.total(), 1, "{counts:?}");
    match findings.as_slice() {
        [] => (Class::Match, None, Vec::new()),
        [one] => (one.class, one.why, one.parts.clone()),
        more => panic!("{more:?}"),
    }
}

#[test]
fn what_was_made_under_other_settings_is_held_against_what_they_left_alone() {
    let told = |held: &[Held], found: &[Found], form: u64, place: u64| {
        let remade = Remade {
            form: id(form),
            place: id(place),
        };
        let facts = Facts { remade, ..facts() };
        let (class, why, _) = class(&facts, held, found);
        (class, why)
    };
    let changed = (Class::Unverifiable, Some(Why::RouteChanged));
    let mut other = found(5, 0);
    other.what = What::Record(Parts {
        value: 7,
        ..MADE.parts
    });
    assert_eq!(told(&[held(5)], &[other], 5, 0), changed);
    assert_eq!(told(&[held(5)], &[other], 4, 0), (Class::Mismatch, None));
    let same = told(&[held(5)], &[found(5, 0)], 9, 9);
    assert_eq!(same, (Class::Match, None), "it can be told");
    let mut keyed = other;
    keyed.what = What::Record(Parts {
        key: 7,
        ..MADE.parts
    });
    let mut elsewhere = found(5, 0);
    elsewhere.at.partition = Partition(0);
    for (found, fault) in [
        (&[keyed][..], Class::Mismatch),
        (&[elsewhere], Class::Misplaced),
        (&[], Class::Missing),
    ] {
        let after_form = told(&[held(5)], found, 9, 4);
        assert_eq!(after_form, (fault, None), "the place was not changed");
        assert_eq!(told(&[held(5)], found, 9, 5), changed);
    }
    let twice = [found(5, 0), found(5, 1)];
    assert_eq!(told(&[held(5)], &twice, 9, 9).0, Class::Duplicate);
}

#[test]
fn each_class_by_its_own_fault() {
    let facts = facts();
    let only = |class| (class, None, Vec::new());
    assert_eq!(
        class(&facts, &[held(5)], &[found(5, 0)]),
        only(Class::Match)
    );
    assert_eq!(class(&facts, &[held(5)], &[]), only(Class::Missing));
    assert_eq!(
        class(&facts, &[held(5)], &[found(5, 0), found(5, 9)]),
        only(Class::Duplicate)
    );
    let mut wrong = found(5, 0);
    wrong.what = What::Record(Parts {
        value: 7,
        ..MADE.parts
    });
    assert_eq!(
        class(&facts, &[held(5)], &[wrong]),
        (Class::Mismatch, None, vec![Part::Value])
    );
    let mut elsewhere = found(5, 0);
    elsewhere.at.partition = Partition(3);
    assert_eq!(
        class(&facts, &[held(5)], &[elsewhere]),
        only(Class::Misplaced)
    );
    let mut behind = found(5, 0);
    behind.behind = true;
    assert_eq!(class(&facts, &[held(5)], &[behind]), only(Class::Reordered));
    assert_eq!(class(&facts, &[held(1_001)], &[]), only(Class::Pending));
}

#[test]
fn a_letter_accounts_for_its_entry_alone() {
    let facts = facts();
    let letter = |fields| Found {
        what: What::Letter(fields),
        ..found(5, 0)
    };
    let mut unroutable = held(5);
    unroutable.record = None;
    for entry in [held(5), unroutable] {
        assert_eq!(class(&facts, &[entry], &[letter(9)]).0, Class::DeadLettered);
        assert_eq!(class(&facts, &[entry], &[letter(8)]).0, Class::Mismatch);
        assert_eq!(
            class(&facts, &[entry], &[letter(9), found(5, 1)]).0,
            Class::Duplicate
        );
    }
    assert_eq!(
        class(&facts, &[unroutable], &[found(5, 0)]).0,
        Class::Mismatch
    );
}

#[test]
fn what_redis_no_longer_has_is_not_called_extra() {
    let with = |change: fn(&mut Facts)| {
        let mut facts = facts();
        change(&mut facts);
        class(&facts, &[], &[found(5, 0)])
    };
    let unverifiable = |why| (Class::Unverifiable, Some(why), Vec::new());
    let extra = |why| (Class::Extra, Some(why), Vec::new());
    assert_eq!(with(|_| ()), extra(Why::UnknownId));
    assert_eq!(
        with(|facts| facts.first = Some(id(6))),
        unverifiable(Why::RedisTrimmed)
    );
    assert_eq!(
        with(|facts| (facts.first, facts.whole) = (Some(id(6)), true)),
        extra(Why::UnknownId)
    );
    assert_eq!(
        with(|facts| facts.max_deleted = Some(id(5))),
        unverifiable(Why::RedisDeleted)
    );
    assert_eq!(
        with(|facts| facts.max_deleted = Some(id(4))),
        extra(Why::UnknownId)
    );
    assert_eq!(
        with(|facts| facts.absent = true),
        unverifiable(Why::RedisDeleted)
    );
    assert_eq!(
        with(|facts| facts.generation = 1),
        unverifiable(Why::RedisDeleted)
    );
    assert_eq!(
        with(|facts| (facts.generation, facts.shared_history) = (1, true)),
        extra(Why::RedisLostHistory)
    );
}

#[test]
fn what_redis_no_longer_has_is_a_duplicate_where_kafka_has_it_twice() {
    let mut facts = facts();
    facts.first = Some(id(6));
    let twice = [found(5, 0), found(5, 9)];
    assert_eq!(
        class(&facts, &[], &twice),
        (Class::Duplicate, Some(Why::RedisTrimmed), Vec::new())
    );
    facts.whole = true;
    assert_eq!(class(&facts, &[], &twice).0, Class::Extra);
}

#[test]
fn a_generation_stands_for_its_entry_and_older_ones_for_themselves() {
    let mut facts = facts();
    (facts.generation, facts.shared_history) = (1, true);
    let mut newer = found(5, 3);
    newer.at.generation = 1;
    let (counts, findings) = compare(&facts, &[held(5)], &mut [found(5, 0), newer], |_| None);
    assert!(counts.adds_up());
    assert_eq!((counts.of(Class::Match), counts.of(Class::Extra)), (1, 1));
    assert_eq!(findings[0].why, Some(Why::RedisLostHistory));
    // One generation beyond the checkpoint's was written by nobody that we know.
    let mut foreign = found(5, 4);
    foreign.at.generation = 2;
    let (counts, _) = compare(&facts, &[held(5)], &mut [newer, foreign], |_| None);
    assert!(counts.adds_up() && counts.of(Class::Match) == 1 && counts.of(Class::Extra) == 1);
}

#[test]
fn what_kafka_lost_is_not_called_missing() {
    let (counts, findings) = compare(&facts(), &[held(5)], &mut [], |_| Some(Why::KafkaExpired));
    assert_eq!(counts.of(Class::Unverifiable), 1);
    assert_eq!(findings[0].why, Some(Why::KafkaExpired));
}

proptest! {
    #[test]
    fn every_identity_is_in_one_class(
        ids in prop::collection::btree_set(1..40u64, 0..20),
        // Of some there are more copies than are kept.
        records in prop::collection::vec((prop_oneof![1..40u64, Just(7)], 0..3u32, 0..3i32, any::<bool>(), any::<bool>()), 0..160),
        generation in 0..3u32,
        committed in 0..40u64,
        first in prop::option::of(1..40u64),
        last in prop::option::of(0..40u64),
        max_deleted in prop::option::of(0..40u64),
        absent in any::<bool>(),
        whole in any::<bool>(),
        shared_history in any::<bool>(),
    ) {
        let held: Vec<Held> = ids.iter().copied().map(held).collect();
        let mut found: Vec<Found> = records.iter().enumerate().map(|(offset, &(n, generation, partition, letter, behind))| {
            let mut one = found(n, offset as i64);
            one.at.generation = generation;
            one.at.partition = Partition(partition);
            one.behind = behind;
            if letter {
                one.what = What::Letter(9);
            }
            one
        }).collect();
        let remade = Remade { form: id(committed / 2), place: id(committed / 3) };
        let facts = Facts { remade, absent, whole, first: first.map(id), last: last.map(id), max_deleted: max_deleted.map(id), committed: id(committed), generation, shared_history };
        let lost = |held: &Held| held.id.ms.is_multiple_of(2).then_some(Why::KafkaExpired);
        let records = found.len() as u64;
        let mut few = found.clone();
        let (counts, findings) = compare(&facts, &held, &mut found, lost);
        // In two steps, as records come.
        let later = few.split_off(few.len() / 2);
        thin(&mut few);
        few.extend(later);
        thin(&mut few);
        prop_assert_eq!(compare(&facts, &held, &mut few, lost), (counts.clone(), findings.clone()));
        prop_assert!(counts.adds_up(), "{:?}", counts);
        prop_assert_eq!(counts.redis_entries, held.len() as u64);
        prop_assert_eq!(counts.kafka_records, records);
        prop_assert_eq!(findings.len() as u64, counts.total() - counts.of(Class::Match));
        prop_assert!(findings.iter().map(|finding| finding.records.len() as u64).sum::<u64>() + counts.of(Class::Match) <= counts.kafka_records);
    }
}

#[test]
fn an_id_that_the_stream_has_not_come_to_is_extra_though_redis_does_not_say_what_was_deleted() {
    let mut facts = Facts {
        max_deleted: None,
        ..facts()
    };
    let foreign = [found(2_000, 0)];
    assert_eq!(class(&facts, &[], &foreign).0, Class::Unverifiable);
    facts.last = Some(id(1_500));
    assert_eq!(class(&facts, &[], &foreign).0, Class::Extra);
}

#[test]
fn a_duplicate_of_a_record_and_a_dead_letter_says_how_many_it_has_of_each() {
    let letter = Found {
        what: What::Letter(9),
        ..found(5, 70)
    };
    let (counts, findings) = compare(&facts(), &[held(5)], &mut [found(5, 3), letter], |_| None);
    assert_eq!((counts.kafka_records, counts.copies), (2, 1));
    let [one] = &findings[..] else {
        panic!("{findings:?}");
    };
    assert_eq!((one.class, one.letters), (Class::Duplicate, false));
    assert_eq!((one.records.len(), one.beside), (1, 1));
}

#[test]
fn of_copies_without_end_the_first_few_are_kept_and_all_are_counted() {
    let letter = |offset| Found {
        what: What::Letter(9),
        ..found(5, offset)
    };
    let mut all: Vec<Found> = vec![found(4, 0), found(6, 1)];
    for offset in (10..10_010).rev() {
        all.push(found(5, offset));
        all.push(letter(offset));
        all.push(found(8, offset));
        if all.len() > 100 {
            thin(&mut all);
            assert!(all.len() <= 2 + 3 * PLACES, "{}", all.len());
        }
    }
    let held = [held(4), held(5), held(6)];
    let mut facts = facts();
    facts.max_deleted = Some(id(8));
    let (counts, findings) = compare(&facts, &held, &mut all, |_| None);
    assert!(counts.adds_up(), "{counts:?}");
    assert_eq!((counts.kafka_records, counts.copies), (30_002, 29_998));
    assert_eq!(
        (counts.of(Class::Match), counts.of(Class::Duplicate)),
        (2, 2)
    );
    let [both, alone] = &findings[..] else {
        panic!("{findings:?}");
    };
    let offsets: Vec<i64> = both.records.iter().map(|at| at.offset.0).collect();
    assert_eq!(offsets, Vec::from_iter(10..20));
    assert_eq!((both.more, both.beside), (9_990, 10_000));
    assert_eq!(
        (alone.records.len(), alone.more, alone.beside),
        (PLACES, 9_990, 0)
    );
}
