//! What a test of trouble needs around it: a configuration made of a few routes, a daemon on it, and eyes for its streams,
//! its metrics and the records that came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Daemon, DaemonOptions, KafkaCluster, KafkaReader, Record, RedisServer, eventually, kafka,
    redis, unique,
};

/// Long enough for a loaded machine; what takes this long has failed.
pub const SOON: Duration = Duration::from_secs(180);

/// A configuration in the making. One shard unless said otherwise, so that all streams are neighbours in it.
pub struct Plan {
    pub name: String,
    pub database: u32,
    pub redis_url: String,
    pub redis_more: String,
    pub bootstrap: String,
    /// Tables and keys before the routes, such as `[kafka.properties]`.
    pub more: String,
    pub shards: u32,
    routes: Vec<String>,
}

impl Plan {
    /// On the shared servers, in a database of its own.
    pub fn new(what: &str) -> Self {
        let database = redis().own_database();
        Self::on(what, redis(), database, kafka())
    }

    pub fn on(what: &str, redis: &RedisServer, database: u32, kafka: &KafkaCluster) -> Self {
        Self {
            name: unique(what),
            database,
            redis_url: redis.bare_url(database),
            redis_more: String::new(),
            bootstrap: kafka.bootstrap(),
            more: String::new(),
            shards: 1,
            routes: Vec::new(),
        }
    }

    /// A topic's name that is this test's own.
    pub fn topic(&self, what: &str) -> String {
        format!("{}.{what}", self.name)
    }

    /// A route of one partition, without a key, whose value is the field `data`; `more` adds keys or overrides these.
    pub fn route(mut self, name: &str, streams: &[&str], more: &str) -> Self {
        let mut table = format!("[[routes]]\nname = \"{name}\"\nstreams = {streams:?}\n");
        let topic = format!("topic = \"{}\"", self.topic(name));
        for line in [&*topic, "partitions = 1", "value = { field = \"data\" }"] {
            let key = line.split(' ').next().unwrap();
            if !more
                .lines()
                .any(|other| other.split(' ').next() == Some(key))
            {
                table.push_str(line);
                table.push('\n');
            }
        }
        table.push_str(more);
        self.routes.push(table);
        self
    }

    pub fn toml(&self) -> String {
        // One `host:port` an item; Kafka's own tools take the list as one text.
        let servers: Vec<&str> = self.bootstrap.split(',').collect();
        format!(
            "name = \"{}\"\n[redis]\nurl = \"{}\"\n{}\n[kafka]\nbootstrap_servers = {servers:?}\n{}\n[shards]\ncount = {}\n{}\n",
            self.name,
            self.redis_url,
            self.redis_more,
            self.more,
            self.shards,
            self.routes.join("\n")
        )
    }

    #[track_caller]
    pub fn daemon(&self) -> Daemon {
        Daemon::ready(&self.toml())
    }

    #[track_caller]
    pub fn daemon_with(&self, options: DaemonOptions) -> Daemon {
        let mut daemon = Daemon::start_with(&self.toml(), options);
        daemon.wait_ready();
        daemon
    }
}

/// What a daemon says of one stream.
pub fn stream(daemon: &Daemon, name: &str) -> Option<Value> {
    let status = daemon.status()?;
    let streams = status["streams"].as_array()?;
    streams.iter().find(|one| one["stream"] == name).cloned()
}

/// Waits until a stream is in this state for this reason (empty: none), and gives what is said of it.
#[track_caller]
pub fn await_state(daemon: &Daemon, name: &str, state: &str, reason: &str) -> Value {
    eventually(SOON, &format!("{name} is {state} {reason}"), || {
        let seen = stream(daemon, name).ok_or("not shown".to_owned())?;
        let found = (
            &seen["state"]["name"],
            seen["state"]["reason"].as_str().unwrap_or(""),
        );
        if found == (&json!(state), reason) {
            Ok(seen)
        } else {
            Err(seen.to_string())
        }
    })
}

/// Waits until a stream runs and nothing of it is unmirrored.
#[track_caller]
pub fn await_level(daemon: &Daemon, name: &str) -> Value {
    eventually(SOON, &format!("{name} is level"), || {
        let seen = stream(daemon, name).ok_or("not shown".to_owned())?;
        if seen["state"]["name"] == "running" && seen["lag_entries"] == 0 {
            Ok(seen)
        } else {
            Err(seen.to_string())
        }
    })
}

/// Lifts a halt through the API.
#[track_caller]
pub fn resume(daemon: &Daemon, database: u32, stream: &str, from: Option<&str>) {
    let mut body =
        json!({ "database": database, "stream": stream, "reason": "a test looked at it" });
    if let Some(from) = from {
        body["from"] = json!(from);
    }
    let (code, answer) = daemon.post("/v1/streams/resume", &body).unwrap();
    assert_eq!(code, 200, "{answer}");
}

/// SIGTERM, and a clean end.
#[track_caller]
pub fn drain(daemon: &mut Daemon) {
    daemon.term();
    let status = daemon.wait(SOON);
    assert!(status.success(), "{status}");
}

/// `lockgate_mirror_gap_entries_total` of a route, by cause, the zeros left out.
pub fn gaps(daemon: &Daemon, route: &str) -> BTreeMap<String, u64> {
    counted(
        daemon,
        "lockgate_mirror_gap_entries_total",
        "cause",
        route,
        &["trimmed", "deleted", "recreated", "failover", "evicted"],
    )
}

/// `lockgate_mirror_dead_letters_total` of a route, by reason, the zeros left out.
pub fn letters(daemon: &Daemon, route: &str) -> BTreeMap<String, u64> {
    counted(
        daemon,
        "lockgate_mirror_dead_letters_total",
        "reason",
        route,
        &["missing_field", "encode", "too_large", "rejected"],
    )
}

fn counted(
    daemon: &Daemon,
    metric: &str,
    label: &str,
    route: &str,
    values: &[&str],
) -> BTreeMap<String, u64> {
    let text = daemon.metrics();
    values
        .iter()
        .filter_map(|value| {
            let wanted = [format!("{label}=\"{value}\""), format!("route=\"{route}\"")];
            let line = text.lines().find(|line| {
                line.starts_with(metric) && wanted.iter().all(|part| line.contains(part))
            });
            let line = line.unwrap_or_else(|| panic!("no {metric} of {route} with {value}"));
            let count: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            (count > 0.0).then(|| ((*value).to_owned(), count as u64))
        })
        .collect()
}

pub fn causes(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected
        .iter()
        .map(|(cause, count)| ((*cause).to_owned(), *count))
        .collect()
}

/// What stands in a topic, read again and again.
pub struct Topic {
    reader: KafkaReader,
}

impl Topic {
    pub fn new(name: &str) -> Self {
        Self::on(kafka(), name)
    }

    pub fn on(cluster: &KafkaCluster, name: &str) -> Self {
        Self {
            reader: KafkaReader::new(&cluster.bootstrap(), &[name]),
        }
    }

    /// Every committed record so far.
    #[track_caller]
    pub fn records(&mut self) -> &[Record] {
        self.reader
            .read_to_end()
            .unwrap_or_else(|error| panic!("{error}"));
        self.reader.records()
    }

    /// Waits until there are as many records, and gives them. More are a failure.
    #[track_caller]
    pub fn await_count(&mut self, count: usize) -> &[Record] {
        eventually(SOON, &format!("{count} records"), || {
            let found = self.records().len();
            if found >= count {
                Ok(())
            } else {
                Err(format!("{found} are there"))
            }
        });
        let records = self.records();
        assert_eq!(records.len(), count, "{:?}", identities(records));
        records
    }

    /// Values of one stream's records, in their order, as text.
    #[track_caller]
    pub fn values_of(&mut self, stream: &str) -> Vec<String> {
        let of_stream = self
            .records()
            .iter()
            .filter(|record| header(record, "redis-stream") == stream);
        of_stream
            .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap()).into_owned())
            .collect()
    }

    /// Waits until a stream's values are these. A repeat shows as well as a loss.
    #[track_caller]
    pub fn await_values(&mut self, stream: &str, expected: &[String]) {
        eventually(
            SOON,
            &format!("{} values of {stream}", expected.len()),
            || {
                let found = self.values_of(stream);
                if found.len() >= expected.len() {
                    Ok(())
                } else {
                    Err(format!("{} are there", found.len()))
                }
            },
        );
        assert_eq!(self.values_of(stream), expected, "{stream}");
    }
}

/// A header as text, empty where there is none.
pub fn header(record: &Record, name: &str) -> String {
    let found = record.headers.iter().find(|(key, _)| key == name);
    found.map_or(String::new(), |(_, value)| {
        String::from_utf8_lossy(value).into_owned()
    })
}

/// Stream, generation and id of each record.
pub fn identities(records: &[Record]) -> Vec<(String, String, String)> {
    let of = |record: &Record| {
        (
            header(record, "redis-stream"),
            header(record, "redis-gen"),
            header(record, "redis-id"),
        )
    };
    records.iter().map(of).collect()
}

/// Adds entries `data = <prefix><n>` to a stream, in one transaction, and gives their values.
pub fn add(
    server: &RedisServer,
    database: u32,
    stream: &str,
    prefix: &str,
    count: u64,
) -> Vec<String> {
    let mut pipe = redis::pipe();
    pipe.atomic();
    let values: Vec<String> = (0..count).map(|n| format!("{prefix}{n}")).collect();
    for value in &values {
        pipe.cmd("XADD")
            .arg(stream)
            .arg("*")
            .arg("data")
            .arg(value)
            .ignore();
    }
    pipe.query::<()>(&mut server.connection(database)).unwrap();
    values
}

/// Ids of a stream's entries.
pub fn ids(server: &RedisServer, database: u32, stream: &str) -> Vec<String> {
    let entries: Vec<(String, Vec<String>)> =
        server.command(database, &format!("XRANGE {stream} - +"));
    entries.into_iter().map(|(id, _)| id).collect()
}
