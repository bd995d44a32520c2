//! A transactional producer in the test's own hand: any record anywhere, committed or aborted, and where each came to lie.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::harness::{KafkaCluster, eventually, unique};

const LONG: Duration = Duration::from_secs(60);
const TRANSACTION: usize = 50_000;

/// A record to write, as it is to be, right or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub topic: String,
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub timestamp_ms: i64,
}

impl Outgoing {
    /// Gives a header another value; one that is not there is added.
    pub fn set_header(&mut self, name: &str, value: &[u8]) {
        match self.headers.iter_mut().find(|(found, _)| found == name) {
            Some((_, old)) => *old = value.to_vec(),
            None => self.headers.push((name.to_owned(), value.to_vec())),
        }
    }

    pub fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(found, _)| found != name);
    }

    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_slice())
    }
}

/// Partition and offset.
pub type Place = (i32, i64);

pub struct Hand {
    producer: BaseProducer<Landing>,
}

impl Hand {
    pub fn new(kafka: &KafkaCluster) -> Self {
        let mut config = kafka.client();
        config
            .set("transactional.id", unique("by-hand"))
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", "100000");
        let producer: BaseProducer<Landing> =
            config.create_with_context(Landing::default()).unwrap();
        producer.init_transactions(LONG).unwrap();
        Self { producer }
    }

    /// Writes them in this order and commits, some thousands a transaction; gives the place of each.
    pub fn commit<'a>(&self, records: impl IntoIterator<Item = &'a Outgoing>) -> Vec<Place> {
        let mut places = Vec::new();
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let landed = self.send(records.by_ref().take(TRANSACTION));
            self.producer.commit_transaction(LONG).unwrap();
            places.extend(landed);
        }
        places
    }

    /// Writes them and aborts: they stand in the log and never count.
    pub fn abort<'a>(&self, records: impl IntoIterator<Item = &'a Outgoing>) {
        self.send(records.into_iter());
        self.producer.abort_transaction(LONG).unwrap();
    }

    fn send<'a>(&self, records: impl Iterator<Item = &'a Outgoing>) -> Vec<Place> {
        self.producer.begin_transaction().unwrap();
        let mut sent = 0;
        for record in records {
            self.send_one(record, sent);
            sent += 1;
        }
        eventually(LONG, "all is delivered", || {
            self.producer.poll(Duration::ZERO);
            self.producer.in_flight_count() == 0
        });
        let mut landed = std::mem::take(&mut *self.producer.context().0.lock().unwrap());
        assert_eq!(landed.len(), sent, "every record has landed");
        landed.sort_unstable_by_key(|(tag, _)| *tag);
        landed.into_iter().map(|(_, place)| place).collect()
    }

    fn send_one(&self, record: &Outgoing, tag: usize) {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        let mut message = BaseRecord::<[u8], [u8], usize>::with_opaque_to(&record.topic, tag)
            .partition(record.partition)
            .timestamp(record.timestamp_ms)
            .headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        while let Err((error, back)) = self.producer.send(message) {
            assert_eq!(
                error,
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
            );
            self.producer.poll(Duration::from_millis(10));
            message = back;
        }
    }
}

/// Where records landed, by their tags.
#[derive(Default)]
struct Landing(Mutex<Vec<(usize, Place)>>);

impl ClientContext for Landing {}

impl ProducerContext for Landing {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, tag: usize) {
        let message = result
            .as_ref()
            .unwrap_or_else(|(error, _)| panic!("not delivered: {error}"));
        let place = (message.partition(), message.offset());
        self.0.lock().unwrap().push((tag, place));
    }
}
