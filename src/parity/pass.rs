//! One pass over both stores: windows of each stream, digested on either side, in bounded memory whatever the backlog.
//!
//! ```text
//!   checkpoints ─▶ ends of the logs ─▶ XINFO ─▶ read Redis, cut windows ─▶ read Kafka up to those ends, fill windows
//! ```
//!
//! The order is what makes the answer exact. An entry at or below a checkpoint is in Kafka below an end that was asked for
//! later. A record below such an end was in Redis before, so its id is not above the last id that XINFO gives after that. So
//! neither side can seem to lack what only came later.
//!
//! Everything a pass knows is plain data: it can be written down at any moment and gone on with from there, cursors and sums
//! together.
mod kafka;
mod redis;
mod scope;
mod strays;
mod stream;
mod topic;

use serde::{Deserialize, Serialize};

use crate::placement::Offset;
use crate::routing::Routes;

use super::class::Read;
use super::error::Error;

pub use scope::{Beside, Later, Scope, Window};
pub use strays::{Strays, Unnamed};
pub use stream::StreamPass;
pub use topic::{Extent, TopicPass};

/// Entries of a window at most.
pub const WINDOW_ENTRIES: u64 = 100_000;
/// Records that belong to no window, kept as examples.
const EXAMPLES: usize = 1_000;

/// A pass, as far as it has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pass {
    pub seed: u64,
    /// The share of ids compared, as the upper end of the lots that are in; `u64::MAX`: all.
    pub lots: u64,
    /// A record of a stream that a route takes and that there never was is extra; otherwise it is not the pass's business.
    pub covers_all: bool,
    /// Milliseconds since 1970, both included: a record that is no entry's is the pass's by its own time. `None`: all are.
    #[serde(default)]
    pub strays_within: Option<(u64, u64)>,
    /// Keep what belongs to no window of its stream.
    pub keeps_beside: bool,
    #[serde(skip)]
    beside: usize,
    pub streams: Vec<StreamPass>,
    pub topics: Vec<TopicPass>,
    pub strays: Strays,
    /// Records read from Kafka.
    pub kafka_records: u64,
    /// Those of them that are none of the pass's: of other passes' streams, out of its range or its sample.
    #[serde(default)]
    passed_over: u64,
}

impl Pass {
    /// A pass over these streams and logs; all ids are compared.
    #[must_use]
    pub fn new(seed: u64, streams: Vec<StreamPass>, topics: Vec<TopicPass>) -> Self {
        Self {
            seed,
            lots: u64::MAX,
            streams,
            topics,
            ..Self::default()
        }
    }

    /// The auditor's: what belongs to no window is kept, and a record of a stream that there never was is its business.
    #[must_use]
    pub fn of_audit(seed: u64, streams: Vec<StreamPass>, topics: Vec<TopicPass>) -> Self {
        Self {
            covers_all: true,
            keeps_beside: true,
            ..Self::new(seed, streams, topics)
        }
    }

    /// An auditor's over streams and logs as another left them. What that one read and was none of its own is told no more.
    #[must_use]
    pub fn resumed(seed: u64, streams: Vec<StreamPass>, topics: Vec<TopicPass>) -> Self {
        let mut pass = Self::of_audit(seed, streams, topics);
        let beside = (pass.streams.iter()).map(|one| one.behind.len() + one.ahead.len());
        pass.beside = beside.sum();
        pass.kafka_records = pass.kept().kafka;
        pass
    }

    /// What was read of that which is the pass's.
    #[must_use]
    pub fn read(&self) -> Read {
        let entries = self.streams.iter().map(|one| one.read - one.passed_over);
        Read {
            redis: entries.sum(),
            kafka: self.kafka_records.saturating_sub(self.passed_over),
        }
    }

    /// Why what was read is not what is in the windows and beside them, in words; `None`: it is.
    #[must_use]
    pub fn unaccounted(&self) -> Option<String> {
        let (read, kept) = (self.read(), self.kept());
        (kept != read).then(|| {
            format!(
                "{} entries and {} records were read, {} and {} are kept of them",
                read.redis, read.kafka, kept.redis, kept.kafka
            )
        })
    }

    /// What is in the windows and beside them.
    fn kept(&self) -> Read {
        let mut kept = Read {
            redis: 0,
            kafka: self.strays.total(),
        };
        for stream in &self.streams {
            for window in &stream.windows {
                kept.redis += window.redis.count;
                kept.kafka += window.kafka.count;
            }
            let later: u64 = stream.later.iter().map(|later| later.records).sum();
            let beside = (stream.behind.len() + stream.ahead.len()) as u64 + later + stream.unkept;
            kept.kafka += stream.below.values().sum::<u64>() + stream.orphans + beside;
        }
        kept
    }

    /// Gives the streams their routes, after a pass was read back.
    ///
    /// # Errors
    /// A stream has no route any more.
    pub fn bind(&mut self, routes: &Routes) -> Result<(), Error> {
        for stream in &mut self.streams {
            if stream.binding.is_none() {
                stream.binding = routes.bind(&stream.stream);
            }
            if stream.binding.is_none() {
                return Err(Error::Usage(format!(
                    "no route takes stream {} of database {} any more",
                    stream.stream.name, stream.stream.database
                )));
            }
        }
        Ok(())
    }

    /// Whether both sides have been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.streams.iter().all(StreamPass::is_read) && self.topics.iter().all(TopicPass::is_read)
    }

    #[must_use]
    pub fn redis_is_read(&self) -> bool {
        self.streams.iter().all(StreamPass::is_read)
    }

    /// Entries read of Redis and how many there are; for a stream that is read in part the share of its ids' times counts.
    #[must_use]
    pub fn redis_progress(&self) -> (u64, u64) {
        self.streams.iter().fold((0, 0), |(done, total), stream| {
            let wanted = stream.wanted();
            let read = if stream.is_read() {
                wanted
            } else {
                stream.read.min(wanted)
            };
            (done + read, total + wanted)
        })
    }

    /// Offsets read of Kafka's logs and how many there are.
    #[must_use]
    pub fn kafka_progress(&self) -> (u64, u64) {
        let span = |from: Offset, to: Offset| u64::try_from(to.0 - from.0).unwrap_or(0);
        let extents = self.topics.iter().flat_map(|topic| &topic.extents);
        extents.fold((0, 0), |(done, total), extent| {
            (
                done + span(extent.start, extent.next.min(extent.end)),
                total + span(extent.start, extent.end),
            )
        })
    }
}

#[cfg(test)]
mod tests;
