//! How to reach Redis.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::exact_duration;
use super::{Problem, RedisAddress, Secret, schema};
use crate::entry::Database;

/// How to reach Redis.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// `redis://host:6379/1`, `rediss://host:6379/1` (TLS) or `unix:///run/redis.sock?db=1`; the number is the default database. No password here.
    pub url: String,
    /// ACL user.
    #[schemars(length(min = 1))]
    pub username: Option<String>,
    /// Password; better `password_file` or the environment. Never by `--set`: the process list shows it.
    pub password: Option<Secret>,
    /// File that holds the password; one trailing newline is dropped.
    #[schemars(schema_with = "schema::optional_path")]
    pub password_file: Option<PathBuf>,
    /// PEM file of certificate authorities that sign the server's certificate, and no others; without it those of the system.
    #[schemars(schema_with = "schema::optional_path")]
    pub tls_ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate, with `tls_key_file`.
    #[schemars(schema_with = "schema::optional_path")]
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file of the client's key.
    #[schemars(schema_with = "schema::optional_path")]
    pub tls_key_file: Option<PathBuf>,
    /// How long a connection may take to stand.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1ms"))]
    pub connect_timeout: Duration,
    /// How long an answer may take, beyond the time a command may block.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1ms"))]
    pub response_timeout: Duration,
    /// How often to look for new streams that match a route's globs.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "50ms"))]
    pub discovery_interval: Duration,
}

impl Redis {
    /// Where the server is, read from `url`. A configuration that [`load`](super::load()) gave has a good one.
    ///
    /// # Errors
    /// What is wrong with the URL, without its text: it might hold a password.
    pub fn address(&self) -> Result<RedisAddress, Problem> {
        self.url
            .parse()
            .map_err(|message: String| Problem::new("redis.url", message))
    }

    /// The database that `url` names; 0 where it names none.
    #[must_use]
    pub fn default_database(&self) -> Database {
        self.address()
            .map_or_else(|_| Database::default(), |address| address.database)
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/0".to_owned(),
            username: None,
            password: None,
            password_file: None,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            discovery_interval: Duration::from_secs(5),
        }
    }
}
