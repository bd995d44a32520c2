//! What is looked at: a window, with what Redis holds of it and what the logs bring; and its stream, whose records stand in an
//! order that all its windows share.
//!
//! A record costs a search among its stream's windows and one step in the order of its key, however many windows there are.

use std::collections::HashMap;
use std::ops::Range;

use crate::entry::{EntryId, StreamRef};
use crate::placement::Partition;

use super::super::compare::{Found, Held, What, thin};
use super::super::sides::Identity;
use super::Wanted;

/// (generation, id), which is the order of a stream's entries over all its history.
type Turn = (u32, EntryId);

/// Records of a window that are kept before copies are looked for among them.
const ROOM: usize = 4_096;

/// One window while it is looked at.
#[derive(Default)]
pub(super) struct Subject {
    held: Vec<Held>,
    /// Of each identity the first few, which stand for the others: [`thin`].
    found: Vec<Found>,
    /// So many were kept when they were thinned out last.
    thinned: usize,
    /// Records that it was given.
    records: u64,
    /// The lowest generation in which some entry that Redis holds was mirrored as it is.
    oldest: Option<u32>,
}

impl Subject {
    pub(super) fn hold(&mut self, held: Held) {
        self.held.push(held);
    }

    pub(super) fn find(&mut self, found: Found) {
        self.records += 1;
        let made = self.holds(found.id).and_then(|held| held.record);
        if matches!((made, found.what), (Some(made), What::Record(parts)) if made.parts == parts) {
            let generation = found.at.generation;
            self.oldest = Some((self.oldest).map_or(generation, |oldest| oldest.min(generation)));
        }
        self.found.push(found);
        // At twice the size: thinning out sorts, and where there are no copies it is for nothing.
        if self.found.len() >= ROOM.max(self.thinned * 2) {
            thin(&mut self.found);
            self.thinned = self.found.len();
        }
    }

    pub(super) fn forget_logs(&mut self) {
        let held = std::mem::take(&mut self.held);
        *self = Self {
            held,
            ..Self::default()
        };
    }

    /// All records of it, those that others stand for too.
    pub(super) const fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn sides(&self) -> (&[Held], &Vec<Found>) {
        (&self.held, &self.found)
    }

    fn holds(&self, id: EntryId) -> Option<&Held> {
        let at = self.held.binary_search_by_key(&id, |held| held.id);
        at.ok().map(|at| &self.held[at])
    }

    /// Whether some entry that Redis holds was mirrored in an older generation.
    pub(super) fn shares_history(&self, generation: u32) -> bool {
        self.oldest.is_some_and(|oldest| oldest < generation)
    }
}

/// A stream while windows of it are looked at.
pub(super) struct Course {
    generation: u32,
    /// `through`, `after` and place in the group, ascending; windows do not overlap, though one may be there twice.
    windows: Vec<(EntryId, EntryId, usize)>,
    /// For each key of the windows' entries, and each partition: the greatest that stood there so far.
    latest: HashMap<u64, HashMap<Partition, Turn>>,
    /// The first id of the stream that each partition of its topic, and of its dead letters, still has as the mirror brought
    /// it, in a window or not. What came behind it may be a copy or a repair of something older, and says nothing of where the
    /// log begins.
    earliest: HashMap<(bool, Partition), EntryId>,
}

/// The streams of a group of windows.
pub(super) struct Courses {
    pub(super) all: Vec<Course>,
    /// Which of them each window is of.
    pub(super) of: Vec<usize>,
}

impl Courses {
    pub(super) fn new(group: &[Wanted], subjects: &[Subject]) -> Self {
        let mut places: HashMap<&StreamRef, usize> = HashMap::new();
        let mut all: Vec<Course> = Vec::new();
        let mut of = Vec::with_capacity(group.len());
        for (at, (wanted, subject)) in group.iter().zip(subjects).enumerate() {
            let place = *places.entry(&wanted.stream).or_insert_with(|| {
                all.push(Course {
                    generation: wanted.generation,
                    windows: Vec::new(),
                    latest: HashMap::new(),
                    earliest: HashMap::new(),
                });
                all.len() - 1
            });
            let course = &mut all[place];
            course.windows.push((wanted.through, wanted.after, at));
            for made in subject.held.iter().filter_map(|held| held.record) {
                course.latest.entry(made.parts.key).or_default();
            }
            of.push(place);
        }
        for course in &mut all {
            course.windows.sort_unstable();
        }
        Self { all, of }
    }

    /// As they were before any log was read.
    pub(super) fn forget_logs(&mut self) {
        for course in &mut self.all {
            course.earliest.clear();
            course.latest.values_mut().for_each(HashMap::clear);
        }
    }
}

impl Course {
    /// Takes note of a record of the stream, wherever it stands; gives the windows that it belongs to.
    pub(super) fn pass(
        &mut self,
        identity: &Identity<'_>,
        letters: bool,
        partition: Partition,
    ) -> Range<usize> {
        if !identity.repaired {
            let earliest = self.earliest.entry((letters, partition));
            earliest.or_insert(identity.id);
        }
        let first = self
            .windows
            .partition_point(|(through, ..)| *through < identity.id);
        let holding = self.windows[first..]
            .iter()
            .take_while(|(_, after, _)| *after < identity.id);
        first..first + holding.count()
    }

    /// The place in the group of one of its windows.
    pub(super) fn place(&self, window: usize) -> usize {
        self.windows[window].2
    }

    /// Whether a later entry of this key stands before it in its partition. Order is per key; a record without a key is in
    /// the order of all such records of its stream. A record that is no entry's is before or behind none; of one that was not
    /// drawn that is not known, and it is taken for an entry's.
    pub(super) fn is_behind(
        &mut self,
        identity: &Identity<'_>,
        key: u64,
        partition: Partition,
        (windows, drawn): (Range<usize>, bool),
        subjects: &[Subject],
    ) -> bool {
        let lacks = |window| subjects[self.place(window)].holds(identity.id).is_none();
        if identity.generation > self.generation
            || drawn && !windows.is_empty() && windows.clone().all(lacks)
        {
            return false;
        }
        let Some(partitions) = self.latest.get_mut(&key) else {
            return false;
        };
        let turn = (identity.generation, identity.id);
        let latest = partitions.entry(partition).or_insert(turn);
        let behind = turn < *latest;
        *latest = turn.max(*latest);
        behind
    }

    pub(super) fn earliest(&self, letters: bool, partition: Partition) -> Option<EntryId> {
        self.earliest.get(&(letters, partition)).copied()
    }

    /// Whether a later record of the key stands in the partition.
    pub(super) fn has_later(&self, key: u64, partition: Partition, id: EntryId) -> bool {
        let latest = self
            .latest
            .get(&key)
            .and_then(|partitions| partitions.get(&partition));
        latest.is_some_and(|(_, latest)| *latest > id)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config;
    use crate::entry::Database;
    use crate::routing::Routes;

    fn id(n: u64) -> EntryId {
        EntryId::new(n, 0)
    }

    pub(in super::super) fn wanted(after: u64, through: u64) -> Wanted {
        #[derive(serde::Deserialize)]
        struct File {
            routes: Vec<config::Route>,
        }
        let text =
            "[[routes]]\nname='r'\nstreams=['s']\ntopic='t'\npartitions=1\nvalue={field='v'}";
        let file: File = toml::from_str(text).expect("a route");
        let routes = Routes::compile("m", &file.routes, Database(0)).expect("a route");
        let stream = StreamRef::new(Database(0), "s");
        Wanted {
            binding: routes.bind(&stream).expect("its stream"),
            stream,
            after: id(after),
            through: id(through),
            entries: 1,
            committed: EntryId::MAX,
            generation: 0,
            shared_history: false,
            remade: Default::default(),
        }
    }

    pub(in super::super) const fn identity(n: u64) -> Identity<'static> {
        Identity {
            stream: b"s",
            id: EntryId::new(n, 0),
            generation: 0,
            repaired: false,
        }
    }

    #[test]
    fn a_record_is_given_to_the_windows_that_hold_its_id_and_to_no_others() {
        // Out of order, with gaps, and one of them twice.
        let group = [(7, 9), (1, 3), (3, 4), (7, 9)].map(|(after, through)| wanted(after, through));
        let subjects = [(); 4].map(|()| Subject::default());
        let mut courses = Courses::new(&group, &subjects);
        assert_eq!((courses.all.len(), &*courses.of), (1, &[0; 4][..]));
        let course = &mut courses.all[0];
        for (n, held_by) in [
            (1, vec![]),
            (2, vec![1]),
            (3, vec![1]),
            (4, vec![2]),
            (6, vec![]),
            (7, vec![]),
            (8, vec![0, 3]),
            (9, vec![0, 3]),
            (10, vec![]),
        ] {
            let windows = course.pass(&identity(n), false, Partition(0));
            let places: Vec<usize> = windows.map(|window| course.place(window)).collect();
            assert_eq!(places, held_by, "{n}");
        }
        assert_eq!(course.earliest(false, Partition(0)), Some(id(1)));
    }

    #[test]
    fn a_late_repair_or_copy_is_not_where_the_log_begins() {
        let group = [wanted(0, 100)];
        let mut courses = Courses::new(&group, &[Subject::default()]);
        let course = &mut courses.all[0];
        let repaired = Identity {
            repaired: true,
            ..identity(5)
        };
        course.pass(&repaired, false, Partition(0));
        assert_eq!(course.earliest(false, Partition(0)), None);
        for n in [50, 51, 7] {
            course.pass(&identity(n), false, Partition(0));
        }
        assert_eq!(course.earliest(false, Partition(0)), Some(id(50)));
        assert_eq!(course.earliest(true, Partition(0)), None);
    }

    #[test]
    fn copies_without_end_take_no_memory_and_are_all_counted() {
        use crate::parity::class::Location;
        use crate::parity::digest::Parts;
        use crate::placement::Offset;
        let copy = |offset, generation, value| Found {
            id: id(5),
            at: Location {
                partition: Partition(0),
                offset: Offset(offset),
                generation,
            },
            what: What::Record(Parts {
                value,
                ..Parts::default()
            }),
            behind: false,
            more: 0,
        };
        let mut subject = Subject::default();
        subject.hold(Held {
            id: id(5),
            record: Some(crate::parity::compare::Made {
                partition: Partition(0),
                parts: Parts::default(),
                has_key: true,
            }),
            fields: 0,
        });
        for offset in 0..20_000 {
            subject.find(copy(offset, 1, 7));
        }
        assert!(!subject.shares_history(2), "none of them is as its entry");
        subject.find(copy(20_000, 1, 0));
        for offset in 20_001..40_000 {
            subject.find(copy(offset, 2, 0));
        }
        assert!(subject.found.len() <= ROOM, "{}", subject.found.len());
        assert_eq!(subject.records(), 40_000);
        let kept: u64 = subject.found.iter().map(|found| 1 + found.more).sum();
        assert_eq!(kept, 40_000);
        assert!(subject.shares_history(2) && !subject.shares_history(1));
        subject.forget_logs();
        assert_eq!((subject.records(), subject.held.len()), (0, 1));
        assert!(!subject.shares_history(2));
    }

    #[test]
    fn what_was_not_drawn_stands_in_the_order_of_what_was() {
        use crate::parity::compare::Made;
        use crate::parity::digest::Parts;
        let mut subject = Subject::default();
        for n in [5, 9] {
            let record = Made {
                partition: Partition(0),
                parts: Parts::default(),
                has_key: true,
            };
            subject.hold(Held {
                id: id(n),
                record: Some(record),
                fields: 0,
            });
        }
        let subjects = [subject];
        let mut courses = Courses::new(&[wanted(0, 100)], &subjects);
        let course = &mut courses.all[0];
        let key = Parts::default().key;
        let mut behind = |n, drawn| {
            let windows = course.pass(&identity(n), false, Partition(0));
            course.is_behind(&identity(n), key, Partition(0), (windows, drawn), &subjects)
        };
        assert!(!behind(6, true), "no entry's, and behind nothing");
        assert!(!behind(7, false));
        assert!(behind(5, true), "behind one that was not drawn");
        assert!(!behind(9, true));
        assert!(!behind(12, false));
        assert!(course.has_later(key, Partition(0), id(9)), "12 has its key");
    }
}
