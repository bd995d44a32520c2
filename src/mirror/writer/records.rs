//! What an entry becomes in the open transaction: its record, or a dead letter that says why not.
//!
//! Nothing is left out: what the route cannot encode, and what the client or the broker refuses, goes to the dead letters in the same
//! transaction.

use std::sync::Arc;

use tracing::warn;

use super::super::dead_letter::DeadLetter;
use super::super::slot::Slot;
use super::{At, Ended, Pipeline};
use crate::entry::{Entry, EntryId};
use crate::flags::Against;
use crate::routing::{self, Encoded, Unroutable};
use crate::status::DeadLetterReason;
use crate::topics::{self, Headers, Record};

impl Pipeline {
    pub(super) fn send(
        &mut self,
        slot: &Arc<Slot>,
        entry: &Entry,
        generation: u32,
        now_ms: i64,
    ) -> Result<(), Box<Ended>> {
        let bytes = entry.bytes();
        self.open.entries += 1;
        self.open.bytes += bytes;
        let time_ms = entry.id.plausible_time_ms(now_ms);
        self.open.times_ms.extend(time_ms);
        let touched = self.open.touch(slot);
        touched.entries += 1;
        touched.bytes += bytes as u64;
        touched.sent = (generation, entry.id);
        let timestamp_ms = time_ms.unwrap_or(now_ms);

        if let Some(why) = self.poison(slot, (generation, entry.id)) {
            return self.dead_letter(slot, entry, generation, &why, now_ms);
        }
        if let Err(why) = slot.binding.encode(&slot.stream, entry, &mut self.scratch) {
            return self.dead_letter(slot, entry, generation, &why, now_ms);
        }
        let told = *self.shared.told.borrow();
        if let Some(told) = told
            && let Some(against) = told.against(self.scratch.key())
        {
            let touched = self.open.touch(slot);
            match against {
                Against::Kafkas(bucket) => touched.strays.push((told.version, bucket.number())),
                Against::Held(bucket) => {
                    touched.held_writes += 1;
                    touched.held = Some((told.version, bucket.number()));
                }
            }
        }
        let headers = record_headers(slot, entry.id, generation, &self.scratch);
        let tag = self.open.entries as u64;
        let record = Record {
            topic: slot.binding.topic(),
            partition: self.scratch.partition,
            key: self.scratch.key(),
            value: Some(&self.scratch.value),
            headers,
            timestamp_ms,
        };
        match self.writer.send(record, tag) {
            Ok(()) => Ok(()),
            Err(error @ topics::Error::Refused { local: true, .. }) => {
                let why = rejected(error.to_string());
                self.dead_letter(slot, entry, generation, &why, now_ms)
            }
            Err(error) => Err(Box::new(self.failed(error))),
        }
    }

    /// Why the entry's record is not tried again: the broker refused it, with these words.
    pub(super) fn poison(&self, slot: &Slot, at: At) -> Option<Unroutable> {
        if self.poison.is_empty() {
            return None;
        }
        let why = self.poison.get(&(slot.stream.clone(), at))?;
        Some(rejected(why.clone()))
    }

    /// Dated now: it is kept for its time from when it was written, and a date that the broker refuses is not tried again.
    fn dead_letter(
        &mut self,
        slot: &Arc<Slot>,
        entry: &Entry,
        generation: u32,
        why: &Unroutable,
        now_ms: i64,
    ) -> Result<(), Box<Ended>> {
        let place = (slot.stream.clone(), (generation, entry.id));
        let mut letter = DeadLetter::new(slot, entry, generation, why);
        warn!(
            stream = %slot.stream.name, database = %slot.stream.database, id = %entry.id, reason = why.reason.as_str(),
            detail = %why.detail, topic = %slot.binding.route().dead_letters(), "dead letter"
        );
        match self
            .writer
            .send(letter.record(slot, now_ms), self.open.entries as u64)
        {
            Ok(()) => {}
            Err(error @ topics::Error::Refused { local: true, .. }) => {
                return Err(Box::new(Ended::DeadLetterRefused { error, place }));
            }
            Err(error) => return Err(Box::new(self.failed(error))),
        }
        self.open.dead_letter = Some(place);
        *self
            .open
            .touch(slot)
            .dead_letters
            .entry(label(why.reason))
            .or_default() += 1;
        Ok(())
    }
}

fn rejected(detail: String) -> Unroutable {
    Unroutable {
        reason: routing::Reason::Rejected,
        detail,
    }
}

const fn label(reason: routing::Reason) -> DeadLetterReason {
    match reason {
        routing::Reason::MissingField => DeadLetterReason::MissingField,
        routing::Reason::Encode => DeadLetterReason::Encode,
        routing::Reason::TooLarge => DeadLetterReason::TooLarge,
        routing::Reason::Rejected => DeadLetterReason::Rejected,
    }
}

/// Identity first, then the route's own.
pub(super) fn record_headers(
    slot: &Slot,
    id: EntryId,
    generation: u32,
    encoded: &Encoded,
) -> Headers {
    let mut headers = identity(slot, id, generation, encoded.header_count());
    for (name, value) in encoded.headers() {
        headers.insert(name, value);
    }
    headers
}

/// What makes a record's origin known: stream and entry id, and the generation where there was an earlier one.
pub fn identity(slot: &Slot, id: EntryId, generation: u32, more: usize) -> Headers {
    let mut headers = Headers::with_capacity(3 + more);
    headers.insert("redis-stream", slot.stream.name.as_bytes());
    headers.insert("redis-id", id.to_string().as_bytes());
    if generation > 0 {
        headers.insert("redis-gen", generation.to_string().as_bytes());
    }
    headers
}
