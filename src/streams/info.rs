//! What Redis says about itself and about a stream: INFO and XINFO STREAM, as types.

use std::collections::HashMap;

use super::entries::entry_id;
use super::wire::{Cursor, Look, Stop};
use crate::entry::EntryId;

/// What `INFO replication` says: which history of writes this server has, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// `master_replid`: changes when a replica is promoted, and when a server starts without its data.
    pub replid: String,
    /// `master_replid2`: the history that this server took part in before it was promoted.
    pub replid2: Option<String>,
    /// `second_repl_offset`: the first offset that `replid2` does not cover.
    pub second_offset: Option<i64>,
    /// `master_repl_offset`, in bytes of the replication stream. Stands still at 0 on a server that never had a replica.
    pub offset: i64,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Master,
    Replica,
}

/// What INFO says of the server as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub version: String,
    pub role: Role,
    /// Bytes.
    pub used_memory: u64,
    /// Bytes; 0: unlimited.
    pub maxmemory: u64,
    pub maxmemory_policy: String,
    /// Keys evicted since the server started.
    pub evicted_keys: u64,
    /// The data is still being read from disk.
    pub loading: bool,
    pub cluster_enabled: bool,
    pub aof: bool,
}

impl Server {
    /// Whether Redis may delete whole streams by itself, without a word, when its memory is full.
    #[must_use]
    pub fn may_evict_streams(&self) -> bool {
        self.maxmemory_policy.starts_with("allkeys-")
    }
}

/// What XINFO STREAM found under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspected {
    Absent,
    /// The key's type, as TYPE names it; `unknown` where the user may not ask.
    NotAStream(String),
    Stream(StreamState),
}

/// A stream's own counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Entries there now.
    pub length: u64,
    pub last_generated_id: EntryId,
    /// Entries ever added; Redis 7 and later.
    pub entries_added: Option<u64>,
    /// The greatest id deleted by XDEL (a trim does not count); Redis 7 and later, `0-0` for none.
    pub max_deleted_entry_id: Option<EntryId>,
    /// The id of the first entry; `None`: the stream is empty.
    pub first: Option<EntryId>,
    /// Consumer groups.
    pub groups: u64,
}

/// The lines `name:value` of an INFO reply.
struct Info<'a>(HashMap<&'a str, &'a str>);

impl<'a> Info<'a> {
    fn read(reply: &'a [u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(reply).map_err(|_| "INFO that is not text")?;
        Ok(Self(
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .collect(),
        ))
    }

    fn text(&self, name: &str, missing: &'static str) -> Result<&'a str, &'static str> {
        self.0.get(name).copied().ok_or(missing)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.0.get(name).and_then(|text| text.parse().ok())
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name) == Some(&"1")
    }

    fn role(&self) -> Result<Role, &'static str> {
        match self.text("role", "INFO without `role`")? {
            "master" => Ok(Role::Master),
            "slave" | "replica" => Ok(Role::Replica),
            _ => Err("INFO with a `role` that is neither master nor slave"),
        }
    }
}

pub(super) fn replication(reply: &[u8]) -> Result<Replication, &'static str> {
    let info = Info::read(reply)?;
    let replid2 = info
        .text("master_replid2", "")
        .ok()
        .filter(|id| id.bytes().any(|b| b != b'0'))
        .map(str::to_owned);
    Ok(Replication {
        replid: info
            .text("master_replid", "INFO without `master_replid`")?
            .to_owned(),
        second_offset: info
            .number("second_repl_offset")
            .filter(|&offset: &i64| offset >= 0 && replid2.is_some()),
        replid2,
        offset: info
            .number("master_repl_offset")
            .ok_or("INFO without `master_repl_offset`")?,
        role: info.role()?,
    })
}

pub(super) fn server(reply: &[u8]) -> Result<Server, &'static str> {
    let info = Info::read(reply)?;
    Ok(Server {
        version: info
            .text("redis_version", "INFO without `redis_version`")?
            .to_owned(),
        role: info.role()?,
        used_memory: info
            .number("used_memory")
            .ok_or("INFO without `used_memory`")?,
        maxmemory: info.number("maxmemory").unwrap_or(0),
        maxmemory_policy: info.text("maxmemory_policy", "").unwrap_or("").to_owned(),
        evicted_keys: info.number("evicted_keys").unwrap_or(0),
        loading: info.flag("loading"),
        cluster_enabled: info.flag("cluster_enabled"),
        aof: info.flag("aof_enabled"),
    })
}

/// The reply of XINFO STREAM, refusals apart.
pub(super) fn stream_state(cursor: &mut Cursor<'_>) -> Look<StreamState> {
    let map = cursor.kind()? == b'%';
    let length = cursor.array_of()?;
    if !map && length % 2 == 1 {
        return Err(Stop::Malformed("XINFO STREAM with a name without a value"));
    }
    let mut state = StreamState::default();
    let mut last_seen = false;
    for _ in 0..length / 2 {
        match cursor.bulk()? {
            b"length" => state.length = count(cursor)?,
            b"groups" => state.groups = count(cursor)?,
            b"entries-added" => state.entries_added = Some(count(cursor)?),
            b"last-generated-id" => {
                state.last_generated_id = entry_id(cursor.bulk()?)?;
                last_seen = true;
            }
            b"max-deleted-entry-id" => {
                state.max_deleted_entry_id = Some(entry_id(cursor.bulk()?)?);
            }
            b"first-entry" => state.first = first_id(cursor)?,
            _ => cursor.skip()?,
        }
    }
    if last_seen {
        Ok(state)
    } else {
        Err(Stop::Malformed("XINFO STREAM without `last-generated-id`"))
    }
}

fn count(cursor: &mut Cursor<'_>) -> Look<u64> {
    u64::try_from(cursor.integer()?).map_err(|_| Stop::Malformed("a count below zero"))
}

/// The id of an entry whose fields do not matter.
fn first_id(cursor: &mut Cursor<'_>) -> Look<Option<EntryId>> {
    match cursor.array()? {
        None => Ok(None),
        Some(2) => {
            let id = entry_id(cursor.bulk()?)?;
            cursor.skip()?;
            Ok(Some(id))
        }
        Some(_) => Err(Stop::Malformed("an entry that is not id and fields")),
    }
}
