//! Streams that cannot be read: their key may not be touched, or holds no stream. Each is an obstacle of its own.
//!
//! Such a stream is left out where others are compared, and named with its reason wherever something is said of the whole:
//! what was not read is never taken for level, and it hides no other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::entry::{Database, StreamRef};
use crate::streams::{Inspected, Redis};

/// What a stream looks like, or why it cannot be read.
pub type Look = Result<Inspected, String>;

/// A stream that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    pub database: u32,
    pub stream: String,
    pub route: String,
    pub why: String,
}

impl Unread {
    #[must_use]
    pub fn new(stream: &StreamRef, route: &str, why: String) -> Self {
        Self {
            database: stream.database.0,
            stream: stream.name.to_string(),
            route: route.to_owned(),
            why,
        }
    }
}

/// XINFO STREAM of each, in the order given.
///
/// # Errors
/// Redis gave no answer, or refused more than single streams.
pub async fn looks<'a>(
    redis: &Redis,
    streams: impl IntoIterator<Item = &'a StreamRef>,
) -> Result<Vec<Look>, Error> {
    let mut by_database: BTreeMap<Database, Vec<(usize, &StreamRef)>> = BTreeMap::new();
    for (at, stream) in streams.into_iter().enumerate() {
        let of_database = by_database.entry(stream.database).or_default();
        of_database.push((at, stream));
    }
    let mut seen = Vec::new();
    for (database, streams) in by_database {
        let names: Vec<_> = streams
            .iter()
            .map(|(_, stream)| stream.name.clone())
            .collect();
        let looks: Vec<Look> = match redis.connect(database).await {
            Ok(mut connection) => {
                let looks = connection.inspect_each(&names).await?;
                looks.into_iter().map(readable).collect()
            }
            Err(error) if error.is_of_database() => vec![Err(error.to_string()); names.len()],
            Err(error) => return Err(error.into()),
        };
        let places = streams.into_iter().map(|(at, _)| at);
        seen.extend(places.zip(looks));
    }
    seen.sort_unstable_by_key(|(at, _)| *at);
    Ok(seen.into_iter().map(|(_, look)| look).collect())
}

fn readable(look: Result<Inspected, crate::streams::Error>) -> Look {
    match look {
        Ok(Inspected::NotAStream(kind)) => Err(format!("the key holds a {kind}, not a stream")),
        Ok(look @ (Inspected::Stream(_) | Inspected::Absent)) => Ok(look),
        Err(error) => Err(error.to_string()),
    }
}

/// `stream s of database 0 cannot be read: …, and 2 more`; `None`: there is none.
#[must_use]
pub fn in_words(mut unread: impl Iterator<Item = (u32, String, String)>) -> Option<String> {
    let (database, stream, why) = unread.next()?;
    let more = match unread.count() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(format!(
        "stream {stream} of database {database} cannot be read{more}: {why}"
    ))
}
