//! The settings as the driver last saw them: a change of them is journaled, and voids the proofs of the way back.
//!
//! To them belongs whatever decides what a gate says: thresholds and times, what a Prometheus is asked, and which applications
//! are waited for by name. Secrets are not among them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::state::{Settings, Verb};
use super::{Machine, Outcome};
use crate::config::{Flags, Migration, Prometheus};
use crate::migration::gate::Limits;

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
        self.state.settings = settings;
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

/// Those of other sections: where evidence is asked for, by which queries, and who follows the flags.
#[must_use]
pub fn beside(prometheus: &Prometheus, flags: &Flags) -> Settings {
    let mut all = json!({ "flags": { "clients": flags.clients } });
    if let Value::Object(asked) = plain(prometheus)
        && prometheus.url.is_some()
    {
        let kept = asked.into_iter();
        let mut kept: Map<_, _> = kept
            .filter(|(key, _)| ["url", "freshness"].contains(&key.as_str()))
            .collect();
        let queries = prometheus.queries.iter();
        let queries = queries.map(|query| (query.measure.as_str().to_owned(), plain(query)));
        kept.insert("queries".to_owned(), queries.collect());
        all["prometheus"] = Value::Object(kept);
    }
    flat(&all)
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

    #[test]
    fn what_is_asked_and_who_is_waited_for_are_settings_and_secrets_are_not() {
        let query = |of: &str| -> Query {
            serde_json::from_value(json!({ "measure": "disk", "value": of })).expect("a query")
        };
        let asking = |of: &str| Prometheus {
            url: Some("http://prometheus:9090".to_owned()),
            token: Some(Secret::new("hidden")),
            queries: vec![query(of)],
            ..Prometheus::default()
        };
        let flags = |clients: &[&str]| Flags {
            clients: clients.iter().map(|&name| name.to_owned()).collect(),
            file: None,
        };
        let before = beside(&asking("max(a)"), &flags(&["billing"]));
        let after = beside(&asking("max(b)"), &flags(&["billing", "search"]));
        assert_eq!(
            changed(&before, &after),
            [
                r#"flags.clients: ["billing"] to ["billing","search"]"#,
                "prometheus.queries.disk.value: max(a) to max(b)",
            ]
        );
        let nothing = beside(&Prometheus::default(), &flags(&["billing"]));
        let gone = changed(&before, &nothing);
        let says = "prometheus.queries.disk.value: max(a) taken out";
        assert!(gone.iter().any(|line| line == says), "{gone:?}");
        assert!(!format!("{before:?}").contains("hidden"));
        assert_eq!(changed(&before, &before), [""; 0]);
    }
}
