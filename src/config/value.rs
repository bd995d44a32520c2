//! How a record's value is made from an entry's fields.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The record's value: exactly one of these forms.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Value {
    /// One field, byte for byte.
    Field(ValueField),
    /// A JSON object built from these fields in this order.
    Json(ValueJson),
    /// All fields: a JSON array of `[name, value]` pairs, base64 where bytes are no UTF-8.
    All(ValueAll),
}

/// One field, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueField {
    /// The value is this field, byte for byte.
    pub field: String,
}

/// A JSON object built from fields in order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueJson {
    /// The value is a JSON object with these members in this order; a field's name alone means `as = "string"`.
    #[schemars(length(min = 1))]
    pub json: Vec<Member>,
}

/// All fields.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueAll {
    /// `true`: the value is a JSON array of `[name, value]` pairs of all fields, in their order, repeated names included.
    pub all: bool,
}

/// A member of a JSON value: a field's name alone means `as = "string"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Member {
    /// The field of this name, as a JSON string.
    Name(String),
    /// A field with rules.
    Rule(MemberRule),
}

impl Member {
    /// The member's name in the JSON object.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Name(field) => field,
            Self::Rule(rule) => rule.name.as_deref().unwrap_or(&rule.field),
        }
    }
}

/// A member of a JSON value with its rules.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberRule {
    /// The entry's field.
    pub field: String,
    /// What the field's bytes become.
    #[serde(rename = "as", default)]
    pub form: Form,
    /// Leave the member out where the field is absent (otherwise the entry is dead-lettered).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("default" = false))]
    pub optional: bool,
    /// Name in the JSON object; default: the field's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What a field's bytes become in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A JSON string, escaped as `JSON.stringify` does.
    #[default]
    String,
    /// The field's bytes as they are; must be valid JSON.
    Json,
    /// `null` for the empty string, else a string.
    NullIfEmpty,
}
