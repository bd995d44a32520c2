//! `lockgate parity` on real stores: verified, reported, explained, planned, interrupted and gone on with.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::harness::{Daemon, Process, Scratch, eventually, kafka, lockgate, log_file, redis};
use crate::parity::gone::delete_records;
use crate::plan::{Plan, SOON, Topic, add, await_level, drain, header};

/// Two streams, level in Kafka, and the daemon that mirrored them.
struct Mirrored {
    plan: Plan,
    topic: Topic,
    daemon: Daemon,
    folder: Scratch,
}

impl Mirrored {
    fn new(what: &str, entries: u64) -> Self {
        let plan = Plan::new(what).route("r", &["a", "b"], "");
        kafka().create_topic(&plan.topic("r"), 1, &[]);
        let mut topic = Topic::new(&plan.topic("r"));
        for stream in ["a", "b"] {
            add(redis(), plan.database, stream, stream, entries);
        }
        let daemon = plan.daemon();
        await_level(&daemon, "a");
        await_level(&daemon, "b");
        topic.await_count(usize::try_from(2 * entries).unwrap());
        Self {
            plan,
            topic,
            daemon,
            folder: Scratch::new("parity-asked"),
        }
    }

    /// `lockgate parity ...`: its exit code, and what it printed.
    fn parity(&self, arguments: &[&str]) -> (i32, String) {
        let config = self.daemon.config_file();
        let mut all = vec!["parity"];
        all.extend(arguments);
        all.extend(["--config", config.to_str().unwrap()]);
        let output = lockgate(&all);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap(), said)
    }

    /// The same in the background.
    fn beside(&self, arguments: &[&str]) -> Process {
        let config = self.daemon.config_file();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
        command.arg("parity").args(arguments);
        command.args(["--config", config.to_str().unwrap()]);
        Process::start("parity", &command, &log_file("parity"))
    }

    #[track_caller]
    fn json(&self, expected: i32, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let (code, said) = self.parity(&all);
        assert_eq!(code, expected, "{said}");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The id of the n-th record of a stream.
    fn id(&mut self, stream: &str, n: usize) -> String {
        let records = self.topic.records().iter();
        let mut of_stream = records.filter(|record| header(record, "redis-stream") == stream);
        header(of_stream.nth(n).unwrap(), "redis-id")
    }

    /// Somebody else produces what the mirror produced already.
    fn produce_again(&mut self, stream: &str, n: usize) -> String {
        let id = self.id(stream, n);
        let of_stream = |record: &&crate::harness::Record| {
            header(record, "redis-stream") == stream && header(record, "redis-id") == id
        };
        let value = self
            .topic
            .records()
            .iter()
            .find(of_stream)
            .unwrap()
            .value
            .clone();
        let producer: BaseProducer = kafka().client().create().unwrap();
        let headers = OwnedHeaders::new()
            .insert(Header {
                key: "redis-stream",
                value: Some(stream),
            })
            .insert(Header {
                key: "redis-id",
                value: Some(&id),
            });
        let topic = self.plan.topic("r");
        let record = BaseRecord::<[u8], [u8]>::to(&topic)
            .payload(value.as_deref().unwrap())
            .headers(headers);
        producer.send(record).unwrap();
        producer.flush(SOON).unwrap();
        id
    }
}

#[test]
fn level_stores_are_said_to_be_level_and_a_copy_is_found_named_and_planned_for() {
    let mut mirrored = Mirrored::new("asked", 300);
    let (code, said) = mirrored.parity(&["verify"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("= LEVEL") && said.contains("600 of 600"),
        "{said}"
    );
    for more in [
        vec!["--full"],
        vec!["--sample", "50"],
        vec!["--stream", "b", "--from", "1h"],
    ] {
        let mut all = vec!["verify"];
        all.extend(more);
        let level = mirrored.json(0, &all);
        assert_eq!(level["schema"], "lockgate.parity/v1");
        assert_eq!(
            (&level["verdict"], &level["counts"]["adds_up"]),
            (&"level".into(), &true.into())
        );
        assert!(
            level["counts"]["classes"]["match"].as_u64() > Some(0),
            "{level}"
        );
    }
    let id = mirrored.produce_again("a", 7);
    let apart = mirrored.json(5, &["verify"]);
    assert_eq!(apart["counts"]["classes"]["duplicate"], 1, "{apart}");
    let found = &apart["differences"][0];
    assert_eq!(
        (&found["stream"], &found["id"]),
        (&"a".into(), &id.as_str().into())
    );
    let (code, said) = mirrored.parity(&["verify"]);
    assert_eq!(code, 5, "{said}");
    assert!(
        said.contains(&format!("lockgate parity explain 'a' {id}")),
        "{said}"
    );

    let offset = found["records"][1]["offset"].as_i64().unwrap();
    let (code, said) = mirrored.parity(&["repair"]);
    assert_eq!(code, 5, "{said}");
    assert!(
        said.contains(&format!(
            "skip {}/0 offset {offset};",
            mirrored.plan.topic("r")
        )),
        "{said}"
    );

    let explained = mirrored.json(5, &["explain", "a", &id]);
    assert_eq!(explained["class"], "duplicate");
    assert_eq!(explained["redis"]["holds"], true);
    assert_eq!(
        explained["kafka"].as_array().unwrap().len(),
        2,
        "{explained}"
    );
    assert!(explained["kafka"][0].get("payload").is_none());
    let other = mirrored.id("a", 8);
    let explained = mirrored.json(0, &["explain", "a", &other, "--payload"]);
    assert_eq!(explained["class"], "match");
    assert_eq!(
        explained["kafka"][0]["payload"]["value"],
        explained["redis"]["fields"][0][1]
    );
}

#[test]
fn a_report_is_checked_against_the_stores_and_against_itself() {
    let mut mirrored = Mirrored::new("report", 200);
    let (json, markdown) = (mirrored.path("report.json"), mirrored.path("report.md"));
    let (code, said) = mirrored.parity(&[
        "report",
        "--from",
        "1h",
        "--out",
        &json,
        "--markdown",
        &markdown,
    ]);
    assert_eq!(code, 0, "{said}");
    assert!(
        fs::read_to_string(&markdown)
            .unwrap()
            .contains("**Level: each of 400 entries")
    );

    let same = mirrored.json(0, &["verify", "--against", &json]);
    assert_eq!(
        (&same["same"], &same["changed"]),
        (&2.into(), &0.into()),
        "{same}"
    );
    // What comes later is not what the report speaks of.
    add(redis(), mirrored.plan.database, "a", "later", 50);
    mirrored.topic.await_count(450);
    mirrored.json(0, &["verify", "--against", &json]);

    let text = fs::read_to_string(&json).unwrap();
    let forged = mirrored.path("forged.json");
    fs::write(
        &forged,
        text.replace("\"entries\": 200", "\"entries\": 201"),
    )
    .unwrap();
    let broken = mirrored.json(5, &["verify", "--against", &forged]);
    assert!(
        broken["chain_broken"]
            .as_str()
            .unwrap()
            .contains("window 1 of 2"),
        "{broken}"
    );

    let id = mirrored.id("b", 3);
    redis().command::<u64>(mirrored.plan.database, &format!("XDEL b {id}"));
    let lost = mirrored.json(0, &["verify", "--against", &json]);
    assert_eq!(
        (&lost["same"], &lost["unverifiable"]),
        (&1.into(), &1.into()),
        "{lost}"
    );
    mirrored.produce_again("a", 7);
    let changed = mirrored.json(5, &["verify", "--against", &json]);
    assert_eq!(
        (&changed["changed"], &changed["unverifiable"]),
        (&1.into(), &1.into()),
        "{changed}"
    );
    let window = changed["windows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["now"] == "changed")
        .unwrap();
    assert_eq!(
        (&window["stream"], &window["changed"][0]),
        (&"a".into(), &"kafka".into())
    );

    // What the log has lost since is not changed; where that is all of it, nothing was checked.
    let topic = mirrored.plan.topic("r");
    let ends: Vec<_> = kafka().end_offsets(&topic).into_iter().collect();
    delete_records(&topic, &ends);
    let expired = mirrored.json(6, &["verify", "--against", &json]);
    assert_eq!(
        (&expired["changed"], &expired["unverifiable"]),
        (&0.into(), &2.into()),
        "{expired}"
    );
}

/// Entries of Redis that a state file says were read.
fn kept(state: &str) -> u64 {
    let text = fs::read_to_string(state).unwrap_or_default();
    let kept: Value = serde_json::from_str(&text).unwrap_or_default();
    let streams = kept["verification"]["pass"]["streams"].as_array().cloned();
    let streams = streams.unwrap_or_default();
    let read = streams.iter().filter_map(|stream| stream["read"].as_u64());
    read.sum()
}

#[track_caller]
fn await_kept(state: &str, least: u64) -> u64 {
    eventually(SOON, "some of it is kept", || {
        Some(kept(state)).filter(|read| *read >= least)
    })
}

#[test]
fn what_was_interrupted_goes_on_where_it_stopped() {
    let mirrored = Mirrored::new("interrupted", 4_000);
    let state = mirrored.path("verify.state");
    let mut running = mirrored.beside(&["verify", "--rate", "1000", "--state", &state]);
    let read = await_kept(&state, 1);
    running.signal(Signal::SIGINT);
    let status = running.wait(SOON);
    assert_eq!(status.code(), Some(6), "{}", running.log());
    assert!(
        running
            .log()
            .contains("the same command goes on from there"),
        "{}",
        running.log()
    );
    assert!(kept(&state) >= read);

    let (code, said) = mirrored.parity(&["verify", "--route", "r", "--state", &state]);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("no --route, this one with --route r"),
        "{said}"
    );
    let level = mirrored.json(0, &["verify", "--state", &state]);
    assert_eq!(
        level["counts"]["redis_entries"], 8_000,
        "each once: {level}"
    );
    assert!(
        !std::path::Path::new(&state).exists(),
        "nothing is left to go on with"
    );
}

#[test]
fn checking_a_report_goes_on_where_it_was_killed() {
    let mut mirrored = Mirrored::new("against-kept", 4_000);
    let (report, state) = (mirrored.path("report.json"), mirrored.path("against.state"));
    mirrored.json(0, &["report", "--from", "1h", "--out", &report]);
    let against = ["verify", "--against", &report, "--state", &state];
    let mut running = mirrored.beside(&[&against[..], &["--rate", "1000"]].concat());
    await_kept(&state, 1);
    running.signal(Signal::SIGKILL);
    running.wait(SOON);

    let (code, said) = mirrored.parity(&["verify", "--state", &state]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("it was asked with --against"), "{said}");
    // It was read before the kill: whoever begins anew misses it.
    let id = mirrored.id("a", 0);
    redis().command::<u64>(mirrored.plan.database, &format!("XDEL a {id}"));
    let same = mirrored.json(0, &against);
    assert_eq!(
        (&same["same"], &same["unverifiable"]),
        (&2.into(), &0.into()),
        "{same}"
    );
    assert!(!std::path::Path::new(&state).exists());
    let anew = mirrored.json(0, &against);
    assert_eq!(anew["unverifiable"], 1, "{anew}");
}

#[test]
fn what_is_missing_is_produced_again_by_the_daemon_and_then_level() {
    let mut mirrored = Mirrored::new("repaired", 30);
    let topic = mirrored.plan.topic("r");
    drain(&mut mirrored.daemon);
    // Somebody deletes the topic and makes it anew, while the checkpoints say that all is mirrored.
    let topics = |arguments: &[&str]| kafka().tool("TopicCommand", arguments);
    topics(&["--delete", "--topic", &topic]);
    eventually(SOON, "the topic is gone", || {
        let left = topics(&["--list"]);
        if left.lines().any(|name| name == topic) {
            Err("still there")
        } else {
            Ok(())
        }
    });
    kafka().create_topic(&topic, 1, &[]);
    mirrored.daemon.restart();
    mirrored.daemon.wait_ready();
    await_level(&mirrored.daemon, "a");
    await_level(&mirrored.daemon, "b");

    let plan = mirrored.json(5, &["repair"]);
    assert_eq!(
        (&plan["missing"], &plan["left_out"]),
        (&60.into(), &0.into()),
        "{plan}"
    );
    let apply = ["repair", "--apply", "--reason", "the topic was deleted"];
    let (code, said) = mirrored.parity(&[&apply[..], &["--limit", "59"]].concat());
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("60 entries are missing, more than --limit 59; nothing was produced"),
        "{said}"
    );
    let applied = mirrored.json(0, &apply);
    assert_eq!(applied["applied"]["repaired"], 60, "{applied}");
    mirrored.json(0, &["verify"]);
    let nothing = mirrored.json(0, &apply);
    assert_eq!(
        (&nothing["missing"], &nothing["staying"]),
        (&0.into(), &0.into()),
        "{nothing}"
    );
}
