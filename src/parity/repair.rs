//! What can be repaired of what a verification found, and what cannot. Pure: a plan changes nothing.
//!
//! Kafka's log takes additions only. So an entry that is missing can be produced again, by the owner of its stream, behind
//! everything that is there; a record too many, an altered, misplaced or late one stays where it is, and the plan says
//! where, so that a consumer can pass over it.

use serde::{Deserialize, Serialize};

use super::class::is_none;
use super::{Class, Difference, Location, Outcome, Part};
use crate::entry::EntryId;

/// An entry to be produced again: what `POST /v1/parity/repair` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Target {
    pub database: u32,
    pub stream: String,
    #[schema(value_type = String, pattern = "^[0-9]{1,19}(-[0-9]{1,19})?$")]
    pub id: EntryId,
}

/// An identity that Kafka cannot be rid of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stays {
    pub class: Class,
    pub route: String,
    pub database: Option<u32>,
    pub stream: Option<String>,
    pub id: Option<EntryId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    pub topic: String,
    /// Records that a consumer has to pass over to see what Redis has, in the order of the log.
    pub skip: Vec<Location>,
    /// More of them, which are not listed.
    #[serde(default, skip_serializing_if = "is_none")]
    pub skip_more: u64,
    /// The record that stands for the entry; none where no record does.
    pub keep: Option<Location>,
}

/// What would be done, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Missing entries that would be produced again, at most the limit.
    pub produce: Vec<Target>,
    /// Missing entries in all.
    pub missing: u64,
    pub stays: Vec<Stays>,
    /// Identities in all that Kafka cannot be rid of.
    pub staying: u64,
}

impl Plan {
    /// `limit`: the most entries that would be produced again.
    #[must_use]
    pub fn of(outcome: &Outcome, limit: u64) -> Self {
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let missing = outcome.counts.of(Class::Missing);
        Self {
            produce: outcome
                .differences
                .iter()
                .filter(|difference| difference.class == Class::Missing)
                .filter_map(target)
                .take(most)
                .collect(),
            missing,
            stays: outcome.differences.iter().filter_map(stays).collect(),
            staying: outcome.counts.faults() - missing,
        }
    }

    /// Missing entries that this plan leaves out: beyond the limit.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.missing.saturating_sub(self.produce.len() as u64)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing == 0 && self.staying == 0
    }
}

fn target(difference: &Difference) -> Option<Target> {
    Some(Target {
        database: difference.database?.0,
        stream: difference.stream.clone()?,
        id: difference.id?,
    })
}

fn stays(difference: &Difference) -> Option<Stays> {
    let (keep, skip) = match difference.class {
        Class::Extra | Class::Mismatch => (None, difference.records.clone()),
        Class::Duplicate => but_one(&difference.records),
        // The record is whole; only its place is wrong, and passing over it would lose the entry.
        Class::Misplaced | Class::Reordered => (difference.records.first().copied(), Vec::new()),
        Class::Match
        | Class::Missing
        | Class::Pending
        | Class::Unverifiable
        | Class::DeadLettered => return None,
    };
    Some(Stays {
        class: difference.class,
        route: difference.route.clone(),
        database: difference.database.map(|database| database.0),
        stream: difference.stream.clone(),
        id: difference.id,
        parts: difference.parts.clone(),
        topic: difference.topic.clone(),
        skip,
        skip_more: difference.more,
        keep,
    })
}

/// The record that a consumer sees first of the highest generation stands for the entry; the others are to be skipped.
fn but_one(records: &[Location]) -> (Option<Location>, Vec<Location>) {
    let mut records = records.to_vec();
    records.sort_unstable_by_key(|at| (at.partition, at.offset));
    let highest = records.iter().map(|at| at.generation).max();
    let first = records.iter().position(|at| Some(at.generation) == highest);
    match first {
        Some(first) => (Some(records.remove(first)), records),
        None => (None, records),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Database;
    use crate::parity::Counts;
    use crate::placement::{Offset, Partition};
    use crate::status::ParityState;

    fn at(partition: i32, offset: i64, generation: u32) -> Location {
        Location {
            partition: Partition(partition),
            offset: Offset(offset),
            generation,
        }
    }

    fn difference(class: Class, id: u64, records: &[Location]) -> Difference {
        Difference {
            class,
            route: "r".to_owned(),
            database: Some(Database(2)),
            stream: Some("s".to_owned()),
            id: Some(EntryId::new(id, 0)),
            parts: Vec::new(),
            why: None,
            topic: "t".to_owned(),
            expected_partition: None,
            letters: 0,
            more: 0,
            records: records.to_vec(),
        }
    }

    fn outcome(differences: Vec<Difference>, missing_beyond: u64) -> Outcome {
        let mut counts = Counts::default();
        for one in &differences {
            counts.count(one.class, 1);
        }
        counts.count(Class::Missing, missing_beyond);
        Outcome {
            verdict: ParityState::Apart,
            unknown_because: None,
            counts,
            routes: std::collections::BTreeMap::new(),
            streams: 1,
            unread: Vec::new(),
            differences,
            differences_not_shown: missing_beyond,
            windows: Vec::new(),
            lower_bound: None,
            sampled: None,
            began_at: String::new(),
            ended_at: None,
            kafka_born: 0,
        }
    }

    #[test]
    fn missing_entries_are_produced_again_up_to_the_limit_and_all_are_counted() {
        let missing = (1..=5)
            .map(|id| difference(Class::Missing, id, &[]))
            .collect();
        let plan = Plan::of(&outcome(missing, 10), 3);
        let ids: Vec<u64> = plan.produce.iter().map(|target| target.id.ms).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(plan.produce[0].database, 2);
        assert_eq!((plan.missing, plan.left_out(), plan.staying), (15, 12, 0));
        assert!(!plan.is_empty());
    }

    #[test]
    fn of_several_records_the_first_of_the_highest_generation_stays() {
        let records = [at(1, 9, 1), at(1, 4, 0), at(1, 7, 1)];
        let plan = Plan::of(
            &outcome(vec![difference(Class::Duplicate, 1, &records)], 0),
            9,
        );
        assert_eq!(plan.stays[0].keep, Some(at(1, 7, 1)));
        assert_eq!(plan.stays[0].skip, [at(1, 4, 0), at(1, 9, 1)]);
        assert_eq!((plan.missing, plan.staying), (0, 1));
    }

    #[test]
    fn what_is_whole_but_in_the_wrong_place_is_not_to_be_skipped() {
        let one = [at(1, 9, 0)];
        let all: Vec<Difference> = Class::ALL
            .iter()
            .map(|&class| difference(class, 1, &one))
            .collect();
        let plan = Plan::of(&outcome(all, 0), 9);
        let skipped: Vec<(Class, usize)> = plan
            .stays
            .iter()
            .map(|stays| (stays.class, stays.skip.len()))
            .collect();
        assert_eq!(
            skipped,
            [
                (Class::Extra, 1),
                (Class::Duplicate, 0),
                (Class::Mismatch, 1),
                (Class::Misplaced, 0),
                (Class::Reordered, 0)
            ]
        );
        assert_eq!(plan.produce.len(), 1);
        assert!(Plan::of(&outcome(Vec::new(), 0), 9).is_empty());
    }
}
