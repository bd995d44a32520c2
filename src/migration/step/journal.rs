//! The journal: who did what, when, from where, why, on what evidence, and what came of it. Append-only.

use serde::{Deserialize, Serialize};

use super::Machine;
use super::state::Verb;
use crate::migration::gate::Verdict;
use crate::migration::phase::Step;

/// Records that are kept for a store that loses some.
const RECORDS: usize = 200;

/// One record. Records are numbered from 1, each number once, and are never changed.
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

impl Machine {
    /// What was saved last is remembered, what was saved again once.
    pub(super) fn keep(&mut self) {
        let last = self.kept.back().map_or(0, |record| record.n);
        let saved = self.records.drain(..);
        self.kept.extend(saved.filter(|record| record.n > last));
        let excess = self.kept.len().saturating_sub(RECORDS);
        self.kept.drain(..excess);
    }

    /// The store's journal ends at `journaled`. What it lost behind that, with the last saves before a failover, is written
    /// again as far as it is remembered here, and the journal says what is not.
    pub(super) fn append_again(&mut self, journaled: u64, now_ms: i64) {
        let had = self.state.journal;
        if journaled >= had {
            return;
        }
        let lost = journaled + 1..=had;
        let kept = self.kept.iter();
        let again: Vec<Record> = kept.filter(|one| lost.contains(&one.n)).cloned().collect();
        let rest = (had - journaled).saturating_sub(again.len() as u64);
        let mut note = format!(
            "Redis had lost records {} to {had} of the journal; written again: {}",
            journaled + 1,
            again.len()
        );
        if rest > 0 {
            note.push_str(&format!("; missing, and in the logs alone: {rest}"));
        }
        self.records.extend(again);
        let (own, step) = (self.own(), self.state.step);
        self.note(&own, Verb::Start, step, "", Outcome::Done, &note, now_ms);
    }
}
