//! An entry that cannot become a record of its topic, kept whole with its reason.

use super::slot::Slot;
use super::writer::identity;
use crate::entry::Entry;
use crate::placement::Partition;
use crate::routing::{Unroutable, dead_letter};
use crate::topics::{Headers, Record};

/// A record of the dead-letter topic: key = stream; headers reason, detail, route and the entry's identity; value = the raw
/// fields in the form of `routing::dead_letter`.
pub struct DeadLetter {
    headers: Headers,
    value: Vec<u8>,
}

impl DeadLetter {
    /// All go to one.
    pub const PARTITION: Partition = Partition(0);

    pub fn new(slot: &Slot, entry: &Entry, generation: u32, why: &Unroutable) -> Self {
        let mut headers = identity(slot, entry.id, generation, 3);
        headers.insert("reason", why.reason.as_str().as_bytes());
        headers.insert("detail", why.detail.as_bytes());
        headers.insert("route", slot.binding.route().name().as_bytes());
        let mut value = Vec::with_capacity(entry.bytes() + 8 * entry.fields.len() + 8);
        dead_letter::encode(&entry.fields, &mut value);
        Self { headers, value }
    }

    pub fn record<'a>(&'a mut self, slot: &'a Slot, timestamp_ms: i64) -> Record<'a> {
        Record {
            topic: slot.binding.route().dead_letters(),
            partition: Self::PARTITION,
            key: Some(slot.stream.name.as_bytes()),
            value: Some(&self.value),
            headers: std::mem::take(&mut self.headers),
            timestamp_ms,
        }
    }
}
