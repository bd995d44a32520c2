//! Tripwires: thresholds that, when crossed, take a step back, freeze or raise an alarm by themselves.
//!
//! ```text
//!   armed ──crossed, n evaluations in a row──▶ fired ──well on the good side, m in a row──▶ armed
//! ```
//! Between the two thresholds lies the hysteresis: a value that swings about one of them fires once, not at every swing. No
//! evidence neither fires nor re-arms: a tripwire acts on what is known, as a gate does. A share fires on the lower end of
//! its bound, so that one error among the first ten records does not throw a migration back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gate::{Measure, Op, Reading, Sample, Shape, list};
use super::phase::{Course, Phase, Step};
use crate::bound::share_of_faults;
use crate::config::migration::{Action, Tripwires};

/// One tripwire as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Tripwire {
    pub measure: Measure,
    /// The good side.
    pub op: Op,
    pub threshold: f64,
    /// Of a latency: what takes longer than this is counted.
    pub over: Option<Duration>,
    pub action: Action,
    /// From which phase on it matters; what it takes back is that phase and all after it.
    pub from: Phase,
}

/// Where one tripwire stands. Kept in the driver's state: a restart neither arms nor disarms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trip {
    /// Evaluations in a row beyond the threshold.
    crossed: u32,
    /// Evaluations in a row well on the good side.
    clear: u32,
    pub fired_ms: Option<i64>,
    /// 1 far from it, 0 beyond it; `None`: not known.
    pub margin: Option<f64>,
    /// When the last evidence was taken, so that none counts twice.
    last_ms: i64,
}

/// All tripwires, with the thresholds that are configured.
#[must_use]
pub fn tripwires(config: &Tripwires) -> Vec<Tripwire> {
    let at = |measure, op, threshold, action, from| Tripwire {
        measure,
        op,
        threshold,
        over: None,
        action,
        from,
    };
    let count = |n: u64| list::count(n);
    let share = list::share;
    let (most, least) = (Op::AtMost, Op::AtLeast);
    vec![
        at(
            Measure::GroupLag,
            most,
            count(config.group_lag.beyond),
            config.group_lag.action,
            Phase::Consumers,
        ),
        at(
            Measure::Throughput,
            least,
            share(config.throughput.beyond),
            config.throughput.action,
            Phase::Consumers,
        ),
        at(
            Measure::DeadLetters,
            most,
            share(config.dead_letters.beyond),
            config.dead_letters.action,
            Phase::Consumers,
        ),
        at(
            Measure::ErrorRate,
            most,
            share(config.dead_letters.beyond),
            config.dead_letters.action,
            Phase::Consumers,
        ),
        at(
            Measure::ProduceErrors,
            most,
            share(config.produce_errors.beyond),
            config.produce_errors.action,
            Phase::Ingress,
        ),
        Tripwire {
            over: Some(config.write_latency.beyond),
            ..at(
                Measure::WriteLatency,
                most,
                list::SLOW,
                config.write_latency.action,
                Phase::Ingress,
            )
        },
        at(
            Measure::Inconsistency,
            most,
            count(config.inconsistency.beyond),
            config.inconsistency.action,
            // In shadow it only freezes: there is nothing to take back.
            Phase::Shadow,
        ),
        at(
            Measure::UnderReplicated,
            most,
            count(config.under_replicated.beyond),
            config.under_replicated.action,
            Phase::Shadow,
        ),
        at(
            Measure::ReplicationLag,
            most,
            config.replication_lag.beyond.as_secs_f64(),
            config.replication_lag.action,
            Phase::Shadow,
        ),
        at(
            Measure::Disk,
            most,
            share(config.disk.beyond),
            config.disk.action,
            Phase::Shadow,
        ),
    ]
}

/// Under which key of `migration.tripwires` that of a measure is configured.
#[must_use]
pub fn setting(measure: Measure) -> String {
    let own = match measure {
        // To who waits for a message it is one thing who put it aside.
        Measure::ErrorRate => Measure::DeadLetters,
        other => other,
    };
    own.as_str().replace('-', "_")
}

impl Tripwire {
    /// What has happened when it fires.
    #[must_use]
    pub fn crossed(&self) -> String {
        let over = self.over.map_or_else(String::new, |limit| {
            format!(" over {}", humantime::format_duration(limit))
        });
        format!("{} beyond {}{over}", self.measure, self.threshold)
    }

    /// Whether it matters at this step. After `complete` there is no way back to take, and before its phase nothing of it.
    #[must_use]
    pub fn watches(&self, step: Step) -> bool {
        step != Step::DONE && step.phase() >= self.from
    }

    /// Where it leads when it fires at `step`; never forward. While Kafka may hold what Redis does not have and readers have
    /// not read (`unread`), none leads to where they leave it: only a person says that it is left behind.
    #[must_use]
    pub fn leads_to(&self, course: &Course, step: Step, unread: bool) -> Step {
        let least = if unread {
            course.before(Phase::Ingress).min(step)
        } else {
            Step::SHADOW
        };
        let to = match self.action {
            Action::Alarm | Action::Freeze => step,
            Action::Rollback => course.before(self.from).min(step),
            Action::RedisOnly => Step::SHADOW,
        };
        to.max(least)
    }

    /// Whether it leads back from `to` and did not from `from`: then it fires anew there while it is beyond its threshold.
    #[must_use]
    pub fn gains(&self, course: &Course, from: Step, to: Step, unread: bool) -> bool {
        self.leads_to(course, from, unread) == from && self.leads_to(course, to, unread) < to
    }

    /// Whether it stands where it may not lead back from: then it stops all promotion, which is what is left to do.
    #[must_use]
    pub fn is_kept(&self, course: &Course, step: Step, unread: bool) -> bool {
        self.leads_to(course, step, unread) == step && self.leads_to(course, step, false) < step
    }

    /// The value that the threshold is held against: for counts the end of the bound that is nearer to the good. What has
    /// another form than its measure is judged by nothing.
    fn value(&self, reading: &Reading) -> Option<f64> {
        match (self.measure.shape(), reading) {
            // Held against the baseline a share of writes is a distance, and a throughput a share.
            (Shape::Value | Shape::Share, Reading::Value(value)) => {
                Some(*value).filter(|value| value.is_finite())
            }
            (Shape::Counts, Reading::Counted { faults, total, .. }) => {
                share_of_faults(*total, *faults).map(|(least, _)| least)
            }
            (Shape::Value | Shape::Share, Reading::Counted { .. })
            | (Shape::Counts, Reading::Value(_))
            | (_, Reading::Unknown(_)) => None,
        }
    }

    /// Well on the good side: by the hysteresis' part of the threshold.
    fn is_clear(&self, value: f64, hysteresis: f64) -> bool {
        let distance = self.threshold.abs() * hysteresis;
        let line = match self.op {
            Op::Below | Op::AtMost => self.threshold - distance,
            Op::Above | Op::AtLeast => self.threshold + distance,
        };
        self.op.holds(value, line)
    }

    fn margin(&self, value: f64) -> f64 {
        if !self.op.holds(value, self.threshold) {
            return 0.0;
        }
        let (good, bad) = match self.op {
            Op::Below | Op::AtMost => (self.threshold - value, self.threshold),
            Op::Above | Op::AtLeast => (value - self.threshold, 1.0 - self.threshold),
        };
        if bad <= 0.0 {
            return 1.0;
        }
        (good / bad).clamp(0.0, 1.0)
    }
}

impl Trip {
    /// Takes a sample in; answers whether the tripwire fires now.
    pub fn observe(
        &mut self,
        wire: &Tripwire,
        sample: Option<&Sample>,
        config: &Tripwires,
        freshness_ms: i64,
        now_ms: i64,
    ) -> bool {
        let fresh = sample.filter(|sample| {
            let age = now_ms.saturating_sub(sample.at_ms);
            age <= freshness_ms && age >= -freshness_ms
        });
        let Some((value, at_ms)) =
            fresh.and_then(|sample| Some((wire.value(&sample.reading)?, sample.at_ms)))
        else {
            self.margin = None;
            return false;
        };
        self.margin = Some(wire.margin(value));
        if at_ms == self.last_ms {
            return false;
        }
        self.last_ms = at_ms;
        if wire.op.holds(value, wire.threshold) {
            self.crossed = 0;
        } else {
            self.crossed = self.crossed.saturating_add(1);
        }
        if wire.is_clear(value, list::share(config.hysteresis)) {
            self.clear = self.clear.saturating_add(1);
        } else {
            self.clear = 0;
        }
        if self.fired_ms.is_some() {
            if self.clear >= config.rearm_evaluations {
                self.fired_ms = None;
            }
            return false;
        }
        let fires = self.crossed >= config.evaluations;
        if fires {
            self.fired_ms = Some(now_ms);
            self.clear = 0;
        }
        fires
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Migration;

    const NOW: i64 = 1_800_000_000_000;
    const FRESH: i64 = 15_000;

    fn config() -> Tripwires {
        Tripwires {
            rearm_evaluations: 3,
            ..Tripwires::default()
        }
    }

    fn wire(measure: Measure) -> Tripwire {
        tripwires(&config())
            .into_iter()
            .find(|wire| wire.measure == measure)
            .expect("there is one")
    }

    /// When it fires over a row of values, a second apart.
    fn fires(wire: &Tripwire, config: &Tripwires, values: &[f64]) -> Vec<usize> {
        let mut trip = Trip::default();
        let fired = values.iter().enumerate().filter(|(n, value)| {
            let at_ms = NOW + i64::try_from(*n).expect("few") * 1_000;
            let sample = Sample {
                measure: wire.measure,
                reading: Reading::Value(**value),
                at_ms,
            };
            trip.observe(wire, Some(&sample), config, FRESH, at_ms)
        });
        fired.map(|(n, _)| n).collect()
    }

    #[test]
    fn it_fires_beyond_its_threshold_and_not_at_it() {
        let lag = wire(Measure::GroupLag);
        assert_eq!(fires(&lag, &config(), &[9_999.0, 10_000.0]), [0; 0]);
        assert_eq!(fires(&lag, &config(), &[9_999.0, 10_001.0]), [1]);
        let pace = wire(Measure::Throughput);
        assert_eq!(fires(&pace, &config(), &[0.6, 0.5, 0.499]), [2]);
        assert_eq!(
            fires(&wire(Measure::Inconsistency), &config(), &[0.0, 1.0]),
            [1]
        );
    }

    #[test]
    fn swinging_about_the_threshold_fires_once_until_it_was_clear() {
        let lag = wire(Measure::GroupLag);
        let swing = [10_001.0, 9_000.0, 10_001.0, 9_000.0, 10_001.0];
        assert_eq!(fires(&lag, &config(), &swing), [0]);
        let clear = [
            10_001.0, 8_000.0, 8_000.0, 8_001.0, 8_000.0, 8_000.0, 8_000.0, 10_001.0,
        ];
        assert_eq!(
            fires(&lag, &config(), &clear),
            [0, 7],
            "three clear ones in a row re-arm"
        );
    }

    #[test]
    fn several_crossings_in_a_row_may_be_wanted() {
        let patient = Tripwires {
            evaluations: 3,
            ..config()
        };
        let lag = wire(Measure::GroupLag);
        let high = 20_000.0;
        assert_eq!(
            fires(&lag, &patient, &[high, high, 1.0, high, high, high]),
            [5]
        );
    }

    #[test]
    fn no_evidence_neither_fires_nor_arms() {
        let lag = wire(Measure::GroupLag);
        let mut trip = Trip::default();
        let sample = |value, at_ms| Sample {
            measure: Measure::GroupLag,
            reading: value,
            at_ms,
        };
        let mut observe =
            |sample: Option<&Sample>| trip.observe(&lag, sample, &config(), FRESH, NOW);
        assert!(!observe(None));
        assert!(!observe(Some(&sample(
            Reading::Unknown("away".to_owned()),
            NOW
        ))));
        assert!(!observe(Some(&sample(Reading::Value(f64::NAN), NOW))));
        assert!(
            !observe(Some(&sample(Reading::Value(20_000.0), NOW - FRESH - 1))),
            "too old"
        );
        assert!(observe(Some(&sample(Reading::Value(20_000.0), NOW))));
        for _ in 0..10 {
            assert!(
                !observe(Some(&sample(Reading::Value(0.0), NOW + 1))),
                "one sample counts once"
            );
        }
        assert!(trip.fired_ms.is_some());
    }

    #[test]
    fn a_few_records_do_not_throw_a_migration_back() {
        let errors = wire(Measure::ProduceErrors);
        let fires = |faults, total| {
            let reading = Reading::Counted {
                faults,
                total,
                since_ms: NOW,
            };
            let sample = Sample {
                measure: Measure::ProduceErrors,
                reading,
                at_ms: NOW,
            };
            Trip::default().observe(&errors, Some(&sample), &config(), FRESH, NOW)
        };
        assert!(!fires(1, 20), "5 %, and nothing shown");
        assert!(fires(30, 1_000));
        assert!(!fires(0, 0));
    }

    #[test]
    fn evidence_of_the_wrong_form_fires_nothing() {
        let fires = |measure, reading| {
            let sample = Sample {
                measure,
                reading,
                at_ms: NOW,
            };
            Trip::default().observe(&wire(measure), Some(&sample), &config(), FRESH, NOW)
        };
        let counts = |faults, total| Reading::Counted {
            faults,
            total,
            since_ms: NOW,
        };
        assert!(
            !fires(Measure::WriteLatency, Reading::Value(12.0)),
            "meant as milliseconds, and not as a share of 0.05"
        );
        assert!(fires(Measure::WriteLatency, counts(90, 1_000)));
        assert!(
            !fires(Measure::Throughput, counts(0, 900)),
            "no fault is no standstill"
        );
        assert!(fires(Measure::Throughput, Reading::Value(0.1)));
    }

    #[test]
    fn each_leads_back_to_where_its_traffic_was_redis_and_never_forward() {
        let course = Course::new(&Migration::default());
        for step in course.steps() {
            for wire in tripwires(&config()) {
                assert!(wire.leads_to(&course, *step, false) <= *step);
                let kept = wire.leads_to(&course, *step, true);
                assert!(kept <= *step && kept >= Step::consumers(100).min(*step));
            }
        }
        let leads = |measure, step| wire(measure).leads_to(&course, step, false);
        assert_eq!(
            leads(Measure::ProduceErrors, Step::ingress(50)),
            Step::consumers(100)
        );
        assert_eq!(leads(Measure::GroupLag, Step::ingress(50)), Step::SHADOW);
        assert_eq!(
            leads(Measure::Inconsistency, Step::consumers(50)),
            Step::SHADOW
        );
        assert_eq!(
            leads(Measure::Disk, Step::consumers(50)),
            Step::consumers(50)
        );
        let unread = |measure, step| wire(measure).leads_to(&course, step, true);
        for measure in [Measure::GroupLag, Measure::Inconsistency] {
            assert_eq!(unread(measure, Step::ingress(50)), Step::consumers(100));
        }
        let kept = |step, unread| wire(Measure::GroupLag).is_kept(&course, step, unread);
        assert!(kept(Step::consumers(100), true) && !kept(Step::consumers(100), false));
        assert!(
            !kept(Step::ingress(50), true),
            "it leads back, if not so far"
        );
        assert!(!wire(Measure::Disk).is_kept(&course, Step::ingress(50), true));
        assert!(!wire(Measure::GroupLag).watches(Step::SHADOW));
        assert!(!wire(Measure::GroupLag).watches(Step::DONE));
    }
}
