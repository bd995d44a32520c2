//! All fields of an entry as JSON, with nothing lost: the value of a route with `all = true`.
//!
//! ```text
//! [["event","added"],["jobId","7"],["event","again"],["",""],["raw",{"base64":"/wA="}]]
//! ```
//!
//! An array with one pair `[name, value]` for each field, in the entry's order; names that repeat or are empty stay as
//! they are. Name and value are each a JSON string where their bytes are UTF-8, and otherwise an object with the single
//! member `base64` (RFC 4648 §4, padded). A string never stands for base64 and an object never for text, so that each
//! array is the form of exactly one list of fields.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::entry::{Field, Fields};

use super::json;

/// Appends the fields as JSON.
pub fn encode(fields: &Fields, out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, field) in fields.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"[" } else { b",[" });
        write_bytes(field.name, out);
        out.push(b',');
        write_bytes(field.value, out);
        out.push(b']');
    }
    out.push(b']');
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    if json::write_bytes(bytes, out).is_err() {
        out.extend_from_slice(b"{\"base64\":\"");
        out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
        out.extend_from_slice(b"\"}");
    }
}

/// Not what [`encode`] writes.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("not an array of [name, value] pairs of strings or base64 objects")]
    Json(#[source] serde_json::Error),
    #[error("not valid base64")]
    Base64(#[source] base64::DecodeError),
}

/// The fields that [`encode`] wrote.
pub fn decode(json: &[u8]) -> Result<Vec<Field>, DecodeError> {
    let pairs: Vec<(Part, Part)> = serde_json::from_slice(json).map_err(DecodeError::Json)?;
    pairs
        .into_iter()
        .map(|(name, value)| {
            Ok(Field {
                name: name.into_bytes()?,
                value: value.into_bytes()?,
            })
        })
        .collect()
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Part {
    Text(String),
    Binary(Binary),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Binary {
    base64: String,
}

impl Part {
    fn into_bytes(self) -> Result<Vec<u8>, DecodeError> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Binary(binary) => STANDARD.decode(binary.base64).map_err(DecodeError::Base64),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(name: &[u8], value: &[u8]) -> Field {
        Field {
            name: name.into(),
            value: value.into(),
        }
    }

    #[test]
    fn the_form_is_the_one_described() {
        let fields = [
            field(b"event", b"added"),
            field(b"jobId", b"7"),
            field(b"event", b"again"),
            field(b"", b""),
            field(b"raw", b"\xff\x00"),
            field(b"\xfe", b"{\"base64\":\"AA==\"}"),
        ];
        let mut out = Vec::new();
        encode(&fields.iter().cloned().collect(), &mut out);
        assert_eq!(
            std::str::from_utf8(&out).expect("UTF-8"),
            r#"[["event","added"],["jobId","7"],["event","again"],["",""],["raw",{"base64":"/wA="}],[{"base64":"/g=="},"{\"base64\":\"AA==\"}"]]"#
        );
        assert_eq!(decode(&out).expect("reads"), fields);
    }

    #[test]
    fn other_forms_are_refused() {
        for json in [
            "{}",
            "[[\"a\"]]",
            "[[\"a\",1]]",
            "[[\"a\",{\"base64\":\"?\"}]]",
            "[[\"a\",{}]]",
            "[] []",
        ] {
            assert!(decode(json.as_bytes()).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(pairs in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..6)) {
            let fields: Vec<Field> = pairs.iter().map(|(name, value)| field(name, value)).collect();
            let mut out = Vec::new();
            encode(&fields.iter().cloned().collect(), &mut out);
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
            prop_assert_eq!(decode(&out).expect("reads"), fields);
        }

        #[test]
        fn any_text_comes_back(pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..6)) {
            let fields: Vec<Field> = pairs.iter().map(|(n, v)| field(n.as_bytes(), v.as_bytes())).collect();
            let mut out = Vec::new();
            encode(&fields.iter().cloned().collect(), &mut out);
            prop_assert_eq!(decode(&out).expect("reads"), fields);
        }
    }
}
