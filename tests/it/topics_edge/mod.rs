//! The Kafka edge against a real broker: what a writer promises, where a read ends, how topics are made, who owns a shard.

mod members;
mod reading;
mod resizing;
mod writing;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockgate::config;
use lockgate::placement::{Partition, Topic};
use lockgate::topics::{
    Admin, Error, From, Headers, Kafka, Record, TopicSpec, Writer, read_partition,
};

use crate::harness::{kafka, unique};

const TIMEOUT: Duration = Duration::from_secs(15);

/// The edge's own client of the shared broker.
fn client() -> Kafka {
    Kafka::new(&config::Kafka {
        bootstrap_servers: vec![kafka().bootstrap()],
        ..config::Kafka::default()
    })
    .expect("the configuration is valid")
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

fn topic(kafka: &Kafka, what: &str, partitions: u32, max_message_bytes: usize) -> Topic {
    let name = Topic::from(unique(what));
    let spec = TopicSpec::records(
        name.clone(),
        partitions,
        Duration::from_secs(86_400),
        None,
        max_message_bytes,
    );
    runtime().block_on(async {
        let admin = Admin::new(kafka).expect("an administrator");
        let brokers = admin.brokers().await.expect("brokers").len();
        admin
            .create(&[spec.for_cluster(None, brokers)])
            .await
            .expect("created");
    });
    name
}

fn send(
    writer: &mut Writer,
    topic: &Topic,
    partition: i32,
    value: &[u8],
    tag: u64,
) -> Result<(), Error> {
    writer.send(
        Record {
            topic,
            partition: Partition(partition),
            key: Some(b"key"),
            value: Some(value),
            headers: Headers::default(),
            timestamp_ms: now_ms(),
        },
        tag,
    )
}

fn values(kafka: &Kafka, topic: &Topic, partition: i32) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    read_partition(
        kafka,
        topic,
        Partition(partition),
        From::Beginning,
        TIMEOUT,
        |record| {
            values.push(record.value.unwrap_or(b"<null>").to_vec());
        },
    )
    .expect("read");
    values
}
