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
mod logs;
mod sides;
mod tally;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tracing::{info, warn};

use self::compare::{Compared, Held, Orphans};
use self::logs::Past;
use self::sides::{FIRST_WINDOW, Window, mirrored, room};
use super::opening::{Candidate, commit_checkpoints, halt, set_aside};
use super::shard::{ShardWorker, TermEnd};
use super::shared::{Shared, now_ms};
use super::slot::{Gap, Slot};
use super::source::{Shut, Source, go_on_without};
use crate::checkpoint::{Checkpoint, Position};
use crate::config::OnTrouble;
use crate::entry::{Database, EntryId};
use crate::failpoint;
use crate::status::{GapCause, Reason};
use crate::streams::{Inspected, Replication, StreamState};
use crate::topics::Writer;

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
        let slot = Arc::clone(&candidate.slot);
        let database = slot.stream.database;
        let Some(source) = sources.get_mut(&database) else {
            continue;
        };
        let replid = &source.replication.replid;
        let others = |checkpoint: &Checkpoint| checkpoint.replid != *replid;
        let Some(checkpoint) = candidate.checkpoint.clone().filter(others) else {
            let board = &worker.shared.board;
            board.stream(&slot.stream, |cell| cell.look_in(replid, true));
            continue;
        };
        if failed.contains_key(&database) {
            continue;
        }
        let found = match audit(&worker.shared, &slot, &checkpoint, source).await {
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
    missing: u64,
    orphans: Orphans,
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
    let look = looks.into_iter().next();
    let there = matches!(look, Some(Inspected::Stream(_)));
    let now = &source.replication;
    let board = &shared.board;
    board.stream(&slot.stream, |cell| cell.look_in(&now.replid, there));
    if contains(now, checkpoint) {
        info!(stream = %slot.stream.name, "Redis failed over; its new history contains all that was read");
        return Ok(Found::Same(checkpoint.position()));
    }
    let Some(Inspected::Stream(state)) = look else {
        // Gone altogether: that is the reader's to judge.
        return Ok(Found::Same(checkpoint.position()));
    };
    if awaits_start(checkpoint, &state) {
        return Ok(Found::Same(checkpoint.position()));
    }
    let high = state.last_generated_id.min(checkpoint.id);
    let low = checkpoint.began.next().unwrap_or(EntryId::MAX);
    let added = tally::added_at(shared, slot, source, high).await?;
    let past = Past::new(
        checkpoint.remade,
        checkpoint.id,
        checkpoint.written_ms,
        now_ms(),
    );
    let mut window = Window::new(slot, low, high);
    let mut compared = Compared::default();
    let (mut count, mut to) = (FIRST_WINDOW, checkpoint.id);
    let mut first = None;
    loop {
        let whole = window.go_down(shared, source, count).await?;
        let held = window.held();
        // With nothing left up to there, only ids behind it can have been lost.
        let from = held
            .first()
            .map_or_else(|| high.next().unwrap_or(EntryId::MAX), |held| held.id);
        let kafka = mirrored(shared, slot, from..=to, held).await?;
        // Kafka has nothing of it any more, and nothing says that Redis lost any of it.
        let newest = to == checkpoint.id;
        if newest && kafka.is_empty() && nothing_lost(held, &state, added, checkpoint) {
            break;
        }
        first = held.first().map(|held| held.id).or(first);
        compared.take(held, &kafka, &past, room(shared));
        let Some(below) = from.previous().filter(|_| !whole) else {
            break;
        };
        if compared.common.is_some() {
            break;
        }
        to = below;
        count = (count * 8).min(room(shared));
    }
    let audited = Audited {
        first,
        added,
        compared,
        state,
    };
    Ok(audited.conclude(slot, checkpoint))
}

/// Redis still holds the very entry that the checkpoint names; or it has given that id out, or a later one, and counts no fewer
/// entries up to there than had been added.
fn nothing_lost(
    held: &[Held],
    state: &StreamState,
    added: Option<u64>,
    checkpoint: &Checkpoint,
) -> bool {
    let counted = added.zip(checkpoint.entries_added);
    held.last().is_some_and(|held| held.id == checkpoint.id)
        || (state.last_generated_id >= checkpoint.id
            && counted.is_some_and(|(now, before)| now >= before))
}

/// Nothing has been mirrored, and the stream has not come to where it begins: it has nothing to lose.
fn awaits_start(checkpoint: &Checkpoint, state: &StreamState) -> bool {
    checkpoint.id == checkpoint.began
        && checkpoint.entries_added.is_none()
        && state.last_generated_id < checkpoint.id
}

/// What was found of one stream.
struct Audited {
    /// As it was before anything was compared.
    state: StreamState,
    compared: Compared,
    /// The first entry that was compared.
    first: Option<EntryId>,
    /// Entries ever added when the last that was compared was the last.
    added: Option<u64>,
}

impl Audited {
    fn conclude(self, slot: &Slot, checkpoint: &Checkpoint) -> Found {
        let compared = &self.compared;
        let last = self.state.last_generated_id;
        // The count at the place from which reading goes on: what is missing stands behind it.
        let added = self
            .added
            .and_then(|added| added.checked_sub(compared.missing));
        // Where Redis says that nothing was ever added there the whole stream is another, and the reader's to judge.
        let begun = checkpoint.id != EntryId::ZERO;
        let another = begun && compared.common.is_none() && added == Some(0);
        // In one history the count never falls, so as many as it counts too few are of the history that was lost.
        let counted = checkpoint.entries_added.zip(added);
        let lost = counted.map_or(0, |(before, now)| before.saturating_sub(now));
        let deleted = self.state.max_deleted_entry_id.unwrap_or_default();
        let orphans = compared.orphans(deleted, lost);
        let whole = another || !begun || orphans.count == 0;
        if whole && compared.missing == 0 && last >= checkpoint.id {
            return Found::Same(self.unbroken(checkpoint, another));
        }
        let trimmed = self
            .state
            .entries_added
            .is_none_or(|added| added > self.state.length);
        // What came in place of the lost entries may have gone again where nothing shows where it began.
        let hidden = compared.common.is_none() && trimmed;
        if hidden
            && slot.on_gap == OnTrouble::Halt
            && !slot.forgives(Reason::FailoverHistoryTrimmed)
        {
            return Found::Unknowable(format!(
                "a failover of Redis lost history that was mirrored, and what came in its place before {} is trimmed already; to mirror what \
                 is left and go on: lockgate streams resume --database {} '{}' --reason TEXT",
                self.first.unwrap_or(checkpoint.id),
                slot.stream.database,
                slot.stream.name
            ));
        }
        let id = compared
            .before_missing()
            .unwrap_or_else(|| last.min(checkpoint.id));
        let position = Position {
            id,
            generation: compared.generation.max(checkpoint.generation) + 1,
            entries_added: added,
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
            missing: compared.missing,
            orphans,
            gap,
        })
    }

    /// The position of before. A count that was not known is known now; one that is greater than Redis's now would be taken
    /// for a stream that was made anew, which is right for `another` alone.
    fn unbroken(&self, checkpoint: &Checkpoint, another: bool) -> Position {
        let before = checkpoint.entries_added;
        let entries_added = match (before, self.added) {
            (Some(before), Some(now)) if !another => Some(before.min(now)),
            (None, now) => now,
            (before, _) => before,
        };
        Position {
            entries_added,
            ..checkpoint.position()
        }
    }
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
                stream = %slot.stream.name, database = %slot.stream.database, after = %position.id, accepted_by_operator = slot.forgives(Reason::FailoverHistoryTrimmed),
                "what came in place of lost history is trimmed in part; counted as one entry, whatever their number, going on"
            );
        }
        if self.orphans.count == 0 {
            return;
        }
        let named: Vec<String> = self
            .orphans
            .ids
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect();
        warn!(
            stream = %slot.stream.name, database = %slot.stream.database, orphans = self.orphans.count, first = named.join(" "),
            reason = "redis-lost-history", "Kafka has entries that Redis lost in a failover"
        );
    }
}

impl Shared {
    fn count_break(&self, slot: &Slot, broken: &Break) {
        let orphans = broken.orphans.count;
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
