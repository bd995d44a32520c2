//! What the logs no longer have because they lost their beginning, and what of a stream was mirrored whatever they have: pure.
//!
//! An entry that Kafka does not show was mirrored and expired there, or it came after a failover and never was. The first would be
//! mirrored a second time if it were taken for the second, the second be lost if it were taken for the first. So an entry counts
//! as expired only by the rule of parity (its log has lost its beginning, and begins behind it), and where it cannot be new as
//! well: what comes after a failover is added after the checkpoint was written, so its time is no earlier than that, but for
//! clocks that differ. An id that is no time must lie below what Kafka has left of the stream.

use std::collections::BTreeMap;

use crate::entry::EntryId;
use crate::placement::{Partition, Remade};

use super::compare::Held;

/// How far the clocks of a Redis that was lost and of the one in its place may be apart.
const CLOCKS_MS: i64 = 600_000;

/// A partition of the stream's topic, or of its dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Log {
    pub letters: bool,
    pub partition: Partition,
}

/// What the logs have left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// Those that have lost their beginning and were read from where they begin now: the time of the first record there that
    /// is no repair; `None`: nothing is left. A log that has something older than what is looked for is none of them.
    begun: BTreeMap<Log, Option<i64>>,
    /// The least id of the stream in each log, of what was read.
    earliest: BTreeMap<Log, EntryId>,
    /// All were read whole, so that `earliest` is the least of all.
    pub whole: bool,
}

/// What the checkpoint says of entries that Kafka does not show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Up to `place` records went to other places. Up to `form` they were made otherwise, so their bytes say nothing.
    pub remade: Remade,
    /// Entries up to this time were there before any failover that came after the checkpoint; `None`: its id is no time.
    old_ms: Option<i64>,
}

impl Past {
    /// Of a checkpoint of this id, written then.
    pub fn new(remade: Remade, id: EntryId, written_ms: Option<i64>, now_ms: i64) -> Self {
        // Ids may be dated ahead, and whoever gives them out after a failover need not do so.
        let written_ms = written_ms.unwrap_or(now_ms).min(now_ms);
        let dated_ms = id.plausible_time_ms(now_ms);
        Self {
            remade,
            old_ms: dated_ms.map(|ms| ms.min(written_ms) - CLOCKS_MS),
        }
    }
}

impl Logs {
    /// This log's beginning is gone, and it is read from where it begins now.
    pub fn begins_late(&mut self, log: Log) {
        self.begun.insert(log, None);
    }

    /// Takes note of a record that is no repair, whosever it is; in the order of its log.
    pub fn pass(&mut self, log: Log, timestamp_ms: Option<i64>) {
        if let Some(first) = self.begun.get_mut(&log) {
            *first = first.or(timestamp_ms);
        }
    }

    /// Takes note of a record of the stream that is no repair.
    pub fn has(&mut self, log: Log, id: EntryId) {
        let earliest = self.earliest.entry(log).or_insert(id);
        *earliest = id.min(*earliest);
    }

    /// Whether an entry that Kafka does not show has been mirrored all the same.
    pub fn mirrored(&self, held: &Held, past: &Past) -> bool {
        held.id <= past.remade.place || self.expired(held, past)
    }

    fn expired(&self, held: &Held, past: &Past) -> bool {
        let Some(first_ms) = self.begun.get(&held.log) else {
            return false;
        };
        match (held.time_ms, past.old_ms) {
            (Some(time), Some(old)) => {
                let older_left = self.earliest.get(&held.log).is_some_and(|id| *id < held.id);
                time <= old && first_ms.is_none_or(|first| time <= first) && !older_left
            }
            // Where nothing is left of the stream nothing says how old this is.
            _ => {
                let mut left = self.earliest.values();
                self.whole && !self.earliest.is_empty() && left.all(|id| *id > held.id)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const NOW: u64 = 1_700_000_000_000;

    fn log(partition: i32) -> Log {
        Log {
            letters: false,
            partition: Partition(partition),
        }
    }

    fn held(ms: u64) -> Held {
        let id = EntryId::new(ms, 0);
        Held {
            id,
            time_ms: id.plausible_time_ms(now()),
            log: log(0),
            record: Some(1),
            letter: 2,
        }
    }

    fn now() -> i64 {
        i64::try_from(NOW).unwrap()
    }

    fn past(checkpoint: u64) -> Past {
        Past::new(Remade::default(), EntryId::new(checkpoint, 0), None, now())
    }

    /// Logs that begin late, with the first record of each and of which id it is.
    fn logs(of: &[(i32, Option<u64>)]) -> Logs {
        let mut logs = Logs {
            whole: true,
            ..Logs::default()
        };
        for &(partition, first) in of {
            logs.begins_late(log(partition));
            if let Some(ms) = first {
                let id = EntryId::new(ms, 0);
                logs.pass(log(partition), id.plausible_time_ms(now()).or(Some(now())));
                logs.has(log(partition), id);
            }
        }
        logs
    }

    #[test]
    fn what_lies_before_the_beginning_of_its_log_is_expired() {
        let old = held(NOW - 10 * DAY);
        assert!(logs(&[(0, Some(NOW))]).mirrored(&old, &past(NOW)));
        assert!(logs(&[(0, None)]).mirrored(&old, &past(NOW)), "all is gone");
    }

    #[test]
    fn what_its_log_should_have_is_not() {
        let old = held(NOW - 10 * DAY);
        assert!(!Logs::default().mirrored(&old, &past(NOW)), "a whole log");
        assert!(
            !logs(&[(1, Some(NOW))]).mirrored(&old, &past(NOW)),
            "another log's beginning says nothing"
        );
        let older = logs(&[(0, Some(NOW - 11 * DAY))]);
        assert!(!older.mirrored(&old, &past(NOW)), "an older one is left");
        let mut others = logs(&[]);
        others.begins_late(log(0));
        others.pass(log(0), Some(now() - 11 * i64::try_from(DAY).unwrap()));
        assert!(
            !others.mirrored(&old, &past(NOW)),
            "of another stream, but older"
        );
    }

    #[test]
    fn what_may_have_come_after_the_checkpoint_was_never_there() {
        let gone = logs(&[(0, None), (1, Some(NOW))]);
        let behind = held(NOW - 5_000);
        assert!(
            !gone.mirrored(&behind, &past(NOW)),
            "the new Redis's clock may be five seconds late"
        );
        assert!(gone.mirrored(&held(NOW - DAY), &past(NOW)));
    }

    #[test]
    fn what_is_dated_ahead_says_nothing_of_what_came_after_the_checkpoint_was_written() {
        let gone = logs(&[(0, None), (1, Some(NOW))]);
        let (ahead, written) = (EntryId::new(NOW + 2_400_000, 0), now() - 3_600_000);
        let past = |written| Past::new(Remade::default(), ahead, written, now());
        let after = held(NOW - 1_800_000);
        assert!(
            !gone.mirrored(&after, &past(Some(written))),
            "it came after a failover"
        );
        assert!(gone.mirrored(&held(NOW - DAY), &past(Some(written))));
        assert!(
            !gone.mirrored(&held(NOW - 60_000), &past(None)),
            "nobody says when"
        );
    }

    #[test]
    fn an_id_that_is_no_time_is_expired_below_all_that_is_left_of_the_stream() {
        let mut left = logs(&[(0, None), (1, Some(100))]);
        assert!(left.mirrored(&held(99), &past(105)));
        assert!(
            !left.mirrored(&held(101), &past(105)),
            "an older one is left elsewhere"
        );
        let empty = logs(&[(0, None)]);
        let whole = Logs {
            whole: true,
            ..empty
        };
        assert!(
            !whole.mirrored(&held(99), &past(105)),
            "nothing says how old it is"
        );
        left.whole = false;
        assert!(!left.mirrored(&held(99), &past(105)), "perhaps unread");
    }

    #[test]
    fn what_was_mirrored_to_another_place_is_not_looked_for_in_this_one() {
        let moved = Past {
            remade: Remade {
                form: EntryId::new(100, 0),
                place: EntryId::new(100, 0),
            },
            old_ms: None,
        };
        assert!(Logs::default().mirrored(&held(100), &moved));
        assert!(!Logs::default().mirrored(&held(101), &moved));
    }
}
