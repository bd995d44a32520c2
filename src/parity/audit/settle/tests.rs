//! Judging windows, records that come again and those above the checkpoint, without any store.

use super::*;
use crate::entry::{Database, StreamRef};
use crate::parity::class::Location;
use crate::parity::pass::{Later, Scope};
use crate::routing::Routes;

fn id(n: u64) -> EntryId {
    EntryId::new(n, 0)
}

fn state(matches: u64) -> StreamState {
    StreamState {
        counts: Counts::level(matches, 0),
        sealed: id(100),
        joined: true,
        ..StreamState::begin("r", EntryId::ZERO, 0)
    }
}

fn difference(class: Class, n: u64, records: i64) -> Difference {
    Difference {
        class,
        route: "r".to_owned(),
        database: Some(Database(0)),
        stream: Some("s".to_owned()),
        id: Some(id(n)),
        parts: Vec::new(),
        why: None,
        topic: "t".to_owned(),
        expected_partition: None,
        letters: 0,
        more: 0,
        records: (0..records)
            .map(|offset| Location {
                partition: Partition(0),
                offset: Offset(offset),
                generation: 0,
            })
            .collect(),
    }
}

/// What a look says where these differ and so many match.
fn looked(matches: u64, differences: Vec<Difference>) -> Looked {
    let mut counts = Counts::level(matches, 0);
    for difference in &differences {
        counts.add(&of_difference(difference));
    }
    Looked {
        counts,
        differences,
        ..Looked::default()
    }
}

fn suspect() -> Suspect {
    Suspect {
        after: id(90),
        through: id(100),
        entries: 10,
        looked: false,
    }
}

#[test]
fn a_fault_is_judged_by_the_second_look() {
    let (mut state, mut step, mut suspect) = (state(90), Step::default(), suspect());
    let faulty = || looked(9, vec![difference(Class::Missing, 95, 0)]);
    assert!(!judge_window(&mut state, &mut suspect, faulty(), &mut step));
    assert_eq!((state.counts.total(), state.faults()), (90, 0));
    assert!(judge_window(&mut state, &mut suspect, faulty(), &mut step));
    assert_eq!((state.counts.total(), state.faults()), (100, 1));
    assert_eq!((state.results.unequal, state.windows), (1, 1));
    assert!(state.counts.adds_up());
}

#[test]
fn what_has_arrived_by_the_second_look_is_no_fault() {
    let (mut state, mut step, mut suspect) = (state(90), Step::default(), suspect());
    let faulty = looked(9, vec![difference(Class::Missing, 95, 0)]);
    assert!(!judge_window(&mut state, &mut suspect, faulty, &mut step));
    assert!(judge_window(
        &mut state,
        &mut suspect,
        looked(10, vec![]),
        &mut step
    ));
    assert_eq!(
        (state.counts.of(Class::Match), state.results.sealed),
        (100, 1)
    );
}

#[test]
fn a_missing_entry_that_is_produced_again_is_a_match_and_counts_once() {
    let (mut state, mut step) = (state(90), Step::default());
    let mut missing = suspect();
    missing.looked = true;
    let faulty = looked(9, vec![difference(Class::Missing, 95, 0)]);
    judge_window(&mut state, &mut missing, faulty, &mut step);
    judge_again(&mut state, id(95), 1, looked(1, vec![]), &mut step);
    assert_eq!((state.faults(), state.differences.len()), (0, 0));
    assert_eq!(
        (state.counts.of(Class::Match), state.counts.total()),
        (100, 100)
    );
    assert_eq!(
        (state.counts.redis_entries, state.counts.kafka_records),
        (100, 100)
    );
    assert!(state.counts.adds_up());
}

#[test]
fn a_second_record_of_a_sealed_entry_makes_it_a_duplicate() {
    let (mut state, mut step) = (state(100), Step::default());
    let twice = || looked(0, vec![difference(Class::Duplicate, 50, 2)]);
    judge_again(&mut state, id(50), 1, twice(), &mut step);
    assert_eq!(
        (state.counts.of(Class::Duplicate), state.counts.total()),
        (1, 100)
    );
    assert_eq!((state.counts.kafka_records, state.counts.copies), (101, 1));
    assert!(state.counts.adds_up());
    // A third does not make it two.
    let thrice = looked(0, vec![difference(Class::Duplicate, 50, 3)]);
    judge_again(&mut state, id(50), 1, thrice, &mut step);
    assert_eq!(
        (state.faults(), state.counts.total(), state.counts.copies),
        (1, 100, 2)
    );
    assert!(state.counts.adds_up());
}

#[test]
fn a_duplicate_of_an_entry_that_redis_has_removed_is_taken_back_as_it_was_counted() {
    let (mut state, mut step) = (state(100), Step::default());
    let twice = || {
        let mut twice = difference(Class::Duplicate, 50, 2);
        twice.why = Some(Why::RedisTrimmed);
        looked(0, vec![twice])
    };
    judge_again(&mut state, id(50), 1, twice(), &mut step);
    assert_eq!((state.faults(), state.counts.redis_entries), (1, 99));
    judge_again(&mut state, id(50), 0, twice(), &mut step);
    assert_eq!((state.faults(), state.counts.total()), (1, 100));
    assert_eq!(
        (state.counts.kafka_records, state.counts.only_kafka),
        (101, 1)
    );
    assert!(state.counts.adds_up());
}

#[test]
fn a_record_of_an_id_that_never_was_is_an_identity_more() {
    let (mut state, mut step) = (state(100), Step::default());
    let extra = looked(0, vec![difference(Class::Extra, 50, 1)]);
    judge_again(&mut state, id(50), 1, extra, &mut step);
    assert_eq!(
        (state.counts.of(Class::Extra), state.counts.total()),
        (1, 101)
    );
    // Kafka's retention takes it away.
    judge_again(&mut state, id(50), 0, looked(0, vec![]), &mut step);
    assert_eq!((state.faults(), state.counts.total()), (0, 100));
    assert!(state.counts.adds_up());
}

#[test]
fn faults_beyond_those_that_are_listed_are_counted_and_taken_back() {
    let (mut state, mut step) = (state(0), Step::default());
    let mut whole = suspect();
    whole.looked = true;
    let many = OPEN as u64 + 5;
    let faulty = (1..=many)
        .map(|n| difference(Class::Missing, n, 0))
        .collect();
    judge_window(&mut state, &mut whole, looked(0, faulty), &mut step);
    assert_eq!((state.faults(), state.differences.len()), (many, OPEN));
    for n in 1..=many {
        judge_again(&mut state, id(n), 1, looked(1, vec![]), &mut step);
    }
    assert_eq!((state.faults(), state.counts.of(Class::Match)), (0, many));
    assert!(state.counts.adds_up());
}

fn pass() -> StreamPass {
    #[derive(serde::Deserialize)]
    struct File {
        routes: Vec<crate::config::Route>,
    }
    let text = "[[routes]]\nname='r'\nstreams=['s']\ntopic='t'\npartitions=1\nvalue={field='v'}";
    let file: File = toml::from_str(text).expect("a route");
    let routes = Routes::compile("m", &file.routes, Database(0)).expect("a route");
    let stream = StreamRef::new(Database(0), "s");
    let binding = routes.bind(&stream).expect("its stream");
    let scope = Scope {
        after: id(100),
        through: id(100),
        ..Scope::default()
    };
    StreamPass::new(stream, binding, scope)
}

#[test]
fn records_beyond_those_that_a_pass_names_are_open_too_and_end_in_a_comparison_anew() {
    let (mut state, mut step) = (state(0), Step::default());
    let mut pass = pass();
    pass.below.insert(Why::UnknownId, 1_500);
    let one = |n: u64| {
        let one = Beside {
            id: id(200 + n),
            at: difference(Class::Extra, n, 1).records[0],
            hash: 0,
            letter: false,
            repaired: false,
        };
        (Why::UnknownId, one)
    };
    pass.below_examples = (0..1_000).map(one).collect();
    fold(&mut state, &pass, 0, (None, None), &mut step);
    assert_eq!((state.faults(), state.differences.len()), (1_500, OPEN));
    // Kafka loses those that are named.
    for n in 0..1_000 {
        judge_again(&mut state, id(200 + n), 0, looked(0, vec![]), &mut step);
    }
    assert_eq!(state.faults(), 500, "nobody has looked at the others");
    assert!(state.lost_its_faults());
}

#[test]
fn a_stream_of_which_not_all_repeats_were_kept_is_not_verified_until_it_was_compared_anew() {
    let (mut state, mut step) = (state(100), Step::default());
    state.verified_ms = Some(5);
    let mut pass = pass();
    pass.unkept = 1;
    // Some of them were kept; how many of its identity came is not known from that.
    pass.behind.push(Beside {
        id: id(50),
        at: difference(Class::Duplicate, 50, 1).records[0],
        hash: 0,
        letter: false,
        repaired: false,
    });
    fold(&mut state, &pass, 0, (None, None), &mut step);
    assert_eq!((state.anew, state.verified_ms), (true, None));
    assert!(step.reopened.is_empty());
}

#[test]
fn an_open_fault_is_counted_once_however_often_it_is_looked_at() {
    let (mut state, mut step) = (state(100), Step::default());
    let twice = || looked(0, vec![difference(Class::Duplicate, 50, 2)]);
    for more in [1, 0, 0] {
        judge_again(&mut state, id(50), more, twice(), &mut step);
    }
    assert_eq!(step.ended, BTreeMap::from([(Class::Duplicate, 1)]));
    // It ends as something else, and that too counts once.
    judge_again(&mut state, id(50), 0, looked(1, vec![]), &mut step);
    judge_again(&mut state, id(50), 0, looked(1, vec![]), &mut step);
    let ends = [(Class::Duplicate, 1), (Class::Match, 1)];
    assert_eq!(step.ended, BTreeMap::from(ends));
}

#[test]
fn a_record_that_kafka_lost_and_that_came_again_takes_back_the_match_that_it_was() {
    let (mut state, mut step) = (state(100), Step::default());
    judge_again(&mut state, id(50), 1, looked(1, vec![]), &mut step);
    assert!(state.counts.adds_up() && !state.anew);
    assert_eq!(
        (state.counts.of(Class::Match), state.counts.kafka_records),
        (100, 100)
    );
}

#[test]
fn a_repeat_where_nothing_can_be_verified_takes_back_what_was_not_verified() {
    let mut of_other_settings = Counts::default();
    for _ in 0..3 {
        of_other_settings.add(&Counts::both(Class::Unverifiable, 1));
    }
    for counted in [
        of_other_settings,
        Counts::kafka_alone(Class::Unverifiable, 3),
    ] {
        let (mut state, mut step) = (state(0), Step::default());
        state.counts = counted;
        let twice = looked(0, vec![difference(Class::Duplicate, 50, 2)]);
        judge_again(&mut state, id(50), 1, twice, &mut step);
        assert!(state.counts.adds_up() && !state.anew, "{:?}", state.counts);
        let counts = &state.counts;
        assert_eq!(
            (counts.of(Class::Unverifiable), counts.of(Class::Duplicate)),
            (2, 1)
        );
    }
}

#[test]
fn what_was_counted_as_nothing_that_is_known_is_compared_anew_and_the_counts_stand() {
    let (mut state, mut step) = (state(0), Step::default());
    state.counts = Counts::redis_alone(Class::Missing);
    state.open.insert(Class::Missing, 1);
    state.differences.push(difference(Class::Missing, 7, 0));
    state.verified_ms = Some(5);
    let before = state.counts.clone();
    judge_again(&mut state, id(50), 1, looked(1, vec![]), &mut step);
    assert_eq!((state.anew, state.verified_ms), (true, None));
    assert_eq!(state.counts, before);
    assert_eq!(state.faults(), 1, "it stands until all is compared");
    // Listed, and not in the counts.
    let mut state = StreamState {
        counts: Counts::level(3, 0),
        anew: false,
        ..state
    };
    judge_again(&mut state, id(7), 1, looked(1, vec![]), &mut step);
    assert!(state.anew && state.counts == Counts::level(3, 0));
}

#[test]
fn records_above_the_checkpoint_are_read_again_from_their_first_and_cast_no_doubt() {
    let (mut state, mut step) = (state(100), Step::default());
    let mut pass = pass();
    pass.later.push(Later {
        letter: false,
        partition: Partition(3),
        first: Offset(70),
        records: 50_000,
    });
    fold(&mut state, &pass, 0, (None, None), &mut step);
    assert!(!state.anew && step.overdue.is_empty());
    assert_eq!(state.carried, BTreeMap::from([(3, Offset(70))]));
    let first = (false, Partition(3), Offset(70));
    assert_eq!(step.carried, BTreeSet::from([first]));
}

#[test]
fn a_duplicate_of_a_record_and_a_dead_letter_is_taken_back_whole() {
    let (mut state, mut step) = (state(100), Step::default());
    let both = || {
        let mut both = difference(Class::Duplicate, 50, 1);
        both.letters = 1;
        Looked {
            counts: Counts::both(Class::Duplicate, 2),
            differences: vec![both],
            ..Looked::default()
        }
    };
    for more in [1, 0, 0] {
        judge_again(&mut state, id(50), more, both(), &mut step);
        assert_eq!((state.counts.kafka_records, state.counts.copies), (101, 1));
    }
    assert!(state.counts.adds_up());
}

#[test]
fn what_may_be_missing_without_being_listed_has_no_record_that_is_looked_for() {
    let mut state = state(100);
    assert_eq!(records_counted(&state, id(50)), 1);
    state.open.insert(Class::Missing, 1);
    assert_eq!(records_counted(&state, id(50)), 0);
    state.differences.push(difference(Class::Missing, 60, 0));
    assert_eq!(
        records_counted(&state, id(50)),
        1,
        "the missing one is listed"
    );
}

#[test]
fn a_difference_counts_the_records_that_it_does_not_list_and_one_of_before_lists_all() {
    let mut one = difference(Class::Duplicate, 5, 10);
    let stored = serde_json::to_string(&one).expect("plain data");
    assert!(
        !stored.contains("more"),
        "as it was stored before: {stored}"
    );
    let read: Difference = serde_json::from_str(&stored).expect("stored before");
    assert_eq!(read, one);
    (one.more, one.letters) = (90, 3);
    assert_eq!(of_difference(&one), Counts::both(Class::Duplicate, 103));
}
