//! An outcome as JSON, `lockgate.parity/v1`: every class named, those at 0 too, and beside the counts what they are counts of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::parity::{Counts, Difference, Outcome, Unread};
use crate::status::ParityState;

const SCHEMA: &str = "lockgate.parity/v1";

/// Counts with every class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsShown {
    pub classes: BTreeMap<String, u64>,
    pub redis_entries: u64,
    pub kafka_records: u64,
    pub only_kafka: u64,
    pub copies: u64,
    pub only_redis: u64,
    /// Whether every identity that was read is in one class and every record belongs to one identity.
    pub adds_up: bool,
}

impl From<&Counts> for CountsShown {
    fn from(counts: &Counts) -> Self {
        Self {
            classes: counts
                .classes()
                .map(|(class, count)| (class.as_str().to_owned(), count))
                .collect(),
            redis_entries: counts.redis_entries,
            kafka_records: counts.kafka_records,
            only_kafka: counts.only_kafka,
            copies: counts.copies,
            only_redis: counts.only_redis,
            adds_up: counts.adds_up(),
        }
    }
}

/// What a verification came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutcomeShown {
    pub schema: String,
    pub migration: String,
    pub verdict: ParityState,
    pub unknown_because: Option<String>,
    pub began_at: String,
    pub ended_at: Option<String>,
    pub streams: u64,
    /// Streams that could not be read, and so are in none of the counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
    pub sampled: Option<f64>,
    pub lower_bound: Option<f64>,
    pub counts: CountsShown,
    pub routes: BTreeMap<String, CountsShown>,
    pub differences: Vec<Difference>,
    pub differences_not_shown: u64,
    /// Records that applications may have written to Kafka themselves; they are in no class.
    #[serde(default)]
    pub kafka_born: u64,
}

impl OutcomeShown {
    #[must_use]
    pub fn new(migration: &str, outcome: &Outcome) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            migration: migration.to_owned(),
            verdict: outcome.verdict,
            unknown_because: outcome.unknown_because.clone(),
            began_at: outcome.began_at.clone(),
            ended_at: outcome.ended_at.clone(),
            streams: outcome.streams,
            unread: outcome.unread.clone(),
            sampled: outcome.sampled,
            lower_bound: outcome.lower_bound,
            counts: (&outcome.counts).into(),
            routes: outcome
                .routes
                .iter()
                .map(|(name, counts)| (name.clone(), counts.into()))
                .collect(),
            differences: outcome.differences.clone(),
            differences_not_shown: outcome.differences_not_shown,
            kafka_born: outcome.kafka_born,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parity::samples;

    #[test]
    fn every_class_has_its_number_and_the_sum_is_said() {
        let json = serde_json::to_value(OutcomeShown::new("m", &samples::apart())).unwrap();
        assert_eq!(json["schema"], SCHEMA);
        assert_eq!(json["verdict"], "apart");
        assert_eq!(json["counts"]["classes"].as_object().unwrap().len(), 10);
        assert_eq!(json["counts"]["classes"]["missing"], 2);
        assert_eq!(json["counts"]["classes"]["extra"], 0);
        assert_eq!(json["counts"]["adds_up"], true);
        assert_eq!(json["routes"]["chat"]["classes"]["match"], 61_220_408);
        assert_eq!(json["differences"][1]["records"][1]["offset"], 815);
        assert!(json.get("windows").is_none(), "those are for reports");
        assert!(json["unknown_because"].is_null());
    }
}
