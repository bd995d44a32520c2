//! The comparison itself, pure: what Redis has against what Kafka has.
//!
//! It knows nothing of the mirror and shares no code with it: what a record should be is worked out from the entry here,
//! and its partition is the number in the stream's name, where the application put it.

use std::collections::HashMap;

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use crate::cli::output::grouped;
use crate::entry::{Entry, EntryId};

/// How the two stores compare. All zero but the first two: level.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub entries: u64,
    pub records: u64,
    /// Entries whose record is not in Kafka.
    pub missing: u64,
    /// Records of an entry that had one already.
    pub twice: u64,
    /// Records of no entry.
    pub extra: u64,
    /// Records on another partition than their stream's number.
    pub misplaced: u64,
    /// Records behind a later one of their stream.
    pub out_of_order: u64,
    /// Records whose key, value or headers are not what the entry makes.
    pub different: u64,
}

impl Verdict {
    #[must_use]
    pub fn is_level(&self) -> bool {
        let faults = [
            self.missing,
            self.twice,
            self.extra,
            self.misplaced,
            self.out_of_order,
            self.different,
        ];
        self.entries > 0 && faults == [0; 6]
    }

    /// As text.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let n = grouped;
        let verdict = if self.is_level() {
            "LEVEL     exactly once: every entry is in Kafka once, in order, in its place, byte for byte"
        } else {
            "APART     the two stores do not hold the same"
        };
        vec![
            format!(
                "COMPARED  {} entries in Redis with {} records in Kafka (read_committed)",
                n(self.entries),
                n(self.records)
            ),
            format!(
                "          {} missing · {} twice · {} extra · {} misplaced · {} out of order · {} different",
                n(self.missing),
                n(self.twice),
                n(self.extra),
                n(self.misplaced),
                n(self.out_of_order),
                n(self.different)
            ),
            verdict.to_owned(),
        ]
    }
}

/// A record as it was read.
pub struct Record<'a> {
    pub partition: i32,
    pub stream: Option<&'a [u8]>,
    pub id: Option<EntryId>,
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub correlation_id: &'a [u8],
    pub idempotency_key: &'a [u8],
}

/// Takes in the entries, then the records, then judges.
#[derive(Default)]
pub struct Judge {
    wanted: HashMap<(u32, EntryId), Wanted>,
    last: HashMap<u32, EntryId>,
    verdict: Verdict,
}

struct Wanted {
    digest: u128,
    seen: bool,
}

impl Judge {
    pub fn entry(&mut self, stream: u32, entry: &Entry) {
        let text = |name: &str| entry.field(name.as_bytes()).unwrap_or_default();
        let value = envelope(entry);
        let digest = digest([
            text("conversationId"),
            &value,
            text("correlationId"),
            text("idempotencyKey"),
        ]);
        self.verdict.entries += 1;
        self.wanted.insert(
            (stream, entry.id),
            Wanted {
                digest,
                seen: false,
            },
        );
    }

    pub fn record(&mut self, record: &Record<'_>) {
        self.verdict.records += 1;
        let stream = record.stream.and_then(|name| {
            std::str::from_utf8(name.strip_prefix(b"msg:stream:")?)
                .ok()?
                .parse()
                .ok()
        });
        let (Some(stream), Some(id)) = (stream, record.id) else {
            self.verdict.extra += 1;
            return;
        };
        let Some(wanted) = self.wanted.get_mut(&(stream, id)) else {
            self.verdict.extra += 1;
            return;
        };
        if std::mem::replace(&mut wanted.seen, true) {
            self.verdict.twice += 1;
            return;
        }
        if u32::try_from(record.partition) != Ok(stream) {
            self.verdict.misplaced += 1;
        }
        if digest([
            record.key,
            record.value,
            record.correlation_id,
            record.idempotency_key,
        ]) != wanted.digest
        {
            self.verdict.different += 1;
        }
        let last = self.last.entry(stream).or_insert(EntryId::ZERO);
        if id < *last {
            self.verdict.out_of_order += 1;
        }
        *last = id.max(*last);
    }

    #[must_use]
    pub fn finish(mut self) -> Verdict {
        self.verdict.missing = self.wanted.values().filter(|wanted| !wanted.seen).count() as u64;
        self.verdict
    }
}

/// The value that the platform's own consumers expect: what its JSON.stringify would have written.
fn envelope(entry: &Entry) -> Vec<u8> {
    let text = |name: &str| {
        String::from_utf8_lossy(entry.field(name.as_bytes()).unwrap_or_default()).into_owned()
    };
    let quoted = |name: &str| serde_json::Value::from(text(name)).to_string();
    let payload = if text("payloadKey").is_empty() {
        "null".to_owned()
    } else {
        quoted("payloadKey")
    };
    let members = [
        format!("\"messageId\":{}", quoted("messageId")),
        format!("\"conversationId\":{}", quoted("conversationId")),
        format!("\"senderId\":{}", quoted("senderId")),
        format!("\"createdAt\":{}", quoted("createdAt")),
        format!("\"payloadKey\":{payload}"),
        format!("\"idempotencyKey\":{}", quoted("idempotencyKey")),
        format!("\"correlationId\":{}", quoted("correlationId")),
        format!("\"metadata\":{}", text("metadata")),
    ];
    format!("{{{}}}", members.join(",")).into_bytes()
}

/// Of several parts, so that bytes moved from one to the next show.
fn digest(parts: [&[u8]; 4]) -> u128 {
    let mut hash = Xxh3::new();
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Field;

    fn entry(id: u64) -> Entry {
        let field = |name: &str, value: &str| Field {
            name: name.into(),
            value: value.into(),
        };
        let fields = vec![
            field("messageId", "m"),
            field("conversationId", "c"),
            field("senderId", "s\"\n"),
            field("createdAt", "t"),
            field("payloadKey", ""),
            field("idempotencyKey", "i"),
            field("correlationId", "o"),
            field("metadata", "{\"a\": 1}"),
        ];
        Entry {
            id: EntryId::new(id, 0),
            fields: fields.into_iter().collect(),
        }
    }

    const VALUE: &[u8] = br#"{"messageId":"m","conversationId":"c","senderId":"s\"\n","createdAt":"t","payloadKey":null,"idempotencyKey":"i","correlationId":"o","metadata":{"a": 1}}"#;

    fn record(id: u64) -> Record<'static> {
        Record {
            partition: 3,
            stream: Some(b"msg:stream:3"),
            id: Some(EntryId::new(id, 0)),
            key: b"c",
            value: VALUE,
            correlation_id: b"o",
            idempotency_key: b"i",
        }
    }

    #[track_caller]
    fn verdict(entries: &[u64], records: &[Record<'_>]) -> Verdict {
        let mut judge = Judge::default();
        entries.iter().for_each(|id| judge.entry(3, &entry(*id)));
        records.iter().for_each(|record| judge.record(record));
        judge.finish()
    }

    #[test]
    fn stores_that_hold_the_same_are_level() {
        let same = verdict(&[1, 2], &[record(1), record(2)]);
        assert_eq!(
            same,
            Verdict {
                entries: 2,
                records: 2,
                ..Verdict::default()
            }
        );
        assert!(same.is_level());
    }

    #[test]
    fn nothing_compared_is_not_level() {
        assert!(!verdict(&[], &[]).is_level());
    }

    #[test]
    fn each_fault_has_its_name() {
        assert_eq!(verdict(&[1, 2], &[record(1)]).missing, 1);
        assert_eq!(verdict(&[1], &[record(1), record(1)]).twice, 1);
        assert_eq!(verdict(&[1], &[record(1), record(9)]).extra, 1);
        assert_eq!(
            verdict(
                &[1],
                &[
                    record(1),
                    Record {
                        stream: None,
                        ..record(1)
                    }
                ]
            )
            .extra,
            1
        );
        assert_eq!(
            verdict(
                &[1],
                &[Record {
                    partition: 4,
                    ..record(1)
                }]
            )
            .misplaced,
            1
        );
        assert_eq!(verdict(&[1, 2], &[record(2), record(1)]).out_of_order, 1);
        assert_eq!(
            verdict(
                &[1],
                &[Record {
                    value: b"{}",
                    ..record(1)
                }]
            )
            .different,
            1
        );
        assert_eq!(
            verdict(
                &[1],
                &[Record {
                    key: b"d",
                    ..record(1)
                }]
            )
            .different,
            1
        );
        assert_eq!(
            verdict(
                &[1],
                &[Record {
                    correlation_id: b"",
                    ..record(1)
                }]
            )
            .different,
            1
        );
    }
}
