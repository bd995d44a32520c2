//! Each fault alone, in stores that are level but for it: found, in its class, with its stream, id, topic, partition and
//! offset; and what looks like a fault and is none.

use std::collections::BTreeSet;

use super::hand::Outgoing;
use super::scene::{Scene, false_identity, flip, id_behind, sabotage};
use super::script::Script;
use crate::rig::now_ms;

#[test]
fn stores_without_a_fault_are_level() {
    let verified = sabotage("faultless", |_, _| {});
    assert_eq!(verified.json["schema"], "lockgate.parity/v1");
    assert_eq!(verified.json["streams"], 3);
    assert_eq!(verified.json["unknown_because"], serde_json::Value::Null);
}

#[test]
fn a_record_that_was_never_produced_is_missing() {
    sabotage("missing", |script, _| script.missing(150));
}

#[test]
fn a_record_produced_twice_is_a_duplicate_wherever_the_copy_lies() {
    sabotage("twice", |script, _| {
        script.twice(100, 100);
        script.twice(130, 250);
        script.copied(160, 161, |copy| copy.partition = (copy.partition + 1) % 12);
        script.copied(190, 195, |copy| flip(copy.value.as_mut().unwrap()));
    });
}

#[test]
fn a_record_produced_three_times_is_one_duplicate_with_three_places() {
    let scene = Scene::new("thrice");
    let mut script = Script::new(&scene.stage, &scene.twins);
    script.twice(100, 100);
    let mut expected = script.play(&scene.hand, &BTreeSet::new());
    let third = scene.hand.commit([&scene.twins[100].record]);
    expected.findings[0].records.extend(third);
    expected.findings[0].records.sort_unstable();
    expected.kafka_records += 1;
    scene.stage.verify(&[]).assert_is(&expected);
}

#[test]
fn one_altered_byte_is_a_mismatch_that_says_in_which_part() {
    sabotage("altered", |script, _| {
        script.altered(10, "value", |record| flip(record.value.as_mut().unwrap()));
        script.altered(90, "key", |record| flip(record.key.as_mut().unwrap()));
        script.altered(130, "headers", |record| flip(&mut record.headers[2].1));
        script.altered(170, "headers", |record| {
            record.remove_header("correlation-id")
        });
        script.altered(200, "headers", |record| record.set_header("added", b"1"));
        script.altered(230, "value", |record| record.value = None);
        script.altered(260, "key", |record| record.key = None);
        script.altered(280, "value", |record| {
            record.value.as_mut().unwrap().push(b' ')
        });
    });
}

#[test]
fn a_record_on_another_partition_is_misplaced() {
    sabotage("misplaced", |script, scene| {
        let right = scene.twins[200].record.partition;
        script.misplaced(200, (right + 5) % 12);
    });
}

#[test]
fn two_records_of_one_key_swapped_are_one_reordered() {
    sabotage("swapped", |script, _| {
        let next = script.next_of_key(20).unwrap();
        script.swapped(20, next);
    });
}

#[test]
fn two_records_of_different_keys_swapped_are_no_fault() {
    sabotage("swapped-quietly", |script, scene| {
        // Neighbours in their partition, so that nothing of either key lies between them.
        let other_key = |at: usize| {
            let this = &scene.twins[at].record;
            let next = script.next(at, |record| record.partition == this.partition)?;
            (scene.twins[next].record.key != this.key).then_some((at, next))
        };
        let (at, next) = (20..200).find_map(other_key).unwrap();
        script.swapped_quietly(at, next);
    });
}

#[test]
fn a_foreign_record_without_identity_is_extra() {
    sabotage("foreign", |script, scene| {
        let mut bare = scene.twins[30].record.clone();
        bare.headers.clear();
        script.foreign(30, bare, "no-identity");
        let mut nameless = scene.twins[60].record.clone();
        nameless.remove_header("redis-stream");
        script.foreign(60, nameless, "no-identity");
        let mut broken = scene.twins[90].record.clone();
        broken.set_header("redis-id", b"yesterday");
        script.foreign(90, broken, "no-identity");
        let nothing = Outgoing {
            key: None,
            value: None,
            headers: Vec::new(),
            ..scene.twins[120].record.clone()
        };
        script.foreign(120, nothing, "no-identity");
    });
}

#[test]
fn what_applications_wrote_to_kafka_themselves_is_no_fault_and_is_said() {
    let scene = Scene::new("kafkaborn");
    let stage = &scene.stage;
    let mut expected = Script::new(stage, &scene.twins).play(&scene.hand, &BTreeSet::new());
    let bare = Outgoing {
        headers: vec![("traceparent".to_owned(), b"00-1".to_vec())],
        timestamp_ms: i64::try_from(now_ms()).unwrap(),
        ..scene.twins[30].record.clone()
    };
    let mut half = bare.clone();
    half.set_header("redis-id", b"yesterday");
    scene.hand.commit([&bare, &half]);
    let before = stage.verify(&[]);
    assert_eq!((before.code, before.count("extra")), (Some(5), 2));
    // From the first step of the ingress on; a date before it stays somebody else's.
    let opened = |from: u64| {
        let words = format!(
            "HSET lockgate:{}:flags kafka_born_from_ms {from}",
            stage.name
        );
        stage.command::<u32>(&words);
        stage.verify(&[])
    };
    let later = opened(now_ms() + 3_600_000);
    assert_eq!((later.code, later.count("extra")), (Some(5), 2));
    let after = opened(now_ms() - 1_000);
    assert_eq!((after.code, after.count("extra")), (Some(5), 1));
    assert_eq!(after.json["kafka_born"], 1, "{}", after.said);
    expected.kafka_records += 1;
    assert_eq!(
        after.json["counts"]["kafka_records"],
        expected.kafka_records
    );
}

#[test]
fn a_record_with_a_false_identity_is_extra() {
    sabotage("false-identity", |script, scene| {
        let twins = &scene.twins;
        let between = false_identity(&twins[50].record, &twins[50].stream, &id_behind(&twins[50]));
        script.foreign(50, between, "unknown-id");
        let before = false_identity(&twins[80].record, &twins[80].stream, "1-1");
        script.foreign(80, before, "unknown-id");
        let elsewhere = false_identity(&twins[110].record, "msg:stream:99", "1741356110123-0");
        script.foreign(110, elsewhere, "unknown-stream");
    });
}

#[test]
fn a_record_whose_identity_was_altered_is_extra_and_its_entry_missing() {
    sabotage("renamed", |script, scene| {
        let other_id = id_behind(&scene.twins[50]);
        script.renamed(50, "unknown-id", |record| {
            record.set_header("redis-id", other_id.as_bytes());
        });
        script.renamed(80, "unknown-stream", |record| {
            record.set_header("redis-stream", b"msg-stream:2");
        });
        script.renamed(110, "no-identity", |record| {
            record.remove_header("redis-id")
        });
    });
}

#[test]
fn an_identity_that_is_not_written_as_the_mirror_writes_it_is_none() {
    sabotage("misspelt", |script, scene| {
        let (ms, _) = scene.twins[50].id;
        script.renamed(50, "no-identity", |record| {
            record.set_header("redis-id", format!("0{ms}-0").as_bytes());
        });
        let (ms, _) = scene.twins[80].id;
        script.renamed(80, "no-identity", |record| {
            record.set_header("redis-id", ms.to_string().as_bytes());
        });
        script.renamed(110, "no-identity", |record| {
            record.set_header("redis-gen", b"0");
        });
        script.renamed(140, "no-identity", |record| {
            record.set_header("redis-gen", b"+1");
        });
        script.renamed(170, "no-identity", |record| {
            let again = ("redis-stream".to_owned(), b"msg:stream:0".to_vec());
            record.headers.push(again);
        });
    });
}

#[test]
fn a_record_of_a_stream_that_never_was_is_extra_even_where_a_glob_would_take_it() {
    let scene = Scene::new("ghost");
    let named = "streams = [\"msg:stream:{0..2}\"]";
    assert!(scene.stage.route.contains(named));
    let mut scene = scene;
    scene.stage.route = scene
        .stage
        .route
        .replace(named, "streams = [\"msg:stream:*\"]");
    let twin = &scene.twins[100];
    let ghost = false_identity(
        &twin.record,
        "msg:stream:ghost",
        &super::stage::text(twin.id),
    );
    scene.check(|script| script.foreign(100, ghost, "unknown-stream"));
}

#[test]
fn a_false_identity_from_ahead_makes_nothing_else_reordered() {
    sabotage("ahead", |script, scene| {
        let (early, late) = (&scene.twins[30], &scene.twins[270]);
        let ahead = false_identity(&early.record, &early.stream, &id_behind(late));
        assert!(
            script.next_of_key(30).is_some(),
            "others of its key come later"
        );
        script.foreign(30, ahead, "unknown-id");
    });
}

#[test]
fn a_dead_letter_is_accounted_for_whether_the_route_or_the_broker_refused_the_entry() {
    let verified = sabotage("letters", |script, scene| {
        script.lettered(77, &scene.entries[77]);
    });
    assert_eq!(verified.count("dead_lettered"), 4);
}

#[test]
fn an_entry_that_cannot_be_encoded_and_has_no_dead_letter_is_missing() {
    sabotage("no-letter", |script, _| script.missing(41));
}

#[test]
fn a_dead_letter_whose_raw_fields_were_altered_is_a_mismatch() {
    sabotage("altered-letter", |script, _| {
        script.altered_letter(41, |letter| flip(letter.value.as_mut().unwrap()));
    });
}

#[test]
fn a_missing_and_an_extra_record_do_not_cancel_each_other_out() {
    sabotage("cancelled", |script, scene| {
        script.missing(99);
        let extra = false_identity(
            &scene.twins[99].record,
            &scene.twins[99].stream,
            &id_behind(&scene.twins[99]),
        );
        script.foreign(99, extra, "unknown-id");
        script.missing(201);
        script.twice(204, 204);
    });
}

#[test]
fn two_bytes_altered_the_opposite_way_do_not_cancel_each_other_out() {
    sabotage("opposite", |script, _| {
        let next = script.next_of_key(60).unwrap();
        for (at, by) in [(60, 1_u8), (next, 255)] {
            script.altered(at, "value", |record| {
                let value = record.value.as_mut().unwrap();
                let end = value.len() - 2;
                value[end] = value[end].wrapping_add(by);
            });
        }
    });
}

#[test]
fn the_values_of_two_records_exchanged_are_two_mismatches() {
    sabotage("exchanged", |script, scene| {
        let next = script.next_of_key(60).unwrap();
        for (at, other) in [(60, next), (next, 60)] {
            let value = scene.twins[other].record.value.clone();
            script.altered(at, "value", |record| record.value = value);
        }
    });
}

#[test]
fn a_late_record_is_reordered_unless_it_is_marked_as_repaired() {
    sabotage("late", |script, _| {
        for (at, repaired) in [(20, false), (50, true)] {
            let next = script.next_of_key(at).unwrap();
            script.late(at, next, repaired);
        }
    });
}

#[test]
fn aborted_records_and_control_records_never_count() {
    let scene = Scene::new("aborted");
    let all: Vec<&Outgoing> = scene.twins.iter().map(|twin| &twin.record).collect();
    let mut strangers: Vec<Outgoing> = all.iter().map(|&record| record.clone()).collect();
    for record in &mut strangers {
        record.headers.clear();
    }
    scene.hand.abort(all.iter().copied());
    scene.hand.abort(&strangers);
    let mut script = Script::new(&scene.stage, &scene.twins);
    script.missing(7);
    let expected = script.play(&scene.hand, &BTreeSet::new());
    scene.hand.abort(all.iter().copied());
    scene.hand.abort([all[7]]);
    scene.stage.verify(&[]).assert_is(&expected);
}
