//! Stores that are apart, or of which nobody can tell: entries that the mirror was made to pass over, entries that went
//! before they were compared, a comparison that does not come by.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

use crate::harness::{Daemon, Prometheus, Rules, eventually, kafka, redis};
use crate::operator::walk::Walk;
use crate::plan::{Plan, SOON, Topic, add, await_level, drain, ids};

use super::one_route;

/// Compared every second, so that a test need not wait for the usual ten.
const OFTEN: &str = "[parity]\nwindow = \"1s\"\n";
const PASSED_OVER: u64 = 3;

/// A daemon that never mirrored three entries and believes that it did.
/// `more`: configuration; `between`: what else is done while it is down.
pub fn passed_over(what: &str, more: &str, between: impl FnOnce(&Plan)) -> (Plan, Daemon) {
    let mut plan = one_route(what, &["a"], "");
    plan.more = format!("{OFTEN}{more}");
    add(redis(), plan.database, "a", "old", 10);
    let mut daemon = plan.daemon();
    await_level(&daemon, "a");
    super::steered::await_step(&daemon, "shadow", "steady");
    drain(&mut daemon);
    add(redis(), plan.database, "a", "passed over", PASSED_OVER);
    move_checkpoint(&plan, "a");
    between(&plan);
    daemon.restart();
    daemon.wait_ready();
    add(redis(), plan.database, "a", "new", 5);
    await_level(&daemon, "a");
    Topic::new(&plan.topic("r")).await_count(15);
    (plan, daemon)
}

/// Puts a stream's checkpoint at its last entry, as if all before had been mirrored.
fn move_checkpoint(plan: &Plan, stream: &str) {
    let name = format!("lockgate.{}.checkpoints", plan.name);
    let key = format!("{}/{stream}", plan.database);
    let mut topic = Topic::new(&name);
    let mut records = topic.records().iter();
    let last = records
        .rfind(|record| record.key.as_deref() == Some(key.as_bytes()))
        .expect("a checkpoint");
    let mut value: Value = serde_json::from_slice(last.value.as_deref().unwrap()).unwrap();
    let added = value["entries_added"].as_u64().unwrap();
    value["entries_added"] = (added + PASSED_OVER).into();
    value["id"] = ids(redis(), plan.database, stream).pop().unwrap().into();
    let producer: BaseProducer = kafka().client().create().unwrap();
    let text = value.to_string();
    let record = BaseRecord::to(&name)
        .partition(last.partition)
        .key(&key)
        .payload(&text);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(SOON).unwrap();
}

#[track_caller]
fn await_parity(daemon: &Daemon, state: &str) {
    eventually(
        Duration::from_secs(120),
        &format!("parity is {state}"),
        || {
            let status = daemon.status().ok_or("no status")?;
            let parity = &status["parity"];
            if parity["state"] == state {
                Ok(())
            } else {
                Err(parity.to_string())
            }
        },
    );
}

/// Entries are missing while Redis alone serves.
pub fn apart_in_shadow(book: &str) {
    let (plan, daemon) = passed_over("book-shadow-apart", "", |_| ());
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    await_parity(&daemon, "apart");
    prometheus.await_firing(book, "warning");
    repaired(book, &plan, &daemon);
}

/// The same while readers of Kafka are served, and where the tripwire is told not to take them back.
pub fn apart(book: &str) {
    let alarm = "[migration.tripwires]\ninconsistency = { beyond = 0, action = \"alarm\" }\n";
    let (plan, daemon) = passed_over("book-apart", alarm, |plan| {
        super::steered::put_at(redis(), plan, "consumers:5");
    });
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    await_parity(&daemon, "apart");
    prometheus.await_firing("LockgateStoresApart", "critical");
    repaired(book, &plan, &daemon);
    // What was missing came once, behind what was there.
    Topic::new(&plan.topic("r")).await_count(15 + usize::try_from(PASSED_OVER).unwrap());
}

fn repaired(book: &str, plan: &Plan, daemon: &Daemon) {
    let mut walk = Walk::new(book, plan, daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// Trimmed before it was compared: the auditor was off meanwhile.
pub fn unverifiable(book: &str) {
    let mut plan = one_route("book-unverifiable", &["a"], "");
    plan.more = "[parity]\nenabled = false\n".to_owned();
    add(redis(), plan.database, "a", "x", 20);
    let mut daemon = plan.daemon();
    await_level(&daemon, "a");
    redis().command::<u64>(plan.database, "XTRIM a MAXLEN 5");
    drain(&mut daemon);
    plan.more = OFTEN.to_owned();
    daemon.reconfigure(&plan.toml());
    daemon.restart();
    daemon.wait_ready();
    await_parity(&daemon, "level");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    add(redis(), plan.database, "a", "kept", 20);
    walk.until("Verify");
    walk.finish();
}

/// The comparison is throttled to next to nothing; by hand the throttle is taken out.
pub fn stale(book: &str) {
    let mut plan = one_route("book-stale", &["a"], "");
    plan.more = format!("{OFTEN}entries_per_second = 1\n");
    add(redis(), plan.database, "a", "x", 5_000);
    let mut daemon = plan.daemon();
    await_level(&daemon, "a");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    drain(&mut daemon);
    plan.more = OFTEN.to_owned();
    daemon.reconfigure(&plan.toml());
    daemon.restart();
    daemon.wait_ready();
    walk.until("Verify");
    walk.finish();
}
