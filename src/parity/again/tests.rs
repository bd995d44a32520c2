//! Windows given again: which pass they are of, and what a stream that holds fewer entries is said to have lost.

use super::super::pass::{Extent, TopicPass, Window};
use super::*;
use crate::config;
use crate::placement::{Offset, Partition};
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
    let text = "[[routes]]\nname='r'\nstreams=['a','b']\ntopic='t'\npartitions=1\nvalue={field='v'}\n\
        dead_letters='t.dlq'";
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

/// A log whose partitions begin here.
fn log(topic: &str, letters: bool, lows: &[i64]) -> TopicPass {
    let extent = |(partition, low): (i32, &i64)| Extent {
        partition: Partition(partition),
        low: Offset(*low),
        start: Offset(*low),
        next: Offset(90),
        end: Offset(90),
        counted: Offset(0),
        intact: false,
    };
    TopicPass {
        topic: topic.to_owned(),
        letters,
        answers: true,
        extents: (0..).zip(lows).map(extent).collect(),
    }
}

type Firsts<'a> = &'a [(i32, Option<u64>)];

/// What stream `a` may have lost of these logs, where these records and letters are the first that are left.
fn expired(logs: Vec<TopicPass>, records: Firsts<'_>, letters: Firsts<'_>) -> Expired {
    let firsts = |firsts: Firsts<'_>| -> BTreeMap<i32, Option<EntryId>> {
        let firsts = firsts.iter().copied();
        firsts.map(|(at, first)| (at, first.map(id))).collect()
    };
    let mut streams = streams(&routes(), &[window("a", 0, 9)]).expect("good windows");
    streams[0].first = firsts(records);
    streams[0].first_letter = firsts(letters);
    let pass = Pass::new(1, streams, logs);
    Expired::of(&pass, &pass.streams[0])
}

/// Five entries after 10, 20 and so on, of which so many records and route's letters are there now; Redis has them all.
fn explained(expired: &Expired, now: &[(u64, u64)]) -> Vec<bool> {
    let windows = (1..).zip(now).map(|(nth, &(records, letters))| {
        let mut now = Window::default();
        (0..records).for_each(|hash| now.kafka.add(hash.into()));
        (0..5).for_each(|hash| now.redis.add(hash));
        now.letters = letters;
        (window("a", nth * 10, nth * 10 + 10), now)
    });
    windows
        .map(|(before, now)| expired.explains(&before, &now))
        .collect()
}

const FEWER: [(u64, u64); 4] = [(0, 0), (2, 0), (4, 0), (1, 0)];

#[test]
fn a_log_loses_its_beginning_and_not_what_stands_behind_what_is_left() {
    let one = |low, first| expired(vec![log("t", false, &[low])], &[(0, first)], &[]);
    let lost = explained(&one(7, Some(25)), &FEWER);
    assert_eq!(lost, [true, true, false, false]);
    assert_eq!(explained(&one(0, Some(25)), &FEWER), [false; 4]);
    assert_eq!(explained(&one(7, None), &FEWER), [true; 4]);
    assert_eq!(explained(&one(7, None), &[(5, 0)]), [false], "all there");
}

#[test]
fn each_partition_has_its_own_beginning() {
    let logs = || vec![log("t", false, &[0, 7, 7])];
    // The quiet one has all; a window that is whole because its records are there ends nothing.
    let hot = expired(logs(), &[(0, Some(1)), (1, Some(35))], &[]);
    let lost = explained(&hot, &[(2, 0), (5, 0), (4, 0), (4, 0)]);
    assert_eq!(lost, [true, false, true, false]);
    // Where no entry of the stream belongs it has lost nothing; that is known while Redis has the entries.
    let before = window("a", 40, 50);
    let mut trimmed = Window::default();
    trimmed.kafka.add(1);
    assert!(hot.explains(&before, &trimmed));
}

#[test]
fn lost_letters_are_no_more_than_there_were_as_far_as_that_is_known() {
    let letters = |first: Firsts<'_>| {
        let logs = vec![log("t", false, &[0]), log("t.dlq", true, &[3])];
        expired(logs, &[(0, Some(1))], first)
    };
    let gone = letters(&[(0, Some(35))]);
    let some = [(3, 2), (2, 2), (4, 1), (4, 1)];
    assert_eq!(explained(&gone, &some), [true, false, true, false]);
    assert_eq!(explained(&letters(&[]), &some), [true, false, true, true]);
    // What the broker refused is a letter that the route does not know of; what Redis no longer has, nobody knows of.
    let mut now = Window::default();
    (0..4).for_each(|hash| now.kafka.add(hash));
    let mut before = window("a", 10, 20);
    assert!(gone.explains(&before, &now), "trimmed");
    (0..5).for_each(|hash| now.redis.add(hash));
    assert!(!gone.explains(&before, &now));
    before.level = false;
    assert!(gone.explains(&before, &now), "refused by the broker");
}

#[test]
fn another_topics_beginning_and_what_was_not_read_say_nothing() {
    let other = expired(
        vec![log("t", false, &[0]), log("other", false, &[7])],
        &[],
        &[],
    );
    assert_eq!(explained(&other, &FEWER), [false; 4]);
    let mut part = log("t", false, &[7]);
    part.extents[0].start = Offset(50);
    let part = expired(vec![part], &[(0, Some(25))], &[]);
    assert_eq!(explained(&part, &FEWER), [false; 4]);
}
