//! How long a writer keeps off after a commit, so that its next transaction does not meet the markers of the last.
//!
//! A broker that is still writing them puts the new transaction off, and librdkafka asks again only after 20 ms. How long
//! markers take depends on the broker, on the partitions and on everything else that it does, and nobody tells; so the
//! rest is learned: longer at once when a transaction was put off, shorter by a little each time that none was. It settles
//! where about one in a hundred is put off.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(15);
const FIRST: Duration = Duration::from_millis(2);
/// librdkafka's pause before it asks again.
const PUT_OFF: Duration = Duration::from_millis(20);
/// A transaction that begins later than this after a commit meets no markers: it teaches nothing.
const NEAR: Duration = Duration::from_millis(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest(Duration);

impl Default for Rest {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Rest {
    /// What is left of it so long after the commit.
    pub(super) fn left(self, since_commit: Duration) -> Duration {
        self.0.saturating_sub(since_commit)
    }

    /// Learns from a transaction that began so long after a commit, and whose first record took so long to be answered.
    pub(super) fn learn(&mut self, since_commit: Duration, answered_in: Duration) {
        if since_commit > NEAR {
            return;
        }
        let next = if answered_in >= PUT_OFF {
            self.0 * 5 / 4
        } else {
            self.0 - self.0 / 400
        };
        self.0 = next.clamp(SHORTEST, LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(3);

    /// A broker whose markers take so long; answers how many of the last thousand transactions it put off.
    fn settled(rest: &mut Rest, markers: Duration) -> u32 {
        let mut put_off = 0;
        for n in 0..6_000 {
            let begun = rest.left(Duration::ZERO);
            let met = begun < markers;
            let answered_in = if met { PUT_OFF + SOON } else { SOON };
            rest.learn(begun, answered_in);
            put_off += u32::from(met && n >= 5_000);
        }
        put_off
    }

    #[test]
    fn it_settles_just_above_what_the_markers_take() {
        let mut rest = Rest::default();
        for markers in [6, 2, 10, 3].map(Duration::from_millis) {
            let put_off = settled(&mut rest, markers);
            assert!(put_off <= 15, "{put_off} of 1000 at {markers:?}");
            let left = rest.left(Duration::ZERO);
            assert!(left <= markers * 5 / 4, "{left:?} for {markers:?}");
        }
    }

    #[test]
    fn it_stays_within_its_bounds_and_learns_nothing_from_afar() {
        let mut rest = Rest::default();
        rest.learn(Duration::from_secs(1), PUT_OFF);
        assert_eq!(rest, Rest::default(), "no markers were met");
        for _ in 0..50 {
            rest.learn(SOON, PUT_OFF);
        }
        assert_eq!(rest.left(Duration::ZERO), LONGEST);
        for _ in 0..5_000 {
            rest.learn(SOON, SOON);
        }
        assert_eq!(rest.left(Duration::ZERO), SHORTEST);
        assert_eq!(rest.left(Duration::from_secs(1)), Duration::ZERO);
    }
}
