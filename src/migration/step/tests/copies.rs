//! What was stored is held against the copy and against what a process saw before: nobody goes on from an earlier state in
//! silence, and what cannot be followed stays so until it agrees.

use super::super::*;
use super::world::{WHY, World};
use super::{back, calm, stop};
use crate::migration::phase::Step;

/// Redis came back from a backup that was made at `consumers:5`; since then it went on to the step that is answered.
fn restored() -> (World, State) {
    let mut world = calm(Step::consumers(5));
    let backup = world.state().clone();
    world.promote(0, Verb::Promote).expect("open");
    world.finish(0);
    let lost = world.state().clone();
    assert_eq!(world.copy.as_ref(), Some(&lost), "it was copied");
    world.restore(backup);
    (world, lost)
}

#[test]
fn who_saw_a_later_epoch_goes_on_with_it_and_can_go_back_without_the_copy() {
    let (mut world, lost) = restored();
    let number = world.start_remembering(Some(lost.clone()));
    let machine = &world.drivers[number].machine;
    assert_eq!(machine.trouble(), None);
    assert!(!machine.compared(), "Kafka is away");
    assert_eq!(
        (world.state().epoch, world.state().step),
        (lost.epoch, lost.step),
        "stored again"
    );
    let note = world.last_records.first().map(|record| record.note.clone());
    assert!(note.is_some_and(|note| note.contains("had lost")));
    world
        .ask(number, back(None), "rollback")
        .expect("answered")
        .expect("accepted");
    world.finish(number);
    assert!(world.state().step < lost.step);
    assert!(
        replaces(world.state(), &lost),
        "of one history with the copy"
    );
    world.compare(number);
    assert_eq!(world.drivers[number].machine.trouble(), None);
}

#[test]
fn who_saw_a_later_epoch_of_another_history_does_not_go_on() {
    let (mut world, lost) = restored();
    let number = world.start();
    let rolled = world.ask(number, back(None), "rollback").expect("answered");
    rolled.expect("accepted");
    let other = world.start_remembering(Some(lost));
    let trouble = world.drivers[other].machine.trouble().cloned();
    assert!(matches!(trouble, Some(Trouble::Fork { .. })), "{trouble:?}");
    let refused = world.ask(other, back(None), "rollback").expect("answered");
    assert!(matches!(
        *refused.expect_err("refused"),
        Refusal::Trouble(_)
    ));
}

#[test]
fn a_copy_that_is_read_later_is_gone_on_with_while_nothing_has_moved() {
    let (mut world, lost) = restored();
    let number = world.start();
    assert!(!world.drivers[number].machine.compared());
    assert_eq!(
        world.drivers[number].machine.trouble(),
        None,
        "Redis is all there is"
    );
    world.compare(number);
    let machine = &world.drivers[number].machine;
    assert!(machine.compared() && machine.trouble().is_none());
    assert_eq!(
        machine.stored().map(|state| (state.epoch, state.step)),
        Some((lost.epoch, lost.step))
    );
}

#[test]
fn a_copy_of_another_history_stops_all_until_it_agrees_and_is_not_replaced() {
    let (mut world, lost) = restored();
    let number = world.start();
    let (hold, _) = stop(WHY);
    // A step of its own, before the copy could be read.
    world.copy = None;
    world
        .ask(number, hold, "hold")
        .expect("answered")
        .expect("held");
    assert!(!replaces(world.state(), &lost), "the copy stays as it is");
    world.copy = Some(lost);
    world.compare(number);
    let forked = |world: &World| {
        matches!(
            world.drivers[number].machine.trouble(),
            Some(Trouble::Fork { .. })
        )
    };
    assert!(forked(&world));
    let (state, stored) = (world.store.clone().map(Box::new), world.state().version);
    world.give(number, Event::Loaded { state, stored }, "loaded");
    assert!(forked(&world), "Redis alone is no way out");
    world.give(number, Event::Tick, "deadline");
    assert!(world.drivers[number].acts.is_empty());

    // The operator has removed the copy.
    world.copy = None;
    world.compare(number);
    assert_eq!(world.drivers[number].machine.trouble(), None);
    world
        .ask(number, back(None), "rollback")
        .expect("answered")
        .expect("accepted");
}

#[test]
fn a_copy_replaces_what_it_went_on_from_and_nothing_else() {
    let (mut world, lost) = restored();
    let backup = world.state().clone();
    assert!(replaces(&lost, &backup) && replaces(&lost, &lost));
    assert!(!replaces(&backup, &lost), "what is behind");
    let number = world.start();
    let rolled = world.ask(number, back(None), "rollback").expect("answered");
    rolled.expect("accepted");
    world.finish(number);
    while world.state().epoch <= lost.epoch {
        let (hold, resume) = stop(WHY);
        world.ask(number, hold, "hold");
        world.ask(number, resume, "resume");
    }
    assert!(
        !replaces(world.state(), &lost),
        "a higher epoch of another history"
    );
}
