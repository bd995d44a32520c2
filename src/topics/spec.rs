//! What a topic of Lockgate's is to be like: pure data, made from the configuration.

use std::time::Duration;

use crate::placement::Topic;

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: Topic,
    pub partitions: u32,
    /// `None`: 3, or the number of brokers where there are fewer.
    pub replication: Option<u16>,
    /// Topic settings by Kafka's names.
    pub config: Vec<(String, String)>,
}

const DAY: Duration = Duration::from_secs(86_400);

/// Dead letters carry the raw fields, which may be larger than the record that could not be made of them.
const DEAD_LETTER_BYTES: usize = 16 << 20;

/// A segment of Lockgate's own topics has 16 MiB.
const LARGEST_OWN_BYTES: usize = 8 << 20;

impl TopicSpec {
    /// What a topic gets where nothing else is configured and there are brokers enough.
    pub const USUAL_REPLICAS: usize = 3;

    /// A topic that records are mirrored into.
    #[must_use]
    pub fn records(
        name: Topic,
        partitions: u32,
        retention: Duration,
        retention_bytes: Option<u64>,
        max_message_bytes: usize,
    ) -> Self {
        let mut config = vec![
            setting("compression.type", "lz4"),
            setting("cleanup.policy", "delete"),
            setting("retention.ms", retention.as_millis()),
            setting("max.message.bytes", max_message_bytes),
        ];
        if let Some(bytes) = retention_bytes {
            config.push(setting("retention.bytes", bytes));
        }
        Self {
            name,
            partitions,
            replication: None,
            config,
        }
    }

    /// A route's dead letters: kept 90 days, whatever their size.
    #[must_use]
    pub fn dead_letters(name: Topic, partitions: u32) -> Self {
        Self::records(name, partitions, 90 * DAY, None, DEAD_LETTER_BYTES)
    }

    /// The checkpoints: one partition a shard, compacted soon, so that reading them at a takeover stays quick.
    #[must_use]
    pub fn checkpoints(name: Topic, shards: u32) -> Self {
        Self::compacted(name, shards, Vec::new())
    }

    /// What the continuous auditor keeps: one partition a shard, read whole at a takeover as the checkpoints are. A cursor
    /// with the next offset of every partition of many topics may be larger than Kafka's 1 MiB.
    #[must_use]
    pub fn parity(name: Topic, shards: u32) -> Self {
        let largest = setting("max.message.bytes", LARGEST_OWN_BYTES);
        Self::compacted(name, shards, vec![largest])
    }

    fn compacted(name: Topic, partitions: u32, more: Vec<(String, String)>) -> Self {
        let mut config = vec![
            setting("cleanup.policy", "compact"),
            setting("compression.type", "lz4"),
            setting("segment.bytes", 16 << 20),
            setting("segment.ms", 600_000),
            setting("min.cleanable.dirty.ratio", "0.01"),
            setting("delete.retention.ms", 60_000),
        ];
        config.extend(more);
        Self {
            name,
            partitions,
            replication: None,
            config,
        }
    }

    /// The spec for a cluster of so many brokers: with a replication factor, and with `min.insync.replicas=2` where three
    /// or more replicas allow one to be away.
    #[must_use]
    pub fn for_cluster(mut self, configured: Option<u16>, brokers: usize) -> Self {
        let possible = u16::try_from(brokers)
            .unwrap_or(u16::MAX)
            .clamp(1, Self::USUAL_REPLICAS as u16);
        let replication = self.replication.or(configured).unwrap_or(possible);
        self.replication = Some(replication);
        let named = self
            .config
            .iter()
            .any(|(name, _)| name == "min.insync.replicas");
        if replication >= 3 && !named {
            self.config.push(setting("min.insync.replicas", 2));
        }
        self
    }
}

fn setting(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(spec: &'a TopicSpec, name: &str) -> Option<&'a str> {
        spec.config
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_record_topic_has_what_its_route_says() {
        let spec = TopicSpec::records("messages.v1".into(), 16, 30 * DAY, Some(1 << 30), 1 << 20);
        assert_eq!(value(&spec, "retention.ms"), Some("2592000000"));
        assert_eq!(value(&spec, "retention.bytes"), Some("1073741824"));
        assert_eq!(value(&spec, "max.message.bytes"), Some("1048576"));
        assert_eq!(value(&spec, "compression.type"), Some("lz4"));
    }

    #[test]
    fn two_of_three_replicas_must_have_a_record_and_one_of_one() {
        let spec = || TopicSpec::dead_letters("d".into(), 1);
        let three = spec().for_cluster(None, 5);
        assert_eq!(three.replication, Some(3));
        assert_eq!(value(&three, "min.insync.replicas"), Some("2"));
        let one = spec().for_cluster(None, 1);
        assert_eq!(one.replication, Some(1));
        assert_eq!(value(&one, "min.insync.replicas"), None);
        let configured = spec().for_cluster(Some(2), 5);
        assert_eq!(configured.replication, Some(2));
        assert_eq!(value(&configured, "min.insync.replicas"), None);
    }
}
