//! Where the driver's state is kept: in Redis, where saving compares the version, and a copy in Kafka.
//!
//! Redis decides: of two drivers one saves. The copy is what is left when Redis loses its last writes, or everything. It is
//! written under the driver's own transactional id, after reading in Redis that the state is still the newest: opening the
//! writer fences older drivers, so whoever passed that look can no longer write once a newer one has opened. Of several
//! records the greatest (epoch, version) counts, whatever their order. A writer's first record is preceded by a reading: what
//! the state did not go on from is never replaced by it.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::info;

use super::measure::{Summary, VERSION};
use super::step::{Record, State, replaces};
use crate::flags::{acknowledgements, clients, heard_acknowledgements, heard_clients};
use crate::placement::{Partition, Topic};
use crate::streams::{self, Acknowledgements, Connection, DriverSaved, HeardOf, Lease, Redis};
use crate::topics::{self, Admin, From, Headers, Kafka, TopicSpec, Writer, read_partition};

/// How long one step against Kafka may take.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(15);
/// The key of the copy's records.
const COPY_KEY: &[u8] = b"driver";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Redis(#[from] streams::Error),
    #[error(transparent)]
    Kafka(#[from] topics::Error),
    #[error(
        "the driver's state in {place} cannot be read by this version ({cause}); a newer lockgate may have written it: run that \
         version"
    )]
    Unreadable { place: &'static str, cause: String },
    #[error(
        "the copy of the driver's state in Kafka (epoch {}, version {}) is not what the state in Redis went on from, and is kept",
        .0.epoch, .0.version
    )]
    Further(Box<State>),
}

/// The state in Redis. One connection, made anew after it broke.
pub struct Store {
    redis: Redis,
    connection: Option<Connection>,
    key: Vec<u8>,
    lease: Vec<u8>,
    instances: Vec<u8>,
    migration: String,
    notes: Vec<u8>,
    /// The note that goes with the next save.
    struck_out: Option<Vec<u8>>,
    holder: String,
}

impl Store {
    #[must_use]
    pub fn new(redis: Redis, migration: &str, holder: &str) -> Self {
        Self {
            redis,
            connection: None,
            key: format!("lockgate:{migration}:driver").into_bytes(),
            lease: format!("lockgate:{migration}:driver-lease").into_bytes(),
            instances: format!("lockgate:{migration}:instances").into_bytes(),
            notes: format!("lockgate:{migration}:notes").into_bytes(),
            struck_out: None,
            migration: migration.to_owned(),
            holder: holder.to_owned(),
        }
    }

    /// The connection, for the flags as well.
    pub async fn connection(&mut self) -> Result<&mut Connection, streams::Error> {
        let usable = self.connection.take().filter(Connection::is_usable);
        let connection = match usable {
            Some(connection) => connection,
            None => self.redis.connect(self.redis.default_database()).await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// What is stored, and its version there.
    pub async fn load(&mut self) -> Result<Option<(State, u64)>, Error> {
        let key = self.key.clone();
        match self.connection().await?.driver_load(&key).await? {
            None => Ok(None),
            Some(stored) => Ok(Some((parse(&stored.state, "Redis")?, stored.version))),
        }
    }

    pub async fn save(
        &mut self,
        state: &State,
        over: u64,
        records: &[Record],
    ) -> Result<DriverSaved, Error> {
        let key = self.key.clone();
        let records: Vec<(u64, Vec<u8>)> = records
            .iter()
            .map(|record| (record.n, json(record)))
            .collect();
        let (notes, out) = (self.notes.clone(), self.struck_out.take());
        let connection = self.connection().await?;
        let with = (notes.as_slice(), out.as_deref());
        Ok(connection
            .driver_save(&key, over, state.version, &json(state), &records, with)
            .await?)
    }

    /// Leaves a note for the one who steers. Leaving it twice leaves it once.
    pub async fn leave_note(&mut self, note: &[u8]) -> Result<(), Error> {
        let key = self.notes.clone();
        Ok(self.connection().await?.leave_note(&key, note).await?)
    }

    /// What was left.
    pub async fn notes(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let key = self.notes.clone();
        Ok(self.connection().await?.notes(&key).await?)
    }

    /// A note that the next save takes out, in the same step, because it carries the note's record; `None`: it takes none.
    pub fn strike_out(&mut self, note: Option<Vec<u8>>) {
        self.struck_out = note;
    }

    /// Takes or keeps the lease.
    pub async fn lease(&mut self, length: Duration) -> Result<Lease, Error> {
        let (key, holder) = (self.lease.clone(), self.holder.clone());
        Ok(self
            .connection()
            .await?
            .lease_take(&key, &holder, length)
            .await?)
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub async fn release(&mut self) -> Result<(), Error> {
        let (key, holder) = (self.lease.clone(), self.holder.clone());
        Ok(self
            .connection()
            .await?
            .lease_release(&key, &holder)
            .await?)
    }

    /// What every instance said last of its shards, by its name; in a form of another version it is nothing.
    pub async fn summaries(&mut self) -> Result<BTreeMap<String, Summary>, Error> {
        let key = self.instances.clone();
        let fields = self.connection().await?.own_fields(&key).await?;
        let summaries = fields.into_iter().filter_map(|(name, said)| {
            let said: Summary = serde_json::from_str(&said).ok()?;
            (said.v == VERSION).then_some((name, said))
        });
        Ok(summaries.collect())
    }

    /// Says what this instance sees, and strikes out those who are gone.
    pub async fn say(&mut self, summary: &Summary, gone: &[String]) -> Result<(), Error> {
        let (key, name) = (self.instances.clone(), self.holder.clone());
        let said = json(summary);
        let connection = self.connection().await?;
        Ok(connection.say(&key, &name, &said, gone).await?)
    }

    /// The version of the flags that Redis tells; `None`: it tells none.
    pub async fn flags_version(&mut self) -> Result<Option<u64>, Error> {
        let key = crate::flags::key(&self.migration);
        Ok(self.connection().await?.flags_version(&key).await?)
    }

    /// What applications acknowledged in Redis, and what instances heard of them.
    pub async fn acknowledged(&mut self) -> Result<Acknowledgements, Error> {
        let own = (clients(&self.migration), acknowledgements(&self.migration));
        let heard = (
            heard_clients(&self.migration),
            heard_acknowledgements(&self.migration),
        );
        let connection = self.connection().await?;
        let mut all = connection.acknowledged(&own.0, &own.1).await?;
        let heard = connection.acknowledged(&heard.0, &heard.1).await?;
        all.cut_off |= heard.cut_off;
        all.found.extend(heard.found);
        Ok(all)
    }

    /// Keeps what this instance heard of applications, for whoever steers.
    pub async fn keep_heard(&mut self, heard: &[HeardOf]) -> Result<(), Error> {
        let names = heard_clients(&self.migration);
        let keys = heard_acknowledgements(&self.migration);
        let connection = self.connection().await?;
        Ok(connection.keep_heard(&names, &keys, heard).await?)
    }

    /// Strikes out those of whom nothing is kept any more: names that applications left, and those that instances heard.
    pub async fn forget_gone(&mut self) -> Result<(), Error> {
        let own = (clients(&self.migration), acknowledgements(&self.migration));
        let heard = (
            heard_clients(&self.migration),
            heard_acknowledgements(&self.migration),
        );
        let connection = self.connection().await?;
        for (names, keys) in [own, heard] {
            connection.forget_gone(&names, &keys).await?;
        }
        Ok(())
    }

    /// Journal records by their numbers.
    pub async fn journal(
        &mut self,
        numbers: std::ops::RangeInclusive<u64>,
    ) -> Result<Vec<Record>, Error> {
        let key = self.key.clone();
        let records = self
            .connection()
            .await?
            .driver_records(&key, numbers)
            .await?;
        records
            .iter()
            .map(|record| parse(record, "Redis"))
            .collect()
    }
}

/// The copy in Kafka.
pub struct Copy {
    kafka: Kafka,
    admin: Admin,
    topic: Topic,
    transactional_id: String,
    writer: Option<Writer>,
    /// What there was before this writer was opened is what may be replaced.
    compared: bool,
    made: bool,
}

impl Copy {
    /// # Errors
    /// The clients' configuration.
    pub fn new(kafka: &Kafka, migration: &str) -> Result<Self, Error> {
        Ok(Self {
            kafka: kafka.clone(),
            admin: Admin::new(kafka)?,
            topic: topic(migration),
            transactional_id: format!("lockgate.{migration}.driver"),
            writer: None,
            compared: false,
            made: false,
        })
    }

    /// The greatest state that was copied; `None` where none was.
    pub async fn read(&self) -> Result<Option<State>, Error> {
        let (kafka, topic) = (self.kafka.clone(), self.topic.clone());
        let read = tokio::task::spawn_blocking(move || greatest(&kafka, &topic));
        crate::tasks::passed_on(read.await)
    }

    /// Copies a state, where `store` says that it is still the newest; `false`: it is not.
    ///
    /// # Errors
    /// [`Error::Further`]: what it would replace is not what it went on from.
    ///
    /// Not cancel safe: to be run to its end by a task of its own.
    pub async fn write(&mut self, store: &mut Store, state: &State) -> Result<bool, Error> {
        if !self.made {
            self.make_topic().await?;
            self.made = true;
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                self.compared = false;
                self.open().await?
            }
        };
        // *After* opening: a driver that comes later fences this writer.
        let newest = store
            .load()
            .await?
            .is_some_and(|(_, version)| version == state.version);
        if !newest {
            self.writer = Some(writer);
            return Ok(false);
        }
        if let Err(error) = self.compare(state).await {
            self.writer = Some(writer);
            return Err(error);
        }
        let (topic, value) = (self.topic.clone(), json(state));
        let wrote = tokio::task::spawn_blocking(move || {
            let sent = send(&mut writer, &topic, &value);
            sent.map(|()| writer)
        });
        // After any error the writer is of no use.
        self.writer = Some(crate::tasks::passed_on(wrote.await)?);
        Ok(true)
    }

    /// Reads what is to be replaced, once for each writer: nobody writes beside it. The topic is compacted, so that what is
    /// replaced is gone.
    async fn compare(&mut self, state: &State) -> Result<(), Error> {
        if self.compared {
            return Ok(());
        }
        match self.read().await? {
            Some(found) if !replaces(state, &found) => return Err(Error::Further(Box::new(found))),
            _ => self.compared = true,
        }
        Ok(())
    }

    async fn open(&self) -> Result<Writer, Error> {
        let (kafka, id) = (self.kafka.clone(), self.transactional_id.clone());
        let opened = tokio::task::spawn_blocking(move || Writer::open(&kafka, &id, KAFKA_TIMEOUT));
        Ok(crate::tasks::passed_on(opened.await)?)
    }

    async fn make_topic(&self) -> Result<(), Error> {
        if self
            .admin
            .layouts(std::slice::from_ref(&self.topic))
            .await?
            .is_empty()
        {
            let replication = self.kafka.config().replication_factor;
            let brokers = self.admin.brokers_for_replicas(replication).await?;
            let spec = topic_spec(&self.topic).for_cluster(replication, brokers);
            info!(topic = %self.topic, "making the topic of the driver's state");
            self.admin.create(&[spec]).await?;
        }
        Ok(())
    }
}

/// `lockgate.<name>.state`
#[must_use]
pub fn topic(migration: &str) -> Topic {
    Topic::from(format!("lockgate.{migration}.state"))
}

/// One partition: the order of the driver's states.
#[must_use]
pub fn topic_spec(topic: &Topic) -> TopicSpec {
    TopicSpec::checkpoints(topic.clone(), 1)
}

fn greatest(kafka: &Kafka, topic: &Topic) -> Result<Option<State>, Error> {
    let mut greatest: Option<State> = None;
    let mut unreadable = None;
    let read = read_partition(
        kafka,
        topic,
        Partition(0),
        From::Beginning,
        KAFKA_TIMEOUT,
        |record| {
            let Some(value) = record.value.filter(|_| record.key == Some(COPY_KEY)) else {
                return;
            };
            match parse::<State>(value, "Kafka") {
                Err(error) => {
                    unreadable.get_or_insert(error);
                }
                Ok(state) => {
                    if greatest
                        .as_ref()
                        .is_none_or(|known| known.rank() < state.rank())
                    {
                        greatest = Some(state);
                    }
                }
            }
        },
    );
    match (read, unreadable) {
        (Err(topics::Error::TopicMissing { .. }), _) => Ok(None),
        (Err(error), _) => Err(error.into()),
        (Ok(_), Some(error)) => Err(error),
        (Ok(_), None) => Ok(greatest),
    }
}

fn send(writer: &mut Writer, topic: &Topic, value: &[u8]) -> Result<(), topics::Error> {
    writer.begin()?;
    let record = topics::Record {
        topic,
        partition: Partition(0),
        key: Some(COPY_KEY),
        value: Some(value),
        headers: Headers::default(),
        timestamp_ms: super::driver::now_ms(),
    };
    writer.send(record, 0)?;
    writer.commit(KAFKA_TIMEOUT)
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain structures of strings and numbers serialise")
}

fn parse<T: serde::de::DeserializeOwned>(value: &[u8], place: &'static str) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|error| Error::Unreadable {
        place,
        cause: error.to_string(),
    })
}
