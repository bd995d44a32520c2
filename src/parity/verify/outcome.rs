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
use super::super::unread::{self, Unread};
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
    /// Streams that could not be read, and so are in none of the counts.
    #[serde(default)]
    pub unread: Vec<Unread>,
    /// The first ones.
    pub differences: Vec<Difference>,
    pub differences_not_shown: u64,
    pub windows: Vec<WindowDigest>,
    /// With 95 % confidence at least this share of what could be verified matches.
    pub lower_bound: Option<f64>,
    pub sampled: Option<f64>,
    pub began_at: String,
    pub ended_at: Option<String>,
    /// Records without identity that applications may have written to Kafka themselves: there is nothing to compare them
    /// with, and they are in no class.
    #[serde(default)]
    pub kafka_born: u64,
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
        let mut never_drawn = Counts::default();
        let mut differences = Vec::new();
        let mut not_kept = 0;
        for (at, stream) in self.pass.streams.iter().enumerate() {
            let counts = routes.entry(stream.route.clone()).or_default();
            let windows = || self.looked.range((at, 0)..(at + 1, 0));
            let shares =
                stream.shares_history() || windows().any(|(_, looked)| looked.shares_history);
            let looked = |window| self.looked.contains_key(&(at, window));
            counts.add(&stream.counts_but(looked, shares));
            never_drawn.add(&stream.never_drawn(shares));
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
            let strays = self.pass.strays.of_route(route);
            counts.add(&strays);
            never_drawn.add(&strays);
        }
        not_kept -= self.pass.strays.examples.len() as u64;
        differences.extend(self.pass.strays.examples.iter().cloned());
        not_kept += shorten(&mut differences, self.for_repair);
        let mut counts = Counts::default();
        routes.values().for_each(|route| counts.add(route));
        let unknown_because = self.unknown_because(&counts);
        // A sample speaks of what it was drawn from.
        let drawn = match self.sampled {
            Some(_) => counts.less(&never_drawn),
            None => counts.clone(),
        };
        Outcome {
            verdict: if counts.faults() > 0 {
                ParityState::Apart
            } else if unknown_because.is_some() {
                ParityState::Unknown
            } else {
                ParityState::Level
            },
            unknown_because,
            lower_bound: lower_bound(drawn.verified(), drawn.faults()),
            counts,
            routes,
            streams: self.pass.streams.len() as u64,
            unread: self.unread.clone(),
            differences,
            differences_not_shown: not_kept,
            windows: self.digests(),
            sampled: self.sampled,
            began_at: self.began_at.clone(),
            ended_at: self.ended_at.clone(),
            kafka_born: self.pass.strays.kafka_born.values().sum(),
        }
    }

    fn unknown_because(&self, counts: &Counts) -> Option<String> {
        if self.ended_at.is_none() {
            return Some("the verification has not finished".to_owned());
        }
        let left_out = self.unread.iter().cloned();
        let left_out = left_out.map(|one| (one.database, one.stream, one.why));
        if let Some(why) = unread::in_words(left_out) {
            return Some(why);
        }
        too_little(counts)
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

/// Why so much compared is no answer. Level is said of what Redis holds where at least half of it could be compared; what Kafka
/// alone still has, because Redis trims, is no part of that, and is said beside it.
fn too_little(counts: &Counts) -> Option<String> {
    let verified = counts.verified();
    let (pending, unverifiable) = (counts.of(Class::Pending), counts.of(Class::Unverifiable));
    match (verified, counts.total()) {
        (0, 0) => Some("nothing was there to compare, and nothing is no evidence".to_owned()),
        (0, total) => Some(format!(
            "of {total} identities none could be verified: {pending} pending, {unverifiable} unverifiable"
        )),
        _ if counts.redis_entries > verified.saturating_mul(2) => Some(format!(
            "of {} entries of Redis fewer than half could be compared, {verified}: {pending} pending, {unverifiable} \
             unverifiable",
            counts.redis_entries
        )),
        _ => None,
    }
}

/// How many more differences are kept by name, of a whole verification: faults have their own room, so that whatever else
/// there is takes none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Missing entries that a repair is to have.
    missing: u64,
    faults: u64,
    others: u64,
}

impl Room {
    pub(super) fn new<'a>(missing: u64, kept: impl Iterator<Item = &'a Difference>) -> Self {
        let mut room = Self {
            missing,
            faults: SHOWN as u64,
            others: SHOWN as u64,
        };
        for difference in kept {
            room.takes(difference);
        }
        room
    }

    fn takes(&mut self, difference: &Difference) -> bool {
        let left = match difference.class {
            Class::Missing if self.missing > 0 => &mut self.missing,
            class if class.is_fault() => &mut self.faults,
            _ => &mut self.others,
        };
        let takes = *left > 0;
        *left = left.saturating_sub(1);
        takes
    }

    /// Leaves those that there is room for, and says how many went.
    pub(super) fn shorten(mut self, differences: &mut Vec<Difference>) -> u64 {
        let all = differences.len();
        differences.retain(|difference| self.takes(difference));
        differences.shrink_to_fit();
        (all - differences.len()) as u64
    }
}

/// Leaves those that are named, and says how many went: faults first, for they are what one looks for; before them as many
/// missing entries as a repair is to have.
fn shorten(differences: &mut Vec<Difference>, missing: u64) -> u64 {
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

    fn difference(class: Class) -> Difference {
        Difference {
            class,
            route: String::new(),
            database: None,
            stream: None,
            id: None,
            parts: Vec::new(),
            why: None,
            topic: String::new(),
            expected_partition: None,
            letters: 0,
            more: 0,
            records: Vec::new(),
        }
    }

    fn of(differences: &[Difference], class: Class) -> usize {
        let named = differences.iter();
        named.filter(|one| one.class == class).count()
    }

    #[test]
    fn all_windows_together_keep_no_more_than_one_verification_names() {
        let mut kept: Vec<Difference> = Vec::new();
        let mut gone = 0;
        for window in 0..50 {
            let class = if window < 40 {
                Class::Pending
            } else {
                Class::Mismatch
            };
            let mut found = vec![difference(class); 700];
            found.extend(vec![difference(Class::Missing); 30]);
            gone += Room::new(200, kept.iter()).shorten(&mut found);
            kept.extend(found);
        }
        assert_eq!(of(&kept, Class::Pending), SHOWN);
        let faults = of(&kept, Class::Mismatch) + of(&kept, Class::Missing);
        assert_eq!(faults, SHOWN + 200, "they have their own room");
        assert_eq!(kept.len() as u64 + gone, 50 * 730);
    }

    #[test]
    fn level_takes_half_of_what_redis_holds() {
        let counts = |matches, pending, trimmed| {
            let mut counts = Counts::level(matches, 0);
            for _ in 0..pending {
                counts.add(&Counts::redis_alone(Class::Pending));
            }
            counts.add(&Counts::kafka_alone(Class::Unverifiable, trimmed));
            counts
        };
        assert_eq!(too_little(&counts(5, 5, 0)), None);
        let why = too_little(&counts(5, 6, 0)).unwrap_or_default();
        assert!(
            why.contains("fewer than half") && why.contains("6 pending"),
            "{why}"
        );
        assert_eq!(too_little(&counts(1, 0, 1_000)), None, "Redis trims");
        let why = too_little(&counts(0, 0, 7)).unwrap_or_default();
        assert!(why.contains("none could be verified"), "{why}");
        assert!(too_little(&Counts::default()).is_some());
    }

    #[test]
    fn a_repair_has_the_missing_entries_that_it_asks_for_whatever_else_there_is() {
        let all = |class, count| std::iter::repeat_n(difference(class), count);
        let found = || -> Vec<Difference> {
            let gone = all(Class::Unverifiable, 10).chain(all(Class::Duplicate, SHOWN));
            gone.chain(all(Class::Missing, 3_000)).collect()
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
