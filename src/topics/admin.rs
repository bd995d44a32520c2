//! Topics as they are, and making them.
//!
//! Nothing here changes a topic that exists but for [`Admin::add_partitions`], which is called by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::error::Error;
use super::kafka::{Context, Kafka};
use super::spec::TopicSpec;
use crate::placement::Topic;

/// Longest wait for one answer of the cluster.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Above this many topics one question for all of them costs less than one for each.
const TOPICS_ASKED_SINGLY: usize = 8;

/// An administrator. Make one when it is needed: its complaints wait in memory while it lives.
pub struct Admin {
    client: Arc<AdminClient<Context>>,
}

/// A broker of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub host: String,
    pub port: i32,
}

/// The cluster as its metadata has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Those that are up.
    pub brokers: Vec<Broker>,
    /// Those that hold replicas and are not up, as far as this user sees the topics.
    pub away: BTreeSet<i32>,
    /// All that this user may see, without their settings.
    pub topics: BTreeMap<Topic, TopicState>,
}

/// A topic as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicState {
    /// By partition number.
    pub partitions: Vec<PartitionState>,
    /// Every setting that the brokers show, defaults included.
    pub settings: BTreeMap<String, Setting>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// `None`: the partition is offline.
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub value: Option<String>,
    pub is_default: bool,
}

impl Cluster {
    /// With how many brokers to reckon for the replicas of a topic that is made now.
    ///
    /// # Errors
    /// [`Error::TooFewBrokers`] while brokers are away that would have made a difference: the topic would keep the fewer
    /// replicas when they are back.
    pub fn brokers_for_replicas(&self) -> Result<usize, Error> {
        let up = self.brokers.len();
        if up >= TopicSpec::USUAL_REPLICAS || self.away.is_empty() {
            return Ok(up);
        }
        let away: Vec<String> = self.away.iter().map(ToString::to_string).collect();
        Err(Error::TooFewBrokers {
            cause: format!(
                "{up} of {} are up, broker {} is away, and a topic made now would have {up} replicas for good; bring it back, or set \
                 kafka.replication_factor",
                up + away.len(),
                away.join(", ")
            ),
        })
    }
}

impl PartitionState {
    /// Or has no leader.
    #[must_use]
    pub fn lacks_a_replica(&self) -> bool {
        self.leader.is_none() || self.in_sync.len() < self.replicas.len()
    }

    /// Whether it takes a record that waits for every replica, where its topic wants so many in sync. Kafka wants no more than
    /// there are replicas at all.
    #[must_use]
    pub fn takes_records(&self, wanted: usize) -> bool {
        self.leader.is_some() && self.in_sync.len() >= wanted.min(self.replicas.len())
    }
}

impl TopicState {
    /// How many replicas in sync it wants before it takes a record; `None`: the brokers do not show it.
    #[must_use]
    pub fn wanted_in_sync(&self) -> Option<usize> {
        let setting = self.settings.get("min.insync.replicas")?;
        setting.value.as_deref()?.parse().ok()
    }

    #[must_use]
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// Replicas of the partition that has the fewest.
    #[must_use]
    pub fn replication(&self) -> u16 {
        self.partitions
            .iter()
            .map(|partition| u16::try_from(partition.replicas.len()).unwrap_or(u16::MAX))
            .min()
            .unwrap_or(0)
    }
}

impl Admin {
    /// # Errors
    /// [`Error::Config`].
    pub fn new(kafka: &Kafka) -> Result<Self, Error> {
        let client = kafka
            .administrator()
            .create_with_context(kafka.context())
            .map_err(|error| Error::of("create an administrator", error))?;
        Ok(Self {
            client: Arc::new(client),
        })
    }

    /// The brokers that are up.
    ///
    /// # Errors
    /// The cluster gave no answer.
    pub async fn brokers(&self) -> Result<Vec<Broker>, Error> {
        Ok(self.cluster().await?.brokers)
    }

    /// Whether the cluster answers: asks for one topic, there or not.
    ///
    /// # Errors
    /// The cluster gave no answer.
    pub async fn answers(&self, topic: &Topic) -> Result<(), Error> {
        self.metadata(Some(topic.clone())).await.map(drop)
    }

    /// The second argument of [`TopicSpec::for_cluster`], whose first is `configured`.
    ///
    /// # Errors
    /// The cluster gave no answer; as [`Cluster::brokers_for_replicas`], where nothing is configured.
    pub async fn brokers_for_replicas(&self, configured: Option<u16>) -> Result<usize, Error> {
        let cluster = self.cluster().await?;
        match configured {
            Some(_) => Ok(cluster.brokers.len()),
            None => cluster.brokers_for_replicas(),
        }
    }

    /// The brokers that are up, and how the partitions of all topics stand that this user may see.
    ///
    /// # Errors
    /// The cluster gave no answer.
    pub async fn cluster(&self) -> Result<Cluster, Error> {
        let metadata = self.metadata(None).await?;
        let brokers = metadata.brokers().iter().map(|broker| Broker {
            id: broker.id(),
            host: broker.host().to_owned(),
            port: broker.port(),
        });
        let brokers: Vec<Broker> = brokers.collect();
        let topics = metadata.topics().iter();
        let topics: BTreeMap<Topic, TopicState> = topics
            .map(|topic| (Topic::from(topic.name()), state(topic)))
            .collect();
        let partitions = topics.values().flat_map(|topic| &topic.partitions);
        let mut away: BTreeSet<i32> = partitions
            .flat_map(|one| one.replicas.iter().copied())
            .collect();
        for broker in &brokers {
            away.remove(&broker.id);
        }
        Ok(Cluster {
            brokers,
            away,
            topics,
        })
    }

    /// The topics that exist of those asked for, with their settings.
    ///
    /// # Errors
    /// The cluster gave no answer, or does not let this user describe one of them.
    pub async fn describe(&self, topics: &[Topic]) -> Result<BTreeMap<Topic, TopicState>, Error> {
        let mut found = self.layouts(topics).await?;
        let names: Vec<Topic> = found.keys().cloned().collect();
        for (topic, settings) in self.settings(&names).await? {
            if let Some(state) = found.get_mut(&topic) {
                state.settings = settings;
            }
        }
        Ok(found)
    }

    /// The partitions of the topics that exist of those asked for, without their settings: one question where
    /// [`describe`](Self::describe) asks two.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    pub async fn layouts(&self, topics: &[Topic]) -> Result<BTreeMap<Topic, TopicState>, Error> {
        let mut found = BTreeMap::new();
        if topics.len() > TOPICS_ASKED_SINGLY {
            let metadata = self.metadata(None).await?;
            for topic in topics {
                found.extend(layout(&metadata, topic)?);
            }
        }
        // An answer about all topics leaves out those that this user may not describe: asked by name, Kafka says so.
        let unseen: Vec<&Topic> = topics
            .iter()
            .filter(|topic| !found.contains_key(*topic))
            .collect();
        for topic in unseen {
            let metadata = self.metadata(Some(topic.clone())).await?;
            found.extend(layout(&metadata, topic)?);
        }
        Ok(found)
    }

    /// Creates topics that do not exist, and waits until the cluster shows them. One that exists already, or that another
    /// instance creates at the same moment, is left as it is.
    ///
    /// # Errors
    /// The first that could not be created; those before and after it may exist.
    pub async fn create(&self, specs: &[TopicSpec]) -> Result<(), Error> {
        if specs.is_empty() {
            return Ok(());
        }
        let topics: Vec<NewTopic<'_>> = specs.iter().map(new_topic).collect();
        let results = self
            .client
            .create_topics(&topics, &options())
            .await
            .map_err(|error| self.failed("create topics", error))?;
        for result in results {
            match result {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((name, code)) => return Err(refused("create a topic", code, &name)),
            }
        }
        let names: Vec<Topic> = specs.iter().map(|spec| spec.name.clone()).collect();
        self.until(&names, |found| found.len() == names.len()).await
    }

    /// Raises a topic's number of partitions to `total`, and waits until the cluster shows them. Never lowers it. Keys move, where partitions are by hash.
    ///
    /// # Errors
    /// The cluster refused or gave no answer.
    pub async fn add_partitions(&self, topic: &Topic, total: u32) -> Result<(), Error> {
        let partitions = NewPartitions::new(topic.as_str(), total as usize);
        let results = self
            .client
            .create_partitions([&partitions], &options())
            .await
            .map_err(|error| self.failed("add partitions", error))?;
        if let Some(Err((name, code))) = results.into_iter().next() {
            return Err(refused("add partitions", code, &name));
        }
        self.until(std::slice::from_ref(topic), |found| {
            found.values().all(|state| state.partition_count() >= total)
        })
        .await
    }

    /// What one broker has accepted, another may not know yet.
    async fn until(
        &self,
        topics: &[Topic],
        settled: impl Fn(&BTreeMap<Topic, TopicState>) -> bool,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found = self.layouts(topics).await?;
            let led = |state: &TopicState| state.partitions.iter().all(|p| p.leader.is_some());
            if settled(&found) && found.values().all(led) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: "show a new topic or partition",
                    cause: format!("not all of {topics:?} are there"),
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn settings(
        &self,
        topics: &[Topic],
    ) -> Result<Vec<(Topic, BTreeMap<String, Setting>)>, Error> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<_> = topics
            .iter()
            .map(|topic| ResourceSpecifier::Topic(topic.as_str()))
            .collect();
        let answers = self
            .client
            .describe_configs(&asked, &options())
            .await
            .map_err(|error| self.failed("describe topics", error))?;
        answers
            .into_iter()
            .map(|answer| {
                let resource = answer.map_err(|code| refused("describe a topic", code, "?"))?;
                let OwnedResourceSpecifier::Topic(name) = resource.specifier else {
                    return Err(refused("describe a topic", Code::Unknown, "?"));
                };
                let settings = resource.entries.into_iter().map(|entry| {
                    let setting = Setting {
                        value: entry.value.filter(|_| !entry.is_sensitive),
                        is_default: entry.is_default,
                    };
                    (entry.name, setting)
                });
                Ok((Topic::from(name), settings.collect()))
            })
            .collect()
    }

    async fn metadata(&self, topic: Option<Topic>) -> Result<Metadata, Error> {
        let client = Arc::clone(&self.client);
        let asked = tokio::task::spawn_blocking(move || {
            client
                .inner()
                .fetch_metadata(topic.as_ref().map(Topic::as_str), TIMEOUT)
        });
        let answer = asked.await.unwrap_or(Err(KafkaError::Canceled));
        answer.map_err(|error| self.failed("ask for metadata", error))
    }

    fn failed(&self, what: &'static str, error: KafkaError) -> Error {
        self.client
            .inner()
            .context()
            .explain(Error::of(what, error))
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(TIMEOUT))
        .operation_timeout(Some(TIMEOUT))
}

fn new_topic(spec: &TopicSpec) -> NewTopic<'_> {
    // -1: the brokers' default. A spec that went through `for_cluster` has a number.
    let replication = spec.replication.map_or(-1, i32::from);
    let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
    spec.config.iter().fold(
        NewTopic::new(
            spec.name.as_str(),
            partitions,
            TopicReplication::Fixed(replication),
        ),
        |topic, (name, value)| topic.set(name, value),
    )
}

fn layout(metadata: &Metadata, topic: &Topic) -> Result<Option<(Topic, TopicState)>, Error> {
    let Some(found) = metadata
        .topics()
        .iter()
        .find(|found| found.name() == topic.as_str())
    else {
        return Ok(None);
    };
    match found.error().map(Code::from) {
        None | Some(Code::LeaderNotAvailable) => Ok(Some((topic.clone(), state(found)))),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => Ok(None),
        Some(code) => Err(refused("describe a topic", code, topic.as_str())),
    }
}

fn state(found: &MetadataTopic) -> TopicState {
    let mut partitions: Vec<_> = found.partitions().iter().collect();
    partitions.sort_by_key(|partition| partition.id());
    TopicState {
        partitions: partitions
            .into_iter()
            .map(|partition| PartitionState {
                leader: Some(partition.leader()).filter(|leader| *leader >= 0),
                replicas: partition.replicas().to_vec(),
                in_sync: partition.isr().to_vec(),
            })
            .collect(),
        settings: BTreeMap::new(),
    }
}

fn refused(what: &'static str, code: Code, topic: &str) -> Error {
    Error::on_topic(what, KafkaError::Global(code), &Topic::from(topic), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_not_made_with_too_few_replicas_while_a_broker_is_away() {
        let cluster = |up: &[i32], away: &[i32]| Cluster {
            brokers: up
                .iter()
                .map(|&id| Broker {
                    id,
                    host: "h".to_owned(),
                    port: 1,
                })
                .collect(),
            away: away.iter().copied().collect(),
            topics: BTreeMap::new(),
        };
        let reckoned = |up: &[i32], away: &[i32]| cluster(up, away).brokers_for_replicas();
        assert_eq!(reckoned(&[1], &[]).unwrap(), 1);
        assert_eq!(reckoned(&[1, 2], &[]).unwrap(), 2);
        // Three are enough, whoever else is away.
        assert_eq!(reckoned(&[1, 2, 4], &[3]).unwrap(), 3);
        let error = reckoned(&[1, 3], &[2]).unwrap_err();
        assert_eq!(error.kind(), crate::topics::ErrorKind::TooFewBrokers);
        let text = error.to_string();
        for word in [
            "2 of 3 are up, broker 2 is away",
            "2 replicas for good",
            "kafka.replication_factor",
        ] {
            assert!(text.contains(word), "{text}");
        }
    }
}
