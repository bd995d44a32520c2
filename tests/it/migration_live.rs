//! The migration with a real daemon: killed at each thing it writes down and at random, thrown back by what goes wrong in the
//! stores, shared by two instances, and read by an OpenFeature SDK off the shelf.

mod live;
mod several;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use lockgate::failpoint;
use serde_json::{Value, json};

use crate::harness::{Role, bucket, eventually, lockgate, soak};
use crate::migration_api::in_terminal;
use crate::parity_audit::parity;
use crate::rig::{LONG, Random, pass};
use live::Live;

/// After whatever happened: one step, told to everybody as the state has it, and a journal without a gap.
#[track_caller]
fn whole(live: &mut Live, before: &Before) -> Before {
    live.daemon.wait_ready();
    let (at, shown) = eventually(LONG, "it steers, and stands somewhere", || {
        let shown = live.api.shown()?;
        let steers = shown["steered_by"].is_null() && shown["gates"] != serde_json::json!([]);
        Some((live.api.steady()?, shown)).filter(|_| steers)
    });
    assert!(shown["trouble"].is_null(), "{shown}");
    let percent = if at == "shadow" { "0" } else { "100" };
    let fields = eventually(LONG, "Redis tells the same", || {
        let fields = live.fields();
        let version = shown_version(&live.api.shown()?)?;
        (fields.get("version") == Some(&version.to_string())).then_some(fields)
    });
    assert_eq!(fields["kafka_partitions_percent"], percent, "{at}");
    let now = Before::of(live, &shown);
    assert!(now.epoch >= before.epoch, "an epoch went back");
    assert!(now.version >= before.version, "flags went back");
    let key = format!("HKEYS lockgate:{}:driver", live.rig.name);
    let names: Vec<String> = live.rig.redis.command(live.rig.database, &key);
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_prefix("j:")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let all: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, all, "the journal has a gap");
    now
}

#[derive(Clone, Copy, Default)]
struct Before {
    epoch: u64,
    version: u64,
}

impl Before {
    fn of(live: &Live, shown: &Value) -> Self {
        let version = live.fields()["version"].parse().expect("a version");
        let epoch = shown["epoch"].as_u64().expect("an epoch");
        Self { epoch, version }
    }
}

fn shown_version(shown: &Value) -> Option<u64> {
    shown["flags"]["version"].as_u64()
}

/// There and back; `None`: the daemon died on the way.
#[track_caller]
fn there_and_back(live: &mut Live) -> Option<()> {
    live.promote()?;
    live.reach("consumers:100")?;
    // It may die before it answers.
    if live.api.rollback().is_none() {
        eventually(LONG, "it is dead", || live.daemon.exited().is_some());
        return None;
    }
    live.reach("shadow")
}

/// From wherever it stands, back to shadow.
#[track_caller]
fn home(live: &mut Live) {
    if live.api.steady().as_deref() != Some("shadow") {
        // The dead one's lease ends first.
        eventually(LONG, "it rolls back", || {
            let (status, answer) = live.api.rollback().ok_or("no answer")?;
            (status == 202)
                .then_some(())
                .ok_or(answer["detail"].to_string())
        });
    }
    live.reach("shadow").expect("it lives");
}

#[test]
fn killed_at_each_thing_it_journals_and_tells_it_resumes_or_undoes() {
    let mut live = Live::start("livekills");
    let mut before = Before::default();
    let mut deaths = 0;
    for point in failpoint::DRIVER_POINTS {
        // There and back journals eight times and tells three times, the first of them at the start. Each of them in `make
        // soak`, and here those at which the most is undecided.
        let journals = point.ends_with("journal");
        let passages: Vec<u32> = match (soak(), journals) {
            (true, true) => (1..=8).collect(),
            (true, false) => (1..=3).collect(),
            (false, true) => vec![2, 5],
            (false, false) => vec![1],
        };
        for passage in passages {
            live.restart(Some(format!("{point}=abort@{passage}")));
            let died = there_and_back(&mut live).is_none();
            println!(
                "{point} {passage}: {}",
                if died { "died" } else { "never came there" }
            );
            deaths += u32::from(died);
            live.restart(None);
            before = whole(&mut live, &before);
            home(&mut live);
        }
    }
    assert!(deaths >= if soak() { 16 } else { 5 }, "{deaths} deaths");
}

#[test]
fn killed_while_buckets_are_held_it_resumes_or_undoes_and_leaves_none_held() {
    let mut live = Live::start("livehold");
    live.only_from(512);
    live.promote().expect("it lives");
    live.reach("consumers:100").expect("it lives");
    let mut before = Before::default();
    let mut deaths = 0;
    for point in failpoint::DRIVER_POINTS {
        // A step of ingress journals seven times and tells twice, behind what is told at the start.
        let journals = point.ends_with("journal");
        let passages: Vec<u32> = match (soak(), journals) {
            (true, true) => (1..=7).collect(),
            (true, false) => (1..=3).collect(),
            (false, true) => vec![4],
            (false, false) => vec![2],
        };
        for passage in passages {
            live.restart(Some(format!("{point}=abort@{passage}")));
            let there = live.promote().and_then(|()| live.reach("ingress:50"));
            println!("{point} {passage}: {there:?}");
            deaths += u32::from(there.is_none());
            live.restart(None);
            before = whole(&mut live, &before);
            let fields = live.fields();
            let at = live.api.steady();
            let buckets = match at.as_deref() {
                Some("consumers:100") => "0",
                Some("ingress:50") => "512",
                at => panic!("in between: {at:?}"),
            };
            let told = (
                fields["kafka_buckets"].as_str(),
                fields["held_buckets"].as_str(),
            );
            assert_eq!(told, (buckets, buckets));
            if buckets == "512" {
                eventually(LONG, "it rolls back", || {
                    let (status, answer) = live.api.rollback().ok_or("no answer")?;
                    (status == 202)
                        .then_some(())
                        .ok_or(answer["detail"].to_string())
                });
            }
            live.reach("consumers:100").expect("it lives");
        }
    }
    assert!(deaths >= if soak() { 18 } else { 4 }, "{deaths} deaths");
}

/// Writers first, then readers: whichever of them was told when it died, it goes on until all is Redis's.
#[test]
#[ignore = "long: make soak"]
fn killed_on_the_way_from_ingress_to_shadow_it_goes_on_or_had_not_begun() {
    let mut live = Live::start("liveback");
    let mut before = Before::default();
    let (mut deaths, mut alone) = (0, 0);
    for point in failpoint::DRIVER_POINTS {
        // It journals five times and tells twice, behind what is told at the start.
        let passages = if point.ends_with("journal") { 5 } else { 3 };
        for passage in 1..=passages {
            if live.api.steady().as_deref() == Some("shadow") {
                live.only_from(0);
                live.promote().expect("it lives");
                live.reach("consumers:100").expect("it lives");
            }
            if live.api.steady().as_deref() == Some("consumers:100") {
                live.only_from(512);
                live.promote().expect("it lives");
                live.reach("ingress:50").expect("it lives");
            }
            live.restart(Some(format!("{point}=abort@{passage}")));
            let died = to_shadow(&mut live).is_none();
            deaths += u32::from(died);
            live.restart(None);
            before = whole(&mut live, &before);
            println!(
                "{point} {passage}: died {died}, then {:?}",
                live.api.steady()
            );
            let fields = live.fields();
            let told = (
                fields["kafka_partitions_percent"].as_str(),
                fields["kafka_buckets"].as_str(),
                fields["held_buckets"].as_str(),
            );
            match live.api.steady().as_deref() {
                Some("ingress:50") => assert_eq!(told, ("100", "512", "512")),
                Some("shadow") => {
                    assert_eq!(told, ("0", "0", "0"));
                    alone += 1;
                }
                at => panic!("in between: {at:?}"),
            }
        }
    }
    // Only where it died before it had stored that it goes back it does not.
    assert!(
        deaths >= 14 && alone >= 12,
        "{deaths} deaths, {alone} alone"
    );
}

/// Whoever is asked before it steers refuses that, and journals it: not the passage that is meant. `None`: it died.
#[track_caller]
fn steers(live: &mut Live) -> Option<()> {
    eventually(LONG, "it steers", || {
        if live.daemon.exited().is_some() {
            return Ok(None);
        }
        let shown = live.api.shown().ok_or("nobody answers")?;
        let steers = shown["steered_by"].is_null() && shown["gates"] != json!([]);
        steers.then_some(Some(())).ok_or("it does not")
    })
}

/// `None`: the daemon died on the way, or before it answered.
#[track_caller]
fn to_shadow(live: &mut Live) -> Option<()> {
    let body = json!({ "to": "shadow", "reason": "the test asks for it" });
    steers(live)?;
    let begun = eventually(LONG, "it rolls back", || {
        if live.daemon.exited().is_some() {
            return Ok(None);
        }
        match live.api.post("/v1/rollback", &body) {
            Some((202, _)) => Ok(Some(())),
            // It may die over the answer.
            answer => Err(format!("{answer:?}")),
        }
    });
    begun.and_then(|()| live.reach("shadow"))
}

/// There is no way back from it, so it is `cleanup` or `done`, and who had begun it need not ask again.
#[test]
#[ignore = "long: make soak"]
fn killed_while_it_is_completed_it_is_done_or_stands_where_it_stood() {
    let mut deaths = 0;
    let mut done = 0;
    let mut live: Option<Live> = None;
    for point in [failpoint::BEFORE_JOURNAL, failpoint::AFTER_JOURNAL] {
        for passage in 1..=3 {
            let at = live.get_or_insert_with(|| at_cleanup("livecomplete"));
            at.restart(Some(format!("{point}=abort@{passage}")));
            let died = completed(at).is_none();
            deaths += u32::from(died);
            at.restart(None);
            at.daemon.wait_ready();
            let stands = eventually(LONG, "it stands somewhere", || at.api.steady());
            println!("{point} {passage}: died {died}, then {stands}");
            assert!(stands == "cleanup" || stands == "done", "{stands}");
            let fields = at.fields();
            assert_eq!(fields["kafka_buckets"], "1024");
            assert_eq!(fields["kafka_partitions_percent"], "100");
            if stands == "done" {
                done += 1;
                live = None;
            }
        }
    }
    assert!(deaths >= 5 && done >= 3, "{deaths} deaths, {done} done");
}

/// At the last step before the end, with all that it needs.
#[track_caller]
fn at_cleanup(what: &str) -> Live {
    let mut live = Live::start(what);
    for (step, from) in [
        ("consumers:100", 0),
        ("ingress:50", 512),
        ("ingress:100", 1_024),
        ("cleanup", 1_024),
    ] {
        live.only_from(from);
        live.promote().expect("it lives");
        live.reach(step).expect("it lives");
    }
    let entries = live.load.take().expect("it writes").stop().count;
    let url = live.daemon.url();
    let total = entries.to_string();
    let run = |words: &[&str]| lockgate(&[words, &["--url", &url]].concat());
    // Reading it again began at this step, so that the first seconds of the step may be too early to say so.
    eventually(LONG, "the archive is taken for whole", || {
        let counts = ["--faults", "0", "--total", &total, "--seconds", "1"];
        let told = run(&[&["evidence", "archive"][..], &counts].concat());
        let plan = run(&["complete", "--dry-run"]);
        let shown = String::from_utf8_lossy(&plan.stdout).into_owned();
        let taken = told.status.success() && shown.contains("plan ");
        if taken && !shown.contains("blocked by archive") {
            Ok(())
        } else {
            Err(format!("{told:?} {shown}"))
        }
    });
    live
}

/// `None`: the daemon died over it.
#[track_caller]
fn completed(live: &mut Live) -> Option<()> {
    let (url, name) = (live.daemon.url(), live.rig.name.clone());
    steers(live)?;
    let run = |words: &[&str]| lockgate(&[words, &["--url", &url]].concat());
    let begun = eventually(LONG, "it is completed", || {
        if live.daemon.exited().is_some() {
            return Ok(None);
        }
        // What is refused is journaled, and that is not the passage that is meant.
        let plan = run(&["complete", "--dry-run"]);
        let shown = String::from_utf8_lossy(&plan.stdout).into_owned();
        if !plan.status.success() || shown.contains("blocked by") {
            return Err(format!("{plan:?}"));
        }
        let why = ["--reason", "the archive was read again"];
        let whole = ["complete", "--yes", "--migration", &name];
        let output = run(&[&whole[..], &why].concat());
        if output.status.success() {
            Ok(Some(()))
        } else {
            Err(format!("{output:?}"))
        }
    });
    begun.and_then(|()| live.reach("done"))
}

#[test]
fn what_a_client_asked_who_went_away_at_once_is_done_all_the_same() {
    let mut live = Live::start("liveleaving");
    let why = json!({ "reason": "nobody waits for the answer" });
    eventually(LONG, "it is promoted", || {
        match live.api.steady().as_deref() {
            Some("consumers:100") => return Ok(()),
            Some("shadow") => {}
            at => return Err(format!("{at:?}")),
        }
        let asked = live.api.post("/v1/plans", &json!({ "verb": "promote" }));
        let Some((200, plan)) = asked else {
            return Err(format!("{asked:?}"));
        };
        let blocked = plan["blocked_by"].to_string();
        if blocked == "[]" {
            let id = plan["id"].as_str().expect("an id");
            live.leave_asking(&format!("/v1/plans/{id}/apply"), &why);
        } else if blocked.contains("rehearsal") {
            live.leave_asking("/v1/rehearsals", &json!({ "step": plan["to"] }));
        }
        Err(blocked)
    });
    live.leave_asking("/v1/rollback", &why);
    live.reach("shadow").expect("it lives");
    // What the driver does not note itself is noted when it is done, after whoever asked has gone.
    let nothing = json!({ "database": live.rig.database, "stream": "msg:stream:7", "id": "1-0" });
    let order = json!({ "entries": [nothing], "reason": why["reason"] });
    live.leave_asking("/v1/parity/repair", &order);
    let page = eventually(LONG, "the order is noted", || {
        let page = live.api.get("/v1/journal").ok_or("no journal")?;
        let mut records = page["records"].as_array().into_iter().flatten();
        let noted = "POST /v1/parity/repair: 1 entries: nobody waits for the answer";
        let noted = |record: &Value| record["outcome"] == "done" && record["note"] == noted;
        if records.any(noted) {
            Ok(page)
        } else {
            Err(page["records"].to_string())
        }
    });
    let journal = page["records"].as_array().expect("records");
    for verb in ["promote", "rollback"] {
        let asked = |record: &Value| {
            let begun = record["verb"] == verb && record["outcome"] == "begun";
            begun && record["reason"] == why["reason"]
        };
        assert!(journal.iter().any(asked), "{verb}: {journal:?}");
    }
}

#[test]
fn killed_at_random_it_is_never_in_between() {
    let rounds = if soak() { 60 } else { 4 };
    let mut random = Random::new();
    let mut live = Live::start("liverandom");
    let mut before = Before::default();
    for round in 0..rounds {
        live.daemon.wait_ready();
        let _ = live.promote();
        if round % 2 == 1 {
            live.reach("consumers:100").expect("it lives");
            let _ = live.api.rollback();
        }
        // At 200 entries a second this is up to a few evaluations, which is what the whole step takes.
        pass(live.load.as_ref().expect("it writes"), random.below(50));
        live.daemon.kill9();
        live.restart(None);
        before = whole(&mut live, &before);
        home(&mut live);
    }
}

#[test]
fn dead_letters_take_the_consumers_back_to_redis() {
    let mut live = Live::start("livedead");
    live.promote().expect("it lives");
    live.reach("consumers:100").expect("it lives");
    for n in 0..200 {
        let entry = format!("XADD msg:stream:{} * senderId nobody", n % 16);
        live.rig.redis.command::<String>(live.rig.database, &entry);
    }
    live.reach("shadow").expect("it lives");
    let shown = live.api.shown().expect("shown");
    let journal = shown["journal"].as_array().expect("a journal");
    let fired = journal.iter().any(|record| {
        record["verb"] == "tripwire"
            && record["reason"]
                .as_str()
                .is_some_and(|why| why.starts_with("dead-letters"))
    });
    assert!(fired, "{journal:?}");
    assert_eq!(live.fields()["kafka_partitions_percent"], "0");
}

#[test]
#[ignore = "long: make soak"]
fn while_an_application_is_waited_for_the_screen_says_what_moves_and_until_when() {
    let mut live = Live::start("livemoving");
    let follows = |live: &Live| {
        let shown = live.api.shown().expect("shown");
        let version = shown_version(&shown).expect("a version");
        let ack = json!({ "client": "slow", "version": version, "lifetime_seconds": 20 });
        let (status, answer) = live.api.post("/v1/flags/ack", &ack).expect("answered");
        assert_eq!(status, 204, "{answer}");
    };
    follows(&live);
    live.promote().expect("it lives");
    let url = live.daemon.url();
    let screen = eventually(LONG, "it moves", || {
        let output = lockgate(&["status", "--url", &url]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("MOVING") {
            Ok(text)
        } else {
            Err(text)
        }
    });
    for says in [
        "SHADOW -> CONSUMERS 100 % · MOVING",
        " 30 s ",
        "NEXT      asked by ",
        "lockgate hold stops",
    ] {
        assert!(screen.contains(says), "{says}\n{screen}");
    }
    assert!(
        screen.lines().all(|line| line.chars().count() <= 80),
        "{screen}"
    );
    follows(&live);
    live.reach("consumers:100").expect("it lives");
}

#[test]
fn a_whole_migration_from_shadow_to_done() {
    let mut live = Live::start("livedone");
    for step in ["consumers:100", "ingress:50", "ingress:100", "cleanup"] {
        // Whoever wrote to Redis goes over to Kafka in time: a stray would close the gates.
        match step {
            "ingress:50" => live.only_from(512),
            "ingress:100" => live.only_from(1_024),
            _ => {}
        }
        live.promote().expect("it lives");
        live.reach(step).expect("it lives");
        if step.starts_with("ingress") {
            live.write_to_kafka();
        }
    }
    let written = live.load.take().expect("it writes").stop();
    // What was written to Kafka is counted once, also by the process after this one.
    let kafka_born =
        |live: &Live| parity(&live.daemon)["routes"]["messages"]["kafka_born"].as_u64();
    eventually(LONG, "both are counted", || {
        (kafka_born(&live) == Some(2)).then_some(())
    });
    let name = "lockgate_parity_kafka_born_records_total";
    let counted = live.daemon.metric(name, &[("route", "messages")]);
    assert_eq!(counted, Some(2.0));
    live.daemon.kill9();
    live.restart(None);
    live.daemon.wait_ready();
    eventually(LONG, "they are known", || {
        (kafka_born(&live) == Some(2)).then_some(())
    });
    let url = live.daemon.url();
    let run = |words: &[&str]| {
        let output = lockgate(&[words, &["--url", &url]].concat());
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), said)
    };
    let why = ["--reason", "the archive was read again"];
    let name = live.rig.name.clone();
    let complete = || run(&[&["complete", "--yes", "--migration", &name][..], &why].concat());
    let (code, said) = run(&["complete", "--dry-run"]);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("way back: none"), "{said}");
    let (code, said) = run(&[&["complete", "--migration", &name][..], &why].concat());
    assert_eq!(code, Some(2), "nobody is there to be asked: {said}");
    let token = Role::Admin.token_file().display().to_string();
    let asked = [
        &["complete", "--url", &url, "--token-file", &token][..],
        &why,
    ]
    .concat();
    let (code, said) = in_terminal(&asked, "The migration's name", "", || {});
    assert_eq!(code, Some(1), "somebody turned back: {said}");
    assert!(said.contains("nothing was done"), "{said}");
    let blocked = eventually(LONG, "the archive alone blocks it", || {
        let (code, said) = complete();
        let others = ["drained", "parity"];
        let alone = others
            .iter()
            .all(|one| !said.contains(&format!("blocked by {one}")));
        if alone { Ok((code, said)) } else { Err(said) }
    });
    assert_eq!(blocked.0, Some(4), "{}", blocked.1);
    for needed in [
        "way back: none",
        "blocked by archive",
        "lockgate evidence archive",
    ] {
        assert!(blocked.1.contains(needed), "{needed}: {}", blocked.1);
    }
    let entries = written.count;
    let archive = |total: u64| {
        let total = total.to_string();
        let counts = ["--faults", "0", "--total", &total, "--seconds", "1"];
        run(&[&["evidence", "archive"][..], &counts].concat())
    };
    let (code, said) = archive(entries - 1);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not whole"), "{said}");
    eventually(LONG, "it is completed", || {
        // Reading it again began at this step, so that the first seconds of the step may be too early to say so.
        let (code, said) = archive(entries);
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = complete();
        if code == Some(0) { Ok(()) } else { Err(said) }
    });
    live.reach("done").expect("it lives");
    let (_, status) = run(&["status"]);
    assert!(status.contains("the migration is complete"), "{status}");
    let (code, said) = run(&[&["rollback"][..], &why].concat());
    assert_ne!(code, Some(0), "{said}");
    let (_, journal) = run(&["journal"]);
    assert!(
        journal.contains(&format!("0 of {entries} entries")),
        "{journal}"
    );
    every_step_forward_has_its_evidence(&url);
}

/// What a step rested on, in the journal as it is exported.
#[track_caller]
fn every_step_forward_has_its_evidence(url: &str) {
    let output = lockgate(&["journal", "--output", "json", "--url", url]);
    let journal: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    for (from, gates) in [
        ("shadow", ["parity", "added-latency"]),
        ("consumers:100", ["parity", "group-lag"]),
        ("ingress:50", ["parity", "produce-latency"]),
        ("ingress:100", ["strays", "end-to-end"]),
        ("cleanup", ["drained", "archive"]),
    ] {
        let begun = journal.iter().find(|record| {
            let forward = record["verb"] == "promote" || record["verb"] == "complete";
            forward && record["outcome"] == "begun" && record["from"] == from
        });
        let record = begun.unwrap_or_else(|| panic!("nothing began at {from}: {journal:?}"));
        let evidence = record["evidence"].as_array().expect("gates");
        assert!(
            evidence.iter().all(|gate| gate["verdict"] == "pass"),
            "{record}"
        );
        for gate in gates {
            let rested = evidence.iter().any(|one| one["name"] == gate);
            assert!(rested, "{from} without {gate}: {record}");
        }
    }
}

/// What a Python application with the OpenFeature SDK and its OFREP provider is told.
#[track_caller]
fn python(url: &str, keys: &[String]) -> BTreeMap<String, Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/openfeature/bin/python");
    assert!(
        python.exists(),
        "the OpenFeature SDK is not in {}: run `make openfeature`",
        python.display()
    );
    let output = Command::new(python)
        .arg(root.join("tests/openfeature/evaluate.py"))
        .arg(url)
        .args(keys)
        .env("AUTHORIZATION", Role::Flags.authorization())
        .output()
        .expect("python starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let answers: BTreeMap<String, Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|answer| (answer["key"].as_str().expect("a key").to_owned(), answer))
        .collect();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(answers.len(), keys.len(), "{said}");
    answers
}

#[test]
fn who_writes_what_is_kafkas_to_redis_is_named_and_closes_the_gate() {
    let mut live = Live::start_settling("livestray");
    live.promote().expect("it lives");
    live.reach("consumers:100").expect("it lives");
    // All who are known follow; and somebody who is not goes on writing to buckets that are held.
    live.promote().expect("it lives");
    eventually(LONG, "it is waited for who writes what is held", || {
        let shown = live.api.shown().ok_or("not shown")?;
        let waiting = shown["state"]["waiting_for"].as_str().unwrap_or_default();
        let named = waiting.contains("Redis stream msg:stream:") && waiting.contains("bucket");
        named.then_some(()).ok_or(shown["state"].to_string())
    });
    let told = live.api.get("/v1/flags/flagd").expect("told");
    let backend = told["flags"]["QUEUE_BACKEND"]["targeting"].to_string();
    assert!(
        backend.contains(r#"[{"var":"bucket"},512]},"hold""#),
        "{told}"
    );
    let held = live.api.get("/v1/status").expect("status")["strays"]["held"].clone();
    assert!(held["bucket"].as_u64().is_some_and(|n| n < 512), "{held}");
    live.only_from(512);
    live.reach("ingress:50").expect("it lives");
    let gate = |live: &Live| {
        let shown = live.api.shown()?;
        let mut gates = shown["gates"].as_array()?.iter();
        gates.find(|gate| gate["name"] == "strays").cloned()
    };
    let judged = |live: &Live, verdict: &str| {
        eventually(LONG, verdict, || {
            let gate = gate(live).ok_or("no gate")?;
            (gate["verdict"] == verdict)
                .then_some(gate.clone())
                .ok_or(gate.to_string())
        })
    };
    let passed = judged(&live, "pass");
    assert_eq!(passed["level"], "3 flags only");
    // An application that nobody knows of goes on as before.
    live.only_from(0);
    judged(&live, "fail");
    let status = live.api.get("/v1/status").expect("status");
    let named = &status["strays"]["named"][0];
    let stream = named["stream"].as_str().unwrap_or_default();
    assert!(stream.starts_with("msg:stream:"), "{named}");
    assert!(named["bucket"].as_u64().is_some_and(|n| n < 512), "{named}");
    assert_eq!(status["level"], "3 flags only");
    for bucket in ["held", "kafka"] {
        let labels = [("bucket", bucket)];
        let counted = live
            .daemon
            .metric("lockgate_mirror_entries_against_flags_total", &labels);
        assert!(counted.is_some_and(|entries| entries > 0.0), "{bucket}");
    }
    let plan = live
        .api
        .post("/v1/plans", &serde_json::json!({ "verb": "promote" }));
    let (_, plan) = plan.expect("an answer");
    let blocked = plan["blocked_by"].to_string();
    assert!(blocked.contains("strays"), "{plan}");
}

#[test]
fn an_openfeature_sdk_follows_the_whole_way_and_falls_back_to_redis() {
    let mut live = Live::start("livesdk");
    let url = live.daemon.url();
    let keys: Vec<String> = (0..40).map(|n| format!("conversation-{n}")).collect();
    let told = |live: &Live, kafka_below: u32, consumers: bool| {
        let version = shown_version(&live.api.shown().expect("shown"));
        for (key, answer) in python(&live.daemon.url(), &keys) {
            let kafka = bucket(&key) < kafka_below;
            assert_eq!(answer["error"], Value::Null, "{answer}");
            assert_eq!(
                answer["QUEUE_BACKEND"],
                if kafka { "kafka" } else { "redis" },
                "{answer}"
            );
            assert_eq!(answer["USE_KAFKA_INGRESS"], kafka, "{answer}");
            assert_eq!(answer["USE_KAFKA_CONSUMERS"], consumers, "{answer}");
            assert_eq!(answer["DUAL_WRITE"], false, "{answer}");
            assert_eq!(answer["version"].as_u64(), version, "{answer}");
        }
    };
    told(&live, 0, false);
    // Fetching is acknowledging, for an application that says who it is.
    eventually(LONG, "python is known to follow", || {
        let shown = live.api.shown()?;
        let clients = shown["gates"]
            .as_array()?
            .iter()
            .find(|gate| gate["name"] == "clients")?;
        (clients["samples"] == 2).then_some(())
    });
    for (step, kafka_below) in [
        ("consumers:100", 0),
        ("ingress:50", 512),
        ("ingress:100", 1_024),
    ] {
        if kafka_below > 0 {
            live.only_from(kafka_below);
        }
        live.promote().expect("it lives");
        live.reach(step).expect("it lives");
        told(&live, kafka_below, true);
    }
    // Without Lockgate each application has what its code gives, which docs/flags.md asks to be Redis.
    live.daemon.kill9();
    for answer in python(&url, &keys[..2]).values() {
        assert_eq!(answer["QUEUE_BACKEND"], "redis");
        assert_ne!(answer["error"], Value::Null);
    }
    live.restart(None);
    live.daemon.wait_ready();
    eventually(LONG, "it has read its state", || live.api.steady());
    told(&live, 1_024, true);
    let cleanup = live.promote();
    assert!(cleanup.is_some());
    live.reach("cleanup").expect("it lives");
    told(&live, 1_024, true);
}
