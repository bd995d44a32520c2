//! Made-up outcomes for the tests of what is printed.

use std::collections::BTreeMap;

use crate::entry::{Database, EntryId};
use crate::parity::{Class, Counts, Difference, Location, Outcome, WindowDigest};
use crate::placement::{Offset, Partition};
use crate::status::ParityState;

pub fn difference(class: Class, records: &[(i32, i64)]) -> Difference {
    Difference {
        class,
        route: "chat".to_owned(),
        database: Some(Database(0)),
        stream: Some("msg:stream:7".to_owned()),
        id: Some(EntryId::new(1_741_356_110_123, 0)),
        parts: Vec::new(),
        why: None,
        topic: "messages.v1".to_owned(),
        expected_partition: Some(Partition(3)),
        letters: 0,
        more: 0,
        records: records
            .iter()
            .map(|&(partition, offset)| Location {
                partition: Partition(partition),
                offset: Offset(offset),
                generation: 0,
            })
            .collect(),
    }
}

pub fn window(stream: &str, after: u64, through: u64, level: bool) -> WindowDigest {
    let digest = |of: u64| format!("{of:032x}");
    WindowDigest {
        database: 0,
        stream: stream.to_owned(),
        after: EntryId::new(after, 0),
        through: EntryId::new(through, 0),
        entries: through - after,
        records: through - after,
        digest: digest(through),
        kafka_digest: digest(through + u64::from(!level)),
        level,
    }
}

/// 16 streams, all the same.
pub fn level() -> Outcome {
    let counts = Counts::level(18_402_113, 0);
    Outcome {
        verdict: ParityState::Level,
        unknown_because: None,
        routes: BTreeMap::from([("chat".to_owned(), counts.clone())]),
        counts,
        streams: 16,
        unread: Vec::new(),
        differences: Vec::new(),
        differences_not_shown: 0,
        windows: vec![window("msg:stream:7", 0, 100, true)],
        lower_bound: Some(0.999_999_837),
        sampled: None,
        began_at: "2026-03-12T14:03:48Z".to_owned(),
        ended_at: Some("2026-03-12T14:04:00Z".to_owned()),
        kafka_born: 0,
    }
}

/// 2 missing, 1 duplicate, 80 pending, 12 unverifiable.
pub fn apart() -> Outcome {
    let mut counts = Counts::level(61_220_408, 0);
    counts.count(Class::Missing, 2);
    counts.count(Class::Pending, 80);
    counts.count(Class::Unverifiable, 12);
    counts.count(Class::Duplicate, 1);
    counts.redis_entries += 95;
    counts.kafka_records += 2;
    counts.copies += 1;
    counts.only_redis += 94;
    Outcome {
        verdict: ParityState::Apart,
        routes: BTreeMap::from([("chat".to_owned(), counts.clone())]),
        counts,
        differences: vec![
            difference(Class::Missing, &[]),
            difference(Class::Duplicate, &[(3, 812), (3, 815)]),
            difference(Class::Missing, &[]),
        ],
        lower_bound: Some(0.999_999_82),
        ..level()
    }
}

/// A sample that met nothing.
pub fn unknown() -> Outcome {
    Outcome {
        verdict: ParityState::Unknown,
        unknown_because: Some("no entry was compared".to_owned()),
        counts: Counts::default(),
        routes: BTreeMap::new(),
        streams: 0,
        windows: Vec::new(),
        lower_bound: None,
        sampled: Some(0.05),
        ..level()
    }
}
