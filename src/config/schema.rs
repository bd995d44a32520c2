//! The configuration's shape, generated from its types: keys, types, ranges, defaults and what each means.
//!
//! A field's doc comment is its meaning, `#[schemars(range(..), length(..))]` its range, and these extensions the rest:
//! `x-unit` (of a number), `x-min`, `x-max` (of a duration), `x-secret`, `x-dotted` (a table of free names with dots),
//! `format` (`duration`, `path`, `socket-address`, `start`). A test holds that no key lacks its meaning or its unit.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::Config;

/// The JSON Schema of [`Config`], all in one piece: no references.
#[must_use]
pub fn root() -> &'static Value {
    static ROOT: OnceLock<Value> = OnceLock::new();
    ROOT.get_or_init(|| {
        let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        settings
            .into_generator()
            .into_root_schema_for::<Config>()
            .to_value()
    })
}

pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "duration" })
}

pub(super) fn optional_path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "format": "path", "minLength": 1 })
}

pub(super) fn paths_by_property(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string", "format": "path", "minLength": 1 },
        "x-dotted": true
    })
}

pub(super) fn socket_address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "socket-address" })
}

pub(super) fn start(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "start" })
}

/// The forms that a value may have: those of an untagged enum, else the schema itself.
pub(super) fn forms(schema: &Value) -> Vec<&Value> {
    let choice = match (&schema["anyOf"], &schema["oneOf"]) {
        (Value::Array(any), _) => any,
        (_, Value::Array(one)) if words(schema).is_none() => one,
        _ => return vec![schema],
    };
    choice
        .iter()
        .filter(|form| form["type"] != "null")
        .flat_map(forms)
        .collect()
}

/// The words that an enum of plain words takes, each with its meaning.
pub(super) fn words(schema: &Value) -> Option<Vec<(&str, &str)>> {
    if let Some(word) = schema["const"].as_str() {
        return Some(vec![(word, description(schema))]);
    }
    if let Some(listed) = schema["enum"].as_array() {
        return listed
            .iter()
            .map(|word| Some((word.as_str()?, "")))
            .collect();
    }
    let listed: Vec<_> = schema["oneOf"]
        .as_array()?
        .iter()
        .map(words)
        .collect::<Option<_>>()?;
    Some(listed.concat())
}

/// What a key means.
pub(super) fn description(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// Whether a value of this JSON type (`string`, `object`, ...) is taken.
pub(super) fn takes(schema: &Value, kind: &str) -> bool {
    match &schema["type"] {
        Value::String(only) => only == kind,
        Value::Array(several) => several.iter().any(|one| one == kind),
        _ => kind == "string" && words(schema).is_some(),
    }
}

/// The keys of a table, in the order of the type.
pub(super) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema["properties"].as_object()
}

/// The schema of the values of a table of free names.
pub(super) fn free_names(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|s| s.is_object())
}

pub(super) fn is_required(table: &Value, name: &str) -> bool {
    table["required"]
        .as_array()
        .is_some_and(|names| names.iter().any(|n| n == name))
}

/// A key that can be set, for the reference and for tests.
pub(super) struct Entry {
    /// `routes[].partition.fold`, `kafka.properties.<name>`.
    pub(super) key: String,
    /// `LOCKGATE_ROUTES__<n>__PARTITION__FOLD`.
    pub(super) variable: String,
    pub(super) schema: &'static Value,
    pub(super) required: bool,
}

/// Every key, in the order of the types; tables come before what they hold.
pub(super) fn entries() -> Vec<Entry> {
    let mut found = Vec::new();
    descend(root(), "", "LOCKGATE", &mut found);
    found
}

fn descend(schema: &'static Value, key: &str, variable: &str, found: &mut Vec<Entry>) {
    for form in forms(schema) {
        for (name, inner) in properties(form).into_iter().flatten() {
            let (dot, joint) = if key.is_empty() {
                ("", "_")
            } else {
                (".", "__")
            };
            let entry = Entry {
                key: format!("{key}{dot}{name}"),
                variable: format!("{variable}{joint}{}", name.to_uppercase()),
                schema: inner,
                required: is_required(form, name),
            };
            // Several forms may share a key (`field`): the first one's meaning stands.
            if found.iter().any(|known| known.key == entry.key) {
                continue;
            }
            let (key, variable) = (entry.key.clone(), entry.variable.clone());
            found.push(entry);
            descend(inner, &key, &variable, found);
        }
        if let Some(inner) = free_names(form) {
            descend(
                inner,
                &format!("{key}.<name>"),
                &format!("{variable}__<NAME>"),
                found,
            );
        }
        if let Some(inner) = form.get("items") {
            descend(
                inner,
                &format!("{key}[]"),
                &format!("{variable}__<N>"),
                found,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_meaning() {
        let silent: Vec<_> = entries()
            .into_iter()
            .filter(|entry| description(entry.schema).is_empty())
            .map(|entry| entry.key)
            .collect();
        assert!(
            silent.is_empty(),
            "fields without a doc comment: {silent:?}"
        );
    }

    #[test]
    fn every_number_has_its_unit() {
        let bare: Vec<_> = entries()
            .into_iter()
            .filter(|entry| takes(entry.schema, "integer") && entry.schema.get("x-unit").is_none())
            .map(|entry| entry.key)
            .collect();
        assert!(bare.is_empty(), "numbers without x-unit: {bare:?}");
    }

    #[test]
    fn every_word_of_an_enum_has_its_meaning() {
        for entry in entries() {
            for (word, meaning) in words(entry.schema).into_iter().flatten() {
                assert!(!meaning.is_empty(), "{}: `{word}`", entry.key);
            }
        }
    }

    #[test]
    fn every_table_refuses_unknown_keys() {
        for entry in entries() {
            for form in forms(entry.schema) {
                let open = properties(form).is_some() && form["additionalProperties"] != false;
                assert!(!open, "{}: lacks deny_unknown_fields", entry.key);
            }
        }
        assert_eq!(root()["additionalProperties"], false);
    }
}
