//! The entries of one stream in a range, page by page, whatever they weigh: a page is bounded by entries and by bytes.
//!
//! XRANGE counts entries and knows no bytes. So the connection breaks off an answer that passes the bound; the same place is
//! then asked for an eighth on a new connection, and from there on for as many as would half fill a page by what the last one
//! weighed. One entry is always let through.

use super::Redis;
use super::connection::Connection;
use super::error::{Error, ErrorKind};
use crate::entry::{Entry, EntryId, StreamRef};

/// What a page weighs at most beside its heaviest entry, but for what arrives with it.
pub const PAGE_BYTES: usize = 4 << 20;

/// The pages that are left of a range.
pub struct Pages<'a> {
    redis: &'a Redis,
    stream: &'a StreamRef,
    /// One of the stream's database, where there is one; what is left of it may be used again.
    connection: &'a mut Option<Connection>,
    from: Option<EntryId>,
    to: EntryId,
    most: usize,
    asked: usize,
}

impl<'a> Pages<'a> {
    /// From `from` to `to`, both included, at most `most` entries a page.
    pub fn new(
        redis: &'a Redis,
        stream: &'a StreamRef,
        connection: &'a mut Option<Connection>,
        (from, to): (EntryId, EntryId),
        most: usize,
    ) -> Self {
        Self {
            redis,
            stream,
            connection,
            from: Some(from),
            to,
            most,
            asked: most,
        }
    }

    /// The next page, never an empty one; `None`: that was all. After an error the same page can be asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        while let Some(from) = self.from.filter(|from| *from <= self.to) {
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => self.redis.connect(self.stream.database).await?,
            };
            connection.bound_entries(PAGE_BYTES);
            let read = connection
                .range(&self.stream.name, from, self.to, self.asked)
                .await;
            match read {
                Ok(page) => {
                    *self.connection = Some(connection);
                    let whole = page.len() == self.asked;
                    let next = page.last().and_then(|entry| entry.id.next());
                    self.from = next.filter(|_| whole);
                    self.learn(&page);
                    return Ok((!page.is_empty()).then_some(page));
                }
                Err(error) if error.kind() == ErrorKind::Oversized && self.asked > 1 => {
                    self.asked = (self.asked / 8).max(1);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Only what was once broken off has to be weighed.
    fn learn(&mut self, page: &[Entry]) {
        if self.asked < self.most && !page.is_empty() {
            let each = page.iter().map(Entry::bytes).sum::<usize>() / page.len();
            let half = PAGE_BYTES / 2 / each.max(1);
            self.asked = half.min(self.asked * 8).clamp(1, self.most);
        }
    }
}
