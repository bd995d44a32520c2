//! When applications may have written to Kafka themselves: from the first step that gives Kafka buckets to write, until all
//! writes are Redis's again and every application that answers has followed.
//!
//! What they write then names no entry of Redis and is no stranger's either: nobody can compare it with anything until
//! something brings it into Redis, and it must not look like a fault.

use serde::{Deserialize, Serialize};

/// Records are dated by the clocks of those who write them, and the last of them may wait in a buffer.
const MARGIN_MS: i64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaBorn {
    pub from_ms: i64,
    /// `None`: they may now.
    pub until_ms: Option<i64>,
}

impl KafkaBorn {
    /// From now on they may.
    #[must_use]
    pub fn opened(before: Option<Self>, now_ms: i64) -> Self {
        Self {
            from_ms: before.map_or(now_ms, |before| before.from_ms),
            until_ms: None,
        }
    }

    /// From now on they may not.
    #[must_use]
    pub fn closed(self, now_ms: i64) -> Self {
        Self {
            until_ms: Some(self.until_ms.unwrap_or(now_ms)),
            ..self
        }
    }

    /// Whether a record of this date may be one of theirs.
    #[must_use]
    pub fn covers(&self, dated_ms: Option<i64>) -> bool {
        let Some(dated) = dated_ms else {
            return false;
        };
        dated >= self.from_ms - MARGIN_MS
            && self
                .until_ms
                .is_none_or(|until| dated <= until.saturating_add(MARGIN_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_theirs_from_the_first_opening_to_the_last_closing() {
        let open = KafkaBorn::opened(None, 1_000_000);
        let later = [Some(940_000), Some(1_000_000), Some(9_000_000)];
        assert!(later.iter().all(|at| open.covers(*at)));
        assert!(!open.covers(Some(939_999)) && !open.covers(None));
        let closed = open.closed(2_000_000);
        assert!(closed.covers(Some(2_060_000)) && !closed.covers(Some(2_060_001)));
        assert_eq!(closed.closed(3_000_000), closed, "it was closed already");
        let again = KafkaBorn::opened(Some(closed), 4_000_000);
        assert_eq!((again.from_ms, again.until_ms), (1_000_000, None));
    }
}
