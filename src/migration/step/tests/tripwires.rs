//! What tripwires do where there is something to take back and where there is not, and what the journal says of it.

use super::super::*;
use super::world::{self, WHY, Weather, World, redis_only};
use super::{calm, stop};
use crate::migration::gate::{Answer as Answered, GateName, Reading};
use crate::migration::phase::Step;

const APART: Weather = Weather::Bad(Measure::Inconsistency);

fn tripped(world: &World) -> Vec<&Record> {
    let records = world.last_records.iter();
    records
        .filter(|record| record.verb == Verb::Tripwire)
        .collect()
}

fn resume(world: &mut World) {
    let (_, resume) = stop(WHY);
    let answer = world.ask(0, resume, "resume").expect("answered");
    answer.expect("accepted");
}

#[test]
fn stores_that_differ_in_shadow_freeze_it_until_a_person_resumes() {
    let mut world = calm(Step::SHADOW);
    let told = world.state().told;
    world.observe(0, APART);
    let state = world.state();
    assert_eq!((state.name(), state.step), (Name::Frozen, Step::SHADOW));
    assert_eq!(state.motion, None, "there is nothing to take back");
    assert_eq!(state.told, told);
    // Even once the difference is gone, and every gate is open.
    let refused = world.promote(0, Verb::Promote).expect_err("frozen");
    assert!(matches!(*refused, Refusal::Busy { .. }), "{refused}");
    resume(&mut world);
    assert_eq!(world.state().name(), Name::Steady);
    world.promote(0, Verb::Promote).expect("open");
    world.finish(0);
    assert_eq!(world.state().step, Step::consumers(5));
}

#[test]
fn what_froze_shadow_and_still_stands_takes_the_first_step_back() {
    let mut world = calm(Step::SHADOW);
    let mut config = world::config();
    config.tripwires.rearm_evaluations = 100;
    world.drivers[0].machine = Machine::new(config, "demo", "test", 9);
    world.load(0);
    world.observe(0, APART);
    resume(&mut world);
    world.pass(1_000);
    world.observe(0, APART);
    assert_eq!(world.state().name(), Name::Steady, "it fires once");
    // So few differ that the gate does not see them, and what fired has not been well for long.
    world.promote(0, Verb::Promote).expect("open");
    world.pass(1_000);
    world.observe(0, APART);
    world.finish(0);
    let state = world.state();
    assert_eq!((state.name(), state.step), (Name::Frozen, Step::SHADOW));
    assert!(redis_only(world.flags.expect("told")));
}

#[test]
fn what_froze_before_ingress_and_still_stands_takes_the_next_step_back() {
    let mut world = calm(Step::consumers(100));
    let mut config = world::config();
    config.tripwires.rearm_evaluations = 100;
    world.drivers[0].machine = Machine::new(config, "demo", "test", 9);
    world.load(0);
    // Applications write to Kafka, so readers stay there when it freezes.
    world.promote(0, Verb::Promote).expect("open");
    world.finish(0);
    let ingress = world.state().step;
    assert_eq!(ingress.phase(), crate::migration::phase::Phase::Ingress);
    world.pass(1_000);
    world.observe(0, APART);
    world.finish(0);
    let back = world.state();
    assert_eq!(
        (back.name(), back.step),
        (Name::Frozen, Step::consumers(100))
    );
    resume(&mut world);
    world.pass(1_000);
    world.observe(0, APART);
    assert_eq!(world.state().name(), Name::Steady, "it fires once");
    world.promote(0, Verb::Promote).expect("open");
    world.pass(1_000);
    world.observe(0, APART);
    world.finish(0);
    let back = world.state();
    assert_eq!(
        (back.name(), back.step),
        (Name::Frozen, Step::consumers(100))
    );
}

#[test]
fn a_tripwire_that_moves_nothing_is_done_when_it_is_noted() {
    for (step, measure) in [
        (Step::consumers(5), Measure::Disk),
        // This world's tripwire on it freezes.
        (Step::consumers(5), Measure::GroupLag),
        (Step::SHADOW, Measure::Inconsistency),
    ] {
        let mut world = calm(step);
        world.observe(0, Weather::Bad(measure));
        let records = tripped(&world);
        let [record] = records.as_slice() else {
            panic!("{records:?}")
        };
        assert_eq!(
            (record.outcome, record.from, record.to),
            (Outcome::Done, step, step),
            "{measure}"
        );
    }
    // What leads back is begun, and done on arrival.
    let mut world = calm(Step::consumers(5));
    world.observe(0, Weather::Bad(Measure::Throughput));
    let begun = tripped(&world);
    assert!(
        begun.iter().all(|record| record.outcome == Outcome::Begun),
        "{begun:?}"
    );
    world.finish(0);
    let done = tripped(&world);
    assert_eq!(
        done.last()
            .map(|record| (record.outcome, record.from, record.to)),
        Some((Outcome::Done, Step::consumers(5), Step::SHADOW))
    );
}

#[test]
fn an_alarm_during_a_move_says_nothing_of_where_it_goes() {
    let mut world = calm(Step::SHADOW);
    world.promote(0, Verb::Promote).expect("open");
    world.pass(1_000);
    world.observe(0, Weather::Bad(Measure::Disk));
    let records = tripped(&world);
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].outcome, records[0].to),
        (Outcome::Done, Step::SHADOW)
    );
    assert_eq!(world.state().name(), Name::Moving);
}

#[test]
fn what_the_gates_refused_is_journaled_with_the_gates_as_they_stood() {
    let mut world = calm(Step::SHADOW);
    world.observe(0, Weather::Good);
    let refused = world.apply(0, Verb::Promote).expect_err("too early");
    let Refusal::Gates(verdicts) = *refused else {
        panic!("{refused}")
    };
    let record = world.last_records.last().expect("a record");
    assert_eq!(
        (record.verb, record.outcome),
        (Verb::Promote, Outcome::Refused)
    );
    assert!(!verdicts.is_empty());
    assert_eq!(record.evidence, verdicts);
}

/// Of so many, those that the application's consumers could not do.
fn told(world: &World, faults: u64, total: u64) -> Sample {
    Sample {
        measure: Measure::ErrorRate,
        reading: Reading::Counted {
            faults,
            total,
            since_ms: world.state().since_ms,
        },
        at_ms: world.now_ms,
    }
}

#[test]
fn what_the_applications_consumers_cannot_do_takes_them_back() {
    for (faults, to) in [(9, Step::consumers(5)), (90, Step::SHADOW)] {
        let mut world = calm(Step::consumers(5));
        let sample = told(&world, faults, 1_000);
        let asked = world.ask(0, Ask::Evidence(sample), "evidence");
        asked.expect("answered").expect("taken");
        world.give(0, Event::Observed(Observation::default()), "tripwire");
        world.finish(0);
        assert_eq!(world.state().step, to, "{faults}");
    }
}

#[test]
fn the_applications_errors_count_at_the_gate_from_when_they_are_told() {
    let mut world = calm(Step::consumers(5));
    let mirrored = |world: &World| Sample {
        measure: Measure::DeadLetters,
        ..told(world, 0, 100_000)
    };
    let judged = |world: &mut World, samples: Vec<Sample>| {
        let observation = Observation {
            samples,
            ..Observation::default()
        };
        world.give(0, Event::Observed(observation), "observed");
        let verdicts = world.drivers[0].machine.verdicts(world.now_ms);
        let mut gates = verdicts.into_iter();
        let gate = gates.find(|gate| gate.name == GateName::DeadLetters);
        let gate = gate.expect("a gate");
        (gate.verdict, gate.reason)
    };
    let sample = mirrored(&world);
    let alone = judged(&mut world, vec![sample]);
    assert_eq!(alone, (Answered::Pass, String::new()), "nobody told it");
    for (faults, total, verdict) in [
        (0, 100_000, Answered::Pass),
        (0, 100, Answered::Inconclusive),
        (9, 1_000, Answered::Fail),
    ] {
        let samples = vec![mirrored(&world), told(&world, faults, total)];
        let (said, reason) = judged(&mut world, samples);
        assert_eq!(said, verdict, "{faults} of {total}: {reason}");
        assert!(said == Answered::Pass || reason.starts_with("error-rate: "));
    }
    // Once told, silence is no evidence.
    let samples = vec![told(&world, 0, 100_000)];
    judged(&mut world, samples);
    world.pass(16_000);
    let sample = mirrored(&world);
    let (said, reason) = judged(&mut world, vec![sample]);
    assert_eq!(said, Answered::Inconclusive, "{reason}");
    assert!(reason.contains("too old"), "{reason}");
}
