//! The five situations of an operator, each from a fixed snapshot and held to the letter.

use serde_json::{Value, json};

use super::*;
use crate::status::Status;

const PLAIN: Look = Look {
    ascii: false,
    color: false,
    streams: false,
    shards: false,
};

/// A mirror of sixteen shards that is well, in `shadow`.
fn snapshot() -> Value {
    json!({
        "schema": "lockgate.status/v1", "seq": 12, "as_of": "2026-03-09T14:04:00.000Z", "migration": "messages",
        "version": "0.1.0", "instance": "a-1", "started_at": "2026-03-01T10:00:00.000Z", "ready": true,
        "routes": [], "streams": [],
        "shards": (0..16).map(|number| shard(number, "running", None)).collect::<Vec<_>>(),
        "parity": {
            "state": "level", "since": "2026-03-05T12:04:00.000Z", "verified_through": "2026-03-09T14:03:40.000Z",
            "compared": 18_402_113, "classes": { "match": 18_402_113 }, "open": {}, "unverifiable": 0,
            "lower_bound": 0.999_999_837, "reason": null, "was_level_seconds": null, "open_differences": [],
            "windows": {}, "behind_seconds": 20.12, "routes": {}
        },
        "mirror": { "forward": direction(3, 0.01, 812.4) },
        "trim": { "headroom_seconds": null, "says": "nothing trims" },
        "edges": {
            "kafka": { "up": true, "since": "2026-03-01T10:00:00.000Z", "errors": {}, "last_error": null },
            "redis": { "up": true, "since": "2026-03-01T10:00:00.000Z", "errors": {}, "last_error": null }
        },
        "kafka": {
            "brokers": 3, "brokers_up": 3, "under_replicated_partitions": 0, "disk_used_ratio": 0.41,
            "replication_lag_seconds": 0.0
        },
        "redis": {
            "version": "7.0.15", "role": "master", "used_memory_bytes": 38, "max_memory_bytes": 100,
            "memory_used_ratio": 0.38, "maxmemory_policy": "noeviction", "evicted_keys": 0, "evicts_streams": false
        },
        "throttle": { "entries_per_second": null, "bytes_per_second": null, "throttled_seconds": {} },
        "tasks": { "mirror": true },
        "epoch": 12, "phase": "shadow",
        "step": { "set": "shadow", "actual": "shadow", "since": "2026-03-05T12:04:00.000Z", "by": "a-1" },
        "state": { "name": "steady", "since": "2026-03-05T12:04:00.000Z" },
        "gates": [
            gate("parity", "pass", 0.999_999, "share", ">", 0.999),
            gate("mirror-lag", "pass", 3.0, "entries", "<", 100.0),
            gate("added-latency", "pass", 0.01, "share over 5ms", "<", 0.05),
            {
                "name": "soak", "verdict": "inconclusive", "value": 352_800.0, "unit": "s", "op": ">=",
                "threshold": 604_800.0, "samples": 1, "needed": 1, "reason": "2d22h more",
                "opens_at": "2026-03-12T12:04:00.000Z"
            }
        ],
        "blockers": [{ "what": "soak", "why": "inconclusive: 2d22h more", "do": "nothing to do", "runbook": "shadow" }],
        "next": { "verb": "promote", "to": "consumers:5", "allowed": false },
        "rollback": {
            "to": null, "ready": false, "rehearsed_at": "2026-03-09T12:04:00.000Z", "rehearsal_passed": true
        },
        "steers": true
    })
}

fn shard(number: u32, state: &str, reason: Option<&str>) -> Value {
    json!({
        "shard": number, "state": { "name": state, "reason": reason, "since": "2026-03-09T14:00:40.000Z" },
        "streams": 1, "lag_entries": 0, "lag_seconds": 0.0, "checkpoint_at": null, "last_error": null
    })
}

fn direction(lag_entries: u64, lag_seconds: f64, rate: f64) -> Value {
    json!({
        "lag_entries": lag_entries, "lag_seconds": lag_seconds, "rate": rate,
        "shards": { "running": 16, "waiting": 0, "halted": 0 }, "dead_letters": 0, "gap_entries": 0, "takeovers": {}
    })
}

fn gate(name: &str, verdict: &str, value: f64, unit: &str, op: &str, threshold: f64) -> Value {
    json!({ "name": name, "verdict": verdict, "value": value, "unit": unit, "op": op, "threshold": threshold })
}

fn steady() -> Value {
    snapshot()
}

fn blocked() -> Value {
    let mut json = snapshot();
    json["parity"]["since"] = "2026-02-25T14:04:00.000Z".into();
    json["parity"]["compared"] = 61_220_408.into();
    json["epoch"] = 41.into();
    json["phase"] = "consumers".into();
    json["step"]["set"] = "consumers:25".into();
    json["step"]["actual"] = "consumers:25".into();
    json["state"]["since"] = "2026-03-09T07:52:00.000Z".into();
    json["groups"] = json!([
        { "store": "redis", "group": "persistence-workers", "lag_entries": 0 },
        {
            "store": "kafka", "group": "persistence-workers-kafka", "lag_entries": 1_204, "lag_seconds": 3.1,
            "lag_per_second": 40.2
        }
    ]);
    json["gates"] = json!([
        gate("parity", "pass", 0.999_999, "share", ">", 0.999),
        {
            "name": "group-lag", "verdict": "fail", "value": 1_204.0, "unit": "entries", "op": "<", "threshold": 500.0,
            "window": "30m00s", "window_seconds": 1_800.0, "samples": 1_812, "since": "2026-03-09T13:41:00.000Z",
            "reason": "1204 entries, needs < 500"
        },
        gate("duplicates", "pass", 0.0, "entries", "<=", 0.0),
        gate("throughput", "pass", 0.98, "of baseline", ">=", 0.95),
        {
            "name": "dead-letters", "verdict": "inconclusive", "value": 0.0, "unit": "share", "op": "<",
            "threshold": 0.001, "samples": 2_100, "needed": 2_995,
            "reason": "0 of 2100, needs 2995 to show it at 95 %", "opens_at": "2026-03-09T14:20:00.000Z"
        }
    ]);
    // The row shows them in the order of the snapshot: here parity is the last.
    let gates = json["gates"].as_array_mut().expect("a list");
    gates.rotate_left(1);
    json["blockers"] = json!([
        {
            "what": "group-lag", "why": "fail: 1204 entries, needs < 500",
            "do": "add workers to persistence-workers-kafka, or lockgate rollback", "runbook": "LockgateGroupLagHigh"
        },
        { "what": "dead-letters", "why": "inconclusive", "do": "look", "runbook": "LockgateDeadLetters" }
    ]);
    json["next"]["to"] = "consumers:50".into();
    json["rollback"] = json!({
        "to": "consumers:5", "ready": true, "estimate_seconds": 4.0, "holds_seconds": 0.0, "loses_entries": 0,
        "rehearsed_at": "2026-03-09T12:04:00.000Z", "rehearsal_passed": true
    });
    json
}

fn moving() -> Value {
    let mut json = snapshot();
    json["as_of"] = "2026-03-09T14:04:04.000Z".into();
    json["epoch"] = 57.into();
    json["phase"] = "ingress".into();
    json["step"]["set"] = "ingress:25".into();
    json["step"]["actual"] = "ingress:10".into();
    json["state"] = json!({
        "name": "moving", "since": "2026-03-09T14:04:00.000Z", "deadline": "2026-03-09T14:04:30.000Z", "by": "ana",
        "reason": "soak clean"
    });
    json["ingress"] = json!({
        "p95_seconds": 0.0041, "rate": 9_410.2, "errors": 0, "writes": 2_258_400,
        "buckets": { "redis": 921, "kafka": 103 },
        "handoff": {
            "to": "kafka", "buckets": 154, "done": 131, "holding": 1, "waiting": 22, "returned": 0,
            "holding_seconds": 0.038, "limit_seconds": 0.25, "longest_seconds": 0.061, "rejected": 0
        }
    });
    json["mirror"]["reverse"] = direction(2, 0.02, 2_204.0);
    json["rollback"] = json!({
        "to": "ingress:10", "ready": true, "estimate_seconds": 3.0, "holds_seconds": 0.061, "loses_entries": 0,
        "rehearsed_at": "2026-03-09T12:04:00.000Z", "rehearsal_passed": true
    });
    json
}

fn waiting() -> Value {
    let mut json = snapshot();
    json["state"] = json!({
        "name": "waiting", "since": "2026-03-09T14:00:40.000Z", "waiting_for": "kafka", "reason": "connection refused"
    });
    json["parity"]["state"] = "unknown".into();
    json["parity"]["since"] = "2026-03-09T14:00:40.000Z".into();
    json["parity"]["reason"] = "Kafka unreadable".into();
    json["parity"]["was_level_seconds"] = 352_800.into();
    json["shards"] = (0..16)
        .map(|number| shard(number, "waiting", Some("kafka-unreachable")))
        .collect();
    json["mirror"]["forward"] = direction(162_400, 200.0, 0.0);
    json["mirror"]["forward"]["lag_per_second"] = 812.0.into();
    json["mirror"]["forward"]["shards"] = json!({ "running": 0, "waiting": 16, "halted": 0 });
    json["edges"]["kafka"] = json!({
        "up": false, "since": "2026-03-09T14:00:40.000Z", "errors": { "connect": 9 }, "last_error": "connection refused"
    });
    json["kafka"] = json!({ "brokers": 3, "brokers_up": 0, "next_try_seconds": 8.0 });
    json["trim"] =
        json!({ "headroom_seconds": 33_000.0, "says": "nothing trims, memory full in about 9 h" });
    json
}

fn frozen() -> Value {
    let mut json = snapshot();
    json["epoch"] = 44.into();
    json["state"] = json!({
        "name": "frozen", "since": "2026-03-09T14:01:50.000Z", "reason": "inconsistency", "by": "lockgate",
        "from": "consumers:50"
    });
    json["parity"]["state"] = "apart".into();
    json["parity"]["since"] = "2026-03-09T14:01:50.000Z".into();
    json["parity"]["compared"] = 61_220_408.into();
    json["parity"]["open"] = json!({ "missing": 2, "duplicate": 1, "pending": 3 });
    json["parity"]["open_differences"] = json!([{
        "class": "missing", "route": "messages", "database": 1, "stream": "msg:stream:7", "id": "1741356110123-0",
        "topic": "messages.v1", "expected_partition": 7, "records": [], "looks": [3, 3]
    }]);
    json["flags"] = json!([
        { "flag": "USE_KAFKA_INGRESS", "value": "false", "since": "2026-03-01T10:00:00.000Z", "version": 9 },
        { "flag": "USE_KAFKA_CONSUMERS", "value": "false", "since": "2026-03-09T14:01:51.000Z", "version": 9 }
    ]);
    json["clients"] = json!({ "current": 3, "old": 0, "behind": [] });
    json["rollback"] = json!({ "to": null, "ready": false, "took_seconds": 1.1 });
    json
}

#[track_caller]
fn looks(json: Value, expected: &str) -> Status {
    let status: Status = serde_json::from_value(json).expect("a status");
    let shown = text(&status, PLAIN);
    assert_eq!(shown, expected, "\n{shown}");
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let plain = Look {
        ascii: true,
        ..PLAIN
    };
    assert!(text(&status, plain).is_ascii());
    for line in text(&status, plain).lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    status
}

#[test]
fn steady_in_shadow_until_the_soak_is_over() {
    let status = looks(steady(), STEADY);
    assert_eq!(verdict(&status), Exit::Done);
}

#[test]
fn blocked_by_gates_among_the_consumers() {
    let status = looks(blocked(), BLOCKED);
    assert_eq!(verdict(&status), Exit::Done);
}

#[test]
fn what_is_gone_unmirrored_is_told_in_every_phase() {
    let mut losing = moving();
    losing["trim"] = json!({ "headroom_seconds": null, "gone_entries": 7, "says": "at least 7 entries are gone" });
    let losing = text(&serde_json::from_value(losing).expect("a status"), PLAIN);
    assert!(losing.contains("TRIM      at least 7"), "{losing}");
}

#[test]
fn moving_buckets_to_kafka() {
    let status = looks(moving(), MOVING);
    assert_eq!(verdict(&status), Exit::Done);
}

#[test]
fn waiting_for_kafka_and_going_on_by_itself() {
    let status = looks(waiting(), WAITING);
    let mut losing = waiting();
    losing["trim"]["gone_entries"] = 7.into();
    let losing = text(&serde_json::from_value(losing).expect("a status"), PLAIN);
    assert!(!losing.contains("Redis holds it all"), "{losing}");
    assert_eq!(verdict(&status), Exit::Troubled);
}

#[test]
fn what_to_do_while_kafka_is_away_is_a_matter_of_the_phase() {
    let next = |store: &str, step: &str| {
        let mut json = waiting();
        json["phase"] = step.split(':').next().into();
        json["step"] = json!({ "set": step, "actual": step, "since": "2026-03-05T12:04:00.000Z", "by": "a-1" });
        json["state"]["waiting_for"] = store.into();
        let text = text(&serde_json::from_value(json).expect("a status"), PLAIN);
        let from = text.find("NEXT").expect("a line of what comes next");
        text[from..].to_owned()
    };
    for step in ["ingress:10", "cleanup"] {
        assert!(next("kafka", step).starts_with(PRODUCERS), "{step}");
    }
    for (store, step, says) in [
        ("kafka", "consumers:25", "readers of Kafka get nothing new"),
        ("kafka", "done", "bring Kafka back"),
        ("redis", "ingress:10", "nothing to do here"),
    ] {
        let next = next(store, step);
        assert!(next.contains(says), "{store}, {step}: {next}");
        assert!(next.contains("runbook LockgateEdgeDown"), "{next}");
    }
}

const PRODUCERS: &str = "\
NEXT      producers write to Kafka: take them back, now
          do: lockgate rollback --to consumers:100 --reason TEXT
          see: lockgate runbook LockgateEdgeDown
";

#[test]
fn frozen_by_an_inconsistency_and_back_at_redis() {
    let status = looks(frozen(), FROZEN);
    assert_eq!(verdict(&status), Exit::Troubled);
}

#[test]
fn a_status_reads_back_as_it_was_written() {
    for json in [steady(), blocked(), moving(), waiting(), frozen()] {
        let status: Status = serde_json::from_value(json.clone()).expect("a status");
        let again = serde_json::to_value(&status).expect("JSON");
        for part in ["epoch", "phase", "seq", "migration", "as_of"] {
            assert_eq!(again[part], json[part], "{part}");
        }
        for name in [
            "step", "state", "gates", "blockers", "next", "rollback", "flags", "journal", "groups",
            "ingress",
        ] {
            assert!(again.get(name).is_some(), "{name}");
        }
    }
}

const STEADY: &str = "\
messages  SHADOW · steady 4d02h                              14:04:00Z epoch 12
PARITY    = level since 4d02h · verified to 14:03:40 (20 s ago)
          18,402,113 compared · 0 differ · 0 unverifiable · >= 99.99998 %
FORWARD   lag 3 entries, 0.01 s · 812/s · 16 shards running · 0 dead letters
STORES    redis up, memory 38 % · kafka 3 of 3, ISR full, disk 41 %, lag 0 s
TRIM      nothing trims
GATES     ✓ parity  ✓ mirror-lag  ✓ added-latency  … soak 4d02h of 7d
NEXT      consumers 5 %: needs soak (2d22h more); opens 2026-03-12 12:04Z
BACK      nothing to take back · reverse path rehearsed 2h ago: pass
";

const BLOCKED: &str = "\
messages  CONSUMERS 25 % · steady 6h12m                      14:04:00Z epoch 41
PARITY    = level since 12d · 61,220,408 compared · 0 differ · 0 unverifiable
GROUPS    persistence-workers-kafka  lag 1,204 entries, 3.1 s, rising 40/s
GATES     ✗ group-lag 1,204, needs < 500 for 30m (1,812 samples, since 13:41)
          … dead-letters 0 of 2,100, needs 2,995 to show < 0.1 % at 95 %
          ✓ duplicates  ✓ throughput 0.98  ✓ parity
NEXT      50 %: BLOCKED by group-lag (fail), dead-letters (too few samples)
          do: add workers to persistence-workers-kafka, or lockgate rollback
          see: lockgate runbook LockgateGroupLagHigh
BACK      to 5 %: about 4 s, no write held, nothing lost · rehearsed 2h ago
";

const MOVING: &str = "\
messages  INGRESS 10 -> 25 % · MOVING 4 s, gives up at 30 s  14:04:04Z epoch 57
HANDOFF   154 buckets to kafka: 131 done · 1 holding · 22 waiting · 0 returned
          holding 38 ms of 250 ms · longest 61 ms · 0 writes rejected
WRITES    p95 4.1 ms · 9,410/s · 0 errors of 2,258,400
REVERSE   lag 2 entries, 0.02 s · 2,204/s
NEXT      asked by ana 14:04:00 \"soak clean\"; lockgate hold stops after this one
BACK      to 10 %: about 3 s, 61 ms hold a bucket, nothing lost
";

const WAITING: &str = "\
messages  SHADOW · WAITING for kafka 3m20s                   14:04:00Z epoch 12
PARITY    ? unknown since 14:00:40 (Kafka unreadable); was level for 4d02h
FORWARD   waiting · lag 162,400 entries, 200 s, +812/s · 16 shards waiting
STORES    kafka DOWN: connection refused, 3 of 3 brokers, next try in 8 s
TRIM      Redis holds it all: nothing trims, memory full in about 9 h
NEXT      nothing to do here; it goes on by itself where it stopped
          see: lockgate runbook LockgateEdgeDown
";

const FROZEN: &str = "\
messages  CONSUMERS 50 % -> 0 % · FROZEN by inconsistency 2m 14:04:00Z epoch 44
PARITY    ≠ APART since 14:01:50: 2 missing, 1 duplicate of 61,220,408
          messages.v1/7  msg:stream:7  1741356110123-0  missing      (3 of 3)
FLAGS     USE_KAFKA_CONSUMERS=false since 14:01:51 · seen by 3 of 3 clients
NEXT      1 lockgate parity explain   2 lockgate parity repair --plan
          3 lockgate resume --reason   see: lockgate runbook LockgateFrozen
BACK      done by itself in 1.1 s: Redis alone serves
";
