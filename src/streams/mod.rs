//! The Redis edge: the only importer of the redis crate, and the only place that talks to Redis.
//!
//! ```text
//!   config::Redis ──▶ Redis ──connect(db)──▶ Connection ──▶ read · inspect · stocktake · range · scan · ...
//!                     address, tls, socket    connection     commands, looks, own
//!                                             wire, entries, info: bytes to values and back
//! ```
//!
//! A [`Connection`] is dedicated: one owner, one database, calls by `&mut self`. It never retries and never reconnects;
//! after an error for which [`Error::is_connection_lost`] holds, drop it and [`connect`](Redis::connect) again.
//!
//! Of the redis crate this uses the forms of the URL and the socket options. The socket and the decoding are its own:
//! the crate hands out replies only through its combinator parser, which takes four times as long (entries.rs).

mod address;
mod commands;
mod connection;
mod driver;
mod entries;
mod error;
mod groups;
mod info;
mod looks;
mod own;
mod pages;
mod rights;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

pub use commands::Read;
pub use connection::Connection;
pub use driver::{Acknowledged, Acknowledgements, DriverSaved, HeardOf, Lease, StoredDriver};
pub use error::{Error, ErrorKind, Peer};
pub use groups::{GroupLooked, GroupState};
pub use info::{Inspected, Replication, Role, Server, StreamState};
pub use looks::Looked;
pub use own::started_key;
pub use pages::{PAGE_BYTES, Pages};

use crate::config;
use crate::entry::Database;
use address::Address;

/// Makes connections to one Redis. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    address: Arc<Address>,
}

impl Redis {
    /// Reads the URL and the TLS files; connects nowhere yet. Secrets in `config` must be resolved.
    pub fn new(config: &config::Redis) -> Result<Self, Error> {
        Ok(Self {
            address: Arc::new(Address::from_config(config)?),
        })
    }

    /// The database named in `redis.url`.
    #[must_use]
    pub fn default_database(&self) -> Database {
        self.address.default_database
    }

    /// Where connections go, for logs.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.address.peer
    }

    /// A new connection, authenticated, with `database` selected, and proven to lead to a Redis that answers. One
    /// attempt, within `connect_timeout`.
    pub async fn connect(&self, database: Database) -> Result<Connection, Error> {
        let address = &*self.address;
        let until = Instant::now() + address.connect_timeout;
        let socket = socket::open(address, until).await?;
        let mut connection =
            Connection::new(Arc::clone(&address.peer), socket, address.response_timeout);
        let introduced = connection.introduce(address.credentials.as_ref(), database);
        timeout_at(until, introduced)
            .await
            .map_err(|_| Error::Timeout {
                peer: Arc::clone(&address.peer),
                doing: "a new connection",
                after: address.connect_timeout,
            })??;
        Ok(connection)
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redis({})", self.address.peer)
    }
}

impl Connection {
    /// AUTH, SELECT, and one question whose answer proves that this is a Redis that knows us.
    async fn introduce(
        &mut self,
        credentials: Option<&address::Credentials>,
        database: Database,
    ) -> Result<(), Error> {
        if let Some(credentials) = credentials {
            let password = credentials.password.expose().as_bytes();
            match &credentials.user {
                Some(user) => self.queue("AUTH", &[b"AUTH", user.as_bytes(), password]),
                None => self.queue("AUTH", &[b"AUTH", password]),
            }
            let answer = self.answer().await?;
            self.refused(&answer)?;
        }
        if database != Database(0) {
            self.queue("SELECT", &[b"SELECT", database.to_string().as_bytes()]);
            let answer = self.answer().await?;
            self.refused(&answer)?;
        }
        self.replication().await.map(drop)
    }
}
