//! Everything in Kafka exactly once, in order, in its place, byte for byte: in peace, and after a crash at each step.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use lockgate::failpoint;
use nix::sys::signal::Signal;

use crate::harness::soak;
use crate::rig::{
    LONG, Rig, assert_level_in_the_end, assert_nothing_wrong, pass, running_streams, shared_out,
};

#[test]
fn sixteen_streams_arrive_exactly_once_by_two_instances() {
    let rig = Rig::new("main-path");
    rig.add(1_000_000, 5_000);
    let load = rig.load(2_000);
    let (one, two) = (rig.daemon(), rig.daemon());
    shared_out(&[&one, &two]);
    let witness = rig.witness();
    pass(&load, 6_000);
    witness.goes_on(LONG);
    for daemon in [&one, &two] {
        let mirrored = daemon.status().unwrap()["routes"][0]["mirrored_entries"].as_u64();
        assert!(mirrored > Some(0), "both have mirrored: {mirrored:?}");
        assert!(running_streams(daemon).len() < 16, "neither has all");
    }
    assert_level_in_the_end(&rig, load);
}

/// For each point and passage: the process dies there under load, a next one goes on, and nothing is wrong.
#[test]
fn a_crash_at_any_step_loses_and_repeats_nothing() {
    let passages: &[u32] = if soak() { &[1, 2, 3] } else { &[1, 3] };
    assert!(failpoint::MIRROR_POINTS.len() >= 7);
    for point in failpoint::MIRROR_POINTS {
        for passage in passages {
            crash_at(point, *passage);
        }
    }
}

fn crash_at(point: &str, passage: u32) {
    println!("{point}@{passage}");
    let rig = Rig {
        session: "1s",
        ..Rig::new("crash")
    };
    let load = rig.load(1_000);
    pass(&load, 300);
    let mut daemon = rig.daemon_with(&format!("{point}=abort@{passage}"));
    let ended = daemon.wait(Duration::from_secs(60));
    assert_eq!(
        ended.signal(),
        Some(Signal::SIGABRT as i32),
        "{point}@{passage}: {ended}"
    );
    assert_nothing_wrong(&rig.ledger().look());
    daemon.restart_with(crate::harness::DaemonOptions::default());
    assert_level_in_the_end(&rig, load);
}
