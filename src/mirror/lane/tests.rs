//! What becomes of a stream that goes while nobody reads: what the last look at it saw is counted, once.

use super::*;
use crate::config;
use crate::entry::{Database, Fields, StreamRef};
use crate::flags::FlagsWriter;
use crate::metrics::Metrics;
use crate::mirror::Throttle;
use crate::placement::{Shard, Topic};
use crate::routing::Routes;
use crate::status::Board;
use crate::streams::Redis;
use crate::topics::{Admin, Kafka};
use std::time::Duration;

pub(in crate::mirror) fn shared() -> Shared {
    let route: config::Route = toml::from_str(
        "name='r'\nstreams=['s']\ntopic='t'\npartitions=1\nvalue={field='v'}\non_gap='record'",
    )
    .unwrap();
    let kafka = Kafka::new(&config::Kafka::default()).unwrap();
    let board = Arc::new(Board::new("m", "i", [("r", "t")]));
    board.own_stream(&stream(), "r", "t", Shard(0));
    Shared {
        migration: "m".to_owned(),
        checkpoints: Topic::from("checkpoints"),
        routes: Arc::new(Routes::compile("m", &[route], Database(0)).unwrap()),
        redis: Redis::new(&config::Redis::default()).unwrap(),
        admin: Admin::new(&kafka).unwrap(),
        kafka,
        shards: config::Shards::default(),
        discovery_interval: Duration::ZERO,
        session_timeout: Duration::ZERO,
        throttle: Arc::new(Throttle::default()),
        metrics: Arc::new(Metrics::new(Arc::clone(&board), "m").unwrap()),
        board,
        told: FlagsWriter::new("m").1,
    }
}

fn stream() -> StreamRef {
    StreamRef::new(Database(0), "s")
}

fn id(ms: u64) -> EntryId {
    EntryId::new(ms, 0)
}

fn after(ms: u64, generation: u32, added: u64) -> Position {
    Position {
        id: id(ms),
        generation,
        entries_added: Some(added),
        ..Position::default()
    }
}

/// The lane of a term that begins there, with what the board knows.
fn lane(shared: &Shared, position: &Position) -> Lane {
    let binding = shared.routes.bind(&stream()).unwrap();
    let slot = Slot {
        index: 0,
        stream: stream(),
        on_gap: binding.route().config().on_gap,
        lifted: None,
        route_hash: String::new(),
        placement_hash: String::new(),
        binding,
    };
    let mut before = None;
    shared.board.stream(&stream(), |cell| {
        cell.generation = position.generation;
        cell.added_at_checkpoint = position.entries_added;
        before = Some(cell.clone());
    });
    Lane::new(Arc::new(slot), position, before.as_ref())
}

/// A look while nobody read.
fn seen(shared: &Shared, entries_added: u64) {
    let seen = Observation {
        at_ms: 1,
        entries_added,
        length: entries_added,
    };
    shared
        .board
        .stream(&stream(), |cell| cell.observe(seen, Instant::now()));
}

/// So many entries from the first, all of which stand.
fn whole(first: u64, entries: u64) -> Inspected {
    Inspected::Stream(StreamState {
        length: entries,
        last_generated_id: id(first + entries - 1),
        entries_added: Some(entries),
        max_deleted_entry_id: None,
        first: Some(id(first)),
        groups: 0,
    })
}

const fn anew(cause: GapCause, entries: u64) -> Verdict {
    Verdict::Anew(Gap { cause, entries })
}

#[test]
fn what_was_seen_before_the_term_is_counted_until_the_count_is_committed() {
    let shared = shared();
    let checkpoint = after(10, 0, 10);
    lane(&shared, &checkpoint);
    seen(&shared, 60);
    for _ in 0..2 {
        // The first of these terms does not come to commit it.
        let mut lane = lane(&shared, &checkpoint);
        let verdict = lane.judge(&shared, &Inspected::Absent, None);
        assert_eq!(verdict, anew(GapCause::Deleted, 50));
        let verdict = lane.judge(&shared, &Inspected::Absent, None);
        assert_eq!(verdict, Verdict::Go(None), "once a term");
    }
    let mut lane = lane(&shared, &after(0, 1, 0));
    let verdict = lane.judge(&shared, &Inspected::Absent, None);
    assert_eq!(verdict, Verdict::Go(None), "it is committed");
}

#[test]
fn what_was_read_and_not_committed_is_part_of_what_a_later_term_counts() {
    let shared = shared();
    let checkpoint = after(10, 0, 10);
    let mut first = lane(&shared, &checkpoint);
    first.judge(&shared, &whole(1, 60), None);
    let read: Vec<Entry> = (11..=40)
        .map(|ms| Entry {
            id: id(ms),
            fields: Fields::default(),
        })
        .collect();
    first.advance(&read);
    let verdict = first.judge(&shared, &Inspected::Absent, None);
    assert_eq!(verdict, anew(GapCause::Deleted, 20));
    let mut second = lane(&shared, &checkpoint);
    let verdict = second.judge(&shared, &Inspected::Absent, None);
    assert_eq!(verdict, anew(GapCause::Deleted, 50));
}

#[test]
fn a_stream_of_which_nothing_is_mirrored_yet_goes_with_what_was_seen_of_it() {
    let checkpoint = after(0, 0, 0);
    let begun = || {
        let shared = shared();
        lane(&shared, &checkpoint);
        seen(&shared, 20);
        let lane = lane(&shared, &checkpoint);
        (shared, lane)
    };
    let (shared, mut gone) = begun();
    assert!(gone.is_gone(&Inspected::Absent));
    let verdict = gone.judge(&shared, &Inspected::Absent, None);
    assert_eq!(verdict, anew(GapCause::Deleted, 20));

    let (shared, mut fewer) = begun();
    let verdict = fewer.judge(&shared, &whole(100, 5), None);
    assert_eq!(verdict, anew(GapCause::Recreated, 20));
    let verdict = fewer.judge(&shared, &whole(100, 5), None);
    assert_eq!(verdict, Verdict::Go(None), "once");

    let (shared, mut same) = begun();
    let verdict = same.judge(&shared, &whole(1, 20), None);
    assert_eq!(verdict, Verdict::Go(None));

    // Seen to be gone, whatever came in its place.
    let (shared, _) = begun();
    shared.board.stream(&stream(), |cell| cell.note_gone(0, 20));
    let verdict = lane(&shared, &checkpoint).judge(&shared, &whole(100, 30), None);
    assert_eq!(verdict, anew(GapCause::Recreated, 20));
}

#[test]
fn a_stream_that_went_is_not_gone_on_with_where_the_next_one_has_later_ids() {
    // Sixty were seen, ten of them mirrored; fifty of another were added, and all but ten trimmed.
    let trimmed = Inspected::Stream(StreamState {
        length: 10,
        last_generated_id: id(149),
        entries_added: Some(50),
        max_deleted_entry_id: None,
        first: Some(id(140)),
        groups: 0,
    });
    let checkpoint = after(10, 0, 10);
    let note_gone = |shared: &Shared| {
        shared.board.stream(&stream(), |cell| cell.note_gone(0, 60));
    };
    let shared_before = shared();
    lane(&shared_before, &checkpoint);
    note_gone(&shared_before);
    let mut lane_after = lane(&shared_before, &checkpoint);
    let verdict = lane_after.judge(&shared_before, &trimmed, None);
    assert_eq!(verdict, anew(GapCause::Recreated, 50));
    assert_eq!(lane_after.generation, 1);
    let verdict = lane_after.judge(&shared_before, &trimmed, None);
    assert_eq!(verdict, Verdict::Go(None), "once");

    // Found while the term's own reader did not look.
    let shared_beside = shared();
    let mut lane_beside = lane(&shared_beside, &checkpoint);
    note_gone(&shared_beside);
    let verdict = lane_beside.judge(&shared_beside, &trimmed, None);
    assert_eq!(verdict, anew(GapCause::Recreated, 50));
}

#[test]
fn what_goes_before_the_stream_comes_to_its_beginning_is_no_loss() {
    let shared = shared();
    let ahead = Position {
        id: id(90),
        began: id(90),
        ..Position::default()
    };
    lane(&shared, &ahead);
    shared.board.stream(&stream(), |cell| cell.note_gone(0, 60));
    let mut lane = lane(&shared, &ahead);
    let verdict = lane.judge(&shared, &whole(1, 5), None);
    assert_eq!((verdict, lane.generation), (Verdict::Go(None), 0));
}

#[test]
fn the_first_entries_of_a_stream_made_anew_are_not_the_old_ones() {
    let shared = shared();
    let checkpoint = after(0, 0, 0);
    lane(&shared, &checkpoint);
    seen(&shared, 20);
    let mut lane = lane(&shared, &checkpoint);
    let from = lane.mark;
    let read: Vec<Entry> = (100..105)
        .map(|ms| Entry {
            id: id(ms),
            fields: Fields::default(),
        })
        .collect();
    lane.advance(&read);
    let Inspected::Stream(state) = whole(100, 5) else {
        unreachable!("it is a stream")
    };
    let (verdict, old) = lane.judge_read(&shared, &Inspected::Stream(state), from);
    assert_eq!(verdict, anew(GapCause::Recreated, 20));
    assert_eq!(old, None, "they are read again in the next generation");
}
