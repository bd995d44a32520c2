//! Parity beside the mirror itself: while entries flow nothing is invented, afterwards everything is level, also with the
//! daemon gone, and what is done to the stores by another hand is found. And a topic that has grown.

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;

use super::hand::{Hand, Outgoing};
use super::scene::{Scene, false_identity, id_behind};
use super::verdict::{Expectation, Finding, Verified};
use crate::harness::{Daemon, kafka, lockgate, messages};
use crate::rig::{LONG, Rig, pass};

#[track_caller]
fn verify(daemon: &Daemon) -> Verified {
    let file = daemon.config_file();
    let words = ["parity", "verify", "--output", "json", "--config"];
    Verified::of(lockgate(&[&words[..], &[file.to_str().unwrap()]].concat()))
}

#[test]
fn while_the_mirror_runs_nothing_is_invented_and_afterwards_all_is_level() {
    let rig = Rig::new("beside");
    let load = rig.load(2_000);
    let mut daemon = rig.daemon();
    for _ in 0..if crate::harness::soak() { 5 } else { 3 } {
        pass(&load, 2_000);
        let verified = verify(&daemon);
        assert_eq!(
            verified.code,
            Some(0),
            "{}\n{}",
            verified.json,
            verified.said
        );
        assert_eq!(verified.findings(), []);
        assert!(verified.count("match") > 0);
    }
    let added = load.stop();
    rig.ledger().settle(LONG).assert_level();
    daemon.kill9();
    let mut expected = Expectation {
        redis_entries: added.count,
        kafka_records: added.count,
        ..Expectation::default()
    };
    verify(&daemon).assert_is(&expected);

    let entries = rig.ledger().entries();
    let twin = |at: usize| {
        let entry = &entries[at];
        let record = messages::expected(&rig.topic, entry);
        super::stage::identified(&entry.stream, entry.id, record)
    };
    let at = entries.len() / 2;
    let second = twin(at);
    let first: Vec<_> = second_place(&rig, &second);
    let copy = Hand::new(rig.kafka).commit([&second]);
    expected.add(Finding {
        class: "duplicate".to_owned(),
        stream: Some(entries[at].stream.clone()),
        id: Some(super::stage::text(entries[at].id)),
        topic: rig.topic.clone(),
        expected_partition: Some(second.partition),
        records: [first, copy].concat(),
        ..Finding::default()
    });
    expected.kafka_records += 1;
    verify(&daemon).assert_is(&expected);
}

/// Where the mirror put the record of this identity.
fn second_place(rig: &Rig<'_>, of: &Outgoing) -> Vec<(i32, i64)> {
    let mut reader = crate::harness::KafkaReader::new(&rig.kafka.bootstrap(), &[&rig.topic]);
    reader.read_to_end().unwrap();
    let is_it = |record: &&crate::harness::Record| {
        ["redis-stream", "redis-id"].iter().all(|name| {
            let value = record.headers.iter().find(|(found, _)| found == name);
            value.map(|(_, value)| value.as_slice()) == of.header(name)
        })
    };
    let found = reader.records().iter().filter(is_it);
    found
        .map(|record| (record.partition, record.offset))
        .collect()
}

#[test]
fn partitions_added_to_the_topic_are_read_and_what_lies_there_is_found() {
    let scene = Scene::new("grown");
    let admin: AdminClient<DefaultClientContext> = kafka().client().create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let more = NewPartitions::new(&scene.stage.topic, 15);
    let grown = runtime.block_on(admin.create_partitions([&more], &AdminOptions::new()));
    assert!(grown.unwrap().iter().all(Result::is_ok));
    kafka().wait_for_leaders(&scene.stage.topic, 15);
    scene.check(|script| {
        script.misplaced(100, 13);
        let twin = &scene.twins[130];
        let mut stranger = false_identity(&twin.record, &twin.stream, &id_behind(twin));
        stranger.partition = 14;
        script.foreign(130, stranger, "unknown-id");
        script.copied(160, 170, |copy| copy.partition = 12);
    });
}
