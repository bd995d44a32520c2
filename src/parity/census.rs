//! Every stream that there ever was, as the checkpoints of all shards say: a record that names another is nobody's.
//!
//! A stream's first checkpoint is committed before its first record. So what the checkpoints do not name, read after the ends
//! of the logs were asked for, has no record of its own below those ends. Only what is new of them is read each time, and only
//! when somebody asks for a stream that is not known yet.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::checkpoint::{self, Checkpoint};
use crate::entry::{Database, EntryId, StreamRef};
use crate::placement::{Offset, Partition};
use crate::routing::Routes;
use crate::topics::{self, From, Stretch};

use super::edges::{Edges, KAFKA_TIMEOUT};

/// What is known of the streams so far.
#[derive(Clone, Debug, Default)]
pub struct Census {
    known: HashSet<StreamRef>,
    databases: BTreeSet<Database>,
    /// Of streams whose records went elsewhere once: the last that did.
    moved: HashMap<StreamRef, EntryId>,
    next: HashMap<Partition, Offset>,
    /// Read since the ends of the logs were asked for.
    is_new: bool,
}

impl Census {
    /// To be called when the ends of logs were asked for: what is not known then is looked up anew.
    pub const fn ages(&mut self) {
        self.is_new = false;
    }

    pub fn streams(&self) -> impl Iterator<Item = &StreamRef> {
        self.known.iter()
    }

    /// Whether there is or was such a stream. Blocks where that has to be read; to be called where blocking is allowed.
    ///
    /// # Errors
    /// Kafka gave no answer.
    pub fn has(&mut self, edges: &Arc<Edges>, stream: &StreamRef) -> Result<bool, topics::Error> {
        if self.known.contains(stream) {
            return Ok(true);
        }
        if !self.is_new {
            self.read(edges)?;
            self.is_new = true;
        }
        Ok(self.known.contains(stream))
    }

    /// Whether there is or was a stream of this name, in whatever database. Blocks, as [`has`](Self::has).
    ///
    /// # Errors
    /// Kafka gave no answer.
    pub fn has_named(&mut self, edges: &Arc<Edges>, name: &[u8]) -> Result<bool, topics::Error> {
        if !self.is_new {
            self.read(edges)?;
            self.is_new = true;
        }
        let mut databases = self.databases.iter();
        Ok(databases.any(|&database| self.known.contains(&StreamRef::new(database, name))))
    }

    /// Up to where the stream's records went elsewhere than its route takes them now. Blocks, as [`has`](Self::has).
    ///
    /// # Errors
    /// Kafka gave no answer.
    pub fn moved_through(
        &mut self,
        edges: &Arc<Edges>,
        stream: &StreamRef,
    ) -> Result<EntryId, topics::Error> {
        if !self.is_new {
            self.read(edges)?;
            self.is_new = true;
        }
        Ok(self.moved.get(stream).copied().unwrap_or_default())
    }

    /// Reads the checkpoints that came since. Blocks, as [`has`](Self::has).
    ///
    /// # Errors
    /// Kafka gave no answer; what was known is known.
    pub fn read(&mut self, edges: &Arc<Edges>) -> Result<(), topics::Error> {
        let topic = checkpoint::topic(&edges.migration);
        // Waits for the transactions that were open: their records may be below the ends already.
        let bounds = Handle::current().block_on(edges.bounds(&topic))?;
        let stretches: Vec<Stretch> = bounds
            .iter()
            .map(|bounds| {
                let next = self.next.get(&bounds.partition).copied();
                // A topic that was made anew ends before what was read of the one before it.
                let next = next.filter(|next| *next <= bounds.end);
                Stretch {
                    partition: bounds.partition,
                    from: From::Offset(next.unwrap_or(bounds.low)),
                    to: Some(bounds.end),
                }
            })
            .collect();
        if stretches.is_empty() {
            return Ok(());
        }
        let mut newest: HashMap<StreamRef, Checkpoint> = HashMap::new();
        let (known, databases) = (&mut self.known, &mut self.databases);
        topics::read_stretches(&edges.kafka, &topic, &stretches, KAFKA_TIMEOUT, |record| {
            if let Some(stream) = record.key.and_then(StreamRef::from_checkpoint_key) {
                databases.insert(stream.database);
                if let Some(checkpoint) = record.value.and_then(checkpoint::read) {
                    keep_newest(&mut newest, stream.clone(), checkpoint);
                }
                known.insert(stream);
            }
            ControlFlow::Continue(())
        })?;
        self.learn_moves(&edges.routes, newest);
        let ends = bounds.iter().map(|bounds| (bounds.partition, bounds.end));
        self.next.extend(ends);
        Ok(())
    }

    fn learn_moves(&mut self, routes: &Routes, newest: HashMap<StreamRef, Checkpoint>) {
        for (stream, checkpoint) in newest {
            let Some(binding) = routes.bind(&stream) else {
                continue;
            };
            let (route, placement) = (binding.route_hash(), binding.placement_hash());
            match checkpoint.remade_under(&route, &placement).place {
                EntryId::ZERO => _ = self.moved.remove(&stream),
                last => _ = self.moved.insert(stream, last),
            }
        }
    }
}

/// A stream that was moved between shards leaves its older checkpoint behind until compaction.
fn keep_newest(
    newest: &mut HashMap<StreamRef, Checkpoint>,
    stream: StreamRef,
    checkpoint: Checkpoint,
) {
    let turn = |checkpoint: &Checkpoint| (checkpoint.generation, checkpoint.id);
    match newest.entry(stream) {
        Entry::Vacant(first) => _ = first.insert(checkpoint),
        Entry::Occupied(mut before) => {
            if turn(&checkpoint) >= turn(before.get()) {
                before.insert(checkpoint);
            }
        }
    }
}

#[cfg(test)]
impl Census {
    /// One that has read these checkpoints, and nothing more comes.
    pub fn of(routes: &Routes, checkpoints: Vec<(StreamRef, Checkpoint)>) -> Self {
        let mut census = Self {
            is_new: true,
            ..Self::default()
        };
        let mut newest = HashMap::new();
        for (stream, checkpoint) in checkpoints {
            census.databases.insert(stream.database);
            census.known.insert(stream.clone());
            keep_newest(&mut newest, stream, checkpoint);
        }
        census.learn_moves(routes, newest);
        census
    }
}
