//! How a change of course goes: its actions, their outcomes, its deadline, and putting it back.

use super::state::{Action, Direction, Motion, State, Told, Verb};
use super::{Acted, Machine, Outcome, Who};
use crate::migration::gate::{Measure, millis, span};
use crate::migration::phase::{Share, Step};

/// A change of course that is wanted.
pub(super) struct Wanted<'a> {
    pub verb: Verb,
    pub to: Step,
    pub who: &'a Who,
    pub reason: &'a str,
}

impl Machine {
    /// What leads from a step to another, in order.
    pub(super) fn actions(&self, state: &State, to: Step, direction: Direction) -> Vec<Action> {
        let epoch = state.epoch;
        let mut version = state.told.version;
        let mut tell = |share, hold_ingress_to| {
            version += 1;
            Action::Tell(Told {
                version,
                epoch,
                share,
                hold_ingress_to,
            })
        };
        let before = state.told.share;
        let after = to.share();
        let follow = |told: Action| match told {
            Action::Tell(Told { version, .. }) => Action::Converge { version },
            other => other,
        };
        match direction {
            // Who still writes to Kafka writes for readers there: they leave once nobody is known to write.
            Direction::Back if state.may_write_kafka() && after.consumers < before.consumers => {
                let still = Share {
                    ingress: after.ingress,
                    ..before
                };
                let writers = tell(still, None);
                let readers = tell(after, None);
                vec![writers, follow(writers), readers, follow(readers)]
            }
            Direction::Back => {
                let back = tell(after, None);
                vec![back, follow(back)]
            }
            Direction::Forward if before == after => vec![Action::Precheck, Action::Drain],
            Direction::Forward if before.ingress == after.ingress => {
                let on = tell(after, None);
                vec![Action::Precheck, on, follow(on)]
            }
            // An application's write before the change may not be mirrored yet when its next one is in Kafka: so the buckets
            // that move are held until all is carried over.
            Direction::Forward => {
                let hold = tell(before, Some(after.ingress));
                let on = tell(after, None);
                vec![
                    Action::Precheck,
                    hold,
                    follow(hold),
                    Action::Drain,
                    on,
                    follow(on),
                ]
            }
        }
    }

    /// Begins a change of course in a new epoch.
    pub(super) fn begin(&mut self, wanted: &Wanted<'_>, direction: Direction, now_ms: i64) {
        let from = self.state.furthest();
        let from = match direction {
            Direction::Forward => self.state.step,
            Direction::Back => from,
        };
        self.turn(now_ms);
        let actions = self.actions(&self.state, wanted.to, direction);
        let leaves = self.state.leaves(wanted.to);
        let leaves = leaves.filter(|_| direction == Direction::Back);
        if direction == Direction::Forward {
            self.arm_anew(from, wanted.to);
        }
        self.state.motion = Some(Motion {
            verb: wanted.verb,
            direction,
            from,
            to: wanted.to,
            actions,
            at: 0,
            begun_ms: now_ms,
            deadline_ms: now_ms.saturating_add(millis(self.config.attempt_budget)),
            by: wanted.who.name.clone(),
            reason: wanted.reason.to_owned(),
            undoes: None,
        });
        self.intend(now_ms);
        self.note(
            wanted.who,
            wanted.verb,
            wanted.to,
            wanted.reason,
            Outcome::Begun,
            leaves.unwrap_or_default(),
            now_ms,
        );
    }

    /// Goes back to a step: at once where nobody was told of more.
    pub(super) fn go_back(&mut self, wanted: &Wanted<'_>, now_ms: i64) {
        let moving = self
            .state
            .motion
            .as_ref()
            .map(|motion| (motion.direction, motion.from));
        if let Some((Direction::Forward, from)) = moving
            && from == wanted.to
            && self.state.tells_only(from)
        {
            self.note(
                wanted.who,
                wanted.verb,
                wanted.to,
                wanted.reason,
                Outcome::Undone,
                "nobody was told yet",
                now_ms,
            );
            self.state.motion = None;
            self.turn(now_ms);
            return;
        }
        self.begin(wanted, Direction::Back, now_ms);
    }

    fn intend(&mut self, now_ms: i64) {
        if let Some(Action::Tell(told)) = self.state.motion.as_ref().and_then(Motion::action) {
            self.state.tell(told, now_ms);
        }
    }

    pub(super) fn on_acted(&mut self, epoch: u64, at: usize, outcome: Acted, now_ms: i64) {
        // An answer of an earlier course, or one that came twice.
        if self.acting != Some((epoch, at)) {
            return;
        }
        self.acting = None;
        let Some(motion) = self.state.motion.as_mut() else {
            return;
        };
        match outcome {
            Acted::Done => self.proceed("", now_ms),
            Acted::NotYet(what) => self.waiting = Some(what),
            Acted::Failed(why) if motion.direction == Direction::Forward => self.undo(&why, now_ms),
            Acted::Failed(why) => self.waiting = Some(why),
            Acted::Outrun(later) => self.outrun(later, now_ms),
        }
    }

    /// Goes on with the next action, or is there. `said`: of the one that is over.
    fn proceed(&mut self, said: &str, now_ms: i64) {
        let budget = millis(self.config.attempt_budget);
        let Some(motion) = &mut self.state.motion else {
            return;
        };
        motion.at += 1;
        let Some(action) = motion.action() else {
            self.arrive(said, now_ms);
            return;
        };
        // Each whom a rollback tells is waited for as long, from when they could be told.
        if motion.direction == Direction::Back {
            motion.deadline_ms = now_ms.saturating_add(budget);
        }
        let (verb, to) = (motion.verb, motion.to);
        (self.acting, self.waiting) = (None, None);
        self.intend(now_ms);
        let note = match said {
            "" => action.as_str().to_owned(),
            said => format!("{}; {said}", action.as_str()),
        };
        let own = self.own();
        self.note(&own, verb, to, "", Outcome::Begun, &note, now_ms);
    }

    /// Redis holds flags of a later version than those that are told here. Where another driver told them, the save that
    /// follows is refused; where it is not they are left over, and the versions go on above them.
    pub(super) fn outrun(&mut self, later: u64, now_ms: i64) {
        let version = self.state.told.version;
        if self.saved.is_none() || self.trouble.is_some() || later < version {
            return;
        }
        let more = (later - version).saturating_add(1);
        // An epoch's actions never change.
        self.turn(now_ms);
        let epoch = self.state.epoch;
        let above = |told: Told| Told {
            version: told.version.saturating_add(more),
            epoch,
            ..told
        };
        self.state.told = above(self.state.told);
        let motion = self.state.motion.as_mut();
        let left = motion.map(|motion| motion.actions.iter_mut().skip(motion.at));
        for action in left.into_iter().flatten() {
            match action {
                Action::Tell(told) => *told = above(*told),
                Action::Converge { version } => *version = version.saturating_add(more),
                Action::Precheck | Action::Drain => {}
            }
        }
        let note = format!(
            "Redis held flags of version {later}, which this migration did not tell; what it tells has version {} now",
            self.state.told.version
        );
        let (own, step) = (self.own(), self.state.step);
        self.note(&own, Verb::Start, step, "", Outcome::Done, &note, now_ms);
    }

    pub(super) fn mind_deadline(&mut self, now_ms: i64) {
        let (freshness, budget) = (self.freshness_ms(), millis(self.config.attempt_budget));
        let (given, epoch) = (self.given, self.state.epoch);
        let Some(motion) = &mut self.state.motion else {
            return;
        };
        // As far as clocks of instances may differ.
        if now_ms.saturating_add(freshness) < motion.begun_ms {
            match motion.direction {
                Direction::Forward => {
                    self.undo("the clock was put back, and its deadline with it", now_ms)
                }
                Direction::Back => {
                    motion.begun_ms = now_ms;
                    motion.deadline_ms = now_ms.saturating_add(budget);
                }
            }
            return;
        }
        if now_ms < motion.deadline_ms {
            return;
        }
        // While no driver was up nobody could say that he has followed: a way back asks for a whole budget.
        let given = given.filter(|(given, _)| *given == (epoch, motion.at));
        let asked_ms = given.map_or(0, |(_, since_ms)| now_ms.saturating_sub(since_ms));
        if motion.direction == Direction::Back && (0..budget).contains(&asked_ms) {
            return;
        }
        let waited = self
            .waiting
            .clone()
            .unwrap_or_else(|| "an answer".to_owned());
        let after = span(now_ms.saturating_sub(motion.begun_ms));
        match (motion.direction, motion.action()) {
            (Direction::Forward, _) => {
                self.undo(
                    &format!("not finished after {after}, waiting for {waited}"),
                    now_ms,
                );
            }
            // It is told; those who do not answer are named, and watched by the gate on clients.
            (Direction::Back, Some(Action::Converge { .. })) => {
                self.proceed(&format!("not confirmed after {after}: {waited}"), now_ms);
            }
            (Direction::Back, _) => {}
        }
    }

    /// Puts a move back to where it began. It is undone, and said to be, once that is reached.
    fn undo(&mut self, why: &str, now_ms: i64) {
        let Some(motion) = &self.state.motion else {
            return;
        };
        let (verb, from, reached) = (motion.verb, motion.from, motion.to);
        let own = self.own();
        let wanted = Wanted {
            verb,
            to: from,
            who: &own,
            reason: why,
        };
        self.go_back(&wanted, now_ms);
        if let Some(motion) = &mut self.state.motion {
            motion.undoes = Some(reached);
            if let Some(record) = self.records.last_mut() {
                record.note = format!("{reached} is not reached; going back");
            }
        }
    }

    fn arrive(&mut self, note: &str, now_ms: i64) {
        let Some(motion) = self.state.motion.take() else {
            return;
        };
        let who = Who {
            name: motion.by.clone(),
            origin: self.instance.clone(),
        };
        self.waiting = None;
        self.state.followed(now_ms);
        if let Some(failed) = motion.undoes {
            self.note_undone(&who, &motion, failed, note, now_ms);
            return;
        }
        self.state.step = motion.to;
        self.state.since_ms = now_ms;
        (self.state.soaked_ms, self.state.looked_ms) = (0, now_ms);
        self.state.by.clone_from(&motion.by);
        // What was shown at another step shows nothing at this one.
        self.state.holding.clear();
        self.state.tally.since_ms = i64::MIN;
        self.samples.remove(&Measure::DeadLetters);
        self.samples.remove(&Measure::Parity);
        self.recent = None;
        self.note(
            &who,
            motion.verb,
            motion.to,
            &motion.reason,
            Outcome::Done,
            note,
            now_ms,
        );
        if let Some(record) = self.records.last_mut() {
            record.from = motion.from;
        }
    }

    /// It stands where it stood: since when, how long it was looked at, and what its windows hold are as they were.
    fn note_undone(&mut self, who: &Who, motion: &Motion, failed: Step, note: &str, now_ms: i64) {
        let back = format!("back at {}", motion.to);
        let note = if note.is_empty() {
            back
        } else {
            format!("{back}; {note}")
        };
        let (verb, reason) = (motion.verb, &motion.reason);
        self.note(who, verb, failed, reason, Outcome::Undone, &note, now_ms);
    }
}
