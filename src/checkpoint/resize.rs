//! The stored layout: made at the first start, changed by `lockgate shards resize`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{
    Checkpoint, Error, LAYOUT_KEY, Layout, LayoutState, json, load, load_layout, partition_of, put,
    transactional_id, write,
};
use crate::entry::StreamRef;
use crate::failpoint;
use crate::placement::{Shard, Topic};
use crate::topics::{Ends, Kafka, Undecided, Writer};

/// How long markers may be on their way.
const MARKERS: Duration = Duration::from_secs(5);

impl Layout {
    /// Of a migration that has stored none.
    #[must_use]
    pub const fn first(count: u32) -> Self {
        stable(1, count)
    }

    /// What is stored again where the topic is gone in which this one stood: the same, so that terms under it go on, and a later
    /// one is newer than it. A resize under way is over: what it was to move is gone.
    #[must_use]
    pub const fn again(&self) -> Self {
        stable(self.version, self.count)
    }
}

/// The layout as stored, or else this `first` one. Two instances that start at once cannot both make one:
/// opening the layout's producer fences the other, and the layout is read again behind it.
pub fn ensure_layout(
    kafka: &Kafka,
    migration: &str,
    topic: &Topic,
    first: Layout,
    timeout: Duration,
) -> Result<Layout, Error> {
    if let Some(layout) = load_layout(kafka, topic, timeout)? {
        return Ok(layout);
    }
    let mut writer = Writer::open(kafka, &layout_id(migration), timeout)?;
    if let Some(layout) = load_layout(kafka, topic, timeout)? {
        return Ok(layout);
    }
    writer.begin()?;
    put_layout(&mut writer, topic, &first)?;
    writer.commit(timeout)?;
    Ok(first)
}

/// Every checkpoint of the first `partitions` shards, and where it stands.
pub fn read_all(
    kafka: &Kafka,
    topic: &Topic,
    partitions: u32,
    timeout: Duration,
) -> Result<BTreeMap<StreamRef, Vec<(Shard, Checkpoint)>>, Error> {
    let mut all: BTreeMap<StreamRef, Vec<(Shard, Checkpoint)>> = BTreeMap::new();
    for shard in (0..partitions).map(Shard) {
        for (stream, checkpoint) in load(kafka, topic, shard, timeout)?.checkpoints {
            all.entry(stream).or_default().push((shard, checkpoint));
        }
    }
    Ok(all)
}

/// What became of a resize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resized {
    Done,
    /// Nothing was moved, because a broker left a transaction undecided there.
    Undecided(Undecided),
}

/// Spreads the streams over `target` shards. The topic must have at least `target` partitions already.
///
/// `place` gives a stream's shard under a count. Exact whatever else runs: `resizing` is committed first, then every
/// shard is fenced, so a worker's transaction either is complete before its checkpoint is read here or never happens;
/// a worker that comes later reads `resizing` and waits. Safe to repeat after a crash at any point. Where a broker left a
/// transaction undecided among the checkpoints it moves nothing, puts the layout back and says so.
pub fn resize(
    kafka: &Kafka,
    migration: &str,
    topic: &Topic,
    target: u32,
    partitions: u32,
    place: impl Fn(&StreamRef, u32) -> Shard,
    timeout: Duration,
) -> Result<Resized, Error> {
    let mut writer = Writer::open(kafka, &layout_id(migration), timeout)?;
    let before = load_layout(kafka, topic, timeout)?;
    let (version, count) = before.map_or((0, target), |layout| (layout.version, layout.count));
    let resizing = Layout {
        v: 1,
        version: version + 1,
        count,
        state: LayoutState::Resizing,
        target: Some(target),
    };
    writer.begin()?;
    put_layout(&mut writer, topic, &resizing)?;
    writer.commit(timeout)?;
    // A commit is answered before its markers are written; opening the id again waits for them. Who opens a shard from here on
    // reads `resizing`.
    let mut writer = Writer::open(kafka, &layout_id(migration), timeout)?;
    failpoint::hit(failpoint::RESIZE_ANNOUNCED);

    fence(kafka, migration, partitions, timeout)?;
    failpoint::hit(failpoint::RESIZE_FENCED);
    if let Some(left) = undecided(kafka, topic, partitions, timeout)? {
        // Nothing has moved. Only a shard that opens can end it, and none does while a resize is announced.
        writer.begin()?;
        let former = stable(version + 2, count);
        put_layout(&mut writer, topic, &former)?;
        writer.commit(timeout)?;
        return Ok(Resized::Undecided(left));
    }
    let all = read_all(kafka, topic, partitions, timeout)?;
    let stable = stable(version + 2, target);
    writer.begin()?;
    let now_ms = now_ms();
    for (stream, places) in &all {
        let home = place(stream, target);
        // A crash can leave no stream in two places (one transaction moves it); the greatest wins all the same.
        let Some((_, checkpoint)) = places.iter().max_by_key(|(_, at)| (at.generation, at.id))
        else {
            continue;
        };
        if places.iter().any(|(shard, _)| *shard == home) && places.len() == 1 {
            continue;
        }
        write(&mut writer, topic, home, stream, checkpoint, now_ms)?;
        for (shard, _) in places.iter().filter(|(shard, _)| *shard != home) {
            put(
                &mut writer,
                topic,
                *shard,
                &stream.checkpoint_key(),
                None,
                now_ms,
            )?;
        }
    }
    put_layout(&mut writer, topic, &stable)?;
    failpoint::hit(failpoint::RESIZE_BEFORE_COMMIT);
    writer.commit(timeout)?;
    failpoint::hit(failpoint::RESIZE_AFTER_COMMIT);
    Ok(Resized::Done)
}

/// Ends what the shards' owners have under way, and their ownership.
fn fence(kafka: &Kafka, migration: &str, partitions: u32, timeout: Duration) -> Result<(), Error> {
    for shard in (0..partitions).map(Shard) {
        drop(Writer::open(
            kafka,
            &transactional_id(migration, shard),
            timeout,
        )?);
    }
    Ok(())
}

/// What stays undecided among the checkpoints although nobody has anything under way: a marker that a broker left out. Who reads
/// the checkpoints now does not see all that was committed.
fn undecided(
    kafka: &Kafka,
    topic: &Topic,
    partitions: u32,
    timeout: Duration,
) -> Result<Option<Undecided>, Error> {
    let ends = Ends::new(kafka, timeout)?;
    let places: Vec<_> = (0..partitions)
        .map(|shard| (topic.clone(), partition_of(Shard(shard))))
        .collect();
    let mut undecided = ends.undecided(&places)?;
    ends.wait(&mut undecided, MARKERS)?;
    Ok(undecided.into_iter().next())
}

const fn stable(version: u64, count: u32) -> Layout {
    Layout {
        v: 1,
        version,
        count,
        state: LayoutState::Stable,
        target: None,
    }
}

fn put_layout(writer: &mut Writer, topic: &Topic, layout: &Layout) -> Result<(), Error> {
    Ok(put(
        writer,
        topic,
        Shard(0),
        LAYOUT_KEY,
        Some(&json(layout)),
        now_ms(),
    )?)
}

fn layout_id(migration: &str) -> String {
    format!("lockgate.{migration}.layout")
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
