//! What Redis remembers of which mirrors have begun: the set `lockgate:<name>:started` of each database.
//!
//! | member | says |
//! |---|---|
//! | a stream's name | its first checkpoint is committed: one that is not there is lost, and never taken for one that was never written |
//! | `@route:<name>` | the route's streams have been looked for once, to the end: what is found later came later, and is mirrored from its first entry |
//! | `@before:<stream>` | it was there then and had not begun: it begins as its route says, whenever that is |
//!
//! The last are noted before the mark of their route, so whoever reads that one reads them; and a route is marked only behind a
//! whole look. So where a stream begins hangs neither on which shard or instance was first, nor on a stop in between.
//!
//! An opening notes what is missing. Where the marks of routes go while terms run, discovery has these opened again: they go
//! together, with the key.

use std::collections::BTreeSet;

use super::discovery::Streams;
use super::opening::Candidate;
use super::shared::Shared;
use super::source::Source;
use crate::entry::{Database, StreamName};
use crate::streams::{Connection, Error};

/// Most members asked for, or added, at once.
const AT_ONCE: usize = 500;

/// No stream is mirrored under such a name.
#[must_use]
pub fn route_mark(route: &str) -> StreamName {
    StreamName::from(format!("@route:{route}").as_str())
}

/// No stream is mirrored under such a name.
#[must_use]
pub fn before_mark(stream: &StreamName) -> StreamName {
    StreamName::from([b"@before:", stream.as_bytes()].concat().as_slice())
}

/// Members that Redis does not take, full or not permitting it, and its words.
#[derive(Debug, Default)]
pub struct Refused {
    pub names: BTreeSet<StreamName>,
    pub error: Option<Error>,
}

/// Notes the candidates of a database that are not noted yet, and their routes.
pub async fn note(
    shared: &Shared,
    database: Database,
    source: &mut Source,
    candidates: &[Candidate],
    streams: &Streams,
) -> Result<Refused, Error> {
    let key = shared.started_key();
    let connection = &mut source.connection;
    let mine = candidates.iter();
    let mine = mine.filter(|candidate| candidate.slot.stream.database == database);
    let own: Vec<StreamName> = mine
        .clone()
        .map(|candidate| candidate.slot.stream.name.clone())
        .collect();
    let mut refused = add(connection, &key, own).await?;

    let looked_for = mine.filter(|candidate| {
        let found = streams.get(&candidate.slot.stream);
        found.is_some_and(|found| found.looked_for)
    });
    let routes: BTreeSet<&str> = looked_for
        .map(|candidate| candidate.slot.binding.route().name())
        .collect();
    let marks: Vec<StreamName> = routes.iter().map(|route| route_mark(route)).collect();
    let marks = unknown(connection, &key, marks).await?;
    if marks.is_empty() || refused.error.is_some() {
        return Ok(refused);
    }
    let there = streams.iter().filter(|(stream, found)| {
        let mark = route_mark(found.binding.route().name());
        stream.database == database && !found.while_running && marks.contains(&mark)
    });
    let there: Vec<StreamName> = there.map(|(stream, _)| stream.name.clone()).collect();
    let waiting = unknown(connection, &key, there).await?;
    refused = add(connection, &key, waiting.iter().map(before_mark).collect()).await?;
    if refused.error.is_none() {
        refused = add(connection, &key, marks).await?;
    }
    Ok(refused)
}

/// Of these streams those that were there before their route began, and have not begun themselves.
pub async fn waiting(
    shared: &Shared,
    connection: &mut Connection,
    streams: Vec<StreamName>,
) -> Result<BTreeSet<StreamName>, Error> {
    let key = shared.started_key();
    let mut waiting = BTreeSet::new();
    for some in streams.chunks(AT_ONCE) {
        let marks: Vec<StreamName> = some.iter().map(before_mark).collect();
        let noted = connection.started(&key, &marks).await?;
        let noted = some.iter().zip(noted).filter(|(_, noted)| *noted);
        waiting.extend(noted.map(|(stream, _)| stream.clone()));
    }
    Ok(waiting)
}

/// Those that are no members.
async fn unknown(
    connection: &mut Connection,
    key: &[u8],
    names: Vec<StreamName>,
) -> Result<Vec<StreamName>, Error> {
    let mut unknown = Vec::new();
    for some in names.chunks(AT_ONCE) {
        let known = connection.started(key, some).await?;
        let new = some.iter().zip(known).filter(|(_, known)| !known);
        unknown.extend(new.map(|(name, _)| name.clone()));
    }
    Ok(unknown)
}

async fn add(
    connection: &mut Connection,
    key: &[u8],
    names: Vec<StreamName>,
) -> Result<Refused, Error> {
    let mut refused = Refused::default();
    for new in unknown(connection, key, names).await?.chunks(AT_ONCE) {
        match connection.mark_started(key, new).await {
            Ok(()) => {}
            Err(error) if error.is_of_note() => {
                refused.names.extend(new.iter().cloned());
                refused.error = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}
