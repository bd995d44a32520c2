//! What was seen before a crash counts after it: sums, lengths of time, worst values, and what was pushed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::calm;
use super::world::{Weather, World};
use crate::migration::gate::{Answer as Verdict, GateName, Reading};
use crate::migration::phase::Step;

pub fn counts(entries: u64, dead: u64) -> Counts {
    counts_of(1, entries, dead)
}

/// Of each route: verified, and differing.
fn compared(routes: &[(&str, u64, u64)]) -> Compared {
    let of = |&(name, verified, differ): &(&str, u64, u64)| {
        (name.to_owned(), OfRoute { verified, differ })
    };
    Compared {
        verified: routes.iter().map(|route| route.1).sum(),
        differ: routes.iter().map(|route| route.2).sum(),
        routes: routes.iter().map(of).collect(),
    }
}

fn counts_of(boot: u64, entries: u64, dead: u64) -> Counts {
    let process = Process {
        entries,
        dead,
        began_here: false,
    };
    Counts {
        processes: BTreeMap::from([(boot, process)]),
        whole: Ok(()),
        parity: Ok(compared(&[("r", entries, 0)])),
    }
}

pub fn verdict(world: &World, number: usize, name: GateName) -> crate::migration::gate::Verdict {
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
    world.look(other, counts_of(2, 0, 0), Wellness::Well);
    world.pass(1_000);
    world.look(other, counts_of(2, 2_000, 0), Wellness::Well);
    let after = verdict(&world, other, GateName::DeadLetters);
    assert_eq!((after.verdict, after.samples), (Verdict::Fail, 3_050));
}

#[test]
fn who_steers_next_goes_on_where_each_process_was_counted() {
    let mut world = calm(Step::consumers(5));
    let of = |one: (u64, u64), two: (u64, u64), whole: Result<(), String>| {
        let mut counts = counts_of(1, one.0, one.1);
        counts
            .processes
            .extend(counts_of(2, two.0, two.1).processes);
        Counts { whole, ..counts }
    };
    world.look(0, of((0, 0), (5_000, 500), Ok(())), Wellness::Well);
    world.look(0, of((100, 1), (5_100, 502), Ok(())), Wellness::Well);
    // The second took over while nobody steered, and what it counted meanwhile is not lost; nor is what a third counted
    // that began under it. Of a fourth nobody knows when it began.
    let other = world.start();
    let mut counts = of((100, 1), (5_400, 507), Ok(()));
    counts.processes.extend(counts_of(3, 10, 4).processes);
    counts.processes.get_mut(&3).expect("the third").began_here = true;
    counts
        .processes
        .extend(counts_of(4, 10_000, 10_000).processes);
    world.look(other, counts.clone(), Wellness::Well);
    let tally = world.drivers[other].machine.state.tally;
    assert_eq!((tally.entries, tally.dead), (100 + 400 + 10, 1 + 7 + 4));
    // An older word, read late, neither adds nor takes away.
    counts.processes.extend(counts_of(2, 5_200, 503).processes);
    world.look(other, counts.clone(), Wellness::Well);
    counts.processes.extend(counts_of(2, 5_400, 507).processes);
    world.look(other, counts, Wellness::Well);
    assert_eq!(world.drivers[other].machine.state.tally, tally);
}

#[test]
fn parity_is_judged_of_each_route_by_what_came_in_this_step() {
    let mut world = calm(Step::consumers(5));
    let mut look = |chat: (u64, u64), audit: (u64, u64)| {
        let routes = [("chat", chat.0, chat.1), ("audit", audit.0, audit.1)];
        let seen = Counts {
            parity: Ok(compared(&routes)),
            ..counts(0, 0)
        };
        world.look(0, seen, Wellness::Well);
        verdict(&world, 0, GateName::Parity)
    };
    look((1_000, 0), (500, 0));
    let level = look((2_000_000, 0), (510, 0));
    assert_eq!(level.verdict, Verdict::Pass, "{}", level.reason);
    let bad = look((9_000_000, 0), (520, 12));
    assert_eq!(bad.verdict, Verdict::Fail);
    assert!(
        bad.reason.starts_with("route audit: 12 of 20"),
        "{}",
        bad.reason
    );
    let mended = look((9_000_001, 0), (521, 0));
    assert_eq!(mended.verdict, Verdict::Pass, "{}", mended.reason);
}

#[test]
fn who_does_not_see_all_opens_nothing_and_still_counts_faults() {
    let mut world = calm(Step::consumers(5));
    let partial = |counts: Counts| Counts {
        whole: Err("nobody tells of shard 3".to_owned()),
        parity: Err("nobody audits shard 3".to_owned()),
        ..counts
    };
    world.look(0, counts(0, 0), Wellness::Well);
    world.look(0, counts(1_000_000, 0), Wellness::Well);
    let whole = verdict(&world, 0, GateName::DeadLetters);
    assert_eq!(whole.verdict, Verdict::Pass);
    world.look(0, partial(counts(2_000_000, 7)), Wellness::Well);
    for name in [GateName::DeadLetters, GateName::Parity] {
        let seen = verdict(&world, 0, name);
        assert_eq!(seen.verdict, Verdict::Inconclusive);
        assert!(seen.reason.contains("shard 3"), "{}", seen.reason);
    }
    let tally = world.drivers[0].machine.state.tally;
    assert_eq!((tally.dead, tally.verified), (7, 1_000_000));
    // What was compared while the whole was not seen is not counted in one leap.
    world.look(0, counts(9_000_000, 7), Wellness::Well);
    assert_eq!(world.drivers[0].machine.state.tally.verified, 1_000_000);
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
fn where_all_writes_are_kafkas_what_was_compared_before_counts_on() {
    let verified = |from: Step| {
        let mut world = calm(from);
        world.look(0, counts(0, 0), Wellness::Well);
        world.look(0, counts(90_000, 0), Wellness::Well);
        world.observe(0, Weather::Good);
        world.promote(0, Verb::Promote).expect("open");
        world.finish(0);
        world.pass(1_000);
        world.look(0, counts(90_000, 0), Wellness::Well);
        let parity = verdict(&world, 0, GateName::Parity);
        (parity.verdict, parity.samples)
    };
    assert_eq!(verified(Step::ingress(50)), (Verdict::Pass, 90_000));
    assert_eq!(
        verified(Step::ingress(100)),
        (Verdict::Pass, 90_000),
        "cleanup"
    );
    let elsewhere = verified(Step::ingress(25));
    assert_eq!(elsewhere, (Verdict::Inconclusive, 0));
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
        matches!(&commands[..], [Command::Answer(Err(why)), Command::Load] if matches!(**why, Refusal::NotStored(_))),
        "{commands:?}"
    );
    // Until what is stored was read again, nothing can be kept.
    world.give(0, ask.clone(), "evidence");
    let refused = world.drivers[0].answers.pop().map(|answer| answer.is_err());
    assert_eq!(refused, Some(true));
    world.load(0);
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

#[test]
fn a_tripwire_that_pushed_evidence_sets_off_says_who_pushed_it() {
    let mut world = calm(Step::ingress(100));
    world.observe(0, Weather::Good);
    world.pass(1_000);
    let sample = Sample {
        measure: Measure::ProduceErrors,
        reading: Reading::Counted {
            faults: 300,
            total: 1_000,
            since_ms: world.now_ms,
        },
        at_ms: world.now_ms,
    };
    let ask = Event::Asked(super::world::who(), Ask::Evidence(sample));
    world.give(0, ask, "evidence");
    world.look(0, counts(0, 0), Wellness::Well);
    let fired = world
        .last_records
        .iter()
        .find(|record| record.verb == Verb::Tripwire)
        .expect("it fired");
    assert!(
        fired
            .note
            .contains("300 of 1000, as ana said from 127.0.0.1"),
        "{fired:?}"
    );
}

#[test]
fn what_is_refused_is_journaled_plans_too_and_what_cannot_be_is_said_to_be_left_to_others() {
    let mut world = calm(Step::SHADOW);
    let ask = Ask::Plan {
        verb: Verb::Promote,
        to: Some(Step::CLEANUP),
    };
    let refused = world.ask(0, ask, "plan").expect("answered");
    assert!(refused.expect_err("refused").is_noted());
    let last = world.last_records.last().expect("a record");
    assert_eq!(
        (last.who.as_str(), last.verb, last.outcome),
        ("ana", Verb::Promote, Outcome::Refused)
    );
    let mut unread = Machine::new(super::world::config(), "demo", "test", 9);
    let ask = Ask::Hold {
        reason: super::world::WHY.to_owned(),
    };
    let commands = unread.step(Event::Asked(super::world::who(), ask), 0);
    let [Command::Answer(Err(refusal))] = &commands[..] else {
        panic!("{commands:?}");
    };
    assert!(!refusal.is_noted(), "{refusal}");
}

#[test]
fn records_that_a_failover_lost_are_written_again_and_the_rest_is_named() {
    let mut world = calm(Step::consumers(5));
    let before = world.state().clone();
    let hold = |n: u64| Ask::Note {
        outcome: Outcome::Done,
        note: format!("note {n}"),
    };
    for n in 0..3 {
        world
            .ask(0, hold(n), "call")
            .expect("answered")
            .expect("noted");
    }
    let lost = world.state().journal;
    // The same epoch, and the last saves are gone.
    world.records = before.journal;
    world.store = Some(before.clone());
    world.load(0);
    let again: Vec<(u64, &str)> = world
        .last_records
        .iter()
        .map(|record| (record.n, record.note.as_str()))
        .collect();
    let first = before.journal + 1;
    assert_eq!(
        again[..3],
        [
            (first, "note 0"),
            (first + 1, "note 1"),
            (first + 2, "note 2")
        ]
    );
    let (n, said) = again[3];
    assert_eq!(n, lost + 1);
    assert!(
        said.contains(&format!("lost records {first} to {lost}")) && said.ends_with("again: 3"),
        "{said}"
    );

    // Another process saw the state and not the records.
    let state = world.state().clone();
    world.lossy = true;
    world.records = before.journal;
    world.store = Some(before);
    let number = world.start_remembering(Some(state));
    let said = &world.last_records.last().expect("a record").note;
    assert!(said.contains("written again: 0; missing"), "{said}");
    world.load(number);
    assert_eq!(world.records, world.state().journal);
}

#[derive(Clone, Debug)]
enum Happens {
    /// A process counts entries and dead letters.
    Counts(usize, u64, u64),
    /// Another process takes its place; whether it began under the one who steers is known of some.
    Restarts(usize, bool),
    /// Some are heard of, each as it is or as it was at an earlier look.
    Looks([bool; 3], [bool; 3]),
    /// Another steers.
    TakesOver,
}

fn happens() -> impl Strategy<Value = Happens> {
    let one = 0..3_usize;
    prop_oneof![
        4 => (one.clone(), 0..100_u64, 0..3_u64).prop_map(|(i, entries, dead)| Happens::Counts(i, entries, dead)),
        1 => (one, any::<bool>()).prop_map(|(i, here)| Happens::Restarts(i, here)),
        4 => (any::<[bool; 3]>(), any::<[bool; 3]>()).prop_map(|(heard, late)| Happens::Looks(heard, late)),
        1 => Just(Happens::TakesOver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sums_never_fall_and_lose_nothing_that_was_seen(events in prop::collection::vec(happens(), 1..60)) {
        // In shadow no tripwire watches dead letters: the step, and with it the sum, stays.
        let mut world = calm(Step::SHADOW);
        let mut number = 0;
        let zero = |began_here| Process { entries: 0, dead: 0, began_here };
        let mut now: Vec<(u64, Process)> = (1..=3).map(|boot| (boot, zero(false))).collect();
        let mut before = now.clone();
        let mut boots = 3;
        // From where each process counts, once it was met, and how far it was seen.
        let mut from: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for event in events {
            match event {
                Happens::Counts(i, entries, dead) => {
                    now[i].1.entries += entries;
                    now[i].1.dead += dead;
                }
                Happens::Restarts(i, began_here) => {
                    boots += 1;
                    now[i] = (boots, zero(began_here));
                    before[i] = now[i];
                }
                Happens::TakesOver => number = world.start(),
                Happens::Looks(heard, late) => {
                    let mut processes = BTreeMap::new();
                    for i in (0..3).filter(|i| heard[*i]) {
                        let (boot, process) = if late[i] { before[i] } else { now[i] };
                        before[i] = now[i];
                        let begin = if process.began_here { 0 } else { process.dead };
                        let (_, seen) = from.entry(boot).or_insert((begin, begin));
                        *seen = process.dead.max(*seen);
                        processes.insert(boot, process);
                    }
                    let tally = world.drivers[number].machine.state.tally;
                    let seen = Counts { processes, whole: Ok(()), parity: Err("none".to_owned()) };
                    world.look(number, seen, Wellness::Well);
                    let after = world.drivers[number].machine.state.tally;
                    prop_assert!(after.dead >= tally.dead && after.entries >= tally.entries);
                    let expected: u64 = from.values().map(|(begin, seen)| seen - begin).sum();
                    prop_assert_eq!(after.dead, expected);
                }
            }
        }
    }
}

fn mirror_lag(world: &mut World, entries: f64) {
    world.pass(1_000);
    if world.drivers[0].unread {
        world.load(0);
    }
    let sample = Sample {
        measure: Measure::MirrorLag,
        reading: Reading::Value(entries),
        at_ms: world.now_ms,
    };
    let observation = Observation {
        samples: vec![sample],
        ..Observation::default()
    };
    world.give(0, Event::Observed(observation), "observed");
}

#[test]
fn what_was_seen_while_redis_took_no_writes_counts_afterwards() {
    let mut world = calm(Step::SHADOW);
    let since = |world: &World, gate| {
        let machine = &world.drivers[0].machine;
        machine
            .state
            .holding
            .get(&gate)
            .and_then(|held| held.since_ms)
    };
    for _ in 0..40 {
        world.look(0, counts(0, 0), Wellness::Well);
        mirror_lag(&mut world, 0.0);
    }
    let stored = &world.state().holding;
    let begun = stored[&GateName::MirrorLag].since_ms.expect("it holds");
    assert!(stored[&GateName::Incidents].since_ms.is_some());

    world.refusing = true;
    mirror_lag(&mut world, 1_000_000.0);
    for _ in 0..62 {
        world.look(0, counts(0, 0), Wellness::Unwell);
        mirror_lag(&mut world, 0.0);
    }
    let incident = verdict(&world, 0, GateName::Incidents);
    assert_eq!(incident.value, Some(1.0), "{incident:?}");
    world.look(0, counts(0, 0), Wellness::Well);
    mirror_lag(&mut world, 0.0);
    let ended = world.now_ms;
    world.refusing = false;
    for _ in 0..40 {
        world.look(0, counts(0, 0), Wellness::Well);
        mirror_lag(&mut world, 0.0);
    }
    assert!(since(&world, GateName::MirrorLag) > Some(begun));
    assert!(since(&world, GateName::Incidents) >= Some(ended - 2_000));
    let stored = &world.state().holding;
    assert!(
        stored[&GateName::MirrorLag].since_ms > Some(begun),
        "and is stored"
    );
}

#[test]
fn who_starts_behind_the_deadline_of_a_move_tells_nobody_of_it() {
    let mut world = calm(Step::consumers(100));
    for _ in 0..4 {
        world.pass(1_000);
        world.observe(0, Weather::Good);
    }
    world.promote(0, Verb::Promote).expect("open");
    let motion = world.state().motion.as_ref().expect("it moves");
    assert_eq!(motion.direction, Direction::Forward);
    let late = motion.deadline_ms + 1 - world.now_ms;
    world.drivers.clear();
    world.pass(late);
    let other = world.start();
    world.observe(other, Weather::Good);
    world.look(other, counts(7, 0), Wellness::Well);
    assert_eq!(world.drivers[other].acts, [], "nothing forward");
    world.give(other, Event::Tick, "deadline");
    world.finish(other);
    assert_eq!(world.state().step, Step::consumers(100));
    assert_eq!(world.state().name(), Name::Steady);
}
