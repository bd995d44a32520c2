//! What tests of the running mirror share: a migration of the messaging platform's sixteen streams, ready to be started
//! by one daemon or several, and what tests ask of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::harness::{
    Added, Class, Daemon, DaemonOptions, KafkaCluster, Ledger, RedisServer, Report, Running,
    Workload, eventually, kafka, redis, unique,
};
use crate::witness::Witness;

/// For what takes as long as the machine needs.
pub const LONG: Duration = Duration::from_secs(90);
pub const PARTITIONS: i32 = 16;

/// One migration: its database, its topic, its name, and how its daemons are configured.
pub struct Rig<'a> {
    pub redis: &'a RedisServer,
    pub kafka: &'a KafkaCluster,
    pub database: u32,
    pub name: String,
    pub topic: String,
    /// What the daemons are told; a test may put a proxy here.
    pub redis_url: String,
    pub bootstrap: String,
    pub session: &'static str,
    pub grace: &'static str,
    pub shards: u32,
    /// More routes.
    pub routes: String,
}

impl Rig<'static> {
    /// On the servers that all tests share, with a session as short as the test broker allows.
    pub fn new(what: &str) -> Self {
        Rig::on(what, redis(), kafka())
    }
}

impl<'a> Rig<'a> {
    pub fn on(what: &str, redis: &'a RedisServer, kafka: &'a KafkaCluster) -> Self {
        let (database, name) = (redis.own_database(), unique(what));
        let topic = format!("{name}.v1");
        kafka.create_topic(&topic, PARTITIONS, &[]);
        Self {
            redis_url: redis.url(database),
            bootstrap: kafka.bootstrap(),
            redis,
            kafka,
            database,
            name,
            topic,
            session: "1500ms",
            grace: "10s",
            shards: 4,
            routes: String::new(),
        }
    }

    /// The platform's form, as its operator would write it.
    pub fn config(&self) -> String {
        let servers: Vec<_> = self
            .bootstrap
            .split(',')
            .map(|one| format!("\"{one}\""))
            .collect();
        format!(
            r#"
name = "{name}"
[redis]
url = "{url}"
discovery_interval = "300ms"
[kafka]
bootstrap_servers = [{servers}]
session_timeout = "{session}"
[shards]
count = {shards}
[shutdown]
grace = "{grace}"
[[routes]]
name = "messages"
streams = ["msg:stream:{{0..15}}"]
topic = "{topic}"
partitions = {PARTITIONS}
key = {{ field = "conversationId" }}
partition = {{ hash = "murmur3", fold = "abs" }}
[routes.headers]
correlation-id = {{ field = "correlationId" }}
idempotency-key = {{ field = "idempotencyKey" }}
[routes.value]
json = ["messageId", "conversationId", "senderId", "createdAt", {{ field = "payloadKey", as = "null-if-empty" }},
        "idempotencyKey", "correlationId", {{ field = "metadata", as = "json" }}]
{routes}
"#,
            name = self.name,
            url = self.redis_url,
            servers = servers.join(", "),
            session = self.session,
            shards = self.shards,
            grace = self.grace,
            topic = self.topic,
            routes = self.routes,
        )
    }

    pub fn daemon(&self) -> Daemon {
        Daemon::ready(&self.config())
    }

    /// With failpoints; not waited for, because it may die before it is ready.
    pub fn daemon_with(&self, failpoints: &str) -> Daemon {
        Daemon::start_with(&self.config(), armed(failpoints))
    }

    /// Straight to the stores, whatever the daemons are told.
    pub fn ledger(&self) -> Ledger {
        Ledger::messages(
            &self.redis.url(self.database),
            &self.kafka.bootstrap(),
            &self.topic,
        )
    }

    pub fn load(&self, per_second: u32) -> Running {
        Workload::new(7).run(&self.redis.url(self.database), Some(per_second))
    }

    pub fn add(&self, from: u64, count: u64) -> Added {
        Workload::new(7).add(&self.redis.url(self.database), from, count)
    }

    pub fn witness(&self) -> Witness {
        Witness::start(self.kafka, &self.topic)
    }

    /// All checkpoints in Kafka: partition and key to value. The layout is among them.
    pub fn checkpoints(&self) -> BTreeMap<(i32, String), serde_json::Value> {
        let topic = format!("lockgate.{}.checkpoints", self.name);
        let mut client = self.kafka.client();
        client
            .set("group.id", "witness")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = client.create().unwrap();
        let seen = consumer.fetch_metadata(Some(&topic), LONG).unwrap();
        let count = i32::try_from(seen.topics()[0].partitions().len()).unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..count {
            list.add_partition_offset(&topic, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut ended = BTreeSet::new();
        let mut found = BTreeMap::new();
        eventually(LONG, "the checkpoints are read", || {
            while let Some(next) = consumer.poll(Duration::from_millis(50)) {
                match next {
                    Ok(record) => {
                        let key = String::from_utf8_lossy(record.key().unwrap()).into_owned();
                        let at = (record.partition(), key);
                        match record.payload() {
                            Some(value) => found.insert(at, serde_json::from_slice(value).unwrap()),
                            None => found.remove(&at),
                        };
                    }
                    Err(rdkafka::error::KafkaError::PartitionEOF(partition)) => {
                        ended.insert(partition);
                    }
                    Err(_) => {}
                }
            }
            i32::try_from(ended.len()).unwrap() == count
        });
        found
    }
}

pub fn armed(failpoints: &str) -> DaemonOptions {
    DaemonOptions {
        failpoints: Some(failpoints.to_owned()),
        ..DaemonOptions::default()
    }
}

/// Shards that a daemon says it runs.
pub fn running_shards(daemon: &Daemon) -> BTreeSet<u64> {
    listed(daemon, "shards")
        .filter_map(|shard| shard["shard"].as_u64())
        .collect()
}

/// Streams that a daemon says it runs.
pub fn running_streams(daemon: &Daemon) -> BTreeSet<String> {
    listed(daemon, "streams")
        .filter_map(|stream| Some(stream["stream"].as_str()?.to_owned()))
        .collect()
}

fn listed(daemon: &Daemon, what: &str) -> impl Iterator<Item = serde_json::Value> {
    let all = daemon
        .status()
        .and_then(|status| status[what].as_array().cloned())
        .unwrap_or_default();
    all.into_iter()
        .filter(|one| one["state"]["name"] == "running")
}

/// Waits until these daemons run all sixteen streams between them, each stream once, and none is without.
#[track_caller]
pub fn shared_out(daemons: &[&Daemon]) {
    eventually(
        LONG,
        "every stream has one owner and every daemon streams",
        || {
            let shares: Vec<_> = daemons
                .iter()
                .map(|daemon| running_streams(daemon))
                .collect();
            let all: BTreeSet<_> = shares.iter().flatten().collect();
            let sum: usize = shares.iter().map(BTreeSet::len).sum();
            if all.len() == 16 && sum == 16 && shares.iter().all(|share| !share.is_empty()) {
                Ok(())
            } else {
                Err(format!("{shares:?}"))
            }
        },
    );
}

/// Waits until the load has added so many more: a pause that is measured in work.
#[track_caller]
pub fn pass(load: &Running, entries: u64) {
    let until = load.count() + entries;
    eventually(LONG, "the load goes on", || load.count() >= until);
}

/// Nothing wrong but what is still on its way.
#[track_caller]
pub fn assert_nothing_wrong(report: &Report) {
    let wrong = report.faults.keys().any(|class| *class != Class::Missing);
    assert!(!wrong, "{report}");
}

/// Stops the load and waits until both stores are level.
#[track_caller]
pub fn assert_level_in_the_end(rig: &Rig, load: Running) {
    let added = load.stop();
    let report = rig.ledger().settle(LONG);
    report.assert_level();
    assert!(
        report.entries as u64 >= added.count,
        "{} of {}",
        report.entries,
        added.count
    );
}

pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    since.as_millis().try_into().unwrap()
}

/// SplitMix64 from a seed that is printed, or given in `LOCKGATE_TEST_SEED`.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let seed = Self::seed();
        println!("LOCKGATE_TEST_SEED={seed}");
        Self(seed)
    }

    /// The seed that is given, or one of this moment.
    pub fn seed() -> u64 {
        let given = std::env::var("LOCKGATE_TEST_SEED").ok();
        given
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(now_ms)
    }

    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to `below`, without it.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    /// Small and large alike: below 16 as often as in any further doubling, of which there are `doublings`.
    pub fn size(&mut self, doublings: u64) -> u64 {
        let limit = 1 << (4 + self.below(doublings));
        self.below(limit)
    }
}
