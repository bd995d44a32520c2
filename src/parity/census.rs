//! Every stream that there ever was, as the checkpoints of all shards say: a record that names another is nobody's.
//!
//! A stream's first checkpoint is committed before its first record. So what the checkpoints do not name, read after the ends
//! of the logs were asked for, has no record of its own below those ends. Only what is new of them is read each time, and only
//! when somebody asks for a stream that is not known yet.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::checkpoint;
use crate::entry::{Database, StreamRef};
use crate::placement::{Offset, Partition};
use crate::topics::{self, From, Stretch};

use super::edges::{Edges, KAFKA_TIMEOUT};

/// What is known of the streams so far.
#[derive(Clone, Debug, Default)]
pub struct Census {
    known: HashSet<StreamRef>,
    databases: BTreeSet<Database>,
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
        let (known, databases) = (&mut self.known, &mut self.databases);
        topics::read_stretches(&edges.kafka, &topic, &stretches, KAFKA_TIMEOUT, |record| {
            if let Some(stream) = record.key.and_then(StreamRef::from_checkpoint_key) {
                databases.insert(stream.database);
                known.insert(stream);
            }
            ControlFlow::Continue(())
        })?;
        let ends = bounds.iter().map(|bounds| (bounds.partition, bounds.end));
        self.next.extend(ends);
        Ok(())
    }
}
