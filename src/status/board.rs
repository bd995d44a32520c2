//! Where the parts write what they know. Every write is short and holds no lock across an await.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::carried::{Carried, Found};
use super::driver::{BrokersSaid, DriverStatus, GroupStatus, KafkaStatus};
use super::parity::ParityCell;
use super::reason::{DeadLetterReason, GapCause, Reason};
use super::room::{Observation, Room};
use super::strays::Strays;
use super::{RedisStatus, StateName, ThrottleStatus};
use crate::entry::{EntryId, StreamRef};
use crate::placement::Shard;

/// A search for streams that failed is no news before this.
const SEARCH_AGES_AFTER: Duration = Duration::from_secs(60);
/// Every stream is looked at more often than this while Redis answers; an older look says nothing of the present.
const STALE_MS: i64 = 60_000;

/// Counts of a route since the process started.
#[derive(Clone, Debug, Default)]
pub struct RouteCell {
    pub topic: String,
    pub mirrored_entries: u64,
    pub mirrored_bytes: u64,
    pub orphans: u64,
    /// Entries of buckets that were Kafka's, and that were held.
    pub strays: u64,
    pub held_writes: u64,
    pub(super) gaps: BTreeMap<GapCause, u64>,
    pub(super) dead_letters: BTreeMap<DeadLetterReason, u64>,
}

impl RouteCell {
    pub fn count_gap(&mut self, cause: GapCause, entries: u64) {
        *self.gaps.entry(cause).or_default() += entries;
    }

    pub fn count_dead_letters(&mut self, reason: DeadLetterReason, entries: u64) {
        *self.dead_letters.entry(reason).or_default() += entries;
    }
}

/// A stream that was found gone, or another in its place. What was unread of it is counted with the checkpoint that begins the
/// next generation; until that is durable, a term may have to count it again.
#[derive(Clone, Copy, Debug)]
struct Gone {
    generation: u32,
    /// Entries ever added to it, at the last look at it.
    added: u64,
}

/// What is known of one owned stream.
#[derive(Clone, Debug)]
pub struct StreamCell {
    pub route: String,
    pub topic: String,
    pub shard: Shard,
    pub began: Option<String>,
    pub checkpoint: Option<EntryId>,
    pub generation: u32,
    pub mirrored_entries: u64,
    pub gap_entries: u64,
    pub orphans: u64,
    pub dead_letters: u64,
    /// Partitions of its topic that its route places nothing on.
    pub surplus_partitions: u32,
    /// Redis's count of entries ever added, at the committed checkpoint.
    pub added_at_checkpoint: Option<u64>,
    pub seen: Option<Observation>,
    /// Time of the oldest entry that is not mirrored, or a bound on it; `None` when there is none.
    pub oldest_unmirrored_ms: Option<i64>,
    pub last_error: Option<String>,
    gone: Option<Gone>,
    /// The history of Redis that `seen` and `gone` are of.
    history: Option<Arc<str>>,
    pub(super) state: (StateName, Option<Reason>, SystemTime),
    room: Room,
    carried: Carried,
}

impl StreamCell {
    #[must_use]
    pub fn new(route: &str, topic: &str, shard: Shard) -> Self {
        Self {
            route: route.to_owned(),
            topic: topic.to_owned(),
            shard,
            began: None,
            checkpoint: None,
            generation: 0,
            mirrored_entries: 0,
            gap_entries: 0,
            orphans: 0,
            dead_letters: 0,
            surplus_partitions: 0,
            added_at_checkpoint: None,
            seen: None,
            oldest_unmirrored_ms: None,
            last_error: None,
            gone: None,
            history: None,
            state: (
                StateName::Waiting,
                Some(Reason::Starting),
                SystemTime::now(),
            ),
            room: Room::default(),
            carried: Carried::default(),
        }
    }

    pub fn running(&mut self) {
        enter(&mut self.state, StateName::Running, None);
        self.last_error = None;
    }

    pub fn waiting(&mut self, reason: Reason) {
        if self.state.0 != StateName::Halted {
            enter(&mut self.state, StateName::Waiting, Some(reason));
        }
    }

    pub fn halted(&mut self, reason: Reason, error: String) {
        enter(&mut self.state, StateName::Halted, Some(reason));
        self.last_error = Some(error);
    }

    /// A halt is lifted: the stream waits until its shard has taken it up again.
    pub fn lifted(&mut self) {
        enter(&mut self.state, StateName::Waiting, Some(Reason::Starting));
    }

    #[must_use]
    pub fn halt(&self) -> Option<Reason> {
        if self.state.0 == StateName::Halted {
            self.state.1
        } else {
            None
        }
    }

    /// What keeps a stream waiting that was never taken up: nothing is known of what it holds.
    #[must_use]
    pub fn not_begun(&self) -> Option<Reason> {
        let waits = self.checkpoint.is_none() && self.state.0 == StateName::Waiting;
        let reason = self.state.1.filter(|_| waits);
        reason.filter(|reason| *reason != Reason::Starting)
    }

    /// Takes in a look, and when it was begun.
    pub fn observe(&mut self, seen: Observation, begun: Instant) {
        self.carried
            .look(begun, seen.entries_added, self.added_at_checkpoint);
        self.room
            .observe(seen, self.added_at_checkpoint.unwrap_or(0));
        self.seen = Some(seen);
    }

    /// The stream of this generation is gone; so many entries had ever been added to it.
    pub fn note_gone(&mut self, generation: u32, added: u64) {
        let before = self.gone(generation).unwrap_or(0);
        let added = added.max(before);
        self.gone = Some(Gone { generation, added });
    }

    /// Entries ever added to the stream of this generation, where it is known to be gone.
    #[must_use]
    pub fn gone(&self, generation: u32) -> Option<u64> {
        let gone = self.gone.filter(|gone| gone.generation == generation);
        gone.map(|gone| gone.added)
    }

    /// Entries that went with the stream of the checkpoint's generation and stood behind the checkpoint.
    pub(super) fn gone_unmirrored(&self) -> u64 {
        let gone = self.gone(self.generation).zip(self.added_at_checkpoint);
        gone.map_or(0, |(added, mirrored)| added.saturating_sub(mirrored))
    }

    /// A look in this history of Redis (`master_replid`), which finds the stream or does not. What another history counted says
    /// nothing of a stream that is there, and would have it taken for one made anew; a stream that is not there took it along.
    pub fn look_in(&mut self, replid: &str, there: bool) {
        if self.history.as_deref() == Some(replid) {
            return;
        }
        if there {
            self.forget_looks();
        }
        self.history = Some(replid.into());
    }

    /// What was seen before says nothing of what is there now.
    pub fn forget_looks(&mut self) {
        self.seen = None;
        self.gone = None;
    }

    /// Unknown where Redis does not count, and where the last look is too old to speak of now.
    #[must_use]
    pub fn lag_entries(&self, now_ms: i64) -> Option<u64> {
        let seen = self.seen.filter(|seen| now_ms - seen.at_ms <= STALE_MS)?;
        Some(seen.entries_added.saturating_sub(self.added_at_checkpoint?))
    }

    /// How long ago the newest look was begun of which all is mirrored.
    pub(super) fn carried_seconds(&self) -> Option<f64> {
        let until = self.carried.until(self.added_at_checkpoint)?;
        Some(until.elapsed().as_secs_f64())
    }

    pub(super) fn seconds_to_trim(&self, now_ms: i64) -> Option<f64> {
        self.room
            .seconds_to_trim(self.seen?.length, self.lag_entries(now_ms)?)
    }
}

#[derive(Debug)]
pub(super) struct ShardCell {
    pub(super) state: (StateName, Option<Reason>, SystemTime),
    /// It has read its checkpoints here: until then its lag is unknown.
    pub(super) opened: bool,
    /// So many of the streams that were found, of all shards, had been told of when it last took its own up.
    pub(super) told_of: usize,
    pub(super) checkpoint_at: Option<SystemTime>,
    pub(super) last_error: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct EdgeCell {
    pub(super) up: Option<(bool, SystemTime)>,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) last_error: Option<String>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) parity: ParityCell,
    pub(super) driver: DriverStatus,
    pub(super) journal_errors: u64,
    pub(super) groups: Vec<GroupStatus>,
    pub(super) redis_groups: Vec<GroupStatus>,
    pub(super) kafka: Option<KafkaStatus>,
    pub(super) brokers_said: BrokersSaid,
    pub(super) growth: Growth,
    /// By store and group.
    pub(super) group_growth: BTreeMap<(String, String), Growth>,
    pub(super) seq: u64,
    pub(super) ready: bool,
    pub(super) routes: BTreeMap<String, RouteCell>,
    pub(super) streams: BTreeMap<StreamRef, StreamCell>,
    pub(super) shards: BTreeMap<Shard, ShardCell>,
    pub(super) edges: BTreeMap<&'static str, EdgeCell>,
    pub(super) redis: Option<RedisStatus>,
    pub(super) memory_seconds: Option<f64>,
    pub(super) throttle: ThrottleStatus,
    pub(super) takeovers: BTreeMap<&'static str, u64>,
    pub(super) tasks: BTreeMap<String, bool>,
    pub(super) tokens_trouble: Option<String>,
    pub(super) certificate_trouble: Option<String>,
    pub(super) rate: Rate,
    pub(super) strays: Strays,
    pub(super) found: Option<Found>,
    /// Why the last search for streams did not come to its end.
    search_failed: Option<String>,
    /// A shard stopped with something read and not committed, or while it could not commit.
    left_something: bool,
}

impl Inner {
    fn watch_growth(&mut self, groups: &mut [GroupStatus]) {
        let now = SystemTime::now();
        for group in groups {
            let key = (group.store.clone(), group.group.clone());
            let growth = self.group_growth.entry(key).or_default();
            group.lag_per_second = growth.observe(now, group.lag_entries);
        }
    }
}

/// Entries a second, between two looks at least a second apart.
#[derive(Debug, Default)]
pub(super) struct Rate {
    last: Option<(SystemTime, u64)>,
    per_second: f64,
}

impl Rate {
    pub(super) fn observe(&mut self, now: SystemTime, total: u64) -> f64 {
        match self.last {
            Some((at, before)) => {
                let elapsed = now.duration_since(at).unwrap_or_default();
                if elapsed >= Duration::from_secs(1) {
                    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
                    let gained = total.saturating_sub(before) as f64;
                    self.per_second = gained / elapsed.as_secs_f64();
                    self.last = Some((now, total));
                }
            }
            None => self.last = Some((now, total)),
        }
        self.per_second
    }
}

/// How fast a lag grows, between two looks at least a second apart.
#[derive(Debug, Default)]
pub(super) struct Growth {
    last: Option<(SystemTime, u64)>,
    per_second: Option<f64>,
}

impl Growth {
    pub(super) fn observe(&mut self, now: SystemTime, lag: Option<u64>) -> Option<f64> {
        let Some(lag) = lag else {
            *self = Self::default();
            return None;
        };
        let Some((at, before)) = self.last else {
            self.last = Some((now, lag));
            return None;
        };
        let elapsed = now.duration_since(at).unwrap_or_default();
        if elapsed >= Duration::from_secs(1) {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let grown = lag as f64 - before as f64;
            self.per_second = Some(grown / elapsed.as_secs_f64());
            self.last = Some((now, lag));
        }
        self.per_second
    }
}

/// The board: shared by all parts, read by [`snapshot`](Board::snapshot) alone.
#[derive(Debug)]
pub struct Board {
    pub(super) migration: String,
    pub(super) instance: String,
    pub(super) started_at: SystemTime,
    inner: Mutex<Inner>,
}

impl Board {
    /// `routes`: name and topic of each configured route, so that every count exists at 0 from the first look.
    pub fn new<'a>(
        migration: &str,
        instance: &str,
        routes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let routes: Vec<(&str, &str)> = routes.into_iter().collect();
        let names = routes.iter().map(|(name, _)| *name);
        let mut inner = Inner {
            parity: ParityCell::starting(names, SystemTime::now(), "the auditor has not begun"),
            driver: DriverStatus::default(),
            journal_errors: 0,
            tokens_trouble: None,
            certificate_trouble: None,
            redis_groups: Vec::new(),
            brokers_said: BrokersSaid::default(),
            left_something: false,
            groups: Vec::new(),
            kafka: None,
            growth: Growth::default(),
            group_growth: BTreeMap::new(),
            seq: 0,
            ready: false,
            routes: BTreeMap::new(),
            streams: BTreeMap::new(),
            shards: BTreeMap::new(),
            edges: BTreeMap::new(),
            redis: None,
            memory_seconds: None,
            throttle: ThrottleStatus::default(),
            takeovers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            rate: Rate::default(),
            strays: Strays::default(),
            found: None,
            search_failed: None,
        };
        for (name, topic) in routes {
            inner.routes.insert(
                name.to_owned(),
                RouteCell {
                    topic: topic.to_owned(),
                    ..RouteCell::default()
                },
            );
        }
        for edge in ["redis", "kafka"] {
            inner.edges.insert(edge, EdgeCell::default());
        }
        for cause in ["assigned", "fenced"] {
            inner.takeovers.insert(cause, 0);
        }
        for cause in ["operator", "redis", "kafka"] {
            inner
                .throttle
                .throttled_seconds
                .insert(cause.to_owned(), 0.0);
        }
        Self {
            migration: migration.to_owned(),
            instance: instance.to_owned(),
            started_at: SystemTime::now(),
            inner: Mutex::new(inner),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A writer that panicked left at worst one cell half told; the panic itself ends the process.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_ready(&self, ready: bool) {
        self.lock().ready = ready;
    }

    /// An entry came to Redis although its bucket is Kafka's by this version of the flags. `true`: it is the first that is
    /// named of its stream and bucket.
    pub fn stray(&self, version: u64, stream: &StreamRef, bucket: u16) -> bool {
        let now = Instant::now();
        self.lock().strays.count(version, stream, bucket, now)
    }

    /// An entry came to Redis although its bucket is held by this version of the flags.
    pub fn held(&self, version: u64, stream: &StreamRef, bucket: u16) {
        let now = Instant::now();
        self.lock().strays.held(version, stream, bucket, now);
    }

    #[must_use]
    pub fn ready(&self) -> bool {
        self.lock().ready
    }

    /// An owned stream by the name that it is shown under.
    #[must_use]
    pub fn find(&self, database: crate::entry::Database, shown: &str) -> Option<StreamRef> {
        let inner = self.lock();
        inner
            .streams
            .keys()
            .find(|stream| stream.database == database && stream.name.to_string() == shown)
            .cloned()
    }

    /// The shards whose streams this instance mirrors, or would if the stores answered.
    #[must_use]
    pub fn owned_shards(&self) -> BTreeSet<Shard> {
        let inner = self.lock();
        let lost = |state: &(StateName, Option<Reason>, SystemTime)| {
            matches!(
                state.1,
                Some(Reason::Fenced | Reason::Unassigned | Reason::Resizing)
            )
        };
        inner
            .shards
            .iter()
            .filter(|(_, cell)| cell.opened && !lost(&cell.state))
            .map(|(shard, _)| *shard)
            .collect()
    }

    /// Entries mirrored since the process started.
    #[must_use]
    pub fn mirrored_entries(&self) -> u64 {
        let inner = self.lock();
        inner
            .routes
            .values()
            .map(|route| route.mirrored_entries)
            .sum()
    }

    /// Age of the oldest entry known not to be mirrored; 0 where none is known.
    #[must_use]
    pub fn lag(&self, now_ms: i64) -> Duration {
        let inner = self.lock();
        let oldest = inner
            .streams
            .values()
            .filter(|cell| cell.lag_entries(now_ms) != Some(0))
            .filter_map(|cell| cell.oldest_unmirrored_ms)
            .min();
        let age = oldest.map_or(0, |oldest| now_ms.saturating_sub(oldest));
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }

    /// What the auditor has found.
    pub fn parity(&self, write: impl FnOnce(&mut ParityCell)) {
        write(&mut self.lock().parity);
    }

    /// The migration as its driver shows it now.
    pub fn driver(&self, status: DriverStatus) {
        self.lock().driver = status;
    }

    /// A change of the driver's state, or its record, could not be stored.
    pub fn journal_error(&self) {
        self.lock().journal_errors += 1;
    }

    /// Kafka's consumer groups as last measured; how fast their lag grows is found here. Empty: not known.
    pub fn groups(&self, mut groups: Vec<GroupStatus>) {
        let mut inner = self.lock();
        inner.watch_growth(&mut groups);
        inner.groups = groups;
    }

    /// The same of the groups at Redis.
    pub fn redis_groups(&self, mut groups: Vec<GroupStatus>) {
        let mut inner = self.lock();
        inner.watch_growth(&mut groups);
        inner.redis_groups = groups;
    }

    /// What the brokers' metadata said last; `None`: not known.
    pub fn kafka(&self, kafka: Option<KafkaStatus>) {
        self.lock().kafka = kafka;
    }

    /// What others than the brokers said last of them.
    pub fn brokers_said(&self, said: BrokersSaid) {
        self.lock().brokers_said = said;
    }

    /// Why the tokens' file is not taken over as it is now; `None`: it is.
    pub fn tokens_trouble(&self, why: Option<String>) {
        self.lock().tokens_trouble = why;
    }

    /// Why the API's certificate is not taken over as it is now.
    pub fn certificate_trouble(&self, why: Option<String>) {
        self.lock().certificate_trouble = why;
    }

    pub fn set_task(&self, task: &str, up: bool) {
        self.lock().tasks.insert(task.to_owned(), up);
    }

    pub fn route(&self, name: &str, write: impl FnOnce(&mut RouteCell)) {
        write(self.lock().routes.entry(name.to_owned()).or_default());
    }

    /// Puts a stream onto the board unless it is there.
    pub fn own_stream(&self, stream: &StreamRef, route: &str, topic: &str, shard: Shard) {
        self.lock()
            .streams
            .entry(stream.clone())
            .and_modify(|cell| cell.shard = shard)
            .or_insert_with(|| StreamCell::new(route, topic, shard));
    }

    pub fn stream(&self, stream: &StreamRef, write: impl FnOnce(&mut StreamCell)) {
        if let Some(cell) = self.lock().streams.get_mut(stream) {
            write(cell);
        }
    }

    pub fn streams(&self, mut read: impl FnMut(&StreamRef, &StreamCell)) {
        for (stream, cell) in &self.lock().streams {
            read(stream, cell);
        }
    }

    pub fn streams_of(&self, shard: Shard, mut write: impl FnMut(&StreamRef, &mut StreamCell)) {
        for (stream, cell) in self
            .lock()
            .streams
            .iter_mut()
            .filter(|(_, cell)| cell.shard == shard)
        {
            write(stream, cell);
        }
    }

    /// Of this shard's streams only these are still its own.
    pub fn keep_streams(&self, shard: Shard, owned: &BTreeSet<StreamRef>) {
        let mut inner = self.lock();
        inner
            .streams
            .retain(|stream, cell| cell.shard != shard || owned.contains(stream));
    }

    /// The shard and all of its streams are another's now.
    pub fn disown_shard(&self, shard: Shard) {
        let mut inner = self.lock();
        inner.shards.remove(&shard);
        inner.streams.retain(|_, cell| cell.shard != shard);
    }

    pub fn shard(
        &self,
        shard: Shard,
        name: StateName,
        reason: Option<Reason>,
        error: Option<String>,
    ) {
        let mut inner = self.lock();
        let cell = inner.shards.entry(shard).or_insert_with(|| ShardCell {
            state: (name, reason, SystemTime::now()),
            opened: false,
            told_of: 0,
            checkpoint_at: None,
            last_error: None,
        });
        cell.opened |= name == StateName::Running;
        enter(&mut cell.state, name, reason);
        cell.last_error = error;
    }

    /// Streams were looked for: when that was begun, if it has to be done at all, and how many are known now. A stream that is
    /// known once stays so, so that their number tells what was known.
    pub fn found(&self, begun: Option<Instant>, streams: usize) {
        let mut inner = self.lock();
        inner.found = Some(Found { begun, streams });
        inner.search_failed = None;
    }

    /// Streams were looked for, and not to the end.
    pub fn search_failed(&self, error: String) {
        self.lock().search_failed = Some(error);
    }

    /// Why there may be streams that are not known here; `None`: they were all looked for, and not long ago.
    #[must_use]
    pub fn unsearched(&self) -> Option<String> {
        let inner = self.lock();
        let error = inner.search_failed.as_deref();
        let age = inner
            .found
            .map(|found| found.begun.map(|begun| begun.elapsed()));
        match (age, error) {
            (None, None) => Some("streams are still being looked for".to_owned()),
            (None, Some(error)) => Some(format!(
                "streams could not be looked for, so that not all are known: {error}"
            )),
            (Some(Some(age)), Some(error)) if age > SEARCH_AGES_AFTER => Some(format!(
                "streams could not be looked for since {} s, so that new ones are not known: {error}",
                age.as_secs()
            )),
            _ => None,
        }
    }

    /// The shard has taken up its own of so many streams that are known in all.
    pub fn shard_told_of(&self, shard: Shard, streams: usize) {
        if let Some(cell) = self.lock().shards.get_mut(&shard) {
            cell.told_of = streams;
        }
    }

    #[must_use]
    pub fn shard_runs(&self, shard: Shard) -> bool {
        let inner = self.lock();
        let cell = inner.shards.get(&shard);
        cell.is_some_and(|cell| cell.state.0 == StateName::Running)
    }

    /// Whether one of the shards given to this instance has not come to run yet and nothing is known that keeps it from it.
    #[must_use]
    pub fn shards_start(&self) -> bool {
        let inner = self.lock();
        let mut cells = inner.shards.values();
        cells.any(|cell| {
            cell.state.0 == StateName::Waiting && cell.state.1 == Some(Reason::Starting)
        })
    }

    /// A shard does not end its work in good order: the process is to say so when it leaves.
    pub fn leaves_something(&self) {
        self.lock().left_something = true;
    }

    #[must_use]
    pub fn has_left_something(&self) -> bool {
        self.lock().left_something
    }

    pub fn shard_committed(&self, shard: Shard) {
        if let Some(cell) = self.lock().shards.get_mut(&shard) {
            cell.checkpoint_at = Some(SystemTime::now());
        }
    }

    /// A broker's quota holds this shard's producer back.
    pub fn kafka_throttles(&self, shard: Shard, pause: Duration) {
        let mut inner = self.lock();
        *inner
            .throttle
            .throttled_seconds
            .entry("kafka".to_owned())
            .or_default() += pause.as_secs_f64();
        if let Some(cell) = inner.shards.get_mut(&shard) {
            cell.last_error = Some(format!(
                "a broker's quota holds the producer back, {} ms at a time",
                pause.as_millis()
            ));
        }
    }

    pub fn takeover(&self, cause: &'static str) {
        *self.lock().takeovers.entry(cause).or_default() += 1;
    }

    pub fn edge_up(&self, edge: &'static str) {
        edge_turns(self.lock().edges.entry(edge).or_default(), true);
    }

    /// `down`: the store is out of reach, not merely one request refused.
    pub fn edge_error(&self, edge: &'static str, kind: &str, error: String, down: bool) {
        let mut inner = self.lock();
        let cell = inner.edges.entry(edge).or_default();
        *cell.errors.entry(kind.to_owned()).or_default() += 1;
        cell.last_error = Some(error);
        if down {
            edge_turns(cell, false);
        }
    }

    pub fn redis(&self, status: RedisStatus, memory_seconds: Option<f64>) {
        let mut inner = self.lock();
        inner.redis = Some(status);
        inner.memory_seconds = memory_seconds;
    }

    /// A newer count of evicted keys than the last survey's.
    pub fn redis_evicted(&self, keys: u64) {
        if let Some(redis) = &mut self.lock().redis {
            redis.evicted_keys = keys;
        }
    }

    /// Redis's own figures as last seen.
    #[must_use]
    pub fn redis_seen(&self) -> Option<RedisStatus> {
        self.lock().redis.clone()
    }

    pub fn throttle(&self, entries_per_second: Option<u32>, bytes_per_second: Option<u32>) {
        let mut inner = self.lock();
        inner.throttle.entries_per_second = entries_per_second;
        inner.throttle.bytes_per_second = bytes_per_second;
    }

    pub fn throttled(&self, cause: &str, time: Duration) {
        *self
            .lock()
            .throttle
            .throttled_seconds
            .entry(cause.to_owned())
            .or_default() += time.as_secs_f64();
    }
}

fn enter(
    state: &mut (StateName, Option<Reason>, SystemTime),
    name: StateName,
    reason: Option<Reason>,
) {
    if (state.0, state.1) != (name, reason) {
        *state = (name, reason, SystemTime::now());
    }
}

fn edge_turns(cell: &mut EdgeCell, up: bool) {
    if cell.up.is_none_or(|(before, _)| before != up) {
        cell.up = Some((up, SystemTime::now()));
    }
}
