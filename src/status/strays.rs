//! Strays: entries that came to Redis although their bucket is Kafka's. They are mirrored all the same; their order is not kept.
//!
//! They are counted under the version of the flags that they went against, so that what was right before a way back is not
//! held against it, and named by stream and bucket. Pure but for the time that it is given.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::entry::StreamRef;

/// For so long a stray stands against a step forward.
const RECENT: Duration = Duration::from_secs(60);
/// So many are named; the rest are counted.
const NAMED: usize = 20;

/// What a status shows of strays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StraysStatus {
    /// The version of the flags that they went against; null: none has.
    pub version: Option<u64>,
    /// Since that version, on this instance.
    pub entries: u64,
    /// In the last minute.
    pub recent_entries: u64,
    /// Since the last one; null: there was none.
    pub last_seconds: Option<f64>,
    pub named: Vec<StrayStatus>,
    /// The last entry whose bucket was held while applications went over; null: there was none.
    pub held: Option<HeldStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrayStatus {
    pub database: u32,
    pub stream: String,
    pub bucket: u16,
    pub entries: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeldStatus {
    /// The version of the flags that held it.
    pub version: u64,
    pub database: u32,
    pub stream: String,
    pub bucket: u16,
    /// Since it was mirrored.
    pub seconds: f64,
}

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Strays {
    version: u64,
    entries: u64,
    recent: VecDeque<(Instant, u64)>,
    named: BTreeMap<(StreamRef, u16), u64>,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    version: u64,
    stream: StreamRef,
    bucket: u16,
    at: Instant,
}

impl Strays {
    /// Counts one. `true`: it is the first of its stream and bucket that is named.
    pub(super) fn count(
        &mut self,
        version: u64,
        stream: &StreamRef,
        bucket: u16,
        at: Instant,
    ) -> bool {
        if version < self.version {
            return false;
        }
        if version > self.version {
            *self = Self {
                version,
                held: self.held.take(),
                ..Self::default()
            };
        }
        self.entries += 1;
        match self.recent.back_mut() {
            Some((second, count)) if at.duration_since(*second) < Duration::from_secs(1) => {
                *count += 1
            }
            _ => self.recent.push_back((at, 1)),
        }
        self.forget(at);
        let key = (stream.clone(), bucket);
        if let Some(known) = self.named.get_mut(&key) {
            *known += 1;
            return false;
        }
        let room = self.named.len() < NAMED;
        if room {
            self.named.insert(key, 1);
        }
        room
    }

    /// Keeps the last entry of a bucket that is held.
    pub(super) fn held(&mut self, version: u64, stream: &StreamRef, bucket: u16, at: Instant) {
        if self
            .held
            .as_ref()
            .is_some_and(|last| last.version > version)
        {
            return;
        }
        self.held = Some(Held {
            version,
            stream: stream.clone(),
            bucket,
            at,
        });
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.recent.front()
            && now.duration_since(*at) > RECENT
        {
            self.recent.pop_front();
        }
    }

    pub(super) fn status(&mut self, now: Instant) -> StraysStatus {
        let last = self.recent.back().map(|(at, _)| now.duration_since(*at));
        self.forget(now);
        let named = self
            .named
            .iter()
            .map(|((stream, bucket), entries)| StrayStatus {
                database: stream.database.0,
                stream: stream.name.to_string(),
                bucket: *bucket,
                entries: *entries,
            });
        StraysStatus {
            version: (self.entries > 0).then_some(self.version),
            entries: self.entries,
            recent_entries: self.recent.iter().map(|(_, count)| count).sum(),
            last_seconds: last.map(|ago| ago.as_secs_f64()),
            named: named.collect(),
            held: self.held.as_ref().map(|held| HeldStatus {
                version: held.version,
                database: held.stream.database.0,
                stream: held.stream.name.to_string(),
                bucket: held.bucket,
                seconds: now.duration_since(held.at).as_secs_f64(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Database, StreamName};

    #[test]
    fn they_are_named_and_grow_old_and_belong_to_one_version() {
        let (mut strays, begun) = (Strays::default(), Instant::now());
        let stream = StreamRef {
            database: Database(0),
            name: StreamName::from("msg:a"),
        };
        assert!(strays.count(7, &stream, 3, begun));
        assert!(!strays.count(7, &stream, 3, begun), "it is named already");
        let seen = strays.status(begun + Duration::from_secs(2));
        assert_eq!(
            (seen.version, seen.entries, seen.recent_entries),
            (Some(7), 2, 2)
        );
        assert_eq!((seen.named[0].bucket, seen.named[0].entries), (3, 2));
        assert!(
            !strays.count(6, &stream, 3, begun),
            "it went against older flags"
        );
        let seen = strays.status(begun + Duration::from_secs(62));
        assert_eq!((seen.entries, seen.recent_entries), (2, 0));
        assert_eq!(seen.held, None);
        strays.held(8, &stream, 4, begun + Duration::from_secs(60));
        strays.held(7, &stream, 5, begun + Duration::from_secs(61));
        assert!(strays.count(8, &stream, 3, begun));
        let seen = strays.status(begun + Duration::from_secs(62));
        assert_eq!(seen.entries, 1);
        let held = seen.held.expect("it is kept from version to version");
        assert_eq!((held.version, held.bucket, held.seconds), (8, 4, 2.0));
    }
}
