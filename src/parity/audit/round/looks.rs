//! Looks of a round: at what was unequal in the round before, at what is new and unequal, at what came again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;

use crate::entry::{EntryId, StreamRef};
use crate::placement::{Offset, Partition, Topic};

use super::super::super::class::Class;
use super::super::super::error::Error;
use super::super::super::look::{Looked, Named, Span, Strangers, View, Wanted, logs_now, look};
use super::super::super::pass::{Extent, Pass, TopicPass};
use super::super::super::store::{self, OPEN};
use super::super::settle;
use super::group::{Group, extent};
use super::{Ends, Round};

/// The first place of what is looked at in each partition of a topic.
type Places = BTreeMap<(String, Partition), Offset>;

fn stands(places: &mut Places, topic: &str, partition: Partition, offset: Offset) {
    let first = places.entry((topic.to_owned(), partition));
    let first = first.or_insert(offset);
    *first = offset.min(*first);
}

impl Round<'_> {
    /// A second look at what was unequal in a round before: it is judged by this one.
    pub(super) async fn look_at_suspects(&mut self, ends: &Ends) -> Result<Option<()>, Error> {
        let mut places = Vec::new();
        for (at, seen) in self.seen.iter().enumerate() {
            let suspects = self.readable(seen).map_or(0, |state| state.suspects.len());
            places.extend((0..suspects).map(|suspect| (at, suspect)));
        }
        if places.is_empty() {
            return Ok(Some(()));
        }
        let wanted = self.wanted_suspects(&places);
        let logs = self.logs_of_suspects(&wanted, ends).await?;
        let Some(looked) = self.look(&wanted, &logs).await? else {
            return Ok(None);
        };
        for (((at, _), wanted), looked) in places.iter().zip(&wanted).zip(looked) {
            self.judge_suspect(*at, wanted.after, looked);
        }
        Ok(Some(()))
    }

    fn wanted_suspects(&self, places: &[(usize, usize)]) -> Vec<Wanted> {
        let wanted = places.iter().filter_map(|&(at, suspect)| {
            let suspect = &self.state(&self.seen[at])?.suspects[suspect];
            Some(self.wanted(at, suspect.after, suspect.through, suspect.entries))
        });
        wanted.collect()
    }

    /// Judges the suspect that begins after this id; it stays if it is to be looked at once more.
    fn judge_suspect(&mut self, at: usize, after: EntryId, looked: Looked) {
        let seen = &self.seen[at];
        let Some(step) = self.steps.get_mut(&seen.shard) else {
            return;
        };
        let Some(state) = step.known.streams.get_mut(&seen.stream) else {
            return;
        };
        let stream = step.streams.entry(seen.stream.clone()).or_default();
        let Some(place) = state.suspects.iter().position(|one| one.after == after) else {
            return;
        };
        let mut suspect = state.suspects.remove(place);
        if settle::judge_window(state, &mut suspect, looked, stream) {
            self.origins.remove(&(seen.stream.clone(), suspect.after));
        } else {
            state.suspects.insert(place, suspect);
        }
    }

    /// From where the round that met a suspect had read; from the suspect's time on where that is not known any more.
    async fn logs_of_suspects(
        &self,
        wanted: &[Wanted],
        ends: &Ends,
    ) -> Result<Vec<TopicPass>, Error> {
        // With each, whether nothing behind it had expired.
        let mut starts: BTreeMap<(String, Partition), (Offset, bool)> = BTreeMap::new();
        let mut begin = |logs: &[TopicPass], topics: &[(Topic, bool)]| {
            for log in logs
                .iter()
                .filter(|log| topics.iter().any(|(topic, _)| topic.as_str() == log.topic))
            {
                for extent in &log.extents {
                    let place = (log.topic.clone(), extent.partition);
                    let start = starts.entry(place);
                    let start = start.or_insert((extent.start, extent.intact));
                    *start = (extent.start.min(start.0), extent.intact && start.1);
                }
            }
        };
        let mut lost: Vec<&Wanted> = Vec::new();
        for wanted in wanted {
            match self.origins.get(&(wanted.stream.clone(), wanted.after)) {
                Some(origin) => begin(origin, &topics_of([wanted])),
                None => lost.push(wanted),
            }
        }
        if let Some(first) = lost.iter().map(|wanted| wanted.after).min() {
            let topics = topics_of(lost);
            let since = logs_now(self.edges, &topics, since(first)).await?;
            begin(&since, &topics);
        }
        let logs = topics_of(wanted).into_iter().map(|(topic, letters)| {
            let name = topic.as_str();
            let bounds = ends.get(name).map(Vec::as_slice).unwrap_or_default();
            let extents = bounds.iter().map(|bounds| {
                let start = starts.get(&(name.to_owned(), bounds.partition));
                let (start, intact) = start.copied().unwrap_or((bounds.low, false));
                Extent {
                    intact: intact && start >= bounds.low,
                    ..extent(bounds, start)
                }
            });
            TopicPass {
                topic: name.to_owned(),
                letters,
                answers: true,
                extents: extents.collect(),
            }
        });
        Ok(logs.collect())
    }

    /// A first look at what a pass found unequal, and a look at each identity that came again.
    pub(super) async fn look_at_new(
        &mut self,
        group: &Group,
        pass: Pass,
        ends: &Ends,
    ) -> Result<Option<()>, Error> {
        let logs = Arc::new(pass.topics);
        let mut places = Vec::new();
        for &at in &group.streams {
            let Some(state) = self.state(&self.seen[at]) else {
                continue;
            };
            let new = state.suspects.iter().enumerate();
            places.extend(
                new.filter(|(_, suspect)| !suspect.looked)
                    .map(|(suspect, _)| (at, suspect)),
            );
        }
        if !places.is_empty() {
            let wanted = self.wanted_suspects(&places);
            let Some(looked) = self.look(&wanted, &logs).await? else {
                return Ok(None);
            };
            for wanted in &wanted {
                let key = (wanted.stream.clone(), wanted.after);
                self.origins.insert(key, Arc::clone(&logs));
            }
            for (((at, _), wanted), looked) in places.iter().zip(&wanted).zip(looked) {
                let stands_before = looked.stands_before;
                self.judge_suspect(*at, wanted.after, looked);
                if stands_before && group.span == store::Span::Onward {
                    self.doubt_the_logs(*at);
                }
            }
        }
        self.look_at_again(&group.streams, ends).await
    }

    /// What came after a log was read stands before the end that it had then: it lost that end and has grown past it since.
    fn doubt_the_logs(&mut self, at: usize) {
        let stream = &self.seen[at].stream.name;
        warn!(%stream, "records stand in a part of a log that was read without them: it has lost its end since");
        self.with_stream(at, |state, _| state.doubt());
    }

    /// Each identity of which a record came after it was sealed, and each record that has been above the checkpoint for long.
    async fn look_at_again(&mut self, streams: &[usize], ends: &Ends) -> Result<Option<()>, Error> {
        let mut places = Places::new();
        let mut again: Vec<(usize, EntryId, u64)> = Vec::new();
        let mut overdue: Vec<(usize, EntryId)> = Vec::new();
        for &at in streams {
            let seen = &self.seen[at];
            if let Some(step) = self.steps[&seen.shard].streams.get(&seen.stream) {
                again.extend(step.reopened.iter().map(|(&id, &more)| (at, id, more)));
                overdue.extend(step.overdue.keys().map(|&id| (at, id)));
                let [(records, _), (letters, _)] = seen.topics();
                for (&(letter, partition), &offset) in &step.places {
                    let topic = if letter { &letters } else { &records };
                    stands(&mut places, topic.as_str(), partition, offset);
                }
            }
        }
        let ids: Vec<(usize, EntryId)> = again.iter().map(|&(at, id, _)| (at, id)).collect();
        let records = again.iter().map(|&(at, id, more)| {
            let state = self.state(&self.seen[at]);
            more + state.map_or(0, |state| settle::records_counted(state, id))
        });
        let records: Vec<u64> = records.collect();
        let Some(looked) = self.look_at_ids(&ids, &records, &places, ends).await? else {
            return Ok(None);
        };
        for ((at, id, more), looked) in again.into_iter().zip(looked) {
            self.with_stream(at, |state, step| {
                settle::judge_again(state, id, more, looked, step);
            });
        }
        let Some(looked) = self.look_at_ids(&overdue, &[], &places, ends).await? else {
            return Ok(None);
        };
        for ((at, id), looked) in overdue.into_iter().zip(looked) {
            self.with_stream(at, |state, step| {
                let places = step.overdue.remove(&id).unwrap_or_default();
                settle::judge_overdue(state, &places, looked, step);
            });
        }
        Ok(Some(()))
    }

    /// Open differences whose records Kafka has lost since, or all of them.
    pub(super) async fn look_at_open(&mut self, ends: &Ends) -> Result<Option<()>, Error> {
        let mut places = Places::new();
        let mut open: BTreeSet<(usize, EntryId)> = BTreeSet::new();
        for (at, seen) in self.seen.iter().enumerate() {
            let Some(state) = self.readable(seen) else {
                continue;
            };
            for difference in &state.differences {
                let lost = difference.records.iter().any(|record| {
                    let mut bounds = ends.get(&difference.topic).into_iter().flatten();
                    bounds.any(|log| log.partition == record.partition && record.offset < log.low)
                });
                if let Some(id) = difference.id.filter(|_| lost || self.recheck) {
                    open.insert((at, id));
                    for record in &difference.records {
                        let topic = &difference.topic;
                        stands(&mut places, topic, record.partition, record.offset);
                    }
                }
            }
        }
        let open: Vec<(usize, EntryId)> = open.into_iter().collect();
        let Some(looked) = self.look_at_ids(&open, &[], &places, ends).await? else {
            return Ok(None);
        };
        for ((at, id), looked) in open.into_iter().zip(looked) {
            self.with_stream(at, |state, step| {
                settle::judge_again(state, id, 0, looked, step);
            });
        }
        Ok(Some(()))
    }

    pub(super) fn with_stream(
        &mut self,
        at: usize,
        judge: impl FnOnce(&mut super::StreamState, &mut settle::Step),
    ) {
        let seen = &self.seen[at];
        let Some(step) = self.steps.get_mut(&seen.shard) else {
            return;
        };
        if let Some(state) = step.known.streams.get_mut(&seen.stream) {
            let stream = step.streams.entry(seen.stream.clone()).or_default();
            judge(state, stream);
        }
    }

    /// Up to the ends that this round counts to: what stands behind them is met in the next. `places`: where records of them
    /// are known to stand, whatever their times say. `records`: so many there should be of each; where fewer are found, some may
    /// stand before what was read.
    async fn look_at_ids(
        &self,
        ids: &[(usize, EntryId)],
        records: &[u64],
        places: &Places,
        ends: &Ends,
    ) -> Result<Option<Vec<Looked>>, Error> {
        let Some(first) = ids.iter().map(|(_, id)| *id).min() else {
            return Ok(Some(Vec::new()));
        };
        let wanted: Vec<Wanted> = ids
            .iter()
            .map(|&(at, id)| self.wanted(at, id.previous().unwrap_or_default(), id, 2))
            .collect();
        let mut logs = logs_now(self.edges, &topics_of(&wanted), Span::Since(first)).await?;
        for log in &mut logs {
            let bounds = ends.get(&log.topic).map(Vec::as_slice).unwrap_or_default();
            log.extents.retain_mut(|extent| {
                let known = bounds.iter().find(|one| one.partition == extent.partition);
                if let Some(bounds) = known {
                    extent.end = extent.end.min(bounds.end);
                }
                if let Some(&first) = places.get(&(log.topic.clone(), extent.partition)) {
                    extent.start = extent.start.min(first.max(extent.low));
                }
                known.is_some()
            });
        }
        let looked = self.look(&wanted, &logs).await?;
        let lacks = looked.as_ref().is_some_and(|looked| lack(looked, records));
        if !lacks || logs.iter().all(TopicPass::is_whole) {
            return Ok(looked);
        }
        logs.iter_mut().for_each(TopicPass::widen);
        self.look(&wanted, &logs).await
    }

    async fn look(
        &self,
        wanted: &[Wanted],
        logs: &[TopicPass],
    ) -> Result<Option<Vec<Looked>>, Error> {
        let strangers = self.strangers();
        let view = View {
            seed: self.seed,
            logs,
            strangers: &strangers,
            lots: u64::MAX,
            named: Named::Faults(OPEN),
        };
        look(self.edges, view, wanted, self.pace, self.stop, &mut |_| ()).await
    }

    /// What is open as extra: no entry's records, which stand in nobody's order.
    fn strangers(&self) -> Strangers {
        let mut strangers = Strangers::new();
        for seen in &self.seen {
            let open = self.state(seen).map(|state| &state.differences);
            for difference in open.into_iter().flatten() {
                if difference.class == Class::Extra
                    && let (Some(id), Some(record)) = (difference.id, difference.records.first())
                {
                    strangers.insert((seen.stream.clone(), record.generation, id));
                }
            }
        }
        strangers
    }

    fn wanted(&self, at: usize, after: EntryId, through: EntryId, entries: u64) -> Wanted {
        let seen = &self.seen[at];
        Wanted {
            stream: seen.stream.clone(),
            binding: seen.binding.clone(),
            after,
            through,
            entries,
            committed: seen.committed,
            generation: seen.generation,
            shared_history: false,
            remade: seen.remade,
        }
    }
}

/// Whether one of these was found with fewer records than there should be. What Redis never had was not counted before.
fn lack(looked: &[Looked], records: &[u64]) -> bool {
    looked.iter().zip(records).any(|(looked, records)| {
        looked.counts.kafka_records < *records && looked.counts.of(Class::Extra) == 0
    })
}

/// The first id that a window which begins after this one can hold tells its time best.
fn since(after: EntryId) -> Span {
    if after == EntryId::ZERO {
        Span::All
    } else {
        Span::Since(after)
    }
}

fn topics_of<'a>(wanted: impl IntoIterator<Item = &'a Wanted>) -> Vec<(Topic, bool)> {
    let topics: BTreeSet<(Topic, bool)> = wanted
        .into_iter()
        .flat_map(|wanted| {
            [
                (wanted.binding.topic().clone(), false),
                (wanted.binding.route().dead_letters().clone(), true),
            ]
        })
        .collect();
    topics.into_iter().collect()
}

/// Origins of streams that are still held.
pub fn keep(origins: &mut super::Origins, held: impl Fn(&StreamRef) -> bool) {
    origins.retain(|(stream, _), _| held(stream));
}

#[cfg(test)]
mod tests {
    use super::super::super::super::class::Counts;
    use super::*;

    #[test]
    fn an_entry_that_came_again_and_is_found_once_has_its_first_record_looked_for() {
        let looked = |counts| Looked {
            counts,
            ..Looked::default()
        };
        let once = || looked(Counts::both(Class::Match, 1));
        let twice = || looked(Counts::both(Class::Duplicate, 2));
        assert!(lack(&[twice(), once()], &[2, 2]));
        assert!(!lack(&[twice(), once()], &[2, 1]), "a missing one came");
        let stranger = looked(Counts::kafka_alone(Class::Extra, 1));
        assert!(!lack(&[stranger], &[2]), "it was never counted");
        assert!(!lack(&[once()], &[]), "nobody says how many there are");
    }
}
