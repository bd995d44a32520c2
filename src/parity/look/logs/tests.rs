//! What a log that lost its beginning explains: streams that share a partition do not ascend together.

use super::super::subject::tests::{identity, wanted};
use super::*;
use crate::parity::compare::Made;
use crate::parity::digest::Parts;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const NOW_MS: i64 = 1_790_000_000_000;

fn id(at_ms: i64) -> EntryId {
    EntryId::new(u64::try_from(at_ms).expect("a time"), 0)
}

fn held(at_ms: i64) -> Held {
    let made = Made {
        partition: Partition(0),
        parts: Parts::default(),
        has_key: true,
    };
    Held {
        id: id(at_ms),
        record: Some(made),
        fields: 0,
    }
}

/// Its partition 0 begins later than it did, with another stream's record of this time.
fn log(first_ms: i64, retention_ms: Option<i64>) -> LogFacts {
    LogFacts {
        first_ms: BTreeMap::from([(Partition(0), Some(first_ms))]),
        retention_ms,
        ..LogFacts::default()
    }
}

fn course() -> Courses {
    Courses::new(&[wanted(0, u64::MAX)], &[Subject::default()])
}

#[test]
fn what_was_due_may_have_expired_behind_a_younger_record_of_another_stream() {
    let courses = course();
    let (old, fresh) = (held(NOW_MS - 2 * DAY_MS), held(NOW_MS - HOUR_MS));
    // The other stream was mirrored late: its record is older, and stands behind.
    let first_ms = NOW_MS - 3 * DAY_MS;
    let lost = |entry, retention| log(first_ms, retention).lost(entry, &courses.all[0], NOW_MS);
    assert_eq!(lost(&old, Some(DAY_MS)), Some(Why::KafkaExpired));
    assert_eq!(lost(&fresh, Some(DAY_MS)), None, "it is not due yet");
    assert_eq!(lost(&old, None), None, "the topic keeps what is old");
    let kept = LogFacts {
        retention_ms: Some(DAY_MS),
        ..LogFacts::default()
    };
    let whole = kept.lost(&old, &courses.all[0], NOW_MS);
    assert_eq!(whole, None, "the log still has its beginning");
}

#[test]
fn what_is_due_and_stood_behind_an_older_record_of_its_stream_is_missing() {
    let mut courses = course();
    let older = u64::try_from(NOW_MS - 2 * DAY_MS - 1).expect("a time");
    courses.all[0].pass(&identity(older), false, Partition(0));
    let log = log(NOW_MS - 3 * DAY_MS, Some(DAY_MS));
    let lost = log.lost(&held(NOW_MS - 2 * DAY_MS), &courses.all[0], NOW_MS);
    assert_eq!(lost, None);
}

#[test]
fn what_is_not_due_has_expired_where_all_that_is_left_is_younger() {
    let courses = course();
    let log = log(NOW_MS - HOUR_MS, None);
    let lost = |at_ms| log.lost(&held(at_ms), &courses.all[0], NOW_MS);
    assert_eq!(lost(NOW_MS - 2 * HOUR_MS), Some(Why::KafkaExpired));
    assert_eq!(lost(NOW_MS), None);
}
