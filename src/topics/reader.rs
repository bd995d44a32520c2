//! Reads what was committed to a partition, from a place until the end as it was when asked.
//!
//! The end is asked for when the call is made (the last stable offset: everything before it is decided) and reading goes on
//! until it is reached. The last offset is usually a transaction marker, which is never delivered; so the end is where
//! the client reports the partition's end, not where the last record is.
//!
//! Memory is bounded by the client's queue (4 MiB over all partitions, and what is on its way) and by one record.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message};
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};

use super::closing::Closing;
use super::error::Error;
use super::kafka::{Consumer, Kafka};
use crate::placement::{Offset, Partition, Topic};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At the first record that is still there.
    Beginning,
    /// At this offset, or at the first after it that is still there.
    Offset(Offset),
    /// At or before the first record with this timestamp (ms since 1970) or a later one, never after it. Before it, because
    /// a transaction marker carries the time of its commit, and the broker's index does not tell markers from records.
    TimeMs(i64),
}

/// What is read of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub partition: Partition,
    pub from: From,
    /// Nothing at or behind this offset; `None`: up to the end as it is when reading begins.
    pub to: Option<Offset>,
}

/// Where a partition's log begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bounds {
    pub partition: Partition,
    /// The first offset that is still there; above 0 where retention, or somebody, has removed records.
    pub low: Offset,
    /// The last stable offset: everything before it is decided.
    pub end: Offset,
}

/// A record as it was read.
pub struct RecordView<'a> {
    pub partition: Partition,
    pub offset: Offset,
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: Option<&'a BorrowedHeaders>,
}

impl<'a> RecordView<'a> {
    fn of(message: &'a BorrowedMessage<'_>) -> Self {
        Self {
            partition: Partition(message.partition()),
            offset: Offset(message.offset()),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: message.headers(),
        }
    }

    /// A record that nobody read, without headers.
    #[cfg(test)]
    pub const fn unnamed(partition: Partition, offset: Offset, timestamp_ms: i64) -> Self {
        Self {
            partition,
            offset,
            timestamp_ms: Some(timestamp_ms),
            key: None,
            value: None,
            headers: None,
        }
    }

    /// The value of the last header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let headers = self.headers?;
        (0..headers.count())
            .rev()
            .filter_map(|index| header(headers, index))
            .find(|(found, _)| *found == name)
            .and_then(|(_, value)| value)
    }

    /// All headers in their order. One whose name is no UTF-8 is there as U+FFFD, without its value: that it is
    /// there must not be hidden from who compares.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let headers = self.headers;
        (0..headers.map_or(0, |headers| headers.count())).filter_map(move |index| {
            let found = header(headers?, index);
            Some(found.unwrap_or((UNREADABLE_NAME, None)))
        })
    }
}

/// Stands for the name of a header that is no UTF-8.
const UNREADABLE_NAME: &str = "\u{fffd}";

/// rdkafka panics over a header's name that is no UTF-8; a stranger's record must not stop its reader.
fn header(headers: &BorrowedHeaders, index: usize) -> Option<(&str, Option<&[u8]>)> {
    let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok()??;
    Some((header.key, header.value))
}

/// Reads one partition; answers the position after its end. `timeout` is the longest wait without progress.
///
/// # Errors
/// What was read before the error has been handed to `each`.
pub fn read_partition(
    kafka: &Kafka,
    topic: &Topic,
    partition: Partition,
    from: From,
    timeout: Duration,
    mut each: impl FnMut(&RecordView<'_>),
) -> Result<Offset, Error> {
    let ends = read_partitions(kafka, topic, &[(partition, from)], timeout, |record| {
        each(record);
        ControlFlow::Continue(())
    })?;
    Ok(ends.first().map_or(Offset(0), |(_, end)| *end))
}

/// Reads several partitions of a topic with one client, each from its own place to its own end; records of one partition
/// come in order, partitions interleave. Answers each partition's position: after its end, or where `each` broke off.
///
/// # Errors
/// As [`read_partition`].
pub fn read_partitions(
    kafka: &Kafka,
    topic: &Topic,
    starts: &[(Partition, From)],
    timeout: Duration,
    each: impl FnMut(&RecordView<'_>) -> ControlFlow<()>,
) -> Result<Vec<(Partition, Offset)>, Error> {
    read_stretches(kafka, topic, &to_the_end(starts), timeout, each)
}

/// The same for all records, also those that were aborted or are not decided.
///
/// # Errors
/// As [`read_partition`].
pub fn read_undecided(
    kafka: &Kafka,
    topic: &Topic,
    starts: &[(Partition, From)],
    timeout: Duration,
    each: impl FnMut(&RecordView<'_>) -> ControlFlow<()>,
) -> Result<Vec<(Partition, Offset)>, Error> {
    let consumer = client(kafka, &kafka.consumer_of_all())?;
    Reading::new(&consumer, topic, timeout).all(&to_the_end(starts), each)
}

fn to_the_end(starts: &[(Partition, From)]) -> Vec<Stretch> {
    let stretches = starts.iter().map(|&(partition, from)| Stretch {
        partition,
        from,
        to: None,
    });
    stretches.collect()
}

/// Where each of these partitions begins and ends now.
///
/// # Errors
/// The topic or a partition does not exist, or the cluster gave no answer.
pub fn bounds(
    kafka: &Kafka,
    topic: &Topic,
    partitions: &[Partition],
    timeout: Duration,
) -> Result<Vec<Bounds>, Error> {
    let consumer = client(kafka, &kafka.consumer())?;
    let reading = Reading::new(&consumer, topic, timeout);
    reading.check(partitions.iter().copied())?;
    partitions
        .iter()
        .map(|&partition| {
            let (low, end) = reading.watermarks(partition)?;
            Ok(Bounds {
                partition,
                low: Offset(low),
                end: Offset(end),
            })
        })
        .collect()
}

/// In each of these partitions the first offset at or before the first record of this time (ms since 1970) or a later one;
/// `None`: no record is as late.
///
/// # Errors
/// As [`bounds`].
pub fn offsets_at(
    kafka: &Kafka,
    topic: &Topic,
    partitions: &[Partition],
    time_ms: i64,
    timeout: Duration,
) -> Result<Vec<(Partition, Option<Offset>)>, Error> {
    let consumer = client(kafka, &kafka.consumer())?;
    let reading = Reading::new(&consumer, topic, timeout);
    reading.check(partitions.iter().copied())?;
    partitions
        .iter()
        .map(|&partition| {
            Ok((
                partition,
                reading.offset_of(partition, time_ms)?.map(Offset),
            ))
        })
        .collect()
}

/// As [`read_partitions`], each partition up to where its stretch says.
///
/// # Errors
/// As [`read_partition`].
pub fn read_stretches(
    kafka: &Kafka,
    topic: &Topic,
    stretches: &[Stretch],
    timeout: Duration,
    each: impl FnMut(&RecordView<'_>) -> ControlFlow<()>,
) -> Result<Vec<(Partition, Offset)>, Error> {
    let consumer = client(kafka, &kafka.consumer())?;
    Reading::new(&consumer, topic, timeout).all(stretches, each)
}

/// A client that sees what was committed, for one reading after another.
pub struct Committed {
    pub(super) consumer: Closing<Consumer>,
    pub(super) timeout: Duration,
}

impl Committed {
    /// `timeout` is the longest wait without progress.
    ///
    /// # Errors
    /// A client cannot be made.
    pub fn new(kafka: &Kafka, timeout: Duration) -> Result<Self, Error> {
        Ok(Self {
            consumer: client(kafka, &kafka.consumer())?,
            timeout,
        })
    }

    /// As [`read_partitions`].
    ///
    /// # Errors
    /// As [`read_partition`].
    pub fn read(
        &self,
        topic: &Topic,
        starts: &[(Partition, From)],
        each: impl FnMut(&RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<(Partition, Offset)>, Error> {
        let reading = Reading::new(&self.consumer, topic, self.timeout);
        let read = reading.all(&to_the_end(starts), each);
        // Or it goes on fetching. Where that fails, the next assignment takes its place.
        let _ = self.consumer.unassign();
        read
    }
}

/// A consumer for as long as it is needed; nobody waits for its end.
pub(super) fn client(kafka: &Kafka, config: &ClientConfig) -> Result<Closing<Consumer>, Error> {
    config
        .create_with_context(kafka.context())
        .map(Closing::new)
        .map_err(|error| Error::of("create a consumer", error))
}

/// What is left to read of a partition.
struct Span {
    partition: Partition,
    next: i64,
    end: i64,
}

impl Span {
    const fn is_open(&self) -> bool {
        self.next < self.end
    }
}

struct Reading<'a> {
    consumer: &'a Consumer,
    topic: &'a Topic,
    timeout: Duration,
}

impl<'a> Reading<'a> {
    const fn new(consumer: &'a Consumer, topic: &'a Topic, timeout: Duration) -> Self {
        Self {
            consumer,
            topic,
            timeout,
        }
    }

    fn all(
        &self,
        stretches: &[Stretch],
        mut each: impl FnMut(&RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<(Partition, Offset)>, Error> {
        let mut spans = self.spans(stretches)?;
        if spans.iter().any(Span::is_open) {
            self.assign(&spans)?;
            self.run(&mut spans, &mut each)?;
        }
        Ok(spans
            .into_iter()
            .map(|span| (span.partition, Offset(span.next)))
            .collect())
    }

    fn spans(&self, stretches: &[Stretch]) -> Result<Vec<Span>, Error> {
        self.check(stretches.iter().map(|stretch| stretch.partition))?;
        stretches.iter().map(|stretch| self.span(stretch)).collect()
    }

    /// A missing topic or partition is told at once, and not after the timeout.
    fn check(&self, partitions: impl IntoIterator<Item = Partition>) -> Result<(), Error> {
        let name = self.topic.as_str();
        let metadata = self
            .consumer
            .fetch_metadata(Some(name), self.timeout)
            .map_err(|error| self.explain(error, None))?;
        let found = metadata.topics().iter().find(|found| found.name() == name);
        if let Some(error) = found.and_then(|found| found.error()) {
            return Err(self.explain(KafkaError::MetadataFetch(error.into()), None));
        }
        let count = found.map_or(0, |found| found.partitions().len());
        if count == 0 {
            return Err(Error::TopicMissing {
                topic: self.topic.clone(),
                local: false,
            });
        }
        match partitions
            .into_iter()
            .find(|partition| usize::try_from(partition.0).map_or(true, |p| p >= count))
        {
            None => Ok(()),
            Some(partition) => Err(Error::PartitionMissing {
                topic: self.topic.clone(),
                partition,
                local: false,
            }),
        }
    }

    fn watermarks(&self, partition: Partition) -> Result<(i64, i64), Error> {
        self.consumer
            .fetch_watermarks(self.topic.as_str(), partition.0, self.timeout)
            .map_err(|error| self.explain(error, Some(partition)))
    }

    fn span(&self, stretch: &Stretch) -> Result<Span, Error> {
        let partition = stretch.partition;
        // The beginning is asked for first: what is deleted meanwhile only makes the span longer than needed.
        let (low, end) = self.watermarks(partition)?;
        let end = stretch.to.map_or(end, |to| end.min(to.0));
        let next = match stretch.from {
            From::Beginning => low,
            From::Offset(offset) => offset.0.max(low),
            From::TimeMs(time) => self.offset_of(partition, time)?.unwrap_or(end),
        };
        Ok(Span {
            partition,
            next,
            end,
        })
    }

    fn offset_of(&self, partition: Partition, time_ms: i64) -> Result<Option<i64>, Error> {
        let failed = |error| self.explain(error, Some(partition));
        let mut times = TopicPartitionList::with_capacity(1);
        times
            .add_partition_offset(
                self.topic.as_str(),
                partition.0,
                ListOffset::Offset(time_ms),
            )
            .map_err(failed)?;
        let found = self
            .consumer
            .offsets_for_times(times, self.timeout)
            .map_err(failed)?;
        let elements = found.elements();
        let Some(element) = elements.first() else {
            return Ok(None);
        };
        element.error().map_err(failed)?;
        Ok(match element.offset() {
            ListOffset::Offset(offset) => Some(offset),
            _ => None,
        })
    }

    fn assign(&self, spans: &[Span]) -> Result<(), Error> {
        let mut list = TopicPartitionList::with_capacity(spans.len());
        for span in spans.iter().filter(|span| span.is_open()) {
            list.add_partition_offset(
                self.topic.as_str(),
                span.partition.0,
                ListOffset::Offset(span.next),
            )
            .map_err(|error| Error::of("assign", error))?;
        }
        self.consumer
            .assign(&list)
            .map_err(|error| Error::of("assign", error))
    }

    fn run(
        &self,
        spans: &mut [Span],
        each: &mut impl FnMut(&RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut open = spans.iter().filter(|span| span.is_open()).count();
        let mut progress = Instant::now();
        while open > 0 {
            let (partition, ended) = match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let partition = Partition(message.partition());
                    let Some(span) = find(spans, partition).filter(|span| span.is_open()) else {
                        continue;
                    };
                    let within = message.offset() < span.end;
                    span.next = (message.offset() + 1).min(span.end);
                    if within && each(&RecordView::of(&message)).is_break() {
                        return Ok(());
                    }
                    (partition, false)
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => (Partition(partition), true),
                Some(Err(error)) => {
                    self.check_fatal(error)?;
                    continue;
                }
                None if progress.elapsed() > self.timeout => {
                    return Err(self.explain(
                        KafkaError::MessageConsumption(Code::OperationTimedOut),
                        None,
                    ));
                }
                None => continue,
            };
            progress = Instant::now();
            let Some(span) = find(spans, partition) else {
                continue;
            };
            if ended && span.is_open() {
                let position = self.position(partition).unwrap_or(span.end);
                if position < span.end {
                    // The log is shorter than it was when asked: a leader changed. Its end comes again.
                    continue;
                }
                span.next = position.min(span.end);
                open -= 1;
            } else if !ended && !span.is_open() {
                open -= 1;
            } else {
                continue;
            }
            if open > 0 {
                self.pause(partition);
            }
        }
        Ok(())
    }

    /// The position behind the last record or marker. A marker is not delivered, but counted.
    fn position(&self, partition: Partition) -> Option<i64> {
        let positions = self.consumer.position().ok()?;
        let found = positions.find_partition(self.topic.as_str(), partition.0)?;
        match found.offset() {
            ListOffset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// A partition read to its end is not fetched further while the others are.
    fn pause(&self, partition: Partition) {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(self.topic.as_str(), partition.0);
        // Failing to pause costs bandwidth, not correctness.
        let _ = self.consumer.pause(&list);
    }

    /// librdkafka goes on by itself after most errors; these it does not.
    fn check_fatal(&self, error: KafkaError) -> Result<(), Error> {
        let fatal = matches!(
            error.rdkafka_error_code(),
            Some(
                Code::TopicAuthorizationFailed
                    | Code::UnknownTopicOrPartition
                    | Code::UnknownTopic
                    | Code::UnknownPartition
                    | Code::Fatal
            )
        ) || matches!(error, KafkaError::MessageConsumptionFatal(_));
        if fatal {
            return Err(self.explain(error, None));
        }
        Ok(())
    }

    fn explain(&self, error: KafkaError, partition: Option<Partition>) -> Error {
        // Log lines and errors wait in the queue until it is polled.
        for _ in 0..100 {
            if self.consumer.poll(Duration::ZERO).is_none() {
                break;
            }
        }
        self.consumer
            .context()
            .explain(Error::on_topic("read", error, self.topic, partition))
    }
}

fn find(spans: &mut [Span], partition: Partition) -> Option<&mut Span> {
    spans.iter_mut().find(|span| span.partition == partition)
}
