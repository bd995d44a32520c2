//! SIGTERM: drained, committed, out of the group, exit code 0; and what happens when that cannot be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::harness::{Class, Daemon, KafkaCluster, eventually, messages, redis, soak};
use crate::rig::{LONG, Random, Rig, assert_level_in_the_end, now_ms, pass, running_streams};

type Id = (u64, u64);

/// So long that a member which did not leave would keep the next one waiting.
const SESSION: Duration = Duration::from_secs(60);

#[test]
fn a_stop_under_load_leaves_exactly_what_its_checkpoints_say_and_a_free_group() {
    let rig = Rig {
        session: "60s",
        ..Rig::new("stop")
    };
    let (rounds, per_second, promised) = if soak() {
        (60, 1_000, Duration::from_secs(8))
    } else {
        (1, 300, SESSION)
    };
    let load = rig.load(per_second);
    let witness = rig.witness();
    let mut daemon = rig.daemon();
    for _ in 0..rounds {
        witness.goes_on(LONG);
        pass(&load, 300);
        let begin = Instant::now();
        daemon.term();
        let ended = daemon.wait(Duration::from_secs(10));
        assert_eq!(ended.code(), Some(0), "{}", daemon.log());
        println!("drained in {:?}", begin.elapsed());
        records_are_those_of_the_checkpoints(&rig);

        let begin = Instant::now();
        daemon.restart();
        let all: BTreeSet<_> = messages::streams().into_iter().collect();
        // While the records were looked at a backlog has grown, which says nothing of the group.
        eventually(LONG, "all streams run", || {
            running_streams(&daemon).len() == all.len()
        });
        let on = begin.elapsed();
        println!("runs after {on:?}");
        assert!(on < promised, "the group was not left: {on:?}");
        witness.all_go_on(&all, now_ms(), LONG);
    }
    assert_level_in_the_end(&rig, load);
}

/// Stopped while it joins, opens its shards or has just begun: the next start never waits for a member that is gone.
#[test]
#[ignore = "long: make soak"]
fn a_stop_soon_after_a_start_leaves_a_free_group() {
    let mut random = Random::new();
    let rig = Rig {
        session: "60s",
        ..Rig::new("short-stay")
    };
    let load = rig.load(100);
    let mut daemon = rig.daemon();
    let rounds = if soak() { 100 } else { 6 };
    for round in 0..rounds {
        let begin = Instant::now();
        eventually(LONG, "all streams run", || {
            running_streams(&daemon).len() == 16
        });
        let on = begin.elapsed();
        assert!(
            on <= Duration::from_secs(20),
            "round {round}: the group was not left: {on:?}"
        );
        pass(&load, random.below(100));
        end(&mut daemon);
        // And one that is stopped at any moment of its start.
        daemon.restart();
        pass(&load, random.below(150));
        end(&mut daemon);
        daemon.restart();
    }
    assert_level_in_the_end(&rig, load);
}

fn end(daemon: &mut Daemon) {
    eventually(LONG, "it listens to signals", || {
        daemon.get("/livez").is_ok()
    });
    daemon.term();
    let ended = daemon.wait(Duration::from_secs(15));
    assert_eq!(ended.code(), Some(0), "{}", daemon.log());
}

/// Every entry up to its stream's checkpoint has its record, and no entry behind it.
#[track_caller]
fn records_are_those_of_the_checkpoints(rig: &Rig) {
    let mut ledger = rig.ledger();
    let report = ledger.look();
    let wrong = report.faults.keys().any(|class| *class != Class::Missing);
    assert!(!wrong, "{report}");
    let missing: BTreeSet<&str> = report
        .faults
        .get(&Class::Missing)
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let checkpoints: BTreeMap<String, Id> = rig
        .checkpoints()
        .into_iter()
        .filter(|((_, key), _)| key != "@layout")
        .map(|((_, key), value)| (key, parse(value["id"].as_str().unwrap())))
        .collect();
    assert_eq!(checkpoints.len(), 16);
    let (mut mirrored, mut left) = (0, 0);
    for entry in ledger.entries() {
        let checkpoint = checkpoints[&format!("{}/{}", rig.database, entry.stream)];
        let name = format!("{} {}-{}", entry.stream, entry.id.0, entry.id.1);
        if entry.id <= checkpoint {
            assert!(
                !missing.contains(name.as_str()),
                "{name} is below its checkpoint and not in Kafka"
            );
            mirrored += 1;
        } else {
            left += 1;
        }
    }
    assert_eq!(report.records, mirrored, "no record is beyond a checkpoint");
    println!("{mirrored} mirrored, {left} left");
}

fn parse(id: &str) -> Id {
    let (ms, seq) = id.split_once('-').unwrap();
    (ms.parse().unwrap(), seq.parse().unwrap())
}

/// With Kafka frozen nothing can be drained: the grace time ends it, or a second signal at once; never with code 0.
#[test]
fn what_cannot_be_drained_ends_with_another_code_in_time_and_is_mirrored_later() {
    let cluster = KafkaCluster::start(1);
    let rig = Rig {
        grace: "3s",
        session: "6s",
        ..Rig::on("no-drain", redis(), &cluster)
    };
    let load = rig.load(500);
    let witness = rig.witness();
    let mut daemon = rig.daemon();
    witness.goes_on(LONG);

    cluster.pause(0);
    pass(&load, 300);
    let begin = Instant::now();
    daemon.term();
    let ended = daemon.wait(Duration::from_secs(20));
    let took = begin.elapsed();
    println!("given up after {took:?}");
    assert_ne!(ended.code(), Some(0));
    assert!(ended.code().is_some(), "it leaves by itself: {ended}");
    assert!(
        took >= Duration::from_secs(3) && took < Duration::from_secs(6),
        "{took:?}"
    );
    cluster.resume(0);

    let rig = Rig {
        grace: "60s",
        ..rig
    };
    daemon.reconfigure(&rig.config());
    daemon.restart();
    eventually(LONG, "the mirror has caught up", || {
        daemon.status().is_some_and(|status| {
            status["mirror"]["forward"]["lag_seconds"]
                .as_f64()
                .is_some_and(|lag| lag < 2.0)
        })
    });
    witness.goes_on(LONG);
    cluster.pause(0);
    pass(&load, 300);
    daemon.term();
    eventually(LONG, "the first signal is heard", || {
        daemon.log().matches("SIGTERM: draining").count() == 2
    });
    pass(&load, 300);
    assert!(daemon.exited().is_none(), "it drains as long as it may");
    let begin = Instant::now();
    daemon.term();
    let ended = daemon.wait(Duration::from_secs(10));
    let took = begin.elapsed();
    println!("left at once: {took:?}");
    assert_ne!(ended.code(), Some(0));
    assert!(ended.code().is_some(), "it leaves by itself: {ended}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    cluster.resume(0);

    daemon.restart();
    assert_level_in_the_end(&rig, load);
}

/// A broker that refuses connections fails the commit within the grace: that is no draining either.
#[test]
#[ignore = "long: make soak"]
fn a_commit_that_fails_while_it_stops_is_not_called_drained() {
    let cluster = KafkaCluster::start(1);
    let rig = Rig {
        grace: "60s",
        session: "6s",
        ..Rig::on("failed-drain", redis(), &cluster)
    };
    let load = rig.load(500);
    let witness = rig.witness();
    let mut daemon = rig.daemon();
    witness.goes_on(LONG);
    cluster.kill(0);
    pass(&load, 300);
    daemon.term();
    let ended = daemon.wait(Duration::from_secs(55));
    assert!(
        ended.code().is_some_and(|code| code != 0),
        "{ended}: {}",
        daemon.log()
    );
    assert!(!daemon.log().contains("drained and left the group"));
    cluster.restart(0);
    daemon.restart();
    assert_level_in_the_end(&rig, load);
}
