//! What the driver writes onto the board: its view in the status' own words, and counts of what it did.
//!
//! The journal is the one source of what happened; each record is counted once, by its number, however often the view is
//! shown. What a restart does not know any more (how long a change took, since when a version is told) is left out or
//! begins at the restart, and never claims to be older than it is.

use std::collections::BTreeMap;

use super::driver::View;
use super::gate::{Answer, GateName, Level, Verdict};
use super::phase::Phase;
use super::step::{Outcome, Record, Said, State, Verb};
use super::view::{Shown, time, way_back};
use crate::flags::{Context, Flag, Following};
use crate::status::driver::{
    BlockerStatus, BrokersSaid, ClientsStatus, CopyStatus, DriverStatus, EventStatus, FlagStatus,
    GateStatus, JournalStatus, NextStatus, OUTCOMES, RollbackStatus, SteeringState, StepStatus,
    VERBS,
};

/// What a follower's log end, and a broker's disk, would be asked for; librdkafka asks for neither.
const LOG_END: &str = "log_end";
const LOG_DIRS: &str = "log_dirs";

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub struct Seen {
    /// The last record that was counted.
    counted: u64,
    events: BTreeMap<Verb, Event>,
    /// Since when this version has been told.
    told: Option<(u64, i64)>,
}

#[derive(Debug, Default)]
struct Event {
    counts: BTreeMap<&'static str, u64>,
    last_ms: i64,
}

impl Seen {
    pub fn status(&mut self, view: &View, following: Option<&Following>) -> DriverStatus {
        self.count(&view.journal);
        let shown = Shown::of(view);
        let blockers = blockers(view, &shown);
        let state = view.state.as_ref();
        DriverStatus {
            epoch: shown.epoch,
            phase: shown.phase.map(|phase| phase.as_str().to_owned()),
            step: shown.step.map(|step| StepStatus {
                set: step.set.to_string(),
                actual: step.actual.to_string(),
                since: step.since,
                by: step.by,
            }),
            state: state.map(|state| steering(state, view)),
            gates: view.verdicts.iter().map(gate).collect(),
            blockers,
            next: shown.next.map(|next| NextStatus {
                verb: next.verb.as_str().to_owned(),
                to: next.to.to_string(),
                allowed: next.allowed,
            }),
            rollback: state.map(|state| rollback(state, view)),
            flags: state.map(|state| self.flags(state)).unwrap_or_default(),
            buckets: state.map(buckets).unwrap_or_default(),
            level: state.map(|_| Level::KEPT.as_str().to_owned()),
            clients: following.map(|following| ClientsStatus {
                current: following
                    .known
                    .saturating_sub(following.behind.len() as u64),
                old: following.behind.len() as u64,
                behind: following.behind.clone(),
            }),
            tripwires: shown.tripwires,
            throughput_ratio: view.pace,
            events: self.events(),
            journal: view.journal.iter().map(record).collect(),
            steers: view.steers && view.trouble.is_none(),
            steered_by: shown.steered_by,
            trouble: shown.trouble,
            store_error: shown.error,
            copy: (view.holder.is_none() && state.is_some()).then(|| CopyStatus {
                epoch: view.copied.last.map(|(epoch, _)| epoch),
                version: view.copied.last.map(|(_, version)| version),
                error: view.copied.error.clone(),
            }),
            journal_errors: 0,
        }
    }

    /// Those before this process began to steer were another's to count.
    pub fn begin_after(&mut self, record: u64) {
        self.counted = self.counted.max(record);
    }

    fn count(&mut self, journal: &[Record]) {
        for record in journal {
            if record.n <= self.counted {
                continue;
            }
            self.counted = record.n;
            let event = self.events.entry(record.verb).or_default();
            *event.counts.entry(record.outcome.as_str()).or_default() += 1;
            event.last_ms = record.at_ms;
        }
    }

    fn events(&self) -> BTreeMap<String, EventStatus> {
        let shown = |(verb, event): (&Verb, &Event)| {
            let outcomes = OUTCOMES.iter().map(|outcome| {
                let count = event.counts.get(outcome).copied().unwrap_or(0);
                ((*outcome).to_owned(), count)
            });
            let status = EventStatus {
                counts: outcomes.collect(),
                last_at: Some(time(event.last_ms)),
            };
            (verb.as_str().to_owned(), status)
        };
        let mut events: BTreeMap<_, _> = self.events.iter().map(shown).collect();
        events.retain(|verb, _| VERBS.contains(&verb.as_str()));
        events
    }

    fn flags(&mut self, state: &State) -> Vec<FlagStatus> {
        let told = super::driver::flags(state);
        let since = match self.told {
            Some((version, since)) if version == told.version => since,
            Some(_) => super::driver::now_ms(),
            None => state.since_ms,
        };
        self.told = Some((told.version, since));
        let shown = |flag: &Flag| FlagStatus {
            flag: flag.as_str().to_owned(),
            value: told.evaluate(*flag, &Context::default()).value.to_string(),
            since: time(since),
            version: told.version,
        };
        Flag::ALL.iter().map(shown).collect()
    }
}

fn buckets(state: &State) -> BTreeMap<String, u64> {
    let shares = super::driver::flags(state).buckets();
    let named = shares.map(|(backend, buckets)| (backend.as_str().to_owned(), u64::from(buckets)));
    named.into()
}

fn steering(state: &State, view: &View) -> SteeringState {
    let stop = state.frozen.as_ref().or(state.held.as_ref());
    let motion = state.motion.as_ref();
    SteeringState {
        name: state.name().as_str().to_owned(),
        since: time(state.stands_since_ms()),
        reason: stop
            .map(|stop| stop.reason.clone())
            .or(motion.map(|motion| motion.reason.clone())),
        by: stop
            .map(|stop| stop.by.clone())
            .or(motion.map(|motion| motion.by.clone())),
        waiting_for: view.waiting.clone(),
        deadline: state.deadline_ms().map(time),
        from: taken_back(state, view)
            .map(|record| record.from.to_string())
            .or(motion.map(|motion| motion.from.to_string())),
    }
}

/// The record of what a tripwire took back by itself when it froze.
fn taken_back<'a>(state: &State, view: &'a View) -> Option<&'a Record> {
    let frozen = state.frozen.as_ref()?;
    view.journal.iter().rev().find(|record| {
        record.verb == Verb::Tripwire
            && record.outcome == Outcome::Done
            && record.to == state.step
            && record.to < record.from
            && record.at_ms >= frozen.at_ms
    })
}

fn gate(verdict: &Verdict) -> GateStatus {
    let window_ms = verdict.window_seconds.saturating_mul(1_000);
    #[expect(clippy::cast_precision_loss, reason = "a length of time")]
    let window_seconds = verdict.window_seconds as f64;
    GateStatus {
        name: verdict.name.to_string(),
        verdict: verdict.verdict.as_str().to_owned(),
        value: verdict.value,
        unit: verdict.unit.clone(),
        op: verdict.op.as_str().to_owned(),
        threshold: verdict.threshold,
        window: (window_ms > 0).then(|| super::gate::span(window_ms)),
        window_seconds,
        samples: verdict.samples,
        needed: verdict.needed,
        since: verdict.since_ms.map(time),
        reason: verdict.reason.clone(),
        opens_at: verdict.opens_at_ms.map(time),
        progress: progress(verdict),
    }
}

/// Evidence collected of evidence needed: 0 where there is none, 1 only where it passes.
fn progress(verdict: &Verdict) -> f64 {
    const NEARLY: f64 = 0.999;
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let collected = match (verdict.verdict, verdict.value, verdict.needed) {
        (Answer::Pass, ..) => return 1.0,
        (_, None, _) => 0.0,
        (_, Some(value), _) if verdict.name == GateName::Soak => value / verdict.threshold,
        (_, Some(_), Some(needed)) => verdict.samples as f64 / needed.max(1) as f64,
        (_, Some(_), None) => 0.0,
    };
    if collected.is_finite() {
        collected.clamp(0.0, NEARLY)
    } else {
        0.0
    }
}

fn blockers(view: &View, shown: &Shown) -> Vec<BlockerStatus> {
    let phase = view
        .state
        .as_ref()
        .map_or(Phase::Shadow, |s| s.step.phase());
    let runbook = |what: &str| match what {
        "trouble" => "epoch-went-backwards",
        "frozen" => "LockgateFrozen",
        "state-copy" => "kafka-refuses",
        "redis" => "LockgateEdgeDown",
        "lease" => "LockgateNoDriver",
        "clients" | "attempt-budget" => "LockgateFlagsNotObeyed",
        "mirror-lag" => "LockgateMirrorStalled",
        "dead-letters" => "LockgateDeadLetters",
        "rehearsal" => "rollback",
        _ => phase.as_str(),
    };
    let of = |blocker: &super::view::Blocker| BlockerStatus {
        what: blocker.what.clone(),
        why: blocker.why.clone(),
        todo: blocker.todo.clone(),
        runbook: runbook(&blocker.what).to_owned(),
    };
    shown.blockers.iter().map(of).collect()
}

fn rollback(state: &State, view: &View) -> RollbackStatus {
    let back = way_back(state, view);
    #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
    let seconds = |ms: i64| ms as f64 / 1_000.0;
    // Readers alone are moved, and what they have not read is in both stores, but for what applications wrote to Kafka.
    let readers_only = state.told.share.ingress == 0 && state.told.hold_ingress_to.is_none();
    let leaves = back.to.and_then(|to| state.leaves(to));
    RollbackStatus {
        to: back.to.map(|to| to.to_string()),
        ready: back.ready,
        estimate_seconds: back.estimate_seconds,
        holds_seconds: readers_only.then_some(0.0),
        loses_entries: (readers_only && leaves.is_none()).then_some(0),
        leaves: leaves.map(str::to_owned),
        rehearsed_at: back.tried.map(|tried| time(tried.at_ms)),
        rehearsal_passed: back.tried.map(|tried| tried.passed),
        took_seconds: taken_back(state, view)
            .zip(state.frozen.as_ref())
            .map(|(record, frozen)| seconds(record.at_ms.saturating_sub(frozen.at_ms))),
    }
}

fn record(record: &Record) -> JournalStatus {
    JournalStatus {
        n: record.n,
        at: time(record.at_ms),
        epoch: record.epoch,
        who: record.who.clone(),
        verb: record.verb.as_str().to_owned(),
        from: record.from.to_string(),
        to: record.to.to_string(),
        reason: record.reason.clone(),
        outcome: record.outcome.as_str().to_owned(),
        note: record.note.clone(),
    }
}

/// What others said of the brokers, by the question that a broker would answer. What nobody measures is not here.
pub fn brokers(view: &View) -> BrokersSaid {
    let probes = [(LOG_END, &view.replication), (LOG_DIRS, &view.disk)];
    let known = |said: &Option<Said>| said.as_ref().and_then(|said| said.value.clone().ok());
    let asked = || {
        let asked = probes.iter();
        asked.filter_map(|(probe, said)| Some(((*probe).to_owned(), said.as_ref()?)))
    };
    BrokersSaid {
        disk_used_ratio: known(&view.disk),
        replication_lag_seconds: known(&view.replication),
        probes: asked()
            .map(|(probe, said)| (probe, said.value.as_ref().err().cloned()))
            .collect(),
        answered_at: asked()
            .filter(|(_, said)| said.value.is_ok())
            .map(|(probe, said)| (probe, time(said.at_ms)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::phase::Step;
    use crate::migration::step::Name;
    use crate::status::driver;

    fn view() -> View {
        View {
            state: Some(State::first(1_000, "a")),
            next: Some(Step::consumers(5)),
            steers: true,
            ..View::default()
        }
    }

    fn record(n: u64, verb: Verb, outcome: Outcome) -> Record {
        Record {
            n,
            at_ms: 1_000 * i64::try_from(n).expect("small"),
            epoch: 1,
            who: "ana".to_owned(),
            origin: "here".to_owned(),
            verb,
            from: Step::SHADOW,
            to: Step::consumers(5),
            reason: String::new(),
            outcome,
            note: String::new(),
            evidence: Vec::new(),
        }
    }

    #[test]
    fn the_names_of_the_status_are_the_drivers() {
        assert_eq!(driver::PHASES, Phase::ALL.map(Phase::as_str));
        let gates: Vec<&str> = GateName::ALL.iter().map(|gate| gate.as_str()).collect();
        assert_eq!(driver::GATES.to_vec(), gates);
        for name in Name::ALL {
            assert!(driver::STATES.contains(&name.as_str()), "{}", name.as_str());
        }
        for outcome in [Outcome::Done, Outcome::Refused, Outcome::Undone] {
            assert!(OUTCOMES.contains(&outcome.as_str()));
        }
        for answer in [Answer::Pass, Answer::Fail, Answer::Inconclusive] {
            assert!(driver::VERDICTS.contains(&answer.as_str()));
        }
    }

    #[test]
    fn what_nobody_says_of_the_brokers_is_absent_and_what_cannot_be_said_has_its_reason() {
        assert_eq!(brokers(&view()), BrokersSaid::default());
        let said = |value| Some(Said { value, at_ms: 0 });
        let both = brokers(&View {
            disk: said(Ok(0.81)),
            replication: said(Err("no series".to_owned())),
            ..view()
        });
        assert_eq!(both.disk_used_ratio, Some(0.81));
        assert_eq!(both.replication_lag_seconds, None);
        assert_eq!(both.probes["log_dirs"], None);
        assert_eq!(both.probes["log_end"].as_deref(), Some("no series"));
        assert_eq!(both.answered_at.keys().collect::<Vec<_>>(), ["log_dirs"]);
    }

    #[test]
    fn a_record_is_counted_once_however_often_it_is_shown() {
        let mut seen = Seen::default();
        seen.begin_after(1);
        let mut view = view();
        view.journal = vec![
            record(1, Verb::Promote, Outcome::Done),
            record(2, Verb::Promote, Outcome::Refused),
            record(3, Verb::Hold, Outcome::Done),
            record(4, Verb::Rehearse, Outcome::Done),
        ];
        for _ in 0..3 {
            let status = seen.status(&view, None);
            let promote = &status.events["promote"];
            assert_eq!((promote.counts["done"], promote.counts["refused"]), (0, 1));
            assert_eq!(status.events["hold"].counts["done"], 1);
            assert_eq!(status.events.len(), 2, "{:?}", status.events);
        }
    }

    #[test]
    fn in_shadow_there_is_nothing_to_take_back_and_later_a_driver_in_trouble_is_not_ready() {
        let mut seen = Seen::default();
        let mut view = view();
        let status = seen.status(&view, None);
        let rollback = status.rollback.expect("shown");
        assert_eq!((rollback.to, rollback.ready), (None, false));
        let state = view.state.as_mut().expect("a state");
        state.step = Step::consumers(5);
        view.back = Some(Step::SHADOW);
        let mut ready = |view: &View| {
            let rollback = seen.status(view, None).rollback.expect("shown");
            assert_eq!(rollback.to.as_deref(), Some("shadow"));
            let shown = Shown::of(view).rollback.expect("shown");
            assert_eq!(rollback.ready, shown.ready, "two pages of one thing");
            rollback.ready
        };
        assert!(ready(&view));
        view.steers = false;
        assert!(!ready(&view));
        view.steers = true;
        view.error = Some("Redis is out of reach".to_owned());
        assert!(!ready(&view));
    }

    #[test]
    fn the_proof_of_the_way_back_is_one_on_every_page() {
        let mut view = view();
        view.way_back_ms = Some(2_000);
        let state = view.state.as_mut().expect("a state");
        let tried = crate::migration::step::Rehearsal {
            at_ms: 5_000,
            passed: true,
            note: String::new(),
            took_ms: 1,
            settings_number: state.settings_number,
        };
        state.rehearsed.insert(Step::consumers(5), tried);
        for step in [Step::SHADOW, Step::consumers(5), Step::consumers(25)] {
            view.state.as_mut().expect("a state").step = step;
            let status = Seen::default().status(&view, None).rollback;
            let status = status.expect("shown");
            let shown = Shown::of(&view).rollback.expect("shown");
            assert_eq!(status.rehearsed_at, shown.rehearsed_at, "{step}");
            assert_eq!(status.rehearsed_at.is_some(), step != Step::consumers(25));
            assert_eq!(status.estimate_seconds, shown.estimate_seconds, "{step}");
        }
    }

    #[test]
    fn what_a_tripwire_did_where_it_stood_took_nothing_back() {
        let mut view = view();
        let state = view.state.as_mut().expect("a state");
        state.frozen = Some(crate::migration::step::Stop {
            at_ms: 4_000,
            by: "lockgate".to_owned(),
            reason: "inconsistency".to_owned(),
        });
        let mut froze = record(4, Verb::Tripwire, Outcome::Done);
        froze.to = Step::SHADOW;
        view.journal = vec![froze];
        let status = Seen::default().status(&view, None);
        assert_eq!(status.state.and_then(|state| state.from), None);
        assert_eq!(status.rollback.and_then(|back| back.took_seconds), None);
        assert_eq!(status.events["tripwire"].counts["done"], 1);
    }

    #[test]
    fn what_a_tripwire_took_back_says_from_where_and_how_long_it_took() {
        let mut seen = Seen::default();
        let mut view = view();
        let state = view.state.as_mut().expect("a state");
        state.frozen = Some(crate::migration::step::Stop {
            at_ms: 2_900,
            by: "lockgate".to_owned(),
            reason: "inconsistency".to_owned(),
        });
        let mut back = record(4, Verb::Tripwire, Outcome::Done);
        (back.from, back.to) = (Step::consumers(50), Step::SHADOW);
        view.journal = vec![record(3, Verb::Tripwire, Outcome::Begun), back];
        let status = seen.status(&view, None);
        let state = status.state.expect("shown");
        assert_eq!(state.from.as_deref(), Some("consumers:50"));
        assert_eq!(
            status.rollback.and_then(|back| back.took_seconds),
            Some(1.1)
        );
    }

    #[test]
    fn nobody_is_told_that_nothing_is_lost_where_readers_leave_what_only_kafka_has() {
        let mut view = view();
        let state = view.state.as_mut().expect("a state");
        state.step = Step::consumers(100);
        state.told.share = Step::consumers(100).share();
        let lost = |view: &View, to: Step| {
            let view = View {
                back: Some(to),
                ..view.clone()
            };
            let status = Seen::default().status(&view, None);
            let back = status.rollback.expect("shown");
            (back.loses_entries, back.leaves.is_some())
        };
        assert_eq!(lost(&view, Step::consumers(50)), (Some(0), false));
        let born = crate::placement::KafkaBorn::opened(None, 1_000).closed(2_000);
        view.state.as_mut().expect("a state").kafka_written = Some(born);
        assert_eq!(lost(&view, Step::consumers(50)), (None, true));
        assert_eq!(lost(&view, Step::consumers(100)), (Some(0), false));
        let state = view.state.as_mut().expect("a state");
        state.readers_left_ms = Some(3_000);
        assert_eq!(lost(&view, Step::consumers(50)), (Some(0), false));
    }

    #[test]
    fn a_copy_that_cannot_be_written_is_shown_and_blocks() {
        let mut view = view();
        view.copied.last = Some((3, 7));
        let status = Seen::default().status(&view, None);
        let copy = status.copy.expect("shown");
        assert_eq!(
            (copy.epoch, copy.version, copy.error),
            (Some(3), Some(7), None)
        );
        assert_eq!(status.blockers, []);
        view.copied.error = Some("TRANSACTIONAL_ID_AUTHORIZATION_FAILED".to_owned());
        let status = Seen::default().status(&view, None);
        assert_eq!(status.blockers[0].what, "state-copy");
        assert!(status.blockers[0].why.contains("TRANSACTIONAL_ID"));
        assert!(crate::runbooks::find(&status.blockers[0].runbook).is_some());
        let next = status.next.expect("there is one");
        assert!(!next.allowed);
    }

    #[test]
    fn every_blocker_names_a_runbook_that_there_is() {
        let mut view = view();
        let course = crate::migration::phase::Course::new(&crate::config::Migration::default());
        for step in course.steps() {
            let config = crate::config::Migration::default();
            view.state.as_mut().expect("a state").step = *step;
            let gates = crate::migration::gate::gates(&config, &course, *step);
            view.verdicts = gates
                .iter()
                .map(|gate| gate.inconclusive("nothing known".to_owned()))
                .collect();
            let blockers = Seen::default().status(&view, None).blockers;
            assert_eq!(blockers.len(), view.verdicts.len());
            for blocker in blockers {
                assert!(
                    crate::runbooks::find(&blocker.runbook).is_some(),
                    "{blocker:?}"
                );
            }
        }
    }
}
