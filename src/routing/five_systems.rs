//! The records that five real systems' Kafka readers expect, from entries of exactly the form that these systems write.

use super::tests::{compile, entry};
use super::*;
use crate::entry::{Database, Entry, EntryId};

const ID: EntryId = EntryId::new(1_741_356_110_123, 0);

#[derive(Debug, PartialEq)]
struct Record {
    topic: String,
    partition: i32,
    key: Option<String>,
    headers: Vec<(String, String)>,
    value: String,
}

fn record(routes: &Routes, database: u32, stream: &str, entry: &Entry) -> Record {
    let stream = StreamRef::new(Database(database), stream);
    let binding = routes.bind(&stream).expect("a route takes the stream");
    let mut out = Encoded::new();
    binding.encode(&stream, entry, &mut out).expect("routable");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Record {
        topic: binding.topic().to_string(),
        partition: out.partition.0,
        key: out.key().map(text),
        headers: out
            .headers()
            .map(|(name, value)| (name.to_owned(), text(value)))
            .collect(),
        value: text(&out.value),
    }
}

fn headers(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

fn messaging() -> Routes {
    compile(
        "
        [[routes]]
        name = 'messages'
        database = 1
        streams = ['msg:stream:{0..15}']
        topic = 'messages.v1'
        partitions = 16
        key = { field = 'conversationId' }
        partition = { hash = 'murmur3', fold = 'abs' }
        headers.correlation-id = { field = 'correlationId' }
        headers.idempotency-key = { field = 'idempotencyKey' }
        value.json = ['messageId', 'conversationId', 'senderId', 'createdAt', { field = 'payloadKey', as = 'null-if-empty' },
            'idempotencyKey', 'correlationId', { field = 'metadata', as = 'json' }]
        [[routes]]
        name = 'dead-letters'
        database = 1
        streams = ['msg:dlq']
        topic = 'messages.dlq.v1'
        partitions = 4
        retention = '90d'
        key = { field = 'envelope', pointer = '/conversationId' }
        partition = { hash = 'murmur3', fold = 'abs' }
        value.json = [{ field = 'envelope', as = 'json' }, 'reason', 'error_message', 'error_stack', 'retry_count',
            'dead_lettered_at', 'source_stream', 'source_id']
        [[routes]]
        name = 'push'
        database = 1
        streams = ['push:notifications']
        topic = 'push.v1'
        partitions = 1
        value = { field = 'task' }
        ",
    )
}

#[test]
fn the_messaging_platforms_envelope() {
    let metadata = r#"{"content":"Grüße \"du\" / \u2028","contentType":"text/plain","priority":1,"retryCount":0,"recipientIds":["u2","u3"]}"#;
    let envelope = |conversation: &str, payload_key: &str| {
        entry(
            ID,
            &[
                ("messageId", "m-1"),
                ("conversationId", conversation),
                ("senderId", "user\t\"1\""),
                ("createdAt", "2025-03-07T14:01:50.123Z"),
                ("payloadKey", payload_key),
                ("idempotencyKey", "idem-1"),
                ("correlationId", "corr-1"),
                ("metadata", metadata),
            ],
        )
    };
    assert_eq!(
        record(&messaging(), 1, "msg:stream:9", &envelope("conv_002", "")),
        Record {
            topic: "messages.v1".into(),
            partition: 9,
            key: Some("conv_002".into()),
            headers: headers(&[("correlation-id", "corr-1"), ("idempotency-key", "idem-1")]),
            value: format!(
                r#"{{"messageId":"m-1","conversationId":"conv_002","senderId":"user\t\"1\"","createdAt":"2025-03-07T14:01:50.123Z","payloadKey":null,"idempotencyKey":"idem-1","correlationId":"corr-1","metadata":{metadata}}}"#
            ),
        }
    );
    let record = record(
        &messaging(),
        1,
        "msg:stream:11",
        &envelope("漢字", "s3://a/b"),
    );
    assert_eq!(
        (record.partition, record.key.as_deref()),
        (11, Some("漢字"))
    );
    assert!(record.value.contains(r#""payloadKey":"s3://a/b","#));
}

#[test]
fn the_messaging_platforms_dead_letters_and_push_tasks() {
    let envelope = r#"{"messageId":"m-1","conversationId":"conv_002","payloadKey":null}"#;
    let dead = entry(
        ID,
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
    );
    assert_eq!(
        record(&messaging(), 1, "msg:dlq", &dead),
        Record {
            topic: "messages.dlq.v1".into(),
            partition: 9 % 4,
            key: Some("conv_002".into()),
            headers: vec![],
            value: format!(
                r#"{{"envelope":{envelope},"reason":"max_retries","error_message":"connect ECONNREFUSED","error_stack":"Error: x\n    at y","retry_count":"5","dead_lettered_at":"1741356110123","source_stream":"msg:stream:9","source_id":"1741356100000-0"}}"#
            ),
        }
    );
    let task = r#"{"userId": "u2", "title": "Neu"}"#;
    let pushed = record(
        &messaging(),
        1,
        "push:notifications",
        &entry(ID, &[("task", task)]),
    );
    assert_eq!((pushed.key, pushed.value.as_str()), (None, task));
}

#[test]
fn laddrs_tasks() {
    let routes = compile(
        "
        [[routes]]
        name = 'tasks'
        streams = ['laddr:tasks:*']
        topic = 'laddr.tasks.$1'
        partitions = 4
        key = { field = 'data', pointer = '/task_id' }
        partition = { hash = 'murmur2' }
        value = { field = 'data' }
        ",
    );
    let data = r#"{"task_id": "f47ac10b-58cc-4372-a567-0e02b2c3d479", "agent_name": "planner", "payload": {"q": "\u00e9"}, "created_at": "2025-03-07T14:01:50"}"#;
    let record = record(
        &routes,
        0,
        "laddr:tasks:planner",
        &entry(ID, &[("data", data)]),
    );
    let key = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
    assert_eq!(
        record,
        Record {
            topic: "laddr.tasks.planner".into(),
            partition: ((hash::murmur2(key.as_bytes()) & 0x7fff_ffff) % 4) as i32,
            key: Some(key.into()),
            headers: vec![],
            value: data.into(),
        }
    );
}

#[test]
fn sovereign_moes_outbox() {
    let keyless = [
        "moe.ingest",
        "moe.requests",
        "moe.feedback",
        "moe.linting",
        "moe.audit",
        "moe.stuck",
        "moe.decisions",
    ];
    let route = |topic: &str, key: &str| {
        format!(
            "
            [[routes]]
            name = '{}'
            streams = ['moe:outbox:{topic}']
            topic = '{topic}'
            partitions = 1
            retention = '7d'
            retention_bytes = 536870912
            {key}
            value = {{ field = 'data' }}
            ",
            topic.replace('.', "-")
        )
    };
    let alerts = route(
        "moe.watchdog.alerts",
        "key = { field = 'data', pointer = '/type' }",
    );
    let routes = compile(&(keyless.map(|topic| route(topic, "")).concat() + &alerts));
    let data = r#"{"type": "stuck", "n": 1}"#;
    let keyless = keyless.map(|topic| (topic, None));
    for (topic, key) in keyless
        .into_iter()
        .chain([("moe.watchdog.alerts", Some("stuck"))])
    {
        let stream = format!("moe:outbox:{topic}");
        assert_eq!(
            record(&routes, 0, &stream, &entry(ID, &[("data", data)])),
            Record {
                topic: topic.into(),
                partition: 0,
                key: key.map(Into::into),
                headers: vec![],
                value: data.into(),
            }
        );
    }
}

#[test]
fn task_events_of_java_and_of_librdkafka_applications() {
    for (hash, partition_of) in [
        ("murmur2", (hash::murmur2(b"task-42") & 0x7fff_ffff) % 6),
        ("crc32", crc32fast::hash(b"task-42") % 6),
    ] {
        let routes = compile(&format!(
            "
            [[routes]]
            name = 'task-events'
            streams = ['task-events']
            topic = 'task-events'
            partitions = 6
            key = {{ field = 'data', pointer = '/task_id' }}
            partition = {{ hash = '{hash}' }}
            value = {{ field = 'data' }}
            "
        ));
        let data = r#"{"event":"created","task_id":"task-42","title":"é"}"#;
        assert_eq!(
            record(&routes, 0, "task-events", &entry(ID, &[("data", data)])),
            Record {
                topic: "task-events".into(),
                partition: partition_of as i32,
                key: Some("task-42".into()),
                headers: vec![],
                value: data.into(),
            }
        );
    }
}

#[test]
fn daprs_events_of_both_ages() {
    let routes = compile(
        "
        [[routes]]
        name = 'dapr'
        streams = ['task-events']
        topic = 'task-events'
        partitions = 6
        key = { field = 'metadata', pointer = '/partitionKey', optional = true }
        partition = { hash = 'fnv1a' }
        headers_from = { field = 'metadata', optional = true }
        value = { field = 'data' }
        ",
    );
    let data = r#"{"data":{"taskId":1},"datacontenttype":"application/json","specversion":"1.0"}"#;
    let metadata = r#"{"partitionKey":"user-1","rawPayload":"false","n":2}"#;
    let newer = record(
        &routes,
        0,
        "task-events",
        &entry(ID, &[("data", data), ("metadata", metadata)]),
    );
    assert_eq!(newer.key.as_deref(), Some("user-1"));
    assert_eq!(
        newer.headers,
        headers(&[
            ("partitionKey", "user-1"),
            ("rawPayload", "false"),
            ("n", "2")
        ])
    );
    let older = record(&routes, 0, "task-events", &entry(ID, &[("data", data)]));
    assert_eq!(
        (older.key, older.headers, older.value.as_str()),
        (None, vec![], data)
    );
}
