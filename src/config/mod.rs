//! What an operator configures, as plain data: loaded once, validated whole, handed out section by section.
//!
//! The types here import nothing of the parts they configure. A part takes its own section, never [`Config`]. The types
//! are the one source: [`schema`] is generated from them, and loading, the environment's variables and
//! `docs/configuration.md` all follow it.
//!
//! ```text
//!   files ─▶ environment ─▶ flags ─▶ one tree ─▶ shape (schema) ─▶ Config ─▶ secrets read ─▶ sense (validate)
//!            layers.rs, figment                  shape.rs                    secret.rs       validate/
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::access::{Digest, Role, Token, check_name, read_tokens};
pub use self::address::{Endpoint, RedisAddress};
pub use self::evidence::{Asked, Flags, Prometheus, Query};
pub use self::kafka::{Kafka, Properties};
pub use self::load::{Loaded, Sources, load, load_with};
pub use self::migration::{HeldWrites, Migration};
pub use self::origin::Origin;
pub use self::problem::Problem;
pub use self::redis_server::Redis;
pub use self::reference::reference;
pub use self::route::{
    Capture, Fold, Hash, Key, OnTrouble, Partitioner, Reading, Route, Source, Start,
};
pub use self::secret::Secret;
pub use self::service::{Http, Log, LogFormat, Parity, Shards, Shutdown, Throttle};
pub use self::show::{show_json, show_toml};
pub use self::trust::client_tls;
pub use self::value::{Form, Member, MemberRule, Value, ValueAll, ValueField, ValueJson};

mod access;
mod address;
mod evidence;
mod exposed;
mod kafka;
mod layers;
mod load;
pub mod migration;
mod origin;
mod path;
mod problem;
mod redis_server;
mod reference;
mod route;
pub mod schema;
mod secret;
mod service;
mod setting;
mod shape;
mod show;
mod stand_in;
mod text;
mod trust;
mod validate;
mod value;

/// The whole configuration of one migration.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the migration: part of every topic, group and key that Lockgate makes. `[a-z0-9][a-z0-9_-]*`, at most 64.
    pub name: String,
    #[serde(default)]
    pub redis: Redis,
    #[serde(default)]
    pub kafka: Kafka,
    #[serde(default)]
    pub shards: Shards,
    #[serde(default)]
    pub throttle: Throttle,
    #[serde(default)]
    pub migration: Migration,
    #[serde(default)]
    pub prometheus: Prometheus,
    #[serde(default)]
    pub flags: Flags,
    #[serde(default)]
    pub parity: Parity,
    #[serde(default)]
    pub http: Http,
    #[serde(default)]
    pub log: Log,
    #[serde(default)]
    pub shutdown: Shutdown,
    /// The routes, one `[[routes]]` each. Routes of several files add up.
    #[schemars(length(min = 1))]
    pub routes: Vec<Route>,
}
