//! Decoding, with the redis crate's own parser as the witness.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::entries::{Part, Reader, Shape};
use super::super::info;
use super::super::wire::{Commands, Cursor, Stop};
use super::xread_reply;
use crate::entry::{Entry, EntryId, Field};

/// Feeds a reply in pieces of `step` bytes.
fn decode(reply: &[u8], shape: Shape, step: usize) -> Option<Result<Vec<Part>, Vec<u8>>> {
    let mut reader = Reader::new(shape);
    let mut buffer = BytesMut::new();
    for piece in reply.chunks(step) {
        buffer.extend_from_slice(piece);
        if reader.step(&mut buffer).expect("well-formed") {
            return Some(reader.finish());
        }
    }
    None
}

/// The same by way of the crate's `Value`.
fn witness(reply: &[u8]) -> Vec<Part> {
    use redis::Value::{Array, BulkString};
    let array = |value| match value {
        Array(values) => values,
        other => panic!("{other:?}"),
    };
    let text = |value| match value {
        BulkString(text) => text,
        other => panic!("{other:?}"),
    };
    let pair = |value| {
        let mut pair = array(value).into_iter();
        (
            pair.next().expect("two elements"),
            pair.next().expect("two elements"),
        )
    };
    let entry = |value| {
        let (id, fields) = pair(value);
        let mut fields = array(fields).into_iter();
        Entry {
            id: String::from_utf8(text(id))
                .expect("an id")
                .parse()
                .expect("an id"),
            fields: std::iter::from_fn(|| {
                Some(Field {
                    name: text(fields.next()?),
                    value: text(fields.next()?),
                })
            })
            .collect(),
        }
    };
    array(redis::parse_redis_value(reply).expect("a reply"))
        .into_iter()
        .map(|value| {
            let (name, entries) = pair(value);
            Part {
                name: text(name),
                entries: array(entries).into_iter().map(entry).collect(),
            }
        })
        .collect()
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let text = || prop::collection::vec(any::<u8>(), 0..12);
    let field = (text(), text()).prop_map(|(name, value)| Field { name, value });
    (
        any::<u64>(),
        any::<u64>(),
        prop::collection::vec(field, 0..5),
    )
        .prop_map(|(ms, seq, fields)| Entry {
            id: EntryId::new(ms, seq),
            fields: fields.into_iter().collect(),
        })
}

fn any_parts() -> impl Strategy<Value = Vec<Part>> {
    let part = (
        prop::collection::vec(any::<u8>(), 0..9),
        prop::collection::vec(any_entry(), 1..5),
    )
        .prop_map(|(name, entries)| Part { name, entries });
    prop::collection::vec(part, 1..4)
}

proptest! {
    #[test]
    fn any_reply_in_any_pieces_decodes_as_the_crate_reads_it(parts in any_parts(), step in 1usize..40) {
        let reply = xread_reply(&parts, false);
        prop_assert_eq!(&witness(&reply), &parts);
        prop_assert_eq!(decode(&reply, Shape::Streams, step), Some(Ok(parts)));
    }

    #[test]
    fn the_map_of_resp3_reads_the_same(parts in any_parts(), step in 1usize..40) {
        prop_assert_eq!(decode(&xread_reply(&parts, true), Shape::Streams, step), Some(Ok(parts)));
    }

    #[test]
    fn a_cut_reply_is_no_reply(parts in any_parts()) {
        let reply = xread_reply(&parts, false);
        for cut in 0..reply.len() {
            prop_assert_eq!(decode(&reply[..cut], Shape::Streams, 7), None);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(prop::sample::select(b"*%$:-_+!=\r\n0129x".to_vec()), 0..60)) {
        let _ = Reader::new(Shape::Streams).step(&mut BytesMut::from(&bytes[..]));
        let _ = Cursor::new(&bytes).skip();
        let _ = info::stream_state(&mut Cursor::new(&bytes));
    }

    #[test]
    fn a_cursor_never_stands_beyond_the_bytes(bytes in prop::collection::vec(prop::sample::select(b"*%$:-_+!=\r\n012x".to_vec()), 0..24)) {
        let mut skipping = Cursor::new(&bytes);
        let _ = skipping.skip();
        prop_assert!(skipping.position() <= bytes.len(), "{}", bytes.escape_ascii());
        let mut refused = Cursor::new(&bytes);
        let _ = refused.refusal();
        prop_assert!(refused.position() <= bytes.len(), "{}", bytes.escape_ascii());
    }

    #[test]
    fn an_error_of_resp3_is_read_whole_or_not_at_all(text in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut reply = format!("!{}\r\n", text.len()).into_bytes();
        reply.extend_from_slice(&text);
        reply.extend_from_slice(b"\r\n");
        for cut in 1..reply.len() {
            let mut cursor = Cursor::new(&reply[..cut]);
            prop_assert!(matches!(cursor.refusal(), Err(Stop::More(more)) if more > cut && more <= reply.len()), "cut at {}", cut);
            prop_assert_eq!(cursor.position(), 0);
        }
        let mut cursor = Cursor::new(&reply);
        prop_assert_eq!(cursor.refusal(), Ok(Some(&text[..])));
        prop_assert_eq!(cursor.position(), reply.len());
    }

    #[test]
    fn commands_are_what_redis_reads(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 1..5), ms: u64, seq: u64) {
        let mut out = BytesMut::new();
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        Commands(&mut out).begin(words.len() + 2);
        for word in &words {
            Commands(&mut out).word(word);
        }
        Commands(&mut out).id(EntryId::new(ms, seq)).integer(seq);
        let id = format!("{ms}-{seq}");
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.arg(id).arg(seq);
        prop_assert_eq!(out.to_vec(), command.get_packed_command());
    }
}

#[test]
fn nothing_there_and_deleted_meanwhile_are_no_entries() {
    for nothing in [&b"*-1\r\n"[..], b"$-1\r\n", b"_\r\n", b"*0\r\n", b"%0\r\n"] {
        assert_eq!(
            decode(nothing, Shape::Streams, 1),
            Some(Ok(Vec::new())),
            "{nothing:?}"
        );
    }
    let deleted =
        b"*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$3\r\n1-1\r\n*-1\r\n*2\r\n$3\r\n1-2\r\n*0\r\n";
    let Some(Ok(parts)) = decode(deleted, Shape::Streams, 3) else {
        panic!("a whole reply");
    };
    assert_eq!(parts[0].entries.len(), 1);
    assert_eq!(parts[0].entries[0].id, EntryId::new(1, 2));
    let emptied = b"*2\r\n*2\r\n$1\r\ns\r\n*0\r\n*2\r\n$1\r\nt\r\n*-1\r\n";
    assert_eq!(decode(emptied, Shape::Streams, 3), Some(Ok(Vec::new())));
}

#[test]
fn bytes_that_are_no_reply_are_said_to_be_none() {
    for wrong in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"*1\r\n*3\r\n",
        b"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\nabc\r\n*0\r\n",
        b"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*1\r\n$1\r\na\r\n",
        b"*1\r\n*2\r\n$1\r\nsX\r\n",
        b"*99999999999\r\n",
        b"*-7\r\n",
        b"*\r\n",
    ] {
        let outcome = Reader::new(Shape::Streams).step(&mut BytesMut::from(wrong));
        assert!(outcome.is_err(), "{}", wrong.escape_ascii());
    }
}
