//! A second, independent reading of placement: records put where the measured vectors say that each library puts its keys
//! are level, and one partition further they are misplaced. Nothing here knows how to hash.

use std::collections::BTreeSet;

use serde_json::Value;

use super::hand::Hand;
use super::script::{Script, Twin};
use super::stage::{Stage, identified};
use crate::harness::{Entry, Expected, kafka};
use crate::rig::now_ms;

/// A key and the partition that was measured for it.
type Placed = (Vec<u8>, i32);

fn vectors(name: &str) -> Value {
    let file = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn key(vector: &Value) -> Vec<u8> {
    match vector["key_utf8_hex"].as_str() {
        Some(hex) => (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect(),
        None => vector["key"].as_str().unwrap().as_bytes().to_vec(),
    }
}

fn column(name: &str) -> Vec<Placed> {
    let all = vectors("partitioners");
    let keys = all["keys"].as_array().unwrap();
    keys.iter()
        .map(|vector| {
            let partition = vector[name].as_i64().unwrap();
            (key(vector), partition.try_into().unwrap())
        })
        .collect()
}

/// What a library's hash gives under a seed, as an unsigned number over sixteen partitions.
fn hashed(file: &str, seed: u64) -> Vec<Placed> {
    let all = vectors(file);
    let found: Vec<Placed> = all["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|vector| vector["seed"].as_u64() == Some(seed))
        .map(|vector| {
            let hash = vector["hash_unsigned"].as_u64().unwrap();
            (key(vector), (hash % 16).try_into().unwrap())
        })
        .collect();
    assert!(found.len() > 20, "{file} has vectors for seed {seed}");
    found
}

/// Every key in its place but for each fifth, which lies one further: exactly these are misplaced.
#[track_caller]
fn judged_as_measured(partitions: u32, partitioner: &str, placed: &[Placed]) {
    let stage = Stage::with_route("placement", partitions, |topic| {
        format!(
            "[[routes]]\nname = \"messages\"\nstreams = [\"keys\"]\ntopic = \"{topic}\"\npartitions = {partitions}\n\
             key = {{ field = \"key\" }}\npartition = {partitioner}\nvalue = {{ field = \"data\" }}\n"
        )
    });
    let begin = now_ms() - 10_000;
    let entries: Vec<Entry> = placed
        .iter()
        .zip(begin..)
        .map(|((key, _), ms)| Entry {
            stream: "keys".to_owned(),
            id: (ms, 0),
            fields: vec![
                (b"key".to_vec(), key.clone()),
                (b"data".to_vec(), b"x".to_vec()),
            ],
        })
        .collect();
    stage.add(&entries);
    let twins: Vec<Twin> = entries
        .iter()
        .zip(placed)
        .map(|(entry, (key, partition))| {
            let record = Expected {
                topic: stage.topic.clone(),
                partition: *partition,
                key: Some(key.clone()),
                value: Some(b"x".to_vec()),
                headers: Vec::new(),
                timestamp_ms: None,
            };
            Twin {
                stream: entry.stream.clone(),
                id: entry.id,
                record: identified(&entry.stream, entry.id, record),
                is_letter: false,
            }
        })
        .collect();
    let mut script = Script::new(&stage, &twins);
    for at in (0..twins.len()).step_by(5) {
        let further = (twins[at].record.partition + 1) % i32::try_from(partitions).unwrap();
        script.misplaced(at, further);
    }
    let expected = script.play(&Hand::new(kafka()), &BTreeSet::new());
    println!("{partitioner} over {partitions}: {} keys", placed.len());
    stage.verify(&[]).assert_is(&expected);
}

#[test]
fn murmur3_with_each_fold_is_judged_as_measured() {
    let all = [
        (16, "abs", "p16_abs"),
        (16, "unsigned", "p16_unsigned"),
        (16, "mask31", "p16_mask31"),
        (4, "abs", "p4_abs"),
        (12, "abs", "p12_abs"),
        (12, "unsigned", "p12_unsigned"),
        (12, "mask31", "p12_mask31"),
    ];
    let many = if crate::harness::soak() { all.len() } else { 3 };
    for (partitions, fold, name) in all.into_iter().take(many) {
        let partitioner = format!("{{ hash = \"murmur3\", fold = \"{fold}\" }}");
        judged_as_measured(partitions, &partitioner, &column(name));
    }
}

#[test]
fn the_partitioners_of_kafkas_clients_are_judged_as_measured() {
    for (hash, name) in [
        ("murmur2", "p16_kafka_murmur2"),
        ("crc32", "p16_crc32"),
        ("fnv1a", "p16_fnv1a"),
    ] {
        let mut placed = column(name);
        // librdkafka's `consistent_random` puts empty keys anywhere: its vectors are of `consistent`.
        placed.retain(|(key, _)| hash != "crc32" || !key.is_empty());
        judged_as_measured(16, &format!("{{ hash = \"{hash}\" }}"), &placed);
    }
}

#[test]
#[ignore = "long: make soak"]
fn the_legacy_readings_of_javascript_are_judged_as_measured() {
    for (file, reading) in [
        ("murmur3-legacy-js", "imurmurhash"),
        ("murmur3-masked-js", "legacy-js"),
    ] {
        for seed in [0, 42] {
            let partitioner = format!(
                "{{ hash = \"murmur3\", fold = \"unsigned\", seed = {seed}, reading = \"{reading}\" }}"
            );
            judged_as_measured(16, &partitioner, &hashed(file, seed));
        }
    }
}
