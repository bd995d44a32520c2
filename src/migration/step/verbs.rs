//! What the verbs do to the state: hold, resume, rollback, proofs of the way back.

use super::act::Wanted;
use super::refusal::{Refusal, Verdictless, reasoned};
use super::state::{Rehearsal, Stop, Verb};
use super::{Machine, Outcome, Who};
use crate::migration::phase::Step;

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
}
