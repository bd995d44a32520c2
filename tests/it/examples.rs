//! Each example configuration as it ships, against entries of exactly the form that its system writes: the records' bytes,
//! keys, partitions and headers are those that the system's own Kafka readers expect. Expected bytes stand here in full.

use std::path::Path;

use crate::harness::{Daemon, DaemonOptions, Record, RedisOptions, RedisServer, kafka, unique};
use crate::plan::Topic;

struct Example {
    server: RedisServer,
    database: u32,
    _daemon: Daemon,
}

type Fields<'a> = &'a [(&'a str, &'a str)];

/// Starts a server with these entries and a daemon on the file as it is; only addresses and the migration's name differ.
fn start(file: &str, database: u32, change: impl Fn(String) -> String) -> Example {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config/examples")
        .join(file);
    let text = change(std::fs::read_to_string(path).unwrap());
    let server = RedisServer::start(RedisOptions::default());
    assert!(
        text.contains(&format!("redis://127.0.0.1:6379/{database}\"")),
        "another database"
    );
    let set = |key: &str, value: String| ["--set".to_owned(), format!("{key}={value}")];
    let arguments = [
        set("redis.url", server.url(database)),
        set(
            "kafka.bootstrap_servers",
            format!("[{:?}]", kafka().bootstrap()),
        ),
        set("name", unique("example")),
    ];
    let mut daemon = Daemon::start_with(
        &text,
        DaemonOptions {
            arguments: arguments.concat(),
            ..DaemonOptions::default()
        },
    );
    daemon.wait_ready();
    Example {
        server,
        database,
        _daemon: daemon,
    }
}

impl Example {
    fn add(&self, stream: &str, fields: Fields<'_>) -> String {
        let mut command = redis::cmd("XADD");
        command.arg(stream).arg("*");
        for (name, value) in fields {
            command.arg(name).arg(value);
        }
        command
            .query(&mut self.server.connection(self.database))
            .unwrap()
    }

    /// Adds an entry and holds the one record of its topic against what is expected.
    fn expect(&self, stream: &str, fields: Fields<'_>, topic: &str, expected: &Expected<'_>) {
        let id = self.add(stream, fields);
        let mut topic = Topic::new(topic);
        let record = topic.await_count(1)[0].clone();
        expected.hold(&record, stream, &id);
    }
}

struct Expected<'a> {
    partition: Option<i32>,
    key: Option<&'a str>,
    headers: Fields<'a>,
    value: &'a str,
}

impl Expected<'_> {
    fn hold(&self, record: &Record, stream: &str, id: &str) {
        assert_eq!(
            record.key.as_deref(),
            self.key.map(str::as_bytes),
            "key of {stream}"
        );
        let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
        assert_eq!(value, self.value, "value of {stream}");
        if let Some(partition) = self.partition {
            assert_eq!(record.partition, partition, "partition of {stream}");
        }
        let mut headers = vec![("redis-stream", stream), ("redis-id", id)];
        headers.extend(self.headers);
        let found: Vec<(&str, &str)> = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(found, headers, "headers of {stream}");
        let ms: i64 = id.split('-').next().unwrap().parse().unwrap();
        assert_eq!(record.timestamp_ms, Some(ms), "time of {stream}");
    }
}

#[test]
fn messaging() {
    for (topic, partitions) in [
        ("messages.v1", 16),
        ("messages.dlq.v1", 4),
        ("push.notifications.v1", 4),
    ] {
        kafka().create_topic(topic, partitions, &[]);
    }
    let example = start("messaging.toml", 1, |text| text);
    example.expect(
        "msg:stream:9",
        &[
            ("messageId", "7b6f"),
            ("conversationId", "conv_002"),
            ("senderId", "user \"é\" \u{1}\u{2028}"),
            ("createdAt", "2025-03-07T14:01:50.123Z"),
            ("payloadKey", ""),
            ("idempotencyKey", "idem-1"),
            ("correlationId", "corr-1"),
            ("metadata", r#"{"content":"Hi \ud83d\ude00 / </x>","contentType":"text","priority":2,"retryCount":0,"recipientIds":["u2","u3"],"client":{"os":"ios"}}"#),
        ],
        "messages.v1",
        &Expected {
            partition: Some(9),
            key: Some("conv_002"),
            headers: &[("correlation-id", "corr-1"), ("idempotency-key", "idem-1")],
            value: "{\"messageId\":\"7b6f\",\"conversationId\":\"conv_002\",\"senderId\":\"user \\\"é\\\" \\u0001\u{2028}\",\
                    \"createdAt\":\"2025-03-07T14:01:50.123Z\",\"payloadKey\":null,\"idempotencyKey\":\"idem-1\",\
                    \"correlationId\":\"corr-1\",\"metadata\":{\"content\":\"Hi \\ud83d\\ude00 / </x>\",\"contentType\":\"text\",\
                    \"priority\":2,\"retryCount\":0,\"recipientIds\":[\"u2\",\"u3\"],\"client\":{\"os\":\"ios\"}}}",
        },
    );
    // The others of the platform's known places, by their partition alone.
    let places = [
        ("conv_001", 0),
        ("test_conv_001", 2),
        ("😀", 6),
        ("é", 7),
        ("漢字", 11),
    ];
    for (conversation, place) in places {
        let fields = [
            ("messageId", "m"),
            ("conversationId", conversation),
            ("senderId", "s"),
            ("createdAt", "c"),
            ("payloadKey", "k"),
            ("idempotencyKey", "i"),
            ("correlationId", "r"),
            ("metadata", "{}"),
        ];
        example.add(&format!("msg:stream:{place}"), &fields);
    }
    let mut topic = Topic::new("messages.v1");
    for record in topic.await_count(6) {
        let key = std::str::from_utf8(record.key.as_deref().unwrap()).unwrap();
        let place = places
            .iter()
            .find(|(conversation, _)| *conversation == key)
            .map_or(9, |(_, place)| *place);
        assert_eq!(record.partition, place, "{key}");
    }
    let envelope = r#"{"messageId":"m-1","conversationId":"conv_002","payloadKey":null}"#;
    example.expect(
        "msg:dlq",
        &[
            ("envelope", envelope),
            ("reason", "max_retries"),
            ("error_message", "connect ECONNREFUSED"),
            ("error_stack", "Error: x\n    at y"),
            ("retry_count", "5"),
            ("dead_lettered_at", "1741356110123"),
            ("source_stream", "msg:stream:9"),
            ("source_id", "1741356100000-0"),
        ],
        "messages.dlq.v1",
        &Expected {
            partition: Some(1),
            key: Some("conv_002"),
            headers: &[],
            value: "{\"envelope\":{\"messageId\":\"m-1\",\"conversationId\":\"conv_002\",\"payloadKey\":null},\
                    \"reason\":\"max_retries\",\"error_message\":\"connect ECONNREFUSED\",\
                    \"error_stack\":\"Error: x\\n    at y\",\"retry_count\":\"5\",\"dead_lettered_at\":\"1741356110123\",\
                    \"source_stream\":\"msg:stream:9\",\"source_id\":\"1741356100000-0\"}",
        },
    );
    let task = "{\"userId\": \"u2\", \"title\": \"Gr\\u00fc\\u00dfe\"}";
    example.expect(
        "push:notifications",
        &[("task", task)],
        "push.notifications.v1",
        &Expected {
            partition: None,
            key: None,
            headers: &[],
            value: task,
        },
    );
}

#[test]
fn laddr() {
    let example = start("laddr.toml", 0, |text| text);
    let data = r#"{"task_id": "f47ac10b-58cc-4372-a567-0e02b2c3d479", "agent_name": "planner", "payload": {"q": "caf\u00e9"}, "created_at": "2025-03-07T14:01:50.123456"}"#;
    let expected = Expected {
        partition: None,
        key: None,
        headers: &[],
        value: data,
    };
    // Agents and their topics appear as they are first used.
    for agent in ["planner", "coder"] {
        let stream = format!("laddr:tasks:{agent}");
        example.expect(
            &stream,
            &[("data", data)],
            &format!("laddr.tasks.{agent}"),
            &expected,
        );
    }
    assert!(
        kafka()
            .describe_topic("laddr.tasks.coder")
            .contains("PartitionCount: 4")
    );
}

#[test]
fn sovereign_moe() {
    let keyless = [
        "ingest",
        "requests",
        "feedback",
        "linting",
        "audit",
        "stuck",
        "decisions",
    ];
    let data = "{\"type\": \"stuck_worker\", \"n\":1,\"text\": \"\u{e9}\"}";
    for topic in keyless.iter().chain(&["watchdog.alerts"]) {
        kafka().create_topic(&format!("moe.{topic}"), 1, &[]);
    }
    let example = start("sovereign-moe.toml", 0, |text| text);
    let topics = keyless.map(|topic| (topic, None));
    for (topic, key) in topics
        .into_iter()
        .chain([("watchdog.alerts", Some("stuck_worker"))])
    {
        let expected = Expected {
            partition: Some(0),
            key,
            headers: &[],
            value: data,
        };
        let stream = format!("moe:outbox:moe.{topic}");
        example.expect(
            &stream,
            &[("data", data)],
            &format!("moe.{topic}"),
            &expected,
        );
    }
}

#[test]
fn task_events() {
    kafka().create_topic("task-events", 6, &[]);
    let example = start("task-events.toml", 0, |text| text);
    let data = r#"{"event_type": "created", "task_id": "task-42", "event_data": {"title": "é"}}"#;
    example.expect(
        "task-events",
        &[("data", data)],
        "task-events",
        &Expected {
            partition: Some(4),
            key: Some("task-42"),
            headers: &[],
            value: data,
        },
    );
}

#[test]
fn dapr() {
    // The same topic as in the example before, which another test of this run fills.
    kafka().create_topic("dapr.task-events", 6, &[]);
    let example = start("dapr.toml", 0, |text| {
        text.replace("topic = \"task-events\"", "topic = \"dapr.task-events\"")
    });
    let data = r#"{"data":{"taskId":1},"datacontenttype":"application/json","id":"5929aaac","pubsubname":"kafka-pubsub","source":"api","specversion":"1.0","topic":"task-events","traceid":"","type":"com.dapr.event.sent"}"#;
    example.expect(
        "task-events",
        &[
            ("data", data),
            (
                "metadata",
                r#"{"partitionKey":"user-1","rawPayload":"false"}"#,
            ),
        ],
        "dapr.task-events",
        &Expected {
            partition: Some(0),
            key: Some("user-1"),
            headers: &[("partitionKey", "user-1"), ("rawPayload", "false")],
            value: data,
        },
    );
}

#[test]
fn no_example_is_left_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "dapr.toml",
            "laddr.toml",
            "messaging.toml",
            "sovereign-moe.toml",
            "task-events.toml"
        ]
    );
}
