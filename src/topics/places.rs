//! Which partitions the topics have that a writer writes to: asked once a topic, remembered while it writes.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::error::Error;
use crate::placement::{Partition, Topic};

/// How long asking for a topic's partitions may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Numbers of partitions by topic.
#[derive(Default)]
pub(super) struct Places {
    counts: HashMap<Topic, i32>,
    /// The topic of the last record: most follow one of their own topic.
    last: Option<(Topic, i32)>,
}

impl Places {
    /// # Errors
    /// With `local` set: there is no such topic, or no such partition.
    pub(super) fn check<C: ClientContext>(
        &mut self,
        topic: &Topic,
        partition: Partition,
        client: &Client<C>,
    ) -> Result<(), Error> {
        let count = match &self.last {
            Some((last, count)) if last == topic => *count,
            _ => self.count(topic, client)?,
        };
        if (0..count).contains(&partition.0) {
            return Ok(());
        }
        // Partitions may have been added since.
        self.counts.remove(topic);
        self.last = None;
        if (0..self.count(topic, client)?).contains(&partition.0) {
            return Ok(());
        }
        Err(Error::PartitionMissing {
            topic: topic.clone(),
            partition,
            local: true,
        })
    }

    fn count<C: ClientContext>(&mut self, topic: &Topic, client: &Client<C>) -> Result<i32, Error> {
        let count = match self.counts.get(topic) {
            Some(count) => *count,
            None => {
                let count = ask(topic, client)?;
                self.counts.insert(topic.clone(), count);
                count
            }
        };
        self.last = Some((topic.clone(), count));
        Ok(count)
    }
}

/// Asks the cluster how many partitions a topic has.
pub(super) fn ask<C: ClientContext>(topic: &Topic, client: &Client<C>) -> Result<i32, Error> {
    let name = topic.as_str();
    let failed = |error| Error::on_topic("ask for a topic's partitions", error, topic, None);
    let metadata = client.fetch_metadata(Some(name), TIMEOUT).map_err(failed)?;
    let found = metadata.topics().iter().find(|found| found.name() == name);
    let error = found.and_then(|found| found.error()).map(Code::from);
    let count = found.map_or(0, |found| found.partitions().len());
    match error {
        None | Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) if count == 0 => {
            Err(Error::TopicMissing {
                topic: topic.clone(),
                local: true,
            })
        }
        Some(error) if count == 0 => Err(failed(KafkaError::MetadataFetch(error))),
        _ => Ok(i32::try_from(count).unwrap_or(i32::MAX)),
    }
}
