//! A shard's life: one term after another, each of which begins at the checkpoint.
//!
//! ```text
//!   assigned ─▶ term ─┬─ stopped: drained, committed, gone
//!     ▲               ├─ streams, halts or history changed: drained, committed, next term
//!     │               ├─ failed: next term after a pause (what was open is aborted by the next opening)
//!     └─ confirmed ◀──┴─ fenced: another owns it; go on only when the group confirms this one anew
//! ```
//!
//! Assignment is a hint, never a permission: what keeps two owners apart is that opening the shard's producer fences the
//! other, and that the checkpoint is read only after that. A fenced worker that simply opened again would fence the
//! rightful owner for ever; so it asks the group first.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Seen;
use super::memory::{Lifted, Memory};
use super::shared::Shared;
use super::term;
use super::writer;
use crate::backoff::Backoff;
use crate::checkpoint::Admission;
use crate::config::Start;
use crate::entry::StreamRef;
use crate::placement::Shard;
use crate::status::{Reason, StateName};
use crate::topics::{self, ErrorKind, Membership};
use crate::{checkpoint, streams};

/// How often a fenced worker asks whether it owns the shard all the same.
const CONFIRM_EVERY: Duration = Duration::from_millis(250);

/// The operator lifts a stream's halt.
#[derive(Clone, Debug)]
pub struct Lift {
    pub stream: StreamRef,
    /// What the operator saw, and accepts: no other trouble of the stream is passed over with it.
    pub halt: Reason,
    /// For a stream whose checkpoint is lost: where to begin.
    pub from: Option<Start>,
}

/// Why a term ended.
#[derive(Debug)]
pub enum TermEnd {
    Stopped,
    /// What the term was built on changed: streams, halts, Redis's history.
    Changed,
    Lifted(Lift),
    Resizing,
    Redis(streams::Error),
    /// Redis at this address is a replica: it may lag behind what was read.
    Replica(String),
    Checkpoint(checkpoint::Error),
    Writer(writer::Ended),
}

pub struct ShardWorker {
    pub shared: Arc<Shared>,
    pub shard: Shard,
    pub membership: Arc<Membership>,
    pub seen: Seen,
    pub lifts: mpsc::Receiver<Lift>,
    pub admissions: mpsc::Receiver<Admission>,
    pub memory: Memory,
}

impl ShardWorker {
    /// Mirrors the shard until stopped; what was taken is committed by then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        self.shared
            .board
            .shard(self.shard, StateName::Waiting, Some(Reason::Starting), None);
        self.shared.board.takeover("assigned");
        let mut failing = false;
        while !stop.is_cancelled() {
            let begun = tokio::time::Instant::now();
            let ended = term::run(&mut self, &stop).await;
            if begun.elapsed() > Duration::from_secs(10) {
                backoff.reset();
            }
            match &ended {
                // Who fences this one mirrors what it leaves.
                TermEnd::Writer(writer::Ended::Failed(topics::Error::Fenced)) => failing = false,
                TermEnd::Writer(_) => failing = true,
                // Only a term that came to run has read anew what was left.
                TermEnd::Changed | TermEnd::Lifted(_) => {
                    failing &= !self.shared.board.shard_runs(self.shard);
                }
                _ => {}
            }
            match ended {
                TermEnd::Stopped => break,
                TermEnd::Changed => backoff.reset(),
                TermEnd::Lifted(lift) => self.lift(lift),
                TermEnd::Resizing => {
                    self.wait_as(Reason::Resizing, None);
                    pause(&stop, CONFIRM_EVERY).await;
                }
                TermEnd::Replica(at) => {
                    let text = format!("{at} is a replica; point redis.url at the master");
                    warn!(shard = %self.shard, %text, "waiting for a master");
                    self.wait_as(Reason::RedisReadOnly, Some(text));
                    pause(&stop, backoff.next()).await;
                }
                TermEnd::Redis(error) => {
                    let reason = self.shared.redis_failed(&error);
                    self.wait_as(reason, Some(error.to_string()));
                    pause(&stop, backoff.next()).await;
                }
                TermEnd::Checkpoint(checkpoint::Error::Topics(error)) => {
                    self.failed(error, &mut backoff, &stop).await
                }
                TermEnd::Checkpoint(error) => {
                    tracing::error!(shard = %self.shard, %error, "the checkpoints cannot be read");
                    self.wait_as(Reason::CheckpointUnreadable, Some(error.to_string()));
                    pause(&stop, backoff.next()).await;
                }
                TermEnd::Writer(ended) => self.writer_ended(ended, &mut backoff, &stop).await,
            }
        }
        // The term before failed, and none came to run since: what it had read is not committed.
        if failing && !self.shared.board.shard_runs(self.shard) {
            self.shared.board.leaves_something();
        }
    }

    async fn writer_ended(
        &mut self,
        ended: writer::Ended,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) {
        match ended {
            writer::Ended::Drained => {}
            writer::Ended::Failed(error) => self.failed(error, backoff, stop).await,
            writer::Ended::Refused {
                error,
                places,
                entries,
            } => {
                warn!(shard = %self.shard, entries, %error, "the broker refused a transaction for one of its records; looking for it in smaller steps");
                self.shared
                    .board
                    .edge_error("kafka", error.edge_kind(), error.to_string(), false);
                let why = error.to_string();
                self.opens_again(why.clone());
                if !self.memory.narrow(places, entries, &why) {
                    self.wait_as(Reason::KafkaRefused, Some(why));
                    pause(stop, backoff.next()).await;
                }
            }
            writer::Ended::DeadLetterRefused {
                error,
                place: (stream, (_, id)),
            } => {
                let text = format!(
                    "entry {id} can go neither to its topic nor to the dead letters: {error}"
                );
                tracing::error!(stream = %stream.name, database = %stream.database, %id, %error, "the dead-letter topic refuses an entry; its stream stops");
                self.opens_again(error.to_string());
                self.memory.refused.insert(stream, text);
            }
        }
    }

    /// The next term begins at once, but until it runs what this one had read is not committed. Its streams are not shown to wait:
    /// for them this is a step on the way.
    fn opens_again(&self, error: String) {
        let (shard, reason) = (self.shard, Some(Reason::Starting));
        let board = &self.shared.board;
        board.shard(shard, StateName::Waiting, reason, Some(error));
    }

    async fn failed(
        &mut self,
        error: topics::Error,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) {
        let reason = match &error {
            // It is made again beside this (layout.rs), and the next term says whose checkpoints are lost.
            topics::Error::TopicMissing { topic, .. } if *topic == self.shared.checkpoints => {
                Reason::CheckpointLost
            }
            error => reason_of(error),
        };
        let down = reason == Reason::KafkaUnreachable;
        self.shared
            .board
            .edge_error("kafka", error.edge_kind(), error.to_string(), down);
        warn!(shard = %self.shard, reason = reason.as_str(), %error, "the term ends; the next begins at the checkpoint");
        let text = error.to_string();
        self.wait_as(reason, Some(text.clone()));
        match error {
            topics::Error::Fenced => self.await_confirmation(stop).await,
            topics::Error::Unauthorised {
                topic: Some(topic), ..
            } => {
                self.memory.bar(topic, Reason::TopicUnauthorised, text);
                pause(stop, backoff.next()).await;
            }
            _ => {
                pause(stop, backoff.next()).await;
            }
        }
    }

    async fn await_confirmation(&self, stop: &CancellationToken) {
        self.shared.board.takeover("fenced");
        while !stop.is_cancelled() {
            match self.membership.confirm(self.shard).await {
                Ok(true) => {
                    info!(shard = %self.shard, "the group confirms this shard anew");
                    return;
                }
                Ok(false) => self.wait_as(Reason::Unassigned, None),
                Err(error) => self.wait_as(reason_of(&error), Some(error.to_string())),
            }
            pause(stop, CONFIRM_EVERY).await;
        }
    }

    pub fn lift(&mut self, lift: Lift) {
        info!(stream = %lift.stream.name, database = %lift.stream.database, "the operator lifts the halt");
        self.shared
            .board
            .stream(&lift.stream, crate::status::StreamCell::lifted);
        let Lift { stream, halt, from } = lift;
        self.memory.lift(stream, Lifted { halt, from });
    }

    fn wait_as(&self, reason: Reason, error: Option<String>) {
        self.shared
            .board
            .shard(self.shard, StateName::Waiting, Some(reason), error);
        self.shared
            .board
            .streams_of(self.shard, |_, cell| cell.waiting(reason));
    }
}

async fn pause(stop: &CancellationToken, time: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

fn reason_of(error: &topics::Error) -> Reason {
    match error.kind() {
        ErrorKind::Fenced => Reason::Fenced,
        ErrorKind::CommitUnknown => Reason::CommitUnknown,
        ErrorKind::Unreachable | ErrorKind::Timeout => Reason::KafkaUnreachable,
        ErrorKind::Unauthorised => Reason::KafkaUnauthorised,
        ErrorKind::Quota => Reason::KafkaQuota,
        _ => Reason::KafkaRefused,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::super::lane::tests::shared;
    use super::*;
    use crate::entry::{Database, EntryId};

    fn worker() -> ShardWorker {
        let shared = Arc::new(shared());
        let membership = Membership::join(
            &shared.kafka,
            "group",
            &shared.checkpoints,
            Duration::from_secs(10),
        );
        ShardWorker {
            shard: Shard(0),
            membership: Arc::new(membership.unwrap()),
            seen: Seen {
                streams: watch::channel(None).1,
                layout: watch::channel(None).1,
            },
            lifts: mpsc::channel(1).1,
            admissions: mpsc::channel(1).1,
            memory: Memory::default(),
            shared,
        }
    }

    #[tokio::test]
    async fn a_shard_whose_transaction_was_refused_does_not_run_until_the_next_term_does() {
        let place = (StreamRef::new(Database(0), "s"), (0, EntryId::new(9, 0)));
        let error = || topics::Error::Quota {
            cause: "too much".to_owned(),
        };
        let refused = writer::Ended::Refused {
            error: error(),
            places: vec![place.clone()],
            entries: 100,
        };
        let letter = writer::Ended::DeadLetterRefused {
            error: error(),
            place,
        };
        let mut worker = worker();
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        for ended in [refused, letter] {
            let board = Arc::clone(&worker.shared.board);
            board.shard(worker.shard, StateName::Running, None, None);
            let stop = CancellationToken::new();
            worker.writer_ended(ended, &mut backoff, &stop).await;
            assert!(!board.shard_runs(worker.shard));
        }
    }
}
