//! The baseline: how Redis alone does. It can be recorded in shadow alone, so what it lacks is said there, before it is missed.
//!
//! No step out of shadow waits for it; steps behind that one do, and going back to shadow is what it costs to make up for it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::refusal::{Refusal, Verdictless};
use super::state::{Baseline, State, Verb};
use super::{Machine, Outcome, Who};
use crate::migration::gate::{Measure, Reading};
use crate::migration::phase::Step;

/// What a baseline keeps beside what gates compare with it.
const BESIDE: [Measure; 4] = [
    Measure::MirrorLag,
    Measure::AddedLatency,
    Measure::WriteLatency,
    Measure::EndToEnd,
];

/// The same, where groups at Redis are named.
const OF_GROUPS: [Measure; 2] = [Measure::RedisGroupLag, Measure::RedisGroupPending];

/// A measure that was not known when the baseline was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lack {
    pub measure: Measure,
    /// What it is for.
    pub what_for: &'static str,
}

impl Lack {
    const fn of(measure: Measure) -> Self {
        let what_for = match measure {
            Measure::DuplicateHits => {
                "the gate duplicate-hits, without which no step of ingress is left; let the application push it, and record again in shadow"
            }
            _ => "people, to hold against it what comes later; no gate needs it",
        };
        Self { measure, what_for }
    }
}

impl State {
    /// What is not recorded in shadow, and which gates of later steps will not open without it.
    #[must_use]
    pub fn unrecorded(&self) -> Option<&'static str> {
        if self.step != Step::SHADOW {
            return None;
        }
        match &self.baseline {
            None => Some(
                "no baseline is recorded, and it can be in shadow alone: without it the gate throughput opens at no step of consumers, and duplicate-hits at none of ingress; let the application push both, then lockgate baseline record",
            ),
            Some(baseline) if baseline.duplicate_hits.is_none() => Some(
                "the baseline lacks duplicate-hits, and can be recorded in shadow alone: without it the gate duplicate-hits opens at no step of ingress; let the application push it, then lockgate baseline record",
            ),
            Some(_) => None,
        }
    }
}

impl Machine {
    pub(super) fn baseline(&mut self, who: &Who, now_ms: i64) -> Verdictless<Vec<Lack>> {
        if self.state.step != Step::SHADOW || self.state.motion.is_some() {
            return Err(self.busy("a baseline shows Redis alone: it is recorded in shadow"));
        }
        let freshness = self.freshness_ms();
        let young = |measure| {
            let sample = self.sample(measure, now_ms)?;
            (now_ms.saturating_sub(sample.at_ms) <= freshness).then_some(&sample.reading)
        };
        let fresh = |measure| match young(measure)? {
            Reading::Value(value) => Some(*value).filter(|value| value.is_finite()),
            Reading::Counted { .. } | Reading::Unknown(_) => None,
        };
        let throughput = fresh(Measure::Throughput)
            .filter(|value| *value > 0.0)
            .ok_or(Refusal::NoThroughput)?;
        let duplicate_hits = fresh(Measure::DuplicateHits);
        let grouped = self.config.groups.iter().any(|group| group.redis.is_some());
        let of_groups = OF_GROUPS.into_iter().filter(|_| grouped);
        let all: Vec<Measure> = BESIDE.into_iter().chain(of_groups).collect();
        let beside = all.iter().filter_map(|measure| {
            let known = young(*measure).filter(|reading| !matches!(reading, Reading::Unknown(_)));
            Some((*measure, known?.clone()))
        });
        let beside: BTreeMap<Measure, Reading> = beside.collect();
        let mut note = format!("{throughput} entries a second");
        let hits = duplicate_hits.map(|hits| (Measure::DuplicateHits, Reading::Value(hits)));
        for (measure, reading) in hits.iter().map(|(a, b)| (a, b)).chain(&beside) {
            match reading {
                Reading::Value(value) => note.push_str(&format!("; {measure} {value}")),
                Reading::Counted { faults, total, .. } => {
                    note.push_str(&format!("; {measure} {faults} of {total}"));
                }
                Reading::Unknown(_) => {}
            }
        }
        let is_known = |measure: &Measure| match measure {
            Measure::DuplicateHits => duplicate_hits.is_some(),
            beside_it => beside.contains_key(beside_it),
        };
        let lacks = [Measure::DuplicateHits].into_iter().chain(all);
        let lacks: Vec<Lack> = lacks
            .filter(|measure| !is_known(measure))
            .map(Lack::of)
            .collect();
        if !lacks.is_empty() {
            let names: Vec<&str> = lacks.iter().map(|lack| lack.measure.as_str()).collect();
            note.push_str(&format!("; not known: {}", names.join(", ")));
        }
        self.state.baseline = Some(Baseline {
            at_ms: now_ms,
            by: who.name.clone(),
            throughput,
            duplicate_hits,
            beside,
        });
        self.note(
            who,
            Verb::Baseline,
            Step::SHADOW,
            "",
            Outcome::Done,
            &note,
            now_ms,
        );
        Ok(lacks)
    }
}
