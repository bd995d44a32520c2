//! The Kafka side of a pass: each log once, up to the end that was asked for, into the windows that Redis gave.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::entry::{Database, EntryId, StreamName, StreamRef};
use crate::placement::{Offset, Topic};
use crate::routing::Routes;
use crate::topics::{self, From, RecordView, Stretch};

use super::super::class::{Location, Why};
use super::super::edges::{Edges, KAFKA_TIMEOUT};
use super::super::error::Error;
use super::super::pace::{CHUNK, Pace};
use super::super::sides::{Identity, KafkaSide};
use super::{Beside, EXAMPLES, Pass, StreamPass, TopicPass, Unlisted, stray};

/// Records of a stream that Redis no longer has, kept as examples for each reason.
const BELOW: u64 = 10;
/// Orphans of a stream that are kept as examples.
const ORPHANS: usize = 100;
/// Names of streams of other passes that are remembered.
const NAMES: usize = 10_000;

impl Pass {
    /// Reads what is left of Kafka. Blocks; to be called where blocking is allowed. `each` is called after every chunk.
    /// `false`: stopped before the end.
    ///
    /// # Errors
    /// What was read before the error is in the pass.
    pub fn read_kafka(
        &mut self,
        edges: &Edges,
        pace: &Pace,
        stop: &CancellationToken,
        each: &mut (dyn FnMut(&Self) + Send),
    ) -> Result<bool, Error> {
        for at in 0..self.topics.len() {
            if self.topics[at].is_read() {
                continue;
            }
            let topic = self.topics[at].name();
            let mut reading = Reading::new(self, at, &edges.routes);
            let mut began = Instant::now();
            let mut amount = 0;
            let stretches = reading.stretches();
            let read = topics::read_stretches(
                &edges.kafka,
                &topic,
                &stretches,
                KAFKA_TIMEOUT,
                |record| {
                    reading.take(record);
                    amount += 1;
                    if amount == CHUNK {
                        each(reading.pass);
                        pace.keep_blocking(amount, began, stop);
                        (amount, began) = (0, Instant::now());
                        if stop.is_cancelled() {
                            return ControlFlow::Break(());
                        }
                    }
                    ControlFlow::Continue(())
                },
            )?;
            if stop.is_cancelled() {
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
            each(self);
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
    routes: &'a Routes,
    others: HashMap<Box<[u8]>, Option<Database>>,
}

impl<'a> Reading<'a> {
    fn new(pass: &'a mut Pass, topic: usize, routes: &'a Routes) -> Self {
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
        Self {
            side: KafkaSide::new(pass.seed, here.letters),
            pass,
            topic,
            name,
            route,
            streams,
            last: None,
            routes,
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

    fn take(&mut self, record: &RecordView<'_>) {
        let extents = &mut self.pass.topics[self.topic].extents;
        let at = usize::try_from(record.partition.0).unwrap_or(usize::MAX);
        let extent = match extents.get_mut(at) {
            Some(extent) if extent.partition == record.partition => Some(extent),
            _ => extents
                .iter_mut()
                .find(|extent| extent.partition == record.partition),
        };
        if let Some(extent) = extent {
            extent.next = Offset(record.offset.0 + 1);
        }
        self.pass.kafka_records += 1;
        let Some(identity) = self.side.identify(record) else {
            return self.stray(record, Why::NoIdentity, None, 0);
        };
        match self.stream_of(identity.stream) {
            Some(stream) => self.take_known(stream, &identity, record),
            None => self.take_unknown(&identity, record),
        }
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
            return self.pass.streams[at].orphan(identity, record);
        }
        if identity.generation == scope.generation && scope.never_had(identity.id) {
            let stream = self.pass.streams[at].stream.name.clone();
            return self.stray(
                record,
                Why::UnknownId,
                Some((stream, identity.id)),
                identity.generation,
            );
        }
        if self.pass.lots != u64::MAX && self.side.lot(identity.id) > self.pass.lots {
            self.pass.passed_over += 1;
            return;
        }
        let beside = Beside {
            id: identity.id,
            at: location(record, identity.generation),
            hash: self.side.hash(identity.id, record),
            letter: self.here().letters,
            repaired: identity.repaired,
        };
        let keeps = self.pass.keeps_beside;
        if !self.pass.streams[at].place(&beside, keeps) {
            self.pass.passed_over += 1;
        }
    }

    /// A record of a stream that the pass does not know: another pass's, or nobody's.
    fn take_unknown(&mut self, identity: &Identity<'_>, record: &RecordView<'_>) {
        let elsewhere = self.brought_by_a_route(identity.stream);
        if elsewhere.is_some() && !self.pass.covers_all {
            self.pass.passed_over += 1;
            return;
        }
        let name = StreamName::from(identity.stream);
        let why = Why::UnknownStream;
        let Some(database) = elsewhere.filter(|_| self.pass.unlisted.len() < NAMES) else {
            return self.stray(record, why, Some((name, identity.id)), identity.generation);
        };
        let at = location(record, identity.generation);
        let of = Some((Some(database), name.to_string()));
        let topic = self.name.as_str();
        self.pass.unlisted.push(Unlisted {
            difference: stray(&self.route, topic, why, of, Some(identity.id), at),
            stream: StreamRef { database, name },
        });
    }

    /// The database of the stream of this name that some route brings here.
    fn brought_by_a_route(&mut self, name: &[u8]) -> Option<Database> {
        if let Some(&known) = self.others.get(name) {
            return known;
        }
        let letters = self.here().letters;
        let brings = self.routes.iter().find_map(|route| {
            let stream = StreamRef::new(route.database(), name);
            let binding = self.routes.bind(&stream)?;
            let topic = if letters {
                binding.route().dead_letters()
            } else {
                binding.topic()
            };
            (*topic == self.name).then_some(stream.database)
        });
        if self.others.len() < NAMES {
            self.others.insert(Box::from(name), brings);
        }
        brings
    }

    fn stray(
        &mut self,
        record: &RecordView<'_>,
        why: Why,
        of: Option<(StreamName, EntryId)>,
        generation: u32,
    ) {
        let at = location(record, generation);
        let (stream, id) = of.unzip();
        let known = stream.map(|name| {
            let at = self.streams.get(name.as_bytes());
            let database = at.map(|&at| self.pass.streams[at].stream.database);
            (database, name.to_string())
        });
        let difference = stray(&self.route, self.name.as_str(), why, known, id, at);
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

    /// Puts a record where it belongs. `false`: it is none of the pass's.
    fn place(&mut self, record: &Beside, keeps_beside: bool) -> bool {
        let scope = &self.scope;
        if record.id <= scope.after || record.id > scope.through {
            if keeps_beside {
                let side = if record.id <= scope.after {
                    &mut self.behind
                } else {
                    &mut self.ahead
                };
                side.push(record.clone());
            }
            return keeps_beside;
        }
        let in_order = self.ascends(record);
        if record.id < self.scope.floor() {
            let why = self.scope.why_below(record.id, record.at.generation);
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
            return true;
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
        true
    }

    /// Whether the record's id is above all before it in its partition. Dead letters and repaired records stand outside the
    /// order.
    fn ascends(&mut self, record: &Beside) -> bool {
        if record.letter || record.repaired {
            return true;
        }
        match self.order.entry(record.at.partition.0) {
            std::collections::btree_map::Entry::Vacant(first) => {
                first.insert(record.id);
                true
            }
            std::collections::btree_map::Entry::Occupied(mut before) => {
                let ascends = record.id > *before.get();
                if ascends {
                    before.insert(record.id);
                }
                ascends
            }
        }
    }
}
