//! How far a mirror has come, told by looks at its stream alone: all that was there at some look is mirrored. Pure.
//!
//! Ids and clocks of Redis say nothing here: a count that a look saw is reached or it is not. The look's own time is that at
//! which it was begun, by this process's steady clock. A look that is level says nothing of what came after it.

use std::time::Instant;

/// The looks that matter: the last, the oldest that was not reached when its successor came, and the newest that was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    last: Option<Seen>,
    awaited: Option<Seen>,
    reached: Option<Instant>,
}

/// The last look for streams.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// `None`: the routes name them all, so that none can be unknown.
    pub begun: Option<Instant>,
    pub streams: usize,
}

impl Found {
    /// How long ago a stream may have come into being that a shard which was told of so many has not taken up.
    #[must_use]
    pub fn unknown_seconds(&self, told_of: usize) -> Option<f64> {
        let age = self
            .begun
            .map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        (told_of >= self.streams).then_some(age)
    }
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    added: u64,
}

impl Carried {
    /// Takes in a look: entries ever added, and how many of them were mirrored by then.
    pub fn look(&mut self, at: Instant, added: u64, mirrored: Option<u64>) {
        let began_anew = self.last.is_some_and(|last| added < last.added)
            || mirrored.is_some_and(|mirrored| added < mirrored);
        if began_anew {
            // Its counts are of another stream than those before; the next look tells.
            *self = Self::default();
            return;
        }
        self.reached = self.until(mirrored);
        let seen = Seen { at, added };
        self.last = Some(seen);
        if self
            .awaited
            .is_none_or(|awaited| is_reached(awaited, mirrored))
        {
            self.awaited = Some(seen);
        }
    }

    /// When the newest look was begun of which all is mirrored.
    #[must_use]
    pub fn until(&self, mirrored: Option<u64>) -> Option<Instant> {
        let looks = [self.last, self.awaited].into_iter().flatten();
        let reached = looks.filter(|seen| is_reached(*seen, mirrored));
        reached.map(|seen| seen.at).max().or(self.reached)
    }
}

fn is_reached(seen: Seen, mirrored: Option<u64>) -> bool {
    mirrored.is_some_and(|mirrored| seen.added <= mirrored)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_level_look_speaks_of_its_own_time_and_no_later_one() {
        let (mut carried, begun) = (Carried::default(), Instant::now());
        assert_eq!(carried.until(Some(7)), None, "nobody has looked");
        carried.look(begun, 7, Some(7));
        assert_eq!(carried.until(Some(7)), Some(begun));
    }

    #[test]
    fn while_entries_come_each_look_is_reached_in_its_turn() {
        let (mut carried, begun) = (Carried::default(), Instant::now());
        let at = |n| begun + Duration::from_millis(n);
        carried.look(at(0), 10, Some(4));
        assert_eq!(carried.until(Some(9)), None);
        carried.look(at(10), 20, Some(9));
        assert_eq!(carried.until(Some(10)), Some(at(0)));
        carried.look(at(20), 30, Some(19));
        assert_eq!(carried.until(Some(29)), Some(at(0)));
        carried.look(at(30), 40, Some(29));
        assert_eq!(carried.until(Some(31)), Some(at(20)));
        assert_eq!(carried.until(Some(40)), Some(at(30)));
    }

    #[test]
    fn a_stream_that_is_not_taken_up_yet_is_one_that_nothing_is_known_of() {
        let by_name = Found {
            begun: None,
            streams: 2,
        };
        assert_eq!(by_name.unknown_seconds(2), Some(0.0));
        assert_eq!(by_name.unknown_seconds(1), None);
        let begun = Instant::now().checked_sub(Duration::from_secs(9));
        let looked = Found {
            begun: Some(begun.expect("the machine runs for longer")),
            streams: 2,
        };
        assert!(looked.unknown_seconds(3).is_some_and(|age| age >= 9.0));
        assert_eq!(looked.unknown_seconds(0), None);
    }

    #[test]
    fn a_stream_that_began_anew_is_not_taken_for_the_old_one() {
        let (mut carried, begun) = (Carried::default(), Instant::now());
        carried.look(begun, 100, Some(100));
        carried.look(begun, 1, Some(100));
        assert_eq!(carried.until(Some(100)), None);
        carried.look(begun, 1, Some(0));
        assert_eq!(carried.until(Some(0)), None);
        assert_eq!(carried.until(Some(1)), Some(begun));
    }
}
