//! Another number of shards under load: every stream keeps one owner and its place, also when the resize itself dies.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;

use lockgate::failpoint;
use nix::sys::signal::Signal;

use crate::harness::{Daemon, eventually, lockgate, lockgate_with};
use crate::rig::{
    LONG, Rig, assert_level_in_the_end, assert_nothing_wrong, pass, running_streams, shared_out,
};

/// The operator's command, while daemons run.
#[track_caller]
pub fn resize(daemon: &Daemon, count: u32) {
    let (file, number) = (daemon.config_file(), count.to_string());
    let file = file.to_str().unwrap();
    let output = lockgate(&[
        "shards", "resize", &number, "--config", file, "--output", "json",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let changed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let layout = &changed["after"]["layout"];
    assert_eq!(
        (layout["count"].as_u64(), layout["state"].as_str()),
        (Some(count.into()), Some("stable")),
        "{changed}"
    );
}

/// Each stream's checkpoint lies in one partition, and the layout says `count`.
#[track_caller]
fn one_home_each(rig: &Rig, count: u32) {
    let mut homes: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for ((partition, key), value) in rig.checkpoints() {
        if key == "@layout" {
            assert_eq!(
                (partition, value["count"].as_u64()),
                (0, Some(u64::from(count)))
            );
            assert_eq!(value["state"], "stable");
        } else {
            assert!(
                u32::try_from(partition).unwrap() < count,
                "{key} in partition {partition} of {count}"
            );
            homes.entry(key).or_default().insert(partition);
        }
    }
    assert_eq!(homes.len(), 16);
    assert!(homes.values().all(|home| home.len() == 1), "{homes:?}");
    let used: BTreeSet<_> = homes.values().flatten().collect();
    assert!(
        used.len() > usize::try_from(count).unwrap() / 2,
        "spread over {used:?} of {count}"
    );
}

fn waits_for_a_resize(daemon: &Daemon) -> bool {
    let shards = daemon
        .status()
        .and_then(|status| status["shards"].as_array().cloned())
        .unwrap_or_default();
    let waiting = |shard: &serde_json::Value| {
        shard["state"]["name"] == "waiting" && shard["state"]["reason"] == "resizing"
    };
    !shards.is_empty() && shards.iter().all(waiting)
}

#[test]
fn shards_grow_and_shrink_under_two_instances_and_nothing_is_lost_or_repeated() {
    let rig = Rig::new("resize");
    let load = rig.load(1_000);
    let witness = rig.witness();
    let daemons = [rig.daemon(), rig.daemon()];
    shared_out(&[&daemons[0], &daemons[1]]);
    witness.goes_on(LONG);
    let counts: &[u32] = if crate::harness::soak() {
        &[7, 2, 4]
    } else {
        &[7, 3]
    };
    for &count in counts {
        println!("to {count}");
        resize(&daemons[0], count);
        witness.goes_on(LONG);
        one_home_each(&rig, count);
        shared_out_among(&daemons);
        pass(&load, 300);
        assert_nothing_wrong(&rig.ledger().look());
    }
    assert_level_in_the_end(&rig, load);
}

/// Every stream runs at one instance; with few shards one instance may have none.
#[track_caller]
fn shared_out_among(daemons: &[Daemon; 2]) {
    eventually(LONG, "every stream has one owner", || {
        let [one, two] = [running_streams(&daemons[0]), running_streams(&daemons[1])];
        let whole = one.is_disjoint(&two) && one.len() + two.len() == 16;
        whole
            .then_some(())
            .ok_or_else(|| format!("{one:?} and {two:?}"))
    });
}

/// A resize that died after its first step: all wait, nothing is mirrored, and doing it again finishes it.
#[test]
#[ignore = "long: make soak"]
fn a_resize_that_died_in_the_middle_is_finished_by_the_next() {
    let rig = Rig::new("resize-died");
    let load = rig.load(500);
    let witness = rig.witness();
    let daemons = [rig.daemon(), rig.daemon()];
    shared_out(&[&daemons[0], &daemons[1]]);
    witness.goes_on(LONG);
    die_resizing(&daemons[0], 6, failpoint::RESIZE_FENCED);
    for daemon in &daemons {
        eventually(LONG, "every shard waits for the resize", || {
            waits_for_a_resize(daemon)
        });
    }
    let before = rig.ledger().look().records;
    let late = rig.daemon();
    pass(&load, 500);
    for daemon in &daemons {
        eventually(LONG, "every shard still waits", || {
            waits_for_a_resize(daemon)
        });
    }
    assert_eq!(
        rig.ledger().look().records,
        before,
        "nothing is mirrored meanwhile"
    );
    drop(late);
    resize(&daemons[0], 6);
    witness.goes_on(LONG);
    one_home_each(&rig, 6);
    shared_out_among(&daemons);
    assert_level_in_the_end(&rig, load);
}

/// The command, killed where it passes this point.
#[track_caller]
fn die_resizing(daemon: &Daemon, count: u32, point: &str) {
    let (file, number) = (daemon.config_file(), count.to_string());
    let file = file.to_str().unwrap();
    let output = lockgate_with(
        &["shards", "resize", &number, "--config", file],
        &[("LOCKGATE_FAILPOINTS", &format!("{point}=abort"))],
    );
    assert_eq!(
        output.status.signal(),
        Some(Signal::SIGABRT as i32),
        "{point}: {}",
        output.status
    );
}

/// Wherever the command dies, the next one finishes, and neither loses or repeats anything.
#[test]
#[ignore = "long: make soak"]
fn a_resize_that_dies_at_any_step_is_finished_by_the_next() {
    let rig = Rig::new("resize-steps");
    let load = rig.load(1_000);
    let witness = rig.witness();
    let daemons = [rig.daemon(), rig.daemon()];
    shared_out(&[&daemons[0], &daemons[1]]);
    witness.goes_on(LONG);
    for (point, count) in failpoint::RESIZE_POINTS.iter().zip([6, 3, 5, 2]) {
        println!("{point}, to {count}");
        die_resizing(&daemons[0], count, point);
        if *point == failpoint::RESIZE_AFTER_COMMIT {
            one_home_each(&rig, count);
        } else {
            for daemon in &daemons {
                eventually(LONG, "every shard waits for the resize", || {
                    waits_for_a_resize(daemon)
                });
            }
        }
        assert_nothing_wrong(&rig.ledger().look());
        resize(&daemons[0], count);
        witness.goes_on(LONG);
        one_home_each(&rig, count);
        shared_out_among(&daemons);
    }
    assert_level_in_the_end(&rig, load);
}
