//! Turns what a shard's readers bring into transactions: records and checkpoints together, or neither.
//!
//! Runs on a thread of its own, because librdkafka's calls block. A transaction closes when its input has run dry, at a
//! size, or at an age; while it commits, the readers read on. Nothing here is ever sent twice: any outcome but success ends
//! the writer, and the next one begins at the checkpoint, which says what happened.
//!
//! ```text
//!   batch ─▶ begin ─▶ send records ─▶ (dry │ size │ age) ─▶ send checkpoints ─▶ commit ─▶ board
//!                        │                                                        │
//!                        └── refused here: dead letter, same transaction          └── refused by the broker: the next
//!                                                                                     writer goes in smaller steps
//! ```

mod amend;
mod records;
mod shown;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::error::Elapsed;

use super::shared::{KAFKA_TIMEOUT, Shared, now_ms};
use super::slot::{Batch, Gap, Input, Part, Slot};
use crate::checkpoint::{self, Checkpoint, Position};
use crate::entry::{EntryId, StreamRef};
use crate::failpoint;
use crate::placement::Shard;
use crate::routing::Encoded;
use crate::status::DeadLetterReason;
use crate::streams::Replication;
use crate::topics::{self, WriterStatistics};

pub use self::amend::REPAIR;
pub use self::records::identity;

/// How often an idle client is asked what it has to say.
const TEND_EVERY: Duration = Duration::from_secs(2);

/// An entry's place in its stream's order: ids may begin again, in the next generation.
pub type At = (u32, EntryId);

/// One entry of one stream.
pub type Place = (StreamRef, At);

/// A stretch in which the broker has refused a record that is not known yet: it is gone through in small transactions.
#[derive(Clone, Debug)]
pub struct Careful {
    /// Entries a transaction.
    pub limit: usize,
    /// Until these are committed ...
    pub until: HashMap<StreamRef, At>,
    /// ... or so many entries: a stream that halts, or whose last entries have gone, never comes to where it was.
    pub left: usize,
}

impl Careful {
    /// Takes note of a commit.
    fn committed<'a>(
        &mut self,
        entries: usize,
        streams: impl Iterator<Item = (&'a StreamRef, At)>,
    ) {
        self.left = self.left.saturating_sub(entries);
        for (stream, at) in streams {
            if self.until.get(stream).is_some_and(|until| *until <= at) {
                self.until.remove(stream);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.until.is_empty() || self.left == 0
    }
}

/// Why a writer ended.
#[derive(Debug)]
pub enum Ended {
    /// Its input closed, and everything that it had taken is committed.
    Drained,
    /// Everything since the last commit is undone, or will be by the next writer's opening.
    Failed(topics::Error),
    /// The broker refused a transaction for one record of it.
    Refused {
        error: topics::Error,
        places: Vec<Place>,
        entries: usize,
    },
    /// The dead-letter topic refuses what it should keep.
    DeadLetterRefused { error: topics::Error, place: Place },
}

impl From<topics::Error> for Box<Ended> {
    fn from(error: topics::Error) -> Self {
        Self::new(Ended::Failed(error))
    }
}

/// What the open transaction holds of one stream.
struct Touched {
    slot: Arc<Slot>,
    position: Position,
    /// Redis's history as it stood when the last of these entries was read.
    replication: Option<Replication>,
    /// The last entry handed to the client, committed or not.
    sent: At,
    entries: u64,
    bytes: u64,
    gaps: Vec<Gap>,
    dead_letters: BTreeMap<DeadLetterReason, u64>,
    /// Versions of the flags and buckets of entries that went against them.
    strays: Vec<(u64, u16)>,
    /// The same of the last entry whose bucket is held, and how many there were.
    held: Option<(u64, u16)>,
    held_writes: u64,
}

pub struct Pipeline {
    shared: Arc<Shared>,
    shard: Shard,
    pub writer: topics::Writer,
    pub careful: Option<Careful>,
    /// Entries whose records the broker has refused one by one, and its words.
    poison: HashMap<Place, String>,
    open: Open,
    scratch: Encoded,
    /// The client's counts as last taken into the metrics.
    counted: WriterStatistics,
    /// When a broker's quota was last seen to hold the producer back.
    quota_at: Option<Instant>,
}

/// The open transaction.
#[derive(Default)]
struct Open {
    touched: HashMap<usize, Touched>,
    began: Option<Instant>,
    entries: usize,
    bytes: usize,
    dead_letter: Option<Place>,
    /// Who waits for an amendment of this transaction.
    amended: Vec<oneshot::Sender<Result<(), String>>>,
    /// Times of entries, for the end-to-end histogram: a sample of a large transaction.
    times_ms: Vec<i64>,
}

impl Pipeline {
    pub fn new(
        shared: &Arc<Shared>,
        shard: Shard,
        mut writer: topics::Writer,
        careful: Option<Careful>,
        poison: HashMap<Place, String>,
    ) -> Self {
        let produce = shared.metrics.produce.clone();
        writer.observe_latency(Arc::new(move |took| produce.observe(took.as_secs_f64())));
        Self {
            shared: Arc::clone(shared),
            shard,
            counted: writer.statistics(),
            writer,
            careful,
            poison,
            open: Open::default(),
            scratch: Encoded::default(),
            quota_at: None,
        }
    }

    /// Takes batches until the channel closes or a transaction fails. Blocking.
    pub fn run(&mut self, input: &mut mpsc::Receiver<Input>, handle: &Handle) -> Ended {
        loop {
            let taken = match self.next(input, handle) {
                Next::Input(taken) => taken,
                Next::Idle => {
                    self.count_produced();
                    match self.writer.check_whole() {
                        Ok(()) => continue,
                        Err(error) => return Ended::Failed(error),
                    }
                }
                Next::Old => match self.commit() {
                    Ok(()) => continue,
                    Err(ended) => return *ended,
                },
                Next::Closed => return self.commit().err().map_or(Ended::Drained, |ended| *ended),
            };
            let dry = taken.is_dry();
            if let Err(ended) = self.take(taken).and_then(|()| {
                // Asked behind the taking, which rests after a commit: what came meanwhile goes along.
                if (dry && input.is_empty()) || self.full() {
                    self.commit()
                } else {
                    Ok(())
                }
            }) {
                return *ended;
            }
        }
    }

    fn next(&self, input: &mut mpsc::Receiver<Input>, handle: &Handle) -> Next {
        let Some(began) = self.open.began else {
            return match receive(input, handle, TEND_EVERY) {
                Ok(received) => received.map_or(Next::Closed, Next::Input),
                Err(_elapsed) => Next::Idle,
            };
        };
        let left = self
            .shared
            .shards
            .transaction_age
            .saturating_sub(began.elapsed());
        match receive(input, handle, left) {
            Ok(received) => received.map_or(Next::Closed, Next::Input),
            Err(_elapsed) => Next::Old,
        }
    }

    fn full(&self) -> bool {
        let limits = &self.shared.shards;
        self.open.entries >= limits.transaction_entries
            || self.open.bytes >= limits.transaction_bytes
            || self
                .open
                .began
                .is_some_and(|began| began.elapsed() >= limits.transaction_age)
    }

    fn take(&mut self, input: Input) -> Result<(), Box<Ended>> {
        let batch = match input {
            Input::Batch(batch) => batch,
            Input::Amended(amended) => return self.amend(amended),
        };
        // The room is given back when the parts are with the client.
        let Batch {
            parts,
            replication,
            room: _room,
            ..
        } = batch;
        for part in parts {
            self.take_part(part, &replication)?;
        }
        Ok(())
    }

    fn take_part(&mut self, part: Part, replication: &Replication) -> Result<(), Box<Ended>> {
        let Part {
            slot,
            entries,
            position,
            mut gap,
        } = part;
        self.begin()?;
        let now_ms = now_ms();
        let mut left = entries.len() as u64;
        for entry in &entries {
            self.send(&slot, entry, position.generation, now_ms)?;
            left -= 1;
            if left > 0 && self.careful_step() {
                let entries_added = position
                    .entries_added
                    .and_then(|added| added.checked_sub(left));
                self.step_to(
                    &slot,
                    Position {
                        id: entry.id,
                        entries_added,
                        ..position.clone()
                    },
                    replication,
                    // What is missing is part of the count from the first step on; so it is counted with it.
                    gap.take(),
                );
                self.commit()?;
                self.begin()?;
            }
        }
        self.step_to(&slot, position, replication, gap);
        if self.careful_step() {
            self.commit()
        } else {
            Ok(())
        }
    }

    fn begin(&mut self) -> Result<(), Box<Ended>> {
        if self.open.began.is_none() {
            self.writer.begin()?;
            self.open.began = Some(Instant::now());
        }
        Ok(())
    }

    fn careful_step(&self) -> bool {
        self.careful
            .as_ref()
            .is_some_and(|careful| self.open.entries >= careful.limit)
    }

    fn step_to(
        &mut self,
        slot: &Arc<Slot>,
        position: Position,
        replication: &Replication,
        gap: Option<Gap>,
    ) {
        let touched = self.open.touch(slot);
        touched.position = position;
        touched.replication = Some(replication.clone());
        touched.gaps.extend(gap);
    }

    /// Closes the open transaction, if there is one.
    fn commit(&mut self) -> Result<(), Box<Ended>> {
        let Some(began) = self.open.began else {
            return Ok(());
        };
        failpoint::hit(failpoint::AFTER_SEND);
        if failpoint::spoiled(failpoint::SPOIL_CHECKPOINT) {
            self.writer.commit(KAFKA_TIMEOUT)?;
            std::thread::sleep(Duration::from_millis(20));
            self.writer.begin()?;
        }
        self.send_checkpoints()?;
        failpoint::hit(failpoint::BEFORE_COMMIT);
        let asked = Instant::now();
        let committed = self.writer.commit(KAFKA_TIMEOUT);
        self.shared
            .metrics
            .request("kafka", "commit", asked.elapsed());
        self.count_produced();
        if let Err(error) = committed {
            return Err(Box::new(self.failed(error)));
        }
        failpoint::hit(failpoint::AFTER_COMMIT);
        self.committed(began);
        Ok(())
    }

    fn send_checkpoints(&mut self) -> Result<(), Box<Ended>> {
        let now_ms = now_ms();
        for touched in self.open.touched.values() {
            let slot = &touched.slot;
            let replication = touched
                .replication
                .as_ref()
                .expect("what is touched has been stepped to before a commit");
            let checkpoint = Checkpoint::new(
                &touched.position,
                &replication.replid,
                replication.offset,
                &slot.route_hash,
                &slot.placement_hash,
            );
            checkpoint::write(
                &mut self.writer,
                &self.shared.checkpoints,
                self.shard,
                &slot.stream,
                &checkpoint,
                now_ms,
            )?;
        }
        Ok(())
    }

    fn failed(&mut self, error: topics::Error) -> Ended {
        match &error {
            // No entry is at fault, and in smaller steps the next checkpoint would be refused as well.
            topics::Error::Refused { topic, .. } if *topic == self.shared.checkpoints => {
                return Ended::Failed(error);
            }
            topics::Error::Refused { .. } => {}
            _ => return Ended::Failed(error),
        }
        let places: Vec<Place> = self
            .open
            .touched
            .values()
            .filter(|touched| touched.entries > 0)
            .map(|touched| (touched.slot.stream.clone(), touched.sent))
            .collect();
        match (self.open.entries, self.open.dead_letter.take()) {
            (1, Some(place)) => Ended::DeadLetterRefused { error, place },
            (entries, _) => Ended::Refused {
                error,
                places,
                entries,
            },
        }
    }
}

fn receive(
    input: &mut mpsc::Receiver<Input>,
    handle: &Handle,
    within: Duration,
) -> Result<Option<Input>, Elapsed> {
    handle.block_on(async { tokio::time::timeout(within, input.recv()).await })
}

enum Next {
    Input(Input),
    Idle,
    Old,
    Closed,
}

impl Open {
    fn touch(&mut self, slot: &Arc<Slot>) -> &mut Touched {
        self.touched.entry(slot.index).or_insert_with(|| Touched {
            slot: Arc::clone(slot),
            position: Position::default(),
            replication: None,
            sent: At::default(),
            entries: 0,
            bytes: 0,
            gaps: Vec::new(),
            dead_letters: BTreeMap::new(),
            strays: Vec::new(),
            held_writes: 0,
            held: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Database;

    #[test]
    fn a_search_ends_where_all_is_passed_or_as_much_as_was_refused_is_committed() {
        let stream = |name: &str| StreamRef::new(Database(0), name);
        let at = |ms| (0, EntryId::new(ms, 0));
        let (a, b) = (stream("a"), stream("b"));
        let new = || Careful {
            limit: 1,
            until: HashMap::from([(a.clone(), at(9)), (b.clone(), at(9))]),
            left: 100,
        };
        let mut passed = new();
        passed.committed(2, [(&a, at(8)), (&b, at(9))].into_iter());
        assert!(!passed.is_over());
        passed.committed(1, [(&a, at(9))].into_iter());
        assert!(passed.is_over());
        // The other one stays away: its last entries were trimmed.
        let mut spent = new();
        for _ in 0..99 {
            spent.committed(1, [(&b, at(20))].into_iter());
        }
        assert!(!spent.is_over());
        spent.committed(1, [(&b, at(21))].into_iter());
        assert!(spent.is_over());
    }
}
