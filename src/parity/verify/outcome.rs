//! What comes out of a verification: the counts of what was looked at in place of those of the pass, the verdict, and the
//! differences that are named.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bound::lower_bound;
use crate::entry::EntryId;
use crate::status::ParityState;

use super::super::class::{Class, Counts, Difference};
use super::super::digest::hexadecimal;
use super::super::error::Error;
use super::Verification;

/// Differences that an outcome names.
const SHOWN: usize = 1_000;

/// What came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub verdict: ParityState,
    pub unknown_because: Option<String>,
    pub counts: Counts,
    pub routes: BTreeMap<String, Counts>,
    pub streams: u64,
    /// The first ones.
    pub differences: Vec<Difference>,
    pub differences_not_shown: u64,
    pub windows: Vec<WindowDigest>,
    /// With 95 % confidence at least this share of what could be verified matches.
    pub lower_bound: Option<f64>,
    pub sampled: Option<f64>,
    pub began_at: String,
    pub ended_at: Option<String>,
}

/// One window, so that it can be compared again later with the same seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowDigest {
    pub database: u32,
    pub stream: String,
    pub after: EntryId,
    pub through: EntryId,
    pub entries: u64,
    pub records: u64,
    /// Of Redis's entries, as the records that the route makes of them.
    pub digest: String,
    pub kafka_digest: String,
    pub level: bool,
}

impl Verification {
    /// Every entry and record that was read is in one class, or this is no answer.
    pub(super) fn account(&self) -> Result<(), Error> {
        let mut read = self.pass.read();
        for (&(stream, window), looked) in &self.looked {
            // Each window counts by its last look, which read it again.
            let before = &self.pass.streams[stream].windows[window];
            read.redis = read.redis + looked.read.redis - before.redis.count;
            read.kafka = read.kafka + looked.read.kafka - before.kafka.count;
        }
        let unaccounted = self.pass.unaccounted();
        match unaccounted.or_else(|| self.outcome().counts.unaccounted(read)) {
            Some(why) => Err(Error::Unaccounted(why)),
            None => Ok(()),
        }
    }

    /// What is known now; final when the run has finished.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let mut routes: BTreeMap<String, Counts> = BTreeMap::new();
        let mut differences = Vec::new();
        let mut not_kept = 0;
        for (at, stream) in self.pass.streams.iter().enumerate() {
            let counts = routes.entry(stream.route.clone()).or_default();
            let windows = || self.looked.range((at, 0)..(at + 1, 0));
            let shares =
                stream.shares_history() || windows().any(|(_, looked)| looked.shares_history);
            let looked = |window| self.looked.contains_key(&(at, window));
            counts.add(&stream.counts_but(looked, shares));
            for (_, looked) in windows() {
                counts.add(&looked.counts);
                differences.extend(looked.differences.iter().cloned());
                not_kept += looked.not_kept;
            }
            differences.extend(stream.outside(shares));
        }
        for (route, by_why) in &self.pass.strays.counts {
            not_kept += by_why.values().sum::<u64>();
            let counts = routes.entry(route.clone()).or_default();
            counts.add(&self.pass.strays.of_route(route));
        }
        not_kept -= self.pass.strays.examples.len() as u64;
        differences.extend(self.pass.strays.examples.iter().cloned());
        not_kept += shorten(&mut differences, self.for_repair);
        let mut counts = Counts::default();
        routes.values().for_each(|route| counts.add(route));
        let unknown_because = self.unknown_because(&counts);
        Outcome {
            verdict: if counts.faults() > 0 {
                ParityState::Apart
            } else if unknown_because.is_some() {
                ParityState::Unknown
            } else {
                ParityState::Level
            },
            unknown_because,
            lower_bound: lower_bound(counts.verified(), counts.faults()),
            counts,
            routes,
            streams: self.pass.streams.len() as u64,
            differences,
            differences_not_shown: not_kept,
            windows: self.digests(),
            sampled: self.sampled,
            began_at: self.began_at.clone(),
            ended_at: self.ended_at.clone(),
        }
    }

    fn unknown_because(&self, counts: &Counts) -> Option<String> {
        if self.ended_at.is_none() {
            return Some("the verification has not finished".to_owned());
        }
        (counts.verified() == 0).then(|| match counts.total() {
            0 => "nothing was there to compare, and nothing is no evidence".to_owned(),
            _ => format!(
                "of {} identities none could be verified: {} pending, {} unverifiable",
                counts.total(),
                counts.of(Class::Pending),
                counts.of(Class::Unverifiable)
            ),
        })
    }

    fn digests(&self) -> Vec<WindowDigest> {
        let windows = self
            .pass
            .streams
            .iter()
            .enumerate()
            .flat_map(|(at, stream)| {
                stream
                    .spans()
                    .enumerate()
                    .map(move |(nth, (after, window))| {
                        let looked = self.looked.get(&(at, nth));
                        WindowDigest {
                            database: stream.stream.database.0,
                            stream: stream.stream.name.to_string(),
                            after,
                            through: window.through,
                            entries: window.redis.count,
                            records: window.kafka.count,
                            digest: hexadecimal::text(window.redis.digest),
                            kafka_digest: hexadecimal::text(window.kafka.digest),
                            level: looked
                                .map_or(window.is_level(), |looked| looked.counts.faults() == 0),
                        }
                    })
            });
        windows.collect()
    }
}

/// Leaves those that are named, and says how many went: faults first, for they are what one looks for; before them as many
/// missing entries as a repair is to have.
pub(super) fn shorten(differences: &mut Vec<Difference>, missing: u64) -> u64 {
    let all = differences.len();
    let (mut kept, mut others) = (Vec::new(), Vec::new());
    for difference in differences.drain(..) {
        if difference.class == Class::Missing && (kept.len() as u64) < missing {
            kept.push(difference);
        } else {
            others.push(difference);
        }
    }
    others.sort_by_key(|difference| !difference.class.is_fault());
    others.truncate(SHOWN);
    kept.append(&mut others);
    *differences = kept;
    (all - differences.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_has_the_missing_entries_that_it_asks_for_whatever_else_there_is() {
        let difference = |class| Difference {
            class,
            route: String::new(),
            database: None,
            stream: None,
            id: None,
            parts: Vec::new(),
            why: None,
            topic: String::new(),
            expected_partition: None,
            records: Vec::new(),
        };
        let all = |class, count| std::iter::repeat_n(difference(class), count);
        let found = || -> Vec<Difference> {
            let gone = all(Class::Unverifiable, 10).chain(all(Class::Duplicate, SHOWN));
            gone.chain(all(Class::Missing, 3_000)).collect()
        };
        let of = |differences: &[Difference], class| {
            let named = differences.iter();
            named.filter(|one| one.class == class).count()
        };
        let mut plan = found();
        assert_eq!(shorten(&mut plan, 2_500), 510);
        assert_eq!(of(&plan, Class::Missing), 2_500);
        assert_eq!(of(&plan, Class::Duplicate), SHOWN);
        let mut shown = found();
        assert_eq!(shorten(&mut shown, 0), 3_010);
        assert_eq!((shown.len(), of(&shown, Class::Duplicate)), (SHOWN, SHOWN));
    }
}
