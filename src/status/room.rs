//! How long Redis can still hold what is not mirrored: pure arithmetic over successive looks at a stream.
//!
//! Two things can take an unread entry away: a producer that trims (`MAXLEN`, `MINID`, `XTRIM`), and memory that runs
//! full. The first shows as entries removed between two looks; the mirrored entries that still stand in front of the
//! oldest unmirrored one are the room, and it shrinks by what is removed beyond what is mirrored. The second is bytes left
//! over bytes gained a second.

/// What a look at a stream saw. Times in milliseconds of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    pub at_ms: i64,
    pub entries_added: u64,
    pub length: u64,
}

/// Rates over the looks so far, smoothed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room {
    last: Option<(i64, u64, u64)>,
    /// Entries a second: removed from the stream, and mirrored.
    pace: Option<(f64, f64)>,
}

impl Room {
    /// Takes in a look; `mirrored`: how many of the entries ever added are mirrored. Looks closer than a second apart are
    /// passed over: their rates are noise.
    pub fn observe(&mut self, seen: Observation, mirrored: u64) {
        let removed = seen.entries_added.saturating_sub(seen.length);
        let Some((at_ms, removed_before, mirrored_before)) = self.last else {
            self.last = Some((seen.at_ms, removed, mirrored));
            return;
        };
        let elapsed_ms = seen.at_ms - at_ms;
        if elapsed_ms < 1_000 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate =
            |now: u64, before: u64| now.saturating_sub(before) as f64 * 1_000.0 / elapsed_ms as f64;
        let now = (
            rate(removed, removed_before),
            rate(mirrored, mirrored_before),
        );
        let smooth = |old: f64, new: f64| old.midpoint(new);
        self.pace = Some(
            self.pace
                .map_or(now, |old| (smooth(old.0, now.0), smooth(old.1, now.1))),
        );
        self.last = Some((seen.at_ms, removed, mirrored));
    }

    /// Seconds until the oldest of `unmirrored` entries is trimmed, of a stream that holds `length`; `None` where nothing
    /// trims, or the mirror is as quick as what trims.
    #[must_use]
    pub fn seconds_to_trim(&self, length: u64, unmirrored: u64) -> Option<f64> {
        let (removed, mirrored) = self.pace?;
        let closing = removed - mirrored;
        if unmirrored == 0 || closing <= 0.01 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        let room = length.saturating_sub(unmirrored) as f64;
        Some(room / closing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(second: i64, entries_added: u64, length: u64) -> Observation {
        Observation {
            at_ms: second * 1_000,
            entries_added,
            length,
        }
    }

    #[test]
    fn nothing_removed_means_no_limit() {
        let mut room = Room::default();
        room.observe(look(0, 100, 100), 90);
        room.observe(look(10, 200, 200), 90);
        assert_eq!(room.seconds_to_trim(200, 110), None);
    }

    #[test]
    fn the_room_is_what_stands_before_the_oldest_unmirrored() {
        let mut room = Room::default();
        room.observe(look(0, 1_000, 1_000), 900);
        room.observe(look(10, 1_100, 1_000), 900);
        assert_eq!(
            room.seconds_to_trim(1_000, 200),
            Some(80.0),
            "800 entries at 10 a second"
        );
        assert_eq!(room.seconds_to_trim(1_000, 1_000), Some(0.0));
    }

    #[test]
    fn a_capped_stream_that_the_mirror_keeps_up_with_is_in_no_danger() {
        let mut room = Room::default();
        room.observe(look(0, 1_000, 1_000), 1_000);
        room.observe(look(10, 1_100, 1_000), 1_100);
        assert_eq!(room.seconds_to_trim(1_000, 0), None);
        assert_eq!(room.seconds_to_trim(1_000, 5), None);
    }
}
