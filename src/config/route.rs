//! Which streams go to which topic, and how key, partition and headers are made. The value has a file of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::exact_duration;
use super::{Value, schema};
use crate::entry::{Database, EntryId};

/// Which streams go to which topic, and how key, partition, headers and value are made.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Name of the route: `[a-z0-9][a-z0-9_-]*`, at most 64; the label of its metrics.
    pub name: String,
    /// Logical database of the streams; default: the one in `redis.url`.
    #[schemars(with = "Option<u32>", extend("x-unit" = "number"))]
    pub database: Option<Database>,
    /// Stream names, ranges `msg:stream:{0..15}`, globs with captures `laddr:tasks:*`.
    #[schemars(length(min = 1))]
    pub streams: Vec<String>,
    /// Topic; `$1` is the first capture of the glob.
    #[schemars(length(min = 1))]
    pub topic: String,
    /// Partitions of the topic.
    #[schemars(range(min = 1, max = 100_000), extend("x-unit" = "partitions"))]
    pub partitions: u32,
    /// `retention.ms` of the topic. Records are dated as their entries: a backlog older than this is deleted by Kafka at once.
    #[serde(default = "default_retention", with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1m", "x-max" = "36500d"))]
    pub retention: Duration,
    /// `retention.bytes` of the topic, per partition; absent: unlimited.
    #[serde(default)]
    #[schemars(range(min = 1, max = 9_223_372_036_854_775_807u64), extend("x-unit" = "bytes"))]
    pub retention_bytes: Option<u64>,
    /// `max.message.bytes` of the topic; larger records are dead-lettered.
    #[serde(default = "default_max_message_bytes")]
    #[schemars(range(min = 1, max = 1_000_000_000), extend("x-unit" = "bytes"))]
    pub max_message_bytes: usize,
    /// The record's key: `{ field = "conversationId" }`, `{ field = "data", pointer = "/task_id" }`, `{ capture = 1 }` or `"none"`.
    #[serde(default)]
    pub key: Key,
    /// How the key gives the partition: the hash that the application itself uses.
    #[serde(default)]
    pub partition: Partitioner,
    /// Record headers by name, each from a field: `correlation-id = { field = "correlationId" }`.
    #[serde(default)]
    pub headers: BTreeMap<String, Source>,
    /// Field with a JSON object each of whose members becomes a header.
    #[serde(default)]
    pub headers_from: Option<Source>,
    /// The record's value: `{ field = "data" }`, `{ json = [...] }` or `{ all = true }`.
    pub value: Value,
    /// Where to begin when there is no checkpoint: `earliest`, `latest` (after the last entry that is there at that moment), or an entry id (after it). A stream that came after the route's streams had been looked for once begins with its first entry.
    #[serde(default)]
    #[schemars(schema_with = "schema::start")]
    pub start: Start,
    /// What to do when entries are gone before they were read.
    #[serde(default)]
    pub on_gap: OnTrouble,
    /// What to do when the topic has more partitions than `partitions`. `record`: it is logged and counted (`lockgate_mirror_surplus_partitions`), and the stream goes on with `partitions`. A topic that has fewer always halts.
    #[serde(default)]
    pub on_partition_change: OnTrouble,
    /// Dead-letter topic; default `lockgate.<name>.dead-letters.<route>`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub dead_letters: Option<String>,
}

fn default_retention() -> Duration {
    Duration::from_secs(30 * 86_400)
}

const fn default_max_message_bytes() -> usize {
    1_048_576
}

/// A part of an entry: a field, or a JSON pointer into one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The entry's field.
    pub field: String,
    /// RFC 6901 pointer into the field's JSON. A string there gives its text, `null` counts as absent, anything else
    /// gives its JSON as it is written there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Where it is absent: no key, no header (otherwise the entry is dead-lettered).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// The record's key. Written `"none"`, or as the table of one of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(from = "KeyForm", into = "KeyForm")]
pub enum Key {
    /// No key.
    #[default]
    None,
    /// A part of the entry.
    Source(Source),
    /// The n-th capture of the stream's name.
    Capture(Capture),
}

/// The n-th capture of the stream's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// Number of the glob's capture, from 1.
    #[schemars(range(min = 1), extend("x-unit" = "number"))]
    pub capture: usize,
}

/// [`Key`] as it is written: TOML has no null, so that no key is a word.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
enum KeyForm {
    Word(NoKey),
    Source(Source),
    Capture(Capture),
}

#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum NoKey {
    /// No key.
    None,
}

impl From<KeyForm> for Key {
    fn from(form: KeyForm) -> Self {
        match form {
            KeyForm::Word(NoKey::None) => Self::None,
            KeyForm::Source(source) => Self::Source(source),
            KeyForm::Capture(capture) => Self::Capture(capture),
        }
    }
}

impl From<Key> for KeyForm {
    fn from(key: Key) -> Self {
        match key {
            Key::None => Self::Word(NoKey::None),
            Key::Source(source) => Self::Source(source),
            Key::Capture(capture) => Self::Capture(capture),
        }
    }
}

/// How the key gives the partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Partitioner {
    /// The hash.
    pub hash: Hash,
    /// For `murmur3`: how the 32-bit hash becomes a non-negative number.
    pub fold: Fold,
    /// For `murmur3`.
    #[schemars(extend("x-unit" = "number"))]
    pub seed: u32,
    /// For `murmur3`: how the key's text becomes bytes.
    pub reading: Reading,
}

/// The hash that gives a key's partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hash {
    /// MurmurHash3 x86_32.
    Murmur3,
    /// The default of Kafka's Java clients.
    Murmur2,
    /// librdkafka's `consistent_random`; empty and null keys get a partition from the entry's id.
    Crc32,
    /// librdkafka's `fnv1a`.
    Fnv1a,
    /// The number that ends the stream's name.
    StreamIndex,
    /// Always partition 0 of a topic with one; otherwise from the entry's id.
    #[default]
    None,
}

/// How a 32-bit hash becomes a non-negative number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fold {
    /// `Math.abs(signed)`.
    #[default]
    Abs,
    /// As an unsigned number.
    Unsigned,
    /// `hash & 0x7fffffff`.
    Mask31,
}

/// How a key's text becomes the bytes that are hashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// As UTF-8.
    #[default]
    Utf8,
    /// UTF-16 code units masked with 0xff, as the packages `murmurhash-js`, `murmurhash3js` and `murmurhash` 0.x read
    /// strings. The same as `utf8` for ASCII.
    LegacyJs,
    /// UTF-16 code units whole, as the package `imurmurhash` mixes them. The same as `utf8` for ASCII and as `legacy-js`
    /// up to U+00FF.
    Imurmurhash,
}

/// Where a stream's mirror begins when it has no checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first entry.
    #[default]
    Earliest,
    /// After the last entry that is there at that moment.
    Latest,
    /// After this entry.
    After(EntryId),
}

impl std::str::FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            id => id.parse().map(Self::After).map_err(|_| {
                format!(
                    "`{id}` is neither earliest, latest nor an entry id such as 1741356110123-0"
                )
            }),
        }
    }
}

impl std::fmt::Display for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::After(id) => id.fmt(f),
        }
    }
}

impl Serialize for Start {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Stop the stream and say so, or count it, name it and go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnTrouble {
    /// The stream stops and says so; its neighbours go on.
    #[default]
    Halt,
    /// It is named, counted where entries are lost, and the stream goes on.
    Record,
}
