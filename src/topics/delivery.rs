//! What became of the records that a writer sent: counted as the broker answers, without an allocation per record.
//!
//! All of it is called on the writer's own thread, from within its polls; the atomics are here because librdkafka's
//! context must be shareable, not because threads meet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::error::{Error, Refusal};
use super::kafka::Context;
use crate::placement::{Partition, Topic};

/// Told how long a sampled record took from being queued to being acknowledged by all in-sync replicas.
pub type LatencyObserver = Arc<dyn Fn(Duration) + Send + Sync>;

/// A writer's counters since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStatistics {
    /// Records acknowledged by the broker, whether or not their transaction was committed afterwards.
    pub acked: u64,
    /// Records that were not.
    pub errors: u64,
    /// Requests sent again, as librdkafka counts them once a second.
    pub retries: u64,
    /// Longest pause that a broker asked for because of a quota since this was last taken; librdkafka tells it once a second.
    pub throttle: Duration,
    /// Records sent and not yet answered.
    pub in_flight: u64,
}

/// The producer's context.
pub(super) struct Deliveries {
    client: Context,
    acked: AtomicU64,
    errors: AtomicU64,
    retries: AtomicU64,
    throttle_ms: AtomicU64,
    failure: Mutex<Option<Failure>>,
    /// The broker told records at fault from others of their batch.
    told_apart: AtomicBool,
    sample: Mutex<Option<Sample>>,
    sampled_tag: AtomicU64,
    observer: OnceLock<LatencyObserver>,
}

/// No record is being timed. A tag of this value is never timed.
const NO_SAMPLE: u64 = u64::MAX;

struct Sample {
    since: Instant,
}

/// The delivery that best tells why a transaction failed.
struct Failure {
    code: Code,
    topic: Topic,
    partition: Partition,
    tag: u64,
    weight: Weight,
    /// How many deliveries of this weight failed.
    count: usize,
}

/// A record at fault tells more than a broken connection, and that more than records purged because of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Consequence,
    Cause,
    Fence,
    Refusal,
}

impl Deliveries {
    pub(super) fn new(client: Context) -> Self {
        Self {
            client,
            acked: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            throttle_ms: AtomicU64::new(0),
            failure: Mutex::new(None),
            told_apart: AtomicBool::new(false),
            sample: Mutex::new(None),
            sampled_tag: AtomicU64::new(NO_SAMPLE),
            observer: OnceLock::new(),
        }
    }

    pub(super) const fn client(&self) -> &Context {
        &self.client
    }

    /// Records answered, well or ill, since the writer was opened.
    pub(super) fn settled(&self) -> u64 {
        self.acked.load(Relaxed) + self.errors.load(Relaxed)
    }

    pub(super) fn statistics(&self, sent: u64) -> WriterStatistics {
        WriterStatistics {
            acked: self.acked.load(Relaxed),
            errors: self.errors.load(Relaxed),
            retries: self.retries.load(Relaxed),
            throttle: Duration::from_millis(self.throttle_ms.swap(0, Relaxed)),
            in_flight: sent.saturating_sub(self.settled()),
        }
    }

    /// Forgets the failure of the transaction before.
    pub(super) fn begin(&self) {
        *lock(&self.failure) = None;
        self.told_apart.store(false, Relaxed);
    }

    pub(super) fn has_failed(&self) -> bool {
        lock(&self.failure).is_some()
    }

    /// Why this transaction failed, if a delivery did.
    pub(super) fn failure(&self) -> Option<Error> {
        let told_apart = self.told_apart.load(Relaxed);
        lock(&self.failure)
            .as_ref()
            .map(|failure| failure.to_error(told_apart))
    }

    pub(super) fn observe(&self, observer: LatencyObserver) {
        // A second observer is ignored: the first keeps its series whole.
        let _ = self.observer.set(observer);
    }

    /// Times this record if none is being timed.
    pub(super) fn sample(&self, tag: u64) {
        if self.sampled_tag.load(Relaxed) == NO_SAMPLE && self.observer.get().is_some() {
            *lock(&self.sample) = Some(Sample {
                since: Instant::now(),
            });
            self.sampled_tag.store(tag, Relaxed);
        }
    }

    fn sampled(&self, acked: bool) {
        self.sampled_tag.store(NO_SAMPLE, Relaxed);
        let sample = lock(&self.sample).take();
        if let (true, Some(sample), Some(observer)) = (acked, sample, self.observer.get()) {
            observer(sample.since.elapsed());
        }
    }

    fn failed(&self, code: Code, topic: &str, partition: i32, tag: u64) {
        if code == Code::InvalidDifferentRecord {
            self.told_apart.store(true, Relaxed);
        }
        let weight = Weight::of(code);
        let mut failure = lock(&self.failure);
        match failure.as_mut() {
            Some(known) if known.weight > weight => {}
            Some(known) if known.weight == weight => known.count += 1,
            Some(_) | None => {
                *failure = Some(Failure {
                    code,
                    topic: Topic::from(topic),
                    partition: Partition(partition),
                    tag,
                    weight,
                    count: 1,
                });
            }
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let tag = tag as u64;
        match result {
            Ok(_) => {
                self.acked.fetch_add(1, Relaxed);
            }
            Err((error, record)) => {
                self.errors.fetch_add(1, Relaxed);
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                self.failed(code, record.topic(), record.partition(), tag);
            }
        }
        if tag == self.sampled_tag.load(Relaxed) {
            self.sampled(result.is_ok());
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.client.log(level, facility, message);
        if let Some((topic, partition)) = denied(facility, message) {
            self.failed(Code::TopicAuthorizationFailed, topic, partition, NO_SAMPLE);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.client.error(error, reason);
    }

    fn stats_raw(&self, json: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(json) else {
            return;
        };
        let brokers = statistics.brokers.values();
        self.retries
            .store(brokers.clone().map(|b| b.txretries).sum(), Relaxed);
        self.throttle_ms
            .fetch_max(brokers.map(|b| b.throttle.max).max().unwrap_or(0), Relaxed);
    }
}

/// The topic that a transaction may not write. librdkafka names it in this line alone; all records of the transaction then
/// fail as purged, those of other topics too.
fn denied<'a>(facility: &str, message: &'a str) -> Option<(&'a str, i32)> {
    if facility != "ADDPARTS" || !message.ends_with("Topic authorization failed") {
        return None;
    }
    let (_, rest) = message.split_once("partition \"")?;
    let (topic, rest) = rest.split_once("\" [")?;
    Some((topic, rest.split_once(']')?.0.parse().ok()?))
}

/// The part of librdkafka's statistics that is read.
#[derive(serde::Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: BTreeMap<String, BrokerStatistics>,
}

#[derive(serde::Deserialize)]
struct BrokerStatistics {
    #[serde(default)]
    txretries: u64,
    #[serde(default)]
    throttle: Window,
}

#[derive(Default, serde::Deserialize)]
struct Window {
    /// Milliseconds.
    #[serde(default)]
    max: u64,
}

impl Weight {
    fn of(code: Code) -> Self {
        if Refusal::of(code).is_some() {
            return Self::Refusal;
        }
        if super::error::is_fenced(code) {
            return Self::Fence;
        }
        match code {
            Code::PurgeQueue
            | Code::PurgeInflight
            | Code::InvalidDifferentRecord
            | Code::Fatal
            | Code::State
            | Code::OperationNotAttempted => Self::Consequence,
            _ => Self::Cause,
        }
    }
}

impl Failure {
    fn to_error(&self, told_apart: bool) -> Error {
        match Refusal::of(self.code) {
            Some(cause) => Error::Refused {
                topic: self.topic.clone(),
                partition: self.partition,
                tag: (self.count == 1 || told_apart).then_some(self.tag),
                cause,
                local: false,
            },
            None => Error::on_topic(
                "deliver",
                KafkaError::MessageProduction(self.code),
                &self.topic,
                (self.partition.0 >= 0).then_some(self.partition),
            ),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::topics::{ErrorKind, Kafka};

    fn deliveries() -> Deliveries {
        let kafka = Kafka::new(&config::Kafka::default()).expect("the defaults are valid");
        Deliveries::new(kafka.context())
    }

    #[test]
    fn the_one_record_at_fault_is_named_whatever_failed_with_it() {
        let deliveries = deliveries();
        deliveries.failed(Code::InvalidDifferentRecord, "t", 0, 1);
        deliveries.failed(Code::InvalidTimestamp, "t", 0, 2);
        deliveries.failed(Code::InvalidDifferentRecord, "t", 0, 3);
        deliveries.failed(Code::PurgeQueue, "t", 1, 4);
        let Some(Error::Refused { tag, cause, .. }) = deliveries.failure() else {
            panic!("{:?}", deliveries.failure());
        };
        assert_eq!((tag, cause), (Some(2), Refusal::Timestamp));
    }

    #[test]
    fn of_several_that_the_broker_told_apart_the_first_is_named() {
        let deliveries = deliveries();
        deliveries.failed(Code::InvalidDifferentRecord, "t", 0, 1);
        deliveries.failed(Code::InvalidRecord, "t", 0, 2);
        deliveries.failed(Code::InvalidRecord, "t", 0, 3);
        let Some(Error::Refused { tag: Some(2), .. }) = deliveries.failure() else {
            panic!("{:?}", deliveries.failure());
        };
    }

    #[test]
    fn of_a_batch_refused_as_a_whole_none_is_named() {
        let deliveries = deliveries();
        deliveries.failed(Code::MessageSizeTooLarge, "t", 0, 1);
        deliveries.failed(Code::MessageSizeTooLarge, "t", 0, 2);
        let Some(Error::Refused { tag: None, .. }) = deliveries.failure() else {
            panic!("{:?}", deliveries.failure());
        };
    }

    #[test]
    fn a_fence_outweighs_what_it_purged_and_a_new_transaction_forgets_it() {
        let deliveries = deliveries();
        deliveries.failed(Code::PurgeQueue, "t", 0, 1);
        deliveries.failed(Code::InvalidProducerEpoch, "t", 0, 2);
        let kind = deliveries.failure().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::Fenced));
        deliveries.begin();
        assert!(!deliveries.has_failed());
    }

    #[test]
    fn a_topic_that_a_transaction_may_not_write_is_named() {
        let deliveries = deliveries();
        deliveries.failed(Code::PurgeQueue, "other", 0, 1);
        let line = "TxnCoordinator/1: Failed to add partition \"a.b [c]\" [7] to transaction: Broker: Topic authorization failed";
        deliveries.log(RDKafkaLogLevel::Warning, "ADDPARTS", line);
        deliveries.failed(Code::PurgeQueue, "a.b [c]", 7, 2);
        let Some(Error::Unauthorised {
            topic: Some(topic), ..
        }) = deliveries.failure()
        else {
            panic!("{:?}", deliveries.failure());
        };
        assert_eq!(topic.as_str(), "a.b [c]");
        assert_eq!(denied("ADDPARTS", "Failed to add partition \"a"), None);
    }

    #[test]
    fn retries_and_throttling_are_read_from_the_clients_statistics() {
        let deliveries = deliveries();
        deliveries.stats_raw(
            br#"{"name":"x","brokers":{"a":{"txretries":2,"throttle":{"avg":1,"max":40}},"b":{"txretries":3}},"topics":{}}"#,
        );
        let statistics = deliveries.statistics(0);
        assert_eq!(statistics.retries, 5);
        assert_eq!(statistics.throttle, Duration::from_millis(40));
    }
}
