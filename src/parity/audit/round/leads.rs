//! Records that are of no stream are shown by their routes, and a route may be renamed or taken away: they are handed over to
//! the route that leads to their topic now, and where there is none their topic is not compared any more.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use crate::placement::Shard;
use crate::routing::Binding;

use super::super::super::class::{Class, Counts};
use super::super::super::error::Error;
use super::super::super::store::{Cursor, Strays};
use super::Round;
use super::strays::join;

impl Round<'_> {
    /// Gives what is known of strays to the routes that there are now.
    ///
    /// # Errors
    /// Kafka gave no answer.
    pub(super) fn hand_over_strays(&mut self) -> Result<(), Error> {
        if self.strays_fit() {
            return Ok(());
        }
        // A route may lead to a topic by a stream of another instance.
        tokio::task::block_in_place(|| self.census.read(self.edges))?;
        let leads = self.leads();
        for (shard, step) in &mut self.steps {
            if let Some(cursor) = &mut step.known.cursor {
                leads.hand_over(*shard, cursor);
            }
        }
        Ok(())
    }

    fn strays_fit(&self) -> bool {
        let cursors = || (self.steps.values()).filter_map(|step| step.known.cursor.as_ref());
        if cursors().all(|cursor| cursor.strays.is_empty()) {
            return true;
        }
        let leads = self.leads();
        cursors().all(|cursor| leads.fit(cursor))
    }

    fn leads(&self) -> Leads {
        let mut leads = Leads::default();
        let mut captures = false;
        for route in self.edges.routes.iter() {
            leads.names.insert(route.name().to_owned());
            captures |= route.fixed_topic().is_none();
            let fixed = route.fixed_topic().into_iter();
            for topic in fixed.chain([route.dead_letters().clone()]) {
                leads.add(topic.as_str(), route.name());
            }
        }
        if captures {
            let mirrored = self.census.streams();
            let mirrored = mirrored.filter_map(|stream| self.edges.routes.bind(stream));
            mirrored.for_each(|binding| leads.follow(&binding));
            self.seen
                .iter()
                .for_each(|seen| leads.follow(&seen.binding));
        }
        leads
    }
}

/// The routes that there are, and which of them lead to each topic.
#[derive(Debug, Default)]
struct Leads {
    names: BTreeSet<String>,
    by_topic: BTreeMap<String, BTreeSet<String>>,
}

impl Leads {
    fn add(&mut self, topic: &str, route: &str) {
        let routes = self.by_topic.entry(topic.to_owned()).or_default();
        routes.insert(route.to_owned());
    }

    fn follow(&mut self, binding: &Binding) {
        if binding.route().fixed_topic().is_none() {
            self.add(binding.topic().as_str(), binding.route().name());
        }
    }

    /// The route that has the strays of a topic, which one of this name has had so far.
    fn of(&self, topic: &str, before: &str) -> Option<&str> {
        let routes = self.by_topic.get(topic)?;
        let of_topic = routes.get(before).or_else(|| routes.first());
        of_topic.map(String::as_str)
    }

    /// Whether all strays are with routes that lead to their topics.
    fn fit(&self, cursor: &Cursor) -> bool {
        cursor.strays.iter().all(|(name, strays)| {
            let open = strays.open.iter().map(|stray| &stray.topic);
            let mut topics = open.chain(strays.beyond.keys());
            self.names.contains(name) && topics.all(|topic| self.of(topic, name) == Some(name))
        })
    }

    fn hand_over(&self, shard: Shard, cursor: &mut Cursor) {
        let mut handed: BTreeMap<String, Strays> = BTreeMap::new();
        for (name, mut strays) in std::mem::take(&mut cursor.strays) {
            let (parts, gone) = self.parted(&name, &mut strays);
            if gone > 0 {
                warn!(%shard, route = name, records = gone, "no route leads any more to the topics of records that were no entry's; they are left out");
            }
            // What has expired, and what is Kafka-born, is a number without a topic.
            let heir = Some(&name).filter(|name| self.names.contains(*name));
            if let Some(heir) = heir.or_else(|| parts.keys().next()).cloned() {
                join(handed.entry(heir).or_default(), &strays);
            }
            for (route, part) in parts {
                if route != name {
                    info!(%shard, from = name, to = route, records = part.counts.total(), "records that are no entry's are another route's now");
                }
                join(handed.entry(route).or_default(), &part);
            }
        }
        cursor.strays = handed;
    }

    /// Takes those that have a place, by the routes that lead there now; and how many no route leads to.
    fn parted(&self, name: &str, strays: &mut Strays) -> (BTreeMap<String, Strays>, u64) {
        let mut parts: BTreeMap<String, Strays> = BTreeMap::new();
        let (mut placed, mut gone) = (0, 0);
        let open = std::mem::take(&mut strays.open).into_iter();
        for mut stray in open {
            placed += 1;
            let Some(route) = self.of(&stray.topic, name) else {
                gone += 1;
                continue;
            };
            route.clone_into(&mut stray.route);
            let part = parts.entry(route.to_owned()).or_default();
            part.counts.add(&Counts::kafka_alone(Class::Extra, 1));
            part.open.push(stray);
        }
        for (topic, partitions) in std::mem::take(&mut strays.beyond) {
            let records = partitions.values().map(|more| more.records).sum();
            placed += records;
            let Some(route) = self.of(&topic, name) else {
                gone += records;
                continue;
            };
            let part = parts.entry(route.to_owned()).or_default();
            part.counts.add(&Counts::kafka_alone(Class::Extra, records));
            part.beyond.insert(topic, partitions);
        }
        strays.counts = (strays.counts).less(&Counts::kafka_alone(Class::Extra, placed));
        (parts, gone)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::class::Difference;
    use super::super::super::super::pass::Unnamed;
    use super::super::strays::keep;
    use super::super::strays::tests::stray;
    use super::*;
    use crate::placement::Offset;

    fn routes(by_topic: &[(&str, &str)]) -> Leads {
        let mut leads = Leads::default();
        for (topic, route) in by_topic {
            leads.names.insert((*route).to_owned());
            leads.add(topic, route);
        }
        leads
    }

    #[test]
    fn strays_go_with_the_route_that_leads_to_their_topic_and_with_none_they_go() {
        let mut known = Strays {
            kafka_born: 7,
            ..Strays::default()
        };
        for offset in 0..1_002 {
            known.counts.add(&Counts::kafka_alone(Class::Extra, 1));
            let at = Unnamed {
                records: 1,
                last: Offset(offset),
            };
            let topic = if offset == 5 { "gone" } else { "t" };
            let stray = Difference {
                topic: topic.to_owned(),
                ..stray(offset)
            };
            keep(&mut known, stray, at);
        }
        known
            .counts
            .add(&Counts::kafka_alone(Class::Unverifiable, 3));
        let mut cursor = Cursor::default();
        cursor.strays.insert("r".to_owned(), known);

        let same = routes(&[("t", "q"), ("t", "r"), ("gone", "r")]);
        assert!(same.fit(&cursor), "another route shares the topic");
        let renamed = routes(&[("other", "a"), ("t", "r2")]);
        assert!(!renamed.fit(&cursor));
        renamed.hand_over(Shard(0), &mut cursor);
        assert!(renamed.fit(&cursor));
        let [(name, strays)] = &cursor.strays.iter().collect::<Vec<_>>()[..] else {
            panic!("{:?}", cursor.strays.keys());
        };
        assert_eq!((name.as_str(), strays.open[0].route.as_str()), ("r2", "r2"));
        let counts = &strays.counts;
        assert_eq!(
            (counts.of(Class::Extra), counts.of(Class::Unverifiable)),
            (1_001, 3)
        );
        assert!(counts.adds_up());
        assert_eq!((strays.kafka_born, strays.beyond["t"][&3].records), (7, 2));

        routes(&[("other", "a")]).hand_over(Shard(0), &mut cursor);
        assert!(cursor.strays.is_empty(), "their topic is not compared");
    }
}
