//! What the verbs do to the state: hold, resume, rollback, proofs of the way back, the baseline.

use std::collections::BTreeMap;

use super::act::Wanted;
use super::refusal::{Refusal, Verdictless, reasoned};
use super::state::{Baseline, Rehearsal, Stop, Verb};
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

impl Machine {
    pub(super) fn hold(&mut self, who: &Who, reason: &str, now_ms: i64) -> Verdictless<()> {
        reasoned(reason)?;
        if self.state.held.is_some() {
            return Err(self.busy("it is held already"));
        }
        if self.state.frozen.is_some() {
            return Err(self.busy("frozen is more than held"));
        }
        self.state.held = Some(Stop {
            at_ms: now_ms,
            by: who.name.clone(),
            reason: reason.to_owned(),
        });
        let step = self.state.step;
        self.note(who, Verb::Hold, step, reason, Outcome::Done, "", now_ms);
        // What is on its way goes on to its end: its epoch stays.
        if self.state.motion.is_none() {
            self.turn(now_ms);
        }
        Ok(())
    }

    pub(super) fn resume(&mut self, who: &Who, reason: &str, now_ms: i64) -> Verdictless<()> {
        reasoned(reason)?;
        if self.state.held.is_none() && self.state.frozen.is_none() {
            return Err(self.busy("there is nothing to resume"));
        }
        // A freeze is lifted alone: whoever holds it besides has not been asked.
        if self.state.frozen.take().is_none() {
            self.state.held = None;
        }
        let step = self.state.step;
        self.note(who, Verb::Resume, step, reason, Outcome::Done, "", now_ms);
        if self.state.motion.is_none() {
            self.turn(now_ms);
        }
        Ok(())
    }

    pub(super) fn rollback(
        &mut self,
        who: &Who,
        to: Option<Step>,
        reason: &str,
        now_ms: i64,
    ) -> Verdictless<()> {
        reasoned(reason)?;
        let to = self.back_target(to)?;
        let wanted = Wanted {
            verb: Verb::Rollback,
            to,
            who,
            reason,
        };
        self.go_back(&wanted, now_ms);
        Ok(())
    }

    pub(super) fn rehearsed(
        &mut self,
        who: &Who,
        step: Step,
        proof: Rehearsal,
        now_ms: i64,
    ) -> Verdictless<()> {
        if self.way_back(step).is_none() {
            let (from, why) = (self.state.step, "there is no way back from it to prove");
            return Err(Refusal::NoWay { from, step, why });
        }
        let note = format!(
            "way back from {step}: {}{}",
            if proof.passed { "open" } else { "not open: " },
            if proof.passed { "" } else { &proof.note }
        );
        let outcome = if proof.passed {
            Outcome::Done
        } else {
            Outcome::Undone
        };
        self.state.rehearsed.insert(step, proof);
        self.note(who, Verb::Rehearse, step, "", outcome, &note, now_ms);
        Ok(())
    }

    pub(super) fn baseline(&mut self, who: &Who, now_ms: i64) -> Verdictless<()> {
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
        let beside = BESIDE.iter().filter_map(|measure| {
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
        Ok(())
    }
}
