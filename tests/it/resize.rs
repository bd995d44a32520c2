//! Another number of shards under load: every stream keeps one owner and its place, also when the resize itself dies.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::harness::{Daemon, eventually, lockgate};
use crate::rig::{
    LONG, Rig, assert_level_in_the_end, assert_nothing_wrong, pass, running_streams, shared_out,
};

/// The operator's command, while daemons run.
#[track_caller]
fn resize(daemon: &Daemon, count: u32) {
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
    for count in [7, 2, 4] {
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
fn a_resize_that_died_in_the_middle_is_finished_by_the_next() {
    let rig = Rig::new("resize-died");
    let load = rig.load(500);
    let witness = rig.witness();
    let daemons = [rig.daemon(), rig.daemon()];
    shared_out(&[&daemons[0], &daemons[1]]);
    witness.goes_on(LONG);
    leave_resizing(&rig, 6);
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

/// What the command leaves behind when it is killed after its first transaction and the fencing of every shard.
fn leave_resizing(rig: &Rig, target: u32) {
    let producer = |id: &str| -> BaseProducer {
        let mut config = rig.kafka.client();
        config.set("transactional.id", id);
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(LONG).unwrap();
        producer
    };
    let layout = producer(&format!("lockgate.{}.layout", rig.name));
    let topic = format!("lockgate.{}.checkpoints", rig.name);
    let value = format!(r#"{{"v":1,"version":2,"count":4,"state":"resizing","target":{target}}}"#);
    layout.begin_transaction().unwrap();
    let record = BaseRecord::to(&topic)
        .partition(0)
        .key("@layout")
        .payload(&value);
    layout.send(record).map_err(|(error, _)| error).unwrap();
    layout.commit_transaction(LONG).unwrap();
    for shard in 0..4 {
        drop(producer(&format!("lockgate.{}.{shard}", rig.name)));
    }
}
