//! A verification that is broken off and goes on: every fault is found once, none twice and none lost, wherever it stopped.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::hand::Hand;
use super::scene::{false_identity, flip, id_behind};
use super::script::{Script, Twin};
use super::stage::{Stage, entries};
use super::verdict::Expectation;
use crate::harness::{Process, eventually, kafka, lockgate_beside};

const LONG: Duration = Duration::from_secs(60);
const ENTRIES: usize = 30_000;
/// Slow enough to be broken off some times.
const SLOW: [&str; 2] = ["--rate", "6000"];

fn scene(what: &str) -> (Stage, Vec<Twin>) {
    let stage = Stage::new(what, 3);
    let all = entries(41, &[ENTRIES / 3; 3]);
    stage.add(&all);
    let twins = stage.twins(&all);
    (stage, twins)
}

/// A fault in each thousand, of four kinds in turn.
fn sabotage(stage: &Stage, twins: &[Twin]) -> Expectation {
    let mut script = Script::new(stage, twins);
    for (n, at) in (0..twins.len()).step_by(1_000).enumerate() {
        let twin = &twins[at];
        match n % 4 {
            0 => script.missing(at),
            1 => script.twice(at, at + 500),
            2 => script.altered(at, "value", |record| flip(record.value.as_mut().unwrap())),
            _ => {
                let stranger = false_identity(&twin.record, &twin.stream, &id_behind(twin));
                script.foreign(at, stranger, "unknown-id");
            }
        }
    }
    script.play(&Hand::new(kafka()), &BTreeSet::new())
}

/// Waits until the state file says something new, or the verification has ended; says whether it runs.
fn goes_on(process: &mut Process, state: &Path, last: &mut Vec<u8>) -> bool {
    eventually(LONG, "the state is saved", || {
        if process.exited().is_some() {
            return Some(false);
        }
        let now = fs::read(state).unwrap_or_default();
        let new = !now.is_empty() && now != *last;
        new.then(|| {
            *last = now;
            true
        })
    })
}

/// Starts again and again and sends the signal each time when something has been saved; says how often it struck.
fn strike(stage: &Stage, state: &Path, signal: Signal, times: u32) -> u32 {
    let words = stage.verify_words(&["--state", state.to_str().unwrap(), SLOW[0], SLOW[1]]);
    let (mut last, mut struck) = (Vec::new(), 0);
    for _ in 0..times {
        let mut process = lockgate_beside(&words);
        if !goes_on(&mut process, state, &mut last) {
            break;
        }
        process.signal(signal);
        let status = process.wait(LONG);
        let log = process.log();
        assert_ne!(status.code(), Some(2), "{log}");
        assert!(!log.contains("going on without saving"), "{log}");
        if matches!(status.code(), Some(0 | 5)) {
            break;
        }
        struck += 1;
    }
    struck
}

fn broken_off_and_resumed(what: &str, signal: Signal) {
    let (stage, twins) = scene(what);
    let expected = sabotage(&stage, &twins);
    let state = stage.file("state.json");
    let struck = strike(&stage, &state, signal, 5);
    // A machine that is busy comes less often in between.
    assert!(struck >= 2, "broken off {struck} times only");
    let verified = stage.verify(&["--state", state.to_str().unwrap()]);
    verified.assert_is(&expected);
}

#[test]
fn broken_off_by_the_operator_it_goes_on_and_finds_each_fault_once() {
    broken_off_and_resumed("interrupted", Signal::SIGINT);
}

#[test]
fn killed_it_goes_on_from_what_was_saved_and_finds_each_fault_once() {
    broken_off_and_resumed("killed", Signal::SIGKILL);
}

#[test]
fn what_is_mirrored_while_it_was_broken_off_invents_no_fault() {
    let (stage, twins) = scene("went-on");
    let (before, after) = twins.split_at(ENTRIES - 3_000);
    let hand = Hand::new(kafka());
    let pending: BTreeSet<usize> = (before.len()..ENTRIES).collect();
    let mut script = Script::new(&stage, &twins);
    for &at in &pending {
        script.pending(at);
    }
    script.missing(1_000);
    let expected = script.play(&hand, &pending);
    let state = stage.file("state.json");
    assert!(strike(&stage, &state, Signal::SIGINT, 1) == 1);
    hand.commit(after.iter().map(|twin| &twin.record));
    let all = Script::new(&stage, &twins).checkpoints(&BTreeSet::new());
    stage.checkpoints(&hand, &all);
    let verified = stage.verify(&["--state", state.to_str().unwrap()]);
    assert_eq!(verified.findings(), expected.findings, "{}", verified.said);
    assert_eq!(verified.code, Some(5));
    let counts = &verified.json["counts"];
    assert_eq!(counts["adds_up"], true, "{counts}");
    let (level, waiting) = (verified.count("match"), verified.count("pending"));
    assert_eq!(level + waiting, ENTRIES as u64 - 1, "{counts}");
}
