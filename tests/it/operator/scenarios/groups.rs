//! Consumer groups that fall behind or commit nothing.

use crate::harness::{Prometheus, Rules, kafka, redis};
use crate::migration::evidence::{commit, end};
use crate::operator::walk::Walk;
use crate::plan::{Plan, add, await_level, drain};

use super::one_route;
use super::steered::{await_step, put_at};

/// Every partition is read from Kafka by a group of the plan's own name; its tripwire only raises an alarm.
fn plan(what: &str) -> Plan {
    let mut plan = one_route(what, &["a"], "");
    plan.more = format!(
        "[migration]\nevaluate_every = \"200ms\"\nsettle = \"0s\"\n[[migration.groups]]\nname = \"{}\"\n\
         [migration.tripwires]\ngroup_lag = {{ beyond = 10000, action = \"alarm\" }}\n",
        plan.name
    );
    plan
}

/// The group has committed `committed`, if anything, and so many entries are in the topic; it works them off in the end.
fn behind(book: &str, severity: &str, entries: u64, committed: Option<i64>) {
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

pub fn high(book: &str) {
    behind(book, "warning", 5_100, Some(0));
}

pub fn not_committing(book: &str) {
    behind(book, "warning", 10, None);
}

/// A group that has committed the beginning of these topics.
pub fn at_the_beginning(group: &str, topics: &[String]) {
    for topic in topics {
        commit(group, topic, 0, 0);
        assert!(kafka().leader(topic, 0).is_some());
    }
}
