//! What a change of the settings does to what was seen under the old ones.

use super::super::*;
use super::calm;
use super::world::{self, World};
use crate::config::migration::{Action, Tripwires};
use crate::migration::gate::Reading;
use crate::migration::phase::Step;
use crate::migration::tripwire::{setting, tripwires};

fn restart(world: &mut World, change: impl FnOnce(&mut Tripwires)) {
    let mut config = world::config();
    config.tripwires.group_lag.action = Action::Alarm;
    change(&mut config.tripwires);
    world.drivers[0].machine = Machine::new(config, "demo", "test", 9);
    world.load(0);
}

fn lag(world: &mut World, entries: f64) {
    world.pass(1_000);
    let sample = Sample {
        measure: Measure::GroupLag,
        reading: Reading::Value(entries),
        at_ms: world.now_ms,
    };
    let observation = Observation {
        samples: vec![sample],
        ..Observation::default()
    };
    world.give(0, Event::Observed(observation), "observed");
}

/// A world in which the alarm has fired.
fn alarmed() -> World {
    let mut world = calm(Step::consumers(5));
    restart(&mut world, |_| {});
    lag(&mut world, 12_000.0);
    assert!(has_fired(&world) && world.state().name() == Name::Steady);
    world
}

fn has_fired(world: &World) -> bool {
    let trip = world.drivers[0].machine.state.trips.get(&Measure::GroupLag);
    trip.is_some_and(|trip| trip.fired_ms.is_some())
}

#[test]
fn a_tripwire_that_fired_and_is_given_another_action_does_it() {
    let mut world = alarmed();
    restart(&mut world, |wires| {
        wires.group_lag.action = Action::Rollback;
    });
    lag(&mut world, 12_000.0);
    assert_eq!(world.state().name(), Name::RollingBack);
}

#[test]
fn a_tripwire_that_fired_holds_its_peace_over_a_restart_that_changes_another() {
    let mut world = alarmed();
    restart(&mut world, |wires| wires.disk.action = Action::Freeze);
    let before = world.state().journal;
    lag(&mut world, 12_000.0);
    assert_eq!(world.state().journal, before, "it says nothing anew");
    assert!(has_fired(&world));
}

#[test]
fn every_part_of_a_tripwire_is_among_the_settings() {
    let config = world::config();
    let settings = crate::migration::step::settings::settings(&config);
    for wire in tripwires(&config.tripwires) {
        let own = setting(wire.measure);
        for part in ["beyond", "action"] {
            let key = format!("tripwires.{own}.{part}");
            assert!(settings.0.contains_key(&key), "{key}");
        }
    }
    for key in ["evaluations", "hysteresis", "rearm_evaluations"] {
        assert!(
            settings.0.contains_key(&format!("tripwires.{key}")),
            "{key}"
        );
    }
}

#[test]
fn what_held_of_something_else_holds_no_more() {
    use crate::config::Migration;
    use crate::migration::gate::GateName::{self, GroupLag, Incidents, MirrorLag, Throughput};
    type Change<'a> = &'a dyn Fn(&mut Migration);
    let held = |step, gate: GateName, change: Change<'_>, more: &[(&str, &str)]| {
        let mut world = calm(step);
        for _ in 0..40 {
            world.pass(1_000);
            world.observe(0, world::Weather::Good);
        }
        let mut config = world::config();
        change(&mut config);
        let more = more
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let more = Settings(std::sync::Arc::new(more.collect()));
        world.drivers[0].machine = Machine::new(config, "demo", "test", 9).beside(&more);
        world.load(0);
        world.drivers[0].machine.state.holding.contains_key(&gate)
    };
    let nothing: Change<'_> = &|_| {};
    let disk: Change<'_> = &|config| config.tripwires.disk.beyond = 1;
    let minute: Change<'_> = &|config| config.gates.incident *= 2;
    let group: Change<'_> = &|config| {
        config.groups = vec![crate::config::migration::Group {
            name: "workers".to_owned(),
            routes: Vec::new(),
            redis: None,
        }];
    };
    let asked: &[_] = &[("prometheus.queries.throughput.value", "x")];
    let consumers = Step::consumers(5);
    for (step, gate, change, more, holds) in [
        (Step::SHADOW, Incidents, nothing, &[][..], true),
        (Step::SHADOW, Incidents, disk, &[], true),
        (Step::SHADOW, Incidents, minute, &[], false),
        (Step::SHADOW, MirrorLag, minute, &[], true),
        (Step::SHADOW, MirrorLag, nothing, &[("routes.b", "1")], true),
        (consumers, GroupLag, minute, &[], true),
        (consumers, GroupLag, group, &[], false),
        (consumers, GroupLag, nothing, asked, true),
        (consumers, Throughput, nothing, asked, false),
    ] {
        assert_eq!(held(step, gate, change, more), holds, "{gate}: {more:?}");
    }
}
