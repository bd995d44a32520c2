//! Reading: entries after positions or in a range, and what the server says of itself.
//!
//! On the user's own streams Lockgate issues read commands and nothing else. All of these may be asked again at will.

use std::time::Duration;

use super::connection::{Answer, Connection};
use super::entries::{Part, Shape};
use super::error::Error;
use super::info::{self, Replication, Server};
use super::looks::Looked;
use super::wire::{Commands, Stop};
use crate::entry::{Entry, EntryId, StreamName};

/// What one read brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// For each stream that had entries: its index in the request, and the entries in order. Others are absent.
    pub streams: Vec<(usize, Vec<Entry>)>,
    /// Asked for after the entries, in the same pipeline: a history that does not hold here did not give them.
    pub replication: Replication,
}

impl Connection {
    /// Entries after the given ids: at most `count` of **each** stream, so the answer may hold `count` times the number
    /// of streams. `block`: how long to wait when there are none (a wait below 1 ms counts as 1 ms; `None` or zero: not
    /// at all). No streams: no entries, at once.
    ///
    /// One stream of the wrong type, and Redis refuses the whole: [`inspect`](Self::inspect) says which.
    ///
    /// Cancel safe: dropped entries are those of this call's positions, which the caller still has.
    pub async fn read(
        &mut self,
        after: &[(StreamName, EntryId)],
        count: usize,
        block: Option<Duration>,
    ) -> Result<Read, Error> {
        if after.is_empty() {
            return Ok(Read {
                streams: Vec::new(),
                replication: self.replication().await?,
            });
        }
        self.begin().await?;
        self.queue_read(after, count, block);
        self.queue_replication();
        let parts = self.entries().await?;
        let replication = self.replication_answer().await?;
        self.read_of(after, parts, replication)
    }

    /// The same, with a look at each stream behind the entries and before the history: all in one exchange. For few streams:
    /// each costs a look, whether or not it had entries.
    pub async fn read_and_look(
        &mut self,
        after: &[(StreamName, EntryId)],
        count: usize,
        block: Option<Duration>,
    ) -> Result<(Read, Vec<Looked>), Error> {
        let names: Vec<StreamName> = after.iter().map(|(name, _)| name.clone()).collect();
        self.begin().await?;
        self.queue_read(after, count, block);
        self.queue_looks(&names);
        self.queue_replication();
        let parts = self.entries().await?;
        let parts = Ok(self.told(parts)?);
        let mut inspected = Vec::with_capacity(names.len());
        self.looks(names.len(), &mut inspected).await?;
        let replication = self.replication_answer().await?;
        self.name_types(&names, &mut inspected).await?;
        Ok((self.read_of(after, parts, replication)?, inspected))
    }

    fn queue_read(
        &mut self,
        after: &[(StreamName, EntryId)],
        count: usize,
        block: Option<Duration>,
    ) {
        let block = block.filter(|block| !block.is_zero());
        self.queue_entries("XREAD", Shape::Streams, block, |out| {
            xread(out, after, count, block);
        });
    }

    fn read_of(
        &mut self,
        after: &[(StreamName, EntryId)],
        parts: Result<Vec<Part>, Error>,
        replication: Replication,
    ) -> Result<Read, Error> {
        let parts = self.told(parts)?;
        let streams = by_index(after, parts)
            .ok_or_else(|| self.malformed("XREAD", "a stream that was not asked for"))?;
        Ok(Read {
            streams,
            replication,
        })
    }

    pub(super) fn queue_replication(&mut self) {
        self.queue("INFO", &[b"INFO", b"replication"]);
    }

    pub(super) async fn replication_answer(&mut self) -> Result<Replication, Error> {
        let info = self.answer().await?;
        self.read_info(&info, info::replication)
    }

    /// Which history of writes the server has now.
    pub async fn replication(&mut self) -> Result<Replication, Error> {
        let info = self.ask("INFO", &[b"INFO", b"replication"]).await?;
        self.read_info(&info, info::replication)
    }

    /// What the server says of itself.
    pub async fn server(&mut self) -> Result<Server, Error> {
        let info = self.ask("INFO", &[b"INFO"]).await?;
        self.read_info(&info, info::server)
    }

    /// At most `count` entries from `from` to `to`, both included, upwards.
    pub async fn range(
        &mut self,
        stream: &StreamName,
        from: EntryId,
        to: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, Error> {
        self.ranged("XRANGE", stream, from, to, count).await
    }

    /// At most `count` entries from `from_high` down to `to_low`, both included, downwards.
    pub async fn range_back(
        &mut self,
        stream: &StreamName,
        from_high: EntryId,
        to_low: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, Error> {
        self.ranged("XREVRANGE", stream, from_high, to_low, count)
            .await
    }

    async fn ranged(
        &mut self,
        command: &'static str,
        stream: &StreamName,
        first: EntryId,
        last: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, Error> {
        self.begin().await?;
        self.queue_entries(command, Shape::Entries, None, |out| {
            out.begin(6)
                .word(command.as_bytes())
                .word(stream.as_bytes());
            out.id(first).id(last).word(b"COUNT").integer(count as u64);
        });
        let parts = self.entries().await?;
        Ok(only_part(self.told(parts)?))
    }

    /// One command whose answer is read whole.
    pub(super) async fn ask(
        &mut self,
        command: &'static str,
        words: &[&[u8]],
    ) -> Result<Answer, Error> {
        self.begin().await?;
        self.queue(command, words);
        self.answer().await
    }

    fn read_info<T>(
        &mut self,
        answer: &Answer,
        read: impl FnOnce(&[u8]) -> Result<T, &'static str>,
    ) -> Result<T, Error> {
        self.look(answer, |cursor| {
            read(cursor.bulk()?).map_err(Stop::Malformed)
        })
    }
}

/// `XREAD [COUNT n] [BLOCK ms] STREAMS name... id...`
fn xread(
    out: &mut Commands<'_>,
    after: &[(StreamName, EntryId)],
    count: usize,
    block: Option<Duration>,
) {
    out.begin(4 + 2 * usize::from(block.is_some()) + 2 * after.len());
    out.word(b"XREAD").word(b"COUNT").integer(count as u64);
    if let Some(block) = block {
        let ms = u64::try_from(block.as_millis()).unwrap_or(u64::MAX);
        out.word(b"BLOCK").integer(ms.max(1));
    }
    out.word(b"STREAMS");
    for (name, _) in after {
        out.word(name.as_bytes());
    }
    for &(_, id) in after {
        out.id(id);
    }
}

/// Redis answers in the order of the request, so one walk finds all.
fn by_index(after: &[(StreamName, EntryId)], parts: Vec<Part>) -> Option<Vec<(usize, Vec<Entry>)>> {
    let mut from = 0;
    parts
        .into_iter()
        .map(|part| {
            let found = after[from..]
                .iter()
                .position(|(name, _)| name.as_bytes() == part.name)?;
            let index = from + found;
            from = index + 1;
            Some((index, part.entries))
        })
        .collect()
}

/// The entries of an answer about one stream.
pub(super) fn only_part(parts: Vec<Part>) -> Vec<Entry> {
    parts
        .into_iter()
        .next()
        .map(|part| part.entries)
        .unwrap_or_default()
}
