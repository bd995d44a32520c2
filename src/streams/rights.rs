//! Whether this user may do all that the migration driver does, tried on a key of Lockgate's own that is gone when the
//! call returns.
//!
//! Redis checks a script's commands one by one as they are called, so the only way to learn whether they are permitted is to
//! call them.

use super::connection::Connection;
use super::error::Error;
use super::own::check_own;
use super::wire::each;

const TRY: &str = "\
local key, refused = KEYS[1], {}
local function try(name, ...)
  local answer = redis.pcall(name, ...)
  if type(answer) == 'table' and answer.err then refused[#refused + 1] = name end
end
try('DEL', key)
try('SET', key, '1', 'PX', '10000')
try('GET', key)
try('PTTL', key)
try('DEL', key)
try('SMEMBERS', key)
try('HSET', key, 'a', '1')
try('HGETALL', key)
try('HSETNX', key, 'b', '1')
try('HGET', key, 'a')
try('DEL', key)
try('PUBLISH', key, '0')
return refused";

impl Connection {
    /// The commands that are refused within a script; none: the driver may do all it has to. `key` is the one to try it on;
    /// nobody else uses it, as a key or as a channel.
    ///
    /// # Errors
    /// Redis gave no answer, or refuses a command outside of scripts.
    pub async fn driver_rights(&mut self, key: &[u8]) -> Result<Vec<String>, Error> {
        check_own("EVAL", key)?;
        let answer = self
            .ask("EVAL", &[b"EVAL", TRY.as_bytes(), b"1", key])
            .await?;
        let mut refused = self.look(&answer, |cursor| {
            each(cursor, |cursor| {
                Ok(String::from_utf8_lossy(cursor.bulk()?).into_owned())
            })
        })?;
        refused.dedup();
        self.driver_load(key).await?;
        self.own_fields(key).await?;
        Ok(refused)
    }
}
