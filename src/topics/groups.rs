//! How far a consumer group of the application is behind, in entries and in time.
//!
//! Offsets alone would say too much: a transaction's marker takes an offset and is no entry, so that behind a transactional
//! writer every partition would lag by one for ever. So what lies between a group's committed offset and the log's end is read
//! and counted, as long as it is short; above that the span is given, which the lag does not exceed, and of each partition only
//! the first records are read, for their time.
//!
//! Nothing joins the group and nothing is committed: it is asked for its offsets, as any of its members may ask.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};

use super::closing::Closing;
use super::ends;
use super::error::Error;
use super::kafka::{Consumer, Kafka};
use super::reader::{From, Stretch, read_stretches};
use crate::placement::{Offset, Partition, Topic};

/// Up to so many offsets are read to be counted.
const COUNTED: i64 = 20_000;
/// Above that so many of each partition, of which some are markers, tell how old the first record is.
const HEAD: i64 = 16;

/// The state of a group that its coordinator does not know.
const UNKNOWN: &str = "Dead";

type Place = (Topic, Partition);

/// Looks at one group. Its calls block.
pub struct Group {
    kafka: Kafka,
    name: String,
    consumer: Closing<Consumer>,
    timeout: Duration,
    /// What was read at the last look.
    known: HashMap<Place, Span>,
}

/// What lies between two offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: i64,
    to: i64,
    entries: u64,
    oldest_ms: Option<i64>,
}

impl Span {
    const fn unread(from: i64, to: i64) -> Self {
        Self {
            from,
            to,
            entries: 0,
            oldest_ms: None,
        }
    }

    const fn len(&self) -> i64 {
        self.to - self.from
    }

    fn head(self) -> Self {
        Self::unread(self.from, self.to.min(self.from + HEAD))
    }
}

/// How far a group is behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupLag {
    /// Over the partitions with a committed offset.
    pub entries: u64,
    /// Whether it was counted; otherwise it is at most that.
    pub exact: bool,
    /// The time (ms since 1970) of the oldest record among them, as its writer dated it; `None`: there is none, or it was not
    /// found.
    pub oldest_ms: Option<i64>,
    /// Partitions that hold something, and on which the group has committed nothing: how far it is behind there is not known.
    pub uncommitted: Vec<Place>,
    /// Partitions that end before the committed offset: they are others than those that it was committed for.
    pub beyond: Vec<Place>,
    /// Partitions that could not be told of, such as one without a leader, and why.
    pub unread: Vec<(Place, String)>,
}

impl GroupLag {
    /// What offsets and ends tell, with the spans that are to be read.
    fn told(
        places: &[Place],
        committed: Vec<Result<Option<i64>, Error>>,
        ends: Vec<Result<Offset, Error>>,
    ) -> (Self, Vec<(Place, Span)>) {
        let mut lag = Self {
            exact: true,
            ..Self::default()
        };
        let mut spans = Vec::new();
        for ((place, committed), end) in places.iter().zip(committed).zip(ends) {
            match (committed, end) {
                (Err(error), _) | (_, Err(error)) => {
                    lag.unread.push((place.clone(), error.to_string()));
                }
                (Ok(None), Ok(Offset(0))) => {}
                (Ok(None), Ok(_)) => lag.uncommitted.push(place.clone()),
                (Ok(Some(from)), Ok(Offset(end))) if from > end => lag.beyond.push(place.clone()),
                (Ok(Some(from)), Ok(Offset(end))) => {
                    spans.push((place.clone(), Span::unread(from, end)));
                }
            }
        }
        let all: i64 = spans.iter().map(|(_, span)| span.len()).sum();
        if all > COUNTED {
            lag.exact = false;
            lag.entries = all.unsigned_abs();
            for (_, span) in &mut spans {
                *span = span.head();
            }
        }
        (lag, spans)
    }

    /// With what the spans held. Where they were read for their age alone, what is known is known without them.
    fn with(mut self, read: Result<&HashMap<Place, Span>, Error>) -> Result<Self, Error> {
        let read = match read {
            Ok(read) => read,
            Err(error) if self.exact => return Err(error),
            Err(_) => return Ok(self),
        };
        if self.exact {
            self.entries = read.values().map(|span| span.entries).sum();
        }
        // Where only heads were read, one of markers alone hides what comes behind it.
        let hidden = |span: &Span| !self.exact && span.len() > 0 && span.entries == 0;
        if !read.values().any(hidden) {
            self.oldest_ms = read.values().filter_map(|span| span.oldest_ms).min();
        }
        Ok(self)
    }
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
    /// The cluster gave no answer, the group may not be asked, or what was to be counted could not be read.
    pub fn lag(&mut self, places: &[Place]) -> Result<GroupLag, Error> {
        if places.is_empty() {
            return Ok(GroupLag::default());
        }
        // The offsets first: an end that is asked for later is never before what was committed.
        let committed = self.committed(places)?;
        let (lag, spans) = GroupLag::told(places, committed, self.ends(places)?);
        let read = self.read(spans);
        lag.with(read.map(|()| &self.known))
    }

    /// How many members it has; `None`: its coordinator does not know it.
    ///
    /// # Errors
    /// A broker gave no answer, or the group may not be described.
    pub fn members(&self) -> Result<Option<u64>, Error> {
        let failed = |error| {
            let error = Error::of("ask for a group's members", error);
            self.consumer.context().explain(error)
        };
        let listed = self
            .consumer
            .fetch_group_list(Some(&self.name), self.timeout)
            .map_err(failed)?;
        let found = listed.groups().iter().find(|one| one.name() == self.name);
        let known = found.filter(|one| !one.state().is_empty() && one.state() != UNKNOWN);
        Ok(known.map(|one| one.members().len() as u64))
    }

    /// The end of each. Who leads a partition is remembered for long: where one cannot be told of, it is asked for anew, once.
    fn ends(&self, places: &[Place]) -> Result<Vec<Result<Offset, Error>>, Error> {
        let ask = || ends::ask_each(&self.consumer, places, self.timeout);
        let ends = ask();
        let lacks = |at: usize| ends.as_ref().map_or(true, |ends| ends[at].is_err());
        let lacking = places.iter().enumerate().filter(|(at, _)| lacks(*at));
        let topics: BTreeSet<&Topic> = lacking.map(|(_, (topic, _))| topic).collect();
        if topics.is_empty() {
            return ends;
        }
        for topic in topics {
            let asked = self
                .consumer
                .fetch_metadata(Some(topic.as_str()), self.timeout);
            if asked.is_err() {
                return ends;
            }
        }
        ask()
    }

    fn committed(&self, places: &[Place]) -> Result<Vec<Result<Option<i64>, Error>>, Error> {
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
        let committed = places.iter().map(|(topic, partition)| {
            let Some(found) = answered.find_partition(topic.as_str(), partition.0) else {
                return Ok(None);
            };
            found.error().map_err(failed)?;
            Ok(match found.offset() {
                ListOffset::Offset(offset) => Some(offset),
                _ => None,
            })
        });
        Ok(committed.collect())
    }

    /// Reads the spans that have changed since they were read last.
    fn read(&mut self, spans: Vec<(Place, Span)>) -> Result<(), Error> {
        let mut unread: HashMap<Topic, Vec<Stretch>> = HashMap::new();
        let mut known = HashMap::new();
        for (place, span) in spans {
            let before = self.known.get(&place).copied();
            let same = before.filter(|before| (before.from, before.to) == (span.from, span.to));
            if same.is_none() && span.len() > 0 {
                unread.entry(place.0.clone()).or_default().push(Stretch {
                    partition: place.1,
                    from: From::Offset(Offset(span.from)),
                    to: Some(Offset(span.to)),
                });
            }
            known.insert(place, same.unwrap_or(span));
        }
        for (topic, stretches) in unread {
            read_stretches(&self.kafka, &topic, &stretches, self.timeout, |record| {
                if let Some(span) = known.get_mut(&(topic.clone(), record.partition)) {
                    span.entries += 1;
                    let older = [span.oldest_ms, record.timestamp_ms];
                    span.oldest_ms = older.into_iter().flatten().min();
                }
                ControlFlow::Continue(())
            })?;
        }
        self.known = known;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32) -> Place {
        (Topic::from("t"), Partition(partition))
    }

    fn silent() -> Error {
        Error::Timeout {
            what: "ask for an end",
            cause: "it has no leader".to_owned(),
        }
    }

    #[test]
    fn a_partition_that_cannot_be_told_of_hides_no_other() {
        let places = [0, 1, 2, 3].map(place);
        let committed = vec![Ok(Some(5)), Err(silent()), Ok(Some(9)), Ok(None)];
        let ends = vec![
            Ok(Offset(30_000)),
            Ok(Offset(4)),
            Err(silent()),
            Ok(Offset(0)),
        ];
        let (lag, spans) = GroupLag::told(&places, committed, ends);
        assert_eq!((lag.entries, lag.exact), (29_995, false));
        let unread = lag.unread.iter();
        let unread: Vec<_> = unread
            .map(|(place, why)| (place, why.contains("no leader")))
            .collect();
        assert_eq!(unread, [(&places[1], true), (&places[2], true)]);
        assert_eq!(spans, [(place(0), Span::unread(5, 5 + HEAD))]);
    }

    #[test]
    fn a_bound_that_is_known_is_not_lost_with_the_age_that_could_not_be_read() {
        let lag = |end| {
            let (lag, _) = GroupLag::told(&[place(0)], vec![Ok(Some(0))], vec![Ok(Offset(end))]);
            lag.with(Err(silent()))
        };
        let bound = lag(COUNTED + 1).expect("it is known");
        assert_eq!((bound.entries, bound.oldest_ms), (20_001, None));
        assert!(lag(COUNTED).is_err(), "it was to be counted");
    }
}
