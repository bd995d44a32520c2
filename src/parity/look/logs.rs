//! The logs that a look reads, and what they no longer hold.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::entry::EntryId;
use crate::placement::{Offset, Partition, Topic};
use crate::tasks::passed_on;
use crate::topics::{self, From, Stretch};

use super::super::class::Why;
use super::super::compare::{Found, Held};
use super::super::edges::{Edges, KAFKA_TIMEOUT};
use super::super::error::Error;
use super::super::pace::CHUNK;
use super::super::pass::{Extent, TopicPass};
use super::super::sides::{KafkaSide, REPAIR};
use super::subject::{Course, Courses, Subject};
use super::{Looking, Wanted, is_of};

/// How long before an entry's own time its record may stand in the log: clocks of brokers that stamp records themselves may
/// be that far off.
const CLOCKS_MS: i64 = 600_000;

/// From where to read logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    All,
    /// From where the record of this entry stands at the earliest, if it is dated as the entry is. It is not where the id was
    /// too far ahead to be a time when it was mirrored: what is not found from here on may stand before.
    Since(EntryId),
}

/// The logs of these topics as they end now, from the beginning or from an entry's time on. Call it after the checkpoints
/// were read.
///
/// # Errors
/// Kafka gave no answer.
pub async fn logs_now(
    edges: &Arc<Edges>,
    topics: &[(Topic, bool)],
    span: Span,
) -> Result<Vec<TopicPass>, Error> {
    let mut logs = Vec::with_capacity(topics.len());
    for (topic, letters) in topics {
        let bounds = edges.bounds(topic).await?;
        let starts = match since_ms(span) {
            Some(since) if !bounds.is_empty() => starts(edges, topic, &bounds, since).await?,
            _ => HashMap::new(),
        };
        let extents = bounds
            .into_iter()
            .map(|bounds| {
                let start = starts.get(&bounds.partition).copied().unwrap_or(bounds.low);
                Extent {
                    partition: bounds.partition,
                    low: bounds.low,
                    start,
                    next: start,
                    end: bounds.end,
                    counted: bounds.low,
                    intact: false,
                }
            })
            .collect();
        logs.push(TopicPass {
            topic: topic.as_str().to_owned(),
            letters: *letters,
            answers: true,
            extents,
        });
    }
    Ok(logs)
}

/// Only an id that is a time tells where its record stands.
fn since_ms(span: Span) -> Option<i64> {
    match span {
        Span::All => None,
        Span::Since(id) => id.plausible_time_ms(now_ms()).map(|ms| ms - CLOCKS_MS),
    }
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

async fn starts(
    edges: &Arc<Edges>,
    topic: &Topic,
    bounds: &[topics::Bounds],
    since_ms: i64,
) -> Result<HashMap<Partition, Offset>, Error> {
    let (edges, topic) = (Arc::clone(edges), topic.clone());
    let partitions: Vec<Partition> = bounds.iter().map(|bounds| bounds.partition).collect();
    let asked = tokio::task::spawn_blocking(move || {
        topics::offsets_at(&edges.kafka, &topic, &partitions, since_ms, KAFKA_TIMEOUT)
    });
    let found = passed_on(asked.await)?;
    let ends: HashMap<Partition, Offset> = bounds
        .iter()
        .map(|bounds| (bounds.partition, bounds.end))
        .collect();
    Ok(found
        .into_iter()
        .filter_map(|(partition, offset)| {
            let end = *ends.get(&partition)?;
            Some((partition, offset.map_or(end, |offset| offset.min(end))))
        })
        .collect())
}

/// What has to be known of a topic to tell an expired record from one that never was.
#[derive(Default)]
pub(super) struct LogFacts {
    /// Of each partition whose beginning is gone, and with it perhaps what is looked for: the time of the first record that is
    /// left and was no repair.
    first_ms: BTreeMap<Partition, Option<i64>>,
    compacted: bool,
    /// Records older than this are deleted by their age; `None`: the topic keeps them whatever their age.
    retention_ms: Option<i64>,
}

impl LogFacts {
    pub(super) async fn of(edges: &Arc<Edges>, log: &TopicPass) -> Result<Self, Error> {
        let topic = Topic::from(log.topic.as_str());
        let settings = edges.admin.describe(std::slice::from_ref(&topic)).await?;
        let setting = |name: &str| {
            let state = settings.get(&topic)?;
            state.settings.get(name)?.value.as_deref()
        };
        let policy = setting("cleanup.policy");
        let compacted = policy.is_some_and(|policy| policy.contains("compact"));
        let deletes = policy.is_some_and(|policy| policy.contains("delete"));
        let retention_ms = setting("retention.ms")
            .and_then(|retention| retention.parse().ok())
            .filter(|retention| deletes && *retention >= 0);
        let begun: Vec<(Partition, From)> = log
            .extents
            .iter()
            .filter(|extent| extent.may_have_expired())
            .map(|extent| (extent.partition, From::Beginning))
            .collect();
        let mut first_ms: BTreeMap<Partition, Option<i64>> = begun
            .iter()
            .map(|(partition, _)| (*partition, None))
            .collect();
        for start in begun {
            let (edges, topic) = (Arc::clone(edges), topic.clone());
            let asked = tokio::task::spawn_blocking(move || {
                let mut first = None;
                topics::read_partitions(&edges.kafka, &topic, &[start], KAFKA_TIMEOUT, |record| {
                    if record.header(REPAIR).is_some() {
                        return ControlFlow::Continue(());
                    }
                    first = record.timestamp_ms;
                    ControlFlow::Break(())
                })?;
                Ok::<_, topics::Error>(first)
            });
            first_ms.insert(start.0, passed_on(asked.await)?);
        }
        Ok(Self {
            first_ms,
            compacted,
            retention_ms,
        })
    }

    /// Why the log no longer has the record of an entry, where that explains its absence. A log loses its beginning: where an
    /// older entry of the stream is still in the partition, the record should be there. Where there is none, the partition may
    /// still have older records of other streams: each stream's entries ascend, but one that is mirrored late comes to stand
    /// behind younger ones of others. So what is old enough for the topic to delete may be deleted, and of the rest, what is
    /// no younger than the first record that is left.
    pub(super) fn lost(&self, entry: &Held, course: &Course, now_ms: i64) -> Option<Why> {
        let partition = entry.record.map_or(Partition(0), |made| made.partition);
        if self.compacted
            && entry.record.is_some_and(|made| {
                made.has_key && course.has_later(made.parts.key, partition, entry.id)
            })
        {
            return Some(Why::KafkaCompacted);
        }
        let first_ms = self.first_ms.get(&partition)?;
        if course
            .earliest(entry.record.is_none(), partition)
            .is_some_and(|earliest| earliest < entry.id)
        {
            return None;
        }
        let time = entry.id.plausible_time_ms(now_ms);
        let is_due = (time.zip(self.retention_ms))
            .is_some_and(|(time, retention)| time < now_ms.saturating_sub(retention));
        let younger = time
            .zip(*first_ms)
            .is_some_and(|(time, first)| time > first);
        (is_due || !younger).then_some(Why::KafkaExpired)
    }
}

impl Looking<'_> {
    /// Reads one log into the subjects whose topic it is. `false`: stopped.
    pub(super) fn read_log(
        &mut self,
        log: &TopicPass,
        group: &[Wanted],
        subjects: &mut [Subject],
        courses: &mut Courses,
    ) -> Result<bool, Error> {
        let mut by_name: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (wanted, &course) in group.iter().zip(&courses.of) {
            let of_name = by_name.entry(wanted.stream.name.as_bytes()).or_default();
            if is_of(log, wanted) && !of_name.contains(&course) {
                of_name.push(course);
            }
        }
        let topic = Topic::from(log.topic.as_str());
        let stretches: Vec<Stretch> = log
            .extents
            .iter()
            .filter(|extent| extent.start < extent.end)
            .map(|extent| Stretch {
                partition: extent.partition,
                from: From::Offset(extent.start),
                to: Some(extent.end),
            })
            .collect();
        let mut side = KafkaSide::new(self.view.seed, log.letters);
        let (mut amount, mut began) = (0, Instant::now());
        let (pace, stop, each) = (self.pace, self.stop, &mut *self.each);
        let (view, strangers) = (self.view, self.view.strangers);
        topics::read_stretches(
            &self.edges.kafka,
            &topic,
            &stretches,
            KAFKA_TIMEOUT,
            |record| {
                amount += 1;
                if amount == CHUNK {
                    each(u64::from(amount));
                    pace.keep_blocking(amount, began, stop);
                    (amount, began) = (0, Instant::now());
                    if stop.is_cancelled() {
                        return ControlFlow::Break(());
                    }
                }
                let Some(identity) = side.identify(record) else {
                    return ControlFlow::Continue(());
                };
                let Some(streams) = by_name.get(identity.stream) else {
                    return ControlFlow::Continue(());
                };
                // What was not drawn stands in the order of what was, and says what the log still has.
                let drawn = view.takes(|| side.lot(identity.stream, identity.id));
                let ordered = !log.letters && !identity.repaired;
                let key = if ordered { side.key(record) } else { 0 };
                for &stream in streams {
                    let course = &mut courses.all[stream];
                    let windows = course.pass(&identity, log.letters, record.partition);
                    let stranger = !strangers.is_empty() && {
                        let stream = group[course.place(0)].stream.clone();
                        strangers.contains(&(stream, identity.generation, identity.id))
                    };
                    let partition = record.partition;
                    let behind = ordered
                        && !stranger
                        && course.is_behind(
                            &identity,
                            key,
                            partition,
                            (windows.clone(), drawn),
                            subjects,
                        );
                    for window in windows.filter(|_| drawn) {
                        let found = side.found(&identity, record);
                        subjects[course.place(window)].find(Found { behind, ..found });
                    }
                }
                ControlFlow::Continue(())
            },
        )?;
        each(u64::from(amount));
        Ok(!stop.is_cancelled())
    }
}

#[cfg(test)]
mod tests;
