//! What the migration driver keeps in Redis: its state with the journal, its lease, the flags, and what each instance says,
//! each under a key of Lockgate's own and each changed by one script, so that no two writers can interleave.
//!
//! * [`driver_save`](Connection::driver_save) compares the version first: of two drivers that loaded the same state one
//!   saves, and the other learns that it did not. The journal's records are fields of the same key, never overwritten.
//! * [`flags_write`](Connection::flags_write) never puts an older version in place of a newer one: a driver that slept between
//!   storing and telling tells nothing when it wakes.
//! * [`acknowledged`](Connection::acknowledged) only reads: those keys are the applications' own to write. What instances heard
//!   of them is kept beside those, by [`keep_heard`](Connection::keep_heard). [`forget_gone`](Connection::forget_gone) strikes
//!   out the names under which nothing is left, or the sets would grow with every process that ever was.
//! * The lease only spares two drivers from duelling; nothing depends on it.
//!
//! A call whose answer is lost may have been carried out. Doing it again is refused or has the same effect.

use std::time::Duration;

use super::connection::Connection;
use super::error::Error;
use super::own::check_own;
use super::wire::each;

/// The last thing it does is to take the note out, and without SREM, which the user need not be permitted: a script that is
/// refused half way undoes nothing.
const SAVE: &str = "\
local found = redis.call('HGET', KEYS[1], 'version') or '0'
if found ~= ARGV[1] then return {0, found} end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'state', ARGV[3])
for i = 5, #ARGV, 2 do redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) end
if ARGV[4] ~= '' then
  local all = redis.call('SMEMBERS', KEYS[2])
  redis.call('DEL', KEYS[2])
  for _, one in ipairs(all) do
    if one ~= ARGV[4] then redis.call('SADD', KEYS[2], one) end
  end
end
return {1, ARGV[2]}";

const LEASE: &str = "\
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {0, holder} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {holder and 1 or 2, ARGV[1]}";

const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

const FLAGS: &str = "\
local found = tonumber(redis.call('HGET', KEYS[1], 'version') or '-1')
local new = tonumber(ARGV[1])
if found > new then return found end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'version', ARGV[1], unpack(ARGV, 2))
if found < new then redis.call('PUBLISH', KEYS[1], ARGV[1]) end
return -1";

/// Fields are taken out without HDEL, which the user need not be permitted.
const SAY: &str = "\
if #ARGV > 2 then
  local all, gone = redis.call('HGETALL', KEYS[1]), {}
  for i = 3, #ARGV do gone[ARGV[i]] = true end
  redis.call('DEL', KEYS[1])
  for i = 1, #all, 2 do
    if not gone[all[i]] then redis.call('HSET', KEYS[1], all[i], all[i + 1]) end
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1";

/// Names and what they left, as far as something is left, and whether there are more; a key of another type is as good as one
/// that cannot be read.
const ACKNOWLEDGED: &str = "\
local found, more = {}, 0
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local key = ARGV[1] .. name
  local left = redis.call('PTTL', key)
  if left ~= -2 then
    if #found >= tonumber(ARGV[2]) then more = 1 break end
    local version = redis.pcall('GET', key)
    if type(version) ~= 'string' then version = '' end
    found[#found + 1] = {name, version, left}
  end
end
return {more, found}";

/// What instances heard of applications: each under a key of its own, which ends by itself.
const KEEP: &str = "\
for i = 2, #ARGV, 3 do
  redis.call('SADD', KEYS[1], ARGV[i])
  redis.call('SET', ARGV[1] .. ARGV[i], ARGV[i + 1], 'PX', ARGV[i + 2])
end
return 1";

/// Strikes out the names whose keys have ended. A name is there again with the next acknowledgement under it.
const FORGET: &str = "\
local left, ended = {}, false
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('PTTL', ARGV[1] .. name) == -2 then ended = true else left[#left + 1] = name end
end
if ended then
  redis.call('DEL', KEYS[1])
  for _, name in ipairs(left) do redis.call('SADD', KEYS[1], name) end
end
return 1";

/// Applications that are looked at; where more acknowledge, it is not known who follows.
const MOST_CLIENTS: &[u8] = b"10000";

/// What an application left as its acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub client: String,
    /// `None`: what it wrote is no version.
    pub version: Option<u64>,
    /// `None`: it has no end, so that it would be taken for fresh for ever.
    pub left_ms: Option<i64>,
}

/// What applications left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledgements {
    pub found: Vec<Acknowledged>,
    /// There are more than are looked at.
    pub cut_off: bool,
}

/// What an instance heard of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardOf {
    pub client: String,
    pub version: u64,
    /// For how long it counts.
    pub left_ms: u64,
}

/// What is stored of a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDriver {
    pub version: u64,
    pub state: Vec<u8>,
}

/// What came of a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverSaved {
    Saved,
    /// The store holds this version instead of the one that was expected.
    Conflict {
        found: u64,
    },
}

/// Whose the lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It was ours and goes on without a gap.
    Kept,
    /// It is ours from now on: nobody had it, and somebody may have had it and given it back since it was ours.
    Taken,
    Other(String),
}

impl Connection {
    /// The stored state; `None` where there is none.
    pub async fn driver_load(&mut self, key: &[u8]) -> Result<Option<StoredDriver>, Error> {
        let answer = self
            .ask("HMGET", &[b"HMGET", key, b"version", b"state"])
            .await?;
        let found = self.look(&answer, |cursor| {
            each(cursor, |cursor| {
                Ok(cursor.bulk_or_null()?.map(<[u8]>::to_vec))
            })
        })?;
        match found.as_slice() {
            [Some(version), Some(state)] => Ok(Some(StoredDriver {
                version: self.number("HMGET", version)?,
                state: state.clone(),
            })),
            [None, None] => Ok(None),
            _ => Err(self.malformed(
                "HMGET",
                "a driver's state without its version, or the reverse",
            )),
        }
    }

    /// Puts the state in place of version `over` (0: of none), and appends journal records by their numbers. A note that they
    /// hold leaves the set under its key in the same step.
    pub async fn driver_save(
        &mut self,
        key: &[u8],
        over: u64,
        version: u64,
        state: &[u8],
        records: &[(u64, Vec<u8>)],
        (notes, out): (&[u8], Option<&[u8]>),
    ) -> Result<DriverSaved, Error> {
        check_own("EVAL", key)?;
        let (over, version) = (over.to_string(), version.to_string());
        let names: Vec<String> = records.iter().map(|(n, _)| record_field(*n)).collect();
        let mut words: Vec<&[u8]> = vec![b"EVAL", SAVE.as_bytes(), b"2", key, notes];
        words.extend([over.as_bytes(), version.as_bytes(), state]);
        words.push(out.unwrap_or_default());
        for (name, (_, record)) in names.iter().zip(records) {
            words.extend([name.as_bytes(), record.as_slice()]);
        }
        let answer = self.ask("EVAL", &words).await?;
        let (saved, found) = self.look(&answer, |cursor| {
            cursor.array_of()?;
            Ok((cursor.integer()? == 1, cursor.bulk()?.to_vec()))
        })?;
        if saved {
            return Ok(DriverSaved::Saved);
        }
        let found = self.number("EVAL", &found)?;
        Ok(DriverSaved::Conflict { found })
    }

    /// Journal records by their numbers; those that are not there are left out.
    pub async fn driver_records(
        &mut self,
        key: &[u8],
        numbers: std::ops::RangeInclusive<u64>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = numbers.map(record_field).collect();
        let mut words: Vec<&[u8]> = vec![b"HMGET", key];
        words.extend(names.iter().map(String::as_bytes));
        let answer = self.ask("HMGET", &words).await?;
        let found = self.look(&answer, |cursor| {
            each(cursor, |cursor| {
                Ok(cursor.bulk_or_null()?.map(<[u8]>::to_vec))
            })
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Puts a note into the set under the key; one that is there already stays there once.
    pub async fn leave_note(&mut self, key: &[u8], note: &[u8]) -> Result<(), Error> {
        check_own("SADD", key)?;
        let answer = self.ask("SADD", &[b"SADD", key, note]).await?;
        self.look(&answer, |cursor| cursor.integer().map(drop))
    }

    /// The notes in the set under the key, in no order.
    pub async fn notes(&mut self, key: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let answer = self.ask("SMEMBERS", &[b"SMEMBERS", key]).await?;
        self.look(&answer, |cursor| {
            each(cursor, |cursor| Ok(cursor.bulk()?.to_vec()))
        })
    }

    /// Takes or keeps the lease.
    pub async fn lease_take(
        &mut self,
        key: &[u8],
        holder: &str,
        length: Duration,
    ) -> Result<Lease, Error> {
        check_own("EVAL", key)?;
        let length = length.as_millis().max(1).to_string();
        let words: [&[u8]; 6] = [
            b"EVAL",
            LEASE.as_bytes(),
            b"1",
            key,
            holder.as_bytes(),
            length.as_bytes(),
        ];
        let answer = self.ask("EVAL", &words).await?;
        self.look(&answer, |cursor| {
            cursor.array_of()?;
            let outcome = cursor.integer()?;
            let other = String::from_utf8_lossy(cursor.bulk()?).into_owned();
            Ok(match outcome {
                1 => Lease::Kept,
                2 => Lease::Taken,
                _ => Lease::Other(other),
            })
        })
    }

    /// Gives the lease back, where it is still this holder's.
    pub async fn lease_release(&mut self, key: &[u8], holder: &str) -> Result<(), Error> {
        check_own("EVAL", key)?;
        let words: [&[u8]; 5] = [b"EVAL", RELEASE.as_bytes(), b"1", key, holder.as_bytes()];
        let answer = self.ask("EVAL", &words).await?;
        self.look(&answer, |cursor| cursor.integer().map(drop))
    }

    /// Writes the flags and tells who listens on the channel of the key's name. Where a later version is there nothing is
    /// written, and it is answered.
    pub async fn flags_write(
        &mut self,
        key: &[u8],
        version: u64,
        fields: &[(String, String)],
    ) -> Result<Option<u64>, Error> {
        check_own("EVAL", key)?;
        let version = version.to_string();
        let mut words: Vec<&[u8]> = vec![b"EVAL", FLAGS.as_bytes(), b"1", key, version.as_bytes()];
        for (name, value) in fields {
            words.extend([name.as_bytes(), value.as_bytes()]);
        }
        let answer = self.ask("EVAL", &words).await?;
        self.look(&answer, |cursor| Ok(u64::try_from(cursor.integer()?).ok()))
    }

    /// Fields of the flags' hash.
    pub async fn flags_read(
        &mut self,
        key: &[u8],
        fields: &[&str],
    ) -> Result<Vec<Option<String>>, Error> {
        let mut words: Vec<&[u8]> = vec![b"HMGET", key];
        words.extend(fields.iter().map(|field| field.as_bytes()));
        let answer = self.ask("HMGET", &words).await?;
        self.look(&answer, |cursor| {
            each(cursor, |cursor| {
                let found = cursor.bulk_or_null()?;
                Ok(found.map(|text| String::from_utf8_lossy(text).into_owned()))
            })
        })
    }

    /// The version of the flags that are there; `None`: there are none, or without one.
    pub async fn flags_version(&mut self, key: &[u8]) -> Result<Option<u64>, Error> {
        let found = self.flags_read(key, &["version"]).await?;
        Ok(found
            .into_iter()
            .flatten()
            .find_map(|text| text.parse().ok()))
    }

    /// What the applications named in the set under `clients` left under `prefix` and their name. Reads only.
    pub async fn acknowledged(
        &mut self,
        clients: &[u8],
        prefix: &[u8],
    ) -> Result<Acknowledgements, Error> {
        let words: [&[u8]; 6] = [
            b"EVAL",
            ACKNOWLEDGED.as_bytes(),
            b"1",
            clients,
            prefix,
            MOST_CLIENTS,
        ];
        let answer = self.ask("EVAL", &words).await?;
        self.look(&answer, |cursor| {
            cursor.array_of()?;
            let cut_off = cursor.integer()? == 1;
            let found = each(cursor, |cursor| {
                cursor.array_of()?;
                let client = String::from_utf8_lossy(cursor.bulk()?).into_owned();
                let version = std::str::from_utf8(cursor.bulk()?)
                    .ok()
                    .and_then(|text| text.parse().ok());
                let left_ms = Some(cursor.integer()?).filter(|left| *left >= 0);
                Ok(Acknowledged {
                    client,
                    version,
                    left_ms,
                })
            })?;
            Ok(Acknowledgements { found, cut_off })
        })
    }

    /// Keeps what was heard of applications: their names in the set under `clients`, the rest under `prefix` and their name.
    pub async fn keep_heard(
        &mut self,
        clients: &[u8],
        prefix: &[u8],
        heard: &[HeardOf],
    ) -> Result<(), Error> {
        check_own("EVAL", clients)?;
        check_own("EVAL", prefix)?;
        let numbers: Vec<(String, String)> = heard
            .iter()
            .map(|one| (one.version.to_string(), one.left_ms.max(1).to_string()))
            .collect();
        let mut words: Vec<&[u8]> = vec![b"EVAL", KEEP.as_bytes(), b"1", clients, prefix];
        for (one, (version, left)) in heard.iter().zip(&numbers) {
            words.extend([one.client.as_bytes(), version.as_bytes(), left.as_bytes()]);
        }
        let answer = self.ask("EVAL", &words).await?;
        self.look(&answer, |cursor| cursor.integer().map(drop))
    }

    /// Takes out of the set those under whose names nothing is left.
    pub async fn forget_gone(&mut self, clients: &[u8], prefix: &[u8]) -> Result<(), Error> {
        check_own("EVAL", clients)?;
        let words: [&[u8]; 5] = [b"EVAL", FORGET.as_bytes(), b"1", clients, prefix];
        let answer = self.ask("EVAL", &words).await?;
        self.look(&answer, |cursor| cursor.integer().map(drop))
    }

    /// Puts what `name` says in place of what it said before, and takes out what those said who are gone.
    pub async fn say(
        &mut self,
        key: &[u8],
        name: &str,
        said: &[u8],
        gone: &[String],
    ) -> Result<(), Error> {
        check_own("EVAL", key)?;
        let mut words: Vec<&[u8]> = vec![b"EVAL", SAY.as_bytes(), b"1", key, name.as_bytes(), said];
        words.extend(gone.iter().map(String::as_bytes));
        let answer = self.ask("EVAL", &words).await?;
        self.look(&answer, |cursor| cursor.integer().map(drop))
    }

    /// The fields of a hash of Lockgate's own.
    pub async fn own_fields(&mut self, key: &[u8]) -> Result<Vec<(String, String)>, Error> {
        let answer = self.ask("HGETALL", &[b"HGETALL", key]).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let flat = self.look(&answer, |cursor| {
            each(cursor, |cursor| Ok(text(cursor.bulk()?)))
        })?;
        let (pairs, _) = flat.as_chunks::<2>();
        Ok(pairs
            .iter()
            .map(|[name, value]| (name.clone(), value.clone()))
            .collect())
    }

    fn number(&mut self, command: &'static str, text: &[u8]) -> Result<u64, Error> {
        std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| self.malformed(command, "a version that is no number"))
    }
}

/// A journal record's field.
fn record_field(n: u64) -> String {
    format!("j:{n}")
}
