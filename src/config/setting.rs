//! One setting by variable or flag: which key its name means, and what its text becomes there.
//!
//! `LOCKGATE_ROUTES__0__KEY__FIELD` and `routes[0].key.field` name the same key. A text becomes what its key takes: text as
//! it stands, a number, true or false, a list as `a,b` or TOML `["a", "b"]`, a table as TOML `{ field = "a" }`.

use serde_json::{Map, Value};

use super::Problem;
use super::layers::{Layer, Merged, flatten, parse};
use super::origin::Origin;
use super::path::Path;
use super::{exposed, schema, text};

/// Variables that begin as ours and are no settings: what the command line and the crash tests read.
const OTHER_VARIABLES: [&str; 5] = [
    "LOCKGATE_CA_FILE",
    "LOCKGATE_CONFIG",
    "LOCKGATE_FAILPOINTS",
    "LOCKGATE_TOKEN_FILE",
    "LOCKGATE_URL",
];

pub(super) const PREFIX: &str = "LOCKGATE_";

/// Settings given one by one.
pub(super) struct Setting<'a> {
    /// As the user wrote it: the name of the variable, the key on the command line.
    name: &'a str,
    tokens: Vec<String>,
    text: &'a str,
    origin: Origin,
}

/// The setting of a variable; `None` for one that is none of ours.
pub(super) fn of_variable<'a>(name: &'a str, text: &'a str) -> Option<Setting<'a>> {
    let rest = name.strip_prefix(PREFIX)?;
    if OTHER_VARIABLES.contains(&name) || is_of_kubernetes(rest) {
        return None;
    }
    Some(Setting {
        name,
        tokens: rest.split("__").map(str::to_owned).collect(),
        text,
        origin: Origin::Variable(name.to_owned()),
    })
}

/// Kubernetes gives each pod variables of the services beside it; a service named `lockgate` must not stop Lockgate.
fn is_of_kubernetes(rest: &str) -> bool {
    let rest = format!("_{rest}");
    // Where a `__` parts keys it is one of ours, and if it names none that is to be said.
    !rest.contains("__")
        && (rest.ends_with("_PORT")
            || rest.ends_with("_SERVICE_HOST")
            || rest.contains("_SERVICE_PORT")
            || rest.contains("_PORT_"))
}

/// The setting of a flag: `redis.url`, `routes[0].headers."a.b".field`.
pub(super) fn of_flag<'a>(key: &'a str, text: &'a str) -> Setting<'a> {
    let mut tokens = vec![String::new()];
    let mut quoted = false;
    for c in key.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' | '[' if !quoted => tokens.push(String::new()),
            ']' if !quoted => {}
            c => tokens.last_mut().expect("starts with one").push(c),
        }
    }
    Setting {
        name: key,
        tokens,
        text,
        origin: Origin::Flag,
    }
}

impl Setting<'_> {
    /// Puts it over what is there.
    pub(super) fn apply(&self, merged: &mut Merged) -> Result<(), Problem> {
        let mut tree = merged.tree();
        let (path, forms) = self.locate(&tree)?;
        let (value, mut layer) = self.read(&forms, &path)?;
        if self.origin == Origin::Flag {
            exposed::refuse(&path, &value)?;
        }
        path.put(&mut tree, Some(value));
        flatten(&mut tree, schema::root());
        layer.label = self.origin.to_string();
        layer.tree = self.branch(tree);
        layer.origins.insert(path.to_string(), self.origin.clone());
        merged.add(layer);
        Ok(())
    }

    /// The top-level key with all that it holds: figment merges tables, and an array is replaced by its changed self.
    fn branch(&self, tree: Value) -> Map<String, Value> {
        let name = self.tokens[0].to_lowercase();
        match tree {
            Value::Object(table) => table.into_iter().filter(|(key, _)| *key == name).collect(),
            _ => Map::new(),
        }
    }

    fn is_variable(&self) -> bool {
        matches!(self.origin, Origin::Variable(_))
    }

    /// Where the key stands, and the forms that a value may have there.
    fn locate(&self, tree: &Value) -> Result<(Path, Vec<&'static Value>), Problem> {
        let mut path = Path::default();
        let mut forms = schema::forms(schema::root());
        let mut at = Some(tree);
        for (depth, token) in self.tokens.iter().enumerate() {
            let name = if self.is_variable() {
                token.to_lowercase()
            } else {
                token.clone()
            };
            let inner: Vec<_> = forms
                .iter()
                .filter_map(|form| schema::properties(form)?.get(&name))
                .flat_map(schema::forms)
                .collect();
            if !inner.is_empty() {
                (path, forms) = (path.name(&name), inner);
                at = at.and_then(|at| at.get(&name));
            } else if let Some(form) = forms.iter().find(|form| schema::free_names(form).is_some())
            {
                let dotted = form["x-dotted"] == true;
                let rest = if dotted {
                    self.tokens[depth..].join(".")
                } else {
                    token.clone()
                };
                let name = self.free_name(&rest, dotted, at);
                let inner = schema::free_names(form)
                    .map(schema::forms)
                    .unwrap_or_default();
                (path, forms) = (path.name(&name), inner);
                at = at.and_then(|at| at.get(&name));
                if dotted {
                    break;
                }
            } else if let Some(items) = forms.iter().find_map(|form| form.get("items")) {
                let index = self.index(token, at)?;
                (path, forms) = (path.index(index), schema::forms(items));
                at = at.and_then(|at| at.get(index));
            } else {
                return Err(self.unknown());
            }
        }
        Ok((path, forms))
    }

    /// Variables cannot hold `-` or `.`: a name that is there already and differs in those alone is meant, else `_` stands for
    /// the `.` of a property and for the `-` of a header.
    fn free_name(&self, token: &str, dotted: bool, at: Option<&Value>) -> String {
        if !self.is_variable() {
            return token.to_owned();
        }
        let plain = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
        let there = at
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::keys);
        there
            .filter(|name| plain(name) == plain(token))
            .max()
            .cloned()
            .unwrap_or_else(|| {
                token
                    .to_lowercase()
                    .replace('_', if dotted { "." } else { "-" })
            })
    }

    fn index(&self, token: &str, at: Option<&Value>) -> Result<usize, Problem> {
        let there = at.and_then(Value::as_array).map_or(0, Vec::len);
        let index = token.parse::<usize>().map_err(|_| {
            Problem::new(
                self.name,
                format!(
                    "names an item of a list by `{}`; write its number, from 0",
                    text::short(token)
                ),
            )
        })?;
        if index > there {
            let message = format!("sets item {index} of a list of {there}; set item {there} first");
            return Err(Problem::new(self.name, message));
        }
        Ok(index)
    }

    fn unknown(&self) -> Problem {
        let entries = schema::entries();
        let known = entries.iter().map(|entry| {
            if self.is_variable() {
                &entry.variable
            } else {
                &entry.key
            }
        });
        let message = match text::nearest(self.name, known.map(String::as_str)) {
            Some(meant) => format!("names no setting; did you mean {meant}?"),
            None => "names no setting; take it out, or see `lockgate config reference` for those there are".to_owned(),
        };
        Problem::new(self.name, message)
    }

    /// The text as the value that its key takes. A wrong text stays a text, which the shape's check then refuses.
    fn read(&self, forms: &[&Value], path: &Path) -> Result<(Value, Layer), Problem> {
        if self.text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(Problem::new(
                path.to_string(),
                format!("is set by {} to what is no UTF-8 text", self.origin),
            ));
        }
        let takes = |kind: &str| forms.iter().any(|form| schema::takes(form, kind));
        let text = self.text.trim();
        if (takes("object") && text.starts_with('{')) || (takes("array") && text.starts_with('[')) {
            return self.read_toml(text, path);
        }
        let value = match text {
            "true" | "false" if takes("boolean") && !takes("string") => Value::Bool(text == "true"),
            _ if takes("integer") && !takes("string") => text
                .parse::<i64>()
                .map(Value::from)
                .or_else(|_| text.parse::<u64>().map(Value::from))
                .unwrap_or_else(|_| Value::from(self.text)),
            _ if takes("array")
                && forms
                    .iter()
                    .any(|form| schema::takes(&form["items"], "string")) =>
            {
                text.split(',')
                    .map(|item| Value::from(item.trim()))
                    .collect()
            }
            _ => Value::from(self.text),
        };
        Ok((value, Layer::default()))
    }

    fn read_toml(&self, text: &str, path: &Path) -> Result<(Value, Layer), Problem> {
        let wrong = |faults: Vec<(usize, String)>| {
            let first = faults
                .into_iter()
                .next()
                .map(|(_, message)| message)
                .unwrap_or_default();
            Problem::new(
                path.to_string(),
                format!("is set by {} to what is no TOML: {first}", self.origin),
            )
        };
        let document = format!("value = {text}");
        let mut read = parse(&document, |_| self.origin.clone()).map_err(wrong)?;
        let value = match read.tree.remove("value") {
            Some(value) if read.tree.is_empty() => value,
            _ => return Err(wrong(vec![(1, "more than one value".to_owned())])),
        };
        let below = |key: &str| Some(format!("{path}{}", key.strip_prefix("value")?));
        let origins = read
            .origins
            .iter()
            .filter_map(|(key, origin)| Some((below(key)?, origin.clone())));
        Ok((
            value,
            Layer {
                origins: origins.collect(),
                ..Layer::default()
            },
        ))
    }
}
