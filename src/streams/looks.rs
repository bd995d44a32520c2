//! Looking at keys without reading a backlog: what a name holds, and which names there are.

use super::commands::only_part;
use super::connection::Connection;
use super::entries::{self, Shape};
use super::error::Error;
use super::info::{self, Inspected, Replication};
use super::wire::{Stop, each};
use crate::entry::{Entry, EntryId, StreamName};

/// Most commands of one kind sent ahead of their answers: what bounds the memory that the answers take.
const AHEAD: usize = 100;

/// A look at one key: refused where the user may not touch it.
pub type Looked = Result<Inspected, Error>;

impl Connection {
    /// XINFO STREAM of each, in the order given. Not atomic over several streams.
    pub async fn inspect(&mut self, streams: &[StreamName]) -> Result<Vec<Inspected>, Error> {
        self.inspect_each(streams).await?.into_iter().collect()
    }

    /// The same, where a key that may not be looked at hides no other.
    pub async fn inspect_each(&mut self, streams: &[StreamName]) -> Result<Vec<Looked>, Error> {
        let mut inspected = Vec::with_capacity(streams.len());
        for names in streams.chunks(AHEAD) {
            self.begin().await?;
            self.queue_looks(names);
            self.looks(names.len(), &mut inspected).await?;
        }
        self.name_types(streams, &mut inspected).await?;
        Ok(inspected)
    }

    /// The same, and which history the server has behind all of them, without another exchange.
    pub async fn inspect_in_history(
        &mut self,
        streams: &[StreamName],
    ) -> Result<(Vec<Looked>, Replication), Error> {
        let (first, last) = streams.split_at(streams.len().saturating_sub(AHEAD));
        let mut inspected = self.inspect_each(first).await?;
        self.begin().await?;
        self.queue_looks(last);
        self.queue_replication();
        self.looks(last.len(), &mut inspected).await?;
        let replication = self.replication_answer().await?;
        self.name_types(streams, &mut inspected).await?;
        Ok((inspected, replication))
    }

    pub(super) fn queue_looks(&mut self, names: &[StreamName]) {
        for name in names {
            self.queue("XINFO STREAM", &[b"XINFO", b"STREAM", name.as_bytes()]);
        }
    }

    /// The answers to so many looks that are queued.
    pub(super) async fn looks(
        &mut self,
        count: usize,
        inspected: &mut Vec<Looked>,
    ) -> Result<(), Error> {
        for _ in 0..count {
            let answer = self.answer().await?;
            let outcome = self.look(&answer, info::stream_state);
            inspected.push(match seen(outcome) {
                Err(error) if !error.is_of_key() => return Err(error),
                seen => seen,
            });
        }
        Ok(())
    }

    /// Says of what is no stream what it is.
    pub(super) async fn name_types(
        &mut self,
        streams: &[StreamName],
        inspected: &mut [Looked],
    ) -> Result<(), Error> {
        for (name, inspected) in streams.iter().zip(inspected) {
            if let Ok(Inspected::NotAStream(_)) = inspected {
                *inspected = Ok(self.type_of(name).await?);
            }
        }
        Ok(())
    }

    /// One atomic look at a stream: its counters, and at most `count` entries after an id, as one MULTI/EXEC.
    pub async fn stocktake(
        &mut self,
        stream: &StreamName,
        after: EntryId,
        count: usize,
    ) -> Result<(Inspected, Vec<Entry>), Error> {
        self.begin().await?;
        let name = stream.as_bytes();
        let limit = count;
        let (after, count) = (after.to_string(), count.to_string());
        self.queue("MULTI", &[b"MULTI"]);
        self.queue("XINFO STREAM", &[b"XINFO", b"STREAM", name]);
        self.queue(
            "XREAD",
            &[
                b"XREAD",
                b"COUNT",
                count.as_bytes(),
                b"STREAMS",
                name,
                after.as_bytes(),
            ],
        );
        self.queue_counted("EXEC", &[b"EXEC"], limit);
        let mut answers = Vec::with_capacity(4);
        for _ in 0..4 {
            answers.push(self.answer().await?);
        }
        // The first refusal says more than the EXECABORT that follows from it.
        for answer in &answers {
            self.refused(answer)?;
        }
        let (state, parts) = self.look(&answers[3], |cursor| {
            if cursor.array_of()? != 2 {
                return Err(Stop::Malformed("not the two answers of a transaction"));
            }
            let state = match cursor.refusal()? {
                Some(line) => Err(line.to_vec()),
                None => Ok(info::stream_state(cursor)?),
            };
            let parts = entries::whole(cursor.rest(), Shape::Streams).map_err(Stop::Malformed)?;
            Ok((state, parts))
        })?;
        let state = state.map_err(|line| Error::answered(&self.peer, "XINFO STREAM", &line));
        match seen(state)? {
            Inspected::NotAStream(_) => Ok((self.type_of(stream).await?, Vec::new())),
            inspected => {
                let parts = parts.map_err(|line| Error::answered(&self.peer, "XREAD", &line));
                Ok((inspected, only_part(self.told(parts)?)))
            }
        }
    }

    /// One step through the keyspace: streams whose name matches a Redis glob. Begin with cursor 0; cursor 0 in the
    /// answer is the end. A name may come twice; one that came or went meanwhile may be missing.
    pub async fn scan(
        &mut self,
        pattern: &[u8],
        cursor: u64,
    ) -> Result<(u64, Vec<StreamName>), Error> {
        let from = cursor.to_string();
        let words: [&[u8]; 8] = [
            b"SCAN",
            from.as_bytes(),
            b"MATCH",
            pattern,
            b"COUNT",
            b"1000",
            b"TYPE",
            b"stream",
        ];
        let answer = self.ask("SCAN", &words).await?;
        self.look(&answer, |cursor| {
            if cursor.array_of()? != 2 {
                return Err(Stop::Malformed("not a cursor and keys"));
            }
            let next = std::str::from_utf8(cursor.bulk()?)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(Stop::Malformed("a cursor that is no number"))?;
            Ok((
                next,
                each(cursor, |cursor| Ok(StreamName::from(cursor.bulk()?)))?,
            ))
        })
    }

    /// What kind of key a name that is no stream has.
    async fn type_of(&mut self, name: &StreamName) -> Result<Inspected, Error> {
        let answer = self.ask("TYPE", &[b"TYPE", name.as_bytes()]).await?;
        let found = self.look(&answer, |cursor| {
            Ok(String::from_utf8_lossy(cursor.bulk()?).into_owned())
        });
        match found {
            Ok(kind) if kind == "none" => Ok(Inspected::Absent),
            Ok(kind) => Ok(Inspected::NotAStream(kind)),
            Err(Error::NoPermission { .. }) => Ok(Inspected::NotAStream("unknown".to_owned())),
            Err(error) => Err(error),
        }
    }
}

/// What XINFO STREAM's outcome says of the key.
fn seen(outcome: Result<info::StreamState, Error>) -> Result<Inspected, Error> {
    match outcome {
        Ok(state) => Ok(Inspected::Stream(state)),
        Err(Error::Refused { answer, .. }) if answer == "ERR no such key" => Ok(Inspected::Absent),
        Err(Error::WrongType { .. }) => Ok(Inspected::NotAStream("unknown".to_owned())),
        Err(error) => Err(error),
    }
}
