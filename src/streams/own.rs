//! Which streams were started: a set under a key of Lockgate's own. It, the driver's keys (driver.rs) and the one on
//! which `lockgate check` tries the driver's rights (rights.rs) are all that is ever written to Redis.
//!
//! A call that is dropped or breaks off may still be carried out; adding and taking out again what is already so is
//! harmless.

use super::connection::Connection;
use super::error::Error;
use super::wire::each;
use crate::entry::StreamName;

/// All of Lockgate's own keys begin so; nothing else is ever written.
const PREFIX: &[u8] = b"lockgate:";

/// The set of the streams whose mirror has begun.
#[must_use]
pub fn started_key(migration: &str) -> Vec<u8> {
    format!("lockgate:{migration}:started").into_bytes()
}

impl Connection {
    /// Which of the streams the set under one of Lockgate's own keys holds.
    pub async fn started(
        &mut self,
        key: &[u8],
        streams: &[StreamName],
    ) -> Result<Vec<bool>, Error> {
        if streams.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self
            .ask("SMISMEMBER", &members(b"SMISMEMBER", key, streams))
            .await?;
        let found = self.look(&answer, |cursor| {
            each(cursor, |cursor| Ok(cursor.integer()? == 1))
        })?;
        if found.len() == streams.len() {
            Ok(found)
        } else {
            Err(self.malformed("SMISMEMBER", "not one answer for each member"))
        }
    }

    /// Adds streams to the set under one of Lockgate's own keys. What is refused with [`Error::is_of_note`] concerns nothing else.
    pub async fn mark_started(&mut self, key: &[u8], streams: &[StreamName]) -> Result<(), Error> {
        check_own("SADD", key)?;
        if streams.is_empty() {
            return Ok(());
        }
        let answer = self.ask("SADD", &members(b"SADD", key, streams)).await?;
        self.look(&answer, |cursor| cursor.integer().map(drop))
    }

    /// Whether [`mark_started`](Self::mark_started) would be let through: asked in a transaction that is never carried out, with
    /// which this connection ends.
    ///
    /// # Errors
    /// Redis refuses it: its memory, its role, or this user's permissions.
    pub async fn try_mark_started(mut self, key: &[u8]) -> Result<(), Error> {
        check_own("SADD", key)?;
        let begun = self.ask("MULTI", &[b"MULTI"]).await?;
        self.refused(&begun)?;
        let queued = self.ask("SADD", &[b"SADD", key, b""]).await?;
        self.refused(&queued)
    }
}

/// Refuses a key that is not Lockgate's own.
pub(super) fn check_own(command: &str, key: &[u8]) -> Result<(), Error> {
    if key.starts_with(PREFIX) {
        return Ok(());
    }
    Err(Error::Config {
        message: format!(
            "{command} was about to write to a key that does not begin with `lockgate:`; nothing was written"
        ),
    })
}

fn members<'a>(command: &'a [u8], key: &'a [u8], streams: &'a [StreamName]) -> Vec<&'a [u8]> {
    let mut words = vec![command, key];
    words.extend(streams.iter().map(StreamName::as_bytes));
    words
}
