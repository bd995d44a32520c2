//! How an entry of Redis and a record of Kafka become comparable: both as the hashes of what a record consists of.
//!
//! The entry goes through its route once more; the record is taken as it was read. The headers that carry the identity are no
//! part of the comparison: they are what the two sides are joined by.

use std::fmt::{Display, Write as _};
use std::str::FromStr;

use crate::entry::{Entry, EntryId, StreamRef};
use crate::placement::{Offset, Partition};
use crate::routing::{Binding, Encoded, dead_letter};
use crate::topics::RecordView;

use super::class::Location;
use super::compare::{Found, Held, Made, What};
use super::digest::Digester;

/// The headers by which the mirror names a record, and the mark of one that was produced again.
const STREAM: &str = "redis-stream";
const ID: &str = "redis-id";
const GENERATION: &str = "redis-gen";
pub const REPAIR: &str = "lockgate-repair";

/// Reads entries.
pub(super) struct RedisSide {
    digester: Digester,
    encoded: Encoded,
    fields: Vec<u8>,
}

impl RedisSide {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            digester: Digester::new(seed),
            encoded: Encoded::new(),
            fields: Vec::new(),
        }
    }

    pub(super) fn lot(&mut self, stream: &[u8], id: EntryId) -> u64 {
        self.digester.lot(stream, id)
    }

    /// The hash of the record, or of the dead letter, that the entry should have become; and the partition of the record.
    pub(super) fn hash(
        &mut self,
        stream: &StreamRef,
        binding: &Binding,
        entry: &Entry,
    ) -> (u128, Option<Partition>) {
        if !self.encode(stream, binding, entry) {
            self.write_fields(entry);
            return (self.digester.letter(entry.id, &self.fields), None);
        }
        let encoded = &self.encoded;
        let hash = self.digester.record(
            entry.id,
            encoded.partition,
            encoded.key(),
            Some(&encoded.value),
        );
        (hash, Some(encoded.partition))
    }

    /// The same by its parts.
    pub(super) fn held(&mut self, stream: &StreamRef, binding: &Binding, entry: &Entry) -> Held {
        let record = self.encode(stream, binding, entry).then(|| Made {
            partition: self.encoded.partition,
            parts: self
                .digester
                .parts(self.encoded.key(), Some(&self.encoded.value)),
            has_key: self.encoded.key().is_some(),
        });
        self.write_fields(entry);
        Held {
            id: entry.id,
            record,
            fields: self.digester.fields(&self.fields),
        }
    }

    /// `false`: its route makes no record of it.
    fn encode(&mut self, stream: &StreamRef, binding: &Binding, entry: &Entry) -> bool {
        if binding.encode(stream, entry, &mut self.encoded).is_err() {
            return false;
        }
        self.digester.begin();
        for (name, value) in self.encoded.headers() {
            if !is_identity(name) {
                self.digester.header(name, Some(value));
            }
        }
        true
    }

    fn write_fields(&mut self, entry: &Entry) {
        self.fields.clear();
        dead_letter::encode(&entry.fields, &mut self.fields);
    }
}

/// Reads records.
pub(super) struct KafkaSide {
    digester: Digester,
    /// The topic holds dead letters.
    letters: bool,
}

/// Whether the record says nothing of what it is, not even wrongly.
pub(super) fn is_unnamed(record: &RecordView<'_>) -> bool {
    [STREAM, ID]
        .iter()
        .all(|name| record.header(name).is_none())
}

/// What a record says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity<'a> {
    pub stream: &'a [u8],
    pub id: EntryId,
    pub generation: u32,
    /// Produced again by a repair: its place in the log says nothing about its order.
    pub repaired: bool,
}

impl KafkaSide {
    pub(super) const fn new(seed: u64, letters: bool) -> Self {
        Self {
            digester: Digester::new(seed),
            letters,
        }
    }

    pub(super) fn lot(&mut self, stream: &[u8], id: EntryId) -> u64 {
        self.digester.lot(stream, id)
    }

    /// Who the record says it is; `None` where it does not say, or not as the mirror writes it: the headers that carry the
    /// identity are compared in no other way. To be called first: it takes the headers in.
    pub(super) fn identify<'a>(&mut self, record: &RecordView<'a>) -> Option<Identity<'a>> {
        let mut own = [None; 3];
        let mut repeated = false;
        let mut repaired = false;
        self.digester.begin();
        for (name, value) in record.headers() {
            let place = match name {
                STREAM => 0,
                ID => 1,
                GENERATION => 2,
                REPAIR => {
                    repaired = true;
                    continue;
                }
                _ => {
                    self.digester.header(name, value);
                    continue;
                }
            };
            repeated |= own[place].replace(value?).is_some();
        }
        let [stream, id, generation] = own;
        if repeated {
            return None;
        }
        Some(Identity {
            stream: stream?,
            id: exact(id?)?,
            generation: match generation {
                None => 0,
                Some(generation) => exact(generation).filter(|generation| *generation > 0)?,
            },
            repaired,
        })
    }

    /// The hash of the record that was identified.
    pub(super) fn hash(&mut self, id: EntryId, record: &RecordView<'_>) -> u128 {
        if self.letters {
            return self.digester.letter(id, record.value.unwrap_or_default());
        }
        self.digester
            .record(id, record.partition, record.key, record.value)
    }

    /// What stands for the record's key.
    pub(super) fn key(&mut self, record: &RecordView<'_>) -> u64 {
        self.digester.key(record.key)
    }

    /// The same by its parts.
    pub(super) fn found(&mut self, identity: &Identity<'_>, record: &RecordView<'_>) -> Found {
        let what = if self.letters {
            What::Letter(self.digester.fields(record.value.unwrap_or_default()))
        } else {
            What::Record(self.digester.parts(record.key, record.value))
        };
        Found {
            id: identity.id,
            at: Location {
                partition: record.partition,
                offset: Offset(record.offset.0),
                generation: identity.generation,
            },
            what,
            behind: false,
            more: 0,
        }
    }
}

fn is_identity(name: &str) -> bool {
    matches!(name, STREAM | ID | GENERATION | REPAIR)
}

/// What the bytes say, if it is written like that and in no other way.
fn exact<T: FromStr + Display>(bytes: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value: T = text.parse().ok()?;
    let mut rest = text;
    let mut same = Same(&mut rest);
    (write!(same, "{value}").is_ok() && rest.is_empty()).then_some(value)
}

/// Takes what is written to it off the front of a text, which must begin with it.
struct Same<'a, 'b>(&'a mut &'b str);

impl std::fmt::Write for Same<'_, '_> {
    fn write_str(&mut self, written: &str) -> std::fmt::Result {
        *self.0 = self.0.strip_prefix(written).ok_or(std::fmt::Error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_way_to_be_written() {
        assert_eq!(exact("12-0".as_bytes()), Some(EntryId::new(12, 0)));
        for wrong in ["012-0", "12", "12-00", "12-0 ", "+12-0", ""] {
            assert_eq!(exact::<EntryId>(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(exact(b"7"), Some(7_u32));
        assert_eq!(exact::<u32>(b"+7"), None);
    }
}
