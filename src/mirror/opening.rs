//! The opening of a term: whose the shard is, where each stream stands, and whether it may go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::discovery::{Found, Streams};
use super::lane::Lane;
use super::mend::mend;
use super::places;
use super::shard::{ShardWorker, TermEnd};
use super::shared::{KAFKA_TIMEOUT, Shared, now_ms};
use super::slot::Slot;
use super::source::{self, Shut, Source};
use super::{audit, first};
use crate::checkpoint::{self, Checkpoint, Layout, LayoutState, Loaded, Position};
use crate::config::Start;
use crate::entry::{Database, StreamName, StreamRef};
use crate::failpoint;
use crate::placement::Shard;
use crate::routing;
use crate::status::Reason;
use crate::streams::{Error, Inspected};
use crate::tasks::passed_on;
use crate::topics::{self, Ends, Writer};

/// How long the markers of a resize may be on their way.
const MARKERS: Duration = Duration::from_secs(2);

/// A term that may begin.
pub struct Opened {
    pub writer: Writer,
    pub lanes: Vec<Lane>,
    pub replids: BTreeMap<Database, String>,
    pub layout: Layout,
}

/// A stream of the shard on its way into the term.
pub struct Candidate {
    pub slot: Arc<Slot>,
    pub while_running: bool,
    pub checkpoint: Option<Checkpoint>,
    pub position: Option<Position>,
    /// How it begins, where this term is its first.
    pub began: Option<String>,
}

pub async fn open(worker: &mut ShardWorker, streams: &Streams) -> Result<Opened, TermEnd> {
    let shared = Arc::clone(&worker.shared);
    worker.memory.aside.begin();
    let (mut sources, shut) = source::connect(&shared, streams).await?;
    let (writer, ends, loaded, layout) = open_writer(worker).await?;
    if layout.state == LayoutState::Resizing {
        return Err(TermEnd::Resizing);
    }
    let mut candidates = candidates(worker, streams, &loaded, layout.count);
    let owned = candidates
        .iter()
        .map(|candidate| candidate.slot.stream.clone())
        .collect();
    shared.board.keep_streams(worker.shard, &owned);
    places::keep_placeable(worker, &mut candidates).await?;
    let Some(writer) = mend(worker, writer, ends, &owned, &candidates, &loaded).await? else {
        return Err(TermEnd::Changed);
    };
    source::keep_reachable(worker, &mut candidates, &shut);
    keep_started(worker, &mut candidates, &mut sources).await?;
    keep_placement(worker, &mut candidates);
    let writer = audit::keep_continuous(worker, writer, &mut candidates, &mut sources).await?;
    let writer = first::checkpoints(worker, writer, &mut candidates, &mut sources, streams).await?;
    worker.memory.keep_lifted_aside();
    let replids = sources
        .iter()
        .map(|(database, source)| (*database, source.replication.replid.clone()))
        .collect();
    let lanes = candidates
        .iter()
        .map(|candidate| candidate.lane(&shared))
        .collect();
    Ok(Opened {
        writer,
        lanes,
        replids,
        layout,
    })
}

/// Waits a while until nothing is undecided in the shard's partition: a resize writes the layout and the checkpoints in one
/// transaction, whose end shows in one partition before it shows in another. What hangs for longer is `mend`'s.
fn await_decided(ends: &Ends, shared: &Shared, shard: Shard) -> Result<(), topics::Error> {
    let own = (shared.checkpoints.clone(), checkpoint::partition_of(shard));
    let mut undecided = ends.undecided(&[own])?;
    ends.wait(&mut undecided, MARKERS)
}

/// Opens the shard's producer, and *then* reads the checkpoints and the layout. With `doubts` a checkpoint was missed the time
/// before, so the checkpoints are read once more behind the layout, and behind a resize whose markers are on their way.
async fn open_writer(worker: &ShardWorker) -> Result<(Writer, Ends, Loaded, Layout), TermEnd> {
    let shared = Arc::clone(&worker.shared);
    let (shard, doubts) = (worker.shard, worker.memory.doubts);
    let seen = worker.seen.layout.borrow().clone();
    let opened = tokio::task::spawn_blocking(move || -> Result<_, checkpoint::Error> {
        let mut id = checkpoint::transactional_id(&shared.migration, shard);
        if failpoint::spoiled(failpoint::SPOIL_FENCE) {
            id = format!("{id}.{}.{}", std::process::id(), now_ms());
        }
        // They connect while the producer is opened.
        let ends = Ends::new(&shared.kafka, KAFKA_TIMEOUT)?;
        let writer = Writer::open(&shared.kafka, &id, KAFKA_TIMEOUT)?;
        failpoint::hit(failpoint::AFTER_OPEN);
        let load = || checkpoint::load_with_layout(ends.committed(), &shared.checkpoints, shard);
        let mut loaded = load()?;
        let layout = match &loaded.layout {
            Some(layout) => layout.clone(),
            None => shared.ensure_layout(seen.as_ref())?,
        };
        if doubts {
            await_decided(&ends, &shared, shard)?;
            loaded = load()?;
        }
        failpoint::hit(failpoint::AFTER_LOAD);
        shared.board.edge_up("kafka");
        Ok((writer, ends, loaded, layout))
    });
    passed_on(opened.await).map_err(TermEnd::Checkpoint)
}

/// The streams that the layout gives to this shard.
fn candidates(
    worker: &ShardWorker,
    streams: &Streams,
    loaded: &Loaded,
    count: u32,
) -> Vec<Candidate> {
    let mine = streams
        .iter()
        .filter(|(stream, _)| routing::shard_of(stream, count) == worker.shard);
    mine.enumerate()
        .map(|(index, (stream, found))| {
            let slot = Arc::new(slot(worker, index, stream, found));
            let mut checkpoint = loaded.checkpoints.get(stream).cloned();
            // Every position of the term goes on from it.
            if let Some(checkpoint) = &mut checkpoint {
                checkpoint.remade = checkpoint.remade_under(&slot.route_hash, &slot.placement_hash);
            }
            worker
                .shared
                .show_owned(&slot, worker.shard, checkpoint.as_ref());
            let position = checkpoint.as_ref().map(Checkpoint::position);
            Candidate {
                slot,
                while_running: found.while_running,
                began: position
                    .as_ref()
                    .map(|position| first::began(position.began)),
                checkpoint,
                position,
            }
        })
        .collect()
}

fn slot(worker: &ShardWorker, index: usize, stream: &StreamRef, found: &Found) -> Slot {
    let route = found.binding.route();
    Slot {
        index,
        stream: stream.clone(),
        on_gap: route.config().on_gap,
        lifted: worker.memory.lifted.get(stream).map(|lifted| lifted.halt),
        route_hash: found.binding.route_hash(),
        placement_hash: found.binding.placement_hash(),
        binding: found.binding.clone(),
    }
}

/// Drops streams whose checkpoint is lost, gives those that are new their first position.
async fn keep_started(
    worker: &mut ShardWorker,
    candidates: &mut Vec<Candidate>,
    sources: &mut BTreeMap<Database, Source>,
) -> Result<(), TermEnd> {
    let mut failed = Shut::new();
    for (database, source) in sources.iter_mut() {
        let new = candidates.iter_mut().filter(|candidate| {
            candidate.slot.stream.database == *database && candidate.checkpoint.is_none()
        });
        let mut new: Vec<&mut Candidate> = new.collect();
        for some in new.chunks_mut(500) {
            match begin_some(worker, source, some).await {
                Err(TermEnd::Redis(error)) => {
                    failed.insert(*database, error);
                    break;
                }
                begun => begun?,
            }
        }
    }
    source::go_on_without(worker, candidates, sources, failed).map_err(TermEnd::Redis)?;
    worker.memory.doubts &= candidates
        .iter()
        .any(|candidate| candidate.position.is_none());
    candidates.retain(|candidate| candidate.position.is_some());
    Ok(())
}

async fn begin_some(
    worker: &mut ShardWorker,
    source: &mut Source,
    some: &mut [&mut Candidate],
) -> Result<(), TermEnd> {
    let names = some.iter();
    let names: Vec<StreamName> = names.map(|new| new.slot.stream.name.clone()).collect();
    let key = worker.shared.started_key();
    let started = source.connection.started(&key, &names).await;
    let started = started.map_err(TermEnd::Redis)?;
    let looks = source.connection.inspect_each(&names).await;
    let looks = looks.map_err(TermEnd::Redis)?;
    let lifted = |stream| {
        let lifted = worker.memory.lifted.get(stream);
        lifted.is_some_and(|lifted| lifted.from.is_some())
    };
    let lost = some
        .iter()
        .zip(&started)
        .any(|(new, started)| *started && !lifted(&new.slot.stream));
    if lost && !std::mem::replace(&mut worker.memory.doubts, true) {
        // A resize that has just ended may show its layout before its checkpoints.
        return Err(TermEnd::Changed);
    }
    for ((new, started), look) in some.iter_mut().zip(started).zip(looks) {
        match look {
            Ok(look) => new.begin(worker, started, &look),
            Err(error) => set_aside(worker, &new.slot, &error),
        }
    }
    Ok(())
}

impl Candidate {
    fn begin(&mut self, worker: &ShardWorker, started: bool, look: &Inspected) {
        let stream = &self.slot.stream;
        let lifted = worker.memory.lifted.get(stream);
        let start = match (started, lifted.and_then(|lifted| lifted.from)) {
            (_, Some(start)) => start,
            (true, None) => {
                let text = format!(
                    "its mirror has begun before, but Kafka holds no checkpoint of it; to begin again (what is mirrored twice is \
                     up to you): lockgate streams resume --database {} '{}' --from earliest|latest|ID --reason TEXT",
                    stream.database, stream.name
                );
                halt(worker, &self.slot, Reason::CheckpointLost, text);
                return;
            }
            (false, None) if self.while_running => Start::Earliest,
            (false, None) => self.slot.binding.route().config().start,
        };
        self.began = Some(if self.while_running {
            format!("{start} (found while running)")
        } else {
            start.to_string()
        });
        self.position = Some(first::position(start, look));
    }

    /// A first one, or one that makes the operator's word on a changed placement last.
    pub fn needs_checkpoint(&self) -> bool {
        self.checkpoint
            .as_ref()
            .is_none_or(|checkpoint| checkpoint.placement_hash != self.slot.placement_hash)
    }

    fn lane(&self, shared: &Shared) -> Lane {
        let position = self.position.clone().unwrap_or_default();
        let mut before = None;
        shared.board.stream(&self.slot.stream, |cell| {
            if self.checkpoint.is_none() {
                // It begins with what is there now.
                cell.forget_looks();
            }
            before = Some(cell.clone());
            cell.checkpoint = Some(position.id);
            cell.generation = position.generation;
            cell.added_at_checkpoint = position.entries_added;
            // How it was told in this process says more than the id that came of it.
            let told = cell.began.take();
            cell.began = match &self.checkpoint {
                Some(_) => told.or_else(|| self.began.clone()),
                None => self.began.clone().or(told),
            };
        });
        Lane::new(Arc::clone(&self.slot), &position, before.as_ref())
    }
}

/// A stream whose keys would now go to other partitions than before keeps no order: it stops until the operator agrees.
fn keep_placement(worker: &ShardWorker, candidates: &mut Vec<Candidate>) {
    candidates.retain(|candidate| {
        let Some(checkpoint) = &candidate.checkpoint else { return true };
        let slot = &candidate.slot;
        let moved = checkpoint.placement_hash != slot.placement_hash;
        if moved && !slot.forgives(Reason::PlacementChanged) {
            let text = format!(
                "topic, key or partition settings of route {} are others than those of the records before {}; a key's order would \
                 not hold across the change; to go on all the same: lockgate streams resume --database {} '{}' --reason TEXT",
                slot.binding.route().name(),
                checkpoint.id,
                slot.stream.database,
                slot.stream.name
            );
            halt(worker, slot, Reason::PlacementChanged, text);
            return false;
        }
        if checkpoint.route_hash != slot.route_hash {
            warn!(stream = %slot.stream.name, route = slot.binding.route().name(), after = %checkpoint.id, "records are made differently from here on: the route's settings changed");
        }
        true
    });
}

/// Stops a stream for this term and says so.
pub fn halt(worker: &ShardWorker, slot: &Slot, reason: Reason, text: String) {
    let mut known = false;
    worker.shared.board.stream(&slot.stream, |cell| {
        known = cell.halt() == Some(reason);
        cell.halted(reason, text.clone());
    });
    if !known {
        error!(stream = %slot.stream.name, database = %slot.stream.database, reason = reason.as_str(), runbook = reason.runbook(), "{text}");
    }
}

/// Leaves a stream that Redis refuses out of this term, while its neighbours go on.
pub fn set_aside(worker: &mut ShardWorker, slot: &Slot, error: &Error) {
    worker.memory.aside.stream(&slot.stream, error);
    worker.shared.show_refused(slot, error);
}

/// One transaction of checkpoints alone.
pub async fn commit_checkpoints(
    shared: &Arc<Shared>,
    shard: Shard,
    mut writer: Writer,
    checkpoints: Vec<(StreamRef, Checkpoint)>,
) -> Result<Writer, TermEnd> {
    let shared = Arc::clone(shared);
    let committed = tokio::task::spawn_blocking(move || -> Result<Writer, crate::topics::Error> {
        writer.begin()?;
        for (stream, checkpoint) in &checkpoints {
            checkpoint::write(
                &mut writer,
                &shared.checkpoints,
                shard,
                stream,
                checkpoint,
                now_ms(),
            )?;
        }
        writer.commit(KAFKA_TIMEOUT)?;
        Ok(writer)
    });
    let committed = passed_on(committed.await);
    committed.map_err(|error| TermEnd::Checkpoint(error.into()))
}

impl Shared {
    fn show_owned(&self, slot: &Slot, shard: Shard, checkpoint: Option<&Checkpoint>) {
        let route = slot.binding.route();
        self.board.own_stream(
            &slot.stream,
            route.name(),
            slot.binding.topic().as_str(),
            shard,
        );
        if let Some(checkpoint) = checkpoint {
            self.board.stream(&slot.stream, |cell| {
                cell.checkpoint = Some(checkpoint.id);
                cell.generation = checkpoint.generation;
                cell.added_at_checkpoint = checkpoint.entries_added;
            });
        }
    }
}
