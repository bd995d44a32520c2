//! What was counted at the present step, and since when Kafka is not well: part of the state, so that no fault is forgotten
//! with the process that saw it.
//!
//! The counters of a process begin anew with it, and there are as many processes as instances. So what is kept are sums of
//! differences, and how far each process was counted stands beside them in the state: whoever steers next goes on there. A
//! process that is met for the first time adds nothing, unless it is known to have begun under the one who steers; none ever
//! takes anything away.
//!
//! Gates are judged on the sums. A tripwire is set off by what was counted lately: over the sums of a long step the worst
//! minute would not show.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Machine, Who};
use crate::migration::gate::{Measure, Part, Reading, Sample, millis};

/// Sums of the present step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub since_ms: i64,
    pub entries: u64,
    pub dead: u64,
    pub verified: u64,
}

/// Part of the sums: what was counted within a few seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// When it was begun.
    pub at_ms: i64,
    pub entries: u64,
    pub dead: u64,
}

/// A tripwire looks back so far ...
const RECENT_MS: i64 = 60_000;
/// ... and to so many entries, so that one dead letter of a stream where little happens is not all there is.
const RECENT_ENTRIES: u64 = 300;
/// What is counted within this time is one lot.
const LOT_MS: i64 = 5_000;
/// Lots that are kept at most.
const LOTS: usize = 32;

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

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    pub verified: u64,
    pub differ: u64,
    /// The same of each route.
    #[serde(default)]
    pub routes: BTreeMap<String, OfRoute>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRoute {
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
            // Where all that is written is Kafka's, nothing comes to Redis any more that could be compared: what was compared
            // before counts on.
            let all_is_kafkas = self.state.step.share().ingress == 100;
            let before = self.state.tally.verified;
            self.state.tally = Tally {
                since_ms: now_ms,
                verified: if all_is_kafkas { before } else { 0 },
                ..Tally::default()
            };
            self.state.recent.clear();
            if !all_is_kafkas {
                self.state.verified.clear();
            }
        }
        let before = self.state.tally;
        self.count_processes(&counts.processes, now_ms);
        self.count_recent(before, now_ms);
        // Parity's counts are the shards' own and not a process's: the sum over all shards is the same whoever audits them.
        let compared = counts.parity.as_ref().ok().cloned();
        if let (Some(before), Some(now)) = (&self.compared, &compared) {
            self.state.tally.verified += now.verified.saturating_sub(before.verified);
            for (route, now) in &now.routes {
                let more = (before.routes.get(route))
                    .map_or(0, |before| now.verified.saturating_sub(before.verified));
                *self.state.verified.entry(route.clone()).or_default() += more;
            }
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

    /// Parity of each route at the present step.
    pub(super) fn parity_parts(&self) -> Vec<Part> {
        let routes = self.compared.iter().flat_map(|compared| &compared.routes);
        let parts = routes.map(|(route, compared)| {
            let verified = self.state.verified.get(route).copied().unwrap_or(0);
            Part {
                name: format!("route {route}"),
                faults: compared.differ,
                // A difference that stands is one of this step, also where nothing else came in it.
                total: verified.max(compared.differ),
            }
        });
        parts.collect()
    }

    /// Adds to the lots what was added to the sums, and drops the oldest that are not needed any more.
    fn count_recent(&mut self, before: Tally, now_ms: i64) {
        let (tally, lots) = (self.state.tally, &mut self.state.recent);
        let within = |lot: &Lot, length| (0..length).contains(&now_ms.saturating_sub(lot.at_ms));
        if !lots.back().is_some_and(|lot| within(lot, LOT_MS)) {
            lots.push_back(Lot {
                at_ms: now_ms,
                entries: 0,
                dead: 0,
            });
        }
        if let Some(lot) = lots.back_mut() {
            lot.entries += tally.entries - before.entries;
            lot.dead += tally.dead - before.dead;
        }
        let total = |lot: &Lot| lot.entries + lot.dead;
        let mut sum: u64 = lots.iter().map(total).sum();
        while let Some(oldest) = lots.front().copied()
            && !within(&oldest, RECENT_MS)
            && (total(&oldest) == 0 || sum - total(&oldest) >= RECENT_ENTRIES)
            && lots.len() > 1
        {
            sum -= total(&oldest);
            lots.pop_front();
        }
        // Where little happens, the oldest are one.
        while lots.len() > LOTS {
            let oldest = lots.pop_front();
            if let (Some(oldest), Some(next)) = (oldest, lots.front_mut()) {
                next.entries += oldest.entries;
                next.dead += oldest.dead;
            }
        }
        let (entries, dead) = lots.iter().fold((0, 0), |(entries, dead), lot| {
            (entries + lot.entries, dead + lot.dead)
        });
        self.recent = Some(Sample {
            measure: Measure::DeadLetters,
            reading: Reading::Counted {
                faults: dead,
                total: dead + entries,
                since_ms: lots.front().map_or(now_ms, |lot| lot.at_ms),
            },
            at_ms: now_ms,
        });
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
    pub(super) fn hear(&mut self, who: &Who, sample: Sample) {
        self.state.pushed_by.insert(sample.measure, who.clone());
        self.state.pushed.insert(sample.measure, sample);
        self.save_soon();
    }

    /// The newest sample of a measure, whoever took it. One that is dated in the future, as it is once a clock was put back,
    /// stands behind one that is not.
    pub(super) fn sample(&self, measure: Measure, now_ms: i64) -> Option<&Sample> {
        let (seen, pushed) = (self.samples.get(&measure), self.state.pushed.get(&measure));
        let latest = now_ms.saturating_add(self.freshness_ms());
        match (seen, pushed) {
            (Some(seen), Some(pushed)) if pushed.at_ms > latest && seen.at_ms <= latest => {
                Some(seen)
            }
            (Some(seen), Some(pushed)) if pushed.at_ms > seen.at_ms => Some(pushed),
            (None, pushed) => pushed,
            (seen, _) => seen,
        }
    }

    /// Who pushed a sample, for the journal; empty where Lockgate or a Prometheus measured it.
    pub(super) fn said_by(&self, sample: &Sample) -> String {
        let measure = sample.measure;
        let who = self.state.pushed_by.get(&measure);
        let pushed = self.state.pushed.get(&measure) == Some(sample);
        who.filter(|_| pushed).map_or_else(String::new, |who| {
            format!(", as {} said from {}", who.name, who.origin)
        })
    }

    /// What has changed is stored with this event and not within half a minute.
    pub(super) fn save_soon(&mut self) {
        self.touched = true;
        self.saved_at_ms = i64::MIN;
    }
}
