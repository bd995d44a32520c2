//! What is shown of the driver: plain data for API and command line, made of one [`View`] and of nothing else.
//!
//! Unknown is absent, never 0; times are RFC 3339; durations end in `_seconds`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::driver::{View, flags};
use super::gate::{Answer, Level, Op, Verdict, span};
use super::phase::{Phase, Step};
use super::step::{Record, Refusal, Rehearsal, State, Verb};
use crate::flags::Flags;

/// The migration as it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// `None`: its state was not read yet.
    pub phase: Option<Phase>,
    pub epoch: Option<u64>,
    pub step: Option<ShownStep>,
    pub state: Option<ShownState>,
    pub gates: Vec<ShownGate>,
    pub blockers: Vec<Blocker>,
    /// What stands in nobody's way here, and will further on.
    #[serde(default)]
    pub warning: Option<String>,
    pub next: Option<Next>,
    pub rollback: Option<Rollback>,
    pub flags: Option<Flags>,
    /// What is promised of order around a change.
    #[serde(default)]
    pub level: Option<Level>,
    /// 1 far from firing, 0 beyond it, null where it is not known.
    pub tripwires: BTreeMap<String, Option<f64>>,
    /// The last records.
    pub journal: Vec<ShownRecord>,
    /// The instance that steers, where it is not this one.
    pub steered_by: Option<String>,
    pub trouble: Option<String>,
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownStep {
    /// Where it is to be.
    pub set: Step,
    /// Where it is, or was before it moved.
    pub actual: Step,
    pub since: String,
    pub by: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownState {
    pub name: String,
    pub since: String,
    pub reason: Option<String>,
    pub waiting_for: Option<String>,
    pub deadline: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownGate {
    pub name: String,
    pub verdict: Answer,
    pub value: Option<f64>,
    pub unit: String,
    pub op: Op,
    pub threshold: f64,
    pub window_seconds: i64,
    pub samples: u64,
    pub needed: Option<u64>,
    pub bound: Option<(f64, f64)>,
    pub since: Option<String>,
    pub reason: String,
    /// What would make it pass, where it does not.
    #[serde(rename = "do", default)]
    pub todo: Option<String>,
    pub opens_at: Option<String>,
    /// Where it belongs to a level of what is promised of order.
    #[serde(default)]
    pub level: Option<Level>,
}

/// What stands in the way, and what to do about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Blocker {
    pub what: String,
    pub why: String,
    #[serde(rename = "do")]
    pub todo: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Next {
    pub verb: Verb,
    pub to: Step,
    pub allowed: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rollback {
    pub ready: bool,
    /// `None` where it was not proven from the present step, or in shadow from the next.
    pub rehearsed_at: Option<String>,
    pub estimate_seconds: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownRecord {
    pub n: u64,
    pub at: String,
    pub epoch: u64,
    pub who: String,
    pub origin: String,
    pub verb: Verb,
    pub from: Step,
    pub to: Step,
    pub reason: String,
    pub outcome: String,
    pub note: String,
    pub evidence: Vec<ShownGate>,
}

impl Shown {
    #[must_use]
    pub fn of(view: &View) -> Self {
        let state = view.state.as_ref();
        Self {
            phase: state.map(|state| state.step.phase()),
            epoch: state.map(|state| state.epoch),
            step: state.map(step),
            state: state.map(|state| shown_state(state, view.waiting.as_deref())),
            gates: view.verdicts.iter().map(gate).collect(),
            blockers: blockers(view),
            warning: state.and_then(State::unrecorded).map(str::to_owned),
            next: state.and_then(|state| next(state, view)),
            rollback: state.map(|state| rollback(state, view)),
            flags: state.map(flags),
            level: state.map(|_| Level::KEPT),
            tripwires: view
                .margins
                .iter()
                .map(|(measure, margin)| (measure.to_string(), *margin))
                .collect(),
            journal: view.journal.iter().map(record).collect(),
            steered_by: view.holder.clone(),
            trouble: view.trouble.as_ref().map(ToString::to_string),
            error: view.error.clone(),
        }
    }
}

fn step(state: &State) -> ShownStep {
    ShownStep {
        set: state.motion.as_ref().map_or(state.step, |motion| motion.to),
        actual: state.step,
        since: time(state.since_ms),
        by: state.by.clone(),
    }
}

fn shown_state(state: &State, waiting: Option<&str>) -> ShownState {
    let stop = state.frozen.as_ref().or(state.held.as_ref());
    let motion = state.motion.as_ref();
    ShownState {
        name: state.name().as_str().to_owned(),
        since: time(state.stands_since_ms()),
        reason: stop
            .map(|stop| format!("{} ({})", stop.reason, stop.by))
            .or(motion.map(|motion| format!("{} ({})", motion.reason, motion.by))),
        waiting_for: waiting.map(str::to_owned),
        deadline: state.deadline_ms().map(time),
    }
}

fn gate(verdict: &Verdict) -> ShownGate {
    ShownGate {
        name: verdict.name.to_string(),
        verdict: verdict.verdict,
        value: verdict.value,
        unit: verdict.unit.clone(),
        op: verdict.op,
        threshold: verdict.threshold,
        window_seconds: verdict.window_seconds,
        samples: verdict.samples,
        needed: verdict.needed,
        bound: verdict.bound,
        since: verdict.since_ms.map(time),
        reason: verdict.reason.clone(),
        todo: (!verdict.opens()).then(|| verdict.name.advice().to_owned()),
        opens_at: verdict.opens_at_ms.map(time),
        level: verdict.name.level(),
    }
}

fn blockers(view: &View) -> Vec<Blocker> {
    let mut blockers = Vec::new();
    let mut add = |what: &str, why: String, todo: &str| {
        blockers.push(Blocker {
            what: what.to_owned(),
            why,
            todo: todo.to_owned(),
        });
    };
    if let Some(trouble) = &view.trouble {
        add(
            "trouble",
            trouble.to_string(),
            "lockgate runbook epoch-went-backwards",
        );
    }
    if let Some(stop) = view.state.as_ref().and_then(|state| state.frozen.as_ref()) {
        add(
            "frozen",
            stop.reason.clone(),
            "find the cause, then lockgate resume --reason",
        );
    }
    if let Some(stop) = view.state.as_ref().and_then(|state| state.held.as_ref()) {
        add(
            "held",
            format!("{} ({})", stop.reason, stop.by),
            "lockgate resume --reason",
        );
    }
    if let Some(error) = &view.copied.error {
        add(
            "state-copy",
            format!("the copy of the state in Kafka cannot be written: {error}"),
            "let lockgate write its topic lockgate.NAME.state under the transactional id lockgate.NAME.driver",
        );
    }
    if let Some(error) = &view.error {
        add("redis", error.clone(), "lockgate runbook LockgateEdgeDown");
    }
    if view.state.is_some() && view.holder.is_none() && !view.steers {
        add(
            "lease",
            "this instance has lost its lease, and knows of no other that steers".to_owned(),
            "it takes it again by itself; where it does not: lockgate runbook LockgateNoDriver",
        );
    }
    match &view.unfit {
        Some(Refusal::Budget {
            needs_ms,
            budget_ms,
        }) => add(
            "attempt-budget",
            format!(
                "it would take about {} and may take {}",
                span(*needs_ms),
                span(*budget_ms)
            ),
            "let applications poll more often (and give a shorter lifetime), have streams looked for more often (redis.discovery_interval), or raise migration.attempt_budget",
        ),
        Some(refusal) => add(
            "attempt-budget",
            refusal.to_string(),
            "let applications say that they follow the flags, and see that the mirror runs: lockgate status",
        ),
        None => {}
    }
    for verdict in view.verdicts.iter().filter(|verdict| !verdict.opens()) {
        let why = format!("{}: {}", verdict.verdict.as_str(), verdict.reason);
        add(verdict.name.as_str(), why, verdict.name.advice());
    }
    blockers
}

fn next(state: &State, view: &View) -> Option<Next> {
    let to = view.next?;
    let still = state.motion.is_none() && state.held.is_none() && state.frozen.is_none();
    let opens = !view.verdicts.is_empty() && view.verdicts.iter().all(Verdict::opens);
    let stored = view.trouble.is_none() && view.error.is_none() && view.copied.error.is_none();
    Some(Next {
        verb: if to == Step::DONE {
            Verb::Complete
        } else {
            Verb::Promote
        },
        to,
        allowed: still && opens && stored && view.steers && view.unfit.is_none(),
    })
}

/// The way back, as every page shows it.
pub(super) struct WayBack<'a> {
    /// `None`: there is nothing to take back, or no way to do it.
    pub to: Option<Step>,
    /// It would be taken if it were asked for now.
    pub ready: bool,
    /// How it was tried last under the settings of now.
    pub tried: Option<&'a Rehearsal>,
    pub estimate_seconds: Option<f64>,
}

pub(super) fn way_back<'a>(state: &'a State, view: &View) -> WayBack<'a> {
    let nothing = state.furthest() == Step::SHADOW;
    // In shadow it is the way back from the next step that is tried.
    let from = if nothing { view.next } else { Some(state.step) };
    let tried = from
        .and_then(|from| state.rehearsed.get(&from))
        .filter(|tried| tried.settings_number == state.settings_number);
    let to = view.back.filter(|_| !nothing);
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    let seconds = |ms: i64| ms as f64 / 1_000.0;
    WayBack {
        to,
        ready: to.is_some() && view.steers && view.trouble.is_none() && view.error.is_none(),
        tried,
        estimate_seconds: view.way_back_ms.filter(|_| !nothing).map(seconds),
    }
}

fn rollback(state: &State, view: &View) -> Rollback {
    let back = way_back(state, view);
    Rollback {
        ready: back.ready,
        rehearsed_at: back
            .tried
            .filter(|tried| tried.passed)
            .map(|tried| time(tried.at_ms)),
        estimate_seconds: back.estimate_seconds,
    }
}

/// A journal record as it is shown.
#[must_use]
pub fn record(record: &Record) -> ShownRecord {
    ShownRecord {
        n: record.n,
        at: time(record.at_ms),
        epoch: record.epoch,
        who: record.who.clone(),
        origin: record.origin.clone(),
        verb: record.verb,
        from: record.from,
        to: record.to,
        reason: record.reason.clone(),
        outcome: record.outcome.as_str().to_owned(),
        note: record.note.clone(),
        evidence: record.evidence.iter().map(gate).collect(),
    }
}

/// RFC 3339, which has no year after this one's end.
const LAST_MS: i64 = 253_402_300_799_999;

/// RFC 3339.
#[must_use]
pub fn time(ms: i64) -> String {
    let since = Duration::from_millis(ms.clamp(0, LAST_MS).unsigned_abs());
    let at = SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Migration;
    use crate::migration::gate::{Evidence, GateName, gates};
    use crate::migration::phase::Course;
    use crate::migration::step::{Command, Event, Machine, Observation};

    #[test]
    fn a_gate_that_does_not_pass_says_what_would_make_it() {
        let course = Course::new(&Migration::default());
        let gates = gates(&Migration::default(), &course, Step::SHADOW);
        let judged = |value| {
            let soak = gates.iter().find(|gate| gate.name == GateName::Soak);
            let soak = soak.expect("a gate of this step");
            let shown = gate(&soak.judge(&Evidence::value(value, 0), 1, 0));
            serde_json::to_value(shown).expect("plain data")["do"].clone()
        };
        assert_eq!(judged(0.0), GateName::Soak.advice());
        assert!(judged(1e9).is_null());
    }

    /// As long as an application may take that asks every so many milliseconds.
    fn unfit(converge_ms: i64) -> Option<Refusal> {
        let config = Migration::default();
        let mut machine = Machine::new(config, "m", "a", 1);
        let mut state = State::first(1_000, "a");
        state.step = Step::consumers(100);
        state.told.share = state.step.share();
        let state = Some(Box::new(state));
        machine.step(Event::Copied(state.clone()), 1_000);
        for command in machine.step(Event::Loaded { state, stored: 1 }, 1_000) {
            if matches!(command, Command::Save { .. }) {
                machine.step(Event::Saved, 1_000);
            }
        }
        let observed = Observation {
            converge_ms: Some(converge_ms),
            drain_ms: Some(100),
            ..Observation::default()
        };
        machine.step(Event::Observed(observed), 1_000);
        machine.unfit()
    }

    #[test]
    fn a_step_that_promote_would_refuse_is_not_called_open() {
        let course = Course::new(&Migration::default());
        let soak = gates(&Migration::default(), &course, Step::SHADOW)
            .into_iter()
            .find(|gate| gate.name == GateName::Soak);
        let soak = soak.expect("a gate of this step");
        let open = View {
            state: Some(State::first(0, "a")),
            next: Some(Step::consumers(5)),
            verdicts: vec![soak.judge(&Evidence::value(1e9, 0), 1, 0)],
            steers: true,
            // A step of ingress waits for all applications twice.
            unfit: unfit(14_000),
            ..View::default()
        };
        let shown = |view: View| {
            let shown = Shown::of(&view);
            let blockers: Vec<String> = shown.blockers.into_iter().map(|one| one.what).collect();
            (shown.next.expect("there is one").allowed, blockers)
        };
        assert_eq!(shown(open.clone()), (true, vec![]));
        let lapsed = View {
            steers: false,
            ..open.clone()
        };
        assert_eq!(shown(lapsed), (false, vec!["lease".to_owned()]));
        let silent = View {
            error: Some("no answer".to_owned()),
            ..open.clone()
        };
        assert_eq!(shown(silent), (false, vec!["redis".to_owned()]));
        let slow = View {
            unfit: unfit(16_000),
            ..open
        };
        let budget = Shown::of(&slow).blockers.remove(0);
        assert!(budget.why.contains("may take 30s"), "{budget:?}");
        assert!(budget.todo.contains("poll more often"), "{budget:?}");
        assert_eq!(shown(slow), (false, vec!["attempt-budget".to_owned()]));
    }

    #[test]
    fn no_time_is_beyond_what_can_be_written() {
        assert_eq!(time(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(time(i64::MIN), "1970-01-01T00:00:00.000Z");
    }
}
