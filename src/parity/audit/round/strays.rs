//! Records that are no entry's: each counts in one shard, that which answers for its topic.

use std::collections::BTreeMap;

use crate::placement::{Offset, Shard};
use crate::topics::Bounds;

use super::super::super::class::{Class, Counts, Difference};
use super::super::super::pass::Pass;
use super::super::super::store::{Cursor, Strays};
use super::Round;
use super::group::{Group, Span};

/// Records without an entry that are kept of each route.
const KEPT: usize = 1_000;

/// The shard that answers for the records of a topic which are of no stream.
#[must_use]
pub fn home(topic: &str, shards: u32) -> Shard {
    let hash = xxhash_rust::xxh3::xxh3_64(topic.as_bytes());
    Shard(u32::try_from(hash % u64::from(shards.max(1))).unwrap_or(0))
}

impl Round<'_> {
    /// Counts what the pass met for the first time.
    pub(super) fn take_strays(&mut self, group: &Group, pass: &Pass) {
        if group.span == Span::Joining {
            return;
        }
        let mut listed: BTreeMap<String, u64> = BTreeMap::new();
        for stray in &pass.strays.examples {
            *listed.entry(stray.route.clone()).or_default() += 1;
            let shard = home(&stray.topic, self.shards);
            if group.shards.contains(&shard) && self.is_first_seen(shard, stray) {
                let mut stray = stray.clone();
                stray.route = self.route_of(&stray);
                self.add_stray(shard, 1, stray.route.clone(), Some(stray));
            }
        }
        // Beyond those that a pass lists there is only their number.
        for (route, by_why) in &pass.strays.counts {
            let all: u64 = by_why.values().sum();
            let unlisted = all - listed.get(route).copied().unwrap_or(0).min(all);
            if let Some(&shard) = group.shards.first().filter(|_| unlisted > 0) {
                self.add_stray(shard, unlisted, route.clone(), None);
            }
        }
    }

    fn is_first_seen(&self, shard: Shard, stray: &Difference) -> bool {
        let cursor = self
            .steps
            .get(&shard)
            .and_then(|step| step.known.cursor.as_ref());
        let (Some(cursor), Some(at)) = (cursor, stray.records.first()) else {
            return true;
        };
        let log = cursor.logs.get(&stray.topic);
        let reach = log.and_then(|log| log.get(&at.partition.0));
        reach.is_none_or(|reach| at.offset >= reach.end)
    }

    /// A pass without a stream of the topic does not know whose it is.
    fn route_of(&self, stray: &Difference) -> String {
        if !stray.route.is_empty() {
            return stray.route.clone();
        }
        let of_topic = self.edges.routes.iter().find(|route| {
            route.dead_letters().as_str() == stray.topic
                || route
                    .fixed_topic()
                    .is_some_and(|topic| topic.as_str() == stray.topic)
        });
        of_topic.map_or_else(String::new, |route| route.name().to_owned())
    }

    fn add_stray(&mut self, shard: Shard, records: u64, route: String, listed: Option<Difference>) {
        let Some(step) = self.steps.get_mut(&shard) else {
            return;
        };
        let counts = Counts::kafka_alone(Class::Extra, records);
        let known = step.strays.entry(route).or_default();
        known.counts.add(&counts);
        if known.open.len() < KEPT {
            known.open.extend(listed);
        }
    }
}

/// Takes what was found into what is known.
pub fn join(known: &mut Strays, found: &Strays) {
    known.counts.add(&found.counts);
    let room = KEPT.saturating_sub(known.open.len());
    known.open.extend(found.open.iter().take(room).cloned());
}

/// Records that Kafka no longer has are open no more.
pub fn expire(cursor: &mut Cursor, topic: &str, bounds: &[Bounds]) {
    let low: BTreeMap<i32, Offset> = bounds
        .iter()
        .map(|bounds| (bounds.partition.0, bounds.low))
        .collect();
    for strays in cursor.strays.values_mut() {
        let before = strays.open.len();
        strays.open.retain(|stray| {
            let gone = stray
                .records
                .iter()
                .all(|at| low.get(&at.partition.0).is_some_and(|low| at.offset < *low));
            stray.topic != topic || !gone
        });
        let gone = (before - strays.open.len()) as u64;
        strays.counts = strays.counts.less(&Counts::kafka_alone(Class::Extra, gone));
        strays
            .counts
            .add(&Counts::kafka_alone(Class::Unverifiable, gone));
    }
}
