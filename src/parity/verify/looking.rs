//! Looks of a verification: at all that was unequal, and once more at what was at fault.
//!
//! A window is judged by its last look alone; its counts replace those of the look before.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::entry::EntryId;
use crate::placement::Topic;

use super::super::class::{Class, Counts, Difference, Read};
use super::super::edges::Edges;
use super::super::error::Error;
use super::super::look::{self, Looked, Named, Span, Strangers, View, Wanted, logs_now};
use super::super::pace::Pace;
use super::outcome::Room;
use super::{Seldom, Verification, begin};

/// Records that are no entry's, kept by their ids for the looks that follow, of a whole verification.
const EXTRAS: usize = 100_000;

/// Where looking stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Looks {
    /// Finished looks at all that was unequal.
    pub(super) rounds: u32,
    /// Entries and records read, and about to be read, in the look under way.
    pub(super) done: u64,
    pub(super) total: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LookedWindow {
    pub(super) round: u32,
    pub(super) counts: Counts,
    #[serde(default)]
    pub(super) read: Read,
    /// As many as there was room for in the whole verification.
    pub(super) differences: Vec<Difference>,
    pub(super) not_kept: u64,
    /// Generation and id of records that are no entry's, which stand in nobody's order: the first ones.
    #[serde(default)]
    pub(super) extras: Vec<(u32, EntryId)>,
    pub(super) shares_history: bool,
}

impl Verification {
    /// What the next round looks at, unless there is none: first all that is unequal, or all there is; then what has faults.
    pub(super) fn to_look_at(&self) -> Option<Vec<(usize, usize)>> {
        let windows: Vec<(usize, usize)> = match self.looks.rounds {
            0 => self
                .all()
                .filter(|&(stream, window)| {
                    self.request.full || !self.pass.streams[stream].windows[window].is_level()
                })
                .collect(),
            1 => self
                .looked
                .iter()
                .filter(|(_, looked)| looked.counts.faults() > 0)
                .map(|(&at, _)| at)
                .collect(),
            _ => Vec::new(),
        };
        (!windows.is_empty()).then_some(windows)
    }

    fn all(&self) -> impl Iterator<Item = (usize, usize)> {
        let streams = self.pass.streams.iter().enumerate();
        streams.flat_map(|(at, stream)| (0..stream.windows.len()).map(move |window| (at, window)))
    }

    pub(super) async fn look(
        &mut self,
        edges: &Arc<Edges>,
        windows: &[(usize, usize)],
        pace: &Pace,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(&Self) + Send),
    ) -> Result<bool, Error> {
        let round = self.looks.rounds + 1;
        let mut rest: Vec<(usize, usize)> = windows
            .iter()
            .filter(|at| {
                self.looked
                    .get(at)
                    .is_none_or(|looked| looked.round < round)
            })
            .copied()
            .collect();
        let committed = begin::checkpoints(edges).await?;
        let logs = logs_now(edges, &self.topics(&rest), self.span()).await?;
        let length: u64 = logs.iter().map(|log| begin::offsets(&log.extents)).sum();
        self.looks.done = 0;
        self.looks.total = rest
            .chunks(1)
            .map(|at| self.wanted(at[0], &committed).entries)
            .sum::<u64>()
            + length;
        let mut seldom = Seldom::default();
        while !rest.is_empty() {
            let (group, later) = rest.split_at(self.group(&rest));
            let wanted: Vec<Wanted> = group
                .iter()
                .map(|&at| self.wanted(at, &committed))
                .collect();
            let strangers = self.strangers();
            let view = View {
                seed: self.pass.seed,
                logs: &logs,
                strangers: &strangers,
                lots: self.pass.lots,
                named: Named::All,
            };
            let mut progressed = |amount| {
                self.looks.done += amount;
                self.looks.total = self.looks.total.max(self.looks.done);
                if seldom.now() {
                    each(self);
                }
            };
            let Some(looked) =
                look::look(edges, view, &wanted, pace, stop, &mut progressed).await?
            else {
                return Ok(false);
            };
            for (&at, looked) in group.iter().zip(looked) {
                self.looked.remove(&at);
                let kept = self.looked.values().flat_map(|looked| &looked.differences);
                let room = Room::new(self.for_repair, kept);
                let known = self.looked.values().map(|looked| looked.extras.len()).sum();
                let looked = LookedWindow::new(round, looked, room, EXTRAS.saturating_sub(known));
                self.looked.insert(at, looked);
            }
            each(self);
            rest = later.to_vec();
        }
        Ok(true)
    }

    /// As many windows as one reading of the logs is to serve.
    fn group(&self, windows: &[(usize, usize)]) -> usize {
        let mut entries = 0;
        let fitting = windows.iter().take_while(|&&(stream, window)| {
            let window = &self.pass.streams[stream].windows[window];
            entries += window.redis.count.max(window.kafka.count).max(1);
            entries <= look::GROUP
        });
        fitting.count().max(1)
    }

    fn wanted(&self, (stream, window): (usize, usize), committed: &begin::Checkpoints) -> Wanted {
        let pass = &self.pass.streams[stream];
        let window_after = pass
            .spans()
            .nth(window)
            .map_or(pass.scope.after, |(after, _)| after);
        let here = &pass.windows[window];
        let checkpoint = committed.get(&pass.stream);
        Wanted {
            stream: pass.stream.clone(),
            binding: pass.binding().clone(),
            after: window_after,
            through: here.through,
            entries: here.redis.count.max(here.kafka.count),
            committed: checkpoint.map_or(EntryId::ZERO, |checkpoint| checkpoint.id),
            generation: checkpoint.map_or(0, |checkpoint| checkpoint.generation),
            shared_history: pass.shares_history(),
            remade: checkpoint
                .map(|checkpoint| begin::remade(checkpoint, pass.binding()))
                .unwrap_or_default(),
        }
    }

    /// What was found to be extra so far, by streams of the pass.
    fn strangers(&self) -> Strangers {
        let of = |at: usize| &self.pass.streams[at].stream;
        let looked = self.looked.iter().flat_map(|(&(at, _), looked)| {
            let extras = looked.extras.iter();
            extras.map(move |&(generation, id)| (of(at).clone(), generation, id))
        });
        let outside = self.pass.streams.iter().flat_map(|one| {
            let extras = one.outside(false).filter_map(|one| extra(&one));
            extras.map(|(generation, id)| (one.stream.clone(), generation, id))
        });
        looked.chain(outside).collect()
    }

    fn topics(&self, windows: &[(usize, usize)]) -> Vec<(Topic, bool)> {
        let mut topics: Vec<(Topic, bool)> = windows
            .iter()
            .flat_map(|&(stream, _)| {
                let stream = &self.pass.streams[stream];
                [(&stream.topic, false), (&stream.letters, true)]
            })
            .map(|(topic, letters)| (Topic::from(topic.as_str()), letters))
            .collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// From where a look reads: everything, unless the request begins later.
    fn span(&self) -> Span {
        let least = self
            .pass
            .streams
            .iter()
            .map(|stream| stream.scope.after)
            .min();
        match (self.request.from, least) {
            (Some(_), Some(after)) => Span::Since(after),
            _ => Span::All,
        }
    }
}

impl LookedWindow {
    fn new(round: u32, mut looked: Looked, room: Room, extras: usize) -> Self {
        let all = looked.differences.iter().filter_map(extra);
        let extras = all.take(extras).collect();
        let not_kept = room.shorten(&mut looked.differences);
        Self {
            round,
            counts: looked.counts,
            read: looked.read,
            differences: looked.differences,
            not_kept,
            extras,
            shares_history: looked.shares_history,
        }
    }
}

/// Generation and id of a record that is no entry's.
fn extra(difference: &Difference) -> Option<(u32, EntryId)> {
    let record = difference.records.first()?;
    let id = difference.id.filter(|_| difference.class == Class::Extra)?;
    Some((record.generation, id))
}
