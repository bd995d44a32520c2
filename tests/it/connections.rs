//! Connections that break anywhere: between the mirror and Redis in the middle of replies, between the mirror and Kafka
//! in the middle of everything.

use std::time::Duration;

use crate::harness::{Cut, Fault, KafkaCluster, KafkaOptions, Way, eventually, redis, soak};
use crate::rig::{LONG, Random, Rig, assert_level_in_the_end, assert_nothing_wrong, pass};

#[test]
fn replies_of_redis_that_break_off_lose_and_repeat_nothing() {
    let cuts = if soak() { 400 } else { 40 };
    let mut random = Random::new();
    let rig = Rig::new("torn-replies");
    let cut = Cut::to_port(redis().port);
    let url = format!("redis://127.0.0.1:{}/{}", cut.port(), rig.database);
    let rig = Rig {
        redis_url: url,
        ..rig
    };
    let load = rig.load(2_000);
    let witness = rig.witness();
    let _daemon = rig.daemon();
    witness.goes_on(LONG);
    for _ in 0..cuts {
        // From within the first line of a reply to far inside a long one.
        let bytes = random.size(13);
        break_off(&cut, Way::Answering, usize::try_from(bytes).unwrap());
    }
    witness.goes_on(LONG);
    assert_level_in_the_end(&rig, load);
}

#[test]
fn connections_to_kafka_that_break_off_lose_and_repeat_nothing() {
    let cuts = if soak() { 200 } else { 20 };
    let mut random = Random::new();
    let cluster = KafkaCluster::start_options(KafkaOptions {
        cut: true,
        ..KafkaOptions::default()
    });
    let rig = Rig::on("torn-kafka", redis(), &cluster);
    let rig = Rig {
        bootstrap: cluster.bootstrap_through_cut(),
        ..rig
    };
    let load = rig.load(1_000);
    let witness = rig.witness();
    let _daemons = [rig.daemon(), rig.daemon()];
    witness.goes_on(LONG);
    for round in 0..cuts {
        let way = [Way::Asking, Way::Answering][usize::try_from(random.below(2)).unwrap()];
        let bytes = random.size(14);
        break_off(cluster.cut(0), way, usize::try_from(bytes).unwrap());
        pass(&load, random.below(300));
        if random.below(5) == 0 {
            println!("round {round}: every connection at once");
            cluster.cut(0).cut_once();
        }
    }
    witness.goes_on(LONG);
    assert_nothing_wrong(&rig.ledger().look());
    assert_level_in_the_end(&rig, load);
}

fn break_off(cut: &Cut, way: Way, bytes: usize) {
    cut.after(way, bytes, Fault::Close);
    eventually(Duration::from_secs(60), "a connection breaks off", || {
        !cut.is_armed()
    });
}
