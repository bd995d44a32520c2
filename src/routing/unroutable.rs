//! Why an entry becomes no record of its route: it goes to the dead-letter topic with this reason instead.

use std::fmt;

/// The kinds of reason, few enough for a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A field, or what a JSON pointer points to, is absent and not optional.
    MissingField,
    /// A field cannot be put into the form that the route asks for.
    Encode,
    /// The record would be larger than the topic takes.
    TooLarge,
    /// The broker refused the record. Never given by routing.
    Rejected,
}

impl Reason {
    pub const ALL: [Self; 4] = [
        Self::MissingField,
        Self::Encode,
        Self::TooLarge,
        Self::Rejected,
    ];

    /// The label of metrics and the header of dead letters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingField => "missing_field",
            Self::Encode => "encode",
            Self::TooLarge => "too_large",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A dead letter's reason. The detail names configured fields and what is wrong with them, and holds no payload, so that
/// it may be logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Unroutable {
    pub reason: Reason,
    pub detail: String,
}

impl Unroutable {
    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self {
            reason: Reason::MissingField,
            detail: detail.into(),
        }
    }

    pub(super) fn encode(detail: impl Into<String>) -> Self {
        Self {
            reason: Reason::Encode,
            detail: detail.into(),
        }
    }

    /// Where in a field its JSON breaks off; serde_json's own words could quote the payload.
    pub(super) fn not_json(field: &str, error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        Self::encode(format!(
            "field `{field}` is no valid JSON (line {line}, column {column})"
        ))
    }
}
