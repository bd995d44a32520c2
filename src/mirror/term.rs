//! One term of a shard: from the opening of its producer, through reading and committing, to the end of either.
//!
//! The order of the opening is what makes it exact: first the producer is opened (nothing old of this shard can appear
//! after that), then the checkpoints are read, then Redis's history is compared, and only then is anything read on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::amendment::Desk;
use super::discovery::{Found, Streams};
use super::lane::Lane;
use super::opening::{self, Opened};
use super::places;
use super::reader::{self, Reach, Reader};
use super::shard::{ShardWorker, TermEnd};
use super::slot::Input;
use super::writer::{Ended, Pipeline};
use crate::checkpoint::Layout;
use crate::entry::Database;
use crate::routing;
use crate::status::StateName;
use crate::tasks::passed_on;

/// Batches between readers and writer; their bytes are bounded by `shards.buffer_bytes`, and so is what each reader reads
/// meanwhile.
const QUEUED_BATCHES: usize = 32;

pub async fn run(worker: &mut ShardWorker, stop: &CancellationToken) -> TermEnd {
    let streams = tokio::select! {
        () = stop.cancelled() => return TermEnd::Stopped,
        found = worker.seen.streams.wait_for(Option::is_some) => match found {
            Ok(found) => found.clone().unwrap_or_default(),
            Err(_closed) => return TermEnd::Stopped,
        },
    };
    worker.seen.streams.mark_unchanged();
    let opened = tokio::select! {
        () = stop.cancelled() => return TermEnd::Stopped,
        opened = opening::open(worker, &streams) => opened,
    };
    match opened {
        Ok(opened) => mirror(worker, opened, &streams, stop).await,
        Err(ended) => ended,
    }
}

async fn mirror(
    worker: &mut ShardWorker,
    opened: Opened,
    streams: &Streams,
    stop: &CancellationToken,
) -> TermEnd {
    let shared = Arc::clone(&worker.shared);
    let Opened {
        writer,
        lanes,
        replids,
        layout,
    } = opened;
    info!(shard = %worker.shard, streams = lanes.len(), "mirroring");
    shared
        .board
        .shard(worker.shard, StateName::Running, None, None);
    shared.board.shard_told_of(worker.shard, streams.len());
    worker
        .memory
        .keep_careful(|stream| lanes.iter().any(|lane| lane.slot.stream == *stream));
    worker.memory.forget_passed(|stream| {
        let lane = lanes.iter().find(|lane| lane.slot.stream == *stream)?;
        Some((lane.generation, lane.mark.id))
    });
    let (out, mut input) = mpsc::channel::<Input>(QUEUED_BATCHES);
    let reading = CancellationToken::new();
    let mut desk = Desk::new(&lanes, out.clone());
    let mut readers = start_readers(&shared, lanes, &replids, &out, &reading);
    drop(out);
    let mut pipeline = Pipeline::new(
        &shared,
        worker.shard,
        writer,
        worker.memory.careful.take(),
        worker.memory.poison.clone(),
    );
    let handle = Handle::current();
    let mut writing = tokio::task::spawn_blocking(move || {
        let ended = pipeline.run(&mut input, &handle);
        (ended, pipeline.careful)
    });

    let why = tokio::select! {
        ended = &mut writing => Why::Wrote(ended),
        why = worker.until_changed(streams, &layout, &mut desk, stop) => Why::Told(why),
        Some(ended) = readers.join_next(), if !readers.is_empty() => Why::Read(ended),
    };
    reading.cancel();
    drop(desk);
    while let Some(ended) = readers.join_next().await {
        passed_on(ended);
    }
    let (ended, why) = match why {
        Why::Wrote(ended) => (ended, None),
        Why::Told(why) => (writing.await, Some(why)),
        Why::Read(ended) => {
            if matches!(passed_on(ended), reader::Ended::Failover) {
                info!(shard = %worker.shard, "Redis's replication id changed; its history is compared with the checkpoint");
            }
            (writing.await, Some(TermEnd::Changed))
        }
    };
    let (ended, careful) = passed_on(ended);
    worker.memory.careful = careful;
    match (ended, why) {
        (Ended::Drained, Some(why)) => why,
        (Ended::Drained, None) => TermEnd::Changed,
        (failed, _) if stop.is_cancelled() => {
            tracing::warn!(shard = %worker.shard, ended = ?failed, "what was open at the stop is not committed; the next owner mirrors it");
            shared.board.leaves_something();
            TermEnd::Stopped
        }
        (failed, why) => {
            if let Some(TermEnd::Lifted(lift)) = why {
                worker.lift(lift);
            }
            TermEnd::Writer(failed)
        }
    }
}

enum Why {
    Wrote(Result<(Ended, Option<super::writer::Careful>), tokio::task::JoinError>),
    Told(TermEnd),
    Read(Result<reader::Ended, tokio::task::JoinError>),
}

/// One reader for each database.
fn start_readers(
    shared: &Arc<super::shared::Shared>,
    lanes: Vec<Lane>,
    replids: &BTreeMap<Database, String>,
    out: &mpsc::Sender<Input>,
    reading: &CancellationToken,
) -> JoinSet<reader::Ended> {
    let mut by_database: BTreeMap<Database, Vec<Lane>> = BTreeMap::new();
    for lane in lanes {
        by_database
            .entry(lane.slot.stream.database)
            .or_default()
            .push(lane);
    }
    let room_bytes = (shared.shards.buffer_bytes / by_database.len().max(1)).max(64 << 10);
    let mut readers = JoinSet::new();
    for (database, lanes) in by_database {
        let reader = Reader {
            shared: Arc::clone(shared),
            database,
            lanes,
            replid: replids.get(&database).cloned().unwrap_or_default(),
            out: out.clone(),
            room: Arc::new(Semaphore::new(room_bytes / 1_024)),
            room_bytes,
            turn: 0,
            reach: Reach::ALL,
        };
        readers.spawn(reader.run(reading.clone()));
    }
    readers
}

impl ShardWorker {
    /// Waits for a reason to end the term in good order.
    async fn until_changed(
        &mut self,
        streams: &Streams,
        layout: &Layout,
        desk: &mut Desk,
        stop: &CancellationToken,
    ) -> TermEnd {
        let mut look_again = tokio::time::interval(places::LOOK_EVERY);
        look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look_again.reset();
        // What was seen last may be older than what the term has read; what is seen from here on is not.
        let newer = |seen: &Layout| seen.version > layout.version;
        let seen = self.seen.layout.borrow_and_update().clone();
        if seen.as_ref().is_some_and(newer) {
            return self.resized();
        }
        // Asked once: a bar that falls while another arm runs would otherwise be forgotten.
        let bars_fall = self.memory.bars_fall_at();
        let let_in = self.memory.aside.let_in(Arc::clone(&self.shared));
        tokio::pin!(let_in);
        loop {
            tokio::select! {
                () = stop.cancelled() => return TermEnd::Stopped,
                Some(lift) = self.lifts.recv() => return TermEnd::Lifted(lift),
                Some(admission) = self.admissions.recv() => desk.admit(admission),
                Some(amendment) = desk.next() => desk.pass_on(amendment).await,
                () = fall(bars_fall), if bars_fall.is_some() => return TermEnd::Changed,
                () = &mut let_in => {
                    info!(shard = %self.shard, "Redis lets in what it had refused");
                    return TermEnd::Changed;
                }
                _ = look_again.tick() => {
                    if places::changed(&self.shared, &self.memory.places).await {
                        info!(shard = %self.shard, "a topic is another than it was");
                        return TermEnd::Changed;
                    }
                }
                changed = self.seen.layout.changed() => {
                    if changed.is_err() {
                        return TermEnd::Stopped;
                    }
                    let seen = self.seen.layout.borrow_and_update().clone();
                    if seen.is_some_and(|seen| seen != *layout) {
                        return self.resized();
                    }
                }
                changed = self.seen.streams.changed() => {
                    if changed.is_err() {
                        return TermEnd::Stopped;
                    }
                    if self.new_streams(streams, layout.count) {
                        return TermEnd::Changed;
                    }
                }
            }
        }
    }

    fn resized(&self) -> TermEnd {
        info!(shard = %self.shard, "the shards were resized");
        TermEnd::Changed
    }

    /// Of this shard: found since, or their route has been looked through since, which is to be noted, or what was noted is gone.
    fn new_streams(&mut self, before: &Streams, layout_count: u32) -> bool {
        let now = self.seen.streams.borrow_and_update();
        let Some(now) = now.as_ref() else {
            return false;
        };
        let own = now.iter().any(|(stream, found)| {
            let known = before.get(stream);
            let told = |found: &Found| (found.looked_for, found.marks_lost);
            known.is_none_or(|known| told(known) != told(found))
                && routing::shard_of(stream, layout_count) == self.shard
        });
        if !own {
            self.shared.board.shard_told_of(self.shard, now.len());
        }
        own
    }
}

async fn fall(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
