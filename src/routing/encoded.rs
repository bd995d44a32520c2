//! The record that an entry becomes, in buffers that are filled anew for each entry and keep their room.

use std::fmt;

use crate::placement::Partition;

/// What [`Binding::encode`](super::Binding::encode) fills. Headers are the route's own; those that give a record its
/// identity are the mirror's to add.
pub struct Encoded {
    pub value: Vec<u8>,
    pub partition: Partition,
    pub(super) key: Vec<u8>,
    pub(super) has_key: bool,
    pub(super) headers: Headers,
    pub(super) scratch: Vec<u8>,
}

/// Names and values one behind the other, with the places where they end.
#[derive(Default)]
pub(super) struct Headers {
    names: String,
    values: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl Headers {
    pub(super) fn push(&mut self, name: &str, value: &[u8]) {
        self.names.push_str(name);
        self.values.extend_from_slice(value);
        self.ends.push((self.names.len(), self.values.len()));
    }

    fn clear(&mut self) {
        self.names.clear();
        self.values.clear();
        self.ends.clear();
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut start = (0, 0);
        self.ends.iter().map(move |&end| {
            let name = &self.names[start.0..end.0];
            let value = &self.values[start.1..end.1];
            start = end;
            (name, value)
        })
    }
}

impl Encoded {
    #[must_use]
    pub fn new() -> Self {
        Self {
            value: Vec::new(),
            partition: Partition(0),
            key: Vec::new(),
            has_key: false,
            headers: Headers::default(),
            scratch: Vec::new(),
        }
    }

    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.has_key.then_some(self.key.as_slice())
    }

    /// In the order of the configuration; names may repeat where a JSON object's members become headers.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter()
    }

    #[must_use]
    pub fn header_count(&self) -> usize {
        self.headers.ends.len()
    }

    /// Bytes of key, value and headers: what the record weighs in a budget.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + self.headers.names.len() + self.headers.values.len()
    }

    /// An upper bound of the uncompressed batch of this record alone, with the mirror's headers for a stream's name of
    /// this length. That is what brokers and librdkafka hold against their limits.
    pub(super) fn batch_bound(&self, stream_name_bytes: usize) -> usize {
        const BATCH_HEADER: usize = 61;
        /// Length, attributes, time and offset deltas, lengths of key and value, number of headers.
        const RECORD: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
        const PER_HEADER: usize = 5 + 5;
        /// `redis-stream`, `redis-id` and `redis-gen` with the longest id and generation.
        const IDENTITY: usize = 3 * PER_HEADER + 12 + 8 + 41 + 9 + 20;
        BATCH_HEADER
            + RECORD
            + IDENTITY
            + stream_name_bytes
            + self.header_count() * PER_HEADER
            + self.bytes()
    }

    pub(super) fn clear(&mut self) {
        self.value.clear();
        self.key.clear();
        self.has_key = false;
        self.headers.clear();
    }

    pub(super) fn set_key(&mut self, key: &[u8]) {
        self.key.clear();
        self.key.extend_from_slice(key);
        self.has_key = true;
    }
}

impl Default for Encoded {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Encoded {
    /// Lengths only: no payload in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key().map(<[u8]>::len);
        write!(
            f,
            "Encoded(key {key:?} B, value {} B, partition {}, {} headers)",
            self.value.len(),
            self.partition,
            self.header_count()
        )
    }
}
