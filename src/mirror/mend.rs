//! Ends what a broker left undecided of this shard's transactions, before the term reads on.
//!
//! Kafka 4.3 takes a partition without a leader for a deleted one and writes no marker to it for a transaction that is
//! decided; a cluster of one broker that stops or dies does so to any part of the partitions. What hangs there is decided
//! by the next marker of the same producer, whatever was meant: the next commit would show what was aborted, and the
//! entries with it a second time; the next abort would hide what was committed.
//!
//! ```text
//!   opened ─▶ anything undecided for long? ─no─▶ go on
//!                 │ yes: are records of this shard in there? ─no─▶ another's transaction, go on
//!                 ▼ yes
//!            a record into each such partition, then abort ─▶ wait until all is decided ─▶ compare with the checkpoints
//!                                                                                             │
//!                                       begin the term anew ◀── one transaction with what was committed and is hidden
//! ```
//!
//! Why that is right. After the opening nothing of this shard is under way, so its records that stay undecided hang, and
//! the abort hides all of them that hang. What of them was *committed* is told by the log itself, because a transaction's
//! records and checkpoint are decided together: a record at or below the visible checkpoint was committed; and where the
//! checkpoint hangs too, the transaction was committed if any record behind the visible checkpoint is visible. Such
//! records (the hidden ones alone) and the checkpoint are written again as they were. Where nothing of it is visible,
//! the transaction may have been committed as well, but nobody has seen any of it: it is mirrored again from the old checkpoint,
//! which is in Redis still or a gap that is seen.
//!
//! A topic that cannot be read now may hold the very record that tells. The others do not wait for it, unless a checkpoint of its
//! own streams hangs: that transaction may have records there.
//!
//! What remains: between the abort and the second writing (milliseconds, or as long as another shard's records hang in the
//! same partition) a crash forgets what was to be written again. It takes a broker that dies while it writes the markers of
//! one transaction, and this process to die within that time.

mod decide;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use self::decide::{Hanging, Known, Rewrite, decide};
use super::opening::Candidate;
use super::places::{self, Place};
use super::shard::{ShardWorker, TermEnd};
use super::shared::{KAFKA_TIMEOUT, now_ms};
use crate::checkpoint::{self, Loaded};
use crate::entry::StreamRef;
use crate::placement::{Offset, Partition, Topic};
use crate::routing::Routes;
use crate::tasks::passed_on;
use crate::topics::{self, Ends, From, Headers, Record, RecordView, Undecided, Writer};

/// Transactions of others, and of this shard's former owner, are over in this time as a rule.
const SOON: Duration = Duration::from_millis(500);
/// How long all may take to be decided: a dead producer's transaction is given up by the broker after its own time limit
/// and a scan of ten seconds, or by its next owner.
const PATIENCE: Duration = Duration::from_secs(30);
/// How far clocks of brokers may be off, and how long a transaction may be under way before its broker knows of it.
const CLOCKS: Duration = Duration::from_secs(600);

/// The key of the record that is aborted. A compacted topic takes none without a key.
const KEY: &[u8] = b"@lockgate-abort";

/// The streams of the shard by the topics that their records go to.
type ByTopic = HashMap<Topic, HashMap<Vec<u8>, StreamRef>>;

/// Whether the term can go on with this writer: `None` where something was ended and the checkpoints are to be read again.
/// `owned`: the shard's streams, those too that this term leaves out.
pub async fn mend(
    worker: &ShardWorker,
    writer: Writer,
    ends: Ends,
    owned: &BTreeSet<StreamRef>,
    candidates: &[Candidate],
    loaded: &Loaded,
) -> Result<Option<Writer>, TermEnd> {
    let mending = Mending::new(worker, owned, candidates, loaded).await;
    let mending = mending.map_err(|error| TermEnd::Checkpoint(error.into()))?;
    let mended = tokio::task::spawn_blocking(move || mending.run(writer, &ends));
    passed_on(mended.await).map_err(|error| TermEnd::Checkpoint(error.into()))
}

/// Of all that ever were mirrored here or are to be: a transaction that hangs may hold records of each of them, whether it is
/// found, halted or out of reach now.
fn by_topic_of<'a>(routes: &Routes, streams: impl Iterator<Item = &'a StreamRef>) -> ByTopic {
    let mut topics = ByTopic::new();
    for stream in streams {
        let bound = routes.bind(stream);
        let Some(binding) = bound.filter(|binding| binding.fault().is_none()) else {
            continue;
        };
        for topic in [binding.topic(), binding.route().dead_letters()] {
            let of_topic = topics.entry(topic.clone()).or_default();
            of_topic.insert(stream.name.as_bytes().to_vec(), stream.clone());
        }
    }
    topics
}

struct Mending {
    shared: Arc<super::shared::Shared>,
    shard: crate::placement::Shard,
    places: Vec<(Topic, Partition)>,
    streams: ByTopic,
    /// Topics that this term writes to.
    needed: HashSet<Topic>,
    /// Streams of topics that cannot be looked into now, and may be later.
    out_of_sight: HashSet<StreamRef>,
    known: HashMap<StreamRef, Known>,
}

impl Mending {
    async fn new(
        worker: &ShardWorker,
        owned: &BTreeSet<StreamRef>,
        candidates: &[Candidate],
        loaded: &Loaded,
    ) -> Result<Self, topics::Error> {
        let shared = Arc::clone(&worker.shared);
        let all = owned.iter().chain(loaded.checkpoints.keys());
        let mut streams = by_topic_of(&shared.routes, all);
        let mut found = worker.memory.places.clone();
        let unseen = streams.keys().filter(|topic| !found.contains_key(*topic));
        let unseen: Vec<Topic> = unseen.cloned().collect();
        found.extend(places::look(&shared, &unseen).await?);
        let mut places = vec![(
            shared.checkpoints.clone(),
            checkpoint::partition_of(worker.shard),
        )];
        let mut out_of_sight = HashSet::new();
        // What is not there, or is shown to nobody, holds nothing back.
        streams.retain(|topic, of_topic| match found.get(topic) {
            Some(Place::Partitions(count)) => {
                let count = i32::try_from(*count).unwrap_or(i32::MAX);
                places.extend((0..count).map(|partition| (topic.clone(), Partition(partition))));
                true
            }
            Some(Place::Refused(reason, _)) if !reason.halts() => {
                out_of_sight.extend(of_topic.values().cloned());
                false
            }
            _ => false,
        });
        let known = loaded.checkpoints.iter().map(|(stream, at)| {
            let checkpoint = Some((at.generation, at.id));
            (stream.clone(), Known { checkpoint })
        });
        let needed = candidates.iter().flat_map(|candidate| {
            let binding = &candidate.slot.binding;
            [binding.topic(), binding.route().dead_letters()]
        });
        Ok(Self {
            places,
            needed: needed.cloned().collect(),
            out_of_sight,
            shard: worker.shard,
            known: known.collect(),
            shared,
            streams,
        })
    }

    /// Where the topics of streams that the term leaves out do not answer, the others do not wait for them.
    fn undecided(&mut self, ends: &Ends) -> Result<Vec<Undecided>, topics::Error> {
        let asked = ends.undecided(&self.places);
        let Err(error) = asked else {
            return asked;
        };
        let (needed, own) = (&self.needed, &self.shared.checkpoints);
        self.places
            .retain(|(topic, _)| topic == own || needed.contains(topic));
        let left_out = self.streams.extract_if(|topic, _| !needed.contains(topic));
        self.out_of_sight
            .extend(left_out.flat_map(|(_, of_topic)| of_topic.into_values()));
        warn!(shard = %self.shard, %error, "whether Kafka left anything undecided is asked of the streams alone that are mirrored now");
        ends.undecided(&self.places)
    }

    fn run(mut self, mut writer: Writer, ends: &Ends) -> Result<Option<Writer>, topics::Error> {
        let mut undecided = self.undecided(ends)?;
        ends.wait(&mut undecided, SOON)?;
        if undecided.is_empty() {
            return Ok(Some(writer));
        }
        let hanging = self.hanging(&undecided)?;
        undecided.retain(|stretch| hanging.iter().any(|record| record.is_in(stretch)));
        if undecided.is_empty() {
            return Ok(Some(writer));
        }
        if let Some(record) = decide::judged_by_what_is_out_of_sight(&hanging, &self.out_of_sight) {
            return Err(topics::Error::Timeout {
                what: "look into a topic",
                cause: format!(
                    "whether the last checkpoint of {} was committed is told by its topic, which cannot be read now",
                    record.stream.name
                ),
            });
        }
        warn!(
            shard = %self.shard, records = hanging.len(), partitions = undecided.len(), first = %place(&undecided[0]),
            "records of this shard were left undecided by Kafka; they are ended"
        );
        self.abort(&mut writer, &undecided)?;
        ends.wait(&mut undecided, PATIENCE)?;
        if let Some(stretch) = undecided.first() {
            return Err(topics::Error::Timeout {
                what: "decide a transaction",
                cause: format!(
                    "{} holds a transaction of another producer that does not end",
                    place(stretch)
                ),
            });
        }
        let rewrite = self.decide(hanging)?;
        if !rewrite.is_empty() {
            warn!(shard = %self.shard, records = rewrite.len(), "records that were committed and lost their marker are written again");
            self.write(&mut writer, &rewrite)?;
        }
        info!(shard = %self.shard, "nothing is left undecided");
        Ok(None)
    }

    fn abort(&self, writer: &mut Writer, undecided: &[Undecided]) -> Result<(), topics::Error> {
        writer.begin()?;
        for (tag, stretch) in (0..).zip(undecided) {
            writer.send(
                Record {
                    topic: &stretch.topic,
                    partition: stretch.partition,
                    key: Some(KEY),
                    value: Some(b""),
                    headers: Headers::default(),
                    timestamp_ms: now_ms(),
                },
                tag,
            )?;
        }
        writer.abort_delivered(KAFKA_TIMEOUT)
    }

    fn write(&self, writer: &mut Writer, rewrite: &Rewrite) -> Result<(), topics::Error> {
        writer.begin()?;
        for (tag, record) in (0..).zip(rewrite.iter()) {
            let mut headers = Headers::with_capacity(record.headers.len());
            for (name, value) in &record.headers {
                headers.insert(name, value);
            }
            writer.send(
                Record {
                    topic: &record.topic,
                    partition: record.partition,
                    key: record.key.as_deref(),
                    value: record.value.as_deref(),
                    headers,
                    timestamp_ms: record.timestamp_ms,
                },
                tag,
            )?;
        }
        writer.commit(KAFKA_TIMEOUT)
    }

    /// This shard's records in the stretches, decided or not.
    fn hanging(&self, undecided: &[Undecided]) -> Result<Vec<Hanging>, topics::Error> {
        let mut found = Vec::new();
        for (topic, starts) in by_topic(undecided) {
            topics::read_undecided(
                &self.shared.kafka,
                &topic,
                &starts,
                KAFKA_TIMEOUT,
                |record| {
                    found.extend(self.own(&topic, record));
                    ControlFlow::Continue(())
                },
            )?;
        }
        Ok(found)
    }

    /// The record, if it is this shard's: by its stream, or by lying among the checkpoints.
    fn own(&self, topic: &Topic, record: &RecordView<'_>) -> Option<Hanging> {
        let (stream, at, is_checkpoint) = if *topic == self.shared.checkpoints {
            let stream = StreamRef::from_checkpoint_key(record.key?)?;
            let checkpoint = checkpoint::read(record.value?)?;
            (stream, (checkpoint.generation, checkpoint.id), true)
        } else {
            let (stream, at) = self.identity(topic, record)?;
            (stream, at, false)
        };
        let headers = record.headers();
        Some(Hanging {
            topic: topic.clone(),
            partition: record.partition,
            offset: record.offset,
            stream,
            at,
            is_checkpoint,
            timestamp_ms: record.timestamp_ms.unwrap_or_else(now_ms),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_vec()))
                .collect(),
        })
    }

    fn identity(&self, topic: &Topic, record: &RecordView<'_>) -> Option<(StreamRef, decide::At)> {
        let stream = self
            .streams
            .get(topic)?
            .get(record.header("redis-stream")?)?;
        let text = |name| std::str::from_utf8(record.header(name)?).ok();
        let id = text("redis-id")?.parse().ok()?;
        let generation = text("redis-gen").map_or(Some(0), |text| text.parse().ok())?;
        Some((stream.clone(), (generation, id)))
    }

    /// No transaction takes longer, on clocks of brokers that date records themselves.
    fn longest_ms(&self) -> i64 {
        let longest = self.shared.kafka.config().transaction_timeout + CLOCKS;
        i64::try_from(longest.as_millis()).unwrap_or(i64::MAX)
    }

    fn decide(&self, hanging: Vec<Hanging>) -> Result<Rewrite, topics::Error> {
        let mut visible = decide::Visible::of(&hanging, &self.known);
        if let Some(since) = decide::visible_since(&hanging, &self.known, self.longest_ms()) {
            for topic in self.streams.keys() {
                let partitions = self.places.iter().filter(|(of, _)| of == topic);
                let starts: Vec<_> = partitions
                    .map(|(_, partition)| (*partition, From::TimeMs(since)))
                    .collect();
                topics::read_partitions(
                    &self.shared.kafka,
                    topic,
                    &starts,
                    KAFKA_TIMEOUT,
                    |record| {
                        if let Some((stream, at)) = self.identity(topic, record) {
                            visible.add(&stream, at);
                        }
                        ControlFlow::Continue(())
                    },
                )?;
            }
        }
        Ok(decide(hanging, &self.known, &visible))
    }
}

fn place(stretch: &Undecided) -> String {
    format!(
        "{}/{} from offset {}",
        stretch.topic, stretch.partition, stretch.from.0
    )
}

fn by_topic(undecided: &[Undecided]) -> HashMap<Topic, Vec<(Partition, From)>> {
    let mut topics: HashMap<Topic, Vec<(Partition, From)>> = HashMap::new();
    for stretch in undecided {
        let starts = topics.entry(stretch.topic.clone()).or_default();
        starts.push((stretch.partition, From::Offset(stretch.from)));
    }
    topics
}

impl Hanging {
    fn is_in(&self, stretch: &Undecided) -> bool {
        self.topic == stretch.topic
            && self.partition == stretch.partition
            && self.offset >= stretch.from
            && self.offset < Offset(stretch.end.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::entry::Database;

    #[test]
    fn records_of_streams_that_are_not_found_now_are_known_by_the_route_that_takes_them() {
        let route: config::Route = toml::from_str(
            "name = \"r\"\nstreams = [\"orders:*\"]\ntopic = \"orders\"\npartitions = 1\nvalue = { field = \"data\" }\n",
        )
        .unwrap();
        let routes = Routes::compile("m", &[route], Database(0)).unwrap();
        let stream = |name: &str| StreamRef::new(Database(0), name);
        let all = [stream("orders:1"), stream("orders:2"), stream("former")];
        let topics = by_topic_of(&routes, all.iter());
        for topic in ["orders", "lockgate.m.dead-letters.r"] {
            let mut known: Vec<_> = topics[&Topic::from(topic)].values().collect();
            known.sort();
            assert_eq!(known, [&all[0], &all[1]], "{topic}");
        }
        assert_eq!(topics.len(), 2);
    }
}
