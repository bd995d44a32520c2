//! How far a consumer group of the application is behind, in entries.
//!
//! Offsets alone would say too much: a transaction's marker takes an offset and is no entry, so that behind a transactional
//! writer every partition would lag by one for ever. So what lies between a group's committed offset and the log's end is read
//! and counted, as long as it is short; above that the span is given, which the lag does not exceed.
//!
//! Nothing joins the group and nothing is committed: it is asked for its offsets, as any of its members may ask.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};

use super::ends;
use super::error::Error;
use super::kafka::Kafka;
use super::reader::{Closing, From, Stretch, read_stretches};
use crate::placement::{Offset, Partition, Topic};

/// Up to so many offsets are read to be counted.
const COUNTED: i64 = 20_000;

type Place = (Topic, Partition);

/// Looks at one group. Its calls block.
pub struct Group {
    kafka: Kafka,
    name: String,
    consumer: Closing,
    timeout: Duration,
    /// What was counted between these two offsets at the last look.
    known: HashMap<Place, (i64, i64, u64)>,
}

/// How far a group is behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupLag {
    /// Over the partitions with a committed offset.
    pub entries: u64,
    /// Whether it was counted; otherwise it is at most that.
    pub exact: bool,
    /// Partitions that hold something, and on which the group has committed nothing: how far it is behind there is not known.
    pub uncommitted: Vec<Place>,
    /// Partitions that end before the committed offset: they are others than those that it was committed for.
    pub beyond: Vec<Place>,
}

impl Group {
    /// # Errors
    /// A client cannot be made.
    pub fn new(kafka: &Kafka, name: &str, timeout: Duration) -> Result<Self, Error> {
        let mut client = kafka.consumer();
        client.set("group.id", name);
        let consumer = client
            .create_with_context(kafka.context())
            .map_err(|error| Error::of("create a consumer", error))?;
        Ok(Self {
            kafka: kafka.clone(),
            name: name.to_owned(),
            consumer: Closing::new(consumer),
            timeout,
            known: HashMap::new(),
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// # Errors
    /// The cluster gave no answer, or the group may not be asked. One partition that cannot be told of fails the whole.
    pub fn lag(&mut self, places: &[Place]) -> Result<GroupLag, Error> {
        if places.is_empty() {
            return Ok(GroupLag::default());
        }
        // The offsets first: an end that is asked for later is never before what was committed.
        let committed = self.committed(places)?;
        let ends = ends::ask(&self.consumer, places, self.timeout)?;
        let mut lag = GroupLag {
            exact: true,
            ..GroupLag::default()
        };
        let mut spans = Vec::new();
        for ((place, committed), Offset(end)) in places.iter().zip(committed).zip(ends) {
            match committed {
                None if end == 0 => {}
                None => lag.uncommitted.push(place.clone()),
                Some(from) if from > end => lag.beyond.push(place.clone()),
                Some(from) => spans.push((place.clone(), from, end)),
            }
        }
        if spans.iter().map(|(_, from, end)| end - from).sum::<i64>() > COUNTED {
            lag.exact = false;
            lag.entries = spans.iter().map(|(_, from, end)| end.abs_diff(*from)).sum();
            return Ok(lag);
        }
        lag.entries = self.count(&spans)?;
        Ok(lag)
    }

    fn committed(&self, places: &[Place]) -> Result<Vec<Option<i64>>, Error> {
        let failed = |error| {
            let error = Error::of("ask for a group's offsets", error);
            self.consumer.context().explain(error)
        };
        let mut asked = TopicPartitionList::with_capacity(places.len());
        for (topic, partition) in places {
            asked.add_partition(topic.as_str(), partition.0);
        }
        let answered = self
            .consumer
            .committed_offsets(asked, self.timeout)
            .map_err(failed)?;
        places
            .iter()
            .map(|(topic, partition)| {
                let Some(found) = answered.find_partition(topic.as_str(), partition.0) else {
                    return Ok(None);
                };
                found.error().map_err(failed)?;
                Ok(match found.offset() {
                    ListOffset::Offset(offset) => Some(offset),
                    _ => None,
                })
            })
            .collect()
    }

    /// Reads the spans that have changed since they were counted last.
    fn count(&mut self, spans: &[(Place, i64, i64)]) -> Result<u64, Error> {
        let mut unread: HashMap<&Topic, Vec<Stretch>> = HashMap::new();
        let mut known = HashMap::new();
        for (place, from, end) in spans {
            let before = self.known.get(place);
            let counted = match before {
                Some((f, e, counted)) if (f, e) == (from, end) => *counted,
                _ => {
                    if from < end {
                        unread.entry(&place.0).or_default().push(Stretch {
                            partition: place.1,
                            from: From::Offset(Offset(*from)),
                            to: Some(Offset(*end)),
                        });
                    }
                    0
                }
            };
            known.insert(place.clone(), (*from, *end, counted));
        }
        for (topic, stretches) in unread {
            read_stretches(&self.kafka, topic, &stretches, self.timeout, |record| {
                if let Some(span) = known.get_mut(&(topic.clone(), record.partition)) {
                    span.2 += 1;
                }
                ControlFlow::Continue(())
            })?;
        }
        self.known = known;
        Ok(self.known.values().map(|(_, _, counted)| counted).sum())
    }
}
