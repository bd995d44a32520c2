//! Backlogs whose entries are of all sizes: what the daemon holds stays within one bound, and nothing is lost or repeated.

use std::collections::BTreeMap;

use crate::harness::{Daemon, RedisOptions, RedisServer, eventually, kafka};
use crate::plan::{Plan, Topic, await_level, header};
use crate::rig::LONG;

/// Resident at most, whatever lies in Redis: two rooms of `shards.buffer_bytes`, the producer's queue of 32 MB and what it
/// makes of that, and the program, a debug build of which is 31 MB alone.
const MEMORY: u64 = 192 << 20;
/// What the auditor adds: pages of Redis of 4 MiB each, one read, two on their way and one arriving, and what a consumer has
/// fetched ahead. Measured: 152 MB in all.
const AUDITOR: u64 = 64 << 20;
const LARGE: usize = 700_000;

/// Adds `data = <n>-xxx...` of so many bytes and gives the ids.
fn add_of(
    server: &RedisServer,
    stream: &str,
    from: usize,
    count: usize,
    bytes: usize,
) -> Vec<String> {
    let mut connection = server.connection(0);
    let filler = "x".repeat(bytes);
    let mut ids = Vec::with_capacity(count);
    let numbers: Vec<usize> = (from..from + count).collect();
    for some in numbers.chunks((4 << 20) / bytes + 1) {
        let mut pipe = redis::pipe();
        for n in some {
            let value = format!("{n}-{filler}");
            pipe.cmd("XADD").arg(stream).arg("*").arg("data").arg(value);
        }
        ids.extend(pipe.query::<Vec<String>>(&mut connection).unwrap());
    }
    ids
}

/// Without the auditor, which reads on its own.
fn plan(what: &str, server: &RedisServer, streams: &str) -> Plan {
    let mut plan = audited(what, server, streams);
    plan.more = "[parity]\nenabled = false\n".to_owned();
    plan
}

fn audited(what: &str, server: &RedisServer, streams: &str) -> Plan {
    let plan = Plan::on(what, server, 0, kafka()).route("r", &[streams], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    plan
}

#[track_caller]
fn assert_bounded(daemon: &Daemon) {
    assert_within(daemon, MEMORY);
    assert!(
        !daemon.log().contains("it is asked for in smaller parts"),
        "a reply that is broken off is no trouble of Redis"
    );
}

#[track_caller]
fn assert_within(daemon: &Daemon, most: u64) {
    let peak = daemon.process().peak_resident_bytes();
    println!("resident at most {} MB", peak >> 20);
    assert!(peak > 0 && peak < most, "{peak} bytes were resident");
}

#[test]
fn large_entries_behind_many_small_ones_stay_within_memory() {
    let (small, large) = (20_000, 300);
    let server = RedisServer::start(RedisOptions::default());
    let plan = plan("mixed", &server, "a");
    let mut ids = add_of(&server, "a", 0, small, 200);
    ids.extend(add_of(&server, "a", small, large, LARGE));
    ids.extend(add_of(&server, "a", small + large, small, 200));

    let daemon = plan.daemon();
    await_level(&daemon, "a");
    let mut topic = Topic::new(&plan.topic("r"));
    let records = topic.await_count(ids.len());
    for (n, (record, id)) in records.iter().zip(&ids).enumerate() {
        assert_eq!(&header(record, "redis-id"), id, "in order");
        let value = record.value.as_deref().unwrap();
        assert!(value.starts_with(format!("{n}-x").as_bytes()), "{id}");
        assert!(value.len() > 200, "{id}");
    }
    assert_bounded(&daemon);
}

#[test]
fn large_entries_in_many_streams_stay_within_memory() {
    let (streams, each) = (300, 2);
    let server = RedisServer::start(RedisOptions::default());
    let plan = plan("wide", &server, "wide:{0..299}");
    for n in 0..streams {
        add_of(&server, &format!("wide:{n}"), 0, each, LARGE);
    }

    let daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    let mut firsts = BTreeMap::<String, Vec<&[u8]>>::new();
    for record in topic.await_count(streams * each) {
        let value = record.value.as_deref().unwrap();
        let of_stream = firsts.entry(header(record, "redis-stream")).or_default();
        of_stream.push(&value[..3]);
    }
    assert_eq!(firsts.len(), streams);
    for (stream, firsts) in firsts {
        assert_eq!(firsts, [b"0-x", b"1-x"], "{stream}");
    }
    assert_bounded(&daemon);
}

#[test]
fn large_entries_are_compared_within_memory() {
    let (streams, each) = (4, 150);
    let server = RedisServer::start(RedisOptions::default());
    let plan = audited("compared", &server, "wide:{0..3}");
    for n in 0..streams {
        add_of(&server, &format!("wide:{n}"), 0, each, LARGE);
    }

    let daemon = plan.daemon();
    let all = (streams * each) as u64;
    eventually(LONG, "all is compared and level", || {
        let parity = daemon.status().map(|status| status["parity"].clone());
        let parity = parity.unwrap_or_default();
        if parity["state"] == "level" && parity["compared"] == all {
            Ok(())
        } else {
            Err(parity.to_string())
        }
    });
    assert_within(&daemon, MEMORY + AUDITOR);
}
