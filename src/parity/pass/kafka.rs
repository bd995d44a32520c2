//! The Kafka side of a pass: each log once, up to the end that was asked for, into the windows that Redis gave.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::entry::{Database, EntryId, StreamName, StreamRef};
use crate::placement::{Offset, Partition, Topic};
use crate::topics::{self, From, RecordView, Stretch};

use super::super::census::Census;
use super::super::class::{Location, Why};
use super::super::edges::{Born, Edges, KAFKA_TIMEOUT};
use super::super::error::Error;
use super::super::pace::{CHUNK, Pace};
use super::super::sides::{Identity, KafkaSide, is_unnamed};
use super::strays::stray;
use super::{Beside, EXAMPLES, Extent, Later, Pass, StreamPass, TopicPass};

/// Records of a stream that Redis no longer has, kept as examples for each reason.
const BELOW: u64 = 10;
/// Orphans of a stream that are kept as examples.
const ORPHANS: usize = 100;
/// Records that belong to no window of their stream, kept by one pass. A flood of repeats is compared in windows, from the
/// beginning, where each costs no memory.
const BESIDE: usize = 20_000;
/// Names of streams of other passes that are remembered.
const NAMES: usize = 10_000;

impl Pass {
    /// Reads what is left of Kafka. Blocks; to be called where blocking is allowed. `each` is called after every chunk and may
    /// break off there. `census`: asked for streams that the pass does not know. `false`: not all is read.
    ///
    /// # Errors
    /// What was read before the error is in the pass.
    pub fn read_kafka(
        &mut self,
        edges: &Arc<Edges>,
        census: &mut Census,
        pace: &Pace,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(&Self) -> ControlFlow<()> + Send),
    ) -> Result<bool, Error> {
        for at in 0..self.topics.len() {
            if self.topics[at].is_read() {
                continue;
            }
            let topic = self.topics[at].name();
            let mut reading = Reading::new(self, at, edges, census);
            let mut failed = None;
            let mut began = Instant::now();
            let mut amount = 0;
            let mut goes_on = ControlFlow::Continue(());
            let stretches = reading.stretches();
            let read = topics::read_stretches(
                &edges.kafka,
                &topic,
                &stretches,
                KAFKA_TIMEOUT,
                |record| {
                    if let Err(error) = reading.take(record, stop) {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                    amount += 1;
                    if amount == CHUNK {
                        goes_on = each(reading.pass);
                        pace.keep_blocking(amount, began, stop);
                        (amount, began) = (0, Instant::now());
                        if stop.is_cancelled() || goes_on.is_break() {
                            return ControlFlow::Break(());
                        }
                    }
                    ControlFlow::Continue(())
                },
            )?;
            if let Some(error) = failed {
                return Err(error);
            }
            if stop.is_cancelled() || goes_on.is_break() {
                return Ok(false);
            }
            let extents = &mut self.topics[at].extents;
            for (partition, position) in read {
                for extent in extents
                    .iter_mut()
                    .filter(|extent| extent.partition == partition)
                {
                    // Only markers, or nothing, may lie between what was delivered and the end.
                    extent.next = extent.next.max(position).max(extent.end);
                }
            }
            if each(self).is_break() && !self.is_done() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// One topic while it is read.
struct Reading<'a> {
    pass: &'a mut Pass,
    topic: usize,
    name: Topic,
    /// The route whose topic it is, for records that are no entry's.
    route: String,
    side: KafkaSide,
    streams: HashMap<Box<[u8]>, usize>,
    /// The stream of the record before: records of one come together.
    last: Option<(Box<[u8]>, usize)>,
    edges: &'a Arc<Edges>,
    census: &'a mut Census,
    /// When applications may have written to the topic themselves; and whether that was asked for after all was there that is
    /// read.
    kafka_born: (Born, bool),
    others: HashMap<Box<[u8]>, Whose>,
}

/// Whose a record is whose stream the pass does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Of a stream that another pass compares, that came after this one began, or that no route takes any more.
    Another,
    /// Of a stream that a route takes elsewhere, where its records went here, if they did, up to this one.
    Elsewhere(EntryId),
    /// Of no stream that there ever was; in the database where a route would look for it.
    Nobody(Option<Database>),
}

/// Where a record of a known stream belongs.
enum Placed {
    Within,
    /// Below or above what the pass compares of its stream.
    Beside,
}

/// What is kept of a record that belongs to no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Whole,
    Counted,
    Not,
}

impl<'a> Reading<'a> {
    fn new(
        pass: &'a mut Pass,
        topic: usize,
        edges: &'a Arc<Edges>,
        census: &'a mut Census,
    ) -> Self {
        let here = &pass.topics[topic];
        let name = here.name();
        let of_topic = |stream: &&StreamPass| {
            let topic = if here.letters {
                &stream.letters
            } else {
                &stream.topic
            };
            *topic == here.topic
        };
        let route = pass.streams.iter().find(of_topic);
        let route = route.map(|stream| stream.route.clone()).unwrap_or_default();
        let streams = pass
            .streams
            .iter()
            .enumerate()
            .filter(|(_, stream)| of_topic(stream))
            .map(|(at, stream)| (Box::from(stream.stream.name.as_bytes()), at))
            .collect();
        let kafka_born = match here.letters {
            true => (Born::Never, true),
            false => ((edges.kafka_born)().0, false),
        };
        Self {
            side: KafkaSide::new(pass.seed, here.letters),
            kafka_born,
            pass,
            topic,
            name,
            route,
            streams,
            last: None,
            edges,
            census,
            others: HashMap::new(),
        }
    }

    fn here(&self) -> &TopicPass {
        &self.pass.topics[self.topic]
    }

    fn stretches(&self) -> Vec<Stretch> {
        let open = self
            .here()
            .extents
            .iter()
            .filter(|extent| extent.next < extent.end);
        open.map(|extent| Stretch {
            partition: extent.partition,
            from: From::Offset(extent.next),
            to: Some(extent.end),
        })
        .collect()
    }

    /// # Errors
    /// It cannot be said whose the record is; nothing is taken of it.
    fn take(&mut self, record: &RecordView<'_>, stop: &CancellationToken) -> Result<(), Error> {
        let identity = self.side.identify(record);
        // Looking at headers for nothing would cost as much as comparing.
        if identity.is_none()
            && is_unnamed(record)
            && !self.is_kafka_born(record)
            && self.counts(record)
        {
            self.ask_who_writes(record, stop)?;
        }
        let of = identity.and_then(|identity| self.stream_of(identity.stream));
        let whose = match &identity {
            Some(identity) if of.is_none() && self.counts(record) => self.whose(identity)?,
            _ => Whose::Another,
        };
        if let Some(extent) = self.extent(record.partition) {
            extent.next = Offset(record.offset.0 + 1);
        }
        self.pass.kafka_records += 1;
        match (identity, of, whose) {
            (Some(identity), Some(stream), _) => self.take_known(stream, &identity, record),
            (Some(identity), None, Whose::Nobody(database)) => {
                let name = StreamName::from(identity.stream).to_string();
                let of = Some(((database, name), identity.id));
                self.stray(record, Why::UnknownStream, of, identity.generation);
            }
            (None, ..) if self.is_kafka_born(record) => {
                self.pass.passed_over += 1;
                if self.counts(record) {
                    self.pass.strays.add_kafka_born(self.name.as_str());
                }
            }
            (None, ..) if self.counts(record) => self.stray(record, Why::NoIdentity, None, 0),
            (None, ..) | (_, None, Whose::Another | Whose::Elsewhere(_)) => {
                self.pass.passed_over += 1;
            }
        }
        Ok(())
    }

    fn extent(&mut self, partition: Partition) -> Option<&mut Extent> {
        let extents = &mut self.pass.topics[self.topic].extents;
        let at = usize::try_from(partition.0).unwrap_or(usize::MAX);
        match extents.get(at) {
            Some(extent) if extent.partition == partition => extents.get_mut(at),
            _ => (extents.iter_mut()).find(|extent| extent.partition == partition),
        }
    }

    /// Whether an application may have written it to Kafka itself: there is nothing to compare it with.
    fn is_kafka_born(&self, record: &RecordView<'_>) -> bool {
        let covers =
            matches!(self.kafka_born.0, Born::In(born) if born.covers(record.timestamp_ms));
        covers && is_unnamed(record)
    }

    /// Before a record that names nothing is called somebody else's, once.
    ///
    /// # Errors
    /// It is not known.
    fn ask_who_writes(
        &mut self,
        record: &RecordView<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        if !self.kafka_born.1 {
            self.kafka_born = (self.edges.kafka_born_now(stop), true);
        }
        match self.kafka_born.0 {
            Born::NotKnown => Err(Error::NotTold {
                topic: self.name.clone(),
                partition: record.partition,
                offset: record.offset,
            }),
            Born::Never | Born::In(_) => Ok(()),
        }
    }

    /// Whether a record of no stream is for this pass to count, and not counted yet.
    fn counts(&mut self, record: &RecordView<'_>) -> bool {
        self.here().answers && self.is_asked_for(record) && self.is_first_seen(record)
    }

    fn is_asked_for(&self, record: &RecordView<'_>) -> bool {
        let (within, at) = (self.pass.strays_within, record.timestamp_ms);
        let at = at.and_then(|at| u64::try_from(at).ok());
        within
            .zip(at)
            .is_none_or(|((from, to), at)| (from..=to).contains(&at))
    }

    fn is_first_seen(&mut self, record: &RecordView<'_>) -> bool {
        let extent = self.extent(record.partition);
        extent.is_none_or(|extent| record.offset >= extent.counted)
    }

    fn stream_of(&mut self, name: &[u8]) -> Option<usize> {
        if let Some((last, at)) = &self.last
            && **last == *name
        {
            return Some(*at);
        }
        let (name, &at) = self.streams.get_key_value(name)?;
        self.last = Some((name.clone(), at));
        Some(at)
    }

    fn take_known(&mut self, at: usize, identity: &Identity<'_>, record: &RecordView<'_>) {
        let scope = &self.pass.streams[at].scope;
        if identity.generation < scope.generation && identity.id > scope.last.max(scope.committed) {
            if scope.asks_for(identity.id) {
                self.pass.streams[at].orphan(identity, record);
            } else {
                self.pass.passed_over += 1;
            }
            return;
        }
        let never_had = identity.generation == scope.generation && scope.never_had(identity.id);
        let letter = self.here().letters;
        if !never_had && !identity.repaired {
            self.pass.streams[at].is_left(identity.id, letter, record.partition);
        }
        // What was not drawn stands in the order of what was.
        let in_order =
            never_had || letter || self.pass.streams[at].ascends(identity, record.partition);
        if !never_had && self.pass.lots != u64::MAX {
            let lot = self.side.lot(identity.stream, identity.id);
            if lot > self.pass.lots {
                self.pass.passed_over += 1;
                return;
            }
        }
        let beside = Beside {
            id: identity.id,
            at: location(record, identity.generation),
            hash: self.side.hash(identity.id, record),
            letter,
            repaired: identity.repaired,
        };
        if never_had {
            if self.is_first_seen(record) {
                self.pass.streams[at].put_below(Why::UnknownId, &beside);
            } else {
                self.pass.passed_over += 1;
            }
            return;
        }
        let is_new = self.is_first_seen(record);
        let (keeps, has_room) = (self.pass.keeps_beside, self.pass.beside < BESIDE);
        let stream = &mut self.pass.streams[at];
        let kept = match stream.place(&beside, in_order) {
            Placed::Within => return,
            Placed::Beside if keeps => stream.take_beside(beside, is_new, has_room),
            Placed::Beside => Kept::Not,
        };
        match kept {
            Kept::Whole => self.pass.beside += 1,
            Kept::Counted => {}
            Kept::Not => self.pass.passed_over += 1,
        }
    }

    fn whose(&mut self, identity: &Identity<'_>) -> Result<Whose, Error> {
        let name = identity.stream;
        let whose = match self.others.get(name) {
            Some(&known) => known,
            None => self.found_whose(name)?,
        };
        if self.others.len() < NAMES && !self.others.contains_key(name) {
            self.others.insert(Box::from(name), whose);
        }
        Ok(match whose {
            Whose::Elsewhere(moved) if identity.id > moved => Whose::Nobody(None),
            Whose::Elsewhere(_) | Whose::Another | Whose::Nobody(_) => whose,
        })
    }

    /// The streams of this name that some route brings here may be in several databases.
    fn found_whose(&mut self, name: &[u8]) -> Result<Whose, Error> {
        let here = self.here();
        let brought = self.edges.routes.iter().filter_map(|route| {
            let stream = StreamRef::new(route.database(), name);
            let binding = self.edges.routes.bind(&stream)?;
            let topic = if here.letters {
                binding.route().dead_letters()
            } else {
                binding.topic()
            };
            (*topic == self.name).then_some(stream)
        });
        let brought: Vec<StreamRef> = brought.collect();
        let Some(first) = brought.first() else {
            return self.found_elsewhere(name);
        };
        if !self.pass.covers_all {
            return Ok(Whose::Another);
        }
        for stream in &brought {
            if self.census.has(self.edges, stream)? || self.edges.has_begun(stream)? {
                return Ok(Whose::Another);
            }
        }
        Ok(Whose::Nobody(Some(first.database)))
    }

    /// What was mirrored before its route was taken away or narrowed, or before its topic was changed, is nobody's fault. A stream
    /// that a route takes elsewhere has nothing else here.
    fn found_elsewhere(&mut self, name: &[u8]) -> Result<Whose, Error> {
        let routes = self.edges.routes.iter();
        let mut taken: Vec<StreamRef> = routes
            .map(|route| StreamRef::new(route.database(), name))
            .collect();
        taken.retain(|stream| self.edges.routes.bind(stream).is_some());
        if taken.is_empty() {
            return Ok(match self.census.has_named(self.edges, name)? {
                true => Whose::Another,
                false => Whose::Nobody(None),
            });
        }
        let mut moved = EntryId::ZERO;
        for stream in &taken {
            moved = moved.max(self.census.moved_through(self.edges, stream)?);
        }
        Ok(Whose::Elsewhere(moved))
    }

    fn stray(
        &mut self,
        record: &RecordView<'_>,
        why: Why,
        of: Option<((Option<Database>, String), EntryId)>,
        generation: u32,
    ) {
        let at = location(record, generation);
        let (stream, id) = of.unzip();
        let difference = stray(&self.route, self.name.as_str(), why, stream, id, at);
        self.pass.strays.add(difference);
    }
}

const fn location(record: &RecordView<'_>, generation: u32) -> Location {
    Location {
        partition: record.partition,
        offset: record.offset,
        generation,
    }
}

impl StreamPass {
    fn orphan(&mut self, identity: &Identity<'_>, record: &RecordView<'_>) {
        self.orphans += 1;
        if self.orphan_examples.len() < ORPHANS {
            let at = location(record, identity.generation);
            self.orphan_examples.push((identity.id, at));
        }
    }

    /// `is_new`: what stands there was never read before. `has_room`: it may be kept whole.
    pub(super) fn take_beside(&mut self, record: Beside, is_new: bool, has_room: bool) -> Kept {
        let is_behind = record.id <= self.scope.after;
        if record.id <= self.scope.began || is_behind && !is_new && !self.scope.matters(&record) {
            return Kept::Not;
        }
        if !is_behind && is_new {
            self.put_later(&record);
            return Kept::Counted;
        }
        if !has_room {
            self.unkept += 1;
            return Kept::Counted;
        }
        let side = if is_behind {
            &mut self.behind
        } else {
            &mut self.ahead
        };
        side.push(record);
        Kept::Whole
    }

    fn put_later(&mut self, record: &Beside) {
        let (letter, partition) = (record.letter, record.at.partition);
        let mut later = self.later.iter_mut();
        match later.find(|later| (later.letter, later.partition) == (letter, partition)) {
            Some(later) => {
                later.first = later.first.min(record.at.offset);
                later.records += 1;
            }
            None => self.later.push(Later {
                letter,
                partition,
                first: record.at.offset,
                records: 1,
            }),
        }
    }

    /// Puts a record where it belongs.
    fn place(&mut self, record: &Beside, in_order: bool) -> Placed {
        let scope = &self.scope;
        if record.id <= scope.after || record.id > scope.through {
            return Placed::Beside;
        }
        if record.id < self.scope.floor() {
            let why = self.scope.why_below(record.id, record.at.generation);
            self.put_below(why, record);
            return Placed::Within;
        }
        let at = self
            .windows
            .partition_point(|window| window.through < record.id);
        if let Some(window) = self.windows.get_mut(at) {
            window.kafka.add(record.hash);
            window.disorder |= !in_order;
            window.older |= record.at.generation < self.scope.generation;
            // One of a generation that no checkpoint knows has to be looked at.
            window.disorder |= record.at.generation > self.scope.generation;
        }
        Placed::Within
    }

    fn put_below(&mut self, why: Why, record: &Beside) {
        let before = self.below.entry(why).or_default();
        // Of what is gone a few are enough; a fault is to be named.
        let most = match why {
            Why::UnknownId => EXAMPLES as u64,
            _ => BELOW,
        };
        if *before < most {
            self.below_examples.push((why, record.clone()));
        }
        *before += 1;
    }

    /// Whether the record's id is above all before it in its partition. Dead letters, repaired records and what is not
    /// compared stand outside the order.
    fn ascends(&mut self, identity: &Identity<'_>, partition: Partition) -> bool {
        let (scope, id) = (&self.scope, identity.id);
        if identity.repaired || id <= scope.after || id > scope.through {
            return true;
        }
        match self.order.entry(partition.0) {
            std::collections::btree_map::Entry::Vacant(first) => {
                first.insert(id);
                true
            }
            std::collections::btree_map::Entry::Occupied(mut before) => {
                let ascends = id > *before.get();
                if ascends {
                    before.insert(id);
                }
                ascends
            }
        }
    }
}

#[cfg(test)]
mod tests;
