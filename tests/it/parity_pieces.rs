//! A round of the auditor over a backlog: it is kept in pieces, says how far it has come, and is gone on with by whoever holds
//! the shards, each entry and each record read and counted once.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Daemon, KafkaReader, RedisOptions, RedisServer, eventually, kafka, redis};
use crate::parity::hand::{Hand, Outgoing};
use crate::parity_audit::{assert_counts_are_verifys, await_parity, parity, twin};
use crate::plan::await_level as await_mirrored;
use crate::rig::{LONG, PARTITIONS, Rig, shared_out};

/// Entries; each is read on either side, so many a second.
const BACKLOG: u64 = 24_000;
const PACE: u64 = 3_000;

/// A backlog that is mirrored and not audited, with a copy and three records of nobody among it.
fn mirrored<'a>(what: &str, redis: &'a RedisServer) -> Rig<'a> {
    let mut rig = Rig::on(what, redis, kafka());
    rig.routes = "[parity]\nenabled = false\n".to_owned();
    rig.add(0, BACKLOG);
    let mut daemon = rig.daemon();
    for stream in 0..16 {
        await_mirrored(&daemon, &format!("msg:stream:{stream}"));
    }
    daemon.term();
    assert!(daemon.wait(LONG).success());
    let copied = &rig.ledger().entries()[77];
    let copy = twin(&rig, copied);
    let mut stranger = copy.clone();
    stranger.remove_header("redis-id");
    Hand::new(rig.kafka).commit([&copy, &stranger, &stranger, &stranger]);
    rig.routes = format!("[parity]\nwindow = \"300ms\"\nentries_per_second = {PACE}\n");
    rig
}

/// What a round under way has read.
fn read(daemon: &Daemon) -> Option<u64> {
    let seen = parity(daemon);
    let (_, told) = seen["reason"].as_str()?.split_once("it goes on: ")?;
    told.split(' ').next()?.parse().ok()
}

fn await_read(daemon: &Daemon, least: u64) {
    eventually(LONG, "a round has come so far", || {
        read(daemon)
            .filter(|read| *read >= least)
            .ok_or_else(|| format!("{:#}", parity(daemon)))
    });
}

/// How often a range of a stream was asked for.
fn ranges(redis: &RedisServer) -> u64 {
    let Some(told) = redis.info("cmdstat_xrange") else {
        return 0;
    };
    let calls = told.strip_prefix("calls=").unwrap().split(',').next();
    calls.unwrap().parse().unwrap()
}

/// Keys of the auditor's topic that a round under way has.
fn left_of_rounds(rig: &Rig<'_>) -> Vec<String> {
    let topic = format!("lockgate.{}.parity", rig.name);
    let mut reader = KafkaReader::new(&rig.kafka.bootstrap(), &[&topic]);
    reader.read_to_end().unwrap();
    let mut latest = BTreeMap::new();
    for record in reader.records() {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        latest.insert((record.partition, key), record.value.is_some());
    }
    let of_rounds = latest
        .into_iter()
        .filter(|((_, key), is_there)| *is_there && (key == "@round" || key.starts_with("p/")));
    of_rounds.map(|((_, key), _)| key).collect()
}

fn open(seen: &Value, class: &str) -> u64 {
    seen["open"][class].as_u64().unwrap_or(0)
}

#[test]
#[ignore = "long: make soak"]
fn a_kill_amid_a_long_round_loses_no_more_than_a_piece_of_it() {
    let redis = RedisServer::start(RedisOptions::default());
    let rig = mirrored("pieces", &redis);
    let mut daemon = rig.daemon();
    let at_first = ranges(&redis);
    await_read(&daemon, 1);
    assert!(!left_of_rounds(&rig).is_empty());
    daemon.kill9();
    let before = ranges(&redis) - at_first;
    daemon.restart();
    daemon.wait_ready();
    await_parity(&daemon, "all is compared", |seen| {
        seen["compared"].as_u64() == Some(BACKLOG + 3)
            && (open(seen, "duplicate"), open(seen, "extra")) == (1, 3)
    });
    let both = ranges(&redis) - at_first;
    assert_counts_are_verifys(&[&daemon]);
    // Somebody who reads all of it at once.
    let whole = ranges(&redis) - at_first - both;
    assert!(
        before > whole / 3 && both < whole + whole / 3,
        "{before} ranges were read until the kill, {both} in all, where {whole} are all"
    );
    assert_eq!(left_of_rounds(&rig), Vec::<String>::new());
}

#[test]
fn copies_of_what_was_sealed_are_found_in_whichever_piece_they_are_read() {
    const SEALED: u64 = 1_000;
    let mut rig = Rig::new("pieces-copy");
    rig.routes = "[parity]\nwindow = \"300ms\"\n".to_owned();
    rig.add(0, SEALED);
    let mut daemon = rig.daemon();
    await_parity(&daemon, "it is sealed", |seen| {
        seen["state"] == "level" && seen["compared"].as_u64() == Some(SEALED)
    });
    daemon.term();
    assert!(daemon.wait(LONG).success());
    let sealed = rig.ledger().entries();
    let twins = sealed.iter().map(|entry| twin(&rig, entry));
    let each: BTreeMap<i32, Outgoing> = twins.map(|twin| (twin.partition, twin)).collect();
    rig.routes = "[parity]\nenabled = false\n".to_owned();
    rig.add(SEALED, BACKLOG / 2);
    let mut daemon = rig.daemon();
    for stream in 0..16 {
        await_mirrored(&daemon, &format!("msg:stream:{stream}"));
    }
    daemon.term();
    assert!(daemon.wait(LONG).success());
    // Each stands at the end of its partition, which the next round comes to early or late.
    let copies = each.len() as u64;
    assert_eq!(copies, u64::from(PARTITIONS.unsigned_abs()));
    Hand::new(rig.kafka).commit(each.values());
    rig.routes = format!("[parity]\nwindow = \"300ms\"\nentries_per_second = {PACE}\n");
    let daemon = rig.daemon();
    await_parity(&daemon, "the copies are found", |seen| {
        seen["compared"].as_u64() == Some(SEALED + BACKLOG / 2) && open(seen, "duplicate") == copies
    });
    assert_counts_are_verifys(&[&daemon]);
}

#[test]
#[ignore = "long: make soak"]
fn shards_that_part_amid_a_long_round_go_on_apart() {
    let rig = mirrored("pieces-apart", redis());
    let mut first = rig.daemon();
    await_read(&first, BACKLOG / 2);
    let second = rig.daemon();
    shared_out(&[&first, &second]);
    await_read(&second, BACKLOG / 4);
    first.kill9();
    await_parity(&second, "all is compared", |seen| {
        seen["compared"].as_u64() == Some(BACKLOG + 3)
            && (open(seen, "duplicate"), open(seen, "extra")) == (1, 3)
    });
    assert_counts_are_verifys(&[&second]);
    assert_eq!(left_of_rounds(&rig), Vec::<String>::new());
}
