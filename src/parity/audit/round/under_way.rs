//! A round that takes longer than a piece: what it has read is put down with its shards, and put together when it is gone on
//! with, by this process or by another.
//!
//! Until all is read a round changes nothing else of what is known, so a piece is nothing but sums and positions. Shards that
//! went to different instances meanwhile go on apart; each record that is of no stream stays with the shard that answers for
//! its topic.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Instant;

use tracing::warn;

use crate::entry::StreamRef;
use crate::placement::{Remade, Shard, Topic};
use crate::topics::Bounds;

use super::super::super::error::Error;
use super::super::super::pass::{Pass, Scope, Strays, StreamPass, TopicPass};
use super::super::super::store::{Part, Portion, Span, UnderWay};
use super::super::super::unread;
use super::group::Group;
use super::{Ends, Round, Seen, home};

/// What a round reads, and how far it has come.
pub(super) struct Reading {
    pub topics: BTreeSet<(Topic, bool)>,
    /// Up to where the logs are read.
    pub ends: Ends,
    /// Of each stream that is seen.
    pub scopes: Vec<Scope>,
    pub parts: Vec<(Group, Pass)>,
}

/// How a reading ended.
pub(super) enum Ended {
    /// All is read.
    Read,
    /// The piece is full.
    Piece,
    Stopped,
}

impl Reading {
    /// Entries and offsets read, and how many there are.
    pub fn progress(&self) -> (u64, u64) {
        self.parts.iter().fold((0, 0), |(done, total), (_, pass)| {
            let (redis, kafka) = (pass.redis_progress(), pass.kafka_progress());
            (done + redis.0 + kafka.0, total + redis.1 + kafka.1)
        })
    }
}

impl Round<'_> {
    /// Goes on with what the shards have under way; `None`: nothing. All of them are in the same.
    pub(super) fn resume(&mut self) -> Option<Reading> {
        let mut rounds: BTreeMap<Shard, UnderWay> = BTreeMap::new();
        for (&shard, step) in &mut self.steps {
            rounds.extend(step.known.under_way.take().map(|round| (shard, round)));
        }
        let first = rounds.values().next()?;
        (self.began_ms, self.seed) = (first.began_ms, first.seed);
        let parts = first.parts.clone();
        let mut groups: Vec<(Group, Vec<StreamPass>)> = parts
            .iter()
            .map(|part| {
                let mut group = Group::new(part.span);
                let ours = part.shards.iter().filter(|one| rounds.contains_key(one));
                group.shards = ours.copied().collect();
                (group, Vec::new())
            })
            .collect();
        self.seen.clear();
        let mut scopes = Vec::new();
        for (shard, round) in rounds {
            if let Some(step) = self.steps.get_mut(&shard) {
                step.strays = round.strays;
                // It began the shard anew.
                if groups.iter().any(|(group, _)| group.is_first_of(shard)) {
                    step.known.cursor = None;
                }
            }
            for (stream, Portion { part, pass }) in round.streams {
                let Some(binding) = self.edges.routes.bind(&stream) else {
                    continue;
                };
                let state = self.steps.get(&shard);
                let state = state.and_then(|step| step.known.streams.get(&stream));
                let remade = state.map_or_else(Remade::default, |state| state.remade);
                let (group, streams) = &mut groups[part];
                group.streams.push(self.seen.len());
                scopes.push(pass.scope.clone());
                self.seen.push(Seen {
                    stream,
                    shard,
                    binding: binding.clone(),
                    committed: pass.scope.committed,
                    generation: pass.scope.generation,
                    oldest_unmirrored_ms: None,
                    remade,
                });
                streams.push(pass.bound(binding));
            }
        }
        let groups = groups.into_iter().zip(parts);
        let parts = groups.map(|((group, streams), part)| {
            let logs = self.still_wanted(&group, &streams, part.logs);
            (group, Pass::resumed(self.seed, streams, logs))
        });
        Some(reading(parts.collect(), scopes))
    }

    /// The logs of a part that may have lost some of its shards.
    fn still_wanted(
        &self,
        group: &Group,
        streams: &[StreamPass],
        logs: Vec<TopicPass>,
    ) -> Vec<TopicPass> {
        let wanted = logs.into_iter().filter_map(|mut log| {
            log.answers = group.shards.contains(&home(&log.topic, self.shards));
            let of_stream = |one: &StreamPass| one.topic == log.topic || one.letters == log.topic;
            (log.answers || streams.iter().any(of_stream)).then_some(log)
        });
        wanted.collect()
    }

    /// Whether the logs are still those that were read, and the streams can be read on. If not, nothing that is under way says
    /// anything.
    ///
    /// # Errors
    /// Kafka gave no answer.
    pub(super) async fn still_stands(&self, reading: &Reading) -> Result<bool, Error> {
        for (topic, _) in &reading.topics {
            let now = self.edges.bounds(topic).await?;
            let is_other = |before: &Bounds| {
                let mut now = now.iter();
                let now = now.find(|now| now.partition == before.partition);
                now.is_none_or(|now| now.end < before.end)
            };
            if reading.ends[topic.as_str()].iter().any(is_other) {
                warn!(%topic, "a topic was made anew or has lost its end; a round under way is begun anew");
                return Ok(false);
            }
        }
        let streams = self.seen.iter().map(|seen| &seen.stream);
        let looks = unread::looks(&self.edges.redis, streams).await?;
        let unread = looks.into_iter().find_map(Result::err);
        if let Some(why) = &unread {
            warn!(
                why,
                "a stream cannot be read any more; a round under way is begun anew without it"
            );
        }
        Ok(unread.is_none())
    }

    /// Reads what is left, or a piece of it.
    ///
    /// # Errors
    /// A store gave no answer.
    pub(super) async fn read(&mut self, reading: &mut Reading) -> Result<Ended, Error> {
        let full_at = Instant::now() + self.piece;
        let mut each = |_: &Pass| {
            if Instant::now() < full_at {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        for (_, pass) in &mut reading.parts {
            let read = pass
                .read_redis(&self.edges.redis, self.pace, self.stop, &mut each)
                .await?
                && tokio::task::block_in_place(|| {
                    pass.read_kafka(self.edges, self.census, self.pace, self.stop, &mut each)
                })?;
            if !read && self.stop.is_cancelled() {
                return Ok(Ended::Stopped);
            }
            if !read {
                return Ok(Ended::Piece);
            }
        }
        Ok(Ended::Read)
    }

    /// Leaves with the shards what was read so far.
    pub(super) fn put_down(&mut self, mut reading: Reading) {
        for (_, pass) in &mut reading.parts {
            self.account(pass.unaccounted());
            self.take_strays(pass);
            pass.strays = Strays::default();
        }
        let parts = reading.parts.iter().map(|(group, pass)| Part {
            span: group.span,
            shards: group.shards.clone(),
            logs: pass.topics.clone(),
        });
        let parts: Vec<Part> = parts.collect();
        let mut shares: BTreeMap<Shard, BTreeMap<StreamRef, Portion>> = BTreeMap::new();
        for (part, (group, pass)) in reading.parts.into_iter().enumerate() {
            for (at, pass) in group.streams.into_iter().zip(pass.streams) {
                let seen = &self.seen[at];
                let of_shard = shares.entry(seen.shard).or_default();
                of_shard.insert(seen.stream.clone(), Portion { part, pass });
            }
        }
        for (shard, step) in &mut self.steps {
            step.known.under_way = Some(UnderWay {
                began_ms: self.began_ms,
                seed: self.seed,
                parts: parts.clone(),
                strays: std::mem::take(&mut step.strays),
                streams: shares.remove(shard).unwrap_or_default(),
            });
        }
    }
}

impl Group {
    fn is_first_of(&self, shard: Shard) -> bool {
        self.span == Span::First && self.shards.contains(&shard)
    }
}

/// The ends are those that were asked for when the round began.
fn reading(parts: Vec<(Group, Pass)>, scopes: Vec<Scope>) -> Reading {
    let mut topics = BTreeSet::new();
    let mut ends = Ends::new();
    for log in parts.iter().flat_map(|(_, pass)| &pass.topics) {
        topics.insert((Topic::from(log.topic.as_str()), log.letters));
        let bounds = log.extents.iter().map(|extent| Bounds {
            partition: extent.partition,
            low: extent.low,
            end: extent.end,
        });
        ends.insert(log.topic.clone(), bounds.collect());
    }
    Reading {
        topics,
        ends,
        scopes,
        parts,
    }
}
