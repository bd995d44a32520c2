//! What evidence does: it fills the windows of gates, and sets off tripwires.

use std::collections::BTreeMap;

use super::act::Wanted;
use super::state::{Direction, State, Stop, Verb};
use super::tally::{Counts, Wellness};
use super::{Machine, Outcome};
use crate::config::migration::Action as Reaction;
use crate::migration::gate::{
    Evidence, Gate, GateName, Held, Kind, Measure, Reading, Sample, Verdict, gates, millis,
};
use crate::migration::phase::Step;
use crate::migration::tripwire::{Tripwire, tripwires};

/// What is done about all that fired at one look.
struct Reacted {
    /// Where it leads; no further back than it stands: nothing is moved.
    to: Step,
    freezes: bool,
    reason: String,
}

/// What was measured, and how long the slow parts of a move are likely to take (`None`: not known).
#[derive(Clone, Debug, Default)]
pub struct Observation {
    pub samples: Vec<Sample>,
    /// `None`: nothing was counted at this look, and the samples are all there is.
    pub counts: Option<Counts>,
    /// `None`: Kafka was not looked at.
    pub wellness: Option<Wellness>,
    pub converge_ms: Option<i64>,
    pub drain_ms: Option<i64>,
    /// How long a stream that no route names may go unseen.
    pub looks_ms: i64,
}

impl Machine {
    pub(super) fn on_observed(&mut self, observation: Observation, now_ms: i64) {
        self.converge_ms = observation.converge_ms;
        (self.drain_ms, self.looks_ms) = (observation.drain_ms, observation.looks_ms);
        for sample in observation.samples {
            self.samples.insert(sample.measure, sample);
        }
        if self.saved.is_none() || self.trouble.is_some() {
            return;
        }
        self.soak(now_ms);
        if let Some(counts) = observation.counts {
            self.count(counts, now_ms);
        }
        if let Some(wellness) = observation.wellness {
            self.mind_wellness(wellness, now_ms);
        }
        self.fill_windows(now_ms);
        // What cannot be saved is not begun: it fires once what is stored is known.
        if self.reading.is_none() {
            self.mind_tripwires(now_ms);
        }
    }

    /// A step has lasted for as long as it was looked at: neither a clock that was put on counts, nor a time in which nobody
    /// steered, nor an attempt to leave it.
    fn soak(&mut self, now_ms: i64) {
        let (looked_ms, since_ms) = (self.state.looked_ms, self.state.since_ms);
        let passed = now_ms.saturating_sub(looked_ms);
        if looked_ms == 0 {
            self.state.soaked_ms = now_ms.saturating_sub(since_ms).max(0);
        } else if (0..=self.freshness_ms()).contains(&passed) && self.state.motion.is_none() {
            self.state.soaked_ms += passed;
        }
        self.state.looked_ms = now_ms;
        self.touched = true;
    }

    fn fill_windows(&mut self, now_ms: i64) {
        if self.state.motion.is_some() {
            return;
        }
        let freshness = self.freshness_ms();
        for gate in gates(&self.config, &self.course, self.state.step) {
            let Some(sample) = gate
                .name
                .measure()
                .and_then(|measure| self.sample(measure, now_ms))
                .cloned()
            else {
                continue;
            };
            if gate.kind != Kind::Held || now_ms.saturating_sub(sample.at_ms) > freshness {
                continue;
            }
            if let Reading::Value(value) = relative(&self.state, &sample)
                && value.is_finite()
            {
                let held = self
                    .state
                    .holding
                    .entry(gate.name)
                    .or_insert_with(|| Held::new(&gate));
                self.touched = true;
                if held.last_ms > now_ms.saturating_add(freshness) {
                    // The clock was put back: nothing would be taken in until it is there again.
                    *held = Held::new(&gate);
                }
                if held.observe(&gate, value, sample.at_ms, &self.config) {
                    // Or a restart would believe that it still holds.
                    self.save_soon();
                }
            }
        }
    }

    fn mind_tripwires(&mut self, now_ms: i64) {
        let (step, watched) = (self.state.furthest(), self.state.watched());
        let freshness = self.freshness_ms();
        let mut fired: Vec<(Tripwire, String)> = Vec::new();
        for wire in tripwires(&self.config.tripwires) {
            if !wire.watches(watched) {
                self.state.trips.remove(&wire.measure);
                continue;
            }
            let recent = self.recent.as_ref();
            let recent = recent.filter(|recent| recent.measure == wire.measure);
            let sample = recent.or_else(|| self.sample(wire.measure, now_ms));
            let said_by = sample.map_or_else(String::new, |sample| self.said_by(sample));
            let sample = sample.map(|sample| Sample {
                reading: relative(&self.state, sample),
                ..sample.clone()
            });
            let trip = self.state.trips.entry(wire.measure).or_default();
            let before = trip.fired_ms;
            if trip.observe(
                &wire,
                sample.as_ref(),
                &self.config.tripwires,
                freshness,
                now_ms,
            ) {
                let read = sample.map_or_else(String::new, |sample| text(&sample.reading));
                fired.push((wire, read + &said_by));
            } else if before != trip.fired_ms {
                self.touched = true;
            }
        }
        if fired.is_empty() {
            return;
        }
        let (wires, reads): (Vec<Tripwire>, Vec<String>) = fired.into_iter().unzip();
        let reaction = self.reaction(&wires, step);
        let unread = self.state.may_hold_unread();
        for (wire, read) in wires.iter().zip(reads) {
            let own = self.own();
            let what = wire.crossed();
            let does = if self.is_kept(wire, watched) {
                KEPT
            } else {
                does(wire.action)
            };
            let moves = reaction.to < step && wire.action != Reaction::Alarm;
            self.note(
                &own,
                Verb::Tripwire,
                wire.leads_to(&self.course, watched, unread),
                &what,
                // Where nothing is moved nothing follows that could end it.
                if moves { Outcome::Begun } else { Outcome::Done },
                &format!("{does}; it was {read}"),
                now_ms,
            );
            if let Some(record) = self.records.last_mut().filter(|_| !moves) {
                record.to = record.from;
            }
        }
        self.react(reaction, step, now_ms);
    }

    /// Several at once do what the strongest asks for.
    fn reaction(&self, fired: &[Tripwire], step: Step) -> Reacted {
        let names: Vec<&str> = fired.iter().map(|wire| wire.measure.as_str()).collect();
        let mut reason = names.join(", ");
        let kept = fired.iter().any(|wire| self.is_kept(wire, step));
        if kept {
            reason.push_str(&format!(": {KEPT}"));
        }
        let freezes = fired
            .iter()
            .any(|wire| matches!(wire.action, Reaction::Freeze | Reaction::RedisOnly));
        let freezes = freezes || kept;
        let unread = self.state.may_hold_unread();
        let to = fired
            .iter()
            .map(|wire| wire.leads_to(&self.course, step, unread))
            .min()
            .unwrap_or(step);
        let to = match &self.state.motion {
            // A frozen driver does not go on; where it came from is the least that it goes back to.
            Some(motion) if motion.direction == Direction::Forward && freezes => {
                to.min(motion.from)
            }
            Some(motion) if motion.direction == Direction::Back && to >= motion.to => step,
            _ => to,
        };
        Reacted {
            to,
            freezes,
            reason,
        }
    }

    fn react(&mut self, reaction: Reacted, step: Step, now_ms: i64) {
        let Reacted {
            to,
            freezes,
            reason,
        } = reaction;
        let own = self.own();
        if freezes && self.state.frozen.is_none() {
            self.state.frozen = Some(Stop {
                at_ms: now_ms,
                by: own.name.clone(),
                reason: reason.clone(),
            });
        }
        if to < step {
            let wanted = Wanted {
                verb: Verb::Tripwire,
                to,
                who: &own,
                reason: &reason,
            };
            self.go_back(&wanted, now_ms);
        } else if freezes {
            self.turn(now_ms);
        }
    }

    /// What fired where there was nothing to take back is not forgotten where there is: the next look acts on it.
    pub(super) fn arm_anew(&mut self, from: Step, to: Step) {
        let unread = self.state.may_hold_unread();
        for wire in tripwires(&self.config.tripwires) {
            if wire.gains(&self.course, from, to, unread) {
                self.state.trips.remove(&wire.measure);
            }
        }
    }

    /// Whether a tripwire may not lead further back than it stands. Where it is on its way back already, somebody said so.
    fn is_kept(&self, wire: &Tripwire, step: Step) -> bool {
        let motion = self.state.motion.as_ref();
        let goes_back = motion.is_some_and(|motion| motion.direction == Direction::Back);
        !goes_back && wire.is_kept(&self.course, step, self.state.may_hold_unread())
    }

    /// The gates before the promotion out of the present step, as they stand.
    #[must_use]
    pub fn verdicts(&self, now_ms: i64) -> Vec<Verdict> {
        if self.saved.is_none() {
            return Vec::new();
        }
        // What is observed is newer than what is stored.
        let state = &self.state;
        gates(&self.config, &self.course, state.step)
            .iter()
            .map(|gate| {
                let freshness = self.freshness_of(gate.name);
                let verdict = gate.judge(&self.evidence(state, gate, now_ms), freshness, now_ms);
                match (gate.name, self.told_errors(state, gate, now_ms)) {
                    (GateName::DeadLetters, Some(told)) => verdict.or_worse(told),
                    _ => verdict,
                }
            })
            .collect()
    }

    /// The same of what the application's consumers could not do. Who has told it once tells it on: silence opens nothing.
    fn told_errors(&self, state: &State, gate: &Gate, now_ms: i64) -> Option<Verdict> {
        let measure = Measure::ErrorRate;
        self.sample(measure, now_ms)?;
        let told = self.measured(state, gate, measure, now_ms);
        let verdict = gate.judge(&told, self.freshness_ms(), now_ms);
        Some(Verdict {
            reason: format!("{measure}: {}", verdict.reason),
            ..verdict
        })
    }

    /// An archive is read once, and stays as it was found for longer than what changes by the second.
    fn freshness_of(&self, gate: GateName) -> i64 {
        match gate {
            GateName::Archive => millis(self.config.gates.archive_age),
            _ => self.freshness_ms(),
        }
    }

    fn evidence(&self, state: &State, gate: &Gate, now_ms: i64) -> Evidence {
        match gate.name {
            #[expect(clippy::cast_precision_loss, reason = "seconds at a step")]
            GateName::Soak => Evidence::value(state.soaked_ms as f64 / 1_000.0, now_ms),
            GateName::Rehearsal => self.rehearsal(state, now_ms),
            // A fault that anybody saw sets off its tripwire; that there are no more takes all who count.
            GateName::DeadLetters if self.partial.is_some() => {
                Evidence::unknown(self.partial.clone().unwrap_or_default())
            }
            name => match name.measure() {
                Some(measure) => self.measured(state, gate, measure, now_ms),
                None => Evidence::unknown("it is not measured"),
            },
        }
    }

    fn measured(&self, state: &State, gate: &Gate, measure: Measure, now_ms: i64) -> Evidence {
        let Some(sample) = self.sample(measure, now_ms) else {
            return Evidence::unknown(unmeasured(measure));
        };
        let mut reading = relative(state, sample);
        if let Reading::Counted { since_ms, .. } = reading
            && (gate.kind == Kind::Share || gate.name == GateName::Archive)
            && since_ms < state.since_ms
        {
            reading = Reading::Unknown("it was counted from before this step on".to_owned());
        }
        Evidence {
            reading,
            at_ms: sample.at_ms,
            held: state.holding.get(&gate.name).cloned(),
            parts: match gate.name {
                GateName::Parity => self.parity_parts(),
                _ => Vec::new(),
            },
        }
    }

    fn rehearsal(&self, state: &State, now_ms: i64) -> Evidence {
        let Some(next) = self.course.next(state.step) else {
            return Evidence::unknown("nothing comes after this step");
        };
        match state.rehearsed.get(&next) {
            None => Evidence::unknown(format!("the way back from {next} was not proven yet")),
            Some(proof) if proof.settings_number != state.settings_number => {
                Evidence::unknown("the settings changed since the way back was proven")
            }
            Some(proof) => Evidence::value(f64::from(u8::from(proof.passed)), now_ms),
        }
    }

    /// How far each tripwire that matters here is from firing.
    #[must_use]
    pub fn margins(&self) -> BTreeMap<Measure, Option<f64>> {
        let state = &self.state;
        tripwires(&self.config.tripwires)
            .iter()
            .filter(|wire| wire.watches(state.watched()))
            .map(|wire| {
                (
                    wire.measure,
                    state.trips.get(&wire.measure).and_then(|trip| trip.margin),
                )
            })
            .collect()
    }
}

impl Machine {
    /// What all readers do of the baseline's throughput; `None`: nobody has told it lately, or there is no baseline.
    #[must_use]
    pub fn pace(&self, now_ms: i64) -> Option<f64> {
        let sample = self.sample(Measure::Throughput, now_ms)?;
        let fresh = now_ms.saturating_sub(sample.at_ms) <= self.freshness_ms();
        match relative(&self.state, sample) {
            Reading::Value(ratio) if fresh => Some(ratio).filter(|ratio| ratio.is_finite()),
            _ => None,
        }
    }
}

impl Machine {
    /// What is known of a value that others measure; `None`: nobody was asked, and nobody has said anything.
    #[must_use]
    pub fn said_of(&self, measure: Measure, now_ms: i64) -> Option<Said> {
        let sample = self.sample(measure, now_ms)?;
        let fresh = now_ms.saturating_sub(sample.at_ms) <= self.freshness_ms();
        let value = match &sample.reading {
            Reading::Unknown(why) => Err(why.clone()),
            Reading::Value(value) if !value.is_finite() => Err("it is no number".to_owned()),
            Reading::Value(value) if fresh => Ok(*value),
            Reading::Value(_) => Err("the last evidence is too old".to_owned()),
            Reading::Counted { .. } => Err("it is counts where a value is wanted".to_owned()),
        };
        Some(Said {
            value,
            at_ms: sample.at_ms,
        })
    }
}

/// A value that others measure, or why there is none now.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub value: Result<f64, String>,
    pub at_ms: i64,
}

/// A reading held against the baseline, where its gate asks for that.
fn relative(state: &State, sample: &Sample) -> Reading {
    const NONE: &str = "there is no baseline; lockgate baseline record makes one, in shadow";
    match (sample.measure, &sample.reading, &state.baseline) {
        (Measure::Throughput | Measure::DuplicateHits, Reading::Value(_), None) => {
            Reading::Unknown(NONE.to_owned())
        }
        (Measure::Throughput, Reading::Value(value), Some(baseline)) => {
            Reading::Value(value / baseline.throughput)
        }
        (Measure::DuplicateHits, Reading::Value(value), Some(baseline)) => {
            match baseline.duplicate_hits {
                Some(usual) => Reading::Value((value - usual).abs()),
                None => Reading::Unknown("the baseline has no share of idempotent hits".to_owned()),
            }
        }
        (_, reading, _) => reading.clone(),
    }
}

fn text(reading: &Reading) -> String {
    match reading {
        Reading::Value(value) => value.to_string(),
        Reading::Counted { faults, total, .. } => format!("{faults} of {total}"),
        Reading::Unknown(why) => why.clone(),
    }
}

fn unmeasured(measure: Measure) -> String {
    match measure {
        Measure::AddedLatency
        | Measure::Duplicates
        | Measure::DuplicateHits
        | Measure::ProduceLatency
        | Measure::ProduceErrors
        | Measure::WriteLatency
        | Measure::EndToEnd => {
            "only the application knows it: POST /v1/evidence, or a PromQL query under [prometheus]"
                .to_owned()
        }
        Measure::Archive => {
            "nobody has said what was found when the archive was read again: lockgate evidence archive --faults N --total N --seconds N"
                .to_owned()
        }
        _ => "it was not measured yet".to_owned(),
    }
}

/// What is done in place of a way back that would leave something behind.
const KEPT: &str = "freeze; readers stay at Kafka, which may hold what applications wrote there, nobody has read and Redis does \
                    not have";

const fn does(action: Reaction) -> &'static str {
    match action {
        Reaction::Alarm => "alarm: nothing is moved",
        Reaction::Freeze => "freeze",
        Reaction::Rollback => "roll back",
        Reaction::RedisOnly => "freeze, Redis only",
    }
}
