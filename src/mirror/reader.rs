//! Reads the streams of one shard in one database, in order, within a budget of memory.
//!
//! The reader only moves forward, and only in memory: what it has read and the writer has not committed is read again
//! after a crash. It issues read commands alone. A reply that does not arrive whole is as if it had not been asked for.
//! Every reply brings Redis's replication id with it; once that differs from the one that the term began with, the reply
//! is thrown away and the term ends, because the history may be another (the audit decides).
//!
//! Streams that brought a full share are *busy* and are read alone, deeply; between such reads, and when none is busy,
//! one call over all streams waits for whatever comes.
//!
//! Memory holds, whatever entries weigh: what waits for the writer (the room, counted by the semaphore), and one reply on
//! its way, which the connection breaks off where it passes the room. A single entry is always let through. What is broken
//! off is read again at once in smaller parts (choice.rs, pace.rs; what Redis holds of a reply meanwhile: choice.rs).

mod choice;
mod looking;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::gaps::Mark;
use super::lane::{Lane, Verdict};
use super::shared::Shared;
use super::slot::{Batch, Input, Part};
use crate::backoff::Backoff;
use crate::entry::{Database, Entry, EntryId, StreamName};
use crate::failpoint;
use crate::streams::{Connection, Error, ErrorKind, Looked, Read, Replication, Role};

pub use self::choice::Reach;

/// How long a read waits for an entry: also how soon a stop or a rotation is noticed at the latest.
const BLOCK: Duration = Duration::from_millis(500);
/// A busy stream never keeps the others waiting longer than this.
const WIDE_EVERY: Duration = Duration::from_millis(20);
/// Up to so many streams are looked at in the exchange that reads them: more looks would cost more than another exchange.
const LOOK_ALONG: usize = 8;
/// How often the rotation turns.
const ROTATION_EVERY: Duration = Duration::from_millis(500);
/// A read that takes longer than this although it need not wait makes the reader pause as long.
const SLOW_READ: Duration = Duration::from_millis(100);

/// Why a reader ended.
#[derive(Debug)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// Redis's history is another than the term's.
    Failover,
    /// The writer is gone; its own end says why.
    WriterGone,
}

pub struct Reader {
    pub shared: Arc<Shared>,
    pub database: Database,
    pub lanes: Vec<Lane>,
    /// `master_replid` at the beginning of the term.
    pub replid: String,
    pub out: mpsc::Sender<Input>,
    pub room: Arc<Semaphore>,
    pub room_bytes: usize,
    pub turn: usize,
    pub reach: Reach,
}

impl Reader {
    /// Runs until it is stopped, the history changes or the writer goes; lost connections are its own affair.
    pub async fn run(mut self, stop: CancellationToken) -> Ended {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                ended = self.connected(&mut backoff) => ended,
            };
            let error = match ended {
                Ok(ended) => return ended,
                Err(error) => error,
            };
            let reason = self.shared.redis_failed(&error);
            for lane in &self.lanes {
                self.shared
                    .board
                    .stream(&lane.slot.stream, |cell| cell.waiting(reason));
            }
            let wait = backoff.next();
            debug!(database = %self.database, %error, wait_ms = wait.as_millis(), "reading pauses");
            tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn connected(&mut self, backoff: &mut Backoff) -> Result<Ended, Error> {
        let mut connection = self.connect().await?;
        if !self.is_same(&connection.replication().await?) {
            return Ok(Ended::Failover);
        }
        if let Some(ended) = self.look_at_all(&mut connection).await? {
            return Ok(ended);
        }
        self.shared.board.edge_up("redis");
        backoff.reset();
        self.show_running();
        let mut wide_at = Instant::now();
        let mut rotated_at = Instant::now();
        loop {
            let wide = wide_at.elapsed() >= WIDE_EVERY || !self.lanes.iter().any(|lane| lane.busy);
            if wide {
                wide_at = Instant::now();
            }
            let ended = match self.turn_once(&mut connection, wide).await {
                Err(error) if error.kind() == ErrorKind::Oversized => {
                    connection = self.connect_again(&error).await?;
                    None
                }
                Err(error) if error.kind() == ErrorKind::WrongType || error.is_of_key() => {
                    let before = self.readable();
                    let ended = self.look_at_all(&mut connection).await?;
                    if ended.is_none() && self.readable() == before {
                        // No look says which stream it is.
                        return Err(error);
                    }
                    ended
                }
                other => other?,
            };
            if let Some(ended) = ended {
                return Ok(ended);
            }
            if rotated_at.elapsed() >= ROTATION_EVERY {
                rotated_at = Instant::now();
                match self.rotate(&mut connection).await {
                    Ok(None) => {}
                    Ok(Some(ended)) => return Ok(ended),
                    Err(error) if error.kind() == ErrorKind::Oversized => {
                        connection = self.connect_again(&error).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Error> {
        let mut connection = self.shared.redis.connect(self.database).await?;
        connection.bound_entries(self.room_bytes);
        Ok(connection)
    }

    /// A reply was broken off for its size: nothing is wrong with Redis, and every read says whether the history is still
    /// the same, so reading goes on where it was.
    async fn connect_again(&self, error: &Error) -> Result<Connection, Error> {
        debug!(database = %self.database, %error, "reading goes on in smaller parts");
        self.connect().await
    }

    fn readable(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.is_readable()).count()
    }

    fn show_running(&self) {
        for lane in self.lanes.iter().filter(|lane| lane.is_readable()) {
            self.shared
                .board
                .stream(&lane.slot.stream, crate::status::StreamCell::running);
        }
    }

    /// One read and what follows from it. `None`: go on.
    async fn turn_once(
        &mut self,
        connection: &mut Connection,
        wide: bool,
    ) -> Result<Option<Ended>, Error> {
        let (asked, all) = self.choose(wide);
        if asked.is_empty() {
            tokio::time::sleep(BLOCK).await;
            return Ok(None);
        }
        let any_busy = self
            .lanes
            .iter()
            .any(|lane| lane.busy && lane.is_readable());
        let request: Vec<(StreamName, EntryId)> = asked
            .iter()
            .map(|&at| {
                (
                    self.lanes[at].slot.stream.name.clone(),
                    self.lanes[at].mark.id,
                )
            })
            .collect();
        let count = self.share(&asked);
        let block = (!any_busy && all).then_some(BLOCK);
        let begun = Instant::now();
        for &at in &asked {
            self.lanes[at].looked = begun;
        }
        let answered = if asked.len() <= LOOK_ALONG {
            let answered = connection.read_and_look(&request, count, block).await;
            answered.map(|(read, looks)| (read, Some(looks)))
        } else {
            let answered = connection.read(&request, count, block).await;
            answered.map(|read| (read, None))
        };
        let (read, looks) = answered.inspect_err(|error| self.shrink(&asked, count, error))?;
        self.reach.widen();
        let took = begun.elapsed();
        if block.is_none() {
            self.shared.metrics.request("redis", "read", took);
        }
        failpoint::hit(failpoint::AFTER_READ);
        if !self.is_same(&read.replication) {
            return Ok(Some(Ended::Failover));
        }
        for &at in &asked {
            self.lanes[at].busy = false;
        }
        let ended = self.take(connection, &asked, read, looks, count).await?;
        if block.is_none() && took > SLOW_READ {
            self.shared.board.throttled("redis", took);
            tokio::time::sleep(took).await;
        }
        Ok(ended)
    }

    async fn take(
        &mut self,
        connection: &mut Connection,
        asked: &[usize],
        read: Read,
        looks: Option<Vec<Looked>>,
        count: usize,
    ) -> Result<Option<Ended>, Error> {
        let (mut parts, mut indexes) = (Vec::new(), Vec::new());
        for (index, entries) in read.streams {
            let at = asked[index];
            let lane = &mut self.lanes[at];
            lane.measure(&entries, count);
            let from = lane.mark;
            lane.show_unmirrored(&self.shared, &entries);
            lane.advance(&entries);
            parts.push((at, from, entries));
            indexes.push(index);
        }
        if parts.is_empty() {
            return Ok(None);
        }
        // After every read: entries of a stream made anew must not be taken for the old one's, nor a gap be passed unseen.
        let (looks, replication) = match looks {
            Some(looks) => {
                let mut looks: Vec<Option<Looked>> = looks.into_iter().map(Some).collect();
                let of_parts = indexes.iter().filter_map(|&index| looks[index].take());
                (of_parts.collect(), read.replication)
            }
            None => match self.look_behind(connection, &parts).await? {
                Some(seen) => seen,
                None => return Ok(Some(Ended::Failover)),
            },
        };
        let gone = |((at, ..), look): (&(usize, _, _), &Looked)| {
            look.as_ref()
                .is_ok_and(|look| self.lanes[*at].is_gone(look))
        };
        if parts.iter().zip(&looks).any(gone) {
            // Whether it was an eviction only names the cause; what is in hand must not hang on it.
            if let Err(error) = self.ask_evictions(connection).await {
                debug!(%error, "evictions cannot be asked for");
            }
        }
        let mut batch = Vec::with_capacity(parts.len());
        for ((at, from, entries), look) in parts.into_iter().zip(looks) {
            let look = match look {
                Ok(look) => look,
                Err(error) => {
                    self.lanes[at].mark = from;
                    self.lanes[at].refuse(&self.shared, &error);
                    continue;
                }
            };
            let (verdict, old) = self.lanes[at].judge_read(&self.shared, &look, from);
            if let Some(position) = old {
                let slot = Arc::clone(&self.lanes[at].slot);
                batch.push(Part {
                    slot,
                    entries,
                    position,
                    gap: None,
                });
                let from = self.lanes[at].mark;
                batch.extend(self.follow(at, verdict, from, Vec::new()));
            } else {
                batch.extend(self.follow(at, verdict, from, entries));
            }
        }
        let dry = !self.lanes.iter().any(|lane| lane.busy);
        self.send(batch, replication, dry).await
    }

    /// The history that the term began with, from a node that takes writes: a replica may lag behind what was read.
    fn is_same(&self, now: &Replication) -> bool {
        now.replid == self.replid && now.role == Role::Master
    }

    /// What a verdict makes of the entries just read.
    fn follow(
        &mut self,
        at: usize,
        verdict: Verdict,
        from: Mark,
        entries: Vec<Entry>,
    ) -> Option<Part> {
        let lane = &mut self.lanes[at];
        match verdict {
            Verdict::Go(gap) if entries.is_empty() && gap.is_none() => None,
            Verdict::Go(gap) => Some(Part {
                slot: Arc::clone(&lane.slot),
                entries,
                position: lane.position(),
                gap,
            }),
            // The stream began anew: what was read after the old position is read again from its beginning.
            Verdict::Anew(gap) => Some(Part {
                slot: Arc::clone(&lane.slot),
                entries: Vec::new(),
                position: lane.position(),
                gap: Some(gap),
            }),
            Verdict::Halt => {
                lane.mark = from;
                lane.busy = false;
                None
            }
        }
    }

    async fn send(
        &mut self,
        parts: Vec<Part>,
        replication: Replication,
        dry: bool,
    ) -> Result<Option<Ended>, Error> {
        if parts.is_empty() {
            return Ok(None);
        }
        let entries: u64 = parts.iter().map(|part| part.entries.len() as u64).sum();
        let bytes: usize = parts
            .iter()
            .flat_map(|part| &part.entries)
            .map(Entry::bytes)
            .sum();
        let begun = Instant::now();
        let wanted =
            u32::try_from((bytes / 1_024 + 1).min(self.room_bytes / 1_024)).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(wanted).await else {
            return Ok(Some(Ended::WriterGone));
        };
        if self
            .out
            .send(Input::Batch(Batch {
                parts,
                replication,
                dry,
                room: Some(room),
            }))
            .await
            .is_err()
        {
            return Ok(Some(Ended::WriterGone));
        }
        let held = begun.elapsed();
        if held > Duration::from_millis(10) {
            self.shared.board.throttled("kafka", held);
        }
        let board = &self.shared.board;
        let waited = |time| board.throttled("operator", time);
        let throttle = &self.shared.throttle;
        throttle.pass(entries, bytes as u64, waited).await;
        Ok(None)
    }
}
