//! Looks at what nobody is reading just now: streams of waiting or halted shards, and Redis itself.
//!
//! A reader posts what it sees of its own streams. While Kafka is away nobody reads, and that is when the operator most
//! wants to know how far Redis runs ahead and how long it can hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::shared::{Shared, now_ms};
use crate::entry::{Database, EntryId, StreamName, StreamRef};
use crate::status::{Observation, RedisStatus, StreamCell};
use crate::streams::{Connection, Error, Inspected, Role, Server};

const EVERY: Duration = Duration::from_secs(2);
/// A stream seen within this time needs no look.
const FRESH_MS: i64 = 4_000;
/// Streams looked at in one round, the longest unseen first.
const ROUND: usize = 200;

pub struct Survey {
    shared: Arc<Shared>,
    connections: BTreeMap<Database, Connection>,
    memory: Option<(i64, u64)>,
    /// When each stream was looked at last, whether or not anything could be counted.
    tried: Tried,
}

#[derive(Default)]
struct Tried(BTreeMap<StreamRef, i64>);

impl Tried {
    /// The longest unseen first, and what shows no counts not before its turn: others would never have theirs.
    fn choose(&mut self, mut due: Vec<Due>, now_ms: i64) -> Vec<Due> {
        let tried = |due: &Due| self.0.get(&due.stream).copied().unwrap_or(0);
        due.sort_by_cached_key(|due| due.seen_at_ms.max(tried(due)));
        // Whoever is not due has been seen, or is another's now.
        let mut still = BTreeMap::new();
        for (at, due) in due.iter().enumerate() {
            let at_ms = if at < ROUND { now_ms } else { tried(due) };
            still.insert(due.stream.clone(), at_ms);
        }
        self.0 = still;
        due.truncate(ROUND);
        due
    }
}

/// A stream that is due, and the checkpoint after which its oldest unmirrored entry stands.
struct Due {
    stream: StreamRef,
    after: Option<EntryId>,
    added_at_checkpoint: Option<u64>,
    seen_at_ms: i64,
}

impl Due {
    /// While nobody reads only this look tells that a stream went with what was unread, or that another is in its place: it
    /// shows fewer entries than the look before. `now`: entries ever added; as many as are mirrored, where it is gone.
    fn note_gone(&self, cell: &mut StreamCell, now: u64) {
        // A look of its reader meanwhile may be the newer one.
        let seen = cell.seen.filter(|seen| seen.at_ms == self.seen_at_ms);
        if let Some(seen) = seen.filter(|seen| now < seen.entries_added) {
            cell.note_gone(cell.generation, seen.entries_added);
        }
    }
}

impl Survey {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            connections: BTreeMap::new(),
            memory: None,
            tried: Tried::default(),
        }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            // Beside the rounds: an answer that does not come must not make what is known of Redis old.
            () = ask_kafka(Arc::clone(&self.shared)) => {}
            () = self.rounds() => {}
        }
    }

    async fn rounds(&mut self) {
        loop {
            if let Err(error) = self.round().await {
                debug!(%error, "survey");
                self.connections.clear();
                let down = error.is_connection_lost();
                self.shared
                    .board
                    .edge_error("redis", error.edge_kind(), error.to_string(), down);
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn round(&mut self) -> Result<(), Error> {
        let server = self.server().await?;
        self.shared.board.edge_up("redis");
        let memory_seconds = self.memory_seconds(&server);
        let status = redis_status(&server);
        self.warn_of_evictions(&status);
        self.shared.board.redis(status, memory_seconds);
        let mut failed = None;
        for (database, due) in self.due() {
            if let Err(error) = self.look(database, due).await {
                self.connections.remove(&database);
                // Of a database that may not be selected the streams say so themselves.
                failed = failed.or(Some(error).filter(|error| !error.is_of_database()));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Once, when it begins to be so.
    fn warn_of_evictions(&self, now: &RedisStatus) {
        let before = self.shared.board.redis_seen();
        if now.evicts_streams && !before.is_some_and(|before| before.evicts_streams) {
            warn!(
                policy = now.maxmemory_policy,
                runbook = "LockgateRedisEvicting",
                "Redis may evict whole streams, mirrored or not, when its memory is full; set maxmemory-policy to noeviction or \
                 volatile-*, or give the streams a Redis of their own"
            );
        }
    }

    /// Asked in any database that may be selected: what the server says of itself is of all of them.
    async fn server(&mut self) -> Result<Server, Error> {
        let mut others = BTreeSet::new();
        self.shared.board.streams(|stream, _| {
            others.insert(stream.database);
        });
        let mut refused = None;
        for database in [self.shared.redis.default_database()]
            .into_iter()
            .chain(others)
        {
            match self.connection(database).await {
                Ok(connection) => return connection.server().await,
                Err(error) if error.is_of_database() => refused = refused.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(refused.expect("the default database was asked"))
    }

    async fn connection(&mut self, database: Database) -> Result<&mut Connection, Error> {
        if !self.connections.contains_key(&database) {
            let connection = self.shared.redis.connect(database).await?;
            self.connections.insert(database, connection);
        }
        Ok(self.connections.get_mut(&database).expect("inserted above"))
    }

    fn due(&mut self) -> BTreeMap<Database, Vec<Due>> {
        let now_ms = now_ms();
        let mut due: Vec<Due> = Vec::new();
        self.shared.board.streams(|stream, cell| {
            let seen_at_ms = cell.seen.map_or(0, |seen| seen.at_ms);
            // A halted stream is looked at by its reader, which does not read it: how old its oldest entry is, only this asks.
            let unread = cell.halt().is_some()
                && cell.oldest_unmirrored_ms.is_none()
                && cell.lag_entries(now_ms).is_some_and(|lag| lag > 0);
            if unread || now_ms - seen_at_ms > FRESH_MS {
                due.push(Due {
                    stream: stream.clone(),
                    after: cell.checkpoint,
                    added_at_checkpoint: cell.added_at_checkpoint,
                    seen_at_ms,
                });
            }
        });
        let mut by_database: BTreeMap<Database, Vec<Due>> = BTreeMap::new();
        for one in self.tried.choose(due, now_ms) {
            by_database
                .entry(one.stream.database)
                .or_default()
                .push(one);
        }
        by_database
    }

    async fn look(&mut self, database: Database, due: Vec<Due>) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let connection = self.connection(database).await?;
        let names: Vec<StreamName> = due.iter().map(|due| due.stream.name.clone()).collect();
        let begun = Instant::now();
        let (looks, history) = connection.inspect_in_history(&names).await?;
        // A replica may show less than there is.
        let of_master = history.role == Role::Master;
        let at_ms = now_ms();
        for (due, look) in due.into_iter().zip(looks) {
            let look = look.ok();
            let there = matches!(look, Some(Inspected::Stream(_)));
            let counted = look.and_then(|look| counts(&look, due.added_at_checkpoint));
            let Some((entries_added, length)) = counted else {
                continue;
            };
            let mut behind = false;
            shared.board.stream(&due.stream, |cell| {
                let seen = Observation {
                    at_ms,
                    entries_added,
                    length,
                };
                if of_master {
                    cell.look_in(&history.replid, there);
                    due.note_gone(cell, entries_added);
                }
                cell.observe(seen, begun);
                behind = cell.oldest_unmirrored_ms.is_none()
                    && cell
                        .added_at_checkpoint
                        .is_some_and(|at| at < entries_added);
            });
            if let Some(next) = due.after.and_then(EntryId::next).filter(|_| behind) {
                let oldest = connection
                    .range(&due.stream.name, next, EntryId::MAX, 1)
                    .await?;
                let oldest_ms = oldest
                    .first()
                    .and_then(|entry| entry.id.plausible_time_ms(at_ms));
                shared
                    .board
                    .stream(&due.stream, |cell| cell.oldest_unmirrored_ms = oldest_ms);
            }
        }
        Ok(())
    }

    /// Seconds until memory is full at the pace of the last rounds; `None` where there is no limit or no growth.
    fn memory_seconds(&mut self, server: &Server) -> Option<f64> {
        let now_ms = now_ms();
        let (since_ms, before) = *self.memory.get_or_insert((now_ms, server.used_memory));
        if now_ms - since_ms > 60_000 {
            self.memory = Some((now_ms, server.used_memory));
        }
        let grown = server
            .used_memory
            .checked_sub(before)
            .filter(|grown| *grown > 0)?;
        let left = server
            .maxmemory
            .checked_sub(server.used_memory)
            .filter(|_| server.maxmemory > 0);
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        let seconds = |left: u64| left as f64 * (now_ms - since_ms) as f64 / 1_000.0 / grown as f64;
        left.filter(|_| now_ms - since_ms >= 1_000).map(seconds)
    }
}

/// Whether Kafka answers: a shard with nothing to write would not notice. One topic of our own tells, however many there are.
async fn ask_kafka(shared: Arc<Shared>) {
    loop {
        let begun = Instant::now();
        let answer = shared.admin.answers(&shared.checkpoints).await;
        shared.metrics.request("kafka", "admin", begun.elapsed());
        match answer {
            Ok(()) => shared.board.edge_up("kafka"),
            Err(error) => {
                shared
                    .board
                    .edge_error("kafka", error.edge_kind(), error.to_string(), true);
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Entries ever added, and how many there are; a stream that does not exist holds nothing to mirror.
fn counts(look: &Inspected, mirrored: Option<u64>) -> Option<(u64, u64)> {
    match look {
        Inspected::Stream(state) => Some((state.entries_added?, state.length)),
        Inspected::Absent => Some((mirrored?, 0)),
        Inspected::NotAStream(_) => None,
    }
}

fn redis_status(server: &Server) -> RedisStatus {
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let ratio = (server.maxmemory > 0).then(|| server.used_memory as f64 / server.maxmemory as f64);
    RedisStatus {
        version: server.version.clone(),
        role: match server.role {
            Role::Master => "master".to_owned(),
            Role::Replica => "replica".to_owned(),
        },
        used_memory_bytes: server.used_memory,
        max_memory_bytes: server.maxmemory,
        memory_used_ratio: ratio,
        maxmemory_policy: server.maxmemory_policy.clone(),
        evicted_keys: server.evicted_keys,
        evicts_streams: server.may_evict_streams(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Shard;

    fn due(name: &str, seen_at_ms: i64) -> Due {
        Due {
            stream: StreamRef::new(Database(0), name),
            after: None,
            added_at_checkpoint: Some(10),
            seen_at_ms,
        }
    }

    #[test]
    fn a_stream_that_shows_fewer_entries_than_before_took_along_what_was_unread() {
        let seen = |entries_added| Observation {
            at_ms: 7,
            entries_added,
            length: entries_added,
        };
        let due = due("s", 7);
        let look = |before, now| {
            let mut cell = StreamCell::new("r", "t", Shard(0));
            cell.generation = 3;
            cell.observe(seen(before), Instant::now());
            due.note_gone(&mut cell, now);
            cell.gone(3)
        };
        assert_eq!(look(60, 10), Some(60), "gone: as many as are mirrored");
        assert_eq!(look(60, 5), Some(60), "made anew");
        assert_eq!(look(60, 60), None);
        assert_eq!(look(10, 10), None, "nothing was unread");
        let mut newer = StreamCell::new("r", "t", Shard(0));
        let seen_since = Observation {
            at_ms: 8,
            ..seen(60)
        };
        newer.observe(seen_since, Instant::now());
        due.note_gone(&mut newer, 10);
        assert_eq!(newer.gone(0), None, "its reader has looked since");
    }

    #[test]
    fn a_failover_that_shows_fewer_entries_takes_no_stream_along() {
        let seen = |entries_added| Observation {
            at_ms: 7,
            entries_added,
            length: entries_added,
        };
        let look = |replid, there, now| {
            let mut cell = StreamCell::new("r", "t", Shard(0));
            cell.look_in("before", true);
            cell.observe(seen(60), Instant::now());
            cell.look_in(replid, there);
            due("s", 7).note_gone(&mut cell, now);
            cell.gone(0)
        };
        assert_eq!(look("behind", true, 40), None, "it has 40 of them");
        assert_eq!(look("behind", false, 10), Some(60), "it has none");
        assert_eq!(look("before", true, 40), Some(60), "made anew");

        let mut cell = StreamCell::new("r", "t", Shard(0));
        cell.look_in("before", true);
        cell.note_gone(0, 60);
        cell.look_in("before", true);
        assert_eq!(cell.gone(0), Some(60), "of the same history");
        cell.look_in("behind", true);
        assert_eq!(cell.gone(0), None);
    }

    #[test]
    fn streams_that_cannot_be_counted_do_not_keep_others_from_their_turn() {
        let mut tried = Tried::default();
        let all = || {
            let uncounted = (0..ROUND + 50).map(|nth| due(&format!("u{nth}"), 0));
            uncounted.chain([due("counted", 1)]).collect::<Vec<_>>()
        };
        let mut turns = BTreeSet::new();
        for round in 1..=2 {
            let chosen = tried.choose(all(), round * 1_000);
            assert_eq!(chosen.len(), ROUND);
            turns.extend(chosen.into_iter().map(|due| due.stream));
        }
        assert_eq!(turns.len(), ROUND + 51, "each within two rounds");
        tried.choose(vec![due("counted", 1)], 3_000);
        assert_eq!(tried.0.len(), 1, "of others nothing is kept");
    }
}
