//! The journal: who did what, when, from where, why, on what evidence, and what came of it. Append-only.

use serde::{Deserialize, Serialize};

use super::state::Verb;
use crate::migration::gate::Verdict;
use crate::migration::phase::Step;

/// One record. Records are numbered from 1 without gaps and are never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub n: u64,
    pub at_ms: i64,
    pub epoch: u64,
    /// Who asked: an authenticated name, or the driver itself.
    pub who: String,
    /// From where: an address, or the instance's name.
    pub origin: String,
    pub verb: Verb,
    pub from: Step,
    pub to: Step,
    pub reason: String,
    pub outcome: Outcome,
    /// What came of it, in words.
    pub note: String,
    /// The gates as they stood.
    pub evidence: Vec<Verdict>,
}

/// What came of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Written before anything is done.
    Begun,
    Done,
    Refused,
    /// It could not be finished and was put back.
    Undone,
}

impl Outcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Undone => "undone",
        }
    }
}

/// Who asks, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    pub name: String,
    pub origin: String,
}
