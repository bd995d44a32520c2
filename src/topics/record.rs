//! What is sent: a record with its place, its bytes and its headers.

use rdkafka::message::{Header, OwnedHeaders};

use crate::placement::{Partition, Topic};

/// A record to send. Empty and absent keys and values differ, as they do in Kafka.
pub struct Record<'a> {
    pub topic: &'a Topic,
    pub partition: Partition,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// Handed over: the client keeps them until the broker has answered.
    pub headers: Headers,
    /// Milliseconds since 1970. Brokers refuse what lies more than an hour ahead. 0 becomes the present time.
    pub timestamp_ms: i64,
}

/// The headers of one record, in order; names may repeat.
#[derive(Debug, Default)]
pub struct Headers(pub(super) Option<OwnedHeaders>);

impl Headers {
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self((count > 0).then(|| OwnedHeaders::new_with_capacity(count)))
    }

    pub fn insert(&mut self, name: &str, value: &[u8]) {
        let headers = self.0.take().unwrap_or_default();
        self.0 = Some(headers.insert(Header {
            key: name,
            value: Some(value),
        }));
    }
}
