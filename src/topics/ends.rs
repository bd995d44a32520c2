//! Where partitions hold records whose transaction is not decided: between the last stable offset and the end.
//!
//! While transactions run that is nothing unusual. What stays undecided although its producer has been initialised anew
//! has no one who will decide it.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset as ListOffset, TopicPartitionList};

use super::closing::Closing;
use super::error::Error;
use super::kafka::{Consumer, Kafka};
use super::reader::{Committed, client};
use crate::placement::{Offset, Partition, Topic};

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A stretch of a partition with records that are not decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    pub topic: Topic,
    pub partition: Partition,
    /// The last stable offset.
    pub from: Offset,
    /// The partition's end, as it was when first asked for.
    pub end: Offset,
}

/// Asks for the ends of partitions. Blocking.
pub struct Ends {
    committed: Committed,
    all: Closing<Consumer>,
}

impl Ends {
    /// # Errors
    /// A client cannot be made.
    pub fn new(kafka: &Kafka, timeout: Duration) -> Result<Self, Error> {
        Ok(Self {
            committed: Committed::new(kafka, timeout)?,
            all: client(kafka, &kafka.consumer_of_all())?,
        })
    }

    /// The client of the two that sees what was committed.
    #[must_use]
    pub const fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Those of the partitions that hold something undecided.
    ///
    /// # Errors
    /// A partition without a leader fails the whole: what it holds cannot be told.
    pub fn undecided(&self, places: &[(Topic, Partition)]) -> Result<Vec<Undecided>, Error> {
        // The end first: what is decided meanwhile is then not taken for undecided.
        let ends = ask(&self.all, places, self.committed.timeout)?;
        let stable = self.stable(places)?;
        let both = places.iter().zip(stable).zip(ends);
        Ok(both
            .filter(|((_, stable), end)| stable < end)
            .map(|(((topic, partition), from), end)| Undecided {
                topic: topic.clone(),
                partition: *partition,
                from,
                end,
            })
            .collect())
    }

    /// Waits until the stretches are decided, or so long; leaves those that are not.
    ///
    /// # Errors
    /// As [`undecided`](Self::undecided).
    pub fn wait(&self, stretches: &mut Vec<Undecided>, within: Duration) -> Result<(), Error> {
        let until = Instant::now() + within;
        while !stretches.is_empty() && Instant::now() < until {
            thread::sleep(LOOK_AGAIN);
            self.narrow(stretches)?;
        }
        Ok(())
    }

    /// Drops the stretches that are decided by now, and shortens the others.
    ///
    /// # Errors
    /// As [`undecided`](Self::undecided).
    pub fn narrow(&self, stretches: &mut Vec<Undecided>) -> Result<(), Error> {
        let places: Vec<_> = stretches
            .iter()
            .map(|stretch| (stretch.topic.clone(), stretch.partition))
            .collect();
        let stable = self.stable(&places)?;
        for (stretch, stable) in stretches.iter_mut().zip(stable) {
            stretch.from = stable;
        }
        stretches.retain(|stretch| stretch.from < stretch.end);
        Ok(())
    }

    fn stable(&self, places: &[(Topic, Partition)]) -> Result<Vec<Offset>, Error> {
        ask(&self.committed.consumer, places, self.committed.timeout)
    }
}

/// The end of each partition as this consumer's isolation shows it, in one request to each leader. One that cannot be told of
/// fails the whole.
pub(super) fn ask(
    consumer: &Consumer,
    places: &[(Topic, Partition)],
    timeout: Duration,
) -> Result<Vec<Offset>, Error> {
    ask_each(consumer, places, timeout)?.into_iter().collect()
}

/// The same, with an answer or an error for each partition.
///
/// # Errors
/// There is no answer for any of them.
pub(super) fn ask_each(
    consumer: &Consumer,
    places: &[(Topic, Partition)],
    timeout: Duration,
) -> Result<Vec<Result<Offset, Error>>, Error> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error| {
        let error = Error::of("ask for the ends of partitions", error);
        consumer.context().explain(error)
    };
    let mut asked = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        asked
            .add_partition_offset(topic.as_str(), partition.0, ListOffset::End)
            .map_err(failed)?;
    }
    let answered = consumer.offsets_for_times(asked, timeout).map_err(failed)?;
    let ends = places.iter().map(|(topic, partition)| {
        let found = answered.find_partition(topic.as_str(), partition.0);
        let missing = || Error::PartitionMissing {
            topic: topic.clone(),
            partition: *partition,
            local: false,
        };
        let found = found.ok_or_else(missing)?;
        found
            .error()
            .map_err(|error| Error::on_topic("ask for an end", error, topic, Some(*partition)))?;
        match found.offset() {
            ListOffset::Offset(offset) => Ok(Offset(offset)),
            _ => Err(missing()),
        }
    });
    Ok(ends.collect())
}
