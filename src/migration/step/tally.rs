//! What was counted at the present step, and since when Kafka is not well: part of the state, so that no fault is forgotten
//! with the process that saw it.
//!
//! The counters of a process begin anew with it. So what is kept are sums of their differences: a restart adds nothing and
//! takes nothing away.

use serde::{Deserialize, Serialize};

use super::Machine;
use crate::migration::gate::{Measure, Reading, Sample, millis};

/// Sums of the present step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub since_ms: i64,
    pub entries: u64,
    pub dead: u64,
    pub verified: u64,
}

/// Counters of this process as they stand; they only grow while it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    pub entries: u64,
    pub dead: u64,
    /// Compared entries and those of them that are at fault, or why parity is not known.
    pub parity: Result<Compared, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    pub verified: u64,
    pub differ: u64,
}

/// How Kafka is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wellness {
    /// It answers, and every routed partition has all its replicas.
    Well,
    Unwell,
    Unknown(String),
}

impl Machine {
    /// Adds what was counted since the last look.
    pub(super) fn count(&mut self, counts: Counts, now_ms: i64) {
        if self.state.tally.since_ms < self.state.since_ms {
            // Another step, or a state that was stored before there was a tally.
            self.state.tally = Tally {
                since_ms: now_ms,
                ..Tally::default()
            };
        }
        let tally = &mut self.state.tally;
        if let Some(before) = &self.counted {
            let dead = counts.dead.saturating_sub(before.dead);
            tally.entries += counts.entries.saturating_sub(before.entries);
            tally.dead += dead;
            if let (Ok(before), Ok(now)) = (&before.parity, &counts.parity) {
                tally.verified += now.verified.saturating_sub(before.verified);
            }
            self.touched |= *before != counts;
            if dead > 0 {
                self.save_soon();
            }
        }
        let tally = self.state.tally;
        let counted = |measure, faults, total| Sample {
            measure,
            reading: Reading::Counted {
                faults,
                total,
                since_ms: tally.since_ms,
            },
            at_ms: now_ms,
        };
        let dead = counted(Measure::DeadLetters, tally.dead, tally.dead + tally.entries);
        let parity = match &counts.parity {
            // A difference that was there when the step began and stands is a difference of this step as well.
            Ok(Compared { differ, .. }) => counted(
                Measure::Parity,
                (*differ).min(tally.verified),
                tally.verified,
            ),
            Err(why) => Sample {
                measure: Measure::Parity,
                reading: Reading::Unknown(why.clone()),
                at_ms: now_ms,
            },
        };
        self.counted = Some(counts);
        for sample in [dead, parity] {
            self.samples.insert(sample.measure, sample);
        }
    }

    /// A trouble that lasts longer than is configured is an incident.
    pub(super) fn mind_wellness(&mut self, wellness: Wellness, now_ms: i64) {
        let before = self.state.unwell_since_ms;
        let reading = match wellness {
            Wellness::Well => {
                self.state.unwell_since_ms = None;
                Reading::Value(0.0)
            }
            Wellness::Unwell => {
                let since = *self.state.unwell_since_ms.get_or_insert(now_ms);
                let incident = now_ms.saturating_sub(since) > millis(self.config.gates.incident);
                Reading::Value(f64::from(u8::from(incident)))
            }
            // It neither ends a trouble nor begins one.
            Wellness::Unknown(why) => Reading::Unknown(why),
        };
        if before != self.state.unwell_since_ms {
            self.save_soon();
        }
        let sample = Sample {
            measure: Measure::Incident,
            reading,
            at_ms: now_ms,
        };
        self.samples.insert(sample.measure, sample);
    }

    /// Takes in what somebody else measured.
    pub(super) fn hear(&mut self, sample: Sample) {
        self.state.pushed.insert(sample.measure, sample);
        self.save_soon();
    }

    /// The newest sample of a measure, whoever took it.
    pub(super) fn sample(&self, measure: Measure) -> Option<&Sample> {
        let (seen, pushed) = (self.samples.get(&measure), self.state.pushed.get(&measure));
        match (seen, pushed) {
            (Some(seen), Some(pushed)) if pushed.at_ms > seen.at_ms => Some(pushed),
            (None, pushed) => pushed,
            (seen, _) => seen,
        }
    }

    /// What has changed is stored with this event and not within half a minute.
    pub(super) fn save_soon(&mut self) {
        self.touched = true;
        self.saved_at_ms = i64::MIN;
    }
}
