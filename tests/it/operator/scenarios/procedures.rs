//! What an operator does although nothing is broken, and what he does when there is no daemon at all.

use crate::harness::{Prometheus, Rules, redis};
use crate::operator::walk::Walk;
use crate::plan::{Plan, add, await_level, await_state, drain};

use super::one_route;

/// The daemon is gone; Prometheus need not wait five minutes where it has never seen any.
pub fn absent(book: &str) {
    let plan = one_route("book-absent", &["a"], "");
    add(redis(), plan.database, "a", "x", 10);
    let mut daemon = plan.daemon();
    await_level(&daemon, "a");
    daemon.kill9();
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    prometheus.await_firing(book, "critical");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    daemon.restart();
    daemon.wait_ready();
    walk.until("Verify");
    walk.finish();
}

/// The first start, before the topics are there.
pub fn shadow(book: &str) {
    let plan = Plan::new("book-shadow").route("r", &["a"], "");
    add(redis(), plan.database, "a", "x", 10);
    let daemon = plan.daemon();
    await_state(&daemon, "a", "halted", "topic-missing");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// More shards while it runs.
pub fn resize_shards(book: &str) {
    let mut plan = one_route("book-resize", &["a", "b", "c"], "");
    plan.shards = 4;
    add(redis(), plan.database, "a", "x", 10);
    let daemon = plan.daemon();
    await_level(&daemon, "a");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.until("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// The old process drains, the new one goes on.
pub fn upgrade(book: &str) {
    let plan = one_route("book-upgrade", &["a"], "");
    add(redis(), plan.database, "a", "x", 10);
    let mut daemon = plan.daemon();
    await_level(&daemon, "a");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.until("First minute");
    drain(&mut daemon);
    add(redis(), plan.database, "a", "meanwhile", 10);
    daemon.restart();
    daemon.wait_ready();
    walk.until("Verify");
    walk.finish();
}

/// Everything of it that runs while there is a daemon; what is deleted is deleted by hand.
pub fn stop_and_remove(book: &str) {
    let plan = one_route("book-remove", &["a"], "");
    add(redis(), plan.database, "a", "x", 10);
    let mut daemon = plan.daemon();
    await_level(&daemon, "a");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.finish();
    drain(&mut daemon);
}
