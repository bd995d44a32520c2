//! Golden text of one entry in each situation that an operator asks about.

use super::*;
use crate::checkpoint::Position;
use crate::cli::parity::samples::difference;
use crate::entry::{Database, EntryId, Field, StreamRef};
use crate::placement::{Offset, Partition, Remade};
use crate::streams::StreamState;

const ID: EntryId = EntryId::new(1_741_356_110_123, 0);

fn held(partition: i32, offset: i64) -> Held {
    Held {
        topic: "messages.v1".to_owned(),
        at: Location {
            partition: Partition(partition),
            offset: Offset(offset),
            generation: 0,
        },
        timestamp_ms: Some(1_741_356_110_123),
        key: Some(b"conv_7".to_vec()),
        value: Some(b"{\"text\":\"secret\"}".to_vec()),
        headers: vec![
            ("redis-stream".to_owned(), b"msg:stream:7".to_vec()),
            ("redis-id".to_owned(), ID.to_string().into_bytes()),
        ],
    }
}

fn facts() -> Facts {
    let position = Position {
        id: EntryId::new(1_741_356_200_000, 3),
        generation: 0,
        entries_added: None,
        began: EntryId::ZERO,
        remade: Remade::default(),
    };
    let fields = [("data", "{\"text\":\"secret\"}")].map(|(name, value)| Field {
        name: name.into(),
        value: value.into(),
    });
    Facts {
        stream: StreamRef::new(Database(0), "msg:stream:7"),
        id: ID,
        route: "chat".to_owned(),
        redis: Inspected::Stream(StreamState {
            length: 18_402,
            first: Some(EntryId::new(1_741_350_000_000, 0)),
            last_generated_id: position.id,
            max_deleted_entry_id: Some(EntryId::ZERO),
            ..StreamState::default()
        }),
        entry: Some(Entry {
            id: ID,
            fields: fields.into_iter().collect(),
        }),
        should: Should::Record {
            topic: "messages.v1".to_owned(),
            partition: 3,
            key: Some(b"conv_7".to_vec()),
            headers: Vec::new(),
            value: b"{\"text\":\"secret\"}".to_vec(),
        },
        held: vec![held(3, 815)],
        searched: vec![Searched {
            topic: "messages.v1".to_owned(),
            partitions: 16,
            from_ms: Some(1_741_356_110_123),
            records: 1_204,
        }],
        checkpoint: Some(Checkpoint::new(&position, "r", 1, "", "")),
        class: Some(Class::Match),
        difference: None,
    }
}

#[track_caller]
fn looks(facts: &Facts, payload: bool, expected: &str) {
    let shown = text(&Shown::new("messages", facts, payload), Look::default());
    assert_eq!(shown, expected, "\n{shown}");
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn an_entry_that_is_level() {
    looks(
        &facts(),
        false,
        "\
messages  = match
ENTRY     0/msg:stream:7 1741356110123-0
REDIS     has it · 1 field, 21 bytes
          the stream holds 18,402 entries from 1741350000000-0 to
          1741356200000-3
ROUTE     chat: puts it in messages.v1/3
          key of 6 bytes, value of 17 bytes, 0 headers
KAFKA     messages.v1/3 offset 815
          key of 6 bytes, value of 17 bytes, 0 headers
          dated 2025-03-07 14:01:50Z
MIRROR    committed to 1741356200000-3 in generation 0 · this entry is mirrored
LOOKED    topic messages.v1: 16 partitions, from 2025-03-07 14:01:50Z on, 1,204
          records read
DO        nothing
",
    );
}

#[test]
fn an_entry_that_is_missing() {
    let mut missing = facts();
    missing.held.clear();
    missing.searched[0].from_ms = None;
    missing.class = Some(Class::Missing);
    missing.difference = Some(difference(Class::Missing, &[]));
    looks(
        &missing,
        false,
        "\
messages  ≠ missing
ENTRY     0/msg:stream:7 1741356110123-0
          belongs in messages.v1/3; Kafka has neither a record nor a dead letter
          of it
REDIS     has it · 1 field, 21 bytes
          the stream holds 18,402 entries from 1741350000000-0 to
          1741356200000-3
ROUTE     chat: puts it in messages.v1/3
          key of 6 bytes, value of 17 bytes, 0 headers
KAFKA     no record names this entry
MIRROR    committed to 1741356200000-3 in generation 0 · this entry is mirrored
LOOKED    topic messages.v1: 16 partitions, all that is there, 1,204 records
          read
DO        produce it again: lockgate parity repair --apply --reason TEXT
",
    );
}

#[test]
fn no_payload_is_shown_unless_it_is_asked_for() {
    let facts = facts();
    let shown = |payload| {
        let shown = Shown::new("messages", &facts, payload);
        let json = serde_json::to_string(&shown).unwrap();
        text(&shown, Look::default()) + &json
    };
    let without = shown(false);
    assert!(
        !without.contains("secret") && !without.contains("conv_7"),
        "{without}"
    );
    let with = shown(true);
    assert!(with.contains("          key = conv_7\n"), "{with}");
    assert!(
        with.contains("          value = {\"text\":\"secret\"}\n"),
        "{with}"
    );
    assert!(
        with.contains("          data = {\"text\":\"secret\"}\n"),
        "{with}"
    );
}

#[test]
fn what_is_not_there_is_said_to_be_not_there() {
    let mut nothing = facts();
    nothing.redis = Inspected::Absent;
    nothing.entry = None;
    nothing.should = Should::Nothing;
    nothing.held.clear();
    nothing.searched[0].partitions = 0;
    nothing.checkpoint = None;
    nothing.class = None;
    let shown = text(&Shown::new("messages", &nothing, true), Look::default());
    for said in [
        "? NEITHER SIDE HAS IT",
        "does not have it · there is no such stream",
        "there is no entry that it could place",
        "no record names this entry",
        "topic messages.v1: there is none",
        "mirror has not begun",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}

#[test]
fn a_dead_letter_and_a_repair_are_told() {
    let mut letter = facts();
    let mut value = Vec::new();
    let entry = letter.entry.clone().unwrap();
    dead_letter::encode(&entry.fields, &mut value);
    let mut one = held(0, 4);
    one.topic = "lockgate.messages.dead-letters.chat".to_owned();
    one.value = Some(value);
    one.headers
        .push(("reason".to_owned(), b"too-large".to_vec()));
    letter.held = vec![one];
    letter.class = Some(Class::DeadLettered);
    let shown = text(&Shown::new("messages", &letter, false), Look::default());
    assert!(shown.contains("a dead letter: too-large"), "{shown}");

    let mut repaired = facts();
    repaired.held[0]
        .headers
        .push(("lockgate-repair".to_owned(), b"1".to_vec()));
    let shown = text(&Shown::new("messages", &repaired, false), Look::default());
    assert!(shown.contains("produced by a repair"), "{shown}");
}
