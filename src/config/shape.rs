//! Whether a tree of values has the shape that the schema asks for: every fault at once, where serde stops at the first.
//!
//! Each fault brings its remedy, what to put there so that the rest can be read and judged too. No message repeats a text
//! that could be a secret: only words, durations, addresses and starting points are quoted.

use serde_json::{Map, Value};

use super::path::Path;
use super::schema::{description, forms, free_names, is_required, properties, takes, words};
use super::stand_in::stand_in;
use super::text;

/// Something of the wrong shape.
pub(super) struct Fault {
    pub(super) path: Path,
    pub(super) message: String,
    /// What to put there to go on; `None`: take it away.
    pub(super) remedy: Option<Value>,
}

/// Every fault of `value`.
pub(super) fn check(value: &Value, schema: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    any_form(value, schema, &Path::default(), &mut faults);
    faults
}

fn any_form(value: &Value, schema: &Value, path: &Path, faults: &mut Vec<Fault>) {
    let forms = forms(schema);
    let fitting: Vec<&Value> = forms
        .iter()
        .copied()
        .filter(|form| takes(form, kind(value)))
        .collect();
    let mut wrong = |message: String| {
        let remedy = Some(stand_in(schema, path));
        faults.push(Fault {
            path: path.clone(),
            message,
            remedy,
        });
    };
    match (value, fitting.as_slice()) {
        (_, []) => wrong(format!("is {}; {}", named(kind(value)), expected(&forms))),
        (Value::Object(table), fitting) => {
            let owner = closest(table, fitting);
            table_of(table, owner, fitting, path, faults);
        }
        (Value::Array(items), [form, ..]) => array(items, form, schema, path, faults),
        (Value::String(text), [form, ..]) => {
            if let Err(message) = string(text, form) {
                wrong(message);
            }
        }
        (Value::Number(number), [form, ..]) => {
            if let Err(message) = in_range(number, form) {
                wrong(message);
            }
        }
        (Value::Null | Value::Bool(_), _) => {}
    }
}

/// The form of an untagged enum that a table was most likely meant to be: the one that knows most of its keys.
fn closest<'a>(table: &Map<String, Value>, fitting: &[&'a Value]) -> &'a Value {
    let known = |form: &Value| {
        properties(form).map_or(0, |keys| {
            table.keys().filter(|key| keys.contains_key(*key)).count()
        })
    };
    // `max_by_key` would take the last of equals.
    let mut best = fitting[0];
    for form in fitting {
        if known(form) > known(best) {
            best = form;
        }
    }
    best
}

fn table_of(
    table: &Map<String, Value>,
    form: &Value,
    siblings: &[&Value],
    path: &Path,
    faults: &mut Vec<Fault>,
) {
    if let Some(inner) = free_names(form) {
        for (name, value) in table {
            any_form(value, inner, &path.name(name), faults);
        }
        return;
    }
    let Some(keys) = properties(form) else {
        return;
    };
    let undecided = siblings.len() > 1 && !table.keys().any(|key| keys.contains_key(key));
    for (name, value) in table {
        match keys.get(name) {
            Some(inner) => any_form(value, inner, &path.name(name), faults),
            None => faults.push(Fault {
                path: path.name(name),
                message: unknown(name, table, form, siblings),
                remedy: None,
            }),
        }
    }
    if undecided {
        faults.push(Fault {
            path: path.clone(),
            message: format!("is incomplete; {}", expected(siblings)),
            remedy: Some(stand_in(form, path)),
        });
        return;
    }
    for (name, inner) in keys {
        if is_required(form, name) && !table.contains_key(name) {
            let path = path.name(name);
            let remedy = Some(stand_in(inner, &path));
            faults.push(Fault {
                message: format!("is missing; set it: {}", description(inner)),
                path,
                remedy,
            });
        }
    }
}

fn unknown(name: &str, table: &Map<String, Value>, form: &Value, siblings: &[&Value]) -> String {
    let own = properties(form)
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str);
    let of_another = siblings
        .iter()
        .any(|sibling| properties(sibling).is_some_and(|p| p.contains_key(name)));
    if of_another {
        let held: Vec<_> = own
            .filter(|key| table.contains_key(*key))
            .map(|key| format!("`{key}`"))
            .collect();
        return format!(
            "cannot stand beside {}; keep one of them",
            held.join(" and ")
        );
    }
    let mut known: Vec<&str> = siblings
        .iter()
        .flat_map(|sibling| properties(sibling).into_iter().flat_map(Map::keys))
        .map(String::as_str)
        .collect();
    known.dedup();
    match text::nearest(name, known.iter().copied()) {
        Some(meant) => format!("is no key here; did you mean `{meant}`?"),
        None => format!(
            "is no key here; take it out, or use one of: {}",
            known.join(", ")
        ),
    }
}

fn array(items: &[Value], form: &Value, schema: &Value, path: &Path, faults: &mut Vec<Fault>) {
    if form["minItems"]
        .as_u64()
        .is_some_and(|least| (items.len() as u64) < least)
    {
        faults.push(Fault {
            path: path.clone(),
            message: "is empty; give at least one".to_owned(),
            remedy: Some(stand_in(schema, path)),
        });
    }
    for (index, item) in items.iter().enumerate() {
        any_form(item, &form["items"], &path.index(index), faults);
    }
}

fn string(text: &str, form: &Value) -> Result<(), String> {
    if let Some(words) = words(form) {
        let mut known = words.iter().map(|(word, _)| *word);
        if known.clone().any(|word| word == text) {
            return Ok(());
        }
        let list = known.clone().collect::<Vec<_>>().join(", ");
        let meant = text::nearest(text, known.by_ref())
            .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        return Err(format!("`{}` is none of {list}{meant}", text::short(text)));
    }
    if text.is_empty() && form["minLength"].as_u64().is_some_and(|least| least > 0) {
        return Err("is empty; give a value or leave the key out".to_owned());
    }
    let format = form["format"].as_str().unwrap_or_default();
    text::of_format(text, format)?;
    if format == "duration" {
        let length = text::duration(text)?;
        let bound = |name: &str| {
            form[name]
                .as_str()
                .and_then(|text| text::duration(text).ok())
        };
        if bound("x-min").is_some_and(|least| length < least) {
            return Err(format!(
                "is {text}; give at least {}",
                form["x-min"].as_str().unwrap_or_default()
            ));
        }
        if bound("x-max").is_some_and(|most| length > most) {
            return Err(format!(
                "is {text}; give at most {}",
                form["x-max"].as_str().unwrap_or_default()
            ));
        }
    }
    Ok(())
}

fn in_range(number: &serde_json::Number, form: &Value) -> Result<(), String> {
    let Some(given) = number.as_i128() else {
        return Ok(());
    };
    let unit = form["x-unit"]
        .as_str()
        .filter(|unit| *unit != "number")
        .unwrap_or_default();
    let least = form["minimum"]
        .as_number()
        .and_then(serde_json::Number::as_i128);
    let most = form["maximum"]
        .as_number()
        .and_then(serde_json::Number::as_i128)
        .or(match form["format"].as_str() {
            Some("uint16") => Some(u16::MAX.into()),
            Some("uint32") => Some(u32::MAX.into()),
            Some("uint" | "uint64") => Some(u64::MAX.into()),
            _ => None,
        });
    match (least, most) {
        (Some(least), _) if given < least => {
            Err(format!("is {given}; give at least {least} {unit}"))
        }
        (_, Some(most)) if given > most => Err(format!("is {given}; give at most {most} {unit}")),
        _ => Ok(()),
    }
    .map_err(|message| message.trim_end().to_owned())
}

/// The JSON type of a value, as a schema names it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn named(kind: &str) -> &'static str {
    match kind {
        "boolean" => "true or false",
        "number" => "a number with a fraction",
        "integer" => "a whole number",
        "string" => "a text",
        "array" => "a list",
        "object" => "a table",
        _ => "nothing",
    }
}

/// What a value may be: `a text is wanted`, `a table with `field` or `capture` is wanted`.
fn expected(forms: &[&Value]) -> String {
    let mut wanted = Vec::new();
    for form in forms {
        if let Some(words) = words(form) {
            wanted.extend(words.iter().map(|(word, _)| format!("\"{word}\"")));
        } else if takes(form, "object") {
            let needed: Vec<_> = properties(form)
                .into_iter()
                .flat_map(Map::keys)
                .filter(|name| is_required(form, name))
                .map(|name| format!("`{name}`"))
                .collect();
            let with = if needed.is_empty() { "" } else { " with " };
            wanted.push(format!("a table{with}{}", needed.join(", ")));
        } else if let Some(kind) = ["string", "integer", "boolean", "array"]
            .into_iter()
            .find(|kind| takes(form, kind))
        {
            wanted.push(named(kind).to_owned());
        }
    }
    format!("{} is wanted", wanted.join(" or "))
}
