//! What is written down of a shard, and that it reads back as it was.

use super::*;
use crate::entry::{Database, EntryId};
use crate::parity::class::{Class, Counts};
use crate::parity::pass::{Scope, StreamPass, Window};
use crate::placement::Offset;
use crate::routing::Routes;

fn id(n: u64) -> EntryId {
    EntryId::new(n, 0)
}

fn state() -> StreamState {
    StreamState {
        route: "r".to_owned(),
        sealed: id(9),
        windows: 300,
        counts: Counts::level(9, 1),
        suspects: vec![Suspect {
            after: id(9),
            through: id(12),
            entries: 3,
            looked: true,
        }],
        open: BTreeMap::from([(Class::Missing, 2)]),
        carried: BTreeMap::from([(3, Offset(7))]),
        verified_ms: Some(5),
        ..StreamState::default()
    }
}

/// What is read of what was written.
fn read_back(batch: &Batch, layout: u64) -> Loaded {
    let mut loaded = Loaded::default();
    for (key, value) in &batch.0 {
        loaded
            .take(key, value.as_deref(), layout)
            .expect("readable");
    }
    loaded.whole()
}

#[test]
fn what_was_written_reads_back_for_its_layout_alone() {
    let stream = StreamRef::new(Database(2), "a/b");
    let reach = Reach {
        next: Offset(3),
        end: Offset(9),
    };
    let cursor = Cursor {
        logs: BTreeMap::from([("t".to_owned(), BTreeMap::from([(0, reach)]))]),
        since_ms: 7,
        ..Cursor::default()
    };
    let mut batch = Batch::default();
    batch.cursor(&cursor, 4);
    batch.stream(&stream, &state(), 4);
    let loaded = read_back(&batch, 4);
    let read = loaded.cursor.expect("a cursor");
    assert_eq!((read.logs, read.since_ms), (cursor.logs, 7));
    let read = &loaded.streams[&stream];
    assert_eq!(
        (&read.suspects, &read.counts),
        (&state().suspects, &state().counts)
    );
    assert_eq!(
        (&read.open, &read.carried),
        (&state().open, &state().carried)
    );
    let other = read_back(&batch, 5);
    assert!(other.cursor.is_none() && other.streams.is_empty());
}

#[test]
fn a_ring_of_windows_takes_the_place_of_the_oldest() {
    let stream = StreamRef::new(Database(0), "s");
    let closing = Closing {
        from: id(1),
        through: id(2),
        result: Ending::Sealed,
        counts: Counts::level(1, 0),
        digest: Some(("00".to_owned(), 5)),
    };
    let keys: Vec<Vec<u8>> = [3, 3 + RING, 4]
        .into_iter()
        .map(|number| {
            let mut batch = Batch::default();
            batch.window(&stream, &state(), number, &closing, 1, 0);
            batch.0[0].0.clone()
        })
        .collect();
    assert_eq!(keys[0], b"w/0/s/3");
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
}

#[test]
fn what_a_newer_version_wrote_is_an_error_and_not_an_absence() {
    let mut loaded = Loaded::default();
    assert!(
        loaded
            .take(CURSOR_KEY, Some(br#"{"v":2,"layout":1}"#), 1)
            .is_err()
    );
    assert!(loaded.take(b"s/nonsense", Some(b"{}"), 1).is_err());
    assert!(loaded.take(b"w/0/s/1", Some(b"anything"), 1).is_ok());
}

const ROUTE: &str = r#"
name = "r"
streams = ["s"]
topic = "t"
partitions = 4
value = { field = "data" }
"#;

fn compiled(route: &str) -> Routes {
    Routes::compile("m", &[toml::from_str(route).unwrap()], Database(0)).unwrap()
}

fn routes() -> Routes {
    compiled(ROUTE)
}

fn under_way(stream: &StreamRef) -> UnderWay {
    let binding = routes().bind(stream).unwrap();
    let scope = Scope {
        after: id(9),
        through: id(40),
        began: id(2),
        generation: 1,
        ..Scope::default()
    };
    let mut pass = StreamPass::new(stream.clone(), binding, scope);
    pass.read = 17;
    pass.order = BTreeMap::from([(3, id(11))]);
    UnderWay {
        began_ms: 5,
        seed: u64::MAX,
        parts: vec![Part {
            span: Span::Onward,
            shards: [Shard(0)].into(),
            logs: Vec::new(),
        }],
        strays: BTreeMap::from([("r".to_owned(), Strays::default())]),
        streams: BTreeMap::from([(stream.clone(), Portion { part: 0, pass })]),
    }
}

#[test]
fn a_round_under_way_reads_back_until_it_has_ended() {
    let stream = StreamRef::new(Database(0), "s");
    let round = under_way(&stream);
    let mut batch = Batch::default();
    assert!(batch.under_way(&round, 4));
    let read = read_back(&batch, 4).under_way.expect("it is under way");
    assert!(read.goes_with(&round));
    let (read, written) = (&read.streams[&stream].pass, &round.streams[&stream].pass);
    assert_eq!((read.read, &read.order), (17, &written.order));
    assert_eq!((&read.scope, &read.stream), (&written.scope, &stream));
    assert!(read_back(&batch, 5).under_way.is_none());
    batch.ended(&round);
    let after = read_back(&batch, 4);
    assert!(after.under_way.is_none() && after.shares.is_empty());
}

#[test]
fn what_is_too_large_for_a_record_is_not_written_at_all() {
    let stream = StreamRef::new(Database(0), "s");
    let mut round = under_way(&stream);
    let share = round.streams.get_mut(&stream).unwrap();
    share.pass.windows = vec![Window::default(); 100_000];
    let mut batch = Batch::default();
    assert!(!batch.under_way(&round, 4) && batch.is_empty());
}

#[test]
fn a_round_is_gone_on_with_only_where_its_streams_still_stand_as_they_did() {
    let stream = StreamRef::new(Database(0), "s");
    let round = under_way(&stream);
    let stands = StreamState {
        sealed: id(9),
        ..StreamState::begin("r", id(2), 1)
    };
    let fits = |state: StreamState| {
        let states = BTreeMap::from([(stream.clone(), state)]);
        round.fits(&states, &routes())
    };
    assert!(fits(stands.clone()));
    let mut moved = stands.clone();
    moved.sealed = id(10);
    let mut anew = stands.clone();
    anew.generation = 2;
    let mut torn = stands.clone();
    torn.counts.redis_entries = 1;
    assert!(!fits(moved) && !fits(anew) && !fits(torn));
    assert!(!round.fits(&BTreeMap::new(), &routes()));
    let elsewhere = ROUTE.replace("\"t\"", "\"u\"");
    let states = BTreeMap::from([(stream.clone(), stands)]);
    assert!(!round.fits(&states, &compiled(&elsewhere)));
}
