//! Whether entries were gone before they were read: pure arithmetic on one look at a stream.
//!
//! Redis counts the entries ever added to a stream (`entries-added`, E). A mirror that stands after entry P keeps the
//! number of entries that had been added when P was the last, A. Of the entries added since, `E − A`, those that still
//! stand behind P can be read; the rest, `E − A − unread`, never can: they are missing. The formula is exact at one
//! instant, whatever was trimmed or deleted and wherever, because entries up to P cancel out: they are part of both E
//! and A.
//!
//! `unread` is known without counting where nothing stands behind P (P is the last id given), or nothing up to P (the
//! first entry is behind P, or there is none). A negative result means that E began anew: the stream was deleted and
//! made again.

use crate::entry::EntryId;
use crate::status::GapCause;
use crate::streams::StreamState;

/// Where a reader stands in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The last entry read.
    pub id: EntryId,
    /// Entries ever added when that was the last; `None`: not known yet.
    pub added: Option<u64>,
    /// The last id at which a look was exact: what is missing went missing after it.
    pub exact: EntryId,
    /// It is where the mirror was told to begin, and nothing behind it has been read: the stream may not have come there yet.
    pub start: bool,
}

impl Mark {
    /// Nothing of the stream has ever counted: whatever it holds up to here is left out as it was told.
    #[must_use]
    pub const fn awaits_start(&self) -> bool {
        self.start && self.added.is_none()
    }
}

/// What one look says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing is missing up to here; the count at the mark is this.
    Level { added: u64 },
    Missing {
        entries: u64,
        cause: GapCause,
        added: u64,
    },
    /// Deleted and made anew: ids and counts began again.
    Recreated,
    /// The stream has not come to where its mirror begins.
    Ahead,
    /// This look cannot tell; the next may.
    Undetermined,
}

/// Judges a look at a stream. `unread`: how many entries stand behind the mark, where the look counted them.
#[must_use]
pub fn assess(state: &StreamState, mark: &Mark, unread: Option<u64>) -> Finding {
    if state.last_generated_id < mark.id {
        return if mark.awaits_start() {
            Finding::Ahead
        } else {
            Finding::Recreated
        };
    }
    let Some(total) = state.entries_added else {
        return Finding::Undetermined;
    };
    if mark.added.is_some_and(|added| total < added) {
        return Finding::Recreated;
    }
    let Some(unread) = unread.or_else(|| unread_at_the_edges(state, mark.id)) else {
        return Finding::Undetermined;
    };
    // Up to the mark: everything ever added, less what stands behind it, less what went missing behind it.
    let Some(added_now) = total.checked_sub(unread) else {
        return Finding::Undetermined;
    };
    match mark.added {
        None => Finding::Level { added: added_now },
        Some(added) if added_now < added => Finding::Recreated,
        Some(added) if added_now == added => Finding::Level { added },
        Some(added) => {
            // A trim takes from the front: while an entry up to there stands, what is missing was deleted.
            let deleted = state.max_deleted_entry_id.is_some_and(|id| {
                let stands = |first: EntryId| first <= mark.exact && first <= id;
                id > mark.exact || state.first.is_some_and(stands)
            });
            let cause = if deleted {
                GapCause::Deleted
            } else {
                GapCause::Trimmed
            };
            Finding::Missing {
                entries: added_now - added,
                cause,
                added: added_now,
            }
        }
    }
}

fn unread_at_the_edges(state: &StreamState, mark: EntryId) -> Option<u64> {
    if state.last_generated_id == mark {
        return Some(0);
    }
    match state.first {
        None => Some(0),
        Some(first) if first > mark => Some(state.length),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A stream as Redis keeps it, and a reader beside it that counts for itself what it could not read.
    #[derive(Clone, Debug, Default)]
    struct Model {
        entries: Vec<u64>,
        added: u64,
        last: u64,
        max_deleted: u64,
        read: u64,
        lost: u64,
    }

    impl Model {
        fn state(&self) -> StreamState {
            let id = |ms| EntryId::new(ms, 0);
            StreamState {
                length: self.entries.len() as u64,
                last_generated_id: id(self.last),
                entries_added: Some(self.added),
                max_deleted_entry_id: Some(id(self.max_deleted)),
                first: self.entries.first().copied().map(id),
                groups: 0,
            }
        }

        fn remove(&mut self, at: usize) {
            let ms = self.entries.remove(at);
            self.lost += u64::from(ms > self.read);
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Add,
        Trim(usize),
        Delete(usize),
        Read(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => Just(Act::Add),
            1 => (0_usize..4).prop_map(Act::Trim),
            1 => (0_usize..100).prop_map(Act::Delete),
            2 => (0_usize..4).prop_map(Act::Read),
        ]
    }

    proptest! {
        /// Whatever is added, trimmed, deleted and read in whatever order: what the looks find missing is what was lost.
        #[test]
        fn what_is_found_missing_is_what_was_lost(acts in prop::collection::vec(act(), 0..120)) {
            let mut model = Model::default();
            let mut mark = Mark { id: EntryId::ZERO, added: Some(0), exact: EntryId::ZERO, start: false };
            let mut found = 0;
            for act in acts {
                match act {
                    Act::Add => {
                        model.last += 1;
                        model.added += 1;
                        model.entries.push(model.last);
                    }
                    Act::Trim(count) => (0..count.min(model.entries.len())).for_each(|_| model.remove(0)),
                    Act::Delete(at) if !model.entries.is_empty() => {
                        let at = at % model.entries.len();
                        model.max_deleted = model.max_deleted.max(model.entries[at]);
                        model.remove(at);
                    }
                    Act::Delete(_) => {}
                    Act::Read(count) => {
                        let behind: Vec<u64> =
                            model.entries.iter().copied().filter(|ms| *ms > model.read).take(count).collect();
                        if let Some(last) = behind.last() {
                            model.read = *last;
                            mark.id = EntryId::new(*last, 0);
                            mark.added = mark.added.map(|added| added + behind.len() as u64);
                        }
                    }
                }
                let unread = model.entries.iter().filter(|ms| **ms > model.read).count() as u64;
                // A look that counts is always exact; one at the edges either agrees or says that it cannot tell.
                let counted = assess(&model.state(), &mark, Some(unread));
                let edges = assess(&model.state(), &mark, None);
                prop_assert!(edges == counted || edges == Finding::Undetermined);
                match counted {
                    Finding::Level { .. } => {}
                    Finding::Missing { entries, added, .. } => {
                        found += entries;
                        mark.added = Some(added);
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                mark.exact = mark.id;
                prop_assert_eq!(found, model.lost);
            }
        }
    }

    fn state(length: u64, last: u64, added: u64, first: Option<u64>) -> StreamState {
        StreamState {
            length,
            last_generated_id: EntryId::new(last, 0),
            entries_added: Some(added),
            max_deleted_entry_id: Some(EntryId::ZERO),
            first: first.map(|ms| EntryId::new(ms, 0)),
            groups: 0,
        }
    }

    fn mark(id: u64, added: u64) -> Mark {
        Mark {
            id: EntryId::new(id, 0),
            added: Some(added),
            exact: EntryId::new(id, 0),
            start: false,
        }
    }

    #[test]
    fn a_stream_made_anew_is_known_by_its_ids_or_its_count() {
        assert_eq!(
            assess(&state(1, 3, 1, Some(3)), &mark(9, 9), None),
            Finding::Recreated,
            "ids began again"
        );
        assert_eq!(
            assess(&state(2, 12, 2, Some(11)), &mark(9, 9), None),
            Finding::Recreated,
            "fewer than were read"
        );
        assert_eq!(
            assess(&state(50, 90, 50, Some(11)), &mark(9, 9), None),
            Finding::Recreated,
            "all of them unread"
        );
    }

    #[test]
    fn a_stream_that_has_not_come_to_its_start_is_not_made_anew() {
        let start = Mark {
            added: None,
            start: true,
            ..mark(9, 0)
        };
        assert_eq!(
            assess(&state(3, 5, 7, Some(2)), &start, None),
            Finding::Ahead
        );
        assert_eq!(
            assess(&state(1, 11, 8, Some(11)), &start, None),
            Finding::Level { added: 7 },
            "what was left out is counted once it has come there"
        );
        let counted = Mark {
            added: Some(7),
            ..start
        };
        assert_eq!(
            assess(&state(3, 5, 7, Some(2)), &counted, None),
            Finding::Recreated,
            "it had been there before"
        );
    }

    #[test]
    fn trimmed_and_deleted_are_told_apart() {
        assert!(matches!(
            assess(&state(2, 20, 20, Some(19)), &mark(9, 9), None),
            Finding::Missing {
                entries: 9,
                cause: GapCause::Trimmed,
                added: 18
            }
        ));
        let mut deleted = state(0, 12, 12, None);
        deleted.max_deleted_entry_id = Some(EntryId::new(12, 0));
        assert!(matches!(
            assess(&deleted, &mark(9, 9), None),
            Finding::Missing {
                entries: 3,
                cause: GapCause::Deleted,
                ..
            }
        ));
    }

    #[test]
    fn a_deletion_behind_the_last_exact_look_is_no_trim_while_older_entries_stand() {
        // Ids 1 to 20, 5 to 8 deleted; begun anew at a checkpoint of 10 that counts 10.
        let mut deleted = state(16, 20, 20, Some(1));
        deleted.max_deleted_entry_id = Some(EntryId::new(8, 0));
        let found = assess(&deleted, &mark(10, 6), Some(10));
        assert!(matches!(
            found,
            Finding::Missing {
                entries: 4,
                cause: GapCause::Deleted,
                ..
            }
        ));
    }

    #[test]
    fn an_older_redis_that_does_not_count_leaves_it_open() {
        let mut old = state(2, 20, 20, Some(19));
        old.entries_added = None;
        assert_eq!(assess(&old, &mark(9, 9), None), Finding::Undetermined);
    }
}
