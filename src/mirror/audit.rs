//! After Redis's history changed: find what was lost and what came in its place, and bring Kafka level, once.
//!
//! The sign is a `master_replid` that is not the checkpoint's. Where the new history says that it contains the old one
//! beyond the point that was read (`master_replid2`, `second_repl_offset`), nothing read was lost. Otherwise entries up to
//! the checkpoint are compared with what Kafka has; what Kafka lacks is mirrored in the next generation, together with
//! the new checkpoint, in one transaction; so a crash in between leaves the audit to be done again, whole.

mod compare;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::runtime::Handle;
use tracing::{info, warn};
use xxhash_rust::xxh3::Xxh3;

use self::compare::{Digest, Held, Mirrored, Outcome, compare};
use super::opening::{Candidate, Source, commit_checkpoints, halt, set_aside};
use super::places::{Place, partition_counts};
use super::shard::{ShardWorker, TermEnd};
use super::shared::{KAFKA_TIMEOUT, Shared, now_ms};
use super::slot::{Batch, Gap, Input, Part, Slot};
use super::writer::{Ended, Pipeline};
use crate::checkpoint::{self, Checkpoint, Position};
use crate::config::OnTrouble;
use crate::entry::{Database, Entry, EntryId, StreamRef};
use crate::placement::{Partition, Topic};
use crate::routing::{Encoded, dead_letter};
use crate::status::{GapCause, Reason};
use crate::streams::{Inspected, Replication, StreamState};
use crate::tasks::passed_on;
use crate::topics::{self, From, Writer};

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
    mut writer: Writer,
    candidates: &mut Vec<Candidate>,
    sources: &mut BTreeMap<Database, Source>,
) -> Result<Writer, TermEnd> {
    let mut renewed = Vec::new();
    let mut halted = HashSet::new();
    for candidate in candidates.iter_mut() {
        let Some(checkpoint) = candidate.checkpoint.clone() else {
            continue;
        };
        let slot = Arc::clone(&candidate.slot);
        let Some(source) = sources.get_mut(&slot.stream.database) else {
            continue;
        };
        let now = source.replication.clone();
        if now.replid == checkpoint.replid {
            continue;
        }
        let found = if contains(&now, &checkpoint) {
            info!(stream = %slot.stream.name, "Redis failed over; its new history contains all that was read");
            Found::Same(checkpoint.position())
        } else {
            match audit(&worker.shared, &slot, &checkpoint, source).await {
                Err(TermEnd::Redis(error)) if error.is_of_key() => {
                    set_aside(worker, &slot, &error);
                    halted.insert(slot.index);
                    continue;
                }
                found => found?,
            }
        };
        let position = match found {
            Found::Same(position) => position,
            Found::Differs {
                position,
                parts,
                orphans,
            } => {
                writer = mirror_again(worker, writer, &slot, &position, parts, &now).await?;
                worker.shared.show_orphans(&slot, &orphans);
                candidate.position = Some(position);
                continue;
            }
            Found::Unknowable(text) => {
                halt(worker, &slot, Reason::FailoverHistoryTrimmed, text);
                halted.insert(slot.index);
                continue;
            }
        };
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
    if renewed.is_empty() {
        return Ok(writer);
    }
    commit_checkpoints(&worker.shared, worker.shard, writer, renewed).await
}

enum Found {
    /// Nothing was lost; only the history's name is new.
    Same(Position),
    Differs {
        position: Position,
        parts: Vec<Part>,
        orphans: Vec<EntryId>,
    },
    /// The history before the difference is gone.
    Unknowable(String),
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
    let last = state.last_generated_id;
    let high = last.min(checkpoint.id);
    let mut count = FIRST_WINDOW;
    loop {
        let low = checkpoint.began.next().unwrap_or(EntryId::MAX);
        let mut entries = source
            .connection
            .range_back(&slot.stream.name, high, low, count)
            .await
            .map_err(TermEnd::Redis)?;
        entries.reverse();
        let whole = entries.len() < count;
        // With nothing left up to there, only ids behind it can have been lost.
        let from = entries
            .first()
            .map_or_else(|| high.next().unwrap_or(EntryId::MAX), |entry| entry.id);
        let mirrored = mirrored(shared, slot, from).await?;
        let window = held(slot, &entries);
        let outcome = compare(
            &window,
            &mirrored,
            state.max_deleted_entry_id.unwrap_or_default(),
            checkpoint.route_hash != slot.route_hash,
        );
        // Kafka has expired all of it, and Redis still holds the very entry that the checkpoint names.
        let expired = mirrored.is_empty()
            && entries
                .last()
                .is_some_and(|entry| entry.id == checkpoint.id);
        if expired {
            return Ok(Found::Same(checkpoint.position()));
        }
        if outcome.anchored || whole {
            return Ok(conclude(
                slot, checkpoint, &state, entries, outcome, mirrored,
            ));
        }
        count *= 8;
    }
}

fn conclude(
    slot: &Arc<Slot>,
    checkpoint: &Checkpoint,
    state: &StreamState,
    entries: Vec<Entry>,
    outcome: Outcome,
    mirrored: BTreeMap<EntryId, Mirrored>,
) -> Found {
    let last = state.last_generated_id;
    let lost_ids = last < checkpoint.id;
    if outcome.missing.is_empty() && outcome.orphans.is_empty() && !lost_ids {
        return Found::Same(checkpoint.position());
    }
    let trimmed = state.entries_added.is_none_or(|added| added > state.length);
    let hidden = !outcome.anchored && trimmed;
    if hidden && slot.on_gap == OnTrouble::Halt && !slot.forgiven {
        return Found::Unknowable(format!(
            "a failover of Redis lost history that was mirrored, and what came in its place before {} is trimmed already; to mirror what \
             is left and go on: lockgate streams resume --database {} '{}' --reason TEXT",
            entries.first().map_or(checkpoint.id, |entry| entry.id),
            slot.stream.database,
            slot.stream.name
        ));
    }
    let generation = mirrored
        .values()
        .map(|seen| seen.generation)
        .max()
        .unwrap_or(0)
        .max(checkpoint.generation)
        + 1;
    let position = Position {
        id: last.min(checkpoint.id),
        generation,
        entries_added: if last <= checkpoint.id {
            state.entries_added
        } else {
            None
        },
        began: checkpoint.began.min(last),
    };
    let missing: HashSet<EntryId> = outcome.missing.into_iter().collect();
    let again: Vec<Entry> = entries
        .into_iter()
        .filter(|entry| missing.contains(&entry.id))
        .collect();
    // How many were trimmed nobody can say any more; that some were must not go uncounted.
    let gap = hidden.then_some(Gap {
        cause: GapCause::Failover,
        entries: 1,
    });
    if hidden {
        warn!(
            stream = %slot.stream.name, database = %slot.stream.database, after = %position.id, accepted_by_operator = slot.forgiven,
            "what came in place of lost history is trimmed in part; counted as one entry, whatever their number, going on"
        );
    }
    let part = Part {
        slot: Arc::clone(slot),
        entries: again,
        position: position.clone(),
        gap,
    };
    Found::Differs {
        position,
        parts: vec![part],
        orphans: outcome.orphans,
    }
}

/// Commits what the audit found to be missing, and the position behind it.
async fn mirror_again(
    worker: &ShardWorker,
    writer: Writer,
    slot: &Slot,
    position: &Position,
    parts: Vec<Part>,
    now: &Replication,
) -> Result<Writer, TermEnd> {
    let entries: usize = parts.iter().map(|part| part.entries.len()).sum();
    warn!(
        stream = %slot.stream.name, database = %slot.stream.database, mirrored_again = entries, generation = position.generation,
        after = %position.id, "a failover of Redis changed the stream's history; brought level"
    );
    let mut pipeline = Pipeline::new(
        &worker.shared,
        worker.shard,
        writer,
        worker.memory.careful.clone(),
        worker.memory.poison.clone(),
    );
    let batch = Batch {
        parts,
        replication: now.clone(),
        dry: true,
        room: None,
    };
    let handle = Handle::current();
    let done = tokio::task::spawn_blocking(move || {
        let (input, mut output) = tokio::sync::mpsc::channel(1);
        input
            .blocking_send(Input::Batch(batch))
            .expect("the receiver stands beside");
        drop(input);
        (pipeline.run(&mut output, &handle), pipeline.writer)
    });
    match passed_on(done.await) {
        (Ended::Drained, writer) => Ok(writer),
        (failed, _) => Err(TermEnd::Writer(failed)),
    }
}

fn held(slot: &Slot, entries: &[Entry]) -> Vec<Held> {
    let mut scratch = Encoded::default();
    let mut letter = Vec::new();
    let digests = entries.iter().map(|entry| {
        let record = slot
            .binding
            .encode(&slot.stream, entry, &mut scratch)
            .ok()
            .map(|()| digest(scratch.key(), &scratch.value));
        letter.clear();
        dead_letter::encode(&entry.fields, &mut letter);
        Held {
            id: entry.id,
            record,
            letter: digest(None, &letter),
        }
    });
    digests.collect()
}

fn digest(key: Option<&[u8]>, value: &[u8]) -> Digest {
    let mut hash = Xxh3::new();
    hash.update(&[u8::from(key.is_some())]);
    hash.update(&(key.map_or(0, <[u8]>::len) as u64).to_le_bytes());
    hash.update(key.unwrap_or_default());
    hash.update(value);
    hash.digest128()
}

/// What Kafka has of the stream from this id on, in its topic and among the dead letters.
async fn mirrored(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    from: EntryId,
) -> Result<BTreeMap<EntryId, Mirrored>, TermEnd> {
    let shared = Arc::clone(shared);
    let slot = Arc::clone(slot);
    let topic = slot.binding.topic().clone();
    let letters = slot.binding.route().dead_letters().clone();
    let counts = partition_counts(&shared, &[topic.clone(), letters.clone()]).await;
    let counts = counts.map_err(|error| TermEnd::Checkpoint(checkpoint::Error::Topics(error)))?;
    let count = move |topic: &Topic| match counts.get(topic) {
        Some(Place::Partitions(count)) => i32::try_from(*count).unwrap_or(i32::MAX),
        _ => 0,
    };
    let read = tokio::task::spawn_blocking(move || -> Result<_, topics::Error> {
        let mut seen = HashMap::new();
        collect(
            &shared,
            (&topic, count(&topic)),
            &slot.stream,
            from,
            |mirrored, digest| mirrored.record = Some(digest),
            false,
            &mut seen,
        )?;
        collect(
            &shared,
            (&letters, count(&letters)),
            &slot.stream,
            from,
            |mirrored, digest| mirrored.letter = Some(digest),
            true,
            &mut seen,
        )?;
        Ok(seen.into_iter().collect())
    });
    let read = passed_on(read.await);
    read.map_err(|error| TermEnd::Checkpoint(checkpoint::Error::Topics(error)))
}

fn collect(
    shared: &Shared,
    (topic, partitions): (&Topic, i32),
    stream: &StreamRef,
    from: EntryId,
    put: impl Fn(&mut Mirrored, Digest),
    letters: bool,
    seen: &mut HashMap<EntryId, Mirrored>,
) -> Result<(), topics::Error> {
    // A record's time is its id's, or the time it was read where the id is none; two hours cover clocks that differ.
    let begin = from
        .plausible_time_ms(now_ms())
        .map_or(From::Beginning, |ms| From::TimeMs(ms - 7_200_000));
    let starts: Vec<(Partition, From)> = (0..partitions)
        .map(|partition| (Partition(partition), begin))
        .collect();
    topics::read_partitions(&shared.kafka, topic, &starts, KAFKA_TIMEOUT, |record| {
        if record.header("redis-stream") != Some(stream.name.as_bytes()) {
            return ControlFlow::Continue(());
        }
        let text = |name| {
            record
                .header(name)
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
        };
        let Some(id) = text("redis-id")
            .and_then(|id| id.parse::<EntryId>().ok())
            .filter(|id| *id >= from)
        else {
            return ControlFlow::Continue(());
        };
        let generation = text("redis-gen")
            .and_then(|generation| generation.parse().ok())
            .unwrap_or(0);
        let key = record.key.filter(|_| !letters);
        let mirrored = seen.entry(id).or_default();
        if generation >= mirrored.generation {
            mirrored.generation = generation;
            put(mirrored, digest(key, record.value.unwrap_or_default()));
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

impl Shared {
    fn show_orphans(&self, slot: &Slot, orphans: &[EntryId]) {
        if orphans.is_empty() {
            return;
        }
        let named: Vec<String> = orphans
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect();
        warn!(
            stream = %slot.stream.name, database = %slot.stream.database, orphans = orphans.len(), first = named.join(" "),
            reason = "redis-lost-history", "Kafka has entries that Redis lost in a failover"
        );
        self.board.route(slot.binding.route().name(), |route| {
            route.orphans += orphans.len() as u64
        });
        self.board.stream(&slot.stream, |stream| {
            stream.orphans += orphans.len() as u64
        });
    }
}
