//! Looks at streams beside the reading: at all of them before the first read, at some of them in turn, and behind each read.
//!
//! A look brings counters and no entries, except for the atomic one that counts what stands behind a stream's mark. As with a read,
//! one that shows another history than the term's is thrown away and ends the term.

use std::time::{Duration, Instant};

use super::super::gaps::Mark;
use super::super::lane::{Lane, Verdict};
use super::{Ended, Reader};
use crate::entry::{Entry, StreamName};
use crate::streams::{Connection, Error, Looked, Replication};

/// Idle streams looked at in one turn of the rotation.
const ROTATION: usize = 50;
/// A stream whose count has been open for this long is looked at by one atomic read.
const STOCKTAKE_AFTER: Duration = Duration::from_secs(1);

impl Reader {
    /// A look at every stream: before the first read, and after a key turned out to be no stream.
    pub(super) async fn look_at_all(
        &mut self,
        connection: &mut Connection,
    ) -> Result<Option<Ended>, Error> {
        let all: Vec<usize> = (0..self.lanes.len()).collect();
        for some in all.chunks(500) {
            if let Some(ended) = self.look_at(connection, some).await? {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    /// A look at the next few idle streams, and an atomic one at an active stream whose count has stayed open.
    pub(super) async fn rotate(
        &mut self,
        connection: &mut Connection,
    ) -> Result<Option<Ended>, Error> {
        let some: Vec<usize> = (0..self.lanes.len().min(ROTATION))
            .map(|nth| (self.turn + nth) % self.lanes.len())
            .collect();
        self.turn = (self.turn + some.len()) % self.lanes.len().max(1);
        if let Some(ended) = self.look_at(connection, &some).await? {
            return Ok(Some(ended));
        }
        let open = |lane: &Lane| {
            lane.is_readable()
                && lane.exact_at.elapsed() >= STOCKTAKE_AFTER
                && (lane.open || lane.mark.id != lane.mark.exact)
        };
        let Some(at) = (0..self.lanes.len())
            .filter(|&at| open(&self.lanes[at]))
            .min_by_key(|&at| self.lanes[at].exact_at)
        else {
            return Ok(None);
        };
        self.stocktake(connection, at).await
    }

    async fn look_at(
        &mut self,
        connection: &mut Connection,
        some: &[usize],
    ) -> Result<Option<Ended>, Error> {
        if some.is_empty() {
            return Ok(None);
        }
        let names: Vec<StreamName> = some
            .iter()
            .map(|&at| self.lanes[at].slot.stream.name.clone())
            .collect();
        let begun = Instant::now();
        for &at in some {
            self.lanes[at].looked = begun;
        }
        let (looks, replication) = connection.inspect_in_history(&names).await?;
        if !self.is_same(&replication) {
            return Ok(Some(Ended::Failover));
        }
        let gone = |(&at, look): (&usize, &Looked)| {
            look.as_ref().is_ok_and(|look| self.lanes[at].is_gone(look))
        };
        if some.iter().zip(&looks).any(gone) {
            self.ask_evictions(connection).await?;
        }
        let mut parts = Vec::new();
        for (&at, look) in some.iter().zip(&looks) {
            let lane = &mut self.lanes[at];
            match look {
                Ok(look) => {
                    let from = lane.mark;
                    let verdict = lane.judge(&self.shared, look, None);
                    parts.extend(self.follow(at, verdict, from, Vec::new()));
                }
                Err(error) => lane.refuse(&self.shared, error),
            }
        }
        self.send(parts, replication, true).await
    }

    /// Whether a stream that is gone was evicted shows in Redis's count as it is now, not as it was surveyed.
    pub(super) async fn ask_evictions(&self, connection: &mut Connection) -> Result<(), Error> {
        let board = &self.shared.board;
        if board.redis_seen().is_some_and(|redis| redis.evicts_streams) {
            board.redis_evicted(connection.server().await?.evicted_keys);
        }
        Ok(())
    }

    async fn stocktake(
        &mut self,
        connection: &mut Connection,
        at: usize,
    ) -> Result<Option<Ended>, Error> {
        let count = self.share(&[at]);
        let name = self.lanes[at].slot.stream.name.clone();
        let from = self.lanes[at].mark;
        self.lanes[at].looked = Instant::now();
        let taken = connection.stocktake(&name, from.id, count).await;
        let (look, entries) = taken.inspect_err(|error| self.shrink(&[at], count, error))?;
        let replication = connection.replication().await?;
        if !self.is_same(&replication) {
            return Ok(Some(Ended::Failover));
        }
        let unread = (entries.len() < count).then_some(entries.len() as u64);
        let lane = &mut self.lanes[at];
        let verdict = lane.judge(&self.shared, &look, unread);
        if unread.is_none() {
            // Too far behind to count; the next turn that runs dry will tell.
            lane.exact_at = Instant::now();
        }
        if matches!(verdict, Verdict::Go(_)) {
            lane.measure(&entries, count);
            lane.advance(&entries);
        }
        let dry = !self.lanes.iter().any(|lane| lane.busy);
        let part = self.follow(at, verdict, from, entries);
        self.send(part.into_iter().collect(), replication, dry)
            .await
    }

    /// A look at streams just read. `None`: the history is another than the term's.
    pub(super) async fn look_behind(
        &mut self,
        connection: &mut Connection,
        parts: &[(usize, Mark, Vec<Entry>)],
    ) -> Result<Option<(Vec<Looked>, Replication)>, Error> {
        let names: Vec<StreamName> = parts
            .iter()
            .map(|(at, ..)| self.lanes[*at].slot.stream.name.clone())
            .collect();
        let begun = Instant::now();
        for (at, ..) in parts {
            self.lanes[*at].looked = begun;
        }
        let seen = connection.inspect_in_history(&names).await;
        if seen.is_err() {
            // What is in hand goes nowhere now: it is read again after the reconnect.
            for (at, from, _) in parts {
                self.lanes[*at].mark = *from;
            }
        }
        let (looks, replication) = seen?;
        Ok(self.is_same(&replication).then_some((looks, replication)))
    }
}
