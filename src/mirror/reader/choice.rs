//! What the next read asks for: of which streams, and how many entries of each, so that the reply fits the room.
//!
//! A read asks for what half the room holds, as far as what came last says anything of what comes next (pace.rs); a reply that
//! passes the whole room is broken off, and the next read asks for less.
//!
//! Redis makes the whole reply before it sends it, in memory of its own that counts towards maxmemory, and no limit of its
//! own applies (`client-output-buffer-limit normal` is 0). What one reader makes it hold is bounded by what is asked for: of
//! each stream at most twice the entries that its last full read brought, 128 where that is not known or was little, and
//! 10 000 of all together. So a reply weighs half the room while entries weigh what they did; where they grow all at
//! once it weighs as many times more, once, and Redis lets go of it when the connection is broken off. Single entries
//! alone have no bound but Redis's.

use super::Reader;
use crate::mirror::pace::{MOST_ENTRIES, Pace};
use crate::streams::Error;

/// How many streams a read asks for: all that it may, unless their entries would not fit together.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    streams: usize,
    /// The stream with which a read begins that cannot ask for all.
    next: usize,
}

impl Reach {
    pub const ALL: Self = Self {
        streams: usize::MAX,
        next: 0,
    };

    /// A reply came whole: the next read may ask for twice as many.
    pub(super) const fn widen(&mut self) {
        self.streams = self.streams.saturating_mul(2);
    }
}

impl Reader {
    /// The streams that the next read asks for, and whether these are all that it should: as many busy ones as may each
    /// bring an entry within half the room, and of all no more than the reach.
    pub(super) fn choose(&mut self, wide: bool) -> (Vec<usize>, bool) {
        let lanes = self.lanes.len();
        let mut left = self.room_bytes / 2;
        let (mut asked, mut left_out) = (Vec::new(), None);
        for at in (0..lanes).map(|nth| (self.reach.next + nth) % lanes) {
            let lane = &self.lanes[at];
            if !lane.is_readable() || !(wide || lane.busy) {
                continue;
            }
            let bytes = if lane.busy {
                lane.pace.entry_bytes()
            } else {
                0
            };
            if asked.is_empty() || (bytes <= left && asked.len() < self.reach.streams) {
                left = left.saturating_sub(bytes);
                asked.push(at);
            } else {
                left_out.get_or_insert(at);
            }
        }
        self.reach.next = left_out.unwrap_or(self.reach.next);
        asked.sort_unstable();
        (asked, left_out.is_none())
    }

    /// Learns from a reply that was broken off: the stream in which that was brings fewer entries the next time, and where
    /// each brought but one, the next read asks for fewer streams.
    pub(super) fn shrink(&mut self, asked: &[usize], count: usize, error: &Error) {
        let Error::Oversized {
            stream, entries, ..
        } = error
        else {
            return;
        };
        let names = |&at: &usize| self.lanes[at].slot.stream.name == *stream;
        let index = asked.iter().position(names).unwrap_or(0);
        if count > 1 {
            self.lanes[asked[index]].pace.broken_off(count, *entries);
        } else {
            self.reach.streams = index.max(1);
        }
    }

    /// How many entries each of the asked streams may bring so that all together fit the memory.
    pub(super) fn share(&self, asked: &[usize]) -> usize {
        let paces = || asked.iter().map(|&at| &self.lanes[at].pace);
        let entry_bytes = paces().map(Pace::entry_bytes).max().unwrap_or(1).max(1);
        let most = paces().map(Pace::most).min().unwrap_or(1);
        let budget = (self.room_bytes / 2 / entry_bytes)
            .clamp(1, MOST_ENTRIES)
            .min(self.shared.throttle.read_cap(entry_bytes));
        (budget / asked.len()).min(most).max(1)
    }
}
