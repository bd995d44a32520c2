//! The page of all metrics, `docs/metrics.md`, made from the families themselves and held equal to them by a test.
//!
//! A family without a sample has no labels to show, so the page is made of a status in which everything is known; a family
//! that it leaves empty fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::metrics::Metrics;
use crate::placement::Shard;
use crate::status::driver::{
    ClientsStatus, CopyStatus, GATES, GateStatus, RollbackStatus, SteeringState, StepStatus,
};
use crate::status::{
    Board, DriverStatus, GroupStatus, KafkaStatus, RedisStatus, RouteParity, ShardStatus, State,
};

const HEAD: &str = "\
# Metrics

Made from the code; a test keeps this page equal to it (`UPDATE_DOCS=1 cargo test --lib metrics` rewrites it). They are served at
`/metrics`. Every series has the label `migration` as well. Every value of a label is there at 0 from the first scrape; what is not
known is absent, and neither 0 nor old. What speaks of the migration, of brokers and of groups at Kafka comes from the instance that
steers, so ask for `max by (migration)`. The bounds of histograms are 1, 2, 5, 10, 20, 50, 100, 200, 500 ms, 1, 2, 5, 10 and 30 s.
`dashboards/` and `config/prometheus/alerts.yml` show them in use.

| metric | type | labels | meaning |
|---|---|---|---|
";

/// Labels whose values come from the configuration or are many.
const OPEN: [&str; 6] = ["group", "probe", "route", "shard", "task", "tripwire"];
/// A label with more values is not spelled out.
const SPELLED: usize = 10;

const AT: &str = "2026-03-12T12:04:00Z";

/// A status in which everything is known.
fn full() -> Status {
    let board = Board::new("messages", "a", [("messages", "messages.v1")]);
    for edge in ["redis", "kafka"] {
        board.edge_up(edge);
    }
    board.shard(Shard(0), StateName::Running, None, None);
    let mut status = board.snapshot();
    status.tasks.insert("mirror".to_owned(), true);
    for route in &mut status.routes {
        route.stream_entries = Some(1);
        route.trim_headroom_seconds = Some(1.0);
    }
    status.shards = vec![ShardStatus {
        shard: 0,
        state: State {
            name: StateName::Running,
            reason: None,
            since: AT.to_owned(),
        },
        streams: 1,
        lag_entries: Some(1),
        lag_seconds: Some(1.0),
        carried_seconds: None,
        checkpoint_at: Some(AT.to_owned()),
        last_error: None,
    }];
    status.parity.state = ParityState::Level;
    status.parity.since = AT.to_owned();
    status.parity.shards_in_all = Some(1);
    for route in status.parity.routes.values_mut() {
        *route = RouteParity {
            verified_through: Some(AT.to_owned()),
            lower_bound: Some(1.0),
            ..route.clone()
        };
    }
    status.redis = Some(RedisStatus {
        memory_used_ratio: Some(0.4),
        ..RedisStatus::default()
    });
    let group = |store: &str| GroupStatus {
        store: store.to_owned(),
        group: "workers".to_owned(),
        lag_entries: Some(1),
        ..GroupStatus::default()
    };
    let at_redis = GroupStatus {
        pending_entries: Some(1),
        pending_oldest_seconds: Some(1.0),
        processed: Some(1),
        ..group("redis")
    };
    let at_kafka = GroupStatus {
        lag_seconds: Some(1.0),
        uncommitted_partitions: Some(0),
        members: Some(1),
        ..group("kafka")
    };
    status.groups = vec![at_redis, at_kafka];
    status.kafka = Some(brokers());
    status.driver = driver();
    status
}

fn brokers() -> KafkaStatus {
    let metadata = "metadata".to_owned();
    KafkaStatus {
        under_replicated_partitions: Some(0),
        offline_partitions: Some(0),
        under_min_isr_partitions: Some(0),
        all_under_replicated_partitions: Some(0),
        all_offline_partitions: Some(0),
        all_under_min_isr_partitions: Some(0),
        disk_used_ratio: Some(0.4),
        replication_lag_seconds: Some(0.0),
        probes: [(metadata.clone(), None)].into(),
        probes_answered_at: [(metadata, AT.to_owned())].into(),
        ..KafkaStatus::default()
    }
}

fn driver() -> DriverStatus {
    let gates = GATES.iter().map(|name| GateStatus {
        name: (*name).to_owned(),
        ..GateStatus::default()
    });
    DriverStatus {
        epoch: Some(1),
        phase: Some("shadow".to_owned()),
        step: Some(StepStatus {
            set: "shadow".to_owned(),
            actual: "shadow".to_owned(),
            ..StepStatus::default()
        }),
        state: Some(SteeringState::default()),
        gates: gates.collect(),
        rollback: Some(RollbackStatus {
            estimate_seconds: Some(4.0),
            rehearsed_at: Some(AT.to_owned()),
            rehearsal_passed: Some(true),
            ..RollbackStatus::default()
        }),
        buckets: ["redis", "hold", "kafka"]
            .map(|backend| (backend.to_owned(), 0))
            .into(),
        clients: Some(ClientsStatus::default()),
        copy: Some(CopyStatus::default()),
        tripwires: [("group-lag".to_owned(), Some(1.0))].into(),
        throughput_ratio: Some(1.0),
        ..DriverStatus::default()
    }
}

fn row(family: &MetricFamily) -> String {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for metric in family.get_metric() {
        for pair in metric.get_label() {
            let values = labels.entry(pair.name()).or_default();
            values.insert(pair.value());
        }
    }
    let labels = labels.iter().filter(|(label, _)| **label != "migration");
    let labels = labels.map(|(label, values)| {
        if OPEN.contains(label) || *label == "version" || values.len() > SPELLED {
            return format!("`{label}`");
        }
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        format!("`{label}`: {}", values.join(", "))
    });
    let labels: Vec<String> = labels.collect();
    let kind = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        _ => "gauge",
    };
    let help = family.help().replace('|', "\\|");
    format!(
        "| `{}` | {kind} | {} | {help} |\n",
        family.name(),
        labels.join("; ")
    )
}

fn page() -> String {
    let board = Arc::new(Board::new("messages", "a", [("messages", "messages.v1")]));
    let metrics = Metrics::new(board, "messages").expect("declared once");
    let mut rows: BTreeMap<String, String> = BTreeMap::new();
    let own = metrics.registry.gather();
    for family in own.into_iter().chain(of(&full(), Produced::default())) {
        rows.insert(family.name().to_owned(), row(&family));
    }
    let rows: String = rows.into_values().collect();
    format!("{HEAD}{rows}")
}

#[test]
fn nothing_is_left_out_of_the_page() {
    let families = all(&full(), Produced::default());
    let empty = families.iter().filter(|family| family.metrics.is_empty());
    let empty: Vec<&str> = empty.map(|family| family.name).collect();
    assert_eq!(empty, [""; 0], "these have no sample to take labels from");
}

#[test]
fn the_page_in_docs_is_of_these_metrics() {
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&kept, &page).expect("writes docs/metrics.md");
    }
    let kept = std::fs::read_to_string(&kept).unwrap_or_default();
    assert!(
        kept == page,
        "docs/metrics.md is out of date: run `UPDATE_DOCS=1 cargo test --lib metrics`"
    );
}
