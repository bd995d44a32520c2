//! How much of a stream the next read may ask for.
//!
//! XREAD counts entries and knows no bytes, and what the next entries weigh shows only when they are there. So two guesses
//! bound a read: what the last entries weighed, and twice what the last full read brought. A reply that passes the reader's
//! room all the same is broken off by the connection, and the next read asks for an eighth at most: from 10 000 entries it
//! is four reads down to one, which is always let through.

use crate::entry::Entry;

/// The most entries one read asks for.
pub const MOST_ENTRIES: usize = 10_000;
/// What a stream whose backlog is not known yet may be asked for.
const FIRST_ENTRIES: usize = 128;
/// What the first read of a stream takes an entry to weigh; it halves with each read until it meets the truth.
const FIRST_GUESS_BYTES: usize = 64 << 10;

/// What is known of one stream's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    entry_bytes: usize,
    most: usize,
}

impl Pace {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entry_bytes: FIRST_GUESS_BYTES,
            most: FIRST_ENTRIES,
        }
    }

    /// What one entry of the stream is taken to weigh.
    #[must_use]
    pub const fn entry_bytes(&self) -> usize {
        self.entry_bytes
    }

    /// The most entries that the next read may ask for.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.most
    }

    /// A read for `asked` entries brought these. One that is not full ends the ramp: what comes next is a new burst, of sizes
    /// that nobody has seen.
    pub fn brought(&mut self, entries: &[Entry], asked: usize) {
        // A field costs its bytes and two ends; small fields are mostly overhead.
        let weights = entries
            .iter()
            .map(|entry| entry.bytes() + 64 * entry.fields.len() + 64);
        self.weighed(weights.sum(), entries.len(), asked);
    }

    fn weighed(&mut self, weight: usize, entries: usize, asked: usize) {
        if entries == 0 {
            return;
        }
        self.entry_bytes = (weight / entries).max(self.entry_bytes / 2);
        let twice = entries.saturating_mul(2);
        self.most = if entries >= asked {
            self.most.max(twice)
        } else {
            twice.max(FIRST_ENTRIES)
        }
        .min(MOST_ENTRIES);
    }

    /// The reply to a read for `asked` entries passed the room behind so many of this stream.
    pub fn broken_off(&mut self, asked: usize, behind: usize) {
        let half = if behind > 0 { behind / 2 } else { asked };
        self.most = (asked / 8).min(half).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_reads_double_what_is_asked_for_and_one_that_is_not_full_begins_again() {
        let mut pace = Pace::new();
        let mut reads = 0;
        while pace.most() < MOST_ENTRIES {
            let asked = pace.most();
            pace.weighed(230 * asked, asked, asked);
            assert!(pace.most() <= 2 * asked, "{} after {asked}", pace.most());
            reads += 1;
        }
        assert!(reads <= 7, "{reads} reads until it is at full pace");
        pace.weighed(230 * 10, 10, 10);
        assert_eq!(pace.most(), MOST_ENTRIES, "a small full read slows nothing");
        pace.weighed(230 * 300, 300, MOST_ENTRIES);
        assert_eq!(pace.most(), 600);
        pace.weighed(230, 1, 600);
        assert_eq!(pace.most(), FIRST_ENTRIES);
        assert_eq!(pace.entry_bytes(), 230, "halved until it meets the truth");
    }

    #[test]
    fn replies_that_are_broken_off_lead_to_a_single_entry_in_few_steps() {
        for behind in [0, 1, 9_999] {
            let mut pace = Pace::new();
            pace.weighed(230 * MOST_ENTRIES, MOST_ENTRIES, MOST_ENTRIES);
            let mut asked = pace.most();
            let mut reads = 0;
            while asked > 1 {
                pace.broken_off(asked, behind.min(asked - 1));
                assert!(pace.most() < asked, "{} after {asked}", pace.most());
                asked = pace.most();
                reads += 1;
            }
            assert!(reads <= 5, "{reads} reads, {behind} behind");
        }
    }
}
