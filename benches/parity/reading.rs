//! The ceiling: both stores read to their ends through Lockgate's own clients, and nothing done with what was read.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use lockgate::config;
use lockgate::entry::{Database, EntryId, StreamName};
use lockgate::placement::{Partition, Topic};
use lockgate::streams::Redis;
use lockgate::topics::{From, Kafka, read_partitions};

use crate::backlog;
use crate::measured::{Measured, Stores, peak_resident_bytes, processor_time};
use crate::role::as_child;
use crate::{DATABASE, PARTITIONS, STREAMS};

const TIMEOUT: Duration = Duration::from_secs(30);
const PAGE: usize = 1_000;

pub fn both(stores: &Stores<'_>, topic: &str, entries: u64) -> Measured {
    let (url, bootstrap) = (stores.redis.url(DATABASE), stores.kafka.bootstrap());
    as_child(&format!("read {url} {bootstrap} {topic} {entries}"))
}

pub fn role(url: &str, bootstrap: &str, topic: &str, entries: u64) -> Measured {
    let pid = std::process::id();
    let (begun, processor) = (Instant::now(), processor_time(pid));
    assert_eq!(read_redis(url), entries);
    assert_eq!(read_kafka(bootstrap, topic), entries);
    Measured {
        entries,
        seconds: begun.elapsed().as_secs_f64(),
        processor_seconds: (processor_time(pid) - processor).as_secs_f64(),
        resident_bytes: peak_resident_bytes(pid),
    }
}

fn read_redis(url: &str) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let redis = Redis::new(&config::Redis {
        url: url.to_owned(),
        ..Default::default()
    });
    let database = Database(DATABASE);
    let mut connection = runtime.block_on(redis.unwrap().connect(database)).unwrap();
    let mut seen = 0;
    for stream in 0..STREAMS {
        let name = StreamName::from(backlog::stream(DATABASE, stream).as_str());
        let mut from = Some(EntryId::ZERO);
        while let Some(first) = from {
            let page = connection.range(&name, first, EntryId::MAX, PAGE);
            let page = runtime.block_on(page).unwrap();
            seen += page.len() as u64;
            from = page.last().and_then(|entry| entry.id.next());
        }
    }
    seen
}

fn read_kafka(bootstrap: &str, topic: &str) -> u64 {
    let kafka = Kafka::new(&config::Kafka {
        bootstrap_servers: vec![bootstrap.to_owned()],
        ..Default::default()
    });
    let starts: Vec<_> = (0..PARTITIONS)
        .map(|partition| (Partition(partition), From::Beginning))
        .collect();
    let (mut seen, mut bytes) = (0, 0);
    read_partitions(
        &kafka.unwrap(),
        &Topic::from(topic),
        &starts,
        TIMEOUT,
        |record| {
            seen += 1;
            bytes += record.value.map_or(0, <[u8]>::len);
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    assert!(bytes > 0, "the records are there");
    seen
}
