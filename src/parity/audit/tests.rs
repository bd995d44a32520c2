//! The auditor is the mirror's guest; and what it knows goes by the routes as they are called now.

use super::super::class::{Class, Counts, Difference};
use super::super::store::StreamState;
use super::*;
use crate::entry::{Database, EntryId, StreamRef};
use crate::routing::Routes;
use crate::status::{ParityCell, Reason};

fn board(oldest_unmirrored: Option<Duration>) -> Arc<Board> {
    let board = Board::new("m", "a", [("r", "t")]);
    let stream = StreamRef::new(Database(0), "s");
    board.own_stream(&stream, "r", "t", Shard(0));
    let age = oldest_unmirrored.map(|age| i64::try_from(age.as_millis()).unwrap());
    board.stream(&stream, |cell| {
        cell.oldest_unmirrored_ms = age.map(|age| now_ms() - age);
    });
    Arc::new(board)
}

#[test]
fn it_rests_twice_as_long_as_it_works_while_the_mirror_is_behind() {
    let settings = config::Parity {
        yield_lag: Duration::from_secs(60),
        ..config::Parity::default()
    };
    let worked = Duration::from_millis(700);
    let rest = |board: &Arc<Board>| pace(board, &settings).rest_after(worked);
    let behind = board(Some(Duration::from_secs(3_600)));
    assert_eq!(rest(&behind), worked * 2);
    assert_eq!(rest(&board(Some(Duration::ZERO))), Duration::ZERO);
    assert_eq!(rest(&board(None)), Duration::ZERO);
    // It goes by the mirror as it is after each stretch, not as it was when the round began.
    let pace = pace(&behind, &settings);
    assert_eq!(pace.rest_after(worked), worked * 2);
    let stream = StreamRef::new(Database(0), "s");
    behind.stream(&stream, |cell| cell.oldest_unmirrored_ms = None);
    assert_eq!(pace.rest_after(worked), Duration::ZERO);
}

#[test]
fn a_shard_that_comes_to_run_is_waited_for_and_one_that_is_kept_from_it_is_not() {
    let board = board(None);
    let enter = |name, reason| board.shard(Shard(1), name, reason, None);
    assert!(!board.shards_start());
    enter(StateName::Waiting, Some(Reason::Starting));
    assert!(board.shards_start());
    enter(StateName::Waiting, Some(Reason::KafkaUnreachable));
    assert!(!board.shards_start());
    enter(StateName::Running, None);
    assert!(!board.shards_start());
}

fn routes(names: [&str; 2]) -> Routes {
    #[derive(serde::Deserialize)]
    struct File {
        routes: Vec<config::Route>,
    }
    let [a, b] = names;
    let text = format!(
        "[[routes]]\nname='{a}'\nstreams=['s']\ntopic='t'\npartitions=1\nvalue={{field='v'}}\n\
         [[routes]]\nname='{b}'\nstreams=['u']\ntopic='w'\npartitions=1\nvalue={{field='v'}}"
    );
    let file: File = toml::from_str(&text).expect("two routes");
    Routes::compile("m", &file.routes, Database(0)).expect("two routes")
}

#[test]
fn faults_of_a_route_that_was_renamed_are_shown_by_its_new_name() {
    let mut state = StreamState {
        counts: Counts::level(5, 0),
        verified_ms: Some(1),
        ..StreamState::begin("b", EntryId::ZERO, 0)
    };
    state.counts.add(&Counts::redis_alone(Class::Missing));
    state.open.insert(Class::Missing, 1);
    state.differences.push(Difference {
        class: Class::Missing,
        route: "b".to_owned(),
        database: Some(Database(0)),
        stream: Some("u".to_owned()),
        id: Some(EntryId::new(5, 1)),
        parts: Vec::new(),
        why: None,
        topic: "w".to_owned(),
        expected_partition: None,
        letters: 0,
        more: 0,
        records: Vec::new(),
    });
    let mut streams = BTreeMap::from([(StreamRef::new(Database(0), "u"), state)]);
    // Nothing is known of its checkpoint: it is called by its route all the same.
    held::renew(&mut streams, &BTreeMap::new(), &routes(["a", "b2"]));
    let now = SystemTime::now();
    let mut cell = ParityCell::starting(["a", "b2"], now, "starting");
    let knowledge = Knowledge {
        streams: streams.values().collect(),
        ..Knowledge::default()
    };
    level::tell(&mut cell, &knowledge, now);
    let found = &cell.routes["b2"].found;
    assert_eq!((found.classes["missing"], found.open["missing"]), (1, 1));
    assert_eq!(found.classes["match"], 5);
    assert_eq!(cell.open_differences[0].route, "b2");
}
