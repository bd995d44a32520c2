//! The families of the migration, of one snapshot.
//!
//! Facts of the migration come from the instance that steers, so that two instances never tell two stories: queries take
//! `max by (migration)`. Only whether an instance steers, and what it failed to store, every one of them tells of itself.

use std::collections::BTreeMap;

use super::{Family, counter, flag, float, gauge, unix_seconds};
use crate::status::Status;
use crate::status::driver::{
    DriverStatus, GATES, OUTCOMES, PHASES, STATES, StepStatus, VERBS, VERDICTS,
};

pub fn families(status: &Status) -> Vec<Family> {
    let driver = &status.driver;
    let mut steers = gauge(
        "lockgate_migration_driver",
        "1 on the instance that steers the migration; the sum over all must be 1",
    );
    steers.add(&[], flag(driver.steers));
    let mut errors = counter(
        "lockgate_journal_errors_total",
        "Changes of the migration, with their records, that could not be stored",
    );
    errors.add(&[], float(driver.journal_errors));
    let mut families = vec![steers, errors];
    if driver.steered_by.is_none() && driver.phase.is_some() {
        families.extend(place(driver));
        families.extend(gates(driver));
        families.extend(events(driver));
        families.extend(way_back(driver));
        families.push(clients(driver));
        families.push(buckets(driver));
        families.push(pace(driver));
        families.extend(replicas(status));
    }
    // Those at Redis each instance shows of its own streams; those at Kafka are known where it steers alone.
    families.extend(groups(status));
    families
}

fn place(driver: &DriverStatus) -> Vec<Family> {
    let mut phase = gauge(
        "lockgate_migration_phase",
        "1 for the phase that the migration is in",
    );
    for one in PHASES {
        let here = driver.phase.as_deref() == Some(one);
        phase.add(&[("phase", one)], flag(here));
    }
    let mut state = gauge(
        "lockgate_migration_state",
        "1 for what the migration does there",
    );
    let now = driver
        .state
        .as_ref()
        .map_or("", |state| state.name.as_str());
    for one in STATES {
        state.add(&[("state", one)], flag(now == one));
    }
    let mut ratio = gauge(
        "lockgate_migration_step_ratio",
        "Share of the phase's traffic that is Kafka's: where it is to be, and where it is",
    );
    if let Some(StepStatus { set, actual, .. }) = &driver.step {
        ratio.add_known(&[("kind", "set")], share(set));
        ratio.add_known(&[("kind", "actual")], share(actual));
    }
    let mut epoch = gauge(
        "lockgate_migration_epoch",
        "Grows with every change of course",
    );
    epoch.add_known(&[], driver.epoch.map(float));
    let mut copy = gauge(
        "lockgate_migration_copy_failing",
        "1 while the newest state of the migration cannot be copied to Kafka; nothing is promoted meanwhile",
    );
    let failing = driver.copy.as_ref().map(|copy| copy.error.is_some());
    copy.add_known(&[], failing.map(flag));
    vec![phase, state, ratio, epoch, copy]
}

/// Of `consumers:25`, `shadow`, `cleanup`.
fn share(step: &str) -> Option<f64> {
    match step.split_once(':') {
        Some((_, percent)) => Some(percent.parse::<f64>().ok()? / 100.0),
        None if step == PHASES[0] => Some(0.0),
        None => Some(1.0),
    }
}

fn gates(driver: &DriverStatus) -> Vec<Family> {
    let mut verdicts = gauge(
        "lockgate_migration_gate_verdict",
        "1 for the verdict of a gate of the next step; all 0 for a gate that does not stand before it",
    );
    let mut progress = gauge(
        "lockgate_migration_gate_progress_ratio",
        "Evidence collected of evidence needed, for the gates of the next step",
    );
    for gate in GATES {
        let judged = driver.gates.iter().find(|one| one.name == gate);
        for verdict in VERDICTS {
            let so = judged.is_some_and(|one| one.verdict == verdict);
            verdicts.add(&[("gate", gate), ("verdict", verdict)], flag(so));
        }
        progress.add_known(&[("gate", gate)], judged.map(|one| one.progress));
    }
    let mut margins = gauge(
        "lockgate_migration_tripwire_margin_ratio",
        "How far a tripwire is from firing: 1 far, 0 beyond; absent where what it watches is not known",
    );
    for (tripwire, margin) in &driver.tripwires {
        margins.add_known(&[("tripwire", tripwire)], *margin);
    }
    vec![verdicts, progress, margins]
}

fn events(driver: &DriverStatus) -> Vec<Family> {
    let mut transitions = counter(
        "lockgate_migration_transitions_total",
        "What was asked of the migration or done by itself, by what came of it",
    );
    let mut last = gauge(
        "lockgate_migration_event_timestamp_seconds",
        "When this last happened; 0: not since this instance began to steer",
    );
    let none = BTreeMap::new();
    for verb in VERBS {
        let event = driver.events.get(verb);
        let counts = event.map_or(&none, |event| &event.counts);
        for outcome in OUTCOMES {
            let count = counts.get(outcome).copied().unwrap_or(0);
            transitions.add(&[("verb", verb), ("outcome", outcome)], float(count));
        }
        let at = event
            .and_then(|event| event.last_at.as_deref())
            .and_then(unix_seconds);
        last.add(&[("verb", verb)], at.unwrap_or(0.0));
    }
    vec![transitions, last]
}

fn way_back(driver: &DriverStatus) -> Vec<Family> {
    let mut ready = gauge(
        "lockgate_migration_rollback_ready",
        "1 while a rollback would be taken and stored; 0 also where there is nothing to take back",
    );
    let mut estimate = gauge(
        "lockgate_migration_rollback_estimate_seconds",
        "How long a rollback from here is likely to take",
    );
    let mut proven = gauge(
        "lockgate_migration_rehearsal_timestamp_seconds",
        "When the way back was last proven under the present settings: from here, or in shadow from the next step",
    );
    if let Some(rollback) = &driver.rollback {
        ready.add(&[], flag(rollback.ready));
        estimate.add_known(&[], rollback.estimate_seconds);
        let passed = rollback.rehearsal_passed == Some(true);
        let at = rollback.rehearsed_at.as_deref().filter(|_| passed);
        proven.add_known(&[], at.and_then(unix_seconds));
    }
    vec![ready, estimate, proven]
}

fn groups(status: &Status) -> Vec<Family> {
    let mut lag = gauge(
        "lockgate_groups_lag_entries",
        "Entries that a consumer group is behind, transaction markers not counted; absent where it is not known",
    );
    let mut late = gauge(
        "lockgate_groups_lag_seconds",
        "Age of the oldest entry that a consumer group has not done, as its record is dated, 0 if there is none; absent where it is not known",
    );
    let mut pending = gauge(
        "lockgate_groups_pending_entries",
        "Entries that a group at Redis was given and has not acknowledged, at this instance's streams; absent where it is not known",
    );
    let mut oldest = gauge(
        "lockgate_groups_pending_oldest_seconds",
        "Age of the oldest entry that a group at Redis was given and has not acknowledged, 0 if there is none; absent where it is not known",
    );
    let mut processed = counter(
        "lockgate_groups_processed_total",
        "Entries that a group at Redis has done with, at this instance's streams",
    );
    let mut uncommitted = gauge(
        "lockgate_groups_uncommitted_partitions",
        "Partitions that hold something and on which the group has committed nothing",
    );
    let mut members = gauge(
        "lockgate_groups_members",
        "Members of a consumer group at Kafka; absent where it is not known",
    );
    for group in &status.groups {
        let labels = [("store", group.store.as_str()), ("group", &group.group)];
        lag.add_known(&labels, group.lag_entries.map(float));
        late.add_known(&labels, group.lag_seconds);
        uncommitted.add_known(&labels, group.uncommitted_partitions.map(float));
        members.add_known(&labels, group.members.map(float));
        let group_alone = [("group", group.group.as_str())];
        pending.add_known(&group_alone, group.pending_entries.map(float));
        oldest.add_known(&group_alone, group.pending_oldest_seconds);
        processed.add_known(&group_alone, group.processed.map(float));
    }
    vec![lag, late, uncommitted, members, pending, oldest, processed]
}

fn pace(driver: &DriverStatus) -> Family {
    let mut pace = gauge(
        "lockgate_groups_throughput_baseline_ratio",
        "Throughput of the application's readers at both stores together, of the baseline's; absent without a baseline, or where nobody has told it lately",
    );
    pace.add_known(&[], driver.throughput_ratio);
    pace
}

fn replicas(status: &Status) -> Vec<Family> {
    let mut under = gauge(
        "lockgate_kafka_under_replicated_partitions",
        "Partitions that lack a replica in sync, or have no leader",
    );
    let mut offline = gauge(
        "lockgate_kafka_offline_partitions",
        "Partitions without a leader",
    );
    let mut starved = gauge(
        "lockgate_kafka_under_min_isr_partitions",
        "Partitions with fewer replicas in sync than their topic's min.insync.replicas, which take no records; absent where a setting is not known",
    );
    let mut disk = gauge(
        "lockgate_kafka_disk_used_ratio",
        "Share of its disk that the fullest broker uses, as a Prometheus or an application says; absent where nobody says it",
    );
    let mut behind = gauge(
        "lockgate_kafka_replication_lag_seconds",
        "How far the follower that is furthest behind is behind, as a Prometheus or an application says; absent where nobody says it",
    );
    let mut probes = gauge(
        "lockgate_kafka_probe_success",
        "1 while this is told when asked for, by Kafka, or by a Prometheus (log_end, log_dirs); 0 where it is refused or not answered; absent where there is no cause to ask",
    );
    let mut answered = gauge(
        "lockgate_kafka_probe_timestamp_seconds",
        "When it last was told",
    );
    if let Some(kafka) = &status.kafka {
        for (probe, failed) in &kafka.probes {
            let at = kafka.probes_answered_at.get(probe);
            let at = at.map(String::as_str).and_then(unix_seconds);
            probes.add(&[("probe", probe)], flag(failed.is_none()));
            answered.add_known(&[("probe", probe)], at);
        }
        let routed = [("scope", "routed")];
        under.add_known(&routed, kafka.under_replicated_partitions.map(float));
        offline.add_known(&routed, kafka.offline_partitions.map(float));
        starved.add_known(&routed, kafka.under_min_isr_partitions.map(float));
        let all = [("scope", "all")];
        under.add_known(&all, kafka.all_under_replicated_partitions.map(float));
        offline.add_known(&all, kafka.all_offline_partitions.map(float));
        starved.add_known(&all, kafka.all_under_min_isr_partitions.map(float));
        disk.add_known(&[], kafka.disk_used_ratio);
        behind.add_known(&[], kafka.replication_lag_seconds);
    }
    vec![under, offline, starved, disk, behind, probes, answered]
}

fn clients(driver: &DriverStatus) -> Family {
    let mut clients = gauge(
        "lockgate_flags_clients",
        "Applications that are known, by whether they follow what is told now",
    );
    if let Some(known) = &driver.clients {
        clients.add(&[("epoch", "current")], float(known.current));
        clients.add(&[("epoch", "old")], float(known.old));
    }
    clients
}

fn buckets(driver: &DriverStatus) -> Family {
    let mut buckets = gauge(
        "lockgate_ingress_buckets",
        "Buckets of 1024 by whose their writes are, as QUEUE_BACKEND tells applications; on hold, nobody's for a moment",
    );
    for (primary, count) in &driver.buckets {
        buckets.add(&[("primary", primary)], float(*count));
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Board;

    fn names(driver: DriverStatus) -> Vec<&'static str> {
        let board = Board::new("demo", "a", [("r", "t")]);
        board.driver(driver);
        let families = families(&board.snapshot());
        families
            .iter()
            .filter(|family| !family.metrics.is_empty())
            .map(|family| family.name)
            .collect()
    }

    #[test]
    fn a_step_is_a_share_of_its_phase() {
        assert_eq!(share("shadow"), Some(0.0));
        assert_eq!(share("consumers:25"), Some(0.25));
        assert_eq!(share("cleanup"), Some(1.0));
        assert_eq!(share("ingress:x"), None);
    }

    #[test]
    fn who_does_not_steer_tells_of_nothing_but_itself() {
        let known = DriverStatus {
            phase: Some("shadow".to_owned()),
            steered_by: Some("b".to_owned()),
            ..DriverStatus::default()
        };
        let own = ["lockgate_migration_driver", "lockgate_journal_errors_total"];
        assert_eq!(names(known.clone()), own);
        assert_eq!(names(DriverStatus::default()), own);
        let steering = DriverStatus {
            steered_by: None,
            ..known
        };
        assert!(names(steering).contains(&"lockgate_migration_phase"));
    }
}
