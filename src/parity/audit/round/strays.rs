//! Records that are of no stream: each counts in one shard, that which answers for its topic, whoever else reads it.
//!
//! A pass takes them of the topics that one of its shards answers for, behind what that shard has read: so each is counted
//! once, however often it is read. Those that are not named are kept by their number and the place of the last of them, and
//! go when Kafka has removed that.

use std::collections::BTreeMap;

use crate::placement::{Offset, Partition, Shard};
use crate::topics::Bounds;

use super::super::super::class::{Class, Counts, Difference};
use super::super::super::pass::{Pass, Unnamed};
use super::super::super::store::{Cursor, Strays};
use super::Round;

/// Records without an entry that are named of each route.
const KEPT: usize = 1_000;

/// The shard that answers for the records of a topic which are of no stream.
#[must_use]
pub fn home(topic: &str, shards: u32) -> Shard {
    let hash = xxhash_rust::xxh3::xxh3_64(topic.as_bytes());
    Shard(u32::try_from(hash % u64::from(shards.max(1))).unwrap_or(0))
}

impl Round<'_> {
    /// Takes in what the pass met; it met none that was counted before.
    pub(super) fn take_strays(&mut self, pass: &Pass) {
        for stray in &pass.strays.examples {
            let route = self.route_of(&stray.topic, &stray.route);
            let found = self.strays_of(&stray.topic, &route);
            if let (Some(found), Some(at)) = (found, stray.records.first()) {
                let one = Unnamed {
                    records: 1,
                    last: at.offset,
                };
                found.counts.add(&Counts::kafka_alone(Class::Extra, 1));
                let mut stray = stray.clone();
                stray.route = route;
                keep(found, stray, one);
            }
        }
        for ((topic, partition), more) in &pass.strays.beyond {
            let route = self.route_of(topic, route_in(pass, topic));
            if let Some(found) = self.strays_of(topic, &route) {
                let counts = Counts::kafka_alone(Class::Extra, more.records);
                found.counts.add(&counts);
                beyond(found, topic, *partition, *more);
            }
        }
        for (topic, records) in &pass.strays.kafka_born {
            let route = self.route_of(topic, route_in(pass, topic));
            if let Some(found) = self.strays_of(topic, &route) {
                found.kafka_born += records;
            }
        }
    }

    /// A pass without a stream of the topic does not know whose it is.
    fn route_of(&self, topic: &str, known: &str) -> String {
        if !known.is_empty() {
            return known.to_owned();
        }
        let of_topic = self.edges.routes.iter().find(|route| {
            route.dead_letters().as_str() == topic
                || route
                    .fixed_topic()
                    .is_some_and(|fixed| fixed.as_str() == topic)
        });
        let captured = || {
            let streams = self.census.streams();
            let mut bound = streams.filter_map(|stream| self.edges.routes.bind(stream));
            let of_topic = bound.find(|binding| binding.topic().as_str() == topic);
            of_topic.map(|binding| binding.route().name().to_owned())
        };
        of_topic
            .map(|route| route.name().to_owned())
            .or_else(captured)
            .unwrap_or_default()
    }

    fn strays_of(&mut self, topic: &str, route: &str) -> Option<&mut Strays> {
        let step = self.steps.get_mut(&home(topic, self.shards))?;
        Some(step.strays.entry(route.to_owned()).or_default())
    }
}

/// The route of a topic whose streams the pass has; empty: it has none.
fn route_in<'a>(pass: &'a Pass, topic: &str) -> &'a str {
    let of_topic = pass.streams.iter().find(|one| one.topic == topic);
    of_topic.map_or("", |stream| stream.route.as_str())
}

pub(super) fn keep(strays: &mut Strays, stray: Difference, at: Unnamed) {
    if strays.open.len() < KEPT {
        strays.open.push(stray);
    } else if let Some(partition) = stray.records.first().map(|record| record.partition) {
        beyond(strays, &stray.topic, partition, at);
    }
}

fn beyond(strays: &mut Strays, topic: &str, partition: Partition, more: Unnamed) {
    let of_topic = strays.beyond.entry(topic.to_owned()).or_default();
    of_topic.entry(partition.0).or_default().add(more);
}

/// Takes what was found into what is known.
pub fn join(known: &mut Strays, found: &Strays) {
    known.counts.add(&found.counts);
    known.kafka_born += found.kafka_born;
    for stray in &found.open {
        let at = stray.records.first().map_or(Offset(0), |at| at.offset);
        let one = Unnamed {
            records: 1,
            last: at,
        };
        keep(known, stray.clone(), one);
    }
    for (topic, partitions) in &found.beyond {
        for (&partition, &more) in partitions {
            beyond(known, topic, Partition(partition), more);
        }
    }
}

/// Records that Kafka no longer has are open no more.
pub fn expire(cursor: &mut Cursor, topic: &str, bounds: &[Bounds]) {
    let low: BTreeMap<i32, Offset> = bounds
        .iter()
        .map(|bounds| (bounds.partition.0, bounds.low))
        .collect();
    let is_gone = |partition: i32, at: Offset| low.get(&partition).is_some_and(|low| at < *low);
    for strays in cursor.strays.values_mut() {
        let before = strays.open.len();
        strays.open.retain(|stray| {
            let mut records = stray.records.iter();
            stray.topic != topic || !records.all(|at| is_gone(at.partition.0, at.offset))
        });
        let mut gone = (before - strays.open.len()) as u64;
        if let Some(partitions) = strays.beyond.get_mut(topic) {
            partitions.retain(|&partition, more| {
                let all = is_gone(partition, more.last);
                gone += if all { more.records } else { 0 };
                !all
            });
        }
        strays.counts = strays.counts.less(&Counts::kafka_alone(Class::Extra, gone));
        strays
            .counts
            .add(&Counts::kafka_alone(Class::Unverifiable, gone));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::parity::class::Location;

    pub(in super::super) fn stray(offset: i64) -> Difference {
        Difference {
            class: Class::Extra,
            route: "r".to_owned(),
            database: None,
            stream: None,
            id: None,
            parts: Vec::new(),
            why: None,
            topic: "t".to_owned(),
            expected_partition: None,
            letters: 0,
            more: 0,
            records: vec![Location {
                partition: Partition(3),
                offset: Offset(offset),
                generation: 0,
            }],
        }
    }

    fn low(offset: i64) -> [Bounds; 1] {
        [Bounds {
            partition: Partition(3),
            low: Offset(offset),
            end: Offset(9_000),
        }]
    }

    #[test]
    fn those_that_are_not_named_go_when_kafka_has_removed_the_last_of_them() {
        let mut found = Strays::default();
        for offset in 0..1_500 {
            found.counts.add(&Counts::kafka_alone(Class::Extra, 1));
            let at = Unnamed {
                records: 1,
                last: Offset(offset),
            };
            keep(&mut found, stray(offset), at);
        }
        let mut cursor = Cursor::default();
        let known = cursor.strays.entry("r".to_owned()).or_default();
        join(known, &found);
        assert_eq!(
            (known.open.len(), known.counts.of(Class::Extra)),
            (KEPT, 1_500)
        );
        let extra = |cursor: &Cursor| cursor.strays["r"].counts.of(Class::Extra);
        expire(&mut cursor, "t", &low(1_499));
        assert_eq!(extra(&cursor), 500, "the last of them is still there");
        expire(&mut cursor, "other", &low(1_500));
        assert_eq!(extra(&cursor), 500);
        expire(&mut cursor, "t", &low(1_500));
        assert_eq!(extra(&cursor), 0);
        let counts = &cursor.strays["r"].counts;
        assert_eq!(
            (counts.of(Class::Unverifiable), counts.adds_up()),
            (1_500, true)
        );
    }
}
