//! Secrets: a type that never shows itself, and the files that hold them.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// A string that never shows itself: `***` wherever it is printed or serialised.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: only for handing it to the client that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 1, "x-secret": true })
    }
}

/// The text of a secret's file, without one trailing newline.
///
/// # Errors
/// What is wrong with the file and what to do; never its text.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        format!("the file {shown} cannot be read ({error}); give a file that this user may read")
    })?;
    let mut text = String::from_utf8(bytes)
        .map_err(|_| format!("the file {shown} is not UTF-8 text; a secret is one line of text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(format!("the file {shown} is empty; put the secret into it"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_is_dropped_and_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        for (written, read_back) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            (" a ", " a "),
        ] {
            std::fs::write(&file, written).expect("writes");
            assert_eq!(read(&file).expect("reads"), read_back);
        }
        for empty in ["", "\n"] {
            std::fs::write(&file, empty).expect("writes");
            assert!(read(&file).expect_err("refused").contains("is empty"));
        }
    }
}
