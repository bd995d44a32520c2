//! Consumer groups that fall behind or commit nothing, and partitions that lack a replica or a leader.

use serde_json::json;

use crate::harness::{Daemon, KafkaCluster, Prometheus, Rules, kafka, redis};
use crate::migration::evidence::{commit, end};
use crate::operator::walk::Walk;
use crate::plan::{Plan, add, await_level, drain};

use super::one_route;
use super::steered::{await_alarm, await_step, put_at};

/// Every partition is read from Kafka by a group of the plan's own name; its tripwire only raises an alarm.
fn plan(what: &str) -> Plan {
    let mut plan = one_route(what, &["a"], "");
    plan.more = format!(
        "[migration]\nevaluate_every = \"200ms\"\nattempt_budget = \"2s\"\nsettle = \"0s\"\n[[migration.groups]]\nname = \"{}\"\n\
         [migration.tripwires]\ngroup_lag = {{ beyond = 10000, action = \"alarm\" }}\n",
        plan.name
    );
    plan
}

/// The group has committed `committed`, if anything, and so many entries are in the topic.
fn lagging(entries: u64, committed: Option<i64>) -> (Plan, Daemon) {
    let plan = plan("book-group");
    let topic = plan.topic("r");
    add(redis(), plan.database, "a", "x", entries);
    let mut daemon = plan.daemon();
    await_step(&daemon, "shadow", "steady");
    await_level(&daemon, "a");
    drain(&mut daemon);
    put_at(redis(), &plan, "consumers:100");
    if let Some(offset) = committed {
        commit(&plan.name, &topic, 0, offset);
    }
    daemon.restart();
    daemon.wait_ready();
    (plan, daemon)
}

/// It works them off in the end.
fn behind(book: &str, severity: &str, entries: u64, committed: Option<i64>) {
    let (plan, daemon) = lagging(entries, committed);
    let topic = plan.topic("r");
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_firing(book, severity);
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.until("First minute");
    commit(&plan.name, &topic, 0, end(&topic, 0));
    walk.until("Verify");
    walk.finish();
}

pub fn explosion(book: &str) {
    behind(book, "critical", 10_100, Some(0));
}

/// The same, and its readers are taken back to Redis.
pub fn taken_back(book: &str) {
    let (plan, daemon) = lagging(10_100, Some(0));
    await_alarm(&daemon, "group-lag");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.until("Verify");
    walk.finish();
}

pub fn high(book: &str) {
    behind(book, "warning", 5_100, Some(0));
}

pub fn not_committing(book: &str) {
    behind(book, "warning", 10, None);
}

/// With evidence that stays, and a tripwire that only raises an alarm.
const ALARM_ONLY: &str = "[migration]\nattempt_budget = \"2s\"\nsettle = \"0s\"\nevidence_freshness = \"10m\"\n\
    [migration.tripwires.throughput]\nbeyond = 500000\naction = \"alarm\"\n";

/// The groups do a third of what they did at Redis.
pub fn throughput_low(book: &str) {
    let mut plan = one_route("book-pace", &["a"], "");
    plan.more = ALARM_ONLY.to_owned();
    add(redis(), plan.database, "a", "x", 10);
    let mut daemon = plan.daemon();
    await_step(&daemon, "shadow", "steady");
    record_baseline(&plan, &daemon, 900.0);
    drain(&mut daemon);
    put_at(redis(), &plan, "consumers:25");
    daemon.restart();
    daemon.wait_ready();
    await_step(&daemon, "consumers:25", "steady");
    tell_throughput(&daemon, 300.0);
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_firing(book, "critical");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// A follower is said to be behind, and then no more.
pub fn replication_lag(book: &str) {
    said_of_brokers(
        book,
        "replication-lag",
        14.0,
        0.0,
        &["First minute", "Repair"],
    );
}

/// A disk is said to be nearly full, and then no more.
pub fn disk_high(book: &str) {
    said_of_brokers(book, "disk", 0.85, 0.41, &["First minute", "Repair"]);
}

fn said_of_brokers(book: &str, measure: &str, bad: f64, good: f64, sections: &[&str]) {
    let mut plan = one_route("book-brokers", &["a"], "");
    plan.more = "[migration]\nevidence_freshness = \"10m\"\n".to_owned();
    add(redis(), plan.database, "a", "x", 10);
    let daemon = plan.daemon();
    await_step(&daemon, "shadow", "steady");
    await_level(&daemon, "a");
    tell(&daemon, measure, bad);
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_firing(book, "warning");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    for section in sections {
        walk.until(section);
    }
    tell(&daemon, measure, good);
    walk.until("Verify");
    walk.finish();
}

/// The application says what its groups do, in entries a second.
pub fn tell_throughput(daemon: &Daemon, value: f64) {
    tell(daemon, "throughput", value);
}

/// Evidence of now.
pub fn tell(daemon: &Daemon, measure: &str, value: f64) {
    let evidence = json!({ "measure": measure, "value": value });
    let (code, answer) = daemon.post("/v1/evidence", &evidence).expect("answered");
    assert!((200..300).contains(&code), "{code}: {answer}");
}

/// What the groups do in shadow is what they are held against.
pub fn record_baseline(plan: &Plan, daemon: &Daemon, throughput: f64) {
    tell_throughput(daemon, throughput);
    Walk::new("shadow", plan, daemon, "a").prepare("lockgate baseline record");
}

/// A broker goes and comes back.
pub fn under_replicated(book: &str) {
    let cluster = KafkaCluster::start(3);
    let plan = Plan::on("book-replica", redis(), redis().own_database(), &cluster);
    let plan = plan.route("r", &["a"], "");
    cluster.create_topic(&plan.topic("r"), 1, &[]);
    broker_gone(book, &cluster, plan, &["First minute", "Repair"]);
}

/// The only replica's broker goes and comes back.
pub fn offline(book: &str) {
    let cluster = KafkaCluster::start(3);
    let plan = Plan::on("book-leader", redis(), redis().own_database(), &cluster);
    let plan = plan.route("r", &["a"], "");
    let topic = plan.topic("r");
    let last = "3";
    cluster.tool(
        "TopicCommand",
        &["--create", "--topic", &topic, "--replica-assignment", last],
    );
    broker_gone(book, &cluster, plan, &["First minute"]);
}

fn broker_gone(book: &str, cluster: &KafkaCluster, plan: Plan, sections: &[&str]) {
    add(redis(), plan.database, "a", "x", 10);
    let daemon = plan.daemon();
    await_step(&daemon, "shadow", "steady");
    await_level(&daemon, "a");
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    cluster.kill(2);
    prometheus.await_firing(book, "critical");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    for section in sections {
        walk.until(section);
    }
    cluster.restart(2);
    walk.until("Verify");
    walk.finish();
}

/// A group that has committed the beginning of these topics.
pub fn at_the_beginning(group: &str, topics: &[String]) {
    for topic in topics {
        commit(group, topic, 0, 0);
        assert!(kafka().leader(topic, 0).is_some());
    }
}
