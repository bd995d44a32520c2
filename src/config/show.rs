//! The effective configuration for people and scripts: `lockgate config show`. Secrets are `***`: their types see to it.
//!
//! What nobody set and has no default is left out. The TOML can be loaded again as long as it holds no secret.

use serde_json::{Map, Value, json};

use super::Loaded;
use super::path::Path;
use super::schema;

/// As TOML; with `origin` each key is followed by where its value came from.
#[must_use]
pub fn show_toml(loaded: &Loaded, origin: bool) -> String {
    let mut printer = Printer {
        loaded,
        origin,
        text: String::new(),
    };
    printer.table(&effective(loaded), schema::root(), &Path::default());
    printer.text.trim_start().to_owned()
}

/// As JSON; with `origin` as `{"config": .., "origins": {"redis.url": "lockgate.toml:3", ..}}`.
#[must_use]
pub fn show_json(loaded: &Loaded, origin: bool) -> String {
    let config = Value::Object(effective(loaded));
    let shown = if origin {
        let mut origins = Map::new();
        each_leaf(&config, &Path::default(), &mut |path| {
            let key = path.to_string();
            let origin = loaded.origin(&key).to_string();
            origins.insert(key, origin.into());
        });
        json!({ "config": config, "origins": origins })
    } else {
        config
    };
    format!("{shown:#}")
}

fn effective(loaded: &Loaded) -> Map<String, Value> {
    let mut value = serde_json::to_value(&loaded.config).expect("plain data with names for keys");
    drop_absent(&mut value);
    match value {
        Value::Object(table) => table,
        _ => Map::new(),
    }
}

fn drop_absent(value: &mut Value) {
    match value {
        Value::Object(table) => {
            table.retain(|_, inner| !inner.is_null());
            table.values_mut().for_each(drop_absent);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_absent),
        _ => {}
    }
}

/// Every value that is no table; lists count as one.
fn each_leaf(value: &Value, path: &Path, visit: &mut impl FnMut(&Path)) {
    match value {
        Value::Object(table) => {
            for (name, inner) in table {
                each_leaf(inner, &path.name(name), visit);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) && path.0.len() == 1 => {
            for (index, inner) in items.iter().enumerate() {
                each_leaf(inner, &path.index(index), visit);
            }
        }
        _ => visit(path),
    }
}

struct Printer<'a> {
    loaded: &'a Loaded,
    origin: bool,
    text: String,
}

impl Printer<'_> {
    /// Plain keys first, as TOML needs; then sections, tables of free names and routes under heads of their own.
    fn table(&mut self, table: &Map<String, Value>, schema: &Value, path: &Path) {
        let of = |name: &str| &schema["properties"][name];
        let headed = |name: &str, value: &Value| match value {
            Value::Object(_) => path.0.is_empty() || schema::free_names(of(name)).is_some(),
            Value::Array(items) => path.0.is_empty() && items.iter().any(Value::is_object),
            _ => false,
        };
        for (name, value) in table.iter().filter(|(name, value)| !headed(name, value)) {
            self.line(name, value, &path.name(name));
        }
        for (name, value) in table.iter().filter(|(name, value)| headed(name, value)) {
            let inner = path.name(name);
            match value {
                Value::Object(table) if !table.is_empty() => {
                    self.head("[", &inner, "]");
                    self.table(table, of(name), &inner);
                }
                Value::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.head("[[", &inner, "]]");
                        if let Value::Object(table) = item {
                            self.table(table, &of(name)["items"], &inner.index(index));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn head(&mut self, open: &str, path: &Path, close: &str) {
        let names = path.0.iter().filter_map(|step| match step {
            super::path::Step::Name(name) => Some(quoted(name)),
            super::path::Step::Index(_) => None,
        });
        let name = names.collect::<Vec<_>>().join(".");
        self.text.push_str(&format!("\n{open}{name}{close}\n"));
    }

    fn line(&mut self, name: &str, value: &Value, path: &Path) {
        self.text
            .push_str(&format!("{} = {}", quoted(name), inline(value)));
        if self.origin {
            self.text
                .push_str(&format!("  # {}", self.origin_of(value, path)));
        }
        self.text.push('\n');
    }

    /// A table that stands in one line may come from several places.
    fn origin_of(&self, value: &Value, path: &Path) -> String {
        let mut from: Vec<String> = Vec::new();
        each_leaf(value, path, &mut |leaf| {
            let origin = self.loaded.origin(&leaf.to_string()).to_string();
            if !from.contains(&origin) {
                from.push(origin);
            }
        });
        from.join(", ")
    }
}

fn quoted(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        toml::Value::from(name).to_string()
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => toml::Value::from(text.as_str()).to_string(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(table) if table.is_empty() => "{}".to_owned(),
        Value::Object(table) => {
            let pairs: Vec<_> = table
                .iter()
                .map(|(name, value)| format!("{} = {}", quoted(name), inline(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}
