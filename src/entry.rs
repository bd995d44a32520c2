//! Redis's own words as types: a stream, an entry, an entry id.
//!
//! Stream names and field bytes are bytes, never text: Redis promises nothing about their encoding, so nothing here
//! assumes any. Text forms (`Display`) are for people and are lossless only for UTF-8 names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The number of a Redis logical database.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Database(pub u32);

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The key under which Redis holds a stream: bytes, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<[u8]>);

impl StreamName {
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for StreamName {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for StreamName {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<&str> for StreamName {
    fn from(name: &str) -> Self {
        Self(name.as_bytes().into())
    }
}

impl fmt::Display for StreamName {
    /// UTF-8 names as they are, control characters escaped; other bytes as `\xNN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A stream and the database it lives in: what a checkpoint belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamRef {
    pub database: Database,
    pub name: StreamName,
}

impl StreamRef {
    #[must_use]
    pub fn new(database: Database, name: impl Into<StreamName>) -> Self {
        Self {
            database,
            name: name.into(),
        }
    }

    /// `<db>/<stream>`: the key of the stream's checkpoint record, and what its shard is hashed from.
    #[must_use]
    pub fn checkpoint_key(&self) -> Vec<u8> {
        let mut key = self.database.to_string().into_bytes();
        key.push(b'/');
        key.extend_from_slice(self.name.as_bytes());
        key
    }

    /// The reverse of [`checkpoint_key`](Self::checkpoint_key); `None` for a key of another form.
    #[must_use]
    pub fn from_checkpoint_key(key: &[u8]) -> Option<Self> {
        let slash = key.iter().position(|&b| b == b'/')?;
        let database = std::str::from_utf8(&key[..slash]).ok()?.parse().ok()?;
        Some(Self::new(Database(database), &key[slash + 1..]))
    }
}

impl fmt::Display for StreamRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.database, self.name)
    }
}

/// An entry's id, `<ms>-<seq>`. The first part need not be a time: producers may choose ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    pub ms: u64,
    pub seq: u64,
}

impl EntryId {
    /// Before every entry: `0-0` is no valid id of one.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    pub const MAX: Self = Self {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The id that follows directly; `None` after the greatest.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// The id directly before; `None` before `0-0`.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }

    /// The id as milliseconds since 1970, where it can be a time: from 2001 (10^12 ms; smaller numbers are counters
    /// or seconds) to one hour ahead of `now_ms` (brokers refuse more, and nanoseconds lie far beyond).
    #[must_use]
    pub fn plausible_time_ms(self, now_ms: i64) -> Option<i64> {
        const EARLIEST: i64 = 1_000_000_000_000;
        const HOUR: i64 = 3_600_000;
        i64::try_from(self.ms)
            .ok()
            .filter(|ms| (EARLIEST..=now_ms.saturating_add(HOUR)).contains(ms))
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Not of the form `<ms>-<seq>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an entry id; it has the form <milliseconds>-<sequence>, for example 1741356110123-0"
)]
pub struct InvalidEntryId(pub String);

impl FromStr for EntryId {
    type Err = InvalidEntryId;

    /// `<ms>-<seq>`, or `<ms>` alone for `<ms>-0`, as Redis reads them. Digits only: no sign, no blanks.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // One pass over the digits: every entry and record that is read comes by here. `u64` itself would take a sign.
        let number = |part: &str| {
            if part.is_empty() {
                return None;
            }
            part.bytes().try_fold(0_u64, |sum, byte| {
                let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
                sum.checked_mul(10)?.checked_add(digit)
            })
        };
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        match (number(ms), number(seq)) {
            (Some(ms), Some(seq)) => Ok(Self { ms, seq }),
            _ => Err(InvalidEntryId(text.to_owned())),
        }
    }
}

impl serde::Serialize for EntryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for EntryId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One field of an entry. Names may repeat and may be empty; both are bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
}

impl fmt::Debug for Field {
    /// Lengths only: no payload in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({} B, {} B)", self.name.len(), self.value.len())
    }
}

/// An entry's fields in the order they were added, names and values end to end in one buffer: an entry of eight fields is
/// two allocations and not seventeen.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    bytes: Vec<u8>,
    /// Where each name and each value ends, in turn.
    ends: Vec<u32>,
}

/// A field as it stands in [`Fields`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FieldRef<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

/// The names and values of one entry are 4 GiB and more, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Fields {
    /// Room for so many fields and bytes.
    #[must_use]
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(2 * fields),
        }
    }

    /// # Errors
    /// [`TooLong`]; the fields are of no use then.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), TooLong> {
        for part in [name, value] {
            self.bytes.extend_from_slice(part);
            self.ends
                .push(u32::try_from(self.bytes.len()).map_err(|_| TooLong)?);
        }
        Ok(())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() / 2
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = FieldRef<'_>> {
        let mut start = 0;
        self.ends.chunks_exact(2).map(move |ends| {
            let (middle, end) = (ends[0] as usize, ends[1] as usize);
            let field = FieldRef {
                name: &self.bytes[start..middle],
                value: &self.bytes[middle..end],
            };
            start = end;
            field
        })
    }
}

impl FromIterator<Field> for Fields {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        let mut all = Self::default();
        for field in fields {
            all.push(&field.name, &field.value)
                .expect("fields that are in memory one by one are not 4 GiB together");
        }
        all
    }
}

impl fmt::Debug for Fields {
    /// Sizes only: no payload in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({}, {} B)", self.len(), self.bytes())
    }
}

/// One entry of a stream: its id and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    pub fields: Fields,
}

impl Entry {
    /// The value of the first field of this name.
    #[must_use]
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| field.value)
    }

    /// Bytes of names and values: what the entry weighs in a budget.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.fields.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        assert_eq!("5-7".parse(), Ok(EntryId::new(5, 7)));
        assert_eq!("5".parse(), Ok(EntryId::new(5, 0)));
        assert_eq!(
            "18446744073709551615-18446744073709551615".parse(),
            Ok(EntryId::MAX)
        );
        for bad in [
            "",
            "-",
            "5-",
            "-5",
            "+5-1",
            "5-1-1",
            " 5-1",
            "18446744073709551616-0",
        ] {
            assert!(bad.parse::<EntryId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_order_by_time_then_sequence_and_step_over_the_edge() {
        assert!(EntryId::new(5, u64::MAX) < EntryId::new(6, 0));
        assert_eq!(EntryId::new(5, u64::MAX).next(), Some(EntryId::new(6, 0)));
        assert_eq!(EntryId::MAX.next(), None);
    }

    #[test]
    fn only_plausible_milliseconds_are_a_time() {
        let now = 1_741_356_110_123;
        assert_eq!(
            EntryId::new(1_741_356_110_123, 4).plausible_time_ms(now),
            Some(now)
        );
        assert_eq!(
            EntryId::new(1_741_359_710_123, 0).plausible_time_ms(now),
            Some(now + 3_600_000)
        );
        assert_eq!(
            EntryId::new(1_741_359_710_124, 0).plausible_time_ms(now),
            None,
            "over an hour ahead"
        );
        assert_eq!(
            EntryId::new(1_741_356_110_123_000_000, 0).plausible_time_ms(now),
            None,
            "nanoseconds"
        );
        assert_eq!(
            EntryId::new(42, 0).plausible_time_ms(now),
            None,
            "a counter"
        );
        assert_eq!(EntryId::MAX.plausible_time_ms(now), None);
    }

    #[test]
    fn checkpoint_keys_go_there_and_back_for_any_bytes() {
        let stream = StreamRef::new(Database(3), &b"a/b\xff"[..]);
        assert_eq!(stream.checkpoint_key(), b"3/a/b\xff");
        assert_eq!(StreamRef::from_checkpoint_key(b"3/a/b\xff"), Some(stream));
        assert_eq!(StreamRef::from_checkpoint_key(b"@layout"), None);
    }

    #[test]
    fn names_show_without_control_characters() {
        assert_eq!(
            StreamName::from(&b"a\n\xff\xc3\xa9"[..]).to_string(),
            "a\\n\\xff\u{e9}"
        );
    }
}
