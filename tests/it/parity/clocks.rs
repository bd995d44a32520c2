//! Ids that are no times, and clocks that jump: streams are compared by their ids whatever these say.

use std::collections::{BTreeMap, BTreeSet};

use super::gone::{delete_records, redis_gone};
use super::hand::Hand;
use super::scene::flip;
use super::script::{Script, Twin};
use super::stage::{Id, Stage, identified};
use super::verdict::Finding;
use crate::harness::{Entry, Expected, kafka, murmur3_x86_32};
use crate::rig::now_ms;

const EACH: u64 = 60;

/// What a clock gives for the n-th entry.
type Clock = Box<dyn Fn(u64) -> Id>;

/// The ids of each kind of clock.
fn ids() -> Vec<(&'static str, Vec<Id>)> {
    let now = now_ms();
    let all: [(&str, Clock); 7] = [
        ("counter", Box::new(|n| (n + 1, 0))),
        ("one-millisecond", Box::new(move |n| (now - 5_000, n))),
        ("sequence-only", Box::new(|n| (0, n + 1))),
        ("nanoseconds", Box::new(move |n| (now * 1_000_000 + n, 0))),
        // A clock that ran ten years ahead for a while: Redis then counts on in the last millisecond it gave.
        (
            "ahead",
            Box::new(move |n| match n {
                0..20 => (now - 9_000 + n, 0),
                20..25 => (now + 315_360_000_000 + n, 0),
                _ => (now + 315_360_000_024, n - 24),
            }),
        ),
        // One that began in 1970, was set to 2001, then to now.
        (
            "set-twice",
            Box::new(move |n| match n {
                0..20 => (5_000 + n, 0),
                20..40 => (1_000_000_000_000 + n, n),
                _ => (now - 9_000 + n, 0),
            }),
        ),
        (
            "greatest",
            Box::new(|n| (u64::MAX, u64::MAX - EACH + 1 + n)),
        ),
    ];
    all.into_iter()
        .map(|(name, id)| (name, (0..EACH).map(id).collect()))
        .collect()
}

fn route(topic: &str) -> String {
    format!(
        "[[routes]]\nname = \"messages\"\nstreams = [\"clock:*\"]\ntopic = \"{topic}\"\npartitions = 12\n\
         key = {{ field = \"key\" }}\npartition = {{ hash = \"murmur3\", fold = \"unsigned\" }}\nvalue = {{ field = \"data\" }}\n"
    )
}

fn entry(stream: &str, id: Id, n: u64) -> Entry {
    let field = |name: &str, value: String| (name.as_bytes().to_vec(), value.into_bytes());
    Entry {
        stream: stream.to_owned(),
        id,
        fields: vec![
            field("key", format!("k{}", n % 7)),
            field("data", format!("value {n} of {stream}")),
        ],
    }
}

fn twin(topic: &str, entry: &Entry) -> Twin {
    let key = &entry.fields[0].1;
    let record = Expected {
        topic: topic.to_owned(),
        partition: i32::try_from(murmur3_x86_32(key, 0) % 12).unwrap(),
        key: Some(key.clone()),
        value: Some(entry.fields[1].1.clone()),
        headers: Vec::new(),
        timestamp_ms: None,
    };
    Twin {
        stream: entry.stream.clone(),
        id: entry.id,
        record: identified(&entry.stream, entry.id, record),
        is_letter: false,
    }
}

#[test]
fn streams_under_any_clock_are_compared_and_their_faults_found() {
    let stage = Stage::with_route("clocks", 12, route);
    let mut entries = Vec::new();
    for (name, ids) in ids() {
        let stream = format!("clock:{name}");
        let of_stream = ids.into_iter().zip(0..);
        entries.extend(of_stream.map(|(id, n)| entry(&stream, id, n)));
    }
    stage.add(&entries);
    let twins: Vec<_> = entries
        .iter()
        .map(|entry| twin(&stage.topic, entry))
        .collect();
    let hand = Hand::new(kafka());
    let mut script = Script::new(&stage, &twins);
    for of_stream in (0..twins.len()).step_by(usize::try_from(EACH).unwrap()) {
        // First and last entries too, and where two of these clocks jump.
        script.missing(of_stream);
        script.altered(of_stream + 19, "value", |record| {
            flip(record.value.as_mut().unwrap());
        });
        script.twice(of_stream + 20, of_stream + 33);
        script.swapped(of_stream + 31, of_stream + 38);
        let right = twins[of_stream + 24].record.partition;
        script.misplaced(of_stream + 24, (right + 1) % 12);
        script.missing(of_stream + 59);
    }
    let expected = script.play(&hand, &BTreeSet::new());
    assert_eq!(expected.faults(), 7 * 6);
    stage.verify(&[]).assert_is(&expected);
}

/// Entries of these ids, and their twins, of which the first forty are dated three hours ago.
fn dated_before(stage: &Stage, stream: &str, begin: u64) -> Vec<Twin> {
    let entries: Vec<Entry> = (0..EACH)
        .map(|n| entry(stream, (begin + n, 0), n))
        .collect();
    stage.add(&entries);
    let twins = entries.iter().map(|entry| twin(&stage.topic, entry));
    let mut twins: Vec<Twin> = twins.collect();
    for twin in &mut twins[..40] {
        twin.record.timestamp_ms = i64::try_from(now_ms() - 3 * 3_600_000).unwrap();
    }
    twins
}

#[test]
fn a_record_that_is_dated_long_before_its_entry_is_found_from_the_entry_on() {
    let stage = Stage::with_route("dated-before", 12, route);
    // So the mirror dates them while the clock of Redis is more than an hour ahead of its own.
    let twins = dated_before(&stage, "clock:ahead", now_ms() - 60_000);
    let mut script = Script::new(&stage, &twins);
    script.missing(7);
    script.missing(50);
    let expected = script.play(&Hand::new(kafka()), &BTreeSet::new());
    stage.verify(&["--from", "1h"]).assert_is(&expected);
}

#[test]
fn what_is_missing_behind_a_beginning_that_expired_is_missing_also_where_ids_are_no_times() {
    let stage = Stage::with_route("expired-before", 12, route);
    let twins = dated_before(&stage, "clock:nanoseconds", now_ms() * 1_000_000);
    // The first of its partition that is read at first; those before it are older than what is asked for.
    let mut script = Script::new(&stage, &twins);
    script.missing(40);
    let mut expected = script.play(&Hand::new(kafka()), &BTreeSet::new());
    // Every partition has lost its first record.
    let mut first = BTreeMap::new();
    for (at, twin) in twins.iter().enumerate() {
        first.entry(twin.record.partition).or_insert(at);
    }
    let cut: Vec<_> = first.keys().map(|partition| (*partition, 1)).collect();
    delete_records(&stage.topic, &cut);
    for (partition, at) in first {
        expected.add(Finding {
            expected_partition: Some(partition),
            records: Vec::new(),
            ..redis_gone(&twins[at], "kafka-expired", (0, 0), &stage.topic)
        });
        expected.kafka_records -= 1;
    }
    stage.verify(&["--from", "1h"]).assert_is(&expected);
}
