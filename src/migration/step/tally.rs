//! What was counted at the present step, and since when Kafka is not well: part of the state, so that no fault is forgotten
//! with the process that saw it.
//!
//! The counters of a process begin anew with it, and there are as many processes as instances. So what is kept are sums of
//! differences, and how far each process was counted stands beside them in the state: whoever steers next goes on there. A
//! process that is met for the first time adds nothing, unless it is known to have begun under the one who steers; none ever
//! takes anything away.

use std::collections::BTreeMap;

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

/// What is counted now, of all instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// By the number that a process gave itself when it started.
    pub processes: BTreeMap<u64, Process>,
    /// Whether these are all that count now, or who is missing.
    pub whole: Result<(), String>,
    /// Compared entries and those of them that are at fault, or why parity is not known.
    pub parity: Result<Compared, String>,
}

/// The counters of a process as they stand; they only grow while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub entries: u64,
    pub dead: u64,
    /// They stood at 0 when it first heard of the one who steers now.
    pub began_here: bool,
}

/// How far a process was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    pub entries: u64,
    pub dead: u64,
    pub seen_ms: i64,
}

/// A process that was not heard of for so long does not come back.
const GONE_MS: i64 = 3_600_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        self.count_processes(&counts.processes, now_ms);
        // Parity's counts are the shards' own and not a process's: the sum over all shards is the same whoever audits them.
        let compared = counts.parity.as_ref().ok().copied();
        if let (Some(before), Some(now)) = (self.compared, compared) {
            self.state.tally.verified += now.verified.saturating_sub(before.verified);
            self.touched |= before != now;
        }
        self.compared = compared;
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
        self.partial = counts.whole.err();
        for sample in [dead, parity] {
            self.samples.insert(sample.measure, sample);
        }
    }

    fn count_processes(&mut self, processes: &BTreeMap<u64, Process>, now_ms: i64) {
        let reached = &mut self.state.processes;
        reached.retain(|boot, process| {
            processes.contains_key(boot) || now_ms.saturating_sub(process.seen_ms) < GONE_MS
        });
        let (mut dead, mut met) = (0, false);
        for (boot, process) in processes {
            let now = Reached {
                entries: process.entries,
                dead: process.dead,
                seen_ms: now_ms,
            };
            let begin = if process.began_here {
                Reached {
                    entries: 0,
                    dead: 0,
                    ..now
                }
            } else {
                now
            };
            let known = reached.get(boot).copied();
            let before = known.unwrap_or(begin);
            let more = now.entries.saturating_sub(before.entries);
            self.state.tally.entries += more;
            dead += now.dead.saturating_sub(before.dead);
            self.touched |= more > 0;
            met |= known.is_none();
            // What is read late, behind something newer, does not make it count twice.
            let now = Reached {
                entries: now.entries.max(before.entries),
                dead: now.dead.max(before.dead),
                ..now
            };
            reached.insert(*boot, now);
        }
        self.state.tally.dead += dead;
        // Where a process was met is stored at once: whoever steers next counts it from there.
        if dead > 0 || met {
            self.save_soon();
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
