//! RFC 6901 JSON pointers, followed through the text itself: only what is pointed at is looked at closely, and nothing
//! is built. The whole text must be JSON all the same.
//!
//! Of members with one name the last counts, as `JSON.parse` has it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A pointer's reference tokens; none of them points at the whole text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    tokens: Vec<String>,
}

/// Not a JSON pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidPointer {
    #[error("a JSON pointer begins with `/`, for example /task_id")]
    NoSlash,
    #[error("`~` in a JSON pointer must be followed by 0 (for ~) or 1 (for /)")]
    Tilde,
    #[error("a JSON pointer of more than {MAX_DEPTH} steps is not followed")]
    Deep,
}

/// Less than the depth at which serde_json stops to protect the stack.
const MAX_DEPTH: usize = 64;

impl Pointer {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidPointer> {
        if text.is_empty() {
            return Ok(Self { tokens: Vec::new() });
        }
        let text = text.strip_prefix('/').ok_or(InvalidPointer::NoSlash)?;
        let tokens: Vec<String> = text.split('/').map(unescape).collect::<Result<_, _>>()?;
        if tokens.len() > MAX_DEPTH {
            return Err(InvalidPointer::Deep);
        }
        Ok(Self { tokens })
    }

    /// What it points at in `json`; `None` where there is nothing, an error where `json` is no JSON.
    pub(super) fn find<'j>(
        &self,
        json: &'j [u8],
    ) -> Result<Option<&'j RawValue>, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let found = Seek(&self.tokens).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(found)
    }
}

fn unescape(token: &str) -> Result<String, InvalidPointer> {
    let mut parts = token.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (replacement, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', &part[1..]),
            Some(b'1') => ('/', &part[1..]),
            _ => return Err(InvalidPointer::Tilde),
        };
        text.push(replacement);
        text.push_str(rest);
    }
    Ok(text)
}

/// Follows the tokens through one value.
#[derive(Clone, Copy)]
struct Seek<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            serde::Deserialize::deserialize(deserializer).map(Some)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let [token, rest @ ..] = self.0 else {
            return Ok(None);
        };
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(token))? {
            if is_it {
                found = map.next_value_seed(Seek(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let [token, rest @ ..] = self.0 else {
            return Ok(None);
        };
        let digits = token.bytes().all(|b| b.is_ascii_digit());
        let canonical = digits && (token == "0" || !token.starts_with('0'));
        if let Some(index) = canonical.then(|| token.parse::<usize>().ok()).flatten() {
            for _ in 0..index {
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            let found = seq.next_element_seed(Seek(rest))?.flatten();
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(found);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a member's name is this one.
struct Is<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(pointer: &str, json: &str) -> Option<String> {
        let pointer = Pointer::parse(pointer).expect(pointer);
        let found = pointer.find(json.as_bytes()).expect(json);
        found.map(|raw| raw.get().to_owned())
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let json = r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6,
            " ": 7, "m~n": 8}"#;
        assert_eq!(find("", json).as_deref(), Some(json));
        for (pointer, value) in [
            ("/foo", r#"["bar", "baz"]"#),
            ("/foo/0", "\"bar\""),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(find(pointer, json).as_deref(), Some(value), "{pointer}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let json = r#"{"list":[1,[2]],"text":"x","n":1.5,"none":null,"yes":true,"less":-1}"#;
        for pointer in [
            "/absent",
            "/list/2",
            "/list/-",
            "/list/01",
            "/list/x",
            "/list/",
            "/text/0",
            "/n/0",
            "/none/a",
            "/yes/a",
            "/less/a",
            "/list/1/1",
        ] {
            assert_eq!(find(pointer, json), None, "{pointer}");
        }
        assert_eq!(find("/list/1/0", json).as_deref(), Some("2"));
    }

    #[test]
    fn the_last_of_two_members_counts_and_numbers_stay_as_written() {
        assert_eq!(
            find("/a", r#"{"a":1,"a":1.50e2}"#).as_deref(),
            Some("1.50e2")
        );
    }

    #[test]
    fn what_follows_must_be_json_too() {
        let pointer = Pointer::parse("/a").expect("reads");
        for json in ["{\"a\":1", "{\"a\":1}x", "{\"a\":1,}", "", "{a:1}"] {
            assert!(pointer.find(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn only_pointers_are_pointers() {
        assert_eq!(Pointer::parse("task_id"), Err(InvalidPointer::NoSlash));
        assert_eq!(Pointer::parse("/a~2"), Err(InvalidPointer::Tilde));
        assert_eq!(Pointer::parse("/a~"), Err(InvalidPointer::Tilde));
        assert_eq!(Pointer::parse(&"/a".repeat(65)), Err(InvalidPointer::Deep));
    }

    proptest! {
        #[test]
        fn finds_what_serde_json_finds(
            keys in proptest::collection::vec("[a~/\"\\\\é]{0,3}", 1..4),
            depth in 0..3_usize,
            value in any::<i32>(),
        ) {
            let mut json = serde_json::json!(value);
            for key in keys.iter().rev() {
                json = serde_json::json!({ "other": [1, {"x": null}], key.as_str(): json });
            }
            let pointer: String = keys[..=depth.min(keys.len() - 1)].iter()
                .map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")))
                .collect();
            let text = serde_json::to_string(&json).expect("writes");
            let expected = json.pointer(&pointer).map(|value| serde_json::to_string(value).expect("writes"));
            prop_assert_eq!(find(&pointer, &text), expected);
        }
    }
}
