//! What the messaging platform's Kafka readers expect: the record that an entry of `msg:stream:0..15` must become.
//!
//! Built from the platform's own description, in the plainest way, without a JSON library: the value is the text that
//! `JSON.stringify` of its envelope gives.

use super::compare::{Entry, Expected};
use super::murmur::placed_by_abs;

pub const STREAMS: u32 = 16;

/// `msg:stream:0` … `msg:stream:15`.
pub fn streams() -> Vec<String> {
    (0..STREAMS)
        .map(|index| format!("msg:stream:{index}"))
        .collect()
}

/// The record on `topic` for an entry of one of those streams.
pub fn expected(topic: &str, entry: &Entry) -> Expected {
    expected_over(topic, STREAMS, entry)
}

/// The same on a topic of so many partitions.
pub fn expected_over(topic: &str, partitions: u32, entry: &Entry) -> Expected {
    let field = |name: &str| -> &[u8] {
        let found = entry.fields.iter().find(|(n, _)| n == name.as_bytes());
        &found
            .expect("an entry of the platform has all its fields")
            .1
    };
    let mut value = Vec::new();
    for (name, form) in [
        ("messageId", Form::Text),
        ("conversationId", Form::Text),
        ("senderId", Form::Text),
        ("createdAt", Form::Text),
        ("payloadKey", Form::NullIfEmpty),
        ("idempotencyKey", Form::Text),
        ("correlationId", Form::Text),
        ("metadata", Form::Json),
    ] {
        value.push(if value.is_empty() { b'{' } else { b',' });
        value.extend(format!("\"{name}\":").as_bytes());
        let bytes = field(name);
        match form {
            Form::Json => value.extend(bytes),
            Form::NullIfEmpty if bytes.is_empty() => value.extend(b"null"),
            Form::Text | Form::NullIfEmpty => value.extend(stringify(bytes)),
        }
    }
    value.push(b'}');
    Expected {
        topic: topic.to_owned(),
        partition: i32::try_from(placed_by_abs(field("conversationId"), partitions)).unwrap(),
        key: Some(field("conversationId").to_vec()),
        value: Some(value),
        headers: vec![
            ("correlation-id".to_owned(), field("correlationId").to_vec()),
            (
                "idempotency-key".to_owned(),
                field("idempotencyKey").to_vec(),
            ),
        ],
        timestamp_ms: Some(entry.id.0.try_into().unwrap()),
    }
}

enum Form {
    Text,
    NullIfEmpty,
    Json,
}

/// A string as `JSON.stringify` writes it: what it must escape and nothing else.
fn stringify(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).expect("the platform writes text");
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if u32::from(c) < 0x20 => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json.into_bytes()
}

#[test]
fn a_message_becomes_the_text_that_javascript_writes() {
    let pairs = [
        ("messageId", "m-1"),
        ("conversationId", "conv_002"),
        ("senderId", "say \"hi\"\\\n\u{1}\u{7f}\u{2028}😀"),
        ("createdAt", "2025-03-07T14:01:50.123Z"),
        ("payloadKey", ""),
        ("idempotencyKey", "i-1"),
        ("correlationId", "c-1"),
        ("metadata", "{\"content\": \"x\",\"priority\":1}"),
    ];
    let entry = Entry {
        stream: "msg:stream:9".to_owned(),
        id: (1_741_356_110_123, 0),
        fields: pairs
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
    };
    let record = expected("messages.v1", &entry);
    assert_eq!(record.partition, 9);
    assert_eq!(record.key.as_deref(), Some(&b"conv_002"[..]));
    assert_eq!(
        String::from_utf8(record.value.unwrap()).unwrap(),
        "{\"messageId\":\"m-1\",\"conversationId\":\"conv_002\",\
         \"senderId\":\"say \\\"hi\\\"\\\\\\n\\u0001\u{7f}\u{2028}😀\",\
         \"createdAt\":\"2025-03-07T14:01:50.123Z\",\"payloadKey\":null,\"idempotencyKey\":\"i-1\",\
         \"correlationId\":\"c-1\",\"metadata\":{\"content\": \"x\",\"priority\":1}}"
    );
    assert_eq!(
        record.headers[1],
        ("idempotency-key".to_owned(), b"i-1".to_vec())
    );
}
