//! How long streams stand still when their owner goes: stopped as planned, killed, or alone and killed and started again.
//!
//! From the signal to the first record of an entry that was added after the owner was gone, on every stream that it had, with
//! sixteen streams, four shards, a load of 1 000 entries a second and the session time that is the default (6 s). The planned
//! stop is counted from the signal too, so its own draining is part of it. `BENCH_ROUNDS` sets how many times each, 5 where it is not
//! given. Writes `target/bench/takeover.json` and prints a table. It does not fail for a figure that falls short: it says so.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../../tests/it/harness/mod.rs"]
mod harness;

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/rig.rs"]
mod rig;

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/witness.rs"]
mod witness;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use harness::{Daemon, messages};
use rig::{LONG, Rig, assert_level_in_the_end, now_ms, pass, running_streams, shared_out};
use witness::Witness;

const PER_SECOND: u32 = 1_000;

fn main() {
    // `cargo test --benches` runs this with `--test`: there is nothing to prove then.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let rounds: u32 = std::env::var("BENCH_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(5);
    let figures = [
        Figure {
            what: "planned stop, another takes over",
            name: "planned_stop",
            goal: Duration::from_secs(1),
            taken: taken_over("bench-stopped", rounds, |daemon| {
                daemon.term();
                assert_eq!(daemon.wait(LONG).code(), Some(0), "{}", daemon.log());
            }),
        },
        Figure {
            what: "kill, another takes over",
            name: "kill",
            goal: Duration::from_secs(8),
            taken: taken_over("bench-killed", rounds, Daemon::kill9),
        },
        Figure {
            what: "single instance killed and started again",
            name: "single_restarted",
            goal: Duration::from_secs(8),
            taken: started_again(rounds),
        },
    ];
    report(&figures);
}

struct Figure {
    what: &'static str,
    name: &'static str,
    goal: Duration,
    /// Ascending.
    taken: Vec<Duration>,
}

fn site(what: &str) -> Rig<'static> {
    Rig {
        session: "6s",
        ..Rig::new(what)
    }
}

/// Of two instances one goes and the other takes its streams, round after round.
fn taken_over(what: &str, rounds: u32, end: impl Fn(&mut Daemon)) -> Vec<Duration> {
    let rig = site(what);
    let load = rig.load(PER_SECOND);
    let witness = rig.witness();
    let (mut leaving, staying) = (rig.daemon(), rig.daemon());
    let mut taken = Vec::new();
    for _ in 0..rounds {
        shared_out(&[&leaving, &staying]);
        pass(&load, u64::from(PER_SECOND) / 2);
        let streams = running_streams(&leaving);
        let begin = Instant::now();
        end(&mut leaving);
        taken.push(stood_still(&witness, &streams, begin));
        leaving.restart();
    }
    assert_level_in_the_end(&rig, load);
    taken.sort_unstable();
    taken
}

fn started_again(rounds: u32) -> Vec<Duration> {
    let rig = site("bench-alone");
    let load = rig.load(PER_SECOND);
    let witness = rig.witness();
    let mut alone = rig.daemon();
    let all: BTreeSet<String> = messages::streams().into_iter().collect();
    let mut taken = Vec::new();
    for _ in 0..rounds {
        witness.goes_on(LONG);
        pass(&load, u64::from(PER_SECOND) / 2);
        let begin = Instant::now();
        alone.kill9();
        alone.restart();
        taken.push(stood_still(&witness, &all, begin));
    }
    assert_level_in_the_end(&rig, load);
    taken.sort_unstable();
    taken
}

/// Since `begin` until all go on; entries count from the moment of the call.
fn stood_still(witness: &Witness, streams: &BTreeSet<String>, begin: Instant) -> Duration {
    witness
        .all_go_on(streams, now_ms(), LONG)
        .duration_since(begin)
}

fn report(figures: &[Figure]) {
    let mut summary = serde_json::Map::new();
    println!(
        "{:<46} {:>8} {:>8}",
        "stood still for, seconds", "median", "longest"
    );
    for figure in figures {
        let goal = figure.goal.as_secs_f64();
        let (Some(median), Some(longest)) = (
            figure.taken.get(figure.taken.len() / 2),
            figure.taken.last(),
        ) else {
            continue;
        };
        let (median, longest) = (median.as_secs_f64(), longest.as_secs_f64());
        let met = if longest <= goal {
            "reached"
        } else {
            "FALLS SHORT"
        };
        println!(
            "{:<46} {median:>8.2} {longest:>8.2}  <= {goal}  {met}",
            figure.what
        );
        summary.insert(
            figure.name.to_owned(),
            json!({
                "rounds": figure.taken.len(), "median_seconds": median, "longest_seconds": longest, "goal_seconds": goal,
            }),
        );
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("takeover.json");
    let text = serde_json::to_string_pretty(&Value::Object(summary)).unwrap();
    std::fs::write(&file, text).unwrap();
    println!("{}", file.display());
}
