//! What one side no longer has: trimmed and deleted in Redis, expired and compacted in Kafka. It is unverifiable, which side
//! and why is said, it is never a match, and it hides no fault beside it.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::scene::{Scene, false_identity, id_behind};
use super::script::{Script, Twin};
use super::stage::{Id, Stage, entries, messages_route, text};
use super::verdict::Finding;
use crate::harness::{KafkaReader, eventually, kafka};

/// The entries of one stream, by their numbers.
fn of_stream(twins: &[Twin], stream: usize) -> Vec<usize> {
    let name = format!("msg:stream:{stream}");
    (0..twins.len())
        .filter(|&at| twins[at].stream == name)
        .collect()
}

pub fn redis_gone(twin: &Twin, why: &str, place: (i32, i64), topic: &str) -> Finding {
    Finding {
        class: "unverifiable".to_owned(),
        stream: Some(twin.stream.clone()),
        id: Some(text(twin.id)),
        why: Some(why.to_owned()),
        topic: topic.to_owned(),
        records: vec![place],
        ..Finding::default()
    }
}

#[test]
fn an_entry_deleted_after_it_was_mirrored_is_unverifiable_and_hides_no_fault() {
    let scene = Scene::new("deleted-after");
    scene.check(|script| {
        script.deleted_after(100);
        script.deleted_after(160);
    });
    let scene = Scene::new("deleted-beside");
    scene.check(|script| {
        script.deleted_after(160);
        script.missing(157);
        script.missing(163);
        script.twice(151, 170);
    });
}

#[test]
fn an_entry_deleted_before_it_was_mirrored_is_on_neither_side() {
    Scene::new("deleted-before").check(|script| {
        script.deleted_before(99);
        script.deleted_before(100);
        script.deleted_before(299);
        script.missing(150);
    });
}

#[test]
fn a_record_whose_id_may_have_been_deleted_is_no_proof_of_an_extra_one() {
    let scene = Scene::new("perhaps-deleted");
    let mut script = Script::new(&scene.stage, &scene.twins);
    script.deleted_after(150);
    let mut expected = script.play(&scene.hand, &BTreeSet::new());
    // Below the greatest id that was ever deleted from this stream, and above it.
    let (below, above) = (&scene.twins[90], &scene.twins[210]);
    assert!(below.stream == scene.twins[150].stream && above.stream == below.stream);
    let [below, above] =
        [below, above].map(|twin| false_identity(&twin.record, &twin.stream, &id_behind(twin)));
    let places = scene.hand.commit([&below, &above]);
    let finding = |class: &str, record: &super::hand::Outgoing, why: &str, place| Finding {
        class: class.to_owned(),
        stream: Some(scene.twins[150].stream.clone()),
        id: Some(String::from_utf8(record.header("redis-id").unwrap().to_vec()).unwrap()),
        why: Some(why.to_owned()),
        topic: scene.stage.topic.clone(),
        records: vec![place],
        ..Finding::default()
    };
    expected.add(finding("unverifiable", &below, "redis-deleted", places[0]));
    expected.add(finding("extra", &above, "unknown-id", places[1]));
    expected.kafka_records += 2;
    scene.stage.verify(&[]).assert_is(&expected);
}

#[test]
fn what_was_trimmed_after_it_was_mirrored_is_unverifiable() {
    let scene = Scene::new("trimmed-after");
    let mut script = Script::new(&scene.stage, &scene.twins);
    script.missing(200);
    let mut expected = script.play(&scene.hand, &BTreeSet::new());
    let trimmed = of_stream(&scene.twins, 1);
    scene.stage.command::<u64>("XTRIM msg:stream:1 MAXLEN = 90");
    for at in &trimmed[..10] {
        let place = expected.places[at];
        let topic = &scene.stage.topic;
        expected.add(redis_gone(&scene.twins[*at], "redis-trimmed", place, topic));
    }
    // A record that never had an entry cannot be told from one whose entry was trimmed; above the first entry it can.
    let strangers = [(trimmed[3], "unverifiable"), (trimmed[50], "extra")].map(|(at, class)| {
        let twin = &scene.twins[at];
        let id = id_behind(twin);
        (false_identity(&twin.record, &twin.stream, &id), id, class)
    });
    let places = scene
        .hand
        .commit(strangers.iter().map(|(record, _, _)| record));
    for ((_, id, class), place) in strangers.iter().zip(places) {
        let why = if *class == "extra" {
            "unknown-id"
        } else {
            "redis-trimmed"
        };
        expected.add(Finding {
            class: (*class).to_owned(),
            id: Some(id.clone()),
            ..redis_gone(&scene.twins[trimmed[3]], why, place, &scene.stage.topic)
        });
    }
    expected.kafka_records += 2;
    expected.redis_entries -= 10;
    scene.stage.verify(&[]).assert_is(&expected);
}

#[test]
fn what_was_trimmed_before_it_was_mirrored_is_on_neither_side() {
    let scene = Scene::new("trimmed-before");
    let mut script = Script::new(&scene.stage, &scene.twins);
    for at in &of_stream(&scene.twins, 2)[..10] {
        script.nowhere(*at);
    }
    scene.stage.command::<u64>("XTRIM msg:stream:2 MAXLEN = 90");
    script.missing(150);
    let expected = script.play(&scene.hand, &BTreeSet::new());
    scene.stage.verify(&[]).assert_is(&expected);
}

#[test]
fn records_of_a_stream_that_was_deleted_whole_are_unverifiable() {
    let scene = Scene::new("stream-deleted");
    let script = Script::new(&scene.stage, &scene.twins);
    let mut expected = script.play(&scene.hand, &BTreeSet::new());
    scene.stage.command::<u64>("DEL msg:stream:0");
    expected.redis_entries -= 100;
    for at in of_stream(&scene.twins, 0) {
        let twin = &scene.twins[at];
        let topic = &twin.record.topic;
        expected.add(redis_gone(
            twin,
            "redis-deleted",
            expected.places[&at],
            topic,
        ));
        expected.dead_lettered -= u64::from(twin.is_letter);
    }
    scene.stage.verify(&[]).assert_is(&expected);
}

/// Removes what lies before these offsets, as retention would.
pub fn delete_records(topic: &str, before: &[(i32, i64)]) {
    let mut list = TopicPartitionList::new();
    for &(partition, offset) in before {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .unwrap();
    }
    let admin: AdminClient<DefaultClientContext> = kafka().client().create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let deleted = runtime
        .block_on(admin.delete_records(&list, &AdminOptions::new()))
        .unwrap();
    for element in deleted.elements() {
        element.error().unwrap();
    }
}

#[test]
fn what_kafka_has_expired_is_unverifiable_and_not_missing() {
    let stage = Stage::new("expired", 3);
    let all = entries(12, &[400, 400, 400]);
    stage.add(&all);
    let twins = stage.twins(&all);
    let hand = super::hand::Hand::new(kafka());
    let mut script = Script::new(&stage, &twins);
    let cut = [(4, 30), (7, 55)];
    // The last entries of a partition that lost its first ones, and of one that lost none: both can be told.
    let last_of = |partition: i32| {
        (0..twins.len())
            .rev()
            .find(|&at| twins[at].record.partition == partition)
            .unwrap()
    };
    script.missing(last_of(4));
    script.missing(last_of(5));
    script.twice(last_of(7), last_of(7));
    let mut expected = script.play(&hand, &BTreeSet::new());
    delete_records(&stage.topic, &cut);
    for (&at, &(partition, offset)) in &expected.places.clone() {
        if cut
            .iter()
            .any(|&(p, before)| p == partition && offset < before)
        {
            expected.add(Finding {
                expected_partition: Some(partition),
                records: Vec::new(),
                ..redis_gone(&twins[at], "kafka-expired", (0, 0), &stage.topic)
            });
            expected.kafka_records -= 1;
        }
    }
    assert_eq!(expected.findings.len(), 3 + 30 + 55);
    stage.verify(&[]).assert_is(&expected);
}

#[test]
fn where_kafka_has_expired_everything_there_is_no_verdict() {
    let scene = Scene::new("all-expired");
    let script = Script::new(&scene.stage, &scene.twins);
    script.play(&scene.hand, &BTreeSet::new());
    let ends: Vec<_> = kafka()
        .end_offsets(&scene.stage.topic)
        .into_iter()
        .collect();
    delete_records(&scene.stage.topic, &ends);
    let letters: Vec<_> = kafka()
        .end_offsets(&scene.stage.letters)
        .into_iter()
        .collect();
    delete_records(&scene.stage.letters, &letters);
    let verified = scene.stage.verify(&[]);
    assert_eq!(
        (verified.code, verified.json["verdict"].as_str()),
        (Some(6), Some("unknown")),
        "{}",
        verified.said
    );
    assert_eq!(verified.count("unverifiable"), 300);
}

#[test]
fn what_kafka_has_compacted_is_unverifiable_and_the_last_of_each_key_is_not() {
    let stage = Stage::with_route("compacted", super::stage::PARTITIONS, |topic| {
        messages_route(topic, 1)
    });
    for setting in [
        "cleanup.policy=compact",
        "min.cleanable.dirty.ratio=0.001",
        "segment.ms=100",
    ] {
        kafka().configure("topics", &stage.topic, setting);
    }
    let all = entries(13, &[2_000]);
    stage.add(&all);
    let twins = stage.twins(&all);
    let hand = super::hand::Hand::new(kafka());
    // The last of its key, never produced: nothing later could have compacted it.
    let script = Script::new(&stage, &twins);
    let mut last_ones = (0..twins.len() - 10).rev();
    let never = last_ones
        .find(|&at| script.next_of_key(at).is_none())
        .unwrap();
    let produced = (0..twins.len()).filter(|&at| at != never);
    hand.commit(produced.clone().map(|at| &twins[at].record));
    stage.checkpoints(&hand, &[("msg:stream:0", last(&twins), 2_000)]);
    let keys: BTreeSet<_> = produced.map(|at| &twins[at].record.key).collect();
    let survivors = keys.len();
    close_segments(&stage, &twins, &hand);
    eventually(Duration::from_secs(90), "Kafka has compacted", || {
        let mut reader = KafkaReader::new(&kafka().bootstrap(), &[&stage.topic]);
        reader.read_to_end().unwrap();
        match reader.records().len() {
            left if left == survivors => Ok(()),
            left => Err(format!("{left} records, {survivors} are to stay")),
        }
    });
    let verified = stage.verify(&[]);
    let gone = (twins.len() - survivors - 1) as u64;
    assert_eq!(
        (
            verified.count("unverifiable"),
            verified.count("missing"),
            verified.count("match")
        ),
        (gone, 1, survivors as u64),
        "{}",
        verified.json
    );
    let missing: Vec<_> = verified
        .findings()
        .into_iter()
        .filter(|finding| finding.class == "missing")
        .collect();
    assert_eq!(missing[0].id, Some(text(twins[never].id)));
    let whys: BTreeSet<_> = verified
        .findings()
        .into_iter()
        .filter(|finding| finding.class == "unverifiable")
        .map(|finding| finding.why)
        .collect();
    assert_eq!(whys, BTreeSet::from([Some("kafka-compacted".to_owned())]));
}

/// A segment is closed by what is appended after its time: by something that never counts.
fn close_segments(stage: &Stage, twins: &[Twin], hand: &super::hand::Hand) {
    let written = crate::rig::now_ms();
    eventually(Duration::from_secs(10), "the segments are old", || {
        crate::rig::now_ms() > written + 1_000
    });
    let nudges: Vec<_> = (0..12)
        .map(|partition| super::hand::Outgoing {
            partition,
            topic: stage.topic.clone(),
            ..twins[0].record.clone()
        })
        .collect();
    hand.abort(&nudges);
}

fn last(twins: &[Twin]) -> Id {
    twins.last().unwrap().id
}

#[test]
fn what_a_route_mirrored_before_it_was_narrowed_is_nobodys_fault() {
    let mut scene = Scene::new("narrowed");
    scene.check(|_| {});
    // Its streams are in the same topic, and their checkpoints stand.
    scene.stage.route = messages_route(&scene.stage.topic, 1);
    let verified = scene.stage.verify(&[]);
    assert_eq!(verified.code, Some(0), "{}", verified.said);
    assert_eq!(verified.count("extra"), 0);
    let of_one = scene
        .twins
        .iter()
        .filter(|twin| twin.stream == "msg:stream:0");
    let compared = verified.count("match") + verified.count("dead_lettered");
    assert_eq!(compared, of_one.count() as u64);
}
