//! What a term leaves out because Redis refuses it: whole databases and single streams, and when they may be taken in.
//!
//! A term that began anew only to see whether it is refused still would stop the shard's other streams each time. So it is
//! asked beside the running term, on a connection of its own and with growing pauses, and the term ends only when something
//! would be let in. The pauses go on growing from term to term while anything is left out: where the asking is answered
//! and the term is refused all the same, its neighbours are not disturbed again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::shared::Shared;
use crate::backoff::Backoff;
use crate::entry::{Database, StreamName, StreamRef};
use crate::streams::{Error, Role};

const LEAST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(10);

/// What the present term leaves out.
#[derive(Clone, Debug)]
pub struct Aside {
    databases: BTreeSet<Database>,
    streams: BTreeMap<Database, BTreeSet<StreamName>>,
    /// Redis does not let it be noted that their mirror begins: it is full, or the user may not.
    unnoted: BTreeMap<Database, BTreeSet<StreamName>>,
    backoff: Backoff,
}

impl Default for Aside {
    fn default() -> Self {
        Self {
            databases: BTreeSet::new(),
            streams: BTreeMap::new(),
            unnoted: BTreeMap::new(),
            backoff: Backoff::new(LEAST, MOST),
        }
    }
}

impl Aside {
    /// A term begins, which finds out for itself what is refused.
    pub fn begin(&mut self) {
        if self.is_empty() {
            self.backoff.reset();
        }
        self.databases.clear();
        self.streams.clear();
        self.unnoted.clear();
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.databases.is_empty() && self.streams.is_empty() && self.unnoted.is_empty()
    }

    pub fn database(&mut self, database: Database) {
        self.databases.insert(database);
    }

    pub fn stream(&mut self, stream: &StreamRef, error: &Error) {
        let refused = if error.is_of_note() {
            &mut self.unnoted
        } else {
            &mut self.streams
        };
        let streams = refused.entry(stream.database).or_default();
        streams.insert(stream.name.clone());
    }

    #[must_use]
    pub fn holds(&self, stream: &StreamRef) -> bool {
        let (database, name) = (&stream.database, &stream.name);
        let refused = |of: &BTreeMap<Database, BTreeSet<StreamName>>| {
            of.get(database)
                .is_some_and(|streams| streams.contains(name))
        };
        self.databases.contains(database) || refused(&self.streams) || refused(&self.unnoted)
    }

    /// Waits until something of it would be let in; for ever where there is nothing.
    pub fn let_in(&mut self, shared: Arc<Shared>) -> impl Future<Output = ()> + use<> {
        let first = self.backoff.next();
        let mut asked = self.clone();
        async move {
            if asked.is_empty() {
                return std::future::pending().await;
            }
            tokio::time::sleep(first).await;
            while !asked.any_is_let_in(&shared).await {
                tokio::time::sleep(asked.backoff.next()).await;
            }
        }
    }

    async fn any_is_let_in(&self, shared: &Shared) -> bool {
        for &database in &self.databases {
            if is_let_in(database, reaches(shared, database).await) {
                return true;
            }
        }
        for &database in self.unnoted.keys() {
            if is_let_in(database, takes_notes(shared, database).await) {
                return true;
            }
        }
        for (&database, streams) in &self.streams {
            if is_let_in(database, some_is_readable(shared, database, streams).await) {
                return true;
            }
        }
        false
    }
}

fn is_let_in(database: Database, asked: Result<bool, Error>) -> bool {
    match asked {
        Ok(let_in) => {
            debug!(%database, let_in, "asked for what is left out");
            let_in
        }
        Err(error) => {
            debug!(%database, let_in = false, %error, "asked for what is left out");
            false
        }
    }
}

async fn reaches(shared: &Shared, database: Database) -> Result<bool, Error> {
    let mut connection = shared.redis.connect(database).await?;
    Ok(connection.replication().await?.role == Role::Master)
}

async fn takes_notes(shared: &Shared, database: Database) -> Result<bool, Error> {
    let connection = shared.redis.connect(database).await?;
    let tried = connection.try_mark_started(&shared.started_key()).await;
    tried.map(|()| true)
}

async fn some_is_readable(
    shared: &Shared,
    database: Database,
    streams: &BTreeSet<StreamName>,
) -> Result<bool, Error> {
    let names: Vec<StreamName> = streams.iter().cloned().collect();
    let mut connection = shared.redis.connect(database).await?;
    for some in names.chunks(500) {
        let looks = connection.inspect_each(some).await?;
        if looks.iter().any(Result::is_ok) {
            return Ok(true);
        }
    }
    Ok(false)
}
