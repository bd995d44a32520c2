//! PROTOCOLS' own tests 1 to 3 of the forward mirror: the interleavings that break a naive one, brought about on purpose.

use std::thread;
use std::time::Duration;

use crate::harness::{Cut, Daemon, KafkaCluster, KafkaOptions, Way, eventually, redis};
use crate::rig::{
    LONG, Rig, assert_level_in_the_end, assert_nothing_wrong, pass, running_shards, running_streams,
};
use crate::witness::Witness;
use rdkafka::consumer::{BaseConsumer, Consumer};

fn lines(daemon: &Daemon, text: &str) -> usize {
    daemon
        .log()
        .lines()
        .filter(|line| line.contains(text))
        .count()
}

/// Test 1: A has sent all of a transaction but its commit, and is frozen. B takes over and stands between two steps of its
/// opening when A wakes and commits. Whichever step that is, nothing is there twice.
#[test]
fn a_commit_between_the_steps_of_the_next_owners_opening_repeats_nothing() {
    for point in ["mirror-after-open", "mirror-after-load"] {
        let rig = Rig {
            session: "1s",
            ..Rig::new("between")
        };
        let load = rig.load(500);
        let old = rig.daemon_with("mirror-before-commit=sleep:700");
        eventually(LONG, "A mirrors", || {
            running_shards(&old).len() == 4 && lines(&old, "failpoint mirror-before-commit") > 4
        });
        let commits = lines(&old, "failpoint mirror-before-commit");
        eventually(LONG, "A stands before a commit", || {
            lines(&old, "failpoint mirror-before-commit") > commits
        });
        old.stop();
        let new = rig.daemon_with(&format!("{point}=sleep:3000"));
        eventually(LONG, "B stands in its opening", || {
            lines(&new, &format!("failpoint {point}")) == 4
        });
        old.cont();
        eventually(LONG, "A is told that it is fenced", || {
            // In a term that it was in, or in the drain that the lost assignment asks for.
            let log = old.log();
            log.contains("Fenced") || log.contains("fenced")
        });
        eventually(LONG, "B mirrors", || !running_streams(&new).is_empty());
        assert_nothing_wrong(&rig.ledger().look());
        assert_level_in_the_end(&rig, load);
    }
}

/// Test 2: the broker has committed, and its answer does not come.
#[test]
fn a_decided_commit_whose_answer_is_lost_repeats_nothing() {
    let cluster = KafkaCluster::start_options(KafkaOptions {
        cut: true,
        ..KafkaOptions::default()
    });
    let rig = Rig {
        session: "1s",
        shards: 1,
        ..Rig::on("answer-lost", redis(), &cluster)
    };
    let rig = Rig {
        bootstrap: cluster.bootstrap_through_cut(),
        ..rig
    };
    let (witness, cut) = (rig.witness(), cluster.cut(0));
    let mut daemon = rig.daemon_with("mirror-before-commit=sleep:1500");
    rig.add(0, 300);
    eventually(LONG, "the first are mirrored", || witness.count() == 300);

    println!("the connection breaks");
    lose_an_answer(&rig, &daemon, cut, &witness, 1_000);
    cut.cut_once();
    cut.mend();
    eventually(LONG, "all is there", || witness.count() == 600);
    rig.ledger().settle(LONG).assert_level();

    println!("the process dies");
    lose_an_answer(&rig, &daemon, cut, &witness, 2_000);
    daemon.kill9();
    cut.mend();
    daemon.restart();
    eventually(LONG, "all is there", || witness.count() == 900);
    rig.ledger().settle(LONG).assert_level();

    println!("the writer gives up waiting");
    let failures = lines(&daemon, "the term ends");
    lose_an_answer(&rig, &daemon, cut, &witness, 3_000);
    eventually(LONG, "the writer gives up", || {
        lines(&daemon, "the term ends") > failures
    });
    cut.mend();
    eventually(LONG, "all is there", || witness.count() == 1_200);
    rig.ledger().settle(LONG).assert_level();
}

/// Adds 300 entries; when this returns some of them are committed in Kafka, and the answer to that commit is held back.
fn lose_an_answer(rig: &Rig, daemon: &Daemon, cut: &Cut, witness: &Witness, from: u64) {
    let before = witness.count();
    let end = end_of_checkpoints(rig);
    rig.add(from, 300);
    eventually(LONG, "a transaction has all but its commit", || {
        end_of_checkpoints(rig) > end
    });
    // Or the answers to its records are held as well, and the commit is never asked for.
    thread::sleep(Duration::from_millis(400));
    cut.hold(Way::Answering);
    let mirrored = mirrored(daemon);
    eventually(LONG, "Kafka has committed", || witness.count() > before);
    assert_eq!(
        mirrored,
        self::mirrored(daemon),
        "and the mirror does not know"
    );
}

fn mirrored(daemon: &Daemon) -> Option<u64> {
    daemon.status()?["routes"][0]["mirrored_entries"].as_u64()
}

/// The end of the shard's partition, uncommitted records included.
fn end_of_checkpoints(rig: &Rig) -> i64 {
    let mut client = rig.kafka.client();
    client
        .set("group.id", "ends")
        .set("isolation.level", "read_uncommitted");
    let consumer: BaseConsumer = client.create().unwrap();
    let topic = format!("lockgate.{}.checkpoints", rig.name);
    consumer.fetch_watermarks(&topic, 0, LONG).unwrap().1
}

/// Test 3: the owner dies when a commit has just succeeded and nothing else has happened; another goes on.
#[test]
fn a_crash_right_after_a_commit_repeats_nothing_at_the_next_owner() {
    let rig = Rig {
        session: "1s",
        ..Rig::new("after-commit")
    };
    let load = rig.load(1_000);
    let mut dying = rig.daemon_with("mirror-after-commit=abort@20");
    let next = rig.daemon();
    let ended = dying.wait(LONG);
    assert!(!ended.success());
    eventually(LONG, "the next owner has all", || {
        running_streams(&next).len() == 16
    });
    pass(&load, 500);
    assert_level_in_the_end(&rig, load);
}
