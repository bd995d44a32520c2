//! One migration whose both stores the test writes itself: its streams, its topics, its checkpoints, its configuration.

use std::fs;
use std::path::PathBuf;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::json;

use super::hand::{Hand, Outgoing};
use super::verdict::Verified;
use crate::harness::{
    Entry, Expected, KafkaCluster, RedisServer, Scratch, Workload, kafka, lockgate, messages,
    redis, unique,
};
use crate::rig::now_ms;

pub const PARTITIONS: u32 = 12;
const PIPELINE: usize = 500;

/// (ms, seq).
pub type Id = (u64, u64);

pub struct Stage {
    pub redis: &'static RedisServer,
    pub kafka: &'static KafkaCluster,
    pub name: String,
    pub database: u32,
    pub topic: String,
    pub letters: String,
    pub route: String,
    /// Of the checkpoints: above 0 when the history of Redis broke.
    pub generation: u32,
    folder: Scratch,
}

impl Stage {
    /// The messaging platform's form over the streams `msg:stream:0` to `msg:stream:<streams - 1>`.
    pub fn new(what: &str, streams: usize) -> Self {
        Self::with_route(what, PARTITIONS, |topic| messages_route(topic, streams))
    }

    /// A route of its own, named `messages`, to the topic that is given.
    pub fn with_route(what: &str, partitions: u32, route: impl Fn(&str) -> String) -> Self {
        let name = unique(what);
        let (topic, letters) = (
            format!("{name}.v1"),
            format!("lockgate.{name}.dead-letters.messages"),
        );
        // Some entries are old by their ids.
        let keep = ("retention.ms", "-1");
        let kafka = kafka();
        kafka.create_topic(&topic, i32::try_from(partitions).unwrap(), &[keep]);
        kafka.create_topic(&letters, 1, &[keep]);
        let checkpoints = format!("lockgate.{name}.checkpoints");
        kafka.create_topic(&checkpoints, 1, &[("cleanup.policy", "compact")]);
        Self {
            redis: redis(),
            kafka,
            database: redis().own_database(),
            route: route(&topic),
            topic,
            letters,
            name,
            generation: 0,
            folder: Scratch::new("parity"),
        }
    }

    pub fn config_file(&self) -> PathBuf {
        let text = format!(
            "name = \"{}\"\n[redis]\nurl = \"{}\"\n[kafka]\nbootstrap_servers = [\"{}\"]\n[shards]\ncount = 1\n{}",
            self.name,
            self.redis.url(self.database),
            self.kafka.bootstrap(),
            self.route,
        );
        let file = self.folder.path().join("lockgate.toml");
        fs::write(&file, text).unwrap();
        file
    }

    /// A file of this stage that is not there yet.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Adds entries under their own ids, in the order given.
    pub fn add(&self, entries: &[Entry]) {
        let mut connection = self.redis.connection(self.database);
        for some in entries.chunks(PIPELINE) {
            let mut pipe = redis::pipe();
            for entry in some {
                let command = pipe.cmd("XADD").arg(&entry.stream).arg(text(entry.id));
                for (name, value) in &entry.fields {
                    command.arg(name).arg(value);
                }
                command.ignore();
            }
            pipe.query::<()>(&mut connection).unwrap();
        }
    }

    /// Takes a stream over from another stage as it is there, with its history.
    pub fn take_over(&self, other: &Self, stream: &str) {
        let words = format!("COPY {stream} {stream} DB {}", self.database);
        let copied: u32 = other.command(&words);
        assert_eq!(copied, 1, "{stream}");
    }

    /// One command in the stage's database.
    #[track_caller]
    pub fn command<T: redis::FromRedisValue>(&self, words: &str) -> T {
        self.redis.command(self.database, words)
    }

    /// Gives back the room that it takes: for tests that make many.
    pub fn clear(self) {
        self.command::<()>("FLUSHDB");
        let admin: AdminClient<DefaultClientContext> = self.kafka.client().create().unwrap();
        let topics = [self.topic.as_str(), self.letters.as_str()];
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let outcomes = runtime
            .block_on(admin.delete_topics(&topics, &AdminOptions::new()))
            .unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }

    /// Commits the layout and, for each stream, the checkpoint: its last mirrored entry, and how many were added up to it.
    pub fn checkpoints(&self, hand: &Hand, streams: &[(&str, Id, u64)]) {
        let (replid, offset) = (
            self.redis.info("master_replid").unwrap(),
            self.redis.info("master_repl_offset").unwrap(),
        );
        let offset: i64 = offset.parse().unwrap();
        let layout = json!({ "v": 1, "version": 1, "count": 1, "state": "stable" });
        let mut records = vec![self.own_record(b"@layout", &layout)];
        for &(stream, id, added) in streams {
            let key = format!("{}/{stream}", self.database);
            let checkpoint = json!({
                "v": 1, "id": text(id), "gen": self.generation, "replid": replid, "repl_offset": offset, "entries_added": added,
                "route_hash": "", "placement_hash": "", "began": "0-0",
            });
            records.push(self.own_record(key.as_bytes(), &checkpoint));
        }
        hand.commit(&records);
    }

    fn own_record(&self, key: &[u8], value: &serde_json::Value) -> Outgoing {
        Outgoing {
            topic: format!("lockgate.{}.checkpoints", self.name),
            partition: 0,
            key: Some(key.to_vec()),
            value: Some(value.to_string().into_bytes()),
            headers: Vec::new(),
            timestamp_ms: i64::try_from(now_ms()).unwrap(),
        }
    }

    /// The record that an entry of the platform's form must become, with its identity.
    pub fn twin(&self, entry: &Entry) -> Outgoing {
        let record = messages::expected_over(&self.topic, PARTITIONS, entry);
        identified(&entry.stream, entry.id, record)
    }

    /// `lockgate parity verify` over everything, with further arguments.
    #[track_caller]
    pub fn verify(&self, arguments: &[&str]) -> Verified {
        Verified::of(lockgate(&self.verify_words(arguments)))
    }

    pub fn verify_words(&self, arguments: &[&str]) -> Vec<String> {
        let file = self.config_file();
        let all = ["parity", "verify", "--output", "json", "--config"];
        let all = all.into_iter().chain([file.to_str().unwrap()]);
        all.chain(arguments.iter().copied())
            .map(str::to_owned)
            .collect()
    }
}

pub fn text(id: Id) -> String {
    format!("{}-{}", id.0, id.1)
}

/// A record with the headers that name its entry before its own.
pub fn identified(stream: &str, id: Id, record: Expected) -> Outgoing {
    let identity = [
        ("redis-stream".to_owned(), stream.as_bytes().to_vec()),
        ("redis-id".to_owned(), text(id).into_bytes()),
    ];
    Outgoing {
        topic: record.topic,
        partition: record.partition,
        key: record.key,
        value: record.value,
        headers: identity.into_iter().chain(record.headers).collect(),
        timestamp_ms: record
            .timestamp_ms
            .unwrap_or_else(|| now_ms().try_into().unwrap()),
    }
}

/// So many entries of the platform's form, in turn over streams in these shares; ids two milliseconds apart, ending now.
pub fn entries(seed: u64, shares: &[usize]) -> Vec<Entry> {
    entries_of(Workload::new(seed), shares)
}

/// The same of this load.
pub fn entries_of(workload: Workload, shares: &[usize]) -> Vec<Entry> {
    let total: usize = shares.iter().sum();
    let begin = now_ms() - 2 * total as u64 - 1_000;
    let mut given = vec![0_usize; shares.len()];
    (0..total)
        .map(|n| {
            // The stream that is furthest behind its share.
            let behind = (0..shares.len()).filter(|&s| given[s] < shares[s]);
            let next = behind
                .min_by_key(|&s| given[s] * total / shares[s])
                .unwrap();
            given[next] += 1;
            Entry {
                stream: format!("msg:stream:{next}"),
                id: (begin + 2 * n as u64, 0),
                fields: workload
                    .message(n as u64)
                    .fields
                    .map(|(name, value)| (name.into(), value.into()))
                    .into(),
            }
        })
        .collect()
}

/// Makes an entry of which no record can be made: its metadata is no JSON.
pub fn spoil(entry: &mut Entry) {
    entry.fields[7].1 = b"{\"content\":".to_vec();
}

/// The platform's route, as its operator would write it.
pub fn messages_route(topic: &str, streams: usize) -> String {
    format!(
        r#"
[[routes]]
name = "messages"
streams = ["msg:stream:{{0..{last}}}"]
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
"#,
        last = streams - 1,
    )
}
