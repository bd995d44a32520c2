//! After Redis's history changed: find what was lost and what came in its place, and let the mirror go on from there.
//!
//! The sign is a `master_replid` that is not the checkpoint's. Where the new history says that it contains the old one
//! beyond the point that was read (`master_replid2`, `second_repl_offset`), nothing read was lost. Otherwise entries up to
//! the checkpoint are compared with what Kafka has.
//!
//! What Kafka lacks is always the end of what was compared, without a break. So nothing is mirrored here: the checkpoint is
//! set back before the first of it, in the next generation, and the term reads on from there as from any checkpoint. One
//! transaction of checkpoints alone does that, for all streams of the shard, or nothing; a crash or a refusal before it
//! leaves the audit to be done again, whole, and one behind it leaves nothing of it to be done.

mod compare;
mod sides;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tracing::{info, warn};

use self::compare::{Held, Mirrored, Outcome, compare};
use self::sides::{Window, mirrored};
use super::opening::{Candidate, commit_checkpoints, halt, set_aside};
use super::shard::{ShardWorker, TermEnd};
use super::shared::Shared;
use super::slot::{Gap, Slot};
use super::source::{Shut, Source, go_on_without};
use crate::checkpoint::{Checkpoint, Position};
use crate::config::OnTrouble;
use crate::entry::{Database, EntryId};
use crate::failpoint;
use crate::status::{GapCause, Reason};
use crate::streams::{Inspected, Replication, StreamState};
use crate::topics::Writer;

/// Entries of the first window; each further one is eight times as long.
const FIRST_WINDOW: usize = 1_000;
/// Entries named in the log for each stream.
const NAMED: usize = 20;

/// Whether the new history contains all that was read of the old one.
fn contains(now: &Replication, checkpoint: &Checkpoint) -> bool {
    now.replid == checkpoint.replid
        || (now.replid2.as_deref() == Some(checkpoint.replid.as_str())
            && now
                .second_offset
                .is_some_and(|second| second > checkpoint.repl_offset))
}

/// Lets the streams pass whose history is the one that was read, audits the others.
pub async fn keep_continuous(
    worker: &mut ShardWorker,
    writer: Writer,
    candidates: &mut Vec<Candidate>,
    sources: &mut BTreeMap<Database, Source>,
) -> Result<Writer, TermEnd> {
    let (mut renewed, mut broken) = (Vec::new(), Vec::new());
    let mut halted = HashSet::new();
    let mut failed = Shut::new();
    for candidate in candidates.iter_mut() {
        let Some(checkpoint) = candidate.checkpoint.clone() else {
            continue;
        };
        let slot = Arc::clone(&candidate.slot);
        let database = slot.stream.database;
        let Some(source) = sources.get_mut(&database) else {
            continue;
        };
        if failed.contains_key(&database) || source.replication.replid == checkpoint.replid {
            continue;
        }
        let found = if contains(&source.replication, &checkpoint) {
            info!(stream = %slot.stream.name, "Redis failed over; its new history contains all that was read");
            Found::Same(checkpoint.position())
        } else {
            match audit(&worker.shared, &slot, &checkpoint, source).await {
                Err(TermEnd::Redis(error)) if error.is_of_key() => {
                    set_aside(worker, &slot, &error);
                    halted.insert(slot.index);
                    continue;
                }
                Err(TermEnd::Redis(error)) => {
                    failed.insert(database, error);
                    continue;
                }
                found => found?,
            }
        };
        let position = match found {
            Found::Same(position) => position,
            Found::Broken(found) => {
                found.tell(&slot);
                let position = found.position.clone();
                broken.push((Arc::clone(&slot), found));
                position
            }
            Found::Unknowable(text) => {
                halt(worker, &slot, Reason::FailoverHistoryTrimmed, text);
                halted.insert(slot.index);
                continue;
            }
        };
        let now = &source.replication;
        renewed.push((
            slot.stream.clone(),
            Checkpoint::new(
                &position,
                &now.replid,
                now.offset,
                &slot.route_hash,
                &slot.placement_hash,
            ),
        ));
        candidate.position = Some(position);
    }
    candidates.retain(|candidate| !halted.contains(&candidate.slot.index));
    // What was found of other streams holds, and is committed also where the term ends for it: a long audit that is broken
    // off goes on there.
    let left = go_on_without(worker, candidates, sources, failed);
    let mut writer = writer;
    if !renewed.is_empty() {
        failpoint::hit(failpoint::AUDIT_BEFORE_COMMIT);
        writer = commit_checkpoints(&worker.shared, worker.shard, writer, renewed).await?;
        failpoint::hit(failpoint::AUDIT_AFTER_COMMIT);
        for (slot, broken) in broken {
            worker.shared.count_break(&slot, &broken);
        }
    }
    left.map_err(TermEnd::Redis)?;
    Ok(writer)
}

enum Found {
    /// Nothing was lost; only the history's name is new.
    Same(Position),
    Broken(Break),
    /// The history before the difference is gone.
    Unknowable(String),
}

/// Where a stream's history and the mirrored one part.
struct Break {
    /// In the next generation, before the first entry that Kafka lacks.
    position: Position,
    /// Entries up to the old checkpoint that Kafka lacks.
    missing: usize,
    orphans: Vec<EntryId>,
    gap: Option<Gap>,
}

async fn audit(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    checkpoint: &Checkpoint,
    source: &mut Source,
) -> Result<Found, TermEnd> {
    let looks = source
        .connection
        .inspect(std::slice::from_ref(&slot.stream.name))
        .await
        .map_err(TermEnd::Redis)?;
    let Some(Inspected::Stream(state)) = looks.into_iter().next() else {
        // Gone altogether: that is the reader's to judge.
        return Ok(Found::Same(checkpoint.position()));
    };
    let high = state.last_generated_id.min(checkpoint.id);
    let low = checkpoint.began.next().unwrap_or(EntryId::MAX);
    let mut window = Window::new(slot, low, high);
    let mut count = FIRST_WINDOW;
    loop {
        let whole = window.widen(shared, source, count).await?;
        let held = window.held();
        // With nothing left up to there, only ids behind it can have been lost.
        let from = held
            .first()
            .map_or_else(|| high.next().unwrap_or(EntryId::MAX), |held| held.id);
        let mirrored = mirrored(shared, slot, from).await?;
        let outcome = compare(
            held,
            &mirrored,
            state.max_deleted_entry_id.unwrap_or_default(),
            checkpoint.remade.form,
        );
        // Kafka has expired all of it, and Redis still holds the very entry that the checkpoint names.
        let expired =
            mirrored.is_empty() && held.last().is_some_and(|held| held.id == checkpoint.id);
        if expired {
            return Ok(Found::Same(checkpoint.position()));
        }
        if outcome.anchored || whole {
            let first = held.first();
            return Ok(conclude(
                slot, checkpoint, &state, first, outcome, &mirrored,
            ));
        }
        count *= 8;
    }
}

fn conclude(
    slot: &Slot,
    checkpoint: &Checkpoint,
    state: &StreamState,
    first: Option<&Held>,
    outcome: Outcome,
    mirrored: &BTreeMap<EntryId, Mirrored>,
) -> Found {
    let last = state.last_generated_id;
    if outcome.missing.is_empty() && outcome.orphans.is_empty() && last >= checkpoint.id {
        return Found::Same(checkpoint.position());
    }
    let trimmed = state.entries_added.is_none_or(|added| added > state.length);
    let hidden = !outcome.anchored && trimmed;
    if hidden && slot.on_gap == OnTrouble::Halt && !slot.forgiven {
        return Found::Unknowable(format!(
            "a failover of Redis lost history that was mirrored, and what came in its place before {} is trimmed already; to mirror what \
             is left and go on: lockgate streams resume --database {} '{}' --reason TEXT",
            first.map_or(checkpoint.id, |held| held.id),
            slot.stream.database,
            slot.stream.name
        ));
    }
    let generations = mirrored.values().map(|seen| seen.generation);
    let generation = generations.max().unwrap_or(0).max(checkpoint.generation) + 1;
    let counted = state.entries_added.filter(|_| last <= checkpoint.id);
    let id = before(&outcome).unwrap_or_else(|| last.min(checkpoint.id));
    let position = Position {
        id,
        generation,
        entries_added: counted.and_then(|added| added.checked_sub(outcome.missing.len() as u64)),
        began: checkpoint.began.min(last),
        remade: checkpoint.remade.up_to(id),
    };
    // How many were trimmed nobody can say any more; that some were must not go uncounted.
    let gap = hidden.then_some(Gap {
        cause: GapCause::Failover,
        entries: 1,
    });
    Found::Broken(Break {
        position,
        missing: outcome.missing.len(),
        orphans: outcome.orphans,
        gap,
    })
}

/// The place from which reading on brings what is missing, all of it and nothing else; `None`: nothing is.
fn before(outcome: &Outcome) -> Option<EntryId> {
    let first = outcome.missing.first()?;
    outcome.common.or_else(|| first.previous())
}

impl Break {
    /// Before it is committed: a crash may have it told twice, but never counted twice, nor kept silent.
    fn tell(&self, slot: &Slot) {
        let position = &self.position;
        warn!(
            stream = %slot.stream.name, database = %slot.stream.database, to_mirror_again = self.missing, generation = position.generation,
            after = %position.id, "a failover of Redis changed the stream's history; its mirror goes on where the two part"
        );
        if self.gap.is_some() {
            warn!(
                stream = %slot.stream.name, database = %slot.stream.database, after = %position.id, accepted_by_operator = slot.forgiven,
                "what came in place of lost history is trimmed in part; counted as one entry, whatever their number, going on"
            );
        }
        if self.orphans.is_empty() {
            return;
        }
        let named: Vec<String> = self
            .orphans
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect();
        warn!(
            stream = %slot.stream.name, database = %slot.stream.database, orphans = self.orphans.len(), first = named.join(" "),
            reason = "redis-lost-history", "Kafka has entries that Redis lost in a failover"
        );
    }
}

impl Shared {
    fn count_break(&self, slot: &Slot, broken: &Break) {
        let orphans = broken.orphans.len() as u64;
        self.board.route(slot.binding.route().name(), |route| {
            route.orphans += orphans;
            if let Some(gap) = broken.gap {
                route.count_gap(gap.cause, gap.entries);
            }
        });
        self.board.stream(&slot.stream, |stream| {
            stream.orphans += orphans;
            stream.gap_entries += broken.gap.map_or(0, |gap| gap.entries);
        });
    }
}
