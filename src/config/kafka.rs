//! How to reach Kafka. Properties whose name speaks of a secret print as `***`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::schema;
use super::text::exact_duration;

/// How to reach Kafka.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// Brokers to ask first, each `host:port`.
    #[schemars(length(min = 1))]
    pub bootstrap_servers: Vec<String>,
    /// Any librdkafka property that is not Lockgate's own to set, for TLS, SASL and tuning: `"security.protocol" = "SASL_SSL"`. Files named here are librdkafka's to open, relative to the working directory.
    pub properties: Properties,
    /// Properties whose value is read from a file: `"sasl.password" = "/run/secrets/kafka"`; one trailing newline is dropped.
    #[schemars(schema_with = "schema::paths_by_property")]
    pub property_files: BTreeMap<String, PathBuf>,
    /// Replicas of topics that Lockgate creates; default: 3, or the number of brokers where there are fewer. By the default no topic is created while fewer than 3 are up and one that holds replicas is away.
    #[schemars(range(min = 1, max = 32767), extend("x-unit" = "replicas"))]
    pub replication_factor: Option<u16>,
    /// After this a transaction left open by a dead worker is aborted by the broker.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1s", "x-max" = "15m"))]
    pub transaction_timeout: Duration,
    /// After this without a heartbeat an instance's shards go to another. Brokers accept 6 s and more unless `group.min.session.timeout.ms` says less.
    #[serde(with = "exact_duration")]
    #[schemars(schema_with = "schema::duration", extend("x-min" = "1s", "x-max" = "1h"))]
    pub session_timeout: Duration,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            bootstrap_servers: vec!["127.0.0.1:9092".to_owned()],
            properties: Properties::default(),
            property_files: BTreeMap::new(),
            replication_factor: None,
            transaction_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(6),
        }
    }
}

/// librdkafka properties by name. Prints and serialises `***` for the value of each that [`is_secret`](Self::is_secret).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Whether a property of this name holds a secret. Rather too many than too few.
    #[must_use]
    pub fn is_secret(name: &str) -> bool {
        const TELLING: [&str; 9] = [
            "password",
            "passphrase",
            "secret",
            "token",
            "credential",
            "jaas",
            "private.key",
            "ssl.key.pem",
            "oauthbearer.config",
        ];
        let name = name.to_ascii_lowercase();
        TELLING.iter().any(|word| name.contains(word))
    }
}

impl Deref for Properties {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Properties {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl From<BTreeMap<String, String>> for Properties {
    fn from(map: BTreeMap<String, String>) -> Self {
        Self(map)
    }
}

impl FromIterator<(String, String)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Properties {
    type Item = (&'a String, &'a String);
    type IntoIter = std::collections::btree_map::Iter<'a, String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// What may be shown of a property.
fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    if Properties::is_secret(name) {
        "***"
    } else {
        value
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.0
                    .iter()
                    .map(|(name, value)| (name, shown(name, value))),
            )
            .finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, shown(name, value))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Properties;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of librdkafka properties")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Properties, M::Error> {
                let mut properties = Properties::default();
                while let Some((name, value)) = map.next_entry::<String, Scalar>()? {
                    properties.insert(name, value.into_text());
                }
                Ok(properties)
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// A property's value as people write it: `5` and `true` as well as `"5"` and `"true"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Truth(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

impl Scalar {
    fn into_text(self) -> String {
        match self {
            Self::Truth(truth) => truth.to_string(),
            Self::Integer(integer) => integer.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl JsonSchema for Properties {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Properties".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "integer", "boolean", "number"] },
            "x-dotted": true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_property_shows_itself_nowhere() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.password",
            "sasl.oauthbearer.client.secret",
            "SASL.PASSWORD",
        ] {
            let properties: Properties = [(name.to_owned(), "hunter2".to_owned())]
                .into_iter()
                .collect();
            assert!(!format!("{properties:?}").contains("hunter2"), "{name}");
            let json = serde_json::to_string(&properties).expect("serialises");
            assert!(!json.contains("hunter2") && json.contains("***"), "{name}");
        }
    }

    #[test]
    fn other_properties_are_shown_and_scalars_become_text() {
        let properties: Properties = serde_json::from_str(
            r#"{"linger.ms": 5, "enable.metrics.push": false, "client.rack": "a"}"#,
        )
        .expect("reads");
        assert_eq!(properties["linger.ms"], "5");
        assert_eq!(properties["enable.metrics.push"], "false");
        assert_eq!(
            serde_json::to_string(&properties).expect("serialises"),
            r#"{"client.rack":"a","enable.metrics.push":"false","linger.ms":"5"}"#
        );
    }
}
