//! The settings as the driver last saw them: a change of them is journaled, and voids the proofs of the way back.
//!
//! To them belongs whatever decides what a gate says: thresholds and times, what a Prometheus is asked, and which applications
//! are waited for by name; and whatever decides where a way back leads and whether it works: both stores, the routes, the file of
//! the flags. They are stored and journaled in clear, so secrets are not among them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::state::{Settings, Verb};
use super::{Machine, Outcome};
use crate::config::{Flags, Kafka, Migration, Prometheus, Redis, Route};
use crate::migration::gate::{GateName, Limits, Measure};
use crate::migration::tripwire::{Trip, setting};

impl Machine {
    /// With settings from outside its own section.
    #[must_use]
    pub fn beside(mut self, more: &Settings) -> Self {
        let mut all = self.settings.0.as_ref().clone();
        all.extend(
            more.0
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        self.settings = Settings(Arc::new(all));
        self
    }

    /// Journals what changed in the settings since they were last seen.
    pub(super) fn configure(&mut self, now_ms: i64) {
        let settings = self.settings.clone();
        if self.state.settings == settings {
            return;
        }
        let note = if self.state.settings.0.is_empty() {
            "the first settings".to_owned()
        } else {
            changed(&self.state.settings, &settings).join("; ")
        };
        let before = std::mem::replace(&mut self.state.settings, settings.clone());
        rearm(&mut self.state.trips, &before, &settings);
        let held = &mut self.state.holding;
        held.retain(|gate, _| !measures_anew(*gate, &before, &settings));
        // A latency was counted against the threshold that was configured then.
        let limits = Limits::of(&self.config);
        let pushed = &mut self.state.pushed;
        pushed.retain(|measure, _| limits.on(*measure).is_none());
        self.state.settings_number += 1;
        let (own, step) = (self.own(), self.state.step);
        self.note(
            &own,
            Verb::Configure,
            step,
            "",
            Outcome::Done,
            &note,
            now_ms,
        );
    }
}

/// A tripwire that is set otherwise now begins anew: that it fired says nothing of the threshold or the action that it has now.
fn rearm(trips: &mut BTreeMap<Measure, Trip>, before: &Settings, now: &Settings) {
    let differs = |key: &str| {
        let key = format!("tripwires.{key}");
        before.0.get(&key) != now.0.get(&key)
    };
    let all = ["evaluations", "hysteresis", "rearm_evaluations"];
    if all.into_iter().any(&differs) {
        trips.clear();
    }
    trips.retain(|measure, _| {
        let own = setting(*measure);
        !differs(&format!("{own}.beyond")) && !differs(&format!("{own}.action"))
    });
}

/// Whether a gate looks at something else now than what it has seen: that held says nothing of this. Routes and stores are
/// named by each instance in its own way, and a new version may write them otherwise: they begin no window anew.
fn measures_anew(gate: GateName, before: &Settings, now: &Settings) -> bool {
    let asked = gate
        .measure()
        .map(|measure| format!("prometheus.queries.{measure}."));
    let concerns = |key: &str| match key {
        "gates.incident" => gate == GateName::Incidents,
        "groups" => gate == GateName::GroupLag,
        _ => asked.as_ref().is_some_and(|asked| {
            let another = ["prometheus.url", "prometheus.freshness"].contains(&key);
            let is_asked = || now.0.keys().any(|key| key.starts_with(asked));
            key.starts_with(asked) || another && is_asked()
        }),
    };
    let keys = before.0.keys().chain(now.0.keys());
    keys.filter(|key| before.0.get(*key) != now.0.get(*key))
        .any(|key| concerns(key))
}

fn changed(before: &Settings, now: &Settings) -> Vec<String> {
    let new = now
        .0
        .iter()
        .filter_map(|(key, value)| match before.0.get(key) {
            Some(before) if before == value => None,
            Some(before) => Some(format!("{key}: {before} to {value}")),
            None => Some(format!("{key}: {value}")),
        });
    let gone = before.0.iter().filter(|(key, _)| !now.0.contains_key(*key));
    let gone = gone.map(|(key, value)| format!("{key}: {value} taken out"));
    new.chain(gone).collect()
}

/// The settings of the migration's own section.
pub(super) fn settings(config: &Migration) -> Settings {
    flat(&plain(config))
}

/// The sections beside the migration's own that belong to its settings.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'a> {
    pub redis: &'a Redis,
    pub kafka: &'a Kafka,
    pub routes: &'a [Route],
    pub prometheus: &'a Prometheus,
    pub flags: &'a Flags,
}

/// The settings of other sections.
#[must_use]
pub fn beside(sections: &Sections<'_>) -> Settings {
    let routes = sections.routes.iter();
    let routes = routes.map(|route| (route.name.clone(), digest(route)));
    let mut all = json!({
        "redis": plain(sections.redis),
        "kafka": kafka(sections.kafka),
        "routes": routes.collect::<Map<_, _>>(),
        "flags": sections.flags,
    });
    if let Value::Object(asked) = plain(sections.prometheus)
        && sections.prometheus.url.is_some()
    {
        let kept = asked.into_iter();
        let mut kept: Map<_, _> = kept
            .filter(|(key, _)| ["url", "freshness"].contains(&key.as_str()))
            .collect();
        let queries = sections.prometheus.queries.iter();
        let queries = queries.map(|query| (query.measure.as_str().to_owned(), plain(query)));
        kept.insert("queries".to_owned(), queries.collect());
        all["prometheus"] = Value::Object(kept);
    }
    flat(&all)
}

/// Properties that tell instances apart: who steers may change, and the way back stays as it is.
const OF_THE_INSTANCE: [&str; 2] = ["client.id", "client.rack"];

/// A property that stands in a file is known by the file: it is there because it may be a secret.
fn kafka(config: &Kafka) -> Value {
    let mut section = plain(config);
    if let Some(Value::Object(properties)) = section.get_mut("properties") {
        properties.retain(|name, _| {
            !OF_THE_INSTANCE.contains(&name.as_str()) && !config.property_files.contains_key(name)
        });
    }
    section
}

/// A route is long, and a state is stored often: that it changed is enough.
fn digest(route: &Route) -> Value {
    let text = plain(route).to_string();
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes())).into()
}

fn plain(section: &impl serde::Serialize) -> Value {
    serde_json::to_value(section).expect("a table of numbers and texts serialises")
}

/// Flat names and texts; what is not set is left out.
fn flat(value: &Value) -> Settings {
    fn descend(name: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(inner) => {
                for (key, value) in inner {
                    let dot = if name.is_empty() { "" } else { "." };
                    descend(&format!("{name}{dot}{key}"), value, into);
                }
            }
            Value::Null => {}
            Value::String(text) => {
                into.insert(name.to_owned(), text.clone());
            }
            other => {
                into.insert(name.to_owned(), other.to_string());
            }
        }
    }
    let mut all = BTreeMap::new();
    descend("", value, &mut all);
    Settings(Arc::new(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Query, Secret};

    struct Site {
        redis: Redis,
        kafka: Kafka,
        routes: Vec<Route>,
        prometheus: Prometheus,
        flags: Flags,
    }

    /// Whose one route has so many partitions.
    fn site(partitions: u32) -> Site {
        let route = json!({
            "name": "messages",
            "streams": ["msg:a"],
            "topic": "messages",
            "partitions": partitions,
            "value": { "all": true },
        });
        Site {
            redis: Redis::default(),
            kafka: Kafka::default(),
            routes: vec![serde_json::from_value(route).expect("a route")],
            prometheus: Prometheus::default(),
            flags: Flags::default(),
        }
    }

    fn of(site: &Site) -> Settings {
        beside(&Sections {
            redis: &site.redis,
            kafka: &site.kafka,
            routes: &site.routes,
            prometheus: &site.prometheus,
            flags: &site.flags,
        })
    }

    #[test]
    fn what_is_asked_and_who_is_waited_for_are_settings_and_secrets_are_not() {
        let query = |of: &str| -> Query {
            serde_json::from_value(json!({ "measure": "disk", "value": of })).expect("a query")
        };
        let asking = |of: &str, clients: &[&str]| Site {
            prometheus: Prometheus {
                url: Some("http://prometheus:9090".to_owned()),
                token: Some(Secret::new("hidden")),
                queries: vec![query(of)],
                ..Prometheus::default()
            },
            flags: Flags {
                clients: clients.iter().map(|&name| name.to_owned()).collect(),
                file: None,
            },
            ..site(16)
        };
        let before = of(&asking("max(a)", &["billing"]));
        let after = of(&asking("max(b)", &["billing", "search"]));
        assert_eq!(
            changed(&before, &after),
            [
                r#"flags.clients: ["billing"] to ["billing","search"]"#,
                "prometheus.queries.disk.value: max(a) to max(b)",
            ]
        );
        let nothing = of(&site(16));
        let gone = changed(&before, &nothing);
        let says = "prometheus.queries.disk.value: max(a) taken out";
        assert!(gone.iter().any(|line| line == says), "{gone:?}");
        assert!(!format!("{before:?}").contains("hidden"));
        assert_eq!(changed(&before, &before), [""; 0]);
    }

    #[test]
    fn where_a_way_back_leads_is_a_setting_and_no_secret_is() {
        let before = of(&site(16));
        let mut now = site(17);
        now.redis.url = "redis://elsewhere:6379/0".to_owned();
        now.redis.password = Some(Secret::new("hidden"));
        now.kafka.bootstrap_servers = vec!["other:9092".to_owned()];
        now.flags.file = Some("/run/flags.json".into());
        for (name, value) in [
            ("sasl.password", "hidden"),
            ("ssl.certificate.pem", "hidden"),
            ("sasl.username", "lockgate"),
            ("client.rack", "a"),
        ] {
            let properties = &mut now.kafka.properties;
            properties.insert(name.to_owned(), value.to_owned());
        }
        let files = &mut now.kafka.property_files;
        files.insert("ssl.certificate.pem".to_owned(), "/run/cert".into());
        let changes = changed(&before, &of(&now));
        let keys: Vec<&str> = changes
            .iter()
            .filter_map(|line| Some(line.split_once(':')?.0))
            .collect();
        assert_eq!(
            keys,
            [
                "flags.file",
                "kafka.bootstrap_servers",
                "kafka.properties.sasl.password",
                "kafka.properties.sasl.username",
                "kafka.property_files.ssl.certificate.pem",
                "redis.password",
                "redis.url",
                "routes.messages",
            ]
        );
        assert!(!format!("{:?}", of(&now)).contains("hidden"));
        let again = of(&now);
        now.kafka
            .properties
            .insert("sasl.password".to_owned(), "renewed".to_owned());
        assert_eq!(of(&now), again, "a renewed secret is the same setting");
    }
}
