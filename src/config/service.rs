//! How the daemon works, apart from the two stores: shards, throttle, auditor, API, log, stopping.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::access::Token;
use super::schema;
use super::text::exact_duration;

/// How the work is divided and cut into transactions.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shards {
    /// Shards at the first start; later `lockgate shards resize` changes it.
    #[schemars(range(min = 1, max = 1024), extend("x-unit" = "shards"))]
    pub count: u32,
    /// A transaction closes at this many entries.
    #[schemars(range(min = 1, max = 10_000_000), extend("x-unit" = "entries"))]
    pub transaction_entries: usize,
    /// ... or at this many bytes.
    #[schemars(range(min = 1, max = 1_073_741_824), extend("x-unit" = "bytes"))]
    pub transaction_bytes: usize,
    /// ... or at this age. Less than `kafka.transaction_timeout`.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1ms"))]
    pub transaction_age: Duration,
    /// Bytes of entries that may wait in memory per shard, between reading and producing. As much again may be on its way from Redis; a single entry that is larger always passes.
    #[schemars(range(min = 1, max = 1_073_741_824), extend("x-unit" = "bytes"))]
    pub buffer_bytes: usize,
}

/// How fast the mirror may go. Absent: as fast as it can. Changeable while running.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema, ToSchema,
)]
#[serde(deny_unknown_fields, default)]
pub struct Throttle {
    /// Entries a second, of this instance.
    #[schemars(range(min = 1), extend("x-unit" = "entries/s"))]
    #[schema(minimum = 1)]
    pub entries_per_second: Option<u32>,
    /// Bytes of entries a second, of this instance.
    #[schemars(range(min = 1), extend("x-unit" = "bytes/s"))]
    #[schema(minimum = 1)]
    pub bytes_per_second: Option<u32>,
}

/// The HTTP API.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address to listen on: an IP address and a port.
    #[schemars(schema_with = "schema::socket_address")]
    pub listen: std::net::SocketAddr,
    /// File of those who may use the API, a line for each token: `role name sha256:DIGEST`, as `lockgate token` prints it. Roles: `flags`, `viewer`, `operator`, `admin`. A change of the file is taken over within seconds. Without it nothing can be changed through the API, and everybody may read.
    #[schemars(schema_with = "schema::optional_path")]
    pub tokens_file: Option<PathBuf>,
    /// PEM file of the certificate that the API shows, with those between it and its authority; with `tls_key_file`. A change of the files is taken over within seconds.
    #[schemars(schema_with = "schema::optional_path")]
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file of its key.
    #[schemars(schema_with = "schema::optional_path")]
    pub tls_key_file: Option<PathBuf>,
    /// Names, beyond those of loopback, by which the API may be called: a request whose Host is another is refused. Empty, and `listen` beyond loopback: any.
    #[schemars(inner(length(min = 1)))]
    pub hosts: Vec<String>,
    /// Requests that one address may make, each for flags, for looking and for what changes something, and as many without a token that permits it; more are refused for a moment.
    #[schemars(range(min = 1), extend("x-unit" = "requests/s"))]
    pub requests_per_second: NonZeroU32,
    /// Connections that may be open at once; more wait until one ends.
    #[schemars(range(min = 1, max = 65_535), extend("x-unit" = "connections"))]
    pub connections: usize,
    /// How long a caller may take over the head of a request, counted from the connection or the last answer, and over its body; and over taking an answer. Then the connection is closed.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "100ms"))]
    pub client_timeout: Duration,
    /// Permit an address beyond loopback without tokens and TLS.
    pub allow_remote: bool,
    /// What `tokens_file` holds.
    #[serde(skip)]
    pub tokens: Vec<Token>,
}

impl Http {
    /// Whether the API speaks TLS.
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.tls_cert_file.is_some()
    }
}

/// Logging.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,lockgate::mirror=debug`.
    pub level: String,
    /// How a line is written.
    pub format: LogFormat,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The continuous auditor: compares what is mirrored, all the while.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parity {
    /// Compare both stores while the daemon runs; without it parity is unknown but to `lockgate parity verify`.
    pub enabled: bool,
    /// How often what was mirrored since is compared; sooner where 100000 entries have come.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1ms"))]
    pub window: Duration,
    /// Entries a second read from each store, of this instance. Absent: as fast as it can.
    #[schemars(range(min = 1), extend("x-unit" = "entries/s"))]
    pub entries_per_second: Option<u32>,
    /// Above this lag of the mirror the auditor rests twice as long as it works.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1ms"))]
    pub yield_lag: Duration,
}

/// Stopping.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long draining may take after SIGTERM before the process leaves with a non-zero code.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1ms"))]
    pub grace: Duration,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            count: 4,
            transaction_entries: 50_000,
            transaction_bytes: 32 << 20,
            transaction_age: Duration::from_millis(500),
            buffer_bytes: 4 << 20,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 8474)),
            tokens_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            hosts: Vec::new(),
            requests_per_second: const { NonZeroU32::new(500).expect("not zero") },
            connections: 1_024,
            client_timeout: Duration::from_secs(30),
            allow_remote: false,
            tokens: Vec::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Human,
        }
    }
}

impl Default for Parity {
    fn default() -> Self {
        Self {
            enabled: true,
            window: Duration::from_secs(10),
            entries_per_second: None,
            yield_lag: Duration::from_secs(5),
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
        }
    }
}
