//! The ceilings: producing alone through the mirror's own producer, and reading alone through its own connection.
//!
//! Each is a role that this program plays as a child of itself, so that only its own cost is counted.

use std::process::Command;
use std::time::{Duration, Instant};

use lockgate::config;
use lockgate::entry::{Database, EntryId, StreamName};
use lockgate::placement::{Partition, Topic};
use lockgate::streams::Redis;
use lockgate::topics::{Headers, Kafka, Record, Writer};

use crate::PARTITIONS;
use crate::backlog;
use crate::harness::unique;
use crate::measured::{Measured, Stores, peak_resident_bytes, processor_time};

const ROLE: &str = "BENCH_ROLE";
const TIMEOUT: Duration = Duration::from_secs(30);
/// As the mirror's default.
const TRANSACTION: u64 = 50_000;

pub fn is_role() -> bool {
    std::env::var_os(ROLE).is_some()
}

pub fn play_role() {
    let role = std::env::var(ROLE).unwrap();
    let words: Vec<&str> = role.split(' ').collect();
    let measured = match words[..] {
        ["produce", bootstrap, topic, entries] => {
            produce_role(bootstrap, topic, entries.parse().unwrap())
        }
        ["read", url, stream, entries] => read_role(url, stream, entries.parse().unwrap()),
        _ => panic!("unknown role {role}"),
    };
    println!("{}", serde_json::to_string(&measured).unwrap());
}

fn as_child(role: &str) -> Measured {
    let output = Command::new(std::env::current_exe().unwrap())
        .env(ROLE, role)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{role}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// (a) Records of the mirror's size and headers, through the same producer settings, in transactions.
pub fn produce(stores: &Stores<'_>, entries: u64) -> Measured {
    let topic = unique("bench-produce");
    stores
        .kafka
        .create_topic(&topic, PARTITIONS, &[("compression.type", "lz4")]);
    as_child(&format!(
        "produce {} {topic} {entries}",
        stores.kafka.bootstrap()
    ))
}

/// (b) XREAD alone, decoded, as the mirror reads.
pub fn read(stores: &Stores<'_>, database: u32, entries: u64) -> Measured {
    as_child(&format!(
        "read {} {} {entries}",
        stores.redis.url(database),
        backlog::stream(database, 0)
    ))
}

fn produce_role(bootstrap: &str, topic: &str, entries: u64) -> Measured {
    let kafka = Kafka::new(&config::Kafka {
        bootstrap_servers: vec![bootstrap.to_owned()],
        ..Default::default()
    });
    let kafka = kafka.unwrap().with_smallest_limit(1 << 20);
    let topic = Topic::from(topic);
    let mut writer = Writer::open(&kafka, &format!("{topic}-producer"), TIMEOUT).unwrap();
    let values: Vec<(String, String)> = (0..1_000).map(value).collect();
    let id = "1741356110123-0";
    measure(entries, || {
        for n in 0..entries {
            if n % TRANSACTION == 0 {
                writer.begin().unwrap();
            }
            let (key, value) = &values[(n % 1_000) as usize];
            let mut headers = Headers::with_capacity(4);
            headers.insert("redis-stream", b"bench:1:0");
            headers.insert("redis-id", id.as_bytes());
            headers.insert("correlation-id", &key.as_bytes()[..10]);
            headers.insert("idempotency-key", &key.as_bytes()[..10]);
            let record = Record {
                topic: &topic,
                partition: Partition((n % PARTITIONS as u64) as i32),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers,
                timestamp_ms: 1_741_356_110_123,
            };
            writer.send(record, n).unwrap();
            if (n + 1) % TRANSACTION == 0 || n + 1 == entries {
                writer.commit(TIMEOUT).unwrap();
            }
        }
    })
}

/// Key and value as the mirror's route makes them of an entry.
fn value(n: u64) -> (String, String) {
    let fields = backlog::fields(n);
    let members: Vec<String> = fields
        .iter()
        .map(|(name, value)| match *name {
            "metadata" => format!("\"{name}\":{value}"),
            "payloadKey" => format!("\"{name}\":null"),
            _ => format!("\"{name}\":\"{value}\""),
        })
        .collect();
    (fields[1].1.clone(), format!("{{{}}}", members.join(",")))
}

fn read_role(url: &str, stream: &str, entries: u64) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (url, database) = url.rsplit_once('/').unwrap();
    let redis = Redis::new(&config::Redis {
        url: format!("{url}/{database}"),
        ..Default::default()
    })
    .unwrap();
    let mut connection = runtime
        .block_on(redis.connect(Database(database.parse().unwrap())))
        .unwrap();
    let name = StreamName::from(stream);
    measure(entries, || {
        let (mut seen, mut after) = (0, EntryId::ZERO);
        while seen < entries {
            let read = runtime
                .block_on(connection.read(&[(name.clone(), after)], 10_000, None))
                .unwrap();
            let (_, batch) = read
                .streams
                .into_iter()
                .next()
                .expect("the backlog is as long as was said");
            seen += batch.len() as u64;
            after = batch.last().unwrap().id;
        }
    })
}

fn measure(entries: u64, work: impl FnOnce()) -> Measured {
    let pid = std::process::id();
    let (begun, processor) = (Instant::now(), processor_time(pid));
    work();
    Measured {
        entries,
        seconds: begun.elapsed().as_secs_f64(),
        processor_seconds: (processor_time(pid) - processor).as_secs_f64(),
        resident_bytes: peak_resident_bytes(pid),
    }
}
