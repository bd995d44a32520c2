//! What a log that lost its beginning took with it: of a window that has fewer records than it had, whether that is why. A loss
//! in the middle of a log is none of it.

use super::super::pass::{Pass, StreamPass, Window};
use super::super::verify::WindowDigest;
use crate::entry::EntryId;

/// Up to where a stream's logs may have lost its records. A log loses its beginning, each partition its own: what stands behind
/// the first record of the stream that a partition has left was not taken by it.
pub(super) struct Expired {
    /// In partitions where entries that Redis has belong, or some record is left.
    placed: EntryId,
    /// In whatever partition.
    records: EntryId,
    letters: EntryId,
}

impl Expired {
    pub(super) fn of(pass: &Pass, stream: &StreamPass) -> Self {
        // Of each partition that may have lost records: the first that is left, if the stream has or should have any there.
        let firsts = |letters: bool| {
            let (name, first) = match letters {
                true => (&stream.letters, &stream.first_letter),
                false => (&stream.topic, &stream.first),
            };
            (pass.topics.iter())
                .filter(move |log| log.letters == letters && log.topic == *name)
                .flat_map(|log| &log.extents)
                .filter(|extent| extent.may_have_expired())
                .map(|extent| first.get(&extent.partition.0).copied())
        };
        // Where none is left, any may have been there.
        let below = |first: Option<EntryId>| first.unwrap_or(EntryId::MAX);
        let anywhere = |letters| {
            firsts(letters)
                .map(move |first| below(first.flatten()))
                .max()
        };
        Self {
            placed: firsts(false).flatten().map(below).max().unwrap_or_default(),
            records: anywhere(false).unwrap_or_default(),
            letters: anywhere(true).unwrap_or_default(),
        }
    }

    /// Whether that is why a window has fewer records than it had. Where each entry had its record and Redis still has them
    /// all, they say where those records were, and how many were dead letters.
    pub(super) fn explains(&self, before: &WindowDigest, now: &Window) -> bool {
        let lost = before.records.saturating_sub(now.kafka.count);
        let is_told = before.level && now.redis.count == before.entries;
        let (records, letters) = match is_told {
            true => (self.placed, now.letters),
            false => (self.records, u64::MAX),
        };
        let letters_lost = self.letters > before.after && lost <= letters;
        lost > 0 && (records > before.after || letters_lost)
    }
}
