//! What the driver does next: `step(event, now) -> commands`, without I/O and without a clock.
//!
//! ```text
//!   steady ──promote──▶ moving              held ──resume──▶ steady
//!   steady ──complete──▶ moving             held ──rollback──▶ rolling_back
//!   steady ──hold──▶ held                   held ──tripwire──▶ rolling_back
//!   steady ──rollback──▶ rolling_back       held ──tripwire──▶ frozen
//!   steady ──tripwire──▶ rolling_back
//!   steady ──tripwire──▶ frozen             rolling_back ──arrived──▶ steady
//!                                           rolling_back ──arrived──▶ held
//!   moving ──arrived──▶ steady              rolling_back ──tripwire──▶ frozen
//!   moving ──arrived──▶ held
//!   moving ──failed──▶ steady               frozen ──resume──▶ steady
//!   moving ──failed──▶ held                 frozen ──resume──▶ rolling_back
//!   moving ──failed──▶ rolling_back         frozen ──resume──▶ held
//!   moving ──deadline──▶ steady             rolling_back ──deadline──▶ steady
//!   moving ──deadline──▶ held               rolling_back ──deadline──▶ held
//!   moving ──deadline──▶ rolling_back
//!   moving ──rollback──▶ rolling_back
//!   moving ──rollback──▶ steady
//!   moving ──rollback──▶ held
//!   moving ──tripwire──▶ rolling_back
//!   moving ──tripwire──▶ frozen
//!   moving ──tripwire──▶ steady
//!   moving ──tripwire──▶ held
//! ```
//! (A test holds this list against the transitions that the code makes. Going back over what nobody was told of yet is done at
//! once; a hold during a move takes effect when it ends.)
//!
//! What keeps it safe:
//! * **Stored before acted on.** A change is stored by [`Command::Save`], alone; what follows from it is handed out after
//!   [`Event::Saved`] and not at all after [`Event::NotSaved`], which also takes the state back to what was stored and asks to
//!   read what is. So losing a save, or its answer, a crash, and another driver's taking over are one case: go on from what is
//!   stored.
//! * **An action is known by its epoch and its number**, and an epoch never comes twice with another content, because the
//!   store accepts one writer for each version. Doing an action again has the same effect.
//! * **Only evidence opens**, and only asking moves forward: time, evidence and crashes move back or not at all.
//! * **A way forward has an end.** At its deadline a move is put back; going back never gives up. What is put back stands as it
//!   stood: it takes neither soak nor windows with it.

mod act;
mod ask;
mod baseline;
mod journal;
mod lineage;
mod plan;
mod refusal;
mod settings;
mod state;
mod tally;
mod unsaved;
mod verbs;
mod watch;

use std::collections::{BTreeMap, VecDeque};

use crate::config::Migration;
use crate::migration::gate::{Measure, Sample, millis};
use crate::migration::phase::{Course, Step};

pub use ask::{Answer, Ask};
pub use baseline::Lack;
pub use journal::{Outcome, Record, Who};
pub use lineage::{Lineage, Mark, Trouble, further, replaces};
pub use plan::Plan;
pub use refusal::Refusal;
pub use settings::{Sections, beside};
pub use state::{
    Action, Baseline, Direction, Motion, Name, Rehearsal, Settings, State, Stop, Told, Verb,
};
pub use tally::{Compared, Counts, OfRoute, Process, Reached, Tally, Wellness};
pub use watch::{Observation, Said};

/// What happens to the driver.
#[derive(Clone, Debug)]
pub enum Event {
    /// What is stored, and under which version the store holds it (0: it holds none).
    Loaded {
        state: Option<Box<State>>,
        stored: u64,
    },
    /// What the copy holds. It is held against what is stored from the next `Loaded` on.
    Copied(Option<Box<State>>),
    Saved,
    NotSaved(NotSaved),
    Asked(Who, Ask),
    Acted {
        epoch: u64,
        at: usize,
        outcome: Acted,
    },
    Observed(Observation),
    /// The flags could not be told again, because Redis holds them in this later version.
    Outrun(u64),
    Tick,
}

/// Why a save did not happen, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSaved {
    /// The store holds another version.
    Conflict,
    /// The store did not answer; it may have saved all the same.
    Unreachable,
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    Done,
    /// To be asked for again: it waits for this.
    NotYet(String),
    /// It cannot be done now.
    Failed(String),
    /// The flags that Redis holds are of this later version, and were not replaced.
    Outrun(u64),
}

/// What the driver is to do, in this order.
#[derive(Clone, Debug)]
pub enum Command {
    /// Store the state in place of version `over`, and append the records, in one step; then tell `Saved` or `NotSaved`
    /// before anything else.
    Save {
        state: Box<State>,
        over: u64,
        records: Vec<Record>,
    },
    /// Read what is stored and tell `Loaded`.
    Load,
    Act {
        epoch: u64,
        at: usize,
        action: Action,
    },
    /// To the one who asked last.
    Answer(Result<Box<Answer>, Box<Refusal>>),
}

/// How long what is observed may stay unsaved; a crash loses so much of a condition's time at most.
const SAVE_EVERY_MS: i64 = 30_000;

/// The driver's mind.
#[derive(Clone)]
pub struct Machine {
    config: Migration,
    course: Course,
    /// The migration's name, typed to complete it.
    name: String,
    instance: String,
    settings: Settings,
    salt: u64,
    /// What is stored, as far as is known; `None` before the first load.
    saved: Option<State>,
    /// The copy as it was read last; `None`: it was not read yet.
    copy: Option<Option<Box<State>>>,
    /// What is stored, or is being stored.
    state: State,
    /// The version that the store holds; 0 for none.
    stored: u64,
    saving: bool,
    /// A save failed, and what is stored was not read since: until then nothing is saved and nothing follows.
    reading: Option<NotSaved>,
    records: Vec<Record>,
    /// The newest that were saved: the store may lose what it said it saved.
    kept: VecDeque<Record>,
    /// Handed out when the save succeeds.
    deferred: Vec<Command>,
    inbox: VecDeque<Event>,
    plans: Vec<Plan>,
    next_plan: u64,
    /// The action that was given out and has not been answered.
    acting: Option<(u64, usize)>,
    /// The action that was given out last, and when first by this process.
    given: Option<((u64, usize), i64)>,
    waiting: Option<String>,
    trouble: Option<Trouble>,
    samples: BTreeMap<Measure, Sample>,
    /// Dead letters among what was counted lately.
    recent: Option<Sample>,
    /// Parity's counts at the last look.
    compared: Option<Compared>,
    /// Those that belong to what is stored.
    compared_saved: Option<Compared>,
    /// Why what is counted is not all there is.
    partial: Option<String>,
    unsaved: Option<unsaved::Unsaved>,
    converge_ms: Option<i64>,
    drain_ms: Option<i64>,
    looks_ms: i64,
    saved_at_ms: i64,
    touched: bool,
}

impl Machine {
    /// `salt` is to differ between any two drivers.
    #[must_use]
    pub fn new(config: Migration, name: &str, instance: &str, salt: u64) -> Self {
        Self {
            course: Course::new(&config),
            settings: settings::settings(&config),
            config,
            name: name.to_owned(),
            instance: instance.to_owned(),
            salt,
            saved: None,
            copy: None,
            state: State::first(0, instance),
            stored: 0,
            saving: false,
            reading: None,
            records: Vec::new(),
            kept: VecDeque::new(),
            deferred: Vec::new(),
            inbox: VecDeque::new(),
            plans: Vec::new(),
            next_plan: 0,
            acting: None,
            given: None,
            waiting: None,
            trouble: None,
            samples: BTreeMap::new(),
            recent: None,
            compared: None,
            compared_saved: None,
            partial: None,
            unsaved: None,
            converge_ms: None,
            drain_ms: None,
            looks_ms: 0,
            saved_at_ms: 0,
            touched: false,
        }
    }

    /// With the furthest state that was seen before it steers: what does not go on from there is not gone on with.
    #[must_use]
    pub fn remembering(self, seen: Option<State>) -> Self {
        Self {
            state: seen.clone().unwrap_or(self.state),
            saved: seen,
            ..self
        }
    }

    /// Takes an event in.
    pub fn step(&mut self, event: Event, now_ms: i64) -> Vec<Command> {
        let mut out = Vec::new();
        self.take(event, now_ms, &mut out);
        while !self.saving
            && let Some(event) = self.inbox.pop_front()
        {
            self.take(event, now_ms, &mut out);
        }
        out
    }

    fn take(&mut self, event: Event, now_ms: i64, out: &mut Vec<Command>) {
        match event {
            Event::Saved => self.on_saved(now_ms, out),
            Event::NotSaved(why) => self.on_not_saved(why, out),
            other if self.saving => self.inbox.push_back(other),
            Event::Copied(copy) => self.copy = Some(copy),
            Event::Loaded { state, stored } => self.on_loaded(state, stored, now_ms),
            Event::Asked(who, ask) => match self.reading {
                Some(why) if !matches!(ask, Ask::Plan { .. }) => {
                    out.push(Command::Answer(Err(Box::new(Refusal::NotStored(why)))));
                }
                _ => self.on_asked(&who, ask, now_ms, out),
            },
            Event::Observed(observation) => self.on_observed(observation, now_ms),
            // They come again.
            Event::Acted { .. } | Event::Outrun(_) | Event::Tick if self.reading.is_some() => {}
            Event::Acted { epoch, at, outcome } => self.on_acted(epoch, at, outcome, now_ms),
            Event::Outrun(later) => self.outrun(later, now_ms),
            Event::Tick => self.on_tick(now_ms, out),
        }
        self.save_if_changed(now_ms, out);
    }

    fn on_saved(&mut self, now_ms: i64, out: &mut Vec<Command>) {
        self.saving = false;
        self.stored = self.state.version;
        self.saved = Some(self.state.clone());
        self.saved_at_ms = now_ms;
        self.unsaved = None;
        self.compared_saved = self.compared.clone();
        self.keep();
        out.append(&mut self.deferred);
        self.act(now_ms, out);
    }

    /// Nothing that was meant to follow has been handed out, so the state is again what is stored.
    fn on_not_saved(&mut self, why: NotSaved, out: &mut Vec<Command>) {
        self.saving = false;
        self.records.clear();
        self.acting = None;
        self.keep_unsaved(why);
        if let Some(saved) = self.saved.clone() {
            self.state = saved;
            self.carry_unsaved();
            self.compared = self.compared_saved.clone();
        }
        self.reading = Some(why);
        let unanswered = self
            .deferred
            .drain(..)
            .any(|command| matches!(command, Command::Answer(_)));
        if unanswered {
            out.push(Command::Answer(Err(Box::new(Refusal::NotStored(why)))));
        }
        // It may be stored all the same: only reading tells.
        out.push(Command::Load);
    }

    fn on_loaded(&mut self, found: Option<Box<State>>, stored: u64, now_ms: i64) {
        self.acting = None;
        if let Some(why) = self.reading.take() {
            self.keep_unsaved(why);
            self.records.clear();
        }
        let held = found.as_ref().map(|found| found.rank());
        let journaled = found.as_ref().map_or(0, |found| found.journal);
        let newest = match self.judged(found) {
            Ok(newest) => newest,
            Err(trouble) => {
                self.trouble = Some(trouble);
                return;
            }
        };
        self.trouble = None;
        self.stored = stored;
        match newest {
            Some(state) => {
                // What the store does not hold yet is saved over what it holds.
                self.touched = state.version != stored || held != Some(state.rank());
                self.saved_at_ms = if self.touched { i64::MIN } else { now_ms };
                self.saved = Some(state.clone());
                self.state = state;
                if self.carry_unsaved() {
                    self.save_soon();
                }
                self.append_again(journaled, now_ms);
                self.note_what_was_lost(held, now_ms);
            }
            None => {
                self.state = State::first(now_ms, &self.instance);
                self.turn(now_ms);
                let own = self.own();
                self.note(
                    &own,
                    Verb::Start,
                    self.state.step,
                    "",
                    Outcome::Done,
                    "all is Redis's",
                    now_ms,
                );
            }
        }
        self.configure(now_ms);
    }

    /// Redis held an earlier course than the one that is gone on with.
    fn note_what_was_lost(&mut self, held: Option<(u64, u64)>, now_ms: i64) {
        let epoch = self.state.epoch;
        let Some((held, _)) = held.filter(|(held, _)| *held < epoch) else {
            return;
        };
        let note = format!(
            "Redis had lost the last change of course: it held epoch {held}, and epoch {epoch} is gone on with"
        );
        let (own, step) = (self.own(), self.state.step);
        self.note(&own, Verb::Start, step, "", Outcome::Done, &note, now_ms);
    }

    /// What to go on from: the furthest of what is stored, the copy and all that was seen, where they are of one history. So a
    /// store that lost its last saves holds nobody up; stores that hold nothing any more are not taken for a first start.
    fn judged(&self, found: Option<Box<State>>) -> Result<Option<State>, Trouble> {
        let copy = self.copy.clone().flatten().map(|copy| *copy);
        match (
            self.saved.clone(),
            further(found.map(|found| *found), copy)?,
        ) {
            (Some(had), None) => Err(Trouble::Backwards {
                had: had.epoch,
                found: 0,
            }),
            (had, stored) => further(had, stored),
        }
    }

    fn on_tick(&mut self, now_ms: i64, out: &mut Vec<Command>) {
        if self.trouble.is_some() || self.saved.is_none() {
            return;
        }
        self.mind_deadline(now_ms);
        // Where the deadline has changed the course, the save that follows hands the next action out.
        if self.records.is_empty() {
            self.act(now_ms, out);
        }
    }

    /// Hands out the action that the stored state is at, unless it is being done.
    fn act(&mut self, now_ms: i64, out: &mut Vec<Command>) {
        let Some(saved) = &self.saved else { return };
        let Some(motion) = &saved.motion else { return };
        let here = (saved.epoch, motion.at);
        if self.trouble.is_some() || self.reading.is_some() || self.acting == Some(here) {
            return;
        }
        // What is due is taken back at the next tick; nothing goes forward before that.
        if motion.direction == Direction::Forward && now_ms >= motion.deadline_ms {
            return;
        }
        if let Some(action) = motion.action() {
            self.acting = Some(here);
            if self.given.is_none_or(|(given, _)| given != here) {
                self.given = Some((here, now_ms));
            }
            out.push(Command::Act {
                epoch: here.0,
                at: here.1,
                action,
            });
        }
    }

    fn save_if_changed(&mut self, now_ms: i64, out: &mut Vec<Command>) {
        if self.saving || self.reading.is_some() || !self.must_save(now_ms) {
            return;
        }
        self.touched = false;
        self.saving = true;
        self.state.version = self.state.version.max(self.stored) + 1;
        out.push(Command::Save {
            state: Box::new(self.state.clone()),
            over: self.stored,
            records: self.records.clone(),
        });
    }

    /// Whether a save follows this event.
    fn must_save(&self, now_ms: i64) -> bool {
        let due = self.touched && now_ms.saturating_sub(self.saved_at_ms) >= SAVE_EVERY_MS;
        self.trouble.is_none() && (due || !self.records.is_empty())
    }

    /// Begins a new epoch: plans of the old one are void.
    fn turn(&mut self, now_ms: i64) {
        self.state.epoch += 1;
        self.state.lineage.grow(self.state.epoch, now_ms, self.salt);
        self.plans.clear();
        self.acting = None;
        self.waiting = None;
    }

    /// Appends to the journal; the save that carries it follows.
    #[expect(clippy::too_many_arguments, reason = "a record has as many parts")]
    fn note(
        &mut self,
        who: &Who,
        verb: Verb,
        to: Step,
        reason: &str,
        outcome: Outcome,
        note: &str,
        now_ms: i64,
    ) {
        let stops = matches!(
            verb,
            Verb::Tripwire | Verb::Rollback | Verb::Hold | Verb::Resume
        );
        // What opens is journaled with what it was opened on.
        let evidence = if stops || outcome == Outcome::Refused && verb != Verb::Call {
            self.verdicts(now_ms)
        } else {
            Vec::new()
        };
        self.state.journal += 1;
        self.records.push(Record {
            n: self.state.journal,
            at_ms: now_ms,
            epoch: self.state.epoch,
            who: who.name.clone(),
            origin: who.origin.clone(),
            verb,
            from: self
                .state
                .motion
                .as_ref()
                .map_or(self.state.step, |motion| motion.from),
            to,
            reason: reason.to_owned(),
            outcome,
            note: note.to_owned(),
            evidence,
        });
    }

    fn own(&self) -> Who {
        Who {
            name: "lockgate".to_owned(),
            origin: self.instance.clone(),
        }
    }

    /// The state as it is stored; `None` before the first load.
    #[must_use]
    pub const fn stored(&self) -> Option<&State> {
        self.saved.as_ref()
    }

    /// Whether what is stored was held against the copy.
    #[must_use]
    pub const fn compared(&self) -> bool {
        self.copy.is_some()
    }

    /// Why nothing is done any more, until an operator decides.
    #[must_use]
    pub const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// What the present action waits for.
    #[must_use]
    pub fn waiting(&self) -> Option<&str> {
        self.waiting.as_deref()
    }

    #[must_use]
    pub const fn course(&self) -> &Course {
        &self.course
    }

    fn freshness_ms(&self) -> i64 {
        millis(self.config.evidence_freshness)
    }
}

#[cfg(test)]
mod tests;
