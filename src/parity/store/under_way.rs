//! A round of the auditor that has not ended, as one shard keeps it: sums and positions together, so that whoever goes on
//! with it reads each entry and each record once.
//!
//! Shards that read the same logs hold the same parts, so that they can be put together again; what is of a stream, and what
//! is no stream's, is with one of them alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::pass::{StreamPass, TopicPass};
use super::{Strays, StreamState};
use crate::entry::StreamRef;
use crate::placement::Shard;
use crate::routing::Routes;

/// What a shard knows of the round that it is in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UnderWay {
    pub began_ms: i64,
    /// Of the digests.
    pub seed: u64,
    pub parts: Vec<Part>,
    /// Found so far in the topics that the shard answers for, by route.
    pub strays: BTreeMap<String, Strays>,
    /// Written as records of their own: together they may be larger than a record can be.
    #[serde(skip)]
    pub streams: BTreeMap<StreamRef, Portion>,
}

/// Streams that are read together, and their logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub span: Span,
    pub shards: BTreeSet<Shard>,
    pub logs: Vec<TopicPass>,
}

/// One stream's share of a part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Portion {
    /// Which of the parts.
    pub part: usize,
    pub pass: StreamPass,
}

/// From where logs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// On from the cursors of its shards.
    Onward,
    /// From where the first entries of its streams can stand: they are new to shards that have a cursor.
    Joining,
    /// From the beginning: its shards have none.
    First,
}

impl UnderWay {
    /// Whether two shards have come equally far in the same round.
    #[must_use]
    pub fn goes_with(&self, other: &Self) -> bool {
        (self.began_ms, self.seed, &self.parts) == (other.began_ms, other.seed, &other.parts)
    }

    /// Whether its streams still stand where it began, under the same routes, and what is known of them adds up; otherwise it
    /// says nothing any more.
    #[must_use]
    pub fn fits(&self, states: &BTreeMap<StreamRef, StreamState>, routes: &Routes) -> bool {
        let mut readable = states.values().filter(|state| state.unread.is_none());
        readable.all(|state| state.counts.adds_up())
            && self.streams.iter().all(|(stream, portion)| {
                let (pass, scope) = (&portion.pass, &portion.pass.scope);
                let stands = states.get(stream).is_some_and(|state| {
                    (state.sealed, state.began, state.generation)
                        == (scope.after, scope.began, scope.generation)
                });
                stands
                    && portion.part < self.parts.len()
                    && routes.bind(stream).is_some_and(|binding| {
                        binding.route().name() == pass.route
                            && binding.topic().as_str() == pass.topic
                            && binding.route().dead_letters().as_str() == pass.letters
                    })
            })
    }
}
