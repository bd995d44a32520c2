//! What the daemon shows: complete from the first look, the same in every view, within its budget, without a payload and
//! without a secret; and an API that refuses bad input without doing anything.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Daemon, eventually, kafka, lockgate, redis};
use crate::operator::scenarios::steered::{await_step, put_at};
use crate::plan::{Plan, SOON, Topic, add, await_level, await_state, drain};

/// Every family that the mirror feeds, with the label values that must be there at once. Labels of one sample, sorted.
const FROM_THE_FIRST: &[(&str, &[&str])] = &[
    ("lockgate_build_info", &["version="]),
    ("lockgate_ready", &[""]),
    ("lockgate_task_up", &["task=\"mirror\"", "task=\"parity\""]),
    ("lockgate_migration_driver", &[""]),
    ("lockgate_journal_errors_total", &[""]),
    (
        "lockgate_flags_evaluations_total",
        &[
            "surface=\"ofrep\",flag=\"USE_KAFKA_INGRESS\",variant=\"on\"",
            "surface=\"ofrep\",flag=\"QUEUE_BACKEND\",variant=\"hold\"",
            "surface=\"flagd\",flag=\"DUAL_WRITE\",variant=\"off\"",
        ],
    ),
    (
        "lockgate_edge_errors_total",
        &[
            "edge=\"redis\",kind=\"connect\"",
            "edge=\"redis\",kind=\"timeout\"",
            "edge=\"redis\",kind=\"auth\"",
            "edge=\"redis\",kind=\"fenced\"",
            "edge=\"redis\",kind=\"refused\"",
            "edge=\"redis\",kind=\"other\"",
            "edge=\"kafka\",kind=\"connect\"",
            "edge=\"kafka\",kind=\"timeout\"",
            "edge=\"kafka\",kind=\"auth\"",
            "edge=\"kafka\",kind=\"fenced\"",
            "edge=\"kafka\",kind=\"refused\"",
            "edge=\"kafka\",kind=\"other\"",
        ],
    ),
    (
        "lockgate_edge_request_duration_seconds_bucket",
        &["edge=\"redis\"", "edge=\"kafka\""],
    ),
    ("lockgate_mirror_entries_total", &["direction=\"forward\""]),
    ("lockgate_mirror_bytes_total", &["direction=\"forward\""]),
    (
        "lockgate_mirror_gap_entries_total",
        &[
            "cause=\"trimmed\"",
            "cause=\"deleted\"",
            "cause=\"recreated\"",
            "cause=\"failover\"",
            "cause=\"evicted\"",
        ],
    ),
    (
        "lockgate_mirror_dead_letters_total",
        &[
            "reason=\"missing_field\"",
            "reason=\"encode\"",
            "reason=\"too_large\"",
            "reason=\"rejected\"",
        ],
    ),
    ("lockgate_mirror_orphan_entries_total", &["route="]),
    (
        "lockgate_mirror_streams",
        &["state=\"running\"", "state=\"waiting\"", "state=\"halted\""],
    ),
    (
        "lockgate_mirror_shards",
        &["state=\"running\"", "state=\"waiting\"", "state=\"halted\""],
    ),
    (
        "lockgate_mirror_takeovers_total",
        &["cause=\"assigned\"", "cause=\"fenced\""],
    ),
    (
        "lockgate_mirror_throttled_seconds_total",
        &["cause=\"operator\"", "cause=\"redis\"", "cause=\"kafka\""],
    ),
    (
        "lockgate_mirror_transaction_duration_seconds_bucket",
        &["direction=\"forward\""],
    ),
    (
        "lockgate_mirror_end_to_end_duration_seconds_bucket",
        &["direction=\"forward\""],
    ),
    (
        "lockgate_parity_state",
        &["state=\"level\"", "state=\"apart\"", "state=\"unknown\""],
    ),
    (
        "lockgate_parity_entries_total",
        &[
            "class=\"match\"",
            "class=\"missing\"",
            "class=\"extra\"",
            "class=\"duplicate\"",
            "class=\"mismatch\"",
            "class=\"misplaced\"",
            "class=\"reordered\"",
            "class=\"unverifiable\"",
            "class=\"dead_lettered\"",
        ],
    ),
    (
        "lockgate_parity_open_entries",
        &[
            "class=\"missing\"",
            "class=\"extra\"",
            "class=\"duplicate\"",
            "class=\"mismatch\"",
            "class=\"misplaced\"",
            "class=\"reordered\"",
            "class=\"pending\"",
            "class=\"unverifiable\"",
        ],
    ),
    (
        "lockgate_parity_windows_total",
        &[
            "result=\"sealed\"",
            "result=\"unequal\"",
            "result=\"unverifiable\"",
        ],
    ),
    (
        "lockgate_parity_compared_entries_total",
        &["side=\"redis\"", "side=\"kafka\""],
    ),
    (
        "lockgate_kafka_produce_duration_seconds_bucket",
        &["purpose=\"mirror\""],
    ),
    (
        "lockgate_kafka_produce_records_total",
        &["outcome=\"acked\"", "outcome=\"error\""],
    ),
    (
        "lockgate_kafka_produce_retries_total",
        &["purpose=\"mirror\""],
    ),
];

/// Families that come with the first look at Redis or the first owned shard.
const SOON_AFTER: &[&str] = &[
    "lockgate_edge_up",
    "lockgate_migration_phase",
    "lockgate_migration_state",
    "lockgate_migration_step_ratio",
    "lockgate_migration_epoch",
    "lockgate_migration_gate_verdict",
    "lockgate_migration_gate_progress_ratio",
    "lockgate_migration_transitions_total",
    "lockgate_migration_event_timestamp_seconds",
    "lockgate_migration_rollback_ready",
    "lockgate_flags_clients",
    "lockgate_kafka_under_replicated_partitions",
    "lockgate_kafka_offline_partitions",
    "lockgate_kafka_under_min_isr_partitions",
    "lockgate_kafka_probe_success",
    "lockgate_kafka_probe_timestamp_seconds",
    "lockgate_mirror_lag_entries",
    "lockgate_mirror_lag_seconds",
    "lockgate_mirror_checkpoint_timestamp_seconds",
    "lockgate_parity_level_since_timestamp_seconds",
    "lockgate_parity_verified_through_timestamp_seconds",
    "lockgate_parity_match_lower_bound_ratio",
    "lockgate_redis_evicted_keys_total",
    "lockgate_redis_may_evict_streams",
    "lockgate_redis_stream_entries",
];

fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn every_metric_is_there_from_the_first_scrape_within_the_budget() {
    let mut plan = Plan::new("metrics");
    plan.shards = 16;
    for route in ["r0", "r1", "r2", "r3"] {
        let streams: Vec<String> = (0..8).map(|n| format!("{route}:{n}")).collect();
        plan = plan.route(
            route,
            &streams.iter().map(String::as_str).collect::<Vec<_>>(),
            "",
        );
        kafka().create_topic(&plan.topic(route), 1, &[]);
    }
    let mut daemon = Daemon::start(&plan.toml());
    let first = eventually(SOON, "the first scrape", || {
        assert!(daemon.exited().is_none(), "{}", daemon.log());
        let text = daemon.metrics();
        (!text.is_empty()).then_some(text)
    });
    for (family, values) in FROM_THE_FIRST {
        for value in *values {
            let found = samples(&first).iter().any(|line| {
                line.starts_with(family) && value.split(',').all(|label| line.contains(label))
            });
            assert!(found, "no {family} with {value} at the first scrape");
        }
    }
    for (family, _) in FROM_THE_FIRST.iter().filter(|(family, _)| {
        (family.contains("_mirror_") || family.contains("_parity_")) && family.ends_with("_total")
    }) {
        for route in ["r0", "r1", "r2", "r3"] {
            let named = samples(&first)
                .iter()
                .filter(|line| line.starts_with(family))
                .all(|line| !line.contains("route=\""));
            let labels = [("route", route)];
            assert!(
                named || daemon.metric(family, &labels).is_some(),
                "no {family} of {route}"
            );
        }
    }
    daemon.wait_ready();
    for route in ["r0", "r1", "r2", "r3"] {
        for n in 0..8 {
            add(redis(), plan.database, &format!("{route}:{n}"), "x", 5);
        }
    }
    for route in ["r0", "r1", "r2", "r3"] {
        Topic::new(&plan.topic(route)).await_count(40);
    }
    let text = eventually(SOON, "all families", || {
        let text = daemon.metrics();
        let missing: Vec<_> = SOON_AFTER
            .iter()
            .filter(|family| !text.contains(&format!("\n{family}{{")))
            .collect();
        if missing.is_empty() {
            Ok(text)
        } else {
            Err(format!("{missing:?} are missing"))
        }
    });
    let series: BTreeSet<&str> = samples(&text)
        .iter()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, _)| name)
        .collect();
    assert!(series.len() < 1_500, "{} series", series.len());
    let migration = format!("migration=\"{}\"", plan.name);
    for line in &series {
        assert!(line.contains(&migration), "{line}");
        assert!(!line.contains("r0:"), "a stream's name in a label: {line}");
    }
}

/// What every view tells of the migration.
#[derive(Debug, PartialEq)]
struct Told {
    /// Those of the next step, with their verdicts.
    gates: BTreeSet<(String, String)>,
    ready: Option<bool>,
    /// How many are told to write to Redis, to wait, and to write to Kafka.
    buckets: [u64; 3],
}

/// Members of each of a list's objects, as text.
fn picked(list: &Value, members: &[&str]) -> Vec<Vec<String>> {
    let text = |one: &Value, member: &&str| one[*member].as_str().unwrap_or("?").to_owned();
    let all = list.as_array().into_iter().flatten();
    all.map(|one| members.iter().map(|member| text(one, member)).collect())
        .collect()
}

fn gates_of(view: &Value) -> BTreeSet<(String, String)> {
    let pairs = picked(&view["gates"], &["name", "verdict"]).into_iter();
    pairs
        .filter_map(|pair| <[String; 2]>::try_from(pair).ok())
        .map(Into::into)
        .collect()
}

fn in_status(status: &Value) -> Told {
    let of = |primary: &str| status["buckets"][primary].as_u64().unwrap_or_default();
    Told {
        gates: gates_of(status),
        ready: status["rollback"]["ready"].as_bool(),
        buckets: ["redis", "hold", "kafka"].map(of),
    }
}

fn in_migration(shown: &Value) -> Told {
    let number = |name: &str| shown["flags"][name].as_u64();
    let ours = |percent: u64| (percent * 1_024).div_ceil(100);
    let kafka = ours(number("ingress").unwrap_or_default());
    let held = number("hold_ingress_to").map_or(kafka, ours);
    Told {
        gates: gates_of(shown),
        ready: shown["rollback"]["ready"].as_bool(),
        buckets: [1_024 - held, held - kafka, kafka],
    }
}

fn in_metrics(text: &str) -> Told {
    let value = |line: &str| line.rsplit_once(' ')?.1.parse::<f64>().ok();
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        rest.split('"').next().map(str::to_owned)
    };
    let of = |family: &'static str| {
        let lines = samples(text).into_iter();
        lines.filter(move |line| line.starts_with(&format!("{family}{{")))
    };
    let judged = of("lockgate_migration_gate_verdict").filter(|line| value(line) == Some(1.0));
    let buckets = |primary| {
        let mut lines = of("lockgate_ingress_buckets");
        let line = lines.find(|line| label(line, "primary").as_deref() == Some(primary));
        line.and_then(value).unwrap_or(-1.0) as u64
    };
    Told {
        gates: judged
            .filter_map(|line| label(line, "gate").zip(label(line, "verdict")))
            .collect(),
        ready: of("lockgate_migration_rollback_ready")
            .find_map(value)
            .map(|ready| ready == 1.0),
        buckets: ["redis", "hold", "kafka"].map(buckets),
    }
}

/// Waits until status, metrics and `/v1/migration`, asked one after the other, tell the same, and gives it.
#[track_caller]
fn agree_on_the_migration(daemon: &Daemon) -> Told {
    eventually(SOON, "all views of the migration agree", || {
        let status = daemon.status().ok_or("no status")?;
        let views = [in_status(&status), in_metrics(&daemon.metrics())];
        let (_, shown) = daemon.get("/v1/migration").map_err(|why| why.to_string())?;
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        let [told, counted] = views;
        let third = in_migration(&shown);
        let place = |view: &Value| {
            let next = &view["next"];
            let step = [&view["phase"], &view["epoch"], &view["state"]["name"]];
            json!([step, view["step"], next["to"], next["allowed"]])
        };
        let blockers = |view: &Value| picked(&view["blockers"], &["what", "why", "do"]);
        let same = told == counted
            && told == third
            && status["flags"][0]["version"] == shown["flags"]["version"]
            && place(&status) == place(&shown)
            && blockers(&status) == blockers(&shown);
        if same && told.gates.len() > 3 {
            Ok(told)
        } else {
            let of = |view: &Value| format!("{} {:?}", place(view), blockers(view));
            Err(format!(
                "{told:?}\n{counted:?}\n{third:?}\n{}\n{}",
                of(&status),
                of(&shown)
            ))
        }
    })
}

#[test]
fn metrics_and_status_agree() {
    let plan = Plan::new("agree")
        .route("r", &["a", "b"], "")
        .route("other", &["c"], "");
    for route in ["r", "other"] {
        kafka().create_topic(&plan.topic(route), 1, &[]);
    }
    let db = plan.database;
    add(redis(), db, "a", "x", 100);
    add(redis(), db, "c", "x", 20);
    redis().command::<()>(db, "SET b text");
    redis().command::<()>(db, "XADD c * wrong field");
    let mut daemon = plan.daemon();
    await_level(&daemon, "a");
    await_level(&daemon, "c");
    await_state(&daemon, "b", "halted", "not-a-stream");
    eventually(SOON, "both views agree", || {
        let status = daemon.status().ok_or("no status".to_owned())?;
        let route = |name: &str| {
            status["routes"]
                .as_array()
                .unwrap()
                .iter()
                .find(|route| route["name"] == name)
                .unwrap()
        };
        let (r, other) = (route("r"), route("other"));
        let metric = |name: &str, labels: &[(&str, &str)]| daemon.metric(name, labels);
        let pairs = [
            (
                r["mirrored_entries"].as_f64(),
                metric("lockgate_mirror_entries_total", &[("route", "r")]),
            ),
            (
                r["mirrored_bytes"].as_f64(),
                metric("lockgate_mirror_bytes_total", &[("route", "r")]),
            ),
            (
                other["mirrored_entries"].as_f64(),
                metric("lockgate_mirror_entries_total", &[("route", "other")]),
            ),
            (
                other["dead_letters"]["missing_field"].as_f64(),
                metric(
                    "lockgate_mirror_dead_letters_total",
                    &[("route", "other"), ("reason", "missing_field")],
                ),
            ),
            (
                r["streams_by_state"]["halted"].as_f64(),
                metric(
                    "lockgate_mirror_streams",
                    &[("route", "r"), ("state", "halted")],
                ),
            ),
            (
                status["mirror"]["forward"]["shards"]["halted"].as_f64(),
                metric("lockgate_mirror_shards", &[("state", "halted")]),
            ),
            (
                other["stream_entries"].as_f64(),
                metric("lockgate_redis_stream_entries", &[("route", "other")]),
            ),
            (
                status["epoch"].as_f64(),
                metric("lockgate_migration_epoch", &[]),
            ),
            (
                status["phase"].as_str().map(|_| 1.0),
                metric(
                    "lockgate_migration_phase",
                    &[("phase", status["phase"].as_str().unwrap_or("?"))],
                ),
            ),
            (
                status["state"]["name"].as_str().map(|_| 1.0),
                metric(
                    "lockgate_migration_state",
                    &[("state", status["state"]["name"].as_str().unwrap_or("?"))],
                ),
            ),
        ];
        let same = pairs.iter().all(|(one, two)| one.is_some() && one == two);
        if same {
            Ok(())
        } else {
            Err(format!("{pairs:?}"))
        }
    });
    agree_on_the_migration(&daemon);
    let status = daemon.status().unwrap();
    assert_eq!(status["schema"], "lockgate.status/v1");
    assert!(status["seq"].as_u64() < daemon.status().unwrap()["seq"].as_u64());
    // The command line shows the same, and says by its exit code that something stands still.
    let url = format!("http://127.0.0.1:{}", daemon.port);
    let printed = lockgate(&["status", "--output", "json", "--url", &url]);
    let shown: Value = serde_json::from_slice(&printed.stdout).unwrap();
    for part in ["routes", "schema", "migration", "instance"] {
        assert_eq!(shown[part], status[part], "{part}");
    }
    let names = |status: &Value| -> Vec<(Value, Value)> {
        let streams = status["streams"].as_array().unwrap();
        streams
            .iter()
            .map(|one| (one["stream"].clone(), one["state"].clone()))
            .collect()
    };
    assert_eq!(names(&shown), names(&status));
    let checked = lockgate(&["status", "--check", "--url", &url]);
    assert_eq!(checked.status.code(), Some(5), "{checked:?}");
    assert_eq!(
        daemon.metric("lockgate_mirror_entries_total", &[]),
        Some(120.0)
    );
    // Once more where there are buckets of both and a way back.
    drain(&mut daemon);
    put_at(redis(), &plan, "ingress:10");
    daemon.restart();
    daemon.wait_ready();
    await_step(&daemon, "ingress:10", "steady");
    let told = agree_on_the_migration(&daemon);
    assert_eq!(told.buckets, [921, 0, 103]);
    assert_eq!(told.ready, Some(true));
}
