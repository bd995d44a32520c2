//! The migration where it stands, stops, and goes back. A migration is put at a step by writing the driver's stored state
//! while no daemon runs: as if it had been promoted there. What it does from then on is its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{
    Daemon, KafkaCluster, Prometheus, RedisOptions, RedisServer, Rules, eventually, kafka, redis,
};
use crate::operator::walk::Walk;
use crate::plan::{Plan, SOON, add, await_level, drain};

use super::one_route;

/// Goes back without waiting for long: nobody follows in most of these.
pub const HASTY: &str =
    "[migration]\nevaluate_every = \"200ms\"\nattempt_budget = \"2s\"\nsettle = \"0s\"\n";
/// Waits for whoever does not follow.
const PATIENT: &str =
    "[migration]\nevaluate_every = \"200ms\"\nattempt_budget = \"10m\"\nsettle = \"0s\"\n";

fn key(plan: &Plan) -> String {
    format!("lockgate:{}:driver", plan.name)
}

/// The driver's state as it is stored.
fn stored(server: &RedisServer, plan: &Plan) -> Value {
    let text: String = redis::cmd("HGET")
        .arg(key(plan))
        .arg("state")
        .query(&mut server.connection(plan.database))
        .expect("the driver's state");
    serde_json::from_str(&text).expect("JSON")
}

fn store(server: &RedisServer, plan: &Plan, state: &Value) {
    redis::cmd("HSET")
        .arg(key(plan))
        .arg(&["version", &state["version"].to_string()])
        .arg(&["state", &state.to_string()])
        .query::<()>(&mut server.connection(plan.database))
        .expect("stored");
}

/// Kafka's share at a step.
fn share(step: &str) -> Value {
    let (phase, percent) = step.split_once(':').unwrap_or((step, "0"));
    let percent: u8 = percent.parse().expect("a percentage");
    match phase {
        "shadow" => json!({ "consumers": 0, "ingress": 0 }),
        "consumers" => json!({ "consumers": percent, "ingress": 0 }),
        "ingress" => json!({ "consumers": 100, "ingress": percent }),
        _ => json!({ "consumers": 100, "ingress": 100 }),
    }
}

/// Writes that the migration stands at a step. No daemon may run.
pub fn put_at(server: &RedisServer, plan: &Plan, step: &str) {
    let mut state = stored(server, plan);
    for counter in ["version", "epoch"] {
        state[counter] = json!(state[counter].as_u64().expect("a number") + 1);
    }
    let told = state["told"]["version"].as_u64().expect("a number");
    state["step"] = json!(step);
    state["told"]["version"] = json!(told + 1);
    state["told"]["share"] = share(step);
    store(server, plan, &state);
}

/// Waits until the driver shows this step in this state.
#[track_caller]
pub fn await_step(daemon: &Daemon, step: &str, state: &str) {
    eventually(SOON, &format!("{step} {state}"), || {
        let status = daemon.status().ok_or("no status".to_owned())?;
        if status["step"]["set"] == step && status["state"]["name"] == state {
            Ok(())
        } else {
            Err(format!("{} {}", status["step"], status["state"]))
        }
    });
}

/// An application that follows says which version it has.
pub fn acknowledge(daemon: &Daemon, client: &str, version: u64, lifetime_s: u32) {
    let body = json!({ "client": client, "version": version, "lifetime_seconds": lifetime_s });
    // Who starts tells and hears nothing for a moment.
    eventually(SOON, "it is kept", || {
        match daemon.post("/v1/flags/ack", &body).expect("answered") {
            (204, _) => Ok(()),
            (503, answer) => Err(answer),
            other => panic!("{other:?}"),
        }
    });
}

/// The version that is told now.
pub fn told(daemon: &Daemon) -> u64 {
    let status = daemon.status().expect("a status");
    status["flags"][0]["version"].as_u64().expect("a version")
}

/// A daemon whose migration stands at a step, level.
pub fn daemon_at(plan: &Plan, server: &RedisServer, step: &str) -> Daemon {
    daemon_with(plan, server, step, |_| {})
}

/// The same, with what is changed in its state besides.
fn daemon_with(
    plan: &Plan,
    server: &RedisServer,
    step: &str,
    change: impl FnOnce(&mut Value),
) -> Daemon {
    add(server, plan.database, "a", "x", 10);
    let mut daemon = plan.daemon();
    await_step(&daemon, "shadow", "steady");
    drain(&mut daemon);
    put_at(server, plan, step);
    let mut state = stored(server, plan);
    change(&mut state);
    store(server, plan, &state);
    daemon.restart();
    daemon.wait_ready();
    await_step(&daemon, step, "steady");
    await_level(&daemon, "a");
    daemon
}

fn plan(what: &str, migration: &str) -> Plan {
    let mut plan = one_route(what, &["a"], "");
    plan.more = migration.to_owned();
    plan
}

/// A phase as it is while nothing is wrong.
fn quiet(book: &str, step: &str, sections: &[&str]) {
    let plan = plan("book-phase", HASTY);
    let daemon = daemon_at(&plan, redis(), step);
    walked(book, &plan, &daemon, sections);
}

/// The same, with an application that would follow: without one there is no way back to prove.
fn followed(book: &str, step: &str, sections: &[&str]) {
    let plan = plan("book-phase", HASTY);
    let daemon = daemon_at(&plan, redis(), step);
    acknowledge(&daemon, "billing", told(&daemon), 3_600);
    walked(book, &plan, &daemon, sections);
}

fn walked(book: &str, plan: &Plan, daemon: &Daemon, sections: &[&str]) {
    let mut walk = Walk::new(book, plan, daemon, "a");
    for section in sections {
        walk.through(section);
    }
    walk.until("Verify");
    walk.finish();
}

pub fn consumers(book: &str) {
    followed(book, "consumers:5", &["First minute", "Repair"]);
}

pub fn ingress(book: &str) {
    followed(book, "ingress:10", &["First minute", "Repair"]);
}

/// The archive is said to be whole, and the migration is completed.
pub fn cleanup(book: &str) {
    // How few entries there are shows nothing of parity at 95 %.
    let quick =
        format!("{HASTY}[migration.gates]\nparity = 900000\n[parity]\nwindow = \"200ms\"\n");
    let plan = plan("book-cleanup", &quick);
    add(redis(), plan.database, "a", "y", 100);
    // What was compared while writes were Redis's counts on.
    let daemon = daemon_with(&plan, redis(), "cleanup", |state| {
        state["tally"]["verified"] = json!(110);
        state["verified"] = json!({ "r": 110 });
    });
    await_level(&daemon, "a");
    let walk = Walk::new(book, &plan, &daemon, "a").with("ENTRIES", "110");
    let mut walk = walk.with("TOOK", "1");
    walk.prepare("! lockgate evidence archive --faults 0 --total 109 --seconds 1");
    for section in ["First minute", "Repair", "Verify"] {
        walk.until(section);
    }
    walk.finish();
}

pub fn done(book: &str) {
    quiet(book, "done", &["First minute", "Repair"]);
}

pub fn rollback(book: &str) {
    followed(book, "consumers:25", &["First minute", "Repair"]);
}

/// Producers say that Kafka does not take three in a hundred; the tripwire is told to leave it to a person.
pub fn ingress_failure(book: &str) {
    let alarm = "[migration.tripwires]\nproduce_errors = { beyond = 10000, action = \"alarm\" }\n";
    let plan = plan("book-producers", &format!("{HASTY}{alarm}"));
    let daemon = daemon_at(&plan, redis(), "ingress:10");
    let evidence =
        json!({ "measure": "produce-errors", "faults": 30, "total": 1_000, "seconds": 1 });
    let (code, answer) = daemon.post("/v1/evidence", &evidence).expect("answered");
    assert_eq!(code, 204, "{answer}");
    await_alarm(&daemon, "produce-errors");
    walked(book, &plan, &daemon, &["First minute"]);
}

/// Waits until a tripwire has noted this measure, and nothing was moved.
#[track_caller]
pub fn await_alarm(daemon: &Daemon, measure: &str) {
    eventually(SOON, &format!("{measure} is beyond its threshold"), || {
        let status = daemon.status().ok_or("no status".to_owned())?;
        let journal = status["journal"].as_array().cloned().unwrap_or_default();
        let noted = journal.iter().any(|record| {
            let reason = record["reason"].as_str().unwrap_or_default();
            record["verb"] == "tripwire"
                && record["outcome"] == "done"
                && reason.starts_with(measure)
        });
        if noted {
            Ok(())
        } else {
            Err(status["journal"].to_string())
        }
    });
}

/// Entries that Kafka lacks while its readers are served: the tripwire takes all back and freezes.
pub fn frozen(book: &str) {
    let (plan, daemon) = super::parity::passed_over("book-frozen", HASTY, |plan| {
        put_at(redis(), plan, "consumers:25");
    });
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    await_step(&daemon, "shadow", "frozen");
    prometheus.await_firing("LockgateFrozen", "critical");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.until("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// A rollback that an application does not follow; by hand it is made to.
pub fn rollback_stuck(book: &str) {
    let plan = plan("book-stuck", PATIENT);
    let daemon = daemon_at(&plan, redis(), "consumers:25");
    acknowledge(&daemon, "billing", told(&daemon), 3_000);
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.prepare("lockgate rollback --to shadow --reason \"billing is to go back\"");
    prometheus.await_firing(book, "critical");
    walk.through("First minute");
    acknowledge(&daemon, "billing", told(&daemon), 3_000);
    walk.until("Verify");
    walk.finish();
}

/// Producers write to Kafka, and the store of the driver's state goes.
pub fn not_ready(book: &str) {
    let server = RedisServer::start(RedisOptions {
        aof: true,
        ..RedisOptions::default()
    });
    let mut plan = Plan::on("book-ready", &server, 0, kafka()).route("r", &["a"], "");
    plan.more = HASTY.to_owned();
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let daemon = daemon_at(&plan, &server, "ingress:10");
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_scrape();
    server.kill();
    prometheus.await_firing(book, "critical");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.until("First minute");
    server.restart();
    walk.until("Verify");
    walk.finish();
}

/// Producers write to Kafka, and nobody steers.
pub fn no_driver(book: &str) {
    driverless(book, "ingress:10", "critical");
}

pub fn lost_driver(book: &str) {
    driverless(book, "consumers:25", "warning");
}

/// A lease that nobody holds and that does not end; by hand it is removed. The phase was seen while somebody steered.
fn driverless(book: &str, step: &str, severity: &str) {
    let plan = plan("book-driver", HASTY);
    let mut daemon = daemon_at(&plan, redis(), step);
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_scrape();
    let before = told_everywhere(&daemon, &plan);
    drain(&mut daemon);
    let lease = format!("lockgate:{}:driver-lease", plan.name);
    redis().command::<()>(plan.database, &format!("SET {lease} ghost"));
    daemon.restart();
    daemon.wait_ready();
    prometheus.await_firing("LockgateNoDriver", severity);
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.until("First minute");
    assert_eq!(told_everywhere(&daemon, &plan), before, "as told last");
    redis().command::<()>(plan.database, &format!("DEL {lease}"));
    walk.until("Verify");
    walk.finish();
}

/// What applications are told by the daemon, and what they read in Redis; the one is of the same version as the other.
#[track_caller]
fn told_everywhere(daemon: &Daemon, plan: &Plan) -> (Value, BTreeMap<String, String>) {
    let hash = format!("HGETALL lockgate:{}:flags", plan.name);
    eventually(SOON, "the daemon tells what Redis does", || {
        let (_, text) = daemon.get("/v1/flags/flagd").expect("answered");
        let told: Value = serde_json::from_str(&text).expect("JSON");
        let fields: BTreeMap<String, String> = redis().command(plan.database, &hash);
        if fields.get("version") == Some(&told["metadata"]["version"].to_string()) {
            Ok((told, fields))
        } else {
            Err(format!("{told} {fields:?}"))
        }
    })
}

/// An application that has something older; by hand it is restarted.
pub fn not_obeyed(book: &str) {
    let plan = plan("book-obeyed", HASTY);
    let daemon = daemon_at(&plan, redis(), "consumers:5");
    acknowledge(&daemon, "billing", told(&daemon) - 1, 3_000);
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_firing(book, "warning");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    acknowledge(&daemon, "billing", told(&daemon), 3_000);
    walk.until("Verify");
    walk.finish();
}

/// Nothing was ever tried or pushed.
pub fn no_evidence(book: &str) {
    let plan = plan("book-evidence", HASTY);
    add(redis(), plan.database, "a", "x", 10);
    let daemon = plan.daemon();
    await_step(&daemon, "shadow", "steady");
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_firing(book, "warning");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    acknowledge(&daemon, "billing", told(&daemon), 3_000);
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// Redis is restored from before; by hand its state is removed, and the copy in Kafka goes on.
pub fn epoch_backwards(book: &str) {
    let cluster: &KafkaCluster = kafka();
    let plan = plan("book-epoch", HASTY);
    let mut daemon = daemon_at(&plan, redis(), "consumers:5");
    let copy = format!("lockgate.{}.state", plan.name);
    eventually(SOON, "the state is copied", || {
        cluster.describe_topic(&copy).contains("PartitionCount")
    });
    let before = told_everywhere(&daemon, &plan);
    let mut old = stored(redis(), &plan);
    // Of another history: its last mark is none that this driver made.
    let epoch = old["epoch"].as_u64().expect("a number");
    old["epoch"] = json!(epoch - 1);
    old["lineage"] = json!([{ "epoch": epoch - 1, "token": 7 }]);
    // The driver reads what is stored when something keeps it from storing: a version that it will not come to meanwhile.
    old["version"] = json!(old["version"].as_u64().expect("a number") + 1_000);
    store(redis(), &plan, &old);
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.attempt("lockgate hold --reason \"so that it must store something\"");
    walk.until("First minute");
    assert_eq!(told_everywhere(&daemon, &plan), before, "as told last");
    daemon.kill9();
    redis().command::<()>(plan.database, &format!("DEL {}", key(&plan)));
    // What was told last is of a later version than the state that is kept.
    let flags = format!("lockgate:{}:flags", plan.name);
    let later: u64 = redis().command(plan.database, &format!("HINCRBY {flags} version 5"));
    daemon.restart();
    daemon.wait_ready();
    walk.until("Verify");
    walk.finish();
    eventually(SOON, "the versions go on above it", || {
        let version: u64 = redis().command(plan.database, &format!("HGET {flags} version"));
        version > later && told(&daemon) == version
    });
}
