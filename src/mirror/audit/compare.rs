//! What a failover did to a stream's history, from both sides' entries: pure.
//!
//! Redis copies to its replicas without waiting. A replica that is promoted may lack the last entries, and what is added
//! afterwards may carry ids at or below those that Kafka already has. So after a change of history the last id proves
//! nothing; what stands on both sides is compared.

use std::collections::BTreeMap;

use crate::entry::EntryId;

/// A digest of what an entry becomes: topic record or dead letter.
pub type Digest = u128;

/// An entry as Redis has it now: what its record and its dead letter would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub id: EntryId,
    /// `None` where the route cannot encode it.
    pub record: Option<Digest>,
    pub letter: Digest,
}

/// What Kafka has under an id: digests of the greatest generation's record and dead letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    pub generation: u32,
    pub record: Option<Digest>,
    pub letter: Option<Digest>,
}

/// What follows for one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Entries up to the checkpoint that Kafka does not have, to be mirrored in the next generation: the window's end, without
    /// a break.
    pub missing: Vec<EntryId>,
    /// The last entry that both sides have.
    pub common: Option<EntryId>,
    /// Ids that Kafka has and Redis no longer: lost by the failover.
    pub orphans: Vec<EntryId>,
    /// Somewhere in the window stands an entry that both sides have: the comparison reaches below the point of divergence.
    pub anchored: bool,
}

/// Compares Redis's entries of a window, ascending, with what Kafka has from the window's first id on.
///
/// `deleted`: the greatest id that was ever deleted one by one. A gap at or below it may be a deletion and is not called a
/// loss. `remade`: at or below it the route made records otherwise than it does, so their bytes say nothing.
#[must_use]
pub fn compare(
    window: &[Held],
    mirrored: &BTreeMap<EntryId, Mirrored>,
    deleted: EntryId,
    remade: EntryId,
) -> Outcome {
    let is_there = |held: &Held| {
        mirrored.get(&held.id).is_some_and(|in_kafka| {
            held.id <= remade
                || (held.record.is_some() && in_kafka.record == held.record)
                || in_kafka.letter == Some(held.letter)
        })
    };
    // A history after a failover is the old one's beginning and then new entries: whatever stands at or below an entry that
    // both sides have is the common beginning, and what Kafka lacks of it was mirrored in another form or is expired there.
    let common = window.iter().rposition(is_there);
    let after = common.map_or(0, |at| at + 1);
    let missing: Vec<EntryId> = window[after..].iter().map(|held| held.id).collect();
    let common = common.map(|at| window[at].id);
    let divergence = common.unwrap_or(EntryId::ZERO);
    let orphans = mirrored
        .keys()
        .filter(|id| **id > divergence.max(deleted))
        .copied()
        .collect();
    let anchored = common.is_some() || window.is_empty();
    Outcome {
        missing,
        common,
        orphans,
        anchored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId::new(ms, 0)
    }

    fn held(ms: u64, digest: Digest) -> Held {
        Held {
            id: id(ms),
            record: Some(digest),
            letter: digest + 1_000,
        }
    }

    fn kafka(entries: &[(u64, Digest)]) -> BTreeMap<EntryId, Mirrored> {
        let mirrored = |digest| Mirrored {
            generation: 0,
            record: Some(digest),
            letter: None,
        };
        entries
            .iter()
            .map(|(ms, digest)| (id(*ms), mirrored(*digest)))
            .collect()
    }

    #[test]
    fn the_same_on_both_sides_is_nothing_to_do() {
        let outcome = compare(
            &[held(1, 1), held(2, 2)],
            &kafka(&[(1, 1), (2, 2)]),
            EntryId::ZERO,
            EntryId::ZERO,
        );
        assert_eq!(
            outcome,
            Outcome {
                missing: vec![],
                common: Some(id(2)),
                orphans: vec![],
                anchored: true
            }
        );
    }

    #[test]
    fn a_lost_suffix_and_a_new_entry_below_the_checkpoint() {
        // Kafka saw 1 2 3 4; Redis lost 3 and 4, then got another 3.
        let outcome = compare(
            &[held(1, 1), held(2, 2), held(3, 33)],
            &kafka(&[(1, 1), (2, 2), (3, 3), (4, 4)]),
            EntryId::ZERO,
            EntryId::ZERO,
        );
        assert_eq!(outcome.missing, [id(3)]);
        assert_eq!(outcome.orphans, [id(3), id(4)]);
        assert!(outcome.anchored);
    }

    #[test]
    fn a_window_without_a_common_entry_does_not_reach_far_enough() {
        assert!(
            !compare(
                &[held(3, 33), held(4, 44)],
                &kafka(&[(3, 3), (4, 4)]),
                EntryId::ZERO,
                EntryId::ZERO
            )
            .anchored
        );
    }

    #[test]
    fn a_deleted_entry_is_no_loss_and_a_dead_letter_is_there() {
        let mut mirrored = kafka(&[(1, 1), (2, 2)]);
        mirrored.insert(
            id(3),
            Mirrored {
                generation: 0,
                record: None,
                letter: Some(1_003),
            },
        );
        let window = [
            held(1, 1),
            Held {
                id: id(3),
                record: None,
                letter: 1_003,
            },
        ];
        let outcome = compare(&window, &mirrored, id(2), EntryId::ZERO);
        assert_eq!(
            outcome,
            Outcome {
                missing: vec![],
                common: Some(id(3)),
                orphans: vec![],
                anchored: true
            }
        );
    }

    #[test]
    fn what_expired_in_kafka_or_was_made_otherwise_below_a_common_entry_is_not_missing() {
        let window = [held(1, 1), held(2, 2), held(3, 3), held(4, 4)];
        let outcome = compare(
            &window,
            &kafka(&[(2, 222), (3, 3)]),
            EntryId::ZERO,
            EntryId::ZERO,
        );
        assert_eq!(
            outcome.missing,
            [id(4)],
            "only what stands behind the last common entry"
        );
        assert!(outcome.orphans.is_empty() && outcome.anchored);
        let both = kafka(&[(2, 222), (4, 444)]);
        let outcome = compare(&window, &both, EntryId::ZERO, EntryId::MAX);
        assert!(
            outcome.missing.is_empty(),
            "by id all that Kafka has is there"
        );
        let outcome = compare(&window, &both, EntryId::ZERO, id(2));
        assert_eq!(
            outcome.missing,
            [id(3), id(4)],
            "by id only what was made otherwise"
        );
    }
}
