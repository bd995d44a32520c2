//! The application's consumer groups, looked at and never touched: how far each is, and what it was given and has not
//! acknowledged.
//!
//! XINFO GROUPS and XPENDING change nothing; consumers are not claimed from, and no group is made or moved.

use super::connection::Connection;
use super::entries::entry_id;
use super::error::Error;
use super::wire::{Cursor, Look, Stop};
use crate::entry::{EntryId, StreamName};

/// Streams that are asked about ahead of their answers: what bounds the memory that the answers take.
const AHEAD: usize = 50;

/// A group at one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// Entries that were given out and not acknowledged.
    pub pending: u64,
    /// The oldest of them.
    pub oldest_pending: Option<EntryId>,
    /// Entries ever given out; Redis 7 and later, and not after some deletions.
    pub entries_read: Option<u64>,
    /// Entries that were not given out yet; known where `entries_read` is.
    pub lag: Option<u64>,
}

/// `None`: there is no such group at the stream, or no such stream.
pub type GroupLooked = Result<Option<GroupState>, Error>;

impl Connection {
    /// The group at each of these streams, in the order given. One that may not be looked at hides no other.
    ///
    /// # Errors
    /// Redis gave no answer.
    pub async fn group_states(
        &mut self,
        streams: &[StreamName],
        group: &str,
    ) -> Result<Vec<GroupLooked>, Error> {
        let mut found = Vec::with_capacity(streams.len());
        for names in streams.chunks(AHEAD) {
            self.begin().await?;
            for name in names {
                let (name, group) = (name.as_bytes(), group.as_bytes());
                self.queue("XINFO GROUPS", &[b"XINFO", b"GROUPS", name]);
                self.queue("XPENDING", &[b"XPENDING", name, group]);
            }
            for _ in names {
                found.push(self.group_state(group.as_bytes()).await?);
            }
        }
        Ok(found)
    }

    async fn group_state(&mut self, group: &[u8]) -> Result<GroupLooked, Error> {
        let groups = self.answer().await?;
        let pending = self.answer().await?;
        let state = self.look(&groups, |cursor| find(cursor, group));
        let oldest = self.look(&pending, oldest);
        Ok(match (state, oldest) {
            (Ok(Some(state)), Ok(oldest_pending)) => Ok(Some(GroupState {
                oldest_pending,
                ..state
            })),
            (Ok(None), _) => Ok(None),
            (Err(error), _) | (_, Err(error)) if error.is_connection_lost() => return Err(error),
            (Err(Error::Refused { answer, .. }), _) if answer == "ERR no such key" => Ok(None),
            (Err(Error::WrongType { .. }), _) => Ok(None),
            (Err(error), _) | (_, Err(error)) => Err(error),
        })
    }
}

fn find(cursor: &mut Cursor<'_>, group: &[u8]) -> Look<Option<GroupState>> {
    let mut found = None;
    for _ in 0..cursor.array_of()? {
        let (name, state) = one(cursor)?;
        if name == group {
            found = Some(state);
        }
    }
    Ok(found)
}

fn one<'a>(cursor: &mut Cursor<'a>) -> Look<(&'a [u8], GroupState)> {
    let words = cursor.array_of()?;
    let (mut name, mut state) = (None, GroupState::default());
    for _ in 0..words / 2 {
        match cursor.bulk()? {
            b"name" => name = Some(cursor.bulk()?),
            b"pending" => state.pending = count(cursor)?.unwrap_or(0),
            b"entries-read" => state.entries_read = count(cursor)?,
            b"lag" => state.lag = count(cursor)?,
            _ => cursor.skip()?,
        }
    }
    let name = name.ok_or(Stop::Malformed("XINFO GROUPS without `name`"))?;
    Ok((name, state))
}

/// A count, or null where Redis does not know it.
fn count(cursor: &mut Cursor<'_>) -> Look<Option<u64>> {
    if cursor.kind()? != b':' {
        cursor.skip()?;
        return Ok(None);
    }
    let count = u64::try_from(cursor.integer()?);
    count
        .map(Some)
        .map_err(|_| Stop::Malformed("a count below zero"))
}

/// The least id of XPENDING's summary.
fn oldest(cursor: &mut Cursor<'_>) -> Look<Option<EntryId>> {
    if cursor.array_of()? != 4 {
        return Err(Stop::Malformed("XPENDING that is not its summary"));
    }
    cursor.skip()?;
    let least = cursor.bulk_or_null()?.map(entry_id).transpose()?;
    cursor.skip()?;
    cursor.skip()?;
    Ok(least)
}
