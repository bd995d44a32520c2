//! The shards whose stores this auditor holds: opened when the board shows them owned, let go when it does not, when
//! another auditor took them, or when it is in doubt what was committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use crate::checkpoint::{self, Checkpoint, Layout, LayoutState};
use crate::entry::StreamRef;
use crate::placement::{Remade, Shard};
use crate::routing::{self, Routes};
use crate::tasks::passed_on;
use crate::topics::{self, ErrorKind};

use super::super::edges::{Edges, KAFKA_TIMEOUT};
use super::super::error::Error;
use super::super::store::{self, Batch, Store, StreamState, UnderWay};
use super::super::verify::remade;
use super::round::{Known, Seen, ShardStep};
use super::settle::Step;
use super::{now_ms, topic_spec};

/// A shard that another auditor took is left alone for this long: two that fence each other in turn get nothing done.
const FENCED_FOR: Duration = Duration::from_secs(15);

/// One shard in hand.
pub struct Held {
    store: Option<Store>,
    pub known: Known,
}

/// All shards in hand.
pub struct Holding {
    edges: Arc<Edges>,
    layout: Option<Layout>,
    held: BTreeMap<Shard, Held>,
    batches: BTreeMap<Shard, Batch>,
    fenced: BTreeMap<Shard, Instant>,
}

impl Holding {
    pub const fn new(edges: Arc<Edges>) -> Self {
        Self {
            edges,
            layout: None,
            held: BTreeMap::new(),
            batches: BTreeMap::new(),
            fenced: BTreeMap::new(),
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Held> {
        self.held.values()
    }

    pub fn in_hand(&self) -> BTreeSet<Shard> {
        self.held.keys().copied().collect()
    }

    pub fn holds(&self, shard: Shard) -> bool {
        self.held.contains_key(&shard)
    }

    /// Whether one of these is not in hand and may be opened.
    pub fn lacks(&self, owned: &BTreeSet<Shard>) -> bool {
        owned
            .iter()
            .any(|shard| !self.holds(*shard) && !self.fenced.contains_key(shard))
    }

    /// How many shards there are.
    pub fn shards(&self) -> u32 {
        self.in_all().unwrap_or(1)
    }

    /// The same; `None`: not known yet.
    pub fn in_all(&self) -> Option<u32> {
        self.layout.as_ref().map(|layout| layout.count)
    }

    fn version(&self) -> u64 {
        self.layout.as_ref().map_or(0, |layout| layout.version)
    }

    /// Opens what is owned and not held, lets go what is not owned. `Some`: a shard of ours is not in hand.
    ///
    /// # Errors
    /// Kafka gave no answer.
    pub async fn follow(&mut self, owned: &BTreeSet<Shard>) -> Result<Option<String>, Error> {
        self.keep(owned);
        self.fenced
            .retain(|shard, at| owned.contains(shard) && at.elapsed() < FENCED_FOR);
        let lacking: Vec<Shard> = owned
            .iter()
            .filter(|shard| !self.held.contains_key(shard))
            .copied()
            .collect();
        if lacking.iter().any(|shard| !self.fenced.contains_key(shard)) {
            self.look_at_layout().await?;
        }
        let resizing = |layout: &Layout| layout.state == LayoutState::Resizing;
        if self.layout.as_ref().is_none_or(resizing) && !lacking.is_empty() {
            self.held.clear();
            return Ok(Some("the shards are being resized".to_owned()));
        }
        let (theirs, open): (Vec<Shard>, Vec<Shard>) = lacking
            .into_iter()
            .partition(|shard| self.fenced.contains_key(shard));
        self.open(open).await?;
        let theirs = theirs.first();
        Ok(theirs.map(|shard| format!("another instance audits shard {shard}")))
    }

    /// The layout as it is now; shards of another are let go. The topic is made for as many shards.
    async fn look_at_layout(&mut self) -> Result<(), Error> {
        let (edges, topic) = (
            Arc::clone(&self.edges),
            checkpoint::topic(&self.edges.migration),
        );
        let read = tokio::task::spawn_blocking(move || {
            checkpoint::load_layout(&edges.kafka, &topic, KAFKA_TIMEOUT)
        });
        let layout = passed_on(read.await)?;
        if layout.as_ref().map(|layout| layout.version) != Some(self.version()) {
            self.held.clear();
        }
        if let Some(layout) = &layout {
            self.make_topic(layout.count).await?;
        }
        self.layout = layout;
        Ok(())
    }

    async fn make_topic(&self, shards: u32) -> Result<(), topics::Error> {
        let admin = &self.edges.admin;
        let topic = store::topic(&self.edges.migration);
        let found = admin.layouts(std::slice::from_ref(&topic)).await?;
        match found.get(&topic).map(topics::TopicState::partition_count) {
            None | Some(0) => {
                let replication = self.edges.kafka.config().replication_factor;
                let brokers = admin.brokers_for_replicas(replication).await?;
                let spec =
                    topic_spec(&self.edges.migration, shards).for_cluster(replication, brokers);
                info!(%topic, partitions = shards, "making the auditor's topic");
                admin.create(&[spec]).await
            }
            Some(count) if count < shards => admin.add_partitions(&topic, shards).await,
            Some(_) => Ok(()),
        }
    }

    /// Opens all of these at once: each waits for its coordinator.
    async fn open(&mut self, shards: Vec<Shard>) -> Result<(), Error> {
        let version = self.version();
        let opened = self
            .of_each(shards, move |edges, shard| {
                let (store, mut loaded) = Store::open(
                    &edges.kafka,
                    &edges.migration,
                    shard,
                    version,
                    KAFKA_TIMEOUT,
                )?;
                // The routes may be others than when it was written.
                let topic = checkpoint::topic(&edges.migration);
                let now = checkpoint::load(&edges.kafka, &topic, shard, KAFKA_TIMEOUT)?;
                renew(&mut loaded.streams, &now.checkpoints, &edges.routes);
                Ok::<_, Error>((store, loaded))
            })
            .await;
        let mut failed = Ok(());
        for (shard, opened) in opened {
            match opened {
                Ok((store, loaded)) => {
                    debug!(%shard, streams = loaded.streams.len(), "auditing");
                    let known = Known {
                        cursor: loaded.cursor,
                        streams: loaded.streams,
                        under_way: loaded.under_way,
                    };
                    let store = Some(store);
                    self.held.insert(shard, Held { store, known });
                }
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    /// Asks Kafka the same for several shards, side by side.
    async fn of_each<T: Send + 'static>(
        &self,
        shards: impl IntoIterator<Item = Shard>,
        ask: impl Fn(&Edges, Shard) -> T + Clone + Send + 'static,
    ) -> Vec<(Shard, T)> {
        let asked: Vec<_> = shards
            .into_iter()
            .map(|shard| {
                let (edges, ask) = (Arc::clone(&self.edges), ask.clone());
                let asking = tokio::task::spawn_blocking(move || ask(&edges, shard));
                (shard, asking)
            })
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for (shard, asking) in asked {
            answers.push((shard, passed_on(asking.await)));
        }
        answers
    }

    /// Gives streams that are new, or whose history broke, a beginning. `Some`: one of them cannot be compared yet.
    ///
    /// # Errors
    /// Kafka gave no answer.
    pub async fn begin(&mut self, seen: &[Seen]) -> Result<Option<String>, Error> {
        if seen
            .iter()
            .any(|seen| routing::shard_of(&seen.stream, self.shards()) != seen.shard)
        {
            self.held.clear();
            return Ok(Some("the shards were resized".to_owned()));
        }
        for held in self.held.values_mut() {
            let routes = &self.edges.routes;
            held.known
                .streams
                .retain(|stream, _| routes.bind(stream).is_some());
        }
        let unknown: Vec<&Seen> = seen.iter().filter(|seen| !self.knows(seen)).collect();
        let shards: BTreeSet<Shard> = unknown.iter().map(|seen| seen.shard).collect();
        let mut missing = None;
        let loaded = self.of_each(shards, |edges, shard| {
            let topic = checkpoint::topic(&edges.migration);
            checkpoint::load(&edges.kafka, &topic, shard, KAFKA_TIMEOUT)
        });
        for (shard, loaded) in loaded.await {
            let checkpoints = loaded?.checkpoints;
            for seen in unknown.iter().filter(|seen| seen.shard == shard) {
                let checkpoint = checkpoints
                    .get(&seen.stream)
                    .filter(|checkpoint| checkpoint.generation == seen.generation);
                let (Some(checkpoint), Some(held)) = (checkpoint, self.held.get_mut(&shard)) else {
                    missing = Some(format!("stream {} is not compared yet", seen.stream.name));
                    continue;
                };
                let route = seen.binding.route().name();
                let state = StreamState {
                    remade: remade(checkpoint, &seen.binding),
                    ..StreamState::begin(route, checkpoint.began, checkpoint.generation)
                };
                held.known.streams.insert(seen.stream.clone(), state);
            }
        }
        Ok(missing)
    }

    /// Whether this stream, in this generation, has a state.
    pub fn knows(&self, seen: &Seen) -> bool {
        let held = self.held.get(&seen.shard);
        held.and_then(|held| held.known.streams.get(&seen.stream))
            .is_some_and(|state| state.generation == seen.generation)
    }

    /// Up to where the records of a stream were made under other settings of its route.
    pub fn remade(&self, shard: Shard, stream: &StreamRef) -> Remade {
        let held = self.held.get(&shard);
        held.and_then(|held| held.known.streams.get(stream))
            .map_or_else(Remade::default, |state| state.remade)
    }

    /// Every stream that has a state, as it is seen; one that is not seen just now, or in another generation, stands where it
    /// is. A log's cursor may step over a record only with the stream that it belongs to.
    pub fn streams(&self, seen: Vec<Seen>) -> Vec<Seen> {
        let mut seen: BTreeMap<StreamRef, Seen> = seen
            .into_iter()
            .filter(|seen| self.knows(seen))
            .map(|seen| (seen.stream.clone(), seen))
            .collect();
        let mut streams = Vec::new();
        for (&shard, held) in &self.held {
            for (stream, state) in &held.known.streams {
                let Some(binding) = self.edges.routes.bind(stream) else {
                    continue;
                };
                let mut one = seen.remove(stream).unwrap_or_else(|| Seen {
                    stream: stream.clone(),
                    shard,
                    binding,
                    committed: state.sealed,
                    generation: state.generation,
                    oldest_unmirrored_ms: None,
                    remade: state.remade,
                });
                one.remade = state.remade;
                streams.push(one);
            }
        }
        streams
    }

    /// Lets go what is not owned any more.
    pub fn keep(&mut self, owned: &BTreeSet<Shard>) {
        self.held.retain(|shard, _| owned.contains(shard));
    }

    /// What each round may change, a copy of what is known: first that of the shards which have none under way, then those
    /// that are gone on with.
    pub fn turns(&self) -> Vec<BTreeMap<Shard, ShardStep>> {
        let mut fresh = BTreeMap::new();
        let mut resumed: Vec<(UnderWay, BTreeMap<Shard, ShardStep>)> = Vec::new();
        for (&shard, held) in &self.held {
            let mut step = ShardStep {
                known: held.known.clone(),
                ..ShardStep::default()
            };
            let under_way = held.known.under_way.as_ref();
            let Some(round) =
                under_way.filter(|round| round.fits(&held.known.streams, &self.edges.routes))
            else {
                step.known.under_way = None;
                fresh.insert(shard, step);
                continue;
            };
            match (resumed.iter_mut()).find(|(other, _)| round.goes_with(other)) {
                Some((_, turn)) => drop(turn.insert(shard, step)),
                None => resumed.push((round.clone(), BTreeMap::from([(shard, step)]))),
            }
        }
        let resumed = resumed.into_iter().map(|(_, turn)| turn);
        std::iter::once(fresh).chain(resumed).collect()
    }

    /// Lays a stream's windows and its state into the shard's next transaction, where they changed.
    pub fn put(&mut self, shard: Shard, stream: &StreamRef, known: &Known, step: &Step) {
        let version = self.version();
        let before = self
            .held
            .get(&shard)
            .and_then(|held| held.known.streams.get(stream));
        let state = &known.streams[stream];
        let batch = self.batches.entry(shard).or_default();
        let first = state.windows - step.closed.len() as u64;
        for (closing, number) in step.closed.iter().zip(first..) {
            batch.window(stream, state, number, closing, version, now_ms());
        }
        let same = before.is_some_and(|before| {
            let verified_ms = state.verified_ms;
            *state
                == StreamState {
                    verified_ms,
                    ..before.clone()
                }
        });
        if !same {
            batch.stream(stream, state, version);
        }
    }

    /// Commits what was laid down, and the cursor with it; then the shard is known as this.
    ///
    /// # Errors
    /// The shard is let go: what Kafka holds of it is read when it is opened anew.
    pub async fn commit(&mut self, shard: Shard, known: Known) -> Result<(), topics::Error> {
        let mut batch = self.batches.remove(&shard).unwrap_or_default();
        let Some(mut held) = self.held.remove(&shard) else {
            return Ok(());
        };
        if let Some(cursor) = &known.cursor
            && held.known.cursor.as_ref() != Some(cursor)
        {
            batch.cursor(cursor, self.version());
        }
        let goes_on = known.under_way.as_ref();
        if let Some(before) = &held.known.under_way
            && goes_on.is_none_or(|round| round.began_ms != before.began_ms)
        {
            batch.ended(before);
        }
        if let Some(round) = goes_on
            && !batch.under_way(round, self.version())
        {
            debug!(%shard, "a round under way is too large to be written down");
        }
        let Some(store) = held.store.take() else {
            return Ok(());
        };
        let store = self.write(shard, store, batch).await?;
        self.held.insert(
            shard,
            Held {
                store: Some(store),
                known,
            },
        );
        Ok(())
    }

    /// Commits records beside the rounds'.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn note(&mut self, shard: Shard, batch: Batch) -> Result<(), topics::Error> {
        let Some(mut held) = self.held.remove(&shard) else {
            return Err(topics::Error::Fenced);
        };
        let Some(store) = held.store.take() else {
            return Err(topics::Error::Fenced);
        };
        held.store = Some(self.write(shard, store, batch).await?);
        self.held.insert(shard, held);
        Ok(())
    }

    async fn write(
        &mut self,
        shard: Shard,
        mut store: Store,
        batch: Batch,
    ) -> Result<Store, topics::Error> {
        let writing = tokio::task::spawn_blocking(move || {
            let written = store.commit(&batch, now_ms(), KAFKA_TIMEOUT);
            written.map(|()| store)
        });
        let written = passed_on(writing.await);
        if let Err(error) = &written
            && error.kind() == ErrorKind::Fenced
        {
            self.fenced.insert(shard, Instant::now());
        }
        written
    }
}

/// What streams are called by their routes now; and up to where records were made under other settings of these, for the
/// streams that are known in this generation.
pub(super) fn renew(
    streams: &mut BTreeMap<StreamRef, StreamState>,
    checkpoints: &BTreeMap<StreamRef, Checkpoint>,
    routes: &Routes,
) {
    for (stream, state) in streams {
        let Some(binding) = routes.bind(stream) else {
            continue;
        };
        state.goes_by(binding.route().name());
        if let Some(checkpoint) = checkpoints.get(stream)
            && checkpoint.generation == state.generation
        {
            state.remade = remade(checkpoint, &binding);
        }
    }
}
