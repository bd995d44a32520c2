//! How every client of the Kafka edge is configured, and what the clients say of themselves.
//!
//! Order of precedence: Lockgate's defaults, then the operator's `kafka.properties`, then what exactly-once needs. So a
//! property can tune, and cannot weaken.
//!
//! librdkafka's log lines go to `tracing` under the target `librdkafka`; its errors are also remembered, for status.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::error::Error;
use crate::config;

/// What may wait in the queues of all writers of a process together.
const QUEUED_RECORDS: usize = 16_000;
const QUEUED_KBYTES: usize = 32 << 10;

/// Records above this are refused by the client itself; every topic's own limit is expected to be lower.
pub const LARGEST_RECORD_BYTES: usize = 16 << 20;

/// Largest batch of records in one request. A broker compares a whole batch with the topic's `max.message.bytes`.
const BATCH_BYTES: usize = 1_000_000;

/// The Kafka cluster as configured: makes clients. Cheap to clone.
#[derive(Clone)]
pub struct Kafka {
    config: Arc<config::Kafka>,
    last_error: Arc<LastError>,
    batch_bytes: usize,
    queue_records: usize,
    queue_kbytes: usize,
}

/// What a client last complained of.
#[derive(Clone, Debug)]
pub struct Complaint {
    /// librdkafka's words. They name brokers and reasons, never a property's value.
    pub text: String,
    pub at: SystemTime,
    pub(super) code: Option<RDKafkaErrorCode>,
}

impl Complaint {
    /// As [`Error::edge_kind`].
    #[must_use]
    pub fn edge_kind(&self) -> &'static str {
        self.code
            .and_then(|code| Error::of_code("reach the cluster", code, || self.text.clone()))
            .map_or("other", |error| error.edge_kind())
    }
}

#[derive(Default)]
pub(super) struct LastError(Mutex<Option<Complaint>>);

/// How often a client has lost every broker.
type Isolations = AtomicU64;

impl LastError {
    pub(super) fn get(&self) -> Option<Complaint> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, complaint: Complaint) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(complaint);
    }
}

impl Kafka {
    /// # Errors
    /// [`Error::Config`] where librdkafka does not take a property, which it names.
    pub fn new(config: &config::Kafka) -> Result<Self, Error> {
        let kafka = Self {
            config: Arc::new(config.clone()),
            last_error: Arc::default(),
            batch_bytes: BATCH_BYTES,
            queue_records: QUEUED_RECORDS,
            queue_kbytes: QUEUED_KBYTES,
        };
        kafka
            .producer("lockgate")
            .create_native_config()
            .map_err(|error| Error::of("configure", error))?;
        kafka
            .consumer()
            .create_native_config()
            .map_err(|error| Error::of("configure", error))?;
        Ok(kafka)
    }

    /// Keeps batches below the smallest `max.message.bytes` of the topics written to: otherwise many small records for
    /// such a topic would be refused together although each alone is allowed.
    #[must_use]
    pub fn with_smallest_limit(mut self, max_message_bytes: usize) -> Self {
        // A batch has about 70 bytes of its own, and a record without a limit is not cut.
        self.batch_bytes = max_message_bytes
            .saturating_sub(512)
            .clamp(1_000, BATCH_BYTES);
        self
    }

    /// Divides what may wait in the clients' queues among so many writers: a record in a queue costs about 1 KiB beside its
    /// bytes. The largest record always fits.
    #[must_use]
    pub fn with_writers(mut self, writers: u32) -> Self {
        let writers = writers.max(1) as usize;
        self.queue_records = (QUEUED_RECORDS / writers).max(4_000);
        self.queue_kbytes = (QUEUED_KBYTES / writers).max((LARGEST_RECORD_BYTES >> 10) + 1_024);
        self
    }

    /// What any client of this process last complained of.
    #[must_use]
    pub fn last_error(&self) -> Option<Complaint> {
        self.last_error.get()
    }

    #[must_use]
    pub fn config(&self) -> &config::Kafka {
        &self.config
    }

    pub(super) fn context(&self) -> Context {
        Context {
            shared: Arc::clone(&self.last_error),
            own: Arc::default(),
            isolations: Arc::default(),
        }
    }

    /// A transactional producer's configuration.
    pub(super) fn producer(&self, transactional_id: &str) -> ClientConfig {
        let mut client = self.client();
        client
            .set("compression.type", "lz4")
            // Of 0, 1, 2 and 5 ms this has the shortest commits, and no smaller batches where there is much to send.
            .set("linger.ms", "1")
            .set("batch.num.messages", "10000")
            .set("batch.size", self.batch_bytes.to_string())
            .set("queue.buffering.max.kbytes", self.queue_kbytes.to_string())
            .set(
                "queue.buffering.max.messages",
                self.queue_records.to_string(),
            )
            // A missing topic is told within this time, and not at the end of the transaction's.
            .set("topic.metadata.propagation.max.ms", "3000")
            .set("topic.metadata.refresh.interval.ms", "60000");
        self.apply_properties(&mut client);
        client
            .set(
                "message.max.bytes",
                (LARGEST_RECORD_BYTES + 65_536).to_string(),
            )
            .set("transactional.id", transactional_id)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set(
                "transaction.timeout.ms",
                self.config.transaction_timeout.as_millis().to_string(),
            )
            .set("statistics.interval.ms", "1000");
        client
    }

    /// The configuration of a consumer that is told what to read and is in no group's way.
    pub(super) fn consumer(&self) -> ClientConfig {
        let mut client = self.client();
        client
            // Compressed bytes become six times as many, and each record has 400 bytes of its own beside them: 36 MB
            // resident over 12 partitions with these, 200 MB with the client's defaults for the fetches.
            .set("queued.max.messages.kbytes", "4096")
            .set("queued.min.messages", "1000")
            .set("fetch.message.max.bytes", "131072")
            .set("fetch.max.bytes", "1048576")
            .set("fetch.wait.max.ms", "2")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "100")
            .set("check.crcs", "true");
        self.apply_properties(&mut client);
        client
            // librdkafka asks for a group before it lets anything be assigned. Nothing joins it.
            .set("group.id", "lockgate.reader")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        client
    }

    /// The same for one that sees all records, also those that were aborted or are not decided.
    pub(super) fn consumer_of_all(&self) -> ClientConfig {
        let mut client = self.consumer();
        client.set("isolation.level", "read_uncommitted");
        client
    }

    /// The configuration of a member of a consumer group (classic protocol).
    pub(super) fn member(&self, group: &str, session_timeout: Duration) -> ClientConfig {
        let mut client = self.client();
        // New partitions of the checkpoint topic are noticed within this time.
        client.set("topic.metadata.refresh.interval.ms", "10000");
        self.apply_properties(&mut client);
        client
            .set("group.id", group)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set(
                "session.timeout.ms",
                session_timeout.as_millis().to_string(),
            )
            .set("heartbeat.interval.ms", "100")
            // Being alive is told by the heartbeat; how long a shard's work takes says nothing about it.
            .set("max.poll.interval.ms", "86400000")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "latest");
        client
    }

    /// The configuration of an administrator.
    pub(super) fn administrator(&self) -> ClientConfig {
        let mut client = self.client();
        self.apply_properties(&mut client);
        // Nobody reads this client's log queue: without lines it cannot grow.
        client.set_log_level(RDKafkaLogLevel::Emerg);
        client
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("client.id", "lockgate")
            .set("client.software.name", "lockgate")
            .set("client.software.version", env!("CARGO_PKG_VERSION"))
            .set("bootstrap.servers", self.config.bootstrap_servers.join(","))
            .set("socket.keepalive.enable", "true")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("log.connection.close", "false")
            .set("enable.metrics.push", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        client
    }

    fn apply_properties(&self, client: &mut ClientConfig) {
        for (name, value) in &self.config.properties {
            client.set(name, value);
        }
        if self.config.properties.contains_key("debug") {
            client.set_log_level(RDKafkaLogLevel::Debug);
        }
        // A mistaken write to a missing topic must not make one with the broker's default partitions.
        client.set("allow.auto.create.topics", "false");
    }
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka")
            .field("bootstrap_servers", &self.config.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

/// What every client's callbacks share: its log lines, its errors.
#[derive(Clone)]
pub(super) struct Context {
    shared: Arc<LastError>,
    own: Arc<LastError>,
    isolations: Arc<Isolations>,
}

impl Context {
    /// What this client last complained of.
    pub(super) fn last_error(&self) -> Option<Complaint> {
        self.own.get()
    }

    /// How often this client has lost every broker it knows.
    pub(super) fn isolations(&self) -> u64 {
        self.isolations.load(Relaxed)
    }

    pub(super) fn remember(&self, code: Option<RDKafkaErrorCode>, text: &str) {
        let complaint = Complaint {
            text: text.to_owned(),
            at: SystemTime::now(),
            code,
        };
        self.own.set(complaint.clone());
        self.shared.set(complaint);
    }

    /// Makes a timeout say what the client met meanwhile: an unreachable broker, a refused password.
    pub(super) fn explain(&self, error: Error) -> Error {
        let Error::Timeout { what, cause } = error else {
            return error;
        };
        let Some(complaint) = self.last_error() else {
            return Error::Timeout { what, cause };
        };
        complaint
            .code
            .and_then(|code| Error::of_code(what, code, || complaint.text.clone()))
            .filter(|error| {
                matches!(
                    error,
                    Error::Unreachable { .. } | Error::Unauthorised { .. }
                )
            })
            .unwrap_or(Error::Timeout {
                what,
                cause: complaint.text,
            })
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // Ends of partitions arrive here too; they are no trouble.
        if code != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::debug!(target: "librdkafka", "{reason}");
            if code == Some(RDKafkaErrorCode::AllBrokersDown) {
                self.isolations.fetch_add(1, Relaxed);
            }
            self.remember(code, reason);
        }
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl rdkafka::consumer::ConsumerContext for Context {}

/// A consumer that reads what it is told.
pub(super) type Consumer = BaseConsumer<Context>;

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka(properties: &[(&str, &str)]) -> Result<Kafka, Error> {
        Kafka::new(&config::Kafka {
            properties: properties
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..config::Kafka::default()
        })
    }

    #[test]
    fn properties_tune_and_cannot_weaken() {
        let kafka = kafka(&[
            ("linger.ms", "20"),
            ("acks", "1"),
            ("enable.idempotence", "false"),
            ("isolation.level", "read_uncommitted"),
            ("allow.auto.create.topics", "true"),
            ("enable.auto.commit", "true"),
        ])
        .expect("all of them exist");
        let producer = kafka.producer("lockgate.x.0");
        assert_eq!(producer.get("linger.ms"), Some("20"));
        assert_eq!(producer.get("acks"), Some("all"));
        assert_eq!(producer.get("enable.idempotence"), Some("true"));
        assert_eq!(producer.get("allow.auto.create.topics"), Some("false"));
        let consumer = kafka.consumer();
        assert_eq!(consumer.get("isolation.level"), Some("read_committed"));
        assert_eq!(consumer.get("enable.auto.commit"), Some("false"));
    }

    /// What comes after the operator's properties wins unsaid; so the configuration must refuse each of these.
    #[test]
    fn no_property_is_taken_and_then_passed_over() {
        const OWN: &str = "the operator's";
        let plain = kafka(&[]).expect("defaults");
        let configs = |kafka: &Kafka| {
            let member = kafka.member("g", Duration::from_secs(6));
            [kafka.producer("t"), kafka.consumer(), member]
        };
        let names = configs(&plain)
            .iter()
            .flat_map(|client| {
                client
                    .config_map()
                    .into_keys()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect::<std::collections::BTreeSet<String>>();
        let mut set = plain;
        set.config = Arc::new(config::Kafka {
            properties: names
                .into_iter()
                .map(|name| (name, OWN.to_owned()))
                .collect(),
            ..config::Kafka::default()
        });
        let clients = configs(&set);
        let passed_over = set.config.properties.keys().filter(|name| {
            clients
                .iter()
                .any(|client| client.get(name).is_some_and(|value| value != OWN))
        });
        let passed_over: Vec<&String> = passed_over.collect();
        assert!(passed_over.len() >= 12, "{passed_over:?}");
        for name in passed_over {
            let key = format!("kafka.properties.{name}");
            let sources = config::Sources {
                overrides: vec![(key.clone(), "5".to_owned())],
                ..config::Sources::default()
            };
            let problems = config::load(&sources).expect_err("no routes, at the least");
            let refused = |problem: &config::Problem| {
                problem.key == key && problem.message.contains("Lockgate's own to set")
            };
            assert!(problems.iter().any(refused), "{key}: {problems:?}");
        }
    }

    #[test]
    fn an_unknown_property_is_named() {
        let error = kafka(&[("sasl.passwort", "hunter2")]).expect_err("no such property");
        let text = error.to_string();
        assert!(
            text.contains("sasl.passwort") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn batches_stay_below_the_smallest_limit() {
        let kafka = kafka(&[]).expect("defaults");
        assert_eq!(kafka.producer("x").get("batch.size"), Some("1000000"));
        let small = kafka.with_smallest_limit(100_000);
        assert_eq!(small.producer("x").get("batch.size"), Some("99488"));
    }
}
