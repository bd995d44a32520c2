//! Gates judged at their edges: nothing known, too old, too few, just enough.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Migration;
use crate::migration::phase::{Course, Step};

const FRESH: i64 = 15_000;
const NOW: i64 = 1_800_000_000_000;

fn config() -> Migration {
    Migration::default()
}

fn of(step: Step, name: GateName) -> Gate {
    let config = config();
    gates(&config, &Course::new(&config), step)
        .into_iter()
        .find(|gate| gate.name == name)
        .expect("the step has the gate")
}

fn counted(faults: u64, total: u64) -> Evidence {
    Evidence {
        reading: Reading::Counted {
            faults,
            total,
            since_ms: NOW - 60_000,
        },
        at_ms: NOW,
        held: None,
        parts: Vec::new(),
    }
}

#[test]
fn the_defaults_are_those_of_the_guide() {
    let at = |step, name| {
        let gate = of(step, name);
        (gate.op.as_str(), gate.threshold, gate.window_ms / 60_000)
    };
    let week = 7 * 24 * 60;
    assert_eq!(at(Step::SHADOW, GateName::MirrorLag), ("<", 100.0, week));
    assert_eq!(at(Step::SHADOW, GateName::Parity), (">", 0.999, 0));
    assert_eq!(at(Step::SHADOW, GateName::Incidents), ("<=", 0.0, week));
    assert_eq!(at(Step::consumers(5), GateName::GroupLag), ("<", 500.0, 30));
    assert_eq!(
        at(Step::consumers(5), GateName::Duplicates),
        ("<=", 0.0, 30)
    );
    assert_eq!(
        at(Step::consumers(100), GateName::DeadLetters),
        ("<", 0.001, 0)
    );
    assert_eq!(
        at(Step::ingress(10), GateName::ProduceErrors),
        ("<", 0.0001, 0)
    );
    assert_eq!(at(Step::ingress(10), GateName::Soak).1, 86_400.0);
    assert_eq!(at(Step::ingress(100), GateName::Soak).1, 7.0 * 86_400.0);
}

#[test]
fn every_promotion_has_gates_and_nothing_leads_out_of_done() {
    let config = config();
    let course = Course::new(&config);
    for step in course.steps() {
        let gates = gates(&config, &course, *step);
        assert_eq!(gates.is_empty(), *step == Step::DONE, "{step}");
    }
}

#[test]
fn no_evidence_old_evidence_and_no_number_are_inconclusive() {
    for step in Course::new(&config()).steps() {
        for gate in gates(&config(), &Course::new(&config()), *step) {
            let mut held = Held::new(&gate);
            held.since_ms = Some(0);
            held.covered_ms = i64::MAX;
            held.samples = u64::MAX;
            let with = |reading, at_ms| Evidence {
                reading,
                at_ms,
                held: Some(held.clone()),
                parts: Vec::new(),
            };
            let good = if gate.kind == Kind::Share || gate.kind == Kind::All {
                Reading::Counted {
                    faults: 0,
                    total: 10_000_000,
                    since_ms: 0,
                }
            } else {
                Reading::Value(gate.threshold - f64::from(u8::from(gate.op == Op::Below)))
            };
            assert!(
                gate.judge(&with(good.clone(), NOW), FRESH, NOW).opens(),
                "{gate:?}"
            );
            assert!(
                gate.judge(&with(good.clone(), NOW - FRESH), FRESH, NOW)
                    .opens()
            );
            for evidence in [
                with(Reading::Unknown("asleep".to_owned()), NOW),
                with(good.clone(), NOW - FRESH - 1),
                with(good, NOW + FRESH + 1),
                with(Reading::Value(f64::NAN), NOW),
                with(
                    Reading::Counted {
                        faults: 0,
                        total: 0,
                        since_ms: 0,
                    },
                    NOW,
                ),
            ] {
                let verdict = gate.judge(&evidence, FRESH, NOW);
                assert_eq!(
                    verdict.verdict,
                    Answer::Inconclusive,
                    "{gate:?} {evidence:?}"
                );
                assert!(!verdict.reason.is_empty());
            }
        }
    }
}

#[test]
fn a_share_passes_on_its_bound_and_not_on_its_ratio() {
    let gate = of(Step::consumers(5), GateName::DeadLetters);
    let judged = |faults, total| gate.judge(&counted(faults, total), FRESH, NOW);
    let few = judged(0, 2_994);
    assert_eq!(
        (few.verdict, few.needed),
        (Answer::Inconclusive, Some(2_995))
    );
    assert_eq!(few.opens_at_ms, Some(NOW + 60_000 / 2_994));
    assert!(judged(0, 2_995).opens());
    let between = judged(3, 4_000);
    assert_eq!(
        between.verdict,
        Answer::Inconclusive,
        "0.075 % is less, and shows nothing"
    );
    let (least, most) = between.bound.expect("a bound");
    assert!(least < 0.001 && most > 0.001);
    assert_eq!(judged(20, 4_000).verdict, Answer::Fail);
}

#[test]
fn parity_is_a_share_with_a_floor() {
    let gate = of(Step::SHADOW, GateName::Parity);
    let passed = gate.judge(&counted(0, 3_000), FRESH, NOW);
    assert!(passed.opens());
    assert_eq!(passed.value, Some(1.0));
    assert!(
        passed
            .bound
            .is_some_and(|(least, most)| least > 0.999 && most == 1.0)
    );
    assert_eq!(
        gate.judge(&counted(100, 3_000), FRESH, NOW).verdict,
        Answer::Fail
    );
}

/// One-sided, Clopper and Pearson: 0.05^(1/2995) > 0.999.
#[test]
fn parity_without_a_fault_takes_2995_entries_to_show_and_nothing_compared_shows_nothing() {
    let gate = of(Step::SHADOW, GateName::Parity);
    let judged = |faults, total| gate.judge(&counted(faults, total), FRESH, NOW);
    assert!(judged(0, 2_995).opens());
    let few = judged(0, 2_994);
    assert_eq!(
        (few.verdict, few.needed),
        (Answer::Inconclusive, Some(2_995))
    );
    assert_eq!(judged(1, 2_995).verdict, Answer::Inconclusive);
    // Windows that hold nothing, and entries of which nothing can be said, count as none.
    assert_eq!(judged(0, 0).verdict, Answer::Inconclusive);
}

#[test]
fn one_that_does_not_follow_fails_and_none_shows_nothing() {
    let gate = of(Step::SHADOW, GateName::Clients);
    assert_eq!(gate.judge(&counted(1, 3), FRESH, NOW).verdict, Answer::Fail);
    assert_eq!(
        gate.judge(&counted(0, 0), FRESH, NOW).verdict,
        Answer::Inconclusive
    );
    assert!(gate.judge(&counted(0, 3), FRESH, NOW).opens());
}

/// Samples `every` ms apart; the verdict after each.
fn watch(gate: &Gate, values: &[f64], every: i64) -> Vec<Verdict> {
    let mut held = Held::new(gate);
    values
        .iter()
        .zip(1..)
        .map(|(value, n)| {
            let at_ms = NOW + n * every;
            held.observe(gate, *value, at_ms, &config());
            let evidence = Evidence {
                reading: Reading::Value(*value),
                at_ms,
                held: Some(held.clone()),
                parts: Vec::new(),
            };
            gate.judge(&evidence, FRESH, at_ms)
        })
        .collect()
}

fn lag_over(window: Duration) -> Gate {
    Gate {
        window_ms: window.as_millis() as i64,
        ..of(Step::consumers(5), GateName::GroupLag)
    }
}

#[test]
fn a_condition_must_hold_all_through_its_window() {
    let gate = lag_over(Duration::from_secs(30));
    let verdicts = watch(
        &gate,
        &[1.0, 2.0, 3.0, 4.0, 500.0, 1.0, 1.0, 1.0, 1.0],
        10_000,
    );
    let answers: Vec<_> = verdicts
        .iter()
        .map(|verdict| verdict.verdict.as_str())
        .collect();
    let (i, p, f) = ("inconclusive", "pass", "fail");
    assert_eq!(answers, [i, i, i, p, f, i, i, i, p]);
    assert_eq!(verdicts[1].opens_at_ms, Some(NOW + 40_000));
}

#[test]
fn time_that_nobody_looked_at_does_not_count() {
    let gate = lag_over(Duration::from_secs(30));
    // 20 s apart is more than the freshness: nothing is covered.
    assert!(
        watch(&gate, &[1.0; 20], 20_000)
            .iter()
            .all(|verdict| !verdict.opens())
    );
    let mut held = Held::new(&gate);
    held.observe(&gate, 1.0, NOW, &config());
    held.observe(&gate, 1.0, NOW + 10_000, &config());
    held.observe(&gate, 1.0, NOW + 70_000, &config());
    assert_eq!(
        (held.covered_ms, held.since_ms),
        (10_000, Some(NOW)),
        "a short gap is left out"
    );
    held.observe(&gate, 1.0, NOW + 800_000, &config());
    assert_eq!(
        (held.covered_ms, held.since_ms),
        (0, Some(NOW + 800_000)),
        "a long one begins anew"
    );
}

#[test]
fn what_held_under_another_threshold_shows_nothing() {
    let gate = lag_over(Duration::from_secs(10));
    let mut held = Held::new(&gate);
    for n in 0..5 {
        held.observe(&gate, 1.0, NOW + n * 5_000, &config());
    }
    let evidence = Evidence {
        reading: Reading::Value(1.0),
        at_ms: NOW + 20_000,
        held: Some(held),
        parts: Vec::new(),
    };
    assert!(gate.judge(&evidence, FRESH, NOW + 20_000).opens());
    let stricter = Gate {
        threshold: 100.0,
        ..gate
    };
    assert!(!stricter.judge(&evidence, FRESH, NOW + 20_000).opens());
}

#[test]
fn the_worst_is_kept_and_a_clock_that_goes_back_adds_nothing() {
    let gate = lag_over(Duration::from_secs(10));
    let mut held = Held::new(&gate);
    for (value, at) in [(7.0, 0), (400.0, 5_000), (3.0, 4_000), (2.0, 9_000)] {
        assert!(!held.observe(&gate, value, NOW + at, &config()));
    }
    assert_eq!(
        (held.worst, held.covered_ms, held.samples),
        (Some(400.0), 9_000, 3)
    );
    assert!(
        held.observe(&gate, 500.0, NOW + 10_000, &config()),
        "it has just ceased to hold"
    );
    assert_eq!(held.worst, Some(500.0));
}

proptest! {
    #[test]
    fn a_bound_on_both_sides_of_the_threshold_never_opens(total in 1u64..200_000, share in 0.0f64..0.01) {
        let gate = of(Step::consumers(5), GateName::DeadLetters);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let faults = (total as f64 * share) as u64;
        let verdict = gate.judge(&counted(faults, total), FRESH, NOW);
        let (least, most) = verdict.bound.expect("counted");
        match verdict.verdict {
            Answer::Pass => prop_assert!(most < 0.001),
            Answer::Fail => prop_assert!(least > 0.001),
            Answer::Inconclusive => prop_assert!(least <= 0.001 && most >= 0.001),
        }
    }
}

#[test]
fn when_it_opens_is_said_a_year_ahead_at_most() {
    let gate = of(Step::consumers(100), GateName::DeadLetters);
    let over = |passed_ms: i64| Evidence {
        reading: Reading::Counted {
            faults: 0,
            total: 1,
            since_ms: NOW - passed_ms,
        },
        ..counted(0, 1)
    };
    let day = 86_400_000;
    let soon = gate.judge(&over(day / 10), FRESH, NOW);
    assert_eq!(soon.opens_at_ms, Some(NOW + day / 10 * 2_994));
    for passed in [day, 1_000 * day] {
        let late = gate.judge(&over(passed), FRESH, NOW);
        assert_eq!(
            (late.verdict, late.needed, late.opens_at_ms),
            (Answer::Inconclusive, Some(2_995), None)
        );
    }
}

#[test]
fn a_large_level_route_hides_no_small_bad_one() {
    let gate = of(Step::SHADOW, GateName::Parity);
    let part = |name: &str, faults, total| Part {
        name: format!("route {name}"),
        faults,
        total,
    };
    let judged = |faults, total, parts: &[Part]| {
        let evidence = Evidence {
            parts: parts.to_vec(),
            ..counted(faults, total)
        };
        gate.judge(&evidence, FRESH, NOW)
    };
    let level = part("chat", 0, 10_000_000);
    assert!(judged(40, 10_000_040, &[]).opens(), "as a whole it passes");
    let bad = judged(40, 10_000_040, &[level.clone(), part("audit", 40, 40)]);
    assert_eq!(bad.verdict, Answer::Fail);
    assert_eq!(
        bad.reason,
        "route audit: 40 of 40: shown to be too many at 95 %"
    );
    assert_eq!((bad.samples, bad.value), (40, Some(0.0)));
    // One of some hundred shows neither.
    let open = judged(1, 10_000_500, &[level.clone(), part("audit", 1, 500)]);
    assert_eq!(open.verdict, Answer::Inconclusive);
    assert!(
        open.reason.starts_with("route audit: 1 of 500"),
        "{}",
        open.reason
    );
    let both = [part("audit", 1, 500), part("billing", 9, 9), level.clone()];
    let worst = judged(10, 10_000_509, &both);
    assert_eq!(worst.verdict, Answer::Fail);
    assert!(
        worst.reason.starts_with("route billing"),
        "{}",
        worst.reason
    );
    // Faults that are few enough for a route are few enough, and a quiet route without any holds nothing up.
    let quiet = [
        level,
        part("audit", 0, 12),
        part("idle", 0, 0),
        part("b", 1, 900_000),
    ];
    assert!(judged(1, 10_900_012, &quiet).opens());
    let all_quiet = judged(0, 12, &[part("audit", 0, 12)]);
    assert_eq!(
        all_quiet.verdict,
        Answer::Inconclusive,
        "{}",
        all_quiet.reason
    );
}
