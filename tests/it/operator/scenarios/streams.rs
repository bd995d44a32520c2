//! Trouble with streams: entries that are gone, that will be, that wait, and keys that are no streams.

use serde_json::json;

use crate::harness::{Prometheus, Rules, eventually, kafka, redis};
use crate::operator::walk::Walk;
use crate::plan::{Plan, SOON, add, await_level, await_state, drain, ids};

use super::one_route;

/// Entries are trimmed, or deleted, while the mirror is down.
pub fn entries_lost(book: &str) {
    for (reason, taking) in [("entries-trimmed", "XTRIM"), ("entries-deleted", "XDEL")] {
        let plan = one_route("book-lost", &["a"], "");
        let db = plan.database;
        add(redis(), db, "a", "old", 10);
        let mut daemon = plan.daemon();
        await_level(&daemon, "a");
        let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
        drain(&mut daemon);
        add(redis(), db, "a", "unread", 10);
        if taking == "XTRIM" {
            redis().command::<u64>(db, "XTRIM a MAXLEN 5");
        } else {
            let unread = ids(redis(), db, "a")[10].clone();
            redis().command::<u64>(db, &format!("XDEL a {unread}"));
        }
        daemon.restart();
        daemon.wait_ready();
        await_state(&daemon, "a", "halted", reason);
        prometheus.await_firing(book, "critical");
        let mut walk = Walk::new(book, &plan, &daemon, "a");
        walk.through("First minute");
        walk.through("Repair");
        walk.until("Verify");
        walk.finish();
    }
}

/// Producers trim at a length that the mirror, held back, does not keep up with.
pub fn trim_near(book: &str) {
    let plan = one_route("book-trim", &["a"], "");
    let db = plan.database;
    add(redis(), db, "a", "old", 5_000);
    let daemon = plan.daemon();
    await_level(&daemon, "a");
    let prometheus = Prometheus::watching(&[daemon.port], Rules::Hurried);
    let slowly = json!({ "entries_per_second": 2 });
    let (code, answer) = daemon.put("/v1/throttle", &slowly).unwrap();
    assert_eq!(code, 200, "{answer}");
    eventually(SOON, "the alert fires while producers trim", || {
        redis().command::<String>(db, "XADD a MAXLEN 5000 * data new");
        let firing = prometheus.firing()?;
        let wanted = (book.to_owned(), "critical".to_owned());
        if firing.contains(&wanted) {
            Ok(())
        } else {
            Err(format!("{firing:?}; {}", daemon.status().unwrap()["trim"]))
        }
    });
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// Somebody left a throttle on.
pub fn mirror_stalled(book: &str) {
    let plan = one_route("book-stalled", &["a"], "");
    let daemon = plan.daemon();
    let slowly = json!({ "entries_per_second": 1 });
    daemon.put("/v1/throttle", &slowly).unwrap();
    add(redis(), plan.database, "a", "x", 2_000);
    eventually(SOON, "the lag is seen", || {
        daemon.metric("lockgate_mirror_lag_entries", &[]) > Some(100.0)
    });
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    await_level(&daemon, "a");
    walk.until("Verify");
    walk.finish();
}

/// A key that is text stands where a stream should; by hand it is moved away.
pub fn not_a_stream(book: &str) {
    let plan = one_route("book-key", &["a"], "");
    redis().command::<()>(plan.database, "SET a text");
    let daemon = plan.daemon();
    await_state(&daemon, "a", "halted", "not-a-stream");
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    redis().command::<()>(plan.database, "RENAME a a.moved");
    add(redis(), plan.database, "a", "now a stream", 10);
    walk.until("Verify");
    walk.finish();
}

/// A stream goes while the mirror looks.
pub fn stream_deleted(book: &str) {
    let plan = one_route("book-deleted", &["a"], "");
    add(redis(), plan.database, "a", "old", 10);
    let daemon = plan.daemon();
    await_level(&daemon, "a");
    redis().command::<()>(plan.database, "DEL a");
    add(redis(), plan.database, "a", "anew", 2);
    eventually(SOON, "the stream halts", || {
        let seen = crate::plan::stream(&daemon, "a")?;
        (seen["state"]["name"] == "halted").then_some(())
    });
    let mut walk = Walk::new(book, &plan, &daemon, "a");
    walk.through("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}

/// The route's key is changed between two starts.
pub fn placement_changed(book: &str) {
    let keyed = |field: &str| {
        format!(
            "partitions = 4\nkey = {{ field = \"{field}\" }}\npartition = {{ hash = \"murmur2\" }}\n"
        )
    };
    let plan = Plan::new("book-moved").route("r", &["a"], &keyed("data"));
    kafka().create_topic(&plan.topic("r"), 4, &[]);
    add(redis(), plan.database, "a", "x", 10);
    let mut daemon = plan.daemon();
    await_level(&daemon, "a");
    drain(&mut daemon);
    let first: String = redis().command(plan.database, "XADD a * data x other z");
    let changed = plan
        .toml()
        .replace("key = { field = \"data\" }", "key = { field = \"other\" }");
    daemon.reconfigure(&changed);
    daemon.restart();
    daemon.wait_ready();
    await_state(&daemon, "a", "halted", "placement-changed");
    let mut walk = Walk::new(book, &plan, &daemon, "a").with("ID", &first);
    walk.through("First minute");
    walk.through("Repair");
    walk.until("Verify");
    walk.finish();
}
