//! What a pass takes for granted: floors, names, levels and progress.

use std::collections::BTreeMap;

use super::super::class::{Class, Location, Why};
use super::kafka::Kept;
use super::stream::stream_key;
use super::*;
use crate::entry::{Database, EntryId, StreamName, StreamRef};
use crate::placement::Partition;

fn id(n: u64) -> EntryId {
    EntryId::new(n, 0)
}

fn scope(after: u64, through: u64, first: Option<u64>, last: u64) -> Scope {
    Scope {
        after: id(after),
        through: id(through),
        committed: id(through),
        first: first.map(id),
        last: id(last),
        max_deleted: Some(EntryId::ZERO),
        length: last,
        ..Scope::default()
    }
}

fn stream_pass(scope: Scope) -> StreamPass {
    StreamPass {
        stream: StreamRef::new(Database(0), "s"),
        route: String::new(),
        topic: String::new(),
        letters: String::new(),
        windows: Vec::new(),
        read: 0,
        passed_over: 0,
        cursor: scope.floor(),
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
        binding: None,
        scope,
    }
}

#[test]
fn what_redis_still_has_begins_at_its_first_entry_and_behind_the_scope() {
    assert_eq!(scope(5, 9, Some(1), 9).floor(), EntryId::new(5, 1));
    assert_eq!(scope(5, 9, Some(7), 9).floor(), id(7));
    assert_eq!(scope(5, 9, None, 9).floor(), EntryId::new(9, 1));
}

#[test]
fn an_id_is_unknown_only_where_nothing_can_have_gone() {
    let mut seen = scope(0, 9, Some(3), 9);
    assert!(seen.never_had(id(10)) && !seen.never_had(id(2)) && !seen.never_had(id(5)));
    seen.absent = true;
    assert!(!seen.never_had(id(2)) && !seen.never_had(id(10)));
}

#[test]
fn below_the_first_entry_a_record_is_extra_where_nothing_was_ever_taken_away() {
    let mut seen = scope(0, 9, Some(3), 9);
    assert_eq!(seen.why_below(id(2), 0), Why::RedisTrimmed);
    seen.max_deleted = Some(id(2));
    assert_eq!(seen.why_below(id(2), 0), Why::RedisDeleted);
    seen.whole = true;
    assert_eq!(seen.why_below(id(2), 0), Why::UnknownId);
    seen.generation = 1;
    assert_eq!(seen.why_below(id(2), 0), Why::RedisDeleted, "an older life");
    let mut pass = stream_pass(seen);
    pass.below = BTreeMap::from([(Why::UnknownId, 2), (Why::RedisTrimmed, 5)]);
    let counts = pass.counts();
    assert_eq!(
        (counts.of(Class::Extra), counts.of(Class::Unverifiable)),
        (2, 5)
    );
    assert!(counts.adds_up());
}

#[test]
fn a_stream_reads_back_whatever_its_name() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Holder(#[serde(with = "stream_key")] StreamRef);
    let stream = StreamRef {
        database: Database(3),
        name: StreamName::from(&[0xff, b'/', 0][..]),
    };
    let text = serde_json::to_string(&Holder(stream.clone())).expect("plain");
    assert_eq!(
        serde_json::from_str::<Holder>(&text).expect("as written").0,
        stream
    );
}

#[test]
fn a_window_is_level_only_in_order() {
    let mut window = Window::default();
    window.redis.add(5);
    window.kafka.add(5);
    assert!(window.is_level());
    window.disorder = true;
    assert!(!window.is_level());
}

#[test]
fn a_part_of_a_stream_is_counted_by_the_times_of_its_ids() {
    let wanted = |scope: Scope| stream_pass(scope).wanted();
    assert_eq!(wanted(scope(0, 100, Some(1), 100)), 100);
    assert_eq!(wanted(scope(0, 50, Some(1), 100)), 50);
    assert_eq!(wanted(scope(50, 100, Some(1), 100)), 51);
    assert_eq!(wanted(scope(0, 100, None, 100)), 0);
}

#[test]
fn windows_that_were_cut_before_are_cut_there_again_even_where_nothing_is_left() {
    let mut pass = StreamPass {
        cuts: vec![id(3), id(5), id(9)],
        ..stream_pass(scope(0, 9, Some(1), 9))
    };
    pass.cut_before(id(4));
    assert_eq!(pass.windows.len(), 2, "the empty one and the one with 4");
    pass.cut_before(id(5));
    assert_eq!(pass.windows.len(), 2);
    pass.close();
    let ends: Vec<EntryId> = pass.windows.iter().map(|window| window.through).collect();
    assert_eq!(ends, [id(3), id(5), id(9)]);
}

#[test]
fn what_is_read_and_not_kept_is_noticed() {
    let mut stream = stream_pass(scope(0, 9, Some(1), 9));
    let mut window = Window::default();
    window.redis.add(5);
    window.kafka.add(5);
    stream.windows.push(window);
    (stream.read, stream.passed_over, stream.orphans) = (3, 2, 1);
    let mut pass = Pass::new(1, vec![stream], Vec::new());
    (pass.kafka_records, pass.passed_over) = (6, 4);
    assert_eq!(pass.unaccounted(), None);
    assert_eq!(pass.read(), Read { redis: 1, kafka: 2 });
    pass.kafka_records += 1;
    let why = pass.unaccounted().expect("a record went nowhere");
    assert_eq!(
        why,
        "1 entries and 3 records were read, 1 and 2 are kept of them"
    );
    pass.passed_over += 1;
    pass.streams[0].read += 1;
    assert!(pass.unaccounted().is_some(), "an entry went nowhere");
}

#[test]
fn what_an_auditor_goes_on_with_is_read_as_it_was_begun() {
    let begun = Pass::of_audit(1, Vec::new(), Vec::new());
    let resumed = Pass::resumed(1, Vec::new(), Vec::new());
    let how = |pass: &Pass| (pass.lots, pass.covers_all, pass.keeps_beside);
    assert_eq!(how(&begun), how(&resumed));
    assert_eq!(how(&begun), (u64::MAX, true, true));
}

/// A record of this id.
fn beside(n: u64, partition: i32, offset: i64) -> Beside {
    Beside {
        id: id(n),
        at: Location {
            partition: Partition(partition),
            offset: Offset(offset),
            generation: 0,
        },
        hash: 0,
        letter: false,
        repaired: false,
    }
}

#[test]
fn however_many_records_are_above_the_checkpoint_only_where_they_begin_is_kept() {
    let mut pass = Pass::new(0, vec![stream_pass(scope(5, 9, Some(1), 9))], Vec::new());
    let stream = &mut pass.streams[0];
    for n in 0..30_000 {
        let one = beside(10 + n, i32::try_from(n % 2).unwrap(), 40_000 - n as i64);
        assert_eq!(stream.take_beside(one, true, false), Kept::Counted);
    }
    let begin = |at: usize| (stream.later[at].partition.0, stream.later[at].first.0);
    assert_eq!((begin(0), begin(1)), ((0, 10_002), (1, 10_001)));
    assert_eq!((stream.later.len(), stream.unkept), (2, 0));
    // One that was above it before is to be looked at by itself.
    let overdue = stream.take_beside(beside(99, 0, 7), false, true);
    assert_eq!((overdue, stream.ahead.len()), (Kept::Whole, 1));
    pass.kafka_records = 30_001;
    assert_eq!(pass.unaccounted(), None);
}

#[test]
fn what_is_read_again_because_of_another_stream_is_not_kept() {
    let mut stream = stream_pass(scope(5, 9, Some(1), 9));
    let known = |stream: &mut StreamPass| stream.take_beside(beside(3, 0, 70), false, true);
    assert_eq!(
        known(&mut stream),
        Kept::Whole,
        "its logs were not all read"
    );
    stream.scope.carried = Some(BTreeMap::new());
    assert_eq!(known(&mut stream), Kept::Not);
    stream.scope.carried = Some(BTreeMap::from([(0, Offset(70))]));
    assert_eq!(known(&mut stream), Kept::Not, "it is the first that was");
    stream.scope.carried = Some(BTreeMap::from([(0, Offset(69))]));
    assert_eq!(
        known(&mut stream),
        Kept::Whole,
        "a later entry may stand before it"
    );
    let repeat = stream.take_beside(beside(3, 0, 90), true, true);
    assert_eq!((repeat, stream.behind.len()), (Kept::Whole, 3));
    assert_eq!(
        stream.take_beside(beside(3, 0, 91), true, false),
        Kept::Counted
    );
    assert_eq!(stream.unkept, 1);
}
