//! The databases of a term's opening: a connection to each, and the history that it showed.
//!
//! One database's trouble disturbs no other: its streams are left out of the term, with their reason, and taken in when it
//! answers (aside.rs). Only a shard none of whose databases can be reached does not begin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::warn;

use super::discovery::Streams;
use super::opening::Candidate;
use super::refusal::reason_of;
use super::shard::{ShardWorker, TermEnd};
use super::shared::Shared;
use crate::entry::Database;
use crate::streams::{Connection, Error, Replication, Role};
use crate::tasks::passed_on;

/// A database's connection for the opening, and its history at that moment.
pub struct Source {
    database: Database,
    pub connection: Connection,
    pub replication: Replication,
}

impl Source {
    async fn connect(shared: &Shared, database: Database) -> Result<Self, Error> {
        let mut connection = shared.redis.connect(database).await?;
        let replication = connection.replication().await?;
        Ok(Self {
            database,
            connection,
            replication,
        })
    }

    /// Another connection in place of one that is of no more use, to the same history.
    pub async fn connect_again(&mut self, shared: &Shared) -> Result<(), TermEnd> {
        let connection = shared.redis.connect(self.database).await;
        self.connection = connection.map_err(TermEnd::Redis)?;
        self.keep_history().await
    }

    /// What was read is of the history that the term begins with, or the term begins anew.
    pub async fn keep_history(&mut self) -> Result<(), TermEnd> {
        let now = self.connection.replication().await;
        let now = now.map_err(TermEnd::Redis)?;
        if now.replid == self.replication.replid && now.role == Role::Master {
            self.replication = now;
            Ok(())
        } else {
            Err(TermEnd::Changed)
        }
    }
}

/// Databases that are out of reach, and why.
pub type Shut = BTreeMap<Database, Error>;

/// Connects to all databases side by side: one that answers late holds up no other.
pub async fn connect(
    shared: &Arc<Shared>,
    streams: &Streams,
) -> Result<(BTreeMap<Database, Source>, Shut), TermEnd> {
    let databases: BTreeSet<Database> = streams.keys().map(|stream| stream.database).collect();
    let (mut sources, mut shut) = (BTreeMap::new(), Shut::new());
    let mut connecting = JoinSet::new();
    for database in databases {
        let shared = Arc::clone(shared);
        connecting.spawn(async move { (database, Source::connect(&shared, database).await) });
    }
    while let Some(connected) = connecting.join_next().await {
        match passed_on(connected) {
            (database, Ok(source)) => {
                if source.replication.role != Role::Master {
                    return Err(TermEnd::Replica(source.connection.peer().at.clone()));
                }
                sources.insert(database, source);
            }
            (database, Err(error)) => {
                shut.insert(database, error);
            }
        }
    }
    if sources.is_empty()
        && let Some((_, error)) = shut.pop_first()
    {
        return Err(TermEnd::Redis(error));
    }
    shared.board.edge_up("redis");
    Ok((sources, shut))
}

/// Leaves the streams of databases that are out of reach out of this term; their neighbours go on.
pub fn keep_reachable(worker: &mut ShardWorker, candidates: &mut Vec<Candidate>, shut: &Shut) {
    let mut left_out: BTreeMap<Database, usize> = BTreeMap::new();
    candidates.retain(|candidate| {
        let database = candidate.slot.stream.database;
        let Some(error) = shut.get(&database) else {
            return true;
        };
        *left_out.entry(database).or_default() += 1;
        worker.shared.show_left_out(&candidate.slot, error);
        false
    });
    for (database, streams) in left_out {
        let (error, reason) = (&shut[&database], reason_of(shut[&database].kind()));
        warn!(
            shard = %worker.shard, %database, streams, reason = reason.as_str(), runbook = reason.runbook(),
            "{error}; the streams of this database wait, those of others go on"
        );
        worker.memory.aside.database(database);
    }
}

/// Goes on without the databases that failed in the meantime, while there are others.
pub fn go_on_without(
    worker: &mut ShardWorker,
    candidates: &mut Vec<Candidate>,
    sources: &mut BTreeMap<Database, Source>,
    failed: Shut,
) -> Result<(), Error> {
    sources.retain(|database, _| !failed.contains_key(database));
    keep_reachable(worker, candidates, &failed);
    match failed.into_values().next() {
        Some(error) if sources.is_empty() => Err(error),
        _ => Ok(()),
    }
}
