//! What was seen before a crash counts after it: sums, lengths of time, worst values, and what was pushed.

use super::super::*;
use super::calm;
use super::world::{Weather, World};
use crate::migration::gate::{Answer as Verdict, GateName, Reading};
use crate::migration::phase::Step;

fn counts(entries: u64, dead: u64) -> Counts {
    Counts {
        entries,
        dead,
        parity: Ok(Compared {
            verified: entries,
            differ: 0,
        }),
    }
}

fn verdict(world: &World, number: usize, name: GateName) -> crate::migration::gate::Verdict {
    let verdicts = world.drivers[number].machine.verdicts(world.now_ms);
    let found = verdicts.into_iter().find(|verdict| verdict.name == name);
    found.expect("a gate of this step")
}

#[test]
fn no_fault_is_forgotten_with_the_process_that_counted_it() {
    let mut world = calm(Step::consumers(5));
    // What was counted before it began to steer is no matter of this step.
    world.look(0, counts(7_000, 70), Wellness::Well);
    world.pass(1_000);
    world.look(0, counts(8_000, 120), Wellness::Well);
    let before = verdict(&world, 0, GateName::DeadLetters);
    assert_eq!((before.verdict, before.samples), (Verdict::Fail, 1_050));

    let other = world.start();
    world.look(other, counts(0, 0), Wellness::Well);
    world.pass(1_000);
    world.look(other, counts(2_000, 0), Wellness::Well);
    let after = verdict(&world, other, GateName::DeadLetters);
    assert_eq!((after.verdict, after.samples), (Verdict::Fail, 3_050));
}

#[test]
fn a_save_that_failed_loses_no_count() {
    let mut world = calm(Step::consumers(5));
    world.look(0, counts(0, 0), Wellness::Well);
    world.pass(60_000);
    world.look(0, counts(100, 0), Wellness::Well);
    let machine = &mut world.drivers[0].machine;
    let now_ms = world.now_ms + 1;
    let seen = Observation {
        counts: Some(counts(200, 9)),
        ..Observation::default()
    };
    let commands = machine.step(Event::Observed(seen.clone()), now_ms);
    assert!(
        matches!(commands[..], [Command::Save { .. }]),
        "{commands:?}"
    );
    machine.step(Event::NotSaved(NotSaved::Unreachable), now_ms);
    machine.step(Event::Observed(seen), now_ms);
    assert_eq!(
        (machine.state.tally.entries, machine.state.tally.dead),
        (200, 9)
    );
}

#[test]
fn another_step_counts_anew() {
    let mut world = calm(Step::consumers(5));
    world.look(0, counts(0, 0), Wellness::Well);
    world.look(0, counts(900, 100), Wellness::Well);
    world.ask(0, super::back(None), "rollback");
    world.pass(1_000);
    world.finish(0);
    world.look(0, counts(900, 100), Wellness::Well);
    let tally = world.drivers[0].machine.state.tally;
    assert_eq!((tally.entries, tally.dead), (0, 0));
    assert_eq!(tally.since_ms, world.now_ms);
}

#[test]
fn a_trouble_becomes_an_incident_across_a_restart() {
    let mut world = calm(Step::SHADOW);
    world.look(0, counts(0, 0), Wellness::Unwell);
    assert_eq!(
        verdict(&world, 0, GateName::Incidents).value,
        Some(0.0),
        "not yet"
    );
    world.pass(50_000);
    let other = world.start();
    let unknown = Wellness::Unknown("just started".to_owned());
    world.look(other, counts(0, 0), unknown);
    assert_eq!(
        verdict(&world, other, GateName::Incidents).verdict,
        Verdict::Inconclusive
    );
    world.pass(10_001);
    world.look(other, counts(0, 0), Wellness::Unwell);
    let incident = verdict(&world, other, GateName::Incidents);
    assert_eq!(
        (incident.verdict, incident.value),
        (Verdict::Fail, Some(1.0))
    );

    world.pass(1_000);
    world.look(other, counts(0, 0), Wellness::Well);
    assert_eq!(world.state().unwell_since_ms, None);
    assert_eq!(verdict(&world, other, GateName::Incidents).value, Some(0.0));
}

#[test]
fn how_long_a_condition_has_held_and_its_worst_value_survive() {
    let mut world = calm(Step::SHADOW);
    for second in 0..100 {
        world.pass(1_000);
        let lag = if second == 3 { 77.0 } else { 1.0 };
        let at_ms = world.now_ms;
        let sample = Sample {
            measure: Measure::MirrorLag,
            reading: Reading::Value(lag),
            at_ms,
        };
        let observation = Observation {
            samples: vec![sample],
            ..Observation::default()
        };
        world.give(0, Event::Observed(observation), "observed");
    }
    world.start();
    let held = &world.drivers[1].machine.state.holding[&GateName::MirrorLag];
    let held = held.clone();
    assert!(held.covered_ms >= 99_000 - SAVE_EVERY_MS, "{held:?}");
    assert_eq!(held.worst, Some(77.0));
    // Going on after a short while counts on, and the while itself does not count.
    world.pass(120_000);
    world.observe(1, Weather::Good);
    let on = &world.drivers[1].machine.state.holding[&GateName::MirrorLag];
    assert_eq!(
        (on.since_ms, on.covered_ms),
        (held.since_ms, held.covered_ms)
    );
}

#[test]
fn what_is_pushed_is_stored_before_it_is_answered_and_makes_no_record() {
    let mut world = calm(Step::consumers(5));
    let sample = Sample {
        measure: Measure::Duplicates,
        reading: Reading::Value(3.0),
        at_ms: world.now_ms,
    };
    let records = world.records;
    let machine = &mut world.drivers[0].machine;
    let ask = Event::Asked(super::world::who(), Ask::Evidence(sample.clone()));
    let commands = machine.step(ask.clone(), world.now_ms);
    assert!(
        matches!(commands[..], [Command::Save { .. }]),
        "{commands:?}"
    );
    let commands = machine.step(Event::NotSaved(NotSaved::Unreachable), world.now_ms);
    assert!(
        matches!(&commands[..], [Command::Answer(Err(why))] if matches!(**why, Refusal::NotStored(_))),
        "{commands:?}"
    );
    world.give(0, ask, "evidence");
    assert!(
        world.drivers[0]
            .answers
            .pop()
            .is_some_and(|answer| answer.is_ok())
    );
    assert_eq!(world.state().pushed[&Measure::Duplicates], sample);
    assert_eq!(world.records, records);
    let other = world.start();
    assert_eq!(
        verdict(&world, other, GateName::Duplicates).value,
        Some(3.0)
    );
}
