//! What stands in for a value of the wrong shape, so that the rest of a configuration can be read and judged too.

use serde_json::{Value, json};

use super::path::Path;
use super::schema::{forms, is_required, properties, takes, words};

/// The least value that has the shape: its default, or something made up that collides with nothing.
pub(super) fn stand_in(schema: &Value, path: &Path) -> Value {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        return default.clone();
    }
    let form = forms(schema)[0];
    if let Some(words) = words(form) {
        return json!(words[0].0);
    }
    if takes(form, "string") {
        return match form["format"].as_str() {
            Some("duration") => form.get("x-min").cloned().unwrap_or(json!("1m")),
            Some("socket-address") => json!("127.0.0.1:0"),
            Some("start") => json!("earliest"),
            _ => json!(
                path.to_string()
                    .to_lowercase()
                    .replace(['.', '[', ']'], "-")
            ),
        };
    }
    if takes(form, "integer") {
        return form["minimum"].as_u64().unwrap_or(1).max(1).into();
    }
    if takes(form, "boolean") {
        return json!(true);
    }
    if takes(form, "array") {
        return json!([stand_in(&form["items"], &path.index(0))]);
    }
    let needed = properties(form)
        .into_iter()
        .flatten()
        .filter(|(name, _)| is_required(form, name))
        .map(|(name, inner)| (name.clone(), stand_in(inner, &path.name(name))));
    Value::Object(needed.collect())
}
