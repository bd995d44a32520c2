//! The beginning of a verification: checkpoints, then the ends of the logs, then the streams, in this order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::checkpoint::{self, Checkpoint};
use crate::entry::{EntryId, StreamRef};
use crate::placement::{Remade, Topic};
use crate::routing::{Binding, Routes};
use crate::streams::Inspected;
use crate::tasks::passed_on;

use super::super::edges::{Edges, KAFKA_TIMEOUT};
use super::super::error::Error;
use super::super::look::{Span, logs_now};
use super::super::pass::{Extent, Pass, Scope, StreamPass};
use super::super::unread::{self, Unread};
use super::request::{Bound, Request};
use super::{Verification, now};

/// The checkpoint of each stream that has one.
pub type Checkpoints = BTreeMap<StreamRef, Checkpoint>;

impl Verification {
    /// Looks at both stores as they are now. `streams`: those that the routes take and that can be found; streams that were
    /// mirrored and are gone are added from the checkpoints.
    ///
    /// # Errors
    /// A store gave no answer, or the request makes no sense.
    pub async fn begin(
        edges: &Arc<Edges>,
        mut streams: BTreeMap<StreamRef, Binding>,
        request: Request,
    ) -> Result<Self, Error> {
        check(&request)?;
        let began_at = now();
        let checkpoints = checkpoints(edges).await?;
        for stream in checkpoints.keys() {
            if !streams.contains_key(stream)
                && let Some(binding) = edges.routes.bind(stream)
            {
                streams.insert(stream.clone(), binding);
            }
        }
        streams.retain(|stream, binding| takes(&request, stream, binding));
        let span = match request.from {
            Some(from) => Span::Since(from.lowest()),
            None => Span::All,
        };
        let logs = logs_now(edges, &topics(&streams), span).await?;
        let looks = unread::looks(&edges.redis, streams.keys()).await?;
        let (mut passes, mut unread) = (Vec::new(), Vec::new());
        for ((stream, binding), look) in streams.into_iter().zip(looks) {
            match look {
                Ok(look) => {
                    let scope = scope(&look, checkpoints.get(&stream), &request);
                    passes.push(StreamPass::new(stream, binding, scope));
                }
                Err(why) => unread.push(Unread::new(&stream, binding.route().name(), why)),
            }
        }
        let seed = request.seed.unwrap_or_else(rand::random);
        let mut pass = Pass::new(seed, passes, logs);
        pass.covers_all =
            request.route.is_none() && request.stream.is_none() && request.database.is_none();
        pass.strays_within = strays_within(&request);
        let sampled = request
            .sample
            .map(|sample| sample.share(pass.redis_progress().1));
        if let Some(share) = sampled {
            pass.lots = lots(share);
        }
        Ok(Self {
            fingerprint: fingerprint(&edges.migration, &edges.routes),
            request,
            began_at,
            sampled,
            pass,
            unread,
            ..Self::default()
        })
    }
}

/// Of the migration and what its routes make.
#[must_use]
pub fn fingerprint(migration: &str, routes: &Routes) -> String {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(migration.as_bytes());
    for route in routes.iter() {
        hash.update(&[0]);
        hash.update(route.name().as_bytes());
        hash.update(&[0]);
        hash.update(&route.hash().to_le_bytes());
    }
    format!("{:016x}", hash.digest())
}

fn check(request: &Request) -> Result<(), Error> {
    if let (Some(from), Some(to)) = (request.from, request.to)
        && from.lowest() > to.highest()
    {
        return Err(Error::Usage(format!(
            "the range is upside down: --from {} comes after --to {}",
            from.lowest(),
            to.highest()
        )));
    }
    Ok(())
}

/// A record that is no entry's has no id, only the time that it was written with.
fn strays_within(request: &Request) -> Option<(u64, u64)> {
    (request.from.is_some() || request.to.is_some()).then(|| {
        let from = request.from.map_or(0, |from| from.lowest().ms);
        let to = request.to.map_or(u64::MAX, |to| to.highest().ms);
        (from, to)
    })
}

fn takes(request: &Request, stream: &StreamRef, binding: &Binding) -> bool {
    let is = |wanted: Option<&String>, is: &str| wanted.is_none_or(|wanted| wanted == is);
    is(request.route.as_ref(), binding.route().name())
        && is(request.stream.as_ref(), &stream.name.to_string())
        && request
            .database
            .is_none_or(|database| database == stream.database)
        && binding.fault().is_none()
}

/// The upper end of the lots that a share of the ids draws.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of all lots, at most all of them"
)]
pub(in crate::parity) fn lots(share: f64) -> u64 {
    if share >= 1.0 {
        return u64::MAX;
    }
    (share * u64::MAX as f64) as u64
}

fn topics(streams: &BTreeMap<StreamRef, Binding>) -> Vec<(Topic, bool)> {
    let topics: BTreeSet<(Topic, bool)> = streams
        .values()
        .flat_map(|binding| {
            [
                (binding.topic().clone(), false),
                (binding.route().dead_letters().clone(), true),
            ]
        })
        .collect();
    topics.into_iter().collect()
}

pub(super) fn offsets(extents: &[Extent]) -> u64 {
    extents
        .iter()
        .map(|extent| u64::try_from(extent.end.0 - extent.start.0).unwrap_or(0))
        .sum()
}

/// Every stream's checkpoint, as committed now.
///
/// # Errors
/// Kafka gave no answer.
pub async fn checkpoints(edges: &Arc<Edges>) -> Result<Checkpoints, Error> {
    let topic = checkpoint::topic(&edges.migration);
    let found = edges.admin.layouts(std::slice::from_ref(&topic)).await?;
    let Some(state) = found.get(&topic) else {
        return Ok(Checkpoints::new());
    };
    let partitions = state.partition_count();
    let edges = Arc::clone(edges);
    let read = tokio::task::spawn_blocking(move || {
        checkpoint::read_all(&edges.kafka, &topic, partitions, KAFKA_TIMEOUT)
    });
    let all = passed_on(read.await)?;
    // A stream that was moved between shards leaves its older checkpoint behind until compaction.
    let newest = |checkpoints: Vec<(_, Checkpoint)>| {
        checkpoints
            .into_iter()
            .map(|(_, checkpoint)| checkpoint)
            .max_by_key(|checkpoint| (checkpoint.generation, checkpoint.id))
    };
    Ok(all
        .into_iter()
        .filter_map(|(stream, checkpoints)| Some((stream, newest(checkpoints)?)))
        .collect())
}

/// Up to where a stream's records were made under other settings than its route's of now.
pub(in crate::parity) fn remade(checkpoint: &Checkpoint, binding: &Binding) -> Remade {
    checkpoint.remade_under(&binding.route_hash(), &binding.placement_hash())
}

/// What is compared of a stream.
fn scope(look: &Inspected, checkpoint: Option<&Checkpoint>, request: &Request) -> Scope {
    let began = checkpoint.map_or(EntryId::ZERO, |checkpoint| checkpoint.began);
    let from = request.from.and_then(|from| from.lowest().previous());
    let from = from.unwrap_or_default();
    let to = request.to.map_or(EntryId::MAX, Bound::highest);
    let mut scope = Scope {
        after: began.max(from),
        limit: request.to.map(Bound::highest),
        committed: checkpoint.map_or(EntryId::ZERO, |checkpoint| checkpoint.id),
        generation: checkpoint.map_or(0, |checkpoint| checkpoint.generation),
        ..Scope::default()
    };
    match look {
        Inspected::Stream(state) => {
            scope.first = state.first;
            scope.last = state.last_generated_id;
            scope.max_deleted = state.max_deleted_entry_id;
            scope.length = state.length;
            scope.whole = state.entries_added == Some(state.length);
            scope.through = to.min(scope.last.max(scope.committed));
        }
        Inspected::Absent | Inspected::NotAStream(_) => {
            scope.absent = true;
            scope.last = EntryId::MAX;
            scope.through = to;
        }
    }
    scope.through = scope.through.max(scope.after);
    scope
}
