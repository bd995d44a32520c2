//! Plans: what a verb would do, found by doing it on a copy of the driver; where it leads, and how long it is likely to take.

use serde::{Deserialize, Serialize};

use super::act::Wanted;
use super::lineage::mix;
use super::refusal::{Refusal, Verdictless};
use super::state::{Action, Direction, Verb};
use super::{Acted, Command, Event, Machine};
use crate::migration::gate::{Verdict, millis};
use crate::migration::phase::{Phase, Step};

/// Plans that are kept; the oldest gives way.
const PLANS: usize = 16;
/// What telling, and looking whether it is possible, is reckoned with.
const QUICK_MS: i64 = 50;
/// While buckets are held, streams are looked for so often.
const HASTE_MS: i64 = 500;

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
    /// What readers who go back do not get.
    #[serde(default)]
    pub leaves: Option<String>,
    pub gates: Vec<Verdict>,
    /// Why an attempt is not expected to end in time, and would not be begun.
    #[serde(default)]
    pub unfit: Option<String>,
    /// What does not stand in the way here, and will further on.
    pub warning: Option<String>,
}

impl Machine {
    /// The plan of a verb: the same steps as in earnest, run on a copy of the driver whose actions all succeed.
    pub(super) fn plan(&mut self, verb: Verb, to: Option<Step>, now_ms: i64) -> Verdictless<Plan> {
        let wanted = self.target(verb, to)?;
        let from = self.state.furthest();
        let steps = self.recorded(verb, wanted, now_ms);
        self.next_plan += 1;
        let plan = Plan {
            id: self.plan_id(),
            verb,
            from,
            to: wanted,
            epoch: self.state.epoch,
            expires_ms: now_ms.saturating_add(millis(self.config.plan_lifetime)),
            estimate_ms: self.estimate(&steps).ok(),
            unfit: match verb {
                Verb::Rollback => None,
                _ => self.fits(&steps).err().map(|refusal| refusal.to_string()),
            },
            steps,
            way_back: self.way_back(wanted),
            leaves: self
                .state
                .leaves(wanted)
                .filter(|_| verb == Verb::Rollback)
                .map(str::to_owned),
            warning: self.state.unrecorded().map(str::to_owned),
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

    /// Numbers begin anew with each process and an epoch goes on: only the random part tells a plan from one that another
    /// process made.
    fn plan_id(&self) -> String {
        let random = mix(self.salt ^ self.next_plan) & 0xffff_ffff;
        format!("{:x}-{:x}-{random:08x}", self.state.epoch, self.next_plan)
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

    pub(super) fn way_back(&self, step: Step) -> Option<Step> {
        (step != Step::DONE)
            .then(|| self.course.previous(step))
            .flatten()
    }

    /// Where a verb leads from here.
    pub(super) fn target(&self, verb: Verb, to: Option<Step>) -> Verdictless<Step> {
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

    pub(super) fn back_target(&self, to: Option<Step>) -> Verdictless<Step> {
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
            let why = match &self.state.motion {
                Some(motion) if motion.direction == Direction::Back && to == ceiling => {
                    "it is on its way back there already"
                }
                None if to == ceiling => "it stands there already",
                _ => "that is not behind it",
            };
            return Err(no_way(to, why));
        }
        let known = self.course.holds(to) || to == self.state.step;
        if known {
            Ok(to)
        } else {
            Err(no_way(to, "the configuration has no such step"))
        }
    }

    pub(super) fn estimate(&self, steps: &[Action]) -> Verdictless<i64> {
        let (mut sum, mut looks_ms) = (0_i64, self.looks_ms);
        for step in steps {
            let part = match step {
                Action::Tell(told) if told.hold_ingress_to.is_some() => {
                    looks_ms = looks_ms.min(HASTE_MS);
                    QUICK_MS
                }
                Action::Precheck | Action::Tell(_) => QUICK_MS,
                Action::Converge { .. } => self.converge_ms.ok_or(Refusal::Unreckoned(
                    "no application has said that it follows the flags",
                ))?,
                Action::Drain => self
                    .drain_ms
                    .ok_or(Refusal::Unreckoned("the mirrors' lag is not known"))?
                    .saturating_add(looks_ms),
            };
            sum = sum.saturating_add(part);
        }
        Ok(sum)
    }

    /// Whether an attempt is likely to end within what it may take.
    pub(super) fn fits(&self, steps: &[Action]) -> Verdictless<()> {
        let needs_ms = self.estimate(steps)?;
        let budget_ms = millis(self.config.attempt_budget);
        if needs_ms > budget_ms {
            return Err(Refusal::Budget {
                needs_ms,
                budget_ms,
            });
        }
        Ok(())
    }

    /// Why an attempt at the next step would not be begun, though all gates be open; `None` while one runs.
    #[must_use]
    pub fn unfit(&self) -> Option<Refusal> {
        let state = self.saved.as_ref()?;
        let next = self.course.next(state.step)?;
        let steps = self.actions(state, next, Direction::Forward);
        let still = state.motion.is_none();
        still.then(|| self.fits(&steps).err()).flatten()
    }

    /// How long going back from here is likely to take; `None`: there is no way back, or a part of it cannot be reckoned.
    #[must_use]
    pub fn way_back_ms(&self) -> Option<i64> {
        let (_, actions) = self.way_back_from(self.saved.as_ref()?.watched())?;
        self.estimate(&actions).ok()
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
