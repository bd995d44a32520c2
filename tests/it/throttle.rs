//! What can be changed while the daemon runs: its pace and how much it says.

use serde_json::json;

use crate::harness::{eventually, kafka, redis};
use crate::plan::{Plan, SOON, Topic, add, await_level, stream};

#[test]
fn the_throttle_is_changed_while_running() {
    let plan = Plan::new("throttle").route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let daemon = plan.daemon();
    let throttled = || {
        daemon
            .metric(
                "lockgate_mirror_throttled_seconds_total",
                &[("cause", "operator")],
            )
            .unwrap()
    };
    let mirrored = || {
        stream(&daemon, "a")
            .and_then(|seen| seen["mirrored_entries"].as_u64())
            .unwrap_or(0)
    };
    let mut expected = add(redis(), plan.database, "a", "free", 2_000);
    let mut topic = Topic::new(&plan.topic("r"));
    topic.await_values("a", &expected);
    await_level(&daemon, "a");
    assert!(throttled() < 0.001, "nobody throttles");

    let (code, answer) = daemon
        .put("/v1/throttle", &json!({ "entries_per_second": 50 }))
        .unwrap();
    assert_eq!((code, answer.contains("50")), (200, true), "{answer}");
    assert_eq!(
        daemon.status().unwrap()["throttle"]["entries_per_second"],
        50
    );
    // A read that waited already was made without the limit; it brings this one.
    expected.extend(add(redis(), plan.database, "a", "one", 1));
    topic.await_values("a", &expected);
    expected.extend(add(redis(), plan.database, "a", "slow", 5_000));
    // The pace is counted against the daemon's own account of how long it was held back, not against this machine's clock.
    let (begun, before) = (mirrored(), throttled());
    eventually(SOON, "it has been held back for three seconds", || {
        throttled() - before > 3.0
    });
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let pace = (mirrored() - begun) as f64 / (throttled() - before);
    assert!(
        (10.0..150.0).contains(&pace),
        "{pace} entries for each second held back"
    );
    let seen = stream(&daemon, "a").unwrap();
    assert!(seen["lag_entries"].as_u64() > Some(4_000), "{seen}");

    let (code, _) = daemon
        .put("/v1/throttle", &json!({ "bytes_per_second": 400 }))
        .unwrap();
    assert_eq!(code, 200);
    let before = throttled();
    eventually(SOON, "bytes hold it back", || throttled() - before > 1.0);
    assert!(stream(&daemon, "a").unwrap()["lag_entries"].as_u64() > Some(4_000));

    let (code, _) = daemon.put("/v1/throttle", &json!({})).unwrap();
    assert_eq!(code, 200);
    topic.await_values("a", &expected);
    await_level(&daemon, "a");
}

#[test]
fn the_log_level_is_changed_while_running() {
    let plan = Plan::new("level").route("r", &["a"], "");
    kafka().create_topic(&plan.topic("r"), 1, &[]);
    let daemon = plan.daemon();
    let mut topic = Topic::new(&plan.topic("r"));
    let mut expected = add(redis(), plan.database, "a", "x", 3);
    topic.await_values("a", &expected);
    await_level(&daemon, "a");
    let debug_lines = || {
        daemon
            .log()
            .lines()
            .filter(|line| line.contains("DEBUG"))
            .count()
    };
    assert_eq!(debug_lines(), 0);
    let (code, _) = daemon
        .put(
            "/v1/log-level",
            &json!({ "filter": "info,lockgate::mirror=debug" }),
        )
        .unwrap();
    assert_eq!(code, 200);
    expected.extend(add(redis(), plan.database, "a", "y", 3));
    topic.await_values("a", &expected);
    eventually(SOON, "a debug line of the mirror", || {
        daemon
            .log()
            .lines()
            .any(|line| line.contains("DEBUG") && line.contains("committed"))
    });
    let (code, _) = daemon
        .put("/v1/log-level", &json!({ "filter": "info" }))
        .unwrap();
    assert_eq!(code, 200);
    let before = debug_lines();
    expected.extend(add(redis(), plan.database, "a", "z", 3));
    topic.await_values("a", &expected);
    await_level(&daemon, "a");
    assert_eq!(debug_lines(), before);
}
