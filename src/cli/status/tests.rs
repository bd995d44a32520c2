//! Screens as they should look, held to the letter.

use super::*;
use crate::status::Status;

fn status(change: impl FnOnce(&mut serde_json::Value)) -> Status {
    let mut json = serde_json::json!({
        "schema": "lockgate.status/v1", "seq": 12, "as_of": "2026-03-12T14:04:00.120Z", "migration": "messages",
        "version": "0.1.0", "instance": "a-1", "started_at": "2026-03-12T10:00:00.000Z", "ready": true,
        "routes": [{
            "name": "messages", "topic": "messages.v1", "streams": 2,
            "streams_by_state": { "running": 2, "waiting": 0, "halted": 0 },
            "mirrored_entries": 18_402_113, "mirrored_bytes": 9_000_000, "lag_entries": 3, "lag_seconds": 0.01,
            "dead_letters": { "encode": 0 }, "gaps": { "trimmed": 0 }, "orphans": 0,
            "trim_headroom_seconds": null, "stream_entries": 100
        }],
        "parity": parity(),
        "streams": [stream("msg:stream:0", 0), stream("msg:stream:1", 3)],
        "shards": [shard(0), shard(1)],
        "mirror": { "forward": {
            "lag_entries": 3, "lag_seconds": 0.01, "rate": 812.4,
            "shards": { "running": 2, "waiting": 0, "halted": 0 },
            "dead_letters": 0, "gap_entries": 0, "takeovers": { "assigned": 2, "fenced": 0 }
        } },
        "trim": { "headroom_seconds": null, "says": "nothing trims" },
        "edges": {
            "kafka": { "up": true, "since": "2026-03-12T10:00:00.000Z", "errors": {}, "last_error": null },
            "redis": { "up": true, "since": "2026-03-12T10:00:00.000Z", "errors": {}, "last_error": null }
        },
        "redis": {
            "version": "7.0.15", "role": "master", "used_memory_bytes": 38, "max_memory_bytes": 100,
            "memory_used_ratio": 0.38, "maxmemory_policy": "noeviction", "evicted_keys": 0, "evicts_streams": false
        },
        "throttle": { "entries_per_second": null, "bytes_per_second": null, "throttled_seconds": {} },
        "tasks": { "mirror": true }
    });
    change(&mut json);
    serde_json::from_value(json).expect("a status")
}

fn parity() -> serde_json::Value {
    serde_json::json!({
        "state": "level", "since": "2026-03-08T12:04:00.000Z", "verified_through": "2026-03-12T14:03:40.000Z",
        "compared": 18_402_113, "classes": { "match": 18_402_113 }, "open": { "missing": 0, "pending": 3 },
        "unverifiable": 0, "lower_bound": 0.999_999_837, "reason": null, "was_level_seconds": null,
        "open_differences": [], "windows": { "sealed": 100, "unequal": 0, "unverifiable": 0 },
        "behind_seconds": 20.12, "routes": {}
    })
}

fn apart(json: &mut serde_json::Value) {
    json["parity"]["state"] = "apart".into();
    json["parity"]["since"] = "2026-03-12T14:01:50.000Z".into();
    json["parity"]["open"] =
        serde_json::json!({ "missing": 2, "duplicate": 1, "pending": 3, "extra": 0 });
    let difference = |class: &str, records: serde_json::Value| {
        serde_json::json!({
            "class": class, "route": "messages", "database": 1, "stream": "msg:stream:7", "id": "1741356110123-0",
            "topic": "messages.v1", "expected_partition": 7, "records": records
        })
    };
    let records = serde_json::json!([{ "partition": 7, "offset": 4, "generation": 0 }]);
    json["parity"]["open_differences"] = serde_json::json!([
        difference("missing", serde_json::json!([])),
        difference("duplicate", records),
    ]);
}

fn unknown(json: &mut serde_json::Value) {
    json["parity"]["state"] = "unknown".into();
    json["parity"]["since"] = "2026-03-12T14:00:40.000Z".into();
    json["parity"]["reason"] = "Kafka is out of reach".into();
    json["parity"]["was_level_seconds"] = 352_800.into();
}

fn state(name: &str, reason: Option<&str>) -> serde_json::Value {
    serde_json::json!({ "name": name, "reason": reason, "since": "2026-03-12T13:41:02.000Z" })
}

fn stream(name: &str, lag: u64) -> serde_json::Value {
    serde_json::json!({
        "database": 1, "stream": name, "route": "messages", "topic": "messages.v1", "shard": 0,
        "state": state("running", None), "began": null, "checkpoint": "1741356110123-0", "generation": 0,
        "mirrored_entries": 10, "lag_entries": lag, "lag_seconds": 0.01, "gap_entries": 0, "orphans": 0,
        "dead_letters": 0, "length": 50, "trim_headroom_seconds": null, "last_error": null
    })
}

fn shard(number: u32) -> serde_json::Value {
    serde_json::json!({
        "shard": number, "state": state("running", None), "streams": 1, "lag_entries": 0, "lag_seconds": 0.0,
        "checkpoint_at": "2026-03-12T14:03:59.000Z", "last_error": null
    })
}

fn wait_for_kafka(json: &mut serde_json::Value) {
    for shard in json["shards"].as_array_mut().expect("a list") {
        shard["state"] = state("waiting", Some("kafka-unreachable"));
    }
    json["mirror"]["forward"]["shards"] =
        serde_json::json!({ "running": 0, "waiting": 2, "halted": 0 });
    json["mirror"]["forward"]["lag_entries"] = 48_211.into();
    json["mirror"]["forward"]["lag_seconds"] = 250.4.into();
    json["mirror"]["forward"]["rate"] = 0.into();
    json["edges"]["kafka"] = serde_json::json!({
        "up": false, "since": "2026-03-12T13:41:02.000Z", "errors": { "connect": 9 },
        "last_error": "Kafka is out of reach: 127.0.0.1:9092/bootstrap: connection refused"
    });
}

fn halt_one(json: &mut serde_json::Value) {
    json["streams"][1]["state"] = state("halted", Some("entries-trimmed"));
    json["streams"][1]["last_error"] =
        "41 entries after 1741356110123-0 were trimmed before they were read".into();
    json["shards"][0]["state"] = state("halted", Some("entries-trimmed"));
    json["mirror"]["forward"]["shards"] =
        serde_json::json!({ "running": 1, "waiting": 0, "halted": 1 });
    json["mirror"]["forward"]["gap_entries"] = 41.into();
    json["routes"][0]["streams_by_state"] =
        serde_json::json!({ "running": 1, "waiting": 0, "halted": 1 });
    json["routes"][0]["gaps"] = serde_json::json!({ "trimmed": 41 });
}

const PLAIN: Look = Look {
    ascii: false,
    color: false,
    streams: false,
    shards: false,
};

#[track_caller]
fn looks(status: &Status, look: Look, expected: &str) {
    let text = text(status, look);
    assert_eq!(text, expected, "\n{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn running() {
    looks(&status(|_| ()), PLAIN, RUNNING);
}

#[test]
fn waiting_for_kafka() {
    looks(&status(wait_for_kafka), PLAIN, WAITING);
}

#[test]
fn one_stream_halted() {
    looks(&status(halt_one), PLAIN, HALTED);
}

#[test]
fn stores_apart() {
    looks(&status(apart), PLAIN, APART);
    assert_eq!(verdict(&status(apart)), Exit::Troubled);
}

#[test]
fn an_instance_that_has_not_all_shards_does_not_speak_for_all() {
    let partial = |json: &mut serde_json::Value| {
        json["parity"]["shards"] = serde_json::json!([0, 1]);
        json["parity"]["shards_in_all"] = serde_json::json!(16);
    };
    let shown = text(&status(partial), PLAIN);
    let line = "PARITY    = level since 4d02h · 2 of 16 shards";
    assert!(shown.contains(line), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn parity_unknown() {
    looks(&status(unknown), PLAIN, UNKNOWN);
    assert_eq!(verdict(&status(unknown)), Exit::Unknown);
}

#[test]
fn streams_and_shards_in_ascii() {
    looks(
        &status(halt_one),
        Look {
            ascii: true,
            streams: true,
            shards: true,
            color: false,
        },
        STREAMS,
    );
    let text = text(
        &status(halt_one),
        Look {
            ascii: true,
            streams: true,
            shards: true,
            color: false,
        },
    );
    assert!(text.is_ascii());
}

#[test]
fn what_is_not_known_is_a_question_mark() {
    let unknown = status(|json| {
        json["mirror"]["forward"]["lag_entries"] = serde_json::Value::Null;
        json["mirror"]["forward"]["lag_seconds"] = serde_json::Value::Null;
    });
    assert!(text(&unknown, PLAIN).contains("lag ? entries, ? s"));
    assert_eq!(verdict(&unknown), Exit::Unknown);
}

#[test]
fn the_check_tells_trouble_from_ignorance() {
    assert_eq!(verdict(&status(|_| ())), Exit::Done);
    assert_eq!(verdict(&status(wait_for_kafka)), Exit::Troubled);
    assert_eq!(verdict(&status(halt_one)), Exit::Troubled);
    assert_eq!(
        verdict(&status(|json| json["shards"] = serde_json::json!([]))),
        Exit::Unknown
    );
}

#[test]
fn one_line_says_the_same() {
    assert_eq!(
        line(&status(|_| ()), false),
        "RUNNING · 2 streams · 18,402,113 mirrored · lag 3 entries, 0.01 s"
    );
    assert_eq!(
        line(&status(halt_one), true),
        "HALTED | 1 of 2 streams | 18,402,113 mirrored | lag 3 entries, 0.01 s"
    );
}

#[test]
fn a_store_that_is_up_and_takes_no_writes_is_named() {
    let why = "Redis at 127.0.0.1:6379 refused EVAL: NOREPLICAS";
    let shown = text(
        &status(|json| json["store_error"] = why.into()),
        Look::default(),
    );
    let wanted = "\
STORES    redis up, memory 38 % · kafka up
STATE     cannot be read or kept: Redis at 127.0.0.1:6379 refused EVAL:
          NOREPLICAS; nothing is promoted or taken back meanwhile
";
    assert!(shown.contains(wanted), "{shown}");
}

const RUNNING: &str = "\
messages  RUNNING · 2 streams                                 14:04:00Z  seq 12
PARITY    = level since 4d02h · verified to 14:03:40 (20 s ago)
          18,402,113 compared · 0 differ · 0 unverifiable · >= 99.99998 %
FORWARD   lag 3 entries, 0.01 s · 812/s · 2 shards running · 0 dead letters
STORES    redis up, memory 38 % · kafka up
TRIM      nothing trims
";
const WAITING: &str = "\
messages  WAITING for kafka-unreachable · 2 of 2 shards       14:04:00Z  seq 12
PARITY    = level since 4d02h · verified to 14:03:40 (20 s ago)
          18,402,113 compared · 0 differ · 0 unverifiable · >= 99.99998 %
FORWARD   waiting · lag 48,211 entries, 250 s · 2 shards waiting
STORES    kafka DOWN: Kafka is out of reach: 127.0.0.1:9092/bootstrap:
          connection refused
TRIM      nothing trims
WAITING   shards 0, 1: kafka-unreachable, since 2026-03-12 13:41:02Z
          do: bring Kafka back; nothing is lost while Redis holds the entries
          (see TRIM)
          see: lockgate runbook LockgateEdgeDown
";
const HALTED: &str = "\
messages  HALTED · 1 of 2 streams                             14:04:00Z  seq 12
PARITY    = level since 4d02h · verified to 14:03:40 (20 s ago)
          18,402,113 compared · 0 differ · 0 unverifiable · >= 99.99998 %
FORWARD   lag 3 entries, 0.01 s · 812/s · shards: 1 running, 1 halted
          0 dead letters · 41 LOST before they were read
STORES    redis up, memory 38 % · kafka up
TRIM      nothing trims
ROUTE     messages → messages.v1 · 18,402,113 mirrored · lag 3 entries, 0.01 s
          1 halted, 1 running · LOST: 41 trimmed
HALTED    msg:stream:1 in database 1: entries-trimmed, since 2026-03-12
          13:41:02Z
          41 entries after 1741356110123-0 were trimmed before they were read
          do: stop what removes entries before they are mirrored; then count the
          loss and go on: lockgate streams resume --database 1 'msg:stream:1'
          --reason TEXT
          see: lockgate runbook LockgateEntriesLost
";
const STREAMS: &str = "\
messages  HALTED | 1 of 2 streams                             14:04:00Z  seq 12
PARITY    = level since 4d02h | verified to 14:03:40 (20 s ago)
          18,402,113 compared | 0 differ | 0 unverifiable | >= 99.99998 %
FORWARD   lag 3 entries, 0.01 s | 812/s | shards: 1 running, 1 halted
          0 dead letters | 41 LOST before they were read
STORES    redis up, memory 38 % | kafka up
TRIM      nothing trims
ROUTE     messages -> messages.v1 | 18,402,113 mirrored | lag 3 entries, 0.01 s
          1 halted, 1 running | LOST: 41 trimmed
SHARD 0   halted 1 stream | lag 0 entries, 0 s | committed 14:03:59Z | entries-~
SHARD 1   running 1 stream | lag 0 entries, 0 s | committed 14:03:59Z
1/msg:stream:0         running lag 0 entries, 0.01 s | at 1741356110123-0
1/msg:stream:1         halted  lag 3 entries, 0.01 s | at 1741356110123-0
          entries-trimmed, since 2026-03-12 13:41:02Z
          41 entries after 1741356110123-0 were trimmed before they were read
          do: stop what removes entries before they are mirrored; then count the
          loss and go on: lockgate streams resume --database 1 'msg:stream:1'
          --reason TEXT
          see: lockgate runbook LockgateEntriesLost
";
const APART: &str = "\
messages  RUNNING · 2 streams                                 14:04:00Z  seq 12
PARITY    ≠ APART since 14:01:50: 2 missing, 1 duplicate of 18,402,113
          messages.v1/7  msg:stream:7  1741356110123-0  missing
          messages.v1/7  msg:stream:7  1741356110123-0  duplicate
          and 1 more: lockgate parity explain
          18,402,113 compared · 3 differ · 0 unverifiable · >= 99.99998 %
          verified to 14:03:40 (20 s ago)
          see: lockgate runbook LockgateStoresApart
FORWARD   lag 3 entries, 0.01 s · 812/s · 2 shards running · 0 dead letters
STORES    redis up, memory 38 % · kafka up
TRIM      nothing trims
";
const UNKNOWN: &str = "\
messages  RUNNING · 2 streams                                 14:04:00Z  seq 12
PARITY    ? unknown since 14:00:40 (Kafka is out of reach); was level for 4d02h
FORWARD   lag 3 entries, 0.01 s · 812/s · 2 shards running · 0 dead letters
STORES    redis up, memory 38 % · kafka up
TRIM      nothing trims
";
