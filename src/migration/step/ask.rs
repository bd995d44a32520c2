//! What an operator may ask, and how it is taken: refused with a record, or done and answered once it is stored.

use super::act::Wanted;
use super::baseline::Lack;
use super::plan::Plan;
use super::refusal::{Refusal, Verdictless, reasoned};
use super::state::{Direction, Rehearsal, Verb};
use super::{Command, Machine, Outcome, Who};
use crate::migration::gate::{Measure, Reading, Sample, Verdict};
use crate::migration::phase::Step;

/// What is asked.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Make a plan: run the steps without doing them.
    Plan {
        verb: Verb,
        to: Option<Step>,
    },
    /// Do what a plan says.
    Apply {
        plan: String,
        reason: String,
        /// The migration's name, to complete it.
        typed: Option<String>,
    },
    Hold {
        reason: String,
    },
    Resume {
        reason: String,
    },
    /// Go back, without a preview.
    Rollback {
        to: Option<Step>,
        reason: String,
    },
    /// The way back from a step was tried against the live stores.
    Rehearsed {
        step: Step,
        passed: bool,
        note: String,
        took_ms: i64,
    },
    /// Record how Redis alone does.
    Baseline,
    /// Something that the one who asks has measured. It is not lost with this process, and only the archive's is journaled.
    Evidence(Sample),
    /// Note what was asked of Lockgate elsewhere, and what came of it.
    Note {
        outcome: Outcome,
        note: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Plan(Plan),
    /// It is done, or stored and on its way.
    Accepted {
        epoch: u64,
        step: Step,
        /// Of a rollback: what readers who go back do not get.
        leaves: Option<&'static str>,
    },
    /// The baseline is recorded, without these.
    Recorded {
        epoch: u64,
        step: Step,
        lacks: Vec<Lack>,
    },
    /// The way back from a step was tried, and what came of it is stored.
    Rehearsed {
        step: Step,
        passed: bool,
        note: String,
        took_ms: i64,
    },
}

impl Machine {
    pub(super) fn on_asked(&mut self, who: &Who, ask: Ask, now_ms: i64, out: &mut Vec<Command>) {
        let verb = self.verb_of(&ask);
        let reason = reason_of(&ask).to_owned();
        let answer = self.answer(who, ask, now_ms);
        if let Err(refusal) = &answer
            && refusal.is_noted()
        {
            let step = self.state.step;
            self.note(
                who,
                verb,
                step,
                &reason,
                Outcome::Refused,
                &refusal.to_string(),
                now_ms,
            );
        }
        let answer = Command::Answer(answer.map(Box::new).map_err(Box::new));
        if self.must_save(now_ms) {
            self.deferred.push(answer);
        } else {
            out.push(answer);
        }
    }

    fn answer(&mut self, who: &Who, ask: Ask, now_ms: i64) -> Verdictless<Answer> {
        if let Some(trouble) = &self.trouble {
            return Err(Refusal::Trouble(trouble.clone()));
        }
        if self.saved.is_none() {
            return Err(Refusal::NotReady);
        }
        if let Ask::Plan { verb, to } = ask {
            return self.plan(verb, to, now_ms).map(Answer::Plan);
        }
        if who.name.trim().is_empty() {
            return Err(Refusal::Nameless);
        }
        match ask {
            Ask::Plan { .. } => {}
            Ask::Apply {
                plan,
                reason,
                typed,
            } => self.apply(who, &plan, &reason, typed.as_deref(), now_ms)?,
            Ask::Hold { reason } => self.hold(who, &reason, now_ms)?,
            Ask::Resume { reason } => self.resume(who, &reason, now_ms)?,
            Ask::Rollback { to, reason } => self.rollback(who, to, &reason, now_ms)?,
            Ask::Rehearsed {
                step,
                passed,
                note,
                took_ms,
            } => {
                let proof = Rehearsal {
                    at_ms: now_ms,
                    passed,
                    note: note.clone(),
                    took_ms,
                    settings_number: self.state.settings_number,
                };
                self.rehearsed(who, step, proof, now_ms)?;
                return Ok(Answer::Rehearsed {
                    step,
                    passed,
                    note,
                    took_ms,
                });
            }
            Ask::Baseline => {
                let lacks = self.baseline(who, now_ms)?;
                let (epoch, step) = (self.state.epoch, self.state.step);
                return Ok(Answer::Recorded { epoch, step, lacks });
            }
            Ask::Evidence(sample) => {
                if let Some(said) = for_good(&sample) {
                    let step = self.state.step;
                    self.note(who, Verb::Evidence, step, "", Outcome::Done, &said, now_ms);
                }
                self.hear(who, sample);
            }
            Ask::Note { outcome, note } => {
                let step = self.state.step;
                self.note(who, Verb::Call, step, "", outcome, &note, now_ms);
            }
        }
        Ok(Answer::Accepted {
            epoch: self.state.epoch,
            step: self.state.step,
            leaves: self.leaves_behind(),
        })
    }

    /// What the way back that it is on leaves behind.
    fn leaves_behind(&self) -> Option<&'static str> {
        let motion = self.state.motion.as_ref()?;
        let goes_back = motion.direction == Direction::Back;
        goes_back.then(|| self.state.leaves(motion.to)).flatten()
    }

    fn verb_of(&self, ask: &Ask) -> Verb {
        match ask {
            Ask::Plan { verb, .. } => *verb,
            Ask::Apply { plan: id, .. } => {
                let plan = self.plans.iter().find(|plan| plan.id == *id);
                plan.map_or(Verb::Promote, |plan| plan.verb)
            }
            Ask::Hold { .. } => Verb::Hold,
            Ask::Resume { .. } => Verb::Resume,
            Ask::Rollback { .. } => Verb::Rollback,
            Ask::Rehearsed { .. } => Verb::Rehearse,
            Ask::Baseline => Verb::Baseline,
            Ask::Evidence(_) => Verb::Evidence,
            Ask::Note { .. } => Verb::Call,
        }
    }

    pub(super) fn busy(&self, what: &'static str) -> Refusal {
        Refusal::Busy {
            state: self.state.name().as_str(),
            what,
        }
    }

    fn apply(
        &mut self,
        who: &Who,
        id: &str,
        reason: &str,
        typed: Option<&str>,
        now_ms: i64,
    ) -> Verdictless<()> {
        reasoned(reason)?;
        let at = self
            .plans
            .iter()
            .position(|plan| plan.id == id)
            .ok_or(Refusal::NoPlan)?;
        if self.plans[at].verb == Verb::Complete && typed != Some(self.name.as_str()) {
            return Err(Refusal::NotTyped);
        }
        // Single use, whatever comes of it.
        let plan = self.plans.remove(at);
        if now_ms >= plan.expires_ms {
            return Err(Refusal::Expired);
        }
        if plan.epoch != self.state.epoch {
            return Err(Refusal::Moved {
                then: plan.epoch,
                now: self.state.epoch,
            });
        }
        let to = self.target(plan.verb, Some(plan.to))?;
        let wanted = Wanted {
            verb: plan.verb,
            to,
            who,
            reason,
        };
        if plan.verb == Verb::Rollback {
            self.go_back(&wanted, now_ms);
            return Ok(());
        }
        let verdicts = self.verdicts(now_ms);
        if verdicts.is_empty() || !verdicts.iter().all(Verdict::opens) {
            return Err(Refusal::Gates(verdicts));
        }
        self.fits(&plan.steps)?;
        self.begin(&wanted, Direction::Forward, now_ms);
        if let Some(record) = self.records.last_mut() {
            record.evidence = verdicts;
        }
        Ok(())
    }
}

/// What a step that cannot be taken back rests on, for its record: who said it has to be found later.
fn for_good(sample: &Sample) -> Option<String> {
    match (sample.measure, &sample.reading) {
        (Measure::Archive, Reading::Counted { faults, total, .. }) => Some(format!(
            "the archive was read again: {faults} of {total} entries are not as they were"
        )),
        _ => None,
    }
}

fn reason_of(ask: &Ask) -> &str {
    match ask {
        Ask::Apply { reason, .. }
        | Ask::Hold { reason }
        | Ask::Resume { reason }
        | Ask::Rollback { reason, .. } => reason,
        Ask::Plan { .. }
        | Ask::Rehearsed { .. }
        | Ask::Baseline
        | Ask::Evidence(_)
        | Ask::Note { .. } => "",
    }
}
