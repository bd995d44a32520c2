//! Windows given again: which pass they are of, and what a stream that holds fewer entries is said to have lost.

use super::*;
use crate::config;
use crate::streams::StreamState;

fn id(n: u64) -> EntryId {
    EntryId::new(n, 0)
}

fn window(stream: &str, after: u64, through: u64) -> WindowDigest {
    WindowDigest {
        database: 0,
        stream: stream.to_owned(),
        after: id(after),
        through: id(through),
        entries: 5,
        records: 5,
        digest: String::new(),
        kafka_digest: String::new(),
        level: true,
    }
}

fn routes() -> Routes {
    #[derive(serde::Deserialize)]
    struct File {
        routes: Vec<config::Route>,
    }
    let text =
        "[[routes]]\nname='r'\nstreams=['a','b']\ntopic='t'\npartitions=1\nvalue={field='v'}";
    let file: File = toml::from_str(text).expect("a route");
    Routes::compile("m", &file.routes, Database(0)).expect("a route")
}

#[test]
fn windows_are_those_of_their_stream_in_order_and_without_gaps() {
    let both = [window("b", 0, 3), window("a", 0, 9), window("b", 3, 4)];
    let passes = streams(&routes(), &both).expect("good windows");
    let of: Vec<(String, EntryId)> = passes
        .iter()
        .map(|pass| (pass.stream.to_string(), pass.scope.through))
        .collect();
    assert_eq!(of, [("0/a".to_owned(), id(9)), ("0/b".to_owned(), id(4))]);
    for wrong in [
        vec![window("b", 0, 3), window("b", 4, 5)],
        vec![window("c", 0, 3)],
    ] {
        assert!(matches!(streams(&routes(), &wrong), Err(Error::Usage(_))));
    }
}

#[test]
fn each_window_is_given_its_own_sums_whatever_the_order() {
    let both = [window("b", 0, 3), window("a", 0, 9), window("b", 3, 4)];
    let mut pass = Pass::new(
        1,
        streams(&routes(), &both).expect("good windows"),
        Vec::new(),
    );
    for (at, counts) in [(0, vec![1]), (1, vec![2, 3])] {
        for count in counts {
            let mut sum = Sum::default();
            (0..count).for_each(|hash| sum.add(hash));
            pass.streams[at].windows.push(super::super::Window {
                redis: sum,
                ..Default::default()
            });
        }
    }
    let again = compared(&both, &pass, &BTreeMap::new());
    let counts: Vec<u64> = again.iter().map(|again| again.redis.count).collect();
    assert_eq!(counts, [2, 1, 3]);
    assert_eq!(
        again[0].redis_lost,
        Some(Why::RedisDeleted),
        "no such stream"
    );
    assert_eq!(
        again[0].kafka_lost, None,
        "a log that begins at its beginning"
    );
}

#[test]
fn a_trim_and_a_deletion_are_told_from_a_change() {
    let now = |first: u64, deleted: Option<u64>| {
        let state = Inspected::Stream(StreamState {
            first: Some(id(first)),
            max_deleted_entry_id: deleted.map(id),
            ..StreamState::default()
        });
        redis_lost(&window("a", 10, 20), Some(&Ok(state)))
    };
    assert_eq!(now(15, Some(0)), Some(Why::RedisTrimmed));
    assert_eq!(now(5, Some(12)), Some(Why::RedisDeleted));
    assert_eq!(
        now(5, None),
        Some(Why::RedisDeleted),
        "Redis 6 does not say"
    );
    assert_eq!(now(5, Some(9)), None);
}

#[test]
fn a_log_loses_its_beginning_and_not_what_stands_behind_a_whole_window() {
    let kafka = |records: u64, letters: u64| {
        let mut now = Window::default();
        (0..records).for_each(|hash| now.kafka.add(hash.into()));
        now.letters = letters;
        now
    };
    let explained = |mut beginning: Beginning, now: &[(u64, u64)]| -> Vec<bool> {
        let before = window("a", 0, 9);
        let now = now
            .iter()
            .map(|&(records, letters)| kafka(records, letters));
        now.map(|now| beginning.explains(&before, &now)).collect()
    };
    let of = |records, letters| Beginning { records, letters };
    let end_gone = [(0, 0), (2, 0), (5, 0), (5, 0), (1, 0)];
    let expired = [true, true, false, false, false];
    assert_eq!(explained(of(true, false), &end_gone), expired);
    assert_eq!(explained(of(false, false), &end_gone), [false; 5]);
    // The dead-letter topic alone: no more than there were letters.
    let some = [(5, 0), (3, 2), (2, 2), (4, 0)];
    let letters = [false, true, false, false];
    assert_eq!(explained(of(false, true), &some), letters);
}

#[test]
fn another_topics_beginning_says_nothing_of_this_one() {
    use super::super::pass::{Extent, TopicPass};
    use crate::placement::Partition;
    let log = |topic: &str, low: i64| TopicPass {
        topic: topic.to_owned(),
        letters: false,
        answers: true,
        extents: vec![Extent {
            partition: Partition(0),
            low: Offset(low),
            start: Offset(low),
            next: Offset(9),
            end: Offset(9),
            counted: Offset(0),
            intact: false,
        }],
    };
    let streams = streams(&routes(), &[window("a", 0, 9)]).expect("good windows");
    let of = |logs| {
        let pass = Pass::new(1, streams.clone(), logs);
        let beginning = Beginning::of(&pass, &pass.streams[0]);
        (beginning.records, beginning.letters)
    };
    let letters = streams[0].letters.as_str();
    assert_eq!(of(vec![log("t", 0), log("other", 3)]), (false, false));
    assert_eq!(of(vec![log("t", 3), log(letters, 0)]), (true, false));
    assert_eq!(of(vec![log("t", 0), log(letters, 3)]), (false, true));
}
