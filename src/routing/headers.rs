//! Record headers: one for each configured source, and one for each member of a JSON object.
//!
//! The names that carry a record's identity are the mirror's. A configuration that uses one is refused, and an entry
//! whose JSON object brings one is a dead letter: otherwise a producer could pass its record off as another entry's.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::config;
use crate::config::Problem;
use crate::entry::Entry;

use super::encoded::Headers;
use super::json;
use super::source::Source;
use super::unroutable::Unroutable;

/// Names that Lockgate gives to headers of its own.
#[must_use]
pub(super) fn is_reserved(name: &str) -> bool {
    matches!(name, "redis-stream" | "redis-id" | "redis-gen") || name.starts_with("lockgate-")
}

/// A route's headers.
#[derive(Clone, Debug)]
pub(super) struct HeaderRules {
    named: Vec<(String, Source)>,
    from: Option<Source>,
}

impl HeaderRules {
    /// `at` is the route's place in the configuration: `routes[0]`.
    pub(super) fn compile(route: &config::Route, at: &str, problems: &mut Vec<Problem>) -> Self {
        let mut named = Vec::with_capacity(route.headers.len());
        for (name, source) in &route.headers {
            let key = format!("{at}.headers.{name}");
            if is_reserved(name) {
                problems.push(Problem::new(
                    &key,
                    "redis-stream, redis-id, redis-gen and lockgate-* are Lockgate's own headers; choose another name",
                ));
            }
            if name.is_empty() || name.contains('\0') {
                problems.push(Problem::new(
                    &key,
                    "a header needs a name without zero bytes; give it one",
                ));
            }
            match Source::compile(source) {
                Ok(source) => named.push((name.clone(), source)),
                Err(invalid) => {
                    problems.push(Problem::new(format!("{key}.pointer"), invalid.to_string()));
                }
            }
        }
        let from = route.headers_from.as_ref().and_then(|source| {
            let compiled = Source::compile(source);
            let key = format!("{at}.headers_from.pointer");
            compiled
                .map_err(|invalid| problems.push(Problem::new(key, invalid.to_string())))
                .ok()
        });
        Self { named, from }
    }

    /// The members of the JSON object first, then the configured ones: clients that want one header of a name take the
    /// last.
    pub(super) fn write(&self, entry: &Entry, out: &mut Headers) -> Result<(), Unroutable> {
        if let Some(source) = &self.from
            && let Some(json) = source.json(entry)?
        {
            write_members(source.field(), json, out)?;
        }
        for (name, source) in &self.named {
            if let Some(value) = source.text(entry)? {
                out.push(name, &value);
            }
        }
        Ok(())
    }
}

fn write_members(field: &str, bytes: &[u8], out: &mut Headers) -> Result<(), Unroutable> {
    let not_json = |error| Unroutable::not_json(field, &error);
    json::validate(bytes).map_err(not_json)?;
    let members: Members<'_> = serde_json::from_slice(bytes).map_err(|_| {
        Unroutable::encode(format!(
            "field `{field}` is JSON but no object with members for headers"
        ))
    })?;
    for (name, value) in members.0 {
        if is_reserved(&name) {
            return Err(Unroutable::encode(format!(
                "field `{field}` has a member with a name that Lockgate reserves for its own headers"
            )));
        }
        if name.contains('\0') {
            return Err(Unroutable::encode(format!(
                "field `{field}` has a member with a zero byte in its name, which no header takes"
            )));
        }
        if let Some(text) = json::text_of(value).map_err(not_json)? {
            out.push(&name, &text);
        }
    }
    Ok(())
}

/// An object's members in their order, names that repeat included.
struct Members<'j>(Vec<(Cow<'j, str>, &'j RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    members.push((name.0, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'j>(#[serde(borrow)] Cow<'j, str>);

#[cfg(test)]
mod tests {
    use super::*;

    type Written = Vec<(String, String)>;

    fn from_members(json: &str) -> Result<Written, Unroutable> {
        let mut out = crate::routing::Encoded::new();
        write_members("metadata", json.as_bytes(), &mut out.headers)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Ok(out
            .headers()
            .map(|(name, value)| (name.to_owned(), text(value)))
            .collect())
    }

    #[test]
    fn each_member_becomes_a_header() {
        let json =
            r#"{"a":"x\n\u00e9","b":1.50,"\u0063":{"d":[1, 2]},"e":null,"f":"","a":"y","":true}"#;
        let expected = [
            ("a", "x\né"),
            ("b", "1.50"),
            ("c", r#"{"d":[1, 2]}"#),
            ("f", ""),
            ("a", "y"),
            ("", "true"),
        ];
        let expected: Written = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        assert_eq!(from_members(json), Ok(expected));
        assert_eq!(from_members(" {} "), Ok(vec![]));
    }

    #[test]
    fn no_entry_can_pass_for_another() {
        for name in ["redis-id", "redis-stream", "redis-gen", "lockgate-write"] {
            let refused = from_members(&format!(r#"{{"{name}":"1-1"}}"#)).expect_err(name);
            assert!(refused.detail.contains("reserves"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_object_is_a_dead_letter_without_its_payload() {
        for json in [
            "[\"secret\"]",
            "\"secret\"",
            "{\"secret\"",
            "{\"a\\u0000\":1}",
            "null",
            "",
        ] {
            let refused = from_members(json).expect_err(json);
            assert!(refused.detail.contains("`metadata`"), "{refused}");
            assert!(!refused.detail.contains("secret"), "{refused}");
        }
    }
}
