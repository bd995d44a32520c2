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
