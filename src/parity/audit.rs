//! The continuous auditor: compares what the mirror has committed, round after round, and says whether the stores are level.
//!
//! One task of an instance, for all shards that the instance owns; the status board says which those are.
//!
//! ```text
//!   every window, or after 100 000 entries
//!      │
//!      ▼
//!   shards of the board ─▶ open their stores (fence, then read) ─▶ round ─▶ one transaction a shard ─▶ board
//!                              ▲                                     │              │
//!                              └──── the shard is let go ◀───────────┴── fenced, or not known to be committed
//! ```
//!
//! A round that takes longer than a window is committed in pieces: how far it has come is kept beside what is known, sums and
//! positions together, and other shards have their rounds between the pieces.
//!
//! A round changes nothing by itself: what is known of a shard is replaced when its transaction is committed, and read anew
//! when that is in doubt. So after a crash, a takeover or a doubt the auditor goes on from what Kafka holds, which is the end
//! of the last whole round or piece.
//!
//! It is the mirror's guest: above a lag of the mirror it rests twice as long as it works.

mod held;
mod repair;
mod round;
mod settle;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::checkpoint::Admission;
use crate::config;
use crate::placement::Shard;
use crate::status::{Board, StateName};
use crate::topics::{self, ErrorKind, TopicSpec};

use super::census::Census;
use super::edges::Edges;
use super::error::Error;
use super::level::{self, Knowledge};
use super::pace::Pace;
use super::pass::WINDOW_ENTRIES;
use super::store;
use super::unread;

use self::held::{Held, Holding};
use self::round::{Origins, Outcome, Round, Seen, ShardStep};
use self::settle::Step;

pub use self::repair::{Order, Refused, Report};

/// Orders of repair that may wait.
const ORDERS_QUEUED: usize = 4;
/// How often it is asked whether a round is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A shard that was just given to this instance is not left for a whole window.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Between looks at all that is open, at least; a look at old entries reads much.
const RECHECK_EVERY: Duration = Duration::from_secs(600);
/// A piece of a round reads for no less than this: committing it, and beginning to read again, have their price.
const LEAST_PIECE: Duration = Duration::from_secs(5);
/// A verified time is never called old before this, however short the windows are.
const LEAST_LIMIT: Duration = Duration::from_secs(6);
/// However long a round takes: what was compared longer ago than two of these says nothing of now.
const LONGEST_ROUND: Duration = Duration::from_secs(300);

/// The auditor of one instance.
pub struct Auditor {
    edges: Arc<Edges>,
    board: Arc<Board>,
    settings: config::Parity,
    admissions: mpsc::Sender<Admission>,
    orders: mpsc::Receiver<Order>,
    pace: Pace,
    seed: u64,
    holding: Holding,
    origins: Origins,
    census: Census,
    last: Last,
    /// How far the rounds under way have come, in entries and offsets.
    under_way: Option<(u64, u64)>,
    /// The next piece is due at once; not after an error.
    goes_on: bool,
    /// Why what was counted here is not to be relied on, from then on.
    unaccounted: Option<String>,
}

/// When things were last done, and how long they took.
struct Last {
    round: Option<Instant>,
    took: Duration,
    mirrored: u64,
    recheck: Instant,
    recheck_every: Duration,
}

impl Auditor {
    /// The sender orders repairs. `admissions`: the way into the shards' transactions.
    #[must_use]
    pub fn new(
        edges: Arc<Edges>,
        board: Arc<Board>,
        settings: config::Parity,
        admissions: mpsc::Sender<Admission>,
    ) -> (Self, mpsc::Sender<Order>) {
        let (sender, orders) = mpsc::channel(ORDERS_QUEUED);
        let pace = pace(&board, &settings);
        let auditor = Self {
            holding: Holding::new(Arc::clone(&edges)),
            edges,
            board,
            settings,
            admissions,
            orders,
            pace,
            seed: rand::random(),
            origins: Origins::new(),
            census: Census::default(),
            last: Last {
                round: None,
                took: Duration::ZERO,
                mirrored: 0,
                recheck: Instant::now(),
                recheck_every: RECHECK_EVERY,
            },
            under_way: None,
            goes_on: false,
            unaccounted: None,
        };
        (auditor, sender)
    }

    /// Audits until stopped. Stores out of reach are waited for.
    ///
    /// # Errors
    /// Kafka's clients cannot be made from the configuration.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), topics::Error> {
        if !self.settings.enabled {
            self.unknown("the auditor is switched off: parity.enabled = false".to_owned());
        }
        let mut look = tokio::time::interval(LOOK_EVERY.min(self.settings.window));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(order) = self.orders.recv() => self.repair(order, &stop).await,
                _ = look.tick() => {
                    if self.settings.enabled && self.is_due() {
                        self.audit(&stop).await;
                        if self.goes_on {
                            look.reset_immediately();
                        }
                    }
                }
            }
        }
    }

    fn is_due(&self) -> bool {
        let Some(at) = self.last.round else {
            return true;
        };
        if self.goes_on || at.elapsed() >= self.settings.window {
            return true;
        }
        // Shards given together are to share one reading of the logs.
        if self.board.shards_start() {
            return false;
        }
        let mirrored = self.board.mirrored_entries();
        mirrored.saturating_sub(self.last.mirrored) >= WINDOW_ENTRIES
            || (at.elapsed() >= FIRST_LOOK && self.holding.lacks(&self.board.owned_shards()))
    }

    /// One round, and what is to be said after it.
    async fn audit(&mut self, stop: &CancellationToken) {
        let began = Instant::now();
        self.last.round = Some(began);
        self.last.mirrored = self.board.mirrored_entries();
        let ended = self.round(stop).await;
        self.last.took = began.elapsed();
        self.goes_on = ended.is_ok() && self.under_way.is_some();
        let obstacle = match ended {
            Ok(obstacle) => obstacle,
            Err(error) => {
                warn!(%error, "a round of the auditor ends early; the next goes on from the same place");
                Some(error.to_string())
            }
        };
        if !stop.is_cancelled() {
            self.tell(obstacle);
        }
    }

    /// `Some`: why it cannot be said whether the stores are level.
    async fn round(&mut self, stop: &CancellationToken) -> Result<Option<String>, Error> {
        let owned = self.board.owned_shards();
        let obstacle = self.holding.follow(&owned).await?;
        // Opening takes its time; a shard may have gone meanwhile.
        self.holding.keep(&self.board.owned_shards());
        let seen = self.seen();
        let missing = self.holding.begin(&seen).await?;
        let seen = self.holding.streams(seen);
        round::keep(&mut self.origins, |stream| {
            seen.iter().any(|seen| seen.stream == *stream)
        });
        self.under_way = None;
        for steps in self.holding.turns() {
            if !steps.is_empty() && self.turn(steps, &seen, stop).await?.is_none() {
                return Ok(None);
            }
        }
        Ok(obstacle.or(missing))
    }

    /// A round of these shards, or the next piece of one. `None`: stopped.
    async fn turn(
        &mut self,
        steps: BTreeMap<Shard, ShardStep>,
        seen: &[Seen],
        stop: &CancellationToken,
    ) -> Result<Option<()>, Error> {
        let is_new = steps.values().all(|step| step.known.under_way.is_none());
        let recheck = is_new && self.last.recheck.elapsed() >= self.last.recheck_every;
        let began = Instant::now();
        let of_steps = seen.iter().filter(|seen| steps.contains_key(&seen.shard));
        let mut round = Round {
            edges: &self.edges,
            seed: self.seed,
            pace: &self.pace,
            piece: self.settings.window.max(LEAST_PIECE),
            stop,
            began_ms: now_ms(),
            shards: self.holding.shards(),
            seen: of_steps.cloned().collect(),
            steps,
            origins: std::mem::take(&mut self.origins),
            census: &mut self.census,
            recheck,
            unaccounted: None,
        };
        let ran = round.run().await;
        self.origins = round.origins;
        if let Some(why) = round.unaccounted {
            self.unaccounted.get_or_insert_with(|| {
                let error = Error::Unaccounted(why).to_string();
                error!(error, "the auditor says no more that the stores are level");
                error
            });
        }
        let steps = round.steps;
        match ran? {
            Outcome::Stopped => return Ok(None),
            Outcome::Piece { done, total } => {
                let so_far = self.under_way.get_or_insert_default();
                so_far.0 += done;
                so_far.1 += total;
            }
            Outcome::Whole if recheck => {
                self.last.recheck = Instant::now();
                self.last.recheck_every = RECHECK_EVERY.max(began.elapsed() * 50);
            }
            Outcome::Whole => {}
        }
        self.commit(steps).await?;
        Ok(Some(()))
    }

    async fn commit(&mut self, steps: BTreeMap<Shard, ShardStep>) -> Result<(), Error> {
        for (shard, step) in steps {
            let judged: Vec<(String, Step)> = step
                .streams
                .into_iter()
                .map(|(stream, judged)| {
                    let route = &step.known.streams[&stream].route;
                    ((route.clone(), stream), judged)
                })
                .map(|((route, stream), judged)| {
                    self.holding.put(shard, &stream, &step.known, &judged);
                    (route, judged)
                })
                .collect();
            let committed = self.holding.commit(shard, step.known).await;
            if let Err(error) = committed {
                if error.kind() == ErrorKind::Fenced {
                    info!(%shard, "another instance audits this shard now");
                    continue;
                }
                return Err(error.into());
            }
            self.count(&judged, &step.strays);
        }
        Ok(())
    }

    /// Adds to what was counted since the process started.
    fn count(&self, judged: &[(String, Step)], strays: &BTreeMap<String, store::Strays>) {
        self.board.parity(|cell| {
            for (route, strays) in strays {
                if let Some(route) = cell.routes.get_mut(route) {
                    route.found.counted.kafka_born += strays.kafka_born;
                }
            }
            let steps = judged.iter().map(|(route, step)| {
                let ended = step.ended.clone();
                (route, ended, &step.judged, step.results.by_name())
            });
            let strays = strays.iter().map(|(route, strays)| {
                let (counts, results) = (&strays.counts, store::Results::default());
                (route, counts.classes().collect(), counts, results.by_name())
            });
            for (route, ended, counts, results) in steps.chain(strays) {
                let Some(route) = cell.routes.get_mut(route) else {
                    continue;
                };
                let counted = &mut route.found.counted;
                for (class, count) in ended {
                    if let Some(sum) = counted.classes.get_mut(class.as_str()) {
                        *sum += count;
                    }
                }
                for (name, count) in results {
                    *counted.windows.entry(name.to_owned()).or_default() += count;
                }
                counted.read.redis += counts.redis_entries;
                counted.read.kafka += counts.kafka_records;
            }
        });
    }

    /// The owned streams that have a checkpoint here.
    fn seen(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        self.board.streams(|stream, cell| {
            let Some(binding) = self.edges.routes.bind(stream) else {
                return;
            };
            if let Some(committed) = cell.checkpoint
                && self.holding.holds(cell.shard)
                && binding.fault().is_none()
            {
                seen.push(Seen {
                    stream: stream.clone(),
                    shard: cell.shard,
                    binding,
                    committed,
                    generation: cell.generation,
                    oldest_unmirrored_ms: cell.oldest_unmirrored_ms,
                    remade: self.holding.remade(cell.shard, stream),
                });
            }
        });
        seen
    }

    /// Says on the board what is known now.
    fn tell(&self, obstacle: Option<String>) {
        let now_ms = now_ms();
        let mut unmirrored: BTreeMap<String, u64> = BTreeMap::new();
        let (mut halted, mut not_begun) = (None, None);
        self.board.streams(|stream, cell| {
            *unmirrored.entry(cell.route.clone()).or_default() +=
                cell.lag_entries(now_ms).unwrap_or(0);
            if let Some(reason) = cell.halt() {
                halted.get_or_insert_with(|| {
                    format!(
                        "stream {} is {}: {reason}",
                        stream.name,
                        StateName::Halted.as_str()
                    )
                });
            }
            if let Some(reason) = cell.not_begun() {
                not_begun.get_or_insert_with(|| {
                    format!("stream {} is not mirrored yet: {reason}", stream.name)
                });
            }
        });
        let owned = self.board.owned_shards();
        let mut owned = owned.iter();
        let lacking = owned.find(|shard| !self.holding.holds(**shard));
        let lacking = lacking.map(|shard| format!("shard {shard} is not audited here yet"));
        let held: Vec<&Held> = self.holding.all().collect();
        let knowledge = Knowledge {
            shards: self.holding.in_hand(),
            in_all: self.holding.in_all(),
            cursors: held
                .iter()
                .filter_map(|held| held.known.cursor.as_ref())
                .collect(),
            streams: held
                .iter()
                .flat_map(|held| held.known.streams.values())
                .collect(),
            unmirrored,
            obstacle: (self.unaccounted.clone())
                .or(obstacle)
                .or(lacking)
                .or(halted)
                .or(not_begun)
                .or_else(|| self.board.unsearched())
                .or_else(|| unread(&held)),
            under_way: self.under_way,
            limit: (self.settings.window * 3).max(LEAST_LIMIT)
                + self.last.took.min(LONGEST_ROUND) * 2,
        };
        let now = SystemTime::now();
        self.board.parity(|cell| level::tell(cell, &knowledge, now));
        debug!(took_ms = self.last.took.as_millis(), "audited");
    }

    fn unknown(&self, reason: String) {
        let now = SystemTime::now();
        self.board.parity(|cell| cell.becomes_unknown(reason, now));
    }
}

/// Why not every stream is compared, where some cannot be read.
fn unread(held: &[&Held]) -> Option<String> {
    let streams = held.iter().flat_map(|held| &held.known.streams);
    let unread = streams.filter_map(|(stream, state)| {
        let why = state.unread.clone()?;
        Some((stream.database.0, stream.name.to_string(), why))
    });
    unread::in_words(unread)
}

/// As configured, and at rest while the mirror is behind.
fn pace(board: &Arc<Board>, settings: &config::Parity) -> Pace {
    let limit = settings.entries_per_second.and_then(NonZeroU32::new);
    let (board, yield_lag) = (Arc::clone(board), settings.yield_lag);
    Pace::new(limit).resting(Arc::new(move |took| {
        if board.lag(now_ms()) > yield_lag {
            took * 2
        } else {
            Duration::ZERO
        }
    }))
}

/// The auditor's topic as it should be.
#[must_use]
pub fn topic_spec(migration: &str, shards: u32) -> TopicSpec {
    TopicSpec::parity(store::topic(migration), shards)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
