//! Whether this user may do all that the migration driver does, tried on a key of Lockgate's own that is gone when the
//! call returns.
//!
//! Redis checks a script's commands one by one as they are called, so the only way to learn whether they are permitted is to
//! call them.

use super::connection::Connection;
use super::error::Error;
use super::own::check_own;

const TRY: &str = "\
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '1', 'PX', '10000')
redis.call('GET', KEYS[1])
redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('SMEMBERS', KEYS[1])
redis.call('HSET', KEYS[1], 'a', '1')
redis.call('HSETNX', KEYS[1], 'b', '1')
redis.call('HGET', KEYS[1], 'a')
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', KEYS[1], '0')
return 1";

impl Connection {
    /// `key` is the one to try it on; nobody else uses it, as a key or as a channel.
    ///
    /// # Errors
    /// The first command that is not permitted.
    pub async fn driver_rights(&mut self, key: &[u8]) -> Result<(), Error> {
        check_own("EVAL", key)?;
        let answer = self
            .ask("EVAL", &[b"EVAL", TRY.as_bytes(), b"1", key])
            .await?;
        self.look(&answer, |cursor| cursor.integer().map(drop))?;
        self.driver_load(key).await?;
        self.own_fields(key).await.map(drop)
    }
}
