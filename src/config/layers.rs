//! The layers that a configuration is put together from, figment merging them: each file, then each variable, then each
//! flag. Tables are merged key by key and anything else is replaced, but for `routes`: those of several files add up, for
//! a file that took away another's routes unsaid would stop their mirror.

use std::path::Path as FilePath;

use figment::value::{Dict, Map as Profiles, Value as Figure};
use figment::{Figment, Metadata, Profile, Provider};
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::origin::{Origin, Origins};
use super::path::{Path, is_within};
use super::schema;

/// One source's settings as a tree, and where each of them stands.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) label: String,
    pub(super) tree: Map<String, Value>,
    pub(super) origins: Origins,
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.label.clone())
    }

    fn data(&self) -> Result<Profiles<Profile, Dict>, figment::Error> {
        let dict = match Figure::serialize(&self.tree)? {
            Figure::Dict(_, dict) => dict,
            _ => Dict::new(),
        };
        Ok([(Profile::Default, dict)].into())
    }
}

/// What has been merged so far.
#[derive(Default)]
pub(super) struct Merged {
    figment: Figment,
    pub(super) origins: Origins,
}

impl Merged {
    /// The settings so far as one tree.
    pub(super) fn tree(&self) -> Value {
        self.figment
            .extract()
            .unwrap_or_else(|_| Value::Object(Map::new()))
    }

    /// Puts a file's settings over the others, its routes after theirs.
    pub(super) fn add_file(&mut self, mut layer: Layer) {
        if let (Some(Value::Array(new)), Value::Array(old)) =
            (layer.tree.get_mut("routes"), &self.tree()["routes"])
        {
            layer.origins = shifted(layer.origins, old.len());
            new.splice(..0, old.iter().cloned());
        }
        self.put(layer, |key| is_within(key, "routes"));
    }

    /// Puts settings over the others.
    pub(super) fn add(&mut self, layer: Layer) {
        self.put(layer, |_| false);
    }

    fn put(&mut self, layer: Layer, adds_up: impl Fn(&str) -> bool) {
        let mut arrays = Vec::new();
        each_array(
            &Value::Object(layer.tree.clone()),
            &Path::default(),
            &mut arrays,
        );
        arrays.retain(|key| layer.origins.contains_key(key) && !adds_up(key));
        self.origins.retain(|key, _| {
            !arrays
                .iter()
                .any(|array| key != array && is_within(key, array))
        });
        self.figment = std::mem::take(&mut self.figment).merge(&layer);
        self.origins.extend(layer.origins);
    }
}

/// Origins of `routes[i]` as `routes[i + by]`.
fn shifted(origins: Origins, by: usize) -> Origins {
    let shift = |key: String| {
        let moved = key.strip_prefix("routes[").and_then(|rest| {
            let (index, rest) = rest.split_once(']')?;
            Some(format!(
                "routes[{}]{rest}",
                index.parse::<usize>().ok()? + by
            ))
        });
        moved.unwrap_or(key)
    };
    origins
        .into_iter()
        .map(|(key, origin)| (shift(key), origin))
        .collect()
}

fn each_array(value: &Value, path: &Path, found: &mut Vec<String>) {
    match value {
        Value::Array(_) => found.push(path.to_string()),
        Value::Object(table) => {
            for (name, inner) in table {
                each_array(inner, &path.name(name), found);
            }
        }
        _ => {}
    }
}

/// Reads a TOML file.
///
/// # Errors
/// Every place where it is no TOML, without the text there, which may be a secret.
pub(super) fn file(path: &FilePath) -> Result<Layer, Vec<Problem>> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![Problem::new(
            &shown,
            format!("cannot be read ({error}); give a TOML file that this user may read"),
        )]
    })?;
    let mut layer = parse(&text, |line| Origin::File {
        path: path.to_owned(),
        line,
    })
    .map_err(|faults| {
        let problem = |(line, message)| {
            Problem::new(format!("{shown}:{line}"), format!("is no TOML: {message}"))
        };
        faults.into_iter().map(problem).collect::<Vec<_>>()
    })?;
    let mut tree = Value::Object(std::mem::take(&mut layer.tree));
    flatten(&mut tree, schema::root());
    if let Some(folder) = path.parent() {
        rebase(&mut tree, schema::root(), folder);
    }
    if let Value::Object(tree) = tree {
        layer.tree = tree;
    }
    layer.label = shown;
    Ok(layer)
}

/// Reads TOML. `Err`: line and message of each fault.
pub(super) fn parse(
    text: &str,
    origin: impl Fn(usize) -> Origin,
) -> Result<Layer, Vec<(usize, String)>> {
    let line = |at: usize| {
        text.as_bytes()[..at.min(text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1
    };
    let (table, faults) = DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        let located = |fault: &toml::de::Error| {
            (
                line(fault.span().map_or(0, |span| span.start)),
                fault.message().to_owned(),
            )
        };
        return Err(faults.iter().map(located).collect());
    }
    let mut origins = Origins::new();
    let mut note = |path: &Path, at: usize| {
        origins.insert(path.to_string(), origin(line(at)));
    };
    let tree = table_of(table.get_ref(), &Path::default(), &mut note);
    Ok(Layer {
        label: String::new(),
        tree,
        origins,
    })
}

fn table_of(
    table: &DeTable<'_>,
    path: &Path,
    note: &mut impl FnMut(&Path, usize),
) -> Map<String, Value> {
    let mut tree = Map::new();
    for (name, value) in table {
        let path = path.name(name.get_ref());
        note(&path, name.span().start);
        tree.insert(
            name.get_ref().to_string(),
            value_of(value.get_ref(), &path, note),
        );
    }
    tree
}

fn value_of(value: &DeValue<'_>, path: &Path, note: &mut impl FnMut(&Path, usize)) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            i64::from_str_radix(digits, radix)
                .map(Value::from)
                .or_else(|_| u64::from_str_radix(digits, radix).map(Value::from))
                .unwrap_or_else(|_| Value::String(number.to_string()))
        }
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .map_or(Value::Null, Value::from),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => {
            let item = |(index, item): (usize, &toml::Spanned<DeValue<'_>>)| {
                let path = path.index(index);
                note(&path, item.span().start);
                value_of(item.get_ref(), &path, note)
            };
            Value::Array(items.iter().enumerate().map(item).collect())
        }
        DeValue::Table(table) => Value::Object(table_of(table, path, note)),
    }
}

/// `sasl.mechanism = "PLAIN"` without quotes is a table in a table to TOML; where names hold dots it is one name.
pub(super) fn flatten(value: &mut Value, schema: &Value) {
    let Value::Object(table) = value else {
        return;
    };
    if schema["x-dotted"] == true {
        let mut flat = Map::new();
        for (name, inner) in std::mem::take(table) {
            spread(name, inner, &mut flat);
        }
        *table = flat;
        return;
    }
    for (name, inner) in table.iter_mut() {
        if let Some(schema) = schema::properties(schema).and_then(|keys| keys.get(name)) {
            flatten(inner, schema);
        }
    }
}

fn spread(name: String, value: Value, flat: &mut Map<String, Value>) {
    match value {
        Value::Object(table) => {
            for (inner, value) in table {
                spread(format!("{name}.{inner}"), value, flat);
            }
        }
        value => {
            flat.insert(name, value);
        }
    }
}

/// Relative paths in a file are relative to that file.
fn rebase(value: &mut Value, schema: &Value, folder: &FilePath) {
    match value {
        Value::String(text) if schema["format"] == "path" && !text.is_empty() => {
            *text = folder.join(&*text).to_string_lossy().into_owned();
        }
        Value::Object(table) => {
            for (name, inner) in table.iter_mut() {
                let keys = schema::properties(schema).and_then(|keys| keys.get(name));
                if let Some(schema) = keys.or_else(|| schema::free_names(schema)) {
                    rebase(inner, schema, folder);
                }
            }
        }
        _ => {}
    }
}
