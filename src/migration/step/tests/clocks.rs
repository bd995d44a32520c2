//! Clocks that are put back or on, and steps that are long: neither blinds a tripwire, opens a gate or gives a move more time.

use super::super::*;
use super::restarts::{counts, verdict};
use super::world::{Weather, World, who};
use super::{back, calm};
use crate::migration::gate::{Answer as Verdict, GateName, Reading};
use crate::migration::phase::Step;

const HOUR: i64 = 3_600_000;

/// All is well for some seconds.
fn settled(step: Step) -> World {
    let mut world = calm(step);
    for _ in 0..4 {
        world.pass(1_000);
        world.observe(0, Weather::Good);
    }
    world
}

#[test]
fn a_clock_that_is_put_on_does_not_soak() {
    let mut world = settled(Step::SHADOW);
    let soaked = |world: &World| verdict(world, 0, GateName::Soak).value;
    let before = soaked(&world);
    assert!(
        before.is_some_and(|seconds| (3.0..=4.0).contains(&seconds)),
        "{before:?}"
    );
    world.pass(HOUR);
    world.observe(0, Weather::Good);
    assert_eq!(soaked(&world), before);
    world.pass(-2 * HOUR);
    world.observe(0, Weather::Good);
    assert_eq!(soaked(&world), before);
    world.pass(1_000);
    world.observe(0, Weather::Good);
    assert_eq!(soaked(&world), before.map(|seconds| seconds + 1.0));
    // What an older version stored has only the date.
    let mut old = world.state().clone();
    (old.looked_ms, old.soaked_ms) = (0, 0);
    old.since_ms = world.now_ms - 50_000;
    world.store = Some(old);
    let next = world.start();
    world.observe(next, Weather::Good);
    assert_eq!(verdict(&world, next, GateName::Soak).value, Some(50.0));
}

#[test]
fn what_was_pushed_before_the_clock_was_put_back_hides_nothing() {
    let mut world = settled(Step::consumers(5));
    let good = Sample {
        measure: Measure::Throughput,
        reading: Reading::Value(1_000.0),
        at_ms: world.now_ms,
    };
    world.give(0, Event::Asked(who(), Ask::Evidence(good)), "evidence");
    world.pass(-HOUR);
    world.observe(0, Weather::Bad(Measure::Throughput));
    assert_eq!(world.state().name(), Name::RollingBack);
}

#[test]
fn a_condition_that_did_not_hold_after_the_clock_was_put_back_begins_anew() {
    let mut world = settled(Step::SHADOW);
    assert_eq!(
        verdict(&world, 0, GateName::MirrorLag).verdict,
        Verdict::Pass
    );
    world.pass(-HOUR);
    world.observe(0, Weather::Bad(Measure::MirrorLag));
    world.pass(100);
    world.observe(0, Weather::Good);
    let held = verdict(&world, 0, GateName::MirrorLag);
    assert_eq!(held.verdict, Verdict::Inconclusive, "{}", held.reason);
    for _ in 0..3 {
        world.pass(1_000);
        world.observe(0, Weather::Good);
    }
    assert_eq!(
        verdict(&world, 0, GateName::MirrorLag).verdict,
        Verdict::Pass
    );
}

#[test]
fn a_move_gets_no_more_time_from_a_clock_that_is_put_back() {
    let mut world = calm(Step::ingress(10));
    world.promote(0, Verb::Promote).expect("open");
    world.act(0, Acted::Done, false);
    world.act(0, Acted::Done, false);
    world.pass(-1_000);
    world.give(0, Event::Tick, "deadline");
    assert_eq!(
        world.state().name(),
        Name::Moving,
        "instances differ by as much"
    );
    world.drivers[0].acts.clear();
    world.pass(-HOUR);
    world.give(0, Event::Tick, "deadline");
    assert_eq!(world.state().name(), Name::RollingBack);
    let said = |record: &Record| record.reason.contains("clock");
    assert!(
        world.last_records.iter().any(said),
        "{:?}",
        world.last_records
    );
    // And a way back is not waited for longer.
    world.act(0, Acted::Done, false);
    world.act(0, Acted::NotYet("billing".to_owned()), false);
    world.pass(-HOUR);
    world.give(0, Event::Tick, "deadline");
    world.pass(31_000);
    world.give(0, Event::Tick, "deadline");
    assert_eq!(
        (world.state().name(), world.state().step),
        (Name::Steady, Step::ingress(10))
    );
}

#[test]
fn what_was_counted_at_another_step_is_no_evidence_however_the_clock_was_put() {
    let mut world = calm(Step::consumers(5));
    world.look(0, counts(0, 0), Wellness::Well);
    world.look(0, counts(900_000, 0), Wellness::Well);
    world.pass(-HOUR);
    world.ask(0, back(None), "rollback");
    world.finish(0);
    world.look(0, counts(900_000, 0), Wellness::Well);
    assert_eq!(world.drivers[0].machine.state.tally.entries, 0);
}

/// Looks a second apart, each with so many more of both.
fn looks(world: &mut World, number: usize, so_far: &mut (u64, u64), more: (u64, u64), times: u64) {
    for _ in 0..times {
        world.pass(1_000);
        *so_far = (so_far.0 + more.0, so_far.1 + more.1);
        world.look(number, counts(so_far.0, so_far.1), Wellness::Well);
    }
}

#[test]
fn dead_letters_set_off_their_tripwire_however_long_the_step_has_been_well() {
    let mut world = calm(Step::consumers(25));
    world.look(0, counts(0, 0), Wellness::Well);
    // A day of 800 a second, the last two minutes of it second by second.
    world.pass(86_400_000);
    let mut so_far = (69_120_000, 0);
    looks(&mut world, 0, &mut so_far, (800, 0), 120);
    assert_eq!(world.state().name(), Name::Steady);
    // Another takes over in the middle.
    let next = world.start();
    looks(&mut world, next, &mut so_far, (0, 800), 2);
    assert_eq!(
        world.state().name(),
        Name::RollingBack,
        "within two evaluations"
    );
    assert_eq!(verdict_of_the_step(&world, next), 69_216_000 + 1_600);
    let lots = world.state().recent.len();
    assert!(lots <= 14, "{lots} lots of one minute");
}

/// The gate goes by all that was counted at the step.
fn verdict_of_the_step(world: &World, number: usize) -> u64 {
    let tally = world.drivers[number].machine.state.tally;
    tally.entries + tally.dead
}

#[test]
fn one_dead_letter_of_a_stream_where_little_happens_is_not_all_there_is() {
    let mut world = calm(Step::consumers(25));
    let mut so_far = (0, 0);
    world.look(0, counts(0, 0), Wellness::Well);
    for _ in 0..400 {
        looks(&mut world, 0, &mut so_far, (0, 0), 20);
        looks(&mut world, 0, &mut so_far, (1, 0), 1);
    }
    looks(&mut world, 0, &mut so_far, (0, 1), 1);
    assert_eq!(world.state().name(), Name::Steady);
    let recent = world.drivers[0].machine.recent.clone().expect("counted");
    let Reading::Counted { faults, total, .. } = recent.reading else {
        panic!("{recent:?}")
    };
    assert!(faults == 1 && total >= 300, "{recent:?}");
    assert!(world.drivers[0].machine.state.recent.len() <= 32);
    looks(&mut world, 0, &mut so_far, (0, 1), 20);
    assert_eq!(world.state().name(), Name::RollingBack);
}
