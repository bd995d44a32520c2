//! Where a value stands in the configuration: `routes[1].partition.fold`.
//!
//! Names that hold dots themselves are written as they are (`kafka.properties.sasl.password`): only tables of free names
//! hold such, and no two keys there read alike.

use std::fmt;

use serde_json::{Map, Value};

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
}

/// The way from the root to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    pub(super) fn name(&self, name: &str) -> Self {
        self.with(Step::Name(name.to_owned()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Puts `value` there, making tables and lengthening arrays on the way as needed. `None`: takes away what is there.
    pub(super) fn put(&self, tree: &mut Value, value: Option<Value>) {
        let Some((last, way)) = self.0.split_last() else {
            return;
        };
        let mut at = tree;
        for step in way {
            at = enter(at, step);
        }
        match value {
            Some(value) => *enter(at, last) = value,
            None => remove(at, last),
        }
    }
}

fn enter<'a>(at: &'a mut Value, step: &Step) -> &'a mut Value {
    match step {
        Step::Name(name) => {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at.as_object_mut()
                .expect("made an object just now")
                .entry(name.clone())
                .or_insert(Value::Null)
        }
        Step::Index(index) => {
            if !at.is_array() {
                *at = Value::Array(Vec::new());
            }
            let items = at.as_array_mut().expect("made an array just now");
            if items.len() <= *index {
                items.resize(index + 1, Value::Null);
            }
            &mut items[*index]
        }
    }
}

fn remove(at: &mut Value, step: &Step) {
    if let (Value::Object(table), Step::Name(name)) = (at, step) {
        table.shift_remove(name);
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Name(name) if at == 0 => f.write_str(name)?,
                Step::Name(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Whether `key` is `of` or stands below it.
pub(super) fn is_within(key: &str, of: &str) -> bool {
    key.strip_prefix(of)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The key above: `routes[1].partition` of `routes[1].partition.fold`, `routes[1]` of that.
pub(super) fn parent(key: &str) -> Option<&str> {
    key.rfind(['.', '[']).map(|at| &key[..at])
}
