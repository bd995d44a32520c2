//! The auditor against every class of fault: each is found in its class, and stays what it is whoever is killed and whoever
//! takes over; and `lockgate parity watch`, which shows it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Daemon, Entry, eventually, lockgate_beside};
use crate::parity::hand::{Hand, Outgoing};
use crate::parity::stage::{spoil, text};
use crate::parity_audit::{
    assert_counts_are_verifys, await_level, await_parity, parity, pass_over, rig, twin,
};
use crate::rig::{LONG, Rig, running_streams, shared_out};

/// Entries that the mirror passed over and that the test's own hand produced, some of them wrong.
struct Meddled {
    added: u64,
    /// What is open in each class.
    open: BTreeMap<&'static str, u64>,
}

fn key(entry: &Entry) -> Vec<u8> {
    let field = entry
        .fields
        .iter()
        .find(|(name, _)| name.as_slice() == b"conversationId");
    field.unwrap().1.clone()
}

/// Two of one stream and one key, the earlier first.
fn two_of_one_key(entries: &[Entry]) -> (usize, usize) {
    let mut first: BTreeMap<(&str, Vec<u8>), usize> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        if let Some(&before) = first.get(&(entry.stream.as_str(), key(entry))) {
            return (before, at);
        }
        first.insert((&entry.stream, key(entry)), at);
    }
    panic!("no key comes twice");
}

fn add_spoiled(rig: &Rig<'_>, like: &Entry) {
    let mut spoiled = like.clone();
    spoil(&mut spoiled);
    let mut connection = rig.redis.connection(rig.database);
    let mut command = redis::cmd("XADD");
    command.arg(&spoiled.stream).arg("*");
    for (name, value) in &spoiled.fields {
        command.arg(name).arg(value);
    }
    command.query::<()>(&mut connection).unwrap();
}

/// The daemon must be down.
fn meddle(rig: &Rig<'_>) -> BTreeMap<&'static str, u64> {
    let name = |entry: &Entry| (entry.stream.clone(), text(entry.id));
    let old: Vec<_> = rig.ledger().entries().iter().map(name).collect();
    rig.add(1_000_000, 400);
    let mut entries = rig.ledger().entries();
    entries.retain(|entry| !old.contains(&name(entry)));
    entries.sort_by_key(|entry| entry.id);
    let mut records: Vec<Outgoing> = entries.iter().map(|entry| twin(rig, entry)).collect();
    let (earlier, later) = two_of_one_key(&entries);
    let others: Vec<usize> = (0..entries.len())
        .filter(|at| key(&entries[*at]) != key(&entries[earlier]))
        .collect();
    let mut others = others.into_iter();
    let mut next = || others.next().unwrap();
    records[next()].value.as_mut().unwrap()[0] ^= 1;
    records[next()].set_header("correlation-id", b"another");
    let misplaced = next();
    records[misplaced].partition = (records[misplaced].partition + 1) % crate::rig::PARTITIONS;
    let twice = records[next()].clone();
    records.swap(earlier, later);
    records.push(twice);
    let missing = next();
    records.remove(missing);
    pass_over(rig, &entries);
    Hand::new(rig.kafka).commit(&records);
    BTreeMap::from([
        ("mismatch", 2),
        ("misplaced", 1),
        ("duplicate", 1),
        ("reordered", 1),
        ("missing", 1),
    ])
}

fn meddled(rig: &Rig<'_>) -> (Daemon, Meddled) {
    let first = rig.add(0, 300).count;
    let mut daemon = rig.daemon();
    await_level(&daemon, first);
    add_spoiled(rig, &rig.ledger().entries()[0]);
    await_level(&daemon, first + 1);
    daemon.term();
    assert!(daemon.wait(LONG).success());
    let open = meddle(rig);
    daemon.restart();
    daemon.wait_ready();
    let added = first + 1 + 400;
    (daemon, Meddled { added, open })
}

fn has(seen: &Value, open: &BTreeMap<&'static str, u64>) -> bool {
    open.iter()
        .all(|(class, count)| seen["open"][class] == *count)
}

#[test]
fn every_class_of_fault_is_found_and_named_and_a_dead_letter_is_none() {
    let rig = rig("classes");
    let (daemon, meddled) = meddled(&rig);
    let seen = await_parity(&daemon, "every fault is found", |seen| {
        seen["state"] == "apart" && has(seen, &meddled.open)
    });
    assert_eq!(seen["compared"], meddled.added);
    assert_eq!(seen["classes"]["dead_lettered"], 1);
    assert_eq!(seen["open"]["extra"], 0);
    let parts = |part: &str| {
        let open = seen["open_differences"].as_array().unwrap();
        open.iter()
            .filter(|one| one["parts"] == json!([part]))
            .count()
    };
    assert_eq!((parts("value"), parts("headers")), (1, 1));
    assert_counts_are_verifys(&[&daemon]);
}

#[test]
fn faults_stay_what_they_are_whoever_is_killed_and_whoever_takes_over() {
    let rig = rig("faults-kept");
    let (mut first, meddled) = meddled(&rig);
    // Killed before it can have judged: a fault takes two looks.
    first.kill9();
    first.restart();
    first.wait_ready();
    await_parity(&first, "every fault is found", |seen| {
        has(seen, &meddled.open)
    });
    let mut second = rig.daemon();
    shared_out(&[&first, &second]);
    let together = |daemons: &[&Daemon]| {
        eventually(LONG, "each fault is there, and once", || {
            let seen: Vec<Value> = daemons.iter().map(|daemon| parity(daemon)).collect();
            let sum = |class: &str| -> u64 {
                seen.iter()
                    .filter_map(|one| one["open"][class].as_u64())
                    .sum()
            };
            let wrong = meddled
                .open
                .iter()
                .find(|(class, count)| sum(class) != **count);
            match wrong {
                None => Ok(()),
                Some((class, count)) => Err(format!("{class}: {} of {count}", sum(class))),
            }
        });
    };
    together(&[&first, &second]);
    first.kill9();
    eventually(LONG, "the other has all streams", || {
        running_streams(&second).len() == 16
    });
    together(&[&second]);
    second.kill9();
    second.restart();
    second.wait_ready();
    together(&[&second]);
    assert_counts_are_verifys(&[&second]);
}

#[test]
fn watching_shows_each_change_and_says_that_the_daemon_went_away() {
    let rig = rig("watched");
    let added = rig.add(0, 200).count;
    let mut daemon = rig.daemon();
    await_level(&daemon, added);
    let url = format!("http://127.0.0.1:{}", daemon.port);
    let watching = lockgate_beside(&["parity", "watch", "--url", &url]);
    let shows = |what: &str| {
        eventually(LONG, what, || {
            let log = watching.log();
            if log.contains(what) { Ok(()) } else { Err(log) }
        });
    };
    shows("parity level");
    let copied = rig.ledger().entries().remove(7);
    Hand::new(rig.kafka).commit([&twin(&rig, &copied)]);
    shows("parity APART");
    daemon.kill9();
    shows("no daemon answers");
}
