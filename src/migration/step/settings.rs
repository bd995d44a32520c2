//! The settings as the driver last saw them: a change of them is journaled, and voids the proofs of the way back.

use super::state::{Settings, Verb};
use super::{Machine, Outcome};

impl Machine {
    /// Journals what changed in the settings since they were last seen.
    pub(super) fn configure(&mut self, now_ms: i64) {
        let settings = self.settings.clone();
        if self.state.settings == settings {
            return;
        }
        let changed: Vec<String> = settings
            .0
            .iter()
            .filter_map(|(key, value)| match self.state.settings.0.get(key) {
                Some(before) if before == value => None,
                Some(before) => Some(format!("{key}: {before} to {value}")),
                None => Some(format!("{key}: {value}")),
            })
            .collect();
        let note = if self.state.settings.0.is_empty() {
            "the first settings".to_owned()
        } else {
            changed.join("; ")
        };
        self.state.settings = settings;
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

/// The settings as flat names and texts.
pub(super) fn settings(config: &crate::config::Migration) -> Settings {
    fn descend(
        name: &str,
        value: &serde_json::Value,
        into: &mut std::collections::BTreeMap<String, String>,
    ) {
        match value {
            serde_json::Value::Object(inner) => {
                for (key, value) in inner {
                    let dot = if name.is_empty() { "" } else { "." };
                    descend(&format!("{name}{dot}{key}"), value, into);
                }
            }
            serde_json::Value::String(text) => {
                into.insert(name.to_owned(), text.clone());
            }
            other => {
                into.insert(name.to_owned(), other.to_string());
            }
        }
    }
    let mut flat = std::collections::BTreeMap::new();
    let value = serde_json::to_value(config).expect("a table of numbers and texts serialises");
    descend("", &value, &mut flat);
    Settings(std::sync::Arc::new(flat))
}
