//! Routes as a whole: what is refused, what is bound, and what stays the same.

use super::*;
use crate::config::{self, Problem};
use crate::entry::{Database, Entry, EntryId, Field, StreamRef};

/// `[[routes]]` tables as in a configuration file.
fn configs(toml: &str) -> Vec<config::Route> {
    #[derive(serde::Deserialize)]
    struct File {
        routes: Vec<config::Route>,
    }
    toml::from_str::<File>(toml).expect(toml).routes
}

pub(super) fn compile(toml: &str) -> Routes {
    Routes::compile("test", &configs(toml), Database(0)).expect(toml)
}

fn problems(toml: &str) -> Vec<Problem> {
    Routes::compile("test", &configs(toml), Database(0)).expect_err(toml)
}

fn problem_keys(toml: &str) -> Vec<String> {
    problems(toml)
        .into_iter()
        .map(|problem| problem.key)
        .collect()
}

/// One route with these settings beside the needful.
fn route(settings: &str) -> String {
    format!("[[routes]]\nname = 'r'\nvalue = {{ field = 'data' }}\n{settings}\n")
}

pub(super) fn entry(id: EntryId, fields: &[(&str, &str)]) -> Entry {
    let fields = fields.iter().map(|(name, value)| Field {
        name: (*name).into(),
        value: (*value).into(),
    });
    Entry {
        id,
        fields: fields.collect(),
    }
}

fn stream(name: &str) -> StreamRef {
    StreamRef::new(Database(0), name)
}

#[test]
fn every_problem_is_told_at_once_with_its_key() {
    let keys = problem_keys(
        "
        [[routes]]
        name = 'a'
        streams = ['a:{5..1}', 'lockgate:x', 'a:*']
        topic = 'a $1'
        partitions = 0
        key = { field = 'data', pointer = 'id' }
        partition = { hash = 'crc32', seed = 4, reading = 'legacy-js', fold = 'mask31' }
        headers = { redis-id = { field = 'x' }, lockgate-x = { field = 'x', pointer = '/~' } }
        headers_from = { field = 'metadata', pointer = 'x' }
        value = { json = [] }
        dead_letters = 'lockgate.mine'
        [[routes]]
        name = 'b'
        streams = ['a:b', 'c']
        topic = 'b.$1'
        partitions = 1
        key = { capture = 1 }
        partition = { hash = 'stream-index' }
        value = { all = false }
        ",
    );
    assert_eq!(
        keys,
        [
            "routes[0].topic",
            "routes[0].dead_letters",
            "routes[0].streams[0]",
            "routes[0].streams[1]",
            "routes[0].partitions",
            "routes[0].key.pointer",
            "routes[0].partition.fold",
            "routes[0].partition.seed",
            "routes[0].partition.reading",
            "routes[0].headers.lockgate-x",
            "routes[0].headers.lockgate-x.pointer",
            "routes[0].headers.redis-id",
            "routes[0].headers_from.pointer",
            "routes[0].value.json",
            "routes[1].topic",
            "routes[1].key.capture",
            "routes[1].streams[0]",
            "routes[1].streams[1]",
            "routes[1].value.all",
            "routes[1].streams",
        ]
    );
}

#[test]
fn a_keyed_route_must_say_how_keys_are_placed() {
    let keyed = |partition: &str, partitions: u32| {
        route(&format!(
            "streams = ['s']\ntopic = 't'\npartitions = {partitions}\nkey = {{ field = 'k' }}\n{partition}"
        ))
    };
    assert_eq!(problem_keys(&keyed("", 2)), ["routes[0].partition.hash"]);
    compile(&keyed("", 1));
    compile(&keyed("partition = { hash = 'murmur2' }", 2));
    let keyless = "streams = ['s']\ntopic = 't'\npartitions = 2\npartition = { hash = 'murmur3' }";
    assert_eq!(problem_keys(&route(keyless)), ["routes[0].partition.hash"]);
}

#[test]
fn routes_are_held_against_each_other() {
    let two = |a: &str, b: &str| {
        format!(
            "[[routes]]\nname = 'a'\nvalue = {{ all = true }}\n{a}\n[[routes]]\nname = 'b'\nvalue = {{ all = true }}\n{b}"
        )
    };
    let one = |streams: &str, topic: &str, partitions: u32, more: &str| {
        format!("streams = [{streams}]\ntopic = '{topic}'\npartitions = {partitions}\n{more}")
    };
    let plain = one("'s:{0..9}'", "t", 2, "");
    for (other, expected) in [
        (one("'s:10'", "t", 2, ""), vec![]),
        (one("'s:9'", "u", 2, ""), vec!["routes[1].streams"]),
        (one("'s:*'", "u", 2, ""), vec!["routes[1].streams"]),
        (one("'s:9*'", "u.$1", 2, ""), vec!["routes[1].streams"]),
        (one("'s:*:x'", "u.$1", 2, ""), vec![]),
        (one("'s:9'", "u", 2, "database = 1"), vec![]),
        (
            one("'s:9'", "t", 2, "database = 1"),
            vec!["routes[1].topic"],
        ),
        (one("'o'", "t", 3, ""), vec!["routes[1].partitions"]),
        (one("'o:*'", "$1", 3, ""), vec!["routes[1].partitions"]),
        (
            one(
                "'o'",
                "t",
                2,
                "retention = '7d'\nretention_bytes = 5000\nmax_message_bytes = 2000",
            ),
            vec![
                "routes[1].retention",
                "routes[1].retention_bytes",
                "routes[1].max_message_bytes",
            ],
        ),
        (one("'o'", "t", 2, "retention = '720h'"), vec![]),
        (one("'o'", "u", 2, "retention = '7d'"), vec![]),
        (
            one("'o'", "u", 2, "dead_letters = 't'"),
            vec!["routes[1].dead_letters"],
        ),
        (
            one("'o'", "u", 2, "dead_letters = 'u'"),
            vec!["routes[1].dead_letters"],
        ),
        (one("'o'", "u", 2, "dead_letters = 'd'"), vec![]),
    ] {
        let toml = two(&plain, &other);
        let keys: Vec<String> = match Routes::compile("test", &configs(&toml), Database(0)) {
            Ok(_) => vec![],
            Err(problems) => problems.into_iter().map(|problem| problem.key).collect(),
        };
        assert_eq!(keys, expected, "{other}");
    }
    let letters = |database: u32, streams: &str| {
        let more = format!("database = {database}\ndead_letters = 'd'");
        one(streams, &format!("t{database}"), 2, &more)
    };
    let of_two = problem_keys(&two(&letters(0, "'s:*'"), &letters(1, "'s:9'")));
    assert_eq!(of_two, ["routes[1].dead_letters"]);
    compile(&two(&letters(0, "'s:*'"), &letters(1, "'o'")));
    let kept = problems(&two(&plain, &one("'o'", "t", 2, "retention = '7d'")));
    assert!(
        kept[0]
            .message
            .starts_with("\"7d\" here, but \"30d\" in route `a`"),
        "{}",
        kept[0]
    );
    let globs = two(&one("'a:*:x'", "t", 1, ""), &one("'a:b*'", "t", 1, ""));
    let told = problems(&globs);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].message.contains("`a:*:x` and `a:b*`"),
        "{}",
        told[0]
    );
}

#[test]
fn a_stream_is_bound_to_the_route_that_takes_it() {
    let routes = compile(
        "
        [[routes]]
        name = 'tasks'
        streams = ['tasks:{0..1}', 'tasks:*:x', 'more:*']
        topic = 'tasks'
        partitions = 1
        value = { all = true }
        [[routes]]
        name = 'other'
        database = 3
        streams = ['*']
        topic = 'other.$1'
        partitions = 1
        value = { all = true }
        ",
    );
    let bound = |database, name: &str| {
        let binding = routes.bind(&StreamRef::new(Database(database), name));
        binding.map(|binding| {
            (
                binding.route().index(),
                binding.topic().to_string(),
                binding.fault().is_some(),
            )
        })
    };
    assert_eq!(bound(0, "tasks:1"), Some((0, "tasks".into(), false)));
    assert_eq!(bound(0, "tasks:2"), None);
    assert_eq!(bound(0, "tasks:2:x"), Some((0, "tasks".into(), false)));
    assert_eq!(bound(0, "more:"), Some((0, "tasks".into(), false)));
    assert_eq!(bound(3, "tasks:1"), Some((1, "other.tasks:1".into(), true)));
    assert_eq!(bound(3, "fine"), Some((1, "other.fine".into(), false)));
    assert_eq!(bound(3, "lockgate:test:{s}:origin"), None, "Lockgate's own");
    assert_eq!(bound(1, "fine"), None);
    let names = |index: usize| {
        let route = routes.iter().nth(index).expect("compiled");
        (
            route.fixed_streams().len(),
            route.globs().len(),
            route.fixed_topic().is_some(),
        )
    };
    assert_eq!(names(0), (2, 2, true));
    assert_eq!(names(1), (0, 1, false));
}

#[test]
fn a_stream_without_a_topic_makes_dead_letters_not_silence() {
    let routes = compile(&route("streams = ['s:*']\ntopic = 't.$1'\npartitions = 1"));
    let stream = stream("s:a b");
    let binding = routes.bind(&stream).expect("matches");
    let refused = binding.encode(
        &stream,
        &entry(EntryId::new(1, 1), &[("data", "x")]),
        &mut Encoded::new(),
    );
    assert_eq!(
        refused.map_err(|refused| refused.reason),
        Err(Reason::Encode)
    );
    assert!(binding.fault().is_some_and(|fault| fault.contains("t.a b")));
}

#[test]
fn what_an_entry_left_in_the_buffers_does_not_reach_the_next() {
    let routes = compile(&route(
        "streams = ['s']\ntopic = 't'\npartitions = 4\npartition = { hash = 'crc32' }
         key = { field = 'k', optional = true }\nheaders = { h = { field = 'h', optional = true } }",
    ));
    let stream = stream("s");
    let binding = routes.bind(&stream).expect("matches");
    let mut out = Encoded::new();
    let full = entry(
        EntryId::new(1, 1),
        &[("k", "key"), ("h", "header"), ("data", "value")],
    );
    binding.encode(&stream, &full, &mut out).expect("routable");
    assert_eq!(out.key(), Some(&b"key"[..]));
    assert_eq!(out.headers().collect::<Vec<_>>(), [("h", &b"header"[..])]);
    let refused = binding.encode(
        &stream,
        &entry(EntryId::new(1, 2), &[("k", "other")]),
        &mut out,
    );
    assert_eq!(
        refused.map_err(|refused| refused.reason),
        Err(Reason::MissingField)
    );
    binding
        .encode(
            &stream,
            &entry(EntryId::new(1, 3), &[("data", "")]),
            &mut out,
        )
        .expect("routable");
    assert_eq!(
        (out.key(), out.value.as_slice(), out.header_count()),
        (None, &b""[..], 0)
    );
}

#[test]
fn a_record_that_the_topic_would_not_take_is_a_dead_letter() {
    let routes = compile(&route(
        "streams = ['s']\ntopic = 't'\npartitions = 1\nmax_message_bytes = 1000",
    ));
    let stream = stream("s");
    let binding = routes.bind(&stream).expect("matches");
    let encode = |length: usize| {
        let entry = entry(EntryId::MAX, &[("data", &"x".repeat(length))]);
        let encoded = binding.encode(&stream, &entry, &mut Encoded::new());
        encoded.map_err(|refused| refused.reason)
    };
    assert_eq!(encode(700), Ok(()));
    assert_eq!(encode(1_000), Err(Reason::TooLarge));
}

#[test]
fn a_stream_found_by_a_glob_may_lack_an_index() {
    let routes = compile(&route(
        "streams = ['s:*']\ntopic = 't'\npartitions = 4\npartition = { hash = 'stream-index' }",
    ));
    let place = |name: &str| {
        let stream = stream(name);
        let mut out = Encoded::new();
        let entry = entry(EntryId::new(1, 1), &[("data", "x")]);
        let encoded = routes
            .bind(&stream)
            .expect("matches")
            .encode(&stream, &entry, &mut out);
        encoded
            .map(|()| out.partition.0)
            .map_err(|refused| refused.reason)
    };
    assert_eq!(place("s:3"), Ok(3));
    assert_eq!(place("s:4"), Err(Reason::Encode));
    assert_eq!(place("s:x"), Err(Reason::Encode));
}

#[test]
fn the_hash_of_a_route_changes_with_what_its_records_are_made_of_alone() {
    let hash = |settings: &str| compile(&route(settings)).iter().next().expect("one").hash();
    let base = "streams = ['s']\ntopic = 't'\npartitions = 2\nkey = { field = 'k' }\npartition = { hash = 'murmur3' }";
    // Written into checkpoints: this number must not change from one version to the next.
    assert_eq!(hash(base), 4_271_818_621_223_771_465);
    for same in [
        base.replace("'s'", "'s', 'more:*'"),
        format!(
            "{base}\nretention = '1d'\nstart = 'latest'\non_gap = 'record'\ndatabase = 4\ndead_letters = 'd'"
        ),
        format!("{base}\nmax_message_bytes = 5000"),
    ] {
        assert_eq!(hash(&same), hash(base), "{same}");
    }
    for other in [
        base.replace("'t'", "'u'"),
        base.replace("= 2", "= 3"),
        base.replace("'k'", "'l'"),
        base.replace("'murmur3'", "'murmur3', fold = 'unsigned'"),
        format!("{base}\nheaders = {{ h = {{ field = 'k' }} }}"),
        format!("{base}\nheaders_from = {{ field = 'k' }}"),
    ] {
        assert_ne!(hash(&other), hash(base), "{other}");
    }
    let capturing = |streams: &str| {
        hash(&format!(
            "streams = [{streams}]\ntopic = 't.$1'\npartitions = 1"
        ))
    };
    assert_ne!(capturing("'a*'"), capturing("'*a'"));
}

#[test]
fn shards_are_where_kafkas_java_clients_would_put_the_checkpoint() {
    // murmur2("21") is -973932308: see the hash's own test.
    let two_one = StreamRef::from_checkpoint_key(b"2/1").expect("a key");
    assert_eq!(
        shard_of(&two_one, 7).0,
        (hash::murmur2(b"2/1") & 0x7fff_ffff) % 7
    );
    let shards: std::collections::BTreeSet<u32> = (0..64)
        .map(|n| shard_of(&stream(&format!("msg:stream:{n}")), 4).0)
        .collect();
    assert_eq!(shards.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}
