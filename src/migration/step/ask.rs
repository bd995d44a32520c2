//! What an operator may ask, and what is answered. A refusal is data: it says what stands in the way and what to do.

use serde::{Deserialize, Serialize};

use super::act::Wanted;
use super::state::{Action, Baseline, Direction, Rehearsal, Settings, Stop, Verb};
use super::{Acted, Command, Event, Machine, NotSaved, Outcome, Trouble, Who};
use crate::migration::gate::{Measure, Reading, Verdict, millis, span};
use crate::migration::phase::{Phase, Step};

/// Characters that a reason has at least.
const REASON: usize = 10;
/// Plans that are kept; the oldest gives way.
const PLANS: usize = 16;
/// What telling, and looking whether it is possible, is reckoned with.
const QUICK_MS: i64 = 50;

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
    /// Note what was asked of Lockgate elsewhere, and what came of it.
    Note {
        outcome: Outcome,
        note: String,
    },
}

/// What would be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub id: String,
    pub verb: Verb,
    pub from: Step,
    pub to: Step,
    pub epoch: u64,
    pub expires_ms: i64,
    pub steps: Vec<Action>,
    /// How long it is likely to take; `None`: not known.
    pub estimate_ms: Option<i64>,
    /// Where going back from there leads; `None`: there is no way back.
    pub way_back: Option<Step>,
    pub gates: Vec<Verdict>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Plan(Plan),
    /// It is done, or stored and on its way.
    Accepted {
        epoch: u64,
        step: Step,
    },
}

/// Why not.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("the driver has not read its state yet; try again in a moment")]
    NotReady,
    #[error("{0}")]
    Trouble(Trouble),
    #[error("instance {0} steers; ask that one")]
    Elsewhere(String),
    #[error("{}", match .0 {
        NotSaved::Conflict => "another instance changed the state at the same moment; look at lockgate status and ask again",
        NotSaved::Unreachable => "Redis does not answer, and nothing is done that is not stored first; see lockgate runbook LockgateEdgeDown",
    })]
    NotStored(NotSaved),
    #[error("nobody is named; nothing is changed without a name")]
    Nameless,
    #[error("the reason is too short; say why in {REASON} characters or more")]
    NoReason,
    #[error("there is no such plan, or it was applied already; make a new one")]
    NoPlan,
    #[error("the plan is too old; make a new one")]
    Expired,
    #[error("the state moved since the plan was made (epoch {then}, now {now}); make a new one")]
    Moved { then: u64, now: u64 },
    #[error("blocked by {}", names(.0))]
    Gates(Vec<Verdict>),
    #[error("type the migration's name to complete it")]
    NotTyped,
    #[error("{step} cannot be reached from {from}: {why}")]
    NoWay {
        from: Step,
        step: Step,
        why: &'static str,
    },
    #[error("it is {state}: {what}")]
    Busy {
        state: &'static str,
        what: &'static str,
    },
    #[error("it would take about {} and may take {}; nothing was begun", span(*.needs_ms), span(*.budget_ms))]
    Budget { needs_ms: i64, budget_ms: i64 },
    #[error("how long it would take is not known: {0}; nothing was begun")]
    Unreckoned(&'static str),
    #[error("the throughput is not known now; a baseline needs it fresh")]
    NoThroughput,
}

fn names(verdicts: &[Verdict]) -> String {
    let blocked = verdicts.iter().filter(|verdict| !verdict.opens());
    let each: Vec<_> = blocked
        .map(|verdict| {
            format!(
                "{} ({}: {})",
                verdict.name,
                verdict.verdict.as_str(),
                verdict.reason
            )
        })
        .collect();
    each.join("; ")
}

type Verdictless<T> = Result<T, Refusal>;

impl Machine {
    pub(super) fn on_asked(&mut self, who: &Who, ask: Ask, now_ms: i64, out: &mut Vec<Command>) {
        let verb = self.verb_of(&ask);
        let reason = reason_of(&ask).to_owned();
        let planning = matches!(ask, Ask::Plan { .. });
        let answer = self.answer(who, ask, now_ms);
        if let Err(refusal) = &answer
            && self.saved.is_some()
            && self.trouble.is_none()
            && !planning
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
        if self.records.is_empty() {
            out.push(answer);
        } else {
            self.deferred.push(answer);
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
                    note,
                    took_ms,
                    settings_number: self.state.settings_number,
                };
                self.rehearsed(who, step, proof, now_ms)?;
            }
            Ask::Baseline => self.baseline(who, now_ms)?,
            Ask::Note { outcome, note } => {
                let step = self.state.step;
                self.note(who, Verb::Call, step, "", outcome, &note, now_ms);
            }
        }
        Ok(Answer::Accepted {
            epoch: self.state.epoch,
            step: self.state.step,
        })
    }

    /// The plan of a verb: the same steps as in earnest, run on a copy of the driver whose actions all succeed.
    fn plan(&mut self, verb: Verb, to: Option<Step>, now_ms: i64) -> Verdictless<Plan> {
        let wanted = self.target(verb, to)?;
        let from = self.state.furthest();
        let steps = self.recorded(verb, wanted, now_ms);
        self.next_plan += 1;
        let plan = Plan {
            id: format!("{:x}-{:x}", self.state.epoch, self.next_plan),
            verb,
            from,
            to: wanted,
            epoch: self.state.epoch,
            expires_ms: now_ms.saturating_add(millis(self.config.plan_lifetime)),
            estimate_ms: self.estimate(&steps).ok(),
            steps,
            way_back: self.way_back(wanted),
            gates: if verb == Verb::Rollback {
                Vec::new()
            } else {
                self.verdicts(now_ms)
            },
        };
        if self.plans.len() >= PLANS {
            self.plans.remove(0);
        }
        self.plans.push(plan.clone());
        Ok(plan)
    }

    /// What would be done, in order.
    fn recorded(&self, verb: Verb, to: Step, now_ms: i64) -> Vec<Action> {
        let mut copy = self.clone();
        let own = copy.own();
        let wanted = Wanted {
            verb,
            to,
            who: &own,
            reason: "",
        };
        if verb == Verb::Rollback {
            copy.go_back(&wanted, now_ms);
        } else {
            copy.begin(&wanted, Direction::Forward, now_ms);
        }
        let mut steps = Vec::new();
        let mut todo = Vec::new();
        copy.save_if_changed(now_ms, &mut todo);
        while let Some(command) = todo.pop() {
            match command {
                Command::Save { .. } => todo.extend(copy.step(Event::Saved, now_ms)),
                Command::Act { epoch, at, action } => {
                    steps.push(action);
                    let outcome = Acted::Done;
                    todo.extend(copy.step(Event::Acted { epoch, at, outcome }, now_ms));
                }
                Command::Load | Command::Answer(_) => {}
            }
        }
        steps
    }

    fn way_back(&self, step: Step) -> Option<Step> {
        (step != Step::DONE)
            .then(|| self.course.previous(step))
            .flatten()
    }

    /// Where a verb leads from here.
    fn target(&self, verb: Verb, to: Option<Step>) -> Verdictless<Step> {
        match verb {
            Verb::Promote => self.forward_target(to, false),
            Verb::Complete => self.forward_target(to, true),
            Verb::Rollback => self.back_target(to),
            _ => Err(Refusal::Busy {
                state: self.state.name().as_str(),
                what: "only promote, complete and rollback have plans",
            }),
        }
    }

    fn forward_target(&self, to: Option<Step>, completes: bool) -> Verdictless<Step> {
        let from = self.state.step;
        let no_way = |step, why| Refusal::NoWay { from, step, why };
        if self.state.motion.is_some() {
            return Err(self.busy("it is on its way already; wait, or roll back"));
        }
        if self.state.frozen.is_some() || self.state.held.is_some() {
            return Err(self.busy("lockgate resume --reason lets it go on"));
        }
        let next = self
            .course
            .next(from)
            .ok_or(no_way(from, "nothing comes after it"))?;
        let to = to.unwrap_or(next);
        if to != next {
            return Err(no_way(to, "a promotion goes one step at a time"));
        }
        match (completes, to.phase() == Phase::Done) {
            (false, true) => Err(no_way(
                to,
                "that cannot be taken back; lockgate complete does it",
            )),
            (true, false) => Err(no_way(Step::DONE, "cleanup comes before it")),
            _ => Ok(to),
        }
    }

    fn back_target(&self, to: Option<Step>) -> Verdictless<Step> {
        let from = self.state.furthest();
        let no_way = |step, why| Refusal::NoWay { from, step, why };
        if self.state.step == Step::DONE {
            return Err(no_way(
                Step::CLEANUP,
                "it is complete, and complete is for good",
            ));
        }
        let (before, ceiling) = match &self.state.motion {
            Some(motion) if motion.direction == Direction::Forward => (Some(motion.from), from),
            Some(motion) => (self.course.previous(motion.to), motion.to),
            None => (self.course.previous(from), from),
        };
        let to = to
            .or(before)
            .ok_or(no_way(Step::SHADOW, "there is nothing to take back"))?;
        if to >= ceiling {
            return Err(no_way(to, "that is not behind it"));
        }
        let known = self.course.holds(to) || to == self.state.step;
        if known {
            Ok(to)
        } else {
            Err(no_way(to, "the configuration has no such step"))
        }
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
            Ask::Note { .. } => Verb::Call,
        }
    }

    fn busy(&self, what: &'static str) -> Refusal {
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
        let needs_ms = self.estimate(&plan.steps)?;
        let budget_ms = millis(self.config.attempt_budget);
        if needs_ms > budget_ms {
            return Err(Refusal::Budget {
                needs_ms,
                budget_ms,
            });
        }
        self.begin(&wanted, Direction::Forward, now_ms);
        if let Some(record) = self.records.last_mut() {
            record.evidence = verdicts;
        }
        Ok(())
    }

    fn estimate(&self, steps: &[Action]) -> Verdictless<i64> {
        let mut sum = 0_i64;
        for step in steps {
            let part = match step {
                Action::Precheck | Action::Tell(_) => QUICK_MS,
                Action::Converge { .. } => self.converge_ms.ok_or(Refusal::Unreckoned(
                    "no application has said that it follows the flags",
                ))?,
                Action::Drain => self
                    .drain_ms
                    .ok_or(Refusal::Unreckoned("the mirrors' lag is not known"))?,
            };
            sum = sum.saturating_add(part);
        }
        Ok(sum)
    }

    fn hold(&mut self, who: &Who, reason: &str, now_ms: i64) -> Verdictless<()> {
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

    fn resume(&mut self, who: &Who, reason: &str, now_ms: i64) -> Verdictless<()> {
        reasoned(reason)?;
        if self.state.held.is_none() && self.state.frozen.is_none() {
            return Err(self.busy("there is nothing to resume"));
        }
        self.state.held = None;
        self.state.frozen = None;
        let step = self.state.step;
        self.note(who, Verb::Resume, step, reason, Outcome::Done, "", now_ms);
        if self.state.motion.is_none() {
            self.turn(now_ms);
        }
        Ok(())
    }

    fn rollback(
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

    fn rehearsed(
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

    fn baseline(&mut self, who: &Who, now_ms: i64) -> Verdictless<()> {
        if self.state.step != Step::SHADOW || self.state.motion.is_some() {
            return Err(self.busy("a baseline shows Redis alone: it is recorded in shadow"));
        }
        let freshness = self.freshness_ms();
        let fresh = |measure| {
            let sample = self.samples.get(&measure)?;
            match sample.reading {
                Reading::Value(value) if now_ms.saturating_sub(sample.at_ms) <= freshness => {
                    Some(value).filter(|value| value.is_finite())
                }
                _ => None,
            }
        };
        let throughput = fresh(Measure::Throughput)
            .filter(|value| *value > 0.0)
            .ok_or(Refusal::NoThroughput)?;
        let duplicate_hits = fresh(Measure::DuplicateHits);
        self.state.baseline = Some(Baseline {
            at_ms: now_ms,
            by: who.name.clone(),
            throughput,
            duplicate_hits,
        });
        let note = format!("{throughput} entries a second");
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

    /// Journals what changed in the settings since they were last seen.
    pub(super) fn configure(&mut self, now_ms: i64) {
        let settings = self.settings.clone();
        if self.state.settings == settings {
            return;
        }
        let changed: Vec<String> = settings
            .0
            .iter()
            .filter_map(|(key, value)| match self.state.settings.0.get(key) {
                Some(before) if before == value => None,
                Some(before) => Some(format!("{key}: {before} to {value}")),
                None => Some(format!("{key}: {value}")),
            })
            .collect();
        let note = if self.state.settings.0.is_empty() {
            "the first settings".to_owned()
        } else {
            changed.join("; ")
        };
        self.state.settings = settings;
        self.state.settings_number += 1;
        let (own, step) = (self.own(), self.state.step);
        self.note(
            &own,
            Verb::Configure,
            step,
            "",
            Outcome::Done,
            &note,
            now_ms,
        );
    }

    /// The actions that would lead back from a step, for trying them against the live stores.
    #[must_use]
    pub fn way_back_from(&self, step: Step) -> Option<(Step, Vec<Action>)> {
        let to = self.way_back(step)?;
        let mut state = self.saved.clone()?;
        state.told.share = step.share();
        Some((to, self.actions(&state, to, Direction::Back)))
    }
}

fn reasoned(reason: &str) -> Verdictless<()> {
    if reason.trim().chars().count() < REASON {
        return Err(Refusal::NoReason);
    }
    Ok(())
}

fn reason_of(ask: &Ask) -> &str {
    match ask {
        Ask::Apply { reason, .. }
        | Ask::Hold { reason }
        | Ask::Resume { reason }
        | Ask::Rollback { reason, .. } => reason,
        Ask::Plan { .. } | Ask::Rehearsed { .. } | Ask::Baseline | Ask::Note { .. } => "",
    }
}

/// The settings as flat names and texts.
pub(super) fn settings(config: &crate::config::Migration) -> Settings {
    fn descend(
        name: &str,
        value: &serde_json::Value,
        into: &mut std::collections::BTreeMap<String, String>,
    ) {
        match value {
            serde_json::Value::Object(inner) => {
                for (key, value) in inner {
                    let dot = if name.is_empty() { "" } else { "." };
                    descend(&format!("{name}{dot}{key}"), value, into);
                }
            }
            serde_json::Value::String(text) => {
                into.insert(name.to_owned(), text.clone());
            }
            other => {
                into.insert(name.to_owned(), other.to_string());
            }
        }
    }
    let mut flat = std::collections::BTreeMap::new();
    let value = serde_json::to_value(config).expect("a table of numbers and texts serialises");
    descend("", &value, &mut flat);
    Settings(std::sync::Arc::new(flat))
}
