//! Secrets that a flag would show: a command line stands in the process list, where every user of the machine reads it. So a
//! flag sets no key whose value is a secret, not inside a table either.

use serde_json::{Map, Value};

use super::layers::flatten;
use super::path::{Path, Step};
use super::setting::PREFIX;
use super::{Problem, Properties, schema};

/// # Errors
/// The first secret in the value of a flag for `path`, and what to do instead; never its text.
pub(super) fn refuse(path: &Path, value: &Value) -> Result<(), Problem> {
    let mut alone = Value::Object(Map::new());
    path.put(&mut alone, Some(value.clone()));
    flatten(&mut alone, schema::root());
    let Some(secret) = secret_in(&alone, schema::root(), &Path::default()) else {
        return Ok(());
    };
    let key = secret.to_string();
    let file = match key.strip_prefix("kafka.properties.") {
        Some(name) => format!("kafka.property_files.{name}"),
        None => format!("{key}_file"),
    };
    let message = format!(
        "is a secret, and the process list shows a command line to every user of the machine: change the secret, and set {file} or \
         the variable {} instead",
        variable(&secret)
    );
    Err(Problem::new(key, message))
}

/// The first secret that is set.
fn secret_in(value: &Value, schema: &Value, path: &Path) -> Option<Path> {
    schema::forms(schema).into_iter().find_map(|form| {
        if form["x-secret"] == true && !value.is_null() {
            return Some(path.clone());
        }
        match value {
            Value::Object(table) => table.iter().find_map(|(name, inner)| {
                let below = path.name(name);
                if let Some(known) = schema::properties(form).and_then(|keys| keys.get(name)) {
                    return secret_in(inner, known, &below);
                }
                let free = schema::free_names(form)?;
                let tells = form["x-dotted"] == true
                    && free["format"] != "path"
                    && Properties::is_secret(name);
                if tells {
                    Some(below)
                } else {
                    secret_in(inner, free, &below)
                }
            }),
            Value::Array(items) => {
                let schema = form.get("items")?;
                let mut numbered = items.iter().enumerate();
                numbered.find_map(|(index, item)| secret_in(item, schema, &path.index(index)))
            }
            _ => None,
        }
    })
}

/// The variable that sets the same key.
fn variable(path: &Path) -> String {
    let steps = path.0.iter().map(|step| match step {
        Step::Name(name) => name.replace(['.', '-'], "_").to_uppercase(),
        Step::Index(index) => index.to_string(),
    });
    format!("{PREFIX}{}", steps.collect::<Vec<_>>().join("__"))
}
