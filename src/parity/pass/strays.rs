//! Records that are of no stream: all counted, the first of them named, of the others where the last stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::class::{Class, Counts, Difference, Location, Why};
use super::EXAMPLES;
use crate::entry::{Database, EntryId};
use crate::placement::{Offset, Partition};

/// Records that are no entry's: extra, whatever else is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strays {
    /// By route, the first whose topic it is.
    pub counts: BTreeMap<String, BTreeMap<Why, u64>>,
    pub examples: Vec<Difference>,
    /// Those that are not among the examples, by topic and partition.
    #[serde(skip)]
    pub beyond: BTreeMap<(String, Partition), Unnamed>,
    /// Records that applications may have written to Kafka themselves, by topic: none of them is extra.
    #[serde(default)]
    pub kafka_born: BTreeMap<String, u64>,
}

/// Records of one partition that are counted and not named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unnamed {
    pub records: u64,
    /// Where the last of them stands.
    pub last: Offset,
}

impl Unnamed {
    pub fn add(&mut self, other: Self) {
        self.records += other.records;
        self.last = self.last.max(other.last);
    }
}

impl Strays {
    pub(super) fn add(&mut self, difference: Difference) {
        let why = difference.why.unwrap_or(Why::NoIdentity);
        *self
            .counts
            .entry(difference.route.clone())
            .or_default()
            .entry(why)
            .or_default() += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(difference);
        } else if let Some(at) = difference.records.first() {
            let place = (difference.topic, at.partition);
            self.beyond.entry(place).or_default().add(Unnamed {
                records: 1,
                last: at.offset,
            });
        }
    }

    pub(super) fn add_kafka_born(&mut self, topic: &str) {
        *self.kafka_born.entry(topic.to_owned()).or_default() += 1;
    }

    pub(super) fn total(&self) -> u64 {
        let by_route = self.counts.values();
        by_route.flat_map(BTreeMap::values).sum()
    }

    /// As counts of a route.
    #[must_use]
    pub fn of_route(&self, route: &str) -> Counts {
        let records = self
            .counts
            .get(route)
            .map_or(0, |by_why| by_why.values().sum());
        Counts::kafka_alone(Class::Extra, records)
    }
}

/// What parity says of a record that stands for itself.
pub(super) fn stray(
    route: &str,
    topic: &str,
    why: Why,
    stream: Option<(Option<Database>, String)>,
    id: Option<EntryId>,
    at: Location,
) -> Difference {
    let (database, stream) = stream.unzip();
    Difference {
        class: Class::Extra,
        route: route.to_owned(),
        database: database.flatten(),
        stream,
        id,
        parts: Vec::new(),
        why: Some(why),
        topic: topic.to_owned(),
        expected_partition: None,
        letters: 0,
        more: 0,
        records: vec![at],
    }
}
