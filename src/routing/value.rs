//! The record's value: a field byte for byte, a JSON object built from fields, or all fields.
//!
//! The object has the members and the order of the configuration, without blanks, as `JSON.stringify` writes it. What is
//! quoted here is valid JSON whatever the bytes were; what is spliced in raw is looked at first. So a built value always
//! parses, or the entry is a dead letter that names the field.

use std::collections::HashSet;

use crate::config::{self, Form, Problem};
use crate::entry::Entry;

use super::field_pairs;
use super::json;
use super::unroutable::Unroutable;

/// How a route makes its values.
#[derive(Clone, Debug)]
pub(super) enum ValueRule {
    Field(String),
    Object(Vec<Member>),
    AllFields,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    field: String,
    form: Form,
    optional: bool,
    /// `,"name":`; the first comma gives way to the brace
    label: Vec<u8>,
}

impl ValueRule {
    /// `at` is the route's place in the configuration: `routes[0]`.
    pub(super) fn compile(value: &config::Value, at: &str, problems: &mut Vec<Problem>) -> Self {
        match value {
            config::Value::Field(value) => Self::Field(value.field.clone()),
            config::Value::Json(value) => Self::Object(compile_members(&value.json, at, problems)),
            config::Value::All(value) => {
                if !value.all {
                    problems.push(Problem::new(
                        format!("{at}.value.all"),
                        "`all = false` gives no value; write `all = true`, or name a field or the members of a JSON object",
                    ));
                }
                Self::AllFields
            }
        }
    }

    /// Appends the value to `out`.
    pub(super) fn write(&self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Unroutable> {
        match self {
            Self::Field(field) => {
                let value = entry.field(field.as_bytes()).ok_or_else(|| absent(field))?;
                out.extend_from_slice(value);
                Ok(())
            }
            Self::Object(members) => write_object(members, entry, out),
            Self::AllFields => {
                field_pairs::encode(&entry.fields, out);
                Ok(())
            }
        }
    }
}

fn compile_members(
    members: &[config::Member],
    at: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Member> {
    if members.is_empty() {
        problems.push(Problem::new(
            format!("{at}.value.json"),
            "a JSON object without members says nothing of the entry; name the fields it is built from",
        ));
    }
    let mut names = HashSet::new();
    let mut compiled = Vec::with_capacity(members.len());
    for (i, member) in members.iter().enumerate() {
        let (field, form, optional, name) = match member {
            config::Member::Name(field) => (field, Form::String, false, field),
            config::Member::Rule(rule) => {
                let name = rule.name.as_ref().unwrap_or(&rule.field);
                (&rule.field, rule.form, rule.optional, name)
            }
        };
        if !names.insert(name) {
            problems.push(Problem::new(
                format!("{at}.value.json[{i}]"),
                format!("the object has a member `{name}` already; give this one another `name`"),
            ));
        }
        let mut label = vec![b','];
        json::write_string(name, &mut label);
        label.push(b':');
        compiled.push(Member {
            field: field.clone(),
            form,
            optional,
            label,
        });
    }
    compiled
}

fn write_object(members: &[Member], entry: &Entry, out: &mut Vec<u8>) -> Result<(), Unroutable> {
    let start = out.len();
    for member in members {
        let Some(value) = entry.field(member.field.as_bytes()) else {
            if member.optional {
                continue;
            }
            return Err(absent(&member.field));
        };
        out.extend_from_slice(&member.label);
        match member.form {
            Form::NullIfEmpty if value.is_empty() => out.extend_from_slice(b"null"),
            Form::String | Form::NullIfEmpty => {
                json::write_bytes(value, out).map_err(|_| not_text(&member.field))?;
            }
            Form::Json => {
                json::validate(value)
                    .map_err(|error| Unroutable::not_json(&member.field, &error))?;
                out.extend_from_slice(value);
            }
        }
    }
    match out.get_mut(start) {
        Some(first_comma) => *first_comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
    Ok(())
}

fn absent(field: &str) -> Unroutable {
    Unroutable::missing(format!("field `{field}` is absent"))
}

fn not_text(field: &str) -> Unroutable {
    Unroutable::encode(format!(
        "field `{field}` is not UTF-8, so it cannot be a JSON string"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::{EntryId, Field};
    use crate::routing::Reason;

    fn rule(toml: &str) -> ValueRule {
        let value: config::Value = toml::from_str(toml).expect(toml);
        let mut problems = Vec::new();
        let rule = ValueRule::compile(&value, "routes[0]", &mut problems);
        assert_eq!(problems, []);
        rule
    }

    fn write(rule: &ValueRule, fields: &[(&str, &[u8])]) -> Result<String, Unroutable> {
        let fields = fields.iter().map(|(name, value)| Field {
            name: name.as_bytes().into(),
            value: value.to_vec(),
        });
        let entry = Entry {
            id: EntryId::new(1, 1),
            fields: fields.collect(),
        };
        let mut out = Vec::new();
        rule.write(&entry, &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn members_follow_the_configuration_not_the_entry() {
        let rule = rule(
            r#"json = ["b", { field = "a", name = "A\"", optional = true }, { field = "n", as = "null-if-empty" },
                { field = "j", as = "json" }]"#,
        );
        assert_eq!(
            write(
                &rule,
                &[
                    ("j", b"[1, 2]"),
                    ("a", b"x"),
                    ("n", b""),
                    ("b", b""),
                    ("b", b"2nd")
                ]
            ),
            Ok(r#"{"b":"","A\"":"x","n":null,"j":[1, 2]}"#.to_owned())
        );
        assert_eq!(
            write(&rule, &[("j", b"0"), ("n", b"null"), ("b", b"7")]),
            Ok(r#"{"b":"7","n":"null","j":0}"#.to_owned())
        );
    }

    #[test]
    fn an_object_of_absent_optional_members_is_empty() {
        let rule =
            rule(r#"json = [{ field = "a", optional = true }, { field = "b", optional = true }]"#);
        assert_eq!(write(&rule, &[]), Ok("{}".to_owned()));
        assert_eq!(write(&rule, &[("b", b"1")]), Ok(r#"{"b":"1"}"#.to_owned()));
    }

    #[test]
    fn a_dead_letter_names_the_field_and_quotes_nothing() {
        let json = rule(r#"json = ["text", { field = "meta", as = "json" }]"#);
        for (fields, reason, field) in [
            (&[("text", &b"x"[..])][..], Reason::MissingField, "`meta`"),
            (&[("meta", b"{}")], Reason::MissingField, "`text`"),
            (
                &[("text", b"secret\xff"), ("meta", b"{}")],
                Reason::Encode,
                "`text`",
            ),
            (
                &[("text", b"x"), ("meta", b"{\"secret\"")],
                Reason::Encode,
                "`meta`",
            ),
            (
                &[("text", b"x"), ("meta", b"{\"secret\":1}}")],
                Reason::Encode,
                "`meta`",
            ),
            (
                &[("text", b"x"), ("meta", b"\"secret\xff\"")],
                Reason::Encode,
                "`meta`",
            ),
            (&[("text", b"x"), ("meta", b"")], Reason::Encode, "`meta`"),
        ] {
            let refused = write(&json, fields).expect_err(field);
            assert_eq!(refused.reason, reason);
            assert!(refused.detail.contains(field), "{refused}");
            assert!(!refused.detail.contains("secret"), "{refused}");
        }
        let field = write(&rule(r#"field = "data""#), &[("other", b"x")]);
        assert_eq!(
            field.map_err(|refused| refused.reason),
            Err(Reason::MissingField)
        );
    }

    #[test]
    fn what_makes_no_value_is_a_problem() {
        for (toml, key) in [
            ("all = false", "routes[0].value.all"),
            ("json = []", "routes[0].value.json"),
            (
                r#"json = ["a", { field = "b", name = "a" }]"#,
                "routes[0].value.json[1]",
            ),
        ] {
            let value: config::Value = toml::from_str(toml).expect(toml);
            let mut problems = Vec::new();
            ValueRule::compile(&value, "routes[0]", &mut problems);
            let keys: Vec<_> = problems
                .iter()
                .map(|problem| problem.key.as_str())
                .collect();
            assert_eq!(keys, [key]);
        }
    }

    proptest! {
        #[test]
        fn a_built_object_parses_and_gives_the_texts_back(a in any::<String>(), b in any::<String>(), name in any::<String>()) {
            let members = [
                config::Member::Name("a".to_owned()),
                config::Member::Rule(config::MemberRule {
                    field: "b".to_owned(),
                    form: Form::NullIfEmpty,
                    optional: false,
                    name: Some(format!("b{name}")),
                }),
            ];
            let rule = ValueRule::Object(compile_members(&members, "", &mut Vec::new()));
            let json = write(&rule, &[("a", a.as_bytes()), ("b", b.as_bytes())]).expect("text");
            let value: serde_json::Value = serde_json::from_str(&json).expect("parses");
            let b = if b.is_empty() { serde_json::Value::Null } else { b.into() };
            prop_assert_eq!(value, serde_json::json!({ "a": a, format!("b{name}"): b }));
        }

        #[test]
        fn whatever_is_spliced_in_the_object_parses_or_is_a_dead_letter(raw in proptest::collection::vec(
            prop::sample::select(&b"{}[]\",:0e-.\\unulltrue \n\xc3\xa9\xff"[..]), 0..12
        )) {
            let rule = rule(r#"json = [{ field = "raw", as = "json" }, { field = "after", as = "json" }]"#);
            let alone = serde_json::from_slice::<serde::de::IgnoredAny>(&raw).is_ok() && std::str::from_utf8(&raw).is_ok();
            match write(&rule, &[("raw", &raw), ("after", b"1")]) {
                Ok(json) => {
                    prop_assert!(alone);
                    let object: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
                        serde_json::from_str(&json).expect("parses");
                    prop_assert_eq!(object["after"].get(), "1");
                    prop_assert_eq!(object["raw"].get().as_bytes(), raw.trim_ascii());
                }
                Err(refused) => {
                    prop_assert!(!alone);
                    prop_assert_eq!(refused.reason, Reason::Encode);
                }
            }
        }
    }
}
