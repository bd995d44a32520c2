//! What is written down of a shard, and that it reads back as it was.

use super::*;
use crate::entry::{Database, EntryId};
use crate::parity::class::{Class, Counts};
use crate::placement::Offset;

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
        loaded.take(key, value, layout).expect("readable");
    }
    loaded
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
    assert_eq!(read_back(&batch, 5), Loaded::default());
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
            .take(CURSOR_KEY, br#"{"v":2,"layout":1}"#, 1)
            .is_err()
    );
    assert!(loaded.take(b"s/nonsense", b"{}", 1).is_err());
    assert!(loaded.take(b"w/0/s/1", b"anything", 1).is_ok());
}
