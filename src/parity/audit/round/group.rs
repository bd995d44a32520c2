//! Which streams of a round are read together, and from where.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::EntryId;
use crate::placement::{Offset, Partition, Shard, Topic};
use crate::topics::Bounds;

use super::super::super::error::Error;
use super::super::super::look::{self, logs_now};
use super::super::super::pass::{Extent, Pass, Scope, StreamPass, TopicPass};
use super::super::super::store::{Cursor, Span};
use super::{Ends, Round, home};

/// Streams that are read together.
pub struct Group {
    /// Places in the round's list.
    pub streams: Vec<usize>,
    pub shards: BTreeSet<Shard>,
    pub span: Span,
}

impl Group {
    pub(super) fn new(span: Span) -> Self {
        Self {
            streams: Vec::new(),
            shards: BTreeSet::new(),
            span,
        }
    }
}

impl Round<'_> {
    pub(super) fn groups(&self, topics: &BTreeSet<(Topic, bool)>) -> Vec<Group> {
        let mut onward: Vec<Group> = Vec::new();
        let (mut joining, mut first) = (Group::new(Span::Joining), Group::new(Span::First));
        for (&shard, step) in &self.steps {
            let Some(cursor) = &step.known.cursor else {
                first.shards.insert(shard);
                continue;
            };
            let fits = |group: &&mut Group| {
                group.shards.iter().all(|&other| {
                    let known = self.steps[&other].known.cursor.as_ref();
                    known.is_some_and(|known| {
                        self.same_ends((shard, cursor), (other, known), topics)
                    })
                })
            };
            match onward.iter_mut().find(fits) {
                Some(group) => {
                    group.shards.insert(shard);
                }
                None => {
                    let mut group = Group::new(Span::Onward);
                    group.shards.insert(shard);
                    onward.push(group);
                }
            }
        }
        for (at, seen) in self.seen.iter().enumerate() {
            let Some(state) = self.readable(seen) else {
                continue;
            };
            if first.shards.contains(&seen.shard) {
                first.streams.push(at);
            } else if !state.joined {
                joining.streams.push(at);
            } else if let Some(group) = onward
                .iter_mut()
                .find(|group| group.shards.contains(&seen.shard))
            {
                group.streams.push(at);
            }
        }
        let mut groups = onward;
        groups.extend([joining, first]);
        groups.retain(|group| !group.streams.is_empty() || !group.shards.is_empty());
        groups
    }

    /// Whether two shards have read the logs that both know to the same ends: what one has counted of them the other may read
    /// again. One that answers for a log and has not read it has to read it by itself.
    fn same_ends(
        &self,
        (one, its): (Shard, &Cursor),
        (other, others): (Shard, &Cursor),
        topics: &BTreeSet<(Topic, bool)>,
    ) -> bool {
        topics.iter().all(|(topic, _)| {
            let name = topic.as_str();
            let home = home(name, self.shards);
            match (its.logs.get(name), others.logs.get(name)) {
                (Some(its), Some(others)) => {
                    its.len() == others.len()
                        && (its.iter().zip(others))
                            .all(|(one, other)| one.0 == other.0 && one.1.end == other.1.end)
                }
                (None, Some(_)) => home != one,
                (Some(_), None) => home != other,
                (None, None) => true,
            }
        })
    }

    /// A pass over the group, not read yet.
    pub(super) async fn pass(
        &self,
        group: &Group,
        scopes: &[Scope],
        topics: &BTreeSet<(Topic, bool)>,
        ends: &Ends,
    ) -> Result<Pass, Error> {
        let streams: Vec<StreamPass> = group
            .streams
            .iter()
            .map(|&at| {
                let seen = &self.seen[at];
                let scope = scopes[at].clone();
                StreamPass::new(seen.stream.clone(), seen.binding.clone(), scope)
            })
            .collect();
        let wanted: Vec<(Topic, bool)> = topics
            .iter()
            .filter(|(topic, _)| {
                let name = topic.as_str();
                group.shards.contains(&home(name, self.shards))
                    || streams
                        .iter()
                        .any(|stream| stream.topic == name || stream.letters == name)
            })
            .cloned()
            .collect();
        let starts = match group.span {
            Span::Joining => self.joining(&wanted, &streams).await?,
            Span::Onward | Span::First => BTreeMap::new(),
        };
        let owners = |topic: &str| -> BTreeSet<Shard> {
            let streams = group.streams.iter().zip(&streams);
            let of_topic = streams.filter(|(_, one)| one.topic == topic || one.letters == topic);
            of_topic.map(|(&at, _)| self.seen[at].shard).collect()
        };
        let logs = wanted.into_iter().map(|(topic, letters)| {
            let name = topic.as_str();
            let owners = owners(name);
            let bounds = ends.get(name).map(Vec::as_slice).unwrap_or_default();
            let extents = bounds.iter().map(|bounds| {
                let start = match group.span {
                    Span::First => bounds.low,
                    Span::Onward => self.next(group, name, bounds),
                    Span::Joining => starts
                        .get(&(name.to_owned(), bounds.partition))
                        .copied()
                        .unwrap_or(bounds.end),
                };
                Extent {
                    counted: self.counted(group, name, bounds),
                    // What came since the cursors stands behind them.
                    intact: group.span == Span::Onward && self.still_has(&owners, name, bounds),
                    ..extent(bounds, start)
                }
            });
            TopicPass {
                topic: name.to_owned(),
                letters,
                answers: group.shards.contains(&home(name, self.shards)),
                extents: extents.collect(),
            }
        });
        let logs: Vec<TopicPass> = logs.collect();
        Ok(Pass::of_audit(self.seed, streams, logs))
    }

    /// The least of the group's cursors; the beginning where one of its shards has not read the partition.
    fn next(&self, group: &Group, topic: &str, bounds: &Bounds) -> Offset {
        let nexts = group.shards.iter().filter_map(|shard| {
            let cursor = self.steps[shard].known.cursor.as_ref()?;
            let log = cursor.logs.get(topic)?;
            let reach = log.get(&bounds.partition.0);
            Some(reach.map_or(bounds.low, |reach| reach.next))
        });
        nexts.min().unwrap_or(bounds.low)
    }

    /// Whether the log still has the place from which on these shards, whose streams' it is, read it on.
    fn still_has(&self, owners: &BTreeSet<Shard>, topic: &str, bounds: &Bounds) -> bool {
        owners.iter().all(|shard| {
            let cursor = self.steps[shard].known.cursor.as_ref();
            let log = cursor.and_then(|cursor| cursor.logs.get(topic));
            let reach = log.and_then(|log| log.get(&bounds.partition.0));
            reach.is_some_and(|reach| reach.next >= bounds.low)
        })
    }

    /// Up to where what is no entry's is counted: the shards of a group have read what they know to the same ends.
    fn counted(&self, group: &Group, topic: &str, bounds: &Bounds) -> Offset {
        let reached = group.shards.iter().filter_map(|shard| {
            let cursor = self.steps[shard].known.cursor.as_ref()?;
            let reach = cursor.logs.get(topic)?.get(&bounds.partition.0)?;
            Some(reach.end)
        });
        reached.max().unwrap_or(bounds.low)
    }

    /// Where the records of new streams begin.
    async fn joining(
        &self,
        topics: &[(Topic, bool)],
        streams: &[StreamPass],
    ) -> Result<BTreeMap<(String, Partition), Offset>, Error> {
        let first: Option<EntryId> = streams.iter().filter_map(|stream| stream.scope.first).min();
        let Some(first) = first else {
            return Ok(BTreeMap::new());
        };
        let logs = logs_now(self.edges, topics, look::Span::Since(first)).await?;
        let starts = logs.into_iter().flat_map(|log| {
            let topic = log.topic;
            log.extents
                .into_iter()
                .map(move |extent| ((topic.clone(), extent.partition), extent.start))
        });
        Ok(starts.collect())
    }
}

pub(super) fn extent(bounds: &Bounds, start: Offset) -> Extent {
    let start = start.clamp(bounds.low, bounds.end.max(bounds.low));
    Extent {
        partition: bounds.partition,
        low: bounds.low,
        start,
        next: start,
        end: bounds.end,
        counted: bounds.low,
        intact: false,
    }
}
