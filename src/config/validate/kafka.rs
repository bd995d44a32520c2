//! Whether the section `kafka` makes sense: brokers, and the librdkafka properties that are Lockgate's own to set.

use crate::config::address::host_and_port;
use crate::config::{Kafka, Problem, text};

/// Every problem of the section.
pub(super) fn validate(kafka: &Kafka) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, server) in kafka.bootstrap_servers.iter().enumerate() {
        if let Err(message) = broker(server) {
            problems.push(Problem::new(
                format!("kafka.bootstrap_servers[{index}]"),
                message,
            ));
        }
    }
    let given = kafka.properties.keys().map(|name| ("properties", name));
    let of_files = kafka
        .property_files
        .keys()
        .map(|name| ("property_files", name));
    for (table, name) in given.chain(of_files) {
        let key = format!("kafka.{table}.{name}");
        if let Some(instead) = denied(name) {
            problems.push(Problem::new(
                key,
                format!("is Lockgate's own to set; take it out: {instead}"),
            ));
        } else if table == "property_files" && kafka.properties.contains_key(name) {
            problems.push(Problem::new(
                key,
                format!("is set in kafka.properties.{name} too; keep one of them"),
            ));
        }
    }
    problems
}

fn broker(server: &str) -> Result<(), String> {
    if server.contains("://") {
        return Err("names a protocol; write host:port, and the protocol as kafka.properties \"security.protocol\"".to_owned());
    }
    if server.contains(',') {
        return Err("holds several brokers; write each as an item of its own".to_owned());
    }
    match host_and_port(server) {
        Some((_, Some(_))) => Ok(()),
        Some((_, None)) => Err(format!(
            "`{0}` has no port; write {0}:9092",
            text::short(server)
        )),
        None => Err(format!(
            "`{}` is no broker; write host:port, an IPv6 address in brackets",
            text::short(server)
        )),
    }
}

/// What promises of exactly-once rest on, and what to do instead of setting it. A name that ends with `*` is a prefix.
const DENIED: [(&str, &str); 28] = [
    ("transactional.id", "each shard has one, made from `name`"),
    ("transaction.timeout.ms", "use kafka.transaction_timeout"),
    (
        "acks",
        "always `all`: a record is mirrored when it is durable",
    ),
    (
        "request.required.acks",
        "always `all`: a record is mirrored when it is durable",
    ),
    ("enable.idempotence", "always on: nothing is written twice"),
    (
        "isolation.level",
        "always `read_committed`: what was aborted is never read",
    ),
    (
        "group.*",
        "the group is `lockgate.<name>`, made from `name`",
    ),
    ("session.timeout.ms", "use kafka.session_timeout"),
    (
        "heartbeat.interval.ms",
        "always 250 ms, well within any kafka.session_timeout",
    ),
    (
        "max.poll.interval.ms",
        "how long a shard's work takes says nothing about whether it is alive; the heartbeat does, see kafka.session_timeout",
    ),
    (
        "message.max.bytes",
        "use routes[].max_message_bytes; the client itself takes records up to 16 MiB",
    ),
    (
        "statistics.interval.ms",
        "Lockgate reads the client's counts once a second",
    ),
    (
        "partition.assignment.strategy",
        "shards are assigned by Kafka's own group protocol, as Lockgate needs it",
    ),
    ("partitioner*", "use routes[].partition"),
    ("consistent*", "use routes[].partition"),
    ("bootstrap.servers", "use kafka.bootstrap_servers"),
    ("metadata.broker.list", "use kafka.bootstrap_servers"),
    (
        "enable.auto.commit",
        "positions are written in the transaction of the records",
    ),
    (
        "auto.commit.*",
        "positions are written in the transaction of the records",
    ),
    (
        "enable.auto.offset.store",
        "positions are written in the transaction of the records",
    ),
    (
        "offset.store.*",
        "positions are written in the transaction of the records",
    ),
    (
        "auto.offset.reset",
        "use routes[].start: it says where a mirror without a checkpoint begins",
    ),
    (
        "enable.partition.eof",
        "Lockgate finds the end of a partition by it",
    ),
    (
        "allow.auto.create.topics",
        "`lockgate topics apply` makes topics with their settings",
    ),
    (
        "delivery.report.only.error",
        "every delivery is checked before a commit",
    ),
    (
        "max.in.flight",
        "at most 5, as the idempotent producer needs for its order",
    ),
    (
        "max.in.flight.requests.per.connection",
        "at most 5, as the idempotent producer needs for its order",
    ),
    (
        "enable.gapless.guarantee",
        "a transaction is aborted as a whole when a record of it fails",
    ),
];

fn denied(name: &str) -> Option<&'static str> {
    let name = name.trim().to_ascii_lowercase();
    let fits = |denied: &str| match denied.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == denied,
    };
    DENIED
        .iter()
        .find(|(denied, _)| fits(denied))
        .map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exactly_once_rests_on_is_refused() {
        for name in [
            "transactional.id",
            "acks",
            "request.required.acks",
            "enable.idempotence",
            "isolation.level",
            "group.id",
            "group.instance.id",
            "group.protocol",
            "partitioner",
            "partitioner_cb",
            "bootstrap.servers",
            "metadata.broker.list",
            "enable.auto.commit",
            "auto.offset.reset",
            "transaction.timeout.ms",
            "session.timeout.ms",
            "heartbeat.interval.ms",
            "partition.assignment.strategy",
            "enable.partition.eof",
            "max.poll.interval.ms",
            "message.max.bytes",
            "statistics.interval.ms",
            "ACKS",
            " acks",
        ] {
            assert!(denied(name).is_some(), "{name}");
        }
        for name in [
            "linger.ms",
            "security.protocol",
            "sasl.username",
            "ssl.ca.location",
            "compression.type",
            "client.id",
        ] {
            assert!(denied(name).is_none(), "{name}");
        }
    }

    #[test]
    fn brokers_are_host_and_port() {
        for good in ["127.0.0.1:9092", "kafka-1.example:9093", "[::1]:9092"] {
            assert_eq!(broker(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "kafka",
            "kafka:",
            ":9092",
            "kafka:0",
            "kafka:x",
            "::1:9092",
            "a:1,b:2",
            "SSL://a:1",
            "a b:1",
        ] {
            assert!(broker(bad).is_err(), "{bad}");
        }
    }
}
