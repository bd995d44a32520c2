//! What travels between a shard's readers and its writer.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::checkpoint::{Amendment, Position};
use crate::config::OnTrouble;
use crate::entry::{Entry, StreamRef};
use crate::routing::Binding;
use crate::status::{GapCause, Reason};
use crate::streams::Replication;

/// One stream of a shard, as long as a term lasts.
#[derive(Debug)]
pub struct Slot {
    /// Its place in the term's list.
    pub index: usize,
    pub stream: StreamRef,
    pub binding: Binding,
    pub on_gap: OnTrouble,
    /// The halt that the operator has lifted.
    pub lifted: Option<Reason>,
    pub route_hash: String,
    pub placement_hash: String,
}

impl Slot {
    /// Whether the operator has accepted this trouble.
    #[must_use]
    pub fn forgives(&self, trouble: Reason) -> bool {
        self.lifted
            .is_some_and(|halt| trouble.is_accepted_with(halt))
    }
}

/// Entries that are gone, to be counted when the checkpoint that steps over them is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub cause: GapCause,
    pub entries: u64,
}

/// Consecutive entries of one stream, and where the stream stands behind them.
#[derive(Debug)]
pub struct Part {
    pub slot: Arc<Slot>,
    pub entries: Vec<Entry>,
    pub position: Position,
    pub gap: Option<Gap>,
}

/// What one read brought.
#[derive(Debug)]
pub struct Batch {
    pub parts: Vec<Part>,
    /// Redis's history as it stood after the read.
    pub replication: Replication,
    /// Nothing more was there: what is open may be committed now.
    pub dry: bool,
    /// The batch's share of the shard's memory, given back when it is dropped.
    pub room: Option<OwnedSemaphorePermit>,
}

/// An entry to be produced again.
#[derive(Debug)]
pub struct Amended {
    pub slot: Arc<Slot>,
    pub amendment: Amendment,
}

/// What a writer takes in.
#[derive(Debug)]
pub enum Input {
    Batch(Batch),
    Amended(Amended),
}

impl Input {
    /// Nothing more was there when it was made: what is open may be committed behind it.
    #[must_use]
    pub const fn is_dry(&self) -> bool {
        match self {
            Self::Batch(batch) => batch.dry,
            Self::Amended(_) => true,
        }
    }
}
