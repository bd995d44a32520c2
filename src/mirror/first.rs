//! Where a stream's mirror begins, and how that becomes its first checkpoint.
//!
//! The first checkpoint is committed before Redis is told that the mirror of the stream has begun. So a checkpoint that is
//! not there although Redis says so is lost, and never taken for one that was never written.

use std::collections::BTreeMap;

use tracing::info;

use super::discovery::Streams;
use super::gaps::{Finding, Mark, assess};
use super::opening::{Candidate, commit_checkpoints, set_aside};
use super::shard::{ShardWorker, TermEnd};
use super::source::{Shut, Source, go_on_without};
use super::started::{self, Refused};
use crate::checkpoint::{Checkpoint, Position};
use crate::config::Start;
use crate::entry::{Database, EntryId};
use crate::failpoint;
use crate::placement::Remade;
use crate::streams::{Inspected, StreamState};
use crate::topics::Writer;

/// Where a mirror began, as a checkpoint tells it.
pub fn began(after: EntryId) -> String {
    if after == EntryId::ZERO {
        Start::Earliest.to_string()
    } else {
        Start::After(after).to_string()
    }
}

/// Where a stream begins. What was trimmed before that is history, not a gap.
pub fn position(start: Start, look: &Inspected) -> Position {
    let Inspected::Stream(state) = look else {
        let id = if let Start::After(id) = start {
            id
        } else {
            EntryId::ZERO
        };
        return Position {
            id,
            generation: 0,
            entries_added: (id == EntryId::ZERO).then_some(0),
            began: id,
            remade: Remade::default(),
        };
    };
    let (id, entries_added) = match start {
        Start::Earliest => (
            EntryId::ZERO,
            state
                .entries_added
                .map(|added| added.saturating_sub(state.length)),
        ),
        Start::Latest => (state.last_generated_id, state.entries_added),
        Start::After(id) => (id, counted_at(id, state)),
    };
    Position {
        id,
        generation: 0,
        entries_added,
        began: id,
        remade: Remade::default(),
    }
}

/// How many entries had been added when this one was the last, where one look can tell: with nothing behind it, or nothing up
/// to it. `None` where the stream has not come there yet, too: what it takes in until then says nothing.
fn counted_at(id: EntryId, state: &StreamState) -> Option<u64> {
    let mark = Mark {
        id,
        added: None,
        exact: id,
        start: true,
    };
    match assess(state, &mark, None) {
        Finding::Level { added } => Some(added),
        Finding::Missing { .. } | Finding::Recreated | Finding::Ahead | Finding::Undetermined => {
            None
        }
    }
}

/// Commits the first checkpoint of each new stream, then notes in Redis that its mirror has begun.
pub async fn checkpoints(
    worker: &mut ShardWorker,
    writer: Writer,
    candidates: &mut Vec<Candidate>,
    sources: &mut BTreeMap<Database, Source>,
    streams: &Streams,
) -> Result<Writer, TermEnd> {
    let writer = commit_first(worker, writer, candidates, sources).await?;
    let mut failed = Shut::new();
    for (database, source) in sources.iter_mut() {
        let noted = started::note(&worker.shared, *database, source, candidates, streams).await;
        let (unmarked, error) = match noted {
            Ok(Refused { error: None, .. }) => continue,
            Ok(Refused {
                names,
                error: Some(error),
            }) => (names, error),
            Err(error) => {
                failed.insert(*database, error);
                continue;
            }
        };
        // Without the mark a lost checkpoint would not be noticed: such a stream may not begin.
        candidates.retain(|candidate| {
            let stream = &candidate.slot.stream;
            let refused = stream.database == *database && unmarked.contains(&stream.name);
            if refused {
                set_aside(worker, &candidate.slot, &error);
            }
            !refused
        });
    }
    go_on_without(worker, candidates, sources, failed).map_err(TermEnd::Redis)?;
    Ok(writer)
}

async fn commit_first(
    worker: &ShardWorker,
    mut writer: Writer,
    candidates: &[Candidate],
    sources: &BTreeMap<Database, Source>,
) -> Result<Writer, TermEnd> {
    let mut first = Vec::new();
    for candidate in candidates
        .iter()
        .filter(|candidate| candidate.needs_checkpoint())
    {
        let (Some(position), Some(source)) = (
            &candidate.position,
            sources.get(&candidate.slot.stream.database),
        ) else {
            continue;
        };
        let slot = &candidate.slot;
        let at = &source.replication;
        first.push((
            slot.stream.clone(),
            Checkpoint::new(
                position,
                &at.replid,
                at.offset,
                &slot.route_hash,
                &slot.placement_hash,
            ),
        ));
        info!(stream = %slot.stream.name, database = %slot.stream.database, topic = %slot.binding.topic(), began = candidate.began.as_deref(), after = %position.id, "first checkpoint");
    }
    if !first.is_empty() {
        writer = commit_checkpoints(&worker.shared, worker.shard, writer, first).await?;
        failpoint::hit(failpoint::AFTER_FIRST_CHECKPOINT);
    }
    Ok(writer)
}
