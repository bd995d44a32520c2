//! Windows that were digested before, digested again: the same cuts, the same seed, both stores as they are now.
//!
//! A report keeps the digest of each side of each window. Whoever has it need not trust the tool's word of that day: sums of
//! the same records under the same seed are the same, and others are others but for a collision (digest.rs). What a side
//! has lost since then as stores lose things (a trim, a deletion, retention) is told apart from what is other than it was.

mod expired;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::expired::Expired;
use super::census::Census;
use super::class::Why;
use super::digest::Sum;
use super::edges::Edges;
use super::error::Error;
use super::look::{Span, logs_now};
use super::pace::Pace;
use super::pass::{Pass, Scope, StreamPass};
use super::unread::{self, Look};
use super::verify::{Progress, Ran, Seldom, Step, WindowDigest, lots};
use crate::entry::{Database, EntryId, StreamRef};
use crate::placement::Topic;
use crate::routing::Routes;
use crate::streams::Inspected;

/// The windows of an earlier verification, and how they were digested.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    /// Those of one stream one behind the other.
    pub windows: &'a [WindowDigest],
    pub seed: u64,
    /// The share of ids that was drawn; `None`: all.
    pub sampled: Option<f64>,
    /// The first entry that was asked for.
    pub from: Option<EntryId>,
}

/// A window as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    pub redis: Sum,
    pub kafka: Sum,
    /// Why Redis may hold less than it did.
    pub redis_lost: Option<Why>,
    pub kafka_lost: Option<Why>,
    /// Why its stream cannot be read; nothing was digested then.
    pub unread: Option<String>,
}

/// Windows on their way to be digested again: plain data, positions and sums together, so that it can be written down and
/// gone on with.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Digesting {
    pass: Pass,
}

impl Digesting {
    /// # Errors
    /// A store gave no answer, or no route takes one of the streams any more.
    pub async fn begin(edges: &Arc<Edges>, before: Before<'_>) -> Result<Self, Error> {
        let mut streams = streams(&edges.routes, before.windows)?;
        let now = looks(edges, streams.iter().map(|one| &one.stream)).await?;
        streams.retain(|one| now.get(&one.stream).is_some_and(Result::is_ok));
        let topics: BTreeSet<(Topic, bool)> = streams
            .iter()
            .flat_map(|stream| [(&stream.topic, false), (&stream.letters, true)])
            .map(|(topic, letters)| (Topic::from(topic.as_str()), letters))
            .collect();
        let topics: Vec<(Topic, bool)> = topics.into_iter().collect();
        let logs = logs_now(edges, &topics, before.from.map_or(Span::All, Span::Since)).await?;
        let mut pass = Pass::new(before.seed, streams, logs);
        pass.lots = before.sampled.map_or(u64::MAX, lots);
        Ok(Self { pass })
    }

    /// Reads what is left of both stores. `each` is called a few times a second.
    ///
    /// # Errors
    /// A store gave no answer; what was read stands.
    pub async fn run(
        &mut self,
        edges: &Arc<Edges>,
        pace: &Pace,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(&Self) + Send),
    ) -> Result<Ran, Error> {
        self.pass.bind(&edges.routes)?;
        let mut pass = std::mem::take(&mut self.pass);
        let mut seldom = Seldom::default();
        let mut seen = |pass: &Pass| {
            if seldom.now() {
                self.pass = pass.clone();
                each(self);
            }
            ControlFlow::Continue(())
        };
        let mut read = pass.read_redis(&edges.redis, pace, stop, &mut seen).await;
        if let Ok(true) = read {
            read = tokio::task::block_in_place(|| {
                pass.read_kafka(edges, &mut Census::default(), pace, stop, &mut seen)
            });
        }
        self.pass = pass;
        each(self);
        Ok(if read? {
            Ran::Finished
        } else {
            Ran::Interrupted
        })
    }

    /// Each window as it is now, in the order given; to be asked when all is read.
    ///
    /// # Errors
    /// Redis gave no answer.
    pub async fn compared(
        &self,
        edges: &Arc<Edges>,
        before: Before<'_>,
    ) -> Result<Vec<Again>, Error> {
        let streams: BTreeSet<StreamRef> = before.windows.iter().map(key).collect();
        let mut now = looks(edges, streams.iter()).await?;
        // What came to be readable meanwhile was not read.
        let read: BTreeSet<&StreamRef> = self.pass.streams.iter().map(|one| &one.stream).collect();
        for (stream, look) in &mut now {
            if !read.contains(stream) && look.is_ok() {
                *look = Err("it could not be read when this began".to_owned());
            }
        }
        Ok(compared(before.windows, &self.pass, &now))
    }

    #[must_use]
    pub fn progress(&self) -> Progress {
        let pass = &self.pass;
        let (step, (done, total)) = if pass.redis_is_read() {
            (Step::Kafka, pass.kafka_progress())
        } else {
            (Step::Redis, pass.redis_progress())
        };
        Progress {
            step,
            done,
            total,
            redis_entries: pass.streams.iter().map(|stream| stream.read).sum(),
            kafka_records: pass.kafka_records,
        }
    }
}

fn key(window: &WindowDigest) -> StreamRef {
    StreamRef::new(Database(window.database), window.stream.as_str())
}

/// A pass of each stream over its windows, whatever its stream holds now.
fn streams(routes: &Routes, windows: &[WindowDigest]) -> Result<Vec<StreamPass>, Error> {
    let mut by_stream: BTreeMap<StreamRef, Vec<&WindowDigest>> = BTreeMap::new();
    for window in windows {
        by_stream.entry(key(window)).or_default().push(window);
    }
    by_stream
        .into_iter()
        .map(|(stream, windows)| {
            let binding = routes.bind(&stream).ok_or_else(|| {
                Error::Usage(format!(
                    "no route takes stream {} of database {} any more",
                    stream.name, stream.database
                ))
            })?;
            if windows.windows(2).any(|two| two[0].through != two[1].after) {
                return Err(Error::Usage(format!(
                    "the windows of stream {stream} do not follow one another"
                )));
            }
            let cuts: Vec<EntryId> = windows.iter().map(|window| window.through).collect();
            let scope = scope(&windows);
            Ok(StreamPass::new(stream, binding, scope).cut_at(cuts))
        })
        .collect()
}

/// Every id of these windows, as though Redis had them all: what it has lost since must not take Kafka's records out of
/// their windows.
fn scope(windows: &[&WindowDigest]) -> Scope {
    let after = windows.first().map_or(EntryId::ZERO, |first| first.after);
    let through = windows.last().map_or(after, |last| last.through);
    Scope {
        after,
        through,
        committed: through,
        first: after.next(),
        last: through,
        absent: true,
        length: windows.iter().map(|window| window.entries).sum(),
        ..Scope::default()
    }
}

/// What the streams look like now, and why some of them cannot be read.
async fn looks(
    edges: &Arc<Edges>,
    streams: impl Iterator<Item = &StreamRef> + Clone,
) -> Result<BTreeMap<StreamRef, Look>, Error> {
    let looks = unread::looks(&edges.redis, streams.clone()).await?;
    Ok(streams.cloned().zip(looks).collect())
}

fn compared(windows: &[WindowDigest], pass: &Pass, now: &BTreeMap<StreamRef, Look>) -> Vec<Again> {
    let mut streams: BTreeMap<&StreamRef, (&StreamPass, usize, Expired)> = pass
        .streams
        .iter()
        .map(|stream| (&stream.stream, (stream, 0, Expired::of(pass, stream))))
        .collect();
    windows
        .iter()
        .map(|before| {
            let stream = key(before);
            let look = now.get(&stream);
            let unread = look.and_then(|look| look.as_ref().err());
            let here = (streams.get_mut(&stream)).and_then(|(stream, next, expired)| {
                *next += 1;
                Some((stream.windows.get(*next - 1)?, &*expired))
            });
            let Some((window, expired)) = here else {
                return Again {
                    redis: Sum::default(),
                    kafka: Sum::default(),
                    redis_lost: None,
                    kafka_lost: None,
                    unread: unread.cloned(),
                };
            };
            Again {
                redis: window.redis,
                kafka: window.kafka,
                redis_lost: (window.redis.count < before.entries)
                    .then(|| redis_lost(before, look))
                    .flatten(),
                kafka_lost: expired
                    .explains(before, window)
                    .then_some(Why::KafkaExpired),
                unread: unread.cloned(),
            }
        })
        .collect()
}

/// Why Redis holds fewer entries of the window than it did.
fn redis_lost(before: &WindowDigest, now: Option<&Look>) -> Option<Why> {
    let Some(Ok(Inspected::Stream(state))) = now else {
        return Some(Why::RedisDeleted);
    };
    let deleted = state
        .max_deleted_entry_id
        .is_none_or(|deleted| deleted > before.after);
    let trimmed = state.first.is_none_or(|first| first > before.after);
    match (deleted, trimmed) {
        (true, _) => Some(Why::RedisDeleted),
        (false, true) => Some(Why::RedisTrimmed),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests;
