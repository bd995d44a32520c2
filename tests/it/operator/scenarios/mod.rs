//! For each runbook the trouble that it is about, brought about with real servers, and the way out that it describes.
//!
//! Those of critical alerts are walked every day, and there Prometheus must see the alert fire as well; the others in
//! `make soak`. A runbook with commands to run and without a scenario, or a critical one that is left to the soak, is a failure here.

pub mod groups;
mod kafka;
pub mod parity;
mod procedures;
mod redis;
pub mod steered;
mod streams;

use crate::harness::{Prometheus, Rules};
use crate::plan::Plan;

use super::alerts;
use super::book::Book;

/// Declares one test for each scenario, and a list of their runbooks.
macro_rules! scenarios {
    ($table:ident: $($(#[$note:meta])* $test:ident $book:literal => $run:path;)*) => {
        const $table: &[&str] = &[$($book),*];
        $(#[test] $(#[$note])* fn $test() { $run($book); })*
    };
}

scenarios! { EVERY_DAY:
    lockgate_entries_lost "LockgateEntriesLost" => streams::entries_lost;
    lockgate_trim_near "LockgateTrimNear" => streams::trim_near;
    lockgate_redis_evicting "LockgateRedisEvicting" => redis::evicting;
    lockgate_produce_errors_high "LockgateProduceErrorsHigh" => kafka::produce_errors;
    lockgate_edge_down "LockgateEdgeDown" => kafka::edge_down;
    lockgate_absent "LockgateAbsent" => procedures::absent;
    lockgate_stores_apart "LockgateStoresApart" => parity::apart;
    lockgate_group_lag_explosion "LockgateGroupLagExplosion" => groups::explosion;
    lockgate_group_throughput_low "LockgateGroupThroughputLow" => groups::throughput_low;
    lockgate_kafka_under_replicated "LockgateKafkaUnderReplicated" => groups::under_replicated;
    lockgate_kafka_offline "LockgateKafkaOffline" => groups::offline;
    lockgate_frozen "LockgateFrozen" => steered::frozen;
    lockgate_rollback_stuck "LockgateRollbackStuck" => steered::rollback_stuck;
    lockgate_rollback_not_ready "LockgateRollbackNotReady" => steered::not_ready;
    lockgate_no_driver "LockgateNoDriver" => steered::no_driver;
}

scenarios! { IN_SOAK:
    #[ignore = "long: make soak"]
    lockgate_edge_down_redis "LockgateEdgeDown" => redis::edge_down;
    #[ignore = "long: make soak"]
    lockgate_mirror_stalled "LockgateMirrorStalled" => streams::mirror_stalled;
    #[ignore = "long: make soak"]
    lockgate_shard_halted "LockgateShardHalted" => streams::not_a_stream;
    #[ignore = "long: make soak"]
    lockgate_dead_letters "LockgateDeadLetters" => kafka::dead_letters;
    #[ignore = "long: make soak"]
    lockgate_redis_memory_high "LockgateRedisMemoryHigh" => redis::memory_high;
    #[ignore = "long: make soak"]
    lockgate_stores_apart_in_shadow "LockgateStoresApartInShadow" => parity::apart_in_shadow;
    #[ignore = "long: make soak"]
    lockgate_parity_stale "LockgateParityStale" => parity::stale;
    #[ignore = "long: make soak"]
    lockgate_parity_unverifiable "LockgateParityUnverifiable" => parity::unverifiable;
    #[ignore = "long: make soak"]
    repair_parity "repair-parity" => parity::apart;
    #[ignore = "long: make soak"]
    lockgate_produce_latency_high "LockgateProduceLatencyHigh" => kafka::produce_latency;
    #[ignore = "long: make soak"]
    checkpoint_lost "checkpoint-lost" => kafka::checkpoint_lost;
    #[ignore = "long: make soak"]
    kafka_refuses "kafka-refuses" => kafka::refuses;
    #[ignore = "long: make soak"]
    not_a_stream "not-a-stream" => streams::not_a_stream;
    #[ignore = "long: make soak"]
    partition_count_changed "partition-count-changed" => kafka::partition_count_changed;
    #[ignore = "long: make soak"]
    placement_changed "placement-changed" => streams::placement_changed;
    #[ignore = "long: make soak"]
    redis_failover "redis-failover" => redis::failover;
    #[ignore = "long: make soak"]
    redis_refuses "redis-refuses" => redis::refuses;
    #[ignore = "long: make soak"]
    resize_shards "resize-shards" => procedures::resize_shards;
    #[ignore = "long: make soak"]
    rotate_secrets "rotate-secrets" => redis::rotate_secrets;
    #[ignore = "long: make soak"]
    shadow "shadow" => procedures::shadow;
    #[ignore = "long: make soak"]
    stop_and_remove "stop-and-remove" => procedures::stop_and_remove;
    #[ignore = "long: make soak"]
    stream_deleted "stream-deleted" => streams::stream_deleted;
    #[ignore = "long: make soak"]
    topic_missing "topic-missing" => kafka::topic_missing;
    #[ignore = "long: make soak"]
    upgrade "upgrade" => procedures::upgrade;
    #[ignore = "long: make soak"]
    lockgate_group_lag_high "LockgateGroupLagHigh" => groups::high;
    #[ignore = "long: make soak"]
    lockgate_group_not_committing "LockgateGroupNotCommitting" => groups::not_committing;
    #[ignore = "long: make soak"]
    lockgate_probe_failing "LockgateProbeFailing" => kafka::probe_failing;
    #[ignore = "long: make soak"]
    lockgate_kafka_replication_lag "LockgateKafkaReplicationLag" => groups::replication_lag;
    #[ignore = "long: make soak"]
    lockgate_kafka_disk_high "LockgateKafkaDiskHigh" => groups::disk_high;
    #[ignore = "long: make soak"]
    lost_driver "lost-driver" => steered::lost_driver;
    #[ignore = "long: make soak"]
    lockgate_flags_not_obeyed "LockgateFlagsNotObeyed" => steered::not_obeyed;
    #[ignore = "long: make soak"]
    lockgate_gate_without_evidence "LockgateGateWithoutEvidence" => steered::no_evidence;
    #[ignore = "long: make soak"]
    consumers "consumers" => steered::consumers;
    #[ignore = "long: make soak"]
    ingress "ingress" => steered::ingress;
    #[ignore = "long: make soak"]
    cleanup "cleanup" => steered::cleanup;
    #[ignore = "long: make soak"]
    done "done" => steered::done;
    #[ignore = "long: make soak"]
    rollback "rollback" => steered::rollback;
    #[ignore = "long: make soak"]
    rollback_ingress_failure "rollback-ingress-failure" => steered::ingress_failure;
    #[ignore = "long: make soak"]
    rollback_consumer_lag "rollback-consumer-lag" => groups::taken_back;
    #[ignore = "long: make soak"]
    rollback_inconsistency "rollback-inconsistency" => steered::frozen;
    #[ignore = "long: make soak"]
    epoch_went_backwards "epoch-went-backwards" => steered::epoch_backwards;
}

/// One route `r` over these streams on the shared servers, its topic made.
fn one_route(what: &str, streams: &[&str], more: &str) -> Plan {
    let plan = Plan::new(what).route("r", streams, more);
    crate::harness::kafka().create_topic(&plan.topic("r"), 1, &[]);
    plan
}

#[test]
fn every_runbook_has_a_scenario_and_those_of_critical_alerts_run_every_day() {
    let prometheus = Prometheus::watching(&[], Rules::AsTheyAre);
    let critical: Vec<String> = alerts::read(&prometheus)
        .into_iter()
        .filter(|rule| rule.severity == "critical")
        .map(|rule| rule.name)
        .collect();
    assert!(critical.len() >= 4, "{critical:?}");
    for book in Book::all() {
        let name = book.name.as_str();
        let every_day = EVERY_DAY.contains(&name);
        assert!(
            every_day || IN_SOAK.contains(&name) || book.steps().is_empty(),
            "{name} has commands to run and is never walked"
        );
        assert!(
            every_day || !critical.iter().any(|one| one == name),
            "{name} is critical and left to the soak"
        );
    }
}
