//! The continuous auditor beside the mirror: level while entries flow, apart with the first difference named when somebody
//! meddles, mended by a repair; and counts that are exact whoever is killed and whoever takes over.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Daemon, Entry, eventually, lockgate, messages};
use crate::parity::hand::{Hand, Outgoing};
use crate::parity::stage::{identified, text};
use crate::rig::{LONG, Random, Rig, now_ms, pass, running_streams, shared_out};

pub fn rig(what: &str) -> Rig<'static> {
    Rig {
        routes: "[parity]\nwindow = \"300ms\"\n".to_owned(),
        ..Rig::new(what)
    }
}

pub fn parity(daemon: &Daemon) -> Value {
    daemon
        .status()
        .map_or(Value::Null, |status| status["parity"].clone())
}

fn compared(daemon: &Daemon) -> u64 {
    parity(daemon)["compared"].as_u64().unwrap_or(0)
}

#[track_caller]
pub fn await_parity(daemon: &Daemon, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(LONG, what, || {
        let seen = parity(daemon);
        if holds(&seen) {
            Ok(seen)
        } else {
            Err(format!("{seen:#}"))
        }
    })
}

#[track_caller]
pub fn await_level(daemon: &Daemon, entries: u64) -> Value {
    await_parity(daemon, &format!("level over {entries}"), |seen| {
        seen["state"] == "level" && seen["compared"].as_u64() >= Some(entries)
    })
}

/// Classes and what was read as `lockgate parity verify` finds them now.
#[track_caller]
fn verified(daemon: &Daemon) -> Value {
    let file = daemon.config_file();
    let words = ["parity", "verify", "--output", "json", "--config"];
    let printed = lockgate(&[&words[..], &[file.to_str().unwrap()]].concat());
    serde_json::from_slice(&printed.stdout).unwrap_or_else(|_| panic!("{printed:?}"))
}

pub fn twin(rig: &Rig<'_>, entry: &Entry) -> Outgoing {
    identified(
        &entry.stream,
        entry.id,
        messages::expected(&rig.topic, entry),
    )
}

#[test]
fn stores_are_level_while_entries_flow_and_every_entry_is_compared_once() {
    let rig = rig("audited");
    let load = rig.load(2_000);
    let daemon = rig.daemon();
    eventually(LONG, "it has all streams", || {
        running_streams(&daemon).len() == 16
    });
    // The last shard may come to the auditor with the next round.
    let all_here = daemon.status().unwrap()["as_of"].clone();
    let seen = await_parity(&daemon, "a round over all streams", |seen| {
        seen["state"] == "level" && seen["verified_through"].as_str() > all_here.as_str()
    });
    let since = seen["since"].clone();
    for _ in 0..3 {
        let seen = await_level(&daemon, compared(&daemon) + 1_500);
        assert!(seen["verified_through"].is_string() && seen["reason"].is_null());
        assert_eq!(seen["since"], since, "it was level all the while");
    }
    let added = load.stop().count;
    let seen = await_level(&daemon, added);
    assert_eq!(seen["compared"], added);
    assert_eq!(seen["classes"]["match"], added);
    let route = &seen["routes"]["messages"];
    assert_eq!(route["read"], json!({ "redis": added, "kafka": added }));
    assert!(seen["windows"]["sealed"].as_u64() > Some(3));
    assert!(seen["lower_bound"].as_f64() > Some(0.999));
    assert_eq!(
        windows_kept(&rig),
        added,
        "every entry is in one closed window"
    );
    let metric = |name: &str, labels: &[(&str, &str)]| {
        daemon.metric(name, &[&[("route", "messages")], labels].concat())
    };
    let counted = Some(added as f64);
    assert_eq!(
        metric("lockgate_parity_entries_total", &[("class", "match")]),
        counted
    );
    assert_eq!(
        metric(
            "lockgate_parity_compared_entries_total",
            &[("side", "kafka")]
        ),
        counted
    );
    assert_eq!(
        metric("lockgate_parity_open_entries", &[("class", "missing")]),
        Some(0.0)
    );
    assert_eq!(
        daemon.metric("lockgate_parity_state", &[("state", "level")]),
        Some(1.0)
    );
    let url = format!("http://127.0.0.1:{}", daemon.port);
    let printed = lockgate(&["status", "--url", &url]);
    let shown = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(shown.contains("PARITY    = level since"), "{shown}");
}

/// Entries of all windows in the auditor's ring, which is long enough for this.
fn windows_kept(rig: &Rig<'_>) -> u64 {
    let topic = format!("lockgate.{}.parity", rig.name);
    let mut reader = crate::harness::KafkaReader::new(&rig.kafka.bootstrap(), &[&topic]);
    reader.read_to_end().unwrap();
    let mut latest = BTreeMap::new();
    for record in reader.records() {
        let key = record.key.clone().unwrap();
        if key.starts_with(b"w/") {
            let window: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
            latest.insert(key, window);
        }
    }
    let entries = latest
        .values()
        .map(|window| &window["counts"]["redis_entries"]);
    entries.map(|count| count.as_u64().unwrap()).sum()
}

#[test]
fn a_copy_and_a_stranger_are_found_and_named() {
    let rig = rig("meddled");
    let added = rig.add(0, 3_000).count;
    let daemon = rig.daemon();
    await_level(&daemon, added);
    let entries = rig.ledger().entries();
    let copied = &entries[1_234];
    let place = Hand::new(rig.kafka).commit([&twin(&rig, copied)])[0];
    let seen = await_parity(&daemon, "the copy is found", |seen| {
        seen["state"] == "apart" && seen["open"]["duplicate"] == 1
    });
    let open = &seen["open_differences"][0];
    assert_eq!(open["class"], "duplicate");
    assert_eq!(
        (&open["stream"], &open["id"]),
        (&json!(copied.stream), &json!(text(copied.id)))
    );
    let offsets = open["records"].as_array().unwrap();
    assert_eq!(offsets.len(), 2);
    assert_eq!(offsets[1]["offset"], place.1);
    let reason = seen["reason"].as_str().unwrap();
    assert!(
        reason.contains(&copied.stream) && reason.contains("duplicate"),
        "{reason}"
    );
    assert_eq!(seen["compared"], added, "a copy is no identity more");

    let mut stranger = twin(&rig, &entries[77]);
    stranger.remove_header("redis-id");
    Hand::new(rig.kafka).commit([&stranger, &stranger]);
    let seen = await_parity(&daemon, "the strangers are found", |seen| {
        seen["open"]["extra"] == 2
    });
    assert_eq!(seen["open"]["duplicate"], 1);
    assert_eq!(seen["compared"], added + 2);
    let url = format!("http://127.0.0.1:{}", daemon.port);
    let checked = lockgate(&["status", "--check", "--url", &url]);
    assert_eq!(checked.status.code(), Some(5));
    let shown = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        shown.contains("≠ APART since") && shown.contains(&copied.stream),
        "{shown}"
    );
    assert_eq!(
        daemon.metric("lockgate_parity_level_since_timestamp_seconds", &[]),
        None
    );
    assert_counts_are_verifys(&[&daemon]);
}

#[test]
fn a_record_below_the_first_entry_of_an_untrimmed_stream_is_extra_to_both() {
    let rig = rig("below-the-first");
    let added = rig.add(0, 200).count;
    let entries = rig.ledger().entries();
    let mut foreign = twin(&rig, &entries[0]);
    foreign.set_header("redis-id", b"1-1");
    let place = Hand::new(rig.kafka).commit([&foreign])[0];
    let daemon = rig.daemon();
    let seen = await_parity(&daemon, "the foreign record is found", |seen| {
        seen["compared"].as_u64() > Some(added) && seen["state"] == "apart"
    });
    assert_eq!(seen["open"]["extra"], 1);
    let open = &seen["open_differences"][0];
    assert_eq!(
        (&open["id"], &open["why"]),
        (&json!("1-1"), &json!("unknown-id"))
    );
    assert_eq!(open["records"][0]["offset"], place.1);
    assert_counts_are_verifys(&[&daemon]);
}

/// Moves each stream's checkpoint past entries that are added now, as a defect of a mirror would, and names them.
pub fn lose(rig: &Rig<'_>, count: u64) -> Vec<(String, String)> {
    let name = |entry: &Entry| (entry.stream.clone(), entry.id);
    let old: BTreeSet<_> = rig.ledger().entries().iter().map(name).collect();
    rig.add(1_000_000, count);
    let mut entries = rig.ledger().entries();
    entries.retain(|entry| !old.contains(&name(entry)));
    pass_over(rig, &entries);
    let named = entries.iter();
    named
        .map(|entry| (entry.stream.clone(), text(entry.id)))
        .collect()
}

/// Moves each stream's checkpoint past those of these entries that are the stream's.
pub fn pass_over(rig: &Rig<'_>, entries: &[Entry]) {
    let before = rig.checkpoints();
    let mut moved: Vec<Outgoing> = Vec::new();
    for ((partition, key), checkpoint) in &before {
        let stream = key.split_once('/').map(|(_, stream)| stream);
        let of_stream: Vec<&Entry> = entries
            .iter()
            .filter(|entry| Some(entry.stream.as_str()) == stream)
            .collect();
        let Some(last) = of_stream.iter().map(|entry| entry.id).max() else {
            continue;
        };
        let mut checkpoint = checkpoint.clone();
        checkpoint["id"] = json!(text(last));
        let added = checkpoint["entries_added"].as_u64().unwrap();
        checkpoint["entries_added"] = json!(added + of_stream.len() as u64);
        moved.push(Outgoing {
            topic: format!("lockgate.{}.checkpoints", rig.name),
            partition: *partition,
            key: Some(key.clone().into_bytes()),
            value: Some(checkpoint.to_string().into_bytes()),
            headers: Vec::new(),
            timestamp_ms: i64::try_from(now_ms()).unwrap(),
        });
    }
    Hand::new(rig.kafka).commit(&moved);
}

#[test]
fn a_repair_finds_a_record_that_is_dated_long_before_its_entry() {
    let rig = rig("dated-before");
    let added = rig.add(0, 200).count;
    let mut daemon = rig.daemon();
    await_level(&daemon, added);
    daemon.term();
    assert!(daemon.wait(LONG).success());
    // Half an hour ahead by its id, and its record dated now: so it stands where no search by the id's time looks.
    let last = rig.ledger().entries().pop().unwrap();
    let ahead = Entry {
        id: (now_ms() + 1_800_000, 0),
        ..last
    };
    let mut connection = rig.redis.connection(rig.database);
    let mut command = redis::cmd("XADD");
    command.arg(&ahead.stream).arg(text(ahead.id));
    for (name, value) in &ahead.fields {
        command.arg(name).arg(value);
    }
    command.query::<()>(&mut connection).unwrap();
    let mut record = twin(&rig, &ahead);
    record.timestamp_ms = i64::try_from(now_ms()).unwrap();
    Hand::new(rig.kafka).commit([&record]);
    pass_over(&rig, std::slice::from_ref(&ahead));
    daemon.restart();
    daemon.wait_ready();
    await_level(&daemon, added + 1);
    let target = json!({ "database": rig.database, "stream": ahead.stream, "id": text(ahead.id) });
    let body = json!({ "entries": [target], "reason": "not lost at all" });
    let (code, answer) = daemon.post("/v1/parity/repair", &body).unwrap();
    assert_eq!(code, 200, "{answer}");
    assert_eq!(
        serde_json::from_str::<Value>(&answer).unwrap(),
        json!({ "repaired": 0, "already_there": 1, "refused": [] })
    );
    assert_eq!(marked(&rig), 0, "nothing was produced again");
    // A second one is a copy, though a search from the id's time on meets it alone.
    record.timestamp_ms = i64::try_from(ahead.id.0).unwrap();
    Hand::new(rig.kafka).commit([&record]);
    let seen = await_parity(&daemon, "the copy is found", |seen| {
        seen["open"]["duplicate"] == 1
    });
    assert_eq!(seen["compared"], added + 1);
}

#[test]
fn entries_that_were_passed_over_are_missing_until_they_are_repaired_once() {
    let rig = rig("passed-over");
    let added = rig.add(0, 2_000).count;
    let mut daemon = rig.daemon();
    await_level(&daemon, added);
    daemon.term();
    assert!(daemon.wait(LONG).success());
    let lost = lose(&rig, 40);
    daemon.restart();
    daemon.wait_ready();
    let seen = await_parity(&daemon, "the lost entries are missing", |seen| {
        seen["open"]["missing"] == 40 && seen["state"] == "apart"
    });
    assert_eq!(seen["compared"], added + 40);
    let first = &seen["open_differences"][0];
    let named = (
        first["stream"].as_str().unwrap(),
        first["id"].as_str().unwrap(),
    );
    assert!(
        lost.iter()
            .any(|(stream, id)| (stream.as_str(), id.as_str()) == named)
    );

    let targets = |lost: &[(String, String)]| -> Vec<Value> {
        let named = lost.iter();
        named
            .map(|(stream, id)| json!({ "database": rig.database, "stream": stream, "id": id }))
            .collect()
    };
    let order = |lost: &[(String, String)]| {
        let body = json!({ "entries": targets(lost), "reason": "lost by a test" });
        let (code, answer) = daemon.post("/v1/parity/repair", &body).unwrap();
        assert_eq!(code, 200, "{answer}");
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    // One entry is asked for twice in one order, and all of them in two.
    let twice = [&lost[..], &lost[..1]].concat();
    assert_eq!(
        order(&twice),
        json!({ "repaired": 40, "already_there": 0, "refused": [] })
    );
    assert_eq!(
        order(&lost),
        json!({ "repaired": 0, "already_there": 40, "refused": [] })
    );
    let seen = await_parity(&daemon, "level again", |seen| seen["state"] == "level");
    assert_eq!(
        (&seen["open"]["missing"], &seen["compared"]),
        (&json!(0), &json!(added + 40))
    );
    assert_eq!(seen["classes"]["match"], added + 40);
    assert!(daemon.log().contains("lost by a test"));
    let marked = marked(&rig);
    assert_eq!(marked, 40, "each produced once, and marked");
    assert_counts_are_verifys(&[&daemon]);

    let refused = order(&[("msg:stream:3".to_owned(), "1-1".to_owned())]);
    let why = refused["refused"][0]["why"].as_str().unwrap();
    assert!(why.contains("Redis does not have"), "{why}");
    let refused = order(&[("nobody's".to_owned(), "1-1".to_owned())]);
    let why = refused["refused"][0]["why"].as_str().unwrap();
    assert!(why.contains("owns no such stream"), "{why}");
}

/// Records that carry a repair's mark.
fn marked(rig: &Rig<'_>) -> usize {
    let mut reader = crate::harness::KafkaReader::new(&rig.kafka.bootstrap(), &[&rig.topic]);
    reader.read_to_end().unwrap();
    let has = |record: &&crate::harness::Record| {
        record
            .headers
            .iter()
            .any(|(name, _)| name == "lockgate-repair")
    };
    reader.records().iter().filter(has).count()
}

/// What the auditors have counted, together, against a fresh verification.
#[track_caller]
pub fn assert_counts_are_verifys(daemons: &[&Daemon]) {
    let fresh = verified(daemons[0]);
    let counts = &fresh["counts"];
    eventually(
        LONG,
        "the auditors' counts are those of a fresh verification",
        || {
            let all: Vec<Value> = daemons.iter().map(|daemon| parity(daemon)).collect();
            let sum = |of: &dyn Fn(&Value) -> &Value| -> u64 {
                all.iter().map(|one| of(one).as_u64().unwrap_or(0)).sum()
            };
            let mut differing = Vec::new();
            for (class, count) in counts["classes"].as_object().unwrap() {
                let here = sum(&|one| &one["classes"][class]);
                if class != "pending" && Some(here) != count.as_u64() {
                    differing.push(format!("{class}: {here} and {count}"));
                }
            }
            for (side, name) in [("redis", "redis_entries"), ("kafka", "kafka_records")] {
                let routes = all.iter().filter_map(|one| one["routes"].as_object());
                let read = routes.flatten().map(|(_, route)| &route["read"][side]);
                let here: u64 = read.filter_map(Value::as_u64).sum();
                if Some(here) != counts[name].as_u64() {
                    differing.push(format!("{name}: {here} and {}", counts[name]));
                }
            }
            if differing.is_empty() {
                Ok(())
            } else {
                Err(differing.join(", "))
            }
        },
    );
}

#[test]
fn killed_at_random_it_counts_as_a_fresh_verification_does() {
    let rounds = if crate::harness::soak() { 40 } else { 6 };
    let mut random = Random::new();
    let rig = rig("audit-kills");
    let load = rig.load(1_500);
    let mut daemon = rig.daemon();
    for round in 0..rounds {
        pass(&load, 100 + random.below(1_500));
        if round % 2 == 0 {
            let more = compared(&daemon) + 1;
            await_parity(&daemon, "it goes on", |seen| {
                seen["compared"].as_u64() >= Some(more)
            });
        }
        daemon.kill9();
        daemon.restart();
    }
    let added = load.stop().count;
    let seen = await_level(&daemon, added);
    assert_eq!(seen["compared"], added);
    assert_counts_are_verifys(&[&daemon]);
}

#[test]
fn after_a_takeover_no_window_is_skipped_and_none_counts_twice() {
    let rig = rig("audit-takeover");
    let load = rig.load(1_500);
    let (mut first, second) = (rig.daemon(), rig.daemon());
    for kill in [true, false, true] {
        shared_out(&[&first, &second]);
        for daemon in [&first, &second] {
            await_parity(daemon, "both audit", |seen| seen["state"] == "level");
        }
        eventually(
            LONG,
            "each says of how many of all shards it speaks",
            || {
                let metric = |name: &str| [&first, &second].map(|daemon| daemon.metric(name, &[]));
                let audited = metric("lockgate_parity_audited_shards");
                let sum: f64 = audited.iter().flatten().sum();
                let all = metric("lockgate_parity_shards");
                if sum == 4.0 && all == [Some(4.0); 2] && audited.iter().all(|one| *one < Some(4.0))
                {
                    Ok(())
                } else {
                    Err(format!("{audited:?} of {all:?}"))
                }
            },
        );
        pass(&load, 1_000);
        if kill {
            first.kill9();
        } else {
            first.term();
            assert!(first.wait(LONG).success());
        }
        eventually(LONG, "the other has all streams", || {
            running_streams(&second).len() == 16
        });
        let more = compared(&second) + 500;
        await_level(&second, more);
        first.restart();
    }
    let added = load.stop().count;
    eventually(LONG, "every entry is compared, and none twice", || {
        let sum = compared(&first) + compared(&second);
        if sum == added {
            Ok(())
        } else {
            Err(format!("{sum} of {added}"))
        }
    });
    assert_counts_are_verifys(&[&first, &second]);
    for daemon in [&first, &second] {
        await_parity(daemon, "both are level", |seen| seen["state"] == "level");
    }
}
