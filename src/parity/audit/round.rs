//! One round of the auditor over all shards that it holds: what was mirrored since the last is read on both sides, what is
//! unequal is looked at, and what comes of it is handed back to be committed. Nothing that is known changes before that.
//!
//! ```text
//!   board: checkpoints ─▶ ends of the logs ─▶ XINFO ─▶ passes ─▶ fold ─▶ looks ─▶ fold ─▶ a step for each shard
//!                                                      │  ▲
//!                                    the piece is full ▼  │ the next one
//!                                                    under way
//! ```
//!
//! A round that reads for longer than a piece puts down what it has, to be committed, and is gone on with as it was: up to the
//! same ends, whatever came since.
//!
//! Shards whose logs were read to the same ends share one pass, so that after its first round an instance reads each log
//! once, however many shards it holds. A stream that is new gets a pass of its own, from where its first entry can stand.
//!
//! Records above a checkpoint were committed between the two questions. They are read again in the next round: each
//! partition's next offset is that of the first of them. Between it and the old end only what lies above the stream's sealed
//! id is new; so nothing has to be kept of them, and nothing counts twice.

mod group;
mod leads;
mod looks;
mod strays;
mod under_way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::entry::{EntryId, StreamRef};
use crate::placement::{Offset, Partition, Remade, Shard, Topic};
use crate::routing::{Binding, Route};
use crate::streams::Inspected;
use crate::topics::Bounds;

use super::super::census::Census;
use super::super::class::Counts;
use super::super::edges::Edges;
use super::super::error::Error;
use super::super::pace::Pace;
use super::super::pass::{Pass, Scope, TopicPass};
use super::super::store::{Cursor, Reach, Span, Strays, StreamState, UnderWay};
use super::super::unread;
use super::settle::{self, Step};

use self::group::Group;
pub use self::looks::keep;
use self::strays::home;
use self::under_way::{Ended, Reading};

/// An owned stream as the board shows it when a round begins.
#[derive(Clone, Debug)]
pub struct Seen {
    pub stream: StreamRef,
    pub shard: Shard,
    pub binding: Binding,
    pub committed: EntryId,
    pub generation: u32,
    pub oldest_unmirrored_ms: Option<i64>,
    /// Up to where its records were made under other settings of its route.
    pub remade: Remade,
}

/// What is known of one shard.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub cursor: Option<Cursor>,
    /// Every stream that is seen is here.
    pub streams: BTreeMap<StreamRef, StreamState>,
    /// A round that has not ended.
    pub under_way: Option<UnderWay>,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What it found is in the steps.
    Whole,
    /// So many of so many entries and offsets are read: that is in the steps, and nothing else.
    Piece {
        done: u64,
        total: u64,
    },
    Stopped,
}

/// What a round makes of one shard.
#[derive(Debug, Default)]
pub struct ShardStep {
    pub known: Known,
    pub streams: BTreeMap<StreamRef, Step>,
    /// Strays found in this round, by route; the cursor takes them in at its end.
    pub strays: BTreeMap<String, Strays>,
}

impl ShardStep {
    fn begin_anew(&mut self) {
        self.known.cursor = None;
        // What cannot be read keeps what was found of it.
        let readable = |state: &&mut StreamState| state.unread.is_none();
        for state in self.known.streams.values_mut().filter(readable) {
            *state = state.begun_anew();
        }
        // Even if the round ends with a piece, this is to be written down.
        let streams = self.known.streams.keys().cloned();
        self.streams = streams.map(|one| (one, Step::default())).collect();
    }
}

/// Where the records of a suspect begin in the logs, so that a second look need not search for them.
pub type Origins = BTreeMap<(StreamRef, EntryId), Arc<Vec<TopicPass>>>;

/// Where each log begins and ends, by topic.
type Ends = BTreeMap<String, Vec<Bounds>>;

/// A round under way.
pub struct Round<'a> {
    pub edges: &'a Arc<Edges>,
    pub seed: u64,
    pub pace: &'a Pace,
    /// How long it reads at once.
    pub piece: Duration,
    pub stop: &'a CancellationToken,
    pub began_ms: i64,
    /// How many shards there are.
    pub shards: u32,
    pub seen: Vec<Seen>,
    pub steps: BTreeMap<Shard, ShardStep>,
    pub origins: Origins,
    pub census: &'a mut Census,
    /// Open differences are looked at again, and not only where something came of them.
    pub recheck: bool,
    /// What was counted is not what was read: in which words.
    pub unaccounted: Option<String>,
}

impl Round<'_> {
    /// # Errors
    /// A store gave no answer.
    pub async fn run(&mut self) -> Result<Outcome, Error> {
        if self.answers_for_unseen_topics() {
            tokio::task::block_in_place(|| self.census.read(self.edges))?;
        }
        let mut reading = match self.resume() {
            Some(reading) if self.still_stands(&reading).await? => reading,
            // Its shards are without it now, and begin anew with the next round.
            Some(_) => {
                self.steps.values_mut().for_each(|step| step.strays.clear());
                return Ok(Outcome::Whole);
            }
            None => self.begin().await?,
        };
        match self.read(&mut reading).await? {
            Ended::Read => {}
            Ended::Stopped => return Ok(Outcome::Stopped),
            Ended::Piece => {
                let (done, total) = reading.progress();
                self.put_down(reading);
                return Ok(Outcome::Piece { done, total });
            }
        }
        let judged = self.judge(reading).await?;
        Ok(judged.map_or(Outcome::Stopped, |()| Outcome::Whole))
    }

    /// What is to be read, and up to where.
    async fn begin(&mut self) -> Result<Reading, Error> {
        let topics = self.topics();
        let mut ends = Ends::new();
        for (topic, _) in &topics {
            let bounds = self.edges.bounds(topic).await?;
            ends.insert(topic.as_str().to_owned(), bounds);
        }
        self.census.ages();
        self.begin_anew_where_logs_are_others(&ends);
        self.begin_anew_what_is_in_doubt();
        self.hand_over_strays()?;
        let scopes = self.scopes().await?;
        let mut parts = Vec::new();
        for group in self.groups(&topics) {
            let pass = self.pass(&group, &scopes, &topics, &ends).await?;
            parts.push((group, pass));
        }
        Ok(Reading {
            topics,
            ends,
            scopes,
            parts,
        })
    }

    /// All is read: what comes of it. `None`: stopped.
    async fn judge(&mut self, reading: Reading) -> Result<Option<()>, Error> {
        let ends = reading.ends;
        if self.look_at_suspects(&ends).await?.is_none() {
            return Ok(None);
        }
        for (group, pass) in reading.parts {
            self.account(pass.unaccounted());
            self.fold(&group, &pass);
            self.take_strays(&pass);
            if self.look_at_new(&group, pass, &ends).await?.is_none() {
                return Ok(None);
            }
        }
        if self.look_at_open(&ends).await?.is_none() {
            return Ok(None);
        }
        self.close(&reading.topics, &ends, &reading.scopes);
        let counts = self.steps.values().flat_map(|step| {
            let judged = step.streams.values().map(|stream| &stream.judged);
            let states = step.known.streams.values();
            let readable = states.filter(|state| state.unread.is_none());
            judged.chain(readable.map(|state| &state.counts))
        });
        let inconsistent = counts.filter_map(Counts::inconsistent).next();
        self.account(inconsistent);
        Ok(Some(()))
    }

    /// Takes note of counts that are wrong: whatever they say of the stores is no answer.
    fn account(&mut self, unaccounted: Option<String>) {
        if let Some(why) = unaccounted {
            self.unaccounted.get_or_insert(why);
        }
    }

    /// Where a shard holds more faults than are kept by their names, or met more repeats, or where what is stored of it does not
    /// add up, only comparing all of it tells what stands.
    fn begin_anew_what_is_in_doubt(&mut self) {
        for (shard, step) in &mut self.steps {
            let recheck = self.recheck;
            let doubtful = |state: &StreamState| {
                let lost = recheck && state.lost_its_faults();
                state.unread.is_none() && (state.anew || lost || !state.counts.adds_up())
            };
            if step.known.streams.values().any(doubtful) {
                warn!(%shard, "what differs or came again is not known one by one; everything of the shard is compared anew");
                step.begin_anew();
            }
        }
    }

    /// A log that ends before where it was read to is not the one that was read: what was compared with it says nothing now.
    fn begin_anew_where_logs_are_others(&mut self, ends: &Ends) {
        for (shard, step) in &mut self.steps {
            let Some(cursor) = &step.known.cursor else {
                continue;
            };
            let other = ends.iter().find(|(topic, bounds)| {
                let log = cursor.logs.get(*topic).into_iter().flatten();
                log.into_iter().any(|(partition, reach)| {
                    let bounds = bounds.iter().find(|one| one.partition.0 == *partition);
                    bounds.is_none_or(|bounds| bounds.end < reach.end)
                })
            });
            let Some((topic, _)) = other else { continue };
            warn!(%shard, topic, "a topic was made anew or has lost its end; everything of the shard is compared anew");
            step.begin_anew();
        }
    }

    /// Topics of the streams, and those for whose strays one of the shards answers.
    fn topics(&self) -> BTreeSet<(Topic, bool)> {
        let mut topics: BTreeSet<(Topic, bool)> = self.seen.iter().flat_map(Seen::topics).collect();
        let of_routes = self.edges.routes.iter().flat_map(|route| {
            let fixed = route.fixed_topic().map(|topic| (topic, false));
            let letters = (route.dead_letters().clone(), true);
            fixed.into_iter().chain([letters])
        });
        let mirrored = self.census.streams();
        let captured = mirrored.filter_map(|stream| {
            let binding = self.edges.routes.bind(stream)?;
            Some((binding.topic().clone(), false))
        });
        let answered = |(topic, _): &(Topic, bool)| {
            (self.steps).contains_key(&home(topic.as_str(), self.shards))
        };
        topics.extend(of_routes.chain(captured).filter(answered));
        topics
    }

    /// Whether a topic whose streams are all another instance's may be one that this one answers for.
    fn answers_for_unseen_topics(&self) -> bool {
        let captures = |route: &Arc<Route>| route.fixed_topic().is_none();
        self.steps.len() < self.shards as usize && self.edges.routes.iter().any(captures)
    }

    /// What is compared of each stream; asked for after the ends of the logs.
    async fn scopes(&mut self) -> Result<Vec<Scope>, Error> {
        let streams = self.seen.iter().map(|seen| &seen.stream);
        let looks = unread::looks(&self.edges.redis, streams).await?;
        let mut scopes = Vec::with_capacity(looks.len());
        for (at, look) in looks.into_iter().enumerate() {
            self.note_whether_read(at, look.as_ref().err());
            let scope = look.map(|look| self.scope(&self.seen[at], &look));
            scopes.push(scope.unwrap_or_default());
        }
        Ok(scopes)
    }

    /// A stream that cannot be read is left out of the round, and the logs are read on without it. So it is compared anew,
    /// as one that is new, when it can be read again.
    fn note_whether_read(&mut self, at: usize, why_not: Option<&String>) {
        let changes = |state: &StreamState| state.unread.as_ref() != why_not;
        if self.state(&self.seen[at]).is_some_and(changes) {
            self.with_stream(at, |state, _| match why_not {
                Some(_) => {
                    state.unread = why_not.cloned();
                    state.verified_ms = None;
                }
                None => *state = state.begun_anew(),
            });
        }
    }

    fn scope(&self, seen: &Seen, look: &Inspected) -> Scope {
        let state = self.state(seen);
        let after = state.map_or(EntryId::ZERO, |state| state.sealed);
        let mut scope = Scope {
            after,
            began: state.map_or(EntryId::ZERO, |state| state.began),
            through: seen.committed.max(after),
            committed: seen.committed,
            generation: seen.generation,
            carried: self.carried_before(seen),
            ..Scope::default()
        };
        match look {
            Inspected::Stream(state) => {
                scope.first = state.first;
                scope.last = state.last_generated_id;
                scope.max_deleted = state.max_deleted_entry_id;
                scope.length = state.length;
                scope.whole = state.entries_added == Some(state.length);
            }
            Inspected::Absent | Inspected::NotAStream(_) => {
                scope.absent = true;
                scope.last = EntryId::MAX;
            }
        }
        scope
    }

    /// Where records of the stream stood that were above its checkpoint, if its logs were read before.
    fn carried_before(&self, seen: &Seen) -> Option<BTreeMap<i32, Offset>> {
        let cursor = self.steps.get(&seen.shard)?.known.cursor.as_ref()?;
        let mut topics = seen.topics().into_iter();
        let knows_all = topics.all(|(topic, _)| cursor.logs.contains_key(topic.as_str()));
        let state = self.state(seen).filter(|_| knows_all)?;
        Some(state.carried.clone())
    }

    fn state(&self, seen: &Seen) -> Option<&StreamState> {
        self.steps.get(&seen.shard)?.known.streams.get(&seen.stream)
    }

    /// The same of a stream that can be read.
    fn readable(&self, seen: &Seen) -> Option<&StreamState> {
        self.state(seen).filter(|state| state.unread.is_none())
    }

    fn fold(&mut self, group: &Group, pass: &Pass) {
        for (&at, read) in group.streams.iter().zip(&pass.streams) {
            let seen = &self.seen[at];
            let Some(step) = self.steps.get_mut(&seen.shard) else {
                continue;
            };
            let Some(state) = step.known.streams.get_mut(&seen.stream) else {
                continue;
            };
            let cursor = step
                .known
                .cursor
                .as_ref()
                .filter(|_| group.span == Span::Onward);
            let reached = |topic: &str| cursor.and_then(|cursor| cursor.logs.get(topic));
            let before = (reached(&read.topic), reached(&read.letters));
            let stream = step.streams.entry(seen.stream.clone()).or_default();
            settle::fold(state, read, self.seed, before, stream);
        }
    }

    /// Moves the cursors to where all was read, and says up to when each stream is compared.
    fn close(&mut self, topics: &BTreeSet<(Topic, bool)>, ends: &Ends, scopes: &[Scope]) {
        for (seen, scope) in self.seen.iter().zip(scopes) {
            let Some(step) = self.steps.get_mut(&seen.shard) else {
                continue;
            };
            if let Some(state) = step.known.streams.get_mut(&seen.stream)
                && state.suspects.is_empty()
                && state.unread.is_none()
                && !state.anew
            {
                let verified = verified_ms(seen, scope, self.began_ms);
                state.verified_ms = state.verified_ms.max(verified);
            }
        }
        for (&shard, step) in &mut self.steps {
            let carried = carried(shard, &self.seen, &step.streams);
            let of_shard: BTreeSet<(Topic, bool)> = self
                .seen
                .iter()
                .filter(|seen| seen.shard == shard)
                .flat_map(Seen::topics)
                .collect();
            let cursor = step.known.cursor.get_or_insert_with(|| Cursor {
                since_ms: self.began_ms,
                ..Cursor::default()
            });
            for (topic, letters) in topics {
                let name = topic.as_str();
                let wanted = of_shard.contains(&(topic.clone(), *letters))
                    || home(name, self.shards) == shard;
                if !wanted {
                    continue;
                }
                let reached = ends[name].iter().map(|bounds| {
                    let partition = bounds.partition;
                    let first = carried.get(&(name.to_owned(), partition)).copied();
                    let next = first.unwrap_or(bounds.end).min(bounds.end);
                    let end = bounds.end;
                    (partition.0, Reach { next, end })
                });
                cursor.logs.insert(name.to_owned(), reached.collect());
                strays::expire(cursor, name, &ends[name]);
            }
            for (route, found) in &step.strays {
                strays::join(cursor.strays.entry(route.clone()).or_default(), found);
            }
            let faults = step.known.streams.values().any(|state| state.faults() > 0);
            let strays = cursor
                .strays
                .values()
                .any(|strays| strays.counts.faults() > 0);
            if cursor.apart != (faults || strays) {
                cursor.apart = faults || strays;
                cursor.since_ms = self.began_ms;
            }
        }
    }
}

impl Seen {
    /// Where its records are, and its dead letters.
    pub fn topics(&self) -> [(Topic, bool); 2] {
        [
            (self.binding.topic().clone(), false),
            (self.binding.route().dead_letters().clone(), true),
        ]
    }
}

/// Up to when a stream without suspects is compared: until the round began, if nothing of it was unmirrored then.
fn verified_ms(seen: &Seen, scope: &Scope, began_ms: i64) -> Option<i64> {
    if scope.absent || scope.last <= scope.committed {
        return Some(began_ms);
    }
    let mirrored = seen.committed.plausible_time_ms(began_ms);
    mirrored
        .or(seen.oldest_unmirrored_ms)
        .map(|ms| ms.min(began_ms))
}

/// The first record of each partition that is to be read again.
fn carried(
    shard: Shard,
    seen: &[Seen],
    streams: &BTreeMap<StreamRef, Step>,
) -> BTreeMap<(String, Partition), Offset> {
    let mut first: BTreeMap<(String, Partition), Offset> = BTreeMap::new();
    for seen in seen.iter().filter(|seen| seen.shard == shard) {
        let Some(step) = streams.get(&seen.stream) else {
            continue;
        };
        let [(records, _), (letters, _)] = seen.topics();
        for &(letter, partition, offset) in &step.carried {
            let topic = if letter { &letters } else { &records };
            let place = (topic.as_str().to_owned(), partition);
            let least = first.entry(place).or_insert(offset);
            *least = offset.min(*least);
        }
    }
    first
}
