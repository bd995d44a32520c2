//! The Kafka side of the check: the brokers, and the topics as they are beside the topics as they should be.

use super::finding::{Findings, Level};
use super::redis::Streams;
use super::report::Report;
use crate::cli::output::counted;
use crate::cli::topics::{Seen, look};
use crate::config::{Config, OnTrouble};
use crate::routing::Routes;
use crate::topics::{Admin, Difference, Error, Kafka};

pub async fn check(
    config: &Config,
    routes: &Routes,
    streams: &Streams,
    report: &mut Report,
    findings: &mut Findings,
) {
    match seen(config, routes, streams, report).await {
        Ok(seen) => topics(&seen, routes, findings),
        Err(error) => findings.add(
            Level::Error,
            "kafka",
            error.to_string(),
            "check kafka.bootstrap_servers, kafka.properties and this user's rights; see: lockgate runbook LockgateEdgeDown",
        ),
    }
}

async fn seen(
    config: &Config,
    routes: &Routes,
    streams: &Streams,
    report: &mut Report,
) -> Result<Seen, Error> {
    let kafka = Kafka::new(&config.kafka)?;
    let admin = Admin::new(&kafka)?;
    let brokers = admin.brokers().await?.len() as u64;
    report.kafka = Some(format!(
        "{} at {}",
        counted(brokers, "broker"),
        config.kafka.bootstrap_servers.join(", ")
    ));
    look(config, routes, streams, &admin).await
}

fn topics(seen: &Seen, routes: &Routes, findings: &mut Findings) {
    if let Some(error) = seen.not_now.as_ref().filter(|_| !seen.missing().is_empty()) {
        findings.add(
            Level::Warning,
            "kafka brokers",
            error.to_string(),
            "bring the broker back before the start: no topic is made meanwhile",
        );
    }
    for wanted in seen.missing() {
        let topic = &wanted.spec.name;
        let (level, action) = if wanted.made_by_daemon {
            (
                Level::Note,
                "nothing: the daemon makes it when it is needed, or now: lockgate topics apply",
            )
        } else {
            (
                Level::Warning,
                "make it before the start: lockgate topics apply",
            )
        };
        findings.add(
            level,
            format!("topic {topic}"),
            format!("does not exist ({})", wanted.purpose),
            action,
        );
    }
    for difference in seen
        .differences
        .iter()
        .filter(|difference| !difference.is_missing())
    {
        let topic = difference.topic();
        let records_on = routes.iter().any(|route| {
            route.fixed_topic().as_ref() == Some(topic)
                && route.config().on_partition_change == OnTrouble::Record
        });
        let text = difference.to_string();
        let what = text.strip_prefix(&format!("{topic}: ")).unwrap_or(&text);
        let (level, action) = match difference {
            Difference::Partitions { wanted, actual, .. } if records_on && actual > wanted => (
                Level::Warning,
                "the surplus partitions stay empty (on_partition_change = \"record\")",
            ),
            Difference::Partitions { .. } => (
                Level::Error,
                "its streams would halt: set routes.partitions to what the application hashes over and the topic has",
            ),
            Difference::Setting { .. }
            | Difference::Replication { .. }
            | Difference::Missing { .. } => (
                Level::Warning,
                "change the topic or the configuration; Lockgate changes no topic that exists",
            ),
        };
        findings.add(level, format!("topic {topic}"), what, action);
    }
    for (topic, state) in &seen.actual {
        let offline = state
            .partitions
            .iter()
            .filter(|partition| partition.leader.is_none())
            .count();
        if offline > 0 {
            findings.add(
                Level::Error,
                format!("topic {topic}"),
                format!("{} without a leader", counted(offline as u64, "partition")),
                "bring the brokers back that hold them",
            );
        }
    }
}
